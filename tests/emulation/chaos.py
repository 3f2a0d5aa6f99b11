"""make chaos: a shop's changes through the whole path while everything around the service fails; then it is judged.

python -m tests.emulation.chaos [--seed N] [--customers N] [--changes N]

Notifications come twice and out of order, garbage and foreign ones in between. The service's processes are killed,
stopped and started again on the same port; Segment, its Public API, commercetools, its token endpoint and Google's
certificates fail in every way that the stand-ins know, hang and go away; queries lag. Customers change, and the shop
sells, imports, edits, cancels and refunds. Exits with 1 if at the end anything was lost, doubled, stale, invented or
brought back, or an amount was wrong. The seed gives the order of events, not their timing.
"""

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from playground.oracle_orders import Verdict
from playground.pubsub import Push
from playground.shop import GARBAGE
from playground.stand_in import (
    CLOSE_AFTER_READ,
    FOREIGN,
    HANG,
    JSON,
    RESET_AFTER_READ,
    RESET_BEFORE_READ,
    TRUNCATED,
    Answer,
    Call,
    Fault,
    StandIn,
    answer,
    drip,
    redirect,
)
from playground.world import SUBSCRIPTION, Line, LocalWorld

FAULTS: Mapping[str, Fault] = {
    "400": answer(400),
    "401": answer(401),
    "403": answer(403),
    "404": answer(404, body=b"<html>no such page</html>"),  # a proxy's; commercetools' own would be no fault but a lie
    "408": answer(408),
    "413": answer(413),
    "429": answer(429),
    "429, Retry-After": answer(429, retry_after=1),
    "500": answer(500),
    "502": answer(502),
    "503": answer(503),
    "503, Retry-After": answer(503, retry_after=1),
    "301": redirect(301, "/elsewhere"),
    "307": redirect(307, "/elsewhere"),
    "reset before it is read": RESET_BEFORE_READ,
    "reset": RESET_AFTER_READ,
    "reset, in effect": RESET_AFTER_READ.after_effect(),
    "closed": CLOSE_AFTER_READ,
    "closed, in effect": CLOSE_AFTER_READ.after_effect(),
    "hangs": HANG,
    "hangs, in effect": HANG.after_effect(),
    "truncated": TRUNCATED,
    "truncated, in effect": TRUNCATED.after_effect(),
    "a byte at a time": drip(0.02),
    "another's page": FOREIGN,
}

PARTIES = (
    *("Segment", "commercetools' query", "commercetools by id", "commercetools' token", "the Public API"),
    *("commercetools' orders", "commercetools' payments"),
)

REFUSALS = ("Segment answered 400", "Segment answered 413", "Segment's Public API answered 400")
"""Reasons of good messages that are set aside because Segment refused them alone; an operator replays them."""

NACKS = frozenset({500, 503, None})
ACKS = frozenset({200, 204})

Traits = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """What is to happen. `troubles` is how many, None for every one there is; `long` has some take half a minute."""

    seed: int = 1
    customers: int = 2_000
    changes: int = 20_000
    troubles: int | None = None
    long: bool = True
    speed: float = 100.0  # Pub/Sub's waits are that many times shorter
    patience: float = 180.0  # seconds for what is left in the evening


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, or the one that there should be."""

    message_id: str
    reason: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is left when the day is over."""

    published: Sequence[str] = ()
    acknowledged: frozenset[str] = frozenset()
    expected: Mapping[str, Traits] = field(default_factory=dict)
    """What Segment should hold of each customer that had a notification."""
    by_arrival: Mapping[str, Traits] = field(default_factory=dict)
    by_timestamp: Mapping[str, Traits] = field(default_factory=dict)
    doubled: int = 0
    """How many events told a state once more."""
    reasons_to_double: int = 0
    """How many messages were redelivered, or confirmed so late that a newer state was sent after them."""
    erased: frozenset[str] = frozenset()
    suppressed: frozenset[str] = frozenset()
    received: Sequence[Mapping[str, Any]] = ()
    """The events that Segment got, with the repeats and what it dropped."""
    garbage: Sequence[Letter] = ()
    letters: Sequence[Letter] = ()
    statuses: Mapping[int | None, int] = field(default_factory=dict)
    unforeseen: Sequence[str] = ()
    facts: Verdict = field(default_factory=Verdict)


def judge(evidence: Evidence) -> dict[str, list[str]]:
    """Name each way in which the promise is broken, with what is concerned; empty where it is kept."""
    found = {
        "lost: messages without an end": sorted(set(evidence.published) - evidence.acknowledged),
        "lost or stale: customers who are not in Segment as they are": _differing(
            evidence.expected, evidence.by_arrival
        ),
        "lost or stale: customers who are not so by Segment's times": _differing(
            evidence.expected, evidence.by_timestamp
        ),
        "doubled: states told again without a reason": [f"{evidence.doubled}, for {evidence.reasons_to_double} reasons"]
        * (evidence.doubled > evidence.reasons_to_double),
        "doubled: messageIds with two contents": _two_contents(evidence.received),
        "erased, and back": sorted(evidence.erased & {*evidence.by_arrival, *evidence.by_timestamp}),
        "deleted, and not erased": sorted(evidence.erased - evidence.suppressed),
        "garbage without a dead letter that says why": _without(evidence.letters, evidence.garbage),
        "dead letters that should not be": [
            f"{letter.message_id}: {letter.reason}"
            for letter in evidence.letters
            if letter not in evidence.garbage and letter.reason not in REFUSALS
        ],
        "answers that no genuine push gets": [
            str(status) for status in evidence.statuses if status not in ACKS | NACKS
        ],
        "failures that nobody foresaw": list(evidence.unforeseen),
        "lost: facts about orders": evidence.facts.lost,
        "doubled: facts about orders": evidence.facts.doubled,
        "invented: facts about orders": evidence.facts.invented,
        "amounts off": evidence.facts.amounts_off,
        "facts about orders with another person, time, state or product": evidence.facts.otherwise_off,
    }
    return {name: concerned for name, concerned in found.items() if concerned}


def _differing(expected: Mapping[str, Traits], actual: Mapping[str, Traits]) -> list[str]:
    return sorted(one for one in {*expected, *actual} if expected.get(one) != actual.get(one))


def _two_contents(received: Sequence[Mapping[str, Any]]) -> list[str]:
    contents: dict[str, set[str]] = defaultdict(set)
    for event in received:
        if event["type"] != "identify":
            continue  # a fact is told as its order is at each try, and the first to arrive counts
        same = {name: event[name] for name in ("userId", "traits", "context")}
        contents[event["messageId"]].add(json.dumps(same, sort_keys=True))
    return [message_id for message_id, different in contents.items() if len(different) > 1]


def _without(letters: Sequence[Letter], wanted: Sequence[Letter]) -> list[str]:
    return [f"{letter.message_id}: {letter.reason}" for letter in wanted if letter not in letters]


@dataclass(frozen=True, slots=True)
class Finding:
    """What happened, how often, and how the promise was broken: not at all where `broken` is empty."""

    figures: Mapping[str, float]
    troubles: Mapping[str, int]
    failures: Mapping[str, int]
    broken: Mapping[str, Sequence[str]]

    def __str__(self) -> str:
        lines = [f"{name:<52} {number:>8,g}" for name, number in self.figures.items()]
        for title, counted in (
            (f"What went wrong (faults: at {', '.join(PARTIES)}):", self.troubles),
            ("Why pushes were not acknowledged:", self.failures),
        ):
            lines += ["", title, *(f"  {number:>6,}  {name}" for name, number in sorted(counted.items()))]
        lines += ["", "The promise holds." if not self.broken else "The promise is broken:"]
        for name, concerned in self.broken.items():
            lines += [f"  {len(concerned):>6,}  {name}", *(f"            {one}" for one in concerned[:5])]
        return "\n".join(lines)


def run(day: Day) -> Finding:
    """Let the day pass, and judge what is left of it."""
    started = time.monotonic()
    watch = _Watch()
    certificates = _Certificates()
    with certificates, ExitStack() as stack:
        world = stack.enter_context(
            LocalWorld(
                seed=day.seed,
                speed=day.speed,
                duplicate=0.1,
                reorder=0.2,
                latency=0.005,
                shop_options={"population": day.customers},
                in_batches=True,
                environment={"PUSH_CERTS_URL": certificates.url},
                on_push=watch.on_push,
                on_line=watch.on_line,
            )
        )
        certificates.source = world.pubsub.certs_url
        chaos = _Chaos(day, world, certificates, watch)
        chaos.pass_the_day()
        evidence, figures = chaos.evidence(), chaos.figures()
    figures |= {
        "states told again": evidence.doubled,
        "seconds": round(time.monotonic() - started),
    }
    return Finding(figures, chaos.troubles, watch.failures, judge(evidence))


# gunicorn's word of a connection that it had accepted, and not looked at, when a stop closed the listener.
_DROPPED = "Socket error processing request."


class _Watch:
    """What Pub/Sub saw of the pushes, and what the service said of them."""

    def __init__(self) -> None:
        self.pushes = self.redeliveries = self.repeats = self.given_up = self.dropped = self.late = 0
        self.statuses: Counter[int | None] = Counter()
        self.acknowledged: set[str] = set()
        self.endings: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.unforeseen: list[str] = []
        self._changed = threading.Condition()

    def on_push(self, push: Push) -> None:
        if push.subscription != SUBSCRIPTION:
            return
        with self._changed:
            self.pushes += 1
            self.statuses[push.status] += 1
            self.given_up += push.dead_lettered
            if push.message_id in self.acknowledged:
                self.repeats += 1
            elif push.delivery_attempt > 1:
                self.redeliveries += 1
            if push.acknowledged:
                self.acknowledged.add(push.message_id)
            self._changed.notify_all()

    def on_line(self, line: Line) -> None:
        message = str(line["message"])
        if message == _DROPPED:
            self.dropped += 1
        elif "exception" in line:
            self.unforeseen.append(f"{message}: {line['exception']}")
        ending, _, reason = message.partition(": ")
        self.late += ending == "Delivered" and bool(reason)
        if "message_id" in line:
            self.endings[ending] += 1
        if ending in {"Failed", "Turned away"}:
            self.failures[reason.partition(" another ")[0]] += 1  # without the seconds of a pause

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether the condition, looked at after each push, holds within so many seconds."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)


class _Certificates(StandIn):
    """Google's certificates, those of the local Pub/Sub, to be fetched anew every other second."""

    source = ""

    def respond(self, call: Call) -> Answer:
        del call
        there = requests.get(self.source, timeout=10)
        return Answer(200, there.content, {**JSON, "Cache-Control": "public, max-age=2"})


@dataclass(frozen=True, slots=True)
class _Trouble:
    name: str
    lasts: Callable[[], AbstractContextManager[None]]
    """Gives a context manager: what happens in it happens meanwhile."""

    @property
    def kind(self) -> str:
        party, _, fault = self.name.partition(": ")
        return party if fault in FAULTS else self.name

    @property
    def goes_away(self) -> bool:
        return self.name.startswith(("process: ", "certificates: "))


_SALES = 0.4  # of the changes
_AHEAD = 200  # messages that are published and not acknowledged: with more, the next trouble waits
_CALM_SECONDS = 10.0  # the longest wait
_MEET_SECONDS = 2.0  # for which a fault waits to be met
_LEAVE_SECONDS = 10.0  # for which the end of a process waits for the end of its connections


class _Chaos:
    def __init__(self, day: Day, world: LocalWorld, certificates: _Certificates, watch: _Watch) -> None:
        self.day = day
        self.world = world
        self.certificates = certificates
        self.watch = watch
        self.troubles: Counter[str] = Counter()
        self._chance = random.Random(day.seed)  # noqa: S311  # chaos, no cryptography
        self._changes = 0
        self._said = 0
        self._touched: set[str] = set()
        self._sold: set[str] = set()
        self._garbage: list[Letter] = []
        self._replayed: list[Letter] = []
        self._process_ends = 0

    def pass_the_day(self) -> None:
        for code in ("SUMMER", "WELCOME10"):
            self.world.shop.sales.code(code)
        groups = self._groups()
        for number, group in enumerate(groups, 1):
            end = self.day.changes * number // len(groups)
            with ExitStack() as stack:
                for left, trouble in zip(range(len(group), 0, -1), group, strict=True):
                    self._changes_until(self._changes + (end - self._changes) // (left + 1))
                    self.troubles[trouble.name.partition(": ")[2] if trouble.kind in PARTIES else trouble.name] += 1
                    stack.enter_context(trouble.lasts())
                self._changes_until(end)
                self._other_messages()
            self.watch.wait_for(lambda: self._open() < _AHEAD, _CALM_SECONDS)
        self._evening()

    def _groups(self) -> list[list[_Trouble]]:
        """Return all troubles in random order, one to three at a time; at most one of a group stops something."""
        troubles = list(self._all_troubles())
        self._chance.shuffle(troubles)
        if self.day.troubles is not None:  # one of each kind, and then others
            first = {trouble.kind: trouble for trouble in troubles}
            others = [trouble for trouble in troubles if trouble is not first[trouble.kind]]
            troubles = [*first.values(), *others][: self.day.troubles]
            self._chance.shuffle(troubles)
        groups: list[list[_Trouble]] = []
        size = 0
        for trouble in troubles:
            if not size or (trouble.goes_away and any(other.goes_away for other in groups[-1])):
                groups.append([])
                size = self._chance.choice((1, 1, 2, 3))
            groups[-1].append(trouble)
            size -= 1
        return groups

    # The shop

    def _changes_until(self, wanted: int) -> None:
        """Make changes until there are so many; one customer in ten changes several times in a row."""
        while self._changes < wanted:
            if self._chance.random() < _SALES:
                self._sold.add(self.world.shop.random_sale())
                self._changes += 1
                continue
            customer_id = self.world.shop.random_change()
            self._count_change(customer_id)
            if self._chance.random() < 0.1 and customer_id in self.world.shop.customers:  # one in ten
                for _ in range(min(self._chance.randint(1, 5), wanted - self._changes)):
                    name = {"firstName": f"Name {self._changes}"}
                    company = {"companyName": f"Company {self._changes}"} if self._chance.randrange(2) else {}
                    self.world.shop.change(
                        customer_id,
                        {"action": "setFirstName", **name},
                        {"action": "setCompanyName", **company},
                    )
                    self._count_change(customer_id)

    def _count_change(self, customer_id: str) -> None:
        self._changes += 1
        self._touched.add(customer_id)

    def _open(self) -> int:
        return self.world.said - len(self.watch.acknowledged)

    def _other_messages(self) -> None:
        if self._chance.randrange(2):
            self.world.shop.foreign()
        if self._garbage and self._chance.randrange(4):
            return
        about = {"notificationType": "ResourceUpdated", "version": 1}
        ours = self.world.shop.project_key
        nonsense = {
            **GARBAGE,
            _json(about | {"projectKey": "another", "resource": {"typeId": "customer", "id": "a"}}): (
                "about a customer of another project than CTP_PROJECT_KEY"
            ),
            _json(about | {"projectKey": ours, "resource": {"typeId": "customer", "id": '" or "'}}): (
                "the customer's id is none that commercetools gives"
            ),
        }
        for data, reason in self._chance.sample(list(nonsense.items()), 5):
            message_id = self.world.publish(data)
            self._garbage.append(Letter(message_id, reason, data))

    # What goes wrong

    def _all_troubles(self) -> Iterator[_Trouble]:
        world = self.world
        project = f"/{world.shop.project_key}"
        customers = f"{project}/customers"
        for name, party, path in (
            (PARTIES[0], world.segment, ""),
            (PARTIES[1], world.commercetools, f"{customers}?"),
            (PARTIES[2], world.commercetools, f"{customers}/"),
            (PARTIES[3], world.commercetools, "/oauth/token"),
            (PARTIES[4], world.public_api, ""),
            (PARTIES[5], world.commercetools, f"{project}/orders"),
            (PARTIES[6], world.commercetools, f"{project}/payments"),
        ):
            for kind, fault in FAULTS.items():
                if fault is FAULTS["a byte at a time"] and not self.day.long:
                    continue
                yield _Trouble(f"{name}: {kind}", _bind(self._faulty, party, path, fault))
        for _ in range(7):
            yield _Trouble("process: SIGKILL to the worker", self._worker_killed)
            yield _Trouble("process: SIGKILL to all", self._killed)
            yield _Trouble("process: SIGTERM", self._stopped)
        for versions in (1, 1, 1, 2, 3) * 6:  # often, since what lags is what makes states old
            yield _Trouble("lag: of queries", _bind(self._lagging, versions))
        for _ in range(3):
            yield _Trouble("query: customers and orders missing", self._hiding)
            yield _Trouble("query: a customer too many", self._adding)
            yield _Trouble("certificates: away", self._certificates_away)
        if self.day.long:  # a process that starts without certificates asks again after 30 s
            yield _Trouble("certificates: away while it starts", self._started_without_certificates)
            for kind in ("503", "another's page"):
                name = f"certificates: {kind} while it starts"
                yield _Trouble(name, _bind(self._started_with_others, FAULTS[kind]))

    @contextmanager
    def _faulty(self, party: StandIn, path: str, fault: Fault) -> Iterator[None]:
        hangs = fault in (HANG, HANG.after_effect())
        times = 1 if hangs or fault is FAULTS["a byte at a time"] else self._chance.randint(1, 4)
        before = party.call_count
        if hangs and not (self.day.long and self._chance.randrange(3) == 0):
            party.fail(fault, on=path)  # until it is lifted; else until the service's timeout
        else:
            party.fail_next(fault, times, on=path)
        if path.endswith("token"):
            self.world.commercetools.revoke_tokens()
        if path.endswith("/"):
            self.world.commercetools.lag_query(1)
        if hangs:
            party.wait_for_calls(before + times, _MEET_SECONDS)
        yield
        self.watch.wait_for(lambda: party.call_count >= before + times or not self._open(), _MEET_SECONDS)
        party.fail(None)
        if path.endswith("/"):
            self.world.commercetools.lag_query(0)

    def _in_the_midst(self) -> None:
        """Return at some moment while pushes are under way."""
        then = self.watch.pushes + self._chance.randint(1, 100)
        self.watch.wait_for(lambda: self.watch.pushes >= then or not self._open(), _MEET_SECONDS)

    def _has_ended(self) -> None:
        self.world.segment.wait_until_left(_LEAVE_SECONDS)  # with what it had sent before
        self._process_ends += 1

    @contextmanager
    def _worker_killed(self) -> Iterator[None]:
        self._in_the_midst()
        self.world.service.kill_worker(self._has_ended)
        yield

    @contextmanager
    def _killed(self) -> Iterator[None]:
        self._in_the_midst()
        self.world.service.kill()
        yield
        self._has_ended()
        self.world.service.start()

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        self._in_the_midst()
        self.world.service.stop(signal.SIGTERM)
        yield
        self._has_ended()
        self.world.service.start()

    @contextmanager
    def _lagging(self, versions: int) -> Iterator[None]:
        self.world.commercetools.lag_query(versions)
        yield
        self._in_the_midst()
        self.world.commercetools.lag_query(0)

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        known = [*sorted(self._touched), *sorted(self._sold), *sorted(self.world.shop.sales.payments)]
        self.world.commercetools.hide_from_query(self._chance.sample(known, len(known) // 5))
        yield
        self._in_the_midst()
        self.world.commercetools.hide_from_query()

    @contextmanager
    def _adding(self) -> Iterator[None]:
        with self.world.shop.lock:
            somebody = next(iter(self.world.shop.customers.values()))
        self.world.commercetools.add_to_query({**somebody, "firstName": "Nobody asked"})
        yield
        self._in_the_midst()
        self.world.commercetools.add_to_query(None)

    @contextmanager
    def _certificates_away(self) -> Iterator[None]:
        self.certificates.stop()
        yield
        self._in_the_midst()
        self.certificates.start()

    @contextmanager
    def _started_without_certificates(self) -> Iterator[None]:
        self.certificates.stop()
        with self._killed():
            pass
        yield
        self._in_the_midst()
        self.certificates.start()

    @contextmanager
    def _started_with_others(self, fault: Fault) -> Iterator[None]:
        self.certificates.fail_next(fault)
        with self._killed():
            pass
        yield

    # The evening

    def _evening(self) -> None:
        """Let what is open come to its end; replay what Segment refused, as an operator does."""
        self.world.settle()
        self.world.pubsub.wait_until_idle(self.day.patience, SUBSCRIPTION)
        self._letters = self._dead_letters()
        self._replayed = [letter for letter in self._letters if letter.reason in REFUSALS]
        for letter in self._replayed:
            self.world.publish(letter.data)
        self.world.pubsub.wait_until_idle(self.day.patience, SUBSCRIPTION)
        self._letters += self._dead_letters()

    def _dead_letters(self) -> list[Letter]:
        return [
            Letter(
                letter.attributes.get("source_message_id", ""), letter.attributes.get("reason", "unknown"), letter.data
            )
            for letter in self.world.dead_letters()
        ]

    def evidence(self) -> Evidence:
        segment = self.world.segment
        profiles = self.world.expected_profiles()
        return Evidence(
            published=self.world.published,
            acknowledged=frozenset(self.watch.acknowledged),
            expected={one: profile.traits for one, profile in profiles.items() if one in self._touched},
            by_arrival=segment.profiles,
            by_timestamp=segment.profiles_by_timestamp,
            erased=frozenset(one for one in self._touched if not self.world.shop.exists(one)),
            suppressed=segment.suppressed,
            doubled=self.world.doubled(),
            reasons_to_double=self.watch.redeliveries + self.watch.repeats + self.watch.late,
            received=segment.received,
            garbage=self._garbage,
            letters=self._letters,
            statuses=self.watch.statuses,
            unforeseen=self.watch.unforeseen,
            facts=self.world.facts(),
        )

    def figures(self) -> dict[str, float]:
        world, watch = self.world, self.watch
        facts = Counter(event["event"] for event in world.segment.events if event["type"] == "track")
        return {
            "seed": self.day.seed,
            "customers at first": self.day.customers,
            "customers at the end": world.shop.count(),
            "changes": self._changes,
            "orders at the end": len(world.shop.sales.orders),
            "refunds begun": len(world.shop.sales.refunds),
            "messages published": len(world.published),
            "pushes": watch.pushes,
            "pushes acknowledged": sum(watch.statuses[status] for status in ACKS),
            "pushes answered 500": watch.statuses[500],
            "pushes answered 503": watch.statuses[503],
            "pushes without an answer": watch.statuses[None],
            "redeliveries": watch.redeliveries,
            "repeats of what was acknowledged": watch.repeats,
            "messages that Pub/Sub gave up": watch.given_up,
            "connections that gunicorn dropped at a stop": watch.dropped,
            **{f"outcome: {name}": watch.endings[name] for name in ("Delivered", "Ignored", "Refused", "Failed")},
            "starts of a process": 1 + self._process_ends,
            "faults and other troubles": self.troubles.total(),
            "calls to Segment": world.segment.call_count,
            "calls to the Public API": world.public_api.call_count,
            "calls to commercetools": world.commercetools.call_count,
            "tokens issued": world.commercetools.tokens_issued,
            "calls for certificates": self.certificates.call_count,
            "events accepted": world.segment.accepted,
            **{f"accepted: {name}": number for name, number in sorted(facts.items())},
            "events dropped by messageId": world.segment.duplicates,
            "events dropped about erased customers": world.segment.dropped["suppressed"],
            "customers erased": len(world.segment.suppressed),
            "garbage messages": len(self._garbage),
            "dead letters": len(self._letters),
            "dead letters replayed (Segment refused them)": len(self._replayed),
        }


def _bind(function: Callable[..., Any], *arguments: object) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode()


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.emulation.chaos", description=__doc__)
    options.add_argument("--seed", type=int, default=Day().seed)
    options.add_argument("--customers", type=int, default=Day().customers)
    options.add_argument("--changes", type=int, default=Day().changes)
    chosen = options.parse_args()
    finding = run(Day(seed=chosen.seed, customers=chosen.customers, changes=chosen.changes))
    sys.stdout.write(f"{finding}\n")
    return 1 if finding.broken else 0


if __name__ == "__main__":
    sys.exit(main())
