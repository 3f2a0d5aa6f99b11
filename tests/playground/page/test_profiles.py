"""The ledger of what Segment got: profiles, where each trait came from, and events in the order of arrival."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from playground.page.playground import Playground
from playground.page.profiles import Profiles, origins_of
from playground.page.server import page_of
from playground.segment import SegmentStandIn

Event = dict[str, Any]


@pytest.fixture
def segment() -> Iterator[SegmentStandIn]:
    with SegmentStandIn() as running:
        yield running


@pytest.fixture
def profiles(segment: SegmentStandIn) -> Iterator[Profiles]:
    ledger = Profiles(SimpleNamespace(segment=segment))
    ledger.start()
    yield ledger
    ledger.stop()


def identify(message_id: str, user_id: str = "ada", **traits: object) -> Event:
    return {"type": "identify", "userId": user_id, "messageId": message_id, "traits": traits}


def completed(message_id: str, order_id: str = "o-1", user_id: str = "ada") -> Event:
    properties = {"order_id": order_id}
    event = "Order Completed"
    return {"type": "track", "event": event, "userId": user_id, "messageId": message_id, "properties": properties}


def post(segment: SegmentStandIn, *events: Event) -> None:
    body = {"batch": list(events), "writeKey": segment.write_key}
    requests.post(f"{segment.url}/v1/batch", json=body, timeout=10).raise_for_status()


def trait(profiles: Profiles, name: str, user_id: str = "ada") -> dict[str, Any]:
    return next(row for row in profiles.user(user_id)["profile"] if row["name"] == name)


def test_traits_are_merged_in_the_order_of_arrival_as_segment_does(segment: SegmentStandIn, profiles: Profiles) -> None:
    post(segment, identify("1", name="Ada", city="Bonn", address={"city": "Bonn", "street": "A 1"}))
    post(segment, identify("2", city=None, address={"city": "Ulm"}))

    assert profiles.traits_of("ada") == {"name": "Ada", "address": {"city": "Ulm"}} == segment.profiles["ada"]


def test_a_trait_says_which_event_told_it_last_and_which_changed_it(
    segment: SegmentStandIn, profiles: Profiles
) -> None:
    post(segment, identify("1", name="Ada", phone="1"), identify("2", name="Ada", phone="2"))

    name, phone = trait(profiles, "name"), trait(profiles, "phone")
    assert (name["event"], name["message_id"], name["changed_event"]) == (2, "2", 1)
    assert (phone["event"], phone["value"], phone["changed_event"]) == (2, "2", 2)


def test_a_cleared_trait_stays_visible_as_cleared(segment: SegmentStandIn, profiles: Profiles) -> None:
    post(segment, identify("1", phone="1"), identify("2", phone=None))

    phone = trait(profiles, "phone")
    assert (phone["cleared"], phone["value"], phone["event"]) == (True, None, 2)


def test_a_duplicate_is_shown_and_changes_nothing(segment: SegmentStandIn, profiles: Profiles) -> None:
    post(segment, identify("1", name="Ada"), identify("1", name="Eve"))

    assert profiles.traits_of("ada") == {"name": "Ada"}
    assert [row["dropped"] for row in profiles.events(None, 10)["events"]] == ["duplicate", ""]
    assert profiles.state()["duplicates"] == 1


def test_a_dropped_event_has_its_reason(segment: SegmentStandIn, profiles: Profiles) -> None:
    segment.suppress(["ada"])

    post(segment, identify("1"), {"type": "identify", "messageId": "2"})

    assert profiles.state()["dropped"] == {"suppressed": 1, "no_id": 1}
    assert profiles.state()["users"] == 0
    assert profiles.user("ada")["suppressed"] is True


def test_consent_and_groups_are_those_of_the_last_event_that_has_them(
    segment: SegmentStandIn, profiles: Profiles
) -> None:
    consent = {"categoryPreferences": {"Advertising": True}}
    post(segment, {**identify("1"), "context": {"consent": consent}}, identify("2"))
    post(segment, {"type": "group", "userId": "ada", "groupId": "g", "messageId": "3", "traits": {"name": "Acme"}})

    assert profiles.user("ada")["consent"] == consent
    assert profiles.user("ada")["groups"] == [{"id": "g", "traits": {"name": "Acme"}}]


def test_a_deleted_profile_leaves_its_events_only(segment: SegmentStandIn, profiles: Profiles) -> None:
    told: list[tuple[str, str]] = []
    profiles.when_told = lambda kind, of: told.append((kind, of))
    post(segment, identify("1", commercetoolsId="c-1"))

    segment.delete(["ada"])

    assert profiles.traits_of("ada") is None
    assert profiles.user("ada")["deleted"]
    assert profiles.user("ada")["profile"] == []
    assert [row["n"] for row in profiles.user("ada")["arrivals"]] == [1]
    assert told == [("customer", "c-1"), ("customer", "c-1")]


def test_a_user_that_never_was_is_unknown(profiles: Profiles) -> None:
    with pytest.raises(KeyError):
        profiles.user("nobody")


def test_users_are_found_by_id_address_and_name_the_last_changed_first(
    segment: SegmentStandIn, profiles: Profiles
) -> None:
    post(segment, identify("1", "u-1", email="ada@example.com", name="Ada Lovelace"), identify("2", "u-2", name="Bob"))
    post(segment, identify("3", "u-1"))

    assert [row["id"] for row in profiles.users("", 10)["users"]] == ["u-1", "u-2"]
    for search in ("u-1", "ADA@", " lovelace "):
        assert [row["id"] for row in profiles.users(search, 10)["users"]] == ["u-1"]
    assert profiles.users("", 1)["total"] == 2


def test_facts_about_an_order_count_once_each_also_for_a_suppressed_user(
    segment: SegmentStandIn, profiles: Profiles
) -> None:
    segment.suppress(["eve"])

    post(segment, completed("1"), completed("1"), completed("2", "o-2", "eve"))

    assert len(profiles.facts_of("o-1") or []) == len(profiles.facts_of("o-2") or []) == 1
    assert profiles.traits_of("ada") is None


def test_events_come_in_pages_the_newest_first(segment: SegmentStandIn, profiles: Profiles) -> None:
    post(segment, *(identify(str(number)) for number in range(1, 6)))

    first = profiles.events(None, 2)
    second = profiles.events(first["events"][-1]["n"], 10)

    assert ([row["n"] for row in first["events"]], first["more"]) == ([5, 4], True)
    assert ([row["n"] for row in second["events"]], second["more"]) == ([3, 2, 1], False)
    assert profiles.event(2)["event"]["messageId"] == "2"
    with pytest.raises(KeyError):
        profiles.event(6)


def test_events_of_any_form_are_taken(segment: SegmentStandIn, profiles: Profiles) -> None:
    odd = {"userId": "ada", "messageId": 7, "context": "none", "properties": [], "traits": None}

    post(segment, *({**odd, "type": kind} for kind in ("identify", "track", "group", "page")))

    assert profiles.state()["events"] == 4
    assert profiles.user("ada")["events"] == 4


def test_the_routes_give_users_events_and_404(tmp_path: Path) -> None:
    playground = Playground(tmp_path)  # nothing of it is started
    client = page_of(playground, token="t", port=8090, stopping=threading.Event()).test_client()
    for number in range(3):
        playground.profiles.on_event(identify(str(number), f"a/{number}@example.com", name="Ada"), "")

    def get(path: str) -> Any:  # noqa: ANN401  # any JSON
        return client.get(f"/t/api/segment/{path}", headers={"Host": "127.0.0.1:8090"}).get_json()

    assert [row["id"] for row in get("users?limit=2&search=ada")["users"]] == ["a/2@example.com", "a/1@example.com"]
    assert get("users/a%2F1%40example.com")["name"] == "Ada"
    assert [row["n"] for row in get("events?before=3&limit=1")["events"]] == [2]
    assert get("events/1")["event"]["messageId"] == "0"
    assert len(get("events?limit=-5")["events"]) == 1
    for unknown in ("users/nobody", "events/9"):
        assert get(unknown) == {"error": "It does not exist any more."}


def test_each_trait_says_which_field_of_commercetools_it_comes_from_and_why_it_is_not_sent() -> None:
    settings = {"SEGMENT_WRITE_KEY": "a-write-key", "PUSH_AUTH": "none", "SEGMENT_USER_ID": "id"}
    customer = {"id": "c-1", "version": 1, "email": "ada@example.com", "isEmailVerified": False, "addresses": []}

    origins = {one["name"]: one["why"] for one in origins_of(customer, settings)}

    assert origins["commercetoolsId"] == "id"
    assert "firstName" in origins["firstName"]
    assert origins["phone"].startswith("mobile, else phone, of the chosen address")
