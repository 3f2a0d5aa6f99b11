"""The environment, read once into frozen settings. Errors name the setting that is missing or invalid."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from service.serving.toml_file import NotToml, TomlFile, read_toml


class Region(StrEnum):
    US = "us"
    EU = "eu"


class UserIdField(StrEnum):
    """Which field of a customer is Segment's userId. The values are commercetools' names."""

    EMAIL = "email"
    ID = "id"
    KEY = "key"
    EXTERNAL_ID = "externalId"
    CUSTOMER_NUMBER = "customerNumber"


class ClearTraits(StrEnum):
    """Which traits an absent field clears: none, those that only commercetools has, or all."""

    OFF = "off"
    OWN = "own"
    ALL = "all"


class PushAuth(StrEnum):
    """Who checks a push's token: the platform (iam), this service (oidc), or nobody (none: the playground)."""

    IAM = "iam"
    OIDC = "oidc"
    NONE = "none"


class Erasure(StrEnum):
    """Which deleted customers are erased in Segment: none, those with dataErasure, or every one."""

    OFF = "off"
    REQUESTED = "requested"
    EVERY = "every"


class Orders(StrEnum):
    """Whether orders and refunds are told to Segment."""

    OFF = "off"
    ON = "on"


class OrderImports(StrEnum):
    """Which imported orders are told: none, those completed at most a day before their import, or all."""

    NONE = "none"
    RECENT = "recent"
    ALL = "all"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


# https://www.twilio.com/docs/segment/guides/regional-segment: the host is without /v1, the library appends it.
_TRACKING_API = {Region.US: "https://api.segment.io", Region.EU: "https://events.eu1.segmentapis.com"}
_PUBLIC_API = {Region.US: "https://api.segmentapis.com", Region.EU: "https://eu1.api.segmentapis.com"}
_GOOGLE_CERTS = "https://www.googleapis.com/oauth2/v1/certs"

CLIENT = ("CTP_PROJECT_KEY", "CTP_CLIENT_ID", "CTP_CLIENT_SECRET", "CTP_AUTH_URL", "CTP_API_URL", "CTP_SCOPES")
"""The settings of an API client."""
_SEVERAL_WORDS = frozenset({"CTP_SCOPES"})  # which blanks separate: https://docs.commercetools.com/api/scopes
_QUOTES = frozenset("\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb")  # and a word processor's
_LONGEST = 4096  # characters, far more than any key, address or list of scopes has
_PROJECT_KEY = re.compile(r"[A-Za-z0-9_-]+")
TOPIC_NAME = re.compile(r"projects/[^/\s]+/topics/[^/\s]+")
_PORT = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT = 65535

Choice = TypeVar("Choice", bound=StrEnum)


class ConfigError(Exception):
    """A setting is missing or invalid, so the service cannot start. The text is one sentence that names the setting.

    Of several settings, or several mistakes in a mapping file, each has a line.
    """


class UnusableSettings(ConfigError):
    """Some settings are missing or invalid. `problems` has the sentence about each, by its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(dict.fromkeys(problems.values())))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """The Segment source and its region."""

    write_key: str = field(repr=False)
    region: Region = Region.US
    host: str = _TRACKING_API[Region.US]


@dataclass(frozen=True, slots=True)
class CommercetoolsSettings:
    """A commercetools API client, by the names of the Merchant Center."""

    project_key: str
    client_id: str
    client_secret: str = field(repr=False)
    auth_url: str
    api_url: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. The repr contains no secret."""

    segment: SegmentSettings
    push_auth: PushAuth
    port: int = 8080
    segment_user_id: UserIdField = UserIdField.EMAIL
    segment_clear_traits: ClearTraits = ClearTraits.OWN
    push_audience: str | None = None
    push_service_account: str | None = None
    push_certs_url: str = _GOOGLE_CERTS
    commercetools: CommercetoolsSettings | None = None
    dead_letter_topic: str | None = None
    erasure: Erasure = Erasure.OFF
    segment_public_api_token: str | None = field(default=None, repr=False)
    segment_public_api_url: str = _PUBLIC_API[Region.US]
    log_level: LogLevel = LogLevel.INFO
    orders: Orders = Orders.OFF
    order_imports: OrderImports = OrderImports.NONE
    mapping_file: TomlFile | None = None


def settings_from(environment: Mapping[str, str], look_at: Callable[[TomlFile], object] | None = None) -> Settings:
    """Read the settings, or raise UnusableSettings, which names all that are missing or unknown.

    `value_of` says what no value may contain; an empty one counts as unset. `look_at` raises ConfigError for a mapping
    file with mistakes, which are then named too.
    """
    env = _Environment(environment)
    segment = _segment(env)
    push_auth = env.choice("PUSH_AUTH", PushAuth)
    oidc = push_auth is PushAuth.OIDC
    erasure = env.choice("ERASURE", Erasure, Erasure.OFF)
    settings = Settings(
        segment=segment,
        push_auth=push_auth,
        port=env.port("PORT", 8080),
        segment_user_id=env.choice("SEGMENT_USER_ID", UserIdField, UserIdField.EMAIL),
        segment_clear_traits=env.choice("SEGMENT_CLEAR_TRAITS", ClearTraits, ClearTraits.OWN),
        push_audience=env.required("PUSH_AUDIENCE") if oidc else env.get("PUSH_AUDIENCE"),
        push_service_account=env.required("PUSH_SERVICE_ACCOUNT") if oidc else env.get("PUSH_SERVICE_ACCOUNT"),
        push_certs_url=env.url("PUSH_CERTS_URL", _GOOGLE_CERTS),
        commercetools=_commercetools(env),
        dead_letter_topic=env.topic("DEAD_LETTER_TOPIC"),
        erasure=erasure,
        segment_public_api_token=(
            env.get("SEGMENT_PUBLIC_API_TOKEN") if erasure is Erasure.OFF else env.required("SEGMENT_PUBLIC_API_TOKEN")
        ),
        segment_public_api_url=env.url("SEGMENT_PUBLIC_API_URL", _PUBLIC_API[segment.region]),
        log_level=env.choice("LOG_LEVEL", LogLevel, LogLevel.INFO),
        orders=env.choice("ORDERS", Orders, Orders.OFF),
        order_imports=env.choice("ORDER_IMPORTS", OrderImports, OrderImports.NONE),
        mapping_file=env.toml("MAPPING_FILE", look_at),
    )
    env.look_at_problems()
    return settings


def segment_from(environment: Mapping[str, str]) -> SegmentSettings:
    """Read what a send needs: SEGMENT_WRITE_KEY, SEGMENT_REGION, SEGMENT_HOST. Raises UnusableSettings."""
    env = _Environment(environment)
    segment = _segment(env)
    env.look_at_problems()
    return segment


def _segment(env: "_Environment") -> SegmentSettings:
    region = env.choice("SEGMENT_REGION", Region, Region.US)
    return SegmentSettings(
        write_key=env.required("SEGMENT_WRITE_KEY"),
        region=region,
        host=env.url("SEGMENT_HOST", _TRACKING_API[region]),
    )


def value_of(name: str, text: str) -> str:
    """Return the text without the blanks around it: a secret that came from a file often ends in a newline.

    Raises ConfigError, which names the setting `name` and not its value, for what is in no key, secret, address or
    name, and often in a copied one: a quote, a blank, a control, invisible or non-ASCII character.
    """
    value = text.strip()
    if len(value) > _LONGEST:
        raise ConfigError(f"{name} must have at most {_LONGEST:,} characters.")
    if len(value) > 1 and {value[0], value[-1]} <= _QUOTES:
        raise ConfigError(f"{name} must be without the quotes around it: not every reader of a .env file removes them.")
    for position, character in enumerate(value, 1):
        if character == " " and name in _SEVERAL_WORDS:
            continue
        flaw = _flaw(character)
        if flaw:
            raise ConfigError(f"{name} must not contain {flaw} (character {position}).")
    return value


def _flaw(character: str) -> str:
    """Return what is wrong with a character, "" if nothing is."""
    category = unicodedata.category(character)
    if character in _QUOTES:
        return "a quotation mark"
    if category == "Cs":  # how os.environ shows such a byte: https://peps.python.org/pep-0383/
        return "a byte that is not UTF-8"
    if category == "Cc":
        return "a control character such as a line break"
    if character.isspace():
        return "a blank"
    if category[0] == "C":
        return "an invisible character"
    return "" if character.isascii() else "a character outside ASCII"


def _commercetools(env: "_Environment") -> CommercetoolsSettings | None:
    missing = [name for name in CLIENT if env.is_unset(name)]
    if len(missing) == len(CLIENT):
        return None
    for name in missing:
        env.note(name, f"{', '.join(missing)} must be set too: the CTP_ settings go together, all or none.")
    return CommercetoolsSettings(
        project_key=env.project_key("CTP_PROJECT_KEY"),
        client_id=env.required("CTP_CLIENT_ID"),
        client_secret=env.required("CTP_CLIENT_SECRET"),
        auth_url=env.url("CTP_AUTH_URL"),
        api_url=env.url("CTP_API_URL"),
        scopes=env.required("CTP_SCOPES"),
    )


class _Environment:
    """Reads settings, and notes the first problem of each. What it returns for one with a problem means nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._problems: dict[str, str] = {}

    def note(self, name: str, sentence: str) -> None:
        self._problems.setdefault(name, sentence)

    def look_at_problems(self) -> None:
        """Raise UnusableSettings if there are any."""
        if self._problems:
            raise UnusableSettings(self._problems)

    def is_unset(self, name: str) -> bool:
        return self.get(name) is None and name not in self._problems

    def get(self, name: str) -> str | None:
        try:
            return value_of(name, self._environment.get(name, "")) or None
        except ConfigError as error:
            self.note(name, str(error))
            return None

    def required(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            self.note(name, f"{name} must be set.")
        return value or ""

    def choice(self, name: str, kind: type[Choice], default: Choice | None = None) -> Choice:
        value = self.get(name)
        if value in list(kind):
            return kind(value)
        if value is not None:
            self.note(name, f"{name} must be one of {', '.join(kind)}.")
        elif default is None:
            self.note(name, f"{name} must be set, to one of {', '.join(kind)}.")
        return default or next(iter(kind))

    def port(self, name: str, default: int) -> int:
        value = self.get(name) or str(default)
        if _PORT.fullmatch(value) and int(value) <= _HIGHEST_PORT:
            return int(value)
        self.note(name, f"{name} must be a port number from 0 to {_HIGHEST_PORT}.")
        return default

    def url(self, name: str, default: str | None = None) -> str:
        value = self.required(name) if default is None else self.get(name) or default
        try:
            parts = urlsplit(value)
            whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
            (parts.hostname or "").encode("idna")
        except ValueError:  # an unbalanced bracket, an invalid port, an empty or too long part of the host
            whole = False
        if not whole or parts.query or parts.fragment:
            self.note(name, f"{name} must be an address such as https://api.example.com, scheme included.")
        elif parts.username is not None or parts.password is not None:
            self.note(name, f"{name} must be an address without credentials in it.")
        elif name.startswith("SEGMENT_") and parts.path.rstrip("/"):
            self.note(name, f"{name} must be an address without a path: /v1/batch and the like are appended.")
        return value.rstrip("/")

    def project_key(self, name: str) -> str:
        value = self.required(name)
        if not _PROJECT_KEY.fullmatch(value):  # it becomes a part of every address
            self.note(name, f"{name} must have only letters, digits, hyphens and underscores.")
        return value

    def toml(self, name: str, look_at: Callable[[TomlFile], object] | None) -> TomlFile | None:
        value = self.get(name)
        if value is None:
            return None
        try:
            file = read_toml(Path(value))
            if look_at is not None:
                look_at(file)
        except NotToml as not_toml:
            self.note(name, f"{name}: {not_toml}")
        except ConfigError as mistakes:
            self.note(name, str(mistakes))
        else:
            return file
        return None

    def topic(self, name: str) -> str | None:
        value = self.get(name)
        if value is not None and not TOPIC_NAME.fullmatch(value):
            self.note(name, f"{name} must have the form projects/PROJECT/topics/TOPIC.")
        return value
