"""The `match` of a rule, compiled: where to file the rule, and the conditions left to ask.

``op``, ``host``, ``path`` and ``method`` decide where a rule is filed; ``query``, ``header``, ``facts``,
``json`` and ``not`` become conditions. Under ``not`` everything becomes a condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from mappings.actions import canonical_action
from mappings.bodies import read_pointer
from mappings.conditions import (
    Condition,
    FactHolds,
    HeaderHolds,
    HostIs,
    JsonHolds,
    MethodIs,
    Not,
    OperationIs,
    PathIs,
    Predicate,
    QueryHolds,
)
from mappings.hosts import host_pattern
from mappings.located import Located, unknown
from mappings.operations import operations_regex, read_operations
from mappings.paths import PathIndex
from mappings.pathtemplates import read_template
from mappings.places import Path
from mappings.recognition import Pack
from mappings.routepack import RoutePack, read_methods
from mappings.rules import MatchText

RESERVED = frozenset({"env", "host", "method", "each"})
"""Names that templates always have; a capture of that name would be out of reach."""


class Match:
    """The parts of one match."""

    def __init__(self, located: Located, path: Path, text: MatchText, packs: Mapping[str, Pack]) -> None:
        self._located = located
        self._path = path
        self._packs = packs
        faults = len(located.faults)
        operations = located.attempt_each((*path, "op"), read_operations, text.op or ())
        templates = located.attempt_each((*path, "path"), read_template, text.path or ())
        self.operations = tuple(itertools.chain.from_iterable(operations))
        self.hosts = tuple(located.attempt_each((*path, "host"), host_pattern, text.host or ()))
        self.templates = tuple(itertools.chain.from_iterable(templates))
        methods = located.attempt((*path, "method"), read_methods, text.method or ())
        self.methods = methods or None
        self.json_count = len(text.json_)
        self.text_count = len(text.query) + len(text.header) + len(text.facts)
        predicates: list[Predicate] = [
            *(QueryHolds(name, condition) for name, condition in text.query.items()),
            *(HeaderHolds(name.lower(), condition) for name, condition in text.header.items()),
            *(FactHolds(name, _folded(condition)) for name, condition in text.facts.items()),
            *(
                JsonHolds(pointer, condition)
                for name, condition in text.json_.items()
                if (pointer := located.attempt((*path, "json", name), read_pointer, name))
            ),
        ]
        if text.not_ is not None:
            inner = Match(located, (*path, "not"), text.not_, packs)
            predicates.append(Not(inner.all_predicates()))
            self.json_count += inner.json_count
            self.text_count += inner.text_count
        # Cheap questions first; the body last.
        self.predicates = tuple(sorted(predicates, key=lambda predicate: predicate.reads_body))
        self._check(text)
        self.broken = len(located.faults) > faults

    def _check(self, text: MatchText) -> None:
        fault = self._located.fault
        if not any((text.op, text.host, text.path, text.method, self.predicates)):
            fault(self._path, "match is empty and would match everything; name op, host or path")
        if text.op and text.path:
            fault((*self._path, "path"), "path cannot stand beside op; the operation says it")
        for template in self.templates:
            for name in sorted(RESERVED.intersection(template.captures)):
                fault((*self._path, "path"), f'capture "{name}" is taken; choose another name')
        for pattern in self.operations:
            self._check_operation(pattern)

    def _check_operation(self, pattern: str) -> None:
        first = pattern.split(":", 1)[0]
        packs = self._packs
        if "*" not in first and first not in packs:
            self._located.fault((*self._path, "op"), unknown("pack", first, list(packs)))
            return
        pack = packs.get(first)
        if isinstance(pack, RoutePack):
            names = [canonical_action(operation) for operation in pack.operations]
            expression = operations_regex([pattern])
            if not any(expression.fullmatch(name) for name in names):
                self._located.fault((*self._path, "op"), unknown("operation", pattern, names))

    def all_predicates(self) -> tuple[Predicate, ...]:
        """Return the whole match as conditions, for ``not``."""
        found: list[Predicate] = []
        if self.operations:
            found.append(OperationIs(operations_regex(self.operations)))
        if self.hosts:
            found.append(HostIs(self.hosts))
        if self.methods:
            found.append(MethodIs(self.methods))
        if self.templates:
            index: PathIndex[None] = PathIndex()
            for template in self.templates:
                index.add(template, None)
            found.append(PathIs(index))
        return (*found, *self.predicates)

    def pieces(self) -> Iterable[tuple[object, ...]]:
        """Yield what the match covers, piece by piece: two rules with a piece in common always tie there."""
        places: Sequence[object] = self.operations or [template.steps for template in self.templates] or [None]
        conditions = frozenset(self.predicates)
        yield from itertools.product(
            dict.fromkeys(places), self.hosts or [""], sorted(self.methods or [""]), [conditions]
        )


def _folded(condition: Condition) -> Condition:
    values = tuple(value.casefold() if isinstance(value, str) else value for value in condition.values)
    return Condition(condition.kind, values)
