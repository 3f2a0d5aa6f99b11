"""The HTTP/1.1 server of every stand-in: on loopback, with faults on demand.

It has a thread for each connection and keeps connections alive, as the real services do. `respond` of a stand-in gives
its answers; this module has the faults, for all of them.
"""

import contextlib
import gzip
import json
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from http import HTTPStatus
from io import BufferedReader
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from playground.ports import ReservedPort

JSON = {"Content-Type": "application/json; charset=utf-8"}
_BACKLOG = 1024
_LINE_BYTES = 65_536
_JOIN_SECONDS = 5


class Headers(Mapping[str, str]):
    """A request's headers; the name is looked up in any case, iteration gives it in lower case."""

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = {name.lower(): value for name, value in (items or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `path` decoded and without the query, `body` as received, `at` in seconds of time.monotonic()."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    at: float

    def content(self) -> bytes:
        """Return the body without its Content-Encoding. Raises OSError or EOFError if it is not gzip."""
        return gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body

    def json(self) -> Any:  # noqa: ANN401  # JSON has no type
        return json.loads(self.content())


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def on_the_wire(self, *, length: int | None = None, without_body: bool = False) -> bytes:
        """The bytes to send; `length` is what Content-Length claims, if not the truth."""
        lines = [f"HTTP/1.1 {self.status} {phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            without_body = True
        else:
            lines.append(f"Content-Length: {len(self.body) if length is None else length}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head if without_body else head + self.body


def phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else "Unknown"


_STATUSES = {status.value for status in HTTPStatus}


def json_answer(status: int, document: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, json_bytes(document), {**JSON, **(headers or {})})


def json_bytes(document: object) -> bytes:
    """Return JSON in UTF-8; half a surrogate pair, which UTF-8 cannot have, as its escape."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


class _Kind(Enum):
    ANSWER = "answers something else"
    RESET_BEFORE_READ = "resets the connection before the request is read"
    RESET_AFTER_READ = "resets the connection after the request was read"
    CLOSE_AFTER_READ = "closes the connection without an answer"
    HANG = "never answers"
    DRIP = "answers correctly, a byte at a time"
    TRUNCATED = "ends in the middle of its answer"


@dataclass(frozen=True, slots=True)
class Fault:
    """How a request fails. `processed`: it takes effect before that."""

    kind: _Kind
    processed: bool = False
    status: int = 200
    retry_after: int | str | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds_per_byte: float = 0

    @property
    def what(self) -> str:
        """What it does, in words: "never answers"."""
        return self.kind.value

    @property
    def is_answer(self) -> bool:
        """Whether the client gets an answer, another one than it would get."""
        return self.kind is _Kind.ANSWER

    def after_effect(self) -> "Fault":
        """Return the same fault after the request has taken effect, which its sender cannot know."""
        if self.kind is _Kind.RESET_BEFORE_READ:
            raise ValueError("a request that is not read has no effect")
        return replace(self, processed=True)


RESET_BEFORE_READ = Fault(_Kind.RESET_BEFORE_READ)
RESET_AFTER_READ = Fault(_Kind.RESET_AFTER_READ)
CLOSE_AFTER_READ = Fault(_Kind.CLOSE_AFTER_READ)
HANG = Fault(_Kind.HANG)
TRUNCATED = Fault(_Kind.TRUNCATED)
"""A 200 with a Content-Length that is larger than its body; not processed, unless `after_effect()`."""
FOREIGN = Fault(
    _Kind.ANSWER,
    body=b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in to our Wi-Fi.</body></html>",
    headers={"Content-Type": "text/html; charset=utf-8"},
)
"""A captive portal between client and server: 200 with an HTML page."""


def answer(
    status: int,
    *,
    retry_after: int | str | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """Return a fault with this status; by default in the API's error shape. `retry_after`: seconds or a date."""
    return Fault(_Kind.ANSWER, status=status, retry_after=retry_after, body=body, headers=headers or {})


def redirect(status: int, to: str) -> Fault:
    return Fault(_Kind.ANSWER, status=status, body=b"", headers={"Location": to})


def drip(seconds_per_byte: float = 1.0) -> Fault:
    """Return a fault that sends the correct answer byte by byte: no read takes long, but the whole does."""
    return Fault(_Kind.DRIP, processed=True, seconds_per_byte=seconds_per_byte)


class Hold:
    """Requests that a stand-in holds until a test releases them."""

    def __init__(
        self, changed: threading.Condition, when: Callable[[Call], bool], *, after: int, before_effect: bool
    ) -> None:
        self.before_effect = before_effect
        self._changed = changed
        self._when = when
        self._after = after
        self._seen = 0
        self._held = 0
        self._is_over = False

    def wait_for(self, number: int, timeout: float) -> bool:
        """Return whether so many requests in all have been held within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._held >= number, timeout)

    def let_go(self) -> None:
        """Release everything that is held, and hold nothing more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def takes(self, call: Call) -> bool:
        """Return whether this request is to be held. Called once for each request, under the stand-in's lock."""
        if self._is_over or not self._when(call):
            return False
        self._seen += 1
        return self._seen > self._after

    def keep(self, stopped: Callable[[], bool]) -> None:
        """Wait until the request is released, or the stand-in stops."""
        with self._changed:
            self._held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_over or stopped())


class StandIn:
    """A server on 127.0.0.1 while its context is entered. It can be stopped and started again on the same port.

    A request takes effect `late()` seconds after it was read, even if its caller has gone by then, and is answered
    `latency` seconds later. `remember` is the number of the newest calls that are kept (None: all), for long runs.
    """

    def __init__(self, *, port: int = 0, latency: float = 0, remember: int | None = None) -> None:
        self._reserved: ReservedPort | None = None
        self.port = port
        self.latency = latency
        self.late: Callable[[], float] = lambda: 0.0
        self.on_call: Callable[[Call, Answer, Fault | None], None] | None = None
        """Is told of each request that was read, before it is answered: its answer, and the fault that it meets."""
        self.connections = 0  # accepted since the first start
        self.call_count = 0
        self._calls: deque[Call] = deque(maxlen=remember)
        self._changed = threading.Condition(threading.RLock())  # guards all state, the subclasses' too
        self._queued: list[tuple[str, Fault]] = []
        self._standing: tuple[str, Fault] | None = None
        self._open: dict[socket.socket, threading.Thread] = {}
        self._idle: set[socket.socket] = set()
        self._hanging: set[socket.socket] = set()
        self._holds: list[Hold] = []
        self._stopped = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    # What a subclass says

    def respond(self, call: Call) -> Answer:
        """Let the request take effect, and return its answer."""
        raise NotImplementedError

    def refusal(self, status: int, retry_after: int | str | None) -> Answer:  # noqa: ARG002  # for those who override
        """An answer of this status in the API's own error shape."""
        return json_answer(status, {"message": str(status)})

    # What a test asks

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Call]:
        """The requests so far, in the order in which they took effect, without those that were reset before reading."""
        with self._changed:
            return list(self._calls)

    def wait_for_calls(self, n: int, timeout: float) -> bool:
        """Return whether `n` calls in all have taken effect or failed within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.call_count >= n, timeout)

    def wait_until_left(self, timeout: float) -> bool:
        """Return whether within `timeout` seconds every connection has ended, with all that came on it."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    def forget(self) -> None:
        """Clear what was recorded."""
        with self._changed:
            self._calls.clear()
            self.call_count = 0

    # What a test does to it

    def fail_next(self, fault: Fault, times: int = 1, *, on: str = "") -> None:
        """Make the next `times` requests (whose path and query begin with `on`) fail, after those queued before."""
        with self._changed:
            self._queued += [(on, fault)] * times

    def fail(self, fault: Fault | None, *, on: str = "") -> None:
        """Make every request (whose path and query begin with `on`) fail, until this is called with None.

        None also closes hanging connections without an answer.
        """
        with self._changed:
            self._standing = (on, fault) if fault else None
            if fault is None:
                for connection in self._hanging:
                    _shut(connection)

    @contextlib.contextmanager
    def failing(self, fault: Fault, *, on: str = "") -> Iterator[None]:
        self.fail(fault, on=on)
        try:
            yield
        finally:
            self.fail(None)

    @contextlib.contextmanager
    def hold(
        self, when: Callable[[Call], bool] = lambda _: True, *, after: int = 0, before_effect: bool = False
    ) -> Iterator[Hold]:
        """Hold the answers to requests for which `when` is true, except the first `after` of them.

        With `before_effect` such a request takes effect, and is recorded, only when it is released. The end of the
        context releases what is still held.
        """
        hold = Hold(self._changed, when, after=after, before_effect=before_effect)
        with self._changed:
            self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.let_go()
            with self._changed:
                self._holds.remove(hold)

    def close_idle_connections(self) -> int:
        """Close the kept-alive connections on which no request is under way, as an idle timeout does; how many.

        A client has its answer a moment before its connection counts as idle here, so this waits, a second at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._idle) == len(self._open), timeout=1)
            for connection in self._idle:
                _shut(connection)
            return len(self._idle)

    # Its life

    def start(self) -> Self:
        self._stopped.clear()
        if not self.port:
            self._reserved = ReservedPort()
            self.port = self._reserved.number
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close every connection, answered or not, and wait for their threads."""
        if self._listener is None or self._acceptor is None:
            return
        self._stopped.set()
        with contextlib.suppress(OSError):  # closing a socket does not wake its accept everywhere; a visitor does
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._acceptor.join()
        self._listener.close()
        self._listener = self._acceptor = None
        with self._changed:
            threads = list(self._open.values())
            for connection in self._open:
                _shut(connection)
            self._changed.notify_all()
        for thread in threads:
            thread.join(_JOIN_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._reserved is not None:
            self._reserved.close()

    # One connection, one request

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._changed:
                self.connections += 1
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                with contextlib.suppress(OSError):  # the client went away, or we stop
                    while self._one_request(connection, reader):
                        pass
            finally:
                with self._changed:
                    del self._open[connection]
                    self._idle.discard(connection)
                    self._hanging.discard(connection)
                    self._changed.notify_all()

    def _one_request(self, connection: socket.socket, reader: BufferedReader) -> bool:
        """Read a request and answer it; whether the connection may be used again."""
        fault = self._due(connection, reader)
        if fault and fault.kind is _Kind.RESET_BEFORE_READ:
            return _reset(connection)
        call = _read(connection, reader)
        if call is None:
            return False
        with self._changed:
            held = [hold for hold in self._holds if hold.takes(call)]
        for hold in held:
            if hold.before_effect:
                hold.keep(self._stopped.is_set)
        late = self.late()
        if late:
            self._stopped.wait(late)
        due = time.monotonic() + self.latency
        reply = self.respond(call) if fault is None or fault.processed else Answer(200, b"{}")
        self._note(call, reply, fault)
        for hold in held:
            if not hold.before_effect:
                hold.keep(self._stopped.is_set)
        if self.latency:
            self._stopped.wait(max(due - time.monotonic(), 0))
        if fault and fault.kind is not _Kind.ANSWER:
            return self._fail(fault, reply, connection, reader)
        sent = self._instead(fault) if fault else reply
        connection.sendall(sent.on_the_wire(without_body=call.method == "HEAD"))
        return call.headers.get("Connection", "").lower() != "close"

    def _note(self, call: Call, reply: Answer, fault: Fault | None) -> None:
        if self.on_call is not None:
            self.on_call(call, self._instead(fault) if fault and fault.kind is _Kind.ANSWER else reply, fault)
        with self._changed:
            self._calls.append(call)
            self.call_count += 1
            self._changed.notify_all()

    def _fail(self, fault: Fault, reply: Answer, connection: socket.socket, reader: BufferedReader) -> bool:
        match fault.kind:
            case _Kind.RESET_AFTER_READ:
                return _reset(connection)
            case _Kind.HANG:
                while reader.read1():  # until the client gives up, the fault is lifted or the stand-in stops
                    pass
            case _Kind.DRIP:
                for byte in reply.on_the_wire():
                    connection.sendall(bytes([byte]))
                    if self._stopped.wait(fault.seconds_per_byte):
                        return False
                return True
            case _Kind.TRUNCATED:
                half = replace(reply, body=reply.body[: len(reply.body) // 2])
                connection.sendall(half.on_the_wire(length=len(reply.body) + 1))
            case _:  # CLOSE_AFTER_READ
                pass
        return False

    def _due(self, connection: socket.socket, reader: BufferedReader) -> Fault | None:
        """Wait for a request to begin, or for the connection to end; the fault that the request is to meet."""
        with self._changed:
            self._idle.add(connection)
            self._changed.notify_all()
        start = reader.peek()
        target = start.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
        with self._changed:
            self._idle.discard(connection)
            if not start:
                return None
            fault = self._taken(target)
            if fault and fault.kind is _Kind.HANG:
                self._hanging.add(connection)
            return fault

    def _taken(self, target: str) -> Fault | None:
        for entry in self._queued:
            if target.startswith(entry[0]):
                self._queued.remove(entry)
                return entry[1]
        if self._standing and target.startswith(self._standing[0]):
            return self._standing[1]
        return None

    def _instead(self, fault: Fault) -> Answer:
        if fault.body is None:
            own = self.refusal(fault.status, fault.retry_after)
        else:
            own = Answer(fault.status, fault.body, {})
        waiting = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return replace(own, headers={**own.headers, **waiting, **fault.headers})


def _read(connection: socket.socket, reader: BufferedReader) -> Call | None:
    """The next request, or None if the client goes before it is whole."""
    request = reader.readline(_LINE_BYTES).decode("latin-1").split()
    if len(request) != len(("method", "target", "version")) or not request[2].startswith("HTTP/"):
        return None  # as of a client that speaks TLS
    headers = {}
    while (line := reader.readline(_LINE_BYTES)) not in (b"\r\n", b"\n"):
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip()] = value.strip()
    found = Headers(headers)
    if found.get("Expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "Transfer-Encoding" in found:  # none of our clients streams a body
        connection.sendall(Answer(411, b"", {"Connection": "close"}).on_the_wire())
        return None
    length = int(found.get("Content-Length", "0"))
    body = reader.read(length) if length else b""
    if len(body) < length:
        return None
    method, target, version = request
    if version == "HTTP/1.0":
        found = Headers({"Connection": "close", **headers})
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True) if url.query else {}
    return Call(method, unquote(url.path), query, found, body, time.monotonic())


def _reset(connection: socket.socket) -> bool:
    """Make the close that follows a TCP RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client was quicker
        connection.shutdown(socket.SHUT_RDWR)


def run_until_told(stand_in: StandIn, summary: Callable[[], Mapping[str, object]]) -> None:
    """Serve in the foreground: prints the URL, stops cleanly on TERM or Ctrl-C, then prints the summary as JSON."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with stand_in:
        print(stand_in.url, flush=True)  # noqa: T201  # the one thing that its caller waits for
        told.wait()
    print(json.dumps({"calls": stand_in.call_count, **summary()}))  # noqa: T201  # the last word of a program
