"""The settings of a deployed service, for the operator's commands: by Google's API, or from an env file.

https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions
https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

import base64
import binascii
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import requests

from service.config import ClearTraits, ConfigError, Erasure, OrderImports, Orders, Region, UserIdField
from service.operations import Environment, Exit, Trouble, why_not_read
from service.operations.google_api import Document, GoogleApi, address_of, document_of, said_by, what_to_do_about

SETTINGS = (
    *("SEGMENT_WRITE_KEY", "SEGMENT_REGION", "SEGMENT_HOST", "SEGMENT_USER_ID", "SEGMENT_CLEAR_TRAITS", "MAPPING_FILE"),
    *("ORDERS", "ORDER_IMPORTS", "ERASURE", "SEGMENT_PUBLIC_API_TOKEN", "SEGMENT_PUBLIC_API_URL"),
    *("PUSH_AUTH", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "PUSH_CERTS_URL", "DEAD_LETTER_TOPIC"),
    *("CTP_PROJECT_KEY", "CTP_CLIENT_ID", "CTP_CLIENT_SECRET", "CTP_AUTH_URL", "CTP_API_URL", "CTP_SCOPES"),
    *("LOG_LEVEL", "PORT"),
)
"""All settings of the service. The shell's count for none of them where a service or a file is named."""
SECRETS = ("SEGMENT_WRITE_KEY", "CTP_CLIENT_SECRET", "SEGMENT_PUBLIC_API_TOKEN")
NAMES = ("PUBSUB_TOPIC", "PUBSUB_SUBSCRIPTION", "DEAD_LETTER_SUBSCRIPTION", "CTP_SUBSCRIPTION_KEY")
"""What a command needs besides: the service does not have it, an env file may."""
PROJECT = "GOOGLE_CLOUD_PROJECT"
"""The name under which a service's settings have its project; Google's libraries read it too."""
DEFAULTS: Mapping[str, str] = {
    "SEGMENT_USER_ID": UserIdField.EMAIL,
    "SEGMENT_REGION": Region.US,
    "SEGMENT_CLEAR_TRAITS": ClearTraits.OWN,
    "ERASURE": Erasure.OFF,
    "ORDERS": Orders.OFF,
    "ORDER_IMPORTS": OrderImports.NONE,
}
"""What the service takes where its revision does not say it."""

_OF_THE_CLIENT = ("CTP_CLIENT_ID", "CTP_CLIENT_SECRET", "CTP_SCOPES")
_NOT_COMPARED = frozenset({*_OF_THE_CLIENT, *SECRETS, "MAPPING_FILE", "LOG_LEVEL", "PORT"})
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CALL_SECONDS = 20.0
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
_NAME = re.compile(r"[a-z0-9][a-z0-9:.-]{0,99}")
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")

Shell = Mapping[str, str]
Remark = Callable[[str], None]
Ask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Whose:
    """Which settings a command takes: those of a service, of a file, or of the shell."""

    service: str | None = None
    region: str | None = None
    project: str | None = None
    env_file: Path | None = None

    def environment(self, shell: Shell, remark: Remark, ask: Ask | None, *, tries_a_file: bool = False) -> Environment:
        """Read them. `ask` asks for a secret at the terminal, if there is one. Raises ConfigError and Trouble.

        `tries_a_file`: the shell's MAPPING_FILE counts even if the service has none, since nothing is sent by it.
        """
        if self.service is None and (self.region or self.project):
            raise ConfigError("--region and --project say where --service is: name that too.")
        if self.service is not None and self.env_file is not None:
            raise ConfigError("--service and --env-file are two sources of the same settings: choose one.")
        if self.service is not None:
            found = of_service(self.service, self.region, self.project, shell, remark)
        elif self.env_file is not None:
            found = of_file(self.env_file, shell, ask)
        else:
            return Environment(shell)
        return _beside(found, shell, remark, ask, tries_a_file=tries_a_file)


# A file


def of_file(path: Path, shell: Shell, ask: Ask | None) -> Environment:
    """Read a file of NAME=value lines, as Terraform's output operator_environment writes it.

    A secret without a value there is taken from the shell, else asked for. Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--env-file {path.name} cannot be read: {why_not_read(error)}.") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        read = _LINE.fullmatch(line.strip())
        if read is None:
            raise ConfigError(f"{path.name}:{number} must be NAME=value.")
        if read[1] not in SETTINGS and read[1] not in NAMES:
            raise ConfigError(f"{path.name}:{number} has {read[1]}, which is no setting of the service.")
        values[read[1]] = read[2].strip()
    secrets: dict[str, Callable[[], str]] = {}
    for name in SECRETS:
        if name in values and not values[name]:
            if shell.get(name, "").strip():
                values[name] = shell[name]
            elif ask is not None:
                secrets[name] = partial(ask, name)
    return Environment(values, secrets, path.name)


# A service


def of_service(name: str, region: str | None, project: str | None, shell: Shell, remark: Remark) -> Environment:
    """Read the environment of the revision that serves, from Cloud Run. Raises ConfigError and Trouble."""
    google = Google(shell)
    project = project or _first(shell, "CLOUDSDK_CORE_PROJECT", PROJECT) or google.project
    region = region or _first(shell, "CLOUDSDK_RUN_REGION") or _of_gcloud("run/region")
    for option, value in (("--service", name), ("--region", region), ("--project", project)):
        if not value:
            raise ConfigError(f"{option} must be given: gcloud has no default for it here.")
        if not _NAME.fullmatch(value):
            raise ConfigError(f"{option} must be a name such as gcloud shows it.")
    revision = google.revision(f"projects/{project}/locations/{region}/services/{name}", remark)
    values, references = {**DEFAULTS, PROJECT: str(project)}, {}
    for each in _serving_container(revision).get("env", ()):
        reference = (each.get("valueSource") or {}).get("secretKeyRef")
        if reference:
            references[str(each.get("name"))] = _version(reference, str(project))
        else:
            values[str(each.get("name"))] = str(each.get("value", ""))
    origin = f"the service {name}, revision {_last(revision.get('name'))}"
    fetch = {
        setting: partial(_fetch, google, setting, version, shell.get(setting, "").strip(), remark)
        for setting, version in references.items()
    }
    return Environment(values, fetch, origin)


class Google:
    """Cloud Run's services and Secret Manager's secrets, as the application default credentials may read them."""

    def __init__(self, shell: Shell) -> None:
        self._run, self._secrets = address_of("run", shell), address_of("secretmanager", shell)
        self._api = GoogleApi("Google", _SCOPE)

    @property
    def project(self) -> str | None:
        """The project of the credentials. Raises Trouble if there are none."""
        return self._api.project

    def revision(self, service: str, remark: Remark) -> Document:
        """Return the revision that serves, the one with most of the traffic if there are several."""
        needed = f"It takes roles/run.viewer on {service}."
        found = self._get(f"{self._run}/v2/{service}", needed)
        shares: dict[str, int] = {}
        for each in found.get("trafficStatuses", ()):
            latest = each.get("type") == _LATEST or not each.get("revision")
            name = _last(found.get("latestReadyRevision") if latest else each["revision"])
            shares[name] = shares.get(name, 0) + int(each.get("percent", 0))
        serving = max(shares, key=lambda name: shares[name]) if shares else _last(found.get("latestReadyRevision"))
        if not serving:
            raise Trouble(f"{service} has no revision that is ready.")
        others = [name for name, share in shares.items() if share and name != serving]
        if others:
            remark(
                f"{serving} has {shares[serving]} % of the traffic: its settings count, and not those of "
                f"{', '.join(others)}."
            )
        return self._get(f"{self._run}/v2/{service}/revisions/{serving}", needed)

    def secret(self, version: str) -> str:
        """Return the value of a version of a secret, by its full name."""
        needed = f"It takes roles/secretmanager.secretAccessor on {version.partition('/versions/')[0]}."
        payload = self._get(f"{self._secrets}/v1/{version}:access", needed).get("payload") or {}
        try:
            return base64.b64decode(str(payload.get("data", "")), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Trouble(f"{version} is not a text.") from None

    def _get(self, url: str, needed: str) -> Document:
        answer = self._api.call("GET", url, seconds=_CALL_SECONDS)
        document = document_of(answer)
        if answer.status_code == HTTPStatus.OK and document is not None:
            return document
        raise _refusal(answer, needed)


class NotAllowed(Trouble):
    """Google does not let these credentials read it."""


def _refusal(answer: requests.Response, needed: str) -> Trouble:
    status, said = answer.status_code, said_by(answer)
    sentence = f"Google answered {status}{f': {said}' if said else ''}."
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED}:
        return NotAllowed(f"{sentence} {what_to_do_about(answer, needed)}")
    if status == HTTPStatus.NOT_FOUND:
        return Trouble(f"{sentence} Look at --service, --region and --project.", Exit.UNUSABLE)
    return Trouble(sentence)


def _fetch(google: Google, name: str, version: str, here: str, remark: Remark) -> str:
    """Fetch the service's secret; if that is not allowed, take the shell's value."""
    try:
        value = google.secret(version)
    except NotAllowed as refused:
        if not here:
            raise NotAllowed(f"{name} cannot be read. {refused} Or set {name} here.") from None
        remark(f"{name} cannot be read, so it is this shell's, which may be another. {refused}")
        return here
    if here and here != value.strip():
        remark(f"{name} of this shell is another than the service's, which counts.")
    return value


def _version(reference: Document, project: str) -> str:
    secret = str(reference.get("secret"))
    name = secret if secret.startswith("projects/") else f"projects/{project}/secrets/{secret}"
    return f"{name}/versions/{reference.get('version') or 'latest'}"


def _serving_container(revision: Document) -> Document:
    """Return the container that gets the requests: the one with a port, beside which there may be others."""
    containers = [each for each in revision.get("containers", ()) if isinstance(each, dict)]
    return next((each for each in containers if each.get("ports")), containers[0] if containers else {})


def _last(name: object) -> str:
    return str(name or "").rpartition("/")[2]


def _first(shell: Shell, *names: str) -> str:
    return next((shell[name].strip() for name in names if shell.get(name, "").strip()), "")


def _of_gcloud(setting: str) -> str:
    """Return a default of gcloud's configuration, "" if there is none."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return ""
    command = [gcloud, "config", "get-value", setting, "--quiet"]
    try:
        ended = subprocess.run(  # noqa: S603  # gcloud's own command, with no input of ours
            command, check=False, capture_output=True, text=True, timeout=_CALL_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


# What the shell has beside it


def _beside(found: Environment, shell: Shell, remark: Remark, ask: Ask | None, *, tries_a_file: bool) -> Environment:
    """Return the settings with the shell's API client, if that is another one. Tell what the shell has otherwise.

    The service's values count: they decide who a customer is. The API client is an exception, since an operator's has
    other scopes than the service's.
    """
    values = {name: found[name] for name in found if not found.is_unread(name)}
    for name in (*SETTINGS, *NAMES):
        here, there = shell.get(name, "").strip(), values.get(name, "").strip()
        if not here or name in _NOT_COMPARED or (name in NAMES and not there):
            continue
        if here != (there or DEFAULTS.get(name, "")):
            remark(f"{name} is {here} in this shell, and {there or 'not set'} in {found.origin}, which counts.")
    _name_mapping_file(values, found.origin, shell, remark, tries_a_file=tries_a_file)
    names = {name: text for name in NAMES if (text := values.get(name, "") or shell.get(name, "")).strip()}
    client = _client(found, shell, ask)
    if client is not None:
        remark("The API client is this shell's (CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_SCOPES).")
    secrets = {name: partial(found.__getitem__, name) for name in found if found.is_unread(name)}
    return Environment({**values, **names}, secrets, found.origin, client)


def _name_mapping_file(
    values: dict[str, str], origin: str, shell: Shell, remark: Remark, *, tries_a_file: bool
) -> None:
    """Take the shell's MAPPING_FILE, since the service's is a path in its image or its volume."""
    path, here = values.get("MAPPING_FILE", ""), shell.get("MAPPING_FILE", "").strip()
    if path and here and here != path:
        remark(f"MAPPING_FILE is {path} in {origin}; {here} is taken for the same file.")
        values["MAPPING_FILE"] = here
    elif path and not Path(path).exists():
        remark(f"MAPPING_FILE is {path} in {origin}: set MAPPING_FILE to a copy of that file here.")
    elif here and not path and tries_a_file:
        remark(f"MAPPING_FILE is {here} in this shell, and not set in {origin}: it is tried here.")
        values["MAPPING_FILE"] = here
    elif here and not path:
        remark(f"MAPPING_FILE is {here} in this shell, and not set in {origin}, which counts.")


def _client(found: Environment, shell: Shell, ask: Ask | None) -> Environment | None:
    """Return the API client of the shell, None if it has none or the same. Raises ConfigError if it is incomplete."""
    client_id = shell.get("CTP_CLIENT_ID", "").strip()
    if not client_id or client_id == found.get("CTP_CLIENT_ID", client_id):
        return None
    values = {name: shell[name] for name in _OF_THE_CLIENT if shell.get(name, "").strip()}
    secrets = {"CTP_CLIENT_SECRET": partial(ask, "CTP_CLIENT_SECRET")} if ask is not None else {}
    missing = [name for name in _OF_THE_CLIENT if name not in values and name not in secrets]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} must be set too: CTP_CLIENT_ID is not that of {found.origin}, and the three go "
            "together. Unset it to read with the service's API client."
        )
    return Environment(values, secrets)
