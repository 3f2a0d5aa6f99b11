"""The way of one message, step by step, each with its JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playground.page.playground import Playground


def journey_of(playground: "Playground", message_id: str) -> Mapping[str, Any]:
    entry = playground.messages.entry(message_id)
    if entry is None:
        raise KeyError(message_id)
    return {"row": entry.row, "steps": []}
