"""The door: each ending as a status, a body, what was sent, and nothing of the customer in the log."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from service import logs
from service.app import create_app
from service.commercetools import Customer, Notification
from service.commercetools.resource import CannotRead
from service.config import Erasure, PushAuth, UserIdField
from service.pubsub.auth import Authenticate, CannotVerify, Forbidden, Unauthenticated
from service.pubsub.dead_letter import NotSetAside
from service.segment.types import NotDelivered, SegmentError, SegmentIntegrationResult
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules, transform_customer_to_segment
from tests.builders import (
    CUSTOMER_ID,
    PROJECT,
    SUBSCRIPTION,
    a_change,
    a_cloud_event,
    a_customer,
    a_message,
    a_push,
    an_address,
    an_integration,
    samples,
    settings,
)
from tests.fakes import RecordingClient, recording_send
from tests.strategies import customer_messages, envelopes_of, json_values, notifications

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LARGEST_BODY = 14 * 1024 * 1024
SUCCESS = (200, {"success": True})
INTERNAL = (500, {"error": "Internal server error"})
NO_CONTENT = (204, None)

PERSONAL = (
    *("Mira", "Example", "mira.example", "customer-mira", "crm-1001", "1001", "1990", "Engines", "XX99", "canary"),
    *("Hauptstra", "Hinterhaus", "10115", "Berlin", "berlin", "Address Company", "23125001", "3920001", "example.org"),
)
"""What tells something about the customer of the builders."""


@dataclass(frozen=True)
class Door:
    """The service as its outside parties see it: it is posted to, it sends, it logs."""

    http: FlaskClient
    segment: RecordingClient
    log: StringIO

    def post(self, body: bytes, **how: Any) -> tuple[int, Any]:  # noqa: ANN401  # as Flask's test client takes it
        """Return status and JSON of the answer to a push; None for a body that is empty."""
        answer = self.http.post("/", data=body, **how)
        assert "Traceback" not in answer.text
        if not answer.data:
            return answer.status_code, None
        assert answer.content_type == "application/json"
        return answer.status_code, json.loads(answer.data)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.segment.sent


def everybody(_authorization: str | None) -> None:
    pass


def a_door(authenticate: Authenticate = everybody, error: Exception | None = None, **integration: Any) -> Door:  # noqa: ANN401  # as an_integration takes it
    segment = RecordingClient(error)
    app = create_app(settings(), an_integration(**{"send": recording_send(segment), **integration}), authenticate)
    log = StringIO()
    logs.configure("INFO", log)
    return Door(app.test_client(), segment, log)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("service")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def data_of(body: bytes) -> bytes:
    """Return the data of the message in a push; of one that cannot be opened, all of it."""
    try:
        return base64.b64decode(json.loads(body)["message"]["data"], validate=True)
    except (ValueError, LookupError, TypeError, RecursionError):
        return body


def raising(error: Exception) -> Callable[..., NoReturn]:
    def raises(*_: object) -> NoReturn:
        raise error

    return raises


# ---- delivered


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(a_push(a_message()), {}, id="wrapped, Platform"),
        pytest.param(a_push(a_cloud_event(a_message())), {}, id="wrapped, CloudEvent"),
        pytest.param(json.dumps(a_message()).encode(), {}, id="unwrapped, Platform"),
        pytest.param(json.dumps(a_cloud_event(a_message())).encode(), {}, id="unwrapped, CloudEvent"),
        pytest.param(
            json.dumps(a_message()).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
            id="unwrapped, called a form as the emulator does",
        ),
        pytest.param(a_push(a_message()), {"Content-Type": "text/plain"}, id="wrapped, called a text"),
        pytest.param(
            a_push(a_message(), attributes=None, messageId=None, deliveryAttempt=None), {}, id="bare envelope"
        ),
    ],
)
def test_a_customer_is_delivered_with_200(body: bytes, headers: dict[str, str]) -> None:
    door = a_door()

    answer = door.post(body, headers=headers)

    expected = transform_customer_to_segment(a_customer(version=1), project_key=PROJECT)
    del expected["timestamp"]  # of a state, it is that of its arrival
    assert answer == SUCCESS
    assert door.segment.calls == [("identify", dict(expected)), ("flush", {})]
    assert door.line["message"] == "Delivered"


def test_a_delivery_is_logged_with_the_ids_of_its_message() -> None:
    door = a_door()

    door.post(a_push(a_message(customer=a_customer(version=4)), deliveryAttempt=3))

    assert door.line == {
        "severity": "INFO",
        "message": "Delivered",
        "message_id": "2070443601311540",
        "delivery_attempt": 3,
        "notification_type": "CustomerCreated",
        "resource_type": "customer",
        "resource_id": CUSTOMER_ID,
        "version": 4,
    }


def test_a_chunked_push_is_read_too() -> None:
    door = a_door()

    answer = door.http.post(
        "/", input_stream=io.BytesIO(a_push(a_message())), environ_overrides={"wsgi.input_terminated": True}
    )

    assert answer.status_code == 200
    assert len(door.sent) == 1


def test_what_is_sent_follows_the_deployments_rules() -> None:
    door = a_door(rules=IdentifyRules(user_id=UserIdField.EXTERNAL_ID, source="production"))

    door.post(a_push(a_message()))

    assert [payload["user_id"] for payload in door.sent] == ["crm-1001"]
    assert door.sent[0]["message_id"] != transform_customer_to_segment(a_customer(version=1))["message_id"]


# ---- ignored

EVENT = {"notificationType": "Event", "id": "event-id", "type": "ImportContainerCreated", "data": {"key": "canary"}}
TEST_NOTIFICATION = a_change(
    notificationType="ResourceCreated", resource={"typeId": "subscription", "id": "s"}, version=1
)


@pytest.mark.parametrize(
    ("notification", "reason"),
    [
        pytest.param(TEST_NOTIFICATION, "the Subscription's own notification", id="the test of a Subscription"),
        pytest.param(
            a_change(resource={"typeId": "order", "id": "o"}),
            "about an order, and ORDERS is off",
            id="an order's change",
        ),
        pytest.param(
            a_message(
                type="CustomerEmailTokenCreated", value="canary", resource={"typeId": "customer-email-token", "id": "t"}
            ),
            "about another resource: customer-email-token",
            id="a token, which is a secret",
        ),
        pytest.param(
            a_change(resource={"typeId": "canary@example.com", "id": "o"}),
            "about another resource",
            id="an odd resource",
        ),
        pytest.param(EVENT, "an Event, which is about no customer", id="an Event"),
        pytest.param(
            a_change(notificationType="ResourceDeleted"),
            "the customer was deleted (ERASURE is off)",
            id="ResourceDeleted",
        ),
        pytest.param(
            a_message(type="CustomerDeleted", customer=None, email="canary@example.com"),
            "the customer was deleted (ERASURE is off)",
            id="CustomerDeleted",
        ),
    ],
)
def test_what_is_not_about_a_living_customer_is_acknowledged_and_not_sent(
    notification: dict[str, Any], reason: str
) -> None:
    door = a_door()

    answers = [door.post(a_push(notification)), door.post(json.dumps(a_cloud_event(notification)).encode())]

    assert answers == [NO_CONTENT, NO_CONTENT]
    assert door.segment.calls == []
    assert door.lines[0]["severity"] == "INFO"
    assert door.lines[0]["message"] == f"Ignored: {reason}"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        pytest.param("email", {"email": None}, id="no email"),
        pytest.param("email", {"email": " "}, id="a blank email"),
        pytest.param("externalId", {"externalId": None}, id="no externalId"),
    ],
)
def test_a_customer_without_a_user_id_is_ignored_with_a_warning(field: str, changes: dict[str, Any]) -> None:
    door = a_door(rules=IdentifyRules(user_id=UserIdField(field)))

    answer = door.post(a_push(a_message(customer=a_customer(**changes))))

    assert answer == NO_CONTENT
    assert door.segment.calls == []
    assert door.line["severity"] == "WARNING"
    assert door.line["message"] == f"Ignored: the customer has no {field}, which is to be the userId"


def test_a_customer_who_has_been_deleted_since_is_ignored() -> None:
    door = a_door(customer_now=lambda *_: None)

    assert door.post(a_push(a_change())) == NO_CONTENT
    assert door.segment.calls == []
    assert door.line["message"] == "Ignored: the customer has been deleted since"


@pytest.mark.parametrize(
    "version",
    [pytest.param(3, id="the same version"), pytest.param(2, id="an older one"), pytest.param(1, id="the first")],
)
def test_a_version_that_has_been_delivered_is_not_sent_again(version: int) -> None:
    door = a_door()

    first = door.post(a_push(a_message(customer=a_customer(version=3))))
    second = door.post(a_push(a_message(customer=a_customer(version=version))))

    assert (first, second) == (SUCCESS, NO_CONTENT)
    assert len(door.sent) == 1
    assert door.lines[1]["message"] == "Ignored: already delivered, in this version or a newer one"


def test_a_version_that_is_found_to_have_been_delivered_is_not_sent_again() -> None:
    door = a_door(customer_now=lambda *_: Customer(id=CUSTOMER_ID, version=3, email="mira@example.com"))

    answers = [door.post(a_push(a_change(version=None))), door.post(a_push(a_change(version=None)))]

    assert answers == [SUCCESS, NO_CONTENT]
    assert len(door.sent) == 1


def test_a_newer_version_and_another_customer_are_sent() -> None:
    door = a_door()

    for customer in (a_customer(version=3), a_customer(version=4), a_customer(id="another", version=3)):
        assert door.post(a_push(a_message(customer=customer))) == SUCCESS

    assert len({payload["message_id"] for payload in door.sent}) == 3


def test_a_version_that_failed_is_sent_again() -> None:
    door = a_door(error=ConnectionError("canary"))
    push = a_push(a_message())

    first = door.post(push)
    door.segment.error = None
    second = door.post(push)

    assert (first, second) == (INTERNAL, SUCCESS)
    (one, other) = (payload for name, payload in door.segment.calls if name == "identify")
    assert one == other


# ---- refused

REFUSED = [
    pytest.param(b"", "the push body is not JSON", id="nothing"),
    pytest.param(b"canary", "the push body is not JSON", id="no JSON"),
    pytest.param(b"\xff\xfecanary", "the push body is not JSON", id="not UTF-8"),
    pytest.param(b"[" * 200_000, "the push body is nested too deeply", id="nested without end"),
    pytest.param(b'["canary"]', "the push body is not a JSON object", id="no object"),
    pytest.param(
        b'{"message": "canary"}',
        "the push envelope is not valid: message: Invalid input type",
        id="no envelope",
    ),
    pytest.param(
        b"{}",
        "the notification is not valid: notificationType: Missing data for required field",
        id="an empty object",
    ),
    pytest.param(a_push(b"", data="canary!"), "the message's data is not base64", id="bad base64"),
    pytest.param(a_push(b""), "the message has no data", id="no data"),
    pytest.param(a_push(b"canary"), "the message's data is not JSON", id="data that is no JSON"),
    pytest.param(a_push(b'["canary"]'), "the message's data is not a JSON object", id="data that is no object"),
    pytest.param(
        a_push(a_change(projectKey=None, canary="canary")),
        "the notification is not valid: projectKey: Missing data for required field",
        id="no notification",
    ),
    pytest.param(
        a_push(a_message(customer={"id": CUSTOMER_ID, "version": 1, "email": ["canary"]})),
        "the customer is not valid: email: Not a valid string",
        id="no customer",
    ),
    pytest.param(
        a_push(a_message(customer={"id": CUSTOMER_ID, "email": "canary@example.com"})),
        "the customer is not valid: version: Missing data for required field",
        id="a customer without a version",
    ),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_cannot_be_read_is_refused_with_400_and_its_reason(body: bytes, reason: str) -> None:
    door = a_door()

    assert door.post(body) == (400, {"error": reason})
    assert door.segment.calls == []
    assert door.line["severity"] == "ERROR"
    assert door.line["message"] == f"Refused: {reason}"
    assert "canary" not in door.log.getvalue()


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_where_there_is_a_dead_letter_topic_what_is_refused_is_set_aside_with_its_reason(
    body: bytes, reason: str
) -> None:
    aside: list[tuple[bytes, str]] = []
    door = a_door(set_aside=lambda message, why, _: aside.append((message.data, why)))

    answer = door.post(body)

    assert answer == NO_CONTENT
    assert aside == [(data_of(body), reason)]
    assert door.line["message"] == f"Refused: {reason}"


def test_what_the_dead_letter_topic_did_not_take_is_not_acknowledged() -> None:
    door = a_door(set_aside=raising(NotSetAside("the dead-letter topic did not take it: Unavailable")))

    assert door.post(b"canary") == INTERNAL
    assert door.line["message"] == (
        "Failed: the push body is not JSON; the dead-letter topic did not take it: Unavailable"
    )


def test_what_segment_will_never_take_is_refused() -> None:
    too_large = NotDelivered(SegmentError("the event is larger than Segment's 32 KiB", refused=True))
    door = a_door(error=too_large)

    assert door.post(a_push(a_message())) == (400, {"error": "the event is larger than Segment's 32 KiB"})
    assert door.sent == []


def test_a_customer_of_another_project_is_refused() -> None:
    door = a_door(project_key="another-shop")

    answer = door.post(a_push(a_message()))

    assert answer == (400, {"error": "about a customer of another project than CTP_PROJECT_KEY"})
    assert door.segment.calls == []


# ---- failed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(NotDelivered(SegmentError("Segment answered 500")), "Segment answered 500", id="not delivered"),
        pytest.param(ConnectionError("canary"), "ConnectionError", id="no connection"),
        pytest.param(TimeoutError("canary"), "TimeoutError", id="too late"),
        pytest.param(RuntimeError("canary"), "RuntimeError", id="any other error"),
    ],
)
def test_what_segment_has_not_confirmed_is_failed_with_500(error: Exception, reason: str) -> None:
    door = a_door(error=error)

    assert door.post(a_push(a_message())) == INTERNAL
    assert door.sent == []
    assert door.line["severity"] == "ERROR"
    assert door.line["message"] == f"Failed: {reason}"


@pytest.mark.parametrize(
    "notification",
    [
        pytest.param(a_change(), id="a change"),
        pytest.param(a_change(notificationType="ResourceCreated"), id="a creation"),
        pytest.param(
            a_message(type="CustomerFirstNameSet", customer=None, firstName="canary"), id="a message of a field"
        ),
        pytest.param(
            a_message(customer=None, payloadNotIncluded={"reason": "too large", "payloadType": "CustomerCreated"}),
            id="a message too large for its customer",
        ),
    ],
)
def test_without_credentials_a_notification_without_a_customer_fails_and_says_which_settings_are_missing(
    notification: dict[str, Any],
) -> None:
    door = a_door()

    assert door.post(a_push(notification)) == INTERNAL
    assert door.segment.calls == []
    assert door.line["severity"] == "ERROR"
    for name in ("PROJECT_KEY", "CLIENT_ID", "CLIENT_SECRET", "AUTH_URL", "API_URL", "SCOPES"):
        assert f"CTP_{name}" in door.line["message"]


def test_a_customer_who_cannot_be_read_for_the_moment_is_failed() -> None:
    door = a_door(customer_now=raising(CannotRead("commercetools answered 503")))

    assert door.post(a_push(a_change())) == INTERNAL
    assert door.line["message"] == "Failed: commercetools answered 503"


def test_a_customer_that_was_read_and_is_none_is_refused() -> None:
    door = a_door(customer_now=raising(Malformed("the customer is not valid: id: Missing data for required field")))

    assert door.post(a_push(a_change()))[0] == 400
    assert door.segment.calls == []


@pytest.mark.parametrize(
    "error",
    [RuntimeError("canary@example.com"), KeyError("canary"), MemoryError("canary"), RecursionError("canary")],
    ids=lambda error: type(error).__name__,
)
def test_an_unforeseen_error_is_failed_and_logged_by_type_and_place_alone(error: Exception) -> None:
    def broken(_notification: Notification, _deadline: float) -> Customer | None:
        raise error

    door = a_door(customer_now=broken)

    assert door.post(a_push(a_message())) == INTERNAL
    assert door.segment.calls == []
    assert door.line["severity"] == "ERROR"
    assert door.line["message"] == "Failed: unforeseen"
    assert door.line["exception"].startswith(f"{type(error).__name__} < broken (")
    assert "canary" not in door.log.getvalue()


def test_after_something_unforeseen_the_same_customer_can_be_delivered() -> None:
    answers: list[Any] = [RuntimeError("canary"), None]

    def now(_notification: Notification, _deadline: float) -> Customer | None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return Customer(id=CUSTOMER_ID, version=3, email="mira@example.com")

    door = a_door(customer_now=now)

    assert [door.post(a_push(a_change())), door.post(a_push(a_change()))] == [INTERNAL, SUCCESS]


# ---- erasure


def test_a_deletion_is_erased_where_that_is_asked_for() -> None:
    erased: list[str] = []

    def erase(user_id: str, _deadline: float) -> SegmentIntegrationResult:
        erased.append(user_id)
        return SegmentIntegrationResult()

    door = a_door(erasing={"erasure": Erasure.REQUESTED, "erase": erase}, rules=IdentifyRules(user_id=UserIdField.ID))

    asked = door.post(a_push(a_change(notificationType="ResourceDeleted", dataErasure=True)))
    not_asked = door.post(
        a_push(a_change(notificationType="ResourceDeleted", resource={"typeId": "customer", "id": "b"}))
    )

    assert (asked, not_asked) == (SUCCESS, NO_CONTENT)
    assert erased == [CUSTOMER_ID]
    assert door.segment.calls == []


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        pytest.param(SegmentError("Segment answered 500"), INTERNAL, id="not confirmed"),
        pytest.param(SegmentError("no", refused=True), (400, {"error": "no"}), id="refused"),
    ],
)
def test_an_erasure_that_segment_has_not_confirmed_is_not_acknowledged(error: SegmentError, answer: object) -> None:
    door = a_door(
        erasing={"erasure": Erasure.EVERY, "erase": lambda *_: SegmentIntegrationResult(error)},
        rules=IdentifyRules(user_id=UserIdField.ID),
    )

    assert door.post(a_push(a_change(notificationType="ResourceDeleted"))) == answer


def test_an_erasure_without_a_user_id_is_refused_and_quotes_nothing() -> None:
    door = a_door(erasing={"erasure": Erasure.EVERY, "erase": raising(AssertionError())})

    status, answer = door.post(a_push(a_message(type="CustomerDeleted", customer=None, id="canary@example.com")))

    assert status == 400
    assert answer["error"].startswith("erasure is due, but the notification ")
    assert "does not carry the email that is the userId" in answer["error"]
    assert "canary" not in answer["error"]


# ---- nothing leaks

LEAKY = [
    pytest.param(a_push(a_message()), None, id="delivered"),
    pytest.param(a_push(a_message(customer=a_customer(email=None))), None, id="ignored"),
    pytest.param(a_push(a_message(customer=a_customer(version=None))), None, id="refused"),
    pytest.param(
        a_push(a_message(customer=a_customer(addresses=[an_address(), 5]))), None, id="refused for an address"
    ),
    pytest.param(json.dumps(a_message()).encode()[:-20], None, id="cut off"),
    pytest.param(a_push(a_message()), RuntimeError("Mira Example canary"), id="failed"),
    pytest.param(
        a_push(a_message(type="CustomerEmailChanged", customer=None, email="mira.example@example.com")),
        None,
        id="no customer",
    ),
]


@pytest.mark.parametrize(("body", "error"), LEAKY)
def test_nothing_of_the_customer_is_in_the_log_or_in_the_answer(body: bytes, error: Exception | None) -> None:
    door = a_door(error=error)

    answer = door.post(body)

    assert len(door.lines) == 1
    assert [word for word in PERSONAL if word in door.log.getvalue()] == []
    assert [word for word in PERSONAL if word in json.dumps(answer)] == []


def test_the_text_that_is_searched_for_is_the_customers() -> None:
    written = json.dumps(a_customer(), ensure_ascii=False).casefold()

    assert [word for word in PERSONAL if word.casefold() not in written] == []


@given(customer_messages, st.sampled_from([None, RuntimeError("canary")]))
def test_no_customer_leaks_into_the_log(message: dict[str, Any], error: Exception | None) -> None:
    customer = message["customer"]
    marked = {
        **message,
        "customer": {**customer, "lastName": "canary", "email": customer.get("email") and "canary@example.com"},
    }
    door = a_door(error=error)

    status, _ = door.post(a_push(marked))

    assert status in {200, 204, 400, 500}
    assert "canary" not in door.log.getvalue()


def test_an_invalid_id_is_not_logged() -> None:
    door = a_door()
    odd = a_message(type="canary@example.com", resource={"typeId": "customer", "id": "canary, 5 Main St"})

    assert door.post(a_push(odd, messageId="canary\n", message_id=None)) == SUCCESS
    assert door.post(a_push(a_change(resource={"typeId": "canary canary", "id": "\ud800"}))) == NO_CONTENT
    assert len(door.lines) == 2
    assert "canary" not in door.log.getvalue()


# ---- the trace

TRACE = "105445aa7843bc8bf206b12000100000"


@pytest.mark.parametrize(
    ("header", "subscription", "trace"),
    [
        pytest.param(
            f"{TRACE}/1;o=1", SUBSCRIPTION, f"projects/example-project/traces/{TRACE}", id="as Cloud Run sends"
        ),
        pytest.param(TRACE, SUBSCRIPTION, f"projects/example-project/traces/{TRACE}", id="the trace alone"),
        pytest.param(None, SUBSCRIPTION, None, id="no header"),
        pytest.param(f"{TRACE}/1", None, None, id="no subscription"),
        pytest.param(f"{TRACE}/1", "canary", None, id="a subscription without a project"),
        pytest.param("canary/1", SUBSCRIPTION, None, id="a trace that is none"),
        pytest.param("", SUBSCRIPTION, None, id="an empty header"),
    ],
)
def test_a_line_is_tied_to_its_request_where_that_can_be(
    header: str | None, subscription: str | None, trace: str | None
) -> None:
    door = a_door()
    headers = {} if header is None else {"X-Cloud-Trace-Context": header}

    door.post(a_push(a_message(), subscription=subscription), headers=headers)

    assert door.line.get("logging.googleapis.com/trace") == trace
    assert "canary" not in door.log.getvalue()


# ---- who pushes


class Unread(io.BytesIO):
    """A body that must not be read."""

    def read(self, *_: object) -> NoReturn:
        raise AssertionError("the body was read")

    readinto = readline = read


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        pytest.param(Unauthenticated("the request carries no token"), 401, id="no token"),
        pytest.param(Forbidden("the token is another account's"), 403, id="another account"),
        pytest.param(CannotVerify("Google's certificates cannot be fetched"), 503, id="no certificates"),
    ],
)
def test_a_caller_that_is_not_the_subscription_is_refused_before_its_body_is_read(
    refusal: Exception, status: int
) -> None:
    door = a_door(authenticate=raising(refusal))

    answer = door.http.post("/", input_stream=Unread(a_push(a_message())))

    assert (answer.status_code, answer.json) == (status, {"error": str(refusal)})
    assert door.segment.calls == []
    assert door.line == {"severity": "WARNING", "message": f"Turned away: {refusal}"}


def test_the_unread_body_would_have_been_answered_otherwise() -> None:
    door = a_door()

    assert door.http.post("/", input_stream=Unread(a_push(a_message()))).status_code == 400


def test_the_check_gets_the_authorization_header_as_it_came() -> None:
    seen: list[str | None] = []
    door = a_door(authenticate=seen.append)

    door.post(a_push(a_message()), headers={"Authorization": "Bearer a.b.c"})
    door.post(a_push(a_message()))

    assert seen == ["Bearer a.b.c", None]


def test_a_check_that_fails_unexpectedly_accepts_no_push() -> None:
    door = a_door(authenticate=raising(TypeError("canary")))

    assert door.post(a_push(a_message())) == INTERNAL
    assert door.segment.calls == []
    assert door.line["exception"].startswith("TypeError < ")


def test_the_check_is_the_settings_own_where_none_is_handed_in() -> None:
    segment = RecordingClient()
    strict = settings(
        push_auth=PushAuth.OIDC, push_audience="https://service.example.com", push_service_account="a@b.c"
    )
    http = create_app(strict, an_integration(recording_send(segment))).test_client()

    assert http.post("/", data=a_push(a_message())).status_code == 401
    assert segment.calls == []


# ---- sizes, methods, paths


def test_a_body_of_14_mib_is_read() -> None:
    door = a_door()
    push = a_push(a_message())

    assert door.post(push + b" " * (LARGEST_BODY - len(push))) == SUCCESS


@pytest.mark.parametrize("how", [{}, {"environ_overrides": {"wsgi.input_terminated": True}}], ids=["whole", "chunked"])
def test_one_byte_more_is_too_large(how: dict[str, Any]) -> None:
    door = a_door()
    push = a_push(a_message())
    body = push + b" " * (LARGEST_BODY - len(push) + 1)

    answer = door.http.post("/", input_stream=io.BytesIO(body), content_length=None if how else len(body), **how)

    assert (answer.status_code, answer.json) == (413, {"error": "Request Entity Too Large"})
    assert door.segment.calls == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(pytest.param(method, "/", 405, id=f"{method} /") for method in ("GET", "PUT", "PATCH", "DELETE")),
        *(pytest.param(method, "/health", 405, id=f"{method} /health") for method in ("POST", "PUT", "DELETE")),
        pytest.param("GET", "/nowhere", 404, id="GET of a path that is none"),
        pytest.param("POST", "/nowhere", 404, id="POST to a path that is none"),
        pytest.param("POST", "/health/", 404, id="POST /health/"),
        pytest.param("GET", "/static/anything", 404, id="GET of a file"),
        pytest.param("GET", "/%00", 404, id="GET of a zero byte"),
        pytest.param("GET", "/..%2f..%2fetc", 404, id="GET of a way out"),
    ],
)
def test_any_other_method_or_path_is_answered_in_json(method: str, path: str, status: int) -> None:
    door = a_door()

    answer = door.http.open(path, method=method, data=a_push(a_message()))

    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert answer.json == {"error": {404: "Not Found", 405: "Method Not Allowed"}[status]}
    assert door.segment.calls == []


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it goes to the server: status line, headers in their order, body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def answer_of(app: "WSGIApplication", body: bytes, **environ: Any) -> RawAnswer:  # noqa: ANN401  # whatever WSGI names
    builder = EnvironBuilder(method="POST", data=body, environ_overrides=environ)
    iterable, status, headers = run_wsgi_app(app, builder.get_environ())
    return RawAnswer(status, headers.to_wsgi_list(), b"".join(iterable))


def with_and_without_the_middleware(door: Callable[[], Door], body: bytes, **environ: Any) -> list[RawAnswer]:  # noqa: ANN401  # as above
    """Return the answers to one push: from the app as it is served, and from another by Flask alone."""
    flask_alone = door().http.application
    return [
        answer_of(door().http.application, body, **environ),
        answer_of(lambda *request: Flask.wsgi_app(flask_alone, *request), body, **environ),
    ]


PATHS = [
    pytest.param({"PATH_INFO": "/", "QUERY_STRING": "x=1"}, "200 OK", id="POST /?x=1"),
    pytest.param({"PATH_INFO": "//"}, "200 OK", id="POST //, and POST /%2F"),
    pytest.param({"PATH_INFO": "/", "SCRIPT_NAME": "/below"}, "200 OK", id="below another path"),
    pytest.param({"PATH_INFO": "/", "HTTP_X_HTTP_METHOD_OVERRIDE": "PUT"}, "200 OK", id="a method in a header"),
    pytest.param({"PATH_INFO": ""}, "308 PERMANENT REDIRECT", id="no path, as in POST http://host"),
    pytest.param({"PATH_INFO": "/."}, "404 NOT FOUND", id="POST /."),
    pytest.param({"PATH_INFO": "//health"}, "405 METHOD NOT ALLOWED", id="POST //health"),
    pytest.param(
        {"PATH_INFO": "/", "HTTP_CONNECTION": "upgrade", "HTTP_UPGRADE": "websocket"}, "400 BAD REQUEST", id="WebSocket"
    ),
    pytest.param({"PATH_INFO": "/", "HTTP_HOST": "a..b"}, "400 BAD REQUEST", id="a host that can be none"),
]


@pytest.mark.parametrize(("environ", "status"), PATHS)
def test_flask_decides_what_a_push_is(environ: dict[str, str], status: str) -> None:
    served, by_flask_alone = with_and_without_the_middleware(a_door, a_push(a_message()), **environ)

    assert served == by_flask_alone
    assert served.status == status


def test_one_push_after_another_is_routed_by_its_own_path() -> None:
    door = a_door()

    statuses = [
        answer_of(door.http.application, a_push(a_message()), PATH_INFO=path).status for path in ("/", "/.", "//", "/.")
    ]

    assert statuses == ["200 OK", "404 NOT FOUND", "204 No Content", "404 NOT FOUND"]


@pytest.mark.parametrize(
    ("door", "body", "status"),
    [
        pytest.param(a_door, a_push(a_message()), 200, id="delivered"),
        pytest.param(a_door, a_push(a_message(resource={"typeId": "cart", "id": "1"})), 204, id="ignored"),
        pytest.param(a_door, b"no push", 400, id="refused"),
        pytest.param(partial(a_door, error=OSError()), a_push(a_message()), 500, id="failed"),
        pytest.param(partial(a_door, raising(Unauthenticated("no token"))), b"", 401, id="without a token"),
        pytest.param(partial(a_door, raising(Forbidden("another"))), b"", 403, id="with another's token"),
        pytest.param(partial(a_door, raising(CannotVerify("none"))), b"", 503, id="without certificates"),
        pytest.param(partial(a_door, raising(KeyError())), b"", 500, id="unforeseen"),
        pytest.param(a_door, b" " * (LARGEST_BODY + 1), 413, id="too large"),
    ],
)
def test_every_answer_is_the_same_with_the_middleware_and_without(
    door: Callable[[], Door], body: bytes, status: int
) -> None:
    served, by_flask_alone = with_and_without_the_middleware(door, body)

    assert served == by_flask_alone
    assert served.status.startswith(str(status))


def test_health_answers_ok_and_calls_nobody() -> None:
    refusing = raising(AssertionError("touched"))
    door = a_door(authenticate=refusing, send=refusing, customer_now=refusing, set_aside=refusing)

    answer = door.http.get("/health")

    assert (answer.status_code, answer.json) == (200, {"status": "ok", "rules": ""})
    assert door.lines == []


# ---- any bytes at all


def truncated_and_mutated(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    def changed(drawn: tuple[bytes, float, int, bytes]) -> bytes:
        body, where, length, other = drawn
        place = int(len(body) * where)
        return body[:place] + other + body[place + length :]

    return st.tuples(
        bodies, st.floats(0, 1), st.sampled_from([0, 1, 1, 7, 10**9]), st.binary(max_size=2) | st.just(b"")
    ).map(changed)


pushes = envelopes_of(notifications.map(lambda document: json.dumps(document).encode()))
bare = notifications.map(lambda document: json.dumps(document).encode())
odd_numbers = st.sampled_from(
    ["NaN", "-Infinity", "1e999", "9" * 4300, "-" + "9" * 4300, "9" * 5000, "1" + "0" * 400, "-0.0"]
)
any_bytes = st.one_of(
    st.binary(),
    json_values.map(lambda value: json.dumps(value).encode()),
    envelopes_of(st.binary()),
    envelopes_of(json_values.map(lambda value: json.dumps(value).encode())),
    st.dictionaries(
        st.sampled_from(
            ["message", "data", "messageId", "subscription", "notificationType", "resource", "specversion"]
        ),
        json_values,
    ).map(lambda document: json.dumps(document).encode()),
    truncated_and_mutated(pushes),
    envelopes_of(truncated_and_mutated(bare)),
    truncated_and_mutated(bare),
    st.tuples(odd_numbers, bare).map(lambda two: two[1].replace(b": 1", b": " + two[0].encode())),
)

NESTED = b'{"a":' * 3000 + b"1" + b"}" * 3000
LONELY = json.dumps(
    a_message(customer=a_customer(email="\ud800@example.com", id="\udfff"), projectKey="\ud800")
).encode()


def without_an_error(body: bytes) -> None:
    door = a_door()

    status, _ = door.post(body)

    if status == 500:
        assert "the notification brings no customer" in door.line["message"]
    else:
        assert status in {200, 204, 400}


@hypothesis_settings(max_examples=200)
@given(any_bytes)
@example(NESTED)
@example(a_push(NESTED))
@example(a_push(a_message(canary=json.loads(NESTED[: 5 * 400] + b"1" + b"}" * 400))))
@example(LONELY)
@example(a_push(LONELY))
@example(a_push(a_message()).decode().encode("utf-16"))
@example(b"\xef\xbb\xbf" + a_push(a_message()))
@example(a_push(a_message(customer=a_customer(lastModifiedAt="0001-01-01T00:00:00+14:00"))))
@example(a_push(a_message(customer=a_customer(lastModifiedAt="9999-12-31T23:59:59-14:00"))))
@example(a_push(a_message(customer=a_customer(version=10**4299))))
@example(a_push(a_message(customer=a_customer(version=0))))
@example(a_push(a_message(customer=a_customer(version=-1))))
@example(a_push(a_change(resource={"typeId": "customer", "id": ""})))
def test_any_bytes_at_all_get_an_answer_of_the_design(body: bytes) -> None:
    without_an_error(body)


@pytest.mark.parametrize("path", samples("*.json"))
def test_any_real_document_gets_an_answer_of_the_design(path: Any) -> None:  # noqa: ANN401  # a Path
    document = path.read_bytes()

    for body in (document, a_push(document), a_push(b"", data=base64.b64encode(document).decode()[:-4])):
        without_an_error(body)


@given(notifications)
def test_the_only_input_that_fails_is_a_customers_notification_without_the_customer(
    notification: dict[str, Any],
) -> None:
    inside = notification.get("data", notification) if "specversion" in notification else notification
    about_a_customer = inside.get("resource", {}).get("typeId") == "customer"

    status, _ = a_door().post(a_push(notification))

    if status == 500:
        assert about_a_customer
        assert not inside.get("customer")
    elif not about_a_customer:
        assert status == 204
