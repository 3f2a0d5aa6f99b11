"""One push on the wire: its body, its headers, its token, and the HTTP request that brings it to the endpoint."""

import asyncio
import base64
import json
import re
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import SplitResult

import google.auth.jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth.crypt import RSASigner
from google.pubsub_v1 import types

ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
"""The statuses that acknowledge; any other, a late answer or none is a nack
(https://cloud.google.com/pubsub/docs/push#receive_push)."""

_TOKEN_SECONDS = 3600  # exp - iat, as Google's
_REUSE_SECONDS = (
    1.0  # an idle connection is closed before gunicorn closes it (keepalive, 2 s): no push meets a dead one
)
_LONGEST_ANSWER = 1_000_000  # bytes; a longer answer costs the connection, not the time to read it


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its topic took it; `publish_time` is aware."""

    message_id: str
    publish_time: datetime
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str

    def as_pulled(self) -> types.PubsubMessage:
        return types.PubsubMessage(
            data=self.data,
            attributes=dict(self.attributes),
            message_id=self.message_id,
            publish_time=self.publish_time,
            ordering_key=self.ordering_key,
        )


def rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope(message: Message, subscription: str, delivery_attempt: int | None) -> bytes:
    """Return the body of a wrapped push, with both spellings of each name, and without what is not set.

    https://cloud.google.com/pubsub/docs/push#receive_push
    """
    time_text = rfc3339(message.publish_time)
    inner: dict[str, object] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": time_text,
        "publish_time": time_text,
    }
    if message.data:
        inner["data"] = base64.b64encode(message.data).decode()
    if message.attributes:
        inner["attributes"] = dict(message.attributes)
    if message.ordering_key:
        inner["orderingKey"] = message.ordering_key
    outer: dict[str, object] = {"message": inner, "subscription": subscription}
    if delivery_attempt is not None:
        outer["deliveryAttempt"] = delivery_attempt
    return json.dumps(outer, ensure_ascii=False).encode()


def metadata_headers(message: Message, subscription: str) -> dict[str, str]:
    """Return what NoWrapper's write_metadata adds; https://cloud.google.com/pubsub/docs/payload-unwrapping.

    An attribute that cannot be a header, or would break the request, is left out.
    """
    headers = {name: value for name, value in message.attributes.items() if _HEADER.fullmatch(f"{name}:{value}")}
    headers["x-goog-pubsub-subscription-name"] = subscription
    headers["x-goog-pubsub-message-id"] = message.message_id
    headers["x-goog-pubsub-publish-time"] = rfc3339(message.publish_time)
    if message.ordering_key:
        headers["x-goog-pubsub-ordering-key"] = message.ordering_key
    return headers


_HEADER = re.compile(
    r"(?!(?:host|content-length|transfer-encoding|connection|authorization|user-agent):)"
    r"[\w!#$%&'*+.^`|~-]+:[^\x00-\x1f\x7f]*",
    re.ASCII | re.IGNORECASE,
)


class Signer:
    """Google's part in OIDC: a key pair for as long as the emulator lives, and the tokens signed with it."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}
        self._key_id = secrets.token_hex(20)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def certificates(self) -> dict[str, str]:
        """Return what https://www.googleapis.com/oauth2/v1/certs has: PEM by key id."""
        public_key = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {self._key_id: public_key.decode()}

    def token(self, email: str, audience: str) -> str:
        """Return a signed token, the same one for half its life.

        https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
        """
        signed_at, token = self._tokens.get((email, audience), (0.0, ""))
        now = time.time()
        if now - signed_at > _TOKEN_SECONDS / 2:
            account_id = str(10**20 + zlib.crc32(email.encode()))
            claims = {
                "aud": audience,
                "azp": account_id,
                "email": email,
                "email_verified": True,
                "exp": int(now) + _TOKEN_SECONDS,
                "iat": int(now),
                "iss": "https://accounts.google.com",
                "sub": account_id,
            }
            signer = RSASigner(self._key, self._key_id)  # type: ignore[no-untyped-call]  # google-auth's own lack
            token = google.auth.jwt.encode(signer, claims).decode()  # type: ignore[no-untyped-call]  # as above
            self._tokens[email, audience] = (now, token)
        return token


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    def reusable(self, now: float) -> bool:
        return now - self.idle_since < _REUSE_SECONDS and not (self.reader.at_eof() or self.writer.is_closing())


class Connections:
    """HTTP/1.1 connections to the endpoints, kept alive for a moment. To be used in the event loop's thread."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], list[_Connection]] = {}
        self._sweeping = False

    async def post(self, url: SplitResult, headers: Mapping[str, str], body: bytes, seconds: float) -> int | None:
        """Return the status of the answer; None where it was refused, reset, no HTTP, or not whole in `seconds`."""
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        lines = [f"POST {target} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(url, "\r\n".join([*lines, "\r\n"]).encode() + body)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return None

    async def _exchange(self, url: SplitResult, request: bytes) -> int:
        connection = self._take(url) or await _connect(url)
        keep = False
        try:
            connection.writer.write(request)
            status, keep = await _read_answer(connection.reader)
            return status
        finally:
            if keep:
                self._put_back(url, connection)
            else:
                connection.writer.transport.abort()

    def _take(self, url: SplitResult) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        idle = self._idle.get((url.scheme, url.netloc), [])
        while idle:
            connection = idle.pop()
            if connection.reusable(now):
                return connection
            connection.writer.close()
        return None

    def _put_back(self, url: SplitResult, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault((url.scheme, url.netloc), [])
        idle.append(_Connection(connection.reader, connection.writer, loop.time()))
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_REUSE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close connections that were idle too long, and schedule the next check if any are left."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, idle in list(self._idle.items()):
            for connection in idle:
                if not connection.reusable(now):
                    connection.writer.close()
            self._idle[origin] = [connection for connection in idle if connection.reusable(now)]
        self._sweeping = any(self._idle.values())
        if self._sweeping:
            loop.call_later(_REUSE_SECONDS, self._sweep)

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.writer.transport.abort()
        self._idle.clear()
        self._sweeping = False


async def _connect(url: SplitResult) -> _Connection:
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    return _Connection(*await asyncio.open_connection(url.hostname, port, ssl=secure or None))


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return the status and whether the connection can carry another request.

    100 is followed by the answer proper; every other status, 102 too, is the answer.
    """
    status = 100
    while status == 100:  # noqa: PLR2004  # HTTP's own number
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(None, 2)[1])
    if status < 200:  # noqa: PLR2004  # as above: the server may yet send the answer proper
        return status, False
    length = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", head)
    size = 0 if status in {204, 304} else int(length[1]) if length else None
    if size is None or size > _LONGEST_ANSWER:
        return status, False
    await reader.readexactly(size)
    return status, head.startswith(b"http/1.1") and b"\r\nconnection: close" not in head
