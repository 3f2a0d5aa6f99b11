"""No personal data and no secret gets out: not in a log line, an HTTP answer, a dead letter's reason or an exception.

Canaries stand for them. They go through the service as it is deployed, at every log level and in every way that a
message can end, and through the Python interface; then everything that came out is searched for them.
"""

import base64
import html
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import google.auth.jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.crypt import RSASigner
from google.cloud import pubsub_v1

from playground.commercetools import CommercetoolsStandIn
from playground.pubsub import PubSubEmulator
from playground.pubsub_push import Signer
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.shop import Shop
from playground.stand_in import HANG, RESET_AFTER_READ, TRUNCATED, Answer, Call, Fault, StandIn, answer, json_answer
from playground.world import Service, emulated
from service.config import LogLevel
from tests.builders import (
    a_change,
    a_customer,
    a_message,
    a_payment,
    a_payment_message,
    a_push,
    a_refund,
    an_address,
    an_order,
    an_order_message,
)

AUDIENCE = "https://commercetools-segment.example.com"
ACCOUNT = "push@demo.iam.gserviceaccount.com"
LETTERS = "projects/demo/topics/letters"
LETTER_BOX = "projects/demo/subscriptions/letters"
PUSH_SECONDS = 30

PERSON = {
    "email": "Kanarie.Eins@kanarienfeld.example",
    "firstName": "Kanariña",
    "lastName": "Vogelsang-Käfig",
    "companyName": "Kanarienbank & Co",
    "dateOfBirth": "1931-03-07",
    "customerNumber": "KUNDE-58213377",
    "externalId": "crm-kanarie-9931",
    "key": "schluessel-kanarie-17",
}
ADDRESS = {
    "streetName": "Papageienstraße",
    "city": "Zwitscherstadt",
    "postalCode": "KN4-7XQ-88",
    "phone": "+49 171 5550147",
    "mobile": "+49 160 5550258",
}
NOT_SENT = {"vatId": "DE778899001", "password": "****kanariehash=", "middleName": "Kanaril-Mitte"}
CUSTOM = {
    "text": "Kanarienlied im Kundenfeld",
    "number": "Kanarienzahl ohne Ziffern",
    "greeting": "Kanariengruss ohne Sprache",
    "consent": "Kanarienwille auf Papier",
}
ADDRESS_CUSTOM = {"note": "Kanarienklingel am Hinterhof"}
MAPPING = """
version = 1

[identify]
locales = ["de"]

[identify.traits]
text = "custom.text"
number = { from = "custom.number", as = "number" }
greeting = { from = "custom.greeting", as = "localized" }
many = { expr = "custom.number > `1000` && length(custom.greeting) > `1`", as = "boolean" }
note = "billingAddress.custom.note"

[consent.categories]
Advertising = "custom.consent"
"""
WRITE_KEY = "kanarie-write-key-AbC123"
CLIENT_SECRET = "kanarie-client-secret-Xyz"
PUBLIC_API_TOKEN = "sgp_kanarie_public_api"
UPSTREAM = "Kanarie-sagt-der-Upstream"
GARBAGE = "Kanarie im Müll"
HEAD = "Kanarie-im-Kopf@kopf.example"
STRANGER = "fremder.kanarie@elsewhere.example"

CANARIES: Mapping[str, str] = {
    **PERSON,
    **ADDRESS,
    **NOT_SENT,
    **{f"custom {name}": text for name, text in (CUSTOM | ADDRESS_CUSTOM).items()},
    "write key": WRITE_KEY,
    "client secret": CLIENT_SECRET,
    "access token": "stand-in-token-",  # how all those of the commercetools stand-in begin
    "Public API token": PUBLIC_API_TOKEN,
    "an upstream's words": UPSTREAM,
    "garbage": GARBAGE,
    "a request's head": HEAD,
    "a stranger's account": STRANGER,
    "a customer's e-mail token": "a-secret-token",  # in the shop's notifications about other resources
}

_SIGNER = Signer()
PUSH_TOKEN = _SIGNER.token(ACCOUNT, AUDIENCE)
TOKENS = {"push token's claims": PUSH_TOKEN.split(".")[1], "push token's signature": PUSH_TOKEN.split(".")[2]}


# The search


def _in_base64(text: str) -> Iterator[str]:
    """Give what is in the base64 of whatever holds the text, wherever in it that is."""
    for offset, skip in ((0, 0), (1, 2), (2, 3)):
        whole = bytes(offset) + text.encode()
        encoded = base64.b64encode(whole).decode().rstrip("=")
        within = encoded[skip : -1 if len(whole) % 3 else None]
        yield from (within, within.replace("+", "-").replace("/", "_"))


ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "in lower case": str.lower,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "in a URL": urllib.parse.quote,
    "in a URL, all of it": lambda text: urllib.parse.quote(text, safe=""),
    "in a form": urllib.parse.quote_plus,
    "in bytes": lambda text: repr(text.encode())[2:-1],
    "in Latin-1": lambda text: text.encode().decode("latin-1"),
    "in HTML": html.escape,
    "in hexadecimal": lambda text: text.encode().hex(),
}

_ALL = {**CANARIES, **TOKENS}
_NEEDLES = [(name, encoding(text).casefold()) for name, text in _ALL.items() for encoding in ENCODINGS.values()]
_BASE64_NEEDLES = [(name, encoded) for name, text in _ALL.items() for encoded in _in_base64(text)]


def canaries_in(text: str) -> set[str]:
    """Return the names of the canaries that are in a text, encoded or not."""
    folded = text.casefold()
    return {name for name, needle in _NEEDLES if needle in folded} | {
        name for name, needle in _BASE64_NEEDLES if needle in text
    }


def leaks(texts: Sequence[str]) -> list[str]:
    """Return each text that holds a canary, after the names of those in it."""
    whole = "\n".join(texts)
    if not canaries_in(whole):
        return []
    return [f"{sorted(found)}: {text[:2000]}" for text in texts if (found := canaries_in(text))]


@pytest.mark.parametrize("name", [*ENCODINGS, *(f"in base64, {offset} bytes on" for offset in range(3))])
def test_the_search_finds_each_canary_in_every_encoding(name: str) -> None:
    def encoded(text: str) -> str:
        if name in ENCODINGS:
            return f"{{...{ENCODINGS[name](text)}...}}"
        return base64.b64encode(b"." * int(name[11]) + text.encode() + b"...").decode()

    assert [one for one, text in _ALL.items() if one not in canaries_in(encoded(text))] == []


# What goes in


def _custom(fields: Mapping[str, str]) -> dict[str, Any]:
    return {"type": {"typeId": "type", "id": "type-id"}, "fields": dict(fields)}


def _addresses() -> list[dict[str, Any]]:
    return [an_address(**ADDRESS, custom=_custom(ADDRESS_CUSTOM))]


def a_person(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return a_customer(**{**PERSON, **NOT_SENT, "custom": _custom(CUSTOM), "addresses": _addresses(), **changes})


class _Certificates(StandIn):
    """Google's."""

    def respond(self, call: Call) -> Answer:
        del call
        return json_answer(200, _SIGNER.certificates())


def _tokens() -> Iterator[tuple[str, str]]:
    """Give Authorization headers that no push has, by name."""
    yield "none", ""
    yield "Basic", "Basic " + base64.b64encode(f"{HEAD}:{STRANGER}".encode()).decode()
    yield "no token", f"Bearer {HEAD}"
    yield "three parts", f"Bearer {HEAD}.{STRANGER}.{GARBAGE}"
    yield "a signature cut off", f"Bearer {PUSH_TOKEN[:-20]}"
    yield "an account of somebody else", f"Bearer {_SIGNER.token(STRANGER, AUDIENCE)}"
    yield "an audience of somebody else", f"Bearer {_SIGNER.token(ACCOUNT, f'https://{HEAD}')}"
    forger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    for key_id, more in ((HEAD, {}), (next(iter(_SIGNER.certificates())), {"exp": STRANGER}), (None, {})):
        signer = RSASigner(forger, key_id)  # type: ignore[no-untyped-call]  # google-auth's own lack
        claims = {"iss": STRANGER, "email": STRANGER, "aud": HEAD, "iat": now, "exp": now + 3600, **more}
        yield f"forged {more} {key_id}", f"Bearer {google.auth.jwt.encode(signer, claims).decode()}"  # type: ignore[no-untyped-call]  # as above


_HEADERS = {
    "Location": f"https://{UPSTREAM}.example/?{UPSTREAM}",
    "Retry-After": UPSTREAM,
    "X-RateLimit-Reset": UPSTREAM,
    "WWW-Authenticate": f'Bearer realm="{UPSTREAM}", error="{PERSON["email"]}"',
    "Set-Cookie": f"session={UPSTREAM}",
    "X-Debug": PERSON["email"],
}


def _answers() -> Iterator[Fault]:
    """Give answers that are full of canaries."""
    words = json.dumps({"message": UPSTREAM, "errors": [{"code": UPSTREAM, "customer": PERSON}]}).encode()
    for status in (200, 201, 204, 206, 301, 307, 308, 400, 401, 403, 404, 408, 409, 413, 418, 429, 500, 502, 503, 999):
        yield answer(status, body=words, headers=_HEADERS)
    for document in (
        UPSTREAM,
        [UPSTREAM],
        {"success": UPSTREAM},
        {"results": UPSTREAM},
        {"results": [UPSTREAM]},
        {"results": [{"id": UPSTREAM}]},
        {"data": {"regulateId": ""}, "error": UPSTREAM},
        {"access_token": UPSTREAM, "expires_in": UPSTREAM},
        {"errors": UPSTREAM},
    ):
        yield answer(200, body=json.dumps(document).encode())
    yield answer(200, body=UPSTREAM.encode(), headers={"Content-Type": f"application/json; charset={UPSTREAM}"})
    yield answer(200, body=UPSTREAM.encode(), headers={"Content-Encoding": "gzip"})
    yield answer(200, body=UPSTREAM.encode(), headers={"Content-Encoding": UPSTREAM})
    yield answer(200, body=f"{UPSTREAM}\r\n".encode(), headers={"Transfer-Encoding": "chunked"})
    no_header = f"1\r\n{UPSTREAM} without a colon\r\n: {UPSTREAM}"
    yield answer(200, body=words, headers={"Content-Length": str(len(words)), "X": no_header})
    # What is left of it stands where the status line of the next answer is expected.
    yield answer(200, body=b"{}" + words, headers={"Content-Length": "2", "X": no_header})
    yield answer(301, body=words, headers={"Location": f"http://[{UPSTREAM}"})
    yield TRUNCATED.after_effect()
    yield RESET_AFTER_READ


def _broken_people(customer_id: str) -> Iterator[dict[str, Any]]:
    """Give customers as commercetools would never show one."""
    who = {"id": customer_id, "version": 1}
    yield a_person(**who, email={"value": PERSON["email"]})
    yield a_person(**who, email=[PERSON["email"]])
    yield a_person(**who, lastModifiedAt=PERSON["email"])
    yield a_person(**who, createdAt=PERSON["lastName"])
    yield a_person(**who, dateOfBirth={PERSON["email"]: 1})
    yield a_person(**who, addresses={"city": ADDRESS["city"]})
    yield a_person(**who, addresses=[ADDRESS["city"], 7, None])
    yield a_person(**who, addresses=[an_address(**{**ADDRESS, "phone": [ADDRESS["phone"]], "country": 7})])
    yield a_person(**who, stores=PERSON["email"], customerGroup=PERSON["email"])
    yield a_person(**who, firstName=PERSON["firstName"] * 5000)
    yield a_person(**who, email=PERSON["email"] + "\ud800")
    yield a_person(id=PERSON["email"], version=1)
    yield a_person(id=customer_id, version=PERSON["email"])
    yield a_person(id=customer_id, version=10**400)


def _orders() -> Iterator[dict[str, Any]]:
    """Give orders of people, the first as commercetools shows one, each with an id of its own."""
    email, name = PERSON["email"], PERSON["lastName"]
    changes: Sequence[dict[str, Any]] = (
        {},
        {"customerEmail": [email]},
        {"customerEmail": email * 2000},
        {"customerId": email},
        {"anonymousId": {email: name}},
        {"createdAt": name},
        {"orderState": {email: name}},
        {"totalPrice": {"currencyCode": email, "centAmount": 1}},
        {"totalPrice": {"currencyCode": "EUR", "centAmount": email}},
        {"lineItems": [name]},
        {"lineItems": [{"quantity": email}]},
        {"shippingInfo": email},
        {"version": email},
    )
    address = an_address(**ADDRESS, firstName=PERSON["firstName"], custom=_custom(ADDRESS_CUSTOM))
    more = {"billingAddress": address, "shippingAddress": address, "custom": _custom(CUSTOM)}
    for number, change in enumerate(changes):
        paid = {"paymentInfo": {"payments": [{"typeId": "payment", "id": "payment-0"}]} if number == 0 else None}
        yield an_order(**{"id": f"order-{number}", "customerEmail": email, **more, **paid, **change})


def _payments() -> Iterator[dict[str, Any]]:
    """Give payments of people, the first as commercetools shows one, each with an id of its own."""
    email = PERSON["email"]
    refunds: Sequence[dict[str, Any]] = (
        {"interactionId": email},
        {"amount": email},
        {"amount": {"currencyCode": email, "centAmount": email}},
        {"id": [email]},
        {"timestamp": email},
    )
    for number, refund in enumerate(refunds):
        yield a_payment(a_refund(**refund), id=f"payment-{number}", paymentMethodInfo={"name": {"de": email}})


def _garbage() -> Iterator[bytes]:
    """Yield bodies of unreadable pushes."""
    yield GARBAGE.encode()
    yield GARBAGE.encode("utf-16")
    yield json.dumps(GARBAGE).encode()
    yield json.dumps({"message": GARBAGE}).encode()
    yield json.dumps({"message": {"data": GARBAGE, "messageId": PERSON["email"]}, "subscription": GARBAGE}).encode()
    yield json.dumps({"message": {"data": [GARBAGE], "attributes": GARBAGE}, "deliveryAttempt": GARBAGE}).encode()
    yield a_push(GARBAGE.encode(), messageId=PERSON["email"], message_id=None)
    yield a_push(GARBAGE.encode(), subscription=f"projects/{PERSON['email']}/subscriptions/{GARBAGE}")
    yield a_push(GARBAGE.encode(), attributes={"email": PERSON["email"], "long": GARBAGE * 200})
    yield a_push(json.dumps({"notificationType": GARBAGE, "resource": GARBAGE}).encode())
    yield a_push(a_change(resource={"typeId": PERSON["email"], "id": PERSON["email"]}))
    yield a_push(a_change(resource={"typeId": "customer", "id": PERSON["email"]}))
    yield a_push(a_change(projectKey=PERSON["email"]))
    yield a_push(a_change(notificationType=PERSON["email"]))
    yield a_push(a_change(version=PERSON["email"]))
    yield a_push(a_message(type=PERSON["email"]) | {"customer": PERSON["email"]})
    yield a_push(b'{"notificationType": "Message", "email": "' + PERSON["email"].encode() + b'", "version": NaN}')


class _Sender:
    """Posts to one service; keeps what it sent and what came back."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.sent: list[str] = []
        self.answers: list[str] = []
        self.statuses: Counter[int] = Counter()

    def post(
        self, body: bytes, *, authorization: str = f"Bearer {PUSH_TOKEN}", method: str = "POST", path: str = "/"
    ) -> int:
        headers = {
            "Authorization": authorization,
            "User-Agent": HEAD,
            "Cookie": f"session={HEAD}",
            "X-Cloud-Trace-Context": f"{HEAD}/1",
            "x-goog-pubsub-message-id": HEAD,
            "x-goog-pubsub-subscription-name": HEAD,
        }
        self.sent += [body[:100_000].decode("latin-1"), repr(headers), path]
        connection = HTTPConnection("127.0.0.1", self._service.port, timeout=PUSH_SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            self.answers.append(f"{response.status} {response.reason}\n{response.headers}\n{response.read()!r}")
        finally:
            connection.close()
        self.statuses[response.status] += 1
        return response.status

    def say(self, raw: bytes) -> None:
        """Send what is no request, and read what is answered."""
        self.sent.append(raw.decode("latin-1"))
        with socket.create_connection(("127.0.0.1", self._service.port), timeout=PUSH_SECONDS) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as reader:
                said = reader.read()
        self.answers.append(repr(said))
        self.statuses[int(said[9:12] or 0)] += 1


class _World:
    """One service at one log level, with stand-ins of its own, full of canaries."""

    def __init__(self, level: LogLevel, push_auth: str, host: str, certs_url: str, mapping: Path) -> None:
        self.level = level
        self.segment = SegmentStandIn(WRITE_KEY)
        self.public_api = SegmentPublicApiStandIn(PUBLIC_API_TOKEN, self.segment)
        self._foreign: list[bytes] = []
        self.shop = Shop("example-shop", publish=lambda data, _attributes: self._foreign.append(data))
        self.commercetools = CommercetoolsStandIn(self.shop, client_secret=CLIENT_SECRET, orders=True)
        self._environment = {
            "SEGMENT_WRITE_KEY": WRITE_KEY,
            "SEGMENT_PUBLIC_API_TOKEN": PUBLIC_API_TOKEN,
            "ERASURE": "every",
            "ORDERS": "on",
            "PUSH_AUTH": push_auth,
            "PUSH_AUDIENCE": AUDIENCE,
            "PUSH_SERVICE_ACCOUNT": ACCOUNT,
            "PUSH_CERTS_URL": certs_url,
            "DEAD_LETTER_TOPIC": LETTERS,
            "PUBSUB_EMULATOR_HOST": host,
            "LOG_LEVEL": level,
            "MAPPING_FILE": str(mapping),
        }

    def run(self, traffic: "Callable[[_World, _Sender], None]") -> "_World":
        with self.segment, self.public_api, self.commercetools:
            service = Service(
                {
                    **self._environment,
                    "SEGMENT_HOST": self.segment.url,
                    "SEGMENT_PUBLIC_API_URL": self.public_api.url,
                    **self.commercetools.settings,
                }
            )
            with service:
                self.sender = _Sender(service)
                traffic(self, self.sender)
            self.logged = [json.dumps(line, ensure_ascii=False) for line in service.lines]
        return self

    def somebody(self) -> dict[str, Any]:
        """Return a new customer, all canaries."""
        custom = _custom(CUSTOM)
        return self.shop.create(
            **PERSON, **NOT_SENT, custom=custom, addresses=_addresses(), defaultBillingAddressId="home"
        )

    def change(self) -> bytes:
        """Return the push about a new customer."""
        return self.about(self.somebody()["id"])

    def about(self, customer_id: str, **changes: Any) -> bytes:  # noqa: ANN401  # any JSON
        resource = {"typeId": "customer", "id": customer_id}
        identifiers = {name: PERSON[name] for name in ("key", "externalId", "customerNumber")}
        return a_push(a_change(resource=resource, resourceUserProvidedIdentifiers=identifiers, version=1, **changes))

    def deletion(self) -> bytes:
        """Return the push about a customer who was deleted, and is to be erased."""
        resource = {"typeId": "customer", "id": self.somebody()["id"]}
        self.shop.delete(resource["id"])
        return a_push(
            a_message(type="CustomerDeleted", resource=resource, customer=None, email=f"gone.{PERSON['email']}")
        )

    def foreign(self) -> list[bytes]:
        """Return pushes about other resources."""
        return [a_push(data) for data in self.shop.foreign()]

    def received(self) -> list[str]:
        """Return all that the outside parties were sent."""
        calls = [*self.segment.calls, *self.public_api.calls, *self.commercetools.calls]
        return [f"{call.path} {call.query} {dict(call.headers)} {call.content().decode('latin-1')}" for call in calls]


def _every_ending(world: _World, sender: _Sender) -> None:
    customer = world.somebody()
    resource = {"typeId": "customer", "id": customer["id"]}
    created = a_message(resource=resource, customer=a_person(id=customer["id"], version=1))
    assert sender.post(a_push(created, attributes={"email": PERSON["email"]})) == 200
    assert sender.post(world.about(customer["id"])) == 204
    assert sender.post(world.deletion()) == 200
    assert sender.post(world.about(world.somebody()["id"], notificationType="ResourceDeleted")) == 204
    for push in world.foreign():
        assert sender.post(push) == 204
    for body in _garbage():
        sender.post(body)
    for number in range(sum(1 for _ in _broken_people(""))):
        somebody = world.somebody()["id"]
        broken = json.dumps({"results": [list(_broken_people(somebody))[number]]}).encode()
        world.commercetools.fail_next(answer(200, body=broken), on="/example-shop/customers?")
        sender.post(world.about(somebody))
        sender.post(a_push(a_message(customer=list(_broken_people(somebody))[number])))


def _every_sale(world: _World, sender: _Sender) -> None:
    """Tell orders and refunds: the first of each reaches Segment, since nothing is wrong with it."""
    statuses = []
    for order in _orders():
        world.shop.sales.orders.keep(order, datetime.now(UTC))
        about = {"typeId": "order", "id": order["id"]}
        statuses.append(sender.post(a_push(an_order_message(resource=about, order=order))))
    for payment in _payments():
        world.shop.sales.payments.keep(payment, datetime.now(UTC))
        about = {"typeId": "payment", "id": payment["id"]}
        statuses.append(sender.post(a_push(a_payment_message("PaymentCreated", resource=about, payment=payment))))
    assert statuses.count(200) > 1, "neither an order nor a refund was told"


def _every_fault(world: _World, sender: _Sender) -> None:
    """Have each fault met at each of four parties; above DEBUG, which says the most, at one after the other."""
    for number, fault in enumerate(_answers()):
        party = None if world.level is LogLevel.DEBUG else number % 4
        if party in {None, 0}:
            with world.segment.failing(fault):
                sender.post(world.change())
        if party in {None, 1}:
            with world.commercetools.failing(fault, on="/example-shop/customers"):
                sender.post(world.change())
        if party in {None, 2}:
            world.commercetools.revoke_tokens()
            with world.commercetools.failing(fault, on="/oauth/token"):
                sender.post(world.change())
        if party in {None, 3}:
            with world.public_api.failing(fault):
                sender.post(world.deletion())


def _every_stranger(world: _World, sender: _Sender) -> None:
    for _, authorization in _tokens():
        sender.post(world.change(), authorization=authorization)
    for method, path in (("POST", f"/{HEAD}"), ("GET", f"/?token={HEAD}"), ("PUT", "/"), ("GET", f"/health?{HEAD}")):
        sender.post(GARBAGE.encode(), method=method, path=path)
    sender.post(GARBAGE.encode() * 1_000_000)  # 413
    sender.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + PERSON["email"].encode())


def _everybody_hangs(world: _World, sender: _Sender) -> None:
    seen = world.segment.call_count
    with world.segment.failing(HANG), world.public_api.failing(HANG), ThreadPoolExecutor(3) as pool:
        hanging = [pool.submit(sender.post, world.change()), pool.submit(sender.post, world.deletion())]
        assert world.segment.wait_for_calls(seen + 1, PUSH_SECONDS)
        with world.commercetools.failing(HANG):
            hanging.append(pool.submit(sender.post, world.change()))
            assert [one.result() for one in hanging] == [500, 500, 500]


def _all_of_it(world: _World, sender: _Sender) -> None:
    sender.sent += [f"{fault.body!r} {dict(fault.headers)}" for fault in _answers()]  # to us, by a party
    _every_ending(world, sender)
    _every_sale(world, sender)
    _every_fault(world, sender)
    _every_stranger(world, sender)
    _everybody_hangs(world, sender)


def _run(traffic: Callable[[_World, _Sender], None], kinds: Sequence[tuple[LogLevel, str]]) -> tuple[list[_World], Any]:
    """Send the traffic to a service of each kind; return what is left of them, and the dead letters."""
    with ExitStack() as stack:
        emulator = stack.enter_context(PubSubEmulator())
        certificates = stack.enter_context(_Certificates())
        with emulated(emulator.host):
            publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        stack.callback(publisher.transport.close)
        stack.callback(publisher.stop)
        stack.callback(subscriber.close)
        publisher.create_topic(name=LETTERS)
        subscriber.create_subscription(name=LETTER_BOX, topic=LETTERS)
        mapping = Path(stack.enter_context(TemporaryDirectory())) / "mapping.toml"
        mapping.write_text(MAPPING, encoding="utf-8")
        worlds = [_World(level, push_auth, emulator.host, certificates.url, mapping) for level, push_auth in kinds]
        with ThreadPoolExecutor(len(worlds)) as pool:
            done = list(pool.map(lambda world: world.run(traffic), worlds))
        letters = []
        while emulator.backlog(LETTER_BOX):
            pulled = subscriber.pull(subscription=LETTER_BOX, max_messages=1000, timeout=30).received_messages
            letters += [dict(one.message.attributes) for one in pulled]
            subscriber.acknowledge(subscription=LETTER_BOX, ack_ids=[one.ack_id for one in pulled])
    return done, letters


@pytest.mark.lengthy
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(
            [(LogLevel.DEBUG, "oidc"), (LogLevel.INFO, "iam")], id="the level that says most, and the usual one"
        ),
        pytest.param([(level, "oidc") for level in LogLevel], id="every level", marks=pytest.mark.long),
    ],
)
def test_no_canary_gets_out_of_the_service_at_any_log_level(
    kinds: Sequence[tuple[LogLevel, str]], record_property: Callable[[str, object], None]
) -> None:
    worlds, letters = _run(_all_of_it, kinds)

    answers = [text for world in worlds for text in world.sender.answers]
    lines = [text for world in worlds for text in world.logged]
    reasons = [letter["reason"] for letter in letters]
    sent = [text for world in worlds for text in (*world.sender.sent, *world.received())]
    statuses = sum((world.sender.statuses for world in worlds), Counter[int]())
    figures = {
        "requests": len(answers),
        "answers": dict(sorted(statuses.items())),
        "log lines": len(lines),
        "dead letters": len(letters),
        "calls to outside parties": sum(len(world.received()) for world in worlds),
        "canaries": len(_ALL),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    sys.stdout.write(f"{figures}\n")
    assert leaks(lines) == []
    assert leaks(answers) == []
    assert leaks(reasons) == []
    # The search is able to fail: every canary went in, and it finds each of them there.
    assert canaries_in("\n".join(sent)) == {*_ALL}
    # What the mapping file names gets to Segment if it is of the right kind, and to nobody else.
    own = {f"custom {name}" for name in (*CUSTOM, *ADDRESS_CUSTOM)}
    to_segment = "\n".join(call.content().decode() for world in worlds for call in world.segment.calls)
    to_others = [call for world in worlds for call in (*world.public_api.calls, *world.commercetools.calls)]
    assert canaries_in(to_segment) & own == {"custom text", "custom note"}
    assert not canaries_in("\n".join(call.content().decode("latin-1") for call in to_others)) & own
    assert any("left out" in line for line in lines)
    # It has seen what it was to see: every ending, and at every level the lines that are due there.
    assert {200, 204, 401, 403, 404, 405, 413, 500} <= set(statuses)
    endings = {line["message"].partition(":")[0] for world in worlds for line in map(json.loads, world.logged)}
    assert {"Delivered", "Ignored", "Refused", "Failed", "Turned away"} <= endings
    assert letters


NO_REQUESTS = {
    "a body that is longer than it says": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}, %b\r\n\r\n",
    "a request line": b"%b\r\n\r\n",
    "a method": b"%b / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an HTTP version": b"POST / %b\r\nHost: x\r\n\r\n",
    "a header's name": b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %b\r\n\r\n",
    "a header without a colon": b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer %b\r\n\r\n",
    "a folded header": b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n %b\r\n\r\n",
    "a header's value": b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x00%b\r\n\r\n",
    "a length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n",
    "a transfer coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n",
    "an expectation": b"POST / HTTP/1.1\r\nHost: x\r\nExpect: %b\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk's size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    "a path": b"POST http://[%b/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
}


def test_no_canary_gets_out_of_the_server_when_what_comes_is_no_request() -> None:
    def traffic(_world: _World, sender: _Sender) -> None:
        for raw in NO_REQUESTS.values():
            sender.say(raw % HEAD.encode())

    worlds, _ = _run(traffic, [(LogLevel.DEBUG, "iam")])

    assert leaks(worlds[0].logged) == []
    assert leaks(worlds[0].sender.answers) == []
    assert canaries_in("\n".join(worlds[0].sender.sent)) == {"a request's head"}
    assert worlds[0].sender.statuses.keys() <= {400, 401}


# The Python interface, in a process that logs everything there is


PROGRAM = '''
"""Every way from Python, with every answer that the outside parties have in store; says whatever it learns."""
import json, logging, os, sys, time, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)

from service.app import create_app
from service.commercetools import CUSTOMER, validate_payload
from service.commercetools.client import CommercetoolsProject
from service.config import settings_from
from service.integration import (
    integration_by,
    send_batch_to_segment,
    send_customer_to_segment,
    send_customer_to_segment_with_client,
    send_if_valid,
)
from service.pubsub.auth import authenticate_by
from service.pubsub.dead_letter import DeadLetterTopic
from service.pubsub.envelope import PushMessage
from service.segment import SegmentEvent, create_segment_client
from service.segment.regulations import Regulations
from service.transformation import transform_customer_to_segment
from service.transformation.rules import identify_rules_by
from tests.builders import a_push, an_integration

given = json.loads(sys.stdin.read())
settings = settings_from(os.environ)
tried = 0

def say(do):
    global tried
    tried += 1
    try:
        print(repr(do()))
    except Exception as error:
        print(repr(error), str(error))
        traceback.print_exc(file=sys.stdout)

rules = identify_rules_by(settings)
payload = transform_customer_to_segment(given["customer"], rules)
client = create_segment_client(settings.segment.write_key, settings.segment.host)
project = CommercetoolsProject(settings.commercetools)
readers = project.resources(CUSTOMER)
regulations = Regulations(settings.segment_public_api_token, settings.segment_public_api_url)
email = given["customer"]["email"]

def silent(do):
    """Do what returns a customer, and say only that."""
    return lambda: do() and None

for _ in range(given["answers"]):
    say(lambda: send_customer_to_segment(payload))
for _ in range(given["answers"]):
    say(lambda: client.identify(**payload))
for _ in range(given["answers"]):
    say(lambda: client.post([client.event_for(SegmentEvent("identify", payload))[0]]))
for _ in range(given["answers"]):
    say(silent(lambda: readers.read(given["customer"]["id"], 1, time.monotonic() + 20)))
for _ in range(given["answers"]):
    say(silent(lambda: project.page_after(CUSTOMER, "")))
for _ in range(given["answers"]):
    say(lambda: project.ask("GET", "/subscriptions") and None)
for _ in range(given["answers"]):
    say(lambda: regulations.submit(email, time.monotonic() + 20))

class Broken:
    def identify(self, **event):
        raise ValueError(f"no such event: {event}")
    def flush(self):
        raise AssertionError

class Unprintable:
    pass

say(lambda: send_customer_to_segment_with_client(Broken(), payload))
say(lambda: send_batch_to_segment([payload, {**payload, "user_id": ""}]))
for wrong in (
    {"user_id": email}, {"traits": {"email": email}}, {"user_id": 7, "traits": payload["traits"]},
    {**payload, "traits": {"email": email + email}}, {**payload, "traits": {"email": email * 5000}},
    {**payload, "message_id": email * 10}, {**payload, "traits": {"email": email, "age": float("nan")}},
    {**payload, "traits": {"email": email, email: Unprintable()}}, {**payload, "timestamp": email},
    {**payload, "context": email}, {**payload, email: email}, {**payload, "traits": email},
):
    say(lambda: send_customer_to_segment(wrong))
    say(lambda: send_if_valid(wrong))
    if email not in wrong:  # Python itself names an argument that there is not
        say(lambda: client.identify(**wrong))
say(lambda: readers.read(email, 1, time.monotonic() + 20))
letters = DeadLetterTopic("projects/demo/topics/letters")
say(lambda: letters.set_aside(PushMessage(email.encode()), email, time.monotonic() + 1))
for body in given["bodies"]:
    say(lambda: validate_payload(body))
for token in given["tokens"]:
    say(lambda: authenticate_by(settings)(token))
for name in os.environ:
    if name.startswith(("SEGMENT_", "PUSH_", "CTP_", "DEAD_", "ERASURE", "LOG_", "PORT")):
        for value in (email, "", f"https://{email}", f"https://{email}@x.example", f"https://x.example/?{email}"):
            say(lambda: settings_from({**os.environ, name: value}) and None)
say(lambda: settings)
say(lambda: integration_by(settings))

def broken(events, deadline):
    raise RuntimeError(f"nobody foresaw {events}")

app = create_app(settings, an_integration(broken), lambda _authorization: None)
for push in given["pushes"]:
    answered = app.test_client().post("/", data=push.encode())
    print(answered.status, answered.headers, answered.data)
print(json.dumps({"tried": tried}))
'''


@pytest.mark.lengthy
def test_no_canary_gets_out_of_the_python_interface_even_where_everything_is_logged(
    record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING, encoding="utf-8")
    person = a_person(version=1, defaultBillingAddressId="home")
    faults = list(_answers())
    given = {
        "customer": person,
        "answers": len(faults),
        "bodies": [GARBAGE, json.dumps(a_message(type=PERSON["email"]) | {"customer": PERSON["email"]})],
        "tokens": [token for _, token in _tokens()],
        "pushes": [a_push(a_message(customer=person)).decode()],
    }
    with (
        SegmentStandIn(WRITE_KEY) as segment,
        SegmentPublicApiStandIn(PUBLIC_API_TOKEN, segment) as public_api,
        CommercetoolsStandIn(client_secret=CLIENT_SECRET) as commercetools,
        _Certificates() as certificates,
        socket.create_server(("127.0.0.1", 0)) as nobody,
    ):
        for fault in faults * 3:
            segment.fail_next(fault)
            commercetools.fail_next(fault, on="/example-shop/")
        for fault in faults:
            public_api.fail_next(fault)
        finished = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(given),
            env={
                **os.environ,
                "SEGMENT_WRITE_KEY": WRITE_KEY,
                "SEGMENT_HOST": segment.url,
                "SEGMENT_PUBLIC_API_TOKEN": PUBLIC_API_TOKEN,
                "SEGMENT_PUBLIC_API_URL": public_api.url,
                "ERASURE": "every",
                "PUSH_AUTH": "oidc",
                "PUSH_AUDIENCE": AUDIENCE,
                "PUSH_SERVICE_ACCOUNT": ACCOUNT,
                "PUSH_CERTS_URL": certificates.url,
                **commercetools.settings,
                "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{nobody.getsockname()[1]}",
                "LOG_LEVEL": "DEBUG",
                "MAPPING_FILE": str(mapping),
            },
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        sent = [f"{dict(call.headers)} {call.body.decode()}" for call in [*segment.calls, *public_api.calls]]

    said = (finished.stdout + finished.stderr).splitlines()
    assert finished.returncode == 0, "\n".join(said[-20:])
    tried = json.loads(said[-1] if not finished.stderr else finished.stdout.splitlines()[-1])["tried"]
    record_property("calls from Python", tried)
    sys.stdout.write(f"{{'calls from Python': {tried}, 'lines': {len(said)}, 'calls out': {len(sent)}}}\n")
    assert leaks(said) == []
    assert any("DEBUG" in line for line in said)
    assert any("nobody foresaw" not in line and "unforeseen" in line for line in said)
    assert {"email", "custom text", "custom note", "write key", "Public API token"} <= canaries_in("\n".join(sent))
