"""A kind of resource costs one schema, one function and one row: reviews, of which the service itself knows nothing."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from playground.segment import SegmentStandIn
from playground.stand_in import Answer, Call, StandIn, answer, json_answer
from service.commercetools import CUSTOMER, Notification
from service.commercetools.client import CommercetoolsClient
from service.commercetools.resource import ResourceType
from service.config import CommercetoolsSettings
from service.integration import Integration, reading
from service.kinds import Kind, customers, included
from service.outcome import Ending, Outcome
from service.segment import SegmentClient, SegmentEvent, SegmentGroupPayload, SegmentTrackPayload
from service.segment.types import Events
from service.serving.decoding import Document, Inner, Plain, load
from service.transformation import IdentifyRules
from tests.builders import PROJECT, a_change, a_customer, a_message, a_push

# The schema


@dataclass(frozen=True, slots=True)
class Review:
    id: str
    version: int
    title: str | None
    rating: int | None
    author: str | None


class _AuthorSchema(Document):
    id = Plain(str)


class _ReviewSchema(Document):
    id = Plain(str, required=True)
    version = Plain(int, required=True)
    title = Plain(str)
    rating = Plain(int)
    author = Inner(_AuthorSchema, data_key="customer", load_default=None)


_REVIEW = _ReviewSchema()


def read_review(document: Mapping[str, Any]) -> Review:
    loaded = load(_REVIEW, document, "the review")
    author = loaded.pop("author") or {}
    return Review(author=author.get("id"), **loaded)


REVIEW = ResourceType("review", "reviews", read_review, expand=("customer", "target"), query_size=10)


# The function


def review_events(review: Review, notification: Notification, _salt: str) -> Events:
    if review.author is None:
        return Events(reason="the review has no author")
    about = f"{notification.project_key}-{review.id}-{review.version}"
    reviewed = SegmentTrackPayload(
        event="Product Reviewed",
        properties={"title": review.title},
        user_id=review.author,
        message_id=f"reviewed-{about}",
    )
    rated = SegmentGroupPayload(
        user_id=review.author,
        group_id=f"rated-{review.rating}",
        traits={"rating": review.rating},
        message_id=f"rated-{about}",
    )
    return Events((SegmentEvent("track", reviewed), SegmentEvent("group", rated)))


# The row


def the_row(client: CommercetoolsClient) -> dict[str, Kind[Review]]:
    return {REVIEW.type_id: Kind(REVIEW.name, reading(client)(REVIEW), review_events)}


class ReviewsStandIn(StandIn):
    """commercetools with nothing but reviews, by query and by id."""

    def __init__(self) -> None:
        super().__init__()
        self.reviews: dict[str, dict[str, Any]] = {}

    def respond(self, call: Call) -> Answer:
        if call.path == "/oauth/token":
            return json_answer(200, {"access_token": "token", "expires_in": 172_800})
        if call.path == f"/{PROJECT}/reviews":
            [where] = call.query["where"]
            return json_answer(200, {"results": [each for each in self.reviews.values() if f'"{each["id"]}"' in where]})
        found = self.reviews.get(call.path.removeprefix(f"/{PROJECT}/reviews/"))
        if found is not None:
            return json_answer(200, found)
        return json_answer(404, {"statusCode": 404, "errors": [{"code": "ResourceNotFound"}]})


@dataclass(frozen=True, slots=True)
class World:
    commercetools: ReviewsStandIn
    segment: SegmentStandIn
    integration: Integration

    def has(self, **changes: Any) -> None:  # noqa: ANN401  # any JSON
        review = a_review(**changes)
        self.commercetools.reviews[review["id"]] = review

    def handle(self, notification: Mapping[str, Any]) -> tuple[Ending, str]:
        return ending(self.integration.handle(a_push(notification), {}, time.monotonic() + 25))

    @property
    def queries(self) -> list[Mapping[str, list[str]]]:
        return [call.query for call in self.commercetools.calls if call.path.endswith("/reviews")]


@pytest.fixture
def world() -> Iterator[World]:
    with ReviewsStandIn() as commercetools, SegmentStandIn() as segment:
        client = CommercetoolsClient(
            CommercetoolsSettings(
                project_key=PROJECT,
                client_id="client",
                client_secret="secret",
                auth_url=commercetools.url,
                api_url=commercetools.url,
                scopes="view_reviews",
            )
        )
        send = SegmentClient(segment.write_key, segment.url).send
        yield World(commercetools, segment, Integration(send, the_row(client), project_key=PROJECT))


def ending(outcome: Outcome) -> tuple[Ending, str]:
    return outcome.ending, outcome.reason


def a_review(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    author = {"typeId": "customer", "id": "mira"}
    review = {"id": "review-1", "version": 2, "title": "Sturdy", "rating": 5, "customer": author, **changes}
    return {name: value for name, value in review.items() if value is not None}


def about(review_id: str = "review-1", **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return a_change(**{"resource": {"typeId": "review", "id": review_id}, "version": 2, **changes})


def test_a_review_is_read_and_its_events_leave_together_in_their_order(world: World) -> None:
    world.has()

    assert world.handle(about()) == (Ending.DELIVERED, "")

    track, group = world.segment.events
    assert (track["type"], track["event"], track["properties"]) == ("track", "Product Reviewed", {"title": "Sturdy"})
    assert (group["type"], group["groupId"], group["traits"]) == ("group", "rated-5", {"rating": 5})
    assert (track["userId"], group["userId"]) == ("mira", "mira")
    assert world.segment.call_count == 1
    [query] = world.queries
    assert query["expand"] == ["customer", "target"]


def test_a_resource_without_events_is_ignored_with_the_reason(world: World) -> None:
    world.has(customer=None)

    assert world.handle(about()) == (Ending.IGNORED, "the review has no author")

    assert world.segment.call_count == 0


def test_a_version_that_was_delivered_is_not_sent_again_and_a_newer_one_is(world: World) -> None:
    world.has()
    world.handle(about())
    assert world.handle(about())[0] is Ending.IGNORED
    world.has(version=3, title="Broken")

    assert world.handle(about(version=3)) == (Ending.DELIVERED, "")

    assert [event["properties"]["title"] for event in world.segment.events if event["type"] == "track"] == [
        *("Sturdy", "Broken")
    ]


def test_without_all_events_confirmed_nothing_is_delivered(world: World) -> None:
    world.has()
    world.segment.fail_next(answer(503))

    assert world.handle(about()) == (Ending.FAILED, "Segment answered 503")

    assert world.handle(about()) == (Ending.DELIVERED, "")
    assert len(world.segment.events) == 2


def test_an_event_that_segment_refuses_keeps_its_neighbour_from_nothing(world: World) -> None:
    world.has()
    respond = world.segment.respond
    world.segment.respond = lambda call: (  # type: ignore[method-assign]  # a Segment that takes no groups
        world.segment.refusal(400, None) if b"groupId" in call.body else respond(call)
    )

    assert world.handle(about()) == (Ending.REFUSED, "Segment answered 400")

    assert [event["type"] for event in world.segment.events] == ["track"]


def test_an_event_that_cannot_be_sent_keeps_its_neighbour_from_nothing(world: World) -> None:
    world.has(title="x" * 40_000)

    assert world.handle(about()) == (Ending.REFUSED, "the event is larger than Segment's 32 KiB")

    assert [event["type"] for event in world.segment.events] == ["group"]


def test_one_query_asks_for_as_many_as_the_type_says(world: World) -> None:
    for number in range(30):
        world.has(id=f"review-{number}")
    with ThreadPoolExecutor(30) as pool:
        endings = list(pool.map(world.handle, [about(f"review-{number}") for number in range(30)]))

    assert set(endings) == {(Ending.DELIVERED, "")}
    assert max(query["where"][0].count('"') // 2 for query in world.queries) <= 10


@pytest.mark.parametrize(
    ("notification", "expected"),
    [
        pytest.param(about("gone"), (Ending.IGNORED, "the review has been deleted since"), id="gone"),
        pytest.param(
            about(notificationType="ResourceDeleted"), (Ending.IGNORED, "the review was deleted"), id="ResourceDeleted"
        ),
        pytest.param(
            about(notificationType="Message", type="ReviewDeleted", resourceVersion=3),
            (Ending.IGNORED, "the review was deleted"),
            id="ReviewDeleted",
        ),
        pytest.param(
            about(projectKey="another"),
            (Ending.REFUSED, "about a review of another project than CTP_PROJECT_KEY"),
            id="another project's",
        ),
        pytest.param(about('" or "'), (Ending.REFUSED, "the review's id is none that commercetools gives"), id="no id"),
        pytest.param(
            about("broken"), (Ending.REFUSED, "the review is not valid: rating: Not a valid integer"), id="no review"
        ),
        pytest.param(
            about("review-1", version=9),
            (Ending.FAILED, "commercetools shows an older version than the notification's"),
            id="an older version",
        ),
        pytest.param(
            a_message(), (Ending.IGNORED, "about another resource: customer"), id="a kind that has no row here"
        ),
    ],
)
def test_the_words_of_an_outcome_are_those_of_the_kind(
    world: World, notification: dict[str, Any], expected: tuple[Ending, str]
) -> None:
    world.has()
    world.has(id="broken", rating="five")

    assert world.handle(notification) == expected

    assert world.segment.call_count == 0


def test_without_an_api_client_the_resource_that_a_message_includes_is_taken() -> None:
    with SegmentStandIn() as segment:
        kinds = {REVIEW.type_id: Kind(REVIEW.name, included(REVIEW), review_events)}
        integration = Integration(SegmentClient(segment.write_key, segment.url).send, kinds)
        created = about(notificationType="Message", type="ReviewCreated", resourceVersion=2, review=a_review())

        outcomes = [
            integration.handle(a_push(notification), {}, time.monotonic() + 25)
            for notification in (created, about(version=3))
        ]

        assert outcomes[0].ending is Ending.DELIVERED
        assert outcomes[1].ending is Ending.FAILED
        assert outcomes[1].reason.startswith("the notification brings no review, and the settings to read one")
        assert len(segment.events) == 2


def test_resources_of_two_kinds_under_one_id_do_not_stand_in_for_each_other() -> None:
    with SegmentStandIn() as segment:
        kinds: dict[str, Kind[Any]] = {
            REVIEW.type_id: Kind(REVIEW.name, included(REVIEW), review_events),
            CUSTOMER.type_id: customers(included(CUSTOMER), IdentifyRules()),
        }
        integration = Integration(SegmentClient(segment.write_key, segment.url).send, kinds)
        reviewed = about("same", notificationType="Message", type="ReviewCreated", resourceVersion=2)

        for notification in (
            reviewed | {"review": a_review(id="same")},
            a_message(customer=a_customer(id="same", version=2)),
        ):
            outcome = integration.handle(a_push(notification), {}, time.monotonic() + 25)
            assert outcome.ending is Ending.DELIVERED

        assert [event["type"] for event in segment.events] == ["track", "group", "identify"]
