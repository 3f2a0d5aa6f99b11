"""One notification, one outcome; the kinds of resources, a row for each; and functions to send from Python.

service/app.py decides which HTTP answer an outcome gets.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from typing import Any, Generic, NamedTuple, Protocol, Unpack
from uuid import uuid4

from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import CUSTOMER, Customer, customer_type
from service.commercetools.notification import Notification, read_notification
from service.commercetools.resource import AnyResource, CannotRead, Resource, ResourceType
from service.config import Erasure, Settings, UserIdField, segment_from
from service.delivery.deliveries import ERASED, GONE, NEVER, Attempt, Deliveries, Lateness, TooLate, Unsettled
from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside, SetAside
from service.pubsub.envelope import Headers, PushMessage, open_envelope
from service.segment.client import SegmentClient, create_segment_client
from service.segment.regulations import Regulation, Regulations
from service.segment.types import (
    Events,
    NotDelivered,
    SegmentCommon,
    SegmentError,
    SegmentEvent,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
    Suppression,
)
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, customer_events, user_id_of_deleted
from service.transformation.mapping import CHANGES
from service.transformation.rules import identify_rules_by


class Ending(StrEnum):
    """The four outcomes of a message."""

    DELIVERED = "Delivered"
    IGNORED = "Ignored"
    REFUSED = "Refused"
    FAILED = "Failed"


class Outcome(NamedTuple):
    """How a message ended and why, in words that quote nothing of it, and the ids of what it was about.

    `set_aside` is true if a refused message is in the dead-letter topic. `warn` marks an outcome that an operator
    should see although nothing failed.
    """

    ending: Ending
    reason: str = ""
    set_aside: bool = False
    warn: bool = False
    message: PushMessage | None = None
    notification: Notification | None = None

    @property
    def sentence(self) -> str:
        return f"{self.ending}: {self.reason}" if self.reason else str(self.ending)


_DELIVERED = Outcome(Ending.DELIVERED)
_DELIVERED_AGAIN = Outcome(Ending.DELIVERED, "and a newer state, which may have arrived before it")
_ALREADY = Outcome(Ending.IGNORED, "already delivered, in this version or a newer one")

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
    values, the id and a deadline. Without an API client there is neither, so no second look at a resource whose event
    was confirmed late, and none before an erasure.
    """

    now: Now[AnyResource]
    by_id: Now[AnyResource] | None = None
    has_other: Callable[[str, Sequence[str], str, float], bool] | None = None


class Read(Protocol):
    """Chooses how resources of a type are read."""

    def __call__(self, of: ResourceType[AnyResource], /) -> Reads[AnyResource]: ...


def included(of: ResourceType[AnyResource]) -> Reads[AnyResource]:
    """Take the resource from the notification, for a service without an API client."""

    def now(notification: Notification, _deadline: float) -> AnyResource | None:
        if notification.included is None:
            raise CannotRead(
                f"the notification brings no {of.name}, and the settings to read one are missing: "
                "CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL, CTP_SCOPES"
            )
        return of.parse(notification.included)

    return Reads(now)


class Deletion(Protocol):
    """What the deletion of a resource means."""

    def version(self, notification: Notification) -> float:
        """Return the version that stands for this deletion: GONE or ERASED."""

    def attempt(self, notification: Notification, deadline: float) -> Attempt[Outcome]:
        """Do what this deletion asks for, once."""


def _cannot_suppress(_suppression: Suppression, _deadline: float) -> SegmentIntegrationResult:
    return SegmentIntegrationResult(SegmentError("a suppression is due, and SEGMENT_PUBLIC_API_TOKEN is not set"))


def _cannot_erase(_user_id: str, _deadline: float) -> SegmentIntegrationResult:
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
    """A type of resource that is handled: how it is read, which events follow from it, what its deletion means.

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
    reads: Reads[Customer], rules: IdentifyRules, *, erasure: Erasure = Erasure.OFF, erase: Erase = _cannot_erase
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


def kinds_by(settings: Settings, rules: IdentifyRules, read: Read, erase: Erase) -> dict[str, Kind[Any]]:
    """Return the kinds that are handled, by commercetools' type ids: a row for each."""
    of_customers = customer_type(rules.mapping.named)
    return {
        CUSTOMER.type_id: customers(read(of_customers), rules, erasure=settings.erasure, erase=erase),
    }


@dataclass(frozen=True, slots=True)
class Integration:
    """Handles messages, from the push to the outcome. `kinds` are the kinds that are handled, by type id."""

    send: Send
    kinds: Mapping[str, Kind[Any]]
    project_key: str | None = None  # the project whose resources are handled; None: any
    set_aside: SetAside | None = None
    suppress: Suppress = _cannot_suppress
    deliveries: Deliveries[Outcome] = field(default_factory=Deliveries)
    unsettled: Unsettled = field(default_factory=Unsettled)
    lateness: Lateness = field(default_factory=Lateness)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_salt: Callable[[], str] = lambda: uuid4().hex
    fingerprint: str = ""  # of the rules

    def handle(self, body: bytes, headers: Headers, deadline: float) -> Outcome:
        """Return the outcome of a push by `deadline`, a time of time.monotonic()."""
        message = notification = None
        try:
            message = open_envelope(body, headers)
            notification = read_notification(message.data)
            outcome = self._outcome_of(notification, message, deadline)
        except Malformed as malformed:
            outcome = Outcome(Ending.REFUSED, str(malformed))
        if outcome.ending is Ending.REFUSED and self.set_aside is not None:
            try:
                self.set_aside(message or PushMessage(data=body), outcome.reason, deadline)
                outcome = outcome._replace(set_aside=True)
            except NotSetAside as not_set_aside:
                outcome = Outcome(Ending.FAILED, f"{outcome.reason}; {not_set_aside}")
        return outcome._replace(message=message, notification=notification)

    def _outcome_of(self, notification: Notification, message: PushMessage, deadline: float) -> Outcome:
        kind = self.kinds.get(notification.resource_type)
        if kind is None:
            return Outcome(Ending.IGNORED, _of_no_kind(notification))
        if self.project_key is not None and notification.project_key != self.project_key:
            raise Malformed(f"about {_a(kind.name)} of another project than CTP_PROJECT_KEY")
        if notification.is_deletion:
            attempt = partial(self._delete, kind, notification, deadline)
            version: float | None = self._version_of_deletion(kind, notification)
            since = NEVER
        else:
            attempt = partial(self._look, kind, notification, message, deadline)
            if notification.change not in kind.on:
                return Outcome(Ending.IGNORED, f"{kind.name} {notification.change}, which identify.on does not name")
            version = notification.version
            since = self.clock() - _LANDED_SECONDS if message.redelivered else NEVER
        try:
            outcome = self.deliveries.deliver(_key(notification), version, attempt, deadline=deadline, since=since)
        except TooLate:
            return Outcome(Ending.FAILED, f"another notification of the same {kind.name} was in flight")
        return outcome or _ALREADY

    def _look(
        self, kind: Kind[Any], notification: Notification, message: PushMessage, deadline: float, newest: float
    ) -> Attempt[Outcome]:
        # A query may not show a change yet, which another process has sent already. As long as the message is young,
        # that is noticed by its age at the confirmation; else the resource is read by id.
        age = message.age(self.now())
        by_id = kind.reads.by_id if message.redelivered or age > _YOUNG_SECONDS else None
        began = self.clock() - (0.0 if by_id else age)
        try:
            resource = (by_id or kind.reads.now)(notification, deadline)
        except CannotRead as cannot_read:
            return Attempt(Outcome(Ending.FAILED, str(cannot_read)))
        if resource is None:
            return Attempt(Outcome(Ending.IGNORED, f"the {kind.name} has been deleted since"))
        if resource.version < self.unsettled.newest(_key(notification)):
            return Attempt(Outcome(Ending.FAILED, "commercetools shows an older version than Segment may have"))
        if resource.version == notification.version:
            newest = self.deliveries.newest(_key(notification))  # whenever that was: no older state was sent for this
        if resource.version <= newest:
            return Attempt(_ALREADY, resource.version)
        # An earlier delivery of the message may have sent the older state, which may have arrived after this newer one.
        moved_on = message.redelivered and notification.version is not None and resource.version > notification.version
        salt = self.new_salt() if moved_on else ""
        return self._tell(kind, resource, notification, deadline, began=began, salt=salt)

    def _tell(
        self,
        kind: Kind[Any],
        resource: Resource,
        notification: Notification,
        deadline: float,
        *,
        began: float,
        salt: str,
    ) -> Attempt[Outcome]:
        """Send the resource, which was the newest at `began`, and newer states of it that this may have overtaken."""
        outcome = _DELIVERED
        while True:
            said = kind.events(resource, notification, salt)
            error = None if said.suppression is None else self.suppress(said.suppression, deadline).error
            if error is None and not said.events:
                return Attempt(Outcome(Ending.IGNORED, said.reason, warn=said.warn), resource.version)
            if error is None:
                error = self.send(said.events, deadline).error
            if error is not None:
                if not error.refused:
                    self.unsettled.add(_key(notification), resource.version)
                return Attempt(Outcome(Ending.REFUSED if error.refused else Ending.FAILED, error.message))
            now = self.clock()
            if kind.reads.by_id is None or not self.lateness.is_late(now - began):
                return Attempt(_with_what_was_left_out(outcome, said.unreadable), resource.version)
            try:
                newer = kind.reads.by_id(notification, deadline)
            except CannotRead as cannot_read:
                self.unsettled.add(_key(notification), resource.version)
                return Attempt(Outcome(Ending.FAILED, f"confirmed late, and not looked at again: {cannot_read}"))
            if newer is None or newer.version <= resource.version:
                return Attempt(_with_what_was_left_out(outcome, said.unreadable), resource.version)
            resource, began, salt = newer, now, self.new_salt()
            outcome = _DELIVERED_AGAIN

    def _version_of_deletion(self, kind: Kind[Any], notification: Notification) -> float:
        return GONE if kind.deletion is None else kind.deletion.version(notification)

    def _delete(self, kind: Kind[Any], notification: Notification, deadline: float, _newest: float) -> Attempt[Outcome]:
        if kind.deletion is None:
            return Attempt(Outcome(Ending.IGNORED, f"the {kind.name} was deleted"), GONE)
        return kind.deletion.attempt(notification, deadline)


def _with_what_was_left_out(outcome: Outcome, unreadable: Sequence[str]) -> Outcome:
    if not unreadable:
        return outcome
    left_out = f"left out what is of another kind than the mapping file says: {', '.join(unreadable)}"
    return outcome._replace(reason=f"{outcome.reason}; {left_out}" if outcome.reason else left_out, warn=True)


_YOUNG_SECONDS = 2.0
_LANDED_SECONDS = 1.0
"""A message is redelivered 10 s or more after a nack (infra/pubsub.tf). Of what its earlier delivery sent, all has
arrived 9 s after the nack; so a state that was sent in the last second arrived after it."""


def _key(notification: Notification) -> tuple[str, str]:
    return notification.resource_type, notification.resource_id


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _of_no_kind(notification: Notification) -> str:
    match notification.resource_type:
        case "":
            return "an Event, which is about no customer"
        case "subscription":
            return "the Subscription's own notification"
        case resource_type:
            return (
                f"about another resource: {resource_type}"
                if _TYPE_ID.fullmatch(resource_type)
                else "about another resource"
            )


_TYPE_ID = re.compile(r"[a-z-]{1,40}")  # the form of commercetools' type ids; anything else is not logged


def integration_by(
    settings: Settings,
    *,
    send: Send | None = None,
    read: Read | None = None,
    erase: Erase | None = None,
    set_aside: SetAside | None = None,
    suppress: Suppress | None = None,
) -> Integration:
    """Return the integration that the settings describe; what is given replaces what the settings would make."""
    if send is None:
        send = create_segment_client(settings.segment.write_key, settings.segment.host).send
    if read is None:
        read = reading(CommercetoolsClient(settings.commercetools)) if settings.commercetools else included
    if erase is None:
        token, url = settings.segment_public_api_token, settings.segment_public_api_url
        own = settings.segment_user_id is UserIdField.ID  # any other can become another customer's
        erasure = Regulation.DELETE_AND_SUPPRESS if own else Regulation.DELETE
        erase = Regulations(token, url, erasure).submit if token else _cannot_erase
    if set_aside is None and settings.dead_letter_topic:
        set_aside = DeadLetterTopic(settings.dead_letter_topic).set_aside
    rules = identify_rules_by(settings)
    return Integration(
        send,
        kinds_by(settings, rules, read, erase),
        project_key=settings.commercetools.project_key if settings.commercetools else None,
        set_aside=set_aside,
        suppress=suppress or _suppressing(settings),
        fingerprint=rules.fingerprint,
    )


def _suppressing(settings: Settings) -> Suppress:
    token, url = settings.segment_public_api_token, settings.segment_public_api_url
    if token is None:
        return _cannot_suppress
    suppressing, ending = (Regulations(token, url, one) for one in (Regulation.SUPPRESS, Regulation.UNSUPPRESS))

    def suppress(suppression: Suppression, deadline: float) -> SegmentIntegrationResult:
        return (suppressing if suppression.wanted else ending).submit(suppression.user_id, deadline)

    return suppress


def reading(client: CommercetoolsClient) -> Read:
    """Read resources by this API client."""

    def read(of: ResourceType[AnyResource]) -> Reads[AnyResource]:
        resources = client.resources(of)
        return Reads(resources.now, resources.by_id, resources.has_other)

    return read


class IdentifyClient(Protocol):
    """The part of a Segment client that a send uses. `identify` raises if the event was not confirmed."""

    def identify(self, user_id: str, traits: dict[str, Any], **common: Unpack[SegmentCommon]) -> object: ...

    def flush(self) -> object: ...


def send_customer_to_segment(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send with the process's own client, which SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST describe.

    Never raises for what Segment or the network did. Raises ConfigError if a setting is missing.
    """
    return send_customer_to_segment_with_client(_own_client(), payload)


def send_customer_to_segment_with_client(
    client: IdentifyClient, payload: SegmentIdentifyPayload
) -> SegmentIntegrationResult:
    """Send with this client: identify once, flush once. Never raises for what Segment or the network did."""
    try:
        client.identify(**payload)
        client.flush()
    except NotDelivered as not_delivered:
        return SegmentIntegrationResult(not_delivered.error)
    except Exception as error:  # noqa: BLE001  # whatever a client raises, the caller gets a result
        return SegmentIntegrationResult(SegmentError(type(error).__name__))  # its text may quote the customer
    return SegmentIntegrationResult()


def send_batch_to_segment(payloads: Sequence[SegmentIdentifyPayload]) -> list[SegmentIntegrationResult]:
    """Send many payloads concurrently, so that they share calls; return the results in the order of the payloads."""
    if not payloads:
        return []
    with ThreadPoolExecutor(max_workers=min(len(payloads), _AT_ONCE)) as pool:
        return list(pool.map(send_customer_to_segment, payloads))


def send_if_valid(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send a payload that has a user id and an e-mail address; return an error for any other."""
    email = payload.get("traits", {}).get("email")
    if not payload.get("user_id") or not email:
        return SegmentIntegrationResult(SegmentError("Invalid payload: missing user_id or email", refused=True))
    if not _EMAIL.fullmatch(str(email)):
        return SegmentIntegrationResult(SegmentError("Invalid email format", refused=True))
    return send_customer_to_segment(payload)


_AT_ONCE = 64  # concurrent callers of one batch, which share calls
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


@cache
def _own_client() -> SegmentClient:
    settings = segment_from(os.environ)
    return create_segment_client(settings.write_key, settings.host)
