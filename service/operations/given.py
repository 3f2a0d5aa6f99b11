"""What a command was given: a customer, an order or a payment, an answer of commercetools' API, or something else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.commercetools.customer import CUSTOMER
from service.commercetools.order import ORDER
from service.commercetools.payment import PAYMENT
from service.serving.decoding import Malformed, json_object

Document = Mapping[str, Any]

# Fields that no customer has: of a reference, a message, an order or cart, a business unit, a Subscription, a payment.
_OF_OTHERS = frozenset(
    ("typeId", "resource", "lineItems", "totalPrice", "orderState", "unitType", "destination", "amountPlanned")
)
# Fields of what has line items and a total price too, and is no order: of a cart, and of the steps to a quote.
_OF_NO_ORDER = frozenset(("cartState", "quoteRequestState", "stagedQuoteState", "quoteState"))
_TYPES = (CUSTOMER, ORDER, PAYMENT)


class Given(NamedTuple):
    """The documents of one type in the input, and what the input is: "" if it is for the service to say."""

    type_id: str = ""
    documents: Sequence[Document] = ()
    words: str = ""


def given_in(body: bytes) -> Given:
    """Return what the input is. Of an answer with several types of resources, it is the first that is known."""
    try:
        return _given_in(json_object(body, "what was given"))
    except Malformed:
        return Given()


def _given_in(document: Document) -> Given:
    type_id = _type_of(document)
    match document:
        case {"message": _} | {"notificationType": _} | {"specversion": _} | {"resource": _}:
            return Given()
        case {"data": {**answered}}:
            return _of_answer(answered, "an answer of commercetools' GraphQL API")
        case {"results": [*results]}:
            return _of_several(results, "an answer of commercetools' API")
        case {"id": _, "version": _, "reason": _}:
            return _of_answer(document, "a backfill's reject")
        case {"customer": {**_one}} | {"order": {**_one}} | {"payment": {**_one}} if type_id is None:
            return _of_answer(document, "an answer of commercetools' API")
    return Given() if type_id is None else Given(type_id, [document], _a(type_id))


def customers_in(body: bytes) -> tuple[Sequence[Document], str]:
    """Return the customers in the input, and what the input is."""
    given = given_in(body)
    return (given.documents if given.type_id == CUSTOMER.type_id else []), given.words


def _of_answer(answered: Mapping[Any, Any], words: str) -> Given:
    """Return what is below the name of a type, as in {"order": …} or in {"orders": {"results": […]}}."""
    for of in _TYPES:
        found = answered.get(of.path) or answered.get(of.type_id)
        if isinstance(found, dict):
            results = found.get("results")
            return _of_several(results if isinstance(results, list) else [found], words)
    return _of_several([], words)


def _of_several(found: Sequence[object], words: str) -> Given:
    typed = [(of, one) for one in found if isinstance(one, dict) and (of := _type_of(one, of_answer=True)) is not None]
    if not typed:
        return Given(words=f"{words}: there is no customer in it, and no order or payment")
    first = typed[0][0]
    documents = [one for of, one in typed if of == first]
    number = f"the {first} in it" if len(documents) == 1 else f"the first of its {len(documents)} {first}s"
    return Given(first, documents, f"{words}: {number}")


def _type_of(document: Document, *, of_answer: bool = False) -> str | None:
    """Return the type id of a resource by its fields. In an answer, a customer may lack its version."""
    if "id" not in document or not (of_answer or "version" in document):
        return None
    if "amountPlanned" in document:
        return PAYMENT.type_id
    if _OF_NO_ORDER.isdisjoint(document) and (
        "orderState" in document or {"lineItems", "totalPrice"} <= document.keys()
    ):
        return ORDER.type_id
    return CUSTOMER.type_id if _OF_OTHERS.isdisjoint(document) else None


def _a(type_id: str) -> str:
    return f"an {type_id}" if type_id == ORDER.type_id else f"a {type_id}"


def as_notification(given: Given, project_key: str | None) -> bytes:
    """Return the Message that commercetools would publish for the first document, so that all steps run.

    It is CustomerCreated or OrderCreated; for a payment, one that may tell each of its refunds.
    """
    document = given.documents[0]
    version = document.get("version")
    return json.dumps(
        {
            "notificationType": "Message",
            "type": _MESSAGES[given.type_id],
            "projectKey": project_key or "no-project",
            "resource": {"typeId": given.type_id, "id": str(document["id"])},
            "resourceVersion": version if isinstance(version, int) else None,
            "createdAt": document.get("lastModifiedAt"),
            given.type_id: dict(document),
        }
    ).encode()


_MESSAGES = {
    CUSTOMER.type_id: "CustomerCreated",
    ORDER.type_id: "OrderCreated",
    PAYMENT.type_id: "PaymentTransactionStateChanged",
}
