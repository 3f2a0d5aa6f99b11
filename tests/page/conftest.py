"""Chromium, a playground that runs, and a page that is watched: make test-page."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.page.pages import QUIET, Running, Watched, a_playground, a_process

CHROMIUM = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
_LONGEST = int(os.environ.get("PAGE_MS", "30000"))  # ms, until a condition holds
expect.set_options(timeout=_LONGEST)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page of `python -m playground.page`, one for a module."""
    with a_process() as (_, printed):
        yield printed


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A playground in this process, one for a module: a test sees its world and may act on it."""
    with a_playground(Path(tmp_path_factory.mktemp("playground"))) as running:
        yield running


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A tab. In the end it must have had no error and asked no other host."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as context:
        context.set_default_timeout(_LONGEST)
        watched = Watched(context.new_page())
        yield watched
    assert watched.problems == []
    assert watched.hosts <= {"127.0.0.1"}
