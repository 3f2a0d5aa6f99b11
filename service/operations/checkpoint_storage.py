"""backfill: objects in Cloud Storage, each with one writer at a time.

An object is written only if its generation is still the one that this process has read or written. So of two runs that
write one object, the one that wrote last goes on, and the other stops at its next write.

https://cloud.google.com/storage/docs/request-preconditions
"""

import json
import os
import re
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote

import requests

from service.config import ConfigError
from service.operations import Trouble
from service.operations.backfill_calls import Calls, NotYet, Pace
from service.operations.google_api import GoogleApi, NotReached, what_to_do_about

_ADDRESS = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GAP = 1.0  # https://cloud.google.com/storage/quotas: one write a second to the same object
# https://cloud.google.com/storage/docs/retry-strategy#tools
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_PLACE = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/([A-Za-z0-9][A-Za-z0-9._/-]{0,200})")
_ROLE = "The account needs roles/storage.objectUser on the bucket."
_TODO: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "There is no such bucket.",
    HTTPStatus.UNAUTHORIZED: _ROLE,
    HTTPStatus.FORBIDDEN: _ROLE,
}


class Bucket:
    """A bucket of Cloud Storage.

    A call is retried for `patience` seconds; `note` gets why. All methods raise Trouble. With STORAGE_EMULATOR_HOST in
    the environment, an emulator is called, without a token; else Cloud Storage, on Cloud Run as the job's account.
    """

    def __init__(
        self,
        name: str,
        patience: float,
        note: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        google: GoogleApi | None = None,
    ) -> None:
        emulator = (os.environ if environment is None else environment).get("STORAGE_EMULATOR_HOST", "").rstrip("/")
        self.name = name
        self.gap = 0.0 if emulator else _GAP
        """Seconds between two writes of one object."""
        self._host = (emulator if "://" in emulator else f"http://{emulator}") if emulator else _ADDRESS
        kept = " What the checkpoint says so far is kept; the same command continues from there."
        self._calls = Calls(patience, note, kept)
        self._google = google or GoogleApi("Cloud Storage", _SCOPE, _nobody() if emulator else None)

    def read(self, name: str) -> tuple[bytes, int] | None:
        """Return the content of an object and its generation, or None if there is none."""

        def call() -> tuple[bytes, int] | None:
            response = self._call("GET", f"/storage/v1/b/{self.name}/o/{quote(name, safe='')}", {"alt": "media"})
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
            self._look_at(response, name)
            return response.content, _generation(response.headers.get("X-Goog-Generation"))

        return self._calls.until_through(call, Pace(None), lambda: False)

    def write(self, name: str, content: bytes, generation: int) -> int | None:
        """Write an object if its generation is this one (0: if there is none), and return its new generation.

        Return None if its generation is another: somebody else has written it. An answer that was lost leaves open
        whether the object was written, so no two contents may be the same.
        """

        def call() -> int | None:
            asked = {"uploadType": "media", "name": name, "ifGenerationMatch": str(generation)}
            response = self._call("POST", f"/upload/storage/v1/b/{self.name}/o", asked, content)
            if response.status_code == HTTPStatus.PRECONDITION_FAILED:
                found = self.read(name)  # an earlier attempt may have written it
                return found[1] if found is not None and found[0] == content else None
            self._look_at(response, name)
            try:
                return _generation(response.json().get("generation"))
            except (ValueError, AttributeError):
                raise NotYet("Cloud Storage gave an unreadable answer") from None

        return self._calls.until_through(call, Pace(None), lambda: False)

    def _call(
        self, method: str, path: str, query: Mapping[str, str], content: bytes | None = None
    ) -> requests.Response:
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            return self._google.call(method, self._host + path, params=query, data=content, headers=headers)
        except NotReached as not_reached:
            raise NotYet(str(not_reached).removesuffix(".")) from None

    def _look_at(self, response: requests.Response, name: str) -> None:
        """Raise NotYet or Trouble for an answer that is no success."""
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotYet(f"Cloud Storage answered {status}")
        todo = what_to_do_about(response, _TODO.get(status, "Look at --checkpoint."))
        raise Trouble(f"Cloud Storage answered {status} for gs://{self.name}/{name}. {todo}")


class StoredObject:
    """A JSON document in a bucket, for this writer alone. All methods raise Trouble."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.name = f"gs://{bucket.name}/{name}"
        self._bucket = bucket
        self._object = name
        self._generation = 0
        self._writer = uuid.uuid4().hex
        self._number = 0

    def read(self) -> str | None:
        """Return the document's text, or None if there is none. The next write replaces what was read here."""
        found = self._bucket.read(self._object)
        content, self._generation = found or (b"", 0)
        return None if found is None else content.decode(errors="replace")

    def write(self, document: Mapping[str, object]) -> bool:
        """Write the document, and return True; return False if somebody else wrote since the last read or write."""
        self._number += 1
        told_apart = {**document, "writer": self._writer, "number": self._number}
        generation = self._bucket.write(self._object, json.dumps(told_apart).encode(), self._generation)
        if generation is None:
            return False
        self._generation = generation
        return True


def place_of(text: str) -> tuple[str, str] | None:
    """Return the bucket and the name of gs://BUCKET/NAME, or None if it is a path. Raises ConfigError."""
    if not text.startswith("gs://"):
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ConfigError("--checkpoint must be a file or gs://BUCKET/NAME, the name of letters, digits and . _ - /")
    return found[1], found[2]


def _generation(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise NotYet("Cloud Storage gave an answer without a generation") from None


def _nobody() -> object:
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415  # most backfills need none

    return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it so
