"""The way of one message, step by step: envelope, notification, what was read, events, calls, confirmation.

Nothing here asks the service. It puts together what Pub/Sub, commercetools and Segment saw of it, and its log line.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from playground.page.calls import Calls, Made
from playground.page.messages import Attempt, Entry
from playground.pubsub_push import ACKNOWLEDGING, envelope
from playground.world import SUBSCRIPTION

COMMERCETOOLS, SEGMENT, PUBLIC_API = "commercetools", "Segment", "Segment's Public API"
_SHARED_SECONDS = 10.0  # a message may join a call that was made for another one shortly before
_PAYMENT = "payment"

Step = dict[str, Any]
Document = Mapping[str, Any]


def journey_of(entry: Entry, calls: Calls) -> dict[str, Any]:
    """Return the row of a message and its attempts, newest first, each with its six steps.

    A step has `name`, `text` (a sentence), `json` (what there is to show, or None), and `end`: the sentence of the
    service's log where the message ended, "" elsewhere.
    """
    return {"row": entry.row, "attempts": [_attempt(entry, one, calls) for one in reversed(entry.attempts)]}


def _attempt(entry: Entry, attempt: Attempt, calls: Calls) -> dict[str, Any]:
    ids = _ids(entry)
    made = [one for one in calls.between(attempt.began, attempt.ended) if _names(one, ids)]
    shared = not made and attempt.status == 200  # noqa: PLR2004  # OK: it was delivered, so there was a call
    if shared:
        made = [one for one in calls.between(attempt.began - _SHARED_SECONDS, attempt.ended) if _names(one, ids)]
    read = [one for one in made if one.party == COMMERCETOOLS]
    sent = [one for one in made if one.party != COMMERCETOOLS]
    events = [event for one in sent for event in _events(one, ids)]
    sentence = entry.sentences.get(attempt.number, "")
    steps = [
        _envelope(entry, attempt),
        _notification(entry),
        _what_was_read(read, ids, shared=shared),
        _step("Events", _number(len(events), "event", "for Segment"), events or None),
        _what_was_called(sent, shared=shared),
        _confirmation(attempt),
    ]
    steps[_last(attempt, steps)]["end"] = sentence
    return {
        "number": attempt.number,
        "status": attempt.status,
        "ms": round((attempt.ended - attempt.began) * 1000, 1),
        "sentence": sentence,
        "steps": steps,
    }


def _step(name: str, text: str, shown: object) -> Step:
    return {"name": name, "text": text, "json": shown, "end": ""}


def _number(number: int, noun: str, rest: str) -> str:
    return f"{number or 'No'} {noun}{'' if number == 1 else 's'} {rest}."


def _envelope(entry: Entry, attempt: Attempt) -> Step:
    body = None if entry.message is None else json.loads(envelope(entry.message, SUBSCRIPTION, attempt.number))
    return _step("Envelope", f"Pub/Sub posted it, attempt {attempt.number}.", body)


def _notification(entry: Entry) -> Step:
    data = b"" if entry.message is None else entry.message.data
    try:
        document = json.loads(data, parse_constant=_no_constant)
        return _step("Notification", f"commercetools wrote {entry.kind}.", document)
    except (ValueError, RecursionError):
        return _step("Notification", "The message's data is not JSON.", data[:1000].decode(errors="backslashreplace"))


def _what_was_read(read: Sequence[Made], ids: Iterable[str], *, shared: bool) -> Step:
    documents = [document for one in read for document in _resources(one, ids)]
    if not read:
        return _step("Read", "The service did not read from commercetools.", None)
    versions = ", ".join(f"version {document.get('version')}" for document in documents) or "not found"
    with_others = ", by a request that another message shares" if shared else ""
    text = f"{_number(len(read), 'request', 'to commercetools')[:-1]}{with_others}: {versions}."
    return _step("Read", text, [{**_shown(one), "found": list(_resources(one, ids))} for one in read])


def _what_was_called(sent: Sequence[Made], *, shared: bool) -> Step:
    if not sent:
        return _step("Calls", "The service did not call Segment.", None)
    with_others = ", shared with another message" if shared else ""
    return _step(
        "Calls", f"{_number(len(sent), 'call', 'to Segment')[:-1]}{with_others}.", [_shown(one) for one in sent]
    )


def _confirmation(attempt: Attempt) -> Step:
    if attempt.status is None:
        return _step("Confirmation", "The service did not answer. Pub/Sub delivers the message again.", None)
    if attempt.status in ACKNOWLEDGING:
        return _step("Confirmation", f"The service answered {attempt.status}: the message is acknowledged.", None)
    return _step("Confirmation", f"The service answered {attempt.status}. Pub/Sub delivers the message again.", None)


def _last(attempt: Attempt, steps: Sequence[Step]) -> int:
    """Return the step at which the message ended: the last one of its way, or the last one that there was."""
    if attempt.status == 200:  # noqa: PLR2004  # OK
        return len(steps) - 1
    return max(number for number, step in enumerate(steps[:-1]) if step["json"] or number == 1)


def _ids(entry: Entry) -> frozenset[str]:
    """Return the ids by which calls and events name what the message is about."""
    ids: set[object] = {entry.resource_id}
    if entry.resource_type == _PAYMENT and entry.message is not None:
        document = json.loads(entry.message.data)
        fields = document.get("data", document)
        transaction = fields.get("transaction") or {}
        ids |= {fields.get("transactionId"), transaction.get("id")}
        ids |= {one.get("id") for one in (fields.get("payment") or {}).get("transactions", ())}
    return frozenset(one for one in ids if isinstance(one, str) and one)


def _names(made: Made, ids: Iterable[str]) -> bool:
    query = " ".join(value for values in made.call.query.values() for value in values)
    asked = f"{made.call.path} {query}".encode() + _body(made)
    return any(one.encode() in asked or one.encode() in made.answer.body for one in ids)


def _events(made: Made, ids: Iterable[str]) -> Iterator[Document]:
    for event in _json(_body(made)).get("batch") or ():
        text = json.dumps(event)
        if any(one in text for one in ids):
            yield event


def _resources(made: Made, ids: Iterable[str]) -> Iterator[Document]:
    """Yield the resources of an answer that are, or refer to, what the message is about."""
    document = _json(made.answer.body)
    for one in document.get("results", [document]):
        text = json.dumps(one)
        if "version" in one and any(each in text for each in ids):
            yield one


def _shown(made: Made) -> dict[str, Any]:
    """Return a request as JSON, without its headers and the events of others."""
    query = {name: values[0] if len(values) == 1 else values for name, values in made.call.query.items()}
    batch = _json(_body(made)).get("batch") if made.party != COMMERCETOOLS else None
    shown: dict[str, Any] = {"to": made.party, "request": f"{made.call.method} {made.call.path}"}
    shown |= {"query": query} if query else {}
    if batch is not None:
        shown["events in it"] = len(batch)
    if made.fault is not None and not made.fault.is_answer:
        return {**shown, "failed": f"{made.party} {made.fault.what}"}
    answer = {} if made.party == COMMERCETOOLS and made.answer.status == 200 else {"answer": _json(made.answer.body)}  # noqa: PLR2004  # OK
    return {**shown, "status": made.answer.status, **answer}


def _body(made: Made) -> bytes:
    try:
        return made.call.content()
    except (OSError, EOFError):  # no gzip: somebody else has called
        return made.call.body


def _no_constant(name: str) -> object:
    raise ValueError(name)  # JSON has no NaN, and the page could not read it


def _json(data: bytes) -> dict[str, Any]:
    """Return an object of JSON, an empty one for anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
