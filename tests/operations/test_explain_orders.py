"""explain, of orders and payments: what is told of them, who bought, and where each amount comes from."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.shop import Shop
from service.operations import Exit, command_settings
from service.operations.explain import Explanation, explained
from service.operations.explain_orders import Sum
from service.outcome import Ending
from tests.builders import (
    ORDER_ID,
    PAYMENT_ID,
    a_cloud_event,
    a_line_item,
    a_message,
    a_payment,
    a_payment_message,
    a_push,
    a_refund,
    an_order,
    an_order_message,
    euros,
    sample,
)
from tests.operations.commands import Ended, run, settings_for
from tests.operations.test_explain import CTP

Document = dict[str, Any]
EXAMPLES = sample("orders-examples.json")["orders"]


def explanation_of(document: object, **environment: str) -> Explanation:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = {"SEGMENT_WRITE_KEY": "example-write-key", "SEGMENT_USER_ID": "id", "ORDERS": "on", **environment}
    return explained(body, command_settings(given), read=False)


def events(explanation: Explanation) -> list[str]:
    return [event["event"] for event in explanation.events]


def sums(explanation: Explanation) -> dict[str, Sum]:
    return {one.name.strip(): one for one in explanation.sold.sums}


def who(explanation: Explanation) -> dict[str, tuple[object, str]]:
    return {one.name: (one.value, one.why) for one in explanation.sold.who}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(an_order(), "an order", id="an order"),
        pytest.param({"results": [an_order()]}, "an answer of commercetools' API: the order in it", id="a page"),
        pytest.param(
            {"results": [an_order(), an_order(id="another")]},
            "an answer of commercetools' API: the first of its 2 orders",
            id="a page with several",
        ),
        pytest.param({"order": an_order()}, "an answer of commercetools' API: the order in it", id="an answer"),
        pytest.param(
            {"data": {"orders": {"results": [an_order()]}}},
            "an answer of commercetools' GraphQL API: the order in it",
            id="GraphQL",
        ),
    ],
)
def test_an_order_is_explained_as_at_its_creation(given: Document, words: str) -> None:
    explanation = explanation_of(given)

    assert explanation.what[0] == ("given", words)
    assert explanation.ending is Ending.DELIVERED
    assert events(explanation) == ["Order Completed"]
    assert any("as at its OrderCreated" in note for note in explanation.notes)


def test_a_cancelled_order_gives_both_events() -> None:
    assert events(explanation_of(an_order(orderState="Cancelled"))) == ["Order Completed", "Order Cancelled"]


@pytest.mark.parametrize("wrap", [a_push, a_cloud_event, lambda message: message], ids=["push", "CloudEvents", "bare"])
def test_a_message_that_brings_the_order_is_explained_with_it(wrap: Any) -> None:  # noqa: ANN401  # any of three
    explanation = explanation_of(wrap(an_order_message(order=an_order())), **CTP)

    assert events(explanation) == ["Order Completed"]
    assert "This is the order inside the notification" in explanation.notes[0]


def test_a_message_without_the_order_needs_read() -> None:
    explanation = explanation_of(an_order_message("OrderStateChanged", orderState="Cancelled"), **CTP)

    assert explanation.ending is None
    assert explanation.reason == "the service reads the order from commercetools now; --read does so here"
    assert explanation.exit_code is Exit.ATTENTION


def test_a_payment_without_read_shows_its_refunds_and_says_what_it_needs() -> None:
    explanation = explanation_of(a_payment(), **CTP)

    assert explanation.what == [("given", "a payment"), ("payment", f"{PAYMENT_ID}, version 4")]
    assert explanation.ending is None
    assert "finds the order of a payment by a query of commercetools; --read does so here" in explanation.reason
    refund = sums(explanation)["total of the refund"]
    assert (refund.shown, refund.field) == ("10.00", "transactions[id=refund-1].amount")
    assert "not known" in refund.how


def test_a_payment_without_a_refund_in_success_is_ignored() -> None:
    explanation = explanation_of(a_payment(a_refund(state="Pending")))

    assert (explanation.ending, explanation.reason) == (Ending.IGNORED, "the payment has no such refund in Success")


# Without what an order needs


def test_with_orders_off_the_outcome_is_ignored_and_what_would_be_sent_is_shown_apart() -> None:
    explanation = explanation_of(an_order(), ORDERS="off")

    assert (explanation.ending, explanation.reason) == (Ending.IGNORED, "about an order, and ORDERS is off")
    assert explanation.events == []
    assert "needs ORDERS=on" in explanation.notes[-1]
    assert explanation.otherwise is not None
    assert events(explanation.otherwise) == ["Order Completed"]
    assert sums(explanation.otherwise)["total"].shown == "24.90"


def test_a_notification_without_an_api_client_fails_and_what_would_be_sent_is_shown_apart() -> None:
    explanation = explanation_of(an_order_message(order=an_order()))

    assert explanation.ending is Ending.FAILED
    assert "the order must be read" in explanation.reason
    assert explanation.needs == ["the CTP_ settings"]
    assert explanation.otherwise is not None
    assert events(explanation.otherwise) == ["Order Completed"]


def test_a_person_and_a_program_see_what_orders_on_would_send() -> None:
    given = json.dumps(an_order())
    shown = run("explain", given=given, settings=settings_for())
    document = run("explain", "--json", given=given, settings=settings_for()).document

    assert shown.code == Exit.DONE
    assert "outcome Ignored: about an order, and ORDERS is off" in shown.said
    assert "With ORDERS=on order 2026-1001" in shown.said
    assert '"event": "Order Completed"' in shown.said
    assert (document["outcome"], document["event"], document["sums"]) == ("ignored", None, [])
    assert document["otherwise"]["needs"] == ["ORDERS=on"]
    assert document["otherwise"]["event"]["event"] == "Order Completed"


def test_a_customer_has_nothing_of_orders() -> None:
    explanation = explanation_of(a_message(), ORDERS="off")

    assert explanation.otherwise is None
    assert (explanation.sold.who, explanation.sold.sums) == ((), ())


# The sums


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["file"].removesuffix(".json"))
def test_the_sums_of_a_real_order_are_those_of_the_event_and_agree_with_commercetools_total(example: Document) -> None:
    order = sample(example["file"])
    explanation = explanation_of(order, ORDER_IMPORTS="all")
    found = sums(explanation)

    [event] = example["events"]
    for name in ("subtotal", "shipping", "tax", "discount", "total"):
        assert found[name].document["amount"] == event["properties"].get(name), name
    assert found["check"].how.endswith(", as in totalPrice")
    total = order["totalPrice"]
    assert Decimal(found["check"].shown) == Decimal(total["centAmount"]).scaleb(-total["fractionDigits"])


def test_each_amount_of_a_line_has_its_field() -> None:
    reduced = a_line_item(
        price={"value": euros(12), "discounted": {"value": euros(10)}},
        quantity=3,
        totalPrice=euros(26),
        discountedPricePerQuantity=[
            {"quantity": 2, "discountedPrice": {"includedDiscounts": [{"discountedAmount": euros(2)}]}},
            {"quantity": 1, "discountedPrice": {"includedDiscounts": []}},
        ],
    )
    rows = explanation_of(an_order(lineItems=[a_line_item(), reduced])).sold.sums

    assert [(one.name.strip(), one.shown, one.how, one.field) for one in rows[:5]] == [
        ("Becher", "20.00", "10.00 x 2", "lineItems[0].price.value x quantity"),
        ("of the line", "20.00", "as commercetools has it", "lineItems[0].totalPrice"),
        ("Becher", "30.00", "10.00 x 3", "lineItems[1].price.discounted.value x quantity"),
        ("discounted", "-4.00", "2 x 2.00 + 1 x 0.00", "lineItems[1].discountedPricePerQuantity"),
        ("of the line", "26.00", "as commercetools has it", "lineItems[1].totalPrice"),
    ]


def test_gifts_fees_and_money_back_are_told_apart() -> None:
    gift = a_line_item(id="gift", name={"en": "Gift"}, quantity=1, lineItemMode="GiftLineItem", totalPrice=euros(0))
    fee = {"id": "c1", "name": {"en": "Fee"}, "money": euros(2), "quantity": 1, "totalPrice": euros(2)}
    back = {"id": "c2", "name": {"en": "Back"}, "money": euros(-3), "quantity": 1, "totalPrice": euros(-3)}

    found = sums(explanation_of(an_order(lineItems=[gift], customLineItems=[fee, back])))

    assert (found["Gift"].shown, found["Gift"].how) == ("0.00", "a gift: 0 x 1")
    assert (found["Fee"].shown, found["Fee"].field) == ("2.00", "customLineItems[0].money x quantity")
    assert (found["Back"].shown, found["Back"].field) == ("-3.00", "customLineItems[1].totalPrice")
    assert found["negative custom line items"].shown == "3.00"


def test_shipping_shows_its_list_price_its_discount_and_what_is_left_without_tax() -> None:
    found = sums(explanation_of(sample("tcpl-order-with-shipping-discount.json")))

    assert found["shipping, list price"].field == "shippingInfo.price"
    assert found["with its discount"].field == "shippingInfo.discountedPrice.value"
    assert found["without tax"].field == "shippingInfo.taxedPrice.totalNet"
    assert found["shipping"].field == "taxedShippingPrice.totalNet"


def test_several_ways_of_shipping_have_their_own_fields() -> None:
    rows = explanation_of(sample("tcpl-order-with-multiple-shipping-methods.json")).sold.sums

    fields = [one.field for one in rows if one.name == "shipping, list price"]
    assert fields == ["shipping[0].shippingInfo.price", "shipping[1].shippingInfo.price"]


def test_the_share_of_shipping_in_a_discount_on_the_total_is_worked_out_before_the_eyes() -> None:
    order = an_order(taxedShippingPrice=None, discountOnTotalPrice={"discountedAmount": euros(5)})

    shipping = sums(explanation_of(order))["shipping"]

    assert shipping.shown == "4.08"
    assert shipping.how == "4.90 x 24.90 / (24.90 + 5.00): its share of the discount on the total"


def test_an_unknown_tax_is_not_called_zero() -> None:
    found = sums(explanation_of(an_order(taxedPrice=None)))

    assert (found["tax"].shown, found["tax"].document["amount"]) == ("·", None)
    assert found["tax"].how == "not known, so not sent"
    assert found["total"].field == "totalPrice"


def test_a_total_that_does_not_follow_from_its_lines_is_said_to_differ() -> None:
    assert sums(explanation_of(an_order(totalPrice=euros(20))))["check"].how.endswith(", 4.90 more than totalPrice")


def test_amounts_of_currencies_with_other_digits_are_written_so() -> None:
    def yen(amount: int) -> Document:
        return {"type": "centPrecision", "currencyCode": "JPY", "centAmount": amount, "fractionDigits": 0}

    line = a_line_item(price={"value": yen(500)}, totalPrice=yen(1000))
    order = an_order(
        totalPrice=yen(1000), lineItems=[line], taxedPrice=None, taxedShippingPrice=None, shippingInfo=None
    )

    assert sums(explanation_of(order))["total"].shown == "1000"


def test_an_event_that_was_shortened_is_said_to_be() -> None:
    lines = [a_line_item(id=f"line-{number}", productId=f"product-{number}") for number in range(500)]

    explanation = explanation_of(an_order(lineItems=lines))

    assert any(" of 500 products: with all it would be larger than" in note for note in explanation.notes)


# Who


def test_the_ids_have_the_fields_that_they_come_from() -> None:
    assert who(explanation_of(an_order()))["userId"][1] == "customerId"
    by_address = who(explanation_of(an_order(), SEGMENT_USER_ID="email"))
    assert by_address["userId"] == ("mira.example@example.com", "customerEmail")
    assert by_address["anonymousId"] == (None, "not needed: the userId says who")
    assert by_address["context.traits.email"][0] == "Mira.Example@example.com"


def test_a_guest_is_told_by_an_anonymous_id() -> None:
    guest = who(explanation_of(an_order(customerId=None, anonymousId="visit-1")))
    unknown = who(explanation_of(an_order(customerId=None)))

    assert guest["userId"] == (None, "customerId: absent, a guest")
    assert guest["anonymousId"] == ("visit-1", "anonymousId")
    assert unknown["anonymousId"][0] == f"commercetools-order-{ORDER_ID}"


def test_where_the_customer_decides_who_it_is_read_needs_to_be_and_the_sums_are_shown_all_the_same() -> None:
    explanation = explanation_of(an_order(), SEGMENT_USER_ID="key")

    assert explanation.ending is None
    assert "the service reads the customer from commercetools now" in explanation.reason
    assert who(explanation)["customerId"][1] == "the customer decides, and was not read"
    assert sums(explanation)["total"].shown == "24.90"


# With --read


@pytest.fixture
def commercetools() -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn(Shop(), orders=True) as stand_in:
        yield stand_in


def explain_by_reading(commercetools: CommercetoolsStandIn, given: object, **more: str) -> Ended:
    settings = {**settings_for(), **commercetools.settings, "ORDERS": "on", **more}
    return run("explain", "--read", "--json", given=json.dumps(given), settings=settings)


def test_read_reads_the_order_of_a_message_as_it_is_now(commercetools: CommercetoolsStandIn) -> None:
    order = commercetools.shop.sales.place()
    about = {"typeId": "order", "id": order["id"]}

    ended = explain_by_reading(commercetools, an_order_message(projectKey="demo-shop", resource=about))

    assert ended.code == Exit.DONE
    assert [event["event"] for event in ended.document["events"]] == ["Order Completed"]
    [total] = [one for one in ended.document["sums"] if one["name"] == "total"]
    assert total["amount"] == ended.document["event"]["properties"]["total"]


@pytest.mark.parametrize("is_message", [True, False], ids=["its Message", "the payment"])
def test_read_finds_the_order_of_a_refund(commercetools: CommercetoolsStandIn, *, is_message: bool) -> None:
    sales = commercetools.shop.sales
    payment = sales.pay(Decimal(50), "EUR")
    ours = ("totalPrice", "taxedPrice", "taxedShippingPrice", "shippingInfo", "lineItems", "customLineItems")
    order = sales.place(
        **{name: an_order()[name] for name in ours},
        paymentInfo={"payments": [{"typeId": "payment", "id": payment["id"]}]},
    )
    transaction = sales.refund(payment["id"], Decimal("0.01"), "Success")
    about = {"typeId": "payment", "id": payment["id"]}
    message = a_payment_message(projectKey="demo-shop", resource=about, resourceVersion=1, transactionId=transaction)

    ended = explain_by_reading(commercetools, message if is_message else payment)

    assert ended.code == Exit.DONE
    [event] = ended.document["events"]
    assert (event["event"], event["properties"]["order_id"]) == ("Order Refunded", order["id"])
    refund = ended.document["sums"][-1]
    assert (refund["name"], refund["amount"]) == ("total of the refund", 0.01)
    assert refund["how"] == "a part of the order, whose total is 24.90: without products"


def test_read_reads_the_customer_where_that_decides_who_bought(commercetools: CommercetoolsStandIn) -> None:
    customer = commercetools.shop.create(key="customer-of-the-order")
    order = commercetools.shop.sales.place(customerId=customer["id"])

    ended = explain_by_reading(commercetools, order, SEGMENT_USER_ID="key")

    assert ended.document["event"]["userId"] == "customer-of-the-order"
    assert ended.document["who"][0]["why"] == "the customer's key"
    assert ended.document["traits"] == []
