"""make playground: runs everything and the page until Ctrl-C."""

import argparse
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from playground.page.playground import Playground
from playground.page.server import served
from playground.ports import ReservedPort

_PORT = 8090
_LOOK_SECONDS = 0.2
_MOST_CUSTOMERS = 1_000_000


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(reserved: ReservedPort, customers: int, told: threading.Event) -> None:
    """Run until told to end. Raises RuntimeError if the service does not start."""
    with reserved, tempfile.TemporaryDirectory(prefix="playground-") as folder:
        _say("Starting Pub/Sub, commercetools, Segment (all on this machine) and the service …")
        with (
            Playground(Path(folder), customers=customers) as playground,
            served(playground, reserved.number) as address,
        ):
            _say(f"The playground is at {address}\nOpen it in a browser of this machine. Ctrl-C ends everything.")
            while not told.wait(_LOOK_SECONDS):  # a signal that another thread gets does not end a wait without an end
                pass
            _say("Stopping …")


def _from_zero_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text} is no number from 0 to {most}")
        return int(text)

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C, SIGTERM or the end of the terminal.

    The exit code is 2 if the port or an option cannot be used, 1 if the service does not start.
    """
    options = argparse.ArgumentParser(prog="python -m playground.page", description=__doc__)
    options.add_argument(
        "--port", type=_from_zero_to(65_535), default=_PORT, help="of the page (default: %(default)s); 0: any free one"
    )
    options.add_argument(
        "--customers",
        type=_from_zero_to(_MOST_CUSTOMERS),
        default=200,
        help="that the shop has at the start (default: %(default)s)",
    )
    chosen = options.parse_args(arguments)
    try:
        reserved = ReservedPort(chosen.port)
    except OSError as error:
        sys.stderr.write(
            f"Error: port {chosen.port} cannot be used ({error.strerror}). "
            "Choose another: make playground OPTIONS=--port=9000\n"
        )
        return 2
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: told.set())
    try:
        run(reserved, chosen.customers, told)
    except RuntimeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
