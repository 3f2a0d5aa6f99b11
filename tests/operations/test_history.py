"""history: what happened to one resource, and a sentence with the reason why Segment has it or not."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from playground import stand_in
from playground.commercetools import CommercetoolsStandIn
from playground.shop import Shop
from service.app import create_app
from service.commercetools.customer import CUSTOMER
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.operations import Exit
from service.operations.dead_letters import DeadLetter
from service.operations.history import Answer, Known, Line, Question, Verdict, answer
from service.segment.types import SegmentIntegrationResult
from tests.builders import CUSTOMER_ID, a_message, a_push, an_integration, settings
from tests.operations.commands import Ended, run, settings_for
from tests.operations.google_stand_in import SERVICE, CloudLoggingStandIn, GoogleApis, a_refusal
from tests.operations.test_dead_letters import SET_ASIDE, Letters, our_emulator
from tests.playground.pubsub_services import Service

# The only way to look into a subscription without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ASKED = Question(CUSTOMER, CUSTOMER_ID, NOW - timedelta(days=30), "example-project")


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def a_line(
    outcome: str, reason: str = "", minutes: float = 0, *, version: int = 1, attempt: int = 1, message_id: str = "1"
) -> Line:
    return Line(at(minutes), outcome, reason, message_id, "CustomerCreated", version, attempt)


def in_commercetools(version: int = 1, minutes: float = -1) -> dict[str, Any]:
    return {
        "id": CUSTOMER_ID,
        "version": version,
        "createdAt": "2026-11-26T11:00:00.000Z",
        "lastModifiedAt": at(minutes).isoformat(),
    }


def a_letter(minutes: float = 0) -> DeadLetter:
    return DeadLetter("ack", "17", json.dumps(a_message()).encode(), SET_ASIDE, "", at(minutes))


def answered(
    lines: Sequence[Line] | None = (),
    document: dict[str, Any] | None = None,
    question: Question = ASKED,
    **more: Any,  # noqa: ANN401  # of Known
) -> Answer:
    return answer(Known(question, lines, document=document, **more))


HERE = in_commercetools()
DELIVERED = a_line("Delivered")
NO_CONSENT = "no consent for marketing"


@pytest.mark.parametrize(
    ("given", "verdict", "said"),
    [
        pytest.param(
            answered([DELIVERED], HERE),
            Verdict.DELIVERED,
            "confirmed it at 2026-11-26T12:00:00.000Z. If it is not there, look at the source's debugger",
            id="delivered",
        ),
        pytest.param(
            answered([DELIVERED, a_line("Ignored", "already delivered, in this version or a newer one", 1)]),
            Verdict.DELIVERED,
            "confirmed it at 2026-11-26T12:01",
            id="delivered before",
        ),
        pytest.param(
            answered([a_line("Delivered", version=2), a_line("Failed", "Segment answered 500", 1)]),
            Verdict.DELIVERED,
            "12:00:00",
            id="an older message fails",
        ),
        pytest.param(
            answered([DELIVERED, a_line("Failed", "Segment answered 500", 1, version=2, attempt=7)], HERE),
            Verdict.WAITING,
            "(attempt 7) failed: Segment answered 500. Pub/Sub redelivers",
            id="fails",
        ),
        pytest.param(
            answered([a_line("Ignored", "the customer has no key, which is to be the userId")], HERE),
            Verdict.IGNORED,
            "has no key, which is to be the userId. It is delivered with the first change",
            id="no user id",
        ),
        pytest.param(
            answered([DELIVERED, a_line("Ignored", NO_CONSENT, 1)], HERE),
            Verdict.IGNORED,
            "An earlier state was delivered at 2026-11-26T12:00:00.000Z.",
            id="no consent any more",
        ),
        pytest.param(
            answered([a_line("Ignored", "about an order, and ORDERS is off")]),
            Verdict.IGNORED,
            "Switch ORDERS on",
            id="orders off",
        ),
        pytest.param(
            answered([a_line("Refused", "larger than 32 KiB")], HERE),
            Verdict.DEAD_LETTER,
            "was not looked for in the dead letters",
            id="refused",
        ),
        pytest.param(
            answered([a_line("Refused", "larger than 32 KiB")], HERE, letters=[]),
            Verdict.DEAD_LETTER,
            "is not (or not any more) in the dead letters",
            id="refused and dropped",
        ),
        pytest.param(
            answered([], HERE, letters=[a_letter()]),
            Verdict.DEAD_LETTER,
            "1 message about it is in the dead letters and will not be delivered again by itself. The newest "
            "is 17: the message's data is not JSON. See: commercetools-segment explain --dead-letter 17",
            id="a dead letter",
        ),
        pytest.param(
            answered([DELIVERED], HERE, letters=[a_letter(-1)]),
            Verdict.DELIVERED,
            "confirmed",
            id="delivered after the dead letter",
        ),
        pytest.param(
            answered([DELIVERED], is_gone=True),
            Verdict.DELETED,
            "no customer with this id: it was deleted, or it is one of another project. The last line about "
            "it, at 2026-11-26T12:00:00.000Z, is: Delivered.",
            id="gone",
        ),
        pytest.param(
            answered([a_line("Ignored", "the customer was deleted (ERASURE is off)")]),
            Verdict.DELETED,
            "ERASURE is off",
            id="deleted by the log",
        ),
        pytest.param(
            answered([a_line("Delivered", "the customer is to be erased in Segment")]),
            Verdict.DELETED,
            "the customer is to be erased in Segment",
            id="erased",
        ),
        pytest.param(
            answered([], HERE, others_since=True),
            Verdict.NEVER_PUBLISHED,
            "No message about it has arrived: it changed at 2026-11-26T11:59:00.000Z, and the service has had "
            "others since",
            id="never published",
        ),
        pytest.param(
            answered([], HERE, others_since=False),
            Verdict.WAITING,
            "No message at all has arrived",
            id="nothing arrives",
        ),
        pytest.param(
            answered([DELIVERED], in_commercetools(2, 5), others_since=True),
            Verdict.NEVER_PUBLISHED,
            "it changed at 2026-11-26T12:05:00.000Z",
            id="the newest change was not published",
        ),
        pytest.param(
            answered([], in_commercetools(1, -60 * 24 * 40)),
            Verdict.UNKNOWN,
            "look further back with --since",
            id="changed before the time that was looked at",
        ),
        pytest.param(answered([]), Verdict.UNKNOWN, "as far as is known", id="nothing is known"),
        pytest.param(answered(None, HERE), Verdict.UNKNOWN, "without the log", id="no log"),
    ],
)
def test_the_answer_says_why(given: Answer, verdict: Verdict, said: str) -> None:
    assert given.verdict is verdict
    assert said in given.text


@pytest.mark.parametrize("of", [ORDER, PAYMENT], ids=["order", "payment"])
def test_each_fact_of_an_order_counts_by_itself(of: Any) -> None:  # noqa: ANN401  # a type of resource
    question = replace(ASKED, of=of)
    ignored = a_line("Ignored", "no event of an order", 2, message_id="3")

    assert answered([DELIVERED, ignored], question=question).verdict is Verdict.DELIVERED
    failed = a_line("Failed", "Segment answered 500", 1, message_id="2")
    assert answered([DELIVERED, failed, ignored], question=question).verdict is Verdict.WAITING
    assert answered([DELIVERED], letters=[a_letter(-1)], question=question).verdict is Verdict.DEAD_LETTER
    assert answered([ignored], in_commercetools(9, 60), question=question).verdict is Verdict.IGNORED


@pytest.fixture(scope="module")
def pubsub() -> Iterator[Service]:
    with our_emulator() as service:
        yield service


class World:
    """Cloud Logging, commercetools and the dead letters."""

    def __init__(self, log: CloudLoggingStandIn, commercetools: CommercetoolsStandIn, letters: Letters) -> None:
        self.log = log
        self.commercetools = commercetools
        self.letters = letters
        self.settings: dict[str, str] = {}

    def history(self, *arguments: str, **settings: str) -> Ended:
        return run("history", *arguments, "--project", self.log.project, settings=self.settings | settings)


@pytest.fixture
def world(pubsub: Service, tmp_path: Path) -> Iterator[World]:
    with CloudLoggingStandIn() as log, CommercetoolsStandIn(Shop()) as commercetools:
        made = World(log, commercetools, Letters(pubsub))
        made.settings = settings_for(
            None,
            commercetools,
            PUBSUB_EMULATOR_HOST=pubsub.host,
            DEAD_LETTER_SUBSCRIPTION=made.letters.subscription,
            **log.settings(tmp_path),
        )
        yield made


def a_logged(outcome: str, resource_id: str, **more: object) -> dict[str, object]:
    return {
        "message": outcome,
        "message_id": "1",
        "notification_type": "CustomerCreated",
        "resource_type": "customer",
        "resource_id": resource_id,
        "version": 1.0,
        "delivery_attempt": 1.0,
    } | more


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat(timespec="microseconds").replace("+00:00", "123Z")


def test_a_timeline_is_put_together_from_all_pages_and_sources_without_personal_data(world: World) -> None:
    customer = world.commercetools.shop.create(email="canary@example.com", firstName="Canary")
    id_ = customer["id"]
    for attempt in range(1, 6):
        failed = a_logged("Failed: Segment answered 500", id_, delivery_attempt=float(attempt), severity="ERROR")
        world.log.log(failed, ago(hours=7 - attempt))
    world.log.log(a_logged("Delivered", id_, delivery_attempt=6.0), ago(hours=1))
    world.log.log(a_logged("Delivered", "another"), ago(hours=1))
    world.log.log(a_logged("Delivered", id_), ago(hours=1), service="another")
    world.log.log(a_logged("Failed: too old", id_), ago(days=31))
    letter = world.letters.put(json.dumps(a_message(resource={"typeId": "customer", "id": id_})).encode(), **SET_ASIDE)
    world.letters.put(json.dumps(a_message()).encode(), **SET_ASIDE)
    world.log.empty_pages = 2

    ended = world.history(id_)
    as_json = world.history(id_, "--json")
    whole = world.history(id_, "--show-data")

    assert (ended.code, ended.err) == (Exit.ATTENTION, "")
    rows = [row.split() for row in ended.out.splitlines()]
    assert [row[1:5] for row in rows if "Failed" in row] == [["1", "CustomerCreated", "1", "1-5"]]
    assert "Dead letter the message's data is not JSON" in ended.said
    assert f"explain --dead-letter {letter}" in ended.said
    assert "too old" not in ended.said
    assert "anary" not in ended.out + as_json.out
    assert "canary@example.com" in whole.out
    document = as_json.document
    assert document["verdict"] == "dead letter"
    assert [line["attempt"] for line in document["timeline"]] == [1, 2, 3, 4, 5, 6]
    assert [each["message_id"] for each in document["dead_letters"]] == [letter]
    assert document["commercetools"] == {
        "exists": True,
        **{name: customer[name] for name in ("version", "createdAt", "lastModifiedAt")},
    }
    assert len(world.letters.waiting()) == 2


def test_it_reads_the_lines_that_the_service_writes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    integration = an_integration(lambda _events, _deadline: SegmentIntegrationResult())
    service = create_app(settings(), integration).test_client()
    service.post("/", data=a_push(a_message(), deliveryAttempt=2))
    for line in capsys.readouterr().out.splitlines():
        world.log.log(json.loads(line), ago(minutes=1))

    ended = world.history(CUSTOMER_ID, "--json", "--since", "2h")

    assert [{name: value for name, value in line.items() if name != "time"} for line in ended.document["timeline"]] == [
        {
            "message_id": "2070443601311540",
            "kind": "CustomerCreated",
            "version": 1,
            "attempt": 2,
            "outcome": "Delivered",
            "reason": None,
        }
    ]


def test_it_looks_whether_the_service_has_had_anything_since_the_change(world: World) -> None:
    id_ = world.commercetools.shop.create(email="ann@example.com")["id"]

    silent = world.history(id_, "--json")
    world.log.log(a_logged("Ignored: about another resource", "another"), ago(minutes=-1))
    busy = world.history(id_, "--json")

    assert (silent.code, silent.document["verdict"]) == (Exit.ATTENTION, "waiting")
    assert (busy.code, busy.document["verdict"]) == (Exit.ATTENTION, "never published")
    assert f"""backfill --where='id="{id_}"'""" in busy.document["answer"]


def test_one_that_is_gone_is_an_answer(world: World) -> None:
    ended = world.history(CUSTOMER_ID, "--json")

    assert (ended.code, ended.document["verdict"]) == (Exit.DONE, "deleted")
    assert ended.document["commercetools"] == {"exists": False}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (stand_in.answer(403), "The log of example-project was not read: not allowed; it takes roles/logging.viewer"),
        (stand_in.answer(429), "60 times a minute"),
        (stand_in.answer(503), "Cloud Logging answered 503"),
        (stand_in.FOREIGN, "what answered 200 is not Cloud Logging"),
        (stand_in.CLOSE_AFTER_READ, ": the connection was closed"),
        (
            a_refusal(reason="SERVICE_DISABLED", metadata={"service": "logging.googleapis.com"}),
            "gcloud services enable logging.googleapis.com",
        ),
        (
            a_refusal(reason="USER_PROJECT_DENIED"),
            "roles/serviceusage.serviceUsageConsumer",
        ),
    ],
)
def test_a_log_that_cannot_be_read_is_named_and_the_rest_is_shown(
    world: World, fault: stand_in.Fault, said: str
) -> None:
    id_ = world.commercetools.shop.create(email="ann@example.com")["id"]
    world.log.fail(fault, on="/v2/")

    ended = world.history(id_)

    assert ended.code == Exit.STOPPED
    assert said in ended.err
    assert "canary" not in ended.said
    assert "in commercetools" in ended.out
    assert "That cannot be told without the log." in ended.out


def test_each_source_that_is_not_there_is_named(world: World) -> None:
    world.log.log(a_logged("Delivered", CUSTOMER_ID), ago(minutes=1))

    neither = run(
        *("history", CUSTOMER_ID, "--project", world.log.project),
        settings={name: world.settings[name] for name in world.settings if name.startswith(("GOOGLE", "CLOUDSDK"))}
        | {"SEGMENT_USER_ID": "id"},
    )
    no_credentials = world.history(CUSTOMER_ID, GOOGLE_APPLICATION_CREDENTIALS="/nowhere")
    no_scope = world.history(CUSTOMER_ID, CTP_SCOPES="view_orders:" + world.settings["CTP_PROJECT_KEY"])
    nowhere = world.history(CUSTOMER_ID, DEAD_LETTER_SUBSCRIPTION="projects/demo/subscriptions/nowhere")

    assert neither.code == Exit.DONE
    assert "commercetools was not asked" in neither.err
    assert "The dead letters were not looked at" in neither.err
    assert no_credentials.code == no_scope.code == nowhere.code == Exit.STOPPED
    assert "Run: gcloud auth application-default login" in no_credentials.err
    assert "view_customers" in no_scope.err
    assert "there is no such thing in Pub/Sub" in nowhere.err


def test_only_the_newest_lines_are_read_up_to_the_limit(world: World) -> None:
    for number in range(5):
        world.log.log(a_logged("Delivered", CUSTOMER_ID, message_id=str(number)), ago(minutes=10 - number))

    ended = world.history(CUSTOMER_ID, "--limit", "3", "--json")

    assert [line["message_id"] for line in ended.document["timeline"]] == ["2", "3", "4"]
    assert "Only the newest 3 lines were read" in ended.err


def test_the_project_is_that_of_the_dead_letters_if_it_is_not_named(world: World) -> None:
    ended = run("history", CUSTOMER_ID, settings=world.settings | {"GOOGLE_CLOUD_PROJECT": "example-project"})
    other = run("history", CUSTOMER_ID, settings={"SEGMENT_USER_ID": "id"})

    project = world.letters.subscription.split("/")[1]
    assert f"The log of {project} was not read" in ended.err
    assert other.code == Exit.UNUSABLE
    assert "--project must name" in other.err


@pytest.fixture
def google(world: World, tmp_path: Path) -> Iterator[GoogleApis]:
    """Return a project with the service "staging", whose settings are the world's; the shell has none of them."""
    with GoogleApis() as google:
        google.service = SERVICE.replace("commercetools-segment", "staging")
        google.environment = {name: value for name, value in world.settings.items() if name.startswith("CTP_")}
        google.environment |= {"MAPPING_FILE": "/app/mapping.toml", "DEAD_LETTER_TOPIC": world.letters.dead}
        google.keep("CTP_CLIENT_SECRET", "commercetools-client-secret", google.environment.pop("CTP_CLIENT_SECRET"))
        google.keep("SEGMENT_WRITE_KEY", "segment-write-key", "canary")
        kept = ("PUBSUB_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING")
        world.settings = {**google.shell(tmp_path), **{name: world.settings[name] for name in kept}}
        yield google


def test_the_log_the_dead_letters_and_the_shop_are_those_of_the_service_that_is_named(
    world: World, google: GoogleApis
) -> None:
    id_ = world.commercetools.shop.create(email="ann@example.com")["id"]
    world.log.log(a_logged("Delivered", id_, message_id="7"), ago(minutes=1), service="staging")
    world.log.log(a_logged("Delivered", id_, message_id="8"), ago(minutes=1))
    letter = world.letters.put(json.dumps(a_message(resource={"typeId": "order", "id": id_})).encode(), **SET_ASIDE)

    customer = run("history", id_, "--service", "staging", "--json", settings=world.settings)
    order = run("history", id_, "--service", "staging", "--type", "order", "--json", settings=world.settings)

    assert customer.code == Exit.DONE, customer.said
    assert [line["message_id"] for line in customer.document["timeline"]] == ["7"]
    assert customer.document["commercetools"]["exists"]
    assert [each["message_id"] for each in order.document["dead_letters"]] == [letter]
    assert not [call for call in google.calls if "segment-write-key" in call.path]


def test_a_secret_that_may_not_be_read_keeps_nothing_else_from_being_shown(world: World, google: GoogleApis) -> None:
    world.log.log(a_logged("Delivered", CUSTOMER_ID), ago(minutes=1), service="staging")
    google.forbidden.add("/v1/projects/example-project/secrets/commercetools-client-secret/versions/1:access")

    ended = run("history", CUSTOMER_ID, "--service", "staging", settings=world.settings)

    assert ended.code == Exit.STOPPED
    assert "CTP_CLIENT_SECRET cannot be read." in ended.err
    assert "Segment confirmed it" in ended.out


def test_a_file_has_the_settings_and_names_the_project_by_its_dead_letters(world: World, tmp_path: Path) -> None:
    file = tmp_path / ".env.operator"
    of_the_service = [f"{name}={value}\n" for name, value in world.settings.items() if name.startswith("CTP_")]
    file.write_text(
        "".join([*of_the_service, "DEAD_LETTER_SUBSCRIPTION=projects/example-project/subscriptions/none\n"])
    )
    shell = {name: value for name, value in world.settings.items() if not name.startswith(("CTP_", "DEAD_"))}

    ended = run("history", CUSTOMER_ID, "--env-file", str(file), "--json", settings=shell)

    assert ended.document["verdict"] == "deleted"
    assert ended.document["timeline"] == []
    assert "projects/example-project/subscriptions/none: there is no such thing" in ended.err


def test_the_help_names_the_service_whose_lines_are_shown() -> None:
    assert "of the service that --service names, else of commercetools-segment" in run("history", "--help").said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ann@example.com"], "must be given by its id"),
        ([CUSTOMER_ID, "--since", "yesterday"], "--since must be an age"),
        ([CUSTOMER_ID, "--type", "cart"], "cart"),
    ],
)
def test_what_cannot_be_looked_for_is_said(arguments: list[str], said: str) -> None:
    ended = run("history", "--project", "p", *arguments, settings={"SEGMENT_USER_ID": "id"})

    assert ended.code == Exit.UNUSABLE
    assert said in ended.said
