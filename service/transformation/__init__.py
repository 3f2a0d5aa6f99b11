"""commercetools' resources to Segment's events: pure functions without clock, environment, logger or network."""

from service.transformation.customer import (
    IdentifyRules,
    NoConsent,
    customer_events,
    transform_customer_to_segment,
    user_id_of_deleted,
)

__all__ = ["IdentifyRules", "NoConsent", "customer_events", "transform_customer_to_segment", "user_id_of_deleted"]
