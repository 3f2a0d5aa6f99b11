"""What the events of an order say: properties, products, names, addresses, ids, times, and what fits into 32 KiB."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools.order import read_order
from service.commercetools.payment import read_payment
from service.config import OrderImports, UserIdField
from service.segment.client import create_segment_client, fits
from service.segment.types import SegmentEvent
from service.transformation.buyer import Buyer
from service.transformation.mapping import OrderMapping, ShopMapping
from service.transformation.mapping_file import built_in_mapping
from service.transformation.order import OrderRules, Sale, cancelled, completed, fitted, localized, refunded, updated
from tests.builders import (
    ORDER_ID,
    PAYMENT_ID,
    PROJECT,
    a_custom_line_item,
    a_large_order,
    a_line_item,
    a_payment,
    a_refund,
    an_order,
    euros,
)

Document = dict[str, Any]
SHARED = {
    "order_id": ORDER_ID,
    "order_number": "2026-1001",
    "affiliation": "berlin",
    "subtotal": 23.06,
    "total": 31.86,
    "shipping": 3.71,
    "tax": 5.09,
    "discount": 6.54,
    "coupon": "SPRING",
    "currency": "EUR",
}
STATES = {"order_state": "Open", "payment_state": "Paid", "shipment_state": "Pending"}
PRODUCTS = [
    {
        "product_id": "product-1",
        "sku": "MUG-1",
        "name": "Becher",
        "variant": "MUG-1",
        "price": 10,
        "quantity": 3,
        "position": 1,
        "image_url": "https://images.example.com/mug.jpg",
    },
    {
        "product_id": "product-1",
        "sku": "MUG-1",
        "name": "Becher",
        "variant": "MUG-1",
        "price": 0,
        "quantity": 1,
        "position": 2,
        "image_url": "https://images.example.com/mug.jpg",
    },
    {
        "product_id": "fee",
        "sku": "gift-wrapping",
        "name": "Verpackung",
        "variant": "wrapping",
        "price": 2.5,
        "quantity": 1,
        "position": 3,
    },
]


BUYER, RULES = Buyer("user"), OrderRules()


def sale(order: Document, buyer: Buyer = BUYER, rules: OrderRules = RULES) -> Sale:
    return Sale(read_order(order), buyer, rules, PROJECT)


def with_mapping(**order: str) -> ShopMapping:
    return ShopMapping(built_in_mapping().identify, order=OrderMapping(**order))


def payload(event: SegmentEvent) -> Document:
    return dict(event.payload)


def properties(event: SegmentEvent) -> Document:
    found: Document = payload(event)["properties"]
    return found


def products(order: Document, **order_mapping: str) -> list[Document]:
    rules = OrderRules(mapping=with_mapping(**order_mapping))
    found: list[Document] = properties(completed(sale(order, rules=rules)))["products"]
    return found


def product_of(line: Document, **order_mapping: str) -> Document:
    [product] = products(an_order(lineItems=[line]), **order_mapping)
    return product


def refund_of(order: Document, at: datetime | None = None, **changes: Any) -> SegmentEvent:  # noqa: ANN401  # any JSON
    [refund] = read_payment(a_payment(a_refund(**changes))).refunds
    return refunded(sale(order), PAYMENT_ID, refund, at)


# Properties


def test_each_event_has_the_properties_of_the_table() -> None:
    order = sale(a_large_order())

    assert properties(completed(order)) == {"checkout_id": "cart-id", **SHARED, "revenue": 23.06, "products": PRODUCTS}
    assert properties(updated(order)) == {**SHARED, **STATES, "products": PRODUCTS}
    assert properties(cancelled(order)) == {**SHARED, "products": PRODUCTS}
    assert properties(refund_of(a_large_order())) == {
        "order_id": ORDER_ID,
        "refund_id": "refund-1",
        "total": 10,
        "currency": "EUR",
    }


@pytest.mark.parametrize(("event", "name"), [(completed, "Completed"), (updated, "Updated"), (cancelled, "Cancelled")])
def test_what_is_absent_is_left_out_and_an_amount_of_0_is_not(event: Callable[[Sale], SegmentEvent], name: str) -> None:
    bare = {"id": "o", "version": 1, "createdAt": "2026-01-02T03:04:05.678Z", "totalPrice": euros(0)}

    told = payload(event(sale(bare)))

    zeros = dict.fromkeys(("subtotal", "total", "shipping", "discount"), 0)
    revenue = {"revenue": 0} if name == "Completed" else {}
    assert told["event"] == f"Order {name}"
    assert told["properties"] == {"order_id": "o", "currency": "EUR", **zeros, **revenue, "products": []}
    assert told["context"] == {"active": False}


def test_several_codes_are_joined() -> None:
    codes = [{"discountCode": {"obj": {"code": one}}} for one in ("B", "A")]

    assert properties(completed(sale(an_order(discountCodes=codes))))["coupon"] == "B,A"


@pytest.mark.parametrize(
    ("buyer", "expected"),
    [
        (Buyer("user"), {"user_id": "user"}),
        (Buyer("", "anonymous"), {"anonymous_id": "anonymous"}),
        (Buyer("user", "anonymous"), {"user_id": "user", "anonymous_id": "anonymous"}),
    ],
)
def test_an_event_names_its_buyer(buyer: Buyer, expected: Document) -> None:
    told = payload(completed(sale(an_order(), buyer)))

    assert {name: told[name] for name in ("user_id", "anonymous_id") if name in told} == expected


def test_consent_is_in_the_context() -> None:
    told = payload(completed(sale(an_order(locale=None, customerEmail=None), Buyer("user", preferences={"Ads": True}))))

    assert told["context"] == {"active": False, "consent": {"categoryPreferences": {"Ads": True}}}


# Refunds


@pytest.mark.parametrize(
    ("amount", "whole"),
    [
        pytest.param(euros(31.86), True, id="the whole order"),
        pytest.param(euros(40), True, id="more than the order"),
        pytest.param(euros(31.85), False, id="less"),
        pytest.param(euros(31.86) | {"currencyCode": "USD"}, False, id="as much in another currency"),
        pytest.param(euros(-31.86), True, id="written below 0"),
    ],
)
def test_a_refund_is_positive_in_its_own_currency_and_has_products_only_if_it_is_the_whole_order(
    amount: Document,
    whole: bool,  # noqa: FBT001  # a table
) -> None:
    told = properties(refund_of(a_large_order(), amount=amount))

    assert told["total"] == abs(amount["centAmount"]) / 100
    assert told["currency"] == amount["currencyCode"]
    assert ("products" in told) is whole


def test_a_refund_has_its_own_time_else_its_message_s_else_none() -> None:
    at = datetime.fromisoformat("2026-05-01T00:00:00Z")

    assert payload(refund_of(an_order(), at))["timestamp"] == datetime.fromisoformat("2026-03-04T05:06:07.890Z")
    assert payload(refund_of(an_order(), at, timestamp=None))["timestamp"] == at
    assert "timestamp" not in payload(refund_of(an_order(), timestamp=None))


# Ids and times


def test_an_event_s_id_names_its_fact_and_nothing_that_may_change() -> None:
    first, later = sale(an_order()), sale(a_large_order(version=7, orderState="Cancelled"), Buyer("", "anonymous"))
    imports = sale(an_order(), rules=OrderRules(UserIdField.ID, OrderImports.ALL))

    for event in (completed, cancelled):
        assert len({payload(event(one))["message_id"] for one in (first, later, imports)}) == 1
    assert payload(updated(first))["message_id"] != payload(updated(later))["message_id"]
    one, other = refund_of(an_order()), refund_of(a_large_order(), amount=euros(3), timestamp=None)
    assert payload(one)["message_id"] == payload(other)["message_id"]


def test_another_fact_order_project_or_source_has_another_id() -> None:
    order, [refund] = an_order(), read_payment(a_payment()).refunds
    events = [
        completed(sale(order)),
        completed(sale(an_order(id="another"))),
        completed(replace(sale(order), project_key="another")),
        completed(sale(order, rules=OrderRules(source="another"))),
        completed(sale(order, rules=OrderRules(salt="another"))),
        cancelled(sale(order)),
        updated(sale(order)),
        updated(sale(an_order(version=2))),
        updated(sale(an_order(version=12))),
        refund_of(order),
        refund_of(order, id="refund-2"),
        refunded(sale(order), "another", refund, None),
    ]

    ids = [payload(event)["message_id"] for event in events]

    assert len(set(ids)) == len(events)
    assert all(len(one) <= 100 and one.startswith("ct-order-") for one in ids)


def test_an_imported_order_was_completed_when_it_says_so() -> None:
    told = payload(completed(sale(an_order(completedAt="2020-01-02T03:04:05Z"))))

    assert told["timestamp"] == datetime.fromisoformat("2020-01-02T03:04:05Z")


# Products


def test_without_line_items_there_are_no_products() -> None:
    assert products(an_order(lineItems=None)) == []


def test_a_product_without_a_price_or_a_quantity_does_not_have_0() -> None:
    product = product_of(a_line_item(price=None, quantity=None))

    assert "price" not in product
    assert "quantity" not in product


def test_a_negative_custom_line_item_is_no_product_and_takes_no_position() -> None:
    lines = [
        a_custom_line_item(id="minus", totalPrice=euros(-1)),
        a_custom_line_item(id="nothing", totalPrice=euros(0), key=None),
    ]

    one, other = products(an_order(customLineItems=lines))

    assert (one["position"], other["position"], other["product_id"]) == (1, 2, "nothing")
    assert other["variant"] == "gift-wrapping"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([{"url": "https://a.example/1.jpg"}, {"url": "https://a.example/2.jpg"}], "https://a.example/1.jpg"),
        (
            [{"url": "//a.example/1.jpg"}, {"url": "data:image/png;base64,"}, {"url": "HTTP://a.example/2.jpg"}],
            "HTTP://a.example/2.jpg",
        ),
        ([{"url": "javascript:alert(1)"}], None),
        ([{"url": 5}, None, 5, {}, {"url": "http://a.example/3.jpg"}], "http://a.example/3.jpg"),
        ("https://a.example/1.jpg", None),
        ([], None),
    ],
)
def test_the_first_image_on_the_web_is_the_product_s(images: object, expected: str | None) -> None:
    assert product_of(a_line_item(variant={"images": images})).get("image_url") == expected


@pytest.mark.parametrize(
    ("texts", "locale", "expected"),
    [
        ({"de": "d", "de-AT": "a", "en": "e"}, "de-AT", "de-AT"),
        ({"de": "d", "de-CH": "c", "en": "e"}, "de-AT", "de"),
        ({"de-DE": "d", "de-CH": "c", "en": "e"}, "de-AT", "de-CH"),
        ({"de-DE": "d", "de-CH": "c", "en": "e"}, "de", "de-CH"),
        ({"den": "x", "en": "e"}, "de", "en"),
        ({"fr": "f", "en": "e", "en-GB": "g"}, "de", "en"),
        ({"fr": "f", "en-US": "u", "en-GB": "g"}, "de", "en-GB"),
        ({"it": "i", "fr": "f"}, "de", "fr"),
        ({"it": "i", "fr": "f"}, None, "fr"),
        ({"en": "e", "de": "d"}, None, "en"),
        ({}, "de", None),
        ({"": "x"}, None, ""),
    ],
)
def test_a_text_is_taken_in_the_locale_its_language_english_or_the_first(
    texts: dict[str, str], locale: str | None, expected: str | None
) -> None:
    for one in (texts, dict(reversed(texts.items()))):
        assert localized(one, locale) == (expected, None if expected is None else texts[expected])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ({"de": "Becher"}, "Becher"),
        ({"de": " \0", "en": "Mug"}, "Mug"),
        ({"de": 5, "fr": "Tasse"}, "Tasse"),
        ({"de": None}, None),
        ({}, None),
        ("Becher", None),
        (None, None),
        ({"de": "\ud800"}, "\ud800"),
    ],
)
def test_a_product_has_a_name_if_any_language_has_one(name: object, expected: str | None) -> None:
    assert product_of(a_line_item(name=name)).get("name") == expected


def test_the_shop_s_locale_is_taken_before_the_order_s() -> None:
    assert product_of(a_line_item(), locale="en-GB")["name"] == "Mug"


@pytest.mark.parametrize(
    ("changes", "template", "expected"),
    [
        ({}, "https://shop.example/{locale}/{slug}", "https://shop.example/de/becher"),
        ({}, "https://shop.example/{slug}?sku={sku}&s={slug}", "https://shop.example/becher?sku=MUG-1&s=becher"),
        ({"productSlug": {"fr": "a b/ü"}}, "https://shop.example/{slug}", "https://shop.example/a%20b%2F%C3%BC"),
        ({"productSlug": {"de": "{sku}"}}, "https://shop.example/{slug}", "https://shop.example/%7Bsku%7D"),
        ({"productSlug": {"de": "\ud800"}}, "https://shop.example/{slug}", "https://shop.example/%3F"),
        ({"productSlug": {}}, "https://shop.example/{slug}", None),
        ({"productSlug": "becher"}, "https://shop.example/{slug}", None),
        ({"variant": {"id": 1}}, "https://shop.example/{sku}", None),
        ({"productSlug": None}, "https://shop.example/{sku}", "https://shop.example/MUG-1"),
    ],
)
def test_a_product_has_an_address_if_the_line_has_all_of_it(
    changes: Document, template: str, expected: str | None
) -> None:
    assert product_of(a_line_item(**changes), product_url=template).get("url") == expected


def test_a_custom_line_item_has_no_address() -> None:
    found = products(an_order(customLineItems=[a_custom_line_item()]), product_url="https://shop.example/{sku}")

    assert ["url" in product for product in found] == [True, False]


# What fits


def of_lines(count: int, **changes: Any) -> Document:  # noqa: ANN401  # any JSON
    return an_order(lineItems=[a_line_item(id=f"line-{number}", **changes) for number in range(count)])


def test_an_event_that_fits_stays_as_it_is() -> None:
    event = completed(sale(of_lines(50)))

    assert fitted(event, fits) is event


def test_the_addresses_go_first_and_all_products_stay() -> None:
    rules = OrderRules(mapping=with_mapping(product_url=f"https://shop.example/{'x' * 100}/{{slug}}"))
    event = completed(sale(of_lines(120), rules=rules))

    told = properties(fitted(event, fits))

    assert not fits(event)
    assert len(told["products"]) == 120
    assert all({"url", "image_url"}.isdisjoint(product) for product in told["products"])
    assert "products_total" not in told


@pytest.mark.parametrize("event", [completed, updated, cancelled])
def test_of_500_lines_the_first_are_told_as_many_as_fit(event: Callable[[Sale], SegmentEvent]) -> None:
    whole = event(sale(of_lines(500)))

    told = fitted(whole, fits)

    kept = properties(told)["products"]
    assert fits(told)
    assert properties(told)["products_total"] == 500
    assert [product["position"] for product in kept] == [*range(1, len(kept) + 1)]
    one_more = [{**kept[0], "position": len(kept) + 1}]
    assert not fits(with_properties(told, products=kept + one_more))
    everything_else = {"products", "products_total"}
    assert _without(properties(told), everything_else) == _without(properties(whole), everything_else)
    assert payload(told)["message_id"] == payload(whole)["message_id"]
    assert fitted(event(sale(of_lines(500))), fits) == told


def with_properties(event: SegmentEvent, **changes: Any) -> SegmentEvent:  # noqa: ANN401  # any JSON
    return SegmentEvent("track", {**payload(event), "properties": properties(event) | changes})  # type: ignore[arg-type]  # a track's


def _without(values: Document, names: set[str]) -> Document:
    return {name: value for name, value in values.items() if name not in names}


def test_a_refund_of_a_whole_order_of_500_lines_fits_too() -> None:
    told = fitted(refund_of(of_lines(500), amount=euros(24.90)), fits)

    assert fits(told)
    assert properties(told)["products_total"] == 500


def test_one_product_that_does_not_fit_leaves_none() -> None:
    told = fitted(completed(sale(of_lines(2, name={"de": "x" * 40_000}))), fits)

    assert fits(told)
    assert (properties(told)["products"], properties(told)["products_total"]) == ([], 2)


@given(st.integers(0, 40), st.integers(0, 40))
def test_as_many_products_are_left_as_fit(count: int, most: int) -> None:
    def few_enough(event: SegmentEvent) -> bool:
        return len(properties(event)["products"]) <= most

    told = properties(fitted(completed(sale(of_lines(count))), few_enough))

    assert len(told["products"]) == min(count, most)
    assert told.get("products_total") == (count if count > most else None)


def test_segment_s_library_takes_every_event_with_surrogates_and_all() -> None:
    client = create_segment_client("example-write-key")
    odd = a_large_order(orderNumber="\ud800", locale="\ud800", customerEmail="\ud800@example.com")

    for event in (completed(sale(odd)), updated(sale(odd)), cancelled(sale(odd)), refund_of(odd)):
        built, size = client.event_for(event)
        assert built["type"] == "track"
        assert size >= len(json.dumps(built))
