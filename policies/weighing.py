"""Weighs the rules that match an action against the question: the stages after identity, in their order.

    policy deny -> policy allow lists -> skill over -> skill deny -> skill allow or approve
    -> requirements -> limits -> approval -> ALLOW

`Matched` is what does not depend on the question, so it is remembered; where nothing in it does, it holds the
finding already (`settled`) and nothing is weighed. What cannot be told counts against the agent: a deny, a
requirement, an approval that is untold applies, an allow that is untold does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mappings.globs import read_glob
from policies.conditions import ALWAYS, Truth
from policies.patterns import Matcher, read_action
from policies.rules import Finding, LimitRule, Requirement, Rule, Rules, TextRules
from policies.standing import Standing
from policies.values import BreakGlass, Hold, Limit, Mode, Outcome, Question


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
    policies: tuple[MatchedText, ...]
    skill: MatchedText
    settled: Finding | None
    observed: str

    @property
    def limits(self) -> tuple[LimitRule, ...]:
        """Every limit that counts this action."""
        return tuple(limit for text in (*self.policies, self.skill) for limit in text.limits)

    @property
    def may_hold(self) -> bool:
        """Say whether this may end in a HOLD."""
        return any(text.approve for text in (*self.policies, self.skill))


def match(rules: Rules, asked: str) -> Matched:
    """Return the rules that concern an action."""
    action, canonical = read_action(asked)
    policies = tuple(_matched(text, action, canonical) for text in rules.policies)
    skill = _matched(rules.skill, action, canonical)
    matched = Matched(action, policies, skill, None, "")
    if not all(text.plain for text in (*policies, skill)):
        return matched
    weighed = Weighing(matched)
    settled = weighed.lists(None)
    return Matched(action, policies, skill, settled or skill.text.not_allowed, weighed.observed)


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
    """One walk through the stages, and what came up on the way."""

    def __init__(self, matched: Matched) -> None:
        self.matched = matched
        self.observed = ""
        self.untold: list[str] = []
        self.exception: BreakGlass | None = None
        """The break-glass grant that was needed."""
        self.holds: list[Hold] = []
        self.limits: list[Limit] = []
        self.redact: tuple[str, ...] = ()

    def weigh(self, standing: Standing, question: Question) -> Finding:
        """Return what decides."""
        found = self.lists(question)
        self._redact(question)
        if found.outcome is Outcome.DENY:
            return found
        if refused := self._unmet(question) or self._used_up(standing, question):
            return refused
        return self._unapproved(standing, question) or self._granted(found, question)

    # --- deny and allow lists ---

    def lists(self, question: Question | None) -> Finding:
        """Return what deny, allow and approve lists say; without a question, where none of them is guarded."""
        matched = self.matched
        for text in matched.policies:
            if denied := self._denied(text, question):
                return denied
        for text in matched.policies:
            if missed := self._not_listed(text, question):
                return missed
        skill = matched.skill
        if question is not None and skill.text.ended(question.at) and not self._excepted(question):
            return skill.text.expired
        return self._denied(skill, question) or self._skill(skill, question)

    def _denied(self, text: MatchedText, question: Question | None) -> Finding | None:
        if question is not None and text.text.ref is not None and _over(text, question):
            return None
        for rule in text.deny:
            if self._truth(rule, question) is Truth.NO:
                continue
            # If this line is removed, no two humans can ever lift a deny, however they marked it.
            if question is not None and rule.overridable and self._excepted(question):
                continue
            if text.text.mode is Mode.ENFORCE:
                return rule.finding
            self._observe(rule.finding.reason)
            return None
        return None

    def _not_listed(self, text: MatchedText, question: Question | None) -> Finding | None:
        if text.text.allow is None or (question is not None and _over(text, question)):
            return None
        if any(self._truth(rule, question) is Truth.YES for rule in text.allow):
            return None
        if any(self._truth(rule, question) is not Truth.NO for rule in text.approvable):
            return None
        if question is not None and self._excepted(question):
            return None
        if text.text.mode is Mode.ENFORCE:
            return text.text.not_allowed
        self._observe(text.text.not_allowed.reason)
        return None

    def _skill(self, skill: MatchedText, question: Question | None) -> Finding:
        for rule in skill.approvable:
            if self._truth(rule, question) is not Truth.NO:
                return rule.finding
        for rule in skill.allow:
            if self._truth(rule, question) is Truth.YES:
                return rule.finding
        if question is not None and (grant := self._excepted(question)):
            reason = f"exception:{grant.id} -- {grant.by[0]} and {grant.by[1]} let it through"
            return Finding(Outcome.ALLOW, "exception", reason, "exception.granted")
        return skill.text.not_allowed

    def _truth(self, rule: Rule, question: Question | None) -> Truth:
        if rule.guard is ALWAYS or question is None:
            return Truth.YES
        truth = rule.guard.holds(question)
        if truth is Truth.UNTOLD:
            self._note_untold(rule.finding.rule, rule.guard.untold(question))
        return truth

    def _excepted(self, question: Question) -> BreakGlass | None:
        """Return the break-glass grant that covers the question, and remember that it was needed."""
        for grant in question.exceptions:
            if covers(grant, question, self.matched.action):
                self.exception = grant
                return grant
        return None

    # --- what is asked of an action that may be done ---

    def _unmet(self, question: Question) -> Finding | None:
        for text in self._in_force(question):
            for requirement in text.require:
                truth = requirement.guard.holds(question)
                if truth is Truth.NO:
                    continue
                if truth is Truth.UNTOLD:
                    self._note_untold(requirement.place, requirement.guard.untold(question))
                if failing := requirement.failing(question):
                    finding = requirement.finding(failing)
                    if text.text.mode is Mode.ENFORCE:
                        return finding
                    self._observe(finding.reason)
        return None

    def _used_up(self, standing: Standing, question: Question) -> Finding | None:
        for text in self._in_force(question):
            for rule in text.limits:
                limit = rule.limit(standing.agent)
                self.limits.append(limit)
                used = question.uses.get(limit.key)
                if used is None:
                    self._note_untold(rule.place, ["uses"])
                if used is not None and used < limit.most:
                    continue
                finding = rule.finding(standing.agent)
                if text.text.mode is Mode.ENFORCE:
                    return finding
                self._observe(finding.reason)
        return None

    def _unapproved(self, standing: Standing, question: Question) -> Finding | None:
        missing: Finding | None = None
        for text in self._in_force(question):
            for rule in text.approvable if text is self.matched.skill else text.approve:
                if rule.hold is None or self._truth(rule, question) is Truth.NO:
                    continue
                if text.text.mode is Mode.OBSERVE:
                    self._observe(rule.finding.reason)
                    continue
                self.holds.append(rule.hold)
                if missing is None and not rule.hold.satisfied(question.approvers, standing.agent.anchor):
                    missing = rule.finding
        return missing

    def _granted(self, found: Finding, question: Question) -> Finding:
        """Return the finding of an ALLOW: the line that allows, or the humans who said yes."""
        if not self.holds:
            return found
        subject = found.reason.partition(" -- ")[0]
        reason = f"{subject} -- action approved by {', '.join(sorted(set(question.approvers)))}"
        return Finding(
            Outcome.ALLOW, "approval", reason, "approval.granted", found.rule, found.pattern, policy=found.policy
        )

    def _redact(self, question: Question) -> None:
        fields = {field for text in self._in_force(question) for listed in text.redact for field in listed}
        self.redact = tuple(sorted(fields))

    def _in_force(self, question: Question) -> Iterable[MatchedText]:
        yield from (text for text in self.matched.policies if not _over(text, question))
        yield self.matched.skill

    def _note_untold(self, place: str, names: Iterable[str]) -> None:
        note = f"{place} {', '.join(names)}"
        if note not in self.untold:
            self.untold.append(note)

    def _observe(self, reason: str) -> None:
        self.observed = f"{self.observed}; {reason}" if self.observed else reason


def _over(text: MatchedText, question: Question) -> bool:
    """Say whether a policy's time is over; a skill's is asked for elsewhere, since it ends in a DENY."""
    return text.text.ref is not None and text.text.ref.kind == "policy" and text.text.ended(question.at)


def covers(grant: BreakGlass, question: Question, action: str) -> bool:
    """Say whether a break-glass grant is for this agent, action, target and time."""
    return (
        grant.agent == question.credential.agent
        and grant.since <= question.at < grant.until
        and read_glob(grant.target).fits(question.target)
        and bool(Matcher([(grant.action, True)], allow=True).match(action))
    )


__all__: Sequence[str] = ["Matched", "Weighing", "covers", "match"]
