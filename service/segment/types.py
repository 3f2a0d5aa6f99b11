"""What Segment is told, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, Protocol, TypedDict, TypeGuard


class SegmentIdentifyPayload(TypedDict):
    """An identify call, by the names of the Segment library's arguments.

    `traits` are plain JSON, with keys in Segment's spelling (email, firstName, address); a None clears the trait.
    `timestamp` is aware; `message_id` has at most 100 characters; `user_id` is "" where the customer has none.
    https://www.twilio.com/docs/segment/connections/spec/identify
    """

    user_id: str
    traits: dict[str, Any]
    timestamp: NotRequired[datetime]
    message_id: NotRequired[str]
    context: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SegmentError:
    """Why an event was not confirmed: a status, an exception's name, a reason; never anything of the event itself.

    `refused` means that this event will be refused however often it is sent; any other may go through later.
    """

    message: str
    refused: bool = False


class NotDelivered(Exception):
    """Segment has not confirmed the event. It may be sent again under the same message_id without being doubled."""

    def __init__(self, error: SegmentError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class SegmentIntegrationResult:
    """What came of a send: a success, or an error and no success."""

    error: SegmentError | None = None

    @property
    def success(self) -> bool:
        return self.error is None


class Succeeded(Protocol):
    """A result that is_success let through."""

    @property
    def success(self) -> Literal[True]: ...

    @property
    def error(self) -> None: ...


class Failed(Protocol):
    """A result that is_error let through."""

    @property
    def success(self) -> Literal[False]: ...

    @property
    def error(self) -> SegmentError: ...


def is_success(result: SegmentIntegrationResult) -> TypeGuard[Succeeded]:
    return result.success


def is_error(result: SegmentIntegrationResult) -> TypeGuard[Failed]:
    return not result.success
