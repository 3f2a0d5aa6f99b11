"""Greenlets can be killed where they wait. test_group_commit.py runs this in a process that gevent has patched."""

from collections.abc import Sequence

import gevent
import pytest

from service.delivery.group_commit import CallFailed
from tests.callers import Caller
from tests.group_commit_world import World, done, ends, one_batch


@pytest.mark.parametrize("exception", [gevent.GreenletExit(), gevent.Timeout(1)], ids=["killed", "gevent.Timeout"])
def test_a_leader_killed_leaves_no_caller_waiting(exception: BaseException) -> None:
    world = World()
    leader, follower = one_batch(world, ["leader", "a"])
    others = world.waiting("b", "c")

    leader.kill(exception)

    assert leader.end() is exception
    assert ends([follower]) == [CallFailed]
    world.calls.let_all_go()
    assert ends(others) == ["did b", "did c"]
    world.is_as_new()


def test_a_greenlet_killed_in_the_queue_is_never_sent() -> None:
    world = World()
    first = world.away("first")
    killed, *others = world.waiting("killed", "a")

    killed.kill()
    assert ends([killed]) == [gevent.GreenletExit]
    world.calls.let_all_go()

    assert ends([first, *others]) == ["did first", "did a"]
    assert world.calls.visitors == [["first"], ["a"]]
    world.is_as_new()


def test_a_greenlet_killed_as_it_is_to_lead_passes_that_on() -> None:
    for others in ([], ["a", "b"]):
        world = World()
        first = world.away("first")
        killed, *rest = world.waiting("killed", *others)

        def kill_and_answer(items: Sequence[str], killed: Caller[str] = killed) -> Sequence[str]:
            killed.kill()  # takes effect when this greenlet yields; by then it has made the killed one the leader
            return done(items)

        world.answer = kill_and_answer
        world.calls.let_go(1)
        assert ends([first, killed]) == ["did first", gevent.GreenletExit]
        world.answer = done
        world.calls.let_all_go()

        assert ends(rest) == done(others)
        assert world.calls.visitors == [["first"], *([others] if others else [])]
        world.is_as_new()


def test_a_greenlet_killed_after_its_item_was_sent_affects_no_other_caller() -> None:
    world = World()
    leader, killed, other = one_batch(world, ["leader", "killed", "a"])

    killed.kill()
    assert ends([killed]) == [gevent.GreenletExit]
    world.calls.let_all_go()

    assert ends([leader, other]) == ["did leader", "did a"]
    world.is_as_new()
