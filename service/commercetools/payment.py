"""commercetools' Payment: its refunds. How it was paid is not read.

https://docs.commercetools.com/api/projects/payments#payment
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import validate

from service.commercetools.money import Money, MoneyField
from service.commercetools.resource import ResourceType
from service.serving.decoding import Document, IfAny, Moment, Plain, Several, load


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


class _RefundSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    amount = MoneyField("amount", required=True)
    timestamp = IfAny(Moment("timestamp"))


class _PaymentSchema(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    version = Plain(int, required=True, validate=validate.Range(min=1))
    transactions = Several(IfAny(Plain(dict)))
    last_modified_at = IfAny(Moment("lastModifiedAt"))


_PAYMENT = _PaymentSchema()
_REFUND = _RefundSchema()


def read_payment(document: Mapping[str, Any]) -> Payment:
    """Read commercetools' JSON of a payment, or raise Malformed with the fields at fault.

    Of the transactions, only the refunds in Success are read. One without a readable id and amount is a fault; its
    time is left out if it cannot be read.
    """
    loaded = load(_PAYMENT, document, "the payment")
    transactions = [one for one in loaded["transactions"] or () if one is not None and _is_refund(one)]
    read = (Refund(**load(_REFUND, one, "a refund of the payment")) for one in transactions)
    refunds = {one.id: one for one in read}
    return Payment(loaded["id"], loaded["version"], tuple(refunds.values()), loaded["last_modified_at"])


def _is_refund(transaction: Mapping[str, Any]) -> bool:
    return (transaction.get("type"), transaction.get("state")) == ("Refund", "Success")


PAYMENT = ResourceType("payment", "payments", read_payment)
