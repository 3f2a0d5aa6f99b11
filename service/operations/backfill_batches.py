"""backfill: what a lane is sending, and its delivery to Segment until that has confirmed it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from service.config import Settings
from service.operations import Trouble
from service.operations.backfill_calls import Calls, NotYet, Pace
from service.operations.backfill_kinds import Document, Told
from service.operations.backfill_report import Counts, Forecast, add_to
from service.segment.client import BATCH_BYTES, BATCH_EVENTS, SegmentClient, create_segment_client
from service.segment.regulations import CALLS_A_SECOND, Regulation, Regulations
from service.segment.types import NotDelivered, SegmentError, Suppression, TooLarge
from service.serving.decoding import Malformed

_NOTED_AT_LEAST_EACH = 5_000  # resources, if hardly any of them makes an event
_ALL_REFUSED = 20  # events or user ids refused alone, and none confirmed: the resources are not the cause


@dataclass(slots=True)
class Prepared:
    """What Segment is to be told of one resource, and what is to be counted.

    `events` leave together, in their order. `reason` says why the resource is a reject: it cannot be read, or an event
    cannot be sent. `skipped` says why it has no event, `remark` what an operator should see of one that has. `size` and
    `largest` are in bytes.
    """

    id: str
    version: int
    document: Document
    events: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    suppression: Suppression | None = None
    reason: str = ""
    skipped: str = ""
    remark: str = ""
    unreadable: tuple[str, ...] = ()
    largest: int = 0
    is_too_large: bool = False


class Batch:
    """What a lane is sending: resources up to `after`, of which Segment has not confirmed those in `due`."""

    def __init__(self, after: str, forecast: Forecast | None = None) -> None:
        self.after = after
        self.counts = Counts()
        self.forecast = forecast
        self.due: list[Prepared] = []
        self.events = 0
        self.size = 0
        self.rejects: list[Prepared] = []

    def has_room(self, prepared: Prepared) -> bool:
        """Tell whether all events fit into one call. As many user ids fit into one of the Public API."""
        return (
            self.events + len(prepared.events) <= BATCH_EVENTS
            and self.size + prepared.size <= BATCH_BYTES
            and self.counts.read < _NOTED_AT_LEAST_EACH
        )

    def take(self, prepared: Prepared) -> None:
        """Add a resource, and count it if Segment need not be told of it."""
        self.after = prepared.id
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

    def _count(self, prepared: Prepared) -> None:
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
            add_to(self.counts.remarks, {prepared.remark: 1} if prepared.remark else {})
            for event in prepared.events:
                add_to(self.counts.events, {event.get("event", event["type"]): 1})
        else:
            self.counts.skipped += 1
            add_to(self.counts.reasons, {prepared.skipped: 1})


class Segment:
    """Segment, with its Public API for suppressions: builds events and delivers batches.

    `several` are the resources in words: "customers".
    """

    def __init__(self, settings: Settings, calls: Calls, rate: float | None, several: str) -> None:
        self._calls = calls
        self._several = several
        self._client: SegmentClient = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._suppressing, self._unsuppressing = (
            Regulations(settings.segment_public_api_token or "", settings.segment_public_api_url, regulation)
            for regulation in (Regulation.SUPPRESS, Regulation.UNSUPPRESS)
        )
        self._sending = Pace(rate)
        self._regulating = Pace(min(rate or CALLS_A_SECOND, CALLS_A_SECOND))
        self._refused_alone: dict[str, int] = {}  # by who refused
        self._has_regulated = False  # so a refusal is the user id's own fault
        self.has_sent = False
        """Whether or not Segment has confirmed it."""

    def prepare(self, document: Document, kept: Document, tell: Callable[[Document], Told]) -> Prepared:
        """Build the events of a resource. `kept` is what a reject shows of it."""
        prepared = Prepared(document["id"], version_of(document), kept)
        try:
            said, prepared.reason = tell(document)
        except Malformed as malformed:
            prepared.reason = str(malformed)
            return prepared
        for event in said.events:
            try:
                built, size = self._client.event_for(event)
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
        if said.events:
            prepared.remark = said.reason
        else:
            prepared.skipped = said.reason
        prepared.unreadable = said.unreadable
        return prepared

    def deliver(self, batch: Batch) -> None:
        """Tell Segment until it has confirmed all. Who is refused alone becomes a reject.

        Suppressions are accepted before an event is sent, and last of all those that are wanted: if two resources
        have the same user id, it stays suppressed.
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
                believed=self._client.believes_refusals,
                party="Segment",
                names="SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST",
            )
        batch.count_due()

    def _refused(
        self, due: Sequence[Prepared], tell: Callable[[Sequence[Prepared]], str | None]
    ) -> Iterator[tuple[Prepared, str]]:
        """Tell Segment until all is confirmed, and yield those that it refuses alone, each with the reason.

        `tell` returns None for what is confirmed, or the reason why all of it is refused.
        """
        parts = [due] if due else []
        while parts:
            self.has_sent = True
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
            raise Trouble(f"{party} refuses everything ({reason}), so it is not the {self._several}. Look at {names}.")

    def _post_all(self, part: Sequence[Prepared]) -> str | None:
        """Return None if Segment confirmed the events of these resources, or the reason why it refuses them.

        The events of one resource that are refused together are sent one by one: only one of them may be at fault.
        """
        events = [event for each in part for event in each.events]
        reason = self._post(events)
        if reason is None or len(part) > 1 or len(events) == 1:
            return reason
        reasons = [self._post([event]) for event in events]
        return next((each for each in reasons if each is not None), None)

    def _post(self, events: Sequence[dict[str, Any]]) -> str | None:
        def call() -> str | None:
            return _reason_of(self._client.post(events))

        return self._calls.until_through(call, self._sending, lambda: self._client.is_paused)

    def _regulate(self, part: Sequence[Prepared], *, wanted: bool) -> str | None:
        """Return None if the Public API accepted these suppressions, or their ends; else the reason of its refusal."""
        regulations = self._suppressing if wanted else self._unsuppressing
        user_ids = list(dict.fromkeys(each.suppression.user_id for each in part if each.suppression))

        def call() -> str | None:
            return _reason_of(regulations.post(user_ids))

        reason = self._calls.until_through(call, self._regulating, lambda: regulations.is_paused)
        self._has_regulated = self._has_regulated or reason is None
        return reason


def _reason_of(error: SegmentError | None) -> str | None:
    """Return None for no error, and the reason of a refusal. Raises NotYet for an error that may pass."""
    if error is not None and not error.refused:
        raise NotYet(error.message)
    return error.message if error is not None else None


def version_of(document: Mapping[str, Any]) -> int:
    """Return a resource's version, 0 if it shows none."""
    version = document.get("version")
    return version if isinstance(version, int) else 0
