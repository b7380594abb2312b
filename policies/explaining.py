"""Tells how a decision came about: every stage in order, the line that decided, what would have turned it.

It is handed the decision that was made and never decides; of the stages after the deciding one it says what
they would have said, and it asks each of them as the decision did (`policies.weighing`).

    agent         pass         active
    policy deny   pass         policy:no-prod-v1 -- action not in deny list
    policy allow  deny         policy:no-prod-v1 -- action not in allow list   policies/no-prod.yaml:5:1
    skill deny    not reached  skill:deploy-v2 -- action in deny list          policies/deploy-v2.yaml:8:3
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from policies.changing import changes
from policies.conditions import Truth
from policies.rules import PASSES, Finding, Rule
from policies.standing import Standing
from policies.values import Decision, Explanation, Outcome, Question, Stage, Verdict
from policies.weighing import Matched, MatchedText, Weighing, match

NEAR_ENOUGH = 0.4
"""difflib's ratio below which another action is not worth naming; chosen by eye."""

_PROOFS = frozenset({"agent.wrong-token", "agent.credential-expired", "agent.two-identities"})


def explain(decision: Decision, standing: Standing | None, question: Question) -> Explanation:
    """Return the decision with the stages that led to it."""
    if standing is None:
        return Explanation(decision, (Stage("agent", "deny", decision.reason, ""),), "")
    if decision.code == "policy.error":
        return Explanation(decision, (Stage("error", "deny", f"{decision.reason} ({decision.error})", ""),), "")
    stages = tuple(_reached(_stages(standing, question, decision)))
    turned = () if decision.code in _PROOFS else changes(standing, question, decision.outcome)
    return Explanation(decision, stages, _nearest(standing, question), turned)


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
    home = "the same for both" if agent.org == standing.human.org else f"answered for in {standing.human.org}"
    yield _identity("org", standing.outside(at), f"org:{agent.org} -- {home}", standing.place)
    foreign = standing.foreign(question.target, question.action, at)
    if foreign is not PASSES:
        yield Stage("org", "deny", foreign.reason, foreign.rule)
    yield from _Telling(match(standing.rules, question.action), question, standing).stages(decision)


def _identity(name: str, failed: Finding, passed: str, place: str) -> Stage:
    if failed is PASSES:
        return Stage(name, "pass", passed, place)
    return Stage(name, "deny", failed.reason, failed.rule)


def _proof(question: Question, decision: Decision) -> Stage:
    who = question.credential
    if not who.token_sha256 and not who.identities:
        return Stage("token", "not asked", "the token is not part of this question", "")
    if decision.code in _PROOFS:
        return Stage("token", "deny", decision.reason, decision.rule)
    proof = "right token" if who.token_sha256 else "proven identity"
    return Stage("token", "pass", f"agent:{who.agent} -- {proof}", "")


class _Telling:
    """The stages that rules make, each asked by itself."""

    def __init__(self, matched: Matched, question: Question, standing: Standing) -> None:
        self.matched = matched
        self.question = question
        self.agent = standing.agent

    def stages(self, decision: Decision) -> Iterator[Stage]:
        policies, skill = self.matched.policies, self.matched.skill
        for text in policies:
            if text.text.deny:
                yield self._lists("policy deny", text, Weighing.denied, "action not in deny list", text.deny)
        for text in policies:
            if text.text.allow is not None:
                lines = (*text.approvable, *text.allow)
                yield self._lists("policy allow", text, Weighing.not_listed, "action in allow list", lines)
        if (expired := self._weighing().ended(skill)) is not PASSES:
            yield Stage("skill", "deny", expired.reason, expired.rule)
        if skill.text.ref is not None:
            yield self._lists("skill deny", skill, Weighing.denied, "action not in deny list", skill.deny)
        asked = [*self._requirements(), *self._limits(), *self._approvals()]
        yield self._permission(last=not asked)
        yield from asked
        if asked and decision.outcome is Outcome.ALLOW:
            yield Stage("decision", "allow", decision.reason, decision.rule)

    def _weighing(self) -> Weighing:
        return Weighing(self.matched, self.question, self.agent)

    def _lists(
        self,
        name: str,
        text: MatchedText,
        asked: Callable[[Weighing, MatchedText], Finding],
        passed: str,
        lines: Sequence[Rule],
    ) -> Stage:
        weighing = self._weighing()
        if weighing.over(text):
            return Stage(name, "pass", f"{_subject(text)} -- expired", text.text.expired.rule)
        verdict, found = _found(asked(weighing, text), weighing)
        if verdict != "pass":
            line = next((rule for rule in lines if rule.finding is found), None)
            note = _also(line) if line else _but_for(lines)
            return Stage(name, verdict, found.reason, found.rule, _told(note, weighing))
        permits = weighing.permission(text) if asked is Weighing.not_listed else None
        if permits is not None:
            return Stage(name, "pass", f"{_subject(text)} -- {passed}", permits.place, _also(permits))
        if weighing.exception is not None:
            return Stage(name, "pass", f"{_subject(text)} -- exception:{weighing.exception.id}", "")
        return Stage(name, "pass", f"{_subject(text)} -- {passed}", "", _told(_but_for(lines), weighing))

    def _permission(self, *, last: bool) -> Stage:
        skill, weighing = self.matched.skill, self._weighing()
        finding = weighing.permitted()
        lines = (*skill.approvable, *skill.allow)
        line = next((rule for rule in lines if rule.finding is finding), None)
        note = _also(line) if line else _told(_but_for(lines), weighing)
        name = "exception" if finding.stage == "exception" else "skill allow"
        if finding.outcome is Outcome.DENY:
            return Stage(name, "deny", finding.reason, finding.rule, note)
        return Stage(name, "allow" if last else "pass", finding.reason, finding.rule, note)

    def _requirements(self) -> Iterator[Stage]:
        for text in self._weighing().texts:
            for rule in text.require:
                weighing = self._weighing()
                finding = weighing.unmet(replace(text, require=(rule,)))
                needed = "is there" if weighing.truth(rule) is not Truth.NO else "is not needed here"
                passed = f'{rule.subject} -- header "{rule.header}" {needed}'
                yield _asked("require", weighing, finding, passed, rule.place, str(rule.guard))

    def _limits(self) -> Iterator[Stage]:
        for text in self._weighing().texts:
            for rule in text.limits:
                weighing = self._weighing()
                finding = weighing.used_up(replace(text, limits=(rule,)))
                used = self.question.uses.get(rule.limit(self.agent).key)
                passed = f"{rule.subject} -- {used} of {rule.most} per {rule.per} used"
                yield _asked("limit", weighing, finding, passed, rule.place, "")

    def _approvals(self) -> Iterator[Stage]:
        for text in self._weighing().texts:
            for rule in text.approve:
                weighing = self._weighing()
                finding = weighing.unapproved(replace(text, approve=(rule,)))
                if weighing.holds or weighing.noted:
                    stage = _asked("approval", weighing, finding, rule.finding.reason, rule.place, _also(rule))
                    yield stage if finding is PASSES else replace(stage, verdict="hold")


def _asked(name: str, weighing: Weighing, finding: Finding, passed: str, place: str, note: str) -> Stage:
    verdict, found = _found(finding, weighing)
    if verdict == "pass":
        return Stage(name, "pass", passed, place, note)
    return Stage(name, verdict, found.reason, found.rule, _told(note, weighing))


def _found(finding: Finding, weighing: Weighing) -> tuple[Verdict, Finding]:
    """Return what a stage comes to, and by what: it denies, a policy in observe mode would, or it passes."""
    if finding is not PASSES:
        return "deny", finding
    return ("would deny", weighing.noted[0]) if weighing.noted else ("pass", PASSES)


def _subject(text: MatchedText) -> str:
    return f"{text.text.ref.kind}:{text.text.ref.id}" if text.text.ref else "skill"


def _also(rule: Rule) -> str:
    """Return what narrows a rule, and why it is there."""
    return "; ".join(part for part in (str(rule.guard), rule.why) if part)


def _but_for(rules: Iterable[Rule]) -> str:
    """Return the lines that would have counted, had their conditions held."""
    missed = ", ".join(f"{rule.place} ({_also(rule)})" for rule in rules)
    return f"would be met but for {missed}" if missed else ""


def _told(note: str, weighing: Weighing) -> str:
    untold = f"cannot be told: {'; '.join(weighing.untold)}" if weighing.untold else ""
    return "; ".join(part for part in (note, untold) if part)


def _nearest(standing: Standing, question: Question) -> str:
    """Return the skill's allow pattern most like the action."""
    skill = standing.rules.skill
    places = {pattern: rule.place for pattern, rule in (skill.allow.rules if skill.allow else ())}
    near = difflib.get_close_matches(question.action[:200], places, n=1, cutoff=NEAR_ENOUGH)
    return f"{near[0]} ({places[near[0]]})" if near else ""
