"""What holds for every view: axe finds nothing, all is reached by keyboard, and nothing is cut off."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.pages import (
    VIEWS,
    Running,
    Watched,
    a_busy_shop,
    a_playground,
    findings,
    in_scheme,
    open_way,
    overflow,
    rows,
    view,
)

SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_playground(Path(tmp_path_factory.mktemp("busy"))) as running:
        a_busy_shop(running)
        yield running


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A playground in which nothing has happened yet, and without any customer."""
    with a_playground(Path(tmp_path_factory.mktemp("empty")), customers=0) as running:
        yield running


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing_in_a_view(busy: Running, watched: Watched, name: str, scheme: str) -> None:
    page = in_scheme(watched.open(busy.address, name), scheme)
    expect(view(page, name)).to_be_visible()

    assert findings(page) == []


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing_in_an_empty_view(empty: Running, watched: Watched, name: str) -> None:
    page = watched.open(empty.address, name)
    expect(view(page, name)).to_be_visible()

    assert findings(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_with_the_way_of_a_message_open(busy: Running, watched: Watched, scheme: str) -> None:
    page = in_scheme(watched.open(busy.address), scheme)
    open_way(page, "CustomerCreated")

    assert findings(page) == []


@pytest.mark.parametrize(
    "window", [pytest.param((360, 740, 1), id="360 px"), pytest.param((640, 400, 2), id="1280 px at 200 %")]
)
@pytest.mark.parametrize("name", VIEWS)
def test_a_narrow_window_shows_the_whole_width(
    busy: Running, watched: Watched, name: str, window: tuple[int, int, int]
) -> None:
    width, height, scale = window
    page = watched.page
    zoom = page.context.new_cdp_session(page)
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    zoom.send("Emulation.setDeviceMetricsOverride", metrics)  # what Chromium's zoom does to a window
    watched.open(busy.address, name)
    expect(view(page, name)).to_be_visible()

    assert page.evaluate("innerWidth") == width
    assert overflow(page) == ""


def test_each_view_is_reached_by_tab_and_enter(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)
    for name in (*VIEWS[1:], VIEWS[0]):
        page.evaluate("document.activeElement.blur()")
        link = page.get_by_role("link", name=name, exact=True)
        for _ in range(20):
            page.keyboard.press("Tab")
            if link.evaluate("link => link === document.activeElement"):
                break
        expect(link).to_be_focused()
        page.keyboard.press("Enter")

        expect(view(page, name)).to_be_visible()
        expect(link).to_have_attribute("aria-current", "page")


def test_the_first_tab_leads_to_the_content(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("main")).to_be_focused()


def test_the_pace_is_set_by_keyboard(empty: Running, watched: Watched) -> None:
    page = watched.open(empty.address)
    slider = page.get_by_role("slider", name="Changes a second")
    slider.focus()

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("Home")

    expect(page.locator("#rate-shown")).to_have_text("0")
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
