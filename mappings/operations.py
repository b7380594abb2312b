"""Patterns of operation names, as a rule's ``op`` writes them, and an index over them.

    kubernetes:delete:apps/deployments      that operation
    kubernetes:{create,patch}:apps/*{,/scale}       every combination; "*" within a segment, "**" across

Braces are expanded first, so that a name without "*" is found by looking it up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from mappings.actions import canonical_pattern, is_pattern, pattern_regex

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


def operations_regex(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return one expression that fully matches any of these canonical patterns."""
    return re.compile("|".join(f"(?:{pattern_regex(pattern)})" for pattern in patterns))


class OperationIndex[T]:
    """Items by pattern of operation name."""

    def __init__(self) -> None:
        self._exact: dict[str, list[tuple[T, int, int]]] = {}
        # By the literal start of the pattern, so that a name meets only patterns that begin as it does.
        self._globs: dict[str, list[tuple[re.Pattern[str], T, int]]] = {}

    def add(self, pattern: str, item: T) -> None:
        """File an item under a canonical pattern."""
        if not is_pattern(pattern):
            self._exact.setdefault(pattern, []).append((item, EXACT_OPERATION, len(pattern)))
            return
        literal_chars = len(pattern.replace("*", ""))
        expression = re.compile(pattern_regex(pattern))
        start = [*_starts(pattern.partition("*")[0])][-1]
        self._globs.setdefault(start, []).append((expression, item, literal_chars))

    def find(self, name: str) -> list[tuple[T, int, int]]:
        """Return item, exactness and literal characters of every pattern that a case-folded name fits."""
        found = list(self._exact.get(name, ()))
        for start in _starts(name):
            for expression, item, literal_chars in self._globs.get(start, ()):
                if expression.fullmatch(name):
                    found.append((item, PATTERN_OPERATION, literal_chars))
        return found


def _starts(name: str) -> Iterator[str]:
    """Yield "" and every start of `name` that ends in ":" or "/", the shortest first."""
    yield ""
    for at, character in enumerate(name, 1):
        if character in ":/":
            yield name[:at]
