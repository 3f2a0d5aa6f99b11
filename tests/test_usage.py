"""docs/usage.md is true of the installed wheel: every block prints what the page shows, and passes mypy --strict."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

import commercetools_segment
from playground.segment import SegmentStandIn
from tests.installed import environment, installed_in

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "usage.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
SENDS = {
    heading
    for heading, block in BLOCKS.items()
    if re.search(r"send_(?!\w*_with_client\()\w+\(", block.replace("send_with_retry", ""))
}
SETTINGS = {"SEGMENT_WRITE_KEY": "stand-in-write-key", "SEGMENT_USER_ID": "id", "CTP_PROJECT_KEY": "my-shop"}
END = "\0\n"
RUN_BLOCKS = r"""
import json, sys
for block in sys.stdin:
    exec(compile(json.loads(block), "a block of docs/usage.md", "exec"), {"__name__": "__main__"})
    print("\0", flush=True)
"""
IMPORT_ALL = "import importlib, sys\nfor name in sys.stdin.read().split(): importlib.import_module(name)"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    folder.mkdir(exist_ok=True)
    return installed_in(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a user's program, which has a package `service` of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "service").mkdir()
    (folder / "service" / "__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def segment() -> Iterator[SegmentStandIn]:
    with SegmentStandIn("stand-in-write-key") as stand_in:
        yield stand_in


def shown(block: str) -> list[str]:
    """Return what a block prints, as its comments say: behind a print, and in the lines below it."""
    lines = block.splitlines()
    of_prints = [re.search(r"^\s*print\(.*\)  # (.+)$", line) for line in lines]
    below = [re.search(r"^    # (.+)$", line) for line in lines]
    return [found[1] for pair in zip(of_prints, below, strict=True) for found in pair if found]


def test_the_page_has_a_block_in_each_section_that_sends() -> None:
    headings = re.findall(r"^## ([^\n]+)", PAGE, re.MULTILINE)

    assert [heading for heading in headings if heading not in BLOCKS] == ["Install", "Reference"]
    assert len(BLOCKS) == PAGE.count("```python")
    assert len(SENDS) == len(BLOCKS) - 4  # without the settings, the mock, the integration test, and the results


@pytest.mark.lengthy
def test_each_block_prints_what_the_page_shows(programs: Path, project: Path, segment: SegmentStandIn) -> None:
    printed, sent = {}, set()
    with subprocess.Popen(  # noqa: S603  # our own page
        [programs / "python", "-W", "error", "-c", RUN_BLOCKS],
        cwd=project,
        env=environment(**SETTINGS, SEGMENT_HOST=segment.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for heading, block in BLOCKS.items():
            segment.forget()
            child.stdin.write(json.dumps(block) + "\n")
            child.stdin.flush()
            lines = takewhile(lambda line: line not in {END, ""}, iter(child.stdout.readline, None))
            printed[heading] = [line.rstrip("\n") for line in lines]
            assert child.poll() is None, heading
            if segment.events:
                sent.add(heading)
        child.stdin.close()

    assert child.returncode == 0
    assert printed == {heading: shown(block) for heading, block in BLOCKS.items()}
    assert sent == SENDS


def test_every_block_passes_mypy_in_strict_mode(programs: Path, project: Path) -> None:
    for number, block in enumerate(BLOCKS.values()):
        (project / f"block{number}.py").write_text(block)

    mypy = subprocess.run(  # noqa: S603  # our own page
        [
            sys.executable,
            *("-m", "mypy", "--strict", f"--python-executable={programs / 'python'}"),
            f"--cache-dir={ROOT / '.mypy_cache' / 'usage'}",  # what it knows of the standard library, for the next run
            *(f"block{number}.py" for number in range(len(BLOCKS))),
        ],
        check=False,
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert mypy.returncode == 0, mypy.stdout + mypy.stderr


def test_a_folder_named_service_hides_the_package_of_that_name_as_the_page_says(programs: Path, project: Path) -> None:
    ran = run(programs, "import service.integration", cwd=project)

    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last in " ".join(PAGE.split())


def test_the_names_of_the_original_design_are_in_the_wheel(programs: Path, tmp_path: Path) -> None:
    names = """
from service.commercetools import validate_payload
from service.integration import send_batch_to_segment, send_customer_to_segment
from service.integration import send_customer_to_segment_with_client, send_if_valid
from service.segment import SegmentIdentifyPayload, SegmentIntegrationResult, is_error, is_success
from service.segment import create_segment_client
from service.transformation import transform_customer_to_segment
"""

    assert run(programs, names, cwd=tmp_path).returncode == 0


def test_the_wheel_says_its_license_its_page_and_its_python(programs: Path) -> None:
    [metadata] = programs.parent.glob("lib/python*/site-packages/commercetools_segment-*.dist-info/METADATA")

    assert {
        "License-Expression: Apache-2.0",
        "Description-Content-Type: text/markdown",
        "Requires-Python: >=3.11",
        "Classifier: Typing :: Typed",
    } <= set(metadata.read_text().splitlines())


def test_without_extras_everything_that_is_imported_anywhere_is_installed(programs: Path, tmp_path: Path) -> None:
    ours = {module(path) for path in (ROOT / "service").rglob("*.py")} - {"service.serving.gunicorn_conf"}
    others = {name for path in (ROOT / "service").rglob("*.py") for name in imported(path)}
    others -= {"_typeshed", "_typeshed.wsgi"}  # for type checkers alone

    ran = run(programs, IMPORT_ALL, "\n".join(sorted(ours | others)), cwd=tmp_path)

    assert ran.returncode == 0, ran.stderr


def test_without_extras_the_command_says_what_a_mapping_file_with_expr_needs(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('version = 1\n[identify.traits]\ntier = { expr = "custom.fields.tier" }\n')

    ran = subprocess.run(  # noqa: S603  # our own command
        [programs / "commercetools-segment", "mapping", "show"],
        check=False,
        cwd=tmp_path,
        env=environment(MAPPING_FILE="mapping.toml", SEGMENT_USER_ID="id"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 2
    assert "jmespath" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_reference_has_every_public_function_with_its_arguments() -> None:
    reference = PAGE.split("## Reference")[1]
    functions = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(commercetools_segment).items()
        if name in commercetools_segment.__all__ and inspect.isfunction(value)
    }
    documented = {
        name: [word for word in re.findall(r"(\w+)(?:=[^,]*)?(?:, |$)", arguments) if word != "*"]
        for name, arguments in re.findall(r"`(\w+)\(([^`]*)\)`", reference)
    }

    assert documented == functions


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in commercetools_segment.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []


def run(programs: Path, program: str, given: str = "", *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own words
        [programs / "python", "-c", program],
        check=False,
        cwd=cwd,
        env=environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
