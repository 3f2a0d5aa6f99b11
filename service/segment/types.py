"""The events that Segment gets, and the results of sending them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, TypeGuard


class SegmentCommon(TypedDict, total=False):
    """What every call may have besides, by the names of the Segment library's arguments.

    `timestamp` is aware, `message_id` has at most 100 characters.
    https://www.twilio.com/docs/segment/connections/spec/common
    """

    anonymous_id: str
    timestamp: datetime
    message_id: str
    context: dict[str, Any]


class SegmentIdentifyPayload(SegmentCommon):
    """An identify call, by the names of the Segment library's arguments.

    `traits` are plain JSON, with keys in Segment's spelling (email, firstName, address); a None clears the trait.
    `user_id` is "" where the customer has none.
    https://www.twilio.com/docs/segment/connections/spec/identify
    """

    user_id: str
    traits: dict[str, Any]


class SegmentUser(SegmentCommon, total=False):
    """The same for a call that may be about somebody without a user id; such a call has an anonymous id."""

    user_id: str


class SegmentTrackPayload(SegmentUser):
    """A track call, by the names of the Segment library's arguments.

    `properties` are plain JSON, with keys as the event's specification spells them (order_id, products).
    https://www.twilio.com/docs/segment/connections/spec/track
    """

    event: str
    properties: dict[str, Any]


class SegmentGroupPayload(SegmentCommon):
    """A group call, by the names of the Segment library's arguments: this user belongs to this group.

    https://www.twilio.com/docs/segment/connections/spec/group
    """

    user_id: str
    group_id: str
    traits: dict[str, Any]


class SegmentEvent(NamedTuple):
    """One event: the Segment call that makes it, and the arguments of that call."""

    call: Literal["identify", "track", "group"]
    payload: SegmentIdentifyPayload | SegmentTrackPayload | SegmentGroupPayload


class Suppression(NamedTuple):
    """A user id that Segment must suppress, because consent is withdrawn, or must not suppress any more."""

    user_id: str
    wanted: bool


class Events(NamedTuple):
    """The events of a resource, in their order, or the reason why there are none.

    `warn` marks a reason that an operator should see. `unreadable` are the traits that were left out because the
    resource has another kind of value there than the mapping says. `suppression` comes before the events.
    """

    events: tuple[SegmentEvent, ...] = ()
    reason: str = ""
    warn: bool = False
    unreadable: tuple[str, ...] = ()
    suppression: Suppression | None = None


@dataclass(frozen=True, slots=True)
class SegmentError:
    """Why an event was not confirmed: a status, an exception's name or a reason, never content of the event.

    `refused` means that Segment will always refuse this event; after any other error a retry may succeed.
    """

    message: str
    refused: bool = False


class NotDelivered(Exception):
    """Segment has not confirmed the event. It can be sent again with the same message_id without a duplicate."""

    def __init__(self, error: SegmentError) -> None:
        super().__init__(error.message)
        self.error = error


class TooLarge(NotDelivered):
    """The event exceeds Segment's limit. `size` is in bytes."""

    def __init__(self, error: SegmentError, size: int) -> None:
        super().__init__(error)
        self.size = size


@dataclass(frozen=True, slots=True)
class SegmentIntegrationResult:
    """The result of a send: success, or an error."""

    error: SegmentError | None = None

    @property
    def success(self) -> bool:
        return self.error is None


class Succeeded(Protocol):
    """A result for which is_success is true."""

    @property
    def success(self) -> Literal[True]: ...

    @property
    def error(self) -> None: ...


class Failed(Protocol):
    """A result for which is_error is true."""

    @property
    def success(self) -> Literal[False]: ...

    @property
    def error(self) -> SegmentError: ...


def is_success(result: SegmentIntegrationResult) -> TypeGuard[Succeeded]:
    return result.success


def is_error(result: SegmentIntegrationResult) -> TypeGuard[Failed]:
    return not result.success
