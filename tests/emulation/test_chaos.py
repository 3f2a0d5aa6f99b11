"""The promise holds while everything around the service fails: a small run of `make chaos`, and tests of its judge."""

import time
from dataclasses import replace
from typing import Any

import pytest

from playground.commercetools import CommercetoolsStandIn
from playground.oracle_orders import Verdict
from playground.segment import SegmentStandIn
from playground.shop import Shop
from playground.stand_in import RESET_AFTER_READ
from service.config import SegmentSettings, UserIdField
from service.integration import integration_by
from service.outcome import Ending
from tests.builders import commercetools_settings, settings
from tests.emulation.chaos import PARTIES, Day, Evidence, Letter, judge, run

EARLIER, LATER = "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.001Z"
A_GARBAGE = Letter("2", "the message's data is not JSON", b"garbage")
NEWEST = {"one": {"firstName": "Later"}}


def an_event(timestamp: str = LATER, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    traits = {"firstName": "Later" if timestamp == LATER else "Earlier"}
    return {"type": "identify", "messageId": timestamp, "userId": "one", "context": {}, "traits": traits} | changes


AS_IT_SHOULD_BE = Evidence(
    published=["1", "2"],
    acknowledged=frozenset({"1", "2"}),
    expected=NEWEST,
    by_arrival=NEWEST,
    by_timestamp=NEWEST,
    erased=frozenset({"two"}),
    suppressed=frozenset({"two"}),
    received=[an_event(EARLIER), an_event(LATER), an_event(LATER)],
    garbage=[A_GARBAGE],
    letters=[A_GARBAGE, A_GARBAGE],
    statuses={200: 1, 204: 1, 500: 1, 503: 1, None: 1},
)


@pytest.mark.lengthy
def test_a_small_day_of_chaos_breaks_no_promise() -> None:
    finding = run(Day(seed=5, customers=100, changes=600, troubles=14, long=False, patience=60))

    assert finding.broken == {}, str(finding)
    assert finding.figures["changes"] == 600
    assert finding.figures["pushes"] > finding.figures["messages published"] > 600
    assert finding.figures["garbage messages"] > 0
    assert finding.troubles.keys() >= {"process: SIGKILL to the worker", "process: SIGKILL to all", "process: SIGTERM"}
    assert sum(finding.failures.values()) > 0


def test_the_judge_has_nothing_to_say_where_the_promise_is_kept() -> None:
    assert judge(AS_IT_SHOULD_BE) == {}
    assert len(PARTIES) == len(set(PARTIES))


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("lost: messages without an end", {"acknowledged": frozenset({"1"})}),
        ("lost or stale: customers who are not in Segment as they are", {"by_arrival": {}}),
        ("lost or stale: customers who are not in Segment as they are", {"by_arrival": NEWEST | {"nobody": {}}}),
        (
            "lost or stale: customers who are not so by Segment's times",
            {"by_timestamp": {"one": {"firstName": "Earlier"}}},
        ),
        ("doubled: states told again without a reason", {"doubled": 2, "reasons_to_double": 1}),
        ("doubled: messageIds with two contents", {"received": [an_event(), an_event(traits={"firstName": "x"})]}),
        ("erased, and back", {"by_arrival": NEWEST | {"two": {}}}),
        ("deleted, and not erased", {"suppressed": frozenset()}),
        ("garbage without a dead letter that says why", {"letters": []}),
        (
            "garbage without a dead letter that says why",
            {"letters": [replace(A_GARBAGE, reason="unknown")]},
        ),
        ("dead letters that should not be", {"letters": [A_GARBAGE, Letter("1", "unknown", b"{}")]}),
        ("answers that no genuine push gets", {"statuses": {200: 1, 401: 1}}),
        ("failures that nobody foresaw", {"unforeseen": ["KeyError"]}),
        ("lost: facts about orders", {"facts": Verdict(lost=["Order Completed"])}),
        ("doubled: facts about orders", {"facts": Verdict(doubled=["Order Completed"])}),
        ("invented: facts about orders", {"facts": Verdict(invented=["Order Completed"])}),
        ("amounts off", {"facts": Verdict(amounts_off=["Order Completed"])}),
        (
            "facts about orders with another person, time, state or product",
            {"facts": Verdict(otherwise_off=["Order Completed"])},
        ),
    ],
)
def test_the_judge_sees(what: str, changes: dict[str, Any]) -> None:
    assert what in judge(replace(AS_IT_SHOULD_BE, **changes))


def test_no_older_state_follows_one_that_segment_may_have() -> None:
    published: list[bytes] = []
    shop = Shop(publish=lambda data, _attributes: published.append(data), messages=False)
    with SegmentStandIn() as segment, CommercetoolsStandIn(shop) as commercetools:
        integration = integration_by(
            settings(
                segment=SegmentSettings(write_key=segment.write_key, host=segment.url),
                segment_user_id=UserIdField.ID,
                commercetools=commercetools_settings(commercetools),
            )
        )
        customer_id = shop.create()["id"]
        for name in ("Earlier", "Later", "Latest"):
            shop.change(customer_id, {"action": "setFirstName", "firstName": name})
        _, earlier, _, latest = published

        def ending_of(data: bytes) -> Ending:
            return integration.handle(data, {}, time.monotonic() + 20).ending

        segment.fail_next(RESET_AFTER_READ.after_effect())
        assert ending_of(latest) is Ending.FAILED
        commercetools.lag_query(1)  # shows "Later", which is newer than what this is about
        assert ending_of(earlier) is Ending.FAILED
        assert ending_of(latest) is Ending.DELIVERED
        assert ending_of(earlier) is Ending.IGNORED

        assert [event["traits"]["firstName"] for event in segment.events] == ["Latest"]
