"""One JSON object a line on stdout, as Cloud Logging reads it; a field gets out only if it is on the list.

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
"""What a line may carry besides its sentence: ids of messages and resources, never people's data."""

_OURS = ("service", "gunicorn")


class JsonFormatter(logging.Formatter):
    """Formats our own records in full, and of a library's only the template: its arguments may be anybody's data."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in _OURS
        line = {
            "severity": record.levelname,
            "message": record.getMessage() if ours else f"{record.name}: {record.msg}",
        }
        line.update((name, value) for name in FIELDS if (value := record.__dict__.get(name)) is not None)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = _place(record.exc_info[0], record.exc_info[1])
        return json.dumps(line)


def _place(kind: type[BaseException], error: BaseException | None) -> str:
    """The name of an exception and where it came from. Its text stays inside: it may quote what was being handled."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return " < ".join([kind.__name__, *(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])])


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes each line at once. Its flush is called within emit, whose lock is held already."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter())

    def flush(self) -> None:
        self.stream.flush()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Log our own records from `level` up, and libraries' from WARNING up: their DEBUG lines quote whole requests."""
    # Left out because no line shows it: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.WARNING, handlers=[JsonLines(stream or sys.stdout)], force=True)
    logging.getLogger("service").setLevel(level)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a kept-alive connection that died is no news
