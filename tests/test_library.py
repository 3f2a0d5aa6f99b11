"""The Python interface says what the service says: the same rules, the same events, the same messageIds."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.commercetools.resource import AnyResource, ResourceType
from service.config import ConfigError, OrderImports, UserIdField, settings_from
from service.integration import integration_by
from service.kinds import Reads
from service.library import events_of_customer, events_of_order, rules_from_environment, send_events
from service.segment import SegmentEvent, SegmentIntegrationResult
from service.segment.types import Events, Suppression
from service.transformation import IdentifyRules, NoConsent, transform_customer_to_segment
from tests.builders import (
    PROJECT,
    a_change,
    a_customer,
    a_payment,
    a_payment_message,
    a_push,
    a_refund,
    an_order,
    an_order_message,
)

RULES = {"SEGMENT_WRITE_KEY": "production-key", "SEGMENT_USER_ID": "customerNumber", "CTP_PROJECT_KEY": PROJECT}
SERVICE = {
    **RULES,
    "PUSH_AUTH": "none",
    "ORDERS": "on",
    "CTP_CLIENT_ID": "client",
    "CTP_CLIENT_SECRET": "secret",
    "CTP_AUTH_URL": "https://auth.example.com",
    "CTP_API_URL": "https://api.example.com",
    "CTP_SCOPES": f"view_customers:{PROJECT}",
}
MAPPING = """version = 1
[identify.traits]
club = { from = "custom.club" }
[consent]
send = ["Advertising"]
[consent.categories]
Advertising = "custom.ads"
"""

Documents = Mapping[str, Mapping[str, Any]]


def told_by_the_service(
    environment: Mapping[str, str], documents: Documents, *notifications: Mapping[str, Any]
) -> list[SegmentEvent]:
    """Return what the service sends for these notifications where commercetools has these documents, by type id."""
    told: list[SegmentEvent] = []

    def send(events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        told.extend(events)
        return SegmentIntegrationResult()

    def read(of: ResourceType[AnyResource]) -> Reads[AnyResource]:
        def now(_notification: object, _deadline: float) -> AnyResource:
            return of.parse(documents[of.type_id])

        return Reads(now, now, oldest=lambda _where, _deadline: [documents["order"]["id"]])

    service = integration_by(settings_from(environment), send=send, read=read)
    for notification in notifications:
        service.handle(a_push(notification), {}, time.monotonic() + 60)
    return told


@pytest.fixture
def mapping_file(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    return {"MAPPING_FILE": str(path)}


@pytest.mark.parametrize("clear", ["off", "own", "all"])
@pytest.mark.parametrize("user_id", list(UserIdField))
def test_a_customers_events_are_those_of_the_service(user_id: str, clear: str) -> None:
    chosen = {"SEGMENT_USER_ID": user_id, "SEGMENT_CLEAR_TRAITS": clear}
    customer = a_customer(externalId=None) if user_id != UserIdField.EXTERNAL_ID else a_customer()

    events = events_of_customer(customer, rules_from_environment(RULES | chosen))

    assert list(events.events) == told_by_the_service(SERVICE | chosen, {"customer": customer}, a_change())
    assert len(events.events) == 1


def test_by_the_rules_of_a_mapping_file_they_are_those_of_the_service(mapping_file: dict[str, str]) -> None:
    customer = a_customer(custom={"type": {}, "fields": {"club": "gold", "ads": True}})
    rules = rules_from_environment(RULES | mapping_file)

    [event] = events_of_customer(customer, rules).events

    assert event.payload["traits"]["club"] == "gold"  # type: ignore[typeddict-item]  # an identify's
    assert [event] == told_by_the_service(SERVICE | mapping_file, {"customer": customer}, a_change())


def test_a_transformed_customer_has_the_services_message_id_and_user_id() -> None:
    [(_, told)] = told_by_the_service(SERVICE, {"customer": a_customer()}, a_change())

    payload = transform_customer_to_segment(a_customer(), rules_from_environment(RULES))

    assert (payload["message_id"], payload["user_id"]) == (told["message_id"], told["user_id"])


def test_staging_production_and_another_project_have_other_message_ids() -> None:
    environments = [RULES, RULES | {"SEGMENT_WRITE_KEY": "staging-key"}, RULES | {"CTP_PROJECT_KEY": "another"}]

    ids = {
        transform_customer_to_segment(a_customer(), rules_from_environment(one))["message_id"] for one in environments
    }

    assert len(ids) == 3


def test_the_fingerprint_is_that_of_a_service_without_orders() -> None:
    service = integration_by(settings_from({**SERVICE, "ORDERS": "off"}))

    assert rules_from_environment(RULES).fingerprint == service.fingerprint


def test_the_rules_are_read_from_the_process_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in RULES.items():
        monkeypatch.setenv(name, value)

    assert rules_from_environment() == rules_from_environment(RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("value", [None, "", " "])
def test_who_a_customer_is_and_which_project_has_no_default(name: str, value: str | None) -> None:
    environment = {key: given for key, given in (RULES | {name: value}).items() if given is not None}

    with pytest.raises(ConfigError, match=rf"^{name} must be set.*\.$"):
        rules_from_environment(environment)


def test_all_that_is_missing_or_unusable_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text("version = 2\n")

    with pytest.raises(ConfigError) as raised:
        rules_from_environment({"SEGMENT_CLEAR_TRAITS": "perhaps", "MAPPING_FILE": str(path)})

    words = ("SEGMENT_USER_ID", "CTP_PROJECT_KEY", "SEGMENT_WRITE_KEY", "SEGMENT_CLEAR_TRAITS", "mapping.toml:1:")
    assert [line.split()[0] for line in str(raised.value).splitlines()] == list(words)


@pytest.mark.parametrize("name", RULES)
def test_a_damaged_value_is_refused_without_being_quoted(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as raised:
        rules_from_environment(RULES | {name: '"canary"'})

    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("fields", [{"ads": False}, {}])
def test_no_payload_is_made_without_the_consent_that_is_demanded(
    fields: Mapping[str, object], mapping_file: dict[str, str]
) -> None:
    customer = a_customer(custom={"type": {}, "fields": fields})
    rules = rules_from_environment(RULES | mapping_file)

    with pytest.raises(NoConsent, match=r"^no consent for Advertising$"):
        transform_customer_to_segment(customer, rules)
    assert events_of_customer(customer, rules).events == ()


def test_an_orders_events_are_those_of_the_service() -> None:
    refunds = a_payment(a_refund())
    cancelled = an_order(orderState="Cancelled")
    documents = {"customer": a_customer(), "order": cancelled, "payment": refunds}
    told = told_by_the_service(SERVICE, documents, an_order_message(), a_payment_message())

    events = events_of_order(
        cancelled, rules_from_environment(RULES), customer=a_customer(), payments=[refunds], imports=OrderImports.NONE
    )

    assert [event.payload.get("event") for event in events.events] == [
        *("Order Completed", "Order Cancelled", "Order Refunded"),
    ]
    assert list(events.events) == told


@pytest.mark.parametrize(("imports", "told"), [(OrderImports.NONE, 0), (OrderImports.ALL, 1)])
def test_an_imported_order_is_told_as_order_imports_says(imports: OrderImports, told: int) -> None:
    rules = IdentifyRules(user_id=UserIdField.ID, project_key=PROJECT)

    events = events_of_order(an_order(cart=None), rules, imports=imports)

    assert len(events.events) == told
    assert bool(events.reason) == (not told)


def test_an_orders_customer_must_be_given_if_the_user_id_is_theirs() -> None:
    with pytest.raises(ValueError, match=r"^the order's customer must be given"):
        events_of_order(an_order(), rules_from_environment(RULES))


def test_no_events_are_sent_without_a_call() -> None:
    assert send_events(Events(reason="the customer has no key")).success


def test_events_that_need_a_suppression_are_not_sent() -> None:
    event = SegmentEvent("identify", {"user_id": "c-1", "traits": {}})

    result = send_events(Events((event,), suppression=Suppression("c-1", wanted=False)))

    assert result.error is not None
    assert "consent.withdrawn" in result.error.message
