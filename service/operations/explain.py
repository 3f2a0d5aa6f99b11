"""explain: what a push, a notification, a customer, an order or a payment is, its outcome, and what Segment would get.

It runs the service's own code (service.integration), with functions that record instead of calling upstreams.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import CUSTOMER, Customer
from service.commercetools.notification import Notification, read_notification
from service.commercetools.order import ORDER, Order
from service.commercetools.payment import PAYMENT, Payment
from service.commercetools.resource import AnyResource, ResourceType
from service.config import CLIENT, ClearTraits, Orders, Settings, UserIdField
from service.integration import integration_by
from service.kinds import Now, Reads, included, without_an_api_client
from service.operations import Exit, Output, Trouble, command_settings, environment_of, plain, why_unreachable
from service.operations.explain_orders import Sold, document_of, sold, tables_of
from service.operations.given import Given, as_notification, given_in
from service.operations.origins import Origin, consents, origins
from service.outcome import Ending, Outcome
from service.pubsub.envelope import PushMessage, open_envelope
from service.segment.client import create_segment_client
from service.segment.library import MAX_MSG_SIZE
from service.segment.types import NotDelivered, SegmentEvent, SegmentIntegrationResult, Suppression
from service.serving.decoding import json_object
from service.transformation import IdentifyRules, transform_customer_to_segment
from service.transformation.order import OrderRules
from service.transformation.rules import identify_rules_by

_READ_SECONDS = 28.0  # as long as the service gives a push
_KIB = 1024
_NO_KEY = "explain-without-a-write-key"
_NOTHING_SOLD = Sold()
_OF_SALES = (ORDER.type_id, PAYMENT.type_id)


class _NotRead(Exception):
    """The service would read the resource now, and `explain` was run without --read."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The result of `explain`. `ending` is None if only a read would give the outcome.

    `otherwise` is what it would be with what `needs` names, where an event of an order or a refund lacks that.
    """

    what: list[tuple[str, str]]
    ending: Ending | None
    reason: str
    events: Sequence[Mapping[str, Any]]
    traits: list[Origin]
    size: int
    erased: str | None
    how: str
    notes: list[str]
    sold: Sold = _NOTHING_SOLD
    needs: Sequence[str] = ()
    otherwise: "Explanation | None" = None

    @property
    def event(self) -> Mapping[str, Any] | None:
        """The first event, None if there is none."""
        return self.events[0] if self.events else None

    @property
    def exit_code(self) -> Exit:
        return Exit.DONE if self.ending in {Ending.DELIVERED, Ending.IGNORED} else Exit.ATTENTION


def run(body: bytes, output: Output, environment: Mapping[str, str], *, read: bool, given: str = "") -> Exit:
    """Explain `body`; with `read`, read the customer, order or payment from commercetools as the service does.

    `given` says what it is, where more is known than the body shows.
    Raises ConfigError if the settings contradict themselves, or lack what `read` needs.
    """
    found = environment_of(environment)
    if read and found.is_unread("SEGMENT_WRITE_KEY"):
        with suppress(Trouble):  # without it, a note says that the messageId is another
            found["SEGMENT_WRITE_KEY"]
    write_key_is_set = "SEGMENT_WRITE_KEY" in found and not found.is_unread("SEGMENT_WRITE_KEY")
    unread = ["SEGMENT_PUBLIC_API_TOKEN", *([] if read else ["CTP_CLIENT_SECRET"])]
    settings = command_settings(found, needs=CLIENT if read else (), unread=unread, SEGMENT_WRITE_KEY=_NO_KEY)
    explanation = explained(body, settings, read=read, write_key_is_set=write_key_is_set)
    if given:
        explanation.what[0] = ("given", given)
    explanation.notes.extend(why_no_json(body))
    if "SEGMENT_USER_ID" not in found:
        explanation.notes.append(f"SEGMENT_USER_ID is not set: {settings.segment_user_id} is the service's default.")
    if read and settings.commercetools is not None and "was not reached" in explanation.reason:
        of_client = (settings.commercetools.auth_url, settings.commercetools.api_url)
        explanation.notes.extend(cause for cause in map(why_unreachable, of_client) if cause)
    if output.as_json:
        output.document(_document(explanation))
    else:
        _print(explanation, output)
    return explanation.exit_code


def why_no_json(body: bytes) -> list[str]:
    """Return a sentence that says where a body stops being JSON, without a word of it; none if it is JSON."""
    if not body.strip():
        return ["Nothing was given: name a FILE, or pipe JSON in."]
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return [f"It is no JSON from line {error.lineno}, column {error.colno} on."]
    except (ValueError, RecursionError):
        return ["It is no JSON."]
    return []


def _document(explanation: Explanation) -> dict[str, Any]:
    otherwise = explanation.otherwise
    return {
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
        **document_of(explanation.sold),
        "erased": explanation.erased,
        "notes": explanation.notes,
        "otherwise": {"needs": explanation.needs, **_document(otherwise)} if otherwise is not None else None,
    }


def explained(body: bytes, settings: Settings, *, read: bool, write_key_is_set: bool = True) -> Explanation:
    """Handle `body` by the service's own code, and return what it did. Nothing is sent; only `read` reads."""
    given = given_in(body)
    noted = _Noting(settings, read=read, is_given=bool(given.documents))
    explanation, about = _explained(body, given, settings, noted, write_key_is_set=write_key_is_set)
    if about is None or about.resource_type not in _OF_SALES:
        return explanation
    needs = ["ORDERS=on"] if settings.orders is Orders.OFF else []
    needs += ["the CTP_ settings"] if settings.commercetools is None and not given.documents else []
    if not needs:
        return explanation
    switched_on = replace(settings, orders=Orders.ON)
    is_given = bool(given.documents) or settings.commercetools is None
    noted = _Noting(switched_on, read=read, is_given=is_given)
    otherwise, _ = _explained(body, given, switched_on, noted, write_key_is_set=write_key_is_set)
    lacking = f"An event of an order or a refund needs {' and '.join(needs)}: below is what would be sent then."
    return replace(explanation, notes=[*explanation.notes, lacking], needs=needs, otherwise=otherwise)


def _explained(
    body: bytes, given: Given, settings: Settings, noted: "_Noting", *, write_key_is_set: bool
) -> tuple[Explanation, Notification | None]:
    """Return what the service does by these settings, and the notification, if it is one."""
    integration = integration_by(
        settings,
        send=noted.send,
        read=noted.read,
        erase=noted.erase,
        suppress=noted.suppress,
        set_aside=noted.set_aside if settings.dead_letter_topic else None,
    )
    pushed = as_notification(given, integration.project_key) if given.documents else body
    ending: Ending | None
    try:
        outcome = integration.handle(pushed, {}, time.monotonic() + _READ_SECONDS)
        ending, reason = outcome.ending, outcome.reason
    except _NotRead as not_read:
        ending, reason, outcome = None, str(not_read), _opened(pushed)
    if noted.events:
        noted.notes += _doubts_about_the_message_id(settings, given, write_key_is_set=write_key_is_set)
    what = [("given", given.words)] if given.words else _what(pushed, outcome)
    about, rules = outcome.notification, identify_rules_by(settings)
    traits: list[Origin] = []
    found = _NOTHING_SOLD
    if about is not None and about.resource_type in _OF_SALES:
        found = sold(
            noted.order, noted.payment, noted.customer, about, OrderRules.beside(rules, settings.order_imports)
        )
        noted.notes += _what_was_left_out(noted.events)
        if given.type_id == ORDER.type_id:
            noted.notes.append(_AS_CREATED)
    elif noted.customer is not None:
        traits = origins(noted.customer, rules) if noted.events else consents(noted.customer, rules)
        if noted.events:
            sent = noted.events[0].get("traits", {})
            noted.notes += _what_could_be_cleared(noted.customer, sent, rules)
            noted.notes += _what_destinations_misread(sent)
    how = "deleted and suppressed" if settings.segment_user_id is UserIdField.ID else "deleted"
    explanation = Explanation(
        [*what, *found.what],
        ending,
        reason,
        noted.events,
        traits,
        noted.size,
        noted.erased,
        how,
        noted.notes,
        found,
    )
    return explanation, about


def _opened(body: bytes) -> Outcome:
    """Return what is known of a message that was decoded, and whose outcome is unknown."""
    message = open_envelope(body, {})
    return Outcome(Ending.FAILED, message=message, notification=read_notification(message.data))


class _Noting:
    """Records what an integration would send and erase, and finds the resource, without calling upstreams."""

    def __init__(self, settings: Settings, *, read: bool, is_given: bool) -> None:
        self._builder = create_segment_client(settings.segment.write_key, settings.segment.host)
        self._has_api_client = settings.commercetools is not None
        self._client = CommercetoolsClient(settings.commercetools) if settings.commercetools and read else None
        self._is_given = is_given
        self.customer: Customer | None = None
        self.order: Order | None = None
        self.payment: Payment | None = None
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
        resources = self._client.resources(of) if self._client is not None else None

        def noting(read: Now[AnyResource]) -> Now[AnyResource]:
            def now(notification: Notification, deadline: float) -> AnyResource | None:
                resource = read(notification, deadline)
                self._note(resource)
                return resource

            return now

        def now(notification: Notification, deadline: float) -> AnyResource | None:
            return self._choice(of, notification)(notification, deadline)

        if of.type_id != ORDER.type_id:  # of which a second look is none of explain's
            return Reads(noting(resources.now if resources is not None else now))
        if resources is not None:
            return Reads(noting(resources.now), noting(resources.by_id), oldest=resources.oldest)
        return Reads(noting(now), noting(now), oldest=_not_queried)

    def _note(self, resource: object) -> None:
        match resource:
            case Customer():
                self.customer = resource
            case Order():
                self.order = resource
            case Payment():
                self.payment = resource

    def _choice(self, of: ResourceType[AnyResource], notification: Notification) -> Now[AnyResource]:
        if self._is_given and notification.included is not None:
            return included(of).now
        if not self._has_api_client and not self._is_given:
            if of.type_id == CUSTOMER.type_id:
                self.notes.append(f"Without CTP_ settings the service uses the {of.name} inside the notification.")
            return without_an_api_client(of).now
        if notification.included is None:
            raise _NotRead(f"the service reads the {of.name} from commercetools now; --read does so here")
        self.notes.append(
            f"This is the {of.name} inside the notification; the service reads the {of.name} as it is now, as --read "
            "does."
        )
        return included(of).now


_AS_CREATED = "An order alone is explained as at its OrderCreated; a notification tells another event."


def _not_queried(_where: str, _deadline: float) -> Sequence[str]:
    raise _NotRead("the service finds the order of a payment by a query of commercetools; --read does so here")


def _what(body: bytes, outcome: Outcome) -> list[tuple[str, str]]:
    message, notification = outcome.message, outcome.notification
    what = []
    if message is None:
        what.append(("given", "no push, notification or resource that can be read"))
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


def _what_was_left_out(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{event['event']} has {len(properties['products'])} of {properties['products_total']} products: with all it "
        f"would be larger than Segment's {MAX_MSG_SIZE // _KIB} KiB. The amounts are those of all."
        for event in events
        if "products_total" in (properties := event["properties"])
    ]


def _doubts_about_the_message_id(settings: Settings, given: Given, *, write_key_is_set: bool) -> list[str]:
    missing = [] if write_key_is_set else ["SEGMENT_WRITE_KEY"]
    if given.documents and settings.commercetools is None:
        missing.append("the CTP_ settings")
    if not missing:
        return []
    return [f"The messageId is not that of live events, which needs {' and '.join(missing)}."]


def _print(explanation: Explanation, output: Output) -> None:
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in explanation.what:
        facts.add_row(Text(name, "bold"), Text(plain(value)))
    _print_result(explanation, output, facts)
    if explanation.otherwise is not None:
        output.results.print()
        output.results.print(Text(f"With {' and '.join(explanation.needs)}", "bold"))
        facts = Table.grid(padding=(0, 2, 0, 0))
        for name, value in explanation.otherwise.sold.what:
            facts.add_row(Text(name, "bold"), Text(plain(value)))
        _print_result(explanation.otherwise, output, facts)


def _print_result(explanation: Explanation, output: Output, facts: Table) -> None:
    styles = {Ending.DELIVERED: "green", Ending.IGNORED: "yellow"}
    ending = str(explanation.ending or "Unknown")
    style = styles.get(explanation.ending, "red") if explanation.ending else "yellow"
    sentence = f"{ending}: {explanation.reason}" if explanation.reason else ending
    facts.add_row(Text("outcome", "bold"), Text(plain(sentence), style))
    if explanation.erased is not None:
        facts.add_row(Text("erased", "bold"), Text(plain(f"userId {explanation.erased}, {explanation.how}")))
    for note in explanation.notes:
        facts.add_row(Text("note", "bold"), Text(note))
    size = f"{explanation.size / _KIB:.1f} of {MAX_MSG_SIZE // _KIB} KiB"
    if explanation.size and not explanation.traits:
        facts.add_row(Text("size", "bold"), Text(f"{size}, of the largest event"))
    output.table(facts)
    for table in tables_of(explanation.sold):
        output.results.print()
        output.table(table)
    if explanation.traits:
        output.results.print()
        output.table(_table_of_traits(explanation, size))
    if explanation.events:
        output.results.print()
        output.results.print(Text("What Segment gets", "bold"))
    for event in explanation.events:
        output.document(event)


def _table_of_traits(explanation: Explanation, size: str) -> Table:
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
        table.add_row(Text("size"), Text(size), Text("of the event, as it is sent", "dim"))
    return table


def _shown(one: Origin) -> str:
    if isinstance(one.value, str):
        return one.value
    return "·" if one.value is None and not one.sent else json.dumps(one.value, ensure_ascii=False)
