"""commercetools' Order: the fields that we use. Addresses, names and the way of payment are not read.

https://docs.commercetools.com/api/projects/orders#order
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from marshmallow import validate

from service.commercetools.money import Money, MoneySchema, money_of
from service.commercetools.resource import ResourceType
from service.serving.decoding import Document, Inner, Malformed, Moment, Plain, Several, Text, load


@dataclass(frozen=True, slots=True)
class Discounted:
    """How many units of a line have these discounts, each an amount for one unit."""

    quantity: int
    amounts: tuple[Money, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line item, or with `custom` a custom line item. `price` is for one unit, before the discounts on the cart.

    `reduced` tells that it is the price with a discount on the product, `price.discounted`.
    """

    id: str
    quantity: int
    price: Money | None
    total: Money | None
    custom: bool
    gift: bool = False
    reduced: bool = False
    product_id: str | None = None
    sku: str | None = None
    variant: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    slugs: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    discounted: tuple[Discounted, ...] = ()


@dataclass(frozen=True, slots=True)
class Shipping:
    """One way of shipping: its list price, the price with its own discount, and what is left of that without tax.

    `method` is its position in `shipping`, None for that of `shippingInfo`.
    """

    price: Money | None
    discounted: Money | None
    net: Money | None
    method: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order at one version. A field that is unset or empty is None.

    `net` and `gross` are those of `taxedPrice`, `shipping_net` is that of `taxedShippingPrice`. `coupons` are the codes
    that apply, as far as they could be read. `custom` are its custom fields, as commercetools' JSON.
    """

    id: str
    version: int
    total: Money
    created_at: datetime
    last_modified_at: datetime
    completed_at: datetime | None = None
    net: Money | None = None
    gross: Money | None = None
    shipping_net: Money | None = None
    discount_on_total: Money | None = None
    shipping: tuple[Shipping, ...] = ()
    lines: tuple[Line, ...] = ()
    coupons: tuple[str, ...] = ()
    cart_id: str | None = None
    number: str | None = None
    store: str | None = None
    state: str | None = None
    payment_state: str | None = None
    shipment_state: str | None = None
    customer_id: str | None = None
    email: str | None = None
    anonymous_id: str | None = None
    locale: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)


class _TaxedSchema(Document):
    net = Inner(MoneySchema, data_key="totalNet", load_default=None, allow_none=True)
    gross = Inner(MoneySchema, data_key="totalGross", load_default=None, allow_none=True)


def _money(key: str) -> Inner:
    return Inner(MoneySchema, data_key=key, load_default=None, allow_none=True)


def _taxed(key: str) -> Inner:
    return Inner(_TaxedSchema, data_key=key, load_default=None, allow_none=True)


class _PriceSchema(Document):
    value = _money("value")


class _ProductPriceSchema(Document):
    value = _money("value")
    discounted = Inner(_PriceSchema, load_default=None, allow_none=True)


class _IncludedDiscountSchema(Document):
    amount = _money("discountedAmount")


class _DiscountedPriceSchema(Document):
    discounts = Several(Inner(_IncludedDiscountSchema), "includedDiscounts")


class _DiscountedQuantitySchema(Document):
    quantity = Plain(int, absent=0)
    price = Inner(_DiscountedPriceSchema, data_key="discountedPrice", load_default=None, allow_none=True)


class _ImageSchema(Document):
    url = Text()


class _VariantSchema(Document):
    id = Plain(int)
    key = Text()
    sku = Text()
    images = Several(Inner(_ImageSchema))


class _LineSchema(Document):
    id = Text()
    quantity = Plain(int, absent=0)
    total = _money("totalPrice")
    product_id = Text("productId")
    name = Plain(dict)
    slug = Plain(dict, "productSlug")
    mode = Text("lineItemMode")
    variant = Inner(_VariantSchema, load_default=None, allow_none=True)
    price = Inner(_ProductPriceSchema, load_default=None, allow_none=True)
    discounted = Several(Inner(_DiscountedQuantitySchema), "discountedPricePerQuantity")


class _CustomLineSchema(Document):
    id = Text()
    key = Text()
    quantity = Plain(int, absent=1)
    total = _money("totalPrice")
    name = Plain(dict)
    slug = Text()
    money = _money("money")
    discounted = Several(Inner(_DiscountedQuantitySchema), "discountedPricePerQuantity")


class _ShippingInfoSchema(Document):
    price = _money("price")
    discounted = Inner(_PriceSchema, data_key="discountedPrice", load_default=None, allow_none=True)
    taxed = _taxed("taxedPrice")


class _ShippingSchema(Document):
    info = Inner(_ShippingInfoSchema, data_key="shippingInfo", load_default=None, allow_none=True)


class _CodeSchema(Document):
    code = Text()


class _CodeReferenceSchema(Document):
    obj = Inner(_CodeSchema, load_default=None, allow_none=True)


class _CodeInfoSchema(Document):
    state = Text()
    reference = Inner(_CodeReferenceSchema, data_key="discountCode", load_default=None, allow_none=True)


class _DiscountOnTotalSchema(Document):
    amount = _money("discountedAmount")


class _KeyedSchema(Document):
    id = Text()
    key = Text()


class _CustomSchema(Document):
    fields_ = Plain(dict, "fields")


class _OrderSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    version = Plain(int, required=True, validate=validate.Range(min=1))
    total = Inner(MoneySchema, data_key="totalPrice", required=True)
    taxed = _taxed("taxedPrice")
    taxed_shipping = _taxed("taxedShippingPrice")
    discount_on_total = Inner(
        _DiscountOnTotalSchema, data_key="discountOnTotalPrice", load_default=None, allow_none=True
    )
    single = Inner(_ShippingInfoSchema, data_key="shippingInfo", load_default=None, allow_none=True)
    multiple = Several(Inner(_ShippingSchema), "shipping")
    lines = Several(Inner(_LineSchema), "lineItems")
    custom_lines = Several(Inner(_CustomLineSchema), "customLineItems")
    codes = Several(Inner(_CodeInfoSchema), "discountCodes")
    cart = Inner(_KeyedSchema, load_default=None, allow_none=True)
    store = Inner(_KeyedSchema, load_default=None, allow_none=True)
    number = Text("orderNumber")
    state = Text("orderState")
    payment_state = Text("paymentState")
    shipment_state = Text("shipmentState")
    customer_id = Text("customerId")
    email = Text("customerEmail")
    anonymous_id = Text("anonymousId")
    locale = Text()
    created_at = Moment("createdAt")
    last_modified_at = Moment("lastModifiedAt")
    completed_at = Moment("completedAt")
    custom = Inner(_CustomSchema, load_default=None, allow_none=True)


_ORDER = _OrderSchema()


def read_order(document: Mapping[str, Any]) -> Order:
    """Read commercetools' JSON of an order, or raise Malformed with the fields at fault."""
    loaded = load(_ORDER, document, "the order")
    total = money_of(loaded["total"])
    if total is None:
        raise Malformed("the order is not valid: totalPrice: Not a valid amount")
    created_at = loaded["created_at"]
    if created_at is None:
        raise Malformed("the order is not valid: createdAt: Missing data for required field")
    taxed, taxed_shipping = loaded["taxed"] or {}, loaded["taxed_shipping"] or {}
    multiple = [(method, one["info"]) for method, one in enumerate(loaded["multiple"] or ())]
    return Order(
        id=loaded["id"],
        version=loaded["version"],
        total=total,
        created_at=created_at,
        last_modified_at=loaded["last_modified_at"] or created_at,
        completed_at=loaded["completed_at"],
        net=money_of(taxed.get("net")),
        gross=money_of(taxed.get("gross")),
        shipping_net=money_of(taxed_shipping.get("net")),
        discount_on_total=money_of((loaded["discount_on_total"] or {}).get("amount")),
        shipping=tuple(
            _shipping(info, method) for method, info in [(None, loaded["single"]), *multiple] if info is not None
        ),
        lines=(
            *(_line(line) for line in loaded["lines"] or ()),
            *(_custom_line(line) for line in loaded["custom_lines"] or ()),
        ),
        coupons=tuple(_coupons(loaded["codes"] or ())),
        cart_id=(loaded["cart"] or {}).get("id"),
        store=(loaded["store"] or {}).get("key"),
        custom=(loaded["custom"] or {}).get("fields_") or {},
        **{name: loaded[name] for name in _SAME},
    )


_SAME = (
    *("number", "state", "payment_state", "shipment_state"),
    *("customer_id", "email", "anonymous_id", "locale"),
)


def _coupons(codes: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for one in codes:
        code = ((one["reference"] or {}).get("obj") or {}).get("code")
        if code and one["state"] in {None, "MatchesCart"}:
            found.append(code)
    return found


def _shipping(info: Mapping[str, Any], method: int | None) -> Shipping:
    return Shipping(
        price=money_of(info["price"]),
        discounted=money_of((info["discounted"] or {}).get("value")),
        net=money_of((info["taxed"] or {}).get("net")),
        method=method,
    )


def _discounted(several: Sequence[Mapping[str, Any]] | None) -> tuple[Discounted, ...]:
    return tuple(
        Discounted(
            one["quantity"],
            tuple(
                money
                for discount in (one["price"] or {}).get("discounts") or ()
                if (money := money_of(discount["amount"])) is not None
            ),
        )
        for one in several or ()
    )


def _line(line: Mapping[str, Any]) -> Line:
    variant, price = line["variant"] or {}, line["price"] or {}
    number = variant.get("id")
    reduced = money_of((price.get("discounted") or {}).get("value"))
    return Line(
        id=line["id"] or "",
        quantity=line["quantity"],
        price=reduced or money_of(price.get("value")),
        total=money_of(line["total"]),
        custom=False,
        gift=line["mode"] == "GiftLineItem",
        reduced=reduced is not None,
        product_id=line["product_id"],
        sku=variant.get("sku"),
        variant=variant.get("key") or variant.get("sku") or (str(number) if number is not None else None),
        names=_texts(line["name"]),
        slugs=_texts(line["slug"]),
        images=tuple(image["url"] for image in variant.get("images") or () if image["url"]),
        discounted=_discounted(line["discounted"]),
    )


def _custom_line(line: Mapping[str, Any]) -> Line:
    return Line(
        id=line["id"] or "",
        quantity=line["quantity"],
        price=money_of(line["money"]),
        total=money_of(line["total"]),
        custom=True,
        product_id=line["id"],
        sku=line["slug"],
        variant=line["key"] or line["slug"],
        names=_texts(line["name"]),
        discounted=_discounted(line["discounted"]),
    )


def _texts(localized: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the texts that are not blank, by locale."""
    texts = ((locale, text.strip()) for locale, text in (localized or {}).items() if isinstance(text, str))
    return {locale: text for locale, text in texts if text}


ORDER = ResourceType("order", "orders", read_order, expand=("discountCodes[*].discountCode",), query_size=10)
