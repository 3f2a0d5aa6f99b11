"""The judge that runs all the time: each breach is found, counts at the second look, and goes when it heals."""

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from playground.oracle import profile_of_customer, rules_of
from playground.page.judge import Judge
from playground.page.messages import Messages
from playground.page.profiles import Profiles
from playground.pubsub import Message, Push
from playground.segment import SegmentStandIn
from playground.shop import Document, Shop
from playground.world import SUBSCRIPTION, TOPIC, LocalWorld
from tests.playground.page.following import Following

Event = dict[str, Any]
SETTINGS = {"SEGMENT_USER_ID": "id", "SEGMENT_CLEAR_TRAITS": "all", "ORDER_IMPORTS": "all"}


def post(segment: SegmentStandIn, *events: Event) -> None:
    body = {"batch": list(events), "writeKey": segment.write_key}
    requests.post(f"{segment.url}/v1/batch", json=body, timeout=10).raise_for_status()


class Scene:
    """A shop whose messages wait until `settle`, a Segment that gets what the test posts, and a clock."""

    def __init__(self, segment: SegmentStandIn) -> None:
        self.segment = segment
        self.now = 0.0
        self.open: list[str] = []
        self.is_publishing = True
        self.messages = Messages(self._when_settled)
        self.shop = Shop(publish=self._publish)
        self.profiles = Profiles(self)
        self.judge = Judge(self, self.messages, self.profiles, clock=lambda: self.now)
        self.profiles.start()
        self.profiles.when_told = self.judge.look_at

    def settings(self) -> Mapping[str, str]:
        return SETTINGS

    def _when_settled(self, resource_type: str, resource_id: str) -> None:
        self.judge.look_at(resource_type, resource_id)

    def _publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        if not self.is_publishing:
            return
        message_id = str(self.messages.tally().get("published", 0))
        self.open.append(message_id)
        self.messages.on_message(TOPIC, Message(message_id, datetime.now(UTC), data, attributes, ""))

    def settle(self, *, attempt: int = 1, given_up: bool = False) -> None:
        """Every message is delivered, or given up."""
        waiting, self.open = self.open, []
        for message_id in waiting:
            status = 500 if given_up else 200
            self.messages.on_push(
                Push(SUBSCRIPTION, message_id, attempt, status, not given_up, given_up, {}, seconds=0.1)
            )

    def tell(self, customer: Document, message_id: str = "", **traits: object) -> None:
        """Segment gets the state that this document says."""
        profile = profile_of_customer(customer, self.shop.groups, rules_of(SETTINGS))
        assert profile is not None
        cleared = dict.fromkeys(profile.kept | {"firstName", "customerNumber"})
        event = {"type": "identify", "userId": profile.user_id, "traits": {**cleared, **profile.traits, **traits}}
        post(self.segment, {**event, "messageId": message_id or f"{customer['id']} {customer['version']}"})

    def a_customer(self, **fields: object) -> Document:
        """A customer that Segment knows."""
        customer = self.shop.create(**fields)
        self.tell(customer)
        self.settle()
        return customer

    def renamed(self, customer: Document, name: str, *, told: bool = True) -> Document:
        changed = self.shop.change(customer["id"], {"action": "setFirstName", "firstName": name})
        if told:
            self.tell(changed)
        self.settle()
        return changed

    def broken(self) -> list[str]:
        """What is broken at the second look."""
        self.judge.look()
        self.now += 1
        self.judge.look()
        return list(self.judge.state()["broken"])


@pytest.fixture
def scene() -> Iterator[Scene]:
    with SegmentStandIn() as segment:
        yield Scene(segment)


def test_all_holds_of_a_customer_that_segment_knows(scene: Scene) -> None:
    scene.a_customer(firstName="Ada")

    assert scene.broken() == []
    assert scene.judge.state()["judged"] == 1


def test_a_breach_counts_at_the_second_look(scene: Scene) -> None:
    scene.shop.create()
    scene.settle()

    scene.judge.look()

    assert scene.judge.state()["broken"] == []
    assert scene.broken() == ["1 lost"]
    assert scene.judge.state()["ever"] == 1


def test_a_breach_that_heals_before_the_second_look_never_was(scene: Scene) -> None:
    customer = scene.shop.create()
    scene.settle()
    scene.judge.look()

    scene.tell(customer)

    assert scene.broken() == []
    assert scene.judge.state()["ever"] == 0


def test_a_customer_with_an_open_message_is_not_judged(scene: Scene) -> None:
    customer = scene.shop.create()

    scene.judge.look_at("customer", customer["id"])

    assert scene.broken() == []
    assert scene.judge.state()["judged"] == 0


def test_a_state_that_is_not_published_yet_is_not_judged(scene: Scene) -> None:
    customer = scene.a_customer()
    scene.judge.look()
    scene.is_publishing = False
    scene.shop.change(customer["id"], {"action": "setFirstName", "firstName": "Ada"})

    scene.judge.look_at("customer", customer["id"])
    assert scene.broken() == []

    scene.shop.delete(customer["id"])
    scene.judge.look_at("customer", customer["id"])
    assert scene.broken() == []


def test_a_profile_that_is_gone_is_lost_until_the_next_change(scene: Scene) -> None:
    customer = scene.a_customer()
    scene.segment.delete([customer["id"]])

    assert scene.broken() == ["1 lost"]
    example = scene.judge.state()["examples"][0]
    assert (example["kind"], example["type"], example["id"]) == ("lost", "customer", customer["id"])

    scene.renamed(customer, "Ada")

    assert scene.broken() == []
    assert scene.judge.state()["ever"] == 1


def test_an_older_state_that_arrives_last_is_stale_until_the_next_change(scene: Scene) -> None:
    first = scene.a_customer(firstName="Ada")
    second = scene.renamed(first, "Eve")
    assert scene.broken() == []

    scene.tell(first, "again")

    assert "1 stale" in scene.broken()
    assert "firstName" in scene.judge.state()["examples"][-1]["what"] + scene.judge.state()["examples"][0]["what"]
    scene.renamed(second, "Zoe")
    assert scene.broken() == []


def test_a_state_told_again_is_doubled_until_the_next_change(scene: Scene) -> None:
    customer = scene.a_customer(firstName="Ada")

    scene.tell(customer, "again")

    assert scene.broken() == ["1 doubled"]
    changed = scene.renamed(customer, "Eve")
    assert scene.broken() == []
    scene.tell(changed, "once more")
    assert scene.broken() == ["1 doubled"]
    assert scene.judge.state()["ever"] == 2


def test_a_state_told_again_with_the_same_message_id_is_not_doubled(scene: Scene) -> None:
    customer = scene.a_customer()

    scene.tell(customer)

    assert scene.broken() == []


def test_a_state_told_again_after_a_retry_is_not_doubled(scene: Scene) -> None:
    customer = scene.shop.create()
    scene.tell(customer)
    scene.tell(customer, "again")

    scene.settle(attempt=2)

    assert scene.broken() == []


def test_a_wrong_trait_is_wrong_until_the_next_change(scene: Scene) -> None:
    customer = scene.shop.create(firstName="Ada")
    scene.tell(customer, firstName="Mallory")
    scene.settle()

    assert scene.broken() == ["1 wrong"]
    assert scene.judge.state()["examples"][0]["what"] == "Segment has other traits than the customer: firstName."
    scene.renamed(customer, "Eve")
    assert scene.broken() == []


def test_a_deleted_customer_must_have_no_profile(scene: Scene) -> None:
    customer = scene.a_customer()
    scene.shop.delete(customer["id"])
    scene.settle()

    assert scene.broken() == ["1 stale"]
    scene.segment.delete([customer["id"]])
    assert scene.broken() == []


@pytest.mark.parametrize("told", [True, False])
def test_a_customer_with_a_dead_letter_is_not_lost_or_stale(scene: Scene, told: bool) -> None:  # noqa: FBT001
    customer = scene.shop.create(firstName="Ada")
    if told:
        scene.tell(customer)
        scene.settle()
        scene.shop.change(customer["id"], {"action": "setFirstName", "firstName": "Eve"})

    scene.settle(given_up=True)

    assert scene.broken() == []
    assert scene.judge.state()["set_aside"] == 1


def test_by_another_mapping_file_traits_are_not_judged_and_doubles_are(scene: Scene) -> None:
    scene.judge.rules_changed(built_in=False)
    customer = scene.shop.create(firstName="Ada")
    scene.tell(customer, firstName="A.")
    scene.settle()
    scene.shop.create()
    scene.settle()
    assert scene.broken() == []
    assert scene.judge.state()["traits_judged"] is False

    for number in range(2):  # one more is right: by the former rules
        scene.tell(customer, f"again {number}")

    assert scene.broken() == ["1 doubled"]


def test_customers_told_by_another_mapping_file_are_not_judged_by_traits_later(scene: Scene) -> None:
    scene.judge.rules_changed(built_in=False)
    customer = scene.shop.create(firstName="Ada")
    scene.tell(customer, firstName="A.")
    scene.settle()
    scene.judge.rules_changed(built_in=True)

    scene.judge.look_at("customer", customer["id"])
    scene.shop.create()
    scene.settle()

    assert scene.broken() == ["1 lost"]
    assert scene.judge.state()["by_other_rules"] == 1


def completed(order: Document, message_id: str = "1", **properties: object) -> Event:
    about = {"order_id": order["id"], "products": [], **properties}
    return {
        "type": "track",
        "event": "Order Completed",
        "anonymousId": f"commercetools-order-{order['id']}",
        "messageId": message_id,
        "timestamp": order["createdAt"],
        "context": {},
        "properties": about,
    }


def test_an_order_that_is_not_told_is_lost(scene: Scene) -> None:
    order = scene.shop.sales.place()
    scene.settle()

    assert scene.broken() == ["1 lost"]
    assert scene.judge.state()["examples"][0]["id"] == order["id"]


def test_an_order_told_with_other_amounts_is_wrong_and_told_twice_is_doubled(scene: Scene) -> None:
    order = scene.shop.sales.place()
    post(scene.segment, completed(order, "1", total=1), completed(order, "2", total=1))
    scene.settle()

    assert scene.broken() == ["1 doubled", "1 wrong"]


def test_an_order_whose_payment_has_a_dead_letter_is_not_lost(scene: Scene) -> None:
    sales = scene.shop.sales
    scene.settle()
    payment = sales.pay(sales.baskets[sales.place()["id"]][-1][1].to_pay, "EUR")
    sales.place(paymentInfo={"payments": [{"typeId": "payment", "id": payment["id"]}]})
    scene.settle(given_up=True)

    assert scene.broken() == []
    assert scene.judge.state()["set_aside"] == 2


def test_an_event_about_an_order_that_cannot_be_read_is_wrong(scene: Scene) -> None:
    order = scene.shop.sales.place()
    event = completed(order)
    del event["timestamp"]
    post(scene.segment, {**event, "properties": {"order_id": order["id"], "products": 7}})
    scene.settle()

    assert scene.broken() == ["1 wrong"]


def test_an_order_whose_first_versions_are_forgotten_is_judged_by_what_is_lost(scene: Scene) -> None:
    order = scene.shop.sales.place()
    for number in range(30):
        state = "Paid" if number % 2 else "Pending"
        scene.shop.sales.change(order["id"], {"action": "changePaymentState", "paymentState": state})
    post(scene.segment, completed(order, total=1))
    scene.settle()

    assert scene.broken() == ["1 lost"]  # the last Order Updated


def test_the_judge_looks_by_itself_until_it_is_stopped(scene: Scene) -> None:
    looked = threading.Event()

    def clock() -> float:
        looked.set()
        return 0.0

    judge = Judge(scene, scene.messages, scene.profiles, clock=clock)
    judge.start()
    has_looked = looked.wait(60)
    judge.stop()

    assert has_looked
    assert "judge" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.lengthy
def test_a_hundred_changes_hold_on_the_real_path_and_an_older_state_is_seen_until_the_next_change() -> None:
    now = 0.0

    def when_settled(resource_type: str, resource_id: str) -> None:
        judge.look_at(resource_type, resource_id)

    following = Following(when_settled)
    world = LocalWorld(
        speed=20, duplicate=0.2, in_batches=True, shop_options={"population": 20, "keep": 20}, **following.hooks
    )
    profiles = Profiles(world)
    judge = Judge(world, following.messages, profiles, clock=lambda: now)
    profiles.when_told = judge.look_at
    with world:
        profiles.start()
        for number in range(100):
            if number % 3:
                world.shop.random_change()
            else:
                world.shop.random_sale()
        first = world.shop.create(firstName="Ada")
        world.shop.change(first["id"], {"action": "setFirstName", "firstName": "Eve"})
        following.wait(world)
        judge.look()
        now += 1
        judge.look()
        with world.shop.lock:
            living = sum(profiles.traits_of(customer_id) is not None for customer_id in world.shop.customers)
        assert judge.state()["judged"] > living
        assert (judge.state()["broken"], judge.state()["ever"]) == ([], 0), json.dumps(judge.state())

        has = profiles.traits_of(first["id"])
        assert has is not None
        older = {**has, "firstName": "Ada"}
        post(world.segment, {"type": "identify", "userId": first["id"], "messageId": "by hand", "traits": older})
        judge.look()
        now += 1
        judge.look()
        assert "1 stale" in judge.state()["broken"]

        world.shop.change(first["id"], {"action": "setFirstName", "firstName": "Zoe"})
        following.wait(world)
        judge.look()
        assert judge.state()["broken"] == []
        profiles.stop()
