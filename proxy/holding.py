"""Holds requests until humans have said yes: the approvals of a running gate, their clock, tasks and records.

A request that waits is parked here, in its own task, and holds up nothing else. What a human says is durable before it
counts, except a no, which counts at once; what an agent may do by an approval is recorded before it is forwarded. Of
identical requests that wait together one goes on.

    request -> enter -> (record) -> park -> APPROVED -> decide again -> take -> (record) -> spent -> forwarded
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ulid import ULID

from chron import Chron, ChronError
from policies import Credential, Human, Policies
from proxy.approvalrecords import expired_fields, restore, word_fields
from proxy.approvals import Approval, ApprovalError, Approvals, Asked, Phase, Word
from proxy.config import ApprovalsConfig
from proxy.metrics import Metrics
from proxy.timers import Later, call_at, loop_later
from proxy.vouching import may_speak

_log = logging.getLogger(__name__)


MESSAGES_KEPT = timedelta(minutes=15)
"""Longer than a message is accepted after it was signed (`proxy.webhooks.TOLERANCE`)."""


class Woken(enum.Enum):
    """Why a parked request goes on."""

    STOPPING = "the gate stops"
    REFUSED = "refused"
    EXPIRED = "expired"
    STOPPED = "its agent may not act any more"
    USED = "used by an identical request"
    GONE = "the agent has gone away"
    WAITING = "still waiting"
    """The window has passed; the approval has not."""
    APPROVED = "approved"


_WOKEN = {
    Phase.REFUSED: Woken.REFUSED,
    Phase.EXPIRED: Woken.EXPIRED,
    Phase.USED: Woken.USED,
    Phase.PENDING: Woken.WAITING,
    Phase.APPROVED: Woken.APPROVED,
}


class Holding:
    """The approvals of one gate; lives in its event loop."""

    def __init__(
        self,
        chron: Chron,
        metrics: Metrics,
        settings: ApprovalsConfig,
        *,
        session: str,
        now: Callable[[], datetime],
        later: Later = loop_later,
    ) -> None:
        self.settings = settings
        self.url = ""
        """What the status of an approval is asked at, less its id."""
        self.announce: Callable[[Approval], object] = lambda _: None
        """Tells somebody outside that an approval was asked for; must not block."""
        self._chron = chron
        self._metrics = metrics
        self._session = session
        self._now = now
        self._later = later
        self._approvals = Approvals(
            most_pending=settings.most_pending,
            most_per_hour=settings.most_per_hour,
            remembered=timedelta(seconds=settings.expire_s),
        )
        self._parked: dict[str, list[asyncio.Future[Woken]]] = {}
        self._whose: dict[asyncio.Future[Woken], Credential] = {}
        """Of each parked request, who sent it."""
        self._messages: dict[str, datetime] = {}
        """Webhook messages that came, and when; none is obeyed twice."""
        self._stopping = False

    # --- for the pipeline ---

    def enter(self, asked: Asked, at: datetime) -> tuple[Approval, bool]:
        """Return what answers for a request, and whether it is newly asked; raises ApprovalError for a no."""
        self.sweep()
        found = self._approvals.of_request(asked.agent, asked.fingerprint, at)
        if found is None:
            try:
                expires = at + timedelta(seconds=self.settings.expire_s)
                opened = self._approvals.request(f"apr_{str(ULID()).lower()}", asked, at, expires)
            except ApprovalError:
                self._metrics.approval("flood", self._open())
                raise
            return opened, True
        if found.end is not None:
            raise ApprovalError(f"approval.{found.end.value}", f"{found.id} -- {found.why_ended()}")
        return found, False

    def begun(self, approval: Approval) -> None:
        """Let a newly asked approval be seen: its request is on record."""
        self._metrics.approval("requested", self._open())
        call_at(approval.expires, self.sweep, now=self._now, later=self._later)
        self.announce(approval)

    def withdraw(self, approval: Approval) -> None:
        """Forget an approval whose request could not be recorded: nobody can be asked for it."""
        self._approvals.discard(approval.id)

    def counting(self, approval: Approval, policies: Policies, at: datetime) -> tuple[str, ...]:
        """Return who said yes and may still say so."""
        named = (word.human for word in approval.words)
        return tuple(human for human in named if may_speak(policies, human, approval.asked.agent, at) is True)

    def phase(self, approval_id: str, policies: Policies) -> Phase:
        """Return where an approval stands now."""
        approval, at = self.get(approval_id), self._now()
        return approval.phase(at, self.counting(approval, policies, at))

    async def park(
        self, approval_id: str, policies: Policies, gone: asyncio.Future[None] | None, who: Credential
    ) -> Woken:
        """Wait until an approval is decided, the window has passed, the agent is gone or stopped, or the gate stops."""
        if self._stopping:
            return Woken.STOPPING
        # It may have been decided while the request was being recorded; nobody would wake us for that.
        phase = self.phase(approval_id, policies)
        if phase is not Phase.PENDING or self.settings.wait_s == 0:
            return _WOKEN[phase]
        woken: asyncio.Future[Woken] = asyncio.get_running_loop().create_future()
        timer = self._later(self.settings.wait_s, lambda: _wake(woken, Woken.WAITING))

        def leave(_: object) -> None:
            _wake(woken, Woken.GONE)

        if gone is not None:
            gone.add_done_callback(leave)
        self._parked.setdefault(approval_id, []).append(woken)
        self._whose[woken] = who
        try:
            return await woken
        finally:
            timer.cancel()
            del self._whose[woken]
            if gone is not None:
                gone.remove_done_callback(leave)
            self._parked[approval_id].remove(woken)
            if not self._parked[approval_id]:
                del self._parked[approval_id]

    def wake_stopped(self, stopped: Callable[[Credential], bool]) -> None:
        """Let the parked requests of agents that may not act any more go on to their refusal."""
        for woken, who in list(self._whose.items()):
            if stopped(who):
                _wake(woken, Woken.STOPPED)

    def ask_more(self, approval_id: str, asked: Asked) -> Approval:
        """Ask an approval by the lines of rules that were loaded since."""
        return self._approvals.ask_more(approval_id, asked.holds)

    def take(self, approval_id: str, policies: Policies, at: datetime) -> Approval:
        """Take an approval for one run; raises ApprovalError. Nothing else runs between this and the decision."""
        approval = self.get(approval_id)
        return self._approvals.use(approval_id, at, self.counting(approval, policies, at))

    def give_back(self, approval_id: str) -> None:
        """Undo a `take` of which nothing came and nothing was recorded."""
        self._approvals.give_back(approval_id)

    def spent(self, approval_id: str) -> None:
        """The use is on record: identical requests that wait hear of it."""
        self._metrics.approval("used", self._open())
        self._wake_all(approval_id, Woken.USED)

    # --- for humans ---

    def get(self, approval_id: str) -> Approval:
        """Return an approval; raises ApprovalError when there is none."""
        return self._approvals.get(approval_id)

    def all(self) -> list[Approval]:
        """Return every approval that is remembered, oldest first."""
        self.sweep()
        return sorted(self._approvals, key=lambda each: (each.at, each.id))

    async def approve(
        self, approval_id: str, human: Human, fingerprint: str, reason: str, policies: Policies, webhook: str = ""
    ) -> Approval:
        """Take a human's yes, durable before it counts; raises ApprovalError or ChronError."""
        self.sweep()
        word = self._word(approval_id, human, reason, policies)
        approval = self._approvals.with_yes(approval_id, word, fingerprint)
        await self._chron.append("approval", self._said("approved", approval, word, webhook))
        approval = self._approvals.approve(approval_id, word, fingerprint)
        self._metrics.approval("approved", self._open())
        if approval.phase(word.at, self.counting(approval, policies, word.at)) is Phase.APPROVED:
            # One: it is good for one run. The first in line may be denied for another reason; then the rest wait on.
            self._wake_first(approval_id, Woken.APPROVED)
        return approval

    async def refuse(
        self, approval_id: str, human: Human, reason: str, policies: Policies, webhook: str = ""
    ) -> Approval:
        """Take a human's no: it counts at once, and is durable when this returns. Raises as `approve`."""
        self.sweep()
        word = self._word(approval_id, human, reason, policies)
        approval = self._approvals.refuse(approval_id, word)
        self._metrics.approval("refused", self._open())
        self._wake_all(approval_id, Woken.REFUSED)
        await self._chron.append("approval", self._said("refused", approval, word, webhook))
        return approval

    def fresh(self, message: str) -> bool:
        """Say whether a webhook message was never seen before, and remember it."""
        at = self._now()
        self._messages = {each: came for each, came in self._messages.items() if came > at - MESSAGES_KEPT}
        if message in self._messages:
            return False
        self._messages[message] = at
        return True

    def _word(self, approval_id: str, human: Human, reason: str, policies: Policies) -> Word:
        approval, at = self.get(approval_id), self._now()
        if may_speak(policies, human.id, approval.asked.agent, at) is not True:
            raise ApprovalError("approval.not-eligible", f"{human.id} has no say in what {approval.asked.agent} does")
        return Word(human.id, at, reason)

    def _said(self, event: str, approval: Approval, word: Word, webhook: str) -> dict[str, str | int | bool | None]:
        return {**word_fields(event, approval, word, webhook), "session": self._session}

    # --- time, start and stop ---

    def sweep(self) -> None:
        """End what has waited too long, by the gate's clock, and write it down."""
        for approval in self._approvals.expire(self._now()):
            self._metrics.approval("expired", self._open())
            self._wake_all(approval.id, Woken.EXPIRED)
            try:
                self._chron.note("approval", {**expired_fields(approval), "session": self._session})
            except ChronError as error:
                # It has expired all the same: whoever reads the log works it out from its time.
                _log.error("the end of %s could not be recorded: %s", approval.id, error)

    def restore(self, records: Iterable[Mapping[str, str | int | bool]]) -> None:
        """Take over what the log says, at the start; what expired while no gate ran is written down now."""
        self._messages |= dict.fromkeys(restore(self._approvals, records), self._now())
        self.sweep()
        for approval in self._approvals:
            if approval.end is None:
                call_at(approval.expires, self.sweep, now=self._now, later=self._later)
        self._metrics.pending(self._open())

    def stop(self) -> None:
        """Let every parked request go on to its refusal."""
        self._stopping = True
        for approval_id in list(self._parked):
            self._wake_all(approval_id, Woken.STOPPING)

    def _open(self) -> int:
        return self._approvals.open(self._now())

    def _wake_all(self, approval_id: str, why: Woken) -> None:
        for waiting in self._parked.get(approval_id, ()):
            _wake(waiting, why)

    def _wake_first(self, approval_id: str, why: Woken) -> None:
        for waiting in self._parked.get(approval_id, ()):
            if not waiting.done():
                _wake(waiting, why)
                return


def _wake(waiting: asyncio.Future[Woken], why: Woken) -> None:
    if not waiting.done():
        waiting.set_result(why)
