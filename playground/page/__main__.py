"""make playground: runs everything and the page until Ctrl-C."""

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

from playground.page.playground import Playground
from playground.page.server import served
from playground.ports import ReservedPort

_PORT = 8090
_LOOK_SECONDS = 0.2


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(port: int, customers: int, told: threading.Event) -> None:
    """Run until told to end. Raises OSError if the port is in use."""
    with ReservedPort(port) as reserved, tempfile.TemporaryDirectory(prefix="playground-") as folder:
        number = reserved.number
        _say("Starting Pub/Sub, commercetools, Segment (all on this machine) and the service …")
        with Playground(Path(folder), customers=customers) as playground, served(playground, number) as address:
            _say(f"The playground is at {address}\nOpen it in a browser of this machine. Ctrl-C ends everything.")
            while not told.wait(_LOOK_SECONDS):  # a signal that another thread gets does not end a wait without an end
                pass
            _say("Stopping …")


def main() -> int:
    """Run until SIGTERM or Ctrl-C; the exit code is 2 if the port is in use."""
    options = argparse.ArgumentParser(prog="python -m playground.page", description=__doc__)
    options.add_argument("--port", type=int, default=_PORT, help="of the page (default: %(default)s); 0: any free one")
    options.add_argument("--customers", type=int, default=200, help="that the shop has at the start")
    chosen = options.parse_args()
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        run(chosen.port, chosen.customers, told)
    except OSError as error:
        sys.stderr.write(
            f"Error: port {chosen.port} cannot be used ({error.strerror}). "
            "Choose another: make playground OPTIONS=--port=9000\n"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
