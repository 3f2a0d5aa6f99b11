"""backfill: its files: the checkpoint, which keeps the progress of a run, and the rejects.

Only their owner can read them, and only one run at a time can write them.
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
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from service.operations import Exit, Trouble
from service.operations.backfill_report import Counts

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


def _place(resource_id: str, otherwise: float) -> float:
    try:
        return int(resource_id[:8], 16) / 16**8
    except ValueError:
        return otherwise


def lanes_for(number: int) -> list[Lane]:
    """Split all possible ids into ranges of the same size."""
    bounds = ["", *(str(uuid.UUID(int=(place << 128) // number)) for place in range(1, number)), ""]
    return [Lane(after, upto) for after, upto in itertools.pairwise(bounds)]


@dataclass(slots=True)
class State:
    """How far a run is.

    `rejects_bytes` is the size of the rejects; `began` is by commercetools' clock or earlier; `salt` is that of the
    messageIds.
    """

    lanes: list[Lane]
    rejects_bytes: int
    began: datetime
    salt: str = ""


class Checkpoint:
    """The progress of a run, in a file: ids, counts, and a fingerprint of each setting that decides what is sent.

    `kind` names what is sent, such as "customers".
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, str], kind: str) -> None:
        self._path = path
        self._fingerprint = dict(fingerprint)
        self._kind = kind

    def load(self) -> State | None:
        """Return the progress, or None if there is none.

        Raises Trouble if the file is not a checkpoint, or belongs to a run with other settings.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(f"cannot be read ({type(error).__name__})") from None
        try:
            document = json.loads(text)
            if document["format"] != _FORMAT:
                raise self._unusable("was written by another version of this command")
            kind, fingerprint = str(document.get("kind", _FIRST_KIND)), dict(document["settings"])
            lanes = [Lane(**{**lane, "counts": Counts(**lane["counts"])}) for lane in document["lanes"]]
            rejects_bytes = int(document["rejects_bytes"])
            began, salt = datetime.fromisoformat(document["began"]), str(document["salt"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._unusable("is not a checkpoint of a backfill") from None
        if not any(lane.counts.read for lane in lanes):
            return None  # whatever its settings were: they may have been wrong
        if kind != self._kind:
            raise Trouble(
                f"The checkpoint {self._path} belongs to a backfill of {kind}: name another with --checkpoint, or "
                f"finish that backfill first.",
                Exit.UNUSABLE,
            )
        rules = fingerprint.pop(RULES, self._fingerprint[RULES])  # older releases noted none
        settings = {name: said for name, said in self._fingerprint.items() if name != RULES}
        if fingerprint != settings:
            others = [name for name in settings if fingerprint.get(name) != settings[name]]
            if len(others) == len(settings):  # the key of every fingerprint is another
                others = ["SEGMENT_WRITE_KEY"]
            raise self._unusable(f"belongs to a backfill with another {' and another '.join(others)}")
        if rules != self._fingerprint[RULES]:
            raise Trouble(
                f"The checkpoint {self._path} belongs to a backfill by other rules: finish it with the old {RULES} "
                "(or the old release of this command), or remove the file to begin anew.",
                Exit.UNUSABLE,
            )
        return State(lanes, rejects_bytes, began, salt)

    def _unusable(self, why: str) -> Trouble:
        todo = "Run with the settings that it was begun with to go on, or remove the file to begin anew."
        return Trouble(f"The checkpoint {self._path} {why}. {todo}", Exit.UNUSABLE)

    def save(self, state: State) -> None:
        """Write it atomically, and to the disk. Raises OSError."""
        document = {
            "format": _FORMAT,
            "kind": self._kind,
            "settings": self._fingerprint,
            "lanes": [asdict(lane) for lane in state.lanes],
            "rejects_bytes": state.rejects_bytes,
            "began": state.began.isoformat(),
            "salt": state.salt,
        }
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with _private(draft, os.O_TRUNC) as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


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


def cannot_write(path: Path, error: OSError, code: Exit = Exit.STOPPED) -> Trouble:
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
