"""Group commit: callers that wait at the same moment share one call, and each learns its own outcome.

A call leaves at once when a slot is free; what arrives while no slot is free shares the next one. One of the waiting
callers makes the call for all of them, so there is no thread and no timer of its own, nothing to flush at exit, and
nothing that a fork could break. Works the same on threads and on gevent's greenlets; on these, "at once" is when no
other greenlet is ready to run, since each that is may be about to hand in an item, or when the batch is well filled.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Generic, TypeVar, cast

from service.serving import greenlets

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_LONGEST_COURTESY = 0.05  # seconds; about a call's own time: longer is worse than leaving some to the next call
_WELL_FILLED = 40  # items; a call's own cost is small beside theirs, and the next batch fills while it is away


class NeverSent(Exception):
    """The item was in no call that could have delivered it: it may be handed in again without a duplicate."""


class CallFailed(Exception):
    """The call that carried the item ended without an outcome for it: it may or may not have been delivered."""


class BatchRefused(Exception, Generic[Outcome]):
    """Raised by a call whose batch was refused as a whole, so that nothing of it was taken.

    A batch of several is then split until the item at fault is alone; `outcome` is for an item refused alone.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class GroupCommit(Generic[Item, Outcome]):
    """Shares calls among callers.

    `call` gets the items of one batch, its leader's first and the others in the order of their arrival, and returns as
    many outcomes, in that order. A batch holds at most `max_items` items and, their sizes added up, at most `max_size`
    (an item larger than that goes alone); with `well_filled` items it waits for no more of them. At most `slots` calls
    are away at a time. `call_seconds` is how long a call may take: none begins later than that before the deadline of
    an item in it.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Outcome]],
        *,
        max_items: int,
        max_size: float = float("inf"),
        slots: int,
        call_seconds: float,
        well_filled: int = _WELL_FILLED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._max_items = max_items
        self._max_size = max_size
        self._free_slots = slots
        self._call_seconds = call_seconds
        self._well_filled = well_filled
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[Item, Outcome]] = deque()
        self._gathering: _Ticket[Item, Outcome] | None = None  # the leader who lets others in before the call leaves

    def submit(self, item: Item, *, deadline: float, size: int = 0) -> Outcome:
        """Return the outcome that the call gave this item, by `deadline` (a time of the clock).

        Raises NeverSent if no call could begin in time, and CallFailed if its call brought no outcome.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item, size, deadline - self._call_seconds)
        try:
            self._enter(ticket)
            if not ticket.leads:
                self._wait(ticket)
            while ticket.leads:
                if self._gather(ticket):
                    self._lead(ticket)
                else:
                    self._wait(ticket)
        except BaseException:
            self._withdraw(ticket)
            raise
        return ticket.result()

    def _enter(self, ticket: "_Ticket[Item, Outcome]") -> None:
        with self._lock:
            if self._gathering is not None:
                self._join(ticket, self._gathering)
            elif self._free_slots:
                self._free_slots -= 1
                ticket.leads = True
            else:
                self._waiting.append(ticket)

    def _join(self, ticket: "_Ticket[Item, Outcome]", leader: "_Ticket[Item, Outcome]") -> None:
        """Wait with those whom a leader gathers; or, if that fills the batch well, lead in its place, and at once."""
        if len(self._waiting) + 2 < self._well_filled:
            self._waiting.append(ticket)
        else:
            self._gathering = None
            leader.leads = False
            self._waiting.appendleft(leader)
            ticket.leads = True

    def _gather(self, ticket: "_Ticket[Item, Outcome]") -> bool:
        """Let in those who are ready to hand in an item; return whether it is still this caller who leads."""
        with self._lock:
            if len(self._waiting) + 1 >= self._well_filled:
                return True
            if self._gathering is not None:
                self._waiting.appendleft(ticket)
                ticket.leads = False
                self._free_slots += 1
                return False
            self._gathering = ticket
        greenlets.let_others_run(_LONGEST_COURTESY)
        with self._lock:
            if self._gathering is not ticket:
                return False
            self._gathering = None
            return True

    def _wait(self, ticket: "_Ticket[Item, Outcome]") -> None:
        if ticket.woken(ticket.latest_start - self._clock()):
            return
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                ticket.settle(error=NeverSent("no call could begin in time"))
                return
        ticket.woken()

    def _withdraw(self, ticket: "_Ticket[Item, Outcome]") -> None:
        """Take out a caller that was killed while it waited; one that had just become leader passes that on."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if self._gathering is ticket:
                self._gathering = None
            if ticket.leads:
                self._pass_on(ticket)

    def _lead(self, ticket: "_Ticket[Item, Outcome]") -> None:
        batch = [ticket]
        try:
            if ticket.latest_start >= self._clock():  # a leader that came too late leaves the others to the next one
                with self._lock:
                    self._fill(batch)
                    self._appoint()
            self._deliver(batch)
        finally:
            for one in batch:
                one.settle(error=NeverSent("the caller that was to make the call was stopped"))
            try:
                with self._lock:
                    self._pass_on(ticket)  # first, so that the next call leaves before these callers do their work
            finally:
                for one in batch:
                    one.tell()

    def _fill(self, batch: "list[_Ticket[Item, Outcome]]") -> None:
        size = batch[0].size
        while self._waiting and len(batch) < self._max_items and size + self._waiting[0].size <= self._max_size:
            batch.append(self._waiting.popleft())
            size += batch[-1].size

    def _pass_on(self, ticket: "_Ticket[Item, Outcome]") -> None:
        ticket.leads = False
        self._free_slots += 1
        self._appoint()

    def _appoint(self) -> None:
        """Have the first of those who wait make a call, if a slot is free and nobody is about to take them along."""
        if self._waiting and self._free_slots and self._gathering is None:
            self._free_slots -= 1
            successor = self._waiting.popleft()
            successor.leads = True
            successor.wake()

    def _deliver(self, batch: "Sequence[_Ticket[Item, Outcome]]") -> None:
        """Call, split and call again until each of the batch has its outcome or it is too late for it or its leader."""
        leader = batch[0]
        parts = [batch]
        while parts:
            now = self._clock()
            for ticket in chain.from_iterable(parts):
                if min(ticket.latest_start, leader.latest_start) < now:
                    ticket.settle(error=NeverSent("no call could begin in time"))
                    ticket.tell()
            part = [ticket for ticket in parts.pop(0) if not ticket.settled]
            if part:
                parts = [*self._settle_or_split(part), *parts]
            if parts:
                for ticket in batch:
                    ticket.tell()

    def _settle_or_split(
        self, batch: "Sequence[_Ticket[Item, Outcome]]"
    ) -> "Sequence[Sequence[_Ticket[Item, Outcome]]]":
        """Make one call. Return the two halves if the batch was refused as a whole, else nothing: all is settled."""
        try:
            outcomes = self._call([ticket.item for ticket in batch])
            # Pairs before the first is settled: with one outcome missing, nobody knows whose it is.
            for ticket, outcome in list(zip(batch, outcomes, strict=True)):
                ticket.settle(outcome)
        except BatchRefused as refusal:
            if len(batch) > 1:
                middle = len(batch) // 2
                return batch[:middle], batch[middle:]
            batch[0].settle(refusal.outcome)
        except BaseException as error:
            for ticket in batch:
                ticket.settle(error=CallFailed(type(error).__name__))
            if not isinstance(error, Exception):
                raise  # the leader itself is stopped; whatever else it was, each caller has learned it
        return ()


class _Ticket(Generic[Item, Outcome]):
    """One caller's place: its item, whether it makes the next call, and in the end its outcome."""

    __slots__ = ("_outcome", "_told", "_turn", "error", "item", "latest_start", "leads", "settled", "size")

    def __init__(self, item: Item, size: int, latest_start: float) -> None:
        self.item = item
        self.size = size
        self.latest_start = latest_start
        self.leads = False
        self.error: Exception | None = None
        self.settled = False
        self._told = False
        self._outcome: Outcome | None = None
        self._turn = threading.Lock()
        self._turn.acquire()

    def woken(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        return self._turn.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX))

    def wake(self) -> None:
        self._turn.release()

    def settle(self, outcome: Outcome | None = None, *, error: Exception | None = None) -> None:
        """Note the outcome; a ticket that has one keeps it."""
        if not self.settled:
            self.settled = True
            self._outcome = outcome
            self.error = error

    def tell(self) -> None:
        """Wake the caller, once, if its outcome is there."""
        if self.settled and not self._told:
            self._told = True
            self.wake()

    def result(self) -> Outcome:
        if self.error is not None:
            raise self.error
        return cast("Outcome", self._outcome)
