"""check: what is right, what is wrong and what to do, and what it cannot tell."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from google.pubsub_v1 import types
from rich.console import Console

from playground.commercetools import CommercetoolsStandIn
from playground.commercetools_types import a_field, a_type, simple
from playground.pubsub import PubSubEmulator
from playground.segment import SegmentStandIn
from playground.shop import Shop
from playground.stand_in import FOREIGN, RESET_AFTER_READ, Answer, Call, StandIn, answer
from playground.world import emulated
from service.operations import Exit, Output, check, command_settings
from service.operations.subscription import PUBLISHER
from service.transformation.facts import ORDER_MESSAGES, PAYMENT_MESSAGES
from service.transformation.rules import identify_rules_by
from tests.operations.commands import Ended, run, settings_for
from tests.operations.google_stand_in import GoogleStandIn
from tests.playground.pubsub_services import clients_of
from tests.test_config import GOOD

PROJECT = "projects/example-project"
TOPIC = f"{PROJECT}/topics/customers"
PUSH = f"{PROJECT}/subscriptions/customers-to-segment"
DEAD = f"{PROJECT}/topics/dead-letters"
AGENT = "serviceAccount:service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com"
AUDIENCE = "https://service.example.com"
ACCOUNT = "push@example-project.iam.gserviceaccount.com"


HEALTHY = Answer(200, b'{"status": "ok"}')  # the service's own answer, docs/configuration.md


class CloudRun(StandIn):
    """The service's address, as it answers a request without a token."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = Answer(403, b"<html><title>403 Forbidden</title></html>", {"Content-Type": "text/html"})

    def respond(self, call: Call) -> Answer:
        return self.answer if (call.method, call.path) == ("GET", "/health") else Answer(405)


def a_push_subscription(endpoint: str, **changes: Any) -> types.Subscription:  # noqa: ANN401  # any field
    fields = {
        "name": PUSH,
        "topic": TOPIC,
        "ack_deadline_seconds": 60,
        "push_config": {
            "push_endpoint": endpoint,
            "oidc_token": {"service_account_email": ACCOUNT, "audience": AUDIENCE},
        },
        "retry_policy": {"minimum_backoff": timedelta(seconds=10), "maximum_backoff": timedelta(seconds=600)},
        "dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": 100},
    }
    return types.Subscription({name: value for name, value in {**fields, **changes}.items() if value is not None})


class World:
    """Everything that is looked at, all of it right until a test changes it."""

    def __init__(
        self, segment: SegmentStandIn, commercetools: CommercetoolsStandIn, google: GoogleStandIn, cloud_run: CloudRun
    ) -> None:
        self.segment = segment
        self.commercetools = commercetools
        self.google = google
        self.cloud_run = cloud_run
        google.topics |= {TOPIC, DEAD}
        kept = types.Subscription(name=f"{PROJECT}/subscriptions/dead-letters", topic=DEAD)
        google.subscriptions |= {PUSH: a_push_subscription(cloud_run.url), kept.name: kept}
        google.grants |= {
            TOPIC: [("roles/pubsub.publisher", PUBLISHER)],
            DEAD: [("roles/pubsub.publisher", AGENT)],
            PUSH: [("roles/pubsub.subscriber", AGENT)],
        }
        commercetools.subscriptions["1"] = {
            "id": "1",
            "version": 1,
            "key": "commercetools-segment",
            "destination": {"type": "GoogleCloudPubSub", "projectId": "example-project", "topic": "customers"},
            "changes": [{"resourceTypeId": "customer"}],
            "messages": [],
            "events": [],
            "format": {"type": "Platform"},
            "status": "Healthy",
        }

    @property
    def subscription(self) -> dict[str, Any]:
        return self.commercetools.subscriptions["1"]

    def settings(self, **more: str) -> dict[str, str]:
        ours = {
            "PUSH_AUTH": "iam",
            "PUSH_AUDIENCE": AUDIENCE,
            "PUSH_SERVICE_ACCOUNT": ACCOUNT,
            "DEAD_LETTER_TOPIC": DEAD,
            "PUBSUB_EMULATOR_HOST": self.google.host,
        }
        return settings_for(self.segment, self.commercetools, **{**ours, **more})

    def check(
        self,
        *,
        topic: str | None = None,
        subscription: str | None = None,
        send_test_event: bool = False,
        settings: Mapping[str, str] | None = None,
        **more: str,
    ) -> Ended:
        """Check as the command does, in this process: most of a command's time is its start."""
        environment = self.settings(**{**more, **(settings or {})})
        names = check.Names(topic=topic, subscription=subscription, key="commercetools-segment")
        out = StringIO()
        output = Output(Console(file=out, width=200), Console(file=out), as_json=True)
        with emulated(environment["PUBSUB_EMULATOR_HOST"]):
            code = check.run(output, environment, names, send_test_event=send_test_event)
        return Ended(code, out.getvalue(), "")


@pytest.fixture
def world() -> Iterator[World]:
    with (
        SegmentStandIn() as segment,
        CommercetoolsStandIn(Shop()) as commercetools,
        GoogleStandIn() as google,
        CloudRun() as cloud_run,
    ):
        yield World(segment, commercetools, google, cloud_run)


def lines(ended: Ended, *statuses: str) -> dict[str, str]:
    """Return what was found with these statuses: text and what to do, by what was looked at."""
    return {
        line["what"]: f"{line['text']} {line['todo'] or ''}".strip()
        for line in ended.document
        if not statuses or line["status"] in statuses
    }


def test_where_all_is_right_it_says_so_and_only_doubts_the_write_key(world: World) -> None:
    ended = run("check", "--json", settings=world.settings())

    assert ended.code == Exit.DONE
    assert lines(ended, "failed", "warning") == {}
    assert list(lines(ended, "cannot tell")) == ["Segment write key"]
    for what in (
        "settings",
        "commercetools token",
        "Segment (us)",
        "Subscription",
        "topic's grant",
        "push token",
        "public access",
    ):
        assert what in lines(ended, "ok")


def test_a_person_reads_one_line_for_each_and_no_secret(world: World) -> None:
    ended = run("check", settings=world.settings())

    assert ended.code == Exit.DONE
    assert "ok settings complete" in ended.said
    assert "ok Subscription commercetools-segment: Healthy" in ended.said
    for secret in (world.segment.write_key, world.commercetools.client_secret):
        assert secret not in ended.said


def test_a_test_event_is_sent_only_when_asked_for_and_is_marked(world: World) -> None:
    world.check()
    assert world.segment.received == []

    ended = world.check(send_test_event=True)

    (event,) = world.segment.events
    assert event["userId"] == "commercetools-segment-check"
    assert event["traits"]["commercetoolsSegmentCheck"] in lines(ended)["Segment test event"]


def test_settings_that_will_not_do_are_named_and_the_rest_is_still_looked_at(world: World) -> None:
    ended = world.check(PUSH_AUTH="perhaps")

    assert ended.code == Exit.ATTENTION
    assert lines(ended, "failed")["settings"].startswith("PUSH_AUTH must be one of iam, oidc, none.")
    assert "topic" in lines(ended, "ok")


@pytest.mark.parametrize(
    ("settings", "what", "status"),
    [
        pytest.param({"PUSH_AUTH": "none"}, "PUSH_AUTH", "warning", id="nobody checks pushes"),
        pytest.param({"DEAD_LETTER_TOPIC": ""}, "DEAD_LETTER_TOPIC", "cannot tell", id="no dead letters here"),
        pytest.param(
            {"ERASURE": "requested", "SEGMENT_USER_ID": "email", "SEGMENT_PUBLIC_API_TOKEN": "x"},
            "ERASURE",
            "warning",
            id="erasure by an address that nobody tells",
        ),
        pytest.param(
            {"ERASURE": "every", "SEGMENT_USER_ID": "email", "SEGMENT_PUBLIC_API_TOKEN": "x"},
            "ERASURE",
            "warning",
            id="erasure by an address that may have been another",
        ),
        pytest.param({"CTP_CLIENT_SECRET": "wrong"}, "commercetools token", "failed", id="a wrong secret"),
        pytest.param({"SEGMENT_HOST": "http://127.0.0.1:9"}, "Segment (us)", "failed", id="nobody at Segment's host"),
        pytest.param({"PUSH_AUDIENCE": "https://other.example.com"}, "push token", "failed", id="another audience"),
        pytest.param({"PUSH_SERVICE_ACCOUNT": "other@example.com"}, "push token", "failed", id="another account"),
        pytest.param(
            {"DEAD_LETTER_TOPIC": f"{PROJECT}/topics/others"}, "dead letters", "warning", id="two dead-letter topics"
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_found(world: World, settings: dict[str, str], what: str, status: str) -> None:
    assert what in lines(world.check(settings=settings), status)


def test_without_an_api_client_it_warns_of_stale_data(world: World) -> None:
    settings = {name: value for name, value in world.settings().items() if not name.startswith("CTP_")}
    ended = run("check", "--json", "--topic", TOPIC, settings=settings)

    assert ended.code == Exit.DONE
    assert "may be stale" in lines(ended, "warning")["CTP_ settings"]
    assert "push subscription" in lines(ended, "ok")
    assert "ERASURE" not in lines(ended)


def test_without_an_api_client_it_warns_that_nothing_is_asked_before_an_erasure(world: World) -> None:
    settings = {name: value for name, value in world.settings().items() if not name.startswith("CTP_")}
    erasing = {"ERASURE": "every", "SEGMENT_USER_ID": "id", "SEGMENT_PUBLIC_API_TOKEN": "x"}

    ended = run("check", "--json", "--topic", TOPIC, settings=settings | erasing)

    assert "a notification alone erases" in lines(ended, "warning")["ERASURE"]


@pytest.mark.parametrize(
    ("changes", "what", "status"),
    [
        pytest.param({"ack_deadline_seconds": 10}, "push ack deadline", "failed", id="pushes given up too early"),
        pytest.param({"ack_deadline_seconds": 40}, "push ack deadline", "warning", id="a short ack deadline"),
        pytest.param({"retry_policy": None}, "push retry policy", "warning", id="no retry policy"),
        pytest.param({"dead_letter_policy": None}, "dead letters", "warning", id="no dead-letter policy"),
        pytest.param(
            {"dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": 5}},
            "dead letters",
            "warning",
            id="few attempts",
        ),
        pytest.param({"push_config": {"push_endpoint": "http://127.0.0.1:9"}}, "push token", "failed", id="no token"),
        pytest.param({"push_config": None}, "push subscription", "failed", id="nobody pushes"),
        pytest.param({"topic": DEAD}, "push subscription", "failed", id="another topic"),
        pytest.param({"expiration_policy": {"ttl": timedelta(days=31)}}, "push expiration", "warning", id="it expires"),
    ],
)
def test_a_push_subscription_that_will_not_do_is_found(
    world: World, changes: Mapping[str, Any], what: str, status: str
) -> None:
    world.google.subscriptions[PUSH] = a_push_subscription(world.cloud_run.url, **changes)

    assert what in lines(world.check(subscription=PUSH), status)


@pytest.mark.parametrize("resource", [TOPIC, DEAD, PUSH])
def test_a_missing_grant_is_found_and_named(world: World, resource: str) -> None:
    world.google.grants[resource] = [("roles/viewer", AGENT)]

    ended = world.check()

    (text,) = lines(ended, "warning").values()
    assert resource in text
    assert "roles/pubsub." in text


def test_what_it_may_not_look_at_it_cannot_tell(world: World) -> None:
    world.google.forbidden |= {TOPIC, PUSH, DEAD, f"policy of {TOPIC}"}

    ended = world.check(subscription=PUSH, CTP_SCOPES="view_customers:demo-shop")

    assert ended.code == Exit.DONE
    assert lines(ended, "failed") == {}
    for what in ("push subscription", "dead-letter subscription", "Subscription"):
        assert what in lines(ended, "cannot tell")


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        pytest.param("topic", "topic", id="no topic"),
        pytest.param("push", "push subscription", id="no push subscription"),
        pytest.param("dead topic", "dead-letter topic", id="no dead-letter topic"),
        pytest.param("dead subscription", "dead-letter subscription", id="nothing keeps dead letters"),
    ],
)
def test_what_is_not_there_is_a_failure(world: World, gone: str, what: str) -> None:
    match gone:
        case "topic":
            world.google.topics.remove(TOPIC)
        case "push":
            del world.google.subscriptions[PUSH]
        case "dead topic":
            world.google.topics.remove(DEAD)
        case _:
            del world.google.subscriptions[f"{PROJECT}/subscriptions/dead-letters"]

    ended = world.check(subscription=PUSH)

    assert ended.code == Exit.ATTENTION
    assert what in lines(ended, "failed")


@pytest.mark.parametrize(
    ("health", "status", "todo"),
    [
        ("TemporaryError", "warning", "commercetools retries"),
        ("ConfigurationError", "failed", "roles/pubsub.publisher"),
        ("ConfigurationErrorDeliveryStopped", "failed", "does not resume by itself"),
        ("ManuallySuspended", "failed", "support"),
        ("SomethingNew", "warning", "documentation"),
    ],
)
def test_the_subscriptions_health_is_shown_with_what_to_do(world: World, health: str, status: str, todo: str) -> None:
    world.subscription["status"] = health

    ended = world.check()

    assert todo in lines(ended, status)["Subscription"]


def test_a_subscription_that_lacks_what_the_configuration_needs_is_found(world: World) -> None:
    world.subscription["changes"] = []

    assert "changes: · instead of customer" in lines(world.check(), "warning")["Subscription's contents"]


def test_without_a_subscription_it_says_how_to_make_one(world: World) -> None:
    world.commercetools.subscriptions.clear()

    ended = world.check()

    assert ended.code == Exit.ATTENTION
    assert "commercetools-segment subscribe" in lines(ended, "failed")["Subscription"]
    assert "topic" in lines(ended, "cannot tell")


def test_an_api_client_that_may_not_read_customers_is_found(world: World) -> None:
    ended = world.check(CTP_SCOPES="manage_subscriptions:demo-shop")

    assert "view_customers" in lines(ended, "failed")["commercetools customers"]


@pytest.mark.parametrize("fault", [FOREIGN, answer(403)])
def test_what_is_not_segment_is_not_taken_for_it(world: World, fault: Any) -> None:  # noqa: ANN401  # any fault
    world.segment.fail(fault)

    assert "Segment (us)" in lines(world.check(), "failed")


def test_an_emulator_knows_no_grants_and_everything_else(world: World) -> None:
    with PubSubEmulator() as emulator, clients_of(emulator) as pubsub:
        topic, dead = pubsub.topic(), pubsub.topic()
        kept = pubsub.subscription(dead)
        pubsub.subscription(topic, world.cloud_run.url, dead_letter_policy={"dead_letter_topic": dead})
        ended = world.check(topic=topic, PUBSUB_EMULATOR_HOST=emulator.host, DEAD_LETTER_TOPIC=dead)

    assert "has no grants" in lines(ended, "cannot tell")["topic's grant"]
    assert lines(ended, "ok")["dead-letter subscription"] == kept
    assert "push token" in lines(ended, "failed")


def test_no_answer_at_googles_address_is_no_failure_of_ours(world: World) -> None:
    ended = world.check(PUBSUB_EMULATOR_HOST="127.0.0.1:9")

    assert ended.code == Exit.DONE
    assert "was not reached" in lines(ended, "cannot tell")["topic"]


def test_a_name_that_is_none_is_refused() -> None:
    ended = run("check", "--topic", "customers")

    assert ended.code == Exit.UNUSABLE


@pytest.mark.parametrize(
    ("push_auth", "status", "said"),
    [
        pytest.param("iam", "failed", "allUsers", id="iam, which leaves the check to Cloud Run"),
        pytest.param("none", "warning", "whoever finds it can push", id="nobody checks"),
        pytest.param("oidc", "ok", "the service checks the token of a push itself", id="oidc"),
    ],
)
def test_a_service_that_answers_without_a_token_is_public(world: World, push_auth: str, status: str, said: str) -> None:
    world.cloud_run.answer = HEALTHY

    ended = world.check(PUSH_AUTH=push_auth)

    assert said in lines(ended, status)["public access"]
    (call,) = world.cloud_run.calls
    assert (call.method, call.body, "authorization" in call.headers) == ("GET", b"", False)


@pytest.mark.parametrize("code", [401, 403])
def test_a_service_that_turns_strangers_away_is_right_with_iam_and_doubtful_with_oidc(world: World, code: int) -> None:
    world.cloud_run.answer = Answer(code)

    assert "public access" in lines(world.check(PUSH_AUTH="iam"), "ok")
    assert "invoker_iam_disabled = true" in lines(world.check(PUSH_AUTH="oidc"), "warning")["public access"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(answer(404), "ingress does not let this network in", id="internal ingress"),
        pytest.param(answer(302, headers={"Location": "/login"}), "answers 302", id="a login page"),
        pytest.param(answer(503), "answers 503", id="a broken start"),
        pytest.param(FOREIGN, "answers 200", id="another server"),
        pytest.param(RESET_AFTER_READ, "was not reached", id="a reset connection"),
    ],
)
def test_what_is_not_seen_of_the_service_is_not_guessed(world: World, fault: Any, said: str) -> None:  # noqa: ANN401  # any fault
    world.cloud_run.fail(fault)

    ended = world.check()

    assert said in lines(ended, "cannot tell")["public access"]
    assert "get-iam-policy" in lines(ended)["public access"]
    assert ended.code == Exit.DONE


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9/", "http://[", "http://a..b/", "https://x" + "y" * 70, "x"])
def test_an_address_that_cannot_be_called_is_no_end_of_the_check(world: World, endpoint: str) -> None:
    world.google.subscriptions[PUSH] = a_push_subscription(endpoint)

    assert "was not reached" in lines(world.check(), "cannot tell")["public access"]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param('"x"', id="quotes"),
        pytest.param("x\u00a0x", id="a blank"),
        pytest.param("x\u200bx", id="an invisible character"),
        pytest.param("x\udcff", id="a byte that is not UTF-8"),
        pytest.param("x" * 100_000, id="far too long"),
    ],
)
def test_it_ends_with_its_lines_whatever_a_setting_holds(world: World, name: str, value: str) -> None:
    ended = world.check(settings={name: value})

    assert ended.code == Exit.ATTENTION
    assert lines(ended, "failed")["settings"].startswith(f"{name} must ")
    assert value not in ended.out


@pytest.mark.parametrize("value", ["\u2028x", "x\udcff", "a b", "../..", "%2e", "x" * 4000, "http://x", "*:*"])
@pytest.mark.parametrize(
    "name", ["SEGMENT_WRITE_KEY", "CTP_CLIENT_ID", "CTP_CLIENT_SECRET", "CTP_SCOPES", "PUSH_AUDIENCE", "SEGMENT_HOST"]
)
def test_a_value_of_any_kind_leaves_lines(world: World, name: str, value: str) -> None:
    assert lines(world.check(settings={name: value}))["settings"]


def test_certificates_that_are_not_there_leave_lines(world: World) -> None:
    settings = world.settings(SEGMENT_HOST="https://127.0.0.1:9", REQUESTS_CA_BUNDLE="/no/such/file")

    ended = run("check", "--json", settings=settings)

    assert "Segment was not reached: TLS: the file that REQUESTS_CA_BUNDLE" in lines(ended, "failed")["Segment (us)"]


@pytest.mark.parametrize("held", ["[]", "null", '{"type": "impersonated_service_account"}', None])
def test_credentials_of_any_kind_leave_lines(tmp_path: Path, world: World, held: str | None) -> None:
    file = tmp_path / "credentials.json"
    if held is None:
        file.mkdir()
    else:
        file.write_text(held)

    settings = world.settings(PUBSUB_EMULATOR_HOST="", GOOGLE_APPLICATION_CREDENTIALS=str(file))
    ended = run("check", "--json", "--topic", TOPIC, settings=settings)

    assert "no usable Google credentials" in lines(ended, "cannot tell")["Google Pub/Sub"]


@pytest.mark.parametrize("option", ["--topic", "--subscription", "--subscription-key"])
@pytest.mark.parametrize("value", ['"projects/p/topics/t"', "projects/p/topics/t\u200b", "projects/p/topics/t\udcff"])
def test_a_name_that_a_copy_has_damaged_is_refused_in_a_sentence(world: World, option: str, value: str) -> None:
    ended = run("check", option, value, settings=world.settings())

    assert ended.code == Exit.UNUSABLE
    assert re.fullmatch(r"Error: The (topic|push subscription|key) must [^\n]+\.", ended.err.splitlines()[0])
    assert "Traceback" not in ended.said


def scopes(*names: str) -> str:
    return " ".join(f"{name}:demo-shop" for name in names)


def test_scopes_that_the_api_client_does_not_have_are_explained(world: World) -> None:
    world.commercetools.scopes = frozenset(scopes("view_customers", "manage_subscriptions").split())

    ended = world.check()

    assert ended.code == Exit.ATTENTION
    said = lines(ended, "failed")["commercetools token"]
    requested, has = said.split("; it has ")
    assert "400 invalid_scope" in requested
    assert "view_customers:demo-shop, view_customer_groups:demo-shop, manage_subscriptions:demo-shop" in requested
    assert has.startswith("manage_subscriptions:demo-shop, view_customers:demo-shop ")
    assert "Create an API client with view_customers:demo-shop and view_customer_groups:demo-shop" in has


def test_the_advice_for_a_client_with_manage_project_works(world: World) -> None:
    world.commercetools.scopes = frozenset({scopes("manage_project")})

    assert "it has manage_project:demo-shop" in lines(world.check(), "failed")["commercetools token"]

    ended = world.check(CTP_SCOPES=scopes("manage_project"))

    assert "commercetools customers" in lines(ended, "ok")
    advice = lines(ended, "warning")["commercetools scopes"]
    assert "Create an API client" in advice
    assert "To change CTP_SCOPES alone does not help" in advice


def test_without_the_scope_for_groups_it_says_what_may_come_of_it(world: World) -> None:
    ended = world.check(CTP_SCOPES=scopes("view_customers", "manage_subscriptions"))

    assert "view_customer_groups:demo-shop" in lines(ended, "ok")["commercetools token"]


# Orders

WITH_ORDERS = scopes(
    *("view_customers", "view_customer_groups", "manage_subscriptions"),
    *("view_orders", "view_payments", "view_discount_codes"),
)
MESSAGES = [
    {"resourceTypeId": "order", "types": list(ORDER_MESSAGES)},
    {"resourceTypeId": "payment", "types": list(PAYMENT_MESSAGES)},
]


@pytest.fixture
def selling(world: World) -> World:
    world.commercetools.scopes = frozenset(WITH_ORDERS.split())
    world.subscription["messages"] = list(MESSAGES)
    return world


def test_where_all_is_right_for_orders_it_says_so(selling: World) -> None:
    ended = selling.check(ORDERS="on", CTP_SCOPES=WITH_ORDERS)

    assert ended.code == Exit.DONE
    assert lines(ended, "failed", "warning") == {}
    for what in ("commercetools orders", "commercetools payments"):
        assert lines(ended, "ok")[what] == "of the project demo-shop can be read; there is none yet"
    assert "Subscription's contents" in lines(ended, "ok")


@pytest.mark.parametrize(
    ("scope", "what", "status", "said"),
    [
        pytest.param("view_orders", "commercetools orders", "failed", "no event of an order", id="orders"),
        pytest.param("view_payments", "commercetools payments", "failed", "no refund can be told", id="payments"),
        pytest.param("view_discount_codes", "commercetools codes", "warning", "events have no coupon", id="codes"),
    ],
)
def test_a_scope_that_orders_need_and_the_api_client_lacks_is_named_with_what_it_is_for(
    selling: World, scope: str, what: str, status: str, said: str
) -> None:
    given = " ".join(one for one in WITH_ORDERS.split() if not one.startswith(scope))

    told = lines(selling.check(ORDERS="on", CTP_SCOPES=given), status)[what]

    assert f"{scope}:demo-shop" in told
    assert said in told
    assert "Create an API client with view_customers:demo-shop, view_orders:demo-shop, view_payments" in told


def test_without_orders_nothing_is_said_of_them(world: World) -> None:
    assert {"ORDERS", "commercetools orders", "commercetools payments"}.isdisjoint(lines(world.check()))


def test_orders_without_an_api_client_are_a_failure(world: World) -> None:
    without = {name: "" for name in world.settings() if name.startswith("CTP_")}

    ended = world.check(topic=TOPIC, settings=without, ORDERS="on")

    assert ended.code == Exit.ATTENTION
    assert "each order and payment must be read" in lines(ended, "failed")["ORDERS"]


@pytest.mark.parametrize(
    ("messages", "missing"),
    [
        pytest.param([], "order: OrderCreated, OrderCreatedFromRecurringOrder, OrderImported, ", id="none"),
        pytest.param(
            [MESSAGES[0], {"resourceTypeId": "payment", "types": ["PaymentCreated"]}],
            "payment: PaymentTransactionAdded, PaymentTransactionStateChanged commercetools-segment subscribe",
            id="two of payments",
        ),
    ],
)
def test_messages_that_the_subscription_lacks_are_named(selling: World, messages: list[Any], missing: str) -> None:
    selling.subscription["messages"] = messages

    ended = selling.check(ORDERS="on", CTP_SCOPES=WITH_ORDERS)

    assert ended.code == Exit.ATTENTION
    assert missing in lines(ended, "failed")["Subscription's Messages"]
    assert "Subscription's contents" not in lines(ended)


def test_a_subscription_to_all_messages_of_orders_lacks_none(selling: World) -> None:
    selling.subscription["messages"] = [{"resourceTypeId": "order", "types": []}, {"resourceTypeId": "payment"}]

    ended = selling.check(ORDERS="on", CTP_SCOPES=WITH_ORDERS)

    assert "Subscription's Messages" not in lines(ended)
    assert "order: all; payment: all instead of" in lines(ended, "warning")["Subscription's contents"]


def test_messages_of_orders_without_orders_are_found(selling: World) -> None:
    assert "instead of ·" in lines(selling.check(), "warning")["Subscription's contents"]


# The mapping file

WITH_TYPES = scopes("view_customers", "view_customer_groups", "manage_subscriptions", "view_types")


def a_mapping_file(folder: Path, text: str) -> str:
    path = folder / "mapping.toml"
    path.write_text(f"version = 1\n[identify.traits]\n{text}")
    return str(path)


def test_without_a_mapping_file_nothing_is_said_of_one(world: World) -> None:
    assert {"mapping", "types"}.isdisjoint(lines(world.check()))


def test_a_mapping_file_that_agrees_with_the_types_is_right(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(tmp_path, 'points = { from = "custom.points", as = "number" }')
    rules = identify_rules_by(command_settings(world.settings(MAPPING_FILE=path)))

    ended = world.check(MAPPING_FILE=path, CTP_SCOPES=WITH_TYPES)

    assert ended.code == Exit.DONE
    found = lines(ended, "ok")
    assert found["mapping"] == f"mapping.toml: {len(rules.mapping.identify.traits)} traits, rules {rules.fingerprint}"
    assert found["types"].startswith("1 custom fields are read as the shop's Types have them\nno rule reads custom.")
    assert "address.custom.floor" in found["types"]


def test_a_mapping_file_that_does_not_agree_fails_with_its_lines(world: World, tmp_path: Path) -> None:
    wrong = 'points = { from = "custom.points", as = "boolean" }\ntier = "custom.loyaltyTeir"'
    path = a_mapping_file(tmp_path, wrong)

    ended = world.check(MAPPING_FILE=path, CTP_SCOPES=WITH_TYPES)

    assert ended.code == Exit.ATTENTION
    first, second, *_ = lines(ended, "failed")["types"].splitlines()
    assert first.startswith("mapping.toml:3: identify.traits.points has as = boolean")
    assert second.startswith("mapping.toml:4: ")
    assert second.endswith("did you mean loyaltyTier?")


def test_keys_that_values_lacks_are_a_warning(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(tmp_path, 'tier = { from = "custom.loyaltyTier", values = { gold = "G" } }')

    ended = world.check(MAPPING_FILE=path, CTP_SCOPES=WITH_TYPES)

    assert ended.code == Exit.DONE
    assert 'To add: silver = "Silver", bronze = "Bronze"' in lines(ended, "warning")["types"]


def test_more_types_than_a_page_has_are_all_compared(world: World, tmp_path: Path) -> None:
    last = a_type(999, "last", ["customer"], a_field("onTheLastPage", simple("String")))
    world.commercetools.types = [*(a_type(number, f"type-{number}", []) for number in range(600)), last]
    path = a_mapping_file(tmp_path, 'a = "custom.onTheLastPage"')

    assert lines(world.check(MAPPING_FILE=path, CTP_SCOPES=WITH_TYPES), "ok")["types"].startswith("1 custom fields")


def test_many_unmapped_fields_are_counted(world: World, tmp_path: Path) -> None:
    many = [a_field(f"field{number}", simple("String")) for number in range(400)]
    world.commercetools.types = [a_type(1, "many", ["customer"], *many)]

    ended = world.check(MAPPING_FILE=a_mapping_file(tmp_path, ""), CTP_SCOPES=WITH_TYPES)

    assert lines(ended, "ok")["types"].endswith("custom.field29 and 370 more")


def test_all_mistakes_of_a_mapping_file_are_told_and_the_rest_is_looked_at(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(tmp_path, 'a = "custm.a"\nb = { from = "custom.bb", as = "numbr" }')

    ended = world.check(MAPPING_FILE=path, CTP_SCOPES=WITH_TYPES)

    assert ended.code == Exit.ATTENTION
    first, second = lines(ended, "failed")["mapping"].splitlines()
    assert first.startswith("mapping.toml:3: ")
    assert second.startswith("mapping.toml:4: ")
    assert {"commercetools customers", "topic", "settings"} <= set(lines(ended, "ok"))
    assert "types" not in lines(ended)


def test_a_mapping_file_is_looked_at_beside_settings_that_are_missing_or_unusable(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(tmp_path, 'a = "custm.a"')

    ended = world.check(MAPPING_FILE=path, settings={"SEGMENT_WRITE_KEY": "", "ORDERS": "perhaps", "CTP_SCOPES": ""})

    failed = lines(ended, "failed")
    for name in ("SEGMENT_WRITE_KEY", "ORDERS", "CTP_SCOPES"):
        assert f"{name} must be" in failed["settings"]
    assert failed["mapping"].startswith("mapping.toml:3: ")


@pytest.mark.parametrize("change", [{}, {"PUSH_AUTH": "perhaps"}], ids=str)
def test_a_mapping_file_that_cannot_be_read_is_told_in_its_own_line(world: World, change: dict[str, str]) -> None:
    ended = world.check(MAPPING_FILE="/nowhere/mapping.toml", settings=change)

    assert "MAPPING_FILE: mapping.toml does not exist." in lines(ended, "failed")["mapping"]
    assert "topic" in lines(ended, "ok")


def test_settings_that_do_not_go_with_the_mapping_file_are_told(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(
        tmp_path,
        '[consent]\nsend = ["A"]\nwithdrawn = "suppress"\n[consent.categories]\nA = "custom.consentAdvertising"',
    )

    assert "needs SEGMENT_PUBLIC_API_TOKEN" in lines(world.check(MAPPING_FILE=path), "failed")["mapping"]


def test_types_that_may_not_be_read_are_not_told(world: World, tmp_path: Path) -> None:
    path = a_mapping_file(tmp_path, "")
    ended = world.check(MAPPING_FILE=path)

    assert ended.code == Exit.DONE
    assert "view_types:demo-shop" in lines(ended, "cannot tell")["types"]

    ended = world.check(MAPPING_FILE=path, CTP_SCOPES=scopes("view_customers", "manage_types"))
    assert "commercetools token" in lines(ended, "cannot tell")["types"]

    without = {name: "" for name in world.settings() if name.startswith("CTP_")}
    ended = world.check(MAPPING_FILE=path, settings=without)
    assert "CTP_ settings" in lines(ended, "cannot tell")["types"]


@pytest.mark.parametrize("fault", [answer(503), FOREIGN], ids=["busy", "another server"])
def test_types_that_cannot_be_read_are_a_failure(world: World, tmp_path: Path, fault: Any) -> None:  # noqa: ANN401  # any fault
    world.commercetools.fail(fault, on="/demo-shop/types")

    ended = world.check(MAPPING_FILE=a_mapping_file(tmp_path, ""), CTP_SCOPES=WITH_TYPES)

    assert "commercetools" in lines(ended, "failed")["types"]


def test_addresses_as_user_ids_are_warned_of_with_the_way_to_ids(world: World) -> None:
    said = lines(world.check(SEGMENT_USER_ID="email"), "warning")["SEGMENT_USER_ID"]

    assert 'external_ids = { commercetools_id = "id" }' in said
    assert "commercetools-segment backfill" in said
    assert "SEGMENT_USER_ID" not in lines(world.check(SEGMENT_USER_ID="key"))


@pytest.mark.parametrize("topic", [TOPIC, "customers"])
def test_a_subscription_to_pubsub_is_recognised_however_its_topic_is_written(world: World, topic: str) -> None:
    world.subscription["destination"]["topic"] = topic

    ended = world.check()

    assert lines(ended, "failed", "warning") == {}
    assert TOPIC in lines(ended, "ok")["topic"]


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        pytest.param(
            {"type": "GoogleCloudPubSub", "projectId": "p", "topic": "a/b"},
            "projects/p/topics/a/b is not the name of a topic",
            id="a topic that is none",
        ),
        pytest.param({"type": "SQS", "queueUrl": "x"}, "is not a Google Pub/Sub topic", id="a queue of Amazon"),
    ],
)
def test_a_destination_without_a_topic_is_named(world: World, destination: dict[str, str], said: str) -> None:
    world.subscription["destination"] = destination

    assert said in lines(world.check(), "failed")["Subscription's topic"]
