"""The stand-in for Segment accepts and refuses as Segment does, and fails as the test sets."""

import base64
import gzip
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from playground import stand_in as faults
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn

WRITE_KEY = "a-write-key"
SOON = 10  # seconds: far more than anything here takes


@pytest.fixture
def segment() -> Iterator[SegmentStandIn]:
    with SegmentStandIn(WRITE_KEY) as running:
        yield running


@pytest.fixture
def public_api(segment: SegmentStandIn) -> Iterator[SegmentPublicApiStandIn]:
    with SegmentPublicApiStandIn("a-token", segment) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as running:
        running.trust_env = False
        yield running


def an_identify(user_id: str | None = "ada", **changes: object) -> dict[str, Any]:
    return {"type": "identify", "userId": user_id, "traits": {"email": "ada@example.com"}, **changes}


def post(
    segment: SegmentStandIn, *events: object, key: str = WRITE_KEY, timeout: float = SOON, **more: object
) -> requests.Response:
    body = {"batch": list(events), "writeKey": key, **more}
    return requests.post(f"{segment.url}/v1/batch", json.dumps(body), timeout=timeout)


def regulate(api: SegmentPublicApiStandIn, *ids: str, kind: str = "SUPPRESS_WITH_DELETE") -> requests.Response:
    return requests.post(
        f"{api.url}/regulations",
        json={"regulationType": kind, "subjectType": "USER_ID", "subjectIds": ids},
        headers={"Authorization": "Bearer a-token"},
        timeout=SOON,
    )


# What Segment takes


def test_a_batch_is_taken_and_its_events_are_kept_in_order(segment: SegmentStandIn) -> None:
    answer = post(segment, an_identify("ada"), an_identify("grace"))

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [event["userId"] for event in segment.events] == ["ada", "grace"]


def test_a_single_identify_is_taken(segment: SegmentStandIn) -> None:
    requests.post(f"{segment.url}/v1/identify", json={"userId": "ada", "writeKey": WRITE_KEY}, timeout=SOON)

    assert segment.events[0]["type"] == "identify"


def test_a_gzipped_batch_is_taken(segment: SegmentStandIn) -> None:
    body = gzip.compress(json.dumps({"batch": [an_identify()], "writeKey": WRITE_KEY}).encode())

    answer = requests.post(f"{segment.url}/v1/batch", body, headers={"Content-Encoding": "gzip"}, timeout=SOON)

    assert answer.status_code == 200
    assert len(segment.events) == 1
    assert segment.calls[0].json()["writeKey"] == WRITE_KEY


def test_the_write_key_may_come_by_basic_auth_alone(segment: SegmentStandIn) -> None:
    requests.post(f"{segment.url}/v1/batch", json={"batch": [an_identify()]}, auth=(WRITE_KEY, ""), timeout=SOON)

    assert len(segment.events) == 1


def test_a_repeated_message_id_is_dropped_and_counted(segment: SegmentStandIn) -> None:
    post(segment, an_identify(messageId="m-1"), an_identify(messageId="m-2"))
    post(segment, an_identify(messageId="m-1"))

    assert (len(segment.events), len(segment.received), segment.duplicates) == (2, 3, 1)
    assert segment.message_ids == {"m-1": 2, "m-2": 1}


# What Segment answers 200 and drops


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(an_identify(user_id=None), "no_id", id="no id"),
        pytest.param(an_identify(user_id=""), "no_id", id="empty id"),
        pytest.param(an_identify(messageId="m" * 101), "long_message_id", id="message id too long"),
        pytest.param(an_identify(traits={str(n): n for n in range(300)}), "too_many_traits", id="300 traits"),
    ],
)
def test_what_segment_drops_silently_is_counted(segment: SegmentStandIn, event: dict[str, Any], reason: str) -> None:
    assert post(segment, event, an_identify()).status_code == 200

    assert segment.dropped == {reason: 1}
    assert len(segment.events) == 1


def test_an_unknown_write_key_is_answered_200_and_its_events_are_dropped(segment: SegmentStandIn) -> None:
    answer = post(segment, an_identify(), key="somebody-else")

    assert answer.json() == {"success": True}
    assert (segment.events, segment.dropped) == ([], {"unknown_key": 1})


def test_events_beyond_2500_are_dropped(segment: SegmentStandIn) -> None:
    assert post(segment, *[an_identify(str(n)) for n in range(2_502)]).status_code == 200

    assert (len(segment.events), segment.dropped) == (2_500, {"over_2500": 2})


# What Segment refuses


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"writeKey":"a-write-key","batch":{}}', id="batch is no array"),
        pytest.param(b'{"writeKey":"a-write-key","batch":["x"]}', id="event is no object"),
        pytest.param(b'{"writeKey":"a-write-key","batch":[{"userId":"ada"}]}', id="no type"),
        pytest.param(b'{"writeKey":"a-write-key","batch":[{"type":["identify"],"userId":"ada"}]}', id="type no text"),
        pytest.param(b'{"writeKey":"a-write-key","batch":[{"type":"identify","traits":[1]}]}', id="traits no object"),
        pytest.param(
            b'{"writeKey":"a-write-key","batch":[{"type":"identify","userId":"a","traits":{"n":NaN}}]}', id="NaN"
        ),
        pytest.param(
            b'{"writeKey":"a-write-key","batch":[{"type":"identify","userId":"a","traits":{"n":-Infinity}}]}',
            id="Infinity",
        ),
        pytest.param(b'{"writeKey":"a-write-key","batch":[{"type":"identify","userId":"\xff"}]}', id="no UTF-8"),
        pytest.param(b'{"batch":[{"type":"identify","userId":"ada"}]}', id="no write key"),
        pytest.param(b'{"writeKey":"abc","batch":[{"type":"identify","userId":"ada"}]}', id="short write key"),
        pytest.param(b'{"writeKey":"a-write-key","batch":' + b"[" * 100_000, id="nested too deep"),
    ],
)
def test_what_is_no_batch_is_refused(segment: SegmentStandIn, body: bytes) -> None:
    answer = requests.post(f"{segment.url}/v1/batch", body, timeout=SOON)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_request"
    assert segment.received == []


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(b"another-key:", id="not the key in the body"),
        pytest.param(b"a-write-key", id="no colon"),
        pytest.param(b"\xff:", id="no text"),
    ],
)
def test_basic_auth_that_contradicts_the_body_is_refused(segment: SegmentStandIn, credentials: bytes) -> None:
    answer = requests.post(
        f"{segment.url}/v1/batch",
        json={"batch": [an_identify()], "writeKey": WRITE_KEY},
        headers={"Authorization": f"Basic {base64.b64encode(credentials).decode()}"},
        timeout=SOON,
    )

    assert answer.status_code == 400


@pytest.mark.parametrize("letter", [pytest.param("x", id="ASCII"), pytest.param("é", id="escaped")])
def test_an_event_of_32768_bytes_is_taken_and_one_more_refuses_the_batch(segment: SegmentStandIn, letter: str) -> None:
    event = an_identify(traits={"about": "", "pad": ""})
    event["traits"]["about"] = letter * ((32_768 - len(json.dumps(event))) // len(json.dumps(letter)[1:-1]))
    event["traits"]["pad"] = "x" * (32_768 - len(json.dumps(event)))

    assert post(segment, event).status_code == 200
    event["traits"]["pad"] += "x"
    assert post(segment, an_identify(), event).status_code == 400
    assert len(segment.events) == 1


def test_a_batch_of_500_000_bytes_is_taken_and_one_more_is_refused(segment: SegmentStandIn) -> None:
    events = [an_identify(traits={"about": "x" * 30_000}) for _ in range(16)]
    room = 500_000 - len(json.dumps({"batch": events, "writeKey": WRITE_KEY, "pad": ""}))

    assert post(segment, *events, pad="x" * (room + 1)).status_code == 400
    assert segment.received == []
    assert post(segment, *events, pad="x" * room).status_code == 200


# What becomes of the profile


def test_identifies_merge_into_a_profile_where_null_removes_and_objects_are_replaced(segment: SegmentStandIn) -> None:
    post(segment, an_identify(traits={"a": 1, "b": 2, "address": {"city": "Köln", "street": "Ring 1"}}))
    post(segment, an_identify(traits={"a": None, "c": "", "address": {"city": "Bonn"}}))

    assert segment.profiles == {"ada": {"b": 2, "c": "", "address": {"city": "Bonn"}}}


def test_profiles_by_timestamp_show_what_the_newest_timestamp_makes_of_them(segment: SegmentStandIn) -> None:
    newer = an_identify(traits={"name": "new"}, timestamp="2026-01-02T00:00:00.000+00:00")
    older = an_identify(traits={"name": "old"}, timestamp="2026-01-02T00:30:00+02:00")
    post(segment, newer, older)

    assert segment.profiles["ada"] == {"name": "old"}
    assert segment.profiles_by_timestamp["ada"] == {"name": "new"}


def test_forgetting_clears_everything_but_suppressions(segment: SegmentStandIn) -> None:
    segment.suppress(["grace"])
    post(segment, an_identify(messageId="m-1"), an_identify(messageId="m-1"), an_identify(user_id=None))

    segment.forget()

    assert (segment.calls, segment.events, segment.received, segment.profiles) == ([], [], [], {})
    assert (segment.duplicates, segment.dropped, segment.message_ids) == (0, {}, {})
    assert segment.suppressed == {"grace"}


def test_waiting_for_events_ends_when_they_have_come(segment: SegmentStandIn) -> None:
    sender = threading.Thread(target=post, args=(segment, an_identify()))
    sender.start()

    assert segment.wait_for_events(1, SOON)
    assert not segment.wait_for_events(2, 0)
    sender.join()


def test_no_event_is_lost_when_many_post_at_once(segment: SegmentStandIn) -> None:
    def send(sender: int) -> None:
        with requests.Session() as session:
            for n in range(20):
                event = an_identify(messageId=f"{sender}-{n}")
                session.post(f"{segment.url}/v1/batch", json={"batch": [event], "writeKey": WRITE_KEY}, timeout=SOON)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(20)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert (len(segment.events), segment.duplicates, len(segment.calls)) == (400, 0, 400)
    assert segment.connections == 20


# The faults


def test_a_failed_answer_has_the_api_s_shape_and_its_retry_after(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.answer(429, retry_after=7))

    refused = post(segment, an_identify())
    taken = post(segment, an_identify())

    assert (refused.status_code, refused.headers["Retry-After"], refused.headers["X-RateLimit-Reset"]) == (
        429,
        "7",
        "7",
    )
    assert set(refused.json()) == {"success", "code", "message"}
    assert (taken.status_code, len(segment.events)) == (200, 1)


def test_a_failed_answer_may_have_a_body_and_headers_of_its_own(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.answer(599, body=b"<h1>Bad</h1>", headers={"Content-Type": "text/html"}))

    answer = post(segment, an_identify())

    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (599, "<h1>Bad</h1>", "text/html")


@pytest.mark.parametrize("fault", [faults.RESET_BEFORE_READ, faults.RESET_AFTER_READ])
def test_a_reset_is_a_reset(segment: SegmentStandIn, fault: faults.Fault) -> None:
    segment.fail_next(fault)

    with (  # noqa: PT012  # it may show at either statement
        closing(http.client.HTTPConnection("127.0.0.1", segment.port, timeout=SOON)) as connection,
        pytest.raises((ConnectionResetError, BrokenPipeError)) as raised,
    ):
        connection.request("POST", "/v1/batch", b"{}")
        connection.getresponse()
    assert not isinstance(raised.value, http.client.RemoteDisconnected)  # which is what a close looks like
    assert len(segment.calls) == (fault is faults.RESET_AFTER_READ)


@pytest.mark.parametrize("fault", [faults.TRUNCATED, faults.TRUNCATED.after_effect()], ids=["before", "after"])
def test_a_truncated_answer_ends_before_its_end(segment: SegmentStandIn, fault: faults.Fault) -> None:
    segment.fail_next(fault)

    with closing(http.client.HTTPConnection("127.0.0.1", segment.port, timeout=SOON)) as connection:
        connection.request("POST", "/v1/batch", json.dumps({"batch": [], "writeKey": WRITE_KEY}))
        answer = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()

    assert answer.status == 200


def test_a_close_is_a_close(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.CLOSE_AFTER_READ)

    with closing(http.client.HTTPConnection("127.0.0.1", segment.port, timeout=SOON)) as connection:
        connection.request("POST", "/v1/batch", b"{}")
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer(500),
        faults.RESET_AFTER_READ,
        faults.CLOSE_AFTER_READ,
        faults.TRUNCATED,
        faults.FOREIGN,
        faults.redirect(302, "/v1/batch"),
    ],
    ids=str,
)
@pytest.mark.parametrize("processed", [True, False], ids=["after its effect", "before its effect"])
def test_a_fault_comes_before_or_after_the_effect(
    segment: SegmentStandIn, fault: faults.Fault, *, processed: bool
) -> None:
    segment.fail_next(fault.after_effect() if processed else fault)

    try:
        answer = requests.post(
            f"{segment.url}/v1/batch",
            json={"batch": [an_identify()], "writeKey": WRITE_KEY},
            allow_redirects=False,
            timeout=SOON,
        )
        assert answer.status_code in (200, 302, 500)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        pass

    assert segment.wait_for_calls(1, SOON)
    assert len(segment.events) == processed


def test_a_request_that_is_never_read_has_no_effect() -> None:
    with pytest.raises(ValueError, match="not read"):
        faults.RESET_BEFORE_READ.after_effect()


def test_a_redirect_leads_where_it_says(segment: SegmentStandIn) -> None:
    with SegmentStandIn(WRITE_KEY) as elsewhere:
        segment.fail_next(faults.redirect(307, f"{elsewhere.url}/v1/batch"))

        answer = post(segment, an_identify())

        assert [hop.status_code for hop in answer.history] == [307]
        assert (len(segment.events), len(elsewhere.events)) == (0, 1)


def test_a_captive_portal_answers_200_with_a_page(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.FOREIGN)

    answer = post(segment, an_identify())

    assert answer.status_code == 200
    assert answer.text.startswith("<!DOCTYPE html>")


def test_a_dripping_answer_is_correct_but_slow(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.drip(0.002))
    before = time.monotonic()

    answer = post(segment, an_identify())

    assert answer.json() == {"success": True}
    assert time.monotonic() - before > 0.002 * 100  # a status line, two headers and a body are more than 100 bytes


def test_a_hanging_request_hangs_until_the_fault_is_lifted(segment: SegmentStandIn) -> None:
    endings: list[Exception] = []

    def send() -> None:
        try:
            post(segment, an_identify())
        except requests.ConnectionError as ending:
            endings.append(ending)

    with segment.failing(faults.HANG):
        sender = threading.Thread(target=send)
        sender.start()
        assert segment.wait_for_calls(1, SOON)
        with pytest.raises(requests.Timeout):
            post(segment, an_identify(), timeout=0.05)
        assert sender.is_alive()
    sender.join(SOON)

    assert len(endings) == 1
    assert post(segment, an_identify()).status_code == 200


def test_stopping_ends_what_hangs(segment: SegmentStandIn) -> None:
    segment.fail(faults.HANG)
    with closing(http.client.HTTPConnection("127.0.0.1", segment.port, timeout=SOON)) as connection:
        connection.request("POST", "/v1/batch", b"{}")
        assert segment.wait_for_calls(1, SOON)

        segment.stop()

        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()


def test_faults_queue_up_and_may_concern_some_paths_only(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.answer(503), times=2, on="/v1/identify")
    segment.fail_next(faults.answer(500), on="/v1/batch")
    url = f"{segment.url}/v1/identify"
    event = {"userId": "ada", "writeKey": WRITE_KEY}

    assert [post(segment).status_code for _ in range(2)] == [500, 200]
    assert [requests.post(url, json=event, timeout=SOON).status_code for _ in range(3)] == [503, 503, 200]


def test_only_a_request_uses_up_a_fault(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.answer(500))

    with socket.create_connection(("127.0.0.1", segment.port), timeout=SOON) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""  # the other side has noticed

    assert [post(segment).status_code for _ in range(2)] == [500, 200]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_leaves_the_connection_usable(
    segment: SegmentStandIn, session: requests.Session, status: int
) -> None:
    segment.fail_next(faults.answer(status))
    url, body = f"{segment.url}/v1/batch", {"batch": [], "writeKey": WRITE_KEY}

    assert [session.post(url, json=body, timeout=SOON).status_code for _ in range(2)] == [status, 200]
    assert segment.connections == 1


# The connection


def test_a_connection_is_kept_alive_and_reused(segment: SegmentStandIn, session: requests.Session) -> None:
    for _ in range(3):
        session.post(f"{segment.url}/v1/batch", json={"batch": [], "writeKey": WRITE_KEY}, timeout=SOON)
    session.post(f"{segment.url}/v1/batch", json={}, headers={"Connection": "close"}, timeout=SOON)

    assert (len(segment.calls), segment.connections) == (4, 1)


def test_idle_connections_can_be_closed_under_the_client(segment: SegmentStandIn) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", segment.port, timeout=SOON)) as connection:
        connection.request("POST", "/v1/batch", b"{}")
        connection.getresponse().read()

        assert segment.close_idle_connections() == 1

        with pytest.raises((http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # it may show at either
            connection.request("POST", "/v1/batch", b"{}")
            connection.getresponse()


def test_a_stand_in_starts_again_on_its_port(segment: SegmentStandIn) -> None:
    post(segment, an_identify())
    segment.stop()
    with pytest.raises(requests.ConnectionError):
        post(segment, an_identify())

    segment.start()

    assert post(segment, an_identify()).status_code == 200
    assert len(segment.events) == 2


def test_the_latency_passes_between_effect_and_answer(segment: SegmentStandIn) -> None:
    segment.latency = 30

    with pytest.raises(requests.Timeout):
        post(segment, an_identify(), timeout=0.05)

    assert segment.wait_for_events(1, SOON)


def test_half_a_request_leaves_no_call(segment: SegmentStandIn) -> None:
    with socket.create_connection(("127.0.0.1", segment.port), timeout=SOON) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    assert segment.calls == []


def test_only_the_newest_calls_and_events_are_remembered_where_that_is_asked() -> None:
    with SegmentStandIn(WRITE_KEY, remember=2) as segment:
        for n in range(5):
            post(segment, an_identify(str(n)))

        assert [event["userId"] for event in segment.events] == ["3", "4"]
        assert (len(segment.calls), segment.call_count, segment.accepted) == (2, 5, 5)


def test_an_unknown_path_is_not_found(segment: SegmentStandIn) -> None:
    assert requests.get(f"{segment.url}/v1/batch", timeout=SOON).status_code == 404
    assert requests.post(f"{segment.url}/v1/v1/batch", json={}, timeout=SOON).status_code == 404


# The Public API


def test_suppressing_with_delete_removes_the_profile_and_blocks_the_user_id(
    segment: SegmentStandIn, public_api: SegmentPublicApiStandIn
) -> None:
    post(segment, an_identify("ada"), an_identify("grace"))

    answer = regulate(public_api, "ada")
    again = post(segment, an_identify("ada"))

    assert answer.status_code == 200
    assert set(answer.json()["data"]) == {"regulateId"}
    assert again.json() == {"success": True}
    assert (set(segment.profiles), segment.dropped) == ({"grace"}, {"suppressed": 1})
    assert [one["subjectIds"] for one in public_api.regulations] == [["ada"]]


def test_deleting_alone_lets_a_late_identify_bring_the_profile_back(
    segment: SegmentStandIn, public_api: SegmentPublicApiStandIn
) -> None:
    post(segment, an_identify(traits={"old": 1}))
    regulate(public_api, "ada", kind="DELETE_ONLY")
    assert segment.profiles == {}

    post(segment, an_identify(traits={"new": 1}))

    assert segment.profiles == {"ada": {"new": 1}}


def test_unsuppressing_lifts_the_block(segment: SegmentStandIn, public_api: SegmentPublicApiStandIn) -> None:
    regulate(public_api, "ada")
    regulate(public_api, "ada", kind="UNSUPPRESS")

    assert segment.suppressed == frozenset()


def test_a_regulation_can_be_read(public_api: SegmentPublicApiStandIn) -> None:
    number = regulate(public_api, "ada").json()["data"]["regulateId"]
    url, headers = f"{public_api.url}/regulations", {"Authorization": "Bearer a-token"}

    answer = requests.get(f"{url}/{number}", headers=headers, timeout=SOON)

    assert answer.json()["data"]["regulation"]["overallStatus"] == "FINISHED"
    assert requests.get(f"{url}/unknown", headers=headers, timeout=SOON).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="no token"),
        pytest.param({"Authorization": "Basic YTo="}, 401, id="not a bearer token"),
        pytest.param({"Authorization": "Bearer other"}, 403, id="a wrong token"),
    ],
)
def test_without_the_token_nothing_is_regulated(
    public_api: SegmentPublicApiStandIn, headers: dict[str, str], status: int
) -> None:
    answer = requests.post(f"{public_api.url}/regulations", json={}, headers=headers, timeout=SOON)

    assert answer.status_code == status
    assert set(answer.json()["errors"][0]) == {"type", "message"}
    assert public_api.regulations == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"regulationType": "SUPPRESS"}, id="unknown regulation"),
        pytest.param({"subjectType": "EMAIL"}, id="unknown subject"),
        pytest.param({"subjectIds": []}, id="nobody"),
        pytest.param({"subjectIds": ["x"] * 5_001}, id="too many"),
        pytest.param({"subjectIds": [1]}, id="no text"),
        pytest.param({"subjectIds": "ada"}, id="no list"),
    ],
)
def test_an_invalid_regulation_is_refused(public_api: SegmentPublicApiStandIn, changes: dict[str, Any]) -> None:
    body = {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["ada"], **changes}

    answer = requests.post(
        f"{public_api.url}/regulations", json=body, headers={"Authorization": "Bearer a-token"}, timeout=SOON
    )

    assert answer.status_code == 400


def test_the_public_api_s_own_media_type_is_taken_and_a_form_is_not(public_api: SegmentPublicApiStandIn) -> None:
    body = json.dumps({"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["ada"]})

    def status(media_type: str) -> int:
        headers = {"Authorization": "Bearer a-token", "Content-Type": media_type}
        return requests.post(f"{public_api.url}/regulations", body, headers=headers, timeout=SOON).status_code

    assert status("application/vnd.segment.v1+json") == 200
    assert status("application/x-www-form-urlencoded") == 415


def test_the_public_api_says_in_seconds_and_as_a_date_when_to_come_back(public_api: SegmentPublicApiStandIn) -> None:
    public_api.fail_next(faults.answer(429, retry_after=60))
    before = time.time()

    answer = regulate(public_api, "ada")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert parsedate_to_datetime(answer.headers["X-RateLimit-Reset"]).timestamp() == pytest.approx(before + 60, abs=5)
    assert public_api.regulations == []


# What is held


def test_a_held_request_has_taken_effect_and_is_answered_when_it_is_let_go(segment: SegmentStandIn) -> None:
    with segment.hold() as held, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post, segment, an_identify())
        assert held.wait_for(1, SOON)

        assert len(segment.calls) == len(segment.events) == 1
        assert not posting.done()
        held.let_go()

        assert posting.result().status_code == 200


def test_a_request_that_is_held_before_its_effect_takes_effect_when_it_is_let_go(segment: SegmentStandIn) -> None:
    with segment.hold(before_effect=True) as held, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post, segment, an_identify())
        assert held.wait_for(1, SOON)
        assert (segment.calls, segment.events) == ([], [])
        held.let_go()

        assert posting.result().status_code == 200
    assert len(segment.events) == 1


def test_the_first_requests_and_others_than_those_meant_are_not_held(segment: SegmentStandIn) -> None:
    with (
        segment.hold(lambda call: call.json()["batch"][0]["userId"] == "ada", after=1) as held,
        ThreadPoolExecutor(1) as pool,
    ):
        for user_id in ("ada", "bob", "bob"):
            assert post(segment, an_identify(user_id)).status_code == 200
        posting = pool.submit(post, segment, an_identify("ada"))
        assert held.wait_for(1, SOON)
        held.let_go()
        assert posting.result().status_code == 200

        assert post(segment, an_identify("ada")).status_code == 200


def test_a_fault_is_held_like_an_answer(segment: SegmentStandIn) -> None:
    segment.fail_next(faults.answer(503))
    with segment.hold() as held, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post, segment, an_identify())
        assert held.wait_for(1, SOON)
        assert not posting.done()
        held.let_go()

        assert posting.result().status_code == 503


def test_stopping_ends_what_is_held(segment: SegmentStandIn) -> None:
    with segment.hold() as held, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post, segment, an_identify())
        assert held.wait_for(1, SOON)

        segment.stop()

        with pytest.raises(requests.ConnectionError):
            posting.result()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a server listen beside the bound socket")
def test_its_port_is_reserved_while_it_is_stopped(segment: SegmentStandIn) -> None:
    segment.stop()

    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", segment.port))


def test_its_events_can_be_looked_at(segment: SegmentStandIn) -> None:
    post(segment, an_identify("ada"), an_identify("bob"))

    shown = requests.get(f"{segment.url}/events", timeout=SOON)

    assert shown.status_code == 200
    assert [event["userId"] for event in shown.json()] == ["ada", "bob"]
    assert shown.json() == segment.events


def test_a_client_that_speaks_tls_is_told_at_once_that_nobody_here_does(segment: SegmentStandIn) -> None:
    with socket.create_connection(("127.0.0.1", segment.port), timeout=SOON) as connection:
        connection.sendall(b"\x16\x03\x01 a\x00 line\n of a hello")

        assert connection.recv(1) == b""
