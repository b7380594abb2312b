"""What compiling documents gives: the packs, bindings, classifiers and rules that requests are compared with.

Values only, apart from `mappings.compile`, so that resolving needs nothing of what reading documents takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mappings.bodies import Pointer
from mappings.conditions import Predicate
from mappings.environments import Classifier
from mappings.hosts import HostIndex
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


@dataclass(frozen=True, slots=True)
class Binding:
    """What is known about the hosts of one pattern."""

    packs: tuple[str, ...]
    facts: Mapping[str, str]
    family: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything resolving needs."""

    packs: Mapping[str, Pack]
    bound: HostIndex[Binding]
    """By the operator; goes before `offered`."""
    offered: HostIndex[Binding]
    """By the packs themselves."""
    classifiers: tuple[Classifier, ...]
    paths: RouteIndex[Rule]
    operations: OperationIndex[Rule]
