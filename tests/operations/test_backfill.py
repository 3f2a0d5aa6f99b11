"""backfill: exactly the shop's state in Segment, whatever happens on the way, and nothing counted twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.oracle import differences, profiles_of_customers, rules_of
from playground.segment import SegmentStandIn
from playground.shop import Document, Shop
from playground.stand_in import CLOSE_AFTER_READ, RESET_AFTER_READ, Call, answer
from service.integration import integration_by
from service.operations import Exit, command_settings
from service.operations.backfill_calls import Pace
from service.operations.backfill_files import lanes_for
from service.outcome import Ending
from tests.builders import a_change, a_push, an_address
from tests.operations.commands import Ended, Running, begun, command, environment_of, run, settings_for

LANES = 8
LONG = 60.0


def is_a_page(call: Call) -> bool:
    return call.path.endswith("/customers") and call.query.get("withTotal") != ["true"]  # which only counts


AT_ONCE = ("--settle", "0")  # the stand-in's queries show every change


class World:
    """A shop and Segment, and the backfill between them."""

    def __init__(
        self, segment: SegmentStandIn, commercetools: CommercetoolsStandIn, published: deque[bytes], folder: Path
    ) -> None:
        self.published = published
        self.segment = segment
        self.commercetools = commercetools
        self.shop = commercetools.shop
        self.folder = folder
        self.checkpoint = folder / "backfill.checkpoint.json"
        self.rejects = folder / "backfill.rejects.jsonl"

    def settings(self, **more: str) -> dict[str, str]:
        return settings_for(self.segment, self.commercetools, **{"SEGMENT_CLEAR_TRAITS": "all", **more})

    def run(self, *arguments: str, **settings: str) -> Ended:
        return run("backfill", "--json", *AT_ONCE, *arguments, settings=self.settings(**settings), cwd=self.folder)

    @contextmanager
    def begun(self, *arguments: str) -> Iterator[Running]:
        with begun("backfill", *AT_ONCE, *arguments, settings=self.settings(), cwd=self.folder) as process:
            yield process

    def differences(self) -> list[str]:
        """Return the ids of customers whose profile in Segment is not exactly the shop's state."""
        rules = rules_of(self.settings())
        expected = profiles_of_customers(self.shop.customers.values(), self.shop.groups, rules)
        return differences(expected, self.segment.profiles)

    def batches(self) -> list[list[str]]:
        """Return the messageIds of each call that brought a batch."""
        return [[event["messageId"] for event in call.json()["batch"]] for call in self.segment.calls]

    def repeated(self) -> int:
        """Count the calls that brought something that an earlier one had brought."""
        seen: set[str] = set()
        repeated = 0
        for batch in self.batches():
            repeated += not seen.isdisjoint(batch)
            seen.update(batch)
        return repeated


@contextmanager
def a_world(folder: Path, population: int = 0, latency: float = 0.0) -> Iterator[World]:
    published: deque[bytes] = deque()
    shop = Shop(publish=lambda data, _attributes: published.append(data), population=population)
    with (
        SegmentStandIn(latency=latency) as segment,
        CommercetoolsStandIn(shop, latency=latency, remember=5_000) as commercetools,
    ):
        yield World(segment, commercetools, published, folder)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def said_up_to(words: bytes, process: Running) -> bytes:
    """Return what a process says until it has said these words in a line."""
    said = b""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    pytest.fail(f"it ended without a word of {words.decode()}: {said.decode()}")


def peopled(world: World, number: int = 20) -> list[str]:
    return [world.shop.create(firstName=f"Person {n}")["id"] for n in range(number)]


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("population", "lanes"),
    [pytest.param(2_500, 4, id="2,500"), pytest.param(100_000, LANES, id="100,000", marks=pytest.mark.long)],
)
@pytest.mark.timeout(300)
def test_a_backfill_killed_in_the_middle_and_begun_again_while_segment_fails_brings_exactly_the_shops_state(
    tmp_path: Path, population: int, lanes: int
) -> None:
    with a_world(tmp_path, population, latency=0.02) as world:
        in_lanes = ("--lanes", f"{lanes}")
        # More calls than lanes: at least one lane has made a second call, so its first one is in the checkpoint.
        with world.segment.hold(after=lanes // 2) as held, world.begun(*in_lanes) as process:
            assert held.wait_for(lanes // 2 + 1, LONG)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert world.checkpoint.exists()
        done_before = world.segment.accepted
        calls_before = world.segment.call_count
        world.commercetools.revoke_tokens()
        world.commercetools.fail_next(answer(502), 3)
        world.segment.fail(answer(503))
        with world.begun("--json", *in_lanes) as process:
            assert world.segment.wait_for_calls(calls_before + 2 * lanes, LONG)
            world.segment.fail_next(RESET_AFTER_READ.after_effect(), 2)
            world.segment.fail(None)
            out = process.rest()
        assert process.returncode == Exit.DONE, out

        assert world.differences() == []
        assert 0 < done_before < population
        assert world.segment.accepted == population
        assert not world.segment.dropped
        assert not world.checkpoint.exists()
        assert not world.rejects.exists()
        assert b"Going on from" in out
        counts = json.loads(out[out.index(b"{\n") :])  # after lines of progress
        assert (counts["read"], counts["sent"], counts["rejected"], counts["skipped"]) == (population, population, 0, 0)


class FarTravelled(Shop):
    """A shop whose customers have a hundred addresses each."""

    def view(self, customer_id: str, lag: int = 0) -> Document | None:
        customer = super().view(customer_id, lag)
        addresses = [an_address(id=f"address-{number}") for number in range(100)]
        return None if customer is None else {**customer, "addresses": addresses}


# Seen: 135 to 141 MiB; 214 with a first page of 500.
@pytest.mark.long
@pytest.mark.timeout(300)
def test_large_customers_are_backfilled_in_bounded_memory(tmp_path: Path) -> None:
    # A process that is forked from a large one, such as this, begins with its peak; so a small one starts the command.
    small = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    shop = FarTravelled(population=6_000)
    with SegmentStandIn() as segment, CommercetoolsStandIn(shop, remember=100) as commercetools:
        ended = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-c", small, *command("backfill", "--json", "--patience", "0", *AT_ONCE)],
            env=environment_of(settings_for(segment, commercetools)),
            cwd=tmp_path,
            capture_output=True,
            check=True,
            text=True,
        )

    assert json.loads(ended.stdout)["sent"] == 6_000
    *_, kibibytes = ended.stderr.split()
    assert int(kibibytes) / 1024 < 200


def test_a_kill_has_at_most_the_batches_in_flight_sent_again(tmp_path: Path) -> None:
    with a_world(tmp_path, 2_000, latency=0.02) as world:
        with world.segment.hold(after=2) as held, world.begun("--lanes", "2") as process:
            assert held.wait_for(2, LONG)  # the second call of a lane among them: its first is in the checkpoint
            process.kill()
            process.wait()
        ended = world.run()

        assert ended.code == Exit.DONE, ended.err
        assert world.segment.accepted == 2_000
        assert world.repeated() <= 2
        assert "Going on from" in ended.err


def test_batches_are_full_but_for_the_last_of_each_lane(tmp_path: Path) -> None:
    with a_world(tmp_path, 1_500) as world:
        assert world.run("--lanes", "1").code == Exit.DONE

        sizes = [len(call.body) for call in world.segment.calls]
        assert max(sizes) <= 475_000
        assert min(sizes[:-1]) > 430_000
        *pages, _sweep = [call for call in world.commercetools.calls if is_a_page(call)]
        assert len(pages) == 4
        assert [call.query["limit"] for call in pages] == [["20"], *[["500"]] * 3], "the first tells how large one is"
        assert all(call.query["sort"] == ["id asc"] for call in pages)
        assert pages[1].query["where"] == [f'id > "{list(world.shop.customers)[19]}"']


def test_ctrl_c_leaves_it_resumable(tmp_path: Path) -> None:
    with a_world(tmp_path, 2_000, latency=0.02) as world:
        with world.segment.hold(after=2) as held, world.begun("--lanes", "2") as process:
            assert held.wait_for(1, LONG)  # and nothing slow until it is let go: a call that is held has 10 s
            process.send_signal(signal.SIGINT)
            out = said_up_to(b"Stopping", process)
            held.let_go()
            out += process.rest()
        assert process.returncode == Exit.INTERRUPTED
        assert b"the same command continues" in out
        assert b"Traceback" not in out

        assert world.run().code == Exit.DONE

        assert world.differences() == []
        assert world.segment.duplicates == 0  # what was in flight ended before it stopped


def is_of_a_backfill(call: Call) -> bool:
    return len(call.json()["batch"]) > 1


def test_the_message_id_is_the_one_of_live_events(world: World) -> None:
    customer_id = peopled(world, 1)[0]
    about = {"resource": {"typeId": "customer", "id": customer_id}, "projectKey": world.shop.project_key, "version": 1}
    live = integration_by(command_settings(world.settings()))
    outcome = live.handle(a_push(a_change(**about)), {}, time.monotonic() + LONG)
    assert outcome.ending is Ending.DELIVERED

    ended = world.run()

    assert ended.code == Exit.DONE
    assert (world.segment.accepted, world.segment.duplicates) == (1, 1)
    first, again = world.segment.received
    assert first == again


def test_beside_live_traffic_nothing_newer_is_overwritten(tmp_path: Path) -> None:
    with a_world(tmp_path, 800) as world:
        live = integration_by(command_settings(world.settings()))
        with world.segment.hold(is_of_a_backfill, before_effect=True) as held, world.begun() as process:
            assert held.wait_for(LANES, LONG)  # it has read everybody, and none of its batches has arrived
            for _ in range(100):
                world.shop.random_change()
                while world.published:
                    live.handle(a_push(world.published.popleft()), {}, time.monotonic() + LONG)
            arrived_before = world.segment.accepted
            held.let_go()
            process.rest()
        assert process.returncode == Exit.DONE
        assert 0 < arrived_before < world.segment.accepted

        # Segment keeps customers that were deleted meanwhile: no erasure was requested.
        assert [customer_id for customer_id in world.differences() if world.shop.exists(customer_id)] == []


def test_who_changed_while_it_ran_has_its_newest_state_in_segment_last(tmp_path: Path) -> None:
    with a_world(tmp_path, 30) as world:
        live = integration_by(command_settings(world.settings()))
        one, another, *_ = world.shop.customers
        with world.segment.hold(is_of_a_backfill, before_effect=True) as held, world.begun("--lanes", "1") as process:
            assert held.wait_for(1, LONG)
            for customer_id in (one, another):
                world.shop.change(customer_id, {"action": "setFirstName", "firstName": "Newer"})
            while world.published:
                live.handle(a_push(world.published.popleft()), {}, time.monotonic() + LONG)
            held.let_go()
            out = process.rest()

        assert process.returncode == Exit.DONE
        assert b"sent again" in out
        assert world.differences() == []
        assert world.segment.accepted == 30 + 2 + 2, "and nobody else is sent twice"


def test_who_can_no_longer_be_sent_after_a_change_meanwhile_is_a_reject(tmp_path: Path) -> None:
    with a_world(tmp_path, 30) as world:
        one = next(iter(world.shop.customers))
        with world.segment.hold(is_of_a_backfill, before_effect=True) as held, world.begun("--lanes", "1") as process:
            assert held.wait_for(1, LONG)
            world.shop.change(one, {"action": "setCompanyName", "companyName": "Large " * 6_000})
            held.let_go()
            out = process.rest()

        assert process.returncode == Exit.ATTENTION
        assert b"see backfill.rejects.jsonl" in out
        assert [json.loads(line)["id"] for line in world.rejects.read_text().splitlines()] == [one]


def test_who_changed_while_it_ran_to_what_cannot_be_sent_needs_attention(tmp_path: Path) -> None:
    with a_world(tmp_path, 30) as world:
        one = next(iter(world.shop.customers))
        arguments = ("--json", "--lanes", "1")
        with world.segment.hold(is_of_a_backfill, before_effect=True) as held, world.begun(*arguments) as process:
            assert held.wait_for(1, LONG)
            world.shop.change(one, {"action": "setFirstName", "firstName": 7})
            held.let_go()
            out = process.rest()

        assert process.returncode == Exit.ATTENTION
        counts = json.loads(out[out.index(b"{\n") :])  # after lines of progress
        assert (counts["sent"], counts["sent_again"], counts["rejected"]) == (30, 0, 1)
        assert counts["rejects"] == world.rejects.name
        assert json.loads(world.rejects.read_text())["id"] == one


def test_a_resumed_run_sends_who_changed_since_the_first_one_began_under_new_message_ids(tmp_path: Path) -> None:
    with a_world(tmp_path, 30) as world:
        live = integration_by(command_settings(world.settings()))
        one = next(iter(world.shop.customers))
        with world.segment.hold(is_of_a_backfill, before_effect=True) as held, world.begun("--lanes", "1") as process:
            assert held.wait_for(1, LONG)
            process.kill()
            process.wait()
            world.shop.change(one, {"action": "setFirstName", "firstName": "Newer"})
            while world.published:
                live.handle(a_push(world.published.popleft()), {}, time.monotonic() + LONG)
            held.let_go()
        assert world.segment.wait_for_events(31, LONG)  # what the killed run had sent arrives after the newer state
        assert world.differences() == [one]
        lane = json.loads(world.checkpoint.read_text())
        lane["lanes"][0]["counts"]["read"] = 1  # the checkpoint of a run that had come further
        del lane["kind"]  # and of an older release
        world.checkpoint.write_text(json.dumps(lane))

        assert world.run().code == Exit.DONE

        assert world.differences() == []


def test_customers_are_told_once_more_only_when_that_is_asked_for(world: World) -> None:
    peopled(world)

    runs = [world.run(), world.run(), world.run("--again"), world.run("--again")]

    assert {ended.code for ended in runs} == {Exit.DONE}
    assert (world.segment.accepted, world.segment.duplicates) == (60, 20)


def test_other_rules_reach_segment_on_the_same_day(world: World) -> None:
    peopled(world)

    for user_id in ("email", "id"):
        assert world.run(SEGMENT_USER_ID=user_id).code == Exit.DONE

    assert (world.segment.accepted, world.segment.duplicates) == (40, 0)


@pytest.mark.parametrize(("status", "code"), [(400, "QueryTimedOut"), (504, "QueryTimedOut"), (400, "ContentTooLarge")])
def test_a_query_that_is_too_much_is_asked_again_for_fewer_customers(world: World, status: int, code: str) -> None:
    peopled(world, 30)
    timed_out = answer(status, body=json.dumps({"errors": [{"code": code}]}).encode())
    world.commercetools.fail_next(timed_out, times=3, on=f"/{world.shop.project_key}/customers")

    ended = world.run("--lanes", "1", "--where", 'createdAt > "2020-01-01T00:00:00.000Z"')

    assert (ended.code, ended.document["sent"]) == (Exit.DONE, 30)
    limits = [call.query["limit"] for call in world.commercetools.calls if is_a_page(call)]
    assert limits == [["20"], ["10"], ["5"], ["500"], ["500"]], "the last is the sweep's"
    assert f"commercetools answered {status} {code}; trying again" in ended.said


@pytest.mark.parametrize("code", ["BadGateway", "OverCapacity", "PendingOperation"])
def test_an_error_that_passes_is_retried_whatever_its_status(world: World, code: str) -> None:
    peopled(world, 3)
    passing = answer(400, body=json.dumps({"errors": [{"code": code}]}).encode())
    world.commercetools.fail_next(passing, on=f"/{world.shop.project_key}/customers")

    ended = world.run("--lanes", "1", "--where", "version > 0")

    assert (ended.code, ended.document["sent"]) == (Exit.DONE, 3)
    assert f"commercetools answered 400 {code}; trying again" in ended.said


@pytest.mark.parametrize("where", [True, False])
@pytest.mark.parametrize(
    ("place", "status", "code", "advice"),
    [
        ("/demo-shop/customers", 400, "InvalidInput", ("It may be the predicate of --where.", "Look at CTP_API_URL")),
        ("/demo-shop/customers", 403, "insufficient_scope", ("CTP_SCOPES must have view_customers",) * 2),
        ("/demo-shop/customers", 400, "insufficient_scope", ("CTP_SCOPES must have view_customers",) * 2),
        ("/demo-shop/customers", 404, "ResourceNotFound", ("It may be CTP_PROJECT_KEY",) * 2),
        ("/demo-shop/customers", 401, "invalid_token", ("It may be CTP_CLIENT_ID",) * 2),
        ("/demo-shop/customers", 410, "Gone", ("Look at CTP_API_URL",) * 2),
        ("/oauth", 400, "invalid_request", ("It may be CTP_SCOPES",) * 2),
        ("/oauth", 401, "invalid_client", ("It may be CTP_CLIENT_ID",) * 2),
        ("/oauth", 404, "ResourceNotFound", ("It may be the address in CTP_AUTH_URL.",) * 2),
    ],
)
def test_the_advice_names_the_cause_that_the_answer_has(
    world: World, place: str, status: int, code: str, advice: tuple[str, str], *, where: bool
) -> None:
    peopled(world, 3)
    world.commercetools.fail(answer(status, body=json.dumps({"errors": [{"code": code}]}).encode()), on=place)

    ended = world.run(*(["--where", "version > 0"] if where else []))

    assert ended.code in {Exit.STOPPED, Exit.UNUSABLE}
    assert f"answered {status} {code}. {advice[0 if where else 1]}" in ended.said


def test_a_predicate_that_is_refused_while_a_batch_is_in_flight_does_not_end_as_if_nothing_was_done(
    world: World,
) -> None:
    peopled(world, 30)
    refused = answer(400, body=json.dumps({"errors": [{"code": "InvalidInput"}]}).encode())
    with (
        world.segment.hold(is_of_a_backfill) as sending,
        world.commercetools.hold(is_a_page, after=1, before_effect=True) as reading,
        world.begun("--lanes", "2", "--where", "version > 0") as process,
    ):
        assert sending.wait_for(1, LONG)
        assert reading.wait_for(1, LONG)
        world.commercetools.fail(refused, on=f"/{world.shop.project_key}/customers")
        reading.let_go()
        assert world.commercetools.wait_for_calls(3, LONG)  # for the token, and two pages
        sending.let_go()
        out = process.rest()

    assert process.returncode == Exit.STOPPED, out


def test_a_predicate_that_is_refused_after_something_was_sent_does_not_end_as_if_nothing_was_done(
    tmp_path: Path,
) -> None:
    with a_world(tmp_path, 600) as world:
        refused = answer(400, body=json.dumps({"errors": [{"code": "InvalidInput"}]}).encode())
        with (
            world.commercetools.hold(is_a_page, after=1) as held,
            world.begun("--lanes", "1", "--where", "version > 0") as process,
        ):
            assert held.wait_for(1, LONG)
            world.commercetools.fail(refused, on=f"/{world.shop.project_key}/customers")
            held.let_go()
            out = process.rest()

        assert process.returncode in {Exit.STOPPED, Exit.UNUSABLE}
        assert (process.returncode == Exit.UNUSABLE) == (world.segment.accepted == 0)
        assert b"InvalidInput" in out


def test_the_files_of_a_run_are_readable_by_their_owner_alone(world: World) -> None:
    peopled(world)
    world.shop.create(firstName=7, lastName="Zo\ud83d")
    world.segment.fail_next(answer(503))

    assert world.run("--rejects-with-data", "--patience", "0").code == Exit.STOPPED
    assert world.checkpoint.stat().st_mode & 0o777 == 0o600

    assert world.run("--rejects-with-data").code == Exit.ATTENTION
    assert world.rejects.stat().st_mode & 0o777 == 0o600
    assert json.loads(world.rejects.read_text())["customer"]["lastName"] == "Zo\ud83d"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_file_that_others_could_read_is_closed_to_them(world: World, umask: int) -> None:
    world.shop.create(firstName=7)
    world.rejects.touch(0o644)

    ended = run("backfill", *AT_ONCE, "--rejects-with-data", settings=world.settings(), cwd=world.folder, umask=umask)

    assert ended.code == Exit.ATTENTION
    assert world.rejects.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["rejects.jsonl", "backfill.checkpoint.json.tmp", "backfill.checkpoint.json.lock"])
def test_no_file_is_written_through_a_link(world: World, name: str) -> None:
    peopled(world, 1)
    elsewhere = world.folder / "elsewhere"
    elsewhere.write_text("of somebody else")
    elsewhere.chmod(0o644)
    (world.folder / name).symlink_to(elsewhere)

    ended = world.run("--rejects", "rejects.jsonl")

    assert ended.code == Exit.UNUSABLE
    assert "cannot be written: it is a symbolic link" in ended.said
    assert (elsewhere.read_text(), elsewhere.stat().st_mode & 0o777) == ("of somebody else", 0o644)
    assert world.segment.call_count == 0


def test_what_is_no_regular_file_is_not_written_and_not_removed(world: World) -> None:
    pipe = world.folder / "pipe"
    os.mkfifo(pipe)

    ended = world.run("--rejects", "pipe")

    assert ended.code == Exit.UNUSABLE
    assert "cannot be written: it is not a regular file" in ended.said
    assert pipe.is_fifo()


def test_a_new_run_keeps_what_is_in_the_file_of_the_rejects(world: World) -> None:
    bad = world.shop.create(firstName=7)["id"]
    world.rejects.write_text("of another run\n")

    assert world.run().code == Exit.ATTENTION

    first, *others = world.rejects.read_text().splitlines()
    assert first == "of another run"
    assert [json.loads(line)["id"] for line in others] == [bad]


def test_a_bad_customer_goes_to_the_rejects_with_its_reason_and_the_run_goes_on(world: World) -> None:
    peopled(world)
    bad = world.shop.create(firstName=7, lastName="Canary")["id"]
    large = world.shop.create(companyName="Canary " * 5_000)["id"]

    ended = world.run()

    assert ended.code == Exit.ATTENTION
    assert (ended.document["read"], ended.document["sent"], ended.document["rejected"]) == (22, 20, 2)
    rejects = {line["id"]: line for line in map(json.loads, world.rejects.read_text().splitlines())}
    assert rejects == {
        bad: {"id": bad, "version": 1, "reason": "the customer is not valid: firstName: Not a valid string"},
        large: {"id": large, "version": 1, "reason": "the event is larger than Segment's 32 KiB"},
    }
    assert "Canary" not in ended.said + world.rejects.read_text()
    assert "example.com" not in ended.said


def test_rejects_hold_the_customer_only_when_asked_to(world: World) -> None:
    world.shop.create(firstName=7, lastName="Canary")

    world.run("--rejects-with-data", "--rejects", "elsewhere.jsonl")

    (line,) = (world.folder / "elsewhere.jsonl").read_text().splitlines()
    assert json.loads(line)["customer"]["lastName"] == "Canary"


def test_an_event_that_segment_refuses_is_found_and_its_neighbours_are_sent(world: World) -> None:
    ids = sorted(peopled(world, 12))
    refused = ids[5]
    respond = world.segment.respond
    world.segment.respond = lambda call: (  # type: ignore[method-assign]  # a Segment that dislikes this one
        world.segment.refusal(400, None) if refused.encode() in call.body else respond(call)
    )

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.ATTENTION
    assert (ended.document["sent"], ended.document["rejected"]) == (11, 1)
    assert json.loads(world.rejects.read_text()) == {"id": refused, "version": 1, "reason": "Segment answered 400"}


def test_when_segment_refuses_everything_it_is_not_the_customers(world: World) -> None:
    peopled(world, 40)
    world.segment.fail(answer(400))

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.STOPPED
    assert "Look at SEGMENT_WRITE_KEY" in ended.said
    assert world.checkpoint.exists()


def test_customers_without_the_chosen_user_id_are_skipped_and_counted(world: World) -> None:
    peopled(world, 5)
    world.shop.create(key="with-a-key")

    ended = world.run(SEGMENT_USER_ID="key")

    assert ended.code == Exit.DONE
    assert (ended.document["sent"], ended.document["skipped"]) == (1, 5)
    assert list(world.segment.profiles) == ["with-a-key"]


def test_since_takes_who_changed_since(tmp_path: Path) -> None:
    with a_world(tmp_path, 1_200) as world:  # born a second apart, the last one now
        moment = list(world.shop.customers.values())[700]["lastModifiedAt"]

        ended = world.run("--since", moment)

        assert ended.code == Exit.DONE
        assert ended.document["sent"] == 500
        pages = [call.query["where"] for call in world.commercetools.calls if is_a_page(call)]
        assert all(f'lastModifiedAt >= "{moment}"' in where for where in pages)


def test_where_takes_those_for_whom_the_predicate_holds(world: World) -> None:
    peopled(world)
    world.shop.create(email="Wanted@example.com")

    ended = world.run("--where", 'lowercaseEmail = "wanted@example.com"')

    assert ended.code == Exit.DONE
    assert [profile["email"] for profile in world.segment.profiles.values()] == ["Wanted@example.com"]
    assert "wanted@example.com" not in ended.said


def test_the_checkpoint_holds_nothing_of_a_person_and_no_secret(world: World) -> None:
    peopled(world)
    world.shop.create(email="canary@example.com", firstName="Canary")
    world.segment.fail(answer(500))

    ended = world.run("--patience", "0", "--where", 'email = "canary@example.com"')

    text = world.checkpoint.read_text()
    assert ended.code == Exit.STOPPED
    assert "anary" not in text
    assert world.segment.write_key not in text
    assert world.commercetools.client_secret not in text


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world whose backfill has stopped in the middle, since Segment failed, with nothing recorded."""
    with a_world(tmp_path_factory.mktemp("stopped"), 1_200, latency=0.05) as world:
        with world.segment.hold(after=1) as held, world.begun("--lanes", "1", "--patience", "0") as process:
            assert held.wait_for(1, LONG)
            with world.segment.failing(answer(500)):
                held.let_go()
                assert process.wait() == Exit.STOPPED
        world.segment.forget()
        yield world


def test_a_mistaken_predicate_is_no_reason_to_refuse_the_right_one(world: World) -> None:
    peopled(world, 3)
    assert world.run("--where", "shoe = 38").code == Exit.UNUSABLE

    ended = world.run("--where", 'id > "0"')

    assert ended.code == Exit.DONE
    assert ended.document["sent"] == 3


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        pytest.param(["--where", 'id > "1"'], {}, "another --where", id="where"),
        pytest.param(["--since", "2026-01-01"], {}, "another --since", id="since"),
        pytest.param([], {"SEGMENT_USER_ID": "email"}, "another SEGMENT_USER_ID", id="the user id"),
        pytest.param([], {"SEGMENT_WRITE_KEY": "staging"}, "another SEGMENT_WRITE_KEY", id="the write key"),
        pytest.param(["--rejects", "other"], {}, "another --rejects", id="the rejects"),
    ],
)
def test_it_does_not_go_on_with_other_settings(
    stopped: World, arguments: list[str], settings: dict[str, str], named: str
) -> None:
    before = stopped.checkpoint.read_text()

    ended = stopped.run(*arguments, **settings)

    assert ended.code == Exit.UNUSABLE
    assert f"belongs to a backfill with {named}." in ended.said
    assert stopped.segment.accepted == 0
    assert stopped.checkpoint.read_text() == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        *((text, "is not a checkpoint of a backfill") for text in (b"", b"not JSON", b"{}", b"[]")),
        (b'{"format": 1, "settings": 5, "lanes": [], "rejects_bytes": 0}', "was written by another version"),
        (b"\xff", "cannot be read: it is not UTF-8."),
    ],
)
def test_a_file_that_is_no_checkpoint_is_left_alone(world: World, content: bytes, why: str) -> None:
    peopled(world, 1)
    world.checkpoint.write_bytes(content)

    ended = world.run()

    assert ended.code == Exit.UNUSABLE
    assert "backfill.checkpoint.json" in ended.err
    assert why in ended.said
    assert world.checkpoint.read_bytes() == content
    assert world.segment.call_count == 0


def test_a_checkpoint_that_cannot_be_written_stops_it_before_anything_is_sent(world: World) -> None:
    peopled(world, 1)

    ended = world.run("--checkpoint", "no/such/folder/checkpoint.json")

    assert ended.code == Exit.UNUSABLE
    assert "cannot be written: No such file or directory" in ended.said
    assert world.segment.call_count == 0


def test_a_full_disk_ends_it_with_a_sentence_and_what_was_noted_is_kept(tmp_path: Path) -> None:
    with a_world(tmp_path, 300) as world:
        bad = world.shop.create(firstName=7)["id"]
        world.segment.fail(answer(500))
        assert world.run("--patience", "0").code == Exit.STOPPED
        world.segment.fail(None)
        whole = world.checkpoint.read_text()
        # Where a file can grow no more, writing fails as it does on a full disk.
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))"
        limited = f"import os, resource, sys; {limit}; os.execv(sys.argv[1], sys.argv[1:])"
        ended = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-c", limited, *command("backfill")],
            env=environment_of(world.settings()),
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
        )

        assert len(whole) > 1_000
        assert ended.returncode == Exit.UNUSABLE
        assert "cannot be written: File too large" in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr
        assert world.checkpoint.read_text() == whole
        assert world.run().code == Exit.ATTENTION
        assert world.rejects.read_text().count(bad) == 1


def test_two_backfills_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    with a_world(tmp_path, 100, latency=0.02) as world:
        world.segment.fail(answer(503, retry_after=300))
        with world.begun():
            assert world.segment.wait_for_calls(1, LONG)
            ended = world.run()

    assert ended.code == Exit.UNUSABLE
    assert "Another backfill is using" in ended.said


def test_a_lock_that_another_run_removes_as_it_ends_is_no_lock(world: World) -> None:
    peopled(world, 1)
    hook = "lambda event, _: event == 'fcntl.flock' and os.unlink('backfill.checkpoint.json.lock')"
    with_hook = f"import os, sys; sys.addaudithook({hook}); from service.cli import main; main()"

    ended = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", with_hook, "backfill"],
        env=environment_of(world.settings()),
        cwd=world.folder,
        capture_output=True,
        check=False,
        text=True,
    )

    assert ended.returncode == Exit.UNUSABLE
    assert "Another backfill is using" in ended.stderr
    assert world.segment.call_count == 0


def test_a_call_that_is_tried_again_is_noted_in_the_words_of_the_services_log(world: World) -> None:
    peopled(world, 3)
    world.segment.fail_next(CLOSE_AFTER_READ)
    world.commercetools.fail_next(CLOSE_AFTER_READ, 2, on=f"/{world.shop.project_key}")  # one may be a dead connection

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.DONE
    assert "Segment was not reached: the connection was closed; trying again" in ended.said
    host = world.commercetools.url.removeprefix("http://")
    assert f"commercetools was not reached: the connection was closed ({host}); trying again" in ended.said


def test_a_pause_that_segment_asks_for_is_kept(world: World) -> None:
    peopled(world, 40)
    world.segment.fail_next(answer(429, retry_after=1))

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.DONE
    first, second = (call.at for call in world.segment.calls)
    assert second - first >= 1
    assert "Segment answered 429; trying again" in ended.said


def test_a_pause_that_commercetools_asks_for_is_kept(world: World) -> None:
    peopled(world, 3)
    world.commercetools.fail_next(answer(503, retry_after=1), on=f"/{world.shop.project_key}")

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.DONE
    first, second, *_ = (call.at for call in world.commercetools.calls if call.path.endswith("/customers"))
    assert second - first >= 1


def test_rate_bounds_the_calls_to_commercetools(tmp_path: Path) -> None:
    with a_world(tmp_path, 100) as world:
        assert world.run("--rate", "20", "--lanes", "8").code == Exit.DONE

        reads = [call for call in world.commercetools.calls if is_a_page(call)]
        assert len(reads) == 8 + 1  # the sweep's


def test_the_rate_spreads_the_calls_evenly_and_saves_up_none() -> None:
    moments = iter([0.0, 0.01, 0.02, 0.5, 0.5, 9.0])
    pace = Pace(20, clock=lambda: next(moments))

    waits = [pace.wait() for _ in range(6)]

    assert waits == pytest.approx([0.0, 0.04, 0.08, 0.0, 0.05, 0.0])


@pytest.mark.parametrize(
    ("status", "named"), [(401, "CTP_CLIENT_ID"), (403, "view_customers"), (404, "CTP_PROJECT_KEY")]
)
def test_what_asking_again_cannot_mend_stops_it_at_once(world: World, status: int, named: str) -> None:
    peopled(world, 1)
    world.commercetools.fail(answer(status), on=f"/{world.shop.project_key}")

    ended = world.run("--lanes", "1")

    assert ended.code == Exit.STOPPED
    assert f"commercetools answered {status}" in ended.said
    assert named in ended.said


def test_a_predicate_that_commercetools_does_not_understand_is_named(world: World) -> None:
    ended = world.run("--where", "shoe = 38")

    assert ended.code == Exit.UNUSABLE
    assert "the predicate of --where" in ended.said


def test_a_date_that_is_none_is_refused(world: World) -> None:
    ended = world.run("--since", "yesterday")

    assert ended.code == Exit.UNUSABLE
    assert "2026-01-01" in ended.said


def test_pages_that_are_not_in_order_stop_it(world: World) -> None:
    peopled(world, 3)
    world.commercetools.add_to_query({**next(iter(world.shop.customers.values()))})

    ended = world.run("--lanes", "1", "--patience", "0")

    assert ended.code == Exit.STOPPED
    assert "in the order of their ids" in ended.said


def test_without_an_api_client_there_is_nothing_to_read() -> None:
    ended = run("backfill", settings=settings_for())

    assert ended.code == Exit.UNUSABLE
    assert "CTP_PROJECT_KEY" in ended.err


@pytest.mark.parametrize("number", [1, 2, 3, 8, 32])
def test_the_lanes_leave_no_id_out_and_none_to_two(number: int) -> None:
    lanes = lanes_for(number)

    assert lanes[0].after == lanes[-1].upto == ""
    assert [lane.upto for lane in lanes[:-1]] == [lane.after for lane in lanes[1:]]
    assert sorted(lane.after for lane in lanes) == [lane.after for lane in lanes]
    assert sum(lane.share_left for lane in lanes) == pytest.approx(1)
