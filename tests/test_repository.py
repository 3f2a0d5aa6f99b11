"""The files around the code: what they say of settings, versions and the repository is so."""

import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from service import __version__
from service.config import ConfigError, settings_from

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of apache.org/licenses/LICENSE-2.0.txt
SETTING = re.compile(r"^(# )?([A-Z_]+)=(.*)$", re.MULTILINE)


class Asked(Mapping[str, str]):
    """An environment that notes which names are asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def examples(*, optional: bool) -> dict[str, str]:
    return {name: value.strip('"') for comment, name, value in SETTING.findall(EXAMPLE) if optional or not comment}


def settings_that_are_read() -> set[str]:
    asked = Asked({"SEGMENT_WRITE_KEY": "a-write-key", "PUSH_AUTH": "none"})
    settings_from(asked)
    return asked.names


def test_the_example_has_every_setting_and_no_other() -> None:
    assert set(examples(optional=True)) == settings_that_are_read()


def test_the_page_has_every_setting_and_no_other() -> None:
    [table] = re.findall(r"^\| name \|.*?\n\n", CONFIGURATION, re.MULTILINE | re.DOTALL)
    first_cells = [line.split("|")[1] for line in table.strip().splitlines()[2:]]

    assert set(re.findall(r"`([A-Z_]+)`", "".join(first_cells))) == settings_that_are_read()


def test_the_example_loads_as_it_is_and_with_all_that_is_optional(tmp_path: Path) -> None:
    settings_from(examples(optional=False))

    (tmp_path / "mapping.toml").write_text("version = 1\n")
    every = {**examples(optional=True), "MAPPING_FILE": str(tmp_path / "mapping.toml")}
    assert settings_from(every).commercetools is not None
    with pytest.raises(ConfigError):
        settings_from({**every, "CTP_SCOPES": ""})


def test_a_shell_reads_the_example() -> None:
    script = "set -a; . ./.env.example; set +a; env"
    variables = subprocess.run(  # noqa: S603  # as docs/configuration.md says
        ["sh", "-c", script],  # noqa: S607
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={},
    ).stdout

    assert set(examples(optional=False).items()) <= {tuple(line.split("=", 1)) for line in variables.splitlines()}


def test_the_licence_is_apache_2_in_full() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert project["license"] == "Apache-2.0"


def test_the_changelog_and_readme_have_the_version() -> None:
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"Version {__version__}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-workflows", "workflows/ci.yml"), ("vendor.dependabot", "dependabot.yml")],
)
def test_githubs_files_are_what_github_reads(schema: str, file: str) -> None:
    checked = subprocess.run(  # noqa: S603  # with the schema that the tool brings
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / ".github" / file)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout


def test_actions_are_pinned_by_commit() -> None:
    uses = re.findall(r"uses: (\S+)", (ROOT / ".github" / "workflows" / "ci.yml").read_text())

    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", use) for use in uses)


def test_the_architecture_names_every_module_and_folder_of_the_service() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Folders")[2].partition("\n```\n\n")[0]
    names = set(re.findall(r"^  ([a-z_]+(?:\.py|/)) ", page, re.MULTILINE))
    found = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "service").glob("[!_]*")}

    assert names == {name for name in found if not name.endswith(".typed")}
    assert all((ROOT / top).is_dir() for top in re.findall(r"^([a-z]+)/ ", page, re.MULTILINE))


def test_every_real_document_of_the_tests_says_where_it_is_from() -> None:
    folder = ROOT / "tests" / "samples"
    rows = re.findall(r"^\| (\S+\.json) \| .+ \| .+ \|$", (folder / "INDEX.md").read_text(), re.MULTILINE)

    assert rows == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))
