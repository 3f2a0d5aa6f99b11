"""Where each part of an identify comes from, in words: which field, by which line of the mapping file, or why not."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from service.commercetools.customer import Customer
from service.commercetools.resource import UNREADABLE
from service.transformation.customer import IdentifyRules, cleared_traits
from service.transformation.mapping import Trait
from service.transformation.mapping_file import built_in_mapping, is_built_in
from service.transformation.paths import Path, View
from service.transformation.rule import Rule
from service.transformation.values import As, conversion, tags_of

# Of the built-in traits, in the words of docs/customers.md. The rules are in service/transformation/defaults.toml.
SOURCES = {
    "email": "email",
    "firstName": "firstName",
    "lastName": "lastName",
    "name": "firstName and lastName",
    "phone": "mobile, else phone, of the chosen address",
    "address": "the chosen address",
    "company": "companyName, else the chosen address's company",
    "birthday": "dateOfBirth",
    "createdAt": "createdAt",
    "customerNumber": "customerNumber",
    "externalId": "externalId",
    "commercetoolsId": "id",
    "isEmailVerified": "isEmailVerified",
    "customerGroup": "customerGroup, else the first of customerGroupAssignments; its key, else its id",
    "customerGroups": "customerGroupAssignments, their keys where they were read, else their ids",
    "stores": "stores, their keys",
}

_KEEPS = "not sent, Segment keeps its own"
_CLEARS = "null, Segment clears it"
_KINDS = {
    None: "text, number or boolean",
    As.NUMBER: "number",
    As.BOOLEAN: "boolean",
    As.DATE: "date",
    As.DATETIME: "time with an offset",
    As.LIST: "array of texts, numbers or booleans",
    As.LOCALIZED: "localized text",
    As.AMOUNT: "money",
    As.CURRENCY: "money",
    As.MONEY: "money",
    As.ID: "reference",
    As.KEY: "reference that was read",
    As.JSON: "JSON",
}


class Origin(NamedTuple):
    """A part of an identify: its value, in words where that comes from, and the line of the mapping file.

    `sent` tells whether the event has it; `line` is "" for what no file says.
    """

    name: str
    value: object
    why: str
    sent: bool
    line: str = ""


def origins(customer: Customer, rules: IdentifyRules) -> list[Origin]:
    """Return every trait that there could be, in the event's order, and then the other parts that the file rules."""
    view = View(customer)
    return [*_traits(customer, rules, view), *_ids(rules, view), *consents(customer, rules)]


def _traits(customer: Customer, rules: IdentifyRules, view: View) -> Iterator[Origin]:
    identify = rules.mapping.identify
    cleared = cleared_traits(customer, rules)
    by_name = {trait.name: trait for trait in identify.traits}
    for built_in in built_in_mapping().identify.traits:
        trait = by_name.pop(built_in.name, None)
        if trait is not None:
            yield _of_trait(trait, rules, view, cleared)
        elif built_in.name not in identify.retired:
            yield Origin(built_in.name, None, "excluded: " + _KEEPS, sent=False)
    for trait in by_name.values():
        yield _of_trait(trait, rules, view, cleared)
    for name in identify.retired:
        yield Origin(name, None, "retired: " + _CLEARS, sent=True)


def _of_trait(trait: Trait, rules: IdentifyRules, view: View, cleared: frozenset[str]) -> Origin:
    value = trait.read(view)
    end = _CLEARS if trait.name in cleared else _KEEPS
    own = [(part, rule) for part, rule in trait.parts.items() if not is_built_in(rule)]
    line = "" if not own else f"{rules.mapping.name}:{own[0][1].line}"
    said = [_said(part, rule, view) for part, rule in own]
    if len(own) < len(trait.parts):
        said.insert(0, _built_in(trait.name, view))
    why = "; ".join(said)
    if value is UNREADABLE:
        unknown = "" if own else ", in a way that does not show whether it is empty"
        return Origin(trait.name, None, f"{why}{unknown}: left out", sent=False, line=line)
    if value is None:
        absent = "" if own and len(own) == len(trait.parts) else ": absent"
        return Origin(
            trait.name, None, f"{why}{absent}; {end}" if absent else f"{why}: {end}", trait.name in cleared, line
        )
    return Origin(trait.name, value, why, sent=True, line=line)


def _built_in(name: str, view: View) -> str:
    customer = view.customer
    chosen = f" ({view.address.id or 'it has no id'})" if customer.addresses else " (there is no address)"
    return SOURCES[name].replace("the chosen address", f"the chosen address{chosen}", 1)


def _said(part: str, rule: Rule, view: View) -> str:
    """Return how one rule came to its value."""
    front = f"{part}: " if part else ""
    if rule.value is not None:
        return f"{front}a fixed value"
    if rule.expression is not None:
        value = rule.read(view)
        found = "" if value is not UNREADABLE else f" gives no {_KINDS.get(rule.kind, 'text')}"
        return f"{front}expr {rule.expression.text}{found or (' gives nothing' if value is None else '')}"
    return front + _of_paths(rule, view)


def _of_paths(rule: Rule, view: View) -> str:
    convert = conversion(rule.kind, rule.locales)
    passed: list[str] = []
    for path in rule.paths:
        raw = path.get(view)
        value = convert(raw, view)
        if value is UNREADABLE:
            if raw is UNREADABLE:
                return f"{path.text} is not in what was read"
            return f"{path.text} is no {_KINDS.get(rule.kind, 'text')}"
        if value is not None:
            return _translated(rule, path, raw, value, view)
        passed.append(path.text)
    absent = f"{' and '.join(passed)} {'are' if len(passed) > 1 else 'is'} absent"
    return absent if rule.default is None else f"{absent}: the default"


def _translated(rule: Rule, path: Path, raw: Any, value: Any, view: View) -> str:  # noqa: ANN401  # any JSON
    words = path.text
    if rule.kind is As.LOCALIZED and type(raw) is dict:
        tags = tags_of(rule.locales, view.customer.locale)
        found = next((tag for tag in tags if raw.get(tag)), "")
        missing = tags[: tags.index(found)] if found in tags else []
        words += f", locale {found}" + (f" ({', '.join(missing)} not there)" if missing else "")
    if rule.values and type(value) is str and value in rule.values:
        words += f" = {value}, by values"
    if rule.longest is not None and type(value) is str and len(str(rule.values.get(value, value))) > rule.longest:
        words += f", cut after {rule.longest} characters"
    return words


def _ids(rules: IdentifyRules, view: View) -> Iterator[Origin]:
    identify = rules.mapping.identify
    if identify.anonymous_id is not None:
        value = identify.anonymous_id_of(view)
        why = _said("", identify.anonymous_id, view)
        line = f"{rules.mapping.name}:{identify.anonymous_id.line}"
        blocked = identify.anonymous_id.read(view) not in (None, UNREADABLE) and value is None
        yield Origin("anonymousId", value, why + (": Segment blocks it" if blocked else ""), value is not None, line)
    for kind, rule in identify.external_ids.items():
        value = rule.read(view)
        there = type(value) is str
        line = f"{rules.mapping.name}:{rule.line}"
        yield Origin(f"externalIds {kind}", value if there else None, _said("", rule, view), there, line)


def consents(customer: Customer, rules: IdentifyRules) -> list[Origin]:
    """Return the consent for every category."""
    consent, view = rules.mapping.consent, View(customer)
    if consent is None:
        return []
    found = []
    for name, given in consent.preferences(view).items():
        rule = consent.categories.get(name) or consent.document
        value = rule.read(view) if rule is not None else None
        known = type(value) is bool or (rule is consent.document and type(value) is dict)
        why = _said("", rule, view) if rule is not None else ""
        if not known:
            why += f": unknown = {str(consent.unknown).lower()}"
        line = f"{rules.mapping.name}:{rule.line}" if rule is not None else ""
        found.append(Origin(f"consent {name}", given, why, sent=True, line=line))
    return found
