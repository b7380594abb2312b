"""Decides past questions again by other texts, and says which answers turn: what a change would have done.

Calls are put in their order, the operations of one request next to each other, since each limit goes by what was
let through before: a call that the new texts deny uses nothing up.

    deploy-bot  deploy:production  ALLOW -> DENY   policy:no-prod-v1 -- action not in allow list
    deploy-bot  infra:destroy      DENY -> HOLD    skill:deploy-v3 -- action needs approval

Pure, and it counts nothing by a clock: times are those of the questions. What it knows of the past is what it is
given; whether that was all is for the one who reads the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from policies.conditions import Guard
from policies.deciding import Policies
from policies.standing import Standing
from policies.values import Decision, Limit, Mode, Outcome, Question
from policies.weighing import Matched, MatchedText, match


class Counts[Charge](Protocol):
    """How often limits were used: what the gate counts by while it runs."""

    def counts(self, limits: Iterable[Limit], at: datetime) -> Mapping[str, int]:
        """Return how often each limit was used within its window."""

    def charge(self, limits: Iterable[Limit], at: datetime) -> list[Charge]:
        """Count one use of each limit."""

    def release(self, charges: Iterable[Charge]) -> None:
        """Take uses back."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a decision says, as its record says it."""

    outcome: str
    """"ALLOW", "DENY", "HOLD"; "DENY observed" when it was written down and the call went on."""
    reason: str
    code: str
    rule: str


def said(outcome: str, mode: str) -> str:
    """Return what became of a call in one word, or two where a denial did not stop it."""
    return f"{outcome} observed" if outcome != Outcome.ALLOW.value and mode == Mode.OBSERVE.value else outcome


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a question the texts look at, for all questions of one agent about one action."""

    reads: frozenset[str]
    """The names of conditions: "environment", "header.x-ticket"; nothing else of a question matters."""
    timely: bool
    """Whether its time matters too, or how often something was used: then no two questions are the same."""
    limits: tuple[Limit, ...]

    @property
    def headers(self) -> Iterator[str]:
        """Yield the request headers that are asked about."""
        return (name.removeprefix("header.") for name in self.reads if name.startswith("header."))


class Simulation[Charge]:
    """Answers past questions, in their order."""

    def __init__(self, uses: Counts[Charge]) -> None:
        self._uses = uses
        self._charges: list[Charge] = []
        self._counted: set[str] = set()
        """The limits that the present request counts against."""
        self._blocked = False
        self._diverged: set[str] = set()
        """Limits whose simulated uses are no longer those that were recorded."""

    def end_request(self, *, reached: bool, kept: bool) -> None:
        """End a request: what its operations used up stays used only if all of them went on, and to somewhere.

        `kept` says whether what they used up then stayed used.
        """
        released = self._blocked or not reached
        if released:
            self._uses.release(self._charges)
        if released is kept:
            self._diverged |= self._counted
        self._charges = []
        self._counted = set()
        self._blocked = False

    def decide(
        self, policies: Policies, question: Question, limits: tuple[Limit, ...], charged: frozenset[str], *, same: bool
    ) -> Decision:
        """Decide one operation again.

        `charged` are the limits that it was counted against then, and `same` says whether it was decided by the very
        texts that are asked now: then what its record says of the uses holds, as long as the simulated history is the
        recorded one. So calls that ran side by side, whose order no log tells, are not mistaken for changes.
        """
        if limits:
            question = replace(question, uses=self._uses_of(question, limits, same))
        elif question.uses:
            question = replace(question, uses=NOTHING_COUNTED)
        decision = policies.decide_again(question)
        counted = frozenset(limit.key for limit in decision.limits) if decision.forwards else frozenset()
        self._diverged |= counted ^ charged
        return decision

    def note(self, forwards: bool, limits: Sequence[Limit], at: datetime) -> None:
        """Note what an operation of the present request is counted against, or that it stops the request."""
        if not forwards:
            self._blocked = True
        elif limits:
            self._charges += self._uses.charge(limits, at)
            self._counted |= {limit.key for limit in limits}

    def _uses_of(self, question: Question, limits: tuple[Limit, ...], same: bool) -> dict[str, int]:
        counted = self._uses.counts(limits, question.at)
        if not same:
            return dict(counted)
        return {
            key: count if key in self._diverged else question.uses.get(key, count) for key, count in counted.items()
        }


NOTHING_COUNTED: Mapping[str, int] = {}


def shape_of(policies: Policies, agent: str, action: str) -> Shape:
    """Return what the texts look at in questions of an agent about an action; a pure function, to be remembered."""
    standing = policies.standings.get(agent)
    if standing is None:
        return Shape(frozenset(), False, ())
    matched = match(standing.rules, action)
    limits = matched.limits(standing.agent)
    reads = frozenset(_read(standing, matched))
    timely = bool(limits) or "time" in reads or _ends(standing, matched)
    return Shape(reads, timely, limits)


def _read(standing: Standing, matched: Matched) -> Iterator[str]:
    if any(organisation.owns for organisation in standing.boundaries.organisations.values()):
        yield "target"
    for text in matched.texts:
        yield from (f"header.{requirement.header}" for requirement in text.require)
        for guard in _guards(text):
            yield from (condition.name for condition in (*guard.when, *guard.unless))


def _ends(standing: Standing, matched: Matched) -> bool:
    """Say whether something that these questions meet has an end."""
    texts = matched.texts
    ends = [standing.agent.expires, standing.human.expires, *(text.text.until for text in texts)]
    ends += [guard.until for text in texts for guard in _guards(text)]
    return any(ends) or bool(standing.boundaries.grants)


def _guards(text: MatchedText) -> Iterator[Guard]:
    yield from (rule.guard for rule in (*text.deny, *text.allow, *text.approve, *text.approvable))
    yield from (requirement.guard for requirement in text.require)


# --- what turned ---


@dataclass(frozen=True, slots=True)
class Change:
    """What calls of one kind were told then, and would be told now."""

    agent: str
    human: str
    """Who answered for the agent then."""
    action: str
    then: Told
    now: Told

    @property
    def flips(self) -> bool:
        """Say whether the answer turned, not only its reason."""
        return self.then.outcome != self.now.outcome


@dataclass(slots=True)
class Seen:
    """How often a change came up, and in which records first and last."""

    count: int
    first: str
    last: str


@dataclass(slots=True)
class Tally:
    """What a simulation found."""

    decided: int = 0
    changes: dict[Change, Seen] = field(default_factory=dict)
    """In the order in which they came up."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Why a decision could not be made again -> how many."""

    @property
    def decisions(self) -> int:
        """Return how many decisions were looked at."""
        return self.decided + sum(self.left_out.values())

    def leave_out(self, why: str) -> None:
        """Count a decision that cannot be made again."""
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def add(self, change: Change, record: str) -> None:
        """Count a decision that says something else now."""
        seen = self.changes.get(change)
        if seen is None:
            self.changes[change] = Seen(1, record, record)
        else:
            seen.count += 1
            seen.last = record

    def flips(self) -> dict[Change, Seen]:
        """Return the changes that turn the answer."""
        return {change: seen for change, seen in self.changes.items() if change.flips}
