"""What all resources of commercetools have in common: a type, an id, a version, and a place where they are read.

https://docs.commercetools.com/api/types#references
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar


class Unreadable(Enum):
    """Stands for a value that is there, but cannot be read as what is wanted. It does not say that a field is empty."""

    UNREADABLE = "unreadable"


UNREADABLE: Final = Unreadable.UNREADABLE


class CannotRead(Exception):
    """How a resource is now cannot be found out for the moment. The text says why."""


class Resource(Protocol):
    """A resource at one version."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> int: ...


AnyResource = TypeVar("AnyResource", bound=Resource)


@dataclass(frozen=True, slots=True)
class ResourceType(Generic[AnyResource]):
    """A type of resource, and how it is read.

    `type_id` is commercetools' name for it in references ("business-unit"), `path` its place in the API
    ("business-units"). `parse` makes a resource of commercetools' JSON, or raises Malformed. `expand` are the
    references that are read along (https://docs.commercetools.com/api/general-concepts#reference-expansion), and
    `query_size` is the number of ids that one query asks for, and `queries` how many may be in flight at once.
    """

    type_id: str
    path: str
    parse: Callable[[Mapping[str, Any]], AnyResource]
    expand: tuple[str, ...] = ()
    query_size: int = 100
    queries: int = 2  # one batch fills while the other is in flight; measured: docs/decisions.md

    @property
    def name(self) -> str:
        """The type in words: "business unit"."""
        return self.type_id.replace("-", " ")
