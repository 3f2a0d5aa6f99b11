"""commercetools' Customer: the fields that we use, and those that the shop's mapping names.

https://docs.commercetools.com/api/projects/customers#customer
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any

from marshmallow import validate

from service.commercetools.resource import UNREADABLE, ResourceType
from service.serving.decoding import Document, Inner, Moment, Plain, Several, Text, load


@dataclass(frozen=True, slots=True)
class Address:
    """An address. `more` has the fields that were named, by their paths, as commercetools' JSON."""

    id: str | None = None
    street_name: str | None = None
    street_number: str | None = None
    apartment: str | None = None
    building: str | None = None
    additional_street_info: str | None = None
    po_box: str | None = None
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    state: str | None = None
    country: str | None = None
    company: str | None = None
    phone: str | None = None
    mobile: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer at one version. A field that is unset, empty or blank is None.

    `customer_group` is the first of `customer_groups` for a customer who has assignments only. `unknown` names the
    fields that are empty here but perhaps not in commercetools: those of which the document has no part that we can
    read (a reference without key and id, a date of birth in year 1), and `customer_groups` for a document without
    customerGroupAssignments. `more` has the fields that were named, by their paths, as JSON: None for one
    that is empty, and UNREADABLE for one that the document does not show.
    """

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
    customer_groups: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    default_billing_address_id: str | None = None
    default_shipping_address_id: str | None = None
    billing_address_ids: tuple[str, ...] = ()
    shipping_address_ids: tuple[str, ...] = ()
    created_at: str | None = None
    last_modified_at: datetime | None = None
    unknown: frozenset[str] = frozenset()
    more: Mapping[str, Any] = field(default_factory=dict)


class _AddressSchema(Document):
    id = Text()
    street_name = Text("streetName")
    street_number = Text("streetNumber")
    apartment = Text()
    building = Text()
    additional_street_info = Text("additionalStreetInfo")
    po_box = Text("pOBox")
    postal_code = Text("postalCode")
    city = Text()
    region = Text()
    state = Text()
    country = Text()
    company = Text()
    phone = Text()
    mobile = Text()


class _GroupSchema(Document):
    key = Text()


class _GroupReferenceSchema(Document):
    id = Text()
    obj = Inner(_GroupSchema, load_default=None, allow_none=True)  # if it was expanded


class _AssignmentSchema(Document):
    customer_group = Inner(_GroupReferenceSchema, data_key="customerGroup", load_default=None, allow_none=True)


class _StoreSchema(Document):
    key = Text()


class _CustomerSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    version = Plain(int, required=True, validate=validate.Range(min=1))
    email = Text()
    key = Text()
    customer_number = Text("customerNumber")
    external_id = Text("externalId")
    first_name = Text("firstName")
    last_name = Text("lastName")
    company_name = Text("companyName")
    date_of_birth = Text("dateOfBirth")
    locale = Text()
    is_email_verified = Plain(bool, "isEmailVerified")
    customer_group = Inner(_GroupReferenceSchema, data_key="customerGroup", load_default=None, allow_none=True)
    customer_group_assignments = Several(Inner(_AssignmentSchema), "customerGroupAssignments")
    stores = Several(Inner(_StoreSchema))
    addresses = Several(Inner(_AddressSchema))
    default_billing_address_id = Text("defaultBillingAddressId")
    default_shipping_address_id = Text("defaultShippingAddressId")
    billing_address_ids = Several(Text(), "billingAddressIds")
    shipping_address_ids = Several(Text(), "shippingAddressIds")
    created_at = Text("createdAt")
    last_modified_at = Moment("lastModifiedAt")


_CUSTOMER = _CustomerSchema()
_YEAR_1 = "0001-"  # what .NET and Go write for a date that was never set


Fields = Mapping[tuple[str, ...], Mapping[str, str]]
"""Fields to read: the tables in the JSON that lead to them, and their names there by the paths of the mapping."""


@dataclass(frozen=True, slots=True)
class Named:
    """Fields that are read only because the mapping names them.

    `of_customer` start at the customer, `of_address` at an address, `of_group` at the reference to the customer group.
    `expand` are the references that must be read along.
    """

    of_customer: Fields = field(default_factory=dict)
    of_address: Fields = field(default_factory=dict)
    of_group: Fields = field(default_factory=dict)
    expand: tuple[str, ...] = ()


_NONE = Named()


def customer_type(named: Named) -> ResourceType[Customer]:
    """Return the type of customers whose named fields are read too."""
    return replace(CUSTOMER, parse=partial(read_customer, named=named), expand=(*CUSTOMER.expand, *named.expand))


def read_customer(document: Mapping[str, Any], named: Named = _NONE) -> Customer:
    """Read commercetools' JSON of a customer, or raise Malformed with the fields at fault.

    Only `id` and `version` are required: older documents lack many fields that today's API always returns. No value of
    a named field makes it Malformed.
    """
    loaded = load(_CUSTOMER, document, "the customer")
    reference, assignments = loaded.pop("customer_group"), loaded.pop("customer_group_assignments")
    groups = tuple(group for one in assignments or () if (group := _group(one["customer_group"])))
    group = _group(reference) or next(iter(groups), None)
    stores_given = loaded.pop("stores") or ()
    stores = tuple(store["key"] for store in stores_given if store["key"])
    year_1 = (loaded["date_of_birth"] or "").startswith(_YEAR_1)
    if year_1:
        loaded["date_of_birth"] = None
    unknown = (
        ("date_of_birth", year_1),
        ("customer_group", group is None and (reference is not None or assignments)),
        ("customer_groups", not groups and assignments != []),
        ("stores", not stores and stores_given),
    )
    addresses = loaded.pop("addresses") or ()
    of_addresses: Iterable[Mapping[str, Any]] = repeat({})
    if named.of_address and addresses:
        of_addresses = [_picked(address, named.of_address) for address in document["addresses"]]
    return Customer(
        customer_group=group,
        customer_groups=groups,
        stores=stores,
        addresses=tuple(Address(**address, more=more) for address, more in zip(addresses, of_addresses, strict=False)),
        billing_address_ids=tuple(loaded.pop("billing_address_ids") or ()),
        shipping_address_ids=tuple(loaded.pop("shipping_address_ids") or ()),
        unknown=frozenset(field for field, is_unknown in unknown if is_unknown),
        more=_named(document, named),
        **loaded,
    )


def _named(document: Mapping[str, Any], named: Named) -> dict[str, Any]:
    more = _picked(document, named.of_customer)
    if named.of_group:
        more |= _picked(_group_reference(document), named.of_group)
    return more


def _group_reference(document: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON
    """Return the reference to the customer's group, else to the first of its groups, None if there is none.

    It is UNREADABLE if there is one without an id.
    """
    assignments = document.get("customerGroupAssignments") or ()
    references = [document.get("customerGroup"), *(one.get("customerGroup") for one in assignments)]
    with_id = (one for one in references if one is not None and one.get("id"))
    return next(with_id, UNREADABLE if assignments or references[0] is not None else None)


def _picked(document: Any, named: Fields) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return the fields by path: None for one that is empty, UNREADABLE if the document does not show whether it is."""
    picked: dict[str, Any] = {}
    for tables, names in named.items():
        table = _table(document, tables)
        if type(table) is dict:
            for path, name in names.items():
                picked[path] = table.get(name)
        else:
            picked |= dict.fromkeys(names, table)
    return picked


_ALWAYS_THERE = frozenset({"fields", "obj"})  # in custom fields; in a reference, if it was expanded


def _table(document: Any, names: Sequence[str]) -> Any:  # noqa: ANN401  # any JSON
    table = document
    for name in names:
        if table is None:
            return None
        if type(table) is not dict or (name in _ALWAYS_THERE and name not in table):
            return UNREADABLE
        table = table.get(name)
    return table if table is None or type(table) is dict else UNREADABLE


def _group(reference: Mapping[str, Any] | None) -> str | None:
    """Return the group's key if the reference was expanded and the group has one, else its id."""
    if reference is None:
        return None
    key_or_id: str | None = (reference["obj"] or {}).get("key") or reference["id"]
    return key_or_id


CUSTOMER = ResourceType(
    "customer", "customers", read_customer, expand=("customerGroup", "customerGroupAssignments[*].customerGroup")
)
