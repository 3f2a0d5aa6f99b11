"""explain: anything that the service may be given, explained by the service's own code."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.shop import Shop
from service.config import UserIdField
from service.integration import integration_by
from service.operations import Exit, command_settings
from service.operations.explain import Explanation, explained
from service.operations.origins import SOURCES
from service.outcome import Ending
from service.segment.types import SegmentEvent, SegmentIntegrationResult
from service.transformation import transform_customer_to_segment
from tests.builders import (
    CUSTOMER_ID,
    PROJECT,
    a_change,
    a_cloud_event,
    a_customer,
    a_message,
    a_push,
    samples,
)
from tests.operations.commands import ROOT, run, settings_for

CTP = {
    "CTP_PROJECT_KEY": PROJECT,
    "CTP_CLIENT_ID": "client",
    "CTP_CLIENT_SECRET": "canary-secret",
    "CTP_AUTH_URL": "http://127.0.0.1:9",
    "CTP_API_URL": "http://127.0.0.1:9",
    "CTP_SCOPES": "view_customers:example-shop",
}


def explanation_of(document: object, **environment: str) -> Explanation:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return explained(body, command_settings({"SEGMENT_WRITE_KEY": "example-write-key", **environment}), read=False)


def test_a_push_is_explained_from_its_envelope_to_the_identify_that_segment_would_get(tmp_path: Path) -> None:
    file = tmp_path / "push.json"
    file.write_bytes(a_push(a_message(), deliveryAttempt=3))

    ended = run("explain", str(file), settings=settings_for())

    assert ended.code == Exit.DONE
    for words in (
        "the body of a push",
        "2070443601311540",
        "attempt 3",
        "Message CustomerCreated, in Platform format",
        f"customer {CUSTOMER_ID}, version 1",
        "outcome Delivered",
        "firstName Mira",
        '"messageId": "ct-identify-',
        '"userId": "11111111-2222-4333-8444-555555555555"',
    ):
        assert words in ended.said, ended.said
    assert "example-write-key" not in ended.said


def test_standard_input_and_json_are_for_machines() -> None:
    ended = run("explain", "--json", given=json.dumps(a_change()), settings=settings_for() | CTP)

    document = ended.document
    assert ended.code == Exit.ATTENTION
    assert document["outcome"] == "unknown"
    assert document["reason"] == "the service reads the customer from commercetools now; --read does so here"
    assert document["what"]["notification"] == "ResourceUpdated, in Platform format"
    assert document["event"] is None


def test_read_reads_the_customer_as_it_is_now() -> None:
    with CommercetoolsStandIn(Shop()) as commercetools:
        customer = commercetools.shop.create(firstName="Now")
        change = a_change(projectKey="demo-shop", resource={"typeId": "customer", "id": customer["id"]}, version=1)
        settings = settings_for(commercetools=commercetools)
        ended = run("explain", "--read", "--json", "-", given=json.dumps(change), settings=settings)

    assert ended.code == Exit.DONE
    assert ended.document["event"]["traits"]["firstName"] == "Now"


def test_read_without_an_api_client_is_a_mistake_in_the_configuration() -> None:
    ended = run("explain", "--read", given="{}", settings=settings_for())

    assert ended.code == Exit.UNUSABLE
    assert "CTP_PROJECT_KEY" in ended.err


def test_without_a_write_key_the_message_id_is_said_to_be_another() -> None:
    ended = run("explain", given=json.dumps(a_message()))

    assert ended.code == Exit.DONE
    assert "not that of live events, which needs SEGMENT_WRITE_KEY." in ended.said


@pytest.mark.parametrize(
    ("given", "ending", "reason"),
    [
        pytest.param(b"not JSON", Ending.REFUSED, "the push body is not JSON", id="garbage"),
        pytest.param(a_push(b"\xff"), Ending.REFUSED, "the message's data is not JSON", id="garbage in an envelope"),
        pytest.param(
            a_change(resource={"typeId": "order", "id": "1"}),
            Ending.IGNORED,
            "about an order, and ORDERS is off",
            id="an order",
        ),
        pytest.param(
            a_cloud_event(a_change(notificationType="ResourceDeleted")),
            Ending.IGNORED,
            "the customer was deleted (ERASURE is off)",
            id="a deletion",
        ),
        pytest.param(a_cloud_event(a_message()), Ending.DELIVERED, "", id="a CloudEvent"),
        pytest.param(a_customer(), Ending.DELIVERED, "", id="a customer"),
        pytest.param(
            a_customer(email=None),
            Ending.IGNORED,
            "the customer has no email, which is to be the userId",
            id="a customer without an address",
        ),
        pytest.param(
            a_customer(firstName=7),
            Ending.REFUSED,
            "the customer is not valid: firstName: Not a valid string",
            id="a customer that is none",
        ),
        pytest.param(
            a_customer(companyName="x" * 40_000),
            Ending.REFUSED,
            "the event is larger than Segment's 32 KiB",
            id="a customer too large",
        ),
    ],
)
def test_each_kind_of_thing_has_its_outcome_and_the_reason(given: object, ending: Ending, reason: str) -> None:
    explanation = explanation_of(given)

    assert (explanation.ending, explanation.reason) == (ending, reason)
    assert (explanation.exit_code is Exit.DONE) == (ending in {Ending.DELIVERED, Ending.IGNORED})


def test_a_customer_of_another_project_is_refused_as_the_service_would() -> None:
    explanation = explanation_of(a_message(projectKey="another-shop"), **CTP)

    assert explanation.ending is Ending.REFUSED
    assert "another project" in explanation.reason


def test_an_erasure_is_shown_and_not_made() -> None:
    explanation = explanation_of(
        a_change(notificationType="ResourceDeleted", dataErasure=True),
        SEGMENT_USER_ID="id",
        ERASURE="requested",
        SEGMENT_PUBLIC_API_TOKEN="canary-token",
        SEGMENT_PUBLIC_API_URL="http://127.0.0.1:9",
    )

    assert explanation.ending is Ending.DELIVERED
    assert explanation.erased == CUSTOMER_ID


def test_what_would_become_a_dead_letter_is_said_to_and_is_not_published() -> None:
    explanation = explanation_of(b"not JSON", DEAD_LETTER_TOPIC="projects/p/topics/t")

    assert explanation.ending is Ending.REFUSED
    assert "in the dead-letter topic" in explanation.notes[0]


def test_each_missing_trait_has_the_field_that_it_would_come_from() -> None:
    explanation = explanation_of(a_customer(firstName=None, lastName=None, customerNumber=None, addresses=[]))
    traits = {one.name: (one.value, one.why) for one in explanation.traits}

    assert traits["firstName"] == (None, "firstName: absent; not sent, Segment keeps its own")
    assert traits["customerNumber"] == (None, "customerNumber: absent; null, Segment clears it")
    assert "the chosen address (there is no address): absent" in traits["phone"][1]
    assert traits["email"] == ("Mira.Example@example.com", "email")
    cleared_by_all = "SEGMENT_CLEAR_TRAITS=all would clear what is not sent: firstName, lastName, name, phone, address."
    assert cleared_by_all in explanation.notes


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        pytest.param({"customer": a_customer()}, "an answer of commercetools' API: the customer in it", id="a sign-up"),
        pytest.param(
            {"limit": 20, "results": [a_customer()]},
            "an answer of commercetools' API: the customer in it",
            id="a query",
        ),
        pytest.param(
            {"results": [a_customer(), a_customer(id="other"), a_customer(id="third")]},
            "an answer of commercetools' API: the first of its 3 customers",
            id="a query with several",
        ),
        pytest.param(
            {"data": {"customer": a_customer()}},
            "an answer of commercetools' GraphQL API: the customer in it",
            id="GraphQL",
        ),
        pytest.param(
            {"data": {"customers": {"results": [a_customer()]}}},
            "an answer of commercetools' GraphQL API: the customer in it",
            id="a query with GraphQL",
        ),
        pytest.param(
            {"id": CUSTOMER_ID, "version": 1, "reason": "x", "customer": a_customer()},
            "a backfill's reject: the customer in it",
            id="a reject",
        ),
    ],
)
def test_an_api_answer_is_explained_by_the_customer_in_it(answer: object, given: str) -> None:
    explanation, bare = explanation_of(answer), explanation_of(a_customer())

    assert explanation.what == [("given", given)]
    assert explanation.ending is Ending.DELIVERED
    assert explanation.event is not None
    assert bare.event is not None
    assert explanation.event["messageId"] == bare.event["messageId"]


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        pytest.param({"results": []}, "an answer of commercetools' API", id="no result"),
        pytest.param({"results": [{"id": "o", "version": 1, "lineItems": []}]}, "commercetools' API", id="orders"),
        pytest.param({"customer": {"typeId": "customer", "id": "c"}}, "commercetools' API", id="a reference"),
        pytest.param({"data": {"customer": None}}, "an answer of commercetools' GraphQL API", id="nobody"),
        pytest.param({"id": "c", "version": 1, "reason": "x"}, "a backfill's reject", id="a reject without data"),
    ],
)
def test_an_api_answer_without_a_customer_is_said_to_be_one(answer: object, given: str) -> None:
    explanation = explanation_of(answer)

    assert f"{given}: there is no customer in it" in explanation.what[0][1]
    assert explanation.ending is Ending.REFUSED


def test_an_order_is_not_taken_for_a_customer() -> None:
    assert explanation_of({"id": "o", "version": 1, "lineItems": []}).ending is Ending.REFUSED


def test_a_structured_eventarc_event_is_the_body_of_a_push() -> None:
    event = {
        "specversion": "1.0",
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
        "data": json.loads(a_push(a_message())),
    }

    explanation = explanation_of(event)

    assert explanation.what[0] == ("given", "the body of a push")
    assert explanation.ending is Ending.DELIVERED


def destinations_of(**changes: object) -> str:
    """What the notes say of destinations about a customer who has next to nothing but these changes."""
    plain = a_customer(firstName=None, lastName=None, addresses=[], companyName=None, version=1)
    return " ".join(note for note in explanation_of(plain | changes).notes if "default mapping" in note)


def test_what_destinations_are_known_to_refuse_or_misread_is_a_note() -> None:
    assert destinations_of() == ""
    assert "refuse an event with a company: see docs/destinations.md" in destinations_of(companyName="Example")
    assert "Attentive refuses an event with a null" in destinations_of(version=2, customerNumber=None)
    assert "do not find firstName, lastName:" in destinations_of(firstName="A", lastName="B")
    assert "address.postalCode" in destinations_of(addresses=[{"id": "a", "country": "DE", "postalCode": "10115"}])


def test_a_trait_from_an_address_names_the_address() -> None:
    traits = {one.name: one.why for one in explanation_of(a_customer()).traits}

    assert traits["phone"] == "mobile, else phone, of the chosen address (home)"


def test_every_trait_that_there_is_has_an_explanation() -> None:
    assert list(transform_customer_to_segment(a_customer())["traits"]) == list(SOURCES)


@pytest.mark.parametrize("document", [a_message(), a_cloud_event(a_message(customer=a_customer(version=4)))])
def test_the_event_is_the_one_that_the_service_sends(document: dict[str, Any]) -> None:
    settings = command_settings({"SEGMENT_WRITE_KEY": "example-write-key"}, SEGMENT_USER_ID=UserIdField.EMAIL)
    sent: list[SegmentEvent] = []

    def send(events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        sent.extend(events)
        return SegmentIntegrationResult()

    integration_by(settings, send=send).handle(json.dumps(document).encode(), {}, float("inf"))
    event = explanation_of(document).event

    assert event is not None
    [(_, payload)] = sent
    assert event["messageId"] == payload["message_id"]
    assert event["userId"] == payload["user_id"]
    assert event["traits"] == payload["traits"]  # type: ignore[typeddict-item]  # an identify has them


@pytest.mark.parametrize("path", samples("*.json"))
def test_no_real_document_is_beyond_explaining(path: Path) -> None:
    explanation = explanation_of(path.read_bytes(), **CTP)

    assert explanation.what


def test_the_page_shows_what_it_really_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.partition("\n## explain\n")[2].partition("\n## ")[0]
    customer, shown = re.findall(r"^```(?:json)?\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "customer.json").write_text(customer)

    ended = run("explain", "customer.json", settings={"SEGMENT_USER_ID": "id", "COLUMNS": "110"}, cwd=tmp_path)

    said = "\n".join(line.rstrip() for line in ended.out.splitlines())
    assert said.partition("What Segment gets")[0] == shown.partition("What Segment gets")[0]


def test_a_user_id_that_nobody_chose_is_said_to_be_the_services_default() -> None:
    body = json.dumps(a_customer())

    assert "SEGMENT_USER_ID is not set: email is the service's default." in run("explain", given=body).said
    assert "service's default" not in run("explain", given=body, settings={"SEGMENT_USER_ID": "id"}).said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "Nothing was given: name a FILE, or pipe JSON in."),
        (b'{"email": "canary",\n "id" }', "It is no JSON from line 2, column 7 on."),
    ],
    ids=["nothing", "no JSON"],
)
def test_what_is_no_json_is_said_to_be_that_and_where(given: bytes, said: str) -> None:
    ended = run("explain", given=given, settings={"SEGMENT_USER_ID": "id"})

    assert ended.code == Exit.ATTENTION
    assert said in ended.said
    assert "canary" not in ended.said
