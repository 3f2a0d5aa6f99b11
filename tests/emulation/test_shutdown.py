"""How the service stops: on SIGTERM it answers the pushes in flight, and after SIGKILL they are redelivered."""

import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPResponse

import pytest
import requests

from playground.segment import SegmentStandIn
from playground.stand_in import HANG
from playground.world import SUBSCRIPTION, LocalWorld, Service
from tests.builders import a_customer, a_message, a_push

AT_ONCE = 100
PATIENCE = 30.0


@contextmanager
def begun(service: Service, bodies: list[bytes]) -> Iterator[list[socket.socket]]:
    """Push all of these; give the connections when the service has read them and is waiting to answer."""
    with ExitStack() as stack:
        connections = []
        for body in bodies:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE))
            head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)
            connections.append(connection)
        # The server accepts connections in the order of arrival, so it accepted all of them before it answers this one.
        health = requests.get(f"{service.url}/health", headers={"Connection": "close"}, timeout=PATIENCE)
        assert health.status_code == HTTPStatus.OK
        yield connections


def wait_until_nobody_listens(service: Service) -> None:
    """Return when the service has got its signal: it then closes its listener, and answers what it has begun."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE).close()
        except OSError:
            return
    pytest.fail("the service still listens")


def status_of(connection: socket.socket) -> int:
    with HTTPResponse(connection) as answer:
        answer.begin()
        answer.read()
        return answer.status


def a_customer_of_its_own() -> bytes:
    customer_id = str(uuid.uuid4())
    resource = {"typeId": "customer", "id": customer_id}
    return a_push(a_message(resource=resource, customer=a_customer(id=customer_id)))


def test_a_service_that_is_told_to_stop_answers_every_push_that_it_has_begun() -> None:
    with SegmentStandIn() as segment, segment.hold() as held:
        environment = {
            "SEGMENT_WRITE_KEY": segment.write_key,
            "SEGMENT_HOST": segment.url,
            "SEGMENT_USER_ID": "id",
            "PUSH_AUTH": "none",
        }
        with (
            Service(environment) as service,
            begun(service, [a_customer_of_its_own() for _ in range(AT_ONCE)]) as open_,
        ):
            with ThreadPoolExecutor(1) as pool:
                exit_status = pool.submit(service.stop, signal.SIGTERM)
                wait_until_nobody_listens(service)
                held.let_go()
            statuses = Counter(status_of(connection) for connection in open_)

        assert statuses == {200: AT_ONCE}
        assert exit_status.result() == 0
        assert len(segment.events) == AT_ONCE


def come_to_the_shop(world: LocalWorld) -> None:
    for _ in range(AT_ONCE):
        world.shop.create()
    world.settle()


def all_of_it(service: Service) -> None:
    service.kill()
    service.start()


@pytest.mark.parametrize(
    "killed", [pytest.param(all_of_it, id="the machine"), pytest.param(Service.kill_worker, id="the worker")]
)
def test_what_a_killed_service_had_begun_comes_again(killed: Callable[[Service], None]) -> None:
    with LocalWorld(speed=100, in_batches=True) as world:
        come_to_the_shop(world)
        assert world.pubsub.wait_until_idle(
            PATIENCE, SUBSCRIPTION
        )  # and from here on many pushes are under way at once
        calls = world.segment.call_count
        with world.segment.failing(HANG):
            come_to_the_shop(world)
            assert world.segment.wait_for_calls(calls + 1, PATIENCE)
            killed(world.service)

        assert world.pubsub.wait_until_idle(PATIENCE, SUBSCRIPTION)
        assert world.differences() == []
        assert world.doubled() == 0
        assert {event["userId"] for event in world.segment.events} == set(world.shop.customers)
