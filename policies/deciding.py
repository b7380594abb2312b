"""Decides whether an agent may do an action; pure, total, and the only place where an ALLOW is made.

The order, first failing stage gives the reason (docs/evaluation.md has it in full):

    agent known, active, proven -> its human active -> organisation and its boundary -> policy deny lists
    -> policy allow lists -> skill deny -> skill allow or approve -> requirements -> limits -> approval

    deploy:production   DENY   policy:no-prod-v1 -- action not in allow list
    deploy:staging      ALLOW  skill:deploy-v2 -- action in allow list

It never looks at a clock, a file or the network, never raises, and never turns a fault into an ALLOW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mappings.actions import MAX_ACTION_CHARS
from policies.decisions import anonymous, broken, decided, unknown, weighed, where
from policies.explaining import explain
from policies.rules import PASSES, Finding, Rules
from policies.standing import Boundaries, Standing
from policies.tokens import Tokens
from policies.values import (
    Agent,
    Credential,
    Decision,
    Explanation,
    Human,
    Limit,
    Organisation,
    Outcome,
    Question,
    State,
    Text,
    TextRef,
)
from policies.weighing import Matched, Weighing, match

if TYPE_CHECKING:
    from datetime import datetime

REMEMBERED = 8192
"""Answers kept per loaded set: a site has some hundreds of actions, an agent meets few deciding lines."""


class Policies:
    """One loaded set of agents, skills and policies; never changes, a reload makes another."""

    def __init__(
        self,
        standings: Mapping[str, Standing],
        humans: Mapping[str, Human],
        boundaries: Boundaries,
        texts: Sequence[Text],
        digest: str,
        in_force: Mapping[tuple[str, str], TextRef],
        narrowed_by: Sequence[Text] = (),
    ) -> None:
        self.digest = digest
        """SHA-256 over the digests of all texts: which set of rules this is."""
        self.texts: tuple[Text, ...] = tuple(texts)
        self.narrowed_by: tuple[Text, ...] = tuple(narrowed_by)
        """The registries that took something away since, one after the other (`policies.narrowing`)."""
        self.agents: Mapping[str, Agent] = {name: standing.agent for name, standing in standings.items()}
        self.humans: Mapping[str, Human] = dict(humans)
        self.boundaries = boundaries
        self.in_force: Mapping[tuple[str, str], TextRef] = dict(in_force)
        """(kind, id) -> the version that counts where none is named."""
        self.standings: Mapping[str, Standing] = dict(standings)
        """Compiled; for the tools that look into rules."""
        rule_sets = {one.rules for one in self.standings.values()}
        self.headers: frozenset[str] = frozenset(_headers(rule_sets))
        """The request headers that some text asks about, in lower case."""
        self._tokens = Tokens({one.agent.id: one.agent.tokens for one in standings.values()})
        self._human_tokens = Tokens({one.id: one.tokens for one in humans.values()})
        self._agent_of_identity = {
            identity: one.agent.id for one in standings.values() for identity in one.agent.identities
        }
        asking = {rules for rules in rule_sets if any(text.approve.rules for text in rules.texts)}
        self._held = frozenset(name for name, one in self.standings.items() if one.rules in asking)
        # Pure functions of frozen values, so remembering is invisible; bounded, so nobody fills the memory.
        self._match: Callable[[Rules, str], Matched] = lru_cache(REMEMBERED)(match)
        # A plain dictionary and not an `lru_cache`, whose order costs each look four more places in memory: with
        # thousands of agents none of them is in the processor's cache.
        self._room = max(REMEMBERED, 4 * len(self.standings))
        self._decisions: dict[tuple[Standing, Finding, str], Decision] = {}
        self._identified: tuple[Credential | None, datetime | None, Decision] = (None, None, _IDENTIFIED)
        """The last credential, when it was looked at, and the answer: a request asks three times at the same time."""

    @property
    def organisations(self) -> Mapping[str, Organisation]:
        """The organisations that are written down; none when names alone say it."""
        return self.boundaries.organisations

    def identify(self, credential: Credential, at: datetime) -> Decision | None:
        """Return None for an agent that is who it says and may act at all, else the DENY."""
        try:
            found = self._identify(credential, self.standings.get(credential.agent), at)
            if found is _IDENTIFIED:
                return None
            if not isinstance(found, Decision):
                raise TypeError("whether somebody is who they say was not decided")  # and None would be a yes
            return found
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, nobody was identified
            return broken(credential, error)

    def proves(self, credential: Credential, at: datetime) -> bool:
        """Say whether a credential is right for the agent it names, in whatever state that agent is."""
        known, right = self._tokens.presented(credential.agent, credential.token_sha256, at)
        return credential.agent in self.standings and self._unproven(credential, known, right, at) is _PROVEN

    def agent_of_token(self, token_sha256: str) -> str | None:
        """Return the agent that a token's digest belongs to, in whatever state it is; None when to nobody."""
        return self._tokens.owner.get(token_sha256)

    def agent_of_identity(self, identities: Iterable[str]) -> str | None:
        """Return the agent that proven identities belong to, in whatever state it is; None when to nobody."""
        return next((self._agent_of_identity[one] for one in identities if one in self._agent_of_identity), None)

    def identify_human(self, token_sha256: str, at: datetime) -> Human | None:
        """Return the active human whose valid token this is; None when there is none."""
        human = self.humans.get(self._human_tokens.owner.get(token_sha256, ""))
        if human is None or human.state_at(at) is not State.ACTIVE:
            return None
        organisation = self.organisations.get(human.org)
        if organisation is not None and organisation.state is not State.ACTIVE:
            return None
        return human if self._human_tokens.proves(human.id, token_sha256, at) is True else None

    def limits(self, agent: str, action: str) -> tuple[Limit, ...]:
        """Return the limits that count an action of an agent; whoever asks `decide` brings their uses."""
        standing = self.standings.get(agent)
        if standing is None:
            return ()
        return self._matched(standing.rules, action).limits(standing.agent)

    def ever_holds(self, agent: str) -> bool:
        """Say whether any action of an agent may end in a HOLD."""
        return agent in self._held

    def may_hold(self, agent: str, action: str) -> bool:
        """Say whether an action of an agent may end in a HOLD, so that its request must be read whole."""
        standing = self.standings.get(agent)
        return standing is not None and self._matched(standing.rules, action).may_hold

    def decide(self, question: Question) -> Decision:
        """Decide; every fault on the way is a DENY with code "policy.error"."""
        try:
            credential = question.credential
            standing = self.standings.get(credential.agent)
            # If this line is removed, anybody acts as any agent.
            refusal = self._identify(credential, standing, question.at)
            if refusal is not _IDENTIFIED or standing is None:
                return refusal
            return self._authorise(standing, question)
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            return broken(getattr(question, "credential", None), error)

    def decide_again(self, question: Question) -> Decision:
        """Decide as `decide` does, supposing that the credential is right: for the past, whose tokens nobody kept."""
        try:
            standing = self.standings.get(question.credential.agent)
            if standing is None:
                return unknown(question.credential)
            refused = standing.out_of_action(question.at)
            return self._authorise(standing, question) if refused is PASSES else decided(standing, refused, "")
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            return broken(question.credential, error)

    def refuse(
        self, credential: Credential, code: str, reason: str, at: datetime, *, observable: bool = False
    ) -> Decision:
        """Return the DENY for a request that no rule can be asked about: unmapped, unreadable, malformed.

        Human, organisation and skill are filled in only for an agent that proved who it is. With
        `observable`, an agent in observe mode is let through, as after a denial by a rule.
        """
        stage = code.partition(".")[0]
        finding = Finding(Outcome.DENY, stage, reason, code)
        try:
            standing = self.standings.get(credential.agent)
            if standing is None or self._identify(credential, standing, at) is not _IDENTIFIED:
                return anonymous(credential, finding)
            return decided(standing, finding, "", enforced=not observable)
        except Exception as error:  # noqa: BLE001 -- the refusal stands, whatever else is wrong
            return anonymous(credential, finding, where(error))

    def explain(self, question: Question) -> Explanation:
        """Return the decision with every stage; a credential without any proof means "suppose it is right"."""
        credential = question.credential
        standing = self.standings.get(credential.agent)
        supposed = standing is not None and not credential.token_sha256 and not credential.identities
        decision = self.decide_again(question) if supposed else self.decide(question)
        return explain(decision, standing, question)

    def with_tokens(self, token_sha256: Mapping[str, str]) -> Policies:
        """Return the same rules with one more valid token for each agent named; for a gate that serves one run."""
        standings = {
            name: standing.with_token(token_sha256[name]) if name in token_sha256 else standing
            for name, standing in self.standings.items()
        }
        return Policies(
            standings, self.humans, self.boundaries, self.texts, self.digest, self.in_force, self.narrowed_by
        )

    def _identify(self, credential: Credential, standing: Standing | None, at: datetime) -> Decision:
        """Return `_IDENTIFIED`, or the DENY."""
        last, last_at, answer = self._identified
        if last is credential and last_at is at:  # the very same values, not equal ones
            return answer
        answer = self._identified_anew(credential, standing, at)
        self._identified = (credential, at, answer)
        return answer

    def _identified_anew(self, credential: Credential, standing: Standing | None, at: datetime) -> Decision:
        known, right = self._tokens.presented(credential.agent, credential.token_sha256, at)
        if standing is None:
            return unknown(credential)
        inactive = standing.inactive(at)
        if inactive is not PASSES:
            return decided(standing, inactive, "")
        failing = self._unproven(credential, known, right, at)
        if failing is not _PROVEN:
            return decided(standing, standing.barred("agent", standing.agent.id, *failing), "")
        outside = standing.boundary(at)
        return _IDENTIFIED if outside is PASSES else decided(standing, outside, "")

    def _unproven(self, credential: Credential, known: bool, right: bool, at: datetime) -> _Failing:
        """Say why what was presented does not prove the agent it names; `_PROVEN` when it does."""
        by_token = _PROVEN if right is True else _EXPIRED if known else _WRONG
        if not credential.identities:
            return by_token
        owners = {self._agent_of_identity.get(identity) for identity in credential.identities} - {None}
        # If these lines are removed, a certificate of one agent carries the token of another.
        if (owners | ({self._tokens.owner.get(credential.token_sha256)} - {None})) - {credential.agent}:
            return _TWO_AGENTS
        if owners and credential.expires is not None and at >= credential.expires:
            return _EXPIRED
        return _PROVEN if owners and not credential.token_sha256 else by_token

    def _matched(self, rules: Rules, action: str) -> Matched:
        # Only what can be an action is remembered: long texts would fill the memory.
        find = self._match if len(action) <= MAX_ACTION_CHARS else match
        return find(rules, action)

    def _authorise(self, standing: Standing, question: Question) -> Decision:
        matched = self._matched(standing.rules, question.action)
        if not standing.at_home:
            foreign = standing.foreign(question.target, question.action, question.at)
            if foreign is not PASSES:
                return weighed(standing, foreign, Weighing(matched, question, standing.agent))
        if matched.settled is not None and not question.exceptions:
            return self._settled(standing, matched.settled, matched.observed)
        weighing = Weighing(matched, question, standing.agent)
        return weighed(standing, weighing.weigh(), weighing)

    def _settled(self, standing: Standing, finding: Finding, observed: str) -> Decision:
        """Return what a finding means for an agent, the same object each time for as long as there is room."""
        key = (standing, finding, observed)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= self._room:
                self._decisions.clear()
            decision = self._decisions[key] = decided(standing, finding, observed)
        return decision


type _Failing = tuple[str, str]
"""In words, and as a code."""

_PROVEN = ("right", "right")
_WRONG = ("wrong token", "wrong-token")
_EXPIRED = ("credential expired", "credential-expired")
_TWO_AGENTS = ("credentials of two agents", "two-identities")

_IDENTIFIED = anonymous(None, PASSES)
"""Of somebody who is who they say and may act; `PASSES` as a decision, and a DENY like that."""


def _headers(sets: Iterable[Rules]) -> Iterable[str]:
    for rules in sets:
        for text in rules.texts:
            for _, requirement in text.require.rules:
                yield requirement.header
            guarded = [rule for _, rule in (*text.deny.rules, *text.approve.rules, *(text.allow or text.deny).rules)]
            guards = [rule.guard for rule in guarded] + [one.guard for _, one in text.require.rules]
            for guard in guards:
                for condition in (*guard.when, *guard.unless):
                    if condition.name.startswith("header."):
                        yield condition.name.removeprefix("header.")
