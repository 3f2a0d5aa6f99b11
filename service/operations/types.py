"""A shop's Types, and whether a mapping file agrees with them.

https://docs.commercetools.com/api/projects/types
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from service.commercetools.resource import ResourceType
from service.serving.decoding import Malformed
from service.transformation.consent import Consent
from service.transformation.mapping import ShopMapping
from service.transformation.paths import CUSTOM_FIELD, Path
from service.transformation.rule import Rule
from service.transformation.values import As

RESOURCES = ("customer", "address", "customer-group")
"""The resources whose custom fields a mapping file can name, as Path.of has them."""


class Kind(StrEnum):
    """commercetools' types of fields; a Set is one of them, several times. UNKNOWN is one that we do not know."""

    BOOLEAN = "Boolean"
    STRING = "String"
    LOCALIZED_STRING = "LocalizedString"
    ENUM = "Enum"
    LOCALIZED_ENUM = "LocalizedEnum"
    NUMBER = "Number"
    MONEY = "Money"
    DATE = "Date"
    TIME = "Time"
    DATE_TIME = "DateTime"
    REFERENCE = "Reference"
    UNKNOWN = ""


ENUMS = frozenset({Kind.ENUM, Kind.LOCALIZED_ENUM})
OBJECTS = frozenset({Kind.LOCALIZED_STRING, Kind.MONEY, Kind.REFERENCE})
"""Those whose values are objects in JSON: none is read without `as`."""


@dataclass(frozen=True, slots=True)
class CustomField:
    """A custom field. `labels` are those of an enum's keys, `of_type` is the key of its Type."""

    name: str
    kind: Kind
    is_set: bool = False
    label: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    of_type: str = ""

    @property
    def described(self) -> str:
        """Its type in words: "a Set of Money"."""
        name = self.kind or "type that is not known here"
        if self.is_set:
            return f"a Set of {name}"
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


@dataclass(frozen=True, slots=True)
class Type:
    """A Type, as far as it is used here."""

    id: str
    version: int
    resource_type_ids: frozenset[str]
    fields: tuple[CustomField, ...]


def read_type(document: Mapping[str, Any]) -> Type:
    """Read commercetools' JSON of a Type. A field that is not as documented is left out, or is of no known type."""
    if type(document.get("id")) is not str or type(document.get("version")) is not int:
        raise Malformed("the Type has no id or no version")
    key = _text(document.get("key") or document["id"])
    return Type(
        id=document["id"],
        version=document["version"],
        resource_type_ids=frozenset(map(str, _array(document.get("resourceTypeIds")))),
        fields=tuple(
            _field(definition, key)
            for definition in _objects(document.get("fieldDefinitions"))
            if CUSTOM_FIELD.fullmatch(_text(definition.get("name")))
        ),
    )


def _field(definition: Mapping[str, Any], of_type: str) -> CustomField:
    of = _object(definition.get("type"))
    is_set = of.get("name") == "Set"
    element = _object(of.get("elementType")) if is_set else of
    kind = Kind(element["name"]) if element.get("name") in tuple(Kind) else Kind.UNKNOWN
    values = _objects(element.get("values")) if kind in ENUMS else []
    return CustomField(
        name=definition["name"],
        kind=kind,
        is_set=is_set,
        label=_label(definition.get("label")),
        labels={key: _label(value.get("label")) or key for value in values if (key := _text(value.get("key")))},
        of_type=of_type,
    )


def _label(label: object) -> str:
    """Return a text, or that of the first locale."""
    return _text(next(iter(label.values()), "") if isinstance(label, dict) else label)


def _text(text: object) -> str:
    """Return a text without halves of a surrogate pair, which JSON can have and no file can."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else ""


def _array(found: object) -> Sequence[Any]:
    return found if isinstance(found, list) else []


def _objects(found: object) -> list[Mapping[str, Any]]:
    return [each for each in _array(found) if isinstance(each, dict)]


def _object(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


TYPE = ResourceType("type", "types", read_type)


def all_types(page_after: Callable[[str], Sequence[Mapping[str, Any]]]) -> list[Type]:
    """Return all Types. `page_after` gives the documents after an id, in the order of their ids, none at the end."""
    types: list[Type] = []
    while page := page_after(types[-1].id if types else ""):
        types += map(read_type, page)
    return types


Fields = Mapping[str, Mapping[str, CustomField]]
"""The custom fields by resource, then by name."""


def fields_of(types: Iterable[Type]) -> Fields:
    """Return the custom fields of RESOURCES. One name has one type in all Types of a resource; enums are put together.

    https://docs.commercetools.com/api/projects/types#fielddefinition
    """
    fields: dict[str, dict[str, CustomField]] = {resource: {} for resource in RESOURCES}
    for each in types:
        for resource in each.resource_type_ids.intersection(RESOURCES):
            for found in each.fields:
                before = fields[resource].get(found.name)
                fields[resource][found.name] = found if before is None else _both(before, found)
    return fields


def _both(one: CustomField, other: CustomField) -> CustomField:
    same = (one.kind, one.is_set) == (other.kind, other.is_set)
    return CustomField(
        name=one.name,
        kind=one.kind if same else Kind.UNKNOWN,
        is_set=one.is_set,
        label=one.label,
        labels={**other.labels, **one.labels} if same else {},
        of_type=one.of_type,
    )


# What fits

_FITTING: Mapping[Kind, tuple[As, ...]] = {
    Kind.BOOLEAN: (As.BOOLEAN,),
    Kind.STRING: (As.TEXT, As.DATE, As.DATETIME, As.JSON),  # the last three by what the text holds
    Kind.LOCALIZED_STRING: (As.LOCALIZED,),
    Kind.ENUM: (As.TEXT,),
    Kind.LOCALIZED_ENUM: (As.TEXT,),
    Kind.NUMBER: (As.NUMBER, As.TEXT),
    Kind.MONEY: (As.AMOUNT, As.CURRENCY, As.MONEY),
    Kind.DATE: (As.DATE, As.TEXT),
    Kind.TIME: (As.TEXT,),
    Kind.DATE_TIME: (As.DATETIME, As.DATE, As.TEXT),
    Kind.REFERENCE: (As.ID, As.KEY),
}


def fitting(found: CustomField, of: str = "customer") -> tuple[As, ...]:
    """Return the kinds of `as` that read a custom field, the plainest first. `of` is the resource that it belongs to.

    The group is read along with its customer, and what the group refers to is not: its key is not known.
    """
    kinds = [kind for kind in _FITTING.get(found.kind, tuple(As)) if not (of == "customer-group" and kind is As.KEY)]
    if found.is_set:
        kinds = [kind for kind in kinds if kind is not As.JSON]
        if found.kind not in OBJECTS:
            kinds.insert(0, As.LIST)
    return tuple(kinds)


def fits(kind: As | None, found: CustomField, of: str = "customer") -> bool:
    """Tell whether `as` reads a custom field; without `as`, whatever is no object."""
    if found.kind is Kind.UNKNOWN:
        return True
    return found.kind not in OBJECTS if kind is None else kind in fitting(found, of)


# The comparison


@dataclass(frozen=True, slots=True)
class Difference:
    """A sentence about a place in the file. With `is_mistake`, the rule there cannot do what it says."""

    line: int
    text: str
    is_mistake: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a mapping file and the Types disagree about, by line, and the paths of custom fields that no rule reads."""

    differences: tuple[Difference, ...]
    unmapped: tuple[str, ...]
    compared: int


def compare(mapping: ShopMapping, fields: Fields) -> Comparison:
    """Compare the rules of a mapping file with the shop's custom fields."""
    placed = list(_placed(mapping))
    found = [difference for place, rule, role in placed for difference in _of_rule(place, rule, role, fields)]
    read = {(path.of, path.custom) for _, rule, _ in placed for path in rule.all_paths if path.custom}
    unmapped = [f"{_PREFIX[of]}.{name}" for of, by_name in fields.items() for name in by_name if (of, name) not in read]
    by_line = sorted(dict.fromkeys(found), key=lambda difference: (difference.line, difference.text))
    return Comparison(tuple(by_line), tuple(unmapped), len(read))


_PREFIX = {"customer": "custom", "address": "address.custom", "customer-group": "customerGroup.custom"}


class _Role(StrEnum):
    TRAIT = "trait"
    ID = "id"
    CATEGORY = "category"


def _placed(mapping: ShopMapping) -> Iterator[tuple[str, Rule, _Role]]:
    """Return each rule with the key at which it stands in the file."""
    identify = mapping.identify
    for trait in identify.traits:
        for part, rule in trait.parts.items():
            yield f"identify.traits.{toml_key(f'{trait.name}.{part}' if part else trait.name)}", rule, _Role.TRAIT
    if identify.anonymous_id is not None:
        yield "identify.anonymous_id", identify.anonymous_id, _Role.ID
    for kind, rule in identify.external_ids.items():
        yield f"identify.external_ids.{toml_key(kind)}", rule, _Role.ID
    yield from _placed_consent(mapping.consent)


def _placed_consent(consent: Consent | None) -> Iterator[tuple[str, Rule, _Role]]:
    if consent is None:
        return
    if consent.document is not None:
        yield "consent.from", consent.document, _Role.TRAIT
    for name, category in consent.categories.items():
        if category is not None:
            yield f"consent.categories.{toml_key(name)}", category, _Role.CATEGORY


def _of_rule(place: str, rule: Rule, role: _Role, fields: Fields) -> Iterator[Difference]:
    custom = [(path, fields[path.of].get(path.custom)) for path in rule.all_paths if path.custom]
    for path, found in custom:
        if found is None:
            yield Difference(rule.line, f"{place} reads {path.text}, {_no_such(path, fields)}")
    read = [(path, found) for path, found in custom if found is not None and path in rule.paths]
    for path, found in read:
        text = _unfit(path, found, rule, role)
        if text:
            yield Difference(rule.line, f"{place} {text}")
    if role is _Role.CATEGORY:
        yield from _of_category(place, rule, {path.text: found for path, found in read})
    yield from _of_values(place, rule, [found for _, found in read])


def _no_such(path: Path, fields: Fields) -> str:
    known = fields[path.of]
    close = get_close_matches(path.custom or "", known, n=1)
    others = [of for of in RESOURCES if path.custom in fields[of]]
    if close:
        end = f"; did you mean {close[0]}?"
    elif others:
        end = f", but of a{'n' if others[0] == 'address' else ''} {others[0].replace('-', ' ')}."
    else:
        end = "."
    return f"which is no custom field of a{'n' if path.of == 'address' else ''} {path.of.replace('-', ' ')}{end}"


def _unfit(path: Path, found: CustomField, rule: Rule, role: _Role) -> str:
    """Return the end of a sentence if the rule cannot read the field, "" if it can."""
    if role is _Role.CATEGORY:
        return ""
    kinds = fitting(found, path.of)
    if role is _Role.ID:
        if found.is_set or not fits(As.TEXT, found, path.of):
            return f"reads {path.text}, which is {found.described}: an id is one text or number."
        return ""
    if fits(rule.kind, found, path.of):
        return ""
    which = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else "".join(kinds)
    if rule.kind is None:
        return f"reads {path.text}, which is {found.described}: it needs as = {which}."
    return f"has as = {rule.kind}, and {path.text} is {found.described}: {which} fits."


def _of_category(place: str, rule: Rule, fields: Mapping[str, CustomField]) -> Iterator[Difference]:
    """Find a category of consent that never has a real boolean, and so is always what `unknown` says."""
    for path in () if rule.values else rule.paths:
        found = fields.get(path.text)
        is_boolean = path.text == "isEmailVerified"
        if found is not None:
            is_boolean = found.kind in {Kind.BOOLEAN, Kind.UNKNOWN} and not found.is_set
        if not is_boolean and (found is not None or path.custom is None):
            what = found.described if found is not None else "no Boolean"
            yield Difference(
                rule.line, f"{place} reads {path.text}, which is {what}: consent is a boolean, so it is always unknown."
            )


def _of_values(place: str, rule: Rule, read: Sequence[CustomField]) -> Iterator[Difference]:
    """Compare the keys of enums with those that `values` translates. A key that it lacks is sent as it is."""
    labels = {key: label for found in reversed(read) for key, label in found.labels.items()}
    if not rule.values or not labels or any(found.kind not in ENUMS for found in read):
        return
    lacking = [f"{toml_key(key)} = {toml_text(label)}" for key, label in labels.items() if key not in rule.values]
    if lacking:
        text = f"{place}.values lacks keys of the enum, which are sent as they are. To add: {', '.join(lacking)}"
        yield Difference(rule.line, text, is_mistake=False)
    for key in rule.values:
        if key not in labels:
            close = get_close_matches(key, labels, n=1)
            end = f"; did you mean {toml_key(close[0])}?" if close else "."
            yield Difference(rule.line, f"{place}.values.{toml_key(key)} is no key of the enum{end}", is_mistake=False)


# TOML: https://toml.io/en/v1.0.0#string

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else toml_text(name)


def toml_text(text: str) -> str:
    """Return a text as TOML has it, on one line: what is not printable is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(each if each.isprintable() else toml_escape(each) for each in quoted)


def toml_escape(character: str) -> str:
    return f"\\u{ord(character):04X}" if ord(character) <= _LAST_OF_FOUR_DIGITS else f"\\U{ord(character):08X}"


_LAST_OF_FOUR_DIGITS = 0xFFFF
