"""Helpers for tests of callers that wait for each other, without sleeps or measured times."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

import gevent
import pytest

from playground.stand_in import StandIn
from service.serving import greenlets

Result = TypeVar("Result")
Visitor = TypeVar("Visitor")

PATIENCE = 60.0
"""Seconds after which a test that hangs gives up. A call that is held meanwhile must not time out before."""

HANGS = 100.0
"""The same of a test in a process of its own."""

ROOT = Path(__file__).parents[1]

SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 40))]
"""The seeds of randomised tests."""


class Clock:
    """A clock that the test sets. A caller reads it before it waits for others, and a test can wait for that."""

    def __init__(self) -> None:
        self.now = 0.0
        self._read = threading.Condition()
        self._readers: set[threading.Thread] = set()
        self._on_reading: dict[threading.Thread, Callable[[], object]] = {}

    def __call__(self) -> float:
        reader = threading.current_thread()
        with self._read:
            self._readers.add(reader)
            self._read.notify_all()
            happens = self._on_reading.pop(reader, None)
        if happens:
            happens()
        return self.now

    def set(self, now: float) -> None:
        self.now = now

    def on_reading_by(self, reader: threading.Thread, happens: Callable[[], object]) -> None:
        """Let something happen when this thread reads the clock for the first time: just before it would wait."""
        self._on_reading[reader] = happens

    def wait_for_reading_by(self, reader: threading.Thread) -> None:
        with self._read:
            assert self._read.wait_for(lambda: reader in self._readers, PATIENCE), "it never came to wait"

    def wait_for_each(self, callers: "Sequence[Caller[Result]]") -> None:
        """Wait until each of these has read the clock or has ended. The callers call `look_again` at their end."""
        with self._read:
            there = self._read.wait_for(
                lambda: all(caller.has_ended or caller.thread in self._readers for caller in callers), PATIENCE
            )
            assert there, "not all of them came to wait"

    def look_again(self) -> None:
        with self._read:
            self._read.notify_all()


class Caller(Generic[Result]):
    """A thread (a greenlet where gevent has patched threading) that makes one call and keeps what came of it."""

    def __init__(
        self,
        call: Callable[[], Result],
        *,
        clock: Clock | None = None,
        before_waiting: Callable[[], object] | None = None,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        self._call = call
        self._then = then
        self._end: Result | BaseException | None = None
        self.has_ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        if clock and before_waiting:
            clock.on_reading_by(self.thread, before_waiting)
        self.thread.start()

    def _run(self) -> None:
        if greenlets.instead_of_threads():  # a thread that has met greenlet searches the whole heap as it ends
            self._greenlet = gevent.getcurrent()
        try:
            self._end = self._call()
        except BaseException as error:  # noqa: BLE001  # however it ended is what the test asks for
            self._end = error
        self.has_ended = True
        self._then()

    def kill(self, exception: BaseException | None = None) -> None:
        """Throw this into the greenlet as soon as the one that runs now gives way."""
        gevent.kill(self._greenlet, exception or gevent.GreenletExit())

    def end(self) -> Result | BaseException | None:
        """Return what the call returned, or the exception that it raised."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "a caller is stranded"
        return self._end


class Gate(Generic[Visitor]):
    """Holds calls until the test releases them. `visitors` are the calls, in the order of arrival."""

    def __init__(self) -> None:
        self.visitors: list[Visitor] = []
        self.most_at_once = 0
        self._open = False
        self._held: dict[int, threading.Event] = {}
        self._inside = 0
        self._changed = threading.Condition()

    @contextmanager
    def passed_by(self, visitor: Visitor) -> Iterator[None]:
        let_go = threading.Event()
        with self._changed:
            self.visitors.append(visitor)
            if self._open:
                let_go.set()
            else:
                self._held[len(self.visitors)] = let_go
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self._changed.notify_all()
        try:
            assert let_go.wait(PATIENCE), "nobody lets this call go"
            yield
        finally:
            with self._changed:
                self._inside -= 1

    def wait_for(self, count: int) -> None:
        """Wait until so many have come, since the beginning."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.visitors) >= count, PATIENCE), f"{self.visitors} came only"

    def let_go(self, number: int) -> None:
        """Wait until the visitor of this number, from 1, has come, and let it go."""
        self.wait_for(number)
        with self._changed:
            self._held.pop(number).set()

    def hold(self) -> None:
        self._open = False

    def let_all_go(self) -> None:
        with self._changed:
            self._open = True
            for let_go in self._held.values():
                let_go.set()
            self._held.clear()

    def look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def let_go_at_random(self, random: Random, callers: Sequence[Caller[Result]]) -> None:
        """Release calls in random order until the callers have ended. Each caller must notify this gate at its end."""

        def something_to_do() -> bool:
            return bool(self._held) or all(caller.has_ended for caller in callers)

        while True:
            with self._changed:
                assert self._changed.wait_for(something_to_do, PATIENCE), "a caller is stranded"
                if not self._held:
                    return
                number = random.choice(list(self._held))
            self.let_go(number)


def all_at_once(calls: Sequence[Callable[[], Result]], clock: Clock, stand_in: StandIn) -> list[Result]:
    """Make each call from a thread of its own, and return what they return.

    The stand-in answers when all of them wait for an answer: each reads `clock` before it waits.
    """
    with stand_in.hold():
        callers = [Caller(call, then=clock.look_again) for call in calls]
        clock.wait_for_each(callers)
    ends = []
    for caller in callers:
        end = caller.end()
        if isinstance(end, BaseException):
            raise end
        ends.append(end)
    return ends  # type: ignore[return-value]  # a call that returned has a result


def run_script(script: str) -> None:
    """Run Python in a process of its own, which must end well."""
    subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        check=True,
        cwd=ROOT,
        timeout=HANGS,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_on_greenlets(*files: str) -> None:
    """Run the tests of these files once more, in a process where gevent patched everything before any other import."""
    code = "from gevent import monkey; monkey.patch_all(); import pytest; raise SystemExit(pytest.main())"
    finished = subprocess.run(  # noqa: S603  # our own interpreter, our own code
        [sys.executable, "-c", code, "-p", "no:cacheprovider", "-k", "not greenlets_keep_the_same_promises", *files],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout
