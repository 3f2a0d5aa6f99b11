"""What Segment is told, and what it answers."""

from service.segment.client import SegmentClient, create_segment_client
from service.segment.types import (
    NotDelivered,
    SegmentError,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
    is_error,
    is_success,
)

__all__ = [
    "NotDelivered",
    "SegmentClient",
    "SegmentError",
    "SegmentIdentifyPayload",
    "SegmentIntegrationResult",
    "create_segment_client",
    "is_error",
    "is_success",
]
