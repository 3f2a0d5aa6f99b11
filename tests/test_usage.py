"""Every block of docs/usage.md runs as it stands, and passes mypy in strict mode."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.segment import SegmentStandIn

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "usage.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
SENDS = {heading for heading, block in BLOCKS.items() if "send_" in block and "_with_client" not in block}


@pytest.fixture(scope="module")
def segment() -> Iterator[SegmentStandIn]:
    with SegmentStandIn("stand-in-write-key") as stand_in:
        yield stand_in


def test_the_page_has_one_block_for_each_heading() -> None:
    assert len(BLOCKS) == len(re.findall(r"^## ", PAGE, re.MULTILINE)) == PAGE.count("```python") == 14


@pytest.mark.parametrize("heading", BLOCKS)
def test_each_block_runs_as_it_is(heading: str, segment: SegmentStandIn) -> None:
    segment.forget()

    subprocess.run(  # noqa: S603  # our own page
        [sys.executable, "-W", "error", "-c", BLOCKS[heading]],
        check=True,
        cwd=ROOT,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SEGMENT_WRITE_KEY": "stand-in-write-key",
            "SEGMENT_HOST": segment.url,
        },
    )

    assert bool(segment.events) == (heading in SENDS)


def test_every_block_passes_mypy_in_strict_mode(tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS.values()):
        (tmp_path / f"block{number}.py").write_text(block)

    mypy = subprocess.run(  # noqa: S603  # our own page
        [
            sys.executable,
            "-m",
            "mypy",
            f"--config-file={ROOT}/pyproject.toml",
            f"--cache-dir={ROOT}/.mypy_cache",
            tmp_path,
        ],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert mypy.returncode == 0, mypy.stdout
