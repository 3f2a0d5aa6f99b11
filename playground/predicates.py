"""Query predicates on what the stand-in serves: what a `where` describes.

https://docs.commercetools.com/api/predicates/query. Not documented there, and so taken as plain logic: for an absent
field, `<>` and `not in` hold and every other comparison does not; keywords may be written in capitals.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, auto
from typing import Any, NoReturn, Protocol

_Document = Mapping[str, Any]
_Variables = Mapping[str, Sequence[str]]


class PredicateError(ValueError):
    """The predicate is malformed. The text is what commercetools says after `Malformed parameter: where: `."""


class Predicate(Protocol):
    """What a resource fulfils or does not."""

    def holds(self, document: _Document) -> bool: ...


def parsed(where: str, variables: _Variables, fields: "Fields") -> Predicate:
    """Return the predicate that `where` spells; `variables` are the values of each `var.NAME`, without the `var.`.

    `fields` are those of the resource. Raises PredicateError, also for a field that is none
    of them and for a value of another type than its field's.
    """
    parser = _Parser(where, variables)
    try:
        predicate = parser.predicate(fields)
    except RecursionError:
        raise PredicateError("The predicate is nested too deeply.") from None
    parser.end()
    return predicate


def comparisons_of(predicates: Sequence[Predicate]) -> "Iterator[Comparison]":
    """The comparisons of the resource's own fields that must hold if all the predicates are to."""
    for predicate in predicates:
        if isinstance(predicate, Comparison):
            yield predicate
        elif isinstance(predicate, _Every):
            yield from comparisons_of(predicate.parts)


# What a resource has: https://docs.commercetools.com/api/projects/customers#customer and its sisters


class _Kind(Enum):
    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    DATE = auto()
    MOMENT = auto()
    ANY = auto()
    """Of a custom field, whose type is not known here"""


_Shape = Any  # a _Kind, a mapping of the fields of an object, or a list of one shape for an array
Fields = Mapping[str, _Shape]
"""The fields of a resource that can be asked for, with their shapes."""

_TEXT, _MOMENT = _Kind.TEXT, _Kind.MOMENT
_REFERENCE = {"typeId": _TEXT, "id": _TEXT}
_KEY_REFERENCE = {"typeId": _TEXT, "key": _TEXT}
_CUSTOM = {"type": _REFERENCE, "fields": _Kind.ANY}
_AUTHOR = {
    "clientId": _TEXT,
    "isPlatformClient": _Kind.FLAG,
    "externalUserId": _TEXT,
    "anonymousId": _TEXT,
    "customer": _REFERENCE,
}
_ADDRESS = {
    **dict.fromkeys(("id", "key", "externalId", "country", "title", "salutation", "firstName", "lastName"), _TEXT),
    **dict.fromkeys(("streetName", "streetNumber", "additionalStreetInfo", "postalCode", "city", "region"), _TEXT),
    **dict.fromkeys(("state", "company", "department", "building", "apartment", "pOBox", "phone", "mobile"), _TEXT),
    **dict.fromkeys(("email", "fax", "additionalAddressInfo"), _TEXT),
    "custom": _CUSTOM,
}
CUSTOMER: Fields = {
    **dict.fromkeys(("id", "key", "customerNumber", "externalId", "email", "lowercaseEmail"), _TEXT),
    **dict.fromkeys(("firstName", "lastName", "middleName", "title", "salutation", "companyName", "vatId"), _TEXT),
    **dict.fromkeys(("locale", "authenticationMode", "defaultShippingAddressId", "defaultBillingAddressId"), _TEXT),
    **dict.fromkeys(("createdAt", "lastModifiedAt"), _MOMENT),
    "version": _Kind.NUMBER,
    "dateOfBirth": _Kind.DATE,
    "isEmailVerified": _Kind.FLAG,
    "addresses": [_ADDRESS],
    "shippingAddressIds": [_TEXT],
    "billingAddressIds": [_TEXT],
    "customerGroup": _REFERENCE,
    "customerGroupAssignments": [{"customerGroup": _REFERENCE}],
    "stores": [_KEY_REFERENCE],
    "custom": _CUSTOM,
    "createdBy": _AUTHOR,
    "lastModifiedBy": _AUTHOR,
}
TYPE: Fields = {
    **dict.fromkeys(("id", "key"), _TEXT),
    **dict.fromkeys(("createdAt", "lastModifiedAt"), _MOMENT),
    "version": _Kind.NUMBER,
}
"""What can be asked of a Type here; how its resourceTypeIds are asked for is not documented."""

_MONEY = {"type": _TEXT, "currencyCode": _TEXT, "centAmount": _Kind.NUMBER, "fractionDigits": _Kind.NUMBER}
ORDER: Fields = {
    **dict.fromkeys(("id", "orderNumber", "customerId", "customerEmail", "anonymousId", "locale", "country"), _TEXT),
    **dict.fromkeys(("orderState", "paymentState", "shipmentState", "origin"), _TEXT),
    **dict.fromkeys(("createdAt", "lastModifiedAt", "completedAt"), _MOMENT),
    "version": _Kind.NUMBER,
    "totalPrice": _MONEY,
    "cart": _REFERENCE,
    "store": _KEY_REFERENCE,
    "paymentInfo": {"payments": [_REFERENCE]},
    "custom": _CUSTOM,
}
PAYMENT: Fields = {
    **dict.fromkeys(("id", "key", "interfaceId", "anonymousId"), _TEXT),
    **dict.fromkeys(("createdAt", "lastModifiedAt"), _MOMENT),
    "version": _Kind.NUMBER,
    "amountPlanned": _MONEY,
    "customer": _REFERENCE,
    "transactions": [
        {**dict.fromkeys(("id", "type", "state", "interactionId"), _TEXT), "timestamp": _MOMENT, "amount": _MONEY}
    ],
    "custom": _CUSTOM,
}
DISCOUNT_CODE: Fields = {
    **dict.fromkeys(("id", "key", "code"), _TEXT),
    **dict.fromkeys(("createdAt", "lastModifiedAt"), _MOMENT),
    "version": _Kind.NUMBER,
    "isActive": _Kind.FLAG,
}


# What a predicate is made of


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field, one of _TESTS, and the values that it is compared with: none for `is …`, one or more otherwise."""

    field: str
    test: str
    values: Sequence[Any]
    kind: _Shape

    def holds(self, document: _Document) -> bool:
        return _TESTS[self.test](value_of(document, self.field, self.kind), self.values)


@dataclass(frozen=True, slots=True)
class _Inside:
    """An object that fulfils a predicate, or an array with such an object."""

    field: str
    inner: Predicate

    def holds(self, document: _Document) -> bool:
        found = document.get(self.field)
        objects = found if isinstance(found, list) else [found]
        return any(isinstance(each, dict) and self.inner.holds(each) for each in objects)


@dataclass(frozen=True, slots=True)
class _Every:
    parts: Sequence[Predicate]

    def holds(self, document: _Document) -> bool:
        return all(part.holds(document) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Either:
    parts: Sequence[Predicate]

    def holds(self, document: _Document) -> bool:
        return any(part.holds(document) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Not:
    inner: Predicate

    def holds(self, document: _Document) -> bool:
        return not self.inner.holds(document)


def value_of(document: _Document, field: str, kind: _Shape) -> Any:  # noqa: ANN401  # any JSON, or a datetime
    """Return a field's value, a moment as a datetime; None if it is absent."""
    if field == "lowercaseEmail" and kind is not _Kind.ANY:  # which only queries know
        return str(document["email"]).lower()
    value = document.get(field)
    return datetime.fromisoformat(value) if kind is _MOMENT and value else value


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Sequence[Any]], bool]:
    def holds(actual: Any, values: Sequence[Any]) -> bool:  # noqa: ANN401  # any JSON, or a datetime
        try:
            return compare(actual, values[0])
        except TypeError:  # an absent field, or a custom one of another type
            return False

    return holds


_TESTS: Mapping[str, Callable[[Any, Sequence[Any]], bool]] = {
    "=": lambda actual, values: actual == values[0],
    "<>": lambda actual, values: actual != values[0],
    "!=": lambda actual, values: actual != values[0],
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    "in": lambda actual, values: actual in values,
    "not in": lambda actual, values: actual not in values,
    "contains all": lambda actual, values: all(value in (actual or ()) for value in values),
    "contains any": lambda actual, values: any(value in (actual or ()) for value in values),
    "is empty": lambda actual, _: not actual,
    "is not empty": lambda actual, _: bool(actual),
    "is defined": lambda actual, _: actual is not None,
    "is not defined": lambda actual, _: actual is None,
}


# How it is spelled


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # of _TOKEN's groups, or "end"
    text: str
    column: int


_TOKEN = re.compile(
    r"""\s*(?:"(?P<string>(?:[^"\\]|\\.)*)"|:(?P<variable>[a-zA-Z0-9]+)|(?P<number>-?\d+(?:\.\d+)?)(?![\w-])"""
    r"""|(?P<word>[a-zA-Z_][\w]*)|`(?P<name>[^`]+)`|(?P<sign><>|!=|>=|<=|[=<>(),]))\s*""",
    re.ASCII,
)


def _tokens(where: str) -> Iterator[_Token]:
    place = 0
    while place < len(where):
        found = _TOKEN.match(where, place)
        if not found or found.lastgroup is None:
            _fail(f"Invalid input '{where[place:].lstrip()[:1]}'", place + 1)
        yield _Token(found.lastgroup, found[found.lastgroup], place + 1)
        place = found.end()
    yield _Token("end", "", place + 1)


def _fail(problem: str, column: int) -> NoReturn:
    raise PredicateError(f"Syntax error while parsing 'where'. {problem} (line 1, column {column})")


class _Parser:
    """Each method reads what it is named after, beginning with the token that is next."""

    def __init__(self, where: str, variables: _Variables) -> None:
        self._tokens = list(_tokens(where))
        self._place = 0
        self._variables = variables

    def predicate(self, fields: Mapping[str, _Shape] | _Kind) -> Predicate:
        parts = [self._conjunction(fields)]
        while self._took("or"):
            parts.append(self._conjunction(fields))
        return parts[0] if len(parts) == 1 else _Either(parts)

    def end(self) -> None:
        if self._next.kind != "end":
            self._unexpected("'and', 'or' or end of input")

    def _conjunction(self, fields: Mapping[str, _Shape] | _Kind) -> Predicate:
        parts = [self._term(fields)]
        while self._took("and"):
            parts.append(self._term(fields))
        return parts[0] if len(parts) == 1 else _Every(parts)

    def _term(self, fields: Mapping[str, _Shape] | _Kind) -> Predicate:
        negated = self._took("not")
        if negated:
            self._must_take("(")
        elif not self._took("("):
            return self._condition(fields)
        inner = self.predicate(fields)
        self._must_take(")")
        return _Not(inner) if negated else inner

    def _condition(self, fields: Mapping[str, _Shape] | _Kind) -> Predicate:
        if self._next.kind not in ("word", "name"):
            self._unexpected("not or conditional expression")
        field = self._take().text
        shape = _Kind.ANY if fields is _Kind.ANY else fields.get(field)  # type: ignore[union-attr]  # the only kind here
        if shape is None:
            raise PredicateError(f"The field '{field}' does not exist.")
        if self._took("("):
            return self._inside(field, shape)
        test = self._test()
        if not self._suits(test, shape):
            raise PredicateError(f"The field '{field}' cannot be compared by '{test}'.")
        kind = shape[0] if isinstance(shape, list) else shape
        return Comparison(field, test, self._values(test, field, kind), shape)

    def _inside(self, field: str, shape: _Shape) -> Predicate:
        fields = shape[0] if isinstance(shape, list) else shape
        if not (isinstance(fields, dict) or fields is _Kind.ANY):
            raise PredicateError(f"The field '{field}' has no fields.")
        inner = self.predicate(fields)
        self._must_take(")")
        return _Inside(field, inner)

    def _test(self) -> str:
        """One of _TESTS."""
        test = ""
        while test not in _TESTS:
            test = f"{test} {self._next.text.lower()}".lstrip()
            if self._next.kind not in ("word", "sign") or not any(each.startswith(test) for each in _TESTS):
                self._unexpected("a comparison")
            self._take()
        return test

    def _suits(self, test: str, shape: _Shape) -> bool:
        if shape is _Kind.ANY or test.endswith("defined"):
            return True
        if isinstance(shape, list):
            return test.endswith("empty") or (test.startswith("contains") and isinstance(shape[0], _Kind))
        return isinstance(shape, _Kind) and not test.startswith(("is", "contains"))

    def _values(self, test: str, field: str, kind: _Shape) -> list[Any]:
        if test.startswith("is"):
            return []
        if " " not in test and test != "in":
            values = self._value(field, kind)
            if len(values) != 1:
                raise PredicateError(f"The field '{field}' is compared with one value.")
            return values
        if self._next.kind == "variable":
            return self._value(field, kind)
        self._must_take("(")
        values = self._value(field, kind)
        while self._took(","):
            values += self._value(field, kind)
        self._must_take(")", "comma or ')'")
        return values

    def _value(self, field: str, kind: _Kind) -> list[Any]:
        """The value of a literal, or the values of a variable."""
        token = self._next
        if token.kind == "variable":
            self._take()
            if not self._variables.get(token.text):
                raise PredicateError(f"The variable '{token.text}' is not defined.")
            return [_typed(field, kind, text) for text in self._variables[token.text]]
        is_flag = token.kind == "word" and token.text in ("true", "false")
        literal = {"string": (_TEXT, _MOMENT, _Kind.DATE), "number": (_Kind.NUMBER,), "word": (_Kind.FLAG,)}
        if token.kind not in literal or (token.kind == "word" and not is_flag):
            self._unexpected("a value")
        self._take()
        if kind is _Kind.ANY:
            kind = literal[token.kind][0]
        if kind not in literal[token.kind]:
            raise PredicateError(f"The field '{field}' is compared with a value of another type.")
        return [_typed(field, kind, _unescaped(token) if token.kind == "string" else token.text)]

    # Tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._place += 1
        return token

    def _took(self, text: str) -> bool:
        """Take the next token if it is this keyword or sign."""
        is_it = self._next.kind in ("word", "sign") and self._next.text.lower() == text
        self._place += is_it
        return is_it

    def _must_take(self, text: str, expected: str = "") -> None:
        if not self._took(text):
            self._unexpected(expected or f"'{text}'")

    def _unexpected(self, expected: str) -> NoReturn:
        token = self._next
        what = "Unexpected end of input" if token.kind == "end" else f"Invalid input '{token.text[:1]}'"
        _fail(f"{what}, expected {expected}", token.column)


def _unescaped(token: _Token) -> str:
    if "\\" in re.sub(r'\\["\\]', "", token.text):
        _fail("Invalid input '\\'", token.column)
    return re.sub(r'\\(["\\])', r"\1", token.text)


def _typed(field: str, kind: _Kind, text: str) -> Any:  # noqa: ANN401  # of the field's type
    try:
        match kind:
            case _Kind.NUMBER:
                return float(text) if "." in text else int(text)
            case _Kind.FLAG:
                return {"true": True, "false": False}[text]
            case _Kind.DATE:
                return date.fromisoformat(text).isoformat()
            case _Kind.MOMENT:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is not None:
                    return moment
            case _:
                return text
    except (ValueError, KeyError):
        pass
    raise PredicateError(f"The field '{field}' is not compared with '{text}'.")
