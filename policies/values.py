"""The values that go into a decision and come out of it; all frozen, none decides anything.

`Question` in, `Decision` out. A decision names everything that led to it, so that the record can be read
years later without the files that were loaded then.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mappings.documents import DocumentError


class PolicyError(DocumentError):
    """Agents, skills or policies that cannot be used; holds every fault with its place."""


class Outcome(enum.Enum):
    """What a decision says; there is no third answer and no default."""

    DENY = "DENY"
    ALLOW = "ALLOW"


class Mode(enum.Enum):
    """Whether a denial stops the call or is only written down."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class State(enum.Enum):
    """Whether an agent or a human may act at all."""

    REVOKED = "revoked"
    SUSPENDED = "suspended"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a caller says it is, and the digest of what it presented to prove it."""

    agent: str
    token_sha256: str
    """SHA-256 of the presented token, lower-case hex; the token itself goes no further."""


def credential(agent: str, token: str) -> Credential:
    """Return the credential for an agent's name and its token."""
    # surrogatepass: bytes that are not UTF-8 reach us as lone surrogates and must end in "wrong token".
    return Credential(agent, hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())


@dataclass(frozen=True, slots=True)
class TextRef:
    """One version of a policy or skill, by the digest of its text."""

    kind: Literal["policy", "skill"]
    id: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it was obeyed, to be kept by digest so that a past decision can be decided again."""

    kind: Literal["policy", "skill", "agents"]
    id: str
    version: str
    """The version number as text; empty for the agents."""
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class Human:
    """A person who answers for agents: their anchor."""

    id: str
    name: str
    org: str
    state: State


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent as the registry knows it."""

    id: str
    anchor: str
    org: str
    state: State
    mode: Mode
    pin: str
    """The skill as written: "deploy-v2", "deploy-v2@1", or empty."""
    skill: TextRef | None
    """The version the pin means in this set of texts."""
    policies: tuple[TextRef, ...]
    """Every policy that applies to it."""
    created: str
    tokens: tuple[str, ...] = field(repr=False)
    """SHA-256 of each valid token, lower-case hex."""


@dataclass(frozen=True, slots=True)
class Question:
    """May this agent do this? Time and client address are inputs, so the same question has one answer."""

    credential: Credential
    action: str
    target: str
    environment: str
    at: datetime
    """When it was asked; timezone-aware, UTC."""
    client: str
    """The address it was asked from."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and everything that led to it."""

    outcome: Outcome
    mode: Mode
    """OBSERVE: a denial is recorded and forwarded. Never OBSERVE where identity, anchor or org failed."""
    reason: str
    """For people, stable: "policy:no-prod-v1 -- action not in allow list"."""
    code: str
    """For programs: "policy.not-in-allow-list"."""
    stage: str
    """Which stage decided: agent, anchor, org, policy, skill, or what `refuse` was called for."""
    agent: str
    anchor: str
    org: str
    rule: str
    """Where the deciding line stands: "policies/no-prod.yaml:7:5"; empty when no line decided."""
    pattern: str
    """The deciding pattern; empty when the absence of one decided."""
    policy: TextRef | None
    """The deciding policy, when a policy decided."""
    skill: TextRef | None
    """The agent's skill, whichever stage decided."""
    policies: tuple[TextRef, ...]
    """Every policy that applies to the agent."""
    error: str
    """What went wrong inside; empty in every sound decision."""
    observed: str = ""
    """What policies in observe mode would have denied, "; " between them."""

    @property
    def forwards(self) -> bool:
        """Say whether the call may go on to its target."""
        return self.outcome is Outcome.ALLOW or self.mode is Mode.OBSERVE


type Verdict = Literal["pass", "deny", "would deny", "allow", "not reached", "not asked"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of an explanation."""

    name: str
    verdict: Verdict
    detail: str
    place: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with every stage that led to it."""

    decision: Decision
    stages: tuple[Stage, ...]
    nearest_allow: str
    """The allow pattern most like the action, with its place; empty when none is like it."""
