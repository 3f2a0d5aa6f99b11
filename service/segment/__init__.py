"""The events that Segment gets, and its answers.

The client is imported when it is used: `service.serving.gunicorn_conf` checks the rules, which need the types of events
alone, before gevent has replaced the sockets of the process.
"""

import importlib
from typing import TYPE_CHECKING, Any

from service.segment.types import (
    NotDelivered,
    SegmentError,
    SegmentEvent,
    SegmentGroupPayload,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
    SegmentTrackPayload,
    is_error,
    is_success,
)

if TYPE_CHECKING:
    from service.segment.client import SegmentClient, create_segment_client

__all__ = [
    "NotDelivered",
    "SegmentClient",
    "SegmentError",
    "SegmentEvent",
    "SegmentGroupPayload",
    "SegmentIdentifyPayload",
    "SegmentIntegrationResult",
    "SegmentTrackPayload",
    "create_segment_client",
    "is_error",
    "is_success",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # SegmentClient or create_segment_client
    if name in __all__:
        return getattr(importlib.import_module("service.segment.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
