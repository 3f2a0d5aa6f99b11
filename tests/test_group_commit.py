"""Group commit keeps its promises whatever happens to its callers, on threads and on gevent's greenlets."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import ceil, log2
from random import Random

import pytest

from service.delivery.group_commit import BatchRefused, CallFailed, GroupCommit, NeverSent
from tests.callers import SEEDS, Caller, Gate, run_on_greenlets
from tests.group_commit_world import CALL_SECONDS, LONG, Answer, World, done, ends, one_batch, raising, refusing

# What shares a call


def test_a_call_leaves_at_once_when_a_slot_is_free() -> None:
    world = World(slots=2)

    callers = [world.away("a"), world.away("b")]

    assert world.calls.visitors == [["a"], ["b"]]
    world.calls.let_all_go()
    assert ends(callers) == ["did a", "did b"]
    world.is_as_new()


def test_what_arrives_while_a_call_is_away_shares_the_next_one_in_the_order_of_arrival() -> None:
    world = World()
    letters = list("abcdefghijkl")

    callers = [world.away("first"), *world.waiting(*letters)]
    world.calls.let_all_go()

    assert ends(callers) == done(["first", *letters])
    assert world.calls.visitors == [["first"], letters]
    world.is_as_new()


def test_a_batch_holds_no_more_items_than_allowed() -> None:
    world = World(max_items=3)

    callers = [world.away("first"), *world.waiting(*"abcdefg")]
    world.calls.let_all_go()

    assert ends(callers) == done(["first", *"abcdefg"])
    assert world.calls.visitors == [["first"], ["a", "b", "c"], ["d", "e", "f"], ["g"]]
    world.is_as_new()


def test_a_batch_holds_no_more_bytes_than_allowed_and_what_is_too_large_for_any_goes_alone() -> None:
    world = World(max_size=10)

    callers = [world.away("first")]
    for item, size in {"a": 4, "b": 6, "c": 1, "d": 99, "e": 9, "f": 0, "g": 2}.items():
        callers += world.waiting(item, size=size)
    world.calls.let_all_go()

    assert ends(callers) == done(["first", *"abcdefg"])
    assert world.calls.visitors == [["first"], ["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]]
    world.is_as_new()


def test_never_more_calls_are_in_flight_than_there_are_slots() -> None:
    world = World(slots=3, max_items=2)
    letters = "abcdefghijklmnopqrst"

    callers = [world.away(f"first {number}") for number in range(3)] + world.waiting(*letters)
    world.calls.let_go_at_random(Random(1), callers)  # noqa: S311  # chance, no secret

    assert ends(callers)[3:] == done(letters)
    assert world.calls.most_at_once == 3
    world.is_as_new()


def test_callers_are_served_in_their_order_however_many_come_later() -> None:
    world = World(max_items=1)
    callers = [world.away("0")]

    for number in range(1, 12):
        callers += world.waiting(f"{number}", f"{number}, later")
        world.calls.let_go(number)
    world.calls.let_all_go()

    in_order = ["0", *(item for number in range(1, 12) for item in (f"{number}", f"{number}, later"))]
    assert ends(callers) == done(in_order)
    assert world.calls.visitors == [[item] for item in in_order]
    world.is_as_new()


def test_a_deadline_may_be_never() -> None:
    world = World()

    callers = [world.away("first"), *world.waiting("a", deadline=float("inf"))]
    world.calls.let_all_go()

    assert ends(callers) == ["did first", "did a"]


# Deadlines


def test_an_item_whose_time_runs_out_in_the_queue_is_never_sent() -> None:
    world = World()
    first = world.away("first")

    late = world.waiting("late", deadline=CALL_SECONDS + 0.01)  # a hundredth of a second in the queue, a real one
    others = world.waiting("a", "b")
    assert ends(late) == [NeverSent]
    world.calls.let_all_go()

    assert ends([first, *others]) == done(["first", "a", "b"])
    assert world.calls.visitors == [["first"], ["a", "b"]]
    world.is_as_new()


def test_an_item_that_comes_too_late_takes_no_slot_and_makes_no_call() -> None:
    world = World()

    assert ends([world.caller("late", deadline=CALL_SECONDS - 1) for _ in range(3)]) == [NeverSent] * 3

    assert world.calls.visitors == []
    world.is_as_new()


def test_an_item_that_was_sent_as_its_time_ran_out_gets_its_outcome() -> None:
    """It is taken between the moment when its caller looks at the clock and the end of the wait, which is none."""
    world = World()

    def sent_meanwhile() -> None:
        world.calls.wait_for(2)
        world.clock.set(LONG)

    callers = [world.away("first"), *world.waiting("leader")]
    callers += world.waiting("a", before_waiting=sent_meanwhile)
    world.calls.let_go(1)
    world.calls.let_go(2)

    assert ends(callers) == done(["first", "leader", "a"])
    assert world.calls.visitors == [["first"], ["leader", "a"]]
    world.is_as_new()


def test_a_caller_who_is_to_lead_as_its_time_runs_out_leaves_the_others_to_the_next_one() -> None:
    world = World()
    first = world.away("first")

    def promoted_meanwhile() -> None:
        first.end()
        world.clock.set(50)

    late = world.waiting("late", deadline=50, before_waiting=promoted_meanwhile)
    others = world.waiting("a", "b")
    world.calls.let_all_go()

    assert ends([first, *late, *others]) == ["did first", NeverSent, "did a", "did b"]
    assert world.calls.visitors == [["first"], ["a", "b"]]
    world.is_as_new()


def test_who_is_late_does_not_keep_the_leader_from_calling_for_the_others() -> None:
    world = World()
    first = world.away("first")

    leader = world.waiting("leader")
    late = world.waiting("late", deadline=50, before_waiting=lambda: world.calls.wait_for(2))
    others = world.waiting("a")
    world.clock.set(50)
    world.calls.let_all_go()

    assert ends([first, *leader, *late, *others]) == ["did first", "did leader", NeverSent, "did a"]
    assert world.calls.visitors == [["first"], ["leader", "a"]]
    world.is_as_new()


# What goes wrong in a call


def _a_call_that_dies(error: BaseException, leader_ends_with: type[BaseException]) -> None:
    world = World()
    first = world.away("first")
    one_batch = world.waiting("leader", "a", "b")
    world.calls.let_go(1)
    world.calls.wait_for(2)
    next_batch = world.waiting("c", "d")

    world.answer = raising(error)
    world.calls.let_go(2)
    world.calls.wait_for(3)
    world.answer = done
    world.calls.let_all_go()

    assert first.end() == "did first"
    assert ends(one_batch) == [leader_ends_with, CallFailed, CallFailed]
    assert [str(caller.end()) for caller in one_batch[1:]] == [type(error).__name__] * 2  # its text may quote an item
    assert ends(next_batch) == ["did c", "did d"]
    assert world.calls.visitors == [["first"], ["leader", "a", "b"], ["c", "d"]]
    world.is_as_new()


def test_a_call_that_raises_fails_those_it_was_made_for_and_nobody_else() -> None:
    _a_call_that_dies(RuntimeError("about leader, a and b"), CallFailed)


def test_a_leader_who_is_told_to_exit_leaves_no_caller_waiting() -> None:
    _a_call_that_dies(SystemExit(1), SystemExit)


def test_a_leader_who_is_interrupted_leaves_no_caller_waiting() -> None:
    _a_call_that_dies(KeyboardInterrupt(), KeyboardInterrupt)


def test_a_call_with_the_wrong_number_of_outcomes_gives_nobody_anothers() -> None:
    for outcomes in ([], ["did a"], ["did a", "did b"], [*done(["leader", "a", "b"]), "one too many"]):
        world = World()
        first = world.away("first")
        batch = world.waiting("leader", "a", "b")
        world.calls.let_go(1)
        world.calls.wait_for(2)

        world.answer = lambda _items, outcomes=outcomes: outcomes  # type: ignore[misc]  # bound while the loop is here
        world.calls.let_go(2)

        assert first.end() == "did first"
        assert ends(batch) == [CallFailed] * 3
        world.is_as_new()


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_caller_interrupted_in_the_queue_is_never_sent_and_blocks_no_other_caller() -> None:
    world = World()

    first = world.away("first")
    interrupted = world.waiting("interrupted", before_waiting=_interrupt)
    others = world.waiting("a")
    assert ends(interrupted) == [KeyboardInterrupt]
    world.calls.let_all_go()

    assert ends([first, *others]) == ["did first", "did a"]
    assert world.calls.visitors == [["first"], ["a"]]
    world.is_as_new()


def test_a_caller_interrupted_when_it_was_to_lead_passes_that_on() -> None:
    for others in ([], ["a", "b"]):
        world = World()
        first = world.away("first")

        def promoted_meanwhile(first: Caller[str] = first) -> None:
            first.end()
            raise KeyboardInterrupt

        callers = world.waiting("interrupted", before_waiting=promoted_meanwhile) + world.waiting(*others)
        world.calls.let_all_go()

        assert ends(callers) == [KeyboardInterrupt, *done(others)]
        assert world.calls.visitors == [["first"], *([others] if others else [])]
        world.is_as_new()


def test_a_caller_interrupted_after_its_item_was_sent_affects_no_other_caller() -> None:
    world = World()

    def sent_meanwhile() -> None:
        world.calls.wait_for(2)
        raise KeyboardInterrupt

    first, (leader,) = world.away("first"), world.waiting("leader")
    (interrupted,) = world.waiting("interrupted", before_waiting=sent_meanwhile)
    (other,) = world.waiting("a")
    world.calls.let_go(1)
    assert ends([interrupted]) == [KeyboardInterrupt]
    world.calls.let_go(2)

    assert ends([first, leader, other]) == done(["first", "leader", "a"])
    assert world.calls.visitors == [["first"], ["leader", "interrupted", "a"]]
    world.is_as_new()


# Batches refused as a whole


def test_an_item_at_fault_is_found_by_halving_and_its_neighbours_are_delivered() -> None:
    for count in (1, 2, 3, 7, 16):
        items = [f"{number}" for number in range(count)]
        for at_fault in {items[0], items[count // 2], items[-1]}:
            world = World()
            world.answer = refusing(at_fault)
            callers = one_batch(world, items)
            world.calls.let_all_go()

            expected = [f"refused {item}" if item == at_fault else f"did {item}" for item in items]
            assert ends(callers) == expected
            calls = world.calls.visitors[1:]
            assert len(calls) <= 1 + 2 * ceil(log2(count))
            taken = [item for call in calls if at_fault not in call for item in call]
            assert taken == [item for item in items if item != at_fault]  # each once, in the order of arrival
            world.is_as_new()


def test_several_at_fault_are_each_told_their_own_refusal() -> None:
    items = [f"{number}" for number in range(9)]
    for at_fault in (["0", "8"], ["3", "4"], items):
        world = World()
        world.answer = refusing(*at_fault)
        callers = one_batch(world, items)
        world.calls.let_all_go()

        assert ends(callers) == [f"refused {item}" if item in at_fault else f"did {item}" for item in items]
        assert len(world.calls.visitors[1:]) <= 2 * len(items) - 1
        world.is_as_new()


def _seconds_pass(world: World, answer: Answer) -> Answer:
    def slow(items: Sequence[str]) -> Sequence[str]:
        world.clock.set(world.clock.now + CALL_SECONDS)
        return answer(items)

    return slow


def test_halving_ends_at_the_deadline_and_what_was_not_sent_says_so() -> None:
    world = World()
    callers = one_batch(world, list("abcdefgh"), dict.fromkeys("abcdefgh", 30.0))

    world.answer = _seconds_pass(world, refusing("h"))  # calls begin at 0, 10 and 20; one at 30 would end at 40
    world.calls.let_all_go()

    assert ends(callers) == [*done("abcd"), NeverSent, NeverSent, NeverSent, NeverSent]
    assert world.calls.visitors[1:] == [list("abcdefgh"), list("abcd"), list("efgh")]
    world.is_as_new()


def test_halving_for_others_does_not_keep_the_leader_beyond_its_own_deadline() -> None:
    world = World()
    callers = one_batch(world, list("abcd"), {"a": 30.0})

    world.answer = _seconds_pass(world, refusing("d"))
    world.calls.let_all_go()

    assert ends(callers) == ["did a", "did b", NeverSent, NeverSent]
    assert world.clock.now == 30
    world.is_as_new()


def test_who_runs_out_of_time_while_others_are_halved_is_told_before_the_next_call() -> None:
    world = World()
    *others, hurried = one_batch(world, list("abcd"), {"d": 15.0})

    world.answer = _seconds_pass(world, refusing("a"))
    world.calls.let_go(2)
    world.calls.wait_for(3)  # stays away

    assert ends([hurried]) == [NeverSent]
    world.calls.let_all_go()
    assert ends(others) == ["refused a", "did b", "did c"]
    assert ["c"] in world.calls.visitors
    world.is_as_new()


def test_a_leader_stopped_while_halving_leaves_outcomes_as_they_are_and_says_what_was_sent() -> None:
    world = World()
    callers = one_batch(world, list("abcdefgh"))
    at_the_fourth_call = raising(SystemExit())

    def answer(items: Sequence[str]) -> Sequence[str]:
        fourth = items == ["e", "f"]
        return (at_the_fourth_call if fourth else refusing("h"))(items)

    world.answer = answer
    world.calls.let_all_go()

    assert ends(callers) == [SystemExit, *done("bcd"), CallFailed, CallFailed, NeverSent, NeverSent]
    world.is_as_new()


def test_a_leader_stopped_before_its_call_sends_nothing() -> None:
    world = World()
    first = world.away("first")
    others = world.waiting("leader", "a")

    world.clock.on_reading_by(others[0].thread, _interrupt)  # it has waited, and reads it once more before it calls
    world.calls.let_all_go()

    assert ends([first, *others]) == ["did first", KeyboardInterrupt, "did a"]
    assert world.calls.visitors == [["first"], ["a"]]
    world.is_as_new()


# Everything at once


class Chance:
    """An upstream and a clock with random behaviour."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  # chance, no secret
        self.slots = self.random.randint(1, 3)
        self.max_items = self.random.randint(1, 6)
        self.max_size = self.random.randint(5, 30)
        self.well_filled = self.random.randint(1, 8)
        self.items = [f"{number}" for number in range(100)]
        self.sizes = {item: self.random.choice([0, 1, 2, 5, 40]) for item in self.items}
        self.at_fault = set(self.random.sample(self.items, 6))
        self.gate: Gate[list[str]] = Gate()
        self.took: Counter[str] = Counter()  # calls that gave an outcome to the item
        self.refused: Counter[str] = Counter()  # and calls of more than one that were refused as a whole
        self.broke: Counter[str] = Counter()  # and calls that broke: the item was sent, with an unknown outcome
        self.interruptions = True

    def call(self, items: Sequence[str]) -> Sequence[str]:
        assert len(items) <= self.max_items
        assert len(items) == 1 or sum(self.sizes.get(item, 0) for item in items) <= self.max_size
        with self.gate.passed_by(list(items)):
            dice = self.random.random() if self.interruptions else 1.0
            if dice < 0.16:
                self.broke.update(items)
                if dice < 0.04:
                    raise SystemExit
                if dice < 0.08:
                    raise OSError
                return done(items)[1:] if dice < 0.12 else [*done(items), "one more"]
            if self.at_fault.isdisjoint(items):
                self.took.update(items)
                return done(items)
            (self.took if len(items) == 1 else self.refused).update(items)
            raise BatchRefused(f"refused {items[0]}")

    def clock(self) -> float:
        if self.interruptions and self.random.random() < 0.03:
            raise KeyboardInterrupt
        return 0.0

    def deadline(self) -> float:
        return self.random.choice([LONG, LONG, LONG, LONG, CALL_SECONDS + 0.001, CALL_SECONDS - 1])

    def is_true(self, item: str, end: str | BaseException | None) -> bool:
        """Whether this is how the caller of the item may have ended, given what the upstream saw."""
        sent = self.took[item] + self.broke[item]
        match end:
            case str():
                right = f"refused {item}" if item in self.at_fault else f"did {item}"
                return end == right and self.took[item] == 1 and self.broke[item] == 0
            case NeverSent():
                return sent == 0
            case CallFailed():
                return self.broke[item] == 1 and self.took[item] == 0
            case KeyboardInterrupt() | SystemExit():
                return sent <= 1
        return False


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_each_caller_learns_what_became_of_its_item(seed: int) -> None:
    chance = Chance(seed)
    group: GroupCommit[str, str] = GroupCommit(
        chance.call,
        max_items=chance.max_items,
        max_size=chance.max_size,
        slots=chance.slots,
        call_seconds=CALL_SECONDS,
        well_filled=chance.well_filled,
        clock=chance.clock,
    )
    told: list[tuple[str, str | BaseException]] = []

    def hand_in(items: Sequence[str]) -> None:
        for item in items:
            end: str | BaseException
            try:
                end = group.submit(item, deadline=chance.deadline(), size=chance.sizes[item])
            except BaseException as error:  # noqa: BLE001  # whatever it was is to be explained below
                end = error
            told.append((item, end))

    callers = [Caller(partial(hand_in, chance.items[n::25]), then=chance.gate.look_again) for n in range(25)]
    chance.gate.let_go_at_random(chance.random, callers)

    assert [caller.end() for caller in callers] == [None] * len(callers)
    assert sorted(item for item, _ in told) == sorted(chance.items)
    assert [(item, end) for item, end in told if not chance.is_true(item, end)] == []
    assert chance.gate.most_at_once <= chance.slots
    assert max(chance.refused.values(), default=0) <= ceil(log2(chance.max_items))
    _every_slot_is_free(chance, group)


def _every_slot_is_free(chance: Chance, group: GroupCommit[str, str]) -> None:
    chance.interruptions = False
    chance.gate.most_at_once = 0
    already = len(chance.gate.visitors)
    last = []
    for number in range(chance.slots):
        last.append(Caller(partial(group.submit, f"last {number}", deadline=LONG)))
        chance.gate.wait_for(already + number + 1)
    assert chance.gate.most_at_once == chance.slots
    chance.gate.let_all_go()
    assert ends(last) == done([f"last {number}" for number in range(chance.slots)])


def test_greenlets_keep_the_same_promises() -> None:
    run_on_greenlets("tests/test_group_commit.py", "tests/killed_greenlets.py")
