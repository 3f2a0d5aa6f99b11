"""The judge knows by itself what Segment should hold, agrees with the service about it, and notices what is wrong."""

import copy
import string
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import requests
from hypothesis import example, given

from playground.oracle import Profile, Rules, differences, profile_of_customer, rules_of
from playground.shop import Shop
from playground.world import LocalWorld
from service.config import ClearTraits, UserIdField
from service.transformation import IdentifyRules, transform_customer_to_segment
from tests.builders import a_customer, an_address
from tests.strategies import customers

Json = dict[str, Any]

CLEAR_ALL = Rules(user_id="id", clear="all")
CLEAR_OWN = Rules(user_id="id", clear="own")
GROUPS = {"group-vip": {"id": "group-vip", "key": "vip"}, "group-without-key": {"id": "group-without-key"}}
SHARED = {"firstName", "lastName", "name", "phone", "address", "company", "birthday"}
OWN = {"customerNumber", "externalId", "isEmailVerified", "customerGroup", "customerGroups", "stores"}


# ---- the oracle and the service read the table of docs/customers.md alike


def assert_both_agree(customer: Json, field: UserIdField, clear: ClearTraits) -> None:
    customer, groups = with_one_group_for_each_id(customer)

    expected = profile_of_customer(customer, groups, Rules(field.value, clear.value))
    identify = transform_customer_to_segment(customer, IdentifyRules(field, clear))

    if expected is None:
        assert identify["user_id"] == ""
        return
    assert identify["user_id"] == expected.user_id
    told = identify["traits"]
    assert {name: value for name, value in told.items() if value is not None} == expected.traits
    if customer["version"] > 1:
        assert {name for name, value in told.items() if value is None} == (SHARED | OWN) - {*expected.traits} - {
            *expected.kept
        }


def with_one_group_for_each_id(customer: Json) -> tuple[Json, Json]:
    """Return the customer with references to one id expanded alike, as commercetools does, and the groups by id."""
    customer = copy.deepcopy(customer)
    groups: Json = {}
    for holder in (customer, *(customer.get("customerGroupAssignments") or ())):
        reference = holder.get("customerGroup") or {}
        group = reference.pop("obj", None) or {}
        if group_id := reference.get("id"):
            reference["obj"] = groups.setdefault(group_id, group)
    return customer, groups


@given(customers)
@example(a_customer(email=" Mira.Example@Example.com "))
def test_the_oracle_and_the_transformation_agree_on_every_customer(customer: Json) -> None:
    for field, clear in product(UserIdField, ClearTraits):
        assert_both_agree(customer, field, clear)


def test_the_oracle_and_the_transformation_agree_on_the_street_in_every_country() -> None:
    for letters in product(string.ascii_uppercase, repeat=2):
        for country in ("".join(letters), "".join(letters).lower()):
            customer = a_customer(customerGroup=None, addresses=[an_address(country=country)])
            assert_both_agree(customer, UserIdField.ID, ClearTraits.ALL)


# ---- what that table says, worked out by hand

ADA = {
    "id": "ada-id",
    "version": 7,
    "createdAt": "2026-01-02T03:04:05.678Z",
    "lastModifiedAt": "2026-02-03T04:05:06.789Z",
    "key": "ada-key",
    "customerNumber": "1815",
    "externalId": " crm-1815 ",
    "email": " Ada@Example.com ",
    "firstName": "Ada\x00 ",
    "lastName": "Lovelace",
    "title": "Countess",
    "dateOfBirth": "1815-12-10",
    "companyName": "Analytical Engines",
    "vatId": "GB999999999",
    "password": "****aGg=",
    "isEmailVerified": True,
    "customerGroup": {"typeId": "customer-group", "id": "group-vip"},
    "customerGroupAssignments": [
        {"customerGroup": {"typeId": "customer-group", "id": "group-without-key"}},
        {"customerGroup": {"typeId": "customer-group", "id": "group-vip"}},
    ],
    "stores": [{"typeId": "store", "key": "berlin"}, {"typeId": "store", "key": "paris"}],
    "addresses": [
        {"id": "first", "country": "FR", "city": "Paris", "phone": "+33 1", "company": "Another"},
        {
            "id": "billing",
            "streetName": "St James's Square",
            "streetNumber": "12",
            "city": "London",
            "region": "Greater London",
            "postalCode": "SW1Y 4JH",
            "country": "GB",
            "phone": "+44 20",
            "mobile": "+44 7700",
        },
    ],
    "defaultBillingAddressId": "billing",
    "billingAddressIds": ["first", "billing"],
}
NOBODY: Json = {
    "id": "nobody",
    "version": 2,
    "firstName": " ",
    "customerGroupAssignments": [],
    "stores": [],
    "addresses": [],
}
BERLIN = {
    "id": "berlin",
    "streetName": "Hauptstraße",
    "streetNumber": "5",
    "apartment": " 2 ",
    "building": "Hinterhaus",
    "additionalStreetInfo": "c/o Ada",
    "pOBox": "77",
    "country": "DE",
    "state": "Berlin",
}
NEW_YORK = {"id": "new-york", "streetName": "Main St", "streetNumber": "123", "country": "us", "company": "Acme, Inc."}


@pytest.mark.parametrize(
    ("customer", "traits"),
    [
        pytest.param(
            ADA,
            {
                "email": "Ada@Example.com",
                "firstName": "Ada",
                "lastName": "Lovelace",
                "name": "Ada Lovelace",
                "phone": "+44 7700",
                "address": {
                    "street": "12 St James's Square",
                    "city": "London",
                    "state": "Greater London",
                    "postalCode": "SW1Y 4JH",
                    "country": "GB",
                },
                "company": {"name": "Analytical Engines"},
                "birthday": "1815-12-10",
                "createdAt": "2026-01-02T03:04:05.678Z",
                "commercetoolsId": "ada-id",
                "customerNumber": "1815",
                "externalId": "crm-1815",
                "isEmailVerified": True,
                "customerGroup": "vip",
                "customerGroups": ["group-without-key", "vip"],
                "stores": ["berlin", "paris"],
            },
            id="every field",
        ),
        pytest.param(NOBODY, {"commercetoolsId": "nobody"}, id="hardly any field"),
        pytest.param(
            NOBODY
            | {
                "lastName": "Smith",
                "isEmailVerified": False,
                "customerGroup": {"typeId": "customer-group", "id": "group-without-key"},
                "addresses": [BERLIN, NEW_YORK],
                "defaultShippingAddressId": "new-york",
                "billingAddressIds": ["berlin"],
            },
            {
                "lastName": "Smith",
                "address": {"street": "123 Main St", "country": "us"},
                "company": {"name": "Acme, Inc."},
                "commercetoolsId": "nobody",
                "isEmailVerified": False,
                "customerGroup": "group-without-key",
            },
            id="the default shipping address before the first billing address; a group without a key",
        ),
        pytest.param(
            NOBODY
            | {
                "customerGroupAssignments": [{"customerGroup": {"typeId": "customer-group", "id": "group-unknown"}}],
                "addresses": [NEW_YORK, BERLIN],
                "defaultBillingAddressId": "removed",
                "shippingAddressIds": ["berlin"],
            },
            {
                "address": {
                    "street": "Hauptstraße 5, 2, Hinterhaus, c/o Ada, P.O. box 77",
                    "state": "Berlin",
                    "country": "DE",
                },
                "commercetoolsId": "nobody",
                "customerGroup": "group-unknown",
                "customerGroups": ["group-unknown"],
            },
            id="an id that no address has is passed over; a group that cannot be read, in an assignment",
        ),
    ],
)
def test_the_traits_of_a_customer(customer: Json, traits: Json) -> None:
    assert profile_of_customer(customer, GROUPS, CLEAR_ALL) == Profile(customer["id"], traits)


@pytest.mark.parametrize(
    ("field", "user_id"),
    [
        ("email", "ada@example.com"),
        ("id", "ada-id"),
        ("key", "ada-key"),
        ("externalId", "crm-1815"),
        ("customerNumber", "1815"),
    ],
)
def test_the_user_id_is_the_field_that_the_shop_chose(field: str, user_id: str) -> None:
    profile = profile_of_customer(ADA, GROUPS, Rules(field, "all"))

    assert profile is not None
    assert profile.user_id == user_id


def test_the_user_id_has_no_invisible_characters_and_composed_letters() -> None:
    profile = profile_of_customer(
        ADA | {"email": "\ufeffRENE\u0301\u200b@Example.com\x00 "}, GROUPS, Rules("email", "all")
    )

    assert profile is not None
    assert profile.user_id == "ren\u00e9@example.com"


def test_a_customer_without_the_user_id_has_no_profile() -> None:
    assert profile_of_customer(NOBODY, GROUPS, Rules("email", "all")) is None


def test_without_clear_all_a_later_version_may_leave_what_it_lacks_where_others_may_have_set_it() -> None:
    later = profile_of_customer(NOBODY | {"firstName": "Ada"}, GROUPS, CLEAR_OWN)
    first = profile_of_customer(NOBODY | {"version": 1}, GROUPS, CLEAR_OWN)

    assert later is not None
    assert later.kept == {"lastName", "name", "phone", "address", "company", "birthday"}
    assert first is not None
    assert first.kept == frozenset()
    held = {**later.traits, "lastName": "Lovelace"}
    assert differences({"nobody": later}, {"nobody": held}) == []
    assert differences({"nobody": later}, {"nobody": held | {"customerNumber": "1"}}) == ["nobody"]


def test_with_clear_off_a_later_version_may_leave_all_that_it_lacks() -> None:
    later = profile_of_customer(NOBODY | {"isEmailVerified": True}, GROUPS, Rules("id", "off"))

    assert later is not None
    assert later.kept == (SHARED | OWN) - {"isEmailVerified"}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({"dateOfBirth": "0001-01-01"}, {"birthday"}, id="a date of birth in year 1"),
        pytest.param({"customerGroupAssignments": None}, {"customerGroups"}, id="no field for the assignments"),
        pytest.param({"customerGroupAssignments": [{}]}, {"customerGroup", "customerGroups"}, id="no group in them"),
        pytest.param({"stores": [{"typeId": "store", "id": "store-id"}]}, {"stores"}, id="a store without a key"),
    ],
)
def test_what_the_document_does_not_show_to_be_empty_may_be_left(changes: Json, kept: set[str]) -> None:
    profile = profile_of_customer(NOBODY | changes, GROUPS, CLEAR_ALL)

    assert profile is not None
    assert profile.kept == kept


def test_the_rules_are_those_of_the_services_settings_with_its_defaults() -> None:
    assert rules_of({}) == Rules("email", "own")
    assert rules_of({"SEGMENT_USER_ID": "id", "SEGMENT_CLEAR_TRAITS": "all"}) == CLEAR_ALL


# ---- the judge of the demo and of chaos


@pytest.fixture
def world() -> Iterator[LocalWorld]:
    """Yield a shop with two customers and an empty Segment, without the service."""
    world = LocalWorld(environment={"PUSH_AUTH": "none"})
    world.shop = Shop()  # whose messages are not published
    with world.pubsub, world.segment:
        for name in ("Ada", "Grace"):
            world.shop.create(firstName=name, email=f"{name}@example.com")
        yield world


def tell(world: LocalWorld, *user_ids: str, **traits: object) -> None:
    """Tell Segment of these users what the shop says of them, or has these traits instead."""
    for user_id in user_ids:
        customer = world.shop.customers.get(user_id, {"firstName": "Nobody"})
        name = customer["firstName"]
        event = {
            "type": "identify",
            "userId": user_id,
            "messageId": f"of {user_id}",
            "traits": {
                "email": f"{name}@example.com",
                "firstName": name,
                "createdAt": customer.get("createdAt"),
                "commercetoolsId": user_id,
                "isEmailVerified": False,
                **traits,
            },
        }
        body = {"batch": [event], "writeKey": world.segment.write_key}
        requests.post(f"{world.segment.url}/v1/batch", json=body, timeout=10).raise_for_status()


def test_the_judge_finds_nothing_where_segment_holds_the_shop(world: LocalWorld) -> None:
    tell(world, *world.shop.customers)

    assert len(world.segment.profiles) == 2
    assert world.differences() == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"firstName": "Charles"}, id="another value"),
        pytest.param({"firstName": None}, id="one missing"),
        pytest.param({"lastName": "Lovelace"}, id="one too many"),
    ],
)
def test_the_judge_notices_a_wrong_trait(world: LocalWorld, wrong: Json) -> None:
    ada, grace = world.shop.customers
    tell(world, ada, **wrong)
    tell(world, grace)

    assert world.differences() == [ada]


def test_the_judge_notices_a_missing_customer(world: LocalWorld) -> None:
    ada, grace = world.shop.customers
    tell(world, ada)

    assert world.differences() == [grace]


def test_the_judge_notices_a_customer_too_many(world: LocalWorld) -> None:
    tell(world, *world.shop.customers, "somebody-else")

    assert world.differences() == ["somebody-else"]
