"""The push envelope: each that Pub/Sub may write opens, each other is refused with its reason."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from service.pubsub.envelope import PushMessage, open_envelope
from service.serving.decoding import Malformed
from tests.builders import SUBSCRIPTION, a_change, a_cloud_event, a_push
from tests.strategies import envelopes_of

NO_HEADERS = Headers()
MESSAGE_ID = "2070443601311540"


def test_a_full_envelope_opens_to_all_that_it_says() -> None:
    body = a_push(b"data", attributes={"key": "value"}, orderingKey="order", deliveryAttempt=5)

    message = open_envelope(body, NO_HEADERS)

    assert message == PushMessage(
        data=b"data",
        attributes={"key": "value"},
        message_id=MESSAGE_ID,
        ordering_key="order",
        subscription=SUBSCRIPTION,
        delivery_attempt=5,
        publish_time="2026-02-03T04:05:07.000Z",
    )


def test_what_pubsub_leaves_out_is_empty() -> None:
    body = json.dumps({"message": {"data": base64.b64encode(b"data").decode()}}).encode()

    message = open_envelope(body, NO_HEADERS)

    assert message == PushMessage(
        data=b"data", attributes={}, message_id="", ordering_key="", subscription="", delivery_attempt=None
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"messageId": None}, {"message_id": MESSAGE_ID}, id="only message_id"),
        pytest.param({"message_id": None}, {"message_id": MESSAGE_ID}, id="only messageId"),
        pytest.param({"messageId": None, "message_id": None}, {"message_id": ""}, id="no message id"),
        pytest.param({"attributes": {}}, {"attributes": {}}, id="empty attributes"),
        pytest.param({"attributes": {"n": 1, "b": True}}, {"attributes": {"n": "1", "b": "True"}}, id="odd attributes"),
        pytest.param({"data": None, "attributes": {"a": "b"}}, {"data": b"", "attributes": {"a": "b"}}, id="no data"),
        pytest.param({"data": ""}, {"data": b""}, id="empty data, as the emulator writes it"),
        pytest.param({"publishTime": 5, "of_tomorrow": {"a": 1}}, {"data": b"data"}, id="unknown fields"),
        pytest.param({"subscription": None}, {"subscription": ""}, id="no subscription"),
        pytest.param({"deliveryAttempt": None}, {"delivery_attempt": None}, id="no delivery attempt"),
        pytest.param({"deliveryAttempt": 100}, {"delivery_attempt": 100}, id="the last delivery attempt"),
    ],
)
def test_an_envelope_may_have_less_or_more(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    message = open_envelope(a_push(b"data", **changes), NO_HEADERS)

    assert {name: getattr(message, name) for name in expected} == expected


@pytest.mark.parametrize("name", ["data", "attributes", "messageId", "orderingKey"])
def test_a_null_in_the_message_counts_as_left_out(name: str) -> None:
    envelope = json.loads(a_push(b"data", attributes={"key": "value"}, orderingKey="order", message_id=None))
    without = json.loads(json.dumps(envelope))
    envelope["message"][name] = None
    del without["message"][name]

    assert open_envelope(json.dumps(envelope).encode(), NO_HEADERS) == open_envelope(
        json.dumps(without).encode(), NO_HEADERS
    )


@pytest.mark.parametrize("name", ["subscription", "deliveryAttempt"])
def test_a_null_beside_the_message_counts_as_left_out(name: str) -> None:
    envelope = json.loads(a_push(b"data"))

    message = open_envelope(json.dumps(envelope | {name: None}).encode(), NO_HEADERS)

    assert message == open_envelope(a_push(b"data", **{name: None}), NO_HEADERS)


def test_the_emulators_envelope_opens() -> None:
    body = (
        rb'{"subscription":"projects\/example-project\/subscriptions\/example-push","message":{"publishTime":'
        rb'"2026-11-23T08:24:08.991Z","data":"eyJhIjoxfQ==","publish_time":"2026-11-23T08:24:08.991Z",'
        rb'"messageId":"1","attributes":{},"message_id":"1"}}'
    )

    message = open_envelope(body, NO_HEADERS)

    assert message == PushMessage(
        data=b'{"a":1}', message_id="1", subscription=SUBSCRIPTION, publish_time="2026-11-23T08:24:08.991Z"
    )


def an_eventarc_event(**changes: object) -> bytes:
    """The structured form of what Eventarc's trigger for a topic sends: the push body is the data of a CloudEvent."""
    event = {
        "specversion": "1.0",
        "id": MESSAGE_ID,
        "source": "//pubsub.googleapis.com/projects/example-project/topics/example",
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
        "datacontenttype": "application/json",
        "time": "2026-11-23T08:24:08.991Z",
        "data": json.loads(a_push(a_cloud_event(a_change()), attributes={"key": "value"}, deliveryAttempt=2)),
    }
    return json.dumps(event | changes).encode()


def test_a_structured_eventarc_event_is_read_as_its_binary_form() -> None:
    binary = json.dumps(json.loads(an_eventarc_event())["data"]).encode()

    message = open_envelope(an_eventarc_event(), NO_HEADERS)

    assert message == open_envelope(binary, NO_HEADERS)
    assert (message.message_id, message.delivery_attempt) == (MESSAGE_ID, 2)


def test_an_event_of_another_type_is_a_bare_message() -> None:
    body = an_eventarc_event(type="com.commercetools.customer.change.ResourceUpdated")

    assert open_envelope(body, NO_HEADERS) == PushMessage(data=body)


@pytest.mark.parametrize(
    "notification",
    [
        pytest.param(a_change(), id="Platform"),
        pytest.param(a_cloud_event(a_change()), id="CloudEvent"),
        pytest.param(a_change(message={"data": "canary"}), id="with a field named message"),
        pytest.param({"anything": "else"}, id="something else"),
    ],
)
def test_an_unwrapped_push_is_its_own_data(notification: dict[str, Any]) -> None:
    body = json.dumps(notification).encode()

    assert open_envelope(body, NO_HEADERS) == PushMessage(data=body)


def test_an_unwrapped_pushs_metadata_is_in_its_headers() -> None:
    body = json.dumps(a_change()).encode()
    headers = Headers(
        {
            "X-Goog-Pubsub-Message-Id": MESSAGE_ID,
            "X-Goog-Pubsub-Ordering-Key": "order",
            "X-Goog-Pubsub-Subscription-Name": SUBSCRIPTION,
            "X-Goog-Pubsub-Delivery-Attempt": "7",
        }
    )

    message = open_envelope(body, headers)

    assert message == PushMessage(
        data=body, message_id=MESSAGE_ID, ordering_key="order", subscription=SUBSCRIPTION, delivery_attempt=7
    )


@pytest.mark.parametrize(
    ("publish_time", "age"),
    [
        pytest.param("2026-11-23T08:24:00Z", 8.0, id="seconds"),
        pytest.param("2026-11-23T08:24:07.123456789Z", 0.876544, id="nanoseconds"),
        pytest.param("2026-11-23T10:24:00+02:00", 8.0, id="an offset"),
        pytest.param("2026-10-23T08:24:09Z", 31 * 86_400.0 - 1, id="as old as Pub/Sub keeps any"),
        pytest.param("2026-01-01T00:00:00Z", 0.0, id="older than that"),
        pytest.param("2026-11-23T08:24:09Z", 0.0, id="in the future"),
        pytest.param("2026-11-23T08:24:00", 0.0, id="no offset"),
        pytest.param("yesterday", 0.0, id="no time"),
        pytest.param("", 0.0, id="nothing"),
    ],
)
def test_a_messages_age_is_known_where_its_publish_time_can_be(publish_time: str, age: float) -> None:
    now = datetime(2026, 11, 23, 8, 24, 8, tzinfo=UTC)
    message = PushMessage(data=b"", publish_time=publish_time)

    assert message.age(now) == pytest.approx(age)


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="a letter"),
        pytest.param("-1", id="negative"),
        pytest.param("1.5", id="no integer"),
        pytest.param("\u0661", id="an Arabic digit"),
        pytest.param("\u00b2", id="a superscript"),
        pytest.param("9" * 5000, id="more digits than Python reads"),
    ],
)
def test_an_unwrapped_pushs_odd_delivery_attempt_counts_as_left_out(attempt: str) -> None:
    headers = Headers({"X-Goog-Pubsub-Delivery-Attempt": attempt})

    assert open_envelope(json.dumps(a_change()).encode(), headers).delivery_attempt is None


REFUSED = [
    pytest.param(b"", "the push body is not JSON", id="nothing"),
    pytest.param(b"canary", "the push body is not JSON", id="a word"),
    pytest.param(b'{"canary": ', "the push body is not JSON", id="cut off"),
    pytest.param(b"\xff\xfe\xfa canary", "the push body is not JSON", id="not UTF-8"),
    pytest.param(b'{"canary": NaN}', "the push body is not JSON", id="NaN"),
    pytest.param(b'{"canary": -Infinity}', "the push body is not JSON", id="Infinity"),
    pytest.param(b'{"canary": ' + b"9" * 5000 + b"}", "the push body is not JSON", id="an endless number"),
    pytest.param(b'{"canary":' * 200_000, "the push body is nested too deeply", id="nested objects"),
    pytest.param(b"[" * 200_000, "the push body is nested too deeply", id="nested arrays"),
    pytest.param(b'["canary"]', "the push body is not a JSON object", id="an array"),
    pytest.param(b'"canary"', "the push body is not a JSON object", id="a string"),
    pytest.param(b"null", "the push body is not a JSON object", id="null"),
    pytest.param(
        b'{"message": null}', "the push envelope is not valid: message: Field may not be null", id="a null message"
    ),
    pytest.param(
        b'{"message": "canary"}',
        "the push envelope is not valid: message: Invalid input type",
        id="a message that is a string",
    ),
    pytest.param(
        a_push(b"", data=["canary"]),
        "the push envelope is not valid: message.data: Not a valid string",
        id="data that is a list",
    ),
    pytest.param(
        a_push(b"", messageId={"canary": 1}),
        "the push envelope is not valid: message.messageId: Not a valid string",
        id="a message id that is an object",
    ),
    pytest.param(
        a_push(b"", messageId=None, message_id=5),
        "the push envelope is not valid: message.message_id: Not a valid string",
        id="a message_id that is a number",
    ),
    pytest.param(
        a_push(b"", attributes=["canary"]),
        "the push envelope is not valid: message.attributes: Not a valid mapping type",
        id="attributes that are a list",
    ),
    pytest.param(
        a_push(b"", subscription=["canary"]),
        "the push envelope is not valid: subscription: Not a valid string",
        id="a subscription that is a list",
    ),
    pytest.param(
        a_push(b"", deliveryAttempt="canary"),
        "the push envelope is not valid: deliveryAttempt: Not a valid integer",
        id="a delivery attempt that is a word",
    ),
    pytest.param(
        an_eventarc_event(data=None),
        "the Eventarc event is not valid: data: Field may not be null",
        id="an Eventarc event without data",
    ),
    pytest.param(
        an_eventarc_event(data="canary"),
        "the Eventarc event is not valid: data: Invalid input type",
        id="an Eventarc event with data that is a string",
    ),
    pytest.param(
        an_eventarc_event(data={"canary": 1}),
        "the Eventarc event is not valid: data.message: Missing data for required field",
        id="an Eventarc event without a message",
    ),
    pytest.param(a_push(b"", data="canary!"), "the message's data is not base64", id="data that is not base64"),
    pytest.param(
        a_push(b"", data="canary!!ca"), "the message's data is not base64", id="data with something in between"
    ),
    pytest.param(a_push(b"", data="canaryx"), "the message's data is not base64", id="data without padding"),
    pytest.param(a_push(b"", data="-_8="), "the message's data is not base64", id="data in the URL-safe alphabet"),
    pytest.param(a_push(b"", data="canaryé="), "the message's data is not base64", id="data beyond ASCII"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_is_no_envelope_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as refusal:
        open_envelope(body, NO_HEADERS)

    assert str(refusal.value) == reason
    assert "canary" not in str(refusal.value)


@given(st.data(), st.binary(max_size=200))
def test_whatever_the_envelope_its_data_comes_out_unchanged(data: st.DataObject, content: bytes) -> None:
    body = data.draw(envelopes_of(st.just(content)))

    assert open_envelope(body, NO_HEADERS).data == content


@given(
    st.recursive(
        st.sampled_from(["canary", "canary\u00e9", 5, 1.5, True, None]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["message", "data", "attributes", "messageId", "subscription", "deliveryAttempt"]),
                inner,
            )
        ),
    )
)
def test_a_refusal_never_quotes_what_it_refuses(document: object) -> None:
    try:
        open_envelope(json.dumps(document).encode(), NO_HEADERS)
    except Malformed as refusal:
        assert "canary" not in str(refusal)  # noqa: PT017  # some of these documents open
