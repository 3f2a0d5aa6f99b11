"""backfill by the rules of a mapping file: consent, suppression, what is unreadable, and a dry run over all of it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playground.segment import SegmentPublicApiStandIn
from playground.stand_in import answer
from service.operations import Exit
from tests.operations.test_backfill import LONG, World, a_world, is_a_page, said_up_to

POINTS = """
version = 1
[identify]
on = ["created"]
retired = ["formerTrait"]
[identify.traits]
points = { from = "custom.points", as = "number" }
"""
CONSENT = """
[consent]
send = ["Advertising"]
{more}
[consent.categories]
Advertising = "custom.advertising"
"""
GATED = POINTS + CONSENT.format(more="")
SUPPRESSING = POINTS + CONSENT.format(more='withdrawn = "suppress"')
WITH_EVENT = POINTS + CONSENT.format(more="event = true")
NO_CONSENT = "no consent for Advertising"


class RuledWorld(World):
    """A world whose commands have a mapping file, and Segment's Public API."""

    def __init__(self, world: World, public_api: SegmentPublicApiStandIn) -> None:
        super().__init__(world.segment, world.commercetools, world.published, world.folder)
        self.public_api = public_api
        self.mapping = GATED

    def settings(self, **more: str) -> dict[str, str]:
        (self.folder / "shop.toml").write_text(self.mapping)
        public_api = {
            "SEGMENT_PUBLIC_API_TOKEN": self.public_api.token,
            "SEGMENT_PUBLIC_API_URL": self.public_api.url,
        }
        return super().settings(**{"MAPPING_FILE": "shop.toml", **public_api, **more})

    def somebody(self, *, consents: object = True, **fields: object) -> str:
        """Create a customer, at version 2, with these custom fields or other ones."""
        custom = {"type": {"typeId": "type", "id": "a-type"}, "fields": {"advertising": consents, "points": 5}}
        customer_id: str = self.shop.create(**{"custom": custom, **fields})["id"]
        self.shop.change(customer_id, {"action": "setTitle", "title": "Dr."})
        return customer_id

    def with_points(self, points: object) -> str:
        return self.somebody(custom={"type": {"id": "a-type"}, "fields": {"advertising": True, "points": points}})

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def regulated(self) -> list[tuple[str, set[str]]]:
        return [(each["regulationType"], set(each["subjectIds"])) for each in self.public_api.regulations]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RuledWorld]:
    with a_world(tmp_path) as world, SegmentPublicApiStandIn(segment=world.segment) as public_api:
        yield RuledWorld(world, public_api)


def of_users(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["userId"]) for event in events]


# The rules in a backfill


def test_consent_gates_a_backfill_and_the_changes_that_are_handled_do_not(world: RuledWorld) -> None:
    willing, unwilling = [world.somebody() for _ in range(3)], [world.somebody(consents=each) for each in (False, None)]

    ended = world.run()

    assert ended.code == Exit.DONE, ended.said
    assert {event["userId"] for event in world.segment.events} == set(willing)
    assert all(
        event["context"]["consent"] == {"categoryPreferences": {"Advertising": True}} for event in world.segment.events
    )
    assert (ended.document["sent"], ended.document["skipped"]) == (3, len(unwilling))
    assert ended.document["reasons"] == {NO_CONSENT: 2}


def test_the_summary_has_a_row_for_each_reason_why_nothing_was_sent(world: RuledWorld) -> None:
    world.somebody(consents=False)
    world.somebody(key="with-a-key")
    world.somebody()

    with world.begun("--lanes", "1") as process:
        said = " ".join(process.rest().decode().split())

    assert process.returncode == Exit.DONE
    assert "skipped 1 no consent for Advertising" in said


def test_who_has_withdrawn_is_suppressed_in_one_call_and_who_consents_is_not_any_more_before_the_identify(
    world: RuledWorld,
) -> None:
    world.mapping = SUPPRESSING
    willing, unwilling = {world.somebody() for _ in range(5)}, {world.somebody(consents=False) for _ in range(4)}
    new = world.shop.create()["id"]
    world.segment.suppress(willing)

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.DONE, ended.said
    assert world.regulated()[:2] == [("UNSUPPRESS", willing), ("SUPPRESS_ONLY", unwilling)]
    assert world.segment.suppressed == unwilling
    assert {event["userId"] for event in world.segment.events} == willing
    assert not world.segment.dropped, "nobody is identified while Segment drops it"
    counts = ended.document
    assert (counts["sent"], counts["skipped"], counts["suppressed"], counts["unsuppressed"]) == (5, 5, 4, 5)
    assert new not in world.segment.suppressed


def test_a_suppression_that_fails_is_tried_again(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    unwilling = world.somebody(consents=False)
    world.public_api.fail_next(answer(503), 2)

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.DONE
    assert world.segment.suppressed == {unwilling}
    assert "Segment's Public API answered 503; trying again" in ended.said


def test_a_pause_that_the_public_api_asks_for_is_kept(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    world.somebody(consents=False)
    world.public_api.fail_next(answer(429, retry_after=1))

    assert world.run("--lanes", "1").code == Exit.DONE

    first, second = (call.at for call in world.public_api.calls)
    assert second - first >= 1


def test_two_customers_with_one_user_id_of_whom_one_has_withdrawn_leave_it_suppressed(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    for consents in (True, False):
        world.somebody(consents=consents, externalId="one")

    ended = world.run("--lanes", "1", SEGMENT_USER_ID="externalId")

    assert ended.code == Exit.DONE
    assert world.regulated() == [("UNSUPPRESS", {"one"}), ("SUPPRESS_ONLY", {"one"})]
    assert world.segment.suppressed == {"one"}


def test_a_suppression_that_was_not_accepted_at_ctrl_c_is_submitted_by_the_next_run(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    unwilling = {world.somebody(consents=False) for _ in range(4)}
    willing = world.somebody()
    world.public_api.fail(answer(503))

    with world.begun("--lanes", "1") as process:
        assert world.public_api.wait_for_calls(1, LONG)
        process.send_signal(signal.SIGINT)
        process.rest()

    assert process.returncode == Exit.INTERRUPTED
    assert [lane["after"] for lane in json.loads(world.checkpoint.read_text())["lanes"]] == [""]
    assert world.segment.call_count == 0, "nothing is sent before the suppressions are accepted"

    world.public_api.fail(None)
    assert world.run().code == Exit.DONE
    assert world.segment.suppressed == unwilling
    assert {event["userId"] for event in world.segment.events} == {willing}


def test_a_suppression_that_fails_for_too_long_stops_the_run(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    world.somebody(consents=False)
    world.public_api.fail(answer(401))

    ended = world.run("--patience", "0")

    assert ended.code == Exit.STOPPED
    assert "Segment's Public API answered 401" in ended.said
    assert world.checkpoint.exists()


def test_a_user_id_that_the_public_api_refuses_is_a_reject_and_its_neighbours_are_suppressed(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    refused, *others = [world.somebody(consents=False) for _ in range(5)]
    respond = world.public_api.respond
    world.public_api.respond = lambda call: (  # type: ignore[method-assign]  # a Public API that dislikes this one
        world.public_api.refusal(400, None) if refused.encode() in call.body else respond(call)
    )

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.ATTENTION
    assert world.segment.suppressed == set(others)
    assert (ended.document["rejected"], ended.document["skipped"]) == (1, 4)
    reason = "Segment's Public API answered 400"
    assert json.loads(world.rejects.read_text()) == {"id": refused, "version": 2, "reason": reason}


def test_when_the_public_api_refuses_everything_it_is_not_the_customers(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    for _ in range(25):
        world.somebody(consents=False)
    world.public_api.fail(answer(400))

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.STOPPED
    assert "Look at SEGMENT_PUBLIC_API_TOKEN" in ended.said


def test_who_consents_while_it_runs_is_not_left_suppressed(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING.replace("custom.advertising", "isEmailVerified")
    unwilling = world.somebody()
    with world.public_api.hold(before_effect=True) as held, world.begun("--lanes", "1") as process:
        assert held.wait_for(1, LONG)
        world.shop.change(unwilling, {"action": "verifyEmail"})
        held.let_go()
        process.rest()

    assert process.returncode == Exit.DONE
    assert not world.segment.suppressed
    assert of_users(world.segment.events) == [("identify", unwilling)]


def test_both_events_of_a_customer_are_in_one_call_in_their_order_and_counted_once(world: RuledWorld) -> None:
    world.mapping = WITH_EVENT
    number = 400
    for _ in range(number):
        world.somebody(companyName="Large " * 200)

    ended = world.run("--lanes", "1")

    assert (ended.code, ended.document["sent"]) == (Exit.DONE, number)
    assert world.segment.accepted >= 2 * number, "who was created just before it began is sent once more"
    assert len(world.segment.calls) > 1
    for call in world.segment.calls:
        events = of_users(call.json()["batch"])
        assert [kind for kind, _ in events] == ["identify", "track"] * (len(events) // 2)
        assert [user_id for _, user_id in events[::2]] == [user_id for _, user_id in events[1::2]]
        assert len(call.body) <= 475_000


def test_an_event_that_segment_refuses_does_not_keep_the_other_of_the_customer_from_being_sent(
    world: RuledWorld,
) -> None:
    world.mapping = WITH_EVENT
    world.somebody()
    refused = world.somebody(lastName="Refused")
    too_large = world.somebody(companyName="Large " * 6_000)
    respond = world.segment.respond
    world.segment.respond = lambda call: (  # type: ignore[method-assign]  # a Segment that dislikes this one
        world.segment.refusal(400, None) if b"Refused" in call.body else respond(call)
    )

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.ATTENTION
    assert (ended.document["sent"], ended.document["rejected"]) == (1, 2)
    told = of_users(world.segment.events)
    assert ("track", refused) in told
    assert ("track", too_large) in told
    rejects = {line["id"]: line["reason"] for line in map(json.loads, world.rejects.read_text().splitlines())}
    assert rejects == {refused: "Segment answered 400", too_large: "the event is larger than Segment's 32 KiB"}


def test_what_is_of_another_kind_than_the_file_says_is_left_out_counted_and_remarked(world: RuledWorld) -> None:
    for points in (5, "many", ["canary"]):
        world.with_points(points)

    ended = world.run()

    assert ended.code == Exit.ATTENTION
    assert (ended.document["sent"], ended.document["unreadable"]) == (3, {"points": 2})
    assert ended.err.count("points is left out where its field has another kind of value") == 1
    assert "canary" not in ended.said


# The checkpoint


@pytest.fixture
def stopped(world: RuledWorld) -> RuledWorld:
    """Return a world whose backfill has stopped in the middle, since Segment failed."""
    for _ in range(20):
        world.somebody()
    world.segment.fail(answer(500))
    assert world.run("--lanes", "1", "--patience", "0").code == Exit.STOPPED
    world.segment.fail(None)
    document = json.loads(world.checkpoint.read_text())
    document["lanes"][0]["counts"]["read"] = 1  # the checkpoint of a run that had come further
    world.checkpoint.write_text(json.dumps(document))
    return world


def test_it_does_not_go_on_by_other_rules(stopped: RuledWorld) -> None:
    stopped.mapping = POINTS

    ended = stopped.run()

    assert ended.code == Exit.UNUSABLE
    assert "belongs to a backfill by other rules" in ended.said
    assert "or remove the file to begin anew" in ended.said
    assert stopped.segment.accepted == 0


def test_a_comment_in_the_file_makes_no_other_rules(stopped: RuledWorld) -> None:
    stopped.mapping = f"# Points are what the shop calls coins.\n{GATED}"

    assert stopped.run().code == Exit.DONE
    assert len(stopped.segment.profiles) == 20


def test_a_checkpoint_of_an_older_release_which_names_no_rules_goes_on(stopped: RuledWorld) -> None:
    document = json.loads(stopped.checkpoint.read_text())
    del document["settings"]["MAPPING_FILE"]
    for lane in document["lanes"]:
        lane["counts"] = {name: lane["counts"][name] for name in ("read", "sent", "rejected", "skipped")}
    stopped.checkpoint.write_text(json.dumps(document))

    assert stopped.run().code == Exit.DONE


# A dry run


def test_a_dry_run_counts_what_a_run_would_do_and_sends_and_writes_nothing(world: RuledWorld) -> None:
    world.mapping = GATED
    world.with_points(5)
    world.with_points(None)
    world.with_points("Canary")
    world.somebody(consents=False, firstName="Canary")
    world.somebody(companyName="Canary " * 10_000)
    world.shop.create(firstName=7, lastName="Canary")

    ended = world.run("--dry-run")

    assert ended.code == Exit.ATTENTION
    document = ended.document
    assert (document["read"], document["to_send"], document["skipped"], document["rejected"]) == (6, 3, 1, 2)
    assert document["reasons"] == {NO_CONSENT: 1}
    assert document["rejections"] == {
        "the customer is not valid: firstName: Not a valid string": 1,
        "the event is larger than Segment's 32 KiB": 1,
    }
    assert document["too_large"] == 1
    assert 68 < document["largest_kib"] < 70
    assert document["unreadable"] == {"points": 1}
    assert document["traits"]["points"] == {"value": 1, "null": 1}
    assert document["traits"]["formerTrait"] == {"value": 0, "null": 3}
    assert document["traits"]["email"] == {"value": 3, "null": 0}
    assert document["finished"]
    assert (world.segment.call_count, world.public_api.call_count, world.files()) == (0, 0, ["shop.toml"])
    assert "Canary" not in ended.said


def test_a_dry_run_needs_neither_a_write_key_nor_a_token(world: RuledWorld) -> None:
    world.mapping = SUPPRESSING
    world.somebody()
    world.somebody(consents=False)

    ended = world.run("--dry-run", SEGMENT_WRITE_KEY="", SEGMENT_PUBLIC_API_TOKEN="")

    assert ended.code == Exit.DONE, ended.said
    counts = ended.document
    assert (counts["to_send"], counts["to_suppress"], counts["to_unsuppress"]) == (1, 1, 1)


def test_a_dry_run_counts_as_a_run_does(world: RuledWorld) -> None:
    world.mapping = WITH_EVENT
    for consents in (True, False, "yes", None):
        world.somebody(consents=consents)
    world.somebody(companyName="Large " * 6_000)
    world.with_points("many")

    dry, real = world.run("--dry-run").document, world.run().document

    assert dry["to_send"] == real["sent"] == 2
    for name in ("read", "skipped", "reasons", "rejected", "unreadable"):
        assert dry[name] == real[name], name


def test_a_dry_run_takes_the_customers_of_since_and_where(world: RuledWorld) -> None:
    world.somebody()
    wanted = world.somebody()

    ended = world.run("--dry-run", "--since", "2020-01-01", "--where", f'id = "{wanted}"')

    assert (ended.code, ended.document["read"]) == (Exit.DONE, 1)
    assert world.run("--dry-run", "--where", "shoe = 38").code == Exit.UNUSABLE


def test_a_dry_run_shows_a_table_of_what_would_be_done_and_one_of_the_traits(world: RuledWorld) -> None:
    world.somebody()
    world.somebody(consents=False)

    with world.begun("--dry-run") as process:
        said = " ".join(process.rest().decode().split())

    assert process.returncode == Exit.DONE
    assert "read 2 to send 1" in said
    assert "skipped 1 no consent for Advertising" in said
    assert "points 1 0" in said
    assert "The largest event has 0." in said
    assert "nothing was sent" in said


def test_a_dry_run_does_not_touch_the_files_of_a_run_that_has_stopped(stopped: RuledWorld) -> None:
    before = stopped.checkpoint.read_text()
    stopped.mapping = POINTS

    ended = stopped.run("--dry-run")

    assert (ended.code, ended.document["read"]) == (Exit.DONE, 20)
    assert stopped.checkpoint.read_text() == before
    assert stopped.files() == ["backfill.checkpoint.json", "shop.toml"]


def test_a_dry_run_with_data_in_the_rejects_is_refused(world: RuledWorld) -> None:
    ended = world.run("--dry-run", "--rejects-with-data")

    assert ended.code == Exit.UNUSABLE
    assert "--rejects-with-data" in ended.said
    assert world.commercetools.call_count == 0


def test_ctrl_c_ends_a_dry_run_with_the_counts_so_far(tmp_path: Path) -> None:
    with a_world(tmp_path, 2_000) as world:
        with (
            world.commercetools.hold(is_a_page, after=1) as held,
            world.begun("--dry-run", "--json", "--lanes", "1") as process,
        ):
            assert held.wait_for(1, LONG)
            process.send_signal(signal.SIGINT)
            said = said_up_to(b"Stopping", process)
            held.let_go()
            said = process.rest()

        assert process.returncode == Exit.INTERRUPTED
        counts = json.loads(said[said.index(b"{\n") : said.rindex(b"}") + 1])
        assert 500 <= counts["read"] < 2_000
        assert counts["read"] == counts["to_send"] == counts["traits"]["email"]["value"]
        assert not counts["finished"]
        assert b"continues" not in said
        assert not list(tmp_path.iterdir())


def test_a_dry_run_that_cannot_go_on_says_that_it_begins_anew(world: RuledWorld) -> None:
    world.somebody()
    world.commercetools.fail(answer(503), on=f"/{world.shop.project_key}")

    ended = world.run("--dry-run", "--patience", "0")

    assert ended.code == Exit.STOPPED
    assert "commercetools answered 503" in ended.said
    assert "continues" not in ended.said
