"""The push envelope: what Pub/Sub adds to each message that it pushes.

https://cloud.google.com/pubsub/docs/push#receive_push
https://cloud.google.com/pubsub/docs/payload-unwrapping
https://cloud.google.com/eventarc/docs/workflows/cloudevents
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from service.serving.decoding import Document, Inner, Malformed, Plain, TextIfAny, json_object, load


class Headers(Protocol):
    """The headers of a push. Names are case-insensitive."""

    def get(self, key: str, default: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class PushMessage:
    """One message as it was published, and Pub/Sub's data about its delivery. What Pub/Sub omits is empty."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    ordering_key: str = ""
    subscription: str = ""
    delivery_attempt: int | None = None
    publish_time: str = ""

    @property
    def redelivered(self) -> bool:
        """Whether an earlier delivery was not acknowledged, as far as Pub/Sub says so: with a dead-letter policy."""
        return (self.delivery_attempt or 1) > 1

    def age(self, now: datetime) -> float:
        """Return the seconds since it was published; 0 if that is not known, or longer ago than Pub/Sub keeps any."""
        try:
            seconds = (now - datetime.fromisoformat(self.publish_time)).total_seconds()
        except (ValueError, TypeError):  # no time, or one without an offset
            return 0.0
        return seconds if 0 < seconds < _KEPT_SECONDS else 0.0


class _MessageSchema(Document):
    data = Plain(str, absent="")
    attributes = Plain(dict)
    message_id = Plain(str, "messageId", absent="")
    message_id_too = Plain(str, "message_id", absent="")
    ordering_key = Plain(str, "orderingKey", absent="")
    publish_time = TextIfAny("publishTime")


class _EnvelopeSchema(Document):
    message = Inner(_MessageSchema, required=True)
    subscription = Plain(str, absent="")
    delivery_attempt = Plain(int, "deliveryAttempt")


class _EventSchema(Document):
    data = Inner(_EnvelopeSchema, required=True)


_ATTEMPT = re.compile(r"[0-9]{1,9}")
_KEPT_SECONDS = 31 * 86_400.0  # https://cloud.google.com/pubsub/docs/topic-properties#message_retention
_ENVELOPE = _EnvelopeSchema()
_EVENT = _EventSchema()
_EVENTARC = "google.cloud.pubsub.topic.v1.messagePublished"


def open_envelope(body: bytes, headers: Headers) -> PushMessage:
    """Return the message of a push: in its envelope, or bare if the subscription unwraps it (NoWrapper).

    The envelope may itself be the data of a structured Eventarc event; the body of a binary one is the envelope alone.
    Raises Malformed if the envelope is not valid. This does not check the data of a bare message.
    """
    document = json_object(body, "the push body")
    if "message" in document and document.keys().isdisjoint(("notificationType", "specversion")):
        envelope = load(_ENVELOPE, document, "the push envelope")
    elif "specversion" in document and document.get("type") == _EVENTARC:
        envelope = load(_EVENT, document, "the Eventarc event")["data"]
    else:
        return _bare_message(body, headers)
    message = envelope["message"]
    try:
        data = base64.b64decode(message["data"], validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the message's data is not base64") from None
    return PushMessage(
        data=data,
        attributes={key: str(value) for key, value in (message["attributes"] or {}).items()},
        message_id=message["message_id"] or message["message_id_too"],
        ordering_key=message["ordering_key"],
        subscription=envelope["subscription"],
        delivery_attempt=envelope["delivery_attempt"],
        publish_time=message["publish_time"],
    )


def _bare_message(body: bytes, headers: Headers) -> PushMessage:
    attempt = headers.get("x-goog-pubsub-delivery-attempt", "")
    return PushMessage(
        data=body,
        message_id=headers.get("x-goog-pubsub-message-id", ""),
        ordering_key=headers.get("x-goog-pubsub-ordering-key", ""),
        subscription=headers.get("x-goog-pubsub-subscription-name", ""),
        delivery_attempt=int(attempt) if _ATTEMPT.fullmatch(attempt) else None,
        publish_time=headers.get("x-goog-pubsub-publish-time", ""),
    )
