"""Which path templates a path fits: an index over segments.

A path is split at "/" and each segment percent-decoded afterwards, so "%2F" never separates here; whoever
asks also asks about the other reading. A trailing "/" makes no difference, an empty segment fits nothing.
How templates are written stands in `mappings.pathtemplates`.

    /a%2Fb/c        ("a/b", "c")
    /a/b/           ("a", "b")
    /a//b           fits nothing
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from mappings.globs import GlobIndex
from mappings.pathtemplates import PLUS, Step, Template

MAX_SEGMENTS = 256
"""Longer paths fit no template, which bounds the work a request can cause."""


def split_path(path: str) -> tuple[str, ...] | None:
    """Return the decoded segments of a path; None when it can fit no template."""
    text = path[1:-1] if len(path) > 1 and path.endswith("/") else path[1:]
    if not text:
        return ()
    segments = text.split("/")
    if len(segments) > MAX_SEGMENTS or "" in segments:
        return None
    if "%" in text:
        return tuple(unquote(segment, errors="replace") if "%" in segment else segment for segment in segments)
    return tuple(segments)


@dataclass(slots=True)
class _Node[T]:
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    patterns: dict[str, _Node[T]] = field(default_factory=dict)
    index: GlobIndex[tuple[re.Pattern[str], _Node[T]]] | None = None
    single: _Node[T] | None = None
    plus: _Node[T] | None = None
    items: list[tuple[Template, T]] = field(default_factory=list)

    def after(self, step: Step) -> _Node[T]:
        """Return the node that `step` leads to, made when there is none."""
        if step is None:
            self.single = self.single or _Node()
            return self.single
        if step is PLUS:
            self.plus = self.plus or _Node()
            return self.plus
        if isinstance(step, str):
            return self.literals.setdefault(step, _Node())
        node = self.patterns.get(step.expression.pattern)
        if node is None:
            node = self.patterns[step.expression.pattern] = _Node()
            if self.index is None:
                self.index = GlobIndex()
            self.index.add(step.glob, (step.expression, node))
        return node


class PathIndex[T]:
    """Items by path template: a tree over segments, walked once per path."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._spans = False

    def add(self, template: Template, item: T) -> None:
        """File an item under one reading of a template."""
        node = self._root
        for step in template.steps:
            self._spans = self._spans or step is PLUS
            node = node.after(step)
        node.items.append((template, item))

    def find(self, segments: tuple[str, ...]) -> list[tuple[Template, T, dict[str, str]]]:
        """Return every template that fits, its item, and the captures; each ``{x+}`` as short as can be."""
        found: list[tuple[Template, T, dict[str, str]]] = []
        count = len(segments)
        stack: list[tuple[_Node[T], int, _Captured]] = [(self._root, 0, ())]
        # Two "{x+}" reach one place in many ways. The first is the reading, and without this memory a path of
        # many segments would cost their square.
        seen: set[tuple[int, int]] = set()
        while stack:
            node, at, captured = stack.pop()
            if self._spans:
                if (id(node), at) in seen:
                    continue
                seen.add((id(node), at))
            while at < count:
                segment = segments[at]
                if node.plus is not None:
                    # Pushed longest first, so that the shortest is tried first.
                    stack.extend((node.plus, end, (*captured, (at, end))) for end in range(count, at, -1))
                if node.single is not None:
                    stack.append((node.single, at + 1, (*captured, segment)))
                if node.index is not None:
                    for pattern, after in node.index.find(segment):
                        match = pattern.fullmatch(segment)
                        if match:
                            stack.append((after, at + 1, captured + match.groups()))
                literal = node.literals.get(segment)
                if literal is None:
                    break
                node = literal
                at += 1
            else:
                found.extend((template, item, _named(template, captured, segments)) for template, item in node.items)
        return found


_Captured = tuple[str | tuple[int, int], ...]
"""Texts, and spans of segments for ``{x+}``: joined only for templates that fit."""


def _named(template: Template, captured: _Captured, segments: tuple[str, ...]) -> dict[str, str]:
    captures = {
        name: text if isinstance(text, str) else "/".join(segments[text[0] : text[1]])
        for name, text in zip(template.names, captured, strict=True)
    }
    if template.chosen:
        captures.update(template.chosen)
    return captures
