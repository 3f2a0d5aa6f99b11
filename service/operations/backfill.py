"""backfill: sends every customer of the shop, or some of them, as live events would.

The ids are split into ranges, and each range has a lane: it reads a page, transforms it, sends a full batch and saves
its progress. Several lanes run concurrently, so that one computes while others wait. A lane holds one page and one
batch in memory, whatever the number of customers.

A cursor advances only when Segment has confirmed everything before it, and is in the checkpoint file before the lane's
next batch is sent. So after a kill the next run repeats at most one batch of each lane, with the same messageIds.
"""

import contextlib
import fcntl
import hashlib
import hmac
import itertools
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.commercetools.client import PAGE, CommercetoolsProject, RequestRefused
from service.commercetools.customer import CUSTOMER, read_customer
from service.commercetools.resource import CannotRead
from service.config import ConfigError, Settings
from service.integration import identify_rules_by
from service.operations import Exit, Output, Trouble, cannot_read, command_settings, commercetools_of
from service.segment.client import BATCH_BYTES, BATCH_EVENTS, SegmentClient, create_segment_client
from service.segment.types import NotDelivered
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, customer_events

LANES = 8
MAX_LANES = 32
PATIENCE_SECONDS = 600.0

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # between attempts; it doubles each time
_PAUSE_STEP = 0.2  # how often it is checked whether a pause is over
_NOTED_AT_LEAST_EACH = 10 * PAGE  # customers, if hardly any of them makes an event
_ALL_REFUSED = 20  # events refused alone, and none confirmed: the customers are not the cause
_TICK = 0.2
_LINE_SECONDS = 10.0  # between two lines of progress if there is no terminal
_FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent, and how."""

    checkpoint: Path
    rejects: Path
    since: datetime | None = None
    where: str | None = None
    rate: float | None = None
    """Calls a second, to commercetools and to Segment each."""
    lanes: int = LANES
    patience: float = PATIENCE_SECONDS
    """Seconds for which a call is retried before the run stops."""
    rejects_with_data: bool = False

    @property
    def predicates(self) -> list[str]:
        since = [] if self.since is None else [f'lastModifiedAt >= "{_moment(self.since)}"']
        return [*([self.where] if self.where else []), *since]


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Counts:
    """The number of customers so far, by result. `skipped`: without the field that is the userId."""

    read: int = 0
    sent: int = 0
    rejected: int = 0
    skipped: int = 0

    def add(self, other: "Counts") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Lane:
    """A range of ids, greater than `after` and up to `upto` ("": no end); `after` advances as Segment confirms."""

    after: str
    upto: str
    finished: bool = False
    counts: Counts = field(default_factory=Counts)

    @property
    def share_left(self) -> float:
        """The share of all possible ids that is left here, from 0 to 1. Ids are random, so also of the customers."""
        return 0.0 if self.finished else max(0.0, _place(self.upto, 1.0) - _place(self.after, 0.0))


def _place(customer_id: str, otherwise: float) -> float:
    try:
        return int(customer_id[:8], 16) / 16**8
    except ValueError:
        return otherwise


def lanes_for(number: int) -> list[Lane]:
    """Split all possible ids into ranges of the same size."""
    bounds = ["", *(str(uuid.UUID(int=(place << 128) // number)) for place in range(1, number)), ""]
    return [Lane(after, upto) for after, upto in itertools.pairwise(bounds)]


class Checkpoint:
    """The progress of a run, in a file: ids, counts, and a fingerprint of the settings."""

    def __init__(self, path: Path, fingerprint: Mapping[str, str]) -> None:
        self._path = path
        self._fingerprint = dict(fingerprint)

    def load(self) -> tuple[list[Lane], int] | None:
        """Return the lanes and the size of the rejects file, or None if there is no progress.

        Raises Trouble if the file is not a checkpoint, or belongs to a run with other settings.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(f"cannot be read ({type(error).__name__})") from None
        try:
            document = json.loads(text)
            if document["format"] != _FORMAT:
                raise self._unusable("was written by another version of this command")
            fingerprint = dict(document["settings"])
            lanes = [Lane(**{**lane, "counts": Counts(**lane["counts"])}) for lane in document["lanes"]]
            rejects_bytes = int(document["rejects_bytes"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._unusable("is not a checkpoint of a backfill") from None
        if not any(lane.counts.read for lane in lanes):
            return None  # whatever its settings were: they may have been wrong
        if fingerprint != self._fingerprint:
            names = [name for name in self._fingerprint if fingerprint.get(name) != self._fingerprint[name]]
            other = "another SEGMENT_WRITE_KEY" if len(names) == len(self._fingerprint) else f"another {_and(names)}"
            raise self._unusable(f"belongs to a backfill with {other}")
        return lanes, rejects_bytes

    def _unusable(self, why: str) -> Trouble:
        todo = "Run with the settings that it was begun with to go on, or remove the file to begin anew."
        return Trouble(f"The checkpoint {self._path} {why}. {todo}", Exit.UNUSABLE)

    def save(self, lanes: Sequence[Lane], rejects_bytes: int) -> None:
        """Write it atomically, and to the disk. Raises OSError."""
        document = {
            "format": _FORMAT,
            "settings": self._fingerprint,
            "lanes": [asdict(lane) for lane in lanes],
            "rejects_bytes": rejects_bytes,
        }
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with draft.open("w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _and(names: Sequence[str]) -> str:
    return " and another ".join(names)


def fingerprint_of(settings: Settings, plan: Plan) -> dict[str, str]:
    """Return a fingerprint of each setting that decides which customers are sent, as whom and to which source.

    Without the write key the settings cannot be guessed from it.
    """
    commercetools = commercetools_of(settings)
    parts = {
        "CTP_PROJECT_KEY": commercetools.project_key,
        "CTP_API_URL": commercetools.api_url,
        "SEGMENT_HOST or SEGMENT_REGION": settings.segment.host,
        "SEGMENT_USER_ID": settings.segment_user_id,
        "SEGMENT_CLEAR_TRAITS": settings.segment_clear_traits,
        "--since": _moment(plan.since) if plan.since else "",
        "--where": plan.where or "",
        "--rejects": str(plan.rejects.absolute()),
    }
    key = hashlib.sha256(settings.segment.write_key.encode()).digest()
    return {name: hmac.new(key, part.encode(), hashlib.sha256).hexdigest()[:16] for name, part in parts.items()}


class _Rejects:
    """The file of the customers that could not be sent. It is locked while it is open, for the whole run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO = path.open("a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Trouble(f"Another backfill is writing {path}.", Exit.UNUSABLE) from None

    def cut(self, size: int) -> None:
        """Remove what was written after the checkpoint: it will be found again."""
        if self.size > size:
            self._file.truncate(size)

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def write(self, rejects: Sequence[Mapping[str, Any]]) -> None:
        self._file.writelines(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects)
        self._file.flush()

    def close(self) -> None:
        """Close it, and remove it if it is empty."""
        with contextlib.suppress(OSError):  # a full disk was reported at the write
            if not self.size:
                self._path.unlink(missing_ok=True)
            self._file.close()


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
    event: dict[str, Any]
    customer_id: str
    version: int
    document: Mapping[str, Any]


class _Batch:
    """What a lane is sending: customers up to `after`, whose `events` are not confirmed yet."""

    def __init__(self, after: str) -> None:
        self.after = after
        self.counts = Counts()
        self.events: list[_Prepared] = []
        self.size = 0
        self.rejects: list[dict[str, Any]] = []

    def has_room(self, size: int) -> bool:
        return len(self.events) < BATCH_EVENTS and self.size + size <= BATCH_BYTES


class Backfill:
    """One run. `note` gets what an operator should see while it runs."""

    def __init__(self, settings: Settings, plan: Plan, note: Callable[[str], None]) -> None:
        commercetools = commercetools_of(settings)
        self._plan = plan
        self._note = note
        self._project = CommercetoolsProject(commercetools)
        self._segment: SegmentClient = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._rules: IdentifyRules = identify_rules_by(settings)
        self._project_key = commercetools.project_key
        self._predicates = plan.predicates
        self._checkpoint = Checkpoint(plan.checkpoint, fingerprint_of(settings, plan))
        self._reading, self._sending = Pace(plan.rate), Pace(plan.rate)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._trouble: BaseException | None = None
        self._confirmed = False
        self._refused_alone = 0
        self.resumed = False
        self.lanes: list[Lane] = []

    @property
    def counts(self) -> Counts:
        with self._lock:
            total = Counts()
            for lane in self.lanes:
                total.add(lane.counts)
            return total

    @property
    def share_done(self) -> float:
        """The share that is done, from 0 to 1, estimated from the ids."""
        with self._lock:
            return 1.0 - sum(lane.share_left for lane in self.lanes)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Open the files, and read the checkpoint or create it. Raises Trouble before anything is sent."""
        try:
            self._rejects = _Rejects(self._plan.rejects)
        except OSError as error:
            raise self._cannot_write(self._plan.rejects, error, Exit.UNUSABLE) from None
        with contextlib.closing(self._rejects):
            found = self._checkpoint.load()
            self.resumed = found is not None
            self.lanes, rejects_bytes = found or (lanes_for(self._plan.lanes), 0)
            try:
                self._rejects.cut(rejects_bytes)
                self._checkpoint.save(self.lanes, self._rejects.size)
            except OSError as error:
                raise self._cannot_write(self._plan.checkpoint, error, Exit.UNUSABLE) from None
            yield

    def run(self, tick: Callable[[], None]) -> None:
        """Run until all is done, and call `tick` several times a second.

        Raises Trouble if it cannot continue, and KeyboardInterrupt at Ctrl-C; in both cases the calls in flight have
        ended, and what they confirmed is in the checkpoint.
        """
        workers = [
            threading.Thread(
                target=self._work_or_stop, args=(lane,), daemon=True
            )  # a second Ctrl-C does not wait for them
            for lane in self.lanes
            if not lane.finished
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(_TICK)
                    tick()
        except KeyboardInterrupt:
            self._note("Stopping when the calls in flight have ended; Ctrl-C again stops at once.")
            raise
        finally:
            self._stopped.set()
            for worker in workers:
                worker.join()
        if self._trouble is not None:
            raise self._trouble
        self._checkpoint.remove()

    # One lane

    def _work_or_stop(self, lane: Lane) -> None:
        try:
            self._work(lane)
        except _Stop:
            pass
        except BaseException as error:  # noqa: BLE001  # `run` raises it again in the main thread
            with self._lock:
                self._trouble = self._trouble or error
            self._stopped.set()

    def _work(self, lane: Lane) -> None:
        batch = _Batch(lane.after)
        while True:
            page = self._page_after(batch.after)
            for document in page:
                if lane.upto and document["id"] > lane.upto:
                    break
                batch = self._take(document, batch, lane)
            else:
                if len(page) == PAGE:
                    continue
            break
        self._settle(batch, lane, finished=True)

    def _take(self, document: Mapping[str, Any], batch: _Batch, lane: Lane) -> _Batch:
        """Add a customer to the batch. If the batch is full, have it confirmed first and begin a new one."""
        made: tuple[dict[str, Any], int] | None = None
        reason = ""
        try:
            made = self._event_of(document)
        except (Malformed, NotDelivered) as refused:
            reason = str(refused)
        if (made is not None and not batch.has_room(made[1])) or batch.counts.read >= _NOTED_AT_LEAST_EACH:
            self._settle(batch, lane)
            batch = _Batch(batch.after)
        batch.after = document["id"]
        batch.counts.read += 1
        if made is not None:
            event, size = made
            batch.events.append(_Prepared(event, document["id"], _version(document), self._kept(document)))
            batch.size += size
        elif reason:
            batch.rejects.append(self._reject(document["id"], _version(document), reason, self._kept(document)))
        else:
            batch.counts.skipped += 1
        return batch

    def _event_of(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], int] | None:
        """Return the event of a customer and its size, or None for a customer without a user id."""
        for event in customer_events(read_customer(document), self._rules, self._project_key).events:
            return self._segment.event_for(event)
        return None

    def _kept(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        return document if self._plan.rejects_with_data else {}

    def _reject(self, customer_id: str, version: int, reason: str, document: Mapping[str, Any]) -> dict[str, Any]:
        about = {"id": customer_id, "version": version, "reason": reason}
        return {**about, "customer": document} if self._plan.rejects_with_data else about

    def _settle(self, batch: _Batch, lane: Lane, *, finished: bool = False) -> None:
        """Send the batch until it is confirmed, and save the progress."""
        self._deliver(batch)
        batch.counts.rejected = len(batch.rejects)
        with self._lock:
            try:
                self._rejects.write(batch.rejects)
                lane.after, lane.finished = batch.after, finished
                lane.counts.add(batch.counts)
                self._checkpoint.save(self.lanes, self._rejects.size)
            except OSError as error:
                raise self._cannot_write(self._plan.checkpoint, error) from None

    def _cannot_write(self, path: Path, error: OSError, code: Exit = Exit.STOPPED) -> Trouble:
        why = error.strerror or type(error).__name__
        kept = "" if code is Exit.UNUSABLE else " What it says so far is kept; the same command continues from there."
        return Trouble(f"{path} (or the file beside it) cannot be written: {why}.{kept}", code)

    # Calls

    def _page_after(self, customer_id: str) -> Sequence[Mapping[str, Any]]:
        def call() -> Sequence[Mapping[str, Any]]:
            try:
                return self._project.page_after(CUSTOMER, customer_id, self._predicates)
            except RequestRefused as refused:
                if refused.status == 400 and self._plan.where and "token" not in str(refused):  # noqa: PLR2004  # said
                    raise Trouble(f"{refused}. It may be the predicate of --where.", Exit.UNUSABLE) from None
                raise cannot_read(refused) from None
            except CannotRead as problem:
                raise _NotYet(str(problem)) from None

        return self._until_through(call, self._reading, lambda: self._project.is_paused)

    def _deliver(self, batch: _Batch) -> None:
        """Send until all is confirmed. An event that Segment refuses alone is written to the rejects."""
        parts = [batch.events] if batch.events else []
        while parts:
            part = parts.pop()
            reason = self._post(part)
            if reason is None:
                self._confirmed = True
                batch.counts.sent += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                batch.rejects.append(self._reject(part[0].customer_id, part[0].version, reason, part[0].document))
                self._refused_alone += 1
                if self._refused_alone >= _ALL_REFUSED and not self._confirmed:
                    raise Trouble(
                        f"Segment refuses everything ({reason}), so it is not the customers. "
                        "Look at SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST."
                    )

    def _post(self, part: Sequence[_Prepared]) -> str | None:
        """Return None if Segment confirmed these events, or the reason why it refuses them."""

        def call() -> str | None:
            error = self._segment.post([prepared.event for prepared in part])
            if error is not None and not error.refused:
                raise _NotYet(error.message)
            return error.message if error is not None else None

        return self._until_through(call, self._sending, lambda: self._segment.is_paused)

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
                    raise Trouble(
                        f"{not_yet}, for {self._plan.patience:.0f} seconds. What Segment confirmed is noted; the same "
                        "command continues from there."
                    ) from None
                self._note(f"{not_yet}; trying again")
            self._sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # so that lanes that failed together do not retry together
            wait = min(2 * wait, _LONGEST_WAIT)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise _Stop


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
    """Run or continue the backfill. Raises ConfigError, Trouble and KeyboardInterrupt; see Backfill.run."""
    progress = _Progress(output)
    backfill = Backfill(command_settings(), plan, progress.note)
    with backfill.prepared():
        if backfill.resumed:
            output.remark(f"Going on from {plan.checkpoint}: {backfill.counts.read:,} customers are done.")
        began, before = time.monotonic(), backfill.counts.read
        finished = False
        try:
            with progress.shown():
                backfill.run(lambda: progress.update(backfill))
            finished = True
        finally:
            _summarize(backfill, plan, output, time.monotonic() - began, before, finished=finished)
    return Exit.ATTENTION if backfill.counts.rejected else Exit.DONE


class _Progress:
    """A progress bar on a terminal; elsewhere a line every few seconds."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._next_line = time.monotonic() + _LINE_SECONDS
        self._bar: Progress | None = None
        self._task = TaskID(0)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        self._began = time.monotonic()
        self._read_before: int | None = None
        if not self._output.remarks.is_terminal:
            yield
            return
        columns = (
            TextColumn("[bold]backfill"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._output.remarks, transient=True) as self._bar:
            self._task = self._bar.add_task("backfill", total=1.0, counts="")
            yield

    def update(self, backfill: Backfill) -> None:
        counts = backfill.counts
        if self._read_before is None:
            self._read_before = counts.read
        seconds = time.monotonic() - self._began
        rate = (counts.read - self._read_before) / seconds if seconds else 0.0
        text = f"{counts.read:,} read, {counts.sent:,} sent, {rate:,.0f}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=backfill.share_done, counts=text)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self._output.remark(f"{backfill.share_done:.0%}: {text}")

    def note(self, text: str) -> None:
        """Show it, but the same text only every few seconds: each lane may report it at every attempt."""
        with self._lock:
            now = time.monotonic()
            if now < self._noted.get(text, 0.0):
                return
            self._noted = {noted: until for noted, until in self._noted.items() if until > now}
            self._noted[text] = now + _LINE_SECONDS
            self._output.remark(text, "yellow")


def _summarize(backfill: Backfill, plan: Plan, output: Output, seconds: float, before: int, *, finished: bool) -> None:
    counts = backfill.counts
    rejects = str(plan.rejects) if counts.rejected else None
    if output.as_json:
        document = {**asdict(counts), "finished": finished, "seconds": round(seconds, 1), "rejects": rejects}
        output.document({**document, "checkpoint": None if finished else str(plan.checkpoint)})
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, count, meaning in (
        ("read", counts.read, ""),
        ("sent", counts.sent, "each confirmed by Segment"),
        ("rejected", counts.rejected, f"see {rejects}" if rejects else ""),
        ("skipped", counts.skipped, "without the field that SEGMENT_USER_ID chooses"),
    ):
        table.add_row(name, f"{count:>9,}", meaning)
    output.results.print(table)
    rate = (counts.read - before) / seconds if seconds else 0.0
    ended = "Done" if finished else "Not done; the same command continues"
    output.results.print(f"{ended}. {seconds:,.1f} s, {rate:,.0f} customers a second.", highlight=False)
