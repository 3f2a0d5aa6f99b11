"""What holds for every call to an outside party, over real HTTP: what is not its answer is a failure, said in one line.

What only one of them does is in the test file of its client.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.stand_in import (
    CLOSE_AFTER_READ,
    FOREIGN,
    HANG,
    RESET_AFTER_READ,
    RESET_BEFORE_READ,
    TRUNCATED,
    Fault,
    StandIn,
    answer,
    drip,
    redirect,
)
from service.commercetools.client import CommercetoolsClient
from service.commercetools.customer import CUSTOMER
from service.commercetools.resource import CannotRead
from service.segment import SegmentClient, SegmentEvent, SegmentIdentifyPayload
from service.segment.regulations import Regulations
from tests.builders import commercetools_settings

NO_END = float("inf")
CANARY = "canary-4711"
SECRET = "Canary-Secret-4711"
DEATHS = (RESET_AFTER_READ, CLOSE_AFTER_READ)


def person(number: int) -> str:
    return f"{CANARY}-{number}"


class Ask(Protocol):
    """One call about one person (a number). Returns None where it succeeded, else the reason, which is never final."""

    def __call__(self, number: int = 1, *, deadline: float = NO_END) -> str | None: ...


@dataclass
class Clock:
    """A clock that only the test and sleeping move."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Party:
    """An outside party, and how one of our clients calls it."""

    name: str
    stand_in: StandIn
    client: Callable[[float, Clock | None], Ask]
    effects: Callable[[], list[str]]
    """The people for whom a call has had its effect: an event, an erasure, a read."""
    on: str = ""
    """How the paths of its calls begin."""
    endpoint: str = ""
    """The name of what answers, where that is not the party's."""
    before: int = 0
    """How many other calls a new client makes before this one, on the same connection."""

    @property
    def what_answers(self) -> str:
        return self.endpoint or self.name

    def ask_by(self, *, call_seconds: float = 10.0, clock: Clock | None = None) -> Ask:
        """Return a new client's way to call, which has no connection yet."""
        return self.client(call_seconds, clock)

    def fail(self, fault: Fault) -> None:
        self.stand_in.fail(fault, on=self.on)

    def fail_next(self, fault: Fault, times: int = 1) -> None:
        self.stand_in.fail_next(fault, times, on=self.on)

    def calls(self) -> int:
        paths = (call.path + "?" if call.query else call.path for call in self.stand_in.calls)
        return sum(path.startswith(self.on) for path in paths)


@contextmanager
def segment() -> Iterator[Party]:
    with SegmentStandIn(SECRET) as stand_in:

        def client(call_seconds: float, clock: Clock | None) -> Ask:
            made = SegmentClient(SECRET, stand_in.url, call_seconds=call_seconds, clock=clock or time.monotonic)

            def ask(number: int = 1, *, deadline: float = NO_END) -> str | None:
                payload: SegmentIdentifyPayload = {"user_id": person(number), "traits": {"name": CANARY}}
                error = made.send([SegmentEvent("identify", payload)], deadline).error
                assert error is None or not error.refused
                return error.message if error else None

            return ask

        yield Party("Segment", stand_in, client, lambda: [event["userId"] for event in stand_in.events])


@contextmanager
def public_api() -> Iterator[Party]:
    with SegmentPublicApiStandIn(SECRET, SegmentStandIn()) as stand_in:

        def client(call_seconds: float, clock: Clock | None) -> Ask:
            made = Regulations(
                SECRET,
                stand_in.url,
                call_seconds=call_seconds,
                clock=clock or time.monotonic,
                sleep=clock.sleep if clock else time.sleep,
            )

            def ask(number: int = 1, *, deadline: float = NO_END) -> str | None:
                error = made.submit(person(number), deadline).error
                assert error is None or not error.refused
                return error.message if error else None

            return ask

        yield Party(
            "Segment's Public API",
            stand_in,
            client,
            lambda: [one for each in stand_in.regulations for one in each["subjectIds"]],
        )


@contextmanager
def commercetools(on: str, endpoint: str = "", *, before: int = 0, by_id: bool = False) -> Iterator[Party]:
    with CommercetoolsStandIn(client_secret=SECRET) as stand_in:
        ids = [stand_in.shop.create(firstName=CANARY)["id"] for _ in range(30)]
        read: list[str] = []
        if by_id:
            stand_in.hide_from_query(ids)

        def client(call_seconds: float, clock: Clock | None) -> Ask:
            settings = commercetools_settings(stand_in)
            project = CommercetoolsClient(settings, call_seconds=call_seconds, clock=clock or time.monotonic)
            made = project.resources(CUSTOMER)

            def ask(number: int = 1, *, deadline: float = NO_END) -> str | None:
                try:
                    document = made.read(ids[number], 1, deadline)
                except CannotRead as cannot_read:
                    return str(cannot_read)
                assert document == stand_in.shop.customers[ids[number]]
                read.append(person(number))
                return None

            return ask

        yield Party("commercetools", stand_in, client, lambda: read, on, endpoint, before)


PARTIES: dict[str, Callable[[], AbstractContextManager[Party]]] = {
    "Segment": segment,
    "the Public API": public_api,
    "the query": lambda: commercetools("/demo-shop/customers?", before=1),
    "the reading by id": lambda: commercetools("/demo-shop/customers/", before=2, by_id=True),
    "the token": lambda: commercetools("/oauth/token", "commercetools' token endpoint"),
}
EACH_TIME = tuple(name for name in PARTIES if name != "the token")
"""Those that each caller calls: a token is kept."""


@pytest.fixture(params=PARTIES)
def party(request: pytest.FixtureRequest) -> Iterator[Party]:
    with PARTIES[request.param]() as running:
        yield running


def reason_of(ask: Ask, number: int = 1, *, deadline: float = NO_END) -> str:
    """Return why the call failed, having seen that nothing confidential is in it."""
    reason = ask(number, deadline=deadline)
    assert reason is not None
    for confidential in (CANARY, SECRET, "stand-in-token"):
        assert confidential not in reason
    return reason


CLOSED = "{name} was not reached: the connection was closed"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *(
            pytest.param(answer(status), "{what_answers} answered " + str(status), id=str(status))
            for status in (403, 429, 503)
        ),
        pytest.param(answer(500, body=CANARY.encode()), "{what_answers} answered 500", id="500"),
        pytest.param(answer(502, body=b"<html>"), "{what_answers} answered 502", id="502 of a proxy"),
        pytest.param(FOREIGN, "what answered 200 is not {name}", id="a captive portal"),
        pytest.param(answer(200, body=b""), "what answered 200 is not {name}", id="an empty 200"),
        pytest.param(answer(200, body=b"[]"), "what answered 200 is not {name}", id="a list"),
        pytest.param(answer(200, body=b"null"), "what answered 200 is not {name}", id="null"),
        pytest.param(
            RESET_BEFORE_READ, "{name} was not reached: the connection was closed", id="reset before it was read"
        ),
        pytest.param(
            RESET_AFTER_READ, "{name} was not reached: the connection was closed", id="reset after it was read"
        ),
        pytest.param(
            CLOSE_AFTER_READ, "{name} was not reached: the connection was closed", id="closed without an answer"
        ),
        pytest.param(TRUNCATED, "{name} was not reached: the answer broke off", id="a truncated answer"),
        pytest.param(TRUNCATED.after_effect(), "{name} was not reached: the answer broke off", id="after its effect"),
    ],
)
def test_no_other_answer_is_a_success_and_none_is_tried_again_here(party: Party, fault: Fault, reason: str) -> None:
    party.fail(fault)

    assert reason_of(party.ask_by()) == reason.format(name=party.name, what_answers=party.what_answers)

    found_dead_and_replaced = fault in DEATHS and party.before > 0
    calls = 0 if fault is RESET_BEFORE_READ else 2 if found_dead_and_replaced else 1
    assert (party.calls(), party.stand_in.call_count) == (calls, party.before + calls)
    if not fault.processed:
        assert party.effects() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(party: Party, status: int) -> None:
    with SegmentStandIn() as elsewhere:
        party.fail(redirect(status, f"{elsewhere.url}/elsewhere"))

        assert reason_of(party.ask_by()) == f"{party.what_answers} answered {status}"

        assert elsewhere.calls == []
    assert party.calls() == 1


def test_nobody_at_the_address_is_a_failure(party: Party) -> None:
    party.stand_in.stop()

    assert reason_of(party.ask_by()) == f"{party.name} was not reached: the connection was refused"


@pytest.mark.parametrize("fault", [pytest.param(HANG, id="hang"), pytest.param(drip(0.05), id="a byte now and then")])
def test_a_call_is_bounded_as_a_whole_and_not_by_its_reads(party: Party, fault: Fault) -> None:
    party.fail(fault)  # the whole answer would drip for more than five seconds

    assert reason_of(party.ask_by(call_seconds=0.3)) == f"{party.name} was not reached: no answer in time"


def test_a_caller_without_time_left_makes_no_call(party: Party) -> None:
    assert reason_of(party.ask_by(), deadline=time.monotonic() + 1) == "no call could begin in time"

    assert party.stand_in.calls == []


@pytest.mark.parametrize("party", EACH_TIME, indirect=True)
def test_every_caller_of_a_failed_call_learns_of_it(party: Party) -> None:
    party.stand_in.latency = 0.05
    party.fail(answer(500))
    ask = party.ask_by()

    with ThreadPoolExecutor(30) as pool:
        reasons = list(pool.map(lambda number: reason_of(ask, number), range(30)))

    assert reasons == [f"{party.name} answered 500"] * 30
    assert party.effects() == []


@pytest.mark.parametrize("status", [429, 503])
def test_after_a_retry_after_no_call_is_made_before_the_time_has_come(party: Party, status: int) -> None:
    clock = Clock()
    ask = party.ask_by(clock=clock)
    party.fail_next(answer(status, retry_after=30))
    assert reason_of(ask) == f"{party.what_answers} answered {status}"
    so_far = party.stand_in.call_count

    clock.now += 29
    assert reason_of(ask) == f"{party.name} asked for a pause of another 1 s"
    assert party.stand_in.call_count == so_far

    clock.now += 1
    assert ask() is None
    assert party.stand_in.call_count > so_far


@pytest.mark.parametrize("party", EACH_TIME, indirect=True)
def test_a_kept_alive_connection_found_dead_is_replaced_once_and_at_once(party: Party) -> None:
    ask = party.ask_by()
    assert ask(1) is None
    party.fail_next(CLOSE_AFTER_READ)

    assert ask(2) is None

    assert party.effects() == [person(1), person(2)]
    assert party.calls() == 3


@pytest.mark.parametrize("party", EACH_TIME, indirect=True)
def test_a_second_death_in_a_row_is_a_failure(party: Party) -> None:
    ask = party.ask_by()
    assert ask(1) is None
    party.fail_next(CLOSE_AFTER_READ, times=2)

    assert reason_of(ask, 2) == f"{party.name} was not reached: the connection was closed"

    assert party.calls() == 3


@pytest.mark.parametrize("party", EACH_TIME, indirect=True)
def test_an_idle_connection_that_the_server_closed_costs_nothing(party: Party) -> None:
    ask = party.ask_by()
    assert ask(1) is None
    party.stand_in.close_idle_connections()

    assert ask(2) is None

    assert party.effects() == [person(1), person(2)]
    assert party.calls() == 2
