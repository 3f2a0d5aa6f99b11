"""The oracle for orders: what the shop did, as Segment must have it, and that each mistake turns it red."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from playground.baskets import Basket, Item
from playground.commercetools import CommercetoolsStandIn
from playground.oracle_orders import (
    OrderRules,
    Verdict,
    money_in_segment,
    money_in_the_books,
    order_rules_of,
    verdict_on,
)
from playground.segment import SegmentStandIn
from playground.shop import Shop
from service.config import OrderImports, Orders, SegmentSettings, UserIdField
from service.integration import integration_by
from service.outcome import Ending
from tests.builders import commercetools_settings, settings

Event = dict[str, Any]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BY_ID = OrderRules(user_id="id", imports="all")

# Worked out by hand. 2 x 10.00 less 1.00 each, a gift, shipping 4.90 less 0.90, a voucher of 2.00: 20.00 with 19 % tax.
BASKET = Basket(
    "EUR",
    (
        Item(1, Decimal("10.00"), 2, off=Decimal("1.00")),
        Item(2, Decimal("5.00"), gift=True),
        Item(3, Decimal("-2.00"), custom=True),
    ),
    Decimal("0.19"),
    shipping=Decimal("4.90"),
    shipping_off=Decimal("0.90"),
)
AMOUNTS = {
    "subtotal": 13.45,  # 18.00 / 1.19 - 2.00 / 1.19 = 15.13 - 1.68
    "shipping": 3.36,  # 4.00 / 1.19
    "tax": 3.19,  # 2.87 - 0.32 + 0.64
    "total": 20,
    "discount": 4.9,  # 2.00 + 0.90 + 2.00
    "currency": "EUR",
}
PRODUCTS = [
    {"product_id": "product-1", "price": 10, "quantity": 2},
    {"product_id": "product-2", "price": 0, "quantity": 1},
]


class Books:
    """A shop with one order, cancelled and partly refunded, and the events that tell it."""

    def __init__(self) -> None:
        self.shop = Shop(clock=lambda: NOON)
        sales = self.sales = self.shop.sales
        payment = sales.pay(Decimal("20.00"), "EUR")
        paid = {"payments": [{"typeId": "payment", "id": payment["id"]}]}
        self.order = sales.place(BASKET, customerId="a-customer", paymentInfo=paid, orderNumber="7")
        self.updated = sales.change(self.order["id"], {"action": "changePaymentState", "paymentState": "Paid"})
        self.cancelled = sales.change(self.order["id"], {"action": "changeOrderState", "orderState": "Cancelled"})
        self.refund = sales.refund(payment["id"], Decimal("5.00"), "Pending")
        self.refunded_at = sales.payments[payment["id"]]["transactions"][-1]["timestamp"]
        sales.change_refund(self.refund, "Success")
        self.failed = sales.refund(payment["id"], Decimal("6.00"), "Failure")

    def told(self) -> dict[str, Event]:
        about = {"order_id": self.order["id"], "order_number": "7", **AMOUNTS, "products": PRODUCTS}
        states = {"order_state": "Open", "payment_state": "Paid"}
        refund = {"order_id": self.order["id"], "refund_id": self.refund, "total": 5.0, "currency": "EUR"}
        return {
            "Order Completed": self.event("Order Completed", self.order["createdAt"], {**about, "revenue": 13.45}),
            "Order Updated": self.event("Order Updated", self.updated["lastModifiedAt"], {**about, **states}),
            "Order Cancelled": self.event("Order Cancelled", self.cancelled["lastModifiedAt"], about),
            "Order Refunded": self.event("Order Refunded", self.refunded_at, refund),
        }

    def event(self, name: str, at: str, properties: Mapping[str, Any]) -> Event:
        who = {"userId": "a-customer", "context": {"active": False}}
        return {"type": "track", "event": name, "messageId": name, "timestamp": at, **who, "properties": {**properties}}

    def verdict(self, told: Sequence[Event]) -> Verdict:
        return verdict_on(self.sales, told, BY_ID)


@pytest.fixture
def books() -> Books:
    return Books()


def what_is_wrong(verdict: Verdict) -> list[str]:
    return [one.name for one in fields(verdict) if getattr(verdict, one.name)]


NAMES = ["Order Completed", "Order Updated", "Order Cancelled", "Order Refunded"]


def test_what_was_told_rightly_is_right(books: Books) -> None:
    told = list(books.told().values())

    assert books.verdict(told).problems == 0
    assert books.verdict(told[::-1]).problems == 0


def test_a_repeat_with_the_same_message_id_does_not_count_whatever_it_says(books: Books) -> None:
    told = books.told()
    later = {**told["Order Completed"], "properties": told["Order Completed"]["properties"] | {"total": 7}}

    assert books.verdict([*told.values(), *told.values(), later]).problems == 0
    assert what_is_wrong(books.verdict([later, *told.values()])) == ["amounts_off"]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_fact_is_lost(books: Books, name: str) -> None:
    told = books.told()
    del told[name]

    verdict = books.verdict(list(told.values()))

    assert what_is_wrong(verdict) == ["lost"]
    assert verdict.lost[0].startswith(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_fact_under_two_message_ids_is_doubled(books: Books, name: str) -> None:
    told = books.told()

    verdict = books.verdict([*told.values(), {**told[name], "messageId": "another"}])

    assert what_is_wrong(verdict) == ["doubled"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, {"total": 20.01}) for name in NAMES),
        *((name, {"total": "20"}) for name in NAMES),
        *((name, {"total": -5.0}) for name in NAMES),
        *((name, {"currency": "USD"}) for name in NAMES),
        *((name, {"revenue": 13.45}) for name in NAMES[1:]),
        *(("Order Completed", {amount: 7.01}) for amount in ("subtotal", "shipping", "tax", "discount", "revenue")),
        ("Order Refunded", {"total": 0.1 + 0.2}),
        ("Order Refunded", {"total": 500}),
    ],
    ids=str,
)
def test_a_wrong_amount_is_off(books: Books, name: str, wrong: dict[str, Any]) -> None:
    told = books.told()
    told[name]["properties"] |= wrong

    assert what_is_wrong(books.verdict(list(told.values()))) == ["amounts_off"]


@pytest.mark.parametrize("properties", [{"tax": None}, {"tax": 0}, {"shipping": None}, {"discount": None}], ids=str)
def test_an_amount_that_is_not_told_is_off(books: Books, properties: dict[str, Any]) -> None:
    told = books.told()
    told["Order Completed"]["properties"] |= properties

    assert what_is_wrong(books.verdict(list(told.values()))) == ["amounts_off"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, {"userId": "another"}) for name in NAMES),
        *((name, {"anonymousId": "another"}) for name in NAMES),
        *((name, {"context": {"traits": {"email": "a@example.com"}}}) for name in NAMES),
        *((name, {"timestamp": "2026-01-02T12:00:01Z"}) for name in ("Order Completed", "Order Cancelled")),
        ("Order Refunded", {"timestamp": "2026-01-02T12:00:01Z"}),
    ],
    ids=str,
)
def test_another_person_or_time_is_off(books: Books, name: str, wrong: dict[str, Any]) -> None:
    told = books.told()
    told[name] |= wrong

    assert what_is_wrong(books.verdict(list(told.values()))) == ["otherwise_off"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Order Updated", {"order_state": "Cancelled"}),
        ("Order Updated", {"payment_state": None}),
        ("Order Completed", {"payment_state": "Paid"}),
        ("Order Completed", {"products": PRODUCTS[:1]}),
        ("Order Completed", {"coupon": "SUMMER"}),
        ("Order Completed", {"order_number": "8"}),
        ("Order Refunded", {"products": PRODUCTS}),
        ("Order Refunded", {"order_id": "another"}),
    ],
    ids=str,
)
def test_another_state_product_or_order_is_off(books: Books, name: str, wrong: dict[str, Any]) -> None:
    told = books.told()
    told[name]["properties"] |= wrong

    assert what_is_wrong(books.verdict(list(told.values()))) == ["otherwise_off"]


def test_facts_that_never_happened_are_invented(books: Books) -> None:
    other = books.sales.place(BASKET)
    told = [
        *books.told().values(),
        books.event("Order Completed", other["createdAt"], {**AMOUNTS, "order_id": "nobody's"}),
        books.event("Order Cancelled", other["createdAt"], {**AMOUNTS, "order_id": other["id"], "products": PRODUCTS}),
        books.event("Order Updated", other["createdAt"], {**AMOUNTS, "order_id": other["id"]}),
        books.event("Order Shipped", other["createdAt"], {**AMOUNTS, "order_id": other["id"]}),
        books.event("Order Refunded", books.refunded_at, {"refund_id": "nobody's", "total": 1, "currency": "EUR"}),
        books.event(
            "Order Refunded",
            books.sales.payments[books.sales.refunds[books.failed].payment_id]["transactions"][-1]["timestamp"],
            {"refund_id": books.failed, "order_id": books.order["id"], "total": 6, "currency": "EUR"},
        ),
    ]

    verdict = books.verdict([{**event, "messageId": str(number)} for number, event in enumerate(told)])

    assert len(verdict.invented) == 6
    assert verdict.lost == [f"Order Completed {other['id']}"]


@pytest.mark.parametrize(("imports", "lost"), [("none", 0), ("recent", 1), ("all", 2)])
def test_imports_are_due_by_the_setting(imports: str, lost: int) -> None:
    sales = Shop().sales
    for age in (1, 50):
        sales.import_order(BASKET, age=timedelta(hours=age))

    verdict = verdict_on(sales, [], order_rules_of({"ORDER_IMPORTS": imports}))

    assert (what_is_wrong(verdict), len(verdict.lost)) == (["lost"] * bool(lost), lost)


def test_an_order_that_is_made_cancelled_is_told_as_cancelled_where_it_is_told_at_all() -> None:
    sales = Shop().sales
    sales.import_order(BASKET, orderState="Cancelled")

    assert verdict_on(sales, [], OrderRules("id", "none")).problems == 0
    assert len(verdict_on(sales, [], OrderRules("id", "all")).lost) == 2


def test_what_was_opened_again_or_deleted_may_be_told_and_need_not_be(books: Books) -> None:
    told = books.told()
    books.sales.change(books.order["id"], {"action": "changeOrderState", "orderState": "Open"})
    again = books.sales.orders[books.order["id"]]
    told["again"] = {**told["Order Updated"], "messageId": "again", "timestamp": again["lastModifiedAt"]}
    assert books.verdict(list(told.values())).problems == 0
    del told["Order Cancelled"]
    assert books.verdict(list(told.values())).problems == 0

    books.sales.delete(books.order["id"])

    assert books.verdict([]).problems == 0


def test_the_money_is_what_was_sold_minus_what_was_paid_back(books: Books) -> None:
    books.sales.place(Basket("JPY", (Item(1, Decimal(300)),), None))

    assert money_in_the_books(books.sales) == {"EUR": Decimal(15), "JPY": Decimal(300)}
    assert money_in_segment(books.told().values()) == {"EUR": Decimal(15)}


@pytest.mark.parametrize("user_id", [UserIdField.ID, UserIdField.EMAIL])
def test_the_service_tells_what_the_oracle_expects(user_id: UserIdField) -> None:
    notifications: deque[bytes] = deque()
    shop = Shop(publish=lambda data, _: notifications.append(data), population=10, seed=5, keep=1000, changes=False)
    shop.sales.code("SUMMER")
    with SegmentStandIn() as segment, CommercetoolsStandIn(shop, orders=True) as commercetools:
        integration = integration_by(
            settings(
                segment=SegmentSettings(write_key=segment.write_key, host=segment.url),
                segment_user_id=user_id,
                commercetools=commercetools_settings(commercetools),
                orders=Orders.ON,
                order_imports=OrderImports.ALL,
            )
        )
        for late in (0, 40):
            commercetools.lag_query(1 if late else 0)
            for _ in range(50):
                shop.random_sale()
                while len(notifications) > late:  # the newest first, as long as they wait
                    outcome = integration.handle(notifications.pop(), {}, time.monotonic() + 20)
                    assert outcome.ending in (Ending.DELIVERED, Ending.IGNORED), outcome
        while notifications:
            integration.handle(notifications.popleft(), {}, time.monotonic() + 20)

        verdict = verdict_on(shop.sales, segment.received, OrderRules(user_id, "all"))

        assert verdict == Verdict()
        assert {event["event"] for event in segment.events} == {*NAMES}
