"""The orders of a shop: placed, imported, edited, cancelled, paid and refunded, and told as commercetools tells it.

Shapes: https://docs.commercetools.com/api/projects/orders, https://docs.commercetools.com/api/projects/payments,
https://docs.commercetools.com/api/projects/messages/order-messages
"""

import copy
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from playground.baskets import NOTHING, Basket, random_basket
from playground.history import Document, History, Population
from playground.notifications import CLIENT, Action, Numbered, Project, Raised, Resources, iso, sometimes

_STATES = ("Open", "Confirmed", "Complete", "Cancelled")
_PAYMENT_STATES = ("BalanceDue", "Pending", "CreditOwed", "Failed", "Paid")
_SHIPMENT_STATES = ("Delayed", "Backorder", "Partial", "Ready", "Shipped", "Delivered")
REFUND_STATES = ("Initial", "Pending", "Success", "Failure")
_NEXT = {"Initial": ("Pending", "Pending", "Failure"), "Pending": ("Success", "Success", "Failure")}


@dataclass(frozen=True, slots=True)
class Deed:
    """What the shop did: the Message that tells it, of an order or a payment at a version, at a time."""

    kind: str
    resource_id: str
    version: int
    at: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that the shop wants to pay back, and whether it did: Initial, Pending, Success or Failure."""

    payment_id: str
    amount: Decimal
    currency: str


class Sales:
    """The orders, payments and discount codes of one project.

    `deeds`, `baskets` and `refunds` are the shop's books: all that happened, in Decimals where it is money.
    """

    def __init__(self, project: Project, keep: int, population: int = 0, seed: int = 0) -> None:
        self._project = project
        self._random = project.random
        originals = _Orders(population, seed, project.now)
        histories = [History(project.lock, keep, originals), *(History(project.lock, keep) for _ in range(2))]
        self.orders, self.payments, self.discount_codes = histories
        self._orders = Resources(project, "order", self.orders, ("orderNumber",))
        self._payments = Resources(project, "payment", self.payments)
        self._numbers = 0
        self.deeds: list[Deed] = []
        self.baskets: dict[str, list[tuple[int, Basket]]] = defaultdict(list)
        """By the order's id: each basket, with the version from which on the order has it."""
        self.refunds: dict[str, Refund] = {}
        """By the transaction's id."""

    # Discount codes

    def code(self, text: str, **fields: object) -> Document:
        """Return a new discount code."""
        with self._project.lock:
            now = self._project.tick()
            document = {**self._born(now), "code": text, "isActive": True, "cartDiscounts": [], **fields}
            self.discount_codes.keep(document, now)
        return document

    def delete_code(self, code_id: str) -> Document:
        with self._project.lock:
            return self.discount_codes.delete(code_id)

    # Orders

    def place(self, basket: Basket | None = None, *, recurring: bool = False, **fields: object) -> Document:
        """Return a new order of this basket (without one, of a random one) with these fields of the API (None: unset).

        It is told by OrderCreated, or by OrderCreatedFromRecurringOrder.
        """
        kind = "OrderCreatedFromRecurringOrder" if recurring else "OrderCreated"
        return self._new(kind, basket, {"cart": {"typeId": "cart", "id": self._project.uuid()}, **fields})

    def import_order(
        self, basket: Basket | None = None, *, age: timedelta = timedelta(0), **fields: object
    ) -> Document:
        """Return a new order, told by OrderImported, that was completed so long ago."""
        completed = iso(self._project.now - age)
        return self._new("OrderImported", basket, {"origin": "Customer", "completedAt": completed, **fields})

    def _new(self, kind: str, basket: Basket | None, fields: Mapping[str, object]) -> Document:
        with self._project.lock:
            basket = basket or random_basket(self._random, list(self.discount_codes))
            now = self._project.tick()
            self._numbers += 1
            order = _order(self._born(now), self._numbers, basket)
            order = {
                name: value for name, value in {**order, **copy.deepcopy(dict(fields))}.items() if value is not None
            }
            self._orders.keep(order)
            self.baskets[order["id"]].append((order["version"], basket))
            self._note(order, [(kind, order["version"], {"order": order})])
        self._orders.tell_creation(order, (kind, {"order": order}))
        return order

    def change(self, order_id: str, *actions: Action) -> Document:
        """Return the order after one update with commercetools' update actions.

        https://docs.commercetools.com/api/projects/orders#update-actions. Raises KeyError for an order that does not
        exist, ValueError for what commercetools would refuse.
        """
        return self._changed(self._orders, order_id, actions, _change_order)

    def edit(self, order_id: str | None = None, basket: Basket | None = None) -> Document:
        """Return the order after an Order Edit has given it this basket, which has the order's currency.

        Without them the order and the basket are random ones.
        """
        order_id = order_id or self._some_order()["id"]
        with self._project.lock:
            before = self.orders[order_id]
            basket = basket or self._other_basket(before)
            edit_id = self._project.uuid()
            action = {"action": "applyEdit", "id": edit_id, "fields": basket.amounts()}
        order = self._changed(self._orders, order_id, [action], _change_order)
        self.baskets[order_id].append((order["version"], basket))
        return order

    def delete(self, order_id: str) -> Document:
        """Return the last version of an order, deleted."""
        return self._orders.delete(order_id, "OrderDeleted", lambda last: {"order": last})

    # Payments

    def pay(self, amount: Decimal, currency: str, *, state: str = "Success", **fields: object) -> Document:
        """Return a new payment with a Charge of so much; it belongs to no order yet."""
        with self._project.lock:
            now = self._project.tick()
            money = _money(amount, currency)
            charge = self._transaction("Charge", money, state, now)
            payment = {
                **self._born(now),
                "amountPlanned": money,
                "paymentMethodInfo": {"paymentInterface": "example", "method": "CREDIT_CARD"},
                "paymentStatus": {},
                "transactions": [charge],
                "interfaceInteractions": [],
                **fields,
            }
            self._payments.keep(payment)
            self._note(payment, [("PaymentCreated", payment["version"], {"payment": payment})])
        self._payments.tell_creation(payment, ("PaymentCreated", {"payment": payment}))
        return payment

    def refund(self, payment_id: str, amount: Decimal, state: str = "Initial", *, dated: bool = True) -> str:
        """Add a Refund of so much to a payment; return the transaction's id. Without `dated` it has no timestamp."""
        with self._project.lock:
            currency = self.payments[payment_id]["amountPlanned"]["currencyCode"]
            transaction = self._transaction("Refund", _money(amount, currency), state, self._project.tick())
            if not dated:
                del transaction["timestamp"]
            self.refunds[transaction["id"]] = Refund(payment_id, amount, currency)
        action = {"action": "addTransaction", "transaction": transaction}
        self._changed(self._payments, payment_id, [action], _change_payment)
        return str(transaction["id"])

    def change_refund(self, transaction_id: str, state: str) -> Document:
        """Give a Refund this state, and return its payment."""
        action = {"action": "changeTransactionState", "transactionId": transaction_id, "state": state}
        return self._changed(self._payments, self.refunds[transaction_id].payment_id, [action], _change_payment)

    def pay_back(self, order_id: str, amount: Decimal, state: str = "Initial") -> str:
        """Refund so much of an order, in its currency; return the transaction's id.

        The order's last payment has the Refund; one is made if there is none. Raises KeyError for an order that does
        not exist, ValueError for an amount that is not above zero, has too many digits, or is more than is left.
        """
        order = self.orders[order_id]
        price, left = order["totalPrice"], self.left(order_id)
        currency, digits = price["currencyCode"], price["fractionDigits"]
        if not amount.is_finite() or amount <= 0:
            raise ValueError("A refund must be more than nothing.")
        if amount > left:
            raise ValueError(f"At most {left} {currency} of this order can be refunded.")
        if amount != round(amount, digits):
            raise ValueError(f"An amount in {currency} has at most {digits} digits after the point.")
        if state not in REFUND_STATES:
            raise ValueError(f"The state of a refund is one of {', '.join(REFUND_STATES)}.")
        payments = order.get("paymentInfo", {}).get("payments", ())
        payment_id = payments[-1]["id"] if payments else self._pay_for(order_id)
        return self.refund(payment_id, round(amount, digits), state)

    def settle_refund(self, transaction_id: str, state: str) -> Document:
        """Give a Refund its next state, and return its payment. Raises ValueError if it has ended, KeyError."""
        payment = self.payments[self.refunds[transaction_id].payment_id]
        now = next(one["state"] for one in payment["transactions"] if one["id"] == transaction_id)
        if now not in _NEXT:
            raise ValueError(f"This refund has ended with {now}, and keeps that state.")
        if state not in REFUND_STATES:
            raise ValueError(f"The state of a refund is one of {', '.join(REFUND_STATES)}.")
        return self.change_refund(transaction_id, state)

    def left(self, order_id: str) -> Decimal:
        """Return how much of an order can still be refunded, in its currency: what has not failed is taken off."""
        refunds = [one for one in self.transactions(order_id) if one["type"] == "Refund" and one["state"] != "Failure"]
        return max(to_pay(self.orders[order_id]) - sum((amount_of(one["amount"]) for one in refunds), NOTHING), NOTHING)

    def transactions(self, order_id: str) -> list[Document]:
        """Return the transactions of an order's payments, oldest payment first."""
        payments = self.orders[order_id].get("paymentInfo", {}).get("payments", ())
        return [transaction for one in payments for transaction in self.payments[one["id"]]["transactions"]]

    def _pay_for(self, order_id: str) -> str:
        order = self.orders[order_id]
        payment_id = str(self.pay(to_pay(order), order["totalPrice"]["currencyCode"])["id"])
        self.change(order_id, {"action": "addPayment", "payment": {"typeId": "payment", "id": payment_id}})
        return payment_id

    def _transaction(self, kind: str, money: Document, state: str, now: datetime) -> Document:
        return {
            "id": self._project.uuid(),
            "timestamp": iso(now),
            "type": kind,
            "amount": money,
            "interactionId": self._project.uuid(),
            "state": state,
        }

    # At random

    def random_deed(self, buyer: Document | None, *, edits: bool = True) -> str:
        """Place an order for this customer (None: a guest) or do something to another; return the order's id."""
        deeds = {
            self._place_somehow: 30,
            self._change_states: 25,
            self._cancel_or_open_again: 8,
            self._edit_somehow: 8 if edits else 0,
            self._refund_somehow: 25,
        }
        deed = self._random.choices(list(deeds), list(deeds.values()))[0] if self.orders else self._place_somehow
        return deed(buyer)

    def _place_somehow(self, buyer: Document | None) -> str:
        chance = self._random
        basket = random_basket(chance, list(self.discount_codes))
        who = {"customerId": buyer["id"], "customerEmail": buyer["email"]} if buyer else self._guest()
        kind = chance.choices(("placed", "imported", "recurring"), (80, 12, 8))[0]
        paid = {"paymentInfo": {"payments": [self._paid_for(basket)]}} if sometimes(chance, 0.7) else {}
        fields = {"locale": chance.choice(("de-DE", "en-US", None)), **who, **paid}
        if kind == "imported":
            age = timedelta(hours=chance.choice((0, 2, 50)))
            order = self.import_order(basket, age=age, **fields)
        else:
            order = self.place(basket, recurring=kind == "recurring", **fields)
        return str(order["id"])

    def place_for(self, buyer: Document | None) -> Document:
        """Return a new order of a random basket, paid, for this customer (None: a guest)."""
        basket = random_basket(self._random, list(self.discount_codes))
        who = {"customerId": buyer["id"], "customerEmail": buyer["email"]} if buyer else self._guest()
        return self.place(basket, paymentInfo={"payments": [self._paid_for(basket)]}, **who)

    def _guest(self) -> Document:
        guest = {"anonymousId": self._project.uuid(), "customerEmail": f"guest.{self._numbers}@example.com"}
        return {name: value for name, value in guest.items() if sometimes(self._random, 0.7)}

    def _paid_for(self, basket: Basket) -> Document:
        return {"typeId": "payment", "id": self.pay(basket.to_pay, basket.currency)["id"]}

    def _some_order(self) -> Document:
        while True:
            order_id = self.orders.numbered(self._random.randrange(self.orders.ever))
            if order_id is not None:
                return self.orders[order_id]

    def _change_states(self, buyer: Document | None) -> str:
        order = self._some_order()
        offers: list[Action] = [
            {"action": "changePaymentState", "paymentState": self._random.choice(_PAYMENT_STATES)},
            {"action": "changeShipmentState", "shipmentState": self._random.choice(_SHIPMENT_STATES)},
            {"action": "setCustomerId", "customerId": buyer["id"] if buyer else order.get("customerId")},
        ]
        if order["orderState"] != "Cancelled":
            offers.append({"action": "changeOrderState", "orderState": self._random.choice(_STATES[:3])})
        self.change(order["id"], *self._random.sample(offers, self._random.choice((1, 1, 2))))
        return str(order["id"])

    def _cancel_or_open_again(self, _buyer: Document | None) -> str:
        order = self._some_order()
        state = "Open" if order["orderState"] == "Cancelled" and sometimes(self._random, 0.3) else "Cancelled"
        self.change(order["id"], {"action": "changeOrderState", "orderState": state})
        return str(order["id"])

    def _edit_somehow(self, _buyer: Document | None) -> str:
        return str(self.edit()["id"])

    def _refund_somehow(self, _buyer: Document | None) -> str:
        order = self._some_order()
        payments = order.get("paymentInfo", {}).get("payments", ())
        if not payments:
            payment = self._paid_for(self.baskets[order["id"]][-1][1])
            self.change(order["id"], {"action": "addPayment", "payment": payment})
            return str(order["id"])
        payment_id = payments[-1]["id"]
        states = {
            one["id"]: one["state"] for one in self.payments[payment_id]["transactions"] if one["type"] == "Refund"
        }
        for transaction_id, state in states.items():
            if state in _NEXT:
                self.change_refund(transaction_id, self._random.choice(_NEXT[state]))
                return str(order["id"])
        basket = self.baskets[order["id"]][-1][1]
        left = basket.to_pay - self.refunded(order["id"])
        if left > 0:
            whole = sometimes(self._random, 0.4)
            amount = left if whole else basket.rounded(left * self._random.randint(5, 60) / 100) or left
            state = self._random.choices(("Initial", "Pending", "Success"), (6, 1, 3))[0]
            self.refund(payment_id, amount, state, dated=sometimes(self._random, 0.8))  # mostly
        return str(order["id"])

    def refunded(self, order_id: str) -> Decimal:
        """Return what the shop has paid back of an order, in its currency."""
        payments = self.orders[order_id].get("paymentInfo", {}).get("payments", ())
        paid_back = {
            transaction["id"]
            for one in payments
            for transaction in self.payments[one["id"]]["transactions"]
            if transaction["state"] == "Success" and transaction["id"] in self.refunds
        }
        return sum((self.refunds[one].amount for one in paid_back), Decimal(0))

    # Books

    def _changed(
        self,
        resources: Resources,
        resource_id: str,
        actions: Sequence[Action],
        apply: Callable[[Document, Action], Raised],
    ) -> Document:
        document, messages = resources.change(resource_id, actions, apply)
        self._note(document, messages)
        return document

    def _note(self, document: Document, told: Sequence[Numbered]) -> None:
        at = document["lastModifiedAt"]
        self.deeds += [Deed(kind, document["id"], version, at, fields) for kind, version, fields in told]

    def _born(self, now: datetime) -> Document:
        return _new(self._project.uuid(), now)

    def _other_basket(self, order: Document) -> Basket:
        codes = [one["discountCode"]["id"] for one in order["discountCodes"]]
        while True:
            basket = random_basket(self._random, codes)
            if basket.currency == order["totalPrice"]["currencyCode"]:
                return basket


class _Orders(Population):
    """The orders from the start, of five lines each."""

    def document(self, index: int) -> Document:
        basket = random_basket(random.Random(self.digest(index)), lines=5)
        return _order(_new(self.id(index), self.born(index)), index, basket)


def to_pay(order: Document) -> Decimal:
    """Return what the buyer pays for an order, with tax as far as it is worked out."""
    return amount_of(order["taxedPrice"]["totalGross"] if "taxedPrice" in order else order["totalPrice"])


def amount_of(money: Document) -> Decimal:
    return Decimal(money["centAmount"]).scaleb(-money["fractionDigits"])


def _new(resource_id: str, now: datetime) -> Document:
    moment = iso(now)
    return {
        "id": resource_id,
        "version": 1,
        "versionModifiedAt": moment,
        "lastMessageSequenceNumber": 1,
        "createdAt": moment,
        "lastModifiedAt": moment,
        "createdBy": CLIENT,
        "lastModifiedBy": CLIENT,
    }


def _order(born: Document, number: int, basket: Basket) -> Document:
    return {
        **born,
        "orderNumber": f"O-{number:06}",
        "orderState": "Open",
        "syncInfo": [],
        "returnInfo": [],
        "origin": "Customer",
        "inventoryMode": "None",
        "taxRoundingMode": "HalfEven",
        "taxCalculationMode": "LineItemLevel",
        **basket.amounts(),
    }


def _money(amount: Decimal, currency: str) -> Document:
    return Basket(currency, (), None).money(amount)


_SETTERS = {  # action: the field, the Message, the field of the value before in the Message
    "changeOrderState": ("orderState", "OrderStateChanged", "oldOrderState"),
    "changePaymentState": ("paymentState", "OrderPaymentStateChanged", "oldPaymentState"),
    "changeShipmentState": ("shipmentState", "OrderShipmentStateChanged", "oldShipmentState"),
    "setOrderNumber": ("orderNumber", None, ""),
    "setCustomerEmail": ("customerEmail", "OrderCustomerEmailSet", "oldEmail"),
}
_ALLOWED = {"orderState": _STATES, "paymentState": _PAYMENT_STATES, "shipmentState": _SHIPMENT_STATES}


def _change_order(order: Document, action: Action) -> Raised:
    name: str = action["action"]
    if name in _SETTERS:
        return _set(order, action)
    match name:
        case "setCustomerId":
            order.pop("customerId", None)
            customer_id = action.get("customerId")
            order |= {"customerId": customer_id} if customer_id else {}
            return [
                ("OrderCustomerSet", {"customer": {"typeId": "customer", "id": customer_id}} if customer_id else {})
            ]
        case "addPayment":
            payments = order.setdefault("paymentInfo", {"payments": []})["payments"]
            payments.append({"typeId": "payment", "id": action["payment"]["id"]})
            return [("OrderPaymentAdded", {"payment": payments[-1]})]
        case "applyEdit":
            return [("OrderEditApplied", _edit(order, action))]
    raise ValueError(f"not an action of this shop: {name}")


def _set(order: Document, action: Action) -> Raised:
    field, message, old_name = _SETTERS[action["action"]]
    value, old = action.get(field if field != "customerEmail" else "email"), order.get(field)
    if value not in _ALLOWED.get(field, (value,)):
        raise ValueError(f"not a value of {field}: {value}")
    if value is None:
        order.pop(field, None)
    else:
        order[field] = value
    return [(message, {field: value, **({} if old is None else {old_name: old})})] if message else []


def _edit(order: Document, action: Action) -> Document:
    before = _excerpt(order)
    for name in ("discountOnTotalPrice", "taxedPrice", "shippingInfo", "taxedShippingPrice"):
        order.pop(name, None)
    order |= action["fields"]
    after = {**_excerpt(order), "version": order["version"] + 1}
    result = {
        "type": "Applied",
        "appliedAt": order["lastModifiedAt"],
        "excerptBeforeEdit": before,
        "excerptAfterEdit": after,
    }
    return {"edit": {"typeId": "order-edit", "id": action["id"]}, "result": result}


def _excerpt(order: Document) -> Document:
    return {name: order[name] for name in ("totalPrice", "taxedPrice", "version") if name in order}


def _change_payment(payment: Document, action: Action) -> Raised:
    match action["action"]:
        case "addTransaction":
            payment["transactions"].append(action["transaction"])
            return [("PaymentTransactionAdded", {"transaction": action["transaction"]})]
        case "changeTransactionState":
            for transaction in payment["transactions"]:
                if transaction["id"] == action["transactionId"]:
                    transaction["state"] = action["state"]
                    fields = {"transactionId": transaction["id"], "state": action["state"]}
                    return [("PaymentTransactionStateChanged", fields)]
            raise ValueError(f"the payment has no transaction {action['transactionId']}")
    raise ValueError(f"not an action of this shop: {action['action']}")
