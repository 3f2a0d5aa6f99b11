"""gunicorn's gevent worker and logger: an answer is sent at once, no request is quoted, and each line is JSON."""

import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.util import write_error
from gunicorn.workers.ggevent import GeventWorker

from service.logs import JsonLines


class AnswerInOnePiece:
    """A connection for the answer to one request: head and body, which gunicorn sends separately, are sent at once."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  # a socket of gevent or of ssl
        self._connection = connection
        self._unsent = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a socket has
        return getattr(self._connection, name)

    def sendall(self, data: bytes) -> None:
        self._unsent += data

    def close(self) -> None:
        """Close it without the answer, as gunicorn does if the answer fails."""
        self._unsent = b""
        self._connection.close()

    def send_answer(self) -> None:
        sent = self._connection.send(self._unsent) if self._unsent else 0
        if sent < len(self._unsent):
            self._connection.sendall(self._unsent[sent:])


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn comes without types
    """Sends each answer at once, and names only the kind of fault of an invalid request.

    gunicorn's own answer and log line quote an invalid request.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # gunicorn's own
        super().__init__(*args, **options)
        # Two dozen settings are read for each request. As attributes they need no call of gunicorn's __getattr__.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})

    def handle_request(self, listener: object, request: object, connection: Any, address: object) -> None:  # noqa: ANN401  # as above
        whole = AnswerInOnePiece(connection)
        try:
            super().handle_request(listener, request, whole, address)
        finally:
            whole.send_answer()

    def handle_error(self, _request: object, client: Any, _address: object, error: BaseException) -> None:  # noqa: ANN401  # a socket, of gevent's or of ssl's
        if isinstance(error, ParseException):
            self.log.warning("Turned away: no HTTP request (%s)", type(error).__name__)
            status, reason = _TOO_LONG.get(type(error), HTTPStatus.BAD_REQUEST), type(error).__name__
        else:
            self.log.error("Failed: unforeseen, before the request was read", exc_info=error)
            status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, ""
        with suppress(OSError):  # the client has closed the connection
            write_error(client, status, status.phrase, reason)


_TOO_LONG = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}


class JsonLogger(Logger):  # type: ignore[misc]  # as above
    """gunicorn's own log lines as JSON. There is no access log: the service writes a line for each push."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401  # as above
        super().setup(cfg)
        self.error_log.handlers = [JsonLines(sys.stdout)]
