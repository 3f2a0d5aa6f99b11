"""Orders and payments as kinds: from a notification to the events of its facts."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.commercetools.order import Order, read_order
from service.commercetools.payment import Payment, read_payment
from service.commercetools.resource import CannotRead
from service.config import CommercetoolsSettings, OrderImports, Orders, UserIdField
from service.delivery.deliveries import Deliveries
from service.integration import AnyKind, Integration, kinds_by, reading
from service.kinds import Reads, cannot_erase
from service.orders import orders, payments
from service.outcome import Ending, Outcome
from service.segment.types import SegmentError, SegmentEvent, SegmentIntegrationResult
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules
from service.transformation.order import OrderRules
from service.transformation.rules import shop_mapping
from tests.builders import (
    ORDER_ID,
    PAYMENT_ID,
    a_change,
    a_cloud_event,
    a_customer,
    a_large_order,
    a_line_item,
    a_payment,
    a_payment_message,
    a_push,
    a_refund,
    an_order,
    an_order_message,
    euros,
    kind_of,
    sample,
    settings,
)
from tests.callers import Caller, Clock, Gate
from tests.strategies import json_values, places, with_another

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
    project_key: str | None = None
    on_read: Callable[[], AbstractContextManager[None]] = nullcontext
    on_send: Callable[[], AbstractContextManager[None]] = nullcontext
    reads: list[str] = field(default_factory=list)
    sent: list[list[Document]] = field(default_factory=list)

    def order_now(self, about: Notification, _deadline: float) -> Order | None:
        self.reads.append("order")
        found = next((order for order in self.orders if order["id"] == about.resource_id), None)
        with self.on_read():
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
        with self.on_send():
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
        return Integration(self.send, kinds, project_key=self.project_key, now=lambda: self.now)

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
    """Handle these notifications in one process."""
    integration = world.integration
    return [integration.handle(a_push(notification), {}, NO_END) for notification in notifications]


def endings(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.ending for outcome in outcomes]


def names(world: World) -> list[str]:
    return [event["event"] for event in world.events]


def an_update(version: int) -> Document:
    return an_order_message("OrderEditApplied", resourceVersion=version)


def a_cancellation(version: int = 3) -> Document:
    return an_order_message("OrderStateChanged", orderState="Cancelled", resourceVersion=version)


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


def test_a_refund_whose_time_neither_it_nor_the_message_tells_has_that_of_the_payment_s_last_change() -> None:
    payment = a_payment(a_refund(timestamp=None), lastModifiedAt="2026-03-04T05:00:00.000Z")
    world = World(payment=payment)

    handle(world, a_payment_message(createdAt=None))

    assert [event["timestamp"] for event in world.events] == [datetime(2026, 3, 4, 5, tzinfo=UTC)]


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


# Once

TOLD = "already delivered: the same fact, or a newer state of the order"
CREATED = a_change(notificationType="ResourceCreated", resource={"typeId": "order", "id": ORDER_ID}, version=1)
R1, R2 = a_refund(), a_refund(id="refund-2", amount=euros(5))


@pytest.mark.parametrize(
    ("again", "name"),
    [
        ([an_order_message(), an_order_message(), CREATED, a_cloud_event(CREATED)], "Order Completed"),
        ([an_order_message("OrderCreatedFromRecurringOrder"), CREATED], "Order Completed"),
        (
            [an_update(2), an_update(2), an_order_message("OrderPaymentStateChanged", resourceVersion=2)],
            "Order Updated",
        ),
        (
            [
                a_payment_message(),
                a_payment_message("PaymentTransactionAdded", transaction=R1),
                a_payment_message("PaymentCreated", payment={"transactions": [R1]}),
            ],
            "Order Refunded",
        ),
    ],
    ids=kind_of,
)
def test_one_fact_is_told_once_whatever_messages_tell_it(again: list[Document], name: str) -> None:
    world = World([an_order(version=2)])

    first, *others = handle(world, *again)

    assert (first.ending, first.reason) == (Ending.DELIVERED, "")
    assert {(one.ending, one.reason) for one in others} == {(Ending.IGNORED, TOLD)}
    assert names(world) == [name]


def test_a_cancellation_is_told_once() -> None:
    world = World([an_order(version=3, orderState="Cancelled")])
    left_out = an_order_message("OrderStateChanged", resourceVersion=3)

    outcomes = handle(world, a_cancellation(), a_cancellation(), left_out, an_order_message(), left_out)

    assert endings(outcomes) == ["Delivered", "Ignored", "Ignored", "Delivered", "Ignored"]
    assert names(world) == ["Order Cancelled", "Order Completed"]


@pytest.mark.parametrize(
    "message",
    [an_order_message(), an_update(3), a_cancellation(), a_payment_message(), a_payment_message("PaymentCreated")],
    ids=kind_of,
)
def test_after_a_restart_the_same_events_are_told_by_which_segment_knows_them(message: Document) -> None:
    world = World([an_order(version=3, orderState="Cancelled")], a_payment(R1, R2))

    handle(world, message)
    world.now += timedelta(hours=16)
    handle(world, message)

    [before, after] = world.sent
    assert before == after


def test_an_update_is_told_at_the_version_that_was_read_and_covers_the_older_ones() -> None:
    world = World([an_order(version=5)])
    integration = world.integration

    outcomes = [integration.handle(a_push(an_update(version)), {}, NO_END) for version in (3, 4, 5)]
    world.orders = [an_order(version=6, paymentState="Failed")]
    outcomes.append(integration.handle(a_push(an_update(6)), {}, NO_END))

    assert endings(outcomes) == ["Delivered", "Ignored", "Ignored", "Delivered"]
    assert [event["properties"]["payment_state"] for event in world.events] == ["Paid", "Failed"]


def test_refunds_that_were_told_are_not_told_again_by_a_message_without_its_payload() -> None:
    world = World(payment=a_payment(R1, R2))

    outcomes = handle(world, a_payment_message(), *([a_payment_message("PaymentTransactionAdded")] * 2))

    assert endings(outcomes) == ["Delivered", "Delivered", "Ignored"]
    assert [[event["properties"]["refund_id"] for event in batch] for batch in world.sent] == [
        ["refund-1"],
        ["refund-2"],
    ]


def test_the_refunds_of_one_look_leave_in_one_batch_in_the_payment_s_order() -> None:
    world = World(payment=a_payment(R2, R1))

    handle(world, a_payment_message("PaymentCreated", payment={"transactions": [R1, R2]}))

    [batch] = world.sent
    assert [event["properties"]["refund_id"] for event in batch] == ["refund-2", "refund-1"]


# Concurrency


def two_at_once(
    world: World,
    gate: Gate[str],
    first: Document,
    second: Document,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Handle both in one process: the first is held at the gate until the second waits for it."""
    clock = Clock()
    integration = replace(world.integration, deliveries=Deliveries(clock=clock))
    one = Caller(lambda: integration.handle(a_push(first), {}, 1.0))
    gate.wait_for(1)
    meanwhile()
    other = Caller(lambda: integration.handle(a_push(second), {}, 1.0))
    clock.wait_for_reading_by(other.thread)
    gate.let_all_go()
    outcomes = [one.end(), other.end()]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes
    return outcomes  # type: ignore[return-value]  # as just checked


@pytest.mark.parametrize("error", [None, SegmentError("Segment answered 503")])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (an_order_message(), CREATED),
        (an_update(1), an_order_message("OrderCustomerSet")),
        (a_payment_message(), a_payment_message("PaymentTransactionAdded", transaction=R1)),
    ],
    ids=kind_of,
)
def test_two_messages_of_one_fact_at_once_share_one_attempt(
    first: Document, second: Document, error: SegmentError | None
) -> None:
    gate: Gate[str] = Gate()
    world = World(error=error, on_send=lambda: gate.passed_by("send"))

    outcomes = two_at_once(world, gate, first, second)

    assert len(gate.visitors) == 1
    assert set(endings(outcomes)) == {"Delivered" if error is None else "Failed"}
    assert len(world.sent) == (error is None)


def test_a_look_that_told_nothing_does_not_count_for_a_message_that_came_meanwhile() -> None:
    gate: Gate[str] = Gate()
    world = World([an_order(version=4, orderState="Open")], on_read=lambda: gate.passed_by("read"))

    def cancel_again() -> None:
        world.orders = [an_order(version=5, orderState="Cancelled")]

    outcomes = two_at_once(world, gate, a_cancellation(3), a_cancellation(5), meanwhile=cancel_again)

    assert endings(outcomes) == ["Ignored", "Delivered"]
    assert names(world) == ["Order Cancelled"]


# What is refused, ignored, and fails


def test_what_tells_nothing_reads_nothing() -> None:
    world = World()
    about = {"typeId": "payment", "id": PAYMENT_ID}

    outcomes = handle(
        world,
        a_change(resource={"typeId": "order", "id": ORDER_ID}),
        a_change(resource=about, notificationType="ResourceDeleted"),
        an_order_message("OrderDeleted"),
        an_order_message("OrderImported"),
        a_payment_message(state="Pending"),
        a_payment_message("PaymentCreated", payment={"transactions": []}),
        {"notificationType": "Event", "type": "CheckoutPaymentRefunded", "resourceType": "checkout", "data": {}},
    )

    assert set(endings(outcomes)) == {"Ignored"}
    assert all(outcome.reason for outcome in outcomes)
    assert world.reads == []


def test_an_order_and_a_payment_that_are_gone_are_ignored() -> None:
    world = World(orders=[], payment=None)

    order, payment = handle(world, an_order_message(), a_payment_message())

    assert (order.ending, order.reason) == (Ending.IGNORED, "the order has been deleted since")
    assert (payment.ending, payment.reason) == (Ending.IGNORED, "the payment has been deleted since")


def test_the_next_order_of_a_payment_is_told_if_the_oldest_is_gone() -> None:
    gone, next_one = an_order(id="gone"), an_order()
    world = World([gone, next_one])

    def by_id(about: Notification, deadline: float) -> Order | None:
        return None if about.resource_id == "gone" else world.order_now(about, deadline)

    of_orders = Reads(world.order_now, by_id, oldest=world.oldest)
    kind = payments(Reads(world.payment_now), of_orders, Reads(world.customer_now), world.rules)
    outcome = replace(world.integration, kinds={"payment": kind}).handle(a_push(a_payment_message()), {}, NO_END)

    assert outcome.ending is Ending.DELIVERED
    assert [event["properties"]["order_id"] for event in world.events] == [ORDER_ID]


def test_a_message_without_its_time_is_as_old_as_its_publication() -> None:
    world = World(orders=[], now=datetime(2026, 2, 3, 4, 19, 59, tzinfo=UTC))
    [young] = handle(world, a_payment_message(createdAt=None))
    world.now += timedelta(minutes=1)
    [old] = handle(world, a_payment_message(createdAt="yesterday"))

    assert (young.ending, old.ending) == (Ending.FAILED, Ending.IGNORED)


@pytest.mark.parametrize(("message", "name"), [(an_order_message(), "an order"), (a_payment_message(), "a payment")])
def test_what_is_of_another_project_is_refused_unread(message: Document, name: str) -> None:
    world = World(project_key="another-shop")

    [outcome] = handle(world, message)

    assert (outcome.ending, outcome.reason) == (Ending.REFUSED, f"about {name} of another project than CTP_PROJECT_KEY")
    assert world.reads == []


@pytest.mark.parametrize("resource_id", ['x") or (version > 0', "", "../customers", "a" * 65, "\ud800", "\0"])
@pytest.mark.parametrize("type_id", ["order", "payment"])
def test_an_id_that_is_none_is_refused_before_any_call(type_id: str, resource_id: str) -> None:
    client = CommercetoolsClient(
        CommercetoolsSettings("example-shop", "id", "secret", "http://0.0.0.0:1", "http://0.0.0.0:1", "")
    )
    configured = settings(orders=Orders.ON)
    kinds = kinds_by(configured, IdentifyRules(), reading(client), cannot_erase)
    kind = {"order": "OrderCreated", "payment": "PaymentTransactionAdded"}[type_id]

    message = an_order_message(kind, resource={"typeId": type_id, "id": resource_id})
    outcome = replace(World().integration, kinds=kinds).handle(a_push(message), {}, NO_END)

    assert (outcome.ending, outcome.reason) == (Ending.REFUSED, f"the {type_id}'s id is none that commercetools gives")


@pytest.mark.parametrize("message", [an_order_message(), a_payment_message()], ids=["order", "payment"])
def test_an_order_that_cannot_be_read_is_refused(message: Document) -> None:
    world = World([an_order(totalPrice={"currencyCode": "EUR"})])

    [outcome] = handle(world, message)

    assert (outcome.ending, world.events) == (Ending.REFUSED, [])
    assert outcome.reason == "the order is not valid: totalPrice: Not a valid amount of money"


def test_a_refund_that_cannot_be_read_is_refused() -> None:
    world = World(payment=a_payment(a_refund() | {"amount": None}))

    [outcome] = handle(world, a_payment_message())

    assert (outcome.ending, world.events) == (Ending.REFUSED, [])
    assert outcome.reason == "a refund of the payment is not valid: amount: Field may not be null"


def test_what_segment_refuses_is_refused() -> None:
    world = World(error=SegmentError("Segment answered 400", refused=True))

    [outcome] = handle(world, an_order_message())

    assert (outcome.ending, outcome.reason) == (Ending.REFUSED, "Segment answered 400")


def test_json_that_is_too_deep_is_refused() -> None:
    message = json.dumps(an_order_message()).replace(
        '"sequenceNumber": 1', f'"sequenceNumber": {"[" * 100_000}{"]" * 100_000}'
    )

    outcome = World().integration.handle(a_push(message.encode()), {}, NO_END)

    assert (outcome.ending, outcome.reason) == (Ending.REFUSED, "the message's data is nested too deeply")


def test_an_order_of_500_lines_is_told() -> None:
    world = World([an_order(lineItems=[a_line_item()] * 500)])

    [outcome] = handle(world, an_order_message())

    assert outcome.ending is Ending.DELIVERED
    assert [event["properties"]["products_total"] for event in world.events] == [500]


CONSENT = b"""
version = 1
[consent]
send = ["Advertising"]
[consent.categories]
Advertising = "custom.ads"
"""


@pytest.mark.parametrize("ads", [True, False])
def test_without_the_consent_that_is_demanded_nothing_of_an_order_or_a_refund_is_told(ads: bool) -> None:  # noqa: FBT001  # a table
    rules = OrderRules(UserIdField.ID, mapping=shop_mapping(toml_of(CONSENT, "m.toml")))
    world = World(customer=a_customer(custom={"fields": {"ads": ads}}), rules=rules)

    outcomes = handle(world, an_order_message(), a_payment_message())

    assert [event["context"]["consent"] for event in world.events] == [
        {"categoryPreferences": {"Advertising": True}}
    ] * 2 * ads
    if not ads:
        assert {(one.ending, one.reason) for one in outcomes} == {(Ending.IGNORED, "no consent for Advertising")}


ENDS = {Ending.DELIVERED, Ending.IGNORED, Ending.REFUSED}


@given(st.data())
def test_whatever_an_order_a_payment_or_a_message_says_it_has_an_end(data: st.DataObject) -> None:
    order, payment = a_large_order(), a_payment()
    message: Document = data.draw(st.sampled_from([an_order_message(), a_cancellation(), a_payment_message()]))
    wrong = data.draw(st.sampled_from([order, payment, message]))
    place = data.draw(st.sampled_from(list(places(wrong))[1:]))
    order, payment, message = (
        with_another(one, place, data.draw(json_values | st.just("\ud800"))) if one is wrong else one
        for one in (order, payment, message)
    )

    [outcome] = handle(World([order], payment), message)

    assert outcome.ending in ENDS
