"""One update, one identify: attempts are shared, never overtake each other, and never go back to an older version."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from service.delivery.deliveries import GONE, Attempt, Deliveries, TooLate
from tests.callers import SEEDS, Caller, Clock, Gate, run_on_greenlets

LONG = 1000.0  # a deadline that the clock, set by hand, does not reach

Making = Callable[[float], Attempt[str]]


class World:
    """Deliveries with a clock that the test sets, and their attempts, which end when they are released."""

    def __init__(self, remember: int = 100) -> None:
        self.clock = Clock()
        self.deliveries: Deliveries[str] = Deliveries(remember, self.clock)
        self.attempts: Gate[str] = Gate()
        self.newest: dict[str, float] = {}

    def attempt(self, name: str, delivers: float | None, error: BaseException | None = None) -> Making:
        def make(newest: float) -> Attempt[str]:
            self.newest[name] = newest
            with self.attempts.passed_by(name):
                if error is not None:
                    raise error
                return Attempt(f"by {name}", delivers)

        return make

    def caller(
        self,
        name: str,
        version: float | None,
        *,
        customer: str = "ada",
        delivers: float | None = None,
        error: BaseException | None = None,
        deadline: float = LONG,
        before_waiting: Callable[[], object] | None = None,
    ) -> Caller[str | None]:
        making = self.attempt(name, delivers, error)
        deliver = partial(self.deliveries.deliver, customer, version, making, deadline=deadline)
        return Caller(deliver, clock=self.clock, before_waiting=before_waiting)

    def under_way(self, name: str, version: float | None, **how: object) -> Caller[str | None]:
        """Start a caller whose attempt begins, and return when it has begun."""
        already = len(self.attempts.visitors)
        caller = self.caller(name, version, **how)  # type: ignore[arg-type]  # the keywords of `caller`, handed through
        self.attempts.wait_for(already + 1)
        return caller

    def waiting(self, name: str, version: float | None, **how: object) -> Caller[str | None]:
        """Start a caller that finds an attempt in flight, and return when it waits for that."""
        caller = self.caller(name, version, **how)  # type: ignore[arg-type]  # as above
        self.clock.wait_for_reading_by(caller.thread)
        return caller

    def has_delivered(self, version: float, *, customer: str = "ada") -> None:
        attempt = Attempt("earlier", version)
        assert self.deliveries.deliver(customer, version, lambda _newest: attempt, deadline=LONG) == "earlier"

    def remembers(self, version: float, *, customer: str = "ada") -> bool:
        """Whether a notification of that version is taken for delivered. An attempt made to find out fails."""
        attempt = Attempt("it had been forgotten")
        return self.deliveries.deliver(customer, version, lambda _newest: attempt, deadline=LONG) is None


# One attempt for all


def test_many_notifications_of_one_version_make_one_attempt_and_all_learn_its_outcome() -> None:
    world = World()

    callers = [world.under_way("the first", 5, delivers=5)] + [world.waiting(f"{n}", 5) for n in range(10)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by the first"] * 11
    assert world.attempts.visitors == ["the first"]


def test_an_attempt_that_found_a_newer_version_serves_those_who_wait_for_that_one() -> None:
    world = World()

    callers = [world.under_way("5", 5, delivers=7), world.waiting("6", 6), world.waiting("7", 7), world.waiting("4", 4)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by 5"] * 4
    assert world.attempts.visitors == ["5"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_version_that_is_delivered_already_or_an_older_one_makes_no_attempt(version: int) -> None:
    world = World()
    world.has_delivered(5)

    assert world.remembers(version)
    assert not world.remembers(6)


def test_a_newer_version_than_the_attempt_under_way_delivers_makes_its_own_attempt_after_it() -> None:
    world = World()

    older, newer = world.under_way("5", 5, delivers=5), world.waiting("6", 6, delivers=6)
    world.attempts.let_all_go()

    assert (older.end(), newer.end()) == ("by 5", "by 6")
    assert world.attempts.visitors == ["5", "6"]
    assert world.attempts.most_at_once == 1


def test_an_attempt_learns_the_newest_version_delivered_so_that_it_does_not_go_back() -> None:
    world = World()
    world.attempts.let_all_go()

    world.caller("first", 3, delivers=3).end()
    world.caller("second", 7, delivers=6).end()  # what it read lagged behind its notification
    world.caller("third", 7, delivers=5).end()  # and lags still more
    world.caller("fourth", 7, delivers=7).end()

    assert world.newest == {"first": 0, "second": 3, "third": 6, "fourth": 6}
    assert world.remembers(7)


def test_a_version_delivered_while_one_slept_over_the_end_of_its_wait_is_delivered_already() -> None:
    """The attempt that it waited for delivers too old a version; another one has ended before it looks again."""
    world = World()

    def two_more_attempts() -> None:
        world.attempts.let_go(1)
        first.end()
        world.has_delivered(9)

    first = world.under_way("5", 5, delivers=5)
    caller = world.caller("7", 7, before_waiting=two_more_attempts)

    assert caller.end() is None  # and not the outcome of the attempt for 5
    assert world.attempts.visitors == ["5"]


def test_a_version_is_not_taken_for_delivered_before_anything_was() -> None:
    assert not World().remembers(0)
    assert not World().remembers(-1)


def test_nobody_is_served_by_the_attempt_for_another_customer_nor_waits_for_it() -> None:
    world = World()

    ada, bob = world.under_way("ada's", 5, delivers=5), world.under_way("bob's", 5, customer="bob", delivers=5)

    assert world.attempts.most_at_once == 2
    world.attempts.let_go(2)
    assert bob.end() == "by bob's"
    assert not ada.has_ended
    world.attempts.let_go(1)
    assert ada.end() == "by ada's"


# Failures


@pytest.mark.parametrize("version", [4, 5])
def test_a_failure_is_shared_by_those_for_whom_the_attempt_was_made(version: int) -> None:
    world = World()

    callers = [world.under_way("the first", 5), *(world.waiting(f"{n}", version, delivers=5) for n in range(5))]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by the first"] * 6
    assert world.attempts.visitors == ["the first"]


def test_a_failure_is_forgotten_once_it_is_told() -> None:
    world = World()
    world.attempts.let_all_go()

    outcomes = [world.caller("fails", 5).end(), world.caller("delivers", 5, delivers=5).end()]

    assert outcomes == ["by fails", "by delivers"]
    assert world.remembers(5)


def test_a_newer_version_does_not_share_the_failure_of_an_older_one() -> None:
    """The older state may be what was at fault: refused by Segment, and corrected since."""
    world = World()

    older, newer = world.under_way("5", 5), world.waiting("6", 6, delivers=6)
    world.attempts.let_all_go()

    assert (older.end(), newer.end()) == ("by 5", "by 6")


def test_a_failure_takes_nothing_from_what_was_delivered_before() -> None:
    world = World()
    world.attempts.let_all_go()
    world.has_delivered(5)

    world.caller("fails", 6).end()

    assert world.remembers(5)
    assert not world.remembers(6)


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_an_attempt_that_raises_does_so_for_its_caller_alone_and_leaves_no_caller_waiting(error: BaseException) -> None:
    world = World()

    raising = world.under_way("raises", 5, error=error)
    others = [world.waiting(f"{n}", 5, delivers=5) for n in range(5)]
    world.attempts.let_all_go()

    assert raising.end() is error
    outcomes = {caller.end() for caller in others}
    raised, delivered = world.attempts.visitors
    assert raised == "raises"
    assert outcomes <= {f"by {delivered}", None}  # None: one that looked only after the second attempt had ended
    assert world.remembers(5)


def test_when_every_attempt_raises_everybody_gets_a_turn() -> None:
    world = World()
    errors = [ValueError(f"{n}") for n in range(6)]

    callers = [world.under_way("0", 5, error=errors[0])]
    callers += [world.waiting(f"{n}", 5, error=errors[n]) for n in range(1, 6)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == errors
    assert world.attempts.most_at_once == 1


def test_a_caller_interrupted_while_it_waits_affects_no_other_caller() -> None:
    world = World()

    def interrupt() -> None:
        raise KeyboardInterrupt

    first = world.under_way("the first", 5, delivers=5)
    interrupted = world.caller("interrupted", 5, before_waiting=interrupt)
    assert isinstance(interrupted.end(), KeyboardInterrupt)
    other = world.waiting("other", 5)
    world.attempts.let_all_go()

    assert (first.end(), other.end()) == ("by the first", "by the first")


# Deleted customers, and notifications without a version


def test_nothing_is_newer_than_a_customer_who_is_gone() -> None:
    world = World()

    callers = [world.under_way("5", 5, delivers=GONE), world.waiting("6", 6), world.waiting("deleted", GONE)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by 5"] * 3
    assert world.attempts.visitors == ["5"]
    assert world.remembers(10**9)
    assert world.remembers(GONE)


def test_a_deletion_makes_its_own_attempt_after_the_one_under_way() -> None:
    world = World()

    callers = [world.under_way("5", 5, delivers=5), world.waiting("deleted", GONE, delivers=GONE)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by 5", "by deleted"]


def test_a_customer_who_is_gone_stays_so_whatever_a_later_attempt_says() -> None:
    world = World()
    world.attempts.let_all_go()
    world.has_delivered(GONE)

    world.caller("without a version", None, delivers=5).end()

    assert world.newest == {"without a version": GONE}
    assert world.remembers(6)


@pytest.mark.parametrize("delivers", [None, 5], ids=["failing", "delivering"])
def test_without_a_version_an_attempt_is_made_always_and_one_at_a_time(delivers: float | None) -> None:
    world = World()

    callers = [world.under_way("0", None, delivers=delivers)]
    callers += [world.waiting(f"{n}", None, delivers=delivers) for n in range(1, 5)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == [f"by {n}" for n in range(5)]
    assert world.attempts.most_at_once == 1


def test_a_version_is_served_by_an_attempt_without_one_if_that_delivers_it() -> None:
    world = World()

    callers = [world.under_way("unversioned", None, delivers=5), world.waiting("5", 5)]
    callers.append(world.waiting("6", 6, delivers=6))
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by unversioned", "by unversioned", "by 6"]


def test_a_version_does_not_share_the_failure_of_an_attempt_without_one() -> None:
    world = World()

    callers = [world.under_way("unversioned", None), world.waiting("5", 5, delivers=5)]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by unversioned", "by 5"]


# Memory


def test_the_least_recently_delivered_customers_are_forgotten_first() -> None:
    world = World(remember=2)

    world.has_delivered(1, customer="ada")
    world.has_delivered(1, customer="bob")
    world.has_delivered(2, customer="ada")
    world.has_delivered(1, customer="cyd")

    assert world.remembers(2, customer="ada")
    assert world.remembers(1, customer="cyd")
    assert not world.remembers(1, customer="bob")


def test_a_failure_removes_no_other_resource_from_memory() -> None:
    world = World(remember=1)
    world.has_delivered(1, customer="ada")

    assert not world.remembers(1, customer="bob")

    assert world.remembers(1, customer="ada")


def test_those_who_wait_share_an_attempt_though_its_customer_is_forgotten_at_once() -> None:
    world = World(remember=0)

    callers = [world.under_way("the first", 5, delivers=5), *(world.waiting(f"{n}", 5) for n in range(5))]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by the first"] * 6
    assert world.attempts.visitors == ["the first"]
    assert not world.remembers(5)


# Deadlines


def test_who_cannot_wait_any_longer_is_too_late_and_makes_no_attempt() -> None:
    world = World()

    first = world.under_way("the first", 5, delivers=5)
    late = [world.caller("late", 6, deadline=deadline) for deadline in (-1, 0, 0.01)]

    assert [type(caller.end()) for caller in late] == [TooLate] * 3
    world.attempts.let_all_go()
    assert first.end() == "by the first"
    assert world.attempts.visitors == ["the first"]


def test_a_deadline_may_be_never() -> None:
    world = World()

    callers = [world.under_way("the first", 5, delivers=5), world.waiting("5", 5, deadline=float("inf"))]
    world.attempts.let_all_go()

    assert [caller.end() for caller in callers] == ["by the first"] * 2


# Everything at once


class Shop:
    """Customers with growing versions, and attempts that read, deliver, fail or raise at random."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  # chance, no secret
        self.deliveries: Deliveries[float | None] = Deliveries()
        self.gate: Gate[str] = Gate()
        self.version: defaultdict[str, int] = defaultdict(lambda: 1)
        self.sent: defaultdict[str, list[float]] = defaultdict(list)
        self.under_way: defaultdict[str, int] = defaultdict(int)
        self.surprises: list[str] = []

    def attempt(self, customer: str, newest: float) -> Attempt[float | None]:
        self.under_way[customer] += 1
        if self.under_way[customer] > 1:
            self.surprises.append(f"two attempts at once for {customer}")
        try:
            found = self.version[customer] - self.random.choice([0, 0, 0, 1])
            with self.gate.passed_by(customer):
                dice = self.random.random()
                if dice < 0.1:
                    raise OSError
                if dice < 0.2:
                    return Attempt(None)
                if found > newest:
                    self.sent[customer].append(found)
                return Attempt(found, found)
        finally:
            self.under_way[customer] -= 1

    def be_notified(self) -> None:
        for _ in range(5):
            customer = self.random.choice("abc")
            self.version[customer] += self.random.choice([0, 0, 1])
            now = self.version[customer]
            self.hand_in(customer, self.random.choice([now, now, 2, None]))

    def hand_in(self, customer: str, version: int | None) -> None:
        """Deliver, and note what should not be."""
        attempts: list[float] = []

        def attempt(newest: float) -> Attempt[float | None]:
            attempts.append(newest)
            return self.attempt(customer, newest)

        try:
            outcome = self.deliveries.deliver(customer, version, attempt, deadline=float("inf"))
        except OSError:
            if not attempts:
                self.surprises.append("told of an error that is another's")
            return
        if len(attempts) > 1:
            self.surprises.append("two attempts were made for one notification")
        if version is None and not attempts:
            self.surprises.append("no attempt was made without a version")
        if version is not None and not attempts and outcome is not None and outcome < version:
            self.surprises.append(f"{version} was served by {outcome}")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_versions_only_grow_and_attempts_do_not_meet(seed: int) -> None:
    shop = Shop(seed)

    callers = [Caller(shop.be_notified, then=shop.gate.look_again) for _ in range(20)]
    shop.gate.let_go_at_random(shop.random, callers)

    assert [caller.end() for caller in callers] == [None] * len(callers)
    assert shop.surprises == []
    assert shop.sent
    for versions in shop.sent.values():
        assert versions == sorted(set(versions))


def test_greenlets_keep_the_same_promises() -> None:
    run_on_greenlets("tests/test_deliveries.py")
