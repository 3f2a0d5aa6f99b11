"""Children are found, and the end of a process is noticed, on Linux and by ps alike."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from playground.processes import children, children_by_ps, kill_and_wait, kill_and_wait_by_ps

SECONDS = 30.0
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.kill()
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
