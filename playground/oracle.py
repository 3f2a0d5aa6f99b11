"""What Segment should hold when everything is delivered, worked out from commercetools' JSON alone.

The judge's own reading of the table in docs/customers.md. Nothing here is imported from `service`: a mistake in
the code under test must not be a mistake of the judge too. Each kind of resource has a function of its own; `Rules` is
what the shop has chosen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize

Document = Mapping[str, Any]

_OTHERS_MAY_SET = frozenset({"firstName", "lastName", "name", "phone", "address", "company", "birthday"})
_COMMERCETOOLS_ALONE_SETS = frozenset(
    ("customerNumber", "externalId", "isEmailVerified", "customerGroup", "customerGroups", "stores")
)
_NOT_CLEARED = {"off": _OTHERS_MAY_SET | _COMMERCETOOLS_ALONE_SETS, "own": _OTHERS_MAY_SET, "all": frozenset[str]()}

# OpenCage's templates (July 2026), which docs/customers.md names: the countries whose number precedes the street, by
# continent, and those that have the template of another country.
_NUMBER_FIRST = frozenset(
    (
        *("AD", "FR", "GB", "GI", "IE", "LU", "MC", "MT", "XK"),
        *("AE", "AM", "AZ", "BD", "BH", "BN", "HK", "IN", "IQ", "JP", "KH", "LA", "LB", "LK", "MM", "MV", "MY", "OM"),
        *("PH", "PK", "SA", "SG", "TH", "TM", "VN", "YE"),
        *("BF", "BJ", "CD", "CG", "CI", "DJ", "DZ", "EG", "GA", "GH", "GM", "GN", "KE", "LS", "MA", "MG", "MR", "MU"),
        *("MW", "NA", "NE", "NG", "RW", "SC", "SL", "SN", "TG", "TN", "TZ", "UG", "ZA", "ZM", "ZW"),
        *("AG", "BB", "BM", "BZ", "CA", "DM", "GY", "JM", "KN", "KY", "MS", "TC", "TT", "US", "VG"),
        *("AU", "CK", "FJ", "FM", "MH", "NR", "NU", "NZ", "PG", "TO", "TV"),
    )
)
_SAME_TEMPLATE = {
    "US": ("AS", "GU", "MP", "PR", "UM", "VI"),
    "FR": ("BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT"),
    "GB": ("FK", "GG", "GS", "IM", "IO", "JE", "SH", "UK"),
    "AU": ("CC", "CX", "HM", "NF"),
    "NZ": ("TK",),
}
_TEMPLATE_OF = {follower: country for country, followers in _SAME_TEMPLATE.items() for follower in followers}


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what Segment should hold."""

    user_id: str
    """SEGMENT_USER_ID: the customer's field that is the user id."""
    clear: str
    """SEGMENT_CLEAR_TRAITS: off, own or all."""


def rules_of(environment: Mapping[str, str]) -> Rules:
    """Return the rules of a service with these settings."""
    return Rules(
        user_id=environment.get("SEGMENT_USER_ID", "email"), clear=environment.get("SEGMENT_CLEAR_TRAITS", "own")
    )


@dataclass(frozen=True, slots=True)
class Profile:
    """What Segment should hold about one user."""

    user_id: str
    traits: Mapping[str, Any]
    kept: frozenset[str] = frozenset()
    """Names of traits that the resource lacks and that an earlier version may have left in Segment."""


def differences(expected: Mapping[str, Profile], actual: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the user ids that Segment should know and does not, or the other way round, or with other traits."""
    return [
        user_id
        for user_id in sorted({*expected, *actual})
        if user_id not in expected or user_id not in actual or not holds(actual[user_id], expected[user_id])
    ]


def holds(actual: Mapping[str, Any], expected: Profile) -> bool:
    """Tell whether these traits are those of the profile, but for the ones that an earlier version may have left."""
    return {name: value for name, value in actual.items() if name not in expected.kept} == expected.traits


def profiles_of_customers(
    customers: Iterable[Document], groups: Mapping[str, Document], rules: Rules
) -> dict[str, Profile]:
    """Return the profiles of these customers by user id, of those who have one."""
    profiles = (profile_of_customer(customer, groups, rules) for customer in customers)
    return {profile.user_id: profile for profile in profiles if profile}


def profile_of_customer(customer: Document, groups: Mapping[str, Document], rules: Rules) -> Profile | None:
    """Return the profile of a customer, as the API shows it; None if it lacks the field that is the user id.

    `groups` are the shop's customer groups by id, those that the service can read.
    """
    user_id = _user_id(customer, rules)
    if not user_id:
        return None
    assigned = _groups(customer.get("customerGroupAssignments") or (), groups)
    traits = {
        "email": _text(customer, "email"),
        "firstName": _text(customer, "firstName"),
        "lastName": _text(customer, "lastName"),
        "name": _name(customer),
        **_traits_of_address(customer),
        "birthday": None if _born_in_year_1(customer) else _text(customer, "dateOfBirth"),
        "createdAt": _text(customer, "createdAt"),
        "commercetoolsId": customer["id"],
        "customerNumber": _text(customer, "customerNumber"),
        "externalId": _text(customer, "externalId"),
        "isEmailVerified": customer.get("isEmailVerified"),
        "customerGroup": next(iter([*_groups([customer], groups), *assigned]), None),
        "customerGroups": assigned,
        "stores": [key for store in customer.get("stores") or () if (key := _text(store, "key"))],
    }
    present = _present(traits)
    if customer["version"] == 1:
        return Profile(user_id, present)
    may_be_kept = _NOT_CLEARED[rules.clear] | _not_shown_to_be_empty(customer)
    return Profile(user_id, present, may_be_kept - present.keys())


def _born_in_year_1(customer: Document) -> bool:
    return (_text(customer, "dateOfBirth") or "").partition("-")[0] == "0001"


def _user_id(customer: Document, rules: Rules) -> str:
    written: str = customer.get(rules.user_id) or ""
    if rules.user_id == "id":
        return written
    for character in {*written}:
        if category(character) in ("Cc", "Cf"):
            written = written.replace(character, "")
    return normalize("NFC", written.lower() if rules.user_id == "email" else written).strip()


def _name(customer: Document) -> str | None:
    names = [_text(customer, "firstName"), _text(customer, "lastName")]
    return None if None in names else _words(*names)


def _traits_of_address(customer: Document) -> dict[str, Any]:
    address = _chosen_address(customer)
    company = _text(customer, "companyName") or _text(address, "company")
    parts = {
        "street": _street(address),
        "city": _text(address, "city"),
        "state": _text(address, "state") or _text(address, "region"),
        "postalCode": _text(address, "postalCode"),
        "country": _text(address, "country"),
    }
    return {
        "phone": _text(address, "mobile") or _text(address, "phone"),
        "address": _present(parts),
        "company": {"name": company} if company else None,
    }


def _chosen_address(customer: Document) -> Document:
    """Return the first of those that the ids of the customer name, else the first of all, else an empty one."""
    addresses = customer.get("addresses") or ()
    by_id: dict[str, Document] = {address_id: address for address in addresses if (address_id := _text(address, "id"))}
    ids = [
        customer.get("defaultBillingAddressId"),
        customer.get("defaultShippingAddressId"),
        *(customer.get("billingAddressIds") or ()),
        *(customer.get("shippingAddressIds") or ()),
    ]
    named = [by_id[address_id] for one in ids if (address_id := _plain(one or "")) and address_id in by_id]
    return next(iter([*named, *addresses]), {})


def _street(address: Document) -> str | None:
    name, number = _text(address, "streetName"), _text(address, "streetNumber")
    country = (_text(address, "country") or "").upper()
    number_first = _TEMPLATE_OF.get(country, country) in _NUMBER_FIRST
    first = _words(number, name) if number_first else _words(name, number)
    others = [_text(address, field) for field in ("apartment", "building", "additionalStreetInfo")]
    return ", ".join(part for part in (first, *others, _po_box(address)) if part) or None


def _po_box(address: Document) -> str | None:
    box = _text(address, "pOBox")
    return box if box is None or box[:1].isalpha() else f"P.O. box {box}"


def _groups(holders: Iterable[Document], groups: Mapping[str, Document]) -> list[str]:
    """Return the key, else the id, of the customerGroup of each that has one: of a customer or of assignments."""
    references = [holder.get("customerGroup") or {} for holder in holders]
    names = [_text(groups.get(one.get("id") or "", {}), "key") or _text(one, "id") for one in references]
    return [name for name in names if name]


def _not_shown_to_be_empty(customer: Document) -> frozenset[str]:
    """Return the traits that are not to be cleared, if absent, since the document has something there or is older."""
    assignments = customer.get("customerGroupAssignments")
    has_something = {
        "customerGroup": customer.get("customerGroup") is not None or assignments,
        "customerGroups": assignments is None or assignments,
        "stores": customer.get("stores"),
        "birthday": _born_in_year_1(customer),
    }
    return frozenset(trait for trait, something in has_something.items() if something)


def _text(document: Document, field: str) -> str | None:
    """Return a text field without NUL characters and blanks around it; empty text counts as absent."""
    return _plain(document.get(field) or "") or None


def _plain(text: str) -> str:
    return text.translate({0: None}).strip()


def _words(*words: str | None) -> str | None:
    return " ".join(word for word in words if word) or None


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
