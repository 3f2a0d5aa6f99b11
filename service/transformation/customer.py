"""A customer as an identify. The rules are those of README's table, "Customer → identify"."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.config import ClearTraits, UserIdField
from service.segment.types import Events, SegmentEvent, SegmentIdentifyPayload
from service.transformation.address import chosen_address, segment_address
from service.transformation.message_id import state_message_id

_FIRST_VERSION = 1
_INVISIBLE = frozenset({"Cc", "Cf"})

# Only commercetools has these traits, so an absent field means an empty trait. Other sources may set the others too.
_OWN_TRAITS = frozenset(
    {"customerNumber", "externalId", "isEmailVerified", "customerGroup", "customerGroups", "stores"}
)
_SHARED_TRAITS = frozenset({"firstName", "lastName", "name", "phone", "address", "company", "birthday"})
_CLEARED: Mapping[ClearTraits, frozenset[str]] = {
    ClearTraits.OFF: frozenset(),
    ClearTraits.OWN: _OWN_TRAITS,
    ClearTraits.ALL: _OWN_TRAITS | _SHARED_TRAITS,
}


@dataclass(frozen=True, slots=True)
class IdentifyRules:
    """What a deployment decides: which field is the user id, what an absent field clears, and the source.

    `source` is a fingerprint of the write key. It makes the messageIds of staging and production different: Segment
    drops a repeated messageId even across sources. `salt` makes all of them new, to tell Segment everything once more.
    """

    user_id: UserIdField = UserIdField.EMAIL
    clear: ClearTraits = ClearTraits.OWN
    source: str = ""
    salt: str = ""


_DEFAULT_RULES = IdentifyRules()


def customer_events(customer: Customer, rules: IdentifyRules, project_key: str) -> Events:
    """Return what Segment is told of a customer: one identify, or none for a customer without a user id.

    The identify has no timestamp, so its time is that of its arrival: "Newest last" in docs/decisions.md.
    """
    payload = transform_customer_to_segment(customer, rules, project_key=project_key)
    payload.pop("timestamp", None)
    if not payload["user_id"]:
        return Events(reason=f"the customer has no {rules.user_id}, which is to be the userId", warn=True)
    return Events((SegmentEvent("identify", payload),))


def transform_customer_to_segment(
    customer: Customer | Mapping[str, Any], rules: IdentifyRules = _DEFAULT_RULES, *, project_key: str = ""
) -> SegmentIdentifyPayload:
    """Return the identify for a customer. The same version gives the same payload.

    `user_id` is "" for a customer without the field that is chosen as user id. commercetools' JSON can be given
    instead of a Customer; it is read first, and raises Malformed if it is not valid.
    """
    if not isinstance(customer, Customer):
        customer = read_customer(customer)
    payload = SegmentIdentifyPayload(
        user_id=_user_id(customer, rules.user_id),
        traits=_without_absent(_traits(customer), customer.version, rules),
        context={"active": False, **({"locale": customer.locale} if customer.locale else {})},
    )
    payload["message_id"] = state_message_id(
        "identify",
        payload,
        source=rules.source,
        project_key=project_key,
        resource_id=customer.id,
        version=customer.version,
        salt=rules.salt,
    )
    if customer.last_modified_at:
        payload["timestamp"] = customer.last_modified_at
    return payload


# Of the fields that can be unknown. What is unknown is not cleared.
_TRAITS_BY_FIELD = {
    "customer_group": "customerGroup",
    "customer_groups": "customerGroups",
    "date_of_birth": "birthday",
    "stores": "stores",
}


def _traits(customer: Customer) -> dict[str, Any]:
    address = chosen_address(customer)
    company = customer.company_name or address.company
    # Readers of `name` split it where a part is missing: "von Stein" alone would get the first name "von".
    name = f"{customer.first_name} {customer.last_name}" if customer.first_name and customer.last_name else None
    traits = {
        "email": customer.email,
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "name": name,
        "phone": address.mobile or address.phone,
        "address": segment_address(address),
        "company": {"name": company} if company else None,
        "birthday": customer.date_of_birth,
        "createdAt": customer.created_at,
        "customerNumber": customer.customer_number,
        "externalId": customer.external_id,
        "commercetoolsId": customer.id,
        "isEmailVerified": customer.is_email_verified,
        "customerGroup": customer.customer_group,
        "customerGroups": list(customer.customer_groups) or None,
        "stores": list(customer.stores) or None,
    }
    for field in customer.unknown:
        del traits[_TRAITS_BY_FIELD[field]]
    return traits


def _without_absent(traits: dict[str, Any], version: int, rules: IdentifyRules) -> dict[str, Any]:
    """Remove absent traits, except those to be cleared: None clears a trait, and a missing trait stays as it is.

    A new customer has nothing to clear, unless it may have the user id of a former one, and would inherit its traits.
    """
    may_inherit = rules.clear is ClearTraits.ALL and rules.user_id is not UserIdField.ID
    cleared = _CLEARED[rules.clear] if version > _FIRST_VERSION or may_inherit else frozenset()
    return {name: trait for name, trait in traits.items() if trait is not None or name in cleared}


def _user_id(customer: Customer, field: UserIdField) -> str:
    written = {
        UserIdField.EMAIL: customer.email,
        UserIdField.ID: customer.id,
        UserIdField.KEY: customer.key,
        UserIdField.EXTERNAL_ID: customer.external_id,
        UserIdField.CUSTOMER_NUMBER: customer.customer_number,
    }
    return _as_user_id(written[field], field)


def _as_user_id(written: object, field: UserIdField) -> str:
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
    return _as_user_id(written.get(field, notification.identifiers.get(field)), field)
