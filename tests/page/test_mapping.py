"""The mapping file in a browser: its mistakes at their lines, what changes, and the service with it."""

from playwright.sync_api import Page, expect

from tests.page.pages import Running, Watched, change, findings, holds

WITH_A_TRAIT = 'version = 1\n\n[identify.traits]\nshop = { value = "example" }\n'


def write(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="mapping.toml").fill(text)


def test_a_mistake_is_told_at_its_line(running: Running, watched: Watched) -> None:
    page = watched.open(running.address, "Mapping")

    write(page, WITH_A_TRAIT.replace("value", "valeu"))

    expect(page.locator("#mapping-checked")).to_contain_text("1 mistake")
    expect(page.get_by_role("link", name="Line 4")).to_be_visible()
    expect(page.get_by_role("button", name="Apply")).to_be_disabled()
    assert findings(page) == []
    page.get_by_role("link", name="Line 4").click()
    editor = page.get_by_role("textbox", name="mapping.toml")
    expect(editor).to_be_focused()
    assert editor.evaluate("one => one.value.slice(0, one.selectionEnd).split('\\n').length") == 4


def test_a_mapping_that_is_applied_changes_the_next_event(running: Running, watched: Watched) -> None:
    world, page = running.world, watched.open(running.address, "Mapping")

    write(page, WITH_A_TRAIT)
    expect(page.locator("#mapping-checked")).to_contain_text("The file is valid.")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#mapping-in-force")).to_contain_text("A mapping file")
    customer_id = change(world, lambda shop: shop.create(email="zora.example@example.com"))["id"]

    assert holds(lambda: world.segment.profiles.get(customer_id, {}).get("shop") == "example")
    page.get_by_role("button", name="Back to the built-in mapping").click()
    expect(page.locator("#mapping-in-force")).to_have_text("The built-in mapping")
    page.get_by_role("link", name="Messages", exact=True).click()
    expect(watched.promise).to_have_text("The promises hold. Every message has ended.")
