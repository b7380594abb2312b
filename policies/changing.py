"""Finds the smallest change that would turn a decision, by trying it: what stands in the way, one after the other.

    add "deploy:production" to allow of skill deploy-v2 (policies/deploy-v2.yaml:2:1) and raise its version
    remove "infra:*" from deny of policy no-infra (policies/no-infra.yaml:7:3) and raise its version
    be asked within mon tue wed thu fri 09:00-17:00 Europe/Berlin, next at 2026-01-05T08:00:00+00:00
    send header x-ticket like "OPS-*"
    have it approved by 2 of *@acme.test

Each step is applied to the compiled rules or to the question, and the question is put again: what is returned is
known to turn the decision. What the asker can do is preferred to a change of a text. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from mappings.actions import canonical_action
from policies.asking import asked_so
from policies.conditions import Truth
from policies.patterns import Matcher
from policies.rules import PASSES, Finding, Rule, Rules, TextRules
from policies.standing import Boundaries, Standing
from policies.values import Agent, CrossGrant, Hold, Human, Organisation, Outcome, Question, State, TextRef
from policies.weighing import MatchedText, Weighing, match

MOST_STEPS = 16
"""Things in the way of one action; a site with more has other worries."""

type Step = tuple[str, Standing, Question]
"""What to do, and what then holds."""


def changes(standing: Standing, question: Question, outcome: Outcome) -> tuple[str, ...]:
    """Return what turns an ALLOW into a DENY, or anything else into an ALLOW; () when nothing known here does."""
    if outcome is Outcome.ALLOW:
        return _forbidding(standing, question)
    steps: list[str] = []
    for _ in range(MOST_STEPS):
        step = _next(standing, question)
        if step is None:
            return ()
        words, standing, question = step
        if not words:
            return tuple(dict.fromkeys(steps))
        steps.append(words)
    return ()


def _forbidding(standing: Standing, question: Question) -> tuple[str, ...]:
    skill = standing.rules.skill
    action = canonical_action(question.action)
    if skill.ref is None:
        return ()
    file = skill.not_allowed.rule.rsplit(":", 2)[0]
    then = _another_version(standing, "skill", skill.ref.id)
    return (f'add "{action}" to deny of skill {skill.ref.id} ({file}) and {then}',)


def _next(standing: Standing, question: Question) -> Step | None:
    """Return the step past whatever is in the way; one without words when nothing is, None when none is known."""
    barred = _admitted(standing, question)
    if barred is not None:
        return barred if barred[0] else None
    weighing = Weighing(match(standing.rules, question.action), question, standing.agent)
    found = weighing.weigh()
    if found.outcome is Outcome.ALLOW:
        return "", standing, question
    trial = _Trial(standing, question, weighing, found)
    match found.code.partition(".")[2]:
        case "denied":
            return trial.without_the_line()
        case "not-in-allow-list" | "no-skill":
            return trial.with_a_line()
        case "expired":
            return trial.with_a_later_end()
        case "requirement":
            return trial.with_the_header()
        case "limit":
            return trial.with_uses_left()
        case "needs-approval":
            return trial.with_approval()
        case _:
            return None


# --- who acts, and where ---


def _admitted(standing: Standing, question: Question) -> Step | None:
    """Return the step past what the registry forbids; None when nothing is, without words when none is known."""
    agent, human, at = standing.agent, standing.human, question.at
    if standing.inactive(at) is not PASSES:
        freed = replace(standing, agent=_revived(agent, agent.state_at(at)))
        return _reviving("agent", agent.id, agent.state_at(at), standing.place), freed, question
    if standing.anchor_inactive(at) is not PASSES:
        freed = replace(standing, human=_revived(human, human.state_at(at)))
        return _reviving("human", human.id, human.state_at(at), ""), freed, question
    boundaries = standing.boundaries
    for name in (agent.org, human.org):
        organisation = boundaries.organisations.get(name)
        if organisation is not None and organisation.state is not State.ACTIVE:
            active = {**boundaries.organisations, name: replace(organisation, state=State.ACTIVE)}
            return _reviving("organisation", name, organisation.state, ""), _bounded(standing, active), question
    into = _foreign_to(standing, question)
    return None if into is None else _crossing(standing, question, into)


def _revived[O: (Agent, Human)](one: O, state: State) -> O:
    """Take away what stands in the way now: an end first, and what is written below it after that."""
    return replace(one, expires=None) if state is State.EXPIRED else replace(one, state=State.ACTIVE)


def _reviving(kind: str, name: str, state: State, place: str) -> str:
    """Say how; "" where it is final."""
    if state is State.REVOKED:
        return ""
    how = 'give a later "expires"' if state is State.EXPIRED else 'give "state: active"'
    return f"{how} to {kind} {name}" + (f" ({place})" if place else "")


def _foreign_to(standing: Standing, question: Question) -> str | None:
    """Return the organisation that does not let the agent in; "" when it cannot be told."""
    foreign = standing.outside(question.at)
    if foreign is PASSES:
        foreign = standing.foreign(question.target, question.action, question.at)
    if foreign is PASSES:
        return None
    if foreign.code == "org.different":
        return standing.human.org
    owner = foreign.reason.removeprefix("org:").partition(" -- ")[0]
    return "" if owner == standing.agent.org else owner


def _crossing(standing: Standing, question: Question, into: str) -> Step:
    agent, boundaries = standing.agent, standing.boundaries
    home = boundaries.organisations.get(into)
    if not into or not _is_action(question.action) or (home is not None and home.state is not State.ACTIVE):
        return "", standing, question
    action = canonical_action(question.action)
    grant = CrossGrant(agent.org, into, (agent.id,), (action,), None)
    shown = f'{{of: {agent.org}, into: {into}, agents: ["{agent.id}"], actions: ["{action}"]}}'
    opened = replace(standing, boundaries=Boundaries(boundaries.organisations, (*boundaries.grants, grant)))
    return f'add {shown} to "cross_grants" of the registry', opened, question


def _bounded(standing: Standing, organisations: dict[str, Organisation]) -> Standing:
    return replace(standing, boundaries=Boundaries(organisations, standing.boundaries.grants))


# --- what the rules say ---


class _Trial:
    """One thing in the way, and the rules it stands in."""

    def __init__(self, standing: Standing, question: Question, weighing: Weighing, found: Finding) -> None:
        self.standing = standing
        self.question = question
        self.texts = weighing.matched.texts
        self.found = found

    def without_the_line(self) -> Step | None:
        """A deny line that counts: be asked so that it does not, or take it out."""
        line = next(rule for text in self.texts for rule in text.deny if rule.finding is self.found)
        if asked := asked_so(line.guard, self.question, Truth.NO):
            return asked[0], self.standing, asked[1]
        kind, name = self._home(self.found)
        words = f'remove "{line.pattern}" from deny of {kind} {name} ({line.place}) and {self._then(kind, name)}'
        # By place: a text that several extend is one text.
        gone = self._edited(lambda text: replace(text, deny=_but(text.deny, line.place)))
        if any(text.ref is not None and text.ref.id == name and _empty(text) for text in gone.rules.policies):
            words = f"take out policy {name} ({line.place.rsplit(':', 2)[0]}), which says nothing else"
        return words, gone, self.question

    def with_a_line(self) -> Step | None:
        """No allow line that counts: be asked so that one does, or write one."""
        text = next(each for each in self.texts if each.text.not_allowed is self.found)
        if asked := self._permitted(text):
            return asked[0], self.standing, asked[1]
        if not _is_action(self.question.action):
            return None
        action = canonical_action(self.question.action)
        rule = Rule(action, Finding(Outcome.ALLOW, "skill", "", "skill.allowed"))
        ref = text.text.ref
        if ref is None:
            words = f'give agent {self.standing.agent.id} a skill that allows "{action}" ({self.found.rule})'
        else:
            then = self._then(ref.kind, ref.id)
            words = f'add "{action}" to allow of {ref.kind} {ref.id} ({self.found.rule}) and {then}'
        return words, self._edited(lambda each: _allowing(each, rule) if each is text.text else each), self.question

    def _permitted(self, text: MatchedText) -> tuple[str, Question] | None:
        lines = (*text.allow, *text.approvable)
        return next(filter(None, (asked_so(rule.guard, self.question, Truth.YES) for rule in lines)), None)

    def with_a_later_end(self) -> Step | None:
        """A skill whose time is over."""
        ref = self.standing.rules.skill.ref
        if ref is None:
            return None
        later = self._edited(lambda text: replace(text, until=None) if text.ref is ref else text)
        words = f'give skill {ref.id} a later "until" ({self.found.rule}) and {self._then(ref.kind, ref.id)}'
        return words, later, self.question

    def with_the_header(self) -> Step | None:
        """A header that is missing or wrong."""
        requirement = next(one for text in self.texts for one in text.require if one.place == self.found.rule)
        sent = "".join(requirement.like[0].pieces) or "1"
        attributes = {**self.question.attributes, f"header.{requirement.header}": sent}
        words = f"send header {requirement.header} like {requirement.shown}"
        return words, self.standing, replace(self.question, attributes=attributes)

    def with_uses_left(self) -> Step | None:
        """A limit that is reached."""
        rule = next(one for text in self.texts for one in text.limits if one.place == self.found.rule)
        limit = rule.limit(self.standing.agent)
        asked = replace(self.question, uses={**self.question.uses, limit.key: max(limit.most - 1, 0)})
        if limit.most:
            return f"be asked when fewer than {limit.most} uses lie within the last {rule.per}", self.standing, asked
        kind, name = self._home(self.found)
        words = f'raise "most" of the limit of {kind} {name} ({rule.place}) and {self._then(kind, name)}'
        raised = self._edited(lambda text: replace(text, limits=_but(text.limits, rule.place)))
        return words, raised, asked

    def with_approval(self) -> Step | None:
        """Humans who have not said yes."""
        line = next(rule for text in self.texts for rule in text.approve if rule.finding is self.found)
        if line.hold is None:
            return None
        asked = replace(self.question, approvers=(*self.question.approvers, *_humans(line.hold)))
        if not line.hold.satisfied(asked.approvers, self.standing.agent.anchor):
            return None
        who = " or ".join(line.hold.who)
        but = "" if line.hold.anchor else f", not by {self.standing.agent.anchor}"
        return f"have it approved by {line.hold.approvers} of {who}{but}", self.standing, asked

    def _home(self, found: Finding) -> tuple[str, str]:
        """Return kind and id of the text that a line stands in, which others may extend."""
        kind, _, name = found.reason.partition(" -- ")[0].partition(":")
        return kind, name

    def _then(self, kind: str, name: str) -> str:
        return _another_version(self.standing, kind, name)

    def _edited(self, edit: Callable[[TextRules], TextRules]) -> Standing:
        rules = self.standing.rules
        return replace(self.standing, rules=Rules(tuple(map(edit, rules.policies)), edit(rules.skill)))


def _another_version(standing: Standing, kind: str, name: str) -> str:
    """Say what makes another version of a text count for this agent."""
    refs = [(text.ref, text.parts) for text in standing.rules.texts if text.ref is not None]
    extending = [ref.id for ref, parts in refs if (ref.kind, ref.id) != (kind, name) and _among(kind, name, parts)]
    follow = [f"raise {other} to extend that" for other in extending]
    if kind == "skill" and "@" in standing.agent.pin:
        follow.append(f"pin agent {standing.agent.id} to it")
    return ", ".join(["raise its version", *follow])


def _among(kind: str, name: str, parts: Iterable[TextRef]) -> bool:
    return any((part.kind, part.id) == (kind, name) for part in parts)


def _is_action(text: str) -> bool:
    try:
        canonical_action(text)
    except ValueError:
        return False
    return True


def _but[T](matcher: Matcher[T], place: str) -> Matcher[T]:
    """Return a deny list, or a list of limits, without the line that stands there."""
    kept: Iterable[tuple[str, T]] = (each for each in matcher.rules if getattr(each[1], "place", "") != place)
    return Matcher(kept, allow=False)


def _empty(text: TextRules) -> bool:
    return text.allow is None and not any((text.deny, text.approve, text.require, text.limits, text.redact))


def _allowing(text: TextRules, rule: Rule) -> TextRules:
    rules = text.allow.rules if text.allow is not None else ()
    return replace(text, allow=Matcher([*rules, (rule.pattern, rule)], allow=True))


def _humans(hold: Hold) -> list[str]:
    """Return as many humans as are needed, made up from the globs."""
    made_up = [glob.replace("*", f"someone{number}") for glob in hold.who for number in range(hold.approvers + 1)]
    return list(dict.fromkeys(made_up))
