"""Patterns of operation names, as a rule's ``op`` writes them, and an index over them.

    kubernetes:delete:apps/deployments      that operation
    kubernetes:{create,patch}:apps/*{,/scale}       every combination; "*" within a segment, "**" across

Braces are expanded first, so that a name without "*" is found by looking it up, and one with "*" by the longest
text it holds: ten thousand patterns cost a name no more than ten.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from mappings.actions import canonical_pattern, is_pattern, pattern_regex
from mappings.globs import SURELY, GlobIndex, read_glob

MAX_ALTERNATIVES = 512

EXACT_OPERATION = 2
PATTERN_OPERATION = 1

_BRACES = re.compile(r"\{([^{}]*)\}")


def read_operations(text: str) -> tuple[str, ...]:
    """Return the canonical patterns that `text` expands to; ValueError with the remedy otherwise."""
    parts = _BRACES.split(text)
    if any("{" in part or "}" in part for part in parts):
        raise ValueError(f'op "{text}" has a brace without its pair, or braces within braces')
    options = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    count = 1
    for option in options:
        count *= len(option)
    if count > MAX_ALTERNATIVES:
        raise ValueError(f'op "{text}" has more than {MAX_ALTERNATIVES} combinations; use several rules')
    expanded = ("".join(choice) for choice in itertools.product(*options))
    return tuple(dict.fromkeys(canonical_pattern(each) for each in expanded))


class OperationPattern:
    """A canonical pattern of operation names that holds a "*"."""

    __slots__ = ("_expression", "_segments", "glob", "literal_chars", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.glob = read_glob(text)
        """Taken for a glob across segments, what the pattern fits fits too."""
        self.literal_chars = len(text.replace("*", ""))
        segments = text.split(":")
        across = "**" in segments
        self._expression = re.compile(pattern_regex(text)) if across else None
        self._segments = tuple(read_glob(segment) for segment in segments)

    def fits(self, name: str) -> bool:
        """Say whether a case-folded name is one of those meant."""
        if self._expression is not None:
            return self._expression.fullmatch(name) is not None
        segments = name.split(":")
        return len(segments) == len(self._segments) and all(
            SURELY[glob.fits(segment)] for glob, segment in zip(self._segments, segments, strict=True)
        )


class OperationSet:
    """The names that any of some canonical patterns fits."""

    __slots__ = ("_index",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._index: OperationIndex[None] = OperationIndex()
        for pattern in dict.fromkeys(patterns):
            self._index.add(pattern, None)

    def __contains__(self, name: str) -> bool:
        return bool(self._index.find(name))


class OperationIndex[T]:
    """Items by pattern of operation name."""

    def __init__(self) -> None:
        self._exact: dict[str, list[tuple[T, int, int]]] = {}
        self._patterns: GlobIndex[tuple[OperationPattern, T]] = GlobIndex()

    def add(self, pattern: str, item: T) -> None:
        """File an item under a canonical pattern."""
        if is_pattern(pattern):
            read = OperationPattern(pattern)
            self._patterns.add(read.glob, (read, item))
        else:
            self._exact.setdefault(pattern, []).append((item, EXACT_OPERATION, len(pattern)))

    def find(self, name: str) -> list[tuple[T, int, int]]:
        """Return item, exactness and literal characters of every pattern that a case-folded name fits."""
        found = list(self._exact.get(name, ()))
        for pattern, item in self._patterns.find(name):
            if SURELY[pattern.fits(name)]:
                found.append((item, PATTERN_OPERATION, pattern.literal_chars))
        return found
