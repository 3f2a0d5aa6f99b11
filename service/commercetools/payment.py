"""commercetools' Payment: its refunds. How it was paid is not read.

https://docs.commercetools.com/api/projects/payments#payment
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import validate

from service.commercetools.money import Money, MoneySchema, money_of
from service.commercetools.resource import ResourceType
from service.serving.decoding import Document, Inner, Malformed, Moment, Plain, Several, Text, load


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund in Success: in any other state it is a request, and may fail."""

    id: str
    amount: Money
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment at one version, with the refunds that were paid, each once."""

    id: str
    version: int
    refunds: tuple[Refund, ...] = ()
    last_modified_at: datetime | None = None


class _TransactionSchema(Document):
    id = Text()
    kind = Text("type")
    state = Text()
    amount = Inner(MoneySchema, load_default=None, allow_none=True)
    timestamp = Moment("timestamp")


class _PaymentSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    version = Plain(int, required=True, validate=validate.Range(min=1))
    transactions = Several(Inner(_TransactionSchema))
    last_modified_at = Moment("lastModifiedAt")


_PAYMENT = _PaymentSchema()


def read_payment(document: Mapping[str, Any]) -> Payment:
    """Read commercetools' JSON of a payment, or raise Malformed with the fields at fault."""
    loaded = load(_PAYMENT, document, "the payment")
    refunds = {one["id"]: _refund(one) for one in loaded["transactions"] or () if _is_refund(one)}
    return Payment(loaded["id"], loaded["version"], tuple(refunds.values()), loaded["last_modified_at"])


def _is_refund(transaction: Mapping[str, Any]) -> bool:
    return (transaction["kind"], transaction["state"]) == ("Refund", "Success")


def _refund(transaction: Mapping[str, Any]) -> Refund:
    amount = money_of(transaction["amount"])
    if transaction["id"] is None or amount is None:
        raise Malformed("the payment is not valid: transactions: a refund without an id, or without a valid amount")
    return Refund(transaction["id"], amount, transaction["timestamp"])


PAYMENT = ResourceType("payment", "payments", read_payment)
