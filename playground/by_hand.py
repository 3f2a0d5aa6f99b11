"""make try: all parties on this machine, at fixed ports, until Ctrl-C; it prints each event that Segment gets."""

import argparse
import io
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from playground.ports import ReservedPort
from playground.world import DEAD_LETTER_SUBSCRIPTION, SUBSCRIPTION, TOPIC, TRIED_SPEED, Line, LocalWorld

_FIRST_PORT = 8080
_PARTIES = ("the service", "Segment", "commercetools", "Segment's Public API", "Pub/Sub")
_CUSTOMERS = 1_000
_LOOK_SECONDS = 0.2


def exports(world: LocalWorld) -> Iterator[str]:
    """Yield the lines that make commercetools-segment, in another shell, work on this world."""
    settings = {
        **world.settings(),
        "SEGMENT_REGION": "us",
        "CTP_SCOPES": " ".join(sorted(world.commercetools.scopes)),  # the command's need more than the service's
        "PUBSUB_TOPIC": TOPIC,
        "PUBSUB_SUBSCRIPTION": SUBSCRIPTION,
        "DEAD_LETTER_SUBSCRIPTION": DEAD_LETTER_SUBSCRIPTION,
    }
    yield f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    yield from (f"export {name}={shlex.quote(value)}" for name, value in settings.items())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _on_line(line: Line) -> None:
    if "resource_id" in line or "message_id" in line:
        _say(f"The service says: {line['message']}")


def _change_at_enter(world: LocalWorld) -> None:
    """Change something in the shop for each line of the terminal, if this runs in its foreground."""
    if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        return
    for _ in sys.stdin:
        _say(f"In the shop, a customer signs up, changes or leaves: {world.shop.random_change()}")


def run(port: int, told: threading.Event) -> None:
    """Run everything from this port on until told to end. Raises OSError if a port is in use."""
    with ExitStack() as held:
        for place in range(len(_PARTIES)):
            held.enter_context(ReservedPort(port + place))
    _say("Starting Pub/Sub, commercetools, Segment (all on this machine) and the service …")
    world = LocalWorld(
        port=port,
        speed=TRIED_SPEED,
        environment={"PUSH_AUTH": "none", "SEGMENT_CLEAR_TRAITS": "own"},  # so that curl can push too
        shop_options={"population": _CUSTOMERS, "keep": 10},
        on_line=_on_line,
    )
    with world:
        _say("\nIn a second terminal, for commercetools-segment check, subscribe, backfill and the others:\n")
        for line in exports(world):
            _say(line)
        _say("")
        for place, party in enumerate(_PARTIES):
            _say(f"http://127.0.0.1:{port + place}  {party}")
        _say(f"\nThe shop has {_CUSTOMERS:,} customers. http://127.0.0.1:{port + 1}/events shows what Segment has got.")
        _say("Enter changes something in the shop, Ctrl-C ends everything.\n")
        threading.Thread(target=_change_at_enter, args=(world,), daemon=True).start()
        shown = 0
        while not told.is_set():
            if world.segment.wait_for_events(shown + 1, _LOOK_SECONDS):
                new = world.segment.events[shown:]
                shown += len(new)
                for event in new:
                    _say(f"Segment got: {json.dumps(event, indent=2, ensure_ascii=False)}")
        _say("Stopping …")


def main() -> int:
    """Run until SIGTERM or Ctrl-C; the exit code is 2 if a port is in use."""
    options = argparse.ArgumentParser(prog="python -m playground.by_hand", description=__doc__)
    options.add_argument(
        "--port", type=int, default=_FIRST_PORT, help="the service's; those of the other parties are the next four"
    )
    port = options.parse_args().port
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for what the terminal cannot show
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        run(port, told)
    except OSError as error:
        sys.stderr.write(
            f"Error: a port from {port} to {port + len(_PARTIES) - 1} cannot be used ({error.strerror}). "
            "Choose others: make try OPTIONS=--port=9000\n"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
