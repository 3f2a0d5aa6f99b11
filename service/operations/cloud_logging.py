"""Reads log entries from Cloud Logging, by its REST API.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

import requests

from service.operations import Trouble
from service.serving.upstream import CALL_SECONDS, session, timeout

ENDPOINT = "https://logging.googleapis.com/"

_SCOPE = "https://www.googleapis.com/auth/logging.read"
_PAGE = 1000  # the largest
_NO_CREDENTIALS = (
    "There are no usable Google credentials here, so the log was not read. Run: gcloud auth application-default login"
)


class CloudLogging:
    """The log of one project, as the application default credentials may read it."""

    def __init__(self, project: str, endpoint: str = ENDPOINT) -> None:
        self._project = project
        self._url = f"{endpoint.rstrip('/')}/v2/entries:list"
        self._session = session()
        self._credentials: Any = None  # google-auth comes without types

    def entries(self, query: str, at_most: int) -> list[Mapping[str, Any]]:
        """Return the newest entries that match a query, in any order of their times. Raises Trouble.

        The query is of https://cloud.google.com/logging/docs/view/logging-query-language. An entry is a LogEntry:
        https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry
        """
        found: list[Mapping[str, Any]] = []
        request = {"resourceNames": [f"projects/{self._project}"], "filter": query, "orderBy": "timestamp desc"}
        page: str | None = ""
        while page is not None and len(found) < at_most:
            answer = self._page({**request, "pageSize": min(_PAGE, at_most - len(found)), "pageToken": page})
            found += answer.get("entries", ())
            page = answer.get("nextPageToken")  # also of a page without entries, where the search is not over
        return found

    def _page(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = self._headers()
        try:
            answer = self._session.post(self._url, json=request, headers=headers, timeout=timeout())
        except requests.RequestException as error:
            raise Trouble(f"Cloud Logging was not reached: {type(error).__name__}.") from None
        document = _json(answer)
        if answer.status_code != HTTPStatus.OK or document is None:
            raise Trouble(f"The log of {self._project} was not read: {_why(answer.status_code, document or {})}.")
        return document

    def _headers(self) -> dict[str, str]:
        import google.auth  # noqa: PLC0415  # 0.2 s, for this command alone
        from google.auth.transport.requests import Request  # noqa: PLC0415  # as above

        headers: dict[str, str] = {}
        request = partial(Request(self._session), timeout=CALL_SECONDS)
        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._credentials.before_request(request, "POST", self._url, headers)
        except Exception:  # noqa: BLE001  # the file that GOOGLE_APPLICATION_CREDENTIALS names may hold anything
            raise Trouble(_NO_CREDENTIALS) from None
        return headers


def _json(answer: requests.Response) -> Mapping[str, Any] | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _why(status: int, document: Mapping[str, Any]) -> str:
    """Return what an error says: https://cloud.google.com/apis/design/errors."""
    error = document.get("error")
    details = error.get("details", ()) if isinstance(error, dict) else ()
    reasons = {detail.get("reason") for detail in details if isinstance(detail, dict)}
    if "SERVICE_DISABLED" in reasons:
        return (
            "its Cloud Logging API is off (gcloud services enable logging.googleapis.com), or the credentials have no "
            "quota project (gcloud auth application-default set-quota-project PROJECT)"
        )
    if "USER_PROJECT_DENIED" in reasons:
        return "not allowed; it takes roles/serviceusage.serviceUsageConsumer on the quota project of the credentials"
    return _TODO.get(status, f"Cloud Logging answered {status}")


_TODO: Mapping[int, str] = {
    HTTPStatus.OK: "what answered 200 is not Cloud Logging",
    HTTPStatus.UNAUTHORIZED: "the Google credentials are not accepted; run: gcloud auth application-default login",
    HTTPStatus.FORBIDDEN: "not allowed; it takes roles/logging.viewer on the project",
    HTTPStatus.NOT_FOUND: "there is no such project, or it takes roles/logging.viewer on it",
    HTTPStatus.TOO_MANY_REQUESTS: "Cloud Logging answered 429, since a project may be asked 60 times a minute; try "
    "again in a minute",
}
