"""Reads resources from commercetools' API; many callers share one call.

https://docs.commercetools.com/api/general-concepts#query-features
https://docs.commercetools.com/api/authorization#client-credentials-flow
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, NamedTuple

import requests

from service.commercetools.notification import Notification
from service.commercetools.resource import AnyResource, CannotRead, ResourceType
from service.config import CommercetoolsSettings
from service.delivery.group_commit import CallFailed, GroupCommit, NeverSent
from service.serving.causes import why
from service.serving.decoding import Malformed
from service.serving.upstream import CALL_SECONDS, NotCalled, Pause, session, timeout

_ID = re.compile(r"[0-9A-Za-z-]{1,64}")  # ids are UUIDs
_RENEW_AHEAD_SECONDS = 60.0
_NOT_COMMERCETOOLS = "what answered 200 is not commercetools"

PAGE = 500
"""Resources in a page, commercetools' own maximum: https://docs.commercetools.com/api/general-concepts#limit"""

# Why a query instead of a read for each id: a hundred notifications then cost one call. The query may lag behind, so a
# resource that is missing or older than the notification is read again by id, which does not lag.


# Of these, commercetools' codes say more than the status: https://docs.commercetools.com/api/errors
_TOO_MUCH = frozenset({"QueryTimedOut", "ContentTooLarge"})
_PASSING = frozenset({"BadGateway", "OverCapacity", "PendingOperation"})
_CODE = re.compile(r"[A-Za-z_]{1,40}")
_MAY_PASS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class _Read:
    """The result of a query for one id: the document, or a problem, or neither if the answer did not contain the id."""

    document: Mapping[str, Any] | None = None
    problem: str | None = None


class RequestRefused(CannotRead):
    """commercetools gave an answer that the same request will get again, with this status and these error codes.

    https://docs.commercetools.com/api/errors
    """

    def __init__(self, message: str, status: int, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes


class TooSlow(CannotRead):
    """commercetools did not answer a query in time or in one answer; it may answer one for fewer resources."""


class TokenRefused(RequestRefused):
    """The token endpoint gave that answer."""


class ScopesRefused(TokenRefused):
    """The token endpoint answered invalid_scope: the API client does not have one of the requested scopes."""


class CommercetoolsClient:
    """An API client of one project, with its token and the pause that commercetools asked for.

    Threads and greenlets may share it.
    """

    def __init__(
        self,
        settings: CommercetoolsSettings,
        *,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._project = f"{settings.api_url}/{settings.project_key}"
        self._call_seconds = call_seconds
        self._clock = clock
        self._session = session()
        self._pause = Pause("commercetools", clock)
        self._token = _Token(settings, self._session, self._pause, clock)

    def resources(self, of: ResourceType[AnyResource]) -> "Resources[AnyResource]":
        """Return the reader of one type. The callers of one reader share calls, so make one for each type."""
        return Resources(self, of, call_seconds=self._call_seconds, clock=self._clock)

    def query(self, path: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the `results` of a query, in one call. Raises CannotRead, among it RequestRefused and TooSlow."""
        return _results(self.get(path, parameters, self._clock() + self._call_seconds))

    def get(self, path: str, parameters: Mapping[str, Any], deadline: float) -> requests.Response:
        """Return the answer to a GET within the project, whatever its status. Raises CannotRead without an answer."""
        return self._ask(self._session.get, f"{self._project}/{path}", deadline, params=parameters)

    def _ask(
        self, method: Callable[..., requests.Response], url: str, deadline: float, **request: object
    ) -> requests.Response:
        """Call with a token, and once more with a new one if it is refused. Raises CannotRead without an answer."""
        token = self._token.get(deadline)
        answer = self._ask_with(token, method, url, deadline, request)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            answer = self._ask_with(self._token.get(deadline, instead_of=token), method, url, deadline, request)
        return answer

    def _ask_with(
        self,
        token: str,
        method: Callable[..., requests.Response],
        url: str,
        deadline: float,
        request: Mapping[str, object],
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return _call(self._pause, deadline - self._clock(), method, url, headers=headers, **request)


class Resources(Generic[AnyResource]):
    """Reads resources of one type by their ids. Threads and greenlets may share it."""

    def __init__(
        self,
        client: CommercetoolsClient,
        of: ResourceType[AnyResource],
        *,
        call_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._of = of
        self._call_seconds = call_seconds
        self._clock = clock
        self._reads: GroupCommit[str, _Read] = GroupCommit(
            self._query, max_items=of.query_size, slots=of.queries, call_seconds=call_seconds, clock=clock
        )

    def now(self, notification: Notification, deadline: float) -> AnyResource | None:
        """Return the notification's resource, at the notification's version or a newer one; None if it does not exist.

        Raises CannotRead if it cannot be read by `deadline`, and Malformed if it cannot be parsed.
        """
        document = self.read(notification.resource_id, notification.version, deadline)
        return None if document is None else self._of.parse(document)

    def by_id(self, notification: Notification, deadline: float) -> AnyResource | None:
        """Return the notification's resource as it is at this moment, by a call of its own; None if it does not exist.

        A read by id shows every change that came before it; a query may not. Raises CannotRead and Malformed.
        """
        document = self.document_by_id(self._checked(notification.resource_id), deadline)
        if document is not None and _older(document, notification.version):
            raise CannotRead("commercetools shows an older version than the notification's")
        return None if document is None else self._of.parse(document)

    def has_other(self, field: str, values: Sequence[str], resource_id: str, deadline: float) -> bool:
        """Tell whether a resource other than this one has one of the values in a field. It is a query, which may lag.

        https://docs.commercetools.com/api/predicates/query#input-variables. Raises CannotRead.
        """
        variables = {f"var.value{number}": _as_utf8(value) for number, value in enumerate(values)}
        where = " or ".join(f"{field} = :value{number}" for number in range(len(values)))
        query = {"where": where, "limit": "2", "withTotal": "false", **variables}
        deadline = min(deadline, self._clock() + self._call_seconds)
        found = _results(self._client.get(self._of.path, query, deadline))
        return any(isinstance(document, dict) and document.get("id") != resource_id for document in found)

    def oldest(self, where: str, deadline: float) -> Sequence[str]:
        """Return the ids of the two oldest resources that fulfil a predicate. It is a query, which may lag.

        Raises CannotRead.
        """
        query = {"where": where, "sort": ["createdAt asc", "id asc"], "limit": "2", "withTotal": "false"}
        deadline = min(deadline, self._clock() + self._call_seconds)
        found = _results(self._client.get(self._of.path, query, deadline))
        try:
            return [self._checked(document["id"]) for document in found]
        except (KeyError, TypeError, Malformed):
            raise CannotRead(_NOT_COMMERCETOOLS) from None

    def _checked(self, resource_id: str) -> str:
        if not is_id(resource_id):
            raise Malformed(f"the {self._of.name}'s id is none that commercetools gives")
        return resource_id

    def read(self, resource_id: str, version: int | None, deadline: float) -> Mapping[str, Any] | None:
        """Return commercetools' JSON of a resource, at this version or a newer one; None if it does not exist."""
        try:
            found = self._reads.submit(self._checked(resource_id), deadline=deadline)
        except (NeverSent, CallFailed) as unsettled:
            raise CannotRead(str(unsettled)) from None
        if found.problem is not None:
            raise CannotRead(found.problem)
        if found.document is not None and not _older(found.document, version):
            return found.document
        document = self.document_by_id(resource_id, deadline)
        if document is not None and _older(document, version):
            raise CannotRead("commercetools shows an older version than the notification's")
        return document

    def _query(self, ids: Sequence[str]) -> list[_Read]:
        try:
            by_id = _by_id(self._client.query(self._of.path, _those(ids, self._of)))
        except CannotRead as problem:
            return [_Read(problem=str(problem))] * len(ids)
        return [_Read(by_id.get(id_)) for id_ in ids]

    def document_by_id(self, resource_id: str, deadline: float) -> Mapping[str, Any] | None:
        """Return commercetools' JSON of a resource, by a call of its own; None if it does not exist."""
        deadline = min(deadline, self._clock() + self._call_seconds)
        answer = self._client.get(f"{self._of.path}/{resource_id}", {"expand": self._of.expand}, deadline)
        if answer.status_code == HTTPStatus.NOT_FOUND and _is_resource_not_found(answer):
            return None
        document = _answered(answer)
        if document.get("id") != resource_id:
            raise CannotRead(_NOT_COMMERCETOOLS)
        return document


class CommercetoolsProject(CommercetoolsClient):
    """What the operator's commands need besides: pages of resources, and requests to any path of the project.

    Nothing here retries, except after a refused token: the caller decides whether to retry.
    """

    @property
    def is_paused(self) -> bool:
        """Whether commercetools asked for a pause that is not over, so that no call would be made."""
        try:
            self._pause.check()
        except NotCalled:
            return True
        return False

    def granted_scopes(self) -> frozenset[str]:
        """Return the scopes of the access token, as "view_customers:my-project". Raises CannotRead."""
        self._token.get(self._clock() + self._call_seconds)
        return self._token.scopes

    def ask(
        self, method: str, path: str = "", *, query: Mapping[str, object] | None = None, document: object = None
    ) -> tuple[int, Mapping[str, Any]]:
        """Return the status and the JSON object that commercetools answers; raise CannotRead if it does not answer.

        `path` is relative to the project ("/subscriptions"). `document`, if given, is sent as JSON.
        """
        answer = self._ask(
            partial(self._session.request, method),
            f"{self._project}{path}",
            self._clock() + self._call_seconds,
            params=query,
            json=document,
        )
        return answer.status_code, _json_object(answer)

    def page_after(
        self, of: ResourceType[AnyResource], resource_id: str, where: Sequence[str] = (), limit: int = PAGE
    ) -> "Page":
        """Return the next page in the order of the ids: `limit` resources, or fewer if there are no more.

        They are commercetools' JSON. Each has an id greater than `resource_id` ("" for the first page) and fulfils
        every predicate in `where`. Raises CannotRead; among it RequestRefused if a retry is of no use, and TooSlow.
        """
        cursor = [f'id > "{resource_id}"'] if resource_id else []
        answer = self.get(
            of.path,
            {
                "where": [*where, *cursor],
                "sort": "id asc",
                "limit": str(limit),
                "withTotal": "false",
                "expand": of.expand,
            },
            self._clock() + self._call_seconds,
        )
        page = _results(answer)
        if not _in_order(page, resource_id):
            raise CannotRead(f"what answered 200 is not commercetools' page of {of.path}, in the order of their ids")
        return Page(page, len(answer.content), _date(answer))

    def by_ids(self, of: ResourceType[AnyResource], ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return commercetools' JSON of these resources, by id, as far as one query shows them. Raises CannotRead."""
        return _by_id(self.query(of.path, _those(ids, of)))

    def total(self, of: ResourceType[AnyResource], where: Sequence[str]) -> tuple[int, datetime | None]:
        """Return how many resources fulfil the predicates, and the answer's time, if it has one. Raises CannotRead."""
        query = {"where": where, "limit": "1", "withTotal": "true"}
        answer = self.get(of.path, query, self._clock() + self._call_seconds)
        total = _answered(answer).get("total")
        if not isinstance(total, int):
            raise CannotRead(_NOT_COMMERCETOOLS)
        return total, _date(answer)


class Page(NamedTuple):
    """Resources as commercetools' JSON; the size of the answer that had them, in bytes, and its time, if it has one."""

    documents: Sequence[Mapping[str, Any]]
    size: int
    date: datetime | None = None


def _date(answer: requests.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


class _Token:
    """The access token. It is kept until shortly before it expires, and one caller renews it for all."""

    def __init__(
        self, settings: CommercetoolsSettings, http: requests.Session, pause: Pause, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._session = http
        self._pause = pause
        self._clock = clock
        self._renewing = threading.Lock()
        self._token: str | None = None
        self._good_until = float("-inf")
        self.scopes: frozenset[str] = frozenset()  # of the token, as far as commercetools returns them

    def get(self, deadline: float, *, instead_of: str | None = None) -> str:
        """Return a valid token that is not `instead_of`, the one that was refused. Raises CannotRead."""
        if not self._renewing.acquire(timeout=max(0.0, deadline - self._clock())):
            raise CannotRead("no token came in time")
        try:
            if self._token is None or self._token == instead_of or self._clock() >= self._good_until:
                self._renew(deadline)
            return self._token or ""
        finally:
            self._renewing.release()

    def _renew(self, deadline: float) -> None:
        answer = _call(
            self._pause,
            deadline - self._clock(),
            self._session.post,
            f"{self._settings.auth_url}/oauth/token",
            data={"grant_type": "client_credentials", "scope": self._settings.scopes},
            auth=(self._settings.client_id, self._settings.client_secret),
        )
        if answer.status_code == HTTPStatus.BAD_REQUEST and _oauth_error(answer) == "invalid_scope":
            raise ScopesRefused(f"{_TOKENS} answered 400 invalid_scope", answer.status_code)
        document = _answered(answer, _TOKENS)
        token, seconds = document.get("access_token"), document.get("expires_in")
        if not (isinstance(token, str) and token and isinstance(seconds, int)):
            raise CannotRead("what answered for a token is not commercetools")
        self._token = token
        self.scopes = frozenset(str(document.get("scope", "")).split())
        self._good_until = self._clock() + max(seconds - _RENEW_AHEAD_SECONDS, seconds / 2)


def _call(
    pause: Pause, seconds: float, method: Callable[..., requests.Response], url: str, **request: object
) -> requests.Response:
    if seconds <= 0:
        raise CannotRead("no time was left to ask commercetools")
    try:
        pause.check()
        answer = method(url, timeout=timeout(seconds), **request)
    except NotCalled as not_called:
        raise CannotRead(str(not_called)) from None
    except requests.Timeout as error:
        raise TooSlow(f"commercetools was not reached: {why(error)}") from None
    except requests.RequestException as error:
        raise CannotRead(f"commercetools was not reached: {why(error)}") from None
    pause.heed(answer)
    return answer


_TOKENS = "commercetools' token endpoint"


def _answered(answer: requests.Response, party: str = "commercetools") -> dict[str, Any]:
    status = answer.status_code
    codes = [] if status == HTTPStatus.OK else _error_codes(answer)
    for code in _TOO_MUCH.intersection(codes):
        raise TooSlow(f"{party} answered {status} {code}")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _MAY_PASS:
        for code in _PASSING.intersection(codes):
            raise CannotRead(f"{party} answered {status} {code}")
        kind = TokenRefused if party == _TOKENS else RequestRefused
        raise kind(f"{party} answered {status}", status, codes)
    if status != HTTPStatus.OK:
        raise CannotRead(f"{party} answered {status}")
    return _json_object(answer)


def _json_object(answer: requests.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CannotRead(f"what answered {answer.status_code} is not commercetools")
    return document


def _oauth_error(answer: requests.Response) -> object:
    """Return the error code of a token endpoint's answer: https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""
    try:
        return _json_object(answer).get("error")
    except CannotRead:
        return None


def _results(answer: requests.Response) -> list[Any]:
    results = _answered(answer).get("results")
    if not isinstance(results, list):
        raise CannotRead(_NOT_COMMERCETOOLS)
    return results


def _those(ids: Sequence[str], of: ResourceType[Any]) -> dict[str, Any]:
    """Return the query for the resources with these ids."""
    predicate = ", ".join(f'"{id_}"' for id_ in ids)
    return {"where": f"id in ({predicate})", "limit": str(len(ids)), "withTotal": "false", "expand": of.expand}


def _by_id(documents: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    try:
        return {document["id"]: document for document in documents}
    except (KeyError, TypeError):
        raise CannotRead(_NOT_COMMERCETOOLS) from None


def is_id(text: str) -> bool:
    """Tell whether commercetools gives such ids. Nothing else may enter a predicate or a path."""
    return bool(_ID.fullmatch(text))


def _is_resource_not_found(answer: requests.Response) -> bool:
    """Tell whether a 404 is commercetools' own: that of a proxy says nothing about the resource."""
    _json_object(answer)
    return "ResourceNotFound" in _error_codes(answer)


def _error_codes(answer: requests.Response) -> list[str]:
    """Return the codes that commercetools gives the errors of an answer, each once; none of another server's answer."""
    try:
        errors = answer.json()["errors"]
        codes = [error["code"] for error in errors]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    return list(dict.fromkeys(code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)))


def _as_utf8(text: str) -> str:
    """Return the text as an address can have it: JSON can also bring half of a surrogate pair."""
    return text.encode(errors="replace").decode()


def _in_order(page: Sequence[object], after: str) -> bool:
    """Tell whether the ids of these resources increase from `after` on, so that a cursor skips none of them."""
    for document in page:
        resource_id = document.get("id") if isinstance(document, dict) else None
        if not (isinstance(resource_id, str) and _ID.fullmatch(resource_id) and resource_id > after):
            return False
        after = resource_id
    return True


def _older(document: Mapping[str, Any], version: int | None) -> bool:
    shown = document.get("version")
    return version is not None and isinstance(shown, int) and shown < version
