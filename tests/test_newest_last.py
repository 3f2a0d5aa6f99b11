"""What reaches Segment last is the newest state, whatever other processes send meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.commercetools.resource import CannotRead
from service.delivery.deliveries import Deliveries, Lateness
from service.integration import Integration
from service.outcome import Ending, Outcome
from service.segment.types import SegmentError, SegmentEvent, SegmentIntegrationResult
from tests.builders import PROJECT, a_change, a_customer, a_push, an_integration
from tests.callers import Clock

LATE = 3.0  # seconds, which is late whatever was seen before
PROMPT = 0.2

Happening = Callable[[], object]


@dataclass
class World:
    """A shop with one customer, and a Segment that confirms after `seconds`; `meanwhile` happens before it does."""

    version: int | None = 5
    seconds: float = LATE
    meanwhile: list[Happening] = field(default_factory=list)
    errors: list[SegmentError] = field(default_factory=list)
    by_id_fails: bool = False
    clock: Clock = field(default_factory=Clock)
    sent: list[tuple[str, str]] = field(default_factory=list)
    looks: int = 0

    def customer_now(self, _notification: Notification, _deadline: float) -> Customer | None:
        if self.version is None:
            return None
        return read_customer(a_customer(version=self.version, firstName=f"version {self.version}"))

    def customer_by_id(self, notification: Notification, deadline: float) -> Customer | None:
        self.looks += 1
        if self.by_id_fails:
            raise CannotRead("commercetools answered 503")
        return self.customer_now(notification, deadline)

    def send(self, events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        [(_, payload)] = events
        assert "timestamp" not in payload, "the time of a state is that of its arrival"
        said: dict[str, Any] = dict(payload)
        self.sent.append((said["traits"]["firstName"], said["message_id"]))
        self.clock.set(self.clock.now + self.seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return SegmentIntegrationResult(self.errors.pop(0) if self.errors else None)

    def becomes(self, version: int | None) -> Happening:
        def happen() -> None:
            self.version = version

        return happen

    def integration(self, **how: Any) -> Integration:  # noqa: ANN401  # the fields of an Integration
        return an_integration(
            self.send,
            customer_now=self.customer_now,
            customer_by_id=self.customer_by_id,
            project_key=PROJECT,
            deliveries=Deliveries(clock=self.clock),
            clock=self.clock,
            **how,
        )

    @property
    def said(self) -> list[str]:
        return [said for said, _ in self.sent]

    @property
    def message_ids(self) -> list[str]:
        return [message_id for _, message_id in self.sent]


def handle(integration: Integration, version: int = 5, attempt: int | None = 1) -> Outcome:
    return integration.handle(a_push(a_change(version=version), deliveryAttempt=attempt), {}, float("inf"))


def ordinary_id(version: int) -> str:
    """Return the messageId of a version's first event."""
    world = World(version, PROMPT)
    handle(world.integration(), version)
    [message_id] = world.message_ids
    return message_id


# An event that was confirmed late


def test_after_a_late_confirmation_a_newer_state_is_sent_under_an_id_of_its_own() -> None:
    world = World(meanwhile=[])
    world.meanwhile.append(world.becomes(6))

    outcome = handle(world.integration())

    assert outcome.ending is Ending.DELIVERED
    assert world.said == ["version 5", "version 6"]
    assert world.message_ids[0] == ordinary_id(5)
    assert world.message_ids[1] != ordinary_id(6), "another process may have used it"


def test_it_is_looked_at_again_until_nothing_is_newer() -> None:
    world = World()
    world.meanwhile += [world.becomes(6), world.becomes(8)]

    handle(world.integration())

    assert world.said == ["version 5", "version 6", "version 8"]
    assert world.looks == 3
    assert len(set(world.message_ids)) == 3


@pytest.mark.parametrize("version", [pytest.param(5, id="the same version"), pytest.param(None, id="deleted")])
def test_without_a_newer_state_nothing_more_is_sent(version: int | None) -> None:
    world = World()
    world.meanwhile.append(world.becomes(version))

    assert handle(world.integration()).ending is Ending.DELIVERED

    assert (world.said, world.looks) == (["version 5"], 1)


def test_a_prompt_confirmation_needs_no_second_look() -> None:
    world = World(seconds=PROMPT)
    integration = world.integration()
    handle(integration)
    first = world.looks

    for version in range(6, 20):
        world.version = version
        handle(integration, version)

    assert (first, world.looks) == (0, 0)


def test_without_the_second_look_there_is_no_acknowledgement() -> None:
    world = World(by_id_fails=True)
    world.meanwhile.append(world.becomes(6))
    integration = world.integration()

    outcome = handle(integration)

    assert outcome.ending is Ending.FAILED
    assert outcome.reason == "confirmed late, and not looked at again: commercetools answered 503"
    world.by_id_fails = False
    assert handle(integration, attempt=2).ending is Ending.DELIVERED
    assert world.said == ["version 5", "version 6"]
    assert world.message_ids[1] != ordinary_id(6)


def test_a_second_event_that_is_not_confirmed_fails_the_message() -> None:
    world = World(errors=[])
    world.meanwhile.append(world.becomes(6))
    world.meanwhile.append(lambda: world.errors.append(SegmentError("Segment answered 503")))

    assert handle(world.integration()).ending is Ending.FAILED


# A message that is redelivered: an earlier delivery of it may have sent an older state


def test_a_redelivered_message_whose_customer_moved_on_relies_on_no_id_that_segment_may_have_seen() -> None:
    world = World(version=6, seconds=PROMPT)

    handle(world.integration(), version=5, attempt=2)

    assert world.said == ["version 6"]
    assert world.message_ids[0] != ordinary_id(6)


def test_a_redelivered_message_whose_customer_is_the_same_has_the_same_id() -> None:
    world = World(seconds=PROMPT)

    handle(world.integration(), attempt=2)

    assert world.message_ids == [ordinary_id(5)]


@pytest.mark.parametrize("attempt", [1, None])
def test_a_first_delivery_has_the_ordinary_id(attempt: int | None) -> None:
    world = World(version=6, seconds=PROMPT)

    handle(world.integration(), version=5, attempt=attempt)

    assert world.message_ids == [ordinary_id(6)]


def test_a_redelivered_message_does_not_trust_what_was_delivered_before_its_earlier_delivery_ended() -> None:
    world = World(version=6, seconds=PROMPT)
    integration = world.integration()
    handle(integration, version=6)

    world.clock.set(world.clock.now + 10)
    handle(integration, version=5, attempt=2)
    handle(integration, version=4, attempt=3)

    assert world.said == ["version 6", "version 6"], "the third message is covered by the second event"
    assert world.message_ids[1] != world.message_ids[0]


# What is late


def test_late_is_twice_the_third_fastest_of_the_last_hundred() -> None:
    lateness = Lateness()

    assert not any(lateness.is_late(seconds) for seconds in (0.4, 0.1, 0.01)), "too little is known yet"
    assert not lateness.is_late(0.4)
    assert lateness.is_late(0.801 / 2 + 0.2)
    for _ in range(93):
        assert not lateness.is_late(0.2)
    assert lateness.is_late(0.401)


def test_half_a_second_is_always_late() -> None:
    lateness = Lateness()
    lateness.is_late(30.0)

    assert lateness.is_late(0.501)
