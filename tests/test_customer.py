"""Customer and Address: each that commercetools writes is read, each other is refused with its reason."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from service.commercetools import Address, Customer, read_customer
from service.serving.decoding import Malformed
from tests.builders import CUSTOMER_ID, a_customer, an_address, samples
from tests.strategies import customers

TEXTS = {
    "email": "email",
    "key": "key",
    "customerNumber": "customer_number",
    "externalId": "external_id",
    "firstName": "first_name",
    "lastName": "last_name",
    "companyName": "company_name",
    "dateOfBirth": "date_of_birth",
    "locale": "locale",
    "createdAt": "created_at",
    "defaultBillingAddressId": "default_billing_address_id",
    "defaultShippingAddressId": "default_shipping_address_id",
}
ADDRESS_TEXTS = {
    "id": "id",
    "streetName": "street_name",
    "streetNumber": "street_number",
    "postalCode": "postal_code",
    "city": "city",
    "region": "region",
    "state": "state",
    "country": "country",
    "company": "company",
    "phone": "phone",
    "mobile": "mobile",
    "apartment": "apartment",
    "building": "building",
    "additionalStreetInfo": "additional_street_info",
    "pOBox": "po_box",
}
NOTHING = [
    pytest.param(None, id="null"),
    pytest.param("", id="empty"),
    pytest.param(" \t\u00a0\n", id="blank"),
]


def test_a_full_customer_is_read_whole() -> None:
    customer = read_customer(a_customer())

    assert customer == Customer(
        id=CUSTOMER_ID,
        version=3,
        email="Mira.Example@example.com",
        key="customer-mira",
        customer_number="1001",
        external_id="crm-1001",
        first_name="Mira",
        last_name="Example",
        company_name="Example Engines",
        date_of_birth="1990-11-12",
        locale="de-DE",
        is_email_verified=True,
        customer_group="group-id",
        customer_groups=("group-id",),
        stores=("berlin", "paris"),
        addresses=(
            Address(
                id="home",
                street_name="Hauptstraße",
                street_number="5",
                additional_street_info="Hinterhaus",
                postal_code="10115",
                city="Berlin",
                region="Berlin-Brandenburg",
                state="Berlin",
                country="DE",
                company="Address Company",
                phone="+49 30 23125001",
                mobile="+49 171 3920001",
            ),
        ),
        default_billing_address_id="home",
        default_shipping_address_id="home",
        billing_address_ids=("home",),
        shipping_address_ids=("home",),
        created_at="2026-01-02T03:04:05.678Z",
        last_modified_at=datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
    )


def test_an_id_and_a_version_are_enough() -> None:
    assert read_customer({"id": CUSTOMER_ID, "version": 1}) == Customer(
        id=CUSTOMER_ID, version=1, unknown=frozenset({"customer_groups"})
    )


def test_an_address_may_be_empty() -> None:
    assert read_customer(a_customer(addresses=[{}])).addresses == (Address(),)


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize(("name", "attribute"), TEXTS.items(), ids=TEXTS)
def test_a_blank_text_counts_as_unset(name: str, attribute: str, nothing: str | None) -> None:
    customer = read_customer(a_customer() | {name: nothing})

    assert getattr(customer, attribute) is None
    assert customer == read_customer(a_customer(**{name: None}))


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize(("name", "attribute"), ADDRESS_TEXTS.items(), ids=ADDRESS_TEXTS)
def test_a_blank_text_in_an_address_counts_as_unset(name: str, attribute: str, nothing: str | None) -> None:
    address = read_customer(a_customer(addresses=[an_address() | {name: nothing}])).addresses[0]

    assert getattr(address, attribute) is None
    assert address == read_customer(a_customer(addresses=[an_address(**{name: None})])).addresses[0]


@pytest.mark.parametrize(("name", "attribute"), TEXTS.items(), ids=TEXTS)
def test_blanks_around_a_text_are_taken_away(name: str, attribute: str) -> None:
    customer = read_customer(a_customer(**{name: " a text\n"}))

    assert getattr(customer, attribute) == "a text"


@pytest.mark.parametrize(("name", "attribute"), TEXTS.items(), ids=TEXTS)
def test_nul_characters_are_dropped_from_a_text(name: str, attribute: str) -> None:
    assert getattr(read_customer(a_customer(**{name: " \x00a \x00text\x00 "})), attribute) == "a text"
    assert getattr(read_customer(a_customer(**{name: "\x00 \x00"})), attribute) is None


@pytest.mark.parametrize(
    ("date", "birthday", "unknown"),
    [
        pytest.param("1990-11-12", "1990-11-12", set(), id="a date"),
        pytest.param("0001-01-01", None, {"date_of_birth"}, id="the zero value of .NET and Go"),
        pytest.param(" 0001-12-31", None, {"date_of_birth"}, id="another day of year 1"),
        pytest.param("", None, set(), id="none"),
    ],
)
def test_a_date_in_year_1_is_no_birthday(date: str, birthday: str | None, unknown: set[str]) -> None:
    customer = read_customer(a_customer(dateOfBirth=date))

    assert customer.date_of_birth == birthday
    assert customer.unknown == unknown


@pytest.mark.parametrize("absence", ["absent", "null", "empty"])
@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        pytest.param("addresses", "addresses", id="addresses"),
        pytest.param("stores", "stores", id="stores"),
        pytest.param("billingAddressIds", "billing_address_ids", id="billingAddressIds"),
        pytest.param("shippingAddressIds", "shipping_address_ids", id="shippingAddressIds"),
    ],
)
def test_an_array_may_be_missing(name: str, attribute: str, absence: str) -> None:
    document = {"absent": a_customer(**{name: None}), "null": a_customer() | {name: None}, "empty": a_customer()}[
        absence
    ]
    if absence == "empty":
        document[name] = []

    assert getattr(read_customer(document), attribute) == ()


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        pytest.param(None, None, id="null"),
        pytest.param({}, None, id="empty"),
        pytest.param({"typeId": "customer-group", "id": "group-id"}, "group-id", id="by id"),
        pytest.param({"id": "group-id", "obj": {"key": "gold", "name": "Gold"}}, "gold", id="expanded, with a key"),
        pytest.param({"id": "group-id", "obj": {"name": "Gold"}}, "group-id", id="expanded, without a key"),
        pytest.param({"id": "group-id", "obj": {"key": " "}}, "group-id", id="expanded, with a blank key"),
        pytest.param({"id": "group-id", "obj": None}, "group-id", id="not expanded"),
    ],
)
def test_the_group_is_known_by_its_key_else_its_id(group: dict[str, Any] | None, expected: str | None) -> None:
    customer = read_customer(a_customer(customerGroupAssignments=None) | {"customerGroup": group})

    assert customer.customer_group == expected


ASSIGNED_ID = {"customerGroup": {"typeId": "customer-group", "id": "group-id"}}
ASSIGNED_KEY = {"customerGroup": {"typeId": "customer-group", "id": "other-id", "obj": {"key": "gold"}}}


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        pytest.param([], (), id="none"),
        pytest.param([ASSIGNED_ID], ("group-id",), id="by id"),
        pytest.param([ASSIGNED_KEY, ASSIGNED_ID], ("gold", "group-id"), id="in their order, by key where it was read"),
        pytest.param(
            [{}, {"customerGroup": None}, ASSIGNED_ID], ("group-id",), id="those without a group are left out"
        ),
    ],
)
def test_all_assigned_groups_are_read(assignments: list[dict[str, Any]], expected: tuple[str, ...]) -> None:
    assert read_customer(a_customer(customerGroupAssignments=assignments)).customer_groups == expected


@pytest.mark.parametrize(
    ("group", "assignments", "expected"),
    [
        pytest.param({"id": "old"}, [ASSIGNED_KEY], "old", id="customerGroup before the assignments"),
        pytest.param(None, [ASSIGNED_KEY, ASSIGNED_ID], "gold", id="the first assignment"),
        pytest.param({}, [ASSIGNED_KEY], "gold", id="the first assignment, since customerGroup says nothing"),
        pytest.param(None, [], None, id="neither"),
        pytest.param(None, None, None, id="neither, in an older document"),
    ],
)
def test_the_group_is_the_customer_group_else_the_first_assigned(
    group: dict[str, Any] | None, assignments: list[dict[str, Any]] | None, expected: str | None
) -> None:
    customer = read_customer(a_customer(customerGroup=group, customerGroupAssignments=assignments))

    assert customer.customer_group == expected


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        pytest.param({}, set(), id="a full customer"),
        pytest.param({"customerGroup": None, "customerGroupAssignments": [], "stores": []}, set(), id="empty ones"),
        pytest.param({"stores": None}, set(), id="no stores"),
        pytest.param({"stores": [{"typeId": "store", "id": "store-id"}]}, {"stores"}, id="stores without keys"),
        pytest.param({"customerGroupAssignments": None}, {"customer_groups"}, id="no assignments"),
        pytest.param({"customerGroupAssignments": [{}]}, {"customer_groups"}, id="assignments without groups"),
        pytest.param(
            {"customerGroup": None, "customerGroupAssignments": [{"customerGroup": {"typeId": "customer-group"}}]},
            {"customer_group", "customer_groups"},
            id="no group, and assignments without ids",
        ),
        pytest.param(
            {"customerGroup": {"typeId": "customer-group"}, "customerGroupAssignments": []},
            {"customer_group"},
            id="a group without an id",
        ),
    ],
)
def test_a_field_whose_references_cannot_be_read_is_unknown_and_not_empty(
    changes: dict[str, Any], unknown: set[str]
) -> None:
    assert read_customer(a_customer(**changes)).unknown == unknown


@pytest.mark.parametrize(
    ("stores", "expected"),
    [
        pytest.param([{"typeId": "store", "key": "berlin"}], ("berlin",), id="one"),
        pytest.param([{"key": "b"}, {"key": "a"}], ("b", "a"), id="in their order"),
        pytest.param([{"typeId": "store"}, {"key": ""}, {"key": "a"}], ("a",), id="those without a key are left out"),
    ],
)
def test_stores_are_known_by_their_keys(stores: list[dict[str, str]], expected: tuple[str, ...]) -> None:
    assert read_customer(a_customer(stores=stores)).stores == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("2026-02-03T04:05:06.789Z", datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC), id="UTC"),
        pytest.param("2026-02-03T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), id="without milliseconds"),
        pytest.param("2026-02-03T04:05:06+02:00", datetime(2026, 2, 3, 2, 5, 6, tzinfo=UTC), id="another zone"),
        pytest.param("2026-02-03T04:05:06", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), id="no zone is UTC"),
    ],
)
def test_the_last_modification_is_a_time_in_utc(written: str, meant: datetime) -> None:
    modified = read_customer(a_customer(lastModifiedAt=written)).last_modified_at

    assert modified == meant
    assert modified.tzinfo is UTC


@pytest.mark.parametrize("verified", [True, False])
def test_whether_the_address_is_verified_is_kept_as_it_is(verified: bool) -> None:  # noqa: FBT001  # the value under test
    assert read_customer(a_customer(isEmailVerified=verified)).is_email_verified is verified


def test_fields_that_are_not_used_are_not_read() -> None:
    document = a_customer(
        password="canary-password",
        vatId="canary-vat",
        title="canary-title",
        salutation="canary-salutation",
        custom={"fields": {"a": "canary-custom"}},
        fieldOfTomorrow="canary-tomorrow",
        addresses=[an_address(email="canary@example.com", custom="canary-custom", fax="canary-fax")],
    )

    assert "canary" not in repr(read_customer(document))


NOT_A_STRING = "Not a valid string"
REFUSED = [
    pytest.param({"id": None}, "id: Missing data for required field", id="no id"),
    pytest.param({"id": 5}, f"id: {NOT_A_STRING}", id="an id that is a number"),
    pytest.param({"version": None}, "version: Missing data for required field", id="no version"),
    pytest.param({"version": "canary"}, "version: Not a valid integer", id="a version that is a word"),
    pytest.param({"version": "3"}, "version: Not a valid integer", id="a version that is a string"),
    pytest.param({"version": 1.5}, "version: Not a valid integer", id="a version that is no integer"),
    pytest.param({"version": True}, "version: Not a valid integer", id="a version that is true"),
    *(pytest.param({name: ["canary"]}, f"{name}: {NOT_A_STRING}", id=f"{name} that is a list") for name in TEXTS),
    *(
        pytest.param(
            {"addresses": [{}, {name: {"canary": 1}}]}, f"addresses.1.{name}: {NOT_A_STRING}", id=f"its {name}"
        )
        for name in ADDRESS_TEXTS
    ),
    pytest.param({"addresses": "canary"}, "addresses: Not a valid list", id="addresses that are a string"),
    pytest.param({"addresses": ["canary"]}, "addresses.0: Invalid input type", id="an address that is one"),
    pytest.param({"billingAddressIds": [5]}, f"billingAddressIds.0: {NOT_A_STRING}", id="a billing id of a number"),
    pytest.param({"shippingAddressIds": "canary"}, "shippingAddressIds: Not a valid list", id="shipping ids of text"),
    pytest.param({"stores": [{"key": 5}]}, f"stores.0.key: {NOT_A_STRING}", id="a store's key that is a number"),
    pytest.param({"customerGroup": "canary"}, "customerGroup: Invalid input type", id="a group of text"),
    pytest.param(
        {"customerGroupAssignments": [{"customerGroup": "canary"}]},
        "customerGroupAssignments.0.customerGroup: Invalid input type",
        id="an assigned group of text",
    ),
    pytest.param({"isEmailVerified": "canary"}, "isEmailVerified: Not a valid boolean", id="verified: a word"),
    pytest.param({"lastModifiedAt": "canary"}, "lastModifiedAt: Not a valid datetime", id="modified: a word"),
    pytest.param({"lastModifiedAt": 5}, "lastModifiedAt: Not a valid datetime", id="modified: a number"),
    pytest.param(
        {"lastModifiedAt": "0001-01-01T00:00:00+14:00"},
        "lastModifiedAt: Not a valid datetime",
        id="modified before the calendar begins in UTC",
    ),
    pytest.param(
        {"lastModifiedAt": "9999-12-31T23:59:59-01:00"},
        "lastModifiedAt: Not a valid datetime",
        id="modified after the calendar ends in UTC",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_what_is_no_customer_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as refusal:
        read_customer(a_customer(**changes))

    assert str(refusal.value) == f"the customer is not valid: {reason}"
    assert "canary" not in str(refusal.value)


def test_all_faults_of_a_customer_are_in_one_error() -> None:
    with pytest.raises(Malformed) as refusal:
        read_customer({"email": 5, "addresses": [{"city": 5}]})

    assert sorted(str(refusal.value).removeprefix("the customer is not valid: ").split("; ")) == [
        "addresses.0.city: Not a valid string",
        "email: Not a valid string",
        "id: Missing data for required field",
        "version: Missing data for required field",
    ]


@given(customers)
def test_every_valid_customer_is_read(document: dict[str, Any]) -> None:
    customer = read_customer(document)

    assert (customer.id, customer.version) == (document["id"], document["version"])


@pytest.mark.parametrize(
    "path",
    samples("customer-apiref*", "customer-update*", "customer-sign-in*", "java-v2*", "klaviyo-customer-api*"),
)
def test_every_real_customer_is_read(path: Path) -> None:
    document = json.loads(path.read_text())
    document = document.get("customer", document)

    customer = read_customer(document)

    assert (customer.id, customer.version, customer.email) == (document["id"], document["version"], document["email"])
