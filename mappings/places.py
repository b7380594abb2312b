"""Where things stand in documents, and the errors that say so.

mappings/github.yaml:14:7: host "*" would match everything; write "*.github.com"
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a document; sorts by place."""

    place: Place
    message: str

    def __str__(self) -> str:
        # A name or a value is quoted as it stands in the file: with its line breaks, and with what a terminal obeys.
        return printable(f"{self.place}: {self.message}")


class DocumentError(Exception):
    """A document that cannot be used; holds every fault, sorted by place, one per line in ``str()``."""

    faults: tuple[Fault, ...]

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class PackError(DocumentError):
    """A mapping file or pack that cannot be used."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document and where each of its values stands."""

    source: str
    """The name shown in places: a path as the operator wrote it, or ``pack:github``."""
    text: str
    """The canonical text, exactly what the digest covers and what was parsed."""
    digest: str
    """SHA-256 of `text`, lower-case hex."""
    value: object
    """dict, list, str, int, bool or None."""
    places: Mapping[Path, Place] = field(repr=False, compare=False)
    keys: Mapping[Path, Place] = field(repr=False, compare=False)

    def place(self, path: Sequence[str | int] = ()) -> Place:
        """Return where the value at `path` starts; of what is not there, where its nearest parent starts."""
        return self.places[self._known(path)]

    def key_place(self, path: Sequence[str | int]) -> Place:
        """Return where the key of the entry at `path` stands; of a list item, where the item starts."""
        known = self._known(path)
        return self.keys.get(known) or self.places[known]

    def _known(self, path: Sequence[str | int]) -> Path:
        # pydantic puts names of union members between the steps; they are in no document, so skipped.
        known: Path = ()
        for step in path:
            if (*known, step) in self.places:
                known = (*known, step)
        return known


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 80 else value[:77] + "...", ensure_ascii=False)
    return json.dumps(value, default=str)


def one_line(text: str) -> str:
    """Return `text` on one line."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """Return `text` on one line, an escape for each character that is not to be seen (CWE-150)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
