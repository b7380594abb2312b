"""Decides whether an agent may do an action; pure, total, and the only place where an ALLOW is made.

The order, first failing stage gives the reason (docs/evaluation.md has it in full):

    agent known, active, proven -> its human active -> organisation and its boundary -> policy deny lists
    -> policy allow lists -> skill deny -> skill allow or approve -> requirements -> limits -> approval

    deploy:production   DENY   policy:no-prod-v1 -- action not in allow list
    deploy:staging      ALLOW  skill:deploy-v2 -- action in allow list

It never looks at a clock, a file or the network, never raises, and never turns a fault into an ALLOW.
"""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mappings.actions import MAX_ACTION_CHARS
from policies.explaining import explain
from policies.rules import Finding, Rules
from policies.schema import REMOVED_TOKEN
from policies.standing import Boundaries, Standing
from policies.values import (
    Agent,
    Credential,
    Decision,
    Explanation,
    Human,
    Limit,
    Mode,
    Organisation,
    Outcome,
    Question,
    State,
    Text,
    TextRef,
    Token,
)
from policies.weighing import Matched, Weighing, match

if TYPE_CHECKING:
    from datetime import datetime

REMEMBERED = 8192
"""Answers kept per loaded set: a site has some hundreds of actions, an agent meets few deciding lines."""

_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._@+-")


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
    ) -> None:
        self.digest = digest
        """SHA-256 over the digests of all texts: which set of rules this is."""
        self.texts: tuple[Text, ...] = tuple(texts)
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
        self._tokens = _Tokens({one.agent.id: one.agent.tokens for one in standings.values()})
        self._human_tokens = _Tokens({one.id: one.tokens for one in humans.values()})
        self._agent_of_identity = {
            identity: one.agent.id for one in standings.values() for identity in one.agent.identities
        }
        asking = {rules for rules in rule_sets if any(text.approve.rules for text in rules.texts)}
        self._held = frozenset(name for name, one in self.standings.items() if one.rules in asking)
        # Pure functions of frozen values, so remembering is invisible; bounded, so nobody fills the memory.
        self._match: Callable[[Rules, str], Matched] = lru_cache(REMEMBERED)(match)
        self._decision: Callable[[Standing, Finding, str], Decision] = lru_cache(REMEMBERED)(_decision)

    @property
    def organisations(self) -> Mapping[str, Organisation]:
        """The organisations that are written down; none when names alone say it."""
        return self.boundaries.organisations

    def identify(self, credential: Credential, at: datetime) -> Decision | None:
        """Return None for an agent that is who it says and may act at all, else the DENY."""
        try:
            return self._identify(credential, self.standings.get(credential.agent), at)
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, nobody was identified
            return _broken(credential, error)

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
        return human if self._human_tokens.proves(human.id, token_sha256, at) else None

    def limits(self, agent: str, action: str) -> tuple[Limit, ...]:
        """Return the limits that count an action of an agent; whoever asks `decide` brings their uses."""
        standing = self.standings.get(agent)
        if standing is None:
            return ()
        rules = self._matched(standing.rules, action).limits
        return tuple(rule.limit(standing.agent) for rule in rules) if rules else ()

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
            if refusal is not None or standing is None:
                return refusal or _unknown(credential)
            return self._authorise(standing, question)
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            return _broken(getattr(question, "credential", None), error)

    def decide_again(self, question: Question) -> Decision:
        """Decide as `decide` does, supposing that the credential is right: for the past, whose tokens nobody kept."""
        try:
            standing = self.standings.get(question.credential.agent)
            if standing is None:
                return _unknown(question.credential)
            refused = standing.inactive(question.at) or standing.boundary(question.at)
            return self._decision(standing, refused, "") if refused else self._authorise(standing, question)
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            return _broken(question.credential, error)

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
            if standing is None or self._identify(credential, standing, at) is not None:
                return _anonymous(credential, finding)
            return _decision(standing, finding, "", enforced=not observable)
        except Exception as error:  # noqa: BLE001 -- the refusal stands, whatever else is wrong
            return _anonymous(credential, finding, _where(error))

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
        return Policies(standings, self.humans, self.boundaries, self.texts, self.digest, self.in_force)

    def _identify(self, credential: Credential, standing: Standing | None, at: datetime) -> Decision | None:
        known, right = self._tokens.presented(credential.agent, credential.token_sha256, at)
        if standing is None:
            return _unknown(credential)
        inactive = standing.inactive(at)
        if inactive is not None:
            return self._refused(standing, inactive)
        proven = False
        if credential.identities:
            owners = {self._agent_of_identity.get(identity) for identity in credential.identities} - {None}
            if owners - {standing.agent.id}:
                return self._refused(standing, standing.barred("agent", standing.agent.id, *_TWO_AGENTS))
            if owners and credential.expires is not None and at >= credential.expires:
                return self._refused(standing, standing.barred("agent", standing.agent.id, *_EXPIRED))
            proven = bool(owners)
        if not (proven or right):
            failing = _EXPIRED if known else _WRONG
            return self._refused(standing, standing.barred("agent", standing.agent.id, *failing))
        outside = standing.boundary(at)
        return None if outside is None else self._refused(standing, outside)

    def _refused(self, standing: Standing, finding: Finding) -> Decision:
        return _decision(standing, finding, "")

    def _matched(self, rules: Rules, action: str) -> Matched:
        # Only what can be an action is remembered: long texts would fill the memory.
        find = self._match if len(action) <= MAX_ACTION_CHARS else match
        return find(rules, action)

    def _authorise(self, standing: Standing, question: Question) -> Decision:
        foreign = standing.foreign(question.target, question.action, question.at)
        if foreign is not None:
            return _decision(standing, foreign, "")
        matched = self._matched(standing.rules, question.action)
        if matched.settled is not None and not question.exceptions:
            return self._decision(standing, matched.settled, matched.observed)
        weighing = Weighing(matched)
        return _weighed(standing, weighing.weigh(standing, question), weighing)


_WRONG = ("wrong token", "wrong-token")
_EXPIRED = ("credential expired", "credential-expired")
_TWO_AGENTS = ("credentials of two agents", "two-identities")

_NO_TOKEN = b"\xff" * 64  # not UTF-8, so nothing presented can equal it


class _Tokens:
    """The tokens of everybody of one kind, compared in the same time for all."""

    def __init__(self, tokens: Mapping[str, Sequence[Token]]) -> None:
        most = max((len(each) for each in tokens.values()), default=1)
        self._stored = {name: _stored(each, most) for name, each in tokens.items()}
        self._none = _stored((), most)
        self.owner = {
            token.sha256: name for name, each in tokens.items() for token in each if token.sha256 != REMOVED_TOKEN
        }

    def presented(self, name: str, token_sha256: str, at: datetime) -> tuple[bool, bool]:
        """Say whether a token is one of somebody's, and whether it still counts."""
        given = token_sha256.encode("utf-8", "surrogatepass")
        known = right = False
        # Every stored digest is compared, and as many for somebody who does not exist: how long the answer
        # takes says neither who exists nor how much of a digest was right.
        for stored, expires in self._stored.get(name, self._none):
            same = hmac.compare_digest(stored, given)
            known |= same
            right |= same and (expires is None or at < expires)
        return known, right

    def proves(self, name: str, token_sha256: str, at: datetime) -> bool:
        """Say whether a token is one of somebody's and counts."""
        return self.presented(name, token_sha256, at)[1]


def _stored(tokens: Sequence[Token], most: int) -> tuple[tuple[bytes, datetime | None], ...]:
    """Return token digests, padded to the same number for everybody so that each look takes equal work."""
    digests = [
        (_NO_TOKEN if token.sha256 == REMOVED_TOKEN else token.sha256.encode(), token.expires) for token in tokens
    ]
    return tuple(digests + [(_NO_TOKEN, None)] * (most - len(digests)))


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


_NEVER_OBSERVED = frozenset({"agent", "anchor", "org"})


def _decision(standing: Standing, finding: Finding, observed: str, enforced: bool = False) -> Decision:
    agent = standing.agent
    # If the second condition is removed, a suspended agent in observe mode goes on acting.
    watched = not enforced and finding.stage not in _NEVER_OBSERVED
    return Decision(
        outcome=finding.outcome,
        mode=agent.mode if watched else Mode.ENFORCE,
        reason=finding.reason,
        code=finding.code,
        stage=finding.stage,
        agent=agent.id,
        anchor=agent.anchor,
        org=agent.org,
        rule=finding.rule,
        pattern=finding.pattern,
        policy=finding.policy,
        skill=agent.skill,
        policies=agent.policies,
        error="",
        observed=observed,
    )


def _weighed(standing: Standing, finding: Finding, weighing: Weighing) -> Decision:
    return replace(
        _decision(standing, finding, weighing.observed),
        untold="; ".join(weighing.untold),
        holds=tuple(weighing.holds) if finding.outcome is not Outcome.DENY else (),
        limits=tuple(weighing.limits),
        redact=weighing.redact,
        exception=weighing.exception.id if weighing.exception and finding.outcome is not Outcome.DENY else "",
    )


def _anonymous(credential: Credential | None, finding: Finding, error: str = "") -> Decision:
    return Decision(
        outcome=Outcome.DENY,
        mode=Mode.ENFORCE,
        reason=finding.reason,
        code=finding.code,
        stage=finding.stage,
        agent=_shown(getattr(credential, "agent", "")),
        anchor="",
        org="",
        rule="",
        pattern="",
        policy=None,
        skill=None,
        policies=(),
        error=error,
    )


def _unknown(credential: Credential) -> Decision:
    reason = f"agent:{_shown(credential.agent) or '?'} -- unknown"
    return _anonymous(credential, Finding(Outcome.DENY, "agent", reason, "agent.unknown"))


def _broken(credential: Credential | None, error: Exception) -> Decision:
    finding = Finding(Outcome.DENY, "error", "policy -- the decision failed; see the gate's log", "policy.error")
    return _anonymous(credential, finding, _where(error))


def _where(error: Exception) -> str:
    # The type and the line, not the message: a message may quote what was presented.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"


def _shown(claimed: object) -> str:
    """Return a claimed agent name that is safe to print: what no name can hold becomes "?"."""
    text = claimed if isinstance(claimed, str) else ""
    return "".join(c if c in _ID_CHARACTERS else "?" for c in text[:64])
