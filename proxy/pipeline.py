"""The decision pipeline: who, facts, resolve, decide, record, answer, outcome.

`Gate.read_head` takes the first three steps that need no body, `Gate.judge` the rest, `Gate.finish`
writes what became of it. The pipeline knows no engine: it is called with plain values, by the wire and
by tests alike, and what it returns says either "forward this canonical form to this address" or "send
this answer".

Promises, each held by tests:

- every unknown and every exception ends in a refusal; there is one catch-all, in `judge`;
- a `Verdict` that forwards exists only after its records are durable;
- what humans must approve waits for them (`proxy.waiting`), and is decided anew when they have;
- where an external PDP is configured, nothing goes on that it has not allowed as well (`proxy.seconding`);
- what was counted, taken or recorded for a request of which nothing comes is released, given back and ended;
- if nothing can be recorded the answer is 503 and nothing is forwarded;
- a flood of refusals does not fill the log (`proxy.floods`), and none but refusals are counted instead of recorded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from chron import Chron, ChronError
from mappings import Problem
from policies import Credential, Decision, Outcome
from proxy.approvalrecords import used_fields
from proxy.approvals import Approval
from proxy.breakglass import ExceptionDesk
from proxy.checking import Checking
from proxy.concluding import turned_away, unrecorded, verdict_of
from proxy.config import ApprovalsConfig
from proxy.destinations import DestinationRefused, Destinations, DestinationUnknown, Route
from proxy.facts import Facts, FactsError, Inbound, connect_authority, read_facts, tunnel_facts
from proxy.floods import Floods, source_of
from proxy.holding import Holding
from proxy.identity import NOBODY, ClientCertificate, Unproven, read_credential
from proxy.judging import Judging, refuse
from proxy.limits import DEFAULTS, Limits
from proxy.metrics import Metrics
from proxy.pdp import Pdp
from proxy.questions import FieldValues
from proxy.quotas import Others, Quotas
from proxy.recording import Record, Recorder, Trail
from proxy.records import Origin, outcome_fields, stopped_fields
from proxy.seconding import seconded
from proxy.timers import Later, loop_later
from proxy.verdicts import NOTHING, Book, Case, Decided, Ending, Head, Judgement, Verdict
from proxy.waiting import Waiting

_log = logging.getLogger(__name__)

_ANSWERED = {Outcome.DENY: "blocked", Outcome.HOLD: "held", Outcome.ALLOW: "failed"}
"""What became of a request that was answered by us, by what was decided."""
_AFTER_RECORDING = "the gate failed after recording"
_INTERNAL_ERROR = Problem("gate.error", "internal error")


class Elsewhere(Protocol):
    """The process that judges what the processes of a gate have in common (`proxy.workers`)."""

    def require(self) -> None:
        """Raise ChronError where this process does not know what is in force now."""

    async def judge(self, case: Case, gone: asyncio.Future[None] | None) -> Verdict:
        """The verdict on a request, recorded; raises ChronError when there is none."""


class Gate:
    """Judges requests by the rules in force. One per process; used from one event loop."""

    def __init__(
        self,
        book: Book,
        chron: Chron,
        destinations: Destinations,
        *,
        origin: Origin,
        now: Callable[[], datetime],
        metrics: Metrics,
        holding: Holding | None = None,
        exceptions: ExceptionDesk | None = None,
        pdp: Pdp | None = None,
        limits: Limits = DEFAULTS,
        clock: Callable[[], float] = time.monotonic,
        later: Later = loop_later,
        elsewhere: Elsewhere | None = None,
        others: Others | None = None,
    ) -> None:
        self.book = book
        self.limits = limits
        self.quotas = Quotas(limits, clock, others)
        self.destinations = destinations
        self.metrics = metrics
        self.now = now
        self.holding = holding or Holding(chron, metrics, ApprovalsConfig(), session=origin.session, now=now)
        self.exceptions = exceptions or ExceptionDesk(chron, session=origin.session, now=now)
        self.pdp = pdp
        self._elsewhere = elsewhere
        self._recorder = Recorder(chron, origin, metrics)
        self._floods = Floods(self._tell_refusals, limits.unproven_records_per_min, clock=clock, later=later)
        self._judging = Judging(self.exceptions)
        self._waiting = Waiting(self, self._judging, self.holding)
        self.uses = self._judging.uses
        self.checking = Checking(self, self._judging, self._recorder, pdp)
        self._under_way = 0
        self._settled = asyncio.Event()

    def stop(self) -> None:
        """From now on refuse every request, also those that wait for humans; what is under way goes on."""
        self._judging.stopping = True
        self.holding.stop()

    def flush(self) -> None:
        """Record what was counted of refusals."""
        self._floods.flush()

    def refusal(self, who: Credential, at: datetime | None = None) -> Decision | None:
        """Why an agent may not act now, or at that moment, whatever the action; None when it may."""
        return self.book.policies.identify(who, at or self.now())

    def unproven(self, head: Head, why: Unproven) -> Decision:
        """Why an agent may not act now whose proof was right when its request came."""
        return self.book.policies.refuse(head.credential, why.code, why.message, self.now())

    def stopped(self, denied: Decision, exchanges: int) -> None:
        """Record that what an agent had open was cut, off the critical path."""
        self._recorder.note("agent", stopped_fields(denied, exchanges, self._recorder.origin))

    async def settled(self) -> None:
        """Return once no request is being judged, so that the Chron can be closed under none of them."""
        while self._under_way:
            self._settled.clear()
            await self._settled.wait()

    # --- heads and tunnels ---------------------------------------------------------------------------

    def who(
        self, values: Sequence[str], certificate: ClientCertificate | None = None, arrived: tuple[str, ...] = ()
    ) -> Credential | Unproven:
        """Step 1 for one request: what its `Proxy-Authorization` fields, its connection and its listener prove."""
        book = self.book
        return read_credential(values, certificate, book.issuers, book.policies, self.now(), arrived)

    def read_head(self, inbound: Inbound, who: Credential) -> Head:
        """Steps 1 to 3 as far as they need no body. Never raises."""
        book, started_ns, at = self.book, time.perf_counter_ns(), self.now()
        try:
            admitted = book.policies.identify(who, at) is None
            # If this were asked for less than a True, a body could go on that was judged as none.
            facts = read_facts(inbound, b"" if inbound.bodiless is True else None, self.limits)
            may_hold = admitted and book.policies.ever_holds(who.agent)
            needs_body = (
                inbound.bodiless is not True
                and admitted
                and (book.mappings.needs_body(facts.request) or (may_hold and _may_hold(book, who, facts)))
            )
            flood = "" if admitted else source_of("", inbound.client)
            return Head(inbound, who, facts, None, needs_body, book, started_ns, at, may_hold, flood)
        except FactsError as error:
            problem = Problem(error.code, error.message)
        except Exception:  # noqa: BLE001 -- every unknown is a deny
            _log.exception("reading a request head failed; it is refused")
            problem = _INTERNAL_ERROR
        return self.malformed_head(inbound, who, problem)

    def malformed_head(self, inbound: Inbound, who: Credential, problem: Problem) -> Head:
        """The head of a request that the engine could not read; judging it records a refusal."""
        who = problem.credential if isinstance(problem, Unproven) else who
        at = self.now()
        try:
            proven = not isinstance(problem, Unproven) and self.book.policies.identify(who, at) is None
        except Exception:  # noqa: BLE001 -- who cannot be told is a stranger; judging it tells why
            proven = False
        if not proven:
            flood = source_of("", inbound.client)
        else:
            flood = source_of(who.agent, "") if problem.code.startswith("limit.") else ""
        return Head(inbound, who, None, problem, False, self.book, time.perf_counter_ns(), at, flood=flood)

    async def open_tunnel(
        self, inbound: Inbound, who: Credential | Problem, authority: str
    ) -> tuple[str, int] | Head | Verdict:
        """Where a CONNECT leads, or the recorded refusal. Nothing is resolved or dialled yet.

        An accepted CONNECT is no decision: each request inside the tunnel is judged, and none has left. So one who
        is who they say and may not act, as a suspended agent, gets a tunnel as well: of a refused CONNECT most
        clients show a number, of a refused request the reason.

        One that is to pass unread is a decision: it comes back as the head that is to be judged, as any request.
        """
        if isinstance(who, Problem):
            return await self.judge(self.malformed_head(inbound, NOBODY, who), None)
        problem = _INTERNAL_ERROR
        try:
            host, port = connect_authority(authority, inbound.fields)
            place = host, int(self.destinations.checked_port(port))
            policies, at = self.book.policies, self.now()
            proven = who is not NOBODY and (policies.identify(who, at) is None or policies.proves(who, at) is True)
            if proven and not self._judging.stopping:
                return place if self.book.mappings.tunnel(*place) is None else self.opaque_head(inbound, who, place)
        except (FactsError, DestinationRefused) as error:
            problem = Problem(error.code, error.message)
        except Exception:  # noqa: BLE001 -- every unknown is a deny
            _log.exception("reading a CONNECT failed; it is refused")
        return await self.judge(self.malformed_head(inbound, who, problem), None)

    def opaque_head(self, inbound: Inbound, who: Credential, place: tuple[str, int]) -> Head:
        """The head of a CONNECT whose connection is to pass unread."""
        book, may_hold = self.book, self.book.policies.ever_holds(who.agent)
        facts = tunnel_facts(*place)
        return Head(inbound, who, facts, None, False, book, time.perf_counter_ns(), self.now(), may_hold)

    def narrowed(self, head: Head, facts: Facts) -> Decision | None:
        """Why what is passed through unread would not be let through any more; None when it still would.

        By the rules now in force. What it was counted against when it began, and the humans who said yes to it then,
        are not asked for again.
        """
        now = replace(head, book=self.book, at=self.now())
        if self.book.mappings.tunnel(facts.request.host, facts.request.port) is None:
            # Asked as a request it would only be one that nothing names, which an agent in observe mode may make.
            return refuse(now, "mapping.unmapped", "mapping -- this tunnel is written down no more")
        decided = self._judging.decide(now, facts)
        self.uses.release(decided.charges)
        denied = [each for each in decided.judgements if each.denies is not False]
        return next((each.decision for each in denied if _used_up(each) is not True), None)

    # --- judging -------------------------------------------------------------------------------------

    async def judge(
        self, head: Head, body: bytes | None, *, complete: bool = True, gone: asyncio.Future[None] | None = None
    ) -> Verdict:
        """The verdict on a request, recorded. Never raises but for cancellation; every exception refuses.

        `body` is b"" when there is none, None when it was not read; with `complete` false it is the first
        bytes of a longer one. A verdict that does not forward already has its outcome written; one that
        does needs a `finish`. This may take as long as humans take; `gone` is done when nobody waits any more.
        """
        trail = self._recorder.trail(head)
        self._under_way += 1
        try:
            verdict = await self._judge_or_refuse(trail, head, body, complete, gone)
        except BaseException:
            trail.end("blocked", "nobody waited for the decision any more")
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._settled.set()
        if verdict.answer is not None and verdict.refusal is not None and not verdict.ended:
            result = _ANSWERED[Outcome(verdict.refusal.outcome)]
            self.finish(verdict, Ending(result, verdict.answer.status, error=verdict.error))
        return verdict

    async def _judge_or_refuse(
        self, trail: Trail, head: Head, body: bytes | None, complete: bool, gone: asyncio.Future[None] | None
    ) -> Verdict:
        try:
            return await self._judge(trail, head, body, complete, gone)
        except ChronError as error:
            _log.error("cannot record a decision, so nothing is forwarded: %s", error)
            trail.end("blocked", _AFTER_RECORDING)
            return unrecorded(head, "gate.audit-unavailable", "gate -- the decision cannot be recorded")
        except Exception:  # noqa: BLE001 -- the catch-all: without it an exception would decide
            _log.exception("judging a request failed; it is refused")
            trail.end("blocked", _AFTER_RECORDING)
            return await self._refuse_by_error(trail, head)

    async def _judge(
        self, trail: Trail, head: Head, body: bytes | None, complete: bool, gone: asyncio.Future[None] | None
    ) -> Verdict:
        if self._elsewhere is not None:
            self._elsewhere.require()
        if head.needs_body and self.refusal(head.credential) is not None:
            head = replace(head, book=self.book, at=self.now())  # stopped while the body was on its way
        if head.flood and (turned := self._turned_away(head)) is not None:
            return turned
        facts = head.facts
        if facts is not None and body is not None:
            facts = replace(facts, request=replace(facts.request, body=body, body_complete=complete))
        case = Case(head, facts, self._judging.decide(head, facts))
        if self._elsewhere is not None and case.decided.shared is not False:
            return await self._judged_elsewhere(trail, case, gone, self._elsewhere)
        if case.decided.held is not False:
            waited = await self._waiting.wait(trail, case, gone)
            if isinstance(waited, Verdict):
                return waited
            case = waited
        return await self._conclude(trail, case)

    async def _judged_elsewhere(
        self, trail: Trail, case: Case, gone: asyncio.Future[None] | None, elsewhere: Elsewhere
    ) -> Verdict:
        """The verdict of the process that counts and waits, unless the agent is stopped before this one knows it."""
        self.uses.release(case.decided.charges)
        verdict = await elsewhere.judge(case, gone)
        stopped = self.refusal(case.head.credential) if verdict.answer is None else None
        if stopped is None:
            return verdict
        # Stopped while the verdict was on its way here, where no sweep sees it; nothing has left yet.
        self.finish(verdict, Ending("blocked", error=stopped.reason))
        head = replace(case.head, book=self.book, at=self.now())
        return await self._conclude(trail, Case(head, case.facts, self._judging.decide(head, case.facts)))

    def _turned_away(self, head: Head) -> Verdict | None:
        """The refusal of a request that is one of too many to have a record; None where it is to be recorded."""
        case = Case(head, head.facts, self._judging.decide(head, None))
        decision = case.decided.judgements[0].decision
        if decision.forwards is not False or self._floods.admits(head.flood, decision.code):
            return None
        self.metrics.refused(decision.code)
        return turned_away(case)

    def turn_away(self, agent: str, client: str, code: str) -> None:
        """Count what a limit ended where there is no request to record: of an agent, or of an address if it is ""."""
        self._floods.count(source_of(agent, client), code)
        self.metrics.refused(code)

    def _tell_refusals(self, fields: FieldValues) -> None:
        self._recorder.note("refusals", {**fields, "session": self._recorder.origin.session})

    async def _conclude(self, trail: Trail, case: Case) -> Verdict:
        """Record what was decided and make the verdict of it, unless its agent is stopped meanwhile."""
        try:
            verdict = await self._record(trail, case)
            stopped = self.refusal(case.head.credential) if verdict.answer is None else None
        except BaseException:
            self.uses.release(case.decided.charges)
            raise
        if verdict.answer is None and stopped is None:
            return verdict
        self.uses.release(case.decided.charges)
        if stopped is None:
            return verdict
        # Stopped while the record was on its way to the disk, where no sweep sees it; nothing has left yet.
        trail.end("blocked", stopped.reason)
        head = replace(case.head, book=self.book, at=self.now())
        return await self._conclude(trail, Case(head, case.facts, self._judging.decide(head, case.facts)))

    async def _record(self, trail: Trail, case: Case) -> Verdict:
        """Ask the PDP, find the way, make the decision durable: the verdict of it."""
        approval, use = case.approval, list[Record]()
        marks: FieldValues = {}
        try:
            if self.pdp is not None:
                case = replace(case, decided=await seconded(self.pdp, case.decided, case.head.at))
            case, route, unreachable = await self._route(case)
            if approval is not None and route is not None:
                # If the use were recorded after the decision, a crash between them would leave a second run.
                use = [("approval", used_fields(approval, approval.approvers(case.decided.approvers)))]
                marks = {"approval": approval.id}
            ids = await trail.record(case, route, marks, use)
            return verdict_of(case, route, ids, unreachable)
        finally:
            if approval is not None:
                self._settle(approval, tried=bool(use), used=bool(trail.open))

    def _settle(self, approval: Approval, *, tried: bool, used: bool) -> None:
        """Say what became of an approval that was taken for a run, whatever ended it."""
        if not tried:
            self.holding.give_back(approval.id)
        elif used:
            self.holding.spent(approval.id)
        # Else its use may be on record or not: it stays one, so that there is never a second.

    async def _route(self, case: Case) -> tuple[Case, Route | None, str]:
        """Where a request that may go on goes: what that makes of it, its route, why there is none."""
        if case.facts is None or case.head.inbound.delegated or case.decided.forwards is not True:
            return case, None, ""
        request = case.facts.request
        try:
            return case, await self.destinations.route(request.host, request.port), ""
        except DestinationRefused as error:
            # Where it goes is refused whatever the operation is, so every operation is.
            refused = refuse(case.head, error.code, f"destination -- {error.message}")
            return replace(case, decided=case.decided.refused(refused)), None, ""
        except DestinationUnknown as error:
            return case, None, str(error)

    async def _refuse_by_error(self, trail: Trail, head: Head) -> Verdict:
        """The catch-all's verdict: a recorded refusal, or an unrecorded one where even that fails."""
        code, reason = _INTERNAL_ERROR.code, f"gate -- {_INTERNAL_ERROR.message}"
        try:
            case = Case(head, None, Decided(NOTHING, [Judgement(refuse(head, code, reason))]))
            return verdict_of(case, None, await trail.record(case), "")
        except Exception:  # noqa: BLE001 -- the last resort refuses without a record
            _log.exception("the refusal could not be recorded either")
            trail.end("blocked", _AFTER_RECORDING)
            return unrecorded(head, code, reason)

    def finish(self, verdict: Verdict, ending: Ending) -> None:
        """Record what became of a judged request, off the critical path."""
        duration_us = (time.perf_counter_ns() - verdict.started_ns) // 1000
        for record_id in verdict.record_ids:
            self._recorder.note("outcome", outcome_fields(verdict, ending, record_id, duration_us))
        self.metrics.finished(ending)

    def going_on(self, verdict: Verdict, request_bytes: int, response_bytes: int) -> None:
        """Record how far a forwarded request is that has no ending yet, off the critical path."""
        duration_us = (time.perf_counter_ns() - verdict.started_ns) // 1000
        for record_id in verdict.record_ids:
            fields: FieldValues = {"channel": verdict.channel, "ref": record_id, "duration_us": duration_us}
            segment = {**fields, "request_bytes": request_bytes, "response_bytes": response_bytes}
            self._recorder.note("segment", segment)


def _used_up(judgement: Judgement) -> bool:
    return judgement.decision.code.endswith(".limit")


def _may_hold(book: Book, who: Credential, facts: Facts) -> bool:
    """Whether something that a request's head names may need approval, so that all of it must be read."""
    operations = book.mappings.resolve(facts.request).operations
    return any(book.policies.may_hold(who.agent, operation.action) for operation in operations)
