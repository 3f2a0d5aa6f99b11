"""commercetools' money: https://docs.commercetools.com/api/types#money."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from marshmallow import missing

from service.serving.decoding import Plain

_FINEST = 20  # digits after the point: https://docs.commercetools.com/api/types#highprecisionmoney
_UNIT: int = 10**_FINEST
_FINE = [10 ** (_FINEST - digits) for digits in range(_FINEST + 1)]
_LARGEST = 2**63  # an amount is a 64-bit integer
_CURRENCY = re.compile(r"[A-Z]{3}")
_DIGITS = {  # ISO 4217; all others have two
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


class Money(NamedTuple):
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
    return share(fine, 1, 1, digits)


def share(fine: int, part: int, whole: int, digits: int) -> int:
    """Return this part of an amount, rounded half to even to so many digits. The whole is above 0."""
    unit: int = 10 ** (_FINEST - digits)
    quotient, rest = divmod(fine * part, whole * unit)
    return (quotient + (2 * rest > whole * unit or (2 * rest == whole * unit and quotient % 2 == 1))) * unit


class Written(NamedTuple):
    """Money as commercetools writes it: so many units of 10^-digits. `precise` units can be below the currency's."""

    units: int
    digits: int
    currency: str
    precise: bool


def currency_in(raw: Mapping[str, Any]) -> str | None:
    """Return the currency of commercetools' JSON of money, None if it is not written as a code of ISO 4217."""
    code = raw.get("currencyCode")
    return code if type(code) is str and _CURRENCY.fullmatch(code) else None


def written_in(raw: Mapping[str, Any]) -> Written | None:
    """Return what commercetools' JSON of money says, None if it cannot be read: nothing of an amount is guessed.

    An amount without `fractionDigits` has those of its currency; one of high precision must have its own.
    """
    currency, kind, digits = currency_in(raw), raw.get("type"), raw.get("fractionDigits")
    precise = kind == "highPrecision" or (kind is None and raw.get("preciseAmount") is not None)
    if currency is None or not (precise or kind is None or kind == "centPrecision"):
        return None
    units = raw.get("preciseAmount" if precise else "centAmount")
    if digits is None and not precise:
        digits = _digits_of(currency)
    if type(units) is not int or abs(units) > _LARGEST or type(digits) is not int or not 0 <= digits <= _FINEST:
        return None
    return Written(units, digits, currency, precise)


def money_in(raw: Mapping[str, Any]) -> Money | None:
    """Return the money that commercetools' JSON says, None if it cannot be read."""
    written = written_in(raw)
    if written is None:
        return None
    units, digits, currency, precise = written
    return Money(units * _FINE[digits], _digits_of(currency) if precise else digits, currency)


def _digits_of(currency: str) -> int:
    return _DIGITS.get(currency, 2)


class MoneyField(Plain):
    """Money. One that is there and cannot be read is a fault, never 0."""

    def __init__(self, data_key: str, *, required: bool = False) -> None:
        super().__init__(dict, data_key, required=required)
        self.error_messages["invalid"] = "Not a valid amount of money."

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
        if value is missing or value is None:
            return self._absent()
        money = money_in(value) if type(value) is dict else None
        if money is None:
            raise self.make_error("invalid")
        return money

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        return self.quickly(value)
