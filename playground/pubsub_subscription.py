"""A subscription at work: what is due, when it is pushed or pulled, and what becomes of it then.

Everything here happens in the event loop's thread. A message waits in the `ready` queue, or for a timer that puts it
there; `_pump` pushes what is ready as far as the window and the push backoff allow. Waits are in seconds and divided by
`speed`, but for ack deadlines, which belong to the endpoint: they stay real.
"""

import asyncio
import itertools
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
from google.pubsub_v1 import types

from playground.pubsub_push import ACKNOWLEDGING, Connections, Message, Signer, envelope, metadata_headers, rfc3339
from playground.pubsub_rules import Refused

_WIDEST_WINDOW = 256  # pushes in flight; below the file descriptors that a process may open on every platform
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # https://cloud.google.com/pubsub/docs/push#push_backoff
_LARGEST_ANSWER = 1024 * 1024  # bytes of the messages in one answer; a client takes 4 MB
_SHORTEST_HOLD, _LONGEST_HOLD = 0.1, 1.0  # for what `reorder` holds back and `duplicate` sends again


@dataclass(frozen=True, slots=True)
class Push:
    """One finished push attempt."""

    subscription: str
    """`projects/P/subscriptions/S`"""
    message_id: str
    delivery_attempt: int
    """From 1, counted with and without a dead-letter policy"""
    status: int | None
    """None: refused, reset, no HTTP, or late"""
    acknowledged: bool
    dead_lettered: bool
    """This nack was the last allowed: the message is in the dead-letter topic now"""
    attributes: Mapping[str, str]
    seconds: float
    """From connecting to the whole answer, real time"""


@dataclass(slots=True)
class World:
    """What the subscriptions of one emulator share. `duplicate` and `reorder` may change while it runs."""

    speed: float
    duplicate: float
    reorder: float
    seed: int | None
    connections: Connections
    signer: Signer
    forward: Callable[[str, Message, Mapping[str, str]], bool]
    """Publishes a message anew to a topic, with other attributes; False where there is no such topic"""
    on_push: Callable[[Push], None] | None
    changed: threading.Condition
    """Notified when a subscription becomes idle"""


class _Delivery:
    """One message on its way through one subscription."""

    __slots__ = ("attempt", "expires_at", "hold", "message", "twice")

    def __init__(self, message: Message, expires_at: float, hold: float, *, twice: bool) -> None:
        self.message = message
        self.expires_at = expires_at
        self.hold = hold
        self.twice = twice
        self.attempt = 0


class Subscription:
    """One subscription; `config` has its defaults filled in."""

    def __init__(self, config: types.Subscription, world: World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._faults = random.Random(f"{world.seed} {config.name}" if world.seed is not None else None)
        self._backlog: dict[_Delivery, None] = {}  # a set that keeps the order of arrival
        self._ready: deque[_Delivery] = deque()
        self._arrived = asyncio.Event()
        self._lines: dict[str, deque[_Delivery]] = {}  # by ordering key; only the head of each is on its way
        self._leases: dict[str, tuple[_Delivery, asyncio.TimerHandle]] = {}
        self._lease_numbers = itertools.count(1)
        self.is_deleted = False
        self._pushing: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._window = 1.0
        self._pause = 0.0
        self._paused_at, self._is_paused = 0.0, False
        self._expiry: asyncio.TimerHandle | None = None
        self.configure(config)

    def configure(self, config: types.Subscription) -> None:
        """Take over a new configuration, which holds from the next push or pull on."""
        self.config = config
        self.name: str = config.name
        self.is_pushed = bool(config.push_config.push_endpoint)
        self._ack_deadline: int = config.ack_deadline_seconds
        self._retention: float = config.message_retention_duration.total_seconds()
        self._is_ordered: bool = config.enable_message_ordering
        self._dead_letter_topic: str = config.dead_letter_policy.dead_letter_topic
        self._max_attempts: int = config.dead_letter_policy.max_delivery_attempts
        retry = config.retry_policy if "retry_policy" in config else None
        self._min_backoff: float = retry.minimum_backoff.total_seconds() if retry else 0.0
        self._max_backoff: float = retry.maximum_backoff.total_seconds() if retry else 0.0
        self._request = _request_maker(config, self._world.signer)
        self._url = urlsplit(config.push_config.push_endpoint)
        self._pump()

    @property
    def backlog(self) -> int:
        """How many messages are unacknowledged, in flight or not."""
        return len(self._backlog)

    @property
    def is_idle(self) -> bool:
        return not self._backlog and not self._in_flight

    def put(self, message: Message) -> None:
        """Take a message that the topic has just published."""
        held, twice = self._faults.random() < self._world.reorder, self._faults.random() < self._world.duplicate
        hold = self._faults.uniform(_SHORTEST_HOLD, _LONGEST_HOLD)
        expires_at = self._loop.time() + self._retention / self._world.speed
        delivery = _Delivery(message, expires_at, hold, twice=twice)
        self._backlog[delivery] = None
        if self._expiry is None:
            self._expiry = self._loop.call_at(expires_at, self._expire)
        if self._is_ordered and message.ordering_key:
            line = self._lines.setdefault(message.ordering_key, deque())
            line.append(delivery)
            if line[0] is delivery:
                self._offer(delivery)
        else:
            self._offer(delivery, hold if held else 0.0)

    def delete(self) -> None:
        """Forget every message; pushes in flight come to nothing."""
        self._backlog.clear()
        self.is_pushed = False
        self.is_deleted = True
        self.wake()
        self._tell_if_idle()

    # Pull

    async def pull(self, limit: int, wait: float) -> list[types.ReceivedMessage]:
        """Return up to `limit` messages as soon as there is one, and none after `wait` seconds without."""
        taken = self.take(limit)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while not taken:
                    await self.change()
                    taken = self.take(limit)
        return taken

    async def change(self) -> None:
        """Wait until a message may have become ready, a lease has ended, or the subscription is deleted."""
        self._arrived.clear()
        await self._arrived.wait()

    def wake(self) -> None:
        """End each `change` that is waited for."""
        self._arrived.set()

    def is_leased(self, ack_id: str) -> bool:
        return ack_id in self._leases

    def acknowledge(self, ack_id: str) -> None:
        """Acknowledge a pulled message; an ack that comes too late is of no effect."""
        delivery = self._end_lease(ack_id)
        if delivery:
            self._finish(delivery)

    def modify_ack_deadline(self, ack_id: str, seconds: int) -> None:
        """Give a pulled message another `seconds` from now; 0 is a nack."""
        delivery = self._end_lease(ack_id)
        if delivery and seconds:
            self._leases[ack_id] = (delivery, self._loop.call_later(seconds, self._lapse, ack_id))
        elif delivery:
            self._nack(delivery)

    def take(self, limit: int, most_bytes: int = _LARGEST_ANSWER, ack_deadline: int = 0) -> list[types.ReceivedMessage]:
        """Lease what is ready: up to `limit` messages, and no more once they have `most_bytes`.

        `ack_deadline` is in seconds; 0 is that of the subscription.
        """
        taken: list[types.ReceivedMessage] = []
        while len(taken) < limit and most_bytes > 0 and (delivery := self._next()):
            ack_id = f"{self.name}:{next(self._lease_numbers)}"
            timer = self._loop.call_later(ack_deadline or self._ack_deadline, self._lapse, ack_id)
            self._leases[ack_id] = (delivery, timer)
            most_bytes -= len(delivery.message.data)
            taken.append(
                types.ReceivedMessage(
                    ack_id=ack_id,
                    delivery_attempt=delivery.attempt if self._dead_letter_topic else 0,
                    message=delivery.message.as_pulled(),
                )
            )
        return taken

    def _end_lease(self, ack_id: str) -> _Delivery | None:
        delivery, timer = self._leases.pop(ack_id, (None, None))
        if timer:
            timer.cancel()
            self.wake()  # a stream's flow control may have waited for it
        return delivery

    def _lapse(self, ack_id: str) -> None:
        delivery = self._end_lease(ack_id)
        if delivery:
            self._nack(delivery)

    # Push

    def _pump(self) -> None:
        """Push what is ready, as far as window and pause allow. To be called whenever one of the three has changed."""
        if self._ready:
            self._arrived.set()
        while self.is_pushed and not self._is_paused and self._in_flight < int(self._window):
            delivery = self._next()
            if delivery is None:
                return
            self._in_flight += 1
            task = self._loop.create_task(self._push(delivery))
            self._pushing.add(task)
            task.add_done_callback(self._pushing.discard)

    async def _push(self, delivery: _Delivery) -> None:
        started, attempt = self._loop.time(), delivery.attempt
        headers, body = self._request(delivery.message, attempt)
        status = await self._world.connections.post(self._url, headers, body, self._ack_deadline)
        seconds = self._loop.time() - started
        acknowledged = status in ACKNOWLEDGING
        self._adapt(started, acknowledged=acknowledged)
        dead_lettered = False
        if not acknowledged:
            dead_lettered = self._nack(delivery)
        elif delivery.twice:
            delivery.twice = False
            self._offer(delivery, delivery.hold)
        else:
            self._finish(delivery)
        push = Push(
            subscription=self.name,
            message_id=delivery.message.message_id,
            delivery_attempt=attempt,
            status=status,
            acknowledged=acknowledged,
            dead_lettered=dead_lettered,
            attributes=delivery.message.attributes,
            seconds=seconds,
        )
        try:
            if self._world.on_push:
                self._world.on_push(push)
        finally:
            self._in_flight -= 1  # last, so that wait_until_idle returns only after every push was reported
            self._tell_if_idle()
            self._pump()

    def _adapt(self, started: float, *, acknowledged: bool) -> None:
        """Slow start and push backoff: https://cloud.google.com/pubsub/docs/push#delivery_rate.

        The window of pushes in flight doubles with an ack and halves with a nack. A nack pauses the whole
        subscription, each time twice as long, and an ack halves that; nacks in flight together count once.
        """
        if acknowledged:
            self._window = min(self._window * 2, _WIDEST_WINDOW)
            self._pause = self._pause / 2 if self._pause > _SHORTEST_PAUSE else 0.0
        else:
            self._window = max(self._window / 2, 1.0)
            if started >= self._paused_at:
                self._pause = min(max(self._pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
                self._paused_at, self._is_paused = self._loop.time(), True
                self._loop.call_later(self._pause / self._world.speed, self._resume)

    def _resume(self) -> None:
        self._is_paused = False
        self._pump()

    # The way of a delivery: offered, taken, and then finished, or offered again later

    def _offer(self, delivery: _Delivery, wait: float = 0.0) -> None:
        if wait:
            self._loop.call_later(wait / self._world.speed, self._offer, delivery)
            return
        self._ready.append(delivery)
        self._pump()

    def _next(self) -> _Delivery | None:
        while self._ready:
            delivery = self._ready.popleft()
            if delivery in self._backlog:
                delivery.attempt += 1
                return delivery
        return None

    def _nack(self, delivery: _Delivery) -> bool:
        """Have the message delivered again, or set it aside: True if it is in the dead-letter topic now.

        The n-th retry waits min(maximum, minimum * 2 ** (n - 1)) seconds and a little more; without a retry policy
        there is no wait (https://cloud.google.com/pubsub/docs/handling-failures#exponential_backoff). After the last
        attempt the message is forwarded; if the dead-letter topic is gone, it is tried on.
        """
        if delivery not in self._backlog:
            return False
        if self._dead_letter_topic and delivery.attempt >= self._max_attempts:
            attributes = {**delivery.message.attributes, **self._reason(delivery)}
            if self._world.forward(self._dead_letter_topic, delivery.message, attributes):
                self._finish(delivery)
                return True
        backoff = min(self._max_backoff, self._min_backoff * 2 ** min(delivery.attempt - 1, 20))
        self._offer(delivery, backoff * self._faults.uniform(1.0, 1.1))
        return False

    def _reason(self, delivery: _Delivery) -> dict[str, str]:
        """https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts."""
        _, project, _, name = self.name.split("/")
        return {
            "CloudPubSubDeadLetterSourceSubscription": name,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempt),
            "CloudPubSubDeadLetterSourceTopicPublishTime": rfc3339(delivery.message.publish_time),
        }

    def _finish(self, delivery: _Delivery) -> None:
        """Be done with a message: it is out of the backlog, and its ordering key is free for the next."""
        if delivery not in self._backlog:
            return
        del self._backlog[delivery]
        line = self._lines.get(delivery.message.ordering_key)
        if line:
            line.popleft()  # this delivery: only the head is on its way, and the oldest is dropped first
            if line:
                self._offer(line[0])
            else:
                del self._lines[delivery.message.ordering_key]
        self._tell_if_idle()

    def _expire(self) -> None:
        """Drop what has outlived its retention."""
        now = self._loop.time()
        for delivery in list(itertools.takewhile(lambda delivery: delivery.expires_at <= now, self._backlog)):
            self._finish(delivery)
        oldest = next(iter(self._backlog), None)
        self._expiry = self._loop.call_at(oldest.expires_at, self._expire) if oldest else None

    def _tell_if_idle(self) -> None:
        if self.is_idle:
            with self._world.changed:
                self._world.changed.notify_all()


class Stream:
    """A streaming pull: what one caller may still be given of a subscription.

    https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#streamingpullrequest
    """

    def __init__(self, subscription: Subscription, first: types.StreamingPullRequest) -> None:
        self.subscription = subscription
        self.ack_deadline: int = first.stream_ack_deadline_seconds
        self._most_messages: int = first.max_outstanding_messages if first.max_outstanding_messages > 0 else sys.maxsize
        self._most_bytes: int = first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else sys.maxsize
        self._outstanding: dict[str, int] = {}  # bytes by ack id
        self._has_ended = False
        self._refusal: Refused | None = None

    def end(self, refusal: Refused | None = None) -> None:
        """Have `next` return no message, or raise the refusal, from now on."""
        self._refusal = self._refusal or refusal
        self._has_ended = True
        self.subscription.wake()

    async def next(self) -> list[types.ReceivedMessage]:
        """Return messages as soon as there are some and flow control allows it; none once the stream has ended.

        Raises Refused if the subscription is deleted.
        """
        while not self._has_ended and not self.subscription.is_deleted:
            if taken := self._take():
                return taken
            await self.subscription.change()
        if self._refusal:
            raise self._refusal
        if self.subscription.is_deleted:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Subscription does not exist")
        return []

    def _take(self) -> list[types.ReceivedMessage]:
        self._outstanding = {
            ack_id: size for ack_id, size in self._outstanding.items() if self.subscription.is_leased(ack_id)
        }
        limit = self._most_messages - len(self._outstanding)
        most_bytes = min(_LARGEST_ANSWER, self._most_bytes - sum(self._outstanding.values()))
        taken = self.subscription.take(limit, most_bytes, self.ack_deadline)
        self._outstanding |= {each.ack_id: len(each.message.data) for each in taken}
        return taken


def _request_maker(
    config: types.Subscription, signer: Signer
) -> Callable[[Message, int], tuple[dict[str, str], bytes]]:
    """Return what makes the headers and the body of a push from a message and its attempt."""
    name: str = config.name
    push = config.push_config
    is_wrapped, writes_metadata = "no_wrapper" not in push, push.no_wrapper.write_metadata
    tells_attempt = bool(config.dead_letter_policy.dead_letter_topic)
    email: str = push.oidc_token.service_account_email
    audience: str = push.oidc_token.audience or push.push_endpoint

    def make(message: Message, attempt: int) -> tuple[dict[str, str], bytes]:
        headers = {"User-Agent": "CloudPubSub-Google"}
        if email:
            headers["Authorization"] = f"Bearer {signer.token(email, audience)}"
        if is_wrapped:
            headers["Content-Type"] = "application/json"
            return headers, envelope(message, name, attempt if tells_attempt else None)
        if writes_metadata:
            headers |= metadata_headers(message, name)
        return headers, message.data

    return make
