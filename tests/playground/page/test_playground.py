"""The end of a playground."""

from pathlib import Path

from playground.page.playground import Playground


def test_the_end_waits_for_no_request_of_the_service(tmp_path: Path) -> None:
    with Playground(tmp_path, customers=0) as playground:
        service = playground.world.service

    assert not service.is_running
    assert "Handling signal: term" not in [line["message"] for line in service.lines]
