"""An unreadable message is in the dead-letter topic, unchanged, before its push is acknowledged."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from google.pubsub_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from playground.ports import ReservedPort
from playground.pubsub import PubSubEmulator
from playground.pubsub_rules import check_messages
from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside, attributes_of_letter, original_attributes
from service.pubsub.envelope import PushMessage
from tests.playground.pubsub_services import Service, clients_of
from tests.strategies import odd_texts

ROOT = Path(__file__).parent.parent
LONG = 20.0  # seconds: far more than anything here takes
SHORT = 0.5

# The only way to look into a subscription without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def emulator() -> Iterator[PubSubEmulator]:
    with PubSubEmulator() as running:
        yield running


@pytest.fixture(scope="module")
def pubsub(emulator: PubSubEmulator) -> Iterator[Service]:
    with clients_of(emulator) as service:
        yield service


@pytest.fixture
def letters(pubsub: Service, monkeypatch: pytest.MonkeyPatch) -> "Letters":
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
    return Letters(pubsub)


class Letters:
    """A dead-letter topic of its own, and the operator's look into it."""

    def __init__(self, pubsub: Service) -> None:
        self._pubsub = pubsub
        self.name = pubsub.topic()
        self._subscription = pubsub.subscription(self.name)
        self.topic = DeadLetterTopic(self.name)

    def taken(self) -> list[tuple[bytes, dict[str, str]]]:
        """Return data and attributes of what is there now; what was not confirmed yet is missing."""
        return [
            (bytes(received.message.data), dict(received.message.attributes))
            for received in self._pubsub.subscriber.pull(
                subscription=self._subscription, max_messages=1000, return_immediately=True, timeout=LONG
            ).received_messages
        ]


def by(seconds: float = LONG) -> float:
    return time.monotonic() + seconds


def test_a_message_is_there_when_the_call_returns_as_it_was_with_its_reason_and_its_origin(letters: Letters) -> None:
    message = PushMessage(
        data=b'\x00\xff{"not": JSON',
        attributes={"kind": "customer", "empty": "", "Größe": "ä"},
        message_id="2070443601311540",
        subscription="projects/example/subscriptions/push",
        delivery_attempt=7,
    )

    letters.topic.set_aside(message, "the message's data is not JSON", by())

    assert letters.taken() == [
        (
            b'\x00\xff{"not": JSON',
            {
                "kind": "customer",
                "empty": "",
                "Größe": "ä",
                "reason": "the message's data is not JSON",
                "source_subscription": "projects/example/subscriptions/push",
                "source_message_id": "2070443601311540",
                "source_delivery_attempt": "7",
            },
        )
    ]


def test_what_is_not_known_of_its_origin_is_left_out(letters: Letters) -> None:
    letters.topic.set_aside(PushMessage(data=b"no envelope"), "the push body is not JSON", by())

    assert letters.taken() == [(b"no envelope", {"reason": "the push body is not JSON"})]


def test_a_message_without_data_is_set_aside_too(letters: Letters) -> None:
    letters.topic.set_aside(PushMessage(data=b""), "the message has no data", by())

    assert letters.taken() == [(b"", {"reason": "the message has no data"})]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        pytest.param("x" * 1025, "x" * 1024, id="a byte too long"),
        pytest.param("x" + "ä" * 512, "x" + "ä" * 511, id="cut before the character that does not fit"),
        pytest.param("lone \ud800 surrogate", "lone ? surrogate", id="what UTF-8 cannot write"),
    ],
)
def test_a_reason_that_pubsub_would_not_take_is_shortened(letters: Letters, reason: str, kept: str) -> None:
    letters.topic.set_aside(PushMessage(data=b"data"), reason, by())

    assert letters.taken() == [(b"data", {"reason": kept})]


MANY = {f"k{number}": "" for number in range(98)}


@pytest.mark.parametrize(
    ("attributes", "kept", "rest"),
    [
        pytest.param(
            {"kind": "a", "googclient_schemaencoding": "JSON"},
            {"kind": "a"},
            {"attributes": {"googclient_schemaencoding": "JSON"}, "lost": 0},
            id="a name of Google's",
        ),
        pytest.param({"": "b"}, {}, {"attributes": {"": "b"}, "lost": 0}, id="no name"),
        pytest.param({"ä" * 128: "b"}, {"ä" * 128: "b"}, None, id="a name of 256 bytes"),
        pytest.param({"k" * 257: "b"}, {}, {"attributes": {"k" * 257: "b"}, "lost": 0}, id="a name too long"),
        pytest.param({"k": "ä" * 512}, {"k": "ä" * 512}, None, id="a value of 1024 bytes"),
        pytest.param({"k": "v" * 1025}, {}, {"attributes": {"k": None}, "lost": 0}, id="a value too long"),
        pytest.param({"k" * 1025: ""}, {}, {"attributes": {}, "lost": 1}, id="a name that fits nowhere"),
        pytest.param({"k": "\ud800"}, {}, {"attributes": {"k": "\ud800"}, "lost": 0}, id="what UTF-8 cannot write"),
        pytest.param({"reason": "its"}, {}, {"attributes": {"reason": "its"}, "lost": 0}, id="a name of ours"),
        pytest.param(
            {"source_attributes": "its"}, {}, {"attributes": {"source_attributes": "its"}, "lost": 0}, id="our JSON's"
        ),
        pytest.param(
            {"CloudPubSubDeadLetterSourceDeliveryCount": "7"},
            {},
            {"attributes": {"CloudPubSubDeadLetterSourceDeliveryCount": "7"}, "lost": 0},
            id="a dead letter's",
        ),
        pytest.param(MANY | {"k98": ""}, MANY | {"k98": ""}, None, id="as many as there may be"),
        pytest.param(
            MANY | {"a": "", "b": "c"},
            MANY,
            {"attributes": {"a": "", "b": "c"}, "lost": 0},
            id="more than there may be: the shortest go",
        ),
    ],
)
def test_what_cannot_be_published_again_is_kept_in_one_attribute(
    letters: Letters, attributes: dict[str, str], kept: dict[str, str], rest: object
) -> None:
    letters.topic.set_aside(PushMessage(data=b"data", attributes=attributes), "now", by())

    [(_, letter)] = letters.taken()
    written = letter.pop("source_attributes", "null")
    assert json.loads(written) == rest
    assert letter == kept | {"reason": "now"}


_names = odd_texts | st.sampled_from(
    ["googclient_x", "reason", "source_message_id", "source_attributes", "CloudPubSubDeadLetterX", "k" * 257, "é" * 600]
)
_attributes = st.dictionaries(_names, odd_texts | st.sampled_from(["v" * 1024, "v" * 1025]), max_size=9) | st.integers(
    90, 110
).map(lambda number: {f"k{each}": "v" * each for each in range(number)})


@given(attributes=_attributes, text=odd_texts)
def test_every_letter_can_be_published_and_no_attribute_is_lost_without_a_word(
    attributes: dict[str, str], text: str
) -> None:
    message = PushMessage(b"", attributes, message_id=text * 200, subscription=text, delivery_attempt=1)

    letter = attributes_of_letter(message, text or "why")

    check_messages(types.PublishRequest(messages=[types.PubsubMessage(attributes=letter)]))
    restored, lost = original_attributes(letter)
    assert restored.items() <= attributes.items()
    assert len(restored) + lost == len(attributes)


@pytest.mark.parametrize(
    ("letter", "original"),
    [
        pytest.param({"kind": "a", "reason": "why", "source_message_id": "1"}, {"kind": "a"}, id="set aside"),
        pytest.param(
            {"reason": "its", "CloudPubSubDeadLetterSourceDeliveryCount": "9"}, {"reason": "its"}, id="given up"
        ),
        pytest.param({"source_message_id": "its"}, {"source_message_id": "its"}, id="published there by hand"),
        *(
            pytest.param({"reason": "why", "source_attributes": theirs}, {"source_attributes": theirs}, id=theirs[:9])
            for theirs in ("{", "[" * 10_000, "null", '{"attributes": [], "lost": 0}', '{"attributes": {}}')
        ),
    ],
)
def test_a_letter_gives_back_the_attributes_it_had(letter: dict[str, str], original: dict[str, str]) -> None:
    assert original_attributes(letter) == (original, 0)


def test_several_are_set_aside_one_after_the_other(letters: Letters) -> None:
    for number in range(3):
        letters.topic.set_aside(PushMessage(data=b"%d" % number), "why", by())

    assert [data for data, _ in letters.taken()] == [b"0", b"1", b"2"]


def test_a_topic_that_is_not_there_is_no_safe_place(letters: Letters) -> None:
    with pytest.raises(NotSetAside, match=r"^the dead-letter topic did not take it: NotFound$"):
        DeadLetterTopic(f"{letters.name}-mistyped").set_aside(PushMessage(data=b"data"), "why", by())


def test_what_pubsub_refuses_is_not_set_aside(letters: Letters) -> None:
    message = PushMessage(data=b"Canary-4711" * 1_000_000)

    with pytest.raises(NotSetAside, match=r"^the dead-letter topic did not take it: InvalidArgument$"):
        letters.topic.set_aside(message, "why", by())


@pytest.mark.parametrize(
    ("listens", "reason"),
    [
        pytest.param(False, "ServiceUnavailable", id="nobody there"),
        pytest.param(True, "(DeadlineExceeded|ServiceUnavailable)", id="somebody who never answers"),
    ],
)
def test_while_pubsub_is_down_it_is_not_set_aside_and_the_deadline_holds(
    monkeypatch: pytest.MonkeyPatch,
    listens: bool,  # noqa: FBT001  # a row
    reason: str,
) -> None:
    with ReservedPort() as port, ExitStack() as stack:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port.number}")
        if listens:
            stack.enter_context(socket.create_server(("127.0.0.1", port.number)))

        with pytest.raises(NotSetAside, match=f"^the dead-letter topic did not take it: {reason}$"):
            DeadLetterTopic("projects/demo/topics/letters").set_aside(PushMessage(data=b"data"), "why", by(SHORT))


def test_making_the_client_takes_from_the_time_that_is_left(letters: Letters) -> None:
    times = iter([0.0, LONG])  # as if it had taken all of it
    topic = DeadLetterTopic(letters.name, clock=lambda: next(times))

    with pytest.raises(NotSetAside, match=r"^no time was left to set it aside$"):
        topic.set_aside(PushMessage(data=b"data"), "why", LONG)

    assert letters.taken() == []


def test_without_time_left_nothing_is_tried() -> None:
    run(
        """
        import sys, time
        from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside
        from service.pubsub.envelope import PushMessage
        try:
            DeadLetterTopic("projects/demo/topics/letters").set_aside(PushMessage(b"data"), "why", time.monotonic())
        except NotSetAside as not_set_aside:
            assert str(not_set_aside) == "no time was left to set it aside", not_set_aside
        else:
            raise AssertionError("it must not be acknowledged")
        assert "google.cloud.pubsub_v1" not in sys.modules
        """
    )


def test_nothing_of_pubsub_is_imported_before_the_first_message_is_set_aside() -> None:
    run(
        """
        import sys
        import service.app
        from service.pubsub.dead_letter import DeadLetterTopic
        DeadLetterTopic("projects/demo/topics/letters")
        loaded = [name for name in sys.modules if name == "grpc" or name.startswith("google.cloud.pubsub")]
        assert not loaded, loaded
        """
    )


# Under the service's gunicorn worker. There is one thread, so a call that blocks would block the rest as well.

GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, os, socket, sys, time
from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside
from service.pubsub.envelope import PushMessage

def set_aside(topic, number, seconds):
    try:
        topic.set_aside(PushMessage(b"%d" % number), "why", time.monotonic() + seconds)
    except NotSetAside as not_set_aside:
        return str(not_set_aside)
    return "set aside"

def all_of(greenlets):
    assert len(gevent.joinall(greenlets, timeout=20)) == len(greenlets), "a call does not keep its deadline"
    return [greenlet.value for greenlet in greenlets]
"""


def test_other_greenlets_go_on_while_messages_are_set_aside(pubsub: Service) -> None:
    # Pub/Sub is only reachable through another greenlet, which forwards nothing before a third one has run.
    name = pubsub.topic()
    subscription = pubsub.subscription(name)

    run(
        GREENLETS
        + f"""
ticked = gevent.event.Event()

def tick():
    for _ in range(20):
        gevent.sleep(0.005)
    ticked.set()

def forward(source, sink):
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass

def let_through(client):
    ticked.wait()
    server = socket.create_connection({tuple(pubsub.host.split(":"))!r})
    gevent.spawn(forward, client, server)
    gevent.spawn(forward, server, client)

door = socket.create_server(("127.0.0.1", 0))
os.environ["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:%d" % door.getsockname()[1]

def keep_the_door():
    while True:
        let_through(door.accept()[0])

gevent.spawn(keep_the_door)
topic = DeadLetterTopic({name!r})
calls = [gevent.spawn(set_aside, topic, number, 15) for number in range(20)]
gevent.sleep(0)
gevent.spawn(tick)
outcomes = all_of(calls)
assert outcomes == ["set aside"] * 20, outcomes
"""
    )

    received = pubsub.pull(subscription, limit=100, seconds=LONG)
    assert {bytes(one.message.data) for one in received} == {b"%d" % number for number in range(20)}


@pytest.mark.parametrize("listens", [False, True], ids=["nobody there", "somebody who never answers"])
def test_other_greenlets_go_on_and_deadlines_hold_while_pubsub_is_down(listens: bool) -> None:  # noqa: FBT001  # a row
    run(
        GREENLETS
        + f"""
nobody = socket.socket()
nobody.bind(("127.0.0.1", 0))
os.environ["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:%d" % nobody.getsockname()[1]
if {listens}:
    nobody.listen()
topic = DeadLetterTopic("projects/demo/topics/letters")
set_aside(topic, 0, 0.1)  # imports all that is needed, which does take a moment
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.005)
        socket.getaddrinfo("localhost", 80)  # as a new connection to commercetools or Segment would
        ticks += 1

gevent.spawn(tick)
if {listens}:
    waiting = gevent.spawn(set_aside, topic, 0, 60)
    while ticks < 10:
        gevent.sleep(0.001)
    assert not waiting.dead, "it was to wait"
calls = [gevent.spawn(set_aside, topic, number, {SHORT}) for number in range(20)]
outcomes = all_of(calls)
assert "set aside" not in outcomes, outcomes
if {listens}:
    assert ticks > 10
"""
    )


def run(script: str) -> None:
    finished = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
