"""What Segment knows of each user, and where each trait came from."""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from flask import Blueprint, request

from playground.page.explaining import explanation_of
from playground.segment import DUPLICATE, Event, SegmentStandIn

if TYPE_CHECKING:
    from playground.page.playground import Playground

_REMEMBERED = 20_000
_PAGE = 50
_LARGEST_PAGE = 200
_TOLD = ("", "suppressed")  # the event was right, whether or not Segment may keep it


class WithSegment(Protocol):
    """As LocalWorld is."""

    @property
    def segment(self) -> SegmentStandIn: ...


@dataclass(slots=True)
class Arrival:
    """An event as it arrived: `dropped` says why Segment dropped it, "" if it did not. `at`: ms of the Unix epoch."""

    number: int
    at: int
    event: Event
    dropped: str

    @property
    def row(self) -> dict[str, Any]:
        """What a list shows of it."""
        event = self.event
        return {
            "n": self.number,
            "at": self.at,
            "type": event["type"],
            "name": _text(event.get("event")),
            "user": _text(event.get("userId")),
            "anonymous": _text(event.get("anonymousId")),
            "message_id": _text(event.get("messageId")),
            "order": _text(_object(event, "properties").get("order_id")),
            "dropped": self.dropped,
        }


@dataclass(slots=True)
class Trait:
    """The value of a trait (None: cleared), the event that set or cleared it last, and the one that changed it."""

    value: Any
    told: Arrival
    changed: Arrival


@dataclass(slots=True)
class User:
    """A user as Segment knows it. Without an identify there are only facts about it, and no profile."""

    user_id: str
    traits: dict[str, Trait] = field(default_factory=dict)
    is_identified: bool = False
    consent: Any = None
    groups: dict[str, Any] = field(default_factory=dict)
    """By group id, the traits of the last group event."""
    events: int = 0
    last: Arrival | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The traits that are not cleared."""
        return {name: trait.value for name, trait in self.traits.items() if trait.value is not None}

    @property
    def row(self) -> dict[str, Any]:
        """What the list shows of it."""
        values = self.values
        return {
            "id": self.user_id,
            "email": _text(values.get("email")),
            "name": _text(values.get("name")),
            "traits": len(values),
            "events": self.events,
            "at": self.last.at if self.last else 0,
        }

    def has(self, words: str) -> bool:
        row = self.row
        return any(words in row[name].lower() for name in ("id", "email", "name"))


class Profiles:
    """What the Segment stand-in tells as it happens: the profiles of all users, and the newest events.

    `when_told` gets "customer" or "order" and the id of each of which an event has arrived, or the profile has gone.
    """

    def __init__(self, world: WithSegment) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._arrivals: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self._number = 0
        self._users: dict[str, User] = {}  # in the order of the last event
        self._deleted: dict[str, int] = {}  # user id -> ms of the Unix epoch, the newest
        self._counts: Counter[str] = Counter()  # why events were dropped
        self._identifies: Counter[str] = Counter()  # accepted ones, by the customer's id
        self._orders: dict[str, dict[str, Event]] = {}  # order id -> messageId -> event; in the order of the last event
        self._forgotten: set[str] = set()
        self.when_told: Callable[[str, str], None] = lambda _type, _id: None

    def start(self) -> None:
        self._world.segment.on_event, self._world.segment.on_delete = self.on_event, self.on_delete

    def stop(self) -> None:
        self._world.segment.on_event = self._world.segment.on_delete = None

    # What tells it

    def on_event(self, event: Event, why_dropped: str) -> None:
        about: tuple[str, str] | None = None
        with self._lock:
            self._number += 1
            arrival = Arrival(self._number, round(time.time() * 1000), event, why_dropped)
            self._arrivals.append(arrival)
            if why_dropped:
                self._counts[why_dropped] += 1
            if why_dropped in _TOLD and event["type"] == "track":
                about = self._keep_fact(event)
            if not why_dropped:
                about = self._keep(arrival) or about
        if about is not None:
            self.when_told(*about)

    def on_delete(self, user_ids: Collection[str]) -> None:
        with self._lock:
            now = round(time.time() * 1000)
            gone = [self._users.pop(user_id) for user_id in user_ids if user_id in self._users]
            self._deleted |= {user.user_id: now for user in gone}
            for oldest in list(islice(self._deleted, max(0, len(self._deleted) - _REMEMBERED))):
                del self._deleted[oldest]
        for user in gone:
            self.when_told("customer", _text(user.values.get("commercetoolsId")) or user.user_id)

    def _keep(self, arrival: Arrival) -> tuple[str, str] | None:
        event, user_id = arrival.event, _text(arrival.event.get("userId"))
        if not user_id:
            return None
        user = self._users.pop(user_id, None) or User(user_id)
        self._users[user_id] = user
        self._deleted.pop(user_id, None)
        user.events, user.last = user.events + 1, arrival
        consent = _object(event, "context").get("consent")
        user.consent = user.consent if consent is None else consent
        if event["type"] == "group":
            user.groups[_text(event.get("groupId"))] = _object(event, "traits")
        if event["type"] != "identify":
            return None
        user.is_identified = True
        traits = _object(event, "traits")
        for name, value in traits.items():
            former = user.traits.get(name)
            is_same = former is not None and former.value == value
            user.traits[name] = Trait(value, arrival, former.changed if former and is_same else arrival)
        customer_id = _text(traits.get("commercetoolsId")) or user_id
        self._identifies[customer_id] += 1
        return "customer", customer_id

    def _keep_fact(self, event: Event) -> tuple[str, str] | None:
        order_id = _text(_object(event, "properties").get("order_id"))
        if not order_id:
            return None
        facts = self._orders.pop(order_id, None) or {}
        self._orders[order_id] = facts
        facts.setdefault(_text(event.get("messageId")), event)
        if len(self._orders) > _REMEMBERED:
            oldest = next(iter(self._orders))
            del self._orders[oldest]
            self._forgotten.add(oldest)
        return "order", order_id

    # What is asked of it

    def state(self) -> Mapping[str, Any]:
        """Return how many users and events there are, and how many events were dropped, by reason."""
        with self._lock:
            dropped = {reason: count for reason, count in self._counts.items() if reason != DUPLICATE}
            return {
                "users": len(self._users),
                "events": self._number,
                "duplicates": self._counts[DUPLICATE],
                "dropped": dropped,
                "deleted": len(self._deleted),
            }

    def traits_of(self, user_id: str) -> Mapping[str, Any] | None:
        """Return the traits of a user, None if Segment has no profile of it."""
        with self._lock:
            user = self._users.get(user_id)
            return user.values if user is not None and user.is_identified else None

    def identifies_of(self, customer_id: str) -> int:
        """Return how many events with a state of this customer Segment has accepted."""
        with self._lock:
            return self._identifies[customer_id]

    def facts_of(self, order_id: str) -> list[Event] | None:
        """Return the events about an order in the order of arrival, each once; None if they are not remembered."""
        with self._lock:
            return None if order_id in self._forgotten else list(self._orders.get(order_id, {}).values())

    def users(self, search: str, limit: int) -> dict[str, Any]:
        """Return the users whose id, e-mail address or name contains this, the last changed first."""
        suppressed, words = self._world.segment.suppressed, search.strip().lower()
        with self._lock:
            matching = [user for user in reversed(self._users.values()) if not words or user.has(words)]
            rows = [user.row for user in matching[:limit]]
        return {"total": len(matching), "users": [{**row, "suppressed": row["id"] in suppressed} for row in rows]}

    def user(self, user_id: str) -> dict[str, Any]:
        """Return a user with its traits, where each came from, and its events. Raises KeyError if there never was one.

        Of a user whose profile was deleted only the events are left.
        """
        is_suppressed = user_id in self._world.segment.suppressed
        with self._lock:
            user, deleted = self._users.get(user_id), self._deleted.get(user_id)
            arrivals = [one for one in reversed(self._arrivals) if one.event.get("userId") == user_id]
            if user is None and deleted is None and not arrivals:
                raise KeyError(user_id)
            user = user or User(user_id)
            return {
                **user.row,
                "suppressed": is_suppressed,
                "deleted": deleted,
                "identified": user.is_identified,
                "customer": _text(user.values.get("commercetoolsId")),
                "consent": user.consent,
                "groups": [{"id": group_id, "traits": traits} for group_id, traits in user.groups.items()],
                "profile": [_row(name, trait) for name, trait in sorted(user.traits.items())],
                "arrivals": [one.row for one in arrivals[:_PAGE]],
            }

    def events(self, before: int | None, limit: int) -> dict[str, Any]:
        """Return events, the newest first; `before` an event's number, the older ones."""
        with self._lock:
            end = len(self._arrivals) if before is None else max(0, min(self._place(before), len(self._arrivals)))
            start = max(0, min(end, len(self._arrivals)) - limit)
            rows = [arrival.row for arrival in islice(self._arrivals, start, end)]
            return {"events": rows[::-1], "more": start > 0, "total": self._number, "remembered": len(self._arrivals)}

    def event(self, number: int) -> dict[str, Any]:
        """Return an event. Raises KeyError if it is not remembered."""
        with self._lock:
            place = self._place(number)
            if not 0 <= place < len(self._arrivals):
                raise KeyError(number)
            arrival = self._arrivals[place]
            return {**arrival.row, "event": arrival.event}

    def _place(self, number: int) -> int:
        return number - (self._number - len(self._arrivals)) - 1


def routes(playground: "Playground") -> Blueprint:
    blueprint, profiles, world = Blueprint("segment", __name__), playground.profiles, playground.world

    @blueprint.get("/segment/users")
    def users() -> dict[str, Any]:
        return profiles.users(request.args.get("search", ""), _limit())

    @blueprint.get("/segment/users/<path:user_id>")
    def user(user_id: str) -> dict[str, Any]:
        found = profiles.user(user_id)
        with world.shop.lock:
            customer = dict(world.shop.customers.get(found["customer"]) or {})
        return {**found, "origins": origins_of(customer, world.settings()) if customer else []}

    @blueprint.get("/segment/events")
    def events() -> dict[str, Any]:
        return profiles.events(request.args.get("before", type=int), _limit())

    @blueprint.get("/segment/events/<int:number>")
    def event(number: int) -> dict[str, Any]:
        return profiles.event(number)

    return blueprint


def origins_of(customer: Mapping[str, Any], settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Return for each trait by the service's rules where it comes from, or why it is not sent."""
    explained = explanation_of(json.dumps(customer).encode(), settings, read=False)
    return [{"name": one["name"], "why": one["why"]} for one in explained["traits"]]


def _limit() -> int:
    return max(1, min(_LARGEST_PAGE, request.args.get("limit", _PAGE, type=int)))


def _row(name: str, trait: Trait) -> dict[str, Any]:
    told, changed = trait.told, trait.changed
    return {
        "name": name,
        "value": trait.value,
        "cleared": trait.value is None,
        "at": told.at,
        "event": told.number,
        "message_id": _text(told.event.get("messageId")),
        "changed_at": changed.at,
        "changed_event": changed.number,
    }


def _object(event: Event, name: str) -> Mapping[str, Any]:
    found = event.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
