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
"""A new token, and a new connection; a read by id always comes on a kept-alive one, that of the query before it."""


# One test, so that one worker makes the run of half a minute, once.
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
        "The dead-letter topic": len(faults.TOPIC_TROUBLES),
    }
    assert all(row.calls <= 2 for row in rows)
    assert {row.trouble for row in rows if row.calls == 2 and row.party != "commercetools, read by id"} <= TWO_CALLS
    told, seen = PAGE.read_text().splitlines(), faults.page(rows).splitlines()
    difference = "\n".join(difflib.unified_diff(told, seen, "docs/faults.md", "this run", lineterm="", n=0))
    assert not difference, f"{difference}\n\nIf that is meant: python -m tests.emulation.faults > docs/faults.md"
