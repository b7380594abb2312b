"""Tells how a decision came about: every stage in order, the line that decided, what would have turned it.

It is handed the decision that was made and never decides; of the stages after the deciding one it says what
they would have said.

    agent         pass         active
    policy deny   pass         policy:no-prod-v1 -- action not in deny list
    policy allow  deny         policy:no-prod-v1 -- action not in allow list   policies/no-prod.yaml:5:1
    skill deny    not reached  skill:deploy-v2 -- action in deny list          policies/deploy-v2.yaml:8:3
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from policies.conditions import Truth
from policies.rules import Finding, Rule
from policies.standing import Standing
from policies.values import Decision, Explanation, Mode, Outcome, Question, Stage, Verdict
from policies.weighing import MatchedText, match

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
        decided = decided or stage.verdict in ("deny", "hold", "allow")


def _stages(standing: Standing, question: Question, decision: Decision) -> Iterator[Stage]:
    agent, at = standing.agent, question.at
    yield _identity("agent", standing.inactive(at), f"agent:{agent.id} -- {agent.state_at(at).value}", standing.place)
    yield _proof(question, decision)
    yield _identity("anchor", standing.anchor_inactive(at), f"anchor:{agent.anchor} -- active", standing.place)
    yield _identity("org", standing.outside(at), f"org:{agent.org} -- the same for both", standing.place)
    foreign = standing.foreign(question.target, question.action, at)
    if foreign is not None:
        yield Stage("org", "deny", foreign.reason, foreign.rule)
    if decision.code == "policy.error":
        yield Stage("error", "deny", f"{decision.reason} ({decision.error})", "")
        return
    matched = match(standing.rules, question.action)
    for text in matched.policies:
        if text.text.deny:
            yield _denies("policy deny", text, question)
    for text in matched.policies:
        if text.text.allow is not None:
            yield _allows(text, question)
    skill = matched.skill
    if skill.text.ended(at):
        yield Stage("skill", "deny", skill.text.expired.reason, skill.text.expired.rule)
    if skill.text.ref is not None:
        yield _denies("skill deny", skill, question)
    yield from _permission(skill, question, decision)
    yield from _asked_for((*matched.policies, skill), standing, question, decision)


def _proof(question: Question, decision: Decision) -> Stage:
    who = question.credential
    if not who.token_sha256 and not who.identities:
        return Stage("token", "not asked", "the token is not part of this question", "")
    if decision.code in ("agent.wrong-token", "agent.credential-expired", "agent.two-identities"):
        return Stage("token", "deny", decision.reason, decision.rule)
    return Stage("token", "pass", f"agent:{who.agent} -- right token", "")


def _identity(name: str, failed: Finding | None, passed: str, place: str) -> Stage:
    if failed is None:
        return Stage(name, "pass", passed, place)
    return Stage(name, "deny", failed.reason, failed.rule)


def _subject(text: MatchedText) -> str:
    return f"{text.text.ref.kind}:{text.text.ref.id}" if text.text.ref else "skill"


def _counts(rules: Sequence[Rule], question: Question, *, untold: bool) -> Rule | None:
    wanted = (Truth.YES, Truth.UNTOLD) if untold else (Truth.YES,)
    return next((rule for rule in rules if rule.guard.holds(question) in wanted), None)


def _also(rule: Rule) -> str:
    """Return what narrows a rule, and why it is there."""
    return "; ".join(part for part in (str(rule.guard), rule.why) if part)


def _but_for(rules: Sequence[Rule]) -> str:
    """Return the lines that would have counted, had their conditions held."""
    missed = ", ".join(f"{rule.finding.rule} ({_also(rule)})" for rule in rules)
    return f"would be met but for {missed}" if missed else ""


def _denies(name: str, text: MatchedText, question: Question) -> Stage:
    rule = _counts(text.deny, question, untold=True)
    if rule is None or (text.text.ref and text.text.ref.kind == "policy" and text.text.ended(question.at)):
        return Stage(name, "pass", f"{_subject(text)} -- action not in deny list", "")
    return Stage(name, _enforced(text), rule.finding.reason, rule.finding.rule, _also(rule))


def _allows(text: MatchedText, question: Question) -> Stage:
    rule = _counts(text.allow, question, untold=False) or _counts(text.approvable, question, untold=True)
    if rule is not None:
        listed = f"{_subject(text)} -- action in allow list"
        return Stage("policy allow", "pass", listed, rule.finding.rule, _also(rule))
    if text.text.ended(question.at):
        return Stage("policy allow", "pass", f"{_subject(text)} -- expired", "")
    missed = text.text.not_allowed
    return Stage("policy allow", _enforced(text), missed.reason, missed.rule, _but_for(text.allow))


def _enforced(text: MatchedText) -> Verdict:
    return "deny" if text.text.mode is Mode.ENFORCE else "would deny"


def _permission(skill: MatchedText, question: Question, decision: Decision) -> Iterator[Stage]:
    rule = _counts(skill.approvable, question, untold=True)
    if rule is None:
        rule = _counts(skill.allow, question, untold=False)
    settled = decision.rule == (rule.finding.rule if rule else "") and decision.code == "skill.allowed"
    if rule is not None:
        verdict: Verdict = "allow" if settled and rule.finding.outcome is Outcome.ALLOW else "pass"
        yield Stage("skill allow", verdict, rule.finding.reason, rule.finding.rule, _also(rule))
        return
    missed = skill.text.not_allowed
    yield Stage(
        "skill allow", "pass" if decision.exception else "deny", missed.reason, missed.rule, _but_for(skill.allow)
    )


def _asked_for(
    texts: Sequence[MatchedText], standing: Standing, question: Question, decision: Decision
) -> Iterator[Stage]:
    for text in texts:
        for requirement in text.require:
            failing = requirement.failing(question) if requirement.guard.holds(question) is not Truth.NO else ""
            passed = f'{requirement.subject} -- header "{requirement.header}" is there'
            reason = requirement.finding(failing).reason if failing else passed
            yield Stage("require", _enforced(text) if failing else "pass", reason, requirement.place)
        for rule in text.limits:
            limit = rule.limit(standing.agent)
            used = question.uses.get(limit.key)
            reached = used is None or used >= limit.most
            told = f"{rule.subject} -- {'?' if used is None else used} of {limit.most} per {rule.per} used"
            reason = rule.finding(standing.agent).reason if reached else told
            yield Stage("limit", _enforced(text) if reached else "pass", reason, rule.place)
    for hold in decision.holds:
        satisfied = hold.satisfied(question.approvers, standing.agent.anchor)
        yield Stage("approval", "pass" if satisfied else "hold", hold.reason, hold.rule)
    if decision.outcome is Outcome.ALLOW and decision.code != "skill.allowed":
        yield Stage("decision", "allow", decision.reason, decision.rule)


def _nearest(standing: Standing, question: Question) -> str:
    """Return the skill's allow pattern most like the action."""
    skill = standing.rules.skill
    places = {pattern: rule.finding.rule for pattern, rule in (skill.allow.rules if skill.allow else ())}
    near = difflib.get_close_matches(question.action[:200], places, n=1, cutoff=NEAR_ENOUGH)
    return f"{near[0]} ({places[near[0]]})" if near else ""
