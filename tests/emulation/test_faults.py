"""Whatever an outside party does, no message is acknowledged before it is confirmed, and docs/faults.md says so."""

import difflib
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tests.emulation import faults

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
TWO_CALLS = {"401", "reset of a kept-alive connection, once"}
"""A new token, and a new connection."""
KEPT_ALIVE = {
    "commercetools, read by id",
    "commercetools, the customer of an order",
    "commercetools, an order by id",
    "commercetools, the query for a payment's order",
    "commercetools, a payment's order by id",
    "commercetools, a payment by id",
}
"""These calls always come on the connection of a call before them."""
OF_ORDERS = {*KEPT_ALIVE} - {"commercetools, read by id"} | {
    "commercetools, the query of orders",
    "commercetools, the query of payments",
}
SOME = {
    "400",
    "401",
    "404",
    "429",
    "500",
    "404, a proxy's page",
    "reset after the request was read",
    "reset of a kept-alive connection, once",
    "hangs",
    "half a body",
    "200, another server's JSON",
    faults.GONE.name,
}
"""One of each kind that is treated in a way of its own, and none of those that take long."""


def lines_of(page: str, of_orders: Collection[str] | None) -> list[str]:
    """Return the lines of a page of faults, without those about orders and another fault, and without the sums."""
    lines, title = [], ""
    for line in page.splitlines()[:-1]:
        title = line.removeprefix("## ") if line.startswith("## ") else title
        fault = re.match(r"\| (.+?) \| \d", line)
        if of_orders is None or title not in OF_ORDERS or fault is None or fault[1] in of_orders:
            lines.append(line)
    return lines


# One run, so that one worker makes the run of a minute, once.
@pytest.mark.lengthy
@pytest.mark.parametrize(
    "of_orders",
    [pytest.param(SOME, id="some of orders"), pytest.param(None, id="all", marks=pytest.mark.long)],
)
def test_no_fault_of_a_party_makes_an_ack_of_what_is_not_confirmed_and_the_page_of_faults_is_what_happens(
    of_orders: Collection[str] | None, record_property: Callable[[str, object], None]
) -> None:
    rows = faults.run(of_orders)

    figures = {"fault rows": len(rows), **Counter(f"answered {row.answer}" for row in rows)}
    for name, figure in figures.items():
        record_property(name, figure)
    sys.stdout.write(f"{figures}\n")
    assert faults.broken(rows) == []
    tried = len(faults.TROUBLES) if of_orders is None else len(SOME) - 1  # without the one that is gone, or without 404
    assert Counter(row.party for row in rows) == {
        "Segment": len(faults.TROUBLES),
        "Segment's Public API": len(faults.TROUBLES),
        "commercetools, the query": len(faults.TROUBLES),
        "commercetools, the token endpoint": len(faults.TROUBLES),
        "commercetools, read by id": len(faults.TROUBLES),
        "The dead-letter topic": len(faults.TOPIC_TROUBLES),
        **dict.fromkeys(OF_ORDERS, tried),
        "commercetools, a payment's order by id": tried - 1,
        "commercetools, a payment by id": tried - 1,
    }
    assert all(row.calls <= 2 for row in rows)
    assert {row.trouble for row in rows if row.calls == 2 and row.party not in KEPT_ALIVE} <= TWO_CALLS
    told, seen = lines_of(PAGE.read_text(), of_orders), lines_of(faults.page(rows), of_orders)
    difference = "\n".join(difflib.unified_diff(told, seen, "docs/faults.md", "this run", lineterm="", n=0))
    assert not difference, f"{difference}\n\nIf that is meant: python -m tests.emulation.faults > docs/faults.md"
    assert of_orders is not None or PAGE.read_text() == faults.page(rows)
