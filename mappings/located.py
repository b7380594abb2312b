"""Gathering faults while a document gets its meaning, each at its place, none of them the last."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from mappings.places import Document, Fault, Path


class Located:
    """A document and the list its faults go to."""

    def __init__(self, document: Document, faults: list[Fault]) -> None:
        self.document = document
        self.faults = faults

    def fault(self, path: Path, message: str) -> None:
        """Note a fault at the value at `path`."""
        self.faults.append(Fault(self.document.place(path), message))

    def key_fault(self, path: Path, message: str) -> None:
        """Note a fault at the key that `path` ends with."""
        self.faults.append(Fault(self.document.key_place(path), message))

    def attempt[**P, R](self, path: Path, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return what `read` returns; None, and a fault noted, when it raises ValueError."""
        try:
            return read(*args, **kwargs)
        except ValueError as wrong:
            self.fault(path, str(wrong))
            return None

    def attempt_each[R](self, path: Path, read: Callable[[str], R], words: Sequence[str]) -> list[R]:
        """Return what `read` returns for each word of the list at `path`, without those that are faults."""
        found = [self.attempt((*path, at), read, word) for at, word in enumerate(words)]
        return [value for value in found if value is not None]


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Return the message for a name nobody has, with the nearest that somebody has."""
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f'did you mean "{near[0]}"' if near else f"known: {', '.join(sorted(known)[:20])}"
    return f'{what} "{name}" is not known; {remedy}'
