"""Google's REST APIs: every call has the token and the quota project, and each failure says what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.oauth2 import credentials, service_account

from playground.stand_in import CLOSE_AFTER_READ, Fault, answer
from service.operations import Exit
from service.operations.google_api import GoogleApi, NoCredentials, NotReached, said_by, what_to_do_about
from tests.operations.google_stand_in import GoogleApis, a_refusal

QUOTA = "roles/serviceusage.serviceUsageConsumer on the quota project"


@pytest.fixture
def google() -> Iterator[GoogleApis]:
    with GoogleApis() as google:
        yield google


@pytest.fixture
def an_account(google: GoogleApis, tmp_path: Path) -> GoogleApi:
    file = google.shell(tmp_path)["GOOGLE_APPLICATION_CREDENTIALS"]
    found = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]  # google-auth's
        file, scopes=["a-scope"], quota_project_id="my-quota"
    )
    return GoogleApi("Cloud Example", "a-scope", found)


def test_a_token_is_fetched_once_and_sent_with_the_quota_project(google: GoogleApis, an_account: GoogleApi) -> None:
    for _ in range(2):
        an_account.call("GET", f"{google.url}/v1/anything")

    assert [call.path for call in google.calls] == ["/token", "/v1/anything", "/v1/anything"]
    assert google.calls[1].headers["Authorization"] == "Bearer example-token"
    assert google.calls[1].headers["X-Goog-User-Project"] == "my-quota"


def test_nobody_sends_no_token(google: GoogleApis) -> None:
    nobody = GoogleApi("Cloud Example", "", AnonymousCredentials())  # type: ignore[no-untyped-call]  # google-auth's

    nobody.call("GET", f"{google.url}/v1/anything", headers={"X-Own": "1"})

    [call] = google.calls
    assert "Authorization" not in call.headers
    assert call.headers["X-Own"] == "1"


def test_what_is_not_reached_is_named_with_the_cause(google: GoogleApis, an_account: GoogleApi) -> None:
    google.fail(CLOSE_AFTER_READ, on="/v1")

    with pytest.raises(
        NotReached, match=r"^Cloud Example was not reached: 127\.0\.0\.1:\d+: the connection was closed\.$"
    ):
        an_account.call("GET", f"{google.url}/v1/anything")


@pytest.mark.parametrize("fault", [CLOSE_AFTER_READ, answer(503)], ids=["not reached", "503"])
def test_a_token_that_may_come_later_is_not_taken_for_bad_credentials(
    google: GoogleApis, an_account: GoogleApi, fault: Fault
) -> None:
    google.fail(fault, on="/token")

    with pytest.raises(NotReached, match=r"^Cloud Example was not called: Google gave no access token\.$"):
        an_account.call("GET", f"{google.url}/v1/anything")


def test_credentials_that_google_does_not_take_say_how_to_log_in(google: GoogleApis, an_account: GoogleApi) -> None:
    google.fail(answer(400, body=json.dumps({"error": "invalid_grant"}).encode()), on="/token")

    with pytest.raises(NoCredentials, match=r"Run: gcloud auth application-default login\.$") as trouble:
        an_account.call("GET", f"{google.url}/v1/anything")

    assert trouble.value.exit_code is Exit.UNUSABLE


@pytest.mark.parametrize(
    ("fault", "todo", "said"),
    [
        (a_refusal(reason="USER_PROJECT_DENIED"), QUOTA, "canary"),
        (
            a_refusal(reason="SERVICE_DISABLED", metadata={"service": "run.googleapis.com"}),
            r"gcloud services enable run\.googleapis\.com",
            "canary",
        ),
        (a_refusal(reason="ANOTHER"), "^the role$", "canary"),
        (answer(403, body=b"<html>"), "^the role$", ""),
        (answer(403, body=b'{"error": "canary"}'), "^the role$", ""),
    ],
    ids=["quota project", "API off", "role", "no JSON", "no error of Google's"],
)
def test_a_refusal_says_what_it_takes(google: GoogleApis, fault: Fault, todo: str, said: str) -> None:
    google.fail(fault)

    held = credentials.Credentials("token")  # type: ignore[no-untyped-call]  # as above
    refused = GoogleApi("Cloud Example", "", held).call("GET", google.url)

    assert said_by(refused) == said
    assert re.search(todo, what_to_do_about(refused, "the role"))
