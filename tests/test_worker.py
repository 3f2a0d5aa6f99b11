"""The server sends an answer at once, quotes no invalid request in its answer or its log, and logs JSON."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, LimitRequestHeaders, LimitRequestLine
from gunicorn.http.wsgi import Response

from service.serving.worker import AnswerInOnePiece, JsonLogger, Worker
from tests.builders import an_environment

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("gunicorn.error", "gunicorn.access")]
    as_they_were = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in as_they_were:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


def a_worker() -> Worker:
    worker = Worker(0, 0, [], None, 0, Config(), JsonLogger(Config()))
    worker.tmp.close()
    return worker


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(InvalidHeader("a-canary"), b"400 Bad Request", id="a broken header"),
        pytest.param(LimitRequestLine(9000, 4094), b"414 ", id="a line too long"),
        pytest.param(LimitRequestHeaders("a-canary"), b"431 ", id="headers too large"),
        pytest.param(KeyError("a-canary"), b"500 Internal Server Error", id="unforeseen"),
    ],
)
def test_of_what_is_no_request_only_the_kind_of_fault_is_told(
    error: Exception, status: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = a_worker()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.handle_error(None, ours, ("127.0.0.1", 1), error)
        sent = theirs.recv(4096)

    assert sent.startswith(b"HTTP/1.1 " + status)
    assert b"a-canary" not in sent
    said = capsys.readouterr().out
    assert type(error).__name__ in said
    assert "a-canary" not in said


def test_gunicorns_own_lines_are_json_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLogger(Config()).info("Listening at: %s", "http://0.0.0.0:8080")

    written = capsys.readouterr()
    assert json.loads(written.out) == {"severity": "INFO", "message": "Listening at: http://0.0.0.0:8080"}
    assert written.err == ""


class Connection:
    """A connection that takes at most so many bytes at once, and records what it got and how."""

    def __init__(self, takes: int = 1000) -> None:
        self.takes = takes
        self.happened: list[tuple[object, ...]] = []

    def send(self, data: bytes) -> int:
        self.happened.append(("send", data[: self.takes]))
        return min(self.takes, len(data))

    def sendall(self, data: bytes) -> None:
        self.happened.append(("sendall", data))

    def close(self) -> None:
        self.happened.append(("close",))


def test_head_and_body_are_sent_together() -> None:
    connection = Connection()
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.sendall(b"body")
    assert connection.happened == []
    answer.send_answer()

    assert connection.happened == [("send", b"headbody")]


def test_what_the_connection_does_not_accept_at_once_follows() -> None:
    connection = Connection(takes=6)
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.sendall(b"body")
    answer.send_answer()

    assert connection.happened == [("send", b"headbo"), ("sendall", b"dy")]


def test_where_there_is_no_answer_nothing_is_sent() -> None:
    connection = Connection()

    AnswerInOnePiece(connection).send_answer()

    assert connection.happened == []


def test_of_an_answer_that_failed_half_way_nothing_is_sent() -> None:
    connection = Connection()
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.close()
    answer.send_answer()

    assert connection.happened == [("close",)]


def test_everything_else_is_the_connections_own() -> None:
    connection = Connection()

    assert AnswerInOnePiece(connection).send(b"HTTP/1.1 100 Continue") == 21

    assert connection.happened == [("send", b"HTTP/1.1 100 Continue")]


def test_gunicorns_answer_is_one_send() -> None:
    connection = Connection()
    answer = AnswerInOnePiece(connection)
    request = SimpleNamespace(version=(1, 1), method="POST", headers=[], should_close=lambda: False)

    response = Response(request, answer, Config())
    response.start_response("200 OK", [("Content-Length", "4")])
    response.write(b"body")
    response.close()
    answer.send_answer()

    [(how, sent)] = connection.happened
    assert how == "send"
    assert isinstance(sent, bytes)
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(
    ("before", "options"), [("import urllib3; ", ""), ("", "--preload")], ids=["import", "preload"]
)
def test_the_service_does_not_start_where_every_https_call_would_fail(before: str, options: str) -> None:
    start = f"{before}from gunicorn.app.wsgiapp import run; run()"

    service = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", start, "--config", "python:service.serving.gunicorn_conf"],
        check=False,
        cwd=ROOT,
        env={**os.environ, **an_environment(PORT="0"), "GUNICORN_CMD_ARGS": options},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert service.returncode != 0
    assert "MonkeyPatchWarning" in service.stdout


def test_a_setting_is_an_attribute_and_needs_no_look_up() -> None:
    settings = Config()
    settings.set("keepalive", 75)

    worker = Worker(0, 0, [], None, 0, settings, None)
    worker.tmp.close()

    assert vars(settings)["keepalive"] == 75
    assert [name for name, setting in settings.settings.items() if vars(settings)[name] != setting.get()] == []
