"""Decides whether an agent may do an action; pure, total, and the only place where an ALLOW is made.

The order, first failing stage gives the reason (docs/evaluation.md has it in full):

    agent known, active, token right -> its human active -> same organisation -> policy deny lists
    -> policy allow lists -> skill deny -> skill allow -> deny

    deploy:production   DENY   policy:no-prod-v1 -- action not in allow list
    deploy:staging      ALLOW  skill:deploy-v2 -- action in allow list

It never looks at a clock, a file or the network, never raises, and never turns a fault into an ALLOW.
"""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from mappings.actions import MAX_ACTION_CHARS
from policies.explaining import explain
from policies.patterns import read_action
from policies.schema import REMOVED_TOKEN
from policies.standing import Finding, Rules, Standing
from policies.values import (
    Agent,
    Credential,
    Decision,
    Explanation,
    Human,
    Mode,
    Outcome,
    Question,
    Text,
)

REMEMBERED = 8192
"""Answers kept per loaded set: a site has some hundreds of actions, an agent meets few deciding lines."""

_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._@+-")


class Policies:
    """One loaded set of agents, skills and policies; never changes, a reload makes another."""

    def __init__(
        self,
        standings: Mapping[str, Standing],
        humans: Mapping[str, Human],
        texts: Sequence[Text],
        digest: str,
    ) -> None:
        self.digest = digest
        """SHA-256 over the digests of all texts: which set of rules this is."""
        self.texts: tuple[Text, ...] = tuple(texts)
        self.agents: Mapping[str, Agent] = {name: standing.agent for name, standing in standings.items()}
        self.humans: Mapping[str, Human] = dict(humans)
        self._standings = dict(standings)
        most = max((len(standing.agent.tokens) for standing in standings.values()), default=1)
        self._tokens = {name: _stored(standing.agent.tokens, most) for name, standing in standings.items()}
        self._no_tokens = _stored((), most)
        self._agent_of = {
            token: one.agent.id for one in standings.values() for token in one.agent.tokens if token != REMOVED_TOKEN
        }
        # Pure functions of frozen values, so remembering is invisible; bounded, so nobody fills the memory.
        self._finding: Callable[[Rules, str], tuple[Finding, str]] = lru_cache(REMEMBERED)(_finding)
        self._decision: Callable[[Standing, Finding, str], Decision] = lru_cache(REMEMBERED)(_decision)

    def identify(self, credential: Credential) -> Decision | None:
        """Return None for an agent that is who it says and may act at all, else the DENY."""
        try:
            return self._identify(credential, self._standings.get(credential.agent))
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, nobody was identified
            return _broken(credential, error)

    def agent_of_token(self, token_sha256: str) -> str | None:
        """Return the agent that a token's digest belongs to, in whatever state it is; None when to nobody."""
        return self._agent_of.get(token_sha256)

    def decide(self, question: Question) -> Decision:
        """Decide; every fault on the way is a DENY with code "policy.error"."""
        try:
            credential = question.credential
            standing = self._standings.get(credential.agent)
            # If this line is removed, anybody acts as any agent.
            refusal = self._identify(credential, standing)
            if refusal is not None or standing is None:
                return refusal or _unknown(credential)
            return self._authorise(standing, question.action)
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            return _broken(getattr(question, "credential", None), error)

    def refuse(self, credential: Credential, code: str, reason: str, *, observable: bool = False) -> Decision:
        """Return the DENY for a request that no rule can be asked about: unmapped, unreadable, malformed.

        Human, organisation and skill are filled in only for an agent that proved who it is. With
        `observable`, an agent in observe mode is let through, as after a denial by a rule.
        """
        stage = code.partition(".")[0]
        finding = Finding(Outcome.DENY, stage, reason, code)
        try:
            standing = self._standings.get(credential.agent)
            if standing is None or self._identify(credential, standing) is not None:
                return _anonymous(credential, finding)
            return _decision(standing, finding, "", enforced=not observable)
        except Exception as error:  # noqa: BLE001 -- the refusal stands, whatever else is wrong
            return _anonymous(credential, finding, _where(error))

    def explain(self, question: Question) -> Explanation:
        """Return the decision with every stage; an empty `token_sha256` means "suppose it is right"."""
        standing = self._standings.get(question.credential.agent)
        if standing is None or question.credential.token_sha256:
            return explain(self.decide(question), standing, question)
        refused = standing.inactive or standing.boundary
        supposed = self._decision(standing, refused, "") if refused else self._authorise(standing, question.action)
        return explain(supposed, standing, question)

    def with_tokens(self, token_sha256: Mapping[str, str]) -> Policies:
        """Return the same rules with one more valid token for each agent named; for a gate that serves one run."""
        standings = {
            name: standing.with_token(token_sha256[name]) if name in token_sha256 else standing
            for name, standing in self._standings.items()
        }
        return Policies(standings, self.humans, self.texts, self.digest)

    def _identify(self, credential: Credential, standing: Standing | None) -> Decision | None:
        presented = credential.token_sha256.encode("utf-8", "surrogatepass")
        right = False
        # Every stored digest is compared, and as many for an agent that does not exist: how long the answer
        # takes says neither which agents exist nor how much of a digest was right.
        for stored in self._tokens.get(credential.agent, self._no_tokens):
            right |= hmac.compare_digest(stored, presented)
        if standing is None:
            return _unknown(credential)
        if standing.inactive is not None:
            return self._decision(standing, standing.inactive, "")
        if not right:
            return self._decision(standing, standing.wrong_token, "")
        if standing.boundary is not None:
            return self._decision(standing, standing.boundary, "")
        return None

    def _authorise(self, standing: Standing, asked: str) -> Decision:
        # Only what can be an action is remembered: long texts would fill the memory.
        find = self._finding if len(asked) <= MAX_ACTION_CHARS else _finding
        finding, observed = find(standing.rules, asked)
        return self._decision(standing, finding, observed)


_NO_TOKEN = b"\xff" * 64  # not UTF-8, so nothing presented can equal it


def _stored(tokens: Sequence[str], most: int) -> tuple[bytes, ...]:
    """Return token digests, padded to the same number for every agent so that each look takes equal work."""
    digests = [_NO_TOKEN if token == REMOVED_TOKEN else token.encode() for token in tokens]
    return tuple(digests + [_NO_TOKEN] * (most - len(digests)))


def _finding(rules: Rules, asked: str) -> tuple[Finding, str]:
    """Return what decides about an action, and what policies in observe mode would have said before."""
    action, canonical = read_action(asked)
    observed = ""
    for policy in rules.denying:
        denied = policy.deny.match(action)
        if denied is not None:
            if policy.mode is Mode.ENFORCE:
                return denied, observed
            observed = _also(observed, denied)
    for policy in rules.allowing:
        if policy.allow is not None and not (canonical and policy.allow.match(action)):
            if policy.mode is Mode.ENFORCE:
                return policy.not_allowed, observed
            observed = _also(observed, policy.not_allowed)
    skill = rules.skill
    found = skill.deny.match(action)
    if found is None and canonical:
        found = skill.allow.match(action)
    return found or skill.not_allowed, observed


def _also(observed: str, finding: Finding) -> str:
    return f"{observed}; {finding.reason}" if observed else finding.reason


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
