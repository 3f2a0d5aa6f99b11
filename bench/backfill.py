"""The speed and the memory of a backfill, against stand-ins in separate processes.

python -m bench.backfill [--customers N] [--latency SECONDS] [--lanes N] [--all-cores]

The backfill is held to one core. Customers a second are of the wall clock; on a machine where the stand-ins have no
core of their own, the customers for each second of the backfill's own CPU time tell what one core can do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench import world

_KIBI = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """One backfill: seconds of wall clock and of CPU, and the peak in MiB."""

    customers: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def sentence(self) -> str:
        return (
            f"{self.customers:,} customers in {self.seconds:.1f} s: {self.customers / self.seconds:,.0f} a second, "
            f"{self.customers / self.cpu_seconds:,.0f} for each second of CPU, {self.peak_mib:.0f} MiB at the most"
        )


def measure(customers: int, *, latency: float = 0.05, lanes: int = 8, one_core: bool = True) -> Figures:
    """Backfill so many made-up customers, each answer of the stand-ins `latency` seconds late."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        late = ("--latency", str(latency))
        segment, _ = stack.enter_context(world.stand_in("playground.segment", *late, "--write-key", world.WRITE_KEY))
        commercetools, _ = stack.enter_context(
            world.stand_in("playground.commercetools", *late, "--customers", str(customers))
        )
        environment = {
            "SEGMENT_WRITE_KEY": world.WRITE_KEY,
            "SEGMENT_HOST": segment,
            "SEGMENT_USER_ID": "id",
            "SEGMENT_REGION": "us",
            **world.commercetools_environment(commercetools),
        }
        command = [sys.executable, "-m", "service.cli", "backfill", "--lanes", str(lanes)]
        command += ["--checkpoint", str(folder / "backfill.checkpoint.json")]
        return _measured(command, environment, customers, one_core=one_core)


def _measured(command: list[str], environment: Mapping[str, str], customers: int, *, one_core: bool) -> Figures:
    began = perf_counter()
    process = subprocess.Popen(  # our own command
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    if one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"The backfill ended with {process.returncode}.")
    return Figures(customers, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _KIBI)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.backfill", description=main.__doc__)
    options.add_argument("--customers", type=int, default=100_000)
    options.add_argument("--latency", type=float, default=0.05)
    options.add_argument("--lanes", type=int, default=8)
    options.add_argument("--all-cores", action="store_true", help="do not hold the backfill to one core")
    chosen = options.parse_args()
    figures = measure(chosen.customers, latency=chosen.latency, lanes=chosen.lanes, one_core=not chosen.all_cores)
    sys.stdout.write(f"backfill: {figures.sentence}\n")


if __name__ == "__main__":
    main()
