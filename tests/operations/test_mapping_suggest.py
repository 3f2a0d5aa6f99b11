"""mapping suggest: what it prints loads and agrees with the shop's Types, whatever these are."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.commercetools import CommercetoolsStandIn
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
from playground.stand_in import answer
from service.operations import Exit
from service.operations.mapping_suggest import suggestion
from service.operations.types import Kind, compare, fields_of, read_type
from service.serving.expressions import compile_expression
from service.serving.toml_file import toml_of
from service.transformation.mapping import ShopMapping
from service.transformation.mapping_file import built_in_mapping, mapping_of
from service.transformation.values import As
from tests.operations.commands import Ended, run, settings_for
from tests.strategies import odd_texts

Type = Mapping[str, Any]
HOSTILE_TEXT = "a\"\\'#\n\r\t\0\x7f\x85\u2028\u200b\ud83d[x] = {} 😀"


def loaded(text: str) -> ShopMapping:
    return mapping_of(toml_of(text.encode(), "m.toml"), compile_expression, built_in_mapping())


def suggested(*types: Type, languages: tuple[str, ...] = ("de", "en")) -> str:
    return suggestion(fields_of(map(read_type, types)), languages, "demo-shop")


def checked(*types: Type) -> ShopMapping:
    """Return the mapping suggested, which must load and agree with the Types."""
    mapping = loaded(suggested(*types))
    assert compare(mapping, fields_of(map(read_type, types))).differences == ()
    return mapping


def uncommented(text: str) -> str:
    """Return the file with the table [consent], and the rules with values in place of those without."""
    lines: list[str] = []
    in_consent = False
    for line in text.splitlines():
        in_consent |= line == "# [consent]"
        if in_consent:
            lines.append(line.removeprefix("# "))
        elif " values = {" in line:
            lines[-1] = line.removeprefix("# ")
        else:
            lines.append(line)
    return "\n".join(lines)


def rules(mapping: ShopMapping) -> dict[str, tuple[str, As | None]]:
    return {
        trait.name: (rule.paths[0].text, rule.kind)
        for trait in mapping.identify.traits
        for rule in trait.rules
        if rule.paths[0].custom
    }


def of_customer(*fields: Any) -> Type:  # noqa: ANN401  # any JSON
    return a_type(1, "of-customer", ["customer"], *fields)


def test_every_custom_field_of_the_demo_shop_has_a_rule_that_reads_it() -> None:
    mapping = checked(*DEMO_TYPES)

    assert compare(mapping, fields_of(map(read_type, DEMO_TYPES))).unmapped == ()
    found = rules(mapping)
    assert found["points"] == ("custom.points", As.NUMBER)
    assert found["loyaltyTier"] == ("custom.loyaltyTier", None)
    assert (found["credit"], found["creditCurrency"]) == (
        ("custom.credit", As.AMOUNT),
        ("custom.credit", As.CURRENCY),
    )
    assert found["salesRep"] == ("custom.salesRep", As.ID)
    assert found["interests"] == ("custom.interests", As.LIST)
    assert found["setOfMoney"] == ("custom.setOfMoney", As.MONEY)
    assert found["floor"] == ("shippingAddress.custom.floor", As.NUMBER)
    assert found["discount"] == ("customerGroup.custom.discount", As.NUMBER)


def test_each_rule_says_the_label_and_the_type_of_its_field() -> None:
    assert "# Loyalty tier: an Enum, of the Type customer-fields" in suggested(*DEMO_TYPES)


def test_what_is_commented_out_loads_and_agrees_too() -> None:
    text = uncommented(suggested(*DEMO_TYPES))

    mapping = loaded(text)

    assert compare(mapping, fields_of(map(read_type, DEMO_TYPES))).differences == ()
    assert mapping.consent is not None
    assert set(mapping.consent.categories) == {"Advertising"}
    (tier,) = (trait for trait in mapping.identify.traits if trait.name == "loyaltyTier")
    assert dict(tier.rules[0].values) == {"gold": "Gold", "silver": "Silver", "bronze": "Bronze"}


def test_the_page_shows_what_it_prints() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    of_address = a_type(2, "address-fields", ["address"], a_field("floor", simple("Number"), "Floor"))
    of_customer = a_type(
        1,
        "customer-fields",
        ["customer"],
        a_field("loyaltyTier", enum(gold="Gold", silver="Silver"), "Loyalty tier"),
        a_field("points", simple("Number"), "Points"),
        a_field("consentAdvertising", simple("Boolean"), "Advertising"),
    )

    assert f"```toml\n{suggested(of_customer, of_address)}```" in page


def test_a_newsletter_is_no_consent() -> None:
    assert "[consent]" not in suggested(of_customer(a_field("newsletter", simple("Boolean"))))


def test_categories_have_names_that_segment_takes() -> None:
    names = ("consent", "gdprConsent", "1consent", "marketing", "Marketing", "consent-" + "x" * 28, "consentMarketing")
    types = of_customer(*(a_field(name, simple("Boolean")) for name in names))

    consent = loaded(uncommented(suggested(types))).consent

    assert consent is not None
    assert len(consent.categories) == len(names)


@pytest.mark.parametrize(
    ("languages", "locales"),
    [
        pytest.param(("de-DE", "en", "de-DE"), '["de-DE", "en"]', id="each once"),
        pytest.param((), '["en"]', id="none"),
        pytest.param(('"]', "x", ""), '["en"]', id="none that is one"),
    ],
)
def test_the_locales_are_the_projects_languages(languages: tuple[str, ...], locales: str) -> None:
    assert f"\nlocales = {locales}" in suggested(languages=languages)


def test_without_custom_fields_the_file_loads() -> None:
    assert checked().identify == checked(DEMO_TYPES[-1]).identify


COLLIDING = ("email", "first_name", "createdAt", "address", "id", "title", "company", "segment_consent_preference")


def test_no_two_traits_are_one_to_segment() -> None:
    names = (*COLLIDING, "vipLevel", "vip_level", "vip-level", "VipLevel", "custom-vipLevel", "1st", "-a", "__", "--")
    fields = [a_field(name, simple("String")) for name in names]
    money = [a_field(name, simple("Money")) for name in ("credit", "cred_it")]
    taken = a_field("creditCurrency", simple("String"))

    mapping = checked(
        of_customer(*fields, taken, *money),
        a_type(2, "of-address", ["address", "customer-group"], *fields, *money),
    )

    assert len(rules(mapping)) == 3 * len(names) + 1 + 3 * 2 * len(money)
    assert [trait for trait in mapping.identify.traits if trait.built_in] == [
        replace(trait, built_in=True) for trait in built_in_mapping().identify.traits
    ]
    assert rules(mapping)["vipLevel"] == ("custom.vipLevel", None)


def test_more_fields_than_segment_takes_are_commented_out() -> None:
    types = [
        a_type(number, f"many-{number}", ["customer"], *(a_field(f"f{number}x{n}", simple("Money")) for n in range(50)))
        for number in range(10)
    ]

    text = suggested(*types)

    assert len(checked(*types).identify.traits) == 300
    assert len(re.findall(r"^# f\dx\d+ = ", text, re.MULTILINE)) == 500 - (300 - 16) // 2


def test_a_file_does_not_become_too_large() -> None:
    labels = {f"key-{number}": "ü😀" * 40 for number in range(50)}
    types = of_customer(
        *(a_field(f"enum{n}", enum(**labels), HOSTILE_TEXT * 10) for n in range(250)),
        *(a_field(f"more{n}", simple("String"), "😀" * 1000) for n in range(800)),
        a_field("huge", enum(a="x" * 10_000_000)),
    )

    text = suggested(types)

    checked(types)
    loaded(text.encode("ascii", "replace").decode())
    assert "lines with more fields or values are left out" in text


def test_hostile_texts_stay_in_their_places() -> None:
    of = enum(**{HOSTILE_TEXT: HOSTILE_TEXT, "gold": ""})
    fields = [a_field("tier", of, HOSTILE_TEXT), a_field("consent", simple("Boolean"), HOSTILE_TEXT * 9)]
    types = a_type(1, HOSTILE_TEXT, ["customer"], *fields)

    checked(types)
    mapping = loaded(uncommented(suggested(types)))

    assert compare(mapping, fields_of([read_type(types)])).differences == ()


def test_a_field_of_an_unknown_type_is_commented_out() -> None:
    types = of_customer(a_field("odd", {"name": "Quantum"}))

    assert rules(checked(types)) == {}
    assert '\n# odd = "custom.odd"  # odd: a type that is not known here' in suggested(types)


texts = st.sampled_from([HOSTILE_TEXT, ":smile:", "a" * 200, "consent", "", "a", "1", "\0"]) | odd_texts
simples = st.sampled_from([simple(name) for name in SIMPLE])
enums = st.dictionaries(texts, texts, max_size=3).map(lambda labels: enum(**labels))
localized = st.dictionaries(texts, st.dictionaries(texts, texts, max_size=2), max_size=3).map(
    lambda labels: localized_enum(**labels)
)
elements = simples | enums | localized | st.just(reference("product")) | st.just({"name": "Quantum"})
names = st.text("aB1_-", min_size=2, max_size=4) | st.sampled_from(
    [*COLLIDING, "consentA", "consent_a", "firstName", "a-b", "aBCurrency", "z" * 36]
)
fields = st.builds(a_field, names, elements | elements.map(set_of), texts)
resources = st.lists(st.sampled_from(["customer", "address", "customer-group", "order"]), max_size=3)
types_of_a_shop = st.lists(
    st.builds(lambda of, key, found: a_type(1, key, of, *found), resources, texts, st.lists(fields, max_size=4)),
    max_size=3,
)


@given(types_of_a_shop)
def test_whatever_the_types_are_the_file_loads_and_agrees_with_them(types: list[Type]) -> None:
    mapping = checked(*types)
    found = fields_of(map(read_type, types))

    known = [field for by_name in found.values() for field in by_name.values() if field.kind is not Kind.UNKNOWN]
    assert len({path for path, _ in rules(mapping).values()}) == len(known)
    again = loaded(uncommented(suggested(*types)))
    assert all(not difference.is_mistake for difference in compare(again, found).differences)


# The command


@pytest.fixture
def commercetools() -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn() as stand_in:
        yield stand_in


def suggest(commercetools: CommercetoolsStandIn, *arguments: str, scopes: str = "", **settings: str) -> Ended:
    names = (scopes or "view_types view_project_settings").split()
    given = settings_for(None, commercetools, CTP_SCOPES=" ".join(f"{name}:demo-shop" for name in names), **settings)
    return run("mapping", "suggest", *arguments, settings=given)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_prints_a_file_in_every_encoding(commercetools: CommercetoolsStandIn, encoding: str) -> None:
    tiers = enum(**{":smile:": "Grün 😀", "[b]": "x"})
    types = of_customer(a_field("tier", tiers, "Größe 😀 \t:smile:"))
    commercetools.types = [dict(types)]

    ended = suggest(commercetools, PYTHONIOENCODING=encoding)

    assert ended.code == Exit.DONE, ended.err
    mapping = loaded(uncommented(ended.out))
    assert compare(mapping, fields_of([read_type(types)])).differences == ()
    assert dict(mapping.identify.traits[-1].rules[0].values) == {":smile:": "Grün 😀", "[b]": "x"}
    assert 'locales = ["de", "en"]' in ended.out


def test_json_has_the_same_file(commercetools: CommercetoolsStandIn) -> None:
    assert suggest(commercetools, "--json").document == {"toml": suggest(commercetools).out}


def test_a_file_is_replaced_only_by_force(commercetools: CommercetoolsStandIn, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    printed = suggest(commercetools).out

    assert suggest(commercetools, "--output", str(path)).code == Exit.DONE
    assert path.read_text() == printed
    path.write_text("mine")
    refused = suggest(commercetools, "--output", str(path))
    assert (refused.code, path.read_text()) == (Exit.UNUSABLE, "mine")
    assert "--force" in refused.err
    forced = suggest(commercetools, "--output", str(path), "--force", MAPPING_FILE=str(path))
    assert (forced.code, path.read_text()) == (Exit.DONE, printed)
    assert suggest(commercetools, "--output", str(tmp_path), "--force").code == Exit.UNUSABLE
    assert [each.name for each in tmp_path.iterdir()] == ["mapping.toml"]


def test_without_the_projects_languages_it_guesses_and_says_so(commercetools: CommercetoolsStandIn) -> None:
    ended = suggest(commercetools, scopes="view_types")

    assert ended.code == Exit.DONE
    assert 'locales = ["en"]' in ended.out
    assert "view_project_settings" in ended.err


def test_without_the_scope_for_types_it_says_which(commercetools: CommercetoolsStandIn) -> None:
    ended = suggest(commercetools, scopes="view_customers")

    assert ended.code == Exit.STOPPED
    assert "view_types:demo-shop" in ended.err
    assert ended.out == ""


def test_a_failure_of_commercetools_is_told(commercetools: CommercetoolsStandIn) -> None:
    commercetools.fail(answer(503), on="/demo-shop/types")

    ended = suggest(commercetools)

    assert (ended.code, ended.out) == (Exit.STOPPED, "")
    assert "503" in ended.err


def test_it_needs_the_settings_of_an_api_client() -> None:
    assert run("mapping", "suggest").code == Exit.UNUSABLE
