"""The messageIds of states and facts: Segment drops an event whose messageId it has seen within about a day.

https://www.twilio.com/docs/segment/guides/duplicate-data
"""

import hashlib
import json
from typing import Any

from service.segment.types import SegmentIdentifyPayload

_to_json = json.JSONEncoder().encode


def state_message_id(
    call: str,
    payload: SegmentIdentifyPayload,
    *,
    source: str,
    project_key: str,
    resource_id: str,
    version: int,
    salt: str,
) -> str:
    """Return the messageId of an event that tells a state: 52 characters or a few more, below Segment's 100.

    It names the resource's version and what is said of it (user id, traits, context). So the same content has the same
    id at every delivery, and another content, by other rules or another release, never has an id that Segment has seen.
    `source` is a fingerprint of the write key. A `salt` makes the id new for a state that must be sent once more.
    """
    said: tuple[Any, ...] = (payload["user_id"], payload["traits"], payload["context"])
    if "anonymous_id" in payload:
        said = (*said, payload["anonymous_id"])
    name = _to_json((source, project_key, resource_id, version, call, salt, said))
    return f"ct-{call}-{hashlib.sha256(name.encode()).hexdigest()[:40]}"


def fact_message_id(
    kind: str, fact: tuple[Any, ...], *, source: str, project_key: str, resource_id: str, salt: str
) -> str:
    """Return the messageId of a fact about a resource, whatever the resource's version is."""
    name = _to_json((source, project_key, resource_id, kind, salt, fact))
    return f"ct-{kind}-{hashlib.sha256(name.encode()).hexdigest()[:40]}"
