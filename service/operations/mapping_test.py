"""mapping test: whether what Segment would get for made-up customers is what the files beside them expect."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.text import Text

from service.operations import Exit, Output, Trouble, json_text, plain
from service.operations.given import customers_in
from service.operations.mapping import (
    BUILT_IN,
    Difference,
    Rules,
    Said,
    Tell,
    Told,
    Unreadable,
    bytes_of,
    checked,
    comparable,
    differences,
    rules_by,
    table_of,
    teller,
    write,
)
from service.serving.decoding import json_object


class Case(NamedTuple):
    """What became of one example. `status` is one of ok, differs, missing, unused, unreadable, written."""

    file: str
    status: str
    reason: str = ""
    differences: Sequence[tuple[Difference, str]] = ()
    """Each with the line of its rule."""


_FAILED = frozenset({"differs", "missing", "unused"})
_STYLES = {"ok": "green", "written": "green"}
_EXPECTATION = ".identify.json"


def run(output: Output, environment: Mapping[str, str], folder: Path, *, update: bool) -> Exit:
    """Compare each customer in a folder with the expectation beside it, or with `update` write that.

    Raises ConfigError, and Trouble if there is nothing to test.
    """
    rules = rules_by(environment)
    cases = list(_cases(folder, rules, update=update))
    counts = Counter(case.status for case in cases)
    if output.as_json:
        output.document({**rules.document, "results": [_document(case) for case in cases]})
    else:
        _print(output, cases, counts)
    if counts["written"]:
        output.remark("Look at what was written. It must hold no real customer: make the examples up.", "yellow")
    if counts["unreadable"]:
        return Exit.UNUSABLE
    return Exit.ATTENTION if _FAILED & counts.keys() else Exit.DONE


def _cases(folder: Path, rules: Rules, *, update: bool) -> Iterator[Case]:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".json"))
    except OSError as error:
        raise Trouble(f"{folder} cannot be read: {error.strerror}.", Exit.UNUSABLE) from None
    given = [name for name in names if not name.endswith(_EXPECTATION)]
    if not given:
        raise Trouble(f"There is nothing to test: {folder} has no customer in a file NAME.json.", Exit.UNUSABLE)
    tell = teller(rules.identify)
    for name in given:
        yield _case(folder, name, rules, tell, update=update)
    for name in names:
        customer = f"{name.removesuffix(_EXPECTATION)}.json"
        if name.endswith(_EXPECTATION) and customer not in given:
            yield Case(name, "unused", f"there is no {customer} beside it")


def _case(folder: Path, name: str, rules: Rules, tell: Tell, *, update: bool) -> Case:
    beside = folder / f"{name.removesuffix('.json')}{_EXPECTATION}"
    try:
        customers, _ = customers_in(_json_in(folder / name))
        if not customers:
            return Case(name, "unreadable", "there is no customer in it")
        told = tell(customers[0])
        if not os.path.lexists(beside):
            if update:
                return _written(name, beside, told.said)
            return Case(name, "missing", f"there is no {beside.name}: --update writes it")
        expected = comparable(json_object(_json_in(beside), beside.name))
    except Unreadable as unreadable:
        return Case(name, "unreadable", str(unreadable))
    found = [(one, _line_of(one, rules, told)) for one in differences(expected, told.said)]
    if found and update:
        return _written(name, beside, told.said)
    return Case(name, "differs" if found else "ok", differences=found)


def _json_in(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # reading a pipe would wait
        raise Unreadable(f"{path.name} is no file")
    return checked(bytes_of(path), path.name)


def _written(name: str, beside: Path, said: Said) -> Case:
    write(beside, f"{json_text(said)}\n")
    return Case(name, "written", beside.name)


def _line_of(difference: Difference, rules: Rules, told: Told) -> str:
    """Return where the rule behind a difference stands, "" for what no rule decides."""
    identify, consent = rules.mapping.identify, rules.mapping.consent
    rule = None
    match difference.place:
        case ("traits", name, *rest):
            line = _line_of_trait(name, rest, rules)
            return f"{line}; the field is of another kind" if name in told.unreadable else line
        case ("userId",):
            return "SEGMENT_USER_ID"
        case ("anonymousId",):
            rule = identify.anonymous_id
        case ("context", "externalIds", *_):
            return rules.line("identify", "external_ids")
        case ("context", "consent", "categoryPreferences", name) if consent is not None:
            rule = consent.categories.get(name) or consent.document
        case ("context", "consent", *_) | ("track",) | ("event",) | ("suppressed",) | ("ignored",) if (
            consent is not None
        ):
            return rules.line("consent")
    return rules.line_of(rule) if rule is not None else ""


def _line_of_trait(name: str, rest: Sequence[str], rules: Rules) -> str:
    identify = rules.mapping.identify
    trait = next((trait for trait in identify.traits if trait.name == name), None)
    if trait is not None:
        part = rest[0] if rest else ""
        rule = trait.parts.get(part) or trait.parts.get("")
        if rule is not None:
            return rules.line_of(rule)
        if not part:
            lines = map(rules.line_of, trait.rules)
            return next((line for line in lines if line != BUILT_IN), BUILT_IN)
    if name in identify.retired:
        return rules.line("identify", "retired")
    if name in identify.excluded or ".".join((name, *rest)) in identify.excluded:
        return rules.line("identify", "exclude")
    return "no rule"


def _document(case: Case) -> dict[str, Any]:
    found = [{**one.document("expected", "got"), "line": line} for one, line in case.differences]
    return {"file": case.file, "status": case.status, "reason": case.reason, "differences": found}


def _print(output: Output, cases: Sequence[Case], counts: Mapping[str, int]) -> None:
    for case in cases:
        line = Text(f"{case.status:<10}  ", _STYLES.get(case.status, "red"))
        line.append(plain(f"{case.file}: {case.reason}" if case.reason else case.file), "default")
        output.results.print(line, soft_wrap=True)
        if case.differences:
            rows = ((" " * 10, one.shown, *one.values, line) for one, line in case.differences)
            output.table(table_of(("", "trait", "expected", "got", "line"), rows))
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    output.results.print(Text(f"{len(cases)} {'example' if len(cases) == 1 else 'examples'}: {said}."))
