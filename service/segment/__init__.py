"""The events that Segment gets, and its answers."""

from service.segment.client import SegmentClient, create_segment_client
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
