"""Many pushes, few calls: counted at commercetools and Segment, behind the service as it is deployed.

The upstreams hold their answers until all pushes are in flight.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import islice
from typing import Any

import pytest
import requests

from playground.stand_in import Call
from playground.world import LocalWorld
from tests.builders import a_change, a_message, a_push

AT_ONCE = 80
MESSAGES = 400
SECONDS = 60
TURNS = 3  # of the service's loop, within which a push that has arrived is processed as far as possible


@pytest.fixture(scope="module")
def deployed() -> Iterator[LocalWorld]:
    with LocalWorld(environment={"PUSH_AUTH": "none"}, shop_options={"population": 4_000}) as world:
        yield world


@pytest.fixture(scope="module")
def nobody_yet(deployed: LocalWorld) -> Iterator[str]:
    """Yield ids of customers that are new to the service."""
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
    """Post them all, and count the answers by status. No upstream answers before all of them are in flight."""
    with ExitStack() as stack:
        segment = stack.enter_context(world.segment.hold())
        commercetools = stack.enter_context(world.commercetools.hold(is_a_query))
        connections = []
        for body in pushes:
            connection = HTTPConnection("127.0.0.1", world.service.port, timeout=SECONDS)
            stack.callback(connection.close)
            connection.request("POST", "/", body)
            connections.append(connection)
        wait_until_all_are_in_flight(world)
        commercetools.let_go()
        wait_until_all_are_in_flight(world)
        segment.let_go()
        answers = [connection.getresponse() for connection in connections]
        for answer in answers:
            answer.read()
        return Counter(answer.status for answer in answers)


def is_a_query(call: Call) -> bool:
    return call.path.endswith("/customers")


def wait_until_all_are_in_flight(world: LocalWorld) -> None:
    """Return when the service has processed all that it got as far as it can without an upstream's answer.

    It serves connections in the order of arrival, so it answers a later request after that.
    """
    for _ in range(TURNS):
        health = requests.get(f"{world.service.url}/health", headers={"Connection": "close"}, timeout=SECONDS)
        assert health.status_code == requests.codes.ok


def test_twenty_messages_of_distinct_customers_cost_less_than_one_call_to_either_side(
    world: LocalWorld, nobody_yet: Iterator[str]
) -> None:
    for _ in range(MESSAGES // AT_ONCE):
        customer_ids = list(islice(nobody_yet, AT_ONCE))

        statuses = push_all(world, [about(world, customer_id) for customer_id in customer_ids])

        assert statuses == {200: AT_ONCE}
        assert sorted(event["userId"] for event in world.segment.events[-AT_ONCE:]) == sorted(customer_ids)

    assert world.segment.accepted == MESSAGES
    # A second look, a read by id, follows where an answer was kept back so long that it counts as late.
    queries = sum(is_a_query(call) for call in world.commercetools.calls)
    assert max(queries, world.segment.call_count) * 20 < MESSAGES


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
    assert (sum(is_a_query(call) for call in world.commercetools.calls), world.segment.call_count) == (1, 1)
