"""gunicorn's gevent worker with two changes: how an answer is sent, and what is said of what is no request."""

from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.util import write_error
from gunicorn.workers.ggevent import GeventWorker


class AnswerInOnePiece:
    """A connection while one request is answered: head and body, which gunicorn sends apart, leave it together."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  # a socket, of gevent's or of ssl's
        self._connection = connection
        self._unsent = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a socket has
        return getattr(self._connection, name)

    def sendall(self, data: bytes) -> None:
        self._unsent += data

    def close(self) -> None:
        """Close it unfinished, as gunicorn does where an answer fails half-way."""
        self._unsent = b""
        self._connection.close()

    def leave(self) -> None:
        sent = self._connection.send(self._unsent) if self._unsent else 0
        if sent < len(self._unsent):
            self._connection.sendall(self._unsent[sent:])


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn comes without types
    """Answers in one piece. Of what is no request it says only what fault it has: gunicorn's own words quote it."""

    def handle_request(self, listener: object, request: object, connection: Any, address: object) -> None:  # noqa: ANN401  # as above
        whole = AnswerInOnePiece(connection)
        try:
            super().handle_request(listener, request, whole, address)
        finally:
            whole.leave()

    def handle_error(self, _request: object, client: Any, _address: object, error: BaseException) -> None:  # noqa: ANN401  # as above
        if isinstance(error, ParseException):
            self.log.warning("Turned away: no HTTP request (%s)", type(error).__name__)
            status, reason = _TOO_LONG.get(type(error), HTTPStatus.BAD_REQUEST), type(error).__name__
        else:
            self.log.error("Failed: unforeseen, before the request was read", exc_info=error)
            status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, ""
        with suppress(OSError):  # nobody is there any more
            write_error(client, status, status.phrase, reason)


_TOO_LONG = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}
