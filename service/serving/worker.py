"""gunicorn's gevent worker and its log, so that neither quotes a request and each line has our form."""

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
    """Of what is no request it says only what fault it has: gunicorn's own words quote it."""

    def handle_error(self, _request: object, client: Any, _address: object, error: BaseException) -> None:  # noqa: ANN401  # a socket, of gevent's or of ssl's
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


class JsonLogger(Logger):  # type: ignore[misc]  # as above
    """gunicorn's own log in our form. There is no access log, since each push leaves a line of ours."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401  # as above
        super().setup(cfg)
        self.error_log.handlers = [JsonLines(sys.stdout)]
