"""Which facts about an order a notification tells, and the events that follow. docs/orders.md has the table.

A Message says what happened; the order and the payment are then read as they are now. A change (ResourceUpdated) does
not say what happened, so nothing follows from it.
https://docs.commercetools.com/api/projects/messages/order-messages
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from service.commercetools.notification import Notification
from service.commercetools.order import Order
from service.commercetools.payment import Payment, Refund
from service.config import OrderImports
from service.segment.types import SegmentEvent
from service.transformation.order import OrderRules, Sale, cancelled, completed, updated

ONCE = 1.0
"""The version of a fact that is told once, whatever the version of its resource."""


class Fact(StrEnum):
    COMPLETED = "order-completed"
    UPDATED = "order-updated"
    CANCELLED = "order-cancelled"
    STATE = "order-state"  # changed, and the Message does not say to which
    REFUNDED = "order-refunded"


class Due(NamedTuple):
    """A fact that a notification tells.

    `name` is the fact's own among those of its resource, `version` the resource's for an update, else ONCE.
    `transactions` are the ids of the refunds, None if the notification does not tell them. `at` is the Message's time.
    `imported` is None where the order itself must tell, by its completedAt.
    """

    fact: Fact
    name: str
    version: float | None = ONCE
    at: datetime | None = None
    imported: bool | None = None
    transactions: frozenset[str] | None = None


ORDER_MESSAGES = (
    *("OrderCreated", "OrderCreatedFromRecurringOrder", "OrderImported", "OrderStateChanged"),
    *("OrderShipmentStateChanged", "OrderPaymentStateChanged", "OrderCustomerSet", "OrderEditApplied"),
)
PAYMENT_MESSAGES = ("PaymentCreated", "PaymentTransactionAdded", "PaymentTransactionStateChanged")
"""The Messages from which events follow."""

_CREATED = frozenset({"OrderCreated", "OrderCreatedFromRecurringOrder"})
_CANCELLED = "Cancelled"
_RECENT = timedelta(days=1)
_NOT_IMPORTED = "the order was imported, and ORDER_IMPORTS is none"


def order_due(notification: Notification, imports: OrderImports) -> Due | str:
    """Return the fact that a notification about an order tells, or the reason why there is none."""
    at, kind = notification.created_at, notification.message_type
    if notification.notification_type == "ResourceCreated":
        return Due(Fact.COMPLETED, Fact.COMPLETED, at=at)
    if kind in _CREATED:
        return Due(Fact.COMPLETED, Fact.COMPLETED, at=at, imported=False)
    if kind == "OrderImported":
        due = Due(Fact.COMPLETED, Fact.COMPLETED, at=at, imported=True)
        return due if imports is not OrderImports.NONE else _NOT_IMPORTED
    if kind not in ORDER_MESSAGES:
        return _nothing_follows(notification)
    fact = _changed_to(notification.body.get("orderState")) if kind == "OrderStateChanged" else Fact.UPDATED
    return Due(fact, fact, ONCE if fact is Fact.CANCELLED else notification.version, at)


def _changed_to(state: object) -> Fact:
    if state == _CANCELLED:
        return Fact.CANCELLED
    return Fact.UPDATED if isinstance(state, str) else Fact.STATE


def payment_due(notification: Notification) -> Due | str:
    """Return the refunds that a notification about a payment may tell, or the reason why there are none."""
    due = _PAYMENT_DUE.get(notification.message_type, _nothing_follows)
    return due(notification)


def _of_new_payment(notification: Notification) -> Due | str:
    payment = notification.body.get("payment")
    if not isinstance(payment, dict):
        return _refunds(notification, None)
    given = payment.get("transactions")
    transactions = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    ids = [one.get("id") for one in transactions if _may_be_refund(one)]
    if not ids:
        return "the new payment has no refund in Success"
    texts = frozenset(one for one in ids if isinstance(one, str))
    return _refunds(notification, texts if len(texts) == len(ids) else None)


def _of_added_transaction(notification: Notification) -> Due | str:
    transaction = notification.body.get("transaction")
    if not isinstance(transaction, dict):
        return _refunds(notification, None)
    if not _may_be_refund(transaction):
        return "the transaction is no refund in Success"
    return _refunds(notification, _only(transaction.get("id")))


def _of_changed_transaction(notification: Notification) -> Due | str:
    if notification.body.get("state") not in (None, "Success"):
        return "the transaction is not in Success"
    return _refunds(notification, _only(notification.body.get("transactionId")))


def _may_be_refund(transaction: Mapping[str, Any]) -> bool:
    return transaction.get("type") in (None, "Refund") and transaction.get("state") in (None, "Success")


def _only(transaction_id: object) -> frozenset[str] | None:
    return frozenset({transaction_id}) if isinstance(transaction_id, str) else None


def _refunds(notification: Notification, transactions: frozenset[str] | None) -> Due:
    if transactions is None:
        return Due(Fact.REFUNDED, Fact.REFUNDED, notification.version, notification.created_at)
    name = " ".join((Fact.REFUNDED, *sorted(transactions)))
    return Due(Fact.REFUNDED, name, at=notification.created_at, transactions=transactions)


def _nothing_follows(notification: Notification) -> str:
    if notification.is_deletion:
        return f"Segment is told nothing of a deleted {notification.resource_type}"
    what = "Message" if notification.message_type else "change"
    return f"no event follows from this {what} of {_WITH_ARTICLE[notification.resource_type]}"


_WITH_ARTICLE = {"order": "an order", "payment": "a payment"}
_PAYMENT_DUE: Mapping[str, Callable[[Notification], Due | str]] = dict(
    zip(PAYMENT_MESSAGES, (_of_new_payment, _of_added_transaction, _of_changed_transaction), strict=True)
)


def not_told(due: Due, order: Order, rules: OrderRules) -> str:
    """Return why no event follows from the order as it is now, "" if one does."""
    if due.fact is Fact.CANCELLED and order.state != _CANCELLED:
        return "the order is not cancelled any more"
    imported = order.completed_at is not None if due.imported is None else due.imported
    if due.fact is Fact.COMPLETED and imported:
        return _not_imported(order, rules.imports)
    return ""


def _not_imported(order: Order, imports: OrderImports) -> str:
    match imports:
        case OrderImports.ALL:
            return ""
        case OrderImports.NONE:
            return _NOT_IMPORTED
        case OrderImports.RECENT:
            age_is_known = order.completed_at is not None
            if order.completed_at is not None and order.created_at - order.completed_at <= _RECENT:
                return ""
            why = "was completed more than a day before" if age_is_known else "does not say when it was completed"
            return f"the order was imported, and {why}: ORDER_IMPORTS is recent"


def order_facts(due: Due, sale: Sale) -> list[tuple[Fact, SegmentEvent]]:
    """Return the facts of an order and their events, in their order."""
    is_cancelled = sale.order.state == _CANCELLED
    match due.fact:
        case Fact.COMPLETED:
            also = [(Fact.CANCELLED, cancelled(sale))] if is_cancelled else []
            return [(Fact.COMPLETED, completed(sale)), *also]
        case Fact.CANCELLED:
            return [(Fact.CANCELLED, cancelled(sale, due.at))]
        case Fact.STATE if is_cancelled:
            return [(Fact.CANCELLED, cancelled(sale, due.at))]
        case _:
            return [(Fact.UPDATED, updated(sale))]


def due_refunds(due: Due, payment: Payment) -> Sequence[Refund]:
    """Return the refunds of a payment that are due."""
    return [one for one in payment.refunds if due.transactions is None or one.id in due.transactions]
