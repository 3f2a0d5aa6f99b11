"""The body of a request from the page."""

from typing import Any

from flask import request


def body() -> dict[str, Any]:
    """Return the JSON object that was sent. Raises ValueError if it is none."""
    document = request.get_json(silent=True)
    if not isinstance(document, dict):
        raise ValueError("The request must be a JSON object.")  # noqa: TRY004  # the server's 400
    return document
