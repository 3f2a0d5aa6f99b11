"""What commercetools publishes about its resources, and what all of a project's resources share: time and ids.

https://docs.commercetools.com/api/projects/subscriptions#delivery
"""

import copy
import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from playground.history import Document, History
from playground.stand_in import json_bytes

Action = Mapping[str, Any]
Publish = Callable[[bytes, Mapping[str, str]], None]
Raised = list[tuple[str, Document]]
"""Messages of an update action: the type, and the fields of that type."""
Numbered = tuple[str, int, Document]
"""A Message: its type, its resourceVersion, and the fields of that type."""
Format = Literal["Platform", "CloudEvents"]
Wanted = bool | Sequence[Document]
"""All, none, or what a Subscription's `messages` or `changes` name: `{"resourceTypeId": …, "types": […]}`."""

CLIENT = {"clientId": "4W4G78A9pYwJq2TnXv0sLd3K", "isPlatformClient": False}


class Project:
    """The clock, the ids and the topic of one project. While `lock` is held nothing changes."""

    def __init__(
        self,
        key: str,
        publish: Publish,
        *,
        seed: int,
        format: Format,  # noqa: A002  # the Subscription's own field
        messages: Wanted,
        changes: Wanted,
        clock: Callable[[], datetime],
    ) -> None:
        self.key = key
        self.publish = publish
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self._format = format
        self._messages = messages
        self._changes = changes
        self._clock = clock
        self.now = _milliseconds(clock())

    def tick(self) -> datetime:
        """Return the time, later than ever before."""
        self.now = max(_milliseconds(self._clock()), self.now + timedelta(milliseconds=1))
        return self.now

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def wants_message(self, type_id: str, kind: str) -> bool:
        """Tell whether the Subscription has Messages of this type."""
        return _wants(self._messages, type_id, kind)

    def wants_changes(self, type_id: str) -> bool:
        """Tell whether the Subscription has changes of this type of resource."""
        return _wants(self._changes, type_id)

    def send(self, payload: Document) -> bytes:
        """Publish in the Subscription's format; an Event, whose CloudEvents form is unknown, is published unchanged."""
        attributes = {}
        if self._format == "CloudEvents" and payload["notificationType"] != "Event":
            payload = _cloud_event(payload)
            attributes = {"content-type": "application/cloudevents+json; charset=UTF-8"}  # the binding's own rule
        data = json_bytes(payload)
        self.publish(data, attributes)
        return data


class Resources:
    """The resources of one type. Each request publishes its Messages, and then a change."""

    def __init__(
        self,
        project: Project,
        type_id: str,
        history: History,
        identifiers: Sequence[str] = ("key",),
    ) -> None:
        self.history = history
        self._project = project
        self._type_id = type_id
        self._identifiers = identifiers

    def keep(self, document: Document) -> None:
        self.history.keep(document, self._project.now)

    def tell_creation(self, document: Document, *messages: tuple[str, Document]) -> None:
        """Publish the Messages of a resource that is new; they have no identifiers."""
        numbered = [(kind, document["version"], fields) for kind, fields in messages]
        self._tell(document, numbered, self._change("ResourceCreated", document), identified=False)

    def change(
        self, resource_id: str, actions: Sequence[Action], apply: Callable[[Document, Action], Raised]
    ) -> tuple[Document, list[Numbered]]:
        """Return the resource after one update, and its Messages; `apply` does an action and returns what it raises.

        The version rises by one for each action with an effect, and sometimes by one more; without any effect nothing
        happens. Raises KeyError for a resource that does not exist, and what `apply` raises.
        """
        chance = self._project.random
        with self._project.lock:
            before = self.history[resource_id]
            document = copy.deepcopy(before)
            messages: list[Numbered] = []
            for action in actions:
                former = copy.deepcopy(document)
                raised = apply(document, action)
                if document == former:
                    continue
                document["version"] += 1
                messages += [(kind, document["version"], fields) for kind, fields in raised]
            if document["version"] == before["version"]:
                return before, []
            document["version"] += sometimes(chance, 0.15)
            document["lastMessageSequenceNumber"] += len(messages)
            document["lastModifiedAt"] = document["versionModifiedAt"] = iso(self._project.tick())
            document["lastModifiedBy"] = {} if sometimes(chance, 0.1) else CLIENT  # sometimes
            self.history.keep(document, self._project.now)
        self._tell(document, messages, self._change("ResourceUpdated", document, oldVersion=before["version"]))
        return document, messages

    def delete(self, resource_id: str, kind: str, fields: Callable[[Document], Document], **more: object) -> Document:
        """Return the last version of a resource, deleted; `kind` is the Message of that."""
        with self._project.lock:
            document = self.history[resource_id]
            now = self._project.tick()
            self.history.delete(resource_id)
        number = document["lastMessageSequenceNumber"] + 1
        last = {**document, "lastModifiedAt": iso(now), "lastMessageSequenceNumber": number}
        self._tell(last, [(kind, last["version"], fields(last))], self._change("ResourceDeleted", last, **more))
        return document

    def _tell(
        self,
        document: Document,
        messages: Sequence[Numbered],
        change: Document,
        *,
        identified: bool = True,
    ) -> None:
        """Publish the Messages of an update, with the resource as it is after it, and then the change."""
        first = document["lastMessageSequenceNumber"] - len(messages) + 1
        identifiers = {"resourceUserProvidedIdentifiers": self._identifiers_of(document)} if identified else {}
        for sequence, (kind, version, fields) in enumerate(messages, first):
            if self._project.wants_message(self._type_id, kind):
                numbers = {"sequenceNumber": sequence, "resourceVersion": version}
                self._project.send(self._message(document, numbers, {**identifiers, "type": kind, **fields}))
        if self._project.wants_changes(self._type_id):
            self._project.send(change)

    def _message(self, document: Document, numbers: Document, fields: Document) -> Document:
        return {
            "notificationType": "Message",
            "projectKey": self._project.key,
            "id": self._project.uuid(),
            "version": 1,  # of a Message always 1
            "resource": {"typeId": self._type_id, "id": document["id"]},
            **numbers,
            **fields,
            "createdAt": document["lastModifiedAt"],
            "lastModifiedAt": document["lastModifiedAt"],
            "createdBy": CLIENT,
            "lastModifiedBy": CLIENT,
        }

    def _change(self, kind: str, document: Document, **more: object) -> Document:
        return {
            "notificationType": kind,
            "projectKey": self._project.key,
            "resource": {"typeId": self._type_id, "id": document["id"]},
            "resourceUserProvidedIdentifiers": self._identifiers_of(document),
            "version": document["version"],
            **more,
            "modifiedAt": document["lastModifiedAt"],
        }

    def _identifiers_of(self, document: Document) -> Document:
        return {name: document[name] for name in self._identifiers if name in document}


def sometimes(chance: random.Random, share: float) -> bool:
    return chance.random() < share


def iso(moment: datetime) -> str:
    """Return a moment as commercetools writes it: UTC, milliseconds, `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _wants(wanted: Wanted, type_id: str, kind: str = "") -> bool:
    if isinstance(wanted, bool):
        return wanted
    about = [one for one in wanted if one["resourceTypeId"] == type_id]
    return any(not kind or not one.get("types") or kind in one["types"] for one in about)


def _milliseconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def _cloud_event(payload: Document) -> Document:
    """A notification in structured content mode, the Platform payload as its `data`."""
    type_id, resource_id, kind = payload["resource"]["typeId"], payload["resource"]["id"], payload["notificationType"]
    event = {"specversion": "1.0", "source": f"/{payload['projectKey']}/{type_id}s", "subject": resource_id}
    if kind != "Message":
        mark = {"ResourceCreated": "c", "ResourceUpdated": "u", "ResourceDeleted": "d"}[kind]
        return {
            "id": f"{resource_id}-{mark}{payload['version']}",
            **event,
            "type": f"com.commercetools.{type_id}.change.{kind}",
            "time": payload["modifiedAt"],
            "data": payload,
        }
    return {
        "id": payload["id"],
        **event,
        "type": f"com.commercetools.{type_id}.message.{payload['type']}",
        "time": payload["lastModifiedAt"],
        "dataref": f"/{payload['projectKey']}/messages/{payload['id']}",
        "sequence": str(payload["sequenceNumber"]),
        "sequencetype": "Integer",
        "data": payload,
    }
