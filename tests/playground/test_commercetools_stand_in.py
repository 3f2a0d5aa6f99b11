"""The stand-in for commercetools answers as its HTTP API is documented, and lags as the test sets."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from playground import stand_in as faults
from playground.commercetools import CommercetoolsStandIn
from playground.commercetools_types import DEMO_TYPES, SIMPLE
from playground.shop import Shop

SOON = 10  # seconds: far more than anything here takes
Parameters = Mapping[str, str | list[str]]


@pytest.fixture
def shop() -> Shop:
    return Shop(seed=7)


@pytest.fixture
def commercetools(shop: Shop) -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn(shop, "a-client", "a-secret") as running:
        yield running


def a_token(commercetools: CommercetoolsStandIn, **changes: str) -> requests.Response:
    parameters = {"grant_type": "client_credentials", **changes}
    auth = ("a-client", "a-secret")
    return requests.post(f"{commercetools.url}/oauth/token", params=parameters, auth=auth, timeout=SOON)


def ask(
    commercetools: CommercetoolsStandIn,
    path: str = "/demo-shop/customers",
    parameters: Parameters | None = None,
    *,
    method: str = "GET",
    body: object = None,
) -> requests.Response:
    headers = {"Authorization": f"Bearer {a_token(commercetools).json()['access_token']}"}
    return requests.request(
        method, commercetools.url + path, params=parameters, json=body, headers=headers, timeout=SOON
    )


def found(commercetools: CommercetoolsStandIn, **parameters: str | list[str]) -> list[str]:
    answer = ask(commercetools, parameters={name.replace("_", "."): value for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return [customer["id"] for customer in answer.json()["results"]]


# Tokens


@pytest.mark.parametrize("place", ["params", "data"])
def test_a_token_is_issued_to_who_knows_the_secret(commercetools: CommercetoolsStandIn, place: str) -> None:
    given: dict[str, Any] = {place: {"grant_type": "client_credentials", "scope": "view_customers:demo-shop"}}

    answer = requests.post(
        f"{commercetools.url}/oauth/token", auth=("a-client", "a-secret"), timeout=SOON, **given
    ).json()

    assert answer.pop("access_token")
    assert answer == {"token_type": "Bearer", "expires_in": 172_800, "scope": "view_customers:demo-shop"}


@pytest.mark.parametrize(
    ("auth", "parameters", "status", "error"),
    [
        pytest.param(None, {"grant_type": "client_credentials"}, 401, "invalid_client", id="no credentials"),
        pytest.param(("a-client", "x"), {"grant_type": "client_credentials"}, 401, "invalid_client", id="wrong secret"),
        pytest.param(("a-client", "a-secret"), {}, 400, "invalid_request", id="no grant"),
        pytest.param(
            ("a-client", "a-secret"), {"grant_type": "password"}, 400, "unsupported_grant_type", id="other grant"
        ),
        pytest.param(
            ("a-client", "a-secret"),
            {"grant_type": "client_credentials", "scope": "manage_project:demo-shop"},
            400,
            "invalid_scope",
            id="more than is granted",
        ),
    ],
)
def test_no_token_is_issued_otherwise(
    commercetools: CommercetoolsStandIn,
    auth: tuple[str, str] | None,
    parameters: dict[str, str],
    status: int,
    error: str,
) -> None:
    answer = requests.post(f"{commercetools.url}/oauth/token", params=parameters, auth=auth, timeout=SOON)

    body = answer.json()
    assert (answer.status_code, body["statusCode"], body["error"]) == (status, status, error)
    assert body["errors"] == [{"code": error, "message": body["message"]}]


def test_a_token_revoked_or_ended_is_invalid(commercetools: CommercetoolsStandIn) -> None:
    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{commercetools.url}/demo-shop/customers", headers=headers, timeout=SOON)
        if answer.status_code == 401:
            assert answer.json() == {
                "statusCode": 401,
                "message": "invalid_token",
                "errors": [{"code": "invalid_token", "message": "invalid_token"}],
                "error": "invalid_token",
            }
        return answer.status_code

    token = a_token(commercetools).json()["access_token"]
    assert status(token) == 200

    commercetools.revoke_tokens()
    assert status(token) == 401
    commercetools.token_seconds = 0
    assert status(a_token(commercetools).json()["access_token"]) == 401
    assert status("") == 401
    assert commercetools.tokens_issued == 2


def test_scopes_are_enforced(shop: Shop) -> None:
    with CommercetoolsStandIn(shop, "a-client", "a-secret", scopes=["view_orders"]) as commercetools:
        answer = ask(commercetools)

    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert answer.json()["message"] == "Insufficient scope. One of the following scopes is missing: view_customers."


def test_a_token_for_one_project_does_not_open_another(commercetools: CommercetoolsStandIn) -> None:
    assert ask(commercetools, "/another-shop/customers").status_code == 403


# One customer


def test_a_customer_is_read_by_id_and_by_key(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = shop.create(email="Ada@example.com", key="ada-1")

    assert ask(commercetools, f"/demo-shop/customers/{customer['id']}").json() == customer
    assert ask(commercetools, "/demo-shop/customers/key=ada-1").json() == customer
    assert ask(commercetools, f"/demo-shop/customers/{customer['id']}", method="HEAD").status_code == 200


@pytest.mark.parametrize("name", ["no-such-id", "key=no-such-key"])
def test_a_customer_who_is_not_there_is_not_found(commercetools: CommercetoolsStandIn, name: str) -> None:
    answer = ask(commercetools, f"/demo-shop/customers/{name}")

    body = answer.json()
    assert (answer.status_code, body["statusCode"], body["errors"][0]["code"]) == (404, 404, "ResourceNotFound")


def test_a_deleted_customer_is_not_found(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer = shop.create()
    shop.delete(customer["id"])

    assert ask(commercetools, f"/demo-shop/customers/{customer['id']}").status_code == 404
    assert found(commercetools) == []


def test_an_expanded_group_brings_its_key(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    group = next(group for group in shop.groups.values() if group.get("key") == "vip")
    customer = shop.create(customerGroup={"typeId": "customer-group", "id": group["id"]})
    path, expand = f"/demo-shop/customers/{customer['id']}", {"expand": "customerGroup"}

    assert ask(commercetools, path, expand).json()["customerGroup"]["obj"]["key"] == "vip"
    assert ask(commercetools, parameters=expand).json()["results"][0]["customerGroup"]["obj"] == group
    assert "obj" not in ask(commercetools, path).json()["customerGroup"]


def test_expanded_assignments_bring_the_keys_of_their_groups(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    groups = list(shop.groups.values())
    references = [{"typeId": "customer-group", "id": group_id} for group_id in (*shop.groups, "gone")]
    customer = shop.create(
        customerGroup=references[0], customerGroupAssignments=[{"customerGroup": r} for r in references]
    )
    path, expand = f"/demo-shop/customers/{customer['id']}", {"expand": "customerGroupAssignments[*].customerGroup"}

    expanded = ask(commercetools, path, expand).json()

    assert [one["customerGroup"].get("obj") for one in expanded["customerGroupAssignments"]] == [*groups, None]
    assert expanded["customerGroup"] == references[0]
    assert ask(commercetools, path).json() == customer


# Queries


def test_a_query_has_20_customers_and_their_total_unless_told_otherwise(commercetools: CommercetoolsStandIn) -> None:
    for _ in range(21):
        commercetools.shop.create()

    page = ask(commercetools).json()
    rest = ask(commercetools, parameters={"limit": "500", "offset": "20", "withTotal": "false"}).json()

    assert {name: page[name] for name in ("limit", "offset", "count", "total")} == {
        "limit": 20,
        "offset": 0,
        "count": 20,
        "total": 21,
    }
    assert (rest["limit"], rest["offset"], rest["count"], "total" in rest) == (500, 20, 1, False)
    assert [one["id"] for one in page["results"] + rest["results"]] == list(commercetools.shop.customers)


def test_predicates_find_whom_they_describe(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    made = [shop.create(email=email) for email in ("Ada@example.com", 'b"\\@example.com', "c@example.org")]
    ada, quoted, last = (customer["id"] for customer in made)
    moment = made[1]["lastModifiedAt"]
    low, middle, high = sorted((ada, quoted, last))

    def matching(*where: str, **variables: str | list[str]) -> set[str]:
        return set(found(commercetools, where=list(where), **{f"var_{name}": v for name, v in variables.items()}))

    assert matching(f'id in ("{ada}", "{last}", "nobody")') == {ada, last}
    assert matching(f'id in("{ada}")') == {ada}
    assert matching(f'id = "{ada}"') == {ada}
    assert matching("id in :ids", ids=[ada, quoted]) == {ada, quoted}
    assert matching("id in (:a, :b)", a=ada, b=last) == {ada, last}
    assert matching("id > :last", last=low) == {middle, high}
    assert matching(f'id >= "{middle}"') == {middle, high}
    assert matching(f'id < "{middle}"') == {low}
    assert matching(f'lastModifiedAt > "{moment}"') == {last}
    assert matching(f'lastModifiedAt >= "{moment}"') == {quoted, last}
    assert matching(f'lastModifiedAt <= "{moment}"') == {ada, quoted}
    assert matching(f'lastModifiedAt = "{moment.replace("Z", "+00:00")}"') == {quoted}
    assert matching('email = "Ada@example.com"') == {ada}
    assert matching('email = "ada@example.com"') == set()
    assert matching('lowercaseEmail = "ada@example.com"') == {ada}
    assert matching(r'email = "b\"\\@example.com"') == {quoted}
    assert matching(f'id > "{low}" and id < "{high}"') == {middle}
    assert matching(f'id > "{low}"', f'id < "{high}"') == {middle}
    assert matching(f'id in ("{ada}")', f'id in ("{last}")') == set()


def test_a_predicate_about_a_group_finds_its_members(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    group_id = next(iter(shop.groups))
    member = shop.create(customerGroup={"typeId": "customer-group", "id": group_id})
    shop.create()

    assert found(commercetools, where=f'customerGroup(id="{group_id}")') == [member["id"]]
    assert found(commercetools, where=f'customerGroup(id="{group_id}") and id = "nobody"') == []
    assert found(commercetools, where=f'not(id = "{member["id"]}") or id = "{member["id"]}"') == list(shop.customers)


@pytest.mark.parametrize("where", ["", "shoe = 38", 'id in ("a" "b")'])
def test_a_malformed_predicate_is_refused_as_commercetools_does(
    commercetools: CommercetoolsStandIn, where: str
) -> None:
    answer = ask(commercetools, parameters={"where": where})

    body = answer.json()
    assert (answer.status_code, body["errors"][0]["code"]) == (400, "InvalidInput")
    assert body["message"].startswith("Malformed parameter: where: ")


def test_a_page_of_none_has_the_total(commercetools: CommercetoolsStandIn) -> None:
    commercetools.shop.create()

    page = ask(commercetools, parameters={"limit": "0"}).json()

    assert page == {"limit": 0, "offset": 0, "count": 0, "total": 1, "results": []}


@pytest.mark.parametrize(
    "parameters",
    [{"limit": "501"}, {"limit": "-1"}, {"limit": "x"}, {"offset": "10001"}, {"offset": "-1"}, {"sort": "name"}],
    ids=str,
)
def test_parameters_out_of_range_are_refused(commercetools: CommercetoolsStandIn, parameters: Parameters) -> None:
    assert ask(commercetools, parameters=parameters).json()["errors"][0]["code"] == "InvalidInput"


def test_results_are_sorted_as_asked(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    made = [shop.create()["id"] for _ in range(5)]
    shop.change(made[0], {"action": "setKey", "key": "changed"})
    by_time = [*made[1:], made[0]]

    assert found(commercetools, sort="id asc") == sorted(made)
    assert found(commercetools, sort="id desc") == sorted(made, reverse=True)
    assert found(commercetools, sort=["lastModifiedAt asc", "id asc"]) == by_time
    assert found(commercetools, sort="lastModifiedAt desc", limit="2") == by_time[:-3:-1]
    assert found(commercetools, where=[f'id in ("{made[0]}", "{made[4]}")'], sort="lastModifiedAt asc") == [
        made[4],
        made[0],
    ]


@pytest.mark.parametrize("population", [0, 30])
def test_paging_by_cursor_meets_everyone_once(population: int) -> None:
    shop = Shop(seed=3, population=population)
    for _ in range(30):
        shop.random_change()
    with CommercetoolsStandIn(shop, "a-client", "a-secret") as commercetools:
        met: list[str] = []
        while page := found(
            commercetools, where=f'id > "{met[-1] if met else ""}"', sort="id asc", limit="7", withTotal="false"
        ):
            met += page

    assert met == list(shop.customers)


@pytest.mark.parametrize("population", [0, 30])
def test_paging_by_time_meets_what_changed_in_its_order(population: int) -> None:
    shop = Shop(seed=3, population=population)
    for _ in range(30):
        shop.random_change()
    everyone = sorted(shop.customers.values(), key=lambda customer: str(customer["lastModifiedAt"]))
    with CommercetoolsStandIn(shop, "a-client", "a-secret") as commercetools:
        for start in (0, len(everyone) // 2):
            since = everyone[start]["lastModifiedAt"]
            assert found(
                commercetools, where=f'lastModifiedAt > "{since}"', sort="lastModifiedAt asc", limit="500"
            ) == [customer["id"] for customer in everyone[start + 1 :]]
            those = sorted(customer["id"] for customer in everyone[start:])
            assert (
                found(
                    commercetools,
                    where=[f'lastModifiedAt >= "{since}"', f'id > "{those[1]}"'],
                    sort="id asc",
                    limit="500",
                )
                == those[2:]
            )


def test_a_million_customers_cost_nothing_until_they_are_looked_at() -> None:
    before = time.monotonic()
    with CommercetoolsStandIn(Shop(population=1_000_000), "a-client", "a-secret") as commercetools:
        first = found(commercetools, sort="id asc", limit="20", withTotal="false")
        middle = found(commercetools, where='id > "8"', sort="id asc", limit="20", withTotal="false")
        read = ask(commercetools, f"/demo-shop/customers/{middle[0]}").json()

    assert first == sorted(first)
    assert read["id"] == middle[0] > "8"
    assert time.monotonic() - before < SOON


# What may be different from what is


def test_queries_lag_behind_reading_by_id(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    one, other = (shop.create()["id"] for _ in range(2))
    for customer_id in (one, other):
        shop.change(customer_id, {"action": "setKey", "key": f"key-{customer_id}"})

    def seen() -> tuple[list[bool], list[bool]]:
        read = [ask(commercetools, f"/demo-shop/customers/{customer_id}").json() for customer_id in (one, other)]
        where = {"where": f'id in ("{one}", "{other}")'}
        queried = {c["id"]: c for c in ask(commercetools, parameters=where).json()["results"]}
        return ["key" in c for c in read], ["key" in queried[customer_id] for customer_id in (one, other)]

    commercetools.lag_query(ids=[one])
    assert seen() == ([True, True], [False, True])
    commercetools.lag_query(versions=5)
    assert seen() == ([True, True], [False, False])
    commercetools.lag_all()
    assert seen() == ([False, False], [False, False])
    commercetools.lag_all(0)
    assert seen() == ([True, True], [True, True])


def test_a_lagging_query_still_finds_who_was_just_deleted(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    customer_id = shop.create()["id"]
    shop.delete(customer_id)
    commercetools.lag_query()

    assert found(commercetools, where=f'id in ("{customer_id}")') == [customer_id]
    assert found(commercetools, sort="lastModifiedAt asc") == [customer_id]
    assert ask(commercetools, f"/demo-shop/customers/{customer_id}").status_code == 404


def test_a_query_may_miss_a_customer_and_bring_a_foreign_one(commercetools: CommercetoolsStandIn, shop: Shop) -> None:
    here, hidden = (shop.create()["id"] for _ in range(2))
    foreign = Shop(seed=8).create()

    commercetools.hide_from_query([hidden])
    commercetools.add_to_query(foreign)
    assert found(commercetools, where=f'id in ("{here}", "{hidden}")') == [here, foreign["id"]]

    commercetools.hide_from_query()
    commercetools.add_to_query(None)
    assert set(found(commercetools)) == {here, hidden}


@pytest.mark.parametrize(
    ("status", "message", "code"), [(503, "Service Unavailable", "OverCapacity"), (599, "Unknown", "General")]
)
def test_a_failed_answer_has_commercetools_shape(
    commercetools: CommercetoolsStandIn, status: int, message: str, code: str
) -> None:
    commercetools.fail_next(faults.answer(status, retry_after=3), on="/demo-shop")

    answer = ask(commercetools)

    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "3")
    assert answer.json() == {
        "statusCode": status,
        "message": message,
        "errors": [{"code": code, "message": message}],
    }


def test_the_project_can_be_read_and_other_paths_not(commercetools: CommercetoolsStandIn) -> None:
    assert ask(commercetools, "/demo-shop").json()["key"] == "demo-shop"
    assert ask(commercetools, "/demo-shop/products/1").status_code == 404


# Subscriptions

DRAFT = {
    "key": "to-segment",
    "destination": {"type": "GoogleCloudPubSub", "projectId": "p", "topic": "t"},
    "changes": [{"resourceTypeId": "customer"}],
}


def subscribe(commercetools: CommercetoolsStandIn, **changes: object) -> requests.Response:
    return ask(commercetools, "/demo-shop/subscriptions", method="POST", body={**DRAFT, **changes})


def update(
    commercetools: CommercetoolsStandIn, version: int, *actions: object, key: str = "to-segment"
) -> requests.Response:
    path, body = f"/demo-shop/subscriptions/key={key}", {"version": version, "actions": actions}
    return ask(commercetools, path, method="POST", body=body)


def test_a_subscription_is_made_read_changed_and_deleted(commercetools: CommercetoolsStandIn) -> None:
    made = subscribe(commercetools)
    path = "/demo-shop/subscriptions/key=to-segment"

    assert (made.status_code, made.json()["status"], made.json()["format"]) == (201, "Healthy", {"type": "Platform"})
    assert ask(commercetools, path).json() == made.json()
    assert ask(commercetools, "/demo-shop/subscriptions").json()["results"] == [made.json()]
    messages = [{"resourceTypeId": "customer", "types": []}]
    changed = update(commercetools, 1, {"action": "setMessages", "messages": messages}).json()
    assert (changed["version"], changed["messages"]) == (2, messages)
    assert update(commercetools, 2, {"action": "setChanges"}).json()["changes"] == []
    assert update(commercetools, 3, {"action": "setKey", "key": "renamed"}).json()["key"] == "renamed"
    assert ask(commercetools, "/demo-shop/subscriptions/key=renamed?version=4", method="DELETE").status_code == 200
    assert ask(commercetools, "/demo-shop/subscriptions/key=renamed").status_code == 404


def test_a_subscription_begins_with_a_test_notification() -> None:
    published: list[bytes] = []
    shop = Shop(publish=lambda data, _: published.append(data))
    with CommercetoolsStandIn(shop, "a-client", "a-secret") as commercetools:
        subscribe(commercetools)
        update(commercetools, 1, {"action": "changeDestination", "destination": {"type": "GoogleCloudPubSub"}})

    assert len(published) == 2
    assert all(b'"typeId":"subscription"' in data and b'"key":"to-segment"' in data for data in published)


def test_a_subscription_whose_test_notification_cannot_be_delivered_is_refused() -> None:
    def unreachable(_data: bytes, _attributes: Mapping[str, str]) -> None:
        raise ConnectionError

    with CommercetoolsStandIn(Shop(publish=unreachable), "a-client", "a-secret") as commercetools:
        answer = subscribe(commercetools)

        assert answer.status_code == 400
        assert "test message could not be delivered" in answer.json()["message"]
        assert commercetools.subscriptions == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"changes": []}, "InvalidInput", id="to nothing"),
        pytest.param({"destination": None}, "InvalidInput", id="to nowhere"),
        pytest.param({"key": "not a key"}, "InvalidField", id="malformed key"),
        pytest.param({}, "DuplicateField", id="key taken"),
    ],
)
def test_an_invalid_subscription_is_refused(
    commercetools: CommercetoolsStandIn, changes: dict[str, Any], code: str
) -> None:
    subscribe(commercetools)

    answer = subscribe(commercetools, **changes)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


def test_an_update_of_another_version_is_a_conflict(commercetools: CommercetoolsStandIn) -> None:
    subscribe(commercetools)

    answer = update(commercetools, 7, {"action": "setKey", "key": "other"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "ConcurrentModification")
    assert answer.json()["errors"][0]["currentVersion"] == 1
    assert update(commercetools, 1, {"action": "setChanges"}).status_code == 400
    assert update(commercetools, 1, {"action": "explode"}).status_code == 400


@pytest.mark.parametrize(
    ("status", "answer"),
    [("Healthy", 200), ("TemporaryError", 503), ("ConfigurationErrorDeliveryStopped", 400)],
)
def test_health_is_told_without_a_token(commercetools: CommercetoolsStandIn, status: str, answer: int) -> None:
    subscription_id = subscribe(commercetools).json()["id"]
    commercetools.subscriptions[subscription_id]["status"] = status

    url = f"{commercetools.url}/demo-shop/subscriptions/{subscription_id}/health"

    assert requests.get(url, timeout=SOON).status_code == answer


# Types


def types_found(commercetools: CommercetoolsStandIn, **parameters: str) -> list[dict[str, Any]]:
    answer = ask(commercetools, "/demo-shop/types", parameters)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_types_are_read_by_page_and_by_cursor(commercetools: CommercetoolsStandIn) -> None:
    every = types_found(commercetools)
    met: list[dict[str, Any]] = []
    while page := types_found(
        commercetools, where=f'id > "{met[-1]["id"] if met else ""}"', sort="id asc", limit="2", withTotal="false"
    ):
        met += page

    assert met == every == list(DEMO_TYPES)
    assert types_found(commercetools, limit="2", offset="1") == every[1:3]
    assert types_found(commercetools, where='key = "address-fields"') == [every[2]]
    assert ask(commercetools, "/demo-shop/types", {"limit": "0"}).json()["total"] == len(every)


def test_types_have_fields_of_every_type_for_customers_addresses_and_groups(
    commercetools: CommercetoolsStandIn,
) -> None:
    every = types_found(commercetools)
    fields = [field["type"] for each in every for field in each["fieldDefinitions"]]
    kinds = {*SIMPLE, "Enum", "LocalizedEnum", "Reference"}

    assert {field["name"] for field in fields} == {*kinds, "Set"}
    assert {field["elementType"]["name"] for field in fields if field["name"] == "Set"} == kinds
    assert {each for one in every for each in one["resourceTypeIds"]} >= {"customer", "address", "customer-group"}


def test_types_need_their_scope(shop: Shop) -> None:
    with CommercetoolsStandIn(shop, "a-client", "a-secret", scopes=["view_customers"]) as commercetools:
        answer = ask(commercetools, "/demo-shop/types")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "insufficient_scope")


def test_a_field_that_a_type_does_not_have_is_refused(commercetools: CommercetoolsStandIn) -> None:
    assert ask(commercetools, "/demo-shop/types", {"where": 'email = "x"'}).status_code == 400


# On its own


@pytest.mark.parametrize(
    "command",
    [
        ["playground.commercetools", "--customers", "1000000", "--project-key", "big-shop"],
        ["playground.segment", "--latency", "0.01", "--write-key", "a-key"],
    ],
    ids=["commercetools", "segment"],
)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_stand_in_runs_on_its_own_and_stops_when_told(command: list[str], ending: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603  # the command is ours
        [sys.executable, "-W", "error", "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert requests.get(f"{url}/v1/batch", timeout=SOON).status_code == 404

        process.send_signal(ending)
        output, errors = process.communicate(timeout=SOON)

    assert (process.returncode, errors) == (0, "")
    assert '"calls": 1' in output
