"""Pub/Sub as the conformance tests see it: ours or Google's emulator behind the real client libraries."""

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from playground.ports import ReservedPort

_numbers = itertools.count()


class _Running(Protocol):
    host: str


@dataclass(frozen=True)
class Differences:
    """Where Google's emulator is known not to be the real service; seen with version 0.8.20."""

    acknowledging: frozenset[int]
    tells_attempt: bool
    ordering_key_header: str


OURS = Differences(
    acknowledging=frozenset({102, 200, 201, 202, 204}),
    tells_attempt=True,
    ordering_key_header="x-goog-pubsub-ordering-key",
)
GOOGLES = Differences(
    acknowledging=frozenset({102, 200, 201, 203, 204}),
    tells_attempt=False,
    ordering_key_header="x-goog-ordering-key",
)


class Service:
    """A Pub/Sub and its clients. Names of topics and subscriptions are new with each call."""

    def __init__(self, host: str, differences: Differences) -> None:
        self.host = host
        self.differences = differences
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PUBSUB_EMULATOR_HOST", host)
            ordering = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
            self.publisher = pubsub_v1.PublisherClient(publisher_options=ordering)
            self.subscriber = pubsub_v1.SubscriberClient()

    def close(self) -> None:
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()

    def topic(self) -> str:
        name = f"projects/demo/topics/topic-{os.getpid()}-{next(_numbers)}"
        self.publisher.create_topic(name=name)
        return name

    def subscription(self, topic: str, endpoint: str = "", **config: Any) -> str:  # noqa: ANN401  # Subscription's fields
        name = f"projects/demo/subscriptions/subscription-{os.getpid()}-{next(_numbers)}"
        if endpoint:
            config["push_config"] = {"push_endpoint": endpoint} | config.get("push_config", {})
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **config})
        return name

    def publish(self, topic: str, data: str | bytes, ordering_key: str = "", **attributes: str) -> str:
        data = data if isinstance(data, bytes) else data.encode()
        message_id: str = self.publisher.publish(topic, data, ordering_key=ordering_key, **attributes).result(30)
        return message_id

    def publish_all(self, topic: str, texts: list[str], ordering_key: str = "") -> None:
        futures = [self.publisher.publish(topic, text.encode(), ordering_key=ordering_key) for text in texts]
        for future in futures:
            future.result(30)

    def pull(self, subscription: str, limit: int = 1, seconds: float = 15) -> list[types.ReceivedMessage]:
        response = self.subscriber.pull(subscription=subscription, max_messages=limit, timeout=seconds)
        return list(response.received_messages)

    @contextmanager
    def stream(self, subscription: str, **first: Any) -> Iterator["Stream"]:  # noqa: ANN401  # StreamingPullRequest's fields
        """Open a streaming pull below the client's own handling of leases."""
        stream = Stream(self.subscriber, {"subscription": subscription, "stream_ack_deadline_seconds": 60, **first})
        try:
            yield stream
        finally:
            stream.close()


class Stream:
    """A streaming pull: what is requested on it, and what is received."""

    def __init__(self, subscriber: pubsub_v1.SubscriberClient, first: dict[str, Any]) -> None:
        self._requests: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self.request(**first)
        self._responses = subscriber.streaming_pull(requests=iter(self._requests.get, None), timeout=30, retry=None)

    def request(self, **request: Any) -> None:  # noqa: ANN401  # StreamingPullRequest's fields
        self._requests.put(request)

    def receive(self, number: int = 1) -> list[types.ReceivedMessage]:
        """Wait for so many messages; raises what ends the stream before."""
        received: list[types.ReceivedMessage] = []
        while len(received) < number:
            received += next(self._responses).received_messages
        return received

    def close(self) -> None:
        self._requests.put(None)
        self._responses.cancel()


@contextmanager
def clients_of(running: _Running) -> Iterator[Service]:
    service = Service(running.host, OURS)
    try:
        yield service
    finally:
        service.close()


@contextmanager
def googles_emulator(folders: pytest.TempPathFactory) -> Iterator[Service]:
    """Use Google's emulator, one for all workers of a test run; skip the test where it is not installed."""
    gcloud = shutil.which("gcloud")
    root = Path(gcloud).resolve().parent.parent if gcloud else Path()
    program = root / "platform/pubsub-emulator/bin/cloud-pubsub-emulator"
    if not (program.exists() and shutil.which("java")):
        pytest.skip("gcloud's pubsub-emulator component or Java is not installed")
    of_the_worker = folders.getbasetemp()
    of_the_run = of_the_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_the_worker
    folder = of_the_run / "googles-emulator"
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("w") as users:
        with (folder / "start").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits while the keeper stops an emulator that nobody used any more
            address = folder / "address"
            if not address.exists():
                address.write_text(_started(program, folder))
        service = Service(address.read_text(), GOOGLES)
        try:
            yield service
        finally:
            service.close()


_KEEPER = """
import fcntl, os, pathlib, signal, sys
folder, emulator = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with (folder / "users").open("w") as users:
    fcntl.flock(users, fcntl.LOCK_EX)
    (folder / "address").unlink(missing_ok=True)
    os.kill(emulator, signal.SIGTERM)
"""


def _started(program: Path, folder: Path) -> str:
    """Start an emulator, and a process that stops it once no worker holds the lock; return its host and port."""
    with ReservedPort() as port:
        emulator = _in_background(str(program), "--host=127.0.0.1", f"--port={port.number}")
        _in_background(sys.executable, "-c", _KEEPER, str(folder), emulator)
        host = f"127.0.0.1:{port.number}"
        with grpc.insecure_channel(host, options=[("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
    return host


def _in_background(*command: str) -> str:
    """Start a program that outlives the worker that starts it; return its process id."""
    started = subprocess.run(  # noqa: S603  # what a test starts
        ["sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", *command],  # noqa: S607  # from the PATH
        env={**os.environ, "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"},  # for a short life
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        start_new_session=True,
    )
    return started.stdout.strip()
