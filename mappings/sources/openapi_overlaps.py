"""Which two routes some path fits, without one of them being the closer one all along.

``/pets/mine`` beside ``/pets/{id}`` is no overlap: whatever fits the first fits the second, and the first is meant.
``/pets/{id}/toys`` and ``/pets/mine/{thing}`` are one: of ``/pets/mine/toys`` servers think differently.
Routes are compared along a tree, so that a description of thousands takes no time.

    overlaps([("GET", "/a/{x}/c"), ("GET", "/a/b/{y}")])      [(0, 1, "/a/b/c")], True
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mappings.catalogues.table import segment_pattern

MAX_FOUND = 200
"""GitHub's description has 43; with more than this, reading them helps nobody."""
MAX_VISITS = 400_000
"""Of nodes of the tree; GitHub's 1,223 operations take 8,158."""

_MIXED = re.compile(r"\{[^{}]*\}")
_LITERAL, _PATTERN, _ONE, _MANY = 3, 2, 1, 0
"""How close a segment is."""


@dataclass(frozen=True, slots=True)
class _Segment:
    text: str
    kind: int

    def meets(self, other: _Segment) -> str:
        """Return a text that both fit, "" when there is none; two patterns are taken to meet."""
        if self.kind < other.kind:
            return other.meets(self)
        if other.kind == _LITERAL:
            return self.text if self.text == other.text else ""
        if other.kind == _PATTERN and self.kind == _LITERAL:
            return self.text if segment_pattern(other.text).fullmatch(self.text) else ""
        return _MIXED.sub("x", self.text)

    def covers(self, other: _Segment) -> bool:
        """Say whether every text that fits the other fits this, which takes one segment."""
        if self.kind == _ONE:
            return other.kind != _MANY
        return self == other or (other.kind == _LITERAL and self.meets(other) != "")


@dataclass(slots=True)
class _Node:
    following: dict[_Segment, _Node] = field(default_factory=dict)
    routes: list[int] = field(default_factory=list)


def overlaps(routes: Sequence[tuple[str, str]]) -> tuple[list[tuple[int, int, str]], bool]:
    """Return pairs of routes, by position, with a path that both fit, and whether these are all of them."""
    roots: dict[str, _Node] = {}
    templates = [_segments(path) for _, path in routes]
    for number, (method, _) in enumerate(routes):
        node = roots.setdefault(method, _Node())
        for segment in templates[number]:
            node = node.following.setdefault(segment, _Node())
        node.routes.append(number)
    found: dict[tuple[int, int], str] = {}
    budget = [MAX_VISITS]
    for number, (method, _) in enumerate(routes):
        for other, path in _meeting(roots[method], templates[number], (), budget):
            one, two = templates[number], templates[other]
            if other > number and not (_is_within(one, two) or _is_within(two, one)):
                found.setdefault((number, other), path)
            if len(found) == MAX_FOUND:
                return _sorted(found), False
    return _sorted(found), budget[0] > 0


def _sorted(found: dict[tuple[int, int], str]) -> list[tuple[int, int, str]]:
    return [(first, second, path) for (first, second), path in sorted(found.items())]


def _segments(path: str) -> tuple[_Segment, ...]:
    return tuple(_Segment(text, _kind(text)) for text in path.strip("/").split("/") if text)


def _kind(text: str) -> int:
    if "{" not in text:
        return _LITERAL
    if not _MIXED.fullmatch(text):
        return _PATTERN
    return _MANY if text.endswith("+}") else _ONE


def _meeting(
    node: _Node, rest: tuple[_Segment, ...], path: tuple[str, ...], budget: list[int]
) -> Iterator[tuple[int, str]]:
    """Yield every route below a node that meets the rest of a template, with a path that fits both."""
    budget[0] -= 1
    if budget[0] <= 0:
        return
    if not rest:
        yield from ((number, "/" + "/".join(path)) for number in node.routes)
        return
    segment, *after = rest
    for other, following in node.following.items():
        text = segment.meets(other)
        if not text:
            continue
        yield from _meeting(following, tuple(after), (*path, text), budget)
        # One of many segments also meets what comes next on the other side.
        if segment.kind == _MANY:
            yield from _meeting(following, rest, (*path, text), budget)
        if other.kind == _MANY and after:
            yield from _meeting(_Node({other: following}), tuple(after), (*path, text), budget)


def _is_within(one: tuple[_Segment, ...], other: tuple[_Segment, ...]) -> bool:
    """Say whether every path that fits the first template fits the other."""
    ends = {0}
    for segment in other:
        reached: set[int] = set()
        for start in ends:
            if segment.kind == _MANY:
                reached.update(range(start + 1, len(one) + 1))
            elif start < len(one) and segment.covers(one[start]):
                reached.add(start + 1)
        ends = reached
    return len(one) in ends
