"""Pub/Sub on one machine: an emulator for the real client libraries, with the real service's push.

`PUBSUB_EMULATOR_HOST` set to its `host` is all that a client needs. gRPC, the certificates of its push tokens and the
REST form of publish are on one port of the loopback interface. Nothing is kept when it stops. What it leaves out:
filters, seek, snapshots, schemas.
"""

import argparse
import asyncio
import itertools
import json
import re
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import ParseError
from google.pubsub_v1 import types

from playground.pubsub_push import Connections, Message, Signer
from playground.pubsub_rules import (
    Refused,
    check_ack_ids,
    check_messages,
    check_name,
    check_pull,
    check_push_config,
    check_stream,
    complete,
    merge,
)
from playground.pubsub_subscription import Push, Stream, Subscription, World

__all__ = ["Message", "PubSubEmulator", "Push"]

_LOOPBACK = "127.0.0.1"
_LARGEST_REQUEST = 12 * 1024 * 1024  # bytes; a message of 10 MB and what is around it, above gRPC's default of 4 MB
_RPC_THREADS = 64  # as many pulls can wait at a time, or half as many streams
_CHUNK = 256 * 1024
_Result = TypeVar("_Result")


class PubSubEmulator:
    """An emulator on the loopback interface, running between `start()` and `stop()`, or as a context manager.

    `port` 0 takes a free one. `speed` divides every wait of the service's own (retry and push backoff, retention,
    held messages), never an ack deadline or a time in a token. `duplicate` is the probability that an acknowledged
    message is pushed once more, `reorder` that a message without ordering is held back for up to a second; `seed`
    makes both the same for the same messages in the same order. A pull that finds nothing returns nothing after
    `pull_seconds`.

    `on_message` is called with a topic and each message that it takes, before any push, and `on_push` after each push,
    both in the emulator's thread: they must be quick and must not call the emulator.
    """

    host: str
    """127.0.0.1:PORT, the value for PUBSUB_EMULATOR_HOST; known once started"""
    certs_url: str
    """Where the certificates for push tokens are, in the form of https://www.googleapis.com/oauth2/v1/certs"""

    def __init__(
        self,
        *,
        port: int = 0,
        speed: float = 1.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        seed: int | None = None,
        pull_seconds: float = 20.0,
        on_message: Callable[[str, Message], None] | None = None,
        on_push: Callable[[Push], None] | None = None,
    ) -> None:
        self._port = port
        self._on_message = on_message
        self._pull_seconds = pull_seconds
        self._world = World(
            speed=speed,
            duplicate=duplicate,
            reorder=reorder,
            seed=seed,
            connections=Connections(),
            signer=Signer(),
            forward=self._forward,
            on_push=on_push,
            changed=threading.Condition(),
        )
        self._topics: dict[str, types.Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._message_ids = itertools.count(1)
        self._callers: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen and serve; raises OSError where the port is taken."""
        listener = socket.create_server((_LOOPBACK, self._port))
        self._topics.clear()
        self._subscriptions.clear()
        self.host = f"{_LOOPBACK}:{listener.getsockname()[1]}"
        self.certs_url = f"http://{self.host}/certs"
        self._rpc_threads = ThreadPoolExecutor(_RPC_THREADS, "pubsub-rpc")
        self._rpc_server = grpc.server(
            self._rpc_threads,
            handlers=self._rpc_handlers(),
            options=[("grpc.max_receive_message_length", _LARGEST_REQUEST), ("grpc.so_reuseport", 0)],
        )
        self._rpc_port = self._rpc_server.add_insecure_port(f"{_LOOPBACK}:0")
        self._rpc_server.start()
        serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener, serving)), name="pubsub")
        self._thread.start()
        serving.wait()

    def stop(self) -> None:
        """End every push and every thread; messages are forgotten. Does nothing when it is not running."""
        if self._thread is None:
            return
        self._rpc_server.stop(grace=0).wait()  # cancels waiting pulls: see _rpc
        self._rpc_threads.shutdown()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def disturb(self, *, duplicate: float, reorder: float) -> None:
        """Change both probabilities for the messages that are published from now on."""
        self._world.duplicate, self._world.reorder = duplicate, reorder

    @property
    def disturbance(self) -> tuple[float, float]:
        """The probabilities of a duplicate and of being held back."""
        return self._world.duplicate, self._world.reorder

    def backlog(self, subscription: str) -> int:
        """Return how many messages of `projects/P/subscriptions/S` are unacknowledged, in flight or not."""
        return self._subscriptions[subscription].backlog

    def wait_until_idle(self, timeout: float, subscription: str | None = None) -> bool:
        """Wait until nothing is outstanding in a subscription, or in all that are pushed; False after `timeout` s.

        Every `on_push` has returned by then. What a dead-letter topic's pull subscription holds counts only by name.
        """

        def is_idle() -> bool:
            if subscription is not None:
                return self._subscriptions[subscription].is_idle
            return all(each.is_idle for each in tuple(self._subscriptions.values()) if each.is_pushed)

        with self._world.changed:
            return self._world.changed.wait_for(is_idle, timeout)

    # The port: HTTP/2 is passed on to gRPC, HTTP/1 is answered here. All that follows is in the event loop's thread.

    async def _serve(self, listener: socket.socket, serving: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, sock=listener)
        serving.set()
        await self._stopping.wait()
        self._loop.remove_reader(listener)
        await asyncio.sleep(0)  # asyncio forgets a connection that is accepted but not begun when its server closes
        server.close()
        self._world.connections.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # not a coroutine itself: before Python 3.12.1, asyncio logs the cancelling of one as an error
        caller = self._loop.create_task(self._serve_caller(reader, writer))
        self._callers.add(caller)
        caller.add_done_callback(self._callers.discard)
        caller.add_done_callback(lambda _: writer.close())  # a task that is cancelled before its first step too

    async def _serve_caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # the caller's trouble ends its call
            first_line = await reader.readuntil(b"\r\n")
            if first_line.startswith(b"PRI * HTTP/2.0"):
                await self._pass_on(first_line, reader, writer)
            else:
                writer.write(await self._answer(first_line, reader))
                await writer.drain()

    async def _pass_on(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rpc_reader, rpc_writer = await asyncio.open_connection(_LOOPBACK, self._rpc_port)
        try:
            rpc_writer.write(first)
            await asyncio.gather(_copy(reader, rpc_writer), _copy(rpc_reader, writer))
        finally:
            rpc_writer.close()

    async def _answer(self, first_line: bytes, reader: asyncio.StreamReader) -> bytes:
        method, path, _ = first_line.decode("latin-1").split(" ", 2)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)(?:^|\r\n)content-length:[ \t]*(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        status, content = await self._resource(method, path, body)
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: application/json",
            f"Cache-Control: {'public, max-age=21600' if method == 'GET' else 'no-store'}",  # about as Google's
            f"Content-Length: {len(content)}",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "\r\n"]).encode() + content

    async def _resource(self, method: str, path: str, body: bytes) -> tuple[HTTPStatus, bytes]:
        publish = re.fullmatch(r"/v1/(projects/[^/]+/topics/[^/:]+):publish", path)
        if method == "GET" and path == "/certs":
            return HTTPStatus.OK, json.dumps(self._world.signer.certificates()).encode()
        if method != "POST" or not publish:
            return HTTPStatus.NOT_FOUND, b"{}"
        try:
            request = types.PublishRequest.from_json(body)
            request.topic = publish[1]
            return HTTPStatus.OK, types.PublishResponse.to_json(await self._publish(request)).encode()
        except (ParseError, Refused) as error:
            is_missing = isinstance(error, Refused) and error.code is grpc.StatusCode.NOT_FOUND
            status = HTTPStatus.NOT_FOUND if is_missing else HTTPStatus.BAD_REQUEST
            name = "NOT_FOUND" if is_missing else "INVALID_ARGUMENT"
            return status, json.dumps({"error": {"code": status, "message": str(error), "status": name}}).encode()

    # The RPCs: https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1

    def _rpc_handlers(self) -> list[Any]:
        publisher = {
            "CreateTopic": (self._create_topic, types.Topic, types.Topic),
            "GetTopic": (self._get_topic, types.GetTopicRequest, types.Topic),
            "ListTopics": (self._list_topics, types.ListTopicsRequest, types.ListTopicsResponse),
            "DeleteTopic": (self._delete_topic, types.DeleteTopicRequest, None),
            "ListTopicSubscriptions": (
                self._list_topic_subscriptions,
                types.ListTopicSubscriptionsRequest,
                types.ListTopicSubscriptionsResponse,
            ),
            "Publish": (self._publish, types.PublishRequest, types.PublishResponse),
        }
        subscriber = {
            "CreateSubscription": (self._create_subscription, types.Subscription, types.Subscription),
            "GetSubscription": (self._get_subscription, types.GetSubscriptionRequest, types.Subscription),
            "ListSubscriptions": (
                self._list_subscriptions,
                types.ListSubscriptionsRequest,
                types.ListSubscriptionsResponse,
            ),
            "UpdateSubscription": (self._update_subscription, types.UpdateSubscriptionRequest, types.Subscription),
            "DeleteSubscription": (self._delete_subscription, types.DeleteSubscriptionRequest, None),
            "ModifyPushConfig": (self._modify_push_config, types.ModifyPushConfigRequest, None),
            "Pull": (self._pull, types.PullRequest, types.PullResponse),
            "Acknowledge": (self._acknowledge, types.AcknowledgeRequest, None),
            "ModifyAckDeadline": (self._modify_ack_deadline, types.ModifyAckDeadlineRequest, None),
        }
        streaming_pull = grpc.stream_stream_rpc_method_handler(
            self._streaming_pull,
            request_deserializer=types.StreamingPullRequest.deserialize,
            response_serializer=types.StreamingPullResponse.serialize,
        )
        return [
            grpc.method_handlers_generic_handler(
                f"google.pubsub.v1.{service}", {name: self._rpc(*method) for name, method in methods.items()} | streams
            )
            for service, methods, streams in (
                ("Publisher", publisher, {}),
                ("Subscriber", subscriber, {"StreamingPull": streaming_pull}),
            )
        ]

    def _rpc(self, method: Callable[[Any], Awaitable[Any]], request_type: Any, response_type: Any) -> Any:  # noqa: ANN401  # grpc's and the library's own, without types
        """Return a gRPC handler that has `method` run in the event loop; no response type stands for Empty."""

        def handle(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401  # as above
            async def run() -> Any:  # noqa: ANN401  # as above
                return await method(request)

            answer = asyncio.run_coroutine_threadsafe(run(), self._loop)
            if not context.add_callback(answer.cancel):  # a caller that has gone pulls no message
                answer.cancel()
            try:
                return answer.result()
            except Refused as refusal:
                context.abort(refusal.code, str(refusal))
            except CancelledError:
                context.abort(grpc.StatusCode.CANCELLED, "The caller has gone")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.deserialize,
            response_serializer=response_type.serialize if response_type else lambda _: Empty().SerializeToString(),
        )

    def _streaming_pull(
        self, requests: Iterator[types.StreamingPullRequest], context: grpc.ServicerContext
    ) -> Iterator[types.StreamingPullResponse]:
        """Answer in this thread, and take the caller's further requests in another, until either side ends it."""

        def ended() -> None:
            self._loop.call_soon_threadsafe(stream.end)

        def take_requests() -> None:
            with suppress(grpc.RpcError):  # the caller has gone
                for request in requests:
                    self._in_loop(self._take_over(stream, request))
            ended()

        try:
            stream = self._in_loop(self._begin_stream(next(requests, types.StreamingPullRequest())))
            self._rpc_threads.submit(take_requests)
            if not context.add_callback(ended):
                ended()
            while received := self._in_loop(stream.next()):
                yield types.StreamingPullResponse(received_messages=received)
        except Refused as refusal:
            context.abort(refusal.code, str(refusal))

    def _in_loop(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def _begin_stream(self, first: types.StreamingPullRequest) -> Stream:
        stream = Stream(self._subscription(first.subscription), first)
        await self._take_over(stream, first, is_first=True)
        return stream

    async def _take_over(self, stream: Stream, request: types.StreamingPullRequest, *, is_first: bool = False) -> None:
        """Acknowledge and modify what the request names; a request that is refused ends the stream."""
        name = stream.subscription.name
        try:
            check_stream(request, is_first=is_first)
            if request.ack_ids:
                await self._acknowledge(types.AcknowledgeRequest(subscription=name, ack_ids=request.ack_ids))
            for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
                await self._modify_ack_deadline(
                    types.ModifyAckDeadlineRequest(subscription=name, ack_ids=[ack_id], ack_deadline_seconds=seconds)
                )
        except Refused as refusal:
            stream.end(refusal)
        stream.ack_deadline = request.stream_ack_deadline_seconds or stream.ack_deadline

    async def _create_topic(self, request: types.Topic) -> types.Topic:
        check_name(request.name, "topics")
        if request.name in self._topics:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Topic already exists")
        self._topics[request.name] = request
        return request

    def _topic(self, name: str) -> types.Topic:
        check_name(name, "topics")
        if name not in self._topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Topic not found")
        return self._topics[name]

    async def _get_topic(self, request: types.GetTopicRequest) -> types.Topic:
        return self._topic(request.topic)

    async def _list_topics(self, request: types.ListTopicsRequest) -> types.ListTopicsResponse:
        return types.ListTopicsResponse(
            topics=[topic for name, topic in self._topics.items() if name.startswith(f"{request.project}/")]
        )

    async def _delete_topic(self, request: types.DeleteTopicRequest) -> None:
        self._topic(request.topic)
        del self._topics[request.topic]
        for subscription in self._subscriptions.values():
            if subscription.config.topic == request.topic:
                subscription.config.topic = "_deleted-topic_"

    async def _list_topic_subscriptions(
        self, request: types.ListTopicSubscriptionsRequest
    ) -> types.ListTopicSubscriptionsResponse:
        self._topic(request.topic)
        return types.ListTopicSubscriptionsResponse(
            subscriptions=[name for name, each in self._subscriptions.items() if each.config.topic == request.topic]
        )

    async def _publish(self, request: types.PublishRequest) -> types.PublishResponse:
        self._topic(request.topic)
        check_messages(request)
        message_ids = [
            self._put(request.topic, message.data, dict(message.attributes), message.ordering_key)
            for message in request.messages
        ]
        return types.PublishResponse(message_ids=message_ids)

    def _put(self, topic: str, data: bytes, attributes: Mapping[str, str], ordering_key: str) -> str:
        message = Message(str(next(self._message_ids)), datetime.now(UTC), data, attributes, ordering_key)
        if self._on_message is not None:
            self._on_message(topic, message)
        for subscription in self._subscriptions.values():
            if subscription.config.topic == topic:
                subscription.put(message)
        return message.message_id

    def _forward(self, topic: str, message: Message, attributes: Mapping[str, str]) -> bool:
        """Publish the message anew, with these attributes; False where there is no such topic."""
        if topic in self._topics:
            self._put(topic, message.data, attributes, message.ordering_key)
        return topic in self._topics

    async def _create_subscription(self, request: types.Subscription) -> types.Subscription:
        config = complete(request)
        if config.name in self._subscriptions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Subscription already exists")
        self._topic(config.topic)
        self._require_dead_letter_topic(config)
        self._subscriptions[config.name] = Subscription(config, self._world)
        return config

    def _require_dead_letter_topic(self, config: types.Subscription) -> None:
        if "dead_letter_policy" in config:
            self._topic(config.dead_letter_policy.dead_letter_topic)

    def _subscription(self, name: str) -> Subscription:
        check_name(name, "subscriptions")
        if name not in self._subscriptions:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Subscription does not exist")
        return self._subscriptions[name]

    async def _get_subscription(self, request: types.GetSubscriptionRequest) -> types.Subscription:
        return self._subscription(request.subscription).config

    async def _list_subscriptions(self, request: types.ListSubscriptionsRequest) -> types.ListSubscriptionsResponse:
        return types.ListSubscriptionsResponse(
            subscriptions=[
                each.config for name, each in self._subscriptions.items() if name.startswith(f"{request.project}/")
            ]
        )

    async def _update_subscription(self, request: types.UpdateSubscriptionRequest) -> types.Subscription:
        subscription = self._subscription(request.subscription.name)
        config = merge(subscription.config, request)
        self._require_dead_letter_topic(config)
        subscription.configure(config)
        return config

    async def _delete_subscription(self, request: types.DeleteSubscriptionRequest) -> None:
        self._subscription(request.subscription).delete()
        del self._subscriptions[request.subscription]

    async def _modify_push_config(self, request: types.ModifyPushConfigRequest) -> None:
        subscription = self._subscription(request.subscription)
        check_push_config(request.push_config)
        config = types.Subscription(subscription.config)
        config.push_config = request.push_config
        subscription.configure(config)

    async def _pull(self, request: types.PullRequest) -> types.PullResponse:
        subscription = self._subscription(request.subscription)
        check_pull(request)
        wait = 0.0 if request.return_immediately else self._pull_seconds
        received = await subscription.pull(request.max_messages, wait)
        return types.PullResponse(received_messages=received)

    async def _acknowledge(self, request: types.AcknowledgeRequest) -> None:
        subscription = self._subscription(request.subscription)
        check_ack_ids(request)
        for ack_id in request.ack_ids:
            subscription.acknowledge(ack_id)

    async def _modify_ack_deadline(self, request: types.ModifyAckDeadlineRequest) -> None:
        subscription = self._subscription(request.subscription)
        check_ack_ids(request)
        for ack_id in request.ack_ids:
            subscription.modify_ack_deadline(ack_id, request.ack_deadline_seconds)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()


def main() -> None:
    """Run the emulator in the foreground until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(prog="python -m playground.pubsub", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8085)
    parser.add_argument("--speed", type=float, default=1.0, help="divides every wait, so that hours pass in minutes")
    parser.add_argument("--duplicate", type=float, default=0.0, help="probability of a second push after an ack")
    parser.add_argument("--reorder", type=float, default=0.0, help="probability that a message is held back")
    parser.add_argument("--seed", type=int, help="makes the last two reproducible")
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in every thread from here on, so that sigwait has them
    with PubSubEmulator(**vars(parser.parse_args())) as emulator:
        sys.stdout.write(f"PUBSUB_EMULATOR_HOST={emulator.host}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
