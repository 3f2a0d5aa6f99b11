"""What a playground ends, and what it does not keep."""

import threading
from pathlib import Path

import requests

from playground.page.playground import Playground
from playground.page.server import served
from playground.ports import ReservedPort

SOON = 20  # seconds: far more than it takes


def test_the_end_waits_for_no_request_of_the_service(tmp_path: Path) -> None:
    with Playground(tmp_path, customers=0) as playground:
        service = playground.world.service

    assert not service.is_running
    assert "Handling signal: term" not in [line["message"] for line in service.lines]


def test_a_page_that_has_gone_is_sent_nothing_more_although_nothing_changes(tmp_path: Path) -> None:
    with (
        Playground(tmp_path, customers=0) as playground,
        ReservedPort() as reserved,
        served(playground, reserved.number) as address,
    ):
        with requests.get(f"{address}live", stream=True, timeout=SOON) as live:
            lines = live.iter_lines()
            assert next(line for line in lines if line.startswith(b"data: "))
            [serving] = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        serving.join(SOON)

        assert not serving.is_alive()
