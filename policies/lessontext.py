"""Writes down what was learned: a skill that loads, and tests that hold it to what was seen. Reads and writes no file.

# Learned from 412 calls of deploy-bot, 2026-01-01 to 2026-01-08. ...
# LOOK AT THESE BEFORE ANYBODY PUTS THIS IN FORCE:
#   infra:destroy  destroys, production  3 times  chr_01k...
skill: deploy-v2
version: 3
allow:
- {action: "deploy:staging", when: {environment: ["staging"]}, why: "seen 214 times, ..."}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.learning import Lesson, Line
from policies.values import Agent, Question

_PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
_BEYOND_ASCII = re.compile(r"[^\x20-\x7e]")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})
"""Keys that some reader of YAML takes for something other than text."""
_KEPT_LISTS = ("deny", "require", "limits")


@dataclass(frozen=True, slots=True)
class Heading:
    """What the learned skill is, beside its lines."""

    agent: Agent
    skill: str
    version: int
    since: datetime
    until: datetime
    kept: Mapping[str, Sequence[Any]]
    """What the present skill says beside what it allows, by list: "deny", "require", "limits"."""
    ends: str = ""
    """When the present skill ends, as it is written."""

    @property
    def name(self) -> str:
        """The learned version."""
        return f"{self.skill}@{self.version}"


def skill_text(lesson: Lesson, heading: Heading) -> str:
    """Return the skill."""
    return "\n".join([*_head(lesson, heading), *_body(lesson, heading)]) + "\n"


def _head(lesson: Lesson, heading: Heading) -> Iterator[str]:
    span = f"{heading.since:%Y-%m-%d} to {heading.until:%Y-%m-%d}"
    yield f"# Learned from {lesson.observed} calls of {heading.agent.id}, {span}."
    yield "# It allows what was seen and nothing else. Nothing puts it in force but a human who does."
    risky = [line for line in (*lesson.lines, *lesson.omitted) if line.risks]
    if risky:
        yield "#"
        yield "# LOOK AT THESE BEFORE ANYBODY PUTS THIS IN FORCE:"
        for line in risky:
            where = "left out" if line in lesson.omitted else "under approve" if line.approve else "under allow"
            risks, record = ", ".join(line.risks), line.newest.record
            yield f"#   {line.action}  {risks}  {_times(line.count)}  {record}  {where}"
    denied = [line for line in lesson.lines if line.denied]
    if denied:
        yield "#"
        yield "# These were DENIED when they were seen, and a policy may go on denying them:"
        yield from (f"#   {line.action}  {_times(line.count)}  {_quiet(line.denied[0])}" for line in denied)
    if lesson.left_out:
        yield "#"
        yield from (f"# Not in it: {_times(count)} {why}." for why, count in sorted(lesson.left_out.items()))


def _quiet(text: str) -> str:
    """Return a text of a record as a comment can hold it: on one line, and in ASCII."""
    return json.dumps(text)[1:-1]


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def _body(lesson: Lesson, heading: Heading) -> Iterator[str]:
    yield f"skill: {heading.skill}"
    yield f"version: {heading.version}"
    if heading.ends:
        yield f"until: {json.dumps(heading.ends)}"
    for title, held in (("allow", False), ("approve", True)):
        lines = [line for line in lesson.lines if line.approve is held]
        if lines or not held:
            yield f"{title}:" if lines else f"{title}: []"
        yield from (f"- {written(_entry(line))}" for line in lines)
    for title in _KEPT_LISTS:
        if entries := heading.kept.get(title):
            yield f"# As it is now:\n{title}:"
            yield from (f"- {written(entry)}" for entry in entries)


def _entry(line: Line) -> dict[str, Any]:
    entry = {"action": line.action, **line.entry}
    if not line.evidence:
        return {**entry, "why": "as it is now"}
    first, newest = min(each.first for each in line.evidence), line.newest
    why = f"seen {_times(line.count)}, {first:%Y-%m-%d} to {newest.last:%Y-%m-%d}, last in {newest.record}"
    if line.denied:
        why = f"DENIED when {why}"
    return {**entry, "why": f"{why}; {', '.join(line.risks)}" if line.risks else why}


def written(value: Any) -> str:
    """Return a value as YAML in one line; text stands in quotes, so that no reader takes it for anything else."""
    match value:
        case dict():
            inner = ", ".join(f"{_key(str(name))}: {written(each)}" for name, each in value.items())
            return f"{{{inner}}}"
        case list() | tuple():
            return f"[{', '.join(written(each) for each in value)}]"
        case str():
            # All in ASCII; not as JSON has it, whose two halves of a character YAML takes for two characters.
            return _BEYOND_ASCII.sub(lambda found: rf"\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False))
        case _:
            return json.dumps(value)


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name not in _WORDS else written(name)


# --- tests ---


def tests_text(lesson: Lesson, heading: Heading) -> str:
    """Return the tests: each line has one case of what was seen, and what was never seen stays away."""
    return "\n".join(_tests(lesson, heading)) + "\n"


def _tests(lesson: Lesson, heading: Heading) -> Iterator[str]:
    agent, tester = heading.agent, f"{heading.agent.id[:48]}-learned"
    yield f'# What {heading.name} was learned from. "claiim policy test" asks each of these.'
    yield "version: 1"
    yield f"tests: [{heading.skill}]"
    yield "agents:"
    inline: dict[str, Any] = {"id": tester, "org": agent.org, "anchor": agent.anchor, "skill": heading.name}
    inline |= {"labels": dict(agent.labels)} if agent.labels else {}
    yield f"- {written(inline)}"
    cases = list(_cases(lesson, tester, heading.skill))
    yield "cases:" if cases else "cases: []"
    yield from (f"- {written(case)}" for case in cases)
    never = list(_never(lesson, tester))
    if never:
        yield "never:"
        yield from (f"- {written(each)}" for each in never)


def _cases(lesson: Lesson, tester: str, skill: str) -> Iterator[dict[str, Any]]:
    for line in lesson.lines:
        if not line.evidence or line.denied:
            continue
        yield _case(line, tester, skill)
    yield from (_elsewhere(line, tester) for line in lesson.lines if _bounded(line, lesson))


def _case(line: Line, tester: str, skill: str) -> dict[str, Any]:
    question = line.newest.question
    case = {"name": f"{line.action} as in {line.newest.record}", **_asked(question, tester)}
    if line.approve:
        # Nobody has said yes in the test, so it waits.
        case.pop("approvers", None)
        return {**case, "expect": "HOLD"}
    if question.approvers:
        return {**case, "expect": "ALLOW"}
    return {**case, "expect": "ALLOW", "reason": f"skill:{skill} -- action in allow list"}


def _asked(question: Question, tester: str) -> dict[str, Any]:
    told = question.attributes
    headers = {name.removeprefix("header."): text for name, text in told.items() if name.startswith("header.") and text}
    attributes = {name: text for name, text in told.items() if not name.startswith("header.")}
    asked: dict[str, Any] = {
        "agent": tester,
        "action": question.action,
        "target": question.target,
        "environment": question.environment,
        "now": question.at.isoformat(timespec="seconds"),
        "client": question.client,
        "attributes": attributes,
        "headers": headers,
        "approvers": list(question.approvers),
    }
    return {name: value for name, value in asked.items() if value}


def _bounded(line: Line, lesson: Lesson) -> bool:
    """Say whether nothing but this line permits its action, and only on its targets."""
    alone = sum(other.action == line.action for other in lesson.lines) == 1
    targets = line.entry.get("when", {}).get("target", ())
    return bool(line.evidence) and not line.denied and alone and bool(targets) and "*" not in targets


def _elsewhere(line: Line, tester: str) -> dict[str, Any]:
    asked = _asked(line.newest.question, tester)
    return {"name": f"{line.action} anywhere else", **asked, "target": "elsewhere/than-was-seen", "expect": "DENY"}


_DESTRUCTION = ("**:destroy", "**:delete", "**:terminate", "**:purge")


def _never(lesson: Lesson, tester: str) -> Iterator[dict[str, Any]]:
    allowed = [line for line in lesson.lines if not line.approve]
    quiet = [word for word in _DESTRUCTION if not any(line.action.endswith(word[2:]) for line in allowed)]
    if quiet:
        yield {
            "agents": [tester],
            "actions": quiet,
            "why": "nothing of the kind was seen to be needed without approval",
        }
    seen = {name for line in allowed for name in line.entry.get("when", {}).get("environment", ("production",))}
    if allowed and "production" not in seen:
        yield {
            "agents": [tester],
            "actions": ["**"],
            "environment": "production",
            "why": "nothing was seen to be needed there without approval",
        }
