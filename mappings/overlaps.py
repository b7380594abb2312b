"""Which rules certainly meet: somewhere both hold, neither is more specific, and they say different things.

What is proved, is proved by an example: an operation or a path that both rules match under the same conditions, on
which no third rule is more specific. What has no example here may still meet in some request (two conditions that
both hold), and then both rules are judged.

    path /a/{x} and path /{y}/b         meet in /a/b, equally literal: a fault, unless a rule for /a/b decides
    op shop:get* and op shop:*ist       a fault when the pack lists an operation such as shop:getlist
    op aws:*:*Table* and aws:*:*Queue*  no fault: the pack keeps no list, and such a name would be invented

Ten thousand rules must load in seconds, so rules are not compared pair by pair: those that are equally specific are
grouped by their shape (where text stands and how long it is), and two shapes are joined by the text they share.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mappings.actions import is_pattern
from mappings.compiled import Rule, RuleSet
from mappings.globs import Glob, read_glob
from mappings.hosts import host_rank
from mappings.knownnames import KnownNames
from mappings.located import Located
from mappings.matches import Piece
from mappings.pathtemplates import PLUS, SegmentPattern, Template
from mappings.places import Path, Place
from mappings.routes import Rank, method_rank

MAX_TRIED = 16
"""Partners tried for one piece of a rule: what many rules share is not searched through."""
MAX_MORE = 6
"""Segments beyond the first that a ``{x+}`` or ``**`` is tried with."""

_ANY = Glob(("", ""))
_FILLING = "any"
_SOME_HOST = "any.invalid"  # RFC 2606 section 2: no such name is ever given away
_SOME_METHOD = "?"
"""No rule lists it, so only rules about every method are compared by it."""

Segment = str | Glob


@dataclass(frozen=True, slots=True)
class Covered:
    """A piece of what a rule matches, and where the rule stands."""

    rule: Rule
    piece: Piece
    located: Located
    path: Path

    @property
    def says(self) -> tuple[object, ...]:
        """What the rule makes of a request."""
        target = self.rule.target
        return self.rule.action.text, target.text if target else None, self.rule.each


def overlaps(covered: Sequence[Covered], rules: RuleSet, known: KnownNames) -> None:
    """Note as a fault every rule that certainly meets an earlier one."""
    groups: dict[tuple[object, ...], list[Covered]] = defaultdict(list)
    for each in covered:
        piece = each.piece
        if isinstance(piece.place, Template):
            key: tuple[object, ...] = ("path", piece.place.literal_chars)
        elif piece.place is not None and is_pattern(piece.place):
            key = ("op", len(piece.place.replace("*", "")))
        else:
            continue
        groups[(*key, piece.host, piece.method, piece.conditions)].append(each)
    conditions = {id(each.rule): each.piece.conditions for each in covered}
    judge = _Judge(rules, known, conditions)
    for group in groups.values():
        if len(group) > 1:
            for first, second in _meeting(group):
                judge.compare(first, second)
    judge.look_through_lists(covered)


# --- candidates ---


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A piece with a number of segments."""

    covered: Covered
    segments: tuple[Segment, ...]

    @property
    def shape(self) -> tuple[tuple[int, int] | None, ...]:
        """For each segment None for a text, or how much text stands at the start and at the end of a glob."""
        return tuple(
            None if isinstance(segment, str) else (len(segment.pieces[0]), len(segment.pieces[-1]))
            for segment in self.segments
        )


def _meeting(group: Sequence[Covered]) -> Iterator[tuple[_Spelling, _Spelling]]:
    """Yield pairs that say different things and may fit one name."""
    texts = {id(each): _segments(each.piece) for each in group}
    most = max(len(segments) for segments in texts.values()) + 1
    shapes: dict[object, list[_Spelling]] = defaultdict(list)
    for each in group:
        for segments in _spelt_out(texts[id(each)], most):
            spelling = _Spelling(each, segments)
            shapes[spelling.shape].append(spelling)
    by_count: dict[int, list[list[_Spelling]]] = defaultdict(list)
    for spellings in shapes.values():
        by_count[len(spellings[0].segments)].append(spellings)
    for alike in by_count.values():
        for some, others in itertools.combinations_with_replacement(alike, 2):
            yield from _joined(some, others)


def _segments(piece: Piece) -> tuple[Segment | None, ...]:
    """Return the segments of a pattern or template, None for any number of them."""
    if isinstance(piece.place, Template):
        return tuple(
            None if step is PLUS else _ANY if step is None else step.glob if isinstance(step, SegmentPattern) else step
            for step in piece.place.steps
        )
    parts = str(piece.place).split(":")
    return tuple(None if part == "**" else read_glob(part) if "*" in part else part for part in parts)


def _spelt_out(segments: Sequence[Segment | None], most: int) -> Iterable[tuple[Segment, ...]]:
    """Yield every way to have at most so many segments."""
    open_ended = segments.count(None)
    spare = min(most - len(segments), MAX_MORE)
    for extra in itertools.product(range(spare + 1), repeat=open_ended):
        if sum(extra) <= spare:
            more = iter(extra)
            yield tuple(
                itertools.chain.from_iterable(
                    (_ANY,) * (next(more) + 1) if segment is None else (segment,) for segment in segments
                )
            )


def _joined(some: Sequence[_Spelling], others: Sequence[_Spelling]) -> Iterator[tuple[_Spelling, _Spelling]]:
    shape, other_shape = some[0].shape, others[0].shape
    index: dict[tuple[str, ...], list[_Spelling]] = defaultdict(list)
    for spelling in others:
        index[_shared(spelling.segments, other_shape, shape)].append(spelling)
    for spelling in some:
        for other in index.get(_shared(spelling.segments, shape, other_shape), ())[:MAX_TRIED]:
            if spelling.covered.rule is not other.covered.rule and spelling.covered.says != other.covered.says:
                yield spelling, other


def _shared(
    segments: Sequence[Segment],
    own: Sequence[tuple[int, int] | None],
    other: Sequence[tuple[int, int] | None],
) -> tuple[str, ...]:
    """Return what a spelling must have in common with one of another shape for both to fit one name."""
    found: list[str] = []
    for segment, mine, theirs in zip(segments, own, other, strict=True):
        first, last = (segment, segment) if isinstance(segment, str) else (segment.pieces[0], segment.pieces[-1])
        start = min(mine[0] if mine else len(first), theirs[0] if theirs else len(first))
        end = min(mine[1] if mine else len(last), theirs[1] if theirs else len(last))
        if mine is None and theirs is None:
            found.append(first)
        else:
            found += (first[:start], last[len(last) - end :])
    return tuple(found)


def _both(first: Segment, second: Segment) -> str:
    """Return a text that fits both segments when any does, as far as can be seen from their ends."""
    if isinstance(first, str):
        return first
    if isinstance(second, str):
        return second
    start = max(first.pieces[0], second.pieces[0], key=len)
    end = max(first.pieces[-1], second.pieces[-1], key=len)
    return start + "".join((*first.pieces[1:-1], *second.pieces[1:-1])) + end or _FILLING


# --- proof ---


class _Judge:
    """Asks of an example whether both rules win there, as a request would."""

    def __init__(self, rules: RuleSet, known: KnownNames, conditions: Mapping[int, frozenset[object]]) -> None:
        self._rules = rules
        self._known = known
        self._conditions = conditions
        self._told: set[int] = set()
        self._lists: dict[str, set[tuple[object, ...]]] = defaultdict(set)

    def compare(self, first: _Spelling, second: _Spelling) -> None:
        """Note a fault at the later rule when both win in one place."""
        covered = (first.covered, second.covered)
        if any(id(each.rule) in self._told for each in covered):
            return
        segments = tuple(_both(*pair) for pair in zip(first.segments, second.segments, strict=True))
        piece = first.covered.piece
        if isinstance(piece.place, Template):
            self._settle(covered, piece, segments)
        elif isinstance(first.segments[0], str) and self._known.names(first.segments[0]) is not None:
            # The pack lists its operations: each is looked at once, whatever the number of pairs.
            self._lists[first.segments[0]].add(piece.key[1:])
        elif all(itertools.starmap(_real, zip(first.segments, second.segments, strict=True))):
            self._settle(covered, piece, ":".join(segments))

    def look_through_lists(self, covered: Sequence[Covered]) -> None:
        """Note a fault at every rule that ties on an operation that a pack lists."""
        patterns: dict[int, list[Covered]] = defaultdict(list)
        for each in covered if self._lists else ():
            patterns[id(each.rule)].append(each)
        for pack, contexts in self._lists.items():
            for name in sorted(self._known.names(pack) or ()):
                hits = {id(rule): rule for rule, _, _ in self._rules.operations.find(name)}
                here = [each for rule in hits for each in patterns[rule] if each.piece.key[1:] in contexts]
                for piece in {each.piece.key[1:]: each.piece for each in here}.values():
                    self._settle([each for each in here if each.piece.key[1:] == piece.key[1:]], piece, name)

    def _settle(self, covered: Sequence[Covered], piece: Piece, name: str | tuple[str, ...]) -> None:
        winners = self._winners(piece, name)
        tied = sorted((each for each in covered if id(each.rule) in winners), key=_place)
        for late in tied[1:]:
            if late.says != tied[0].says and id(late.rule) not in self._told:
                self._told.add(id(late.rule))
                _tell(tied[0], late, name if isinstance(name, str) else "/" + "/".join(name))

    def _winners(self, piece: Piece, name: str | tuple[str, ...]) -> set[int]:
        """Return the rules that are most specific there, of those under the same conditions."""
        host = f"any{piece.host[1:]}" if piece.host.startswith("*.") else piece.host or _SOME_HOST
        method = piece.method or _SOME_METHOD
        best: dict[int, Rank] = {}
        for rule, exactness, literal, closeness in self._found(host, name):
            used = method_rank(rule.methods, method)
            if used is None or closeness is None or self._conditions[id(rule)] != piece.conditions:
                continue
            rank = (exactness, literal, closeness, used)
            best[id(rule)] = max(best.get(id(rule), rank), rank)
        top = max(best.values(), default=None)
        return {rule for rule, rank in best.items() if rank == top}

    def _found(self, host: str, name: str | tuple[str, ...]) -> Iterator[tuple[Rule, int, int, int | None]]:
        if isinstance(name, str):
            for rule, exactness, literal in self._rules.operations.find(name):
                yield rule, exactness, literal, host_rank(rule.hosts, host)
        else:
            for found in self._rules.paths.find(host, name, bound=True):
                yield found.item, 0, found.literal_chars, found.host


def _place(covered: Covered) -> Place:
    return covered.located.document.place(covered.path)


def _tell(early: Covered, late: Covered, name: str) -> None:
    late.located.fault(
        late.path,
        f'rule "{late.rule.ref.id}" and rule "{early.rule.ref.id}" ({early.rule.ref.place}) both name {name}; '
        "make one more specific or merge them",
    )


def _real(first: Segment, second: Segment) -> bool:
    """Say whether a text for both is one that a rule wrote, and not invented from two halves."""
    return isinstance(first, str) or isinstance(second, str) or not any(first.pieces) or not any(second.pieces)
