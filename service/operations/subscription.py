"""subscribe, unsubscribe: create, update or delete the commercetools Subscription that publishes to the topic.

https://docs.commercetools.com/api/projects/subscriptions
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from rich.table import Table
from rich.text import Text

from service.commercetools.client import CommercetoolsProject
from service.commercetools.customer import CUSTOMER
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.commercetools.resource import CannotRead
from service.config import CLIENT, ConfigError, Erasure, Orders, Settings, UserIdField, value_of
from service.operations import (
    DECIDING,
    UNREAD,
    Exit,
    Output,
    Trouble,
    cannot_read,
    command_settings,
    commercetools_of,
    plain,
)
from service.transformation.facts import ORDER_MESSAGES, PAYMENT_MESSAGES

DEFAULT_KEY = "commercetools-segment"
PUBLISHER = "serviceAccount:subscriptions@commercetools-platform.iam.gserviceaccount.com"
"""The account that publishes for commercetools: https://docs.commercetools.com/api/projects/subscriptions#google-cloud-pubsub-destination"""
STOPPED = frozenset({"ConfigurationErrorDeliveryStopped", "ManuallySuspended"})
"""The statuses in which notifications are lost until somebody repairs it."""

_PUBSUB = "GoogleCloudPubSub"
_TOPIC = re.compile(r"projects/([^/\s]+)/topics/([^/\s]+)")
_KEY = re.compile(r"[A-Za-z0-9_-]{2,256}")

Document = Mapping[str, Any]


class Format(StrEnum):
    """How notifications are written; the service reads both."""

    PLATFORM = "Platform"
    CLOUD_EVENTS = "CloudEvents"


class NotAllowed(Trouble):
    """The API client has no permission to read or change Subscriptions."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One change: what it is, the value now and the wanted one, and commercetools' update action."""

    what: str
    now: str
    wanted: str
    action: Document


def wanted_subscription(settings: Settings, topic: str, key: str, format_: Format | None = None) -> dict[str, Any]:
    """Return the draft of the Subscription that this configuration needs. Raises ConfigError for a bad name.

    All changes of customers; CustomerDeleted where erasure needs the e-mail address, which only that Message has; and
    with ORDERS=on the Messages from which events of orders follow.
    """
    name = _TOPIC.fullmatch(value_of("The topic", topic))
    if name is None:
        raise ConfigError("The topic must have the form projects/PROJECT/topics/TOPIC.")
    look_at_key(key)
    return {
        "key": key,
        "destination": {"type": _PUBSUB, "projectId": name[1], "topic": name[2]},
        "changes": [{"resourceTypeId": CUSTOMER.type_id}],
        "messages": [{"resourceTypeId": of, "types": types} for of, types in _wanted_messages(settings).items()],
        "format": _FORMATS[format_ or Format.PLATFORM],
    }


def _wanted_messages(settings: Settings) -> dict[str, list[str]]:
    """Return the types of the Messages that this configuration needs, by the type of their resource."""
    wanted: dict[str, list[str]] = {}
    if settings.erasure is not Erasure.OFF and settings.segment_user_id is UserIdField.EMAIL:
        wanted[CUSTOMER.type_id] = ["CustomerDeleted"]
    if settings.orders is Orders.ON:
        wanted |= {ORDER.type_id: list(ORDER_MESSAGES), PAYMENT.type_id: list(PAYMENT_MESSAGES)}
    return wanted


def look_at_key(key: str) -> None:
    """Raise ConfigError if this is not the key of a Subscription."""
    value_of("The key", key)
    if not _KEY.fullmatch(key):
        raise ConfigError("The key of a Subscription has 2 to 256 letters, digits, hyphens and underscores.")


_FORMATS: Mapping[Format, Document] = {
    Format.PLATFORM: {"type": "Platform"},
    Format.CLOUD_EVENTS: {"type": "CloudEvents", "cloudEventsVersion": "1.0"},
}


def differences(found: Document, wanted: Document) -> list[Difference]:
    """Return what must change in the existing Subscription, except its format, which cannot change."""
    changes = []
    here, there = _destination(found.get("destination")), _destination(wanted["destination"])
    stopped = found.get("status") in STOPPED
    if here != there or stopped:
        action = {"action": "changeDestination", "destination": wanted["destination"]}
        if here != there:
            changes.append(Difference("destination", here, there, action))
        else:
            changes.append(Difference("status", str(found.get("status")), "Healthy, by setting the topic anew", action))
    for field, words in (("changes", _changes), ("messages", _messages)):
        here, there = words(found.get(field)), words(wanted[field])
        if here != there:
            action = {"action": f"set{field.capitalize()}", field: wanted[field]}
            changes.append(Difference(field, here, there, action))
    return changes


def _destination(destination: object) -> str:
    if not isinstance(destination, dict):
        return "·"
    return topic_of(destination) or str(destination.get("type"))


def topic_of(destination: object) -> str | None:
    """Return the topic of a Subscription's destination by its full name; None if that is not Google Pub/Sub.

    Its field `topic` holds the topic's id, or the full name.
    """
    if not isinstance(destination, dict) or destination.get("type") != _PUBSUB:
        return None
    topic = str(destination.get("topic"))
    return topic if _TOPIC.fullmatch(topic) else f"projects/{destination.get('projectId')}/topics/{topic}"


def _changes(changes: object) -> str:
    return ", ".join(sorted(str(each.get("resourceTypeId")) for each in _objects(changes))) or "·"


def _messages(messages: object) -> str:
    texts = []
    for each in _objects(messages):
        types = each.get("types")
        of = ", ".join(sorted(map(str, types))) if isinstance(types, list) and types else "all"
        texts.append(f"{each.get('resourceTypeId')}: {of}")
    return "; ".join(sorted(texts)) or "·"


def missing_messages(found: Document, settings: Settings) -> dict[str, list[str]]:
    """Return the Messages that this configuration needs and the Subscription does not bring, by type of resource."""
    brought = {str(each.get("resourceTypeId")): each.get("types") for each in _objects(found.get("messages"))}
    missing = {}
    for of, needed in _wanted_messages(settings).items():
        types = brought.get(of)
        # Without types it brings all: https://docs.commercetools.com/api/projects/subscriptions#messagesubscription
        lacking = [] if of in brought and not types else [one for one in needed if one not in (types or ())]
        if lacking:
            missing[of] = lacking
    return missing


def _objects(found: object) -> Sequence[Document]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def found_subscription(project: CommercetoolsProject, key: str) -> Document | None:
    """Return the Subscription with this key, or None if there is none. Raises CannotRead, or Trouble if not allowed."""
    status, document = project.ask("GET", f"/subscriptions/key={key}")
    if status == HTTPStatus.NOT_FOUND and _code(document) == "ResourceNotFound":
        return None
    if status != HTTPStatus.OK:
        raise _refusal(status, document, "")
    return document


def losses(found: Document, wanted: Document) -> list[str]:
    """Return in words what no longer comes, or comes elsewhere, once the Subscription found is the wanted one."""
    lost = []
    here, there = _destination(found.get("destination")), _destination(wanted["destination"])
    if here != there:
        lost.append(f"It would publish to {there}, and nothing more to {here}.")
    for of, types in _lost(found.get("messages"), wanted["messages"]):
        erases = of != CUSTOMER.type_id or not types or "CustomerDeleted" in types
        without = _WITHOUT.get(of, "") if erases and of not in _kept(wanted["messages"]) else ""
        lost.append(f"{of}: {', '.join(types) or 'all other Messages'} would not come any more{without}.")
    lost += [f"Changes of {of} would not come any more." for of, _ in _lost(found.get("changes"), wanted["changes"])]
    return lost


def _lost(found: object, wanted: Sequence[Document]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each type of resource with the types of Messages that are lost; none means all, or all others."""
    kept = _kept(wanted)
    for each in _objects(found):
        of, types = str(each.get("resourceTypeId")), [str(one) for one in each.get("types") or ()]
        if of not in kept:
            yield of, types
        elif kept[of]:
            gone = [one for one in types if one not in kept[of]]
            if gone or not types:
                yield of, gone


def _kept(wanted: Sequence[Document]) -> dict[str, Sequence[str]]:
    return {str(each["resourceTypeId"]): each.get("types", ()) for each in wanted}


_WITHOUT: Mapping[str, str] = {
    CUSTOMER.type_id: ": deleted customers would not be erased in Segment any more",
    ORDER.type_id: ": Segment would not get orders any more",
    PAYMENT.type_id: ": Segment would not get refunds any more",
}


def run(
    output: Output,
    environment: Mapping[str, str],
    *,
    topic: str | None,
    key: str | None,
    format_: Format | None,
    agreed: Callable[[], bool] | None,
    dry_run: bool,
) -> Exit:
    """Create or update the Subscription; with `dry_run` only show the changes. Raises ConfigError and Trouble.

    `agreed` is asked before it loses Messages or changes its destination; None is nobody there to ask. If it is not
    agreed, nothing is changed and the exit code is ATTENTION.
    """
    settings = command_settings(
        environment,
        needs=[*DECIDING, *CLIENT, *(() if topic else ("PUBSUB_TOPIC",))],
        unread=["SEGMENT_PUBLIC_API_TOKEN"],
        SEGMENT_WRITE_KEY=UNREAD,
    )
    topic = topic or environment["PUBSUB_TOPIC"]
    key = key or environment.get("CTP_SUBSCRIPTION_KEY", "").strip() or DEFAULT_KEY
    wanted = wanted_subscription(settings, topic, key, format_)
    project = CommercetoolsProject(commercetools_of(settings))
    try:
        found = found_subscription(project, key)
        changes = _drafted(wanted) if found is None else differences(found, wanted)
        if found is not None and format_ is not None and _format(found) != format_:
            raise Trouble(
                f"The Subscription {key} has the format {_format(found)}, which commercetools cannot change. "
                "Delete it there first, or choose another --key (and delete the old one when the new one delivers).",
                Exit.UNUSABLE,
            )
        lost = [] if found is None else losses(found, wanted)
        if lost and not dry_run and not _is_agreed(output, key, lost, agreed):
            output.remark("Nothing was changed.")
            return Exit.ATTENTION
        if changes and not dry_run:
            _apply(project, found, wanted, changes, topic)
    except CannotRead as problem:
        raise cannot_read(problem) from None
    _report(output, key, found, changes, lost, dry_run=dry_run)
    return Exit.ATTENTION if dry_run and changes else Exit.DONE


def _is_agreed(output: Output, key: str, lost: Sequence[str], agreed: Callable[[], bool] | None) -> bool:
    text = f"The Subscription {key} would lose something:\n" + "\n".join(f"  {each}" for each in lost)
    if agreed is None:
        raise Trouble(
            f"{text}\nNothing was changed, since there is no terminal to ask at: add --yes if that is meant, or look "
            "at SEGMENT_USER_ID, ERASURE, ORDERS and the topic.",
            Exit.UNUSABLE,
        )
    output.remark(text, "yellow")
    return agreed()


def _drafted(wanted: Document) -> list[Difference]:
    rows = (
        ("destination", _destination(wanted["destination"])),
        ("changes", _changes(wanted["changes"])),
        ("messages", _messages(wanted["messages"])),
        ("format", str(wanted["format"]["type"])),
    )
    return [Difference(what, "·", there, {}) for what, there in rows if there != "·"]


def _apply(
    project: CommercetoolsProject,
    found: Document | None,
    wanted: Document,
    changes: Sequence[Difference],
    topic: str,
) -> None:
    if found is None:
        status, answer = project.ask("POST", "/subscriptions", document=wanted)
    else:
        update = {"version": found.get("version"), "actions": [change.action for change in changes]}
        status, answer = project.ask("POST", f"/subscriptions/{found.get('id')}", document=update)
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise _refusal(status, answer, topic)


def _refusal(status: int, document: Document, topic: str) -> Trouble:
    """Return the Trouble for an error answer of the Subscriptions API."""
    message = str(document.get("message", ""))
    if status == HTTPStatus.FORBIDDEN:
        return NotAllowed(
            "commercetools answered 403: the API client may not manage Subscriptions. Give this command one whose "
            "scopes have manage_subscriptions:PROJECT_KEY, in CTP_CLIENT_ID, CTP_CLIENT_SECRET and CTP_SCOPES."
        )
    if status == HTTPStatus.BAD_REQUEST and "test message could not be delivered" in message:
        project, _, name = topic.removeprefix("projects/").partition("/topics/")
        return Trouble(
            f"commercetools could not publish its test message to {topic}, so nothing was changed. Either there is no "
            "such topic, or it lacks the publisher grant for commercetools. The grant:\n"
            f"  gcloud pubsub topics add-iam-policy-binding {name} --project={project} \\\n"
            f"    --member={PUBLISHER} --role=roles/pubsub.publisher"
        )
    if status == HTTPStatus.CONFLICT:
        return Trouble("Somebody else changed the Subscription meanwhile. Nothing was changed; run the command again.")
    code = _code(document)
    return Trouble(f"commercetools answered {status}{f' {code}' if code else ''}: {plain(message)}".rstrip(": ") + ".")


def _code(document: Document) -> str:
    errors = _objects(document.get("errors"))
    return str(errors[0].get("code", "")) if errors else ""


def _format(found: Document) -> str:
    format_ = found.get("format")
    return str(format_.get("type")) if isinstance(format_, dict) else Format.PLATFORM


def _report(
    output: Output,
    key: str,
    found: Document | None,
    changes: Sequence[Difference],
    lost: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    if output.as_json:
        rows = [{"what": change.what, "now": change.now, "wanted": change.wanted} for change in changes]
        output.document(
            {
                "key": key,
                "existed": found is not None,
                "changes": rows,
                "lost": list(lost),
                "applied": bool(changes) and not dry_run,
            }
        )
        return
    would = "would be " if dry_run else "was "
    if not changes:
        output.results.print(Text(f"The Subscription {key} is as it should be.", "green"))
        return
    output.results.print(Text(f"The Subscription {key} {would}{'created' if found is None else 'changed'}:", "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("what", "now", "wanted"):
        table.add_column(column, overflow="fold")
    for change in changes:
        table.add_row(*(Text(plain(text)) for text in (change.what, change.now, change.wanted)))
    output.table(table)
    for each in lost if dry_run else ():
        output.remark(each, "yellow")
    if dry_run:
        return
    output.remark("It takes up to a minute until notifications come.")
    if found is None or any(change.action.get("action") == "changeDestination" for change in changes):
        output.remark("What changed in the shop before that is missing in Segment: commercetools-segment backfill.")


def run_unsubscribe(
    output: Output, environment: Mapping[str, str], *, key: str | None, dry_run: bool, agreed: Callable[[], bool]
) -> Exit:
    """Delete the Subscription with this key; `agreed` is called before. Raises ConfigError and Trouble.

    https://docs.commercetools.com/api/projects/subscriptions#delete-subscription-by-key
    """
    key = key or environment.get("CTP_SUBSCRIPTION_KEY", "").strip() or DEFAULT_KEY
    look_at_key(key)
    unread = ["SEGMENT_PUBLIC_API_TOKEN"]
    settings = command_settings(environment, needs=CLIENT, unread=unread, SEGMENT_WRITE_KEY=UNREAD)
    project = CommercetoolsProject(commercetools_of(settings))
    try:
        found = found_subscription(project, key)
        topic = _destination(found.get("destination")) if found else ""
        if found and not output.as_json:
            output.remark(f"The Subscription {key} publishes to {plain(topic)}.")
        deletes = found is not None and not dry_run and agreed()
        if found and deletes:
            query = {"version": found.get("version")}
            status, answer = project.ask("DELETE", f"/subscriptions/key={key}", query=query)
            if status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
                raise _refusal(status, answer, topic)
    except CannotRead as problem:
        raise cannot_read(problem) from None
    if output.as_json:
        output.document({"key": key, "existed": found is not None, "topic": topic or None, "deleted": deletes})
    elif found is None:
        output.results.print(Text(f"There is no Subscription {key}.", "green"))
    elif deletes or dry_run:
        output.results.print(Text(f"The Subscription {key} {'was' if deletes else 'would be'} deleted.", "bold"))
    if deletes and not output.as_json:
        output.remark("It takes up to a minute until no notifications come. What is in Pub/Sub is still delivered.")
    return Exit.ATTENTION if found and not deletes else Exit.DONE
