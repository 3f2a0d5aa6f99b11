"""backfill orders: the history of orders as live events told it, each fact once, after a warning."""

import itertools
import json
import os
import pty
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from playground.baskets import Basket, Item
from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentStandIn
from playground.shop import Shop
from playground.stand_in import Call, answer
from service.integration import integration_by
from service.operations import Exit, command_settings
from tests.builders import a_line_item, a_push
from tests.operations.commands import Ended, run
from tests.operations.test_backfill import LONG, World

START = datetime(2024, 1, 1, tzinfo=UTC)
SINCE = ("orders", "--since", "2024-01-01")
MUG = Basket("EUR", (Item(1, Decimal(10), 2),), Decimal(0))
CONSENT = """
version = 1
[consent]
send = ["Advertising"]
[consent.categories]
Advertising = "custom.advertising"
"""


class Sold(World):
    """A shop that sells once an hour, Segment, and the backfill between them."""

    @property
    def sales(self) -> Any:  # noqa: ANN401  # of the playground
        return self.shop.sales

    def settings(self, **more: str) -> dict[str, str]:
        scopes = ("view_customers", "view_customer_groups", "view_orders", "view_payments", "view_discount_codes")
        asked = " ".join(f"{scope}:{self.shop.project_key}" for scope in scopes)
        return super().settings(**{"CTP_SCOPES": asked, "ORDERS": "on", "ORDER_IMPORTS": "all", **more})

    def send(self, *arguments: str, **settings: str) -> Ended:
        return self.run(*SINCE, "--yes", *arguments, **settings)

    def ask(self, typed: str) -> Ended:
        """Run the command at a terminal, where this is typed."""
        terminal, end = pty.openpty()
        try:
            os.write(terminal, f"{typed}\n".encode())
            return run("backfill", *SINCE, settings=self.settings(), terminal=end, cwd=self.folder)
        finally:
            os.close(terminal)
            os.close(end)

    def sold(self, **fields: object) -> str:
        order_id: str = self.sales.place(MUG, **fields)["id"]
        return order_id

    def paid(self, *refunds: int) -> dict[str, Any]:
        """Return the paymentInfo of an order whose payment has these refunds, in euros."""
        payment_id = self.sales.pay(Decimal(20), "EUR")["id"]
        for amount in refunds:
            self.sales.refund(payment_id, Decimal(amount), "Success")
        return {"payments": [{"typeId": "payment", "id": payment_id}]}

    def calls_to(self, path: str) -> list[Call]:
        return [call for call in self.commercetools.calls if call.path.endswith(f"/{path}")]

    def told(self) -> Counter[tuple[str, str]]:
        return Counter((event["event"], event["properties"]["order_id"]) for event in self.segment.events)

    def rejected(self) -> dict[str, Any]:
        return {line["id"]: line for line in map(json.loads, self.rejects.read_text().splitlines())}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Sold]:
    published: deque[bytes] = deque()
    hours = (START + timedelta(hours=number) for number in itertools.count())
    shop = Shop(publish=lambda data, _attributes: published.append(data), clock=lambda: next(hours))
    with SegmentStandIn() as segment, CommercetoolsStandIn(shop, orders=True) as commercetools:
        yield Sold(segment, commercetools, published, tmp_path)


# The same as live


def test_the_facts_the_message_ids_and_the_sums_are_those_of_live_events(world: Sold) -> None:
    live = integration_by(command_settings(world.settings()))
    world.shop.create(email="buyer@example.com")
    for _ in range(60):
        world.shop.random_sale()
        while world.published:
            live.handle(a_push(world.published.popleft()), {}, time.monotonic() + LONG)
    facts = [event for event in world.segment.events if event.get("event") not in {None, "Order Updated"}]
    told = {event["messageId"]: event for event in facts}
    world.segment.forget()

    ended = world.send()

    assert ended.code == Exit.DONE, ended.said
    history = {event["messageId"]: event for event in world.segment.events}
    states = {order["id"]: order["orderState"] for order in world.sales.orders.values()}
    opened_again = {
        name
        for name, event in told.items()
        if event["event"] == "Order Cancelled" and states[event["properties"]["order_id"]] != "Cancelled"
    }
    assert history.keys() == told.keys() - opened_again
    assert {event["event"] for event in history.values()} == {"Order Completed", "Order Cancelled", "Order Refunded"}
    for order_id, baskets in world.sales.baskets.items():
        events = [event for event in history.values() if event["properties"]["order_id"] == order_id]
        sums = {
            name: sum(Decimal(str(event["properties"]["total"])) for event in events if event["event"] == name)
            for name in ("Order Completed", "Order Refunded")
        }
        assert sums == {"Order Completed": baskets[-1][1].to_pay, "Order Refunded": world.sales.refunded(order_id)}


def of_both_orders(call: Call) -> bool:
    return len(call.json()["batch"]) > 2


def test_what_happens_while_it_runs_is_neither_lost_nor_doubled(world: Sold) -> None:
    live = integration_by(command_settings(world.settings()))
    info = world.paid(5)
    refunded, cancelled = world.sold(paymentInfo=info), world.sold()
    with (
        world.segment.hold(of_both_orders, before_effect=True) as held,
        world.begun(*SINCE, "--yes", "--lanes", "1") as process,
    ):
        assert held.wait_for(1, LONG)  # it has read both orders, and nothing has arrived
        world.sales.refund(info["payments"][0]["id"], Decimal(6), "Success")
        world.sales.change(cancelled, {"action": "changeOrderState", "orderState": "Cancelled"})
        later = world.sold(createdAt=datetime.now(UTC).isoformat())
        while world.published:
            live.handle(a_push(world.published.popleft()), {}, time.monotonic() + LONG)
        held.let_go()
        process.rest()

    assert process.returncode == Exit.DONE
    assert world.told() == Counter(
        {
            **{("Order Completed", order_id): 1 for order_id in (refunded, cancelled, later)},
            ("Order Refunded", refunded): 2,
            ("Order Cancelled", cancelled): 1,
        }
    )
    assert not any(
        "lastModifiedAt" in where for call in world.calls_to("orders") for where in call.query.get("where", [])
    )


def test_every_event_has_the_time_of_what_it_tells(world: Sold) -> None:
    info = world.paid(5)
    world.sold(paymentInfo=info)
    imported = world.sales.import_order(MUG, age=timedelta(days=900))
    cancelled = world.sold()
    change = world.sales.change(cancelled, {"action": "changeOrderState", "orderState": "Cancelled"})
    payment = world.sales.payments[info["payments"][0]["id"]]
    undated = world.sales.pay(Decimal(20), "EUR")["id"]
    world.sales.refund(undated, Decimal(1), "Success", dated=False)
    world.sold(paymentInfo={"payments": [{"typeId": "payment", "id": undated}]})

    assert world.send().code == Exit.DONE

    times = {(event["event"], moment(event["timestamp"])) for event in world.segment.events}
    assert times == {
        *(("Order Completed", moment(order["createdAt"])) for order in world.sales.orders.values() if "cart" in order),
        ("Order Completed", moment(imported["completedAt"])),
        ("Order Cancelled", moment(change["lastModifiedAt"])),
        ("Order Refunded", moment(payment["transactions"][-1]["timestamp"])),
        ("Order Refunded", moment(world.sales.payments[undated]["lastModifiedAt"])),
    }


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_interval_has_its_beginning_and_not_its_end(world: Sold) -> None:
    orders = [world.sales.place(MUG) for _ in range(4)]

    ended = world.run(
        "orders", "--since", orders[1]["createdAt"], "--until", orders[3]["createdAt"].replace("Z", "+00:00"), "--yes"
    )

    assert ended.code == Exit.DONE, ended.said
    assert world.told() == Counter({("Order Completed", order["id"]): 1 for order in orders[1:3]})
    assert all(f'createdAt < "{orders[3]["createdAt"]}"' in call.query["where"] for call in world.calls_to("orders"))


@pytest.mark.parametrize(("imports", "number"), [("none", 0), ("recent", 1), ("all", 3)])
def test_imported_orders_are_told_as_order_imports_says(world: Sold, imports: str, number: int) -> None:
    for fields in ({}, {"age": timedelta(days=2)}, {"completedAt": None}):
        world.sales.import_order(MUG, **fields, paymentInfo=world.paid(5))

    ended = world.send(ORDER_IMPORTS=imports)

    assert ended.code == Exit.DONE, ended.said
    assert (ended.document["sent"], ended.document["skipped"]) == (number, 3 - number)
    assert ended.document["events"] == ({"Order Completed": number, "Order Refunded": number} if number else {})
    assert all("the order was imported" in reason for reason in ended.document["reasons"])


def test_refunds_of_a_payment_on_two_orders_are_told_as_the_oldest_ones(world: Sold) -> None:
    shared = world.paid(5)
    oldest, other = world.sold(paymentInfo=shared), world.sold(paymentInfo=shared)

    assert world.send().code == Exit.DONE

    assert world.told() == Counter(
        {("Order Completed", oldest): 1, ("Order Refunded", oldest): 1, ("Order Completed", other): 1}
    )


def test_a_page_needs_one_query_for_its_payments_and_one_for_its_customers(world: Sold) -> None:
    buyers = [world.shop.create(key=f"buyer-{number}")["id"] for number in range(3)]
    for number in range(9):
        world.sold(customerId=buyers[number % 3], paymentInfo=world.paid())

    assert world.send("--lanes", "1", SEGMENT_USER_ID="key").code == Exit.DONE

    assert len(world.calls_to("payments")) == len(world.calls_to("customers")) == 1
    assert {event["userId"] for event in world.segment.events} == {"buyer-0", "buyer-1", "buyer-2"}


def test_a_customer_whom_the_query_does_not_show_yet_is_read_by_id(world: Sold) -> None:
    buyer, gone = (world.shop.create(key=key)["id"] for key in ("buyer", "gone"))
    world.sold(customerId=buyer)
    world.sold(customerId=gone, anonymousId="visitor")
    world.shop.delete(gone)
    world.commercetools.hide_from_query([buyer])

    ended = world.send(SEGMENT_USER_ID="key")

    assert ended.code == Exit.DONE
    assert {(event.get("userId"), event.get("anonymousId")) for event in world.segment.events} == {
        ("buyer", None),
        (None, "visitor"),
    }
    (remark,) = ended.document["remarks"]
    assert remark.startswith("told as a guest's")


def test_without_consent_nothing_of_an_order_is_told(world: Sold) -> None:
    (world.folder / "shop.toml").write_text(CONSENT)
    yes, no = (
        world.shop.create(custom={"type": {"typeId": "type", "id": "a-type"}, "fields": {"advertising": consents}})[
            "id"
        ]
        for consents in (True, False)
    )
    wanted = world.sold(customerId=yes, paymentInfo=world.paid(5))
    world.sold(customerId=no, paymentInfo=world.paid(5))

    ended = world.send(MAPPING_FILE="shop.toml")

    assert ended.code == Exit.DONE
    assert world.told() == Counter({("Order Completed", wanted): 1, ("Order Refunded", wanted): 1})
    assert ended.document["reasons"] == {"no consent for Advertising": 1}


# The question


@pytest.mark.parametrize(
    ("typed", "code", "sent"), [("n", Exit.ATTENTION, 0), ("y", Exit.DONE, 2), ("\x04", Exit.INTERRUPTED, 0)]
)
def test_it_warns_and_asks_before_anything_is_sent(world: Sold, typed: str, code: Exit, sent: int) -> None:
    world.sold()
    world.sold()

    ended = world.ask(typed)

    assert ended.code == code, ended.said
    assert "the history of about 2 orders, created from 2024-01-01T00:00:00.000Z on and before 20" in ended.said
    for words in ("Segment forgets a messageId after about a day", "older than 72 hours", "Braze's Track Purchase"):
        assert words in ended.said
    assert ended.said.count("Send it? [y/N]") == 1
    assert len(world.segment.events) == sent
    assert sorted(path.name for path in world.folder.iterdir()) == []


def test_with_yes_it_warns_and_does_not_ask(world: Sold) -> None:
    world.sold()

    ended = world.send()

    assert ended.code == Exit.DONE
    assert "the history of about 1 orders" in ended.said
    assert "Send it?" not in ended.said


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        pytest.param(["--since", "2024-01-01"], {}, "add --yes to send it, or --dry-run", id="no terminal"),
        pytest.param(["--yes"], {}, "--since must be given for orders", id="no beginning"),
        pytest.param(["--since", "2024-02-01", "--until", "2024-02-01", "--yes"], {}, "before --until", id="empty"),
        pytest.param(["--since", "2999-01-01", "--yes"], {}, "before --until", id="in the future"),
        pytest.param(["--since", "2024-02-01", "--until", "soon", "--yes"], {}, "--until must be a date", id="no date"),
        pytest.param(["--since", "2024-01-01", "--yes"], {"ORDERS": "off"}, "set ORDERS=on", id="off"),
        pytest.param(["--since", "2024-01-01", "--yes"], {"CTP_API_URL": ""}, "CTP_API_URL must be set", id="unread"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    world: Sold, arguments: list[str], settings: dict[str, str], named: str
) -> None:
    world.sold()

    ended = world.run("orders", *arguments, **settings)

    assert ended.code == Exit.UNUSABLE
    assert named in ended.said
    assert world.segment.call_count == 0


def test_customers_are_sent_without_a_name_or_by_theirs_and_have_no_end(world: Sold) -> None:
    world.shop.create()

    assert [world.run(*named).document["sent"] for named in ([], ["customers"])] == [1, 1]
    ended = world.run("customers", "--until", "2024-01-01")

    assert ended.code == Exit.UNUSABLE
    assert "--until is for facts such as orders" in ended.said


# The report


def test_the_report_counts_orders_and_their_events(world: Sold) -> None:
    world.sold(paymentInfo=world.paid(5, 6))
    world.sold(orderState="Cancelled")

    counted = world.run(*SINCE, "--dry-run")
    shown = run("backfill", *SINCE, "--yes", settings=world.settings(), cwd=world.folder)
    world.segment.forget()
    ended = world.send()

    events = {"Order Completed": 2, "Order Cancelled": 1, "Order Refunded": 2}
    assert counted.code == ended.code == shown.code == Exit.DONE
    assert (counted.document["to_send"], counted.document["events"], counted.document["traits"]) == (2, events, {})
    assert (ended.document["read"], ended.document["sent"], ended.document["events"]) == (2, 2, events)
    assert "Order Refunded 2" in shown.said
    assert "orders a second" in shown.said
    assert "customer" not in shown.said


def test_a_dry_run_asks_nothing_and_needs_no_write_key(world: Sold) -> None:
    world.sold()

    ended = world.run(*SINCE, "--dry-run", SEGMENT_WRITE_KEY="")

    assert (ended.code, ended.document["to_send"]) == (Exit.DONE, 1)
    assert "history" not in ended.said
    assert world.segment.call_count == 0


def test_what_cannot_be_told_of_an_order_is_a_reject_and_the_rest_is_told(world: Sold) -> None:
    info = world.paid()
    bad, good, half = world.sold(totalPrice=None), world.sold(), world.sold(paymentInfo=info)
    without_amount = {"id": "a-refund", "type": "Refund", "state": "Success"}
    world.sales.payments[info["payments"][0]["id"]]["transactions"].append(without_amount)

    ended = world.send("--rejects-with-data")

    assert ended.code == Exit.ATTENTION
    assert (ended.document["read"], ended.document["sent"], ended.document["rejected"]) == (3, 1, 2)
    assert world.told() == Counter({("Order Completed", good): 1, ("Order Completed", half): 1})
    rejects = world.rejected()
    assert rejects[bad]["reason"].startswith("the order is not valid: totalPrice")
    assert rejects[half]["reason"].startswith("a refund of the payment is not valid: amount")
    assert rejects[bad]["order"]["id"] == bad


# What happens on the way


def large(world: Sold, number: int) -> None:
    """Sell orders of which twenty fill a batch."""
    for _ in range(number):
        world.sold(lineItems=[a_line_item(name={"en": "Mug " * 6_000})], paymentInfo=world.paid(5))


def test_a_kill_and_a_second_run_lose_nothing_and_double_nothing(world: Sold) -> None:
    large(world, 50)
    with world.segment.hold(after=1) as held, world.begun(*SINCE, "--yes", "--lanes", "1") as process:
        assert held.wait_for(1, LONG)  # its first call is in the checkpoint
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "belongs to a backfill of orders" in world.run().said, "it is no checkpoint for customers"
    assert "another --since" in world.run("orders", "--since", "2024-01-02", "--yes").said

    ended = world.send()

    assert ended.code == Exit.DONE, ended.said
    assert "orders are done." in ended.err
    assert (ended.document["read"], ended.document["events"]) == (50, {"Order Completed": 50, "Order Refunded": 50})
    assert world.told() == Counter(
        (event, order_id) for order_id in world.sales.orders for event in ("Order Completed", "Order Refunded")
    )
    assert world.repeated() <= 1
    pages = [call.query["where"] for call in world.calls_to("orders") if call.query.get("sort") == ["id asc"]]
    ends = {where for page in pages for where in page if where.startswith("createdAt <")}
    assert len(ends) == 1, "the second run's interval ends where the first one's did"
    assert not world.checkpoint.exists()


def test_again_tells_everything_once_more(world: Sold) -> None:
    world.sold(paymentInfo=world.paid(5))

    assert [world.send(*more).code for more in ([], [], ["--again"])] == [Exit.DONE] * 3

    assert (world.segment.accepted, world.segment.duplicates) == (4, 2)


def test_the_rate_holds_for_what_is_read_besides_too(world: Sold) -> None:
    for _ in range(3):
        world.sold(paymentInfo=world.paid(5))

    assert world.send("--rate", "20", "--lanes", "1").code == Exit.DONE

    reads = [call.at for call in world.commercetools.calls if not call.path.endswith("/token")]
    assert len(reads) == 1 + 1 + 1 + 3, "the number, a page, its payments, and the orders of each refunded one"
    assert reads[-1] - reads[0] >= 0.05 * (len(reads) - 1) - 0.04  # a call may arrive a little later than it was made


def test_a_page_that_is_too_large_is_asked_again_for_fewer_orders(world: Sold) -> None:
    for _ in range(3):
        world.sold()
    too_large = answer(400, body=json.dumps({"errors": [{"code": "ContentTooLarge"}]}).encode())
    world.commercetools.fail_next(too_large, times=3, on=f"/{world.shop.project_key}/orders")

    ended = world.run(*SINCE, "--dry-run", "--lanes", "1")

    assert (ended.code, ended.document["to_send"]) == (Exit.DONE, 3)
    limits = [int(call.query["limit"][0]) for call in world.calls_to("orders")]
    assert limits[1:4] == [10, 5, 2], "after the call that counts"
    assert max(limits) <= 20


@pytest.mark.parametrize("path", ["orders", "payments"])
def test_the_advice_names_the_scope_that_is_missing(world: Sold, path: str) -> None:
    world.sold(paymentInfo=world.paid(5))
    world.commercetools.fail(answer(403), on=f"/{world.shop.project_key}/{path}")

    ended = world.send("--lanes", "1")

    assert ended.code == Exit.STOPPED
    assert f"CTP_SCOPES must have view_{path}:PROJECT_KEY" in ended.said
