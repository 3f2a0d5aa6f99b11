"""A push endpoint that records pushes and answers as the test sets."""

import json
import socket
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

RESET = 0
"""In place of a status: hang up without an answer."""


@dataclass(frozen=True)
class Received:
    """One request: `at` is a time of the monotonic clock, `nth` counts this message's requests at this path from 1."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    nth: int = 1
    at: float = field(default_factory=time.monotonic)

    @property
    def envelope(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    @property
    def message(self) -> dict[str, Any]:
        inner: dict[str, Any] = self.envelope["message"]
        return inner

    @property
    def text(self) -> str:
        return b64decode(self.message.get("data", "")).decode()


class Endpoint:
    """Answers with the status that `answer` returns (which may block: a slow endpoint), on kept-alive connections."""

    def __init__(
        self, answer: Callable[[Received], int] = lambda _: 204, headers: Mapping[str, str] | None = None
    ) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._counts: Counter[tuple[str, object]] = Counter()
        self._answer = answer
        self._headers = dict(headers or {})
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):  # the other side was quicker
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def wait_for(self, condition: "Callable[[list[Received]], bool] | int", seconds: float = 15) -> list[Received]:
        """Return what came, as soon as it fulfils the condition or is that many."""
        is_met = condition if callable(condition) else lambda received: len(received) >= condition
        with self._changed:
            if not self._changed.wait_for(lambda: is_met(self.received), seconds):
                seen = [(each.path, each.body[:80]) for each in self.received]
                raise AssertionError(f"Not within {seconds} s; what came: {seen}")
            return list(self.received)

    def opened(self, connection: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._open.discard(connection)

    def take(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str]]:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self._changed:
            identity = request.path, json.loads(body)["message"]["messageId"] if body.startswith(b"{") else body
            self._counts[identity] += 1
            received = Received(request.path, headers, body, request.command, self._counts[identity])
            self.received.append(received)
            self._changed.notify_all()
        return self._answer(received), self._headers


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many connections at once
    daemon_threads = False  # closing waits for them


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, endpoint: Endpoint, *args: Any) -> None:  # noqa: ANN401  # socketserver's own
        self._endpoint = endpoint
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self._endpoint.opened(self.connection)

    def finish(self) -> None:
        self._endpoint.closed(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the other side did not wait for its answer
            self.close_connection = True

    def do_POST(self) -> None:
        status, headers = self._endpoint.take(self)
        if status == RESET:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in {102, 204, 304}:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        pass
