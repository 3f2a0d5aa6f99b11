"""The line at the top turns red the moment a promise breaks, and back when it holds again."""

import requests
from playwright.sync_api import expect

from playground.world import LocalWorld
from tests.page.pages import Running, Watched, change, holds


def told_of(world: LocalWorld, customer_id: str) -> list[dict[str, object]]:
    """Return the events with a state of this customer."""
    events = (event for event in world.segment.events if event["type"] == "identify")
    return [event for event in events if event["traits"].get("commercetoolsId") == customer_id]


def test_a_profile_that_becomes_stale_is_told_until_it_is_right_again(running: Running, watched: Watched) -> None:
    world, page = running.world, watched.open(running.address)
    customer_id = change(world, lambda shop: shop.create(email="before@example.com"))["id"]
    assert holds(lambda: told_of(world, customer_id))
    [first] = told_of(world, customer_id)
    change(world, lambda shop: shop.change(customer_id, {"action": "changeEmail", "email": "after@example.com"}))
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")

    by_hand = {**first, "messageId": "sent-by-hand"}
    requests.post(f"{world.segment.url}/v1/identify", json=by_hand, auth=(world.segment.write_key, ""), timeout=10)

    expect(watched.promise).to_contain_text("A promise is broken:")
    expect(watched.promise).to_contain_text("1 stale")
    expect(watched.promise).to_have_class("promise bad")

    change(world, lambda shop: shop.change(customer_id, {"action": "changeEmail", "email": "again@example.com"}))

    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
    assert page.title() == "Playground · commercetools-segment"
