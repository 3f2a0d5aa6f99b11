"""mapping suggest: a mapping file with a rule for each custom field, written from the shop's Types."""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import count, islice
from pathlib import Path

from rich.text import Text

from service.commercetools.client import CommercetoolsProject, RequestRefused
from service.commercetools.resource import CannotRead
from service.config import CLIENT, ConfigError
from service.operations import (
    UNREAD,
    Exit,
    Output,
    Trouble,
    can_show,
    cannot_read,
    command_settings,
    commercetools_of,
    environment_of,
)
from service.operations.types import (
    ENUMS,
    OBJECTS,
    TYPE,
    CustomField,
    Fields,
    Kind,
    all_types,
    fields_of,
    toml_escape,
    toml_key,
    toml_text,
)
from service.serving.decoding import Malformed
from service.transformation.mapping_file import built_in_mapping
from service.transformation.values import As

_MOST_TRAITS = 300  # Engage drops an identify with more: https://www.twilio.com/docs/segment/unify/product-limits
_MOST_BYTES = 200 * 1024  # of the 256 KiB that a mapping file can have; what would go beyond is left out
_MOST_CATEGORIES = 30
_LONGEST_LABEL = 50
_LONGEST_CATEGORY = 34
_KEY = re.compile(r"[A-Za-z0-9_-]{2,60}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_CONSENT = re.compile(
    r"consent|gdpr|dsgvo|opt.?in|permission|einwillig|zustimm|tracking|advertis|analytic|marketing|cookie|privacy",
    re.IGNORECASE,
)
_OF = {
    "customer": ("custom", "custom", "customers"),
    "address": ("shippingAddress.custom", "shippingAddress", "addresses, here of the shipping address"),
    "customer-group": ("customerGroup.custom", "customerGroup", "customer groups"),
}
"""The path to a resource's custom fields, the beginning of a trait whose plain name is taken, and the words for it."""


def run(output: Output, environment: Mapping[str, str], path: Path | None, *, force: bool) -> Exit:
    """Print the suggestion, or write it to a file. Raises ConfigError and Trouble."""
    if path is not None and path.exists() and (path.is_dir() or not force):
        raise ConfigError(f"{path.name} is there already: choose another --output, or add --force to replace it.")
    # A file that is to be replaced may be one that does not load.
    settings = command_settings(
        environment_of(environment).but(MAPPING_FILE=""),
        needs=CLIENT,
        unread=["SEGMENT_PUBLIC_API_TOKEN"],
        SEGMENT_WRITE_KEY=UNREAD,
    )
    client = commercetools_of(settings)
    project = CommercetoolsProject(client)
    fields = _read(project, client.project_key)
    languages = _languages(project)
    if not languages:
        output.remark('The project\'s languages cannot be read, which needs view_project_settings: "en" is a guess.')
    text = suggestion(fields, languages, client.project_key)
    if path is not None:
        draft = path.with_name(f"{path.name}.part")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
        output.remark(f"Written to {path}. MAPPING_FILE={path} commercetools-segment check compares it with the Types.")
    elif output.as_json:
        output.document({"toml": text})
    else:
        encoding = getattr(output.results.file, "encoding", None) or "utf-8"
        output.results.print(Text(text if can_show(text, encoding) else _ascii(text)), soft_wrap=True, end="")
    return Exit.DONE


def _read(project: CommercetoolsProject, project_key: str) -> Fields:
    try:
        return fields_of(all_types(lambda after: project.page_after(TYPE, after).documents))
    except Malformed as malformed:
        raise Trouble(f"What answered is not commercetools: {malformed}.") from None
    except CannotRead as problem:
        if isinstance(problem, RequestRefused) and problem.status == HTTPStatus.FORBIDDEN:
            raise Trouble(
                "commercetools answered 403: the API client may not read Types. Give this command one whose scopes "
                f"have view_types:{project_key}, in CTP_CLIENT_ID, CTP_CLIENT_SECRET and CTP_SCOPES."
            ) from None
        raise cannot_read(problem) from None


def _languages(project: CommercetoolsProject) -> list[str]:
    """Return the project's languages, none if they cannot be read: https://docs.commercetools.com/api/projects/project."""
    try:
        status, document = project.ask("GET")
    except CannotRead:
        return []
    found = document.get("languages") if status == HTTPStatus.OK else None
    return [str(each) for each in found] if isinstance(found, list) else []


def _ascii(text: str) -> str:
    r"""Return a file of the same meaning in ASCII: TOML reads \u00fc in a text, and a comment has no meaning."""
    return re.sub(r"[^\x00-\x7f]", lambda found: toml_escape(found[0]), text)


# The text


def suggestion(fields: Fields, languages: Sequence[str], project_key: str) -> str:
    """Return the text of a mapping file that loads, and agrees with these custom fields."""
    locales = list(dict.fromkeys(each for each in languages if _LOCALE.fullmatch(each)))
    said = ", ".join(toml_text(locale) for locale in locales or ["en"])
    file = _File()
    file.add(f"# Suggested from the Types of {project_key}: a trait for each custom field, beside the built-in traits.")
    file.add("# Delete the rules of what Segment is not to get. A trait can have another name.")
    file.add("version = 1", "", "[identify]")
    file.add(f"locales = [{said}]  # for localized texts: the first that is there")
    file.add("", "[identify.traits]")
    names = _Names()
    for of, by_name in fields.items():
        if by_name:
            file.add("", f"# Custom fields of {_OF[of][2]}")
        for found in by_name.values():
            _add_rules(file, names, of, found)
    if file.left_out:
        file.add("", f"# {file.left_out} lines with more fields or values are left out: the file would be too large.")
    file.add(*_consent(list(fields["customer"].values())))
    return file.text


class _File:
    """The lines of a file, of which some can be left out so that it does not become too large."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = 0
        self.left_out = 0

    def add(self, *lines: str) -> None:
        self._lines += lines
        self._size += sum(map(_most_bytes, lines))

    def add_if_there_is_room(self, line: str) -> None:
        if self._size + _most_bytes(line) < _MOST_BYTES:
            self.add(line)
        else:
            self.left_out += 1

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _most_bytes(line: str) -> int:
    """Return what a line takes at most in any encoding: Python escapes a character in 4 to 10, TOML in 6 or 10."""
    return 3 * len(line.encode("ascii", "backslashreplace")) // 2 + 1


class _Names:
    """Names for traits: no two are one to Segment, and none is that of a built-in trait."""

    def __init__(self) -> None:
        built_in = [trait.name for trait in built_in_mapping().identify.traits]
        self._taken = {_folded(name) for name in (*built_in, "id", "title", "segment_consent_preference")}
        self.free = _MOST_TRAITS - len(built_in)

    def take(self, name: str, prefix: str, endings: Sequence[str]) -> list[str]:
        """Return a trait's name with each of these endings, where none of them is taken."""
        longer = f"{prefix}{name[0].upper()}{name[1:]}"
        first = [name] if name[0].isalpha() or name[0] == "_" else []
        names: Iterator[str] = (f"{longer}_{number}" for number in count(2))
        for candidate in (*first, longer, *islice(names, len(self._taken) + 1)):
            found = [f"{candidate}{ending}" for ending in endings]
            if self._taken.isdisjoint(map(_folded, found)):
                self._taken |= {_folded(each) for each in found}
                self.free -= len(found)
                return found
        raise AssertionError  # there are more candidates than taken names


def _folded(name: str) -> str:
    """Return the same text for all names that Segment may write in the same way."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_CURRENCY = "Currency"
_AS = {
    Kind.BOOLEAN: As.BOOLEAN,
    Kind.LOCALIZED_STRING: As.LOCALIZED,
    Kind.NUMBER: As.NUMBER,
    Kind.DATE: As.DATE,
    Kind.DATE_TIME: As.DATETIME,
    Kind.REFERENCE: As.ID,
    Kind.MONEY: As.MONEY,
}


def _add_rules(file: _File, names: _Names, of: str, found: CustomField) -> None:
    prefix, longer, _ = _OF[of]
    path = f"{prefix}.{found.name}"
    remark = f"  # {_remark(found)}"
    pair = found.kind is Kind.MONEY and not found.is_set
    endings = ("", _CURRENCY) if pair else ("",)
    kinds = (As.AMOUNT, As.CURRENCY) if pair else (_as(found),)
    if found.kind is Kind.UNKNOWN or names.free < len(endings):
        file.add_if_there_is_room(f'# {toml_key(found.name)} = "{path}"{remark}')
        return
    traits = names.take(found.name, longer, endings)
    for trait, kind in zip(traits, kinds, strict=True):
        short = f'"{path}"' if kind is None else f'{{ from = "{path}", as = "{kind}" }}'
        file.add(f"{toml_key(trait)} = {short}{remark}")
    if found.labels and found.kind in ENUMS:
        values = ", ".join(f"{toml_key(key)} = {toml_text(label)}" for key, label in found.labels.items())
        given = f'from = "{path}"' + (f', as = "{kinds[0]}"' if kinds[0] is not None else "")
        file.add_if_there_is_room(f"# {toml_key(traits[0])} = {{ {given}, values = {{ {values} }} }}  # with its texts")


def _as(found: CustomField) -> As | None:
    if found.is_set and found.kind not in OBJECTS:
        return As.LIST
    return _AS.get(found.kind)


def _remark(found: CustomField) -> str:
    of_type = f", of the Type {found.of_type}" if _KEY.fullmatch(found.of_type) else ""
    return f"{_on_one_line(found.label) or found.name}: {found.described}{of_type}"


def _on_one_line(text: str) -> str:
    """Return a text for a comment: TOML allows no control character in one."""
    line = "".join(each if each.isprintable() else "?" for each in " ".join(text[: 10 * _LONGEST_LABEL].split()))
    return line if len(line) <= _LONGEST_LABEL else f"{line[:_LONGEST_LABEL]}…"


def _consent(fields: Sequence[CustomField]) -> Iterator[str]:
    """Return a table [consent], as a comment, if Boolean fields look like consent.

    A newsletter is a trait: https://www.twilio.com/docs/segment/privacy/consent-management/consent-faq
    """
    booleans = [found for found in fields if found.kind is Kind.BOOLEAN and not found.is_set]
    looking = [found for found in booleans if _CONSENT.search(found.name) or _CONSENT.search(found.label[:1000])]
    if not looking:
        return
    yield from (
        "",
        "# These fields look like consent. The names must be the ids of Segment's categories; every event then",
    )
    yield from ("# carries all of them.", "# [consent]", "# unknown = false  # what an unset field means")
    yield "# [consent.categories]"
    taken: set[str] = set()
    for found in looking[:_MOST_CATEGORIES]:
        category = next(name for name in _categories(found.name) if name not in taken)
        taken.add(category)
        yield f'# {toml_key(category)} = "custom.{found.name}"  # {_remark(found)}'


def _categories(name: str) -> Iterator[str]:
    """Return names for a category, the best first. The first character is no digit, and none has more than 34."""
    bare = re.sub(r"consents?|gdpr|permission|opt-?in", "", name, flags=re.IGNORECASE).strip("-_")
    for each in (bare, name):
        if each and not each[0].isdigit():
            yield f"{each[0].upper()}{each[1:_LONGEST_CATEGORY]}"
    yield from (f"Category{number}" for number in count(1))
