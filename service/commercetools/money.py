"""commercetools' money: https://docs.commercetools.com/api/types#money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.serving.decoding import Document, Plain, Text

_FINEST = 20  # digits after the point: https://docs.commercetools.com/api/types#highprecisionmoney
_UNIT: int = 10**_FINEST
_NO_DIGITS = frozenset(
    (
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
        *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
    )
)
_THREE_DIGITS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))  # ISO 4217; all others have two


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount: `fine` is an integer, in units of 10^-20 of the currency. `digits` are those of the currency."""

    fine: int
    digits: int
    currency: str

    @property
    def number(self) -> float | int:
        """The amount in major units, for JSON."""
        return number(self.fine)


def number(fine: int) -> float | int:
    """Return an amount in major units: the float that is nearest to it, an integer if it is whole."""
    whole, rest = divmod(fine, _UNIT)
    return fine / _UNIT if rest else whole  # the division of integers is exactly rounded


def text(fine: int, digits: int) -> str:
    """Return an amount in major units, exactly, with at least so many digits after the point."""
    whole, rest = divmod(abs(fine), _UNIT)
    fraction = f"{rest:0{_FINEST}}".rstrip("0").ljust(digits, "0")
    return f"{'-' if fine < 0 else ''}{whole}{'.' if fraction else ''}{fraction}"


def rounded(fine: int, digits: int) -> int:
    """Return an amount with so many digits after the point, rounded half to even."""
    unit: int = 10 ** (_FINEST - digits)
    return divided(fine, unit) * unit


def divided(dividend: int, divisor: int) -> int:
    """Return the quotient of two integers, the divisor above 0, rounded half to even."""
    quotient, rest = divmod(dividend, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


class MoneySchema(Document):
    type = Text()
    currency = Text("currencyCode")
    cents = Plain(int, "centAmount")
    precise = Plain(int, "preciseAmount")
    digits = Plain(int, "fractionDigits")


def money_of(loaded: Mapping[str, Any] | None) -> Money | None:
    """Return the money that MoneySchema has loaded, None if there is none, or it lacks its amount or currency."""
    if loaded is None or loaded["currency"] is None:
        return None
    currency: str = loaded["currency"]
    own = 0 if currency in _NO_DIGITS else 3 if currency in _THREE_DIGITS else 2
    digits = loaded["digits"] if loaded["digits"] is not None else own
    precise = loaded["type"] == "highPrecision" and loaded["precise"] is not None
    units = loaded["precise"] if precise else loaded["cents"]
    if units is None or not 0 <= digits <= _FINEST:
        return None
    return Money(units * 10 ** (_FINEST - digits), own if precise else digits, currency)
