"""What tests are made of: documents as commercetools and Pub/Sub write them, and settings, each with changes.

A change of None removes the field. An explicit null is written as `a_customer() | {"email": None}`.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from service.commercetools import CUSTOMER, Customer
from service.config import CommercetoolsSettings, PushAuth, SegmentSettings, Settings
from service.integration import Integration
from service.kinds import Now, Reads, Send, customers, included
from service.transformation import IdentifyRules

CUSTOMER_ID = "11111111-2222-4333-8444-555555555555"
ORDER_ID = "aaaaaaaa-2222-4333-8444-555555555555"
PAYMENT_ID = "bbbbbbbb-2222-4333-8444-555555555555"
PROJECT = "example-shop"
SUBSCRIPTION = "projects/example-project/subscriptions/example-push"

_OF_THE_MESSAGE = frozenset(
    {"data", "attributes", "messageId", "message_id", "publishTime", "publish_time", "orderingKey"}
)


def a_customer(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a customer with every field, as commercetools' API shows one."""
    customer = {
        "id": CUSTOMER_ID,
        "version": 3,
        "versionModifiedAt": "2026-02-03T04:05:06.789Z",
        "lastMessageSequenceNumber": 4,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-02-03T04:05:06.789Z",
        "createdBy": {"clientId": "an-api-client", "isPlatformClient": False},
        "lastModifiedBy": {},
        "key": "customer-mira",
        "customerNumber": "1001",
        "externalId": "crm-1001",
        "email": "Mira.Example@example.com",
        "firstName": "Mira",
        "middleName": "",
        "lastName": "Example",
        "title": "Dr.",
        "salutation": "Ms.",
        "dateOfBirth": "1990-11-12",
        "companyName": "Example Engines",
        "vatId": "XX999999999",
        "password": "****canaryhash=",
        "addresses": [an_address()],
        "defaultBillingAddressId": "home",
        "billingAddressIds": ["home"],
        "defaultShippingAddressId": "home",
        "shippingAddressIds": ["home"],
        "isEmailVerified": True,
        "customerGroup": {"typeId": "customer-group", "id": "group-id"},
        "customerGroupAssignments": [{"customerGroup": {"typeId": "customer-group", "id": "group-id"}}],
        "stores": [{"typeId": "store", "key": "berlin"}, {"typeId": "store", "key": "paris"}],
        "authenticationMode": "Password",
        "locale": "de-DE",
        "custom": {"type": {"typeId": "type", "id": "type-id"}, "fields": {"shoe-size": "canary-38"}},
    }
    return _changed(customer, changes)


def an_address(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return an address of a customer with every field that we use, and some that we don't."""
    address = {
        "id": "home",
        "key": "home-key",
        "firstName": "Mira",
        "lastName": "Example",
        "streetName": "Hauptstraße",
        "streetNumber": "5",
        "additionalStreetInfo": "Hinterhaus",
        "postalCode": "10115",
        "city": "Berlin",
        "region": "Berlin-Brandenburg",
        "state": "Berlin",
        "country": "DE",
        "company": "Address Company",
        "phone": "+49 30 23125001",
        "mobile": "+49 171 3920001",
        "email": "address@example.org",
    }
    return _changed(address, changes)


def a_message(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a CustomerCreated notification with its customer. Its ids and version follow a changed customer."""
    customer = changes.get("customer") or a_customer(version=1)
    message = {
        "notificationType": "Message",
        "projectKey": PROJECT,
        "id": "message-id",
        "version": 1,
        "sequenceNumber": 1,
        "resource": {"typeId": "customer", "id": customer.get("id", CUSTOMER_ID)},
        "resourceVersion": customer.get("version", 1),
        "resourceUserProvidedIdentifiers": {},
        "type": "CustomerCreated",
        "customer": customer,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-01-02T03:04:05.678Z",
    }
    return _changed(message, changes)


def a_change(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a ResourceUpdated notification of a customer; with `notificationType`, of any other change."""
    change = {
        "notificationType": "ResourceUpdated",
        "projectKey": PROJECT,
        "resource": {"typeId": "customer", "id": CUSTOMER_ID},
        "resourceUserProvidedIdentifiers": {"key": "customer-mira"},
        "version": 3,
        "oldVersion": 2,
        "modifiedAt": "2026-02-03T04:05:06.789Z",
    }
    return _changed(change, changes)


def a_cloud_event(notification: Mapping[str, Any]) -> dict[str, Any]:
    """Return the notification inside a CloudEvent, as a Subscription with format CloudEvents writes it."""
    resource = notification.get("resource") or {"typeId": "customer", "id": CUSTOMER_ID}
    message = notification.get("notificationType") == "Message"
    kind = f"message.{notification.get('type')}" if message else f"change.{notification.get('notificationType')}"
    return {
        "specversion": "1.0",
        "id": notification.get("id") or f"{resource['id']}-u{notification.get('version')}",
        "type": f"com.commercetools.{resource['typeId']}.{kind}",
        "source": f"/{PROJECT}/customers",
        "subject": resource["id"],
        "time": "2026-02-03T04:05:06.789Z",
        "data": dict(notification),
    }


def a_push(notification: Mapping[str, Any] | bytes, **changes: Any) -> bytes:  # noqa: ANN401  # any JSON
    """Return the body of a wrapped push of this notification, or of these bytes.

    A change that names a field of the Pub/Sub message (data, attributes, messageId …) goes there, any other into the
    envelope around it.
    """
    data = notification if isinstance(notification, bytes) else json.dumps(notification).encode()
    message = {
        "data": base64.b64encode(data).decode(),
        "messageId": "2070443601311540",
        "message_id": "2070443601311540",
        "publishTime": "2026-02-03T04:05:07.000Z",
        "publish_time": "2026-02-03T04:05:07.000Z",
    }
    inner = {name: value for name, value in changes.items() if name in _OF_THE_MESSAGE}
    outer = {name: value for name, value in changes.items() if name not in _OF_THE_MESSAGE}
    envelope = {"message": _changed(message, inner), "subscription": SUBSCRIPTION, "deliveryAttempt": 1}
    return json.dumps(_changed(envelope, outer)).encode()


def an_integration(
    send: Send,
    *,
    rules: IdentifyRules = IdentifyRules(),
    customer_now: Now[Customer] | None = None,
    customer_by_id: Now[Customer] | None = None,
    erasing: Mapping[str, Any] | None = None,
    **others: Any,  # noqa: ANN401  # the fields of an Integration
) -> Integration:
    """Return an integration of customers. `erasing` are the arguments of `customers` that say what a deletion means."""
    reads = Reads(customer_now, customer_by_id) if customer_now else included(CUSTOMER)
    kind = customers(reads, rules, **erasing or {})
    return Integration(send, {CUSTOMER.type_id: kind}, **others)


def settings(**changes: Any) -> Settings:  # noqa: ANN401  # any setting
    """Return settings that let everybody push and know no commercetools API client."""
    return replace(Settings(segment=SegmentSettings(write_key="example-write-key"), push_auth=PushAuth.NONE), **changes)


def commercetools_settings(commercetools: CommercetoolsStandIn) -> CommercetoolsSettings:
    """Return the settings of the API client that this stand-in knows."""
    return CommercetoolsSettings(
        project_key=commercetools.shop.project_key,
        client_id=commercetools.client_id,
        client_secret=commercetools.client_secret,
        auth_url=commercetools.url,
        api_url=commercetools.url,
        scopes=commercetools.settings["CTP_SCOPES"],
    )


def an_environment(**changes: str | None) -> dict[str, str]:
    """Return the smallest environment that the service starts with."""
    return _changed({"SEGMENT_WRITE_KEY": "example-write-key", "PUSH_AUTH": "none"}, changes)


def _changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**document, **changes}.items() if value is not None}


def an_order(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return an order of one line, twice 10.00 EUR, shipped for 4.90, with 19 % tax in the prices."""
    order = {
        "id": ORDER_ID,
        "version": 1,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-02-03T04:05:06.789Z",
        "orderNumber": "2026-1001",
        "customerId": CUSTOMER_ID,
        "customerEmail": "Mira.Example@example.com",
        "locale": "de-DE",
        "totalPrice": euros(24.90),
        "taxedPrice": {"totalNet": euros(20.92), "totalGross": euros(24.90), "totalTax": euros(3.98)},
        "taxedShippingPrice": {"totalNet": euros(4.12), "totalGross": euros(4.90), "totalTax": euros(0.78)},
        "shippingInfo": {"shippingMethodName": "Post", "price": euros(4.90)},
        "lineItems": [a_line_item()],
        "customLineItems": [],
        "discountCodes": [],
        "cart": {"typeId": "cart", "id": "cart-id"},
        "store": {"typeId": "store", "key": "berlin"},
        "orderState": "Open",
        "paymentState": "Paid",
        "shippingAddress": an_address(),
        "billingAddress": an_address(),
        "paymentInfo": {"payments": [{"typeId": "payment", "id": PAYMENT_ID}]},
    }
    return _changed(order, changes)


def a_large_order(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return an order with all that an order can have: each kind of discount, a gift, fees, a code, custom fields.

    Three for 10.00 (one of them for 9.00), a gift, a fee of 2.50 and -1.00 are 30.50; shipped for 4.90 instead of 5.90,
    less 3.54 on the total: 31.86 EUR, of which 5.09 are tax.
    """
    order = an_order(
        totalPrice=euros(31.86),
        taxedPrice={"totalNet": euros(26.77), "totalGross": euros(31.86), "totalTax": euros(5.09)},
        taxedShippingPrice={"totalNet": euros(3.71), "totalGross": euros(4.41)},
        discountOnTotalPrice={"discountedAmount": euros(3.54), "includedDiscounts": []},
        shippingInfo={
            "shippingMethodName": "Post",
            "price": euros(5.90),
            "discountedPrice": {"value": euros(4.90), "includedDiscounts": []},
            "taxedPrice": {"totalNet": euros(4.12), "totalGross": euros(4.90)},
        },
        lineItems=[
            a_line_item(
                quantity=3,
                price={"value": euros(12), "discounted": {"value": euros(10)}},
                totalPrice=euros(29),
                discountedPricePerQuantity=[
                    {"quantity": 1, "discountedPrice": _discounted(9, 1)},
                    {"quantity": 2, "discountedPrice": _discounted(10)},
                ],
            ),
            a_line_item(
                id="gift",
                lineItemMode="GiftLineItem",
                quantity=1,
                totalPrice=euros(0),
                discountedPricePerQuantity=[{"quantity": 1, "discountedPrice": _discounted(0, 10)}],
            ),
        ],
        customLineItems=[
            a_custom_line_item(id="fee", totalPrice=euros(2.50), money=euros(2.50)),
            a_custom_line_item(id="thanks", totalPrice=euros(-1), money=euros(-1)),
        ],
        discountCodes=[
            {
                "discountCode": {"typeId": "discount-code", "id": "code", "obj": {"code": "SPRING"}},
                "state": "MatchesCart",
            }
        ],
        shipmentState="Pending",
        custom={"type": {"typeId": "type", "id": "type-id"}, "fields": {"segmentAnonymousId": "browser-1"}},
    )
    return _changed(order, changes)


def _discounted(value: float, *amounts: float) -> dict[str, Any]:
    return {"value": euros(value), "includedDiscounts": [{"discountedAmount": euros(amount)} for amount in amounts]}


def a_custom_line_item(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a custom line item of 1.00 EUR."""
    line = {
        "id": "custom-1",
        "key": "wrapping",
        "name": {"de": "Verpackung", "en": "Wrapping"},
        "slug": "gift-wrapping",
        "money": euros(1),
        "quantity": 1,
        "totalPrice": euros(1),
        "priceMode": "Standard",
    }
    return _changed(line, changes)


def a_line_item(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a line item of twice 10.00 EUR."""
    line = {
        "id": "line-1",
        "productId": "product-1",
        "name": {"de": "Becher", "en": "Mug"},
        "productSlug": {"de": "becher", "en": "mug"},
        "variant": {"id": 1, "sku": "MUG-1", "images": [{"url": "https://images.example.com/mug.jpg"}]},
        "price": {"value": euros(10)},
        "quantity": 2,
        "totalPrice": euros(20),
        "lineItemMode": "Standard",
    }
    return _changed(line, changes)


def euros(amount: float) -> dict[str, Any]:
    """Return so much money, as commercetools writes it."""
    return {
        "type": "centPrecision",
        "currencyCode": "EUR",
        "centAmount": round(amount * 100),
        "fractionDigits": 2,
    }


def a_payment(*transactions: Mapping[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a payment with these transactions, without any with a refund of 10.00 EUR."""
    payment = {
        "id": PAYMENT_ID,
        "version": 4,
        "amountPlanned": euros(24.90),
        "transactions": list(transactions) or [a_refund()],
    }
    return _changed(payment, changes)


def a_refund(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a refund of 10.00 EUR in Success, a transaction of a payment."""
    refund = {
        "id": "refund-1",
        "timestamp": "2026-03-04T05:06:07.890Z",
        "type": "Refund",
        "amount": euros(10),
        "state": "Success",
    }
    return _changed(refund, changes)


def an_order_message(type_: str = "OrderCreated", **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a Message about the order, without the order in it."""
    return a_message(
        **{
            "type": type_,
            "customer": None,
            "resource": {"typeId": "order", "id": ORDER_ID},
            "resourceVersion": 1,
            **changes,
        }
    )


def a_payment_message(type_: str = "PaymentTransactionStateChanged", **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return a Message about the payment: by default that its refund is in Success."""
    of_type = {"PaymentTransactionStateChanged": {"transactionId": "refund-1", "state": "Success"}}
    about = {"typeId": "payment", "id": PAYMENT_ID}
    return an_order_message(type_, **{"resource": about, "resourceVersion": 4, **of_type.get(type_, {}), **changes})


def kind_of(value: object) -> str | None:
    """Return a short name for a notification, or several, among the parameters of a test; None for anything else."""
    if isinstance(value, list):
        return "-".join(filter(None, map(kind_of, value))) or None
    return value.get("type") or value.get("notificationType") if isinstance(value, dict) else None


def sample(name: str) -> Any:  # noqa: ANN401  # any JSON
    """Return a real document, of those that the tests keep."""
    return json.loads((Path(__file__).parent / "samples" / name).read_text())


def samples(*patterns: str) -> list[Any]:
    """Return parameters, one for each real document that matches, of those that the tests keep."""
    found = sorted({path for pattern in patterns for path in (Path(__file__).parent / "samples").rglob(pattern)})
    assert found, patterns
    return [pytest.param(path, id=path.stem) for path in found]
