"""The transformation: one whole customer against one literal, each rule of the mapping table as its own table."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools import Notification, read_customer
from service.config import ClearTraits, UserIdField
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, transform_customer_to_segment, user_id_of_deleted
from tests.builders import CUSTOMER_ID, PROJECT, a_customer, an_address, samples
from tests.strategies import customers, odd_texts

CLEAR_ALL = IdentifyRules(clear=ClearTraits.ALL)
CLEAR_OFF = IdentifyRules(clear=ClearTraits.OFF)
OWN_TRAITS = {"customerNumber", "externalId", "isEmailVerified", "customerGroup", "customerGroups", "stores"}
NO_GROUPS: dict[str, Any] = {"customerGroupAssignments": []}
SHARED_TRAITS = {"firstName", "lastName", "name", "phone", "address", "company", "birthday"}

rules = st.builds(
    IdentifyRules,
    user_id=st.sampled_from(UserIdField),
    clear=st.sampled_from(ClearTraits),
    source=st.sampled_from(["", "staging", "production"]),
)


def traits_of(document: Mapping[str, Any], by: IdentifyRules = IdentifyRules()) -> dict[str, Any]:
    return transform_customer_to_segment(document, by)["traits"]


def test_a_whole_customer_becomes_a_whole_identify() -> None:
    payload = transform_customer_to_segment(a_customer(), project_key=PROJECT)

    message_id = payload.pop("message_id")
    assert payload == {
        "user_id": "mira.example@example.com",
        "traits": {
            "email": "Mira.Example@example.com",
            "firstName": "Mira",
            "lastName": "Example",
            "name": "Mira Example",
            "phone": "+49 171 3920001",
            "address": {
                "street": "Hauptstraße 5, Hinterhaus",
                "city": "Berlin",
                "state": "Berlin",
                "postalCode": "10115",
                "country": "DE",
            },
            "company": {"name": "Example Engines"},
            "birthday": "1990-11-12",
            "createdAt": "2026-01-02T03:04:05.678Z",
            "customerNumber": "1001",
            "externalId": "crm-1001",
            "commercetoolsId": CUSTOMER_ID,
            "isEmailVerified": True,
            "customerGroup": "group-id",
            "customerGroups": ["group-id"],
            "stores": ["berlin", "paris"],
        },
        "context": {"active": False, "locale": "de-DE"},
        "timestamp": datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
    }
    assert message_id == transform_customer_to_segment(a_customer(), project_key=PROJECT)["message_id"]


def test_a_first_version_with_little_becomes_an_identify_with_little() -> None:
    payload = transform_customer_to_segment({"id": CUSTOMER_ID, "version": 1, "email": "mira@example.com"})

    del payload["message_id"]
    assert payload == {
        "user_id": "mira@example.com",
        "traits": {"email": "mira@example.com", "commercetoolsId": CUSTOMER_ID},
        "context": {"active": False},
    }


def test_a_customer_may_be_handed_in_read_or_not() -> None:
    assert transform_customer_to_segment(read_customer(a_customer())) == transform_customer_to_segment(a_customer())


def test_what_is_no_customer_is_refused() -> None:
    with pytest.raises(Malformed, match="the customer is not valid: id: Missing data for required field"):
        transform_customer_to_segment({"version": 1})


# ---- the user id


@pytest.mark.parametrize(
    ("field", "name", "value", "user_id"),
    [
        pytest.param("email", "email", "Mira@Example.com", "mira@example.com", id="email, in lower case"),
        pytest.param("email", "email", " mira@example.com\n", "mira@example.com", id="email, trimmed"),
        pytest.param("id", "id", "An-Id", "An-Id", id="id"),
        pytest.param("key", "key", " A-Key ", "A-Key", id="key"),
        pytest.param("externalId", "externalId", "CRM-1", "CRM-1", id="externalId"),
        pytest.param("customerNumber", "customerNumber", "1001", "1001", id="customerNumber"),
        pytest.param("email", "email", "\ufeffMira\u200b@Example.com\u200b ", "mira@example.com", id="invisible ones"),
        pytest.param("email", "email", "Rene\u0301@Example.com", "ren\u00e9@example.com", id="a decomposed letter"),
        pytest.param("email", "email", "RENE\u0301@Example.com", "ren\u00e9@example.com", id="a decomposed capital"),
        pytest.param("email", "email", "mira\x00\x7f@example.com", "mira@example.com", id="control characters"),
        pytest.param("email", "email", "\u200b \ufeff", "", id="nothing but invisible ones"),
        pytest.param("key", "key", "\u200bA-Ke\u0301y\u00ad", "A-K\u00e9y", id="a key with all of them"),
        pytest.param("externalId", "externalId", "\ufeff 1001", "1001", id="an externalId with a byte order mark"),
        pytest.param(
            "customerNumber", "customerNumber", "10\u200b01", "1001", id="a customerNumber with a space of none"
        ),
        pytest.param("email", "email", None, "", id="no email"),
        pytest.param("email", "email", " ", "", id="a blank email"),
        pytest.param("key", "key", None, "", id="no key"),
        pytest.param("externalId", "externalId", "", "", id="an empty externalId"),
        pytest.param("customerNumber", "customerNumber", None, "", id="no customerNumber"),
    ],
)
def test_the_user_id_is_the_chosen_field(field: str, name: str, value: str | None, user_id: str) -> None:
    payload = transform_customer_to_segment(a_customer(**{name: value}), IdentifyRules(user_id=UserIdField(field)))

    assert payload["user_id"] == user_id


@pytest.mark.parametrize(
    ("field", "notification", "user_id"),
    [
        pytest.param("id", {}, CUSTOMER_ID, id="id"),
        pytest.param("email", {"email": " Mira@Example.com "}, "mira@example.com", id="email"),
        pytest.param("email", {}, "", id="no email"),
        pytest.param("email", {"email": "\ufeffRene\u0301@Example.com\u200b"}, "ren\u00e9@example.com", id="odd email"),
        pytest.param("key", {"identifiers": {"key": " A-Key "}}, "A-Key", id="key"),
        pytest.param("key", {"identifiers": {"key": "\u200bA-Ke\u0301y "}}, "A-K\u00e9y", id="an odd key"),
        pytest.param("externalId", {"identifiers": {"externalId": "CRM-1"}}, "CRM-1", id="externalId"),
        pytest.param("customerNumber", {"identifiers": {"customerNumber": "1001"}}, "1001", id="customerNumber"),
        pytest.param("key", {"identifiers": {"externalId": "CRM-1"}}, "", id="another identifier"),
        pytest.param("key", {"identifiers": {"key": 5}}, "", id="an identifier that is no text"),
    ],
)
def test_a_deleted_customers_user_id_is_what_its_notification_carries(
    field: str, notification: dict[str, Any], user_id: str
) -> None:
    deletion = Notification("ResourceDeleted", PROJECT, "customer", CUSTOMER_ID, **notification)

    assert user_id_of_deleted(deletion, UserIdField(field)) == user_id


@given(customers, st.sampled_from(UserIdField))
def test_a_deleted_customer_has_the_same_user_id_as_a_living_one(document: dict[str, Any], field: UserIdField) -> None:
    email, identifiers = document.get("email") or "", {name.value: document.get(name) for name in UserIdField}
    deletion = Notification("Message", PROJECT, "customer", document["id"], email=email, identifiers=identifiers)

    assert (
        user_id_of_deleted(deletion, field)
        == transform_customer_to_segment(document, IdentifyRules(user_id=field))["user_id"]
    )


@given(odd_texts, st.sampled_from([field for field in UserIdField if field is not UserIdField.ID]))
def test_a_user_id_is_visible_composed_and_its_own_user_id(text: str, field: UserIdField) -> None:
    deletion = Notification("", PROJECT, "customer", CUSTOMER_ID, email=text, identifiers={field: text})

    user_id = user_id_of_deleted(deletion, field)

    again = replace(deletion, email=user_id, identifiers={field: user_id})
    assert user_id_of_deleted(again, field) == user_id
    assert {unicodedata.category(character) for character in user_id}.isdisjoint({"Cc", "Cf"})
    assert unicodedata.is_normalized("NFC", user_id)


# ---- names, phone, company


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        pytest.param("Mira", "Example", "Mira Example", id="both"),
        pytest.param("Mira", None, None, id="first only"),
        pytest.param(None, "von Stein", None, id="last only"),
        pytest.param("Mira", " ", None, id="a blank last name"),
        pytest.param(None, None, None, id="none"),
    ],
)
def test_the_name_is_the_first_and_the_last_name_where_both_are_there(
    first: str | None, last: str | None, name: str | None
) -> None:
    traits = traits_of(a_customer(firstName=first, lastName=last))

    assert traits.get("name") == name


@pytest.mark.parametrize(("by", "cleared"), [(IdentifyRules(), {}), (CLEAR_ALL, {"name": None})], ids=["own", "all"])
def test_a_name_that_lacks_a_part_is_cleared_only_with_all(by: IdentifyRules, cleared: dict[str, None]) -> None:
    traits = traits_of(a_customer(firstName=None), by)

    assert {name: trait for name, trait in traits.items() if name == "name"} == cleared


def test_the_email_trait_is_as_written_but_trimmed() -> None:
    assert traits_of(a_customer(email=" Mira@Example.com "))["email"] == "Mira@Example.com"


@pytest.mark.parametrize(
    ("mobile", "phone", "expected"),
    [
        pytest.param("1", "2", "1", id="mobile before phone"),
        pytest.param(None, "2", "2", id="phone alone"),
        pytest.param("", "2", "2", id="an empty mobile"),
        pytest.param("1", None, "1", id="mobile alone"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_phone_is_the_mobile_else_the_phone(mobile: str | None, phone: str | None, expected: str | None) -> None:
    traits = traits_of(a_customer(addresses=[an_address(mobile=mobile, phone=phone)]))

    assert traits.get("phone") == expected


@pytest.mark.parametrize(
    ("of_customer", "of_address", "company"),
    [
        pytest.param("Own", "Address", {"name": "Own"}, id="companyName before the address's company"),
        pytest.param(None, "Address", {"name": "Address"}, id="the address's company"),
        pytest.param("", "Address", {"name": "Address"}, id="an empty companyName"),
        pytest.param("Own", None, {"name": "Own"}, id="companyName alone"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_company_is_the_customers_else_the_addresss(
    of_customer: str | None, of_address: str | None, company: dict[str, str] | None
) -> None:
    traits = traits_of(a_customer(companyName=of_customer, addresses=[an_address(company=of_address)]))

    assert traits.get("company") == company


# ---- the address

FIVE = [an_address(id=letter, city=letter) for letter in "abcde"]


@pytest.mark.parametrize(
    ("default_billing", "default_shipping", "billing", "shipping", "chosen"),
    [
        pytest.param("b", "c", ["d"], ["e"], "b", id="1. the default billing address"),
        pytest.param(None, "c", ["d"], ["e"], "c", id="2. the default shipping address"),
        pytest.param(None, None, ["d", "b"], ["e"], "d", id="3. the first billing address"),
        pytest.param(None, None, [], ["e", "b"], "e", id="4. the first shipping address"),
        pytest.param(None, None, [], [], "a", id="5. the first address"),
        pytest.param("gone", "c", ["d"], ["e"], "c", id="a default billing id that dangles"),
        pytest.param("gone", "gone", ["d"], ["e"], "d", id="both default ids dangle"),
        pytest.param(None, None, ["gone", "d"], ["e"], "d", id="the first billing id dangles"),
        pytest.param(None, None, ["gone"], ["gone", "e"], "e", id="all billing ids and one shipping id dangle"),
        pytest.param("gone", "gone", ["gone"], ["gone"], "a", id="every id dangles"),
        pytest.param("", "c", ["d"], ["e"], "c", id="an empty default billing id"),
    ],
)
def test_the_chosen_address_is_the_first_of_five_rules(
    default_billing: str | None, default_shipping: str | None, billing: list[str], shipping: list[str], chosen: str
) -> None:
    customer = a_customer(
        addresses=FIVE,
        defaultBillingAddressId=default_billing,
        defaultShippingAddressId=default_shipping,
        billingAddressIds=billing,
        shippingAddressIds=shipping,
    )

    assert traits_of(customer)["address"]["city"] == chosen


def test_phone_company_and_address_are_of_one_address() -> None:
    chosen = an_address(id="chosen", city="Chosen", mobile="chosen", company="Chosen Company")
    other = an_address(id="other", city="Other", mobile="other", company="Other Company")

    traits = traits_of(a_customer(companyName=None, addresses=[other, chosen], defaultBillingAddressId="chosen"))

    assert (traits["address"]["city"], traits["phone"], traits["company"]) == (
        "Chosen",
        "chosen",
        {"name": "Chosen Company"},
    )


def test_addresses_without_ids_are_not_mistaken_for_chosen_ones() -> None:
    customer = a_customer(
        addresses=[an_address(id=None, city="First"), an_address(id=None, city="Second")], defaultBillingAddressId=None
    )

    assert traits_of(customer)["address"]["city"] == "First"


@pytest.mark.parametrize(
    ("country", "number", "name", "street"),
    [
        pytest.param("US", "123", "Main St", "123 Main St", id="United States"),
        pytest.param("GB", "10", "High Street", "10 High Street", id="Great Britain"),
        pytest.param("UK", "10", "High Street", "10 High Street", id="Great Britain, not as ISO has it"),
        pytest.param("FR", "7", "rue Exemple", "7 rue Exemple", id="France"),
        pytest.param("CA", "7", "Maple Road", "7 Maple Road", id="Canada"),
        pytest.param("us", "123", "Main St", "123 Main St", id="in lower case"),
        pytest.param("PR", "7", "Calle Ejemplo", "7 Calle Ejemplo", id="Puerto Rico, as the United States"),
        pytest.param("RE", "7", "rue Exemple", "7 rue Exemple", id="Réunion, as France"),
        pytest.param("GG", "10", "High Street", "10 High Street", id="Guernsey, as Great Britain"),
        pytest.param("VN", "7", "Example Street", "7 Example Street", id="Vietnam"),
        pytest.param("IL", "7", "Example Street", "Example Street 7", id="Israel"),
        pytest.param("BS", "7", "Example Street", "Example Street 7", id="Bahamas"),
        pytest.param("SJ", "5", "Eksempelveien", "Eksempelveien 5", id="Svalbard, as Norway"),
        pytest.param("DE", "5", "Hauptstraße", "Hauptstraße 5", id="Germany"),
        pytest.param("AT", "5", "Beispielgasse", "Beispielgasse 5", id="Austria"),
        pytest.param("NL", "5", "Voorbeeldstraat", "Voorbeeldstraat 5", id="Netherlands"),
        pytest.param("IT", "5", "Via Esempio", "Via Esempio 5", id="Italy"),
        pytest.param(None, "5", "Somewhere", "Somewhere 5", id="no country"),
        pytest.param("US", None, "Main St", "Main St", id="no number"),
        pytest.param("US", "123", None, "123", id="no name"),
        pytest.param("DE", "", "Hauptstraße", "Hauptstraße", id="an empty number"),
        pytest.param("DE", None, None, None, id="neither"),
    ],
)
def test_a_street_is_written_in_its_countrys_order(
    country: str | None, number: str | None, name: str | None, street: str | None
) -> None:
    address = an_address(country=country, streetNumber=number, streetName=name, additionalStreetInfo=None)

    assert traits_of(a_customer(addresses=[address]))["address"].get("street") == street


@pytest.mark.parametrize(
    ("changes", "street"),
    [
        pytest.param({}, "1 Broadway, 4B, North, Suite 9, P.O. box 77", id="all"),
        pytest.param({"apartment": None, "building": " "}, "1 Broadway, Suite 9, P.O. box 77", id="some"),
        pytest.param({"pOBox": "Postfach 77"}, "1 Broadway, 4B, North, Suite 9, Postfach 77", id="a box with its word"),
        pytest.param(
            dict.fromkeys(("streetName", "streetNumber", "apartment", "building", "additionalStreetInfo")),
            "P.O. box 77",
            id="a box alone",
        ),
        pytest.param({"streetName": None, "streetNumber": None}, "4B, North, Suite 9, P.O. box 77", id="no street"),
    ],
)
def test_what_makes_a_letter_arrive_is_part_of_the_street(changes: dict[str, str | None], street: str) -> None:
    address = an_address(
        **{
            "country": "US",
            "streetName": "Broadway",
            "streetNumber": "1",
            "apartment": "4B",
            "building": "North",
            "additionalStreetInfo": "Suite 9",
            "pOBox": "77",
            **changes,
        }
    )

    assert traits_of(a_customer(addresses=[address]))["address"]["street"] == street


@pytest.mark.parametrize(
    ("state", "region", "expected"),
    [
        pytest.param("Ohio", "Midwest", "Ohio", id="state before region"),
        pytest.param(None, "Midwest", "Midwest", id="region alone"),
        pytest.param(" ", "Midwest", "Midwest", id="a blank state"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_state_is_the_state_else_the_region(state: str | None, region: str | None, expected: str | None) -> None:
    address = an_address(state=state, region=region)

    assert traits_of(a_customer(addresses=[address]))["address"].get("state") == expected


def test_an_address_trait_has_only_what_there_is() -> None:
    customer = a_customer(addresses=[{"id": "home", "country": "DE", "city": ""}])

    assert traits_of(customer)["address"] == {"country": "DE"}


# ---- clearing


@pytest.mark.parametrize(
    ("by", "version", "cleared"),
    [
        pytest.param(IdentifyRules(), 1, set(), id="own, first version"),
        pytest.param(IdentifyRules(), 2, OWN_TRAITS, id="own, a later version"),
        pytest.param(replace(CLEAR_ALL, user_id=UserIdField.ID), 1, set(), id="all, first version"),
        pytest.param(CLEAR_ALL, 1, OWN_TRAITS | SHARED_TRAITS, id="all, first version, an id that may be another's"),
        pytest.param(CLEAR_ALL, 2, OWN_TRAITS | SHARED_TRAITS, id="all, a later version"),
        pytest.param(CLEAR_OFF, 2, set(), id="off, a later version"),
    ],
)
def test_an_absent_field_clears_what_the_rules_say(by: IdentifyRules, version: int, cleared: set[str]) -> None:
    traits = traits_of({"id": CUSTOMER_ID, "version": version, "customerGroupAssignments": []}, by)

    assert traits == {"commercetoolsId": CUSTOMER_ID, **dict.fromkeys(cleared)}


@pytest.mark.parametrize("by", [IdentifyRules(), CLEAR_ALL], ids=["own", "all"])
def test_a_field_that_is_there_is_not_cleared(by: IdentifyRules) -> None:
    traits = traits_of(a_customer(isEmailVerified=False), by)

    assert None not in traits.values()
    assert traits["isEmailVerified"] is False


@pytest.mark.parametrize(
    ("changes", "trait"),
    [
        pytest.param({"customerNumber": None}, "customerNumber", id="customerNumber"),
        pytest.param({"externalId": ""}, "externalId", id="externalId"),
        pytest.param({"customerGroup": None, "customerGroupAssignments": []}, "customerGroup", id="the last group"),
        pytest.param({"customerGroup": None, "customerGroupAssignments": None}, "customerGroup", id="customerGroup"),
        pytest.param({"customerGroupAssignments": []}, "customerGroups", id="the last assigned group"),
        pytest.param({"stores": []}, "stores", id="the last store"),
        pytest.param({"isEmailVerified": None}, "isEmailVerified", id="isEmailVerified"),
    ],
)
def test_what_only_commercetools_can_know_is_cleared_by_an_explicit_null(changes: dict[str, Any], trait: str) -> None:
    traits = traits_of(a_customer(**changes))

    assert traits[trait] is None


@pytest.mark.parametrize("by", [IdentifyRules(), CLEAR_ALL], ids=["own", "all"])
@pytest.mark.parametrize(
    ("changes", "trait"),
    [
        pytest.param({"customerGroupAssignments": None}, "customerGroups", id="no field customerGroupAssignments"),
        pytest.param({"customerGroupAssignments": [{}]}, "customerGroups", id="assignments without a group"),
        pytest.param({"customerGroup": {"typeId": "customer-group"}} | NO_GROUPS, "customerGroup", id="no group's id"),
        pytest.param({"stores": [{"typeId": "store", "id": "store-id"}]}, "stores", id="stores without keys"),
        pytest.param({"dateOfBirth": "0001-01-01"}, "birthday", id="a date of birth in year 1"),
    ],
)
def test_what_is_not_known_to_be_empty_is_left_out(changes: dict[str, Any], trait: str, by: IdentifyRules) -> None:
    assert trait not in traits_of(a_customer(**changes), by)


def test_a_group_that_moved_to_the_assignments_is_not_cleared() -> None:
    reference = {"typeId": "customer-group", "id": "g-1", "obj": {"key": "vip"}}
    assignments = [{"customerGroup": reference}, {"customerGroup": {"typeId": "customer-group", "id": "g-2"}}]

    traits = traits_of(a_customer(customerGroup=None, customerGroupAssignments=assignments))

    assert (traits["customerGroup"], traits["customerGroups"]) == ("vip", ["vip", "g-2"])


def test_what_others_may_know_is_left_out_and_so_left_alone() -> None:
    absent = dict.fromkeys(("firstName", "lastName", "companyName", "dateOfBirth", "addresses"))

    traits = traits_of(a_customer(**absent))

    assert SHARED_TRAITS.isdisjoint(traits)


# ---- context, timestamp, message id


@pytest.mark.parametrize(
    ("locale", "context"),
    [
        pytest.param("de-DE", {"active": False, "locale": "de-DE"}, id="with a locale"),
        pytest.param("", {"active": False}, id="with an empty one"),
        pytest.param(None, {"active": False}, id="without"),
    ],
)
def test_the_context_has_the_locale_and_says_that_a_sync_is_no_visit(
    locale: str | None, context: dict[str, Any]
) -> None:
    assert transform_customer_to_segment(a_customer(locale=locale))["context"] == context


@pytest.mark.parametrize("document", [a_customer(lastModifiedAt=None), a_customer() | {"lastModifiedAt": None}])
def test_without_a_last_modification_there_is_no_timestamp(document: dict[str, Any]) -> None:
    assert "timestamp" not in transform_customer_to_segment(document)


BASE = transform_customer_to_segment(a_customer(), IdentifyRules(source="production"), project_key=PROJECT)


@pytest.mark.parametrize(
    ("changes", "source", "project_key"),
    [
        pytest.param({"id": "another"}, "production", PROJECT, id="another customer"),
        pytest.param({"version": 4}, "production", PROJECT, id="another version"),
        pytest.param({}, "staging", PROJECT, id="another source"),
        pytest.param({}, "production", "another-shop", id="another project"),
        pytest.param({}, "production", "", id="no project"),
        pytest.param({}, "production" + PROJECT, "", id="the same letters, parted elsewhere"),
    ],
)
def test_the_message_id_differs(changes: dict[str, Any], source: str, project_key: str) -> None:
    payload = transform_customer_to_segment(
        a_customer(**changes), IdentifyRules(source=source), project_key=project_key
    )

    assert payload["message_id"] != BASE["message_id"]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        pytest.param({"firstName": "Another"}, {}, id="a trait"),
        pytest.param({"customerGroup": {"typeId": "customer-group", "id": "g", "obj": {"key": "vip"}}}, {}, id="a key"),
        pytest.param({"locale": "fr"}, {}, id="the locale"),
        pytest.param({"companyName": None, "addresses": []}, {"clear": ClearTraits.ALL}, id="what is cleared"),
        pytest.param({}, {"user_id": UserIdField.ID}, id="the user id"),
        pytest.param({}, {"salt": "again"}, id="a salt"),
    ],
)
def test_another_content_of_the_same_version_has_another_message_id(
    change: dict[str, Any], rules: dict[str, Any]
) -> None:
    by = IdentifyRules(source="production", **rules)

    payload = transform_customer_to_segment(a_customer(**change), by, project_key=PROJECT)

    assert payload["message_id"] != BASE["message_id"]


def test_what_segment_is_not_told_does_not_change_the_message_id() -> None:
    changed = a_customer(lastModifiedAt="2026-02-04T00:00:00Z", title="Prof.", password="another")

    payload = transform_customer_to_segment(changed, IdentifyRules(source="production"), project_key=PROJECT)

    assert payload["message_id"] == BASE["message_id"]


# ---- laws


@given(customers, rules, st.sampled_from(["", PROJECT]))
def test_the_same_version_of_a_customer_always_gives_the_same_identify(
    document: dict[str, Any], by: IdentifyRules, project_key: str
) -> None:
    again = json.loads(json.dumps(document))

    assert transform_customer_to_segment(document, by, project_key=project_key) == transform_customer_to_segment(
        again, by, project_key=project_key
    )


@given(customers, rules)
def test_every_identify_is_fit_for_segment(document: dict[str, Any], by: IdentifyRules) -> None:
    payload = transform_customer_to_segment(document, by)

    assert json.loads(json.dumps((payload["traits"], payload["context"]), allow_nan=False)) == [
        payload["traits"],
        payload["context"],
    ]
    assert 0 < len(payload["message_id"]) <= 100
    if "timestamp" in payload:
        assert payload["timestamp"].tzinfo is UTC
    assert payload["context"]["active"] is False


@given(customers, rules)
def test_no_trait_is_empty(document: dict[str, Any], by: IdentifyRules) -> None:
    traits = traits_of({**document, "id": document["id"].strip() or CUSTOMER_ID}, by)

    assert [value for value in leaves(traits) if value in ("", [], {})] == []
    assert [value for value in leaves(traits) if isinstance(value, str) and not value.strip()] == []


@given(customers, rules)
def test_only_a_later_version_clears_and_only_what_the_rules_say(document: dict[str, Any], by: IdentifyRules) -> None:
    cleared = {name for name, value in traits_of(document, by).items() if value is None}

    allowed = {"off": set(), "own": OWN_TRAITS, "all": OWN_TRAITS | SHARED_TRAITS}[by.clear]
    may_inherit = by.clear is ClearTraits.ALL and by.user_id is not UserIdField.ID
    assert cleared <= (allowed if document["version"] > 1 or may_inherit else set())


@given(customers, rules)
def test_password_vat_id_and_custom_fields_never_leave(document: dict[str, Any], by: IdentifyRules) -> None:
    secrets = {"password": "canary-password", "vatId": "canary-vat", "custom": {"fields": {"a": "canary-custom"}}}

    payload = transform_customer_to_segment({**document, **secrets}, by)

    assert "canary" not in repr(payload)
    assert set(payload["traits"]) <= OWN_TRAITS | SHARED_TRAITS | {"email", "createdAt", "commercetoolsId"}


@pytest.mark.parametrize(
    "path", samples("customer-apiref*", "customer-update*", "customer-sign-in*", "java-v2*", "klaviyo-customer-api*")
)
def test_every_real_customer_becomes_an_identify(path: Path) -> None:
    document = json.loads(path.read_text())
    document = document.get("customer", document)

    payload = transform_customer_to_segment(document)

    assert payload["user_id"] == document["email"].lower()
    assert payload["traits"]["commercetoolsId"] == document["id"]
    assert document["password"] not in json.dumps(payload["traits"])


def leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401  # any JSON
    """Return all values in this one, itself included."""
    yield value
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
