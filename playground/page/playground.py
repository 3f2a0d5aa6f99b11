"""All that the page shows and does, around one world."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from playground.page.calls import Calls
from playground.page.dead_letters import DeadLetters
from playground.page.journey import COMMERCETOOLS, PUBLIC_API, SEGMENT
from playground.page.judge import Judge
from playground.page.mapping import MappingEditor
from playground.page.messages import Messages
from playground.page.pace import Pace
from playground.page.profiles import Profiles
from playground.page.trouble import Trouble
from playground.world import SUBSCRIPTION, TRIED_SPEED, LocalWorld

_CUSTOMERS = 200
_REMEMBERED = 20_000
_PULL_SECONDS = 0.2  # for dead letters, where nothing more arrives


class Playground:
    """A running world with what watches and moves it; a context manager. `folder` is for the mapping file."""

    def __init__(self, folder: Path, *, customers: int = _CUSTOMERS, speed: float = TRIED_SPEED) -> None:
        self.messages = Messages(self._when_settled)
        self.world = LocalWorld(
            speed=speed,
            shop_options={"population": customers, "keep": 20},
            in_batches=True,
            may_grow=True,
            remember=_REMEMBERED,
            pull_seconds=_PULL_SECONDS,
            on_message=self.messages.on_message,
            on_push=self.messages.on_push,
            on_line=self.messages.on_line,
        )
        self.calls = Calls()
        self.profiles = Profiles(self.world)
        self.judge = Judge(self.world, self.messages, self.profiles)
        self.pace = Pace(self.world)
        self.trouble = Trouble(self.world)
        self.dead_letters = DeadLetters(self.world)
        self.mapping = MappingEditor(self.world, self.judge, folder)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.world)
            stack.callback(self._kill_instances)
            self.calls.watch(COMMERCETOOLS, self.world.commercetools)
            self.calls.watch(SEGMENT, self.world.segment)
            self.calls.watch(PUBLIC_API, self.world.public_api)
            for part in (self.profiles, self.judge, self.pace):
                part.start()
                stack.callback(part.stop)
            stack.callback(self.mapping.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def frame(self) -> Mapping[str, Any]:
        """Return what is the same for all pages at this moment, but for the rows of messages."""
        return {
            "counts": self.messages.tally(),
            "backlog": self.world.pubsub.backlog(SUBSCRIPTION),
            "pace": self.pace.state(),
            "judge": self.judge.state(),
            "segment": self.profiles.state(),
            "trouble": self.trouble.state(),
            "mapping": self.mapping.state(),
        }

    def _kill_instances(self) -> None:
        """End the service at once: it would wait for what hangs, and nobody needs what it does then."""
        for service in self.world.services:
            service.kill()

    def _when_settled(self, resource_type: str, resource_id: str) -> None:
        self.judge.look_at(resource_type, resource_id)
