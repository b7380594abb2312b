"""Many action patterns, one look: which of them match this action?

A matcher answers for a whole allow or deny list in one walk along the segments of the action, however many patterns
the list holds: patterns that begin alike share their way, and a segment that is spelt out is a dictionary look-up.
It never decides what a match means.

    deploy -- *-staging            deploy:*-staging
           -- staging -- *         deploy:staging:*
    **     -- debug                **:debug

When several patterns match, all are returned: the exact one first, then the ones that spell out more. The order
never depends on hashing or on the order of files.

In an allow list a wildcard never stands for a segment by which the mappings say that they could not tell:

    allow deploy:*          matches deploy:staging, not deploy:unknown
    allow deploy:unknown    matches deploy:unknown
    deny  deploy:*          matches both

The walk keeps a set of places in the tree and steps all of them with each segment, and within a segment nothing is
ever given back (`mappings.globs`): no rule, however many wildcards it has, can be used to stall the gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings.actions import canonical_action
from mappings.globs import SURELY, Glob, GlobIndex, read_glob

RESERVED_SEGMENTS = ("unknown", "conflict", "unrecognised", "unbound", "unreadable", "unmapped")
"""What the mappings say when the facts name no environment or two, when the host's pack does not know the request,
when the host is bound to nothing, when the request cannot be read, and when there was nothing to be named."""

_RESERVED = frozenset(RESERVED_SEGMENTS)


def read_action(text: str) -> tuple[str, bool]:
    """Return an action in canonical form and True, or what is none, folded for the deny lists, and False."""
    try:
        return canonical_action(text), True
    except ValueError:
        return text.casefold(), False


class Matcher[T]:
    """Finds what stands beside every pattern that matches an action."""

    __slots__ = ("_allow", "_exact", "_root", "rules")

    def __init__(self, rules: Iterable[tuple[str, T]], *, allow: bool) -> None:
        """Compile (canonical pattern, value) pairs; `allow` keeps wildcards off reserved segments."""
        self.rules: tuple[tuple[str, T], ...] = tuple(rules)
        self._exact: dict[str, tuple[T, ...]] = {}
        self._root: _Node[T] | None = None
        self._allow = allow
        for number, (pattern, value) in enumerate(self.rules):
            if "*" in pattern:
                self._root = self._root or _Node(deep=False)
                rank = (-len(pattern.replace("*", "")), pattern, number)
                self._root.grow(pattern.split(":")).found.append((rank, value))
            else:
                self._exact[pattern] = (*self._exact.get(pattern, ()), value)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def match(self, action: str) -> tuple[T, ...]:
        """Return what stands beside each pattern that matches, the most specific first; () when none does."""
        exact = self._exact.get(action, ())
        if self._root is None:
            return exact
        places = [self._root]
        for segment in action.split(":"):
            # If this look-up is removed, "deploy:*" allows a deployment to an environment that nobody could name.
            wild = not (self._allow and segment in _RESERVED)
            places = _stepped(places, segment, wild)
            if not places:
                return exact
        found = [entry for place in places for entry in place.found]
        if len(found) > 1:
            found.sort(key=_rank)
        return (*exact, *(value for _, value in found)) if found else exact


class _Node[T]:
    """A place in the tree of patterns: what may come next, and which patterns end here."""

    __slots__ = ("anything", "deep", "found", "literal", "partial", "several")

    def __init__(self, *, deep: bool) -> None:
        self.deep = deep
        """Whether a "**" led here, so that more segments may follow without leaving."""
        self.literal: dict[str, _Node[T]] = {}
        self.anything: _Node[T] | None = None
        self.several: _Node[T] | None = None
        self.partial: GlobIndex[tuple[Glob, _Node[T]]] | None = None
        self.found: list[tuple[tuple[int, str, int], T]] = []

    def grow(self, segments: Iterable[str]) -> _Node[T]:
        """Return the place that a pattern ends at, made where it is not there yet."""
        node = self
        for segment in segments:
            node = node._next(segment)
        return node

    def _next(self, segment: str) -> _Node[T]:
        if segment == "**":
            self.several = self.several or _Node(deep=True)
            return self.several
        if segment == "*":
            self.anything = self.anything or _Node(deep=False)
            return self.anything
        if "*" not in segment:
            return self.literal.setdefault(segment, _Node(deep=False))
        self.partial = self.partial or GlobIndex()
        glob, node = read_glob(segment), _Node[T](deep=False)
        self.partial.add(glob, (glob, node))
        return node


def _stepped[T](places: list[_Node[T]], segment: str, wild: bool) -> list[_Node[T]]:
    """Return where the places lead by one segment; `wild` says whether a wildcard may stand for it."""
    reached: list[_Node[T]] = []
    looped = False
    for node in places:
        if (spelt := node.literal.get(segment)) is not None:
            reached.append(spelt)
        if wild:
            if node.anything is not None:
                reached.append(node.anything)
            if node.several is not None and segment:
                reached.append(node.several)
                looped = True
            if node.deep and segment:
                reached.append(node)
                looped = True
            if node.partial is not None:
                reached.extend(child for glob, child in node.partial.find(segment) if SURELY[glob.fits(segment)])
    # Only by way of a "**" can two places lead to the same one.
    return list(dict.fromkeys(reached)) if looped else reached


def _rank(entry: tuple[tuple[int, str, int], Any]) -> tuple[int, str, int]:
    return entry[0]
