"""The dead-letter topic: an unreadable message is published there with its reason, for the operator.

https://cloud.google.com/pubsub/docs/publisher
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from service.pubsub.envelope import PushMessage
from service.serving.publisher import publish_rpc
from service.serving.upstream import CALL_SECONDS

_LONGEST_VALUE = 1024  # bytes of an attribute's value: https://cloud.google.com/pubsub/quotas#resource_limits
_AT_ONCE = 4  # with gevent a call uses one of ten threads, and resolving a host name needs a thread too
_NO_TIME = "no time was left to set it aside"


class NotSetAside(Exception):
    """The dead-letter topic has not confirmed the message."""


SetAside = Callable[[PushMessage, str, float], None]
"""Publishes a message with its reason; returns when that is confirmed, or raises NotSetAside, by a deadline."""


class DeadLetterTopic:
    """Publishes to one topic. google-cloud-pubsub is imported when the first message is set aside: 0.2 s, 60 MB."""

    def __init__(self, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._clock = clock
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._making = threading.Lock()
        self._publish: Any = None  # an RPC of google-cloud-pubsub, which comes without types

    def set_aside(self, message: PushMessage, reason: str, deadline: float) -> None:
        """Publish data and attributes unchanged, with `reason` and the origin of the message as further attributes."""
        ours = {
            "reason": _shortened(reason),
            "source_subscription": message.subscription,
            "source_message_id": message.message_id,
            "source_delivery_attempt": str(message.delivery_attempt or ""),
        }
        attributes = {**message.attributes, **{name: value for name, value in ours.items() if value}}
        if not self._turns.acquire(timeout=self._left(deadline)):
            raise NotSetAside(_NO_TIME)
        try:
            publish = self._rpc()  # before the time is checked, since making it takes a moment
            published = publish(
                topic=self._topic,
                messages=[{"data": message.data, "attributes": attributes}],
                retry=None,
                timeout=self._left(deadline),
            )
        except NotSetAside:
            raise
        except Exception as error:  # noqa: BLE001  # without a confirmation the message must not be acknowledged
            raise NotSetAside(f"the dead-letter topic did not take it: {type(error).__name__}") from None
        finally:
            self._turns.release()
        if len(published.message_ids) != 1:
            raise NotSetAside("what answered is not Pub/Sub: it gave the dead letter no id")

    def _left(self, deadline: float) -> float:
        seconds = min(CALL_SECONDS, deadline - self._clock())
        if seconds <= 0:  # gRPC takes a timeout of 0 for none
            raise NotSetAside(_NO_TIME)
        return seconds

    def _rpc(self) -> Any:  # noqa: ANN401  # as above
        with self._making:
            if self._publish is None:
                self._publish = publish_rpc()
            return self._publish


def _shortened(text: str) -> str:
    return text.encode(errors="replace")[:_LONGEST_VALUE].decode(errors="ignore")
