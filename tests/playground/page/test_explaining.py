"""What the page says of a document that was given to it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from playground.commercetools import CommercetoolsStandIn
from playground.page.explaining import explanation_of, routes_of
from playground.shop import Shop
from tests.playground.page.environment import API_CLIENT, SETTINGS

SAMPLES = Path(__file__).parents[2] / "samples"


def explained(path: str, **settings: str) -> Mapping[str, Any]:
    body = (SAMPLES / path).read_bytes()
    return explanation_of(body, {**SETTINGS, **API_CLIENT, **settings}, read=False)


@pytest.fixture
def api() -> FlaskClient:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.register_blueprint(routes_of(lambda: SETTINGS))
    return app.test_client()


def test_every_sample_is_explained() -> None:
    paths = sorted(SAMPLES.rglob("*.json"))

    outcomes = {path.name: explained(str(path))["outcome"] for path in paths}

    assert set(outcomes.values()) <= {"delivered", "ignored", "refused", "failed", "unknown"}
    assert len(outcomes) > 30


def test_a_customer_is_explained_with_each_trait_and_where_it_came_from() -> None:
    found = explained("customers/customer-apiref-2026.json")

    assert found["outcome"] == "delivered"
    assert ("given", "a customer") in found["what"]
    traits = {one["name"]: one for one in found["traits"]}
    assert traits["email"]["why"] == "email"
    assert traits["email"]["sent"]
    assert found["events"][0]["traits"]["email"] == traits["email"]["value"]
    assert 0 < found["size"] < found["largest"]


def test_an_order_is_explained_with_who_bought_and_its_amounts() -> None:
    found = explained("tcpl-order-with-discount-code.json")

    assert [one["name"] for one in found["who"]][:2] == ["userId", "anonymousId"]
    sums = {one["name"]: one for one in found["sums"]}
    assert {"discount", "shipping", "subtotal", "total"} <= sums.keys()
    assert sums["total"]["amount"].endswith(found["events"][0]["properties"]["currency"])


def test_without_orders_the_explanation_says_what_would_be_sent_with_them() -> None:
    found = explained("tcpl-order-with-discount-code.json", ORDERS="off")

    assert found["outcome"] == "ignored"
    assert found["otherwise"]["needs"] == ["ORDERS=on"]
    assert found["otherwise"]["events"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("notifications/kmb-pubsub-message-customer-created.json", "notification"),
        ("notifications/cloudevents-message-order-payment-state-changed.json", "CloudEvents"),
        ("built-payment-with-partial-refund.json", "a payment"),
        ("customers/customers-page.json", "an answer of commercetools' API"),
        ("customers/customer-sign-in-result.json", "an answer of commercetools' API"),
    ],
)
def test_the_kind_of_a_document_is_told(path: str, words: str) -> None:
    assert words in " ".join(f"{name} {value}" for name, value in explained(path)["what"])


def test_a_push_body_of_a_running_playground_is_explained_as_the_service_reads_it_now() -> None:
    published: list[bytes] = []
    shop = Shop(publish=lambda data, _attributes: published.append(data))
    with CommercetoolsStandIn(shop) as commercetools:
        customer = shop.create(firstName="Mira")
        shop.change(customer["id"], {"action": "setFirstName", "firstName": "Mirabel"})
        settings = {**SETTINGS, **commercetools.settings}

        as_given = explanation_of(published[0], settings, read=False)
        as_read = explanation_of(published[0], settings, read=True)

    assert as_given["events"][0]["traits"]["firstName"] == "Mira"
    assert as_read["events"][0]["traits"]["firstName"] == "Mirabel"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The file is empty."),
        (b" \n", "The file is empty."),
        (b"not JSON", "It is no JSON from line 1, column 1 on. As a message, the service would refuse it."),
        (b"\xff\xfe\x00garbage", "It is no JSON from line 1, column 1 on. As a message, the service would refuse it."),
        (b"[" * 100_000, "It is no JSON. As a message, the service would refuse it."),
    ],
    ids=["nothing", "blank", "text", "bytes", "deep"],
)
def test_garbage_is_refused_with_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        explanation_of(body, SETTINGS, read=False)


@pytest.mark.parametrize("body", [b"null", b"[]", b"17", b'{"hello": "world"}'])
def test_json_that_is_nothing_of_commercetools_is_explained_as_refused(body: bytes) -> None:
    assert explanation_of(body, SETTINGS, read=False)["outcome"] == "refused"


def test_to_read_without_an_api_client_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="CTP_PROJECT_KEY"):
        explanation_of(b"{}", SETTINGS, read=True)


def test_the_page_gets_the_explanation(api: FlaskClient) -> None:
    answer = api.post("/explain", data=json.dumps({"id": "c", "version": 1, "email": "mira@example.com"}))

    assert answer.get_json()["outcome"] == "delivered"


def test_a_body_that_is_too_large_is_refused_with_a_sentence() -> None:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.register_blueprint(routes_of(lambda: SETTINGS))
    app.register_error_handler(ValueError, lambda error: ({"error": str(error)}, 400))

    answer = app.test_client().post("/explain", data=b" " * 1001)

    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith("The file is larger than 14 MiB")


def test_nothing_of_a_document_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    explained("customers/customer-apiref-2026.json")
    explanation_of(b'{"hello": "canary"}', SETTINGS, read=False)

    assert "canary" not in caplog.text
    assert "@" not in caplog.text
