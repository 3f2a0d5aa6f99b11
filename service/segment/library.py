"""The Segment library, which builds each event and posts the batches: https://github.com/segmentio/analytics-python.

This module adapts it to confirmed delivery. It uses two private names of the library, so the version is pinned exactly:
docs/libraries.md.
"""

import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any
from uuid import uuid4

import requests

from service.serving.upstream import session, timeout


class _ImportedWhenUsed(ModuleType):
    """Replaces a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the module has
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _imported_when_used(name: str) -> Iterator[None]:
    """Delay the import of this module in all that is imported meanwhile."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _ImportedWhenUsed(name)
    try:
        yield
    finally:
        del sys.modules[name]


# PyJWT is for the library's OAuth, which is not used here. It imports cryptography, which takes long.
with _imported_when_used("jwt"):
    from segment.analytics import request
    from segment.analytics.client import Client, require
    from segment.analytics.consumer import MAX_MSG_SIZE
    from segment.analytics.request import APIError
    from segment.analytics.utils import guess_timezone
    from segment.analytics.version import VERSION

__all__ = ["MAX_MSG_SIZE", "APIError", "Builder", "close", "post"]

logging.getLogger("segment").setLevel(logging.CRITICAL)  # its lines quote whole requests, the write key included

# The library posts through this session of its module. Ours limits the whole call and follows no redirect.
request._session = session()  # noqa: SLF001  # there is no public way to set it

_LIBRARY = {"name": "analytics-python", "version": VERSION}


class Builder(Client):  # type: ignore[misc]  # it comes without types
    """The library's client, without its copy and its JSON of each event: our events are JSON types already.

    An event without a timestamp stays so, and has the time of its arrival at Segment:
    https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api/#timestamp
    """

    def __init__(self, write_key: str) -> None:
        super().__init__(write_key, send=False, sync_mode=True)

    def _enqueue(self, msg: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        built = {
            **msg,
            "messageId": msg["messageId"] or str(uuid4()),
            "context": {**msg["context"], "library": _LIBRARY},
        }
        moment = built.pop("timestamp")
        if moment:
            require("timestamp", moment, datetime)
            built["timestamp"] = guess_timezone(moment).isoformat(timespec="milliseconds")
        return True, built


def post(write_key: str, host: str, events: Sequence[dict[str, Any]], *, seconds: float) -> requests.Response:
    """Post these events in one call that takes at most so many seconds.

    Raises APIError for an answer beyond 2xx, and requests' own exceptions.
    """
    response: requests.Response = request.post(write_key, host, timeout=timeout(seconds), batch=list(events))
    return response


def close() -> None:
    """Close the connections. A later call opens them again."""
    request._session.close()  # noqa: SLF001  # as above
