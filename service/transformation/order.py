"""An order as Segment's e-commerce events: facts, each told once, filled from how the order is now.

docs/orders.md has the table of events and properties.
https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

from service.commercetools.money import number
from service.commercetools.order import Line, Order
from service.commercetools.payment import Refund
from service.config import OrderImports, UserIdField
from service.segment.types import SegmentEvent, SegmentTrackPayload
from service.transformation.buyer import Buyer
from service.transformation.customer import IdentifyRules
from service.transformation.mapping import OrderMapping, ShopMapping
from service.transformation.mapping_file import built_in_mapping
from service.transformation.message_id import fact_message_id
from service.transformation.order_amounts import amounts_of, is_negative


@dataclass(frozen=True, slots=True)
class OrderRules:
    """What a deployment decides about an order's events, besides the order. `source` and `salt` as for an identify."""

    user_id: UserIdField = UserIdField.EMAIL
    imports: OrderImports = OrderImports.NONE
    source: str = ""
    salt: str = ""
    mapping: ShopMapping = field(default_factory=built_in_mapping)

    @classmethod
    def beside(cls, rules: IdentifyRules, imports: OrderImports) -> "OrderRules":
        """Return the rules for orders of a shop whose customers are told by these rules."""
        return cls(rules.user_id, imports, rules.source, rules.salt, rules.mapping)

    @property
    def fingerprint(self) -> str:
        """Return a text that is the same for rules of the same effect, as that of IdentifyRules."""
        consent = self.mapping.consent
        decisive = (self.user_id, self.imports, asdict(self.mapping.order), consent and consent.effective)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sale:
    """An order, who bought it, and the rules by which it is told."""

    order: Order
    buyer: Buyer
    rules: OrderRules
    project_key: str


def completed(sale: Sale) -> SegmentEvent:
    """Return the Order Completed of an order: once, whatever happens to the order later."""
    properties = {"checkout_id": sale.order.cart_id, **_shared(sale.order)}
    properties["revenue"] = properties["subtotal"]
    at = sale.order.completed_at or sale.order.created_at
    message_id = _message_id("order-completed", sale, sale.order.id)
    return _event("Order Completed", sale, properties | _products(sale), at, message_id)


def cancelled(sale: Sale, at: datetime | None = None) -> SegmentEvent:
    """Return the Order Cancelled of an order, at the time of the Message that tells it, else of its last change."""
    properties = _shared(sale.order) | _products(sale)
    message_id = _message_id("order-cancelled", sale, sale.order.id)
    return _event("Order Cancelled", sale, properties, at or sale.order.last_modified_at, message_id)


def updated(sale: Sale) -> SegmentEvent:
    """Return the Order Updated of an order at its version: a snapshot."""
    order = sale.order
    states = {
        "order_state": order.state,
        "payment_state": order.payment_state,
        "shipment_state": order.shipment_state,
    }
    properties = _shared(order) | states | _products(sale)
    message_id = _message_id("order-updated", sale, order.id, order.version)
    return _event("Order Updated", sale, properties, order.last_modified_at, message_id)


def refunded(sale: Sale, payment_id: str, refund: Refund, at: datetime | None) -> SegmentEvent:
    """Return the Order Refunded of a refund: positive, with products only if it is the whole order.

    `at` is the time of the Message, for a refund without one.
    """
    order, paid_back = sale.order, refund.amount
    amount = abs(paid_back.fine)
    properties: dict[str, Any] = {
        "order_id": order.id,
        "refund_id": refund.id,
        "total": number(amount),
        "currency": paid_back.currency,
    }
    if is_whole(order, refund):
        properties |= _products(sale)
    message_id = _message_id("order-refunded", sale, payment_id, refund.id)
    return _event("Order Refunded", sale, properties, refund.timestamp or at, message_id)


def is_whole(order: Order, refund: Refund) -> bool:
    """Tell whether a refund is the whole order: by one transaction, in the order's currency."""
    paid_back = refund.amount
    return paid_back.currency == order.total.currency and abs(paid_back.fine) >= amounts_of(order).total


def _message_id(kind: str, sale: Sale, resource_id: str, *fact: str | int) -> str:
    rules = sale.rules
    return fact_message_id(
        kind, fact, source=rules.source, project_key=sale.project_key, resource_id=resource_id, salt=rules.salt
    )


def _event(name: str, sale: Sale, properties: Mapping[str, Any], at: datetime | None, message_id: str) -> SegmentEvent:
    order, buyer = sale.order, sale.buyer
    context: dict[str, Any] = {"active": False}
    if order.locale:
        context["locale"] = order.locale
    if order.email:
        context["traits"] = {"email": order.email}
    if buyer.preferences:
        context["consent"] = {"categoryPreferences": dict(buyer.preferences)}
    payload = SegmentTrackPayload(
        event=name,
        properties={key: value for key, value in properties.items() if value is not None},
        context=context,
        message_id=message_id,
    )
    if at is not None:
        payload["timestamp"] = at
    if buyer.user_id:
        payload["user_id"] = buyer.user_id
    if buyer.anonymous_id:
        payload["anonymous_id"] = buyer.anonymous_id
    return SegmentEvent("track", payload)


def _shared(order: Order) -> dict[str, Any]:
    amounts = amounts_of(order)
    return {
        "order_id": order.id,
        "order_number": order.number,
        "affiliation": order.store,
        "subtotal": number(amounts.subtotal),
        "total": number(amounts.total),
        "shipping": number(amounts.shipping),
        "tax": None if amounts.tax is None else number(amounts.tax),
        "discount": number(amounts.discount),
        "coupon": ",".join(order.coupons) or None,
        "currency": order.total.currency,
    }


def _products(sale: Sale) -> dict[str, Any]:
    rules = sale.rules.mapping.order
    locale = rules.locale or sale.order.locale
    lines = [line for line in sale.order.lines if not is_negative(line)]
    return {"products": [_product(line, position, locale, rules) for position, line in enumerate(lines, 1)]}


def _product(line: Line, position: int, locale: str | None, rules: OrderMapping) -> dict[str, Any]:
    product = {
        "product_id": line.product_id,
        "sku": line.sku,
        "name": localized(line.names, locale)[1],
        "variant": line.variant,
        "price": 0 if line.gift else None if line.price is None else number(line.price.fine),
        "quantity": line.quantity,
        "position": position,
        "url": _url(line, locale, rules.product_url),
        "image_url": next((url for url in line.images if _WEB.match(url)), None),
    }
    return {key: value for key, value in product.items() if value is not None}


_WEB = re.compile(r"https?://", re.IGNORECASE)


def _url(line: Line, locale: str | None, template: str | None) -> str | None:
    if template is None or line.custom:
        return None
    found, slug = localized(line.slugs, locale)
    url = template
    for name, value in (("slug", slug), ("sku", line.sku), ("locale", found)):
        if f"{{{name}}}" in url:
            if not value:
                return None
            url = url.replace(f"{{{name}}}", quote(value, safe="", errors="replace"))  # a lone surrogate
    return url


def localized(texts: Mapping[str, str], locale: str | None) -> tuple[str | None, str | None]:
    """Return a locale and its text: of this locale, its language, a locale of that language, English, or the first."""
    if locale is not None and locale in texts:
        return locale, texts[locale]
    language = (locale or "").partition("-")[0]
    of_language = [key for key in sorted(texts) if language and key.startswith(f"{language}-")]
    english = [key for key in sorted(texts) if key.startswith("en-")]
    wanted = (language, *of_language, "en", *english, *sorted(texts))
    found = next((key for key in wanted if key in texts), None)
    return (None, None) if found is None else (found, texts[found])


def fitted(event: SegmentEvent, fits: Callable[[SegmentEvent], bool]) -> SegmentEvent:
    """Return the event, with less about its products if it is too large for Segment; amounts stay as they are.

    The addresses go first, then the last products: as few as must go. `products_total` is then the number of all.
    """
    if fits(event) or "products" not in _properties(event):
        return event
    products = [
        {name: value for name, value in product.items() if name not in _ADDRESSES}
        for product in _properties(event)["products"]
    ]
    whole = _with(event, products=products)
    if fits(whole):
        return whole
    most, too_many = 0, len(products)
    while too_many - most > 1:
        middle = (most + too_many) // 2
        if fits(_shortened(event, products, middle)):
            most = middle
        else:
            too_many = middle
    return _shortened(event, products, most)


_ADDRESSES = frozenset({"url", "image_url"})


def _shortened(event: SegmentEvent, products: Sequence[Mapping[str, Any]], number_of: int) -> SegmentEvent:
    return _with(event, products=products[:number_of], products_total=len(products))


def _with(event: SegmentEvent, **properties: Any) -> SegmentEvent:  # noqa: ANN401  # any JSON
    payload = cast("SegmentTrackPayload", {**event.payload, "properties": _properties(event) | properties})
    return SegmentEvent("track", payload)


def _properties(event: SegmentEvent) -> dict[str, Any]:
    return cast("SegmentTrackPayload", event.payload)["properties"]
