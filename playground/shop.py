"""A shop whose customers sign up, buy, change and leave, and which publishes the notifications of commercetools.

Shapes: https://docs.commercetools.com/api/projects/customers, https://docs.commercetools.com/api/projects/subscriptions
and the schemas behind them (https://github.com/commercetools/commercetools-api-reference). The same seed, clock and
calls give the same bytes. One writer at a time; any number of readers beside it.
"""

import copy
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from playground.history import Document, History, Population
from playground.notifications import CLIENT, Action, Format, Project, Publish, Raised, Resources, Wanted, iso, sometimes
from playground.shop_orders import Sales

__all__ = ["GARBAGE", "Document", "Shop", "iso"]

GARBAGE: Mapping[bytes, str] = {
    b"\xff\xfe\x00garbage": "the message's data is not JSON",
    b"not JSON": "the message's data is not JSON",
    b'{"notificationType":"ResourceUpdated","projectKey":"demo': "the message's data is not JSON",
    b'{"notificationType":"ResourceUpdated","version":NaN}': "the message's data is not JSON",
    b"null": "the message's data is not a JSON object",
    b"[]": "the message's data is not a JSON object",
    b'"a string"': "the message's data is not a JSON object",
    b'{"hello":"world"}': "the notification is not valid: notificationType: Missing data for required field",
    b'{"notificationType":7,"resource":[]}': (
        "the notification is not valid: notificationType: Not a valid string; resource: Invalid input type"
    ),
    b'{"specversion":"1.0","id":"1","type":"com.commercetools.customer.change.ResourceUpdated"}': (
        "the CloudEvent is not valid: data: Missing data for required field"
    ),
    b"[" * 100_000: "the message's data is nested too deeply",
}
"""Data that is no notification, each with the reason that its dead letter must have."""


class Shop:
    """The customers of one project, and in `sales` its orders, as commercetools' API shows them.

    `publish` gets the data and the attributes of each Pub/Sub message: a Message for each action that has one
    (`messages`), a ResourceCreated, -Updated or -Deleted for each request (`changes`). `population` customers are
    there from the start, made when they are looked at, so that a million cost nothing. Of each customer the newest
    `keep` versions are kept. While `lock` is held nothing changes.
    """

    def __init__(
        self,
        project_key: str = "demo-shop",
        publish: Publish = lambda _data, _attributes: None,
        *,
        seed: int = 0,
        format: Format = "Platform",  # noqa: A002  # the Subscription's own field
        messages: Wanted = True,
        changes: Wanted = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        population: int = 0,
        orders: int = 0,
        keep: int = 10,
    ) -> None:
        self.project_key = project_key
        self._project = Project(
            project_key, publish, seed=seed, format=format, messages=messages, changes=changes, clock=clock
        )
        self._random = self._project.random
        self.lock = self._project.lock
        self._serial = population  # makes e-mail addresses and numbers unique
        self.groups: Mapping[str, Document] = {
            group["id"]: group for group in (self._group(n, key) for n, key in enumerate(("vip", "b2b", None)))
        }
        originals = _Customers(population, seed, self._project.now, tuple(self.groups))
        self.customers = History(self.lock, keep, originals)
        """The current state of each customer by id."""
        identifiers = ("key", "externalId", "customerNumber")
        self._resources = Resources(self._project, "customer", self.customers, identifiers)
        self.sales = Sales(self._project, keep, orders, seed)
        """The orders, payments and discount codes."""

    # What a reader sees

    def versions(self, customer_id: str) -> list[Document]:
        """The versions kept of a customer, oldest first, also after it was deleted."""
        return self.customers.versions(customer_id)

    def view(self, customer_id: str, lag: int = 0) -> Document | None:
        """Return a customer as it was `lag` updates ago: see History."""
        return self.customers.view(customer_id, lag)

    def ids(self, after: str = "") -> Iterator[str]:
        """Every customer's id there ever was beyond `after`, in order. Hold the lock while iterating."""
        return self.customers.ids(after)

    def ids_modified_since(self, moment: datetime) -> Iterator[str]:
        """The ids of living customers whose lastModifiedAt is `moment` or later, in that order."""
        return self.customers.ids_modified_since(moment)

    def exists(self, customer_id: str) -> bool:
        return customer_id in self.customers

    def count(self) -> int:
        """How many customers there are."""
        return len(self.customers)

    # What happens in the shop

    def create(self, **fields: object) -> Document:
        """A new customer with these fields of the API (None: unset), and the fields that every customer has."""
        with self.lock:
            now = self._project.tick()
            self._serial += 1
            customer = _customer(
                self._project.uuid(), now, {"email": f"customer.{self._serial}@example.com", **copy.deepcopy(fields)}
            )
            for address in customer["addresses"]:
                address.setdefault("id", self._address_id())
            self._resources.keep(customer)
        self._resources.tell_creation(customer, ("CustomerCreated", {"customer": customer}))
        return customer

    def change(self, customer_id: str, *actions: Action) -> Document:
        """One update with commercetools' update actions; the customer after it.

        `{"action": "verifyEmail"}` stands for the confirmation by token, which is no update action. Raises KeyError for
        a customer that does not exist, ValueError for what commercetools would refuse.
        https://docs.commercetools.com/api/projects/customers#update-actions
        """
        return self._resources.change(customer_id, actions, lambda one, action: _apply(one, self._prepared(action)))[0]

    def delete(self, customer_id: str, *, data_erasure: bool = False) -> Document:
        """Delete a customer; its last version."""
        erasure = {"dataErasure": True} if data_erasure else {}
        return self._resources.delete(customer_id, "CustomerDeleted", lambda last: {"email": last["email"]}, **erasure)

    def random_change(self) -> str:
        """Make a random change and return the customer's id: mostly an update, some sign-ups, few deletions."""
        event = self._random.choices(("create", "change", "delete"), (20, 73, 7))[0]
        if event == "create" or not self.customers:
            return str(self.create(**_person(self._random, self._serial + 1, tuple(self.groups)))["id"])
        customer_id = self._somebody()
        if event == "delete":
            self.delete(customer_id, data_erasure=sometimes(self._random, 0.5))
            return customer_id
        self.change_somehow(customer_id)
        return customer_id

    def change_somehow(self, customer_id: str) -> Document:
        """Return the customer after one random update. Raises KeyError for one that does not exist."""
        before = self.customers[customer_id]
        after = before
        while after["version"] == before["version"]:  # an action may have no effect, as unsetting what is not set
            self._serial += 1
            after = self.change(customer_id, *_random_actions(self._random, before, self._serial, tuple(self.groups)))
        return after

    def anonymise(self, customer_id: str) -> Document:
        """Return the customer after one update that takes the personal data away; it keeps its id and its orders.

        A customer number stays, because commercetools lets no one change it. Raises KeyError.
        """
        customer = self.customers[customer_id]
        fields = customer.get("custom", {}).get("fields", {})
        return self.change(
            customer_id,
            {"action": "changeEmail", "email": f"anonymised-{customer_id}@example.com"},
            *({"action": name} for name in _PERSONAL),
            *({"action": "removeAddress", "addressId": address["id"]} for address in customer["addresses"]),
            *({"action": "setCustomField", "name": name} for name in fields),
        )

    def random_sale(self, *, edits: bool = True) -> str:
        """Sell something to somebody, or change something about what was sold; return the order's id."""
        is_guest = not self.customers or sometimes(self._random, 0.15)
        return self.sales.random_deed(None if is_guest else self.customers[self._somebody()], edits=edits)

    # What else comes down the topic

    def test_notification(self, subscription_id: str | None = None, key: str | None = None) -> bytes:
        """What commercetools publishes when a Subscription is created or its destination changed; returned too."""
        with self.lock:
            now = self._project.tick()
            subscription_id = subscription_id or self._project.uuid()
        return self._project.send(
            {
                "notificationType": "ResourceCreated",
                "projectKey": self.project_key,
                "resource": {"typeId": "subscription", "id": subscription_id},
                "resourceUserProvidedIdentifiers": {"key": key} if key else {},
                "version": 1,
                "modifiedAt": iso(now),
            }
        )

    def garbage(self) -> list[bytes]:
        """Publish data of several kinds that no one can read as a notification; what was published."""
        for data in GARBAGE:
            self._project.publish(data, {})
        return list(GARBAGE)

    def foreign(self) -> list[bytes]:
        """Publish notifications about something other than a customer; what was published."""
        with self.lock:
            now = iso(self._project.tick())
            order, token, group, payment, event = (self._project.uuid() for _ in range(5))
        about = {"projectKey": self.project_key, "resourceUserProvidedIdentifiers": {}}
        times = {"createdAt": now, "lastModifiedAt": now}

        def message(type_id: str, resource_id: str, kind: str, fields: Document) -> Document:
            resource = {"typeId": type_id, "id": resource_id}
            numbers = {"id": self._project.uuid(), "version": 1, "sequenceNumber": 1, "resourceVersion": 1}
            body = {"resource": resource, **numbers, "type": kind, **fields, **times}
            return {"notificationType": "Message", **about, **body}

        secret = {
            "customerId": self._project.uuid(),
            "expiresAt": now,
            "value": "a-secret-token",
            "invalidateOlderTokens": False,
        }
        return [
            self._project.send(message("order", order, "OrderStateChanged", {"orderState": "Complete"})),
            self._project.send(
                {
                    "notificationType": "ResourceUpdated",
                    **about,
                    "resource": {"typeId": "order", "id": order},
                    "version": 4,
                    "oldVersion": 3,
                    "modifiedAt": now,
                }
            ),
            self._project.send(message("customer-email-token", token, "CustomerEmailTokenCreated", secret)),
            self._project.send(
                message("customer-group", group, "CustomerGroupCustomFieldAdded", {"name": "level", "value": "gold"})
            ),
            self._project.send(
                {
                    "notificationType": "Event",
                    "id": event,
                    "resourceType": "checkout",
                    "type": "CheckoutPaymentCharged",
                    "data": {
                        "projectKey": self.project_key,
                        "payment": {"typeId": "payment", "id": payment},
                        "transactionId": "t-1",
                    },
                    "createdAt": now,
                }
            ),
        ]

    def _prepared(self, action: Action) -> Action:
        """An action with what commercetools adds to it: an id for a new address, the group's id for its key."""
        if action["action"] == "addAddress":
            return {**action, "address": {**action["address"], "id": self._address_id()}}
        group = action.get("customerGroup")
        if group and "key" in group:
            by_key = {group.get("key"): group["id"] for group in self.groups.values()}
            return {**action, "customerGroup": {"typeId": "customer-group", "id": by_key[group["key"]]}}
        return action

    def _address_id(self) -> str:
        return "".join(self._random.choices(string.ascii_letters + string.digits, k=8))

    def _group(self, n: int, key: str | None) -> Document:
        opened = iso(self._project.now)
        group = {
            "id": self._project.uuid(),
            "version": 1,
            "name": f"Group {n}",
            "createdAt": opened,
            "lastModifiedAt": opened,
        }
        return {**group, "key": key} if key else group

    def _somebody(self) -> str:
        """Return a random existing customer."""
        while True:
            customer_id = self.customers.numbered(self._random.randrange(self.customers.ever))
            if customer_id is not None:
                return customer_id


class _Customers(Population):
    """The customers from the start."""

    def __init__(self, size: int, seed: int, opened: datetime, groups: Sequence[str]) -> None:
        super().__init__(size, seed, opened)
        self._groups = groups

    def document(self, index: int) -> Document:
        person = _person(random.Random(self.digest(index)), index + 1, self._groups)
        return _customer(self.id(index), self.born(index), person)


def _customer(customer_id: str, now: datetime, fields: Mapping[str, object]) -> Document:
    moment = iso(now)
    customer: Document = {
        "id": customer_id,
        "version": 1,
        "versionModifiedAt": moment,
        "lastMessageSequenceNumber": 1,
        "createdAt": moment,
        "lastModifiedAt": moment,
        "lastModifiedBy": CLIENT,
        "createdBy": CLIENT,
        "email": "",
        "password": "****aGg=",
        "addresses": [],
        "shippingAddressIds": [],
        "billingAddressIds": [],
        "isEmailVerified": False,
        "customerGroupAssignments": [],
        "stores": [],
        "authenticationMode": "Password",
    }
    customer |= {name: value for name, value in fields.items() if value is not None}
    if customer["authenticationMode"] != "Password":
        del customer["password"]
    return customer


# Update actions: the effect on the customer, and the Messages raised

_SETTERS: Mapping[str, tuple[str, str | None]] = {  # action: the field, absent to unset it; its Message, if it has one
    "setFirstName": ("firstName", "CustomerFirstNameSet"),
    "setLastName": ("lastName", "CustomerLastNameSet"),
    "setTitle": ("title", "CustomerTitleSet"),
    "setDateOfBirth": ("dateOfBirth", "CustomerDateOfBirthSet"),
    "setCompanyName": ("companyName", "CustomerCompanyNameSet"),
    "setExternalId": ("externalId", "CustomerExternalIdSet"),
    "setCustomerGroup": ("customerGroup", "CustomerGroupSet"),
    "setMiddleName": ("middleName", None),
    "setSalutation": ("salutation", None),
    "setLocale": ("locale", None),
    "setVatId": ("vatId", None),
    "setKey": ("key", None),
    "setCustomerNumber": ("customerNumber", None),
}
_PERSONAL = (
    *("setFirstName", "setLastName", "setMiddleName", "setTitle", "setSalutation", "setDateOfBirth"),
    *("setCompanyName", "setVatId", "setExternalId", "setKey"),
)
_LISTS = {  # action: the list of address ids, its Message
    "addBillingAddressId": ("billingAddressIds", "CustomerBillingAddressAdded"),
    "addShippingAddressId": ("shippingAddressIds", "CustomerShippingAddressAdded"),
    "removeBillingAddressId": ("billingAddressIds", "CustomerBillingAddressRemoved"),
    "removeShippingAddressId": ("shippingAddressIds", "CustomerShippingAddressRemoved"),
}
_DEFAULTS = {  # action: the list that the address joins, the field, the Message
    "setDefaultBillingAddress": ("billingAddressIds", "defaultBillingAddressId", "CustomerDefaultBillingAddressSet"),
    "setDefaultShippingAddress": (
        "shippingAddressIds",
        "defaultShippingAddressId",
        "CustomerDefaultShippingAddressSet",
    ),
}


def _apply(customer: Document, action: Action) -> Raised:  # noqa: C901, PLR0911, PLR0912  # a case for each action
    name: str = action["action"]
    if name in _SETTERS:
        return _set(customer, action)
    if name in _LISTS:
        return _list(customer, action)
    if name in _DEFAULTS:
        return _set_default(customer, action)
    match name:
        case "changeEmail":
            old, customer["email"], customer["isEmailVerified"] = customer["email"], action["email"], False
            return [("CustomerEmailChanged", {"email": action["email"], "oldEmail": old})]
        case "verifyEmail":
            customer["isEmailVerified"] = True
            return [("CustomerEmailVerified", {})]
        case "addAddress":
            customer["addresses"].append(action["address"])
            return [("CustomerAddressAdded", {"address": action["address"]})]
        case "changeAddress":
            return _change_address(customer, action)
        case "removeAddress":
            return _remove_address(customer, action)
        case "setCustomField":
            fields = {**customer["custom"]["fields"], action["name"]: action.get("value")}
            customer["custom"]["fields"] = {name: value for name, value in fields.items() if value is not None}
            return []
        case "addStore" | "removeStore":
            store = {"typeId": "store", "key": action["store"]["key"]}
            others = [one for one in customer["stores"] if one != store]
            customer["stores"] = [*others, store] if name == "addStore" else others
            return []
        case "addCustomerGroupAssignment" | "removeCustomerGroupAssignment":
            assignment = action["customerGroupAssignment"]
            rest = [one for one in customer["customerGroupAssignments"] if one != assignment]
            added = name.startswith("add")
            customer["customerGroupAssignments"] = [*rest, assignment] if added else rest
            message = f"CustomerGroupAssignment{'Added' if added else 'Removed'}"
            return [(message, {"customerGroupAssignment": assignment})]
        case "setCustomerGroupAssignments":
            old_groups = customer["customerGroupAssignments"]
            groups = customer["customerGroupAssignments"] = list(action.get("customerGroupAssignments", ()))
            both = {"customerGroupAssignments": groups, "oldCustomerGroupAssignments": old_groups}
            return [("CustomerGroupAssignmentsSet", both)]
        case "setStores":
            old_stores, customer["stores"] = customer["stores"], list(action.get("stores", ()))
            return [("CustomerStoresSet", {"stores": customer["stores"], "oldStores": old_stores})]
    raise ValueError(f"not an action of this shop: {name}")


def _set(customer: Document, action: Action) -> Raised:
    field, message = _SETTERS[action["action"]]
    value = action.get(field)
    if field == "customerNumber" and customer.get(field) not in (None, value):
        raise ValueError("a customer number cannot be changed once it is set")
    if value is None:
        customer.pop(field, None)
    else:
        customer[field] = value
    return [(message, {} if value is None else {field: value})] if message else []


def _list(customer: Document, action: Action) -> Raised:
    field, message = _LISTS[action["action"]]
    address = _address_of(customer, action["addressId"])
    ids = [one for one in customer[field] if one != address["id"]]
    customer[field] = [*ids, address["id"]] if action["action"].startswith("add") else ids
    return [(message, {"address": address})]


def _set_default(customer: Document, action: Action) -> Raised:
    ids, field, message = _DEFAULTS[action["action"]]
    if action.get("addressId") is None:
        customer.pop(field, None)
        return [(message, {})]
    address = _address_of(customer, action["addressId"])
    customer[field] = address["id"]
    customer[ids] = list(dict.fromkeys([*customer[ids], address["id"]]))
    return [(message, {"address": address})]


def _change_address(customer: Document, action: Action) -> Raised:
    old = _address_of(customer, action["addressId"])
    new = {**action["address"], "id": old["id"]}
    customer["addresses"][customer["addresses"].index(old)] = new
    return [("CustomerAddressChanged", {"address": new, "addressRoles": _roles(customer, old["id"])})]


def _remove_address(customer: Document, action: Action) -> Raised:
    old = _address_of(customer, action["addressId"])
    roles = _roles(customer, old["id"])
    customer["addresses"].remove(old)
    for ids, default, _ in _DEFAULTS.values():
        customer[ids] = [one for one in customer[ids] if one != old["id"]]
        if customer.get(default) == old["id"]:
            del customer[default]
    return [("CustomerAddressRemoved", {"address": old, "addressRoles": roles})]


def _address_of(customer: Document, address_id: str) -> Document:
    for address in customer["addresses"]:
        if address["id"] == address_id:
            found: Document = address
            return found
    raise ValueError(f"the customer has no address {address_id}")


def _roles(customer: Document, address_id: str) -> list[str]:
    lists = {"Shipping": customer["shippingAddressIds"], "Billing": customer["billingAddressIds"]}
    return [role for role, ids in lists.items() if address_id in ids]


# People, all of them made up


@dataclass(frozen=True, slots=True)
class _Place:
    country: str
    locales: Sequence[str]
    first: Sequence[str]
    last: Sequence[str]
    streets: Sequence[str]
    cities: Sequence[tuple[str, str, str]]  # city, postal code, region or state
    companies: Sequence[str]
    phone: str


_PLACES = (
    _Place(
        "DE",
        ("de-DE", "de"),
        ("Jürgen", "Anna-Lena", "Björn", "Zoë", "Käthe"),
        ("Müller", "Groß", "von der Heide", "Schäfer", "Öztürk"),
        ("Hauptstraße", "Am Großen Wannsee", "Königsallee"),
        (("Köln", "50667", "Nordrhein-Westfalen"), ("München", "80331", "Bayern"), ("Görlitz", "02826", "")),
        ("Bäckerei Müller & Söhne", "Größenwahn GmbH"),
        "+49 221 555",
    ),
    _Place(
        "US",
        ("en-US",),
        ("John", "Mary Ann", "D'Andre", "Sofía", "Xochitl"),
        ("Smith", "O'Neil", "Nguyễn", "St. John", "García-López"),
        ("Main St", "Martin Luther King Jr. Blvd", "5th Ave"),
        (("Springfield", "62704", "IL"), ("New York", "10001", "NY"), ("San José", "95113", "CA")),
        ("Acme, Inc.", 'Joe "Big" Burger'),
        "+1 212 555",
    ),
    _Place(
        "GB",
        ("en-GB",),
        ("Siobhán", "Nigel", "Zara 🌸", "Llŷr"),
        ("O'Brien", "Smith-Jones", "MacDonald", "ap Rhys"),
        ("High Street", "St. Mary's Road", "The Mews"),
        (("London", "SW1A 1AA", "Greater London"), ("Penrhyndeudraeth", "LL48 6ER", "Gwynedd")),
        ("Tea & Sons Ltd", "Fish 🐟 & Chips 🍟"),
        "+44 20 7946 0",
    ),
    _Place(
        "JP",
        ("ja-JP", "ja"),
        ("太郎", "花子", "さくら", "健一"),
        ("山田", "佐藤", "髙橋", "鈴木"),
        ("千代田一丁目", "銀座四丁目"),
        (("東京", "100-0001", "東京都"), ("札幌市", "060-0001", "北海道")),
        ("株式会社テスト", "合同会社サンプル"),
        "+81 3 5555",
    ),
    _Place(
        "EG",
        ("ar-EG", "ar"),
        ("محمد", "فاطمة", "يوسف"),
        ("عبد الرحمن", "الشريف", "حسن"),
        ("شارع التحرير", "شارع الهرم"),
        (("القاهرة", "11511", "محافظة القاهرة"), ("الإسكندرية", "21500", "")),
        ("شركة النيل",),
        "+20 2 5555",
    ),
    _Place(
        "FR",
        ("fr-FR", "fr-CA"),
        ("Hélène", "François", "Anaïs", "Jean-Luc"),
        ("d'Artagnan", "L'Écuyer", "Lefèvre", "Çelik"),
        ("Rue de l'Église", "Avenue des Champs-Élysées"),
        (("Paris", "75008", "Île-de-France"), ("Saint-Étienne", "42000", "Auvergne-Rhône-Alpes")),
        ("L'Œuf d'Or SARL",),
        "+33 1 55 55",
    ),
)


def _email(chance: random.Random, serial: int) -> str:
    """Unique by its number; upper and lower case as people type them."""
    name = chance.choice(("anna.lena", "Ada.Lovelace", "o'brien", "taro+shop", "M.MUELLER", "info"))
    return f"{name}.{serial}@{chance.choice(('example.com', 'example.org', 'Example.com'))}"


def _address(chance: random.Random, place: _Place) -> Document:
    """An address without an id; only its country is certain, and sometimes there is no more."""
    city, postal_code, region = chance.choice(place.cities)
    number = str(chance.randrange(1, 200))
    address = {
        "firstName": chance.choice(place.first),
        "lastName": chance.choice(place.last),
        "streetName": chance.choice(place.streets),
        "streetNumber": chance.choice((number, f"{number}a", "")),
        "postalCode": postal_code,
        "city": city,
        "state" if place.country == "US" else "region": region,
        "company": chance.choice(place.companies),
        "phone": f"{place.phone} {chance.randrange(100, 1000)}",
        "mobile": f"{place.phone} {chance.randrange(100, 1000)}",
    }
    rare = {
        "apartment": f"{chance.randrange(1, 40)}B",
        "building": chance.choice(("North", "Hinterhaus", " ")),
        "additionalStreetInfo": "c/o Example",
        "pOBox": chance.choice((number, f"Postfach {number}")),
    }
    address |= {name: value for name, value in rare.items() if sometimes(chance, 0.1)}
    kept = {name: value for name, value in address.items() if sometimes(chance, 0.8)}
    return {**kept, "country": "UK" if place.country == "GB" and not kept.get("company") else place.country}


def _attributes(chance: random.Random, place: _Place, serial: int, groups: Sequence[str]) -> Document:
    """A value for each optional field that can be set: for some fields and people an empty one."""
    return {
        "firstName": chance.choice(place.first),
        "lastName": chance.choice(place.last),
        "middleName": chance.choice(("", chance.choice(place.first))),
        "title": chance.choice(("Dr.", "Prof. Dr.", "")),
        "salutation": chance.choice(("Mr.", "Mrs.", "")),
        "dateOfBirth": f"{chance.randrange(1930, 2008)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "companyName": chance.choice((*place.companies, "")),
        "vatId": f"{place.country}{chance.randrange(10**8, 10**9)}",
        "locale": chance.choice(place.locales),
        "key": f"customer-{serial}",
        "externalId": f"crm-{serial}",
        "customerNumber": f"K{serial:07}",
        "customerGroup": {"typeId": "customer-group", "id": chance.choice(groups)},
    }


def _assignments(chance: random.Random, groups: Sequence[str]) -> list[Document]:
    """Assignments to some of the groups, or to none."""
    chosen = chance.sample(groups, chance.randrange(len(groups) + 1))
    return [{"customerGroup": {"typeId": "customer-group", "id": group_id}} for group_id in chosen]


def _person(chance: random.Random, serial: int, groups: Sequence[str]) -> Document:
    """Return the fields of a new customer, with a random choice of the optional ones."""
    place = chance.choice(_PLACES)
    attributes = _attributes(chance, place, serial, groups)
    likely = ("firstName", "lastName", "locale")
    person = {name: value for name, value in attributes.items() if sometimes(chance, 0.9 if name in likely else 0.4)}
    addresses = [{"id": f"a{n}{serial:06x}", **_address(chance, place)} for n in range(chance.choice((0, 1, 1, 2, 3)))]
    ids = [address["id"] for address in addresses]
    person |= {
        "email": _email(chance, serial),
        "addresses": addresses,
        "billingAddressIds": ids[:1],
        "shippingAddressIds": ids[1:],
        "isEmailVerified": sometimes(chance, 0.5),
        "stores": [{"typeId": "store", "key": chance.choice(("berlin", "online"))}] * sometimes(chance, 0.2),
        "customerGroupAssignments": _assignments(chance, groups) if sometimes(chance, 0.3) else [],
        "authenticationMode": chance.choice(("Password", "Password", "ExternalAuth")),
    }
    if ids and sometimes(chance, 0.6):
        person["defaultBillingAddressId"] = ids[0]
    if len(ids) > 1:
        person["defaultShippingAddressId"] = ids[-1]
    return person


def _random_actions(chance: random.Random, customer: Document, serial: int, groups: Sequence[str]) -> list[Action]:
    """One to three actions that this customer can undergo together."""
    place = chance.choice(_PLACES)
    offers: dict[str, Document] = {
        "changeEmail": {"email": _email(chance, serial)},
        "verifyEmail": {},
        "addAddress": {"address": _address(chance, place)},
        "addStore": {"store": {"typeId": "store", "key": chance.choice(("berlin", "online", "paris"))}},
        "setCustomerGroupAssignments": {"customerGroupAssignments": _assignments(chance, groups)},
    }
    for field, value in _attributes(chance, place, serial, groups).items():
        offers[f"set{field[0].upper()}{field[1:]}"] = {} if sometimes(chance, 0.25) else {field: value}
    if "customerNumber" in customer:
        del offers["setCustomerNumber"]
    if customer["addresses"]:
        address_id = chance.choice(customer["addresses"])["id"]
        offers["changeAddress"] = {"addressId": address_id, "address": _address(chance, place)}
        offers["removeAddress"] = {"addressId": address_id}
        offers["setDefaultBillingAddress"] = {"addressId": chance.choice((address_id, address_id, None))}
        offers["setDefaultShippingAddress"] = {"addressId": chance.choice((address_id, address_id, None))}
    names = chance.sample(sorted(offers), chance.choice((1, 1, 2, 3)))
    if "removeAddress" in names:  # the others may be about the same address
        names = ["removeAddress"]
    return [{"action": name, **offers[name]} for name in names]
