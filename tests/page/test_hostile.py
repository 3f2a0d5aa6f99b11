"""Texts that are hostile, and addresses that somebody typed: nothing runs, and nothing breaks the layout."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.page.pages import Running, Watched, view

RUNS = '<img src=x onerror="window.ran = 1"><script>window.ran = 2</script>'
LONG = f"{RUNS} \U0001f600 \u202e\u05e9\u05dc\u05d5\u05dd {'W' * 300}"


def overflows(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("width", [360, 1280])
def test_markup_and_long_words_in_a_customer_are_text_in_every_view(
    running: Running, watched: Watched, width: int
) -> None:
    world = running.world
    names = dict.fromkeys(("firstName", "lastName", "companyName", "key"), LONG)
    with world.writing:
        address = {"country": "DE", "city": LONG}
        customer = world.shop.create(**names, email=f"{RUNS}@example.com", addresses=[address])
        order = world.shop.sales.place_for(customer)
    watched.page.set_viewport_size({"width": width, "height": 740})
    page = watched.open(running.address)
    about = customer["id"]
    for place in (
        f"shop/customer/{about}",
        f"shop/order/{order['id']}",
        f"segment/{about}",
        f"messages/resource/{about}",
    ):
        page.evaluate("place => { location.hash = place; }", place)
        expect(view(page, place.partition("/")[0].capitalize())).to_contain_text(about[:8])
        assert not overflows(page), place
    assert page.evaluate("window.ran") is None


def test_markup_in_a_file_and_in_its_name_is_text(running: Running, watched: Watched) -> None:
    page = watched.open(running.address)
    document = {"id": "x", "version": 1, "email": "ada@example.com", "firstName": LONG}
    file = {"name": f"{RUNS.replace('/', '')}.json", "mimeType": "text/html", "buffer": json.dumps(document).encode()}
    page.set_input_files("#file", files=[file])

    expect(page.get_by_role("heading", name="What happens with <img")).to_be_visible()
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("place", ["%", "%E0%A4%A", "constructor", "__proto__", "toString/1"])
def test_an_address_that_names_no_view_shows_the_messages(running: Running, watched: Watched, place: str) -> None:
    page = watched.page
    page.goto(f"{running.address}#{place}")

    expect(view(page, "Messages")).to_be_visible()
    expect(watched.promise).to_contain_text("The promises hold")
