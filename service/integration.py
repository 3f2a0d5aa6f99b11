"""One notification, one outcome, and the kinds of resources, a row for each.

service/app.py decides which HTTP answer an outcome gets. The functions to send from Python are those of
service/library.py, and can be imported from here too.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import CUSTOMER, customer_type
from service.commercetools.notification import Notification, read_notification
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.commercetools.resource import AnyResource, CannotRead, Resource, ResourceType
from service.config import Orders, Settings, UserIdField
from service.delivery.deliveries import GONE, NEVER, Attempt, Deliveries, Lateness, TooLate, Unsettled
from service.kinds import (
    Erase,
    Facts,
    Kind,
    Read,
    Reads,
    Send,
    Suppress,
    cannot_erase,
    customers,
    without_an_api_client,
)
from service.library import (
    IdentifyClient,
    send_batch_to_segment,
    send_customer_to_segment,
    send_customer_to_segment_with_client,
    send_if_valid,
)
from service.orders import orders, payments
from service.outcome import Ending, Outcome
from service.pubsub.dead_letter import DeadLetterTopic, NotSetAside, SetAside
from service.pubsub.envelope import Headers, PushMessage, open_envelope
from service.segment.client import create_segment_client
from service.segment.regulations import Regulation, Regulations
from service.segment.types import SegmentError, SegmentIntegrationResult, Suppression
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules
from service.transformation.facts import Due
from service.transformation.order import OrderRules
from service.transformation.rules import fingerprint_by, identify_rules_by

__all__ = [
    "AnyKind",
    "IdentifyClient",
    "Integration",
    "integration_by",
    "kinds_by",
    "reading",
    "send_batch_to_segment",
    "send_customer_to_segment",
    "send_customer_to_segment_with_client",
    "send_if_valid",
]

_DELIVERED = Outcome(Ending.DELIVERED)
_DELIVERED_AGAIN = Outcome(Ending.DELIVERED, "and a newer state, which may have arrived before it")
_TOLD = Outcome(Ending.IGNORED, "already delivered: the same fact, or a newer state of the order")
_ALREADY = Outcome(Ending.IGNORED, "already delivered, in this version or a newer one")


def _cannot_suppress(_suppression: Suppression, _deadline: float) -> SegmentIntegrationResult:
    return SegmentIntegrationResult(SegmentError("a suppression is due, and SEGMENT_PUBLIC_API_TOKEN is not set"))


AnyKind = Kind[Any] | Facts[Any]
"""A row: a kind of states, or of facts."""


def kinds_by(settings: Settings, rules: IdentifyRules, read: Read, erase: Erase) -> dict[str, AnyKind]:
    """Return the kinds that are handled, by commercetools' type ids: a row for each."""
    of_customers = read(customer_type(rules.mapping.named))
    kinds: dict[str, AnyKind] = {
        CUSTOMER.type_id: customers(of_customers, rules, erasure=settings.erasure, erase=erase),
    }
    if settings.orders is Orders.ON:
        of_orders, order_rules = read(ORDER), OrderRules.beside(rules, settings.order_imports)
        kinds[ORDER.type_id] = orders(of_orders, of_customers, order_rules)
        kinds[PAYMENT.type_id] = payments(read(PAYMENT), of_orders, of_customers, order_rules)
    return kinds


@dataclass(frozen=True, slots=True)
class Integration:
    """Handles messages, from the push to the outcome. `kinds` are the kinds that are handled, by type id."""

    send: Send
    kinds: Mapping[str, AnyKind]
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
        if isinstance(kind, Facts):
            return self._outcome_of_fact(kind, notification, message, deadline)
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

    def _outcome_of_fact(
        self, kind: Facts[Any], notification: Notification, message: PushMessage, deadline: float
    ) -> Outcome:
        due = kind.due(notification)
        if isinstance(due, str):
            return Outcome(Ending.IGNORED, due)
        attempt = partial(self._tell_facts, kind, notification, message, due, deadline)
        try:
            key = (*_key(notification), due.name)
            return self.deliveries.deliver(key, due.version, attempt, deadline=deadline) or _TOLD
        except TooLate:
            return Outcome(Ending.FAILED, f"another notification of the same {kind.name} was in flight")

    def _tell_facts(
        self,
        kind: Facts[Any],
        notification: Notification,
        message: PushMessage,
        due: Due,
        deadline: float,
        _newest: float,
    ) -> Attempt[Outcome]:
        now = self.now()
        age = (now - notification.created_at).total_seconds() if notification.created_at else message.age(now)
        try:
            resource = kind.reads.now(notification, deadline)
            if resource is None:
                return Attempt(Outcome(Ending.IGNORED, f"the {kind.name} has been deleted since"))
            told = kind.told(resource, notification, due, age, deadline)
        except CannotRead as cannot_read:
            return Attempt(Outcome(Ending.FAILED, str(cannot_read)))
        if not told.events.events:
            return Attempt(Outcome(Ending.IGNORED, told.events.reason, warn=told.events.warn), _NOTHING_TOLD)
        version, keys = told.version or 0.0, [(*_key(notification), name) for name in told.names]
        several = zip(keys, told.events.events, strict=True)
        events = {key: event for key, event in several if self.deliveries.newest(key) < version}
        if not events:
            return Attempt(_TOLD, version)
        error = self.send(tuple(events.values()), deadline).error
        if error is not None:
            return Attempt(Outcome(Ending.REFUSED if error.refused else Ending.FAILED, error.message))
        for key in events:
            self.deliveries.note(key, version)
        return Attempt(Outcome(Ending.DELIVERED, told.events.reason, warn=told.events.warn), told.version)

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


_NOTHING_TOLD = 0.0
"""The version of a look at a fact that told nothing: it does not count for another Message, which may see more."""
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
        case ORDER.type_id | PAYMENT.type_id:
            return f"about {_a(notification.resource_type)}, and ORDERS is off"
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
        read = reading(CommercetoolsClient(settings.commercetools)) if settings.commercetools else without_an_api_client
    if erase is None:
        token, url = settings.segment_public_api_token, settings.segment_public_api_url
        own = settings.segment_user_id is UserIdField.ID  # any other can become another customer's
        erasure = Regulation.DELETE_AND_SUPPRESS if own else Regulation.DELETE
        erase = Regulations(token, url, erasure).submit if token else cannot_erase
    if set_aside is None and settings.dead_letter_topic:
        set_aside = DeadLetterTopic(settings.dead_letter_topic).set_aside
    rules = identify_rules_by(settings)
    return Integration(
        send,
        kinds_by(settings, rules, read, erase),
        project_key=settings.commercetools.project_key if settings.commercetools else None,
        set_aside=set_aside,
        suppress=suppress or _suppressing(settings),
        fingerprint=fingerprint_by(settings, rules),
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
        return Reads(resources.now, resources.by_id, resources.has_other, resources.oldest)

    return read
