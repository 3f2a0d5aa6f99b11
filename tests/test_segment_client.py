"""Nothing fools this service into believing in a delivery that never was.

Segment's library lets a caller believe so in many ways; each has a test here, over the real library and real HTTP.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment.analytics.client import Client

from playground.segment import SegmentStandIn
from playground.stand_in import (
    RESET_AFTER_READ,
    Answer,
    Call,
    Fault,
    answer,
)
from service.config import ClearTraits, UserIdField
from service.segment import (
    NotDelivered,
    SegmentClient,
    SegmentEvent,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
    library,
)
from service.segment.types import SegmentError
from service.transformation import IdentifyRules, transform_customer_to_segment
from tests.callers import PATIENCE, Clock, all_at_once, run_script
from tests.strategies import customers

WRITE_KEY = "stand-in-write-key"
NO_END = float("inf")
KIBIBYTE = 1024


@pytest.fixture
def segment() -> Iterator[SegmentStandIn]:
    with SegmentStandIn(WRITE_KEY) as stand_in:
        yield stand_in


def client_of(segment: SegmentStandIn, call_seconds: float = 10.0) -> SegmentClient:
    return SegmentClient(WRITE_KEY, segment.url, call_seconds=call_seconds)


@given(customers, st.sampled_from(list(ClearTraits)))
def test_an_event_is_what_the_library_makes_of_the_same_identify(document: dict[str, Any], clear: ClearTraits) -> None:
    payload = transform_customer_to_segment(document, IdentifyRules(UserIdField.ID, clear), project_key="example-shop")
    payload.setdefault("timestamp", datetime(2026, 1, 2, tzinfo=UTC))
    payload["user_id"] = payload["user_id"].strip() or "nobody"
    ours, size = SegmentClient(WRITE_KEY).event_for(SegmentEvent("identify", payload))

    _, theirs = Client(WRITE_KEY, send=False, sync_mode=True).identify(**payload)

    assert ours == theirs
    assert size == len(json.dumps(theirs)) + len(", ")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        pytest.param("track", {"event": "Order Completed", "properties": {"total": 1.5}}, id="track"),
        pytest.param("group", {"group_id": "unit-1", "traits": {"name": "ä"}}, id="group"),
    ],
)
def test_the_builder_makes_the_librarys_track_and_group_too(call: str, arguments: dict[str, Any]) -> None:
    common = {"user_id": "user-1", "timestamp": datetime(2026, 1, 2, tzinfo=UTC), "message_id": "message-1"}

    ours = getattr(library.Builder(WRITE_KEY), call)(**common, **arguments)

    assert ours == getattr(Client(WRITE_KEY, send=False, sync_mode=True), call)(**common, **arguments)


def an_identify(number: int = 1, **changes: Any) -> SegmentIdentifyPayload:  # noqa: ANN401  # any value
    payload: dict[str, Any] = {
        "user_id": f"user-{number}",
        "traits": {"email": f"user-{number}@example.com"},
        "message_id": f"message-{number}",
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    }
    return SegmentIdentifyPayload(**(payload | changes))  # type: ignore[typeddict-item, no-any-return]  # changes may be anything


def send_all(segment: SegmentStandIn, payloads: Sequence[SegmentIdentifyPayload]) -> list[SegmentIntegrationResult]:
    """Send all of them at the same moment, as pushes arrive."""
    clock = Clock()
    client = SegmentClient(WRITE_KEY, segment.url, call_seconds=PATIENCE, clock=clock)
    sends = [partial(client.send, [SegmentEvent("identify", payload)], NO_END) for payload in payloads]
    return all_at_once(sends, clock, segment)


def reason_of(client: SegmentClient, payload: SegmentIdentifyPayload) -> str:
    with pytest.raises(NotDelivered) as not_delivered:
        client.identify(**payload)
    return not_delivered.value.error.message


def test_what_segment_confirmed_has_arrived_as_it_was_handed_over(segment: SegmentStandIn) -> None:
    client_of(segment).identify(
        **an_identify(context={"active": False}, traits={"email": "a@example.com", "phone": None})
    )

    [event] = segment.events
    assert event["type"] == "identify"
    assert event["userId"] == "user-1"
    assert event["traits"] == {"email": "a@example.com", "phone": None}
    assert event["messageId"] == "message-1"
    assert event["timestamp"] == "2026-01-02T03:04:05.678+00:00"
    assert event["context"]["active"] is False


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(answer(401), "Segment answered 401", id="401"),
        pytest.param(answer(404), "Segment answered 404", id="404"),
        pytest.param(answer(408), "Segment answered 408", id="408"),
        pytest.param(answer(202), "what answered 202 is not Segment", id="202"),
        pytest.param(answer(204, body=b""), "what answered 204 is not Segment", id="204"),
        pytest.param(answer(200, body=b'{"success": false}'), "what answered 200 is not Segment", id="success false"),
        pytest.param(answer(200, body=b'{"success": "true"}'), "what answered 200 is not Segment", id="success a word"),
        pytest.param(answer(300, body=b""), "Segment answered 300", id="300"),
        pytest.param(answer(304, body=b""), "Segment answered 304", id="304"),
    ],
)
def test_no_other_answer_is_a_delivery_and_none_is_tried_again_here(
    segment: SegmentStandIn, fault: Fault, reason: str
) -> None:
    segment.fail(fault)

    assert reason_of(client_of(segment), an_identify()) == reason

    assert len(segment.calls) == 1
    assert segment.events == []


def test_what_was_taken_before_the_connection_broke_is_not_doubled_by_sending_it_again(segment: SegmentStandIn) -> None:
    client = client_of(segment)
    segment.fail_next(RESET_AFTER_READ.after_effect())
    assert reason_of(client, an_identify()) == "Segment was not reached: the connection was closed"

    client.identify(**an_identify())

    assert [event["messageId"] for event in segment.events] == ["message-1"]
    assert segment.duplicates == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_refused_alone_is_refused_for_good(segment: SegmentStandIn, status: int) -> None:
    segment.fail(answer(status))

    with pytest.raises(NotDelivered) as not_delivered:
        client_of(segment).identify(**an_identify())

    assert not_delivered.value.error.refused
    assert len(segment.calls) == 1


def test_what_refuses_every_event_is_not_believed(segment: SegmentStandIn) -> None:
    client = client_of(segment)
    segment.fail(answer(400))

    errors = [client.send([SegmentEvent("identify", an_identify(n))], float("inf")).error for n in range(2)]

    assert errors == [SegmentError("Segment answered 400, and confirms nothing")] * 2
    assert not client.believes_refusals


def test_a_refusal_beside_a_confirmation_is_believed_for_ten_minutes(segment: SegmentStandIn) -> None:
    clock = Clock()
    client = SegmentClient(segment.write_key, segment.url, clock=clock)
    client.identify(**an_identify(1))
    segment.fail(answer(400))

    def refused() -> bool:
        error = client.send([SegmentEvent("identify", an_identify(2))], clock.now + 20).error
        assert error is not None
        return error.refused

    assert refused()
    clock.set(clock.now + 600)
    assert not refused()


def test_twenty_refusals_in_a_row_are_believed_and_no_more_until_the_next_confirmation(
    segment: SegmentStandIn,
) -> None:
    client = client_of(segment)
    client.identify(**an_identify(0))
    segment.fail(answer(400))

    def refused() -> bool:
        error = client.send([SegmentEvent("identify", an_identify(1))], float("inf")).error
        assert error is not None
        return error.refused

    assert [refused() for _ in range(22)] == [True] * 20 + [False] * 2
    segment.fail(None)
    client.identify(**an_identify(2))
    segment.fail(answer(400))
    assert refused()


@pytest.mark.parametrize("not_json", [float("nan"), float("inf"), [1, {"deep": float("-inf")}]])
def test_nan_in_one_event_is_refused_before_it_can_spoil_its_neighbours(
    segment: SegmentStandIn, not_json: object
) -> None:
    payloads = [an_identify(n) for n in range(20)]
    payloads[7]["traits"]["score"] = not_json

    results = send_all(segment, payloads)

    assert [number for number, result in enumerate(results) if not result.success] == [7]
    assert results[7].error is not None
    assert results[7].error.refused
    assert len(segment.events) == 19


@pytest.mark.parametrize(
    "dropped",
    [
        pytest.param(uuid.UUID(int=7), id="a UUID"),
        pytest.param({"a", "b"}, id="a set"),
        pytest.param([1, object()], id="a list with an object in it"),
        pytest.param(datetime(2026, 1, 1, tzinfo=UTC), id="a datetime"),
        pytest.param(b"bytes", id="bytes"),
    ],
)
def test_a_trait_that_the_library_would_drop_or_change_is_refused(segment: SegmentStandIn, dropped: object) -> None:
    with pytest.raises(NotDelivered) as not_delivered:
        client_of(segment).identify(**an_identify(traits={"email": "a@example.com", "odd": dropped}))

    assert not_delivered.value.error.message in {"the event is not plain JSON", "the event cannot be built: TypeError"}
    assert not_delivered.value.error.refused
    assert segment.calls == []


def test_an_event_larger_than_segment_takes_is_refused_without_a_call(segment: SegmentStandIn) -> None:
    with pytest.raises(NotDelivered) as not_delivered:
        client_of(segment).identify(**an_identify(traits={"note": "x" * 33 * KIBIBYTE}))

    assert not_delivered.value.error.message == "the event is larger than Segment's 32 KiB"
    assert not_delivered.value.error.refused
    assert segment.calls == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"user_id": ""}, id="no user id"),
        pytest.param({"user_id": "  "}, id="a blank user id"),
        pytest.param({"message_id": ""}, id="an empty messageId"),
        pytest.param({"message_id": "m" * 101}, id="a messageId of 101 characters"),
        pytest.param({"timestamp": "2026-01-01T00:00:00Z"}, id="a timestamp that is text"),
        pytest.param({"traits": []}, id="traits that are a list, though an empty one"),
        pytest.param({"context": {"library": {"name": "another"}}}, id="a context that names another library"),
    ],
)
def test_what_segment_would_drop_behind_a_200_is_refused_here(segment: SegmentStandIn, changes: dict[str, Any]) -> None:
    with pytest.raises(NotDelivered) as not_delivered:
        client_of(segment).identify(**an_identify(**changes))

    assert not_delivered.value.error.refused
    assert segment.calls == []


def test_a_batch_is_never_larger_than_segment_takes(segment: SegmentStandIn) -> None:
    payloads = [an_identify(n, traits={"note": "ä" * 5000}) for n in range(60)]  # 30 KB each, escaped

    results = send_all(segment, payloads)

    assert all(result.success for result in results)
    assert len(segment.events) == 60
    sizes = [len(call.body) for call in segment.calls]
    assert max(sizes) <= 475_000
    assert max(sizes) > 400_000, "and the batches were full"


def test_callers_that_wait_at_the_same_moment_share_calls(segment: SegmentStandIn) -> None:

    results = send_all(segment, [an_identify(n) for n in range(100)])

    assert all(result.success for result in results)
    assert len(segment.events) == 100
    assert len(segment.calls) < 20


class PoisonableSegment(SegmentStandIn):
    """Refuses, as a whole, every request that has the word in it."""

    def respond(self, call: Call) -> Answer:
        return self.refusal(400, None) if b"poison" in call.body else super().respond(call)


def test_bad_events_are_found_by_splitting_and_their_neighbours_are_delivered() -> None:
    payloads = [an_identify(n) for n in range(64)]
    payloads[23]["traits"]["note"] = payloads[42]["traits"]["note"] = "poison"

    with PoisonableSegment(WRITE_KEY) as segment:
        results = send_all(segment, payloads)

        assert [number for number, result in enumerate(results) if not result.success] == [23, 42]
        assert all(result.error is None or result.error.refused for result in results)
        assert len(segment.events) == 62
        assert len(segment.calls) < 40, "two halvings of a batch of 64 and the calls that gathered it"


def test_a_netrc_entry_does_not_replace_the_write_key(
    segment: SegmentStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    client_of(segment).identify(**an_identify())

    assert len(segment.events) == 1


def test_cookies_are_not_sent_back(segment: SegmentStandIn) -> None:
    client = client_of(segment)
    segment.fail_next(answer(200, body=b'{"success": true}', headers={"Set-Cookie": "seen=1; Path=/"}))
    client.identify(**an_identify(1))
    client.identify(**an_identify(2))

    assert "Cookie" not in segment.calls[1].headers


def test_no_thread_is_needed_and_none_is_left_behind(segment: SegmentStandIn) -> None:
    run_script(
        f"""
        import threading
        from service.segment import create_segment_client
        client = create_segment_client({WRITE_KEY!r}, {segment.url!r})
        client.identify("user-1", {{}})
        assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
        """
    )

    assert len(segment.events) == 1


def test_a_closed_client_still_delivers(segment: SegmentStandIn) -> None:
    client = client_of(segment)
    client.identify(**an_identify(1))
    client.close_and_flush()

    client.identify(**an_identify(2))

    assert len(segment.events) == 2


def test_the_callers_context_stays_as_it_was(segment: SegmentStandIn) -> None:
    context = {"active": False}

    client_of(segment).identify(**an_identify(context=context))

    assert context == {"active": False}


def test_nothing_is_lost_where_the_process_ends_right_after_identify(segment: SegmentStandIn) -> None:
    run_script(
        f"""
        import os
        from service.segment import create_segment_client
        create_segment_client({WRITE_KEY!r}, {segment.url!r}).identify("user-1", {{"email": "a@example.com"}})
        os._exit(0)
        """
    )

    assert [event["userId"] for event in segment.events] == ["user-1"]


@pytest.mark.parametrize("used_before", [False, True], ids=["fork after import", "fork after a first call"])
def test_forked_children_deliver_each_over_connections_of_their_own(segment: SegmentStandIn, used_before: bool) -> None:  # noqa: FBT001  # a row
    run_script(
        f"""
        import os, sys
        from service.segment import create_segment_client
        client = create_segment_client({WRITE_KEY!r}, {segment.url!r})
        if {used_before}:
            client.identify("parent", {{}})
        children = []
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                for number in range(10):
                    client.identify(f"{{child}}-{{number}}", {{}})
                os._exit(0)
            children.append(pid)
        if {used_before}:
            client.identify("parent again", {{}})
        sys.exit(sum(os.waitpid(pid, 0)[1] for pid in children))
        """
    )

    expected = {f"{child}-{number}" for child in range(4) for number in range(10)}
    assert {event["userId"] for event in segment.events} - {"parent", "parent again"} == expected
    assert segment.duplicates == 0


def test_an_error_quotes_nothing_of_the_customer_or_the_key(segment: SegmentStandIn) -> None:
    canary = "Canary-Name-4711"
    segment.fail(answer(500, body=canary.encode()))
    client = client_of(segment)
    payloads = [
        an_identify(traits={"name": canary}),
        an_identify(traits={"name": canary * 4000}),
        an_identify(traits={"name": canary, "odd": {canary}}),
        an_identify(user_id=""),
    ]

    for payload in payloads:
        reason = reason_of(client, payload)
        assert canary not in reason
        assert WRITE_KEY not in reason


@pytest.mark.parametrize("write_key", ["", " \n"])
def test_an_empty_write_key_makes_no_client(write_key: str) -> None:
    with pytest.raises(ValueError, match="write key"):
        SegmentClient(write_key)


def test_a_write_key_from_a_file_loses_its_line_end(segment: SegmentStandIn) -> None:
    SegmentClient(f"{WRITE_KEY}\n", segment.url).identify(**an_identify())

    assert len(segment.events) == 1


def test_each_confirmed_call_leaves_one_line_with_the_number_of_its_events(
    segment: SegmentStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    segment.fail_next(answer(500))

    with caplog.at_level("INFO", logger="service.segment.client"):
        results = send_all(segment, [an_identify(n) for n in range(30)])

    confirmed = sum(result.success for result in results)
    assert 0 < confirmed < 30
    assert [record.message for record in caplog.records] == ["Sent to Segment"] * (len(segment.calls) - 1)
    assert sum(record.__dict__["events"] for record in caplog.records) == confirmed


def test_the_library_still_finds_what_it_imports_when_it_uses_it() -> None:
    run_script(
        """
        import sys
        import service.segment.client
        from segment.analytics import oauth_manager
        assert "jwt" not in sys.modules
        assert oauth_manager.jwt.encode({}, "secret" * 8, algorithm="HS256")
        """
    )


# Track and group


COMMON: dict[str, Any] = {
    "timestamp": datetime(2026, 1, 2, tzinfo=UTC),
    "message_id": "message-1",
    "context": {"active": False},
}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        pytest.param("track", {"user_id": "mira", "event": "Order Completed", "properties": {"total": 5}}, id="track"),
        pytest.param(
            "track", {"anonymous_id": "a-guest", "event": "Order Completed", "properties": {}}, id="a guest's track"
        ),
        pytest.param(
            "track",
            {"user_id": "mira", "anonymous_id": "a-device", "event": "Order Updated", "properties": {"products": []}},
            id="a track with both ids",
        ),
        pytest.param("group", {"user_id": "mira", "group_id": "acme", "traits": {"name": "Acme"}}, id="group"),
    ],
)
def test_track_and_group_arrive_as_the_library_makes_them(
    segment: SegmentStandIn, call: str, arguments: dict[str, Any]
) -> None:
    _, theirs = getattr(Client(WRITE_KEY, send=False, sync_mode=True), call)(**arguments, **COMMON)

    getattr(client_of(segment), call)(**arguments, **COMMON)

    [event] = segment.events
    assert event == json.loads(json.dumps(theirs))


@pytest.mark.parametrize(
    ("call", "arguments", "reason"),
    [
        pytest.param("track", {"event": "Order Completed", "properties": {}}, "the event has no user id", id="nobody"),
        pytest.param(
            "track", {"anonymous_id": " ", "event": "e", "properties": {}}, "the event has no user id", id="a blank id"
        ),
        pytest.param(
            "track",
            {"user_id": "mira", "event": "e", "properties": {"total": float("nan")}},
            "the event cannot be built: ValueError",
            id="NaN",
        ),
        pytest.param(
            "track", {"user_id": "mira", "event": "e", "properties": None}, "the event is not plain JSON", id="none"
        ),
        pytest.param(
            "group",
            {"user_id": "mira", "group_id": None, "traits": {}},
            "the event cannot be built: AssertionError",
            id="no group id",
        ),
    ],
)
def test_a_track_or_a_group_that_will_not_do_is_refused_without_a_call(
    segment: SegmentStandIn, call: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotDelivered) as refused:
        getattr(client_of(segment), call)(**arguments)

    assert refused.value.error.refused
    assert str(refused.value) == reason
    assert segment.call_count == 0
