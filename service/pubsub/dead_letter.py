"""The dead-letter topic: an unreadable message is published there with its reason, for the operator.

https://cloud.google.com/pubsub/docs/publisher
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from service.pubsub.envelope import PushMessage
from service.serving.publisher import publish_rpc
from service.serving.upstream import CALL_SECONDS

# https://cloud.google.com/pubsub/quotas#resource_limits
_MOST_ATTRIBUTES = 100
_LONGEST_NAME = 256  # bytes
_LONGEST_VALUE = 1024  # bytes

_REST = "source_attributes"
_OURS = ("reason", "source_subscription", "source_message_id", "source_delivery_attempt", _REST)
_GOOGLES = "CloudPubSubDeadLetter"  # what Pub/Sub adds when it gives up: https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts
_HALF = re.compile("[\ud800-\udfff]")

_AT_ONCE = 4  # with gevent a call uses one of ten threads, and resolving a host name needs a thread too
_NO_TIME = "no time was left to set it aside"


class NotSetAside(Exception):
    """The dead-letter topic has not confirmed the message."""


SetAside = Callable[[PushMessage, str, float], None]
"""Publishes a message with its reason; returns when that is confirmed, or raises NotSetAside, by a deadline."""


def is_given_up(attributes: Mapping[str, str]) -> bool:
    """Whether Pub/Sub itself made this a dead letter, after the last delivery; its own attributes say so."""
    return any(name.startswith(_GOOGLES) for name in attributes)


def is_set_aside(attributes: Mapping[str, str]) -> bool:
    """Whether the service made this a dead letter, so that "reason" and "source_…" are the service's attributes."""
    return "reason" in attributes and not is_given_up(attributes)


def attributes_of_letter(message: PushMessage, reason: str) -> dict[str, str]:
    """Return attributes that Pub/Sub takes: those of the message, its reason and its origin.

    What cannot be published as it is, or has a name of ours or of Pub/Sub's, is in "source_attributes", as JSON:
    {"attributes": {name: value}, "lost": number}. A value that does not fit is null there, and an attribute whose name
    does not fit is only counted.
    """
    ours = {
        "reason": reason,
        "source_subscription": message.subscription,
        "source_message_id": message.message_id,
        "source_delivery_attempt": str(message.delivery_attempt or ""),
    }
    ours = {name: _shortened(value) for name, value in ours.items() if value}
    kept = {name: value for name, value in message.attributes.items() if is_publishable(name, value)}
    kept = {name: value for name, value in kept.items() if name not in _OURS and not name.startswith(_GOOGLES)}
    if len(kept) < len(message.attributes) or len(kept) + len(ours) > _MOST_ATTRIBUTES:
        longest_first = sorted(kept, key=lambda name: len(name) + len(kept[name]), reverse=True)
        kept = {name: kept[name] for name in longest_first[: _MOST_ATTRIBUTES - len(ours) - 1]}
        ours[_REST] = _written({name: value for name, value in message.attributes.items() if name not in kept})
    return kept | ours


def original_attributes(attributes: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Return the attributes that a message had before it became a dead letter, and how many of them are lost."""
    if is_given_up(attributes):
        return {name: value for name, value in attributes.items() if not name.startswith(_GOOGLES)}, 0
    if not is_set_aside(attributes):
        return dict(attributes), 0
    rest, lost = _read(attributes.get(_REST, ""))
    return {name: value for name, value in attributes.items() if name not in _OURS} | rest, lost


def is_publishable(name: str, value: str) -> bool:
    """Whether Pub/Sub takes this as an attribute of a publish."""
    in_bounds = 0 < _bytes(name) <= _LONGEST_NAME and _bytes(value) <= _LONGEST_VALUE
    return in_bounds and _is_text(name + value) and not name.startswith("goog")


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _is_text(text: str) -> bool:
    """Whether UTF-8 can write it: JSON can also bring half of a surrogate pair."""
    return not _HALF.search(text)


def _written(attributes: Mapping[str, str]) -> str:
    """Return JSON of at most 1024 bytes with what fits of these, the shortest first."""
    room = _LONGEST_VALUE - len(_json({"attributes": {}, "lost": 1_000_000}))
    fitting: dict[str, str | None] = {}
    for name in sorted(attributes, key=lambda name: len(name) + len(attributes[name])):
        for value in (attributes[name], None):
            size = len(_json({name: value})) - 1  # the comma counts, the braces do not
            if size <= room:
                fitting[name] = value
                room -= size
                break
    return _json({"attributes": fitting, "lost": len(attributes) - len(fitting)})


def _read(written: str) -> tuple[dict[str, str], int]:
    """Return the attributes that `_written` has kept, and the number of the others."""
    try:
        document: Any = json.loads(written or "null")
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"attributes": dict() as found, "lost": int(lost)}:
            whole = {name: value for name, value in found.items() if isinstance(value, str) and _is_text(name + value)}
            return whole, lost + len(found) - len(whole)
    return ({_REST: written} if written else {}), 0  # somebody else's, from before the service wrote it


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))  # in ASCII, so that a character is a byte


class DeadLetterTopic:
    """Publishes to one topic. google-cloud-pubsub is imported when the first message is set aside: 0.2 s, 60 MB."""

    def __init__(self, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._clock = clock
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._making = threading.Lock()
        self._publish: Any = None  # an RPC of google-cloud-pubsub, which comes without types

    def set_aside(self, message: PushMessage, reason: str, deadline: float) -> None:
        """Publish the data unchanged, with the attributes of `attributes_of_letter`."""
        attributes = attributes_of_letter(message, reason)
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
