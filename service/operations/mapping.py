"""What the mapping commands share: the rules, what Segment would get by them, differences, files and a table."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rich.table import Table
from rich.text import Text

from service.commercetools.customer import read_customer
from service.config import ConfigError, Settings
from service.operations import Environment, Exit, Trouble, command_settings, environment_of, plain
from service.segment.client import create_segment_client
from service.segment.types import NotDelivered
from service.serving.decoding import Malformed, is_deep, json_object
from service.serving.toml_file import NotToml, TomlFile, read_toml, toml_of
from service.transformation import IdentifyRules, customer_events
from service.transformation.mapping import ShopMapping
from service.transformation.mapping_file import is_built_in
from service.transformation.rule import Rule
from service.transformation.rules import fingerprint_by, identify_rules_by

_UNSET = "mapping-without-this-secret"  # for secrets that no rule depends on
_LARGEST = 64 * 1024 * 1024  # bytes of a file with customers that is not read line by line
BUILT_IN = "built-in"
"""Stands for the line of a rule that no file has."""


class Rules(NamedTuple):
    """The rules of a mapping file, or the built-in ones, with the settings that go with them."""

    settings: Settings
    identify: IdentifyRules

    @property
    def mapping(self) -> ShopMapping:
        return self.identify.mapping

    @property
    def source(self) -> str | None:
        """The fingerprint of SEGMENT_WRITE_KEY, None if that is not set."""
        return None if self.settings.segment.write_key == _UNSET else self.identify.source

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the rules, which the service has too."""
        return fingerprint_by(self.settings, self.identify)

    @property
    def document(self) -> dict[str, Any]:
        """What each command says of the rules, as JSON."""
        return {
            "file": self.mapping.name or None,
            "fingerprint": self.fingerprint,
            "user_id": self.identify.user_id,
            "clear_traits": self.identify.clear,
            "orders": self.settings.orders,
        }

    def line(self, *path: str) -> str:
        """Return where a key of the file stands: "mapping.toml:12"."""
        file = self.settings.mapping_file
        return BUILT_IN if file is None else f"{file.name}:{file.line(path)}"

    def line_of(self, rule: Rule) -> str:
        return BUILT_IN if is_built_in(rule) else f"{self.mapping.name}:{rule.line}"


def rules_by(environment: Mapping[str, str], path: Path | None = None, name: str | None = None) -> Rules:
    """Return the rules of the file at `path`, else of MAPPING_FILE, else the built-in ones. Raises ConfigError.

    `name` is what messages call the file. SEGMENT_WRITE_KEY need not be set.
    """
    if path is None:
        return _rules(_settings(environment_of(environment)))
    return _rules_of(environment, lambda: read_toml(path), name)


def rules_in(environment: Mapping[str, str], data: bytes, name: str) -> Rules:
    """Return the rules of a file with these bytes and this name. Raises ConfigError."""
    return _rules_of(environment, lambda: toml_of(data, name), name)


def _rules_of(environment: Mapping[str, str], read: Callable[[], TomlFile], name: str | None) -> Rules:
    settings = _settings(environment_of(environment).but(MAPPING_FILE=""))
    try:
        file = read()
    except NotToml as not_toml:
        raise ConfigError(str(not_toml)) from None
    return _rules(replace(settings, mapping_file=replace(file, name=name or file.name)))


def _settings(environment: Environment) -> Settings:
    return command_settings(
        environment, unread=["CTP_CLIENT_SECRET"], SEGMENT_WRITE_KEY=_UNSET, SEGMENT_PUBLIC_API_TOKEN=_UNSET
    )


def _rules(settings: Settings) -> Rules:
    return Rules(settings, identify_rules_by(settings))


# What Segment would get, in a form that is the same at each run

Said = dict[str, Any]


class Told(NamedTuple):
    """What is said of a customer, as docs/cli.md describes it, and the traits that could not be read."""

    said: Said
    unreadable: Sequence[str] = ()


Tell = Callable[[Mapping[str, Any]], Told]

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


def teller(rules: IdentifyRules) -> Tell:
    """Return the function that gives what Segment would get for commercetools' JSON of a customer."""
    event_for = create_segment_client(_UNSET).event_for
    named = rules.mapping.named

    def tell(document: Mapping[str, Any]) -> Told:
        try:
            events = customer_events(read_customer(document, named), rules, "")
            built = [event_for(event)[0] for event in events.events]
        except Malformed as malformed:
            return Told({"refused": str(malformed)})
        except NotDelivered as refused:
            return Told({"refused": refused.error.message})
        said = comparable(built[0]) if built else {"ignored": events.reason}
        for event in built[1:]:
            said["track"] = event["event"]
        if events.suppression is not None and events.suppression.wanted:
            said["suppressed"] = events.suppression.user_id
        return Told(json.loads(json.dumps(said)), events.unreadable)

    return tell


ABSENT = object()


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
    def values(self) -> tuple[str, str]:
        """The two values, as columns show them."""
        return _shown(self.before), _shown(self.after)

    def document(self, before: str, after: str) -> dict[str, Any]:
        """Return it as JSON, the values under these names."""
        values = {before: self.before, after: self.after}
        return {"place": ".".join(self.place)} | {name: one for name, one in values.items() if one is not ABSENT}


def _shown(value: object) -> str:
    return "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)


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
    return "identify" if "traits" in said else "; ".join(f"{key}: {value}" for key, value in said.items())


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  # any JSON
    """Tell whether two values are the same JSON: 1 and 1.0 are one number, 1 and true are not the same."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# Files


class Unreadable(Exception):
    """A file cannot be used. The text begins with its name."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it, or raise Unreadable."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from None


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a file, or raise Unreadable."""
    with opened(path) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise Unreadable(f"{path.name} is larger than {_LARGEST // 1024 // 1024} MiB")
    return data


def checked(data: bytes, name: str, line: int | None = None) -> bytes:
    """Return bytes that are a JSON object, or raise Unreadable. `line` is theirs if they are one line of a file."""
    try:
        if is_deep(json_object(data, "this")):
            raise Unreadable(f"{name}: this is nested too deeply")
    except Malformed as malformed:
        of_data, reason = _fault_of(data)
        at = of_data if line is None else line
        where = name if at is None else f"{name}:{at}"
        raise Unreadable(f"{where}: {malformed}{reason}") from None
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


def write(path: Path, text: str) -> None:
    """Write a file, or raise Trouble."""
    try:
        path.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        wrong_path = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError)
        code = Exit.UNUSABLE if wrong_path else Exit.STOPPED
        raise Trouble(f"{path} cannot be written: {error.strerror}.", code) from None


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
