"""The operator's commands of commercetools-segment: what they share.

They use the modules of the service, and nothing in the service imports them.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Any

from rich.console import Console
from rich.text import Text

from service.commercetools.client import RequestRefused, ScopesRefused, TokenRefused
from service.commercetools.customer import CUSTOMER
from service.commercetools.resource import CannotRead, ResourceType
from service.config import CommercetoolsSettings, ConfigError, Settings, settings_from


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


def command_settings(environment: Mapping[str, str] | None = None, **instead: str) -> Settings:
    """Read the service's settings for a command, which needs no PUSH_AUTH.

    `instead` gives values for other settings that the command does not need. Raises ConfigError.
    """
    found = os.environ if environment is None else environment
    present = {name: value for name, value in found.items() if value.strip()}
    return settings_from({"PUSH_AUTH": "none", **instead, **present})


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


def what_to_do(problem: CannotRead, *, predicate: bool = False, of: ResourceType[Any] = CUSTOMER) -> str:
    """Return one sentence: what may be wrong, if a retry is of no use.

    `predicate`: the request had one of --where. `of` is what was to be read.
    """
    if isinstance(problem, ScopesRefused):
        return "The API client does not have all scopes of CTP_SCOPES: commercetools-segment check shows which it has."
    if isinstance(problem, TokenRefused):
        return _OF_A_TOKEN.get(problem.status, _CREDENTIALS)
    if not isinstance(problem, RequestRefused):
        return "The same command may go through later."
    status = next((_BY_CODE[code] for code in problem.codes if code in _BY_CODE), problem.status)
    if status == HTTPStatus.FORBIDDEN:
        return f"CTP_SCOPES must have view_{of.path.replace('-', '_')}:PROJECT_KEY."
    if status == HTTPStatus.BAD_REQUEST and predicate:
        return "It may be the predicate of --where."
    return _BY_STATUS.get(status, "Look at CTP_API_URL: it may be another party's address.")


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
        raise ConfigError(
            "CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL and CTP_SCOPES must be set."
        )
    return settings.commercetools
