"""Who may push: our subscription alone, in each of the three modes."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import crypt, jwt
from hypothesis import given
from hypothesis import strategies as st

from playground.ports import ReservedPort
from playground.stand_in import HANG, Answer, Call, StandIn
from service.config import PushAuth, Settings
from service.pubsub.auth import (
    Authenticate,
    CannotVerify,
    Certificates,
    Forbidden,
    Unauthenticated,
    authenticate_by,
)
from tests.builders import settings
from tests.strategies import json_values

JWT: Any = jwt  # it comes without types
RSASigner: Any = crypt.RSASigner  # as above
EsSigner: Any = crypt.EsSigner  # as above

AUDIENCE = "https://service.example.com/"
ACCOUNT = "push@example-project.example.com"
KEY_ID = "key-1"
A_CERTIFICATE = {"key": "a certificate"}


@dataclass(frozen=True)
class Key:
    """A throw-away RSA key: what it signs with, and what others verify with."""

    signer: Any  # google.auth comes without types
    public: str


def public_pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def a_key() -> Key:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Key(RSASigner.from_string(pem), public_pem(private.public_key()))


@pytest.fixture(scope="module")
def googles() -> Key:
    return a_key()


@pytest.fixture(scope="module")
def forgers() -> Key:
    return a_key()


class CertificateServer(StandIn):
    """Serves what the test sets, and counts the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.body = b""
        self.headers = {"Cache-Control": "public, max-age=100, must-revalidate"}

    @property
    def requests(self) -> int:
        return self.call_count

    def serves(self, certificates: Mapping[str, str]) -> None:
        self.status, self.body = 200, json.dumps(certificates).encode()

    def respond(self, call: Call) -> Answer:
        del call
        return Answer(self.status, self.body, self.headers)


@contextmanager
def serving(googles: Key) -> Iterator[CertificateServer]:
    with CertificateServer() as server:
        server.serves({KEY_ID: googles.public})
        yield server


@pytest.fixture(scope="module")
def certificate_server(googles: Key) -> Iterator[CertificateServer]:
    with serving(googles) as server:
        yield server


@pytest.fixture
def google(googles: Key) -> Iterator[CertificateServer]:
    with serving(googles) as server:
        yield server


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def claims(*, iat_in: int = 0, exp_in: int = 3600, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    now = int(time.time())
    usual = {
        "aud": AUDIENCE,
        "azp": "113774264463038321964",
        "email": ACCOUNT,
        "email_verified": True,
        "exp": now + exp_in,
        "iat": now + iat_in,
        "iss": "https://accounts.google.com",
        "sub": "113774264463038321964",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def a_token(key: Key, header: dict[str, Any] | None = None, key_id: str | None = KEY_ID, **changes: Any) -> str:  # noqa: ANN401  # as above
    token: bytes = JWT.encode(key.signer, claims(**changes), header=header, key_id=key_id)
    return token.decode()


def segment(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def unsigned(header: object, payload: object, signature: str = "") -> str:
    return f"{segment(header)}.{segment(payload)}.{signature}"


def bearer(token: str) -> str:
    return f"Bearer {token}"


def by_oidc(google: CertificateServer) -> Settings:
    return settings(
        push_auth=PushAuth.OIDC, push_audience=AUDIENCE, push_service_account=ACCOUNT, push_certs_url=google.url
    )


@pytest.fixture
def oidc(google: CertificateServer) -> Authenticate:
    return authenticate_by(by_oidc(google))


# ---- oidc: this service verifies all of it


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as Google writes it"),
        pytest.param({"iss": "accounts.google.com"}, id="the issuer's other spelling"),
        pytest.param({"iat_in": 5}, id="a clock that is 5 s ahead"),
        pytest.param({"a-claim-of-tomorrow": {"a": 1}}, id="an unknown claim"),
    ],
)
def test_a_genuine_token_is_accepted(oidc: Authenticate, googles: Key, changes: dict[str, Any]) -> None:
    token = a_token(googles, **changes)

    oidc(bearer(token))

    with pytest.raises(Unauthenticated):
        oidc(bearer(token + "x"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_case_does_not_matter(oidc: Authenticate, googles: Key, scheme: str) -> None:
    oidc(f"{scheme} {a_token(googles)}")

    with pytest.raises(Unauthenticated):
        oidc(f"{scheme}{a_token(googles)}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"exp_in": -3600}, "not genuine or not valid now", id="expired"),
        pytest.param({"iat_in": 3600}, "not genuine or not valid now", id="from the future"),
        pytest.param({"exp": None}, "not genuine or not valid now", id="without an end"),
        pytest.param({"iat": None}, "not genuine or not valid now", id="without a beginning"),
        pytest.param({"iss": "https://accounts.example.com"}, "was not issued by Google", id="of another issuer"),
        pytest.param({"iss": None}, "was not issued by Google", id="of no issuer"),
        pytest.param({"iss": ["https://accounts.google.com"]}, "was not issued by Google", id="of a list of issuers"),
    ],
)
def test_a_token_that_says_the_wrong_thing_is_not_accepted(
    oidc: Authenticate, googles: Key, changes: dict[str, Any], reason: str
) -> None:
    token = a_token(googles, **changes)

    with pytest.raises(Unauthenticated, match=reason):
        oidc(bearer(token))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"aud": "https://another.example.com/"}, "for another audience", id="another audience"),
        pytest.param({"aud": AUDIENCE.rstrip("/")}, "for another audience", id="almost our audience"),
        pytest.param({"aud": None}, "for another audience", id="no audience"),
        pytest.param({"email": "another@example-project.example.com"}, "another account's", id="another account"),
        pytest.param({"email": None}, "another account's", id="no account"),
        pytest.param({"email_verified": False}, "another account's", id="an unverified account"),
        pytest.param({"email_verified": "true"}, "another account's", id="an account verified in words"),
        pytest.param({"email_verified": None}, "another account's", id="an account nobody verified"),
    ],
)
def test_a_genuine_token_of_somebody_else_is_forbidden(
    oidc: Authenticate, googles: Key, changes: dict[str, Any], reason: str
) -> None:
    token = a_token(googles, **changes)

    with pytest.raises(Forbidden, match=reason):
        oidc(bearer(token))


def key_confused(google: Key, _forger: Key) -> str:
    """Return a token that is signed with a public secret: Google's public key."""
    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': KEY_ID})}.{segment(claims())}"
    mac = hmac.new(google.public.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def with_other_claims(google: Key, _forger: Key) -> str:
    header, _, signature = a_token(google, email="another@example.com").split(".")
    return f"{header}.{segment(claims())}.{signature}"


def with_nested_header(_google: Key, _forger: Key) -> str:
    """Return one that still fits into the 8 KiB that gunicorn reads of a header."""
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    return f"{nested}.{segment(claims())}.c2ln"


def with_nested_claims(_google: Key, _forger: Key) -> str:
    nested = base64.urlsafe_b64encode(b'{"a":' * 1200).decode().rstrip("=")
    return f"{segment({'alg': 'RS256', 'kid': KEY_ID})}.{nested}.c2ln"


FORGED: list[tuple[str, Callable[[Key, Key], str]]] = [
    ("signed by another key", lambda _, forger: a_token(forger)),
    ("signed by another key of another name", lambda _, forger: a_token(forger, key_id="key-of-the-forger")),
    ("without a key id", lambda google, _: a_token(google, key_id=None)),
    ("without algorithm", lambda *_: unsigned({"typ": "JWT", "kid": KEY_ID}, claims(), "c2ln")),
    ("alg none", lambda *_: unsigned({"alg": "none", "kid": KEY_ID}, claims())),
    ("alg None, with a signature", lambda *_: unsigned({"alg": "None", "kid": KEY_ID}, claims(), "c2ln")),
    ("alg HS256 with the public key", key_confused),
    ("alg ES256", lambda google, _: a_token(google, header={"alg": "ES256"})),
    ("alg a list", lambda *_: unsigned({"alg": ["RS256"], "kid": KEY_ID}, claims(), "c2ln")),
    ("kid a list", lambda *_: unsigned({"alg": "RS256", "kid": [KEY_ID]}, claims(), "c2ln")),
    ("kid empty", lambda *_: unsigned({"alg": "RS256", "kid": ""}, claims(), "c2ln")),
    ("other claims under a genuine signature", with_other_claims),
    (
        "its signature removed by the platform",
        lambda google, _: a_token(google).rsplit(".", 1)[0] + ".SIGNATURE_REMOVED",
    ),
    ("its signature cut off", lambda google, _: a_token(google).rsplit(".", 1)[0] + "."),
    ("cut in its signature", lambda google, _: a_token(google)[:-20]),
    ("cut in its claims", lambda google, _: a_token(google)[:150]),
    ("two parts", lambda google, _: a_token(google).rsplit(".", 1)[0]),
    ("four parts", lambda google, _: a_token(google) + ".c2ln"),
    ("one letter", lambda *_: "x"),
    ("dots", lambda *_: ".."),
    ("not base64", lambda *_: "!!!.???.~~~"),
    ("beyond ASCII", lambda *_: "\xe9.\xe9.\xe9"),
    ("not JSON", lambda *_: f"{segment('')[:1]}.e30.c2ln"),
    ("not UTF-8", lambda *_: "_w.e30.c2ln"),
    ("a header that is a list", lambda *_: unsigned(["RS256"], claims(), "c2ln")),
    ("a header that is null", lambda *_: unsigned(None, claims(), "c2ln")),
    ("claims that are a list", lambda *_: unsigned({"alg": "RS256", "kid": KEY_ID}, [], "c2ln")),
    ("a header nested without end", with_nested_header),
    ("claims nested without end", with_nested_claims),
]


@pytest.mark.parametrize("forged", [pytest.param(forged, id=name) for name, forged in FORGED])
def test_a_forged_or_broken_token_is_not_accepted(
    oidc: Authenticate, googles: Key, forgers: Key, forged: Callable[[Key, Key], str]
) -> None:
    token = forged(googles, forgers)

    with pytest.raises(Unauthenticated) as refusal:
        oidc(bearer(token))

    assert token not in str(refusal.value)


def test_a_token_of_another_algorithm_is_not_accepted_even_if_its_key_is_genuine(
    google: CertificateServer, oidc: Authenticate
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    google.serves({KEY_ID: public_pem(private.public_key())})

    with pytest.raises(Unauthenticated, match="not signed as Google signs"):
        oidc(bearer(a_token(Key(EsSigner.from_string(pem), ""))))


NO_TOKEN = [
    pytest.param(None, id="no header"),
    pytest.param("", id="an empty header"),
    pytest.param("Bearer", id="no token"),
    pytest.param("Bearer ", id="an empty token"),
    pytest.param("Basic cHVzaDpwdXNo", id="another scheme"),
    pytest.param("canary", id="a word"),
]


@pytest.mark.parametrize("authorization", NO_TOKEN)
def test_without_a_token_a_push_is_refused_and_google_is_not_asked(
    oidc: Authenticate, google: CertificateServer, authorization: str | None
) -> None:
    with pytest.raises(Unauthenticated, match="the request carries no token"):
        oidc(authorization)

    assert google.requests == 0


@given(
    st.text(st.characters(max_codepoint=255), max_size=80)
    | st.tuples(json_values, json_values).map(lambda two: unsigned(two[0], two[1], "c2ln"))
)
def test_any_garbage_is_refused_without_an_error(certificate_server: CertificateServer, token: str) -> None:
    for mode in (PushAuth.OIDC, PushAuth.IAM):
        check = authenticate_by(settings(push_auth=mode, push_audience=AUDIENCE, push_certs_url=certificate_server.url))

        with pytest.raises((Unauthenticated, Forbidden, CannotVerify)):
            check(bearer(token))


def test_when_googles_certificates_cannot_be_fetched_no_token_is_accepted_or_refused(
    google: CertificateServer, oidc: Authenticate, googles: Key
) -> None:
    google.status = 500

    with pytest.raises(CannotVerify):
        oidc(bearer(a_token(googles)))


@dataclass
class KnownCertificates:
    by_key: dict[str, str]
    asked: int = 0

    def for_key(self, _key_id: str) -> Mapping[str, str]:
        self.asked += 1
        return self.by_key


def oidc_with(certificates: KnownCertificates, now: Callable[[], float] = time.time) -> Authenticate:
    configured = settings(push_auth=PushAuth.OIDC, push_audience=AUDIENCE, push_service_account=ACCOUNT)
    return authenticate_by(configured, certificates, now)


def test_an_accepted_token_stays_accepted_until_it_expires_and_is_then_checked_again(googles: Key) -> None:
    certificates, clock = KnownCertificates({KEY_ID: googles.public}), Clock(time.time())
    check = oidc_with(certificates, clock)
    token = a_token(googles, exp_in=3600)

    for _ in range(5):
        check(bearer(token))
    assert certificates.asked == 1
    with pytest.raises(Unauthenticated):
        check(bearer(token[:-4] + "AAAA"))
    assert certificates.asked == 2

    clock.now += 3601
    certificates.by_key = {KEY_ID: a_key().public}
    with pytest.raises(Unauthenticated):
        check(bearer(token))


def test_a_refused_token_is_checked_each_time(googles: Key) -> None:
    certificates = KnownCertificates({KEY_ID: googles.public})
    check = oidc_with(certificates)

    for _ in range(3):
        with pytest.raises(Forbidden):
            check(bearer(a_token(googles, email="another@example.com")))
    assert certificates.asked == 3


def test_no_more_than_a_hundred_tokens_are_kept(googles: Key) -> None:
    certificates = KnownCertificates({KEY_ID: googles.public})
    check = oidc_with(certificates)
    tokens = [bearer(a_token(googles, sub=str(number))) for number in range(101)]

    for token in [*tokens, tokens[-1], tokens[0]]:
        check(token)

    assert certificates.asked == 102


# ---- iam: the platform has verified the token and removed its signature


@pytest.fixture
def iam() -> Authenticate:
    return authenticate_by(settings(push_auth=PushAuth.IAM, push_audience=AUDIENCE, push_service_account=ACCOUNT))


def without_signature(**changes: Any) -> str:  # noqa: ANN401  # any JSON
    return bearer(unsigned({"alg": "RS256", "kid": KEY_ID}, claims(**changes), "SIGNATURE_REMOVED_BY_GOOGLE"))


def test_behind_the_platform_the_claims_count(iam: Authenticate) -> None:
    iam(without_signature())

    with pytest.raises(Forbidden, match="for another audience"):
        iam(without_signature(aud="https://another.example.com/"))
    with pytest.raises(Forbidden, match="another account's"):
        iam(without_signature(email="another@example.com"))
    with pytest.raises(Forbidden, match="another account's"):
        iam(without_signature(email_verified=False))


@pytest.mark.parametrize("authorization", [*NO_TOKEN, pytest.param("Bearer x.y.z", id="garbage")])
def test_behind_the_platform_a_request_without_a_readable_token_is_refused(
    iam: Authenticate, authorization: str | None
) -> None:
    with pytest.raises(Unauthenticated):
        iam(authorization)


@pytest.mark.parametrize(
    ("configured", "forbidden", "let_in"),
    [
        pytest.param(
            {"push_audience": AUDIENCE}, {"aud": "another"}, {"email": "another@example.com"}, id="the audience alone"
        ),
        pytest.param(
            {"push_service_account": ACCOUNT},
            {"email": "another@example.com"},
            {"aud": "another"},
            id="the account alone",
        ),
    ],
)
def test_behind_the_platform_what_is_configured_is_what_is_checked(
    configured: dict[str, str], forbidden: dict[str, str], let_in: dict[str, str]
) -> None:
    check = authenticate_by(settings(push_auth=PushAuth.IAM, **configured))

    check(without_signature(**let_in))
    with pytest.raises(Forbidden):
        check(without_signature(**forbidden))


@pytest.mark.parametrize("mode", [PushAuth.IAM, PushAuth.NONE], ids=str)
@pytest.mark.parametrize("authorization", [*NO_TOKEN, pytest.param("Bearer x.y.z", id="garbage")])
def test_where_nothing_is_configured_to_be_checked_everybody_may_push(
    mode: PushAuth, authorization: str | None
) -> None:
    assert authenticate_by(settings(push_auth=mode))(authorization) is None


# ---- the certificates


def test_certificates_are_fetched_once_for_as_long_as_they_may_be_kept(google: CertificateServer) -> None:
    clock = Clock()
    certificates = Certificates(google.url, clock)

    for _ in range(50):
        certificates.for_key(KEY_ID)
    clock.now += 99
    certificates.for_key(KEY_ID)
    assert google.requests == 1

    clock.now += 1
    certificates.for_key(KEY_ID)
    assert google.requests == 2


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        pytest.param({"Cache-Control": "public, max-age=21000, must-revalidate, no-transform"}, 21000, id="as Google"),
        pytest.param({"Cache-Control": "max-age=40"}, 40, id="short"),
        pytest.param({"Cache-Control": "max-age=0"}, 30, id="no time: yet not more than once in 30 s"),
        pytest.param({"Cache-Control": "no-store"}, 3600, id="no word of it"),
        pytest.param({}, 3600, id="no header"),
    ],
)
def test_how_long_certificates_are_kept_is_what_google_says(
    google: CertificateServer, cache_control: dict[str, str], seconds: float
) -> None:
    google.headers = cache_control
    clock = Clock()
    certificates = Certificates(google.url, clock)
    certificates.for_key(KEY_ID)

    clock.now += seconds - 1
    certificates.for_key(KEY_ID)
    assert google.requests == 1

    clock.now += 1
    certificates.for_key(KEY_ID)
    assert google.requests == 2


def test_an_unknown_key_has_them_fetched_anew_at_most_once_in_30_seconds(google: CertificateServer) -> None:
    clock = Clock()
    certificates = Certificates(google.url, clock)
    certificates.for_key(KEY_ID)

    for number in range(50):
        assert f"forged-{number}" not in certificates.for_key(f"forged-{number}")
    assert google.requests == 1

    clock.now += 30
    for number in range(50):
        certificates.for_key(f"forged-{number}")
    assert google.requests == 2


def test_a_new_key_is_known_as_soon_as_google_has_it(google: CertificateServer, googles: Key, forgers: Key) -> None:
    clock = Clock()
    certificates = Certificates(google.url, clock)
    certificates.for_key(KEY_ID)
    google.serves({KEY_ID: googles.public, "key-2": forgers.public})

    clock.now += 30

    assert certificates.for_key("key-2") == {KEY_ID: googles.public, "key-2": forgers.public}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, b"", id="500"),
        pytest.param(404, b"{}", id="404"),
        pytest.param(302, b"", id="a redirect"),
        pytest.param(200, b"<html>", id="not JSON"),
        pytest.param(200, b"\xff", id="not UTF-8"),
        pytest.param(200, b"{}", id="none"),
        pytest.param(200, b'["a"]', id="a list"),
        pytest.param(200, b'{"keys": [{"kid": "key-1"}]}', id="keys in another format"),
    ],
)
def test_old_certificates_stay_in_use_while_google_gives_no_new_ones(
    google: CertificateServer, googles: Key, status: int, body: bytes
) -> None:
    clock = Clock()
    certificates = Certificates(google.url, clock)
    certificates.for_key(KEY_ID)
    google.status, google.body = status, body

    clock.now += 5000
    assert certificates.for_key(KEY_ID) == {KEY_ID: googles.public}
    assert certificates.for_key(KEY_ID) == {KEY_ID: googles.public}
    assert google.requests == 2

    google.serves({"key-2": googles.public})
    clock.now += 30
    assert certificates.for_key("key-2") == {"key-2": googles.public}


def test_without_any_certificate_nothing_can_be_verified_until_google_is_back(google: CertificateServer) -> None:
    clock = Clock()
    certificates = Certificates(google.url, clock)
    google.status = 503

    for _ in range(10):
        with pytest.raises(CannotVerify):
            certificates.for_key(KEY_ID)
    assert google.requests == 1

    google.status = 200
    clock.now += 30
    assert KEY_ID in certificates.for_key(KEY_ID)


def test_without_an_answer_nothing_can_be_verified() -> None:
    with ReservedPort() as port, pytest.raises(CannotVerify, match="Google's certificates cannot be fetched"):
        Certificates(f"http://127.0.0.1:{port.number}/certs", Clock()).for_key(KEY_ID)


def test_pushes_that_arrive_during_the_first_fetch_wait_for_it_and_share_it(google: CertificateServer) -> None:
    google.serves(A_CERTIFICATE)
    google.latency = 0.3
    certificates = Certificates(google.url)

    with ThreadPoolExecutor(20) as pool:
        fetched = list(pool.map(certificates.for_key, ["key"] * 20))

    assert fetched == [A_CERTIFICATE] * 20
    assert len(google.calls) == 1


def test_no_caller_with_a_known_key_waits_while_stale_certificates_are_fetched_again(google: CertificateServer) -> None:
    google.serves(A_CERTIFICATE)
    clock = Clock()
    certificates = Certificates(google.url, clock)
    certificates.for_key("key")
    clock.now += 101
    with google.failing(HANG), ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(certificates.for_key, "key")
        google.wait_for_calls(2, timeout=10)

        assert certificates.for_key("key") == A_CERTIFICATE

        assert not renewing.done()
        google.fail(None)
    assert renewing.result() == A_CERTIFICATE
