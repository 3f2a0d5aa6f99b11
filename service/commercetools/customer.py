"""commercetools' Customer, the part of it that we use. Password, vatId and custom fields are not even read.

https://docs.commercetools.com/api/projects/customers#customer
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, post_load

from service.decoding import load


class CannotRead(Exception):
    """How the customer is now cannot be found out for the moment. The text says why."""


@dataclass(frozen=True, slots=True)
class Address:
    id: str | None = None
    street_name: str | None = None
    street_number: str | None = None
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    state: str | None = None
    country: str | None = None
    company: str | None = None
    phone: str | None = None
    mobile: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer at one version. A field that is unset, empty or blank is None."""

    id: str
    version: int
    email: str | None = None
    key: str | None = None
    customer_number: str | None = None
    external_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    date_of_birth: str | None = None
    locale: str | None = None
    is_email_verified: bool | None = None
    customer_group: str | None = None
    stores: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    default_billing_address_id: str | None = None
    default_shipping_address_id: str | None = None
    billing_address_ids: tuple[str, ...] = ()
    shipping_address_ids: tuple[str, ...] = ()
    created_at: str | None = None
    last_modified_at: datetime | None = None


class _Text(fields.String):
    """A string without the blanks around it; one that is empty then counts as unset, as null does."""

    def __init__(self, data_key: str | None = None) -> None:
        super().__init__(data_key=data_key, load_default=None, allow_none=True)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # marshmallow's own signature
        return super()._deserialize(value, *args, **kwargs).strip() or None


class _Moment(fields.AwareDateTime):
    """A point in time, in UTC. One without an offset is taken as UTC."""

    def __init__(self, data_key: str) -> None:
        super().__init__(data_key=data_key, default_timezone=UTC, load_default=None, allow_none=True)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:  # noqa: ANN401  # as above
        try:
            return super()._deserialize(value, *args, **kwargs).astimezone(UTC)
        except OverflowError:  # year 1 or 9999, beyond the calendar once its offset is taken away
            raise self.make_error("invalid", obj_type=self.OBJ_TYPE) from None


class _AddressSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    id = _Text()
    street_name = _Text("streetName")
    street_number = _Text("streetNumber")
    postal_code = _Text("postalCode")
    city = _Text()
    region = _Text()
    state = _Text()
    country = _Text()
    company = _Text()
    phone = _Text()
    mobile = _Text()

    @post_load
    def _address(self, document: Mapping[str, Any], **_: object) -> Address:
        return Address(**document)


class _GroupSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    key = _Text()


class _GroupReferenceSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    id = _Text()
    obj = fields.Nested(_GroupSchema, load_default=None, allow_none=True)  # where it was read expanded


class _StoreSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    key = _Text()


class _CustomerSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True)
    version = fields.Integer(strict=True, required=True)
    email = _Text()
    key = _Text()
    customer_number = _Text("customerNumber")
    external_id = _Text("externalId")
    first_name = _Text("firstName")
    last_name = _Text("lastName")
    company_name = _Text("companyName")
    date_of_birth = _Text("dateOfBirth")
    locale = _Text()
    is_email_verified = fields.Boolean(data_key="isEmailVerified", load_default=None, allow_none=True)
    customer_group = fields.Nested(_GroupReferenceSchema, data_key="customerGroup", load_default=None, allow_none=True)
    stores = fields.List(fields.Nested(_StoreSchema), load_default=None, allow_none=True)
    addresses = fields.List(fields.Nested(_AddressSchema), load_default=None, allow_none=True)
    default_billing_address_id = _Text("defaultBillingAddressId")
    default_shipping_address_id = _Text("defaultShippingAddressId")
    billing_address_ids = fields.List(fields.String(), data_key="billingAddressIds", load_default=None, allow_none=True)
    shipping_address_ids = fields.List(
        fields.String(), data_key="shippingAddressIds", load_default=None, allow_none=True
    )
    created_at = _Text("createdAt")
    last_modified_at = _Moment("lastModifiedAt")

    @post_load
    def _customer(self, document: dict[str, Any], **_: object) -> Customer:
        group = document.pop("customer_group") or {"id": None, "obj": None}
        stores = document.pop("stores") or ()
        return Customer(
            customer_group=(group["obj"] or {}).get("key") or group["id"],
            stores=tuple(store["key"] for store in stores if store["key"]),
            addresses=tuple(document.pop("addresses") or ()),
            billing_address_ids=tuple(document.pop("billing_address_ids") or ()),
            shipping_address_ids=tuple(document.pop("shipping_address_ids") or ()),
            **document,
        )


_CUSTOMER = _CustomerSchema()


def read_customer(document: Mapping[str, Any]) -> Customer:
    """Read commercetools' JSON of a customer, or raise Malformed with the fields at fault.

    Only `id` and `version` must be there: older documents lack much of what today's API always shows.
    """
    customer: Customer = load(_CUSTOMER, document, "the customer")
    return customer
