"""Compiled rules: what one line of a text means when its pattern matches, and whether it counts for a question.

    deny: [deploy:production]                          a Rule that denies
    allow: [{action: deploy:*, when: {...}}]           a Rule that allows while its guard holds
    approve: [{action: infra:*, approvers: {...}}]     a Rule with a Hold
    require: [{action: deploy:*, header: x-ticket}]    a Requirement
    limits: [{action: infra:destroy, most: 3, ...}]    a LimitRule

Nothing here decides; `policies.weighing` does. Whoever is asked what stands against an action always answers with a
`Finding`, and nothing does by one of them alone, `PASSES`: who says nothing, or anything else, has permitted nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mappings.globs import Glob
from policies.conditions import ALWAYS, Guard, Truth, fits
from policies.patterns import Matcher
from policies.values import Agent, Hold, Limit, Mode, Outcome, Question, TextRef


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


PASSES = Finding(Outcome.DENY, "error", "policy -- what only lets an action pass has decided", "policy.error")
"""Nothing stands against an action. A DENY in itself: what passes every stage is allowed by a line, not by this."""


class Guarded(Protocol):
    """A line that counts only while its guard holds."""

    @property
    def guard(self) -> Guard:
        """When it counts."""

    @property
    def place(self) -> str:
        """Where it stands, "file:line:col"."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One line of an allow, deny or approve list."""

    pattern: str
    finding: Finding
    guard: Guard = ALWAYS
    hold: Hold | None = None
    """Who has to say yes; of approve lists only."""
    overridable: bool = False
    """Whether a break-glass grant outweighs it; of deny lists only."""
    why: str = ""

    @property
    def place(self) -> str:
        """Where it stands."""
        return self.finding.rule


@dataclass(frozen=True, slots=True, eq=False)
class Requirement:
    """A header that a request must bring."""

    pattern: str
    header: str
    like: tuple[Glob, ...]
    shown: str
    """The globs as they are written."""
    guard: Guard
    subject: str
    """ "policy:tickets"."""
    stage: str
    place: str
    policy: TextRef | None

    def asked(self, question: Question) -> Finding:
        """Return that the request does not meet this, or `PASSES`."""
        value = question.attributes.get(f"header.{self.header}")
        if value is None:
            return self._unmet("is needed and cannot be seen here")
        if not value:
            return self._unmet("is missing")
        if fits(self.like, value) is Truth.YES:
            return PASSES
        return self._unmet(f"is not like {self.shown}")

    def _unmet(self, why: str) -> Finding:
        reason = f'{self.subject} -- header "{self.header}" {why}'
        code = f"{self.stage}.requirement"
        return Finding(Outcome.DENY, self.stage, reason, code, self.place, self.pattern, self.policy)


@dataclass(frozen=True, slots=True, eq=False)
class LimitRule:
    """How often something may be done."""

    pattern: str
    name: str
    """ "policy:calm/destroys/604800s": what its count goes by, also when the text gets another version."""
    most: int
    window_s: int
    per: str
    human: bool
    """Whether the uses of all agents of one human are added up."""
    subject: str
    stage: str
    place: str
    policy: TextRef | None

    def limit(self, agent: Agent) -> Limit:
        """Return the limit as it concerns one agent."""
        who = f"human:{agent.anchor}" if self.human else f"agent:{agent.id}"
        return Limit(f"{self.name} {who}", self.most, self.window_s)

    def finding(self, agent: Agent) -> Finding:
        """Return what it means that it is used up."""
        who = agent.anchor if self.human else agent.id
        reason = f"{self.subject} -- limit of {self.most} per {self.per} reached for {who}"
        code = f"{self.stage}.limit"
        return Finding(Outcome.DENY, self.stage, reason, code, self.place, self.pattern, self.policy)


@dataclass(frozen=True, slots=True, eq=False)
class TextRules:
    """One compiled version of a skill or policy, with all that it extends."""

    ref: TextRef | None
    """None for the rules of an agent without a skill."""
    mode: Mode
    until: datetime | None
    """A skill allows nothing from then on, a policy says nothing."""
    deny: Matcher[Rule]
    allow: Matcher[Rule] | None
    """None for a policy without an allow list; an empty one allows nothing."""
    approve: Matcher[Rule]
    """What must be approved; as in a deny list, a wildcard stands for anything."""
    approvable: Matcher[Rule]
    """The same lines as a permission: as in an allow list, no wildcard stands for what nobody could name."""
    require: Matcher[Requirement]
    limits: Matcher[LimitRule]
    redact: Matcher[tuple[str, ...]]
    not_allowed: Finding
    expired: Finding
    parts: tuple[TextRef, ...] = ()
    """Every text it is put together from, itself first."""

    def ended(self, at: datetime) -> bool:
        """Say whether its time is over."""
        return self.until is not None and at >= self.until


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What is asked about an action; one object for all agents with the same skill and policies."""

    policies: tuple[TextRules, ...]
    """Those that apply, in the order of their names."""
    skill: TextRules

    @property
    def texts(self) -> tuple[TextRules, ...]:
        """All of them, the skill last."""
        return (*self.policies, self.skill)


__all__ = ["PASSES", "Finding", "Guarded", "LimitRule", "Requirement", "Rule", "Rules", "TextRules"]
