"""The whole path on one machine: a shop, commercetools, Pub/Sub, the service as it is deployed, and Segment."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import requests
from google.cloud import pubsub_v1

from playground.baskets import NOTHING
from playground.commercetools import CommercetoolsStandIn
from playground.oracle import Profile, differences, profile_of_customer, profiles_of_customers, rules_of
from playground.oracle_orders import Verdict, money_in_segment, money_in_the_books, order_rules_of, verdict_on
from playground.ports import ReservedPort
from playground.processes import Group, children, kill_and_wait
from playground.pubsub import Message, PubSubEmulator, Push
from playground.segment import SegmentPublicApiStandIn, SegmentStandIn
from playground.shop import Shop

if TYPE_CHECKING:
    from concurrent.futures import Future

PROJECT = "demo"
TOPIC = f"projects/{PROJECT}/topics/customers"
DEAD_LETTERS = f"projects/{PROJECT}/topics/dead-letters"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/customers-to-segment"
DEAD_LETTER_SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/dead-letters"
PUSH_ACCOUNT = "push@demo.iam.gserviceaccount.com"
TRIED_SPEED = 20.0
"""For people who watch: Pub/Sub's waits of 10 s and more are that many times shorter."""

ORDER_KINDS = (
    *("OrderCreated", "OrderCreatedFromRecurringOrder", "OrderImported", "OrderStateChanged"),
    *("OrderShipmentStateChanged", "OrderPaymentStateChanged", "OrderCustomerSet", "OrderEditApplied"),
)
PAYMENT_KINDS = ("PaymentCreated", "PaymentTransactionAdded", "PaymentTransactionStateChanged")
"""The Messages about orders and payments that the shop's Subscription has."""
_MESSAGES = (
    {"resourceTypeId": "customer"},
    {"resourceTypeId": "order", "types": [*ORDER_KINDS]},
    {"resourceTypeId": "payment", "types": [*PAYMENT_KINDS]},
)
_EMULATED = threading.RLock()  # the environment is the whole process's
_START_SECONDS = 20.0
_STOP_SECONDS = 15.0
_BETWEEN_LOOKS = 0.05

Line = dict[str, Any]


class Service:
    """The service in a separate process, as in the image, but on loopback alone. `lines` are its parsed log lines.

    With a shared `port`, it is one of several instances behind one address. `folder` has the code that runs. `number`
    is the port that it listens on; 0: any free one. `remember` is the least number of newest lines that are kept
    (None: all).
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        on_line: Callable[[Line], None] | None = None,
        port: ReservedPort | None = None,
        folder: Path | None = None,
        number: int = 0,
        remember: int | None = None,
    ) -> None:
        self._remember = remember
        self._reserved = port or ReservedPort(number)
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines: list[Line] = []
        self.configure(environment)
        self._options = ["--bind", f"127.0.0.1:{self.port}", *(["--reuse-port"] if port else [])]
        self._folder = folder
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._group: Group | None = None
        self._changing = threading.RLock()  # held while it is started, stopped or killed
        self._reader: threading.Thread | None = None

    def configure(self, environment: Mapping[str, str]) -> None:
        """Give it this environment from its next start on."""
        self.environment = {**_inherited(), **environment, "PORT": str(self.port)}

    @property
    def is_running(self) -> bool:
        """Whether it was started, neither stopped nor killed since, and has not ended by itself."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def has_ended(self) -> bool:
        """Whether it was started, and its first process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def pid(self) -> int:
        process = self._process
        if process is None:
            raise RuntimeError("the service is not running")
        return process.pid

    @property
    def peak(self) -> int:
        """MiB that its processes have had at the most, on Linux.

        VmHWM in https://docs.kernel.org/filesystems/proc.html.
        """
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in (self.pid, *children(self.pid))]
        return sum(int(status.partition("VmHWM:")[2].split()[0]) for status in statuses) // 1024

    def start(self) -> Self:
        """Start it, and return when it answers. Raises RuntimeError with its last lines if it ends instead."""
        with self._changing:
            return self._start()

    def _start(self) -> Self:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is not None:
            raise RuntimeError("the service is running already")
        self._group = Group(
            [sys.executable, "-m", "gunicorn", "--config", "python:service.serving.gunicorn_conf", *self._options],
            cwd=self._folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        )
        self._process = self._group.process
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._wait_until_it_answers(self._process)
        return self

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal to the first process, as Cloud Run does; return its exit status when it has ended.

        It is killed if it has not ended after 15 s, and subprocess.TimeoutExpired raised.
        """
        with self._changing:
            return self._stop(signal_number)

    def restart(self) -> Self:
        """Stop it with SIGTERM if it is running, kill it if it does not end by that, and start it."""
        with self._changing:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            return self.start()

    def _stop(self, signal_number: int) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal_number)
        try:
            return process.wait(_STOP_SECONDS)
        finally:
            if self._group is not None:
                self._group.end()
            if self._reader is not None:
                self._reader.join()
            if process.stdout is not None:
                process.stdout.close()

    def kill(self) -> None:
        """Kill all of its processes at once, as when the machine fails."""
        with self._changing:
            if self._process is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self.stop(signal.SIGKILL)

    def kill_worker(self, has_ended: Callable[[], object] = lambda: None) -> None:
        """Kill the worker. The first process then starts another one; return when that answers.

        `has_ended` is called when the old worker has ended and the new one has not started.
        """
        os.kill(self.pid, signal.SIGSTOP)  # so that it starts no new worker yet
        for child in children(self.pid):
            kill_and_wait(child, _STOP_SECONDS)
        has_ended()
        os.kill(self.pid, signal.SIGCONT)
        if self._process is not None:
            self._wait_until_it_answers(self._process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reserved.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        for text in process.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict):
                line = {"severity": "DEFAULT", "message": text.rstrip("\n")}
            self.lines.append(line)
            _forget(self.lines, self._remember)
            if self._on_line:
                self._on_line(line)

    def _wait_until_it_answers(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                # A connection kept alive would hold up the next stop.
                health = requests.get(f"{self.url}/health", headers={"Connection": "close"}, timeout=_START_SECONDS)
                health.raise_for_status()
            except requests.ConnectionError:  # it does not listen yet
                time.sleep(_BETWEEN_LOOKS)
            except requests.RequestException:
                break
            else:
                return
        self.kill()
        words = "\n".join(str(line["message"]) for line in self.lines[-5:])
        raise RuntimeError(f"The service did not start: {words}")


class LocalWorld:
    """The service and all stand-ins around it. A context manager.

    `environment` adds to or replaces the service's settings. `speed` divides Pub/Sub's waits. The push subscription
    has the retry and dead-letter policy of infra/, and push tokens that the service verifies. With `in_batches` the
    shop does not wait until each message is published; `settle` does for all of them. `service` is the first of the
    `services`, of which there are so many `instances`, and later more if `may_grow`. `port` is the service's; those of
    the Segment stand-in, commercetools, Segment's Public API and Pub/Sub are the next four. 0: any free ones.
    `remember` is how many of the newest calls, events and lines are kept (None: all), for long runs. A pull that finds
    nothing returns nothing after `pull_seconds`.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        speed: float = 1.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        latency: float = 0.0,
        environment: Mapping[str, str] | None = None,
        shop_options: Mapping[str, Any] | None = None,
        in_batches: bool = False,
        instances: int = 1,
        may_grow: bool = False,
        port: int = 0,
        folder: Path | None = None,
        remember: int | None = None,
        pull_seconds: float = 20.0,
        on_message: Callable[[str, Message], None] | None = None,
        on_push: Callable[[Push], None] | None = None,
        on_line: Callable[[Line], None] | None = None,
    ) -> None:
        self.port = port
        segment, commercetools, public_api, pubsub = (port + place if port else 0 for place in range(1, 5))
        self.pubsub = PubSubEmulator(
            port=pubsub,
            speed=speed,
            duplicate=duplicate,
            reorder=reorder,
            seed=seed,
            pull_seconds=pull_seconds,
            on_message=on_message,
            on_push=on_push,
        )
        self.segment = SegmentStandIn(latency=latency, port=segment, remember=remember)
        self.public_api = SegmentPublicApiStandIn(segment=self.segment, latency=latency, port=public_api)
        subscribed = {"messages": _MESSAGES, "changes": [{"resourceTypeId": "customer"}]}
        options = {"keep": 1000, **subscribed, **(shop_options or {})}
        self.shop = Shop(publish=self._publish, seed=seed, **options)
        self.commercetools = CommercetoolsStandIn(
            self.shop, latency=latency, port=commercetools, orders=True, remember=remember
        )
        self.writing = threading.RLock()
        """To be held while the shop is changed, where more than one thread does that: it has one writer at a time."""
        self.published: list[str] = []
        """The id of each published message, in order; with `remember`, of the newest."""
        self.said = 0
        """How many messages the shop has said, published or about to be."""
        self._in_batches = in_batches
        self._instances = instances
        self._may_grow = may_grow
        self._folder = folder
        self._remember = remember
        self._shared: ReservedPort | None = None
        self._being_published: deque[Future[str]] = deque()
        self._environment = dict(environment or {})
        self._on_line = on_line
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for stand_in in (self.pubsub, self.segment, self.public_api, self.commercetools):
                stack.enter_context(stand_in)
            with emulated(self.pubsub.host):
                self.publisher = pubsub_v1.PublisherClient()
                self.subscriber = pubsub_v1.SubscriberClient()
            stack.callback(self.publisher.stop)
            stack.callback(self.subscriber.close)
            if self._instances > 1 or self._may_grow:
                self._shared = stack.enter_context(ReservedPort(self.port, shared=True))
            self.services = [stack.enter_context(self._a_service()) for _ in range(self._instances)]
            self.service = self.services[0]
            self._set_up_topics()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_instance(self) -> Service:
        """Start one more instance behind the same address. Raises RuntimeError if it does not start."""
        if self._shared is None:
            raise RuntimeError("this world was not made to grow")
        service = self._stack.enter_context(self._a_service())
        self.services.append(service)
        return service

    def remove_instance(self) -> None:
        """Stop the newest instance with SIGTERM. Raises RuntimeError if it is the only one."""
        if len(self.services) == 1:
            raise RuntimeError("one instance must stay")
        with contextlib.suppress(subprocess.TimeoutExpired):  # it was killed then
            self.services.pop().stop()

    def configure(self, environment: Mapping[str, str]) -> None:
        """Replace what was given as `environment`; each instance has it from its next start on."""
        self._environment = dict(environment)
        for service in self.services:
            service.configure(self.settings())

    def _a_service(self) -> Service:
        return Service(
            self.settings(),
            on_line=self._on_line,
            port=self._shared,
            folder=self._folder,
            number=self.port,
            remember=self._remember,
        )

    def settings(self) -> dict[str, str]:
        """The service's environment, with all features on."""
        return {
            "SEGMENT_WRITE_KEY": self.segment.write_key,
            "SEGMENT_HOST": self.segment.url,
            "SEGMENT_USER_ID": "id",
            "SEGMENT_CLEAR_TRAITS": "all",
            "SEGMENT_PUBLIC_API_TOKEN": self.public_api.token,
            "SEGMENT_PUBLIC_API_URL": self.public_api.url,
            "ERASURE": "every",
            "ORDERS": "on",
            "ORDER_IMPORTS": "all",
            "PUSH_AUTH": "oidc",
            "PUSH_AUDIENCE": "https://commercetools-segment.example.com",
            "PUSH_SERVICE_ACCOUNT": PUSH_ACCOUNT,
            "PUSH_CERTS_URL": self.pubsub.certs_url,
            **self.commercetools.settings,
            "DEAD_LETTER_TOPIC": DEAD_LETTERS,
            "PUBSUB_EMULATOR_HOST": self.pubsub.host,
            **self._environment,
        }

    def publish(self, data: bytes, **attributes: str) -> str:
        """Publish with the real client; return the message's id when Pub/Sub has confirmed it."""
        self.said += 1
        message_id = str(self.publisher.publish(TOPIC, data, **attributes).result(timeout=30))
        self._note_published(message_id)
        return message_id

    def settle(self) -> None:
        """Return when all of the shop's notifications so far are published, and in `published`."""
        with contextlib.suppress(IndexError):  # another thread may take the last of them
            while self._being_published:
                self._note_published(str(self._being_published.popleft().result(timeout=30)))

    def _note_published(self, message_id: str) -> None:
        self.published.append(message_id)
        _forget(self.published, self._remember)

    def _publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        if self._in_batches:
            self.said += 1
            self._being_published.append(self.publisher.publish(TOPIC, data, **attributes))
        else:
            self.publish(data, **attributes)

    def dead_letters(self) -> list[pubsub_v1.types.PubsubMessage]:
        """Pull and acknowledge all dead letters."""
        taken: list[pubsub_v1.types.PubsubMessage] = []
        while self.pubsub.backlog(DEAD_LETTER_SUBSCRIPTION):
            pulled = self.subscriber.pull(
                subscription=DEAD_LETTER_SUBSCRIPTION, max_messages=1000, timeout=30
            ).received_messages
            taken += [received.message for received in pulled]
            self.subscriber.acknowledge(
                subscription=DEAD_LETTER_SUBSCRIPTION, ack_ids=[received.ack_id for received in pulled]
            )
        return taken

    def differences(self) -> list[str]:
        """Return the user ids whose traits in Segment differ from the shop's state."""
        return differences(self.expected_profiles(), self.segment.profiles)

    def expected_profiles(self) -> dict[str, Profile]:
        """Return what Segment should hold about each customer of the shop, by user id."""
        with self.shop.lock:
            return profiles_of_customers(self.shop.customers.values(), self.shop.groups, rules_of(self.settings()))

    def facts(self) -> Verdict:
        """Return what is wrong with what Segment was told about the shop's orders."""
        with self.shop.lock:
            return verdict_on(self.shop.sales, self.segment.received, order_rules_of(self.settings()))

    def money(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return for each currency what Segment was told of sales minus refunds, and what the shop's books say."""
        with self.shop.lock:
            told, books = money_in_segment(self.segment.received), money_in_the_books(self.shop.sales)
        return {one: (told.get(one, NOTHING), books.get(one, NOTHING)) for one in sorted({*told, *books})}

    def doubled(self) -> int:
        """Count the events that tell a state of a customer more often than it has versions with that state."""
        identifies = [event for event in self.segment.events if event["type"] == "identify"]
        events = Counter((event["userId"], _state(event["traits"])) for event in identifies)
        rules = rules_of(self.settings())
        with self.shop.lock:
            documents = [
                version
                for one in {event["traits"]["commercetoolsId"] for event in identifies}
                for version in self.shop.versions(one)
            ]
        profiles = [profile_of_customer(document, self.shop.groups, rules) for document in documents]
        versions = Counter((profile.user_id, _state(profile.traits)) for profile in profiles if profile)
        return sum(max(0, count - max(1, versions[state])) for state, count in events.items())

    def _set_up_topics(self) -> None:
        for topic in (TOPIC, DEAD_LETTERS):
            self.publisher.create_topic(name=topic)
        self.subscriber.create_subscription(name=DEAD_LETTER_SUBSCRIPTION, topic=DEAD_LETTERS)
        self.subscriber.create_subscription(
            request={
                "name": SUBSCRIPTION,
                "topic": TOPIC,
                "ack_deadline_seconds": 60,
                "push_config": {
                    "push_endpoint": self.service.url,
                    "oidc_token": {
                        "service_account_email": PUSH_ACCOUNT,
                        "audience": "https://commercetools-segment.example.com",
                    },
                },
                "retry_policy": {
                    "minimum_backoff": timedelta(seconds=10),
                    "maximum_backoff": timedelta(seconds=600),
                },
                "dead_letter_policy": {"dead_letter_topic": DEAD_LETTERS, "max_delivery_attempts": 100},
            }
        )


def _forget(items: list[Any], remember: int | None) -> None:
    """Drop the oldest, so that at least `remember` are left, and not much more than twice as many."""
    if remember is not None and len(items) > 2 * remember:
        del items[:-remember]


def _state(traits: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in traits.items() if value is not None}, sort_keys=True)


@contextmanager
def emulated(host: str) -> Iterator[None]:
    """Make the Pub/Sub clients that are created meanwhile use an emulator. One thread at a time can do that."""
    with _EMULATED:
        before = os.environ.get("PUBSUB_EMULATOR_HOST")
        os.environ["PUBSUB_EMULATOR_HOST"] = host
        try:
            yield
        finally:
            if before is None:
                del os.environ["PUBSUB_EMULATOR_HOST"]
            else:
                os.environ["PUBSUB_EMULATOR_HOST"] = before


def _inherited() -> dict[str, str]:
    """Return the part of our environment that the service gets: how to find Python, and no settings."""
    return {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ
    }
