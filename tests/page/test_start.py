"""python -m playground.page: its first page, and its end."""

import subprocess

from playwright.sync_api import expect

from playground.processes import children
from tests.page.pages import VIEWS, Watched, a_process, view


def all_below(pid: int) -> set[int]:
    return {pid}.union(*(all_below(child) for child in children(pid)))


def is_alive(pid: int) -> bool:
    ran = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], check=False, capture_output=True, text=True)  # noqa: S603, S607
    return ran.stdout.strip()[:1] not in ("", "Z")


def test_the_first_load_shows_every_view_and_that_the_promises_hold(address: str, watched: Watched) -> None:
    page = watched.open(address)

    expect(page.get_by_role("heading", level=1)).to_contain_text("Playground")
    expect(view(page, "Messages")).to_be_visible()
    links = page.get_by_role("navigation", name="Views").get_by_role("link")
    assert links.all_inner_texts() == list(VIEWS)
    for name in VIEWS:
        page.get_by_role("link", name=name, exact=True).click()
        expect(view(page, name)).to_be_visible()
        expect(page.locator("main > section:not([hidden])")).to_have_count(1)


def test_ctrl_c_ends_everything_that_was_started(watched: Watched) -> None:
    with a_process() as (process, address):
        page = watched.open(address)
        started = all_below(process.pid)
        page.goto("about:blank")  # a page whose server has gone says so, as an error on the console

    assert len(started) > 2  # the service's two processes at least
    assert [pid for pid in started if is_alive(pid)] == []


def test_the_page_says_when_the_playground_has_ended(watched: Watched) -> None:
    with a_process() as (_, address):
        watched.open(address)

    expect(watched.promise).to_have_text("Not connected: is make playground still running?")
    assert all("ERR_" in problem for problem in watched.problems), watched.problems
    watched.problems.clear()
