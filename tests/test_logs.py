"""The log: one JSON object a line, and nothing gets out that is not on the list."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from hypothesis import given

from service import logs
from tests.strategies import json_values, odd_texts

OURS = logging.getLogger("service.test")


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("service")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def written() -> StringIO:
    stream = StringIO()
    logs.configure("INFO", stream)
    return stream


def only_line(written: StringIO) -> dict[str, Any]:
    (line,) = written.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_is_one_json_object_as_cloud_logging_reads_it(written: StringIO) -> None:
    OURS.warning("Ignored: %s", "no reason", extra={"message_id": "5", "delivery_attempt": 2, "version": 7})

    assert only_line(written) == {
        "severity": "WARNING",
        "message": "Ignored: no reason",
        "message_id": "5",
        "delivery_attempt": 2,
        "version": 7,
    }


def test_every_field_on_the_list_gets_out(written: StringIO) -> None:
    OURS.info("Delivered", extra={name: f"the {name}" for name in logs.FIELDS})

    assert only_line(written) == {
        "severity": "INFO",
        "message": "Delivered",
        "events": "the events",
        "message_id": "the message_id",
        "delivery_attempt": "the delivery_attempt",
        "subscription": "the subscription",
        "notification_type": "the notification_type",
        "resource_type": "the resource_type",
        "resource_id": "the resource_id",
        "version": "the version",
        "logging.googleapis.com/trace": "the logging.googleapis.com/trace",
    }


def test_a_field_that_is_not_on_the_list_does_not_get_out(written: StringIO) -> None:
    OURS.info("Delivered", extra={"email": "canary@example.com", "customer": {"firstName": "canary"}})

    assert only_line(written) == {"severity": "INFO", "message": "Delivered"}


def test_a_field_of_none_is_left_out(written: StringIO) -> None:
    OURS.info("Delivered", extra={"message_id": None, "version": 0})

    assert only_line(written) == {"severity": "INFO", "message": "Delivered", "version": 0}


def fails(text: str) -> None:
    raise ValueError(text)


def test_an_exceptions_type_and_place_get_out_and_its_text_does_not(written: StringIO) -> None:
    try:
        fails("canary@example.com")
    except ValueError:
        OURS.exception("Failed")

    line = only_line(written)
    assert line["exception"].startswith("ValueError < fails (")
    assert "test_logs.py:" in line["exception"]
    assert "canary" not in written.getvalue()


def test_what_an_exception_came_from_does_not_get_out(written: StringIO) -> None:
    try:
        try:
            fails("canary-cause")
        except ValueError as cause:
            raise KeyError("canary-text") from cause
    except KeyError as error:
        error.add_note("canary-note")
        OURS.exception("Failed")

    assert only_line(written)["exception"].startswith("KeyError < ")
    assert "canary" not in written.getvalue()


def test_a_librarys_line_has_its_template_and_not_its_arguments(written: StringIO) -> None:
    logging.getLogger("somelibrary.inner").error(
        "Connection to %s failed for %r", "canary.example.com", {"a": "canary"}
    )

    assert only_line(written) == {
        "severity": "ERROR",
        "message": "somelibrary.inner: Connection to %s failed for %r",
    }


def test_a_librarys_exception_has_no_text_either(written: StringIO) -> None:
    try:
        fails("canary")
    except ValueError:
        logging.getLogger("somelibrary").exception("broken")

    assert only_line(written)["message"] == "somelibrary: broken"
    assert "canary" not in written.getvalue()


def test_gunicorns_lines_are_ours(written: StringIO) -> None:
    logging.getLogger("gunicorn.error").warning("Worker exiting (pid: %s)", 5)

    assert only_line(written) == {"severity": "WARNING", "message": "Worker exiting (pid: 5)"}


def test_a_library_named_like_ours_is_a_library(written: StringIO) -> None:
    logging.getLogger("service_of_others").error("about %s", "canary")

    assert only_line(written) == {"severity": "ERROR", "message": "service_of_others: about %s"}


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO], ids=logging.getLevelName)
def test_a_librarys_talk_is_not_written_whatever_our_level(level: int) -> None:
    stream = StringIO()
    logs.configure("DEBUG", stream)

    logging.getLogger("somelibrary").log(level, "request: %s", "canary")

    assert stream.getvalue() == ""


def test_our_lines_are_written_from_the_configured_level_up() -> None:
    stream = StringIO()
    logs.configure("ERROR", stream)

    OURS.warning("not this one")
    OURS.error("this one")

    assert only_line(stream) == {"severity": "ERROR", "message": "this one"}


@given(odd_texts, json_values)
def test_whatever_is_logged_makes_one_line_of_json(text: str, value: object) -> None:
    stream = StringIO()
    logs.configure("INFO", stream)

    OURS.info("About %s", text, extra={"message_id": value})

    line = only_line(stream)
    assert line["message"] == f"About {text}"
    assert line.get("message_id") == value
