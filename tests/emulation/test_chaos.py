"""The promise holds while everything around the service fails: a small run of what `make chaos` does for minutes."""

from tests.emulation import chaos


def test_nothing_is_lost_doubled_stale_or_brought_back_while_everything_fails() -> None:
    finding = chaos.run(seed=9, changes=250)

    assert finding.broken == {}, str(finding)
    assert finding.figures["faults"] > 0
    assert finding.figures["pushes nacked"] > 0
    assert finding.figures["garbage"] > 0
    assert finding.figures["SIGKILL to the worker"] > 0
