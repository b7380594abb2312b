"""Globs over plain text: "*" is any run of characters, also none; everything else stands for itself.

A glob is matched without expressions where it stands alone (`Glob`), and by an expression where it is part of
one. Both take linear time: between two stars the first place a text is found is as good as any later one, so
what was found there is never taken back.

    web-*       web-, web-1                   not xweb-1
    *-prod-*    a-prod-b, -prod-              not prod
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

SURELY = {True: True, False: False}
"""A yes or a no, for who cannot say which of them refuses more; anything else is a KeyError, and so a refusal."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob, as the texts between its stars: the first begins what fits, the last ends it."""

    pieces: tuple[str, ...]

    def fits(self, text: str) -> bool:
        """Say whether the glob matches all of `text`."""
        pieces = self.pieces
        if len(pieces) == 1:
            return text == pieces[0]
        at = len(pieces[0])
        end = len(text) - len(pieces[-1])
        if at > end or not text.startswith(pieces[0]) or not text.endswith(pieces[-1]):
            return False
        for piece in pieces[1:-1]:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


@lru_cache(maxsize=8192)
def read_glob(glob: str) -> Glob:
    """Return the glob; only texts of rules come here, never of requests."""
    return Glob(tuple(glob.split("*")))


FEW = 32
"""Texts of one length that are sought one by one: about what walking over the name costs."""


class GlobIndex[T]:
    """Items by glob, found by the longest text of the glob: a name meets only globs it holds that text of.

    Ten thousand globs that begin alike are told apart by what they do not share, so finding costs what the
    text looked up is long, not what was filed.
    """

    def __init__(self) -> None:
        self._anything: list[T] = []
        # By length, so that each length costs one look at the start, one at the end, or a walk in between.
        self._starts: dict[int, dict[str, list[T]]] = {}
        self._ends: dict[int, dict[str, list[T]]] = {}
        self._within: dict[int, dict[str, list[T]]] = {}

    def add(self, glob: Glob, item: T) -> None:
        """File an item."""
        pieces = glob.pieces
        longest = max(pieces, key=len)
        if not longest:
            self._anything.append(item)
        elif longest == pieces[0]:
            _file(self._starts, longest, item)
        elif longest == pieces[-1]:
            _file(self._ends, longest, item)
        else:
            _file(self._within, longest, item)

    def find(self, text: str) -> Iterable[T]:
        """Yield every item whose glob may fit; whether it does is for `Glob.fits`."""
        yield from self._anything
        for length, by_text in self._starts.items():
            yield from by_text.get(text[:length], ())
        for length, by_text in self._ends.items():
            yield from by_text.get(text[-length:], ())
        for length, by_text in self._within.items():
            if len(by_text) < FEW:
                pieces: Iterable[str] = (piece for piece in by_text if piece in text)
            else:
                # A set: a text that stands there twice is still one.
                pieces = {text[at : at + length] for at in range(len(text) - length + 1)} & by_text.keys()
            for piece in pieces:
                yield from by_text[piece]


def _file[T](index: dict[int, dict[str, list[T]]], text: str, item: T) -> None:
    index.setdefault(len(text), {}).setdefault(text, []).append(item)


def glob_source(glob: str, any_character: str = ".", *, shortest: bool = False) -> str:
    """Return regular expression source for a glob, to be matched in full; `shortest` where other text follows it."""
    first, *rest = (re.escape(part) for part in glob.split("*"))
    if not rest:
        return first
    middle = "".join(f"(?>{any_character}*?{part})" for part in rest[:-1] if part)
    return f"{first}{middle}{any_character}*{'?' if shortest else ''}{rest[-1]}"


@lru_cache(maxsize=8192)
def compile_glob(glob: str) -> re.Pattern[str]:
    """Return the compiled glob; only texts of rules come here, never of requests."""
    return re.compile(glob_source(glob), re.DOTALL)
