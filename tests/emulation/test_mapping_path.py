"""The shop's mapping file on the whole path: the service as it is deployed, between commercetools and Segment."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import requests

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.shop import Document, Shop
from playground.world import Service
from tests.builders import a_change, a_message, a_push, an_address

SECONDS = 30
CANARY = "Kanarie"  # begins each value that only Segment may see
PRODUCT, SECOND_PRODUCT = "d1229e6f-2b79-441e-b419-180311e52754", "e1549e6f-3b79-441e-c486-957480a23744"

RULES = """
[identify]
exclude = ["birthday", "address.street"]
retired = ["loyaltyLevel"]
locales = ["de-DE", "en"]
anonymous_id = "custom.anonymous"
external_ids = { crm_id = "externalId" }

[identify.traits]
text = "custom.text"
texts = "custom.texts"
yes = "custom.yes"
number = { from = "custom.number", as = "number" }
tier = { from = "custom.tier", values = { gold = "Gold" } }
greeting = { from = "custom.greeting", as = "localized" }
credit = { from = "custom.credit", as = "amount" }
creditCurrency = { from = "custom.credit", as = "currency" }
wallet = { from = "custom.credits", as = "money" }
day = { from = "custom.day", as = "date" }
moment = { from = "custom.moment", as = "datetime" }
hour = "custom.hour"
productId = { from = "custom.product", as = "id" }
productKey = { from = "custom.product", as = "key" }
productKeys = { from = "custom.products", as = "key" }
floor = { from = "shippingAddress.custom.floor", as = "number" }
note = "shippingAddress.custom.note"
lift = { from = "shippingAddress.custom.product", as = "key" }
groupKey = "customerGroup.key"
groupName = "customerGroup.name"
discount = { from = "customerGroup.custom.discount", as = "number" }
vip = { expr = "custom.number > `1000`", as = "boolean" }
"company.vatId" = "vatId"
newsletter = { from = "custom.newsletter", as = "boolean", default = false }
short = { from = "custom.long", max = 10 }
"""
CATEGORIES = """
[consent.categories]
Advertising = "custom.advertising"
Functional = { value = true }
"""
SUPPRESS = '[consent]\nsend = ["Advertising"]\nwithdrawn = "suppress"\n'
TELL = '[consent]\nsend = ["Advertising"]\nwithdrawn = "tell"\nevent = true\n'
TRAITS = '[identify]\ndefaults = false\non = ["updated"]\n[identify.traits]\ntext = "custom.text"\n'
REORDERED = """# The same, in other words.
[identify.traits]
text = { from = [ 'custom.text' ] }
[identify]
on = ['updated']
defaults = false
"""
FILES = {
    "always": f"version = 1\n{RULES}[consent]\nevent = true\n{CATEGORIES}",
    "suppress": f"version = 1\n{SUPPRESS}{CATEGORIES}",
    "tell": f"version = 1\n{TRAITS}{TELL}{CATEGORIES}",
    "tell, reordered": f"version = 1\n{TELL}{CATEGORIES}{REORDERED}",
}


class World:
    """The stand-ins, and a service for each file. All services have the same write key."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.segment = stack.enter_context(SegmentStandIn())
        self.public_api = stack.enter_context(SegmentPublicApiStandIn(segment=self.segment))
        self.shop = Shop("example-shop")
        self.commercetools = stack.enter_context(CommercetoolsStandIn(self.shop))
        self.commercetools.referenced = {PRODUCT: {"id": PRODUCT, "key": "p-1"}, SECOND_PRODUCT: {"key": "p-2"}}
        self._lines: dict[str, Queue[dict[str, Any]]] = {name: Queue() for name in FILES}
        self.services: dict[str, Service] = {}
        for name, text in FILES.items():
            file = folder / f"{len(self.services)}.toml"
            file.write_text(text, encoding="utf-8")
            self.services[name] = Service(self.settings(MAPPING_FILE=str(file)), on_line=self._lines[name].put)
        pool = stack.enter_context(ThreadPoolExecutor(len(FILES)))
        stack.callback(lambda: list(pool.map(lambda service: service.__exit__(), self.services.values())))
        list(pool.map(Service.__enter__, self.services.values()))

    def settings(self, **more: str) -> dict[str, str]:
        return {
            "SEGMENT_WRITE_KEY": self.segment.write_key,
            "SEGMENT_HOST": self.segment.url,
            "SEGMENT_USER_ID": "id",
            "SEGMENT_PUBLIC_API_TOKEN": self.public_api.token,
            "SEGMENT_PUBLIC_API_URL": self.public_api.url,
            "ERASURE": "every",
            "PUSH_AUTH": "none",
            **self.commercetools.settings,
            **more,
        }

    def somebody(self, fields: Mapping[str, Any] | None = None, **more: object) -> str:
        """Return the id of a new customer with these custom fields."""
        custom = {"type": {"typeId": "type", "id": "customers"}, "fields": dict(fields or {})}
        return str(self.shop.create(custom=custom, **more)["id"])

    def set(self, customer_id: str, name: str, value: object = None) -> None:
        self.shop.change(customer_id, {"action": "setCustomField", "name": name, "value": value})

    def tell(self, name: str, customer_id: str, **changes: object) -> tuple[int, str]:
        """Push a change of the customer to the service with this file; return the status, and the outcome it logs."""
        resource = {"typeId": "customer", "id": customer_id}
        version = self.shop.customers[customer_id]["version"] if customer_id in self.shop.customers else 1
        return self.push(name, a_push(a_change(resource=resource, **{"version": version, **changes})))

    def push(self, name: str, body: bytes) -> tuple[int, str]:
        lines = self._lines[name]
        while not lines.empty():
            lines.get()
        status = requests.post(self.services[name].url, body, timeout=SECONDS).status_code
        while True:
            said = str(lines.get(timeout=SECONDS)["message"])
            if re.match("Delivered|Ignored|Refused|Failed", said):
                return status, said

    def events(self, customer_id: str) -> list[dict[str, Any]]:
        return [event for event in self.segment.received if event["userId"] == customer_id]

    def regulations(self, customer_id: str) -> list[str]:
        return [one["regulationType"] for one in self.public_api.regulations if customer_id in one["subjectIds"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("mapping"), stack)


def money(cents: int) -> Document:
    return {"type": "centPrecision", "currencyCode": "EUR", "centAmount": cents, "fractionDigits": 2}


def product(product_id: str) -> Document:
    return {"typeId": "product", "id": product_id}


EVERY_TYPE = {
    "text": f"{CANARY} im Text",
    "texts": [f"{CANARY} b", f"{CANARY} a"],
    "yes": False,
    "number": 0,
    "tier": "gold",
    "greeting": {"de": f"{CANARY} sagt hallo", "en": f"{CANARY} says hello"},
    "credit": money(124550),
    "credits": [money(200), money(100)],
    "day": "2001-10-12",
    "moment": "2018-10-14T14:00:00.000Z",
    "hour": "14:00:00.000",
    "product": product(PRODUCT),
    "products": [product(SECOND_PRODUCT), product(PRODUCT)],
    "newsletter": True,
    "long": f"{CANARY} on a long way",
    "anonymous": f"{CANARY} anonym",
    "not-named": f"{CANARY} unnamed",
}


def test_custom_fields_of_every_type_arrive_as_the_file_says(world: World) -> None:
    group = {"id": "g", "key": "vips", "name": "Vips", "custom": {"fields": {"discount": 12}}}
    world.shop.groups = {**world.shop.groups, "g": group}
    floor = {"fields": {"floor": 3, "note": f"{CANARY} am Tor", "product": product(PRODUCT)}}
    somebody = world.somebody(
        EVERY_TYPE,
        addresses=[an_address(id="one"), an_address(id="two", custom=floor)],
        defaultShippingAddressId="two",
        customerGroup={"typeId": "customer-group", "id": "g"},
        externalId="crm-7",
        vatId="DE1",
        companyName="Werk",
        dateOfBirth="1990-01-01",
    )

    assert world.tell("always", somebody) == (200, "Delivered")

    event = world.events(somebody)[0]
    traits = event["traits"]
    expected = {
        "text": f"{CANARY} im Text",
        "texts": [f"{CANARY} a", f"{CANARY} b"],
        "yes": False,
        "number": 0,
        "tier": "Gold",
        "greeting": f"{CANARY} sagt hallo",
        "credit": 1245.5,
        "creditCurrency": "EUR",
        "wallet": [{"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "EUR"}],
        "day": "2001-10-12",
        "moment": "2018-10-14T14:00:00.000Z",
        "hour": "14:00:00.000",
        "productId": PRODUCT,
        "productKey": "p-1",
        "productKeys": ["p-1", "p-2"],
        "floor": 3,
        "note": f"{CANARY} am Tor",
        "lift": "p-1",
        "groupKey": "vips",
        "groupName": "Vips",
        "discount": 12,
        "vip": False,
        "company": {"name": "Werk", "vatId": "DE1"},
        "newsletter": True,
        "short": f"{CANARY} on a long way"[:10],
        "loyaltyLevel": None,
    }
    assert {name: traits[name] for name in expected} == expected
    assert "birthday" not in traits
    assert "street" not in traits["address"]
    assert event["anonymousId"] == f"{CANARY} anonym"
    assert [(one["type"], one["id"]) for one in event["context"]["externalIds"]] == [("crm_id", "crm-7")]
    assert "unnamed" not in json.dumps(event)


def test_what_is_removed_is_null_and_what_is_unreadable_is_left_out_with_a_warning(world: World) -> None:
    somebody = world.somebody(EVERY_TYPE)
    world.set(somebody, "text")
    world.set(somebody, "number", f"{CANARY} is no number")
    world.set(somebody, "greeting", f"{CANARY} is not localized")
    world.set(somebody, "product", product("not-expanded"))

    status, said = world.tell("always", somebody)

    traits = world.events(somebody)[0]["traits"]
    assert status == 200
    assert said == (
        "Delivered: left out what is of another kind than the mapping file says: greeting, number, productKey, vip"
    )
    assert traits["text"] is None
    assert not {"greeting", "number", "productKey", "vip"} & {*traits}
    assert traits["productId"] == "not-expanded"
    assert world.services["always"].lines[-1]["severity"] == "WARNING"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ({"advertising": True}, True),
        ({"advertising": False}, False),
        ({}, False),
        ({"advertising": "true"}, False),
        ({"advertising": {"en": "yes"}}, False),
        ({"advertising": [True]}, False),
        ({"advertising": f"{CANARY} agrees"}, False),
    ],
    ids=["given", "refused", "unset", "a text", "an object", "a set", "words"],
)
def test_consent_is_in_every_event_and_a_gate_holds(world: World, field: Mapping[str, Any], *, given: bool) -> None:
    somebody, nobody = world.somebody(field), world.somebody(field)

    assert world.tell("always", somebody)[0] == 200
    gated = world.tell("suppress", nobody)

    preferences = {"categoryPreferences": {"Advertising": given, "Functional": True}}
    identify, event = world.events(somebody)
    assert [identify["context"]["consent"], event["context"]["consent"]] == [preferences, preferences]
    assert (event["event"], event["properties"]) == ("Segment Consent Preference Updated", {})
    assert gated == ((200, "Delivered") if given else (204, "Ignored: no consent for Advertising"))
    assert len(world.events(nobody)) == given
    assert world.regulations(nobody) == []  # of a first version nothing can have been withdrawn


def test_who_withdraws_is_suppressed_and_who_consents_again_is_not_any_more(world: World) -> None:
    somebody = world.somebody({"advertising": True})
    assert world.tell("suppress", somebody)[0] == 200
    world.set(somebody, "advertising", value=False)

    assert world.tell("suppress", somebody) == (204, "Ignored: no consent for Advertising")
    assert world.regulations(somebody) == ["SUPPRESS_ONLY"]
    world.set(somebody, "advertising", value=True)
    assert world.tell("suppress", somebody) == (200, "Delivered")

    assert world.regulations(somebody) == ["SUPPRESS_ONLY", "UNSUPPRESS"]
    assert len(world.events(somebody)) == 2
    assert world.segment.dropped["suppressed"] == 0  # the suppression ended before the identify was sent


def test_a_withdrawal_can_be_told_to_segment_and_nothing_else_is(world: World) -> None:
    somebody = world.somebody({"advertising": True}, firstName=CANARY)
    world.set(somebody, "advertising")

    assert world.tell("tell", somebody) == (200, "Delivered")

    refused = {"categoryPreferences": {"Advertising": False, "Functional": False}}
    events = world.events(somebody)
    assert [event["type"] for event in events] == ["identify", "track"]
    assert [event["context"]["consent"] for event in events] == [refused, refused]
    assert events[0]["traits"] == events[1]["properties"] == {}
    assert CANARY not in json.dumps(events)


def test_a_change_that_is_not_named_is_ignored_and_an_erasure_never_is(world: World) -> None:
    somebody = world.somebody({"text": "x", "advertising": True})

    created = world.tell("tell", somebody, notificationType="ResourceCreated")
    updated = world.tell("tell", somebody)
    world.shop.delete(somebody)
    message = a_message(type="CustomerDeleted", resource=product(somebody) | {"typeId": "customer"}, customer=None)
    deleted = world.push("tell", a_push(message))
    gated = world.somebody({})
    world.shop.delete(gated)
    message = a_message(type="CustomerDeleted", resource=product(gated) | {"typeId": "customer"}, customer=None)
    erased = world.push("suppress", a_push(message))

    assert created == (204, "Ignored: customer created, which identify.on does not name")
    assert updated == (200, "Delivered")
    assert world.events(somebody)[0]["traits"] == {"text": "x"}
    assert deleted == erased == (200, "Delivered: the customer is to be erased in Segment")
    assert world.regulations(somebody) == world.regulations(gated) == ["SUPPRESS_WITH_DELETE"]


def test_equal_rules_have_one_fingerprint_and_one_message_id_and_others_have_not(world: World) -> None:
    somebody = world.somebody({"text": "x", "advertising": True})
    world.set(somebody, "text", "y")
    names = ("tell", "tell, reordered", "always")

    fingerprints = []
    for name in names:
        service = world.services[name]
        fingerprint = requests.get(f"{service.url}/health", timeout=SECONDS).json()["rules"]
        assert any(line["message"] == f"Started, with the rules {fingerprint}" for line in service.lines)
        fingerprints.append(fingerprint)
        assert world.tell(name, somebody) == (200, "Delivered")

    ids = [event["messageId"] for event in world.events(somebody) if event["type"] == "identify"]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert ids[0] == ids[1] != ids[2]


BROKEN: Mapping[str, tuple[bytes, list[str]]] = {
    "many mistakes": (
        b"""version = 1
[identify]
default = true
[identify.traits]
a = { from = "custom.a", as = "numbr" }
b = "password"
c = { expr = "lenght(custom.c)" }
[[route]]
name = "x"
""",
        [
            "b.toml:3: identify.default is no setting; did you mean defaults?",
            "b.toml:5: identify.traits.a.as is numbr; did you mean number?",
            "b.toml:6: identify.traits.b cannot be sent: password.",
            "b.toml:7: identify.traits.c.expr calls lenght(), which does not exist; did you mean length?",
            "b.toml:8: route is not supported by this version, which sends customers and orders.",
        ],
    ),
    "not TOML": (b"version = 1\n[identify\n", ["b.toml:2: this is not TOML: "]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_ends_the_start_before_anything_listens(world: World, tmp_path: Path, name: str) -> None:
    data, sentences = BROKEN[name]
    file = tmp_path / "b.toml"
    file.write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # whoever listens there too would fail with another sentence
        port = taken.getsockname()[1]
        settings = world.settings(MAPPING_FILE=str(file), PORT=str(port))
        ended = subprocess.run(  # our own service
            [sys.executable, "-m", "gunicorn", "--config", "python:service.serving.gunicorn_conf"],
            env=settings,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert [sentence for sentence in sentences if sentence not in said] == []
    assert "Traceback" not in said
