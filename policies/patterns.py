"""Many action patterns, one look: which of them match this action?

A matcher answers for a whole allow or deny list in the time of a dictionary look-up and of a walk over the action,
however many patterns it holds: a wildcard is filed under the longest text it holds (`mappings.globs`), and met
only by actions that hold that text. It never decides what a match means.

    exact       deploy:staging               a dictionary; looked at first
    wildcard    deploy:*-staging, **:debug   an index by "-staging", by ":debug"

When several patterns match, all are returned: the exact one first, then the ones that spell out more. The order
never depends on hashing or on the order of files.

In an allow list a wildcard never stands for a segment by which the mappings say that they could not tell:

    allow deploy:*          matches deploy:staging, not deploy:unknown
    allow deploy:unknown    matches deploy:unknown
    deny  deploy:*          matches both

Matching takes time linear in the action: the inner parts of a pattern are matched leftmost and never given
back (atomic groups), so a rule like "a*a*a*a*b" cannot be used to stall the gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mappings.actions import canonical_action
from mappings.globs import GlobIndex, read_glob

RESERVED_SEGMENTS = ("unknown", "conflict", "unrecognised", "unbound", "unreadable", "unmapped")
"""What the mappings say when the facts name no environment or two, when the host's pack does not know the request,
when the host is bound to nothing, when the request cannot be read, and when there was nothing to be named."""

# Stands before each segment that holds a wildcard in an allow list. If it is removed, "deploy:*" allows a
# deployment to an environment that nobody could name.
_NOT_RESERVED = rf"(?!(?:{'|'.join(RESERVED_SEGMENTS)})(?::|\Z))"


def read_action(text: str) -> tuple[str, bool]:
    """Return an action in canonical form and True, or what is none, folded for the deny lists, and False."""
    try:
        return canonical_action(text), True
    except ValueError:
        return text.casefold(), False


class Matcher[T]:
    """Finds what stands beside every pattern that matches an action."""

    __slots__ = ("_exact", "_globs", "rules")

    def __init__(self, rules: Iterable[tuple[str, T]], *, allow: bool) -> None:
        """Compile (canonical pattern, value) pairs; `allow` keeps wildcards off reserved segments."""
        self.rules: tuple[tuple[str, T], ...] = tuple(rules)
        self._exact: dict[str, tuple[T, ...]] = {}
        self._globs: GlobIndex[_Wild[T]] = GlobIndex()
        for number, (pattern, value) in enumerate(self.rules):
            if "*" in pattern:
                self._globs.add(read_glob(pattern), _Wild(pattern, number, allow, value))
            else:
                self._exact[pattern] = (*self._exact.get(pattern, ()), value)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def match(self, action: str) -> tuple[T, ...]:
        """Return what stands beside each pattern that matches, the most specific first; () when none does."""
        exact = self._exact.get(action, ())
        found = [wild for wild in self._globs.find(action) if wild.fits(action)]
        if not found:
            return exact
        if len(found) > 1:
            found.sort(key=_rank)
        return (*exact, *(wild.value for wild in found))


class _Wild[T]:
    """A pattern with a wildcard, and what stands beside it."""

    __slots__ = ("_allow", "_expression", "pattern", "rank", "value")

    def __init__(self, pattern: str, number: int, allow: bool, value: T) -> None:
        self.pattern = pattern
        self.value = value
        self.rank = (-len(pattern.replace("*", "")), pattern, number)
        self._allow = allow
        self._expression: re.Pattern[str] | None = None

    def fits(self, action: str) -> bool:
        """Say whether the pattern matches; its glob, taken across segments, lets a little more through."""
        expression = self._expression
        if expression is None:  # compiled when first met: of thousands of rules few ever are
            expression = self._expression = re.compile(regex(self.pattern, allow=self._allow))
        return expression.fullmatch(action) is not None


def _rank(wild: _Wild[Any]) -> tuple[int, str, int]:
    return wild.rank


def regex(pattern: str, *, allow: bool) -> str:
    """Return the source of a linear-time expression that fully matches what a canonical pattern matches."""
    guard = _NOT_RESERVED if allow else ""
    chunks: list[list[str]] = [[]]
    for segment in pattern.split(":"):
        if segment == "**":
            chunks.append([])
        else:
            chunks[-1].append(_segment(segment, guard))
    head, *rest = (":".join(chunk) for chunk in chunks)
    source = head
    for index, chunk in enumerate(rest):
        joint = ":" if index or head else ""
        if not chunk:  # "**" ends the pattern
            source += f"{joint}{guard}[^:]+(?::{guard}[^:]+)*"
        elif index == len(rest) - 1:
            source += f"{joint}(?:{guard}[^:]+:)+{chunk}"
        else:  # leftmost is enough: whatever a later start would leave, an earlier one leaves too
            source += f"{joint}(?>(?:{guard}[^:]+:)+?{chunk}(?=:))"
    return source


def _segment(segment: str, guard: str) -> str:
    first, *inner = (re.escape(part) for part in segment.split("*"))
    if not inner:
        return first
    *middle, last = inner
    found = "".join(f"(?>[^:]*?{part})" for part in middle if part)
    return f"{guard}{first}{found}[^:]*{last}"
