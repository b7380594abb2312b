"""Learns from what an agent was seen to do which skill would have been enough; pure, and it puts nothing in force.

A line names one action exactly, never a pattern. It is narrowed to the environments that were seen, and to the targets,
or to what several targets begin with alike; never to times or clients, of which a few weeks prove nothing. What the
present rules ask beside (other conditions, dates, approvals, denials, requirements, limits) stays: so a learned skill
allows nothing that the present rules do not allow.

    seen: origin/web/a, origin/web/b, origin/web/c, origin/web/d        target: ["origin/web/*"]
    seen: origin/web/a                                                  target: ["origin/web/a"]
    seen: a target that was not told                                    no condition: it would not be met

What is risky is put up for approval unless the reader wants it otherwise: what executes, mints or changes permissions,
what destroys, and what is not plainly a read in production or where nobody could tell the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from mappings.documents import Document
from policies.conditions import is_cut
from policies.deciding import Policies
from policies.patterns import RESERVED_SEGMENTS
from policies.standing import Standing
from policies.values import Outcome, Question
from policies.weighing import Weighing, match

type Entries = Mapping[str, tuple[str, Any]]
"""The lines of the present texts by place: which list each stands in, and what is written there."""
type Risky = Literal["approve", "allow", "omit"]

FEW = 3
"""Targets, or beginnings of targets, that one line names; more are a sign of something that varies."""

_DESTROYS = ("destroy", "delete", "terminate", "purge", "drop", "wipe", "erase", "force-push")
_READS = frozenset({"read", "list"})
_READ_ACTIONS = ("health:", "deploy:plan", "data:read")
_UNTOLD = frozenset({"unknown", "conflict"})
_RISKY_WORDS = {"code:execute": "executes", "secret:": "mints", "iam:": "permissions", "money:": "moves money"}
"""Of the vocabulary: what an action says of itself where no attribute does."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One thing that an agent was seen to do."""

    question: Question
    record: str
    denied: str = ""
    """Why it was denied then; "" for what was allowed."""
    excepted: bool = False
    """Whether two humans had made an exception for it."""


@dataclass(slots=True)
class Evidence:
    """Observations that differ in nothing that a line could tell apart."""

    question: Question
    """The newest of them."""
    risks: tuple[str, ...]
    denied: str
    count: int
    first: datetime
    last: datetime
    record: str
    """The newest record."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the learned skill, and what it rests on."""

    action: str
    approve: bool
    entry: Mapping[str, Any]
    """What is written beside the action: conditions, approvers, dates."""
    evidence: tuple[Evidence, ...]

    @property
    def count(self) -> int:
        """How often it was seen."""
        return sum(each.count for each in self.evidence)

    @property
    def newest(self) -> Evidence:
        """What was seen last."""
        return max(self.evidence, key=lambda each: each.last)

    @property
    def risks(self) -> tuple[str, ...]:
        """Why it is risky."""
        return tuple(sorted({risk for each in self.evidence for risk in each.risks}))

    @property
    def denied(self) -> tuple[str, ...]:
        """Why it was denied when it was seen."""
        return tuple(sorted({each.denied for each in self.evidence if each.denied}))


@dataclass(slots=True)
class Lesson:
    """What was learned."""

    lines: list[Line] = field(default_factory=list)
    omitted: list[Line] = field(default_factory=list)
    """Risky ones that the reader did not want."""
    left_out: dict[str, int] = field(default_factory=dict)
    """What was seen and is in no line: why -> how often."""
    observed: int = 0

    def leave_out(self, why: str) -> None:
        """Count something that was seen and teaches nothing."""
        self.left_out[why] = self.left_out.get(why, 0) + 1


type _Key = tuple[str, str]
"""An action and the place of the line that permits it now; "" for what was denied."""


def entries_of(texts: Iterable[Document]) -> Entries:
    """Return the lines of texts by place."""
    return {
        str(text.place([name, index])): (name, entry)
        for text in texts
        for name in ("allow", "approve")
        for index, entry in enumerate(listed(text, name))
    }


def listed(text: Document, name: str) -> list[Any]:
    """Return one list of a text as it is written; empty when it has none."""
    found = text.value.get(name) if isinstance(text.value, dict) else None
    return found if isinstance(found, list) else []


def learn(
    policies: Policies, agent: str, observed: Iterable[Observed], entries: Entries, *, risky: Risky = "approve"
) -> Lesson:
    """Return the lines that would have been enough for an agent of these policies."""
    lesson = Lesson()
    groups: dict[_Key, dict[tuple[object, ...], Evidence]] = {}
    standing = policies.standings[agent]
    for each in observed:
        lesson.observed += 1
        place = "" if each.denied else _permitted(policies, standing, each.question)
        if each.excepted:
            lesson.leave_out("done under a break-glass grant")
        elif place is None:
            lesson.leave_out("not allowed by the present rules any more")
        elif place and place not in entries:
            lesson.leave_out("allowed by a line that no file holds")
        else:
            _gather(groups.setdefault((each.question.action, place), {}), each)
    for (action, place), evidence in sorted(groups.items()):
        kind, base = _written(entries, place)
        for line in _lines(action, kind == "approve", base, list(evidence.values()), risky):
            omitted = line.risks and risky == "omit" and kind != "approve"
            (lesson.omitted if omitted else lesson.lines).append(line)
    lesson.lines += _also_held(standing, lesson.lines, groups, entries)
    return lesson


def _also_held(standing: Standing, lines: Sequence[Line], groups: Iterable[_Key], entries: Entries) -> list[Line]:
    """Return the present approvals of learned actions that nobody was seen to need: without them, more is allowed."""
    known = set(groups)
    return [
        Line(action, True, _without_reason(_written(entries, rule.place)[1]), ())
        for action in sorted({line.action for line in lines})
        for rule in match(standing.rules, action).skill.approve
        if (action, rule.place) not in known
    ]


def _written(entries: Entries, place: str) -> tuple[str, Mapping[str, Any]]:
    """Return the list that a line stands in and what is written there; of no line at all, an allow without more."""
    kind, base = entries[place] if place else ("allow", {})
    return kind, base if isinstance(base, dict) else {}


def _without_reason(base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in base.items() if name not in ("action", "why")}


def _permitted(policies: Policies, standing: Standing, question: Question) -> str | None:
    """Return the place of the skill's line that permits a question now; None when it is denied."""
    limits = policies.limits(question.credential.agent, question.action)
    # Of a limit only the rate was used up: what it stopped may be done.
    asked = replace(question, uses={limit.key: 0 for limit in limits})
    if policies.decide_again(asked).outcome is Outcome.DENY:
        return None
    weighing = Weighing(match(standing.rules, question.action), asked, standing.agent)
    rule = weighing.permission(weighing.matched.skill)
    return None if rule is None else rule.place


def _gather(evidence: dict[tuple[object, ...], Evidence], seen: Observed) -> None:
    question = seen.question
    risks = risks_of(question)
    key = (question.target, question.environment.lower(), risks, seen.denied, bool(question.approvers))
    known = evidence.get(key)
    if known is None:
        evidence[key] = Evidence(question, risks, seen.denied, 1, question.at, question.at, seen.record)
        return
    known.count += 1
    known.first = min(known.first, question.at)
    if question.at >= known.last:
        known.last, known.question, known.record = question.at, question, seen.record


def risks_of(question: Question) -> tuple[str, ...]:
    """Return why somebody should look at an action before it is allowed for good."""
    return tuple(dict.fromkeys(_risks(question)))


def _risks(question: Question) -> Iterator[str]:
    action, told = question.action, question.attributes
    if told.get("executes") == "true":
        yield "executes"
    if told.get("mints") == "true":
        yield "mints"
    if told.get("access") == "permissions":
        yield "permissions"
    yield from (risk for word, risk in _RISKY_WORDS.items() if action.startswith(word))
    segments = action.split(":")
    if any(segment.startswith(_DESTROYS) for segment in segments):
        yield "destroys"
    if any(segment in RESERVED_SEGMENTS for segment in segments):
        yield "nobody could name it"
    if told.get("access") in _READS or (not told.get("access") and action.startswith(_READ_ACTIONS)):
        return
    environment = question.environment.lower()
    if environment in _UNTOLD:
        yield "unknown environment"
    elif environment.startswith("prod") or any(segment.endswith("production") for segment in segments):
        yield "production"


def _lines(
    action: str, approve: bool, base: Mapping[str, Any], evidence: Sequence[Evidence], risky: Risky
) -> Iterator[Line]:
    def line(some: Sequence[Evidence], *, held: bool) -> Line:
        return Line(action, held, _entry(base, some), tuple(some))

    if approve:
        # As wide as it is: what it no longer held, another line might allow at once.
        yield Line(action, True, _without_reason(base), tuple(evidence))
        return
    if risky == "allow":
        yield line(evidence, held=False)
        return
    risks = [each for each in evidence if each.risks]
    safe = [each for each in evidence if not each.risks]
    if risks and safe and _apart(risks, safe):
        yield line(safe, held=False)
        yield line(risks, held=True)
    else:
        # Where nothing in a question tells the risky from the rest, the rest is as risky.
        yield line(evidence, held=bool(risks))


def _apart(some: Sequence[Evidence], others: Sequence[Evidence]) -> bool:
    """Say whether environments tell two sorts of the same action apart."""
    first, second = (_environments(each) for each in (some, others))
    return bool(first) and bool(second) and not set(first) & set(second)


def _entry(base: Mapping[str, Any], evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Return what is written beside an action: what the present line asks, and what was seen."""
    kept = {name: value for name, value in _without_reason(base).items() if name != "when"}
    when = dict(base.get("when") or {})
    if environments := _environments(evidence):
        when["environment"] = environments
    exact, targets = _targets([each.question.target for each in evidence])
    # A line that names its targets itself is not widened by what a few of them begin with alike.
    if targets and (exact or "target" not in when):
        when["target"] = targets
    return {**({"when": when} if when else {}), **kept}


def _environments(evidence: Sequence[Evidence]) -> list[str]:
    """Return the environments that were seen, none when one was not told: then a condition would not be met."""
    seen = sorted({each.question.environment.lower() for each in evidence})
    return [] if any(not one or one in _UNTOLD or "*" in one for one in seen) else seen


def _targets(seen: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether the globs are targets themselves, and the globs that hold all of these targets."""
    targets = sorted(set(seen))
    if any(not target or is_cut(target) or "*" in target for target in targets):
        return False, []
    if len(targets) <= FEW:
        return True, targets
    for depth in range(max(target.count("/") for target in targets), 0, -1):
        bounds = sorted({_bound(target, depth) for target in targets})
        if len(bounds) <= FEW:
            return False, bounds
    return False, []


def _bound(target: str, depth: int) -> str:
    segments = target.split("/")
    return target if len(segments) <= depth else "/".join([*segments[:depth], "*"])
