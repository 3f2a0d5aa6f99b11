"""One update, one event: which versions this process has delivered, and which are in flight, for each resource.

One change in commercetools causes many notifications: a Message for each action, a change, and duplicates of them all.
"""

import threading
import time
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

GONE = float(2**63)
"""Stands for the version of a deleted resource: no state of it is newer."""

ERASED = float("inf")
"""Stands for the version of a deleted resource that is also erased in Segment. GONE does not cover it."""


NEVER = float("-inf")
"""A time before all others."""


class Attempt(Generic[Outcome]):
    """The result of one attempt: its outcome, and the version that it has delivered (None if none)."""

    __slots__ = ("outcome", "version")

    def __init__(self, outcome: Outcome, version: float | None = None) -> None:
        self.outcome = outcome
        self.version = version


class _Flight(Generic[Outcome]):
    __slots__ = ("attempt", "began", "ended", "version")

    def __init__(self, version: float | None, began: float) -> None:
        self.version = version
        self.began = began
        self.ended: threading.Event | None = None  # made by the first caller that waits
        self.attempt: Attempt[Outcome] | None = None

    def attempt_for(self, version: float | None) -> Attempt[Outcome] | None:
        """Return the attempt if it covers `version`: it delivered that version, or it was made for it and failed."""
        if self.attempt is None or version is None:
            return None
        covered = self.version if self.attempt.version is None else self.attempt.version
        return self.attempt if covered is not None and version <= covered else None


class _NewestVersions:
    """The newest version noted for each resource. It keeps the resources that were noted most recently."""

    def __init__(self, remember: int) -> None:
        self._remember = remember
        self._by_resource: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def of(self, resource: Hashable, since: float = NEVER) -> float | None:
        """Return the version, if it was noted by an attempt that began at `since` or later."""
        noted = self._by_resource.get(resource)
        return noted[0] if noted is not None and noted[1] >= since else None

    def note(self, resource: Hashable, version: float, began: float = NEVER) -> None:
        self._by_resource[resource] = max(self._by_resource.get(resource, (0.0, NEVER)), (version, began))
        self._by_resource.move_to_end(resource)
        while len(self._by_resource) > self._remember:
            self._by_resource.popitem(last=False)


class TooLate(Exception):
    """Another attempt for the same resource was in flight until the deadline."""


class Deliveries(Generic[Outcome]):
    """Makes one attempt at a time for each resource, and shares it among the callers that wait.

    An older version is never delivered after a newer one, as long as the resource is among the last `remember` ones.
    """

    def __init__(self, remember: int = 20_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = _NewestVersions(remember)
        self._flights: dict[Hashable, _Flight[Outcome]] = {}

    def deliver(
        self,
        resource: Hashable,
        version: float | None,
        attempt: Callable[[float], Attempt[Outcome]],
        *,
        deadline: float,
        since: float = NEVER,
    ) -> Outcome | None:
        """Return the outcome of an attempt that covers `version`, or None if that version is delivered already.

        `attempt` is called with the newest version delivered so far (0 if none is known), unless an attempt in flight
        covers this caller too: it delivers this version or a newer one, or it was made for such a version and fails.
        Attempts that began before `since`, a time of the clock, do not count. Without a `version`, `attempt` is always
        called. Raises TooLate, and what `attempt` raises.
        """
        while True:
            with self._lock:
                newest = self._newest.of(resource, since)
                if version is not None and newest is not None and version <= newest:
                    return None
                flight = self._flights.get(resource)
                if flight is None:
                    mine = self._flights[resource] = _Flight(version, self._clock())
                    break
                ended = flight.ended = flight.ended or threading.Event()
            if not ended.wait(min(max(deadline - self._clock(), 0), threading.TIMEOUT_MAX)):
                raise TooLate
            shared = flight.attempt_for(version)
            if shared is not None and flight.began >= since:
                return shared.outcome
        try:
            mine.attempt = attempt(newest or 0)
        finally:
            self._end(resource, mine)
        return mine.attempt.outcome

    def note(self, resource: Hashable, version: float) -> None:
        """Note a version that was delivered along with another resource's attempt."""
        with self._lock:
            self._newest.note(resource, version, self._clock())

    def newest(self, resource: Hashable) -> float:
        """Return the newest version that was delivered, 0 if none is known."""
        return self._newest.of(resource) or 0.0

    def _end(self, resource: Hashable, flight: "_Flight[Outcome]") -> None:
        with self._lock:
            del self._flights[resource]
            if flight.attempt is not None and flight.attempt.version is not None:
                self._newest.note(resource, flight.attempt.version, flight.began)
            ended = flight.ended
        if ended is not None:
            ended.set()


class Unsettled:
    """Versions that were sent without a confirmation, so that they may have arrived: no older one may follow them."""

    def __init__(self, remember: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._newest = _NewestVersions(remember)

    def newest(self, resource: Hashable) -> float:
        """Return the newest of the resource's versions here, 0 if there is none."""
        return self._newest.of(resource) or 0.0

    def add(self, resource: Hashable, version: float) -> None:
        with self._lock:
            self._newest.note(resource, version)


_LAST = 100
_FAST = 3  # the third fastest: one that met an idle process says nothing of the others
_LATE = 2.0
_ALWAYS_LATE_SECONDS = 0.5


class Lateness:
    """Tells whether a confirmation came so late that another process may have read and sent a newer state meanwhile.

    Such a process needs the time of a notification, a read and a send. The fastest of the last deliveries here show
    how long a read and a send take at least: what took twice as long may have been overtaken.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque()
        self._ascending: list[float] = []  # the same seconds

    def is_late(self, seconds: float) -> bool:
        """Note one delivery, from a time when its state was the newest to its confirmation; tell if it was late."""
        fast = self._ascending[_FAST - 1] if len(self._ascending) >= _FAST else _ALWAYS_LATE_SECONDS
        insort(self._ascending, seconds)
        self._seconds.append(seconds)
        if len(self._seconds) > _LAST:
            self._ascending.remove(self._seconds.popleft())
        return seconds > min(_LATE * fast, _ALWAYS_LATE_SECONDS)
