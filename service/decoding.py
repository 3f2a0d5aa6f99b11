"""From bytes that anybody may have sent to what a schema describes, or Malformed with the reason in words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from marshmallow import Schema, ValidationError
from marshmallow.exceptions import SCHEMA


class Malformed(Exception):
    """What came in cannot be read. The text says why, in words that quote nothing of it."""


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse `data` as one JSON object; NaN and Infinity, which are no JSON, are refused too."""
    try:
        parsed = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise Malformed(f"{what} is nested too deeply") from None
    except ValueError:  # UnicodeDecodeError is one, and so is an integer of more digits than Python will read
        raise Malformed(f"{what} is not JSON") from None
    if not isinstance(parsed, dict):
        raise Malformed(f"{what} is not a JSON object")
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def load(schema: Schema, document: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401  # what the schema makes
    """Load `document` by `schema`, or raise Malformed with the path and the reason of each fault."""
    try:
        return schema.load(document)
    except ValidationError as error:
        raise Malformed(f"{what} is not valid: {'; '.join(_reasons(error.messages))}") from None


def _reasons(messages: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401  # marshmallow nests lists and dicts
    if isinstance(messages, dict):
        for key, inner in messages.items():
            inside = path if key == SCHEMA else f"{path}.{key}".lstrip(".")
            yield from _reasons(inner, inside)
    else:
        yield from (f"{path}: {message.rstrip('.')}" for message in messages)
