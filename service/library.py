"""The Python interface: rules from the environment, the events of a customer or an order, and sends. docs/usage.md."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, Unpack

from service.commercetools.customer import read_customer
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.config import ConfigError, OrderImports, UnusableSettings, segment_from, settings_from, value_of
from service.orders import history, is_imported
from service.segment.client import SegmentClient, create_segment_client
from service.segment.types import (
    Events,
    NotDelivered,
    SegmentCommon,
    SegmentError,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
)
from service.transformation.buyer import needs_customer
from service.transformation.customer import IdentifyRules, customer_events
from service.transformation.facts import Due, Fact
from service.transformation.order import OrderRules
from service.transformation.rules import identify_rules_by, shop_mapping

_DECIDING = (
    *("SEGMENT_WRITE_KEY", "SEGMENT_USER_ID", "SEGMENT_CLEAR_TRAITS", "MAPPING_FILE"),
    "SEGMENT_PUBLIC_API_TOKEN",  # without it the service does not start with consent.withdrawn = "suppress"
)
_WITHOUT_A_DEFAULT = {
    "SEGMENT_USER_ID": ", to what the service has: it decides who a customer is.",
    "CTP_PROJECT_KEY": ": the messageIds name the project.",
}


def rules_from_environment(environment: Mapping[str, str] | None = None) -> IdentifyRules:
    """Return the service's rules, from the same settings: its messageIds follow from these.

    Reads SEGMENT_WRITE_KEY, SEGMENT_USER_ID and CTP_PROJECT_KEY, which must be set, and SEGMENT_CLEAR_TRAITS and
    MAPPING_FILE; of os.environ, if no other environment is given. Raises ConfigError, which has a line for each setting
    that is missing or unusable, and for each mistake in the mapping file.
    """
    found = os.environ if environment is None else environment
    given = {name: found[name] for name in _DECIDING if name in found}
    problems = {
        name: f"{name} must be set{why}" for name, why in _WITHOUT_A_DEFAULT.items() if not found.get(name, "").strip()
    }
    project_key = ""
    try:
        project_key = value_of("CTP_PROJECT_KEY", found.get("CTP_PROJECT_KEY", ""))
    except ConfigError as error:
        problems["CTP_PROJECT_KEY"] = str(error)
    try:
        settings = settings_from({"PUSH_AUTH": "none", **given}, shop_mapping)
    except UnusableSettings as unusable:
        problems.update(unusable.problems)
    if problems:
        raise UnusableSettings(problems)
    return replace(identify_rules_by(settings), project_key=project_key)


def events_of_customer(customer: Mapping[str, Any], rules: IdentifyRules) -> Events:
    """Return what the service tells Segment of a customer, who is given as commercetools' JSON.

    `events` is empty without a user id or the consent that is demanded; then `reason` says why. Raises Malformed.
    """
    return customer_events(read_customer(customer, rules.mapping.named), rules, rules.project_key)


def events_of_order(
    order: Mapping[str, Any],
    rules: IdentifyRules,
    *,
    customer: Mapping[str, Any] | None = None,
    payments: Sequence[Mapping[str, Any]] = (),
    imports: OrderImports = OrderImports.NONE,
) -> Events:
    """Return an order's Order Completed, its Order Cancelled if it is cancelled, and the refunds of its payments.

    All are given as commercetools' JSON. These are the events of `commercetools-segment backfill orders`, with the
    messageIds of the service's. `imports` is the service's ORDER_IMPORTS. Raises Malformed, and ValueError if the
    customer of the order is not given although the user id or the consent is theirs.
    """
    sold = ORDER.parse(order)
    if customer is None and sold.customer_id and needs_customer(sold, rules.user_id, rules.mapping.consent):
        raise ValueError(f"the order's customer must be given: {rules.user_id}, or the consent, is theirs")
    return history(
        Due(Fact.COMPLETED, Fact.COMPLETED, imported=is_imported(order)),
        sold,
        [PAYMENT.parse(payment) for payment in payments],
        None if customer is None else read_customer(customer, rules.mapping.named),
        rules=OrderRules.beside(rules, imports),
        project_key=rules.project_key,
    )


def send_events(events: Events) -> SegmentIntegrationResult:
    """Send events together, in their order, with the process's own client; no events are a success.

    Never raises for what Segment or the network did. Raises ConfigError if a setting is missing.
    """
    if events.suppression is not None:  # it would have to come first
        return SegmentIntegrationResult(SegmentError('with consent.withdrawn = "suppress" only the service sends'))
    if not events.events:
        return SegmentIntegrationResult()
    return _own_client().send(events.events, time.monotonic() + _SECONDS)


class IdentifyClient(Protocol):
    """The part of a Segment client that a send uses. `identify` raises if the event was not confirmed."""

    def identify(self, user_id: str, traits: dict[str, Any], **common: Unpack[SegmentCommon]) -> object: ...

    def flush(self) -> object: ...


def send_customer_to_segment(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send with the process's own client, which SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST describe.

    Never raises for what Segment or the network did. Raises ConfigError if a setting is missing.
    """
    return send_customer_to_segment_with_client(_own_client(), payload)


def send_customer_to_segment_with_client(
    client: IdentifyClient, payload: SegmentIdentifyPayload
) -> SegmentIntegrationResult:
    """Send with this client: identify once, flush once. Never raises for what Segment or the network did."""
    try:
        client.identify(**payload)
        client.flush()
    except NotDelivered as not_delivered:
        return SegmentIntegrationResult(not_delivered.error)
    except Exception as error:  # noqa: BLE001  # whatever a client raises, the caller gets a result
        return SegmentIntegrationResult(SegmentError(type(error).__name__))  # its text may quote the customer
    return SegmentIntegrationResult()


def send_batch_to_segment(payloads: Sequence[SegmentIdentifyPayload]) -> list[SegmentIntegrationResult]:
    """Send many payloads concurrently, so that they share calls; return the results in the order of the payloads."""
    if not payloads:
        return []
    with ThreadPoolExecutor(max_workers=min(len(payloads), _AT_ONCE)) as pool:
        return list(pool.map(send_customer_to_segment, payloads))


def send_if_valid(payload: SegmentIdentifyPayload) -> SegmentIntegrationResult:
    """Send a payload that has a user id and an e-mail address; return an error for any other."""
    email = payload.get("traits", {}).get("email")
    if not payload.get("user_id") or not email:
        return SegmentIntegrationResult(SegmentError("Invalid payload: missing user_id or email", refused=True))
    if not _EMAIL.fullmatch(str(email)):
        return SegmentIntegrationResult(SegmentError("Invalid email format", refused=True))
    return send_customer_to_segment(payload)


_SECONDS = 30.0  # for one call of Segment, and for those that are in front of it
_AT_ONCE = 64  # concurrent callers of one batch, which share calls
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


@cache
def _own_client() -> SegmentClient:
    settings = segment_from(os.environ)
    return create_segment_client(settings.write_key, settings.host)
