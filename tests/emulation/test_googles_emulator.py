"""The whole path on Google's own emulator: real publisher, Google's push, the service, the stand-ins, dead letters."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from playground.shop import GARBAGE
from playground.stand_in import RESET_AFTER_READ, answer
from playground.world import DEAD_LETTERS, SUBSCRIPTION, TOPIC, Line, LocalWorld, Service
from tests.builders import a_change
from tests.playground.pubsub_services import Service as PubSub
from tests.playground.pubsub_services import googles_emulator

SECONDS = 60.0  # far more than anything here takes
ATTEMPTS = 5
LETTER_BOX = "projects/demo/subscriptions/dead-letters"


class Log:
    """What the service said of each message."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}
        self._changed = threading.Condition()

    def on_line(self, line: Line) -> None:
        if "message_id" in line:
            with self._changed:
                self._said.setdefault(line["message_id"], []).append(str(line["message"]))
                self._changed.notify_all()

    def wait_for_the_end_of(self, message_ids: set[str]) -> bool:
        """Whether each of these is delivered, ignored or set aside in the end."""
        with self._changed:
            return self._changed.wait_for(lambda: message_ids <= self._ended(), SECONDS)

    def _ended(self) -> set[str]:
        return {one for one, said in self._said.items() if not said[-1].startswith("Failed")}

    def wait_for_attempts(self, message_id: str, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._said.get(message_id, ())) >= count, SECONDS)

    def endings(self) -> Mapping[str, int]:
        with self._changed:
            return Counter(text.partition(":")[0] for said in self._said.values() for text in said)

    def reason(self, message_id: str) -> str:
        return self._said[message_id][-1].partition(": ")[2]


@contextmanager
def a_world_around(pubsub: PubSub, log: Log) -> Iterator[LocalWorld]:
    """Give the playground, with Google's Pub/Sub in place of ours."""
    world = LocalWorld(environment={"PUSH_AUTH": "none"}, shop_options={"population": 20}, in_batches=True)
    world.pubsub.host, world.pubsub.certs_url = pubsub.host, f"http://{pubsub.host}/unused"
    world.publisher, world.subscriber = pubsub.publisher, pubsub.subscriber
    with ExitStack() as stack:
        for stand_in in (world.segment, world.public_api, world.commercetools):
            stack.enter_context(stand_in)
        world.service = stack.enter_context(Service(world.settings(), on_line=log.on_line))
        stack.callback(world.service.kill)  # Google's emulator keeps its connections, and a stop would wait for them
        for topic in (TOPIC, DEAD_LETTERS):
            pubsub.publisher.create_topic(name=topic)
        pubsub.subscriber.create_subscription(name=LETTER_BOX, topic=DEAD_LETTERS)
        pubsub.subscriber.create_subscription(
            request={
                "name": SUBSCRIPTION,
                "topic": TOPIC,
                "ack_deadline_seconds": 60,
                "push_config": {"push_endpoint": world.service.url},
                "dead_letter_policy": {"dead_letter_topic": DEAD_LETTERS, "max_delivery_attempts": ATTEMPTS},
            }
        )
        yield world


def dead_letters(pubsub: PubSub, count: int) -> list[Any]:
    """Pull so many dead letters, or fewer if no more arrive."""
    taken: list[Any] = []
    while len(taken) < count and (received := pubsub.pull(LETTER_BOX, limit=100)):
        taken += [one.message for one in received]
        pubsub.subscriber.acknowledge(subscription=LETTER_BOX, ack_ids=[one.ack_id for one in received])
    return taken


@pytest.mark.lengthy
def test_on_googles_emulator_segment_ends_as_the_shop_and_garbage_in_the_dead_letter_topic_with_its_reason(
    record_property: Callable[[str, object], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = Log()
    with googles_emulator(tmp_path_factory) as pubsub, a_world_around(pubsub, log) as world:
        world.shop.test_notification()
        for number in range(10):
            world.shop.create(firstName=f"Customer {number}")
        world.segment.fail_next(answer(503), times=2)
        world.commercetools.fail_next(RESET_AFTER_READ.after_effect(), times=2)
        for customer_id in list(world.shop.customers):  # from now on, each of them is known to Segment
            world.shop.change(customer_id, {"action": "setLastName", "lastName": "Changed"})
        for _ in range(100):
            world.shop.random_change()
        world.shop.foreign()
        somebody = next(iter(world.shop.customers.values()))
        again = a_change(
            projectKey=world.shop.project_key,
            resource={"typeId": "customer", "id": somebody["id"]},
            version=somebody["version"],
        )
        for _ in range(5):  # the same, under messageIds of their own
            world.publish(json.dumps(again).encode())
        world.settle()
        garbage = world.shop.garbage()
        world.settle()
        garbage_ids = world.published[-len(garbage) :]

        assert log.wait_for_the_end_of(set(world.published))

        # One that cannot be erased: Pub/Sub itself gives up.
        with world.public_api.failing(answer(500)):
            world.shop.delete(somebody["id"])
            world.settle()
            hopeless = world.published[-2:]
            assert all(log.wait_for_attempts(message_id, ATTEMPTS) for message_id in hopeless)
            letters = dead_letters(pubsub, len(garbage_ids) + len(hopeless))

        figures = {"messages": len(world.published), "dead letters": len(letters), **log.endings()}
        for name, figure in figures.items():
            record_property(name, figure)
        sys.stdout.write(f"{figures}\n")
        expected = {one: profile.traits for one, profile in world.expected_profiles().items()}
        assert {one: traits for one, traits in world.segment.profiles.items() if one != somebody["id"]} == expected
        assert world.doubled() == 0
        assert log.endings()["Failed"] >= ATTEMPTS
        ours = {letter.attributes["source_message_id"]: letter for letter in letters if "reason" in letter.attributes}
        reasons = {one: letter.attributes["reason"] for one, letter in ours.items()}
        assert reasons == {message_id: log.reason(message_id) for message_id in garbage_ids}
        assert reasons == dict(zip(garbage_ids, GARBAGE.values(), strict=True))
        assert [bytes(ours[message_id].data) for message_id in garbage_ids] == garbage
        given_up = [letter for letter in letters if "CloudPubSubDeadLetterSourceSubscription" in letter.attributes]
        assert [somebody["id"] in bytes(letter.data).decode() for letter in given_up] == [True] * len(hopeless)
