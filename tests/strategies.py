"""What hypothesis draws: customers, notifications and envelopes, as odd as they may come and still be what they are."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.builders import CUSTOMER_ID, SUBSCRIPTION, a_cloud_event

# A busy machine is no failure. The door's own property asks for more examples than the others.
settings.register_profile("ours", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

Json = dict[str, Any]

# No lone surrogates: what was valid UTF-8 on the wire has none. Those in \u escapes are in `odd_texts`.
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            " ",
            "\t\n",
            "\u00a0",
            "Zo\u00eb",
            "\u674e\u5c0f\u9f99",
            "\u0645\u062b\u0627\u0644",
            "\U0001f469\u200d\U0001f4bb",
            "\u202egnirts",
            "\x00",
            "A\x00nna",
            "\ufeffMira\u200b@Example.com",
            "Rene\u0301\u00ad",
            "x" * 300,
            "null",
            "0",
        ]
    ),
)
odd_texts = texts | st.sampled_from(["\ud800", "a\udfffb"])
instants = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001  # hypothesis wants naive bounds
    lambda instant: instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | odd_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
"""Anything that JSON can say."""

_ids = st.sampled_from(["a", "b", "c", "gone", ""]) | texts  # few, so that ids meet; "gone" dangles mostly


def _maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | value


def _with_any_of(fields: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401  # a strategy, to be mapped freely
    return st.fixed_dictionaries(required, optional={name: _maybe(value) for name, value in fields.items()})


addresses: st.SearchStrategy[Json] = _with_any_of(
    {
        "id": _ids,
        **dict.fromkeys(("streetName", "streetNumber", "postalCode", "city", "region", "state", "company"), odd_texts),
        **dict.fromkeys(("phone", "mobile", "apartment", "building"), odd_texts),
        **dict.fromkeys(("additionalStreetInfo", "pOBox", "fax"), odd_texts),
        "country": st.sampled_from(["DE", "US", "us", "GB", "UK", "FR", ""]) | texts,
    }
)

_group_references = _with_any_of({"id": texts, "key": texts, "obj": _with_any_of({"key": odd_texts})})

customers: st.SearchStrategy[Json] = _with_any_of(
    {
        **dict.fromkeys(("email", "key", "customerNumber", "externalId", "companyName"), odd_texts),
        **dict.fromkeys(("firstName", "middleName", "lastName", "title", "salutation", "locale"), odd_texts),
        "dateOfBirth": st.sampled_from(["1990-11-12", "0001-01-01"]) | odd_texts,
        "isEmailVerified": st.booleans(),
        "createdAt": instants,
        "lastModifiedAt": instants,
        "addresses": st.lists(addresses, max_size=4),
        "defaultBillingAddressId": _ids,
        "defaultShippingAddressId": _ids,
        "billingAddressIds": st.lists(_ids, max_size=3),
        "shippingAddressIds": st.lists(_ids, max_size=3),
        "customerGroup": _group_references,
        "customerGroupAssignments": st.lists(_with_any_of({"customerGroup": _group_references}), max_size=3),
        "stores": st.lists(_with_any_of({"key": odd_texts, "id": texts}), max_size=3),
        "password": st.just("canary-password"),
        "vatId": st.just("canary-vat"),
        "custom": json_values,
        "a-field-of-tomorrow": json_values,
    },
    id=st.just(CUSTOMER_ID) | texts.filter(bool),
    version=st.integers(1, 2**63 - 1) | st.integers(1, 3),
)
"""commercetools' JSON of a customer, every optional field absent, null, empty, blank or odd."""

_resources = st.fixed_dictionaries(
    {"typeId": st.sampled_from(["customer", "order", "subscription", "customer-group"]), "id": st.just(CUSTOMER_ID)}
)
_projects = st.sampled_from(["example-shop", "other-shop"])


def _created(customer: Json) -> Json:
    return {
        "notificationType": "Message",
        "projectKey": "example-shop",
        "resource": {"typeId": "customer", "id": customer["id"] or CUSTOMER_ID},
        "id": "message-id",
        "version": 1,
        "resourceVersion": customer["version"],
        "type": "CustomerCreated",
        "customer": customer,
    }


customer_messages: st.SearchStrategy[Json] = customers.map(_created)
"""CustomerCreated notifications."""

changes: st.SearchStrategy[Json] = _with_any_of(
    {"version": st.integers(1, 2**63 - 1), "dataErasure": st.booleans(), "oldVersion": st.integers(1, 9)},
    notificationType=st.sampled_from(["ResourceCreated", "ResourceUpdated", "ResourceDeleted"]),
    projectKey=_projects,
    resource=_resources,
)

messages: st.SearchStrategy[Json] = _with_any_of(
    {
        "type": st.sampled_from(["CustomerFirstNameSet", "CustomerDeleted", "OrderCreated"]) | texts,
        "payloadNotIncluded": _with_any_of({"reason": texts, "payloadType": st.just("CustomerCreated")}),
        "resourceVersion": st.integers(1, 2**63 - 1),
        "email": odd_texts,
        "firstName": odd_texts,
    },
    notificationType=st.just("Message"),
    projectKey=_projects,
    resource=_resources,
    version=st.just(1),
)

events: st.SearchStrategy[Json] = _with_any_of(
    {"id": texts, "resourceType": texts, "type": texts, "createdAt": instants, "data": json_values},
    notificationType=st.just("Event"),
)

platform_notifications: st.SearchStrategy[Json] = st.one_of(customer_messages, changes, messages, events)
notifications: st.SearchStrategy[Json] = platform_notifications | platform_notifications.map(a_cloud_event)
"""Notifications of every kind, in both formats."""

_attributes = st.dictionaries(texts, texts, max_size=3)


def _envelope(parts: tuple[bytes, Json, Json]) -> bytes:
    data, message, envelope = parts
    return json.dumps({"message": {"data": base64.b64encode(data).decode(), **message}, **envelope}).encode()


def envelopes_of(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Wrapped pushes of this data, with and without all that Pub/Sub may leave out or add."""
    message = _with_any_of(
        {
            "messageId": texts,
            "message_id": texts,
            "publishTime": texts,
            "attributes": _attributes,
            "orderingKey": texts,
            "of-tomorrow": json_values,
        }
    )
    envelope = _with_any_of(
        {
            "subscription": st.just(SUBSCRIPTION) | texts,
            "deliveryAttempt": st.integers(1, 100),
            "of-tomorrow": json_values,
        }
    )
    return st.tuples(data, message, envelope).map(_envelope)
