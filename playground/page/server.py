"""The HTTP server of the page: on loopback, for whoever knows the token that its address contains.

Another page in the same browser can send requests here, by any name that leads to 127.0.0.1. It does not know the
token, and its requests name another host or another origin.
"""

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Flask, Response, abort, request, send_from_directory
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from playground.page import dead_letters, explaining, mapping, profiles, shop, trouble
from playground.page.body import body, number_in
from playground.page.journey import journey_of
from playground.page.playground import Playground

_LARGEST_BODY = 14 * 1024 * 1024  # bytes, as the service reads
_FRAME_SECONDS = 0.25
_QUIET_FRAMES = 4
_ROWS = 5_000  # of the list, and of one frame
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Frames = Callable[[], Iterator[str]]


def page_of(playground: Playground, *, token: str, port: int, stopping: threading.Event) -> Flask:
    """Return the application. Everything is below `/{token}/`, and every other request is refused."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    @app.before_request
    def only_ours() -> None:
        given = request.path.split("/")[1]
        if request.host not in hosts:
            abort(403, "This page has another host name.")
        if not hmac.compare_digest(given.encode(), token.encode()):
            abort(403, "Open the address that make playground has printed: it contains a token.")
        if request.headers.get("Origin", f"http://{request.host}") != f"http://{request.host}":
            abort(403, "Another page must not use this one.")

    @app.after_request
    def with_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def told(error: HTTPException) -> tuple[dict[str, Any], int]:
        return {"error": error.description}, error.code or 500

    @app.errorhandler(ValueError)
    def refused(error: ValueError) -> tuple[dict[str, Any], int]:
        return {"error": str(error)}, 400

    @app.errorhandler(KeyError)
    def unknown(_error: KeyError) -> tuple[dict[str, Any], int]:
        return {"error": "It does not exist any more."}, 404

    app.register_blueprint(_shell(playground, stopping), url_prefix=f"/{token}")
    for part in (shop, profiles, trouble, dead_letters, mapping, explaining):
        app.register_blueprint(part.routes(playground), url_prefix=f"/{token}/api")
    return app


def _shell(playground: Playground, stopping: threading.Event) -> Blueprint:
    routes = Blueprint("shell", __name__)

    @routes.get("/")
    def page() -> Response:
        return send_from_directory("static", "index.html")

    @routes.get("/static/<path:name>")
    def file(name: str) -> Response:
        return send_from_directory("static", name)

    @routes.get("/live")
    def live() -> Response:
        return Response(_frames(playground, stopping), content_type="text/event-stream")

    @routes.post("/api/pace")
    def pace() -> dict[str, Any]:
        playground.pace.set(number_in(body(), "rate"))
        return dict(playground.pace.state())

    @routes.get("/api/messages/<message_id>")
    def message(message_id: str) -> dict[str, Any]:
        entry = playground.messages.entry(message_id)
        if entry is None:
            raise ValueError("This message is not remembered any more.")
        return journey_of(entry, playground.calls)

    return routes


def _frames(playground: Playground, stopping: threading.Event) -> Iterator[str]:
    """Yield server-sent events: what changed since the one before; the first has all that is remembered.

    Where nothing changes, a comment each second finds out whether the page is still there.
    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    change, before, quiet = 0, "", 0
    yield "retry: 500\n\n"
    while True:
        rows, change = playground.messages.rows_since(change, _ROWS)
        state = json.dumps(playground.frame())
        if rows or state != before:
            yield f'data: {{"rows":{json.dumps(rows)},"state":{state}}}\n\n'
            quiet = 0
        elif (quiet := quiet + 1) % _QUIET_FRAMES == 0:
            yield ":\n\n"
        before = state
        if stopping.wait(_FRAME_SECONDS):
            return


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing: each frame of the page would be a line."""


@contextmanager
def served(playground: Playground, port: int) -> Iterator[str]:
    """Serve the page, and give its address. Raises OSError if the port is in use."""
    token, stopping = secrets.token_urlsafe(16), threading.Event()
    app = page_of(playground, token=token, port=port, stopping=stopping)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/{token}/"
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
