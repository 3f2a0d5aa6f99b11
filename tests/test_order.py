"""What is read of an order and of a payment: which fault refuses it, and which one costs only what is at fault."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from service.commercetools.order import Line, Order, read_order
from service.commercetools.payment import read_payment
from service.serving.decoding import Malformed
from tests.builders import (
    ORDER_ID,
    a_large_order,
    a_line_item,
    a_payment,
    a_refund,
    an_order,
    euros,
    sample,
)
from tests.strategies import places, with_another

LARGE = a_large_order()


def at(path: str) -> tuple[Any, ...]:
    return tuple(int(key) if key.isdigit() else key for key in path.split("."))


def line_of(**changes: Any) -> Line:  # noqa: ANN401  # any JSON
    [line] = read_order(an_order(lineItems=[a_line_item(**changes)])).lines
    return line


def test_an_order_is_read_with_what_its_events_need() -> None:
    order = read_order(LARGE)

    assert (order.id, order.version, order.number, order.cart_id) == (ORDER_ID, 1, "2026-1001", "cart-id")
    assert (order.state, order.payment_state, order.shipment_state) == ("Open", "Paid", "Pending")
    assert order.created_at == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    assert order.last_modified_at == datetime(2026, 2, 3, 4, 5, 6, 789000, UTC)
    assert (order.coupons, order.store, order.custom) == (("SPRING",), "berlin", {"segmentAnonymousId": "browser-1"})
    assert [(line.id, line.custom, line.gift) for line in order.lines] == [
        ("line-1", False, False),
        ("gift", False, True),
        ("fee", True, False),
        ("thanks", True, False),
    ]


@pytest.mark.parametrize(
    ("codes", "coupons"),
    [
        pytest.param([{"state": "MatchesCart", "discountCode": {"obj": {"code": "A"}}}], ("A",), id="it applies"),
        pytest.param([{"discountCode": {"obj": {"code": "A"}}}], ("A",), id="without a state"),
        pytest.param([{"state": "DoesNotMatchCart", "discountCode": {"obj": {"code": "A"}}}], (), id="it does not"),
        pytest.param([{"state": "MatchesCart", "discountCode": {"id": "a"}}], (), id="the code is gone"),
        pytest.param([{"discountCode": {"obj": {"code": one}}} for one in ("B", "", " A ")], ("B", "A"), id="several"),
        pytest.param([5, None, {"state": 5}, {"discountCode": {"obj": {"code": "A"}}}], ("A",), id="beside others"),
        pytest.param("A", (), id="no list"),
    ],
)
def test_the_codes_that_apply_are_read_in_their_order(codes: object, coupons: tuple[str, ...]) -> None:
    assert read_order(an_order(discountCodes=codes)).coupons == coupons


def test_the_price_of_a_line_is_the_sale_price_of_its_product() -> None:
    assert [line.price and line.price.number for line in read_order(LARGE).lines] == [10, 10, 2.5, -1]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({"id": 2, "sku": "S", "key": "K"}, ("S", "K")),
        ({"id": 2, "sku": "S"}, ("S", "S")),
        ({"id": 2}, (None, "2")),
        ({"id": 0}, (None, "0")),
        ({"id": "2", "sku": 5, "key": ["K"]}, (None, None)),
        ({"id": 2, "sku": " \0", "key": ""}, (None, "2")),
        ({}, (None, None)),
        (5, (None, None)),
        (None, (None, None)),
    ],
)
def test_a_variant_is_named_by_its_key_else_its_sku_else_its_number(
    variant: object, expected: tuple[str | None, str | None]
) -> None:
    line = line_of(variant=variant)

    assert (line.sku, line.variant) == expected


def test_texts_are_read_without_nul_and_blanks_and_without_what_is_no_text() -> None:
    names = {"de": " Be\0cher ", "en": "\0", "fr": 5, "it": None, "es": " ", "pl": "\ud800"}

    assert line_of(name=names).names == {"de": "Becher", "pl": "\ud800"}


def test_shipping_is_the_single_one_or_else_the_several() -> None:
    single, several = {"price": euros(1)}, [{"shippingInfo": {"price": euros(2)}}, {}, {"shippingInfo": None}]

    alone = read_order(an_order(shippingInfo=single, shipping=several))
    many = read_order(an_order(shippingInfo=None, shipping=several))

    assert [one.price.number for one in alone.shipping] == [1]
    assert [one.price.number for one in many.shipping] == [2]


REFINEMENTS = [
    *("orderNumber", "paymentState", "shipmentState", "locale", "cart", "cart.id", "store", "store.key"),
    *("discountCodes", "discountCodes.0", "discountCodes.0.state", "discountCodes.0.discountCode"),
    *("discountCodes.0.discountCode.obj", "discountCodes.0.discountCode.obj.code", "custom", "custom.fields"),
    *("lineItems.0.id", "lineItems.0.productId", "lineItems.0.name", "lineItems.0.name.de", "lineItems.0.productSlug"),
    *("lineItems.0.variant", "lineItems.0.variant.id", "lineItems.0.variant.sku", "lineItems.0.variant.images"),
    *("lineItems.0.variant.images.0", "lineItems.0.variant.images.0.url", "lineItems.0.totalPrice"),
    *("customLineItems.0.id", "customLineItems.0.key", "customLineItems.0.name", "customLineItems.0.slug"),
    *("shippingAddress", "billingAddress", "paymentInfo", "taxedPrice.totalTax", "shippingInfo.shippingMethodName"),
]
DECISIVE = [
    *("id", "version", "createdAt", "lastModifiedAt", "customerId", "customerEmail", "orderState"),
    *("totalPrice", "totalPrice.type", "totalPrice.currencyCode", "totalPrice.centAmount", "totalPrice.fractionDigits"),
    *("taxedPrice", "taxedPrice.totalNet", "taxedPrice.totalGross.centAmount", "taxedShippingPrice.totalNet"),
    *("discountOnTotalPrice", "discountOnTotalPrice.discountedAmount", "shippingInfo", "shippingInfo.price"),
    *("shippingInfo.discountedPrice", "shippingInfo.discountedPrice.value", "shippingInfo.taxedPrice.totalNet"),
    *("lineItems", "lineItems.0", "lineItems.0.quantity", "lineItems.0.lineItemMode", "lineItems.0.price"),
    *("lineItems.0.price.value", "lineItems.0.price.discounted", "lineItems.0.price.discounted.value.centAmount"),
    *("lineItems.0.discountedPricePerQuantity", "lineItems.0.discountedPricePerQuantity.0"),
    "lineItems.0.discountedPricePerQuantity.0.quantity",
    "lineItems.0.discountedPricePerQuantity.0.discountedPrice",
    "lineItems.0.discountedPricePerQuantity.0.discountedPrice.includedDiscounts",
    "lineItems.0.discountedPricePerQuantity.0.discountedPrice.includedDiscounts.0.discountedAmount",
    *("customLineItems", "customLineItems.1", "customLineItems.1.totalPrice", "customLineItems.1.money"),
    "customLineItems.1.quantity",
]


@pytest.mark.parametrize("path", REFINEMENTS)
def test_no_order_is_lost_for_a_field_that_only_refines_its_events(path: str) -> None:
    for wrong in (1.5, True, ["x"], [None], None):
        assert read_order(with_another(LARGE, at(path), wrong)).total == read_order(LARGE).total


@pytest.mark.parametrize("path", DECISIVE)
def test_an_order_is_refused_for_a_field_that_decides_its_amounts_or_whom_or_when_it_tells(path: str) -> None:
    for wrong in (1.5, True, ["x"]):
        with pytest.raises(Malformed, match=r"^the order is not valid: "):
            read_order(with_another(LARGE, at(path), wrong))


@pytest.mark.parametrize(
    "path",
    [
        *("id", "version", "createdAt", "totalPrice", "totalPrice.currencyCode", "totalPrice.centAmount"),
        *("taxedPrice.totalNet", "taxedPrice.totalGross", "taxedShippingPrice.totalNet", "shippingInfo.price"),
        *("shippingInfo.discountedPrice.value", "discountOnTotalPrice.discountedAmount"),
        *("lineItems.0.price.discounted.value", "lineItems.0.discountedPricePerQuantity.0.quantity"),
        *("lineItems.0.discountedPricePerQuantity.0.discountedPrice", "lineItems.0", "customLineItems.1.totalPrice"),
        "lineItems.0.discountedPricePerQuantity.0.discountedPrice.includedDiscounts",
    ],
)
def test_a_missing_amount_that_would_count_as_0_refuses_the_order(path: str) -> None:
    with pytest.raises(Malformed, match=r"^the order is not valid: "):
        read_order(with_another(LARGE, at(path), None))


@pytest.mark.parametrize("changes", [{"price": None}, {"price": {}}, {"quantity": None}])
def test_a_line_without_a_price_or_a_quantity_has_none(changes: Mapping[str, Any]) -> None:
    line = line_of(**changes)

    assert (line.price is None, line.quantity is None) == ("price" in changes, "quantity" in changes)


@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-13-01T00:00:00.000Z", "", 1767323045, "0001-01-01T00:00:00+14:00"]
)
@pytest.mark.parametrize("name", ["createdAt", "lastModifiedAt", "completedAt"])
def test_a_time_that_is_none_refuses_the_order(name: str, moment: object) -> None:
    with pytest.raises(Malformed, match=name):
        read_order(an_order() | {name: moment})


@pytest.mark.parametrize("path", ["taxedPrice.totalNet", "lineItems.0.price.value", "shippingInfo.price"])
def test_an_order_in_several_currencies_is_refused(path: str) -> None:
    with pytest.raises(Malformed, match=r"^the order is not valid: its amounts are in several currencies$"):
        read_order(with_another(an_order(), at(path), euros(1) | {"currencyCode": "USD"}))


@pytest.mark.parametrize("quantity", [2**53 + 1, 10**400])
def test_a_quantity_beyond_what_json_s_readers_know_refuses_the_order(quantity: int) -> None:
    with pytest.raises(Malformed, match="quantity"):
        line_of(quantity=quantity)


def test_the_repr_of_an_order_has_neither_the_address_nor_custom_fields() -> None:
    order = read_order(an_order(customerEmail="canary@example.com", custom={"fields": {"birthday": "canary"}}))

    assert (order.email, order.custom) == ("canary@example.com", {"birthday": "canary"})
    assert "canary" not in repr(order)


def test_a_fault_is_told_without_what_is_at_fault() -> None:
    with pytest.raises(Malformed) as caught:
        read_order(an_order(totalPrice=euros(1) | {"centAmount": "canary"}, createdAt="canary"))

    assert str(caught.value) == (
        "the order is not valid: totalPrice: Not a valid amount of money; createdAt: Not a valid datetime"
    )


@pytest.mark.parametrize("document", [LARGE, sample("dotnet-order.json")], ids=["all", "dotnet"])
def test_null_at_any_place_is_absent_or_refused(document: dict[str, Any]) -> None:
    for place in list(places(document))[1:]:
        _read(with_another(document, place, None))


def _read(document: dict[str, Any]) -> Order | None:
    try:
        return read_order(document)
    except Malformed:
        return None


# Payments


def test_only_refunds_in_success_are_read_of_a_payment() -> None:
    others = [
        {"type": "Charge"},
        {"state": "Pending"},
        {"state": "Initial"},
        {"state": "Failure"},
        {"type": "Chargeback"},
    ]
    transactions = [a_refund(id=f"other-{number}", **other) for number, other in enumerate(others)]

    payment = read_payment(a_payment(*transactions, a_refund()))

    assert [one.id for one in payment.refunds] == ["refund-1"]
    assert [one.amount.number for one in payment.refunds] == [10]


@pytest.mark.parametrize(
    "other",
    [
        a_refund(type="Charge", amount="canary", timestamp=5),
        a_refund(state="Pending", amount=None),
        {"type": [], "state": {}},
        {},
        None,
        5,
    ],
    ids=json.dumps,
)
def test_no_refund_is_lost_for_another_transaction(other: object) -> None:
    payment = read_payment(a_payment() | {"transactions": [other, a_refund()]})

    assert [one.id for one in payment.refunds] == ["refund-1"]


@pytest.mark.parametrize(
    "changes", [{"amount": None}, {"amount": {}}, {"amount": "10"}, {"id": None}, {"id": ""}, {"id": 5}]
)
def test_a_refund_without_an_id_or_an_amount_refuses_the_payment(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=r"^a refund of the payment is not valid: (id|amount)"):
        read_payment(a_payment(a_refund() | changes))


@pytest.mark.parametrize("timestamp", [None, "yesterday", 5])
def test_a_refund_whose_time_cannot_be_read_has_none(timestamp: object) -> None:
    [refund] = read_payment(a_payment(a_refund() | {"timestamp": timestamp})).refunds

    assert refund.timestamp is None


def test_a_transaction_that_is_there_twice_is_read_once() -> None:
    payment = read_payment(a_payment(a_refund(), a_refund()))

    assert payment.refunds == read_payment(a_payment(a_refund())).refunds


@pytest.mark.parametrize("transactions", [None, []])
def test_a_payment_without_transactions_has_no_refunds(transactions: object) -> None:
    assert read_payment(a_payment() | {"transactions": transactions}).refunds == ()


def test_a_payment_whose_transactions_are_no_list_is_refused() -> None:
    with pytest.raises(Malformed, match="transactions"):
        read_payment(a_payment() | {"transactions": {}})
