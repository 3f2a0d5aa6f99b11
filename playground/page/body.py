"""The body of a request from the page."""

import json
import math
from collections.abc import Mapping
from typing import Any, Never

from flask import request

_DEEPEST = 100
"""Arrays and objects in each other: none of commercetools' documents has a tenth of them."""


def body() -> dict[str, Any]:
    """Return the JSON object that was sent. Raises ValueError with a sentence if it is none."""
    return object_in(request.get_data(cache=False)) if request.is_json else _refuse("The request must be JSON.")


def object_in(data: bytes) -> dict[str, Any]:
    """Return a JSON object of Unicode text and finite numbers. Raises ValueError with a sentence for all else."""
    try:
        document = json.loads(data, parse_constant=_no_number, parse_float=_number)
    except RecursionError:
        _refuse(f"The JSON must not be nested deeper than {_DEEPEST} levels.")
    except ValueError as error:
        _refuse(str(error) if isinstance(error, _Refusal) else "The request must be a JSON object.")
    if not isinstance(document, dict):
        _refuse("The request must be a JSON object.")
    _check(document)
    return document


def number_in(given: Mapping[str, Any], name: str) -> float:
    """Return a number of such an object. Raises ValueError with a sentence if there is none."""
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(f"{name} must be a number.")
    return value


class _Refusal(ValueError):
    """What the server says with its 400."""


def _refuse(sentence: str) -> Never:
    raise _Refusal(sentence)


def _no_number(name: str) -> Never:
    _refuse(f"{name} is no number of JSON.")


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(f"The number {text[:20]} is too large.")


def _check(document: object) -> None:
    level = [document]
    for _ in range(_DEEPEST):
        if not level:
            return
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += (*value, *value.values())
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                _check_text(value)
            elif isinstance(value, int):
                _check_integer(value)
        level = inner
    _refuse(f"The JSON must not be nested deeper than {_DEEPEST} levels.")


def _check_text(text: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        _refuse("A text has half of a surrogate pair, which is no character.")


def _check_integer(number: int) -> None:
    try:
        float(number)
    except OverflowError:
        _refuse("An integer is too large.")
