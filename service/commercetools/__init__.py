"""commercetools' notifications and resources."""

from service.commercetools.customer import CUSTOMER, Address, Customer, read_customer
from service.commercetools.notification import (
    Notification,
    PayloadValidation,
    read_notification,
    validate_payload,
)

__all__ = [
    "CUSTOMER",
    "Address",
    "Customer",
    "Notification",
    "PayloadValidation",
    "read_customer",
    "read_notification",
    "validate_payload",
]
