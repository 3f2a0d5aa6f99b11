"""What explain says of a file that was given to the page. Nothing of it is kept."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request
from werkzeug.exceptions import RequestEntityTooLarge

from service.config import CLIENT, ConfigError
from service.operations import command_settings
from service.operations.explain import Explanation, explained, why_no_json

if TYPE_CHECKING:
    from playground.page.playground import Playground

_LARGEST = 14  # MiB, as the service reads; the page's server takes no more
# In bytes: https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api
_LARGEST_EVENT = 32 * 1024


def explanation_of(body: bytes, environment: Mapping[str, str], *, read: bool) -> dict[str, Any]:
    """Return what a service with these settings does with a document, as JSON; with `read`, it reads the resource.

    `size` is that of the largest event, in bytes. Raises ValueError for what is no JSON.
    """
    if not body.strip():
        raise ValueError("The file is empty.")
    for reason in why_no_json(body):
        raise ValueError(f"{reason} As a message, the service would refuse it.")
    try:
        settings = command_settings(environment, needs=CLIENT if read else ())
        return _shown(explained(body, settings, read=read))
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _shown(explanation: Explanation) -> dict[str, Any]:
    otherwise = explanation.otherwise
    return {
        "what": explanation.what,
        "outcome": str(explanation.ending or "Unknown").lower(),
        "reason": explanation.reason,
        "notes": explanation.notes,
        "erased": explanation.erased and f"userId {explanation.erased}, {explanation.how}",
        "size": explanation.size,
        "largest": _LARGEST_EVENT,
        "traits": [
            {"name": one.name, "value": _text(one.value), "why": one.why, "sent": one.sent, "line": one.line}
            for one in explanation.traits
        ],
        "who": [
            {"name": one.name, "value": _text(one.value), "why": one.why, "sent": one.sent}
            for one in explanation.sold.who
        ],
        "sums": [
            {
                "name": one.name.strip(),
                "amount": one.shown if one.amount is None else f"{one.shown} {one.currency}",
                "how": one.how,
                "field": one.field,
            }
            for one in explanation.sold.sums
        ],
        "events": explanation.events,
        "otherwise": otherwise and {"needs": explanation.needs, **_shown(otherwise)},
    }


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def routes(playground: "Playground") -> Blueprint:
    return routes_of(playground.world.settings)


def routes_of(settings: Callable[[], Mapping[str, str]]) -> Blueprint:
    """`explain`: the body is the document. With `?read=1` the resource is read from commercetools."""
    api = Blueprint("explaining", __name__)

    @api.post("/explain")
    def explain() -> dict[str, Any]:
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            raise ValueError(
                f"The file is larger than {_LARGEST} MiB, which is the most that a push may have."
            ) from None
        return explanation_of(body, settings(), read=request.args.get("read") == "1")

    return api
