"""Whether the promises hold, looked at all the time: nothing lost, nothing doubled, nothing stale, nothing wrong."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from playground.history import Document
from playground.oracle import Profile, holds, profile_of_customer, rules_of
from playground.oracle_orders import Books, Verdict, order_rules_of, verdict_on_order
from playground.page.messages import Messages, Resource
from playground.page.profiles import Profiles
from playground.shop import Shop
from playground.world import ORDER_KINDS, PAYMENT_KINDS

LOST, DOUBLED, STALE, WRONG = "lost", "doubled", "stale", "wrong"
KINDS = (LOST, DOUBLED, STALE, WRONG)
_SECOND_LOOK_SECONDS = 1.0
"""A log line, or a message of the same change, may come that much later than what it is about."""
_PAUSE_SECONDS = 0.1
_LOOKED_AT_AGAIN = 200  # breaches in one round
_EXAMPLES = 5

Key = tuple[str, str]
"""The type of a resource, and its id."""
Found = Mapping[str, str]
"""By kind, what is wrong."""


class WithShop(Protocol):
    """As LocalWorld is."""

    @property
    def shop(self) -> Shop: ...

    def settings(self) -> Mapping[str, str]:
        """Return the environment of the service."""


@dataclass(slots=True)
class _Breach:
    what: str
    again: float
    """When to look at it again."""
    counts: bool = False
    """It was still there at the second look."""


class Judge:
    """Compares what Segment has with what the shop did, one resource at a time, in a thread of its own.

    A resource is judged when no message about it is open and its newest state was published. A breach counts if it is
    still there at the second look. That of a customer goes when it heals; Segment cannot take back a fact about an
    order. Resources of which a message was set aside are not lost or stale: the dead letters say what is missing.
    """

    def __init__(
        self,
        world: WithShop,
        messages: Messages,
        profiles: Profiles,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._world, self._messages, self._profiles, self._clock = world, messages, profiles, clock
        self._books = Books(world.shop.sales)
        self._changed = threading.Condition()
        self._due: dict[Key, None] = {}
        self._breaches: dict[Key, dict[str, _Breach]] = {}
        self._judged: set[Key] = set()
        self._set_aside: set[Key] = set()
        self._by_other_rules: set[str] = set()
        self._is_built_in = True
        self._rule_changes = 0
        self._forgiven: Counter[str] = Counter()  # customer id -> surplus events that do not count any more
        self._doubled_at: Counter[str] = Counter()  # customer id -> versions published when it was found
        self._ever = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)

    def start(self) -> None:
        self._profiles.when_told = self.look_at
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def look_at(self, resource_type: str, resource_id: str) -> None:
        """Judge this resource soon. Called from any thread."""
        if resource_type not in ("customer", "order", "payment"):
            return
        with self._changed:
            self._due[resource_type, resource_id] = None
            if resource_type == "customer" and not self._is_built_in:
                self._by_other_rules.add(resource_id)

    def rules_changed(self, *, built_in: bool) -> None:
        """Judge traits from now on, or not. Call it before a mapping file is used, and after it is not used any more.

        The oracle knows docs/customers.md only. Customers that are told meanwhile are not judged by their traits later.
        """
        with self._changed:
            self._is_built_in = built_in
            self._rule_changes += 1

    def state(self) -> Mapping[str, Any]:
        """Return what is broken now (`broken` is empty if all holds), and how much was looked at."""
        with self._changed:
            broken = [
                (key, kind, breach)
                for key, breaches in self._breaches.items()
                for kind, breach in breaches.items()
                if breach.counts
            ]
            counts = Counter(kind for _, kind, _ in broken)
            examples = [{"what": one.what, "kind": kind, "type": key[0], "id": key[1]} for key, kind, one in broken]
            return {
                "broken": [f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]],
                **{kind: counts[kind] for kind in KINDS},
                "judged": len(self._judged),
                "set_aside": len(self._set_aside),
                "traits_judged": self._is_built_in,
                "by_other_rules": len(self._by_other_rules),
                "ever": self._ever,
                "examples": examples[-_EXAMPLES:],
            }

    # Looking

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_stopping, _PAUSE_SECONDS):
                    return
            self.look()

    def look(self) -> None:
        """Judge what is due, and once more what was found broken."""
        with self._changed:
            now = self._clock()
            due, self._due = self._due, {}
            again = [key for key, found in self._breaches.items() if any(one.again <= now for one in found.values())]
        with self._world.shop.lock:
            self._books.read()
        keys = {**due, **dict.fromkeys(again[:_LOOKED_AT_AGAIN])}
        for key in {self._concerned(key): None for key in keys}:
            if key is not None and not self._is_stopping:
                self._note(key, self._judge(key))

    def _concerned(self, key: Key) -> Key | None:
        if key[0] != "payment":
            return key
        with self._world.shop.lock:
            order_id = self._books.order_of(key[1])
        return ("order", order_id) if order_id else None

    def _note(self, key: Key, found: Found | None) -> None:
        """Keep what was found; None if it cannot be judged now: what counts then stays, and the rest is forgotten."""
        with self._changed:
            now, before = self._clock(), self._breaches.pop(key, {})
            if found is None:
                breaches = {kind: breach for kind, breach in before.items() if breach.counts}
            else:
                self._judged.add(key)
                breaches = {kind: before.get(kind) or _Breach(what, _later(now)) for kind, what in found.items()}
            for kind, breach in breaches.items():
                breach.what = breach.what if found is None else found[kind]
                if breach.again <= now:
                    breach.again = _later(now)
                    self._ever += not breach.counts
                    breach.counts = True
            if breaches:
                self._breaches[key] = breaches

    def _judge(self, key: Key) -> Found | None:
        try:
            return self._judge_customer(key[1]) if key[0] == "customer" else self._judge_order(key[1])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The judge must go on, whatever was typed into the shop or posted to Segment.
            return {WRONG: f"The {key[0]}, or an event about it, cannot be read: {type(error).__name__}."}

    def _keep_aside(self, key: Key, *, is_aside: bool) -> None:
        with self._changed:
            if is_aside:
                self._set_aside.add(key)
            else:
                self._set_aside.discard(key)

    # Customers

    def _judge_customer(self, customer_id: str) -> Found | None:
        customers, rules = self._world.shop.customers, rules_of(self._world.settings())
        current = customers.view(customer_id)
        resource = self._messages.resource("customer", customer_id)
        if resource.open or not _is_published(current, resource):
            return None
        versions = customers.versions(customer_id)
        if not versions:
            return {}
        profile = profile_of_customer(versions[-1], self._world.shop.groups, rules)
        has = self._profiles.traits_of(profile.user_id) if profile else None
        surplus = self._surplus(customer_id, resource)
        after = self._messages.resource("customer", customer_id)
        if after.open or after != resource or customers.view(customer_id) != current:
            self.look_at("customer", customer_id)
            return None  # it has changed meanwhile
        found: dict[str, str] = {}
        if current is None:
            if has is not None and has.get("commercetoolsId") == customer_id:
                found[STALE] = "The customer was deleted, and Segment still has the profile."
        elif self._are_traits_judged(customer_id) and profile:
            older = (profile_of_customer(one, self._world.shop.groups, rules) for one in versions[:-1])
            found |= _of_traits(has, profile, older)
        self._keep_aside(("customer", customer_id), is_aside=bool(resource.set_aside and {LOST, STALE} & found.keys()))
        if resource.set_aside:
            found = {kind: what for kind, what in found.items() if kind not in (LOST, STALE)}
        if surplus > 0:
            found[DOUBLED] = f"Segment was told states of the customer again without need: {surplus} events too many."
        return found

    def _are_traits_judged(self, customer_id: str) -> bool:
        with self._changed:
            return self._is_built_in and customer_id not in self._by_other_rules

    def _surplus(self, customer_id: str, resource: Resource) -> int:
        """Return how many identifies too many there are; those that the next change has made up for do not count.

        After another mapping file was applied, a state may rightly be told once more: by other rules.
        """
        versions = len(resource.versions)
        surplus = self._profiles.identifies_of(customer_id) - versions - resource.tries_again - self._rule_changes
        with self._changed:
            left = surplus - self._forgiven[customer_id]
            breach = self._breaches.get(("customer", customer_id), {}).get(DOUBLED)
            if left > 0 and (breach is None or not breach.counts):
                self._doubled_at[customer_id] = versions
            elif left > 0 and versions > self._doubled_at[customer_id]:
                self._forgiven[customer_id], left = surplus, 0
        return left

    # Orders

    def _judge_order(self, order_id: str) -> Found | None:
        world, sales = self._world, self._world.shop.sales
        with world.shop.lock:
            self._books.read()
            if order_id not in sales.baskets:
                return {}
            payments = self._books.payments_of(order_id)
            keys = [("order", order_id), *(("payment", payment_id) for payment_id in payments)]
            due = {key: self._versions_told(key) for key in keys}
        resources = {key: self._messages.resource(*key) for key in keys}
        if any(one.open or not due[key] <= one.versions for key, one in resources.items()):
            return None
        facts = self._profiles.facts_of(order_id)
        if facts is None:
            return {}
        with world.shop.lock:
            self._books.read()
            if {key: self._versions_told(key) for key in keys} != due:
                self.look_at("order", order_id)
                return None  # it has changed meanwhile
            verdict = verdict_on_order(self._books, order_id, facts, order_rules_of(world.settings()))
        is_aside = any(one.set_aside for one in resources.values())
        self._keep_aside(("order", order_id), is_aside=is_aside and bool(verdict.lost))
        return _of_order(verdict, is_aside=is_aside, is_built_in=self._is_built_in)

    def _versions_told(self, key: Key) -> set[int]:
        """Return the versions about which the Subscription has a Message."""
        kinds = ORDER_KINDS if key[0] == "order" else PAYMENT_KINDS
        return {deed.version for deed in self._books.deeds.get(key[1], ()) if deed.kind in kinds}


def _later(now: float) -> float:
    return now + _SECOND_LOOK_SECONDS


def _is_published(current: Document | None, resource: Resource) -> bool:
    """Tell whether a message was published about this state (None: deleted)."""
    return resource.is_deleted if current is None else current["version"] in resource.versions


def _of_traits(has: Mapping[str, Any] | None, profile: Profile, older: Iterable[Profile | None]) -> Found:
    if has is None:
        return {LOST: "Segment has no profile of the customer."}
    if holds(has, profile):
        return {}
    names = sorted(name for name in {*has, *profile.traits} if has.get(name) != profile.traits.get(name))
    if any(one is not None and one.user_id == profile.user_id and holds(has, one) for one in older):
        return {STALE: f"Segment has what an older version says: {', '.join(names)}."}
    return {WRONG: f"Segment has other traits than the customer: {', '.join(names)}."}


def _of_order(verdict: Verdict, *, is_aside: bool, is_built_in: bool) -> Found:
    """Return what is wrong; by another mapping file an event may rightly say more of who bought."""
    wrong = [f"{one}: other amounts" for one in verdict.amounts_off]
    wrong += [f"{one}: it did not happen" for one in verdict.invented]
    if is_built_in:
        wrong += [f"{one}: another person, time, state or product" for one in verdict.otherwise_off]
    found = {LOST: [] if is_aside else verdict.lost, DOUBLED: verdict.doubled, WRONG: wrong}
    return {kind: "; ".join(what) for kind, what in found.items() if what}
