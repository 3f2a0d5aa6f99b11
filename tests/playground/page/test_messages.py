"""The list of messages follows Pub/Sub's pushes and the service's log lines, whichever comes first."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from playground.page.messages import Messages
from playground.pubsub import Message, Push
from playground.world import DEAD_LETTERS, SUBSCRIPTION, TOPIC


def a_message(number: str = "1", *, data: bytes | None = None, resource: str = "c-1", version: int = 3) -> Message:
    document = {
        "notificationType": "Message",
        "type": "CustomerEmailChanged",
        "resource": {"typeId": "customer", "id": resource},
        "version": 1,
        "resourceVersion": version,
    }
    return Message(number, datetime.now(UTC), json.dumps(document).encode() if data is None else data, {}, "")


def a_push(number: str = "1", *, attempt: int = 1, status: int | None = 200, dead_lettered: bool = False) -> Push:
    return Push(SUBSCRIPTION, number, attempt, status, status in (200, 204), dead_lettered, {}, 0.02)


def a_line(text: str, number: str = "1", *, attempt: int = 1) -> dict[str, object]:
    return {"message": text, "message_id": number, "delivery_attempt": attempt}


def row(messages: Messages, number: str = "1") -> dict[str, object]:
    entry = messages.entry(number)
    assert entry is not None
    return entry.row


def test_a_published_message_is_open_and_says_what_it_is_about() -> None:
    messages = Messages()

    messages.on_message(TOPIC, a_message())

    shown = row(messages)
    assert (shown["kind"], shown["type"], shown["resource"]) == ("CustomerEmailChanged", "customer", "c-1")
    assert (shown["version"], shown["outcome"], shown["attempt"], shown["ms"]) == (3, "open", 0, None)
    assert messages.tally() == {"published": 1}


def test_a_cloud_event_says_what_it_is_about() -> None:
    messages = Messages()
    inner = {"notificationType": "ResourceUpdated", "resource": {"typeId": "order", "id": "o-1"}, "version": 4}

    messages.on_message(TOPIC, a_message(data=json.dumps({"specversion": "1.0", "data": inner}).encode()))

    assert row(messages)["kind"] == "ResourceUpdated"
    assert (row(messages)["type"], row(messages)["resource"], row(messages)["version"]) == ("order", "o-1", 4)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"[]", b"null", b'{"specversion":"1.0","data":7}'])
def test_what_is_no_notification_is_unreadable(data: bytes) -> None:
    messages = Messages()

    messages.on_message(TOPIC, a_message(data=data))

    assert row(messages)["kind"] == "unreadable"


def test_messages_of_other_topics_are_not_listed() -> None:
    messages = Messages()

    messages.on_message(DEAD_LETTERS, a_message())

    assert messages.entry("1") is None


def the_push_first(messages: Messages) -> None:
    messages.on_push(a_push(status=204))
    messages.on_line(a_line("Refused: the message's data is not JSON"))


def the_line_first(messages: Messages) -> None:
    messages.on_line(a_line("Refused: the message's data is not JSON"))
    messages.on_push(a_push(status=204))


@pytest.mark.parametrize("ends", [the_push_first, the_line_first])
def test_the_log_line_decides_the_outcome_in_either_order(ends: Callable[[Messages], None]) -> None:
    messages = Messages()
    messages.on_message(TOPIC, a_message())

    ends(messages)

    assert (row(messages)["outcome"], row(messages)["reason"]) == ("refused", "the message's data is not JSON")
    assert {name: number for name, number in messages.tally().items() if number} == {"published": 1, "refused": 1}
    assert messages.resource("customer", "c-1").set_aside == 1


def test_a_duplicate_that_is_ignored_leaves_a_message_delivered() -> None:
    messages = Messages()
    messages.on_message(TOPIC, a_message())
    messages.on_line(a_line("Delivered"))
    messages.on_push(a_push())

    messages.on_line(a_line("Ignored: already delivered", attempt=2))
    messages.on_push(a_push(attempt=2, status=204))

    assert (row(messages)["outcome"], row(messages)["attempt"]) == ("delivered", 2)
    assert messages.tally()["delivered"] == 1


def test_a_failed_push_is_a_retry_and_the_message_stays_open() -> None:
    settled: list[tuple[str, str]] = []
    messages = Messages(lambda *about: settled.append(about))
    messages.on_message(TOPIC, a_message())

    messages.on_push(a_push(status=None))

    assert (row(messages)["outcome"], row(messages)["reason"]) == ("failed", "the service did not answer")
    assert messages.tally()["retried"] == 1
    assert messages.resource("customer", "c-1").open == 1
    assert settled == []


def test_a_message_that_pubsub_gives_up_is_set_aside_with_the_reason_of_its_last_attempt() -> None:
    messages = Messages()
    messages.on_message(TOPIC, a_message())
    messages.on_line(a_line("Failed: Segment answered 500", attempt=5))

    messages.on_push(a_push(attempt=5, status=500, dead_lettered=True))

    assert (row(messages)["outcome"], row(messages)["reason"]) == ("given up", "Segment answered 500")
    assert messages.tally()["given up"] == 1
    assert messages.resource("customer", "c-1").set_aside == 1


def test_a_resource_is_settled_when_the_last_of_its_messages_has_ended() -> None:
    settled: list[tuple[str, str]] = []
    messages = Messages(lambda *about: settled.append(about))
    messages.on_message(TOPIC, a_message("1", version=3))
    messages.on_message(TOPIC, a_message("2", version=4))

    messages.on_push(a_push("2"))
    before = list(settled)
    messages.on_push(a_push("1", status=204))

    assert before == []
    assert settled == [("customer", "c-1")]
    assert messages.resource("customer", "c-1").versions == {3, 4}


def test_only_rows_that_changed_are_given_and_at_most_the_newest() -> None:
    messages = Messages()
    for number in "123":
        messages.on_message(TOPIC, a_message(number))
    rows, change = messages.rows_since(0, 2)

    messages.on_push(a_push("1"))
    later, _ = messages.rows_since(change, 2)

    assert [one["id"] for one in rows] == ["2", "3"]
    assert [one["id"] for one in later] == ["1"]


def test_the_oldest_messages_are_forgotten_once_they_have_ended() -> None:
    messages = Messages(remember=2)
    for number in "12":
        messages.on_message(TOPIC, a_message(number))

    messages.on_message(TOPIC, a_message("3"))
    kept = messages.entry("1")
    messages.on_push(a_push("2"))
    messages.on_message(TOPIC, a_message("4"))

    assert kept is not None
    assert messages.entry("2") is None
    assert messages.resource("customer", "c-1").open == 3
    assert [one["id"] for one in messages.rows_since(0, 9)[0]] == ["1", "3", "4"]
    assert messages.tally()["published"] == 4
