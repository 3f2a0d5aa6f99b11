"""What the fuzzer once found, and a few that it began with: each goes its way without surprise."""

import json
from pathlib import Path

import pytest

from tests.builders import a_change, a_cloud_event, a_customer, a_message, a_push
from tests.fuzz.way import go

SAMPLES = Path(__file__).parent / "samples"


def test_what_the_fuzzer_found_goes_its_way_without_surprise() -> None:
    for sample in sorted(SAMPLES.glob("*-*")):  # crash-…, timeout-…, oom-…: as libFuzzer names what it finds
        try:
            go(sample.read_bytes())
        except Exception as surprise:  # noqa: BLE001  # any of them is one
            pytest.fail(f"{sample.name}: {surprise!r}")


@pytest.mark.parametrize("rules", range(10))
@pytest.mark.parametrize(
    ("place", "data"),
    [
        pytest.param(0, a_push(a_message()), id="a push"),
        pytest.param(0, json.dumps(a_message()).encode(), id="a push without an envelope"),
        pytest.param(1, json.dumps(a_cloud_event(a_message())).encode(), id="a CloudEvent"),
        pytest.param(2, json.dumps(a_customer()).encode(), id="a customer"),
    ],
)
def test_a_whole_customer_comes_to_an_event_from_wherever_the_fuzzer_begins(
    rules: int, place: int, data: bytes
) -> None:
    assert go(bytes([rules, place]) + data)


def test_what_brings_no_customer_comes_to_nothing() -> None:
    assert not go(b"\0\1" + json.dumps(a_change()).encode())
    assert not go(b"")
