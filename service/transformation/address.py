"""Which of a customer's addresses Segment gets, and in which form."""

from collections.abc import Iterable

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
    ids = (
        customer.default_billing_address_id,
        customer.default_shipping_address_id,
        *customer.billing_address_ids,
        *customer.shipping_address_ids,
    )
    return _first_of(ids, customer) or (customer.addresses[0] if customer.addresses else Address())


def billing_address(customer: Customer) -> Address:
    """Return the default billing address, else the first one; an empty one if there is none."""
    return _first_of((customer.default_billing_address_id, *customer.billing_address_ids), customer) or Address()


def shipping_address(customer: Customer) -> Address:
    """Return the default shipping address, else the first one; an empty one if there is none."""
    return _first_of((customer.default_shipping_address_id, *customer.shipping_address_ids), customer) or Address()


def _first_of(ids: Iterable[str | None], customer: Customer) -> Address | None:
    by_id = {address.id: address for address in customer.addresses if address.id is not None}
    return next((by_id[id_] for id_ in ids if id_ in by_id), None)


def street(address: Address) -> str:
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
