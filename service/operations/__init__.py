"""The operator's commands of commercetools-segment: what they share.

They use the modules of the service, and nothing in the service imports them.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.commercetools.client import RequestRefused, ScopesRefused, TokenRefused
from service.commercetools.customer import CUSTOMER
from service.commercetools.resource import CannotRead, ResourceType
from service.config import CLIENT, CommercetoolsSettings, ConfigError, Settings, UnusableSettings, settings_from
from service.serving.causes import why
from service.serving.upstream import session, timeout
from service.transformation.rules import shop_mapping


class Exit(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    ATTENTION = 1
    """It is done, and something that it found needs attention."""
    UNUSABLE = 2
    """The command line or the configuration is invalid; nothing was done."""
    STOPPED = 3
    """An outside party or the disk failed; what was done is kept, and the same command continues."""
    BUG = 4
    """An error that nobody has foreseen."""
    INTERRUPTED = 130
    """Ctrl-C; as STOPPED."""


class Trouble(Exception):
    """A command cannot continue. The text says why and what to do, and quotes no personal data and no secret."""

    def __init__(self, message: str, exit_code: Exit = Exit.STOPPED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a command: `results` (with `as_json` one JSON document), and `remarks` for everything else."""

    results: Console
    remarks: Console
    as_json: bool = False

    def document(self, document: object) -> None:
        """Write the one JSON document of a command; in ASCII if the output's encoding cannot show all of it."""
        text = json_text(document, getattr(self.results.file, "encoding", None) or "utf-8")
        self.results.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table; where no terminal shows it, without the blanks at the ends of its lines."""
        if self.results.is_terminal:
            self.results.print(table)
            return
        with self.results.capture() as captured:
            self.results.print(table)
        lines = captured.get().removesuffix("\n").split("\n")
        self.results.print(Text("\n".join(line.rstrip(" ") for line in lines)), soft_wrap=True)

    def remark(self, text: str, style: str = "") -> None:
        self.remarks.print(Text(plain(text), style), soft_wrap=True)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all except tab and line feed


def plain(text: str) -> str:
    """Return text from outside without control characters, which a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def can_show(text: str, encoding: str) -> bool:
    """Tell whether an encoding has all characters of a text; none has half of a surrogate pair."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def json_text(document: object, encoding: str = "utf-8") -> str:
    """Return a document as JSON on several lines; in ASCII if the encoding cannot show all of it."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return text if can_show(text, encoding) else json.dumps(document, indent=2)


class Environment(Mapping[str, str]):
    """The settings that a command reads: those of a deployed service, or of the shell.

    A secret in `secrets` is fetched when it is looked at, and once. `origin` says whose settings these are, "" if they
    are the shell's. `client` has the API client of the shell, where that is another one than the service's.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        secrets: Mapping[str, Callable[[], str]] | None = None,
        origin: str = "",
        client: "Environment | None" = None,
    ) -> None:
        self._values = {name: value for name, value in values.items() if value.strip()}
        self._secrets = {name: fetch for name, fetch in (secrets or {}).items() if name not in self._values}
        self.origin = origin
        self.client = client

    def __getitem__(self, name: str) -> str:
        if self.is_unread(name):
            self._values[name] = self._secrets[name]()
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._secrets

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._values, *self._secrets]))

    def __len__(self) -> int:
        return len(self._values.keys() | self._secrets.keys())

    def is_unread(self, name: str) -> bool:
        """Tell whether it is a secret that was not fetched yet."""
        return name in self._secrets and name not in self._values

    def but(self, **values: str) -> "Environment":
        """Return it with other values; "" is unset."""
        others = {name: value for name, value in self._values.items() if name not in values}
        secrets = {name: fetch for name, fetch in self._secrets.items() if name not in values}
        return Environment({**others, **values}, secrets, self.origin, self.client)

    def of_service(self) -> "Environment":
        """Return it without the shell's API client."""
        return Environment(self._values, self._secrets, self.origin)

    def of_command(self) -> "Environment":
        """Return it with the shell's API client in place of the service's, if there is one."""
        if self.client is None:
            return self
        client = self.client
        values = {name: value for name, value in self._values.items() if name not in client}
        secrets = {name: fetch for name, fetch in self._secrets.items() if name not in client}
        for name in client:
            if client.is_unread(name):
                secrets[name] = partial(client.__getitem__, name)
            else:
                values[name] = client[name]
        return Environment(values, secrets, self.origin)


UNREAD = "not-read"
"""What stands for a secret that a command does not need."""

DECIDING = ("SEGMENT_USER_ID", "SEGMENT_REGION")
"""What a command that decides who a customer is must be told: a guess would be for good, or drop everything."""


def command_settings(
    environment: Mapping[str, str] | None = None,
    *,
    needs: Sequence[str] = (),
    unread: Collection[str] = (),
    **instead: str,
) -> Settings:
    """Read the service's settings for a command, which needs no PUSH_AUTH. None is the shell's environment.

    `needs` are those that must be set, `unread` the secrets that are not fetched. `instead` gives values for other
    settings that the command does not need. Raises ConfigError, which names all that are missing or unusable, a mapping
    file's mistakes too, and Trouble if a secret cannot be fetched.
    """
    given = environment_of(os.environ if environment is None else environment).of_command()
    missing = [name for name in dict.fromkeys(needs) if name not in given and name not in instead]
    not_read = {name: UNREAD for name in given if given.is_unread(name) and (missing or name in {*unread, *instead})}
    present = {name: given[name] for name in given if name not in not_read}
    problems: dict[str, str] = {}
    try:
        settings = settings_from({"PUSH_AUTH": "none", **not_read, **instead, **present}, shop_mapping)
    except UnusableSettings as unusable:
        problems = {name: said for name, said in unusable.problems.items() if name not in missing}
    if missing:
        *most, last = missing
        names = f"{', '.join(most)} and {last}" if most else last
        source = f", and {given.origin} does not have it" if given.origin else f": {_FROM_THE_SERVICE}"
        problems = {last: f"{names} must be set{source}.", **problems}
    if problems:
        raise UnusableSettings(problems)
    return settings


_FROM_THE_SERVICE = (
    "no command guesses them. --service NAME takes those of the deployed service, --env-file those of a file"
)


SUBSCRIPTION_NAME = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")


def moment(time: datetime) -> str:
    """Return a time as commercetools writes it, and Cloud Logging reads it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def why_not_read(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file cannot be read as text."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8"


def environment_of(settings: Mapping[str, str]) -> Environment:
    return settings if isinstance(settings, Environment) else Environment(settings)


def pubsub_clients() -> tuple[Any, Any]:
    """Return Pub/Sub's publisher and subscriber, which come without types. Raises GoogleAuthError."""
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415  # 0.4 s, for two of the commands alone
    from google.cloud import pubsub_v1  # noqa: PLC0415  # as above

    try:
        return pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    except Exception:  # noqa: BLE001  # the file that GOOGLE_APPLICATION_CREDENTIALS names may hold anything
        raise DefaultCredentialsError from None


def cannot_read(problem: CannotRead, *, predicate: bool = False, of: ResourceType[Any] = CUSTOMER) -> Trouble:
    """Return the Trouble for a read that failed, with commercetools' error codes and what to do."""
    codes = problem.codes if isinstance(problem, RequestRefused) else ()
    return Trouble(f"{' '.join([str(problem), *codes])}. {what_to_do(problem, predicate=predicate, of=of)}")


def cause_of(problem: BaseException) -> str:
    """Return which host was not reached and why, in words: DNS, refused, TLS, time. "" if that is not the problem."""
    error, host = _request_error(problem), host_of(problem)
    if error is None:
        return ""
    return f"{host}: {why(error)}" if host else why(error)


def host_of(problem: BaseException) -> str:
    """Return which host was not reached, "" if that is not the problem."""
    error = _request_error(problem)
    return "" if error is None or error.request is None else urlsplit(str(error.request.url)).netloc.rpartition("@")[2]


def _request_error(problem: BaseException) -> requests.RequestException | None:
    error: BaseException | None = problem
    while error is not None and not isinstance(error, requests.RequestException):
        error = error.__context__
    return error


def why_unreachable(address: str) -> str:
    """Ask an address for anything, and return why it was not reached, "" if it was."""
    try:
        with session() as http:
            http.get(address, timeout=timeout(_PROBE_SECONDS))
    except requests.RequestException as error:
        return cause_of(error)
    return ""


_PROBE_SECONDS = 5.0


def what_to_do(problem: CannotRead, *, predicate: bool = False, of: ResourceType[Any] = CUSTOMER) -> str:
    """Return one sentence: what may be wrong, if a retry is of no use.

    `predicate`: the request had one of --where. `of` is what was to be read.
    """
    if isinstance(problem, ScopesRefused):
        return "The API client does not have all scopes of CTP_SCOPES: commercetools-segment check shows which it has."
    if isinstance(problem, TokenRefused):
        return _OF_A_TOKEN.get(problem.status, _CREDENTIALS)
    if not isinstance(problem, RequestRefused):
        host = host_of(problem)
        return f"{host} was asked. {_OF_AN_ADDRESS}" if host else "The same command may go through later."
    status = next((_BY_CODE[code] for code in problem.codes if code in _BY_CODE), problem.status)
    if status == HTTPStatus.FORBIDDEN:
        return f"CTP_SCOPES must have view_{of.path.replace('-', '_')}:PROJECT_KEY."
    if status == HTTPStatus.BAD_REQUEST and predicate:
        return "It may be the predicate of --where."
    return _BY_STATUS.get(status, "Look at CTP_API_URL: it may be another party's address.")


_OF_AN_ADDRESS = "If that does not pass, look at CTP_AUTH_URL and CTP_API_URL, and at the network."
_CREDENTIALS = "It may be CTP_CLIENT_ID, CTP_CLIENT_SECRET, or an address in CTP_AUTH_URL, CTP_API_URL."
_OF_A_TOKEN: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "It may be CTP_SCOPES, if an entry is no scope such as view_customers:PROJECT_KEY.",
    HTTPStatus.NOT_FOUND: "It may be the address in CTP_AUTH_URL.",
}
_BY_STATUS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: _CREDENTIALS,
    HTTPStatus.NOT_FOUND: "It may be CTP_PROJECT_KEY, or the address in CTP_API_URL.",
}
_BY_CODE: Mapping[str, int] = {
    "invalid_token": HTTPStatus.UNAUTHORIZED,
    "insufficient_scope": HTTPStatus.FORBIDDEN,
    "ResourceNotFound": HTTPStatus.NOT_FOUND,
}


def commercetools_of(settings: Settings) -> CommercetoolsSettings:
    """Return the settings of the commercetools API client, or raise ConfigError if they are missing."""
    if settings.commercetools is None:
        raise ConfigError(f"{', '.join(CLIENT)} must be set.")
    return settings.commercetools
