"""mapping diff: what changes from one mapping file to another, in the rules or in what Segment gets of customers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from rich.text import Text

from service.config import ConfigError
from service.operations import Exit, Output, Trouble, plain
from service.operations.given import customers_in
from service.operations.mapping import (
    ABSENT,
    Difference,
    Rules,
    Unreadable,
    bytes_of,
    checked,
    differences,
    opened,
    rules_by,
    table_of,
    teller,
)
from service.operations.mapping_show import Row, rows_of
from service.serving.decoding import Malformed, json_object


def run(  # noqa: PLR0917  # what the command line has
    output: Output, environment: Mapping[str, str], old: Path, new: Path, given: Sequence[str], standard_input: BinaryIO
) -> Exit:
    """Show what changes between two files: in the rules, or for the customers in files, in what Segment gets.

    Raises ConfigError with the mistakes of both, and Trouble for a file without customers.
    """
    before, after = _both(environment, old, new)
    if not given:
        return _diff_rules(output, before, after)
    try:
        customers = chain.from_iterable(_customers(name, standard_input) for name in given)
        return _diff_events(output, before, after, customers)
    except Unreadable as unreadable:
        raise Trouble(f"{unreadable}.", Exit.UNUSABLE) from None


def _both(environment: Mapping[str, str], old: Path, new: Path) -> tuple[Rules, Rules]:
    read, mistakes = [], []
    for path in (old, new):
        try:
            read.append(rules_by(environment, path, str(path) if old.name == new.name else None))
        except ConfigError as error:  # the mistakes of both files are told
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    before, after = read
    return before, after


# Of the rules


def _diff_rules(output: Output, before: Rules, after: Rules) -> Exit:
    old, new = ({(row.what, row.name): row for row in rows_of(rules)} for rules in (before, after))
    pairs = [(row, old.get(key), new.get(key)) for key, row in {**old, **new}.items()]
    changes = [(row, one, other) for row, one, other in pairs if _effect(one) != _effect(other)]
    if output.as_json:
        documents = [{"old": one and one.document, "new": other and other.document} for _, one, other in changes]
        output.document({"old": before.document, "new": after.document, "changes": documents})
    elif changes:
        cells = (
            (row.place, _change(one, other), _in_words(one, other), _in_words(other, one), row.line)
            for row, one, other in changes
        )
        output.table(table_of(("trait", "change", "old", "new", "line"), cells))
    else:
        output.results.print(Text("The rules are the same."))
    return Exit.ATTENTION if changes else Exit.DONE


def _effect(row: Row | None) -> object:
    return row and (row.rule, row.absent)


def _change(one: Row | None, other: Row | None) -> str:
    return "added" if one is None else "removed" if other is None else "changed"


def _in_words(row: Row | None, other: Row | None) -> str:
    """Return what a row says, and what follows if it is absent where the other differs in that alone."""
    if row is None:
        return ""
    same_rule = other is not None and row.rule == other.rule
    return f"{row.in_words}; absent: {row.absent}" if same_rule else row.in_words


# Of what Segment gets

_CHANGES = ("appears", "vanishes", "changes", "becomes null")
_Found = Sequence[tuple[str, Sequence[Difference]]]
"""The ids of the customers with a difference, and what changes for each."""


def _diff_events(output: Output, before: Rules, after: Rules, customers: Iterable[Mapping[str, Any]]) -> Exit:
    tell_old, tell_new = teller(before.identify), teller(after.identify)
    found: list[tuple[str, list[Difference]]] = []
    counts = Counter(customers=0, sent_old=0, sent_new=0)
    for customer in customers:
        old, new = tell_old(customer).said, tell_new(customer).said
        counts.update(customers=1, sent_old="traits" in old, sent_new="traits" in new)
        changes = list(differences(old, new))
        if changes:
            found.append((str(customer["id"]), changes))
    if output.as_json:
        output.document(_document(found, counts))
    else:
        _print(output, found, counts)
    return Exit.ATTENTION if found else Exit.DONE


def change_of(difference: Difference) -> str:
    """Return which of appears, vanishes, changes and becomes null it is."""
    if difference.after is ABSENT:
        return "vanishes"
    if difference.after is None:
        return "becomes null"
    return "appears" if difference.before is ABSENT else "changes"


def _counted(places: Iterable[tuple[str, str]]) -> dict[str, Counter[str]]:
    """Count the changes at each place."""
    counted: dict[str, Counter[str]] = {}
    for place, change in places:
        counted.setdefault(place, Counter())[change] += 1
    return counted


def _document(found: _Found, counts: Mapping[str, int]) -> dict[str, Any]:
    counted = _counted((".".join(one.place), change_of(one)) for _, changes in found for one in changes)
    results = [
        {"id": customer, "changes": [{"change": change_of(one), **one.document("old", "new")} for one in changes]}
        for customer, changes in found
    ]
    return {**counts, "changed": len(found), "counts": counted, "results": results}


def _print(output: Output, found: _Found, counts: Mapping[str, int]) -> None:
    for customer, changes in found:
        output.results.print(Text(plain(customer), "bold"), soft_wrap=True)
        rows = (("", one.shown, change_of(one), *one.values) for one in changes)
        output.table(table_of(("", "trait", "change", "old", "new"), rows))
        output.results.print()
    counted = _counted((one.shown, change_of(one)) for _, changes in found for one in changes)
    if counted:
        numbers = ((place, *(str(count[change] or "·") for change in _CHANGES)) for place, count in counted.items())
        output.table(table_of(("customers for whom it", *_CHANGES), numbers))
        output.results.print()
    output.results.print(
        Text(
            f"Customers: {counts['customers']:,}, with a difference: {len(found):,}, "
            f"sent by the old rules: {counts['sent_old']:,}, by the new ones: {counts['sent_new']:,}."
        )
    )


# The customers


def _customers(name: str, standard_input: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """Yield the customers in a file: what `explain` takes for customers, or one on each line. Raises Unreadable."""
    path = Path(name)
    if name == "-":
        data = standard_input.read()
        if _is_lines(data):
            yield from _on_each_line(data.splitlines(), "standard input")
        else:
            yield from _customers_in(data, "standard input")
    elif path.name.endswith(".jsonl"):
        with opened(path) as lines:
            yield from _on_each_line(lines, path.name)
    else:
        yield from _customers_in(bytes_of(path), path.name)


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
        if line.strip():
            yield from _customers_in(line, name, number)


def _customers_in(data: bytes, name: str, line: int | None = None) -> Sequence[Mapping[str, Any]]:
    customers, _ = customers_in(checked(data, name, line))
    if not customers:
        where = name if line is None else f"{name}:{line}"
        raise Unreadable(f"{where}: there is no customer in it")
    return customers
