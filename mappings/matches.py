"""The `match` of a rule, compiled: where to file the rule, and the conditions left to ask.

``op``, ``host``, ``path`` and ``method`` decide where a rule is filed; ``query``, ``header``, ``facts``,
``content_type``, ``json`` and ``not`` become conditions. Under ``not`` everything becomes a condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mappings.bodies import read_pointer
from mappings.conditions import (
    Condition,
    ContentTypeIs,
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
from mappings.knownnames import KnownNames
from mappings.located import Located
from mappings.operations import OperationSet, read_operations
from mappings.paths import PathIndex
from mappings.pathtemplates import Template, read_template
from mappings.places import Path
from mappings.resolution import ATTRIBUTES
from mappings.routepack import read_methods

if TYPE_CHECKING:
    from mappings.rules import MatchText

RESERVED = frozenset({"env", "host", "method", "each"}) | ATTRIBUTES
"""Names that templates and operations always have; a capture of that name would be out of reach."""


class Match:
    """The parts of one match."""

    def __init__(
        self, located: Located, path: Path, text: MatchText, known: KnownNames | None, *, negated: bool = False
    ) -> None:
        self._located = located
        self._path = path
        self._known = known
        faults = len(located.faults)
        operations = located.attempt_each((*path, "op"), read_operations, text.op or ())
        templates = located.attempt_each((*path, "path"), read_template, text.path or ())
        self.operations = tuple(dict.fromkeys(itertools.chain.from_iterable(operations)))
        self.hosts = tuple(located.attempt_each((*path, "host"), host_pattern, text.host or ()))
        self.templates = tuple(itertools.chain.from_iterable(templates))
        methods = located.attempt((*path, "method"), read_methods, text.method or ())
        self.methods = methods or None
        self.json_count = len(text.json_)
        self.text_count = len(text.query) + len(text.header) + len(text.facts) + (text.content_type is not None)
        predicates: list[Predicate] = [
            *(QueryHolds(name, condition) for name, condition in text.query.items()),
            *(HeaderHolds(name.lower(), condition) for name, condition in text.header.items()),
            *(
                FactHolds(name, _folded(condition), when_missing=negated and name == "access")
                for name, condition in text.facts.items()
            ),
            *(
                JsonHolds(pointer, condition)
                for name, condition in text.json_.items()
                if (pointer := located.attempt((*path, "json", name), read_pointer, name))
            ),
        ]
        if text.content_type is not None:
            predicates.append(ContentTypeIs(_folded(text.content_type)))
        if text.not_ is not None:
            inner = Match(located, (*path, "not"), text.not_, known, negated=not negated)
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
        if self._known is not None:
            for pattern in self.operations:
                wrong = self._known.fault(pattern)
                if wrong is not None:
                    fault((*self._path, "op"), wrong)

    def all_predicates(self) -> tuple[Predicate, ...]:
        """Return the whole match as conditions, for ``not`` and for lookups."""
        found: list[Predicate] = []
        if self.operations:
            found.append(OperationIs(self.operations, OperationSet(self.operations)))
        if self.hosts:
            found.append(HostIs(self.hosts))
        if self.methods:
            found.append(MethodIs(self.methods))
        if self.templates:
            index: PathIndex[None] = PathIndex()
            for template in self.templates:
                index.add(template, None)
            found.append(PathIs(self.templates, index))
        return (*found, *self.predicates)

    def pieces(self) -> Iterable[Piece]:
        """Yield what the match covers, piece by piece: two rules with a piece in common always tie there."""
        places: Sequence[str | Template | None] = self.operations or self.templates or (None,)
        conditions = frozenset(self.predicates)
        for place, host, method in itertools.product(places, self.hosts or ("",), sorted(self.methods or ("",))):
            yield Piece(place, host, method, conditions)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one spelling of a match covers."""

    place: str | Template | None
    """A pattern of operations, a template of paths, or neither."""
    host: str
    """ "" for any bound host."""
    method: str
    """ "" for any."""
    conditions: frozenset[Predicate]

    @property
    def key(self) -> tuple[object, ...]:
        """The same for pieces that cover the same; names of captures make no difference."""
        place = self.place.steps if isinstance(self.place, Template) else self.place
        return place, self.host, self.method, self.conditions


def _folded(condition: Condition) -> Condition:
    values = tuple(value.casefold() if isinstance(value, str) else value for value in condition.values)
    return Condition(condition.kind, values)
