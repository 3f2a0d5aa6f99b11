"""How fast the shop lives: so many random changes of customers and orders a second."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from playground.world import LocalWorld

FASTEST = 200.0
"""Changes a second."""
_ORDERS_SHARE = 3  # one change of three is about an order
_LOOK_SECONDS = 0.05
_LONGEST_DEBT = 1.0  # seconds of changes that are made up for when the machine was too slow


class Pace:
    """Makes the changes, in a thread of its own, between `start` and `stop`."""

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._stopping = threading.Event()
        self._rate = 0.0
        self._made = 0
        self._recent: list[tuple[float, int]] = []  # the changes made by then, of the last seconds
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def set(self, rate: float) -> None:
        """Make so many changes a second from now on. Raises ValueError if it is not from 0 to 200."""
        if not 0 <= rate <= FASTEST:
            raise ValueError(f"The rate must be from 0 to {FASTEST:.0f} changes a second.")
        self._rate = rate

    def state(self) -> Mapping[str, Any]:
        """Return the `rate` that is asked for and the `reached` one of the last seconds, and the `made` changes."""
        recent = self._recent
        reached = 0.0
        if len(recent) > 1 and recent[-1][0] > recent[0][0]:
            reached = (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0])
        return {"rate": self._rate, "reached": round(reached, 1), "made": self._made}

    def _run(self) -> None:
        due, before = 0.0, time.monotonic()
        while not self._stopping.wait(_LOOK_SECONDS):
            now = time.monotonic()
            due = min(due + self._rate * (now - before), self._rate * _LONGEST_DEBT)
            before = now
            while due >= 1 and not self._stopping.is_set():
                self._change()
                due -= 1
            self._recent = [*((at, made) for at, made in self._recent if now - at < 3), (now, self._made)]  # noqa: PLR2004  # s
            self._world.settle()

    def _change(self) -> None:
        with self._world.writing:
            if self._made % _ORDERS_SHARE:
                self._world.shop.random_change()
            else:
                self._world.shop.random_sale()
        self._made += 1
