"""What is wrong with the lines of one text, whoever it is for; pure.

    policies/a.yaml:4:3: "deploy:staging" allows nothing: "deploy:*" (policies/a.yaml:8:3) denies it; take one of ...
    policies/a.yaml:9:3: "deploy:staging" is part of "deploy:*" (policies/a.yaml:3:3); take one of the two out

Whether a line covers another is decided exactly (`policies.inclusion`); where that search is given up, nothing is
found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from policies.conditions import ALWAYS, Guard, always, compile_guard
from policies.conditionschema import Conditions, moment
from policies.inclusion import Cover, Language, UndecidedError
from policies.invariants import always_holds
from policies.lintchecks import Lint
from policies.rulebook import Candidate
from policies.rules import Rule, TextRules
from policies.schema import ApproveEntry, DenyEntry, LimitEntry, RuleEntry

LISTS = ("deny", "allow", "approve", "require", "limits")


@dataclass(frozen=True, slots=True)
class Written:
    """A line as its own text writes it."""

    kind: str
    pattern: str
    place: str
    entry: RuleEntry | LimitEntry | None
    """None for a plain pattern."""
    guard: Guard = ALWAYS


def written(candidate: Candidate, *kinds: str) -> Iterator[Written]:
    """Yield the lines of some lists of a text, without those it inherits."""
    for kind in kinds or LISTS:
        for index, entry in enumerate(getattr(candidate.file, kind)):
            place = str(candidate.document.place([kind, index]))
            if isinstance(entry, str):
                yield Written(kind, entry, place, None)
            elif isinstance(entry, LimitEntry):
                yield Written(kind, entry.action, place, entry)
            else:
                until = moment(entry.until) if entry.until else None
                yield Written(kind, entry.action, place, entry, compile_guard(entry.when, entry.unless, until))


def lint_lines(candidate: Candidate, rules: TextRules, at: datetime) -> Iterator[Lint]:
    """Yield what is wrong with the lines of a text; `rules` are its compiled ones, with those it inherits."""
    yield from _dead(candidate, rules)
    yield from _shadowed(candidate, rules)
    yield from _twice(candidate)
    for line in written(candidate):
        yield from _conditions(line)
        yield from _ended(line, at)
        if isinstance(line.entry, LimitEntry) and line.entry.most == 0:
            yield Lint("limit-of-zero", line.place, f'a limit of 0 denies "{line.pattern}"; say so with a deny')
        if line.kind == "deny" and not (isinstance(line.entry, DenyEntry) and line.entry.why):
            yield Lint("deny-without-why", line.place, f'"{line.pattern}" is denied and nobody says why; add "why"')
    until = candidate.file.until
    if until is not None and moment(until) <= at:
        place = str(candidate.document.place(["until"]))
        named = f'{candidate.ref.kind} "{candidate.ref.id}"'
        yield Lint("ended", place, f"{named} ended on {until}; remove it, or give it another end")


# --- lines and others ---


class _Lines:
    """Lines without conditions, to be asked which of them cover another."""

    def __init__(self, rules: Sequence[tuple[str, Rule]], *, allow: bool) -> None:
        self._rules = [rule for _, rule in rules]
        self._cover = Cover(Language(pattern, allow) for pattern, _ in rules)
        self._at = {rule.place: number for number, rule in enumerate(self._rules)}

    def over(self, pattern: str, place: str, *, allow: bool) -> list[Rule]:
        """Return the line, other than the one at a place, that covers a pattern, or those that do together."""
        try:
            numbers = self._cover.over(Language(pattern, allow), self._at.get(place, -1))
        except UndecidedError:
            return []
        return [self._rules[number] for number in numbers]


def _named(rules: Sequence[Rule]) -> str:
    """Name the lines that cover another."""
    named = [f'"{rule.pattern}" ({rule.place})' for rule in rules[:2]]
    return named[0] if len(named) == 1 else f"{' with '.join(named)}{' and others' if len(rules) > 2 else ''}"


def _dead(candidate: Candidate, rules: TextRules) -> Iterator[Lint]:
    bars = [(pattern, rule) for pattern, rule in rules.deny.rules if always_holds(rule.guard) and not rule.overridable]
    lines = _Lines(bars, allow=False)
    for line in written(candidate, "allow", "approve"):
        if by := lines.over(line.pattern, "", allow=True):
            told = f'"{line.pattern}" allows nothing: {_named(by)} denies it; take one of the two out'
            yield Lint("dead-allow", line.place, told)


def _shadowed(candidate: Candidate, rules: TextRules) -> Iterator[Lint]:
    for kind, matcher in (("allow", rules.allow), ("deny", rules.deny)):
        broad = [(pattern, rule) for pattern, rule in (matcher.rules if matcher else ()) if rule.guard is ALWAYS]
        permits = kind == "allow"
        lines = _Lines(broad, allow=permits)
        firm = _Lines([each for each in broad if not each[1].overridable], allow=permits)
        for line in written(candidate, kind):
            if line.entry is not None and line.entry.why:  # type: ignore[union-attr]
                continue  # it is there for its words
            overridable = isinstance(line.entry, DenyEntry) and line.entry.overridable == "break-glass"
            by = (lines if overridable else firm).over(line.pattern, line.place, allow=permits)
            if by and by[0].pattern != line.pattern:
                told = f'"{line.pattern}" is part of {_named(by)}; take one of the two out'
                yield Lint("shadowed", line.place, told)


def _twice(candidate: Candidate) -> Iterator[Lint]:
    first: dict[object, str] = {}
    for line in written(candidate):
        said = line.entry.model_copy(update={"why": ""}).model_dump_json() if line.entry else ""
        if line.entry is not None and said == _plain(line):
            said = ""
        place = first.setdefault((line.kind, line.pattern, said), line.place)
        if place != line.place:
            yield Lint("duplicate", line.place, f'"{line.pattern}" stands here and at {place}; keep one')


def _plain(line: Written) -> str:
    """Return how a line would be dumped if it were a pattern alone."""
    models = {"allow": RuleEntry, "deny": DenyEntry, "approve": ApproveEntry}
    model = models.get(line.kind)
    return model(action=line.pattern).model_dump_json() if model else ""


# --- conditions ---


def _conditions(line: Written) -> Iterator[Lint]:
    if not isinstance(line.entry, RuleEntry):
        return
    when, unless = line.entry.when, line.entry.unless
    for name in _leaving_nothing_out(when):
        told = f'the condition "{name}" leaves nothing out; remove it, or name what is meant'
        yield Lint("always-true", line.place, f'"{line.pattern}": {told}')
    if unless is None:
        return
    met = set(_leaving_nothing_out(unless))
    if met == unless.model_fields_set or _within(unless, when):
        # What cannot be told takes an allow away and lets anything else count.
        check = "never-counts" if line.kind == "allow" else "always-true"
        counts = "never counts" if line.kind == "allow" else "counts only where its conditions cannot be told"
        told = f'{counts}: "unless" holds whenever it could; narrow what stands under "unless"'
        yield Lint(check, line.place, f'"{line.pattern}" {told}')
    else:
        for name in sorted(met):
            told = f'the condition "{name}" under "unless" leaves nothing out; remove it'
            yield Lint("always-true", line.place, f'"{line.pattern}": {told}')


def _leaving_nothing_out(conditions: Conditions | None) -> Iterator[str]:
    """Yield the conditions that are met by whatever there is."""
    if conditions is None:
        return
    if conditions.time is not None and always(conditions.time):
        yield "time"
    networks = [ipaddress.ip_network(text) for text in conditions.client or ()]
    if {network.version for network in networks if network.prefixlen == 0} == {4, 6}:
        yield "client"
    if conditions.target is not None and "*" in conditions.target:
        yield "target"


def _within(unless: Conditions, when: Conditions | None) -> bool:
    """Say whether ``unless`` holds whenever ``when`` does: all that it asks for, ``when`` asks for as well."""
    return when is not None and all(getattr(unless, name) == getattr(when, name) for name in unless.model_fields_set)


def _ended(line: Written, at: datetime) -> Iterator[Lint]:
    if line.guard.until is not None and line.guard.until <= at:
        day = line.guard.until.date().isoformat()
        yield Lint("ended", line.place, f'"{line.pattern}" ended on {day}; remove it, or give it another end')
