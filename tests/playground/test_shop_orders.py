"""The shop sells, and publishes what commercetools publishes about orders and payments."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from playground.baskets import Basket, Item, random_basket
from playground.shop import Shop

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MUGS = Basket("EUR", (Item(1, Decimal("10.00"), 2),), Decimal("0.19"), shipping=Decimal("4.90"))


class Topic(list[dict[str, Any]]):
    """What was published, decoded."""

    def __call__(self, data: bytes, _attributes: Mapping[str, str]) -> None:
        self.append(json.loads(data))

    def told(self) -> list[tuple[str, int]]:
        """Return the kind and the version of what was published since the last look."""
        kinds = [
            (one.get("type") or one["notificationType"], one.get("resourceVersion") or one["version"]) for one in self
        ]
        self.clear()
        return kinds


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def shop(topic: Topic) -> Shop:
    return Shop(publish=topic, clock=lambda: NOON)


def cents(order: Mapping[str, Any], *path: str) -> int:
    found: Any = order
    for name in path:
        found = found[name]
    return int(found["centAmount"])


# Messages


@pytest.mark.parametrize("kind", ["OrderCreated", "OrderCreatedFromRecurringOrder"])
def test_a_new_order_is_told_by_a_message_with_the_order_in_it(shop: Shop, topic: Topic, kind: str) -> None:
    recurring = kind == "OrderCreatedFromRecurringOrder"
    order = shop.sales.place(MUGS, recurring=recurring, customerId="a-customer", orderNumber=None)

    message, change = topic
    assert (message["type"], message["order"], message["resourceVersion"]) == (kind, order, 1)
    assert message["resource"] == change["resource"] == {"typeId": "order", "id": order["id"]}
    assert message["createdAt"] == order["createdAt"]
    assert change["notificationType"] == "ResourceCreated"
    assert order["customerId"] == "a-customer"
    assert "orderNumber" not in order
    assert shop.sales.orders[order["id"]] == order


def test_an_import_says_when_the_order_was_completed_and_has_no_cart(shop: Shop, topic: Topic) -> None:
    order = shop.sales.import_order(MUGS, age=timedelta(hours=50))

    assert topic.told()[0] == ("OrderImported", 1)
    assert order["completedAt"] == "2025-12-31T10:00:00.000Z"
    assert "cart" not in order


def test_each_action_has_its_message_and_its_version(shop: Shop, topic: Topic) -> None:
    order_id = shop.sales.place(MUGS)["id"]
    topic.told()

    shop.sales.change(
        order_id,
        {"action": "changeOrderState", "orderState": "Open"},  # as it is: no effect
        {"action": "changeOrderState", "orderState": "Cancelled"},
        {"action": "changePaymentState", "paymentState": "Paid"},
        {"action": "changeShipmentState", "shipmentState": "Shipped"},
        {"action": "setCustomerId", "customerId": "a-customer"},
        {"action": "setOrderNumber", "orderNumber": "7"},
    )

    first, second, *_ = topic
    assert (first["orderState"], first["oldOrderState"]) == ("Cancelled", "Open")
    assert second["paymentState"] == "Paid"
    assert "oldPaymentState" not in second
    version = shop.sales.orders[order_id]["version"]
    assert topic.told() == [
        ("OrderStateChanged", 2),
        ("OrderPaymentStateChanged", 3),
        ("OrderShipmentStateChanged", 4),
        ("OrderCustomerSet", 5),
        ("ResourceUpdated", version),
    ]
    assert version in (6, 7)


@pytest.mark.parametrize(
    "action", [{"action": "changeOrderState", "orderState": "Lost"}, {"action": "addLineItem"}], ids=str
)
def test_what_commercetools_would_refuse_changes_nothing(shop: Shop, topic: Topic, action: dict[str, Any]) -> None:
    order = shop.sales.place(MUGS)
    topic.told()

    with pytest.raises(ValueError, match="not a"):
        shop.sales.change(order["id"], action)

    assert (shop.sales.orders[order["id"]], topic) == (order, [])


def test_an_order_edit_changes_the_amounts_and_says_what_they_were(shop: Shop, topic: Topic) -> None:
    order = shop.sales.place(MUGS)
    topic.told()

    edited = shop.sales.edit(order["id"], Basket("EUR", (Item(1, Decimal("10.00")),), None))

    (message, _) = topic
    assert message["type"] == "OrderEditApplied"
    result = message["result"]
    assert (cents(result, "excerptBeforeEdit", "totalPrice"), result["excerptBeforeEdit"]["version"]) == (2490, 1)
    assert (cents(result, "excerptAfterEdit", "totalPrice"), result["excerptAfterEdit"]["version"]) == (1000, 2)
    assert cents(edited, "totalPrice") == 1000
    assert "shippingInfo" not in edited
    assert "taxedPrice" not in edited


def test_a_payment_comes_before_its_order_and_its_refunds_go_through_their_states(shop: Shop, topic: Topic) -> None:
    payment = shop.sales.pay(Decimal("24.90"), "EUR")
    assert topic[0]["payment"] == payment
    assert [one["type"] for one in payment["transactions"]] == ["Charge"]

    refund = shop.sales.refund(payment["id"], Decimal("5.00"), dated=False)
    added = topic[2]
    shop.sales.change_refund(refund, "Pending")
    shop.sales.change_refund(refund, "Success")

    assert added["transaction"]["amount"]["centAmount"] == 500
    assert (added["transaction"]["type"], added["transaction"]["state"]) == ("Refund", "Initial")
    assert "timestamp" not in added["transaction"]
    told = [one for one in topic if one.get("type") == "PaymentTransactionStateChanged"]
    assert [(one["transactionId"], one["state"]) for one in told] == [(refund, "Pending"), (refund, "Success")]
    assert shop.sales.payments[payment["id"]]["transactions"][-1]["state"] == "Success"


def test_a_deleted_order_is_told_with_what_it_was(shop: Shop, topic: Topic) -> None:
    order = shop.sales.place(MUGS)
    topic.told()

    assert shop.sales.delete(order["id"]) == order

    assert topic[0]["order"]["id"] == order["id"]
    assert topic.told() == [("OrderDeleted", 1), ("ResourceDeleted", 1)]
    assert order["id"] not in shop.sales.orders


def test_only_what_the_subscription_names_is_published(topic: Topic) -> None:
    messages: list[dict[str, Any]] = [
        {"resourceTypeId": "order", "types": ["OrderStateChanged"]},
        {"resourceTypeId": "customer"},
    ]
    shop = Shop(publish=topic, messages=messages, changes=[{"resourceTypeId": "customer"}])

    shop.create()
    order_id = shop.sales.place(MUGS)["id"]
    shop.sales.pay(Decimal(1), "EUR")
    shop.sales.change(order_id, {"action": "changeOrderState", "orderState": "Complete"})

    assert [kind for kind, _ in topic.told()] == ["CustomerCreated", "ResourceCreated", "OrderStateChanged"]


# Amounts, worked out by hand


def test_tax_in_prices_is_taken_out_of_each_line_and_of_shipping(shop: Shop) -> None:
    order = shop.sales.place(MUGS)

    assert cents(order, "totalPrice") == cents(order, "taxedPrice", "totalGross") == 2490
    assert cents(order, "taxedPrice", "totalNet") == 1681 + 412  # 20.00 / 1.19, 4.90 / 1.19
    assert cents(order, "taxedShippingPrice", "totalNet") == 412


def test_tax_not_in_prices_comes_on_top_of_the_total_price(shop: Shop) -> None:
    basket = Basket("KWD", (Item(1, Decimal("1.005"), 3, was=Decimal("1.500")),), Decimal("0.2"), taxed_prices=False)

    order = shop.sales.place(basket)

    assert cents(order, "totalPrice") == cents(order, "taxedPrice", "totalNet") == 3015
    assert cents(order, "taxedPrice", "totalGross") == 3618
    price = order["lineItems"][0]["price"]
    assert (cents(price, "value"), cents(price, "discounted", "value")) == (1500, 1005)


def test_a_discount_on_the_total_is_shared_by_lines_and_shipping(shop: Shop) -> None:
    items = (
        Item(1, Decimal(800), 2, off=Decimal(100)),
        Item(2, Decimal(500), gift=True),
        Item(3, Decimal(-300), custom=True),
    )
    basket = Basket("JPY", items, None, shipping=Decimal(500), shipping_off=Decimal(100), total_off=Decimal(150))

    order = shop.sales.place(basket)

    assert cents(order, "totalPrice") == 1400 - 300 + 400 - 150
    assert order["totalPrice"]["fractionDigits"] == 0
    assert cents(order, "discountOnTotalPrice", "discountedAmount") == 150
    assert cents(order, "shippingInfo", "discountedPrice", "value") == 400
    assert basket.paid_for_shipping.net == 360  # 400 * 1350 / 1500
    assert [paid.net for paid in basket.paid_for_items] == [1400 - 110, 0, -300]
    discounted = order["lineItems"][0]["discountedPricePerQuantity"][0]
    assert cents(discounted["discountedPrice"]["includedDiscounts"][0], "discountedAmount") == 100
    assert [line["lineItemMode"] for line in order["lineItems"]] == ["Standard", "GiftLineItem"]


@pytest.mark.parametrize("seed", range(40))
def test_the_sums_of_a_random_order_agree(seed: int) -> None:
    basket = random_basket(Random(seed), ["code"])  # noqa: S311  # no cryptography
    order = basket.amounts()

    lines = [*order["lineItems"], *order["customLineItems"]]
    off = cents(order, "discountOnTotalPrice", "discountedAmount") if basket.total_off else 0
    shipping = order.get("shippingInfo")
    cost = 0 if shipping is None else cents(shipping.get("discountedPrice", {"value": shipping["price"]}), "value")
    assert sum(cents(line, "totalPrice") for line in lines) + cost - off == cents(order, "totalPrice") > 0
    if basket.rate is not None:
        side = "totalGross" if basket.taxed_prices else "totalNet"
        assert cents(order, "taxedPrice", side) == cents(order, "totalPrice")
        nets = sum(cents(line, "taxedPrice", "totalNet") for line in lines)
        on_shipping = cents(order, "taxedShippingPrice", "totalNet") if shipping else 0
        assert nets + on_shipping == cents(order, "taxedPrice", "totalNet")


# At random


def a_year_of(shop: Shop, deeds: int = 300) -> Sequence[str]:
    return [shop.random_sale() for _ in range(deeds)]


def test_random_sales_are_of_every_kind_and_the_same_for_the_same_seed() -> None:
    one, other = Topic(), Topic()
    for topic in (one, other):
        shop = Shop(publish=topic, clock=lambda: NOON, population=5, seed=3)
        shop.sales.code("SUMMER")
        a_year_of(shop)

    assert one == other
    kinds = {kind for kind, _ in one.told()}
    assert kinds >= {
        *("OrderCreated", "OrderCreatedFromRecurringOrder", "OrderImported", "OrderEditApplied", "OrderStateChanged"),
        *("OrderPaymentStateChanged", "OrderShipmentStateChanged", "OrderCustomerSet", "OrderPaymentAdded"),
        *("PaymentCreated", "PaymentTransactionAdded", "PaymentTransactionStateChanged"),
    }
    orders = shop.sales.orders.values()
    assert {order["totalPrice"]["currencyCode"] for order in orders} == {"EUR", "GBP", "USD", "JPY", "KWD"}
    assert any(order["discountCodes"] for order in orders)
    assert any("customerId" not in order for order in orders)


def test_no_more_is_paid_back_than_was_paid() -> None:
    shop = Shop(population=5, seed=4, keep=1000)

    a_year_of(shop)

    assert any(shop.sales.refunded(order_id) > 0 for order_id in shop.sales.orders)
    for order_id, baskets in shop.sales.baskets.items():
        assert shop.sales.refunded(order_id) <= max(basket.to_pay for _, basket in baskets)
