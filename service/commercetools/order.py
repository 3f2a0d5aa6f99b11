"""commercetools' Order: the fields that we use. Addresses, names and the way of payment are not read.

https://docs.commercetools.com/api/projects/orders#order
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from marshmallow import validate

from service.commercetools.money import Money, MoneyField
from service.commercetools.resource import ResourceType
from service.serving.decoding import Document, IfAny, Inner, Malformed, Moment, Plain, Several, Text, load, stripped


class Discounted(NamedTuple):
    """How many units of a line have these discounts, each an amount for one unit."""

    quantity: int
    amounts: tuple[Money, ...]


class Line(NamedTuple):
    """A line item, or with `custom` a custom line item. `price` is for one unit, before the discounts on the cart.

    `reduced` tells that it is the price with a discount on the product, `price.discounted`. A quantity or price that is
    not there is None. Only a custom line item surely has a `total`.
    """

    id: str
    quantity: int | None
    price: Money | None
    total: Money | None
    custom: bool
    gift: bool = False
    reduced: bool = False
    product_id: str | None = None
    sku: str | None = None
    variant: str | None = None
    names: Mapping[str, str] = {}
    slugs: Mapping[str, str] = {}
    images: tuple[str, ...] = ()
    discounted: tuple[Discounted, ...] = ()


class Shipping(NamedTuple):
    """One way of shipping: its list price, the price with its own discount, and what is left of that without tax.

    `method` is its position in `shipping`, None for that of `shippingInfo`.
    """

    price: Money
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
    email: str | None = field(default=None, repr=False)
    anonymous_id: str | None = None
    locale: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict, repr=False)


_MOST = 2**53  # beyond it, not every reader of JSON knows the number
_COUNT = validate.Range(min=-_MOST, max=_MOST)


class _TaxedSchema(Document):
    net = MoneyField("totalNet", required=True)
    gross = MoneyField("totalGross", required=True)


class _NetSchema(Document):
    net = MoneyField("totalNet", required=True)


def _net(key: str) -> Inner:
    return Inner(_NetSchema, data_key=key, load_default=None, allow_none=True)


class _PriceSchema(Document):
    value = MoneyField("value", required=True)


class _ProductPriceSchema(Document):
    value = MoneyField("value")
    discounted = Inner(_PriceSchema, load_default=None, allow_none=True)


class _DiscountSchema(Document):
    amount = MoneyField("discountedAmount", required=True)


class _DiscountedPriceSchema(Document):
    discounts = Several(Inner(_DiscountSchema), "includedDiscounts", required=True)


class _DiscountedQuantitySchema(Document):
    quantity = Plain(int, required=True, validate=_COUNT)
    price = Inner(_DiscountedPriceSchema, data_key="discountedPrice", required=True)


class _ImageSchema(Document):
    url = Text()


class _VariantSchema(Document):
    id = IfAny(Plain(int))
    key = IfAny(Text())
    sku = IfAny(Text())
    images = IfAny(Several(IfAny(Inner(_ImageSchema))))


class _LineSchema(Document):
    id = IfAny(Text())
    quantity = Plain(int, validate=_COUNT)
    total = IfAny(MoneyField("totalPrice"))
    product_id = IfAny(Text("productId"))
    name = IfAny(Plain(dict))
    slug = IfAny(Plain(dict, "productSlug"))
    mode = Text("lineItemMode")
    variant = IfAny(Inner(_VariantSchema))
    price = Inner(_ProductPriceSchema, load_default=None, allow_none=True)
    discounted = Several(Inner(_DiscountedQuantitySchema), "discountedPricePerQuantity")


class _CustomLineSchema(Document):
    id = IfAny(Text())
    key = IfAny(Text())
    quantity = Plain(int, validate=_COUNT)
    total = MoneyField("totalPrice", required=True)
    name = IfAny(Plain(dict))
    slug = IfAny(Text())
    money = MoneyField("money")
    discounted = Several(Inner(_DiscountedQuantitySchema), "discountedPricePerQuantity")


class _ShippingInfoSchema(Document):
    price = MoneyField("price", required=True)
    discounted = Inner(_PriceSchema, data_key="discountedPrice", load_default=None, allow_none=True)
    taxed = _net("taxedPrice")


class _ShippingSchema(Document):
    info = Inner(_ShippingInfoSchema, data_key="shippingInfo", load_default=None, allow_none=True)


class _CodeSchema(Document):
    code = Text()


class _CodeReferenceSchema(Document):
    obj = Inner(_CodeSchema, load_default=None, allow_none=True)


class _CodeInfoSchema(Document):
    state = Text()
    reference = Inner(_CodeReferenceSchema, data_key="discountCode", load_default=None, allow_none=True)


class _CartSchema(Document):
    id = Text()


class _StoreSchema(Document):
    key = Text()


class _CustomSchema(Document):
    fields_ = Plain(dict, "fields")


class _OrderSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    version = Plain(int, required=True, validate=validate.Range(min=1))
    total = MoneyField("totalPrice", required=True)
    taxed = Inner(_TaxedSchema, data_key="taxedPrice", load_default=None, allow_none=True)
    taxed_shipping = _net("taxedShippingPrice")
    discount_on_total = Inner(_DiscountSchema, data_key="discountOnTotalPrice", load_default=None, allow_none=True)
    single = Inner(_ShippingInfoSchema, data_key="shippingInfo", load_default=None, allow_none=True)
    multiple = Several(Inner(_ShippingSchema), "shipping")
    lines = Several(Inner(_LineSchema), "lineItems")
    custom_lines = Several(Inner(_CustomLineSchema), "customLineItems")
    codes = IfAny(Several(IfAny(Inner(_CodeInfoSchema)), "discountCodes"))
    cart = IfAny(Inner(_CartSchema))
    store = IfAny(Inner(_StoreSchema))
    number = IfAny(Text("orderNumber"))
    state = Text("orderState")
    payment_state = IfAny(Text("paymentState"))
    shipment_state = IfAny(Text("shipmentState"))
    customer_id = Text("customerId")
    email = Text("customerEmail")
    anonymous_id = Text("anonymousId")
    locale = IfAny(Text())
    created_at = Moment("createdAt")
    last_modified_at = Moment("lastModifiedAt")
    completed_at = Moment("completedAt")
    custom = IfAny(Inner(_CustomSchema))


_ORDER = _OrderSchema()


def read_order(document: Mapping[str, Any]) -> Order:
    """Read commercetools' JSON of an order, or raise Malformed with the fields at fault.

    An amount that is there and cannot be read is a fault, and so is a missing one that would count as 0. So are the
    fields that decide who bought (customerId, customerEmail, anonymousId), what happened (orderState, lineItemMode) and
    when. Anything else is left out where it is of another kind: no order is lost for a name or a picture.
    """
    loaded = load(_ORDER, document, "the order")
    created_at = loaded["created_at"]
    if created_at is None:
        raise Malformed("the order is not valid: createdAt: Missing data for required field")
    taxed = loaded["taxed"] or {}
    multiple = [(method, one["info"]) for method, one in enumerate(loaded["multiple"] or ())]
    infos = multiple if loaded["single"] is None else [(None, loaded["single"])]
    order = Order(
        id=loaded["id"],
        version=loaded["version"],
        total=loaded["total"],
        created_at=created_at,
        last_modified_at=loaded["last_modified_at"] or created_at,
        completed_at=loaded["completed_at"],
        net=taxed.get("net"),
        gross=taxed.get("gross"),
        shipping_net=(loaded["taxed_shipping"] or {}).get("net"),
        discount_on_total=(loaded["discount_on_total"] or {}).get("amount"),
        shipping=tuple(_shipping(info, method) for method, info in infos if info is not None),
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
    if any(money is not None and money.currency != order.total.currency for money in _amounts(order)):
        raise Malformed("the order is not valid: its amounts are in several currencies")
    return order


def _amounts(order: Order) -> Iterator[Money | None]:
    yield from (order.net, order.gross, order.shipping_net, order.discount_on_total)
    for way in order.shipping:
        yield from (way.price, way.discounted, way.net)
    for line in order.lines:
        yield line.price
        yield from (amount for one in line.discounted for amount in one.amounts)
        if line.custom:
            yield line.total


_SAME = (
    *("number", "state", "payment_state", "shipment_state"),
    *("customer_id", "email", "anonymous_id", "locale"),
)


def _coupons(codes: Sequence[Mapping[str, Any] | None]) -> list[str]:
    found = []
    for one in filter(None, codes):
        code = ((one["reference"] or {}).get("obj") or {}).get("code")
        if code and one["state"] in {None, "MatchesCart"}:
            found.append(code)
    return found


def _shipping(info: Mapping[str, Any], method: int | None) -> Shipping:
    return Shipping(
        price=info["price"],
        discounted=(info["discounted"] or {}).get("value"),
        net=(info["taxed"] or {}).get("net"),
        method=method,
    )


def _discounted(several: Sequence[Mapping[str, Any]] | None) -> tuple[Discounted, ...]:
    return tuple(
        Discounted(one["quantity"], tuple(discount["amount"] for discount in one["price"]["discounts"]))
        for one in several or ()
    )


def _line(line: Mapping[str, Any]) -> Line:
    variant, price = line["variant"] or {}, line["price"] or {}
    number = variant.get("id")
    reduced = (price.get("discounted") or {}).get("value")
    return Line(
        id=line["id"] or "",
        quantity=line["quantity"],
        price=reduced or price.get("value"),
        total=line["total"],
        custom=False,
        gift=line["mode"] == "GiftLineItem",
        reduced=reduced is not None,
        product_id=line["product_id"],
        sku=variant.get("sku"),
        variant=variant.get("key") or variant.get("sku") or (str(number) if number is not None else None),
        names=_texts(line["name"]),
        slugs=_texts(line["slug"]),
        images=tuple(image["url"] for image in variant.get("images") or () if image and image["url"]),
        discounted=_discounted(line["discounted"]),
    )


def _custom_line(line: Mapping[str, Any]) -> Line:
    return Line(
        id=line["id"] or "",
        quantity=line["quantity"],
        price=line["money"],
        total=line["total"],
        custom=True,
        product_id=line["id"],
        sku=line["slug"],
        variant=line["key"] or line["slug"],
        names=_texts(line["name"]),
        discounted=_discounted(line["discounted"]),
    )


def _texts(localized: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the texts that are not blank, by locale."""
    texts = {}
    for locale, text in (localized or {}).items():
        if isinstance(text, str) and (written := stripped(text)):
            texts[locale] = written
    return texts


ORDER = ResourceType("order", "orders", read_order, expand=("discountCodes[*].discountCode",), query_size=10, queries=4)
