"""Consent: what a preference is, who is told what without it, and that no event goes without its consent object."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.commercetools import read_customer
from service.config import UserIdField
from service.segment.client import create_segment_client
from service.segment.types import Events, SegmentEvent, Suppression
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules
from service.transformation.customer import customer_events
from service.transformation.rules import shop_mapping
from tests.builders import CUSTOMER_ID, PROJECT, a_customer, sample
from tests.strategies import CATEGORIES, CUSTOM_FIELDS, consents, customers, json_values, odd_texts, toml_text

MISSING = object()
CATEGORY_RULES = """
[consent.categories]
Advertising = "custom.ads"
Analytics = "custom.analytics"
Functional = { value = true }
"""


def rules(consent: str, categories: str = CATEGORY_RULES, *, salt: str = "") -> IdentifyRules:
    text = f'version = 1\n[identify.traits]\npoints = "custom.points"\n[consent]\n{consent}\n{categories}'
    return IdentifyRules(user_id=UserIdField.ID, salt=salt, mapping=shop_mapping(toml_of(text.encode(), "m.toml")))


def events_of(customer: Mapping[str, Any], by: IdentifyRules) -> Events:
    return customer_events(read_customer(customer, by.mapping.named), by, PROJECT)


def with_custom(version: int = 1, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    there = {name: value for name, value in fields.items() if value is not MISSING}
    return a_customer(version=version, custom={"type": {}, "fields": there})


def preferences(event: SegmentEvent) -> Any:  # noqa: ANN401  # what the event says
    return event.payload["context"]["consent"]["categoryPreferences"]


# ---- a preference

GIVEN: list[tuple[Any, bool | None]] = [
    (True, True),
    (False, False),
    (MISSING, None),
    (None, None),
    ("true", None),
    ("", None),
    (1, None),
    (0, None),
    ({"Advertising": True}, None),
    ([True], None),
    ([], None),
]
"""What a custom field can hold, and the preference; None: it is not known."""


def ids(value: object) -> str:
    return "missing" if value is MISSING else repr(value)


@pytest.mark.parametrize("unknown", ["true", "false"])
@pytest.mark.parametrize(("raw", "preference"), GIVEN, ids=ids)
def test_every_category_is_there_with_a_real_boolean(raw: object, preference: object, unknown: str) -> None:
    [event] = events_of(with_custom(ads=raw, analytics=True), rules(f"unknown = {unknown}")).events

    said = preferences(event)
    otherwise = unknown == "true"
    assert said == {
        "Advertising": otherwise if preference is None else preference,
        "Analytics": True,
        "Functional": True,
    }
    assert {type(value) for value in said.values()} == {bool}


@pytest.mark.parametrize(
    ("rule", "raw", "preference"),
    [
        pytest.param('{ from = "custom.ads", values = { yes = true, no = false } }', "yes", True, id="a word for true"),
        pytest.param(
            '{ from = "custom.ads", values = { yes = true, no = false } }', "no", False, id="a word for false"
        ),
        pytest.param('{ from = "custom.ads", values = { yes = true } }', "maybe", False, id="a word for nothing"),
        pytest.param('{ from = "custom.ads", values = { 1 = true } }', 1, True, id="a number"),
        pytest.param('{ from = ["custom.gone", "custom.ads"] }', True, True, id="the second path"),
        pytest.param('{ expr = "custom.ads == `1` && isEmailVerified" }', 1, True, id="an expression"),
        pytest.param('{ expr = "custom.ads > `1`" }', "many", False, id="an expression that cannot be evaluated"),
        pytest.param("{ value = false }", True, False, id="a fixed value"),
        pytest.param('{ from = "custom.ads", values = { yes = true } }', "yes", True, id="a translated text"),
        pytest.param('{ from = "custom.ads", default = true }', None, True, id="a default"),
    ],
)
def test_a_category_can_have_a_rule(rule: str, raw: object, preference: object) -> None:
    [event] = events_of(with_custom(ads=raw), rules("", f"[consent.categories]\nA = {rule}")).events

    assert preferences(event) == {"A": preference}


# ---- who is told what: set by unset by malformed, by gate by withdrawn by version

IDENTIFY, TOLD, NOTHING, SUPPRESSED, UNSUPPRESSED = "identify", "tell", "nothing", "suppress", "identify, unsuppressed"


def ending(events: Events) -> str:
    if not events.events:
        assert events.reason == "no consent for Advertising"
        assert not events.warn
        return NOTHING if events.suppression is None else SUPPRESSED
    assert not events.reason
    [event] = events.events
    if event.payload["traits"] == {}:  # type: ignore[typeddict-item]  # an identify
        return TOLD
    return IDENTIFY if events.suppression is None else UNSUPPRESSED


@pytest.mark.parametrize(
    ("raw", "preference", "withdrawn", "version"),
    [
        pytest.param(raw, preference, withdrawn, version, id=f"{ids(raw)}, {withdrawn}, version {version}")
        for (raw, preference), withdrawn, version in itertools.product(GIVEN, [NOTHING, TOLD, SUPPRESSED], [1, 2])
    ],
)
def test_the_gate_is_closed_without_consent(raw: object, preference: object, withdrawn: str, version: int) -> None:
    customer = with_custom(version, ads=raw, analytics=True, points=7)

    gated = events_of(customer, rules(f'send = ["Advertising"]\nwithdrawn = "{withdrawn}"'))
    open_to_all = events_of(customer, rules(""))
    assumed = events_of(customer, rules(f'unknown = true\nsend = ["Advertising"]\nwithdrawn = "{withdrawn}"'))

    given_ending = UNSUPPRESSED if withdrawn == SUPPRESSED and version == 2 else IDENTIFY
    refused_ending = NOTHING if version == 1 else withdrawn
    assert ending(gated) == (given_ending if preference else refused_ending)
    assert ending(assumed) == (refused_ending if preference is False else given_ending)
    assert ending(open_to_all) == IDENTIFY


def test_who_has_withdrawn_is_told_with_no_traits_and_nothing_but_refusals() -> None:
    customer = with_custom(2, ads=False, analytics=True, points=7, anon="a-1")
    by = rules('send = ["Advertising"]\nwithdrawn = "tell"')

    [event] = events_of(customer, by).events

    payload = dict(event.payload)
    message_id = payload.pop("message_id")
    assert payload == {
        "user_id": CUSTOMER_ID,
        "traits": {},
        "context": {
            "active": False,
            "consent": {"categoryPreferences": {"Advertising": False, "Analytics": False, "Functional": False}},
        },
    }
    assert message_id == events_of(customer, by).events[0].payload["message_id"]
    assert message_id != events_of(customer | {"version": 3}, by).events[0].payload["message_id"]


def test_who_has_withdrawn_is_suppressed_and_who_consents_again_is_not() -> None:
    by = rules('send = ["Advertising"]\nwithdrawn = "suppress"')

    assert events_of(with_custom(2, ads=False), by).suppression == Suppression(CUSTOMER_ID, wanted=True)
    assert events_of(with_custom(2, ads=True), by).suppression == Suppression(CUSTOMER_ID, wanted=False)


def test_the_gate_names_all_that_is_missing_and_needs_all_of_it() -> None:
    by = rules('send = ["Advertising", "Analytics", "Functional"]')

    assert events_of(with_custom(ads=True), by).reason == "no consent for Analytics"
    assert events_of(with_custom(), by).reason == "no consent for Advertising, Analytics"
    assert events_of(with_custom(ads=True, analytics=True), by).events


# ---- a document

GOOD = '{"categoryPreferences": {"Advertising": true, "Analytics": false}}'
DOCUMENTS: list[tuple[Any, dict[str, bool]]] = [
    (GOOD, {"Advertising": True, "Analytics": False}),
    ('{"Advertising": true, "Analytics": false}', {"Advertising": True, "Analytics": False}),
    ('{"categoryPreferences": {"Advertising": true, "Analytics": "no"}}', {"Advertising": True}),
    ('{"categoryPreferences": {"Advertising": "true"}}', {}),
    ('{"categoryPreferences": {"Advertising": 1}}', {}),
    ('{"categoryPreferences": {}}', {}),
    ('{"categoryPreferences": null}', {}),
    ('{"categoryPreferences": [true]}', {}),
    ('["Advertising"]', {}),
    ("{}", {}),
    ("null", {}),
    ("true", {}),
    ("{", {}),
    ("", {}),
    ("[" * 5000, {}),
    ({"categoryPreferences": {"Advertising": True}}, {}),
    (7, {}),
    (None, {}),
    (MISSING, {}),
]


@pytest.mark.parametrize(("raw", "given"), [pytest.param(*one, id=ids(one[0])[:60]) for one in DOCUMENTS])
def test_a_document_gives_a_boolean_for_every_named_category(raw: object, given: dict[str, bool]) -> None:
    by = rules('from = "custom.consent"\ncategories = ["Advertising", "Analytics"]', "")

    [event] = events_of(with_custom(consent=raw), by).events

    assert preferences(event) == {"Advertising": False, "Analytics": False} | given


@pytest.mark.parametrize(("raw", "given"), [pytest.param(*one, id=ids(one[0])[:60]) for one in DOCUMENTS])
def test_without_named_categories_those_of_the_document_count_and_without_any_nothing_is_sent(
    raw: object, given: dict[str, bool]
) -> None:
    events = events_of(with_custom(consent=raw), rules('from = "custom.consent"', ""))

    if events.events:
        said = preferences(events.events[0])
        assert {name: value for name, value in said.items() if value} == {name: True for name in given if given[name]}
        assert said
        assert set(map(type, said.values())) == {bool}
    else:
        assert not given
        assert events.reason == "no consent could be read, and the mapping file names no category"
        assert events.warn


@pytest.mark.parametrize(
    ("raw", "unknown", "sent"),
    [
        pytest.param(GOOD, "false", True, id="given"),
        pytest.param('{"Advertising": false}', "false", False, id="refused"),
        pytest.param('{"Analytics": true}', "false", False, id="not in the document"),
        pytest.param('{"Analytics": true}', "true", True, id="not in the document, and taken for given"),
        pytest.param("{", "true", False, id="unreadable: nothing is known"),
        pytest.param(MISSING, "true", False, id="no document"),
    ],
)
def test_the_gate_holds_for_a_document_without_named_categories(raw: object, unknown: str, sent: object) -> None:
    by = rules(f'from = "custom.consent"\nsend = ["Advertising"]\nunknown = {unknown}', "")

    events = events_of(with_custom(2, consent=raw), by)

    assert bool(events.events) is sent
    assert all(preferences(event)["Advertising"] for event in events.events)


def test_the_document_of_a_real_shop_is_read() -> None:
    custom = sample("tcpl-order-with-consent-field.json")["custom"]

    [event] = events_of(a_customer(custom=custom), rules('from = "custom.consent"', "")).events

    assert preferences(event) == {"Advertising": True, "Analytics": False, "DataSharing": False, "Functional": True}


def test_the_order_in_a_document_changes_no_event() -> None:
    by = rules('from = "custom.consent"', "")

    first, second = (
        events_of(with_custom(consent=text), by) for text in ('{"A": true, "B": false}', '{"B": false, "A": true}')
    )

    assert first == second


# ---- Unify's event


def test_the_preference_event_has_nothing_but_ids_and_consent() -> None:
    by = rules("event = true")

    identify, track = events_of(with_custom(2, ads=True, points=7), by).events

    payload = dict(track.payload)
    assert str(payload.pop("message_id")).startswith("ct-consent-")
    assert (identify.call, track.call) == ("identify", "track")
    assert payload == {
        "event": "Segment Consent Preference Updated",
        "user_id": CUSTOMER_ID,
        "properties": {},
        "context": {
            "active": False,
            "consent": {"categoryPreferences": {"Advertising": True, "Analytics": False, "Functional": True}},
        },
    }


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        pytest.param({"version": 3}, True, id="another version"),
        pytest.param({"firstName": "Another"}, True, id="another trait"),
        pytest.param({"custom": {"fields": {"ads": True, "points": 9}}}, True, id="another field"),
        pytest.param({"custom": {"fields": {"ads": False}}}, False, id="another preference"),
        pytest.param({"custom": None}, False, id="no preference"),
        pytest.param({"id": "another"}, False, id="another customer"),
    ],
)
def test_the_preference_event_is_the_same_while_the_preferences_are(changes: dict[str, Any], same: object) -> None:
    by = rules("event = true")

    before, after = (
        events_of(customer, by).events[1].payload["message_id"]
        for customer in (with_custom(2, ads=True), with_custom(2, ads=True) | changes)
    )

    assert (before == after) is same


def test_a_salt_makes_both_message_ids_new() -> None:
    plain, salted = (
        events_of(with_custom(ads=True), rules("event = true", salt=salt)).events for salt in ("", "again")
    )

    assert {event.payload["message_id"] for event in plain}.isdisjoint(event.payload["message_id"] for event in salted)


def test_each_identify_is_followed_by_a_preference_event_a_withdrawal_too() -> None:
    by = rules('event = true\nsend = ["Advertising"]\nwithdrawn = "tell"')

    assert [event.call for event in events_of(with_custom(2, ads=False), by).events] == ["identify", "track"]
    assert [event.call for event in events_of(with_custom(2, ads=True), by).events] == ["identify", "track"]


def test_without_consent_in_the_file_no_event_has_any() -> None:
    by = IdentifyRules(mapping=shop_mapping(toml_of(b"version = 1", "m.toml")))

    [event] = events_of(a_customer(), by).events

    assert "consent" not in event.payload["context"]


# ---- the law

_preferences = st.dictionaries(
    st.sampled_from(CATEGORIES) | odd_texts, st.booleans() | json_values, max_size=4
) | st.fixed_dictionaries(
    {"categoryPreferences": st.dictionaries(st.sampled_from(CATEGORIES), st.booleans()) | json_values}
)
_documents = _preferences.map(json.dumps) | odd_texts | json_values
_custom = st.fixed_dictionaries(
    {"fields": st.dictionaries(st.sampled_from(CUSTOM_FIELDS), st.booleans() | _documents, max_size=8)}
)
CLIENT = create_segment_client("example-write-key")


def law(document: Mapping[str, Any], consent: Mapping[str, Any]) -> None:
    """No event leaves without its consent object, with every category a boolean; behind a gate, with its consent."""
    mapping = shop_mapping(toml_of(toml_text({"version": 1, "consent": consent}).encode(), "m.toml"))
    by = IdentifyRules(user_id=UserIdField.ID, mapping=mapping)

    events = events_of(document, by)

    assert bool(events.events) is not bool(events.reason)
    for event in events.events:
        said = preferences(event)
        assert said
        assert set(map(type, said.values())) == {bool}
        assert set(consent.get("categories", ())) <= set(said)
        assert set(event.payload["context"]["consent"]) == {"categoryPreferences"}
        gate = consent.get("send", [])
        told = consent.get("withdrawn") == "tell" and not any(said.values())
        assert told or all(said[name] for name in gate)
        if told and gate:
            assert not event.payload.get("traits")
            assert not event.payload.get("properties")
        assert CLIENT.event_for(event)[0]["context"]["consent"] == event.payload["context"]["consent"]


@given(customers, _custom | json_values, consents)
@example(a_customer(), {"fields": {"doc": GOOD}}, {"from": "custom.doc", "send": ["Advertising"]})
def test_no_event_leaves_without_its_consent(document: dict[str, Any], custom: object, consent: dict[str, Any]) -> None:
    law({**document, "id": CUSTOMER_ID, "custom": custom}, consent)


@given(_documents, st.booleans(), st.sampled_from([{}, {"send": ["Advertising"]}, {"event": True}]))
def test_no_document_makes_an_event_leave_without_its_consent(
    document: object, named: object, more: dict[str, Any]
) -> None:
    categories = {"categories": list(CATEGORIES)} if named else {}
    law(a_customer(custom={"fields": {"doc": document}}), {"from": "custom.doc", **categories, **more})
