"""The stand-in for commercetools serves orders, payments and discount codes by the rules of customers."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
import requests

from playground.baskets import Basket, Item
from playground.commercetools import CommercetoolsStandIn
from playground.shop import Shop

SOON = 10  # seconds: far more than anything here takes
MUG = Basket("EUR", (Item(1, Decimal("10.00")),), None)
EXPAND = {"expand": "discountCodes[*].discountCode"}


@pytest.fixture
def shop() -> Shop:
    return Shop(seed=7)


@pytest.fixture
def commercetools(shop: Shop) -> Iterator[CommercetoolsStandIn]:
    with CommercetoolsStandIn(shop, orders=True) as running:
        yield running


Parameters = Mapping[str, str | list[str]]


def ask(
    commercetools: CommercetoolsStandIn, path: str, parameters: Parameters | None = None, scope: str = ""
) -> requests.Response:
    grant = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
    auth = (commercetools.client_id, commercetools.client_secret)
    token = requests.post(f"{commercetools.url}/oauth/token", params=grant, auth=auth, timeout=SOON).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return requests.get(f"{commercetools.url}/demo-shop/{path}", params=parameters, headers=headers, timeout=SOON)


def found(commercetools: CommercetoolsStandIn, path: str, **parameters: str | list[str]) -> list[str]:
    answer = ask(commercetools, path, parameters)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["results"]]


def ids_of(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [one["id"] for one in documents]


def test_orders_payments_and_codes_are_read_by_id(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    for path, document in (
        ("orders", shop.sales.place()),
        ("payments", shop.sales.pay(Decimal(1), "EUR")),
        ("discount-codes", shop.sales.code("SUMMER")),
    ):
        assert ask(commercetools, f"{path}/{document['id']}").json() == document
        missing = ask(commercetools, f"{path}/nobody")
        assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "ResourceNotFound")


def test_orders_are_asked_for_by_id_by_cursor_and_by_time(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    orders = [shop.sales.place() for _ in range(4)]
    ids = sorted(ids_of(orders))
    second = orders[1]["createdAt"]

    assert found(commercetools, "orders", where=f'id in ("{ids[2]}", "{ids[0]}", "nobody")') == [ids[0], ids[2]]
    assert found(commercetools, "orders", where=f'id > "{ids[1]}"', sort="id asc", limit="1") == [ids[2]]
    assert found(commercetools, "orders", where=f'createdAt > "{second}"', sort="createdAt asc") == ids_of(orders[2:])
    assert set(found(commercetools, "orders", where=f'lastModifiedAt <= "{second}"')) == {*ids_of(orders[:2])}
    assert found(commercetools, "orders", sort="createdAt desc", offset="3") == ids_of(orders[:1])
    assert ask(commercetools, "orders").json()["total"] == 4
    assert "total" not in ask(commercetools, "orders", {"withTotal": "false"}).json()


def test_the_oldest_order_of_a_payment_is_found_first(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    payment, other = ({"typeId": "payment", "id": shop.sales.pay(Decimal(9), "EUR")["id"]} for _ in range(2))
    first = shop.sales.place(paymentInfo={"payments": [other, payment]})
    second = shop.sales.place(paymentInfo={"payments": [payment]})
    shop.sales.place(paymentInfo={"payments": [other]})
    shop.sales.place()

    where = f'paymentInfo(payments(id="{payment["id"]}"))'
    in_order = found(commercetools, "orders", where=where, sort=["createdAt asc", "id asc"], limit="2")

    assert in_order == ids_of([first, second])


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("orders", {"where": 'email = "a"'}),
        ("orders", {"where": 'paymentInfo(id="a")'}),
        ("orders", {"sort": "email asc"}),
        ("payments", {"where": 'orderState = "Open"'}),
        ("discount-codes", {"where": "code = 7"}),
    ],
    ids=str,
)
def test_a_field_that_the_resource_does_not_have_is_refused(
    commercetools: CommercetoolsStandIn, path: str, parameters: dict[str, str]
) -> None:
    assert ask(commercetools, path, parameters).status_code == 400


def test_queries_and_reads_lag_and_hide_as_for_customers(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    order, payment = shop.sales.place(), shop.sales.pay(Decimal(9), "EUR")
    shop.sales.change(order["id"], {"action": "changeOrderState", "orderState": "Complete"})
    shop.sales.refund(payment["id"], Decimal(1))

    def shown(path: str, one: Mapping[str, Any]) -> tuple[int, int]:
        (queried,) = ask(commercetools, path, {"where": f'id = "{one["id"]}"'}).json()["results"]
        return queried["version"], ask(commercetools, f"{path}/{one['id']}").json()["version"]

    for path, one in (("orders", order), ("payments", payment)):
        now = shown(path, one)[1]
        commercetools.lag_query(ids=[one["id"]])
        assert shown(path, one) == (1, now)
        commercetools.lag_all()
        assert shown(path, one) == (1, 1)
        commercetools.lag_all(0)
        commercetools.hide_from_query([one["id"]])
        assert found(commercetools, path) == []
        commercetools.hide_from_query()
        assert shown(path, one) == (now, now)


def test_a_discount_code_is_expanded_as_long_as_it_exists(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    code = shop.sales.code("SUMMER")
    reference = {"typeId": "discount-code", "id": code["id"]}
    order = shop.sales.place(MUG, discountCodes=[{"discountCode": reference, "state": "MatchesCart"}])

    def expanded() -> list[Any]:
        by_id = ask(commercetools, f"orders/{order['id']}", EXPAND).json()
        (queried,) = ask(commercetools, "orders", EXPAND).json()["results"]
        return [one["discountCodes"][0]["discountCode"].get("obj") for one in (by_id, queried)]

    assert expanded() == [code, code]
    shop.sales.delete_code(code["id"])
    assert expanded() == [None, None]
    assert ask(commercetools, f"orders/{order['id']}").json() == order


def test_without_its_scope_a_discount_code_stays_a_reference(shop: Shop, commercetools: CommercetoolsStandIn) -> None:
    reference = {"typeId": "discount-code", "id": shop.sales.code("SUMMER")["id"]}
    order = shop.sales.place(MUG, discountCodes=[{"discountCode": reference, "state": "MatchesCart"}])

    answer = ask(commercetools, f"orders/{order['id']}", EXPAND, scope="view_orders:demo-shop")

    assert (answer.status_code, answer.json()) == (200, order)


@pytest.mark.parametrize(
    ("path", "scope"),
    [("orders", "view_orders"), ("payments", "view_payments"), ("discount-codes", "view_discount_codes")],
)
def test_each_has_a_scope_of_its_own(commercetools: CommercetoolsStandIn, path: str, scope: str) -> None:
    assert ask(commercetools, path, scope=f"{scope}:demo-shop").status_code == 200
    for one in (path, f"{path}/nobody"):
        refused = ask(commercetools, one, scope="view_customers:demo-shop")
        assert refused.status_code == 403
        assert refused.json()["message"].endswith(f"{scope}.")


def test_the_settings_ask_for_the_scopes_of_orders_only_where_there_are_orders() -> None:
    of_orders = "view_orders:demo-shop view_payments:demo-shop view_discount_codes:demo-shop"

    for orders, scopes in ((False, "view_customers:demo-shop"), (True, f"view_customers:demo-shop {of_orders}")):
        with CommercetoolsStandIn(orders=orders) as commercetools:
            assert commercetools.settings["CTP_SCOPES"] == scopes
