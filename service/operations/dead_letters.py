"""dead-letters: shows, replays or drops the messages in the dead-letter subscription.

All four take the messages by pull and hold them while they work. What they do not acknowledge they let go in the end,
so that it waits on. https://cloud.google.com/pubsub/docs/pull, https://cloud.google.com/pubsub/docs/handling-failures
"""

import base64
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from service.commercetools.notification import Notification, read_notification
from service.config import TOPIC_NAME, ConfigError, value_of
from service.operations import (
    SUBSCRIPTION_NAME,
    Environment,
    Exit,
    Output,
    Trouble,
    environment_of,
    plain,
    pubsub_clients,
)
from service.operations.google_api import NoCredentials
from service.pubsub.dead_letter import is_given_up, is_publishable, is_set_aside, original_attributes
from service.serving.decoding import Malformed
from service.serving.publisher import publish_rpc_of

# https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts
_GIVEN_UP = "CloudPubSubDeadLetterSource"

_CALL_SECONDS = 30.0
_ANSWER_SECONDS = 10.0  # pulls were seen to take 5 s, and one that is cancelled may keep its messages
_HELD_SECONDS = 600  # the longest ack deadline of a pulled message
_SURELY_HELD_SECONDS = 570.0
_PULLED_AT_ONCE = 100
_ACKNOWLEDGED_AT_ONCE = 500
_PUBLISHED_AT_ONCE = 100
_PUBLISHED_BYTES = 5_000_000  # of the 10 MB of a publish request
_LONGEST_REASON = 80

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True, slots=True)
class Choice:
    """Selects dead letters: at most `limit`, with `reason` in their reason, and with these ids if any are given."""

    limit: int
    reason: str = ""
    message_ids: frozenset[str] = frozenset()

    def takes(self, letter: "DeadLetter") -> bool:
        return self.reason.lower() in letter.reason.lower() and (
            not self.message_ids or letter.message_id in self.message_ids
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter subscription. `published` is the time when it was published there."""

    ack_id: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    published: datetime

    @property
    def reason(self) -> str:
        """Why it is here: the service's reason, or that Pub/Sub gave up."""
        if is_given_up(self.attributes):
            return "Pub/Sub gave up" if self.attempts is None else f"Pub/Sub gave up after {self.attempts} deliveries"
        return self.origin.get("reason") or "unknown"

    @property
    def attempts(self) -> int | None:
        """The number of deliveries before it was given up or set aside; None if it was not counted."""
        count = self.origin.get(f"{_GIVEN_UP}DeliveryCount") or self.origin.get("source_delivery_attempt", "")
        return int(count) if count.isascii() and count.isdigit() else None

    @property
    def origin(self) -> Mapping[str, str]:
        """What the service or Pub/Sub has added to its attributes, among others of which nothing is known."""
        if is_given_up(self.attributes):
            return {name: value for name, value in self.attributes.items() if name.startswith(_GIVEN_UP)}
        return self.attributes if is_set_aside(self.attributes) else {}

    @property
    def notification(self) -> Notification | None:
        try:
            return read_notification(self.data)
        except Malformed:
            return None

    @property
    def kind(self) -> str:
        """What it is about, as far as it can be decoded; no personal data."""
        notification = self.notification
        if notification is None:
            return "unreadable" if self.data else "no data"
        kind = notification.message_type or notification.notification_type
        return kind if _WORD.fullmatch(kind) else "unknown"

    @property
    def original_attributes(self) -> dict[str, str]:
        """The attributes that it had before it became a dead letter, except those that are lost."""
        return original_attributes(self.attributes)[0]

    @property
    def publishable(self) -> dict[str, str]:
        """Those of its original attributes that keep Pub/Sub's rules."""
        return {name: value for name, value in self.original_attributes.items() if is_publishable(name, value)}

    @property
    def lost_attributes(self) -> int:
        """The number of attributes that did not fit into the dead letter."""
        return original_attributes(self.attributes)[1]

    def about(self, *, data: bool) -> dict[str, Any]:
        """Return what may be shown; with `data` also the published data, which may be personal."""
        notification = self.notification
        about: dict[str, Any] = {
            "message_id": self.message_id,
            "reason": self.reason,
            "kind": self.kind,
            "attempts": self.attempts,
            "published": self.published.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "bytes": len(self.data),
            "source_message_id": self.origin.get("source_message_id"),
            "source_subscription": self.origin.get("source_subscription")
            or self.origin.get(f"{_GIVEN_UP}Subscription"),
            "resource_type": _word(notification.resource_type) if notification else None,
            "resource_id": _word(notification.resource_id) if notification else None,
            "version": notification.version if notification else None,
        }
        if data:
            about["attributes"] = self.original_attributes
            about["lost_attributes"] = self.lost_attributes
            about["data"] = self.data.decode(errors="backslashreplace")
        return about

    @property
    def as_push(self) -> bytes:
        """The body of the push that a replay would cause: nothing of it is the letter's own, except its message id."""
        message = {
            "data": base64.b64encode(self.data).decode(),
            "attributes": self.publishable,
            "messageId": self.message_id,
            "orderingKey": self.ordering_key,
        }
        return json.dumps({"message": message}).encode()


def _word(text: str) -> str | None:
    return text if _WORD.fullmatch(text) else None


class Mailbox:
    """The dead-letter subscription, and the topic for replays, by Pub/Sub's clients."""

    def __init__(self, subscription: str) -> None:
        value_of("The subscription", subscription)
        if not SUBSCRIPTION_NAME.fullmatch(subscription):
            raise ConfigError("The subscription must have the form projects/PROJECT/subscriptions/SUBSCRIPTION.")
        self._subscription = subscription
        with _explained("Pub/Sub"):
            self._publisher, self._subscriber = pubsub_clients()
        self._publish = publish_rpc_of(self._publisher)
        self._held: set[str] = set()  # ack ids
        self._held_since = time.monotonic()

    def take(self, choice: Choice, wait: float) -> list[DeadLetter]:
        """Pull and hold messages until there are enough, or none has arrived for `wait` seconds, 10 at least.

        Raises Trouble if Pub/Sub does not answer or does not allow it: that it has none is an answer of Pub/Sub.
        """
        letters: dict[str, DeadLetter] = {}
        seen: set[str] = set()
        while len(letters) < choice.limit:
            some = bool(choice.reason or choice.message_ids)
            pulled = self._pull(_PULLED_AT_ONCE if some else min(choice.limit - len(letters), _PULLED_AT_ONCE), wait)
            news = [letter for letter in pulled if letter.message_id not in seen]
            for letter in pulled:
                if letter.message_id in letters:  # redelivered; only the new ack id is valid
                    letters[letter.message_id] = letter
            seen.update(letter.message_id for letter in news)
            letters.update({letter.message_id: letter for letter in news if choice.takes(letter)})
            if not news or (choice.message_ids and choice.message_ids <= letters.keys()):
                break
        oldest_first = sorted(letters.values(), key=lambda letter: letter.published)
        return oldest_first[: choice.limit]

    def _pull(self, at_most: int, wait: float) -> list[DeadLetter]:
        """Ask what there is, which is answered in any case; if there is nothing, wait for it.

        The first answer may overlook some of a few messages. The second call is answered only when there are some, or
        much later: https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#pullrequest
        """
        from google.api_core.exceptions import DeadlineExceeded  # noqa: PLC0415  # as above

        request = {"subscription": self._subscription, "max_messages": at_most}
        seconds = max(wait, _ANSWER_SECONDS)
        with _explained(self._subscription), warnings.catch_warnings():
            # for its cost where messages are many; gcloud pubsub subscriptions pull does the same
            warnings.filterwarnings("ignore", "The return_immediately flag", DeprecationWarning)
            pulled = self._subscriber.pull(
                request=request | {"return_immediately": True}, retry=None, timeout=seconds
            ).received_messages
        with _explained(self._subscription):
            if not pulled:
                try:
                    pulled = self._subscriber.pull(request=request, retry=None, timeout=seconds).received_messages
                except DeadlineExceeded:
                    return []  # as Pub/Sub has just said
            ack_ids = [received.ack_id for received in pulled]
            self._held.update(ack_ids)
            if ack_ids:
                self._subscriber.modify_ack_deadline(
                    subscription=self._subscription,
                    ack_ids=ack_ids,
                    ack_deadline_seconds=_HELD_SECONDS,
                    retry=None,
                    timeout=_CALL_SECONDS,
                )
        return [_dead_letter(received) for received in pulled]

    @property
    def still_holds(self) -> bool:
        """Whether the messages are certainly still held: after ten minutes Pub/Sub delivers them to others."""
        return time.monotonic() - self._held_since < _SURELY_HELD_SECONDS

    def acknowledge(self, letters: Sequence[DeadLetter]) -> None:
        """Acknowledge these. Raises Trouble."""
        ack_ids = [letter.ack_id for letter in letters]
        with _explained(self._subscription):
            for part in _parts(ack_ids, _ACKNOWLEDGED_AT_ONCE):
                self._subscriber.acknowledge(
                    subscription=self._subscription, ack_ids=part, retry=None, timeout=_CALL_SECONDS
                )
                self._held.difference_update(part)

    def publish(self, topic: str, letters: Sequence[DeadLetter], *, all_attributes: bool = True) -> bool:
        """Publish these as they were originally; return True when Pub/Sub has confirmed them all. Raises Trouble.

        False means that Pub/Sub takes none of them, because it does not take one of them as it is; without
        `all_attributes` those are left out that do not keep the rules.
        """
        from google.api_core.exceptions import InvalidArgument  # noqa: PLC0415  # as above

        with _explained(topic):
            try:
                self._publish(
                    topic=topic,
                    messages=[
                        {
                            "data": letter.data,
                            "attributes": letter.original_attributes if all_attributes else letter.publishable,
                            "ordering_key": letter.ordering_key,
                        }
                        for letter in letters
                    ],
                    retry=None,
                    timeout=_CALL_SECONDS,
                )
            except InvalidArgument:
                return False
        return True

    def let_go(self) -> None:
        """Release all that is still held, so that it is delivered again at once."""
        held, self._held = sorted(self._held), set()
        with _explained(self._subscription):
            for part in _parts(held, _ACKNOWLEDGED_AT_ONCE):
                self._subscriber.modify_ack_deadline(
                    subscription=self._subscription,
                    ack_ids=part,
                    ack_deadline_seconds=0,
                    retry=None,
                    timeout=_CALL_SECONDS,
                )

    def close(self) -> None:
        self._subscriber.close()
        self._publisher.stop()
        self._publisher.transport.close()


@contextmanager
def open_mailbox(subscription: str) -> Iterator[Mailbox]:
    """Open the mailbox; at the end release what was not acknowledged."""
    mailbox = Mailbox(subscription)
    try:
        yield mailbox
    finally:
        try:
            mailbox.let_go()
        finally:
            mailbox.close()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415  # the import takes 0.2 s, and only this and `check` need it
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415  # as above

    began = time.monotonic()
    try:
        yield
    except GoogleAuthError:
        raise NoCredentials(" (or set PUBSUB_EMULATOR_HOST for an emulator)") from None
    except GoogleAPICallError as error:
        kind, seconds = type(error).__name__, time.monotonic() - began
        if kind == "ServiceUnavailable" and seconds >= _ANSWER_SECONDS:  # gRPC tries to connect for 20 s
            kind = "DeadlineExceeded"
        said = f": {plain(str(error.message))[:300].rstrip('.')}" if kind in _SAID or kind not in _TODO else ""
        raise Trouble(f"{name}: {_TODO.get(kind, kind).format(seconds=seconds)}{said}.") from None


_SAID = {"InvalidArgument", "FailedPrecondition"}
"""Errors of which Pub/Sub's own sentence says more than their kind: it names a resource, and quotes no message."""

_TODO = {
    "NotFound": "there is no such thing in Pub/Sub",
    "PermissionDenied": "not allowed; it takes roles/pubsub.subscriber there, and to replay roles/pubsub.publisher "
    "on the topic",
    "DeadlineExceeded": "Pub/Sub did not answer in {seconds:.0f} s",
    "ServiceUnavailable": "Pub/Sub was not reached",
    "InvalidArgument": "Pub/Sub does not take it",
}


def _dead_letter(received: Any) -> DeadLetter:  # noqa: ANN401  # google-cloud-pubsub comes without types
    message = received.message
    return DeadLetter(
        ack_id=received.ack_id,
        message_id=message.message_id,
        data=message.data,
        attributes=dict(message.attributes),
        ordering_key=message.ordering_key,
        published=message.publish_time.replace(tzinfo=UTC) if message.publish_time else datetime.now(UTC),
    )


def _parts(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


# The commands


def has_dead_letters(environment: Environment) -> bool:
    """Tell whether the settings name a dead-letter subscription, or are those of a service with a dead-letter topic."""
    names = ["DEAD_LETTER_SUBSCRIPTION", *(["DEAD_LETTER_TOPIC"] if environment.origin else [])]
    return any(name in environment for name in names)


def subscription_by(environment: Mapping[str, str], option: str | None, missing: Sequence[str] = ()) -> str:
    """Return the dead-letter subscription: of the option, of the settings, or the one of a service's dead-letter topic.

    Raises ConfigError, which also names what else is missing, and Trouble if Pub/Sub cannot tell.
    """
    given = environment_of(environment)
    named = option or given.get("DEAD_LETTER_SUBSCRIPTION", "").strip()
    topic = given.get("DEAD_LETTER_TOPIC", "").strip()
    if not (option or has_dead_letters(given)):
        missing = ["DEAD_LETTER_SUBSCRIPTION (or --subscription)", *missing]
    if missing:
        raise ConfigError(f"{' and '.join(missing)} must be set.")
    if named:
        return named
    with _explained(topic):
        publisher, subscriber = pubsub_clients()
        try:
            found = list(publisher.list_topic_subscriptions(topic=topic, retry=None, timeout=_CALL_SECONDS))
        finally:
            publisher.stop()
            publisher.transport.close()
            subscriber.close()
    if len(found) != 1:
        raise ConfigError(f"{topic} has {len(found)} subscriptions: name one with --subscription.")
    return str(found[0])


def places_by(environment: Mapping[str, str], subscription: str | None, topic: str | None) -> tuple[str, str]:
    """Return the dead-letter subscription and the topic to publish to. Raises ConfigError and Trouble, as above."""
    topic = topic or environment.get("PUBSUB_TOPIC", "").strip()
    return subscription_by(environment, subscription, () if topic else ["PUBSUB_TOPIC (or --topic)"]), topic


def run_list(output: Output, subscription: str, choice: Choice, *, wait: float, show_data: bool) -> Exit:
    """List the dead letters; nothing is acknowledged. Raises ConfigError and Trouble."""
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(choice, wait)
    if output.as_json:
        output.document([letter.about(data=show_data) for letter in letters])
    elif not letters:
        output.results.print(_none(choice))
    else:
        output.table(_table(letters))
        if show_data:
            for letter in letters:
                output.results.print()
                _print_whole(output, letter, show_data=True)
    return Exit.DONE


def run_show(output: Output, subscription: str, choice: Choice, *, wait: float, show_data: bool) -> Exit:
    """Show each in full, the data only with `show_data`. ATTENTION if a requested one is missing."""
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(choice, wait)
    if output.as_json:
        output.document([letter.about(data=show_data) for letter in letters])
    elif not letters:
        output.results.print(_none(choice))
    else:
        for number, letter in enumerate(letters):
            if number:
                output.results.print()
            _print_whole(output, letter, show_data=show_data)
    return _missing(output, choice, letters)


def run_data(output: Output, subscription: str, message_id: str, *, wait: float) -> Exit:
    """Write the data of one, byte by byte as it was published. ATTENTION if it is missing."""
    choice = Choice(1, message_ids=frozenset((message_id,)))
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(choice, wait)
    file = output.results.file
    for letter in letters:
        if file.isatty():
            output.results.print(Text(plain(letter.data.decode(errors="backslashreplace"))), soft_wrap=True)
        else:
            file.buffer.write(letter.data)  # type: ignore[attr-defined]  # of sys.stdout
    return _missing(output, choice, letters)


def found(subscription: str, message_id: str, *, wait: float) -> DeadLetter:
    """Return the dead letter with this message id, and leave it where it is. Raises ConfigError and Trouble."""
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(Choice(1, message_ids=frozenset((message_id,))), wait)
    if not letters:
        raise Trouble(f"{_NOT_FOUND}: {message_id}. See: commercetools-segment dead-letters list", Exit.ATTENTION)
    return letters[0]


def run_replay(output: Output, subscription: str, choice: Choice, *, topic: str, wait: float, dry_run: bool) -> Exit:
    """Publish to `topic` again, and acknowledge what Pub/Sub has confirmed. Raises ConfigError and Trouble."""
    value_of("The topic", topic)
    if not TOPIC_NAME.fullmatch(topic):
        raise ConfigError("The topic must have the form projects/PROJECT/topics/TOPIC.")
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(choice, wait)
        empty = [letter for letter in letters if not letter.data and not letter.original_attributes]
        full = [letter for letter in letters if letter.data or letter.original_attributes]
        replay = _Replay(mailbox, topic)
        try:
            for part in _publishable(full):
                if not dry_run:
                    replay.publish(part)
        finally:
            refused = [{"message_id": letter.message_id, "reason": letter.reason} for letter in replay.refused]
            number = len(full if dry_run else replay.done)
            _report(output, "replayed", letters, number, choice, dry_run=dry_run, refused=refused)
            replay.remark(output)
    if empty:
        output.remark(f"{len(empty)} have neither data nor attributes: nothing can be published; see drop.", "yellow")
    return max(_missing(output, choice, letters), Exit.ATTENTION if empty or replay.refused else Exit.DONE)


class _Replay:
    """Publishes letters to a topic. `done` are confirmed and acknowledged, `refused` stay."""

    def __init__(self, mailbox: Mailbox, topic: str) -> None:
        self._mailbox = mailbox
        self._topic = topic
        self.done: list[DeadLetter] = []
        self.refused: list[DeadLetter] = []
        self._shortened: list[DeadLetter] = []

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish these, and acknowledge what Pub/Sub has confirmed. One that it refuses stops no other."""
        if self._mailbox.publish(self._topic, letters):
            self._confirmed(letters, shortened=[letter for letter in letters if letter.lost_attributes])
        elif len(letters) > 1:
            middle = len(letters) // 2
            self.publish(letters[:middle])
            self.publish(letters[middle:])
        elif self._is_taken_shortened(letters[0]):
            self._confirmed(letters, shortened=letters)
        else:
            self.refused += letters

    def _is_taken_shortened(self, letter: DeadLetter) -> bool:
        is_other = letter.publishable != letter.original_attributes and (letter.data or letter.publishable)
        return bool(is_other) and self._mailbox.publish(self._topic, [letter], all_attributes=False)

    def _confirmed(self, letters: Sequence[DeadLetter], *, shortened: Sequence[DeadLetter]) -> None:
        self._mailbox.acknowledge(letters)
        self.done += letters
        self._shortened += shortened

    def remark(self, output: Output) -> None:
        for letter in self.refused:
            output.remark(
                f"Pub/Sub does not take {letter.message_id} (InvalidArgument), which stays; it became a dead letter "
                f"because: {letter.reason}",
                "yellow",
            )
        if self.refused and not self.done:
            output.remark(f"It took none of them: is {self._topic} right?", "yellow")
        if self._shortened:
            ids = ", ".join(letter.message_id for letter in self._shortened)
            output.remark(f"Replayed without those attributes that Pub/Sub does not take: {ids}", "yellow")


def _publishable(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        if part and (len(part) == _PUBLISHED_AT_ONCE or size + len(letter.data) > _PUBLISHED_BYTES):
            yield part
            part, size = [], 0
        part.append(letter)
        size += len(letter.data)
    if part:
        yield part


def run_drop(
    output: Output,
    subscription: str,
    choice: Choice,
    *,
    wait: float,
    dry_run: bool,
    agreed: Callable[[int], bool],
) -> Exit:
    """Acknowledge without publishing, which deletes them. `agreed` is called with their number first."""
    with open_mailbox(subscription) as mailbox:
        letters = mailbox.take(choice, wait)
        if letters and not output.as_json:
            output.remarks.print(_table(letters))
        drops = bool(letters) and not dry_run and agreed(len(letters))
        if drops and not mailbox.still_holds:
            raise Trouble("The answer came too late: Pub/Sub has given the messages back. Run the command again.")
        if drops:
            mailbox.acknowledge(letters)
        _report(output, "dropped", letters, len(letters) if drops or dry_run else 0, choice, dry_run=dry_run)
    if letters and not drops and not dry_run:
        return Exit.ATTENTION
    return _missing(output, choice, letters)


_NOT_FOUND = "Not found, or held by somebody else for the moment"


def _missing(output: Output, choice: Choice, letters: Sequence[DeadLetter]) -> Exit:
    missing = choice.message_ids - {letter.message_id for letter in letters}
    if missing:
        output.remark(f"{_NOT_FOUND}: {', '.join(sorted(missing))}", "yellow")
    return Exit.ATTENTION if missing else Exit.DONE


def _report(
    output: Output,
    done: str,
    letters: Sequence[DeadLetter],
    number: int,
    choice: Choice,
    *,
    dry_run: bool,
    **more: object,
) -> None:
    if output.as_json:
        ids = [letter.message_id for letter in letters]
        counts = {done: 0 if dry_run else number, "found": len(letters), "dry_run": dry_run}
        output.document(counts | {"message_ids": ids} | more)
    elif not letters:
        output.results.print(_none(choice))
    else:
        would = "would be " if dry_run else ""
        output.results.print(f"{number} of {len(letters)} dead letters {would}{done}.", highlight=False)


def _none(choice: Choice) -> str:
    of = " like that" if choice.reason or choice.message_ids else ""
    return f"No dead letters{of}."


def _table(letters: Sequence[DeadLetter]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("message", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("attempts", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for letter in letters:
        reason = letter.reason if len(letter.reason) <= _LONGEST_REASON else f"{letter.reason[:_LONGEST_REASON]}…"
        attempts = "·" if letter.attempts is None else str(letter.attempts)
        cells = (letter.message_id, _age(letter.published), attempts, letter.kind, reason)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _print_whole(output: Output, letter: DeadLetter, *, show_data: bool) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in letter.about(data=False).items():
        if value is not None:
            table.add_row(Text(name, "bold"), Text(plain(str(value))))
    if show_data:
        for name, value in letter.original_attributes.items():
            table.add_row(Text("attribute", "bold"), Text(plain(f"{name}={value}")))
        if letter.lost_attributes:
            table.add_row(Text("lost_attributes", "bold"), Text(str(letter.lost_attributes)))
    output.table(table)
    if show_data:
        output.results.print(Text(plain(_pretty(letter.data))), soft_wrap=True)


def _pretty(data: bytes) -> str:
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return data.decode(errors="backslashreplace")


def _age(moment: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
