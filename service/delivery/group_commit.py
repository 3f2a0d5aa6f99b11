"""Group commit: callers that wait at the same moment share one call, and each gets its own outcome.

A call starts at once when a slot is free; items that arrive while no slot is free share the next call. One of the
waiting callers makes the call for all of them. So there is no background thread, no timer, nothing to flush at exit
and nothing that a fork could break. It works the same on threads and on gevent's greenlets. On greenlets, "at once"
means: when no other greenlet is ready to run (each of them may be about to submit an item), or when the batch is well
filled.
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

_LONGEST_GATHERING = 0.05  # seconds, about the duration of a call: a longer wait delays more than it saves
_WELL_FILLED = 40  # items; the call itself then costs little for each, and the next batch fills while it is in flight


class NeverSent(Exception):
    """No call that could have delivered the item was made: it can be submitted again without a duplicate."""


class CallFailed(Exception):
    """The call that carried the item ended without an outcome for it: it may or may not have been delivered."""


class BatchRefused(Exception, Generic[Outcome]):
    """Raised by a call whose batch was refused as a whole: none of its items was accepted.

    A batch of several items is then split until the bad item is alone. `outcome` is the outcome of an item that is
    refused alone.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class GroupCommit(Generic[Item, Outcome]):
    """Shares calls among callers.

    `call` gets the items of one batch, first the leader's and then the others in the order of arrival, and returns one
    outcome for each, in that order. A batch holds at most `max_items` items, and the sum of their sizes is at most
    `max_size` (a larger item is sent alone). A batch with `well_filled` items waits for no more. At most `slots` calls
    are in flight. `call_seconds` is the longest duration of a call: a call starts at least that long before the
    deadline of each item in it.
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
        self._gathering: _Ticket[Item, Outcome] | None = None  # the leader that waits for others to join its call

    def submit(self, item: Item, *, deadline: float, size: int = 0) -> Outcome:
        """Return the outcome that the call gave this item, by `deadline` (a time of the clock).

        Raises NeverSent if no call could start in time, and CallFailed if its call gave no outcome.
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
        """Join the leader's batch. If the batch is then well filled, become its leader and call at once."""
        if len(self._waiting) + 2 < self._well_filled:
            self._waiting.append(ticket)
        else:
            self._gathering = None
            leader.leads = False
            self._waiting.appendleft(leader)
            ticket.leads = True

    def _gather(self, ticket: "_Ticket[Item, Outcome]") -> bool:
        """Let the callers that are ready submit their items; return whether this caller is still the leader."""
        with self._lock:
            if len(self._waiting) + 1 >= self._well_filled:
                return True
            if self._gathering is not None:
                self._waiting.appendleft(ticket)
                ticket.leads = False
                self._free_slots += 1
                return False
            self._gathering = ticket
        greenlets.let_others_run(_LONGEST_GATHERING)
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
        """Remove a caller that was killed while it waited. If it had just become the leader, appoint another one."""
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
            if ticket.latest_start >= self._clock():  # a leader that is too late leaves the others to the next leader
                with self._lock:
                    self._fill(batch)
                    self._appoint()
            self._deliver(batch)
        finally:
            for one in batch:
                one.settle(error=NeverSent("the caller that was to make the call was stopped"))
            try:
                with self._lock:
                    self._pass_on(ticket)  # first, so that the next call starts before these callers continue
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
        """Let the first waiting caller make a call, if a slot is free and no leader is gathering."""
        if self._waiting and self._free_slots and self._gathering is None:
            self._free_slots -= 1
            successor = self._waiting.popleft()
            successor.leads = True
            successor.wake()

    def _deliver(self, batch: "Sequence[_Ticket[Item, Outcome]]") -> None:
        """Call, split and call again until each item has its outcome, or it is too late for it or for the leader."""
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
        """Make one call. Return the two halves if the batch was refused as a whole; else all items are settled."""
        try:
            outcomes = self._call([ticket.item for ticket in batch])
            # All pairs are made before the first item is settled: if an outcome is missing, it is not known whose.
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
                raise  # the leader itself is being stopped; any other error is told to each caller
        return ()


class _Ticket(Generic[Item, Outcome]):
    """One caller's item, whether the caller makes the next call, and finally the outcome."""

    __slots__ = ("_outcome", "_turn", "_woken", "error", "item", "latest_start", "leads", "settled", "size")

    def __init__(self, item: Item, size: int, latest_start: float) -> None:
        self.item = item
        self.size = size
        self.latest_start = latest_start
        self.leads = False
        self.error: Exception | None = None
        self.settled = False
        self._woken = False
        self._outcome: Outcome | None = None
        self._turn = threading.Lock()
        self._turn.acquire()

    def woken(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        return self._turn.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX))

    def wake(self) -> None:
        self._turn.release()

    def settle(self, outcome: Outcome | None = None, *, error: Exception | None = None) -> None:
        """Set the outcome, unless there is one already."""
        if not self.settled:
            self.settled = True
            self._outcome = outcome
            self.error = error

    def tell(self) -> None:
        """Wake the caller, once, if it has its outcome."""
        if self.settled and not self._woken:
            self._woken = True
            self.wake()

    def result(self) -> Outcome:
        if self.error is not None:
            raise self.error
        return cast("Outcome", self._outcome)
