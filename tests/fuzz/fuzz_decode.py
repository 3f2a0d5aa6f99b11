"""make fuzz: bytes that look for a way through decoding and transformation that nobody thought of.

python -m tests.fuzz.fuzz_decode [libFuzzer's options, such as -max_total_time=60]

Guided by coverage, beginning with the documents that tests are built of. What it finds is written to
tests/fuzz/samples/, where tests/fuzz/test_samples.py tries it from then on.
https://github.com/google/atheris, https://llvm.org/docs/LibFuzzer.html#options
"""

import json
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ModuleNotFoundError:
    sys.exit("atheris is not installed: it has wheels for Linux on x86-64 alone (tests/fuzz/requirements.txt).")

with atheris.instrument_imports(include=["service", "marshmallow"]):
    from tests.fuzz.way import KEYS, go

from tests.builders import a_change, a_cloud_event, a_customer, a_message, a_push

SAMPLES = Path(__file__).parent / "samples"


def seeds() -> list[bytes]:
    """Return where to begin: each document where it belongs, and some steps of which one is built."""
    notifications = [a_message(), a_change(), a_change(notificationType="ResourceDeleted", dataErasure=True)]
    notifications += [a_cloud_event(each) for each in notifications]
    pushes = [b"\0\0" + a_push(each) for each in notifications]
    data = [b"\0\1" + json.dumps(each).encode() for each in notifications]
    customers = [b"\0\2" + json.dumps(a_customer(version=version)).encode() for version in (1, 2)]
    steps = [bytes([rules, place, *range(place, 256, 3)]) for rules in range(10) for place in (3, 4, 5)]
    return [*pushes, *data, *customers, *steps, *(sample.read_bytes() for sample in SAMPLES.iterdir())]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / str(number)).write_bytes(seed)
        words.write_text("\n".join(f'"{key}"' for key in KEYS))
        options = [f"-artifact_prefix={SAMPLES}/", f"-dict={words}", "-max_len=4096", *sys.argv[1:], str(corpus)]
        atheris.Setup([sys.argv[0], *options], go_on)
        atheris.Fuzz()


def go_on(data: bytes) -> None:
    """As `go`, whose answer libFuzzer would take for its own."""
    go(data)


if __name__ == "__main__":
    main()
