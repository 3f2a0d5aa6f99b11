"""Whatever an outside party does, no message is acknowledged before it is confirmed, and docs/faults.md says so."""

import difflib
import sys
from collections import Counter
from collections.abc import Callable
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


# One test, so that one worker makes the run of a minute and a half, once.
@pytest.mark.lengthy
def test_no_fault_of_a_party_makes_an_ack_of_what_is_not_confirmed_and_the_page_of_faults_is_what_happens(
    record_property: Callable[[str, object], None],
) -> None:
    rows = faults.run()

    figures = {"fault rows": len(rows), **Counter(f"answered {row.answer}" for row in rows)}
    for name, figure in figures.items():
        record_property(name, figure)
    sys.stdout.write(f"{figures}\n")
    assert faults.broken(rows) == []
    assert Counter(row.party for row in rows) == {
        "Segment": len(faults.TROUBLES),
        "Segment's Public API": len(faults.TROUBLES),
        "commercetools, the query": len(faults.TROUBLES),
        "commercetools, the token endpoint": len(faults.TROUBLES),
        "commercetools, read by id": len(faults.TROUBLES),
        "commercetools, the query of orders": len(faults.TROUBLES),
        "commercetools, the customer of an order": len(faults.TROUBLES),
        "commercetools, an order by id": len(faults.TROUBLES),
        "commercetools, the query of payments": len(faults.TROUBLES),
        "commercetools, the query for a payment's order": len(faults.TROUBLES),
        "commercetools, a payment's order by id": len(faults.TROUBLES) - 1,
        "commercetools, a payment by id": len(faults.TROUBLES) - 1,
        "The dead-letter topic": len(faults.TOPIC_TROUBLES),
    }
    assert all(row.calls <= 2 for row in rows)
    assert {row.trouble for row in rows if row.calls == 2 and row.party not in KEPT_ALIVE} <= TWO_CALLS
    told, seen = PAGE.read_text().splitlines(), faults.page(rows).splitlines()
    difference = "\n".join(difflib.unified_diff(told, seen, "docs/faults.md", "this run", lineterm="", n=0))
    assert not difference, f"{difference}\n\nIf that is meant: python -m tests.emulation.faults > docs/faults.md"
