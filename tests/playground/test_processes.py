"""Children are found, and the end of a process is noticed, on Linux and by ps alike."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from playground.processes import Group, children, children_by_ps, kill_and_wait, kill_and_wait_by_ps

SECONDS = 30.0
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.kill()
"""
OWNER = """
import subprocess, sys
from playground.processes import Group
group = Group([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(group.process.pid, group.process.stdout.readline(), flush=True)
input()
"""
STUBBORN = """
import os, signal, time
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(one, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""
needs_ps = pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """Give the ids of a process that does not wait for its child, and of the child."""
    with subprocess.Popen(  # noqa: S603  # our own script
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        yield parent.pid, int(parent.stdout.readline())
        parent.stdin.write("\n")


@pytest.mark.parametrize("found", [children, pytest.param(children_by_ps, marks=needs_ps)])
def test_the_children_of_a_process_are_found(found: Callable[[int], list[int]], family: tuple[int, int]) -> None:
    parent, child = family

    assert found(parent) == [child]


@pytest.mark.parametrize("kill", [kill_and_wait, pytest.param(kill_and_wait_by_ps, marks=needs_ps)])
def test_a_killed_process_has_ended_when_the_call_returns(
    kill: Callable[[int, float], None], family: tuple[int, int]
) -> None:
    _, child = family

    kill(child, SECONDS)

    state = subprocess.run(["ps", "-o", "state=", "-p", str(child)], check=False, capture_output=True, text=True).stdout  # noqa: S603, S607  # as found
    assert state.strip()[:1] in ("", "Z")


def test_a_process_that_has_gone_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass

    kill_and_wait_by_ps(gone.pid, SECONDS)

    with pytest.raises(ProcessLookupError):
        os.kill(gone.pid, 0)


def test_a_group_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen(  # noqa: S603  # our own script
        [sys.executable, "-c", OWNER, STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        group = [int(pid) for pid in owner.stdout.readline().split()]
        owner.kill()

    assert len(group) == 2
    deadline = time.monotonic() + SECONDS
    while any(is_alive(pid) for pid in group):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_group_is_ended_with_all_that_its_first_process_started() -> None:
    group = Group([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert group.process.stdout is not None
    with group.process.stdout as told:
        child = int(told.readline())
        os.killpg(group.process.pid, signal.SIGTERM)  # which it ignores
        group.end()
        assert told.read() == ""  # no one holds the pipe any more

    assert not is_alive(child)
    group.end()  # once more does no harm


def test_a_group_does_not_hear_the_keys_of_our_terminal() -> None:
    group = Group([sys.executable, "-c", STUBBORN], stdout=subprocess.DEVNULL)
    try:
        assert os.getpgid(group.process.pid) == group.process.pid != os.getpgrp()
    finally:
        group.end()


def is_alive(pid: int) -> bool:
    ran = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], check=False, capture_output=True, text=True)  # noqa: S603, S607
    return ran.stdout.strip()[:1] not in ("", "Z")
