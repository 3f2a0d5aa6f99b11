"""Orders and payments as kinds: what is read besides, for the facts that their notifications tell."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from service.commercetools.customer import CUSTOMER, Customer
from service.commercetools.notification import Notification
from service.commercetools.order import ORDER, Order
from service.commercetools.payment import PAYMENT, Payment
from service.commercetools.resource import CannotRead
from service.kinds import Facts, Reads, Told
from service.segment.client import fits
from service.segment.types import Events, SegmentEvent
from service.transformation.buyer import Buyer, buyer_of, needs_customer
from service.transformation.facts import ONCE, Due, Fact, due_refunds, not_told, order_due, order_facts, payment_due
from service.transformation.order import OrderRules, Sale, fitted, refunded

_ORDER_AWAITED_SECONDS = 900.0


def orders(reads: Reads[Order], customers: Reads[Customer], rules: OrderRules) -> Facts[Order]:
    """Return the kind of orders."""

    def told(order: Order, notification: Notification, due: Due, _age: float, deadline: float) -> Told:
        why_not = not_told(due, order, rules)
        if why_not:
            return Told(Events(reason=why_not))
        buyer = _buyer(order, customers, rules, deadline)
        if buyer.forbidden:
            return Told(Events(reason=buyer.reason, warn=buyer.warn))
        found = order_facts(due, Sale(order, buyer, rules, notification.project_key))
        events = _fitted(event for _, event in found)
        version = order.version if found[0][0] is Fact.UPDATED else ONCE
        return Told(Events(events, buyer.reason, buyer.warn), [fact for fact, _ in found], version)

    return Facts(ORDER.name, reads, partial(order_due, imports=rules.imports), told)


def payments(
    reads: Reads[Payment], of_orders: Reads[Order], customers: Reads[Customer], rules: OrderRules
) -> Facts[Payment]:
    """Return the kind of payments: their refunds are told as their order's.

    A payment is usually created before its order, and one of an abandoned cart never gets one.
    """

    def told(payment: Payment, notification: Notification, due: Due, age: float, deadline: float) -> Told:
        transactions = due_refunds(due, payment)
        if not transactions:
            return Told(Events(reason="the payment has no such refund in Success"))
        order, several = _order_of(payment, of_orders, deadline)
        if order is None:
            if age < _ORDER_AWAITED_SECONDS:
                raise CannotRead("no order has this payment yet")
            return Told(Events(reason="no order has this payment", warn=True))
        buyer = _buyer(order, customers, rules, deadline)
        if buyer.forbidden:
            return Told(Events(reason=buyer.reason, warn=buyer.warn))
        sale = Sale(order, buyer, rules, notification.project_key)
        at = due.at or payment.last_modified_at
        events = _fitted(refunded(sale, payment.id, one, at) for one in transactions)
        remarks = [buyer.reason, "more than one order has this payment: the oldest is told" if several else ""]
        reason = "; ".join(filter(None, remarks))
        return Told(
            Events(events, reason, warn=bool(reason)), [f"{Fact.REFUNDED} {one.id}" for one in transactions], ONCE
        )

    return Facts(PAYMENT.name, reads, payment_due, told)


def history(
    due: Due, order: Order, paid: Sequence[Payment], customer: Customer | None, *, rules: OrderRules, project_key: str
) -> Events:
    """Return what the notifications of an order and of these payments of it told, except updates, as they are now.

    The customer is the order's, None if `needs_customer` says so or if it does not exist any more. A refund without a
    time of its own has that of the payment's last change.
    """
    why_not = not_told(due, order, rules)
    if why_not:
        return Events(reason=why_not)
    buyer = buyer_of(order, customer, rules.user_id, rules.mapping)
    if buyer.forbidden:
        return Events(reason=buyer.reason, warn=buyer.warn)
    sale = Sale(order, buyer, rules, project_key)
    facts = [event for _, event in order_facts(due, sale)]
    refunds = [refunded(sale, one.id, refund, one.last_modified_at) for one in paid for refund in one.refunds]
    return Events(_fitted([*facts, *refunds]), buyer.reason, buyer.warn)


def is_imported(order: Mapping[str, Any]) -> bool:
    """Tell whether an order, as commercetools' JSON, was imported: any other says from which of these it is made.

    https://docs.commercetools.com/api/projects/orders#order
    """
    return not any(order.get(name) for name in ("cart", "quote", "recurringOrder"))


def _fitted(events: Iterable[SegmentEvent]) -> tuple[SegmentEvent, ...]:
    return tuple(fitted(event, fits) for event in events)


def of_payment(payment_id: str) -> str:
    """Return the predicate of the orders that have this payment, in commercetools' query language."""
    return f'paymentInfo(payments(id="{payment_id}"))'


def _order_of(payment: Payment, orders: Reads[Order], deadline: float) -> tuple[Order | None, bool]:
    """Return the oldest order that has this payment, and whether others have it too."""
    if orders.oldest is None or orders.by_id is None:
        raise CannotRead("the order of a payment is found by a query alone")
    ids = orders.oldest(of_payment(payment.id), deadline)
    about = (Notification("", resource_type=ORDER.type_id, resource_id=order_id) for order_id in ids)
    found = next((order for one in about if (order := orders.by_id(one, deadline)) is not None), None)
    return found, len(ids) > 1


def _buyer(order: Order, customers: Reads[Customer], rules: OrderRules, deadline: float) -> Buyer:
    customer = None
    if order.customer_id is not None and needs_customer(order, rules.user_id, rules.mapping.consent):
        about = Notification("", resource_type=CUSTOMER.type_id, resource_id=order.customer_id)
        customer = customers.now(about, deadline)
    return buyer_of(order, customer, rules.user_id, rules.mapping)
