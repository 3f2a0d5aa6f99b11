"""What explain says of a file."""

from typing import TYPE_CHECKING

from flask import Blueprint

if TYPE_CHECKING:
    from playground.page.playground import Playground


def routes(_playground: "Playground") -> Blueprint:
    return Blueprint("explaining", __name__)
