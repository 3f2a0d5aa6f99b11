"""The scripts of an operator: secrets are typed, digests are written, a deployment runs its steps in their order.

gcloud and terraform are programs that note how they were called and answer from files.
"""

import json
import os
import platform
import pty
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from service.config import ConfigError, settings_from, value_of

ROOT = Path(__file__).parent.parent
SHELLS = [pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"there is no {shell}"))
          for shell in ("sh", "bash", "dash")]  # fmt: skip
SECONDS = 60.0
SETTINGS = (ROOT / "infra" / "example.tfvars").read_text()

# Notes a call with its standard input; ANSWERS then answers it.
PROGRAM = r"""#!/bin/sh
said="${0##*/} $*"
has() { for need; do case $said in *"$need"*) ;; *) return 1 ;; esac; done; }
if has --data-file=-; then given=$(cat); fi
printf '%s\037%s\036' "$said" "${given:-}" >> "$NOTES"
. "$ANSWERS"
"""
Answers = Iterable[tuple[str, int, str]]  # words that are all in the call, the exit code, what is printed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


class Machine:
    """A folder like the repository's, in which the outside programs are stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        shutil.copytree(
            ROOT / "infra", folder / "infra", ignore=shutil.ignore_patterns(".terraform*", "tests", "*.tfvars")
        )
        for name in ("Dockerfile", "cloudbuild.yaml"):
            shutil.copy(ROOT / name, folder)
        self.settings = folder / "infra" / "terraform.tfvars"
        self.settings.write_text(SETTINGS)
        programs = folder / "programs"
        programs.mkdir()
        for name in ("gcloud", "terraform"):
            (programs / name).write_text(PROGRAM)
            (programs / name).chmod(0o755)
        self.notes = folder / "notes"
        self.notes.touch()
        self.answers(())
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "NOTES": str(self.notes),
            "ANSWERS": str(folder / "answers"),
        }

    def answers(self, answers: Answers) -> None:
        lines = [f"if has {words}; then echo {shlex.quote(text)}; exit {code}; fi\n" for words, code, text in answers]
        (self.folder / "answers").write_text("".join(lines))

    @property
    def calls(self) -> list[tuple[str, str]]:
        """What the programs were called with, and given."""
        calls = (call.partition("\x1f") for call in self.notes.read_text().split("\x1e")[:-1])
        return [(said, given) for said, _, given in calls]

    def run(self, *command: str, given: str | bytes = "", **more: str) -> Ended:
        ended = subprocess.run(  # noqa: S603  # our own script
            command,
            check=False,
            cwd=self.folder,
            env=self.environment | more,
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=SECONDS,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def type(self, text: str, *command: str) -> tuple[Ended, str]:
        """Run a script at a terminal and type when it asks; also return what the terminal shows."""
        terminal, end = pty.openpty()
        try:
            process = subprocess.Popen(  # noqa: S603  # our own script
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stderr is not None
            asked = process.stderr.read(1)
            while not asked.endswith(b": ") and (one := process.stderr.read(1)):
                asked += one
            os.write(terminal, text.encode())
            out, err = process.communicate(timeout=SECONDS)
            os.write(end, b"end of what is shown\n")
            shown = b""
            while b"end of what is shown" not in shown:
                shown += os.read(terminal, 4096)
        finally:
            os.close(terminal)
            os.close(end)
        return Ended(process.returncode, out.decode(), (asked + err).decode()), shown.decode()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# Secrets

THERE_IS_NONE = ("access latest", 1, "")
ADDED = ("versions add", 0, "projects/1/secrets/segment-write-key/versions/3")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_typed_secret_is_stored_and_seen_nowhere(machine: Machine, shell: str) -> None:
    machine.answers([THERE_IS_NONE, ADDED])

    ended, shown = machine.type("  canary-key \n", shell, "scripts/put-secret", "segment-write-key")

    [stored] = [(call, given) for call, given in machine.calls if given]
    assert ended.code == 0, ended.err
    assert stored == ("gcloud secrets versions add segment-write-key --data-file=- --format=value(name)", "canary-key")
    assert "version 3" in ended.out
    assert "  SEGMENT_WRITE_KEY = 3\n" in ended.out
    assert "canary" not in shown + ended.out + ended.err + "".join(call for call, _ in machine.calls)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_value_of_the_latest_version_makes_no_new_one(machine: Machine, shell: str) -> None:
    machine.answers([("access latest", 0, "canary-key"), ("describe latest", 0, "projects/1/secrets/x/versions/2")])

    ended = machine.run(shell, "scripts/put-secret", "commercetools-client-secret", given="canary-key\n")

    assert ended.code == 0
    assert "The same value is in the latest version" in ended.out
    assert "  CTP_CLIENT_SECRET = 2\n" in ended.out
    assert not [call for call, _ in machine.calls if "versions add" in call]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_second_pasted_line_is_refused_and_not_run(machine: Machine, shell: str) -> None:
    ended, shown = machine.type("canary-key\ntouch canary-file\n", shell, "scripts/put-secret", "segment-write-key")

    assert ended.code == 2
    assert "one line" in ended.err
    assert not [given for _, given in machine.calls if given]
    assert "canary" not in shown + ended.out + ended.err


REFUSED = (
    *("", " ", '"quoted"', "'quoted'", "quo'te", "back`tick", "two words", "two\nlines", "a\ttab", "\x07", "\x7f"),
    *("\u00e9", "zero\u200bwidth", "\u201cquoted\u201d", "x" * 4097),
)


@pytest.mark.parametrize("value", [value for value in REFUSED if value.strip()])
def test_the_service_refuses_what_is_not_stored(value: str) -> None:
    with pytest.raises(ConfigError):
        value_of("SEGMENT_WRITE_KEY", value)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_service_refuses_is_not_stored(machine: Machine, shell: str) -> None:
    for value in REFUSED:
        ended = machine.run(shell, "scripts/read-secret", "SEGMENT_WRITE_KEY", given=value)

        assert ended.code == 2, value
        assert ended.out == ""
        assert ended.err.startswith("read-secret: SEGMENT_WRITE_KEY must ")
        assert not value.strip() or value not in ended.err

    assert machine.run(shell, "scripts/put-secret", "segment-write-key", given=REFUSED[0]).code == 2
    assert not [given for _, given in machine.calls if given]


@pytest.mark.parametrize("value", ["key", " key\n", "a$(b)!*\\%s-_=/+.~", "x" * 4096])
def test_what_the_service_takes_is_stored_as_it_reads_it(machine: Machine, value: str) -> None:
    machine.answers([THERE_IS_NONE, ADDED])

    ended = machine.run("scripts/put-secret", "segment-write-key", given=value)

    assert ended.code == 0, ended.err
    assert value_of("SEGMENT_WRITE_KEY", value) in [given for _, given in machine.calls]


def test_a_secret_that_is_not_there_is_said_to_be_that_before_anybody_types(machine: Machine) -> None:
    machine.answers([("secrets describe", 1, "")])

    ended = machine.run("scripts/put-secret", "segment-write-key", given="canary")

    assert ended.code == 1
    assert "scripts/deploy first" in ended.err


@pytest.mark.parametrize("arguments", [[], ["another-secret"], ["segment-write-key", "canary"]])
def test_a_value_is_never_an_argument(machine: Machine, arguments: list[str]) -> None:
    ended = machine.run("scripts/put-secret", *arguments)

    assert ended.code == 2
    assert machine.calls == []
    assert "canary" not in ended.err


# Digests

DIGEST = "sha256:" + "0123456789abcdef" * 4


@contextmanager
def a_registry(*, digest: str = DIGEST) -> Iterator[tuple[str, list[str]]]:
    """A registry that asks for a token first, as Docker Hub does: its address, and the manifests it was asked for."""
    asked: list[str] = []

    class Registry(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if self.headers.get("Authorization") != "Bearer a-token":
                self.send_response(401)
                self.send_header("WWW-Authenticate", f'Bearer realm="{address}/token",scope="repository:x:pull"')
            else:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"token": "a-token"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield address, asked
        finally:
            server.shutdown()
            thread.join()


def pin(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Ended:
    ended = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, ROOT / "scripts" / "pin-images", "--root", folder, *options],
        check=False,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    for name in ("Dockerfile", "cloudbuild.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def without_digests(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix == ".yaml" or path.name == "Dockerfile")
    return re.sub(r"@sha256:[0-9a-f]{64}", "", "".join(path.read_text() for path in files))


def test_every_image_gets_its_digest_behind_its_tag_and_a_second_run_changes_nothing(copy: Path) -> None:
    before = without_digests(copy)
    with a_registry() as (address, asked):
        first = pin(copy, environment={"PIN_IMAGES_REGISTRY": address})
        second = pin(copy, environment={"PIN_IMAGES_REGISTRY": address})

    assert first.code == second.code == 0, first.err
    assert "has changed" not in second.out
    assert pin(copy, "--check").code == 0
    assert without_digests(copy) == before
    assert (copy / "Dockerfile").read_text().count(f"FROM python:3.13-slim@{DIGEST}") == 2
    assert f"    name: python:3.13@{DIGEST} # not slim" in (copy / "infra/builds/test.yaml").read_text()
    assert set(asked) == {
        "/v2/library/python/manifests/3.13-slim",
        "/v2/library/python/manifests/3.13",
        "/v2/cloud-builders/docker/manifests/latest",
        "/v2/google.com/cloudsdktool/google-cloud-cli/manifests/slim",
    }


def test_a_digest_that_is_none_is_never_written(copy: Path) -> None:
    before = (copy / "Dockerfile").read_text()
    with a_registry(digest="sha256:0") as (address, _):
        ended = pin(copy, environment={"PIN_IMAGES_REGISTRY": address})

    assert ended.code == 1
    assert "does not say which digest" in ended.err
    assert (copy / "Dockerfile").read_text() == before


def test_no_image_of_dockerfiles_and_builds_escapes_the_pinning() -> None:
    files = [
        ROOT / "Dockerfile",
        ROOT / "cloudbuild.yaml",
        *(ROOT / "infra").glob("*/*.yaml"),
        ROOT / "infra/mapping/Dockerfile",
    ]
    text = "\n".join(path.read_text() for path in files)
    named = set(re.findall(r"^(?:FROM|    name:) ([^\s@]+)", text, re.MULTILINE))

    ours = {"packages", "${SERVICE}", "${_IMAGES}:${BUILD_ID}"}
    with_digest = set(re.findall(r"^(?:FROM|    name:) ([^\s@]+)@sha256:[0-9a-f]{64}", text, re.MULTILINE))
    assert named - ours - with_digest == set(pin(ROOT, "--check").out.split())


# The list of what is in the image


def test_the_list_has_every_package_that_is_installed_once_with_its_version() -> None:
    printed = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, ROOT / "scripts" / "sbom"], check=True, capture_output=True, text=True, timeout=SECONDS
    ).stdout

    document = json.loads(printed)
    names = [component["purl"] for component in document["components"]]
    installed = {
        f"pkg:pypi/{re.sub('[-_.]+', '-', one.metadata['Name']).lower()}@{one.version}" for one in distributions()
    }
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert len(names) == len(set(names))
    assert {name.replace("%2B", "+") for name in names} >= installed
    assert f"pkg:generic/python@{platform.python_version()}" in names
    assert Path("/var/lib/dpkg/status").exists() == any(name.startswith("pkg:deb/") for name in names)


# Deployment

BUILT = [
    ("builds submit", 0, "build-1"),
    ("builds describe logUrl", 0, "https://example.com/log"),
    ("builds describe 'images[0].digest'", 0, DIGEST),
    ("builds describe status", 0, "SUCCESS"),
]
SERVICE = f"europe-west1-docker.pkg.dev/my-shop-segment/commercetools-segment/service@{DIGEST}"


def in_order(machine: Machine, *parts: str) -> bool:
    calls = iter(call for call, _ in machine.calls)
    return all(any(part in call for call in calls) for part in parts)


@pytest.mark.parametrize("shell", SHELLS[1:])  # each of them takes seconds, and sh is one of the two
def test_the_first_deployment_creates_what_each_step_needs(machine: Machine, shell: str) -> None:
    machine.answers([
        *BUILT, ("buckets describe", 1, ""), ("images describe", 1, ""), ("describe segment-public-api-token", 1, ""),
        ("access latest", 1, ""), ("versions add segment-write-key", 0, "x/versions/1"),
        ("versions list commercetools-client-secret", 0, "1"),
    ])  # fmt: skip

    ended = machine.run(shell, "scripts/deploy", "first", given="canary-key")

    assert ended.code == 0, ended.err
    assert in_order(
        machine,
        "gcloud services enable cloudresourcemanager",
        "gcloud storage buckets create gs://my-shop-segment-terraform --location=europe-west1",
        "terraform -chdir=infra init -reconfigure -input=false -backend-config=bucket=my-shop-segment-terraform",
        "-target=google_secret_manager_secret.secret",
        "gcloud secrets versions add segment-write-key",
        "gcloud builds submit . --region=europe-west1 --config=infra/builds/test.yaml",
        "gcloud builds submit . --region=europe-west1 --config=cloudbuild.yaml",
        f"--substitutions=_IMAGE={SERVICE},_REGION=europe-west1,_SCAN_LOCATION=europe,_SEVERITY=CRITICAL,_DEPLOY=no",
        f"terraform -chdir=infra apply -var-file={machine.settings}",
        "gcloud storage cp infra/terraform.tfvars gs://my-shop-segment-terraform/terraform.tfvars",
    )
    assert len([given for _, given in machine.calls if given]) == 1  # the other secret has a version


def test_a_second_first_deployment_only_applies(machine: Machine) -> None:
    machine.answers([("versions list", 0, "1"), *BUILT])

    ended = machine.run("scripts/deploy", "first")

    assert ended.code == 0, ended.err
    assert not [call for call, _ in machine.calls if "create" in call or "submit" in call or "versions add" in call]
    assert in_order(machine, "apply -var-file", "apply -var-file")


@pytest.mark.parametrize(("what", "deploys"), [("image", "yes"), ("build", "no")])
def test_a_commit_is_tested_built_and_deployed_by_three_accounts(machine: Machine, what: str, deploys: str) -> None:
    machine.answers(BUILT)

    ended = machine.run("scripts/deploy", what)

    assert ended.code == 0, ended.err
    [test, build, deploy] = [call for call, _ in machine.calls if "builds submit" in call]
    assert "--config=infra/builds/test.yaml --format" in test
    assert "--config=cloudbuild.yaml" in build
    assert f"_IMAGE={SERVICE}," in deploy
    assert f"_DEPLOY={deploys} " in deploy
    assert "submit --no-source" in deploy


def test_what_fails_its_tests_is_not_built(machine: Machine) -> None:
    machine.answers([*BUILT[:2], ("builds describe status", 0, "FAILURE")])

    ended = machine.run("scripts/deploy", "image")

    assert ended.code == 1
    assert "infra/builds/test.yaml ended with FAILURE" in ended.err
    assert len([call for call, _ in machine.calls if "builds submit" in call]) == 1


def test_without_a_digest_nothing_is_deployed(machine: Machine) -> None:
    machine.answers([("builds describe 'images[0].digest'", 0, ""), *BUILT])

    ended = machine.run("scripts/deploy", "image", SKIP_TESTS="yes")

    assert ended.code == 1
    assert not [call for call, _ in machine.calls if "deploy.yaml" in call]


def test_the_shops_image_is_built_by_the_settings_of_the_service(machine: Machine) -> None:
    machine.answers([("artifacts docker images describe", 0, DIGEST), *BUILT])
    shutil.copytree(machine.folder / "infra" / "mapping", machine.folder / "shop")

    ended = machine.run("scripts/deploy", "shop", "shop")

    assert ended.code == 0, ended.err
    shop = SERVICE.partition("@")[0].removesuffix("service")
    assert in_order(
        machine,
        f"--substitutions=_SERVICE={shop}service@{DIGEST},_IMAGES={shop}shop,_USER_ID=id,_CLEAR_TRAITS=own",
        f"_IMAGE={shop}shop@{DIGEST},",
    )


def test_an_environment_has_its_own_project_state_and_settings(machine: Machine) -> None:
    staging = machine.folder / "infra" / "staging.tfvars"
    staging.write_text(SETTINGS.replace("my-shop-segment", "my-shop-staging").replace('"europe-west1"', '"us-east1"'))
    machine.settings.rename(machine.folder / "infra" / "production.tfvars")

    ended = machine.run("scripts/deploy", "apply", "-auto-approve", TFVARS="infra/staging.tfvars")

    assert ended.code == 0, ended.err
    assert in_order(
        machine,
        "init -reconfigure -input=false -backend-config=bucket=my-shop-staging-terraform",
        f"apply -var-file={staging} -auto-approve",
        "cp infra/staging.tfvars gs://my-shop-staging-terraform/staging.tfvars",
    )


def test_settings_of_one_environment_cannot_get_into_another(machine: Machine) -> None:
    shutil.copy(machine.settings, machine.folder / "infra" / "staging.tfvars")

    ended = machine.run("scripts/deploy", "apply", TFVARS="infra/staging.tfvars")

    assert ended.code == 2
    assert "rename it" in ended.err
    assert not [call for call, _ in machine.calls if " apply " in call]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param(None, "there is no infra/terraform.tfvars", id="no settings"),
        pytest.param('region = "europe-west1"\n', "must set project", id="no project"),
        pytest.param(SETTINGS + 'region = "us-east1"\n', "sets region more than once", id="a setting twice"),
    ],
)
def test_settings_that_are_incomplete_stop_a_deployment(machine: Machine, settings: str | None, said: str) -> None:
    machine.settings.unlink()
    if settings is not None:
        machine.settings.write_text(settings)

    ended = machine.run("scripts/deploy", "image")

    assert ended.code == 2
    assert said in ended.err
    assert machine.calls == []


@pytest.mark.parametrize("arguments", [[], ["another"], ["shop"], ["shop", "nowhere"]])
def test_another_command_explains_itself(machine: Machine, arguments: list[str]) -> None:
    ended = machine.run("scripts/deploy", *arguments)

    assert ended.code == 2
    assert "shop" in ended.err
    assert machine.calls == []


def test_the_operators_shell_has_the_settings_of_the_service(machine: Machine) -> None:
    machine.settings.write_text(SETTINGS.replace('orders              = "off"', 'orders = "on"'))

    exported = machine.run("sh", "-c", 'eval "$(scripts/deploy environment)" && env')

    settings = dict(line.partition("=")[::2] for line in exported.out.splitlines())
    assert exported.code == 0, exported.err
    assert settings["SEGMENT_USER_ID"] == "id"
    assert settings["SEGMENT_REGION"] == "eu"
    assert settings["REGION"] == "europe-west1"
    assert settings["CTP_API_URL"] == "https://api.europe-west1.gcp.commercetools.com"
    assert settings["CTP_SCOPES"].endswith("view_orders:my-shop view_payments:my-shop view_discount_codes:my-shop")
    settings |= {"SEGMENT_WRITE_KEY": "key", "CTP_CLIENT_ID": "client", "CTP_CLIENT_SECRET": "secret"}
    assert settings_from(settings).commercetools is not None
