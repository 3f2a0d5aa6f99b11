"""A customer as an identify. The rules are those of docs/customers.md, or of the shop's mapping."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.config import ClearTraits, UserIdField
from service.segment.types import Events, SegmentEvent, SegmentIdentifyPayload, SegmentTrackPayload, Suppression
from service.transformation.consent import Withdrawn
from service.transformation.mapping import ShopMapping
from service.transformation.mapping_file import built_in_mapping
from service.transformation.message_id import fact_message_id, state_message_id
from service.transformation.paths import View

_FIRST_VERSION = 1
_INVISIBLE = frozenset({"Cc", "Cf"})
_PREFERENCES_UPDATED = "Segment Consent Preference Updated"


@dataclass(frozen=True, slots=True)
class IdentifyRules:
    """What a deployment decides: which field is the user id, what an absent field clears, the mapping, and the source.

    `source` is a fingerprint of the write key. It makes the messageIds of staging and production different: Segment
    drops a repeated messageId even across sources. `salt` makes all of them new, to tell Segment everything once more.
    `project_key` is the project's where a call does not give one.
    """

    user_id: UserIdField = UserIdField.EMAIL
    clear: ClearTraits = ClearTraits.OWN
    source: str = ""
    salt: str = ""
    mapping: ShopMapping = field(default_factory=built_in_mapping)
    project_key: str = ""

    @property
    def fingerprint(self) -> str:
        """Return a text that is the same for rules of the same effect, whatever the comments and order in the file."""
        effective = json.dumps((self.user_id, self.clear, self.mapping.effective), sort_keys=True)
        return hashlib.sha256(effective.encode()).hexdigest()[:16]


_DEFAULT_RULES = IdentifyRules()


class NoConsent(Exception):
    """The customer has not given the consent that the mapping file's `consent.send` demands. Quotes nobody's data."""


def customer_events(customer: Customer, rules: IdentifyRules, project_key: str) -> Events:
    """Return what Segment is told of a customer: an identify, none without a user id or the consent that is demanded.

    The identify has no timestamp, so its time is that of its arrival: "Newest last" in docs/decisions.md.
    """
    said = _said(customer, rules, project_key)
    payload, consent = said.payload, rules.mapping.consent
    payload.pop("timestamp", None)
    if not payload["user_id"]:
        return Events(reason=f"the customer has no {rules.user_id}, which is to be the userId", warn=True)
    if consent is None:
        return Events((SegmentEvent("identify", payload),), unreadable=said.unreadable)
    if not said.preferences:
        return Events(reason="no consent could be read, and the mapping file names no category", warn=True)
    missing = consent.missing(said.preferences)
    if missing:
        return _without_consent(customer, rules, project_key, said, missing)
    events = _with_preferences(payload, customer, rules, project_key)
    suppressed = consent.withdrawn is Withdrawn.SUPPRESS and customer.version > _FIRST_VERSION
    unsuppress = Suppression(payload["user_id"], wanted=False) if suppressed else None
    return Events(events, unreadable=said.unreadable, suppression=unsuppress)


def _without_consent(
    customer: Customer, rules: IdentifyRules, project_key: str, said: "_Said", missing: Sequence[str]
) -> Events:
    """Return what Segment is told of a customer who has not consented, and may have before: docs/mapping.md."""
    reason = f"no consent for {', '.join(missing)}"
    consent, user_id = rules.mapping.consent, said.payload["user_id"]
    if consent is None or customer.version == _FIRST_VERSION or consent.withdrawn is Withdrawn.NOTHING:
        return Events(reason=reason)
    if consent.withdrawn is Withdrawn.SUPPRESS:
        return Events(reason=reason, suppression=Suppression(user_id, wanted=True))
    refused = dict.fromkeys(said.preferences, False)
    payload = SegmentIdentifyPayload(user_id=user_id, traits={}, context={"active": False} | _consent(refused))
    payload["message_id"] = _message_id("identify", payload, customer, rules, project_key)
    return Events(_with_preferences(payload, customer, rules, project_key))


def _with_preferences(
    identify: SegmentIdentifyPayload, customer: Customer, rules: IdentifyRules, project_key: str
) -> tuple[SegmentEvent, ...]:
    """Return the identify, and after it the event with its preferences if the mapping file wants one."""
    consent, event = rules.mapping.consent, SegmentEvent("identify", identify)
    if consent is None or not consent.event:
        return (event,)
    return event, _preference_event(customer, rules, project_key, identify)


def _preference_event(
    customer: Customer, rules: IdentifyRules, project_key: str, identify: SegmentIdentifyPayload
) -> SegmentEvent:
    """Return the event by which Unify learns of a preference: nothing but ids and consent is in it.

    Its messageId names the customer and the preferences, so that Segment drops it while they stay as they are.
    https://www.twilio.com/docs/segment/privacy/consent-management/consent-in-unify
    """
    consent = identify["context"]["consent"]
    payload = SegmentTrackPayload(
        event=_PREFERENCES_UPDATED,
        user_id=identify["user_id"],
        properties={},
        context={"active": False, "consent": consent},
    )
    payload["message_id"] = fact_message_id(
        "consent",
        (identify["user_id"], consent),
        source=rules.source,
        project_key=project_key,
        resource_id=customer.id,
        salt=rules.salt,
    )
    if "anonymous_id" in identify:
        payload["anonymous_id"] = identify["anonymous_id"]
    return SegmentEvent("track", payload)


def transform_customer_to_segment(
    customer: Customer | Mapping[str, Any], rules: IdentifyRules = _DEFAULT_RULES, *, project_key: str = ""
) -> SegmentIdentifyPayload:
    """Return the identify for a customer. The same version gives the same payload.

    `user_id` is "" for a customer without the field that is chosen as user id. commercetools' JSON can be given
    instead of a Customer; it is read first, and raises Malformed if it is not valid. Raises NoConsent where the rules
    demand a consent that the customer has not given.
    """
    if not isinstance(customer, Customer):
        customer = read_customer(customer, rules.mapping.named)
    said, consent = _said(customer, rules, project_key or rules.project_key), rules.mapping.consent
    if consent is not None:
        missing = consent.missing(said.preferences)
        if missing or not said.preferences:
            raise NoConsent(f"no consent for {', '.join(missing)}" if missing else "no consent could be read")
    return said.payload


class _Said(NamedTuple):
    payload: SegmentIdentifyPayload
    unreadable: tuple[str, ...]
    preferences: Mapping[str, bool]


def _said(customer: Customer, rules: IdentifyRules, project_key: str) -> _Said:
    identify, consent = rules.mapping.identify, rules.mapping.consent
    view = View(customer)
    traits, unreadable = identify.traits_of(view, cleared_traits(customer, rules))
    preferences = consent.preferences(view) if consent is not None else {}
    context: dict[str, Any] = {"active": False}
    if customer.locale:
        context["locale"] = customer.locale
    if identify.external_ids:
        external_ids = identify.external_ids_of(view)
        if external_ids:
            context["externalIds"] = external_ids
    if preferences:
        context |= _consent(preferences)
    payload = SegmentIdentifyPayload(user_id=user_id_of(customer, rules.user_id), traits=traits, context=context)
    anonymous_id = identify.anonymous_id_of(view)
    if anonymous_id is not None:
        payload["anonymous_id"] = anonymous_id
    payload["message_id"] = _message_id("identify", payload, customer, rules, project_key)
    if customer.last_modified_at:
        payload["timestamp"] = customer.last_modified_at
    return _Said(payload, unreadable, preferences)


def _consent(preferences: Mapping[str, bool]) -> dict[str, Any]:
    return {"consent": {"categoryPreferences": dict(preferences)}}


def _message_id(
    call: str, payload: SegmentIdentifyPayload, customer: Customer, rules: IdentifyRules, project_key: str
) -> str:
    return state_message_id(
        call,
        payload,
        source=rules.source,
        project_key=project_key,
        resource_id=customer.id,
        version=customer.version,
        salt=rules.salt,
    )


def cleared_traits(customer: Customer, rules: IdentifyRules) -> frozenset[str]:
    """Return the traits for which null is sent where they are absent: None clears a trait, a missing one stays.

    A new customer has nothing to clear, unless it may have the user id of a former one, and would inherit its traits.
    """
    may_inherit = rules.clear is ClearTraits.ALL and rules.user_id is not UserIdField.ID
    if customer.version > _FIRST_VERSION or may_inherit:
        return rules.mapping.identify.cleared_by(rules.clear)
    return _NOTHING


_NOTHING: frozenset[str] = frozenset()


def user_id_of(customer: Customer, field: UserIdField) -> str:
    """Return the customer's user id, "" if it does not have the field."""
    written = {
        UserIdField.EMAIL: customer.email,
        UserIdField.ID: customer.id,
        UserIdField.KEY: customer.key,
        UserIdField.EXTERNAL_ID: customer.external_id,
        UserIdField.CUSTOMER_NUMBER: customer.customer_number,
    }
    return as_user_id(written[field], field)


def as_user_id(written: object, field: UserIdField) -> str:
    """Return what is written in the field as a user id, the same for texts that look the same; "" for no text.

    Control characters, invisible format characters (Unicode's Cc and Cf) and blanks around it are removed, and letters
    are composed (NFC, https://unicode.org/reports/tr15). An e-mail address is lower-cased. commercetools' own id stays
    as it is.
    """
    if not isinstance(written, str):
        return ""
    if field is UserIdField.ID:
        return written
    text = written
    if not (text.isascii() and text.isprintable()):
        text = "".join(character for character in text if unicodedata.category(character) not in _INVISIBLE)
    if field is UserIdField.EMAIL:
        text = text.lower()
    return unicodedata.normalize("NFC", text).strip()


def user_id_of_deleted(notification: Notification, field: UserIdField) -> str:
    """Return the user id of a deleted customer, or "" if the notification does not contain it."""
    written = {UserIdField.EMAIL: notification.email, UserIdField.ID: notification.resource_id}
    return as_user_id(written.get(field, notification.identifiers.get(field)), field)
