"""Notifications: each that commercetools writes is read, each other is refused with its reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools import Notification, PayloadValidation, read_notification, validate_payload
from service.serving.decoding import Malformed
from tests.builders import CUSTOMER_ID, PROJECT, a_change, a_cloud_event, a_customer, a_message, samples
from tests.strategies import json_values, notifications, platform_notifications

ORDER = {"typeId": "order", "id": "order-id"}


def test_a_message_is_read_with_its_customer() -> None:
    customer = a_customer(version=2)

    notification = read_notification(as_bytes(a_message(customer=customer)))

    assert notification == Notification(
        notification_type="Message",
        project_key=PROJECT,
        resource_type="customer",
        resource_id=CUSTOMER_ID,
        version=2,
        message_type="CustomerCreated",
        included=customer,
    )


def test_nothing_of_the_resource_is_in_the_repr_of_a_notification() -> None:
    message = a_message(
        customer=a_customer(email="canary@example.com"),
        email="canary@example.com",
        resourceUserProvidedIdentifiers={"key": "canary"},
    )

    assert "canary" not in repr(read_notification(as_bytes(message)))


def test_a_deletion_is_read_with_what_an_erasure_needs() -> None:
    deletion = a_change(notificationType="ResourceDeleted", version=7, dataErasure=True)

    notification = read_notification(as_bytes(deletion))

    assert notification == Notification(
        notification_type="ResourceDeleted",
        project_key=PROJECT,
        resource_type="customer",
        resource_id=CUSTOMER_ID,
        version=7,
        identifiers={"key": "customer-mira"},
        data_erasure=True,
    )


@pytest.mark.parametrize(
    ("document", "event_type"),
    [
        pytest.param(a_message(), "customer.created", id="CustomerCreated"),
        pytest.param(a_message(type="CustomerDeleted", customer=None), "customer.deleted", id="CustomerDeleted"),
        pytest.param(a_message(type="CustomerEmailChanged"), "customer.updated", id="CustomerEmailChanged"),
        pytest.param(a_message(type="MessageOfTomorrow"), "customer.updated", id="a type of tomorrow"),
        pytest.param(a_message(type=None), "customer.updated", id="no type at all"),
        pytest.param(
            a_message(type=None, customer=None, payloadNotIncluded={"reason": "-", "payloadType": "CustomerCreated"}),
            "customer.created",
            id="its payload was too large",
        ),
        pytest.param(
            a_message(customer=None, payloadNotIncluded={"reason": "-"}), "customer.created", id="no payloadType"
        ),
        pytest.param(a_change(notificationType="ResourceCreated"), "customer.created", id="ResourceCreated"),
        pytest.param(a_change(), "customer.updated", id="ResourceUpdated"),
        pytest.param(a_change(notificationType="ResourceDeleted"), "customer.deleted", id="ResourceDeleted"),
        pytest.param(a_change(resource=ORDER), "order.updated", id="an order's change"),
        pytest.param(a_message(resource=ORDER, type="OrderCreated"), "order.updated", id="an order's message"),
        pytest.param({"notificationType": "Event", "resourceType": "checkout", "data": {}}, "Event", id="Event"),
    ],
)
def test_a_notification_says_what_happened_in_either_format(document: dict[str, Any], event_type: str) -> None:
    assert validate_payload(document) == PayloadValidation(event_type=event_type)
    assert validate_payload(a_cloud_event(document)) == PayloadValidation(event_type=event_type)


UNIT = {"typeId": "business-unit", "id": "unit-id"}


@pytest.mark.parametrize(
    ("document", "is_deletion"),
    [
        pytest.param(a_change(resource=UNIT, notificationType="ResourceDeleted"), True, id="ResourceDeleted"),
        pytest.param(a_message(resource=UNIT, type="BusinessUnitDeleted"), True, id="its own Message"),
        pytest.param(a_message(resource=UNIT, type="CustomerDeleted"), False, id="the Message of another type"),
        pytest.param(a_message(resource=UNIT, type="BusinessUnitAddressDeleted"), False, id="a part of it"),
        pytest.param(a_change(resource=UNIT) | {"type": "BusinessUnitDeleted"}, False, id="a change"),
    ],
)
def test_a_deletion_is_told_by_the_names_of_commercetools_whatever_the_type(
    document: dict[str, Any],
    is_deletion: bool,  # noqa: FBT001  # a row
) -> None:
    notification = read_notification(as_bytes(document))

    assert notification.is_deletion == is_deletion
    assert (notification.event_type == "business-unit.deleted") == is_deletion


def test_a_message_brings_the_resource_under_the_name_of_its_type() -> None:
    unit = {"id": "unit-id", "version": 1}
    message = a_message(resource=UNIT, type="BusinessUnitCreated", businessUnit=unit, customer={"id": "somebody"})

    assert read_notification(as_bytes(message)).included == unit


@pytest.mark.parametrize(
    ("type_id", "name"),
    [
        pytest.param("business-unit", "businessUnit", id="a type"),
        pytest.param("canary@example.com", "the resource", id="what is no type, and may be anything"),
    ],
)
def test_a_resource_that_is_no_object_is_refused_and_only_a_fields_name_is_quoted(type_id: str, name: str) -> None:
    key = "businessUnit" if type_id == "business-unit" else type_id
    message = a_message(resource={"typeId": type_id, "id": "a"}, customer=None) | {key: "canary"}

    with pytest.raises(Malformed, match=f"^the notification is not valid: {name}: Not a valid mapping type$"):
        read_notification(as_bytes(message))


@pytest.mark.parametrize(
    ("document", "version"),
    [
        pytest.param(a_message(version=1, resourceVersion=4), 4, id="a Message's own version does not count"),
        pytest.param(a_message(version=1, resourceVersion=None), None, id="a Message without resourceVersion"),
        pytest.param(a_change(version=6, oldVersion=3), 6, id="a change's version is the resource's"),
        pytest.param(a_change(version=6, oldVersion=None), 6, id="a change without oldVersion"),
        pytest.param(a_change(version=None), None, id="a change without version"),
    ],
)
def test_the_version_is_the_resources(document: dict[str, Any], version: int | None) -> None:
    assert read_notification(as_bytes(document)).version == version


@pytest.mark.parametrize(
    "name", ["type", "version", "resourceVersion", "payloadNotIncluded", "customer", "email", "dataErasure"]
)
def test_a_null_counts_as_left_out(name: str) -> None:
    document = a_message(email="mira@example.com", dataErasure=False)
    without = {key: value for key, value in document.items() if key != name}

    assert read_notification(as_bytes(document | {name: None})) == read_notification(as_bytes(without))


@given(platform_notifications)
def test_a_cloud_event_says_the_same_as_what_is_in_it(document: dict[str, Any]) -> None:
    inside = read_notification(as_bytes(document))

    assert read_notification(as_bytes(a_cloud_event(document))) == inside


@pytest.mark.parametrize(
    ("path"),
    samples(
        *("cloudevents-*", "event-*", "jvm-message*", "kmb-pubsub*", "labd-*", "platform-*"), "*resource-*ed*.json"
    ),
)
def test_every_real_notification_is_read(path: Path) -> None:
    document = json.loads(path.read_text())

    notification = read_notification(path.read_bytes())

    inside = document.get("data", {}) if "specversion" in document else document
    assert notification.resource_id == inside.get("resource", {}).get("id", "")
    assert notification.resource_type == inside.get("resource", {}).get("typeId", "")


NO_RESOURCE = "the notification is not valid: {}: Missing data for required field"

REFUSED = [
    pytest.param(b"", "the message has no data", id="nothing"),
    pytest.param(b"canary", "the message's data is not JSON", id="a word"),
    pytest.param(b"\xff canary", "the message's data is not JSON", id="not UTF-8"),
    pytest.param(b'{"canary": NaN}', "the message's data is not JSON", id="NaN"),
    pytest.param(b'{"canary":' * 200_000, "the message's data is nested too deeply", id="nested objects"),
    pytest.param(b'["canary"]', "the message's data is not a JSON object", id="an array"),
    pytest.param(
        a_change(notificationType=None),
        NO_RESOURCE.format("notificationType"),
        id="no notificationType",
    ),
    pytest.param(
        a_change(notificationType=["canary"]),
        "the notification is not valid: notificationType: Not a valid string",
        id="a notificationType that is a list",
    ),
    pytest.param(a_change(projectKey=None), NO_RESOURCE.format("projectKey"), id="no projectKey"),
    pytest.param(a_change(projectKey=""), NO_RESOURCE.format("projectKey"), id="an empty projectKey"),
    pytest.param(a_change(resource=None), NO_RESOURCE.format("resource"), id="no resource"),
    pytest.param(
        a_change(resource={"typeId": "customer"}),
        NO_RESOURCE.format("resource.id"),
        id="a resource without id",
    ),
    pytest.param(
        a_change(resource={"id": "canary"}),
        NO_RESOURCE.format("resource.typeId"),
        id="a resource without typeId",
    ),
    pytest.param(
        a_change(version="canary"),
        "the notification is not valid: version: Not a valid integer",
        id="a version that is a word",
    ),
    pytest.param(
        a_message(resourceVersion=1.5),
        "the notification is not valid: resourceVersion: Not a valid integer",
        id="a version that is no integer",
    ),
    pytest.param(
        a_message() | {"customer": "canary"},
        "the notification is not valid: customer: Not a valid mapping type",
        id="a customer that is a string",
    ),
    pytest.param(
        a_change(dataErasure="canary"),
        "the notification is not valid: dataErasure: Not a valid boolean",
        id="a dataErasure that is neither true nor false",
    ),
    pytest.param(
        {"specversion": "1.0", "id": "canary"},
        "the CloudEvent is not valid: data: Missing data for required field",
        id="a CloudEvent without data",
    ),
    pytest.param(
        {"specversion": "1.0", "data": "canary"},
        "the CloudEvent is not valid: data: Not a valid mapping type",
        id="a CloudEvent with text for data",
    ),
    pytest.param(
        a_cloud_event(a_change(projectKey=None)), NO_RESOURCE.format("projectKey"), id="a CloudEvent without projectKey"
    ),
]


@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_what_is_no_notification_is_refused_with_its_reason(data: bytes | dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as refusal:
        read_notification(as_bytes(data))

    assert reason in str(refusal.value)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_a_payload_that_is_no_notification_is_not_valid(data: bytes | dict[str, Any], reason: str) -> None:
    validation = validate_payload(data)

    assert not validation.is_valid
    assert validation.event_type is None
    assert reason in (validation.error or "")


@pytest.mark.parametrize("path", samples("dotnet-invalid-payload.json"))
def test_the_real_payload_that_is_no_notification_is_refused(path: Path) -> None:
    with pytest.raises(Malformed, match="projectKey: Missing data"):
        read_notification(path.read_bytes())


@pytest.mark.parametrize(
    "as_handed_in",
    [
        pytest.param(lambda document: document, id="parsed"),
        pytest.param(json.dumps, id="text"),
        pytest.param(lambda document: json.dumps(document).encode(), id="bytes"),
    ],
)
def test_a_payload_may_be_handed_in_parsed_or_not(as_handed_in: Any) -> None:  # noqa: ANN401  # three functions
    validation = validate_payload(as_handed_in(a_message()))

    assert validation.is_valid
    assert validation.event_type == "customer.created"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="nothing"),
        pytest.param(5, id="a number"),
        pytest.param(["canary"], id="a list"),
        pytest.param(object(), id="an object of Python"),
        pytest.param(bytearray(b"{}"), id="a bytearray"),
    ],
)
def test_anything_else_is_not_valid(body: object) -> None:
    assert validate_payload(body) == PayloadValidation(error="the payload is not a JSON object")


@given(notifications | json_values | st.binary() | st.text(st.characters()))
def test_whatever_is_validated_is_either_valid_or_has_an_error(body: object) -> None:
    validation = validate_payload(body)

    assert validation.is_valid == (validation.error is None) == (validation.event_type is not None)


def as_bytes(document: bytes | dict[str, Any]) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()
