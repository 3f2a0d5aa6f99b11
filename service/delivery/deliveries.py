"""One update, one identify: what this process has delivered, and what is under way, customer by customer.

A change in commercetools brings many notifications: a message for each action, a change, and duplicates of them all.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

GONE = float(2**63)
"""The version of a customer who was deleted: no state of theirs is newer."""

ERASED = float("inf")
"""The version of a deleted customer who was erased in Segment too: a deletion alone does not stand in for that."""


class Attempt(Generic[Outcome]):
    """What came of one attempt: its outcome, and the version that is delivered by it (None if none is)."""

    __slots__ = ("outcome", "version")

    def __init__(self, outcome: Outcome, version: float | None = None) -> None:
        self.outcome = outcome
        self.version = version


class _Flight(Generic[Outcome]):
    __slots__ = ("attempt", "ended", "version")

    def __init__(self, version: float | None) -> None:
        self.version = version
        self.ended: threading.Event | None = None  # made by the first who waits for it
        self.attempt: Attempt[Outcome] | None = None

    def attempt_for(self, version: float | None) -> Attempt[Outcome] | None:
        """Return the attempt if it was one for `version` too: it delivered it, or was made for it and failed."""
        if self.attempt is None or version is None:
            return None
        covered = self.version if self.attempt.version is None else self.attempt.version
        return self.attempt if covered is not None and version <= covered else None


class _NewestVersions:
    """The newest version noted of each of so many customers, those whom something was noted of last."""

    def __init__(self, remember: int) -> None:
        self._remember = remember
        self._by_customer: OrderedDict[str, float] = OrderedDict()

    def of(self, customer_id: str) -> float | None:
        return self._by_customer.get(customer_id)

    def note(self, customer_id: str, version: float) -> None:
        self._by_customer[customer_id] = max(self._by_customer.get(customer_id, 0.0), version)
        self._by_customer.move_to_end(customer_id)
        while len(self._by_customer) > self._remember:
            self._by_customer.popitem(last=False)


class TooLate(Exception):
    """Another attempt for the same customer was under way until the deadline."""


class Deliveries(Generic[Outcome]):
    """Makes one attempt at a time for a customer, shares it among those who wait, and forgets no newer version.

    An older version is never delivered after a newer one, as long as the customer is among the `remember` last ones.
    """

    def __init__(self, remember: int = 20_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = _NewestVersions(remember)
        self._flights: dict[str, _Flight[Outcome]] = {}

    def deliver(
        self,
        customer_id: str,
        version: float | None,
        attempt: Callable[[float], Attempt[Outcome]],
        *,
        deadline: float,
    ) -> Outcome | None:
        """Return the outcome of an attempt that covers `version`, or None if that version is delivered already.

        `attempt` is called with the newest version delivered so far (0 if none is known), unless one that is under
        way covers this caller too: it delivers this version or a newer one, or it is made for such a version and
        fails. Without a `version` it is always called. Raises TooLate, and what `attempt` raises.
        """
        while True:
            with self._lock:
                newest = self._newest.of(customer_id)
                if version is not None and newest is not None and version <= newest:
                    return None
                flight = self._flights.get(customer_id)
                if flight is None:
                    mine = self._flights[customer_id] = _Flight(version)
                    break
                ended = flight.ended = flight.ended or threading.Event()
            if not ended.wait(min(max(deadline - self._clock(), 0), threading.TIMEOUT_MAX)):
                raise TooLate("another notification of the same customer was under way")
            shared = flight.attempt_for(version)
            if shared is not None:
                return shared.outcome
        try:
            mine.attempt = attempt(newest or 0)
        finally:
            self._end(customer_id, mine)
        return mine.attempt.outcome

    def _end(self, customer_id: str, flight: "_Flight[Outcome]") -> None:
        with self._lock:
            del self._flights[customer_id]
            if flight.attempt is not None and flight.attempt.version is not None:
                self._newest.note(customer_id, flight.attempt.version)
            ended = flight.ended
        if ended is not None:
            ended.set()


class Unsettled:
    """Versions that were sent, and may have arrived or not: no older one of that customer is to follow them."""

    def __init__(self, remember: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._newest = _NewestVersions(remember)

    def newest(self, customer_id: str) -> float:
        """Return the newest of the customer's versions here, 0 if there is none."""
        return self._newest.of(customer_id) or 0.0

    def add(self, customer_id: str, version: float) -> None:
        with self._lock:
            self._newest.note(customer_id, version)
