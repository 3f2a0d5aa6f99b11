"""The options of python -m playground.page. tests/page/test_start.py starts it and ends it."""

import pytest

from playground.page.__main__ import main
from playground.ports import ReservedPort


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "--port: 99999 is no number from 0 to 65535"),
        (["--port=-1"], "--port: -1 is no number from 0 to 65535"),
        (["--port", "x"], "--port: x is no number from 0 to 65535"),
        (["--customers=-1"], "--customers: -1 is no number from 0 to 1000000"),
        (["--customers", "10000000"], "--customers: 10000000 is no number from 0 to 1000000"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)

    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_port_in_use_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with ReservedPort() as taken:
        assert main([f"--port={taken.number}"]) == 2

    assert f"port {taken.number} cannot be used" in capsys.readouterr().err
