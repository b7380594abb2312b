"""What is known about one host before any request to it: its packs, and the rules that can hold there.

Made once for a host and kept, because agents come back to the same few; what is kept is bounded, and forgetting
it costs time and changes nothing. Which of the rules wins is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mappings.compiled import Binding, Compiled, Rule, RuleSet
from mappings.conditions import FactHolds, Not, OperationIs, Predicate, Subject
from mappings.hosts import host_rank
from mappings.reading import Reading
from mappings.request import Request
from mappings.resolution import ATTRIBUTES
from mappings.routes import Bucket, Rank, method_rank

UNBOUND = Binding((), {}, "")

MAX_KEPT = 4096
"""Operations of one host whose rules are kept. No client has more; whoever makes names up pays for each of them."""


_NO_REQUEST = Reading(Request("GET", "https", "none.invalid", 443, "/", (), (), None))
"""For conditions that look at no request."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A rule, how specific it is, and the conditions left to ask."""

    rule: Rule
    rank: Rank
    predicates: tuple[Predicate, ...]


class HostRules:
    """The packs of a host and its rules."""

    __slots__ = ("_kept", "_sets", "binding", "bound", "host", "keeps_slashes", "packs", "paths", "reads_body")

    def __init__(self, compiled: Compiled, host: str) -> None:
        self.host = host
        self.binding = _binding(compiled, host)
        self.bound = self.binding is not UNBOUND
        names = tuple(dict.fromkeys(self.binding.packs))
        self.packs = tuple(compiled.packs[name] for name in names if name in compiled.packs)
        self.keeps_slashes = any(getattr(pack, "keeps_encoded_slashes", False) for pack in self.packs)
        """Whether "%2F" is part of a name there for sure, so that a path with "/" in its place is another, or none."""
        sources = [compiled.pack_rules[name] for name in names if name in compiled.pack_rules]
        self._sets: tuple[RuleSet, ...] = (compiled.rules, *(source() for source in sources))
        self.paths: tuple[tuple[int, Bucket[Rule]], ...] = tuple(
            place for rules in self._sets for place in rules.paths.at(host, bound=self.bound)
        )
        """What is filed by path for this host, and how closely it names the host."""
        self.reads_body = any(rules.reads_body for rules in self._sets)
        """Whether a rule that may hold here reads the body."""
        self._kept: dict[tuple[object, ...], tuple[Ranked, ...]] = {}

    def ranked(self, operation: str, method: str, attributes: Mapping[str, str]) -> tuple[Ranked, ...]:
        """Return the rules that may name a case-folded operation with these attributes, the most specific first.

        A rule that cannot hold is left out, and so is a condition that holds whatever the request.
        """
        key = (operation, method, *attributes.items())
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            settled = (_settled(each, operation, attributes) for each in self.every(operation, method))
            found = self._kept[key] = tuple(each for each in settled if each is not None)
        return found

    def every(self, operation: str, method: str) -> tuple[Ranked, ...]:
        """Return the rules about a case-folded operation that take the method, the most specific first."""
        # One rank for a rule: the closest of its patterns speaks for it.
        best: dict[int, Ranked] = {}
        for rules in self._sets:
            for rule, exactness, literal in rules.operations.find(operation):
                closeness = host_rank(rule.hosts, self.host)
                used = method_rank(rule.methods, method)
                if closeness is None or used is None:
                    continue
                rank = rank_of(rule, exactness, literal, closeness, used)
                known = best.get(id(rule))
                if known is None or rank > known.rank:
                    best[id(rule)] = Ranked(rule, rank, rule.predicates)
        return tuple(sorted(best.values(), key=_rank, reverse=True))


def _settled(ranked: Ranked, operation: str, attributes: Mapping[str, str]) -> Ranked | None:
    """Return a rule with the conditions that are still open; None when one fails whatever the request."""
    subject = Subject(_NO_REQUEST, operation, attributes)
    left: list[Predicate] = []
    for predicate in ranked.predicates:
        if not _only_about_operations(predicate):
            left.append(predicate)
        elif predicate.holds(subject) is False:
            return None
    return Ranked(ranked.rule, ranked.rank, tuple(left))


def _only_about_operations(predicate: Predicate) -> bool:
    match predicate:
        case FactHolds(name):
            return name in ATTRIBUTES
        case Not(predicates):
            return all(_only_about_operations(each) for each in predicates)
        case OperationIs():
            return True
    return False


def rank_of(rule: Rule, exactness: int, literal_chars: int, host: int, method: int) -> Rank:
    """Return how specific a rule is where it was found; the greater wins."""
    return not rule.scope, rule.json_count, rule.text_count, exactness, literal_chars, host, method


def _rank(ranked: Ranked) -> Rank:
    return ranked.rank


def _binding(compiled: Compiled, host: str) -> Binding:
    for index in (compiled.bound, compiled.offered):
        for _, binding in index.find(host):
            return binding
    return UNBOUND
