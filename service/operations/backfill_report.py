"""backfill: what it counts, and how it shows that: the progress, the summary at the end, and the forecast of a dry run.

Without a terminal the progress is lines of JSON, and in a job of Cloud Run the report at the end is one.

It knows nothing of how resources are read and sent.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from service.operations import Output, plain
from service.operations.backfill_task import Task
from service.segment.library import MAX_MSG_SIZE

_LINE_SECONDS = 10.0  # between two lines of progress if there is no terminal
_KIB = 1024


class Words(NamedTuple):
    """How a report names the resources: several of them, and why one is skipped if no reason was noted.

    `traits` are those of which a dry run counts the values; without any, the events are counted by name.
    """

    several: str
    skipped: str
    traits: Sequence[str] = ()


@dataclass(slots=True)
class Counts:
    """The number of resources so far, by result.

    `skipped` are those of which Segment gets no event, by the reason in `reasons`. `suppressed` and `unsuppressed` are
    those whose user id Segment was told to suppress, or not to suppress any more. `unreadable` has, for each trait,
    those for which it was left out because its field has another kind of value than the mapping file says. `remarks`
    has what an operator should see of those that were sent, and `events` the number of their events, by name.
    """

    read: int = 0
    sent: int = 0
    rejected: int = 0
    skipped: int = 0
    suppressed: int = 0
    unsuppressed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                add_to(mine, others)
            else:
                setattr(self, each.name, mine + others)


def add_to(counts: dict[str, int], others: Mapping[str, int]) -> None:
    """Add the others to the counts, name by name."""
    for name, count in others.items():
        counts[name] = counts.get(name, 0) + count


@dataclass(slots=True)
class Forecast:
    """What a dry run counts besides: why resources would be rejected, and which traits the others would get.

    `largest` is the size of the largest event in bytes. `values` and `nulls` are numbers of resources, by trait.
    """

    rejections: dict[str, int] = field(default_factory=dict)
    too_large: int = 0
    largest: int = 0
    values: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Forecast") -> None:
        add_to(self.rejections, other.rejections)
        add_to(self.values, other.values)
        add_to(self.nulls, other.nulls)
        self.too_large += other.too_large
        self.largest = max(self.largest, other.largest)

    def note(self, events: Sequence[Mapping[str, Any]], rejection: str, largest: int, *, is_too_large: bool) -> None:
        """Note a resource's events, or the reason of the rejection. `largest` is the size of the largest event."""
        self.largest = max(self.largest, largest)
        if rejection:
            add_to(self.rejections, {rejection: 1})
            self.too_large += is_too_large
            return
        for event in events:
            for name, value in event.get("traits", {}).items():
                add_to(self.nulls if value is None else self.values, {name: 1})


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has done when it ends or stops.

    `counts` has also what earlier runs with the checkpoint did; they had read `read_before` resources. `swept` counts
    those that changed while it ran, and were read and sent once more.
    """

    words: Words
    counts: Counts
    swept: Counts
    read_before: int
    seconds: float
    finished: bool

    @property
    def rejected(self) -> int:
        """The number of rejects: one that was rejected, changed while it ran, and was rejected again, is two."""
        return self.counts.rejected + self.swept.rejected

    @property
    def unreadable(self) -> Mapping[str, int]:
        """The number of those for which a trait was left out, by trait; as with `rejected`, one may be two."""
        total = dict(self.counts.unreadable)
        add_to(total, self.swept.unreadable)
        return total

    @property
    def pace(self) -> str:
        """A sentence: how long this run took, and how fast it was."""
        rate = _rate(self.counts.read - self.read_before, self.seconds)
        return f"{self.seconds:,.1f} s, {rate:,.0f} {self.words.several} a second."


def _rate(number: int, seconds: float) -> float:
    return number / seconds if seconds else 0.0


LINE_FIELDS = ("task", "tasks", "done", "about", "share", "rate", "resource_id", "version", "report")
"""The fields of a line besides its severity and its message.

`done` of `about` so many resources are read, by an estimate from the ids; `share` is that in percent, `rate` the number
in a second, `task` the number of the task, from 1 on. A reject has `resource_id` and `version`.
"""


class Lines:
    """One JSON object in each line, as Cloud Logging reads it: numbers and ids, no personal data.

    https://cloud.google.com/logging/docs/structured-logging
    """

    def __init__(self, output: Output, task: Task | None) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._of_task = {} if task is None else {"task": task.index + 1, "tasks": task.count}

    def write(self, severity: str, message: str, **fields: object) -> None:
        """Write a line to stderr; `fields` are among LINE_FIELDS."""
        line = json.dumps({"severity": severity, "message": plain(message), **self._of_task, **fields})
        with self._lock:
            self._output.remarks.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def reject(self, reject: Mapping[str, Any]) -> None:
        """Write a reject: its id, its version and the reason."""
        message = f"Rejected: {reject['reason']}"
        self.write("WARNING", message, resource_id=reject["id"], version=reject["version"])


def _measures(counts: Counts, read_before: int, seconds: float, share_done: float) -> dict[str, object]:
    about = round(counts.read / share_done) if share_done > 0 else None
    rate = round(_rate(counts.read - read_before, seconds), 1)
    return {"done": counts.read, "about": about, "share": round(share_done * 100, 1), "rate": rate}


class Progress:
    """The progress and the remarks of a run: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(
        self, output: Output, lines: Lines, *, dry_run: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = output
        self._lines = lines
        self._sent = "to send" if dry_run else "sent"
        self._clock = clock
        self._began = clock()
        self._read_before = 0
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._next_line = self._began + _LINE_SECONDS
        self._bar: ProgressBar | None = None
        self._task = TaskID(0)

    @contextlib.contextmanager
    def shown(self, read_before: int) -> Iterator[None]:
        """Show it while the context is entered. `read_before` resources do not count for the speed."""
        self._read_before = read_before
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
        with ProgressBar(*columns, console=self._output.remarks, transient=True) as self._bar:
            self._task = self._bar.add_task("backfill", total=1.0, counts="")
            yield

    def update(self, counts: Counts, share_done: float) -> None:
        """Show how far it is; `share_done` is from 0 to 1."""
        now = self._clock()
        seconds = now - self._began
        rate = _rate(counts.read - self._read_before, seconds)
        text = f"{counts.read:,} read, {counts.sent:,} {self._sent}, {rate:,.0f}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=share_done, counts=text)
        elif now >= self._next_line:
            self._next_line = now + _LINE_SECONDS
            measures = _measures(counts, self._read_before, seconds, share_done)
            self._lines.write("INFO", f"Backfilling: {share_done:.0%}, {text}", **measures)

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
"""The name of a count, the count, and what it means."""


def log_report(result: Result, forecast: Forecast | None, lines: Lines, *, share_done: float) -> None:
    """Write what a task of a job has done, or would do, as one line."""
    counts = result.counts
    measures = _measures(counts, result.read_before, result.seconds, share_done)
    sent = "sent" if forecast is None else "to send"
    what = f"{counts.read:,} read, {counts.sent:,} {sent}, {result.rejected:,} rejected"
    if not result.finished:
        lines.write("ERROR", f"Backfill stopped: {what}", **measures, report=_document(result, forecast))
        return
    severity = "WARNING" if result.rejected or result.unreadable else "INFO"
    lines.write(severity, f"Backfilled: {what}", **measures, report=_document(result, forecast))


def _document(result: Result, forecast: Forecast | None) -> dict[str, object]:
    return _done(result) if forecast is None else _foreseen(result, forecast)


def _done(result: Result) -> dict[str, object]:
    return {
        **asdict(result.counts),
        "rejected": result.rejected,
        "unreadable": result.unreadable,
        "sent_again": result.swept.sent,
        "finished": result.finished,
        "seconds": round(result.seconds, 1),
    }


def show_summary(result: Result, output: Output, *, checkpoint: str, rejects: str, again: bool) -> None:
    """Print what was done, as a table or as JSON. With `again` Segment was told also what it had been told already."""
    counts = result.counts
    see = rejects if result.rejected else None
    if output.as_json:
        output.document(
            {**_done(result), "rejects": see, "checkpoint": None if result.finished else checkpoint},
        )
        return
    rows: list[_Row] = [
        ("read", counts.read, ""),
        ("sent", counts.sent, _CONFIRMED if again else f"{_CONFIRMED}; it drops what it was told within a day"),
        *_some("sent again", result.swept.sent, "changed while it ran"),
        ("rejected", result.rejected, f"see {see}" if see else ""),
        *_skipped(counts, result.words),
        *_some("suppressed", counts.suppressed, "user ids without consent, whose events Segment drops"),
        *_some("unsuppressed", counts.unsuppressed, "user ids with consent, whose events Segment takes"),
        *_left_out(result.unreadable),
        *_by_reason("remarked", counts.remarks),
        *_events(counts, result.words),
    ]
    output.table(_table(rows))
    ended = "Done" if result.finished else "Not done; the same command continues"
    output.results.print(f"{ended}. {result.pace}", highlight=False)


def _foreseen(result: Result, forecast: Forecast) -> dict[str, object]:
    counts = result.counts
    return {
        "read": counts.read,
        "to_send": counts.sent,
        "skipped": counts.skipped,
        "reasons": counts.reasons,
        "to_suppress": counts.suppressed,
        "to_unsuppress": counts.unsuppressed,
        "rejected": counts.rejected,
        "rejections": forecast.rejections,
        "too_large": forecast.too_large,
        "largest_kib": _kib(forecast),
        "unreadable": counts.unreadable,
        "remarks": counts.remarks,
        "events": counts.events,
        "traits": {
            name: {"value": forecast.values[name], "null": forecast.nulls.get(name, 0)} for name in forecast.values
        },
        "finished": result.finished,
        "seconds": round(result.seconds, 1),
    }


def _kib(forecast: Forecast) -> float:
    return round(forecast.largest / _KIB, 1)


def show_forecast(result: Result, forecast: Forecast, output: Output) -> None:
    """Print what would be done, as two tables or as JSON."""
    counts = result.counts
    if output.as_json:
        output.document(_foreseen(result, forecast))
        return
    rows: list[_Row] = [
        ("read", counts.read, ""),
        ("to send", counts.sent, ""),
        *_by_reason("rejected", forecast.rejections),
        *_skipped(counts, result.words),
        *_some("to suppress", counts.suppressed, "user ids without consent"),
        *_some("to unsuppress", counts.unsuppressed, "user ids with consent"),
        *_left_out(result.unreadable),
        *_by_reason("remarked", counts.remarks),
        *_events(counts, result.words),
    ]
    output.table(_table(rows))
    if result.words.traits:
        output.table(_traits(forecast))
    if forecast.largest:
        size = f"{_kib(forecast)} KiB, and Segment takes {MAX_MSG_SIZE // _KIB} KiB"
        output.results.print(f"The largest event has {size}.", highlight=False)
    ended = "Done" if result.finished else "Stopped, so these are not all"
    output.results.print(f"{ended}; nothing was sent. {result.pace}", highlight=False)


def _traits(forecast: Forecast) -> Table:
    table = Table("trait", "value", "null", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in forecast.values.items():
        table.add_row(Text(name), f"{count:,}", f"{forecast.nulls.get(name, 0):,}")
    return table


def _table(rows: Sequence[_Row]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, count, meaning in rows:
        table.add_row(name, f"{count:>9,}", Text(meaning))
    return table


def _skipped(counts: Counts, words: Words) -> list[_Row]:
    """Return a row for each reason, and at least one. Older releases noted no reason: they had but one."""
    others = counts.skipped - sum(counts.reasons.values())
    rows = _by_reason("skipped", counts.reasons)
    return [*rows, *([("skipped", others, words.skipped)] if others or not rows else [])]


def _events(counts: Counts, words: Words) -> list[_Row]:
    """Return a row for each kind of event, of those of which no traits are shown."""
    return [] if words.traits else [(name, count, "") for name, count in counts.events.items()]


def _by_reason(name: str, reasons: Mapping[str, int]) -> list[_Row]:
    return [(name, count, reason) for reason, count in sorted(reasons.items(), key=lambda each: -each[1])]


def _some(name: str, count: int, meaning: str) -> list[_Row]:
    return [(name, count, meaning)] if count else []


def _left_out(unreadable: Mapping[str, int]) -> list[_Row]:
    meaning = "is left out for them: another kind of value than the mapping file says"
    return [("unreadable", count, f"{trait} {meaning}") for trait, count in unreadable.items()]
