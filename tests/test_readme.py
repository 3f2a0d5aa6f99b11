"""README is the front door: what it tells a user to type does what it says."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from playground.ports import ReservedPort

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
HERE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SEGMENT_", "CTP_", "MAKE", "MFLAGS")) and name not in ("VENV", "PYTHON", "BIN")
}
"""This environment without settings and without what a make around this run was told."""
NOT_IN_A_TARBALL = (".git", ".venv*", ".hypothesis", ".*_cache", "site", "*.egg-info", ".terraform")


def the_command(beginning: str, page: str = README) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [command] = [line for block in blocks for line in block.splitlines() if beginning in line]
    return shlex.split(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the repository as from a tarball, in a folder with blanks and with nothing beside it."""
    copy = tmp_path_factory.mktemp("clone") / "a shop's folder"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_IN_A_TARBALL))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def make(*arguments: str) -> list[str]:
    """Return a command of make for which this run's packages are installed."""
    return ["make", *(f"--assume-old=.venv/.{done}" for done in ("packages", "installed", "ready")), *arguments]


def test_every_make_target_that_a_page_names_exists(folder: Path) -> None:
    pages = README + (ROOT / "CONTRIBUTING.md").read_text() + CONFIGURATION + CLI
    targets = set(re.findall(r"(?:^|`|=none )make ([a-z-]+)", pages, re.MULTILINE))

    made = subprocess.run(  # noqa: S603
        make("--dry-run", *sorted(targets)), check=False, cwd=folder, capture_output=True, text=True, env=HERE
    )

    assert {"demo", "test", "try", "serve", "lint", "setup", "lock", "docs"} <= targets
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_make_alone_lists_every_target(arguments: tuple[str, ...], folder: Path) -> None:
    targets = [name for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for name in line.split()]

    listed = subprocess.run(  # noqa: S603
        make(*arguments), check=True, cwd=folder, capture_output=True, text=True, env=HERE
    ).stdout

    assert sorted(line.split()[0] for line in listed.splitlines()) == sorted(targets)
    assert all(len(line.split()) > 1 for line in listed.splitlines())


def test_a_virtual_environment_in_a_path_with_blanks_is_refused_in_one_sentence(folder: Path) -> None:
    made = subprocess.run(  # noqa: S603
        make("VENV=a b"), check=False, cwd=folder, capture_output=True, text=True, env=HERE
    )

    assert made.returncode != 0
    assert "VENV must be a path without blanks" in made.stderr


@pytest.mark.lengthy
def test_the_demo_ends_with_nothing_lost_and_nothing_doubled(folder: Path) -> None:
    demo = subprocess.run(  # noqa: S603
        make(*the_command("make demo")[1:]),
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env=HERE,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.startswith("Starting Pub/Sub, commercetools, Segment (all on this machine) and the service")
    customer, event = re.findall(r"^\{\n.*?^\}$", demo.stdout, re.MULTILINE | re.DOTALL)
    assert json.loads(event)["userId"] == json.loads(customer)["id"]
    assert "each sign-up is two messages" in demo.stdout
    assert re.search(r"lost +0 ", demo.stdout)
    assert re.search(r"doubled +0 ", demo.stdout)
    assert re.search(r"wrong +0 ", demo.stdout)
    money = re.findall(r"^  [A-Z]{3} +(\S+) +(\S+)$", demo.stdout, re.MULTILINE)
    assert [told for told, _ in money] == [books for _, books in money] != []


def test_the_demo_does_not_send_to_a_real_source_unasked(folder: Path) -> None:
    demo = subprocess.run(  # noqa: S603
        make("demo", "OPTIONS=--to-segment"),
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**HERE, "SEGMENT_WRITE_KEY": "a-write-key", "SEGMENT_HOST": "http://127.0.0.1:9"},
    )

    assert demo.returncode != 0
    assert demo.stdout.endswith("This is no terminal: use --yes.\n")


@pytest.mark.lengthy
def test_tests_run_in_a_folder_with_blanks_without_git_and_without_anything_beside_it(folder: Path) -> None:
    tests = [
        "tests/test_docs_commands.py",
        "tests/test_docs_links.py",
        "-k",
        "(operations and uses_no_secret) or link_of_a_page",
    ]

    ran = subprocess.run(  # noqa: S603
        [".venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-q", *tests],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        env={**HERE, "PYTEST_ADDOPTS": ""},
    )

    assert ran.returncode == 0, ran.stdout


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run a target until the context is left; then Ctrl-C."""
    with subprocess.Popen(  # noqa: S603  # README's own command
        make(*arguments),
        cwd=folder,
        env={**HERE, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=30)


@contextmanager
def five_free_ports() -> Iterator[int]:
    """Give the first of five neighbouring ports that were free a moment ago."""
    for first in range(20_000, 30_000, 5):
        try:
            for number in range(first, first + 5):
                ReservedPort(number).close()
        except OSError:
            continue
        yield first
        return


def until(process: subprocess.Popen[str], end: str) -> str:
    """Return what a process writes, up to the line that begins with this."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(end):
            return "".join(lines)
    pytest.fail("it ended:\n" + "".join(lines))


@pytest.mark.lengthy
def test_readmes_curl_is_answered_200_and_the_event_is_shown(folder: Path, tmp_path: Path) -> None:
    curl, option, body, address = the_command("curl")
    shown = re.search(r"^curl .*?^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert (curl, option, address) == ("curl", "-d", "localhost:8080")
    assert shown is not None
    with (
        five_free_ports() as port,
        running(folder, "try", f"OPTIONS=--port={port}") as world,
        requests.Session() as http,
    ):
        settings = re.findall(r"^export .*$", until(world, "Enter changes"), re.MULTILINE)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}  # curl's

        answers = [http.post(f"http://127.0.0.1:{port}", body, headers=headers, timeout=30) for _ in range(2)]
        told = until(world, "}").partition("Segment got: ")[2]
        events = http.get(f"http://127.0.0.1:{port + 1}/events", timeout=30).json()
        script = "\n".join([*settings, "commercetools-segment backfill"])
        backfill = subprocess.run(  # noqa: S603  # as in README's second terminal
            ["sh", "-c", script],  # noqa: S607  # whose PATH is a part of it
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=HERE,
        )
        assert world.stdin is not None
        world.stdin.write("\n")
        world.stdin.flush()
        until(world, "In the shop, a customer")

    assert [answer.status_code for answer in answers] == [200, 204]
    assert answers[0].json() == {"success": True}
    event = json.loads(told)
    assert events == [event]
    of_this_run = {"messageId": event["messageId"], "context": event["context"]}
    expected = {"integrations": {}, "anonymousId": None, **json.loads(shown[1]), **of_this_run}
    expected["traits"]["createdAt"] = event["traits"]["createdAt"]
    assert event == expected
    assert backfill.returncode == 0, backfill.stdout + backfill.stderr


def test_a_port_in_use_is_told_in_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        tried = subprocess.run(  # noqa: S603
            make("try", f"OPTIONS=--port={taken}"),
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            env=HERE,
        )

    assert tried.returncode != 0
    assert tried.stderr.startswith(f"Error: a port from {taken} to {taken + 4} cannot be used")
    assert not tried.stdout


@pytest.mark.lengthy
def test_the_service_started_by_hand_answers_as_the_page_shows(folder: Path) -> None:
    *settings, program, serve = the_command("make serve", CONFIGURATION.partition("## Run it alone")[2])
    curl, option, body, address = the_command("curl", CONFIGURATION)
    assert (program, serve, curl, option, address) == ("make", "serve", "curl", "-d", "localhost:8080/")
    answer = re.search(r"^curl .*?^```json\n(.*?)^```", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert answer is not None
    environment = dict(setting.split("=", 1) for setting in settings)
    with (
        ReservedPort() as port,
        running(folder, serve, **environment, PORT=str(port.number)) as service,
        requests.Session() as http,
    ):
        patient = requests.adapters.Retry(total=None, connect=200, backoff_factor=0.01, backoff_max=0.1)
        http.mount("http://", requests.adapters.HTTPAdapter(max_retries=patient))
        response = http.post(f"http://127.0.0.1:{port.number}/", json=json.loads(body), timeout=20)
        assert service.stdout is not None
        refused = next(line for line in service.stdout if "Refused" in line)

    assert response.status_code == 400
    assert response.json() == json.loads(answer[1])
    assert "Refused: the message's data is not JSON" in refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"PUSH_AUTH": ""}, " PUSH_AUTH must be set, to one of iam, oidc, none.", id="missing"),
        pytest.param({"SEGMENT_REGION": "mars"}, " SEGMENT_REGION must be one of us, eu.", id="unknown"),
        pytest.param(
            {"PUSH_AUTH": "", "SEGMENT_WRITE_KEY": "", "SEGMENT_REGION": "mars"},
            "\nSEGMENT_REGION must be one of us, eu.\nSEGMENT_WRITE_KEY must be set.\n"
            "PUSH_AUTH must be set, to one of iam, oidc, none.",
            id="several",
        ),
    ],
)
def test_settings_that_will_not_do_stop_the_start_with_a_sentence_about_each(change: dict[str, str], said: str) -> None:
    service = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "python:service.serving.gunicorn_conf"],
        check=False,
        cwd=ROOT,
        env={**os.environ, "SEGMENT_WRITE_KEY": "a-write-key", "PUSH_AUTH": "none", **change},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert service.returncode != 0
    assert (service.stdout + service.stderr).strip() == f"The service cannot start:{said}"


def test_readme_is_short_and_says_what_a_newcomer_looks_for() -> None:
    assert len(README.splitlines()) <= 125
    for word in ("Syncs", "Twilio Segment", "CDP", "Connect connector", "Source Function", "reverse ETL", "mermaid"):
        assert word in README
    for word in ("Linux", "macOS", "WSL", "Version 0.", "Apache-2.0", "analytics.identify"):
        assert word in README
