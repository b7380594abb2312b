"""What compiling documents gives: the packs, bindings, classifiers and rules that requests are compared with.

Values only, apart from `mappings.compile`, so that resolving needs nothing of what reading documents takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mappings.bodies import Pointer
from mappings.conditions import Predicate
from mappings.environments import Classifier
from mappings.hosts import HostIndex
from mappings.lookups import Lookup
from mappings.operations import OperationIndex
from mappings.recognition import Pack
from mappings.resolution import RuleRef
from mappings.routes import RouteIndex
from mappings.templates import Template

HTTP_PACK = "http"
"""The pack that recognises nothing: hosts bound to it are named by rules alone."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready to be compared."""

    ref: RuleRef
    scope: str
    """The pack whose hosts it is limited to; "" for an operator's rule."""
    methods: frozenset[str] | None
    hosts: tuple[str, ...]
    predicates: tuple[Predicate, ...]
    json_count: int
    text_count: int
    each: str | Pointer | None
    action: Template
    target: Template | None
    reads_body: bool
    fixed_action: str
    """The action when it is the same whatever the request and there is one operation; else ""."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What is known about the hosts of one pattern."""

    packs: tuple[str, ...]
    facts: Mapping[str, str]
    family: str
    prefix: str = ""
    """Of every path there, taken off before the packs look; "" when there is none."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A host and port whose connections the operator lets through unread."""

    ref: RuleRef
    """The entry that says so."""
    tls: bool
    """Whether only TLS passes whose hello names the host."""
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one pack, or the operator's: filed by what they are about."""

    paths: RouteIndex[Rule]
    operations: OperationIndex[Rule]
    reads_body: bool
    """Whether some rule does."""


RuleSource = Callable[[], RuleSet]
"""Gives the rules of a shipped pack; reads and compiles them the first time."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything resolving needs."""

    packs: Mapping[str, Pack]
    bound: HostIndex[Binding]
    """By the operator; goes before `offered`."""
    offered: HostIndex[Binding]
    """By the packs themselves."""
    classifiers: tuple[Classifier, ...]
    lookups: tuple[Lookup, ...]
    rules: RuleSet
    """The operator's, which hold everywhere."""
    pack_rules: Mapping[str, RuleSource]
    """By pack; they hold on hosts bound to it."""
    tunnels: Mapping[tuple[str, int], Tunnel] = field(default_factory=dict)
    """By canonical host and port."""
