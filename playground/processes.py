"""The children of a process of ours, and its end: by Linux's own interfaces, and elsewhere by ps."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.02
_WATCH = "read _; kill -s KILL -- -$1"


class Group:
    """A process with a group of its own, which ends with us: also if we are killed.

    The keys of a terminal reach us and not the group. A shell waits for the end of a pipe that only we hold, whatever
    ends us, and then kills the group: no process of ours is asked to do anything. Only a kill of that shell, or of the
    whole machine's processes, defeats it.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:  # noqa: ANN401  # Popen's
        self.process: subprocess.Popen[str] = subprocess.Popen(command, process_group=0, text=True, **options)  # noqa: S603
        self._watch = subprocess.Popen(  # noqa: S603  # our own script
            ["/bin/sh", "-c", _WATCH, "sh", str(self.process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Kill what is left of the group; return when its first process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._watch.kill()
        self._watch.wait()
        if self._watch.stdin is not None:
            self._watch.stdin.close()


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else children_by_ps(pid)


def kill_and_wait(pid: int, seconds: float) -> None:
    """Kill a process that need not be our child; return when it has ended, at the latest after so many seconds."""
    if not hasattr(os, "pidfd_open"):
        kill_and_wait_by_ps(pid, seconds)
        return
    ended = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        select.select([ended], [], [], seconds)
    finally:
        os.close(ended)


def children_by_ps(pid: int) -> list[int]:
    """As `children`, on every POSIX system: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/ps.html."""
    pairs = (line.split() for line in _ps("-A", "-o", "pid=", "-o", "ppid=").splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def kill_and_wait_by_ps(pid: int, seconds: float) -> None:
    """As `kill_and_wait`, on every POSIX system. A zombie has ended: its parent may not have noticed yet."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while time.monotonic() < end and _ps("-o", "state=", "-p", str(pid)).strip()[:1] not in ("", "Z"):
        time.sleep(_POLL_SECONDS)


def _ps(*options: str) -> str:
    listed = subprocess.run(["ps", *options], check=False, capture_output=True, text=True)  # noqa: S603, S607  # as found
    return listed.stdout
