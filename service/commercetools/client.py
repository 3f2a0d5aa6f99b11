"""How customers are now: reads commercetools' API, many callers to a call.

https://docs.commercetools.com/api/projects/customers#query-customers
https://docs.commercetools.com/api/authorization#client-credentials-flow
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests

from service.commercetools.customer import CannotRead, Customer, read_customer
from service.commercetools.notification import Notification
from service.config import CommercetoolsSettings
from service.decoding import Malformed
from service.group_commit import CallFailed, GroupCommit, NeverSent
from service.upstream import CALL_SECONDS, NotCalled, Pause, session, timeout

_MAX_IDS = 100
_SLOTS = 2  # one call leaves while the other is away; more would only make each smaller
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")  # ids are UUIDs; nothing else gets into a predicate or a path
_RENEW_AHEAD_SECONDS = 60.0

# Why a query and not a read for each: a hundred notifications at once then cost one call. The query may lag behind, so
# a customer who is missing or older than the notification is read once more by id, which does not.


@dataclass(frozen=True, slots=True)
class _Read:
    """What a query told of one id: the document, or a problem; neither where the answer did not hold it."""

    document: Mapping[str, Any] | None = None
    problem: str | None = None


class CustomerReader:
    """Reads customers by id. Threads and greenlets may share it."""

    def __init__(
        self,
        settings: CommercetoolsSettings,
        *,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._customers = f"{settings.api_url}/{settings.project_key}/customers"
        self._call_seconds = call_seconds
        self._clock = clock
        self._session = session()
        self._pause = Pause("commercetools", clock)
        self._token = _Token(settings, self._session, self._pause, clock)
        self._reads: GroupCommit[str, _Read] = GroupCommit(
            self._query, max_items=_MAX_IDS, slots=_SLOTS, call_seconds=call_seconds, clock=clock
        )

    def customer_now(self, notification: Notification, deadline: float) -> Customer | None:
        """Return the customer that a notification is about, at its version or a newer one; None if it is no more.

        Raises CannotRead if that cannot be found out by `deadline`, and Malformed if what is there is no customer.
        """
        document = self.read(notification.resource_id, notification.version, deadline)
        return None if document is None else read_customer(document)

    def read(self, customer_id: str, version: int | None, deadline: float) -> Mapping[str, Any] | None:
        """Return commercetools' JSON of a customer, at least of this version; None if there is no such customer."""
        if not _ID.fullmatch(customer_id):
            raise Malformed("the customer's id is none that commercetools gives")
        try:
            found = self._reads.submit(customer_id, deadline=deadline)
        except (NeverSent, CallFailed) as unsettled:
            raise CannotRead(str(unsettled)) from None
        if found.problem is not None:
            raise CannotRead(found.problem)
        if found.document is not None and not _older(found.document, version):
            return found.document
        document = self._read_by_id(customer_id, deadline)
        if document is not None and _older(document, version):
            raise CannotRead("commercetools shows an older version than the notification's")
        return document

    def _query(self, ids: Sequence[str]) -> list[_Read]:
        predicate = ", ".join(f'"{id_}"' for id_ in ids)
        where = {
            "where": f"id in ({predicate})",
            "limit": str(len(ids)),
            "withTotal": "false",
            "expand": "customerGroup",
        }
        try:
            results = _answered(self._get(self._customers, where, self._clock() + self._call_seconds))["results"]
            by_id = {document["id"]: document for document in results}
        except CannotRead as problem:
            return [_Read(problem=str(problem))] * len(ids)
        except (KeyError, TypeError):
            return [_Read(problem="what answered 200 is not commercetools")] * len(ids)
        return [_Read(by_id.get(id_)) for id_ in ids]

    def _read_by_id(self, customer_id: str, deadline: float) -> Mapping[str, Any] | None:
        deadline = min(deadline, self._clock() + self._call_seconds)
        answer = self._get(f"{self._customers}/{customer_id}", {"expand": "customerGroup"}, deadline)
        if answer.status_code == HTTPStatus.NOT_FOUND and _is_resource_not_found(answer):
            return None
        document = _answered(answer)
        if document.get("id") != customer_id:
            raise CannotRead("what answered 200 is not commercetools")
        return document

    def _get(self, url: str, query: Mapping[str, str], deadline: float) -> requests.Response:
        """Ask with a token; with a new one, once, if the token is refused. Raises CannotRead without an answer."""
        token = self._token.get(deadline)
        answer = self._get_with(token, url, query, deadline)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            answer = self._get_with(self._token.get(deadline, instead_of=token), url, query, deadline)
        return answer

    def _get_with(self, token: str, url: str, query: Mapping[str, str], deadline: float) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return _call(self._pause, deadline - self._clock(), self._session.get, url, params=query, headers=headers)


class _Token:
    """The access token: kept until shortly before it expires, and renewed by one caller for all."""

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

    def get(self, deadline: float, *, instead_of: str | None = None) -> str:
        """Return a token that is good for a while, and is not the one that was refused. Raises CannotRead."""
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
        document = _answered(answer, "commercetools' token endpoint")
        token, seconds = document.get("access_token"), document.get("expires_in")
        if not (isinstance(token, str) and token and isinstance(seconds, int)):
            raise CannotRead("what answered for a token is not commercetools")
        self._token = token
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
    except requests.RequestException as error:
        raise CannotRead(f"commercetools was not reached: {type(error).__name__}") from None
    pause.heed(answer)
    return answer


def _answered(answer: requests.Response, party: str = "commercetools") -> dict[str, Any]:
    if answer.status_code != HTTPStatus.OK:
        raise CannotRead(f"{party} answered {answer.status_code}")
    return _json_object(answer)


def _json_object(answer: requests.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CannotRead(f"what answered {answer.status_code} is not commercetools")
    return document


def _is_resource_not_found(answer: requests.Response) -> bool:
    """Tell commercetools' own 404 from that of a proxy or a mistyped address, which says nothing of the customer."""
    errors = _json_object(answer).get("errors")
    return isinstance(errors, list) and any(
        isinstance(error, dict) and error.get("code") == "ResourceNotFound" for error in errors
    )


def _older(document: Mapping[str, Any], version: int | None) -> bool:
    shown = document.get("version")
    return version is not None and isinstance(shown, int) and shown < version
