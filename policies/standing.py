"""Where each agent stands, worked out once when the texts are loaded.

Which human, organisation, policies and skill an agent has does not change between two loads; whether they are
in force at the time of the question does, and is asked here. Nothing here looks at an action's rules.

    agent:deploy-bot -- suspended        anchor:alice@acme.test -- expired        org:acme -- suspended
    org:acme -- agent and anchor belong to different organisations
    org:globex -- target belongs to another organisation
    org:acme -- whose target this is cannot be told
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from mappings.globs import SURELY, Glob, GlobIndex, read_glob
from policies.conditions import is_cut
from policies.patterns import Matcher, read_action
from policies.rules import PASSES, Finding, Rules
from policies.values import Agent, CrossGrant, Human, Organisation, Outcome, State, Token

_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""For what does not depend on it."""


class Boundaries:
    """Which organisation owns a target, and who may cross into it."""

    def __init__(self, organisations: Mapping[str, Organisation], grants: Sequence[CrossGrant]) -> None:
        self.organisations = dict(organisations)
        self.grants = tuple(grants)
        self._actions = {id(grant): Matcher([(each, True) for each in grant.actions], allow=True) for grant in grants}
        self._owners: GlobIndex[tuple[Glob, str]] = GlobIndex()
        for organisation in organisations.values():
            for text in organisation.owns:
                glob = read_glob(text)
                self._owners.add(glob, (glob, organisation.id))
        self.owned = any(organisation.owns for organisation in organisations.values())
        """Whether any target is somebody's own."""

    def owners(self, target: str) -> list[str]:
        """Return the organisations that own a target, sorted."""
        return sorted({owner for glob, owner in self._owners.find(target) if SURELY[glob.fits(target)]})

    def may_cross(self, agent: Agent, into: str, action: str | None, at: datetime) -> bool:
        """Say whether an agent may act in another organisation; None asks whether for any action at all."""
        home = self.organisations.get(into)
        if home is not None and home.state is not State.ACTIVE:
            return False  # what is suspended takes in nobody
        return any(
            grant.of == agent.org
            and grant.into == into
            and (grant.until is None or at < grant.until)
            and any(fnmatchcase(agent.id, glob) for glob in grant.agents)
            and (action is None or bool(self._actions[id(grant)].match(action)))
            for grant in self.grants
        )


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Everything about one agent that does not depend on the question."""

    agent: Agent
    human: Human
    place: str
    boundaries: Boundaries
    rules: Rules
    timeless: bool = field(init=False)
    """Whether nothing in the registry about it begins or ends with time."""
    at_home: bool = field(init=False)
    """Whether no target can be outside its organisation's boundary, so that nobody need ask."""
    _inactive_always: Finding = field(init=False)
    _boundary_always: Finding = field(init=False)

    def __post_init__(self) -> None:
        grants = any(grant.until is not None for grant in self.boundaries.grants)
        ends = self.agent.expires is not None or self.human.expires is not None
        object.__setattr__(self, "timeless", not (grants or ends))
        object.__setattr__(self, "at_home", self.agent.org == self.human.org and not self.boundaries.owned)
        object.__setattr__(self, "_inactive_always", self._inactive(_ANY_TIME))
        object.__setattr__(self, "_boundary_always", self._boundary(_ANY_TIME))

    def with_token(self, token_sha256: str) -> Standing:
        """Return the same standing with one more valid token."""
        return replace(self, agent=replace(self.agent, tokens=(*self.agent.tokens, Token(token_sha256))))

    def barred(self, stage: str, subject: str, why: str, code: str) -> Finding:
        """Return what it means that the registry forbids everything."""
        return Finding(Outcome.DENY, stage, f"{stage}:{subject} -- {why}", f"{stage}.{code}", rule=self.place)

    def inactive(self, at: datetime) -> Finding:
        """Return why the agent itself may not act, or `PASSES`."""
        return self._inactive_always if self.timeless else self._inactive(at)

    def _inactive(self, at: datetime) -> Finding:
        return self._unless_active("agent", self.agent.id, self.agent.state_at(at))

    def out_of_action(self, at: datetime) -> Finding:
        """Return why it may do nothing at all, or `PASSES`."""
        inactive = self.inactive(at)
        return self.boundary(at) if inactive is PASSES else inactive

    def anchor_inactive(self, at: datetime) -> Finding:
        """Return why its human does not answer for anybody, or `PASSES`."""
        return self._unless_active("anchor", self.human.id, self.human.state_at(at))

    def outside(self, at: datetime) -> Finding:
        """Return why its organisation forbids everything, or `PASSES`."""
        agent, human = self.agent, self.human
        for name in (agent.org, human.org):
            organisation = self.boundaries.organisations.get(name)
            if organisation is not None and organisation.state is not State.ACTIVE:
                return self._unless_active("org", name, organisation.state)
        if agent.org != human.org and self.boundaries.may_cross(agent, human.org, None, at) is not True:
            return self.barred("org", agent.org, "agent and anchor belong to different organisations", "different")
        return PASSES

    def boundary(self, at: datetime) -> Finding:
        """Return why its human or its organisation forbids everything, or `PASSES`."""
        return self._boundary_always if self.timeless else self._boundary(at)

    def _boundary(self, at: datetime) -> Finding:
        inactive = self.anchor_inactive(at)
        return self.outside(at) if inactive is PASSES else inactive

    def foreign(self, target: str, action: str, at: datetime) -> Finding:
        """Return why an action on a target lies outside its organisation's boundary, or `PASSES`."""
        agent, home, boundaries = self.agent, self.human.org, self.boundaries
        if agent.org != home and boundaries.may_cross(agent, home, read_action(action)[0], at) is not True:
            return self.barred("org", agent.org, "agent and anchor belong to different organisations", "different")
        if not boundaries.owned:
            return PASSES
        if not target or is_cut(target) is not False:
            return self.barred("org", agent.org, "whose target this is cannot be told", "foreign-target")
        # What several own is nobody's alone: each of them has to let the agent in.
        for owner in boundaries.owners(target):
            if owner != agent.org and boundaries.may_cross(agent, owner, read_action(action)[0], at) is not True:
                return self.barred("org", owner, "target belongs to another organisation", "foreign-target")
        return PASSES

    def _unless_active(self, stage: str, subject: str, state: State) -> Finding:
        return PASSES if state is State.ACTIVE else self.barred(stage, subject, state.value, state.value)
