"""What is in a basket and what it costs, in Decimals; and the same as commercetools' JSON of an order.

https://docs.commercetools.com/api/projects/orders#order, https://docs.commercetools.com/api/carts-orders-overview
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal

from playground.history import Document

NOTHING = Decimal(0)
DIGITS: Mapping[str, int] = {"EUR": 2, "GBP": 2, "USD": 2, "JPY": 0, "KWD": 3}
"""The currencies of the shop, with their digits after the point."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line, or with `custom` a custom line: `price` and `off` are for one unit, `off` is a discount of the cart.

    A gift has the price of its product, and costs nothing. `was` is the price before a discount on the product.
    """

    number: int
    price: Decimal
    quantity: int = 1
    off: Decimal = NOTHING
    was: Decimal | None = None
    gift: bool = False
    custom: bool = False

    @property
    def cost(self) -> Decimal:
        """The price of all units, without a discount on the total of the cart."""
        return NOTHING if self.gift else (self.price - self.off) * self.quantity


@dataclass(frozen=True, slots=True)
class Paid:
    """What is paid for something, its share of a discount on the total taken off; `tax` is None where none is known."""

    net: Decimal
    tax: Decimal | None

    @property
    def gross(self) -> Decimal:
        return self.net + (self.tax or NOTHING)


@dataclass(frozen=True, slots=True)
class Basket:
    """What is bought together. `rate` is the tax on everything, None where no tax is worked out.

    `shipping` is its price, None without any; `shipping_off` and `total_off` are discounts.
    """

    currency: str
    items: tuple[Item, ...]
    rate: Decimal | None
    taxed_prices: bool = True
    shipping: Decimal | None = None
    shipping_off: Decimal | None = None
    total_off: Decimal = NOTHING
    code_id: str | None = None

    @property
    def digits(self) -> int:
        return DIGITS[self.currency]

    @property
    def shipping_cost(self) -> Decimal:
        """The price of shipping, its own discount taken off."""
        return (self.shipping or NOTHING) - (self.shipping_off or NOTHING)

    @property
    def total(self) -> Decimal:
        """Commercetools' totalPrice: with tax only where the prices have it."""
        return self._before - self.total_off

    @property
    def to_pay(self) -> Decimal:
        """What the buyer pays, with tax as far as it is worked out."""
        return sum((paid.gross for paid in self.paid_for_items), self.paid_for_shipping.gross)

    @property
    def _before(self) -> Decimal:
        return sum((item.cost for item in self.items), self.shipping_cost)

    @property
    def paid_for_shipping(self) -> Paid:
        return self._paid(self.rounded(self.shipping_cost * self.total / self._before) if self._before else NOTHING)

    @property
    def paid_for_items(self) -> list[Paid]:
        """What is paid for each item: the last that costs something bears what rounding leaves of the discount."""
        left = self.total_off - (self.shipping_cost - self._share(self.shipping_cost))
        costs = [item.cost for item in self.items]
        shares = [cost - self._share(cost) if cost > 0 else NOTHING for cost in costs]
        last = max(range(len(costs)), key=costs.__getitem__)
        shares[last] += left - sum(shares)
        return [self._paid(cost - share) for cost, share in zip(costs, shares, strict=True)]

    def _share(self, cost: Decimal) -> Decimal:
        """Return what a discount on the total leaves of a cost."""
        return self.rounded(cost * self.total / self._before) if self._before else cost

    def _paid(self, cost: Decimal) -> Paid:
        if self.rate is None:
            return Paid(cost, None)
        if self.taxed_prices:
            net = self.rounded(cost / (1 + self.rate))
            return Paid(net, cost - net)
        return Paid(cost, self.rounded(cost * self.rate))

    def rounded(self, amount: Decimal) -> Decimal:
        """Return an amount in the digits of the currency."""
        return amount.quantize(Decimal(1).scaleb(-self.digits), ROUND_HALF_EVEN)

    # As commercetools' JSON

    def amounts(self) -> Document:
        """Return the fields of an order that follow from the basket."""
        lines = [(item, paid) for item, paid in zip(self.items, self.paid_for_items, strict=True)]
        fields: Document = {
            "totalPrice": self.money(self.total),
            "lineItems": [self._line(item, paid) for item, paid in lines if not item.custom],
            "customLineItems": [self._custom_line(item, paid) for item, paid in lines if item.custom],
            "discountCodes": self._codes(),
            "shippingMode": "Single",
            "shipping": [],
            "taxMode": "External" if self.rate is None else "Platform",
        }
        if self.rate is not None:
            every = [*self.paid_for_items, self.paid_for_shipping]
            net, gross = sum((one.net for one in every), NOTHING), sum((one.gross for one in every), NOTHING)
            fields["taxedPrice"] = self._taxed(Paid(net, gross - net))
        if self.shipping is not None:
            fields["shippingInfo"] = self._shipping_info(self.shipping)
            fields |= {} if self.rate is None else {"taxedShippingPrice": self._taxed(self.paid_for_shipping)}
        if self.total_off:
            fields["discountOnTotalPrice"] = {
                "discountedAmount": self.money(self.total_off),
                "includedDiscounts": [self._discount(self.total_off)],
            }
        return fields

    def money(self, amount: Decimal) -> Document:
        return {
            "type": "centPrecision",
            "currencyCode": self.currency,
            "centAmount": int(amount.scaleb(self.digits)),
            "fractionDigits": self.digits,
        }

    def _taxed(self, paid: Paid) -> Document:
        tax = self.money(paid.tax or NOTHING)
        portions = [{"rate": float(self.rate or 0), "amount": tax, "name": "VAT"}]
        net, gross = self.money(paid.net), self.money(paid.gross)
        return {"totalNet": net, "totalGross": gross, "taxPortions": portions, "totalTax": tax}

    def _tax_rate(self) -> Document:
        if self.rate is None:
            return {}
        included = {"includedInPrice": self.taxed_prices, "country": "DE", "subRates": []}
        return {"taxRate": {"name": "VAT", "amount": float(self.rate), **included}}

    def _discount(self, amount: Decimal) -> Document:
        return {"discount": {"typeId": "cart-discount", "id": _CART_DISCOUNT}, "discountedAmount": self.money(amount)}

    def _discounted(self, item: Item) -> list[Document]:
        amount = item.price if item.gift else item.off
        if not amount:
            return []
        value = self.money(NOTHING if item.gift else item.price - item.off)
        price = {"value": value, "includedDiscounts": [self._discount(amount)]}
        return [{"quantity": item.quantity, "discountedPrice": price}]

    def _line(self, item: Item, paid: Paid) -> Document:
        price: Document = {
            "id": f"price-{item.number}",
            "value": self.money(item.price if item.was is None else item.was),
        }
        if item.was is not None:
            discount = {"typeId": "product-discount", "id": "product-discount-1"}
            price["discounted"] = {"value": self.money(item.price), "discount": discount}
        name, slug = _PRODUCTS[item.number % len(_PRODUCTS)]
        variant = {"id": 1, "sku": f"SKU-{item.number}", "prices": [], "attributes": [], "assets": []}
        return {
            "id": f"line-{item.number}",
            "productId": f"product-{item.number}",
            "productKey": f"product-{item.number}",
            "name": name,
            "productSlug": slug,
            "productType": {"typeId": "product-type", "id": "product-type-1"},
            "variant": {**variant, "images": [{"url": f"https://images.example.com/{item.number}.jpg"}]},
            "price": price,
            "quantity": item.quantity,
            "discountedPricePerQuantity": self._discounted(item),
            **self._tax_rate(),
            "perMethodTaxRate": [],
            "totalPrice": self.money(item.cost),
            **({} if self.rate is None else {"taxedPrice": self._taxed(paid)}),
            "taxedPricePortions": [],
            "state": [],
            "priceMode": "Platform",
            "lineItemMode": "GiftLineItem" if item.gift else "Standard",
        }

    def _custom_line(self, item: Item, paid: Paid) -> Document:
        return {
            "id": f"custom-{item.number}",
            "name": {"en": "Voucher" if item.price < 0 else "Gift wrapping"},
            "money": self.money(item.price),
            "slug": f"custom-{item.number}",
            "quantity": item.quantity,
            "discountedPricePerQuantity": self._discounted(item),
            **self._tax_rate(),
            "perMethodTaxRate": [],
            "totalPrice": self.money(item.cost),
            **({} if self.rate is None else {"taxedPrice": self._taxed(paid)}),
            "taxedPricePortions": [],
            "state": [],
            "priceMode": "Standard",
        }

    def _shipping_info(self, price: Decimal) -> Document:
        info = {
            "shippingMethodName": "Parcel",
            "price": self.money(price),
            "shippingRate": {"price": self.money(price)},
        }
        if self.shipping_off is not None:
            included = [self._discount(self.shipping_off)]
            info["discountedPrice"] = {"value": self.money(self.shipping_cost), "includedDiscounts": included}
        if self.rate is not None:
            info["taxedPrice"] = self._taxed(self._paid(self.shipping_cost))
        return {**info, **self._tax_rate(), "deliveries": [], "shippingMethodState": "MatchesCart"}

    def _codes(self) -> list[Document]:
        if self.code_id is None:
            return []
        return [{"discountCode": {"typeId": "discount-code", "id": self.code_id}, "state": "MatchesCart"}]


_CART_DISCOUNT = "00000000-0000-4000-8000-00000000d15c"
_PRODUCTS: Sequence[tuple[Document, Document]] = (
    ({"de-DE": "Becher", "en-US": "Mug"}, {"de-DE": "becher", "en-US": "mug"}),
    ({"en": "Lamp"}, {"en": "lamp"}),
    ({"ja-JP": "急須", "en-GB": "Teapot"}, {"ja-JP": "kyusu", "en-GB": "teapot"}),
    ({"ar-EG": "سجادة", "en": "Rug"}, {"en": "rug"}),
)


def random_basket(chance: random.Random, codes: Sequence[str] = ()) -> Basket:
    """Return a basket of one to five lines: some with discounts, gifts, fees and vouchers, taxed in several ways."""
    currency = chance.choices(("EUR", "GBP", "USD", "JPY", "KWD"), (5, 2, 3, 1, 1))[0]
    rate = chance.choice((Decimal("0.19"), Decimal("0.2"), Decimal("0.075"), None))

    def amount(least: int, most: int) -> Decimal:
        """Return a price between these numbers of cents, or of what is worth about as much."""
        units = chance.randint(least, most) * (3 if currency == "KWD" else 1)
        return Decimal(units).scaleb(-DIGITS[currency])

    def sometimes(share: float) -> bool:
        return chance.random() < share

    items = []
    for number in chance.sample(range(1, 200), chance.randint(1, 5)):
        price = amount(100, 20_000)
        off = _part(price, currency, chance.randint(1, 40)) if sometimes(0.25) else NOTHING
        was = price + amount(100, 900) if sometimes(0.2) else None
        items.append(Item(number, price, chance.choice((1, 1, 1, 2, 3, 12)), off, was))
    if sometimes(0.15):
        items.append(Item(200, amount(100, 900), gift=True))
    if sometimes(0.15):
        items.append(Item(201, amount(100, 500), custom=True))
    if sometimes(0.15):
        items.append(Item(202, -_part(items[0].cost, currency, 30), custom=True))
    shipping = amount(290, 990) if sometimes(0.7) else None
    shipping_off = (
        _part(shipping, currency, chance.choice((50, 100))) if shipping is not None and sometimes(0.3) else None
    )
    basket = Basket(
        currency,
        tuple(items),
        rate,
        taxed_prices=chance.choice((True, False)),
        shipping=shipping,
        shipping_off=shipping_off,
        code_id=chance.choice(codes) if codes and sometimes(0.4) else None,
    )
    return replace(basket, total_off=_part(basket.total, currency, 10)) if sometimes(0.2) else basket


def _part(amount: Decimal, currency: str, percent: int) -> Decimal:
    return (amount * percent / 100).quantize(Decimal(1).scaleb(-DIGITS[currency]), ROUND_HALF_EVEN)
