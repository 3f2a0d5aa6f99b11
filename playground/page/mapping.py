"""The shop's mapping file, as the page's editor has it: its mistakes, what it changes, and the service with it."""

import json
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flask import Blueprint, request

from playground.page.body import body
from playground.page.mapping_examples import examples
from playground.shop import Document, Shop
from service.config import ConfigError
from service.operations.explain import explained
from service.operations.mapping import (
    ABSENT,
    Difference,
    Rules,
    Said,
    comparable,
    differences,
    rules_by,
    rules_in,
    teller,
)
from service.operations.mapping_diff import change_of

if TYPE_CHECKING:
    from playground.page.playground import Playground

_NAME = "mapping.toml"
_SETTING = "MAPPING_FILE"
_CHOSEN = 3  # customers at first
_MOST_FOUND = 20
_MOST_COMPARED = 20
_MOST_LOOKED_AT = 20_000  # customers, by one search
_START_SECONDS = 20.0
_STARTED = "Started, with the rules "


class Instance(Protocol):
    """An instance of the service, as playground.world.Service is one."""

    @property
    def is_running(self) -> bool: ...

    @property
    def has_ended(self) -> bool: ...

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]: ...

    def start(self) -> object: ...

    def stop(self) -> int: ...


class World(Protocol):
    """What the editor needs of a LocalWorld."""

    @property
    def services(self) -> Sequence[Instance]: ...

    @property
    def shop(self) -> Shop: ...

    def settings(self) -> dict[str, str]: ...

    def configure(self, environment: Mapping[str, str]) -> None: ...


class Told(Protocol):
    """Whoever must know that other rules are in force."""

    def rules_changed(self, *, built_in: bool) -> None: ...


class Mistake(NamedTuple):
    """A mistake in the text. `line` and `column` begin at 1, None where the loader does not tell them."""

    line: int | None
    column: int | None
    text: str


class NotValid(ValueError):
    """The text cannot be used. It names the first of its `mistakes`."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        first = mistakes[0]
        where = "" if first.line is None else f"line {first.line}: "
        more = f" There are {len(mistakes) - 1} mistakes more." if len(mistakes) > 1 else ""
        super().__init__(f"The file has a mistake, {where}{first.text}{more}")
        self.mistakes = mistakes


class MappingEditor:
    """Checks a mapping file, compares it with the rules in force, and restarts the service with it.

    The file is written to `folder`, and `judge` is told when other rules are in force.
    """

    def __init__(self, world: World, judge: Told, folder: Path) -> None:
        self._world, self._judge, self._folder = world, judge, folder
        self._busy = threading.Lock()
        self._is_over = False
        self._text: str | None = None
        self._fingerprint = ""

    def stop(self) -> None:
        """Wait for an apply that runs. No other follows, so that no instance starts after the world has ended."""
        self._is_over = True
        with self._busy:
            pass

    def state(self) -> Mapping[str, Any]:
        """`applied` is the fingerprint of the file's rules, "" with the built-in mapping."""
        return {
            "applied": self._fingerprint,
            "built_in": self._text is None,
            "applying": self._busy.locked(),
        }

    @property
    def text(self) -> str | None:
        """The file in force, None with the built-in mapping."""
        return self._text

    # What the text says

    def check(self, text: str) -> Rules:
        """Return the rules of a text. Raises NotValid with all mistakes."""
        try:
            return rules_in(self._world.settings(), text.encode("utf-8", "surrogatepass"), _NAME)
        except ConfigError as error:
            raise NotValid([_mistake(line, text) for line in str(error).splitlines()]) from None

    def compare(self, text: str, ids: Sequence[str]) -> dict[str, Any]:
        """Return what Segment would get of these customers now and by the text. Raises NotValid.

        If one of both has order settings, the newest order is compared too.
        """
        before, after = rules_by(self._world.settings()), self.check(text)
        tell_before, tell_after = teller(before.identify), teller(after.identify)
        customers = []
        for customer_id in ids[:_MOST_COMPARED]:
            document = self._world.shop.view(customer_id)
            if document is None:
                customers.append({"id": customer_id, "gone": True})
                continue
            read = _with_groups(document, self._world.shop.groups)
            rows = _rows(tell_before(read).said, tell_after(read).said)
            customers.append({**_outline(document), "rows": list(rows)})
        has_settings = any((*astuple(before.mapping.order), *astuple(after.mapping.order)))
        return {
            "fingerprint": after.fingerprint,
            "same": before.fingerprint == after.fingerprint,
            "customers": customers,
            "order": self._compared_order(before, after) if has_settings else None,
        }

    def _compared_order(self, before: Rules, after: Rules) -> dict[str, Any]:
        """Compare the events of the newest order, at its creation. Nothing is read from commercetools for it."""
        orders = self._world.shop.sales.orders
        with self._world.shop.lock:
            newest = next((known for n in reversed(range(orders.ever)) if (known := orders.numbered(n))), None)
        document = None if newest is None else orders.view(newest)
        if document is None:
            return {"why": "The shop has no order yet: let it sell something, or place one in the Shop view."}
        body = json.dumps(document).encode()
        one, other = (explained(body, settings, read=False) for settings in (before.settings, after.settings))
        if not one.events and not other.events:
            return {"id": newest, "why": f"No event tells this order: {other.reason or one.reason}."}
        rows = _rows(_said_of_order(one.events), _said_of_order(other.events))
        return {
            "id": newest,
            "number": document.get("orderNumber", ""),
            "event": (other.events or one.events)[0]["event"],
            "rows": [{**row, "place": row["place"].removeprefix("properties.")} for row in rows],
        }

    # Customers

    def customers(self, words: str) -> list[dict[str, str]]:
        """Return the customers whose id is this, or whose e-mail address contains it; some random ones for ""."""
        shop = self._world.shop
        wanted = words.strip().casefold()
        if not wanted:
            return self._random_customers()
        exact = shop.view(wanted)
        if exact is not None:
            return [_outline(exact)]
        with shop.lock:
            ids = [customer_id for customer_id, _ in zip(shop.ids(), range(_MOST_LOOKED_AT), strict=False)]
        views = (shop.view(customer_id) for customer_id in ids)
        found = (one for one in views if one is not None and wanted in str(one["email"]).casefold())
        return [_outline(one) for one, _ in zip(found, range(_MOST_FOUND), strict=False)]

    def _random_customers(self) -> list[dict[str, str]]:
        customers = self._world.shop.customers
        with self._world.shop.lock:
            numbers = random.sample(range(customers.ever), min(10 * _CHOSEN, customers.ever))
            ids = [customer_id for number in numbers if (customer_id := customers.numbered(number))]
        views = (customers.view(customer_id) for customer_id in ids[:_CHOSEN])
        return [_outline(view) for view in views if view is not None]

    # The service with it

    def apply(self, text: str) -> str:
        """Restart the service with this file; return a sentence that says what was done.

        Raises NotValid, and ValueError if an apply runs already, or if the service does not start with it: then the
        former mapping is back.
        """
        rules = self.check(text)
        return self._change(text, rules.fingerprint)

    def apply_built_in(self) -> str:
        """Restart the service without a file, as `apply` does with one."""
        return self._change(None, "")

    def _change(self, text: str | None, fingerprint: str) -> str:
        if self._is_over or not self._busy.acquire(blocking=False):
            raise ValueError("A mapping is being applied: wait until the service has restarted.")
        try:
            running = [service for service in self._world.services if service.is_running]
            former = self._text
            if text is not None:
                self._judge.rules_changed(built_in=False)
            try:
                self._restart(text, running)
            except (OSError, RuntimeError) as error:
                self._put_back(former, running, error)
            self._text, self._fingerprint = text, fingerprint
            if text is None:
                self._judge.rules_changed(built_in=True)
        finally:
            self._busy.release()
        of = "the built-in mapping" if text is None else "this mapping"
        if not running:
            return f"No instance runs: the next one starts with {of}."
        number = "The service" if len(running) == 1 else f"Each of the {len(running)} instances"
        return f"{number} has restarted with {of}. It holds for what changes from now on."

    def _put_back(self, former: str | None, running: Sequence[Instance], error: Exception) -> None:
        """Restart the service with the former mapping, and raise ValueError, which says so."""
        back = "so the former mapping is back"
        try:
            self._restart(former, running)
        except (OSError, RuntimeError):
            back = "and not with the former one either. Start its instances in the Trouble view"
            for service in running:
                if service.has_ended:
                    service.stop()
        self._judge.rules_changed(built_in=former is None)
        raise ValueError(f"The service did not start with this mapping, {back}. {error}") from None

    def _restart(self, text: str | None, running: Sequence[Instance]) -> None:
        """Restart these instances, one after another. Raises RuntimeError for one that does not start, and OSError."""
        settings = {name: value for name, value in self._world.settings().items() if name != _SETTING}
        if text is not None:
            path = self._folder / _NAME
            path.write_text(text, "utf-8", newline="\n")
            settings[_SETTING] = str(path)
        self._world.configure(settings)
        for service in running:
            service.stop()
            newest = service.lines[-1] if service.lines else None
            service.start()
            _wait_until_it_said_so(service, newest)


def _wait_until_it_said_so(service: Instance, newest: Mapping[str, Any] | None) -> None:
    """Return when the service has logged its rules after that line: another instance answers at the same address."""
    deadline = time.monotonic() + _START_SECONDS
    while not any(str(line.get("message", "")).startswith(_STARTED) for line in _since(service, newest)):
        if service.has_ended or time.monotonic() > deadline:
            words = "\n".join(str(line.get("message", "")) for line in [*_since(service, newest)][:5][::-1])
            raise RuntimeError(f"The service did not start: {words}")
        time.sleep(0.02)


def _since(service: Instance, newest: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the lines after that one, the newest first."""
    for line in list(service.lines)[::-1]:
        if line is newest:
            return
        yield line


# Mistakes

_AT = re.compile(rf"{re.escape(_NAME)}(?::(?P<line>\d+):)? (?P<text>.*)", re.DOTALL)
_COLUMN = re.compile(r"\(column (\d+)\)")


def _mistake(told: str, text: str) -> Mistake:
    """Return what the loader says: "mapping.toml:4: identify.default is no setting; …"."""
    found = _AT.fullmatch(told)
    if found is None:
        return Mistake(None, None, told)
    column = _COLUMN.search(found["text"])
    if found["line"] is not None:
        return Mistake(int(found["line"]), int(column[1]) if column else None, _sentence(found["text"]))
    line = text.count("\n") + 1 if "at its end" in found["text"] else None
    return Mistake(line, None, f"The file {found['text']}")


def _sentence(text: str) -> str:
    """Begin a sentence in upper case, unless it begins with a key of the file."""
    return text[:1].upper() + text[1:] if text.startswith(("this ", "a ")) else text


# Comparisons


def _rows(before: Said, after: Said) -> Iterator[dict[str, Any]]:
    """Yield each part of two events, in order: its place, both values as text, and what changes ("": nothing)."""
    if ("traits" in before) != ("traits" in after):
        yield from map(_row, differences(before, after))
    else:
        yield from map(_row, _parts(before, after))


def _parts(before: object, after: object, place: tuple[str, ...] = ()) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict) and (before or after):
        for key in {**before, **after}:
            yield from _parts(before.get(key, ABSENT), after.get(key, ABSENT), (*place, key))
    elif isinstance(before, dict) and before and after is ABSENT:
        yield from _parts(before, {}, place)
    elif isinstance(after, dict) and after and before is ABSENT:
        yield from _parts({}, after, place)
    else:
        yield Difference(place, before, after)


def _row(one: Difference) -> dict[str, Any]:
    before, after = one.values
    differs = any(differences(one.before, one.after, ("value",)))
    return {"place": one.shown, "before": before, "after": after, "change": change_of(one) if differs else ""}


def _said_of_order(events: Sequence[Mapping[str, Any]]) -> Said:
    """Return the first event, its products by their number, so that they are compared field by field."""
    if not events:
        return {}
    said = comparable(events[0])
    properties = dict(said.get("properties", {}))
    products = properties.pop("products", [])
    numbered = {f"products[{number}]": product for number, product in enumerate(products)}
    return {**said, "properties": {**properties, **numbered}}


def _with_groups(document: Document, groups: Mapping[str, Document]) -> Document:
    """Return a customer as the service reads it, with the groups expanded."""

    def expanded(reference: Document) -> Document:
        group = groups.get(reference["id"])
        return {**reference, "obj": group} if group else reference

    read = dict(document)
    if "customerGroup" in read:
        read["customerGroup"] = expanded(read["customerGroup"])
    assignments = read.get("customerGroupAssignments", [])
    read["customerGroupAssignments"] = [{**one, "customerGroup": expanded(one["customerGroup"])} for one in assignments]
    return read


def _outline(customer: Document) -> dict[str, str]:
    names = (customer.get("firstName"), customer.get("lastName"))
    return {"id": customer["id"], "email": customer["email"], "name": " ".join(name for name in names if name)}


# Routes


def routes(playground: "Playground") -> Blueprint:
    return routes_of(playground.mapping)


def routes_of(editor: MappingEditor) -> Blueprint:
    """`mapping/…`: texts, check, customers, apply, built-in."""
    api = Blueprint("mapping", __name__)

    @api.get("/mapping/texts")
    def texts() -> dict[str, Any]:
        return {"applied": editor.text, "examples": [one._asdict() for one in examples()]}

    @api.post("/mapping/check")
    def check() -> dict[str, Any]:
        given = body()
        ids = given.get("customers", [])
        if not isinstance(ids, list):
            raise ValueError("customers must be an array of ids.")  # noqa: TRY004  # which becomes the answer 400
        try:
            return {"mistakes": [], **editor.compare(_text(given), [str(one) for one in ids])}
        except NotValid as not_valid:
            return {"mistakes": [one._asdict() for one in not_valid.mistakes]}

    @api.get("/mapping/customers")
    def customers() -> dict[str, Any]:
        return {"customers": editor.customers(request.args.get("search", ""))}

    @api.post("/mapping/apply")
    def apply() -> dict[str, str]:
        return {"said": editor.apply(_text(body()))}

    @api.post("/mapping/built-in")
    def built_in() -> dict[str, str]:
        return {"said": editor.apply_built_in()}

    return api


def _text(given: Mapping[str, Any]) -> str:
    text = given.get("text")
    if not isinstance(text, str):
        raise ValueError("text must be the text of the file.")  # noqa: TRY004  # which becomes the answer 400
    return text
