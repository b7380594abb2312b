"""Compiling the rules of one file or pack: what each matches, what it says, and that no two say it of the same.

Two rules that match exactly the same are a fault; so are two that certainly meet in some request, neither more
specific there, and say different things of it (`mappings.overlaps`).

    mappings/site.yaml:9:5: rule "b" matches what rule "a" matches (mappings/site.yaml:4:5); make one more specific
    mappings/site.yaml:9:5: template uses "${each}" but the rule has no each
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mappings.bodies import Pointer, read_pointer
from mappings.compiled import Rule, RuleSet
from mappings.knownnames import KnownNames
from mappings.located import Located
from mappings.matches import Match
from mappings.operations import OperationIndex
from mappings.overlaps import Covered, overlaps
from mappings.places import Path
from mappings.resolution import RuleRef
from mappings.routes import RouteIndex
from mappings.templates import Template, read_action_template, read_target_template

if TYPE_CHECKING:
    from mappings.rules import RuleText


class Matched:
    """What was matched so far: nothing may be matched twice."""

    def __init__(self) -> None:
        self._first: dict[object, tuple[str, str]] = {}

    def once(self, located: Located, path: Path, key: object, what: str) -> None:
        """Note a fault at `path` when something else has the same key."""
        place = str(located.document.place(path))
        first = self._first.setdefault(key, (what, place))
        if first[1] != place:
            located.fault(
                path,
                f"{what} matches what {first[0]} matches ({first[1]}); make one more specific or merge them",
            )


class RuleCompiler:
    """Takes the rules of one scope, from several documents; gathers their faults."""

    def __init__(self, scope: str, known: KnownNames | None) -> None:
        self.scope = scope
        """The pack whose hosts the rules are limited to; "" for the operator's."""
        self._known = known
        """None when the rules were checked against packs and each other before."""
        self._paths: RouteIndex[Rule] = RouteIndex()
        self._operations: OperationIndex[Rule] = OperationIndex()
        self._reads_body = False
        self._ids: dict[str, str] = {}
        self._matched = Matched()
        self._covered: list[Covered] = []

    def compiled(self) -> RuleSet:
        """Return the rules, after noting as faults those that tie."""
        rules = RuleSet(self._paths, self._operations, self._reads_body)
        if self._known is not None:
            overlaps(self._covered, rules, self._known)
        return rules

    def add(self, located: Located, rules: Sequence[RuleText]) -> None:
        """Take the rules of a document."""
        for at, rule in enumerate(rules):
            self._rule(located, ("rules", at), rule)

    def _rule(self, located: Located, path: Path, text: RuleText) -> None:
        place = str(located.document.place(path))
        first = self._ids.setdefault(text.id, place)
        if first != place:
            located.fault((*path, "id"), f'rule "{text.id}" stands twice (first {first}); rename one')
        match = Match(located, (*path, "match"), text.match, self._known)
        action = located.attempt((*path, "action"), read_action_template, text.action)
        target = None
        if text.target is not None:
            target = located.attempt((*path, "target"), read_target_template, text.target)
        each = _each(located, path, text)
        for key, template in (("action", action), ("target", target)):
            if template and "each" in template.names and text.each is None:
                located.fault((*path, key), 'template uses "${each}" but the rule has no each')
        if action is None or match.broken:
            return
        ref = RuleRef(text.id, self.scope, place, located.document.digest)
        self._file(located, path, match, _compiled(ref, match, each, action, target))

    def _file(self, located: Located, path: Path, match: Match, rule: Rule) -> None:
        self._reads_body = self._reads_body or rule.reads_body
        if self._known is not None:
            for piece in match.pieces():
                self._matched.once(located, path, piece.key, f'rule "{rule.ref.id}"')
                self._covered.append(Covered(rule, piece, located, path))
        if match.operations:
            for pattern in match.operations:
                self._operations.add(pattern, rule)
        else:
            self._paths.add(rule, match.hosts, match.templates)


def _compiled(
    ref: RuleRef, match: Match, each: str | Pointer | None, action: Template, target: Template | None
) -> Rule:
    return Rule(
        ref,
        ref.pack,
        match.methods,
        match.hosts,
        match.predicates,
        match.json_count,
        match.text_count,
        each,
        action,
        target,
        any(predicate.reads_body for predicate in match.predicates)
        or isinstance(each, Pointer)
        or any(template.reads_body for template in (action, target) if template),
        action.fixed if each is None else "",
    )


def _each(located: Located, path: Path, text: RuleText) -> str | Pointer | None:
    if text.each is None or not text.each.startswith("json:"):
        return text.each
    name = text.each.removeprefix("json:")
    return located.attempt((*path, "each"), read_pointer, name, many=True)
