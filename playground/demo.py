"""make demo: a small shop's day on one machine, shown live.

It shows what is published, the outcome of each message, and what Segment holds.
"""

import argparse
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from playground.oracle_orders import Verdict
from playground.pubsub import Push
from playground.shop import GARBAGE
from playground.stand_in import answer
from playground.world import SUBSCRIPTION, TRIED_SPEED, Line, LocalWorld
from service.config import ConfigError, segment_from

_IDLE_SECONDS = 40.0

_ENDINGS = ("Delivered", "Ignored", "Refused")
_FIRST_SECONDS = 10.0
_WIDTH = 120  # where the output is no terminal
_JANE = {
    "email": "Jane.Doe@example.com",
    "firstName": "Jane",
    "lastName": "Doe",
    "addresses": [
        {
            "streetName": "Main St",
            "streetNumber": "123",
            "city": "Springfield",
            "state": "IL",
            "postalCode": "62704",
            "country": "US",
            "mobile": "+1 555 0100",
        }
    ],
}


@dataclass
class _Day:
    """What happened so far. The threads of the emulator and the service write it; the main thread draws it."""

    story: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)  # message id -> kind
    endings: dict[str, str] = field(default_factory=dict)  # message id -> the last sentence logged
    failures: Counter[str] = field(default_factory=Counter)  # message id -> attempts that failed
    reasons: Counter[str] = field(default_factory=Counter)  # of the attempts that failed
    acknowledged: set[str] = field(default_factory=set)
    told_again: int = 0  # at most, since a message was redelivered or confirmed late: an older state may have overtaken
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on_line(self, line: Line) -> None:
        message_id = line.get("message_id")
        if not message_id:
            return
        ending, _, reason = str(line["message"]).partition(":")
        with self.lock:
            self.told_again += ending == "Delivered" and bool(reason)
            if ending in _ENDINGS:
                self.endings.setdefault(message_id, ending)  # a duplicate is ignored later; the first ending counts
            else:
                self.failures[message_id] += 1
                self.reasons[str(line["message"])] += 1

    def on_push(self, push: Push) -> None:
        with self.lock:
            if push.subscription == SUBSCRIPTION and push.acknowledged:
                self.acknowledged.add(push.message_id)
                self.told_again += push.delivery_attempt > 1

    def table(self) -> RenderableType:
        with self.lock:
            kinds, endings, failures = dict(self.kinds), dict(self.endings), dict(self.failures)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("what happened", no_wrap=True)
        for column in ("messages", "delivered", "ignored", "refused", "retried", "open"):
            table.add_column(column, justify="right", no_wrap=True)
        for kind in dict.fromkeys(kinds.values()):
            ids = [message_id for message_id, its_kind in kinds.items() if its_kind == kind]
            counts = Counter(endings.get(message_id, "open") for message_id in ids)
            retried = sum(message_id in failures for message_id in ids)
            row = (len(ids), *(counts[ending] for ending in _ENDINGS), retried, counts["open"])
            table.add_row(kind, *(str(number) if number else "·" for number in row))
        return Group(*(Text(line) for line in self.story), table)


def run(console: Console, *, to_segment: bool = False) -> int:
    """Run the day; return 0, or 1 if a message, a customer, a fact or an amount was lost, doubled or wrong.

    `to_segment` sends to the Segment source of SEGMENT_WRITE_KEY, SEGMENT_REGION and SEGMENT_HOST instead of the
    stand-in. Its debugger shows the events; failures and erasure are left out.
    """
    day = _Day()
    world = LocalWorld(
        speed=TRIED_SPEED,
        duplicate=0.2,
        reorder=0.2,
        environment=_real_segment() if to_segment else {},
        on_push=day.on_push,
        on_line=day.on_line,
    )
    console.print("Starting Pub/Sub, commercetools, Segment (all on this machine) and the service …")
    with world:
        with _live(console, day) as tell:
            _the_day(console, world, day, tell, failures=not to_segment)
            tell("night: the messages that are still open are delivered")
            idle = world.pubsub.wait_until_idle(_IDLE_SECONDS, SUBSCRIPTION)
        return _tally(console, world, day, idle=idle, to_segment=to_segment)


def _real_segment() -> Mapping[str, str]:
    settings = segment_from(os.environ)
    return {"SEGMENT_WRITE_KEY": settings.write_key, "SEGMENT_HOST": settings.host, "ERASURE": "off"}


@contextmanager
def _live(console: Console, day: _Day) -> Iterator[Callable[[str], None]]:
    """Draw the table until the end of the day; yield a function that adds a line to the story."""
    with Live(get_renderable=day.table, console=console, refresh_per_second=8, transient=False):
        yield day.story.append


def _show_the_first_customer(console: Console, world: LocalWorld, *, to_segment: bool) -> None:
    customer = world.shop.create(**_JANE)
    console.print("A customer signs up. What commercetools has:")
    console.print(_json(customer), highlight=False)
    if not to_segment and world.segment.wait_for_events(1, _FIRST_SECONDS):
        console.print("What Segment gets:")
        console.print(_json(world.segment.events[0]), highlight=False)
        console.print()


def _json(document: Mapping[str, object]) -> Text:
    return Text(json.dumps(document, indent=2, ensure_ascii=False))


def _the_day(console: Console, world: LocalWorld, day: _Day, tell: Callable[[str], None], *, failures: bool) -> None:
    shop = world.shop
    sell = partial(shop.random_sale, edits=False)

    def happens(kind: str, event: Callable[[], object], times: int = 1) -> None:
        for _ in range(times):
            before = len(world.published)
            event()
            with day.lock:
                day.kinds.update((message_id, kind) for message_id in world.published[before:])

    tell("morning: the Subscription is created, the first customers sign up")
    tell("each sign-up is two messages, CustomerCreated and ResourceCreated: one makes the identify, one is ignored")
    happens("the Subscription", shop.test_notification)
    happens("customers sign up", partial(_show_the_first_customer, console, world, to_segment=not failures))
    happens("customers sign up", lambda: shop.create(email=f"early.{len(shop.customers)}@example.com"), 14)
    tell("the shop opens: customers sign up, change and leave; some messages arrive twice or late")
    happens("customers change", shop.random_change, 60)
    for code in ("SUMMER", "WELCOME10"):
        shop.sales.code(code)
    tell("the shop sells: orders are placed, paid, cancelled and refunded")
    happens("orders and refunds", sell, 60)
    happens("other resources", shop.foreign)
    if failures:
        tell("noon: Segment answers 503 for a while; Pub/Sub retries what was not delivered")
        with world.segment.failing(answer(503)):
            calls = len(world.segment.calls)
            happens("changes, Segment down", shop.random_change, 20)
            happens("orders, Segment down", sell, 10)
            world.segment.wait_for_calls(calls + 3, timeout=10)
        tell("Segment answers again")
    tell("afternoon: unreadable messages are published to the topic")
    happens("garbage", shop.garbage)
    if failures:
        tell("commercetools' query lags a version behind")
        world.commercetools.lag_query(1)
        happens("changes, query lags", shop.random_change, 20)
        happens("orders, query lags", sell, 10)
        world.commercetools.lag_query(0)
    tell("evening: the last changes")
    happens("customers change", shop.random_change, 30)
    world.pubsub.wait_until_idle(_IDLE_SECONDS, SUBSCRIPTION)  # so that each sale is told as it was made
    tell("some orders are edited: each becomes an Order Updated")
    happens("Order Edits", shop.sales.edit, 5)


def _tally(console: Console, world: LocalWorld, day: _Day, *, idle: bool, to_segment: bool) -> int:
    letters = world.dead_letters()
    reasons = {letter.attributes["source_message_id"]: letter.attributes["reason"] for letter in letters}
    misjudged = [letter for letter in letters if letter.attributes["reason"] != GARBAGE.get(letter.data)]
    unsettled = set(world.published) - day.acknowledged
    differences = [] if to_segment else world.differences()
    facts = Verdict() if to_segment else world.facts()
    doubled = 0 if to_segment else max(0, world.doubled() - day.told_again) + len(facts.doubled)
    endings = Counter(day.endings.values())
    lost = len(unsettled) + len(differences) + len(facts.lost)
    wrong = len(facts.amounts_off) + len(facts.invented) + len(facts.otherwise_off)
    lines = [
        ("published", len(world.published), "messages"),
        ("delivered", endings["Delivered"], "each confirmed by Segment"),
        ("ignored", endings["Ignored"], "nothing to send, or delivered already in that version"),
        ("refused", endings["Refused"], f"unreadable; {len(reasons)} of them are in the dead-letter topic"),
        ("lost", lost, "messages without an end, customers or facts that Segment lacks"),
        ("doubled", doubled, "versions or facts that Segment counted twice without need"),
        ("wrong", wrong, "facts about orders with a wrong amount, or invented ones"),
    ]
    console.print()
    for name, number, meaning in lines:
        console.print(f"  {name:<10} {number:>5}  {meaning}", highlight=False)
    console.print("Why messages are in the dead-letter topic:")
    for reason, number in sorted(Counter(reasons.values()).items()):
        console.print(f"  {number:>3}  {reason}", highlight=False)
    if to_segment:
        for reason, number in day.reasons.most_common(3):
            console.print(f"[red]{number} times {reason}[/red]", highlight=False)
        console.print("Segment answers 200 even to a write key it does not know: look at the source's debugger.")
    else:
        customers, calls = len(world.shop.customers), len(world.segment.calls)
        console.print(
            f"Segment holds exactly the shop's state for {customers - len(differences)} of {customers} customers; "
            f"{calls} calls.",
            highlight=False,
        )
        _show_the_money(console, world)
    if not idle:
        console.print("[red]Some messages were still open when the day ended.[/red]")
    if misjudged:
        console.print(f"[red]{len(misjudged)} dead letters are no garbage, or carry another reason than theirs.[/red]")
    unequal = not to_segment and any(told != books for told, books in world.money().values())
    broken = lost or doubled or wrong or unequal or misjudged or not idle
    return 1 if broken or len(reasons) != endings["Refused"] else 0


def _show_the_money(console: Console, world: LocalWorld) -> None:
    told = Counter(event["event"] for event in world.segment.events if event["type"] == "track")
    console.print(
        f"Events of orders: {', '.join(f'{number} {name}' for name, number in told.items())}.", highlight=False
    )
    console.print("Order Completed minus Order Refunded, by Segment's events, and by the shop's books:")
    for currency, (in_segment, books) in world.money().items():
        color = "" if in_segment == books else "[red]"
        console.print(f"{color}  {currency} {in_segment:>14,}  {books:>14,}", highlight=False)


def _agreed(console: Console) -> bool:
    console.print("About 50 invented customers become users of your Segment source, and Segment bills tracked users.")
    try:
        return console.input("Send them? [y/N]: ", markup=False).strip().lower() in ("y", "yes")
    except EOFError:
        console.print("This is no terminal: use --yes.")
        return False


def main() -> int:
    """Run the demo; the exit code is 1 if anything was lost or doubled, 2 if the configuration is wrong."""
    options = argparse.ArgumentParser(prog="python -m playground.demo", description=__doc__)
    options.add_argument(
        "--to-segment",
        action="store_true",
        help="send to the Segment source of SEGMENT_WRITE_KEY instead of the local stand-in",
    )
    options.add_argument("--yes", action="store_true", help="do not ask before sending to a real source")
    chosen = options.parse_args()
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH)
    try:
        if chosen.to_segment and not chosen.yes and not _agreed(console):
            return 2
        return run(console, to_segment=chosen.to_segment)
    except ConfigError as error:
        Console(stderr=True).print(Text(f"Error: {error}", "red"), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
