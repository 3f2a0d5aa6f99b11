"""Reads a mapping file: its vocabulary is closed, and all mistakes are told at once, each with its line.

docs/mapping.md is the reference of the vocabulary; mapping.schema.json says the same to an editor.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any

from service.config import ConfigError
from service.serving.expressions import BadExpression, Expression
from service.serving.toml_file import TomlFile, toml_of
from service.transformation.consent import Consent, Withdrawn
from service.transformation.mapping import CHANGES, IdentifyMapping, OrderMapping, ShopMapping, Trait
from service.transformation.paths import CUSTOM_FIELD, NoSuchPath, Path, longest_path, path_of
from service.transformation.rule import Rule
from service.transformation.values import As

Compile = Callable[[str], Expression | BadExpression]
"""Compiles an expression, or returns what is wrong with it."""

At = tuple[str | int, ...]
"""Where something stands in the file: the names of its tables and keys."""


class Mistakes(ConfigError):
    """A mapping file cannot be used. The text has a line for each mistake: the file's name, the line and a sentence."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


_ROOT = ("version", "identify", "consent", "order")
_LATER = ("group", "route")
_IDENTIFY = ("on", "defaults", "exclude", "retired", "locales", "anonymous_id", "external_ids", "traits")
_RULE = ("from", "expr", "value", "as", "values", "default", "locales", "clear", "max")
_SOURCES = ("from", "expr", "value")
_CONSENT = ("categories", "from", "unknown", "send", "withdrawn", "event")
_ORDER = ("anonymous_id", "locale", "product_url")
_OF_A_CATEGORY = ("from", "expr", "value", "as", "values", "default")
_MOST_TRAITS = 300  # Engage drops an identify with more: https://www.twilio.com/docs/segment/unify/product-limits
_LONGEST_TEXT = 32_768
_MOST_TOLD = 100  # mistakes
_TRAIT = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,99}(\.[A-Za-z_][A-Za-z0-9_ -]{0,99})?")
_ONE_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_LOCALE = re.compile(rf"{_ONE_LOCALE.pattern}|customer")
_EXTERNAL_ID = re.compile(r"[a-z][a-z0-9_]{0,99}")
_CATEGORY = re.compile(r"[^0-9\s].{0,33}")
_SEGMENTS_OWN = frozenset({"segment_consent_preference"})
_OBJECTS = {"address": "address.city", "company": "company.name"}
"""Traits that are objects at Segment: https://www.twilio.com/docs/segment/connections/spec/identify#traits."""
_TEXTS = frozenset(
    {"age", "avatar", "birthday", "createdAt", "description", "email", "firstName", "gender", "id", "lastName"}
    | {"name", "phone", "title", "username", "website"}
)
"""Traits that are no objects there."""
_ACADEMIC_TITLES = frozenset({"title", "address.title", "billingAddress.title", "shippingAddress.title"})


def mapping_of(file: TomlFile, compile_expression: Compile, built_in: ShopMapping | None = None) -> ShopMapping:
    """Return the mapping in a file, with the built-in traits that it keeps. Raises Mistakes."""
    reader = _Reader(file, compile_expression, built_in.identify if built_in is not None else None)
    mapping = reader.mapping(file.values)
    if reader.mistakes:
        told = [f"{file.name}:{line}: {text}" for line, text in sorted(set(reader.mistakes))]
        rest = [f"{file.name}: there are {len(told) - _MOST_TOLD} mistakes more."] if len(told) > _MOST_TOLD else []
        raise Mistakes([*told[:_MOST_TOLD], *rest])
    return mapping


@cache
def built_in_mapping() -> ShopMapping:
    """Return the mapping of defaults.toml, which is in force without a file, and below one."""
    defaults = files("service.transformation").joinpath("defaults.toml")
    read = mapping_of(toml_of(defaults.read_bytes(), "defaults.toml"), _no_expressions)
    traits = tuple(replace(trait, built_in=True) for trait in read.identify.traits)
    return ShopMapping(replace(read.identify, traits=traits))


def is_built_in(rule: Rule) -> bool:
    """Tell whether a rule is one of the built-in mapping itself, not one like it from a file."""
    return any(rule is each for each in built_in_mapping().identify.rules)


def _no_expressions(_text: str) -> BadExpression:
    return BadExpression("cannot be in the built-in mapping")


class _Reader:
    """Collects mistakes while it reads. What it returns is of use only if there are none."""

    def __init__(self, file: TomlFile, compile_expression: Compile, built_in: IdentifyMapping | None) -> None:
        self._file = file
        self._compile = compile_expression
        self._built_in = built_in.traits if built_in is not None else ()
        self._shop = built_in is not None  # in whose file the order of keys has no effect
        self._locales: tuple[str, ...] = ()
        self.mistakes: list[tuple[int, str]] = []

    # What is said of a place in the file

    def wrong(self, at: At, text: str, word: str = "", known: Iterable[str] = ()) -> None:
        """Note a mistake: `text` is the end of a sentence that begins with the key. Suggest a word that is known."""
        close = get_close_matches(word, list(known), n=1) if word else []
        end = f"; did you mean {close[0]}?" if close else "" if text.endswith("?") else "."
        self.mistakes.append((self._file.line(at), f"{_written(at)} {_visible(text, _LONGEST_SENTENCE)}{end}"))

    def table(self, at: At, value: object, known: Sequence[str] | None = None) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(at, "must be a table")
            return {}
        for key in value if known is not None else ():
            if key not in known:  # type: ignore[operator]  # the condition above
                self.wrong((*at, key), "is no setting", key, known or ())
        return dict(sorted(value.items())) if self._shop else value

    def boolean(self, at: At, value: object, *, otherwise: bool) -> bool:
        if not isinstance(value, bool):
            self.wrong(at, "must be true or false")
            return otherwise
        return value

    def choice(self, at: At, value: object, known: Iterable[str]) -> str | None:
        known = tuple(known)
        if isinstance(value, str) and value in known:
            return value
        word = value if isinstance(value, str) else ""
        shown = f"is {word}" if re.fullmatch(r"\w{1,30}", word) else "must be a word"
        if get_close_matches(word, known, n=1):
            self.wrong(at, shown, word, known)
        else:
            self.wrong(at, f"must be one of {', '.join(known)}")
        return None

    def texts(self, at: At, value: object) -> list[str]:
        """Return an array of different texts."""
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            self.wrong(at, "must be an array of texts")
            return []
        if len(set(value)) < len(value):
            self.wrong(at, "names one of them twice")
        return value

    # The file

    def mapping(self, values: Mapping[str, Any]) -> ShopMapping:
        for key in values:
            if key in _LATER:
                self.wrong((key,), "is not supported by this version, which sends customers and orders")
            elif key not in _ROOT:
                self.wrong((key,), "is no setting", key, _ROOT)
        version = values.get("version")
        if type(version) is not int or version != 1:
            self.wrong(("version",), "must be there, and be 1" if version is None else "must be 1")
        identify = self.identify(self.table(("identify",), values.get("identify", {}), _IDENTIFY))
        consent = self.consent(values["consent"]) if "consent" in values else None
        order = self.order(self.table(("order",), values.get("order", {}), _ORDER))
        return ShopMapping(identify, consent, order, self._file.name)

    def identify(self, table: Mapping[str, Any]) -> IdentifyMapping:
        at: At = ("identify",)
        on = self.on((*at, "on"), table["on"]) if "on" in table else CHANGES
        self._locales = self.locales((*at, "locales"), table["locales"]) if "locales" in table else ()
        keeps = self.boolean((*at, "defaults"), table.get("defaults", True), otherwise=True)
        mapped = self.traits((*at, "traits"), table.get("traits", {}))
        retired = self.texts((*at, "retired"), table["retired"]) if "retired" in table else []
        excluded = self.excluded((*at, "exclude"), table["exclude"]) if "exclude" in table else []
        external = self.table((*at, "external_ids"), table.get("external_ids", {}))
        kept = [trait for trait in self._built_in if keeps]
        traits = _merged(kept, mapped, excluded)
        self.check_names(at, traits, mapped, retired)
        return IdentifyMapping(
            traits=traits,
            on=frozenset(on),
            excluded=tuple(excluded),
            retired=tuple(sorted(retired)),
            anonymous_id=self.id_rule((*at, "anonymous_id"), table["anonymous_id"])
            if "anonymous_id" in table
            else None,
            external_ids={
                kind: self.external_id((*at, "external_ids", kind), kind, path) for kind, path in external.items()
            },
        )

    def on(self, at: At, value: object) -> frozenset[str]:
        texts = self.texts(at, value)
        if value == []:
            self.wrong(at, "must not be empty: nothing would be sent")
        for text in texts:
            self.choice(at, text, sorted(CHANGES))
        return frozenset(texts)

    def locales(self, at: At, value: object) -> tuple[str, ...]:
        texts = self.texts(at, value)
        for text in texts:
            if not _LOCALE.fullmatch(text):
                self.wrong(at, "must have locales such as de or de-DE, or the word customer")
        return tuple(texts)

    def excluded(self, at: At, value: object) -> list[str]:
        names = {trait.name for trait in self._built_in}
        names |= {f"{trait.name}.{part}" for trait in self._built_in for part in trait.parts if part}
        texts = self.texts(at, value)
        for text in texts:
            if text not in names:
                self.wrong(at, f"has {_shown(text)}, which is no built-in trait", text, names)
        return texts

    def id_rule(self, at: At, value: object) -> Rule:
        if not isinstance(value, str):
            self.wrong(at, "must be a path, such as custom.segmentAnonymousId")
            return Rule()
        return Rule(paths=self.paths(at, value), kind=As.TEXT, line=self._file.line(at))

    def external_id(self, at: At, kind: str, value: object) -> Rule:
        if not _EXTERNAL_ID.fullmatch(kind):
            self.wrong(at, "is no type of an external id: Segment takes lower-case letters, digits and _")
        return self.id_rule(at, value)

    # Traits

    def traits(self, at: At, value: object) -> list[Trait]:
        parts: dict[str, dict[str, Rule]] = {}
        for name, rule in self.table(at, value).items():
            if not _TRAIT.fullmatch(name):
                self.wrong((*at, name), "is no name for a trait: a letter, then letters, digits, _, - and blanks")
                continue
            trait, _, part = name.partition(".")
            parts.setdefault(trait, {})[part] = self.rule((*at, name), rule)
        for trait, rules in parts.items():
            if "" in rules and len(rules) > 1:
                inside = next(part for part in rules if part)
                self.wrong((*at, trait), f'is a value, and "{trait}.{inside}" is a part of it: only one can be')
        return [Trait(trait, rules) for trait, rules in parts.items()]

    def rule(self, at: At, value: object, known: Sequence[str] = _RULE) -> Rule:
        line = self._file.line(at)
        if isinstance(value, str):
            return Rule(paths=self.paths(at, value), line=line)
        if not isinstance(value, dict):
            self.wrong(at, 'must be a path such as "custom.points", or a table with from, expr or value')
            return Rule()
        table = self.rule_table(at, value, known)
        kind = self.choice((*at, "as"), table["as"], As) if "as" in table else None
        locales = self.locales((*at, "locales"), table["locales"]) if "locales" in table else self._locales
        if kind == As.LOCALIZED and not locales:
            self.wrong(at, 'is localized and has no locales: set identify.locales, such as ["de", "en"]')
        if kind == As.KEY and any(_of_group_custom(text) for text in _as_list(table.get("from"))):
            self.wrong((*at, "as"), "cannot be key here: references in a customer group are not read along")
        expression = self.expression((*at, "expr"), table["expr"]) if "expr" in table else None
        return Rule(
            paths=self.from_paths((*at, "from"), table["from"], expand=kind == As.KEY) if "from" in table else (),
            expression=expression,
            expressed=self.expressed((*at, "expr"), expression),
            value=self.scalar((*at, "value"), table["value"]) if "value" in table else None,
            kind=As(kind) if kind is not None else None,
            values=self.values((*at, "values"), table["values"]) if "values" in table else {},
            default=self.scalar((*at, "default"), table["default"]) if "default" in table else None,
            locales=locales,
            clear=self.boolean((*at, "clear"), table["clear"], otherwise=False) if "clear" in table else None,
            longest=self.longest((*at, "max"), table["max"]) if "max" in table else None,
            line=line,
        )

    def rule_table(self, at: At, table: Mapping[str, Any], known: Sequence[str]) -> Mapping[str, Any]:
        sources = [source for source in _SOURCES if source in table]
        unknown = [key for key in table if key not in known]
        misspelt = any(get_close_matches(key, _SOURCES, n=1) for key in unknown)
        if not sources and not misspelt:
            inside = next((key for key in unknown if isinstance(table[key], str | dict)), None)
            if inside is not None:
                self.wrong(at, f'has no from. Was "{at[-1]}.{inside}" meant? Then quote the whole name')
                return {}
            self.wrong(at, "must have one of from, expr, value")
        if len(sources) > 1:
            self.wrong(at, f"has {' and '.join(sources)}: only one of from, expr, value can be there")
        for key in unknown:
            self.wrong((*at, key), "is no setting", key, known)
        for other in table if "value" in sources else ():
            if other in known and other != "value" and other not in _SOURCES:
                self.wrong((*at, other), "has no use beside value")
        return table

    def paths(self, at: At, text: object, *, expand: bool = False) -> tuple[Path, ...]:
        if not isinstance(text, str) or not text:
            self.wrong(at, "must be a path such as custom.points")
            return ()
        return self.found(at, path_of(text, expand=expand))

    def from_paths(self, at: At, value: object, *, expand: bool) -> tuple[Path, ...]:
        if not isinstance(value, list):
            return self.paths(at, value, expand=expand)
        if not value:
            self.wrong(at, "must not be empty")
        return tuple(path for text in value for path in self.paths(at, text, expand=expand))

    def found(self, at: At, path: Path | NoSuchPath) -> tuple[Path, ...]:
        if isinstance(path, Path):
            return (path,)
        self.wrong(at, path.reason, path.word, path.known)
        return ()

    def expression(self, at: At, text: object) -> Expression | None:
        if not isinstance(text, str) or not text.strip():
            self.wrong(at, "must be a JMESPath expression")
            return None
        compiled = self._compile(text)
        if isinstance(compiled, Expression):
            return compiled
        self.wrong(at, compiled.reason, compiled.word, compiled.known)
        return None

    def expressed(self, at: At, expression: Expression | None) -> tuple[Path, ...]:
        chains = expression.fields if expression is not None else ()
        found = {path.text: path for chain in chains for path in self.found(at, longest_path(chain))}
        inside = next((text for text in found if text.startswith("customerGroup.")), None)
        if inside is not None and "customerGroup" in found:
            self.wrong(at, f"reads customerGroup, a key or id, and {inside}: only one can be")
        return tuple(found.values())

    def scalar(self, at: At, value: object) -> Any:  # noqa: ANN401  # a text, a number or a boolean
        if isinstance(value, int) and abs(value) > _LARGEST:
            self.wrong(at, f"must be a number from -{_LARGEST} to {_LARGEST}, which every reader of JSON keeps")
        elif isinstance(value, float) and not isfinite(value):
            self.wrong(at, "must be a number that JSON can write: no inf, no nan")
        elif not isinstance(value, str | bool | int | float):
            self.wrong(at, "must be a text, a number or a boolean; a date is written in quotes")
        return value

    def values(self, at: At, value: object) -> Mapping[str, Any]:
        table = self.table(at, value)
        if not table:
            self.wrong(at, "must not be empty")
        return {key: self.scalar((*at, key), one) for key, one in table.items()}

    def longest(self, at: At, value: object) -> int | None:
        if type(value) is int and 1 <= value <= _LONGEST_TEXT:
            return value
        self.wrong(at, f"must be a number of characters from 1 to {_LONGEST_TEXT}")
        return None

    def check_names(self, at: At, traits: Sequence[Trait], mapped: Sequence[Trait], retired: Sequence[str]) -> None:
        with_rule, there, gone = {trait.name for trait in mapped}, {trait.name for trait in traits}, set(retired)
        for trait in mapped:
            self.check_reserved((*at, "traits"), trait)
        for name in retired:
            if not _RETIRED.fullmatch(name):
                self.wrong((*at, "retired"), f"has {_shown(name)}, which is no name for a trait")
            if _snake(name) in _SEGMENTS_OWN:
                self.wrong((*at, "retired"), f"has {_shown(name)}, which only Segment sets")
            if name in with_rule:
                self.wrong((*at, "retired"), f"has {_shown(name)}, for which there is a rule too")
            elif name in there:
                self.wrong((*at, "retired"), f"has the built-in trait {name}: take it into exclude too")
        by_snake: dict[str, str] = {}
        parts = (f"{trait.name}.{part}" for trait in traits for part in trait.parts if part)
        for name in (*(trait.name for trait in traits), *parts, *retired):
            first = by_snake.setdefault(_snake(name), name)
            if first != name:
                both = f"and {_shown(first)} are one trait to Segment ({_snake(name)})"
                place = (*at, "traits", name) if name not in gone else (*at, "retired")
                self.wrong(place, both if name not in gone else f"has {_shown(name)}: it {both}")
        number = len(traits) + len(retired)
        if number > _MOST_TRAITS:
            self.wrong(
                (*at, "traits"),
                f"makes {number} traits with the built-in and the retired ones; Segment takes {_MOST_TRAITS}",
            )

    def check_reserved(self, at: At, trait: Trait) -> None:
        part, rule = next(iter(trait.parts.items()))
        if not (rule.paths or rule.expression or rule.value is not None):
            return  # a mistake in it is told already
        place = (*at, f"{trait.name}.{part}" if part else trait.name)
        if _snake(trait.name) in _SEGMENTS_OWN:
            self.wrong(place, "is a trait that only Segment sets")
        if trait.name in _OBJECTS and not part:
            self.wrong(place, f'is an object at Segment: give its parts, such as "{_OBJECTS[trait.name]}"')
        if trait.name in _TEXTS and part:
            self.wrong(place, f"cannot be: Segment's {trait.name} has no parts")
        if trait.name == "title" and any(
            path.text in _ACADEMIC_TITLES for rule in trait.rules for path in rule.all_paths
        ):
            self.wrong(
                place, "is a person's job at Segment, and an academic title at commercetools: choose another name"
            )

    # Consent

    def consent(self, value: object) -> Consent:
        at: At = ("consent",)
        table = self.table(at, value, _CONSENT)
        document = self.id_rule((*at, "from"), table["from"]) if "from" in table else None
        categories: Mapping[str, Rule | None] = {}
        if "categories" in table:
            categories = self.categories((*at, "categories"), table["categories"], from_document=document is not None)
        elif document is None:
            self.wrong(at, "must have categories, or from")
        send = self.send((*at, "send"), table.get("send", "always"), categories, closed=document is None)
        withdrawn = self.choice((*at, "withdrawn"), table.get("withdrawn", Withdrawn.NOTHING), Withdrawn)
        if "withdrawn" in table and withdrawn is not None and not send:
            self.wrong((*at, "withdrawn"), 'has no use with send = "always"')
        return Consent(
            categories=categories,
            document=replace(document, kind=As.JSON) if document is not None else None,
            unknown=self.boolean((*at, "unknown"), table.get("unknown", False), otherwise=False),
            send=send,
            withdrawn=Withdrawn(withdrawn or Withdrawn.NOTHING),
            event=self.boolean((*at, "event"), table.get("event", False), otherwise=False),
        )

    def categories(self, at: At, value: object, *, from_document: bool) -> dict[str, Rule | None]:
        if value in ({}, []):
            self.wrong(at, "must not be empty")
        if from_document and not isinstance(value, list):
            self.wrong(at, 'must be an array of names beside from: ["Advertising"]')
            return {}
        categories: dict[str, Rule | None]
        if from_document:
            categories = dict.fromkeys(sorted(self.texts(at, value)))
        else:
            categories = {name: self.category((*at, name), rule) for name, rule in self.table(at, value).items()}
        for name in categories:
            if not _CATEGORY.fullmatch(name):
                self.wrong(
                    at, f"has {_shown(name)}: Segment's categories have 1 to 34 characters, the first is no digit"
                )
        return categories

    def category(self, at: At, value: object) -> Rule:
        rule = self.rule(at, value, _OF_A_CATEGORY)
        of_boolean = {
            "value": rule.value,
            "default": rule.default,
            **{f"values.{key}": rule.values[key] for key in rule.values},
        }
        for key, one in of_boolean.items():
            if one is not None and not isinstance(one, bool):
                self.wrong((*at, *key.split(".", 1)), "must be true or false")
        return rule

    def send(self, at: At, value: object, categories: Iterable[str], *, closed: bool) -> tuple[str, ...]:
        if value == "always":
            return ()
        if not isinstance(value, list):
            self.wrong(at, 'must be "always", or an array of categories')
            return ()
        if not value:
            self.wrong(at, 'must not be empty: write "always"')
        names = self.texts(at, value) if value else []
        for name in names:
            if (closed or categories) and name not in categories:
                self.wrong(at, f"has {_shown(name)}, which is not in consent.categories", name, categories)
        return tuple(names)

    # Orders

    def order(self, table: Mapping[str, Any]) -> OrderMapping:
        at: At = ("order",)
        return OrderMapping(
            anonymous_id=self.order_field((*at, "anonymous_id"), table["anonymous_id"])
            if "anonymous_id" in table
            else None,
            locale=self.locale((*at, "locale"), table["locale"]) if "locale" in table else None,
            product_url=self.product_url((*at, "product_url"), table["product_url"])
            if "product_url" in table
            else None,
        )

    def order_field(self, at: At, value: object) -> str | None:
        found = _ORDER_FIELD.fullmatch(value) if isinstance(value, str) and value not in _OF_AN_ORDER else None
        if found is None:
            self.wrong(at, "must be a custom field of the order, such as custom.segmentAnonymousId")
            return None
        return found[1]

    def locale(self, at: At, value: object) -> str | None:
        if isinstance(value, str) and _ONE_LOCALE.fullmatch(value):
            return value
        self.wrong(at, "must be one locale, such as de or de-DE")
        return None

    def product_url(self, at: At, value: object) -> str | None:
        if not isinstance(value, str) or len(value) > _LONGEST_URL or not _URL.fullmatch(value):
            self.wrong(at, "must be an address such as https://www.example.com/{locale}/{slug}")
            return None
        for name in _PLACE.findall(value):
            if name not in _PLACES:
                self.wrong(at, f"has {{{_shown(name)}}}: only {{slug}}, {{sku}} and {{locale}} can be in it")
        rest = _PLACE.sub("", value)
        if "{" in rest or "}" in rest:
            self.wrong(at, "has a brace without its partner")
        elif not {"slug", "sku"} & set(_PLACE.findall(value)):
            self.wrong(at, "would be the same for all products: it has neither {slug} nor {sku}")
        return value


_ORDER_FIELD = re.compile(rf"(?:custom\.)?({CUSTOM_FIELD.pattern})")
_OF_AN_ORDER = frozenset({"id", "anonymousId", "customerId", "customerEmail", "orderNumber"})  # no custom fields
_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f]+")
_LONGEST_URL = 2000
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = frozenset({"slug", "sku", "locale"})


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _of_group_custom(text: object) -> bool:
    return isinstance(text, str) and text.startswith("customerGroup.custom.")


def _merged(built_in: Sequence[Trait], mapped: Sequence[Trait], excluded: Sequence[str]) -> tuple[Trait, ...]:
    """Return the traits in their order: the built-in ones without the excluded, changed by the shop's, and its own."""
    merged: dict[str, Trait] = {}
    for trait in built_in:
        parts = {
            part: rule
            for part, rule in trait.parts.items()
            if trait.name not in excluded and f"{trait.name}.{part}" not in excluded
        }
        if parts:
            merged[trait.name] = replace(trait, parts=parts)
    for trait in mapped:
        before = merged.get(trait.name)
        inherited = before.parts if before is not None and "" not in trait.parts and "" not in before.parts else {}
        merged[trait.name] = replace(trait, parts={**inherited, **trait.parts})
    return tuple(merged.values())


_LARGEST = 2**53
_RETIRED = re.compile(r"[^\s.][^.]{0,199}")
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[ -]")


def _snake(name: str) -> str:
    """Return how Segment writes a name in a warehouse: https://www.twilio.com/docs/segment/connections/spec/group."""
    return _BORDER.sub("_", name).lower()


def _written(at: At) -> str:
    """Return how a key is written, on one line."""
    return ".".join(_shown(str(part)) for part in at)


def _shown(name: str) -> str:
    """Return a name of the file for a message: quoted if it has anything but letters, digits, _ and -, and not long."""
    short = _visible(name.replace('"', "?"), _LONGEST_NAME)
    return short if re.fullmatch(r"[A-Za-z0-9_-]+", short) else f'"{short}"'


_LONGEST_NAME = 60
_LONGEST_SENTENCE = 240


def _visible(text: str, longest: int) -> str:
    short = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(one if one.isprintable() else "?" for one in short)
