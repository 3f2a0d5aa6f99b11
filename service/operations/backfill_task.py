"""backfill: which task of a Cloud Run job this process is."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.config import ConfigError


@dataclass(frozen=True, slots=True)
class Task:
    """Which of `count` ranges of ids this process sends: `index` begins at 0.

    `execution` names what all tasks were started by, "" if that is not known.
    https://cloud.google.com/run/docs/container-contract#jobs-env-vars
    """

    index: int = 0
    count: int = 1
    execution: str = ""


def task_of(environment: Mapping[str, str]) -> Task | None:
    """Return which task of a Cloud Run job this process is, or None if it is none. Raises ConfigError."""
    if "CLOUD_RUN_TASK_COUNT" not in environment:
        return None
    try:
        index, count = (int(environment.get(f"CLOUD_RUN_TASK_{name}", "")) for name in ("INDEX", "COUNT"))
    except ValueError:
        index, count = -1, 0
    if not 0 <= index < count:
        raise ConfigError("CLOUD_RUN_TASK_INDEX must be a number from 0 on, below CLOUD_RUN_TASK_COUNT.")
    return Task(index, count, environment.get("CLOUD_RUN_EXECUTION", ""))
