"""--service and --env-file: a command takes the deployed service's settings, and tells what the shell has otherwise."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentStandIn
from playground.shop import Shop
from service.config import ConfigError, settings_from
from service.operations import Environment, Exit, Trouble, cause_of, command_settings, why_unreachable
from service.operations.deployed import DEFAULTS, SECRETS, SETTINGS, Whose
from tests.operations.commands import Ended, run, settings_for
from tests.operations.google_stand_in import SERVICE, GoogleApis

TOPIC = "projects/example-project/topics/customers"
NAME = "commercetools-segment"
WRITE_KEY = "/v1/projects/example-project/secrets/segment-write-key/versions/3:access"
CLIENT_SECRET = "/v1/projects/example-project/secrets/commercetools-client-secret/versions/1:access"


class World:
    """A service on Cloud Run with userId = id, its shop and its Segment; and the shell of an operator."""

    def __init__(
        self, google: GoogleApis, segment: SegmentStandIn, commercetools: CommercetoolsStandIn, folder: Path
    ) -> None:
        self.google, self.segment, self.commercetools, self.folder = google, segment, commercetools, folder
        settings = settings_for(segment, commercetools, SEGMENT_REGION="eu", PUSH_AUTH="iam")
        google.keep("SEGMENT_WRITE_KEY", "segment-write-key", settings.pop("SEGMENT_WRITE_KEY"), "3")
        google.keep("CTP_CLIENT_SECRET", "commercetools-client-secret", settings.pop("CTP_CLIENT_SECRET"))
        google.environment = settings | {"DEAD_LETTER_TOPIC": "projects/example-project/topics/dead-letters"}
        self.shell = google.shell(folder)

    def run(self, *arguments: str, **shell: str) -> Ended:
        named = [] if "--service" in arguments or "--env-file" in arguments else ["--service", NAME]
        return run(*arguments, *named, settings={**self.shell, **shell}, cwd=self.folder, given=b"{}")

    def read(self, remarks: list[str] | None = None, **shell: str) -> Environment:
        """Read the settings in this process, with the credentials of the shell."""
        told = [] if remarks is None else remarks
        return Whose(service=NAME).environment({**self.shell, **shell}, told.append, None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with GoogleApis() as google, SegmentStandIn() as segment, CommercetoolsStandIn(Shop()) as commercetools:
        made = World(google, segment, commercetools, tmp_path)
        before = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = made.shell["GOOGLE_APPLICATION_CREDENTIALS"]
        try:
            yield made
        finally:
            if before is None:
                del os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
            else:
                os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = before


class Recorded(dict[str, str]):
    """Settings that remember which names were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # dict's own
        self.asked.add(name)
        return super().get(name, default)


def test_the_settings_of_the_service_are_all_that_it_reads_and_their_defaults_are_its_own() -> None:
    values = {"SEGMENT_WRITE_KEY": "x", "PUSH_AUTH": "none"}
    with_client = dict.fromkeys([name for name in SETTINGS if name.startswith("CTP_")], "https://example.com")
    recorded = Recorded({**values, **with_client, "CTP_PROJECT_KEY": "shop"})

    settings_from(recorded)

    assert recorded.asked == set(SETTINGS)
    assert settings_from(values) == settings_from({**values, **DEFAULTS})


def test_a_backfill_sends_as_the_serving_revision_does_and_says_so_before(world: World) -> None:
    world.commercetools.shop.create()

    ended = world.run("backfill", "--settle", "0", SEGMENT_USER_ID="email", SEGMENT_REGION="us")

    assert ended.code == Exit.DONE, ended.said
    assert "userId = id, region = eu, project demo-shop, about 1 customers" in ended.said
    assert "SEGMENT_USER_ID is email in this shell, and id in the service commercetools-segment" in ended.said
    assert "SEGMENT_REGION is us in this shell" in ended.said
    [event] = world.segment.events
    assert event["userId"] == next(iter(world.commercetools.shop.customers))
    for secret in (world.segment.write_key, world.commercetools.client_secret, "example-token"):
        assert secret not in ended.said


def test_a_secret_is_read_only_by_a_command_that_needs_it(world: World) -> None:
    world.google.keep("SEGMENT_PUBLIC_API_TOKEN", "segment-public-api-token", "canary")
    world.google.environment["ERASURE"] = "every"

    ended = world.run("subscribe", "--topic", TOPIC)

    assert ended.code == Exit.DONE, ended.said
    assert [call.path for call in world.google.calls if "/secrets/" in call.path] == [CLIENT_SECRET]


def test_a_secret_that_may_not_be_read_is_told_with_the_role(world: World) -> None:
    world.google.forbidden.add(WRITE_KEY)

    ended = world.run("backfill")

    assert ended.code == Exit.STOPPED
    assert "SEGMENT_WRITE_KEY cannot be read. Google answered 403: Permission denied on the resource." in ended.said
    assert "roles/secretmanager.secretAccessor on projects/example-project/secrets/segment-write-key" in ended.said


def test_a_secret_of_the_shell_is_taken_where_the_services_may_not_be_read_and_that_is_told(world: World) -> None:
    world.google.forbidden.add(WRITE_KEY)
    told: list[str] = []

    assert world.read(told, SEGMENT_WRITE_KEY="of-the-shell")["SEGMENT_WRITE_KEY"] == "of-the-shell"
    assert "it is this shell's, which may be another" in told[0]


def test_another_secret_of_the_shell_is_told_and_the_services_counts(world: World) -> None:
    told: list[str] = []

    found = world.read(told, SEGMENT_WRITE_KEY="canary")

    assert found["SEGMENT_WRITE_KEY"] == world.segment.write_key
    assert told == ["SEGMENT_WRITE_KEY of this shell is another than the service's, which counts."]


def test_a_service_that_may_not_be_read_is_told_with_the_role(world: World) -> None:
    world.google.forbidden.add(f"/v2/{SERVICE}")

    with pytest.raises(Trouble, match=r"roles/run\.viewer"):
        world.read()


def test_a_service_that_is_not_there_ends_it_with_2(world: World) -> None:
    ended = world.run("backfill", "--service", "another")

    assert ended.code == Exit.UNUSABLE
    assert "Look at --service, --region and --project." in ended.said


def test_of_several_revisions_the_one_with_most_of_the_traffic_counts(world: World) -> None:
    world.google.traffic = [
        {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 10},
        {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": world.google.revision, "percent": 90},
    ]
    told: list[str] = []

    assert world.read(told)["SEGMENT_USER_ID"] == "id"
    assert "has 90 % of the traffic" in told[0]


def test_what_the_service_leaves_to_its_defaults_is_no_guess(world: World) -> None:
    del world.google.environment["SEGMENT_USER_ID"]

    settings = command_settings(world.read(), needs=["SEGMENT_USER_ID"], SEGMENT_WRITE_KEY="x")

    assert settings.segment_user_id == "email"


def test_an_operators_api_client_is_taken_from_the_shell_whole(world: World) -> None:
    mine = {"CTP_CLIENT_ID": "mine", "CTP_CLIENT_SECRET": "my-secret", "CTP_SCOPES": "manage_subscriptions:demo-shop"}
    told: list[str] = []

    settings = command_settings(world.read(told, **mine), unread=SECRETS, SEGMENT_WRITE_KEY="x")

    assert settings.commercetools is not None
    assert settings.commercetools.client_id == "mine"
    assert settings.commercetools.project_key == "demo-shop"
    assert told == ["The API client is this shell's (CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_SCOPES)."]
    with pytest.raises(ConfigError, match="CTP_CLIENT_SECRET and CTP_SCOPES must be set too"):
        world.read(CTP_CLIENT_ID="mine")


def test_the_services_mapping_file_is_named_by_its_copy_here(world: World, tmp_path: Path) -> None:
    world.google.environment["MAPPING_FILE"] = "/app/mapping.toml"
    copy = str(tmp_path / "mapping.toml")
    told: list[str] = []

    assert world.read(told, MAPPING_FILE=copy)["MAPPING_FILE"] == copy
    world.read(told)
    assert "is taken for the same file" in told[0]
    assert "set MAPPING_FILE to a copy of that file here" in told[1]


def test_a_mapping_file_that_the_service_lacks_is_only_tried_and_nothing_is_sent_by_it(world: World) -> None:
    shell = {**world.shell, "MAPPING_FILE": "new.toml"}
    told: list[str] = []

    assert "MAPPING_FILE" not in Whose(service=NAME).environment(shell, told.append, None)
    tried = Whose(service=NAME).environment(shell, told.append, None, tries_a_file=True)
    assert tried["MAPPING_FILE"] == "new.toml"
    assert told[0].endswith("which counts.")
    assert told[1].endswith("it is tried here.")


def test_check_judges_the_deployed_service_and_does_not_complain_of_the_shell(world: World) -> None:
    exported = {
        "CTP_PROJECT_KEY": "demo-shop",
        "CTP_CLIENT_ID": "an-operators",
        "CTP_CLIENT_SECRET": world.commercetools.client_secret,
        "CTP_SCOPES": "manage_subscriptions:demo-shop",
        "SEGMENT_REGION": "eu",
        "SEGMENT_USER_ID": "id",
    }

    ended = world.run("check", "--json", **exported)

    found = {line["what"]: (line["status"], line["text"]) for line in ended.document}
    assert found["settings"] == ("ok", f"complete, of the service {NAME}, revision {world.google.revision}")
    assert "DEAD_LETTER_TOPIC" not in found
    assert "PUSH_AUTH" not in found
    assert "view_customers:demo-shop" in found["commercetools token"][1], "the service's own client"
    assert found["Segment (eu)"][0] == "ok"


def test_check_finds_what_is_wrong_with_the_deployed_service(world: World) -> None:
    del world.google.environment["DEAD_LETTER_TOPIC"]
    world.google.environment["PUSH_AUTH"] = "none"
    world.google.forbidden.add(CLIENT_SECRET)

    ended = world.run("check", "--json", PUSH_AUTH="iam", DEAD_LETTER_TOPIC=TOPIC)

    found = {line["what"]: (line["status"], line["text"]) for line in ended.document}
    assert found["DEAD_LETTER_TOPIC"][0] == "warning"
    assert found["PUSH_AUTH"][0] == "warning"
    assert found["CTP_CLIENT_SECRET"][0] == "cannot tell"
    assert "commercetools token" not in found


def test_without_a_service_check_does_not_take_this_shell_for_it(world: World) -> None:
    ended = run("check", "--json", settings=settings_for(world.segment, world.commercetools))

    found = {line["what"]: line["status"] for line in ended.document}
    assert (found["settings"], found["DEAD_LETTER_TOPIC"]) == ("cannot tell", "cannot tell")


# A file


def a_file(world: World, **changes: str) -> Path:
    """Write a file as Terraform's output has it: the secrets have no value."""
    values = {**world.google.environment, "SEGMENT_WRITE_KEY": "", "CTP_CLIENT_SECRET": "", "PUBSUB_TOPIC": TOPIC}
    path = world.folder / ".env.operator"
    lines = ["# the service's", "", *(f"{name}={value}" for name, value in {**values, **changes}.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_gives_the_settings_and_the_shell_the_secrets(world: World) -> None:
    file = a_file(world)

    ended = world.run(
        *("subscribe", "--env-file", str(file)),
        CTP_CLIENT_SECRET=world.commercetools.client_secret,
        SEGMENT_USER_ID="email",
    )

    assert ended.code == Exit.DONE, ended.said
    assert "SEGMENT_USER_ID is email in this shell, and id in .env.operator, which counts." in ended.said
    [made] = world.commercetools.subscriptions.values()
    assert made["destination"]["topic"] == "customers"


def test_without_a_terminal_all_secrets_that_a_file_lacks_are_named_at_once(world: World) -> None:
    ended = world.run("backfill", "--env-file", str(a_file(world)))

    assert ended.code == Exit.UNUSABLE
    assert "SEGMENT_WRITE_KEY and CTP_CLIENT_SECRET must be set, and .env.operator does not have it." in ended.said
    assert world.segment.calls == []


def test_at_a_terminal_a_secret_is_asked_for_when_it_is_needed_and_only_once(world: World) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return "typed"

    found = Whose(env_file=a_file(world)).environment({}, asked.append, ask)
    assert asked == []

    for _ in range(2):
        assert command_settings(found, unread=["CTP_CLIENT_SECRET"]).segment.write_key == "typed"
    assert asked == ["SEGMENT_WRITE_KEY"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SEGMENT_USER_ID", r"\.env\.operator:1 must be NAME=value"),
        ("SEGMENT_USERID=id", r"\.env\.operator:1 has SEGMENT_USERID, which is no setting"),
    ],
)
def test_a_line_that_is_no_setting_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / ".env.operator"
    path.write_text(line)

    with pytest.raises(ConfigError, match=said):
        Whose(env_file=path).environment({}, print, None)


@pytest.mark.parametrize(
    "whose",
    [Whose(service="a", env_file=Path("b")), Whose(region="r"), Whose(env_file=Path("/no/such/file"))],
    ids=["two sources", "a place of nothing", "no file"],
)
def test_what_names_no_one_source_is_refused(whose: Whose) -> None:
    with pytest.raises(ConfigError, match="--"):
        whose.environment({}, print, None)


# Nothing is guessed


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["backfill"], "SEGMENT_USER_ID, SEGMENT_REGION, SEGMENT_WRITE_KEY, CTP_PROJECT_KEY"),
        (["backfill", "--dry-run"], "SEGMENT_USER_ID, SEGMENT_REGION, CTP_PROJECT_KEY"),
        (["subscribe"], "SEGMENT_USER_ID, SEGMENT_REGION, CTP_PROJECT_KEY"),
        (["dead-letters", "replay"], "DEAD_LETTER_SUBSCRIPTION (or --subscription) and PUBSUB_TOPIC (or --topic)"),
    ],
    ids=lambda row: " ".join(row) if isinstance(row, list) else "",
)
def test_all_settings_that_are_missing_are_named_in_one_sentence(command: list[str], names: str) -> None:
    ended = run(*command)

    assert ended.code == Exit.UNUSABLE
    assert ended.said.startswith(f"Error: {names}")


def test_what_is_missing_and_what_is_unusable_is_named_at_once(world: World) -> None:
    settings = settings_for(None, world.commercetools, SEGMENT_WRITE_KEY="", ORDERS="canary", CTP_API_URL="canary")

    backfill = run("backfill", settings=settings, cwd=world.folder)
    check = run("check", "--json", settings=settings | {"PUSH_AUTH": "iam"})

    said, *others = backfill.err.splitlines()[1:]
    assert backfill.code == Exit.UNUSABLE
    assert backfill.err.startswith("Error:\nSEGMENT_WRITE_KEY must be set: no command guesses them.")
    assert [line.partition(" must ")[0] for line in others] == ["CTP_API_URL", "ORDERS"]
    assert "CTP_" not in said
    [line] = [line["text"] for line in check.document if line["what"] == "settings"]
    assert [each.partition(" must ")[0] for each in line.splitlines()] == [
        *("SEGMENT_WRITE_KEY", "CTP_API_URL", "ORDERS"),
    ]


def test_no_secret_is_fetched_for_a_command_that_cannot_run(world: World) -> None:
    world.google.environment["CTP_API_URL"] = ""

    ended = world.run("backfill")

    assert ended.code == Exit.UNUSABLE
    assert "CTP_API_URL must be set, and the service commercetools-segment, revision" in ended.said
    assert not [call for call in world.google.calls if "/secrets/" in call.path]


@pytest.mark.parametrize("command", ["backfill", "subscribe"])
@pytest.mark.parametrize("name", ["SEGMENT_USER_ID", "SEGMENT_REGION"])
def test_neither_user_id_nor_region_has_a_default_in_a_command(world: World, command: str, name: str) -> None:
    settings = {**settings_for(world.segment, world.commercetools), "PUBSUB_TOPIC": TOPIC, name: ""}

    ended = run(command, settings=settings, cwd=world.folder)

    assert ended.code == Exit.UNUSABLE
    assert f"{name} must be set: no command guesses them. --service NAME" in ended.said
    assert world.commercetools.calls == world.segment.calls == []


# Who was not reached, and why


def test_an_address_that_refuses_is_named_with_that_cause() -> None:
    assert why_unreachable("http://127.0.0.1:9/path?key=canary") == "127.0.0.1:9: the connection was refused"


def test_a_host_without_an_address_is_said_to_be_unknown_to_dns() -> None:
    """Without a resolver, which would be asked over the network: the errors as requests and urllib3 nest them."""
    connection = urllib3.connection.HTTPConnection("auth.example.invalid")
    unknown = urllib3.exceptions.NameResolutionError("auth.example.invalid", connection, socket.gaierror(-2, "unknown"))
    unknown.__cause__ = socket.gaierror(-2, "unknown")
    pool = urllib3.HTTPConnectionPool("auth.example.invalid")
    request = requests.Request("POST", "http://auth.example.invalid/oauth/token").prepare()
    nested = urllib3.exceptions.MaxRetryError(pool, "/oauth/token", unknown)

    error = requests.ConnectionError(nested, request=request)
    assert cause_of(error) == "auth.example.invalid: DNS does not know this host"

    error = requests.exceptions.ProxyError(nested, request=request)
    assert "the proxy that HTTPS_PROXY or HTTP_PROXY names" in cause_of(error), "the unknown host is the proxy's"


def test_an_address_that_does_not_speak_tls_is_said_to_be_that(world: World) -> None:
    assert "TLS: " in why_unreachable(world.google.url.replace("http://", "https://"))
    assert cause_of(ValueError("nothing of the kind")) == ""


def test_a_command_that_reaches_nobody_names_the_host_the_cause_and_the_settings(world: World) -> None:
    settings = settings_for(None, world.commercetools, CTP_AUTH_URL="http://127.0.0.1:9", PUBSUB_TOPIC=TOPIC)

    ended = run("subscribe", settings=settings)

    assert ended.code == Exit.STOPPED
    said = "the connection was refused. 127.0.0.1:9 was asked. If that does not pass, look at CTP_AUTH_URL"
    assert said in ended.said


def test_a_wrong_secret_or_predicate_ends_a_backfill_without_a_table_of_zeros(world: World) -> None:
    settings = settings_for(world.segment, world.commercetools)

    refused = run("backfill", settings={**settings, "CTP_CLIENT_SECRET": "canary"}, cwd=world.folder)
    predicate = run("backfill", "--where", "foo(", settings=settings, cwd=world.folder)

    assert (refused.code, refused.out) == (Exit.STOPPED, "")
    assert "token endpoint answered 401 invalid_client. It may be CTP_CLIENT_ID, CTP_CLIENT_SECRET" in refused.said
    assert (predicate.code, predicate.out) == (Exit.UNUSABLE, "")
    assert "It may be the predicate of --where." in predicate.said
