"""Pictures of the main views for README, written into the folder that SCREENSHOTS names, else into a temporary one."""

import base64
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from tests.page.pages import ROOT, Watched, a_busy_shop, a_playground, in_scheme, open_way, rows

MOST_BYTES = 300 * 1024  # together
_WINDOW: ViewportSize = {"width": 1280, "height": 680}
_QUALITY = 45


def take(page: Page, path: Path) -> None:
    """Write what the window shows, as WebP, which Playwright itself has not."""
    page.mouse.move(0, 0)
    asked = {"format": "webp", "quality": _QUALITY}
    taken = page.context.new_cdp_session(page).send("Page.captureScreenshot", asked)
    path.write_bytes(base64.b64decode(taken["data"]))


def show_messages(page: Page) -> None:
    open_way(page, "CustomerAddressAdded")
    page.get_by_role("searchbox", name="Search").fill("")
    page.get_by_role("searchbox", name="Search").blur()
    expect(rows(page).nth(12)).to_be_visible()


def show_shop(page: Page) -> None:
    page.locator("#list-customers").get_by_role("link").first.click()
    expect(page.locator("#detail-title")).to_be_visible()


def show_segment(page: Page) -> None:
    with_traits = page.locator("#segment-users li").filter(has_text=re.compile(r"\d\d traits"))
    with_traits.first.get_by_role("link").click()
    expect(page.get_by_role("region", name="Profile", exact=True).get_by_role("table")).to_be_visible()


def show_trouble(page: Page) -> None:
    page.locator("#party-segment").get_by_label("429").check()
    expect(page.locator("#trouble-summary")).to_have_text("In trouble: Segment.")
    expect(page.locator("#dead-letters tbody tr").first).to_be_attached()


def show_mapping(page: Page) -> None:
    expect(page.locator("#mapping-checked")).to_contain_text("The file is valid.")
    expect(page.locator("#mapping-results table").first).to_be_visible()


def show_counts(page: Page) -> None:
    expect(page.locator("#counts-judged")).to_contain_text("The judge has looked at")


SHOW: Mapping[str, Callable[[Page], None]] = {
    "messages": show_messages,
    "shop": show_shop,
    "segment": show_segment,
    "mapping": show_mapping,
    "counts": show_counts,
    "trouble": show_trouble,  # the last one: it makes trouble
}


def test_the_pictures_of_the_main_views_are_small(tmp_path: Path, watched: Watched) -> None:
    folder = ROOT / os.environ["SCREENSHOTS"] if os.environ.get("SCREENSHOTS") else tmp_path / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with a_playground(tmp_path) as running:
        a_busy_shop(running, changes=90)
        for name, show in SHOW.items():
            page = in_scheme(watched.open(running.address, name), "light")
            page.set_viewport_size(_WINDOW)
            show(page)
            take(page, folder / f"{name}.webp")
        page.goto("about:blank")

    sizes = {path.name: path.stat().st_size for path in folder.glob("*.webp")}
    assert len(sizes) == len(SHOW)
    assert sum(sizes.values()) <= MOST_BYTES, sizes
