"""Who bought: a row for each of docs/orders.md's table, and no event without the consent that is demanded."""

from typing import Any

import pytest

from service.commercetools import Customer, read_customer
from service.commercetools.order import Order, read_order
from service.config import UserIdField
from service.serving.toml_file import toml_of
from service.transformation.buyer import Buyer, buyer_of, needs_customer
from service.transformation.mapping import ShopMapping
from service.transformation.rules import shop_mapping
from tests.builders import CUSTOMER_ID, ORDER_ID, a_customer, an_order

EMAIL, ID, KEY, EXTERNAL, NUMBER = UserIdField
GUEST = {"customerId": None}
MADE_UP = f"commercetools-order-{ORDER_ID}"
WITH_FIELD = '[order]\nanonymous_id = "custom.segmentAnonymousId"'


def mapping(text: str = "") -> ShopMapping:
    return shop_mapping(toml_of(f"version = 1\n{text}".encode(), "m.toml"))


def customer_of(by: ShopMapping, **changes: Any) -> Customer:  # noqa: ANN401  # any JSON
    return read_customer(a_customer(**changes), by.named)


def order_of(**changes: Any) -> Order:  # noqa: ANN401  # any JSON
    return read_order(an_order(**changes))


def with_fields(**fields: object) -> dict[str, Any]:
    return {"custom": {"type": {"typeId": "type", "id": "type-id"}, "fields": fields}}


def buyer(order: Order, customer: Customer | None, field: UserIdField, text: str = "") -> Buyer:
    """Return the buyer without the fields that the ids come from, which only `explain` shows."""
    found = buyer_of(order, customer, field, mapping(text))
    return found._replace(user_id_from="", anonymous_id_from="")


def test_the_user_id_fields_are_those_of_the_table() -> None:
    assert [EMAIL, ID, KEY, EXTERNAL, NUMBER] == ["email", "id", "key", "externalId", "customerNumber"]


@pytest.mark.parametrize(
    ("field", "user_id", "reads"),
    [
        (EMAIL, "mira.example@example.com", False),
        (ID, CUSTOMER_ID, False),
        (KEY, "customer-mira", True),
        (EXTERNAL, "crm-1001", True),
        (NUMBER, "1001", True),
    ],
)
def test_a_customer_is_told_by_the_field_that_is_the_user_id(field: UserIdField, user_id: str, reads: bool) -> None:  # noqa: FBT001  # a table
    order = order_of()

    assert needs_customer(order, field, None) is reads
    assert buyer(order, customer_of(mapping()) if reads else None, field) == Buyer(user_id)


@pytest.mark.parametrize(
    ("field", "user_id"),
    [(EMAIL, "mira.example@example.com"), (ID, ""), (KEY, ""), (EXTERNAL, ""), (NUMBER, "")],
)
def test_a_guest_is_known_by_the_address_alone(field: UserIdField, user_id: str) -> None:
    order = order_of(**GUEST)

    assert not needs_customer(order, field, None)
    assert buyer(order, None, field) == Buyer(user_id, "" if user_id else MADE_UP)


def test_a_customer_whose_order_has_no_address_is_read_for_it() -> None:
    order = order_of(customerEmail=None)

    assert needs_customer(order, EMAIL, None)
    assert buyer(order, customer_of(mapping()), EMAIL) == Buyer("mira.example@example.com")


@pytest.mark.parametrize("email", ["  A@Example.COM ", "a@example.com", "\u200ba@example.com", "A@example.com\0"])
def test_an_address_is_the_same_person_however_it_is_written(email: str) -> None:
    assert buyer(order_of(**GUEST, customerEmail=email), None, EMAIL) == Buyer("a@example.com")


def test_the_address_of_the_order_is_taken_before_the_customer_s_own() -> None:
    order = order_of(customerEmail="old@example.com")

    assert buyer(order, customer_of(mapping()), EMAIL).user_id == "old@example.com"


@pytest.mark.parametrize("field", [KEY, EXTERNAL, NUMBER])
def test_a_customer_who_is_gone_or_lacks_the_field_is_told_as_a_guest_with_a_warning(field: UserIdField) -> None:
    lacks = customer_of(mapping(), key=None, externalId=None, customerNumber=None)
    reason = f"told as a guest's: the customer is gone, or has no {field}, which is to be the userId"

    for customer in (None, lacks):
        assert buyer(order_of(), customer, field) == Buyer("", MADE_UP, reason=reason, warn=True)


def test_a_customer_who_is_gone_keeps_the_address_and_the_id_of_the_order() -> None:
    assert buyer(order_of(), None, EMAIL) == Buyer("mira.example@example.com")
    assert buyer(order_of(), None, ID) == Buyer(CUSTOMER_ID)
    assert buyer(order_of(customerEmail=None), None, EMAIL).warn


@pytest.mark.parametrize(
    ("changes", "anonymous_id"),
    [
        ({}, MADE_UP),
        ({"anonymousId": "session-1"}, "session-1"),
        ({"anonymousId": " session-1\0 "}, "session-1"),
        ({**with_fields(segmentAnonymousId="browser-1"), "anonymousId": "session-1"}, "browser-1"),
        *(
            ({"anonymousId": one}, MADE_UP)
            for one in ("", " ", "null", "Anonymous", "-1", "0", "00000000-0000", "undefined")
        ),
        *(({**with_fields(segmentAnonymousId=one), "anonymousId": "s"}, "s") for one in ("", "null", 5, None, ["x"])),
        ({"custom": {"fields": "browser-1"}}, MADE_UP),
    ],
    ids=str,
)
def test_a_guest_has_the_browser_s_anonymous_id_else_the_session_s_else_one_of_the_order(
    changes: dict[str, Any], anonymous_id: str
) -> None:
    assert buyer(order_of(**GUEST, **changes), None, ID, WITH_FIELD) == Buyer("", anonymous_id)


def test_the_browser_s_anonymous_id_is_told_beside_a_user_id_and_the_session_s_is_not() -> None:
    both = order_of(**with_fields(segmentAnonymousId="browser-1"), anonymousId="session-1")

    assert buyer(both, None, ID, WITH_FIELD) == Buyer(CUSTOMER_ID, "browser-1")
    assert buyer(both, None, ID) == Buyer(CUSTOMER_ID)


# Consent

CONSENT = """
[consent]
send = ["Advertising"]
[consent.categories]
Advertising = "custom.ads"
Analytics = { from = "custom.analytics", default = true }
"""
NO_CONSENT = Buyer(forbidden=True, reason="no consent for Advertising")


@pytest.mark.parametrize("field", UserIdField)
def test_with_consent_a_customer_is_always_read(field: UserIdField) -> None:
    assert needs_customer(order_of(), field, mapping(CONSENT).consent)
    assert not needs_customer(order_of(**GUEST), field, mapping(CONSENT).consent)


def test_the_custom_field_of_the_anonymous_id_can_be_named_alone() -> None:
    text = '[order]\nanonymous_id = "segmentAnonymousId"'

    found = buyer(order_of(**GUEST, **with_fields(segmentAnonymousId="browser-1")), None, ID, text)

    assert found.anonymous_id == "browser-1"


@pytest.mark.parametrize(
    ("ads", "expected"),
    [
        (True, Buyer(CUSTOMER_ID, preferences={"Advertising": True, "Analytics": True})),
        (False, NO_CONSENT),
        (None, NO_CONSENT),
        ("true", NO_CONSENT),
    ],
)
def test_a_customer_s_consent_is_the_customer_s_and_not_the_order_s(ads: object, expected: Buyer) -> None:
    by = mapping(CONSENT)
    customer = customer_of(by, custom={"fields": {"ads": ads}})

    assert buyer(order_of(**with_fields(ads=ads is not True)), customer, ID, CONSENT) == expected


@pytest.mark.parametrize("changes", [GUEST, {}], ids=["a guest", "a customer who is gone"])
@pytest.mark.parametrize("ads", [True, False, None, "true"])
def test_the_consent_of_who_is_no_customer_is_the_order_s(changes: dict[str, Any], ads: object) -> None:
    order = order_of(**changes, **with_fields(ads=ads, analytics=False))

    found = buyer(order, None, ID, CONSENT)

    if ads is True:
        assert found.preferences == {"Advertising": True, "Analytics": False}
        assert found.user_id == ("" if changes else CUSTOMER_ID)
    else:
        assert found == NO_CONSENT


@pytest.mark.parametrize(
    "rule",
    [
        '"customerGroup.custom.ads"',
        '{ expr = "custom.ads" }',
        '"address.custom.ads"',
        '{ from = ["custom.of-the-customer", "customerGroup.key"], as = "boolean", values = { x = true } }',
    ],
)
def test_a_rule_that_reads_what_an_order_does_not_have_gives_no_consent(rule: str) -> None:
    text = f'[consent]\nsend = ["Advertising"]\n[consent.categories]\nAdvertising = {rule}'

    assert buyer(order_of(**GUEST), None, ID, text) == NO_CONSENT


def test_an_expression_reads_the_order_of_a_guest() -> None:
    text = '[consent.categories]\nAdvertising = { expr = "custom.ads && custom.adult" }'

    found = buyer(order_of(**GUEST, **with_fields(ads=True, adult=True)), None, ID, text)

    assert found.preferences == {"Advertising": True}


def test_a_document_of_consent_is_read_from_the_order_of_a_guest() -> None:
    text = '[consent]\nfrom = "custom.choice"'
    given, none = with_fields(choice='{"Ads": true}'), with_fields(choice="{")

    assert buyer(order_of(**GUEST, **given), None, ID, text).preferences == {"Ads": True}
    unread = buyer(order_of(**GUEST, **none), None, ID, text)
    assert (unread.forbidden, unread.warn) == (True, True)
    assert unread.reason == "no consent could be read, and the mapping file names no category"
