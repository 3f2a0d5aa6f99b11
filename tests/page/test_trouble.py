"""A fault of a party is seen and heals, and a dead letter is shown and replayed."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.pages import Running, Watched, change, findings, holds, open_way, rows


@pytest.fixture(autouse=True)
def healed(running: Running) -> Iterator[None]:
    """Let the next test find everything at work, and no dead letter."""
    yield
    running.playground.trouble.heal()
    assert holds(lambda: not running.playground.frame()["backlog"])
    running.world.dead_letters()


def letters(page: Page) -> Locator:
    return page.locator("#dead-letters tbody").get_by_role("row")


def test_a_fault_of_segment_is_seen_and_heals(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Trouble")
    page.locator("#party-segment").get_by_label("Down").check()
    expect(page.locator("#trouble-summary")).to_have_text("In trouble: Segment.")

    customer_id = change(running.world, lambda shop: shop.create(email="waiting@example.com"))["id"]

    expect(watched.promise).to_contain_text("messages are open")
    expect(page.locator("#backlog-words")).to_contain_text("Now 2;")
    page.get_by_role("link", name="Messages", exact=True).click()
    failed = rows(page).filter(has_text=customer_id[:8])
    expect(failed.first).to_contain_text("↻")
    open_way(page, "CustomerCreated")
    expect(page.get_by_label("Attempt", exact=True)).to_contain_text("2:")
    page.get_by_role("link", name="Trouble", exact=True).click()
    page.get_by_role("button", name="Everything works again").click()

    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
    expect(page.locator("#trouble-summary")).to_contain_text("Nothing is in trouble")
    assert customer_id in running.world.segment.profiles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_nobody_can_read_is_a_dead_letter(running: Running, watched: Watched, scheme: str) -> None:
    page = watched.open(running.address, "Trouble")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")

    page.get_by_role("button", name="Publish something unreadable").click()
    expect(letters(page)).to_have_count(1)
    assert findings(page) == []
    page.get_by_role("button", name="Look at dead letter").click()

    expect(page.get_by_role("dialog")).to_contain_text("Reason")
    assert findings(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Replay all").click()
    expect(page.locator("#said")).to_contain_text("1 of 1 replayed.")
    expect(letters(page)).to_have_count(1)  # it is as unreadable as before
    page.get_by_role("button", name="Drop all").click()
    assert findings(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Drop", exact=True).click()
    expect(page.get_by_text("There are no dead letters.")).to_be_visible()


def test_a_message_that_was_given_up_is_replayed(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Trouble")
    page.get_by_label("Attempts").fill("5")
    page.keyboard.press("Tab")
    page.locator("#party-segment").get_by_label("500").check()
    expect(page.locator("#trouble-summary")).to_have_text("In trouble: Segment, Pub/Sub.")

    customer_id = change(running.world, lambda shop: shop.create(email="given-up@example.com"))["id"]

    expect(letters(page)).to_have_count(2)
    expect(letters(page).first).to_contain_text(customer_id[:8])
    page.get_by_role("button", name="Everything works again").click()
    expect(page.locator("#trouble-summary")).to_contain_text("Nothing is in trouble")
    page.get_by_role("button", name="Replay all").click()

    expect(page.get_by_text("There are no dead letters.")).to_be_visible()
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
    assert holds(lambda: customer_id in running.world.segment.profiles)


def test_an_instance_that_is_killed_starts_again(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Trouble")
    page.get_by_role("button", name="Add an instance").click()
    second = page.locator("#instances tbody").get_by_role("row").nth(1)
    expect(second).to_contain_text("running")

    page.get_by_role("button", name="Kill instance 2").click()
    expect(second).to_contain_text("stopped")
    page.get_by_role("button", name="Start instance 2", exact=True).click()
    expect(second).to_contain_text("running")
    page.get_by_role("button", name="Remove the newest").click()

    expect(second).to_have_count(0)
