"""The shop on the page: its lists, its forms, and what its buttons publish."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from playground.baskets import Basket, Item
from playground.page.shop import PAGE, Desk, actions_of
from playground.shop import Shop
from playground.world import LocalWorld

MUGS = Basket("EUR", (Item(1, Decimal("10.00"), 2),), Decimal("0.19"), shipping=Decimal("4.90"))
YEN = Basket("JPY", (Item(2, Decimal(900)),), None)
PERSONAL = {
    *("firstName", "lastName", "middleName", "title", "salutation", "dateOfBirth", "companyName", "vatId"),
    *("externalId", "key", "defaultBillingAddressId", "defaultShippingAddressId"),
}


class World(LocalWorld):
    """A world of which only the shop runs: what it publishes is in `told`."""

    def __init__(self, population: int = 0) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__()
        self.shop = Shop(publish=self._tell, population=population, keep=20)

    def _tell(self, data: bytes, _attributes: Mapping[str, str]) -> None:
        self.told.append(json.loads(data))

    def kinds(self) -> list[str]:
        found = [one.get("type", one["notificationType"]) for one in self.told]
        self.told.clear()
        return found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


# Lists


def test_customers_are_listed_with_the_last_changed_first_and_page_by_page() -> None:
    world = World(population=2 * PAGE)
    desk = Desk(world)
    oldest = next(world.shop.customers.ids_modified_since(datetime.now(UTC) - timedelta(days=9)))
    world.shop.change(oldest, {"action": "changeEmail", "email": "new@example.com"})
    gone = desk.create({"email": "gone@example.com"})["id"]
    desk.delete(gone, data_erasure=False)

    first, second = desk.customers("", 0), desk.customers("", PAGE)

    assert (first["total"], first["more"], second["more"]) == (2 * PAGE, True, False)
    rows = [*first["rows"], *second["rows"]]
    assert rows[0]["id"] == oldest
    assert len({row["id"] for row in rows}) == 2 * PAGE
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert gone not in {row["id"] for row in rows}


@pytest.mark.parametrize("search", ["ADA@example", "lovelace ada", "analytical", "{id}"])
def test_a_customer_is_found_by_e_mail_name_company_and_id(desk: Desk, search: str) -> None:
    desk.create({"email": "bob@example.com"})
    ada = desk.create(
        {"email": "ada@example.com", "firstName": "Ada", "lastName": "Lovelace", "companyName": "Analytical"}
    )

    found = desk.customers(search.format(id=ada["id"]), 0)

    assert [row["id"] for row in found["rows"]] == [ada["id"]]


def test_an_order_is_found_by_its_number_and_by_its_buyer(desk: Desk) -> None:
    buyer = desk.create({"email": "ada@example.com"})
    order = desk.place(buyer["id"])
    desk.place(None)

    for search in (order["orderNumber"], buyer["id"], order["id"], "ada@"):
        assert [row["id"] for row in desk.orders(search, 0)["rows"]] == [order["id"]]


def test_a_customer_that_was_deleted_is_still_shown_as_it_was_last(desk: Desk) -> None:
    customer = desk.create({"email": "ada@example.com"})

    desk.delete(customer["id"], data_erasure=True)

    assert desk.customer(customer["id"]) | {"groups": []} == {"customer": customer, "deleted": True, "groups": []}
    with pytest.raises(KeyError):
        desk.customer("nobody")


# One customer


def test_a_form_is_saved_by_one_update_with_what_was_changed(world: World, desk: Desk) -> None:
    customer = desk.create({"email": "ada@example.com", "firstName": "Ada", "lastName": "King"})
    group = next(iter(world.shop.groups))
    world.told.clear()

    after = desk.save(
        customer["id"],
        {
            "email": "a.lovelace@example.com",
            "lastName": "Lovelace",
            "firstName": "",
            "dateOfBirth": "1815-12-10",
            "customerGroup": group,
            "address": {"city": "London", "country": "GB"},
        },
    )

    assert (after["email"], after["lastName"], after["dateOfBirth"]) == (
        *("a.lovelace@example.com", "Lovelace", "1815-12-10"),
    )
    assert "firstName" not in after
    assert after["customerGroup"] == {"typeId": "customer-group", "id": group}
    assert {name: after["addresses"][0][name] for name in ("city", "country")} == {"city": "London", "country": "GB"}
    assert world.kinds().count("ResourceUpdated") == 1


def test_an_address_is_changed_in_its_fields_and_removed_when_none_is_left() -> None:
    customer = {"addresses": [{"id": "a1", "city": "Paris", "country": "FR", "company": "L'Œuf"}]}

    assert actions_of(customer, {"address": {"city": "Lyon"}}) == [
        {"action": "changeAddress", "addressId": "a1", "address": {"city": "Lyon", "country": "FR", "company": "L'Œuf"}}
    ]
    assert actions_of({"addresses": [{"id": "a1", "country": "FR"}]}, {"address": {"country": ""}}) == [
        {"action": "removeAddress", "addressId": "a1"}
    ]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "Nothing was changed"),
        ({"email": "no address"}, "e-mail address"),
        ({"email": ""}, "e-mail address"),
        ({"firstName": 7}, "must be text"),
        ({"dateOfBirth": "31.12.1990"}, "must be a date"),
        ({"customerGroup": "none-such"}, "no such customer group"),
        ({"address": {"city": "Rome"}}, "needs a country"),
        ({"address": "Rome"}, "must be texts"),
        ({"shoeSize": "40"}, "no field shoeSize"),
        ({"firstName": ""}, "nothing was changed"),
    ],
)
def test_a_form_with_a_mistake_is_refused_with_a_sentence_and_publishes_nothing(
    world: World, desk: Desk, changed: Mapping[str, Any], words: str
) -> None:
    customer = desk.create({"email": "ada@example.com"})
    world.told.clear()

    with pytest.raises(ValueError, match=words):
        desk.save(customer["id"], changed)

    assert not world.told


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (None, "JSON array"),
        ([], "JSON array"),
        ([{}], "needs an"),
        ([{"action": "fly"}], "Not an action of this shop: fly"),
        ([{"action": "changeEmail"}], "lacks 'email'"),
        ([{"action": "addStore", "store": 7}], "named by its key"),
        ([{"action": "setStores", "stores": [None]}], "named by its key"),
        ([{"action": "setStores", "stores": 7}], "stores must be a JSON array"),
        ([{"action": "addCustomerGroupAssignment", "customerGroupAssignment": 7}], "no such customer group"),
        ([{"action": "setCustomerGroupAssignments", "customerGroupAssignments": [{}]}], "no such customer group"),
        ([{"action": "setCustomField", "name": ["a"], "value": 1}], "name must be text"),
        ([{"action": "addAddress", "address": {"country": "DE", "city": ["Rome"]}}], "city must be text"),
        ([{"action": "removeAddress", "addressId": "none"}], "The customer has no address none"),
        ([{"action": "setFirstName", "firstName": ["Ada"]}], "must be text"),
    ],
)
def test_update_actions_that_commercetools_would_refuse_change_nothing(
    world: World, desk: Desk, actions: object, words: str
) -> None:
    customer = desk.create({"email": "ada@example.com"})
    world.told.clear()

    with pytest.raises(ValueError, match=words):
        desk.update(customer["id"], actions)

    assert desk.customer(customer["id"])["customer"] == customer
    assert not world.told


def test_a_draft_with_addresses_by_number_makes_a_customer(desk: Desk) -> None:
    draft = {
        "email": "ada@example.com",
        "addresses": [{"country": "GB"}, {"country": "FR", "city": "Paris"}],
        "shippingAddresses": [0],
        "defaultShippingAddress": 1,
    }

    customer = desk.create(draft)

    first, second = (address["id"] for address in customer["addresses"])
    assert (customer["shippingAddressIds"], customer["billingAddressIds"]) == ([first, second], [])
    assert customer["defaultShippingAddressId"] == second


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        ({}, "needs an email"),
        ({"email": "ada@example.com", "version": 4}, "cannot be given version"),
        ({"email": "ada@example.com", "addresses": [{}]}, "needs a country"),
        ({"email": "ada@example.com", "defaultBillingAddress": 0}, "no address number 0"),
        ({"email": "ada@example.com", "isEmailVerified": "yes"}, "isEmailVerified must be true or false"),
        ({"email": "ada@example.com", "stores": [1]}, "named by its key"),
        ({"email": "ada@example.com", "stores": {}}, "stores must be a JSON array"),
        ({"email": "ada@example.com", "customerGroupAssignments": [None]}, "no such customer group"),
        ({"email": "ada@example.com", "customerGroupAssignments": [{"customerGroup": {"id": "x"}}]}, "no such"),
        ({"email": "ada@example.com", "addresses": [{"country": "DE", "phone": 7}]}, "phone must be text"),
        ({"email": "ada@example.com", "custom": {"fields": []}}, "custom must be an object"),
    ],
)
def test_a_draft_that_commercetools_would_refuse_makes_no_customer(
    desk: Desk, draft: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        desk.create(draft)

    assert desk.customers("", 0)["total"] == 0


def test_anonymising_takes_every_personal_field_away_by_one_update(desk: Desk, world: World) -> None:
    people = [world.shop.random_change() for _ in range(60)]
    alive = [one for one in dict.fromkeys(people) if world.shop.exists(one)]
    world.told.clear()
    ada = world.shop.create(
        email="ada@example.com",
        custom={"type": {"typeId": "type", "id": "t"}, "fields": {"petName": "Fido"}},
        addresses=[{"country": "GB", "lastName": "Lovelace"}],
    )["id"]

    for customer_id in (*alive, ada):
        before = world.shop.customers[customer_id]
        world.told.clear()
        after = desk.anonymise(customer_id)

        assert not PERSONAL & after.keys()
        assert (after["email"], after["addresses"]) == (f"anonymised-{customer_id}@example.com", [])
        assert not after["isEmailVerified"]
        assert not after.get("custom", {}).get("fields")
        assert world.kinds().count("ResourceUpdated") == 1
        mail, names = before["email"], [before.get(name) for name in ("firstName", "lastName") if before.get(name)]
        assert not [word for word in (mail, *names) if f'"{word}"' in json.dumps(after, ensure_ascii=False)]
    with pytest.raises(ValueError, match="no personal data any more"):
        desk.anonymise(ada)


def test_a_random_change_of_one_customer_publishes_something(desk: Desk, world: World) -> None:
    customer = desk.create({"email": "ada@example.com"})
    world.told.clear()

    after = desk.change_somehow(customer["id"])

    assert after["version"] > customer["version"]
    assert "ResourceUpdated" in world.kinds()


# One order


def test_an_order_shows_its_lines_and_amounts_in_its_currency(world: World, desk: Desk) -> None:
    order = world.shop.sales.place(MUGS)

    shown = desk.order(order["id"])

    assert shown["lines"] == [
        {"name": "Lamp", "sku": "SKU-1", "quantity": 2, "price": "10.00", "total": "20.00", "gift": False}
    ]
    assert (shown["currency"], shown["toPay"], shown["left"], shown["refunded"]) == ("EUR", "24.90", "24.90", "0")


def test_a_refund_makes_a_payment_where_there_is_none_and_lessens_what_is_left(world: World, desk: Desk) -> None:
    order = world.shop.sales.place(MUGS)

    transaction = desk.refund(order["id"], "4,50", "Initial")

    shown = desk.order(order["id"])
    assert (shown["left"], shown["refunded"], shown["paid"]) == ("20.40", "0", True)
    assert [(one["id"], one["amount"], one["state"]) for one in shown["refunds"]] == [(transaction, "4.50", "Initial")]
    desk.settle_refund(transaction, "Success")
    assert desk.order(order["id"])["refunded"] == "4.50"
    desk.refund(order["id"], "20.40", "Failure")
    assert desk.order(order["id"])["left"] == "20.40"


@pytest.mark.parametrize(
    ("basket", "amount", "words"),
    [
        (MUGS, "0", "more than nothing"),
        (MUGS, "-1", "more than nothing"),
        (MUGS, "NaN", "more than nothing"),
        (MUGS, "24.91", "At most 24.90 EUR"),
        (MUGS, "1.001", "at most 2 digits"),
        (MUGS, "much", "must be a number"),
        (YEN, "1.5", "at most 0 digits"),
    ],
)
def test_a_refund_of_a_wrong_amount_is_refused(
    world: World, desk: Desk, basket: Basket, amount: str, words: str
) -> None:
    order = world.shop.sales.place(basket)

    with pytest.raises(ValueError, match=words):
        desk.refund(order["id"], amount, "Success")

    assert desk.order(order["id"])["refunds"] == []


def test_a_refund_that_has_ended_keeps_its_state(world: World, desk: Desk) -> None:
    order = world.shop.sales.place(MUGS)
    transaction = desk.refund(order["id"], "1", "Success")

    with pytest.raises(ValueError, match="ended with Success"):
        desk.settle_refund(transaction, "Failure")


def test_states_are_changed_together_and_an_edit_gives_other_amounts(world: World, desk: Desk) -> None:
    order = world.shop.sales.place(MUGS)
    world.told.clear()

    after = desk.change_states(order["id"], {"orderState": "Cancelled", "shipmentState": "Delayed"})

    assert (after["orderState"], after["shipmentState"]) == ("Cancelled", "Delayed")
    assert world.kinds()[:2] == ["OrderStateChanged", "OrderShipmentStateChanged"]
    with pytest.raises(ValueError, match="already"):
        desk.change_states(order["id"], {"orderState": "Cancelled"})
    with pytest.raises(ValueError, match="Not a value of orderState: Lost"):
        desk.change_states(order["id"], {"orderState": "Lost"})
    edited = desk.edit(order["id"])
    assert edited["totalPrice"]["currencyCode"] == "EUR"
    assert edited["lineItems"] != order["lineItems"]


def test_two_threads_that_change_the_same_customer_lose_no_change(world: World, desk: Desk) -> None:
    customer = desk.create({"email": "ada@example.com"})
    threads = [
        threading.Thread(target=lambda: [desk.change_somehow(customer["id"]) for _ in range(50)]) for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    updates = [one for one in world.told if one["notificationType"] == "ResourceUpdated"]
    assert len(updates) == 200
    assert [one["oldVersion"] for one in updates[1:]] == [one["version"] for one in updates[:-1]]
