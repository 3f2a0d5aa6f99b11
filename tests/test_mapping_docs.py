"""The pages tell the truth about the mapping: their files load, their words are all that there are."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from service.cli import app
from service.config import UserIdField
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules, transform_customer_to_segment
from service.transformation.mapping import CHANGES
from service.transformation.mapping_file import Mistakes, built_in_mapping
from service.transformation.paths import ADDRESS_FIELDS, CUSTOMER_FIELDS, GROUP_FIELDS
from service.transformation.rules import shop_mapping

ROOT = Path(__file__).parents[1]
CUSTOMERS = (ROOT / "docs" / "customers.md").read_text()
PAGE = (ROOT / "docs" / "mapping.md").read_text()
TRANSFORMATION = ROOT / "service" / "transformation"
DEFAULTS = (TRANSFORMATION / "defaults.toml").read_text()
SCHEMA: dict[str, Any] = json.loads((TRANSFORMATION / "mapping.schema.json").read_text())


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


*FILES, WRONG = blocks(PAGE, "toml")
OF_OTHER_PAGES = [
    block for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] for block in blocks(path.read_text(), "toml")
]


@pytest.mark.parametrize("text", [text for text in OF_OTHER_PAGES if text != WRONG])
def test_every_file_in_the_documents_loads(text: str) -> None:
    assert shop_mapping(toml_of(text.encode(), "mapping.toml")).identify.traits


def test_the_mistakes_are_told_as_the_page_shows_them() -> None:
    [shown] = re.findall(r"^```\n(mapping\.toml:.*?)\n^```", PAGE, re.MULTILINE | re.DOTALL)

    with pytest.raises(Mistakes) as raised:
        shop_mapping(toml_of(WRONG.encode(), "mapping.toml"))

    assert str(raised.value) == shown


def test_the_file_of_the_tutorial_gives_what_the_page_shows() -> None:
    given, expected = (json.loads(block) for block in blocks(PAGE, "json"))
    rules = IdentifyRules(UserIdField.ID, mapping=shop_mapping(toml_of(FILES[0].encode(), "mapping.toml")))

    payload = transform_customer_to_segment(given, rules)

    said = {"userId": payload["user_id"], "traits": payload["traits"], "context": payload["context"]}
    assert list(said["traits"]) == list(expected["traits"])
    assert said == expected


@pytest.mark.parametrize("line", [line for block in blocks(PAGE, "sh") for line in block.splitlines()])
def test_the_commands_of_the_page_can_be_typed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers").mkdir()
    (tmp_path / "customers" / "mira.json").touch()
    program, *arguments = shlex.split(line.partition(" > ")[0])
    if program == "export":
        assert {argument.partition("=")[0] for argument in arguments} <= {"MAPPING_FILE", "SEGMENT_USER_ID"}
        return
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]

    assert program == "commercetools-segment"
    with command.make_context(command.name, arguments):  # raises for what it does not take
        pass  # and closes its files


def words_of(schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Return the keys that a schema knows, in full for those outside of a rule, and the words that values can be."""
    for name, inner in schema.get("properties", {}).items():
        key = f"{at}.{name}" if at else name
        yield key
        yield from words_of(inner, key)
    yield from (word for word in schema.get("enum", ()) if isinstance(word, str))
    for several in ("oneOf", "anyOf", "allOf"):
        for inner in schema.get(several, ()):
            yield from words_of(inner, at)


def vocabulary() -> set[str]:
    of_rules = [words_of(SCHEMA["definitions"][name]) for name in ("rule", "category")]
    paths = {*CUSTOMER_FIELDS, *ADDRESS_FIELDS, *(f"customerGroup.{name}" for name in GROUP_FIELDS)}
    return {*words_of(SCHEMA), *(word for words in of_rules for word in words), *CHANGES, *paths}


@pytest.mark.parametrize("word", sorted(vocabulary()))
def test_every_word_of_a_mapping_file_is_on_the_page(word: str) -> None:
    assert any(written in PAGE for written in (f"`{word}`", f'`"{word}"`', f"\n[{word}]"))


def rows_of_the_built_in_traits() -> list[str]:
    """Return a row for each rule of defaults.toml: the trait, the paths, and the comment of the line."""
    lines = DEFAULTS.splitlines()
    rows = []
    for trait in built_in_mapping().identify.traits:
        for part, rule in trait.parts.items():
            name = f"{trait.name}.{part}" if part else trait.name
            paths = ", else ".join(f"`{path.text}`" for path in rule.paths)
            rows.append(
                f"| `traits.{name}` | {paths} | {lines[rule.line - 1].partition('#')[2].strip()} |".replace("  ", " ")
            )
    return rows


def test_the_table_of_customers_is_the_built_in_mapping() -> None:
    [shown] = re.findall(r"^\| Segment \|.*?\n\n", CUSTOMERS, re.MULTILINE | re.DOTALL)

    assert [row for row in shown.splitlines() if row.startswith("| `traits.")] == rows_of_the_built_in_traits()
