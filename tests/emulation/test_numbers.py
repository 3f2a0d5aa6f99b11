"""Many pushes, few calls: counted at commercetools and Segment, 30 ms away, behind the service as it is deployed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import islice
from queue import SimpleQueue
from typing import Any

import pytest

from playground.world import LocalWorld
from tests.builders import a_change, a_message, a_push

AT_ONCE = 80
MESSAGES = 800
ROUNDS = 3  # a machine that is busy elsewhere may not manage to have 80 pushes under way at the same moment
SECONDS = 60


@pytest.fixture(scope="module")
def deployed() -> Iterator[LocalWorld]:
    with LocalWorld(latency=0.03, environment={"PUSH_AUTH": "none"}, shop_options={"population": 4_000}) as world:
        yield world


@pytest.fixture(scope="module")
def nobody_yet(deployed: LocalWorld) -> Iterator[str]:
    """Give ids of customers of whom the service has not heard."""
    return deployed.shop.ids()


@pytest.fixture
def world(deployed: LocalWorld, nobody_yet: Iterator[str]) -> LocalWorld:
    """Return the world with nothing recorded, but with a token and connections that are there already."""
    push_all(deployed, [about(deployed, next(nobody_yet))])
    deployed.commercetools.forget()
    deployed.segment.forget()
    return deployed


def about(world: LocalWorld, customer_id: str, version: int = 1, **changes: Any) -> bytes:  # noqa: ANN401  # any JSON
    resource = {"typeId": "customer", "id": customer_id}
    return a_push(a_change(projectKey=world.shop.project_key, resource=resource, version=version, **changes))


def push_all(world: LocalWorld, pushes: Sequence[bytes]) -> Mapping[int, int]:
    """Post them over kept-alive connections, 80 at a time; count the answers by status."""
    at_once = min(AT_ONCE, len(pushes))
    free: SimpleQueue[HTTPConnection] = SimpleQueue()

    def push(body: bytes) -> int:
        connection = free.get()
        connection.request("POST", "/", body)
        with connection.getresponse() as answer:
            answer.read()
        free.put(connection)
        return answer.status

    with ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
        for _ in range(at_once):
            connection = HTTPConnection("127.0.0.1", world.service.port, timeout=SECONDS)
            stack.callback(connection.close)
            free.put(connection)
        return Counter(pool.map(push, pushes))


def test_twenty_messages_of_distinct_customers_cost_less_than_one_call_to_either_side(
    world: LocalWorld, nobody_yet: Iterator[str]
) -> None:
    for _ in range(ROUNDS):
        world.commercetools.forget()
        world.segment.forget()
        customer_ids = list(islice(nobody_yet, MESSAGES))

        statuses = push_all(world, [about(world, customer_id) for customer_id in customer_ids])

        assert statuses == {200: MESSAGES}
        assert sorted(event["userId"] for event in world.segment.events) == sorted(customer_ids)
        calls = (world.commercetools.call_count, world.segment.call_count)
        if max(calls) * 20 < MESSAGES:
            return
    pytest.fail(f"{calls} calls for {MESSAGES} messages")


def test_ten_notifications_of_one_version_at_once_make_one_read_and_one_identify(
    world: LocalWorld, nobody_yet: Iterator[str]
) -> None:
    customer_id = next(nobody_yet)
    resource = {"typeId": "customer", "id": customer_id}
    message = a_message(
        projectKey=world.shop.project_key, resource=resource, type="CustomerFirstNameSet", customer=None
    )

    statuses = push_all(world, [about(world, customer_id)] * 5 + [a_push(message)] * 5)

    assert sum(statuses.values()) == 10
    assert set(statuses) <= {200, 204}
    assert [event["userId"] for event in world.segment.events] == [customer_id]
    assert (world.commercetools.call_count, world.segment.call_count) == (1, 1)
