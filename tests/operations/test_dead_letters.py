"""dead-letters: looked at without a loss, replayed as they were, dropped only on purpose."""

import json
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from playground.pubsub import PubSubEmulator
from service.operations import Exit
from tests.builders import a_customer, a_message, a_push
from tests.operations.commands import SECONDS, Ended, command, environment_of, run, settings_for
from tests.playground.pubsub_services import Service, clients_of, googles_emulator

# The only way to look into a subscription without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")

PULL_SECONDS = 0.1  # after which our emulator says that there is nothing
LONG = 30.0  # for its answer
A_WHILE = 5.0  # for what Google's emulator has already
GIVEN_UP = {
    "CloudPubSubDeadLetterSourceDeliveryCount": "100",
    "CloudPubSubDeadLetterSourceSubscription": "customers-to-segment",
    "CloudPubSubDeadLetterSourceSubscriptionProject": "demo",
    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-01-02T03:04:05.678+00:00",
}
SET_ASIDE = {
    "reason": "the message's data is not JSON",
    "source_subscription": "projects/demo/subscriptions/customers-to-segment",
    "source_message_id": "17",
}


def left_out(lost: int = 0, **attributes: str) -> str:
    """Return the JSON in which the service keeps what cannot be an attribute of a letter."""
    return json.dumps({"attributes": attributes, "lost": lost})


@contextmanager
def our_emulator() -> Iterator[Service]:
    with PubSubEmulator(pull_seconds=PULL_SECONDS) as emulator, clients_of(emulator) as service:
        yield service


@pytest.fixture(scope="module")
def pubsub() -> Iterator[Service]:
    with our_emulator() as service:
        yield service


class Letters:
    """A dead-letter topic with its subscription, and the topic that letters are replayed to."""

    def __init__(self, pubsub: Service, wait: float = LONG) -> None:
        self.pubsub = pubsub
        self._wait = wait
        self.dead = pubsub.topic()
        self.subscription = pubsub.subscription(self.dead)
        self.topic = pubsub.topic()
        self._arrivals = pubsub.subscription(self.topic)

    def put(self, data: bytes, **attributes: str) -> str:
        return self.pubsub.publish(self.dead, data, **attributes)

    def waiting(self) -> list[str]:
        """Return the ids of what is to be had from the subscription now, and leave it there."""
        pulled = self._pulled(self.subscription)
        if pulled:
            self.pubsub.subscriber.modify_ack_deadline(
                subscription=self.subscription, ack_ids=[each.ack_id for each in pulled], ack_deadline_seconds=0
            )
        return sorted(each.message.message_id for each in pulled)

    def arrived(self) -> list[tuple[bytes, dict[str, str]]]:
        """Return data and attributes of what was published to the topic."""
        return [(each.message.data, dict(each.message.attributes)) for each in self._pulled(self._arrivals)]

    def _pulled(self, subscription: str) -> list[types.ReceivedMessage]:
        answer = self.pubsub.subscriber.pull(
            subscription=subscription, max_messages=1000, return_immediately=True, timeout=30
        )
        return list(answer.received_messages)

    def run(self, *arguments: str, terminal: int | None = None, encoding: str = "utf-8") -> Ended:
        settings = {
            "PYTHONIOENCODING": encoding,
            "PUBSUB_EMULATOR_HOST": self.pubsub.host,
            "DEAD_LETTER_SUBSCRIPTION": self.subscription,
            "PUBSUB_TOPIC": self.topic,
        }
        return run("dead-letters", *arguments, "--wait", str(self._wait), settings=settings, terminal=terminal)


@pytest.fixture
def letters(pubsub: Service) -> Letters:
    return Letters(pubsub)


def test_list_tells_reason_age_attempts_and_kind_and_nothing_of_a_person(letters: Letters) -> None:
    first = letters.put(b"not JSON", **SET_ASIDE)
    second = letters.put(json.dumps(a_message()).encode(), **GIVEN_UP)

    ended = letters.run("list", "--json")

    assert ended.code == Exit.DONE
    by_id = {letter["message_id"]: letter for letter in ended.document}
    assert by_id.keys() == {first, second}
    assert by_id[first] | {"published": ""} == {
        "message_id": first,
        "reason": "the message's data is not JSON",
        "kind": "unreadable",
        "attempts": None,
        "published": "",
        "bytes": 8,
        "source_message_id": "17",
        "source_subscription": "projects/demo/subscriptions/customers-to-segment",
        "resource_type": None,
        "resource_id": None,
        "version": None,
    }
    assert by_id[second]["reason"] == "Pub/Sub gave up after 100 deliveries"
    assert (by_id[second]["kind"], by_id[second]["attempts"], by_id[second]["version"]) == ("CustomerCreated", 100, 1)
    assert "Mira" not in ended.said
    table = letters.run("list")
    assert "CustomerCreated Pub/Sub gave up after 100 deliveries" in table.said
    assert "Mira" not in table.said
    assert letters.waiting() == sorted([first, second])


@pytest.mark.lengthy
def test_googles_emulator_is_served_as_well(tmp_path_factory: pytest.TempPathFactory) -> None:
    with googles_emulator(tmp_path_factory) as pubsub:
        letters = Letters(pubsub, A_WHILE)
        kept = letters.put(b"one", kind="original", **SET_ASIDE)
        letters.put(b"two", **GIVEN_UP)

        listed = letters.run("list", "--limit", "2", "--json")
        replayed = letters.run("replay", "--reason", "gave up", "--limit", "1")

        assert len(listed.document) == 2
        assert replayed.code == Exit.DONE
        assert letters.arrived() == [(b"two", {})]
        assert letters.waiting() == [kept]
        assert letters.run("drop", "--yes", "--limit", "1").code == Exit.DONE
        assert letters.waiting() == []
        assert letters.run("list").out == "No dead letters.\n"


def test_show_gives_the_data_only_when_asked_to(letters: Letters) -> None:
    shown = letters.put(json.dumps(a_message()).encode(), tenant="canary-tenant", **SET_ASIDE)
    letters.put(b"another")

    without = letters.run("show", shown)
    whole = letters.run("show", shown, "--show-data")

    assert without.code == whole.code == Exit.DONE
    assert "Mira" not in without.said
    assert "canary-tenant" not in without.said
    assert "another" not in whole.said
    assert '"firstName": "Mira"' in whole.said
    assert "tenant=canary-tenant" in whole.said
    assert len(letters.waiting()) == 2


def test_data_only_writes_the_data_byte_by_byte_and_nothing_else(letters: Letters) -> None:
    data = json.dumps(a_message()).encode() + b"\n\x1b\xff"
    shown = letters.put(data, tenant="canary-tenant", **SET_ASIDE)

    ended = letters.run("show", shown, "--data-only", encoding="latin-1")
    missing = letters.run("show", "404", "--data-only")

    assert (ended.code, ended.out.encode("latin-1"), ended.err) == (Exit.DONE, data, "")
    assert (missing.code, missing.out) == (Exit.ATTENTION, "")
    assert "404" in missing.err
    assert letters.waiting() == [shown]


def test_data_only_on_a_terminal_does_not_command_it(letters: Letters) -> None:
    shown = letters.put(b"\x1b[2Jcanary", **SET_ASIDE)
    terminal, end = pty.openpty()
    try:
        settings = {"PUBSUB_EMULATOR_HOST": letters.pubsub.host, "DEAD_LETTER_SUBSCRIPTION": letters.subscription}
        subprocess.run(  # noqa: S603  # our own command
            command("dead-letters", "show", shown, "--data-only"),
            check=True,
            stdout=end,
            env=environment_of(settings),
            timeout=SECONDS,
        )
        written = os.read(terminal, 1000)
    finally:
        os.close(terminal)
        os.close(end)

    assert b"canary" in written
    assert b"\x1b[2J" not in written


@pytest.mark.parametrize("arguments", [[], ["1", "2"], ["1", "--json"], ["1", "--show-data"], ["1", "--reason=x"]])
def test_data_only_is_of_one_message(arguments: list[str]) -> None:
    ended = run(
        *("dead-letters", "show", "--data-only", *arguments),
        settings={"DEAD_LETTER_SUBSCRIPTION": "projects/demo/subscriptions/dead"},
    )

    assert ended.code == Exit.UNUSABLE
    assert "--data-only takes one MESSAGE" in ended.said


def explained(letters: Letters, *arguments: str) -> Ended:
    settings = settings_for(PUBSUB_EMULATOR_HOST=letters.pubsub.host, DEAD_LETTER_SUBSCRIPTION=letters.subscription)
    return run("explain", *arguments, "--wait", str(LONG), settings=settings)


def test_explain_takes_a_letter_by_its_id_and_leaves_it_where_it_is(letters: Letters) -> None:
    wanted = letters.put(json.dumps(a_message()).encode(), **GIVEN_UP)
    other = letters.put(b"not JSON", **SET_ASIDE)

    ended = explained(letters, "--dead-letter", wanted)
    as_json = explained(letters, "--dead-letter", other, "--json")

    assert ended.code == Exit.DONE
    assert "given a dead letter (Pub/Sub gave up after 100 deliveries)" in ended.said
    assert f"message {wanted}" in ended.said
    assert "outcome Delivered" in ended.said
    assert as_json.code == Exit.ATTENTION
    assert as_json.document["what"]["given"] == "a dead letter (the message's data is not JSON)"
    assert (as_json.document["outcome"], as_json.document["reason"]) == ("refused", "the message's data is not JSON")
    assert letters.waiting() == sorted([wanted, other])


@pytest.mark.parametrize("data", [json.dumps(a_customer()).encode(), a_push(a_message())], ids=["customer", "push"])
def test_explain_takes_a_letter_for_a_message_as_a_replay_would_whatever_its_data_looks_like(
    letters: Letters, data: bytes
) -> None:
    letter = letters.put(data, **SET_ASIDE)

    ended = explained(letters, "--dead-letter", letter, "--json")

    assert (ended.code, ended.document["outcome"]) == (Exit.ATTENTION, "refused")


def test_explain_says_which_letter_is_not_there(letters: Letters) -> None:
    ended = explained(letters, "--dead-letter", "404")

    assert ended.code == Exit.ATTENTION
    assert "Error: Not found, or held by somebody else for the moment: 404." in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dead-letter", "1"], "DEAD_LETTER_SUBSCRIPTION (or --subscription) must be set"),
        (["--dead-letter", "1", "-"], "give one of them"),
    ],
)
def test_explain_of_a_letter_needs_its_subscription_and_takes_no_file(arguments: list[str], said: str) -> None:
    ended = run("explain", *arguments, settings=settings_for())

    assert ended.code == Exit.UNUSABLE
    assert said in ended.said


def test_show_says_what_is_not_there(letters: Letters) -> None:
    ended = letters.run("show", "404")

    assert ended.code == Exit.ATTENTION
    assert "404" in ended.err


def test_replay_publishes_it_as_it_was_and_then_it_is_gone(letters: Letters) -> None:
    letters.put(b"one", kind="original", **SET_ASIDE)
    letters.put(b"two", **GIVEN_UP)

    ended = letters.run("replay", "--json")

    assert ended.code == Exit.DONE
    assert ended.document["replayed"] == 2
    assert sorted(letters.arrived(), key=lambda each: each[0]) == [(b"one", {"kind": "original"}), (b"two", {})]
    assert letters.waiting() == []


def test_replay_chooses_by_reason_by_id_and_by_number(letters: Letters) -> None:
    chosen = letters.put(b"one", **SET_ASIDE)
    others = [letters.put(b"two", reason="too large"), letters.put(b"three", **GIVEN_UP)]

    assert letters.run("replay", "--reason", "not json").code == Exit.DONE
    assert [data for data, _ in letters.arrived()] == [b"one"]
    assert letters.waiting() == sorted(others)
    assert letters.run("replay", others[0]).code == Exit.DONE
    assert letters.waiting() == [others[1]]
    more = [letters.put(b"four"), letters.put(b"five")]
    assert letters.run("replay", "--limit", "1").code == Exit.DONE
    assert len(letters.waiting()) == 2
    assert chosen not in more


def test_a_letter_whose_replay_is_not_confirmed_stays(letters: Letters) -> None:
    kept = letters.put(b"one", **SET_ASIDE)

    ended = letters.run("replay", "--topic", "projects/demo/topics/nowhere")

    assert ended.code == Exit.STOPPED
    assert "there is no such thing in Pub/Sub" in ended.said
    assert letters.waiting() == [kept]


def test_one_that_pubsub_refuses_is_named_and_stays_and_the_others_are_replayed(letters: Letters) -> None:
    letters.put(b"one", **SET_ASIDE)
    kept = letters.put(b"", reason="the message has no data", source_attributes=left_out(googclient_x="JSON"))
    letters.put(b"three", **GIVEN_UP)

    ended = letters.run("replay")
    as_json = letters.run("replay", "--json")

    assert ended.code == Exit.ATTENTION
    assert "2 of 3 dead letters replayed." in ended.out
    assert f"Pub/Sub does not take {kept} (InvalidArgument)" in ended.err
    assert "the message has no data" in ended.err
    assert sorted(letters.arrived(), key=lambda each: each[0]) == [(b"one", {}), (b"three", {})]
    assert letters.waiting() == [kept]
    assert as_json.code == Exit.ATTENTION
    assert as_json.document["replayed"] == 0
    assert as_json.document["refused"] == [{"message_id": kept, "reason": "the message has no data"}]


def test_replay_restores_attributes_as_far_as_pubsub_takes_them(letters: Letters) -> None:
    letters.put(b"one", kind="a", reason="why", source_attributes=left_out(reason="its", source_message_id="own"))
    letters.put(b"two", kind="b", reason="why", source_attributes=left_out(reason="its", googclient_x="JSON"))
    letters.put(b"three", reason="why", source_attributes=left_out(1, kind="c"))
    letters.put(b"four", reason="Canary", **GIVEN_UP)

    listed = letters.run("list")
    ended = letters.run("replay")

    assert "Canary" not in listed.said
    assert ended.code == Exit.DONE
    assert sorted(letters.arrived(), key=lambda each: each[0]) == [
        (b"four", {"reason": "Canary"}),
        (b"one", {"kind": "a", "reason": "its", "source_message_id": "own"}),
        (b"three", {"kind": "c"}),
        (b"two", {"kind": "b", "reason": "its"}),
    ]
    assert "without those attributes that Pub/Sub does not take" in ended.err
    assert "Canary" not in ended.said


def test_show_tells_attributes_that_did_not_fit_into_the_letter(letters: Letters) -> None:
    letters.put(b"one", reason="why", source_attributes=left_out(2, kind="c"))

    assert "kind=c lost_attributes 2" in letters.run("show", "--show-data").said
    [shown] = letters.run("show", "--show-data", "--json").document
    assert (shown["attributes"], shown["lost_attributes"]) == ({"kind": "c"}, 2)


def test_a_topic_that_no_topic_can_be_called_is_named(letters: Letters) -> None:
    kept = letters.put(b"one", **SET_ASIDE)

    ended = letters.run("replay", "--topic", "projects/demo/topics/1")

    assert ended.code == Exit.ATTENTION
    assert "is projects/demo/topics/1 right?" in ended.err
    assert letters.waiting() == [kept]


def test_an_empty_letter_cannot_be_replayed_and_keeps_no_other_from_it(letters: Letters) -> None:
    empty = letters.put(b"", **SET_ASIDE)
    letters.put(b"one", **SET_ASIDE)

    ended = letters.run("replay")

    assert ended.code == Exit.ATTENTION
    assert "1 of 2 dead letters replayed" in ended.said
    assert letters.waiting() == [empty]


@pytest.mark.parametrize("arguments", [["replay", "--dry-run"], ["drop", "--dry-run"]])
def test_dry_run_leaves_everything_where_it_is(letters: Letters, arguments: list[str]) -> None:
    kept = letters.put(b"one", **SET_ASIDE)

    ended = letters.run(*arguments)

    assert ended.code == Exit.DONE
    assert "1 of 1 dead letters would be" in ended.said
    assert letters.arrived() == []
    assert letters.waiting() == [kept]


def test_drop_takes_them_away_without_publishing(letters: Letters) -> None:
    letters.put(b"one", **SET_ASIDE)
    kept = letters.put(b"two", **GIVEN_UP)

    ended = letters.run("drop", "--yes", "--reason", "JSON")

    assert ended.code == Exit.DONE
    assert letters.waiting() == [kept]
    assert letters.arrived() == []


def test_drop_does_nothing_where_nobody_can_be_asked(letters: Letters) -> None:
    kept = letters.put(b"one", **SET_ASIDE)

    ended = letters.run("drop")

    assert ended.code == Exit.UNUSABLE
    assert "--yes" in ended.said
    assert letters.waiting() == [kept]


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("n", Exit.ATTENTION, 1), ("y", Exit.DONE, 0), ("\x04", Exit.INTERRUPTED, 1)]
)
def test_drop_asks_whoever_is_there(letters: Letters, answer: str, code: Exit, left: int) -> None:
    letters.put(b"one", **SET_ASIDE)
    terminal, end = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())

        ended = letters.run("drop", terminal=end)
    finally:
        os.close(terminal)
        os.close(end)

    assert ended.code == code
    assert "Drop 1 for good?" in ended.err
    assert len(letters.waiting()) == left


def test_many_are_replayed_each_once(letters: Letters) -> None:
    sent = {f"{number}".encode() for number in range(250)}
    futures = [letters.pubsub.publisher.publish(letters.dead, data, **SET_ASIDE) for data in sent]
    for future in futures:
        future.result(30)

    assert letters.run("replay").code == Exit.DONE

    arrived: list[bytes] = []
    while more := letters.arrived():
        arrived += [data for data, _ in more]
    assert sorted(arrived) == sorted(sent)
    assert letters.waiting() == []


def test_what_is_written_there_does_not_command_the_terminal(letters: Letters) -> None:
    letters.put(b"\x1b[2J[red]", reason="\x1b[2J[red]canary[/red]")

    ended = letters.run("list", "--show-data")

    assert "\x1b" not in ended.out + ended.err
    assert "[red]canary[/red]" in ended.said


def test_nothing_there_is_said(letters: Letters) -> None:
    ended = letters.run("list")

    assert (ended.code, ended.out) == (Exit.DONE, "No dead letters.\n")


@contextmanager
def pubsub_that_pulls(pull: Callable[[types.PullRequest], types.PullResponse]) -> Iterator[str]:
    """Give the address of a Pub/Sub that answers a pull like this, and lets messages go."""
    threads = ThreadPoolExecutor(4)
    server = grpc.server(threads)
    methods: dict[str, tuple[Any, Any, Any]] = {  # google.pubsub_v1's classes come without types
        "Pull": (pull, types.PullRequest, types.PullResponse.serialize),
        "ModifyAckDeadline": (lambda _: Empty(), types.ModifyAckDeadlineRequest, Empty.SerializeToString),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda request, _, answer=answer: answer(request),
            request_deserializer=request_type.deserialize,
            response_serializer=written,
        )
        for name, (answer, request_type, written) in methods.items()
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        threads.shutdown()


def listed_from(host: str) -> Ended:
    settings = {"PUBSUB_EMULATOR_HOST": host, "DEAD_LETTER_SUBSCRIPTION": "projects/demo/subscriptions/dead"}
    return run("dead-letters", "list", "--wait", "0.1", "--limit", "1", settings=settings)


A_LETTER = types.PullResponse(
    received_messages=[types.ReceivedMessage(ack_id="a", message=types.PubsubMessage(data=b"one", message_id="17"))]
)


def test_a_pull_that_is_answered_after_the_wait_finds_its_letters() -> None:
    def pull(_: types.PullRequest) -> types.PullResponse:
        threading.Event().wait(1)
        return A_LETTER

    with pubsub_that_pulls(pull) as host:
        ended = listed_from(host)

    assert ended.code == Exit.DONE
    assert ended.out.splitlines()[1].startswith("17 ")


def test_what_an_answer_at_once_overlooks_is_waited_for() -> None:
    def pull(request: types.PullRequest) -> types.PullResponse:
        return types.PullResponse() if request.return_immediately else A_LETTER

    with pubsub_that_pulls(pull) as host:
        ended = listed_from(host)

    assert ended.code == Exit.DONE
    assert ended.out.splitlines()[1].startswith("17 ")


@pytest.mark.lengthy
def test_a_pubsub_that_does_not_answer_has_not_said_that_there_are_none() -> None:
    held = threading.Event()

    def pull(_: types.PullRequest) -> types.PullResponse:
        held.wait(SECONDS)
        return types.PullResponse()

    with pubsub_that_pulls(pull) as hanging, socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = {"hanging": hanging, "silent": f"127.0.0.1:{silent.getsockname()[1]}"}
        with ThreadPoolExecutor(8) as pool:  # all at once, since each waits for ten seconds
            started = {
                (name, *arguments): pool.submit(
                    run,
                    "dead-letters",
                    *arguments,
                    *("--subscription", "projects/demo/subscriptions/dead"),
                    settings={"PUBSUB_EMULATOR_HOST": host, "PUBSUB_TOPIC": "projects/demo/topics/customers"},
                )
                for name, host in hosts.items()
                for arguments in (["list", "--json"], ["show"], ["replay", "--json"], ["drop", "--yes"])
            }
        ended = {of: one.result() for of, one in started.items()}
        held.set()

    said = "Error: projects/demo/subscriptions/dead: Pub/Sub did not answer in 10 s.\n"
    assert ended == dict.fromkeys(started, Ended(Exit.STOPPED, "", said))


@pytest.mark.parametrize(
    ("subscription", "code", "words"),
    [
        ("projects/demo/subscriptions/nowhere", Exit.STOPPED, "there is no such thing"),
        ("nowhere", Exit.UNUSABLE, "projects/PROJECT/subscriptions/SUBSCRIPTION"),
    ],
)
def test_a_subscription_that_is_not_there_is_a_sentence(
    letters: Letters, subscription: str, code: Exit, words: str
) -> None:
    ended = letters.run("list", "--subscription", subscription)

    assert ended.code == code
    assert words in ended.said
    assert "Traceback" not in ended.said


def test_pubsubs_own_sentence_is_shown_where_it_refuses_a_name() -> None:
    with our_emulator() as pubsub:
        ended = run(
            *("dead-letters", "list", "--subscription", "projects/demo/subscriptions/-"),
            settings={"PUBSUB_EMULATOR_HOST": pubsub.host},
        )

    assert ended.code == Exit.STOPPED
    assert "Pub/Sub does not take it: Invalid" in ended.said


def test_a_services_dead_letters_are_found_by_its_topic(pubsub: Service, tmp_path: Path) -> None:
    letters = Letters(pubsub)
    letters.put(b"no JSON", **SET_ASIDE)
    file = tmp_path / ".env.operator"
    file.write_text(f"SEGMENT_USER_ID=id\nDEAD_LETTER_TOPIC={letters.dead}\n")

    ended = run(
        *("dead-letters", "list", "--json", "--env-file", str(file)), settings={"PUBSUB_EMULATOR_HOST": pubsub.host}
    )

    assert ended.code == Exit.DONE, ended.err
    assert [letter["reason"] for letter in ended.document] == [SET_ASIDE["reason"]]
