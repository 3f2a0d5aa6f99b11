"""Every call to an outside party is one call: bounded as a whole, not redirected, not made before its time."""

import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from playground.stand_in import (
    CLOSE_AFTER_READ,
    HANG,
    RESET_AFTER_READ,
    RESET_BEFORE_READ,
    TRUNCATED,
    Answer,
    Call,
    Fault,
    StandIn,
    answer,
    drip,
    json_answer,
    redirect,
)
from playground.world import Service
from service.serving.upstream import NotCalled, Pause, session, timeout
from tests.builders import PROJECT, a_customer, a_message, a_push, an_environment
from tests.callers import run_on_greenlets

SHORT = 0.3


class Echo(StandIn):
    """Answers 200 with what it was asked."""

    def respond(self, call: Call) -> Answer:
        return json_answer(200, {"method": call.method, "body": call.body.decode()})


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as running:
        yield running


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with session() as made:
        yield made


@contextmanager
def served_by(respond: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Take one connection, read a request's head from it, and leave the rest to `respond`."""
    let_go = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                try:
                    respond(connection, let_go)
                except OSError:  # the client has hung up, as it should
                    return

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        let_go.set()
        server.join()


# The session


def test_an_answer_comes_back_whole(echo: Echo, client: requests.Session) -> None:
    body = "ä" * 100_000

    answered = client.post(echo.url, data=body.encode(), timeout=timeout())

    assert answered.json() == {"method": "POST", "body": body}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(echo: Echo, client: requests.Session, status: int) -> None:
    echo.fail_next(redirect(status, "/elsewhere"))

    answered = client.post(echo.url, data=b"once", timeout=timeout())

    assert answered.status_code == status
    assert len(echo.calls) == 1


def test_no_cookie_is_kept(echo: Echo, client: requests.Session) -> None:
    echo.fail_next(answer(200, headers={"Set-Cookie": "seen=1; Path=/"}))

    client.get(echo.url, timeout=timeout())
    client.get(echo.url, timeout=timeout())

    assert "Cookie" not in echo.calls[1].headers
    assert len(client.cookies) == 0


@pytest.mark.parametrize("own", [{"Authorization": "Bearer ours"}, {}], ids=["beside ours", "where we send none"])
def test_no_netrc_entry_becomes_an_authorization(
    echo: Echo, client: requests.Session, own: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    client.get(echo.url, headers=own, timeout=timeout())

    assert echo.calls[0].headers.get("Authorization") == own.get("Authorization")


def test_certificates_that_are_not_there_are_an_error_of_the_call(
    client: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")

    with pytest.raises(requests.exceptions.SSLError):
        client.get("https://127.0.0.1:9", timeout=timeout())


def test_credentials_that_are_given_are_sent(echo: Echo, client: requests.Session) -> None:
    client.get(echo.url, auth=("an-id", "a-secret"), timeout=timeout())

    assert echo.calls[0].headers["Authorization"] == "Basic YW4taWQ6YS1zZWNyZXQ="


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(HANG, id="no byte comes"),
        pytest.param(drip(0.05), id="the head a byte now and then"),
    ],
)
def test_a_call_ends_when_its_time_is_over(echo: Echo, client: requests.Session, fault: Fault) -> None:
    echo.fail(fault)  # the whole answer would drip for more than seven seconds

    with pytest.raises(requests.RequestException, match="timed out"):
        client.get(echo.url, timeout=timeout(SHORT))


def test_a_call_ends_when_its_time_is_over_in_the_body_too(client: requests.Session) -> None:
    def respond(connection: socket.socket, let_go: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not let_go.wait(0.05):
            connection.sendall(b".")

    with served_by(respond) as url, pytest.raises(requests.RequestException, match="timed out"):
        client.get(url, timeout=timeout(SHORT))


def test_each_read_gets_what_the_ones_before_have_left_of_the_time(client: requests.Session) -> None:
    def respond(connection: socket.socket, let_go: threading.Event) -> None:
        let_go.wait(SHORT)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        let_go.wait(SHORT)  # neither wait is too long, both are
        connection.sendall(b"ok")

    with served_by(respond) as url, pytest.raises(requests.RequestException, match="timed out"):
        client.get(url, timeout=timeout(1.5 * SHORT))


def test_a_call_ends_when_its_time_is_over_in_a_chunked_body_too(client: requests.Session) -> None:
    def respond(connection: socket.socket, let_go: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not let_go.wait(0.05):
            connection.sendall(b"1\r\n.\r\n")

    with served_by(respond) as url, pytest.raises(requests.RequestException, match="timed out"):
        client.get(url, timeout=timeout(SHORT))


def test_a_kept_alive_connection_is_bounded_anew_by_each_call(echo: Echo, client: requests.Session) -> None:
    client.get(echo.url, timeout=timeout(20))
    echo.fail_next(drip(0.05))
    with pytest.raises(requests.RequestException, match="timed out"):
        client.get(echo.url, timeout=timeout(SHORT))
    echo.latency = SHORT

    answered = client.get(echo.url, timeout=timeout(20))

    assert answered.status_code == 200


# Connections that are kept alive


def test_a_connection_is_used_again(echo: Echo, client: requests.Session) -> None:
    for _ in range(3):
        client.get(echo.url, timeout=timeout())

    assert echo.connections == 1


@pytest.mark.parametrize("death", [CLOSE_AFTER_READ, RESET_AFTER_READ], ids=["closed", "reset"])
def test_a_kept_alive_connection_found_dead_is_replaced_once_and_at_once(
    echo: Echo, client: requests.Session, death: Fault
) -> None:
    client.get(echo.url, timeout=timeout())
    echo.fail_next(death)

    answered = client.post(echo.url, data=b"twice", timeout=timeout())

    assert answered.json() == {"method": "POST", "body": "twice"}
    assert [call.body for call in echo.calls] == [b"", b"twice", b"twice"]


def test_a_second_death_in_a_row_is_a_failure(echo: Echo, client: requests.Session) -> None:
    client.get(echo.url, timeout=timeout())
    echo.fail_next(CLOSE_AFTER_READ, times=2)

    with pytest.raises(requests.ConnectionError):
        client.get(echo.url, timeout=timeout())

    assert len(echo.calls) == 3


def test_a_connection_that_was_closed_while_idle_costs_no_call(echo: Echo, client: requests.Session) -> None:
    client.get(echo.url, timeout=timeout())
    assert echo.close_idle_connections() == 1

    client.get(echo.url, timeout=timeout())

    assert len(echo.calls) == 2


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        pytest.param(RESET_BEFORE_READ, 0, id="reset before it was read"),
        pytest.param(RESET_AFTER_READ, 1, id="reset after it was read"),
        pytest.param(CLOSE_AFTER_READ, 1, id="closed"),
        pytest.param(TRUNCATED, 1, id="truncated"),
    ],
)
def test_on_a_new_connection_nothing_is_tried_again(
    echo: Echo, client: requests.Session, fault: Fault, calls: int
) -> None:
    echo.fail_next(fault)

    with pytest.raises(requests.RequestException):
        client.get(echo.url, timeout=timeout())

    assert len(echo.calls) == calls


@pytest.mark.parametrize("fault", [HANG, TRUNCATED, drip(0.05)], ids=["hang", "truncated", "a byte now and then"])
def test_a_kept_alive_connection_that_is_not_dead_but_in_trouble_is_a_failure(
    echo: Echo, client: requests.Session, fault: Fault
) -> None:
    client.get(echo.url, timeout=timeout())
    echo.fail_next(fault)

    with pytest.raises(requests.RequestException):
        client.get(echo.url, timeout=timeout(SHORT))

    assert echo.wait_for_calls(2, timeout=20)
    assert len(echo.calls) == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_answer_is_an_answer_whatever_its_status(echo: Echo, client: requests.Session, status: int) -> None:
    echo.fail_next(answer(status, retry_after=1))

    assert client.get(echo.url, timeout=timeout()).status_code == status

    assert len(echo.calls) == 1


def test_nobody_at_the_address_is_told_at_once(echo: Echo, client: requests.Session) -> None:
    echo.stop()

    with pytest.raises(requests.ConnectionError):
        client.get(echo.url, timeout=timeout())


# Proxies


@pytest.fixture
def proxy(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Echo:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", echo.url)
    return echo


def test_a_proxy_of_the_environment_is_used(proxy: Echo, client: requests.Session) -> None:
    client.get("http://segment.example.com/v1/batch", timeout=timeout())

    [call] = proxy.calls
    assert (call.headers["Host"], call.path) == ("segment.example.com", "/v1/batch")


@pytest.mark.parametrize("fault", [HANG, drip(0.05)], ids=["hang", "a byte now and then"])
def test_a_call_through_a_proxy_is_bounded_too(proxy: Echo, client: requests.Session, fault: Fault) -> None:
    proxy.fail(fault)

    with pytest.raises(requests.RequestException, match="timed out"):
        client.get("http://segment.example.com/v1/batch", timeout=timeout(SHORT))


def test_a_kept_alive_connection_to_a_proxy_found_dead_is_replaced(proxy: Echo, client: requests.Session) -> None:
    client.get("http://segment.example.com/v1/batch", timeout=timeout())
    proxy.fail_next(CLOSE_AFTER_READ)

    assert client.get("http://segment.example.com/v1/batch", timeout=timeout()).status_code == 200


# The same over TLS


class SecureServer(ThreadingHTTPServer):
    """Answers "secure"; on /drip a byte now and then, on /hang nothing, on /dead it closes the first time."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Secure)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        self.paths: list[str] = []
        self.let_go = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up, as they are to."""


class _Secure(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SecureServer

    def do_POST(self) -> None:
        """Answer as Segment does, and as commercetools does to a request for a token."""
        self.server.paths.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b'{"success": true, "access_token": "a-token", "expires_in": 172800}')

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        match self.path, self.server.paths.count(self.path):
            case "/drip", _:
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"." * 1000:
                    self.wfile.write(bytes([byte]))
                    if self.server.let_go.wait(0.05):
                        break
                self.close_connection = True
            case "/hang", _:
                self.server.let_go.wait()
                self.close_connection = True
            case "/dead", 1:
                self.close_connection = True
            case path, _ if path.startswith(f"/{PROJECT}/customers?"):
                self._answer(json.dumps({"results": [a_customer()]}).encode())
            case _:
                self._answer(b"secure")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # the library's own name
        """Say nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key of our own for 127.0.0.1 and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[SecureServer]:
    with SecureServer(certificate) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.let_go.set()
        server.shutdown()
        serving.join()


@pytest.fixture
def trusting(client: requests.Session, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> requests.Session:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return client


def test_an_answer_comes_back_over_tls(secure: SecureServer, trusting: requests.Session) -> None:
    assert trusting.get(secure.url, timeout=timeout()).text == "secure"


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(secure: SecureServer, client: requests.Session) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        client.get(secure.url, timeout=timeout())

    assert secure.paths == []


def test_the_service_as_it_is_started_reads_and_sends_over_tls_and_prints_no_warning(
    secure: SecureServer, certificate: Path, tmp_path: Path
) -> None:
    """Before gevent replaces the sockets, all settings are read, and a mapping file is compiled."""
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('version = 1\n[identify.traits]\ngreeting = { expr = "join(lastName, [title])" }\n')
    environment = an_environment(
        SEGMENT_HOST=secure.url,
        REQUESTS_CA_BUNDLE=str(certificate),
        MAPPING_FILE=str(mapping),
        ORDERS="on",
        CTP_PROJECT_KEY=PROJECT,
        CTP_CLIENT_ID="client",
        CTP_CLIENT_SECRET="secret",
        CTP_AUTH_URL=secure.url,
        CTP_API_URL=secure.url,
        CTP_SCOPES=f"view_customers:{PROJECT}",
    )

    with Service(environment) as service:
        push = a_push(a_message())
        status = requests.post(service.url, push, headers={"Connection": "close"}, timeout=30).status_code

    assert status == HTTPStatus.OK
    assert [urlsplit(path).path for path in secure.paths] == ["/oauth/token", f"/{PROJECT}/customers", "/v1/batch"]
    assert [line for line in service.lines if line["severity"] != "INFO"] == []


@pytest.mark.parametrize("path", ["/hang", "/drip"])
@pytest.mark.parametrize("used_before", [False, True], ids=["new", "kept alive"])
def test_a_call_over_tls_ends_when_its_time_is_over(
    secure: SecureServer,
    trusting: requests.Session,
    path: str,
    used_before: bool,  # noqa: FBT001  # a row
) -> None:
    if used_before:
        trusting.get(secure.url, timeout=timeout())

    with pytest.raises(requests.RequestException, match="timed out"):
        trusting.get(secure.url + path, timeout=timeout(SHORT))


def test_a_kept_alive_connection_over_tls_found_dead_is_replaced(
    secure: SecureServer, trusting: requests.Session
) -> None:
    trusting.get(secure.url, timeout=timeout())

    assert trusting.get(f"{secure.url}/dead", timeout=timeout()).text == "secure"

    assert secure.paths == ["/", "/dead", "/dead"]


@pytest.fixture
def tunnel(secure: SecureServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have an HTTP proxy between us and the secure server."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # a client closes its connection when its time is over
            while chunk := source.recv(65_536):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)

    def respond(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", secure.server_port)) as onward:
            there = threading.Thread(target=pass_on, args=(connection, onward))
            there.start()
            pass_on(onward, connection)
            there.join()

    with served_by(respond) as url:
        monkeypatch.setenv("https_proxy", url)
        yield


@pytest.mark.usefixtures("tunnel")
def test_an_answer_comes_back_over_tls_through_a_proxy(secure: SecureServer, trusting: requests.Session) -> None:
    with trusting:
        assert trusting.get(secure.url, timeout=timeout()).text == "secure"
        assert trusting.get(f"{secure.url}/again", timeout=timeout()).text == "secure"


@pytest.mark.usefixtures("tunnel")
def test_a_call_over_tls_through_a_proxy_ends_when_its_time_is_over(
    secure: SecureServer, trusting: requests.Session
) -> None:
    with trusting, pytest.raises(requests.RequestException, match="timed out"):
        trusting.get(f"{secure.url}/drip", timeout=timeout(SHORT))
    secure.let_go.set()


def test_a_handshake_that_never_ends_is_ended(client: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(requests.RequestException, match="timed out"):
        client.get(f"https://127.0.0.1:{silent.getsockname()[1]}", timeout=timeout(SHORT))


# The pause that a party asks for


def an_answer(status: int, **headers: str) -> requests.Response:
    answered = requests.Response()
    answered.status_code = status
    answered.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return answered


def a_date(seconds: float) -> str:
    """Return the date in so many seconds, as HTTP and RFC 5322 write it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lasts(pause: Pause, clock: Clock, *, still_after: float, over_after: float) -> None:
    """See that the pause still lasts after so many seconds, and is over after so many."""
    clock.now += still_after
    with pytest.raises(NotCalled):
        pause.check()
    clock.now += over_after - still_after
    pause.check()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "still_after", "over_after"),
    [
        pytest.param(lambda: {"Retry_After": "30"}, 29.9, 30, id="seconds"),
        pytest.param(lambda: {"Retry_After": a_date(200)}, 150, 200, id="a date"),
        pytest.param(lambda: {"X_RateLimit_Reset": "30"}, 29.9, 30, id="seconds to the reset"),
        pytest.param(lambda: {"X_RateLimit_Reset": a_date(200)}, 150, 200, id="a date of the reset"),
        pytest.param(
            lambda: {"X_RateLimit_Reset": format_datetime(datetime.now(UTC) + timedelta(seconds=200))},
            150,
            200,
            id="a date with an offset",
        ),
        pytest.param(
            lambda: {"X_RateLimit_Reset": a_date(200).removesuffix(" GMT")}, 150, 200, id="a date without a zone"
        ),
        pytest.param(lambda: {"Retry_After": "30", "X_RateLimit_Reset": "100"}, 29.9, 30, id="Retry-After first"),
        pytest.param(lambda: {"Retry_After": "3600"}, 299.9, 300, id="an hour, five minutes of it"),
        pytest.param(lambda: {"Retry_After": "9" * 400}, 299.9, 300, id="more than a float holds"),
        pytest.param(lambda: {"Retry_After": a_date(86_400)}, 299.9, 300, id="a day, five minutes of it"),
        pytest.param(lambda: {"Retry_After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 299.9, 300, id="the end of time"),
    ],
)
def test_a_busy_party_is_left_alone_as_long_as_it_asks(
    status: int, headers: Callable[[], dict[str, str]], still_after: float, over_after: float
) -> None:
    clock = Clock()
    pause = Pause("Segment", clock)

    pause.heed(an_answer(status, **headers()))

    lasts(pause, clock, still_after=still_after, over_after=over_after)


@pytest.mark.parametrize(
    "retry_after",
    [
        pytest.param("", id="nothing"),
        pytest.param("0", id="no time"),
        pytest.param("soon", id="a word"),
        pytest.param("-30", id="less than nothing"),
        pytest.param("30.5", id="a fraction"),
        pytest.param("٣٠", id="digits beyond ASCII"),
        pytest.param("inf", id="infinity"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", id="a date gone by"),
        pytest.param("Mon, 99 Foo 2099 08:49:37 GMT", id="no date of any calendar"),
        pytest.param("\x00\xff", id="no text"),
        pytest.param("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", id="a year of twenty digits"),
    ],
)
@pytest.mark.parametrize("header", ["Retry_After", "X_RateLimit_Reset"])
def test_what_names_no_time_to_come_begins_no_pause(header: str, retry_after: str) -> None:
    pause = Pause("Segment", Clock())

    pause.heed(an_answer(429, **{header: retry_after}))

    pause.check()


@pytest.mark.parametrize("status", [200, 301, 400, 401, 413, 500, 502, 504])
def test_only_a_429_or_a_503_begins_a_pause(status: int) -> None:
    pause = Pause("Segment", Clock())

    pause.heed(an_answer(status, Retry_After="30", X_RateLimit_Reset="30"))

    pause.check()


def test_a_later_answer_makes_a_pause_no_shorter() -> None:
    clock = Clock()
    pause = Pause("Segment", clock)
    pause.heed(an_answer(429, Retry_After="30"))

    pause.heed(an_answer(429, Retry_After="5"))
    pause.heed(an_answer(429))
    pause.heed(an_answer(200))

    lasts(pause, clock, still_after=29.9, over_after=30)


def test_a_later_answer_may_make_a_pause_longer() -> None:
    clock = Clock()
    pause = Pause("Segment", clock)
    pause.heed(an_answer(429, Retry_After="5"))

    pause.heed(an_answer(503, Retry_After="30"))

    lasts(pause, clock, still_after=29.9, over_after=30)


def test_it_is_said_who_asked_and_how_long_it_lasts() -> None:
    clock = Clock()
    pause = Pause("Segment", clock)
    pause.heed(an_answer(429, Retry_After="30"))
    clock.now += 10

    with pytest.raises(NotCalled, match=r"^Segment asked for a pause of another 20 s$"):
        pause.check()


def test_before_the_first_answer_there_is_no_pause() -> None:
    Pause("Segment").check()


def test_greenlets_keep_the_same_promises() -> None:
    run_on_greenlets("tests/test_upstream.py")
