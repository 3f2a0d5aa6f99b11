"""The comparison of a mapping file with a shop's Types: what it finds, and what it lets pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from playground.commercetools_types import (
    DEMO_TYPES,
    SIMPLE,
    a_field,
    a_type,
    enum,
    localized_enum,
    reference,
    set_of,
    simple,
)
from service.commercetools.customer import Customer
from service.commercetools.resource import UNREADABLE
from service.operations.types import (
    ENUMS,
    OBJECTS,
    Comparison,
    CustomField,
    Kind,
    all_types,
    compare,
    fields_of,
    fits,
    fitting,
    read_type,
    toml_text,
)
from service.serving.decoding import Malformed
from service.serving.expressions import compile_expression
from service.serving.toml_file import toml_of
from service.transformation.mapping import ShopMapping
from service.transformation.mapping_file import built_in_mapping, mapping_of
from service.transformation.paths import View
from service.transformation.values import As, conversion

VALUES: Mapping[Kind, Any] = {  # as commercetools' JSON has them
    Kind.BOOLEAN: True,
    Kind.STRING: "Any text",
    Kind.LOCALIZED_STRING: {"en": "English text"},
    Kind.ENUM: "gold",
    Kind.LOCALIZED_ENUM: "gold",
    Kind.NUMBER: 42,
    Kind.MONEY: {"type": "centPrecision", "currencyCode": "USD", "centAmount": 124500, "fractionDigits": 2},
    Kind.DATE: "2001-10-12",
    Kind.TIME: "14:00:00.000",
    Kind.DATE_TIME: "2018-10-14T14:00:00.000Z",
    Kind.REFERENCE: {"typeId": "product", "id": "d1229e6f-2b79-441e-b419-180311e52754", "obj": {"key": "a-key"}},
}
HELD_BY_SOME_TEXTS = {As.DATE, As.DATETIME, As.JSON}


def mapping(text: str) -> ShopMapping:
    return mapping_of(toml_of(f"version = 1\n{text}".encode(), "m.toml"), compile_expression, built_in_mapping())


def compared(text: str, *types: Mapping[str, Any]) -> Comparison:
    return compare(mapping(text), fields_of(map(read_type, types or DEMO_TYPES)))


def said(text: str, *types: Mapping[str, Any]) -> list[str]:
    return [f"{each.line}: {each.text}" for each in compared(text, *types).differences]


@pytest.mark.parametrize("kind", list(VALUES))
@pytest.mark.parametrize("as_", [None, *As])
@pytest.mark.parametrize("is_set", [False, True])
def test_what_fits_is_what_the_conversion_reads(kind: Kind, as_: As | None, *, is_set: bool) -> None:
    found = CustomField("a-field", kind, is_set)
    value = [VALUES[kind]] if is_set else VALUES[kind]

    converted = conversion(as_, ["en"])(value, View(Customer("1", 1)))

    if kind is Kind.STRING and as_ in HELD_BY_SOME_TEXTS:
        assert fits(as_, found) == (as_ is not As.JSON or not is_set)
    else:
        assert fits(as_, found) == (converted is not UNREADABLE), converted


@pytest.mark.parametrize("kind", list(VALUES))
def test_something_fits_every_type_of_field(kind: Kind) -> None:
    assert fitting(CustomField("a-field", kind))
    assert fitting(CustomField("a-field", kind, is_set=True))


def test_a_file_that_agrees_is_let_pass() -> None:
    comparison = compared(
        """
        [identify]
        locales = ["en"]
        anonymous_id = "custom.segmentAnonymousId"
        [identify.traits]
        greeting = { from = "custom.greeting", as = "localized" }
        tier = { from = "custom.loyaltyTier", values = { gold = "G", silver = "S", bronze = "B" } }
        floor = { from = "shippingAddress.custom.floor", as = "number" }
        discount = "customerGroup.custom.discount"
        vip = { expr = "custom.points > `10`", as = "boolean" }
        [consent.categories]
        Advertising = "custom.consentAdvertising"
        Verified = "isEmailVerified"
        Functional = { value = true }
        Tier = { from = "custom.channel", values = { web = true, store = false } }
        """
    )

    assert comparison.differences == ()
    assert comparison.compared == 8
    assert {"custom.newsletter", "custom.credit"} <= set(comparison.unmapped)
    assert not {"custom.points", "address.custom.floor", "customerGroup.custom.discount"} & set(comparison.unmapped)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        pytest.param(
            'a = "custom.pionts"', "which is no custom field of a customer; did you mean points?", id="misspelt"
        ),
        pytest.param('a = "custom.floor"', "of a customer, but of an address.", id="of an address"),
        pytest.param('a = "address.custom.points"', "of an address, but of a customer.", id="of the customer"),
        pytest.param('a = "customerGroup.custom.zzz"', "no custom field of a customer group.", id="of a group"),
        pytest.param('a = { expr = "custom.pionts" }', "did you mean points?", id="in an expression"),
        pytest.param(
            'a = { from = "custom.points", as = "boolean" }',
            "identify.traits.a has as = boolean, and custom.points is a Number: number or text fits.",
            id="another kind",
        ),
        pytest.param(
            '"a b" = "custom.credit"',
            'identify.traits."a b" reads custom.credit, which is a Money: it needs as = amount, currency or money.',
            id="an object without as",
        ),
        pytest.param('a = { from = "custom.interests", as = "json" }', "is a Set of String", id="a Set"),
        pytest.param('a = { from = ["key", "custom.credit"] }', "it needs as", id="a path among others"),
        pytest.param('"a.b" = { from = "custom.credit" }', 'traits."a.b"', id="a part"),
    ],
)
def test_a_rule_that_does_not_fit_is_told_with_its_line(rule: str, sentence: str) -> None:
    (difference,) = compared(f"[identify.traits]\n{rule}").differences

    assert sentence in difference.text
    assert (difference.line, difference.is_mistake) == (3, True)


def test_the_key_of_what_a_group_refers_to_is_never_read() -> None:
    of_group = a_type(1, "of-groups", ["customer-group"], a_field("partner", reference("customer")))

    (text,) = said('[identify.traits]\na = "customerGroup.custom.partner"', of_group)

    assert text.endswith("needs as = id.")


def test_keys_that_values_lacks_can_be_pasted() -> None:
    tiers = enum(gold="Gold", silver='Silver "plus"\n', **{"a b": "Grün"})
    of_customer = a_type(1, "of-customers", ["customer"], a_field("tier", tiers))
    rule = '[identify.traits]\na = { from = "custom.tier", values = { gold = "1" } }'

    (difference,) = compared(rule, of_customer).differences

    assert not difference.is_mistake
    pasted = difference.text.partition("To add: ")[2]
    assert pasted == 'silver = "Silver \\"plus\\"\\n", "a b" = "Grün"'
    assert said(rule.replace('gold = "1"', f'gold = "1", {pasted}'), of_customer) == []


def test_a_key_of_values_that_no_enum_has_is_told() -> None:
    rule = 'a = { from = "custom.channel", values = { web = "1", stor = "2", store = "3" } }'

    assert said(f"[identify.traits]\n{rule}") == [
        "3: identify.traits.a.values.stor is no key of the enum; did you mean store?"
    ]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        pytest.param('"custom.points"', "is a Number: consent is a boolean", id="a number"),
        pytest.param('"custom.setOfBoolean"', "is a Set of Boolean: consent is a boolean", id="a Set"),
        pytest.param('"email"', "which is no Boolean", id="no custom field"),
        pytest.param('"custom.consentAdvertisin"', "did you mean consentAdvertising?", id="misspelt"),
    ],
)
def test_a_category_that_reads_no_boolean_is_a_mistake(rule: str, sentence: str) -> None:
    (difference,) = compared(f"[consent.categories]\nAdvertising = {rule}").differences

    assert sentence in difference.text
    assert (difference.line, difference.is_mistake) == (3, True)


def test_consent_as_json_needs_a_text() -> None:
    assert said('[consent]\nfrom = "custom.segmentAnonymousId"\ncategories = ["A"]') == []
    assert "is a Number" in said('[consent]\nfrom = "custom.points"\ncategories = ["A"]')[0]


@pytest.mark.parametrize("field", ["newsletter", "interests", "credit"])
def test_an_id_is_one_text(field: str) -> None:
    (text,) = said(f'[identify]\nanonymous_id = "custom.{field}"\nexternal_ids = {{ crm = "externalId" }}')

    assert text.startswith("3: identify.anonymous_id reads")
    assert text.endswith("an id is one text or number.")


def test_types_of_one_resource_are_put_together_by_the_names_of_their_fields() -> None:
    one = a_type(1, "one", ["customer"], a_field("tier", enum(gold="Gold"), "Tier"), a_field("odd", simple("Date")))
    other = a_type(2, "other", ["customer", "order"], a_field("tier", enum(new="New")), a_field("odd", simple("Time")))

    fields = fields_of(map(read_type, (one, other)))["customer"]

    assert (fields["tier"].label, fields["tier"].labels) == ("Tier", {"gold": "Gold", "new": "New"})
    assert fields["odd"].kind is Kind.UNKNOWN
    assert fits(As.BOOLEAN, fields["odd"])


def test_types_of_other_resources_do_not_count() -> None:
    fields = fields_of(map(read_type, DEMO_TYPES))

    assert "engraving" not in {name for by_name in fields.values() for name in by_name}


HOSTILE: Sequence[Any] = [
    None,
    [],
    {},
    "x",
    [None],
    [{}],
    [{"name": 1}],
    [{"name": "a b"}],
    [{"name": "ab"}],
    [{"name": "ab", "type": []}],
    [{"name": "ab", "type": {"name": ["Set"]}}],
    [{"name": "ab", "type": {"name": "Set"}}],
    [{"name": "ab", "type": {"name": "Set", "elementType": {"name": "Set"}}}],
    [{"name": "ab", "type": {"name": "Enum", "values": {"gold": 1}}}],
    [{"name": "ab", "type": {"name": "Enum", "values": [{"key": None, "label": []}, 1]}, "label": {"en": 1}}],
    [{"name": "ab", "type": {"name": "Quantum"}, "label": {"en": "\ud83d\n"}}],
]


@pytest.mark.parametrize("definitions", HOSTILE, ids=repr)
def test_a_type_of_any_shape_is_read_as_far_as_it_can_be(definitions: Any) -> None:  # noqa: ANN401  # any JSON
    hostile = a_type(1, "hostile", ["customer"], fieldDefinitions=definitions)

    read = read_type(hostile)

    assert all(field.name == "ab" for field in read.fields)
    assert not said('[identify.traits]\na = "key"', hostile)
    assert read_type(hostile | {"resourceTypeIds": None}).resource_type_ids == frozenset()


def test_a_type_without_an_id_or_version_is_malformed() -> None:
    for change in ({"id": 1}, {"version": None}):
        with pytest.raises(Malformed):
            read_type(a_type(1, "odd", []) | change)


def test_all_pages_are_read() -> None:
    def page_after(after: str) -> Sequence[Mapping[str, Any]]:
        return [each for each in DEMO_TYPES if each["id"] > after][:2]

    assert [each.id for each in all_types(page_after)] == [each["id"] for each in DEMO_TYPES]


def test_a_text_is_written_as_toml_reads_it() -> None:
    text = '"\\\n\r\t\0\x7f\x85\u2028\u200b\U000e0001 Grün 😀'

    written = toml_text(text)

    assert toml_of(f"a = {written}".encode(), "t.toml").values == {"a": text}
    assert written.isprintable()


def test_the_kinds_are_those_of_the_local_stand_in() -> None:
    every = {*SIMPLE, enum()["name"], localized_enum()["name"], reference("product")["name"]}

    assert every == {*Kind} - {Kind.UNKNOWN} == set(VALUES)
    assert set(VALUES) > ENUMS | OBJECTS
    assert read_type(a_type(1, "a", [], a_field("ab", set_of(simple("Date"))))).fields[0].is_set
