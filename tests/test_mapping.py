"""The mapping: what each path reads, what each `as` makes of it, and what is sent, cleared or left out."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.commercetools import read_customer
from service.commercetools.customer import customer_type
from service.commercetools.resource import UNREADABLE
from service.config import ClearTraits, UserIdField
from service.segment.client import create_segment_client
from service.segment.types import Events, NotDelivered, Suppression
from service.serving.decoding import Malformed
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules, transform_customer_to_segment
from service.transformation.customer import customer_events
from service.transformation.mapping import ShopMapping
from service.transformation.paths import ADDRESS_FIELDS, CUSTOMER_FIELDS, NoSuchPath, View, path_of
from service.transformation.rules import shop_mapping
from service.transformation.values import As, conversion, tags_of
from tests.builders import CUSTOMER_ID, PROJECT, a_customer, an_address, sample, samples
from tests.strategies import CUSTOM_FIELDS, customers, instants, json_values, mapping_files, odd_texts, toml_text


def rules(traits: str = "", *, identify: str = "", rest: str = "", **more: Any) -> IdentifyRules:  # noqa: ANN401  # of the rules
    """Return rules by a file without the built-in traits."""
    text = f"version = 1\n[identify]\ndefaults = false\n{identify}\n[identify.traits]\n{traits}\n{rest}"
    return IdentifyRules(mapping=shop_mapping(toml_of(text.encode(), "m.toml")), **more)


def events_of(customer: Mapping[str, Any], by: IdentifyRules) -> Events:
    return customer_events(read_customer(customer, by.mapping.named), by, PROJECT)


def told(customer: Mapping[str, Any], by: IdentifyRules) -> dict[str, Any]:
    """Return the payload of the one event."""
    [event] = events_of(customer, by).events
    return dict(event.payload)


def traits_of(customer: Mapping[str, Any], traits: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # of the rules
    return dict(told(customer, rules(traits, **more))["traits"])


def with_custom(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return a_customer(custom={"type": {"typeId": "type", "id": "type-id"}, "fields": fields})


MISSING = object()


ABSENT: list[Any] = [None, "", " \t", "\0", []]


def value_of(raw: Any, rule: str, version: int = 1) -> Any:  # noqa: ANN401  # any JSON
    """Return what a rule makes of the custom field `it`: MISSING if it is left out, UNREADABLE if that is told."""
    fields = {} if raw is MISSING else {"it": raw}
    events = events_of(
        with_custom(**fields) | {"version": version}, rules(f"x = {rule}", identify='locales = ["de", "en"]')
    )
    [event] = events.events
    if events.unreadable:
        assert events.unreadable == ("x",)
        assert event.payload["traits"] == {}  # type: ignore[typeddict-item]  # an identify
        return UNREADABLE
    return event.payload["traits"].get("x", MISSING)  # type: ignore[typeddict-item]  # an identify


# ---- `as`

MONEY = {"type": "centPrecision", "currencyCode": "EUR", "centAmount": 1250, "fractionDigits": 2}
REFERENCE = {"typeId": "product", "id": "p-1"}
EXPANDED = REFERENCE | {"obj": {"id": "p-1", "key": "chair"}}


def money(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return MONEY | changes


def as_(kind: str | None) -> str:
    return f'{{ from = "custom.it", as = "{kind}" }}' if kind else '{ from = "custom.it" }'


CONVERTED: list[tuple[str | None, list[tuple[Any, Any]]]] = [
    (
        None,
        [
            ("gold", "gold"),
            (" gold\0 ", "gold"),
            (0, 0),
            (42.5, 42.5),
            (False, False),
            (True, True),
            (["b", "a"], ["a", "b"]),
            ([2, 1.5], [1.5, 2]),
            ([True, False], [False, True]),
            (["a", None, " "], ["a"]),
            ([None, "\0"], MISSING),
            ([["a"]], UNREADABLE),
            (["a", 1], UNREADABLE),
            ([True, 1], UNREADABLE),
            ({"a": 1}, UNREADABLE),
            (MONEY, UNREADABLE),
            (2**63 + 1, UNREADABLE),
        ],
    ),
    ("text", [("a", "a"), (5, "5"), (1.5, "1.5"), ([10, 9], ["10", "9"]), (True, UNREADABLE), ({}, UNREADABLE)]),
    (
        "number",
        [(5, 5), ([1, "", None], [1]), (0, 0), (-1.5, -1.5), ([2, 1], [1, 2]), ("5", UNREADABLE), (True, UNREADABLE)],
    ),
    ("boolean", [(False, False), ([True, False], [False, True]), ("true", UNREADABLE), (1, UNREADABLE)]),
    (
        "date",
        [
            ("2001-10-12", "2001-10-12"),
            ("2018-10-14T14:00:00.000Z", "2018-10-14"),
            (["2015-03-14", "2001-10-12"], ["2001-10-12", "2015-03-14"]),
            ("0001-01-01", UNREADABLE),
            ("14:00:00.000", UNREADABLE),
            ("yesterday", UNREADABLE),
            (20011012, UNREADABLE),
        ],
    ),
    (
        "datetime",
        [
            ("2018-10-14T14:00:00.000Z", "2018-10-14T14:00:00.000Z"),
            ("2018-10-14T14:00+02:00", "2018-10-14T14:00+02:00"),
            ("2018-10-14T14:00:00", UNREADABLE),
            ("2018-10-14", UNREADABLE),
            ("0001-01-01T00:00:00Z", UNREADABLE),
            (1, UNREADABLE),
        ],
    ),
    ("list", [(["b", "a"], ["a", "b"]), (["a"], ["a"]), ("a", UNREADABLE), ({}, UNREADABLE), ([{}], UNREADABLE)]),
    (
        "localized",
        [
            ({"en": "Hello", "de": "Hallo"}, "Hallo"),
            ({"en": "Hello"}, "Hello"),
            ({"en": "Hello", "de": " "}, "Hello"),
            ({"fr": "Salut"}, MISSING),
            ({}, MISSING),
            ([{"de": "b"}, {"en": "a"}], ["a", "b"]),
            ({"de": 1}, UNREADABLE),
            ({"fr": 1}, UNREADABLE),
            ("Hallo", UNREADABLE),
        ],
    ),
    (
        "amount",
        [
            (MONEY, 12.5),
            (money(centAmount=1250, fractionDigits=0), 1250),
            (money(centAmount=1250, fractionDigits=3), 1.25),
            (money(centAmount=-1), -0.01),
            (money(centAmount=0), 0.0),
            (money(centAmount=124500), 1245.0),
            (money(type="highPrecision", preciseAmount=123456789, fractionDigits=7), 12.3456789),
            ([MONEY, money(centAmount=100)], [1.0, 12.5]),
            (money(centAmount=12.5), UNREADABLE),
            (money(centAmount="1250"), UNREADABLE),
            (money(centAmount=True), UNREADABLE),
            (money(fractionDigits=-1), UNREADABLE),
            (money(fractionDigits=300), UNREADABLE),
            (money(currencyCode="euro"), UNREADABLE),
            (money(type="highPrecision"), UNREADABLE),
            ({}, UNREADABLE),
            (12.5, UNREADABLE),
        ],
    ),
    ("currency", [(MONEY, "EUR"), ([MONEY, MONEY], ["EUR", "EUR"]), ("EUR", UNREADABLE), ({}, UNREADABLE)]),
    (
        "money",
        [
            (MONEY, {"amount": 12.5, "currency": "EUR"}),
            (
                [money(currencyCode="USD"), MONEY, money(centAmount=1)],
                [
                    {"amount": 0.01, "currency": "EUR"},
                    {"amount": 12.5, "currency": "EUR"},
                    {"amount": 12.5, "currency": "USD"},
                ],
            ),
            ([MONEY, 1], UNREADABLE),
        ],
    ),
    (
        "id",
        [
            (REFERENCE, "p-1"),
            ([REFERENCE | {"id": "p-2"}, REFERENCE], ["p-1", "p-2"]),
            ({"id": "p-1"}, UNREADABLE),
            ({"typeId": "product"}, UNREADABLE),
            ("p-1", UNREADABLE),
        ],
    ),
    (
        "key",
        [
            (EXPANDED, "chair"),
            ([EXPANDED, EXPANDED | {"obj": {"key": "armchair"}}], ["armchair", "chair"]),
            (REFERENCE | {"obj": {}}, MISSING),
            (REFERENCE | {"obj": {"key": None}}, MISSING),
            (REFERENCE, UNREADABLE),
            (REFERENCE | {"obj": None}, UNREADABLE),
            ([EXPANDED, REFERENCE], UNREADABLE),
            (EXPANDED | {"obj": {"key": 1}}, UNREADABLE),
            ("chair", UNREADABLE),
        ],
    ),
    (
        "json",
        [
            ('{"b": [2, 1]}', {"b": [2, 1]}),
            ("false", False),
            ("0", 0),
            ('" a "', "a"),
            ('""', MISSING),
            ('" "', MISSING),
            ("[]", MISSING),
            ("{}", MISSING),
            ("null", MISSING),
            ("{", UNREADABLE),
            ("NaN", UNREADABLE),
            ("1e999", UNREADABLE),
            ('{"a": [1e999]}', UNREADABLE),
            (str(10**30), UNREADABLE),
            ("[" * 19 + "1" + "]" * 19, json.loads("[" * 19 + "1" + "]" * 19)),
            ("[" * 20 + "1" + "]" * 20, UNREADABLE),
            ("[" * 900 + "]" * 900, UNREADABLE),
            ("[" * 100_000, UNREADABLE),
            ("1" * 5000, UNREADABLE),
            (["{}"], UNREADABLE),
            ({}, UNREADABLE),
        ],
    ),
]


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        pytest.param(kind, raw, value, id=f"{kind} of {json.dumps(raw)[:40]}")
        for kind, cases in CONVERTED
        for raw, value in cases
    ],
)
def test_as_makes_this_of_that(kind: str | None, raw: Any, value: Any) -> None:  # noqa: ANN401  # any JSON
    assert value_of(raw, as_(kind)) == value
    assert type(value_of(raw, as_(kind))) is type(value)


@pytest.mark.parametrize(
    "raw",
    [pytest.param(MISSING, id="missing"), *(pytest.param(one, id=repr(one)) for one in ABSENT)],
)
@pytest.mark.parametrize("kind", [None, *As])
def test_what_is_absent_is_left_out_of_a_first_version_and_null_in_a_later_one(kind: str | None, raw: object) -> None:
    assert value_of(raw, as_(kind)) is MISSING
    assert value_of(raw, as_(kind), version=2) is None


@pytest.mark.parametrize("kind", [None, *As])
def test_what_is_unreadable_never_clears(kind: str | None) -> None:
    wrong = {"b": []} if kind != "localized" else "text"

    assert value_of(wrong, as_(kind), version=2) is UNREADABLE
    assert value_of([wrong, wrong], as_(kind), version=2) is UNREADABLE


@given(json_values, st.sampled_from([None, *As]))
@example(10**400, As.TEXT)
@example(-(2**63) - 1, As.NUMBER)
@example({"type": "centPrecision", "currencyCode": "EUR", "centAmount": 10**400, "fractionDigits": 2}, As.MONEY)
@example(["a\ud800", "b"], None)
def test_a_conversion_gives_plain_json_or_none_or_unreadable(raw: Any, kind: As | None) -> None:  # noqa: ANN401  # any JSON
    value = conversion(kind, ["de", "customer"])(raw, View(read_customer(a_customer())))

    if value is not UNREADABLE:
        assert json.loads(json.dumps(value, allow_nan=False)) == value
        assert value not in ("", [], {})


EVERY_TYPE = sample("customers/custom-fields-all-types.json")


def test_every_type_of_custom_field_has_an_as_that_reads_it() -> None:
    fields = EVERY_TYPE
    kinds = {"Localized": "localized", "Money": "amount", "Reference": "id", "Datetime": "datetime", "Date": "date"}
    of = {
        name: "" if "LocalizedEnum" in name else next((kinds[kind] for kind in kinds if kind in name), "")
        for name in fields
    }
    traits = "\n".join(f"{name} = {as_(of[name] or None).replace('custom.it', f'custom.{name}')}" for name in fields)

    sent = traits_of(with_custom(**fields), traits, identify='locales = ["en"]')

    assert {name: value for name, value in sent.items() if "SetOf" not in name} == {
        "exampleBooleanField": True,
        "exampleStringField": "Any String value",
        "exampleLocalizedStringField": "English text",
        "exampleEnumField": "enum key defined in FieldDefinition",
        "exampleLocalizedEnumField": "enum key defined in FieldDefinition",
        "exampleNumberField": 42,
        "exampleMoneyField": 1245.0,
        "exampleDateField": "2001-10-12",
        "exampleTimeField": "14:00:00.000",
        "exampleDatetimeField": "2018-10-14T14:00:00.000Z",
        "exampleReferenceField": "d1229e6f-2b79-441e-b419-180311e52754",
    }
    assert set(sent) == set(fields)
    assert sent["exampleSetOfMoneyField"] == [10.0, 1245.0]
    assert sent["exampleSetOfLocalizedStringField"] == ["English text 1", "English text 2"]


@pytest.mark.parametrize("kind", [None, *As])
def test_every_kind_says_of_every_type_of_custom_field_whether_it_reads_it(kind: str | None) -> None:
    for raw in EVERY_TYPE.values():
        value = value_of(raw, as_(kind))

        assert value is not None
        assert value in (UNREADABLE, MISSING) or json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        pytest.param(None, ["c", "a", "b"], id="texts"),
        pytest.param("list", [3, 1, 2.5], id="numbers"),
        pytest.param("money", [MONEY, money(centAmount=1), money(currencyCode="CHF")], id="money"),
        pytest.param("localized", [{"de": "b"}, {"de": "a"}, {"en": "c"}], id="localized texts"),
        pytest.param("key", [EXPANDED, EXPANDED | {"obj": {"key": "b"}}, EXPANDED | {"obj": {}}], id="references"),
    ],
)
def test_a_set_gives_the_same_payload_in_any_order(kind: str | None, raw: list[Any]) -> None:
    by = rules(f"x = {as_(kind)}", identify='locales = ["de", "en"]')

    payloads = [told(with_custom(it=list(order)), by) for order in itertools.permutations(raw)]

    assert all(payload == payloads[0] for payload in payloads)


# ---- the other words of a rule


@pytest.mark.parametrize(
    ("rule", "raw", "value"),
    [
        pytest.param('values = { gold = "Gold" }', "gold", "Gold", id="a translated text"),
        pytest.param('values = { gold = "Gold" }', "iron", "iron", id="a text that is not in values"),
        pytest.param('values = { true = "yes", false = "no" }', False, "no", id="a translated boolean"),
        pytest.param("values = { 1 = 100 }", 1, 100, id="a translated number"),
        pytest.param('values = { "1.5" = "more" }', 1.5, "more", id="a translated fraction"),
        pytest.param('values = { b = "a", a = "b" }', ["a", "b"], ["b", "a"], id="the elements of a list"),
        pytest.param("values = { gold = false }", "gold", False, id="to false"),
        pytest.param('values = { gold = "Gold" }', MISSING, MISSING, id="nothing to translate"),
        pytest.param('values = { gold = "Gold" }', {}, UNREADABLE, id="unreadable"),
        pytest.param('as = "number", values = { 1 = "one" }', "1", UNREADABLE, id="unreadable by its as"),
        pytest.param("default = 0", MISSING, 0, id="a default of 0"),
        pytest.param("default = false", None, False, id="a default of false"),
        pytest.param('default = "none"', " ", "none", id="a default for a blank"),
        pytest.param('default = "none"', "some", "some", id="no need of the default"),
        pytest.param("default = 1", False, False, id="false is there"),
        pytest.param("default = 1", 0, 0, id="0 is there"),
        pytest.param("default = 1", {}, UNREADABLE, id="no default for what is unreadable"),
        pytest.param('default = "gold", values = { gold = "Gold" }', MISSING, "gold", id="a default is not translated"),
        pytest.param("max = 3", "abcdef", "abc", id="a text that is cut"),
        pytest.param("max = 3", "abc", "abc", id="one that fits"),
        pytest.param("max = 3", ["abcd", "x"], ["abc", "x"], id="the texts of a list"),
        pytest.param("max = 3", 123456, 123456, id="a number is not cut"),
        pytest.param('max = 2, values = { gold = "Gold" }', "gold", "Go", id="translated, then cut"),
        pytest.param("max = 2, default = 5", MISSING, 5, id="cut, with a default"),
        pytest.param("max = 2, values = { a = 7 }", "a", 7, id="translated to a number"),
    ],
)
def test_a_rule_translates_defaults_and_cuts(rule: str, raw: Any, value: Any) -> None:  # noqa: ANN401  # any JSON
    assert value_of(raw, f'{{ from = "custom.it", {rule} }}') == value
    assert type(value_of(raw, f'{{ from = "custom.it", {rule} }}')) is type(value)


def test_a_trait_with_a_default_is_never_null() -> None:
    assert value_of(MISSING, '{ from = "custom.it", default = false, clear = true }', version=2) is False


@pytest.mark.parametrize("value", ['"shop"', "0", "false", "2.5"])
def test_a_fixed_value_is_always_sent(value: str) -> None:
    assert value_of(MISSING, f"{{ value = {value} }}") == json.loads(value)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param({"first": "a", "second": "b"}, "a", id="both"),
        pytest.param({"second": "b"}, "b", id="the second"),
        pytest.param({"first": " ", "second": "b"}, "b", id="a blank first"),
        pytest.param({"first": False, "second": "b"}, False, id="a false first"),
        pytest.param({"first": 0, "second": "b"}, 0, id="a first of 0"),
        pytest.param({}, None, id="none"),
        pytest.param({"first": {}, "second": "b"}, MISSING, id="an unreadable first: it is not known to be absent"),
    ],
)
def test_the_first_path_that_is_there_wins(fields: dict[str, Any], value: object) -> None:
    traits = traits_of(with_custom(**fields), 'x = { from = ["custom.first", "custom.second"] }')

    assert traits.get("x", MISSING) == value


# ---- locales


@pytest.mark.parametrize(
    ("locales", "own", "tags"),
    [
        pytest.param(["de-AT"], None, ["de-AT", "de"], id="its language after a locale"),
        pytest.param(["de-AT", "en"], None, ["de-AT", "de", "en"], id="before the next"),
        pytest.param(["customer", "en"], "fr-CA", ["fr-CA", "fr", "en"], id="the customer's own"),
        pytest.param(["en", "customer"], "fr", ["en", "fr"], id="the customer's own at last"),
        pytest.param(["customer", "en"], None, ["en"], id="a customer without a locale"),
        pytest.param(["customer"], "", [], id="nothing"),
        pytest.param(["zh-Hant-TW"], None, ["zh-Hant-TW", "zh"], id="a script"),
    ],
)
def test_the_locales_are_looked_for_in_this_order(locales: list[str], own: str | None, tags: list[str]) -> None:
    assert tags_of(locales, own) == tags


@pytest.mark.parametrize(
    ("locale", "value"), [("fr-CA", "Salut"), ("fr", "Salut"), ("it", "Hello"), (None, "Hello"), ("de", "Hallo")]
)
def test_a_text_can_be_in_the_customers_own_language(locale: str | None, value: str) -> None:
    customer = with_custom(it={"fr": "Salut", "en": "Hello", "de": "Hallo"}) | {"locale": locale}

    traits = traits_of(customer, f"x = {as_('localized')}", identify='locales = ["customer", "en"]')

    assert traits == {"x": value}


def test_a_rule_can_have_locales_of_its_own() -> None:
    traits = (
        'x = { from = "custom.it", as = "localized", locales = ["fr"] }\ny = { from = "custom.it", as = "localized" }'
    )

    assert traits_of(with_custom(it={"fr": "a", "en": "b"}), traits, identify='locales = ["en"]') == {
        "x": "a",
        "y": "b",
    }


# ---- paths

OF_A_CUSTOMER = {
    "id": CUSTOMER_ID,
    "key": "customer-mira",
    "customerNumber": "1001",
    "externalId": "crm-1001",
    "email": "Mira.Example@example.com",
    "firstName": "Mira",
    "lastName": "Example",
    "middleName": "Middle",
    "title": "Dr.",
    "salutation": "Ms.",
    "dateOfBirth": "1990-11-12",
    "companyName": "Example Engines",
    "vatId": "XX999999999",
    "isEmailVerified": True,
    "locale": "de-DE",
    "createdAt": "2026-01-02T03:04:05.678Z",
    "lastModifiedAt": "2026-02-03T04:05:06.789Z",
    "stores": ["berlin", "paris"],
    "customerGroup": "vip",
    "customerGroups": ["vip"],
    "name": "Mira Example",
}


def a_group(**obj: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return {
        "typeId": "customer-group",
        "id": "g-1",
        "obj": {"id": "g-1", "key": "vip", "name": "Very important", **obj},
    }


def customer_with_everything() -> dict[str, Any]:
    group = a_group(custom={"type": {}, "fields": {"discount": 7}})
    return a_customer(middleName="Middle", customerGroup=group, customerGroupAssignments=[{"customerGroup": group}])


@pytest.mark.parametrize("path", CUSTOMER_FIELDS)
def test_every_path_of_a_customer_reads_its_field(path: str) -> None:
    assert traits_of(customer_with_everything(), f'x = "{path}"') == {"x": OF_A_CUSTOMER[path]}


@pytest.mark.parametrize("root", ["address", "billingAddress", "shippingAddress"])
@pytest.mark.parametrize("name", ADDRESS_FIELDS)
def test_every_path_of_an_address_reads_its_field(name: str, root: str) -> None:
    address = {field: f"{field} of it" for field in ADDRESS_FIELDS if field not in {"id", "street", "country"}}
    home = {"id": "home", "country": "US", **address}
    street = (
        "streetNumber of it streetName of it, apartment of it, building of it, additionalStreetInfo of it, pOBox of it"
    )

    traits = traits_of(a_customer(addresses=[home]), f'x = "{root}.{name}"')

    assert traits == {"x": {**home, "street": street}[name]}


FOUR = [an_address(id=letter, city=letter, custom={"type": {}, "fields": {"floor": letter}}) for letter in "abcd"]


@pytest.mark.parametrize(
    ("changes", "billing", "shipping", "chosen"),
    [
        pytest.param(
            {"defaultBillingAddressId": "b", "defaultShippingAddressId": "c"}, "b", "c", "b", id="the defaults"
        ),
        pytest.param(
            {"billingAddressIds": ["d", "b"], "shippingAddressIds": ["c"]}, "d", "c", "d", id="else the first"
        ),
        pytest.param({"defaultBillingAddressId": "b"}, "b", None, "b", id="no shipping address"),
        pytest.param({"defaultShippingAddressId": "c"}, None, "c", "c", id="no billing address"),
        pytest.param({"defaultBillingAddressId": "gone", "billingAddressIds": ["d"]}, "d", None, "d", id="one dangles"),
        pytest.param({}, None, None, "a", id="neither: an address is no billing address by itself"),
    ],
)
def test_billing_and_shipping_address_are_the_default_else_the_first(
    changes: dict[str, Any], billing: str | None, shipping: str | None, chosen: str
) -> None:
    ids = dict.fromkeys(
        ("defaultBillingAddressId", "defaultShippingAddressId", "billingAddressIds", "shippingAddressIds")
    )
    traits = "\n".join(
        f'{name}_{part} = "{root}.{path}"'
        for name, root in {"b": "billingAddress", "s": "shippingAddress", "c": "address"}.items()
        for part, path in {"city": "city", "floor": "custom.floor"}.items()
    )

    sent = traits_of(a_customer(addresses=FOUR, **{**ids, **changes}), traits, clear=ClearTraits.OFF)

    expected = {"b": billing, "s": shipping, "c": chosen}
    assert {name: sent.get(f"{name}_city") for name in expected} == expected
    assert {name: sent.get(f"{name}_floor") for name in expected} == expected


@pytest.mark.parametrize(
    ("custom", "value"),
    [
        pytest.param(MISSING, None, id="no custom fields"),
        pytest.param(None, None, id="null"),
        pytest.param({"type": {}, "fields": {}}, None, id="not this one"),
        pytest.param({"type": {}, "fields": {"loyalty-tier": "gold"}}, "gold", id="this one"),
        pytest.param({"type": {}}, MISSING, id="no fields: the document does not show them"),
        pytest.param({"type": {}, "fields": None}, None, id="fields of null"),
        pytest.param({"type": {}, "fields": []}, MISSING, id="fields that are none"),
        pytest.param("text", MISSING, id="custom that is none"),
    ],
)
@pytest.mark.parametrize("root", ["custom", "address.custom"])
def test_a_custom_field_is_read_where_the_document_shows_it(root: str, custom: Any, value: object) -> None:  # noqa: ANN401  # any JSON
    changes = {} if custom is MISSING else {"custom": custom}
    customer = a_customer(custom=None) | changes if root == "custom" else a_customer(addresses=[an_address() | changes])

    assert traits_of(customer, f'x = "{root}.loyalty-tier"').get("x", MISSING) == value


GROUP_TRAITS = """
id = "customerGroup.id"
key = "customerGroup.key"
name = "customerGroup.name"
discount = "customerGroup.custom.discount"
"""


@pytest.mark.parametrize(
    ("changes", "traits"),
    [
        pytest.param(
            {"customerGroup": a_group(custom={"type": {}, "fields": {"discount": 7}})},
            {"id": "g-1", "key": "vip", "name": "Very important", "discount": 7},
            id="expanded",
        ),
        pytest.param(
            {"customerGroup": a_group()},
            {"id": "g-1", "key": "vip", "name": "Very important", "discount": None},
            id="without custom fields",
        ),
        pytest.param({"customerGroup": {"typeId": "customer-group", "id": "g-1"}}, {"id": "g-1"}, id="not expanded"),
        pytest.param(
            {"customerGroup": None, "customerGroupAssignments": [{"customerGroup": a_group(key=None)}]},
            {"id": "g-1", "key": None, "name": "Very important", "discount": None},
            id="an assignment, without a key",
        ),
        pytest.param(
            {"customerGroup": None, "customerGroupAssignments": [{}, {"customerGroup": a_group()}]},
            {"id": "g-1", "key": "vip", "name": "Very important", "discount": None},
            id="the first assignment with a group",
        ),
        pytest.param({"customerGroup": {"typeId": "customer-group"}, "customerGroupAssignments": []}, {}, id="no id"),
        pytest.param({"customerGroup": None, "customerGroupAssignments": [{}]}, {}, id="an assignment of no group"),
        pytest.param(
            {"customerGroup": None, "customerGroupAssignments": []},
            dict.fromkeys(("id", "key", "name", "discount")),
            id="no group",
        ),
    ],
)
def test_a_customers_group_is_read_where_it_is_expanded(changes: dict[str, Any], traits: dict[str, Any]) -> None:
    assert traits_of(a_customer(**changes), GROUP_TRAITS) == traits


@pytest.mark.parametrize("path", ["password", "password.hash", "custom", "addresses", "address", "authenticationMode"])
def test_what_is_no_path_cannot_be_read(path: str) -> None:
    assert isinstance(path_of(path), NoSuchPath)


def test_only_what_the_file_names_is_read() -> None:
    named = rules('x = "custom.points"\ny = "address.fax"\nz = "customerGroup.name"').mapping.named

    customer = read_customer(with_custom(points=1, secret="canary"), named)

    assert dict(customer.more) == {"custom.points": 1, "customerGroup.name": UNREADABLE}
    assert [dict(address.more) for address in customer.addresses] == [{"fax": None}]
    assert "canary" not in repr(customer)
    assert not read_customer(a_customer()).more


def test_a_key_is_read_by_an_expansion_and_nothing_else_is() -> None:
    by = rules(
        'x = { from = "custom.rep", as = "key" }\ny = { from = "address.custom.rep", as = "key" }\nz = "custom.a1"'
    )

    expand = customer_type(by.mapping.named).expand

    assert set(expand) - set(customer_type(rules().mapping.named).expand) == {
        *("custom.fields.rep", "custom.fields.rep[*]"),
        *("addresses[*].custom.fields.rep", "addresses[*].custom.fields.rep[*]"),
    }


@pytest.mark.parametrize("value", [1, "x", [], [1], {"obj": 1}, {"fields": 1}, True, 1.5], ids=repr)
@pytest.mark.parametrize("field", ["middleName", "title", "vatId", "custom"])
def test_no_value_of_a_named_field_makes_a_customer_malformed(field: str, value: object) -> None:
    by = rules('a = "middleName"\nb = "title"\nc = "vatId"\nd = "custom.points"')

    assert told(a_customer() | {field: value}, by)["user_id"] == "mira.example@example.com"


# ---- what is cleared

CLEARED = """
own      = "custom.own"
shared   = "vatId"
builtIn  = "customerNumber"
mixed    = { from = ["custom.own", "vatId"] }
both     = { from = ["custom.own", "externalId"] }
express  = { expr = "custom.own" }
mixedExp = { expr = "custom.own || vatId" }
always   = { from = "vatId", clear = true }
never    = { from = "custom.own", clear = false }
fixed    = { expr = "`null`" }
"part.own" = "custom.own"
"half.own" = "custom.own"
"half.shared" = "vatId"
"""
OWN = {"own", "builtIn", "both", "express", "part"}
SHARED = {"shared", "mixed", "mixedExp", "half"}


@pytest.mark.parametrize(
    ("clear", "cleared"),
    [
        pytest.param(ClearTraits.OFF, {"always"}, id="off"),
        pytest.param(ClearTraits.OWN, {"always"} | OWN, id="own"),
        pytest.param(ClearTraits.ALL, {"always"} | OWN | SHARED, id="all"),
    ],
)
def test_what_is_absent_clears_what_the_setting_and_the_rule_say(clear: ClearTraits, cleared: set[str]) -> None:
    absent = a_customer(customerNumber=None, externalId=None, vatId=None, custom=None)

    assert traits_of(absent, CLEARED, clear=clear, user_id=UserIdField.ID) == dict.fromkeys(cleared)
    assert traits_of(absent | {"version": 1}, CLEARED, clear=clear, user_id=UserIdField.ID) == {}


def test_an_object_of_which_a_part_is_there_is_sent_and_not_cleared() -> None:
    traits = '"half.own" = "custom.own"\n"half.shared" = "vatId"'

    assert traits_of(a_customer(custom=None), traits) == {"half": {"shared": "XX999999999"}}


def test_an_object_with_an_unreadable_part_is_left_out_whole() -> None:
    events = events_of(with_custom(own={}), rules('"half.own" = "custom.own"\n"half.shared" = "vatId"\ny = "key"'))

    assert events.unreadable == ("half",)
    assert events.events[0].payload["traits"] == {"y": "customer-mira"}  # type: ignore[typeddict-item]  # an identify


@pytest.mark.parametrize("version", [1, 2])
def test_a_retired_trait_is_null_at_every_version(version: int) -> None:
    traits = traits_of(a_customer() | {"version": version}, 'x = "key"', identify='retired = ["oldOne", "birthday"]')

    assert traits == {"x": "customer-mira", "oldOne": None, "birthday": None}


# ---- expressions


@pytest.mark.parametrize(
    ("expr", "fields", "value"),
    [
        pytest.param("custom.points > `1000`", {"points": 1200}, True, id="a comparison"),
        pytest.param("custom.points > `1000`", {"points": 12}, False, id="that is false"),
        pytest.param("custom.points > `1000`", {}, None, id="of what is absent"),
        pytest.param("custom.points > `1000`", {"points": "many"}, MISSING, id="a TypeError inside"),
        pytest.param("custom.credit.centAmount", {"credit": MONEY}, 1250, id="a part of an object"),
        pytest.param("custom.list[0]", {"list": ["b", "a"]}, "b", id="an element"),
        pytest.param("custom.credit", {"credit": MONEY}, MISSING, id="an object, which no trait can be"),
        pytest.param('custom."loyalty-tier"', {"loyalty-tier": "gold"}, "gold", id="a hyphen"),
        pytest.param("customerGroup.custom.discount", {}, 7, id="a group's field"),
        pytest.param("address.custom.floor", {}, 3, id="an address's field"),
        pytest.param("join(' ', [firstName, lastName])", {}, "Mira Example", id="a function"),
        pytest.param("length(stores)", {}, 2, id="stores"),
        pytest.param("customerGroup", {}, "vip", id="the group"),
        pytest.param("sum(custom.list)", {"list": [1e308, 1e308]}, MISSING, id="infinity"),
    ],
)
def test_an_expression_sees_what_paths_see(expr: str, fields: dict[str, Any], value: object) -> None:
    group = a_group(custom={"type": {}, "fields": {"discount": 7}})
    address = an_address(custom={"type": {}, "fields": {"floor": 3}})
    customer = with_custom(**fields) | {"customerGroup": group, "addresses": [address]}

    assert traits_of(customer, f"x = {{ expr = {json.dumps(expr)} }}", clear=ClearTraits.ALL).get("x", MISSING) == value


def test_an_expression_over_what_is_unreadable_is_unreadable() -> None:
    customer = a_customer(customerGroup={"typeId": "customer-group", "id": "g"})

    events = events_of(customer, rules('x = { expr = "customerGroup.name || email" }'))

    assert events.unreadable == ("x",)


# ---- identities


@pytest.mark.parametrize(
    ("value", "anonymous_id"),
    [
        pytest.param("a-1", "a-1", id="a text"),
        pytest.param(" a-1 ", "a-1", id="with blanks"),
        pytest.param(17, "17", id="a number"),
        *(
            pytest.param(blocked, None, id=f"blocked: {blocked}")
            for blocked in ("null", "NULL", "anonymous", "undefined", "0", "0000-0000", "-1", "-", "00000000-0000-0000")
        ),
        pytest.param("", None, id="empty"),
        pytest.param({}, None, id="an object"),
        pytest.param(["a"], None, id="a list"),
        pytest.param(True, None, id="a boolean"),
    ],
)
def test_an_anonymous_id_is_sent_if_segment_takes_it(value: object, anonymous_id: str | None) -> None:
    by = rules(identify='anonymous_id = "custom.it"')

    payload = told(with_custom(it=value), by)

    assert payload.get("anonymous_id") == anonymous_id
    assert (payload["message_id"] != told(with_custom(), by)["message_id"]) is (anonymous_id is not None)


def test_external_ids_are_in_the_context_by_their_types() -> None:
    by = rules(identify='external_ids = { crm_id = "externalId", number = "customerNumber", gone = "custom.it" }')

    context = told(with_custom(), by)["context"]

    assert context["externalIds"] == [
        {"id": "crm-1001", "type": "crm_id", "collection": "users", "encoding": "none"},
        {"id": "1001", "type": "number", "collection": "users", "encoding": "none"},
    ]
    assert "externalIds" not in told(a_customer(externalId=None, customerNumber=None), by)["context"]


@pytest.mark.parametrize("raw", [None, "", "{}", '{"Analytics": true}', '{"Advertising":', True, ["{}"]])
def test_who_takes_the_whole_document_back_has_withdrawn(raw: object) -> None:
    consent = '[consent]\nfrom = "custom.choice"\nsend = ["Advertising"]\nwithdrawn = "suppress"\n'

    events = events_of({**with_custom(choice=raw), "version": 2}, rules(rest=consent, user_id=UserIdField.ID))

    assert events.events == ()
    assert events.reason == "no consent for Advertising"
    assert events.suppression == Suppression(CUSTOMER_ID, wanted=True)


# ---- laws

_money = st.fixed_dictionaries(
    {"type": st.sampled_from(["centPrecision", "highPrecision"]), "currencyCode": st.sampled_from(["EUR", "x"])},
    optional={"centAmount": st.integers(), "preciseAmount": st.integers(), "fractionDigits": st.integers(-1, 9)},
)
_references = st.fixed_dictionaries(
    {"typeId": st.just("product"), "id": odd_texts},
    optional={"obj": st.none() | st.dictionaries(st.just("key"), odd_texts)},
)
_localized = st.dictionaries(st.sampled_from(["de", "en", "fr"]), odd_texts | st.none())
_one = st.one_of(json_values, odd_texts, instants, _money, _references, _localized, st.just('{"a": [true]}'))
custom = st.fixed_dictionaries(
    {
        "fields": st.dictionaries(
            st.sampled_from([*CUSTOM_FIELDS, "floor"]), _one | st.lists(_one, max_size=3), max_size=6
        )
    }
)
shops = st.builds(
    lambda document, fields, group: {**document, "custom": fields, "middleName": group, "title": fields},
    customers,
    custom | json_values,
    json_values,
)
every_rules = st.builds(
    lambda file, **more: IdentifyRules(mapping=shop_mapping(toml_of(toml_text(file).encode(), "m.toml")), **more),
    mapping_files,
    user_id=st.sampled_from(UserIdField),
    clear=st.sampled_from(ClearTraits),
)
CLIENT = create_segment_client("example-write-key")


def check(document: Mapping[str, Any], by: IdentifyRules) -> None:
    """Check that a customer gives events that Segment takes, or a reason, and the same ones once more."""
    events = events_of(document, by)

    assert bool(events.events) is not bool(events.reason)
    assert events_of(json.loads(json.dumps(document)), by) == events
    for event in events.events:
        try:
            CLIENT.event_for(event)
        except NotDelivered as not_delivered:
            assert not_delivered.error.refused  # noqa: PT017  # either is right
        said = event.payload.get("traits", {})
        assert not {name for name in events.unreadable if name in said}  # type: ignore[operator]  # traits are a dict
        assert [value for value in leaves(said) if value is UNREADABLE] == []


def leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401  # any JSON
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)


@given(shops, every_rules)
def test_any_customer_under_any_file_gives_events_or_a_reason(document: dict[str, Any], by: IdentifyRules) -> None:
    check(document, by)


WIDE = """
[identify]
locales = ["customer", "de"]
anonymous_id = "custom.doc"
external_ids = { crm_id = "custom.tier" }
[consent]
from = "custom.doc"
event = true
[identify.traits]
""" + "\n".join(
    f't{number} = {{ from = "custom.{name}", as = "{kind}" }}'
    for number, (kind, name) in enumerate(itertools.product(As, CUSTOM_FIELDS))
)
WIDE_RULES = IdentifyRules(mapping=shop_mapping(toml_of(f"version = 1\n{WIDE}".encode(), "m.toml")))


@given(shops)
@example(a_customer(custom={"fields": {"doc": "[" * 990 + "]" * 990}}))
@example(a_customer(custom={"fields": {"doc": "x" * 40_000}}))
def test_any_custom_field_under_every_as_gives_events_or_a_reason(document: dict[str, Any]) -> None:
    check(document, WIDE_RULES)


@pytest.mark.parametrize(
    "path", samples("customer-apiref*", "customer-update*", "customer-sign-in*", "java-v2*", "klaviyo-customer-api*")
)
def test_every_real_customer_under_a_wide_file_gives_an_identify_that_segment_takes(path: Path) -> None:
    document = json.loads(path.read_text())
    document = document.get("customer", document)
    by = rules("\n".join(f'"x_{name}" = "{name}"' for name in CUSTOMER_FIELDS))

    [event] = events_of(document, by).events

    CLIENT.event_for(event)
    assert document["password"] not in json.dumps(event.payload["traits"])  # type: ignore[typeddict-item]  # an identify


@given(customers)
def test_a_file_that_adds_nothing_changes_no_event(document: dict[str, Any]) -> None:
    empty = IdentifyRules(mapping=shop_mapping(toml_of(b"version = 1", "m.toml")))

    assert json.dumps(transform_customer_to_segment(document, empty), default=str) == json.dumps(
        transform_customer_to_segment(document), default=str
    )


@pytest.mark.parametrize("mapping", [shop_mapping(None), shop_mapping(toml_of(b"version = 1", "m.toml"))])
def test_without_rules_of_the_shop_the_message_id_is_that_of_the_releases_before(mapping: ShopMapping) -> None:
    payload = transform_customer_to_segment(a_customer(), IdentifyRules(mapping=mapping), project_key=PROJECT)

    assert payload["message_id"] == "ct-identify-a5da8f2871c8f652a8a7abc466a4098bc61b5adc"


def test_a_customer_without_an_id_is_malformed_under_any_file() -> None:
    with pytest.raises(Malformed):
        events_of({"version": 1}, WIDE_RULES)
