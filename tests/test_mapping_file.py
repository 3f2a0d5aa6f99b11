"""The mapping file: every mistake as a sentence with its line, and the same from the schema that an editor uses."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import ConfigError, SegmentSettings, UserIdField
from service.serving.expressions import BadExpression
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules, mapping_file, transform_customer_to_segment
from service.transformation.consent import Withdrawn
from service.transformation.mapping import CHANGES, ShopMapping
from service.transformation.mapping_file import Mistakes, built_in_mapping, mapping_of
from service.transformation.paths import ADDRESS_FIELDS, CUSTOMER_FIELDS, GROUP_FIELDS, NoSuchPath, path_of
from service.transformation.rules import identify_rules_by, shop_mapping
from service.transformation.values import As
from tests.builders import a_customer, an_environment
from tests.builders import settings as some_settings
from tests.strategies import mapping_files, toml_text, wrong_mapping_files

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads(files("service.transformation").joinpath("mapping.schema.json").read_text())
DRAFT_4 = importlib.import_module("jsonschema").Draft4Validator  # it has no types; check-jsonschema brings it
BY_SCHEMA = DRAFT_4(SCHEMA)


def mapping(text: str) -> ShopMapping:
    return shop_mapping(toml_of(text.encode(), "m.toml"))


def mistakes_in(text: str) -> list[str]:
    """Return the mistakes in a file, without its name."""
    try:
        mapping(text)
    except Mistakes as mistakes:
        return [mistake.removeprefix("m.toml:") for mistake in mistakes.mistakes]
    return []


THE_SEVEN = """\
version = 1

[identify]                                    # commercetools customer → Segment identify
on           = ["created", "updated"]
exclude      = ["birthday"]
default      = true
retired      = ["loyaltyLevel"]
locales      = ["de-DE", "de", "en"]
anonymous_id = "custom.segmentAnonymousId"
external_ids = { crm_id = "externalId" }

[identify.traits]
company.vatId       = "vatId"
loyaltyTier         = "custom.loyaltyTier"
loyaltyTierName     = { from = "custom.loyaltyTier", values = { gold = "Gold", silver = "Silber" } }
points              = { from = "custom.points", as = "numbr" }
newsletter          = { from = "custom.newsletter", as = "boolean", default = false }
greeting            = { form = "custom.greeting", as = "localized" }
storeCredit         = { from = "custom.credit", as = "amount" }
storeCreditCurrency = { from = "custom.credit", as = "currency" }
interests           = { from = "custom.interests", as = "list" }
salesRep            = { from = "password", as = "id" }
customerSince       = { from = ["custom.since", "createdAt"], as = "date" }
phone               = { from = ["shippingAddress.mobile", "billingAddress.phon"], clear = true }
deliveryFloor       = { from = "shippingAddress.custom.floor", as = "number" }

vip                 = { expr = "lenght(custom.points) > `1000`", as = "boolean" }
"""


def test_all_mistakes_are_told_at_once_each_with_its_line_and_a_suggestion() -> None:
    with pytest.raises(Mistakes) as raised:
        shop_mapping(toml_of(THE_SEVEN.encode(), "mapping.toml"))

    assert str(raised.value) == (
        "mapping.toml:6: identify.default is no setting; did you mean defaults?\n"
        'mapping.toml:13: identify.traits.company has no from. Was "company.vatId" meant? Then quote the whole name.\n'
        "mapping.toml:16: identify.traits.points.as is numbr; did you mean number?\n"
        "mapping.toml:18: identify.traits.greeting.form is no setting; did you mean from?\n"
        "mapping.toml:22: identify.traits.salesRep.from cannot be sent: password.\n"
        "mapping.toml:24: identify.traits.phone.from reads billingAddress.phon, which is no field of an address; "
        "did you mean phone?\n"
        "mapping.toml:27: identify.traits.vip.expr calls lenght(), which does not exist; did you mean length?"
    )


def a_trait(rule: str, before: str = "") -> str:
    return f"version = 1\n[identify]\n{before}\n[identify.traits]\nx = {rule}"


def a_rule(**keys: str) -> str:
    return a_trait(f"{{ {', '.join(f'{key} = {value}' for key, value in keys.items())} }}")


def an_identify(lines: str) -> str:
    return f"version = 1\n[identify]\n{lines}"


def some_traits(lines: str) -> str:
    return f"version = 1\n[identify.traits]\n{lines}"


def a_consent(lines: str) -> str:
    return f"version = 1\n[consent]\n{lines}"


NO_NAME = "is no name for a trait: a letter, then letters, digits, _, - and blanks."
A_JOB = "is a person's job at Segment, and an academic title at commercetools: choose another name."
HUGE = "must be a number from -9007199254740992 to 9007199254740992, which every reader of JSON keeps."
NO_RULE = 'must be a path such as "custom.points", or a table with from, expr or value.'
NO_CATEGORY = "Segment's categories have 1 to 34 characters, the first is no digit."
OF_A_VALUE = "must be a text, a number or a boolean; a date is written in quotes."
EVERY = "\n".join(f'"t{number}" = "key"' for number in range(400))

MISTAKES: list[tuple[str, str, list[str]]] = [
    # The file
    ("no version", "", ["1: version must be there, and be 1."]),
    ("a version of tomorrow", "version = 2", ["1: version must be 1."]),
    ("a version that is a text", 'version = "1"', ["1: version must be 1."]),
    ("a version that is true", "version = true", ["1: version must be 1."]),
    (
        "a table of later",
        "version = 1\n[group]",
        ["2: group is not supported by this version, which sends customers and orders."],
    ),
    (
        "routes",
        "version = 1\n[[route]]\nstores = []\n",
        ["2: route is not supported by this version, which sends customers and orders."],
    ),
    ("orders that are no table", "version = 1\norder = 1", ["2: order must be a table."]),
    (
        "an order's misspelt word",
        'version = 1\n[order]\nlocal = "de"',
        ["3: order.local is no setting; did you mean locale?"],
    ),
    (
        "an anonymousId that is no custom field",
        'version = 1\n[order]\nanonymous_id = "anonymousId"',
        ["3: order.anonymous_id must be a custom field of the order, such as custom.segmentAnonymousId."],
    ),
    (
        "a locale that is none",
        'version = 1\n[order]\nlocale = "customer-of-the-shop"',
        ["3: order.locale must be one locale, such as de or de-DE."],
    ),
    (
        "a product's address that is none",
        'version = 1\n[order]\nproduct_url = "/{slug}"',
        ["3: order.product_url must be an address such as https://www.example.com/{locale}/{slug}."],
    ),
    (
        "an unknown part of a product's address",
        'version = 1\n[order]\nproduct_url = "https://example.com/{slug}/{id}"',
        ["3: order.product_url has {id}: only {slug}, {sku} and {locale} can be in it."],
    ),
    (
        "half a brace",
        'version = 1\n[order]\nproduct_url = "https://example.com/{slug}/{sku"',
        ["3: order.product_url has a brace without its partner."],
    ),
    (
        "one address for all products",
        'version = 1\n[order]\nproduct_url = "https://example.com/{locale}"',
        ["3: order.product_url would be the same for all products: it has neither {slug} nor {sku}."],
    ),
    ("a misspelt table", "version = 1\n[identfy]", ["2: identfy is no setting; did you mean identify?"]),
    ("a foreign table", "version = 1\n[tool.ruff]", ["2: tool is no setting."]),
    ("identify that is no table", "version = 1\nidentify = 1", ["2: identify must be a table."]),
    (
        "consent that is no table",
        "version = 1\nconsent = []",
        ["2: consent must be a table.", "2: consent must have categories, or from."],
    ),
    # The table identify
    ("on nothing", an_identify("on = []"), ["3: identify.on must not be empty: nothing would be sent."]),
    ("on one text", an_identify('on = "created"'), ["3: identify.on must be an array of texts."]),
    ("on a number", an_identify("on = [1]"), ["3: identify.on must be an array of texts."]),
    ("on what is none", an_identify('on = ["create"]'), ["3: identify.on is create; did you mean created?"]),
    ("on something else", an_identify('on = ["x"]'), ["3: identify.on must be one of created, updated."]),
    ("on one thing twice", an_identify('on = ["created", "created"]'), ["3: identify.on names one of them twice."]),
    ("defaults in words", an_identify('defaults = "no"'), ["3: identify.defaults must be true or false."]),
    (
        "a locale",
        an_identify('locales = ["de_DE"]'),
        ["3: identify.locales must have locales such as de or de-DE, or the word customer."],
    ),
    (
        "an unknown exclusion",
        an_identify('exclude = ["birthdy"]'),
        ["3: identify.exclude has birthdy, which is no built-in trait; did you mean birthday?"],
    ),
    (
        "an excluded part",
        an_identify('exclude = ["address.town"]'),
        ['3: identify.exclude has "address.town", which is no built-in trait; did you mean address.city?'],
    ),
    (
        "an anonymous id",
        an_identify("anonymous_id = 1"),
        ["3: identify.anonymous_id must be a path, such as custom.segmentAnonymousId."],
    ),
    (
        "an anonymous id without a path",
        an_identify('anonymous_id = ""'),
        ["3: identify.anonymous_id must be a path such as custom.points."],
    ),
    (
        "a type of an external id",
        an_identify('external_ids = { "Crm" = "key" }'),
        ["3: identify.external_ids.Crm is no type of an external id: Segment takes lower-case letters, digits and _."],
    ),
    (
        "an external id's path",
        an_identify("external_ids = { crm = 1 }"),
        ["3: identify.external_ids.crm must be a path, such as custom.segmentAnonymousId."],
    ),
    ("external ids that are none", an_identify("external_ids = 1"), ["3: identify.external_ids must be a table."]),
    (
        "retired and mapped",
        an_identify('retired = ["x"]\ntraits.x = "key"'),
        ["3: identify.retired has x, for which there is a rule too."],
    ),
    (
        "retired and built in",
        an_identify('retired = ["email"]'),
        ["3: identify.retired has the built-in trait email: take it into exclude too."],
    ),
    (
        "a retired name",
        an_identify('retired = ["a.b"]'),
        ['3: identify.retired has "a.b", which is no name for a trait.'],
    ),
    (
        "a retired trait of Segment's",
        an_identify('retired = ["segmentConsentPreference"]'),
        ["3: identify.retired has segmentConsentPreference, which only Segment sets."],
    ),
    (
        "retired in another spelling",
        an_identify('retired = ["created_at"]'),
        ["3: identify.retired has created_at: it and createdAt are one trait to Segment (created_at)."],
    ),
    # Names of traits
    ("a name that is none", some_traits('"1st" = "key"'), [f"3: identify.traits.1st {NO_NAME}"]),
    ("a name with a control character", some_traits('"a\\u0007b" = "key"'), [f'2: identify.traits."a?b" {NO_NAME}']),
    ("a long name", some_traits(f'"{"x" * 101}" = "key"'), [f'3: identify.traits."{"x" * 60}…" {NO_NAME}']),
    ("a part of a part", some_traits('"a.b.c" = "key"'), [f'3: identify.traits."a.b.c" {NO_NAME}']),
    (
        "whole and part",
        some_traits('x = "key"\n"x.y" = "id"'),
        ['3: identify.traits.x is a value, and "x.y" is a part of it: only one can be.'],
    ),
    (
        "one name in two spellings",
        some_traits('b_c = "key"\n"b c" = "id"'),
        ['3: identify.traits.b_c and "b c" are one trait to Segment (b_c).'],
    ),
    (
        "a built-in name in another spelling",
        some_traits('created_at = "key"'),
        ["3: identify.traits.created_at and createdAt are one trait to Segment (created_at)."],
    ),
    (
        "a part in another spelling",
        some_traits('"address.postal_code" = "key"'),
        [
            (
                '3: identify.traits."address.postal_code" and "address.postalCode" are one trait to Segment '
                "(address.postal_code)."
            )
        ],
    ),
    (
        "a trait of Segment's",
        some_traits('segmentConsentPreference = "key"'),
        ["3: identify.traits.segmentConsentPreference is a trait that only Segment sets."],
    ),
    (
        "an object at Segment",
        some_traits('company = "companyName"'),
        ['3: identify.traits.company is an object at Segment: give its parts, such as "company.name".'],
    ),
    (
        "a text at Segment",
        some_traits('"name.first" = "firstName"'),
        [
            '3: identify.traits."name.first" cannot be: Segment\'s name has no parts.',
        ],
    ),
    ("a job", some_traits('title = "title"'), [f"3: identify.traits.title {A_JOB}"]),
    (
        "a job in an expression",
        some_traits("title = { expr = \"address.title || 'x'\" }"),
        [f"3: identify.traits.title {A_JOB}"],
    ),
    (
        "400 traits",
        some_traits(EVERY),
        ["2: identify.traits makes 416 traits with the built-in and the retired ones; Segment takes 300."],
    ),
    ("traits that are no table", an_identify("traits = 1"), ["3: identify.traits must be a table."]),
    # Rules
    ("a rule that is a number", a_trait("1"), [f"5: identify.traits.x {NO_RULE}"]),
    ("a rule that is a date", a_trait("2026-01-02"), [f"5: identify.traits.x {NO_RULE}"]),
    ("an empty path", a_trait('""'), ["5: identify.traits.x must be a path such as custom.points."]),
    (
        "an unquoted name",
        some_traits('company.vatId = "vatId"'),
        ['3: identify.traits.company has no from. Was "company.vatId" meant? Then quote the whole name.'],
    ),
    ("an empty rule", a_trait("{}"), ["5: identify.traits.x must have one of from, expr, value."]),
    ("no source", a_rule(clear="true"), ["5: identify.traits.x must have one of from, expr, value."]),
    (
        "two sources",
        a_rule(**{"from": '"key"', "value": "1"}),
        ["5: identify.traits.x has from and value: only one of from, expr, value can be there."],
    ),
    ("a misspelt source", a_rule(form='"key"'), ["5: identify.traits.x.form is no setting; did you mean from?"]),
    (
        "something beside value",
        a_rule(value="1", clear="true"),
        ["5: identify.traits.x.clear has no use beside value."],
    ),
    ("no path at all", a_rule(**{"from": "[]"}), ["5: identify.traits.x.from must not be empty."]),
    (
        "a path that is a number",
        a_rule(**{"from": '["key", 1]'}),
        ["5: identify.traits.x.from must be a path such as custom.points."],
    ),
    ("an empty expression", a_rule(expr='" "'), ["5: identify.traits.x.expr must be a JMESPath expression."]),
    (
        "a bad expression",
        a_rule(expr='"custom.x >"'),
        ["5: identify.traits.x.expr is no JMESPath expression, at its character 11."],
    ),
    (
        "an unknown function",
        a_rule(expr='"lenght(email)"'),
        ["5: identify.traits.x.expr calls lenght(), which does not exist; did you mean length?"],
    ),
    (
        "3,000 parentheses",
        a_rule(expr=f'"{"(" * 3000}email{")" * 3000}"'),
        ["5: identify.traits.x.expr is nested too deeply."],
    ),
    (
        "the customer's own JSON in an expression",
        a_rule(expr='"custom.fields.points"'),
        ["5: identify.traits.x.expr reads custom.fields.points; here it is written without fields: custom.points."],
    ),
    (
        "an unknown field in an expression",
        a_rule(expr='"emial"'),
        ["5: identify.traits.x.expr reads emial, which is no field of a customer; did you mean email?"],
    ),
    (
        "the password in an expression",
        a_rule(expr='"password"'),
        ["5: identify.traits.x.expr cannot be sent: password."],
    ),
    (
        "a group and its name",
        a_rule(expr='"customerGroup || customerGroup.name"'),
        ["5: identify.traits.x.expr reads customerGroup, a key or id, and customerGroup.name: only one can be."],
    ),
    (
        "a misspelt kind",
        a_rule(**{"from": '"key"', "as": '"numbr"'}),
        ["5: identify.traits.x.as is numbr; did you mean number?"],
    ),
    (
        "a kind that is none",
        a_rule(**{"from": '"key"', "as": '"x"'}),
        [f"5: identify.traits.x.as must be one of {', '.join(As)}."],
    ),
    (
        "a kind of many words",
        a_rule(**{"from": '"key"', "as": '"a number"'}),
        ["5: identify.traits.x.as must be a word; did you mean number?"],
    ),
    (
        "a kind that is a number",
        a_rule(**{"from": '"key"', "as": "1"}),
        [f"5: identify.traits.x.as must be one of {', '.join(As)}."],
    ),
    (
        "localized without locales",
        a_rule(**{"from": '"key"', "as": '"localized"'}),
        ['5: identify.traits.x is localized and has no locales: set identify.locales, such as ["de", "en"].'],
    ),
    (
        "values that are none",
        a_rule(**{"from": '"key"', "values": "1"}),
        ["5: identify.traits.x.values must be a table.", "5: identify.traits.x.values must not be empty."],
    ),
    ("no values", a_rule(**{"from": '"key"', "values": "{}"}), ["5: identify.traits.x.values must not be empty."]),
    (
        "a value that is a table",
        a_rule(**{"from": '"key"', "values": "{ a = {} }"}),
        [f"5: identify.traits.x.values.a {OF_A_VALUE}"],
    ),
    (
        "a default that is a date",
        a_rule(**{"from": '"key"', "default": "2026-01-02"}),
        [f"5: identify.traits.x.default {OF_A_VALUE}"],
    ),
    ("a value that is an array", a_rule(value="[]"), [f"5: identify.traits.x.value {OF_A_VALUE}"]),
    ("a huge number", a_rule(value=str(2**53 + 1)), [f"5: identify.traits.x.value {HUGE}"]),
    ("a huge hexadecimal number", a_rule(value=f"0x{'f' * 100}"), [f"5: identify.traits.x.value {HUGE}"]),
    (
        "infinity",
        a_rule(value="-inf"),
        ["5: identify.traits.x.value must be a number that JSON can write: no inf, no nan."],
    ),
    (
        "no number",
        a_rule(value="nan"),
        ["5: identify.traits.x.value must be a number that JSON can write: no inf, no nan."],
    ),
    (
        "clear in words",
        a_rule(**{"from": '"key"', "clear": '"yes"'}),
        ["5: identify.traits.x.clear must be true or false."],
    ),
    (
        "max of nothing",
        a_rule(**{"from": '"key"', "max": "0"}),
        ["5: identify.traits.x.max must be a number of characters from 1 to 32768."],
    ),
    (
        "max that is true",
        a_rule(**{"from": '"key"', "max": "true"}),
        ["5: identify.traits.x.max must be a number of characters from 1 to 32768."],
    ),
    (
        "two mistakes in a rule",
        a_rule(**{"from": '"kye"', "as": '"numbr"'}),
        [
            "5: identify.traits.x.as is numbr; did you mean number?",
            "5: identify.traits.x.from reads kye, which is no field of a customer; did you mean key?",
        ],
    ),
    # The table consent
    ("no consent", a_consent(""), ["2: consent must have categories, or from."]),
    ("no categories", a_consent("categories = {}"), ["3: consent.categories must not be empty."]),
    (
        "an empty list of categories",
        a_consent('from = "custom.doc"\ncategories = []'),
        ["4: consent.categories must not be empty."],
    ),
    ("an array without from", a_consent('categories = ["A"]'), ["3: consent.categories must be a table."]),
    (
        "a table beside from",
        a_consent('from = "custom.doc"\ncategories = { A = "key" }'),
        ['4: consent.categories must be an array of names beside from: ["Advertising"].'],
    ),
    ("a category's name", a_consent('categories = { 1st = "key" }'), [f"3: consent.categories has 1st: {NO_CATEGORY}"]),
    (
        "a long category",
        a_consent(f'from = "custom.doc"\ncategories = ["{"x" * 35}"]'),
        [f"4: consent.categories has {'x' * 35}: {NO_CATEGORY}"],
    ),
    (
        "a category's rule",
        a_consent('categories = { A = { from = "key", as = "boolean", clear = true } }'),
        ["3: consent.categories.A.clear is no setting."],
    ),
    (
        "a category that is no boolean",
        a_consent('categories = { A = { from = "key", default = "no", values = { yes = true, no = 0 } } }'),
        [
            "3: consent.categories.A.default must be true or false.",
            "3: consent.categories.A.values.no must be true or false.",
        ],
    ),
    (
        "a category that has a text",
        a_consent('categories = { A = { value = "yes" } }'),
        ["3: consent.categories.A.value must be true or false."],
    ),
    (
        "a key in a group",
        a_rule(**{"from": '"customerGroup.custom.rep"', "as": '"key"'}),
        ["5: identify.traits.x.as cannot be key here: references in a customer group are not read along."],
    ),
    (
        "a category without consent",
        a_consent('send = ["Adv"]\ncategories = { A = "key" }'),
        ["3: consent.send has Adv, which is not in consent.categories."],
    ),
    (
        "a misspelt category",
        a_consent('send = ["Advertisin"]\ncategories = { Advertising = "key" }'),
        ["3: consent.send has Advertisin, which is not in consent.categories; did you mean Advertising?"],
    ),
    (
        "a category that is not in the list",
        a_consent('send = ["B"]\nfrom = "custom.doc"\ncategories = ["A"]'),
        ["3: consent.send has B, which is not in consent.categories."],
    ),
    (
        "a word for send",
        a_consent('send = "never"\ncategories = { A = "key" }'),
        ['3: consent.send must be "always", or an array of categories.'],
    ),
    (
        "an empty send",
        a_consent('send = []\ncategories = { A = "key" }'),
        ['3: consent.send must not be empty: write "always".'],
    ),
    (
        "withdrawn",
        a_consent('send = ["A"]\nwithdrawn = "forget"\ncategories = { A = "key" }'),
        ["4: consent.withdrawn must be one of nothing, tell, suppress."],
    ),
    (
        "withdrawn without a gate",
        a_consent('withdrawn = "tell"\ncategories = { A = "key" }'),
        ['3: consent.withdrawn has no use with send = "always".'],
    ),
    (
        "unknown in words",
        a_consent('unknown = "no"\ncategories = { A = "key" }'),
        ["3: consent.unknown must be true or false."],
    ),
    (
        "event in words",
        a_consent('event = "no"\ncategories = { A = "key" }'),
        ["3: consent.event must be true or false."],
    ),
    (
        "a misspelt setting",
        a_consent('unknwn = true\ncategories = { A = "key" }'),
        ["3: consent.unknwn is no setting; did you mean unknown?"],
    ),
]


@pytest.mark.parametrize(
    ("text", "sentences"), [pytest.param(text, sentences, id=id_) for id_, text, sentences in MISTAKES]
)
def test_a_mistake_is_told_with_its_line(text: str, sentences: list[str]) -> None:
    assert mistakes_in(text) == sentences


PATHS = [
    pytest.param("", "must be a path such as custom.points", id="nothing"),
    pytest.param("emial", "reads emial, which is no field of a customer; did you mean email?", id="misspelt"),
    pytest.param(
        "adress.city", "reads adress.city, which is no field of a customer; did you mean address?", id="a root"
    ),
    pytest.param("stores.key", "reads stores.key, which is no field of a customer; did you mean stores?", id="a part"),
    pytest.param("address", "reads address, which is no field of an address", id="an address as a whole"),
    pytest.param(
        "shippingAddress.phon",
        "reads shippingAddress.phon, which is no field of an address; did you mean phone?",
        id="an address's",
    ),
    pytest.param(
        "customerGroup.nam",
        "reads customerGroup.nam, which is no field of a customer group; did you mean name?",
        id="a group's",
    ),
    pytest.param(
        "custom.fields.points",
        "reads custom.fields.points; here it is written without fields: custom.points",
        id="JSON's",
    ),
    pytest.param(
        "address.custom.fields.floor",
        "reads address.custom.fields.floor; here it is written without fields: address.custom.floor",
        id="JSON's in an address",
    ),
    pytest.param(
        "custom", "reads custom, which names no custom field: write custom.NAME, of 2 to 36 characters", id="no name"
    ),
    pytest.param(
        "custom.x",
        "reads custom.x, which names no custom field: write custom.NAME, of 2 to 36 characters",
        id="a short name",
    ),
    pytest.param(
        "custom.a.b",
        "reads custom.a.b, which names no custom field: write custom.NAME, of 2 to 36 characters",
        id="a long path",
    ),
    pytest.param(
        "custom.über",
        "reads custom.über, which names no custom field: write custom.NAME, of 2 to 36 characters",
        id="an umlaut",
    ),
    pytest.param("password", "cannot be sent: password", id="the password"),
    pytest.param("password.x", "cannot be sent: password", id="a part of the password"),
    pytest.param("custom.password", "cannot be sent: password", id="a custom field that is a password"),
]


@pytest.mark.parametrize(("path", "sentence"), PATHS)
def test_a_path_that_does_not_exist_is_told_wherever_it_stands(path: str, sentence: str) -> None:
    end = "" if sentence.endswith("?") else "."

    for key, text in {
        "identify.traits.x": a_trait(f'"{path}"'),
        "identify.traits.x.from": a_rule(**{"from": f'"{path}"'}),
        "identify.anonymous_id": an_identify(f'#\n#\nanonymous_id = "{path}"'),
        "consent.categories.A": a_consent(f'#\n#\ncategories.A = "{path}"'),
    }.items():
        assert mistakes_in(text) == [f"5: {key} {sentence}{end}"]


def test_every_sentence_of_the_loader_is_in_the_table() -> None:
    tree = ast.parse(Path(mapping_file.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "wrong" in ast.unparse(node.func)]
    told = "\n".join(sentence for _, _, sentences in MISTAKES for sentence in sentences)

    texts = (
        [
            part.value
            for part in ast.walk(call.args[1])
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        for call in calls
    )
    said = [max(parts, key=len) for parts in texts if parts]
    assert len(said) > 40
    assert [sentence for sentence in said if sentence not in told] == []


def test_what_is_not_at_fault_is_not_quoted() -> None:
    text = a_rule(
        **{"from": '"custom.secretOne"', "as": '"numbr"', "default": '"secretTwo"'}, values='{ a = "secretThree" }'
    )

    assert "secret" not in "\n".join(mistakes_in(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(an_identify(f'exclude = ["{"y" * 5000}"]'), id="a long name"),
        pytest.param(an_identify('exclude = ["\\u202egnirts\\n\\u0007"]'), id="an invisible name"),
        pytest.param(a_trait(f'"custom.{"y" * 5000}"'), id="a long path"),
        pytest.param(a_trait('"custom.\\u202e\\n\\u0007"'), id="an invisible path"),
        pytest.param(a_rule(expr=f'"{"y" * 5000}(email)"'), id="a long function"),
        pytest.param(an_identify(f'"{"y" * 5000}" = 1'), id="a long key"),
    ],
)
def test_a_mistake_is_one_short_line_whatever_is_in_the_file(text: str) -> None:
    [sentence] = mistakes_in(text)

    assert sentence.isprintable()
    assert len(sentence) < 400


def test_the_built_in_mapping_has_no_expressions() -> None:
    text = toml_of(a_rule(expr='"email"').encode(), "defaults.toml")

    with pytest.raises(Mistakes, match="cannot be in the built-in mapping"):
        mapping_of(text, lambda _text: BadExpression("cannot be in the built-in mapping"))


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["without a mark", "with a byte order mark"])
def test_a_valid_file_may_come_from_any_editor(newline: str, mark: str) -> None:
    text = mark + some_traits('points = "custom.points"\n').replace("\n", newline)

    assert mapping(text).effective == mapping(some_traits('points = "custom.points"')).effective


# ---- a valid file


def test_a_file_adds_to_the_built_in_traits() -> None:
    shop = mapping(some_traits('points = "custom.points"\n"company.vatId" = "vatId"\nphone = "address.phone"'))

    by_name = {trait.name: trait for trait in shop.identify.traits}
    assert list(by_name) == [*(trait.name for trait in built_in_mapping().identify.traits), "points"]
    assert list(by_name["company"].parts) == ["name", "vatId"]
    assert [path.text for path in by_name["phone"].parts[""].paths] == ["address.phone"]
    assert shop.name == "m.toml"
    assert shop.consent is None


@pytest.mark.parametrize(
    ("lines", "gone"),
    [
        pytest.param('exclude = ["birthday"]', {"birthday"}, id="a trait"),
        pytest.param('exclude = ["company"]', {"company"}, id="an object"),
        pytest.param('exclude = ["company.name"]', {"company"}, id="its only part"),
        pytest.param('exclude = ["address.city"]', set(), id="one of many parts"),
        pytest.param('exclude = ["birthday"]\nretired = ["birthday"]', {"birthday"}, id="excluded and retired"),
    ],
)
def test_an_excluded_trait_is_not_there(lines: str, gone: set[str]) -> None:
    built_in = {trait.name for trait in built_in_mapping().identify.traits}

    assert {trait.name for trait in mapping(an_identify(lines)).identify.traits} == built_in - gone


def test_an_excluded_part_leaves_the_others() -> None:
    shop = mapping(an_identify('exclude = ["address.city", "address.street"]'))

    address = next(trait for trait in shop.identify.traits if trait.name == "address")
    assert set(address.parts) == {"state", "postalCode", "country"}


def test_without_defaults_only_what_is_listed_is_there() -> None:
    shop = mapping(an_identify('defaults = false\ntraits."company.vatId" = "vatId"'))

    assert [(trait.name, list(trait.parts)) for trait in shop.identify.traits] == [("company", ["vatId"])]


@pytest.mark.parametrize(
    ("lines", "on"),
    [("", CHANGES), ('on = ["updated"]', {"updated"}), ('on = ["updated", "created"]', CHANGES)],
    ids=["unset", "one", "both"],
)
def test_on_says_which_changes_are_handled(lines: str, on: set[str]) -> None:
    assert mapping(an_identify(lines)).identify.on == on


@pytest.mark.parametrize("text", ["version = 1", "version = 1\n[identify]\ndefaults = true\n[identify.traits]\n"])
def test_a_file_that_changes_nothing_gives_the_events_of_none(text: str) -> None:
    rules = IdentifyRules(mapping=mapping(text))

    assert rules.fingerprint == IdentifyRules().fingerprint
    assert transform_customer_to_segment(a_customer(), rules) == transform_customer_to_segment(a_customer())


# ---- the fingerprint

WHOLE = """\
version = 1
[identify]
on           = ["created", "updated"]
exclude      = ["birthday"]
retired      = ["loyaltyLevel", "old"]
locales      = ["de-DE", "de", "en"]
anonymous_id = "custom.segmentAnonymousId"
external_ids = { crm_id = "externalId", number = "customerNumber" }
[identify.traits]
points   = { from = "custom.points", as = "number", default = 0 }
greeting = { from = "custom.greeting", as = "localized" }
tier     = { from = ["custom.tier", "custom.level"], values = { gold = "Gold", silver = "Silber" }, max = 10 }
vip      = { expr = "custom.points > `1000`", clear = true }
source   = { value = "shop" }
"company.vatId" = "vatId"
"company.size"  = "custom.size"
[consent]
unknown = false
send = ["Advertising"]
withdrawn = "tell"
event = true
[consent.categories]
Advertising = "custom.ads"
Analytics = { value = true }
"""
TURNED = """\
version = 1   # a comment
[consent]
event = true
withdrawn = "tell"
send = ["Advertising"]
[consent.categories]
Analytics = { value = true }
Advertising = { from = "custom.ads" }
[identify.traits]
"company.size"  = "custom.size"
"company.vatId" = "vatId"
source   = { value = "shop" }
vip      = { clear = true, expr = "custom.points > `1000`" }
tier     = { max = 10, from = ["custom.tier", "custom.level"], values = { silver = "Silber", gold = "Gold" } }
greeting = { as = "localized", from = "custom.greeting" }
points   = { default = 0, from = ["custom.points"], as = "number" }

[identify]
external_ids = { number = "customerNumber", crm_id = "externalId" }
anonymous_id = "custom.segmentAnonymousId"
locales      = ["de-DE", "de", "en"]
retired      = ["old", "loyaltyLevel"]
exclude      = ["birthday"]
on           = ["updated", "created"]
"""


def test_comments_and_the_order_of_keys_change_neither_fingerprint_nor_event() -> None:
    first, second = (IdentifyRules(mapping=mapping(text)) for text in (WHOLE, TURNED))
    fields = {"points": 7, "size": 3, "ads": True, "greeting": {"de": "Hallo"}, "segmentAnonymousId": "a-1"}
    customer = a_customer(custom={"type": {"typeId": "type", "id": "t"}, "fields": fields})

    assert first.fingerprint == second.fingerprint
    # In JSON, so that the order counts, which the messageId depends on.
    assert json.dumps(transform_customer_to_segment(customer, first), default=str) == json.dumps(
        transform_customer_to_segment(customer, second), default=str
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('on           = ["created", "updated"]', 'on = ["created"]', id="on"),
        pytest.param('exclude      = ["birthday"]', "", id="exclude"),
        pytest.param('retired      = ["loyaltyLevel", "old"]', 'retired = ["old"]', id="retired"),
        pytest.param('["de-DE", "de", "en"]', '["en", "de-DE", "de"]', id="locales"),
        pytest.param("custom.segmentAnonymousId", "custom.anonymousId", id="anonymous_id"),
        pytest.param('crm_id = "externalId"', 'crm_id = "key"', id="external_ids"),
        pytest.param('points   = { from = "custom.points"', 'score = { from = "custom.points"', id="a name"),
        pytest.param('from = "custom.points"', 'from = "custom.score"', id="from"),
        pytest.param('["custom.tier", "custom.level"]', '["custom.level", "custom.tier"]', id="the order of from"),
        pytest.param('as = "number"', 'as = "text"', id="as"),
        pytest.param("default = 0", "default = false", id="default"),
        pytest.param(", default = 0", "", id="no default"),
        pytest.param('gold = "Gold"', 'gold = "gold"', id="values"),
        pytest.param("max = 10", "max = 11", id="max"),
        pytest.param("`1000`", "`1001`", id="expr"),
        pytest.param(", clear = true", ", clear = false", id="clear"),
        pytest.param(", clear = true", "", id="no clear"),
        pytest.param('value = "shop"', "value = 1", id="value"),
        pytest.param("unknown = false", "unknown = true", id="unknown"),
        pytest.param('withdrawn = "tell"', 'withdrawn = "nothing"', id="withdrawn"),
        pytest.param("event = true", "event = false", id="event"),
        pytest.param('send = ["Advertising"]', 'send = ["Advertising", "Analytics"]', id="send"),
        pytest.param('Advertising = "custom.ads"', 'Advertising = "custom.adverts"', id="a category"),
        pytest.param("Analytics = { value = true }", "", id="a category less"),
        pytest.param('"company.vatId" = "vatId"', "", id="a part less"),
    ],
)
def test_every_effective_change_changes_the_fingerprint(before: str, after: str) -> None:
    assert WHOLE.count(before) == 1

    changed = IdentifyRules(mapping=mapping(WHOLE.replace(before, after)))

    assert changed.fingerprint != IdentifyRules(mapping=mapping(WHOLE)).fingerprint


# ---- the start


def test_the_service_does_not_start_with_a_file_of_mistakes_and_names_them_beside_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(an_identify("default = true\nlocals = []"))
    environment = an_environment(MAPPING_FILE=str(path), PORT="0", ORDERS="perhaps")

    service = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "python:service.serving.gunicorn_conf"],
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert service.returncode == 2
    assert (service.stdout + service.stderr).splitlines() == [
        "The service cannot start:",
        "ORDERS must be one of off, on.",
        "mapping.toml:3: identify.default is no setting; did you mean defaults?",
        "mapping.toml:4: identify.locals is no setting; did you mean locales?",
    ]


def rules_of(text: str, **changes: Any) -> IdentifyRules:  # noqa: ANN401  # any setting
    return identify_rules_by(some_settings(mapping_file=toml_of(text.encode(), "m.toml"), **changes))


GATED = a_consent('send = ["A"]\nwithdrawn = "WITHDRAWN"\ncategories.A = "custom.ads"')


def test_what_only_other_settings_make_wrong_is_told_too() -> None:
    with pytest.raises(ConfigError, match=r"^consent\.withdrawn = \"tell\" sends the user id .* must not be email\.$"):
        rules_of(GATED.replace("WITHDRAWN", "tell"))
    with pytest.raises(ConfigError, match=r"^consent\.withdrawn = \"suppress\" needs SEGMENT_PUBLIC_API_TOKEN\.$"):
        rules_of(GATED.replace("WITHDRAWN", "suppress"))


@pytest.mark.parametrize(
    ("withdrawn", "changes"),
    [
        pytest.param(Withdrawn.NOTHING, {}, id="nothing"),
        pytest.param(Withdrawn.TELL, {"segment_user_id": UserIdField.ID}, id="tell"),
        pytest.param(Withdrawn.SUPPRESS, {"segment_public_api_token": "a-token"}, id="suppress"),
    ],
)
def test_with_the_settings_it_needs_it_is_in_force(withdrawn: Withdrawn, changes: dict[str, Any]) -> None:
    consent = rules_of(GATED.replace("WITHDRAWN", withdrawn), **changes).mapping.consent

    assert consent is not None
    assert consent.withdrawn is withdrawn


def test_the_rules_have_a_fingerprint_of_the_write_key_and_not_the_key() -> None:
    rules = identify_rules_by(some_settings(segment=SegmentSettings(write_key="canary-write-key")))

    assert "canary" not in repr(rules)
    assert re.fullmatch("[0-9a-f]{16}", rules.source)
    assert rules == replace(IdentifyRules(), source=rules.source)


# ---- the schema

WHAT_NO_SCHEMA_SAYS = re.compile(
    r"cannot be sent: password"
    r"|are one trait to Segment \(|only Segment sets|is an object at Segment|cannot be: Segment's"
    r"|is a person's job at Segment|is localized and has no locales"
    r'|(?:traits|categories)\.(?:"[^"]*"|[^.]+)\.expr (?!must be|is no setting)'
    r"|for which there is a rule too|has the built-in trait|which is not in consent\.categories|makes \d+ traits"
    r"|cannot be key here|has no use with send|is a value, and .* is a part of it|must be a number that JSON can write"
)
"""The mistakes that a schema cannot say, by their sentences."""


def test_the_schema_is_one_of_draft_4_which_editors_know() -> None:
    DRAFT_4.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-04/schema#"
    assert {"const", "if", "then", "else", "$defs", "contains", "propertyNames"}.isdisjoint(keys_of(SCHEMA))


def keys_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    return {key for inner in value for key in keys_of(inner)} if isinstance(value, list) else set()


def agree(file: Mapping[str, Any]) -> None:
    text = toml_text(file)
    values = toml_of(text.encode(), "m.toml").values
    mistakes = mistakes_in(text)

    accepted = BY_SCHEMA.is_valid(values)

    assert accepted is all(WHAT_NO_SCHEMA_SAYS.search(mistake) for mistake in mistakes), mistakes


@given(mapping_files)
def test_a_valid_file_is_one_to_the_loader_and_to_the_schema(file: dict[str, Any]) -> None:
    assert mistakes_in(toml_text(file)) == []
    assert list(BY_SCHEMA.iter_errors(file)) == []


@settings(max_examples=100)
@given(wrong_mapping_files())
def test_the_loader_and_the_schema_agree(file: dict[str, Any]) -> None:
    agree(file)


@pytest.mark.parametrize("text", [pytest.param(text, id=id_) for id_, text, _ in MISTAKES])
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    agree(toml_of(text.encode(), "m.toml").values)


def named_in(*keys: str) -> Any:  # noqa: ANN401  # a part of the schema
    part: Any = SCHEMA
    for key in keys:
        part = part[int(key)] if isinstance(part, list) else part[key]
    return part


def test_the_schema_has_every_path_and_no_other() -> None:
    pattern = re.compile(named_in("definitions", "path", "pattern"))
    words = set(re.findall(r"[A-Za-z]+", pattern.pattern)) | {"password", "phon"}
    roots = ("address", "billingAddress", "shippingAddress", "customerGroup", "custom", "password", "stores")
    texts = {*words, *(f"{root}.{word}" for root in roots for word in {*words, "custom.abc", "custom.a", "custom"})}
    every = {
        *CUSTOMER_FIELDS,
        *(f"address.{name}" for name in ADDRESS_FIELDS),
        *(f"customerGroup.{name}" for name in GROUP_FIELDS),
    }

    assert {text for text in texts if pattern.search(text)} - {"custom.password"} == {
        text for text in texts if not isinstance(path_of(text), NoSuchPath)
    }
    assert {text for text in every if not pattern.search(text)} == set()


def test_the_schema_has_the_words_of_the_code() -> None:
    kinds = [
        rule["properties"]["as"]["enum"]
        for rule in named_in("definitions", "rule", "oneOf")
        if "as" in rule.get("properties", {})
    ]
    built_in = built_in_mapping().identify.traits
    parts = [f"{trait.name}.{part}" for trait in built_in for part in trait.parts if part]

    assert kinds == [list(As), list(As)]
    assert named_in("properties", "consent", "properties", "withdrawn", "enum") == list(Withdrawn)
    identify = named_in("properties", "identify", "properties")
    assert set(identify["exclude"]["items"]["enum"]) == {*(trait.name for trait in built_in), *parts}
    assert set(identify["on"]["items"]["enum"]) == CHANGES


@given(st.text(max_size=10) | st.from_regex(r"[a-z_]{1,5}(\.[a-z]{1,3})?", fullmatch=True))
def test_the_schema_has_the_patterns_of_the_code(name: str) -> None:
    if "\n" in name:  # Python's $ fits before a last line break, a schema's does not
        return
    agree({"version": 1, "identify": {"traits": {name: "key"}}})
    agree({"version": 1, "identify": {"retired": [name], "external_ids": {name: "key"}}})
    agree({"version": 1, "consent": {"categories": {name: "key"}}})
    agree({"version": 1, "identify": {"locales": [name], "anonymous_id": f"custom.{name}"}})


def test_a_file_full_of_mistakes_tells_the_first_hundred_and_how_many_there_are_more() -> None:
    told = mistakes_in("version = 1\n[identify.traits]\n" + "".join(f'a{number} = "x"\n' for number in range(150)))

    assert len(told) == 101
    assert told[-1].strip() == "there are 50 mistakes more."
