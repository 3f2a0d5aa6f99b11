"""The shop's mapping: which traits a customer gets, each by a rule. mapping_file.py reads it from a file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from service.commercetools.customer import Named
from service.commercetools.resource import UNREADABLE
from service.config import ClearTraits
from service.transformation.consent import Consent
from service.transformation.paths import View, named_by
from service.transformation.rule import Read, Rule

CHANGES = frozenset({"created", "updated"})
"""What can happen to a customer, and is told to Segment by an identify."""


@dataclass(frozen=True)
class Trait:
    """One trait: by one rule, or an object whose parts have a rule each. `parts` has "" for a trait of one rule.

    `built_in` tells that no rule of it is from a file.
    """

    name: str
    parts: Mapping[str, Rule]
    built_in: bool = False

    @property
    def rules(self) -> Sequence[Rule]:
        return tuple(self.parts.values())

    def cleared_by(self, setting: ClearTraits) -> bool:
        """Tell whether null is sent where the trait is absent, from the customer's second version on."""
        decided = [rule.clear for rule in self.rules if rule.clear is not None]
        if decided:
            return all(decided)
        paths = [path for rule in self.rules for path in rule.all_paths]
        if not paths or setting is ClearTraits.OFF:
            return False
        return setting is ClearTraits.ALL or all(rule.own for rule in self.rules)

    @cached_property
    def read(self) -> Read:
        if "" in self.parts:
            return self.parts[""].read
        parts = [(name, rule.read) for name, rule in self.parts.items()]

        def whole(view: View) -> Any:  # noqa: ANN401  # any JSON
            found: dict[str, Any] = {}
            for name, read in parts:
                value = read(view)
                if value is UNREADABLE:
                    return UNREADABLE
                if value is not None:
                    found[name] = value
            return found or None

        return whole


class Traits(NamedTuple):
    """A customer's traits, a None for each that is to be cleared.

    `unreadable` are the traits with a rule of the file that were left out, because the field is of another kind.
    """

    traits: dict[str, Any]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class IdentifyMapping:
    """What an identify says of a customer.

    `on` are the changes (created, updated) whose notifications are handled. `retired` traits are always sent as null;
    `excluded` are built-in traits that are not sent. `external_ids` are paths by type.
    """

    traits: tuple[Trait, ...]
    on: frozenset[str] = CHANGES
    excluded: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    anonymous_id: Rule | None = None
    external_ids: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        of_traits = [rule for trait in self.traits for rule in trait.rules]
        return (*of_traits, *([self.anonymous_id] if self.anonymous_id else ()), *self.external_ids.values())

    def cleared_by(self, setting: ClearTraits) -> frozenset[str]:
        """Return the names of the traits for which null is sent where they are absent."""
        return self._cleared[setting]

    @cached_property
    def _cleared(self) -> Mapping[ClearTraits, frozenset[str]]:
        return {
            setting: frozenset(trait.name for trait in self.traits if trait.cleared_by(setting))
            for setting in ClearTraits
        }

    @cached_property
    def _reads(self) -> Sequence[tuple[str, Read, bool]]:
        return [(trait.name, trait.read, trait.built_in) for trait in self.traits]

    def traits_of(self, view: View, cleared: frozenset[str]) -> Traits:
        """Return the traits of a customer. Those in `cleared` are None where they are absent."""
        traits: dict[str, Any] = {}
        unreadable: tuple[str, ...] = ()
        for name, read, built_in in self._reads:
            value = read(view)
            if value is None:
                if name in cleared:
                    traits[name] = None
            elif value is not UNREADABLE:
                traits[name] = value
            elif not built_in:
                unreadable = (*unreadable, name)
        for name in self.retired:
            traits[name] = None
        return Traits(traits, unreadable)

    def anonymous_id_of(self, view: View) -> str | None:
        """Return the anonymousId, None if there is none that Segment takes."""
        return usable_anonymous_id(self.anonymous_id.read(view)) if self.anonymous_id is not None else None

    def external_ids_of(self, view: View) -> list[dict[str, str]]:
        """Return context.externalIds: https://www.twilio.com/docs/segment/unify/identity-resolution/externalids."""
        found = ((kind, rule.read(view)) for kind, rule in self.external_ids.items())
        return [
            {"id": value, "type": kind, "collection": "users", "encoding": "none"}
            for kind, value in found
            if type(value) is str
        ]


def usable_anonymous_id(value: object) -> str | None:
    """Return the anonymousId that a field has, None if it is none that Segment takes.

    https://www.twilio.com/docs/segment/unify/identity-resolution/identity-resolution-settings#blocked-values
    """
    text = value.replace("\0", "").strip() if isinstance(value, str) else ""
    return text if not _BLOCKED.fullmatch(text) else None


_BLOCKED = re.compile(r"[0-]*|-1|null|anonymous|undefined", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OrderMapping:
    """What the events of an order say besides.

    `anonymous_id` is the name of the order's custom field with Segment's anonymousId, `locale` the one of all texts,
    `product_url` a template with {slug}, {sku} and {locale}.
    """

    anonymous_id: str | None = None
    locale: str | None = None
    product_url: str | None = None


@dataclass(frozen=True)
class ShopMapping:
    """All rules of a mapping file, or the built-in ones. `name` is the file's name, "" for the built-in ones."""

    identify: IdentifyMapping
    consent: Consent | None = None
    order: OrderMapping = OrderMapping()
    name: str = ""

    @cached_property
    def named(self) -> Named:
        """The fields that are read only because a rule names them."""
        rules = (*self.identify.rules, *(self.consent.rules if self.consent is not None else ()))
        return named_by(path for rule in rules for path in rule.all_paths)

    @cached_property
    def effective(self) -> Mapping[str, Any]:
        """All that decides an identify, as JSON: the built-in rules too, but neither comments nor the order of keys."""
        identify = self.identify
        return {
            "identify": {
                "on": sorted(identify.on),
                "retired": sorted(identify.retired),
                "anonymous_id": identify.anonymous_id and identify.anonymous_id.effective,
                "external_ids": {kind: rule.effective for kind, rule in identify.external_ids.items()},
                "traits": {
                    trait.name: {part: rule.effective for part, rule in trait.parts.items()}
                    for trait in identify.traits
                },
            },
            "consent": self.consent and self.consent.effective,
        }
