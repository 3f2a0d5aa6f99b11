"""The amounts of an order's events, against sums of fractions from its JSON that share no code with the service."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools.order import read_order
from service.serving.decoding import Malformed
from service.transformation.buyer import Buyer
from service.transformation.order import OrderRules, Sale, completed
from service.transformation.order_amounts import amounts_of
from tests.builders import PROJECT, a_custom_line_item, a_large_order, a_line_item, an_order, euros, sample
from tests.strategies import exact, json_values, places, sold_orders, with_another

Document = dict[str, Any]
AMOUNTS = ("subtotal", "shipping", "tax", "total", "discount")
SAMPLES = sorted(path.name for path in (Path(__file__).parent / "samples").glob("*order*.json"))
ORDERS = [name for name in SAMPLES if isinstance(sample(name), dict) and "lineItems" in sample(name)]
LARGE = a_large_order()


def properties_of(document: Document) -> Document:
    event = completed(Sale(read_order(document), Buyer("user"), OrderRules(), PROJECT))
    return cast("Document", dict(event.payload)["properties"])


def said(number: float | None) -> Fraction:
    """Return the number that JSON shows."""
    return Fraction(json.dumps(number))


def amounts_in(document: Document) -> dict[str, Fraction]:
    properties = properties_of(document)
    assert properties["revenue"] == properties["subtotal"]
    return {name: said(properties[name]) for name in AMOUNTS if name in properties}


def worked_out(order: Document) -> dict[str, Fraction]:
    """Return what the design says: section 7.2 of the reference on orders, in fractions."""
    total, taxed = exact(order["totalPrice"]), order.get("taxedPrice")
    ways = [order["shippingInfo"]] if order.get("shippingInfo") else []
    ways += [way["shippingInfo"] for way in order.get("shipping") or () if way.get("shippingInfo")]
    paid = [exact(way["discountedPrice"]["value"] if way.get("discountedPrice") else way["price"]) for way in ways]
    off = exact(order["discountOnTotalPrice"]["discountedAmount"]) if order.get("discountOnTotalPrice") else Fraction(0)
    if taxed and order.get("taxedShippingPrice"):
        shipping = exact(order["taxedShippingPrice"]["totalNet"])
    else:
        nets = [exact(way["taxedPrice"]["totalNet"]) for way in ways if way.get("taxedPrice")]
        shipping = sum(nets if taxed and len(nets) == len(ways) else paid, Fraction(0))
        if off and total + off > 0:
            shipping = round(shipping * total / (total + off), digits_of(order))
    discount = off + sum(exact(way["price"]) for way in ways) - sum(paid)
    for line in (*order.get("lineItems", ()), *order.get("customLineItems", ())):
        if exact(line["totalPrice"]) < 0:
            discount -= exact(line["totalPrice"])
        elif line.get("lineItemMode") != "GiftLineItem":
            for each in line.get("discountedPricePerQuantity", ()):
                included = each["discountedPrice"]["includedDiscounts"]
                discount += each["quantity"] * sum(exact(one["discountedAmount"]) for one in included)
    discount = round(discount, digits_of(order))
    if not taxed:
        return {"total": total, "subtotal": total - shipping, "shipping": shipping, "discount": discount}
    net, gross = exact(taxed["totalNet"]), exact(taxed["totalGross"])
    tax = gross - net
    return {"total": gross, "subtotal": net - shipping, "shipping": shipping, "tax": tax, "discount": discount}


def digits_of(order: Document) -> int:
    currency = order["totalPrice"]["currencyCode"]
    return int(order["totalPrice"].get("fractionDigits", {"JPY": 0, "KWD": 3, "CLF": 4}.get(currency, 2)))


def assert_both_invariants(order: Document, *, off_by: Fraction = Fraction(0)) -> None:
    """Check that the parts are the total, and that what the products and shipping cost, less the discount, is paid."""
    amounts, products = amounts_in(order), properties_of(order)["products"]
    if "tax" in amounts:
        assert amounts["total"] == amounts["subtotal"] + amounts["shipping"] + amounts["tax"]
    else:
        assert amounts["total"] == amounts["subtotal"] + amounts["shipping"]
    ways = [order.get("shippingInfo"), *(way.get("shippingInfo") for way in order.get("shipping") or ())]
    listed = sum(exact(way["price"]) for way in ways if way)
    cost = sum(said(product["price"]) * product["quantity"] for product in products)
    assert abs(cost + listed - amounts["discount"] - exact(order["totalPrice"])) <= off_by


@pytest.mark.parametrize("name", ORDERS)
def test_the_sums_of_a_real_order_agree(name: str) -> None:
    order = sample(name)
    precise = sum("preciseAmount" in line["price"]["value"] for line in order["lineItems"])

    assert amounts_in(order) == worked_out(order)
    assert_both_invariants(order, off_by=Fraction(precise, 200))


@given(sold_orders())
def test_the_sums_of_an_order_agree(order: Document) -> None:
    assert amounts_in(order) == worked_out(order)
    assert_both_invariants(order)


@given(sold_orders())
def test_inside_total_is_subtotal_with_shipping_and_tax_as_integers(order: Document) -> None:
    amounts = amounts_of(read_order(order))

    assert all(type(one) is int for one in amounts[:5] if one is not None)
    assert amounts.total == amounts.subtotal + amounts.shipping + (amounts.tax or 0)
    assert (
        abs(amounts.of_lines + amounts.on_total + amounts.of_shipping + amounts.of_negative_lines) >= amounts.discount
    )


@given(sold_orders(), st.sampled_from([OrderRules(), OrderRules(source="s")]))
def test_the_same_order_by_the_same_rules_gives_the_same_event(order: Document, rules: OrderRules) -> None:
    again = dict(reversed(json.loads(json.dumps(order)).items()))

    one, other = (completed(Sale(read_order(each), Buyer("user"), rules, PROJECT)) for each in (order, again))

    assert json.dumps(one.payload, default=str) == json.dumps(other.payload, default=str)


def taxed(net: float, gross: float) -> Document:
    return {"totalNet": euros(net), "totalGross": euros(gross)}


def in_currency(currency: str, cents: int) -> Document:
    return {"type": "centPrecision", "currencyCode": currency, "centAmount": cents}


def shipped(price: float, discounted: float | None = None, net: float | None = None) -> Document:
    more = {} if discounted is None else {"discountedPrice": {"value": euros(discounted)}}
    return {"price": euros(price), **more, **({} if net is None else {"taxedPrice": taxed(net, price)})}


def sold(total: float, **changes: Any) -> Document:  # noqa: ANN401  # any JSON
    """Return an order for so much, with nothing but what is given."""
    nothing = dict.fromkeys(("taxedPrice", "taxedShippingPrice", "shippingInfo", "lineItems"))
    return an_order(totalPrice=euros(total), **{**nothing, **changes})


def of_line(quantity: int, *amounts: float) -> list[Document]:
    discounts = [{"discountedAmount": euros(amount)} for amount in amounts]
    return [{"quantity": quantity, "discountedPrice": {"value": euros(1), "includedDiscounts": discounts}}]


OFF = {"discountOnTotalPrice": {"discountedAmount": euros(10)}}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param(LARGE, "23.06 3.71 5.09 31.86 6.54", id="all kinds of discounts"),
        pytest.param(sold(20), "20 0 - 20 0", id="without tax and shipping"),
        pytest.param(sold(20, taxedPrice=taxed(20, 23.8)), "20 0 3.8 23.8 0", id="tax beside the prices"),
        pytest.param(sold(20, taxedPrice=taxed(16.81, 20)), "16.81 0 3.19 20 0", id="tax within the prices"),
        pytest.param(sold(20, taxedPrice=taxed(20, 20)), "20 0 0 20 0", id="a tax of 0 is known"),
        pytest.param(sold(25, shippingInfo=shipped(5)), "20 5 - 25 0", id="the list price of shipping"),
        pytest.param(sold(20, shippingInfo=shipped(5, 0)), "20 0 - 20 5", id="shipping for nothing"),
        pytest.param(sold(22, shippingInfo=shipped(5, 2)), "20 2 - 22 3", id="shipping for less"),
        pytest.param(
            sold(22, taxedPrice=taxed(18, 22), shippingInfo=shipped(5, 2, 1.68)),
            "16.32 1.68 4 22 3",
            id="shipping's own net price",
        ),
        pytest.param(
            sold(25, taxedShippingPrice=taxed(1, 2), shippingInfo=shipped(5, None, 4.2)),
            "20 5 - 25 0",
            id="net prices of shipping beside prices that are not taxed",
        ),
        pytest.param(
            sold(
                27,
                taxedPrice=taxed(24, 27),
                shipping=[{"shippingInfo": shipped(3, None, 2.5)}, {"shippingInfo": shipped(4, 3, 2)}],
            ),
            "19.5 4.5 3 27 1",
            id="several ways of shipping",
        ),
        pytest.param(
            sold(90, shippingInfo=shipped(20), **OFF),
            "72 18 - 90 10",
            id="shipping's share of a discount",
        ),
        pytest.param(
            sold(90, taxedPrice=taxed(80, 90), shippingInfo=shipped(20, None, 16.8), **OFF),
            "64.88 15.12 10 90 10",
            id="the share of its net price",
        ),
        pytest.param(sold(0, **OFF), "0 0 - 0 10", id="for nothing"),
        pytest.param(sold(-10, shippingInfo=shipped(5), **OFF), "-15 5 - -10 10", id="no share of nothing"),
        pytest.param(sold(-20), "-20 0 - -20 0", id="an import below 0"),
        pytest.param(sold(-20, taxedPrice=taxed(-16.81, -20)), "-16.81 0 -3.19 -20 0", id="and taxed"),
        pytest.param(
            sold(14, lineItems=[a_line_item(discountedPricePerQuantity=of_line(2, 1, 2))]),
            "14 0 - 14 6",
            id="two discounts on two units",
        ),
        pytest.param(
            sold(0, lineItems=[a_line_item(lineItemMode="GiftLineItem", discountedPricePerQuantity=of_line(2, 10))]),
            "0 0 - 0 0",
            id="a gift is no discount",
        ),
        pytest.param(
            sold(1, customLineItems=[a_custom_line_item(quantity=2, discountedPricePerQuantity=of_line(2, 0.5))]),
            "1 0 - 1 1",
            id="a discount on a custom line item",
        ),
        pytest.param(
            sold(
                -1, customLineItems=[a_custom_line_item(totalPrice=euros(-1), discountedPricePerQuantity=of_line(1, 5))]
            ),
            "-1 0 - -1 1",
            id="a negative one is a discount, once",
        ),
        pytest.param({**sold(1), "totalPrice": in_currency("JPY", 1500)}, "1500 0 - 1500 0", id="no digits"),
        pytest.param({**sold(1), "totalPrice": in_currency("KWD", 1505)}, "1.505 0 - 1.505 0", id="three digits"),
        pytest.param(
            {**sold(1), "totalPrice": in_currency("QQQ", 1505)},
            "15.05 0 - 15.05 0",
            id="no such currency",
        ),
        pytest.param(
            {**sold(1), "totalPrice": in_currency("JPY", 2**53 + 1)},
            "9007199254740993 0 - 9007199254740993 0",
            id="beyond 2^53",
        ),
    ],
)
def test_subtotal_shipping_tax_total_and_discount(order: Document, expected: str) -> None:
    numbers = {name: Fraction(one) for name, one in zip(AMOUNTS, expected.split(), strict=True) if one != "-"}

    assert amounts_in(order) == numbers


def test_a_discount_in_high_precision_is_rounded_half_to_even_at_the_end() -> None:
    precise = euros(0) | {"type": "highPrecision", "preciseAmount": 2500, "fractionDigits": 6}  # a quarter of a cent
    each = [{"quantity": 2, "discountedPrice": {"includedDiscounts": [{"discountedAmount": precise}]}}]

    discounts = [
        amounts_in(sold(1, lineItems=[a_line_item(discountedPricePerQuantity=each)] * lines))["discount"]
        for lines in (1, 2, 3)
    ]

    assert discounts == [Fraction(0), Fraction("0.01"), Fraction("0.02")]  # 0.005, 0.01 and 0.015


@pytest.mark.parametrize("wrong", ["canary", 1.5, [5], {"a": 1}, True], ids=json.dumps)
def test_a_value_of_another_kind_anywhere_refuses_the_order_or_leaves_its_amounts_as_they_are(wrong: object) -> None:
    before = amounts_in(LARGE)

    for place in list(places(LARGE))[1:]:
        if type(wrong) is not type(_value_at(LARGE, place)):
            assert _amounts_or_refused(with_another(LARGE, place, wrong)) in (before, None), place


@given(st.data())
def test_whatever_a_place_of_an_order_says_what_is_sent_is_json(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(list(places(LARGE))[1:]))
    document = with_another(LARGE, place, data.draw(json_values))

    try:
        properties = properties_of(document)
    except Malformed:
        return
    assert json.loads(json.dumps(properties, allow_nan=False)) == properties


def _value_at(document: Mapping[str, Any], place: tuple[Any, ...]) -> object:
    value: Any = document
    for key in place:
        value = value[key]
    return value


def _amounts_or_refused(document: Document) -> dict[str, Fraction] | None:
    try:
        return amounts_in(document)
    except Malformed:
        return None
