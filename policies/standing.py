"""Where each agent stands, worked out once when the texts are loaded.

Identity, anchor, organisation and the policies that apply do not change between two loads, so a decision only
has to look at the token and the action. Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from policies.patterns import Matcher
from policies.values import Agent, Mode, Outcome, TextRef


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What it means when one rule, or the lack of one, decides; compared by identity."""

    outcome: Outcome
    stage: str
    reason: str
    code: str
    rule: str = ""
    """The place of the deciding line, "file:line:col"."""
    pattern: str = ""
    policy: TextRef | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PolicyRules:
    """One compiled policy."""

    ref: TextRef
    mode: Mode
    deny: Matcher[Finding]
    allow: Matcher[Finding] | None
    """None when the policy has no allow list; an empty one allows nothing."""
    not_allowed: Finding
    agents: tuple[str, ...]
    orgs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SkillRules:
    """One compiled version of a skill."""

    ref: TextRef | None
    deny: Matcher[Finding]
    allow: Matcher[Finding]
    not_allowed: Finding


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What is asked about an action; one object for all agents with the same skill and policies."""

    denying: tuple[PolicyRules, ...]
    """The policies with a deny list, in the order of their names."""
    allowing: tuple[PolicyRules, ...]
    """The policies with an allow list, in the order of their names."""
    skill: SkillRules


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Everything about one agent that does not depend on the question."""

    agent: Agent
    place: str
    inactive: Finding | None
    wrong_token: Finding
    boundary: Finding | None
    """Why its human or its organisation forbids everything; None when nothing does."""
    anchor_inactive: Finding | None
    other_org: Finding | None
    rules: Rules

    def with_token(self, token_sha256: str) -> Standing:
        """Return the same standing with one more valid token."""
        return replace(self, agent=replace(self.agent, tokens=(*self.agent.tokens, token_sha256)))
