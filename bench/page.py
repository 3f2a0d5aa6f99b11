"""make bench-page: how soon the playground's page is there, and what it costs the browser at 200 changes a second.

python -m bench.page [--seconds N]

Chromium is started before; CHROMIUM names another one than /usr/bin/chromium. A core is shared with all the rest.
"""

import argparse
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from playwright.sync_api import CDPSession, Page, sync_playwright

from bench import world

_RATE = 200
_WARM_UP_SECONDS = 5.0
_STOP_SECONDS = 60
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds from the start to the address, and from that to the first paint; then at 200 changes a second."""

    to_address: float
    to_paint: float
    main_thread: float
    """The share of a core"""
    reached: float
    """Changes a second"""
    messages: float
    """Messages a second, of which the page shows each"""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """What it is about, what was measured, what is wanted."""
        return [
            ("start to address", f"{self.to_address:.1f} s", "≤ 5 s"),
            ("address to first paint", f"{self.to_paint:.2f} s", "≤ 1 s"),
            ("main thread of the page, of a core", f"{self.main_thread * 100:.0f} %", "< 50 %"),
            ("changes a second", f"{self.reached:.0f}", f"{_RATE}"),
            ("messages a second", f"{self.messages:.0f}", ""),
        ]


@contextmanager
def _playground() -> Iterator[tuple[float, str]]:
    """Run the playground; give the seconds until it printed its address, and that."""
    began = time.monotonic()
    process = world.started("playground.page", "--port", "0")
    try:
        if process.stdout is None:
            raise RuntimeError
        printed = (re.search(r"http://127\.0\.0\.1:\d+/\S+/", line) for line in process.stdout)
        address = next(filter(None, printed))[0]
        yield time.monotonic() - began, address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)


def _state(page: Page) -> dict[str, Any]:
    """Return what the server sent last."""
    return dict(page.evaluate("import('./static/live.js').then((live) => live.state())"))


def _cpu(session: CDPSession) -> tuple[float, float]:
    """Return the seconds that the main thread has worked, and the time of that.

    https://chromedevtools.github.io/devtools-protocol/tot/Performance/#method-getMetrics
    """
    metrics = {one["name"]: float(one["value"]) for one in session.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"], metrics["Timestamp"]


def measure(chromium: str, seconds: float) -> Measured:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        with _playground() as (to_address, address):
            printed_at = time.time()
            page.goto(address)
            page.wait_for_function("performance.getEntriesByType('paint').length > 0")
            painted_at = page.evaluate(
                "performance.timeOrigin + performance.getEntriesByName('first-paint')[0].startTime"
            )
            requests.post(f"{address}api/pace", json={"rate": _RATE}, timeout=10).raise_for_status()
            page.wait_for_timeout(_WARM_UP_SECONDS * 1000)
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            before, worked_before, at = _state(page), *_cpu(session)
            page.wait_for_timeout(seconds * 1000)
            after, worked, then = _state(page), *_cpu(session)
            browser.close()
        took = then - at
        return Measured(
            to_address=to_address,
            to_paint=painted_at / 1000 - printed_at,
            main_thread=(worked - worked_before) / took,
            reached=(after["pace"]["made"] - before["pace"]["made"]) / took,
            messages=(after["counts"]["published"] - before["counts"]["published"]) / took,
        )


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    options.add_argument("--seconds", type=float, default=20.0, help="of measurement at 200 changes a second")
    chosen = options.parse_args()
    measured = measure(os.environ.get("CHROMIUM") or "/usr/bin/chromium", chosen.seconds)
    for what, value, goal in (("what", "measured", "goal"), *measured.rows):
        print(f"{what:36}{value:>10}  {goal}")


if __name__ == "__main__":
    main()
