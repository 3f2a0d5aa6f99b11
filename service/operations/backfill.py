"""backfill: sends every customer of the shop, or some of them, as live events would.

The ids are split into ranges, and each range has a lane: it reads a page, transforms it, sends a full batch and saves
its progress. Several lanes run concurrently, so that one computes while others wait. A lane holds one page and one
batch in memory, whatever the number of customers.

A cursor advances only when Segment has confirmed everything before it, and is in the checkpoint file before the lane's
next batch is sent. So after a kill the next run repeats at most one batch of each lane, with the same messageIds.

A dry run takes the same pages and makes the same events, but only counts.
"""

import contextlib
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from service.commercetools.client import PAGE, CommercetoolsProject, RequestRefused, TooSlow
from service.commercetools.customer import customer_type
from service.commercetools.resource import CannotRead
from service.config import ConfigError, Settings
from service.operations import Exit, Output, Trouble, cannot_read, command_settings, commercetools_of
from service.operations.backfill_files import (
    RULES,
    Checkpoint,
    Lane,
    Rejects,
    State,
    cannot_write,
    fingerprint_of,
    lanes_for,
    lock_of,
)
from service.operations.backfill_report import Counts, Forecast, Progress, Result, add_to, show_forecast, show_summary
from service.segment.client import BATCH_BYTES, BATCH_EVENTS, SegmentClient, create_segment_client
from service.segment.regulations import CALLS_A_SECOND, Regulation, Regulations
from service.segment.types import NotDelivered, SegmentError, Suppression, TooLarge
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, customer_events
from service.transformation.rules import identify_rules_by

_PAGE_BYTES = 1_000_000  # about ten times as much in memory, in each lane
_FIRST_PAGE = 20  # customers, while it is not known how large one is
_SMALLEST_PAGE = 5
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds between attempts; it doubles each time
_PAUSE_STEP = 0.2  # seconds between two checks whether a pause is over
_NOTED_AT_LEAST_EACH = 10 * PAGE  # customers, if hardly any of them makes an event
_ALL_REFUSED = 20  # events or user ids refused alone, and none confirmed: the customers are not the cause
_TICK = 0.2  # seconds between two updates of the progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent, and how."""

    checkpoint: Path
    rejects: Path
    since: datetime | None
    where: str | None
    rate: float | None
    """Calls a second, to commercetools and to Segment each; None is no limit."""
    lanes: int
    patience: float
    """Seconds for which a call is retried before the run stops."""
    rejects_with_data: bool
    again: bool
    """Whether Segment is told also what it has been told already."""
    settle: float
    """Seconds to wait until commercetools' queries show every change, before each sweep."""
    dry_run: bool
    """Whether it is only counted what would be sent."""

    @property
    def predicates(self) -> list[str]:
        """All of which a customer of this run fulfils, in commercetools' query language."""
        return [*([self.where] if self.where else []), *self.since_predicates]

    @property
    def since_predicates(self) -> list[str]:
        return [] if self.since is None else [f'lastModifiedAt >= "{_moment(self.since)}"']


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


class _Stop(Exception):
    """The run is being stopped. What is not confirmed is left to the next run."""


class _NotYet(Exception):
    """A call failed, and a retry may succeed. The text says why."""


@dataclass(slots=True)
class _Prepared:
    """What Segment is to be told of one customer, and what is to be counted.

    `events` leave together, in their order. `reason` says why the customer is a reject: it cannot be read, or an event
    cannot be sent. `skipped` says why it has no event. `size` and `largest` are in bytes.
    """

    customer_id: str
    version: int
    document: Mapping[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    suppression: Suppression | None = None
    reason: str = ""
    skipped: str = ""
    unreadable: tuple[str, ...] = ()
    largest: int = 0
    is_too_large: bool = False


class _Batch:
    """What a lane is sending: customers up to `after`, of whom Segment has not confirmed those in `due`."""

    def __init__(self, after: str, forecast: Forecast | None = None) -> None:
        self.after = after
        self.counts = Counts()
        self.forecast = forecast
        self.due: list[_Prepared] = []
        self.events = 0
        self.size = 0
        self.rejects: list[_Prepared] = []

    def has_room(self, prepared: _Prepared) -> bool:
        """Tell whether all events fit into one call. As many user ids fit into one of the Public API."""
        return (
            self.events + len(prepared.events) <= BATCH_EVENTS
            and self.size + prepared.size <= BATCH_BYTES
            and self.counts.read < _NOTED_AT_LEAST_EACH
        )

    def take(self, prepared: _Prepared) -> None:
        """Add a customer, and count whoever Segment need not be told of."""
        self.after = prepared.customer_id
        self.counts.read += 1
        self.events += len(prepared.events)
        self.size += prepared.size
        add_to(self.counts.unreadable, dict.fromkeys(prepared.unreadable, 1))
        if prepared.events or prepared.suppression:
            self.due.append(prepared)
        else:
            self._count(prepared)

    def count_due(self) -> None:
        """Count those that were due, by what became of them."""
        for prepared in self.due:
            self._count(prepared)

    def _count(self, prepared: _Prepared) -> None:
        if self.forecast is not None:
            self.forecast.note(prepared.events, prepared.reason, prepared.largest, is_too_large=prepared.is_too_large)
        if prepared.suppression is not None:
            self.counts.suppressed += prepared.suppression.wanted
            self.counts.unsuppressed += not prepared.suppression.wanted
        if prepared.reason:
            self.counts.rejected += 1
            self.rejects.append(prepared)
        elif prepared.events:
            self.counts.sent += 1
        else:
            self.counts.skipped += 1
            add_to(self.counts.reasons, {prepared.skipped: 1})


class Backfill:
    """One run. `note` gets what an operator should see while it runs."""

    def __init__(self, settings: Settings, plan: Plan, note: Callable[[str], None]) -> None:
        commercetools = commercetools_of(settings)
        self._plan = plan
        self._note = note
        self._project = CommercetoolsProject(commercetools)
        self._segment: SegmentClient = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._rules: IdentifyRules = identify_rules_by(settings)
        self._customer_type = customer_type(self._rules.mapping.named)
        self._customers = self._project.resources(self._customer_type)
        self._project_key = commercetools.project_key
        self._checkpoint = Checkpoint(
            plan.checkpoint, fingerprint_of(_deciding(settings, plan, self._rules), settings.segment.write_key)
        )
        self._suppressing, self._unsuppressing = (
            Regulations(settings.segment_public_api_token or "", settings.segment_public_api_url, regulation)
            for regulation in (Regulation.SUPPRESS, Regulation.UNSUPPRESS)
        )
        self._reading, self._sending = Pace(plan.rate), Pace(plan.rate)
        self._regulating = Pace(min(plan.rate or CALLS_A_SECOND, CALLS_A_SECOND))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._trouble: BaseException | None = None
        self._refused_alone: dict[str, int] = {}  # by who refused
        self._has_regulated = False  # so a refusal is the user id's own fault
        self._left_out: set[str] = set()  # the traits that were remarked on
        self._has_sent = False  # whether or not Segment has confirmed it
        self._bytes_each: float | None = None  # of a customer in a page, as seen last
        self._sizing = threading.Lock()  # held while a page of unknown size is read
        self._selected: set[str] | None = set() if plan.predicates else None  # the ids that were sent; None: all
        self._told: dict[str, int] = {}  # the versions sent of those who changed shortly before or during the run
        self._state = State([], 0, datetime.now(UTC))
        self._is_clock_adjusted = False
        self.resumed = False
        """Whether the checkpoint has the progress of a run before."""
        self.swept = Counts()
        """Of customers that changed while it ran, and were read and sent once more."""
        names = (*(trait.name for trait in self._rules.mapping.identify.traits), *self._rules.mapping.identify.retired)
        self.forecast = Forecast(values=dict.fromkeys(names, 0), nulls=dict.fromkeys(names, 0))

    @property
    def counts(self) -> Counts:
        """Of all lanes."""
        with self._lock:
            total = Counts()
            for lane in self._state.lanes:
                total.add(lane.counts)
            return total

    @property
    def share_done(self) -> float:
        """The share that is done, from 0 to 1, estimated from the ids."""
        with self._lock:
            return 1.0 - sum(lane.share_left for lane in self._state.lanes)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the files, and read the checkpoint or create it. Raises Trouble before anything is sent.

        A dry run has no files.
        """
        if self._plan.dry_run:
            self._state = State(lanes_for(self._plan.lanes), 0, _now())
            yield
            return
        with lock_of(self._plan.checkpoint), contextlib.closing(Rejects(self._plan.rejects)) as self._rejects:
            found = self._checkpoint.load()
            self.resumed = found is not None
            salt = uuid.uuid4().hex if self._plan.again else ""
            self._state = found or State(lanes_for(self._plan.lanes), self._rejects.size, _now(), salt)
            self._rules = replace(self._rules, salt=self._state.salt)
            try:
                self._rejects.cut(self._state.rejects_bytes)
                self._save()
            except OSError as error:
                raise cannot_write(self._plan.checkpoint, error, Exit.UNUSABLE) from None
            yield

    def run(self, tick: Callable[[], None]) -> None:
        """Run until all is done, and call `tick` several times a second.

        Raises Trouble if it cannot continue, and KeyboardInterrupt at Ctrl-C; in both cases the calls in flight have
        ended, and what they confirmed is in the checkpoint.
        """
        self._run([partial(self._work, lane) for lane in self._state.lanes if not lane.finished], tick)
        if self._plan.dry_run:
            return
        counts = self.counts
        if counts.sent or counts.suppressed or counts.unsuppressed:
            self._run([self._sweep], tick)
        self._checkpoint.remove()

    def _run(self, jobs: Sequence[Callable[[], None]], tick: Callable[[], None]) -> None:
        ended = [threading.Event() for _ in jobs]
        for job, end in zip(jobs, ended, strict=True):
            # A second Ctrl-C does not wait for a daemon.
            threading.Thread(target=self._work_or_stop, args=(job, end), daemon=True).start()
        try:
            for end in ended:
                while not end.wait(_TICK):
                    tick()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self._note("Stopping when the calls in flight have ended; Ctrl-C again stops at once.")
            self._stopped.set()
            raise
        finally:
            for end in ended:  # Thread.join may not wait after a Ctrl-C: https://github.com/python/cpython/issues/90882
                end.wait()
        if self._trouble is not None:
            if isinstance(self._trouble, Trouble) and (self.resumed or self._has_sent):
                self._trouble.exit_code = Exit.STOPPED  # UNUSABLE means that nothing was done
            raise self._trouble

    def _work_or_stop(self, job: Callable[[], None], end: threading.Event) -> None:
        try:
            job()
        except _Stop:
            pass
        except BaseException as error:  # noqa: BLE001  # `run` raises it again in the main thread
            with self._lock:
                self._trouble = self._trouble or error
            self._stopped.set()
        finally:
            end.set()

    # One lane

    def _work(self, lane: Lane) -> None:
        batch, settle = self._batch(lane.after), partial(self._settle, lane=lane)
        while True:
            page, is_last = self._page_after(batch.after, self._plan.predicates)
            for document in page:
                if lane.upto and document["id"] > lane.upto:
                    is_last = True
                    break
                batch = self._take(document, batch, self._rules, settle)
                self._note_told(document)
            if is_last:
                break
            if self._plan.dry_run:  # no batch has to be full, and Ctrl-C shows all that was read
                settle(batch)
                batch = self._batch(batch.after)
        settle(batch, finished=True)

    def _note_told(self, document: Mapping[str, Any]) -> None:
        with self._lock:
            if self._selected is not None:
                self._selected.add(document["id"])
            if _modified(document) >= self._state.began:
                self._told[document["id"]] = _version(document)

    # After the lanes: a page is read long before its customers are sent, and one of them may have changed and been
    # sent by the service meanwhile. Its newest state follows then, under a messageId that Segment cannot have seen.

    def _sweep(self) -> None:
        """Send once more who changed since the run began and was sent in an older version, until nobody did."""
        if self.resumed:
            self._told = {}  # the run before may have sent older versions
        found = True
        while found:
            self._sleep(self._plan.settle)
            found = False
            rules = replace(self._rules, salt=uuid.uuid4().hex)
            changed = f'lastModifiedAt >= "{_moment(self._state.began)}"'
            batch, is_last = self._batch(""), False
            while not is_last:
                page, is_last = self._page_after(batch.after, [*self._plan.since_predicates, changed])
                for document in page:
                    batch.after = document["id"]
                    if not self._is_overtaken(document):
                        continue
                    found = True
                    newest = self._customer_now(document["id"])
                    if newest is not None:
                        batch = self._take(newest, batch, rules, self._settle_swept)
                    self._told[document["id"]] = _version(newest or document)
                self._settle_swept(batch)
                batch = self._batch(batch.after)

    def _is_overtaken(self, document: Mapping[str, Any]) -> bool:
        told = self._told.get(document["id"])
        if told is not None:
            return _version(document) > told
        if self.resumed:
            return True
        was_sent = self._selected is None or document["id"] in self._selected
        return was_sent and _created(document) < self._state.began

    def _settle_swept(self, batch: _Batch) -> None:
        """Send the batch until it is confirmed. No progress is saved: a run that stops here sweeps anew."""
        self._deliver(batch)
        with self._lock:
            try:
                self._write_rejects(batch)
            except OSError as error:
                raise cannot_write(self._plan.rejects, error) from None
            self.swept.add(batch.counts)

    # Batches, of lanes and sweeps

    def _batch(self, after: str) -> _Batch:
        return _Batch(after, Forecast() if self._plan.dry_run else None)

    def _take(
        self, document: Mapping[str, Any], batch: _Batch, rules: IdentifyRules, settle: Callable[[_Batch], None]
    ) -> _Batch:
        """Add a customer to the batch. If the batch is full, have it settled first and begin a new one."""
        prepared = self._prepare(document, rules)
        if not batch.has_room(prepared):
            settle(batch)
            batch = self._batch(batch.after)
        batch.take(prepared)
        return batch

    def _prepare(self, document: Mapping[str, Any], rules: IdentifyRules) -> _Prepared:
        kept = document if self._plan.rejects_with_data else {}
        prepared = _Prepared(document["id"], _version(document), kept)
        try:
            said = customer_events(self._customer_type.parse(document), rules, self._project_key)
        except Malformed as malformed:
            prepared.reason = str(malformed)
            return prepared
        for event in said.events:
            try:
                built, size = self._segment.event_for(event)
            except NotDelivered as refused:
                prepared.reason = prepared.reason or str(refused)
                if isinstance(refused, TooLarge):
                    prepared.is_too_large = True
                    prepared.largest = max(prepared.largest, refused.size)
            else:
                prepared.events.append(built)
                prepared.size += size
                prepared.largest = max(prepared.largest, size)
        prepared.suppression = said.suppression
        if said.suppression is not None:
            prepared.size += len(json.dumps(said.suppression.user_id)) + len(", ")
        if not said.events:
            prepared.skipped = said.reason
        prepared.unreadable = said.unreadable
        if said.unreadable:
            self._remark_on(said.unreadable)
        return prepared

    def _remark_on(self, unreadable: Sequence[str]) -> None:
        with self._lock:
            new = [trait for trait in unreadable if trait not in self._left_out]
            self._left_out.update(new)
        for trait in new:
            self._note(f"{trait} is left out where its field has another kind of value than the mapping file says")

    def _settle(self, batch: _Batch, *, lane: Lane, finished: bool = False) -> None:
        """Send the batch until it is confirmed, and save the progress. In a dry run, only count it."""
        if self._plan.dry_run:
            batch.count_due()
        else:
            self._deliver(batch)
        with self._lock:
            try:
                if not self._plan.dry_run:
                    self._write_rejects(batch)
                lane.after, lane.finished = batch.after, finished
                lane.counts.add(batch.counts)
                if batch.forecast is not None:
                    self.forecast.add(batch.forecast)
                else:
                    self._save()
            except OSError as error:
                raise cannot_write(self._plan.checkpoint, error) from None

    def _write_rejects(self, batch: _Batch) -> None:
        rejects = []
        for each in batch.rejects:
            about = {"id": each.customer_id, "version": each.version, "reason": each.reason}
            rejects.append({**about, "customer": each.document} if self._plan.rejects_with_data else about)
        self._rejects.write(rejects)

    def _save(self) -> None:
        self._state.rejects_bytes = self._rejects.size
        self._checkpoint.save(self._state)

    # Calls to commercetools and Segment

    def _page_after(self, customer_id: str, predicates: Sequence[str]) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """Return the next page, and whether it is the last. It is as large as time and memory allow."""
        most = PAGE

        def call() -> tuple[Sequence[Mapping[str, Any]], bool]:
            with self._sizing if self._bytes_each is None else contextlib.nullcontext():
                return sized_call()

        def sized_call() -> tuple[Sequence[Mapping[str, Any]], bool]:
            nonlocal most
            fitting = _FIRST_PAGE if self._bytes_each is None else int(_PAGE_BYTES / self._bytes_each)
            limit = min(most, max(_SMALLEST_PAGE, fitting))
            asked = _now()
            try:
                page = self._project.page_after(self._customer_type, customer_id, predicates, limit)
            except RequestRefused as refused:
                has_where = self._plan.where in predicates
                trouble = cannot_read(refused, predicate=has_where)
                if refused.status == HTTPStatus.BAD_REQUEST and has_where:
                    trouble.exit_code = Exit.UNUSABLE
                raise trouble from None
            except TooSlow as slow:
                most = max(_SMALLEST_PAGE, limit // 2)
                raise _NotYet(str(slow)) from None
            except CannotRead as problem:
                raise _NotYet(str(problem)) from None
            self._adjust_clock(asked, page.date)
            if page.documents:
                self._bytes_each = max(1.0, page.size / len(page.documents))
            return page.documents, len(page.documents) < limit

        return self._until_through(call, self._reading, lambda: self._project.is_paused)

    def _customer_now(self, customer_id: str) -> Mapping[str, Any] | None:
        """Return a customer as it is at this moment, which a page may not show; None if it does not exist any more."""

        def call() -> Mapping[str, Any] | None:
            try:
                return self._customers.document_by_id(customer_id, float("inf"))  # a call has its own limit
            except RequestRefused as refused:
                raise cannot_read(refused) from None
            except CannotRead as problem:
                raise _NotYet(str(problem)) from None

        return self._until_through(call, self._reading, lambda: self._project.is_paused)

    def _adjust_clock(self, asked: datetime, date: datetime | None) -> None:
        """At the first page, note by commercetools' clock when the run began; its date has whole seconds."""
        with self._lock:
            if self._is_clock_adjusted or self.resumed:
                return
            self._is_clock_adjusted = True
            if date is not None:
                ahead = date - _now()
                self._state.began = min(self._state.began, asked) + ahead - timedelta(seconds=1)

    def _deliver(self, batch: _Batch) -> None:
        """Tell Segment until it has confirmed all. Who is refused alone becomes a reject.

        Suppressions are accepted before an event is sent, and last of all those that are wanted: if two customers have
        the same user id, it stays suppressed.
        """
        for wanted in (False, True):
            of_these = [each for each in batch.due if each.suppression and each.suppression.wanted is wanted]
            for refused, reason in self._refused(of_these, partial(self._regulate, wanted=wanted)):
                refused.suppression, refused.events, refused.reason = None, [], reason
                self._doubt_the_settings(
                    reason,
                    believed=self._has_regulated,
                    party="Segment's Public API",
                    names="SEGMENT_PUBLIC_API_TOKEN and SEGMENT_PUBLIC_API_URL",
                )
        for refused, reason in self._refused([each for each in batch.due if each.events], self._post_all):
            refused.reason = refused.reason or reason
            self._doubt_the_settings(
                reason,
                believed=self._segment.believes_refusals,
                party="Segment",
                names="SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST",
            )
        batch.count_due()

    def _refused(
        self, due: Sequence[_Prepared], tell: Callable[[Sequence[_Prepared]], str | None]
    ) -> Iterator[tuple[_Prepared, str]]:
        """Tell Segment until all is confirmed, and yield those that it refuses alone, each with the reason.

        `tell` returns None for what is confirmed, or the reason why all of it is refused.
        """
        parts = [due] if due else []
        while parts:
            self._has_sent = True
            part = parts.pop()
            reason = tell(part)
            if reason is None:
                continue
            if len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                yield part[0], reason

    def _doubt_the_settings(self, reason: str, *, believed: bool, party: str, names: str) -> None:
        """Count a refusal. Raises Trouble if everything is refused."""
        add_to(self._refused_alone, {party: 1})
        if self._refused_alone[party] >= _ALL_REFUSED and not believed:
            raise Trouble(f"{party} refuses everything ({reason}), so it is not the customers. Look at {names}.")

    def _post_all(self, part: Sequence[_Prepared]) -> str | None:
        """Return None if Segment confirmed the events of these customers, or the reason why it refuses them.

        The events of one customer that are refused together are sent one by one: only one of them may be at fault.
        """
        events = [event for each in part for event in each.events]
        reason = self._post(events)
        if reason is None or len(part) > 1 or len(events) == 1:
            return reason
        reasons = [self._post([event]) for event in events]
        return next((each for each in reasons if each is not None), None)

    def _post(self, events: Sequence[dict[str, Any]]) -> str | None:
        def call() -> str | None:
            return _reason_of(self._segment.post(events))

        return self._until_through(call, self._sending, lambda: self._segment.is_paused)

    def _regulate(self, part: Sequence[_Prepared], *, wanted: bool) -> str | None:
        """Return None if the Public API accepted these suppressions, or their ends; else the reason of its refusal."""
        regulations = self._suppressing if wanted else self._unsuppressing
        user_ids = list(dict.fromkeys(each.suppression.user_id for each in part if each.suppression))

        def call() -> str | None:
            return _reason_of(regulations.post(user_ids))

        reason = self._until_through(call, self._regulating, lambda: regulations.is_paused)
        self._has_regulated = self._has_regulated or reason is None
        return reason

    def _until_through(self, call: Callable[[], T], pace: Pace, is_paused: Callable[[], bool]) -> T:
        """Retry the call until it succeeds, with growing waits, and not during a pause that was asked for."""
        wait, tried_until = _FIRST_WAIT, None
        while True:
            self._sleep(pace.wait())
            while is_paused():
                self._sleep(_PAUSE_STEP)
            try:
                return call()
            except _NotYet as not_yet:
                now = time.monotonic()
                tried_until = tried_until or now + self._plan.patience
                if now >= tried_until:
                    raise Trouble(f"{not_yet}, for {self._plan.patience:.0f} seconds.{self._what_is_kept}") from None
                self._note(f"{not_yet}; trying again")
            self._sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # so that lanes that failed together do not retry together
            wait = min(2 * wait, _LONGEST_WAIT)

    @property
    def _what_is_kept(self) -> str:
        return "" if self._plan.dry_run else " What Segment confirmed is noted; the same command continues from there."

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise _Stop


def _deciding(settings: Settings, plan: Plan, rules: IdentifyRules) -> dict[str, str]:
    """Return each setting that decides which customers are sent, as whom and to which source."""
    commercetools = commercetools_of(settings)
    return {
        "CTP_PROJECT_KEY": commercetools.project_key,
        "CTP_API_URL": commercetools.api_url,
        "SEGMENT_HOST or SEGMENT_REGION": settings.segment.host,
        "SEGMENT_USER_ID": settings.segment_user_id,
        "SEGMENT_CLEAR_TRAITS": settings.segment_clear_traits,
        "--since": _moment(plan.since) if plan.since else "",
        "--where": plan.where or "",
        "--rejects": str(plan.rejects.absolute()),
        "--again": str(plan.again),
        RULES: rules.fingerprint,
    }


def _reason_of(error: SegmentError | None) -> str | None:
    """Return None for no error, and the reason of a refusal. Raises _NotYet for an error that may pass."""
    if error is not None and not error.refused:
        raise _NotYet(error.message)
    return error.message if error is not None else None


def _now() -> datetime:
    """Return the time in whole milliseconds, as commercetools has it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _modified(document: Mapping[str, Any]) -> datetime:
    return _time(document.get("lastModifiedAt"), datetime.max.replace(tzinfo=UTC))


def _created(document: Mapping[str, Any]) -> datetime:
    return _time(document.get("createdAt"), datetime.min.replace(tzinfo=UTC))


def _time(text: object, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return otherwise


def _version(document: Mapping[str, Any]) -> int:
    version = document.get("version")
    return version if isinstance(version, int) else 0


def rejects_beside(checkpoint: Path) -> Path:
    """Return the default path of the rejects: backfill.rejects.jsonl beside backfill.checkpoint.json."""
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.json').removesuffix('.checkpoint')}.rejects.jsonl")


def parsed_since(text: str) -> datetime:
    """Read a date or a time in ISO 8601; without an offset it is UTC. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("--since must be a date or a time, such as 2026-01-01 or 2026-01-01T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def run(plan: Plan, output: Output) -> Exit:
    """Run or continue the backfill. Raises ConfigError, Trouble and KeyboardInterrupt; see Backfill.run.

    A dry run ends at Ctrl-C with INTERRUPTED, since there is nothing to continue.
    """
    if plan.dry_run and plan.rejects_with_data:
        raise ConfigError("--rejects-with-data cannot be used with --dry-run, which writes no file.")
    progress = Progress(output, dry_run=plan.dry_run)
    settings = command_settings(None, **(_NOT_NEEDED if plan.dry_run else {}))
    backfill = Backfill(settings, plan, progress.note)
    with backfill.opened():
        began, read_before, finished = time.monotonic(), backfill.counts.read, False
        if backfill.resumed:
            output.remark(f"Going on from {plan.checkpoint}: {read_before:,} customers are done.")
        try:
            with progress.shown(read_before):
                backfill.run(lambda: progress.update(backfill.counts, backfill.share_done))
            finished = True
        except KeyboardInterrupt:
            if plan.dry_run:
                return Exit.INTERRUPTED
            raise
        finally:
            seconds = time.monotonic() - began
            result = Result(backfill.counts, backfill.swept, read_before, seconds, finished)
            if plan.dry_run:
                show_forecast(result, backfill.forecast, output)
            else:
                show_summary(result, output, checkpoint=plan.checkpoint, rejects=plan.rejects, again=plan.again)
    return Exit.ATTENTION if result.rejected or result.unreadable else Exit.DONE


_NOT_NEEDED: Mapping[str, str] = {"SEGMENT_WRITE_KEY": "none", "SEGMENT_PUBLIC_API_TOKEN": "none"}  # by a dry run
