"""What is done in the shop arrives in the list of messages and in Segment."""

import re

import requests
from playwright.sync_api import Locator, Page, expect

from tests.page.pages import Running, Watched, findings, holds, open_way, rows, view


def create(page: Page, email: str) -> str:
    """Create a customer by the form, and return its id."""
    page.get_by_role("button", name="New customer").click()
    page.get_by_role("dialog").get_by_label("E-mail").fill(email)
    page.get_by_role("dialog").get_by_label("First name").fill("Zora")
    assert findings(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url(re.compile("#shop/customer/"))
    expect(page.locator("#detail-title")).to_contain_text("Zora")
    address: str = page.url
    return address.rpartition("/")[2]


def profile(page: Page) -> Locator:
    return view(page, "Segment").get_by_role("region", name="Profile", exact=True)


def test_a_change_in_the_shop_arrives_in_the_list_and_in_segment(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Shop")
    customer_id = create(page, "zora.example@example.com")

    page.locator("#shop-detail").get_by_label("Last name").fill("Quimby")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#detail-title")).to_contain_text("Zora Quimby")

    page.get_by_role("link", name="Messages about it").click()
    expect(rows(page).filter(has_text="CustomerLastNameSet")).to_contain_text("delivered")
    expect(open_way(page, "CustomerLastNameSet")).to_contain_text("Quimby")
    page.get_by_role("link", name=customer_id).click()
    page.get_by_role("link", name="In Segment").click()
    expect(profile(page).get_by_role("row", name=re.compile("^lastName "))).to_contain_text("Quimby")
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")


def test_an_order_is_placed_refunded_in_part_and_cancelled(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Shop")
    customer_id = create(page, "ordering@example.com")
    page.get_by_role("button", name="Place an order").click()
    page.wait_for_url(re.compile("#shop/order/"))

    page.get_by_label("Amount, at most").fill("1")
    page.get_by_role("button", name="Refund", exact=True).click()
    expect(page.locator("#refunds")).to_contain_text("Success")
    page.get_by_role("button", name="Cancel the order").click()
    assert findings(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Cancel the order").click()
    expect(page.locator("#detail-title")).to_contain_text("Cancelled")

    page.goto(f"{running.address}#segment/user/{customer_id}")
    events = profile(page).get_by_role("list", name="Events of this user")
    for name in ("Order Completed", "Order Refunded", "Order Cancelled"):
        expect(events.get_by_text(name, exact=True).first).to_be_visible()
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")


def test_what_the_shop_refuses_is_said(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Shop")
    create(page, "refusing@example.com")
    watched.expects_refusal(400)

    page.get_by_text("Update actions", exact=True).click()
    page.get_by_label("commercetools' update actions").fill('[{"action": "fly"}]')
    page.get_by_role("button", name="Send the update").click()

    expect(page.locator("#said")).to_contain_text("fly")


def test_a_profile_that_segment_does_not_know_yet_is_shown_when_it_arrives(running: Running, watched: Watched) -> None:
    page, segment = watched.open(running.address, "Segment"), running.world.segment
    watched.expects_refusal(404)
    page.goto(f"{running.address}#segment/user/awaited")
    expect(profile(page)).to_contain_text("Segment knows nothing of awaited yet.")

    told = {"userId": "awaited", "messageId": "sent-by-hand", "traits": {"name": "Zora"}}
    requests.post(f"{segment.url}/v1/identify", json=told, auth=(segment.write_key, ""), timeout=10).raise_for_status()

    expect(profile(page).get_by_role("heading", level=3)).to_have_text("Zora")


def test_a_customer_who_is_erased_leaves_segment(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Shop")
    customer_id = create(page, "leaving@example.com")
    assert holds(lambda: customer_id in running.world.segment.profiles)
    page.get_by_role("link", name="In Segment").click()
    expect(profile(page).get_by_role("row", name=re.compile("^email "))).to_contain_text("leaving@example.com")

    page.goto(f"{running.address}#shop/customer/{customer_id}")
    page.get_by_role("button", name="Delete with data erasure").click()
    page.get_by_role("button", name="Delete and erase").click()
    expect(page.locator("#detail-title")).to_contain_text("deleted")

    page.goto(f"{running.address}#segment/user/{customer_id}")
    expect(profile(page)).to_contain_text("suppressed")
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
