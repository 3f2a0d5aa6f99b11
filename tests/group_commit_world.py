"""A group commit under test: callers that wait, an upstream that answers when it is released, a clock of the test."""

from collections.abc import Callable, Sequence
from functools import partial

from service.delivery.group_commit import BatchRefused, GroupCommit
from tests.callers import Caller, Clock, Gate

CALL_SECONDS = 10.0
LONG = 1000.0  # a deadline that the clock does not reach

Answer = Callable[[Sequence[str]], Sequence[str]]


def done(items: Sequence[str]) -> list[str]:
    return [f"did {item}" for item in items]


def refusing(*at_fault: str) -> Answer:
    def answer(items: Sequence[str]) -> Sequence[str]:
        if any(item in at_fault for item in items):
            raise BatchRefused(f"refused {items[0]}")
        return done(items)

    return answer


def raising(error: BaseException) -> Answer:
    def answer(_items: Sequence[str]) -> Sequence[str]:
        raise error

    return answer


class World:
    """A group commit, its upstream, which answers when it is released, and a clock that the test sets."""

    def __init__(self, *, slots: int = 1, max_items: int = 100, max_size: float = float("inf")) -> None:
        self.slots = slots
        self.clock = Clock()
        self.calls: Gate[list[str]] = Gate()
        self.answer: Answer = done
        self.group: GroupCommit[str, str] = GroupCommit(
            self._call,
            max_items=max_items,
            max_size=max_size,
            slots=slots,
            call_seconds=CALL_SECONDS,
            clock=self.clock,
        )

    def _call(self, items: Sequence[str]) -> Sequence[str]:
        with self.calls.passed_by(list(items)):
            return self.answer(items)

    def caller(
        self,
        item: str,
        *,
        deadline: float = LONG,
        size: int = 0,
        before_waiting: Callable[[], object] | None = None,
    ) -> Caller[str]:
        submit = partial(self.group.submit, item, deadline=deadline, size=size)
        return Caller(submit, clock=self.clock, before_waiting=before_waiting, then=self.calls.look_again)

    def away(self, item: str = "first", *, deadline: float = LONG) -> Caller[str]:
        """Start a caller that gets a slot, and return when its call is in flight."""
        already = len(self.calls.visitors)
        caller = self.caller(item, deadline=deadline)
        self.calls.wait_for(already + 1)
        return caller

    def waiting(
        self, *items: str, size: int = 0, deadline: float = LONG, before_waiting: Callable[[], object] | None = None
    ) -> list[Caller[str]]:
        """Start callers that get no slot, each when the one before is in the queue."""
        callers = []
        for item in items:
            callers.append(self.caller(item, size=size, deadline=deadline, before_waiting=before_waiting))
            self.clock.wait_for_reading_by(callers[-1].thread)
        return callers

    def is_as_new(self) -> None:
        """Prove by use that every slot is free, and that there is none more than there were."""
        self.answer = done
        self.calls.hold()
        already = len(self.calls.visitors)
        deadline = self.clock.now + LONG
        taken = [self.away(f"slot {number}", deadline=deadline) for number in range(self.slots)]
        one_more = self.waiting("one more", deadline=deadline)

        assert len(self.calls.visitors) == already + self.slots
        self.calls.let_all_go()
        assert ends(taken + one_more) == done([f"slot {number}" for number in range(self.slots)] + ["one more"])


def ends(callers: Sequence[Caller[str]]) -> list[object]:
    """How each ended: with its outcome, or with the class of what was raised."""
    found = [caller.end() for caller in callers]
    return [type(end) if isinstance(end, BaseException) else end for end in found]


def one_batch(world: World, items: Sequence[str], deadlines: dict[str, float] | None = None) -> list[Caller[str]]:
    """Make these share one call, the second; return when it is in flight. The first item's caller makes it."""
    world.away("first")
    callers = [caller for item in items for caller in world.waiting(item, deadline=(deadlines or {}).get(item, LONG))]
    world.calls.let_go(1)
    world.calls.wait_for(2)
    return callers
