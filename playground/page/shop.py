"""The shop on the page: what it shows of customers and orders, and what its forms and buttons do to them."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from playground.history import Document, History
from playground.notifications import Action
from playground.page.body import body
from playground.shop_orders import amount_of, to_pay
from playground.world import LocalWorld

if TYPE_CHECKING:
    from playground.page.playground import Playground

Groups = Mapping[str, Document]
"""Customer groups by id."""
PAGE = 50
"""Rows of a list at a time."""
_LOOKED_THROUGH = 2_000  # the newest resources that a search reads, in about half a second
_MOST_SKIPPED = 100_000
_SETTERS = {
    "firstName": "setFirstName",
    "lastName": "setLastName",
    "dateOfBirth": "setDateOfBirth",
    "companyName": "setCompanyName",
    "locale": "setLocale",
}
ADDRESS_FIELDS = ("streetName", "streetNumber", "postalCode", "city", "state", "country", "phone")
"""Of an address, those that the form has."""
_STATES = {
    "orderState": "changeOrderState",
    "paymentState": "changePaymentState",
    "shipmentState": "changeShipmentState",
}
_TEXTS = frozenset(
    {"email", "firstName", "lastName", "middleName", "title", "salutation", "companyName", "dateOfBirth", "locale"}
    | {"vatId", "key", "externalId", "customerNumber", "password", "authenticationMode"}
)
_DRAFT = _TEXTS | {
    *("customerGroup", "addresses", "isEmailVerified", "stores", "custom", "customerGroupAssignments"),
    *("defaultBillingAddress", "defaultShippingAddress", "billingAddresses", "shippingAddresses"),
}
"""The fields of https://docs.commercetools.com/api/projects/customers#customerdraft that the shop has."""
_LISTS = ("addresses", "stores", "customerGroupAssignments", "billingAddresses", "shippingAddresses")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Desk:
    """What the page does in one world's shop. It holds the world's lock for writers while it changes something.

    Raises KeyError for what does not exist, and ValueError with a sentence for what commercetools would refuse.
    """

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._shop = world.shop
        self._sales = world.shop.sales

    # Customers

    def customers(self, search: str, start: int) -> Document:
        """Return a page of customers with this text in their e-mail, name or id, the last changed first."""
        found = self._page(self._shop.customers, search, start, _customer_texts, _customer_row)
        return {**found, "total": self._shop.count(), "groups": self._groups()}

    def customer(self, customer_id: str) -> Document:
        """Return a customer as it is, or as it was when it was deleted, and the groups that there are."""
        versions = self._shop.versions(customer_id)
        if not versions:
            raise KeyError(customer_id)
        exists = self._shop.exists(customer_id)
        return {"customer": versions[-1], "deleted": not exists, "groups": self._groups()}

    def create(self, draft: Document) -> Document:
        """Return the customer that a CustomerDraft makes."""
        fields = _fields_of(draft, self._shop.groups)
        with self._world.writing:
            return self._shop.create(**fields)

    def save(self, customer_id: str, changed: Mapping[str, Any]) -> Document:
        """Return the customer after one update with what was changed in its form."""
        with self._world.writing:
            actions = actions_of(self._shop.customers[customer_id], changed)
            return self.update(customer_id, actions)

    def update(self, customer_id: str, actions: object) -> Document:
        """Return the customer after one update with these update actions."""
        checked = _checked(actions, self._shop.groups)
        with self._world.writing:
            before = self._shop.customers[customer_id]
            try:
                after = self._shop.change(customer_id, *checked)
            except KeyError as missing:
                raise ValueError(f"An action, or the customer, lacks {missing}.") from None
            except (TypeError, AttributeError):
                raise ValueError("A value in the actions is of another type than commercetools takes.") from None
            except ValueError as refusal:
                raise ValueError(_sentence(refusal)) from None
        if after["version"] == before["version"]:
            raise ValueError("The customer has these values already: nothing was changed, so nothing was published.")
        return after

    def change_somehow(self, customer_id: str) -> Document:
        with self._world.writing:
            return self._shop.change_somehow(customer_id)

    def delete(self, customer_id: str, *, data_erasure: bool) -> Document:
        with self._world.writing:
            return self._shop.delete(customer_id, data_erasure=data_erasure)

    def anonymise(self, customer_id: str) -> Document:
        with self._world.writing:
            before = self._shop.customers[customer_id]
            after = self._shop.anonymise(customer_id)
        if after["version"] == before["version"]:
            raise ValueError("This customer has no personal data any more.")
        return after

    # Orders

    def orders(self, search: str, start: int) -> Document:
        """Return a page of orders with this text in number, id, buyer's id or e-mail, the last changed first."""
        found = self._page(self._sales.orders, search, start, _order_texts, _order_row)
        return {**found, "total": len(self._sales.orders)}

    def order(self, order_id: str) -> Document:
        """Return an order, what it consists of and costs, and its refunds. Amounts are text, in its currency."""
        with self._shop.lock:
            order = self._sales.orders[order_id]
            transactions = self._sales.transactions(order_id)
            left = self._sales.left(order_id)
            refunded = self._sales.refunded(order_id)
        buyer = order.get("customerId")
        return {
            "order": order,
            "currency": order["totalPrice"]["currencyCode"],
            "lines": [_line(line) for line in (*order["lineItems"], *order["customLineItems"])],
            "shipping": _text_of(order["shippingInfo"]["price"]) if "shippingInfo" in order else None,
            "toPay": str(to_pay(order)),
            "refunded": f"{refunded:f}",
            "left": f"{left:f}",
            "paid": any(one["type"] == "Charge" and one["state"] == "Success" for one in transactions),
            "refunds": [
                {"id": one["id"], "amount": _text_of(one["amount"]), "state": one["state"], "at": one.get("timestamp")}
                for one in transactions
                if one["type"] == "Refund"
            ],
            "buyerExists": buyer is not None and self._shop.exists(buyer),
        }

    def place(self, customer_id: str | None) -> Document:
        """Return a new order of a random basket for this customer; None: for a guest."""
        with self._world.writing:
            return self._sales.place_for(None if customer_id is None else self._shop.customers[customer_id])

    def change_states(self, order_id: str, states: Mapping[str, Any]) -> Document:
        """Return the order after one update with these states."""
        actions = [{"action": _STATES[name], name: value} for name, value in states.items() if name in _STATES]
        if not actions:
            raise ValueError(f"Give one of {', '.join(_STATES)}.")
        with self._world.writing:
            before = self._sales.orders[order_id]
            try:
                after = self._sales.change(order_id, *actions)
            except ValueError as refusal:
                raise ValueError(_sentence(refusal)) from None
        if after["version"] == before["version"]:
            raise ValueError("The order has these states already: nothing was changed, so nothing was published.")
        return after

    def refund(self, order_id: str, amount: object, state: str) -> str:
        """Refund so much of an order; return the id of the transaction."""
        try:
            money = Decimal(str(amount).strip().replace(",", "."))
        except InvalidOperation:
            raise ValueError(f"The amount must be a number, such as 12.50, and not {str(amount)[:20]!r}.") from None
        with self._world.writing:
            return self._sales.pay_back(order_id, money, state)

    def settle_refund(self, transaction_id: str, state: str) -> None:
        with self._world.writing:
            self._sales.settle_refund(transaction_id, state)

    def edit(self, order_id: str) -> Document:
        """Return the order after an Order Edit has given it another basket, in the same currency."""
        with self._world.writing:
            return self._sales.edit(order_id)

    # Both

    def change_anything(self) -> str:
        """Make one random change of a customer, and return its id."""
        with self._world.writing:
            return self._shop.random_change()

    def _groups(self) -> list[Document]:
        return [{"id": group["id"], "name": group["name"]} for group in self._shop.groups.values()]

    def _page(
        self,
        history: History,
        search: str,
        start: int,
        texts: Callable[[Document], Iterable[object]],
        row: Callable[[Document], Document],
    ) -> Document:
        """Return some rows from number `start` on, and whether there are `more`.

        `searched` is the number of the newest that were looked through, if that were not all of them; else None.
        """
        words = search.casefold().split()
        with self._shop.lock:
            first, beyond = (0, _LOOKED_THROUGH) if words else (start, start + PAGE + 1)
            ids = list(islice(history.newest(), first, beyond))
        if search.strip() in history:
            ids = [search.strip()]
        found = self._matching(history, ids, words, texts)
        rows = [row(document) for document in islice(found, start - first, start - first + PAGE + 1)]
        more = len(rows) > PAGE
        is_cut = bool(words) and not more and len(ids) == _LOOKED_THROUGH
        return {"rows": rows[:PAGE], "more": more, "searched": len(ids) if is_cut else None}

    @staticmethod
    def _matching(
        history: History, ids: Iterable[str], words: Sequence[str], texts: Callable[[Document], Iterable[object]]
    ) -> Iterator[Document]:
        for resource_id in ids:
            document = history.view(resource_id)
            if document is None:  # deleted a moment ago
                continue
            text = " ".join(str(one) for one in texts(document) if one).casefold()
            if all(word in text for word in words):
                yield document


def actions_of(customer: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Action]:
    """Return the update actions for what was changed in a customer's form. Raises ValueError.

    `changed` has new texts by field, "" to unset one; `customerGroup` has a group's id; `address` has fields of the
    first address by name. An address without any text is removed.
    """
    actions: list[Action] = []
    for name, value in changed.items():
        if name == "address":
            actions += _address_actions(customer, value)
        elif not isinstance(value, str):
            raise ValueError(f"{name} must be text.")
        elif name == "email":
            actions.append({"action": "changeEmail", "email": value.strip()})
        elif name == "customerGroup":
            group = {"customerGroup": {"typeId": "customer-group", "id": value}} if value else {}
            actions.append({"action": "setCustomerGroup", **group})
        elif name in _SETTERS:
            actions.append({"action": _SETTERS[name], **({name: value} if value else {})})
        else:
            raise ValueError(f"The form has no field {name}.")
    if not actions:
        raise ValueError("Nothing was changed in the form.")
    return actions


def _address_actions(customer: Mapping[str, Any], changed: object) -> list[Action]:
    if not isinstance(changed, dict) or not all(isinstance(value, str) for value in changed.values()):
        raise ValueError("The fields of an address must be texts.")
    first = customer["addresses"][0] if customer["addresses"] else {}
    address = {name: value for name, value in {**first, **changed}.items() if value and name != "id"}
    if not address:
        return [{"action": "removeAddress", "addressId": first["id"]}] if first else []
    if first:
        return [{"action": "changeAddress", "addressId": first["id"], "address": address}]
    return [{"action": "addAddress", "address": address}]


def _checked(actions: object, groups: Groups) -> list[Action]:
    """Return update actions in which no value is one that commercetools would refuse. Raises ValueError."""
    if not isinstance(actions, list) or not actions or not all(isinstance(one, dict) for one in actions):
        raise ValueError(
            'Give a JSON array of update actions, such as [{"action": "setFirstName", "firstName": "Ada"}].'
        )
    for action in actions:
        if not isinstance(action.get("action"), str):
            raise ValueError('Each update action needs an "action", which is its name.')  # noqa: TRY004  # the server's 400
        _check_values(action, groups)
    return actions


def _check_values(fields: Mapping[str, Any], groups: Groups) -> None:
    for name in (_TEXTS | {"name"}) & fields.keys():
        value = fields[name]
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} must be text.")
    email, born = fields.get("email", "a@b"), fields.get("dateOfBirth")
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise ValueError("email must be an e-mail address, such as ada@example.com.")
    if born is not None:
        try:
            date.fromisoformat(born)
        except ValueError:
            raise ValueError("dateOfBirth must be a date, such as 1990-12-31.") from None
    if fields.get("customerGroup") is not None:
        _group_id(fields["customerGroup"], groups)
    if not isinstance(fields.get("isEmailVerified", False), bool):
        raise ValueError("isEmailVerified must be true or false.")  # noqa: TRY004  # the server's 400
    if "address" in fields:
        _check_address(fields["address"])
    _check_lists(fields, groups)


def _check_lists(fields: Mapping[str, Any], groups: Groups) -> None:
    for name in _LISTS:
        if not isinstance(fields.get(name, []), list):
            raise ValueError(f"{name} must be a JSON array.")  # noqa: TRY004  # the server's 400
    for store in _one_and_all(fields, "store", "stores"):
        if not isinstance(store, dict) or not isinstance(store.get("key"), str):
            words = 'A store must be named by its key, such as {"typeId": "store", "key": "berlin"}.'
            raise ValueError(words)  # noqa: TRY004  # the server's 400
    for assignment in _one_and_all(fields, "customerGroupAssignment", "customerGroupAssignments"):
        _group_id(assignment.get("customerGroup") if isinstance(assignment, dict) else None, groups)


def _one_and_all(fields: Mapping[str, Any], one: str, many: str) -> Iterator[object]:
    if one in fields:
        yield fields[one]
    yield from fields.get(many, ())


def _group_id(reference: object, groups: Groups) -> str:
    """Return the id of the group that a ResourceIdentifier names by its id or key. Raises ValueError."""
    named = reference if isinstance(reference, dict) else {}
    for group_id, group in groups.items():
        if named.get("id") == group_id or ("key" in group and named.get("key") == group["key"]):
            return group_id
    raise ValueError(f"There is no such customer group. The ids of all are: {', '.join(groups)}.")


def _check_address(address: object) -> None:
    if not isinstance(address, dict):
        raise ValueError("An address must be a JSON object.")  # noqa: TRY004  # the server's 400
    if not isinstance(address.get("country"), str) or not _COUNTRY.fullmatch(address["country"]):
        raise ValueError("An address needs a country: its code of two capital letters, such as DE.")
    for name in address.keys() - {"custom"}:
        if not isinstance(address[name], str):
            raise ValueError(f"{name} must be text.")  # noqa: TRY004  # the server's 400


def _fields_of(draft: Document, groups: Groups) -> Document:
    """Return the fields of the customer that a CustomerDraft makes. Raises ValueError."""
    unknown = sorted(draft.keys() - _DRAFT)
    if unknown:
        raise ValueError(f"A new customer cannot be given {', '.join(unknown)}.")
    if not draft.get("email"):
        raise ValueError("A new customer needs an email.")
    _check_values(draft, groups)
    custom = draft.get("custom", {"fields": {}})
    if not isinstance(custom, dict) or not isinstance(custom.get("fields"), dict):
        raise ValueError('custom must be an object with "type" and "fields".')  # noqa: TRY004  # the server's 400
    for address in draft.get("addresses", []):
        _check_address(address)
    addresses = [{"id": secrets.token_hex(4), **address} for address in draft.get("addresses", [])]
    fields = {name: value for name, value in draft.items() if value not in ("", None)} | {"addresses": addresses}
    if "customerGroup" in fields:
        fields["customerGroup"] = {"typeId": "customer-group", "id": _group_id(fields["customerGroup"], groups)}
    for name in ("Billing", "Shipping"):
        numbers = fields.pop(f"{name.lower()}Addresses", [])
        default = fields.pop(f"default{name}Address", None)
        ids = [_address_id(addresses, number) for number in (*numbers, *([] if default is None else [default]))]
        fields[f"{name.lower()}AddressIds"] = list(dict.fromkeys(ids))
        fields |= {} if default is None else {f"default{name}AddressId": ids[-1]}
    return fields


def _address_id(addresses: Sequence[Document], number: object) -> str:
    if not isinstance(number, int) or not 0 <= number < len(addresses):
        raise ValueError(f"There is no address number {str(number)[:20]}; the first one has the number 0.")
    return str(addresses[number]["id"])


def _sentence(refusal: ValueError) -> str:
    text = str(refusal)
    return f"{text[:1].upper()}{text[1:]}."


# What a list shows


def _name(customer: Document) -> str:
    return " ".join(customer[part] for part in ("firstName", "lastName") if customer.get(part))


def _customer_texts(customer: Document) -> Iterable[object]:
    return customer["id"], customer["email"], _name(customer), customer.get("companyName")


def _customer_row(customer: Document) -> Document:
    return {
        "id": customer["id"],
        "email": customer["email"],
        "name": _name(customer),
        "company": customer.get("companyName", ""),
        "version": customer["version"],
        "at": customer["lastModifiedAt"],
    }


def _order_texts(order: Document) -> Iterable[object]:
    return order["id"], order.get("orderNumber"), order.get("customerEmail"), order.get("customerId")


def _order_row(order: Document) -> Document:
    return {
        "id": order["id"],
        "number": order.get("orderNumber", ""),
        "buyer": order.get("customerEmail", ""),
        "customer": order.get("customerId"),
        "state": order["orderState"],
        "total": str(to_pay(order)),
        "currency": order["totalPrice"]["currencyCode"],
        "version": order["version"],
        "at": order["lastModifiedAt"],
    }


def _line(line: Document) -> Document:
    names = line["name"]
    english = next((names[one] for one in names if one.startswith("en")), None)
    price = line["price"].get("discounted", line["price"])["value"] if "price" in line else line["money"]
    return {
        "name": english or next(iter(names.values()), ""),
        "sku": line.get("variant", {}).get("sku", ""),
        "quantity": line["quantity"],
        "price": _text_of(price),
        "total": _text_of(line["totalPrice"]),
        "gift": line.get("lineItemMode") == "GiftLineItem",
    }


def _text_of(money: Document) -> str:
    return f"{amount_of(money):f}"


# The requests


def routes(playground: "Playground") -> Blueprint:  # noqa: C901  # one small function for each request
    blueprint = Blueprint("shop", __name__)
    desk = Desk(playground.world)

    @blueprint.get("/shop/customers")
    def customers() -> Document:
        return desk.customers(request.args.get("q", ""), _start())

    @blueprint.post("/shop/customers")
    def create() -> Document:
        return desk.create(body())

    @blueprint.get("/shop/customers/<customer_id>")
    def customer(customer_id: str) -> Document:
        return desk.customer(customer_id)

    @blueprint.post("/shop/customers/<customer_id>/form")
    def save(customer_id: str) -> Document:
        return desk.save(customer_id, body())

    @blueprint.post("/shop/customers/<customer_id>/actions")
    def update(customer_id: str) -> Document:
        return desk.update(customer_id, body().get("actions"))

    @blueprint.post("/shop/customers/<customer_id>/random")
    def change_somehow(customer_id: str) -> Document:
        return desk.change_somehow(customer_id)

    @blueprint.post("/shop/customers/<customer_id>/delete")
    def delete(customer_id: str) -> Document:
        return desk.delete(customer_id, data_erasure=body().get("dataErasure") is True)

    @blueprint.post("/shop/customers/<customer_id>/anonymise")
    def anonymise(customer_id: str) -> Document:
        return desk.anonymise(customer_id)

    @blueprint.post("/shop/random")
    def change_anything() -> Document:
        return {"id": desk.change_anything()}

    @blueprint.get("/shop/orders")
    def orders() -> Document:
        return desk.orders(request.args.get("q", ""), _start())

    @blueprint.post("/shop/orders")
    def place() -> Document:
        customer_id = body().get("customer")
        return desk.place(str(customer_id) if customer_id else None)

    @blueprint.get("/shop/orders/<order_id>")
    def order(order_id: str) -> Document:
        return desk.order(order_id)

    @blueprint.post("/shop/orders/<order_id>/states")
    def change_states(order_id: str) -> Document:
        return desk.change_states(order_id, body())

    @blueprint.post("/shop/orders/<order_id>/refunds")
    def refund(order_id: str) -> Document:
        given = body()
        return {"id": desk.refund(order_id, given.get("amount"), str(given.get("state", "Success")))}

    @blueprint.post("/shop/refunds/<transaction_id>")
    def settle_refund(transaction_id: str) -> Document:
        desk.settle_refund(transaction_id, str(body().get("state")))
        return {}

    @blueprint.post("/shop/orders/<order_id>/edit")
    def edit(order_id: str) -> Document:
        return desk.edit(order_id)

    return blueprint


def _start() -> int:
    text = request.args.get("from", "0")
    return min(int(text), _MOST_SKIPPED) if text.isascii() and text.isdigit() else 0
