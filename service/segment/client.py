"""Segment's client: identify, track and group return when Segment has confirmed the event, else they raise.

The library builds the events and posts them; this module adds the outcome of each. The library's own modes confirm
nothing: see "Why group commit" in docs/decisions.md.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from itertools import chain
from typing import Any, Unpack

import requests

from service.delivery.group_commit import BatchRefused, CallFailed, GroupCommit, NeverSent
from service.segment import library
from service.segment.types import (
    NotDelivered,
    SegmentCommon,
    SegmentError,
    SegmentEvent,
    SegmentIntegrationResult,
    SegmentUser,
    TooLarge,
)
from service.serving.causes import why
from service.serving.upstream import CALL_SECONDS, NotCalled, Pause

US_HOST = "https://api.segment.io"

# https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api/#max-request-size
_MAX_EVENTS = 2500
_MAX_BATCH_BYTES = 475_000
_BATCH_ENVELOPE_BYTES = 2000  # brackets, sentAt and the write key around the events

BATCH_EVENTS = _MAX_EVENTS
"""Events that `post` may be given at once."""
BATCH_BYTES = _MAX_BATCH_BYTES - _BATCH_ENVELOPE_BYTES
"""The largest sum of the sizes of these events, as `event_for` returns them."""

_MAX_MESSAGE_ID = 100

_SLOTS = 2  # one batch fills while the other is in flight; measured: docs/decisions.md
_PATIENCE_SECONDS = 15.0  # how long an event may wait for a call to start, where no deadline is given

_BELIEVED_SECONDS = 600.0
_BELIEVED_IN_A_ROW = 20
_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})

log = logging.getLogger(__name__)

_Together = tuple[dict[str, Any], ...]
"""The events of one message, as the library builds them: they leave in one call. No batch has more than _MAX_EVENTS,
since so many do not fit into _MAX_BATCH_BYTES."""

_to_json = json.JSONEncoder(allow_nan=False).encode


class _Calls:
    """Segment's calls, by the names of the library's arguments.

    Each returns when Segment has confirmed its event, and raises NotDelivered in every other case.
    """

    def __init__(self, deliver: Callable[[SegmentEvent], None]) -> None:
        self._deliver = deliver

    def identify(self, user_id: str, traits: dict[str, Any], **common: Unpack[SegmentCommon]) -> None:
        """Deliver one identify: https://www.twilio.com/docs/segment/connections/spec/identify."""
        self._deliver(SegmentEvent("identify", {"user_id": user_id, "traits": traits, **common}))

    def track(self, event: str, properties: dict[str, Any], **common: Unpack[SegmentUser]) -> None:
        """Deliver one track: https://www.twilio.com/docs/segment/connections/spec/track."""
        self._deliver(SegmentEvent("track", {"event": event, "properties": properties, **common}))

    def group(self, user_id: str, group_id: str, traits: dict[str, Any], **common: Unpack[SegmentCommon]) -> None:
        """Deliver one group: https://www.twilio.com/docs/segment/connections/spec/group."""
        self._deliver(SegmentEvent("group", {"user_id": user_id, "group_id": group_id, "traits": traits, **common}))

    def flush(self) -> None:
        """Do nothing: what a call returned from is confirmed, and nothing else is in flight."""


class SegmentClient(_Calls):
    """Delivers events, many callers to a call. Threads and greenlets may share it; it holds no thread of its own."""

    def __init__(
        self,
        write_key: str,
        host: str = US_HOST,
        *,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lambda event: self.deliver(event, clock() + _PATIENCE_SECONDS + call_seconds))
        if not write_key.strip():
            raise ValueError("the write key is empty")
        self._write_key = write_key.strip()
        self._host = host
        self._call_seconds = call_seconds
        self._clock = clock
        builder = library.Builder(self._write_key)
        self._build = {"identify": builder.identify, "track": builder.track, "group": builder.group}
        self._pause = Pause("Segment", clock)
        self._confirmed_at = float("-inf")
        self._refused_in_a_row = 0  # events that were refused alone, since the last confirmation
        self._events: GroupCommit[_Together, SegmentError | None] = GroupCommit(
            self._post,
            max_items=_MAX_EVENTS,
            max_size=_MAX_BATCH_BYTES - _BATCH_ENVELOPE_BYTES,
            slots=_SLOTS,
            call_seconds=call_seconds,
            clock=clock,
        )

    def close_and_flush(self) -> None:
        """Close the connections. A later call opens them again."""
        library.close()

    def send(self, events: Sequence[SegmentEvent], deadline: float) -> SegmentIntegrationResult:
        """Deliver the events of one message in their order, in one call; a success means that all are confirmed.

        An event that cannot be sent or that Segment refuses keeps no other from being delivered. The error is that of
        an event that failed, if there is one, else that of an event that was refused. A refusal by Segment counts as a
        failure while Segment confirms nothing.
        """
        built, errors, answered = [], [], []
        for event in events:
            try:
                built.append(self.event_for(event))
            except NotDelivered as not_delivered:
                errors.append(not_delivered.error)
        error = self._submit(built, deadline) if built else None
        if error is not None and error.refused and len(built) > 1:
            answered = [alone for alone in (self._submit([one], deadline) for one in built) if alone is not None]
        elif error is not None:
            answered = [error]
        errors += answered if self.believes_refusals else map(_as_failure, answered)
        return SegmentIntegrationResult(min(errors, key=lambda each: each.refused, default=None))

    def deliver(self, event: SegmentEvent, deadline: float) -> None:
        """Deliver one event by `deadline`, a time of the clock, or raise NotDelivered."""
        error = self._submit([self.event_for(event)], deadline)
        if error is not None:
            raise NotDelivered(error)

    def _submit(self, built: Sequence[tuple[dict[str, Any], int]], deadline: float) -> SegmentError | None:
        together = tuple(event for event, _ in built)
        try:
            return self._events.submit(together, size=sum(size for _, size in built), deadline=deadline)
        except (NeverSent, CallFailed) as unsettled:
            return SegmentError(str(unsettled))

    @property
    def believes_refusals(self) -> bool:
        """Whether a refusal is the event's own fault.

        It is if Segment has confirmed another event in the last ten minutes, and refused at most twenty since. Else it
        may be the write key, the host or a proxy, and every event would be refused.
        """
        recent = self._clock() - self._confirmed_at < _BELIEVED_SECONDS
        return recent and self._refused_in_a_row <= _BELIEVED_IN_A_ROW

    @property
    def is_paused(self) -> bool:
        """Whether Segment asked for a pause that is not over, so that no call would be made."""
        try:
            self._pause.check()
        except NotCalled:
            return True
        return False

    def post(self, events: Sequence[dict[str, Any]]) -> SegmentError | None:
        """Send these events, which `event_for` made, in one call of their own; return None when Segment confirms them.

        The batch must not exceed BATCH_EVENTS or BATCH_BYTES. If the error is `refused`, Segment has accepted none of
        the events, whichever of them was bad. Never raises for what Segment or the network did.
        """
        return self._outcome_of(events)

    def event_for(self, event: SegmentEvent) -> tuple[dict[str, Any], int]:
        """Return the event as the library builds it, and its size in bytes; raise NotDelivered if it can't be sent."""
        call, payload = event
        if not (payload.get("user_id") or payload.get("anonymous_id") or "").strip():
            raise NotDelivered(SegmentError("the event has no user id", refused=True))
        message_id = payload.get("message_id")
        if message_id is not None and not 0 < len(message_id) <= _MAX_MESSAGE_ID:
            raise NotDelivered(SegmentError("the messageId has not 1 to 100 characters", refused=True))
        try:
            _, built = self._build[call](**payload)
            # A NaN raises ValueError: the library would write it, and no parser accepts it.
            size = len(_to_json(built))
        except (AssertionError, TypeError, ValueError, RecursionError) as error:
            reason = f"the event cannot be built: {type(error).__name__}"
            raise NotDelivered(SegmentError(reason, refused=True)) from None
        said = "properties" if call == "track" else "traits"
        if built[said] != payload.get(said) or not built["context"].items() >= (payload.get("context") or {}).items():
            # The library silently replaces invalid traits, and the context's library by its own name.
            raise NotDelivered(SegmentError("the event is not plain JSON", refused=True))
        if size > library.MAX_MSG_SIZE:
            raise TooLarge(SegmentError("the event is larger than Segment's 32 KiB", refused=True), size)
        return built, size + len(", ")

    def _post(self, messages: Sequence[_Together]) -> list[SegmentError | None]:
        events = list(chain.from_iterable(messages))
        outcome = self._outcome_of(events)
        if outcome is not None and outcome.refused:
            raise BatchRefused(outcome)
        if outcome is None:
            log.info("Sent to Segment", extra={"events": len(events)})
        return [outcome] * len(messages)

    def _outcome_of(self, events: Sequence[dict[str, Any]]) -> SegmentError | None:
        try:
            self._pause.check()
            response = library.post(self._write_key, self._host, events, seconds=self._call_seconds)
        except NotCalled as not_called:
            return SegmentError(str(not_called))
        except library.APIError as error:
            self._pause.heed(error.response)
            refused = error.status in _REFUSALS
            self._refused_in_a_row += refused and len(events) == 1
            return SegmentError(f"Segment answered {error.status}", refused=refused)
        except requests.RequestException as error:
            return SegmentError(f"Segment was not reached: {why(error)}")
        if not _says_success(response):
            return SegmentError(f"what answered {response.status_code} is not Segment")
        self._confirmed_at, self._refused_in_a_row = self._clock(), 0
        return None


def _as_failure(error: SegmentError) -> SegmentError:
    return SegmentError(f"{error.message}, and confirms nothing") if error.refused else error


def _says_success(response: requests.Response) -> bool:
    """Segment confirms with 200 {"success": true}; a proxy or a captive portal answers 200 too, but not so."""
    if response.status_code != HTTPStatus.OK:
        return False
    try:
        document = response.json()
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("success") is True


@cache
def _measure() -> SegmentClient:
    return SegmentClient("a-key-that-is-in-no-event")


def fits(event: SegmentEvent) -> bool:
    """Tell whether an event is not too large for Segment."""
    try:
        _measure().event_for(event)
    except TooLarge:
        return False
    except NotDelivered:
        return True  # whatever else is wrong with it, less of it would not help
    return True


def create_segment_client(write_key: str, host: str = US_HOST) -> SegmentClient:
    """Return a client for the source with this write key, at the host of its region."""
    return SegmentClient(write_key, host)
