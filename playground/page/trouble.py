"""Faults of each party, the instances of the service, and the dead letters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from playground.page.messages import Messages
from playground.world import LocalWorld

if TYPE_CHECKING:
    from playground.page.playground import Playground


class Trouble:
    def __init__(self, world: LocalWorld, messages: Messages) -> None:
        self._world, self._messages = world, messages

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def state(self) -> Mapping[str, Any]:
        return {}


def routes(_playground: "Playground") -> Blueprint:
    return Blueprint("trouble", __name__)
