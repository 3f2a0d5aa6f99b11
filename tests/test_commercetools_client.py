"""A customer is read as it is now, or it is said why not: over real HTTP, from a commercetools that errs and lags."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.shop import Document, Shop
from playground.stand_in import (
    HANG,
    Answer,
    Call,
    Fault,
    answer,
)
from service.commercetools.client import CommercetoolsClient, Resources
from service.commercetools.customer import CUSTOMER, Customer
from service.commercetools.notification import Notification
from service.commercetools.resource import CannotRead
from service.serving.decoding import Malformed
from tests.builders import commercetools_settings
from tests.callers import PATIENCE, Clock, all_at_once

NO_END = float("inf")
ENDLESS = 1000.0  # seconds: longer than any test may take
SECRET = "Canary-Secret-4711"
CANARY = "Canary-Name-4711"
TOKEN = "/oauth/token"
QUERY = "/demo-shop/customers?"
BY_ID = "/demo-shop/customers/"
NOBODY = "99999999-2222-4333-8444-555555555555"
NOT_COMMERCETOOLS = "what answered 200 is not commercetools"


@pytest.fixture
def shop() -> Shop:
    return Shop(seed=3)


@pytest.fixture
def commercetools(shop: Shop) -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn(shop, client_secret=SECRET) as running:
        yield running


def reader_of(
    commercetools: CommercetoolsStandIn, *, call_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
) -> Resources[Customer]:
    client = CommercetoolsClient(commercetools_settings(commercetools), call_seconds=call_seconds, clock=clock)
    return client.resources(CUSTOMER)


def read(reader: Resources[Customer], customer_id: str, version: int | None = None) -> Document | None:
    document = reader.read(customer_id, version, NO_END)
    return None if document is None else dict(document)


def reason_of(
    reader: Resources[Customer], customer_id: str, version: int | None = None, *, deadline: float = NO_END
) -> str:
    """Return why the customer cannot be read, having seen that nothing confidential is in it."""
    with pytest.raises(CannotRead) as cannot_read:
        reader.read(customer_id, version, deadline)
    reason = str(cannot_read.value)
    for confidential in (CANARY, SECRET, "stand-in-token"):
        assert confidential not in reason
    return reason


def read_all(
    commercetools: CommercetoolsStandIn, customer_ids: Sequence[str], *, call_seconds: float = PATIENCE
) -> list[Document | str]:
    """Read all of them at the same moment; return the reason for each that cannot be read."""
    clock = Clock()
    reader = reader_of(commercetools, call_seconds=call_seconds, clock=clock)

    def ending(customer_id: str) -> Document | str:
        try:
            return read(reader, customer_id) or "gone"
        except CannotRead as cannot_read:
            return str(cannot_read)

    return all_at_once([partial(ending, customer_id) for customer_id in customer_ids], clock, commercetools)


def ids_of(customers: Sequence[Document]) -> list[str]:
    return [customer["id"] for customer in customers]


def calls_to(commercetools: CommercetoolsStandIn, place: str) -> list[Call]:
    return [call for call in commercetools.calls if (call.path + "?" if call.query else call.path).startswith(place)]


def asked_for(call: Call) -> list[str]:
    """Return the ids in a query's predicate."""
    (where,) = call.query["where"]
    return [part.strip('" ') for part in where.removeprefix("id in (").removesuffix(")").split(",")]


# Tokens


def test_a_token_is_asked_for_with_the_credentials_and_kept(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    reader = reader_of(commercetools)
    customers = [shop.create() for _ in range(3)]

    assert [read(reader, customer["id"]) for customer in customers] == customers

    [asked] = calls_to(commercetools, TOKEN)
    assert asked.body == b"grant_type=client_credentials&scope=view_customers%3Ademo-shop"
    assert {call.headers["Authorization"] for call in calls_to(commercetools, QUERY)} == {"Bearer stand-in-token-1"}


@pytest.mark.parametrize(
    ("seconds", "good_for"),
    [
        pytest.param(172_800, 172_740, id="of two days, a minute before its end"),
        pytest.param(60, 30, id="of a minute, at half its time"),
        pytest.param(0, 0, id="ended already, at once"),
    ],
)
def test_a_token_is_renewed_ahead_of_its_end(
    commercetools: CommercetoolsStandIn, shop: Shop, seconds: int, good_for: int
) -> None:
    now = [1000.0]
    reader = reader_of(commercetools, clock=lambda: now[0])
    customer = shop.create()
    issued = {"access_token": "stand-in-token-1", "expires_in": seconds}
    commercetools.fail_next(answer(200, body=json.dumps(issued).encode()), on=TOKEN)
    commercetools.fail(answer(200, body=json.dumps({"results": [customer]}).encode()), on=QUERY)
    read(reader, customer["id"])

    if good_for:
        now[0] += good_for - 1
        read(reader, customer["id"])
        assert len(calls_to(commercetools, TOKEN)) == 1

        now[0] += 1
    read(reader, customer["id"])
    assert len(calls_to(commercetools, TOKEN)) == 2


def test_a_revoked_token_is_renewed_once(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    reader = reader_of(commercetools)
    customer = shop.create()
    read(reader, customer["id"])
    commercetools.revoke_tokens()

    assert read(reader, customer["id"]) == customer

    assert commercetools.tokens_issued == 2


@pytest.mark.parametrize("place", [QUERY, BY_ID])
def test_a_second_401_is_a_failure(commercetools: CommercetoolsStandIn, shop: Shop, place: str) -> None:
    customer = shop.create()
    commercetools.hide_from_query([customer["id"]])
    commercetools.fail(answer(401), on=place)

    assert reason_of(reader_of(commercetools), customer["id"]) == "commercetools answered 401"

    assert commercetools.tokens_issued == 2
    assert len(calls_to(commercetools, place)) == 2


class RevokingAfterTheQuery(CommercetoolsStandIn):
    """Refuses the first token where a customer is read by id, and holds these calls until all have come."""

    expected = 0

    def respond(self, call: Call) -> Answer:
        if call.path.startswith(BY_ID) and call.headers["Authorization"] == "Bearer stand-in-token-1":
            with self._changed:
                self.expected -= 1
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self.expected <= 0, 20), "they never came together"
            return self.refusal(401, None)
        return super().respond(call)


def test_one_caller_renews_the_token_for_all(shop: Shop) -> None:
    customers = [shop.create() for _ in range(25)]

    with RevokingAfterTheQuery(shop) as commercetools:
        commercetools.hide_from_query(ids_of(customers))
        commercetools.expected = 25

        assert read_all(commercetools, ids_of(customers)) == customers

        assert commercetools.tokens_issued == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(answer(400), "commercetools' token endpoint answered 400", id="400"),
        pytest.param(answer(401), "commercetools' token endpoint answered 401", id="401"),
        pytest.param(answer(200, body=b"[" * 100_000), NOT_COMMERCETOOLS, id="nested too deeply"),
    ],
)
def test_without_a_token_no_customer_is_read(
    commercetools: CommercetoolsStandIn, shop: Shop, fault: Fault, reason: str
) -> None:
    commercetools.fail(fault, on=TOKEN)

    assert reason_of(reader_of(commercetools), shop.create()["id"]) == reason

    assert calls_to(commercetools, QUERY) == []


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"expires_in": 172_800}, id="no token"),
        pytest.param({"access_token": "", "expires_in": 172_800}, id="an empty token"),
        pytest.param({"access_token": ["stand-in-token-1"], "expires_in": 172_800}, id="a token that is no text"),
        pytest.param({"access_token": "stand-in-token-1"}, id="no end"),
        pytest.param({"access_token": "stand-in-token-1", "expires_in": "soon"}, id="an end that is text"),
    ],
)
def test_an_unreadable_token_is_not_used(commercetools: CommercetoolsStandIn, shop: Shop, document: Document) -> None:
    commercetools.fail(answer(200, body=json.dumps(document).encode()), on=TOKEN)

    assert reason_of(reader_of(commercetools), shop.create()["id"]) == "what answered for a token is not commercetools"

    assert calls_to(commercetools, QUERY) == []


@pytest.mark.parametrize("token", ["two\r\nlines", "kein-Tökén-✓"], ids=["a line end", "what no header can hold"])
def test_a_token_that_no_header_can_hold_is_a_failure(
    commercetools: CommercetoolsStandIn, shop: Shop, token: str
) -> None:
    document = {"access_token": token, "expires_in": 172_800}
    commercetools.fail(answer(200, body=json.dumps(document).encode()), on=TOKEN)

    assert token not in reason_of(reader_of(commercetools), shop.create()["id"])

    assert calls_to(commercetools, QUERY) == []


def test_the_next_caller_asks_for_a_token_again(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    reader = reader_of(commercetools)
    customer = shop.create()
    commercetools.fail_next(answer(500), on=TOKEN)
    reason_of(reader, customer["id"])

    assert read(reader, customer["id"]) == customer


# Many callers, few calls


def test_callers_that_wait_at_the_same_moment_share_calls(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customers = [shop.create() for _ in range(60)]

    assert read_all(commercetools, ids_of(customers)) == customers

    assert len(calls_to(commercetools, QUERY)) < 12
    assert calls_to(commercetools, BY_ID) == []


def test_a_call_asks_for_a_hundred_at_most_and_gets_all_of_them_on_one_page(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    customers = [shop.create() for _ in range(130)]

    assert read_all(commercetools, ids_of(customers)) == customers

    calls = calls_to(commercetools, QUERY)
    assert max(len(asked_for(call)) for call in calls) == 100
    assert sorted(customer_id for call in calls for customer_id in asked_for(call)) == sorted(ids_of(customers))
    for call in calls:
        assert int(call.query["limit"][0]) >= len(asked_for(call))
        assert call.query["withTotal"] == ["false"]
        assert call.query["expand"] == ["customerGroup", "customerGroupAssignments[*].customerGroup"]


@pytest.mark.parametrize("in_query", [True, False], ids=["by query", "by id"])
def test_the_customer_groups_come_with_their_keys(
    commercetools: CommercetoolsStandIn,
    shop: Shop,
    in_query: bool,  # noqa: FBT001  # a row
) -> None:
    group = next(group for group in shop.groups.values() if group.get("key") == "vip")
    reference = {"typeId": "customer-group", "id": group["id"]}
    customer_id = shop.create(customerGroup=reference, customerGroupAssignments=[{"customerGroup": reference}])["id"]
    commercetools.hide_from_query(() if in_query else [customer_id])

    customer = reader_of(commercetools).now(about(customer_id), NO_END)

    assert customer is not None
    assert (customer.customer_group, customer.customer_groups) == ("vip", ("vip",))


def about(customer_id: str, version: int | None = None) -> Notification:
    return Notification("ResourceUpdated", "demo-shop", "customer", customer_id, version)


def test_who_is_gone_is_no_failure_for_those_who_exist(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customers = [shop.create() for _ in range(30)]
    shop.delete(customers[7]["id"])

    endings = read_all(commercetools, ids_of(customers))

    assert endings == [*customers[:7], "gone", *customers[8:]]


# The version asked for, or a newer one


def renamed(shop: Shop) -> Document:
    """Return a customer at its second version."""
    return shop.change(shop.create()["id"], {"action": "setFirstName", "firstName": "Mira"})


def test_where_the_query_lags_the_customer_is_read_by_id(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = renamed(shop)
    commercetools.lag_query()

    assert read(reader_of(commercetools), customer["id"], customer["version"]) == customer

    assert len(calls_to(commercetools, QUERY)) == len(calls_to(commercetools, BY_ID)) == 1


def test_a_newer_version_than_the_notifications_is_taken_as_it_is(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    customer = renamed(shop)

    assert read(reader_of(commercetools), customer["id"], 1) == customer

    assert calls_to(commercetools, BY_ID) == []


def test_without_a_version_whatever_the_query_shows_is_taken(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = renamed(shop)
    commercetools.lag_query()

    assert read(reader_of(commercetools), customer["id"]) == shop.versions(customer["id"])[0]

    assert calls_to(commercetools, BY_ID) == []


def test_an_older_version_is_never_returned(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = renamed(shop)
    commercetools.lag_all()

    reason = reason_of(reader_of(commercetools), customer["id"], customer["version"])

    assert reason == "commercetools shows an older version than the notification's"
    assert len(calls_to(commercetools, BY_ID)) == 1


# Who is there and who is not


def test_a_customer_that_the_query_does_not_find_is_read_by_id(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = shop.create()
    commercetools.hide_from_query([customer["id"]])

    assert read(reader_of(commercetools), customer["id"], 1) == customer


@pytest.mark.parametrize("was_there", [True, False], ids=["deleted", "never there"])
def test_a_customer_that_is_not_found_is_gone(
    commercetools: CommercetoolsStandIn,
    shop: Shop,
    was_there: bool,  # noqa: FBT001  # a row
) -> None:
    customer_id = shop.create()["id"] if was_there else NOBODY
    if was_there:
        shop.delete(customer_id)

    assert reader_of(commercetools).now(about(customer_id, 1), NO_END) is None

    assert len(calls_to(commercetools, BY_ID)) == 1


def test_a_deletion_that_the_query_does_not_show_yet_needs_no_second_read(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    customer = shop.create()
    shop.delete(customer["id"])
    commercetools.lag_query()

    assert read(reader_of(commercetools), customer["id"], 1) == customer


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"<html>Not Found</html>", "what answered 404 is not commercetools", id="HTML"),
        pytest.param(b"", "what answered 404 is not commercetools", id="nothing"),
        pytest.param(b"[]", "what answered 404 is not commercetools", id="a list"),
        pytest.param(b'{"message": "no such route"}', "commercetools answered 404", id="another's JSON"),
        pytest.param(b'{"errors": "ResourceNotFound"}', "commercetools answered 404", id="errors that are text"),
        pytest.param(b'{"errors": ["ResourceNotFound"]}', "commercetools answered 404", id="errors of text"),
        pytest.param(b'{"errors": [{"code": "NoRoute"}]}', "commercetools answered 404", id="another error"),
    ],
)
def test_a_404_that_is_not_commercetools_own_says_nothing_of_the_customer(
    commercetools: CommercetoolsStandIn, shop: Shop, body: bytes, reason: str
) -> None:
    customer = shop.create()
    commercetools.hide_from_query([customer["id"]])
    commercetools.fail(answer(404, body=body), on=BY_ID)

    assert reason_of(reader_of(commercetools), customer["id"]) == reason


def test_a_query_that_is_answered_404_says_nothing_of_the_customer(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    commercetools.fail(answer(404), on=QUERY)  # as where the project's key is mistyped

    assert reason_of(reader_of(commercetools), shop.create()["id"]) == "commercetools answered 404"


def test_a_customer_too_many_in_an_answer_is_ignored(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customers = [shop.create() for _ in range(20)]
    commercetools.add_to_query(shop.create(firstName=CANARY))

    assert read_all(commercetools, ids_of(customers)) == customers

    assert calls_to(commercetools, BY_ID) == []


def test_another_customer_than_the_one_asked_for_is_given_to_no_caller(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    customer = shop.create()
    commercetools.hide_from_query([customer["id"]])
    commercetools.add_to_query(shop.create(firstName=CANARY))

    assert read(reader_of(commercetools), customer["id"]) == customer


def test_another_customer_read_by_id_is_given_to_no_caller(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = shop.create()
    commercetools.hide_from_query([customer["id"]])
    commercetools.fail(answer(200, body=json.dumps(shop.create(firstName=CANARY)).encode()), on=BY_ID)

    assert reason_of(reader_of(commercetools), customer["id"]) == NOT_COMMERCETOOLS


def test_a_customer_without_an_email_is_read(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer_id = shop.create(email=None)["id"]

    customer = reader_of(commercetools).now(about(customer_id, 1), NO_END)

    assert customer is not None
    assert (customer.id, customer.version, customer.email) == (customer_id, 1, None)


def test_an_invalid_customer_is_malformed(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    document = shop.create() | {"version": CANARY}
    commercetools.fail(answer(200, body=json.dumps({"results": [document]}).encode()), on=QUERY)

    with pytest.raises(Malformed, match=r"^the customer is not valid: version: Not a valid integer$"):
        reader_of(commercetools).now(about(document["id"], 1), NO_END)


@pytest.mark.parametrize(
    "customer_id",
    [
        pytest.param("", id="nothing"),
        pytest.param('a" or id > "', id="a predicate"),
        pytest.param('"', id="a quote"),
        pytest.param("a\\", id="a backslash"),
        pytest.param("a b", id="a space"),
        pytest.param("a\n", id="a line end"),
        pytest.param("a/b", id="a slash"),
        pytest.param("..", id="the folder above"),
        pytest.param("key=a", id="a key"),
        pytest.param("a)", id="a parenthesis"),
        pytest.param("a,b", id="a comma"),
        pytest.param("a?b", id="a question mark"),
        pytest.param("a%22", id="an encoded quote"),
        pytest.param("ä", id="a letter beyond ASCII"),
        pytest.param("٣", id="a digit beyond ASCII"),
        pytest.param("a" * 65, id="too long"),
    ],
)
def test_an_invalid_id_is_never_part_of_a_call(commercetools: CommercetoolsStandIn, customer_id: str) -> None:
    with pytest.raises(Malformed, match=r"^the customer's id is none that commercetools gives$"):
        reader_of(commercetools).now(about(customer_id), NO_END)

    assert commercetools.calls == []


# What goes wrong


@pytest.mark.parametrize("place", [QUERY, BY_ID], ids=["the query", "the reading by id"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(answer(400), "commercetools answered 400", id="400"),
        pytest.param(answer(409), "commercetools answered 409", id="409"),
        pytest.param(answer(204, body=b""), "commercetools answered 204", id="204"),
        pytest.param(answer(200, body=b'{"results": [{"id": "Cana'), NOT_COMMERCETOOLS, id="JSON cut off"),
        pytest.param(answer(200, body=b"[" * 100_000), NOT_COMMERCETOOLS, id="nested too deeply"),
        pytest.param(answer(200, body=b"\xff\xfe\x00"), NOT_COMMERCETOOLS, id="no text"),
        pytest.param(answer(200, body=b"{}"), NOT_COMMERCETOOLS, id="an empty object"),
        pytest.param(answer(200, body=b'{"results": null}'), NOT_COMMERCETOOLS, id="null for results"),
        pytest.param(answer(200, body=b'{"results": 7}'), NOT_COMMERCETOOLS, id="a number for results"),
        pytest.param(answer(200, body=b'{"results": ["Canary"]}'), NOT_COMMERCETOOLS, id="results of text"),
        pytest.param(answer(200, body=b'{"results": [null]}'), NOT_COMMERCETOOLS, id="results of null"),
        pytest.param(answer(200, body=b'{"results": [{}]}'), NOT_COMMERCETOOLS, id="results without an id"),
        pytest.param(answer(200, body=b'{"results": [{"id": []}]}'), NOT_COMMERCETOOLS, id="an id that is a list"),
    ],
)
def test_no_other_answer_is_a_customer(
    commercetools: CommercetoolsStandIn, shop: Shop, fault: Fault, reason: str, place: str
) -> None:
    customer = shop.create(firstName=CANARY)
    commercetools.hide_from_query([customer["id"]])
    commercetools.fail(fault, on=place)

    assert reason_of(reader_of(commercetools), customer["id"], 1) == reason


def test_fetching_a_token_counts_toward_the_timeout_of_the_call_that_needs_it(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    clock = Clock()
    reader = reader_of(commercetools, call_seconds=ENDLESS, clock=clock)
    commercetools.fail(HANG, on=QUERY)
    with commercetools.hold(lambda call: call.path == TOKEN) as held, ThreadPoolExecutor(1) as pool:
        reason = pool.submit(reason_of, reader, shop.create()["id"])
        assert held.wait_for(1, 20)
        clock.set(ENDLESS - 0.3)  # of all its time this is what the query has left
        held.let_go()

        assert reason.result().startswith("commercetools was not reached: ")

    assert commercetools.tokens_issued == 1


def test_waiting_for_a_token_that_another_caller_fetches_ends_at_the_deadline(
    commercetools: CommercetoolsStandIn, shop: Shop
) -> None:
    commercetools.fail(HANG, on=TOKEN)

    endings = read_all(commercetools, call_seconds=0.3, customer_ids=ids_of([shop.create() for _ in range(10)]))

    assert {str(ending).partition(":")[0] for ending in endings} <= {
        "commercetools was not reached",
        "no token came in time",
        "no time was left to ask commercetools",
    }


class Slow(CommercetoolsStandIn):
    """Answers queries at once, and yet a minute has passed."""

    now = 0.0

    def respond(self, call: Call) -> Answer:
        if call.query:
            self.now += 60
        return super().respond(call)


def test_after_a_query_that_took_all_the_time_nothing_is_read_by_id(shop: Shop) -> None:
    with Slow(shop) as commercetools:
        reader = reader_of(commercetools, clock=lambda: commercetools.now)

        assert reason_of(reader, NOBODY, deadline=30) == "no time was left to ask commercetools"

        assert calls_to(commercetools, BY_ID) == []
