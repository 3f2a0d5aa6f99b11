"""backfill: its calls to commercetools and Segment: at a pace, and retried until they succeed or the run is stopped."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from service.commercetools.client import CommercetoolsProject, RequestRefused, TooSlow
from service.commercetools.resource import AnyResource, CannotRead, ResourceType
from service.operations import Exit, Trouble, cannot_read, host_of
from service.operations.backfill_kinds import Document, PageSize

_PAGE_BYTES = 1_000_000  # about ten times as much in memory, in each lane
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds between attempts; it doubles each time
_PAUSE_STEP = 0.2  # seconds between two checks whether a pause is over

T = TypeVar("T")


class Pace:
    """At most so many calls a second, evenly. `rate` None is no limit."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gap = 1 / rate if rate else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> float:
        """Return the seconds that the caller has to wait for its turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap
            return turn - now


class Stop(Exception):
    """The run is being stopped. What is not confirmed is left to the next run."""


class NotYet(Exception):
    """A call failed, and a retry may succeed. The text says why."""


class Calls:
    """Makes calls until they succeed, each retried for `patience` seconds. `note` gets why one is tried again.

    `what_is_kept` is a sentence about what remains of a run that stops.
    """

    def __init__(self, patience: float, note: Callable[[str], None], what_is_kept: str = "") -> None:
        self._patience = patience
        self._note = note
        self._what_is_kept = what_is_kept
        self.stopped = threading.Event()

    def until_through(self, call: Callable[[], T], pace: Pace, is_paused: Callable[[], bool]) -> T:
        """Retry the call while it raises NotYet, with growing waits, and not during a pause that was asked for.

        Raises Stop if the run is being stopped, and Trouble if the call does not succeed.
        """
        wait, tried_until = _FIRST_WAIT, None
        while True:
            self.sleep(pace.wait())
            while is_paused():
                self.sleep(_PAUSE_STEP)
            try:
                return call()
            except NotYet as not_yet:
                now = time.monotonic()
                tried_until = tried_until or now + self._patience
                if now >= tried_until:
                    raise Trouble(f"{not_yet}, for {self._patience:.0f} seconds.{self._what_is_kept}") from None
                self._note(f"{not_yet}; trying again")
            self.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # so that lanes that failed together do not retry together
            wait = min(2 * wait, _LONGEST_WAIT)

    def sleep(self, seconds: float) -> None:
        """Wait so long. Raises Stop as soon as the run is being stopped."""
        if self.stopped.wait(seconds) if seconds > 0 else self.stopped.is_set():
            raise Stop


class Reader:
    """Reads from commercetools, at a pace, until it has answered; raises as Calls.until_through does.

    `where` is the predicate of the operator, which may be at fault. `seen` gets the time at which
    commercetools was asked, by our clock, and the date of its answer, if it has one.
    """

    def __init__(
        self,
        project: CommercetoolsProject,
        calls: Calls,
        rate: float | None,
        where: str | None,
        seen: Callable[[datetime, datetime | None], None],
    ) -> None:
        self._project = project
        self._calls = calls
        self._pace = Pace(rate)
        self._where = where
        self._seen = seen
        self._bytes_each: float | None = None  # of a resource in a page, as seen last
        self._sizing = threading.Lock()  # held while a page of unknown size is read

    def page_after(
        self, of: ResourceType[Any], resource_id: str, predicates: Sequence[str], size: PageSize
    ) -> tuple[Sequence[Document], bool]:
        """Return the next page, and whether it is the last. It is as large as time and memory allow."""
        most = size.largest

        def call() -> tuple[Sequence[Document], bool]:
            with self._sizing if self._bytes_each is None else contextlib.nullcontext():
                return sized_call()

        def sized_call() -> tuple[Sequence[Document], bool]:
            nonlocal most
            fitting = size.first if self._bytes_each is None else int(_PAGE_BYTES / self._bytes_each)
            limit = min(most, max(size.smallest, fitting))
            asked = datetime.now(UTC)
            try:
                page = self._project.page_after(of, resource_id, predicates, limit)
            except TooSlow:
                most = max(size.smallest, limit // 2)
                raise
            self._seen(asked, page.date)
            if page.documents:
                self._bytes_each = max(1.0, page.size / len(page.documents))
            return page.documents, len(page.documents) < limit

        return self._read(call, of, has_where=self._where in predicates)

    def total(self, of: ResourceType[Any], predicates: Sequence[str]) -> int | None:
        """Return how many resources fulfil the predicates, None if commercetools does not count them in time."""

        def call() -> int | None:
            asked = datetime.now(UTC)
            try:
                total, date = self._project.total(of, predicates)
            except TooSlow:
                return None
            self._seen(asked, date)
            return total

        return self._read(call, of, has_where=self._where in predicates)

    def by_id(self, of: ResourceType[Any], resource_id: str) -> Document | None:
        """Return a resource as it is at this moment, which a query may not show; None if it does not exist any more."""
        resources = self._project.resources(of)
        return self._read(lambda: resources.document_by_id(resource_id, _NO_END), of)

    def by_ids(self, of: ResourceType[Any], ids: Iterable[str]) -> Mapping[str, Document]:
        """Return the resources that a query finds, by their ids: one call for as many ids as a query takes."""
        found: dict[str, Document] = {}
        wanted = list(dict.fromkeys(ids))
        for first in range(0, len(wanted), of.query_size):
            some = wanted[first : first + of.query_size]
            found |= self._read(lambda some=some: self._project.by_ids(of, some), of)  # type: ignore[misc]  # mypy cannot infer it
        return found

    def oldest(self, of: ResourceType[AnyResource], where: str) -> Sequence[str]:
        """Return the ids of the two oldest resources that fulfil a predicate."""
        resources = self._project.resources(of)
        return self._read(lambda: resources.oldest(where, _NO_END), of)

    def _read(self, call: Callable[[], T], of: ResourceType[Any], *, has_where: bool = False) -> T:
        def once() -> T:
            try:
                return call()
            except RequestRefused as refused:
                trouble = cannot_read(refused, predicate=has_where, of=of)
                if refused.status == HTTPStatus.BAD_REQUEST and has_where:
                    trouble.exit_code = Exit.UNUSABLE
                raise trouble from None
            except CannotRead as problem:
                host = host_of(problem)
                raise NotYet(f"{problem} ({host})" if host else str(problem)) from None

        return self._calls.until_through(once, self._pace, lambda: self._project.is_paused)


_NO_END = float("inf")  # a call has its own limit
