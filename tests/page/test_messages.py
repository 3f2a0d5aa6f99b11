"""The list of messages in a browser, and the way of one."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from playground.pubsub import Message
from playground.shop import GARBAGE
from playground.world import TOPIC
from tests.page.pages import Running, Watched, a_busy_shop, a_playground, change, open_way, rows

MANY = 5_000


@pytest.fixture(scope="module")
def long_list(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A page whose list is as long as it gets."""
    with a_playground(Path(tmp_path_factory.mktemp("long"))) as running:
        for number in range(MANY):
            resource = {"typeId": "customer", "id": f"{number:08}-customer"}
            document = {"notificationType": "ResourceUpdated", "resource": resource, "version": 2}
            message = Message(f"m-{number}", datetime.now(UTC), json.dumps(document).encode(), {}, "")
            running.playground.messages.on_message(TOPIC, message)
        yield running


def the_list(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Messages, newest first")


def place(row: Locator) -> int:
    """Return how far a row is below the top of the list, in px."""
    top = "row => row.getBoundingClientRect().top - row.closest('[role=listbox]').getBoundingClientRect().top"
    return int(row.evaluate(f"row => Math.round(({top})(row))"))


def elements(page: Page) -> int:
    return len(page.locator("#messages-list [role=option]").all())


@pytest.fixture(scope="module")
def busy(running: Running) -> Running:
    a_busy_shop(running)
    return running


def test_a_message_arrives_while_the_page_is_open(running: Running, watched: Watched) -> None:
    page = watched.open(running.address)

    customer = change(running.world, lambda shop: shop.create(email="zora.example@example.com"))

    about = rows(page).filter(has_text=customer["id"][:8])
    expect(about.filter(has_text="CustomerCreated")).to_contain_text("delivered")


def test_a_message_shows_its_way_step_by_step(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)

    way = open_way(page, "CustomerCreated")

    expect(way.get_by_role("heading", level=4)).to_have_text(
        ["Envelope", "Notification", "Read", "Events", "Calls", "Confirmation"]
    )
    expect(way.get_by_role("region", name="Events as JSON")).to_contain_text('"userId"')


def test_a_message_that_nobody_can_read_says_why_it_was_refused(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)

    page.get_by_label("Outcome").select_option("refused")
    expect(rows(page)).to_have_count(len(GARBAGE))
    for number, reason in enumerate(reversed(list(GARBAGE.values()))):
        rows(page).nth(number).click()

        expect(page.get_by_role("region", name="The way of the message")).to_contain_text(f"Why: {reason}")
        expect(page.get_by_role("heading", name="Envelope")).to_be_visible()


def test_the_list_is_filtered_by_text_and_says_when_nothing_matches(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)

    page.get_by_role("searchbox", name="Search").fill("there is no such message")
    expect(page.get_by_text("No message matches.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()

    expect(rows(page).first).to_be_visible()


def test_a_way_is_opened_by_keyboard(busy: Running, watched: Watched) -> None:
    page = watched.open(busy.address)
    the_list(page).focus()

    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(the_list(page).get_by_role("option", selected=True)).to_have_attribute("aria-posinset", "2")
    page.keyboard.press("Enter")

    expect(page.get_by_role("region", name="The way of the message")).to_be_focused()
    expect(page.get_by_role("heading", name="Envelope")).to_be_visible()


def test_of_5000_messages_only_the_visible_ones_are_elements(long_list: Running, watched: Watched) -> None:
    page = watched.open(long_list.address)
    expect(page.get_by_text(f"{MANY} messages", exact=True)).to_be_visible()
    expect(rows(page).filter(has_text=f"{MANY - 1:08}")).to_be_visible()

    assert 0 < elements(page) < 60
    the_list(page).focus()
    page.keyboard.press("End")

    oldest = page.locator(f"#messages-list [aria-posinset='{MANY}']")
    expect(oldest).to_be_in_viewport()
    expect(oldest).to_have_attribute("aria-setsize", str(MANY))
    assert elements(page) < 60


def test_what_arrives_does_not_move_what_is_looked_at(long_list: Running, watched: Watched) -> None:
    page = watched.open(long_list.address)
    the_list(page).evaluate("list => { list.scrollTop = 40_000; }")
    looked_at = page.locator("#message-m-3740")
    expect(looked_at).to_be_visible()
    before = place(looked_at)

    change(long_list.world, lambda shop: shop.create())

    expect(rows(page).first).not_to_have_attribute("aria-posinset", "1")
    expect(looked_at).to_be_visible()
    assert place(looked_at) == before
