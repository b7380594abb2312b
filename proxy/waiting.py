"""Lets a request wait for humans: asks them, parks it, and has it decided anew when they have spoken.

    held -> enter -> ask (recorded) -> park -> APPROVED -> decide again -> take -> to be recorded and sent
                                         \\-> WAITING, GONE -> the agent is told to come back
                                         \\-> any other word -> refused

What comes out is a case that has yet to be recorded, or the answer to an agent that has to come back. It lets nothing
go on: an approval is taken here for one run, and whoever records the case says whether it was used.
"""

import asyncio
from dataclasses import replace

from chron import redacted_path
from proxy.approvalrecords import requested_fields
from proxy.approvals import Approval, ApprovalError, Asked, Phase
from proxy.concluding import still_waiting
from proxy.fingerprints import fingerprint
from proxy.holding import Holding, Woken
from proxy.judging import Judging, Present, refuse
from proxy.questions import recorded, recorded_target
from proxy.recording import Record, Trail
from proxy.verdicts import Case, Head, Verdict


class Waiting:
    """What a gate does with requests that need the word of humans."""

    def __init__(self, present: Present, judging: Judging, holding: Holding) -> None:
        self._present = present
        self._judging = judging
        self._holding = holding

    async def wait(self, trail: Trail, case: Case, gone: asyncio.Future[None] | None) -> Case | Verdict:
        """Ask humans for a request that is held, wait as long as it may wait, and have it decided anew."""
        self._judging.uses.release(case.decided.charges)
        try:
            approval, new = self._holding.enter(_asked(case), case.head.at)
        except ApprovalError as error:
            return _refused(case, error)
        if self._holding.phase(approval.id, case.head.book.policies) is not Phase.PENDING:
            return await self._decide_again(trail, case, approval)
        ids = await self._ask(trail, case, approval, new)
        woken = await self._park(trail, case.head, approval, gone)
        if woken in (Woken.WAITING, Woken.GONE):
            return still_waiting(case, ids, approval, self._url(approval), woken.value if woken is Woken.GONE else "")
        trail.end("held", woken.value)
        if woken not in (Woken.APPROVED, Woken.STOPPED):
            return _refused(case, _why(approval, woken))
        return await self._decide_again(trail, case, approval)

    async def _ask(self, trail: Trail, case: Case, approval: Approval, new: bool) -> tuple[str, ...]:
        """Record that a request is held, and the question to humans when it is a new one."""
        question = [_question(case, approval)] if new else []
        try:
            return await trail.record(case, None, {"held": approval.id}, question)
        finally:
            if new:
                # Nobody can be asked what is not on record, and what is on record stays asked.
                (self._holding.begun if trail.open else self._holding.withdraw)(approval)

    async def _park(self, trail: Trail, head: Head, approval: Approval, gone: asyncio.Future[None] | None) -> Woken:
        if self._present.refusal(head.credential) is not None:
            return Woken.STOPPED  # while the question was being recorded, when nothing was parked to be woken
        try:
            return await self._holding.park(approval.id, self._present.book.policies, gone, head.credential)
        except BaseException:
            trail.end("held", Woken.GONE.value)
            raise

    async def _decide_again(self, trail: Trail, case: Case, approval: Approval) -> Case | Verdict:
        """Decide a request that was approved, by the rules, the uses and the time there are now."""
        head = replace(case.head, book=self._present.book, at=self._present.now())
        approvers = self._holding.counting(self._holding.get(approval.id), head.book.policies, head.at)
        again = replace(case, head=head, decided=self._judging.decide(head, case.facts, approvers))
        try:
            ready = self._ready(again, approval)
        except ApprovalError as error:
            self._judging.uses.release(again.decided.charges)
            return _refused(again, error)
        except BaseException:
            self._judging.uses.release(again.decided.charges)
            raise
        if ready is None:
            self._judging.uses.release(again.decided.charges)
            return await self._ask_more(trail, again, approval)
        return ready

    def _ready(self, again: Case, approval: Approval) -> Case | None:
        """The case as it can be recorded, with its approval taken if it needs one; None when more has to be said.

        Raises ApprovalError when the approval is not for this, or is none any more.
        """
        decided = again.decided
        needed = any(each.decision.holds for each in decided.judgements)
        if not needed or any(each.denies is not False for each in decided.judgements):
            return again
        if _asked(again).fingerprint != approval.asked.fingerprint:
            raise ApprovalError("approval.changed", f"{approval.id} -- the request has another meaning by now")
        if decided.held is not False:
            return None
        # If this line is removed, an approval is good for any number of runs.
        return replace(again, approval=self._holding.take(approval.id, again.head.book.policies, again.head.at))

    async def _ask_more(self, trail: Trail, case: Case, approval: Approval) -> Verdict:
        """Ask anew by rules that were loaded meanwhile: they ask for more than has been said."""
        approval = self._holding.ask_more(approval.id, _asked(case))
        ids = await trail.record(case, None, {"held": approval.id}, [_question(case, approval)])
        return still_waiting(case, ids, approval, self._url(approval))

    def _url(self, approval: Approval) -> str:
        return self._holding.url + approval.id if self._holding.url else ""


def _question(case: Case, approval: Approval) -> Record:
    """The record of the question that humans are asked, without what policies keep out of records."""
    return "approval", requested_fields(approval, case.decided.redact)


def _asked(case: Case) -> Asked:
    """What humans are asked to approve; raises ApprovalError when nobody can know what that would be."""
    head, facts, operations = case.head, case.facts, case.decided.resolution.operations
    if facts is None or head.inbound.delegated:
        raise ApprovalError("approval.unreadable", "approval -- the body is not seen here, so nobody can approve it")
    request = facts.request
    if request.body is None or not request.body_complete:
        raise ApprovalError("approval.unreadable", "approval -- the body is too long to be approved")
    decisions = [each.decision for each in case.decided.judgements]
    shown = redacted_path(request.path)
    return Asked(
        agent=head.credential.agent,
        anchor=decisions[0].anchor,
        fingerprint=fingerprint(head.credential.agent, facts, operations),
        request=recorded(f"{request.method} {request.scheme}://{facts.wire_authority}{shown}"),
        body_bytes=len(request.body),
        operations=tuple((each.action, recorded_target(each.target)) for each in operations),
        holds=tuple(dict.fromkeys(hold for each in decisions for hold in each.holds)),
    )


def _refused(case: Case, error: ApprovalError) -> Case:
    """The same request, refused whole for want of approval."""
    reason = error.reason if " -- " in error.reason else f"approval -- {error.reason}"
    refused = refuse(case.head, error.code, reason)
    return replace(case, decided=case.decided.refused(refused), approval=None)


def _why(approval: Approval, woken: Woken) -> ApprovalError:
    if woken is Woken.STOPPING:
        return ApprovalError("gate.stopping", "gate -- stopping")
    return ApprovalError(f"approval.{woken.name.lower()}", f"{approval.id} -- {woken.value}")
