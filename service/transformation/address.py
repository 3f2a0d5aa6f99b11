"""Which of a customer's addresses Segment gets, and in which form."""

from service.commercetools.customer import Address, Customer
from service.transformation.street_order import NUMBER_FIRST


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
    """Return the street in its country's order, and after it what else a letter needs, separated by commas."""
    number_first = _iso_code(address.country) in NUMBER_FIRST
    parts = (
        (address.street_number, address.street_name) if number_first else (address.street_name, address.street_number)
    )
    street = " ".join(part for part in parts if part)
    box = address.po_box
    if box and not box[0].isalpha():
        box = f"P.O. box {box}"
    rest = (address.apartment, address.building, address.additional_street_info, box)
    return ", ".join(part for part in (street, *rest) if part)


def _iso_code(country: str | None) -> str:
    code = (country or "").upper()
    return "GB" if code == "UK" else code  # not ISO 3166-1, but shops have it
