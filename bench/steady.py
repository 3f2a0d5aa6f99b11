"""make load: a minute of steady pushes at 70 % of what the service manages, measured just before; memory stays flat.

python -m bench.steady [--seconds N] [--share 0.7]

Each push is a ResourceUpdated: the customer is read and sent, with both sides 30 ms away, and none comes twice. Exits
with 1 if a push fails, or if the memory of the service has grown by 5 % since the warm-up.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import world

_CONNECTIONS = 250
_WARM_UP = 24_000  # customers: more than the 20,000 versions that the service remembers
_WARM_UP_SECONDS = 120  # the longest duration
_SETTLING_SECONDS = 5.0
_GROWTH = 0.05
_ACKNOWLEDGED = {"200", "204"}


@dataclass(frozen=True, slots=True)
class Load:
    """What the load tool found. Latencies in seconds, from the moment when a push was due."""

    statuses: Mapping[str, int]
    messages: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def failures(self) -> dict[str, int]:
        return {status: count for status, count in self.statuses.items() if status not in _ACKNOWLEDGED}

    def __str__(self) -> str:
        return (
            f"{self.messages:>7,} pushes in {self.seconds:.1f} s, {self.rate:.0f} a second; "
            f"p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms; {dict(self.statuses)}"
        )


class Service:
    """The service behind its own server, with commercetools and Segment 30 ms away."""

    def __init__(self, port: int, pid: int, folder: Path) -> None:
        self._port = port
        self._pid = pid
        self._folder = folder

    @property
    def rss(self) -> float:
        """MiB of the largest of its processes."""
        return world.rss(self._pid) / world.MEGA

    def pushed(self, customer_ids: list[str], seconds: float, rate: float | None = None) -> Load:
        """Push for each of these customers, all the time or so many a second; end after `seconds`."""
        ids = self._folder / "ids"
        ids.write_text("\n".join(customer_ids))
        load = world.LoadTool(self._port, ids, kind="updated", connections=_CONNECTIONS, seconds=seconds, rate=rate)
        return _load_in(load.go())


def _load_in(told: Mapping[str, Any]) -> Load:
    return Load(**{name: told[name] for name in ("statuses", "messages", "seconds", "p50", "p99")})


@contextmanager
def _service() -> Iterator[Service]:
    with ExitStack() as stack:
        latency = ("--latency", str(world.LATENCY))
        segment, _ = stack.enter_context(world.stand_in("playground.segment", *latency, "--write-key", world.WRITE_KEY))
        commercetools, _ = stack.enter_context(
            world.stand_in("playground.commercetools", *latency, "--customers", str(world.CUSTOMERS))
        )
        environment = {
            "SEGMENT_WRITE_KEY": world.WRITE_KEY,
            "SEGMENT_HOST": segment,
            "SEGMENT_USER_ID": "id",
            "PUSH_AUTH": "none",
            **world.commercetools_environment(commercetools),
        }
        port, server = stack.enter_context(world.server("service.app:create_app()", environment))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        yield Service(port, server.pid, Path(folder))


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.steady", description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="of steady pushes")
    options.add_argument("--share", type=float, default=0.7, help="of the maximum")
    chosen = options.parse_args()
    customers = world.customer_ids(world.CUSTOMERS)
    with _service() as service:
        warm_up = service.pushed(customers[:_WARM_UP], _WARM_UP_SECONDS)
        print(f"maximum   {warm_up}")
        rate = warm_up.rate * chosen.share
        settled = _WARM_UP + int(rate * _SETTLING_SECONDS)
        settling = service.pushed(customers[_WARM_UP:settled], _SETTLING_SECONDS, rate)
        before, began = service.rss, time.monotonic()
        steady = service.pushed(customers[settled : settled + int(rate * chosen.seconds)], chosen.seconds * 2, rate)
        growth = service.rss / before - 1
    print(f"steady    {steady}")
    print(f"memory    {before:.1f} MiB, and after {time.monotonic() - began:.0f} s {growth:+.1%}")
    failures = {
        name: load.failures for name, load in (("maximum", warm_up), ("settling", settling), ("steady", steady))
    }
    for name, failed in failures.items():
        if failed:
            print(f"FAILED    {name}: pushes that were not acknowledged: {failed}")
    if growth >= _GROWTH:
        print(f"FAILED    memory has grown by {growth:.1%}; less than {_GROWTH:.0%} is wanted")
    return 1 if any(failures.values()) or growth >= _GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
