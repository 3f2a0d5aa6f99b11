"""Image, build and Terraform agree with the service, and a fault in the Terraform does not stay unnoticed.

What needs Terraform runs with `make check-infra` (CHECK_INFRA=1); the rest runs always.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import typer

from service.app import REQUEST_SECONDS
from service.cli import app
from service.config import ClearTraits, OrderImports, Orders, UserIdField, settings_from
from service.logs import FIELDS
from service.operations.backfill_report import LINE_FIELDS
from service.operations.deployed import NAMES, SECRETS, SETTINGS
from service.operations.subscription import DEFAULT_KEY, wanted_subscription
from service.outcome import Ending
from service.serving.upstream import CALL_SECONDS

ROOT = Path(__file__).parent.parent
INFRA = ROOT / "infra"
TERRAFORM = {path.name: path.read_text() for path in sorted(INFRA.glob("*.tf"))}
ALL = "\n".join(TERRAFORM.values())
DASHBOARD: dict[str, Any] = json.loads((INFRA / "dashboard.json").read_text())
TILES: list[dict[str, Any]] = DASHBOARD["mosaicLayout"]["tiles"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
GUNICORN = (ROOT / "service" / "serving" / "gunicorn_conf.py").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OF_THE_SHOP = INFRA / "mapping"
BUILDS = ("infra/builds/test.yaml", "cloudbuild.yaml", "infra/builds/deploy.yaml", "infra/mapping/cloudbuild.yaml")

needs_terraform = pytest.mark.skipif(
    os.environ.get("CHECK_INFRA") != "1" or shutil.which("terraform") is None,
    reason="runs with make check-infra, where there is a terraform",
)


def number(name: str, text: str) -> float:
    [value] = re.findall(rf"^\s*{name}\s*=\s*([0-9.]+)", text, re.MULTILINE)
    return float(value)


def tool(name: str) -> str:
    """Return a tool of the development requirements: from the environment that runs the tests, or from the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or pytest.fail(f"{name} is missing: make setup")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool or a script of ours, here."""
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)  # noqa: S603  # as it says


def test_the_clocks_of_the_service_are_those_that_terraform_nests() -> None:
    assert number("upstream_seconds", TERRAFORM["clocks.tf"]) == CALL_SECONDS
    assert number("request_seconds", TERRAFORM["clocks.tf"]) == REQUEST_SECONDS


def test_gunicorn_ends_before_cloud_run_kills() -> None:
    assert number("graceful_timeout", GUNICORN) < 10  # https://cloud.google.com/run/docs/container-contract


def test_an_instance_is_sent_half_of_the_pushes_that_its_worker_can_hold() -> None:
    concurrency = number("max_instance_request_concurrency", TERRAFORM["service.tf"])

    assert number("worker_connections", GUNICORN) == 2 * concurrency


@pytest.mark.parametrize("push_auth", ["iam", "oidc"])
def test_the_service_starts_with_the_settings_that_terraform_gives_it(push_auth: str) -> None:
    names = set(re.findall(r"^\s+([A-Z_]{3,})\s+= ", TERRAFORM["service.tf"], re.MULTILINE))
    names |= set(re.findall(r"\{ ([A-Z_]+) += \"", TERRAFORM["secrets.tf"]))
    values = {
        "CTP_API_URL": "https://api.europe-west1.gcp.commercetools.com",
        "CTP_AUTH_URL": "https://auth.europe-west1.gcp.commercetools.com",
        "DEAD_LETTER_TOPIC": "projects/shop/topics/commercetools-customers-dead-letters",
        "ERASURE": "every",
        "LOG_LEVEL": "INFO",
        "ORDERS": "on",
        "ORDER_IMPORTS": "recent",
        "MAPPING_FILE": str(OF_THE_SHOP / "mapping.toml"),
        "PUSH_AUTH": push_auth,
        "SEGMENT_CLEAR_TRAITS": "own",
        "SEGMENT_REGION": "eu",
        "SEGMENT_USER_ID": "id",
    }

    settings = settings_from({name: values.get(name, "something") for name in names})

    assert settings.commercetools is not None
    assert settings.segment_public_api_token is not None
    assert settings.dead_letter_topic is not None
    assert settings.mapping_file is not None


def test_the_service_requests_the_scopes_that_its_api_client_is_created_with() -> None:
    always, of_orders = re.findall(r'\[("view_[^\]]*)\]', TERRAFORM["service.tf"])
    deploy = (ROOT / "docs" / "deploy.md").read_text()
    clients = re.findall(r"^\| `commercetools-segment(?:-operator)?` \| ([^|]+) \|", deploy, re.MULTILINE)
    scripted = [
        re.findall(r"(\w+):\$key", line)
        for line in (ROOT / "scripts" / "deploy").read_text().splitlines()
        if "scopes=" in line
    ]

    of_customers, of_all = set(json.loads(f"[{always}]")), set(json.loads(f"[{always}, {of_orders}]"))
    operator = {"manage_subscriptions"}
    assert [set(re.findall(r"`(\w+)`", client)) for client in clients] == [
        *(of_customers, of_customers | operator),
        *(of_all, of_all | operator),
    ]
    [always_exported], [of_orders_exported] = scripted[:1], scripted[1:]
    assert set(always_exported) == of_customers | operator
    assert set(always_exported) | set(of_orders_exported) == of_all | operator


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("segment_user_id", UserIdField),
        ("segment_clear_traits", ClearTraits),
        ("orders", Orders),
        ("order_imports", OrderImports),
    ],
)
def test_terraform_lets_choose_what_the_service_knows(variable: str, known: type[StrEnum]) -> None:
    [choices] = re.findall(rf"contains\(\[(.*?)\], var\.{variable}\)", TERRAFORM["variables.tf"])

    assert set(json.loads(f"[{choices}]")) == set(known)


def test_the_subscription_of_terraform_is_that_of_the_command() -> None:
    terraform = (INFRA / "commercetools" / "main.tf").read_text()
    by_type = re.findall(r"^ +(\w+) += \[(.*?)\]$", terraform, re.MULTILINE | re.DOTALL)
    messages = {of: re.findall(r'"(\w+)"', types) for of, types in by_type if of != "resource_type_ids"}
    [key], [topic] = (re.findall(rf'^ +{name} += "(.*)"$', terraform, re.MULTILINE) for name in ("key", "topic"))

    settings = settings_from({
        "CTP_PROJECT_KEY": "shop", "CTP_CLIENT_ID": "c", "CTP_CLIENT_SECRET": "s", "CTP_SCOPES": "view_customers:shop",
        "CTP_AUTH_URL": "https://a.example", "CTP_API_URL": "https://b.example", "PUSH_AUTH": "none",
        "SEGMENT_WRITE_KEY": "k", "SEGMENT_REGION": "eu", "ORDERS": "on", "ERASURE": "every",
        "SEGMENT_USER_ID": "email", "SEGMENT_PUBLIC_API_TOKEN": "t",
    })  # fmt: skip
    wanted = wanted_subscription(settings, f"projects/shop/topics/{topic}", key)
    assert {one["resourceTypeId"]: one["types"] for one in wanted["messages"]} == messages | {
        "customer": ["CustomerDeleted"]
    }
    assert '{ customer = ["CustomerDeleted"] }' in terraform
    assert 'resource_type_ids = ["customer"]' in terraform
    assert wanted["changes"] == [{"resourceTypeId": "customer"}]
    assert f'type       = "{wanted["destination"]["type"]}"' in terraform
    assert (key, f'"{topic}"' in TERRAFORM["pubsub.tf"]) == (DEFAULT_KEY, True)


def test_the_user_id_has_no_default_in_terraform() -> None:
    [variable] = re.findall(
        r'^variable "segment_user_id" \{.*?^\}', TERRAFORM["variables.tf"], re.MULTILINE | re.DOTALL
    )

    assert "default" not in variable
    assert "for good" in variable


def test_the_operators_commands_take_every_line_that_terraform_writes_for_them() -> None:
    written = set(re.findall(r"^\s+([A-Z_]{3,})\s+= ", TERRAFORM["outputs.tf"], re.MULTILINE))
    settings = set(re.findall(r"^\s+([A-Z_]{3,})\s+= ", TERRAFORM["service.tf"], re.MULTILINE))
    secrets = set(re.findall(r"\{ ([A-Z_]+) += \"", TERRAFORM["secrets.tf"]))

    assert written <= set(NAMES)
    assert settings <= set(SETTINGS)
    assert secrets == set(SECRETS)


def test_no_secret_can_be_written_into_the_terraform() -> None:
    assert "google_secret_manager_secret_version" not in ALL
    assert "secret_data" not in ALL
    secret = re.findall(r'variable "([a-z_]*(?:key|token|secret|password))"', ALL)
    assert secret == ["mapping_secret"]  # where the mapping file is kept


ROLE_TO_CREATE = {
    "artifact_registry_repository": "artifactregistry.admin",
    "cloud_run_v2": "run.admin",
    "cloud_scheduler_job": "cloudscheduler.admin",
    "logging_metric": "logging.configWriter",
    "monitoring": "monitoring.editor",
    "project_iam_custom_role": "iam.roleAdmin",
    "project_iam_member": "resourcemanager.projectIamAdmin",
    "project_service": "serviceusage.serviceUsageAdmin",
    "pubsub": "pubsub.admin",
    "secret_manager_secret": "secretmanager.admin",
    "service_account": "iam.serviceAccountAdmin",
    "storage_bucket": "storage.admin",
}
"""Resources by the beginning of their type, and the role that Google's page of the API names to create them."""


def test_who_deploys_has_a_role_for_each_resource() -> None:
    [row] = re.findall(r"^\| deploys \|.*$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    granted = set(re.findall(r"`([a-zA-Z.]+)`", row))
    needed = {
        next((role for api, role in ROLE_TO_CREATE.items() if kind.startswith(api)), kind)
        for kind in re.findall(r'^resource "google_([a-z0-9_]+)"', ALL, re.MULTILINE)
    }

    assert needed == set(ROLE_TO_CREATE.values())
    assert needed < granted


def test_the_public_is_never_a_member() -> None:
    assert "allUsers" not in ALL
    assert "allAuthenticatedUsers" not in ALL
    assert re.search(r'invoker_iam_disabled\s+= var\.push_auth == "oidc"', TERRAFORM["service.tf"])
    assert len(re.findall(r'"roles/run\.invoker"', TERRAFORM["service.tf"])) == 1
    assert len(re.findall(r'"roles/run\.invoker"', ALL)) == 2, "the other one is the schedule's, for the check"


@pytest.mark.parametrize("ending", Ending)
def test_the_metric_counts_every_outcome_by_its_first_word(ending: Ending) -> None:
    [counted] = set(re.findall(r"\^\(([A-Za-z|]+)\)", TERRAFORM["metrics.tf"]))

    assert ending in counted.split("|")
    assert len(counted.split("|")) == len(Ending)


def test_the_emulated_subscription_of_the_tests_is_the_deployed_one() -> None:
    world = (ROOT / "playground" / "world.py").read_text()

    for name in ("ack_deadline_seconds", "retry_min_seconds", "retry_max_seconds", "retry_attempts"):
        value = int(number(name, TERRAFORM["clocks.tf"]))
        assert re.search(rf"\D{value}\D", world), f"{name} is {value}, and playground/world.py has another"


def test_tiles_of_the_dashboard_do_not_overlap() -> None:
    places = [
        (tile.get("xPos", 0) + x, tile.get("yPos", 0) + y)
        for tile in TILES
        for x, y in itertools.product(range(tile["width"]), range(tile["height"]))
    ]

    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < DASHBOARD["mosaicLayout"]["columns"]


@pytest.mark.parametrize(
    "metric",
    [
        "logging.googleapis.com/user/commercetools-segment/messages",
        "pubsub.googleapis.com/subscription/push_request_latencies",
        "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
        "pubsub.googleapis.com/subscription/num_undelivered_messages",
        "run.googleapis.com/container/instance_count",
        "logging.googleapis.com/user/commercetools-segment/backfill-share",
        "logging.googleapis.com/user/commercetools-segment/backfill-rate",
    ],
)
def test_the_dashboard_shows(metric: str) -> None:
    assert any(metric in json.dumps(tile) for tile in TILES)


def of_alerts() -> dict[str, str]:
    """Return the section of docs/operations.md for each alert, by Terraform's name of it."""
    [block] = re.findall(r"^  sections = \{\n(.*?)^  \}", TERRAFORM["alerts.tf"], re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'^ +(\w+) += "([^"]+)"$', block, re.MULTILINE))


def test_every_alert_names_a_section_of_the_operators_page() -> None:
    sections = re.findall(r"^## (.+)$", OPERATIONS, re.MULTILINE)
    alerts = re.findall(r'resource "google_monitoring_alert_policy" "(\w+)"', ALL)

    assert set(of_alerts()) == set(alerts)
    assert set(of_alerts().values()) <= set(sections)
    assert re.findall(r"\$\{local\.links\.(\w+)\}", ALL) == alerts


def test_every_anchor_that_an_alert_links_is_one_of_the_operators_page() -> None:
    # as GitHub makes it: https://docs.github.com/get-started/writing-on-github, "Section links"
    sections = re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-") for section in sections]
    watching = (INFRA / "tests" / "watching.tftest.hcl").read_text()
    linked = re.findall(r"^ +([a-z0-9-]+) += google_monitoring_alert_policy\.", watching, re.MULTILINE)

    assert len(linked) == len(of_alerts())
    assert all(anchors.count(anchor) == 1 for anchor in linked)


def test_the_operators_page_says_which_alert_can_wait_and_terraform_agrees() -> None:
    policies = re.findall(
        r'^resource "google_monitoring_alert_policy" "(\w+)" \{.*?severity += "(\w+)"', ALL, re.MULTILINE | re.DOTALL
    )
    said = dict(re.findall(r"^\| \[([^\]]+)\]\(#[^)]+\) \| (page|can wait)\b", OPERATIONS, re.MULTILINE))

    assert said == {of_alerts()[name]: "page" if severity == "CRITICAL" else "can wait" for name, severity in policies}


def test_queries_ask_for_fields_that_lines_have() -> None:
    text = ALL + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))

    assert set(re.findall(r"jsonPayload\.([a-z_]+)", text)) <= {"message", *FIELDS, *LINE_FIELDS}


def test_the_metrics_of_a_backfill_are_fields_of_its_lines() -> None:
    [metrics] = re.findall(
        r'"google_logging_metric" "backfill" \{\s+for_each = \{(.*?)\}', TERRAFORM["metrics.tf"], re.DOTALL
    )

    assert set(re.findall(r"^\s+([a-z]+) =", metrics, re.MULTILINE)) <= set(LINE_FIELDS)


def test_the_jobs_that_the_operators_page_executes_are_those_of_terraform() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    executed = set(re.findall(r"(?:jobs execute |--job=|job_name=\")([a-z-]+)", operations))

    assert executed == {"commercetools-segment-backfill", "commercetools-segment-check"}
    assert 'for job in ["backfill", "check"] : job => "${local.name}-${job}"' in TERRAFORM["jobs.tf"]


@pytest.mark.parametrize("job", ["backfill", "check"])
def test_a_job_runs_a_command_that_there_is(job: str) -> None:
    [arguments] = re.findall(rf'args\s+= (\["{job}".*?\])', TERRAFORM["jobs.tf"])
    [command, *options] = json.loads(arguments)
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]  # typer's own click

    found.make_context(command, options)


@pytest.mark.parametrize("dockerfile", [ROOT / "Dockerfile", OF_THE_SHOP / "Dockerfile"], ids=["service", "shop"])
def test_the_dockerfile_satisfies_hadolint(dockerfile: Path) -> None:
    found = run(tool("hadolint"), dockerfile)

    assert found.returncode == 0, found.stdout


def test_the_image_runs_as_the_user_nobody_and_gunicorn_is_its_first_process() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] not in {"0", "root"}
    [*_, command] = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(command)[-1] == "python:service.serving.gunicorn_conf"


def test_what_is_taken_out_of_the_image_is_named_by_folder_so_that_an_update_cannot_hide_it() -> None:
    [removed] = re.findall(r"^RUN rm -r (.*?) \\\n && find", DOCKERFILE, re.MULTILINE | re.DOTALL)

    assert all(re.search(r"/test(s|ing)?$", folder) for folder in removed.replace("\\", "").split())


def test_the_image_gets_the_service_and_its_requirements_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert lines == ["*", "!requirements.txt", "!scripts/sbom", "!service", "**/__pycache__"]
    assert "COPY requirements.txt /" in DOCKERFILE
    assert "requirements-dev" not in DOCKERFILE


@pytest.mark.parametrize("build", BUILDS)
def test_the_build_fits_the_schema_of_cloud_build(build: str) -> None:
    found = run(tool("check-jsonschema"), "--builtin-schema", "vendor.cloudbuild", ROOT / build)

    assert found.returncode == 0, found.stdout


def test_each_build_runs_as_an_account_of_its_own() -> None:
    accounts = [re.findall(r"serviceAccounts/([a-z-]+)@", (ROOT / build).read_text()) for build in BUILDS]

    assert accounts == [
        *(["commercetools-segment-test"], ["commercetools-segment-build"], ["commercetools-segment-deploy"]),
        ["commercetools-segment-build"],
    ]
    assert all(f'account_id   = "{one}"' in TERRAFORM["accounts.tf"] for [one] in accounts)


def test_nothing_of_the_repository_runs_as_the_account_that_deploys() -> None:
    build = (ROOT / "infra/builds/deploy.yaml").read_text()

    assert set(re.findall(r"^    name: (\S+?)(?:@\S+)?$", build, re.MULTILINE)) == {
        "gcr.io/google.com/cloudsdktool/google-cloud-cli:slim"
    }
    assert "--no-source" in (ROOT / "scripts" / "deploy").read_text()


def test_what_terraform_has_made_is_deployed_by_digest_after_a_scan() -> None:
    build = (ROOT / "infra/builds/deploy.yaml").read_text()

    assert re.findall(r"- id: (\w+)", build) == ["scan", "tag", "deploy"]
    assert "@sha256:*" in build
    assert 'gcloud run deploy commercetools-segment --image "$IMAGE"' in build
    assert re.search(r'name = "commercetools-segment"', TERRAFORM["service.tf"])
    assert re.search(r"ignore_changes = \[template\[0\]\.containers\[0\]\.image", TERRAFORM["service.tf"])


@pytest.mark.parametrize("build", ["cloudbuild.yaml", "infra/mapping/cloudbuild.yaml"])
def test_an_image_has_provenance_which_a_docker_push_would_not_make(build: str) -> None:
    text = (ROOT / build).read_text()

    assert "docker push" not in text
    assert 'images: ["${_IMAGES}:${BUILD_ID}"]' in text
    assert "requestedVerifyOption: VERIFIED" in text


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param("HIGH,True,CVE-1,zlib", True, id="less severe"),
        pytest.param("CRITICAL,False,CVE-2,zlib", True, id="without a fix"),
        pytest.param("CRITICAL,,CVE-2,zlib", True, id="perhaps without a fix"),
        pytest.param("LOW,False,CVE-3,a\nCRITICAL,True,CVE-4,b", False, id="with a fix"),
    ],
)
def test_the_scan_stops_what_an_update_would_repair(tmp_path: Path, found: str, passes: bool) -> None:  # noqa: FBT001
    [scan] = re.findall(
        r"- id: scan\n.*?script: \|\n(.*?)\n\n", (ROOT / "infra/builds/deploy.yaml").read_text(), re.DOTALL
    )
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(f"#!/bin/sh\ncase $* in *list-vuln*) printf '{found}\\n' ;; *) echo scans/1 ;; esac\n")
    gcloud.chmod(0o755)
    image = "europe-west1-docker.pkg.dev/p/commercetools-segment/service@sha256:0"

    def scanned(image: str) -> int:
        return subprocess.run(  # noqa: S603  # our own build's step
            ["bash", "-c", scan],  # noqa: S607  # as Cloud Build runs it
            check=False,
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "IMAGE": image, "LOCATION": "us", "SEVERITY": "CRITICAL"},
            capture_output=True,
        ).returncode

    assert (scanned(image) == 0) == passes
    assert scanned(image.partition("@")[0] + ":latest") != 0
    assert scanned("docker.io/somebody/elses@sha256:0") != 0


def test_the_shops_image_is_built_on_the_service_and_holds_the_file_where_its_build_and_terraform_expect_it() -> None:
    dockerfile, build = ((OF_THE_SHOP / name).read_text() for name in ("Dockerfile", "cloudbuild.yaml"))
    [images] = re.findall(r"^  _IMAGES: .*/(\w+)$", build, re.MULTILINE)
    [service] = re.findall(r"^  _SERVICE: .*/(\w+:\w+)$", build, re.MULTILINE)

    assert (OF_THE_SHOP / "mapping.toml").exists()
    assert "COPY --chmod=444 mapping.toml /app/mapping.toml" in dockerfile
    assert "MAPPING_FILE=/app/mapping.toml" in build
    assert 'mapping_file = "/app/mapping.toml"' in (ROOT / "docs" / "deploy.md").read_text()
    assert f'var.mapping_file == "" ? "{service.partition(":")[0]}" : "{images}"}}:latest' in TERRAFORM["registry.tf"]
    assert not re.search(r"^(USER|CMD|ENTRYPOINT|ENV)", dockerfile, re.MULTILINE)


# Each rule of infra/tests is broken once, in a copy; a test must say so.

FAULTS = [
    pytest.param(
        "pubsub.tf", "audience              = local.address", 'audience = "https://elsewhere.run.app"',
        "wiring", "the token's audience is not the service's address", id="another audience",
    ),
    pytest.param(
        "pubsub.tf", "push_endpoint = local.address", 'push_endpoint = "https://elsewhere.run.app"',
        "wiring", "it is pushed elsewhere than the token is for", id="another endpoint",
    ),
    pytest.param(
        "service.tf", 'run.app"', 'run.example"',
        "wiring", "Cloud Run did not give the service the address", id="an address that is not the service's",
    ),
    pytest.param(
        "accounts.tf", "service-${data.google_project.this.number}@", "service-${var.project}@",
        "wiring", "that is not Pub/Sub's own account in this project", id="the agent's member string",
    ),
    pytest.param(
        "pubsub.tf", "topic                      = google_pubsub_topic.dead_letters.id",
        "topic = google_pubsub_topic.customers.id",
        "wiring", "the dead-letter topic has no subscription: it keeps nothing", id="dead letters that nobody keeps",
    ),
    pytest.param(
        "clocks.tf", "upstream_seconds     = 10", "upstream_seconds = 30",
        "clocks", "a request ends before its call to an upstream", id="upstream > request",
    ),
    pytest.param(
        "clocks.tf", "timeout_seconds      = 45", "timeout_seconds = 25",
        "clocks", "Cloud Run ends a request before the service does", id="request > Cloud Run",
    ),
    pytest.param(
        "clocks.tf", "ack_deadline_seconds = 60", "ack_deadline_seconds = 40",
        "clocks", "Pub/Sub sends a message again while its first delivery still works", id="Cloud Run > ack deadline",
    ),
    pytest.param(
        "service.tf", "member   = google_service_account.push.member", 'member = "allUsers"',
        "access", "another than the push account may call the service", id="allUsers",
    ),
    pytest.param(
        "service.tf", 'invoker_iam_disabled = var.push_auth == "oidc"', "invoker_iam_disabled = true",
        "access", "anybody can call the service", id="public without oidc",
    ),
    pytest.param(
        "service.tf", "          name = env.key\n          value_source {\n            secret_key_ref {\n"
        "              secret  = env.value.secret\n              version = env.value.version\n"
        "            }\n          }\n",
        '          name = env.key\n          value = "a-secret"\n',
        "secrets", "a secret's value is in an attribute", id="a secret's value",
    ),
    pytest.param(
        "service.tf", 'var.orders == "on" ? ["view_orders", "view_payments", "view_discount_codes"] : [],', "[],",
        "orders", "the service cannot read what it is to tell", id="orders without their scopes",
    ),
    pytest.param(
        "service.tf", "limits            = local.limits", 'limits            = { cpu = "1", memory = "512Mi" }',
        "size", "the service has another size", id="another size than asked for",
    ),
    pytest.param(
        "alerts.tf", '#${replace(lower(section), " ", "-")}', "#${section}",
        "watching", "an alert does not link its section", id="an anchor that is none",
    ),
    pytest.param(
        "alerts.tf", "concat(local.tickets, tolist(var.page_channels))", "local.tickets",
        "watching", "a page does not reach who is on call", id="nobody is paged",
    ),
    pytest.param(
        "service.tf", "version = volumes.value.version", 'version = "latest"',
        "mapping", "the volume is not the version that was asked for", id="whichever mapping file is the latest",
    ),
    pytest.param(
        "build.tf", "  service_account_id = google_service_account.run.name\n"
        '  role               = "roles/iam.serviceAccountUser"\n'
        "  member             = google_service_account.deploy.member",
        "  service_account_id = google_service_account.run.name\n"
        '  role               = "roles/iam.serviceAccountUser"\n'
        "  member             = google_service_account.test.member",
        "builds", "another than the deploying account acts as the run account", id="tests that act as the run account",
    ),
    pytest.param(
        "build.tf", 'if name != "test" }', 'if name != "" }',
        "builds", "tests can replace an image", id="tests that push",
    ),
    pytest.param(
        "pubsub.tf", "? [var.region] : var.message_regions", "? [] : var.message_regions",
        "regions", "Invalid index", id="messages stored anywhere",
    ),
    pytest.param(
        "outputs.tf", "      local.settings,\n", '      { SEGMENT_USER_ID = "email" },\n',
        "operator", "a command would run with another setting than the service", id="an operator's other settings",
    ),
    pytest.param(
        "outputs.tf", 'name => "" }', 'name => "a-secret" }',
        "operator", "a secret is written into a file of the operator's", id="a secret in the operator's file",
    ),
    pytest.param(
        "outputs.tf", "PUBSUB_TOPIC             = google_pubsub_topic.customers.id",
        "PUBSUB_TOPIC = google_pubsub_topic.dead_letters.id",
        "operator", "a command would look at another topic or subscription", id="an operator's other topic",
    ),
    pytest.param(
        "jobs.tf", "merge(local.settings, each.value.settings)", "each.value.settings",
        "jobs", "a job follows other settings than the service", id="a job without the settings",
    ),
    pytest.param(
        "jobs.tf", "google_cloud_run_v2_service.service.template[0].containers[0].image", '"another"',
        "jobs", "a job runs another image than the service", id="a job of another image",
    ),
    pytest.param(
        "jobs.tf", ', "--dry-run"]', "]",
        "jobs", "a click on Execute sends every customer", id="a backfill that sends without being told to",
    ),
    pytest.param(
        "jobs.tf", 'public_access_prevention    = "enforced"', 'public_access_prevention = "inherited"',
        "jobs", "the bucket can be made public", id="a public bucket",
    ),
    pytest.param(
        "jobs.tf", '"pubsub.topics.get",', '"pubsub.topics.get", "pubsub.topics.publish",',
        "jobs", "the check may do more than look", id="a check that may publish",
    ),
    pytest.param(
        "variables.tf", '"17 5,17 * * *"', '"17 5 * * *"',
        "jobs", "the alert would open each day", id="a check once a day",
    ),
    pytest.param(
        "alerts.tf", '${local.job_names["check"]}', "check",
        "jobs", "the alert looks at another job", id="an alert of another job",
    ),
]  # fmt: skip


@needs_terraform
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("file", "right", "wrong", "tests", "said"), FAULTS)
def test_a_fault_does_not_stay_unnoticed(  # noqa: PLR0917  # a row of the table
    tmp_path: Path, file: str, right: str, wrong: str, tests: str, said: str
) -> None:
    copy = tmp_path / "infra"
    shutil.copytree(INFRA, copy, ignore=shutil.ignore_patterns(".terraform*"))
    assert TERRAFORM[file].count(right) == 1
    (copy / file).write_text(TERRAFORM[file].replace(right, wrong))

    tested = run("scripts/check-infra", "terraform", "test", copy, "-no-color", f"-filter=tests/{tests}.tftest.hcl")

    assert tested.returncode != 0
    assert said in " ".join((tested.stdout + tested.stderr).replace("│", " ").split())
