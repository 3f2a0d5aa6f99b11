"""One rule of the mapping: how one value is made of a customer.

It gives the value, None if what it reads is absent, or UNREADABLE if that is there, but of another kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from service.commercetools.resource import UNREADABLE
from service.serving.expressions import Expression
from service.transformation.paths import Path, View
from service.transformation.values import As, conversion, reading

Read = Callable[[View], Any]


@dataclass(frozen=True)
class Rule:
    """How one value is made: of the first of `paths` that is there, of an expression, or a fixed `value`.

    `kind` is its `as`. `values` translate texts, `default` is taken if it is absent, `clear` decides whether an absent
    one is sent as null (None: as its paths and SEGMENT_CLEAR_TRAITS say), and a text has at most `longest` characters.
    `expressed` are the paths that the expression reads. `line` is the rule's line in the file.
    """

    paths: tuple[Path, ...] = ()
    expression: Expression | None = None
    expressed: tuple[Path, ...] = ()
    value: Any = None
    kind: As | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    default: Any = None
    locales: tuple[str, ...] = ()
    clear: bool | None = None
    longest: int | None = None
    line: int = 0

    @property
    def all_paths(self) -> tuple[Path, ...]:
        return (*self.paths, *self.expressed)

    @property
    def own(self) -> bool:
        """Whether commercetools alone knows the value, so that an absent one is empty."""
        return bool(self.all_paths) and all(path.own for path in self.all_paths)

    @property
    def effective(self) -> Mapping[str, Any]:
        """What decides the value, as JSON."""
        expression = self.expression and self.expression.text
        said = {
            "from": [path.text for path in self.paths],
            "expr": expression,
            "value": self.value,
            "as": self.kind,
            "values": dict(self.values),
            "default": self.default,
            "locales": self.locales if self.kind is As.LOCALIZED else (),
            "clear": self.clear,
            "max": self.longest,
        }
        return {name: value for name, value in said.items() if value not in (None, (), [], {})}

    @cached_property
    def read(self) -> Read:
        """The function that gives the rule's value for a customer."""
        if self.value is not None:
            return lambda _view: self.value
        if self.expression is not None:
            return self._finished(self._of_expression(self.expression))
        if len(self.paths) != 1:
            return self._finished(self._of_paths())
        path = self.paths[0]
        return self._finished(path.get if path.typed and self.kind is None else self._of_path(path))

    def _of_path(self, path: Path) -> Read:
        return reading(path.get, self.kind, self.locales)

    def _of_paths(self) -> Read:
        reads = [self._of_path(path) for path in self.paths]

        def first_there(view: View) -> Any:  # noqa: ANN401  # any JSON
            for read in reads:
                value = read(view)
                if value is not None:
                    return value
            return None

        return first_there

    def _of_expression(self, expression: Expression) -> Read:
        convert = conversion(self.kind, self.locales)
        gets = [(path.text.split("."), path.get) for path in self.expressed]

        def evaluated(view: View) -> Any:  # noqa: ANN401  # any JSON
            seen: dict[str, Any] = {}
            for names, get in gets:
                value = get(view)
                if value is UNREADABLE:
                    return UNREADABLE
                inner = seen
                for name in names[:-1]:
                    inner = inner.setdefault(name, {})
                inner[names[-1]] = value
            return convert(expression.evaluate(seen), view)

        return evaluated

    def _finished(self, read: Read) -> Read:
        default, values = self.default, self.values
        if not values and self.longest is None:
            if default is None:
                return read
            return lambda view: default if (value := read(view)) is None else value

        def finished(view: View) -> Any:  # noqa: ANN401  # any JSON
            value = read(view)
            if type(value) is str and self.longest is None:
                return values.get(value, value)
            if value is None:
                return default
            if value is UNREADABLE:
                return value
            return [self._finish(one) for one in value] if type(value) is list else self._finish(value)

        return finished

    def _finish(self, value: Any) -> Any:  # noqa: ANN401  # any JSON
        if self.values:
            value = self.values.get(_as_key(value), value)
        return value[: self.longest] if self.longest is not None and type(value) is str else value


def _as_key(value: Any) -> str:  # noqa: ANN401  # any JSON
    """Return how a value is written as a key of `values`: a boolean as true or false."""
    return value if type(value) is str else str(value).lower() if type(value) is bool else str(value)
