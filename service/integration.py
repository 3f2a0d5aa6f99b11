"""One notification, one outcome; and the ways to hand a customer to Segment from Python.

Which outcome gets which HTTP answer is the door's business (service/app.py).
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

from service.commercetools.client import CustomerReader
from service.commercetools.customer import CannotRead, Customer, read_customer
from service.commercetools.notification import CUSTOMER, Notification, read_notification
from service.config import Erasure, Settings, segment_from
from service.delivery.deliveries import ERASED, GONE, Attempt, Deliveries, TooLate, Unsettled
from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside, SetAside
from service.pubsub.envelope import Headers, PushMessage, open_envelope
from service.segment.client import SegmentClient, create_segment_client
from service.segment.regulations import Regulations
from service.segment.types import NotDelivered, SegmentError, SegmentIdentifyPayload, SegmentIntegrationResult
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, transform_customer_to_segment, user_id_of_deleted


class Ending(StrEnum):
    """The four ends of a message."""

    DELIVERED = "Delivered"
    IGNORED = "Ignored"
    REFUSED = "Refused"
    FAILED = "Failed"


class Outcome(NamedTuple):
    """How a message ended and why, in words that quote nothing of it, and the ids of what it was about.

    `set_aside` is true where a refused message is safe in the dead-letter topic. `warn` marks what somebody should see
    though nothing failed.
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
_ALREADY = Outcome(Ending.IGNORED, "already delivered, in this version or a newer one")

Erase = Callable[[str, float], SegmentIntegrationResult]
"""Has a user id erased in Segment, and returns by a deadline, a time of time.monotonic()."""

Send = Callable[[SegmentIdentifyPayload, float], SegmentIntegrationResult]
"""Sends a payload and returns by a deadline, a time of time.monotonic()."""

CustomerNow = Callable[[Notification, float], Customer | None]
"""Returns the customer that a notification is about, or None if there is no such customer any more.

Raises CannotRead if that cannot be found out by the deadline, and Malformed if what was found is no customer.
"""


def customer_inside(notification: Notification, _deadline: float) -> Customer | None:
    """Return the customer inside the notification: the only one to be had without a commercetools API client."""
    if notification.customer is None:
        raise CannotRead(
            "the notification brings no customer, and the settings to read one are missing: "
            "CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL, CTP_SCOPES"
        )
    return read_customer(notification.customer)


def _cannot_erase(_user_id: str, _deadline: float) -> SegmentIntegrationResult:
    return SegmentIntegrationResult(SegmentError("erasure is due, and SEGMENT_PUBLIC_API_TOKEN is not set"))


@dataclass(frozen=True, slots=True)
class Integration:
    """The way of one message, from the push to its outcome."""

    send: Send
    rules: IdentifyRules = IdentifyRules()
    customer_now: CustomerNow = customer_inside
    project_key: str | None = None  # whose customers are ours; None takes anybody's
    erasure: Erasure = Erasure.OFF
    erase: Erase = _cannot_erase
    set_aside: SetAside | None = None
    deliveries: Deliveries[Outcome] = field(default_factory=Deliveries)
    unsettled: Unsettled = field(default_factory=Unsettled)

    def handle(self, body: bytes, headers: Headers, deadline: float) -> Outcome:
        """Return the outcome of a push by `deadline`, a time of time.monotonic()."""
        message = notification = None
        try:
            message = open_envelope(body, headers)
            notification = read_notification(message.data)
            outcome = self._outcome_of(notification, deadline)
        except Malformed as malformed:
            outcome = Outcome(Ending.REFUSED, str(malformed))
        if outcome.ending is Ending.REFUSED and self.set_aside is not None:
            try:
                self.set_aside(message or PushMessage(data=body), outcome.reason, deadline)
                outcome = outcome._replace(set_aside=True)
            except NotSetAside as not_set_aside:
                outcome = Outcome(Ending.FAILED, f"{outcome.reason}; {not_set_aside}")
        return outcome._replace(message=message, notification=notification)

    def _outcome_of(self, notification: Notification, deadline: float) -> Outcome:
        if notification.resource_type != CUSTOMER:
            return Outcome(Ending.IGNORED, _not_about_a_customer(notification))
        if self.project_key is not None and notification.project_key != self.project_key:
            raise Malformed("about a customer of another project than CTP_PROJECT_KEY")
        deleted = notification.event_type == "customer.deleted"
        attempt = partial(self._forget if deleted else self._identify, notification, deadline)
        version = self._version_of_deletion(notification) if deleted else notification.version
        try:
            outcome = self.deliveries.deliver(notification.resource_id, version, attempt, deadline=deadline)
        except TooLate as too_late:
            return Outcome(Ending.FAILED, str(too_late))
        return outcome or _ALREADY

    def _identify(self, notification: Notification, deadline: float, newest: float) -> Attempt[Outcome]:
        try:
            customer = self._not_behind(self.customer_now(notification, deadline))
        except CannotRead as cannot_read:
            return Attempt(Outcome(Ending.FAILED, str(cannot_read)))
        if customer is None:
            return Attempt(Outcome(Ending.IGNORED, "the customer has been deleted since"))
        if customer.version <= newest:
            return Attempt(_ALREADY, customer.version)
        payload = transform_customer_to_segment(customer, self.rules, project_key=notification.project_key)
        if not payload["user_id"]:
            reason = f"the customer has no {self.rules.user_id}, which is to be the userId"
            return Attempt(Outcome(Ending.IGNORED, reason, warn=True), customer.version)
        error = self.send(payload, deadline).error
        if error is None:
            return Attempt(_DELIVERED, customer.version)
        if not error.refused:
            self.unsettled.add(customer.id, customer.version)
        return Attempt(Outcome(Ending.REFUSED if error.refused else Ending.FAILED, error.message))

    def _not_behind(self, customer: Customer | None) -> Customer | None:
        if customer is not None and customer.version < self.unsettled.newest(customer.id):
            raise CannotRead("commercetools shows an older version than Segment may have")
        return customer

    def _version_of_deletion(self, notification: Notification) -> float:
        return ERASED if self._erasure_is_due(notification) else GONE

    def _erasure_is_due(self, notification: Notification) -> bool:
        match self.erasure:
            case Erasure.OFF:
                return False
            case Erasure.REQUESTED:
                return notification.data_erasure  # only ResourceDeleted tells
            case Erasure.EVERY:
                return True

    def _forget(self, notification: Notification, deadline: float, _newest: float) -> Attempt[Outcome]:
        if not self._erasure_is_due(notification):
            return Attempt(Outcome(Ending.IGNORED, f"the customer was deleted (ERASURE is {self.erasure})"), GONE)
        user_id = user_id_of_deleted(notification, self.rules.user_id)
        if not user_id:
            reason = (
                f"erasure is due, but the notification does not carry the {self.rules.user_id} that is the userId: "
                "find the user in Segment by the trait commercetoolsId, and delete and suppress it there"
            )
            return Attempt(Outcome(Ending.REFUSED, reason))
        error = self.erase(user_id, deadline).error
        if error is None:
            return Attempt(Outcome(Ending.DELIVERED, "the customer is to be erased in Segment"), ERASED)
        return Attempt(Outcome(Ending.REFUSED if error.refused else Ending.FAILED, error.message))


def _not_about_a_customer(notification: Notification) -> str:
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


_TYPE_ID = re.compile(r"[a-z-]{1,40}")  # what commercetools calls its resources; anything else stays out of the log


def integration_by(settings: Settings) -> Integration:
    """Put together what the settings describe."""
    client = create_segment_client(settings.segment.write_key, settings.segment.host)
    reader = CustomerReader(settings.commercetools) if settings.commercetools else None
    return Integration(
        send=lambda payload, deadline: send_customer_to_segment_with_client(client.by(deadline), payload),
        rules=IdentifyRules(
            user_id=settings.segment_user_id,
            clear=settings.segment_clear_traits,
            source=hashlib.sha256(settings.segment.write_key.encode()).hexdigest()[:16],
        ),
        customer_now=reader.customer_now if reader else customer_inside,
        project_key=settings.commercetools.project_key if settings.commercetools else None,
        erasure=settings.erasure,
        erase=(
            Regulations(settings.segment_public_api_token, settings.segment_public_api_url).erase
            if settings.segment_public_api_token
            else _cannot_erase
        ),
        set_aside=DeadLetterTopic(settings.dead_letter_topic).set_aside if settings.dead_letter_topic else None,
    )


class IdentifyClient(Protocol):
    """The part of a Segment client that a send touches. `identify` raises what kept it from being confirmed."""

    def identify(
        self,
        user_id: str,
        traits: dict[str, Any],
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> object: ...

    def flush(self) -> object: ...


def send_customer_to_segment(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send through the process's own client, which SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST describe.

    Never raises for what Segment or the network did; raises ConfigError if the settings are not there.
    """
    return send_customer_to_segment_with_client(_own_client(), payload)


def send_customer_to_segment_with_client(
    client: IdentifyClient, payload: SegmentIdentifyPayload
) -> SegmentIntegrationResult:
    """Send through this client: identify once, flush once. Never raises for what Segment or the network did."""
    try:
        client.identify(**payload)
        client.flush()
    except NotDelivered as not_delivered:
        return SegmentIntegrationResult(not_delivered.error)
    except Exception as error:  # noqa: BLE001  # whatever a client raises, the caller gets a result
        return SegmentIntegrationResult(SegmentError(type(error).__name__))  # its text may quote the customer
    return SegmentIntegrationResult()


def send_batch_to_segment(payloads: Sequence[SegmentIdentifyPayload]) -> list[SegmentIntegrationResult]:
    """Send many at once, sharing calls; return the results in the order of the payloads."""
    if not payloads:
        return []
    with ThreadPoolExecutor(max_workers=min(len(payloads), _AT_ONCE)) as pool:
        return list(pool.map(send_customer_to_segment, payloads))


def send_if_valid(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send a payload that has a user id and an e-mail address; say what is wrong with any other."""
    email = payload.get("traits", {}).get("email")
    if not payload.get("user_id") or not email:
        return SegmentIntegrationResult(SegmentError("Invalid payload: missing user_id or email", refused=True))
    if not _EMAIL.fullmatch(str(email)):
        return SegmentIntegrationResult(SegmentError("Invalid email format", refused=True))
    return send_customer_to_segment(payload)


_AT_ONCE = 64  # callers of one batch that wait at the same moment, and so share a call
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


@cache
def _own_client() -> SegmentClient:
    settings = segment_from(os.environ)
    return create_segment_client(settings.write_key, settings.host)
