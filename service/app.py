"""The door: POST / takes a push, GET /health answers that the process lives. Which outcome gets which answer."""

import json
import logging
import os
import re
import time
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException

from service import logs
from service.config import Settings, settings_from
from service.integration import Ending, Integration, Outcome, integration_by
from service.pubsub.auth import Authenticate, CannotVerify, Forbidden, Unauthenticated, authenticate_by

log = logging.getLogger(__name__)

REQUEST_SECONDS = 28.0  # below the 30 s of a request; see "Numbers that nest" in docs/decisions.md
_LARGEST_BODY = 14 * 1024 * 1024  # 10 MB of data, in base64, in an envelope

_LEVELS = {
    Ending.DELIVERED: logging.INFO,
    Ending.IGNORED: logging.INFO,
    Ending.REFUSED: logging.ERROR,
    Ending.FAILED: logging.ERROR,
}


def create_app(
    settings: Settings | None = None,
    integration: Integration | None = None,
    authenticate: Authenticate | None = None,
) -> Flask:
    """Return the service. What is not handed in is made as the environment describes it (raises ConfigError)."""
    settings = settings or settings_from(os.environ)
    logs.configure(settings.log_level)
    handle = (integration or integration_by(settings)).handle
    authenticate = authenticate or authenticate_by(settings)

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY

    @app.post("/")
    def receive() -> Response:
        deadline = time.monotonic() + REQUEST_SECONDS
        try:
            authenticate(request.headers.get("Authorization"))
        except Unauthenticated as reason:
            return _turned_away(reason, HTTPStatus.UNAUTHORIZED)
        except Forbidden as reason:
            return _turned_away(reason, HTTPStatus.FORBIDDEN)
        except CannotVerify as reason:
            return _turned_away(reason, HTTPStatus.SERVICE_UNAVAILABLE)
        outcome = handle(_body(), request.headers, deadline)
        _log(outcome)
        return _answer(outcome)

    @app.get("/health")
    def health() -> Response:
        return _json('{"status": "ok"}', HTTPStatus.OK)

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        answer = _json(json.dumps({"error": error.name}), HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR))
        if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = error.get_response().headers["Allow"]  # RFC 9110, 15.5.6
        return answer

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.error("Failed: unforeseen", exc_info=error)
        return _json(_INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR)

    return app


def _body() -> bytes:
    """Return the whole body, or raise: what arrived in part is nobody's message yet, and Pub/Sub sends it again."""
    try:
        body = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001  # whatever the server could not read: broken chunks, a connection that is gone
        raise BadRequest from None
    if request.content_length not in {None, len(body)}:
        raise BadRequest
    return body


_INTERNAL_SERVER_ERROR = '{"error": "Internal server error"}'


def _answer(outcome: Outcome) -> Response:
    match outcome.ending:
        case Ending.DELIVERED:
            return _json('{"success": true}', HTTPStatus.OK)
        case Ending.IGNORED:
            return Response(status=HTTPStatus.NO_CONTENT)
        case Ending.REFUSED if outcome.set_aside:
            return Response(status=HTTPStatus.NO_CONTENT)
        case Ending.REFUSED:
            return _json(json.dumps({"error": outcome.reason}), HTTPStatus.BAD_REQUEST)
        case Ending.FAILED:
            return _json(_INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR)


def _turned_away(reason: Exception, status: HTTPStatus) -> Response:
    log.warning("Turned away: %s", reason)
    return _json(json.dumps({"error": str(reason)}), status)


def _json(text: str, status: HTTPStatus) -> Response:
    return Response(text, status, content_type="application/json")


def _log(outcome: Outcome) -> None:
    level = logging.WARNING if outcome.warn else _LEVELS[outcome.ending]
    if not log.isEnabledFor(level):
        return
    about: dict[str, object] = {}
    if outcome.message is not None:
        about["message_id"] = _identifier(outcome.message.message_id)
        about["delivery_attempt"] = outcome.message.delivery_attempt
        about |= _trace(outcome.message.subscription)
    if outcome.notification is not None:
        notification_type = outcome.notification.message_type or outcome.notification.notification_type
        about["notification_type"] = _identifier(notification_type)
        about["resource_type"] = _identifier(outcome.notification.resource_type)
        about["resource_id"] = _identifier(outcome.notification.resource_id)
        about["version"] = outcome.notification.version
    log.log(level, outcome.sentence, extra=about)


def _identifier(text: str) -> str | None:
    """Let through what can be an id or a type, and nothing that somebody may have put in its place."""
    return text if _IDENTIFIER.fullmatch(text) else None


def _trace(subscription: str) -> dict[str, object]:
    """Tie a line to its request: https://cloud.google.com/run/docs/logging#correlate-logs.

    Cloud Run tells no project id; the subscription's name, projects/PROJECT/subscriptions/…, holds it.
    """
    trace = request.headers.get("X-Cloud-Trace-Context", "").partition("/")[0]
    project = _PROJECT.match(subscription)
    if not (_HEX.fullmatch(trace) and project):
        return {}
    return {"logging.googleapis.com/trace": f"projects/{project[1]}/traces/{trace}"}


_IDENTIFIER = re.compile(r"[0-9A-Za-z*_-]{1,100}")
_PROJECT = re.compile(r"projects/([a-z0-9.:-]{1,63})/subscriptions/")
_HEX = re.compile(r"[0-9a-f]{1,64}")
