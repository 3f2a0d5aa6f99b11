"""commercetools-segment as an operator runs it: a process of its own, with an environment of its own.

That process is forked from one that has imported everything, which saves most of a second of CPU each time.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentStandIn

ROOT = Path(__file__).parents[2]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as where a shell runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a command that is started inherits it
SECONDS = 100.0  # within which a command ends; far more than any takes


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, what it said on stdout and on stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # any JSON
        """The one JSON document that --json makes of stdout."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Everything, with its lines joined as if the terminal were wide."""
        return " ".join((self.out + self.err).split())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "service.cli", *arguments]


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these settings and none of the tests' own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


class Running:
    """A command that runs: `stdout` is what it says there and on stderr."""

    def __init__(self, started: "_Started", stdout: IO[bytes]) -> None:
        self._started = started
        self.stdout = stdout
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self._started.process, number)

    def kill(self) -> None:
        """Kill it unless it has ended."""
        if self.returncode is None and not self._started.has_ended(0):
            self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._started.code()
        return self.returncode

    def rest(self) -> bytes:
        """Return what it says until it ends."""
        said = self.stdout.read()
        self.wait()
        return said


@contextmanager
def begun(*arguments: str, settings: Mapping[str, str], cwd: Path) -> Iterator[Running]:
    """Start a command; kill it at the end if it still runs."""
    reader, writer = os.pipe()
    with open(reader, "rb") as stdout, open(os.devnull, "rb") as nothing:  # noqa: PTH123  # no path
        try:
            started = _Started(_request(arguments, settings, cwd), nothing.fileno(), writer, writer)
        finally:
            os.close(writer)
        with started:
            running = Running(started, stdout)
            try:
                yield running
            finally:
                running.kill()
                running.wait()


def run(
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    given: str | bytes = b"",
    terminal: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    cwd: Path | None = None,
    umask: int = 0o022,
) -> Ended:
    """Run a command to its end; `given` is its standard input, unless that is a terminal, by its file descriptor.

    What it writes to another stdout or stderr, also by their file descriptors, is not in the answer.
    """
    with TemporaryFile() as source, TemporaryFile() as out, TemporaryFile() as err:
        source.write(given.encode() if isinstance(given, str) else given)
        source.seek(0)
        request = _request(arguments, settings or {}, cwd or ROOT, umask)
        stdin = source.fileno() if terminal is None else terminal
        to = [file.fileno() if other is None else other for file, other in ((out, stdout), (err, stderr))]
        with _Started(request, stdin, *to) as started:
            code = started.code()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode((settings or {}).get("PYTHONIOENCODING", "utf-8")))
    return Ended(code, *said)


def _request(arguments: Sequence[str], settings: Mapping[str, str], folder: Path, umask: int = 0o022) -> dict[str, Any]:
    environment = environment_of(settings)
    return {"arguments": arguments, "environment": environment, "folder": str(folder), "umask": umask}


class _Started:
    """A process that carries a request out, with these files as stdin, stdout and stderr."""

    def __init__(self, request: Mapping[str, Any], *files: int) -> None:
        reader, writer = os.pipe()
        self._answer = open(reader, "rb", buffering=0)  # noqa: PTH123, SIM115  # no path; closed by __exit__
        try:
            with _STARTING:
                server = _forkserver()
            socket.send_fds(server, [json.dumps(request).encode()], [*files, writer])
        finally:
            os.close(writer)
        self.process = self._told()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def has_ended(self, seconds: float) -> bool:
        return bool(select.select([self._answer], [], [], seconds)[0])

    def code(self) -> int:
        """Wait for its end; return the exit code, below zero if a signal ended it."""
        return self._told()

    def _told(self) -> int:
        assert self.has_ended(SECONDS), "the command does not end"
        return int(self._answer.readline())


_STARTING = threading.Lock()


@cache
def _forkserver() -> socket.socket:
    """Start the server, once in each process of tests; it ends when its socket is closed."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(  # noqa: S603  # our own server
            [sys.executable, "-W", "error", "-m", "tests.operations.forkserver", str(its.fileno())],
            cwd=ROOT,
            env=environment_of({}),
            pass_fds=[its.fileno()],
        )
    ours.settimeout(SECONDS)

    def end() -> None:
        ours.close()
        process.wait(SECONDS)

    atexit.register(end)
    return ours


def settings_for(
    segment: SegmentStandIn | None = None, commercetools: CommercetoolsStandIn | None = None, **more: str
) -> dict[str, str]:
    """Return the settings of a command that is to talk to these stand-ins."""
    settings = {"SEGMENT_WRITE_KEY": "example-write-key", "SEGMENT_USER_ID": "id", "SEGMENT_REGION": "us"}
    if segment is not None:
        settings |= {"SEGMENT_WRITE_KEY": segment.write_key, "SEGMENT_HOST": segment.url}
    if commercetools is not None:
        key = commercetools.shop.project_key
        settings |= commercetools.settings
        names = ("view_customers", "view_customer_groups", "manage_subscriptions")  # the operator's, docs/deploy.md
        settings["CTP_SCOPES"] = " ".join(f"{name}:{key}" for name in names)
    return settings | more
