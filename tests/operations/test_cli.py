"""The command itself: whatever is printed can be shown, and whatever happens has its exit code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import typer

from service import __version__
from service.cli import app, main
from service.config import ConfigError
from service.operations import Exit
from tests.builders import a_customer
from tests.operations.commands import SECONDS, Ended, command, environment_of, run, settings_for

ODD = a_customer(firstName="Zo\ud83d", lastName="Grüße 😀")
ENCODINGS = ["utf-8", "latin-1", "ascii"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_the_terminal_cannot_show_is_escaped(encoding: str) -> None:
    ended = run("explain", given=json.dumps(ODD), settings=settings_for(PYTHONIOENCODING=encoding))

    assert ended.code == Exit.DONE, ended.err
    assert r"Zo\ud83d" in ended.out
    assert "Grüße".encode(encoding, "backslashreplace").decode(encoding) in ended.out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_stays_json_in_every_encoding(encoding: str) -> None:
    ended = run("explain", "--json", given=json.dumps(ODD), settings=settings_for(PYTHONIOENCODING=encoding))

    assert ended.code == Exit.DONE, ended.err
    assert ended.document["event"]["traits"]["lastName"] == "Grüße 😀"
    assert ended.document["event"]["traits"]["firstName"] == "Zo\ud83d"


def test_json_has_a_text_as_it_is_also_one_that_looks_like_an_emoji_or_markup() -> None:
    customer = a_customer(firstName=":smile: [bold]x[/bold]")

    ended = run("explain", "--json", given=json.dumps(customer), settings=settings_for())

    assert ended.document["event"]["traits"]["firstName"] == ":smile: [bold]x[/bold]"


@pytest.mark.parametrize(
    "arguments", [["explain"], ["check"], ["mapping", "show"], ["mapping", "show", "--data"]], ids=" ".join
)
def test_no_line_ends_with_blanks_where_no_terminal_shows_it(arguments: list[str]) -> None:
    ended = run(*arguments, given=json.dumps(a_customer()), settings=settings_for())

    assert len(ended.out.splitlines()) > 1, ended.err
    assert [line for line in ended.out.split("\n") if line != line.rstrip()] == []


COMMANDS = (
    *("explain", "check", "subscribe", "unsubscribe", "backfill", "history"),
    *(f"dead-letters {name}" for name in ("list", "show", "replay", "drop")),
    *(f"mapping {name}" for name in ("show", "suggest", "test", "diff", "schema")),
)


@pytest.mark.parametrize("command", ["", "dead-letters", "mapping", *COMMANDS])
def test_the_help_shows_a_word_for_each_value_and_no_type_of_python(command: str) -> None:
    ended = run(*command.split(), "--help", settings={"COLUMNS": "200"})

    assert ended.code == Exit.DONE, ended.err
    assert re.findall("<[a-zA-Z].*", ended.out) == []


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["backfill", "--since", "ü😀"]], ids=" ".join)
def test_help_and_errors_can_be_shown_in_ascii(arguments: list[str]) -> None:
    ended = run(*arguments, settings=settings_for(PYTHONIOENCODING="ascii"))

    assert ended.code == (Exit.DONE if "--help" in arguments else Exit.UNUSABLE), ended.err


def failing(error: BaseException) -> Callable[[], object]:
    def command() -> object:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("SEGMENT_WRITE_KEY must be set."), Exit.UNUSABLE, "Error: SEGMENT_WRITE_KEY must be set."),
        (OSError(28, "No space left on device"), Exit.STOPPED, "Error: No space left on device."),
        (ConnectionError(), Exit.STOPPED, "Error: ConnectionError."),
        (ValueError("canary"), Exit.BUG, "Error: This is a bug: ValueError < command (/"),
        (RecursionError("canary"), Exit.BUG, "Error: This is a bug: RecursionError < command (/"),
    ],
)
def test_whatever_ends_a_command_has_its_exit_code(
    error: Exception, code: Exit, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(failing(error))

    shown = capsys.readouterr().err
    assert ended.value.code == code
    assert said in shown
    assert "canary" not in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux and FreeBSD have the device")
def test_a_full_disk_is_no_finding() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  # a device
        ended = run("explain", given=json.dumps(a_customer()), settings=settings_for(), stdout=full.fileno())

    assert ended == Ended(Exit.STOPPED, "", "Error: No space left on device.\n")


@pytest.fixture
def pipe_without_reader() -> Iterator[IO[bytes]]:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:  # noqa: PTH123  # a file descriptor
        yield pipe


@pytest.mark.parametrize(
    ("arguments", "stream"), [(["explain"], "stdout"), (["--help"], "stdout"), (["backfill", "--unknown"], "stderr")]
)
def test_a_reader_that_has_gone_is_no_finding(
    arguments: list[str], stream: str, pipe_without_reader: IO[bytes]
) -> None:
    gone = pipe_without_reader.fileno()
    stdout, stderr = (gone, None) if stream == "stdout" else (None, gone)

    ended = run(*arguments, given=json.dumps(a_customer()), settings=settings_for(), stdout=stdout, stderr=stderr)

    assert ended == Ended(Exit.STOPPED, "", "")


@pytest.mark.parametrize(
    ("closed", "code"), [("<&-", Exit.ATTENTION), (">&-", Exit.DONE), ("2>&-", Exit.DONE), (">&- 2>&-", Exit.DONE)]
)
def test_a_closed_stream_reads_as_empty_and_takes_everything(closed: str, code: Exit) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command("explain")]

    ended = subprocess.run(  # noqa: S603  # our own command
        shell,
        check=False,
        input=json.dumps(a_customer()).encode(),
        capture_output=True,
        env=environment_of(settings_for()),
        timeout=SECONDS,
    )

    assert (ended.returncode, ended.stderr) == (code, b"")


def test_it_tells_its_version() -> None:
    ended = run("--version", settings={})

    assert (ended.code, ended.out) == (Exit.DONE, f"commercetools-segment {__version__}\n")


def test_a_shell_completes_its_commands_and_options() -> None:
    completion = {"_COMMERCETOOLS_SEGMENT_COMPLETE": "complete_bash"}
    asked = {"COMP_WORDS": "commercetools-segment dead-letters re", "COMP_CWORD": "2"}

    ended = subprocess.run(  # noqa: S603  # our own command, by the name that a shell knows
        [Path(sys.prefix) / "bin" / "commercetools-segment"],
        check=False,
        capture_output=True,
        text=True,
        env=environment_of({**completion, **asked}),
        timeout=SECONDS,
    )

    assert (ended.returncode, ended.stdout.split()) == (Exit.DONE, ["replay"])


@pytest.mark.parametrize(
    "name",
    [
        *("explain", "check", "subscribe", "backfill"),
        *("dead-letters list", "dead-letters show", "dead-letters replay", "dead-letters drop"),
        *("mapping show", "mapping suggest", "mapping test", "mapping diff"),
    ],
)
def test_every_command_that_reads_settings_can_take_those_of_a_service_or_a_file(name: str) -> None:
    found = typer.main.get_command(app)
    for part in name.split():
        found = found.commands[part]  # type: ignore[attr-defined]  # typer's own click comes without it

    assert {"service", "region", "project", "env_file"} <= {each.name for each in found.params}
