"""check: the configuration, commercetools, Segment and Google, one line each: ok, warning, failed or cannot tell."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.table import Table
from rich.text import Text

from service.commercetools.client import CommercetoolsProject, RequestRefused, ScopesRefused
from service.commercetools.customer import CUSTOMER
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.commercetools.resource import AnyResource, CannotRead, ResourceType
from service.config import (
    TOPIC_NAME,
    CommercetoolsSettings,
    ConfigError,
    Erasure,
    Orders,
    PushAuth,
    Settings,
    UnusableSettings,
    UserIdField,
    settings_from,
    value_of,
)
from service.operations import (
    SUBSCRIPTION_NAME,
    UNREAD,
    Environment,
    Exit,
    Output,
    Trouble,
    cause_of,
    command_settings,
    environment_of,
    plain,
    pubsub_clients,
    what_to_do,
)
from service.operations.subscription import (
    DEFAULT_KEY,
    PUBLISHER,
    NotAllowed,
    differences,
    found_subscription,
    look_at_key,
    missing_messages,
    topic_of,
    wanted_subscription,
)
from service.operations.types import TYPE, Difference, all_types, compare, fields_of
from service.segment.client import SegmentClient, create_segment_client
from service.segment.types import NotDelivered
from service.serving.decoding import Malformed
from service.serving.upstream import session, timeout
from service.transformation.mapping import ShopMapping
from service.transformation.rules import fingerprint_by, identify_rules_by, shop_mapping

TEST_USER_ID = "commercetools-segment-check"

_PUSH_SECONDS = 30  # within which the service answers a push; see "Numbers that nest" in docs/decisions.md
_ACK_DEADLINE = 60
_PUSH = "push subscription"
_FEWEST_ATTEMPTS = 20  # deliveries; fewer are over before a longer failure of Segment is
_CALL_SECONDS = 10.0
_AGENT = re.compile(r"serviceAccount:service-\d+@gcp-sa-pubsub\.iam\.gserviceaccount\.com")


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, the result, and what to do about it ("" if there is nothing to do)."""

    what: str
    status: Status
    text: str
    todo: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Names:
    """Names that are not in the settings: the full names of Google's resources, and the key of the Subscription."""

    topic: str | None
    subscription: str | None
    key: str


def names_by(environment: Mapping[str, str], topic: str | None, subscription: str | None, key: str | None) -> Names:
    """Return the names that options give, else those of the settings."""
    of_topic, of_subscription, of_key = (
        option or environment.get(name, "").strip()
        for option, name in (
            (topic, "PUBSUB_TOPIC"),
            (subscription, "PUBSUB_SUBSCRIPTION"),
            (key, "CTP_SUBSCRIPTION_KEY"),
        )
    )
    return Names(of_topic or None, of_subscription or None, of_key or DEFAULT_KEY)


def run(output: Output, environment: Mapping[str, str], names: Names, *, send_test_event: bool) -> Exit:
    """Check everything; a FAILED finding makes it ATTENTION. Raises ConfigError only for invalid names."""
    for what, name, form in (
        ("The topic", names.topic, TOPIC_NAME),
        ("The push subscription", names.subscription, SUBSCRIPTION_NAME),
    ):
        if name is not None:
            value_of(what, name)
            if not form.fullmatch(name):
                kind = what.rpartition(" ")[2]
                raise ConfigError(f"{what} must have the form projects/PROJECT/{kind}s/{kind.upper()}.")
    look_at_key(names.key)
    findings = []
    for finding in _all(environment_of(environment), names, send_test_event=send_test_event):
        findings.append(finding)
        if not output.as_json:
            _print(finding, output)
    if output.as_json:
        output.document(
            [
                {"what": each.what, "status": each.status, "text": each.text, "todo": each.todo or None}
                for each in findings
            ]
        )
    failed = any(finding.status is Status.FAILED for finding in findings)
    return Exit.ATTENTION if failed else Exit.DONE


_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.UNKNOWN: "cyan"}


def _print(finding: Finding, output: Output) -> None:
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=11)
    line.add_column(width=24)
    line.add_column(overflow="fold")
    text = Text(plain(finding.text))
    if finding.todo:
        text.append(f"\n→ {finding.todo}", "bold")
    line.add_row(Text(finding.status, _STYLES[finding.status]), Text(finding.what), text)
    output.table(line)


def _all(given: Environment, names: Names, *, send_test_event: bool) -> Findings:
    own = given.of_service()  # an operator's API client is for what the service does not look at
    yield from _of_secrets(own, [*(["SEGMENT_WRITE_KEY"] if send_test_event else []), "CTP_CLIENT_SECRET"])
    environment = _without_unread(own)
    without_file = environment.but(MAPPING_FILE="")
    yield from _of_the_environment(without_file)
    try:
        settings = settings_from(without_file)
    except ConfigError:
        try:
            # Invalid settings of the push do not prevent the other checks.
            settings = command_settings(without_file.but(PUSH_AUTH=""))
        except ConfigError:
            yield from _of_the_mapping_alone(environment)
            return
    yield from _of_the_settings(settings, is_deployed=bool(given.origin))
    mapping, finding = _of_the_mapping(environment, settings)
    yield from finding
    client = settings.commercetools if not own.is_unread("CTP_CLIENT_SECRET") else None
    project = CommercetoolsProject(client) if client else None
    if project is not None and client is not None:
        yield from _of_commercetools(project, client, settings.orders)
    operators = project
    if given.client is not None:
        managing = command_settings(_without_unread(given.of_command()).but(PUSH_AUTH="", MAPPING_FILE=""))
        operators = CommercetoolsProject(managing.commercetools) if managing.commercetools else None
    if mapping is not None:
        yield _of_types(operators, mapping, settings)
    yield from _of_segment(settings, send_test_event=send_test_event and not own.is_unread("SEGMENT_WRITE_KEY"))
    topic = names.topic
    if operators is not None:
        found, finding = _found(operators, names.key)
        topic = topic or _usable_topic_of(found)
        yield from finding
        if found is not None:
            yield from _of_the_subscription(found, settings, topic, names.key)
    yield from _Google(settings, topic, names.subscription).findings()


def _of_secrets(own: Environment, needed: Sequence[str]) -> Findings:
    """Fetch the service's secrets that the checks use. The others are not looked at."""
    for name in needed:
        if own.is_unread(name):
            try:
                own[name]
            except Trouble as trouble:
                yield Finding(name, Status.UNKNOWN, str(trouble))


def _without_unread(given: Environment) -> Environment:
    """Return it with something in place of each secret that was not fetched."""
    return given.but(**{name: UNREAD for name in given if given.is_unread(name)})


# Settings


def _of_the_environment(environment: Environment) -> Findings:
    judged, is_shell = environment, not environment.origin
    if is_shell and "PUSH_AUTH" not in environment:
        judged = environment.but(PUSH_AUTH=PushAuth.NONE)
    try:
        settings = settings_from(judged)
    except ConfigError as error:
        yield Finding("settings", Status.FAILED, str(error), _CORRECT_IT)
        return
    if judged is not environment:
        yield Finding(
            "settings", Status.UNKNOWN, "this shell has no PUSH_AUTH, so it has not all of the service's", _NAME_IT
        )
        return
    yield Finding("settings", Status.OK, f"complete{f', of {environment.origin}' if environment.origin else ''}")
    if settings.push_auth is PushAuth.NONE:
        yield Finding(
            "PUSH_AUTH", Status.WARNING, "none: whoever finds the address can push", "Set PUSH_AUTH to iam or oidc."
        )


_CORRECT_IT = "The service does not start until that is corrected."
_NAME_IT = "check --service NAME looks at the deployed service's settings."


def _of_the_settings(settings: Settings, *, is_deployed: bool) -> Findings:
    if settings.commercetools is None:
        yield Finding(
            "CTP_ settings",
            Status.WARNING,
            "none: only notifications that bring the customer can be delivered, and they may be stale",
            "Set CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL and CTP_SCOPES.",
        )
    if settings.commercetools is None and settings.orders is Orders.ON:
        yield Finding(
            "ORDERS",
            Status.FAILED,
            "on, without CTP_ settings: each order and payment must be read, so each of their notifications fails",
            "Set the CTP_ settings, or ORDERS to off.",
        )
    if settings.commercetools is None and settings.erasure is not Erasure.OFF:
        yield Finding(
            "ERASURE",
            Status.WARNING,
            f"{settings.erasure}, without CTP_ settings: a notification alone erases, also a mistaken or forged one",
            "Set the CTP_ settings: commercetools is then asked first whether the customer is gone.",
        )
    if settings.dead_letter_topic is None and not is_deployed:
        yield Finding("DEAD_LETTER_TOPIC", Status.UNKNOWN, "not set in this shell", _NAME_IT)
    elif settings.dead_letter_topic is None:
        yield Finding(
            "DEAD_LETTER_TOPIC",
            Status.WARNING,
            "not set: an unreadable message is redelivered until Pub/Sub gives up",
            "Set it to projects/PROJECT/topics/TOPIC.",
        )
    if settings.segment_user_id is UserIdField.EMAIL:
        yield _of_addresses_as_user_ids()
    if settings.segment_user_id is UserIdField.EMAIL and settings.erasure is Erasure.REQUESTED:
        yield Finding(
            "ERASURE",
            Status.WARNING,
            "requested, with e-mail addresses as userIds: commercetools' notification of an erasure carries no address",
            "Set SEGMENT_USER_ID to id, or ERASURE to every; else each erasure becomes a dead letter.",
        )
    elif settings.segment_user_id is not UserIdField.ID and settings.erasure is not Erasure.OFF:
        yield Finding(
            "ERASURE",
            Status.WARNING,
            f"{settings.erasure}, with {settings.segment_user_id} as userId: what an earlier one left in Segment stays",
            "Delete it in Segment by the trait commercetoolsId, or set SEGMENT_USER_ID to id.",
        )


def _of_addresses_as_user_ids() -> Finding:
    """Print the way from addresses to ids.

    https://www.twilio.com/docs/segment/unify/identity-resolution/identity-resolution-onboarding
    """
    return Finding(
        "SEGMENT_USER_ID",
        Status.WARNING,
        "email: a customer with a new address is a second person in Segment, and Unify cannot merge the two by alias",
        "To switch to id: allow commercetools_id in the space's identity resolution first; then set SEGMENT_USER_ID to "
        'id, write external_ids = { commercetools_id = "id" } below [identify] of the mapping file, and run '
        "commercetools-segment backfill. The profiles by address stay: delete or merge them downstream.",
    )


# The mapping file


def _of_the_mapping(environment: Environment, settings: Settings) -> tuple[ShopMapping | None, Sequence[Finding]]:
    """Return the mapping file's rules, None if there are none, and a line for the file if there is one."""
    what = "mapping"
    if not environment.get("MAPPING_FILE", "").strip():
        return None, []
    try:
        file = command_settings(environment.but(PUSH_AUTH="")).mapping_file
        rules = identify_rules_by(replace(settings, mapping_file=file))
    except ConfigError as error:
        return None, [Finding(what, Status.FAILED, str(error), _CORRECT_IT)]
    text = f"{rules.mapping.name}: {len(rules.mapping.identify.traits)} traits, rules {fingerprint_by(settings, rules)}"
    return rules.mapping, [Finding(what, Status.OK, text)]


def _of_the_mapping_alone(environment: Environment) -> Findings:
    """Yield a line for a mapping file that cannot be used, where other settings cannot either."""
    try:
        settings_from(environment, shop_mapping)
    except UnusableSettings as unusable:
        if "MAPPING_FILE" in unusable.problems:
            yield Finding("mapping", Status.FAILED, unusable.problems["MAPPING_FILE"], _CORRECT_IT)


def _of_types(project: CommercetoolsProject | None, mapping: ShopMapping, settings: Settings) -> Finding:
    """Compare the mapping file with the shop's Types."""
    what = "types"
    if project is None or settings.commercetools is None:
        return Finding(what, Status.UNKNOWN, "the shop's Types are not read without the CTP_ settings", _SET_TYPES)
    needed = f"view_types:{settings.commercetools.project_key}"
    try:
        types = all_types(lambda after: project.page_after(TYPE, after).documents)
    except ScopesRefused as problem:
        return Finding(what, Status.UNKNOWN, str(problem), "See the line of the commercetools token.")
    except (CannotRead, Malformed) as problem:
        if isinstance(problem, RequestRefused) and problem.status == HTTPStatus.FORBIDDEN:
            text = "commercetools does not let this API client read the shop's Types"
            todo = f"Check with an API client whose CTP_SCOPES have {needed} too; the service does not need it."
            return Finding(what, Status.UNKNOWN, text, todo)
        todo = what_to_do(problem) if isinstance(problem, CannotRead) else ""
        return Finding(what, Status.FAILED, str(problem), todo)
    comparison = compare(mapping, fields_of(types))
    lines = [f"{mapping.name}:{each.line}: {each.text}" for each in comparison.differences]
    lines = lines or [f"{comparison.compared} custom fields are read as the shop's Types have them"]
    if comparison.unmapped:
        more = len(comparison.unmapped) - _MOST_NAMED
        named = ", ".join(comparison.unmapped[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"no rule reads {named}")
    status, todo = _judged(comparison.differences)
    return Finding(what, status, "\n".join(lines), todo)


_MOST_NAMED = 30
_SET_TYPES = "Set them, to an API client that has view_types."


def _judged(differences: Sequence[Difference]) -> tuple[Status, str]:
    if any(difference.is_mistake for difference in differences):
        return Status.FAILED, "Correct the file: such a rule never gives a value."
    return (Status.WARNING, "Add or correct these keys.") if differences else (Status.OK, "")


# commercetools


def _of_commercetools(project: CommercetoolsProject, settings: CommercetoolsSettings, orders: Orders) -> Findings:
    key = settings.project_key
    needed = _needed(key, orders)
    try:
        scopes = project.granted_scopes()
    except ScopesRefused as problem:
        yield _of_refused_scopes(settings, problem, needed)
        return
    except CannotRead as problem:
        yield Finding("commercetools token", Status.FAILED, str(problem), what_to_do(problem))
        return
    named = ", ".join(sorted(scopes)) or "not told"
    lacks_groups = bool(scopes) and scopes.isdisjoint({f"{can}:{key}" for can in _CAN_READ_GROUPS})
    todo = f"If customers' groups are sent by their ids, it lacks view_customer_groups:{key}." if lacks_groups else ""
    yield Finding("commercetools token", Status.OK, f"scopes: {named}", todo)
    try:
        project.page_after(CUSTOMER, "")
        yield Finding("commercetools customers", Status.OK, f"of the project {key} can be read")
    except CannotRead as problem:
        yield Finding("commercetools customers", Status.FAILED, str(problem), what_to_do(problem))
    if orders is Orders.ON:
        yield from _of_orders(project, key, scopes)
    manages = {f"{manage}:{key}" for manage in _MORE_THAN_NEEDED} & scopes
    if manages:
        yield Finding(
            "commercetools scopes",
            Status.WARNING,
            f"{', '.join(sorted(manages))}: more than the service needs",
            f"Create an API client with only {needed}. To change CTP_SCOPES alone does not help: commercetools "
            "gives this API client no token for lesser scopes.",
        )


_CAN_READ_GROUPS = ("view_customer_groups", "manage_customer_groups", "manage_project")


_MORE_THAN_NEEDED = frozenset(
    ("manage_project", "manage_customers", "manage_orders", "manage_payments", "manage_discount_codes")
)


def _needed(key: str, orders: Orders) -> str:
    """Return the scopes of an API client for the service, in words."""
    of_orders = ["view_orders", "view_payments", "view_discount_codes"] if orders is Orders.ON else []
    *names, last = (f"{name}:{key}" for name in ("view_customers", *of_orders, "view_customer_groups"))
    return f"{', '.join(names)} and {last}"


def _of_orders(project: CommercetoolsProject, key: str, scopes: frozenset[str]) -> Findings:
    """Read an order and a payment, and look for the scope of the coupon's text."""
    yield _of_one(project, key, ORDER, "no event of an order or a refund can be told")
    yield _of_one(project, key, PAYMENT, "no refund can be told")
    if scopes and scopes.isdisjoint({f"{can}:{key}" for can in _CAN_READ_CODES}):
        yield Finding(
            "commercetools codes",
            Status.WARNING,
            f"view_discount_codes:{key} is missing: events have no coupon, since the text of a code cannot be read",
            f"Create an API client with {_needed(key, Orders.ON)}, and name these in CTP_SCOPES.",
        )


def _of_one(project: CommercetoolsProject, key: str, of: ResourceType[AnyResource], without: str) -> Finding:
    """Read one resource of a type. `without` says what follows where that is not allowed."""
    what = f"commercetools {of.path}"
    try:
        found = project.page_after(of, "", limit=1).documents
    except CannotRead as problem:
        if isinstance(problem, RequestRefused) and problem.status == HTTPStatus.FORBIDDEN:
            text = f"{problem}: this API client lacks view_{of.path}:{key}, and without it {without}"
            todo = f"Create an API client with {_needed(key, Orders.ON)}, and name these in CTP_SCOPES."
            return Finding(what, Status.FAILED, text, todo)
        return Finding(what, Status.FAILED, str(problem), what_to_do(problem))
    return Finding(what, Status.OK, f"of the project {key} can be read{'' if found else '; there is none yet'}")


_CAN_READ_CODES = ("view_discount_codes", "manage_discount_codes", "manage_project")


def _of_refused_scopes(settings: CommercetoolsSettings, problem: ScopesRefused, needed: str) -> Finding:
    """Explain invalid_scope: the API client has other scopes than CTP_SCOPES requests."""
    text = f"{problem}: the API client does not have all of the requested scopes, {', '.join(settings.scopes.split())}"
    try:
        # A token that is requested without scopes gets those of the client: https://docs.commercetools.com/api/scopes
        has = CommercetoolsProject(replace(settings, scopes="")).granted_scopes()
    except CannotRead:
        has = frozenset()
    if has:
        text += f"; it has {', '.join(sorted(has))}"
    return Finding(
        "commercetools token",
        Status.FAILED,
        text,
        f"Create an API client with {needed} (the scopes of an existing one cannot change), or "
        "set CTP_SCOPES to scopes that it has, by their own names: with manage_project it gets no token for "
        "view_customers.",
    )


def _found(project: CommercetoolsProject, key: str) -> tuple[Mapping[str, Any] | None, Sequence[Finding]]:
    """Return the Subscription, or None and the findings that say why."""
    what = "Subscription"
    try:
        found = found_subscription(project, key)
    except ScopesRefused as problem:
        return None, [Finding(what, Status.UNKNOWN, str(problem), "See the line of the commercetools token.")]
    except CannotRead as problem:
        return None, [Finding(what, Status.FAILED, str(problem), what_to_do(problem))]
    except NotAllowed:
        todo = "It needs an API client with manage_subscriptions, which the service itself does not need."
        return None, [Finding(what, Status.UNKNOWN, "commercetools does not let this API client look at it", todo)]
    except Trouble as trouble:
        return None, [Finding(what, Status.FAILED, str(trouble))]
    if found is None:
        todo = "Make it: commercetools-segment subscribe (or name it with --subscription-key)."
        return None, [Finding(what, Status.FAILED, f"commercetools has none with the key {key}", todo)]
    return found, []


_HEALTH = {
    "Healthy": (Status.OK, ""),
    "TemporaryError": (
        Status.WARNING,
        "commercetools retries; if it lasts, see Google's status page.",
    ),
    "ConfigurationError": (
        Status.FAILED,
        f"Repair the topic and its grant of roles/pubsub.publisher to {PUBLISHER}; what waits is delivered then.",
    ),
    "ConfigurationErrorDeliveryStopped": (
        Status.FAILED,
        (
            "commercetools does not resume by itself, and notifications are lost: repair the topic and its grant, run "
            "commercetools-segment subscribe, then commercetools-segment backfill --since the day it stopped."
        ),
    ),
    "ManuallySuspended": (
        Status.FAILED,
        "Only commercetools' support can end this; then commercetools-segment backfill --since the day it stopped.",
    ),
}


def _of_the_subscription(found: Mapping[str, Any], settings: Settings, topic: str | None, key: str) -> Findings:
    health = str(found.get("status"))
    status, todo = _HEALTH.get(health, (Status.WARNING, "An unknown status: see commercetools' documentation."))
    yield Finding("Subscription", status, f"{key}: {health}", todo)
    if topic is None:
        named = topic_of(found.get("destination"))
        text = "is not a Google Pub/Sub topic" if named is None else f"{named} is not the name of a topic"
        yield Finding("Subscription's topic", Status.FAILED, text, "See commercetools-segment subscribe.")
        return
    missing = "; ".join(f"{of}: {', '.join(types)}" for of, types in missing_messages(found, settings).items())
    if missing:
        text = f"these are missing, and what follows from them is not told: {missing}"
        todo = "commercetools-segment subscribe adds them; --dry-run shows the difference."
        yield Finding("Subscription's Messages", Status.FAILED, text, todo)
    told = {"status", "messages"} if missing else {"status"}
    changes = [
        change for change in differences(found, wanted_subscription(settings, topic, key)) if change.what not in told
    ]
    if changes:
        text = "; ".join(f"{change.what}: {change.now} instead of {change.wanted}" for change in changes)
        yield Finding(
            "Subscription's contents", Status.WARNING, text, "commercetools-segment subscribe --dry-run shows it."
        )
    elif not missing:
        yield Finding("Subscription's contents", Status.OK, "what this configuration needs")


def _usable_topic_of(found: Mapping[str, Any] | None) -> str | None:
    name = topic_of((found or {}).get("destination"))
    return name if name is not None and TOPIC_NAME.fullmatch(name) else None


# Segment


def _of_segment(settings: Settings, *, send_test_event: bool) -> Findings:
    client = create_segment_client(settings.segment.write_key, settings.segment.host)
    error = client.post([])
    what = f"Segment ({settings.segment.region})"
    if error is not None and not error.refused:
        text = f"{error.message} ({settings.segment.host})"
        yield Finding(what, Status.FAILED, text, "Look at SEGMENT_REGION and SEGMENT_HOST, and at the network.")
        return
    yield Finding(what, Status.OK, f"{settings.segment.host} answers")
    if not send_test_event:
        yield Finding(
            "Segment write key",
            Status.UNKNOWN,
            "Segment answers 200 even to a key it does not know, and in the wrong region",
            "Run check --send-test-event, and look for the event in the source's debugger.",
        )
        return
    yield _test_event(client)


def _test_event(client: SegmentClient) -> Finding:
    mark = f"check-{secrets.token_hex(4)}"
    try:
        client.identify(TEST_USER_ID, {"commercetoolsSegmentCheck": mark}, message_id=mark, context={"active": False})
    except NotDelivered as not_delivered:
        todo = "Look at SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST."
        return Finding("Segment test event", Status.FAILED, str(not_delivered), todo)
    return Finding(
        "Segment test event",
        Status.OK,
        f"userId {TEST_USER_ID}, trait commercetoolsSegmentCheck = {mark}",
        "If it is not in the source's debugger within a minute, the write key or the region is wrong.",
    )


# Google


class _CannotTell(Exception):
    """Google gave no answer because a grant, credentials or the feature are missing. The text says which."""


class _Google:
    """The topic, the push subscription and their grants."""

    def __init__(self, settings: Settings, topic: str | None, subscription: str | None) -> None:
        self._settings = settings
        self._topic = topic
        self._subscription = subscription

    def findings(self) -> Findings:
        if self._topic is None and self._subscription is None:
            yield Finding(
                "topic", Status.UNKNOWN, "its name is not known", "Name it with --topic, the push with --subscription."
            )
            return
        try:
            with _reasons_shown():
                publisher, subscriber = pubsub_clients()
        except _CannotTell as reason:
            yield Finding("Google Pub/Sub", Status.UNKNOWN, str(reason))
            return
        try:
            yield from self._of_both(publisher, subscriber)
        finally:
            publisher.stop()
            publisher.transport.close()
            subscriber.close()

    def _of_both(self, publisher: Any, subscriber: Any) -> Findings:  # noqa: ANN401  # they come without types
        config, problems = self._config(publisher, subscriber)
        topic = self._topic or (config.topic if config else None)
        if topic is not None:
            yield from self._of_the_topic(publisher, topic)
        yield from problems
        if config is not None:
            yield from self._of_the_push(config, topic)
            yield from self._of_dead_letters(publisher, subscriber, config)
        elif self._settings.dead_letter_topic is not None:
            yield from _of_a_dead_letter_topic(publisher, self._settings.dead_letter_topic)

    def _config(self, publisher: Any, subscriber: Any) -> tuple[Any, Sequence[Finding]]:  # noqa: ANN401  # as above
        """Return the push subscription's configuration, or None and the findings that say why."""
        try:
            if self._subscription is not None:
                config = _ask(subscriber.get_subscription, subscription=self._subscription)
                return self._pushing(config, self._subscription)
            of_topic = _subscriptions(publisher, self._topic or "") or ()
            configs = [_ask(subscriber.get_subscription, subscription=name) for name in of_topic]
        except _CannotTell as reason:
            return None, [Finding(_PUSH, Status.UNKNOWN, str(reason))]
        pushing = [config for config in configs if config is not None and config.push_config.push_endpoint]
        if len(pushing) == 1:
            return pushing[0], []
        if pushing:
            text = f"{len(pushing)} subscriptions of the topic push"
            return None, [Finding(_PUSH, Status.UNKNOWN, text, "Name the one that is meant with --subscription.")]
        return None, [Finding(_PUSH, Status.FAILED, "no subscription of the topic pushes", "Make one, to the service.")]

    def _pushing(self, config: Any, name: str) -> tuple[Any, Sequence[Finding]]:  # noqa: ANN401  # as above
        if config is None:
            return None, [Finding(_PUSH, Status.FAILED, f"there is no {name}", "Make one, to the service.")]
        if not config.push_config.push_endpoint:
            return None, [
                Finding(_PUSH, Status.FAILED, f"{name} has no push endpoint", "Set it: the service's address.")
            ]
        return config, []

    def _of_the_topic(self, publisher: Any, topic: str) -> Findings:  # noqa: ANN401  # as above
        try:
            if _ask(publisher.get_topic, topic=topic) is None:
                yield Finding("topic", Status.FAILED, f"there is no {topic}", "Make it, then commercetools' grant.")
                return
            yield Finding("topic", Status.OK, topic)
        except _CannotTell as reason:
            yield Finding("topic", Status.UNKNOWN, str(reason))
        yield _grant(
            "topic's grant",
            publisher,
            topic,
            "roles/pubsub.publisher",
            to=lambda member: member == PUBLISHER,
            todo=f"commercetools cannot publish: grant roles/pubsub.publisher to {PUBLISHER}.",
        )

    def _of_the_push(self, config: Any, topic: str | None) -> Findings:  # noqa: ANN401  # as above
        endpoint = config.push_config.push_endpoint
        if topic is not None and config.topic != topic:
            todo = f"It must be a subscription of {topic}, to which commercetools publishes."
            yield Finding(_PUSH, Status.FAILED, f"{config.name} is one of {config.topic}", todo)
        else:
            yield Finding(_PUSH, Status.OK, f"{config.name} pushes to {endpoint}")
        yield self._of_the_token(config.push_config)
        yield _of_strangers(endpoint, self._settings.push_auth)
        yield _of_the_ack_deadline(config.ack_deadline_seconds)
        yield _of_the_retry_policy(config)
        if "expiration_policy" in config and config.expiration_policy.ttl:
            yield Finding(
                "push expiration",
                Status.WARNING,
                f"the subscription is deleted when it was not used for {config.expiration_policy.ttl.days} days",
                "Set its expiration to never.",
            )

    def _of_the_token(self, push: Any) -> Finding:  # noqa: ANN401  # as above
        what = "push token"
        token = push.oidc_token if "oidc_token" in push else None
        if token is None:
            if self._settings.push_auth is PushAuth.NONE:
                return Finding(what, Status.WARNING, "none, and PUSH_AUTH accepts pushes without it")
            todo = "Set a service account (and an audience) on the push subscription."
            return Finding(what, Status.FAILED, "none: each push is turned away", todo)
        audience = token.audience or push.push_endpoint
        for name, said, wanted in (
            ("PUSH_AUDIENCE", audience, self._settings.push_audience),
            ("PUSH_SERVICE_ACCOUNT", token.service_account_email, self._settings.push_service_account),
        ):
            if wanted is not None and said != wanted:
                todo = "One of the two must change: each push is turned away."
                return Finding(what, Status.FAILED, f"says {said}, but {name} is {wanted}", todo)
        return Finding(what, Status.OK, f"for {audience}, as {token.service_account_email}")

    def _of_dead_letters(self, publisher: Any, subscriber: Any, config: Any) -> Findings:  # noqa: ANN401  # as above
        what = "dead letters"
        if "dead_letter_policy" not in config or not config.dead_letter_policy.dead_letter_topic:
            todo = "Give the push subscription a dead-letter topic and 100 attempts."
            yield Finding(
                what,
                Status.WARNING,
                "no policy: a message that always fails is retried until Pub/Sub discards it",
                todo,
            )
            return
        topic, attempts = config.dead_letter_policy.dead_letter_topic, config.dead_letter_policy.max_delivery_attempts
        yield Finding(
            what,
            Status.OK if attempts >= _FEWEST_ATTEMPTS else Status.WARNING,
            f"{topic} after {attempts} attempts",
            "" if attempts >= _FEWEST_ATTEMPTS else "100 attempts last for most of a day of failures.",
        )
        if self._settings.dead_letter_topic not in {None, topic}:
            todo = "Let both be the same, so that there is one place to look."
            yield Finding(
                what, Status.WARNING, f"DEAD_LETTER_TOPIC is another: {self._settings.dead_letter_topic}", todo
            )
        yield from _of_a_dead_letter_topic(publisher, topic)
        agent = "Pub/Sub's own service account (service-NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com)"
        yield _grant(
            "dead-letter grants",
            publisher,
            topic,
            "roles/pubsub.publisher",
            to=_AGENT.fullmatch,
            todo=f"Grant roles/pubsub.publisher on {topic} to {agent}: without it, nothing is dead-lettered.",
        )
        yield _grant(
            "dead-letter grants",
            subscriber,
            config.name,
            "roles/pubsub.subscriber",
            to=_AGENT.fullmatch,
            todo=f"Grant roles/pubsub.subscriber on {config.name} to {agent}: without it, nothing is dead-lettered.",
        )


def _of_strangers(endpoint: str, push_auth: PushAuth) -> Finding:
    """Ask the service for its health without a token: only where it checks pushes itself may it answer.

    https://cloud.google.com/run/docs/authenticating/public
    """
    what = "public access"
    try:
        parts = urlsplit(endpoint)
        address = f"{parts.scheme}://{parts.netloc}/health"
        with session() as http:
            answer = http.get(address, timeout=timeout(_CALL_SECONDS))
    except (requests.RequestException, ValueError) as error:  # ValueError: urllib3's, for an address that is none
        why = cause_of(error) or type(error).__name__
        return Finding(what, Status.UNKNOWN, f"{endpoint} was not reached: {why}", _LOOK_AT_THE_GRANTS)
    if answer.status_code == HTTPStatus.OK and answer.content.strip() == b'{"status": "ok"}':
        text = f"{address} answers without a token"
        if push_auth is PushAuth.OIDC:
            return Finding(what, Status.OK, f"{text}; the service checks the token of a push itself")
        status = Status.FAILED if push_auth is PushAuth.IAM else Status.WARNING
        return Finding(
            what, status, f"{text}, and nobody checks the token of a push: whoever finds it can push", _CLOSE
        )
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        text = f"{address} answers {answer.status_code} without a token"
        if push_auth is PushAuth.OIDC:
            # https://cloud.google.com/run/docs/troubleshooting
            todo = (
                "If that is Cloud Run, set invoker_iam_disabled = true or PUSH_AUTH to iam: it removes the signature."
            )
            return Finding(what, Status.WARNING, f"{text}, though the service is to check the token itself", todo)
        return Finding(what, Status.OK, text)
    text = f"{address} answers {answer.status_code}"
    if answer.status_code == HTTPStatus.NOT_FOUND:
        text += ", as Cloud Run does where ingress does not let this network in"
    return Finding(what, Status.UNKNOWN, text, _LOOK_AT_THE_GRANTS)


_CLOSE = (
    "Remove allUsers and allAuthenticatedUsers from roles/run.invoker, and set invoker_iam_disabled = false and "
    "PUSH_AUTH to iam; or set PUSH_AUTH to oidc."
)
_LOOK_AT_THE_GRANTS = (
    "With PUSH_AUTH=iam, gcloud run services get-iam-policy must show neither allUsers nor allAuthenticatedUsers."
)


def _of_the_ack_deadline(seconds: int) -> Finding:
    what, text = "push ack deadline", f"{seconds} s"
    if seconds < _PUSH_SECONDS:
        todo = f"Set it to {_ACK_DEADLINE} s: Pub/Sub gives up on pushes that the service is still working at."
        return Finding(what, Status.FAILED, text, todo)
    if seconds < _ACK_DEADLINE:
        return Finding(what, Status.WARNING, text, f"Set it to {_ACK_DEADLINE} s, above Cloud Run's request timeout.")
    return Finding(what, Status.OK, text)


def _of_the_retry_policy(config: Any) -> Finding:  # noqa: ANN401  # as above
    what = "push retry policy"
    if "retry_policy" not in config:
        todo = "Set an exponential backoff from 10 s to 600 s."
        return Finding(what, Status.WARNING, "none: a failed message is redelivered at once", todo)
    least, most = config.retry_policy.minimum_backoff, config.retry_policy.maximum_backoff
    text = f"from {least.total_seconds():.0f} s to {most.total_seconds():.0f} s"
    if most < timedelta(seconds=_ACK_DEADLINE):
        return Finding(what, Status.WARNING, text, "Up to 600 s puts less load on a failing Segment.")
    return Finding(what, Status.OK, text)


def _of_a_dead_letter_topic(publisher: Any, topic: str) -> Findings:  # noqa: ANN401  # as above
    try:
        subscriptions = _subscriptions(publisher, topic)
    except _CannotTell as reason:
        yield Finding("dead-letter subscription", Status.UNKNOWN, str(reason))
        return
    if subscriptions is None:
        yield Finding("dead-letter topic", Status.FAILED, f"there is no {topic}", "Make it, and a subscription to it.")
    elif subscriptions:
        yield Finding("dead-letter subscription", Status.OK, ", ".join(subscriptions))
    else:
        todo = "Make one, kept for 31 days: a topic alone keeps nothing."
        yield Finding("dead-letter subscription", Status.FAILED, f"{topic} has none: dead letters are lost", todo)


def _subscriptions(publisher: Any, topic: str) -> Sequence[str] | None:  # noqa: ANN401  # as above
    """Return the names of a topic's subscriptions, None if there is no such topic. Raises _CannotTell."""

    def listed(**request: object) -> list[str]:
        return list(publisher.list_topic_subscriptions(**request))  # all pages

    names: list[str] | None = _ask(listed, topic=topic)
    return names


def _grant(
    what: str,
    client: Any,  # noqa: ANN401  # as above
    resource: str,
    role: str,
    *,
    to: Callable[[str], object],
    todo: str,
) -> Finding:
    try:
        policy = _ask(client.get_iam_policy, request={"resource": resource})
    except _CannotTell as reason:
        return Finding(what, Status.UNKNOWN, f"the grants on {resource}: {reason}")
    members = [
        member
        for binding in (policy.bindings if policy is not None else ())
        if binding.role == role and not binding.condition.expression
        for member in binding.members
    ]
    if any(to(member) for member in members):
        return Finding(what, Status.OK, f"{role} on {resource}")
    # A grant on the project is effective too, and is not visible here.
    return Finding(
        what, Status.WARNING, f"{role} is not granted on {resource} itself", f"If not by the project: {todo}"
    )


def _ask(method: Callable[..., Any], **request: object) -> Any:  # noqa: ANN401  # as above
    """Return what Google answers, or None if the resource does not exist. Raises _CannotTell."""
    with _reasons_shown():
        from google.api_core.exceptions import NotFound  # noqa: PLC0415  # as above

        try:
            return method(**request, retry=None, timeout=_CALL_SECONDS)
        except NotFound:
            return None


@contextmanager
def _reasons_shown() -> Iterator[None]:
    """Turn Google's errors into _CannotTell."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415  # 0.2 s, for this and dead letters alone
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415  # as above

    try:
        yield
    except GoogleAuthError:
        raise _CannotTell(
            "there are no usable Google credentials here: gcloud auth application-default login"
        ) from None
    except GoogleAPICallError as error:
        raise _CannotTell(_REASONS.get(type(error).__name__, type(error).__name__)) from None


_REASONS = {
    "PermissionDenied": "not allowed to look",
    "MethodNotImplemented": "this Pub/Sub (an emulator) has no grants",
    "ServiceUnavailable": "Pub/Sub was not reached",
    "DeadlineExceeded": "Pub/Sub did not answer in time",
}
