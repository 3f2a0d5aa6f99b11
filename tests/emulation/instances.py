"""make instances: several instances of the service behind one subscription, and a backfill beside them; then it judges.

python -m tests.emulation.instances [--seed N] [--instances N] [--late SECONDS] [--seconds N] [--service FOLDER]

Segment takes an event into account up to so many seconds after it has read it, so that an older state can overtake a
newer one. Answers get lost, instances are killed and started again, queries lag, and Pub/Sub redelivers as it really
does: not before 10 s. What Segment holds is judged by the order of arrival, after its deduplication, and by its own
times. Exits with 1 if a customer differs from the shop, or a message has no end.
"""

import argparse
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playground.pubsub import Push
from playground.stand_in import RESET_AFTER_READ, answer
from playground.world import SUBSCRIPTION, LocalWorld

_CUSTOMERS = 300
_TROUBLES_SECONDS = 4.0  # the longest time between two troubles
_LAG_SECONDS = 3.0
_EVENING_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Day:
    """What happens: for `seconds`, customers change in bursts of one to four changes, at most `gap` seconds apart."""

    seed: int = 1
    instances: int = 3
    late: float = 8.0
    seconds: float = 60.0
    gap: float = 3.0
    bursts: float = 8.0  # a second
    troubles: bool = True
    backfill: bool = True
    service: Path | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The figures of a day, and the customers whose state in Segment is not the shop's."""

    figures: Mapping[str, float]
    by_arrival: list[str]
    by_time: list[str]
    lost: list[str]

    @property
    def holds(self) -> bool:
        return not (self.by_arrival or self.by_time or self.lost)

    def __str__(self) -> str:
        lines = [f"{name:<48} {number:>8,g}" for name, number in self.figures.items()]
        for name, found in (
            ("stale or missing, by the order of arrival", self.by_arrival),
            ("stale or missing, by Segment's times", self.by_time),
            ("messages without an end", self.lost),
        ):
            lines.append(f"{name:<48} {len(found):>8,} {' '.join(found[:3])}".rstrip())
        return "\n".join([*lines, "The promise holds." if self.holds else "The promise is broken."])


class _Watch:
    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.redelivered = 0

    def on_push(self, push: Push) -> None:
        if push.subscription == SUBSCRIPTION:
            self.redelivered += push.delivery_attempt > 1
            if push.acknowledged:
                self.acknowledged.add(push.message_id)


def run(day: Day) -> Finding:
    """Let the day pass, and judge what is left of it."""
    watch = _Watch()
    chance = random.Random(day.seed)  # noqa: S311  # chaos, no cryptography
    lateness = random.Random(day.seed + 1)  # noqa: S311  # as above
    with ExitStack() as stack:
        world = stack.enter_context(
            LocalWorld(
                seed=day.seed,
                duplicate=0.05,
                environment={"ERASURE": "off"},
                shop_options={"population": _CUSTOMERS},
                in_batches=True,
                instances=day.instances,
                folder=day.service,
                on_push=watch.on_push,
            )
        )
        world.segment.late = lambda: lateness.uniform(0, day.late)
        with world.shop.lock:
            customers = list(world.shop.customers)
        touched: set[str] = set()
        over = threading.Event()
        others = [threading.Thread(target=_troubles, args=(world, random.Random(day.seed + 2), over))]  # noqa: S311
        if day.backfill:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            others.append(threading.Thread(target=_backfill, args=(world, day, folder)))
        for each in others if day.troubles else others[1:]:
            each.start()
        _changes(world, day, chance, customers, touched)
        over.set()
        for each in others if day.troubles else others[1:]:
            each.join()
        world.commercetools.lag_query(0)
        world.settle()
        world.pubsub.wait_until_idle(_EVENING_SECONDS, SUBSCRIPTION)
        world.segment.wait_until_left(1)
        time.sleep(day.late)  # what a killed instance has sent takes effect within this time
        expected = {
            one: profile.traits for one, profile in world.expected_profiles().items() if one in touched or day.backfill
        }
        figures = {
            "seed": day.seed,
            "customers": len(customers),
            "customers changed": len(touched),
            "messages": len(world.published),
            "redelivered": watch.redelivered,
            "events accepted": world.segment.accepted,
            "events dropped by messageId": world.segment.duplicates,
            "states told again": world.doubled(),
            "calls to commercetools": world.commercetools.call_count,
        }
        return Finding(
            figures,
            _differing(expected, world.segment.profiles),
            _differing(expected, world.segment.profiles_by_timestamp),
            sorted(set(world.published) - watch.acknowledged),
        )


def _differing(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    return sorted(one for one, traits in expected.items() if actual.get(one) != traits)


def _changes(world: LocalWorld, day: Day, chance: random.Random, customers: list[str], touched: set[str]) -> None:
    """Make the changes, each at its time."""
    due: list[tuple[float, str]] = []
    for _ in range(int(day.seconds * day.bursts)):
        moment, customer = chance.uniform(0, day.seconds), chance.choice(customers)
        for _ in range(chance.randint(1, 4)):
            due.append((moment, customer))
            moment += chance.uniform(0, day.gap)
    began = time.monotonic()
    for number, (moment, customer) in enumerate(sorted(due)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        world.shop.change(customer, {"action": "setFirstName", "firstName": f"Name {number}"})
        touched.add(customer)


def _troubles(world: LocalWorld, chance: random.Random, over: threading.Event) -> None:
    """Until it is over, let one thing after another go wrong."""
    while not over.wait(chance.uniform(0, _TROUBLES_SECONDS)):
        match chance.randrange(4):
            case 0:
                service = chance.choice(world.services)
                service.kill()
                service.start()
            case 1:
                world.segment.fail_next(RESET_AFTER_READ.after_effect(), times=2)
            case 2:
                world.segment.fail_next(answer(503).after_effect(), times=2)
            case _:
                world.commercetools.lag_query(chance.randint(1, 2))
                over.wait(chance.uniform(0, _LAG_SECONDS))
                world.commercetools.lag_query(0)


def _backfill(world: LocalWorld, day: Day, folder: Path) -> None:
    """Run a backfill that is held up: five calls a second, to an upstream that is late."""
    subprocess.run(  # noqa: S603  # our own command
        [
            sys.executable,
            "-m",
            "service.cli",
            "backfill",
            "--checkpoint",
            str(folder / "c.json"),
            "--rate",
            "0.5",
            "--settle",
            "4",
        ],
        cwd=day.service,
        env={**world.services[0].environment, "PUSH_AUTH": "none", "SEGMENT_REGION": "us"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.emulation.instances", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--instances", type=int, default=3)
    options.add_argument("--late", type=float, default=8.0)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--gap", type=float, default=3.0)
    options.add_argument("--calm", action="store_true", help="no kills, lost answers and lag")
    options.add_argument("--no-backfill", action="store_true")
    options.add_argument("--service", type=Path, help="the folder of the service's code; default: this one")
    chosen = options.parse_args()
    finding = run(
        Day(
            seed=chosen.seed,
            instances=chosen.instances,
            late=chosen.late,
            seconds=chosen.seconds,
            gap=chosen.gap,
            troubles=not chosen.calm,
            backfill=not chosen.no_backfill,
            service=chosen.service,
        )
    )
    sys.stdout.write(f"{finding}\n")
    return 0 if finding.holds else 1


if __name__ == "__main__":
    sys.exit(main())
