"""Segment on this machine: the Tracking API that takes events, and the Public API that forgets people.

A strict judge of what is sent: it refuses, drops and counts what the real one is documented to refuse, drop or block.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
https://docs.segmentapis.com/tag/Deletion-and-Suppression
"""

import argparse
import base64
import binascii
import itertools
import json
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from playground.stand_in import JSON, Answer, Call, StandIn, json_answer, run_until_told

Event = dict[str, Any]
Traits = dict[str, Any]


class _Refused(Exception):
    """The Tracking API answers 400 and says why."""


MAX_EVENT_BYTES = 32_768  # 32 KB; counted as the Segment library counts, in the spacing of json.dumps
MAX_BATCH_BYTES = 500_000
MAX_BATCH_EVENTS = 2_500
MAX_MESSAGE_ID = 100
MAX_TRAITS = 300
TYPES = frozenset({"identify", "group", "track", "page", "screen", "alias"})
DUPLICATE = "duplicate"
_SHORTEST_KEY = 4  # "very short" keys get 400, every other one 200; how short is not documented


class SegmentStandIn(StandIn):
    """`POST /v1/batch` and `/v1/identify`; `GET /events`, which Segment has not, shows the `events`.

    Refused as a whole (400, nothing of it taken): an empty or very short write key, one that contradicts the Basic
    auth, what is no JSON (NaN and Infinity included), a batch or an event too large, an event without a known type.
    Answered 200 and dropped, counted in `dropped` by its reason: `unknown_key`, `over_2500`, `no_id`,
    `long_message_id`, `too_many_traits`, `suppressed`. A messageId seen before is dropped and counted in `duplicates`.
    """

    def __init__(
        self,
        write_key: str = "stand-in-write-key",
        *,
        port: int = 0,
        latency: float = 0,
        remember: int | None = None,
    ) -> None:
        super().__init__(port=port, latency=latency, remember=remember)
        self.write_key = write_key
        self.duplicates = 0
        self.dropped: Counter[str] = Counter()
        self.message_ids: Counter[str] = Counter()  # how often each was sent
        self.accepted = 0
        self.on_event: Callable[[Event, str], None] | None = None
        """Is told of each event in the order of arrival, and why it was dropped: a reason of `dropped`, `duplicate`."""
        self.on_delete: Callable[[Collection[str]], None] | None = None
        """Is told of the user ids whose profiles were deleted."""
        self._received: deque[Event] = deque(maxlen=remember)
        self._events: deque[tuple[int, datetime, Event]] = deque(maxlen=remember)  # with the arrival's number and time
        self._suppressed: set[str] = set()
        self._deleted: dict[str, int] = {}  # user id -> events accepted before the deletion
        self._profiles: dict[bool, Mapping[str, Traits]] = {}  # folded anew after each change

    # What a test asks

    @property
    def received(self) -> list[Event]:
        """Every event of every request that was answered 200, the dropped ones too."""
        with self._changed:
            return list(self._received)

    @property
    def events(self) -> list[Event]:
        """The accepted events, after deduplication, in the order of their arrival."""
        with self._changed:
            return [event for _, _, event in self._events]

    @property
    def suppressed(self) -> frozenset[str]:
        """The user ids that are blocked."""
        with self._changed:
            return frozenset(self._suppressed)

    @property
    def profiles(self) -> Mapping[str, Traits]:
        """Traits by user id, identifies merged in the order of arrival.

        A null removes the trait, an object replaces the former one whole. What Segment does with order is not
        promised by anyone; `profiles_by_timestamp` is the other possibility.
        """
        return self._folded(by_timestamp=False)

    @property
    def profiles_by_timestamp(self) -> Mapping[str, Traits]:
        """The same with identifies merged in the order of their time, as Segment works it out.

        It is the arrival, minus the time from the event's `timestamp` to the request's `sentAt`; and the arrival itself
        of an event without a timestamp. https://www.twilio.com/docs/segment/connections/spec/common#timestamps
        """
        return self._folded(by_timestamp=True)

    def wait_for_events(self, n: int, timeout: float) -> bool:
        """Whether `n` events in all have been accepted within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.accepted >= n, timeout)

    def forget(self) -> None:
        """As if nothing had ever come; suppressed user ids stay suppressed."""
        with self._changed:
            super().forget()
            self.duplicates = self.accepted = 0
            for records in (self.dropped, self.message_ids, self._received, self._events, self._deleted):
                records.clear()
            self._profiles.clear()

    # What the Public API does to it

    def suppress(self, user_ids: Iterable[str]) -> None:
        with self._changed:
            self._suppressed.update(user_ids)

    def unsuppress(self, user_ids: Iterable[str]) -> None:
        with self._changed:
            self._suppressed.difference_update(user_ids)

    def delete(self, user_ids: Iterable[str]) -> None:
        """Remove the profiles; a later identify makes a new one, unless the user id is suppressed as well."""
        deleted = frozenset(user_ids)
        with self._changed:
            self._deleted.update(dict.fromkeys(deleted, self.accepted))
            self._profiles.clear()
            if self.on_delete is not None:
                self.on_delete(deleted)

    # Taking events

    def respond(self, call: Call) -> Answer:
        if (call.method, call.path) == ("GET", "/events"):
            return json_answer(200, self.events)
        if call.method != "POST" or call.path not in ("/v1/batch", "/v1/identify"):
            return self.refusal(404, None)
        try:
            content = call.content()
            document = json.loads(content, parse_constant=_no_constant)
            key = _write_key(call, document)
            events = _events_in(document, content, batch=call.path == "/v1/batch")
        except _Refused as problem:
            return _invalid(str(problem))
        except (ValueError, RecursionError, OSError, EOFError, zlib.error):  # no UTF-8, no JSON, no gzip
            return _invalid("malformed JSON")
        if key != self.write_key and len(key) < _SHORTEST_KEY:
            return _invalid("invalid write key")
        sent_at = document.get("sentAt")
        with self._changed:
            arrival = datetime.now(UTC)
            for place, event in enumerate(events):
                moment = _corrected(event.get("timestamp"), sent_at, arrival)
                self._take(event, moment, known=key == self.write_key, in_excess=place >= MAX_BATCH_EVENTS)
            self._profiles.clear()
            self._changed.notify_all()
        return json_answer(200, {"success": True})

    def refusal(self, status: int, retry_after: int | str | None) -> Answer:
        """Segment's error; on the Tracking API X-RateLimit-Reset is a number of seconds, as Retry-After is."""
        headers = {} if retry_after is None else {"X-RateLimit-Reset": str(retry_after)}
        return json_answer(status, {"success": False, "code": str(status), "message": "refused"}, headers)

    def _take(self, event: Event, moment: datetime, *, known: bool, in_excess: bool) -> None:
        self._received.append(event)
        message_id = _id(event, "messageId")
        if message_id:
            self.message_ids[message_id] += 1
        reason = (
            "unknown_key" * (not known)
            or "over_2500" * in_excess
            or "no_id" * (not _id(event, "userId") and not _id(event, "anonymousId"))
            or "long_message_id" * (len(message_id) > MAX_MESSAGE_ID)
            or "too_many_traits" * (event["type"] == "identify" and len(event.get("traits") or ()) >= MAX_TRAITS)
        )
        if not reason and message_id and self.message_ids[message_id] > 1:
            reason = DUPLICATE
        elif not reason and _id(event, "userId") in self._suppressed:
            reason = "suppressed"
        if reason == DUPLICATE:
            self.duplicates += 1
        elif reason:
            self.dropped[reason] += 1
        else:
            self._events.append((self.accepted, moment, event))
            self.accepted += 1
        if self.on_event is not None:
            self.on_event(event, reason)

    def _folded(self, *, by_timestamp: bool) -> Mapping[str, Traits]:
        with self._changed:
            if by_timestamp not in self._profiles:
                identifies = [
                    (moment, event)
                    for number, moment, event in self._events
                    if event["type"] == "identify"
                    and _id(event, "userId")
                    and number >= self._deleted.get(event["userId"], 0)
                ]
                if by_timestamp:
                    identifies.sort(key=lambda each: each[0])
                self._profiles[by_timestamp] = _merged(event for _, event in identifies)
            return self._profiles[by_timestamp]


def _write_key(call: Call, document: object) -> str:
    """The key of Basic auth (`key:` in base64, the colon is required), else of the body; _Refused if they differ."""
    in_body = document.get("writeKey") if isinstance(document, dict) else None
    scheme, _, credentials = call.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return in_body if isinstance(in_body, str) else ""
    try:
        in_header, colon, _ = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _Refused("malformed authorization") from None
    if not colon:
        raise _Refused("malformed authorization: no colon")
    if in_body is not None and in_body != in_header:
        raise _Refused("the write key in the body is not the one in the header")
    return in_header


def _events_in(document: object, content: bytes, *, batch: bool) -> list[Event]:
    """The events of a request, each with its type; _Refused for what the real one refuses as a whole."""
    if not isinstance(document, dict):
        raise _Refused("malformed JSON: not an object")
    if len(content) > MAX_BATCH_BYTES:
        raise _Refused("batch exceeds 500KB")
    events = document.get("batch") if batch else [{**document, "type": "identify"}]
    if not isinstance(events, list):
        raise _Refused("batch must be an array")
    for event in events:
        if not isinstance(event, dict) or str(event.get("type")) not in TYPES:
            raise _Refused("every event needs a type")
        if not isinstance(event.get("traits") or {}, dict):
            raise _Refused("traits must be an object")
        if len(content) > MAX_EVENT_BYTES and _size(event, escaped=content.isascii()) > MAX_EVENT_BYTES:
            raise _Refused("event exceeds 32KB")
    return events


def _id(event: Event, name: str) -> str:
    """An id of the event; empty if there is none, or none that is text."""
    found = event.get(name)
    return found if isinstance(found, str) else ""


def _size(event: Event, *, escaped: bool) -> int:
    return len(json.dumps(event, ensure_ascii=escaped).encode(errors="surrogatepass"))


def _no_constant(name: str) -> object:
    raise _Refused(f"malformed JSON: {name}")


def _invalid(message: str) -> Answer:
    return json_answer(400, {"success": False, "code": "invalid_request", "message": message})


def _corrected(timestamp: object, sent_at: object, arrival: datetime) -> datetime:
    """Return an event's time by Segment's clock: arrival - (sentAt - timestamp)."""
    moment, sent = _moment(timestamp), _moment(sent_at)
    if moment is None:
        return arrival
    return moment if sent is None else arrival - (sent - moment)


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _merged(identifies: Iterable[Event]) -> Mapping[str, Traits]:
    profiles: dict[str, Traits] = {}
    for event in identifies:
        profile = profiles.setdefault(event["userId"], {})
        for name, value in (event.get("traits") or {}).items():
            if value is None:
                profile.pop(name, None)
            else:
                profile[name] = value
    return profiles


MAX_SUBJECTS = 5_000
SUBJECT_TYPES = frozenset({"USER_ID", "OBJECT_ID"})
SUPPRESSING = frozenset({"SUPPRESS_ONLY", "SUPPRESS_WITH_DELETE", "SUPPRESS_WITH_DELETE_INTERNAL"})
DELETING = frozenset({"DELETE_INTERNAL", "DELETE_ONLY", "SUPPRESS_WITH_DELETE", "SUPPRESS_WITH_DELETE_INTERNAL"})
REGULATION_TYPES = SUPPRESSING | DELETING | {"UNSUPPRESS"}
_CONTENT_TYPES = ("application/json", "application/vnd.segment.v1+json")


class SegmentPublicApiStandIn(StandIn):
    """`POST /regulations` and `GET /regulations/{id}`; what is regulated is so in `segment` at once.

    `regulations` holds one document for each POST that was answered 200: `id`, `regulationType`, `subjectType`,
    `subjectIds`, `overallStatus`. 401 without a Bearer token, 403 with a wrong one.
    """

    def __init__(
        self,
        token: str = "stand-in-public-api-token",  # noqa: S107  # opens nothing
        segment: SegmentStandIn | None = None,
        *,
        port: int = 0,
        latency: float = 0,
    ) -> None:
        super().__init__(port=port, latency=latency)
        self.token = token
        self._segment = segment
        self._numbers = itertools.count(1)
        self._regulations: dict[str, dict[str, Any]] = {}

    @property
    def regulations(self) -> list[dict[str, Any]]:
        with self._changed:
            return list(self._regulations.values())

    def forget(self) -> None:
        with self._changed:
            super().forget()
            self._regulations.clear()

    def respond(self, call: Call) -> Answer:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return _public_api_error(401, "unauthorized", "a bearer token is required")
        if token != self.token:
            return _public_api_error(403, "forbidden", "the token is not allowed to do this")
        if (call.method, call.path) == ("POST", "/regulations"):
            return self._regulate(call)
        with self._changed:
            regulation = self._regulations.get(call.path.removeprefix("/regulations/"))
        if call.method == "GET" and regulation:
            return json_answer(200, {"data": {"regulation": regulation}})
        return _public_api_error(404, "not-found", "there is no such resource")

    def refusal(self, status: int, retry_after: int | str | None) -> Answer:
        """The Public API's error; its X-RateLimit-Reset is a date (RFC 5322), its Retry-After seconds."""
        seconds = retry_after if isinstance(retry_after, int) else 0
        headers = {"X-RateLimit-Reset": formatdate(time.time() + seconds, usegmt=True)} if retry_after else {}
        return _public_api_error(status, "error", "refused", headers)

    def _regulate(self, call: Call) -> Answer:
        if call.headers.get("Content-Type", "").partition(";")[0].strip() not in _CONTENT_TYPES:
            return _public_api_error(415, "unsupported-media-type", "application/json is expected")
        try:
            document = call.json()
            kind, subject, ids = (document[name] for name in ("regulationType", "subjectType", "subjectIds"))
            valid = (
                kind in REGULATION_TYPES
                and subject in SUBJECT_TYPES
                and isinstance(ids, list)
                and 1 <= len(ids) <= MAX_SUBJECTS
                and all(isinstance(one, str) and one for one in ids)
            )
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            return _public_api_error(400, "bad-request", "not a valid regulation")
        with self._changed:
            number = f"stand-in-regulation-{next(self._numbers)}"
            self._regulations[number] = {
                "id": number,
                "regulationType": kind,
                "subjectType": subject,
                "subjectIds": ids,
                "overallStatus": "FINISHED",
            }
        if self._segment and subject == "USER_ID":
            if kind in SUPPRESSING:
                self._segment.suppress(ids)
            if kind in DELETING:
                self._segment.delete(ids)
            if kind == "UNSUPPRESS":
                self._segment.unsuppress(ids)
        return json_answer(200, {"data": {"regulateId": number}})


def _public_api_error(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return json_answer(status, {"errors": [{"type": kind, "message": message}]}, {**JSON, **(headers or {})})


def main() -> None:
    """Serve the Tracking API until SIGTERM or Ctrl-C. It keeps only the newest events, so that it can run for days."""
    options = argparse.ArgumentParser(prog="python -m playground.segment", description=main.__doc__)
    options.add_argument("--port", type=int, default=0, help="0: any free one")
    options.add_argument("--latency", type=float, default=0, help="seconds before each answer")
    options.add_argument("--write-key", default="stand-in-write-key")
    chosen = options.parse_args()
    segment = SegmentStandIn(chosen.write_key, port=chosen.port, latency=chosen.latency, remember=1_000)
    run_until_told(
        segment,
        lambda: {"accepted": segment.accepted, "duplicates": segment.duplicates, "dropped": segment.dropped},
    )


if __name__ == "__main__":
    main()
