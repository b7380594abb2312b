"""Which entry of a table a method and a path lead to: a tree over segments, for tables of thousands.

Templates are those of route tables (``/repos/{owner}/{repo}/contents/{path+}``, ``/compare/{base}...{head}``,
``/instances/{instance}:resume``), already canonical: a catalogue's compiler has checked them, so nothing is
checked here and a table of 3,000 routes is ready in milliseconds. At every segment a literal goes before a
pattern, a pattern before ``{x}``, ``{x}`` before ``{x+}``, which takes as few segments as it can; what leads to no
entry is taken back. So the order in which entries are found is the order in which servers try them, and never
the order in which they were added.

    /flows/validate      before /flows/{flow}, whatever comes after it
    /branches/{branch+}/protection      of branches/a/b/protection: branch "a/b"

It decides nothing: whether an entry's further conditions hold is for the caller, who then takes the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

Captured = tuple[str | tuple[int, int], ...]
"""What stood in the place of each parameter: a text, or a span of segments for ``{x+}``."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(slots=True)
class _Node[T]:
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    patterns: dict[str, tuple[re.Pattern[str], _Node[T]]] = field(default_factory=dict)
    single: _Node[T] | None = None
    plus: _Node[T] | None = None
    entries: dict[str, list[tuple[T, tuple[str, ...]]]] | None = None


class Hit[T](NamedTuple):
    """An entry whose template fits a path; a tuple, because one is made for every request."""

    entry: T
    names: tuple[str, ...]
    captured: Captured

    def captures(self, segments: tuple[str, ...]) -> dict[str, str]:
        """Return the captures by name; `segments` are those that were looked up."""
        return {
            name: value if isinstance(value, str) else "/".join(segments[value[0] : value[1]])
            for name, value in zip(self.names, self.captured, strict=True)
        }


class RouteTable[T]:
    """Entries by method and path template."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._spans = False

    def add(self, method: str, template: str, entry: T) -> None:
        """File an entry; entries under one method and template are found in the order of adding."""
        node = self._root
        names: list[str] = []
        for segment in template[1:].split("/"):
            if not segment:
                continue
            if "{" not in segment:
                text = unquote(segment) if "%" in segment else segment
                following = node.literals.get(text)
                if following is None:
                    following = node.literals[text] = _Node()
                node = following
            elif segment[0] == "{" and segment[-1] == "}" and segment.count("{") == 1:
                if segment[-2] == "+":
                    names.append(segment[1:-2])
                    self._spans = True
                    node.plus = node.plus or _Node()
                    node = node.plus
                else:
                    names.append(segment[1:-1])
                    node.single = node.single or _Node()
                    node = node.single
            else:
                names += _PARAMETER.findall(segment)
                pattern = segment_pattern(segment)
                if pattern.pattern not in node.patterns:
                    node.patterns[pattern.pattern] = (pattern, _Node())
                    # The pattern with the most text last, because the last one pushed is the first one tried.
                    node.patterns = dict(sorted(node.patterns.items(), key=lambda item: (len(item[0]), item[0])))
                node = node.patterns[pattern.pattern][1]
        if node.entries is None:
            node.entries = {}
        node.entries.setdefault(method, []).append((entry, tuple(names)))

    def find(self, method: str, segments: tuple[str, ...]) -> Iterator[Hit[T]]:
        """Yield every entry filed under the method whose template fits, the closest first."""
        count = len(segments)
        stack: list[tuple[_Node[T], int, Captured]] = [(self._root, 0, ())]
        # Two "{x+}" reach one place in many ways; the first is the reading, and the others would cost the
        # square of a long path.
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
                    stack.extend((node.plus, end, (*captured, (at, end))) for end in range(count, at, -1))
                if node.single is not None:
                    stack.append((node.single, at + 1, (*captured, segment)))
                if node.patterns:
                    for pattern, following in node.patterns.values():
                        match = pattern.fullmatch(segment)
                        if match:
                            stack.append((following, at + 1, captured + match.groups()))
                literal = node.literals.get(segment)
                if literal is None:
                    break
                node = literal
                at += 1
            else:
                if node.entries is not None:
                    for entry, names in node.entries.get(method, ()):
                        yield Hit(entry, names, captured)


@lru_cache(maxsize=4096)
def segment_pattern(segment: str) -> re.Pattern[str]:
    """Return the expression for a segment of text and parameters; matching takes linear time.

    The text after a parameter is taken where it first stands, for good, but for the last one, which stands at
    the end.
    """
    pieces = _PARAMETER.split(segment)
    source = re.escape(unquote(pieces[0]))
    for at in range(1, len(pieces), 2):
        text = re.escape(unquote(pieces[at + 1]))
        last = at + 2 >= len(pieces)
        source += f"(.+){text}" if last else f"(?>(.+?){text})"
    return re.compile(source, re.DOTALL)
