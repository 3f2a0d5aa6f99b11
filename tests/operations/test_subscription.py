"""subscribe, unsubscribe: the Subscription is created, updated or deleted, or the reason is given."""

import os
import pty
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.shop import Shop
from playground.stand_in import answer
from service.operations import Exit
from tests.operations.commands import Ended, run, settings_for

TOPIC = "projects/example-project/topics/customers"
KEY = "commercetools-segment"


class Topic:
    """What the stand-in publishes its test message to: takes it, unless it lacks the grant."""

    def __init__(self) -> None:
        self.lacks_the_grant = False

    def publish(self, _data: bytes, _attributes: Mapping[str, str]) -> None:
        if self.lacks_the_grant:
            raise PermissionError


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def commercetools(topic: Topic) -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn(Shop(publish=topic.publish)) as stand_in:
        yield stand_in


def subscribe(commercetools: CommercetoolsStandIn, *arguments: str, **settings: str) -> Ended:
    given = settings_for(None, commercetools, **settings)
    return run("subscribe", "--topic", TOPIC, *arguments, settings=given)


def only(commercetools: CommercetoolsStandIn) -> dict[str, Any]:
    (subscription,) = commercetools.subscriptions.values()
    return subscription


def test_it_makes_one_for_the_changes_of_customers(commercetools: CommercetoolsStandIn) -> None:
    ended = subscribe(commercetools)

    made = only(commercetools)
    assert ended.code == Exit.DONE
    assert made["key"] == KEY
    assert made["destination"] == {"type": "GoogleCloudPubSub", "projectId": "example-project", "topic": "customers"}
    assert made["changes"] == [{"resourceTypeId": "customer"}]
    assert made["messages"] == []
    assert made["format"] == {"type": "Platform"}
    assert "was created" in ended.said
    assert "commercetools-segment backfill" in ended.said


def test_a_second_time_there_is_nothing_to_do(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    ended = subscribe(commercetools, "--json")

    assert ended.code == Exit.DONE
    assert ended.document == {"key": KEY, "existed": True, "changes": [], "lost": [], "applied": False}
    assert only(commercetools)["version"] == 1


def test_erasure_by_address_needs_the_message_that_carries_it(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    ended = subscribe(commercetools, SEGMENT_USER_ID="email", ERASURE="every", SEGMENT_PUBLIC_API_TOKEN="canary-token")

    assert ended.code == Exit.DONE
    assert only(commercetools)["messages"] == [{"resourceTypeId": "customer", "types": ["CustomerDeleted"]}]
    assert "customer: CustomerDeleted" in ended.said
    assert "canary-token" not in ended.said


OF_ORDERS = [
    {
        "resourceTypeId": "order",
        "types": [
            *("OrderCreated", "OrderCreatedFromRecurringOrder", "OrderImported", "OrderStateChanged"),
            *("OrderShipmentStateChanged", "OrderPaymentStateChanged", "OrderCustomerSet", "OrderEditApplied"),
        ],
    },
    {
        "resourceTypeId": "payment",
        "types": ["PaymentCreated", "PaymentTransactionAdded", "PaymentTransactionStateChanged"],
    },
]


def test_orders_need_messages_beside_the_changes_of_customers(commercetools: CommercetoolsStandIn) -> None:
    ended = subscribe(commercetools, ORDERS="on")

    assert ended.code == Exit.DONE
    assert only(commercetools)["messages"] == OF_ORDERS
    assert only(commercetools)["changes"] == [{"resourceTypeId": "customer"}]
    assert subscribe(commercetools, "--json", ORDERS="on").document["changes"] == []


def test_messages_of_orders_are_added_and_taken_away_and_a_dry_run_shows_them(
    commercetools: CommercetoolsStandIn,
) -> None:
    subscribe(commercetools)

    shown = subscribe(commercetools, "--dry-run", ORDERS="on")
    assert shown.code == Exit.ATTENTION
    assert "payment: PaymentCreated, PaymentTransactionAdded, PaymentTransactionStateChanged" in shown.said
    assert only(commercetools)["messages"] == []
    subscribe(commercetools, ORDERS="on")
    assert only(commercetools)["messages"] == OF_ORDERS

    subscribe(commercetools, "--yes", ORDERS="off")
    assert only(commercetools)["messages"] == []


def test_erasure_and_orders_need_messages_of_three_types(commercetools: CommercetoolsStandIn) -> None:
    erasing = {"SEGMENT_USER_ID": "email", "ERASURE": "every", "SEGMENT_PUBLIC_API_TOKEN": "canary-token"}

    subscribe(commercetools, ORDERS="on", **erasing)

    of_customers = {"resourceTypeId": "customer", "types": ["CustomerDeleted"]}
    assert only(commercetools)["messages"] == [of_customers, *OF_ORDERS]


def test_cloud_events_can_be_chosen_and_the_format_stays(commercetools: CommercetoolsStandIn) -> None:
    assert subscribe(commercetools, "--format", "cloudevents").code == Exit.DONE
    assert only(commercetools)["format"] == {"type": "CloudEvents", "cloudEventsVersion": "1.0"}
    assert subscribe(commercetools).code == Exit.DONE  # which says nothing of a format

    ended = subscribe(commercetools, "--format", "Platform")

    assert ended.code == Exit.UNUSABLE
    assert "commercetools cannot change" in ended.said


def test_dry_run_shows_the_difference_and_makes_none(commercetools: CommercetoolsStandIn) -> None:
    first = subscribe(commercetools, "--dry-run")
    assert first.code == Exit.ATTENTION
    assert commercetools.subscriptions == {}
    subscribe(commercetools)
    only(commercetools)["changes"] = [{"resourceTypeId": "order"}]

    ended = subscribe(commercetools, "--dry-run", "--json")

    assert ended.code == Exit.ATTENTION
    assert ended.document["changes"] == [{"what": "changes", "now": "order", "wanted": "customer"}]
    assert ended.document["applied"] is False
    assert only(commercetools)["changes"] == [{"resourceTypeId": "order"}]
    assert subscribe(commercetools, "--yes").code == Exit.DONE
    assert only(commercetools)["changes"] == [{"resourceTypeId": "customer"}]


@pytest.mark.parametrize("status", ["ConfigurationErrorDeliveryStopped", "ManuallySuspended"])
def test_one_whose_delivery_has_stopped_is_restarted(commercetools: CommercetoolsStandIn, status: str) -> None:
    subscribe(commercetools)
    only(commercetools)["status"] = status

    ended = subscribe(commercetools)

    assert ended.code == Exit.DONE
    assert only(commercetools)["status"] == "Healthy"
    assert "backfill" in ended.said


def test_a_topic_without_the_grant_is_explained_as_that(commercetools: CommercetoolsStandIn, topic: Topic) -> None:
    topic.lacks_the_grant = True

    ended = subscribe(commercetools)

    assert ended.code == Exit.STOPPED
    assert "lacks the publisher grant" in ended.said
    assert "gcloud pubsub topics add-iam-policy-binding customers --project=example-project" in ended.said
    assert "serviceAccount:subscriptions@commercetools-platform.iam.gserviceaccount.com" in ended.said
    assert commercetools.subscriptions == {}


def test_an_api_client_that_may_not_is_told_which_scope_it_lacks(commercetools: CommercetoolsStandIn) -> None:
    ended = subscribe(commercetools, CTP_SCOPES="view_customers:demo-shop")

    assert ended.code == Exit.STOPPED
    assert "manage_subscriptions" in ended.said


def test_a_wrong_secret_is_said_to_be_that_and_is_not_shown(commercetools: CommercetoolsStandIn) -> None:
    ended = subscribe(commercetools, CTP_CLIENT_SECRET="canary-secret")

    assert ended.code == Exit.STOPPED
    assert "token endpoint answered 401" in ended.said
    assert "CTP_CLIENT_SECRET" in ended.said
    assert "canary" not in ended.said


def test_somebody_elses_change_in_between_is_not_overwritten(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    made = only(commercetools)
    made["changes"] = [{"resourceTypeId": "order"}]
    commercetools.fail_next(answer(409), on=f"/demo-shop/subscriptions/{made['id']}")

    ended = subscribe(commercetools, "--yes")

    assert ended.code == Exit.STOPPED
    assert "Somebody else changed the Subscription" in ended.said


def test_a_failing_commercetools_leaves_a_sentence(commercetools: CommercetoolsStandIn) -> None:
    commercetools.fail(answer(502), on="/demo-shop/subscriptions")

    ended = subscribe(commercetools)

    assert ended.code == Exit.STOPPED
    assert "commercetools answered 502" in ended.said


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--topic", "customers"], id="a topic without its project"),
        pytest.param(["--key", "x"], id="a key too short"),
        pytest.param(["--format", "XML"], id="another format"),
    ],
)
def test_what_is_no_name_is_refused_before_anybody_is_asked(
    commercetools: CommercetoolsStandIn, arguments: list[str]
) -> None:
    ended = subscribe(commercetools, *arguments)

    assert ended.code == Exit.UNUSABLE
    assert ended.err.startswith("Error: ")
    assert commercetools.calls == []


def test_a_topic_written_in_full_is_not_changed(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    only(commercetools)["destination"] |= {"topic": TOPIC}

    assert subscribe(commercetools, "--json").document["changes"] == []


def test_scopes_that_the_api_client_lacks_are_said_to_be_that(commercetools: CommercetoolsStandIn) -> None:
    commercetools.scopes = frozenset({"manage_subscriptions:demo-shop"})

    ended = subscribe(commercetools)

    assert ended.code == Exit.STOPPED
    assert "400 invalid_scope. The API client does not have all scopes of CTP_SCOPES" in ended.said


@pytest.mark.parametrize("command", ["explain", "backfill", "subscribe"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("SEGMENT_WRITE_KEY", '"canary"', id="quotes"),
        pytest.param("CTP_CLIENT_SECRET", "canary\u200b", id="an invisible character"),
        pytest.param("CTP_PROJECT_KEY", "canary\udcff", id="a byte that is not UTF-8"),
        pytest.param("PUSH_SERVICE_ACCOUNT", "canary x", id="a blank"),
        pytest.param("SEGMENT_PUBLIC_API_TOKEN", "canary" * 15_000, id="far too long"),
    ],
)
def test_every_command_ends_with_a_sentence_about_a_damaged_setting(
    commercetools: CommercetoolsStandIn, command: str, name: str, value: str
) -> None:
    topic = ["--topic", TOPIC] if command == "subscribe" else []

    ended = run(command, *topic, given=b"{}", settings=settings_for(None, commercetools, **{name: value}))

    assert ended.code == Exit.UNUSABLE
    assert ended.said.startswith(f"Error: {name} must ")
    assert "canary" not in ended.said
    assert commercetools.calls == []


def unsubscribe(
    commercetools: CommercetoolsStandIn, *arguments: str, terminal: int | None = None, **more: str
) -> Ended:
    return run("unsubscribe", *arguments, settings=settings_for(None, commercetools, **more), terminal=terminal)


def test_unsubscribe_deletes_it_by_its_key_and_no_other(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    subscribe(commercetools, "--key", "of-somebody-else")

    ended = unsubscribe(commercetools, "--yes")

    assert ended.code == Exit.DONE
    assert "was deleted" in ended.said
    assert TOPIC in ended.said
    assert only(commercetools)["key"] == "of-somebody-else"


def test_unsubscribe_has_nothing_to_do_a_second_time(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    assert unsubscribe(commercetools, "--yes", "--json").document == {
        "key": KEY, "existed": True, "topic": TOPIC, "deleted": True,
    }  # fmt: skip

    ended = unsubscribe(commercetools, "--yes", "--json")

    assert ended.code == Exit.DONE
    assert ended.document == {"key": KEY, "existed": False, "topic": None, "deleted": False}


def test_unsubscribe_deletes_nothing_in_a_dry_run(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    ended = unsubscribe(commercetools, "--dry-run")

    assert ended.code == Exit.ATTENTION
    assert "would be deleted" in ended.said
    assert only(commercetools)["key"] == KEY
    assert unsubscribe(commercetools, "--dry-run", "--key", "another").code == Exit.DONE


def test_unsubscribe_does_nothing_where_nobody_can_be_asked(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    ended = unsubscribe(commercetools)

    assert ended.code == Exit.UNUSABLE
    assert "--yes" in ended.said
    assert only(commercetools)["key"] == KEY


@pytest.mark.parametrize(
    ("answered", "code", "left"), [("n", Exit.ATTENTION, 1), ("y", Exit.DONE, 0), ("\x04", Exit.INTERRUPTED, 1)]
)
def test_unsubscribe_asks_first(commercetools: CommercetoolsStandIn, answered: str, code: Exit, left: int) -> None:
    subscribe(commercetools)
    terminal, end = pty.openpty()
    try:
        os.write(terminal, f"{answered}\n".encode())

        ended = unsubscribe(commercetools, terminal=end)
    finally:
        os.close(terminal)
        os.close(end)

    assert ended.code == code
    assert "Delete it?" in ended.err
    assert len(commercetools.subscriptions) == left


def test_unsubscribe_says_that_somebody_else_changed_it_meanwhile(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    older = answer(200, body=b'{"version": 7}', headers={"Content-Type": "application/json"})
    commercetools.fail_next(older, on=f"/demo-shop/subscriptions/key={KEY}")

    ended = unsubscribe(commercetools, "--yes")

    assert ended.code == Exit.STOPPED
    assert "Somebody else changed the Subscription" in ended.said
    assert only(commercetools)["key"] == KEY


def test_unsubscribe_needs_the_scope_and_a_key(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    refused = unsubscribe(commercetools, "--yes", CTP_SCOPES="view_customers:demo-shop")
    unusable = unsubscribe(commercetools, "--yes", "--key", "x")

    assert refused.code == Exit.STOPPED
    assert "manage_subscriptions" in refused.said
    assert unusable.code == Exit.UNUSABLE
    assert only(commercetools)["key"] == KEY


# Before something is lost

ERASING = {"SEGMENT_USER_ID": "email", "ERASURE": "every", "SEGMENT_PUBLIC_API_TOKEN": "canary-token"}


def test_without_a_terminal_it_loses_no_message_unless_that_is_said(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools, ORDERS="on", **ERASING)
    before = only(commercetools)["messages"]

    ended = subscribe(commercetools, SEGMENT_USER_ID="email")

    assert ended.code == Exit.UNUSABLE
    assert "CustomerDeleted would not come any more: deleted customers would not be erased in Segment" in ended.said
    assert "Segment would not get orders any more" in ended.said
    assert "Segment would not get refunds any more" in ended.said
    assert "add --yes if that is meant" in ended.said
    assert only(commercetools)["messages"] == before
    assert subscribe(commercetools, "--yes", SEGMENT_USER_ID="email").code == Exit.DONE
    assert only(commercetools)["messages"] == []


def test_it_asks_before_the_destination_changes(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    elsewhere = ["--topic", "projects/example-project/topics/others"]

    ended = subscribe(commercetools, *elsewhere)

    assert ended.code == Exit.UNUSABLE
    assert f"It would publish to {elsewhere[1]}, and nothing more to {TOPIC}." in ended.said
    assert only(commercetools)["destination"]["topic"] == "customers"


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", Exit.DONE), (b"n\n", Exit.ATTENTION)], ids=["yes", "no"])
def test_at_a_terminal_it_asks_first_and_does_as_it_is_told(
    commercetools: CommercetoolsStandIn, typed: bytes, code: Exit
) -> None:
    subscribe(commercetools, ORDERS="on")
    ours, its = pty.openpty()
    try:
        os.write(ours, typed)
        settings = settings_for(None, commercetools, ORDERS="off")
        ended = run("subscribe", "--topic", TOPIC, settings=settings, terminal=its)
    finally:
        os.close(ours)
        os.close(its)

    assert ended.code == code
    assert "Change it?" in ended.said
    assert (only(commercetools)["messages"] == []) is (code is Exit.DONE)


def test_a_dry_run_shows_in_words_what_would_be_lost_and_asks_nothing(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools, **ERASING)

    ended = subscribe(commercetools, "--dry-run", "--json")

    assert ended.code == Exit.ATTENTION
    [lost] = ended.document["lost"]
    assert lost.startswith("customer: CustomerDeleted would not come any more: deleted customers would not be erased")


def test_messages_without_types_are_all_and_some_of_them_are_fewer(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)
    only(commercetools)["messages"] = [{"resourceTypeId": "order"}]

    ended = subscribe(commercetools, "--dry-run", "--json", ORDERS="on")

    assert ended.document["lost"] == ["order: all other Messages would not come any more."]


def test_what_is_added_is_no_loss(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    assert subscribe(commercetools, ORDERS="on", **ERASING).code == Exit.DONE
