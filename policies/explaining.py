"""Tells how a decision came about: every stage in order, the line that decided, the nearest thing allowed.

It is handed the decision that was made and never decides; of the stages after the deciding one it says what
they would have said.

    agent         pass         active
    policy deny   pass         policy:no-prod-v1 -- action not in deny list
    policy allow  deny         policy:no-prod-v1 -- action not in allow list   policies/no-prod.yaml:5:1
    skill deny    not reached  skill:deploy-v2 -- action in deny list          policies/deploy-v2.yaml:8:3
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace

from policies.patterns import read_action
from policies.standing import Finding, PolicyRules, Standing
from policies.values import Decision, Explanation, Mode, Outcome, Question, Stage, Verdict

NEAR_ENOUGH = 0.4
"""difflib's ratio below which another action is not worth naming; chosen by eye."""


def explain(decision: Decision, standing: Standing | None, question: Question) -> Explanation:
    """Return the decision with the stages that led to it."""
    if standing is None:
        return Explanation(decision, (Stage("agent", "deny", decision.reason, ""),), "")
    stages = tuple(_reached(_stages(standing, question, decision)))
    return Explanation(decision, stages, _nearest(standing, question))


def _reached(stages: Iterator[Stage]) -> Iterator[Stage]:
    """Mark what comes after the deciding stage."""
    decided = False
    for stage in stages:
        yield replace(stage, verdict="not reached") if decided else stage
        decided = decided or stage.verdict in ("deny", "allow")


def _stages(standing: Standing, question: Question, decision: Decision) -> Iterator[Stage]:
    agent = standing.agent
    yield _identity("agent", standing.inactive, f"agent:{agent.id} -- {agent.state.value}", standing.place)
    if not question.credential.token_sha256:
        yield Stage("token", "not asked", "the token is not part of this question", "")
    else:
        wrong = standing.wrong_token if decision.code == standing.wrong_token.code else None
        yield _identity("token", wrong, f"agent:{agent.id} -- right token", "")
    yield _identity("anchor", standing.anchor_inactive, f"anchor:{agent.anchor} -- active", standing.place)
    yield _identity("org", standing.other_org, f"org:{agent.org} -- the same for both", standing.place)
    if decision.code == "policy.error":
        yield Stage("error", "deny", f"{decision.reason} ({decision.error})", "")
        return
    action, canonical = read_action(question.action)
    for policy in standing.rules.denying:
        missed = f"policy:{policy.ref.id} -- action not in deny list"
        yield _policy("policy deny", policy, policy.deny.match(action), missed)
    for policy in standing.rules.allowing:
        allowed = policy.allow.match(action) if policy.allow is not None and canonical else None
        listed = f"policy:{policy.ref.id} -- action in allow list"
        place = "" if allowed is None else allowed.rule
        yield _policy("policy allow", policy, policy.not_allowed if allowed is None else None, listed, place)
    skill = standing.rules.skill
    denied = skill.deny.match(action)
    if skill.ref is not None:
        missed = f"skill:{skill.ref.id} -- action not in deny list"
        yield (
            Stage("skill deny", "deny", denied.reason, denied.rule)
            if denied
            else Stage("skill deny", "pass", missed, "")
        )
    found = (skill.allow.match(action) if canonical else None) or skill.not_allowed
    verdict: Verdict = "allow" if found.outcome is Outcome.ALLOW else "deny"
    yield Stage("skill allow", verdict, found.reason, found.rule)


def _identity(name: str, failed: Finding | None, passed: str, place: str) -> Stage:
    if failed is None:
        return Stage(name, "pass", passed, place)
    return Stage(name, "deny", failed.reason, failed.rule)


def _policy(name: str, policy: PolicyRules, denied: Finding | None, passed: str, place: str = "") -> Stage:
    if denied is None:
        return Stage(name, "pass", passed, place)
    verdict: Verdict = "deny" if policy.mode is Mode.ENFORCE else "would deny"
    return Stage(name, verdict, denied.reason, denied.rule)


def _nearest(standing: Standing, question: Question) -> str:
    """Return the skill's allow pattern most like the action."""
    places = {pattern: finding.rule for pattern, finding in standing.rules.skill.allow.rules}
    near = difflib.get_close_matches(question.action[:200], places, n=1, cutoff=NEAR_ENOUGH)
    return f"{near[0]} ({places[near[0]]})" if near else ""
