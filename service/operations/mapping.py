"""mapping: what the rules send and where from, whether examples still hold, and what other rules would change."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rich.table import Table
from rich.text import Text

from service.commercetools.customer import read_customer
from service.config import ConfigError, Erasure, Settings
from service.operations import Exit, Output, Trouble, command_settings, plain
from service.operations.explain import customers_in
from service.segment.client import create_segment_client
from service.segment.types import Events, NotDelivered
from service.serving.decoding import Malformed, is_deep, json_object
from service.serving.toml_file import NotToml, TomlFile, read_toml, toml_of
from service.transformation import IdentifyRules, customer_events
from service.transformation.consent import Withdrawn
from service.transformation.mapping_file import built_in_mapping
from service.transformation.paths import Path as Field
from service.transformation.rule import Rule
from service.transformation.rules import identify_rules_by

_UNSET = "mapping-without-this-secret"  # for secrets that no rule depends on
_LARGEST = 64 * 1024 * 1024  # bytes of a file with customers that is not read line by line
_BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a mapping file, or the built-in ones, with the settings that go with them."""

    settings: Settings
    identify: IdentifyRules
    file: TomlFile | None

    @property
    def name(self) -> str:
        return self.file.name if self.file is not None else _BUILT_IN

    def line(self, *path: str) -> str:
        """Return where a key of the file stands: "mapping.toml:12"."""
        return f"{self.file.name}:{self.file.line(path)}" if self.file is not None else _BUILT_IN

    def line_of(self, rule: Rule) -> str:
        built_in = any(rule is each for each in built_in_mapping().identify.rules)
        return _BUILT_IN if built_in or self.file is None else f"{self.file.name}:{rule.line}"


def rules_by(environment: Mapping[str, str], path: Path | None = None, name: str | None = None) -> Rules:
    """Return the rules of the file at `path`, else of MAPPING_FILE, else the built-in ones. Raises ConfigError.

    `name` is what messages call the file. SEGMENT_WRITE_KEY need not be set.
    """
    kept = {key: value for key, value in environment.items() if path is None or key != "MAPPING_FILE"}
    settings = command_settings(kept, SEGMENT_WRITE_KEY=_UNSET, SEGMENT_PUBLIC_API_TOKEN=_UNSET)
    if path is not None:
        try:
            file = read_toml(path)
        except NotToml as not_toml:
            raise ConfigError(str(not_toml)) from None
        settings = replace(settings, mapping_file=replace(file, name=name or file.name))
    return Rules(settings, identify_rules_by(settings), settings.mapping_file)


# show


class Row(NamedTuple):
    """One rule: what it is about, its name, what decides it, and what is sent where that is absent.

    `what` is trait, retired, excluded, anonymousId, externalId, consent or setting. `rule` is JSON: that of
    Rule.effective, or the value of a setting.
    """

    what: str
    name: str
    rule: Any
    absent: str
    line: str

    @property
    def place(self) -> str:
        return self.name if self.what in {"trait", "setting"} else f"{self.what} {self.name}".strip()

    @property
    def document(self) -> dict[str, Any]:
        return {**self._asdict(), "absent": self.absent or None}


def run_show(output: Output, path: Path | None, *, data: bool) -> Exit:
    """Show the rules, or with `data` which fields leave the shop. Raises ConfigError."""
    rules = rules_by(os.environ, path)
    if data:
        _show_data(output, rules)
    else:
        _show_rules(output, rules)
    return Exit.DONE


def run_show_defaults(output: Output) -> Exit:
    """Show the built-in mapping, as the file that it is."""
    text = _packaged("defaults.toml")
    if output.as_json:
        output.document(toml_of(text.encode(), "defaults.toml").values)
    else:
        _raw(output, text)
    return Exit.DONE


def run_schema(output: Output, to: Path | None) -> Exit:
    """Print the JSON Schema of a mapping file, or write it to a file. Raises Trouble if that cannot be written."""
    text = _packaged("mapping.schema.json")
    if to is None:
        _raw(output, text)
    else:
        _write(to, text)
        output.remark(f"Wrote {to}.")
    return Exit.DONE


def _packaged(name: str) -> str:
    return files("service.transformation").joinpath(name).read_text("utf-8")


def _raw(output: Output, text: str) -> None:
    output.results.print(text, markup=False, highlight=False, soft_wrap=True, end="")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8", newline="\n")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}.", Exit.UNUSABLE) from None
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}.") from None


def _rows(rules: Rules) -> list[Row]:
    """Return every rule, in the order of the event."""
    identify, consent = rules.identify.mapping.identify, rules.identify.mapping.consent
    rows = [Row("setting", "identify.on", sorted(identify.on), "", rules.line("identify", "on"))]
    for trait in identify.traits:
        cleared = trait.cleared_by(rules.identify.clear)
        for part, rule in trait.parts.items():
            has_any = rule.value is not None or rule.default is not None
            absent = "" if has_any else "null" if cleared else "not sent"
            name = f"{trait.name}.{part}" if part else trait.name
            rows.append(Row("trait", name, rule.effective, absent, rules.line_of(rule)))
    rows += [Row("retired", name, None, "null", rules.line("identify", "retired")) for name in identify.retired]
    rows += [Row("excluded", name, None, "not sent", rules.line("identify", "exclude")) for name in identify.excluded]
    if identify.anonymous_id is not None:
        rule = identify.anonymous_id
        rows.append(Row("anonymousId", "", rule.effective, "not sent", rules.line_of(rule)))
    for kind, rule in identify.external_ids.items():
        rows.append(Row("externalId", kind, rule.effective, "not sent", rules.line_of(rule)))
    if consent is None:
        return rows
    unknown = str(consent.unknown).lower()
    for name, own in consent.categories.items():
        said = own or consent.document or Rule()
        rows.append(
            Row("consent", name, said.effective, "" if said.value is not None else unknown, rules.line_of(said))
        )
    if consent.document is not None and not consent.categories:
        rows.append(Row("consent", "", consent.document.effective, "", rules.line_of(consent.document)))
    for key, value in (
        ("unknown", consent.unknown),
        ("send", list(consent.send) or "always"),
        ("withdrawn", consent.withdrawn),
        ("event", consent.event),
    ):
        rows.append(Row("setting", f"consent.{key}", value, "", rules.line("consent", key)))
    return rows


def _facts_document(rules: Rules) -> dict[str, Any]:
    return {
        "file": rules.file and rules.file.name,
        "fingerprint": rules.identify.fingerprint,
        "user_id": rules.identify.user_id,
        "clear_traits": rules.identify.clear,
    }


def _show_rules(output: Output, rules: Rules) -> None:
    rows = _rows(rules)
    if output.as_json:
        output.document({**_facts_document(rules), "rules": [row.document for row in rows]})
        return
    facts = [
        ("rules", f"{rules.name}, fingerprint {rules.identify.fingerprint}"),
        ("userId", f"{rules.identify.user_id} (SEGMENT_USER_ID)"),
        ("absent", f"{rules.identify.clear} (SEGMENT_CLEAR_TRAITS)"),
    ]
    table = _table("trait", "rule", "absent", "line")
    for row in rows:
        _add(table, row.place, _said(row.rule), row.absent, row.line)
    _print_facts(output, facts)
    output.results.print()
    output.results.print(table)


def _said(rule: Any) -> str:  # noqa: ANN401  # any JSON
    """Return what a row's rule says, in words near to those of the file."""
    if rule is None:
        return ""
    if not isinstance(rule, Mapping):
        return ", ".join(rule) if isinstance(rule, list) else _shown(rule)
    words = []
    for key, value in rule.items():
        match key:
            case "from":
                words.append(", else ".join(value))
            case "values":
                words.append("values " + ", ".join(f"{name} = {_shown(one)}" for name, one in value.items()))
            case "locales":
                words.append(f"locales {', '.join(value)}")
            case "as":
                words.append(f"as {value}")
            case _:
                words.append(f"{key} {value if key == 'expr' else _shown(value)}")
    return "; ".join(words)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if value.isidentifier() else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


# show --data


_COMPUTED = {
    "name": ("firstName", "lastName"),
    "street": ("streetName", "streetNumber", "apartment", "building", "additionalStreetInfo", "pOBox"),
    "customerGroup": ("customerGroup", "customerGroupAssignments"),
    "customerGroups": ("customerGroupAssignments",),
}


def fields_of(path: Field) -> list[str]:
    """Return the fields of commercetools' customer that a path sends, such as addresses.city and custom.fields.points.

    Of a path below customerGroup, they are fields of the customer group.
    """
    first, _, rest = path.text.partition(".")
    if path.of == "address":
        return [f"addresses.{name}" for name in _COMPUTED.get(rest, (_as_field(rest),))]
    if path.of == "customer-group":
        return [f"{first}.{_as_field(rest)}"]
    return list(_COMPUTED.get(path.text, (_as_field(path.text),)))


def _as_field(text: str) -> str:
    return f"custom.fields.{text.removeprefix('custom.')}" if text.startswith("custom.") else text


def _leaving(rules: IdentifyRules) -> dict[str, list[str]]:
    """Return where each field of a customer goes in Segment's events."""
    identify, consent = rules.mapping.identify, rules.mapping.consent
    sent: list[tuple[str, Iterable[Field]]] = []
    for trait in identify.traits:
        for part, rule in trait.parts.items():
            sent.append((f"traits.{trait.name}.{part}" if part else f"traits.{trait.name}", rule.all_paths))
    if identify.anonymous_id is not None:
        sent.append(("anonymousId", identify.anonymous_id.all_paths))
    for kind, rule in identify.external_ids.items():
        sent.append((f"context.externalIds, type {kind}", rule.all_paths))
    if consent is not None:
        own = [(name, rule) for name, rule in consent.categories.items() if rule is not None]
        sent += [(f"context.consent, category {name}", rule.all_paths) for name, rule in own]
        if consent.document is not None:
            sent.append(("context.consent", consent.document.all_paths))
    leaving: dict[str, list[str]] = {str(rules.user_id): ["userId"]}
    leaving.setdefault("locale", []).append("context.locale")
    for place, paths in sent:
        for field in chain.from_iterable(map(fields_of, paths)):
            places = leaving.setdefault(field, [])
            if place not in places:
                places.append(place)
    return leaving


def _show_data(output: Output, rules: Rules) -> None:
    settings, consent = rules.settings, rules.identify.mapping.consent
    known = settings.segment.write_key != _UNSET
    events = ["identify", *(["track: Segment Consent Preference Updated"] if consent and consent.event else [])]
    suppresses = consent is not None and consent.withdrawn is Withdrawn.SUPPRESS
    public_api = settings.erasure is not Erasure.OFF or suppresses
    leaving = _leaving(rules.identify)
    document = {
        "source": {
            "write_key_fingerprint": rules.identify.source if known else None,
            "region": settings.segment.region,
            "host": settings.segment.host,
        },
        "public_api": settings.segment_public_api_url if public_api else None,
        "project": settings.commercetools.project_key if settings.commercetools else None,
        "events": events,
        "only_with_consent": list(consent.send) if consent else [],
        "fields": [{"field": field, "places": places} for field, places in leaving.items()],
    }
    if output.as_json:
        output.document({**_facts_document(rules), **document})
        return
    source = f"write key with the fingerprint {rules.identify.source}" if known else "SEGMENT_WRITE_KEY is not set"
    facts = [
        ("source", f"{source}, region {settings.segment.region}, {settings.segment.host}"),
        ("project", settings.commercetools.project_key if settings.commercetools else "CTP_PROJECT_KEY is not set"),
        ("rules", f"{rules.name}, fingerprint {rules.identify.fingerprint}"),
        ("events", ", ".join(events)),
        ("sent", f"only with consent for {', '.join(consent.send)}" if consent and consent.send else "always"),
    ]
    if public_api:
        facts.append(("also", f"the user id, to erase or suppress it: {settings.segment_public_api_url}"))
    table = _table("commercetools' field", "place in Segment's event")
    for field, places in leaving.items():
        _add(table, field, "; ".join(places))
    _print_facts(output, facts)
    output.results.print()
    output.results.print(table)


# What Segment would get, in a form that is the same at each run

Said = dict[str, Any]


class Told(NamedTuple):
    """What is said of a customer, as README's "mapping" describes it, and the traits that could not be read."""

    said: Said
    unreadable: Sequence[str] = ()


_FIRST = ("userId", "anonymousId", "traits", "context")
_BY_RUN = frozenset({"messageId", "timestamp", "originalTimestamp", "sentAt", "integrations", "type"})


def comparable(event: Mapping[str, Any]) -> Said:
    """Return an event without what the run or the library decides."""
    keys = [*_FIRST, *(key for key in event if key not in _FIRST and key not in _BY_RUN)]
    said = {key: event[key] for key in keys if event.get(key) is not None}
    context = said.get("context")
    if isinstance(context, dict):
        said["context"] = {key: value for key, value in context.items() if key != "library"}
    return said


def teller(rules: IdentifyRules) -> Callable[[Mapping[str, Any]], Told]:
    """Return the function that gives what Segment would get for commercetools' JSON of a customer."""
    event_for = create_segment_client(_UNSET).event_for
    named = rules.mapping.named

    def told(document: Mapping[str, Any]) -> Told:
        try:
            events = customer_events(read_customer(document, named), rules, "")
            built = [event_for(event)[0] for event in events.events]
        except Malformed as malformed:
            return Told({"refused": str(malformed)})
        except NotDelivered as refused:
            return Told({"refused": refused.error.message})
        return Told(_told(events, built), events.unreadable)

    return told


def _told(events: Events, built: Sequence[Mapping[str, Any]]) -> Said:
    said: Said = comparable(built[0]) if built else {"ignored": events.reason}
    for event in built[1:]:
        said["track"] = event["event"]
    if events.suppression is not None and events.suppression.wanted:
        said["suppressed"] = events.suppression.user_id
    return json.loads(json.dumps(said))  # type: ignore[no-any-return]  # it is an object


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


class Difference(NamedTuple):
    """Two values that differ at one place; ABSENT for none."""

    place: tuple[str, ...]
    before: object
    after: object

    @property
    def shown(self) -> str:
        """The place, as a column shows it: a trait by its name, consent by its category."""
        match self.place:
            case ("traits", *names) if names:
                return ".".join(names)
            case ("context", "consent", "categoryPreferences", category):
                return f"consent {category}"
        return ".".join(self.place)

    @property
    def change(self) -> str:
        if self.after is ABSENT:
            return "vanishes"
        if self.after is None:
            return "becomes null"
        return "appears" if self.before is ABSENT else "changes"


def differences(before: Any, after: Any, place: tuple[str, ...] = ()) -> Iterator[Difference]:  # noqa: ANN401  # any JSON
    """Compare two values of JSON, objects key by key. If only one of two is an event, that is the one difference."""
    if not place and ("traits" in before) != ("traits" in after):
        yield Difference(("event",), _outline(before), _outline(after))
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), (*place, key))
    elif not _same(before, after):
        yield Difference(place, before, after)


def _outline(said: Said) -> str:
    if "traits" in said:
        return "identify"
    return "; ".join(f"{key}: {value}" for key, value in said.items())


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  # any JSON
    """Tell whether two values are the same JSON: 1 and 1.0 are one number, 1 and true are not the same."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown_value(value: object) -> str:
    return repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False)


# test


class Case(NamedTuple):
    """What became of one example. `status` is one of ok, differs, missing, unused, unreadable, written."""

    file: str
    status: str
    reason: str = ""
    differences: Sequence[tuple[Difference, str]] = ()
    """Each with the line of its rule."""


_FAILED = frozenset({"differs", "missing", "unused"})
_EXPECTATION = ".identify.json"


class _Unreadable(Exception):
    """A file cannot be used. The text begins with its name."""


def run_test(output: Output, folder: Path, *, update: bool) -> Exit:
    """Compare each customer in a folder with the expectation beside it, or with `update` write that.

    Raises ConfigError, and Trouble if there is nothing to test.
    """
    rules = rules_by(os.environ)
    names = _names_in(folder)
    given = [name for name in names if not name.endswith(_EXPECTATION)]
    if not given:
        raise Trouble(f"There is nothing to test: {folder} has no customer in a file NAME.json.", Exit.UNUSABLE)
    tell = teller(rules.identify)
    cases = [_case(folder, name, rules, tell, update=update) for name in given]
    for name in names:
        customer = f"{name.removesuffix(_EXPECTATION)}.json"
        if name.endswith(_EXPECTATION) and customer not in given:
            cases.append(Case(name, "unused", f"there is no {customer} beside it"))
    counts = Counter(case.status for case in cases)
    if output.as_json:
        output.document(_test_document(rules, cases))
    else:
        _print_cases(output, cases, counts)
    if counts["written"]:
        output.remark("Look at what was written. It must hold no real customer: make the examples up.", "yellow")
    if counts["unreadable"]:
        return Exit.UNUSABLE
    return Exit.ATTENTION if _FAILED & counts.keys() else Exit.DONE


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.name.endswith(".json"))
    except OSError as error:
        raise Trouble(f"{folder} cannot be read: {error.strerror}.", Exit.UNUSABLE) from None


def _case(folder: Path, name: str, rules: Rules, tell: Callable[[Mapping[str, Any]], Told], *, update: bool) -> Case:
    beside = folder / f"{name.removesuffix('.json')}{_EXPECTATION}"
    try:
        customers, _ = customers_in(_json_in_folder(folder / name))
        if not customers:
            return Case(name, "unreadable", "there is no customer in it")
        told = tell(customers[0])
        if not os.path.lexists(beside):
            if update:
                return _written(name, beside, told)
            return Case(name, "missing", f"there is no {beside.name}: --update writes it")
        expected = comparable(json_object(_json_in_folder(beside), beside.name))
    except _Unreadable as unreadable:
        return Case(name, "unreadable", str(unreadable))
    found = [(one, _rule_of(one, rules, told)) for one in differences(expected, told.said)]
    if found and update:
        return _written(name, beside, told)
    return Case(name, "differs" if found else "ok", differences=found)


def _written(name: str, beside: Path, told: Told) -> Case:
    _write(beside, json.dumps(told.said, indent=2, ensure_ascii=not _encodable(told.said)) + "\n")
    return Case(name, "written", beside.name)


def _encodable(said: Said) -> bool:
    """Tell whether UTF-8 can hold all texts: commercetools' JSON may have half of a surrogate pair."""
    try:
        json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_in(path: Path) -> bytes:
    """Return the bytes of a file that is a JSON object, or raise _Unreadable with the line at fault."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise _Unreadable(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise _Unreadable(f"{path.name} is larger than {_LARGEST // 1024 // 1024} MiB")
    return _checked(data, path.name)


def _json_in_folder(path: Path) -> bytes:
    """Do the same for what may be a pipe or a folder, although its name is that of an example."""
    if path.exists() and not path.is_file():
        raise _Unreadable(f"{path.name} is no file")
    return _json_in(path)


def _checked(data: bytes, name: str, line: int | None = None) -> bytes:
    """Return bytes that are a JSON object, or raise _Unreadable. `line` is theirs if they are one line of a file."""
    try:
        if is_deep(json_object(data, "this")):
            raise _Unreadable(f"{name}: this is nested too deeply")
    except Malformed as malformed:
        at, reason = _fault_of(data)
        at = line if line is not None else at
        where = name if at is None else f"{name}:{at}"
        raise _Unreadable(f"{where}: {malformed}{reason}") from None
    return data


def _fault_of(data: bytes) -> tuple[int | None, str]:
    """Return the line at fault in what is not JSON, and why; nothing of the text."""
    try:
        json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1, ": the line is not UTF-8"
    except json.JSONDecodeError as error:
        return error.lineno, f": {error.msg.partition(':')[0].lower()} (column {error.colno})"
    except (ValueError, RecursionError):
        pass
    return None, ""


def _rule_of(difference: Difference, rules: Rules, told: Told) -> str:
    """Return where the rule behind a difference stands, "" for what no rule decides."""
    identify, consent = rules.identify.mapping.identify, rules.identify.mapping.consent
    rule: Rule | None = None
    match difference.place:
        case ("traits", name, *rest):
            line = _rule_of_trait(name, rest, rules)
            return f"{line}; the field is of another kind" if name in told.unreadable else line
        case ("userId",):
            return "SEGMENT_USER_ID"
        case ("context", "externalIds", *_):
            return rules.line("identify", "external_ids")
        case ("anonymousId",):
            rule = identify.anonymous_id
        case ("context", "consent", "categoryPreferences", name) if consent is not None:
            rule = consent.categories.get(name) or consent.document
        case ("context", "consent", *_) | ("track",) | ("event",) | ("suppressed",) | ("ignored",):
            return rules.line("consent") if consent is not None else ""
    return rules.line_of(rule) if rule is not None else ""


def _rule_of_trait(name: str, rest: Sequence[str], rules: Rules) -> str:
    identify = rules.identify.mapping.identify
    trait = next((trait for trait in identify.traits if trait.name == name), None)
    if trait is not None:
        part = rest[0] if rest else ""
        rule = trait.parts.get(part) or trait.parts.get("")
        if rule is not None:
            return rules.line_of(rule)
        if not part:
            own = [line for rule in trait.rules if (line := rules.line_of(rule)) != _BUILT_IN]
            return next(iter(own), _BUILT_IN)
    if name in identify.retired:
        return rules.line("identify", "retired")
    if name in identify.excluded or ".".join((name, *rest)) in identify.excluded:
        return rules.line("identify", "exclude")
    return "no rule"


def _difference_document(difference: Difference, before: str, after: str) -> dict[str, Any]:
    values = ((before, difference.before), (after, difference.after))
    return {"place": ".".join(difference.place)} | {name: value for name, value in values if value is not ABSENT}


def _test_document(rules: Rules, cases: Sequence[Case]) -> dict[str, Any]:
    return {
        **_facts_document(rules),
        "results": [
            {
                "file": case.file,
                "status": case.status,
                "reason": case.reason,
                "differences": [
                    {**_difference_document(one, "expected", "got"), "line": line} for one, line in case.differences
                ],
            }
            for case in cases
        ],
    }


_STYLES = {"ok": "green", "written": "green"}


def _print_cases(output: Output, cases: Sequence[Case], counts: Mapping[str, int]) -> None:
    for case in cases:
        line = Text(f"{case.status:<10}  ", _STYLES.get(case.status, "red"))
        line.append(plain(f"{case.file}: {case.reason}" if case.reason else case.file), "default")
        output.results.print(line, soft_wrap=True)
        if case.differences:
            table = _table("", "trait", "expected", "got", "line")
            for one, rule in case.differences:
                _add(table, "          ", one.shown, _shown_value(one.before), _shown_value(one.after), rule)
            output.results.print(table)
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    output.results.print(Text(f"{len(cases)} {'example' if len(cases) == 1 else 'examples'}: {said}."))


# diff


def run_diff(output: Output, old: Path, new: Path, given: Sequence[str], standard_input: BinaryIO) -> Exit:
    """Show what changes between two files: in the rules, or for the customers in files, in what Segment gets.

    Raises ConfigError with the mistakes of both, and Trouble for a file without customers.
    """
    before, after = _both(old, new)
    if not given:
        return _diff_rules(output, before, after)
    tell_old, tell_new = teller(before.identify), teller(after.identify)
    found: list[tuple[str, list[Difference]]] = []
    counts = Counter[str]()
    try:
        for customer in chain.from_iterable(_customers(name, standard_input) for name in given):
            said = {"old": tell_old(customer).said, "new": tell_new(customer).said}
            counts.update(["customers", *(f"sent_{which}" for which, one in said.items() if "traits" in one)])
            changes = list(differences(said["old"], said["new"]))
            if changes:
                found.append((str(customer["id"]), changes))
    except _Unreadable as unreadable:
        raise Trouble(f"{unreadable}.", Exit.UNUSABLE) from None
    _print_diff(output, found, counts)
    return Exit.ATTENTION if found else Exit.DONE


def _both(old: Path, new: Path) -> tuple[Rules, Rules]:
    read, mistakes = [], []
    for path in (old, new):
        try:
            read.append(rules_by(os.environ, path, str(path) if old.name == new.name else None))
        except ConfigError as error:  # the mistakes of both files are told
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    before, after = read
    return before, after


def _diff_rules(output: Output, before: Rules, after: Rules) -> Exit:
    old, new = ({(row.what, row.name): row for row in _rows(rules)} for rules in (before, after))
    changes = []
    for key in {**old, **new}:
        one, other = old.get(key), new.get(key)
        if one is None or other is None or (one.rule, one.absent) != (other.rule, other.absent):
            changes.append((one, other))
    if output.as_json:
        output.document(
            {
                "old": _facts_document(before),
                "new": _facts_document(after),
                "changes": [{"old": one and one.document, "new": other and other.document} for one, other in changes],
            }
        )
    elif not changes:
        output.results.print(Text("The rules are the same."))
    else:
        table = _table("trait", "change", "old", "new", "line")
        for one, other in changes:
            change = "added" if one is None else "removed" if other is None else "changed"
            row = other or one
            if row is not None:
                _add(table, row.place, change, _rule_said(one, other), _rule_said(other, one), row.line)
        output.results.print(table)
    return Exit.ATTENTION if changes else Exit.DONE


def _rule_said(row: Row | None, other: Row | None) -> str:
    """Return what a row says, and what follows if it is absent where the other differs in that alone."""
    if row is None:
        return ""
    said = _said(row.rule)
    return f"{said}; absent: {row.absent}" if other is not None and row.rule == other.rule else said


def _customers(name: str, standard_input: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """Yield the customers in a file: what `explain` takes for customers, or one on each line. Raises _Unreadable."""
    path = Path(name)
    if name != "-" and path.name.endswith(".jsonl"):
        try:
            with path.open("rb") as lines:
                yield from _on_each_line(lines, path.name)
        except OSError as error:
            raise _Unreadable(f"{path.name} cannot be read: {error.strerror}") from None
        return
    if name == "-":
        shown, data = "standard input", standard_input.read()
        if _is_lines(data):
            yield from _on_each_line(data.splitlines(), shown)
            return
        _checked(data, shown)
    else:
        shown, data = path.name, _json_in(path)
    customers, _ = customers_in(data)
    if not customers:
        raise _Unreadable(f"{shown}: there is no customer in it")
    yield from customers


def _is_lines(data: bytes) -> bool:
    """Tell whether these are JSON objects, one on each line: the first of several lines is one."""
    first, _, rest = data.strip().partition(b"\n")
    if not rest:
        return False
    try:
        json_object(first, "the line")
    except Malformed:
        return False
    return True


def _on_each_line(lines: Iterable[bytes], name: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        customers, _ = customers_in(_checked(line, name, number))
        if not customers:
            raise _Unreadable(f"{name}:{number}: there is no customer in it")
        yield from customers


_CHANGES = ("appears", "vanishes", "changes", "becomes null")


def _print_diff(
    output: Output, found: Sequence[tuple[str, Sequence[Difference]]], customers: Mapping[str, int]
) -> None:
    counts: dict[str, Counter[str]] = {}
    for _, changes in found:
        for one in changes:
            counts.setdefault(".".join(one.place) if output.as_json else one.shown, Counter())[one.change] += 1
    if output.as_json:
        output.document(
            {
                **{name: customers[name] for name in ("customers", "sent_old", "sent_new")},
                "changed": len(found),
                "counts": {place: dict(count) for place, count in counts.items()},
                "results": [
                    {
                        "id": customer,
                        "changes": [
                            {"change": one.change, **_difference_document(one, "old", "new")} for one in changes
                        ],
                    }
                    for customer, changes in found
                ],
            }
        )
        return
    for customer, changes in found:
        output.results.print(Text(plain(customer), "bold"), soft_wrap=True)
        table = _table("", "trait", "change", "old", "new")
        for one in changes:
            _add(table, "", one.shown, one.change, _shown_value(one.before), _shown_value(one.after))
        output.results.print(table)
        output.results.print()
    if counts:
        summary = _table("customers for whom it", *_CHANGES)
        for place, count in counts.items():
            _add(summary, place, *(str(count[change]) if count[change] else "·" for change in _CHANGES))
        output.results.print(summary)
        output.results.print()
    output.results.print(
        Text(
            f"Customers: {customers['customers']:,}, with a difference: {len(found):,}, "
            f"sent by the old rules: {customers['sent_old']:,}, by the new ones: {customers['sent_new']:,}."
        )
    )


# Tables


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(plain(cell)) for cell in cells))


def _print_facts(output: Output, facts: Iterable[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts:
        table.add_row(Text(name, "bold"), Text(plain(value)))
    output.results.print(table)
