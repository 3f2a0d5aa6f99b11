"""Who is to be erased is erased once Segment has said so, and not before: over real HTTP, many people to a call."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import pairwise

import pytest

from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.stand_in import (
    Answer,
    Call,
    Fault,
    Hold,
    answer,
)
from service.segment.regulations import Regulations
from service.segment.types import SegmentError
from tests import callers
from tests.callers import run_script

NO_END = float("inf")
TOKEN = "Canary-Token-4711"
CANARY = "canary-4711@example.com"


@pytest.fixture
def segment() -> SegmentStandIn:
    return SegmentStandIn()


@pytest.fixture
def public_api(segment: SegmentStandIn) -> Iterator[SegmentPublicApiStandIn]:
    with SegmentPublicApiStandIn(TOKEN, segment) as running:
        yield running


class Clock:
    """A clock that only the test and sleeping move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def regulations_of(
    public_api: SegmentPublicApiStandIn, *, call_seconds: float = 10.0, clock: Clock | None = None
) -> Regulations:
    if clock is None:
        return Regulations(public_api.token, public_api.url, call_seconds=call_seconds)
    return Regulations(public_api.token, public_api.url, call_seconds=call_seconds, clock=clock, sleep=clock.sleep)


def error_of(regulations: Regulations, user_id: str = CANARY, *, deadline: float = NO_END) -> SegmentError:
    """Return why the user is not erased, having seen that nothing confidential is in it."""
    error = regulations.submit(user_id, deadline).error
    assert error is not None
    assert CANARY not in error.message
    assert TOKEN not in error.message
    return error


def erase_all(
    public_api: SegmentPublicApiStandIn, user_ids: Sequence[str], sleep: Callable[[float], None] = lambda _: None
) -> list[SegmentError | None]:
    """Erase all of them at the same moment, as pushes arrive."""
    clock = callers.Clock()
    regulations = Regulations(public_api.token, public_api.url, call_seconds=callers.PATIENCE, clock=clock, sleep=sleep)
    erasures = [partial(regulations.submit, user_id, NO_END) for user_id in user_ids]
    return [result.error for result in callers.all_at_once(erasures, clock, public_api)]


def erased(public_api: SegmentPublicApiStandIn) -> list[str]:
    return [user_id for regulation in public_api.regulations for user_id in regulation["subjectIds"]]


def test_a_confirmed_erasure_suppresses_and_deletes(
    public_api: SegmentPublicApiStandIn, segment: SegmentStandIn
) -> None:
    assert regulations_of(public_api).submit("user-1", NO_END).success

    [call] = public_api.calls
    assert (call.method, call.path) == ("POST", "/regulations")
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"
    assert call.headers["Content-Type"] == "application/json"
    assert call.json() == {
        "regulationType": "SUPPRESS_WITH_DELETE",
        "subjectType": "USER_ID",
        "subjectIds": ["user-1"],
    }
    assert segment.suppressed == {"user-1"}


@pytest.mark.parametrize("user_id", ["mira@example.com", "Grüße 😀", '"quoted"', "\ud800"])
def test_any_user_id_arrives_as_it_is(public_api: SegmentPublicApiStandIn, user_id: str) -> None:
    assert regulations_of(public_api).submit(user_id, NO_END).success

    assert erased(public_api) == [user_id]


# Many people, few calls


def test_callers_that_wait_at_the_same_moment_share_calls(public_api: SegmentPublicApiStandIn) -> None:
    user_ids = [f"user-{n}" for n in range(100)]

    assert erase_all(public_api, user_ids) == [None] * 100

    assert sorted(erased(public_api)) == sorted(user_ids)
    assert public_api.call_count < 10


def test_a_body_is_never_larger_than_segment_takes(public_api: SegmentPublicApiStandIn) -> None:
    user_ids = [f"{n}" + "ä" * 200_000 for n in range(12)]  # 1.2 MB each, escaped

    assert erase_all(public_api, user_ids) == [None] * 12

    sizes = [len(call.body) for call in public_api.calls]
    assert max(sizes) <= 4_000_000
    assert max(sizes) > 3_000_000, "and the bodies were full"


def is_a_regulation(call: Call) -> bool:
    return call.method == "POST"


def let_go_after_a_call(public_api: SegmentPublicApiStandIn, held: Hold) -> None:
    assert public_api.wait_for_calls(1, callers.HANGS)
    held.let_go()


def test_a_call_names_5000_people_at_most(public_api: SegmentPublicApiStandIn) -> None:
    # The script asks for another page when all have been submitted; until then the first regulation is held.
    with public_api.hold(is_a_regulation, before_effect=True) as held, ThreadPoolExecutor(1) as pool:
        pool.submit(let_go_after_a_call, public_api, held)
        run_script(
            f"""
        from gevent import monkey; monkey.patch_all()
        import gevent, requests
        from service.segment.regulations import Regulations
        regulations = Regulations({TOKEN!r}, {public_api.url!r})
        calls = [gevent.spawn(regulations.submit, f"user-{{n}}", float("inf")) for n in range(8000)]
        gevent.sleep(0)
        requests.get("{public_api.url}/all-submitted")
        gevent.joinall(calls, raise_error=True)
        assert all(call.value.success for call in calls)
        """
        )

    people = [len(regulation["subjectIds"]) for regulation in public_api.regulations]
    assert people[1] == 5000
    assert sum(people) == 8000


class PoisonablePublicApi(SegmentPublicApiStandIn):
    """Refuses, as a whole, every regulation that names the person."""

    def respond(self, call: Call) -> Answer:
        return self.refusal(400, None) if CANARY.encode() in call.body else super().respond(call)


def test_who_is_refused_is_found_by_splitting_and_the_others_are_erased() -> None:
    user_ids = [f"user-{n}" for n in range(16)]

    with PoisonablePublicApi(TOKEN) as public_api:
        errors = erase_all(public_api, [*user_ids[:9], CANARY, *user_ids[9:]])

        assert errors[9] == SegmentError("Segment's Public API answered 400", refused=True)
        assert errors[:9] + errors[10:] == [None] * 16
        assert sorted(erased(public_api)) == sorted(user_ids)


# The pace


def test_no_call_begins_sooner_than_a_tenth_of_a_second_after_another(public_api: SegmentPublicApiStandIn) -> None:
    clock = Clock()
    regulations = regulations_of(public_api, clock=clock)
    begins = []

    for number, busy_for in enumerate([0.0, 0.0, 0.03, 0.1, 7.0, 0.0]):
        clock.now += busy_for
        assert regulations.submit(f"user-{number}", NO_END).success
        begins.append(clock.now)

    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(begins))
    assert clock.slept == pytest.approx([0.1, 0.07, 0.1]), "and nobody waits longer than that"


def test_a_split_keeps_the_pace_too() -> None:
    slept: list[float] = []
    with PoisonablePublicApi(TOKEN) as public_api:
        errors = erase_all(public_api, [CANARY, *(f"user-{n}" for n in range(7))], slept.append)

        assert [error for error in errors if error] == [SegmentError("Segment's Public API answered 400", refused=True)]
        assert sum(slept) == pytest.approx(0.1 * (public_api.call_count - 1))


# What goes wrong


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(answer(401), "Segment's Public API answered 401", id="401"),
        pytest.param(answer(404), "Segment's Public API answered 404", id="404"),
        pytest.param(answer(202), "Segment's Public API answered 202", id="202"),
        pytest.param(answer(200, body=b"{}"), "what answered 200 is not Segment's Public API", id="no data"),
        pytest.param(
            answer(200, body=b'{"data": null}'), "what answered 200 is not Segment's Public API", id="null for data"
        ),
        pytest.param(
            answer(200, body=b'{"data": {"regulateId": ""}}'),
            "what answered 200 is not Segment's Public API",
            id="an empty id",
        ),
    ],
)
def test_no_other_answer_is_an_erasure_and_none_is_tried_again_here(
    public_api: SegmentPublicApiStandIn, fault: Fault, reason: str
) -> None:
    public_api.fail(fault)

    assert error_of(regulations_of(public_api)) == SegmentError(reason)

    assert public_api.call_count == 1
    assert public_api.regulations == []


def test_a_user_id_that_segment_refuses_alone_is_refused_for_good(public_api: SegmentPublicApiStandIn) -> None:
    public_api.fail(answer(400, body=CANARY.encode()))

    assert error_of(regulations_of(public_api)) == SegmentError("Segment's Public API answered 400", refused=True)


def test_an_answer_nested_too_deeply_is_a_failure(public_api: SegmentPublicApiStandIn) -> None:
    public_api.fail(answer(200, body=b"[" * 100_000))

    assert not error_of(regulations_of(public_api)).refused


def in_200_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda: {"X-RateLimit-Reset": in_200_seconds()}, id="a date of the reset, as it answers"),
        pytest.param(lambda: {"X-RateLimit-Reset": "200"}, id="seconds to the reset"),
        pytest.param(lambda: {"Retry-After": in_200_seconds()}, id="a date to retry after"),
        pytest.param(
            lambda: {"Retry-After": "199", "X-RateLimit-Reset": "Sun, 06 Nov 1994 08:49:37 GMT"},
            id="seconds to retry after, which count",
        ),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_after_a_429_or_503_no_call_is_made_before_the_time_has_come(
    public_api: SegmentPublicApiStandIn, headers: Callable[[], dict[str, str]], status: int
) -> None:
    clock = Clock()
    regulations = regulations_of(public_api, clock=clock)
    public_api.fail_next(answer(status, body=b"{}", headers=headers()))
    assert error_of(regulations) == SegmentError(f"Segment's Public API answered {status}")

    clock.now += 100
    assert error_of(regulations).message.startswith("Segment's Public API asked for a pause of another ")
    assert public_api.call_count == 1

    clock.now += 101
    assert regulations.submit("user-1", NO_END).success
