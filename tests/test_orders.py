"""Orders and payments as kinds: from a notification to the events of its facts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.commercetools.order import Order, read_order
from service.commercetools.payment import Payment, read_payment
from service.commercetools.resource import CannotRead
from service.config import OrderImports, UserIdField
from service.integration import AnyKind, Integration
from service.kinds import Reads
from service.orders import orders, payments
from service.outcome import Ending, Outcome
from service.segment.types import SegmentError, SegmentEvent, SegmentIntegrationResult
from service.transformation.order import OrderRules
from tests.builders import (
    ORDER_ID,
    PAYMENT_ID,
    a_customer,
    a_payment,
    a_payment_message,
    a_push,
    an_order,
    an_order_message,
    sample,
)

NO_END = float("inf")
NOW = datetime(2026, 3, 4, 6, tzinfo=UTC)
Document = dict[str, Any]


@dataclass
class World:
    """What is around an integration: what commercetools has now, and what Segment was told.

    `orders` are all there are; the payment is found on those whose paymentInfo names it.
    """

    orders: list[Document] = field(default_factory=lambda: [an_order()])
    payment: Document | None = field(default_factory=a_payment)
    customer: Document | None = field(default_factory=a_customer)
    rules: OrderRules = field(default_factory=lambda: OrderRules(UserIdField.ID))
    now: datetime = NOW
    error: SegmentError | None = None
    reads: list[str] = field(default_factory=list)
    sent: list[list[Document]] = field(default_factory=list)

    def order_now(self, about: Notification, _deadline: float) -> Order | None:
        self.reads.append("order")
        found = next((order for order in self.orders if order["id"] == about.resource_id), None)
        return None if found is None else read_order(found)

    def oldest(self, where: str, _deadline: float) -> Sequence[str]:
        self.reads.append(where)
        return [order["id"] for order in self.orders if _has_payment(order, where)]

    def payment_now(self, _about: Notification, _deadline: float) -> Payment | None:
        self.reads.append("payment")
        return None if self.payment is None else read_payment(self.payment)

    def customer_now(self, _about: Notification, _deadline: float) -> Customer | None:
        self.reads.append("customer")
        return None if self.customer is None else read_customer(self.customer, self.rules.mapping.named)

    def send(self, events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        if self.error is None:
            self.sent.append([as_segment_gets(event) for event in events])
        return SegmentIntegrationResult(self.error)

    @property
    def integration(self) -> Integration:
        of_orders, customers = Reads(self.order_now, self.order_now, oldest=self.oldest), Reads(self.customer_now)
        kinds: dict[str, AnyKind] = {
            "order": orders(of_orders, customers, self.rules),
            "payment": payments(Reads(self.payment_now), of_orders, customers, self.rules),
        }
        return Integration(self.send, kinds, now=lambda: self.now)

    @property
    def events(self) -> list[Document]:
        return [event for batch in self.sent for event in batch]


def _has_payment(order: Document, where: str) -> bool:
    payments = order.get("paymentInfo", {}).get("payments", [])
    return where in [f'paymentInfo(payments(id="{payment["id"]}"))' for payment in payments]


def as_segment_gets(event: SegmentEvent) -> Document:
    payload = dict(event.payload)
    names = {"user_id": "userId", "anonymous_id": "anonymousId", "message_id": "messageId"}
    return {names.get(name, name): value for name, value in payload.items()}


def handle(world: World, *notifications: Mapping[str, Any]) -> list[Outcome]:
    integration = world.integration
    return [integration.handle(a_push(notification), {}, NO_END) for notification in notifications]


def names(world: World) -> list[str]:
    return [event["event"] for event in world.events]


# The published examples


EXAMPLES = sample("orders-examples.json")


def expected(event: Document) -> Document:
    return {**event, "timestamp": datetime.fromisoformat(event["timestamp"])}


def without_message_id(event: Document) -> Document:
    assert event["messageId"].startswith("ct-order-")
    return {name: value for name, value in event.items() if name != "messageId"}


@pytest.mark.parametrize("example", EXAMPLES["orders"], ids=lambda example: example["file"].removesuffix(".json"))
def test_a_real_order_gives_the_event_that_was_worked_out_by_hand(example: Document) -> None:
    order = sample(example["file"])
    world = World([order], rules=OrderRules(UserIdField.ID, OrderImports.ALL))

    message = "OrderImported" if "imported" in example["file"] else "OrderCreated"
    handle(world, an_order_message(message, resource={"typeId": "order", "id": order["id"]}))

    assert [without_message_id(event) for event in world.events] == [expected(event) for event in example["events"]]


CANCELLED_ORDER = sample("tcpl-order-with-discount-code.json") | {
    "version": 3,
    "orderState": "Cancelled",
    "lastModifiedAt": "2025-04-01T08:00:00.000Z",
}


def example_case(name: str) -> list[Document]:
    [case] = [case for case in EXAMPLES["cases"] if case["case"] == name]
    return [expected(event) for event in case["events"] if isinstance(event, dict)]


def test_a_cancelled_order_is_told_as_worked_out() -> None:
    world = World([CANCELLED_ORDER])

    handle(world, sample("built-message-order-state-changed-cancelled.json"))

    assert [without_message_id(event) for event in world.events] == example_case("cancelled")


def test_an_order_that_was_opened_again_meanwhile_is_not_told_as_cancelled() -> None:
    world = World([CANCELLED_ORDER | {"version": 4, "orderState": "Open"}])

    [outcome] = handle(world, sample("built-message-order-state-changed-cancelled.json"))

    assert (outcome.ending, outcome.reason) == (Ending.IGNORED, "the order is not cancelled any more")
    assert world.events == []


def test_an_order_that_was_cancelled_before_the_first_look_gives_both_in_one_batch() -> None:
    world = World([CANCELLED_ORDER])
    about = {"typeId": "order", "id": CANCELLED_ORDER["id"]}

    created, cancelled = handle(
        world, an_order_message(resource=about), sample("built-message-order-state-changed-cancelled.json")
    )

    assert created.ending is Ending.DELIVERED
    assert cancelled.ending is Ending.IGNORED
    [batch] = world.sent
    assert [event["event"] for event in batch] == ["Order Completed", "Order Cancelled"]
    assert without_message_id(batch[1]) == example_case("cancelled")[0]


def test_a_partial_refund_is_told_as_worked_out() -> None:
    order, payment = sample("tcpl-order-with-shipping-discount.json"), sample("built-payment-with-partial-refund.json")
    order["paymentInfo"] = {"payments": [{"typeId": "payment", "id": payment["id"]}]}
    world = World([order], payment)

    handle(world, sample("built-message-payment-transaction-state-changed.json"))

    assert [without_message_id(event) for event in world.events] == example_case("partial refund")


def test_a_refund_of_the_whole_order_is_told_with_its_products() -> None:
    [case] = [case for case in EXAMPLES["cases"] if "transaction" in case]
    order = sample("tcpl-order-with-discount-code.json")
    order["paymentInfo"] = {"payments": [{"typeId": "payment", "id": PAYMENT_ID}]}
    world = World([order], a_payment(case["transaction"]))

    handle(world, a_payment_message(transactionId=case["transaction"]["id"]))

    assert [without_message_id(event) for event in world.events] == [expected(event) for event in case["events"]]


def test_a_refund_that_is_pending_is_not_told() -> None:
    payment = sample("adyen-payment-with-refund-pending.json") | {"id": PAYMENT_ID, "version": 4}
    world = World(payment=payment)

    [outcome] = handle(world, a_payment_message(transactionId=payment["transactions"][1]["id"]))

    assert (outcome.ending, world.events) == (Ending.IGNORED, [])


# A payment and its order


def test_a_payment_without_an_order_fails_for_a_quarter_of_an_hour_and_is_then_ignored_with_a_warning() -> None:
    world = World(orders=[])
    created = NOW - timedelta(minutes=15)
    message = a_payment_message(createdAt=(created + timedelta(milliseconds=1)).isoformat())

    [early] = handle(world, message)
    [late] = handle(world, a_payment_message(createdAt=created.isoformat()))

    assert (early.ending, early.reason) == (Ending.FAILED, "no order has this payment yet")
    assert (late.ending, late.reason, late.warn) == (Ending.IGNORED, "no order has this payment", True)


def test_a_payment_on_two_orders_is_told_as_the_oldest_order_s_with_a_warning() -> None:
    world = World([an_order(), an_order(id="another")])

    [outcome] = handle(world, a_payment_message())

    assert (outcome.ending, outcome.warn) == (Ending.DELIVERED, True)
    assert outcome.reason == "more than one order has this payment: the oldest is told"
    assert [event["properties"]["order_id"] for event in world.events] == [ORDER_ID]


def test_what_segment_has_not_confirmed_is_told_again() -> None:
    world = World(error=SegmentError("Segment answered 503"))
    [failed] = handle(world, an_order_message())
    world.error = None
    [delivered] = handle(world, an_order_message())

    assert (failed.ending, delivered.ending) == (Ending.FAILED, Ending.DELIVERED)
    assert names(world) == ["Order Completed"]


def test_an_unreadable_order_fails() -> None:
    world = World()

    def cannot_read(_about: Notification, _deadline: float) -> Order | None:
        raise CannotRead("commercetools answered 502")

    kinds = {"order": orders(Reads(cannot_read), Reads(world.customer_now), world.rules)}
    outcome = replace(world.integration, kinds=kinds).handle(a_push(an_order_message()), {}, NO_END)

    assert (outcome.ending, outcome.reason) == (Ending.FAILED, "commercetools answered 502")


def test_an_event_has_nothing_of_a_person_but_the_address_in_its_context() -> None:
    world = World()

    handle(world, an_order_message(), an_order_message("OrderEditApplied"), a_payment_message())

    assert names(world) == ["Order Completed", "Order Updated", "Order Refunded"]
    for event in world.events:
        assert event["context"] == {
            "active": False,
            "locale": "de-DE",
            "traits": {"email": "Mira.Example@example.com"},
        }
        rest = json.dumps(event | {"context": {}}, default=str)
        for part in ("Mira", "Hauptstra", "10115", "+49"):
            assert part not in rest
