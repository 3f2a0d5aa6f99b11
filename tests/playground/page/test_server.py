"""The page is for whoever has its address: another page in the same browser reaches nothing of it."""

import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from playground.page.playground import Playground
from playground.page.server import page_of, served
from playground.ports import ReservedPort

TOKEN = "the-token-of-the-address"
PORT = 8090
HERE = f"http://127.0.0.1:{PORT}"
PAGE = f"/{TOKEN}/"
PACE = f"/{TOKEN}/api/pace"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    playground = Playground(Path(tmp_path_factory.mktemp("playground")))  # nothing of it runs
    return page_of(playground, token=TOKEN, port=PORT, stopping=threading.Event()).test_client()


def test_the_address_shows_the_page(client: FlaskClient) -> None:
    with client.get(PAGE, base_url=HERE) as answer:
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}"])
def test_a_change_from_the_page_itself_is_made(client: FlaskClient, host: str) -> None:
    here = f"http://{host}"

    assert client.post(PACE, base_url=here, json={"rate": 0}, headers={"Origin": here}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["rebound.example.com", f"rebound.example.com:{PORT}", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1.nip.io:{PORT}"],
)
@pytest.mark.parametrize("path", [PAGE, PACE, f"/{TOKEN}/live"])
def test_another_host_name_is_refused(client: FlaskClient, host: str, path: str) -> None:
    assert client.get(path, base_url=f"http://{host}").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/index.html", "/static/main.js", "/live", "/api/pace", "/favicon.ico"),
        *("/another-token/", "/another-token/api/pace", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"/{TOKEN.upper()}/"),
        *(f"//{TOKEN}/", f"/x/{TOKEN}/", "/%C3%BC/", "/%00/"),
    ],
)
def test_without_the_token_everything_is_refused(client: FlaskClient, path: str) -> None:
    assert client.get(path, base_url=HERE).status_code == 403
    assert client.post(path, base_url=HERE, json={"rate": 1}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_another_origin_is_refused(client: FlaskClient, headers: Mapping[str, str]) -> None:
    assert client.post(PACE, base_url=HERE, json={"rate": 1}, headers=headers).status_code == 403
    assert client.get(PAGE, base_url=HERE, headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["../server.py", "..%2fserver.py", "%2e%2e/server.py", "%2fetc%2fpasswd"])
def test_a_file_outside_of_the_pages_folder_is_not_served(client: FlaskClient, name: str) -> None:
    assert client.get(f"/{TOKEN}/static/{name}", base_url=HERE, follow_redirects=True).status_code == 404


def test_what_cannot_be_done_is_said_in_a_sentence(client: FlaskClient) -> None:
    answer = client.post(PACE, base_url=HERE, json={"rate": 201})

    assert answer.status_code == 400
    assert answer.get_json() == {"error": "The rate must be from 0 to 200 changes a second."}


def test_a_message_that_is_not_remembered_is_said_to_be_forgotten(client: FlaskClient) -> None:
    answer = client.get(f"/{TOKEN}/api/messages/404", base_url=HERE)

    assert answer.status_code == 400
    assert answer.get_json() == {"error": "This message is not remembered any more."}


HOSTILE = (
    b"",
    b"{",
    b"[]",
    b"1",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b'{"a":' + b"[" * 100_000,
    b'{"a": NaN}',
    b'{"a": 1e999}',
)
POSTS = (
    *("pace", "shop/customers", "shop/customers/nobody/form", "shop/customers/nobody/actions"),
    *("shop/customers/nobody/delete", "shop/orders", "shop/orders/none/states", "shop/orders/none/refunds"),
    *("shop/refunds/none", "trouble/parties/segment", "trouble/pubsub", "trouble/letters/replay"),
    *("trouble/letters/drop", "mapping/check", "mapping/apply"),
)


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_nothing_can_use_is_refused_with_a_sentence(client: FlaskClient, path: str) -> None:
    for data in HOSTILE:
        answer = client.post(f"/{TOKEN}/api/{path}", base_url=HERE, data=data, content_type="application/json")
        assert answer.status_code == 400, data
        assert str(answer.get_json()["error"]).endswith(".")


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_does_not_say_that_it_is_json_is_refused(client: FlaskClient, path: str) -> None:
    answer = client.post(f"/{TOKEN}/api/{path}", base_url=HERE, data=b"{}", content_type="text/plain")

    assert answer.status_code == 400
    assert answer.get_json() == {"error": "The request must be JSON."}


@pytest.mark.parametrize("rate", [None, "1", [], {}, True])
def test_a_rate_that_is_no_number_is_refused(client: FlaskClient, rate: object) -> None:
    answer = client.post(PACE, base_url=HERE, json={"rate": rate})

    assert answer.status_code == 400
    assert answer.get_json() == {"error": "rate must be a number."}


def test_a_number_of_an_event_that_cannot_be_is_answered_with_the_newest(client: FlaskClient) -> None:
    answer = client.get(f"/{TOKEN}/api/segment/events?before={10**30}", base_url=HERE)

    assert answer.status_code == 200


def test_it_listens_on_127_0_0_1_alone_and_each_run_has_an_address_that_cannot_be_guessed(tmp_path: Path) -> None:
    playground = Playground(tmp_path)  # nothing of it runs
    addresses = []
    for _ in range(2):
        with ReservedPort() as reserved, served(playground, reserved.number) as address:
            addresses.append(address)
            answer = requests.get(address, timeout=10)
            assert answer.status_code == 200
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", reserved.number), timeout=10)

    tokens = [re.fullmatch(r"http://127\.0\.0\.1:\d+/([\w-]{22,})/", address) for address in addresses]
    assert all(tokens)
    assert len({token[1] for token in tokens if token}) == 2
