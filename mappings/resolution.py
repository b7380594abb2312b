"""What the room answers: the operations a request performs, or the problem that keeps it from saying.

Plain values only. An `Operation` is what the policies judge; a `Problem` is always a refusal, never "nothing
to see": a request that cannot be named is not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

UNMAPPED = "mapping.unmapped"
"""No rule and no pack names the request, or its host is bound to none."""
CONFLICT = "mapping.conflict"
"""Two readings of the request name different things."""
UNREADABLE = "mapping.unreadable"
"""A rule depends on a part of the request that cannot be read."""
TOO_MANY = "mapping.too-many"
"""One request, more operations than are judged at once."""

UNKNOWN_ENVIRONMENT = "unknown"
CONFLICTING_ENVIRONMENT = "conflict"

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request could not be named; `message` is shown to the agent and holds nothing of its body."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RuleRef:
    """The rule that named an operation."""

    id: str
    pack: str
    """The shipped pack the rule came with, or "" for an operator's rule."""
    place: str
    """``mappings/site.yaml:14:3`` or ``pack:github:30:5``."""
    digest: str
    """Digest of the text the rule stands in."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a request does."""

    name: str
    """The canonical operation, ``aws:ec2:TerminateInstances``; ``http:POST`` when no pack knows more."""
    action: str
    """A canonical action: what the rule says, or the operation's name when no rule says anything."""
    target: str
    environment: str
    """"" when no classifier concerns the request, ``unknown``, ``conflict`` or a value."""
    rule: RuleRef | None
    attributes: Mapping[str, str] = field(default=_NOTHING)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Every operation of one request, or the problem: exactly one of the two."""

    operations: tuple[Operation, ...]
    problem: Problem | None
    family: str
    """Of the pack the host is bound to, also when there is a problem; "" when it is bound to none."""
