"""What a mapping file's `as` makes of commercetools' JSON.

A conversion returns the value, None if what it reads is absent (missing, null, blank, an empty array), and UNREADABLE
if it is of another kind than asked for. Nothing is guessed: "5" is no number, and "true" no boolean.
https://docs.commercetools.com/api/projects/custom-fields#customfields
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from math import isfinite
from typing import Any

from service.commercetools.money import currency_in, written_in
from service.commercetools.resource import UNREADABLE, Unreadable
from service.serving.decoding import json_or
from service.transformation.paths import View


class As(StrEnum):
    """The kinds of value that `as` can ask for. Without `as`, it is a text, a number or a boolean."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"
    LOCALIZED = "localized"
    AMOUNT = "amount"
    CURRENCY = "currency"
    MONEY = "money"
    ID = "id"
    KEY = "key"
    JSON = "json"


OF_CUSTOMER = "customer"
"""Stands in a list of locales for the customer's own."""

Convert = Callable[[Any, View], Any]
"""Converts JSON of a customer."""


def reading(get: Callable[[View], Any], kind: As | None, locales: Sequence[str] = ()) -> Callable[[View], Any]:
    """Return a function that reads by `get` and converts to a kind, as `conversion` does: without a call between."""
    convert, each = _conversion(kind, locales)

    def read(view: View) -> Any:  # noqa: ANN401  # any JSON
        raw = get(view)
        return _array(raw, convert, view) if each and type(raw) is list else convert(raw, view)

    return read


def conversion(kind: As | None, locales: Sequence[str] = ()) -> Convert:
    """Return the conversion to a kind. An array is converted element by element and sorted: a Set has no fixed order.

    `locales` are those of LOCALIZED, in the order in which they are preferred.
    """
    convert, each = _conversion(kind, locales)
    return lambda raw, view: _array(raw, convert, view) if each and type(raw) is list else convert(raw, view)


def _conversion(kind: As | None, locales: Sequence[str]) -> tuple[Convert, bool]:
    """Return the conversion to a kind, and whether an array is converted element by element."""
    match kind:
        case As.LOCALIZED:
            return _localized(tuple(locales)), True
        case As.LIST:
            return _of_list, False
        case As.JSON:
            return _json, False
    return _ONE[kind], True


def _array(raw: Sequence[Any], convert: Convert, view: View) -> Any:  # noqa: ANN401  # any JSON
    converted = [convert(one, view) for one in raw]
    types = set(map(type, converted))
    if types == _TEXTS:
        converted.sort()
        return converted
    if _NONE in types:
        converted = [one for one in converted if one is not None]
        types.remove(_NONE)
    if len(types) > 1 and types != _NUMBERS:
        return UNREADABLE
    if Unreadable in types:
        return UNREADABLE
    converted.sort(key=_money_order if dict in types else None)
    return converted or None


_LARGEST = 2**63
_NONE = type(None)
_TEXTS = {str}
_NUMBERS = {int, float}


def _money_order(money: Mapping[str, Any]) -> tuple[Any, Any]:
    return money["currency"], money["amount"]


def _text(raw: str) -> str | None:
    return raw.replace("\0", "").strip() or None


def _scalar(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    if type(raw) is str:
        return raw.replace("\0", "").strip() or None  # as _text does, without a call: most values are texts
    return raw if raw is None or type(raw) is bool else _number(raw, _view)


def _as_text(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    if type(raw) is str:
        return _text(raw)
    number = _number(raw, _view)
    return number if number is None or number is UNREADABLE else str(number)


def _number(raw: Any, _view: View | None) -> Any:  # noqa: ANN401  # any JSON
    if raw is None or (type(raw) is int and abs(raw) <= _LARGEST):
        return raw
    return raw if type(raw) is float and isfinite(raw) else _no_blank(raw)


def _boolean(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    return raw if type(raw) is bool or raw is None else _no_blank(raw)


def _no_blank(raw: Any) -> Unreadable | None:  # noqa: ANN401  # any JSON
    """Return what a value of another kind is: a blank text is absent, whatever is asked for."""
    return UNREADABLE if type(raw) is not str or _text(raw) is not None else None


_DATE = re.compile(r"(?!0001)[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T.*)?", re.DOTALL)  # year 1: a date that was never set
_DATETIME = re.compile(
    r"(?!0001)[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)


def _matching(pattern: re.Pattern[str], length: int | None) -> Convert:
    def convert(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
        if raw is None:
            return None
        if type(raw) is not str:
            return UNREADABLE
        text = _text(raw)
        return text if text is None else text[:length] if pattern.fullmatch(text) else UNREADABLE

    return convert


def _localized(locales: Sequence[str]) -> Convert:
    """Return the text of the first of `locales` that is there, else that of its language alone: de-AT, de."""
    of_everyone = None if OF_CUSTOMER in locales else tags_of(locales, None)

    def convert(raw: Any, view: View) -> Any:  # noqa: ANN401  # any JSON
        if raw is None:
            return None
        if type(raw) is not dict:
            return _no_blank(raw)
        for tag in of_everyone or tags_of(locales, view.customer.locale):
            text = raw.get(tag)
            if text is None:
                continue
            if type(text) is not str:
                return UNREADABLE
            stripped = _text(text)
            if stripped is not None:
                return stripped
        return UNREADABLE if any(type(text) is not str for text in raw.values()) else None

    return convert


def tags_of(locales: Sequence[str], own: str | None) -> list[str]:
    """Return the locales that are looked for, in their order: each, and then its language alone."""
    tags: dict[str, None] = {}
    for locale in locales:
        tag = own if locale == OF_CUSTOMER else locale
        if tag:
            tags |= dict.fromkeys((tag, tag.partition("-")[0]))
    return list(tags)


def _amount(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    """Return an amount of money in major units: https://docs.commercetools.com/api/types#money."""
    if raw is None:
        return None
    if type(raw) is not dict:
        return _no_blank(raw)
    written = written_in(raw)
    if written is None:
        return UNREADABLE
    return written.units / 10**written.digits if written.digits else written.units  # the nearest float


def _currency(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    if raw is None:
        return None
    if type(raw) is not dict:
        return _no_blank(raw)
    return currency_in(raw) or UNREADABLE


def _money(raw: Any, view: View) -> Any:  # noqa: ANN401  # any JSON
    amount = _amount(raw, view)
    return amount if amount is None or amount is UNREADABLE else {"amount": amount, "currency": raw["currencyCode"]}


def _id(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    if raw is None:
        return None
    if type(raw) is not dict:
        return _no_blank(raw)
    if type(raw.get("typeId")) is not str or type(raw.get("id")) is not str:
        return UNREADABLE
    return _text(raw["id"])


def _key(raw: Any, view: View) -> Any:  # noqa: ANN401  # any JSON
    """Return the key of an expanded reference. Without `obj` it is not known whether the resource has a key."""
    if raw is None:
        return None
    if type(raw) is not dict:
        return _no_blank(raw)
    if _id(raw, view) is UNREADABLE or type(raw.get("obj")) is not dict:
        return UNREADABLE
    key = raw["obj"].get("key")
    return _scalar(key, view) if key is None or type(key) is str else UNREADABLE


def _of_list(raw: Any, view: View) -> Any:  # noqa: ANN401  # any JSON
    if raw is None:
        return None
    return _array(raw, _scalar, view) if type(raw) is list else _no_blank(raw)


def _json(raw: Any, _view: View) -> Any:  # noqa: ANN401  # any JSON
    if raw is None or raw == []:
        return None
    if type(raw) is not str:
        return UNREADABLE
    text = _text(raw)
    value = None if text is None else json_or(text, UNREADABLE)
    if type(value) is str:
        return _text(value)
    return None if value in ([], {}) else value if _can_be_written(value) else UNREADABLE


_DEEPEST = 20  # levels; with a thousand, the JSON could be read, and not be written again


def _can_be_written(value: Any) -> bool:  # noqa: ANN401  # any JSON
    """Tell whether everybody can read this as JSON: 1e999 is read as infinity."""
    level = [value]
    for _ in range(_DEEPEST):
        if any(type(one) in _NUMBERS and _number(one, None) is UNREADABLE for one in level):
            return False
        level = [one for several in level if type(several) in _INNER for one in _INNER[type(several)](several)]
        if not level:
            return True
    return False


_INNER: Mapping[type, Callable[[Any], Iterable[Any]]] = {dict: dict.values, list: iter}


_ONE: Mapping[As | None, Convert] = {
    None: _scalar,
    As.TEXT: _as_text,
    As.NUMBER: _number,
    As.BOOLEAN: _boolean,
    As.DATE: _matching(_DATE, 10),
    As.DATETIME: _matching(_DATETIME, None),
    As.AMOUNT: _amount,
    As.CURRENCY: _currency,
    As.MONEY: _money,
    As.ID: _id,
    As.KEY: _key,
}
