"""history: what happened to one customer, order or payment, and why Segment does or does not have it.

It puts together three sources: the service's lines in Cloud Logging, the resource in commercetools as it is now, and
the dead letters. It changes nothing. A source that cannot be read is named, and the others are shown.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from rich.table import Table
from rich.text import Text

from service.commercetools.client import CommercetoolsClient, is_id
from service.commercetools.customer import CUSTOMER
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.commercetools.resource import CannotRead, ResourceType
from service.config import CLIENT, ConfigError
from service.operations import (
    UNREAD,
    Environment,
    Exit,
    Output,
    Trouble,
    cannot_read,
    command_settings,
    commercetools_of,
    moment,
    plain,
)
from service.operations.dead_letters import Choice, DeadLetter, has_dead_letters, open_mailbox, subscription_by
from service.operations.deployed import PROJECT
from service.outcome import Ending

TYPES: Mapping[str, ResourceType[Any]] = {of.type_id: of for of in (CUSTOMER, ORDER, PAYMENT)}
SERVICE = "commercetools-segment"
"""The name of the service in infra/service.tf, where no other is given."""
_READ_SECONDS = 10.0
_LETTERS = 10_000
_SKEW = timedelta(seconds=5)  # between the clocks of commercetools and Google
_PROJECT = re.compile(r"projects/([^/\s]+)/")
_AGE = re.compile(r"(\d{1,5})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Question:
    """Selects what is shown: a resource by its type and id, the lines since a time, and where to look.

    `service` is the name of the Cloud Run service. `subscription` has the dead letters, if it is not that of the
    settings.
    """

    of: ResourceType[Any]
    resource_id: str
    since: datetime
    project: str
    service: str = SERVICE
    subscription: str | None = None
    wait: float = 10.0
    limit: int = 1000  # lines


def question(
    type_id: str,
    resource_id: str,
    since: str,
    *,
    service: str | None,
    project: str | None,
    subscription: str | None,
    wait: float,
    limit: int,
    environment: Environment,
    shell: Mapping[str, str],
) -> Question:
    """Read the command's options. `environment` is that of `service`, if one is given. Raises ConfigError."""
    if not is_id(resource_id):
        raise ConfigError(f"{type_id} must be given by its id in commercetools, as the log has it.")
    in_name = _PROJECT.match(subscription or environment.get("DEAD_LETTER_SUBSCRIPTION", ""))
    of_name, of_service = in_name[1] if in_name else None, environment.get(PROJECT) if service else None
    project = project or of_service or of_name or shell.get(PROJECT)
    if not project:
        raise ConfigError("--project must name the Google Cloud project, if DEAD_LETTER_SUBSCRIPTION does not.")
    return Question(TYPES[type_id], resource_id, _since(since), project, service or SERVICE, subscription, wait, limit)


def _since(text: str) -> datetime:
    age = _AGE.fullmatch(text)
    if age:
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("--since must be an age (90m, 12h, 7d), a date or a time in ISO 8601.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Log(Protocol):
    """The part of CloudLogging that is used."""

    def entries(self, query: str, at_most: int) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Line:
    """What the service logged about one delivery of one message: ids and words of ours, no personal data."""

    at: datetime
    outcome: str
    reason: str
    message_id: str | None = None
    kind: str | None = None
    version: int | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the sources say. None: this source was not read. `problems` says why, `skipped` what was not asked for."""

    question: Question
    lines: Sequence[Line] | None = None  # oldest first
    is_cut: bool = False  # there are more lines than `limit`
    document: Mapping[str, Any] | None = None  # commercetools' JSON
    is_gone: bool = False  # commercetools has none with this id
    letters: Sequence[DeadLetter] | None = None
    others_since: bool | None = None  # whether the service logged any outcome since the last change
    problems: Sequence[str] = ()
    skipped: Sequence[str] = ()

    @property
    def changed(self) -> datetime | None:
        return _time(self.document.get("lastModifiedAt")) if self.document else None

    @property
    def version(self) -> int | None:
        return _whole(self.document.get("version")) if self.document else None


class Verdict(StrEnum):
    """The answer in a word, for programs."""

    NEVER_PUBLISHED = "never published"
    WAITING = "waiting"
    IGNORED = "ignored"
    DEAD_LETTER = "dead letter"
    DELIVERED = "delivered"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    verdict: Verdict
    text: str


_Found = TypeVar("_Found")


@dataclass(slots=True)
class _Sources:
    """Asks each source, and notes why one was not read."""

    problems: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def ask(self, source: Callable[[], _Found]) -> _Found | None:
        try:
            return source()
        except Trouble as trouble:
            self.problems.append(str(trouble))
            return None


def known(asked: Question, log: Log, environment: Environment) -> Known:
    """Ask the three sources. Raises ConfigError if the settings contradict themselves."""
    sources = _Sources()
    found = sources.ask(lambda: log.entries(_query(asked, asked.since), asked.limit + 1))
    lines = None if found is None else sorted(map(_line, found), key=lambda line: line.at)[-asked.limit :]
    document: Mapping[str, Any] | None = None
    is_gone = False
    if not any(name in environment for name in CLIENT):
        sources.skipped.append("commercetools was not asked, since the CTP_ settings are not set.")
    else:
        read = sources.ask(lambda: _read(asked, environment))
        document, is_gone = read if read is not None else (None, False)
    letters = None
    if not (asked.subscription or has_dead_letters(environment)):
        sources.skipped.append("The dead letters were not looked at, since DEAD_LETTER_SUBSCRIPTION is not set.")
    else:
        letters = sources.ask(lambda: _letters(asked, environment))
    is_cut = len(found or ()) > asked.limit
    told = Known(asked, lines, is_cut, document, is_gone, letters, None, sources.problems, sources.skipped)
    if lines is None or not _is_unaccounted(told):
        return told
    changed = max(told.changed or asked.since, asked.since)
    others = sources.ask(lambda: log.entries(_query(asked, changed, of_all=True), 1))
    return replace(told, others_since=None if others is None else bool(others))


def _query(asked: Question, since: datetime, *, of_all: bool = False) -> str:
    of = (
        f'jsonPayload.message=~"^({"|".join(Ending)})"'
        if of_all
        else f'jsonPayload.resource_id="{asked.resource_id}"\njsonPayload.resource_type="{asked.of.type_id}"'
    )
    return (
        'resource.type="cloud_run_revision"\n'
        f'resource.labels.service_name="{asked.service}"\n'
        f"{of}\n"
        f'timestamp>="{moment(since)}"'
    )


def _line(entry: Mapping[str, Any]) -> Line:
    said = entry.get("jsonPayload") or {}
    outcome, _, reason = str(said.get("message", "")).partition(": ")
    return Line(
        _time(entry.get("timestamp")) or datetime.min.replace(tzinfo=UTC),
        outcome,
        reason,
        said.get("message_id"),
        said.get("notification_type"),
        _whole(said.get("version")),
        _whole(said.get("delivery_attempt")),
    )


def _read(asked: Question, environment: Environment) -> tuple[Mapping[str, Any] | None, bool]:
    # No rule is applied, and the service's mapping file is not here.
    unread = ["SEGMENT_PUBLIC_API_TOKEN"]
    settings = command_settings(environment.but(MAPPING_FILE=""), unread=unread, SEGMENT_WRITE_KEY=UNREAD)
    client = CommercetoolsClient(commercetools_of(settings))
    try:
        document = client.resources(asked.of).document_by_id(asked.resource_id, time.monotonic() + _READ_SECONDS)
    except CannotRead as problem:
        raise cannot_read(problem, of=asked.of) from None
    return document, document is None


def _letters(asked: Question, environment: Environment) -> list[DeadLetter]:
    with open_mailbox(subscription_by(environment, asked.subscription)) as mailbox:
        letters = mailbox.take(Choice(_LETTERS), asked.wait)
    about = (asked.of.type_id, asked.resource_id)
    return [
        letter
        for letter in letters
        if (read := letter.notification) is not None and (read.resource_type, read.resource_id) == about
    ]


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _whole(number: object) -> int | None:
    return int(number) if isinstance(number, int | float) else None  # a number of a jsonPayload may have a point


# Why is she not in Segment?


def answer(found: Known) -> Answer:
    """Return why Segment has the resource, or has it not, as far as the sources tell."""
    name = found.question.of.name
    if found.is_gone:
        return Answer(
            Verdict.DELETED,
            f"commercetools has no {name} with this id: it was deleted, or it is one of another project.{_last(found)}",
        )
    waiting_letters = _unsettled_letters(found)
    if waiting_letters:
        newest = waiting_letters[-1]
        return Answer(
            Verdict.DEAD_LETTER,
            f"{_count(waiting_letters, 'message')} about it {'is' if len(waiting_letters) == 1 else 'are'} in the dead "
            f"letters and will not be delivered again by itself. The newest is {newest.message_id}: {newest.reason}. "
            f"See: commercetools-segment explain --dead-letter {newest.message_id}. "
            "Repair the cause, then replay it (docs/operations.md, Dead letters).",
        )
    if found.lines is None:
        return Answer(Verdict.UNKNOWN, "That cannot be told without the log.")
    return _unaccounted(found) if _is_unaccounted(found) else _by_the_lines(found, _decisive(found))


def _by_the_lines(found: Known, line: Line) -> Answer:
    when, reason = moment(line.at), line.reason
    match line.outcome:
        case Ending.FAILED:
            attempt = f" (attempt {line.attempt})" if line.attempt else ""
            return Answer(
                Verdict.WAITING,
                f"It is published, and its message waits: the delivery at {when}{attempt} failed: {reason}. Pub/Sub "
                "redelivers it, and makes it a dead letter after 100 attempts (docs/operations.md, Failed messages).",
            )
        case Ending.REFUSED:
            where = "was not looked for in" if found.letters is None else "is not (or not any more) in"
            return Answer(
                Verdict.DEAD_LETTER,
                f"The service refused it at {when}: {reason}. The message {where} the dead letters "
                "(docs/operations.md, Dead letters).",
            )
        case Ending.IGNORED if "deleted" in reason:
            return Answer(Verdict.DELETED, f"It was deleted: at {when} the service ignored its message: {reason}.")
        case Ending.IGNORED if not _is_delivered(line):
            before = next((one for one in reversed(found.lines or ()) if one.outcome == Ending.DELIVERED), None)
            earlier = f" An earlier state was delivered at {moment(before.at)}." if before else ""
            return Answer(Verdict.IGNORED, f"The service ignored it at {when}: {reason}.{_todo(reason)}{earlier}")
        case Ending.DELIVERED if "erased" in reason:
            return Answer(Verdict.DELETED, f"At {when} {reason}.")
    more = f" ({reason})" if reason else ""
    return Answer(
        Verdict.DELIVERED,
        f"Segment confirmed it at {when}{more}. If it is not there, look at the source's debugger: the write key may "
        "be of another source, or segment_region wrong (Segment answers 200 to both); else a destination drops it "
        "(docs/destinations.md).",
    )


_ALREADY = "already delivered"


def _todo(reason: str) -> str:
    if "userId" in reason:
        return " It is delivered with the first change after the field is set."
    if "consent" in reason:
        return " The mapping file's consent.send decides that; it is delivered with the first change after the consent."
    if "ORDERS is off" in reason:
        return " Switch ORDERS on to send orders and refunds (docs/orders.md)."
    return ""


def _unaccounted(found: Known) -> Answer:
    """Return the answer where no line tells of the newest change."""
    question, changed, name = found.question, found.changed, found.question.of.name
    since = moment(question.since)
    send = "" if question.of is PAYMENT else f" To send it now: {_backfill(question)}."
    if changed is not None and changed < question.since and not found.lines:
        return Answer(
            Verdict.UNKNOWN,
            f"Nothing is logged about it since {since}, and it changed last before that, at {moment(changed)}: look "
            f"further back with --since. Cloud Logging keeps lines for 30 days by default, and a backfill logs none."
            f"{send}",
        )
    when = f"it changed at {moment(changed)}" if changed else f"nothing is logged about this {name} since {since}"
    if found.others_since:
        return Answer(
            Verdict.NEVER_PUBLISHED,
            f"No message about it has arrived: {when}, and the service has had others since. Either commercetools did "
            "not publish it (commercetools-segment check looks at the Subscription), or the change is only seconds "
            f"old, or LOG_LEVEL is above INFO.{send}",
        )
    if found.others_since is None:
        return Answer(Verdict.UNKNOWN, f"No message about it has arrived, as far as is known: {when}.{send}")
    return Answer(
        Verdict.WAITING,
        f"No message at all has arrived: {when}, and the service has logged no outcome since. It waits in Pub/Sub if "
        "commercetools has published it: commercetools-segment check looks at both (docs/operations.md, No events at "
        "all).",
    )


def _backfill(question: Question) -> str:
    if question.of is ORDER:
        return f"""commercetools-segment backfill orders --since=… --where='id="{question.resource_id}"'"""
    return f"""commercetools-segment backfill --where='id="{question.resource_id}"'"""


def _is_unaccounted(found: Known) -> bool:
    """Tell whether no line can be about the newest state: there is none, or the resource has changed since."""
    if found.is_gone or _unsettled_letters(found):
        return False
    if not found.lines:
        return True
    newest = max(line.version or 0 for line in found.lines)
    is_newer = bool(newest) and (found.version or 0) > newest
    is_later = found.changed is not None and found.changed > found.lines[-1].at + _SKEW
    return found.question.of is CUSTOMER and is_newer and is_later  # of a sale, few changes are published


def _decisive(found: Known) -> Line:
    """Return the line that answers: of a customer the last; of facts, one that waits, else one that was delivered.

    A failure is settled by the delivery of the same version of a customer or a newer one.
    """
    lines = found.lines or ()
    if found.question.of is CUSTOMER:
        newest = max((line.version or 0 for line in lines if _is_delivered(line)), default=0)
        is_settled = [line.outcome == Ending.FAILED and (line.version or 0) <= newest for line in lines]
        return next(line for line, settled in zip(reversed(lines), reversed(is_settled), strict=True) if not settled)
    last_of_each = list({line.message_id or line: line for line in lines}.values())
    of_note = [line for line in last_of_each if line.outcome == Ending.FAILED]
    of_note = of_note or [line for line in last_of_each if _is_delivered(line)] or last_of_each
    return of_note[-1]


def _is_delivered(line: Line) -> bool:
    is_known = line.outcome == Ending.IGNORED and line.reason.startswith(_ALREADY)
    return line.outcome == Ending.DELIVERED or is_known


def _unsettled_letters(found: Known) -> list[DeadLetter]:
    """Return the letters that Segment still lacks: a customer's state that was delivered later includes a letter's."""
    delivered = [
        line.at for line in found.lines or () if line.outcome == Ending.DELIVERED and found.question.of is CUSTOMER
    ]
    return [letter for letter in found.letters or () if not delivered or letter.published > max(delivered)]


def _last(found: Known) -> str:
    if not found.lines:
        return ""
    last = found.lines[-1]
    said = f"{last.outcome}: {last.reason}" if last.reason else last.outcome
    return f" The last line about it, at {moment(last.at)}, is: {said}."


def _count(items: Sequence[object], name: str) -> str:
    return f"{len(items)} {name}{'' if len(items) == 1 else 's'}"


# The command


def run(output: Output, asked: Question, log: Log, environment: Environment, *, show_data: bool) -> Exit:
    """Show the timeline and the answer. STOPPED if a source could not be read, ATTENTION if something is to be done."""
    found = known(asked, log, environment)
    answered = answer(found)
    if output.as_json:
        output.document(_document(found, answered, show_data=show_data))
    else:
        _print(found, answered, output, show_data=show_data)
    for remark in (*found.problems, *found.skipped):
        output.remark(remark, "yellow")
    if found.is_cut:
        output.remark(f"Only the newest {asked.limit} lines were read: see --limit.", "yellow")
    if found.problems:
        return Exit.STOPPED
    is_settled = answered.verdict in {Verdict.DELIVERED, Verdict.IGNORED, Verdict.DELETED}
    return Exit.DONE if is_settled else Exit.ATTENTION


def _document(found: Known, answered: Answer, *, show_data: bool) -> dict[str, Any]:
    return {
        "resource_type": found.question.of.type_id,
        "resource_id": found.question.resource_id,
        "since": moment(found.question.since),
        "verdict": answered.verdict,
        "answer": answered.text,
        "commercetools": _of_commercetools(found, show_data=show_data),
        "timeline": None
        if found.lines is None
        else [
            {
                "time": moment(line.at),
                "message_id": line.message_id,
                "kind": line.kind,
                "version": line.version,
                "attempt": line.attempt,
                "outcome": line.outcome,
                "reason": line.reason or None,
            }
            for line in found.lines
        ],
        "dead_letters": None if found.letters is None else [each.about(data=show_data) for each in found.letters],
        "not_read": [*found.problems, *found.skipped],
    }


def _of_commercetools(found: Known, *, show_data: bool) -> dict[str, Any] | None:
    if found.is_gone:
        return {"exists": False}
    if found.document is None:
        return None
    facts = {name: found.document.get(name) for name in ("version", "createdAt", "lastModifiedAt")}
    return {"exists": True, **facts, **({"document": found.document} if show_data else {})}


@dataclass(frozen=True, slots=True)
class _Row:
    at: datetime
    cells: tuple[str, ...]


def _print(found: Known, answered: Answer, output: Output, *, show_data: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("time", "message", "kind", "version", "attempt", "outcome"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason", overflow="fold")
    rows = sorted([*_of_lines(found.lines or ()), *_of_the_others(found)], key=lambda row: row.at)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in (moment(row.at), *row.cells)))
    if rows:
        output.table(table)
        output.results.print()
    output.results.print(Text(plain(answered.text), "bold"), soft_wrap=True)
    if show_data:
        if found.document is not None:
            output.document(found.document)
        for letter in found.letters or ():
            output.document(letter.about(data=True))


def _of_lines(lines: Sequence[Line]) -> list[_Row]:
    """Return a row for each line; one for all deliveries of a message that ended alike one after another."""
    rows: list[_Row] = []
    together: list[Line] = []
    for line in [*lines, None]:
        if together and (line is None or _likeness(line) != _likeness(together[-1])):
            first, last = together[0], together[-1]
            attempts = list(dict.fromkeys(str(one.attempt or "") for one in (first, last)))
            until = f" (until {moment(last.at)})" if len(together) > 1 else ""
            cells = (last.message_id or "", last.kind or "", str(last.version or ""), "-".join(attempts))
            rows.append(_Row(first.at, (*cells, last.outcome, last.reason + until)))
            together = []
        if line is not None:
            together.append(line)
    return rows


def _likeness(line: Line) -> tuple[object, ...]:
    return line.message_id, line.kind, line.version, line.outcome, line.reason


def _of_the_others(found: Known) -> list[_Row]:
    rows = [
        _Row(
            letter.published,
            (
                letter.message_id,
                letter.kind,
                _version(letter),
                str(letter.attempts or ""),
                "Dead letter",
                letter.reason,
            ),
        )
        for letter in found.letters or ()
    ]
    if found.document is not None:
        created, version = _time(found.document.get("createdAt")), str(found.version or "")
        if created is not None:
            rows.append(_Row(created, ("", "created", "1", "", "in commercetools", "")))
        if found.changed is not None and found.changed != created:
            rows.append(_Row(found.changed, ("", "changed last", version, "", "in commercetools", "")))
    return rows


def _version(letter: DeadLetter) -> str:
    notification = letter.notification
    return "" if notification is None or notification.version is None else str(notification.version)
