"""make bench: the cost of one message, beside what others would cost in the same run.

The unit is CPU microseconds of the server, all its processes, for each message: steadier than seconds on a shared
machine. A figure counts only beside another of the same run, so all servers are there all the time, and each has its
turn in every round; what is shown is the median of the rounds, and a ratio is the median of the rounds' ratios.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import requests

from bench import backfill, mapping, world
from bench.world import CUSTOMERS, LATENCY, MEGA, ORDERS, WRITE_KEY
from playground.pubsub_push import Signer
from playground.stand_in import Answer, Call, StandIn, json_answer

HERE = Path(__file__).parent
_MICRO = 1e6
_MORE_THAN_A_SECOND_TAKES = 8000  # messages
_STARTS = 7
_AUDIENCE = "https://commercetools-segment.example.com"
_ACCOUNT = "push@demo.iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn: CPU microseconds for each message, latencies in milliseconds."""

    messages: int
    cpu: float
    p50: float
    p99: float


@dataclass(slots=True)
class Run:
    """A server that has its turns. In the end: MiB of its largest process, and calls for each message."""

    name: str
    app: str
    kind: str = "created"
    connections: int = 80
    token: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    checkout: Path = world.ROOT
    samples: list[Sample] = field(default_factory=list)
    rss: float = 0.0
    segment_calls: float = 0.0
    commercetools_calls: float = 0.0

    def median(self, what: str) -> float:
        return float(median(getattr(sample, what) for sample in self.samples))

    def ratio(self, other: "Run", what: str = "cpu") -> float:
        """How many times the CPU (or the p50, the p99) of the other each message costs."""
        pairs = zip(self.samples, other.samples, strict=True)
        return float(median(getattr(ours, what) / getattr(theirs, what) for ours, theirs in pairs))

    def more_than(self, other: "Run") -> float:
        """How many microseconds of CPU each message costs more than with the other."""
        return median(ours.cpu - theirs.cpu for ours, theirs in zip(self.samples, other.samples, strict=True))

    def beside(self, other: "Run") -> tuple[str, ...]:
        ratios = (f"{self.ratio(other, what):.3f}" for what in ("cpu", "p50", "p99"))
        return (self.name, *ratios, f"{self.rss - other.rss:+.1f}")

    @property
    def row(self) -> tuple[str, ...]:
        return (
            self.name,
            str(self.connections),
            str(sum(sample.messages for sample in self.samples)),
            f"{self.median('cpu'):.0f}",
            f"{self.median('p50'):.0f}",
            f"{self.median('p99'):.0f}",
            f"{self.rss:.0f}",
            f"{self.segment_calls:.3f}",
            f"{self.commercetools_calls:.3f}",
        )


class Running:
    """A run's server and its stand-ins, each in a separate process."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self.run = run
        segment, self._segment_calls = stack.enter_context(
            world.stand_in("playground.segment", "--latency", str(LATENCY), "--write-key", WRITE_KEY)
        )
        environment = {"SEGMENT_WRITE_KEY": WRITE_KEY, "SEGMENT_HOST": segment, "PUSH_AUTH": "none", **run.environment}
        self._commercetools_calls = None
        if run.kind in {"updated", "ordered"}:
            sizes = ("--customers", str(CUSTOMERS), "--orders", str(ORDERS))
            commercetools, self._commercetools_calls = stack.enter_context(
                world.stand_in("playground.commercetools", "--latency", str(LATENCY), *sizes)
            )
            environment |= world.commercetools_environment(commercetools, orders=run.kind == "ordered")
        self._port, self._server = stack.enter_context(world.server(run.app, environment, run.checkout))

    def take_turn(self, seconds: float, ids: Mapping[str, Path]) -> None:
        """Push for these customers, or under "ordered" for these orders."""
        run = self.run
        its = ids["ordered" if run.kind == "ordered" else "customers"]
        load = world.LoadTool(
            self._port, its, kind=run.kind, connections=run.connections, seconds=seconds, token=run.token
        )
        before = world.cpu_seconds(self._server.pid)
        answer = load.go()
        cpu = world.cpu_seconds(self._server.pid) - before
        messages = answer["messages"]
        if set(answer["statuses"]) - {"200", "204"}:
            raise SystemExit(f"{run.name}: not every push was acknowledged: {answer['statuses']}")
        run.samples.append(
            Sample(messages, cpu / messages * _MICRO, answer["p50"] * 1000, answer["p99"] * 1000),
        )

    def end(self) -> None:
        messages = sum(sample.messages for sample in self.run.samples)
        self.run.rss = world.rss(self._server.pid) / MEGA
        self.run.segment_calls = self._segment_calls() / messages
        if self._commercetools_calls is not None:
            self.run.commercetools_calls = self._commercetools_calls() / messages


class _Certificates(StandIn):
    """Google's."""

    def __init__(self, signer: Signer) -> None:
        super().__init__()
        self._signer = signer

    def respond(self, call: Call) -> Answer:
        del call
        return json_answer(200, self._signer.certificates())


_SERVICE = "service.app:create_app()"
_FLOOR = "bench.floor:floor()"
_COLUMNS = ("run", "connections", "messages", "CPU µs", "p50 ms", "p99 ms", "RSS MiB", "Segment calls", "CT calls")


def _runs() -> dict[str, Run]:
    """The runs by their letters, and by letter and connections where there are more or fewer than 80."""
    a = Run("a floor: a route that returns 204", _FLOOR)
    b = Run("b decode only, nothing sent", "bench.apps:decode_only()")
    c = Run("c the service, created: sent", _SERVICE)
    d = Run("d the service, updated: read and sent", _SERVICE, "updated")
    e = Run("e one call of the official client each", "bench.apps:one_call_each()")
    f = Run("f the service, an order of five lines: read and sent", _SERVICE, "ordered")
    runs = {"a": a, "b": b, "c": c, "d": d, "e": e, "f": f, "o": Run("o as c, each push with a token (oidc)", _SERVICE)}
    for one, connections in ((c, 10), *((one, 250) for one in (a, b, c, d, e)), (c, 1000)):
        runs[f"{one.name[0]}{connections}"] = Run(one.name, one.app, one.kind, connections)
    return runs


def _with_tokens(run: Run, signer: Signer, certs_url: str) -> None:
    run.token = signer.token(_ACCOUNT, _AUDIENCE)
    run.environment = {
        "PUSH_AUTH": "oidc",
        "PUSH_AUDIENCE": _AUDIENCE,
        "PUSH_SERVICE_ACCOUNT": _ACCOUNT,
        "PUSH_CERTS_URL": certs_url,
    }


def _measure(runs: Sequence[Run], *, rounds: int, seconds: float) -> None:
    """Give each run its turn in every round; no customer and no order comes twice to the same server."""
    share = min(CUSTOMERS // rounds, ORDERS // rounds, int(_MORE_THAN_A_SECOND_TAKES * seconds))
    every = {"customers": world.customer_ids(share * rounds), "ordered": world.order_ids(share * rounds)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = [Running(run, stack) for run in runs]
        for number in range(rounds):
            ids = {}
            for what, each in every.items():
                ids[what] = folder / f"{what}-{number}"
                ids[what].write_text("\n".join(each[number * share : (number + 1) * share]))
            for one in running if number % 2 else reversed(running):
                one.take_turn(seconds, ids)
            print(f"round {number + 1} of {rounds}:", *(f"{run.samples[-1].cpu:.0f}" for run in runs), flush=True)
        for one in running:
            one.end()


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of the process to its first answer: CPU seconds of all its processes, MiB of the largest."""

    cpu: float
    rss: float


def _start(app: str, checkout: Path = world.ROOT) -> Start:
    environment = {"SEGMENT_WRITE_KEY": WRITE_KEY, "SEGMENT_HOST": "http://127.0.0.1:9", "PUSH_AUTH": "none"}
    with world.server(app, environment, checkout) as (port, server):
        notification = {
            "notificationType": "ResourceCreated",
            "projectKey": "demo-shop",
            "resource": {"typeId": "subscription", "id": "subscription"},
        }
        answer = requests.post(f"http://127.0.0.1:{port}/", json=notification, timeout=20)
        if answer.status_code != requests.codes.no_content:
            raise SystemExit(f"the first push was answered {answer.status_code}")
        return Start(world.cpu_seconds(server.pid), world.rss(server.pid) / MEGA)


def _twins(runs: Iterable[Run], checkout: Path) -> list[Run]:
    """Return the same runs with the server of another checkout."""
    return [replace(run, name=f"{run.name}, {checkout.name}", checkout=checkout, samples=[]) for run in runs]


def _compare(runs: Sequence[Run], checkouts: Sequence[Path], *, rounds: int, seconds: float) -> None:
    """Measure each run here and in the other checkouts, alternating; print the medians of the ratios."""
    twins = [_twins(runs, checkout) for checkout in checkouts]
    by_turns = [run for group in zip(runs, *twins, strict=True) for run in group]
    _measure(by_turns, rounds=rounds, seconds=seconds)
    print(_table([run.row for run in by_turns], _COLUMNS))
    starts = [[_start(_SERVICE, checkout) for checkout in (world.ROOT, *checkouts)] for _ in range(_STARTS)]
    for number, checkout in enumerate(checkouts, 1):
        rows = [run.beside(twin) for run, twin in zip(runs, twins[number - 1], strict=True)]
        start = median(ones[0].cpu / ones[number].cpu for ones in starts)
        rss = median(ones[0].rss - ones[number].rss for ones in starts)
        rows.append(("the start", f"{start:.3f}", "", "", f"{rss:+.1f}"))
        print(_table(rows, (f"here / {checkout.name}", "CPU", "p50", "p99", "RSS MiB")))


def _verdicts(
    runs: Mapping[str, Run], starts: Sequence[Start], bare_starts: Sequence[Start]
) -> list[tuple[str, str, str]]:
    """Each goal: what it is about, what was measured, what is wanted."""
    a, c, d, e, f, with_tokens, crowd = (runs[name] for name in ("a", "c", "d", "e", "f", "o", "c1000"))
    start, bare_start = (median(one.cpu for one in some) for some in (starts, bare_starts))
    return [
        ("CPU, c / a", f"{c.ratio(a):.2f}", "≤ 2.0"),
        ("CPU, d / a", f"{d.ratio(a):.2f}", "≤ 2.6"),
        ("CPU, c / e", f"{c.ratio(e):.2f}", "≤ 0.30"),
        ("CPU, f / d", f"{f.ratio(d):.2f}", "≤ 1.5"),
        ("calls per message, f: commercetools", f"{f.commercetools_calls:.3f}", "≤ 0.12"),
        ("calls per message, f: Segment", f"{f.segment_calls:.3f}", "≤ 0.05"),
        ("Segment calls per message, c and d", f"{c.segment_calls:.3f} and {d.segment_calls:.3f}", "≤ 0.05"),
        ("commercetools calls per message, d", f"{d.commercetools_calls:.3f}", "≤ 0.05"),
        ("p99 / upstream latency, c", f"{c.median('p99') / LATENCY / 1000:.1f}", "≤ 3"),
        ("p99 / upstream latency, d", f"{d.median('p99') / LATENCY / 1000:.1f}", "≤ 5"),
        ("RSS under load, the worker", f"{max(c.rss, d.rss):.0f} MiB", "≤ 110 MiB"),
        (
            "start to the first 204; the floor's",
            f"{start:.2f} s of CPU, {starts[0].rss:.0f} MiB; {bare_start:.2f} s, {bare_starts[0].rss:.0f} MiB",
            "≤ 0.45 s",
        ),
        ("CPU at 1,000 connections / at 80, c", f"{crowd.ratio(c):.2f}", "≤ 1.25"),
        ("oidc, more for each push", f"{with_tokens.more_than(c) / 1000:.2f} ms", "≤ 0.1 ms"),
    ]


def _table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines)


def _chart(runs: Iterable[Run]) -> str:
    """Draw CPU for each message as bars."""
    bars = list(runs)
    longest = max(run.median("cpu") for run in bars)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{len(bars) * 34 + 40}" font-family="sans-serif"'
        ' font-size="13"><text x="10" y="20" font-weight="bold">CPU microseconds of the server for each message</text>'
    )
    parts = [head]
    for number, run in enumerate(bars):
        y = 34 + number * 34
        width = run.median("cpu") / longest * 380
        label = f"{run.name}, {run.connections} connections"
        parts.append(
            f'<text x="10" y="{y + 17}">{label}</text><rect x="300" y="{y}" width="{width:.0f}" height="24"'
            f' fill="#2a7f62"/><text x="{306 + width:.0f}" y="{y + 17}">{run.median("cpu"):.0f}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=2.0, help="of load for each turn")
    options.add_argument("--only", default="", help="some of the runs, as in a,c,d250: print them, write nothing")
    options.add_argument(
        "--beside",
        type=Path,
        action="append",
        metavar="DIR",
        help="also run the server of this checkout, alternating; print the ratios, write nothing",
    )
    chosen = options.parse_args()
    every = _runs()
    runs = {name: run for name, run in every.items() if name in (chosen.only.split(",") if chosen.only else every)}
    with ExitStack() as stack:
        if "o" in runs:
            signer = Signer()
            _with_tokens(runs["o"], signer, stack.enter_context(_Certificates(signer)).url)
        if chosen.beside:
            checkouts = [checkout.resolve() for checkout in chosen.beside]
            _compare(list(runs.values()), checkouts, rounds=chosen.rounds, seconds=chosen.seconds)
            return
        _measure(list(runs.values()), rounds=chosen.rounds, seconds=chosen.seconds)
    table = _table([run.row for run in runs.values()], _COLUMNS)
    print(table)
    if chosen.only:
        return
    starts = [(_start(_SERVICE), _start(_FLOOR)) for _ in range(_STARTS)]
    rows = [*_verdicts(runs, *zip(*starts, strict=True)), *mapping.measure().verdicts]
    verdicts = _table(rows, ("what", "measured", "goal"))
    print(verdicts)
    backfilled = backfill.measure(100_000).sentence
    print(f"backfill: {backfilled}")
    page = f"""# What one message costs

`make bench` wrote this page on {datetime.now(UTC).date().isoformat()}: {os.cpu_count()} cores,
Python {platform.python_version()}, upstreams that answer after {LATENCY * 1000:.0f} ms, load tool and stand-ins on the
same cores. The unit is CPU microseconds of the server, all its processes, for each message. Each server had its turn of
{chosen.seconds:.0f} s in each of {chosen.rounds} rounds; medians. A figure counts only beside another of the same run.

{table}

![CPU for each message](results.svg)

{verdicts}

Backfill, on one core, with both sides 50 ms away: {backfilled}.
More of it: `python -m bench.backfill`, with `--customers 1000000` for its memory.
"""
    (HERE / "results.md").write_text(page)
    (HERE / "results.svg").write_text(_chart(runs.values()))


if __name__ == "__main__":
    main()
