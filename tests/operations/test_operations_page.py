"""docs/operations.md works as written: its commands against the stand-ins, and what it says of the service's lines."""

import json
import os
import pty
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentStandIn
from playground.shop import Shop
from service.app import create_app
from service.operations import Exit
from service.pubsub.auth import Unauthenticated
from service.segment.types import SegmentIntegrationResult
from tests.builders import a_message, a_push, an_integration, settings
from tests.operations.commands import ROOT, Ended, run, settings_for
from tests.operations.google_stand_in import CloudLoggingStandIn
from tests.operations.test_dead_letters import GIVEN_UP, SET_ASIDE, our_emulator
from tests.playground.pubsub_services import Service

# The only way to look into a subscription without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")

PAGE = (ROOT / "docs" / "operations.md").read_text()
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
COMMANDS = [line for line in LINES if line.startswith("commercetools-segment ")]

OF_THE_SERVICE = " --service=commercetools-segment"  # here its settings are the shell's; test_deployed.py tries it

# What each command of the page ends with, in a shop with two dead letters: one unreadable, one that Pub/Sub gave up.
SAYS = {
    "check": (Exit.ATTENTION, "no subscription of the topic pushes"),
    "subscribe": (Exit.DONE, "commercetools-segment"),
    "dead-letters list": (Exit.DONE, "the message's data is not JSON"),
    "dead-letters show 1122": (Exit.DONE, "outcome Delivered"),
    "dead-letters show": (Exit.DONE, "source_message_id"),
    "explain --dead-letter": (Exit.DONE, "outcome Delivered"),
    "dead-letters replay --dry-run": (Exit.DONE, "would be replayed"),
    "dead-letters replay": (Exit.DONE, "dead letters replayed"),
    "dead-letters drop": (Exit.DONE, "dropped"),
    "backfill --again": (Exit.DONE, "Segment"),
    "backfill --since": (Exit.DONE, "Segment"),
    "backfill orders": (Exit.DONE, "orders"),
    "history 1111": (Exit.ATTENTION, "1 message about it is in the dead letters"),
    "history 2222": (Exit.DONE, "commercetools has no order with this id"),
}


class World:
    """A shop, its Segment and its Google project, by the names that the page exports."""

    def __init__(self, pubsub: Service, commercetools: CommercetoolsStandIn, folder: Path) -> None:
        self._pubsub = pubsub
        self._folder = folder
        self._customer = commercetools.shop.create(email="ann@example.com")
        self._environment: dict[str, str] = {}
        self._exported: dict[str, str] = {}
        for line in LINES:
            if line.startswith("export "):
                for word in shlex.split(line)[1:]:
                    name, _, value = word.partition("=")
                    if "$(" in value:
                        continue  # a secret, which is typed
                    self._exported[name] = Template(value).substitute(self._exported)
        self._dead = self._exported["DEAD_LETTER_SUBSCRIPTION"].replace("/subscriptions/", "/topics/")
        self.letters: list[str] = []

    def set_up(self, environment: dict[str, str]) -> None:
        self._environment = environment
        of_the_service = [f"{name}={value}\n" for name, value in environment.items() if name.startswith("SEGMENT_")]
        (self._folder / ".env.operator").write_text("".join(of_the_service))  # which Terraform writes
        for topic in (self._dead, self._exported["PUBSUB_TOPIC"]):
            self._pubsub.publisher.create_topic(name=topic)
        self._pubsub.subscriber.create_subscription(name=self._exported["DEAD_LETTER_SUBSCRIPTION"], topic=self._dead)

    def put(self) -> None:
        about = {"resource": {"typeId": "customer", "id": self._customer["id"]}, "projectKey": "demo-shop"}
        readable = json.dumps(a_message(**about)).encode()
        self.letters = [
            self._pubsub.publish(self._dead, readable, **GIVEN_UP),
            self._pubsub.publish(self._dead, b"{not JSON", **SET_ASIDE),
        ]

    def empty(self) -> None:
        """Take away the letters that are left."""
        subscription, subscriber = self._exported["DEAD_LETTER_SUBSCRIPTION"], self._pubsub.subscriber
        left = subscriber.pull(subscription=subscription, max_messages=100, return_immediately=True, timeout=30)
        ack_ids = [each.ack_id for each in left.received_messages]
        if ack_ids:
            subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids)

    def run(self, line: str, given: bytes = b"") -> Ended:
        """Run what is typed, by somebody who answers yes to each question."""
        typed = Template(line.removeprefix("commercetools-segment ")).substitute(self._exported)
        typed = typed.replace(OF_THE_SERVICE, "")
        for old, new in zip(("11223344556677", "11223344556688"), self.letters, strict=False):
            typed = typed.replace(old, new)
        typed = typed.replace("11111111-2222-4333-8444-555555555555", self._customer["id"])
        environment = self._environment | self._exported
        if given:
            return run(*shlex.split(typed), settings=environment, given=given, cwd=self._folder)
        terminal, end = pty.openpty()
        try:
            os.write(terminal, b"y\n")
            return run(*shlex.split(typed), settings=environment, terminal=end, cwd=self._folder)
        finally:
            os.close(terminal)
            os.close(end)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shop")
    with (
        our_emulator() as pubsub,
        SegmentStandIn() as segment,
        CommercetoolsStandIn(Shop(), orders=True) as commercetools,
        CloudLoggingStandIn("my-shop-segment") as log,
    ):
        environment = settings_for(
            segment,
            commercetools,
            PUBSUB_EMULATOR_HOST=pubsub.host,
            PUSH_AUTH="iam",
            ORDERS="on",
            CTP_SCOPES=" ".join(commercetools.scopes),
            **log.settings(folder),
        )
        made = World(pubsub, commercetools, folder)
        made.set_up(environment)
        yield made


@pytest.mark.lengthy
def test_every_command_of_the_page_that_is_ours_does_what_the_page_says(world: World) -> None:
    assert len(COMMANDS) > len(SAYS)
    for line in COMMANDS:
        world.put()
        first, _, second = line.partition(" | ")

        ended = world.run(first)
        if second:
            ended = world.run(second, ended.out.encode())

        typed = first.replace(OF_THE_SERVICE, "").removeprefix("commercetools-segment ")
        said = [says for beginning, says in SAYS.items() if typed.startswith(beginning)]
        assert said, line
        assert ended.code == said[0][0], f"{line}\n{ended.said}"
        assert said[0][1] in ended.said, f"{line}\n{ended.said}"
        world.empty()


class _Refusing:
    """The one way in which nobody is let in."""

    def __call__(self, _authorization: str | None) -> None:
        raise Unauthenticated("the request has no token")


NAMED = {
    "`message_id`, `delivery_attempt`": {"message_id", "delivery_attempt"},
    "`notification_type`, `resource_type`, `resource_id`, `version`": {
        *("notification_type", "resource_type", "resource_id", "version"),
    },
}


def fields_of(beginning: str) -> set[str]:
    """Return the fields that the page's table gives to the lines that its row names."""
    _, table = PAGE.split("## What a line has", 1)
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split(" |")] for line in table.splitlines() if line.startswith("|")
    ]
    [row] = [row for row in rows if beginning in row[0]]
    found = {field for name, said in zip(head, row, strict=False) if said == "yes" for field in NAMED[name]}
    return found | set(re.findall(r"`(\w+)`", row[-1]))


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (a_push(a_message()), "`Delivered`"),
        (a_push({"notificationType": "Message"}), "a message whose data"),
        (a_push(b"not JSON"), "a message whose data"),
        (b"not JSON", "a push whose body"),
    ],
    ids=["delivered", "no notification", "no JSON", "no push"],
)
def test_a_line_has_the_fields_that_the_page_says(body: bytes, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    integration = an_integration(lambda _events, _deadline: SegmentIntegrationResult())
    service = create_app(settings(), integration).test_client()
    capsys.readouterr()

    service.post("/", data=body)

    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert line.keys() - {"severity", "message"} == fields_of(row)


def test_a_line_about_one_who_was_turned_away_has_the_fields_that_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    integration = an_integration(lambda _events, _deadline: SegmentIntegrationResult())
    service = create_app(settings(), integration, _Refusing()).test_client()
    [started] = map(json.loads, capsys.readouterr().out.splitlines())

    service.post("/", data=a_push(a_message()))

    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["message"].startswith("Turned away: ")
    assert line.keys() - {"severity", "message"} == fields_of("`Turned away") == set()
    assert started.keys() - {"severity", "message"} == fields_of("`Started")


def test_a_line_about_a_bug_names_its_place_and_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_events: object, _deadline: float) -> SegmentIntegrationResult:
        raise LookupError("canary")

    service = create_app(settings(), an_integration(broken)).test_client()
    capsys.readouterr()

    service.post("/", data=a_push(a_message()))

    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert line.keys() - {"severity", "message"} == fields_of("`Failed: unforeseen`") == {"exception"}
