"""backfill: the progress of a run that has several tasks, in objects of Cloud Storage.

All tasks share an object, NAME.KIND, that says which run this is; each task has one with its own progress,
NAME.KIND.RUN.TASK. Each is written by one process at a time (checkpoint_storage), so a task that is started twice goes
on once. Rejects are lines in the log: Cloud Storage appends to no object.

When its last task has ended, the run is noted as finished, and the next execution begins a new one. A task that is
retried after that, because it was killed before it could say that it was done, belongs to an execution of the finished
run and does nothing. The bucket's lifecycle removes the objects.
"""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from service.operations import Exit, Trouble
from service.operations.backfill_files import Form, Rejected, State, unusable
from service.operations.backfill_task import Task
from service.operations.checkpoint_storage import Bucket, StoredObject

LOG = "the log"
"""What the operator reads as the place of the rejects."""


@dataclass(slots=True)
class Run:
    """What the tasks of a run share. `executions` are those of Cloud Run that have worked on it."""

    id: str
    tasks: int
    kind: str
    settings: dict[str, str]
    began: str
    executions: list[str]
    finished: bool = False


class Objects:
    """Objects in a bucket. `log` gets each reject, without personal data."""

    rejects = LOG

    def __init__(self, bucket: Bucket, name: str, task: Task, log: Callable[[Mapping[str, Any]], None]) -> None:
        self.name = f"gs://{bucket.name}/{name}"
        self.gap = bucket.gap
        self._bucket = bucket
        self._object = name
        self._task = task
        self._log = log

    @contextlib.contextmanager
    def opened(self, form: Form) -> Iterator["KeptObjects"]:
        """Join the run that is under way, or begin one. Raises Trouble."""
        shared = _Shared(self._bucket, f"{self._object}.{form.kind}", self._task, form)
        yield KeptObjects(shared, shared.join(), self._task, form, LoggedRejects(self._log))


class _Shared:
    """The object that all tasks share."""

    def __init__(self, bucket: Bucket, name: str, task: Task, form: Form) -> None:
        self._bucket = bucket
        self._name = name
        self._task = task
        self._form = form
        self._object = StoredObject(bucket, name)
        self.anew = f"remove {self._object.name}"

    def join(self) -> Run:
        """Return the run that this task works on. Raises Trouble if that has other settings or tasks."""
        execution = [self._task.execution] if self._task.execution else []
        while True:
            run = self._read()
            if run is not None and run.finished and not set(execution) & set(run.executions):
                run = None
            if run is not None and self._fits(run):
                if set(execution) <= set(run.executions):
                    return run
                run.executions += execution
            else:
                began = datetime.now(UTC).isoformat()
                form = self._form
                run = Run(uuid.uuid4().hex[:12], self._task.count, form.kind, form.fingerprint, began, execution)
            if self._object.write(asdict(run)):
                return run

    def _fits(self, run: Run) -> bool:
        """Return whether this task can work on the run. Return False if it cannot, and nothing was done in that run."""
        try:
            self._form.compare(run.settings, self._object.name, self.anew)
            if run.tasks != self._task.count:
                raise unusable(self._object.name, f"belongs to a backfill of {run.tasks} tasks", self.anew)
        except Trouble:
            texts = [self.of_task(run, index).read() for index in range(run.tasks)]
            if any(text is not None and _has_read(text) for text in texts):
                raise
            return False
        return True

    def of_task(self, run: Run, index: int) -> StoredObject:
        """Return the object with the progress of a task."""
        return StoredObject(self._bucket, f"{self._name}.{run.id}.task-{index + 1}-of-{run.tasks}")

    def finish(self, mine: Run) -> None:
        """Note that the run is finished, if every task is done."""
        while True:
            run = self._read()
            if run is None or run.id != mine.id or run.finished:
                return
            if not all(_is_done(self.of_task(run, index).read()) for index in range(run.tasks)):
                return
            run.finished = True
            if self._object.write(asdict(run)):
                return

    def _read(self) -> Run | None:
        text = self._object.read()
        if text is None:
            return None
        try:
            document = json.loads(text)
            return Run(
                id=str(document["id"]),
                tasks=int(document["tasks"]),
                kind=str(document["kind"]),
                settings=dict(document["settings"]),
                began=datetime.fromisoformat(document["began"]).isoformat(),
                executions=list(document["executions"]),
                finished=bool(document["finished"]),
            )
        except (ValueError, KeyError, TypeError):
            raise unusable(self._object.name, "is not a checkpoint of a backfill", self.anew) from None


class KeptObjects:
    """The progress of one task."""

    def __init__(self, shared: _Shared, run: Run, task: Task, form: Form, rejects: Rejected) -> None:
        self.rejects = rejects
        self.began: datetime | None = datetime.fromisoformat(run.began)
        self._shared = shared
        self._run = run
        self._form = form
        self._object = shared.of_task(run, task.index)

    def load(self) -> State | None:
        """Return the progress, or None if there is none. Raises Trouble."""
        text = self._object.read()
        return None if text is None else self._form.state(text, self._object.name, self._shared.anew)

    def save(self, document: Mapping[str, object]) -> None:
        """Write it. Raises Trouble, also if another process has taken over this task."""
        if not self._object.write(document):
            raise Trouble(
                f"Another process works on the same task: it has written {self._object.name}, so this one stops.",
                Exit.STOPPED,
            )

    def end(self, document: Mapping[str, object]) -> None:
        """Keep it as done, and the run as finished if this task is the last one. Raises Trouble."""
        self.save(document)
        self._shared.finish(self._run)


class LoggedRejects:
    """Rejects as lines in the log. After a kill, those of the batches in flight are written again."""

    size = 0

    def __init__(self, log: Callable[[Mapping[str, Any]], None]) -> None:
        self._log = log

    def cut(self, size: int) -> None:
        """Do nothing: a log keeps its lines."""

    def write(self, rejects: Sequence[Mapping[str, Any]]) -> None:
        """Log each."""
        for reject in rejects:
            self._log(reject)


def _is_done(text: str | None) -> bool:
    try:
        return text is not None and json.loads(text)["done"] is True
    except (ValueError, KeyError, TypeError):
        return False


def _has_read(text: str) -> bool:
    try:
        document = json.loads(text)
        return bool(document["done"]) or any(lane["counts"]["read"] for lane in document["lanes"])
    except (ValueError, KeyError, TypeError):
        return True
