"""What becomes of a request that waits for humans: a state machine; pure, no clock, no task, no record.

    PENDING --approve by enough--> APPROVED --use--> USED
       |  \\--refuse--> REFUSED         |--refuse--> REFUSED
       \\--time is over--> EXPIRED       \\--time is over--> EXPIRED

An approval is for one fingerprint and one run. Whether enough humans said yes is worked out when it is asked, from
those whose word still counts, so that an approver who was suspended since takes their word with them. An end is an
end: no word, no time and no reload brings a refused, expired or used approval back. For a while after a refusal or
an expiry the same request is told so, and not asked about anew; people are not worn down by repetition.

    approval.flood    agent deploy-bot has 10 requests waiting; let people answer those first
    approval.used     apr_01... has been used
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from policies import Hold

_RATE_WINDOW = timedelta(hours=1)


class ApprovalError(Exception):
    """What was asked of an approval cannot be; `code` is for programs, the text for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Phase(enum.Enum):
    """Where an approval stands."""

    REFUSED = "refused"
    EXPIRED = "expired"
    USED = "used"
    PENDING = "pending"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Asked:
    """What humans are asked to approve: one exact request of one agent."""

    agent: str
    anchor: str
    fingerprint: str
    request: str
    """Method and URL, without query values and credentials."""
    body_bytes: int
    operations: tuple[tuple[str, str], ...]
    """Action and target of each operation of the request."""
    holds: tuple[Hold, ...]
    """All of them must be satisfied."""

    @property
    def needs(self) -> int:
        """How many different humans have to say yes, at least."""
        return max((hold.approvers for hold in self.holds), default=1)

    @property
    def reason(self) -> str:
        """Why it is asked: the first line that asks for it."""
        return self.holds[0].reason if self.holds else ""

    def eligible(self, human: str) -> bool:
        """Say whether a human's yes would count for anything here."""
        return any(hold.eligible(human, self.anchor) is True for hold in self.holds)


@dataclass(frozen=True, slots=True)
class Word:
    """What one human said, and when."""

    human: str
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval as it is now."""

    id: str
    asked: Asked
    at: datetime
    expires: datetime
    words: tuple[Word, ...] = ()
    """Who said yes, each human once, in the order they did."""
    end: Phase | None = None
    """REFUSED, EXPIRED or USED."""
    ended: Word | None = None
    """When it ended, and by whom if by somebody."""

    def phase(self, at: datetime, counting: Iterable[str]) -> Phase:
        """Return where it stands, by the word of those humans alone whose word counts now."""
        if self.end is not None:
            return self.end
        if at >= self.expires:
            return Phase.EXPIRED
        # If this asked for any hold instead of all, the weakest of several lines would decide.
        enough = all(hold.satisfied(self.approvers(counting), self.asked.anchor) is True for hold in self.asked.holds)
        return Phase.APPROVED if enough and self.asked.holds else Phase.PENDING

    def approvers(self, counting: Iterable[str]) -> tuple[str, ...]:
        """Return the humans who said yes and whose word counts."""
        counted = frozenset(counting)
        return tuple(word.human for word in self.words if word.human in counted)

    def why_ended(self) -> str:
        """Return how it ended, for the agent: "refused by bob@acme.test: not today"."""
        said = (self.end or Phase.EXPIRED).value
        if self.ended is None or not self.ended.human:
            return said
        reason = f": {self.ended.reason}" if self.ended.reason else ""
        return f"{said} by {self.ended.human}{reason}"


class Approvals:
    """All approvals of a gate: at most one that is open for each agent and fingerprint."""

    def __init__(self, *, most_pending: int, most_per_hour: int, remembered: timedelta) -> None:
        self._most_pending = most_pending
        self._most_per_hour = most_per_hour
        self._remembered = remembered
        """How long a refusal or an expiry answers for the same request."""
        self._all: dict[str, Approval] = {}
        self._latest: dict[tuple[str, str], str] = {}

    def __iter__(self) -> Iterator[Approval]:
        return iter(list(self._all.values()))

    def get(self, approval_id: str) -> Approval:
        """Return an approval; raises ApprovalError when there is none."""
        if approval_id not in self._all:
            raise ApprovalError("approval.unknown", f'there is no approval "{approval_id}"')
        return self._all[approval_id]

    def of_request(self, agent: str, fingerprint: str, at: datetime) -> Approval | None:
        """Return what answers for this request: an open approval, or an end that is still remembered."""
        approval = self._all.get(self._latest.get((agent, fingerprint), ""))
        if approval is None or approval.end is Phase.USED:
            return None
        if approval.end is None and at < approval.expires:
            return approval
        ended = approval.ended.at if approval.ended else approval.expires
        return approval if at < ended + self._remembered else None

    def request(self, approval_id: str, asked: Asked, at: datetime, expires: datetime) -> Approval:
        """Open an approval; raises ApprovalError when the agent has asked for too much."""
        mine = [each for each in self._all.values() if each.asked.agent == asked.agent]
        open_ = sum(each.end is None and at < each.expires for each in mine)
        if open_ >= self._most_pending:
            waiting = f"agent {asked.agent} has {open_} requests waiting; let people answer those first"
            raise ApprovalError("approval.flood", waiting)
        if sum(each.at > at - _RATE_WINDOW for each in mine) >= self._most_per_hour:
            often = f"agent {asked.agent} asked {self._most_per_hour} times within the hour; ask for less"
            raise ApprovalError("approval.flood", often)
        return self.put(Approval(approval_id, asked, at, expires))

    def put(self, approval: Approval) -> Approval:
        """Take an approval in as it is: a new state of a known one, or one from the log."""
        self._all[approval.id] = approval
        self._latest[approval.asked.agent, approval.asked.fingerprint] = approval.id
        return approval

    def discard(self, approval_id: str) -> None:
        """Forget an approval that nobody was asked for."""
        approval = self._all.pop(approval_id)
        if self._latest.get((approval.asked.agent, approval.asked.fingerprint)) == approval_id:
            del self._latest[approval.asked.agent, approval.asked.fingerprint]

    def approve(self, approval_id: str, word: Word, fingerprint: str) -> Approval:
        """Take a human's yes to exactly this request; raises ApprovalError when it does not count."""
        return self.put(self.with_yes(approval_id, word, fingerprint))

    def with_yes(self, approval_id: str, word: Word, fingerprint: str) -> Approval:
        """Return what a human's yes would make of an approval; raises ApprovalError when it does not count."""
        approval = self._open(approval_id, word.at)
        # If this line is removed, somebody who was shown one request can be made to approve another.
        if fingerprint != approval.asked.fingerprint:
            raise ApprovalError("approval.fingerprint", "that is the fingerprint of another request; look again")
        if approval.asked.eligible(word.human) is not True:
            raise ApprovalError("approval.not-eligible", f"{word.human} may not approve this")
        if any(each.human == word.human for each in approval.words):
            return approval
        return replace(approval, words=(*approval.words, word))

    def refuse(self, approval_id: str, word: Word) -> Approval:
        """Take a human's no, which ends it; raises ApprovalError when it does not count."""
        approval = self._open(approval_id, word.at)
        # The anchor may stop what their agent does even where others have to approve it.
        if approval.asked.eligible(word.human) is not True and word.human != approval.asked.anchor:
            raise ApprovalError("approval.not-eligible", f"{word.human} may not refuse this")
        return self.put(replace(approval, end=Phase.REFUSED, ended=word))

    def use(self, approval_id: str, at: datetime, counting: Iterable[str]) -> Approval:
        """Take an approval for one run; raises ApprovalError unless it is approved and not used."""
        approval = self._open(approval_id, at)
        if approval.phase(at, counting) is not Phase.APPROVED:
            raise ApprovalError("approval.pending", f"{approval_id} waits for approval")
        return self.put(replace(approval, end=Phase.USED, ended=Word("", at)))

    def give_back(self, approval_id: str) -> None:
        """Undo a use of which nothing came: nothing was forwarded and nothing recorded."""
        approval = self.get(approval_id)
        if approval.end is Phase.USED:
            self.put(replace(approval, end=None, ended=None))

    def ask_more(self, approval_id: str, holds: tuple[Hold, ...]) -> Approval:
        """Ask an open approval by the lines that are in force now."""
        approval = self.get(approval_id)
        return self.put(replace(approval, asked=replace(approval.asked, holds=holds)))

    def expire(self, at: datetime) -> list[Approval]:
        """End what has waited too long and return it; forget what nobody asks about any more."""
        over = [each for each in self._all.values() if each.end is None and at >= each.expires]
        expired = [self.put(replace(each, end=Phase.EXPIRED, ended=Word("", each.expires))) for each in over]
        kept = max(_RATE_WINDOW, self._remembered)
        for each in [each for each in self._all.values() if each.ended and at >= each.ended.at + kept]:
            self.discard(each.id)
        return expired

    def open(self, at: datetime) -> int:
        """Return how many approvals are open."""
        return sum(each.end is None and at < each.expires for each in self._all.values())

    def _open(self, approval_id: str, at: datetime) -> Approval:
        approval = self.get(approval_id)
        if approval.end is None and at < approval.expires:
            return approval
        end = approval.end or Phase.EXPIRED
        raise ApprovalError(f"approval.{end.value}", f"{approval_id} has {_HAS[end]}")


_HAS = {
    Phase.EXPIRED: "expired",
    Phase.REFUSED: "been refused",
    Phase.USED: "been used",
}
