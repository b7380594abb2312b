"""What no agent may ever be allowed, whatever the conditions: decided over the patterns themselves, not by trying.

A line that allows counts when its conditions can hold, a line that denies only when they always do; so what is
found fine is fine at any time, from anywhere, on any target. What is found is the shortest action that shows it.

    never: {actions: ["*:destroy"]}
    agent "ops-bot" may do "infra:destroy" by "infra:**" (policies/ops-v1.yaml:4:3)

A break-glass grant, which takes two humans, is no matter of texts and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache

from policies.conditions import Condition, Guard, Truth
from policies.deciding import Policies
from policies.inclusion import Language, UndecidedError, witness
from policies.patterns import Matcher
from policies.rules import Rule, Rules, TextRules
from policies.standing import Standing
from policies.testschema import NeverEntry
from policies.values import Credential, Mode, Question, State

type Shown = Mapping[str, Sequence[str]]


def violations(policies: Policies, never: NeverEntry, known: Sequence[str] = ()) -> Iterator[str]:
    """Yield why an invariant does not hold; `known` are actions that say more to a reader than the shortest."""
    standings = [each for each in policies.standings.values() if _about(each, never)]
    if not standings:
        yield f'no agent is called {" or ".join(never.agents)}; name one of the registry, or give one under "agents"'

    @cache  # agents with the same texts share their rules
    def ways(rules: Rules) -> tuple[str, ...]:
        return tuple(_ways(rules, never, known))

    for standing in standings:
        who = f'agent "{standing.agent.id}"'
        if standing.agent.mode is Mode.OBSERVE:
            yield f"{who} is in observe mode, so nothing is kept from it ({standing.place})"
            continue
        for way in ways(standing.rules):
            yield f"{who} {way}"


def _about(standing: Standing, never: NeverEntry) -> bool:
    named = any(fnmatchcase(standing.agent.id, glob) for glob in never.agents)
    return named and standing.agent.state is not State.REVOKED


def _ways(rules: Rules, never: NeverEntry, known: Sequence[str]) -> Iterator[str]:
    told: dict[tuple[str, str], None] = {}
    for environment in never.environment or (None,):
        way = _Way(rules, environment, never.hold)
        for pattern in never.actions:
            for rule in way.permitting():
                found = way.through(rule, pattern, known)
                if found:
                    told[found, f'by "{rule.pattern}" ({rule.finding.rule})'] = None
    return (f"{may} {by}" for may, by in told)


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """What stands between an agent's skill and an ALLOW, in one environment or (None) in any."""

    rules: Rules
    environment: str | None
    hold: bool

    def permitting(self) -> Iterator[Rule]:
        """Yield the lines of the skill that can permit something."""
        skill = self.rules.skill
        lists = [skill.allow] if self.hold else [skill.allow, skill.approvable]
        for matcher in lists:
            for _, rule in matcher.rules if matcher else ():
                if can_hold(rule.guard, self.environment):
                    yield rule

    def through(self, rule: Rule, pattern: str, known: Sequence[str]) -> str:
        """Return what the line lets through that never may be; "" when nothing."""
        required = [[Language(pattern)], [Language(rule.pattern, allow=True)], *self._listed()]
        barred = list(self._barred())
        for action in known:
            if _in_all(action, required) and not _in_one(action, barred):
                return f'may do "{action}"'
        try:
            found = witness(required, barred)
        except UndecidedError:
            return f'may do something like "{pattern}", as far as can be told,'
        return f'may do "{found}"' if found else ""

    def _in_force(self) -> Iterator[TextRules]:
        # One that ends says nothing some day, and "never" is longer.
        return (text for text in self.rules.policies if text.mode is Mode.ENFORCE and text.until is None)

    def _listed(self) -> Iterator[list[Language]]:
        for text in self._in_force():
            if text.allow is not None:
                lines = [*text.allow.rules, *text.approvable.rules]
                yield [
                    Language(pattern, allow=True) for pattern, rule in lines if can_hold(rule.guard, self.environment)
                ]

    def _barred(self) -> Iterator[Language]:
        skill = self.rules.skill
        for text in (*self._in_force(), skill):
            yield from self._certain(text.deny)
            yield from (Language(pattern) for pattern, limit in text.limits.rules if limit.most == 0)
            if self.hold and text is not skill:
                yield from self._certain(text.approve)
        if self.hold:
            yield from self._certain(skill.approvable, allow=True)

    def _certain(self, lines: Matcher[Rule], *, allow: bool = False) -> Iterator[Language]:
        for pattern, rule in lines.rules:
            if always_holds(rule.guard, self.environment):
                yield Language(pattern, allow)


def _in_all(action: str, groups: Iterable[Sequence[Language]]) -> bool:
    return all(_in_one(action, group) for group in groups)


def _in_one(action: str, group: Sequence[Language]) -> bool:
    return any(Matcher([(each.pattern, True)], allow=each.allow).match(action) for each in group)


# --- conditions ---


def can_hold(guard: Guard, environment: str | None = None) -> bool:
    """Say whether a line that permits may count at some time, for some request (in an environment)."""
    if any(_told(condition, environment) in (Truth.NO, Truth.UNTOLD) for condition in guard.when):
        return False
    return not guard.unless or not all(_told(condition, environment) is Truth.YES for condition in guard.unless)


def always_holds(guard: Guard, environment: str | None = None) -> bool:
    """Say whether a line that forbids counts at any time, for every request (in an environment)."""
    if guard.until is not None:
        return False
    if not all(_told(condition, environment) in (Truth.YES, Truth.UNTOLD) for condition in guard.when):
        return False
    return not guard.unless or any(_told(condition, environment) is Truth.NO for condition in guard.unless)


def _told(condition: Condition, environment: str | None) -> Truth | None:
    """Return what a condition says whatever the rest of the question is; None when that depends."""
    if environment is None or condition.name != "environment":
        return None
    check: Callable[[Question], Truth] = condition.check
    return check(Question(Credential("", ""), "", "", environment, datetime.min.replace(tzinfo=UTC), ""))
