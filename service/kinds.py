"""What a kind of resource is: how it is read, and which events follow. The rows are in service/integration.py.

A kind is of states or of facts: docs/decisions.md, "States and facts".
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol

from service.commercetools.customer import CUSTOMER, Customer
from service.commercetools.notification import Notification
from service.commercetools.resource import AnyResource, CannotRead, ResourceType
from service.config import Erasure, UserIdField
from service.delivery.deliveries import ERASED, GONE, Attempt
from service.outcome import Ending, Outcome
from service.segment.types import Events, SegmentError, SegmentEvent, SegmentIntegrationResult, Suppression
from service.transformation import IdentifyRules, customer_events, user_id_of_deleted
from service.transformation.facts import Due
from service.transformation.mapping import CHANGES

Erase = Callable[[str, float], SegmentIntegrationResult]
"""Erases a user id in Segment, and returns by a deadline, a time of time.monotonic()."""

Suppress = Callable[[Suppression, float], SegmentIntegrationResult]
"""Suppresses a user id in Segment, or ends that, and returns by a deadline, a time of time.monotonic()."""

Send = Callable[[Sequence[SegmentEvent], float], SegmentIntegrationResult]
"""Sends the events of one message together, in their order, and returns by a deadline, a time of time.monotonic()."""

Now = Callable[[Notification, float], AnyResource | None]
"""Returns the resource that a notification is about, or None if it does not exist any more.

Raises CannotRead if it cannot be read by the deadline, and Malformed if it cannot be parsed.
"""


class Reads(NamedTuple, Generic[AnyResource]):
    """How resources of a type are read: `now` by calls that many share, `by_id` as each is at that very moment.

    `has_other` tells whether another resource than this one has one of some values in a field: it gets the field, the
    values, the id and a deadline. `oldest` returns the ids of the two oldest resources that fulfil a predicate, by a
    deadline. Without an API client there is none of them, so no second look at a resource whose event was confirmed
    late, and none before an erasure.
    """

    now: Now[AnyResource]
    by_id: Now[AnyResource] | None = None
    has_other: Callable[[str, Sequence[str], str, float], bool] | None = None
    oldest: Callable[[str, float], Sequence[str]] | None = None


class Read(Protocol):
    """Chooses how resources of a type are read."""

    def __call__(self, of: ResourceType[AnyResource], /) -> Reads[AnyResource]: ...


def included(of: ResourceType[AnyResource]) -> Reads[AnyResource]:
    """Take the resource from the notification, for a service without an API client."""

    def now(notification: Notification, _deadline: float) -> AnyResource | None:
        if notification.included is None:
            raise CannotRead(f"the notification brings no {of.name}, and {_MISSING}")
        return of.parse(notification.included)

    return Reads(now)


def without_an_api_client(of: ResourceType[AnyResource]) -> Reads[AnyResource]:
    """Take a customer from the notification. Nothing else can be: an order there lacks its coupons, and may be old."""

    def now(_notification: Notification, _deadline: float) -> AnyResource | None:
        raise CannotRead(f"the {of.name} must be read, and {_MISSING}")

    return included(of) if of.type_id == CUSTOMER.type_id else Reads(now)


_MISSING = (
    "the settings to read one are missing: "
    "CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL, CTP_SCOPES"
)


class Deletion(Protocol):
    """What the deletion of a resource means."""

    def version(self, notification: Notification) -> float:
        """Return the version that stands for this deletion: GONE or ERASED."""

    def attempt(self, notification: Notification, deadline: float) -> Attempt[Outcome]:
        """Do what this deletion asks for, once."""


def cannot_erase(_user_id: str, _deadline: float) -> SegmentIntegrationResult:
    return SegmentIntegrationResult(SegmentError("erasure is due, and SEGMENT_PUBLIC_API_TOKEN is not set"))


@dataclass(frozen=True, slots=True)
class EraseCustomer:
    """A deleted customer is erased in Segment where ERASURE says so, once commercetools confirms the deletion.

    A user id that a living customer has is not erased: it is another person's by now, or two have the same.
    """

    erasure: Erasure
    erase: Erase
    user_id: UserIdField
    reads: Reads[Customer]

    def version(self, notification: Notification) -> float:
        return ERASED if self._is_due(notification) else GONE

    def _is_due(self, notification: Notification) -> bool:
        match self.erasure:
            case Erasure.OFF:
                return False
            case Erasure.REQUESTED:
                return notification.data_erasure  # only ResourceDeleted tells
            case Erasure.EVERY:
                return True

    def attempt(self, notification: Notification, deadline: float) -> Attempt[Outcome]:  # noqa: PLR0911  # one for each end
        if not self._is_due(notification):
            # Without an API client, nothing else would tell a late notification that the customer is gone.
            version = GONE if self.reads.by_id is None else None
            return Attempt(Outcome(Ending.IGNORED, f"the customer was deleted (ERASURE is {self.erasure})"), version)
        user_id = user_id_of_deleted(notification, self.user_id)
        if not user_id and self.erasure is Erasure.EVERY and notification.message_type != "CustomerDeleted":
            return Attempt(Outcome(Ending.IGNORED, "the CustomerDeleted message carries the userId to be erased"))
        if not user_id:
            reason = (
                f"erasure is due, but the notification does not carry the {self.user_id} that is the userId: "
                "find the user in Segment by the trait commercetoolsId, and delete and suppress it there"
            )
            return Attempt(Outcome(Ending.REFUSED, reason))
        try:
            unsound = self._is_unsound(user_id, notification, deadline)
        except CannotRead as cannot_read:
            return Attempt(Outcome(Ending.FAILED, str(cannot_read)))
        if unsound is not None:
            return Attempt(unsound)
        error = self.erase(user_id, deadline).error
        if error is None:
            return Attempt(Outcome(Ending.DELIVERED, "the customer is to be erased in Segment"), ERASED)
        return Attempt(Outcome(Ending.REFUSED if error.refused else Ending.FAILED, error.message))

    def _is_unsound(self, user_id: str, notification: Notification, deadline: float) -> Outcome | None:
        """Return the outcome if this user id must not be erased, as far as commercetools can be asked."""
        of_any_version = replace(notification, version=None)
        if self.reads.by_id is not None and self.reads.by_id(of_any_version, deadline) is not None:
            return Outcome(Ending.IGNORED, "commercetools still has the customer: nothing is erased", warn=True)
        if self.user_id is UserIdField.ID or self.reads.has_other is None:
            return None
        is_email = self.user_id is UserIdField.EMAIL
        written = notification.email.lower() if is_email else str(notification.identifiers.get(self.user_id))
        field = "lowercaseEmail" if is_email else self.user_id
        # Another may have it as it is written, or as the user id: without the blanks around it, and so on.
        values = tuple(dict.fromkeys((user_id, written)))
        if not self.reads.has_other(field, values, notification.resource_id, deadline):
            return None
        reason = (
            f"erasure is due, but a living customer has the same {self.user_id}, which is the userId: nothing is "
            "erased. Find the deleted customer in Segment by the trait commercetoolsId, and delete what is only theirs"
        )
        return Outcome(Ending.REFUSED, reason)


@dataclass(frozen=True, slots=True)
class Kind(Generic[AnyResource]):
    """A type of resource whose events tell a state: how it is read, its events, what its deletion means.

    `name` is the type in words. `events` get a salt for their messageIds, which is "" unless a state must be sent under
    an id that Segment cannot have seen. Without a `deletion` Segment is told nothing of one. `on` are the changes that
    are handled.
    """

    name: str
    reads: Reads[AnyResource]
    events: Callable[[AnyResource, Notification, str], Events]
    deletion: Deletion | None = None
    on: frozenset[str] = CHANGES


def customers(
    reads: Reads[Customer], rules: IdentifyRules, *, erasure: Erasure = Erasure.OFF, erase: Erase = cannot_erase
) -> Kind[Customer]:
    """Return the kind of customers: each is one identify."""

    def events(customer: Customer, notification: Notification, salt: str) -> Events:
        return customer_events(customer, replace(rules, salt=salt) if salt else rules, notification.project_key)

    return Kind(
        CUSTOMER.name,
        reads,
        events,
        deletion=EraseCustomer(erasure, erase, rules.user_id, reads),
        on=rules.mapping.identify.on,
    )


class Told(NamedTuple):
    """The events of a look at facts, the names of these facts, and the version for which they stand.

    Without events, their reason says why.
    """

    events: Events
    names: Sequence[Hashable] = ()
    version: float | None = None


@dataclass(frozen=True, slots=True)
class Facts(Generic[AnyResource]):
    """A type of resource whose events are facts: each follows from what happened, and is told once.

    `due` returns the fact that a notification tells, or the reason why it is ignored. `told` gets the resource as it is
    now, the notification, what is due, the age of the notification in seconds and a deadline, and raises CannotRead.
    """

    name: str
    reads: Reads[AnyResource]
    due: Callable[[Notification], Due | str]
    told: Callable[[AnyResource, Notification, Due, float, float], Told]
