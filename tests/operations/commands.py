"""commercetools-segment as an operator runs it: a process of its own, with an environment of its own.

`run` forks that process from one that has imported everything, which saves most of a second of CPU each time.
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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

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


def run(
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    given: str | bytes = b"",
    terminal: int | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run a command to its end; `given` is its standard input, unless that is a terminal, by its file descriptor."""
    with TemporaryFile() as source, TemporaryFile() as out, TemporaryFile() as err:
        source.write(given.encode() if isinstance(given, str) else given)
        source.seek(0)
        request = {"arguments": arguments, "environment": environment_of(settings or {}), "folder": str(cwd or ROOT)}
        code = _forked(request, source.fileno() if terminal is None else terminal, out.fileno(), err.fileno())
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode((settings or {}).get("PYTHONIOENCODING", "utf-8")))
    return Ended(code, *said)


def _forked(request: Mapping[str, Any], *files: int) -> int:
    """Have the request carried out with these files as stdin, stdout and stderr; return the exit code."""
    reader, writer = os.pipe()
    with open(reader, "rb") as answer:  # noqa: PTH123  # no path
        try:
            with _STARTING:
                server = _forkserver()
            socket.send_fds(server, [json.dumps(request).encode()], [*files, writer])
        finally:
            os.close(writer)
        assert select.select([answer], [], [], SECONDS)[0], "the command does not end"
        return int(json.loads(answer.read()))


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
