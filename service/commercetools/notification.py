"""commercetools' notifications, in Platform format or in a CloudEvent.

https://docs.commercetools.com/api/projects/subscriptions#delivery-payloads
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from marshmallow import fields

from service.serving.decoding import Document, Inner, Malformed, Plain, json_object, load, moment_or_none

_EVENT = "Event"
_CHANGES = {"ResourceCreated": "created", "ResourceUpdated": "updated", "ResourceDeleted": "deleted"}
_MESSAGES = {"CustomerCreated": "created"}


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification: the fields that we use.

    `resource_type` and `resource_id` are "" in an Event payload, which has no resource. `version` is the resource's: a
    Message's own `version` is always 1, so its `resourceVersion` is taken. `included` is commercetools' JSON
    of the resource where a Message includes it; `identifiers` are the key, externalId and customerNumber of that
    version. `body` is the whole notification. The repr shows of the resource its type, id and version.
    """

    notification_type: str
    project_key: str = ""
    resource_type: str = ""
    resource_id: str = ""
    version: int | None = None
    message_type: str = ""
    included: Mapping[str, Any] | None = field(default=None, repr=False)
    email: str = field(default="", repr=False)
    identifiers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data_erasure: bool = False
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def created_at(self) -> datetime | None:
        """When the Message was created, in UTC; None if it does not say so."""
        return moment_or_none(self.body.get("createdAt"))

    @property
    def event_type(self) -> str:
        """What happened to which type of resource: customer.created, customer.updated, customer.deleted and so on."""
        return f"{self.resource_type}.{self.change}" if self.resource_type else self.notification_type

    @property
    def is_deletion(self) -> bool:
        """Whether the resource was deleted: ResourceDeleted, or the Message CustomerDeleted, OrderDeleted and so on."""
        return self.change == "deleted"

    @property
    def change(self) -> str:
        change = _CHANGES.get(self.notification_type)
        if change is not None:
            return change
        if self.message_type.endswith("Deleted") and self.message_type == f"{_pascal(self.resource_type)}Deleted":
            return "deleted"
        return _MESSAGES.get(self.message_type, "updated")


def _pascal(type_id: str) -> str:
    """Return the beginning of the names of a type's Messages: "BusinessUnit" for "business-unit"."""
    return "".join(word[:1].upper() + word[1:] for word in type_id.split("-"))


def _camel(type_id: str) -> str:
    """Return the name of the field in which a type's Messages include the resource: "businessUnit"."""
    first, hyphen, others = type_id.partition("-")
    return first + _pascal(others) if hyphen else first


_FIELD = re.compile(r"[A-Za-z]{1,40}")  # the form of a field's name; nothing else is quoted


class _ResourceSchema(Document):
    type_id = Plain(str, "typeId", required=True)
    id = Plain(str, required=True)


class _PayloadNotIncludedSchema(Document):
    payload_type = Plain(str, "payloadType", absent="")


class _NotificationSchema(Document):
    notification_type = Plain(str, "notificationType", required=True)
    project_key = Plain(str, "projectKey", absent="")
    resource = Inner(_ResourceSchema, load_default=None)
    version = Plain(int)
    resource_version = Plain(int, "resourceVersion")
    type = Plain(str, absent="")
    payload_not_included = Inner(
        _PayloadNotIncludedSchema, data_key="payloadNotIncluded", load_default=None, allow_none=True
    )
    email = Plain(str, absent="")
    identifiers = Plain(dict, "resourceUserProvidedIdentifiers")
    data_erasure = Plain(bool, "dataErasure", absent=False)


class _CloudEventSchema(Document):
    """The outer part of https://docs.commercetools.com/api/projects/subscriptions#cloudeventspayload."""

    data = fields.Dict(required=True)


_NOTIFICATION = _NotificationSchema()
_CLOUD_EVENT = _CloudEventSchema()


def read_notification(data: bytes) -> Notification:
    """Read a message's data, or raise Malformed with the reason."""
    if not data:
        raise Malformed("the message has no data")
    return _notification_in(json_object(data, "the message's data"))


def _notification_in(document: Mapping[str, Any]) -> Notification:
    if "specversion" in document:
        document = load(_CLOUD_EVENT, document, "the CloudEvent")["data"]
    loaded = load(_NOTIFICATION, document, "the notification")
    resource = loaded["resource"] or {"type_id": "", "id": ""}
    if loaded["notification_type"] != _EVENT:
        for name, value in (("projectKey", loaded["project_key"]), ("resource", loaded["resource"])):
            if not value:
                raise Malformed(f"the notification is not valid: {name}: Missing data for required field")
    included = document.get(_camel(resource["type_id"]))
    if included is not None and type(included) is not dict:
        name = _camel(resource["type_id"])
        field_name = name if _FIELD.fullmatch(name) else "the resource"
        raise Malformed(f"the notification is not valid: {field_name}: Not a valid mapping type")
    payload_not_included = loaded["payload_not_included"] or {"payload_type": ""}
    is_message = loaded["notification_type"] == "Message"
    return Notification(
        notification_type=loaded["notification_type"],
        project_key=loaded["project_key"],
        resource_type=resource["type_id"],
        resource_id=resource["id"],
        version=loaded["resource_version"] if is_message else loaded["version"],
        message_type=loaded["type"] or payload_not_included["payload_type"],
        included=included,
        email=loaded["email"],
        identifiers=loaded["identifiers"] or {},
        data_erasure=loaded["data_erasure"],
        body=document,
    )


@dataclass(frozen=True, slots=True)
class PayloadValidation:
    """Whether a payload is a notification, and its event type. `error` is None exactly if it is a notification."""

    event_type: str | None = None
    error: str | None = None

    @property
    def is_valid(self) -> bool:
        return self.error is None


def validate_payload(body: object) -> PayloadValidation:
    """Check whether `body` (bytes, text or parsed JSON) is a notification, and of what.

    `event_type` is customer.created, customer.updated, customer.deleted, or the same of another resource.
    """
    if isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    try:
        if isinstance(body, bytes):
            return PayloadValidation(event_type=read_notification(body).event_type)
        if isinstance(body, Mapping):
            return PayloadValidation(event_type=_notification_in(body).event_type)
    except Malformed as error:
        return PayloadValidation(error=str(error))
    return PayloadValidation(error="the payload is not a JSON object")
