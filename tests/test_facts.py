"""Which event follows from which notification: a row for each of docs/orders.md's table."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools.notification import Notification, read_notification
from service.commercetools.order import read_order
from service.commercetools.payment import read_payment
from service.config import OrderImports
from service.transformation.buyer import Buyer
from service.transformation.facts import (
    ORDER_MESSAGES,
    PAYMENT_MESSAGES,
    Due,
    Fact,
    due_refunds,
    not_told,
    order_due,
    order_facts,
    payment_due,
)
from service.transformation.order import OrderRules, Sale
from tests.builders import (
    ORDER_ID,
    PAYMENT_ID,
    PROJECT,
    a_change,
    a_cloud_event,
    a_payment,
    a_payment_message,
    a_refund,
    an_order,
    an_order_message,
    kind_of,
)
from tests.strategies import json_values

Document = dict[str, Any]
ORDER = {"typeId": "order", "id": ORDER_ID}
PAYMENT = {"typeId": "payment", "id": PAYMENT_ID}


def as_it_is(document: Document) -> Document:
    return document


def payload_left_out(document: Document) -> Document:
    """Return the Message as commercetools sends it if it is too large: nothing but its type is known.

    https://docs.commercetools.com/api/projects/subscriptions#payloadnotincluded
    """
    common = ("notificationType", "projectKey", "id", "version", "sequenceNumber", "resource", "resourceVersion")
    kept = {name: document[name] for name in (*common, "createdAt", "lastModifiedAt") if name in document}
    return kept | {"payloadNotIncluded": {"reason": "too large", "payloadType": document["type"]}}


FORMATS = pytest.mark.parametrize("in_format", [as_it_is, a_cloud_event], ids=["Platform", "CloudEvents"])
Format = Callable[[Document], Document]


def notification(document: Mapping[str, Any]) -> Notification:
    return read_notification(json.dumps(document).encode())


def events_of(document: Document, order: Document, imports: OrderImports = OrderImports.NONE) -> list[str] | str:
    """Return the names of the events that follow, or the reason why there are none."""
    due = order_due(notification(document), imports)
    if isinstance(due, str):
        return due
    rules, now = OrderRules(imports=imports), read_order(order)
    return not_told(due, now, rules) or [
        f"{dict(event.payload)['event']}" for _, event in order_facts(due, Sale(now, Buyer("user"), rules, PROJECT))
    ]


def refunds_of(document: Document, *transactions: Document) -> list[str] | str:
    """Return the ids of the refunds that are told, or the reason why the payment is not read."""
    due = payment_due(notification(document))
    return due if isinstance(due, str) else [one.id for one in due_refunds(due, read_payment(a_payment(*transactions)))]


OPEN, CANCELLED = an_order(), an_order(orderState="Cancelled")
IMPORTED = an_order(completedAt="2026-01-01T03:04:05.678Z")
IMPORTED_LATE = an_order(completedAt="2026-01-01T03:04:05.677Z")
CREATED = a_change(notificationType="ResourceCreated", resource=ORDER, version=1)
NOT_IMPORTED = "the order was imported, and ORDER_IMPORTS is none"
LATE = "the order was imported, and was completed more than a day before: ORDER_IMPORTS is recent"
UNKNOWN = "the order was imported, and does not say when it was completed: ORDER_IMPORTS is recent"


def changed_to(state: object) -> Document:
    return an_order_message("OrderStateChanged", orderState=state, resourceVersion=3)


@FORMATS
@pytest.mark.parametrize(
    ("message", "order", "events"),
    [
        *(
            (an_order_message(kind), OPEN, ["Order Completed"])
            for kind in ("OrderCreated", "OrderCreatedFromRecurringOrder")
        ),
        (an_order_message(), CANCELLED, ["Order Completed", "Order Cancelled"]),
        (an_order_message(), IMPORTED, ["Order Completed"]),
        (CREATED, OPEN, ["Order Completed"]),
        (CREATED, CANCELLED, ["Order Completed", "Order Cancelled"]),
        (CREATED, IMPORTED, NOT_IMPORTED),
        (an_order_message("OrderImported"), IMPORTED, NOT_IMPORTED),
        (changed_to("Cancelled"), CANCELLED, ["Order Cancelled"]),
        (changed_to("Cancelled"), OPEN, "the order is not cancelled any more"),
        (changed_to("Confirmed"), OPEN, ["Order Updated"]),
        (changed_to("Open"), CANCELLED, ["Order Updated"]),
        *(
            (an_order_message(kind), order, ["Order Updated"])
            for kind in (
                "OrderShipmentStateChanged",
                "OrderPaymentStateChanged",
                "OrderCustomerSet",
                "OrderEditApplied",
            )
            for order in (OPEN, CANCELLED, IMPORTED)
        ),
        *(
            (an_order_message(kind), OPEN, "no event follows from this Message of an order")
            for kind in ("OrderStateTransition", "OrderPaymentAdded", "ReturnInfoSet", "OrderOfTomorrow")
        ),
        (a_change(resource=ORDER), OPEN, "no event follows from this change of an order"),
        (
            a_change(resource=ORDER, notificationType="ResourceDeleted"),
            OPEN,
            "Segment is told nothing of a deleted order",
        ),
        (an_order_message("OrderDeleted"), OPEN, "Segment is told nothing of a deleted order"),
    ],
    ids=kind_of,
)
def test_the_events_of_an_order_follow_from_what_happened(
    in_format: Format, message: Document, order: Document, events: object
) -> None:
    assert events_of(in_format(message), order) == events


@FORMATS
@pytest.mark.parametrize(
    ("message", "imports", "order", "events"),
    [
        (message, imports, order, events)
        for message in (an_order_message("OrderImported"), CREATED)
        for imports, order, events in (
            (OrderImports.NONE, IMPORTED, NOT_IMPORTED),
            (OrderImports.RECENT, IMPORTED, ["Order Completed"]),
            (OrderImports.RECENT, IMPORTED | {"orderState": "Cancelled"}, ["Order Completed", "Order Cancelled"]),
            (OrderImports.RECENT, IMPORTED_LATE, LATE),
            (OrderImports.RECENT, an_order(completedAt="2026-03-01T00:00:00Z"), ["Order Completed"]),
            (OrderImports.ALL, IMPORTED_LATE, ["Order Completed"]),
        )
    ],
)
def test_imported_orders_are_told_as_the_setting_says(
    in_format: Format, message: Document, imports: OrderImports, order: Document, events: object
) -> None:
    assert events_of(in_format(message), order, imports) == events


def test_an_import_that_does_not_say_when_it_was_completed_is_not_recent() -> None:
    assert events_of(an_order_message("OrderImported"), OPEN, OrderImports.RECENT) == UNKNOWN
    assert events_of(an_order_message("OrderImported"), OPEN, OrderImports.ALL) == ["Order Completed"]


@FORMATS
@pytest.mark.parametrize(
    ("message", "order", "events"),
    [
        (an_order_message(), CANCELLED, ["Order Completed", "Order Cancelled"]),
        (an_order_message("OrderImported"), IMPORTED, NOT_IMPORTED),
        (an_order_message("OrderEditApplied"), OPEN, ["Order Updated"]),
        (changed_to("Cancelled"), CANCELLED, ["Order Cancelled"]),
        (changed_to("Cancelled"), OPEN, ["Order Updated"]),
        (changed_to("Confirmed"), OPEN, ["Order Updated"]),
        (an_order_message("OrderStateTransition"), OPEN, "no event follows from this Message of an order"),
        (an_order_message("OrderDeleted"), OPEN, "Segment is told nothing of a deleted order"),
    ],
    ids=kind_of,
)
def test_a_message_without_its_payload_tells_by_its_type_and_by_how_the_order_is(
    in_format: Format, message: Document, order: Document, events: object
) -> None:
    assert events_of(in_format(payload_left_out(message)), order) == events


def test_every_message_of_the_subscription_is_handled() -> None:
    for kind in ORDER_MESSAGES:
        assert isinstance(order_due(notification(an_order_message(kind)), OrderImports.ALL), Due)
    for kind in PAYMENT_MESSAGES:
        assert isinstance(payment_due(notification(payload_left_out(a_payment_message(kind)))), Due)


def test_the_time_of_a_cancellation_is_its_message_s_and_beside_completed_the_order_s_own() -> None:
    order = read_order(CANCELLED)
    sale = Sale(order, Buyer("user"), OrderRules(), PROJECT)
    told = order_due(notification(changed_to("Cancelled")), OrderImports.NONE)
    created = order_due(notification(an_order_message()), OrderImports.NONE)
    assert isinstance(told, Due)
    assert isinstance(created, Due)

    [(_, cancelled)] = order_facts(told, sale)
    [(_, completed), (_, also)] = order_facts(created, sale)

    assert cancelled.payload["timestamp"] == datetime.fromisoformat("2026-01-02T03:04:05.678Z")
    assert completed.payload["timestamp"] == order.created_at
    assert also.payload["timestamp"] == order.last_modified_at
    assert also.payload["message_id"] == cancelled.payload["message_id"]


# Payments

R1, R2 = a_refund(), a_refund(id="refund-2")
CHARGE, PENDING = a_refund(type="Charge"), a_refund(state="Pending")
NO_REFUND, NOT_IN_SUCCESS = "the transaction is no refund in Success", "the transaction is not in Success"
NO_NEW = "the new payment has no refund in Success"


def added(transaction: object) -> Document:
    return a_payment_message("PaymentTransactionAdded", transaction=transaction)


def new(*transactions: object) -> Document:
    return a_payment_message("PaymentCreated", payment={"id": PAYMENT_ID, "transactions": list(transactions)})


@FORMATS
@pytest.mark.parametrize(
    ("message", "transactions", "told"),
    [
        (added(R1), [R1, R2], ["refund-1"]),
        (added(R1), [PENDING], []),
        (added(R1), [CHARGE], []),
        *(
            (added(one), [R1], NO_REFUND)
            for one in (CHARGE, PENDING, a_refund(state="Initial"), a_refund(type="Chargeback"))
        ),
        (a_payment_message(), [R1, R2], ["refund-1"]),
        (a_payment_message(), [CHARGE, R2], []),
        (a_payment_message(), [PENDING], []),
        *((a_payment_message(state=one), [R1], NOT_IN_SUCCESS) for one in ("Initial", "Pending", "Failure")),
        (new(R1, CHARGE, R2), [R1, CHARGE, R2], ["refund-1", "refund-2"]),
        (new(R1), [R1, R2], ["refund-1"]),
        (new(R1, R2), [R1, PENDING | {"id": "refund-2"}], ["refund-1"]),
        (new(CHARGE, PENDING), [R1], NO_NEW),
        (new({"type": [], "state": {}}, 5, None), [R1], NO_NEW),
        (added({"type": {}, "state": []}), [R1], NO_REFUND),
        (a_payment_message(state=[]), [R1], NOT_IN_SUCCESS),
        (new(), [R1], NO_NEW),
        *(
            (a_payment_message(kind), [R1], "no event follows from this Message of a payment")
            for kind in ("PaymentInteractionAdded", "PaymentStatusInterfaceCodeSet", "PaymentOfTomorrow")
        ),
        (a_change(resource=PAYMENT), [R1], "no event follows from this change of a payment"),
        (
            a_change(resource=PAYMENT, notificationType="ResourceCreated"),
            [R1],
            "no event follows from this change of a payment",
        ),
        (
            a_change(resource=PAYMENT, notificationType="ResourceDeleted"),
            [R1],
            "Segment is told nothing of a deleted payment",
        ),
    ],
    ids=kind_of,
)
def test_refunds_follow_from_what_happened_to_a_payment(
    in_format: Format, message: Document, transactions: list[Document], told: object
) -> None:
    assert refunds_of(in_format(message), *transactions) == told


@FORMATS
@pytest.mark.parametrize("kind", PAYMENT_MESSAGES)
def test_a_message_of_a_payment_without_its_payload_tells_all_its_refunds(in_format: Format, kind: str) -> None:
    message = in_format(payload_left_out(a_payment_message(kind)))

    assert refunds_of(message, R1, PENDING | {"id": "p"}, R2) == ["refund-1", "refund-2"]


@pytest.mark.parametrize(
    "message",
    [
        added(R1 | {"id": None}),
        added(5),
        a_payment_message(transactionId=["refund-1"]),
        new(R1 | {"id": 5}, R2),
        a_payment_message("PaymentCreated"),
    ],
    ids=kind_of,
)
def test_no_refund_is_lost_for_an_id_that_cannot_be_read(message: Document) -> None:
    assert refunds_of(message, R1, R2) == ["refund-1", "refund-2"]


def test_the_type_and_state_that_a_message_leaves_open_are_the_payment_s() -> None:
    assert refunds_of(added({"id": "refund-1"}), R1) == ["refund-1"]
    assert refunds_of(a_payment_message(state=None), R1) == ["refund-1"]
    assert refunds_of(a_payment_message(state=None), CHARGE) == []


def test_a_fact_has_one_name_whatever_message_tells_it() -> None:
    dues = [payment_due(notification(one)) for one in (added(R1), a_payment_message(), new(R1))]
    orders = [
        order_due(notification(one), OrderImports.ALL)
        for one in (an_order_message(), CREATED, an_order_message("OrderImported"))
    ]

    assert {(due.name, due.version) for due in dues if isinstance(due, Due)} == {("order-refunded refund-1", 1.0)}
    assert {(due.name, due.version) for due in orders if isinstance(due, Due)} == {(Fact.COMPLETED, 1.0)}


_WORDS = ("orderState", "transaction", "transactionId", "state", "createdAt", "completedAt", "resourceVersion")


@given(
    st.sampled_from([*ORDER_MESSAGES, *PAYMENT_MESSAGES]),
    st.dictionaries(st.sampled_from(_WORDS), json_values, max_size=4),
    st.lists(st.fixed_dictionaries({"type": json_values, "state": json_values, "id": json_values}), max_size=2),
)
def test_whatever_a_message_says_tells_a_fact_or_a_reason(
    kind: str, words: Document, transactions: list[Document]
) -> None:
    body = words | {"payment": {"transactions": transactions}, "transaction": [*transactions, None][0]}
    of = ORDER if kind in ORDER_MESSAGES else PAYMENT
    about = Notification("Message", PROJECT, of["typeId"], of["id"], 1, kind, body=body)

    due = payment_due(about) if of is PAYMENT else order_due(about, OrderImports.ALL)

    assert due
