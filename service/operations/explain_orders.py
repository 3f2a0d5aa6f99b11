"""explain, of an order and its payment: who bought, and where each amount comes from, line by line.

The amounts are those of service/transformation/order_amounts.py; docs/orders.md has a worked example.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from service.commercetools.customer import Customer
from service.commercetools.money import Money, number, rounded, text
from service.commercetools.notification import Notification
from service.commercetools.order import Line, Order, Shipping
from service.commercetools.payment import Payment, Refund
from service.operations import plain
from service.operations.mapping import table_of
from service.operations.origins import Origin
from service.transformation.buyer import buyer_of, needs_customer
from service.transformation.facts import due_refunds, payment_due
from service.transformation.order import OrderRules, is_whole, localized
from service.transformation.order_amounts import Amounts, ShippingFrom, amounts_of, discount_of, is_negative


class Sum(NamedTuple):
    """One amount: its name, as Segment's property where it is one; how it came about; its field in commercetools' JSON.

    `amount` is exact, as Money.fine; None if it is not known.
    """

    name: str
    amount: int | None
    how: str
    field: str
    currency: str
    digits: int

    @property
    def shown(self) -> str:
        return "·" if self.amount is None else text(self.amount, self.digits)

    @property
    def document(self) -> dict[str, Any]:
        amount = None if self.amount is None else number(self.amount)
        return {
            "name": self.name.strip(),
            "amount": amount,
            "currency": self.currency,
            "how": self.how,
            "field": self.field,
        }


class Sold(NamedTuple):
    """What was looked at, in words; who bought; and the sums of the order and of the refunds."""

    what: Sequence[tuple[str, str]] = ()
    who: Sequence[Origin] = ()
    sums: Sequence[Sum] = ()


def sold(
    order: Order | None, payment: Payment | None, customer: Customer | None, about: Notification, rules: OrderRules
) -> Sold:
    """Return what is to be told of an order and a payment, as far as they were read. `customer` is the order's."""
    what = []
    if payment is not None:
        what.append(("payment", f"{payment.id}, version {payment.version}"))
    if order is not None:
        named = f"{order.number}, id {order.id}" if order.number else order.id
        what.append(("order", f"{named}, version {order.version}, {order.state or 'without an orderState'}"))
    sums = [] if order is None else list(_sums_of(order, rules.mapping.order.locale or order.locale))
    if payment is not None:
        sums += _sums_of_refunds(payment, order, about)
    return Sold(what, [] if order is None else list(_who(order, customer, rules)), sums)


# Who


def _who(order: Order, customer: Customer | None, rules: OrderRules) -> Iterator[Origin]:
    if customer is None and needs_customer(order, rules.user_id, rules.mapping.consent):
        yield Origin("customerId", order.customer_id, "the customer decides, and was not read", sent=False)
        return
    buyer = buyer_of(order, customer, rules.user_id, rules.mapping)
    if buyer.forbidden:
        yield Origin("consent", None, buyer.reason, sent=False)
        return
    absent = buyer.reason or f"{buyer.user_id_from}: absent, a guest"
    user_id = buyer.user_id or None
    yield Origin("userId", user_id, buyer.user_id_from if user_id else absent, sent=user_id is not None)
    anonymous_id = buyer.anonymous_id or None
    why = buyer.anonymous_id_from or "not needed: the userId says who"
    if why == "id":
        why = "of the order's id, since a guest's order has no anonymousId"
    yield Origin("anonymousId", anonymous_id, why, sent=anonymous_id is not None)
    yield Origin("context.traits.email", order.email, "customerEmail, as written", sent=order.email is not None)
    of = "the order's custom fields" if customer is None else "the customer"
    for name, given in buyer.preferences.items():
        yield Origin(f"consent {name}", given, f"of {of}", sent=True)


# The sums


class _Sums:
    """Makes sums in the currency of an order."""

    def __init__(self, order: Order) -> None:
        self.currency, self.digits = order.total.currency, order.total.digits

    def one(self, name: str, amount: Money | int | None, how: str, field: str) -> Sum:
        fine = amount.fine if isinstance(amount, Money) else amount
        return Sum(name, fine, how, field, self.currency, self.digits)

    def text(self, fine: int) -> str:
        return text(fine, self.digits)


def _sums_of(order: Order, locale: str | None) -> Iterator[Sum]:
    sums, amounts = _Sums(order), amounts_of(order)
    items = customs = 0
    for line in order.lines:
        if line.custom:
            path, customs = f"customLineItems[{customs}]", customs + 1
        else:
            path, items = f"lineItems[{items}]", items + 1
        yield from _of_line(line, path, localized(line.names, locale)[1] or line.sku or line.id, sums)
    for one in order.shipping:
        yield from _of_shipping(one, sums)
    yield from _of_discount(order, amounts, sums)
    yield from _of_totals(order, amounts, sums)
    yield _checked(order, amounts, sums)


def _of_line(line: Line, path: str, name: str, sums: _Sums) -> Iterator[Sum]:
    if is_negative(line):
        yield sums.one(name, line.total, "negative: a discount, and no product", f"{path}.totalPrice")
        return
    price = "money" if line.custom else "price.discounted.value" if line.reduced else "price.value"
    if line.gift:
        yield sums.one(name, 0, f"a gift: 0 x {line.quantity}", f"{path}.lineItemMode")
    elif line.price is None:
        yield sums.one(name, None, "without a price", f"{path}.{price}")
    else:
        how = f"{sums.text(line.price.fine)} x {line.quantity}"
        yield sums.one(name, _listed(line), how, f"{path}.{price} x quantity")
    if discount_of(line):
        how = " + ".join(
            f"{one.quantity} x {sums.text(sum(amount.fine for amount in one.amounts))}" for one in line.discounted
        )
        yield sums.one("  discounted", -discount_of(line), how, f"{path}.discountedPricePerQuantity")
    if line.total is not None:
        yield sums.one("  of the line", line.total, "as commercetools has it", f"{path}.totalPrice")


def _listed(line: Line) -> int:
    """Return a line at its price."""
    if line.gift or line.price is None or line.quantity is None or is_negative(line):
        return 0
    return line.price.fine * line.quantity


def _of_shipping(one: Shipping, sums: _Sums) -> Iterator[Sum]:
    path = _path_of(one)
    yield sums.one("shipping, list price", one.price, "", f"{path}.price")
    if one.discounted is not None:
        yield sums.one("  with its discount", one.discounted, "", f"{path}.discountedPrice.value")
    if one.net is not None:
        yield sums.one("  without tax", one.net, "", f"{path}.taxedPrice.totalNet")


def _path_of(one: Shipping) -> str:
    return "shippingInfo" if one.method is None else f"shipping[{one.method}].shippingInfo"


def _of_discount(order: Order, amounts: Amounts, sums: _Sums) -> Iterator[Sum]:
    parts = (
        ("discount of the lines", amounts.of_lines, "discountedPricePerQuantity of lineItems and customLineItems"),
        ("discount on the total", amounts.on_total, "discountOnTotalPrice.discountedAmount"),
        ("discount of shipping", amounts.of_shipping, "shippingInfo.price - discountedPrice.value"),
        ("negative custom line items", amounts.of_negative_lines, "customLineItems[*].totalPrice"),
    )
    for name, amount, field in parts:
        yield sums.one(name, amount, "", field)
    exact = _exact_discount(amounts)
    how = " + ".join(sums.text(amount) for _, amount, _ in parts if amount) or "none"
    how += "" if exact == amounts.discount else f", rounded to {order.total.digits} digits"
    yield sums.one("discount", amounts.discount, how, "the four above")


def _exact_discount(amounts: Amounts) -> int:
    return amounts.of_lines + amounts.on_total + amounts.of_shipping + amounts.of_negative_lines


def _of_totals(order: Order, amounts: Amounts, sums: _Sums) -> Iterator[Sum]:
    yield _shipped(order, amounts, sums)
    is_taxed = amounts.tax is not None and order.net is not None
    before_tax = order.net if is_taxed and order.net is not None else order.total
    field = "taxedPrice.totalNet" if is_taxed else "totalPrice"
    how = f"{sums.text(before_tax.fine)} - {sums.text(amounts.shipping)}; also revenue, of Order Completed"
    yield sums.one("subtotal", amounts.subtotal, how, f"{field} - shipping")
    if is_taxed:
        how = f"{sums.text(amounts.total)} - {sums.text(before_tax.fine)}"
        yield sums.one("tax", amounts.tax, how, "taxedPrice.totalGross - taxedPrice.totalNet")
        how = " + ".join(map(sums.text, (amounts.subtotal, amounts.shipping, amounts.tax or 0)))
        yield sums.one("total", amounts.total, how, "taxedPrice.totalGross")
    else:
        yield sums.one("tax", None, "not known, so not sent", "taxedPrice: absent")
        yield sums.one("total", amounts.total, "", "totalPrice")


def _shipped(order: Order, amounts: Amounts, sums: _Sums) -> Sum:
    origin, before = amounts.shipped.origin, amounts.shipped.before
    if origin is ShippingFrom.TAXED_SHIPPING_PRICE:
        return sums.one("shipping", amounts.shipping, "", origin)
    if not order.shipping:
        return sums.one("shipping", amounts.shipping, "none", "shippingInfo, shipping: absent")
    how = ""
    if order.discount_on_total is not None and before != amounts.shipping:
        total, on_total = sums.text(order.total.fine), sums.text(amounts.on_total)
        how = f"{sums.text(before)} x {total} / ({total} + {on_total}): its share of the discount on the total"
    return sums.one(
        "shipping", amounts.shipping, how, " + ".join(f"{_path_of(one)}.{origin}" for one in order.shipping)
    )


def _checked(order: Order, amounts: Amounts, sums: _Sums) -> Sum:
    """Return the lines and shipping as listed, less the discount: what commercetools' own total should be."""
    lines = sum(map(_listed, order.lines))
    shipping = sum(one.price.fine for one in order.shipping if one.price is not None)
    discount = _exact_discount(amounts)
    there = rounded(lines + shipping - discount, order.total.digits)
    how = f"{sums.text(lines)} + {sums.text(shipping)} - {sums.text(discount)}"
    differs = order.total.fine - there
    end = f", {sums.text(abs(differs))} {'less' if differs > 0 else 'more'} than" if differs else ", as in"
    return sums.one("check", there, f"lines + shipping - discount: {how}{end} totalPrice", "totalPrice")


def _sums_of_refunds(payment: Payment, order: Order | None, about: Notification) -> Iterator[Sum]:
    due = payment_due(about)
    for refund in () if isinstance(due, str) else due_refunds(due, payment):
        amount = refund.amount
        field = f"transactions[id={refund.id}].amount"
        how = "whether it is the whole order is not known" if order is None else _whole(order, refund)
        yield Sum("total of the refund", abs(amount.fine), how, field, amount.currency, amount.digits)


def _whole(order: Order, refund: Refund) -> str:
    if refund.amount.currency != order.total.currency:
        return f"in another currency than the order's ({order.total.currency}): without products"
    total = text(amounts_of(order).total, order.total.digits)
    if is_whole(order, refund):
        return f"the whole order, whose total is {total}: with its products"
    return f"a part of the order, whose total is {total}: without products"


# Shown


def document_of(found: Sold) -> dict[str, Any]:
    """Return who bought and the sums, as JSON."""
    return {
        "who": [{"name": one.name, "value": one.value, "why": one.why, "sent": one.sent} for one in found.who],
        "sums": [one.document for one in found.sums],
    }


def tables_of(found: Sold) -> Iterator[Table]:
    if found.who:
        cells = ((one.name, "·" if one.value is None else str(one.value), one.why) for one in found.who)
        yield table_of(("who", "value", "commercetools' field"), cells)
    if found.sums:
        yield _table_of_sums(found.sums)


def _table_of_sums(sums: Sequence[Sum]) -> Table:
    currencies = list(dict.fromkeys(one.currency for one in sums))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("amount", overflow="fold")
    table.add_column(plain(" ".join(currencies)), justify="right", no_wrap=True)
    table.add_column("how", overflow="fold")
    table.add_column("commercetools' field", overflow="fold")
    for one in sums:
        shown = f"{one.shown} {one.currency}" if len(currencies) > 1 else one.shown
        style = "bold" if one.name in _PROPERTIES else ""
        name, amount = (Text(plain(cell), style) for cell in (one.name, shown))
        table.add_row(name, amount, Text(one.how), Text(plain(one.field), "dim"))
    return table


_PROPERTIES: frozenset[str] = frozenset(("discount", "shipping", "subtotal", "tax", "total", "total of the refund"))
