"""From bytes that anybody may have sent to what a schema describes, or Malformed with the reason in words."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing
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


class Document(Schema):
    """A schema that passes over what it does not know, without hooks, and quick about a document without faults.

    Marshmallow's own load keeps account of the faults of each field as it goes, which costs more than the fields. Here
    the fields are asked straight away, and only if one of them objects, marshmallow loads the document for its account.
    """

    class Meta:
        unknown = EXCLUDE

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # marshmallow's own
        super().__init__(**options)
        self._ways = [(name, field.data_key or name, field.deserialize) for name, field in self.fields.items()]

    def load(self, data: Any, **options: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if isinstance(data, dict):
            with suppress(ValidationError):
                return {name: deserialize(data.get(key, missing), key, data) for name, key, deserialize in self._ways}
        return super().load(data, **options)


class Inner(fields.Nested):
    """A document inside a document, loaded by its schema without the steps that ours does not need."""

    def deserialize(self, value: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if isinstance(value, dict):
            return self.schema.load(value)
        return super().deserialize(value, *args, **options)


class Plain(fields.Field[Any]):
    """A value of one JSON type. One that is absent or null reads as `absent`.

    Takes the short way: the inherited one, over defaults and validators that none of these has, costs several times
    as much, for each field of each document.
    """

    _REASONS: ClassVar = {
        str: "Not a valid string.",
        int: "Not a valid integer.",
        bool: "Not a valid boolean.",
        dict: "Not a valid mapping type.",
    }

    def __init__(self, kind: type, data_key: str | None = None, *, absent: object = None) -> None:
        super().__init__(
            data_key=data_key, load_default=absent, allow_none=True, error_messages={"invalid": self._REASONS[kind]}
        )
        self._kind = kind

    def deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if type(value) is self._kind:
            return value
        if value is missing or value is None:
            return self.load_default
        raise self.make_error("invalid")


class Text(Plain):
    """A string without the blanks around it; one that is empty then counts as absent."""

    def __init__(self, data_key: str | None = None) -> None:
        super().__init__(str, data_key)

    def deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if type(value) is str:
            return value.strip() or None
        return super().deserialize(value)
