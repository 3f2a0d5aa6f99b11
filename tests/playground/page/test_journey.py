"""The way of a message, over the real path: each step shows what Pub/Sub, commercetools and Segment saw of it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from playground.page.calls import Calls
from playground.page.journey import COMMERCETOOLS, PUBLIC_API, SEGMENT, journey_of
from playground.page.messages import Messages
from playground.stand_in import CLOSE_AFTER_READ, Answer, Call, StandIn, answer
from playground.world import SUBSCRIPTION, Line, LocalWorld

SPEED = 1000.0


class Path:
    """A world, its messages and its calls."""

    def __init__(self) -> None:
        self.messages = Messages()
        self.calls = Calls()
        self._line_came = threading.Condition()
        self.world = LocalWorld(
            speed=SPEED,
            shop_options={"population": 20, "changes": False},
            on_message=self.messages.on_message,
            on_push=self.messages.on_push,
            on_line=self._on_line,
        )

    def _on_line(self, line: Line) -> None:
        with self._line_came:
            self.messages.on_line(line)
            self._line_came.notify_all()

    def way(self, happens: Callable[[], object]) -> list[dict[str, Any]]:
        """Let something happen, and return the attempts of the first message about it, newest first."""
        before = len(self.world.published)
        happens()
        assert self.world.pubsub.wait_until_idle(30, SUBSCRIPTION)
        entry = self.messages.entry(self.world.published[before])
        assert entry is not None
        with self._line_came:  # it may come after the answer
            assert self._line_came.wait_for(lambda: len(entry.sentences) == len(entry.attempts), 30)
        attempts: list[dict[str, Any]] = journey_of(entry, self.calls)["attempts"]
        return attempts


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    one = Path()
    parties: tuple[tuple[str, StandIn], ...] = (
        (COMMERCETOOLS, one.world.commercetools),
        (SEGMENT, one.world.segment),
        (PUBLIC_API, one.world.public_api),
    )
    for party, stand_in in parties:
        one.calls.watch(party, stand_in)
    with one.world:
        yield one


def steps(attempt: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in attempt["steps"]}


def test_a_new_customer_is_seen_in_all_six_steps(path: Path) -> None:
    [attempt] = path.way(lambda: path.world.shop.create(email="jane@example.com", firstName="Jane"))

    found = steps(attempt)
    assert list(found) == ["Envelope", "Notification", "Read", "Events", "Calls", "Confirmation"]
    assert found["Envelope"]["json"]["deliveryAttempt"] == 1
    assert found["Notification"]["json"]["type"] == "CustomerCreated"
    assert found["Read"]["json"][0]["found"][0]["firstName"] == "Jane"
    assert found["Events"]["json"][0]["traits"]["firstName"] == "Jane"
    assert found["Calls"]["json"][0]["status"] == 200
    assert found["Confirmation"]["text"] == "The service answered 200: the message is acknowledged."
    assert (attempt["status"], attempt["ms"] > 0) == (200, True)


def test_an_ignored_message_ends_at_its_notification(path: Path) -> None:
    [attempt] = path.way(path.world.shop.test_notification)

    found = steps(attempt)
    assert (found["Read"]["json"], found["Events"]["json"], found["Calls"]["json"]) == (None, None, None)
    assert [name for name, step in found.items() if step["end"] == attempt["sentence"]] == ["Notification"]


def test_garbage_is_shown_as_text(path: Path) -> None:
    [attempt] = path.way(path.world.shop.garbage)

    assert steps(attempt)["Notification"]["text"] == "The message's data is not JSON."


def test_an_attempt_that_segment_failed_shows_the_answer_and_the_next_one_delivers(path: Path) -> None:
    path.world.segment.fail_next(answer(503), on="/v1/batch")

    newest, first = path.way(lambda: path.world.shop.create(email="joe@example.com"))

    assert steps(first)["Calls"]["json"][0]["status"] == 503
    assert steps(first)["Confirmation"]["text"] == "The service answered 500. Pub/Sub delivers the message again."
    assert newest["status"] == 200


def test_a_lost_answer_is_named(path: Path) -> None:
    path.world.commercetools.fail_next(CLOSE_AFTER_READ, times=2, on="/demo-shop/customers")

    *_, first = path.way(lambda: path.world.shop.create(email="jim@example.com"))

    shown = steps(first)["Read"]["json"][0]
    assert shown["failed"] == "commercetools closes the connection without an answer"
    assert steps(first)["Events"]["json"] is None


def test_a_refund_shows_its_event_alone(path: Path) -> None:
    sales = path.world.shop.sales
    order_id = path.world.shop.random_sale(edits=False)
    while not sales.orders[order_id].get("paymentInfo"):
        order_id = path.world.shop.random_sale(edits=False)
    [payment] = sales.orders[order_id]["paymentInfo"]["payments"]
    amount = sales.baskets[order_id][-1][1].to_pay

    [attempt] = path.way(lambda: sales.refund(payment["id"], amount, "Success"))

    [event] = steps(attempt)["Events"]["json"]
    assert event["event"] == "Order Refunded"


def test_the_oldest_calls_are_forgotten_by_their_size() -> None:
    segment, calls = StandIn(), Calls(most_bytes=10)
    calls.watch(SEGMENT, segment)
    assert segment.on_call is not None
    for at, size in ((1.0, 4), (2.0, 4), (3.0, 5)):
        segment.on_call(Call("POST", "/v1/batch", {}, {}, b"x" * size, at), Answer(200), None)

    assert [made.call.at for made in calls.between(0, 9)] == [2.0, 3.0]
    assert [made.call.at for made in calls.between(2.5, 9)] == [3.0]
