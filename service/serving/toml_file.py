"""A TOML file as its values, and the line of each key: tomllib tells the position of a syntax error alone."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LARGEST = 256 * 1024  # bytes; a file with 300 rules has 30,000
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?[ \t\r]*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_INLINE = re.compile(rf"[{{,][ \t]*({_DOTTED})[ \t]*=")
_MANY_DOTS = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_KEY}[ \t]*\.[ \t]*){{20}}", re.MULTILINE)
"""A key of 20,000 parts takes 1.7 GB in tomllib."""


class NotToml(Exception):
    """A file cannot be read as TOML. The text is a sentence that begins with the file's name, and its line if known."""


@dataclass(frozen=True, slots=True)
class TomlFile:
    """The values of a file, and where they stand. `name` is the file's name without its folders."""

    name: str
    values: Mapping[str, Any]
    _lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    def line(self, path: Sequence[str | int]) -> int:
        """Return the line of a key, else that of the nearest key above it, else 1. A path has the names and indexes."""
        names = tuple(str(part) for part in path)
        return next((self._lines[names[:end]] for end in range(len(names), 0, -1) if names[:end] in self._lines), 1)


def read_toml(path: Path) -> TomlFile:
    """Read a file. Raises NotToml."""
    name = path.name or str(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would keep the start waiting
            raise NotToml(f"{name} is not a regular file.")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except IsADirectoryError:
        raise NotToml(f"{name} is a folder, not a file.") from None
    except FileNotFoundError:
        raise NotToml(f"{name} does not exist.") from None
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise NotToml(f"{name} cannot be read: {getattr(error, 'strerror', None) or 'no path'}.") from None
    return toml_of(data, name)


def toml_of(data: bytes, name: str) -> TomlFile:
    """Read the bytes of a file with this name. Raises NotToml."""
    if len(data) > _LARGEST:
        raise NotToml(f"{name} is larger than {_LARGEST // 1024} KiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotToml(f"{name}:{line}: this line is not UTF-8.") from None
    deep = _MANY_DOTS.search(text)
    if deep is not None:
        line = text.count("\n", 0, deep.end()) + 1
        raise NotToml(f"{name}:{line}: this key has too many dots.")
    try:
        values = tomllib.loads(f"{text}\n")  # with an end of the last line, tomllib tells the line of a fault there
    except tomllib.TOMLDecodeError as error:
        raise NotToml(_syntax(str(error), name)) from None
    except RecursionError:
        raise NotToml(f"{name} is nested too deeply.") from None
    except ValueError:  # an integer with more digits than Python reads
        raise NotToml(f"{name} has a number that is too long.") from None
    return TomlFile(name, values, _lines(text))


_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_TWICE = re.compile(r"Cannot (?:overwrite|declare|mutate|redefine)|Duplicate")
_WITHOUT_CONTENT = ("Expected", "Unescaped")  # what these quote is the grammar's
_QUOTED = re.compile(r"""\s*(['"]).*\1""", re.DOTALL)


def _syntax(message: str, name: str) -> str:
    """Return tomllib's words with the position in front. What it quotes of the file is left out."""
    found = _POSITION.fullmatch(message)
    if found is None:
        return f"{name} is not TOML."
    what, line, column = found.groups()
    if _TWICE.match(what):
        what = "a key or a table is there twice"
    elif not what.startswith(_WITHOUT_CONTENT):
        what = _QUOTED.sub("", what)
    if line is None:
        return f"{name} is not TOML: {what}, seen at its end."
    return f"{name}:{line}: this is not TOML: {what} (column {column})."


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each table and key. It serves messages alone: a key in a multi-line text can mislead it."""
    lines: dict[tuple[str, ...], int] = {}
    counted: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = _parts(header[2])
            if header[1] == "[[":
                lines.setdefault(table, number)
                counted[table] = counted.get(table, -1) + 1
                table = (*table, str(counted[table]))
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], number)
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is None:
            continue
        key = (*table, *_parts(assignment[1]))
        for end in range(len(table) + 1, len(key) + 1):
            lines.setdefault(key[:end], number)
        for inner in _INLINE.finditer(line, assignment.end()):
            lines.setdefault((*key, *_parts(inner[1])), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_KEY, dotted))
