"""Many action patterns, one look: which of them matches this action?

A matcher answers for a whole allow or deny list in the time of about one dictionary look-up and one regular
expression, however many exact actions it holds. It never decides what a match means.

    exact       deploy:staging       a dictionary; looked at first
    by prefix   deploy:*-staging     one alternation for each literal first segment
    by suffix   **:debug, *:read     one alternation for each literal last segment
    anywhere    *:prod*              one alternation for the rest

When several patterns match, the first kind above that has one is reported, and of that kind the first listed:
the answer never depends on hashing or on the order of files.

In an allow list a wildcard never stands for a segment by which the mappings say that they could not tell:

    allow deploy:*          matches deploy:staging, not deploy:unknown
    allow deploy:unknown    matches deploy:unknown
    deny  deploy:*          matches both

Matching takes time linear in the action: the inner parts of a pattern are matched leftmost and never given
back (atomic groups), so a rule like "a*a*a*a*b" cannot be used to stall the gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mappings.actions import canonical_action

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
    """Finds what stands beside the first pattern that matches an action."""

    __slots__ = ("_anywhere", "_by_prefix", "_by_suffix", "_exact", "rules")

    def __init__(self, rules: Iterable[tuple[str, T]], *, allow: bool) -> None:
        """Compile (canonical pattern, value) pairs; `allow` keeps wildcards off reserved segments."""
        self.rules: tuple[tuple[str, T], ...] = tuple(rules)
        self._exact: dict[str, T] = {}
        prefixed: dict[str, list[tuple[str, T]]] = {}
        suffixed: dict[str, list[tuple[str, T]]] = {}
        anywhere: list[tuple[str, T]] = []
        for pattern, value in self.rules:
            first, _, rest = pattern.partition(":")
            last = pattern.rpartition(":")[2]
            if "*" not in pattern:
                self._exact.setdefault(pattern, value)
            elif "*" not in first:
                prefixed.setdefault(first, []).append((":" + regex(rest, allow=allow), value))
            elif "*" not in last:
                suffixed.setdefault(last, []).append((regex(pattern, allow=allow), value))
            else:
                anywhere.append((regex(pattern, allow=allow), value))
        self._by_prefix = {first: _alternation(found) for first, found in prefixed.items()}
        self._by_suffix = {last: _alternation(found) for last, found in suffixed.items()}
        self._anywhere = _alternation(anywhere) if anywhere else None

    def __bool__(self) -> bool:
        return bool(self.rules)

    def match(self, action: str) -> T | None:
        """Return what stands beside the pattern that matches, or None when none does."""
        found = self._exact.get(action)
        if found is not None:
            return found
        prefix = action.partition(":")[0]
        entry = self._by_prefix.get(prefix)
        if entry is not None and (hit := entry[0].fullmatch(action, len(prefix))):
            return entry[1][(hit.lastindex or 1) - 1]
        if self._by_suffix:
            entry = self._by_suffix.get(action.rpartition(":")[2])
            if entry is not None and (hit := entry[0].fullmatch(action)):
                return entry[1][(hit.lastindex or 1) - 1]
        if self._anywhere is not None and (hit := self._anywhere[0].fullmatch(action)):
            return self._anywhere[1][(hit.lastindex or 1) - 1]
        return None


def _alternation[T](rules: Sequence[tuple[str, T]]) -> tuple[re.Pattern[str], tuple[T, ...]]:
    # One capturing group for each pattern and none inside: the group that took part says which one matched.
    source = "|".join(f"({expression})" for expression, _ in rules)
    return re.compile(source), tuple(value for _, value in rules)


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
