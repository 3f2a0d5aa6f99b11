"""Which of a customer's addresses Segment gets, and in which form."""

from service.commercetools.customer import Address, Customer

# Countries in which the house number precedes the name of the street: https://github.com/OpenCageData/address-formatting
_NUMBER_FIRST = frozenset(
    (
        *("AU", "BB", "BD", "BS", "BZ", "CA", "DZ", "FR", "GB", "GH", "GI", "HK", "IE", "IL", "IN", "JE", "JM", "KE"),
        *("LK", "LU", "MA", "MC", "MT", "MU", "MY", "NG", "NZ", "PH", "PK", "SG", "TH", "TN", "TT", "US", "ZA", "ZW"),
        "UK",  # not ISO 3166-1, but shops have it
    )
)


def chosen_address(customer: Customer) -> Address:
    """Return the address that represents the customer; an empty one if there is none.

    1. the default billing address
    2. the default shipping address
    3. the first billing address
    4. the first shipping address
    5. the first address

    An id that no address has is skipped.
    """
    by_id = {address.id: address for address in customer.addresses if address.id is not None}
    ids = (
        customer.default_billing_address_id,
        customer.default_shipping_address_id,
        *customer.billing_address_ids,
        *customer.shipping_address_ids,
    )
    first = customer.addresses[0] if customer.addresses else Address()
    return next((by_id[id_] for id_ in ids if id_ in by_id), first)


def segment_address(address: Address) -> dict[str, str] | None:
    """Return the address trait without its absent parts, or None if all are absent.

    https://www.twilio.com/docs/segment/connections/spec/identify#traits
    """
    parts = {
        "street": _street(address),
        "city": address.city,
        "state": address.state or address.region,
        "postalCode": address.postal_code,
        "country": address.country,
    }
    return {name: part for name, part in parts.items() if part} or None


def _street(address: Address) -> str:
    number_first = (address.country or "").upper() in _NUMBER_FIRST
    parts = (
        (address.street_number, address.street_name) if number_first else (address.street_name, address.street_number)
    )
    return " ".join(part for part in parts if part)
