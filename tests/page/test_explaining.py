"""A file that is dropped on the page, chosen or pasted is explained."""

import json

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.builders import a_customer
from tests.page.pages import Watched, findings, in_scheme

CUSTOMER = json.dumps(a_customer())


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def drop(page: Page, name: str, text: str) -> None:
    """Drop a file on the page, as a browser tells it of one."""
    page.evaluate(
        """([name, text]) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([text], name, { type: "application/json" }));
          const init = { dataTransfer, bubbles: true, cancelable: true };
          for (const kind of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, init));
        }""",
        [name, text],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dropped_customer_is_explained(address: str, watched: Watched, scheme: str) -> None:
    page = in_scheme(watched.open(address), scheme)

    drop(page, "customer.json", CUSTOMER)

    expect(dialog(page).get_by_role("heading", level=2)).to_have_text("What happens with customer.json")
    expect(dialog(page)).to_contain_text("Delivered")
    expect(dialog(page)).to_contain_text("Mira.Example@example.com")
    assert findings(page) == []
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()


def test_a_chosen_file_that_is_not_json_says_why_it_cannot_be_read(address: str, watched: Watched) -> None:
    page = watched.open(address)
    watched.expects_refusal(400)
    page.get_by_role("button", name="Explain a file").click()

    with page.expect_file_chooser() as chosen:
        dialog(page).get_by_role("button", name="Choose a file").click()
    chosen.value.set_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no JSON"})

    expect(dialog(page).get_by_role("status")).to_contain_text("JSON")


def test_a_pasted_document_is_explained_by_keyboard(address: str, watched: Watched) -> None:
    page = watched.open(address)
    page.get_by_role("button", name="Explain a file").focus()
    page.keyboard.press("Enter")

    dialog(page).get_by_role("textbox", name="Or paste the JSON").fill(CUSTOMER)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(dialog(page)).to_contain_text("Mira.Example@example.com")
