"""Resources of one type, as commercetools' API shows them: the newest versions of each."""

import hashlib
import string
from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from heapq import merge
from threading import RLock
from typing import Any

Document = dict[str, Any]


_STEP = timedelta(seconds=1)  # between the creation of one resource of a population and the next
_ID_BITS = 48  # of an id, that order a population


class Population(ABC):
    """Resources that are there from the start, made when they are looked at: all follows from a seed and a number."""

    def __init__(self, size: int, seed: int, opened: datetime) -> None:
        self._size = size
        self._seed = seed
        self._opened = opened

    @abstractmethod
    def document(self, index: int) -> Document:
        """Return the resource as commercetools shows it."""

    def __len__(self) -> int:
        return self._size

    def id(self, index: int) -> str:
        """Ids rise with the number."""
        spread = (1 << _ID_BITS) // self._size
        noise = self.digest(index)
        front = f"{index * spread + int(noise[:12], 16) % spread:012x}"
        return f"{front[:8]}-{front[8:]}-4{noise[12:15]}-a{noise[15:18]}-{noise[18:30]}"

    def first_beyond(self, resource_id: str) -> int:
        """Return the number of the first whose id may be greater."""
        digits = "".join(digit for digit in resource_id if digit in string.hexdigits)[:12].ljust(12, "0")
        return min(self._size, int(digits, 16) // ((1 << _ID_BITS) // self._size))

    def first_since(self, moment: datetime) -> int:
        """Return the number of the first that was made at `moment` or later."""
        return max(0, -((self.born(0) - moment) // _STEP))

    def index(self, resource_id: str) -> int | None:
        index = self.first_beyond(resource_id)
        return index if index < self._size and self.id(index) == resource_id else None

    def digest(self, index: int) -> str:
        return hashlib.blake2b(f"{self._seed}:{index}".encode(), digest_size=16).hexdigest()

    def born(self, index: int) -> datetime:
        return self._opened - (self._size - index) * _STEP


class History(Mapping[str, Document]):
    """The current state of each resource by id, in the order of the ids; a live view, not to be written to.

    Of each the newest `keep` versions are kept. While `lock` is held nothing changes.
    """

    def __init__(self, lock: RLock, keep: int, originals: Population | None = None) -> None:
        self._lock = lock
        self._keep = keep
        self._originals = originals
        self._population = 0 if originals is None else len(originals)
        self._living = self._population
        self._created: list[str] = []  # ids beyond the originals, sorted, deleted ones too
        self._versions: dict[str, deque[Document | None]] = {}  # of what was created or changed; None: deleted
        self._modified: dict[str, datetime] = {}  # lastModifiedAt of the living among them, in that order

    def __getitem__(self, resource_id: str) -> Document:
        document = self.view(resource_id)
        if document is None:
            raise KeyError(resource_id)
        return document

    def __iter__(self) -> Iterator[str]:
        return (resource_id for resource_id in self.ids() if resource_id in self)

    def __contains__(self, resource_id: object) -> bool:
        if not isinstance(resource_id, str):
            return False
        with self._lock:
            versions = self._versions.get(resource_id)
            return self._index(resource_id) is not None if versions is None else versions[-1] is not None

    def __len__(self) -> int:
        return self._living

    def versions(self, resource_id: str) -> list[Document]:
        """Return the versions kept of a resource, oldest first, also after it was deleted."""
        with self._lock:
            versions = self._versions.get(resource_id)
            if versions is not None:
                return [version for version in versions if version is not None]
            original = self._original(resource_id)
            return [] if original is None else [original]

    def view(self, resource_id: str, lag: int = 0) -> Document | None:
        """Return a resource, or the resource `lag` updates ago (the oldest one kept, if there were fewer).

        None if it does not exist; a deletion counts as an update.
        """
        with self._lock:
            versions = self._versions.get(resource_id)
            if versions is not None:
                return versions[max(0, len(versions) - 1 - lag)]
            return self._original(resource_id)

    def ids(self, after: str = "") -> Iterator[str]:
        """Every id there ever was beyond `after`, in order. Hold the lock while iterating, here and below."""
        created = self._created[bisect_right(self._created, after) :]
        originals = self._originals_from(self._first_beyond(after))
        return (found for found in merge(originals, created) if found > after)

    def ids_modified_since(self, moment: datetime) -> Iterator[str]:
        """The ids of living resources whose lastModifiedAt is `moment` or later, in that order."""
        yield from self._originals_since(moment)
        yield from self._changed_since(moment)

    def ids_after_modified_since(self, after: str, moment: datetime) -> Iterator[str]:
        """Those of them beyond `after`, in the order of the ids."""
        merged = merge(self._originals_since(moment, after), sorted(self._changed_since(moment)))
        return (found for found in merged if found > after)

    def newest(self) -> Iterator[str]:
        """The ids of living resources, the last one modified first. Hold the lock while iterating."""
        yield from reversed(self._modified)
        if self._originals is not None:
            newest_first = map(self._originals.id, reversed(range(self._population)))
            yield from (found for found in newest_first if found not in self._versions)

    def numbered(self, number: int) -> str | None:
        """Return an id by its number, of `ever` many; None if it was deleted."""
        if self._originals is not None and number < self._population:
            resource_id = self._originals.id(number)
        else:
            resource_id = self._created[number - self._population]
        return resource_id if resource_id in self else None

    @property
    def ever(self) -> int:
        """How many there ever were."""
        return self._population + len(self._created)

    def keep(self, document: Document, now: datetime) -> None:
        """Keep a new resource, or a new version of one."""
        resource_id = document["id"]
        if resource_id not in self._versions:
            original = self._original(resource_id)
            if original is None:
                insort(self._created, resource_id)
                self._living += 1
            self._versions[resource_id] = deque([original] if original else [], maxlen=self._keep)
        self._versions[resource_id].append(document)
        self._modified.pop(resource_id, None)
        self._modified[resource_id] = now

    def delete(self, resource_id: str) -> Document:
        """Return the last version of what is deleted. Raises KeyError."""
        document = self[resource_id]
        self._versions.setdefault(resource_id, deque([document], maxlen=self._keep)).append(None)
        self._modified.pop(resource_id, None)
        self._living -= 1
        return document

    def _index(self, resource_id: str) -> int | None:
        return self._originals.index(resource_id) if self._originals and self._population else None

    def _original(self, resource_id: str) -> Document | None:
        index = self._index(resource_id)
        return None if index is None or self._originals is None else self._originals.document(index)

    def _first_beyond(self, resource_id: str) -> int:
        return self._originals.first_beyond(resource_id) if self._originals and self._population else 0

    def _originals_from(self, first: int) -> Iterator[str]:
        if self._originals is None:
            return iter(())
        return map(self._originals.id, range(first, self._population))

    def _originals_since(self, moment: datetime, after: str = "") -> Iterator[str]:
        """The ids of the originals, as far as they are unchanged, in the order of lastModifiedAt and of ids."""
        if self._originals is None or not self._population:
            return iter(())
        first = max(self._originals.first_since(moment), self._first_beyond(after))
        return (found for found in self._originals_from(first) if found not in self._versions)

    def _changed_since(self, moment: datetime) -> list[str]:
        changed = []
        for resource_id in reversed(self._modified):
            if self._modified[resource_id] < moment:
                break
            changed.append(resource_id)
        return changed[::-1]
