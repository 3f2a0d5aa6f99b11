"""Reads log entries from Cloud Logging, by its REST API.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import requests

from service.operations import Trouble
from service.operations.google_api import GoogleApi, address_of, document_of, what_to_do_about

_SCOPE = "https://www.googleapis.com/auth/logging.read"
_PAGE = 1000  # the largest


class CloudLogging:
    """The log of one project, as the application default credentials may read it."""

    def __init__(self, project: str, shell: Mapping[str, str]) -> None:
        self._project = project
        self._url = f"{address_of('logging', shell)}/v2/entries:list"
        self._google = GoogleApi("Cloud Logging", _SCOPE)

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
        answer = self._google.call("POST", self._url, json=request)
        document = document_of(answer)
        if answer.status_code != HTTPStatus.OK or document is None:
            raise Trouble(f"The log of {self._project} was not read: {_why(answer)}")
        return document


def _why(answer: requests.Response) -> str:
    status = answer.status_code
    answered = f"Cloud Logging answered {status}."
    todo = what_to_do_about(answer, "")
    return f"{answered} {todo}" if todo else _TODO.get(status, answered)


_TODO: Mapping[int, str] = {
    HTTPStatus.OK: "what answered 200 is not Cloud Logging.",
    HTTPStatus.UNAUTHORIZED: "the Google credentials are not accepted; run: gcloud auth application-default login.",
    HTTPStatus.FORBIDDEN: "not allowed; it takes roles/logging.viewer on the project.",
    HTTPStatus.NOT_FOUND: "there is no such project, or it takes roles/logging.viewer on it.",
    HTTPStatus.TOO_MANY_REQUESTS: "Cloud Logging answered 429, since a project may be asked 60 times a minute; try "
    "again in a minute.",
}
