"""How a message ended: service/app.py decides which HTTP answer it gets."""

from enum import StrEnum
from typing import NamedTuple

from service.commercetools.notification import Notification
from service.pubsub.envelope import PushMessage


class Ending(StrEnum):
    """The four outcomes of a message."""

    DELIVERED = "Delivered"
    IGNORED = "Ignored"
    REFUSED = "Refused"
    FAILED = "Failed"


class Outcome(NamedTuple):
    """How a message ended and why, in words that quote nothing of it, and the ids of what it was about.

    `set_aside` is true if a refused message is in the dead-letter topic. `warn` marks an outcome that an operator
    should see although nothing failed.
    """

    ending: Ending
    reason: str = ""
    set_aside: bool = False
    warn: bool = False
    message: PushMessage | None = None
    notification: Notification | None = None

    @property
    def sentence(self) -> str:
        return f"{self.ending}: {self.reason}" if self.reason else str(self.ending)
