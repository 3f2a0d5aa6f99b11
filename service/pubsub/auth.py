"""Checks that a request comes from our push subscription.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import requests

from service.config import PushAuth, Settings
from service.serving.upstream import session, timeout

_ISSUERS = ("https://accounts.google.com", "accounts.google.com")  # both spellings occur
_CLOCK_SKEW_SECONDS = 10
_REFETCH_SECONDS = 30.0  # the shortest interval, so that forged key ids cannot cause endless calls to Google
_MOST_TOKENS = 100  # verified tokens to keep; a push subscription uses one or two at a time
_DEFAULT_MAX_AGE = 3600.0
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


class Unauthenticated(Exception):
    """The request has no token, or its token is not valid."""


class Forbidden(Exception):
    """The token is valid, but for another account or another audience."""


class CannotVerify(Exception):
    """Google's certificates cannot be fetched, so no token can be verified for now."""


Authenticate = Callable[[str | None], None]
"""Gets the Authorization header; returns, or raises Unauthenticated, Forbidden or CannotVerify."""


def authenticate_by(
    settings: Settings, certificates: "KnowsCertificates | None" = None, now: Callable[[], float] = time.time
) -> Authenticate:
    """Return the check that PUSH_AUTH chooses. `now` is the time of day, in seconds since 1970.

    With `iam` Cloud Run has verified the token and removed its signature, so only its claims can be checked; they are,
    if an audience or an account is configured. With `oidc` this service verifies the whole token, once: a verified
    token is accepted until it expires.
    """
    match settings.push_auth:
        case PushAuth.NONE:
            return _anybody
        case PushAuth.IAM if settings.push_audience is None and settings.push_service_account is None:
            return _anybody
        case PushAuth.IAM:
            return _Claims(settings).check_unverified
        case PushAuth.OIDC:
            return _Claims(settings, certificates or Certificates(settings.push_certs_url), now).check_verified


def _anybody(_authorization: str | None) -> None:
    return


class KnowsCertificates(Protocol):
    """Gives Google's certificates, PEM by key id, with the certificate of this key if there is one."""

    def for_key(self, key_id: str) -> Mapping[str, str]: ...


class _Claims:
    def __init__(
        self,
        settings: Settings,
        certificates: KnowsCertificates | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        # Imported here, since it imports cryptography, which the other modes do not need.
        from google.auth import jwt  # noqa: PLC0415

        self._jwt: Any = jwt  # it comes without types
        self._audience = settings.push_audience
        self._account = settings.push_service_account
        self._certificates = certificates
        self._now = now
        self._verified: dict[str, float] = {}  # verified tokens, and when they expire

    def check_unverified(self, authorization: str | None) -> None:
        try:
            claims = self._jwt.decode(_bearer_token(authorization), verify=False)
        except (ValueError, RecursionError):
            raise Unauthenticated("the token cannot be read") from None
        self._check(claims)

    def check_verified(self, authorization: str | None) -> None:
        token = _bearer_token(authorization)
        if self._now() < self._verified.get(token, 0):
            return  # Pub/Sub sends the same token for most of an hour
        try:
            header = self._jwt.decode_header(token)
        except (ValueError, RecursionError):
            raise Unauthenticated("the token cannot be read") from None
        if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
            raise Unauthenticated("the token is not signed as Google signs")
        certificates = self._certificates.for_key(header["kid"]) if self._certificates else {}
        try:
            claims = self._jwt.decode(token, certs=certificates, clock_skew_in_seconds=_CLOCK_SKEW_SECONDS)
        except (ValueError, TypeError, RecursionError):  # TypeError: a time in it is not a number
            raise Unauthenticated("the token is not genuine or not valid now") from None
        if claims.get("iss") not in _ISSUERS:
            raise Unauthenticated("the token was not issued by Google")
        self._check(claims)
        if len(self._verified) >= _MOST_TOKENS:
            self._verified.clear()
        self._verified[token] = float(claims["exp"])

    def _check(self, claims: Mapping[str, Any]) -> None:
        if self._audience is not None and claims.get("aud") != self._audience:
            raise Forbidden("the token is for another audience")
        if self._account is not None and (
            claims.get("email") != self._account or claims.get("email_verified") is not True
        ):
            raise Forbidden("the token is another account's")


def _bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the request carries no token")
    return token


class Certificates:
    """Google's certificates, a mapping of key id to PEM, kept for as long as their Cache-Control says.

    They are fetched again for an unknown key id, at most once in 30 seconds. The old ones stay in use while Google
    cannot be reached.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._session = session()
        self._fetching = threading.Lock()
        self._by_key: Mapping[str, str] = {}
        self._fresh_until = float("-inf")
        self._next_fetch = float("-inf")

    def for_key(self, key_id: str) -> Mapping[str, str]:
        """Return the certificates, after a fetch if they are stale or lack the key. Raises CannotVerify without any."""
        # A caller whose key is missing waits for the fetch in flight; a caller whose key is there does not wait.
        if self._wants_fetch(key_id) and self._fetching.acquire(blocking=key_id not in self._by_key):
            try:
                if self._wants_fetch(key_id) and self._clock() >= self._next_fetch:
                    self._fetch()
            finally:
                self._fetching.release()
        if not self._by_key:
            raise CannotVerify("Google's certificates cannot be fetched")
        return self._by_key

    def _wants_fetch(self, key_id: str) -> bool:
        return key_id not in self._by_key or self._clock() >= self._fresh_until

    def _fetch(self) -> None:
        self._next_fetch = self._clock() + _REFETCH_SECONDS
        try:
            response = self._session.get(self._url, timeout=timeout())
            response.raise_for_status()
            fetched = response.json()
        except (requests.RequestException, ValueError):
            return
        if isinstance(fetched, dict) and fetched and all(isinstance(pem, str) for pem in fetched.values()):
            max_age = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
            self._by_key = fetched
            self._fresh_until = self._clock() + (float(max_age[1]) if max_age else _DEFAULT_MAX_AGE)
