"""What Segment knows of each user, and where each trait came from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from playground.world import LocalWorld

if TYPE_CHECKING:
    from playground.page.playground import Playground


class Profiles:
    def __init__(self, world: LocalWorld) -> None:
        self._world = world

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def state(self) -> Mapping[str, Any]:
        return {}


def routes(_playground: "Playground") -> Blueprint:
    return Blueprint("segment", __name__)
