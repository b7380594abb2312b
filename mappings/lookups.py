"""Facts about ids that say nothing by themselves: a workspace "ws-9", a numeric project, a node id.

A lookup is the operator's table from such an id to facts. Its key is a fact or a field of the body; its match says
for which requests, and may be missing when the key is a fact. What it says of the environment is worth what
its key is worth: a table keyed by something that the agent may write freely names no environment.

    table {ws-9: {workspace: payments, env: production}}
    "ws-9"      workspace "payments", environment production
    "ws-8"      no facts, environment unknown
    the body could not be read      a problem, and so a refusal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappings.bodies import Pointer
from mappings.conditions import Predicate, Subject, all_hold
from mappings.resolution import Problem
from mappings.templates import body_field

ENVIRONMENT = "env"


@dataclass(frozen=True, slots=True)
class Lookup:
    """One table."""

    name: str
    match: tuple[Predicate, ...]
    key: str | Pointer
    table: Mapping[str, Mapping[str, str]]
    tells_environment: bool
    """Whether some row names an environment."""

    @property
    def reads_body(self) -> bool:
        """Whether the body must be read before it can be told whether, or what, it says."""
        return isinstance(self.key, Pointer) or any(predicate.reads_body for predicate in self.match)


@dataclass(frozen=True, slots=True)
class Asked:
    """A lookup that concerns a request, with the id when it stood in the body."""

    lookup: Lookup
    id: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """What the tables say of one call."""

    facts: Mapping[str, str]
    environments: frozenset[str]
    concerned: bool
    """Whether a table that tells environments was asked, whatever it said."""


NOTHING_TOLD = Told({}, frozenset(), False)


def asked(lookups: Sequence[Lookup], subject: Subject) -> tuple[Asked, ...] | Problem:
    """Return the lookups that concern a call, or why that, or an id, cannot be told."""
    found: list[Asked] = []
    for lookup in lookups:
        holds = all_hold(lookup.match, subject)
        if isinstance(holds, Problem):
            return holds
        if not holds:
            continue
        key = lookup.key
        text = body_field(key, subject.reading) if isinstance(key, Pointer) else None
        if isinstance(text, Problem):
            return text
        found.append(Asked(lookup, text))
    return tuple(found)


def tell(questions: Sequence[Asked], facts: Mapping[str, str]) -> Told:
    """Return what the tables say of ids in the body and in these facts.

    Two tables that differ about a fact have said nothing about it.
    """
    found: dict[str, str] = {}
    environments: set[str] = set()
    concerned = False
    for question in questions:
        lookup = question.lookup
        identifier = facts.get(lookup.key, "") if isinstance(lookup.key, str) else question.id or ""
        concerned = concerned or (lookup.tells_environment and bool(identifier or lookup.match))
        for name, value in lookup.table.get(identifier, {}).items():
            if name == ENVIRONMENT:
                environments.add(value)
            else:
                found[name] = value if found.get(name, value) == value else ""
    return Told(found, frozenset(environments), concerned)
