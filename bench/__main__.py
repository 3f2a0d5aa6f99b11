"""make bench: the cost of one message, beside what others would cost in the same run.

The unit is CPU microseconds of the server, all its processes, for each message: steadier than seconds on a shared
machine. A figure counts only beside another of the same run.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests

from bench import world
from bench.world import CUSTOMERS, LATENCY, MEGA, WRITE_KEY

HERE = Path(__file__).parent
CONNECTIONS = 80
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of the load tool: microseconds for each message, milliseconds, MiB, calls for each message."""

    name: str
    connections: int
    messages: int
    cpu: float
    p50: float
    p99: float
    rss: float
    segment_calls: float
    commercetools_calls: float

    @property
    def row(self) -> tuple[str, ...]:
        return (
            self.name,
            str(self.connections),
            str(self.messages),
            f"{self.cpu:.0f}",
            f"{self.p50:.0f}",
            f"{self.p99:.0f}",
            f"{self.rss:.0f}",
            f"{self.segment_calls:.3f}",
            f"{self.commercetools_calls:.3f}",
        )


def _measured(name: str, app: str, kind: str, *, connections: int, seconds: float, ids: Path, **extra: str) -> Figures:
    reads = kind == "updated"
    with ExitStack() as stack:
        segment, segment_calls = stack.enter_context(
            world.stand_in("service.local.segment", "--latency", str(LATENCY), "--write-key", WRITE_KEY)
        )
        environment = {"SEGMENT_WRITE_KEY": WRITE_KEY, "SEGMENT_HOST": segment, "PUSH_AUTH": "none", **extra}
        if reads:
            commercetools, commercetools_calls = stack.enter_context(
                world.stand_in("service.local.commercetools", "--latency", str(LATENCY), "--customers", str(CUSTOMERS))
            )
            environment |= world.commercetools_environment(commercetools)
        port, server = stack.enter_context(world.server(app, environment))
        load = world.started("bench.load", str(port), str(connections), str(seconds), kind, str(ids))
        if load.stdout is None:
            raise RuntimeError
        load.stdout.readline()
        before = world.cpu_seconds(server.pid)
        answer = json.loads(load.communicate("go\n")[0].splitlines()[-1])
        cpu = world.cpu_seconds(server.pid) - before
        messages = answer["messages"]
        if set(answer["statuses"]) - {"200", "204"}:
            raise SystemExit(f"{name}: not every push was acknowledged: {answer['statuses']}")
        return Figures(
            name=name,
            connections=connections,
            messages=messages,
            cpu=cpu / messages * _MICRO,
            p50=answer["p50"] * 1000,
            p99=answer["p99"] * 1000,
            rss=world.rss(server.pid) / MEGA,
            segment_calls=segment_calls() / messages,
            commercetools_calls=commercetools_calls() / messages if reads else 0.0,
        )


_RUNS = {
    "a": ("floor: a route that returns 204", "bench.apps:floor()", "created"),
    "b": ("decode only, nothing sent", "bench.apps:decode_only()", "created"),
    "c": ("the service, created: sent", "service.app:create_app()", "created"),
    "d": ("the service, updated: read and sent", "service.app:create_app()", "updated"),
    "e": ("one call of the official client each", "bench.apps:one_call_each()", "created"),
}
_COLUMNS = ("run", "connections", "messages", "CPU µs", "p50 ms", "p99 ms", "RSS MiB", "Segment calls", "CT calls")


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of the process to its first answer: CPU seconds of all its processes, MiB of the largest."""

    cpu: float
    rss: float


def _start() -> Start:
    environment = {"SEGMENT_WRITE_KEY": WRITE_KEY, "SEGMENT_HOST": "http://127.0.0.1:9", "PUSH_AUTH": "none"}
    with world.server("service.app:create_app()", environment) as (port, server):
        notification = {
            "notificationType": "ResourceCreated",
            "projectKey": "demo-shop",
            "resource": {"typeId": "subscription", "id": "subscription"},
        }
        answer = requests.post(f"http://127.0.0.1:{port}/", json=notification, timeout=20)
        if answer.status_code != requests.codes.no_content:
            raise SystemExit(f"the first push was answered {answer.status_code}")
        return Start(world.cpu_seconds(server.pid), world.rss(server.pid) / MEGA)


def _verdicts(figures: Mapping[str, Figures], crowd: Figures, start: Start) -> list[tuple[str, str, str]]:
    """Each goal: what it is about, what was measured, what is wanted."""
    a, c, d, e = (figures[letter] for letter in "acde")
    return [
        ("CPU, c / a", f"{c.cpu / a.cpu:.2f}", "≤ 2.0"),
        ("CPU, d / a", f"{d.cpu / a.cpu:.2f}", "≤ 2.6"),
        ("CPU, c / e", f"{c.cpu / e.cpu:.2f}", "≤ 0.30"),
        ("Segment calls per message, c and d", f"{c.segment_calls:.3f} and {d.segment_calls:.3f}", "≤ 0.05"),
        ("commercetools calls per message, d", f"{d.commercetools_calls:.3f}", "≤ 0.05"),
        ("p99 / upstream latency, c", f"{c.p99 / LATENCY / 1000:.1f}", "≤ 3"),
        ("p99 / upstream latency, d", f"{d.p99 / LATENCY / 1000:.1f}", "≤ 5"),
        ("RSS under load, the worker", f"{max(c.rss, d.rss):.0f} MiB", "≤ 110 MiB"),
        ("start to the first 204", f"{start.cpu:.2f} s of CPU, {start.rss:.0f} MiB", "≤ 0.45 s"),
        ("CPU at 1,000 connections / at 80, c", f"{crowd.cpu / c.cpu:.2f}", "≤ 1.25"),
    ]


def _table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines)


def _chart(figures: Iterable[Figures]) -> str:
    """Draw CPU for each message as bars."""
    bars = list(figures)
    longest = max(figure.cpu for figure in bars)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{len(bars) * 34 + 40}" font-family="sans-serif"'
        ' font-size="13"><text x="10" y="20" font-weight="bold">CPU microseconds of the server for each message</text>'
    )
    parts = [head]
    for number, figure in enumerate(bars):
        y = 34 + number * 34
        width = figure.cpu / longest * 380
        label = f"{figure.name}, {figure.connections} connections"
        parts.append(
            f'<text x="10" y="{y + 17}">{label}</text><rect x="300" y="{y}" width="{width:.0f}" height="24"'
            f' fill="#2a7f62"/><text x="{306 + width:.0f}" y="{y + 17}">{figure.cpu:.0f}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0, help="of load for each figure")
    options.add_argument("--only", default="", help="letters of the runs, for example acd: print them, write nothing")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids"
        ids.write_text("\n".join(world.customer_ids(int(8000 * chosen.seconds))))

        def measure(letter: str, connections: int = CONNECTIONS) -> Figures:
            name, app, kind = _RUNS[letter]
            found = _measured(f"{letter} {name}", app, kind, connections=connections, seconds=chosen.seconds, ids=ids)
            print(*found.row, sep="  ", flush=True)
            return found

        figures = {letter: measure(letter) for letter in _RUNS if letter in (chosen.only or "abcde")}
        if chosen.only:
            return
        crowds = [measure("c", connections) for connections in (10, 250, 1000)]
    start = _start()
    rows = [*figures.values(), *crowds]
    verdicts = _table(_verdicts(figures, crowds[-1], start), ("what", "measured", "goal"))
    page = f"""# What one message costs

`make bench` wrote this page on {datetime.now(UTC).date().isoformat()}: {os.cpu_count()} cores,
Python {platform.python_version()}, upstreams that answer after {LATENCY * 1000:.0f} ms, {chosen.seconds:.0f} s of load
for each row, load tool and stand-ins on the same cores. The unit is CPU microseconds of the server, all its processes,
for each message. A figure counts only beside another of the same run.

{_table([figure.row for figure in rows], _COLUMNS)}

![CPU for each message](results.svg)

{verdicts}

A backfill is measured after this, and printed: `python -m bench.backfill`, with `--customers 1000000` for its memory.
"""
    (HERE / "results.md").write_text(page)
    (HERE / "results.svg").write_text(_chart(rows))
    print(verdicts)


if __name__ == "__main__":
    main()
