"""One update, one event: which versions this process has delivered, and which are in flight, for each resource.

One change in commercetools causes many notifications: a Message for each action, a change, and duplicates of them all.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

GONE = float(2**63)
"""Stands for the version of a deleted resource: no state of it is newer."""

ERASED = float("inf")
"""Stands for the version of a deleted resource that is also erased in Segment. GONE does not cover it."""


class Attempt(Generic[Outcome]):
    """The result of one attempt: its outcome, and the version that it has delivered (None if none)."""

    __slots__ = ("outcome", "version")

    def __init__(self, outcome: Outcome, version: float | None = None) -> None:
        self.outcome = outcome
        self.version = version


class _Flight(Generic[Outcome]):
    __slots__ = ("attempt", "ended", "version")

    def __init__(self, version: float | None) -> None:
        self.version = version
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
        self._by_resource: OrderedDict[Hashable, float] = OrderedDict()

    def of(self, resource: Hashable) -> float | None:
        return self._by_resource.get(resource)

    def note(self, resource: Hashable, version: float) -> None:
        self._by_resource[resource] = max(self._by_resource.get(resource, 0.0), version)
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
    ) -> Outcome | None:
        """Return the outcome of an attempt that covers `version`, or None if that version is delivered already.

        `attempt` is called with the newest version delivered so far (0 if none is known), unless an attempt in flight
        covers this caller too: it delivers this version or a newer one, or it was made for such a version and fails.
        Without a `version`, `attempt` is always called. Raises TooLate, and what `attempt` raises.
        """
        while True:
            with self._lock:
                newest = self._newest.of(resource)
                if version is not None and newest is not None and version <= newest:
                    return None
                flight = self._flights.get(resource)
                if flight is None:
                    mine = self._flights[resource] = _Flight(version)
                    break
                ended = flight.ended = flight.ended or threading.Event()
            if not ended.wait(min(max(deadline - self._clock(), 0), threading.TIMEOUT_MAX)):
                raise TooLate
            shared = flight.attempt_for(version)
            if shared is not None:
                return shared.outcome
        try:
            mine.attempt = attempt(newest or 0)
        finally:
            self._end(resource, mine)
        return mine.attempt.outcome

    def _end(self, resource: Hashable, flight: "_Flight[Outcome]") -> None:
        with self._lock:
            del self._flights[resource]
            if flight.attempt is not None and flight.attempt.version is not None:
                self._newest.note(resource, flight.attempt.version)
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
