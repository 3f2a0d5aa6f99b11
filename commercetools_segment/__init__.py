"""The Python interface of commercetools-segment: docs/usage.md.

The wheel has a copy of the modules of `service` in this package (setup.py), so that a folder `service` of the user's
own does not hide them.
"""

from service.commercetools.notification import PayloadValidation, validate_payload
from service.config import ClearTraits, ConfigError, OrderImports, UserIdField
from service.library import (
    IdentifyClient,
    events_of_customer,
    events_of_order,
    rules_from_environment,
    send_batch_to_segment,
    send_customer_to_segment,
    send_customer_to_segment_with_client,
    send_events,
    send_if_valid,
)
from service.segment.client import SegmentClient, create_segment_client
from service.segment.types import (
    Events,
    NotDelivered,
    SegmentError,
    SegmentEvent,
    SegmentIdentifyPayload,
    SegmentIntegrationResult,
    is_error,
    is_success,
)
from service.serving.decoding import Malformed
from service.transformation.customer import IdentifyRules, NoConsent, transform_customer_to_segment

__all__ = [
    "ClearTraits",
    "ConfigError",
    "Events",
    "IdentifyClient",
    "IdentifyRules",
    "Malformed",
    "NoConsent",
    "NotDelivered",
    "OrderImports",
    "PayloadValidation",
    "SegmentClient",
    "SegmentError",
    "SegmentEvent",
    "SegmentIdentifyPayload",
    "SegmentIntegrationResult",
    "UserIdField",
    "create_segment_client",
    "events_of_customer",
    "events_of_order",
    "is_error",
    "is_success",
    "rules_from_environment",
    "send_batch_to_segment",
    "send_customer_to_segment",
    "send_customer_to_segment_with_client",
    "send_events",
    "send_if_valid",
    "transform_customer_to_segment",
    "validate_payload",
]
