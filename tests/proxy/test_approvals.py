"""The state machine of approvals, without a gate: whatever happens in whatever order, some things never do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from policies import Hold
from proxy.approvalrecords import expired_fields, requested_fields, restore, used_fields, word_fields
from proxy.approvals import Approval, ApprovalError, Approvals, Asked, Phase, Word

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
LIVES = timedelta(minutes=15)
HUMANS = ("alice@acme.test", "bob@acme.test", "carol@acme.test", "eve@evil.test")
ALL = frozenset(HUMANS)


def hold(count: int = 1, *who: str, anchor: bool = True) -> Hold:
    return Hold("policies/s.yaml:3:3", "skill:s -- action needs approval", count, who or ("*@acme.test",), anchor)


def asked(body: str = "a", *holds: Hold, agent: str = "bot") -> Asked:
    fingerprint = body * 64
    operations = (("data:write", "x"), ("data:read", "y"))
    return Asked(agent, "alice@acme.test", fingerprint, "POST https://a.test/x", 3, operations, holds or (hold(),))


def register(**changed: Any) -> Approvals:
    limits: dict[str, Any] = {"most_pending": 10, "most_per_hour": 60, "remembered": LIVES, **changed}
    return Approvals(**limits)


def opened(approvals: Approvals, name: str = "apr_1", what: Asked | None = None, at: datetime = NOON) -> Approval:
    return approvals.request(name, what or asked(), at, at + LIVES)


def code_of(error: pytest.ExceptionInfo[ApprovalError]) -> str:
    return error.value.code


# --- one step at a time --------------------------------------------------------------------------------


def test_every_hold_must_be_satisfied() -> None:
    """Of two lines that ask for approval both count, the stricter one too."""
    approvals = register()
    what = asked("a", hold(1, "bob@*"), hold(1, "carol@*"))
    one = opened(approvals, what=what)
    approvals.approve(one.id, Word("bob@acme.test", NOON), what.fingerprint)
    assert approvals.get(one.id).phase(NOON, ALL) is Phase.PENDING
    approvals.approve(one.id, Word("carol@acme.test", NOON), what.fingerprint)
    assert approvals.get(one.id).phase(NOON, ALL) is Phase.APPROVED


def test_an_approval_without_a_hold_is_never_approved() -> None:
    """Nothing asked for is not everything granted."""
    one = replace(opened(register()), asked=replace(asked(), holds=()))
    assert one.phase(NOON, ALL) is Phase.PENDING


def test_an_end_is_told_for_a_while_and_then_forgotten() -> None:
    """Refused, the same request is answered by that for as long as an approval lives; then it may be asked anew."""
    approvals = register()
    one = opened(approvals)
    approvals.refuse(one.id, Word("bob@acme.test", NOON, "no"))
    assert approvals.of_request("bot", one.asked.fingerprint, NOON + LIVES / 2) is not None
    assert approvals.of_request("bot", one.asked.fingerprint, NOON + LIVES) is None


def test_what_is_over_does_not_fill_the_memory() -> None:
    """An hour after its end an approval is forgotten."""
    approvals = register()
    opened(approvals)
    assert [each.id for each in approvals.expire(NOON + LIVES)] == ["apr_1"]
    assert approvals.expire(NOON + LIVES) == []
    approvals.expire(NOON + LIVES + timedelta(hours=1))
    assert list(approvals) == []


# --- any history ---------------------------------------------------------------------------------------

names = st.sampled_from(HUMANS)
bodies = st.sampled_from("ab")
rules_of_the_day = st.sampled_from(
    [(hold(),), (hold(2),), (hold(1, anchor=False),), (hold(2, anchor=False), hold(1, "carol@*"))]
)


class AnyHistory(RuleBasedStateMachine):
    """Requests, words, refusals, uses, suspensions, time and restarts, in any order."""

    approvals_made: Bundle[str] = Bundle("approvals_made")

    def __init__(self) -> None:
        super().__init__()
        self.at = NOON
        self.approvals = register(most_pending=3, most_per_hour=1000)
        self.active = set(HUMANS)
        self.log: list[dict[str, Any]] = []
        self.used: list[str] = []
        self.refused: set[str] = set()
        self.yes: dict[str, set[str]] = {}
        self.names = 0

    @rule(target=approvals_made, body=bodies, holds=rules_of_the_day)
    def request(self, body: str, holds: tuple[Hold, ...]) -> str:
        what = asked(body, *holds)
        found = self.approvals.of_request("bot", what.fingerprint, self.at)
        if found is not None:
            return found.id
        self.names += 1
        one = opened(self.approvals, f"apr_{self.names}", what, self.at)
        self.log.append(requested_fields(one))
        self.yes[one.id] = set()
        return one.id

    @rule(name=approvals_made, human=names, right=st.booleans())
    def approve(self, name: str, human: str, right: bool) -> None:
        if human not in self.active or name not in {each.id for each in self.approvals}:
            return
        word = Word(human, self.at)
        try:
            fingerprint = self.approvals.get(name).asked.fingerprint if right else "0" * 64
            one = self.approvals.approve(name, word, fingerprint)
        except ApprovalError:
            return
        assert right
        assert one.end is None
        self.log.append(word_fields("approved", one, word))
        self.yes[name].add(human)

    @rule(name=approvals_made, human=names)
    def refuse(self, name: str, human: str) -> None:
        try:
            one = self.approvals.refuse(name, Word(human, self.at))
        except ApprovalError:
            return
        assert name not in self.used
        assert name not in self.refused
        self.log.append(word_fields("refused", one, Word(human, self.at)))
        self.refused.add(name)

    @rule(name=approvals_made, nothing_came=st.booleans())
    def use(self, name: str, nothing_came: bool) -> None:
        try:
            one = self.approvals.use(name, self.at, self.active)
        except ApprovalError:
            return
        if nothing_came:
            self.approvals.give_back(name)
            return
        self.log.append(used_fields(one, one.approvers(self.active)))
        assert name not in self.used
        assert name not in self.refused
        assert self.at < one.expires
        for each in one.asked.holds:
            counted = {human for human in self.yes[name] & self.active if each.eligible(human, "alice@acme.test")}
            assert len(counted) >= each.approvers
        self.used.append(name)

    @rule(human=names)
    def suspend_or_resume(self, human: str) -> None:
        self.active ^= {human}

    @rule(minutes=st.integers(1, 20))
    def time_passes(self, minutes: int) -> None:
        self.at += timedelta(minutes=minutes)
        self.log += [expired_fields(each) for each in self.approvals.expire(self.at)]

    @rule(name=consumes(approvals_made), holds=rules_of_the_day)
    def rules_change(self, name: str, holds: tuple[Hold, ...]) -> None:
        try:
            one = self.approvals.get(name)
        except ApprovalError:
            return
        if one.end is None and self.at < one.expires:
            self.log.append(requested_fields(self.approvals.ask_more(name, holds)))

    @rule()
    def restart(self) -> None:
        before = {each.id: each for each in self.approvals}
        self.approvals = register(most_pending=3, most_per_hour=1000)
        restore(self.approvals, [_as_read(fields) for fields in self.log])
        after = {each.id: each for each in self.approvals}
        for name, one in before.items():
            assert after[name].end == one.end
            assert {word.human for word in after[name].words} == {word.human for word in one.words}
            assert after[name].asked == one.asked
        self.approvals.expire(self.at)

    @invariant()
    def few_are_open(self) -> None:
        assert self.approvals.open(self.at) <= 3


def _as_read(fields: dict[str, Any]) -> dict[str, Any]:
    """A record as the Chron gives it back: without what is None."""
    return {name: value for name, value in fields.items() if value is not None}


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.__doc__ = (
    "No history lets an approval be used twice, after a refusal, after its time, or by fewer eligible humans "
    "than it needs; and the log alone gives back what there was."
)
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
