"""The commands of docs/deploy.md and docs/operations.md can be typed as they are, in their order, in one shell.

Each page is run whole by a shell, with programs in place of gcloud, terraform, curl and our own command that only note
how they were called. So what is held against each program's own grammar is what it would really get: variables, quotes,
pipes and all.
"""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer

from service.cli import app

ROOT = Path(__file__).parent.parent
PAGES = ["deploy", "operations"]
NOTED = ("gcloud", "terraform", "curl", "make", "commercetools-segment")
SHELL = {"deploy": "sh", "operations": "bash"}
COMMANDS_OF_TERRAFORM = {
    "init": {"-backend-config", "-reconfigure", "-input"},
    "apply": {"-target", "-var-file"},
    "plan": set(),
    "destroy": {"-var-file"},
    "output": {"-raw"},
}
MOST_COMMANDS = 15  # to the first event

# Each call is its arguments and a record separator, each with a NUL after it, in one write: both sides of a pipe run at
# the same time. What is piped is read, so that its writer does not end with SIGPIPE. gcloud answers what scripts/deploy
# and scripts/put-secret go on with.
NOTE = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" "$(printf '\\036')" >> "$NOTES"
[ ! -p /dev/stdin ] || cat > /dev/null
[ "${0##*/}" != curl ] || echo '{"access_token": "token", "version": 3}'
[ "${0##*/}" = gcloud ] || exit 0
case "$*" in
  *"value(status)"*) echo SUCCESS ;;
  *digest*) echo sha256:0000000000000000000000000000000000000000000000000000000000000000 ;;
  *"access latest"*) ;;
  *) echo projects/1/secrets/s/versions/2 ;;
esac
"""


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def typed(page: str) -> list[list[str]]:
    return type_out(page)


@cache
def type_out(page: str) -> list[list[str]]:
    """Type a page's commands in a folder like the repository's; return what the programs were called with."""
    with TemporaryDirectory() as folder:
        return _type_out_in(Path(folder), page)


def _type_out_in(folder: Path, page: str) -> list[list[str]]:
    shutil.copytree(
        ROOT / "infra", folder / "infra", ignore=shutil.ignore_patterns(".terraform*", "tests", "terraform.tfvars")
    )
    if page == "operations":  # whose first step is done by then
        shutil.copy(ROOT / "infra" / "example.tfvars", folder / "infra" / "terraform.tfvars")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("Dockerfile", "cloudbuild.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "scripts" / "read-secret").write_text("#!/bin/sh\nprintf typed-by-hand\n")
    programs = folder / "programs"
    programs.mkdir(parents=True)
    for name in NOTED:
        program = programs / name
        program.write_text(NOTE)
        program.chmod(0o755)
    notes = folder / "notes"
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    script = folder / "page.sh"
    script.write_text("set -eu\n" + "\n".join(blocks))
    by_hand = folder / "typed-by-hand"
    by_hand.write_text("typed-by-hand\n" * 9)

    with by_hand.open() as keyboard:
        run = subprocess.run(  # noqa: S603  # our own page, without the programs that reach out
            [SHELL[page], str(script)],
            check=False,
            cwd=folder,
            env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), "NOTES": str(notes)},
            stdin=keyboard,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert run.returncode == 0, run.stderr
    return [call.split("\0")[:-1] for call in notes.read_text().split("\036\0")[:-1]]


def of(program: str, typed: list[list[str]]) -> list[list[str]]:
    return [arguments for name, *arguments in typed if name == program]


def test_every_block_of_a_page_is_a_kind_that_is_checked(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()

    assert set(re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]) <= {"sh", "query"}


def test_the_first_event_needs_as_many_commands_as_the_page_says() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    until = text.partition("## The customers from before")[0]
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", until, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]

    assert f"{len(commands)} commands lead to the first event" in text
    assert len(commands) <= MOST_COMMANDS


def test_no_setting_is_in_the_file_twice_however_often_the_page_is_followed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    file = tmp_path / "infra" / "terraform.tfvars"
    file.parent.mkdir()
    shutil.copy(ROOT / "infra" / "example.tfvars", file)
    edits = re.findall(r"^sed .*infra/terraform\.tfvars$", text, re.MULTILINE)

    for edit in edits * 2:
        subprocess.run(  # noqa: S603  # our own page
            ["sh", "-euc", edit],  # noqa: S607  # as it says
            check=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "OLD_REGION": "europe-west1", "NEW_REGION": "europe-west4"},
        )

    names = re.findall(r"^ *(\w+) *=", file.read_text(), re.MULTILINE)
    names.remove("region")  # commercetools has one too
    assert len(names) == len(set(names))
    assert ">> infra" not in text
    for setting in (
        'region = "europe-west4"',
        'orders = "on"',
        "  SEGMENT_WRITE_KEY        = 2",
        "CTP_CLIENT_SECRET        = 2",
    ):
        assert setting in file.read_text()


def test_a_page_uses_no_secret_as_an_argument(typed: list[list[str]]) -> None:
    assert not [call for call in typed if "typed-by-hand" in call]


@pytest.mark.skipif(
    os.environ.get("CHECK_INFRA") != "1" or shutil.which("gcloud") is None,
    reason="runs with make check-infra, where there is a gcloud",
)
def test_gcloud_knows_every_command_and_every_flag(tmp_path: Path) -> None:
    commands = tmp_path / "commands.json"
    typed = [call for page in PAGES for call in type_out(page)]
    calls = [" ".join(["gcloud", *map(_quoted, arguments)]) for arguments in of("gcloud", typed)]
    quoted = list(dict.fromkeys(calls))
    commands.write_text(json.dumps([{"command_string": command} for command in quoted]))

    linted = subprocess.run(  # noqa: S603  # gcloud's own lint, offline
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={commands}"],  # noqa: S607  # from the PATH
        check=True,
        capture_output=True,
        text=True,
        timeout=110,
    )

    found = json.loads(linted.stdout)
    assert quoted
    assert len(found) == len(quoted)
    assert not [(each["command_string"], each["error_message"]) for each in found if not each["success"]]


def test_terraform_is_asked_for_what_is_there(typed: list[list[str]]) -> None:
    resources = "\n".join(path.read_text() for path in (ROOT / "infra").glob("*.tf"))

    for folder, command, *options in of("terraform", typed):
        assert folder in {"-chdir=infra", "-chdir=infra/commercetools"}
        for option in options:
            if command == "output" and not option.startswith("-"):
                assert f'output "{option}"' in resources
                continue
            name, _, value = option.partition("=")
            assert name in COMMANDS_OF_TERRAFORM[command]
            if name == "-var-file":
                assert value.endswith(".tfvars")
            if name == "-target":
                kind, _, resource = value.partition(".")
                assert f'resource "{kind}" "{resource}"' in resources


def test_our_own_command_takes_what_it_is_given(typed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAD_LETTER_SUBSCRIPTION", "projects/p/subscriptions/s")  # exported on the operator's page
    monkeypatch.setenv("PUBSUB_TOPIC", "projects/p/topics/t")
    calls = of("commercetools-segment", typed)

    assert calls
    for arguments in calls:
        _parse(typer.main.get_command(app), arguments)


def test_make_knows_its_targets(typed: list[list[str]]) -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert all(f"\n{target}:" in makefile for targets in of("make", typed) for target in targets)


def test_curl_speaks_to_an_outside_party_and_fails_when_it_is_refused(typed: list[list[str]]) -> None:
    for arguments in of("curl", typed):
        address = arguments[-1]
        assert re.match(r"https://((auth|api)\.europe-west1\.gcp\.commercetools|eu1\.api\.segmentapis)\.com/", address)
        assert "--fail" in arguments


def test_the_names_in_a_page_are_those_that_terraform_gives(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    infra = "\n".join(path.read_text() for path in (ROOT / "infra").glob("*.tf"))
    named = set(re.findall(r"/(?:topics|subscriptions)/([a-z-]+)", text)) | set(
        re.findall(
            r"(?:put-secret|modify-push-config|versions add|--secret=|--service=|run deploy)[ =]?([a-z-]+)",
            text,
        )
    )

    assert named
    assert not {name for name in named if f'"{name}"' not in infra}


def _quoted(argument: str) -> str:
    return argument if re.fullmatch(r"[\w./:=@,+-]+", argument) else "'" + argument.replace("'", "'\\''") + "'"


def _parse(command: Any, arguments: list[str], parent: Any = None) -> None:  # noqa: ANN401  # typer's own click
    """Let a command line be read as far as it would be before anything runs. Raises what it would say."""
    context = command.make_context(command.name or "commercetools-segment", list(arguments), parent=parent)
    if hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001  # as a group does it itself
        _, chosen, rest = command.resolve_command(context, rest)
        _parse(chosen, rest, context)
