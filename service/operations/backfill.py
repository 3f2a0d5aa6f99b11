"""backfill: sends the resources of a kind in the shop, or some of them, as live events would.

The ids are split into ranges, and each range has a lane: it reads a page, transforms it, sends a full batch and saves
its progress. Several lanes run concurrently, so that one computes while others wait. A lane holds one page and one
batch in memory, whatever the number of resources.

A cursor advances only when Segment has confirmed everything before it, and is in the checkpoint file before the lane's
next batch is sent. So after a kill the next run repeats at most one batch of each lane, with the same messageIds.

A dry run takes the same pages and makes the same events, but only counts.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from service.commercetools.client import CommercetoolsProject
from service.config import CLIENT, ConfigError, Settings
from service.operations import (
    DECIDING,
    UNREAD,
    Exit,
    Output,
    Trouble,
    command_settings,
    commercetools_of,
    environment_of,
    explain,
    moment,
)
from service.operations.backfill_batches import Batch, Segment, version_of
from service.operations.backfill_calls import Calls, Reader, Stop
from service.operations.backfill_files import (
    RULES,
    Files,
    Form,
    Lane,
    Place,
    Saving,
    State,
    cannot_write,
    fingerprint_of,
    lanes_for,
)
from service.operations.backfill_kinds import KINDS, Document, Interval, Kind, Tell
from service.operations.backfill_objects import LOG, Objects
from service.operations.backfill_report import (
    Counts,
    Forecast,
    Lines,
    Progress,
    Result,
    log_report,
    show_forecast,
    show_summary,
)
from service.operations.backfill_task import Task
from service.operations.checkpoint_storage import Bucket, place_of
from service.transformation.consent import Withdrawn
from service.transformation.rules import identify_rules_by

_TICK = 0.2  # seconds between two updates of the progress


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent, and how."""

    kind: str
    """A name in KINDS."""
    checkpoint: str
    """A file, or gs://BUCKET/NAME."""
    rejects: Path | None
    """None is the file beside the checkpoint."""
    task: Task | None
    """Which part of the ids is sent, in a job of Cloud Run; None is all of them, by hand."""
    interval: Interval
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


class Backfill:
    """One run. `note` gets what an operator should see while it runs. Raises ConfigError."""

    def __init__(self, settings: Settings, plan: Plan, place: Place, note: Callable[[str], None]) -> None:
        commercetools = commercetools_of(settings)
        self._plan = plan
        self._place = place
        self._note = note
        self.kind: Kind = KINDS[plan.kind](settings)
        self._calls = Calls(plan.patience, note, "" if plan.dry_run else _KEPT)
        project = CommercetoolsProject(commercetools)
        self._reader = Reader(project, self._calls, plan.rate, plan.interval.where, self._adjust_clock)
        self._segment = Segment(settings, self._calls, plan.rate, self.kind.words.several)
        self._form = Form(
            fingerprint_of(_deciding(settings, plan, place, self.kind), settings.segment.write_key), plan.kind
        )
        self._task = plan.task or Task()
        [self._range] = lanes_for(1, self._task)
        self._saving = Saving(self._save, place.gap, self._calls.stopped.wait)
        self._lock = threading.Lock()
        self._trouble: BaseException | None = None
        self._left_out: set[str] = set()  # the traits that were remarked on
        selects = plan.interval != Interval()
        self._selected: set[str] | None = set() if selects else None  # the ids that were sent; None: all
        self._told: dict[str, int] = {}  # the versions sent of those who changed shortly before or during the run
        self._state = State([], 0, datetime.now(UTC))
        self._is_clock_adjusted = False
        self.resumed = False
        """Whether the checkpoint has the progress of a run before."""
        self.swept = Counts()
        """Of resources that changed while it ran, and were read and sent once more."""
        traits = self.kind.words.traits
        self.example: Document | None = None
        """One of those that a dry run would send."""
        self.forecast = Forecast(values=dict.fromkeys(traits, 0), nulls=dict.fromkeys(traits, 0))

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
            return 1.0 - self._task.count * sum(lane.share_left for lane in self._state.lanes)

    @property
    def interval(self) -> Interval:
        """Which resources are sent. An interval of facts has an end, by default when the run began."""
        if not self.kind.are_facts:
            return self._plan.interval
        return replace(self._plan.interval, until=self._plan.interval.until or self._state.began)

    def total(self) -> int | None:
        """Return how many resources are to be read, by commercetools' count; None if that takes too long."""
        within = [
            *([f'id > "{self._range.after}"'] if self._range.after else []),
            *([f'id <= "{self._range.upto}"'] if self._range.upto else []),
        ]
        return self._reader.total(self.kind.of, [*self._predicates, *within])

    @property
    def _predicates(self) -> list[str]:
        return self.interval.predicates(self.kind.dated)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the place, and read the checkpoint. Raises Trouble before anything is sent. A dry run has none."""
        if self._plan.dry_run:
            self._state = State(lanes_for(self._plan.lanes, self._task), 0, _now())
            yield
            return
        with self._place.opened(self._form) as self._kept:
            found = self._kept.load()
            self.resumed = found is not None
            salt = uuid.uuid4().hex if self._plan.again else ""
            began = min(_now(), self._kept.began or _now())
            lanes = lanes_for(self._plan.lanes, self._task)
            self._state = found or State(lanes, self._kept.rejects.size, began, salt)
            yield

    def begin(self) -> None:
        """Create the checkpoint. Raises Trouble before anything is sent."""
        if self._plan.dry_run:
            return
        try:
            self._kept.rejects.cut(self._state.rejects_bytes)
            self._saving.through()
        except OSError as error:
            raise cannot_write(self._place.name, error, Exit.UNUSABLE) from None

    def run(self, tick: Callable[[], None]) -> None:
        """Run until all is done, and call `tick` several times a second.

        Raises Trouble if it cannot continue, and KeyboardInterrupt at Ctrl-C; in both cases the calls in flight have
        ended, and what they confirmed is in the checkpoint.
        """
        self._run([partial(self._work, lane) for lane in self._state.lanes if not lane.finished], tick)
        if self._plan.dry_run:
            return
        counts = self.counts
        swept = self.kind.are_facts or self._state.done
        if not swept and (counts.sent or counts.suppressed or counts.unsuppressed):
            self._run([self._sweep], tick)
        self._state.done = True
        self._kept.end(self._document())

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
            self._calls.stopped.set()
            raise
        finally:
            for end in ended:  # Thread.join may not wait after a Ctrl-C: https://github.com/python/cpython/issues/90882
                end.wait()
        if self._trouble is not None:
            if isinstance(self._trouble, Trouble) and (self.resumed or self._segment.has_sent):
                self._trouble.exit_code = Exit.STOPPED  # UNUSABLE means that nothing was done
            raise self._trouble

    def _work_or_stop(self, job: Callable[[], None], end: threading.Event) -> None:
        try:
            job()
        except Stop:
            pass
        except BaseException as error:  # noqa: BLE001  # `run` raises it again in the main thread
            with self._lock:
                self._trouble = self._trouble or error
            self._calls.stopped.set()
        finally:
            end.set()

    # One lane

    def _work(self, lane: Lane) -> None:
        batch, settle = self._batch(lane.after), partial(self._settle, lane=lane)
        predicates = self._predicates
        while True:
            page, is_last = self._page_after(batch.after, predicates)
            here = lane.within(page)
            is_last = is_last or len(here) < len(page)
            tell = self.kind.tell(here, self._reader, self._state.salt)
            for document in here:
                batch = self._take(document, batch, tell, settle)
                self._note_told(document)
            if is_last:
                break
            if self._plan.dry_run:  # no batch has to be full, and Ctrl-C shows all that was read
                settle(batch)
                batch = self._batch(batch.after)
        settle(batch, finished=True)

    def _note_told(self, document: Document) -> None:
        if self.kind.are_facts:
            return
        with self._lock:
            if self._selected is not None:
                self._selected.add(document["id"])
            if _modified(document) >= self._state.began:
                self._told[document["id"]] = version_of(document)

    def _page_after(self, resource_id: str, predicates: Sequence[str]) -> tuple[Sequence[Document], bool]:
        return self._reader.page_after(self.kind.of, resource_id, predicates, self.kind.page)

    # After the lanes: a page is read long before its resources are sent, and one of them may have changed and been
    # sent by the service meanwhile. Its newest state follows then, under a messageId that Segment cannot have seen.

    def _sweep(self) -> None:
        """Send once more who changed since the run began and was sent in an older version, until nobody did."""
        if self.resumed:
            self._told = {}  # the run before may have sent older versions
        found = True
        while found:
            self._calls.sleep(self._plan.settle)
            found = False
            salt = uuid.uuid4().hex
            changed = f'lastModifiedAt >= "{moment(self._state.began)}"'
            since = replace(self._plan.interval, where=None).predicates(self.kind.dated)
            batch, is_last = self._batch(self._range.after), False
            while not is_last:
                page, is_last = self._page_after(batch.after, [*since, changed])
                here = self._range.within(page)
                is_last = is_last or len(here) < len(page)
                for document in here:
                    batch.after = document["id"]
                    if not self._is_overtaken(document):
                        continue
                    found = True
                    newest = self._reader.by_id(self.kind.of, document["id"])
                    if newest is not None:
                        tell = self.kind.tell([newest], self._reader, salt)
                        batch = self._take(newest, batch, tell, self._settle_swept)
                    self._told[document["id"]] = version_of(newest or document)
                self._settle_swept(batch)
                batch = self._batch(batch.after)

    def _is_overtaken(self, document: Document) -> bool:
        told = self._told.get(document["id"])
        if told is not None:
            return version_of(document) > told
        if self.resumed:
            return True
        was_sent = self._selected is None or document["id"] in self._selected
        return was_sent and _created(document) < self._state.began

    def _settle_swept(self, batch: Batch) -> None:
        """Send the batch until it is confirmed. No progress is saved: a run that stops here sweeps anew."""
        self._segment.deliver(batch)
        with self._lock:
            try:
                self._write_rejects(batch)
            except OSError as error:
                raise cannot_write(self._place.rejects, error) from None
            self.swept.add(batch.counts)

    # Batches, of lanes and sweeps

    def _batch(self, after: str) -> Batch:
        return Batch(after, Forecast() if self._plan.dry_run else None)

    def _take(self, document: Document, batch: Batch, tell: Tell, settle: Callable[[Batch], None]) -> Batch:
        """Add a resource to the batch. If the batch is full, have it settled first and begin a new one."""
        prepared = self._segment.prepare(document, document if self._plan.rejects_with_data else {}, tell)
        if prepared.unreadable:
            self._remark_on(prepared.unreadable)
        if not batch.has_room(prepared):
            settle(batch)
            batch = self._batch(batch.after)
        batch.take(prepared)
        if self._plan.dry_run and prepared.events and self.example is None:
            self.example = document
        return batch

    def _remark_on(self, unreadable: Sequence[str]) -> None:
        with self._lock:
            new = [trait for trait in unreadable if trait not in self._left_out]
            self._left_out.update(new)
        for trait in new:
            self._note(f"{trait} is left out where its field has another kind of value than the mapping file says")

    def _settle(self, batch: Batch, *, lane: Lane, finished: bool = False) -> None:
        """Send the batch until it is confirmed, and save the progress. In a dry run, only count it."""
        if self._plan.dry_run:
            batch.count_due()
        else:
            self._segment.deliver(batch)
        try:
            with self._lock:
                if not self._plan.dry_run:
                    self._write_rejects(batch)
                lane.after, lane.finished = batch.after, finished
                lane.counts.add(batch.counts)
                if batch.forecast is not None:
                    self.forecast.add(batch.forecast)
            if not self._plan.dry_run:
                self._saving.through()
        except OSError as error:
            raise cannot_write(self._place.name, error) from None

    def _write_rejects(self, batch: Batch) -> None:
        rejects = []
        for each in batch.rejects:
            about = {"id": each.id, "version": each.version, "reason": each.reason}
            rejects.append({**about, self.kind.of.type_id: each.document} if self._plan.rejects_with_data else about)
        self._kept.rejects.write(rejects)

    def _save(self) -> None:
        self._kept.save(self._document())

    def _document(self) -> dict[str, object]:
        with self._lock:
            self._state.rejects_bytes = self._kept.rejects.size
            return self._form.document(self._state)

    def _adjust_clock(self, asked: datetime, date: datetime | None) -> None:
        """At the first answer, note by commercetools' clock when the run began; its date has whole seconds."""
        with self._lock:
            if self._is_clock_adjusted or self.resumed:
                return
            self._is_clock_adjusted = True
            if date is not None:
                ahead = date - _now()
                self._state.began = min(self._state.began, asked) + ahead - timedelta(seconds=1)


_KEPT = " What Segment confirmed is noted; the same command continues from there."


def _deciding(settings: Settings, plan: Plan, place: Place, kind: Kind) -> dict[str, str]:
    """Return each setting that decides which resources are sent, as whom and to which source."""
    commercetools, interval = commercetools_of(settings), plan.interval
    return {
        "CTP_PROJECT_KEY": commercetools.project_key,
        "CTP_API_URL": commercetools.api_url,
        "SEGMENT_HOST or SEGMENT_REGION": settings.segment.host,
        **kind.deciding,
        "--since": moment(interval.since) if interval.since else "",
        **({"--until": moment(interval.until) if interval.until else ""} if kind.are_facts else {}),
        "--where": interval.where or "",
        "--rejects": place.rejects if place.rejects == LOG else str(Path(place.rejects).absolute()),
        "--again": str(plan.again),
        RULES: kind.rules,
    }


def _now() -> datetime:
    """Return the time in whole milliseconds, as commercetools has it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _modified(document: Document) -> datetime:
    return _time(document.get("lastModifiedAt"), datetime.max.replace(tzinfo=UTC))


def _created(document: Document) -> datetime:
    return _time(document.get("createdAt"), datetime.min.replace(tzinfo=UTC))


def _time(text: object, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return otherwise


def rejects_beside(checkpoint: Path) -> Path:
    """Return the default path of the rejects: backfill.rejects.jsonl beside backfill.checkpoint.json."""
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.json').removesuffix('.checkpoint')}.rejects.jsonl")


def place_for(plan: Plan, note: Callable[[str], None], lines: Lines) -> Place:
    """Return where the progress and the rejects of a run are kept. Raises ConfigError."""
    stored = place_of(plan.checkpoint)
    if stored is None:
        if plan.task is not None and not plan.dry_run:
            raise ConfigError("A job needs --checkpoint gs://BUCKET/NAME: a file in its container does not last.")
        checkpoint = Path(plan.checkpoint)
        return Files(checkpoint, plan.rejects or rejects_beside(checkpoint))
    if plan.rejects is not None or plan.rejects_with_data:
        raise ConfigError(
            "With --checkpoint gs://BUCKET/NAME the rejects are lines in the log: leave out --rejects and "
            "--rejects-with-data."
        )
    bucket, name = stored
    return Objects(Bucket(bucket, plan.patience, note), name, plan.task or Task(), lines.reject)


def interval_of(kind: str, since: str | None, until: str | None, where: str | None) -> Interval:
    """Read the options that choose what is sent. Raises ConfigError."""
    if KINDS[kind].are_facts:
        if since is None:
            raise ConfigError(f"--since must be given for {kind}: how far back their history is to be sent.")
    elif until is not None:
        raise ConfigError(f"--until is for facts such as orders: {kind} are sent as they are now.")
    interval = Interval(_parsed(since, "--since"), _parsed(until, "--until"), where)
    if interval.since and interval.since >= (
        interval.until or (datetime.now(UTC) if KINDS[kind].are_facts else _NEVER)
    ):
        raise ConfigError("--since must be before --until, which is now if it is not given.")
    return interval


_NEVER = datetime.max.replace(tzinfo=UTC)


def _parsed(text: str | None, option: str) -> datetime | None:
    """Read a date or a time in ISO 8601; without an offset it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} must be a date or a time, such as 2026-01-01 or 2026-01-01T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def run(plan: Plan, output: Output, environment: Mapping[str, str], agreed: Callable[[], bool]) -> Exit:
    """Run or continue the backfill. Raises ConfigError, Trouble and KeyboardInterrupt; see Backfill.run.

    `agreed` is asked before facts are sent, after a warning; if it is not, nothing is done and the exit code is
    ATTENTION. A dry run ends at Ctrl-C with INTERRUPTED, since there is nothing to continue.
    """
    if plan.dry_run and plan.rejects_with_data:
        raise ConfigError("--rejects-with-data cannot be used with --dry-run, which writes no file.")
    settings = settings_by(environment, dry_run=plan.dry_run)
    lines = Lines(output, plan.task)
    progress = Progress(output, lines, dry_run=plan.dry_run)
    place = place_for(plan, progress.note, lines)
    backfill = Backfill(settings, plan, place, progress.note)
    several = backfill.kind.words.several
    with backfill.opened():
        read_before, finished = backfill.counts.read, False
        if backfill.resumed:
            output.remark(f"Going on from {place.name}: {read_before:,} {several} are done.")
        total = backfill.total()  # also before a dry run: a wrong secret or predicate ends it here
        number = "an unknown number of" if total is None else f"about {total:,}"
        output.remark(
            f"userId = {settings.segment_user_id}, region = {settings.segment.region}, "
            f"project {commercetools_of(settings).project_key}, {number} {several}"
        )
        if not plan.dry_run and not backfill.resumed:
            output.remark(_BILL)
        if backfill.kind.are_facts and not plan.dry_run:
            output.remark(_warning(number, several, backfill.interval), "yellow")
            if not agreed():
                output.remark("Nothing was sent.")
                return Exit.ATTENTION
        backfill.begin()
        began = time.monotonic()
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
            result = Result(backfill.kind.words, backfill.counts, backfill.swept, read_before, seconds, finished)
            if plan.task is not None:
                forecast = backfill.forecast if plan.dry_run else None
                log_report(result, forecast, lines, share_done=backfill.share_done)
            elif plan.dry_run:
                show_forecast(result, backfill.forecast, output)
                _preview(backfill, output, environment)
            else:
                show_summary(result, output, checkpoint=place.name, rejects=place.rejects, again=plan.again)
    return Exit.ATTENTION if result.rejected or result.unreadable else Exit.DONE


def _preview(backfill: Backfill, output: Output, environment: Mapping[str, str]) -> None:
    """Say what Segment would bill, and on a terminal explain one of those that would be sent: personal data."""
    if output.as_json:
        return
    output.remark(_BILL)
    if backfill.example is None or not output.results.is_terminal:
        return
    output.results.print(
        f"\nOne of the {backfill.kind.words.several} as it would be sent, by explain:", highlight=False
    )
    explain.run(json.dumps(backfill.example).encode(), output, environment, read=False)


_BILL = "Segment bills by tracked users: each person that is sent counts in this month, however long inactive."


def _warning(number: str, several: str, interval: Interval) -> str:
    since, until = (moment(each) if each else "" for each in (interval.since, interval.until))
    return (
        f"This sends the history of {number} {several}, created from {since} on and before {until}.\n"
        "Segment forgets a messageId after about a day, and counts again what it was told live before that: the "
        "purchases double in every destination, unless the interval ends before ORDERS was switched on. So do refunds "
        "and cancellations of these orders that were told live more than a day ago, wherever the interval ends.\n"
        "Google Analytics 4 drops events that are older than 72 hours. Braze's Track Purchase counts them as purchases "
        "of today."
    )


def settings_by(environment: Mapping[str, str], *, dry_run: bool) -> Settings:
    """Read the settings of a backfill. Raises ConfigError, and Trouble if a secret cannot be fetched.

    It erases nobody, so it needs the token of the Public API only if the mapping file suppresses.
    """
    token = {"SEGMENT_PUBLIC_API_TOKEN": UNREAD}
    if dry_run:
        return command_settings(environment, needs=[*DECIDING, *CLIENT], SEGMENT_WRITE_KEY=UNREAD, **token)
    given = environment_of(environment)
    needs = [*DECIDING, "SEGMENT_WRITE_KEY", *CLIENT]
    settings = command_settings(given, needs=needs, **token)
    consent = identify_rules_by(settings).mapping.consent
    if consent is None or consent.withdrawn is not Withdrawn.SUPPRESS:
        return settings
    return command_settings(given, needs=[*needs, "SEGMENT_PUBLIC_API_TOKEN"])
