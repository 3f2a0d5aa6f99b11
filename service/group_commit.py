"""Group commit: callers that wait at the same moment share one call, and each learns its own outcome.

A call leaves at once when a slot is free; what arrives while it is away shares the next one. One of the waiting
callers makes the call for all of them, so there is no thread and no timer of its own, nothing to flush at exit, and
nothing that a fork could break. Works the same on threads and on gevent's greenlets; on these, "at once" is when no
other greenlet is ready to run, since each that is may be about to hand in an item.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Generic, TypeVar, cast

from service import greenlets

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_LONGEST_COURTESY = 0.05  # seconds; about a call's own time: longer is worse than leaving some to the next call


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

    `call` gets the items of one batch in the order of their arrival and returns as many outcomes, in that order. A
    batch holds at most `max_items` items and, their sizes added up, at most `max_size` (an item larger than that goes
    alone). At most `slots` calls are away at a time. `call_seconds` is how long a call may take: none begins later
    than that before the deadline of an item in it.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Outcome]],
        *,
        max_items: int,
        max_size: float = float("inf"),
        slots: int,
        call_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._max_items = max_items
        self._max_size = max_size
        self._free_slots = slots
        self._call_seconds = call_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[Item, Outcome]] = deque()

    def submit(self, item: Item, *, deadline: float, size: int = 0) -> Outcome:
        """Return the outcome that the call gave this item, by `deadline` (a time of the clock).

        Raises NeverSent if no call could begin in time, and CallFailed if its call brought no outcome.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item, size, deadline - self._call_seconds)
        try:
            with self._lock:
                if self._free_slots:
                    self._free_slots -= 1
                    ticket.leads = True
                else:
                    self._waiting.append(ticket)
            if not ticket.leads:
                self._wait(ticket)
            if ticket.leads:
                self._lead(ticket)
        except BaseException:
            self._withdraw(ticket)
            raise
        return ticket.result()

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
            if ticket.leads:
                self._pass_on(ticket)

    def _lead(self, ticket: "_Ticket[Item, Outcome]") -> None:
        batch = [ticket]
        try:
            if ticket.latest_start >= self._clock():  # a leader that came too late leaves the others to the next one
                greenlets.let_others_run(_LONGEST_COURTESY)
                with self._lock:
                    self._fill(batch)
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
        if self._waiting:
            successor = self._waiting.popleft()
            successor.leads = True
            successor.wake()
        else:
            self._free_slots += 1

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
