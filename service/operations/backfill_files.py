"""backfill: the progress of a run, and its files: the checkpoint, which keeps it, and the rejects.

Only their owner can read the files, and only one run at a time can write them. backfill_objects has the same for Cloud
Storage.
"""

import contextlib
import errno
import fcntl
import hashlib
import hmac
import io
import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from service.operations import Exit, Trouble, why_not_read
from service.operations.backfill_report import Counts
from service.operations.backfill_task import Task

RULES = "MAPPING_FILE"
"""The setting that stands for the transformation's rules in a fingerprint."""

_FORMAT = 2
_FIRST_KIND = "customers"  # the only one when checkpoints did not name it


@dataclass(slots=True)
class Lane:
    """A range of ids, greater than `after` and up to `upto` ("": no end); `after` advances as Segment confirms."""

    after: str
    upto: str
    finished: bool = False
    counts: Counts = field(default_factory=Counts)

    @property
    def share_left(self) -> float:
        """The share of all possible ids that is left here, from 0 to 1. Ids are random, so also of the resources."""
        return 0.0 if self.finished else max(0.0, _place(self.upto, 1.0) - _place(self.after, 0.0))

    def within(self, page: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the resources of a page that are in this range."""
        return [document for document in page if not self.upto or document["id"] <= self.upto]


def _place(resource_id: str, otherwise: float) -> float:
    try:
        return int(resource_id[:8], 16) / 16**8
    except ValueError:
        return otherwise


def lanes_for(number: int, task: Task = Task()) -> list[Lane]:  # noqa: B008  # it is frozen
    """Split all possible ids of a task into ranges of the same size."""
    first, parts = task.index * number, task.count * number
    bounds = [_bound(place, parts) for place in range(first, first + number + 1)]
    return [Lane(after, upto) for after, upto in itertools.pairwise(bounds)]


def _bound(place: int, parts: int) -> str:
    return str(uuid.UUID(int=(place << 128) // parts)) if 0 < place < parts else ""


@dataclass(slots=True)
class State:
    """How far a run is.

    `rejects_bytes` is the size of the rejects; `began` is by commercetools' clock or earlier; `salt` is that of the
    messageIds. `done` is set where the progress is kept after the end.
    """

    lanes: list[Lane]
    rejects_bytes: int
    began: datetime
    salt: str = ""
    done: bool = False


class Rejected(Protocol):
    """Where rejects are written."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def cut(self, size: int) -> None:
        """Remove what was written after the checkpoint: it will be found again. Raises OSError."""
        ...

    def write(self, rejects: Sequence[Mapping[str, Any]]) -> None:
        """Append them. Raises OSError."""
        ...


class Kept(Protocol):
    """The progress of a run and its rejects, opened for this run."""

    rejects: Rejected
    began: datetime | None
    """When the first task of this run began, if that is known."""

    def load(self) -> State | None:
        """Return the progress, or None if there is none. Raises Trouble."""
        ...

    def save(self, document: Mapping[str, object]) -> None:
        """Keep the progress. Raises OSError or Trouble."""
        ...

    def end(self, document: Mapping[str, object]) -> None:
        """Note that all is done. Raises OSError or Trouble."""
        ...


class Place(Protocol):
    """Where a run keeps its progress and its rejects; the names are for the operator."""

    name: str
    rejects: str
    gap: float
    """Seconds between two saves."""

    def opened(self, form: "Form") -> contextlib.AbstractContextManager[Kept]:
        """Keep other runs away, or stop them at their next save. Raises Trouble before anything is sent."""
        ...


class Form:
    """The progress of a run as JSON: ids, counts, and a fingerprint of each setting that decides what is sent.

    `kind` names what is sent, such as "customers".
    """

    def __init__(self, fingerprint: Mapping[str, str], kind: str) -> None:
        self.fingerprint = dict(fingerprint)
        self.kind = kind

    def document(self, state: State) -> dict[str, object]:
        """Return the progress as JSON."""
        return {
            "format": _FORMAT,
            "kind": self.kind,
            "settings": self.fingerprint,
            "lanes": [asdict(lane) for lane in state.lanes],
            "rejects_bytes": state.rejects_bytes,
            "began": state.began.isoformat(),
            "salt": state.salt,
            "done": state.done,
        }

    def state(self, text: str, name: str, anew: str) -> State | None:
        """Return the progress in a text, or None if there is none.

        Raises Trouble if it is not a checkpoint, or belongs to a run with other settings. `anew` says what to do to
        begin anew.
        """
        try:
            document = json.loads(text)
            if document["format"] != _FORMAT:
                raise unusable(name, "was written by another version of this command", anew)
            kind, fingerprint = str(document.get("kind", _FIRST_KIND)), dict(document["settings"])
            lanes = [Lane(**{**lane, "counts": Counts(**lane["counts"])}) for lane in document["lanes"]]
            rejects_bytes = int(document["rejects_bytes"])
            began, salt = datetime.fromisoformat(document["began"]), str(document["salt"])
            done = bool(document.get("done", False))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise unusable(name, "is not a checkpoint of a backfill", anew) from None
        if not any(lane.counts.read for lane in lanes) and not done:
            return None  # whatever its settings were: they may have been wrong
        if kind != self.kind:
            raise Trouble(
                f"The checkpoint {name} belongs to a backfill of {kind}: name another with --checkpoint, or "
                f"finish that backfill first.",
                Exit.UNUSABLE,
            )
        self.compare(fingerprint, name, anew)
        return State(lanes, rejects_bytes, began, salt, done)

    def compare(self, noted: Mapping[str, str], name: str, anew: str) -> None:
        """Raise Trouble if a checkpoint notes other settings than those of this run."""
        fingerprint = dict(noted)
        rules = fingerprint.pop(RULES, self.fingerprint[RULES])  # older releases noted none
        settings = {name: said for name, said in self.fingerprint.items() if name != RULES}
        if fingerprint != settings:
            others = [name for name in settings if fingerprint.get(name) != settings[name]]
            if len(others) == len(settings):  # the key of every fingerprint is another
                others = ["SEGMENT_WRITE_KEY"]
            raise unusable(name, f"belongs to a backfill with another {' and another '.join(others)}", anew)
        if rules != self.fingerprint[RULES]:
            raise Trouble(
                f"The checkpoint {name} belongs to a backfill by other rules: finish it with the old {RULES} "
                f"(or the old release of this command), or {anew} to begin anew.",
                Exit.UNUSABLE,
            )


def unusable(name: str, why: str, anew: str) -> Trouble:
    """Return the Trouble for a checkpoint that this run cannot use."""
    todo = f"Run with the settings that it was begun with to go on, or {anew} to begin anew."
    return Trouble(f"The checkpoint {name} {why}. {todo}", Exit.UNUSABLE)


class Files:
    """A checkpoint file, and the file of the rejects beside it."""

    gap = 0.0

    def __init__(self, checkpoint: Path, rejects: Path) -> None:
        self.name, self.rejects = str(checkpoint), str(rejects)
        self._checkpoint, self._rejects = checkpoint, rejects

    @contextlib.contextmanager
    def opened(self, form: Form) -> Iterator["KeptFiles"]:
        """Lock both. Raises Trouble."""
        with lock_of(self._checkpoint), contextlib.closing(Rejects(self._rejects)) as rejects:
            yield KeptFiles(self._checkpoint, rejects, form)


class KeptFiles:
    """Both files, for one run."""

    began: datetime | None = None

    def __init__(self, path: Path, rejects: "Rejects", form: Form) -> None:
        self.rejects: Rejected = rejects
        self._path = path
        self._form = form

    def load(self) -> State | None:
        """Return the progress, or None if there is none. Raises Trouble."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise unusable(str(self._path), f"cannot be read: {why_not_read(error)}", _ANEW) from None
        return self._form.state(text, str(self._path), _ANEW)

    def save(self, document: Mapping[str, object]) -> None:
        """Write it atomically, and to the disk. Raises OSError."""
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with _private(draft, os.O_TRUNC) as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def end(self, document: Mapping[str, object]) -> None:  # noqa: ARG002  # objects keep it
        """Remove the checkpoint."""
        self._path.unlink(missing_ok=True)


_ANEW = "remove the file"


class Saving:
    """Saves the newest progress for every lane that waits: one save at a time, with a gap between two.

    A lane returns from `through` when a save has everything that the lane had noted before.
    """

    def __init__(
        self,
        save: Callable[[], None],
        gap: float,
        wait: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._save = save
        self._gap = gap
        self._wait = wait
        self._clock = clock
        self._changed = threading.Condition()
        self._wanted = self._begun = self._saved = 0
        self._is_saving = False
        self._not_before = 0.0
        self._error: BaseException | None = None

    def wait_for_lanes(self, number: int, timeout: float) -> bool:
        """Return whether within `timeout` seconds so many lanes wait for a save that has not begun."""
        with self._changed:
            return self._changed.wait_for(lambda: self._wanted - self._begun >= number, timeout)

    def through(self) -> None:
        """Wait until the progress is saved, or save it. Raises what the save raised, for every lane that waited."""
        with self._changed:
            self._wanted += 1
            mine = self._wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_saving or self._saved >= mine)
            if self._saved >= mine:
                return
            if self._error is not None:
                raise self._error
            self._is_saving = True
        error: BaseException | None = None
        try:
            self._wait(max(0.0, self._not_before - self._clock()))
            self._begun = self._wanted
            self._save()
        except BaseException as caught:
            error = caught
            raise
        finally:
            with self._changed:
                self._is_saving = False
                self._not_before = self._clock() + self._gap
                self._error = error
                self._saved = self._saved if error else self._begun
                self._changed.notify_all()


def fingerprint_of(settings: Mapping[str, str], write_key: str) -> dict[str, str]:
    """Return a fingerprint of each setting. Without the write key the settings cannot be guessed from it."""
    key = hashlib.sha256(write_key.encode()).digest()
    return {name: hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16] for name, text in settings.items()}


@contextlib.contextmanager
def lock_of(checkpoint: Path) -> Iterator[None]:
    """Keep other runs away from a checkpoint. Raises Trouble if another run has it.

    The checkpoint is replaced at each save, so what is locked is a file beside it.
    """
    path = checkpoint.with_name(f"{checkpoint.name}.lock")
    try:
        lock = _locked(path)
    except BlockingIOError:
        raise Trouble(f"Another backfill is using {checkpoint}.", Exit.UNUSABLE) from None
    except OSError as error:
        raise cannot_write(checkpoint, error, Exit.UNUSABLE) from None
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Rejects:
    """The file of the resources that could not be sent, one JSON object a line.

    It is locked while it is open, for the whole run. Raises Trouble if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: TextIO = _locked(path, os.O_APPEND)
        except BlockingIOError:
            raise Trouble(f"Another backfill is writing {path}.", Exit.UNUSABLE) from None
        except OSError as error:
            raise cannot_write(path, error, Exit.UNUSABLE) from None

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Remove what was written after the checkpoint: it will be found again. Raises OSError."""
        if self.size > size:
            self._file.truncate(size)

    def write(self, rejects: Sequence[Mapping[str, Any]]) -> None:
        """Append them. Raises OSError."""
        self._file.writelines(json.dumps(reject) + "\n" for reject in rejects)
        self._file.flush()

    def close(self) -> None:
        """Close it, and remove it if it is empty."""
        with contextlib.suppress(OSError):  # a full disk was reported at the write
            if not self.size:
                self._path.unlink(missing_ok=True)
            self._file.close()


def cannot_write(path: Path | str, error: OSError, code: Exit = Exit.STOPPED) -> Trouble:
    """Return the Trouble for a file that cannot be written; the code is UNUSABLE if nothing was done yet."""
    why = error.strerror or type(error).__name__
    kept = "" if code is Exit.UNUSABLE else " What it says so far is kept; the same command continues from there."
    return Trouble(f"{path} (or the file beside it) cannot be written: {why}.{kept}", code)


def _private(path: Path, flag: int) -> TextIO:
    """Open a regular file to write, readable by its owner alone: it may have personal data. Raises OSError."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | flag, 0o600)
    file = io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w")), encoding="utf-8")
    try:
        os.fchmod(descriptor, 0o600)  # it may have been there, and the umask may deny the owner too
    except OSError:
        file.close()
        raise
    return file


def _locked(path: Path, flag: int = 0) -> TextIO:
    """Open it as `_private` does, for this run alone. Raises OSError: BlockingIOError if another run has it."""
    file = _private(path, flag)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file.fileno()).st_nlink:
            raise BlockingIOError  # another run removed it at its end, after it was opened here
    except OSError:
        file.close()
        raise
    return file
