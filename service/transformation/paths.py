"""The paths by which a mapping file names what it reads of a customer: custom.points, shippingAddress.phone.

A path that is not in the table here is not read, so a customer's password cannot be named.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, NamedTuple

from service.commercetools.customer import Address, Customer, Fields, Named
from service.commercetools.resource import UNREADABLE
from service.transformation.address import billing_address, chosen_address, shipping_address, street


class View:
    """A customer as the paths see it, with the addresses that represent it."""

    __slots__ = ("_billing", "_shipping", "address", "customer", "more")

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.more = customer.more
        self.address = chosen_address(customer)
        self._billing: Address | None = None
        self._shipping: Address | None = None

    @property
    def billing(self) -> Address:
        if self._billing is None:
            self._billing = billing_address(self.customer)
        return self._billing

    @property
    def shipping(self) -> Address:
        if self._shipping is None:
            self._shipping = shipping_address(self.customer)
        return self._shipping


Get = Callable[[View], Any]
"""Returns what a path reads: JSON, None if it is absent, UNREADABLE if that is not known."""


@dataclass(frozen=True, slots=True)
class Path:
    """A path that exists. `get` reads it.

    `typed` tells that it reads what a trait can be as it is, not just any JSON. `own` tells that commercetools is the
    only one who knows the value, so that an absent one is empty. `custom` is the name of the custom field, and `of` is
    what the path starts at: "customer", "address" or "customer-group".
    """

    text: str
    get: Get = field(compare=False)
    named: Named = field(compare=False, default=Named())
    typed: bool = False
    own: bool = False
    custom: str | None = None
    of: str = "customer"


class NoSuchPath(NamedTuple):
    """There is no such path. `reason` is the end of a sentence; `word` and `known` are for a suggestion."""

    reason: str
    word: str = ""
    known: tuple[str, ...] = ()


CUSTOM_FIELD = re.compile(r"[A-Za-z0-9_-]{2,36}")
"""https://docs.commercetools.com/api/projects/types#fielddefinition"""

_TEXTS = {  # which read_customer reads in any case
    "id": "id",
    "key": "key",
    "customerNumber": "customer_number",
    "externalId": "external_id",
    "email": "email",
    "firstName": "first_name",
    "lastName": "last_name",
    "companyName": "company_name",
    "locale": "locale",
    "createdAt": "created_at",
}
_NAMED = ("middleName", "title", "salutation", "vatId", "lastModifiedAt")
_OWN = frozenset(
    {"key", "customerNumber", "externalId", "isEmailVerified", "stores", "customerGroup", "customerGroups"}
)
_ADDRESS_TEXTS = {
    "id": "id",
    "streetName": "street_name",
    "streetNumber": "street_number",
    "apartment": "apartment",
    "building": "building",
    "additionalStreetInfo": "additional_street_info",
    "pOBox": "po_box",
    "postalCode": "postal_code",
    "city": "city",
    "region": "region",
    "state": "state",
    "country": "country",
    "company": "company",
    "phone": "phone",
    "mobile": "mobile",
}
_ADDRESS_NAMED = (
    *("key", "title", "salutation", "firstName", "lastName", "department", "email", "fax"),
    *("additionalAddressInfo", "externalId"),
)
_ADDRESSES = {"address": "address", "billingAddress": "billing", "shippingAddress": "shipping"}
_GROUP: Mapping[str, tuple[str, ...]] = {"id": (), "key": ("obj",), "name": ("obj",)}
_CUSTOM = ("custom", "fields")


def _name(view: View) -> str | None:
    """Readers of `name` split it where a part is missing: "von Stein" alone would get the first name "von"."""
    first, last = view.customer.first_name, view.customer.last_name
    return f"{first} {last}" if first and last else None


def _or_unreadable(attribute: str, get: Get) -> Get:
    return lambda view: UNREADABLE if attribute in view.customer.unknown else get(view)


_COMPUTED: dict[str, Get] = {
    "name": _name,
    "isEmailVerified": attrgetter("customer.is_email_verified"),
    "dateOfBirth": _or_unreadable("date_of_birth", attrgetter("customer.date_of_birth")),
    "customerGroup": _or_unreadable("customer_group", attrgetter("customer.customer_group")),
    "customerGroups": _or_unreadable("customer_groups", lambda view: list(view.customer.customer_groups) or None),
    "stores": _or_unreadable("stores", lambda view: list(view.customer.stores) or None),
}
CUSTOMER_FIELDS = (*_TEXTS, *_NAMED, *_COMPUTED)
ADDRESS_FIELDS = ("street", *_ADDRESS_TEXTS, *_ADDRESS_NAMED)
GROUP_FIELDS = tuple(_GROUP)
_ROOTS = (*CUSTOMER_FIELDS, *_ADDRESSES, "custom")


def path_of(text: str, *, expand: bool = False) -> Path | NoSuchPath:
    """Return the path with this text, or return NoSuchPath. With `expand`, the reference there is read along."""
    first, *rest = text.split(".")
    if "password" in (first, *rest):
        return NoSuchPath("cannot be sent: password")
    if not rest and first in CUSTOMER_FIELDS:
        return _of_customer(first)
    if first == "custom":
        return _custom(text, rest, expand=expand)
    if first in _ADDRESSES:
        return _of_address(text, first, rest, expand=expand)
    if first == "customerGroup":
        return _of_group(text, rest)
    return NoSuchPath(f"reads {text}, which is no field of a customer", first if rest else text, _ROOTS)


def longest_path(names: tuple[str, ...]) -> Path | NoSuchPath:
    """Return the path at the beginning of a chain of names in an expression, or return NoSuchPath."""
    length = 1
    if names[0] in _ADDRESSES or names[0] == "customerGroup":
        length = 2
    if "custom" in names[:length]:
        length += 1
        if names[length - 1 : length] == ("fields",):  # as in commercetools' JSON
            length += 1
    return path_of(".".join(names[:length]))


def named_by(paths: Iterable[Path]) -> Named:
    """Return all that these paths need to be read."""
    named = [path.named for path in paths]
    return Named(
        _together(one.of_customer for one in named),
        _together(one.of_address for one in named),
        _together(one.of_group for one in named),
        tuple(dict.fromkeys(path for one in named for path in one.expand)),
    )


def _together(several: Iterable[Fields]) -> Fields:
    together: dict[tuple[str, ...], dict[str, str]] = {}
    for fields in several:
        for tables, names in fields.items():
            together.setdefault(tables, {}).update(names)
    return together


def _of_customer(name: str) -> Path:
    own = name in _OWN
    if name in _TEXTS:
        return Path(name, attrgetter(f"customer.{_TEXTS[name]}"), typed=True, own=own)
    if name in _COMPUTED:
        return Path(name, _COMPUTED[name], typed=True, own=own)
    return Path(name, _more(name), Named(of_customer={(): {name: name}}), own=own)


def _more(path: str) -> Get:
    return lambda view: view.more.get(path)


def _custom(text: str, rest: list[str], *, expand: bool) -> Path | NoSuchPath:
    name = _custom_field(text, rest)
    if isinstance(name, NoSuchPath):
        return name
    named = Named(of_customer={_CUSTOM: {text: name}})
    if expand:
        named = replace(named, expand=_expansions(f"custom.fields.{name}"))
    return Path(text, _more(text), named, own=True, custom=name)


def _custom_field(text: str, rest: list[str]) -> str | NoSuchPath:
    if len(rest) == 2 and rest[0] == "fields":  # noqa: PLR2004  # custom.fields.NAME, as in commercetools' JSON
        right = text.replace(".fields.", ".")
        return NoSuchPath(f"reads {text}; here it is written without fields: {right}")
    if len(rest) != 1 or not CUSTOM_FIELD.fullmatch(rest[0]):
        return NoSuchPath(f"reads {text}, which names no custom field: write custom.NAME, of 2 to 36 characters")
    return rest[0]


def _expansions(path: str) -> tuple[str, ...]:
    """Return the expansions of a field, whether it has one reference or a Set of them."""
    return path, f"{path}[*]"


def _of_address(text: str, which: str, rest: list[str], *, expand: bool) -> Path | NoSuchPath:
    attribute = _ADDRESSES[which]
    match rest:
        case ["street"]:
            return Path(text, _street_of(attribute), typed=True, of="address")
        case [name] if name in _ADDRESS_TEXTS:
            return Path(text, attrgetter(f"{attribute}.{_ADDRESS_TEXTS[name]}"), typed=True, of="address")
        case [name] if name in _ADDRESS_NAMED:
            return Path(text, _more_of(attribute, name), Named(of_address={(): {name: name}}), of="address")
        case ["custom", *inner]:
            field_name = _custom_field(text, inner)
            if isinstance(field_name, NoSuchPath):
                return field_name
            named = Named(of_address={_CUSTOM: {f"custom.{field_name}": field_name}})
            if expand:
                named = replace(named, expand=_expansions(f"addresses[*].custom.fields.{field_name}"))
            get = _more_of(attribute, f"custom.{field_name}")
            return Path(text, get, named, own=True, custom=field_name, of="address")
    word = ".".join(rest)
    return NoSuchPath(f"reads {text}, which is no field of an address", word, (*ADDRESS_FIELDS, "custom"))


def _street_of(attribute: str) -> Get:
    which = attrgetter(attribute)
    return lambda view: street(which(view)) or None


def _more_of(attribute: str, path: str) -> Get:
    which = attrgetter(attribute)
    return lambda view: which(view).more.get(path)


def _of_group(text: str, rest: list[str]) -> Path | NoSuchPath:
    match rest:
        case [name] if name in _GROUP:
            named = Named(of_group={_GROUP[name]: {text: name}})
            return Path(text, _more(text), named, own=True, of="customer-group")
        case ["custom", *inner]:
            field_name = _custom_field(text, inner)
            if isinstance(field_name, NoSuchPath):
                return field_name
            named = Named(of_group={("obj", *_CUSTOM): {text: field_name}})
            return Path(text, _more(text), named, own=True, custom=field_name, of="customer-group")
    return NoSuchPath(f"reads {text}, which is no field of a customer group", ".".join(rest), (*_GROUP, "custom"))
