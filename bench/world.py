"""What a measurement runs: the service with its server, the stand-ins and the load tool, in separate processes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import requests

from playground.ports import ReservedPort
from playground.shop import Shop

ROOT = Path(__file__).parents[1]
LATENCY = 0.03
WRITE_KEY = "bench-write-key"
CUSTOMERS = 200_000
ORDERS = 200_000
MEGA = 1024 * 1024


def started(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def stand_in(*command: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Start a stand-in; give its URL, and a function that stops it and returns how many calls it had."""
    process = started(*command)
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
def server(
    app: str, environment: Mapping[str, str], checkout: Path = ROOT
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start gunicorn with this app under the service's own settings; its log goes to a file, as to a collector.

    App and settings are those of the checkout, since the folder in which the process starts is searched first.
    """
    with ReservedPort() as port, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", f"python:{_server_settings(checkout)}", app],
            cwd=checkout,
            env={**os.environ, **environment, "PORT": str(port.number)},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_it_answers(port.number)
            yield port.number, process
        finally:
            process.terminate()
            process.wait()


def _server_settings(checkout: Path) -> str:
    """Return the name of the module with gunicorn's settings; an older checkout has it in another folder."""
    [path] = checkout.glob("service/**/gunicorn_conf.py")
    return ".".join(path.relative_to(checkout).with_suffix("").parts)


def _wait_until_it_answers(port: int) -> None:
    with requests.Session() as http:
        patient = requests.adapters.Retry(total=None, connect=200, backoff_factor=0.01, backoff_max=0.1)
        http.mount("http://", requests.adapters.HTTPAdapter(max_retries=patient))
        http.get(f"http://127.0.0.1:{port}/health", timeout=20)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, user and system: https://docs.kernel.org/filesystems/proc.html."""
    fields = [Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split() for member in _family(pid)]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> int:
    pages = [int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in _family(pid)]
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def commercetools_environment(url: str, *, orders: bool = False) -> dict[str, str]:
    """Return the settings that point to the stand-in."""
    of_orders = ("view_orders", "view_payments", "view_discount_codes") if orders else ()
    return {
        "ORDERS": "on" if orders else "off",
        "CTP_PROJECT_KEY": "demo-shop",
        "CTP_CLIENT_ID": "stand-in-client",
        "CTP_CLIENT_SECRET": "stand-in-secret",
        "CTP_AUTH_URL": url,
        "CTP_API_URL": url,
        "CTP_SCOPES": " ".join(f"{scope}:demo-shop" for scope in ("view_customers", *of_orders)),
    }


class LoadTool:
    """The load tool in a separate process, ready to start. Without a `rate`, it keeps its connections busy."""

    def __init__(
        self,
        port: int,
        ids: Path,
        *,
        kind: str,
        connections: int,
        seconds: float,
        rate: float | None = None,
        token: str = "",
    ) -> None:
        paced = [] if rate is None else [str(rate)]
        command = ("bench.load", str(port), str(connections), str(seconds), kind, str(ids), *paced)
        self._process = started(*command, environment={"PUSH_TOKEN": token})
        if self._process.stdout is None or not self._process.stdout.readline():
            raise SystemExit("the load tool did not start")

    def go(self) -> dict[str, Any]:
        """Let it push; return what it tells: statuses, messages, seconds, p50 and p99 in seconds."""
        try:
            told = self._process.communicate("go\n")[0]
        finally:
            self._process.kill()
        if self._process.returncode:
            raise SystemExit("the load tool met a connection that failed")
        answer: dict[str, Any] = json.loads(told.splitlines()[-1])
        return answer


def customer_ids(number: int) -> list[str]:
    """Return the first ids of the stand-in's customers."""
    shop = Shop("demo-shop", population=CUSTOMERS)
    with shop.lock:
        return list(islice(shop.ids(), number))


def order_ids(number: int) -> list[str]:
    """Return the first ids of the stand-in's orders."""
    shop = Shop("demo-shop", orders=ORDERS)
    with shop.lock:
        return list(islice(shop.sales.orders.ids(), number))
