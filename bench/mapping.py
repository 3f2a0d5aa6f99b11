"""What a mapping file costs: for each message, and at the start. The figures are by turns with the built-in mapping.

python -m bench.mapping
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import world
from service.commercetools.customer import customer_type
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules, customer_events
from service.transformation.rules import shop_mapping

_CUSTOMERS = 2000
_ROUNDS = 15
_STARTS = 15
_EXPRESSIONS = 4

_RULES = 15
PLAIN = "version = 1\n[identify.traits]\n" + "".join(
    f'trait{number} = "custom.{name}"\n'
    for number, name in zip(range(_RULES), cycle(("loyaltyTier", "points", "newsletter", "since")), strict=False)
)
OF_ALL_KINDS = """version = 1
[identify]
locales = ["de", "en"]
[identify.traits]
loyaltyTier = "custom.loyaltyTier"
loyaltyTierName = { from = "custom.loyaltyTier", values = { gold = "Gold", silver = "Silber" } }
points = { from = "custom.points", as = "number" }
newsletter = { from = "custom.newsletter", as = "boolean", default = false }
greeting = { from = "custom.greeting", as = "localized" }
storeCredit = { from = "custom.credit", as = "amount" }
storeCreditCurrency = { from = "custom.credit", as = "currency" }
interests = { from = "custom.interests", as = "list" }
salesRep = { from = "custom.salesRep", as = "id" }
customerSince = { from = ["custom.since", "createdAt"], as = "date" }
middleName = "middleName"
salutation = "salutation"
vatId = "vatId"
deliveryFloor = { from = "shippingAddress.custom.floor", as = "number" }
shippingCity = "shippingAddress.city"
"""
_WITH_EXPRESSIONS = OF_ALL_KINDS + "".join(
    f'big{number} = {{ expr = "custom.points > `{number}`", as = "boolean" }}\n' for number in range(_EXPRESSIONS)
)

_START = """
import time, sys
from pathlib import Path
import service.integration
from service.serving.toml_file import read_toml
from service.transformation.rules import shop_mapping
before = time.process_time()
shop_mapping(read_toml(Path(sys.argv[1])))
print(time.process_time() - before)
"""


class Costs(NamedTuple):
    """Microseconds of CPU for each message that 15 rules add, and each expression; milliseconds at the start.

    Plain rules name a path, and those of all kinds convert what is there too.
    """

    plain: float
    of_all_kinds: float
    expression: float
    start: float
    start_with_expressions: float

    @property
    def verdicts(self) -> list[tuple[str, str, str]]:
        """Each goal: what it is about, what was measured, what is wanted."""
        rules = f"{self.plain:.1f} µs; {self.of_all_kinds:.1f} µs with conversions of all kinds"
        start = f"{self.start:.1f} ms; {self.start_with_expressions:.1f} ms with expressions"
        return [
            ("mapping file of 15 plain rules, more for each message", rules, "≤ 8 µs"),
            ("each expression in it", f"{self.expression:.1f} µs", "≤ 10 µs"),
            ("mapping file, more at the start", start, "≤ 20 ms"),
        ]


def measure() -> Costs:
    """Measure by turns, and return the medians."""
    files = {"built in": None, "plain": PLAIN, "all kinds": OF_ALL_KINDS, "expressions": _WITH_EXPRESSIONS}
    turns = {name: _turn(text) for name, text in files.items()}
    rounds = [{name: turn() for name, turn in turns.items()} for _ in range(_ROUNDS)]
    return Costs(
        plain=median(each["plain"] - each["built in"] for each in rounds),
        of_all_kinds=median(each["all kinds"] - each["built in"] for each in rounds),
        expression=median(each["expressions"] - each["all kinds"] for each in rounds) / _EXPRESSIONS,
        start=_start(PLAIN),
        start_with_expressions=_start(_WITH_EXPRESSIONS),
    )


def _turn(text: str | None) -> Callable[[], float]:
    """Return a function that reads and transforms customers, and returns the microseconds of CPU for each."""
    rules = IdentifyRules(mapping=shop_mapping(None if text is None else toml_of(text.encode(), "mapping.toml")))
    of = customer_type(rules.mapping.named)
    document = _customer()

    def turn() -> float:
        before = time.process_time()
        for _ in range(_CUSTOMERS):
            customer_events(of.parse(document), rules, "demo-shop")
        return (time.process_time() - before) / _CUSTOMERS * 1e6

    return turn


def _start(text: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mapping.toml"
        path.write_text(text)
        command = [sys.executable, "-c", _START, str(path)]
        took = [
            float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=world.ROOT).stdout)
            for _ in range(_STARTS)
        ]
    return median(took) * 1000


def _customer() -> Mapping[str, Any]:
    """Return a customer that has every field the rules name."""
    address = {
        "id": "home",
        "streetName": "Hauptstraße",
        "streetNumber": "5",
        "postalCode": "10115",
        "city": "Berlin",
        "country": "DE",
        "phone": "+49 30 1",
        "mobile": "+49 171 1",
        "custom": {"type": {"typeId": "type", "id": "a"}, "fields": {"floor": 3}},
    }
    fields = {
        "loyaltyTier": "gold",
        "points": 1500,
        "newsletter": True,
        "greeting": {"de": "Hallo", "en": "Hello"},
        "credit": {"type": "centPrecision", "currencyCode": "EUR", "centAmount": 124500, "fractionDigits": 2},
        "interests": ["skiing", "climbing"],
        "salesRep": {"typeId": "customer", "id": "22222222-2222-4333-8444-555555555555"},
        "since": "2020-01-02",
    }
    customer = {
        "id": "11111111-2222-4333-8444-555555555555",
        "version": 3,
        "email": "mira@example.com",
        "firstName": "Mira",
        "lastName": "Example",
        "middleName": "L.",
        "salutation": "Ms.",
        "vatId": "XX1",
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-02-03T04:05:06.789Z",
        "addresses": [address],
        "shippingAddressIds": ["home"],
        "billingAddressIds": ["home"],
        "custom": {"type": {"typeId": "type", "id": "c"}, "fields": fields},
    }
    return json.loads(json.dumps(customer))  # type: ignore[no-any-return]  # as it is read


def main() -> None:
    for what, measured, goal in measure().verdicts:
        print(f"{what}: {measured} (goal: {goal})")


if __name__ == "__main__":
    main()
