"""The newest requests that the service made to commercetools and Segment, with their answers."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from playground.stand_in import Answer, Call, Fault, StandIn

_REMEMBERED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Made:
    """A request to `party`, the answer, and the fault that kept the answer from its sender or replaced it."""

    party: str
    call: Call
    answer: Answer
    fault: Fault | None

    @property
    def size(self) -> int:
        return len(self.call.body) + len(self.answer.body)


class Calls:
    """Requests in the order in which they were read. What it watches tells it from its own threads."""

    def __init__(self, most_bytes: int = _REMEMBERED_BYTES) -> None:
        self._lock = threading.Lock()
        self._made: deque[Made] = deque()
        self._most_bytes = most_bytes
        self._bytes = 0

    def watch(self, party: str, stand_in: StandIn) -> None:
        """Remember the requests to this party from now on."""
        stand_in.on_call = self._noting(party)

    def _noting(self, party: str) -> Callable[[Call, Answer, Fault | None], None]:
        def note(call: Call, answer: Answer, fault: Fault | None) -> None:
            made = Made(party, call, answer, fault)
            with self._lock:
                self._made.append(made)
                self._bytes += made.size
                while self._bytes > self._most_bytes:
                    self._bytes -= self._made.popleft().size

        return note

    def between(self, began: float, ended: float) -> list[Made]:
        """Return those that were read from `began` to `ended`, in seconds of time.monotonic(), oldest first."""
        found: list[Made] = []
        with self._lock:
            for made in reversed(self._made):
                if made.call.at < began:
                    break
                if made.call.at <= ended:
                    found.append(made)
        return found[::-1]
