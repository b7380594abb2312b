"""What no agent may ever be allowed, whatever the conditions: decided over the patterns themselves, not by trying.

A line that allows counts when its conditions can hold, a line that denies only when they always do; so what is
found fine is fine at any time, from anywhere, on any target. What is found is the shortest action that shows it.

    never: {actions: ["*:destroy"]}
    agent "ops-bot" may do "infra:destroy" by "infra:**" (policies/ops-v1.yaml:4:3)

A break-glass grant, which takes two humans, is no matter of texts and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache

from policies.conditions import Condition, Guard, Truth
from policies.deciding import Policies
from policies.inclusion import Language, UndecidedError, may_meet, meet, samples, witness
from policies.patterns import Matcher
from policies.rules import Rule, Rules
from policies.standing import Standing
from policies.testschema import NeverEntry
from policies.values import Credential, Mode, Question, State


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
    told: dict[str, None] = {}
    for environment in never.environment or (None,):
        passage = Passage(rules, environment, hold=never.hold)
        for pattern in never.actions:
            for rule in passage.permitting():
                try:
                    found = passage.through(rule, pattern, known)
                except UndecidedError:
                    found = f"{pattern} (too entangled to be told apart)"
                if found:
                    told[f'may do "{found}" by "{rule.pattern}" ({rule.place})'] = None
    return iter(told)


class Passage:
    """What stands between an agent's skill and an ALLOW, in one environment or (None) in any.

    With `hold`, what a human must say yes to does not get through.
    """

    def __init__(self, rules: Rules, environment: str | None, *, hold: bool) -> None:
        self._skill = rules.skill
        self._environment = environment
        self._hold = hold
        # A policy that ends says nothing some day, and "never" is longer.
        self._policies = [text for text in rules.policies if text.mode is Mode.ENFORCE and text.until is None]
        self._listed = [_Languages(lines) for lines in self._lists()]
        self._barred = _Languages(self._bars())

    def permitting(self) -> Iterator[Rule]:
        """Yield the lines of the skill that can permit something."""
        yield from self._permitting(self._skill.allow)
        if not self._hold:
            yield from self._permitting(self._skill.approvable, untold=True)

    def through(self, rule: Rule, pattern: str, known: Sequence[str] = ()) -> str:
        """Return an action that the line lets through and a pattern matches, a known one first; "" when there is none.

        Raises UndecidedError.
        """
        asked, line = Language(pattern), Language(rule.pattern, allow=True)
        single = next((each for each in (rule.pattern, pattern) if "*" not in each), "")
        for action in (single,) if single else known:
            if asked.has(action) and line.has(action) and self._lets(action):
                return action
        if single:
            return ""
        listed = [group.near(asked, rule.pattern) for group in self._listed]
        return witness([[asked], [line], *listed], self._barred.near(asked, rule.pattern)) or ""

    def anything(self, rule: Rule) -> bool:
        """Say whether the line lets anything through; raise UndecidedError."""
        line = Language(rule.pattern, allow=True)
        return any(self._lets(action) for action in samples(line)) or bool(self.through(rule, rule.pattern))

    def _lets(self, action: str) -> bool:
        return all(group.have(action) for group in self._listed) and not self._barred.have(action)

    def _permitting(self, lines: Matcher[Rule] | None, *, untold: bool = False) -> Iterator[Rule]:
        for _, rule in lines.rules if lines else ():
            if can_hold(rule.guard, self._environment, untold=untold):
                yield rule

    def _lists(self) -> Iterator[Iterator[Language]]:
        for text in self._policies:
            if text.allow is not None:
                lines = (*self._permitting(text.allow), *self._permitting(text.approvable, untold=True))
                yield (Language(rule.pattern, allow=True) for rule in lines)

    def _bars(self) -> Iterator[Language]:
        for text in (*self._policies, self._skill):
            yield from self._certain(text.deny)
            yield from (Language(pattern) for pattern, limit in text.limits.rules if limit.most == 0)
        if self._hold:
            for text in self._policies:
                yield from self._certain(text.approve)
            yield from self._certain(self._skill.approvable, allow=True)

    def _certain(self, lines: Matcher[Rule], *, allow: bool = False) -> Iterator[Language]:
        for pattern, rule in lines.rules:
            if always_holds(rule.guard, self._environment):
                yield Language(pattern, allow)


class _Languages:
    """Several languages, to be asked about one action or about what they have in common with a pattern."""

    def __init__(self, languages: Iterable[Language]) -> None:
        self._all = list(dict.fromkeys(languages))
        self._matchers = [
            Matcher([(each.pattern, True) for each in self._all if each.allow is allow], allow=allow)
            for allow in (False, True)
        ]
        self._meeting: dict[Language, list[Language]] = {}

    def have(self, action: str) -> bool:
        """Say whether an action is in one of them."""
        return any(matcher.match(action) for matcher in self._matchers)

    def near(self, asked: Language, pattern: str) -> list[Language]:
        """Return those that have an action in common with a language, and may have one with a pattern.

        The others change nothing, and a search through all of them together would be long.
        """
        if asked not in self._meeting:
            self._meeting[asked] = [each for each in self._all if meet(each, asked)]
        return [each for each in self._meeting[asked] if may_meet(each.pattern, pattern)]


# --- conditions ---


def can_hold(guard: Guard, environment: str | None = None, *, untold: bool = False) -> bool:
    """Say whether a line that permits may count at some time, for some request (in an environment).

    With `untold`, it counts also where a condition cannot be told, as a line that asks for approval does.
    """
    failing = (Truth.NO,) if untold else (Truth.NO, Truth.UNTOLD)
    if any(_told(condition, environment) in failing for condition in guard.when):
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
