"""What is wrong between a text and the agents and humans it is for; pure.

    policies/ops.yaml:4:3: "deploy:*" is kept from every agent with this skill by policy "no-prod", which wins; ...

Agents that are revoked or expired are left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property

from mappings.documents import Document
from policies.deciding import Policies
from policies.inclusion import Language, UndecidedError, meet
from policies.invariants import Passage, can_hold
from policies.knownactions import KnownActions
from policies.lintchecks import Lint
from policies.lintlines import written
from policies.rulebook import Candidate, Rulebook
from policies.rules import Rule, Rules, TextRules
from policies.schema import AgentsFile, ApproveEntry, DenyEntry
from policies.standing import Standing
from policies.values import Human, State, TextRef

_PRODUCTION = "production"


@dataclass(frozen=True, eq=False)
class SiteView:
    """Everything that is loaded, as lint looks at it."""

    policies: Policies
    book: Rulebook
    agents: Document
    file: AgentsFile
    at: datetime
    known: KnownActions
    tested: frozenset[str]
    """Skills that some test is about."""

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """The agents that act, or would if nobody had stopped them."""
        gone = (State.REVOKED, State.EXPIRED)
        return tuple(each for each in self.policies.standings.values() if each.agent.state_at(self.at) not in gone)

    @cached_property
    def active_humans(self) -> tuple[Human, ...]:
        """The humans whose word counts."""
        return tuple(each for each in self.policies.humans.values() if each.state_at(self.at) is State.ACTIVE)

    @cached_property
    def _indexes(self) -> dict[tuple[str, str], int]:
        ids = {"agents": [each.id for each in self.file.agents], "humans": [each.id for each in self.file.humans]}
        return {(kind, id_): index for kind, listed in ids.items() for index, id_ in enumerate(listed)}

    def place(self, kind: str, name: str) -> str:
        """Return where an agent or a human stands."""
        return str(self.agents.place([kind, self._indexes[kind, name]]))

    @cached_property
    def _under(self) -> dict[TextRef, list[Standing]]:
        under: dict[TextRef, list[Standing]] = {}
        for standing in self.standings:
            agent = standing.agent
            for ref in (*agent.policies, *([agent.skill] if agent.skill else [])):
                under.setdefault(ref, []).append(standing)
        return under

    def under(self, candidate: Candidate) -> list[Standing]:
        """Return the agents that have a skill, or that a policy is about."""
        return self._under.get(candidate.ref, [])

    @cached_property
    def extended(self) -> frozenset[TextRef]:
        """The texts that others are put together from."""
        candidates = (each for versions in self.book.candidates.values() for each in versions.values())
        return frozenset(ref for each in candidates for ref in self.book.rules(each).parts[1:])


# --- texts ---


def lint_text(site: SiteView, candidate: Candidate) -> Iterator[Lint]:
    """Yield what is wrong between a text and those it is for."""
    rules = site.book.rules(candidate)
    yield from lint_words(site, candidate)
    yield from _idle(site, candidate, rules)
    yield from _nobody(site, candidate)
    yield from _extended(site, candidate)
    if candidate.ref.kind == "skill":
        yield from _uses(site, candidate)
        yield from _passages(site, candidate, rules)


def lint_words(site: SiteView, candidate: Candidate) -> Iterator[Lint]:
    """Yield the patterns of a text that no action fits."""
    for line in written(candidate):
        if site.known.fits(line.pattern):
            continue
        near = site.known.near(line.pattern)
        if near:
            yield Lint("unknown-action", line.place, f'no known action fits "{line.pattern}"; did you mean "{near}"')
        else:
            remedy = "name it in a mapping rule, unless agents ask about it themselves"
            yield Lint("unnamed-action", line.place, f'no known action fits "{line.pattern}"; {remedy}')


def _idle(site: SiteView, candidate: Candidate, rules: TextRules) -> Iterator[Lint]:
    skill = candidate.ref.kind == "skill"
    skills = (
        [rules] if skill else list({id(one.rules.skill): one.rules.skill for one in site.under(candidate)}.values())
    )
    allowed = {pattern for each in skills for pattern in _permitted(each)}
    if not skills or (skill and not allowed):
        return
    for line in written(candidate, "require", "limits", *(() if skill else ("approve",))):
        if not any(_meet(line.pattern, each) for each in allowed):
            told = f'no agent that this is for may do "{line.pattern}" anyhow; correct the pattern, or take it out'
            yield Lint("idle-rule", line.place, told)


def _permitted(rules: TextRules) -> Iterator[str]:
    for matcher in (rules.allow, rules.approvable):
        yield from (pattern for pattern, _ in (matcher.rules if matcher else ()))


def _meet(one: str, allowed: str) -> bool:
    try:
        return meet(Language(one), Language(allowed, allow=True))
    except UndecidedError:
        return True


def _nobody(site: SiteView, candidate: Candidate) -> Iterator[Lint]:
    for line in written(candidate, "approve", "deny"):
        if line.kind == "approve":
            yield from _approvers(site, candidate, line.pattern, line.place, line.entry)
        elif isinstance(line.entry, DenyEntry) and line.entry.overridable == "break-glass":
            able = [human for human in site.active_humans if any(token.valid(site.at) for token in human.tokens)]
            if len(able) < 2:
                told = f'nobody can make an exception from "{line.pattern}": it takes two active humans with tokens'
                yield Lint("no-exception", line.place, f'{told}; add tokens, or write "overridable: never"')


def _approvers(site: SiteView, candidate: Candidate, pattern: str, place: str, entry: object) -> Iterator[Lint]:
    wanted = entry.approvers if isinstance(entry, ApproveEntry) else ApproveEntry(action=pattern).approvers
    for standing in site.under(candidate):
        able = [
            human.id
            for human in site.active_humans
            if (wanted.anchor or human.id != standing.agent.anchor)
            and any(fnmatchcase(human.id, glob) for glob in wanted.who)
        ]
        if len(able) < wanted.count:
            needed = f"{wanted.count} must say yes to it" if wanted.count > 1 else "somebody must say yes to it"
            told = f'"{pattern}" can never be approved for agent "{standing.agent.id}": {needed}, {len(able)} may'
            yield Lint("no-approver", place, f'{told}; correct "approvers", or add humans')
            return


def _extended(site: SiteView, candidate: Candidate) -> Iterator[Lint]:
    for index, pin in enumerate(candidate.file.extends):
        name, _, version = pin.partition("@")
        in_force = site.policies.in_force.get((candidate.ref.kind, name))
        if in_force is not None and str(in_force.version) != version:
            told = f'extends "{pin}" and version {in_force.version} is in force; move the pin'
            place = str(candidate.document.place(["extends", index]))
            yield Lint("pinned-elsewhere", place, f'{candidate.ref.kind} "{candidate.ref.id}" {told}')


def _uses(site: SiteView, candidate: Candidate) -> Iterator[Lint]:
    name, place = candidate.ref.id, str(candidate.document.place(["skill"]))
    used = any(standing.agent.skill == candidate.ref for standing in site.policies.standings.values())
    if not used and candidate.ref not in site.extended:
        yield Lint("unused-skill", place, f'no agent has the skill "{name}" and no text extends it; remove it')
    if used and name not in site.tested:
        yield Lint("untested-skill", place, f'no test is about the skill "{name}"; write "{name}.test.yaml"')


# --- what a skill lets through ---


def _passages(site: SiteView, candidate: Candidate, rules: TextRules) -> Iterator[Lint]:
    with_it = list({id(one.rules): one.rules for one in site.under(candidate)}.values())
    if not with_it or rules.allow is None:
        return
    alone = Passage(Rules((), rules), None, hold=False)
    held_up = [Passage(each, None, hold=False) for each in with_it]
    there = [Passage(each, _PRODUCTION, hold=True) for each in with_it]
    for pattern, rule in rules.allow.rules:
        if not rule.place.startswith(f"{candidate.document.source}:") or not can_hold(rule.guard):
            continue  # inherited lines are told where they stand
        if _lets(alone, rule) and not any(_lets(each, rule) for each in held_up):
            told = f'"{pattern}" is kept from every agent with this skill by {_winner(with_it[0], rule)}'
            yield Lint("disagreement", rule.place, f"{told}; take it out here, or correct the policy")
        if "**" in pattern.split(":") and can_hold(rule.guard, _PRODUCTION):
            words = (word for word in _production(site.known) if any(_lets(each, rule, word) for each in there))
            if reached := next(words, ""):
                told = f'"{pattern}" lets agents do "{reached}"; name what they may do, or deny that'
                yield Lint("reaches-production", rule.place, told)


def _lets(passage: Passage, rule: Rule, action: str = "") -> bool:
    """Say whether anything, or an action, of a line gets through."""
    try:
        return bool(passage.through(rule, action)) if action else passage.anything(rule)
    except UndecidedError:
        return not action


def _winner(rules: Rules, rule: Rule) -> str:
    """Name a policy that keeps all of a line from an agent."""
    for text in rules.policies:
        if text.ref is not None and not _lets(Passage(Rules((text,), rules.skill), None, hold=False), rule):
            return f'policy "{text.ref.id}", which wins'
    return "its policies together, which win"


def _production(known: KnownActions) -> list[str]:
    """Return the words for what is done in production."""
    open_words = [word.replace("*", _PRODUCTION) for word in known.words if word.count("*") == 1 and word[-1] == "*"]
    named = [word for word in known.words if word.split(":")[-1] == _PRODUCTION]
    return sorted({*open_words, *named})
