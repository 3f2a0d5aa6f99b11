"""Of what is no request gunicorn says no word, in its answer and in its log, and its log has our form."""

import json
import logging
import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, LimitRequestHeaders, LimitRequestLine

from service.serving.worker import JsonLogger, Worker


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
