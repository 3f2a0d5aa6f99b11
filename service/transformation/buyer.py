"""Who bought: the same person as the identify of the customer gives, or a guest.

docs/orders.md, "Who"; https://www.twilio.com/docs/segment/connections/spec/best-practices-identify
"""

from collections.abc import Mapping
from typing import NamedTuple

from service.commercetools.customer import Customer
from service.commercetools.order import Order
from service.config import UserIdField
from service.transformation.consent import Consent
from service.transformation.customer import as_user_id, user_id_of
from service.transformation.mapping import ShopMapping, usable_anonymous_id
from service.transformation.paths import View


class Buyer(NamedTuple):
    """Who is told to have bought: `user_id`, `anonymous_id` or both, and the consent of that person.

    `user_id_from` and `anonymous_id_from` are the fields that they come from. `reason` tells why nothing may be told,
    or with `warn`, what an operator should see of it.
    """

    user_id: str = ""
    anonymous_id: str = ""
    preferences: Mapping[str, bool] = {}
    forbidden: bool = False
    reason: str = ""
    warn: bool = False
    user_id_from: str = ""
    anonymous_id_from: str = ""


def needs_customer(order: Order, user_id: UserIdField, consent: Consent | None) -> bool:
    """Tell whether the order's customer must be read to know who bought."""
    if order.customer_id is None:
        return False
    if consent is not None:
        return True
    match user_id:
        case UserIdField.ID:
            return False
        case UserIdField.EMAIL:
            return not as_user_id(order.email, user_id)
        case _:
            return True


def buyer_of(order: Order, customer: Customer | None, field: UserIdField, mapping: ShopMapping) -> Buyer:
    """Return the buyer. `customer` is the order's, None if it was not read or does not exist any more."""
    consent, preferences = mapping.consent, {}
    if consent is not None:
        preferences = consent.preferences(View(customer) if customer is not None else _guest(order, consent))
        if not preferences:
            reason = "no consent could be read, and the mapping file names no category"
            return Buyer(forbidden=True, reason=reason, warn=True)
        missing = consent.missing(preferences)
        if missing:
            return Buyer(forbidden=True, reason=f"no consent for {', '.join(missing)}")
    user_id, user_id_from = _user_id(order, customer, field)
    anonymous_id, anonymous_id_from = _anonymous_id(order, mapping, needed=not user_id)
    reason = ""
    if order.customer_id and not user_id:
        reason = f"told as a guest's: the customer is gone, or has no {field}, which is to be the userId"
    return Buyer(
        user_id,
        anonymous_id,
        preferences,
        reason=reason,
        warn=bool(reason),
        user_id_from=user_id_from,
        anonymous_id_from=anonymous_id_from,
    )


def _user_id(order: Order, customer: Customer | None, field: UserIdField) -> tuple[str, str]:
    if field is UserIdField.ID:
        return order.customer_id or "", "customerId"
    written = as_user_id(order.email, field) if field is UserIdField.EMAIL else ""
    if written:
        return written, "customerEmail"
    return (user_id_of(customer, field) if customer is not None else ""), f"the customer's {field}"


def _anonymous_id(order: Order, mapping: ShopMapping, *, needed: bool) -> tuple[str, str]:
    name = mapping.order.anonymous_id
    own = usable_anonymous_id(order.custom.get(name)) if name else None
    if own:
        return own, f"custom.fields.{name}"
    if not needed:
        return "", ""
    given = usable_anonymous_id(order.anonymous_id)
    return (given, "anonymousId") if given else (f"commercetools-order-{order.id}", "id")


def _guest(order: Order, consent: Consent) -> View:
    """Return the order's own custom fields as the rules for consent see a customer's."""
    paths = [path for rule in consent.rules for path in rule.all_paths if path.of == "customer" and path.custom]
    return View(Customer(order.id, 1, more={path.text: order.custom.get(path.custom) for path in paths if path.custom}))
