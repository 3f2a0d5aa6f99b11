"""The fault table: what becomes of a push while an outside party fails, party by party and fault by fault.

    python -m tests.emulation.faults > docs/faults.md

Each row is a message of its own, published to a topic of its own. The local Pub/Sub pushes it to the service, a process
as it is deployed; the party fails from before the first push until that is answered (longer, where the row says so).
Messages come again until they are acknowledged or Pub/Sub gives up.
"""

import itertools
import json
import socket
import struct
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Protocol, Self

import grpc
from google.cloud import pubsub_v1

from playground.commercetools import CommercetoolsStandIn
from playground.ports import ReservedPort
from playground.pubsub import PubSubEmulator, Push
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.stand_in import (
    CLOSE_AFTER_READ,
    FOREIGN,
    HANG,
    RESET_AFTER_READ,
    RESET_BEFORE_READ,
    TRUNCATED,
    Answer,
    Call,
    StandIn,
    answer,
    drip,
    redirect,
)
from playground.world import Line, Service, emulated
from tests.builders import a_change, a_customer, a_message, an_order_message

PUSH_SECONDS = 30
"""What Pub/Sub gives a push: a later answer is none."""
ATTEMPTS = 5
"""Deliveries before Pub/Sub gives up, here; infra/ has 100."""
_SPEED = 300.0  # Pub/Sub's waits, of 10 s and more, are that many times shorter
_ROW_SECONDS = 60.0
_PAUSE = 1  # seconds of Retry-After

_LETTERS = "projects/demo/topics/dead-letters"
_LETTER_BOX = "projects/demo/subscriptions/dead-letters"


# The faults


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, and how it meets its party."""

    name: str
    fault: Any = None  # a Fault, or one of a dead-letter topic's own
    for_good: bool = False
    """It does not end with the first push."""
    once: bool = False
    """One call meets it, on a connection that was kept alive; any other meets it on a new one, until it ends."""
    gone: bool = False
    """Nothing fails: what is to be read does not exist any more."""


_STATUSES = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503)

TROUBLES = (
    *(Trouble(f"{status}", answer(status)) for status in _STATUSES),
    Trouble("404, a proxy's page", answer(404, body=b"<html>no such page</html>")),
    Trouble("429, Retry-After", answer(429, retry_after=_PAUSE)),
    Trouble("503, Retry-After", answer(503, retry_after=_PAUSE)),
    Trouble("301", redirect(301, "/elsewhere")),
    Trouble("307", redirect(307, "/elsewhere")),
    Trouble("connection refused", "refuse"),
    Trouble("reset before the request was read", RESET_BEFORE_READ),
    Trouble("reset after the request was read", RESET_AFTER_READ),
    Trouble("reset after it took effect", RESET_AFTER_READ.after_effect()),
    Trouble("closed without an answer", CLOSE_AFTER_READ),
    Trouble("reset of a kept-alive connection, once", RESET_AFTER_READ, once=True),
    Trouble("hangs", HANG),
    Trouble("a byte a second", drip(1.0)),
    Trouble("half a body", TRUNCATED),
    Trouble("half a body, after it took effect", TRUNCATED.after_effect()),
    Trouble("200, another server's page", FOREIGN),
    Trouble("200, another server's JSON", answer(200, body=b'{"status": "ok"}')),
    Trouble("500, for good", answer(500), for_good=True),
)
GONE = Trouble("404, its own: it is gone", gone=True)

_CODES = (
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "CANCELLED",
    "INTERNAL",
    "UNKNOWN",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
)

_CODE_TROUBLES = tuple(Trouble(code, code) for code in _CODES)
TOPIC_TROUBLES = (
    *_CODE_TROUBLES,
    Trouble("connection refused", "refuse"),
    Trouble("reset before the request was read", "reset unread"),
    Trouble("reset after the request was read", "reset"),
    Trouble("reset after it took effect", "reset in effect"),
    Trouble("hangs", "hang"),
    Trouble("a byte a second", "drip"),
    Trouble("half an answer", "truncate"),
    Trouble("OK, but no answer of Pub/Sub's", "foreign"),
    Trouble("OK, but no message id", "empty"),
    Trouble("200, another server's page over HTTP/1.1", "page"),
    Trouble("UNAVAILABLE, for good", "UNAVAILABLE", for_good=True),
)

_SLOW = frozenset(
    {
        "a byte a second",
        "429, Retry-After",
        "503, Retry-After",
        "500, for good",
        "connection refused",
        "half an answer",
        "200, another server's page over HTTP/1.1",
        "UNAVAILABLE, for good",
    }
)
"""Those that are tried in a second process, so that the ten seconds of a hanging call pass beside these."""


# The parties


class Party(Protocol):
    """Whom the service calls, and how a message makes it do so."""

    title: str

    def message(self, number: int, trouble: Trouble) -> bytes:
        """Return the data of a message that takes a call to this party."""
        ...

    def break_down(self, trouble: Trouble) -> None: ...

    def mend(self) -> None: ...

    def calls(self) -> int:
        """Return how many calls there have been, those included that were cut off before they were read."""
        ...

    def confirmed(self, data: bytes) -> int:
        """Return how many times what the message was to bring about is there."""
        ...


class HttpParty:
    """A stand-in, and what makes the service call it. `on` is how the path of the calls that fail begins.

    `looks_again` is true where a second look after a late confirmation makes one more call.
    """

    def __init__(
        self,
        title: str,
        stand_in: StandIn,
        message: Callable[[int, Trouble], bytes],
        confirmed: Callable[[bytes], int],
        on: str = "",
        *,
        looks_again: bool = False,
    ) -> None:
        self.title = title
        self._looks_again = looks_again
        self._stand_in = stand_in
        self._message = message
        self._confirmed = confirmed
        self._on = on
        self._trouble = Trouble("none")
        self._calls_before = self._connections_before = 0
        self._is_closed = False

    def message(self, number: int, trouble: Trouble) -> bytes:
        return self._message(number, trouble)

    def break_down(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._calls_before, self._connections_before = self._stand_in.call_count, self._stand_in.connections
        if trouble.once:
            self._stand_in.fail_next(trouble.fault, on=self._on)
            return
        self._stand_in.close_idle_connections()
        if trouble.fault == "refuse":
            self._stand_in.stop()
            self._is_closed = True
        elif trouble.fault is not None:
            self._stand_in.fail(trouble.fault, on=self._on)

    def mend(self) -> None:
        if self._is_closed:
            self._stand_in.start()
            self._is_closed = False
        self._stand_in.fail(None)

    def calls(self) -> int:
        its = self._stand_in.calls[self._calls_before :]
        calls = sum(f"{call.path}?".startswith(self._on) for call in its)
        if self._trouble.fault == RESET_BEFORE_READ:  # each connection ended with a call that left no other trace
            calls += self._stand_in.connections - self._connections_before
        if self._looks_again and self._trouble.once:
            calls = min(calls, 2)  # whether there is a second look depends on the time
        return calls

    def confirmed(self, data: bytes) -> int:
        return self._confirmed(data)


class DeadLetterTopic:
    """A dead-letter topic for the real client: a gRPC server for Publish, behind a door that breaks connections."""

    title = "The dead-letter topic"

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, Mapping[str, str]]] = []
        self._fault = ""
        self._count = self._before = 0
        self._lifted = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, socket.socket] = {}
        self._listener: socket.socket | None = None
        self._reserved = ReservedPort()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._reserved.number}"

    # As a party

    def message(self, number: int, trouble: Trouble) -> bytes:
        return f"garbage {number}: {trouble.name}".encode()

    def break_down(self, trouble: Trouble) -> None:
        self._before = self._count
        self._lifted.clear()
        self._fault = str(trouble.fault)
        if self._fault in {"refuse", "reset unread", "page"}:
            if self._fault == "refuse":
                self._close_listener()
            self._reset_all()

    def mend(self) -> None:
        broken, self._fault = self._fault, ""
        self._lifted.set()
        if self._listener is None:
            self._listen()
        if broken == "drip":
            self._reset_all()

    def calls(self) -> int:
        return self._count - self._before

    def confirmed(self, data: bytes) -> int:
        return sum(letter == data for letter, _ in self.letters)

    # Its life

    def __enter__(self) -> Self:
        self._rpcs = ThreadPoolExecutor(8)
        publish = grpc.unary_unary_rpc_method_handler(
            self._publish,
            request_deserializer=pubsub_v1.types.PublishRequest.deserialize,
            response_serializer=bytes,
        )
        handler = grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": publish})
        self._server = grpc.server(self._rpcs, handlers=[handler], options=[("grpc.so_reuseport", 0)])
        self._rpc_port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._threads = ThreadPoolExecutor(64)
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._lifted.set()
        self._stopped.set()
        self._close_listener()
        self._reset_all()
        self._reserved.close()
        self._threads.shutdown()
        self._server.stop(grace=0).wait()
        self._rpcs.shutdown()

    def _publish(self, request: Any, context: Any) -> bytes:  # noqa: ANN401  # grpc comes without types
        fault = self._fault
        self._count += 1
        if fault in {"", "drip", "truncate", "reset in effect"}:
            self.letters += [(bytes(one.data), dict(one.attributes)) for one in request.messages]
        if fault.startswith("reset"):
            self._reset_all()
        if fault == "hang":
            context.add_callback(self._lifted.set)
            self._lifted.wait()
        if fault == "foreign":
            return b"<!DOCTYPE html>"
        if fault == "empty":
            return b""
        if fault in _CODES:
            context.abort(grpc.StatusCode[fault], "refused")
        answered = pubsub_v1.types.PublishResponse(message_ids=[str(self._count) for _ in request.messages])
        return bytes(pubsub_v1.types.PublishResponse.serialize(answered))

    # The door

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._reserved.number))
        self._threads.submit(self._accept, self._listener)

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                caller, _ = listener.accept()
                if self._fault == "reset unread":
                    _reset(caller)
                    continue
                if self._fault == "page":
                    page = FOREIGN.body or b""
                    caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
                    caller.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._rpc_port))
                with self._lock:
                    self._open[caller] = server
                self._threads.submit(self._forward, caller, server)
                self._threads.submit(self._answer, server, caller)

    def _forward(self, caller: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # one of them went away
            while chunk := caller.recv(65_536):
                server.sendall(chunk)
        self._end(caller, server)

    def _answer(self, server: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):  # as above
            while chunk := server.recv(65_536):
                if self._fault == "truncate" and self.calls():  # what comes before is HTTP/2's own
                    caller.sendall(chunk[: len(chunk) // 2])
                    break
                if self._fault == "drip":
                    self._drip(chunk, caller)
                else:
                    caller.sendall(chunk)
        self._end(caller, server)

    def _drip(self, chunk: bytes, caller: socket.socket) -> None:
        for byte in chunk:
            caller.sendall(bytes([byte]))
            self._lifted.wait(1.0)

    def _end(self, caller: socket.socket, server: socket.socket) -> None:
        with self._lock:
            if self._open.pop(caller, None) is None:
                return
        for connection in (caller, server):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _reset_all(self) -> None:
        with self._lock:
            pairs = list(self._open.items())
            self._open.clear()
        for caller, server in pairs:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            _reset(caller)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # ends another thread's recv, which would keep the socket open
    connection.close()


class _ShortTokens(CommercetoolsStandIn):
    """commercetools with tokens that expire after one call, so that each read asks for one."""

    def respond(self, call: Call) -> Answer:
        given = super().respond(call)
        if call.path != "/oauth/token" or given.status != HTTPStatus.OK:
            return given
        return replace(given, body=json.dumps({**json.loads(given.body), "expires_in": 0}).encode())


# One row


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one message."""

    party: str
    trouble: str
    gone: bool
    """There is nothing to send."""
    answer: int | None
    """The first push's; None: none within Pub/Sub's 30 s"""
    calls: int
    """To what failed, for the first push"""
    pushes: int
    confirmed_at_first: int
    """How many times what it was to bring about was there when the first push was answered"""
    confirmed: int
    """The same in the end"""
    acknowledged: bool
    given_up: bool
    """Pub/Sub has put it into the dead-letter topic"""
    set_aside: str | None
    """The reason under which the service has put it there"""
    says: str

    @property
    def next(self) -> str:
        """What Pub/Sub does next."""
        if self.given_up:
            return f"redelivered; after {self.pushes} deliveries in the dead-letter topic"
        if self.pushes > 1:
            return "redelivered, then delivered" if not self.set_aside else "redelivered, then set aside"
        if self.gone:
            return "acknowledged: there is nothing to send"
        return "acknowledged: set aside in the dead-letter topic" if self.set_aside else "acknowledged"


class _Case:
    """A message in delivery; it records each push."""

    def __init__(self, party: Party, trouble: Trouble) -> None:
        self.party = party
        self.trouble = trouble
        self.data = b""
        self.message_id = ""
        self.pushes: list[Push] = []
        self.calls = self.confirmed_at_first = 0
        self.ended = threading.Event()

    def pushed(self, push: Push) -> None:
        if not self.pushes:
            self.calls = self.party.calls()
            self.confirmed_at_first = self.party.confirmed(self.data)
            if not self.trouble.for_good:
                self.party.mend()
        self.pushes.append(push)
        if push.acknowledged or push.dead_lettered:
            self.ended.set()


class _Runner:
    """The world of all rows: a Pub/Sub, its clients, and what the services said."""

    def __init__(self) -> None:
        self.pubsub = PubSubEmulator(speed=_SPEED, on_push=self._on_push)
        self._numbers = itertools.count(1)
        self._cases: dict[str, _Case] = {}
        self._said: dict[str, str] = {}
        self._spoke = threading.Condition()

    def set_up(self, stack: ExitStack) -> None:
        stack.enter_context(self.pubsub)
        with emulated(self.pubsub.host):
            self._publisher = pubsub_v1.PublisherClient()
            self._subscriber = pubsub_v1.SubscriberClient()
        stack.callback(self._publisher.transport.close)
        stack.callback(self._publisher.stop)
        stack.callback(self._subscriber.close)
        self._publisher.create_topic(name=_LETTERS)
        self._subscriber.create_subscription(name=_LETTER_BOX, topic=_LETTERS)

    def _on_push(self, push: Push) -> None:
        self._cases[push.subscription].pushed(push)

    def on_line(self, line: Line) -> None:
        if "message_id" in line:
            with self._spoke:
                self._said.setdefault(line["message_id"], str(line["message"]))
                self._spoke.notify_all()

    def try_in_turn(self, service: Service, parties: Sequence[tuple[Party, Sequence[Trouble]]]) -> list[_Case]:
        """Try one trouble after the other, of one party after the other."""
        return [self._try(service, party, trouble) for party, troubles in parties for trouble in troubles]

    def _try(self, service: Service, party: Party, trouble: Trouble) -> _Case:
        number = next(self._numbers)
        topic, subscription = f"projects/demo/topics/row-{number}", f"projects/demo/subscriptions/row-{number}"
        case = self._cases[subscription] = _Case(party, trouble)
        case.data = party.message(number, trouble)
        self._publisher.create_topic(name=topic)
        self._subscriber.create_subscription(
            request={
                "name": subscription,
                "topic": topic,
                "ack_deadline_seconds": PUSH_SECONDS,
                "push_config": {"push_endpoint": service.url},
                "retry_policy": {"minimum_backoff": timedelta(seconds=10), "maximum_backoff": timedelta(seconds=600)},
                "dead_letter_policy": {
                    "dead_letter_topic": _LETTERS,
                    "max_delivery_attempts": ATTEMPTS if trouble.for_good else 100,
                },
            }
        )
        party.break_down(trouble)
        case.message_id = str(self._publisher.publish(topic, case.data).result(timeout=30))
        if not case.ended.wait(_ROW_SECONDS):
            raise TimeoutError(f"{party.title}, {trouble.name}: {case.pushes}")
        party.mend()
        return case

    def rows(self, cases: Sequence[_Case]) -> list[Row]:
        letters = self._letters()
        return [self._row(case, letters) for case in cases]

    def _row(self, case: _Case, letters: Mapping[bytes, Mapping[str, str]]) -> Row:
        with self._spoke:
            self._spoke.wait_for(lambda: case.message_id in self._said, timeout=10)
        letter = letters.get(case.data, {})
        if isinstance(case.party, DeadLetterTopic):
            letter = dict(case.party.letters).get(case.data, letter)
        return Row(
            party=case.party.title,
            trouble=case.trouble.name,
            gone=case.trouble.gone,
            answer=case.pushes[0].status,
            calls=case.calls,
            pushes=len(case.pushes),
            confirmed_at_first=case.confirmed_at_first,
            confirmed=case.party.confirmed(case.data),
            acknowledged=case.pushes[-1].acknowledged,
            given_up=case.pushes[-1].dead_lettered and "CloudPubSubDeadLetterSourceSubscription" in letter,
            set_aside=letter.get("reason"),
            says=self._said.get(case.message_id, "nothing"),
        )

    def _letters(self) -> dict[bytes, Mapping[str, str]]:
        taken: dict[bytes, Mapping[str, str]] = {}
        while self.pubsub.backlog(_LETTER_BOX):
            pulled = self._subscriber.pull(subscription=_LETTER_BOX, max_messages=1000, timeout=30).received_messages
            taken |= {bytes(one.message.data): dict(one.message.attributes) for one in pulled}
            self._subscriber.acknowledge(subscription=_LETTER_BOX, ack_ids=[one.ack_id for one in pulled])
        return taken


# The whole table


def run(of_orders: Collection[str] | None = None) -> list[Row]:
    """Try every fault with every party: two processes of the service for each kind of setting, side by side.

    `of_orders` names the faults of the parties of orders (None: all), which one process for each kind then tries.
    """
    runner = _Runner()

    def some(troubles: Sequence[Trouble]) -> list[Trouble]:
        return [trouble for trouble in troubles if trouble.name in (of_orders or ())]

    customers = (_segments_world, _queries_world, _tokens_world, _ids_and_letters_world)
    with ExitStack() as stack:
        runner.set_up(stack)
        groups = [
            world(runner, half)
            for worlds, halves in (
                (customers, (_quick, _slow)),
                (_OF_ORDERS, (_quick, _slow) if of_orders is None else (some,)),
            )
            for world in worlds
            for half in halves
        ]
        with ThreadPoolExecutor(len(groups)) as pool:
            cases = [case for done in pool.map(_with_its_world, groups) for case in done]
        rows = runner.rows(cases)
    titles = list(dict.fromkeys(row.party for row in rows))
    names = [trouble.name for trouble in (*_CODE_TROUBLES, *TROUBLES, GONE, *TOPIC_TROUBLES)]
    return sorted(rows, key=lambda row: (titles.index(row.party), names.index(row.trouble)))


_Half = Callable[[Sequence[Trouble]], list[Trouble]]
_World = AbstractContextManager[tuple[Service, Sequence[Sequence[tuple[Party, Sequence[Trouble]]]], _Runner]]
"""A service, its parties with their troubles, and the runner. Those of one sequence, one stand-in, take turns."""


def _quick(troubles: Sequence[Trouble]) -> list[Trouble]:
    return [trouble for trouble in troubles if trouble.name not in _SLOW]


def _slow(troubles: Sequence[Trouble]) -> list[Trouble]:
    return [trouble for trouble in troubles if trouble.name in _SLOW]


def _with_its_world(world: _World) -> list[_Case]:
    with world as (service, stand_ins, runner), service, ThreadPoolExecutor(len(stand_ins)) as pool:
        each = [pool.submit(runner.try_in_turn, service, parties) for parties in stand_ins]
        return [case for one in each for case in one.result()]


def _told(segment: SegmentStandIn) -> Callable[[bytes], int]:
    def confirmed(data: bytes) -> int:
        return sum(event["userId"] == _id_in(data) for event in segment.events)

    return confirmed


def _id_in(data: bytes) -> str:
    return str(json.loads(data)["resource"]["id"])


def _somebody() -> dict[str, str]:
    return {"typeId": "customer", "id": str(uuid.uuid4())}


@contextmanager
def _segments_world(runner: _Runner, half: _Half) -> Iterator[Any]:
    """Segment and its Public API: the customer is in the notification, and a deleted one is erased."""

    def created(_number: int, _trouble: Trouble) -> bytes:
        somebody = _somebody()
        return json.dumps(a_message(resource=somebody, customer=a_customer(id=somebody["id"], version=1))).encode()

    def deleted(_number: int, _trouble: Trouble) -> bytes:
        return json.dumps(a_change(notificationType="ResourceDeleted", resource=_somebody())).encode()

    with SegmentStandIn() as segment, SegmentPublicApiStandIn(segment=segment) as public_api:

        def erased(data: bytes) -> int:
            return int(_id_in(data) in segment.suppressed)

        environment = _environment(
            segment,
            ERASURE="every",
            SEGMENT_PUBLIC_API_URL=public_api.url,
            SEGMENT_PUBLIC_API_TOKEN=public_api.token,
            DEAD_LETTER_TOPIC=_LETTERS,
            PUBSUB_EMULATOR_HOST=runner.pubsub.host,
        )
        parties = [
            [(HttpParty("Segment", segment, created, _told(segment)), half(TROUBLES))],
            [(HttpParty("Segment's Public API", public_api, deleted, erased), half(TROUBLES))],
        ]
        yield Service(environment, on_line=runner.on_line), parties, runner


def _queries_world(runner: _Runner, half: _Half) -> _World:
    return _commercetools_world(
        runner, half, "commercetools, the query", "/demo-shop/customers?", CommercetoolsStandIn()
    )


def _tokens_world(runner: _Runner, half: _Half) -> _World:
    return _commercetools_world(runner, half, "commercetools, the token endpoint", "/oauth/token", _ShortTokens())


@contextmanager
def _commercetools_world(
    runner: _Runner, half: _Half, title: str, on: str, commercetools: CommercetoolsStandIn
) -> Iterator[Any]:
    with commercetools, SegmentStandIn() as segment:
        environment = _environment(
            segment,
            **commercetools.settings,
            DEAD_LETTER_TOPIC=_LETTERS,
            PUBSUB_EMULATOR_HOST=runner.pubsub.host,
        )
        party = HttpParty(title, commercetools, _created_in(commercetools), _told(segment), on, looks_again=True)
        yield Service(environment, on_line=runner.on_line), [[(party, half(TROUBLES))]], runner


@contextmanager
def _ids_and_letters_world(runner: _Runner, half: _Half) -> Iterator[Any]:
    """Reads by id, because the query does not find the customer yet; and a dead-letter topic that fails."""
    with CommercetoolsStandIn() as commercetools, SegmentStandIn() as segment, DeadLetterTopic() as topic:
        hidden: list[str] = []
        create = _created_in(commercetools)

        def hide(number: int, trouble: Trouble) -> bytes:
            data = create(number, trouble)
            hidden.append(_id_in(data))
            commercetools.hide_from_query(hidden)
            return data

        environment = _environment(
            segment,
            **commercetools.settings,
            DEAD_LETTER_TOPIC=_LETTERS,
            PUBSUB_EMULATOR_HOST=topic.host,
        )
        reads = HttpParty(
            "commercetools, read by id", commercetools, hide, _told(segment), "/demo-shop/customers/", looks_again=True
        )
        parties = [[(reads, half(_BY_ID))], [(topic, half(TOPIC_TROUBLES))]]
        yield Service(environment, on_line=runner.on_line), parties, runner


@contextmanager
def _sold_world(runner: _Runner, half: _Half) -> Iterator[Any]:
    """Orders: the query, the read by id because the query does not find the order yet, and the customer of an order."""
    with CommercetoolsStandIn(orders=True) as commercetools, SegmentStandIn() as segment:
        sales = commercetools.shop.sales
        hidden: list[str] = []

        def sold(_number: int, _trouble: Trouble) -> bytes:
            buyer = commercetools.shop.create(customerNumber=str(uuid.uuid4()))
            order = sales.place(customerId=buyer["id"], customerEmail=None)
            return _message_about("order", order["id"], "OrderCreated")

        def sold_and_hidden(number: int, trouble: Trouble) -> bytes:
            data = sold(number, trouble)
            hidden.append(_id_in(data))
            commercetools.hide_from_query(hidden)
            if trouble.gone:
                sales.delete(_id_in(data))
            return data

        def told(data: bytes) -> int:
            return sum(event["properties"]["order_id"] == _id_in(data) for event in segment.events)

        def party(title: str, message: Callable[[int, Trouble], bytes], on: str) -> HttpParty:
            return HttpParty(title, commercetools, message, told, f"/demo-shop/{on}")

        parties = [
            (party("commercetools, the query of orders", sold, "orders?"), half(TROUBLES)),
            (party("commercetools, the customer of an order", sold, "customers?"), half(TROUBLES)),
            (party("commercetools, an order by id", sold_and_hidden, "orders/"), half(_BY_ID)),
        ]
        environment = _environment(segment, **_for_orders(commercetools, runner), SEGMENT_USER_ID="customerNumber")
        yield Service(environment, on_line=runner.on_line), [parties], runner


@contextmanager
def _refunded_world(runner: _Runner, half: _Half) -> Iterator[Any]:
    """Refunds: the query of payments, a payment by id, the query for its order, and that order by id."""
    with CommercetoolsStandIn(orders=True) as commercetools, SegmentStandIn() as segment:
        sales = commercetools.shop.sales
        hidden: list[str] = []
        refunds: dict[bytes, str] = {}

        def refunded(_number: int, trouble: Trouble) -> bytes:
            payment = sales.pay(Decimal(100), "EUR")
            sales.place(paymentInfo={"payments": [{"typeId": "payment", "id": payment["id"]}]})
            refund = sales.refund(payment["id"], Decimal(10), "Success")
            more = {"transactionId": refund, "state": "Success", "name": trouble.name}
            data = _message_about("payment", payment["id"], "PaymentTransactionStateChanged", **more)
            refunds[data] = refund
            return data

        def refunded_and_hidden(number: int, trouble: Trouble) -> bytes:
            data = refunded(number, trouble)
            hidden.append(_id_in(data))
            commercetools.hide_from_query(hidden)
            return data

        def told(data: bytes) -> int:
            return sum(event["properties"]["refund_id"] == refunds[data] for event in segment.events)

        def party(title: str, message: Callable[[int, Trouble], bytes], on: str) -> HttpParty:
            return HttpParty(title, commercetools, message, told, f"/demo-shop/{on}")

        troubles = [trouble for trouble in _BY_ID if not trouble.gone]
        parties = [
            (party("commercetools, the query of payments", refunded, "payments?"), half(TROUBLES)),
            (party("commercetools, the query for a payment's order", refunded, "orders?"), half(TROUBLES)),
            (party("commercetools, a payment's order by id", refunded, "orders/"), half(troubles)),
            (party("commercetools, a payment by id", refunded_and_hidden, "payments/"), half(troubles)),
        ]
        environment = _environment(segment, **_for_orders(commercetools, runner))
        yield Service(environment, on_line=runner.on_line), [parties], runner


_OF_ORDERS = (_sold_world, _refunded_world)
_BY_ID = (*(trouble for trouble in TROUBLES if trouble.name != "404"), GONE)
"""A 404 of its own would be no fault, but a lie."""


def _for_orders(commercetools: CommercetoolsStandIn, runner: _Runner) -> dict[str, str]:
    return {
        **commercetools.settings,
        "ORDERS": "on",
        "DEAD_LETTER_TOPIC": _LETTERS,
        "PUBSUB_EMULATOR_HOST": runner.pubsub.host,
    }


def _message_about(type_id: str, resource_id: str, kind: str, **more: object) -> bytes:
    """Return a Message without the resource in it, of now."""
    about = {"typeId": type_id, "id": resource_id}
    now = datetime.now(UTC).isoformat()
    message = an_order_message(kind, projectKey="demo-shop", resource=about, resourceVersion=1, createdAt=now, **more)
    return json.dumps(message).encode()


def _created_in(commercetools: CommercetoolsStandIn) -> Callable[[int, Trouble], bytes]:
    shop = commercetools.shop

    def created(_number: int, trouble: Trouble) -> bytes:
        customer_id = shop.create()["id"]
        if trouble.gone:
            shop.delete(customer_id)
        resource = {"typeId": "customer", "id": customer_id}
        return json.dumps(a_change(projectKey=shop.project_key, resource=resource, version=1)).encode()

    return created


def _environment(segment: SegmentStandIn, **more: str) -> dict[str, str]:
    return {
        "SEGMENT_WRITE_KEY": segment.write_key,
        "SEGMENT_HOST": segment.url,
        "SEGMENT_USER_ID": "id",
        "PUSH_AUTH": "none",
        **more,
    }


# What it says


def broken(rows: Sequence[Row]) -> list[str]:
    """Name each way in which a row breaks the promise."""
    return [f"{row.party}, {row.trouble}: {wrong}" for row in rows for wrong in _wrongs(row)]


def _wrongs(row: Row) -> Iterator[str]:
    if row.answer is None:
        yield "no answer within Pub/Sub's 30 s"
    elif row.answer not in {200, 204, 500}:
        yield f"answered {row.answer}"
    if row.answer in {200, 204} and not (row.confirmed_at_first or row.set_aside or row.gone):
        yield "acknowledged, and neither confirmed nor in the dead-letter topic"
    if row.acknowledged and not (row.confirmed or row.set_aside or row.gone):
        yield "acknowledged in the end, and neither confirmed nor in the dead-letter topic"
    if not row.acknowledged and not row.given_up:
        yield "neither acknowledged nor given up"
    if row.party != DeadLetterTopic.title and row.confirmed > 1:  # which is no deduplicating party
        yield f"counted {row.confirmed} times"


def page(rows: Sequence[Row]) -> str:
    """Return docs/faults.md."""
    lines = [
        "# When an outside party fails",
        "",
        "Generated by `python -m tests.emulation.faults > docs/faults.md` from a run of the service as it is deployed;",
        "`make test` runs it again and compares (for orders with some of the faults; `make test-long` with all).",
        "",
        "*answer* is the service's answer to the push while the party fails. *calls* is the number of its calls that",
        "reach the party: one, and a second one if a token was refused or a kept-alive connection was dead.",
        "*Pub/Sub* is what happens to the message next (the fault is over by then, except in the rows that say so).",
        "*the log says* is the log line of the push.",
    ]
    for title, its in itertools.groupby(rows, key=lambda row: row.party):
        lines += ["", f"## {title}", "", "| fault | answer | calls | Pub/Sub | the log says |", "|---|---|---|---|---|"]
        lines += [f"| {row.trouble} | {row.answer} | {row.calls} | {row.next} | `{row.says}` |" for row in its]
    counted = Counter("acknowledged" if row.answer in {200, 204} else "nacked" for row in rows)
    lines += ["", f"{len(rows)} rows: {counted['nacked']} nacked at first, {counted['acknowledged']} acknowledged."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    table = run()
    sys.stdout.write(page(table))
    sys.exit("\n".join(broken(table)) or 0)
