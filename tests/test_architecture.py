"""The structure: which module may import which, read from the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "service"

JUDGES = (
    *sorted(path for path in (ROOT / "playground").glob("*.py") if path.stem != "demo"),  # which checks a setting by it
    *(ROOT / "tests" / "emulation" / name for name in ("chaos.py", "faults.py")),
)
STANDING_ON_THE_REST = ("service.operations", "service.cli")


def files(*, without: tuple[str, ...] = ()) -> list[Path]:
    found = sorted(SERVICE.rglob("*.py"))
    return [path for path in found if not module_name(path).startswith(without)] if without else found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """Return what a file imports, wherever in it: modules, and the names taken from them."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full here, so that they can be read"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules_after(statement: str) -> set[str]:
    command = [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    return set(ran.stdout.splitlines())


def test_the_service_starts_without_grpc_or_cryptography_and_without_the_operators_tools() -> None:
    loaded = modules_after("import service.app")

    assert "service.integration" in loaded
    heavy = ("grpc", "google.cloud", "jwt", "cryptography", "typer", "rich")
    not_serving = ("playground", "service.operations", "service.cli", "tests")
    assert sorted(name for name in loaded if is_in(name, *heavy, *not_serving)) == []


@pytest.mark.parametrize(
    "module", ["service.config", "service.logs", "service.commercetools", "service.pubsub.envelope"]
)
def test_a_folder_of_pure_functions_makes_no_calls(module: str) -> None:
    loaded = modules_after(f"import {module}")

    assert sorted(name for name in loaded if is_in(name, "requests", "urllib3", "segment", "flask", "google")) == []


def test_gunicorns_first_process_imports_nothing_that_keeps_the_sockets_gevent_replaces_later() -> None:
    settings = "import os; os.environ.update(SEGMENT_WRITE_KEY='key', PUSH_AUTH='none')"
    loaded = modules_after(f"{settings}\nimport service.serving.gunicorn_conf")

    assert sorted(name for name in loaded if is_in(name, "requests", "urllib3", "segment", "google", "grpc")) == []


@pytest.mark.parametrize("path", sorted((SERVICE / "transformation").glob("*.py")), ids=lambda path: path.stem)
def test_the_transformation_knows_its_two_neighbours_and_nothing_that_acts(path: Path) -> None:
    allowed = (
        *("collections.abc", "dataclasses", "enum", "functools", "hashlib", "json", "operator", "re", "typing"),
        *("datetime", "difflib", "math", "unicodedata", "urllib.parse.quote"),
        *("service.commercetools.customer", "service.commercetools.notification", "service.commercetools.resource"),
        *("service.commercetools.money", "service.commercetools.order", "service.commercetools.payment"),
        *("service.segment.types", "service.config", "service.transformation"),
        *("service.serving.decoding.json_or", "service.serving.expressions", "service.serving.toml_file"),
        "importlib.resources.files",  # for the built-in mapping, which is in the package
    )

    assert [name for name in imports(path) if not is_in(name, *allowed)] == []


@pytest.mark.parametrize("path", sorted((SERVICE / "transformation").glob("*.py")), ids=lambda path: path.stem)
def test_the_transformation_catches_and_awaits_nothing(path: Path) -> None:
    acting = (ast.Try, ast.TryStar, ast.With, ast.Await, ast.Global)
    found = [type(node).__name__ for node in nodes_of(path) if isinstance(node, acting)]
    builtins = {node.id for node in nodes_of(path) if isinstance(node, ast.Name)}

    assert found == []
    assert builtins.isdisjoint({"open", "print", "input", "exec", "eval", "__import__"})


@pytest.mark.parametrize("path", files(without=STANDING_ON_THE_REST), ids=module_name)
def test_nothing_that_serves_knows_the_operators_jobs(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, *STANDING_ON_THE_REST)] == []


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_nothing_in_the_service_knows_the_playground_the_tests_or_the_benchmark(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "playground", "tests", "bench")] == []


@pytest.mark.parametrize("path", JUDGES, ids=module_name)
def test_what_judges_the_service_shares_no_code_with_it(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "service")] == []


def test_the_folders_are_those_of_the_design() -> None:
    assert {path.name for path in SERVICE.iterdir() if path.is_dir() and path.name != "__pycache__"} == {
        *("pubsub", "commercetools", "transformation", "segment", "delivery", "serving", "operations"),
    }
    assert {path.stem for path in SERVICE.glob("*.py")} == {
        *("__init__", "app", "cli", "config", "integration", "kinds", "library", "logs", "orders", "outcome"),
    }


@pytest.mark.parametrize("path", [path for path in files() if module_name(path) != "service.app"], ids=module_name)
def test_only_the_server_imports_the_app(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "service.app")] == []


def test_the_server_serves_the_app() -> None:
    assert 'wsgi_app = "service.app:create_app()"' in (SERVICE / "serving" / "gunicorn_conf.py").read_text()


@pytest.mark.parametrize(
    ("room", "may_know"),
    [
        pytest.param(
            "pubsub",
            (
                "service.pubsub",
                "service.config",
                "service.serving.decoding",
                "service.serving.publisher",
                "service.serving.upstream",
            ),
            id="pubsub",
        ),
        pytest.param(
            "commercetools",
            ("service.commercetools", "service.config", "service.serving", "service.delivery.group_commit"),
            id="commercetools",
        ),
        pytest.param(
            "segment",
            ("service.segment", "service.config", "service.serving", "service.delivery.group_commit"),
            id="segment",
        ),
        pytest.param("delivery", ("service.delivery", "service.serving.greenlets"), id="delivery"),
    ],
)
def test_a_folder_knows_its_outside_party_and_no_other(room: str, may_know: tuple[str, ...]) -> None:
    for path in sorted((SERVICE / room).glob("*.py")):
        ours = [name for name in imports(path) if is_in(name, "service")]

        assert [name for name in ours if not is_in(name, *may_know)] == [], module_name(path)


LIBRARIES_ARE_BENT_IN = ("service.serving", "service.segment.library")

PUBLIC_ALL_THE_SAME = {
    "_replace",  # of a named tuple: https://docs.python.org/3/library/collections.html#collections.somenamedtuple._replace
    "_typeshed",  # typeshed's names for types alone
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_ALL_THE_SAME


def private_names_of_others(source: str) -> list[str]:
    """Return the names with an underscore that a source takes from a module, an object or a superclass."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            found += [] if own else [ast.unparse(node)]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if any(map(is_private, alias.name.split(".")))]
        if isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in full if any(map(is_private, name.split(".")))]
    return found


@pytest.mark.parametrize(
    "path", [path for path in files() if not is_in(module_name(path), *LIBRARIES_ARE_BENT_IN)], ids=module_name
)
def test_no_private_name_of_a_library_is_used_outside_of_where_libraries_are_bent(path: Path) -> None:
    assert private_names_of_others(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import logging\nlogging._srcfile = None",
        "from segment.analytics.request import _session",
        "import gevent._socket3",
        "from urllib3._collections import HTTPHeaderDict",
        "class A(B):\n    def _load(self):\n        super()._load()",
        "self._pool._get_conn()",
    ],
)
def test_a_private_name_would_be_found(source: str) -> None:
    assert len(private_names_of_others(source)) == 1


def test_no_file_reads_the_environment_but_those_that_start_something() -> None:
    reading = {
        module_name(path)
        for path in files(without=STANDING_ON_THE_REST)
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }

    assert reading <= {"service.app", "service.library", "service.serving.gunicorn_conf"}
