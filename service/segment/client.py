"""Segment's client: identify returns when Segment has confirmed the event, and raises in every other case.

The library builds each event and posts them; what is added here is the outcome. Its own modes confirm nothing: see "Why
group commit" in docs/decisions.md.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import requests

from service.delivery.group_commit import BatchRefused, CallFailed, GroupCommit, NeverSent
from service.segment import library
from service.segment.types import NotDelivered, SegmentError
from service.serving.upstream import CALL_SECONDS, NotCalled, Pause

US_HOST = "https://api.segment.io"

# https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api/#max-request-size
_MAX_EVENTS = 2500
_MAX_BATCH_BYTES = 475_000
_BATCH_ENVELOPE_BYTES = 2000  # brackets, sentAt and the write key around the events

BATCH_EVENTS = _MAX_EVENTS
"""Events that `post` may be given at once."""
BATCH_BYTES = _MAX_BATCH_BYTES - _BATCH_ENVELOPE_BYTES
"""What the sizes of these events may add up to, as `event_for` tells them."""

_MAX_MESSAGE_ID = 100

_SLOTS = 2  # one fills while the other is away; measured: docs/decisions.md
_PATIENCE_SECONDS = 15.0  # how long an event may wait for a call to begin, where no deadline is given

_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})

log = logging.getLogger(__name__)

_to_json = json.JSONEncoder(allow_nan=False).encode


class SegmentClient:
    """Delivers events, many callers to a call. Threads and greenlets may share it; it holds no thread of its own."""

    def __init__(
        self,
        write_key: str,
        host: str = US_HOST,
        *,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not write_key.strip():
            raise ValueError("the write key is empty")
        self._write_key = write_key.strip()
        self._host = host
        self._call_seconds = call_seconds
        self._clock = clock
        self._builder = library.Builder(self._write_key)
        self._pause = Pause("Segment", clock)
        self._events: GroupCommit[dict[str, Any], SegmentError | None] = GroupCommit(
            self._post,
            max_items=_MAX_EVENTS,
            max_size=_MAX_BATCH_BYTES - _BATCH_ENVELOPE_BYTES,
            slots=_SLOTS,
            call_seconds=call_seconds,
            clock=clock,
        )

    def identify(
        self,
        user_id: str,
        traits: dict[str, Any],
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        """Deliver one identify; return when Segment has confirmed it, or raise NotDelivered."""
        deadline = self._clock() + _PATIENCE_SECONDS + self._call_seconds
        self.by(deadline).identify(user_id, traits, timestamp, message_id, context)

    def by(self, deadline: float) -> "SegmentClientWithDeadline":
        """Return this client for a caller who needs the outcome by `deadline`, a time of time.monotonic()."""
        return SegmentClientWithDeadline(self, deadline)

    def flush(self) -> None:
        """Do nothing: what identify returned from is confirmed, and nothing else is under way."""

    def close_and_flush(self) -> None:
        """Close the connections. A later identify opens them again."""
        library.close()

    def deliver(self, event: dict[str, Any], size: int, deadline: float) -> None:
        """Send an event that `event_for` made, `size` bytes of it, or raise NotDelivered."""
        try:
            error = self._events.submit(event, size=size, deadline=deadline)
        except (NeverSent, CallFailed) as unsettled:
            raise NotDelivered(SegmentError(str(unsettled))) from None
        if error is not None:
            raise NotDelivered(error)

    @property
    def is_paused(self) -> bool:
        """Whether Segment asked to be left alone for now, so that no call would be made."""
        try:
            self._pause.check()
        except NotCalled:
            return True
        return False

    def post(self, events: Sequence[dict[str, Any]]) -> SegmentError | None:
        """Send these events, which `event_for` made, in one call of their own; return None when Segment confirms them.

        Beyond BATCH_EVENTS or BATCH_BYTES they will not do as a batch. Of a batch that is `refused` nothing is taken,
        whichever of its events was at fault. Never raises for what Segment or the network did.
        """
        return self._outcome_of(events)

    def event_for(
        self,
        user_id: str,
        traits: dict[str, Any],
        timestamp: datetime | None,
        message_id: str | None,
        context: dict[str, Any] | None,
    ) -> tuple[dict[str, Any], int]:
        """Return the event as the library builds it, and its size in bytes; raise NotDelivered if it can't be sent."""
        if not user_id.strip():
            raise NotDelivered(SegmentError("the event has no user id", refused=True))
        if message_id is not None and not 0 < len(message_id) <= _MAX_MESSAGE_ID:
            raise NotDelivered(SegmentError("the messageId has not 1 to 100 characters", refused=True))
        try:
            _, event = self._builder.identify(user_id, traits, context, timestamp, message_id=message_id)
            size = len(_to_json(event))  # NaN, which the library would write and no parser takes, ends here
        except (AssertionError, TypeError, ValueError, RecursionError) as error:
            reason = f"the event cannot be built: {type(error).__name__}"
            raise NotDelivered(SegmentError(reason, refused=True)) from None
        if event["traits"] != traits or not event["context"].items() >= (context or {}).items():
            # Without a word, the library puts its own in place of what will not do: no traits, its name for another's.
            raise NotDelivered(SegmentError("the event is not plain JSON", refused=True))
        if size > library.MAX_MSG_SIZE:
            raise NotDelivered(SegmentError("the event is larger than Segment's 32 KiB", refused=True))
        return event, size + len(", ")

    def _post(self, events: Sequence[dict[str, Any]]) -> list[SegmentError | None]:
        outcome = self._outcome_of(events)
        if outcome is not None and outcome.refused:
            raise BatchRefused(outcome)
        if outcome is None:
            log.info("Told Segment", extra={"events": len(events)})
        return [outcome] * len(events)

    def _outcome_of(self, events: Sequence[dict[str, Any]]) -> SegmentError | None:
        try:
            self._pause.check()
            response = library.post(self._write_key, self._host, events, seconds=self._call_seconds)
        except NotCalled as not_called:
            return SegmentError(str(not_called))
        except library.APIError as error:
            self._pause.heed(error.response)
            return SegmentError(f"Segment answered {error.status}", refused=error.status in _REFUSALS)
        except requests.RequestException as error:
            return SegmentError(f"Segment was not reached: {type(error).__name__}")
        if not _says_success(response):
            return SegmentError(f"what answered {response.status_code} is not Segment")
        return None


@dataclass(frozen=True, slots=True)
class SegmentClientWithDeadline:
    """A SegmentClient whose identify ends by a deadline."""

    client: SegmentClient
    deadline: float

    def identify(
        self,
        user_id: str,
        traits: dict[str, Any],
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        """Deliver one identify; return when Segment has confirmed it, or raise NotDelivered."""
        event, size = self.client.event_for(user_id, traits, timestamp, message_id, context)
        self.client.deliver(event, size, self.deadline)

    def flush(self) -> None:
        """Do nothing, as SegmentClient.flush."""


def _says_success(response: requests.Response) -> bool:
    """Segment confirms with 200 {"success": true}; a proxy or a captive portal answers 200 too, but not so."""
    if response.status_code != HTTPStatus.OK:
        return False
    try:
        document = response.json()
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("success") is True


def create_segment_client(write_key: str, host: str = US_HOST) -> SegmentClient:
    """Return a client for the source with this write key, at the host of its region."""
    return SegmentClient(write_key, host)
