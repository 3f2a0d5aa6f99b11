"""The dead letters: read, replayed and dropped by the operator's own commands."""

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flask import Blueprint
from rich.console import Console

from playground.history import Document
from playground.page.body import body
from playground.shop import GARBAGE
from playground.world import DEAD_LETTER_SUBSCRIPTION, TOPIC, LocalWorld, emulated
from service.config import ConfigError
from service.operations import Output, Trouble, explain
from service.operations.dead_letters import Choice, found, open_mailbox, run_drop, run_replay

if TYPE_CHECKING:
    from playground.page.playground import Playground

_MOST_READ = 2_000  # by one command
_MOST_SHOWN = 200
_LONGEST_SAMPLE = 1_000  # bytes
_WAIT_SECONDS = 1.0  # that a command waits for letters; the playground's Pub/Sub says at once that there are none


class DeadLetters:
    """Those of one world. Raises ValueError with the sentence in which a command refuses."""

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._reading = threading.Lock()  # held while dead letters are pulled: each command holds what it sees
        self._samples = 0  # of what nobody can read, that were published

    def letters(self) -> Mapping[str, Any]:
        """Return what may be shown of the oldest dead letters, and how many there are in all."""
        number = self._world.pubsub.backlog(DEAD_LETTER_SUBSCRIPTION)
        if not number:
            return {"letters": [], "number": 0}
        with self._operator(), open_mailbox(DEAD_LETTER_SUBSCRIPTION) as mailbox:
            letters = mailbox.take(Choice(min(number, _MOST_READ)), _WAIT_SECONDS)
        return {"letters": [letter.about(data=False) for letter in letters[:_MOST_SHOWN]], "number": number}

    def letter(self, message_id: str) -> Mapping[str, Any]:
        """Return one dead letter with its data, and what explain says of it."""
        with self._operator():
            letter = found(DEAD_LETTER_SUBSCRIPTION, message_id, wait=_WAIT_SECONDS)
            said = _said(lambda output: explain.run(letter.as_push, output, self._world.settings(), read=False))
        del said["remarks"]
        return {"letter": letter.about(data=True), "explained": said}

    def replay(self, message_ids: Sequence[str]) -> Mapping[str, Any]:
        """Publish these dead letters again (without any: all of them), and return how many were `replayed`."""
        choice = self._choice(message_ids)
        with self._operator():
            return _said(
                lambda output: run_replay(
                    output, DEAD_LETTER_SUBSCRIPTION, choice, topic=TOPIC, wait=_WAIT_SECONDS, dry_run=False
                )
            )

    def drop(self, message_ids: Sequence[str]) -> Mapping[str, Any]:
        """Delete these dead letters (without any: all of them), and return how many were `dropped`."""
        choice = self._choice(message_ids)
        with self._operator():
            return _said(
                lambda output: run_drop(
                    output,
                    DEAD_LETTER_SUBSCRIPTION,
                    choice,
                    wait=_WAIT_SECONDS,
                    dry_run=False,
                    agreed=lambda _number: True,
                )
            )

    def publish_garbage(self) -> str:
        """Publish data that no one can read as a notification, each time of another kind; return why it is refused."""
        samples = [(data, reason) for data, reason in GARBAGE.items() if len(data) <= _LONGEST_SAMPLE]
        data, reason = samples[self._samples % len(samples)]
        self._samples += 1
        self._world.publish(data)
        return reason

    def _choice(self, message_ids: Sequence[str]) -> Choice:
        number = self._world.pubsub.backlog(DEAD_LETTER_SUBSCRIPTION)
        if not number:
            raise ValueError("There are no dead letters any more.")
        return Choice(len(message_ids) or number, message_ids=frozenset(message_ids))

    @contextmanager
    def _operator(self) -> Iterator[None]:
        """Let the operator's commands work on this world, one at a time; their refusals become ValueErrors."""
        with self._reading, emulated(self._world.pubsub.host):
            try:
                yield
            except (Trouble, ConfigError) as problem:
                raise ValueError(str(problem)) from None


def _said(command: Callable[[Output], object]) -> dict[str, Any]:
    """Run a command, and return its JSON document, with its `remarks`."""
    results, remarks = io.StringIO(), io.StringIO()
    command(Output(Console(file=results), Console(file=remarks), as_json=True))
    return {**json.loads(results.getvalue()), "remarks": remarks.getvalue().strip()}


# The requests


def routes(playground: "Playground") -> Blueprint:
    blueprint = Blueprint("dead_letters", __name__)
    dead_letters = playground.dead_letters

    @blueprint.get("/trouble/letters")
    def letters() -> Document:
        return dict(dead_letters.letters())

    @blueprint.get("/trouble/letters/<message_id>")
    def letter(message_id: str) -> Document:
        return dict(dead_letters.letter(message_id))

    @blueprint.post("/trouble/letters/replay")
    def replay() -> Document:
        return dict(dead_letters.replay(_ids(body())))

    @blueprint.post("/trouble/letters/drop")
    def drop() -> Document:
        return dict(dead_letters.drop(_ids(body())))

    @blueprint.post("/trouble/garbage")
    def garbage() -> Document:
        return {"reason": dead_letters.publish_garbage()}

    return blueprint


def _ids(given: Mapping[str, Any]) -> list[str]:
    """Return the message ids of a request; an empty list stands for all, and must be meant so."""
    ids = given.get("ids")
    if ids == "all":
        return []
    if not isinstance(ids, list) or not ids:
        raise ValueError("Choose at least one dead letter.")
    return [str(one) for one in ids]
