"""docs/libraries.md tells the truth: its versions are those that are installed, its tests and names are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "libraries.md").read_text()
PINNED = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][2:]
WHERE_LIBRARIES_ARE_BENT = [*(ROOT / "service" / "serving").glob("*.py"), ROOT / "service" / "segment" / "library.py"]


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_version_is_the_one_that_is_pinned(row: list[str]) -> None:
    library, version = row[2].split(" ")

    assert version == PINNED[library]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_tests_that_are_there(row: list[str]) -> None:
    tests = re.findall(r"`(tests/\S+\.py)::(\w+)`", row[3])

    assert tests
    for path, name in tests:
        functions = [node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(node, "name")]
        assert name in functions


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_what_is_in_the_code(row: list[str]) -> None:
    source = "\n".join(path.read_text() for path in WHERE_LIBRARIES_ARE_BENT)

    for quoted in re.findall(r"`([^`]+)`", row[0]):
        assert quoted.rpartition(".")[2] in source
