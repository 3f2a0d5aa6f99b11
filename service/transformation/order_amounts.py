"""The amounts of an order, exactly: integers until the last step. docs/orders.md has a worked example.

total = subtotal + shipping + tax, whenever commercetools has worked out the tax. Shipping is without tax, since tax is
the whole tax. https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2#order-completed
"""

from enum import StrEnum
from typing import NamedTuple

from service.commercetools.money import Money, rounded, share
from service.commercetools.order import Line, Order


class ShippingFrom(StrEnum):
    """The field that the amount for shipping comes from: one of the order, or a sum of one of each way of shipping."""

    TAXED_SHIPPING_PRICE = "taxedShippingPrice.totalNet"
    TAXED_PRICES = "taxedPrice.totalNet"
    PRICES = "discountedPrice.value, else price"


class Shipped(NamedTuple):
    """What shipping costs, and `before`: the same before its share of a discount on the total."""

    amount: int
    before: int
    origin: ShippingFrom


class Amounts(NamedTuple):
    """Exact amounts, as in Money.fine. `tax` is None if it is not known.

    `of_lines`, `on_total`, `of_shipping` and `of_negative_lines` are the parts of the discount, before it is rounded.
    """

    total: int
    subtotal: int
    shipping: int
    tax: int | None
    discount: int
    of_lines: int = 0
    on_total: int = 0
    of_shipping: int = 0
    of_negative_lines: int = 0
    shipped: Shipped = Shipped(0, 0, ShippingFrom.PRICES)


def amounts_of(order: Order) -> Amounts:
    """Return the amounts of an order."""
    shipped = _shipped(order)
    shipping = shipped.amount
    on_total = _fine(order.discount_on_total)
    of_lines = sum(map(discount_of, order.lines))
    of_shipping = sum(one.price.fine - one.discounted.fine for one in order.shipping if one.discounted is not None)
    negative = sum(-_fine(line.total) for line in order.lines if is_negative(line))
    discount = rounded(of_lines + on_total + of_shipping + negative, order.total.digits)
    parts = (of_lines, on_total, of_shipping, negative, shipped)
    if order.net is None or order.gross is None:
        return Amounts(order.total.fine, order.total.fine - shipping, shipping, None, discount, *parts)
    net, gross = order.net.fine, order.gross.fine
    return Amounts(gross, net - shipping, shipping, gross - net, discount, *parts)


def is_negative(line: Line) -> bool:
    """Tell whether a line is a custom line item that gives money back: it is a discount, and no product."""
    return line.custom and line.total is not None and line.total.fine < 0


def _fine(money: Money | None) -> int:
    return 0 if money is None else money.fine


def discount_of(line: Line) -> int:
    """Return the discounts on a line. A gift's price is 0 already, and what a negative line gives is its total."""
    if line.gift or is_negative(line):
        return 0
    return sum(one.quantity * amount.fine for one in line.discounted for amount in one.amounts)


def _shipped(order: Order) -> Shipped:
    if order.shipping_net is not None and order.net is not None:
        amount = order.shipping_net.fine
        return Shipped(amount, amount, ShippingFrom.TAXED_SHIPPING_PRICE)
    nets = [one.net for one in order.shipping if one.net is not None]
    if order.net is not None and len(nets) == len(order.shipping):
        shipping, origin = sum(net.fine for net in nets), ShippingFrom.TAXED_PRICES
    else:
        prices = (one.price if one.discounted is None else one.discounted for one in order.shipping)
        shipping, origin = sum(price.fine for price in prices), ShippingFrom.PRICES
    before = order.total.fine + _fine(order.discount_on_total)
    if order.discount_on_total is None or before <= 0:
        return Shipped(shipping, shipping, origin)
    # commercetools gives shipping its share of a discount on the total, and shows it in taxedShippingPrice alone.
    return Shipped(share(shipping, order.total.fine, before, order.total.digits), shipping, origin)
