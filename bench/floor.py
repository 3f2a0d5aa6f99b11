"""What no service built on this server can do without: it imports Flask, and nothing of ours."""

from flask import Flask, Response, request


def floor() -> Flask:
    """A route that reads the body and returns 204."""
    app = Flask(__name__, static_folder=None)

    @app.post("/")
    def receive() -> Response:
        request.get_data(cache=False)
        return Response(status=204)

    @app.get("/health")
    def health() -> Response:
        return Response(status=204)

    return app
