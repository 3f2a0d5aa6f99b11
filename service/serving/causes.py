"""Why a call got no answer, in words: for the log and for the operator's commands."""

import socket
import ssl
from collections.abc import Iterator, Sequence

import requests

from service.serving.upstream import NoCertificates


def why(error: BaseException) -> str:
    """Return the cause of an error of requests: DNS, refused, TLS, time. It quotes nothing of the error."""
    seen = list(_within(error))
    for kinds, words in _CAUSES:
        if any(isinstance(each, kinds) for each in seen):
            return words
    return f"the connection failed ({type(error).__name__})"


def _within(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made from; urllib3 keeps some in `reason`, requests in `args`."""
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        pending += [one for one in inner if isinstance(one, BaseException)]


_CAUSES: Sequence[tuple[tuple[type[BaseException], ...], str]] = (
    # A proxy comes first, whatever the cause: the other words are about the host that was called.
    ((requests.exceptions.ProxyError,), "the proxy that HTTPS_PROXY or HTTP_PROXY names was not reached"),
    ((socket.gaierror,), "DNS does not know this host"),
    ((NoCertificates,), "TLS: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names cannot be read"),
    ((requests.exceptions.SSLError, ssl.SSLError), "TLS: its certificate is not trusted, or it does not speak TLS"),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((requests.Timeout, TimeoutError), "no answer in time"),
    ((requests.exceptions.ChunkedEncodingError,), "the answer broke off"),
    ((ConnectionResetError, BrokenPipeError), "the connection was closed"),
)
