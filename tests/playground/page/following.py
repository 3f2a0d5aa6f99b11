"""The messages of a world that runs, for tests that look when each has ended and the service has logged how."""

import threading
from collections.abc import Callable
from typing import Any

from playground.page.messages import Messages
from playground.pubsub import Push
from playground.world import SUBSCRIPTION, Line, LocalWorld

PATIENCE = 60.0
"""Seconds after which a test that waits gives up."""


class Following:
    """What happens to the messages of one world. `hooks` are arguments of that LocalWorld."""

    def __init__(self, when_settled: Callable[[str, str], None] = lambda _type, _id: None) -> None:
        self.messages = Messages(when_settled)
        self._told = threading.Condition()
        self._answered: set[tuple[object, object]] = set()  # message id and attempt
        self._logged: set[tuple[object, object]] = set()

    @property
    def hooks(self) -> dict[str, Any]:
        return {"on_message": self.messages.on_message, "on_push": self._on_push, "on_line": self._on_line}

    def wait(self, world: LocalWorld) -> None:
        """Return when all that was published has ended. The line about a push may come after its answer."""
        world.settle()
        assert world.pubsub.wait_until_idle(PATIENCE, SUBSCRIPTION)
        with self._told:
            assert self._told.wait_for(lambda: self._answered <= self._logged, PATIENCE)

    def _on_push(self, push: Push) -> None:
        self.messages.on_push(push)
        if push.status is not None and push.subscription == SUBSCRIPTION:
            with self._told:
                self._answered.add((push.message_id, push.delivery_attempt))

    def _on_line(self, line: Line) -> None:
        self.messages.on_line(line)
        with self._told:
            self._logged.add((line.get("message_id"), line.get("delivery_attempt")))
            self._told.notify_all()
