"""The shop changes as commercetools' customers do, and publishes what commercetools publishes about it."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playground.shop import Shop

ALWAYS_PRESENT = {
    "id",
    "version",
    "createdAt",
    "lastModifiedAt",
    "email",
    "addresses",
    "shippingAddressIds",
    "billingAddressIds",
    "isEmailVerified",
    "customerGroupAssignments",
    "stores",
    "authenticationMode",
}
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Topic(list[dict[str, Any]]):
    """What was published, decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[bytes] = []
        self.attributes: list[Mapping[str, str]] = []

    def __call__(self, data: bytes, attributes: Mapping[str, str]) -> None:
        self.raw.append(data)
        self.attributes.append(attributes)
        self.append(json.loads(data))

    def told(self) -> list[str]:
        """The kinds of what was published since the last look."""
        kinds = [payload.get("type") or payload["notificationType"] for payload in self]
        self.clear()
        return kinds


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def shop(topic: Topic) -> Shop:
    return Shop(publish=topic, clock=lambda: NOON)


def test_a_new_customer_has_the_fields_that_every_customer_has_and_those_given(shop: Shop) -> None:
    customer = shop.create(email="Ada@example.com", firstName="Ada", middleName="", lastName=None)

    assert customer.keys() >= ALWAYS_PRESENT
    assert (customer["email"], customer["firstName"], customer["middleName"]) == ("Ada@example.com", "Ada", "")
    assert "lastName" not in customer
    assert shop.customers[customer["id"]] == customer


def test_a_creation_is_told_by_a_message_with_the_customer_and_a_change_without(shop: Shop, topic: Topic) -> None:
    customer = shop.create(key="ada-1")

    message, change = topic
    assert (message["type"], message["customer"], message["sequenceNumber"]) == ("CustomerCreated", customer, 1)
    assert "resourceUserProvidedIdentifiers" not in message
    assert change == {
        "notificationType": "ResourceCreated",
        "projectKey": "demo-shop",
        "resource": {"typeId": "customer", "id": customer["id"]},
        "resourceUserProvidedIdentifiers": {"key": "ada-1"},
        "version": 1,
        "modifiedAt": customer["lastModifiedAt"],
    }


def test_an_update_is_told_by_a_message_for_each_action_that_has_one_and_one_change(shop: Shop, topic: Topic) -> None:
    customer = shop.create(email="a@example.com")
    topic.clear()

    after = shop.change(
        customer["id"],
        {"action": "setFirstName", "firstName": "Ada"},
        {"action": "setLocale", "locale": "de-DE"},
        {"action": "changeEmail", "email": "b@example.com"},
    )

    first, second, change = topic
    assert (first["type"], first["firstName"], first["sequenceNumber"]) == ("CustomerFirstNameSet", "Ada", 2)
    assert (second["email"], second["oldEmail"], second["sequenceNumber"]) == ("b@example.com", "a@example.com", 3)
    assert (first["version"], first["resourceVersion"], second["resourceVersion"]) == (1, 2, 4)
    assert (change["oldVersion"], change["version"]) == (1, after["version"])
    assert after["version"] >= 4
    assert after["locale"] == "de-DE"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("firstName", "Ada", "CustomerFirstNameSet"),
        ("lastName", "Lovelace", "CustomerLastNameSet"),
        ("title", "Dr.", "CustomerTitleSet"),
        ("dateOfBirth", "1815-12-10", "CustomerDateOfBirthSet"),
        ("companyName", "Analytical Engines", "CustomerCompanyNameSet"),
        ("externalId", "crm-1", "CustomerExternalIdSet"),
        ("middleName", "", None),
        ("salutation", "Ms.", None),
        ("locale", "en-GB", None),
        ("vatId", "GB1", None),
        ("key", "ada-1", None),
    ],
)
def test_a_field_is_set_and_unset(shop: Shop, topic: Topic, field: str, value: str, message: str | None) -> None:
    customer_id, action = shop.create()["id"], f"set{field[0].upper()}{field[1:]}"
    topic.told()

    assert shop.change(customer_id, {"action": action, field: value})[field] == value
    assert topic.told() == ([message] if message else []) + ["ResourceUpdated"]
    assert field not in shop.change(customer_id, {"action": action})
    assert topic.told() == ([message] if message else []) + ["ResourceUpdated"]


def test_an_update_without_an_effect_is_none(shop: Shop, topic: Topic) -> None:
    customer = shop.create(firstName="Ada")
    topic.clear()

    same = shop.change(customer["id"], {"action": "setFirstName", "firstName": "Ada"}, {"action": "setKey"})

    assert (same, topic) == (customer, [])


def test_a_customer_number_cannot_be_changed_once_it_is_set(shop: Shop) -> None:
    customer_id = shop.create()["id"]
    shop.change(customer_id, {"action": "setCustomerNumber", "customerNumber": "K1"})

    with pytest.raises(ValueError, match="cannot be changed"):
        shop.change(customer_id, {"action": "setCustomerNumber", "customerNumber": "K2"})
    assert shop.customers[customer_id]["customerNumber"] == "K1"


def test_a_group_is_set_by_id_or_key(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]
    vip = next(group["id"] for group in shop.groups.values() if group.get("key") == "vip")
    by_key = {"action": "setCustomerGroup", "customerGroup": {"typeId": "customer-group", "key": "vip"}}

    customer = shop.change(customer_id, by_key)

    assert customer["customerGroup"] == {"typeId": "customer-group", "id": vip}
    assert topic[-2]["customerGroup"] == customer["customerGroup"]
    assert "customerGroup" not in shop.change(customer_id, {"action": "setCustomerGroup"})


def test_groups_are_assigned_with_a_message_each_and_set_with_one(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]
    vip, b2b, _ = ({"customerGroup": {"typeId": "customer-group", "id": group_id}} for group_id in shop.groups)
    add, remove = (
        {"action": f"{verb}CustomerGroupAssignment", "customerGroupAssignment": vip} for verb in ("add", "remove")
    )
    topic.told()

    assert shop.change(customer_id, add)["customerGroupAssignments"] == [vip]
    assert topic[0]["customerGroupAssignment"] == vip
    assert topic.told() == ["CustomerGroupAssignmentAdded", "ResourceUpdated"]
    assert shop.change(customer_id, remove)["customerGroupAssignments"] == []
    assert topic.told() == ["CustomerGroupAssignmentRemoved", "ResourceUpdated"]
    set_both = {"action": "setCustomerGroupAssignments", "customerGroupAssignments": [b2b, vip]}
    assert shop.change(customer_id, set_both)["customerGroupAssignments"] == [b2b, vip]
    assert topic[0]["oldCustomerGroupAssignments"] == []
    assert topic.told() == ["CustomerGroupAssignmentsSet", "ResourceUpdated"]
    assert shop.change(customer_id, {"action": "setCustomerGroupAssignments"})["customerGroupAssignments"] == []


def test_stores_are_added_without_a_message_and_set_with_one(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]
    store = {"typeId": "store", "key": "berlin"}
    topic.told()

    assert shop.change(customer_id, {"action": "addStore", "store": store})["stores"] == [store]
    assert shop.change(customer_id, {"action": "removeStore", "store": store})["stores"] == []
    assert topic.told() == ["ResourceUpdated"] * 2
    assert shop.change(customer_id, {"action": "setStores", "stores": [store]})["stores"] == [store]
    assert topic.told() == ["CustomerStoresSet", "ResourceUpdated"]


def test_an_email_changed_is_an_email_unverified(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]
    topic.told()

    assert shop.change(customer_id, {"action": "verifyEmail"})["isEmailVerified"]
    assert not shop.change(customer_id, {"action": "changeEmail", "email": "new@example.com"})["isEmailVerified"]
    assert topic.told() == ["CustomerEmailVerified", "ResourceUpdated", "CustomerEmailChanged", "ResourceUpdated"]


def test_an_address_lives_with_its_roles(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]

    def change(action: str, **fields: object) -> dict[str, Any]:
        topic.clear()
        return shop.change(customer_id, {"action": action, **fields})

    address = change("addAddress", address={"country": "DE", "city": "Köln"})["addresses"][0]
    assert topic[0]["address"] == address
    number = address["id"]

    customer = change("setDefaultBillingAddress", addressId=number)
    assert (customer["defaultBillingAddressId"], customer["billingAddressIds"]) == (number, [number])
    assert change("addShippingAddressId", addressId=number)["shippingAddressIds"] == [number]
    assert change("removeShippingAddressId", addressId=number)["shippingAddressIds"] == []
    assert change("setDefaultShippingAddress", addressId=number)["defaultShippingAddressId"] == number
    assert "defaultShippingAddressId" not in change("setDefaultShippingAddress")
    assert topic[0] | {"type": "CustomerDefaultShippingAddressSet"} == topic[0]
    assert "address" not in topic[0]

    customer = change("changeAddress", addressId=number, address={"country": "FR"})
    assert customer["addresses"] == [{"country": "FR", "id": number}]
    assert (topic[0]["type"], topic[0]["addressRoles"]) == ("CustomerAddressChanged", ["Shipping", "Billing"])

    customer = change("removeAddress", addressId=number)
    assert (customer["addresses"], customer["billingAddressIds"], customer["shippingAddressIds"]) == ([], [], [])
    assert "defaultBillingAddressId" not in customer
    with pytest.raises(ValueError, match="no address"):
        change("removeAddress", addressId=number)


def test_an_unknown_action_or_customer_is_refused(shop: Shop) -> None:
    customer_id = shop.create()["id"]

    with pytest.raises(ValueError, match="explode"):
        shop.change(customer_id, {"action": "explode"})
    with pytest.raises(KeyError):
        shop.change("nobody", {"action": "setKey"})


@pytest.mark.parametrize("erasure", [True, False])
def test_a_deletion_is_told_with_the_email_and_whether_to_erase(shop: Shop, topic: Topic, *, erasure: bool) -> None:
    customer = shop.create(email="ada@example.com", externalId="crm-1")
    topic.clear()

    shop.delete(customer["id"], data_erasure=erasure)

    message, change = topic
    assert (message["type"], message["email"], message["sequenceNumber"]) == ("CustomerDeleted", "ada@example.com", 2)
    assert (change["notificationType"], change["version"]) == ("ResourceDeleted", 1)
    assert change["resourceUserProvidedIdentifiers"] == {"externalId": "crm-1"}
    assert change.get("dataErasure", False) is erasure
    assert customer["id"] not in shop.customers
    assert len(shop.customers) == 0
    with pytest.raises(KeyError):
        shop.delete(customer["id"])


def test_the_versions_of_a_customer_are_kept_a_while(topic: Topic) -> None:
    shop = Shop(publish=topic, keep=3)
    customer_id = shop.create()["id"]
    for n in range(5):
        shop.change(customer_id, {"action": "setKey", "key": f"key-{n}"})

    assert [version["key"] for version in shop.versions(customer_id)] == ["key-2", "key-3", "key-4"]
    assert shop.view(customer_id, lag=1) == shop.versions(customer_id)[1]
    assert shop.view(customer_id, lag=9) == shop.versions(customer_id)[0]


def test_time_always_moves_on(shop: Shop, topic: Topic) -> None:
    customer_id = shop.create()["id"]
    for n in range(5):
        shop.change(customer_id, {"action": "setKey", "key": f"key-{n}"})

    times = [payload["modifiedAt"] for payload in topic if payload["notificationType"] != "Message"]

    assert times == sorted(set(times))
    assert times[0] == "2026-01-02T12:00:00.001Z"


@pytest.mark.parametrize(("messages", "changes"), [(True, False), (False, True)])
def test_a_subscription_may_be_to_messages_or_changes_only(topic: Topic, *, messages: bool, changes: bool) -> None:
    shop = Shop(publish=topic, messages=messages, changes=changes)
    for _ in range(20):
        shop.random_change()

    assert {payload["notificationType"] == "Message" for payload in topic} == {messages}


def test_cloud_events_wrap_the_same_payloads(topic: Topic) -> None:
    plain = Topic()
    for publish, form in ((plain, "Platform"), (topic, "CloudEvents")):
        shop = Shop(publish=publish, format=form, clock=lambda: NOON)  # type: ignore[arg-type]  # a literal, in a tuple
        customer_id = shop.create()["id"]
        shop.change(customer_id, {"action": "setFirstName", "firstName": "Ada"})
        shop.delete(customer_id)

    assert [event["data"] for event in topic] == plain
    assert {event["specversion"] for event in topic} == {"1.0"}
    message, change = topic[2:4]
    assert (message["type"], message["id"]) == (
        "com.commercetools.customer.message.CustomerFirstNameSet",
        plain[2]["id"],
    )
    assert (message["sequence"], message["sequencetype"]) == ("2", "Integer")
    assert message["dataref"] == f"/demo-shop/messages/{message['id']}"
    assert change["type"] == "com.commercetools.customer.change.ResourceUpdated"
    assert (change["id"], change["source"]) == (f"{customer_id}-u{change['data']['version']}", "/demo-shop/customers")
    assert (change["subject"], change["time"]) == (customer_id, plain[3]["modifiedAt"])
    assert [event["id"].rpartition("-")[2] for event in (topic[1], topic[5])] == [
        "c1",
        f"d{topic[5]['data']['version']}",
    ]


def test_the_test_notification_is_the_one_commercetools_sends(shop: Shop, topic: Topic) -> None:
    published = shop.test_notification("a7c1fb22-b164-4b4b-8000-000000000000", "to-segment")

    assert topic.raw == [published]
    assert published == (
        b'{"notificationType":"ResourceCreated","projectKey":"demo-shop","resource":{"typeId":"subscription",'
        b'"id":"a7c1fb22-b164-4b4b-8000-000000000000"},"resourceUserProvidedIdentifiers":{"key":"to-segment"},'
        b'"version":1,"modifiedAt":"2026-01-02T12:00:00.001Z"}'
    )


def test_garbage_is_no_notification_of_a_customer() -> None:
    published: list[bytes] = []

    assert Shop(publish=lambda data, _: published.append(data)).garbage() == published

    for data in published:
        try:
            payload = json.loads(data)
            assert payload["resource"]["typeId"] == "customer"
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        else:
            pytest.fail(data.decode())


@pytest.mark.parametrize("form", ["Platform", "CloudEvents"])
def test_foreign_notifications_are_about_something_else(topic: Topic, form: Any) -> None:  # noqa: ANN401  # a literal
    assert Shop(publish=topic, format=form).foreign() == topic.raw

    payloads = [payload.get("data", payload) if "specversion" in payload else payload for payload in topic]
    assert {payload["notificationType"] for payload in payloads} >= {"Message", "Event", "ResourceUpdated"}
    assert all(payload.get("resource", {}).get("typeId") != "customer" for payload in payloads)


# Chance


def a_day(seed: int, form: Any = "Platform", population: int = 0) -> list[bytes]:  # noqa: ANN401  # a literal
    topic = Topic()
    shop = Shop(publish=topic, seed=seed, format=form, population=population, clock=lambda: NOON)
    shop.test_notification()
    for _ in range(100):
        shop.random_change()
    shop.foreign()
    return topic.raw


@pytest.mark.parametrize("form", ["Platform", "CloudEvents"])
def test_the_same_seed_gives_the_same_bytes(form: str) -> None:
    assert a_day(1, form, population=50) == a_day(1, form, population=50)
    assert a_day(1, form) != a_day(2, form)


def test_every_random_change_changes_something_and_only_valid_things(shop: Shop, topic: Topic) -> None:
    for _ in range(500):
        before = len(topic)
        shop.random_change()
        assert len(topic) > before

    for customer_id, customer in shop.customers.items():
        ids = {address["id"] for address in customer["addresses"]}
        defaults = {customer[name] for name in customer if name.startswith("default")}
        assert customer.keys() >= ALWAYS_PRESENT
        assert ids >= {*customer["billingAddressIds"], *customer["shippingAddressIds"], *defaults}
        assert customer["email"].lower().rpartition("@")[2] in ("example.com", "example.org")
        assert customer_id == customer["id"]
    assert len(list(shop.customers)) == len(shop.customers)


def test_following_the_changes_gives_the_state_of_the_shop(topic: Topic) -> None:
    shop = Shop(publish=topic, messages=False, seed=5)
    for _ in range(300):
        shop.random_change()

    versions: dict[str, int] = {}
    for change in topic:
        customer_id = change["resource"]["id"]
        if change["notificationType"] == "ResourceDeleted":
            assert versions.pop(customer_id) == change["version"]
        else:
            assert versions.get(customer_id) == change.get("oldVersion")
            versions[customer_id] = change["version"]
    assert versions == {customer_id: customer["version"] for customer_id, customer in shop.customers.items()}


def test_messages_of_a_customer_are_numbered_without_a_gap(topic: Topic) -> None:
    shop = Shop(publish=topic, changes=False, seed=6)
    for _ in range(300):
        shop.random_change()

    numbers: dict[str, list[int]] = {}
    for message in topic:
        numbers.setdefault(message["resource"]["id"], []).append(message["sequenceNumber"])
    assert all(sequence == list(range(1, len(sequence) + 1)) for sequence in numbers.values())


# The initial population


def test_the_initial_population_is_there_in_the_order_of_its_ids_and_its_age() -> None:
    shop = Shop(population=50, seed=2, clock=lambda: NOON)

    customers = list(shop.customers.values())

    assert len(shop.customers) == len(customers) == 50
    assert [customer["id"] for customer in customers] == sorted(shop.customers)
    assert [customer["lastModifiedAt"] for customer in customers] == sorted(
        {customer["lastModifiedAt"] for customer in customers}
    )
    assert customers == list(Shop(population=50, seed=2, clock=lambda: NOON).customers.values())


def test_ids_begin_beyond_the_one_given() -> None:
    shop = Shop(population=20)
    for _ in range(20):
        shop.create()
    everyone = list(shop.customers)

    with shop.lock:
        for place, customer_id in enumerate(everyone):
            assert list(shop.ids(after=customer_id)) == everyone[place + 1 :]


def test_someone_of_the_initial_population_can_change_and_go(topic: Topic) -> None:
    shop = Shop(publish=topic, population=50, clock=lambda: NOON)
    first, second, *_ = list(shop.customers)

    changed = shop.change(first, {"action": "setKey", "key": "changed"})
    shop.delete(second)

    assert shop.customers[first] == changed
    assert [version.get("key") == "changed" for version in shop.versions(first)] == [False, True]
    assert second not in shop.customers
    assert (len(shop.customers), len(list(shop.customers))) == (49, 49)
    with shop.lock:
        assert list(shop.ids_modified_since(NOON - timedelta(seconds=2)))[-1] == first
        assert second not in set(shop.ids_modified_since(NOON - timedelta(days=1)))


def test_a_reader_beside_the_writer_always_sees_whole_customers(shop: Shop) -> None:
    done = threading.Event()
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001  # whatever it is, the test is to fail with it
            problems.append(problem)

    def read() -> None:
        while not done.is_set():
            for customer_id in list(shop.customers):
                customer = shop.view(customer_id)
                assert customer is None or customer.keys() >= ALWAYS_PRESENT

    reader = threading.Thread(target=guarded, args=(read,))
    reader.start()
    for _ in range(300):
        shop.random_change()
    done.set()
    reader.join()

    assert problems == []
