"""A shop's changes through the whole path, while everything around it fails: whether the promise holds.

python -m tests.emulation.chaos [--seed N] [--changes N]

Notifications come twice and out of order, garbage and foreign ones in between; the service's processes are killed and
stopped and started again; Segment, its Public API and commercetools fail in every way that the stand-ins know; queries
lag, tokens are revoked. Exits with 1 if at the end anything was lost, doubled, stale or brought back.
"""

import argparse
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from service.local.pubsub import Push
from service.local.stand_in import (
    CLOSE_AFTER_READ,
    FOREIGN,
    RESET_AFTER_READ,
    RESET_BEFORE_READ,
    TRUNCATED,
    answer,
    redirect,
)
from service.local.world import SUBSCRIPTION, LocalWorld

_FAULTS = (
    answer(401),
    answer(408),
    answer(429, retry_after=1),
    answer(500),
    answer(503),
    redirect(302, "http://127.0.0.1:9/"),
    RESET_BEFORE_READ,
    RESET_AFTER_READ,
    RESET_AFTER_READ.after_effect(),
    CLOSE_AFTER_READ,
    CLOSE_AFTER_READ.after_effect(),
    TRUNCATED,
    TRUNCATED.after_effect(),
    FOREIGN,
)
_SPEED = 50.0  # Pub/Sub's waits are that many times shorter
_IDLE_SECONDS = 180.0


@dataclass(frozen=True)
class Finding:
    """What happened, and what it left behind. The promise holds where `broken` is empty."""

    figures: dict[str, int]
    broken: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{name:<42} {number:>6}" for name, number in {**self.figures, **self.broken}.items()]
        return "\n".join([*lines, "BROKEN: " + ", ".join(self.broken) if self.broken else "the promise holds"])


def run(*, seed: int, changes: int) -> Finding:
    """Make that many changes under the chaos that the seed gives, and judge what Segment and the topics hold."""
    chance = random.Random(seed)  # noqa: S311  # chaos, no cryptography
    count: Counter[str] = Counter()

    def on_push(push: Push) -> None:
        if push.subscription == SUBSCRIPTION:
            count["pushes acknowledged" if push.acknowledged else "pushes nacked"] += 1

    with LocalWorld(seed=seed, speed=_SPEED, duplicate=0.1, reorder=0.1, latency=0.005, on_push=on_push) as world:
        for _ in range(changes):
            world.shop.random_change()
            _something_else(world, chance, count)
        world.commercetools.lag_query(0)
        idle = world.pubsub.wait_until_idle(_IDLE_SECONDS, SUBSCRIPTION)
        set_aside = {letter.attributes.get("source_message_id") for letter in world.dead_letters()}
        differing, profiles = world.differences(), world.segment.profiles
        late = sum(
            world.segment.profiles_by_timestamp.get(customer_id) != profiles.get(customer_id)
            for customer_id in profiles
        )
        broken = {
            "messages without an end": 0 if idle else 1,
            "customers who differ in Segment": len(differing),
            "of these, erased ones who are back": sum(one not in world.shop.customers for one in differing),
            "customer versions doubled": world.doubled(),
            "garbage that is not set aside": abs(count["garbage"] - len(set_aside)),
        }
        figures = {
            "seed": seed,
            "changes": changes,
            "messages published": len(world.published),
            "customers at the end": len(world.shop.customers),
            "calls to Segment": world.segment.call_count,
            "calls to commercetools": world.commercetools.call_count,
            "events dropped by Segment as repeats": world.segment.duplicates,
            "customers whom timestamps would show otherwise": late,
            **count,
        }
    return Finding(figures, {name: number for name, number in broken.items() if number})


def _something_else(world: LocalWorld, chance: random.Random, count: Counter[str]) -> None:
    if chance.random() < 0.01:
        count["garbage"] += len(world.shop.garbage())
    if chance.random() < 0.02:
        world.shop.foreign()
    if chance.random() < 0.03:
        party = chance.choice((world.segment, world.commercetools, world.public_api))
        party.fail_next(chance.choice(_FAULTS), times=chance.randint(1, 3))
        count["faults"] += 1
    if chance.random() < 0.01:
        world.commercetools.lag_query(chance.choice((0, 0, 1)))
    if chance.random() < 0.01:
        world.commercetools.revoke_tokens()
    if chance.random() < 0.008:
        how = chance.choice(("SIGKILL to all", "SIGKILL to the worker", "SIGTERM"))
        count[how] += 1
        if how == "SIGKILL to the worker":
            for worker in Path(f"/proc/{world.service.pid}/task/{world.service.pid}/children").read_text().split():
                os.kill(int(worker), signal.SIGKILL)
            return
        world.service.kill() if how == "SIGKILL to all" else world.service.stop()
        world.service.start()


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.emulation.chaos", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--changes", type=int, default=3000, help="about twenty a second")
    chosen = options.parse_args()
    finding = run(seed=chosen.seed, changes=chosen.changes)
    print(finding)  # noqa: T201  # a program's word to whoever runs it
    return 1 if finding.broken else 0


if __name__ == "__main__":
    sys.exit(main())
