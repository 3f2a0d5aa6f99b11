"""The HTTP endpoints: POST / takes a push, GET /health says that the process runs; and the answer to each outcome."""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from flask import Flask, Response, request
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from service import logs
from service.config import Settings, settings_from
from service.integration import Integration, integration_by
from service.outcome import Ending, Outcome
from service.pubsub.auth import Authenticate, CannotVerify, Forbidden, Unauthenticated, authenticate_by

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

REQUEST_SECONDS = 28.0  # below the 30 s of a request; see "Numbers that nest" in docs/decisions.md
RECEIVE = "receive"
"""The endpoint of the view that takes a push."""

_DECISIVE = (
    *("REQUEST_METHOD", "PATH_INFO", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme"),
    *("HTTP_CONNECTION", "HTTP_UPGRADE"),  # a WebSocket's handshake goes to no view of ours
)
"""All of a request that Flask's URL map looks at; SCRIPT_NAME and QUERY_STRING only end up in redirects."""
_KINDS_OF_REQUEST = 64  # Pub/Sub's pushes are of one kind
_JSON = "application/json"
_LARGEST_BODY = 14 * 1024 * 1024  # 10 MB of data, in base64, in an envelope

_LEVELS = {
    Ending.DELIVERED: logging.INFO,
    Ending.IGNORED: logging.INFO,
    Ending.REFUSED: logging.ERROR,
    Ending.FAILED: logging.ERROR,
}


class Answer(NamedTuple):
    """The answer to a push. A body, if there is one, is JSON."""

    status: HTTPStatus
    body: bytes = b""

    def send(self, start_response: "StartResponse") -> tuple[bytes]:
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(self.body)))] if self.body else []
        start_response(_STATUS_LINES[self.status], headers)
        return (self.body,)

    def response(self) -> Response:
        """Return the same answer for Flask to send."""
        return _JsonResponse(self.body, _STATUS_LINES[self.status], content_type=_JSON if self.body else None)


_STATUS_LINES = {status: f"{status.value} {status.phrase}" for status in HTTPStatus}


class _JsonResponse(Response):
    default_mimetype = None  # an answer without a body has no Content-Type


_ACK = Answer(HTTPStatus.NO_CONTENT)
_SUCCESS = Answer(HTTPStatus.OK, b'{"success": true}')
_INTERNAL_SERVER_ERROR = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b'{"error": "Internal server error"}')


Receive = Callable[["WSGIEnvironment"], Answer]
"""Takes a push and returns its answer."""


class PushMiddleware:
    """Answers a push without Flask's contexts, session and response objects, which a push does not use.

    Flask decides which request is a push: the one that its URL map gives to the view `receive`, and everything else
    goes on to Flask. Its decision is kept for requests that are alike in all that it depends on.
    https://flask.palletsprojects.com/en/stable/api/#flask.Flask.wsgi_app
    """

    def __init__(self, app: Flask, receive: Receive) -> None:
        self._flask = app.wsgi_app
        self._receive = receive

        @lru_cache(maxsize=_KINDS_OF_REQUEST)
        def is_push(*decisive: str | None) -> bool:
            environ = {name: value for name, value in zip(_DECISIVE, decisive, strict=True) if value is not None}
            try:
                endpoint, _ = app.url_map.bind_to_environ(environ).match()
            except HTTPException:
                return False
            return bool(endpoint == RECEIVE)

        self._is_push = is_push

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._is_push(*map(environ.get, _DECISIVE)):
            return self._receive(environ).send(start_response)
        return self._flask(environ, start_response)


def create_app(
    settings: Settings | None = None,
    integration: Integration | None = None,
    authenticate: Authenticate | None = None,
) -> Flask:
    """Return the service. What is not given is made from the environment (raises ConfigError)."""
    settings = settings or settings_from(os.environ)
    logs.configure(settings.log_level)
    integration = integration or integration_by(settings)
    receive = _receiver(integration.handle, authenticate or authenticate_by(settings))
    log.info("Started, with the rules %s", integration.fingerprint)
    healthy = json.dumps({"status": "ok", "rules": integration.fingerprint})
    app = Flask(__name__, static_folder=None)

    @app.post("/", endpoint=RECEIVE)
    def push() -> Response:
        return receive(request.environ).response()

    @app.get("/health")
    def health() -> Response:
        return Response(healthy, content_type=_JSON)

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        status, body = _no_push(error)
        answer = Response(body, status, content_type=_JSON)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = error.get_response().headers["Allow"]  # RFC 9110, 15.5.6
        return answer

    app.wsgi_app = PushMiddleware(app, receive)  # type: ignore[method-assign]  # as Flask documents it
    return app


def _receiver(handle: Callable[[bytes, EnvironHeaders, float], Outcome], authenticate: Authenticate) -> Receive:
    def receive(environ: "WSGIEnvironment") -> Answer:
        deadline = time.monotonic() + REQUEST_SECONDS
        try:
            authenticate(environ.get("HTTP_AUTHORIZATION"))
            outcome = handle(_body(environ), EnvironHeaders(environ), deadline)
            _log(outcome, environ.get("HTTP_X_CLOUD_TRACE_CONTEXT", ""))
            return _answer(outcome)
        except Unauthenticated as reason:
            return _turned_away(reason, HTTPStatus.UNAUTHORIZED)
        except Forbidden as reason:
            return _turned_away(reason, HTTPStatus.FORBIDDEN)
        except CannotVerify as reason:
            return _turned_away(reason, HTTPStatus.SERVICE_UNAVAILABLE)
        except HTTPException as error:
            return _no_push(error)
        except Exception:  # whatever it is, Pub/Sub redelivers the message
            log.exception("Failed: unforeseen")
            return _INTERNAL_SERVER_ERROR

    return receive


def _body(environ: "WSGIEnvironment") -> bytes:
    """Return the whole body, or raise if only a part arrived: Pub/Sub then redelivers it."""
    length = int(environ.get("CONTENT_LENGTH") or -1)  # -1 if it is chunked
    if length > _LARGEST_BODY:
        raise RequestEntityTooLarge
    try:
        body: bytes = environ["wsgi.input"].read(_LARGEST_BODY + 1)
    except Exception:  # noqa: BLE001  # the server cannot read it: invalid chunks, a closed connection
        raise BadRequest from None
    if len(body) > _LARGEST_BODY:
        raise RequestEntityTooLarge
    if length not in {-1, len(body)}:
        raise BadRequest
    return body


def _answer(outcome: Outcome) -> Answer:
    match outcome.ending:
        case Ending.DELIVERED:
            return _SUCCESS
        case Ending.IGNORED:
            return _ACK
        case Ending.REFUSED if outcome.set_aside:
            return _ACK
        case Ending.REFUSED:
            return _error(outcome.reason, HTTPStatus.BAD_REQUEST)
        case Ending.FAILED:
            return _INTERNAL_SERVER_ERROR


def _turned_away(reason: Exception, status: HTTPStatus) -> Answer:
    log.warning("Turned away: %s", reason)
    return _error(str(reason), status)


def _no_push(error: HTTPException) -> Answer:
    return _error(error.name, HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR))


def _error(reason: str, status: HTTPStatus) -> Answer:
    return Answer(status, json.dumps({"error": reason}).encode())


def _log(outcome: Outcome, trace: str) -> None:
    level = logging.WARNING if outcome.warn else _LEVELS[outcome.ending]
    if not log.isEnabledFor(level):
        return
    about: dict[str, object] = {}
    if outcome.message is not None:
        about["message_id"] = _identifier(outcome.message.message_id)
        about["delivery_attempt"] = outcome.message.delivery_attempt
        about |= _trace(trace, outcome.message.subscription)
    if outcome.notification is not None:
        notification_type = outcome.notification.message_type or outcome.notification.notification_type
        about["notification_type"] = _identifier(notification_type)
        about["resource_type"] = _identifier(outcome.notification.resource_type)
        about["resource_id"] = _identifier(outcome.notification.resource_id)
        about["version"] = outcome.notification.version
    log.log(level, outcome.sentence, extra=about)


def _identifier(text: str) -> str | None:
    """Return the text if it has the form of an id or a type, else None: it may be personal data."""
    return text if _IDENTIFIER.fullmatch(text) else None


def _trace(header: str, subscription: str) -> dict[str, object]:
    """Link a log line with its request: https://cloud.google.com/run/docs/logging#correlate-logs.

    Cloud Run gives no project id. It is in the subscription's name, projects/PROJECT/subscriptions/….
    """
    if not header:
        return {}
    trace, project = header.partition("/")[0], _PROJECT.match(subscription)
    if not (_HEX.fullmatch(trace) and project):
        return {}
    return {"logging.googleapis.com/trace": f"projects/{project[1]}/traces/{trace}"}


_IDENTIFIER = re.compile(r"[0-9A-Za-z*_-]{1,100}")
_PROJECT = re.compile(r"projects/([a-z0-9.:-]{1,63})/subscriptions/")
_HEX = re.compile(r"[0-9a-f]{1,64}")
