"""Which events about orders Segment should hold, worked out from what the shop did: its baskets, deeds and refunds.

The judge's own reading of docs/orders.md; nothing here is imported from `service`. Amounts are sums of what was paid
for each thing in the basket, in Decimals, and not worked out from commercetools' sums.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from playground.baskets import NOTHING, Basket, Item
from playground.shop_orders import Deed, Sales

Document = Mapping[str, Any]

COMPLETED, UPDATED, CANCELLED, REFUNDED = "Order Completed", "Order Updated", "Order Cancelled", "Order Refunded"
_CREATIONS = ("OrderCreated", "OrderCreatedFromRecurringOrder")
_UPDATES = ("OrderPaymentStateChanged", "OrderShipmentStateChanged", "OrderCustomerSet", "OrderEditApplied")


@dataclass(frozen=True, slots=True)
class OrderRules:
    """The settings that decide what Segment should be told: SEGMENT_USER_ID and ORDER_IMPORTS."""

    user_id: str
    imports: str


def order_rules_of(environment: Mapping[str, str]) -> OrderRules:
    """Return the rules of a service with these settings."""
    return OrderRules(environment.get("SEGMENT_USER_ID", "email"), environment.get("ORDER_IMPORTS", "none"))


@dataclass(slots=True)
class Verdict:
    """What is wrong with the facts that Segment was told, each with the order or the refund concerned."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    amounts_off: list[str] = field(default_factory=list)
    otherwise_off: list[str] = field(default_factory=list)
    """With right amounts, and another person, time, state or product."""
    invented: list[str] = field(default_factory=list)

    @property
    def problems(self) -> int:
        return sum(map(len, (self.lost, self.doubled, self.amounts_off, self.otherwise_off, self.invented)))


class _Snapshot(NamedTuple):
    """An order at one version, and what is in it."""

    document: Document
    basket: Basket

    @property
    def version(self) -> int:
        return int(self.document["version"])

    @property
    def is_cancelled(self) -> bool:
        return bool(self.document["orderState"] == "Cancelled")


class Books:
    """The shop's books, by the order or the payment that they are about. Hold the shop's lock while using them."""

    def __init__(self, sales: Sales) -> None:
        self.sales = sales
        self.deeds: dict[str, list[Deed]] = defaultdict(list)
        self._read = 0
        self._orders: dict[str, tuple[str, str]] = {}  # payment id -> when its oldest order was made, and its id
        self._payments: dict[str, list[str]] = defaultdict(list)

    def read(self) -> None:
        """Take in what the shop did since the last time."""
        new = self.sales.deeds[self._read :]
        self._read += len(new)
        for deed in new:
            self.deeds[deed.resource_id].append(deed)
            for payment_id in _payments_in(deed):
                order_id = deed.resource_id
                mine = (self.sales.orders.versions(order_id)[-1]["createdAt"], order_id)
                self._orders[payment_id] = min(mine, self._orders.get(payment_id, mine))
                self._payments[order_id].append(payment_id)

    def order_of(self, payment_id: str) -> str | None:
        """Return the oldest order that has this payment."""
        return self._orders[payment_id][1] if payment_id in self._orders else None

    def payments_of(self, order_id: str) -> Sequence[str]:
        """Return the payments of which this is the oldest order."""
        return [one for one in self._payments.get(order_id, ()) if self.order_of(one) == order_id]


def verdict_on(sales: Sales, received: Iterable[Document], rules: OrderRules) -> Verdict:
    """Compare what Segment received, in the order of arrival, with what the shop did.

    Of several events with one messageId the first counts, as in Segment. The shop must have kept every version.
    """
    verdict = Verdict()
    told = _told(received)
    books = Books(sales)
    books.read()
    verdict.invented += [f"{name} {of}" for name, of in told if not _is_known(sales, name, of)]
    for order_id in sales.baskets:
        _judge_order(verdict, books, order_id, told, rules)
    for refund_id in sales.refunds:
        _judge_refund(verdict, books, refund_id, told, rules)
    return verdict


def verdict_on_order(books: Books, order_id: str, received: Iterable[Document], rules: OrderRules) -> Verdict:
    """Compare what Segment received about one order and its refunds with what the shop did, as `verdict_on` does.

    Where the shop has forgotten the order's first version, only what is lost or doubled is said.
    """
    verdict = Verdict()
    told = _told(received)
    verdict.invented += [f"{name} {of}" for name, of in told if not _is_known(books.sales, name, of)]
    _judge_order(verdict, books, order_id, told, rules)
    for payment_id in books.payments_of(order_id):
        for transaction in books.sales.payments[payment_id]["transactions"]:
            if transaction["id"] in books.sales.refunds:
                _judge_refund(verdict, books, transaction["id"], told, rules)
    if books.sales.orders.versions(order_id)[0]["version"] > 1:
        return Verdict(lost=verdict.lost, doubled=verdict.doubled)
    return verdict


def _judge_order(
    verdict: Verdict, books: Books, order_id: str, told: Mapping[tuple[str, str], Sequence[Document]], rules: OrderRules
) -> None:
    snapshots = list(_snapshots(books.sales, order_id))
    is_gone = order_id not in books.sales.orders
    judge, deeds = _Judge(verdict, books.sales, order_id, snapshots, rules, is_gone), books.deeds[order_id]
    judge.completed(told.get((COMPLETED, order_id), ()), deeds)
    judge.cancelled(told.get((CANCELLED, order_id), ()), deeds)
    judge.updated(told.get((UPDATED, order_id), ()), deeds)


def _payments_in(deed: Deed) -> list[str]:
    """Return the payments that an order has got by this."""
    info = deed.fields.get("order", {}).get("paymentInfo", {}) if deed.kind in (*_CREATIONS, "OrderImported") else {}
    added = [deed.fields["payment"]] if deed.kind == "OrderPaymentAdded" else []
    return [payment["id"] for payment in (*info.get("payments", ()), *added)]


def _is_known(sales: Sales, name: str, of: str) -> bool:
    """Tell whether there ever was such an order, or such a refund."""
    return of in sales.refunds if name == REFUNDED else name in (COMPLETED, UPDATED, CANCELLED) and of in sales.baskets


def _told(received: Iterable[Document]) -> dict[tuple[str, str], list[Document]]:
    """Return the events about orders, each messageId once, by name and by the id of the order, or of the refund."""
    first: dict[str, Document] = {}
    for event in received:
        if event.get("type") == "track":
            first.setdefault(event["messageId"], event)
    told: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for event in first.values():
        properties = event["properties"]
        of = properties.get("refund_id" if event["event"] == REFUNDED else "order_id", "")
        told[event["event"], of].append(event)
    return told


def _snapshots(sales: Sales, order_id: str) -> Iterator[_Snapshot]:
    baskets = sales.baskets[order_id]
    for document in sales.orders.versions(order_id):
        yield _Snapshot(document, [basket for since, basket in baskets if since <= document["version"]][-1])


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges the events about one order."""

    verdict: Verdict
    sales: Sales
    order_id: str
    snapshots: Sequence[_Snapshot]
    rules: OrderRules
    is_gone: bool

    def completed(self, events: Sequence[Document], deeds: Sequence[Deed]) -> None:
        is_due = self._is_completion_told(deeds)
        self._once(COMPLETED, events, is_due=is_due, may_be=is_due)
        for event in events:
            self._compare(event, self.snapshots)

    def cancelled(self, events: Sequence[Document], deeds: Sequence[Deed]) -> None:
        moments = [_moment(deed.at) for deed in deeds if deed.fields.get("orderState") == "Cancelled"]
        may_be = bool(moments) or self._is_completion_told(deeds)  # one that was cancelled when it was made
        cancelled = [one for one in self.snapshots if one.is_cancelled and may_be]
        is_due = bool(cancelled) and self.snapshots[-1].is_cancelled
        self._once(CANCELLED, events, is_due=is_due, may_be=bool(cancelled))
        for event in events:
            self._compare(event, cancelled, moments)

    def updated(self, events: Sequence[Document], deeds: Sequence[Deed]) -> None:
        versions = [deed.version for deed in deeds if _is_update(deed)]
        by_time = {_moment(one.document["lastModifiedAt"]): one for one in self.snapshots}
        seen = []
        for event in events:
            snapshot = by_time.get(_moment(event["timestamp"]))
            if not versions or snapshot is None or snapshot.version < min(versions):
                self.verdict.invented.append(f"{UPDATED} {self.order_id}")
                continue
            seen.append(snapshot.version)
            self._compare(event, [snapshot])
        self.verdict.doubled += [f"{UPDATED} {self.order_id}"] * (len(seen) - len({*seen}))
        if versions and not self.is_gone and max(seen, default=0) < max(versions):
            self.verdict.lost.append(f"{UPDATED} {self.order_id}, version {max(versions)}")

    def _is_completion_told(self, deeds: Sequence[Deed]) -> bool:
        made = next(deed for deed in deeds if deed.kind in (*_CREATIONS, "OrderImported"))
        return made.kind in _CREATIONS or _is_told(made.fields["order"], self.rules.imports)

    def _once(self, name: str, events: Sequence[Document], *, is_due: bool, may_be: bool) -> None:
        self.verdict.lost += [f"{name} {self.order_id}"] * (is_due and not self.is_gone and not events)
        self.verdict.doubled += [f"{name} {self.order_id}"] * (len(events) > 1)
        self.verdict.invented += [f"{name} {self.order_id}"] * (bool(events) and not may_be)

    def _compare(self, event: Document, snapshots: Sequence[_Snapshot], moments: Sequence[datetime] = ()) -> None:
        """Note an event that tells none of these states of the order; it may have the time of one of these moments."""
        name, properties = event["event"], event["properties"]
        alike = [one for one in snapshots if _amounts(name, one.basket) == _amounts_in(properties)]
        if not alike:
            self.verdict.amounts_off += [f"{name} {self.order_id}"] * bool(snapshots)
        elif not any(self._tells(event, one, moments) for one in alike):
            self.verdict.otherwise_off.append(f"{name} {self.order_id}")

    def _tells(self, event: Document, one: _Snapshot, moments: Sequence[datetime]) -> bool:
        order, properties = one.document, event["properties"]
        states = [order.get(state) for state in ("orderState", "paymentState", "shipmentState")]
        told = [properties.get(state) for state in ("order_state", "payment_state", "shipment_state")]
        created = order.get("completedAt") or order["createdAt"]
        at = created if event["event"] == COMPLETED else order["lastModifiedAt"]
        return (
            told == (states if event["event"] == UPDATED else [None] * 3)
            and properties.get("order_number") == order.get("orderNumber")
            and properties.get("coupon") in self._coupons(one.basket)
            and [*map(_product_in, properties["products"])] == [*map(_product, _products(one.basket))]
            and _moment(event["timestamp"]) in (_moment(at), *moments)
            and _is_from(event, order, self.rules.user_id)
        )

    def _coupons(self, basket: Basket) -> Sequence[str | None]:
        """Return what the coupon may be: it is not told any more once the code is deleted."""
        if basket.code_id is None:
            return [None]
        text = self.sales.discount_codes.versions(basket.code_id)[-1]["code"]
        return [text] if basket.code_id in self.sales.discount_codes else [text, None]


def _is_told(order: Document, imports: str) -> bool:
    """Tell whether an import is told."""
    age = _moment(order["createdAt"]) - _moment(order["completedAt"])
    return imports == "all" or (imports == "recent" and age <= timedelta(days=1))


def _is_update(deed: Deed) -> bool:
    if deed.kind == "OrderStateChanged":
        return bool(deed.fields["orderState"] != "Cancelled")
    return deed.kind in _UPDATES


def _is_from(event: Document, order: Document, user_id: str) -> bool:
    """Tell whether the event is the buyer's, as far as the order alone says who that is."""
    email, customer_id = order.get("customerEmail") or "", order.get("customerId")
    guest = order.get("anonymousId") or f"commercetools-order-{order['id']}"
    known = {"id": customer_id, "email": email.strip().lower()}.get(user_id)
    if not known and customer_id:
        return True  # it takes the customer to tell
    who = {"userId": known} if known else {"anonymousId": guest}
    told = {name: event[name] for name in ("userId", "anonymousId") if event.get(name)}
    return told == who and event["context"].get("traits", {}).get("email", "") == email


# Refunds


def _judge_refund(
    verdict: Verdict,
    books: Books,
    refund_id: str,
    told: Mapping[tuple[str, str], Sequence[Document]],
    rules: OrderRules,
) -> None:
    sales, refund = books.sales, books.sales.refunds[refund_id]
    payment = sales.payments.versions(refund.payment_id)
    order_id = books.order_of(refund.payment_id)
    events, what = told.get((REFUNDED, refund_id), ()), f"{REFUNDED} {refund_id}"
    was_paid = any(_is_paid(version, refund_id) for version in payment)
    is_due = _is_paid(payment[-1], refund_id) and order_id in sales.orders
    verdict.lost += [what] * (is_due and not events)
    verdict.doubled += [what] * (len(events) > 1)
    verdict.invented += [what] * (bool(events) and not (was_paid and order_id))
    snapshots = list(_snapshots(sales, order_id)) if order_id else []
    moments = {_moment(deed.at) for deed in books.deeds[refund.payment_id]}
    dated = next((one.get("timestamp") for one in payment[-1]["transactions"] if one["id"] == refund_id), None)
    for event in events:
        properties = event["properties"]
        money = (_exactly(properties.get("total")), properties.get("currency"))
        if money != (refund.amount, refund.currency) or "revenue" in properties:
            verdict.amounts_off.append(what)
        elif (
            properties["order_id"] != order_id
            or not any(
                _is_from(event, one.document, rules.user_id)
                and ("products" in properties) == (refund.amount >= one.basket.to_pay)
                for one in snapshots
            )
            or _moment(event["timestamp"]) not in ({_moment(dated)} if dated else moments)
        ):
            verdict.otherwise_off.append(what)


def _is_paid(payment: Document, refund_id: str) -> bool:
    return any(one["id"] == refund_id and one["state"] == "Success" for one in payment["transactions"])


# Money


def _amounts(name: str, basket: Basket) -> dict[str, Decimal | str]:
    """Return the amounts that an event about a basket must have, and its currency."""
    paid, shipping = basket.paid_for_items, basket.paid_for_shipping
    taxes = [one.tax for one in (*paid, shipping)]
    subtotal = sum((one.net for one in paid), NOTHING)
    amounts: dict[str, Decimal | str] = {
        "subtotal": subtotal,
        "total": subtotal + shipping.net + sum((tax or NOTHING for tax in taxes), NOTHING),
        "shipping": shipping.net,
        "discount": _discount(basket),
        "currency": basket.currency,
    }
    if basket.rate is not None:
        amounts["tax"] = sum((tax or NOTHING for tax in taxes), NOTHING)
    return {**amounts, "revenue": subtotal} if name == COMPLETED else amounts


def _discount(basket: Basket) -> Decimal:
    """Return what the buyer would have paid more: the list prices less what was asked for them, with all discounts."""
    vouchers = sum((-item.cost for item in basket.items if _is_voucher(item)), NOTHING)
    lists = sum((item.price * item.quantity for item in _products(basket) if not item.gift), basket.shipping or NOTHING)
    asked = sum((item.cost for item in _products(basket)), basket.shipping_cost)
    return lists - asked + vouchers + basket.total_off


def _is_voucher(item: Item) -> bool:
    return item.custom and item.price < 0


def _products(basket: Basket) -> list[Item]:
    lines = sorted(basket.items, key=lambda item: item.custom)  # custom line items come last
    return [item for item in lines if not _is_voucher(item)]


def _product(item: Item) -> tuple[str, Decimal, int]:
    product_id = f"custom-{item.number}" if item.custom else f"product-{item.number}"
    return product_id, NOTHING if item.gift else item.price, item.quantity


def _product_in(product: Document) -> tuple[str, Decimal | None, int]:
    return product["product_id"], _exactly(product.get("price")), product["quantity"]


_AMOUNTS = ("subtotal", "total", "shipping", "tax", "discount", "revenue")


def _amounts_in(properties: Document) -> dict[str, Any]:
    amounts = {name: _exactly(properties[name]) for name in _AMOUNTS if name in properties}
    return {**amounts, "currency": properties.get("currency")}


def _exactly(number: object) -> Decimal | None:
    """Return a JSON number as it is written; None for anything else."""
    return Decimal(str(number)) if isinstance(number, int | float) and not isinstance(number, bool) else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def money_in_segment(received: Iterable[Document]) -> dict[str, Decimal]:
    """Return the sum of Order Completed minus that of Order Refunded, by currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for (name, _), events in _told(received).items():
        sign = {COMPLETED: 1, REFUNDED: -1}.get(name, 0)
        for event in events:
            sums[event["properties"]["currency"]] += sign * (_exactly(event["properties"]["total"]) or NOTHING)
    return dict(sorted(sums.items()))


def money_in_the_books(sales: Sales) -> dict[str, Decimal]:
    """Return the sum of what was sold, as it was first sold, minus what was paid back, by currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for baskets in sales.baskets.values():
        sums[baskets[0][1].currency] += baskets[0][1].to_pay
    for refund_id, refund in sales.refunds.items():
        if _is_paid(sales.payments[refund.payment_id], refund_id):
            sums[refund.currency] -= refund.amount
    return dict(sorted(sums.items()))
