"""On gevent's greenlets, a call about to leave lets in those who are ready to bring an item, but not for ever."""

import os
import subprocess
import sys
from pathlib import Path

from service import greenlets

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import time
import gevent
from service.group_commit import GroupCommit

batches = []

def call(items):
    batches.append(list(items))
    return items

group = GroupCommit(call, max_items=100, slots=1, call_seconds=1)

def hand_in(item):
    return group.submit(item, deadline=time.monotonic() + 20)
"""


def run(then: str) -> None:
    root = Path(__file__).parents[1]
    subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-W", "error", "-c", SCRIPT + then],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        timeout=60,
    )


def test_those_who_are_ready_at_the_same_moment_share_the_first_call() -> None:
    run("""
gevent.joinall([gevent.spawn(hand_in, number) for number in range(10)], raise_error=True)
assert batches == [list(range(10))], batches
""")


def test_a_process_that_never_rests_holds_no_call_up() -> None:
    run("""
def restless():
    while True:
        gevent.sleep(0)

restless = gevent.spawn(restless)
assert hand_in("a") == "a"
assert not restless.dead
assert batches == [["a"]], batches
""")


def test_a_leader_that_is_killed_while_it_lets_others_in_leaves_the_call_to_them() -> None:
    run("""
first = gevent.spawn(hand_in, "first")
second = gevent.spawn(hand_in, "second")
killer = gevent.spawn(first.kill, block=False)
assert second.get(timeout=10) == "second"
assert batches == [["second"]], batches
assert hand_in("third") == "third"
""")


def test_threads_need_not_be_let() -> None:
    assert not greenlets.instead_of_threads()
    greenlets.let_others_run(1000)
