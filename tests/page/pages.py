"""What the tests in a browser share: the playground's process, a playground in this one, and a tab that is watched."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from playground.page.playground import Playground
from playground.page.server import served
from playground.ports import ReservedPort
from playground.shop import Document, Shop
from playground.world import SUBSCRIPTION, LocalWorld

ROOT = Path(__file__).parents[2]
VIEWS = ("Messages", "Shop", "Segment", "Trouble", "Mapping", "Counts")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
"""Chromium's own requests are no part of the page's."""
_STOP_SECONDS = 60


@contextmanager
def a_process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m playground.page`, and give it with the address that it prints. Ctrl-C ends it: it must exit 0."""
    command = [sys.executable, "-m", "playground.page", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own
        try:
            assert process.stdout is not None
            told = (re.search(r"http://127\.0\.0\.1:\d+/\S+/", line) for line in process.stdout)
            printed = next(filter(None, told))[0]
            yield process, printed
            process.send_signal(signal.SIGINT)
            assert process.wait(_STOP_SECONDS) == 0
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Running:
    """A playground in this process and the address of its page."""

    playground: Playground
    address: str

    @property
    def world(self) -> LocalWorld:
        return self.playground.world


@contextmanager
def a_playground(folder: Path, *, customers: int = 20) -> Iterator[Running]:
    with (
        ReservedPort() as reserved,
        Playground(folder, customers=customers) as playground,
        served(playground, reserved.number) as address,
    ):
        yield Running(playground, address)


class Watched:
    """A tab, what went wrong in it, and the hosts that it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self._refusals: list[int] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._on_request)

    def open(self, address: str, view: str = "") -> Page:
        """Open the page, or one of its views, and wait until it is connected."""
        self.page.goto(f"{address}#{view.lower()}")
        expect(self.promise).to_contain_text("The promises hold")
        return self.page

    @property
    def promise(self) -> Locator:
        return self.page.locator("#promise")

    def expects_refusal(self, status: int) -> None:
        """Chromium writes an error for each answer of 400 or more: with this status it is no problem."""
        self._refusals.append(status)

    def _on_console(self, message: ConsoleMessage) -> None:
        refused = any(f"status of {status}" in message.text for status in self._refusals)
        if message.type in ("error", "warning") and not refused:
            self.problems.append(message.text)

    def _on_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob"):
            self.hosts.add(url.hostname or request.url)


def view(page: Page, name: str) -> Locator:
    """Return the section of a view, which has its name."""
    return page.get_by_role("region", name=name, exact=True)


def rows(page: Page) -> Locator:
    """Return the rows of the list of messages."""
    return page.get_by_role("listbox", name="Messages, newest first").get_by_role("option")


def open_way(page: Page, text: str) -> Locator:
    """Search for a message, choose the newest that is found, and return the region that shows its way."""
    page.get_by_role("searchbox", name="Search").fill(text)
    rows(page).filter(has_text=text).first.click()
    way = page.get_by_role("region", name="The way of the message")
    expect(way.get_by_role("heading", name="Envelope")).to_be_visible()
    return way


def in_scheme(page: Page, scheme: str) -> Page:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    return page


def findings(page: Page) -> list[str]:
    """Return what axe finds: the rule, and the elements that break it."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}" for one in found]


def overflow(page: Page) -> str:
    """Return what is wider than the window, empty if nothing is: the page's width, and the elements that reach out."""
    return str(
        page.evaluate(
            """() => {
              const root = document.scrollingElement;
              if (root.scrollWidth <= innerWidth) return "";
              const out = [...document.querySelectorAll("body *")].filter(
                (one) => one.getBoundingClientRect().right > innerWidth + 1);
              const names = out.slice(0, 8).map((one) => `${one.tagName}.${one.className}#${one.id}`);
              return `${root.scrollWidth} > ${innerWidth}: ${names.join(", ")}`;
            }"""
        )
    )


def holds(condition: Callable[[], object], seconds: float = 30) -> bool:
    """Return whether a condition of the world holds within so many seconds."""
    never = threading.Event()
    tries = int(seconds / 0.05)
    return any(condition() or never.wait(0.05) for _ in range(tries))


def change(world: LocalWorld, deed: Callable[[Shop], Document]) -> Document:
    """Let something happen in the shop; return what it returns when its messages are published."""
    with world.writing:
        done = deed(world.shop)
    world.settle()
    return done


def a_busy_shop(running: Running, changes: int = 30) -> None:
    """Publish what nobody can read, let customers and orders change, and wait until every message has ended."""
    shop = running.world.shop
    with running.world.writing:
        shop.garbage()
        for number in range(changes):
            shop.random_sale() if number % 3 == 0 else shop.random_change()
    running.world.settle()
    assert holds(lambda: not running.world.pubsub.backlog(SUBSCRIPTION))
