"""Calls to upstreams: with a timeout for the whole call, without redirects, and not during a requested pause."""

import io
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine, RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError

from service.serving import greenlets

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from requests import PreparedRequest, Response
    from urllib3.response import HTTPResponse

CALL_SECONDS = 10.0
"""One call, from connecting to the last byte of the answer; see "Numbers that nest" in docs/decisions.md."""
CONNECT_SECONDS = 3.0
_LONGEST_PAUSE = 300.0  # after a Retry-After of an hour, the next call is made after five minutes

_CONNECTIONS = 32  # kept alive for each host; more than the slots of every group commit

# urllib3 warns of invalid headers in an answer, and quotes them.
logging.getLogger("urllib3.connection").addFilter(
    lambda record: not str(record.msg).startswith("Failed to parse headers")
)


class NotCalled(Exception):
    """No call was made: the upstream asked for a pause. The text says how long it still lasts."""


class Pause:
    """Remembers a Retry-After. Until it is over, `check` raises, so that no call is made."""

    def __init__(self, party: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._party = party
        self._clock = clock
        self._over_at = 0.0

    def check(self) -> None:
        """Raise NotCalled while the pause lasts."""
        left = self._over_at - self._clock()
        if left > 0:
            raise NotCalled(f"{self._party} asked for a pause of another {left:.0f} s")

    def heed(self, response: "Response") -> None:
        """Start a pause if this answer is a 429 or a 503 with a duration.

        The duration is in Retry-After (RFC 9110, 10.2.3: seconds or a date), or in X-RateLimit-Reset: seconds in
        Segment's Tracking API, a date in its Public API.
        """
        if response.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            seconds = _seconds(response.headers.get("Retry-After") or response.headers.get("X-RateLimit-Reset", ""))
            self._over_at = max(self._over_at, self._clock() + min(seconds, _LONGEST_PAUSE))


def _seconds(retry_after: str) -> float:
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # OverflowError: a year with twenty digits
        return 0.0
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def timeout(seconds: float = CALL_SECONDS) -> Any:  # noqa: ANN401  # requests takes it, its type stubs do not know
    """Return requests' `timeout` argument that limits a whole call made through `session()`."""
    return Timeout(total=seconds, connect=min(CONNECT_SECONDS, seconds))


def session() -> requests.Session:
    """Return a session for calls whose outcome must be certain.

    It follows no redirect (a POST would come back as a GET), keeps no cookie, lets no netrc entry replace an
    Authorization header, bounds the whole answer by the timeout instead of each read, and tries again, once and at
    once, only where a kept-alive connection turned out to be dead.
    """
    made = _Session()
    made.auth = _as_it_is  # requests does not read netrc if there is an auth
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    _mount_fresh_connections(made)
    _sessions.add(made)
    return made


def _mount_fresh_connections(made: requests.Session) -> None:
    adapter = _Adapter(pool_maxsize=_CONNECTIONS, max_retries=_OnceMoreIfDead(1, allowed_methods=None))
    made.mount("http://", adapter)
    made.mount("https://", adapter)


_sessions: WeakSet[requests.Session] = WeakSet()


def _leave_connections_to_the_parent() -> None:
    for made in _sessions:
        _mount_fresh_connections(made)


# If two processes write to one connection, each gets answers of the other.
os.register_at_fork(after_in_child=_leave_connections_to_the_parent)


def _as_it_is(request: "PreparedRequest") -> "PreparedRequest":
    return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: "Response") -> None:  # noqa: ARG002  # the name is requests' own
        return None


class _OnceMoreIfDead(Retry):
    def increment(  # the names are urllib3's own
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,  # noqa: ANN401  # urllib3 keeps this type to itself
        error: Exception | None = None,
        _pool: Any = None,  # noqa: ANN401  # as above
        _stacktrace: "TracebackType | None" = None,
    ) -> "_OnceMoreIfDead":
        died_idle = any(isinstance(cause, _KeptAliveConnectionDied) for cause in getattr(error, "args", ()))
        if error is not None and not (died_idle and self.total):
            raise error if isinstance(error, ProtocolError | ReadTimeoutError) else MaxRetryError(_pool, url, error)
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def is_retry(self, *_: object, **__: object) -> bool:
        return False  # no retry after an answer, whatever its status


class _KeptAliveConnectionDied(RemoteDisconnected):
    pass


class _Bounded:
    """Mixin for a connection: limits the time of the whole answer, and marks one that died while it was idle."""

    sock: "socket.socket"  # None before connect, whatever its type says
    _answered = False

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # the connection that this is mixed into
        self.sock = _BoundedSocket(self.sock)  # type: ignore[assignment]  # replaces it
        self._answered = False

    @property
    def is_connected(self) -> bool:
        # urllib3 calls this before each use of a kept-alive connection. No other greenlet may run before the call.
        if greenlets.instead_of_threads():
            return self.sock is not None and not greenlets.can_be_read(self.sock)
        return bool(super().is_connected)  # type: ignore[misc]  # as above

    def getresponse(self) -> "HTTPResponse":
        try:
            response: HTTPResponse = super().getresponse()  # type: ignore[misc]  # as above
        except (ConnectionError, BadStatusLine) as error:
            if self._answered:
                raise _KeptAliveConnectionDied("a kept-alive connection was dead") from error
            raise
        self._answered = True
        return response


class _BoundedSocket:
    def __init__(self, sock: "socket.socket") -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the socket has
        return getattr(self._sock, name)

    def makefile(self, mode: str) -> io.BufferedReader:
        if mode != "rb":
            raise ValueError(mode)
        return io.BufferedReader(_WholeAnswer(self._sock))


class _WholeAnswer(io.RawIOBase):
    """The bytes of an answer. All reads together get the time of the socket's timeout."""

    def __init__(self, sock: "socket.socket") -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (sock.gettimeout() or CALL_SECONDS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # a writable buffer has no name before Python 3.12
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _HTTPConnection(_Bounded, HTTPConnection):  # type: ignore[misc]  # urllib3 hides its own response class
    pass


class _HTTPSConnection(_Bounded, HTTPSConnection):  # type: ignore[misc]  # as above
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class NoCertificates(requests.exceptions.SSLError):
    """The file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names is not there; requests raises a bare OSError."""


class _Adapter(HTTPAdapter):
    def cert_verify(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed through
        try:
            super().cert_verify(*args, **kwargs)  # type: ignore[no-untyped-call]  # types-requests leaves it so
        except OSError:
            raise NoCertificates from None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed through
        super().init_poolmanager(*args, **kwargs)
        _use_bounded_connections(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:  # noqa: ANN401  # handed through
        manager: PoolManager = super().proxy_manager_for(*args, **kwargs)
        _use_bounded_connections(manager)
        return manager


def _use_bounded_connections(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
