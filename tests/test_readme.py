"""README is the front door: what it tells a user to type does what it says."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from playground.ports import ReservedPort

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
VENV = f"VENV={sys.prefix}"  # the one that runs the tests


def the_command(beginning: str) -> list[str]:
    [command] = [command for command in COMMANDS if beginning in command]
    return shlex.split(command)


def test_every_make_target_that_readme_names_exists() -> None:
    targets = set(re.findall(r"(?:^|`|=none )make ([a-z-]+)", README, re.MULTILINE))

    made = subprocess.run(  # noqa: S603  # names out of our own page
        ["make", "--dry-run", "--always-make", VENV, *sorted(targets)],  # noqa: S607  # make is what README asks for
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert {"demo", "test", "serve", "lint", "setup", "lock"} <= targets
    assert made.returncode == 0, made.stderr


@pytest.mark.lengthy
def test_the_demo_ends_with_nothing_lost_and_nothing_doubled() -> None:
    demo = subprocess.run(  # noqa: S603  # README's own command
        [*the_command("make demo"), VENV],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env={name: value for name, value in os.environ.items() if not name.startswith(("SEGMENT_", "CTP_"))},
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.search(r"lost +0 ", demo.stdout)
    assert re.search(r"doubled +0 ", demo.stdout)
    assert re.search(r"wrong +0 ", demo.stdout)
    money = re.findall(r"^  [A-Z]{3} +(\S+) +(\S+)$", demo.stdout, re.MULTILINE)
    assert [told for told, _ in money] == [books for _, books in money] != []


@pytest.mark.lengthy
def test_the_service_started_by_hand_answers_as_readme_shows() -> None:
    *settings, make, serve = the_command("make serve")
    curl, json_option, body, address = the_command("curl")
    assert (make, serve, curl, json_option, address) == ("make", "serve", "curl", "--json", "localhost:8080/")
    answer = re.search(r"^curl .*?^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert answer is not None
    with (
        ReservedPort() as port,
        subprocess.Popen(  # noqa: S603  # README's own command
            [make, serve, VENV],
            cwd=ROOT,
            env={**os.environ, **dict(setting.split("=", 1) for setting in settings), "PORT": str(port.number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as service,
    ):
        try:
            with requests.Session() as http:
                patient = requests.adapters.Retry(total=None, connect=200, backoff_factor=0.01, backoff_max=0.1)
                http.mount("http://", requests.adapters.HTTPAdapter(max_retries=patient))
                response = http.post(f"http://127.0.0.1:{port.number}/", json=json.loads(body), timeout=20)
        finally:
            os.killpg(service.pid, signal.SIGTERM)
            output = service.communicate(timeout=20)[0]

    assert response.status_code == 400
    assert response.json() == json.loads(answer[1])
    assert "Refused: the message's data is not JSON" in output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"PUSH_AUTH": ""}, "PUSH_AUTH must be set, to one of iam, oidc, none.", id="missing"),
        pytest.param({"SEGMENT_REGION": "mars"}, "SEGMENT_REGION must be one of us, eu.", id="unknown"),
    ],
)
def test_a_setting_that_will_not_do_stops_the_start_with_one_sentence(change: dict[str, str], sentence: str) -> None:
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
    assert (service.stdout + service.stderr).strip() == f"The service cannot start: {sentence}"
