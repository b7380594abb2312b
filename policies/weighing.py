"""Weighs the rules that match an action against the question: the stages after identity, in their order.

    policy deny -> policy allow lists -> skill over -> skill deny -> skill allow or approve
    -> requirements -> limits -> approval -> ALLOW

`Matched` is what does not depend on the question, so it is remembered; where nothing in it does, it holds the
finding already (`settled`) and nothing is weighed. What cannot be told counts against the agent: a deny, a
requirement, an approval that is untold is asked for, a permission that is untold does not permit.

Every stage returns a `Finding`: what stands against the action, or `PASSES`. On from a stage leads that one value
and no other, and so does one answer, the exact `True`, where a yes lifts or lessens what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mappings.globs import read_glob
from policies.conditions import ALWAYS, Truth, is_cut
from policies.patterns import Matcher, read_action
from policies.rules import PASSES, Finding, Guarded, LimitRule, Requirement, Rule, Rules, TextRules
from policies.values import Agent, BreakGlass, Credential, Hold, Limit, Mode, Outcome, Question, State


@dataclass(frozen=True, slots=True, eq=False)
class MatchedText:
    """The rules of one text that match an action."""

    text: TextRules
    deny: tuple[Rule, ...]
    allow: tuple[Rule, ...]
    approve: tuple[Rule, ...]
    approvable: tuple[Rule, ...]
    require: tuple[Requirement, ...]
    limits: tuple[LimitRule, ...]
    redact: tuple[tuple[str, ...], ...]

    @property
    def plain(self) -> bool:
        """Say whether only deny and allow lines without conditions match."""
        others = (self.approve, self.require, self.limits, self.redact)
        return (
            self.text.until is None
            and not any(others)
            and all(rule.guard is ALWAYS for rule in (*self.deny, *self.allow))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """All rules that concern an action of an agent, and what they mean where no question can change it."""

    action: str
    canonical: bool
    """Whether it is an action at all; what is none is permitted by nothing."""
    policies: tuple[MatchedText, ...]
    skill: MatchedText
    settled: Finding | None
    observed: str

    @property
    def texts(self) -> tuple[MatchedText, ...]:
        """All of them, the skill last."""
        return (*self.policies, self.skill)

    @property
    def may_hold(self) -> bool:
        """Say whether this may end in a HOLD."""
        return any(text.approve for text in self.texts)

    def limits(self, agent: Agent) -> tuple[Limit, ...]:
        """Return every limit that counts this action, each once, by whatever texts it comes."""
        rules = [rule.limit(agent) for text in self.texts for rule in text.limits]
        # If this were not by key, a limit that two policies extend would be used up twice as fast.
        return tuple({limit.key: limit for limit in rules}.values()) if rules else ()


def match(rules: Rules, asked: str) -> Matched:
    """Return the rules that concern an action."""
    action, canonical = read_action(asked)
    policies = tuple(_matched(text, action, canonical) for text in rules.policies)
    skill = _matched(rules.skill, action, canonical)
    matched = Matched(action, canonical, policies, skill, None, "")
    if not all(text.plain is True for text in matched.texts):
        return matched
    weighing = Weighing(matched, _NOTHING, _NOBODY)
    settled = weighing.lists()
    return Matched(action, canonical, policies, skill, settled, weighing.observed)


def _matched(text: TextRules, action: str, canonical: bool) -> MatchedText:
    allow = text.allow.match(action) if canonical and text.allow else ()
    return MatchedText(
        text,
        text.deny.match(action) if text.deny else (),
        allow,
        text.approve.match(action) if text.approve else (),
        text.approvable.match(action) if canonical and text.approvable else (),
        text.require.match(action) if text.require else (),
        text.limits.match(action) if text.limits else (),
        text.redact.match(action) if text.redact else (),
    )


class Weighing:
    """One walk through the stages, and what came up on the way.

    Each stage can be asked by itself too: `policies.explaining` asks those behind the deciding one.
    """

    def __init__(self, matched: Matched, question: Question, agent: Agent) -> None:
        self.matched = matched
        self.question = question
        self.agent = agent
        self.noted: list[Finding] = []
        """What policies in observe mode found."""
        self.untold: list[str] = []
        self.exception: BreakGlass | None = None
        """The break-glass grant that was needed."""
        self.holds: list[Hold] = []

    def weigh(self) -> Finding:
        """Return what decides."""
        found = self.lists()
        if found.outcome is Outcome.DENY:
            return found
        for stage in (self.unmet, self.used_up):
            for text in self.texts:
                if (refused := stage(text)) is not PASSES:
                    return refused
        # All of them are asked, so that the humans learn at once whose word is needed.
        missing = [line for text in self.texts if (line := self.unapproved(text)) is not PASSES]
        return missing[0] if missing else self._granted(found)

    def lists(self) -> Finding:
        """Return what deny, allow and approve lists say."""
        in_force = [text for text in self.matched.policies if self.over(text) is not True]
        for stage in (self.denied, self.not_listed):
            for text in in_force:
                if (refused := stage(text)) is not PASSES:
                    return refused
        for of_skill in (self.ended, self.denied):
            if (refused := of_skill(self.matched.skill)) is not PASSES:
                return refused
        return self.permitted()

    # --- deny and allow lists ---

    def over(self, text: MatchedText) -> bool:
        """Say whether a policy says nothing any more; a skill that ended goes on denying."""
        return text is not self.matched.skill and text.text.ended(self.question.at)

    @property
    def texts(self) -> list[MatchedText]:
        """Those whose requirements, limits and approvals count, the skill last."""
        return [text for text in self.matched.texts if self.over(text) is not True]

    def denied(self, text: MatchedText) -> Finding:
        """Return the line of a deny list that counts, or `PASSES`."""
        for rule in text.deny:
            if self.truth(rule) is Truth.NO:
                continue
            # If this were asked of every rule, two humans could lift a deny that was to hold against anybody.
            if rule.overridable and self._excepted(text) is True:
                continue
            return self._enforced(text, rule.finding)
        return PASSES

    def not_listed(self, text: MatchedText) -> Finding:
        """Return that a policy's allow list does not hold the action, or `PASSES`."""
        if text.text.allow is None or isinstance(self.permission(text), Rule) or self._excepted(text) is True:
            return PASSES
        return self._enforced(text, text.text.not_allowed)

    def ended(self, skill: MatchedText) -> Finding:
        """Return that the skill's time is over, or `PASSES`."""
        if skill.text.ended(self.question.at) is False or self._excepted(skill) is True:
            return PASSES
        return skill.text.expired

    def permitted(self) -> Finding:
        """Return what permits the action in the skill's name, or that nothing does."""
        skill = self.matched.skill
        if skill.text.ended(self.question.at) is False and (rule := self.permission(skill)) is not None:
            return rule.finding
        # Without a skill there is nothing to make an exception from, and nobody to say what it must never do.
        if skill.text.ref is not None and self._excepted(skill) is True and (grant := self.exception) is not None:
            reason = f"exception:{grant.id} -- {grant.by[0]} and {grant.by[1]} let it through"
            return Finding(Outcome.ALLOW, "exception", reason, "exception.granted")
        return skill.text.not_allowed

    def permission(self, text: MatchedText) -> Rule | None:
        """Return the line that permits: to be approved, else at once. What is untold permits nothing."""
        return next((rule for rule in (*text.approvable, *text.allow) if self.truth(rule) is Truth.YES), None)

    def truth(self, rule: Guarded) -> Truth:
        """Say whether a line counts, and note what cannot be told."""
        if rule.guard is ALWAYS:
            return Truth.YES
        truth = rule.guard.holds(self.question)
        if truth is Truth.UNTOLD:
            self._note_untold(rule.place, rule.guard.untold(self.question))
        return truth

    def _excepted(self, text: MatchedText) -> bool:
        """Say whether a break-glass grant covers the question, and remember it: a text made it needed."""
        if not self.matched.canonical or text.text.mode is Mode.OBSERVE:
            return False
        for grant in self.question.exceptions:
            if covers(grant, self.question, self.matched.action) is True:
                self.exception = grant
                return True
        return False

    # --- what is asked of an action that may be done ---

    def unmet(self, text: MatchedText) -> Finding:
        """Return the requirement that the request does not meet, or `PASSES`."""
        for requirement in text.require:
            if self.truth(requirement) is Truth.NO:
                continue
            found = requirement.asked(self.question)
            if found is not PASSES and (refused := self._enforced(text, found)) is not PASSES:
                return refused
        return PASSES

    def used_up(self, text: MatchedText) -> Finding:
        """Return the limit that is reached, or `PASSES`."""
        for rule in text.limits:
            limit = rule.limit(self.agent)
            used = self.question.uses.get(limit.key)
            if used is None:
                self._note_untold(rule.place, ["uses"])
            reached = used is None or used >= limit.most
            if reached and (refused := self._enforced(text, rule.finding(self.agent))) is not PASSES:
                return refused
        return PASSES

    def unapproved(self, text: MatchedText) -> Finding:
        """Return the first line whose humans have not said yes, and keep all that have to; else `PASSES`."""
        missing = PASSES
        for rule in text.approve:
            if rule.hold is None or self.truth(rule) is Truth.NO:
                continue
            if self._enforced(text, rule.finding) is not PASSES:
                self.holds.append(rule.hold)
                said = rule.hold.satisfied(self.question.approvers, self.agent.anchor)
                if said is not True and missing is PASSES:
                    missing = rule.finding
        return missing

    def _granted(self, found: Finding) -> Finding:
        """Return the finding of an ALLOW: the line that allows, or the humans who said yes."""
        if not self.holds:
            return found
        anchor = self.agent.anchor
        heard = {
            who for who in self.question.approvers if any(hold.eligible(who, anchor) is True for hold in self.holds)
        }
        subject = found.reason.partition(" -- ")[0]
        reason = f"{subject} -- action approved by {', '.join(sorted(heard))}"
        return Finding(
            Outcome.ALLOW, "approval", reason, "approval.granted", found.rule, found.pattern, policy=found.policy
        )

    @property
    def observed(self) -> str:
        """What policies in observe mode would have said."""
        return "; ".join(finding.reason for finding in self.noted)

    @property
    def redact(self) -> tuple[str, ...]:
        """The fields that stay out of the record, sorted."""
        return tuple(sorted({field for text in self.texts for listed in text.redact for field in listed}))

    def _enforced(self, text: MatchedText, finding: Finding) -> Finding:
        """Return a finding that counts; what a policy in observe mode finds is only noted, and `PASSES`."""
        if text.text.mode is Mode.OBSERVE:
            self.noted.append(finding)
            return PASSES
        return finding

    def _note_untold(self, place: str, names: Iterable[str]) -> None:
        note = f"{place} {', '.join(names)}"
        if note not in self.untold:
            self.untold.append(note)


def covers(grant: BreakGlass, question: Question, action: str) -> bool:
    """Say whether a break-glass grant is for this agent, action, target and time, and by two humans."""
    target = question.target
    return (
        grant.agent == question.credential.agent
        and grant.by[0] != grant.by[1]
        and grant.since <= question.at < grant.until
        and (
            grant.target == "*"
            or (bool(target) and is_cut(target) is False and read_glob(grant.target).fits(target) is True)
        )
        and bool(Matcher([(grant.action, True)], allow=True).match(action))
    )


_NOTHING = Question(Credential("", ""), "", "", "", datetime.min.replace(tzinfo=UTC), "")
_NOBODY = Agent("", "", "", State.REVOKED, Mode.ENFORCE, "", None, (), "", ())
"""What is asked by whom where neither matters."""
