"""What Pub/Sub refuses, and with which code.

https://cloud.google.com/pubsub/quotas#resource_limits, https://cloud.google.com/pubsub/docs/reference/rpc
"""

import re
from datetime import timedelta

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

_NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
_MOST_MESSAGES, _MOST_DATA, _MOST_ATTRIBUTES = 1000, 10_000_000, 100
_LONGEST_KEY, _LONGEST_VALUE, _LONGEST_ORDERING_KEY = 256, 1024, 1024
_LONGEST_BACKOFF = timedelta(seconds=600)
_IMMUTABLE = {"name", "topic", "enable_message_ordering", "filter"}
_NOT_HERE = ("filter", "bigquery_config", "cloud_storage_config", "message_transforms")


class Refused(Exception):
    """A request is refused with this status; the text says why."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def _require(condition: object, text: str) -> None:
    if not condition:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


def check_name(name: str, kind: str) -> None:
    match = _NAME.fullmatch(name)
    _require(match and match[1] == kind, f"Invalid [{kind}] name: (name={name})")


def check_messages(request: types.PublishRequest) -> None:
    _require(1 <= len(request.messages) <= _MOST_MESSAGES, f"A request holds 1 to {_MOST_MESSAGES} messages")
    for message in request.messages:
        attributes = dict(message.attributes)
        _require(message.data or attributes, "A message has data or an attribute")
        _require(len(message.data) <= _MOST_DATA, f"A message's data is at most {_MOST_DATA} bytes")
        _require(len(attributes) <= _MOST_ATTRIBUTES, f"A message has at most {_MOST_ATTRIBUTES} attributes")
        for key, value in attributes.items():
            _require(key and not key.startswith("goog"), "An attribute's key is not empty and does not begin with goog")
            _require(len(key.encode()) <= _LONGEST_KEY, f"An attribute's key is at most {_LONGEST_KEY} bytes")
            _require(len(value.encode()) <= _LONGEST_VALUE, f"An attribute's value is at most {_LONGEST_VALUE} bytes")
        _require(len(message.ordering_key.encode()) <= _LONGEST_ORDERING_KEY, "The ordering key is too long")


def check_pull(request: types.PullRequest) -> None:
    _require(request.max_messages > 0, "No max_messages specified")


def check_ack_ids(request: types.AcknowledgeRequest | types.ModifyAckDeadlineRequest) -> None:
    _require(request.ack_ids, "No ack ids specified.")
    for ack_id in request.ack_ids:
        _require(ack_id.startswith(f"{request.subscription}:"), f"Invalid ack id (ack_id={ack_id})")
    if isinstance(request, types.ModifyAckDeadlineRequest):
        _require(0 <= request.ack_deadline_seconds <= 600, "The ack deadline is 0 to 600 s")  # noqa: PLR2004  # said


def check_stream(request: types.StreamingPullRequest, *, is_first: bool) -> None:
    deadline = request.stream_ack_deadline_seconds
    _require(bool(request.subscription) is is_first, "The first request of a stream, and no other, has a subscription")
    _require(10 <= deadline <= 600 or not (deadline or is_first), "The stream's ack deadline is 10 to 600 s")  # noqa: PLR2004  # said
    _require(
        len(request.modify_deadline_ack_ids) == len(request.modify_deadline_seconds),
        "There are as many deadlines to modify as ack ids",
    )


def complete(wanted: types.Subscription) -> types.Subscription:
    """Return a Subscription with the service's defaults where nothing is set, or refuse it."""
    subscription = types.Subscription(wanted)
    subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or 10
    if "message_retention_duration" not in subscription:
        subscription.message_retention_duration = timedelta(days=7)
    if "retry_policy" in subscription:
        policy = subscription.retry_policy
        if "minimum_backoff" not in policy:
            policy.minimum_backoff = timedelta(seconds=10)
        if "maximum_backoff" not in policy:
            policy.maximum_backoff = _LONGEST_BACKOFF
    if "dead_letter_policy" in subscription:
        policy = subscription.dead_letter_policy
        policy.max_delivery_attempts = policy.max_delivery_attempts or 5
    _check_subscription(subscription)
    return subscription


def _check_subscription(subscription: types.Subscription) -> None:
    check_name(subscription.name, "subscriptions")
    for field in _NOT_HERE:
        if field in subscription:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"This emulator has no {field}")
    _require(10 <= subscription.ack_deadline_seconds <= 600, "The ack deadline is 10 to 600 s")  # noqa: PLR2004  # said
    retention = subscription.message_retention_duration
    _require(timedelta(minutes=10) <= retention <= timedelta(days=31), "The retention is 10 minutes to 31 days")
    if "retry_policy" in subscription:
        policy = subscription.retry_policy
        _require(
            timedelta() <= policy.minimum_backoff <= policy.maximum_backoff <= _LONGEST_BACKOFF,
            "The backoff is 0 to 600 s, and its minimum is not above its maximum",
        )
    if "dead_letter_policy" in subscription:
        policy = subscription.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics")
        _require(5 <= policy.max_delivery_attempts <= 100, "The delivery attempts are 5 to 100")  # noqa: PLR2004  # said
    check_push_config(subscription.push_config)
    _require(
        not (subscription.enable_exactly_once_delivery and subscription.push_config.push_endpoint),
        "Exactly-once delivery is for pull subscriptions",
    )


def check_push_config(config: types.PushConfig) -> None:
    if config.push_endpoint:
        _require(re.match(r"https?://[^/\s]+", config.push_endpoint), "Unsupported push_endpoint")
    if "oidc_token" in config:
        _require(config.oidc_token.service_account_email, "An OIDC token needs a service account's e-mail")


def merge(current: types.Subscription, request: types.UpdateSubscriptionRequest) -> types.Subscription:
    """Return the subscription after the update: only the fields of the mask change."""
    paths = list(request.update_mask.paths)
    _require(paths, "The update_mask must be set, and must contain a non-empty paths list.")
    for path in paths:
        _require(path.partition(".")[0] not in _IMMUTABLE, f"{path} is not mutable")
    merged = types.Subscription(current)
    mask = FieldMask(paths=paths)
    _require(mask.IsValidForDescriptor(types.Subscription.pb(merged).DESCRIPTOR), f"Unknown field among {paths}")
    mask.MergeMessage(
        types.Subscription.pb(request.subscription),
        types.Subscription.pb(merged),
        replace_message_field=True,
        replace_repeated_field=True,
    )
    return complete(merged)
