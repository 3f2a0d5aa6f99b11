"""One JSON object in each line on stdout, as Cloud Logging reads it. Only listed fields are written.

https://cloud.google.com/logging/docs/structured-logging
"""

import json
import logging
import sys
import traceback
from typing import TextIO

FIELDS = (
    "message_id",
    "delivery_attempt",
    "subscription",
    "notification_type",
    "resource_type",
    "resource_id",
    "version",
    "events",
    "logging.googleapis.com/trace",
)
"""The fields of a line besides its message: ids of messages and resources, no personal data."""

_OURS = ("service", "gunicorn")


class JsonFormatter(logging.Formatter):
    """Formats our own records in full, and only the template of a library's: its arguments may be personal data."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in _OURS
        line = {
            "severity": record.levelname,
            "message": record.getMessage() if ours else f"{record.name}: {record.msg}",
        }
        line.update((name, value) for name in FIELDS if (value := record.__dict__.get(name)) is not None)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = place(record.exc_info[0], record.exc_info[1])
        return json.dumps(line)


def place(kind: type[BaseException], error: BaseException | None) -> str:
    """Return the name of an exception and where it came from, without its text: the text may quote input."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return " < ".join([kind.__name__, *(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])])


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes each line at once. `flush` is only called by `emit`, which already holds the lock."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter())

    def flush(self) -> None:
        self.stream.flush()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Log our own records from `level` on, and those of libraries from WARNING on: their DEBUG lines quote requests."""
    # Left out because no line shows it: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.WARNING, handlers=[JsonLines(stream or sys.stdout)], force=True)
    logging.getLogger("service").setLevel(level)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each kept-alive connection that died
