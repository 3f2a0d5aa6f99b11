"""make bench: the cost of one message, beside what others would cost in the same run.

The unit is CPU microseconds of the server, all its processes, for each message: steadier than seconds on a shared
machine. A figure counts only beside another of the same run.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from service.local.shop import Shop

HERE = Path(__file__).parent
LATENCY = 0.03
WRITE_KEY = "bench-write-key"
CONNECTIONS = 80
_CUSTOMERS = 200_000
_MICRO = 1e6
_MEGA = 1024 * 1024


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


def _started(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _stand_in(*command: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Start a stand-in; give its URL, and a function that stops it and returns how many calls it had."""
    process = _started(*command)
    if process.stdout is None:
        raise RuntimeError
    url = process.stdout.readline().strip()

    def stop() -> int:
        process.terminate()
        told = process.communicate()[0]
        return int(json.loads(told.splitlines()[-1])["calls"])

    try:
        yield url, stop
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _server(app: str, environment: Mapping[str, str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start gunicorn with this app under the service's own settings; its log goes to a file, as to a collector."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:service.gunicorn_conf", app],
            env={**os.environ, **environment, "PORT": str(port)},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_it_answers(port)
            yield port, process
        finally:
            process.terminate()
            process.wait()


def _wait_until_it_answers(port: int) -> None:
    with requests.Session() as http:
        patient = requests.adapters.Retry(total=None, connect=200, backoff_factor=0.01, backoff_max=0.1)
        http.mount("http://", requests.adapters.HTTPAdapter(max_retries=patient))
        http.get(f"http://127.0.0.1:{port}/health", timeout=20)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, user and system: https://docs.kernel.org/filesystems/proc.html."""
    fields = [Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split() for member in _family(pid)]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> int:
    pages = [int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in _family(pid)]
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def _measured(name: str, app: str, kind: str, *, connections: int, seconds: float, ids: Path, **extra: str) -> Figures:
    reads = kind == "updated"
    with ExitStack() as stack:
        segment, segment_calls = stack.enter_context(
            _stand_in("service.local.segment", "--latency", str(LATENCY), "--write-key", WRITE_KEY)
        )
        environment = {"SEGMENT_WRITE_KEY": WRITE_KEY, "SEGMENT_HOST": segment, "PUSH_AUTH": "none", **extra}
        if reads:
            commercetools, commercetools_calls = stack.enter_context(
                _stand_in("service.local.commercetools", "--latency", str(LATENCY), "--customers", str(_CUSTOMERS))
            )
            environment |= {
                "CTP_PROJECT_KEY": "demo-shop",
                "CTP_CLIENT_ID": "stand-in-client",
                "CTP_CLIENT_SECRET": "stand-in-secret",
                "CTP_AUTH_URL": commercetools,
                "CTP_API_URL": commercetools,
                "CTP_SCOPES": "view_customers:demo-shop",
            }
        port, server = stack.enter_context(_server(app, environment))
        load = _started("bench.load", str(port), str(connections), str(seconds), kind, str(ids))
        if load.stdout is None:
            raise RuntimeError
        load.stdout.readline()
        before = _cpu_seconds(server.pid)
        answer = json.loads(load.communicate("go\n")[0].splitlines()[-1])
        cpu = _cpu_seconds(server.pid) - before
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
            rss=_rss(server.pid) / _MEGA,
            segment_calls=segment_calls() / messages,
            commercetools_calls=commercetools_calls() / messages if reads else 0.0,
        )


_RUNS = {
    "a floor": ("bench.apps:floor()", "created"),
    "b decode only": ("bench.apps:decode_only()", "created"),
    "c created, sent": ("service.app:create_app()", "created"),
    "d updated, read and sent": ("service.app:create_app()", "updated"),
    "e one call each": ("bench.apps:one_call_each()", "created"),
}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0, help="of load for each figure")
    options.add_argument("--only", default="", help="letters of the runs, for example acd")
    chosen = options.parse_args()
    shop = Shop("demo-shop", population=_CUSTOMERS)
    with shop.lock:
        customer_ids = [
            customer_id for customer_id, _ in zip(shop.ids(), range(int(8000 * chosen.seconds)), strict=False)
        ]
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids"
        ids.write_text("\n".join(customer_ids))
        for name, (app, kind) in _RUNS.items():
            if not chosen.only or name[0] in chosen.only:
                print(
                    *_measured(name, app, kind, connections=CONNECTIONS, seconds=chosen.seconds, ids=ids).row,
                    sep="  ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
