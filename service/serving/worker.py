"""gunicorn's gevent worker and logger, changed so that they quote no request and each line is JSON."""

import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.util import write_error
from gunicorn.workers.ggevent import GeventWorker

from service.logs import JsonLines


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn comes without types
    """Names only the kind of fault of an invalid request. gunicorn's own answer and log line quote it."""

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
