"""explain: what a push, a notification or a customer is, its outcome, and exactly what Segment would get.

It runs the service's own code (service.integration), with functions that record instead of calling upstreams.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import CUSTOMER, Customer
from service.commercetools.notification import Notification, read_notification
from service.commercetools.resource import AnyResource, Resource, ResourceType
from service.config import ClearTraits, Settings, UserIdField
from service.integration import integration_by
from service.kinds import Now, Reads, included
from service.operations import Exit, Output, command_settings, commercetools_of, plain
from service.operations.origins import Origin, consents, origins
from service.outcome import Ending, Outcome
from service.pubsub.envelope import PushMessage, open_envelope
from service.segment.client import create_segment_client
from service.segment.library import MAX_MSG_SIZE
from service.segment.types import NotDelivered, SegmentEvent, SegmentIntegrationResult, Suppression
from service.serving.decoding import Malformed, json_object
from service.transformation import IdentifyRules, transform_customer_to_segment
from service.transformation.rules import identify_rules_by

_READ_SECONDS = 28.0  # as long as the service gives a push
_KIB = 1024
_NO_KEY = "explain-without-a-write-key"

# Fields that no customer has: of a reference, a message, an order or cart, a business unit, a Subscription, a payment.
_OF_OTHERS = frozenset({"typeId", "resource", "lineItems", "unitType", "destination", "amountPlanned"})


class _NotRead(Exception):
    """The service would read the resource now, and `explain` was run without --read."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The result of `explain`. `ending` is None if only a read would give the outcome."""

    what: list[tuple[str, str]]
    ending: Ending | None
    reason: str
    events: Sequence[Mapping[str, Any]]
    traits: list[Origin]
    size: int
    erased: str | None
    how: str
    notes: list[str]

    @property
    def event(self) -> Mapping[str, Any] | None:
        """The identify, None if there is none."""
        return self.events[0] if self.events else None

    @property
    def exit_code(self) -> Exit:
        return Exit.DONE if self.ending in {Ending.DELIVERED, Ending.IGNORED} else Exit.ATTENTION


def run(body: bytes, output: Output, *, read: bool) -> Exit:
    """Explain `body`; with `read`, read the customer from commercetools as the service does.

    Raises ConfigError if the settings contradict themselves, or lack what `read` needs.
    """
    write_key_is_set = bool(os.environ.get("SEGMENT_WRITE_KEY", "").strip())
    settings = command_settings(SEGMENT_WRITE_KEY=_NO_KEY)
    if read:
        commercetools_of(settings)
    explanation = explained(body, settings, read=read, write_key_is_set=write_key_is_set)
    if output.as_json:
        output.document(
            {
                "what": dict(explanation.what),
                "outcome": str(explanation.ending or "Unknown").lower(),
                "reason": explanation.reason,
                "event": explanation.event,
                "events": explanation.events,
                "size": explanation.size,
                "traits": [
                    {"trait": one.name, "value": one.value, "why": one.why, "sent": one.sent, "line": one.line or None}
                    for one in explanation.traits
                ],
                "erased": explanation.erased,
                "notes": explanation.notes,
            }
        )
    else:
        _print(explanation, output)
    return explanation.exit_code


def explained(body: bytes, settings: Settings, *, read: bool, write_key_is_set: bool = True) -> Explanation:
    """Handle `body` by the service's own code, and return what it did. Nothing is sent; only `read` reads."""
    customers, given_as = customers_in(body)
    customer = customers[0] if customers else None
    noted = _Noting(settings, read=read, customer_given=customer is not None)
    integration = integration_by(
        settings,
        send=noted.send,
        read=noted.read,
        erase=noted.erase,
        suppress=noted.suppress,
        set_aside=noted.set_aside if settings.dead_letter_topic else None,
    )
    given = body if customer is None else _as_notification(customer, integration.project_key)
    ending: Ending | None
    try:
        outcome = integration.handle(given, {}, time.monotonic() + _READ_SECONDS)
        ending, reason = outcome.ending, outcome.reason
    except _NotRead as not_read:
        ending, reason, outcome = None, str(not_read), _opened(given)
    if noted.events:
        noted.notes += _doubts_about_the_message_id(settings, customer, write_key_is_set=write_key_is_set)
    what = [("given", given_as)] if given_as else _what(given, outcome)
    traits: list[Origin] = []
    if isinstance(noted.resource, Customer):
        rules = identify_rules_by(settings)
        traits = origins(noted.resource, rules) if noted.events else consents(noted.resource, rules)
        if noted.events:
            sent = noted.events[0].get("traits", {})
            noted.notes += _what_could_be_cleared(noted.resource, sent, rules)
            noted.notes += _what_destinations_misread(sent)
    how = "deleted and suppressed" if settings.segment_user_id is UserIdField.ID else "deleted"
    return Explanation(what, ending, reason, noted.events, traits, noted.size, noted.erased, how, noted.notes)


def _opened(body: bytes) -> Outcome:
    """Return what is known of a message that was decoded, and whose outcome is unknown."""
    message = open_envelope(body, {})
    return Outcome(Ending.FAILED, message=message, notification=read_notification(message.data))


class _Noting:
    """Records what an integration would send and erase, and finds the resource, without calling upstreams."""

    def __init__(self, settings: Settings, *, read: bool, customer_given: bool) -> None:
        self._builder = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._commercetools = settings.commercetools
        self._read = read
        self._customer_given = customer_given
        self.resource: Resource | None = None
        self.events: list[dict[str, Any]] = []
        self.size = 0  # of the largest event, in bytes
        self.erased: str | None = None
        self.notes: list[str] = []

    def send(self, events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        for event in events:
            try:
                built, size = self._builder.event_for(event)
            except NotDelivered as refused:
                return SegmentIntegrationResult(refused.error)
            self.events.append(json.loads(json.dumps(built, default=str)))
            self.size = max(self.size, size)
        return SegmentIntegrationResult()

    def erase(self, user_id: str, _deadline: float) -> SegmentIntegrationResult:
        self.erased = user_id
        return SegmentIntegrationResult()

    def suppress(self, suppression: Suppression, _deadline: float) -> SegmentIntegrationResult:
        what = "be suppressed in Segment" if suppression.wanted else "not be suppressed in Segment any more"
        self.notes.append(f"The user would {what} (consent.withdrawn is suppress).")
        return SegmentIntegrationResult()

    def set_aside(self, _message: PushMessage, _reason: str, _deadline: float) -> None:
        self.notes.append("The message would be acknowledged once it is in the dead-letter topic, with this reason.")

    def read(self, of: ResourceType[AnyResource]) -> Reads[AnyResource]:
        def now(notification: Notification, deadline: float) -> AnyResource | None:
            resource = self._choice(of, notification)(notification, deadline)
            self.resource = resource
            return resource

        return Reads(now)

    def _choice(self, of: ResourceType[AnyResource], notification: Notification) -> Now[AnyResource]:
        if self._commercetools is not None and self._read:
            return CommercetoolsClient(self._commercetools).resources(of).now
        if self._customer_given:
            return included(of).now
        if self._commercetools is None:
            self.notes.append(f"Without CTP_ settings the service uses the {of.name} inside the notification.")
            return included(of).now
        if notification.included is None:
            raise _NotRead(f"the service reads the {of.name} from commercetools now; --read does so here")
        self.notes.append(
            f"This is the {of.name} inside the notification; the service reads the {of.name} as it is now, as --read "
            "does."
        )
        return included(of).now


def customers_in(body: bytes) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return the customers in the input, and what the input is: empty if it is for the service to say."""
    try:
        document = json_object(body, "what was given")
    except Malformed:
        return [], ""
    found: Sequence[object]
    match document:
        case {"message": _} | {"notificationType": _} | {"specversion": _} | {"resource": _}:
            return [], ""
        case {"data": {"customers": {"results": [*results]}}}:
            found, answer = results, "an answer of commercetools' GraphQL API"
        case {"data": {"customer": customer}}:
            found, answer = [customer], "an answer of commercetools' GraphQL API"
        case {"results": [*results]}:
            found, answer = results, "an answer of commercetools' API"
        case {"id": _, "version": _, "reason": _}:
            found, answer = [document.get("customer")], "a backfill's reject"
        case {"customer": customer}:
            found, answer = [customer], "an answer of commercetools' API"
        case _:
            is_customer = {"id", "version"} <= document.keys() and _OF_OTHERS.isdisjoint(document)
            return ([document], "a customer") if is_customer else ([], "")
    customers = [one for one in found if isinstance(one, dict) and "id" in one and _OF_OTHERS.isdisjoint(one)]
    if not customers:
        return [], f"{answer}: there is no customer in it"
    number = "the customer in it" if len(customers) == 1 else f"the first of its {len(customers)} customers"
    return customers, f"{answer}: {number}"


def _as_notification(customer: Mapping[str, Any], project_key: str | None) -> bytes:
    """Return the CustomerCreated that commercetools would publish for a customer, so that all steps run."""
    version = customer.get("version")
    return json.dumps(
        {
            "notificationType": "Message",
            "type": "CustomerCreated",
            "projectKey": project_key or "no-project",
            "resource": {"typeId": CUSTOMER.type_id, "id": str(customer["id"])},
            "resourceVersion": version if isinstance(version, int) else None,
            "customer": dict(customer),
        }
    ).encode()


def _what(body: bytes, outcome: Outcome) -> list[tuple[str, str]]:
    message, notification = outcome.message, outcome.notification
    what = []
    if message is None:
        what.append(("given", "nothing that could be opened"))
    elif message.data == body:
        what.append(("given", "a bare message: a notification, or the body of an unwrapped push"))
    else:
        of = [("message", message.message_id), ("subscription", message.subscription)]
        what.append(("given", "the body of a push"))
        what += [(name, value) for name, value in of if value]
        if message.delivery_attempt is not None:
            what.append(("attempt", str(message.delivery_attempt)))
    if message is not None and notification is not None:
        is_cloud_event = "specversion" in json_object(message.data, "the message's data")
        kind = "CloudEvents" if is_cloud_event else "Platform"
        words = (notification.notification_type, notification.message_type)
        what.append(("notification", f"{' '.join(word for word in words if word)}, in {kind} format"))
        what.append(("event", notification.event_type))
        if notification.resource_id:
            about = f"{notification.resource_type} {notification.resource_id}"
            what.append(("about", about + (f", version {notification.version}" if notification.version else "")))
        if notification.project_key:
            what.append(("project", notification.project_key))
    return what


def _what_could_be_cleared(customer: Customer, sent: Mapping[str, object], rules: IdentifyRules) -> list[str]:
    everything = replace(rules, clear=ClearTraits.ALL)
    names = [name for name in transform_customer_to_segment(customer, everything)["traits"] if name not in sent]
    return [f"SEGMENT_CLEAR_TRAITS=all would clear what is not sent: {', '.join(names)}."] if names else []


def _what_destinations_misread(sent: Mapping[str, Any]) -> list[str]:
    """Return what the default mappings of common destinations make of these traits, if that is known to be wrong."""
    address = sent.get("address") or {}
    camel_case = [name for name in ("firstName", "lastName") if sent.get(name)]
    camel_case += ["address.postalCode"] if address.get("postalCode") else []
    faults = []
    if sent.get("company"):
        faults.append("HubSpot, Pardot, Optimizely and Salesforce refuse an event with a company")
    if None in sent.values():
        faults.append("Attentive refuses an event with a null, HubSpot and others clear nothing")
    if camel_case:
        faults.append(f"Salesforce, Pardot and others do not find {', '.join(camel_case)}")
    return [f"With their default mapping, {'; '.join(faults)}: see docs/destinations.md."] if faults else []


def _doubts_about_the_message_id(
    settings: Settings, customer: Mapping[str, Any] | None, *, write_key_is_set: bool
) -> list[str]:
    missing = [] if write_key_is_set else ["SEGMENT_WRITE_KEY"]
    if customer is not None and settings.commercetools is None:
        missing.append("the CTP_ settings")
    if not missing:
        return []
    return [f"The messageId is not that of live events, which needs {' and '.join(missing)}."]


def _print(explanation: Explanation, output: Output) -> None:
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in explanation.what:
        facts.add_row(Text(name, "bold"), Text(plain(value)))
    styles = {Ending.DELIVERED: "green", Ending.IGNORED: "yellow"}
    ending = str(explanation.ending or "Unknown")
    style = styles.get(explanation.ending, "red") if explanation.ending else "yellow"
    sentence = f"{ending}: {explanation.reason}" if explanation.reason else ending
    facts.add_row(Text("outcome", "bold"), Text(plain(sentence), style))
    if explanation.erased is not None:
        facts.add_row(Text("erased", "bold"), Text(plain(f"userId {explanation.erased}, {explanation.how}")))
    for note in explanation.notes:
        facts.add_row(Text("note", "bold"), Text(note))
    output.results.print(facts)
    if explanation.traits:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("trait", no_wrap=True)
        table.add_column("value", overflow="fold")
        table.add_column("commercetools' field", overflow="fold")
        with_lines = any(one.line for one in explanation.traits)
        if with_lines:
            table.add_column("file", no_wrap=True)
        for one in explanation.traits:
            dim = "dim" if one.value is None else ""
            row = [Text(one.name, dim), Text(plain(_shown(one)), dim), Text(plain(one.why), "dim")]
            table.add_row(*row, *([Text(plain(one.line), "dim")] if with_lines else []))
        if explanation.size:
            shown = f"{explanation.size / _KIB:.1f} of {MAX_MSG_SIZE // _KIB} KiB"
            table.add_row(Text("size"), Text(shown), Text("of the event, as it is sent", "dim"))
        output.results.print()
        output.results.print(table)
    if explanation.events:
        output.results.print()
        output.results.print(Text("What Segment gets", "bold"))
    for event in explanation.events:
        output.document(event)


def _shown(one: Origin) -> str:
    if isinstance(one.value, str):
        return one.value
    return "·" if one.value is None and not one.sent else json.dumps(one.value, ensure_ascii=False)
