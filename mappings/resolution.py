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
FAILED = "mapping.failed"
"""Our own fault and not the request's: what should have read it has failed."""
"""A rule depends on a part of the request that cannot be read."""
TOO_MANY = "mapping.too-many"
"""One request, more operations than are judged at once."""

UNKNOWN_ENVIRONMENT = "unknown"
CONFLICTING_ENVIRONMENT = "conflict"

ATTRIBUTES = frozenset({"access", "executes", "mints", "known"})
"""Facts of the operation itself, which only a pack states (`mappings.recognition.Call.attributes`). Nothing that
stands in a request or a mapping file can have these names, or an agent could call its deletion a read."""

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
    """The shape of refusals: of the pack that recognised the request, else of the first the host is bound to; "" when
    it is bound to none."""
    packs: tuple[str, ...] = ()
    """What the host is bound to, in the order that its operator wrote; empty when it is bound to none."""
    methods: tuple[str, ...] = ()
    """The other methods that some server could take the request to have, by all of which it means the same."""

    @property
    def pack(self) -> str:
        """The first of them, which begins the names of what no pack recognises; "" when there is none."""
        return self.packs[0] if self.packs else ""

    @property
    def unnamed(self) -> str:
        """What records and people are told in place of an operation's name; "" when there are operations.

        ``conflict``                two readings, two names
        ``github:unrecognised``     the host is bound to a pack, and neither it nor a rule names the request
        ``github:unreadable``       what the name hangs on cannot be read
        ``github:too-many``         more operations than are judged at once
        ``http:unbound``            the host is bound to nothing and no rule names the request
        """
        if self.problem is None:
            return ""
        code = self.problem.code
        if code == CONFLICT:
            return "conflict"
        if code == UNMAPPED:
            return f"{self.pack}:unrecognised" if self.pack else "http:unbound"
        return f"{self.pack or 'http'}:{'too-many' if code == TOO_MANY else 'unreadable'}"
