"""Decodes bytes from an untrusted sender by a schema, or raises Malformed with the reason in words."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing
from marshmallow.exceptions import SCHEMA


class Malformed(Exception):
    """The input cannot be read. The text says why, and quotes nothing of it."""


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse `data` as one JSON object. NaN and Infinity are refused, since they are not JSON.

    So is a large document of hardly anything but brackets and commas: it would take forty times its size in memory.
    """
    if len(data) > _LARGE and sum(map(data.count, (b"[", b"{", b","))) > _MOST_PARTS:
        raise Malformed(f"{what} has too many parts")
    try:
        parsed = _JSON.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except RecursionError:
        raise Malformed(f"{what} is nested too deeply") from None
    except ValueError:  # also UnicodeDecodeError, and an integer with more digits than Python reads
        raise Malformed(f"{what} is not JSON") from None
    if not isinstance(parsed, dict):
        raise Malformed(f"{what} is not a JSON object")
    return parsed


_DEEPEST = 100


def json_or(text: str, otherwise: object) -> Any:  # noqa: ANN401  # any JSON
    """Return the value of a JSON text, or `otherwise` if it is not JSON, or too deep to be written again anywhere."""
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError):
        return otherwise
    return otherwise if text.count("[") + text.count("{") > _DEEPEST and is_deep(value) else value


def is_deep(value: object, levels: int = _DEEPEST) -> bool:
    """Tell whether JSON is nested deeper than so many levels. Python's encoder fails at some depth below a thousand."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(is_deep(one, levels - 1) for one in inner))


_LARGE = 1024 * 1024
_MOST_PARTS = 500_000  # some 100 bytes each


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_no_constant)  # json.loads would make one for each document


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
    """A schema that ignores what it does not know, has no hooks, and is quick about a document without faults.

    Marshmallow's own load collects the faults of each field as it goes, which costs more than the fields. Here the
    values are looked at first, those of the commonest fields without a call for each, and only if one of them is at
    fault, marshmallow loads the document and tells the faults. `load` is the one method that is overridden for it.
    """

    class Meta:
        unknown = EXCLUDE

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # marshmallow's own
        super().__init__(**options)
        plain = {name: field for name, field in self.fields.items() if type(field) is Plain and not field.validators}
        texts = {name: field for name, field in self.fields.items() if _inner(field) is Text}
        self._plain = [
            (name, field.data_key or name, field.kind, field.required, field.load_default)
            for name, field in plain.items()
        ]
        self._texts = [(name, field.data_key or name, type(field) is IfAny) for name, field in texts.items()]
        self._others = [
            (name, field.data_key or name, field.quickly if isinstance(field, _Quick) else field.deserialize)
            for name, field in self.fields.items()
            if name not in plain and name not in texts
        ]

    def load(self, data: Any, **options: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if not isinstance(data, dict):
            return super().load(data, **options)
        try:
            return self._quickly(data)
        except ValidationError:
            return super().load(data, **options)

    def _quickly(self, document: dict[str, Any]) -> dict[str, Any]:
        get = document.get
        loaded: dict[str, Any] = {}
        for name, key, if_any in self._texts:
            value = get(key)
            if type(value) is str:
                value = value.replace("\0", "").strip() or None
            elif value is not None:
                if not if_any:
                    raise _at_fault()
                value = None
            loaded[name] = value
        for name, key, kind, required, absent in self._plain:
            value = get(key)
            if type(value) is not kind:
                if value is not None or required:
                    raise _at_fault()
                value = absent
            loaded[name] = value
        for name, key, quickly in self._others:
            loaded[name] = quickly(get(key, missing))
        return loaded


def _inner(field: fields.Field[Any]) -> type:
    """Return the kind of a field, of one that reads if any the kind that it wraps."""
    return type(field.inner) if isinstance(field, IfAny) else type(field)


def _at_fault() -> ValidationError:
    return ValidationError("")  # marshmallow then says where and how


class _Quick(fields.Field[Any]):
    """A field of a Document: `quickly` returns what marshmallow's own `deserialize` would, or raises for a fault."""

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
        raise NotImplementedError

    def _absent(self) -> Any:  # noqa: ANN401  # whatever stands for it
        if self.required:
            raise _at_fault()
        return self.load_default


class Inner(_Quick, fields.Nested):
    """A document inside a document."""

    @cached_property
    def _load_inner(self) -> Callable[[Any], Any]:
        return self.schema.load  # marshmallow's property looks for the schema each time

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        if isinstance(value, dict):
            return self._load_inner(value)
        if value is missing or (value is None and self.allow_none):
            return self._absent()
        raise _at_fault()


class Several(_Quick, fields.List[Any]):
    """A list of one of these fields. An absent or null list reads as None, unless it is `required`."""

    inner: _Quick

    def __init__(self, inner: _Quick, data_key: str | None = None, *, required: bool = False) -> None:
        absent = missing if required else None
        super().__init__(inner, data_key=data_key, required=required, load_default=absent, allow_none=not required)

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        if type(value) is list:
            return [self.inner.quickly(one) for one in value]
        if value is missing or value is None:
            return self._absent()
        raise _at_fault()


class Plain(_Quick):
    """A value of one JSON type. An absent or null value reads as `absent`, unless it is `required`."""

    _REASONS: ClassVar = {
        str: "Not a valid string.",
        int: "Not a valid integer.",
        bool: "Not a valid boolean.",
        dict: "Not a valid mapping type.",
    }

    def __init__(
        self,
        kind: type,
        data_key: str | None = None,
        *,
        absent: object = None,
        required: bool = False,
        validate: Callable[[Any], object] | None = None,
    ) -> None:
        super().__init__(
            data_key=data_key,
            required=required,
            validate=validate,
            load_default=missing if required else absent,
            allow_none=not required,
            error_messages={"invalid": self._REASONS[kind]},
        )
        self.kind = kind

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        if type(value) is self.kind:
            for validator in self.validators:
                validator(value)
            return value
        if value is missing or value is None:
            return self._absent()
        raise _at_fault()

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        if type(value) is not self.kind:
            raise self.make_error("invalid")
        return value


class TextIfAny(Plain):
    """A string; anything else reads as "", since nothing depends on it but a refinement."""

    def __init__(self, data_key: str) -> None:
        super().__init__(str, data_key, absent="")

    def quickly(self, value: Any) -> str:  # noqa: ANN401  # as above
        return value if type(value) is str else ""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:  # noqa: ANN401  # marshmallow's own signature
        return self.quickly(value)


class IfAny(_Quick):
    """What a field reads; None for all that it cannot read, since nothing depends on it but a refinement."""

    def __init__(self, inner: _Quick) -> None:
        super().__init__(data_key=inner.data_key, load_default=None, allow_none=True)
        self.inner = inner

    def _bind_to_schema(self, field_name: str, parent: Any) -> None:  # noqa: ANN401  # marshmallow's own signature
        super()._bind_to_schema(field_name, parent)
        self.inner = copy.deepcopy(self.inner)  # as marshmallow's List does
        self.inner._bind_to_schema(field_name, self)  # noqa: SLF001

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        try:
            return self.inner.quickly(value)
        except ValidationError:
            return None

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        return self.quickly(value)


class Text(Plain):
    """A string without NUL characters and the blanks around it. An empty one counts as absent."""

    def __init__(self, data_key: str | None = None) -> None:
        super().__init__(str, data_key)

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        return stripped(value) or None if type(value) is str else super().quickly(value)


def stripped(text: str) -> str:
    """Return a text without NUL characters and the blanks around it."""
    return text.replace("\0", "").strip()


class Moment(_Quick, fields.AwareDateTime):
    """A point in time, in UTC. A time without an offset is UTC; an absent or null one reads as None."""

    def __init__(self, data_key: str) -> None:
        super().__init__(data_key=data_key, default_timezone=UTC, load_default=None, allow_none=True)

    def quickly(self, value: Any) -> Any:  # noqa: ANN401  # as above
        if type(value) is str and _AS_COMMERCETOOLS_WRITES_IT.fullmatch(value):
            with suppress(ValueError):
                return datetime.fromisoformat(value)
        return self.deserialize(value)

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> datetime:  # noqa: ANN401  # marshmallow's own signature
        try:
            return super()._deserialize(value, *args, **options).astimezone(UTC)
        except OverflowError:  # year 1 or 9999, and outside of the calendar in UTC
            raise self.make_error("invalid", obj_type=self.OBJ_TYPE) from None


def moment_or_none(value: object) -> datetime | None:
    """Return a point in time in UTC; None for what is none, since nothing depends on it but a refinement."""
    try:
        return _MOMENT.quickly(value) if isinstance(value, str) else None
    except ValidationError:
        return None


_MOMENT = Moment("")
_AS_COMMERCETOOLS_WRITES_IT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
