"""backfill: sends every customer of the shop, or some of them, as live events would.

The ids are split into ranges, and each range has a lane: it reads a page, transforms it, sends a full batch and saves
its progress. Several lanes run concurrently, so that one computes while others wait. A lane holds one page and one
batch in memory, whatever the number of customers.

A cursor advances only when Segment has confirmed everything before it, and is in the checkpoint file before the lane's
next batch is sent. So after a kill the next run repeats at most one batch of each lane, with the same messageIds.

A dry run takes the same pages and makes the same events, but only counts.
"""

import contextlib
import errno
import fcntl
import hashlib
import hmac
import io
import itertools
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO, TypeVar

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from service.commercetools.client import PAGE, CommercetoolsProject, RequestRefused, TooSlow
from service.commercetools.customer import customer_type
from service.commercetools.resource import CannotRead
from service.config import ConfigError, Settings
from service.operations import Exit, Output, Trouble, cannot_read, command_settings, commercetools_of
from service.segment.client import BATCH_BYTES, BATCH_EVENTS, SegmentClient, create_segment_client
from service.segment.library import MAX_MSG_SIZE
from service.segment.regulations import CALLS_A_SECOND, Regulation, Regulations
from service.segment.types import NotDelivered, SegmentError, Suppression, TooLarge
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, customer_events
from service.transformation.rules import identify_rules_by

LANES = 8
MAX_LANES = 32
PATIENCE_SECONDS = 600.0
SETTLE_SECONDS = 2.0

_PAGE_BYTES = 1_000_000  # about ten times as much in memory, in each lane
_FIRST_PAGE = 20  # customers, while it is not known how large one is
_SMALLEST_PAGE = 5
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # between attempts; it doubles each time
_PAUSE_STEP = 0.2  # how often it is checked whether a pause is over
_NOTED_AT_LEAST_EACH = 10 * PAGE  # customers, if hardly any of them makes an event
_ALL_REFUSED = 20  # events or user ids refused alone, and none confirmed: the customers are not the cause
_TICK = 0.2
_LINE_SECONDS = 10.0  # between two lines of progress if there is no terminal
_FORMAT = 2
_KIB = 1024

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
    again: bool = False
    """Whether Segment is told also what it has been told already."""
    settle: float = SETTLE_SECONDS
    """Seconds to wait until commercetools' queries show every change, before each sweep."""
    dry_run: bool = False
    """Whether it is only counted what would be sent."""

    @property
    def predicates(self) -> list[str]:
        return [*([self.where] if self.where else []), *self.since_predicate]

    @property
    def since_predicate(self) -> list[str]:
        return [] if self.since is None else [f'lastModifiedAt >= "{_moment(self.since)}"']


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Counts:
    """The number of customers so far, by result.

    `skipped` are those of whom Segment gets no event, by the reason in `reasons`. `suppressed` and `unsuppressed` are
    those whose user id Segment was told to suppress, or not to suppress any more. `unreadable` has, for each trait,
    those for whom it was left out because its field has another kind of value than the mapping file says.
    """

    read: int = 0
    sent: int = 0
    rejected: int = 0
    skipped: int = 0
    suppressed: int = 0
    unsuppressed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                _add(mine, others)
            else:
                setattr(self, each.name, mine + others)


def _add(counts: dict[str, int], others: Mapping[str, int]) -> None:
    for name, count in others.items():
        counts[name] = counts.get(name, 0) + count


@dataclass(slots=True)
class Forecast:
    """What a dry run counts besides: why customers would be rejected, and which traits the others would get.

    `largest` is the size of the largest event in bytes. `values` and `nulls` are numbers of customers, by trait.
    """

    rejections: dict[str, int] = field(default_factory=dict)
    too_large: int = 0
    largest: int = 0
    values: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Forecast") -> None:
        _add(self.rejections, other.rejections)
        _add(self.values, other.values)
        _add(self.nulls, other.nulls)
        self.too_large += other.too_large
        self.largest = max(self.largest, other.largest)

    def note(self, prepared: "_Prepared") -> None:
        self.largest = max(self.largest, prepared.largest)
        if prepared.reason:
            _add(self.rejections, {prepared.reason: 1})
            self.too_large += prepared.is_too_large
            return
        for event in prepared.events:
            for name, value in event.get("traits", {}).items():
                _add(self.nulls if value is None else self.values, {name: 1})


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


def _private(path: Path, flag: int) -> TextIO:
    """Open a regular file to write, readable by its owner alone: it may have personal data. Raises OSError."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | flag, 0o600)
    file = io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w")), encoding="utf-8")
    try:
        os.fchmod(descriptor, 0o600)  # it may have been there, and the umask may deny the owner too
    except OSError:
        file.close()
        raise
    return file


def _locked(path: Path, flag: int = 0) -> TextIO:
    """Open it as `_private` does, for this run alone. Raises OSError: BlockingIOError if another run has it."""
    file = _private(path, flag)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file.fileno()).st_nlink:
            raise BlockingIOError  # another run removed it at its end, after it was opened here
    except OSError:
        file.close()
        raise
    return file


@dataclass(slots=True)
class State:
    """How far a run is: when it began, by commercetools' clock or earlier, and the salt of its messageIds."""

    lanes: list[Lane]
    rejects_bytes: int
    began: datetime
    salt: str = ""


class Checkpoint:
    """The progress of a run, in a file: ids, counts, and a fingerprint of the settings."""

    def __init__(self, path: Path, fingerprint: Mapping[str, str]) -> None:
        self._path = path
        self._fingerprint = dict(fingerprint)

    def load(self) -> "State | None":
        """Return the progress, or None if there is none.

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
            began, salt = datetime.fromisoformat(document["began"]), str(document["salt"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._unusable("is not a checkpoint of a backfill") from None
        if not any(lane.counts.read for lane in lanes):
            return None  # whatever its settings were: they may have been wrong
        rules = fingerprint.pop(_RULES, self._fingerprint[_RULES])  # older releases noted none
        settings = {name: said for name, said in self._fingerprint.items() if name != _RULES}
        if fingerprint != settings:
            names = [name for name in settings if fingerprint.get(name) != settings[name]]
            other = "another SEGMENT_WRITE_KEY" if len(names) == len(settings) else f"another {_and(names)}"
            raise self._unusable(f"belongs to a backfill with {other}")
        if rules != self._fingerprint[_RULES]:
            raise Trouble(
                f"The checkpoint {self._path} belongs to a backfill by other rules: finish it with the old {_RULES} "
                "(or the old release of this command), or remove the file to begin anew.",
                Exit.UNUSABLE,
            )
        return State(lanes, rejects_bytes, began, salt)

    def _unusable(self, why: str) -> Trouble:
        todo = "Run with the settings that it was begun with to go on, or remove the file to begin anew."
        return Trouble(f"The checkpoint {self._path} {why}. {todo}", Exit.UNUSABLE)

    def save(self, state: "State") -> None:
        """Write it atomically, and to the disk. Raises OSError."""
        document = {
            "format": _FORMAT,
            "settings": self._fingerprint,
            "lanes": [asdict(lane) for lane in state.lanes],
            "rejects_bytes": state.rejects_bytes,
            "began": state.began.isoformat(),
            "salt": state.salt,
        }
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with _private(draft, os.O_TRUNC) as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _and(names: Sequence[str]) -> str:
    return " and another ".join(names)


_RULES = "MAPPING_FILE"


def fingerprint_of(settings: Settings, plan: Plan, rules: IdentifyRules) -> dict[str, str]:
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
        "--again": str(plan.again),
        _RULES: rules.fingerprint,
    }
    key = hashlib.sha256(settings.segment.write_key.encode()).digest()
    return {name: hmac.new(key, part.encode(), hashlib.sha256).hexdigest()[:16] for name, part in parts.items()}


class _Rejects:
    """The file of the customers that could not be sent. It is locked while it is open, for the whole run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: TextIO = _locked(path, os.O_APPEND)
        except BlockingIOError:
            raise Trouble(f"Another backfill is writing {path}.", Exit.UNUSABLE) from None

    def cut(self, size: int) -> None:
        """Remove what was written after the checkpoint: it will be found again."""
        if self.size > size:
            self._file.truncate(size)

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def write(self, rejects: Sequence[Mapping[str, Any]]) -> None:
        self._file.writelines(json.dumps(reject) + "\n" for reject in rejects)
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
        self.after = prepared.customer_id
        self.counts.read += 1
        self.events += len(prepared.events)
        self.size += prepared.size
        _add(self.counts.unreadable, dict.fromkeys(prepared.unreadable, 1))
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
            self.forecast.note(prepared)
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
            _add(self.counts.reasons, {prepared.skipped: 1})


class Backfill:
    """One run. `note` gets what an operator should see while it runs."""

    def __init__(self, settings: Settings, plan: Plan, note: Callable[[str], None]) -> None:
        commercetools = commercetools_of(settings)
        self._plan = plan
        self._note = note
        self._project = CommercetoolsProject(commercetools)
        self._segment: SegmentClient = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._rules: IdentifyRules = identify_rules_by(settings)
        self._of = customer_type(self._rules.mapping.named)
        self._customers = self._project.resources(self._of)
        self._project_key = commercetools.project_key
        self._predicates = plan.predicates
        self._checkpoint = Checkpoint(plan.checkpoint, fingerprint_of(settings, plan, self._rules))
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
        self._selected: set[str] | None = set() if self._predicates else None  # the ids that were sent; None: all
        self._told: dict[str, int] = {}  # the versions sent of those who changed shortly before or during the run
        self._state = State([], 0, datetime.now(UTC))
        self._is_clock_adjusted = False
        self.resumed = False
        self.swept = Counts()
        """Of customers that changed while it ran, and were read and sent once more."""
        names = (*(trait.name for trait in self._rules.mapping.identify.traits), *self._rules.mapping.identify.retired)
        self.forecast = Forecast(values=dict.fromkeys(names, 0), nulls=dict.fromkeys(names, 0))

    @property
    def is_dry(self) -> bool:
        return self._plan.dry_run

    @property
    def lanes(self) -> list[Lane]:
        return self._state.lanes

    @property
    def counts(self) -> Counts:
        with self._lock:
            total = Counts()
            for lane in self.lanes:
                total.add(lane.counts)
            return total

    @property
    def rejected(self) -> int:
        """The number of rejects: a customer who was rejected, changed while it ran, and was rejected again, is two."""
        return self.counts.rejected + self.swept.rejected

    @property
    def unreadable(self) -> Mapping[str, int]:
        """The number of customers for whom a trait was left out, by trait; as with `rejected`, one may be two."""
        total = dict(self.counts.unreadable)
        _add(total, self.swept.unreadable)
        return total

    @property
    def share_done(self) -> float:
        """The share that is done, from 0 to 1, estimated from the ids."""
        with self._lock:
            return 1.0 - sum(lane.share_left for lane in self.lanes)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Open the files, and read the checkpoint or create it. Raises Trouble before anything is sent.

        The checkpoint is replaced at each save, so what is locked against other runs is a file beside it. A dry run has
        no files.
        """
        if self._plan.dry_run:
            self._state = State(lanes_for(self._plan.lanes), 0, _now())
            yield
            return
        path = self._plan.checkpoint.with_name(f"{self._plan.checkpoint.name}.lock")
        try:
            lock = _locked(path)
        except BlockingIOError:
            raise Trouble(f"Another backfill is using {self._plan.checkpoint}.", Exit.UNUSABLE) from None
        except OSError as error:
            raise self._cannot_write(self._plan.checkpoint, error, Exit.UNUSABLE) from None
        with lock:
            try:
                with self._opened():
                    yield
            finally:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        try:
            self._rejects = _Rejects(self._plan.rejects)
        except OSError as error:
            raise self._cannot_write(self._plan.rejects, error, Exit.UNUSABLE) from None
        with contextlib.closing(self._rejects):
            found = self._checkpoint.load()
            self.resumed = found is not None
            began = _now()
            salt = uuid.uuid4().hex if self._plan.again else ""
            self._state = found or State(lanes_for(self._plan.lanes), self._rejects.size, began, salt)
            self._rules = replace(self._rules, salt=self._state.salt)
            try:
                self._rejects.cut(self._state.rejects_bytes)
                self._save()
            except OSError as error:
                raise self._cannot_write(self._plan.checkpoint, error, Exit.UNUSABLE) from None
            yield

    def run(self, tick: Callable[[], None]) -> None:
        """Run until all is done, and call `tick` several times a second.

        Raises Trouble if it cannot continue, and KeyboardInterrupt at Ctrl-C; in both cases the calls in flight have
        ended, and what they confirmed is in the checkpoint.
        """
        self._run([partial(self._work, lane) for lane in self.lanes if not lane.finished], tick)
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

    # One lane

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

    def _work(self, lane: Lane) -> None:
        batch, settle = self._batch(lane.after), partial(self._settle, lane=lane)
        while True:
            page, is_last = self._page_after(batch.after, self._predicates)
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
                page, is_last = self._page_after(batch.after, [*self._plan.since_predicate, changed])
                for document in page:
                    batch.after = document["id"]
                    if not self._is_overtaken(document):
                        continue
                    found = True
                    newest = self._one(document["id"])
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
                raise self._cannot_write(self._plan.rejects, error) from None
            self.swept.add(batch.counts)

    # Batches, of lanes and sweeps

    def _batch(self, after: str) -> _Batch:
        return _Batch(after, Forecast() if self._plan.dry_run else None)

    def _take(
        self, document: Mapping[str, Any], batch: _Batch, rules: IdentifyRules, settle: Callable[[_Batch], None]
    ) -> _Batch:
        """Add a customer to the batch. If the batch is full, have it settled first and begin a new one."""
        prepared = self._prepared(document, rules)
        if not batch.has_room(prepared):
            settle(batch)
            batch = self._batch(batch.after)
        batch.take(prepared)
        return batch

    def _prepared(self, document: Mapping[str, Any], rules: IdentifyRules) -> _Prepared:
        kept = document if self._plan.rejects_with_data else {}
        prepared = _Prepared(document["id"], _version(document), kept)
        try:
            said = customer_events(self._of.parse(document), rules, self._project_key)
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
                raise self._cannot_write(self._plan.checkpoint, error) from None

    def _write_rejects(self, batch: _Batch) -> None:
        rejects = []
        for each in batch.rejects:
            about = {"id": each.customer_id, "version": each.version, "reason": each.reason}
            rejects.append({**about, "customer": each.document} if self._plan.rejects_with_data else about)
        self._rejects.write(rejects)

    def _save(self) -> None:
        self._state.rejects_bytes = self._rejects.size
        self._checkpoint.save(self._state)

    def _cannot_write(self, path: Path, error: OSError, code: Exit = Exit.STOPPED) -> Trouble:
        why = error.strerror or type(error).__name__
        kept = "" if code is Exit.UNUSABLE else " What it says so far is kept; the same command continues from there."
        return Trouble(f"{path} (or the file beside it) cannot be written: {why}.{kept}", code)

    # Calls

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
                page = self._project.page_after(self._of, customer_id, predicates, limit)
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

    def _one(self, customer_id: str) -> Mapping[str, Any] | None:
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
        _add(self._refused_alone, {party: 1})
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
    progress = _Progress(output)
    settings = command_settings(None, **(_NOT_NEEDED if plan.dry_run else {}))
    backfill = Backfill(settings, plan, progress.note)
    with backfill.prepared():
        if backfill.resumed:
            output.remark(f"Going on from {plan.checkpoint}: {backfill.counts.read:,} customers are done.")
        began, before = time.monotonic(), backfill.counts.read
        finished = False
        try:
            with progress.shown():
                backfill.run(lambda: progress.update(backfill))
            finished = True
        except KeyboardInterrupt:
            if plan.dry_run:
                return Exit.INTERRUPTED
            raise
        finally:
            seconds = time.monotonic() - began
            if plan.dry_run:
                _foretell(backfill, output, seconds, finished=finished)
            else:
                _summarize(backfill, plan, output, seconds, before, finished=finished)
    return Exit.ATTENTION if backfill.rejected or backfill.unreadable else Exit.DONE


_NOT_NEEDED: Mapping[str, str] = {"SEGMENT_WRITE_KEY": "none", "SEGMENT_PUBLIC_API_TOKEN": "none"}  # by a dry run


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
        text = f"{counts.read:,} read, {counts.sent:,} {'to send' if backfill.is_dry else 'sent'}, {rate:,.0f}/s"
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


_CONFIRMED = "each confirmed by Segment"
_Row = tuple[str, int, str]


def _summarize(backfill: Backfill, plan: Plan, output: Output, seconds: float, before: int, *, finished: bool) -> None:
    counts = backfill.counts
    rejects = str(plan.rejects) if backfill.rejected else None
    if output.as_json:
        document = {
            **asdict(counts),
            "rejected": backfill.rejected,
            "unreadable": backfill.unreadable,
            "sent_again": backfill.swept.sent,
            "finished": finished,
            "seconds": round(seconds, 1),
            "rejects": rejects,
        }
        output.document({**document, "checkpoint": None if finished else str(plan.checkpoint)})
        return
    rows: list[_Row] = [
        ("read", counts.read, ""),
        ("sent", counts.sent, _CONFIRMED if plan.again else f"{_CONFIRMED}; it drops what it was told within a day"),
        *([("sent again", backfill.swept.sent, "changed while it ran")] if backfill.swept.sent else []),
        ("rejected", backfill.rejected, f"see {rejects}" if rejects else ""),
        *_skipped(counts),
        *_some("suppressed", counts.suppressed, "user ids without consent, whose events Segment drops"),
        *_some("unsuppressed", counts.unsuppressed, "user ids with consent, whose events Segment takes"),
        *_left_out(backfill),
    ]
    output.results.print(_table(rows))
    rate = (counts.read - before) / seconds if seconds else 0.0
    ended = "Done" if finished else "Not done; the same command continues"
    output.results.print(f"{ended}. {seconds:,.1f} s, {rate:,.0f} customers a second.", highlight=False)


def _foretell(backfill: Backfill, output: Output, seconds: float, *, finished: bool) -> None:
    counts, forecast = backfill.counts, backfill.forecast
    kib = round(forecast.largest / _KIB, 1)
    if output.as_json:
        output.document(
            {
                "read": counts.read,
                "to_send": counts.sent,
                "skipped": counts.skipped,
                "reasons": counts.reasons,
                "to_suppress": counts.suppressed,
                "to_unsuppress": counts.unsuppressed,
                "rejected": counts.rejected,
                "rejections": forecast.rejections,
                "too_large": forecast.too_large,
                "largest_kib": kib,
                "unreadable": counts.unreadable,
                "traits": {
                    name: {"value": forecast.values[name], "null": forecast.nulls.get(name, 0)}
                    for name in forecast.values
                },
                "finished": finished,
                "seconds": round(seconds, 1),
            }
        )
        return
    rows: list[_Row] = [
        ("read", counts.read, ""),
        ("to send", counts.sent, ""),
        *_by_reason("rejected", forecast.rejections),
        *_skipped(counts),
        *_some("to suppress", counts.suppressed, "user ids without consent"),
        *_some("to unsuppress", counts.unsuppressed, "user ids with consent"),
        *_left_out(backfill),
    ]
    output.results.print(_table(rows))
    table = Table("trait", "value", "null", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in forecast.values.items():
        table.add_row(Text(name), f"{count:,}", f"{forecast.nulls.get(name, 0):,}")
    output.results.print(table)
    if forecast.largest:
        size = f"{kib} KiB, and Segment takes {MAX_MSG_SIZE // _KIB} KiB"
        output.results.print(f"The largest event has {size}.", highlight=False)
    ended = "Done" if finished else "Stopped, so these are not all"
    rate = counts.read / seconds if seconds else 0.0
    output.results.print(
        f"{ended}; nothing was sent. {seconds:,.1f} s, {rate:,.0f} customers a second.", highlight=False
    )


def _table(rows: Sequence[_Row]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, count, meaning in rows:
        table.add_row(name, f"{count:>9,}", Text(meaning))
    return table


def _skipped(counts: Counts) -> list[_Row]:
    """Return a row for each reason, and at least one. Older releases noted no reason: they had but one."""
    others = counts.skipped - sum(counts.reasons.values())
    rows = _by_reason("skipped", counts.reasons)
    return [*rows, *([("skipped", others, _WITHOUT_USER_ID)] if others or not rows else [])]


_WITHOUT_USER_ID = "without the field that SEGMENT_USER_ID chooses"


def _by_reason(name: str, reasons: Mapping[str, int]) -> list[_Row]:
    return [(name, count, reason) for reason, count in sorted(reasons.items(), key=lambda each: -each[1])]


def _some(name: str, count: int, meaning: str) -> list[_Row]:
    return [(name, count, meaning)] if count else []


def _left_out(backfill: Backfill) -> list[_Row]:
    meaning = "is left out for them: another kind of value than the mapping file says"
    return [("unreadable", count, f"{trait} {meaning}") for trait, count in backfill.unreadable.items()]
