"""Puts the recorded past before other texts: reads the Chron, asks again, compares what is said with what was said.

A decision that cannot be made again is counted with its reason, never skipped and never guessed:

    identity      who acted was not proven, and the proof is in no record
    unnamed       no mapping named the request, or it could not be read
    humans        somebody was asked for approval and did not give it
    elsewhere     something other than the texts decided: where the request led, another decision point
    ...           (`IN_WORDS` has all of them)

Blocks on the disk; a scan of a million decisions takes a while. It decides nothing itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import groupby

import chron
from chron.reading import FieldValue
from chron.sources import Source
from chron.times import time_text
from mappings.actions import MAX_ACTION_CHARS
from policies import BreakGlass, Decision, Policies, Question
from policies.simulating import Change, Shape, Simulation, Tally, Told, said, shape_of
from proxy.breakglass import grants
from proxy.questions import FORWARD, OF_REQUESTS, asked_again
from proxy.records import recorded_reason
from proxy.uses import Uses, longest_window, went_on

type Fields = Mapping[str, FieldValue]
type Then = Callable[[Fields], Policies | None]
"""Finds the texts with the registry that a record was decided by; None when the log does not tell."""

_BY_TEXTS = frozenset({"org", "anchor", "policy", "skill", "approval", "exception", "error"})
"""The stages of a decision that texts and registry make when they are asked again."""
_WITHOUT_QUESTION = {
    "agent": "identity",
    "anchor": "identity",
    "org": "identity",
    "mapping": "unnamed",
    "approval": "humans",
}
"""Stage of a decision without a question -> why it cannot be made again."""

IN_WORDS: Mapping[str, str] = {
    "identity": "the agent was not proven, and what it presented is in no record",
    "unnamed": "no mapping named the request, or it could not be read",
    "humans": "a human was asked for approval and did not give it",
    "elsewhere": "something other than skills and policies decided",
    "inputs not recorded": "the record does not say what the decision hung on",
    "target redacted": "the target was kept out of the record",
    "action cut": "the action was too long to be recorded whole",
    "agent not in the registry": "the agent is not in the registry that was used",
    "agent stopped since": "the agent, its human or its organisation was stopped since; see --then",
    "agents of then": "the registry of that time is not in the Chron",
    "exception not recorded": "the break-glass grant it names is not in the Chron",
}
"""Why a decision cannot be made again, for people."""


@dataclass(frozen=True, slots=True)
class Again:
    """A decision made again."""

    decision: Decision
    at: datetime
    told: Told


class Obeyed:
    """One set of texts that the past is put before, and its answers to questions that come again and again."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.look: Callable[[str, str], Look] = lru_cache(MOST_ANSWERS)(self._look)
        self.answers: dict[tuple[FieldValue | None, ...], Again] = {}

    def _look(self, agent: str, action: str) -> Look:
        shape = shape_of(self.policies, agent, action)
        names = sorted({name for read in shape.reads for name in _FIELDS_OF.get(read.partition(".")[0], (read,))})
        return Look(shape, ("agent", "action", "channel", "approvers", *names))

    def remember(self, key: tuple[FieldValue | None, ...], again: Again) -> None:
        """Keep an answer; bounded, since a log may hold a million targets."""
        if len(self.answers) >= MOST_ANSWERS:
            self.answers.clear()
        self.answers[key] = again


@dataclass(frozen=True, slots=True)
class Look:
    """What of a record tells the answer."""

    shape: Shape
    fields: tuple[str, ...]
    """Records in which these say the same are answered alike, where the shape is not timely."""


MOST_ANSWERS = 65_536
_FACTS = ("access", "executes", "mints", "known")
_FIELDS_OF = {
    "header": ("headers",),
    "method": ("method", "other_methods"),
    "access": _FACTS,
    "executes": _FACTS,
    "mints": _FACTS,
}
"""What a condition looks at -> the fields of a record that tell it, where they are named otherwise."""


def told_of(decision: Decision) -> Told:
    """Return what the record of a decision would say."""
    outcome = said(decision.outcome.value, decision.mode.value)
    return Told(outcome, recorded_reason(decision), decision.code, decision.rule)


def told_then(fields: Fields) -> Told:
    """Return what the record of a decision says."""
    outcome = said(str(fields["outcome"]), str(fields["mode"]))
    return Told(outcome, str(fields["reason"]), str(fields["code"]), str(fields.get("rule", "")))


class Replay:
    """One walk over the decisions of a Chron.

    With `standing`, that an agent may not act at all is an answer like any other. Without it, an agent that was
    stopped since is left out: that it was is no doing of the texts that are tried.
    """

    def __init__(
        self,
        path: Source,
        policies: Policies,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        standing: bool = False,
        then: Then | None = None,
    ) -> None:
        self._path = path
        self._obeyed = Obeyed(policies)
        self._sets = {policies.digest: self._obeyed}
        self._then = then
        self._since = since
        self._until = until
        self._standing = standing
        self._simulation = Simulation(Uses())
        self._texts = chron.RuleTexts(path)

    def decisions(self) -> Iterator[tuple[Fields, Again | str]]:
        """Yield each decision of the time asked about with the one made again, or with why there is none."""
        begin = time_text(self._since) if self._since else ""
        # What was used up before the change would have been made counts as it was.
        earliest = self._since - longest_window(self._obeyed.policies) if self._since else None
        scanned = chron.scan(self._path, {"decision"}, since=earliest, until=self._until)
        for _, group in groupby(scanned, key=_request):
            request = list(group)
            for fields in request:
                if str(fields["ts"]) < begin:
                    self._as_then(fields, self._obeyed)
                else:
                    yield fields, self._again(fields)
            passed = all(map(went_on, request))
            # What another proxy forwards has no address of ours.
            reached = "address" in request[0] or request[0].get("channel") == FORWARD
            # Of a request that was stopped nobody knows whether it would have found its target; it is supposed.
            self._simulation.end_request(reached=reached or not passed, kept=reached and passed)

    def _as_then(self, fields: Fields, obeyed: Obeyed) -> None:
        """Count a call as what it was."""
        if fields.get("channel") in OF_REQUESTS:
            limits = obeyed.look(str(fields.get("agent")), str(fields.get("action"))).shape.limits
            self._simulation.note(went_on(fields), limits, _asked_at(fields) if limits else _NEVER)

    def _again(self, fields: Fields) -> Again | str:
        obeyed = self._set_of(fields)
        if obeyed is None:
            self._as_then(fields, self._obeyed)
            return "agents of then"
        again = left_out(fields) or _unregistered(fields, obeyed.policies) or self._asked(fields, obeyed)
        if not isinstance(again, str) and not self._standing and _barred(again.decision):
            again = "agent stopped since"
        if isinstance(again, str):
            self._as_then(fields, obeyed)
        elif fields.get("channel") in OF_REQUESTS:
            self._simulation.note(again.decision.forwards, again.decision.limits, again.at)
        return again

    def _asked(self, fields: Fields, obeyed: Obeyed) -> Again | str:
        look = obeyed.look(str(fields["agent"]), str(fields["action"]))
        key = tuple(map(fields.get, look.fields))
        usual = not look.shape.timely and "exceptions" not in fields
        if usual and (again := obeyed.answers.get(key)) is not None:
            return again
        question = self._question(fields, look.shape)
        if isinstance(question, str):
            return question
        decision = self._decide(fields, question, look.shape, obeyed.policies)
        again = Again(decision, question.at, told_of(decision))
        if usual:
            obeyed.remember(key, again)
        return again

    def _decide(self, fields: Fields, question: Question, shape: Shape, policies: Policies) -> Decision:
        charged = _charged(fields) if shape.limits else _NO_LIMITS
        same = bool(shape.limits) and self._same_texts(fields, policies)
        return self._simulation.decide(policies, question, shape.limits, charged, same=same)

    def _set_of(self, fields: Fields) -> Obeyed | None:
        if self._then is None:
            return self._obeyed
        policies = self._then(fields)
        if policies is None:
            return None
        if policies.digest not in self._sets:
            self._sets[policies.digest] = Obeyed(policies)
        return self._sets[policies.digest]

    def _question(self, fields: Fields, shape: Shape) -> Question | str:
        grants = self._grants if "exceptions" in fields else {}
        question = recorded_question(fields, grants)
        if isinstance(question, str):
            return question
        missing = sorted(name for name in shape.headers if f"header.{name}" not in question.attributes)
        # Over the API no header is ever seen, then or now.
        return f"header {missing[0]} not recorded" if missing and fields.get("channel") in OF_REQUESTS else question

    def _same_texts(self, fields: Fields, policies: Policies) -> bool:
        """Say whether a decision was made by the very policies and skill that its agent has now."""
        agent = policies.agents[str(fields["agent"])]
        if fields.get("policies", "") != " ".join(str(ref) for ref in agent.policies):
            return False
        if agent.skill is None or "skill" not in fields:
            return agent.skill is None and "skill" not in fields
        return self._texts.digest(fields, "skill") == agent.skill.digest

    @cached_property
    def _grants(self) -> dict[str, BreakGlass]:
        return grants(record.fields for record in chron.find(self._path, kind="exception"))


def recorded_question(fields: Fields, grants: Mapping[str, BreakGlass]) -> Question | str:
    """Return the question that a record answers, or why it cannot be put again."""
    question = asked_again(fields, grants)
    if question is None:
        return "inputs not recorded"
    if len(question.exceptions) < len(str(fields.get("exceptions", "")).split()):
        return "exception not recorded"
    return question


_NEVER = datetime.min
_NO_LIMITS: frozenset[str] = frozenset()


def left_out(fields: Fields) -> str:
    """Say why a decision cannot be made again, as far as its record tells; "" when it can."""
    stage = str(fields.get("stage", ""))
    if "at" not in fields:
        return _WITHOUT_QUESTION.get(stage, "inputs not recorded" if stage in _BY_TEXTS else "elsewhere")
    if stage == "agent":
        return "identity"
    if stage not in _BY_TEXTS:
        return "elsewhere"
    if "target" in str(fields.get("redacted", "")).split():
        return "target redacted"
    return "action cut" if len(str(fields["action"])) > MAX_ACTION_CHARS else ""


def _unregistered(fields: Fields, policies: Policies) -> str:
    return "" if fields["agent"] in policies.agents else "agent not in the registry"


def _request(fields: Fields) -> FieldValue:
    # A question over the API is a request of its own.
    return fields.get("request") or fields["id"]


def _charged(fields: Fields) -> frozenset[str]:
    """Return the limits that a call was counted against."""
    return frozenset(json.loads(str(fields.get("limits", "[]")))) if went_on(fields) else _NO_LIMITS


def _asked_at(fields: Fields) -> datetime:
    return datetime.fromisoformat(str(fields.get("at") or fields["ts"]))


def _barred(decision: Decision) -> bool:
    return decision.stage in ("agent", "anchor") or (decision.stage == "org" and decision.code != "org.foreign-target")


def tallied(decisions: Iterable[tuple[Fields, Again | str]], only: str = "") -> Tally:
    """Return how often what changed, for one agent or all."""
    tally = Tally()
    for fields, again in decisions:
        if only and fields.get("agent") != only:
            continue
        if isinstance(again, str):
            tally.leave_out(again)
            continue
        tally.decided += 1
        now = again.told
        outcome = said(str(fields["outcome"]), str(fields["mode"]))
        # Compared before anything is built: most of a million decisions say what they said.
        if outcome == now.outcome and fields["reason"] == now.reason and fields["code"] == now.code:
            continue
        agent, human, action = (str(fields.get(name, "")) for name in ("agent", "anchor", "action"))
        tally.add(Change(agent, human, action, told_then(fields), now), str(fields["id"]))
    return tally
