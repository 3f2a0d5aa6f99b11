"""The shop's mapping file, as the page's editor has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from playground.page.judge import Judge
from playground.world import LocalWorld

if TYPE_CHECKING:
    from playground.page.playground import Playground


class MappingEditor:
    def __init__(self, world: LocalWorld, judge: Judge, folder: Path) -> None:
        self._world, self._judge, self._folder = world, judge, folder

    def state(self) -> Mapping[str, Any]:
        return {}


def routes(_playground: "Playground") -> Blueprint:
    return Blueprint("mapping", __name__)
