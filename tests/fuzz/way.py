"""The way of one message from anybody's bytes to Segment's event, and what must hold whatever the bytes are."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, timedelta
from itertools import islice, product
from typing import Any

from service.commercetools import read_customer, read_notification
from service.config import ClearTraits, UserIdField
from service.pubsub.envelope import open_envelope
from service.segment.client import SegmentClient
from service.segment.types import NotDelivered, SegmentEvent, SegmentIdentifyPayload
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, transform_customer_to_segment, user_id_of_deleted

_RULES = [
    IdentifyRules(user_id=user_id, clear=clear, source="fuzz") for user_id, clear in product(UserIdField, ClearTraits)
]
_SEGMENT = SegmentClient("fuzz-write-key")
_LONGEST_MESSAGE_ID = 100


def go(data: bytes) -> bool:
    """Go the whole way; whether it came to an event. Raises AssertionError, or whatever should not be raised.

    The first byte chooses the rules, the second how far in the rest is: a push body, a message's data, a customer in
    its JSON, or the steps by which a notification or a customer is built.
    """
    rules, place, rest = _RULES[data[0] % len(_RULES)] if data else _RULES[0], data[1:2], data[2:]
    try:
        message = open_envelope(_body(place[0] % 6 if place else 0, rest), {"x-goog-pubsub-delivery-attempt": "3"})
        notification = read_notification(message.data)
        for field in UserIdField:
            assert isinstance(user_id_of_deleted(notification, field), str)
        assert notification.event_type
        customer = read_customer(notification.included or {})
    except Malformed:
        return False
    payload = transform_customer_to_segment(customer, rules, project_key=notification.project_key)
    _check(payload)
    assert payload == transform_customer_to_segment(customer, rules, project_key=notification.project_key)
    return _is_an_event(payload)


def _check(payload: SegmentIdentifyPayload) -> None:
    plain = {name: value for name, value in payload.items() if name != "timestamp"}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert isinstance(payload["user_id"], str)
    assert 0 < len(payload["message_id"]) <= _LONGEST_MESSAGE_ID
    assert payload["traits"]["commercetoolsId"]
    assert "" not in payload["traits"].values()
    if "timestamp" in payload:
        assert payload["timestamp"].utcoffset() == timedelta(0)
        assert payload["timestamp"].astimezone(UTC).isoformat()


def _is_an_event(payload: SegmentIdentifyPayload) -> bool:
    try:
        event, size = _SEGMENT.event_for(SegmentEvent("identify", payload))
    except NotDelivered:
        return False
    assert size >= len(json.dumps(event, allow_nan=False))
    return True


def _body(place: int, rest: bytes) -> bytes:
    match place:
        case 0:
            return rest
        case 1:
            return _wrapped(rest)
        case 2:
            return _wrapped(_about(rest or b"{}"))
        case 3:
            return _wrapped(_about(_dumped({"id": "a", "version": 2} | _document(iter(rest)))))
        case 4:
            return _wrapped(_dumped(_document(iter(rest))))
        case _:
            return _dumped(_document(iter(rest)))


def _wrapped(data: bytes) -> bytes:
    return b'{"message": {"data": "%b", "messageId": "1"}, "subscription": "s"}' % base64.b64encode(data)


def _about(customer: bytes) -> bytes:
    return (
        b'{"notificationType": "Message", "type": "CustomerCreated", "projectKey": "p", "resourceVersion": 1, '
        b'"resource": {"typeId": "customer", "id": "a"}, "customer": %b}' % customer
    )


def _dumped(document: object) -> bytes:
    return json.dumps(document).encode()


# A document built by bytes, so that the fuzzer gets past the brackets: each byte chooses what comes next.

KEYS = (
    *("id", "version", "email", "key", "customerNumber", "externalId", "firstName", "lastName", "companyName"),
    *("dateOfBirth", "locale", "isEmailVerified", "customerGroup", "obj", "stores", "addresses", "streetName"),
    *("streetNumber", "postalCode", "city", "region", "state", "country", "company", "phone", "mobile"),
    *("defaultBillingAddressId", "defaultShippingAddressId", "billingAddressIds", "shippingAddressIds", "createdAt"),
    *("lastModifiedAt", "notificationType", "projectKey", "resource", "typeId", "resourceVersion", "type"),
    *("payloadNotIncluded", "payloadType", "customer", "resourceUserProvidedIdentifiers", "dataErasure"),
    *("specversion", "data", "message", "messageId", "message_id", "attributes", "orderingKey", "subscription"),
    "deliveryAttempt",
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 2**53, 2**63, 10**30, 0.5, 1e308, "", " ", "a", "A@example.com", "customer"),
    *(
        "Message",
        "ResourceUpdated",
        "ResourceDeleted",
        "CustomerCreated",
        "CustomerDeleted",
        "Event",
        "1.0",
        "US",
        "DE",
    ),
    *("2026-01-02T03:04:05.678Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z"),
    *("2026-01-02T03:04:05", "\ud800", "\u0000", "\u2028", "🌸", "x" * 40_000, "bm90aGluZw==", [], {}),
)
_LISTS = frozenset({"addresses", "stores", "billingAddressIds", "shippingAddressIds"})
_DOCUMENTS = frozenset(
    (
        *("addresses", "stores", "customerGroup", "obj", "resource", "customer", "message", "data", "attributes"),
        *("payloadNotIncluded", "resourceUserProvidedIdentifiers"),
    )
)
_DEEPEST = 12
_MOSTLY = 224  # of the 256 that a byte can be: up to here a field is what it should be


def _document(steps: Iterator[int], depth: int = 0) -> dict[str, Any]:
    """Return as many fields as the next byte says, each of the kind that its name wants, as a rule."""
    document = {}
    for step in islice(steps, next(steps, 0) % 16):
        key = KEYS[step % len(KEYS)]
        document[key] = _field(key, steps, depth + 1)
    return document


def _field(key: str, steps: Iterator[int], depth: int) -> Any:  # noqa: ANN401  # any JSON
    step = next(steps, 0)
    if step >= _MOSTLY or depth > _DEEPEST:
        return _value(steps)
    make = _document if key in _DOCUMENTS else _scalar
    return [make(steps, depth) for _ in range(step % 4)] if key in _LISTS else make(steps, depth)


def _scalar(steps: Iterator[int], _depth: int) -> Any:  # noqa: ANN401  # as above
    return _VALUES[next(steps, 0) % len(_VALUES)]


def _value(steps: Iterator[int]) -> Any:  # noqa: ANN401  # as above
    match next(steps, 0) % 4:
        case 0:
            return bytes(islice(steps, next(steps, 0) % 16)).decode(errors="replace")
        case 1:
            return [_scalar(steps, 0)]
        case 2:
            return {KEYS[next(steps, 0) % len(KEYS)]: _scalar(steps, 0)}
        case _:
            return _scalar(steps, 0)
