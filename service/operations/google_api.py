"""Google's REST APIs, called as the application default credentials may.

https://cloud.google.com/docs/authentication/application-default-credentials
https://cloud.google.com/apis/design/errors
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import requests

from service.operations import Exit, Trouble, cause_of, plain
from service.serving.upstream import CALL_SECONDS, session, timeout

Document = Mapping[str, Any]


class NotReached(Trouble):
    """There was no answer, or no access token yet: a retry may succeed."""


class NoCredentials(Trouble):
    """There are no credentials here, or Google does not take them."""

    def __init__(self, more: str = "") -> None:
        super().__init__(f"{NO_CREDENTIALS}{more}.", Exit.UNUSABLE)


NO_CREDENTIALS = "There are no usable Google credentials here. Run: gcloud auth application-default login"


def address_of(api: str, shell: Mapping[str, str]) -> str:
    """Return the address of an API such as "run". The shell may name another one, by gcloud's own variable.

    https://cloud.google.com/sdk/docs/properties#api_endpoint_overrides
    """
    given = shell.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}", "").strip()
    return (given or f"https://{api}.googleapis.com").rstrip("/")


class GoogleApi:
    """Calls APIs with the credentials' access token and quota project. `name` says in errors who was called.

    `credentials` are of google-auth, which comes without types; None is the application default ones.
    """

    def __init__(self, name: str, scope: str, credentials: Any = None) -> None:  # noqa: ANN401  # as above
        self._name = name
        self._scope = scope
        self._session = session()
        self._credentials = credentials
        self._project: str | None = None

    @property
    def project(self) -> str | None:
        """The project that the credentials or gcloud's configuration name. Raises NoCredentials."""
        self._load()
        return self._project

    def call(self, method: str, url: str, *, seconds: float = CALL_SECONDS, **request: Any) -> requests.Response:  # noqa: ANN401  # requests' own
        """Return the answer, whatever its status. Raises NotReached and NoCredentials."""
        headers = {**request.pop("headers", {}), **self._headers(method, url)}
        try:
            return self._session.request(method, url, headers=headers, timeout=timeout(seconds), **request)
        except requests.RequestException as error:
            raise NotReached(f"{self._name} was not reached: {cause_of(error)}.") from None

    def _headers(self, method: str, url: str) -> dict[str, str]:
        from google.auth.exceptions import TransportError  # noqa: PLC0415  # 0.2 s, for some commands alone
        from google.auth.transport.requests import Request  # noqa: PLC0415  # as above

        headers: dict[str, str] = {}
        self._load()
        try:
            self._credentials.before_request(
                partial(Request(self._session), timeout=CALL_SECONDS), method, url, headers
            )
        except Exception as error:  # noqa: BLE001  # a file of credentials may hold anything
            # Some errors say so themselves; a metadata server that was not reached is the cause of a RefreshError.
            may_pass = getattr(error, "retryable", False) or isinstance(error.__cause__, TransportError)
            if may_pass or isinstance(error, TransportError):
                raise NotReached(f"{self._name} was not called: Google gave no access token.") from None
            raise NoCredentials from None
        return headers

    def _load(self) -> None:
        if self._credentials is not None:
            return
        import google.auth  # noqa: PLC0415  # as above

        try:
            self._credentials, self._project = google.auth.default(scopes=[self._scope])
        except Exception:  # noqa: BLE001  # as above
            raise NoCredentials from None


def document_of(answer: requests.Response) -> Document | None:
    """Return the JSON object of an answer, None if it is none."""
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def said_by(answer: requests.Response) -> str:
    """Return Google's own sentence about an error, "" if there is none."""
    return plain(str(_error(answer).get("message", "")))[:300].rstrip(".")


def what_to_do_about(answer: requests.Response, advice: str) -> str:
    """Return what to do about a refusal: `advice`, unless the API is off or the quota project is to blame."""
    reasons = {each.get("reason"): each for each in _error(answer).get("details", ()) if isinstance(each, dict)}
    if "SERVICE_DISABLED" in reasons:
        service = (reasons["SERVICE_DISABLED"].get("metadata") or {}).get("service") or "SERVICE"
        return (
            f"Its API is off (gcloud services enable {service}), or the credentials have no quota project "
            "(gcloud auth application-default set-quota-project PROJECT)."
        )
    if "USER_PROJECT_DENIED" in reasons:
        return "It takes roles/serviceusage.serviceUsageConsumer on the quota project of the credentials."
    return advice


def _error(answer: requests.Response) -> Document:
    error = (document_of(answer) or {}).get("error")
    return error if isinstance(error, dict) else {}
