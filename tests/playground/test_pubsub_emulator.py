"""Does the emulator do what Pub/Sub does? Seen through the real clients; where Google's emulator agrees, so must it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from queue import SimpleQueue
from typing import Any
from urllib.error import HTTPError

import google.auth.jwt
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, types

from playground.ports import ReservedPort
from playground.pubsub import PubSubEmulator, Push
from tests.playground.pubsub_services import Service, clients_of, googles_emulator
from tests.playground.push_endpoint import RESET, Endpoint, Received

# Ours and Google's


@pytest.fixture(scope="session")
def googles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with googles_emulator(tmp_path_factory) as service:
        yield service


@pytest.fixture(scope="session")
def ours() -> Iterator[Service]:
    with PubSubEmulator(speed=10) as emulator, clients_of(emulator) as service:
        yield service


@pytest.fixture(params=["ours", "googles"])
def service(request: pytest.FixtureRequest) -> Service:
    either: Service = request.getfixturevalue(request.param)
    return either


def test_a_push_brings_the_message_in_its_envelope(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        subscription = service.subscription(topic, f"{endpoint.url}/push?token=a%20b")
        published_at = datetime.now(UTC)
        message_id = service.publish(topic, "Grüße>>>???", kind="customer", city="Köln")
        (push,) = endpoint.wait_for(1)

    assert (push.method, push.path) == ("POST", "/push?token=a%20b")
    assert push.headers["content-type"] == "application/json"
    assert push.envelope["subscription"] == subscription
    assert push.text == "Grüße>>>???"
    assert push.message["attributes"] == {"kind": "customer", "city": "Köln"}
    assert push.message["messageId"] == push.message["message_id"] == message_id
    assert push.message["publishTime"] == push.message["publish_time"]
    assert push.message["publishTime"].endswith("Z")
    assert abs(datetime.fromisoformat(push.message["publishTime"]) - published_at) < timedelta(seconds=5)


def test_a_message_of_attributes_alone_arrives(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        service.subscription(topic, endpoint.url)
        service.publish(topic, "", kind="test")
        (push,) = endpoint.wait_for(1)

    assert (push.text, push.message["attributes"]) == ("", {"kind": "test"})


def test_every_subscription_of_a_topic_gets_every_message(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        service.subscription(topic, f"{endpoint.url}/a")
        service.subscription(topic, f"{endpoint.url}/b")
        service.publish_all(topic, ["1", "2", "3"])
        pushes = endpoint.wait_for(6)

    assert sorted((push.path, push.text) for push in pushes) == [
        (path, text) for path in ("/a", "/b") for text in "123"
    ]


def test_only_acknowledging_statuses_end_the_deliveries(service: Service) -> None:
    statuses = {102, 200, 201, 202, 203, 204, 205, 206, 226, 304, 400, 401, 403, 404, 408, 413, 429, 500, 503, 504}
    nacking = statuses - service.differences.acknowledging
    topic = service.topic()
    with Endpoint(lambda push: int(push.path[1:]) if push.nth < 3 else 204) as endpoint:
        for status in statuses:
            service.subscription(topic, f"{endpoint.url}/{status}")
        service.publish(topic, "x")

        def is_over(received: list[Received]) -> bool:
            return {int(push.path[1:]) for push in received if push.nth == 3} >= nacking

        counts = Counter(int(push.path[1:]) for push in endpoint.wait_for(is_over))

    assert counts == {status: 3 if status in nacking else 1 for status in statuses}


def test_a_message_of_ten_megabytes_arrives_whole(service: Service) -> None:
    topic = service.topic()
    data = b"0123456789" * 999_000
    with Endpoint() as endpoint:
        service.subscription(topic, endpoint.url, push_config={"no_wrapper": {}})
        service.publish(topic, data)
        (push,) = endpoint.wait_for(1)

    assert push.body == data


def test_an_unwrapped_push_is_the_bare_data(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        service.subscription(topic, endpoint.url, push_config={"no_wrapper": {"write_metadata": False}})
        service.publish(topic, "bare", kind="customer")
        (push,) = endpoint.wait_for(1)

    assert push.body == b"bare"
    assert not {"kind", "x-goog-pubsub-message-id"} & set(push.headers)


def test_an_unwrapped_push_with_metadata_has_it_in_headers(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        subscription = service.subscription(topic, endpoint.url, push_config={"no_wrapper": {"write_metadata": True}})
        message_id = service.publish(topic, "bare", "key", **{"Content-Type": "text/vcard", "kind": "customer"})
        (push,) = endpoint.wait_for(1)

    assert push.body == b"bare"
    assert push.headers["content-type"] == "text/vcard"
    assert push.headers["kind"] == "customer"
    assert push.headers["x-goog-pubsub-message-id"] == message_id
    assert push.headers["x-goog-pubsub-subscription-name"] == subscription
    assert push.headers["x-goog-pubsub-publish-time"].endswith("Z")
    assert push.headers[service.differences.ordering_key_header] == "key"


def test_a_poison_message_is_dead_lettered_after_the_last_attempt(service: Service) -> None:
    topic, dead_letters = service.topic(), service.topic()
    drawer = service.subscription(dead_letters)
    with Endpoint(lambda _: 500) as endpoint:
        policy = {"dead_letter_topic": dead_letters, "max_delivery_attempts": 5}
        subscription = service.subscription(topic, endpoint.url, dead_letter_policy=policy)
        service.publish(topic, "poison", kind="customer")
        (letter,) = service.pull(drawer)
        pushes = endpoint.wait_for(5)

    prefix = "CloudPubSubDeadLetterSource"
    assert letter.message.data == b"poison"
    assert letter.message.message_id != pushes[0].message["messageId"]
    assert dict(letter.message.attributes) == {
        "kind": "customer",
        f"{prefix}Subscription": subscription.rpartition("/")[2],
        f"{prefix}SubscriptionProject": "demo",
        f"{prefix}DeliveryCount": "5",
        f"{prefix}TopicPublishTime": pushes[0].message["publishTime"],
    }
    attempts = [1, 2, 3, 4, 5] if service.differences.tells_attempt else [None] * 5
    assert [push.envelope.get("deliveryAttempt") for push in pushes] == attempts


def test_a_nack_blocks_its_ordering_key_and_no_other(service: Service) -> None:
    topic = service.topic()
    policy = {
        "minimum_backoff": {"seconds": 10}
    }  # 1 s in both: ours is ten times as fast, Google's first retry is early
    with Endpoint(lambda push: 500 if push.text == "a1" and push.nth == 1 else 204) as endpoint:
        service.subscription(topic, endpoint.url, enable_message_ordering=True, retry_policy=policy)
        service.publish_all(topic, ["a1", "a2", "a3"], ordering_key="a")
        service.publish_all(topic, ["b1", "b2"], ordering_key="b")
        service.publish_all(topic, ["-"])
        texts = [push.text for push in endpoint.wait_for(7)]

    assert [text for text in texts if text[0] == "a"] == ["a1", "a1", "a2", "a3"]
    assert [text for text in texts if text[0] == "b"] == ["b1", "b2"]
    assert texts.index("b2") < texts.index("a2")
    assert texts.index("-") < texts.index("a2")


def test_a_push_to_a_closed_port_is_tried_again(service: Service) -> None:
    topic = service.topic()
    with ReservedPort() as gone, Endpoint() as endpoint:
        subscription = service.subscription(topic, f"http://127.0.0.1:{gone.number}")
        service.publish(topic, "patient")
        push_config = {"push_endpoint": endpoint.url}
        service.subscriber.modify_push_config(subscription=subscription, push_config=push_config)
        (push,) = endpoint.wait_for(1)

    assert push.text == "patient"


def test_an_empty_push_config_pauses_and_an_endpoint_resumes(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        subscription = service.subscription(topic, endpoint.url)
        service.subscriber.modify_push_config(subscription=subscription, push_config={})
        service.publish(topic, "pulled")
        (pulled,) = service.pull(subscription)
        service.subscriber.acknowledge(subscription=subscription, ack_ids=[pulled.ack_id])
        service.subscriber.modify_push_config(subscription=subscription, push_config={"push_endpoint": endpoint.url})
        service.publish(topic, "pushed")
        (push,) = endpoint.wait_for(1)

    assert (pulled.message.data, push.text) == (b"pulled", "pushed")


def test_a_pull_waits_for_a_message(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    publishing = threading.Timer(0.2, service.publish, (topic, "awaited"), {"kind": "customer"})
    publishing.start()
    (pulled,) = service.pull(subscription)
    publishing.join()

    assert pulled.message.data == b"awaited"
    assert dict(pulled.message.attributes) == {"kind": "customer"}
    assert abs(pulled.message.publish_time - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_pulled_message_comes_again_until_it_is_acknowledged(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publish(topic, "x")

    (first,) = service.pull(subscription)
    service.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (nacked,) = service.pull(subscription)
    service.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[nacked.ack_id], ack_deadline_seconds=1)
    (lapsed,) = service.pull(subscription)
    service.subscriber.acknowledge(subscription=subscription, ack_ids=[lapsed.ack_id])
    service.publish(topic, "y")
    (other,) = service.pull(subscription)

    ids = {it.message.message_id for it in (first, nacked, lapsed)}
    assert len(ids) == 1
    assert other.message.data == b"y"


def test_a_subscriber_receives_until_it_is_cancelled(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    received: SimpleQueue[str] = SimpleQueue()
    nacked = threading.Event()

    def callback(message: pubsub_v1.subscriber.message.Message) -> None:
        received.put(message.data.decode())
        if message.data == b"nacked" and not nacked.is_set():
            nacked.set()
            message.nack()
        else:
            message.ack_with_response().result(15)

    receiving = service.subscriber.subscribe(subscription, callback)
    service.publish(topic, "before")
    service.publish(topic, "nacked", kind="customer")
    texts = [received.get(timeout=15) for _ in range(3)]
    service.publish(topic, "after")
    texts.append(received.get(timeout=15))
    receiving.cancel()

    assert receiving.result(15)
    assert texts == ["before", "nacked", "nacked", "after"]


def test_a_stream_acknowledges_and_modifies_deadlines(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    with service.stream(subscription) as stream:
        service.publish(topic, "x", kind="customer")
        (first,) = stream.receive()
        stream.request(modify_deadline_ack_ids=[first.ack_id], modify_deadline_seconds=[0])
        (nacked,) = stream.receive()
        stream.request(modify_deadline_ack_ids=[nacked.ack_id], modify_deadline_seconds=[1])
        (lapsed,) = stream.receive()
        stream.request(ack_ids=[lapsed.ack_id])
        service.publish(topic, "y")
        (other,) = stream.receive()
        stream.request(ack_ids=[other.ack_id])

    assert {it.message.message_id for it in (first, nacked, lapsed)} == {first.message.message_id}
    assert dict(first.message.attributes) == {"kind": "customer"}
    assert other.message.data == b"y"


def test_a_stream_ends_when_its_subscription_is_deleted(service: Service) -> None:
    subscription = subscribe(service)
    with service.stream(subscription) as stream:
        service.subscriber.delete_subscription(subscription=subscription)

        with pytest.raises(exceptions.NotFound):
            stream.receive()


def test_an_update_changes_what_its_mask_names(service: Service) -> None:
    topic = service.topic()
    with Endpoint() as endpoint:
        name = service.subscription(topic, "http://127.0.0.1:9/old", ack_deadline_seconds=20)
        wanted = {
            "name": name,
            "topic": topic,
            "ack_deadline_seconds": 99,
            "push_config": {"push_endpoint": endpoint.url},
            "retry_policy": {"minimum_backoff": {"seconds": 5}, "maximum_backoff": {"seconds": 50}},
        }
        mask = {"paths": ["push_config", "retry_policy"]}
        updated = service.subscriber.update_subscription(request={"subscription": wanted, "update_mask": mask})
        got = service.subscriber.get_subscription(subscription=name)
        service.publish(topic, "x")
        endpoint.wait_for(1)
        cleared = service.subscriber.update_subscription(
            request={"subscription": {"name": name, "topic": topic}, "update_mask": {"paths": ["retry_policy"]}}
        )

    assert updated == got
    assert (got.ack_deadline_seconds, got.push_config.push_endpoint) == (20, endpoint.url)
    assert got.retry_policy.maximum_backoff == timedelta(seconds=50)
    assert "retry_policy" not in cleared


def test_what_is_not_said_has_the_documented_default(service: Service) -> None:
    topic, dead_letters = service.topic(), service.topic()
    name = service.subscription(
        topic,
        dead_letter_policy={"dead_letter_topic": dead_letters},
        retry_policy={"minimum_backoff": {"seconds": 20}},
    )
    got = service.subscriber.get_subscription(subscription=name)

    assert got.ack_deadline_seconds == 10
    assert got.message_retention_duration == timedelta(days=7)
    assert got.dead_letter_policy.max_delivery_attempts == 5
    assert got.retry_policy.minimum_backoff == timedelta(seconds=20)
    assert got.retry_policy.maximum_backoff == timedelta(seconds=600)


def test_topics_and_subscriptions_are_listed_until_they_are_deleted(service: Service) -> None:
    topic = service.topic()
    kept, deleted = service.subscription(topic), service.subscription(topic)
    service.subscriber.delete_subscription(subscription=deleted)

    assert topic in {it.name for it in service.publisher.list_topics(project="projects/demo")}
    assert service.publisher.get_topic(topic=topic).name == topic
    assert set(service.publisher.list_topic_subscriptions(topic=topic)) == {kept}
    names = {it.name for it in service.subscriber.list_subscriptions(project="projects/demo")}
    assert (kept in names, deleted in names) == (True, False)

    service.publisher.delete_topic(topic=topic)

    assert service.subscriber.get_subscription(subscription=kept).topic == "_deleted-topic_"
    with pytest.raises(exceptions.NotFound):
        service.publisher.get_topic(topic=topic)


NOWHERE = "projects/demo/topics/nowhere"
NOBODY = "projects/demo/subscriptions/nobody"


def raw_publish(service: Service, **message: Any) -> None:  # noqa: ANN401  # PubsubMessage's fields
    """Publish past the client's own checks and batches; no fields, no message."""
    messages = [types.PubsubMessage(**message)] if message else []
    request = types.PublishRequest(topic=service.topic(), messages=messages)
    PublisherClient(transport=service.publisher.transport).publish(request=request, timeout=30)


def subscribe(service: Service, endpoint: str = "", **config: Any) -> str:  # noqa: ANN401  # Subscription's fields
    return service.subscription(service.topic(), endpoint, **config)


def subscribe_dead_lettering(service: Service, attempts: int) -> None:
    subscribe(service, dead_letter_policy={"dead_letter_topic": service.topic(), "max_delivery_attempts": attempts})


def update(service: Service, paths: list[str]) -> None:
    subscription = {"name": subscribe(service), "topic": service.topic(), "enable_message_ordering": True}
    service.subscriber.update_subscription(request={"subscription": subscription, "update_mask": {"paths": paths}})


def create_again(service: Service) -> None:
    topic = service.topic()
    service.subscriber.create_subscription(name=service.subscription(topic), topic=topic)


def stream(service: Service, subscription: str, *requests: dict[str, Any], **first: Any) -> None:  # noqa: ANN401  # StreamingPullRequest's fields
    with service.stream(subscription, **first) as opened:
        for request in requests:
            opened.request(**request)
        opened.receive()


def acknowledge(service: Service, *ack_ids: str) -> None:
    service.subscriber.acknowledge(subscription=subscribe(service), ack_ids=ack_ids)


Refusals = dict[str, Callable[[Service], object]]
NOT_FOUND: Refusals = {
    "publish to no topic": lambda s: s.publish(NOWHERE, "x"),
    "delete no topic": lambda s: s.publisher.delete_topic(topic=NOWHERE),
    "subscribe to no topic": lambda s: s.subscription(NOWHERE),
    "pull from nobody": lambda s: s.pull(NOBODY),
    "acknowledge to nobody": lambda s: s.subscriber.acknowledge(subscription=NOBODY, ack_ids=["x"]),
    "stream from nobody": lambda s: stream(s, NOBODY),
    "get nobody": lambda s: s.subscriber.get_subscription(subscription=NOBODY),
    "delete nobody": lambda s: s.subscriber.delete_subscription(subscription=NOBODY),
    "dead letters to no topic": lambda s: subscribe(s, dead_letter_policy={"dead_letter_topic": NOWHERE}),
}
ALREADY_EXISTS: Refusals = {
    "a topic": lambda s: s.publisher.create_topic(name=s.topic()),
    "a subscription": create_again,
}
INVALID: Refusals = {
    "a short name": lambda s: s.publisher.create_topic(name="projects/demo/topics/ab"),
    "a name with goog": lambda s: s.publisher.create_topic(name="projects/demo/topics/google"),
    "no name": lambda s: s.publisher.get_topic(topic="nonsense"),
    "an empty message": lambda s: raw_publish(s, data=b""),
    "no message": raw_publish,
    "a pull of none": lambda s: s.pull(subscribe(s), limit=0),
    "an ack of none": acknowledge,
    "an ack of nonsense": lambda s: acknowledge(s, "nonsense"),
    "a stream of nothing": lambda s: stream(s, ""),
    "a stream with no ack deadline": lambda s: stream(s, subscribe(s), stream_ack_deadline_seconds=0),
    "a stream with an ack deadline too long": lambda s: stream(s, subscribe(s), stream_ack_deadline_seconds=601),
    "a stream that acks nonsense": lambda s: stream(s, subscribe(s), {"ack_ids": ["nonsense"]}),
    "a stream with more ack ids than deadlines": lambda s: stream(
        s, subscribe(s), {"modify_deadline_ack_ids": ["nonsense"]}
    ),
    "a stream that changes its subscription": lambda s: stream(s, subscribe(s), {"subscription": subscribe(s)}),
    "an endpoint that is no URL": lambda s: subscribe(s, "ftp:x"),
    "an ack deadline too long": lambda s: subscribe(s, ack_deadline_seconds=601),
    "a retention too short": lambda s: subscribe(s, message_retention_duration={"seconds": 599}),
    "a backoff too long": lambda s: subscribe(s, retry_policy={"maximum_backoff": {"seconds": 601}}),
    "a backoff upside down": lambda s: subscribe(
        s, retry_policy={"minimum_backoff": {"seconds": 9}, "maximum_backoff": {"seconds": 8}}
    ),
    "too few attempts": lambda s: subscribe_dead_lettering(s, 4),
    "too many attempts": lambda s: subscribe_dead_lettering(s, 101),
    "an update of nothing": lambda s: update(s, []),
    "an update of what is not there": lambda s: update(s, ["nonsense"]),
    "an update of the topic": lambda s: update(s, ["topic"]),
    "an update of the ordering": lambda s: update(s, ["enable_message_ordering"]),
}
INVALID_BUT_NOT_AT_GOOGLES_EMULATOR: Refusals = {
    "an ack deadline too short": lambda s: subscribe(s, ack_deadline_seconds=9),
    "too much data": lambda s: raw_publish(s, data=bytes(10_000_001)),
    "too many attributes": lambda s: raw_publish(s, attributes={str(n): "" for n in range(101)}),
    "an attribute of Google's": lambda s: raw_publish(s, attributes={"googX": ""}),
    "a nameless attribute": lambda s: raw_publish(s, attributes={"": "x"}),
    "a long attribute name": lambda s: raw_publish(s, attributes={"k" * 257: ""}),
    "a long attribute": lambda s: raw_publish(s, attributes={"k": "v" * 1025}),
    "a long ordering key": lambda s: raw_publish(s, data=b"x", ordering_key="k" * 1025),
    "exactly once with push": lambda s: subscribe(s, "http://127.0.0.1:9/", enable_exactly_once_delivery=True),
    "a token of nobody": lambda s: subscribe(s, "http://127.0.0.1:9/", push_config={"oidc_token": {"audience": "x"}}),
}


def each(refusals: Refusals) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("request_", [pytest.param(call, id=name) for name, call in refusals.items()])


@each(NOT_FOUND)
def test_what_is_not_there_is_not_found(service: Service, request_: Callable[[Service], object]) -> None:
    with pytest.raises(exceptions.NotFound):
        request_(service)


@each(ALREADY_EXISTS)
def test_what_is_there_cannot_be_created_again(service: Service, request_: Callable[[Service], object]) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        request_(service)


@each(INVALID)
def test_a_wrong_request_is_refused(service: Service, request_: Callable[[Service], object]) -> None:
    with pytest.raises(exceptions.BadRequest):  # INVALID_ARGUMENT; Google's emulator says OUT_OF_RANGE to some
        request_(service)


@each(INVALID_BUT_NOT_AT_GOOGLES_EMULATOR)
def test_a_wrong_request_that_googles_emulator_takes_is_refused(
    ours: Service, request_: Callable[[Service], object]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        request_(ours)


def test_a_filter_is_refused_and_not_ignored(ours: Service) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        subscribe(ours, filter='attributes.kind="customer"')


def rest_publish(host: str, topic: str, body: object) -> tuple[int, Any]:
    url = f"http://{host}/v1/{topic}:publish"
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )  # http, as written
    try:
        with urllib.request.urlopen(request, timeout=15) as response:  # noqa: S310  # as above
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_rest_form_of_publish_is_on_the_same_port(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)

    status, answer = rest_publish(service.host, topic, {"messages": [{"data": "cmVzdA==", "attributes": {"a": "b"}}]})
    (pulled,) = service.pull(subscription)

    assert (status, answer) == (200, {"messageIds": [pulled.message.message_id]})
    assert (pulled.message.data, dict(pulled.message.attributes)) == (b"rest", {"a": "b"})
    assert rest_publish(service.host, NOWHERE, {"messages": [{"data": "cmVzdA=="}]})[0] == 404
    assert rest_publish(service.host, topic, {"messages": [{}]})[0] == 400
    assert rest_publish(service.host, topic, {"message": "unknown"})[0] == 400


# Ours alone


class Pushes:
    """The emulator's own word on each push."""

    def __init__(self) -> None:
        self.all: list[Push] = []

    def __call__(self, push: Push) -> None:
        self.all.append(push)


@pytest.fixture
def pushes() -> Pushes:
    return Pushes()


def test_a_stream_has_no_more_messages_outstanding_than_it_asks_for(ours: Service) -> None:
    topic = ours.topic()
    subscription = ours.subscription(topic)
    ours.publish_all(topic, ["1", "2", "3"])
    with ours.stream(subscription, max_outstanding_messages=2) as stream:
        first = stream.receive(2)
        (third,) = ours.pull(subscription)
        ours.publish(topic, "4")
        stream.request(ack_ids=[first[0].ack_id])
        (fourth,) = stream.receive()

    assert {it.message.data for it in (*first, third)} == {b"1", b"2", b"3"}
    assert fourth.message.data == b"4"


def test_a_push_has_the_real_services_fields_and_headers(ours: Service) -> None:
    topic, dead_letters = ours.topic(), ours.topic()
    with Endpoint() as endpoint:
        ours.subscription(topic, f"{endpoint.url}/least")
        policy = {"dead_letter_topic": dead_letters}
        ours.subscription(topic, f"{endpoint.url}/most", dead_letter_policy=policy, enable_message_ordering=True)
        ours.publish(topic, "x", "key", kind="customer")
        most = {push.path: push for push in endpoint.wait_for(2)}["/most"]
        ours.publish(topic, "x")
        least = {push.path: push for push in endpoint.wait_for(4)[2:]}["/least"]

    always = {"data", "messageId", "message_id", "publishTime", "publish_time"}
    assert set(least.envelope) == {"message", "subscription"}
    assert set(least.message) == always
    assert set(most.envelope) == {"message", "subscription", "deliveryAttempt"}
    assert set(most.message) == always | {"attributes", "orderingKey"}
    assert (most.envelope["deliveryAttempt"], most.message["orderingKey"]) == (1, "key")
    assert set(least.headers) == {"host", "content-type", "content-length", "user-agent"}
    assert least.headers["user-agent"] == "CloudPubSub-Google"


def test_what_is_empty_is_absent_from_the_envelope(ours: Service) -> None:
    topic = ours.topic()
    with Endpoint() as endpoint:
        ours.subscription(topic, endpoint.url)
        ours.publish(topic, "", kind="test")
        (push,) = endpoint.wait_for(1)

    assert "data" not in push.message


def test_an_attribute_that_would_break_the_request_is_no_header(ours: Service) -> None:
    topic = ours.topic()
    with Endpoint() as endpoint:
        ours.subscription(topic, endpoint.url, push_config={"no_wrapper": {"write_metadata": True}})
        attributes = {"Host": "elsewhere", "Content-Length": "1", "line": "a\r\nb: c", "no name": "x", "city": "Köln"}
        ours.publish(topic, "bare", **attributes)
        (push,) = endpoint.wait_for(1)

    assert push.body == b"bare"
    assert push.headers["host"] == endpoint.url.removeprefix("http://")
    assert push.headers["city"].encode("latin-1").decode() == "Köln"
    assert not {"line", "b", "no name"} & set(push.headers)


@pytest.mark.parametrize("audience", ["", "https://example.com/push"], ids=["by default", "chosen"])
def test_a_push_token_is_verified_with_the_certificates(audience: str) -> None:
    email = "push@demo.iam.gserviceaccount.com"
    token_config = {"service_account_email": email, "audience": audience}
    with PubSubEmulator(speed=1000) as emulator, clients_of(emulator) as service, Endpoint() as endpoint:
        topic = service.topic()
        service.subscription(topic, f"{endpoint.url}/push", push_config={"oidc_token": token_config})
        service.publish(topic, "x")
        (push,) = endpoint.wait_for(1)
        with urllib.request.urlopen(emulator.certs_url, timeout=15) as response:  # noqa: S310  # http, on this machine
            cache_control = response.headers["Cache-Control"]
            certificates = json.load(response)

    scheme, _, token = push.headers["authorization"].partition(" ")
    expected = audience or f"{endpoint.url}/push"
    claims = google.auth.jwt.decode(token, certs=certificates, audience=expected)  # type: ignore[no-untyped-call]  # google-auth's own lack
    assert scheme == "Bearer"
    assert "max-age=" in cache_control
    assert set(claims) == {"aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"}
    assert (claims["email"], claims["email_verified"]) == (email, True)
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60  # a fast emulator signs with the real time


def test_redirects_are_nacks_and_are_not_followed(ours: Service) -> None:
    topic = ours.topic()
    with Endpoint() as elsewhere:

        def answer(push: Received) -> int:
            return int(push.path[1:]) if push.nth < 2 else 204

        with Endpoint(answer, headers={"Location": elsewhere.url}) as endpoint:
            for status in (301, 302, 303, 307, 308):
                ours.subscription(topic, f"{endpoint.url}/{status}")
            ours.publish(topic, "x")
            received = endpoint.wait_for(10)

        assert {push.method for push in received} == {"POST"}
        assert elsewhere.received == []


@pytest.fixture(scope="session", autouse=True)
def slow_endpoint(ours: Service) -> Iterator[Endpoint]:
    """An endpoint that answers its first push only after the second; begun before any test, as it takes a while."""
    second_push = threading.Event()

    def answer(push: Received) -> int:
        if push.nth == 1:
            second_push.wait(60)
        else:
            second_push.set()
        return 204

    with Endpoint(answer) as endpoint:
        topic = ours.topic()
        ours.subscription(topic, endpoint.url, ack_deadline_seconds=10)
        ours.publish(topic, "slow")
        yield endpoint
        second_push.set()


def test_an_answer_past_the_ack_deadline_is_a_nack(slow_endpoint: Endpoint) -> None:
    first, second = slow_endpoint.wait_for(2, seconds=25)

    assert second.at - first.at > 9  # real seconds, however fast the emulator, but for what the first took to arrive
    assert second.message["messageId"] == first.message["messageId"]


def test_a_connection_reset_without_an_answer_is_one_nack(pushes: Pushes) -> None:
    with PubSubEmulator(on_push=pushes) as emulator, clients_of(emulator) as service:
        topic = service.topic()
        with Endpoint(lambda push: RESET if push.nth == 1 else 200) as endpoint:
            service.subscription(topic, endpoint.url)
            service.publish(topic, "x")

            assert emulator.wait_until_idle(15)
            assert len(endpoint.received) == 2

    assert [(push.status, push.acknowledged, push.delivery_attempt) for push in pushes.all] == [
        (None, False, 1),
        (200, True, 2),
    ]


def test_what_is_pushed_is_reported(pushes: Pushes) -> None:
    with (
        PubSubEmulator(speed=1000, on_push=pushes) as emulator,
        clients_of(emulator) as service,
        ReservedPort() as gone,
    ):
        topic, dead_letters = service.topic(), service.topic()
        policy = {"dead_letter_topic": dead_letters}
        subscription = service.subscription(topic, f"http://127.0.0.1:{gone.number}", dead_letter_policy=policy)
        message_id = service.publish(topic, "x", kind="customer")

        assert emulator.wait_until_idle(15, subscription)

    assert {(push.subscription, push.message_id, push.status, push.acknowledged) for push in pushes.all} == {
        (subscription, message_id, None, False)
    }
    assert [(push.delivery_attempt, push.dead_lettered) for push in pushes.all] == [
        (1, False),
        (2, False),
        (3, False),
        (4, False),
        (5, True),
    ]
    assert {tuple(push.attributes.items()) for push in pushes.all} == {(("kind", "customer"),)}
    assert all(0 <= push.seconds < 10 for push in pushes.all)


def test_dead_lettering_frees_the_ordering_key(ours: Service) -> None:
    topic, dead_letters = ours.topic(), ours.topic()
    drawer = ours.subscription(dead_letters)
    with Endpoint(lambda push: 500 if push.text == "poison" else 204) as endpoint:
        policy = {"dead_letter_topic": dead_letters, "max_delivery_attempts": 5}
        ours.subscription(topic, endpoint.url, dead_letter_policy=policy, enable_message_ordering=True)
        ours.publish_all(topic, ["poison", "next"], ordering_key="key")
        received = endpoint.wait_for(6)
        (letter,) = ours.pull(drawer)

    assert [push.text for push in received] == ["poison"] * 5 + ["next"]
    assert (letter.message.data, letter.message.ordering_key) == (b"poison", "key")


def test_without_a_dead_letter_topic_to_go_to_a_message_is_tried_on(ours: Service) -> None:
    topic, dead_letters = ours.topic(), ours.topic()
    with Endpoint(lambda push: 500 if push.nth < 7 else 204) as endpoint:
        ours.subscription(topic, endpoint.url, dead_letter_policy={"dead_letter_topic": dead_letters})
        ours.publisher.delete_topic(topic=dead_letters)
        ours.publish(topic, "x")
        received = endpoint.wait_for(7)

    assert [push.envelope["deliveryAttempt"] for push in received] == [1, 2, 3, 4, 5, 6, 7]


def gaps(received: list[Received]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(received)]


def test_a_retry_policy_doubles_the_wait_and_speed_divides_it() -> None:
    with (
        PubSubEmulator(speed=200) as emulator,
        clients_of(emulator) as service,
        Endpoint(lambda push: 500 if push.nth < 6 else 204) as endpoint,
    ):
        topic = service.topic()
        policy = {"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 50}}
        service.subscription(topic, endpoint.url, retry_policy=policy)
        service.publish(topic, "x")
        waited = gaps(endpoint.wait_for(6))

    for gap, shortest in zip(waited, (0.05, 0.1, 0.2, 0.25, 0.25), strict=True):
        assert shortest <= gap < 5  # no sooner than the policy, and long before the undivided wait


def test_nacks_pause_the_whole_subscription_each_time_for_longer() -> None:
    with (
        PubSubEmulator() as emulator,
        clients_of(emulator) as service,
        Endpoint(lambda push: 500 if push.text == "poison" and push.nth < 4 else 204) as endpoint,
    ):
        topic = service.topic()
        service.subscription(topic, endpoint.url)
        service.publish(topic, "poison")
        third = endpoint.wait_for(3)[2]
        service.publish(topic, "innocent")
        received = endpoint.wait_for(5)

    innocent = next(push for push in received if push.text == "innocent")
    assert innocent.at - third.at >= 0.4
    for gap, shortest in zip(gaps([push for push in received if push.text == "poison"]), (0.1, 0.2, 0.4), strict=True):
        assert gap >= shortest


def test_the_window_of_pushes_in_flight_at_most_doubles_with_each_ack() -> None:
    under_way, acknowledged, most_allowed = 0, 0, True
    lock = threading.Lock()
    together = threading.Barrier(32)

    def answer(push: Received) -> int:
        nonlocal under_way, acknowledged, most_allowed
        with lock:
            under_way += 1
            most_allowed = most_allowed and under_way <= 2**acknowledged
            is_slow = int(push.text) >= 8
        if is_slow:
            together.wait(15)  # breaks, and so fails the test, unless 32 pushes are under way at a time
        with lock:
            under_way -= 1
            acknowledged += 1
        return 204

    with PubSubEmulator() as emulator, clients_of(emulator) as service, Endpoint(answer) as endpoint:
        topic = service.topic()
        service.subscription(topic, endpoint.url)
        service.publish_all(topic, [str(number) for number in range(8 + 2 * 32)])

        assert emulator.wait_until_idle(20)
        assert len(endpoint.received) == 8 + 2 * 32

    assert most_allowed
    assert not together.broken


def test_connections_are_used_again(pushes: Pushes) -> None:
    with PubSubEmulator(on_push=pushes) as emulator, clients_of(emulator) as service, Endpoint() as endpoint:
        topic = service.topic()
        service.subscription(topic, endpoint.url, enable_message_ordering=True)
        service.publish_all(topic, [str(number) for number in range(20)], ordering_key="one after the other")

        assert emulator.wait_until_idle(15)
        assert len(endpoint.received) == 20
        assert endpoint.connections <= 3  # one, if no more than a second passes between two pushes


def test_a_duplicate_is_pushed_once_more_after_its_ack() -> None:
    with (
        PubSubEmulator(speed=100, duplicate=1.0) as emulator,
        clients_of(emulator) as service,
        Endpoint(lambda push: 500 if push.nth == 1 else 204) as endpoint,
    ):
        topic = service.topic()
        subscription = service.subscription(topic, endpoint.url)
        service.publish_all(topic, ["a", "b"])

        assert emulator.wait_until_idle(15)
        assert Counter(push.text for push in endpoint.received) == {"a": 3, "b": 3}
        assert emulator.backlog(subscription) == 0


def doubled(seed: int) -> set[str]:
    with (
        PubSubEmulator(speed=100, duplicate=0.3, seed=seed) as emulator,
        clients_of(emulator) as service,
        Endpoint() as endpoint,
    ):
        service.publisher.create_topic(name="projects/demo/topics/same")
        service.subscriber.create_subscription(
            name="projects/demo/subscriptions/same",
            topic="projects/demo/topics/same",
            push_config={"push_endpoint": endpoint.url},
        )
        service.publish_all("projects/demo/topics/same", [str(number) for number in range(40)])

        assert emulator.wait_until_idle(15)
        counts = Counter(push.text for push in endpoint.received)
        assert set(counts.values()) == {1, 2}
        return {text for text, count in counts.items() if count == 2}


def test_a_seed_makes_the_faults_the_same_again() -> None:
    assert doubled(seed=1) == doubled(seed=1) != doubled(seed=2)


def test_reordering_lets_later_messages_overtake_but_not_within_an_ordering_key() -> None:
    with (
        PubSubEmulator(reorder=0.5, seed=1) as emulator,
        clients_of(emulator) as service,
        Endpoint() as endpoint,
    ):
        topic = service.topic()
        service.subscription(topic, endpoint.url, enable_message_ordering=True)
        numbers = [str(number) for number in range(20)]
        service.publish_all(topic, numbers)
        service.publish_all(topic, [f"k{number}" for number in numbers], ordering_key="key")

        assert emulator.wait_until_idle(15)
        texts = [push.text for push in endpoint.received]

    assert sorted(texts) == sorted(numbers + [f"k{number}" for number in numbers])
    assert [text for text in texts if text in numbers] != numbers
    assert [text for text in texts if text not in numbers] == [f"k{number}" for number in numbers]


def test_a_message_is_dropped_when_it_outlives_its_retention() -> None:
    with PubSubEmulator(speed=6000) as emulator, clients_of(emulator) as service:
        topic = service.topic()
        subscription = service.subscription(topic, message_retention_duration={"seconds": 600})
        service.publish_all(topic, ["a", "b"])

        assert emulator.wait_until_idle(15, subscription)
        assert emulator.backlog(subscription) == 0


def test_idle_is_when_nothing_pushed_is_outstanding() -> None:
    release = threading.Event()

    def answer(_: Received) -> int:
        release.wait(15)
        return 204

    with PubSubEmulator() as emulator, clients_of(emulator) as service, Endpoint(answer) as endpoint:
        topic = service.topic()
        pulled, pushed = service.subscription(topic), service.subscription(topic, endpoint.url)
        assert emulator.wait_until_idle(0)
        service.publish_all(topic, ["a", "b"])
        assert (emulator.backlog(pulled), emulator.backlog(pushed)) == (2, 2)
        assert not emulator.wait_until_idle(0.05)
        release.set()

        assert emulator.wait_until_idle(15)
        assert (emulator.backlog(pulled), emulator.backlog(pushed)) == (2, 0)
        assert not emulator.wait_until_idle(0, pulled)


def test_a_deleted_subscription_is_idle() -> None:
    with PubSubEmulator() as emulator, clients_of(emulator) as service, Endpoint(lambda _: 500) as endpoint:
        topic = service.topic()
        subscription = service.subscription(topic, endpoint.url)
        service.publish(topic, "x")
        endpoint.wait_for(2)
        service.subscriber.delete_subscription(subscription=subscription)

        assert emulator.wait_until_idle(15)


def test_stopping_ends_every_thread_while_pushes_pulls_and_streams_are_under_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()

    def answer(_: Received) -> int:
        release.wait(15)
        return 204

    before = set(threading.enumerate())
    emulator = PubSubEmulator()
    emulator.start()
    with clients_of(emulator) as service, Endpoint(answer) as endpoint, ExitStack() as stack:
        topic = service.topic()
        service.subscription(topic, endpoint.url)
        service.publish(topic, "x")
        endpoint.wait_for(1)
        opened = service.subscription(topic)
        service.publish(topic, "y")
        streaming = stack.enter_context(service.stream(opened))
        streaming.receive()
        empty = service.subscription(topic)

        def pull() -> None:
            with pytest.raises(exceptions.GoogleAPICallError):
                service.subscriber.pull(subscription=empty, max_messages=1, timeout=9, retry=None)

        pulling = threading.Thread(target=pull)
        pulling.start()
        its_own = {thread for thread in threading.enumerate() if thread.name.startswith("pubsub")} - before

        stopped_at = time.monotonic()
        emulator.stop()
        emulator.stop()
        seconds = time.monotonic() - stopped_at
        release.set()
        pulling.join()
        with pytest.raises(exceptions.GoogleAPICallError):
            streaming.receive()

    assert seconds < 5
    assert its_own
    assert not any(thread.is_alive() for thread in its_own)
    assert caplog.records == []


def test_a_port_can_be_chosen_and_a_taken_one_is_refused() -> None:
    with ReservedPort() as port:
        for _ in range(2):
            with PubSubEmulator(port=port.number) as emulator, pytest.raises(OSError, match="in use"):
                PubSubEmulator(port=port.number).start()
            assert emulator.host == f"127.0.0.1:{port.number}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_it_is_told_to_stop(number: signal.Signals) -> None:
    command = [sys.executable, "-X", "dev", "-m", "playground.pubsub", "--port", "0", "--speed", "2"]
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **piped) as process:  # noqa: S603  # as written above
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("PUBSUB_EMULATOR_HOST=127.0.0.1:")
        host = line.strip().partition("=")[2]
        assert rest_publish(host, NOWHERE, {"messages": [{"data": "eA=="}]})[0] == 404
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=15)

    assert (process.returncode, output, errors) == (0, "", "")
