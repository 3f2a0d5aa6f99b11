"""What became of each message on the customers' topic, as Pub/Sub, the service and its log tell it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from playground.pubsub import Message, Push
from playground.world import SUBSCRIPTION, TOPIC, Line

_REMEMBERED = 20_000
OPEN, DELIVERED, IGNORED, REFUSED, FAILED, GIVEN_UP = "open", "delivered", "ignored", "refused", "failed", "given up"
"""The outcome of a message. `failed` is open too: Pub/Sub delivers it again."""
_BY_ENDING = {"Delivered": DELIVERED, "Ignored": IGNORED, "Refused": REFUSED}
_BY_STATUS: Mapping[int | None, str] = {200: DELIVERED, 204: IGNORED}
_LONGEST_WORD = 80


@dataclass(slots=True)
class Attempt:
    """One push of a message: `status` of the answer (None: there was none), times in seconds of time.monotonic()."""

    number: int
    status: int | None
    began: float
    ended: float


@dataclass(slots=True)
class Entry:
    """A message of the topic. `outcome` is its latest; `delivered` stays so when a duplicate is ignored later."""

    number: int
    message: Message | None = None
    published: float = 0.0
    """In seconds of time.time()."""
    kind: str = ""
    resource_type: str = ""
    resource_id: str = ""
    version: int | None = None
    outcome: str = OPEN
    reason: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    is_settled: bool = False
    """Acknowledged, or given up: Pub/Sub delivers it no more, but for a duplicate."""
    sentences: dict[int, str] = field(default_factory=dict)
    """What the service logged about each attempt."""
    changed: int = 0

    @property
    def message_id(self) -> str:
        return self.message.message_id if self.message else ""

    @property
    def row(self) -> dict[str, Any]:
        """What the list shows of it. `at` is in ms of the Unix epoch, `ms` the latency of the last push."""
        last = self.attempts[-1] if self.attempts else None
        return {
            "n": self.number,
            "id": self.message_id,
            "at": round(self.published * 1000),
            "kind": self.kind,
            "type": self.resource_type,
            "resource": self.resource_id,
            "version": self.version,
            "attempt": last.number if last else 0,
            "outcome": self.outcome,
            "reason": self.reason,
            "ms": round((last.ended - last.began) * 1000, 1) if last else None,
        }


@dataclass(slots=True)
class Resource:
    """What the topic said about one resource."""

    open: int = 0
    """Messages that are not settled yet."""
    versions: set[int] = field(default_factory=set)
    """Those that a message was published about."""
    tries_again: int = 0
    """Pushes after the first, and events that were confirmed late: each may rightly tell a state once more."""
    set_aside: int = 0
    """Messages that were refused or given up: they are dead letters."""
    is_deleted: bool = False
    """A message was published that it was deleted."""


class Messages:
    """The newest messages and counts of all. Its `on_…` methods are called from any thread.

    `when_settled` gets the type and the id of each resource about which no message is open any more.
    """

    def __init__(
        self, when_settled: Callable[[str, str], None] = lambda _type, _id: None, *, remember: int = _REMEMBERED
    ) -> None:
        self._remember = remember
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}  # by message id, in the order of publication
        self._by_change: dict[str, Entry] = {}  # in the order of the last change
        self._resources: dict[tuple[str, str], Resource] = {}
        self._numbers = 0
        self._changes = 0
        self._when_settled = when_settled
        self.counts: Counter[str] = Counter()
        """published, retried (pushes that failed and are made again), and one count for each final outcome."""

    # What tells it

    def on_message(self, topic: str, message: Message) -> None:
        if topic != TOPIC:
            return
        about = _about(message)
        with self._lock:
            entry = self._entry(message.message_id)
            entry.message, entry.published = message, time.time()
            entry.kind, entry.resource_type, entry.resource_id, entry.version = about
            self.counts["published"] += 1
            resource = self._resources.setdefault((entry.resource_type, entry.resource_id), Resource())
            resource.open += 1
            resource.is_deleted |= entry.kind.endswith("Deleted")
            if entry.version is not None:
                resource.versions.add(entry.version)
            self._touch(entry)

    def on_line(self, line: Line) -> None:
        message_id, attempt = line.get("message_id"), line.get("delivery_attempt")
        if not isinstance(message_id, str) or not isinstance(attempt, int):
            return
        ending, _, reason = str(line["message"]).partition(": ")
        with self._lock:
            entry = self._entries.get(message_id)
            if entry is None:
                return
            entry.sentences[attempt] = str(line["message"])
            self._end(entry, _BY_ENDING.get(ending, FAILED), reason or "unforeseen" * (ending not in _BY_ENDING))
            if ending == "Delivered" and reason:
                self._resources[entry.resource_type, entry.resource_id].tries_again += 1
            self._touch(entry)

    def on_push(self, push: Push) -> None:
        if push.subscription != SUBSCRIPTION:
            return
        now = time.monotonic()
        with self._lock:
            entry = self._entries.get(push.message_id)
            if entry is None:
                return
            entry.attempts.append(Attempt(push.delivery_attempt, push.status, now - push.seconds, now))
            resource = self._resources[entry.resource_type, entry.resource_id]
            resource.tries_again += push.delivery_attempt > 1
            if push.delivery_attempt not in entry.sentences:  # the line may come later, or never
                self._end(entry, _BY_STATUS.get(push.status, FAILED), _without_a_line(push))
            self.counts["retried"] += not push.acknowledged and not push.dead_lettered
            settles = not entry.is_settled and (push.acknowledged or push.dead_lettered)
            if settles:
                entry.is_settled = True
                self.counts[entry.outcome] += 1
                resource.open -= 1
            if push.dead_lettered:
                self._end(entry, GIVEN_UP, entry.reason)
            settles = settles and not resource.open
            self._touch(entry)
        if settles:
            self._when_settled(entry.resource_type, entry.resource_id)

    def _end(self, entry: Entry, outcome: str, reason: str) -> None:
        """Give a message its outcome. One that was delivered stays so when a duplicate of it is ignored."""
        if entry.outcome in (DELIVERED, GIVEN_UP):
            return
        if entry.is_settled:
            self.counts[entry.outcome] -= 1
            self.counts[outcome] += 1
        resource = self._resources[entry.resource_type, entry.resource_id]
        resource.set_aside += (outcome in (REFUSED, GIVEN_UP)) - (entry.outcome in (REFUSED, GIVEN_UP))
        entry.outcome, entry.reason = outcome, reason

    # What is asked of it

    def rows_since(self, change: int, most: int) -> tuple[list[dict[str, Any]], int]:
        """Return the rows that changed after that change, at most the newest so many, oldest first; the last change."""
        rows: list[dict[str, Any]] = []
        with self._lock:
            for entry in reversed(self._by_change.values()):
                if entry.changed <= change or len(rows) == most:
                    break
                rows.append(entry.row)
            return rows[::-1], self._changes

    def entry(self, message_id: str) -> Entry | None:
        with self._lock:
            return self._entries.get(message_id)

    def resource(self, resource_type: str, resource_id: str) -> Resource:
        """Return what is known of a resource at this moment."""
        with self._lock:
            known = self._resources.get((resource_type, resource_id), Resource())
            return replace(known, versions=set(known.versions))

    def tally(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self.counts)

    def _entry(self, message_id: str) -> Entry:
        entry = self._entries.get(message_id)
        if entry is None:
            self._numbers += 1
            entry = self._entries[message_id] = Entry(self._numbers)
            if len(self._entries) > self._remember:
                self._forget_one()
        return entry

    def _forget_one(self) -> None:
        """Forget the oldest message, if it is settled; the end of an open one is still to be counted."""
        oldest = next(iter(self._entries))
        entry = self._entries.pop(oldest)
        if entry.is_settled:
            self._by_change.pop(oldest, None)
        else:
            self._entries[oldest] = entry

    def _touch(self, entry: Entry) -> None:
        self._changes += 1
        entry.changed = self._changes
        self._by_change.pop(entry.message_id, None)
        self._by_change[entry.message_id] = entry


def _about(message: Message) -> tuple[str, str, str, int | None]:
    """Return kind, resource type, resource id and version of a notification; empty for what is none."""
    try:
        document = json.loads(message.data)
    except (ValueError, RecursionError):
        return "unreadable", "", "", None
    if not isinstance(document, dict):
        return "unreadable", "", "", None
    inner = document.get("data") if "specversion" in document else document
    if not isinstance(inner, dict):
        return "unreadable", "", "", None
    resource = inner.get("resource")
    resource = resource if isinstance(resource, dict) else {}
    version = inner.get("resourceVersion", inner.get("version"))
    kind = inner.get("type") or inner.get("notificationType") or "unreadable"
    texts = (str(one)[:_LONGEST_WORD] for one in (kind, resource.get("typeId") or "", resource.get("id") or ""))
    kind_text, type_text, id_text = texts
    return kind_text, type_text, id_text, version if isinstance(version, int) else None


def _without_a_line(push: Push) -> str:
    if push.acknowledged:
        return ""
    return "the service did not answer" if push.status is None else f"the service answered {push.status}"
