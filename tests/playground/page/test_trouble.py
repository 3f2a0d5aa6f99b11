"""Trouble on the page: each switch does what it says, everything heals, and dead letters are replayed or dropped."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from playground.page.playground import Playground
from playground.page.server import page_of
from playground.page.trouble import FAULTS, MOST_ATTEMPTS, Party
from playground.world import DEAD_LETTER_SUBSCRIPTION, SUBSCRIPTION, LocalWorld

SECONDS = 30.0
PARTIES = ("commercetools", "segment", "publicApi")
TOKEN, PORT = "a-token", 8090

# The only way to look into a subscription without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")


class Page:
    """The page's requests, to a playground that runs."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self.world: LocalWorld = playground.world
        app = page_of(playground, token=TOKEN, port=PORT, stopping=threading.Event())
        self._client = app.test_client()

    def get(self, path: str) -> Any:  # noqa: ANN401  # any JSON
        return self._client.get(f"/{TOKEN}/api/{path}", headers={"Host": f"127.0.0.1:{PORT}"}).get_json()

    def post(self, path: str, expected: int = 200, **given: object) -> Any:  # noqa: ANN401  # any JSON
        headers = {"Host": f"127.0.0.1:{PORT}"}
        answer = self._client.post(f"/{TOKEN}/api/{path}", headers=headers, json=given)
        assert answer.status_code == expected, answer.get_json()
        return answer.get_json()

    def settle(self) -> None:
        self.world.settle()
        assert self.world.pubsub.wait_until_idle(SECONDS)

    def asked(self, name: str, timeout: float = SECONDS) -> requests.Response:
        """Ask a party something by HTTP, on a connection of its own."""
        urls = {
            "commercetools": f"{self.world.commercetools.url}/demo-shop/customers",
            "segment": f"{self.world.segment.url}/events",
            "publicApi": f"{self.world.public_api.url}/regulations/1",
        }
        return requests.get(urls[name], timeout=timeout)

    def a_dead_letter(self) -> str:
        """Publish something that no one can read; return the id of the dead letter that it becomes."""
        before = {letter["message_id"] for letter in self.get("trouble/letters")["letters"]}
        self.post("trouble/garbage")
        self.settle()
        (new,) = {letter["message_id"] for letter in self.get("trouble/letters")["letters"]} - before
        return str(new)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Playground(tmp_path_factory.mktemp("playground"), customers=20, speed=200.0) as playground:
        yield Page(playground)


@pytest.fixture
def page(running: Page) -> Iterator[Page]:
    yield running
    running.post("trouble/heal")
    while len(running.world.services) > 1:
        running.post("trouble/instances/remove")
    running.settle()
    if running.world.pubsub.backlog(DEAD_LETTER_SUBSCRIPTION):
        running.post("trouble/letters/drop", ids="all")


# The parties


@pytest.mark.parametrize("name", PARTIES)
def test_each_fault_of_a_party_is_met_by_the_next_request_and_ends_when_it_works_again(page: Page, name: str) -> None:
    path, well = f"trouble/parties/{name}", page.asked(name).status_code

    page.post(path, fault="down")
    with pytest.raises(requests.ConnectionError):
        page.asked(name)
    page.post(path, fault="429", seconds=7)
    refused = page.asked(name)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    page.post(path, fault="500")
    assert page.asked(name).status_code == 500
    page.post(path, fault="slow", seconds=0.2)
    assert page.asked(name).elapsed.total_seconds() >= 0.2
    page.post(path, fault="hanging")
    with pytest.raises(requests.ReadTimeout):
        page.asked(name, timeout=0.2)
    page.post(path, fault="lost")
    before = page.world.commercetools.call_count
    with pytest.raises(requests.ConnectionError):
        page.asked(name)
    assert name != "commercetools" or page.world.commercetools.call_count == before + 1

    state = page.post(path, fault="works")
    assert state["trouble"] == []
    assert page.asked(name).status_code == well


def test_segment_has_what_came_by_a_lost_answer_and_the_message_comes_again(page: Page) -> None:
    page.post("trouble/parties/segment", fault="lost")
    duplicates = page.world.segment.duplicates
    calls = page.world.segment.call_count

    customer = page.post("shop/customers", email="lost@example.com")["id"]
    assert page.world.segment.wait_for_calls(calls + 2, SECONDS)
    page.post("trouble/parties/segment", fault="works")
    page.settle()

    assert page.world.segment.profiles[customer]["email"] == "lost@example.com"
    assert page.world.segment.duplicates > duplicates


def test_queries_of_commercetools_lag_behind(page: Page) -> None:
    shop = page.world.commercetools
    page.post("trouble/parties/commercetools", lag=2)
    customer = page.post("shop/customers", email="first@example.com")["id"]
    for email in ("second@example.com", "third@example.com"):
        page.post(f"shop/customers/{customer}/form", email=email)
    granted = requests.post(
        f"{shop.url}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(shop.client_id, shop.client_secret),
        timeout=SECONDS,
    ).json()

    def queried() -> str:
        found = requests.get(
            f"{shop.url}/{shop.shop.project_key}/customers",
            params={"where": f'id="{customer}"'},
            headers={"Authorization": f"Bearer {granted['access_token']}"},
            timeout=SECONDS,
        ).json()
        return str(found["results"][0]["email"])

    assert queried() == "first@example.com"
    assert page.post("trouble/heal")["trouble"] == []
    assert queried() == "third@example.com"


@pytest.mark.parametrize(
    ("path", "given", "words"),
    [
        ("parties/segment", {"fault": "on strike"}, "A party can be one of"),
        ("parties/segment", {"fault": "429", "seconds": -1}, "from 0 to 600"),
        ("parties/segment", {"seconds": "long"}, "must be a number"),
        ("parties/commercetools", {"lag": 4}, "0 to 3 versions"),
        ("pubsub", {"duplicate": 1.5}, "from 0 to 100 percent"),
        ("pubsub", {"attempts": 4}, "after 5 to 100 attempts"),
        ("instances/9/start", {}, "no such instance"),
        ("instances/0/paint", {}, "started, stopped, killed or restarted"),
        ("letters/drop", {"ids": []}, "Choose at least one"),
        ("letters/replay", {"ids": "all"}, "no dead letters"),
    ],
)
def test_what_cannot_be_switched_is_refused_with_a_sentence(
    page: Page, path: str, given: dict[str, object], words: str
) -> None:
    assert words in page.post(f"trouble/{path}", 400, **given)["error"]
    assert page.playground.trouble.state()["trouble"] == []


def test_a_party_that_does_not_exist_is_not_found(page: Page) -> None:
    page.post("trouble/parties/nobody", 404, fault="down")


def test_every_fault_but_working_and_slowness_is_a_stand_ins_fault() -> None:
    assert [fault for fault in FAULTS if Party(fault).as_fault is None] == ["works", "slow"]


# Pub/Sub


def test_pubsub_duplicates_holds_back_and_gives_up_as_it_is_told(page: Page) -> None:
    state = page.post("trouble/pubsub", duplicate=0.5, reorder=0.25, attempts=5)

    assert state["pubsub"] == {"duplicate": 0.5, "reorder": 0.25, "attempts": 5}
    assert state["trouble"] == ["pubsub"]
    config = page.world.subscriber.get_subscription(subscription=SUBSCRIPTION)
    assert config.dead_letter_policy.max_delivery_attempts == 5
    assert config.push_config.push_endpoint == page.world.service.url
    page.post("trouble/parties/segment", fault="500")
    page.post("shop/customers", email="given.up@example.com")
    page.settle()
    letters = page.get("trouble/letters")["letters"]
    assert {(letter["reason"], letter["attempts"]) for letter in letters} == {("Pub/Sub gave up after 5 deliveries", 5)}
    page.post("trouble/heal")
    config = page.world.subscriber.get_subscription(subscription=SUBSCRIPTION)
    assert config.dead_letter_policy.max_delivery_attempts == MOST_ATTEMPTS


# The service


def test_instances_grow_to_three_and_shrink_to_one(page: Page) -> None:
    for number in (2, 3):
        state = page.post("trouble/instances")
        assert [one["state"] for one in state["instances"]] == ["running"] * number
    assert len({one["pid"] for one in state["instances"]}) == 3
    assert "no more are possible" in page.post("trouble/instances", 400)["error"]

    page.post("trouble/instances/remove")
    assert len(page.post("trouble/instances/remove")["instances"]) == 1
    assert "last instance stays" in page.post("trouble/instances/remove", 400)["error"]
    page.post("shop/customers", email="still@example.com")
    page.settle()


def test_an_instance_that_was_killed_and_started_again_serves_again(page: Page) -> None:
    state = page.post("trouble/instances/0/kill")
    assert (state["instances"], state["trouble"]) == ([{"number": 0, "pid": None, "state": "stopped"}], ["service"])
    customer = page.post("shop/customers", email="waiting@example.com")["id"]
    page.world.settle()
    assert page.world.pubsub.backlog(SUBSCRIPTION)

    assert page.post("trouble/instances/0/start")["trouble"] == []
    page.settle()

    assert page.world.segment.profiles[customer]["email"] == "waiting@example.com"


def test_healing_starts_an_instance_that_was_stopped(page: Page) -> None:
    assert page.post("trouble/instances/0/stop")["instances"][0]["state"] == "stopped"
    assert page.post("trouble/heal")["instances"][0]["state"] == "running"


def test_restarts_of_one_instance_at_once_give_it_another_process_and_stop_nobody_from_looking(page: Page) -> None:
    before = page.playground.trouble.state()["instances"][0]["pid"]
    answers: list[str] = []

    def restart() -> None:
        try:
            page.playground.trouble.do(0, "restart")
            answers.append("done")
        except ValueError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=restart) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = {page.playground.trouble.state()["instances"][0]["state"]}
    for thread in threads:
        thread.join()

    assert "done" in answers
    assert set(answers) <= {"done", "Something is being done to this instance. Try again in a moment."}
    assert seen <= {"restarting", "running"}
    [after] = page.playground.trouble.state()["instances"]
    assert after["state"] == "running"
    assert after["pid"] not in (None, before)


# Dead letters


def test_something_unreadable_is_listed_with_its_reason_and_told_in_full(page: Page) -> None:
    message_id = page.a_dead_letter()

    found = page.get("trouble/letters")
    (letter,) = found["letters"]
    assert found["number"] == 1
    assert (letter["message_id"], letter["kind"]) == (message_id, "unreadable")
    assert letter["reason"]
    whole = page.get(f"trouble/letters/{message_id}")
    assert whole["letter"]["data"]
    assert whole["explained"]["outcome"] == "refused"
    assert page.playground.trouble.state()["dead_letters"] == 1


def test_a_letter_that_pubsub_gave_up_is_replayed_and_delivered(page: Page) -> None:
    page.post("trouble/pubsub", attempts=5)
    page.post("trouble/parties/segment", fault="down")
    customer = page.post("shop/customers", email="replayed@example.com")["id"]
    page.settle()
    page.post("trouble/parties/segment", fault="works")
    letters = page.get("trouble/letters")["letters"]
    assert {letter["resource_id"] for letter in letters} == {customer}

    assert page.post("trouble/letters/replay", ids=[letters[0]["message_id"]])["replayed"] == 1
    if len(letters) > 1:
        assert page.post("trouble/letters/replay", ids="all")["replayed"] == len(letters) - 1
    page.settle()

    assert page.get("trouble/letters") == {"letters": [], "number": 0}
    assert page.world.segment.profiles[customer]["email"] == "replayed@example.com"


def test_a_dropped_letter_is_gone_and_the_others_stay(page: Page) -> None:
    first, second = page.a_dead_letter(), page.a_dead_letter()

    assert page.post("trouble/letters/drop", ids=[first])["dropped"] == 1

    assert [letter["message_id"] for letter in page.get("trouble/letters")["letters"]] == [second]
    said = page.post("trouble/letters/drop", ids=[first])
    assert (said["dropped"], first in said["remarks"]) == (0, True)


# The shop, through everything


def test_a_partial_refund_arrives_as_order_refunded_with_its_amount(page: Page) -> None:
    buyer = page.post("shop/customers", email="buyer@example.com")["id"]
    order = page.post("shop/orders", customer=buyer)["id"]
    shown = page.get(f"shop/orders/{order}")
    amount = "1" if shown["currency"] == "JPY" else "0.50"

    refund = page.post(f"shop/orders/{order}/refunds", amount=amount, state="Initial")["id"]
    page.post(f"shop/refunds/{refund}", state="Success")
    page.settle()

    (event,) = [
        one["properties"]
        for one in page.world.segment.events
        if one.get("event") == "Order Refunded" and one["properties"]["order_id"] == order
    ]
    assert (event["total"], event["currency"]) == (float(amount), shown["currency"])
    assert page.get(f"shop/orders/{order}")["refunded"] in (amount, "0.500")


def test_an_anonymised_customer_has_no_personal_trait_in_segment(page: Page) -> None:
    person: dict[str, Any] = {"firstName": "Ada", "lastName": "Lovelace", "dateOfBirth": "1815-12-10"}
    customer = page.post("shop/customers", email="ada@example.com", companyName="Analytical", **person)["id"]
    page.settle()
    assert "Lovelace" in str(page.world.segment.profiles[customer])

    page.post(f"shop/customers/{customer}/anonymise")
    page.settle()

    traits = page.world.segment.profiles[customer]
    assert traits["email"] == f"anonymised-{customer}@example.com"
    assert not [word for word in ("Ada", "Lovelace", "1815", "Analytical") if word in str(traits)]
