"""backfill: its kinds of resources: which of them are sent, what Segment is told of each, and their words.

A kind is of states or of facts: docs/decisions.md, "States and facts". States are swept: who changed while the run
went on is sent once more, so that Segment has the newest state last.

Facts need no sweep. Each is told once, under a messageId that names the fact and not the version of its resource. What
happened before a resource was read is in it, and what happens later has a Message of its own, which the service tells.
What is in both, because it happens meanwhile or a query lags, is told twice under one messageId, at most as far apart
as the run is long, and Segment drops the second.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from service.commercetools.client import PAGE, is_id
from service.commercetools.customer import Customer, customer_type
from service.commercetools.order import ORDER, Order
from service.commercetools.payment import PAYMENT, Payment
from service.commercetools.resource import ResourceType
from service.config import ConfigError, Orders, Settings
from service.operations import commercetools_of, moment
from service.operations.backfill_report import Words
from service.orders import history, is_imported, of_payment
from service.segment.types import Events
from service.serving.decoding import Malformed
from service.transformation import customer_events
from service.transformation.buyer import needs_customer
from service.transformation.facts import Due, Fact
from service.transformation.order import OrderRules
from service.transformation.rules import identify_rules_by

Document = Mapping[str, Any]
"""A resource, as commercetools' JSON."""


class Read(Protocol):
    """Reads what the resources of a page refer to, until commercetools has answered."""

    def by_ids(self, of: ResourceType[Any], ids: Iterable[str]) -> Mapping[str, Document]: ...

    def by_id(self, of: ResourceType[Any], resource_id: str) -> Document | None: ...

    def oldest(self, of: ResourceType[Any], where: str) -> Sequence[str]: ...


class PageSize(NamedTuple):
    """How many resources are read at once: at first, while it is not known how large one is, and at least and at most.

    The documents of a page are about ten times as large in memory as in the answer.
    """

    first: int
    smallest: int
    largest: int


class Told(NamedTuple):
    """What Segment is told of a resource. `flaw` says why a part of it cannot be told."""

    events: Events
    flaw: str = ""


Tell = Callable[[Document], Told]
"""Says what Segment is told of a resource of one page. Raises Malformed if it cannot be read."""


class Kind(Protocol):
    """What a backfill must know of a kind of resources."""

    of: ResourceType[Any]
    page: PageSize
    words: Words
    dated: str
    """The field by which --since takes a part of them."""
    are_facts: bool
    """Whether an interval ends (--until), nothing is swept, and the run is asked for."""
    deciding: Mapping[str, str]
    """The settings that decide which are sent, and as whom."""
    rules: str
    """A fingerprint of the rules."""

    def tell(self, page: Sequence[Document], read: Read, salt: str) -> Tell:
        """Read what the resources of a page refer to. The salt is that of the messageIds."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """Which resources are sent: those that fulfil `where`, and whose date is from `since` on and before `until`."""

    since: datetime | None = None
    until: datetime | None = None
    where: str | None = None

    def predicates(self, dated: str) -> list[str]:
        """Return all that a resource fulfils, in commercetools' query language; that of the operator first."""
        since = [] if self.since is None else [f'{dated} >= "{moment(self.since)}"']
        until = [] if self.until is None else [f'{dated} < "{moment(self.until)}"']
        return [*([self.where] if self.where else []), *since, *until]


class Customers:
    """Customers: each is told as it is now, by the same rules as live events."""

    page = PageSize(first=20, smallest=5, largest=PAGE)
    dated = "lastModifiedAt"
    are_facts = False

    def __init__(self, settings: Settings) -> None:
        self._rules = identify_rules_by(settings)
        self._project_key = commercetools_of(settings).project_key
        self.of: ResourceType[Any] = customer_type(self._rules.mapping.named)
        identify = self._rules.mapping.identify
        self.words = Words(
            "customers",
            "without the field that SEGMENT_USER_ID chooses",
            (*(trait.name for trait in identify.traits), *identify.retired),
        )
        self.deciding: Mapping[str, str] = {
            "SEGMENT_USER_ID": settings.segment_user_id,
            "SEGMENT_CLEAR_TRAITS": settings.segment_clear_traits,
        }
        self.rules = self._rules.fingerprint

    def tell(self, page: Sequence[Document], read: Read, salt: str) -> Tell:  # noqa: ARG002  # a customer refers to nothing
        rules = replace(self._rules, salt=salt)
        return lambda document: Told(customer_events(self.of.parse(document), rules, self._project_key))


class OrderHistory:
    """Orders: Order Completed of each, Order Cancelled if it is cancelled now, and the refunds of its payments.

    The date is `createdAt`, which every order has and which never changes. An imported order counts at its import, when
    the service would have told it, though the time of its event is `completedAt`: that is any time in the past, and
    most orders have none.
    """

    page = PageSize(first=10, smallest=1, largest=20)  # each line item has its variant's prices, attributes, images
    dated = "createdAt"
    are_facts = True
    words = Words("orders", "nothing to tell")

    def __init__(self, settings: Settings) -> None:
        if settings.orders is Orders.OFF:
            raise ConfigError("ORDERS is off: set ORDERS=on, as in the service, to backfill orders.")
        rules = identify_rules_by(settings)
        self._rules = OrderRules.beside(rules, settings.order_imports)
        self._project_key = commercetools_of(settings).project_key
        self._customers = customer_type(rules.mapping.named)
        self.of: ResourceType[Any] = ORDER
        self.deciding: Mapping[str, str] = {
            "SEGMENT_USER_ID": settings.segment_user_id,
            "ORDER_IMPORTS": settings.order_imports,
        }
        self.rules = self._rules.fingerprint

    def tell(self, page: Sequence[Document], read: Read, salt: str) -> Tell:
        rules = replace(self._rules, salt=salt)
        orders = {document["id"]: _parsed(document) for document in page}
        customers = self._customers_of(orders.values(), read)
        payments = read.by_ids(PAYMENT, (one for document in page for one in _payments_of(document)))

        def tell(document: Document) -> Told:
            order = orders[document["id"]]
            if isinstance(order, Malformed):
                raise order
            refunds, flaw = self._refunds_of(document, payments, read)
            found = customers.get(order.customer_id or "")
            customer: Customer | None = None if found is None else self._customers.parse(found)
            due = Due(Fact.COMPLETED, Fact.COMPLETED, imported=is_imported(document))
            events = history(due, order, refunds, customer, rules=rules, project_key=self._project_key)
            return Told(events, flaw if events.events else "")

        return tell

    def _customers_of(self, orders: Iterable[Order | Malformed], read: Read) -> Mapping[str, Document]:
        """Return the customers without whom it is not known who bought. A query may not show the newest of them yet."""
        user_id, consent = self._rules.user_id, self._rules.mapping.consent
        ids = {
            order.customer_id or "": None
            for order in orders
            if isinstance(order, Order) and is_id(order.customer_id or "") and needs_customer(order, user_id, consent)
        }
        found = dict(read.by_ids(self._customers, ids))
        alone = {
            customer_id: read.by_id(self._customers, customer_id) for customer_id in ids if customer_id not in found
        }
        return found | {customer_id: customer for customer_id, customer in alone.items() if customer is not None}

    @staticmethod
    def _refunds_of(order: Document, payments: Mapping[str, Document], read: Read) -> tuple[list[Payment], str]:
        """Return the payments whose refunds are told as this order's, and why one of its payments cannot be read.

        A payment that several orders have is told as the oldest's, as live.
        """
        found, flaw = [], ""
        for payment_id in _payments_of(order):
            if payment_id not in payments:
                continue
            try:
                payment = PAYMENT.parse(payments[payment_id])
            except Malformed as malformed:
                flaw = str(malformed)
                continue
            if payment.refunds and next(iter(read.oldest(ORDER, of_payment(payment_id))), order["id"]) == order["id"]:
                found.append(payment)
        return found, flaw


def _parsed(document: Document) -> Order | Malformed:
    try:
        return ORDER.parse(document)
    except Malformed as malformed:
        return malformed


def _payments_of(order: Document) -> list[str]:
    """Return the ids of the payments, each once, as far as they are ids."""
    info = order.get("paymentInfo")
    given = info.get("payments") if isinstance(info, dict) else None
    ids = [one.get("id") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return list(dict.fromkeys(one for one in ids if isinstance(one, str) and is_id(one)))


KINDS: Mapping[str, type[Customers | OrderHistory]] = {"customers": Customers, "orders": OrderHistory}
"""The kinds that can be sent, by the names that the command takes."""
