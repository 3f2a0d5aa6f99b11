"""One message, one outcome: what is sent, and the outcome of each message."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.shop import Shop
from service.commercetools.customer import Customer, read_customer
from service.commercetools.notification import Notification
from service.commercetools.resource import CannotRead
from service.config import CommercetoolsSettings, Erasure, SegmentSettings, UserIdField, settings_from
from service.integration import Integration, integration_by
from service.outcome import Ending, Outcome
from service.pubsub.dead_letter import NotSetAside
from service.pubsub.envelope import PushMessage
from service.segment import NotDelivered, SegmentError, SegmentIntegrationResult
from service.serving.decoding import Malformed
from service.transformation import IdentifyRules
from tests.builders import (
    CUSTOMER_ID,
    PROJECT,
    SUBSCRIPTION,
    a_change,
    a_cloud_event,
    a_customer,
    a_message,
    a_push,
    an_integration,
)
from tests.builders import settings as some_settings
from tests.callers import Caller, Gate
from tests.fakes import RecordingClient, recording_send

NO_END = float("inf")
ALREADY = "already delivered, in this version or a newer one"
MISSING_SETTINGS = (
    "the notification brings no customer, and the settings to read one are missing: "
    "CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_AUTH_URL, CTP_API_URL, CTP_SCOPES"
)

Document = dict[str, Any]


@dataclass
class World:
    """What is around an integration: each records what it is asked, and does as the test says.

    `customer` is commercetools' JSON of the one there is, None once there is none, or an exception to be raised.
    """

    customer: Document | Exception | None = field(default_factory=a_customer)
    segment: RecordingClient = field(default_factory=RecordingClient)
    erasing: SegmentError | None = None
    setting_aside: Exception | None = None
    reads: list[Notification] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    letters: list[tuple[PushMessage, str]] = field(default_factory=list)

    def customer_now(self, notification: Notification, _deadline: float) -> Customer | None:
        self.reads.append(notification)
        if isinstance(self.customer, Exception):
            raise self.customer
        return None if self.customer is None else read_customer(self.customer)

    def erase(self, user_id: str, _deadline: float) -> SegmentIntegrationResult:
        self.erased.append(user_id)
        return SegmentIntegrationResult(self.erasing)

    def set_aside(self, message: PushMessage, reason: str, _deadline: float) -> None:
        if self.setting_aside is not None:
            raise self.setting_aside
        self.letters.append((message, reason))

    def reading(self, **how: Any) -> Integration:  # noqa: ANN401  # the fields of an Integration
        """Return an integration that has credentials to read customers."""
        return self.without_reading(customer_now=self.customer_now, **how)

    def without_reading(self, user_id: UserIdField = UserIdField.ID, **how: Any) -> Integration:  # noqa: ANN401  # as above
        erasing = {"erasure": how.pop("erasure", Erasure.OFF), "erase": how.pop("erase", self.erase)}
        rules = IdentifyRules(user_id=user_id)
        defaults = {"rules": rules, "erasing": erasing, "project_key": PROJECT}
        return an_integration(recording_send(self.segment), **{**defaults, **how})

    @property
    def sent_versions(self) -> list[str]:
        """Return the first name in each identify: what tells versions apart here."""
        return [payload["traits"]["firstName"] for payload in self.segment.sent]


@pytest.fixture
def world() -> World:
    return World()


def handle(integration: Integration, notification: Mapping[str, Any] | bytes, deadline: float = NO_END) -> Outcome:
    return integration.handle(a_push(notification), {}, deadline)


def ending(outcome: Outcome) -> tuple[Ending, str]:
    return outcome.ending, outcome.reason


def at_version(version: int) -> Document:
    """Return the customer at this version, with a name that contains it."""
    return a_customer(version=version, firstName=f"version {version}")


# The main path


def test_the_customer_that_was_read_is_told_to_segment(world: World) -> None:
    outcome = handle(world.reading(), a_change())

    assert ending(outcome) == (Ending.DELIVERED, "")
    [payload] = world.segment.sent
    assert payload["user_id"] == CUSTOMER_ID
    assert payload["traits"]["firstName"] == "Mira"
    assert [(about.resource_id, about.version) for about in world.reads] == [(CUSTOMER_ID, 3)]


def test_an_outcome_tells_what_it_was_about(world: World) -> None:
    outcome = handle(world.reading(), a_change())

    assert outcome.message is not None
    assert outcome.notification is not None
    assert (outcome.message.message_id, outcome.message.subscription) == ("2070443601311540", SUBSCRIPTION)
    assert (outcome.notification.resource_id, outcome.notification.version) == (CUSTOMER_ID, 3)


def test_the_deadline_is_handed_on_to_whoever_is_called() -> None:
    deadlines = []

    def note(value: Any) -> Callable[[Any, float], Any]:  # noqa: ANN401  # whatever the called one returns
        def noted(_: object, deadline: float) -> Any:  # noqa: ANN401  # as above
            deadlines.append(deadline)
            return value

        return noted

    integration = an_integration(
        note(SegmentIntegrationResult()),
        customer_now=note(read_customer(a_customer())),
        erasing={"erasure": Erasure.EVERY, "erase": note(SegmentIntegrationResult())},
    )
    handle(integration, a_change(), deadline=4711)
    handle(integration, a_message(type="CustomerDeleted", email="mira@example.com", customer=None), deadline=4712)

    assert deadlines == [4711, 4711, 4712]


# What is a reason to look, and what is not


@pytest.mark.parametrize(
    "notification",
    [
        pytest.param(a_change(), id="ResourceUpdated"),
        pytest.param(a_change(notificationType="ResourceCreated", version=1, oldVersion=None), id="ResourceCreated"),
        pytest.param(a_change(oldVersion=None), id="ResourceUpdated without an oldVersion"),
        pytest.param(a_message(), id="CustomerCreated"),
        pytest.param(a_message(type="CustomerEmailChanged", customer=None, email="new@example.com"), id="a message"),
        pytest.param(a_message(type="CustomerGroupSet", customer=None), id="a message that sounds like a group's"),
        pytest.param(a_message(type="CustomerHologramSet", customer=None), id="a message unknown today"),
        pytest.param(a_message(type="LoyaltyTierSet", customer=None), id="a message not named after the customer"),
        pytest.param(a_message(type=None, customer=None), id="a message without a type"),
        pytest.param(
            a_message(
                customer=None, payloadNotIncluded={"reason": "Payload too large.", "payloadType": "CustomerCreated"}
            ),
            id="a payload too large",
        ),
        pytest.param(
            a_message(customer=None, type=None, payloadNotIncluded={"reason": "?", "payloadType": "CustomerCreated"}),
            id="a payload too large, its type told there alone",
        ),
        pytest.param(a_message(customer=None, resourceVersion=None), id="a message without a version"),
        pytest.param(a_change(notificationType="ResourceRevised"), id="a kind of change unknown today"),
        pytest.param(a_cloud_event(a_change()), id="a change in a CloudEvent"),
        pytest.param(a_cloud_event(a_message()), id="a message in a CloudEvent"),
    ],
)
def test_whatever_is_about_a_customer_is_a_reason_to_read_that_customer(world: World, notification: Document) -> None:
    outcome = handle(world.reading(), notification)

    assert ending(outcome) == (Ending.DELIVERED, "")
    assert [about.resource_id for about in world.reads] == [CUSTOMER_ID]
    assert [payload["user_id"] for payload in world.segment.sent] == [CUSTOMER_ID]


def about_another(type_id: str, message_type: str = "", **changes: Any) -> Document:  # noqa: ANN401  # any JSON
    changes = {"resource": {"typeId": type_id, "id": "another-id"}, **changes}
    return a_message(type=message_type, customer=None, **changes) if message_type else a_change(**changes)


@pytest.mark.parametrize("wrapped", [dict, a_cloud_event], ids=["Platform", "CloudEvent"])
@pytest.mark.parametrize(
    ("notification", "reason"),
    [
        pytest.param(
            about_another("customer-group", "CustomerGroupCustomFieldAdded", name="level", value="gold"),
            "about another resource: customer-group",
            id="a message that sounds like a customer's",
        ),
        pytest.param(
            about_another("customer-email-token", "CustomerEmailTokenCreated", value="canary-token"),
            "about another resource: customer-email-token",
            id="a secret",
        ),
        pytest.param(about_another("order"), "about an order, and ORDERS is off", id="an order"),
        pytest.param(
            about_another("order", notificationType="ResourceDeleted", dataErasure=True),
            "about an order, and ORDERS is off",
            id="a deleted order",
        ),
        pytest.param(
            about_another("order", projectKey="another"), "about an order, and ORDERS is off", id="another shop's"
        ),
        pytest.param(about_another("Mira Example"), "about another resource", id="a type that is no type"),
        pytest.param(
            about_another("subscription", notificationType="ResourceCreated", version=1),
            "the Subscription's own notification",
            id="the test notification",
        ),
    ],
)
def test_what_is_about_something_else_is_ignored(
    world: World, notification: Document, reason: str, wrapped: Callable[[Document], Document]
) -> None:
    outcome = handle(world.reading(erasure=Erasure.EVERY), wrapped(notification))

    assert ending(outcome) == (Ending.IGNORED, reason)
    assert not outcome.warn
    assert (world.reads, world.segment.calls, world.erased) == ([], [], [])


def test_an_event_is_ignored(world: World) -> None:
    event = {
        "notificationType": "Event",
        "id": "event-id",
        "resourceType": "checkout",
        "type": "CheckoutPaymentCharged",
        "data": {"projectKey": PROJECT},
        "createdAt": "2026-02-03T04:05:06.789Z",
    }

    assert ending(handle(world.reading(), event)) == (Ending.IGNORED, "an Event, which is about no customer")


@pytest.mark.parametrize(
    "notification",
    [
        pytest.param(a_change(projectKey="another-shop"), id="changed"),
        pytest.param(a_message(projectKey="another-shop"), id="created, with the customer"),
        pytest.param(
            a_change(projectKey="another-shop", notificationType="ResourceDeleted", dataErasure=True), id="deleted"
        ),
    ],
)
def test_another_projects_customer_is_refused(world: World, notification: Document) -> None:
    outcome = handle(world.reading(erasure=Erasure.EVERY), notification)

    assert ending(outcome) == (Ending.REFUSED, "about a customer of another project than CTP_PROJECT_KEY")
    assert (world.reads, world.segment.calls, world.erased) == ([], [], [])


def test_without_a_project_of_ours_anybodys_customer_is_taken(world: World) -> None:
    outcome = handle(world.without_reading(project_key=None), a_message(projectKey="another-shop"))

    assert outcome.ending is Ending.DELIVERED


# The customer as it is now, or as it was then


def test_with_credentials_the_customer_inside_the_notification_is_not_accepted(world: World) -> None:
    world.customer = at_version(5)

    assert handle(world.reading(), a_message(customer=at_version(1))).ending is Ending.DELIVERED

    assert world.sent_versions == ["version 5"]


def test_without_credentials_the_customer_inside_the_notification_is_sent(world: World) -> None:
    assert handle(world.without_reading(), a_message(customer=at_version(1))).ending is Ending.DELIVERED

    assert world.sent_versions == ["version 1"]
    assert world.reads == []


@pytest.mark.parametrize(
    "notification",
    [
        pytest.param(a_change(), id="a change"),
        pytest.param(a_message(type="CustomerFirstNameSet", customer=None), id="a message without a customer"),
        pytest.param(
            a_message(customer=None, payloadNotIncluded={"reason": "?", "payloadType": "CustomerCreated"}),
            id="a payload too large",
        ),
    ],
)
def test_without_credentials_a_notification_without_a_customer_fails_and_names_the_settings(
    world: World, notification: Document
) -> None:
    assert ending(handle(world.without_reading(), notification)) == (Ending.FAILED, MISSING_SETTINGS)

    assert world.segment.calls == []


def test_a_customer_who_is_gone_is_ignored(world: World) -> None:
    world.customer = None

    assert ending(handle(world.reading(), a_change())) == (Ending.IGNORED, "the customer has been deleted since")

    assert world.segment.calls == []


def test_a_customer_who_cannot_be_read_is_a_failure_and_read_again_next_time(world: World) -> None:
    integration = world.reading()
    world.customer = CannotRead("commercetools answered 503")
    assert ending(handle(integration, a_change())) == (Ending.FAILED, "commercetools answered 503")
    world.customer = a_customer()

    assert handle(integration, a_change()).ending is Ending.DELIVERED

    assert len(world.reads) == 2


@pytest.mark.parametrize("reads", [True, False], ids=["read", "inside"])
def test_what_is_no_customer_is_refused(world: World, reads: bool) -> None:  # noqa: FBT001  # a row
    broken = a_customer(version=1) | {"addresses": "Mira lives here"}
    world.customer = broken
    integration = world.reading() if reads else world.without_reading()

    outcome = handle(integration, a_message(customer=broken))

    assert ending(outcome) == (Ending.REFUSED, "the customer is not valid: addresses: Not a valid list")


def test_an_id_that_is_none_is_refused(world: World) -> None:
    world.customer = Malformed("the customer's id is none that commercetools gives")

    outcome = handle(world.reading(), a_change(resource={"typeId": "customer", "id": '" or id > "'}))

    assert ending(outcome) == (Ending.REFUSED, "the customer's id is none that commercetools gives")


def test_an_unforeseen_error_is_not_swallowed_and_not_remembered(world: World) -> None:
    integration = world.reading()
    world.customer = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        handle(integration, a_change())
    world.customer = a_customer()

    assert handle(integration, a_change()).ending is Ending.DELIVERED


# Who is a user


@pytest.mark.parametrize(
    ("chosen", "user_id"),
    [
        pytest.param(UserIdField.ID, CUSTOMER_ID, id="id"),
        pytest.param(UserIdField.EMAIL, "mira.example@example.com", id="email"),
        pytest.param(UserIdField.KEY, "customer-mira", id="key"),
        pytest.param(UserIdField.EXTERNAL_ID, "crm-1001", id="externalId"),
        pytest.param(UserIdField.CUSTOMER_NUMBER, "1001", id="customerNumber"),
    ],
)
def test_the_user_id_is_the_field_that_was_chosen(world: World, chosen: UserIdField, user_id: str) -> None:
    handle(world.reading(user_id=chosen), a_change())

    assert [payload["user_id"] for payload in world.segment.sent] == [user_id]


@pytest.mark.parametrize(
    "chosen", [UserIdField.EMAIL, UserIdField.KEY, UserIdField.EXTERNAL_ID, UserIdField.CUSTOMER_NUMBER]
)
def test_a_customer_who_lacks_it_is_ignored_with_a_warning_until_the_day_it_is_there(
    world: World, chosen: UserIdField
) -> None:
    integration = world.reading(user_id=chosen)
    world.customer = a_customer() | {chosen.value: " "}
    outcome = handle(integration, a_change())
    assert ending(outcome) == (Ending.IGNORED, f"the customer has no {chosen}, which is to be the userId")
    assert outcome.warn
    assert world.segment.calls == []

    world.customer = a_customer(version=4)
    assert handle(integration, a_change(version=4)).ending is Ending.DELIVERED


# What Segment says


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            NotDelivered(SegmentError("Segment answered 503")), (Ending.FAILED, "Segment answered 503"), id="failed"
        ),
        pytest.param(
            NotDelivered(SegmentError("the event is larger than Segment's 32 KiB", refused=True)),
            (Ending.REFUSED, "the event is larger than Segment's 32 KiB"),
            id="refused",
        ),
        pytest.param(RuntimeError("Mira Example"), (Ending.FAILED, "RuntimeError"), id="unforeseen"),
    ],
)
def test_what_segment_did_not_confirm_is_no_delivery_and_is_tried_again(
    world: World, error: Exception, expected: tuple[Ending, str]
) -> None:
    integration = world.reading()
    world.segment.error = error
    assert ending(handle(integration, a_change())) == expected
    world.segment.error = None

    assert handle(integration, a_change()).ending is Ending.DELIVERED


# One update, one identify


def test_of_many_notifications_of_one_version_one_is_delivered(world: World) -> None:
    integration = world.reading()
    world.customer = at_version(3)
    notifications = [a_message(type=f"Customer{n}Set", customer=None, resourceVersion=3) for n in range(9)]

    outcomes = [handle(integration, notification) for notification in [*notifications, a_change(version=3)]]

    assert ending(outcomes[0]) == (Ending.DELIVERED, "")
    assert {ending(outcome) for outcome in outcomes[1:]} == {(Ending.IGNORED, ALREADY)}
    assert (len(world.reads), world.sent_versions) == (1, ["version 3"])


def test_those_under_way_at_the_same_moment_share_one_read_and_one_identify(world: World) -> None:
    reading: Gate[str] = Gate()

    def customer_now(notification: Notification, deadline: float) -> Customer | None:
        with reading.passed_by(notification.resource_id):
            return world.customer_now(notification, deadline)

    integration = world.without_reading(customer_now=customer_now)
    callers = [Caller(partial(handle, integration, a_change())) for _ in range(10)]
    reading.let_go(1)

    endings = [ending(outcome) for outcome in (caller.end() for caller in callers) if isinstance(outcome, Outcome)]
    assert len(endings) == 10
    assert set(endings) <= {(Ending.DELIVERED, ""), (Ending.IGNORED, ALREADY)}
    assert (Ending.DELIVERED, "") in endings
    assert len(reading.visitors) == len(world.segment.sent) == 1


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_version_that_was_delivered_already_costs_no_call(world: World, version: int) -> None:
    integration = world.reading()
    world.customer = at_version(5)
    handle(integration, a_change(version=3))

    assert ending(handle(integration, a_change(version=version))) == (Ending.IGNORED, ALREADY)

    assert (len(world.reads), world.sent_versions) == (1, ["version 5"])


def test_a_newer_version_is_delivered(world: World) -> None:
    integration = world.reading()
    for version in (3, 4, 7):
        world.customer = at_version(version)
        assert handle(integration, a_change(version=version)).ending is Ending.DELIVERED

    assert world.sent_versions == ["version 3", "version 4", "version 7"]


def test_an_older_state_never_follows_a_newer_one(world: World) -> None:
    integration = world.without_reading()
    handle(integration, a_message(customer=at_version(5)))

    assert ending(handle(integration, a_message(customer=at_version(4)))) == (Ending.IGNORED, ALREADY)

    assert world.sent_versions == ["version 5"]


@pytest.mark.parametrize("shown", [4, 5])
def test_a_notification_without_a_version_is_a_reason_to_look_but_not_to_send_again(world: World, shown: int) -> None:
    integration = world.reading()
    world.customer = at_version(5)
    handle(integration, a_change(version=5))
    world.customer = at_version(shown)

    outcome = handle(integration, a_message(type="CustomerFirstNameSet", customer=None, resourceVersion=None))

    assert ending(outcome) == (Ending.IGNORED, ALREADY)
    assert (len(world.reads), world.sent_versions) == (2, ["version 5"])


def test_different_customers_do_not_stand_in_for_each_other(world: World) -> None:
    integration = world.without_reading()
    for customer_id in ("one", "two"):
        assert handle(integration, a_message(customer=a_customer(id=customer_id))).ending is Ending.DELIVERED

    assert [payload["user_id"] for payload in world.segment.sent] == ["one", "two"]


def test_one_whose_predecessor_takes_all_the_time_fails(world: World) -> None:
    reading: Gate[str] = Gate()

    def customer_now(notification: Notification, deadline: float) -> Customer | None:
        with reading.passed_by("reading"):
            return world.customer_now(notification, deadline)

    integration = world.without_reading(customer_now=customer_now)
    first = Caller(partial(handle, integration, a_change()))
    reading.wait_for(1)

    outcome = handle(integration, a_change(), deadline=time.monotonic())

    assert ending(outcome) == (Ending.FAILED, "another notification of the same customer was in flight")
    reading.let_all_go()
    assert isinstance(first.end(), Outcome)


# Erasure


def a_deletion(**changes: Any) -> Document:  # noqa: ANN401  # any JSON
    identifiers = {"key": "customer-mira", "externalId": " crm-1001", "customerNumber": "1001"}
    return a_change(
        **{
            "notificationType": "ResourceDeleted",
            "version": 7,
            "oldVersion": None,
            "resourceUserProvidedIdentifiers": identifiers,
            **changes,
        }
    )


def a_deletion_message(**changes: Any) -> Document:  # noqa: ANN401  # any JSON
    identifiers = {"key": "customer-mira", "externalId": "crm-1001", "customerNumber": "1001"}
    message = {"type": "CustomerDeleted", "customer": None, "resourceVersion": 7}
    return a_message(**{**message, "resourceUserProvidedIdentifiers": identifiers, **changes})


DELETIONS = {
    "ResourceDeleted with dataErasure": a_deletion(dataErasure=True),
    "ResourceDeleted without dataErasure": a_deletion(),
    "ResourceDeleted, dataErasure false": a_deletion(dataErasure=False),
    "ResourceDeleted with dataErasure and nothing else": a_deletion(
        dataErasure=True, resourceUserProvidedIdentifiers=None
    ),
    "CustomerDeleted with an e-mail": a_deletion_message(email=" Mira.Example@example.com"),
    "CustomerDeleted without an e-mail": a_deletion_message(),
}
REQUESTED = {"ResourceDeleted with dataErasure", "ResourceDeleted with dataErasure and nothing else"}
CARRIED = {
    UserIdField.ID: dict.fromkeys(DELETIONS, CUSTOMER_ID),
    UserIdField.EMAIL: {"CustomerDeleted with an e-mail": "mira.example@example.com"},
    UserIdField.KEY: dict.fromkeys(DELETIONS, "customer-mira"),
    UserIdField.EXTERNAL_ID: dict.fromkeys(DELETIONS, "crm-1001"),
    UserIdField.CUSTOMER_NUMBER: dict.fromkeys(DELETIONS, "1001"),
}
for identifier in (UserIdField.KEY, UserIdField.EXTERNAL_ID, UserIdField.CUSTOMER_NUMBER):
    del CARRIED[identifier]["ResourceDeleted with dataErasure and nothing else"]
"""The user id that a deletion carries, by the field that was chosen for it. What is not here is not carried."""


@pytest.mark.parametrize("chosen", UserIdField)
@pytest.mark.parametrize("deletion", DELETIONS)
@pytest.mark.parametrize(
    ("erasure", "due"),
    [
        pytest.param(Erasure.OFF, set(), id="off"),
        pytest.param(Erasure.REQUESTED, REQUESTED, id="requested"),
        pytest.param(Erasure.EVERY, set(DELETIONS), id="every"),
    ],
)
def test_a_deleted_customer_is_erased_where_that_is_due_and_no_such_request_is_acked_undone(
    world: World, erasure: Erasure, due: set[str], deletion: str, chosen: UserIdField
) -> None:
    user_id = CARRIED[chosen].get(deletion)

    outcome = handle(world.reading(user_id=chosen, erasure=erasure), DELETIONS[deletion])

    if deletion in due and not user_id and erasure is Erasure.EVERY and "CustomerDeleted" not in deletion:
        assert ending(outcome) == (Ending.IGNORED, "the CustomerDeleted message carries the userId to be erased")
        assert world.erased == []
    elif deletion not in due:
        assert ending(outcome) == (Ending.IGNORED, f"the customer was deleted (ERASURE is {erasure})")
        assert world.erased == []
    elif user_id:
        assert ending(outcome) == (Ending.DELIVERED, "the customer is to be erased in Segment")
        assert world.erased == [user_id]
    else:
        assert outcome.ending is Ending.REFUSED
        assert outcome.reason.startswith("erasure is due, but ")
        assert f"does not carry the {chosen} that is the userId" in outcome.reason
        assert "delete and suppress it there" in outcome.reason, "and the operator is told what to do"
        assert world.erased == []
    assert (world.reads, world.segment.calls) == ([], [])  # a deleted customer cannot be read


class TestErasureAsksCommercetools:
    """What is erased stays erased, so commercetools is asked first."""

    @staticmethod
    @contextmanager
    def a_world(
        user_id: str = "email", erasure: str = "every"
    ) -> Iterator[tuple[Shop, deque[bytes], Any, Integration]]:
        published: deque[bytes] = deque()
        shop = Shop(publish=lambda data, _: published.append(data))
        with (
            SegmentStandIn() as segment,
            SegmentPublicApiStandIn(segment=segment) as public_api,
            CommercetoolsStandIn(shop) as commercetools,
        ):
            environment = {
                **commercetools.settings,
                "SEGMENT_WRITE_KEY": segment.write_key,
                "SEGMENT_HOST": segment.url,
                "SEGMENT_USER_ID": user_id,
                "SEGMENT_CLEAR_TRAITS": "all",
                "SEGMENT_PUBLIC_API_TOKEN": public_api.token,
                "SEGMENT_PUBLIC_API_URL": public_api.url,
                "ERASURE": erasure,
                "PUSH_AUTH": "none",
            }
            yield shop, published, public_api, integration_by(settings_from(environment))

    def test_a_deletion_is_believed_when_commercetools_says_so(self) -> None:
        with self.a_world() as (shop, published, public_api, integration):
            customer = shop.create(email="ann@example.com")
            about = {"typeId": "customer", "id": customer["id"]}
            forged = a_deletion_message(resource=about, email=customer["email"], projectKey=shop.project_key)

            outcome = handle(integration, forged)

            assert ending(outcome) == (Ending.IGNORED, "commercetools still has the customer: nothing is erased")
            assert public_api.regulations == []
            published.clear()
            shop.change(customer["id"], {"action": "setFirstName", "firstName": "Ann"})
            assert handle(integration, published[-1]).ending is Ending.DELIVERED, "and its next change arrives"

    def test_an_id_that_a_living_customer_has_is_not_erased(self) -> None:
        with self.a_world() as (shop, published, public_api, integration):
            gone = shop.create(email="same@example.com")["id"]
            shop.delete(gone)
            [*_, deleted] = [data for data in published if b"CustomerDeleted" in data]
            shop.create(email="Same@Example.com")

            outcome = handle(integration, deleted)

            assert outcome.ending is Ending.REFUSED
            assert "a living customer has the same email" in outcome.reason
            assert "same@example.com" not in outcome.reason.lower()
            assert public_api.regulations == []

    @pytest.mark.parametrize(
        ("gones", "livings"),
        [
            pytest.param('crm "é" \\ 1', 'crm "é" \\ 1', id="quotes and letters outside ASCII"),
            pytest.param(" crm-1", " crm-1", id="blanks around both"),
            pytest.param("crm-1 ", "crm-1", id="blanks around one"),
        ],
    )
    def test_an_external_id_that_a_living_customer_has_is_not_erased(self, gones: str, livings: str) -> None:
        with self.a_world("externalId") as (shop, published, public_api, integration):
            gone = shop.create(externalId=gones)["id"]
            shop.delete(gone)
            living = shop.create(externalId=livings)["id"]

            outcomes = [handle(integration, data) for data in published if b"Deleted" in data]

            assert {outcome.ending for outcome in outcomes} == {Ending.REFUSED}
            assert public_api.regulations == []
            shop.delete(living)
            assert handle(integration, published[-1]).ending is Ending.DELIVERED

    def test_half_a_character_in_an_external_id_stops_no_erasure(self) -> None:
        with self.a_world("externalId") as (shop, _published, public_api, integration):
            identifiers = {"externalId": "crm-\ud83d"}
            gone = a_deletion(resourceUserProvidedIdentifiers=identifiers, projectKey=shop.project_key)

            assert handle(integration, gone).ending is Ending.DELIVERED

            assert [each["subjectIds"] for each in public_api.regulations] == [["crm-\ud83d"]]

    @pytest.mark.parametrize(
        ("user_id", "regulation"),
        [("email", "DELETE_ONLY"), ("customerNumber", "DELETE_ONLY"), ("id", "SUPPRESS_WITH_DELETE")],
    )
    def test_an_id_that_may_come_back_is_not_suppressed(self, user_id: str, regulation: str) -> None:
        with self.a_world(user_id) as (shop, published, public_api, integration):
            customer_id = shop.create(email="ann@example.com", customerNumber="1")["id"]
            shop.delete(customer_id)

            endings = [handle(integration, data).ending for data in published if b"Deleted" in data]

            assert Ending.REFUSED not in endings, "a ResourceDeleted that comes first makes no dead letter"
            assert [each["regulationType"] for each in public_api.regulations] == [regulation]

    def test_a_late_notification_brings_nobody_back_after_a_restart(self) -> None:
        with self.a_world() as (shop, published, _public_api, _integration):
            customer_id = shop.create(email="ann@example.com")["id"]
            created = list(published)
            shop.delete(customer_id)

            outcomes = [handle(_integration, data) for data in created]

            assert {outcome.reason for outcome in outcomes} == {"the customer has been deleted since"}


def test_a_deletion_in_a_cloud_event_is_one_too(world: World) -> None:
    outcome = handle(world.reading(erasure=Erasure.REQUESTED), a_cloud_event(a_deletion(dataErasure=True)))

    assert outcome.ending is Ending.DELIVERED
    assert world.erased == [CUSTOMER_ID]


def test_an_erasure_that_cannot_be_done_here_is_set_aside_for_the_operator(world: World) -> None:
    integration = world.reading(user_id=UserIdField.EMAIL, erasure=Erasure.REQUESTED, set_aside=world.set_aside)

    outcome = handle(integration, a_deletion(dataErasure=True))

    assert outcome.set_aside
    [(message, reason)] = world.letters
    assert reason == outcome.reason
    assert message.message_id == "2070443601311540"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            SegmentError("Segment's Public API answered 503"),
            (Ending.FAILED, "Segment's Public API answered 503"),
            id="failed",
        ),
        pytest.param(
            SegmentError("Segment's Public API answered 400", refused=True),
            (Ending.REFUSED, "Segment's Public API answered 400"),
            id="refused",
        ),
    ],
)
def test_an_erasure_that_segment_did_not_confirm_is_tried_again(
    world: World, error: SegmentError, expected: tuple[Ending, str]
) -> None:
    integration = world.reading(erasure=Erasure.EVERY)
    world.erasing = error
    assert ending(handle(integration, a_deletion())) == expected
    world.erasing = None

    assert handle(integration, a_deletion()).ending is Ending.DELIVERED

    assert world.erased == [CUSTOMER_ID] * 2


@pytest.mark.parametrize("again", DELETIONS)
def test_who_is_erased_already_is_not_erased_again(world: World, again: str) -> None:
    integration = world.reading(erasure=Erasure.EVERY)
    handle(integration, a_deletion())

    assert ending(handle(integration, DELETIONS[again])) == (Ending.IGNORED, ALREADY)

    assert world.erased == [CUSTOMER_ID]


@pytest.mark.parametrize("first", [a_deletion_message(), a_deletion()], ids=["CustomerDeleted", "ResourceDeleted"])
def test_a_request_is_fulfilled_though_a_deletion_without_one_came_first(world: World, first: Document) -> None:
    integration = world.reading(erasure=Erasure.REQUESTED)
    assert handle(integration, first).ending is Ending.IGNORED

    assert handle(integration, a_deletion(dataErasure=True)).ending is Ending.DELIVERED

    assert world.erased == [CUSTOMER_ID]


def test_a_request_that_did_not_carry_the_email_is_no_obstacle_to_the_message_that_does(world: World) -> None:
    integration = world.reading(user_id=UserIdField.EMAIL, erasure=Erasure.EVERY)
    assert handle(integration, a_deletion()).ending is Ending.IGNORED

    assert handle(integration, a_deletion_message(email="mira@example.com")).ending is Ending.DELIVERED

    assert world.erased == ["mira@example.com"]


def test_requests_at_the_same_moment_make_one_call(world: World) -> None:
    erasing: Gate[str] = Gate()

    def erase(user_id: str, deadline: float) -> SegmentIntegrationResult:
        with erasing.passed_by(user_id):
            return world.erase(user_id, deadline)

    integration = world.without_reading(erasure=Erasure.EVERY, erase=erase)
    callers = [Caller(partial(handle, integration, a_deletion())) for _ in range(10)]
    erasing.let_go(1)

    outcomes = [caller.end() for caller in callers]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert world.erased == [CUSTOMER_ID]


@pytest.mark.parametrize("erasure", Erasure)
@pytest.mark.parametrize(
    "late",
    [
        pytest.param(a_message(customer=at_version(6)), id="a message with the customer"),
        pytest.param(a_message(customer=at_version(6), resourceVersion=None), id="one without a version"),
        pytest.param(a_message(customer=at_version(6), resourceVersion=9), id="one with too high a version"),
    ],
)
def test_without_reading_a_late_notification_does_not_bring_back_who_was_deleted(
    world: World, erasure: Erasure, late: Document
) -> None:
    integration = world.without_reading(erasure=erasure)
    handle(integration, a_deletion(dataErasure=True))

    assert ending(handle(integration, late)) == (Ending.IGNORED, ALREADY)

    assert world.segment.calls == []


def test_with_reading_a_late_notification_does_not_bring_back_who_was_deleted_elsewhere(world: World) -> None:
    world.customer = None  # another process handled the deletion

    outcome = handle(world.reading(), a_message(customer=at_version(6)))

    assert ending(outcome) == (Ending.IGNORED, "the customer has been deleted since")
    assert world.segment.calls == []


def test_a_deleted_customer_whom_commercetools_still_shows_is_not_brought_back(world: World) -> None:
    integration = world.reading(erasure=Erasure.EVERY)
    handle(integration, a_deletion())
    world.customer = at_version(6)

    assert ending(handle(integration, a_change(version=6))) == (Ending.IGNORED, ALREADY)

    assert (world.reads, world.segment.calls) == ([], [])


# Dead letters


def pushes_that_nobody_can_read() -> list[Any]:
    return [
        pytest.param(b"no JSON", PushMessage(b"no JSON"), "the push body is not JSON", id="no envelope"),
        pytest.param(a_push(b"", data="%%%"), None, "the message's data is not base64", id="no base64"),
        pytest.param(a_push(b"no JSON"), b"no JSON", "the message's data is not JSON", id="no JSON inside"),
        pytest.param(a_push(b""), b"", "the message has no data", id="no data"),
        pytest.param(
            a_push({"hello": "Mira"}),
            b'{"hello": "Mira"}',
            "the notification is not valid: notificationType: Missing data for required field",
            id="no notification",
        ),
    ]


@pytest.mark.parametrize(("body", "kept", "reason"), pushes_that_nobody_can_read())
def test_what_nobody_can_read_is_set_aside_as_it_came_with_its_reason(
    world: World, body: bytes, kept: PushMessage | bytes | None, reason: str
) -> None:
    outcome = world.reading(set_aside=world.set_aside).handle(body, {}, NO_END)

    assert ending(outcome) == (Ending.REFUSED, reason)
    assert outcome.set_aside
    [(letter, told)] = world.letters
    assert told == reason
    if isinstance(kept, bytes):
        assert (letter.data, letter.message_id, letter.subscription) == (kept, "2070443601311540", SUBSCRIPTION)
    else:
        assert letter == (kept or PushMessage(body))


@pytest.mark.parametrize(("body", "_kept", "reason"), pushes_that_nobody_can_read())
def test_without_a_dead_letter_topic_it_stays_refused_and_is_not_called_safe(
    world: World, body: bytes, _kept: object, reason: str
) -> None:
    outcome = world.reading().handle(body, {}, NO_END)

    assert ending(outcome) == (Ending.REFUSED, reason)
    assert not outcome.set_aside


def test_where_the_dead_letter_topic_does_not_take_it_the_message_failed(world: World) -> None:
    world.setting_aside = NotSetAside("the dead-letter topic did not take it: ServiceUnavailable")

    outcome = handle(world.reading(set_aside=world.set_aside), b"no JSON")

    assert ending(outcome) == (
        Ending.FAILED,
        "the message's data is not JSON; the dead-letter topic did not take it: ServiceUnavailable",
    )
    assert not outcome.set_aside
    assert outcome.message is not None


def test_a_customer_whom_segment_refuses_is_set_aside(world: World) -> None:
    world.segment.error = NotDelivered(SegmentError("Segment answered 400", refused=True))

    outcome = handle(world.reading(set_aside=world.set_aside), a_change())

    assert outcome.set_aside
    assert [reason for _, reason in world.letters] == ["Segment answered 400"]


@pytest.mark.parametrize(
    ("customer", "expected"),
    [
        pytest.param(a_customer(), Ending.DELIVERED, id="delivered"),
        pytest.param(None, Ending.IGNORED, id="ignored"),
        pytest.param(CannotRead("commercetools answered 503"), Ending.FAILED, id="failed"),
    ],
)
def test_nothing_but_what_is_refused_is_set_aside(
    world: World, customer: Document | Exception | None, expected: Ending
) -> None:
    world.customer = customer

    outcome = handle(world.reading(set_aside=world.set_aside), a_change())

    assert outcome.ending is expected
    assert not outcome.set_aside
    assert world.letters == []


# Put together as the settings say


def test_the_settings_are_what_an_integration_is_made_of() -> None:
    shop = Shop(PROJECT, seed=5)
    customer = shop.create(firstName="Mira")
    with (
        CommercetoolsStandIn(shop) as commercetools,
        SegmentStandIn() as segment,
        SegmentPublicApiStandIn(segment=segment) as public_api,
    ):
        integration = integration_by(
            some_settings(
                segment=SegmentSettings(segment.write_key, host=segment.url),
                segment_user_id=UserIdField.ID,
                segment_public_api_token=public_api.token,
                segment_public_api_url=public_api.url,
                erasure=Erasure.REQUESTED,
                commercetools=CommercetoolsSettings(
                    project_key=PROJECT,
                    client_id=commercetools.client_id,
                    client_secret=commercetools.client_secret,
                    auth_url=commercetools.url,
                    api_url=commercetools.url,
                    scopes=f"view_customers:{PROJECT}",
                ),
            )
        )
        resource = {"typeId": "customer", "id": customer["id"]}
        deadline = time.monotonic() + 25

        updated = handle(integration, a_change(resource=resource, version=1), deadline)
        foreign = handle(integration, a_change(resource=resource, projectKey="another"), deadline)
        shop.delete(customer["id"])
        deleted = handle(integration, a_deletion(resource=resource, dataErasure=True), deadline)

        assert [outcome.ending for outcome in (updated, foreign, deleted)] == [
            Ending.DELIVERED,
            Ending.REFUSED,
            Ending.DELIVERED,
        ]
        [event] = segment.events
        assert (event["userId"], event["traits"]["firstName"]) == (customer["id"], "Mira")
        assert segment.suppressed == {customer["id"]}


def test_the_least_settings_make_an_integration_that_believes_the_notification() -> None:
    with SegmentStandIn() as segment:
        integration = integration_by(some_settings(segment=SegmentSettings(segment.write_key, host=segment.url)))
        deadline = time.monotonic() + 25

        assert handle(integration, a_message(), deadline).ending is Ending.DELIVERED
        assert ending(handle(integration, a_change(), deadline)) == (Ending.FAILED, MISSING_SETTINGS)
        assert handle(integration, a_deletion(dataErasure=True), deadline).ending is Ending.IGNORED
        assert handle(integration, b"no JSON", deadline).ending is Ending.REFUSED

        assert [event["userId"] for event in segment.events] == ["mira.example@example.com"]


def test_staging_and_production_do_not_share_their_message_ids() -> None:
    message_ids = []
    for write_key in ("a-key-of-staging", "a-key-of-production"):
        with SegmentStandIn(write_key) as segment:
            integration = integration_by(some_settings(segment=SegmentSettings(write_key, host=segment.url)))
            handle(integration, a_message(), time.monotonic() + 25)
            message_ids += [event["messageId"] for event in segment.events]

    assert len(set(message_ids)) == 2
    assert not any("a-key-of" in message_id for message_id in message_ids)
