"""The decision pipeline: who, facts, resolve, decide, record, answer, outcome.

`Gate.read_head` takes the first three steps that need no body, `Gate.judge` the rest, `Gate.finish`
writes what became of it. The pipeline knows no engine: it is called with plain values, by the wire and
by tests alike, and what it returns says either "forward this canonical form to this address" or "send
this answer".

Promises, each held by tests:

- every unknown and every exception ends in a refusal; there is one catch-all, in `judge`;
- a `Verdict` that forwards exists only after its records are durable;
- what humans must approve waits for them (`proxy.holding`), and is decided anew when they have;
- where an external PDP is configured, nothing goes on that it has not allowed as well (`proxy.pdp`);
- if nothing can be recorded the answer is 503 and nothing is forwarded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from chron import Chron, ChronError, redacted_path, redacted_text
from mappings import Mappings, Operation, Problem, Resolution, canonical_action
from policies import BreakGlass, Credential, Decision, Mode, Outcome, Policies, Question
from proxy.answers import Answer, Refusal, answer
from proxy.approvalrecords import requested_fields, used_fields
from proxy.approvals import Approval, ApprovalError, Asked, Phase
from proxy.breakglass import ExceptionDesk
from proxy.config import ApprovalsConfig
from proxy.destinations import DestinationRefused, Destinations, DestinationUnknown, Route
from proxy.facts import Facts, FactsError, Inbound, connect_authority, read_facts
from proxy.fingerprints import fingerprint
from proxy.holding import Holding, Woken
from proxy.identity import NO_ISSUERS, ClientCertificate, Issuers, Unproven
from proxy.identity import NOBODY as NOBODY
from proxy.identity import read_credential as read_credential
from proxy.metrics import Metrics
from proxy.pdp import Pdp, Said, Word, evaluation
from proxy.questions import FORWARD, WIRE, FieldValues, recorded, recorded_target, wire_question
from proxy.records import (
    NOTHING_NAMED,
    Origin,
    channel,
    decision_fields,
    operation_fields,
    proof_fields,
    stopped_fields,
    wire_fields,
    without,
)
from proxy.uses import Charge, Uses

_log = logging.getLogger(__name__)

type Record = tuple[str, FieldValues]
"""Kind and fields."""

_ANSWERED = {Outcome.DENY: "blocked", Outcome.HOLD: "held", Outcome.ALLOW: "failed"}
"""What became of a request that was answered by us, by what was decided."""


@dataclass(frozen=True, slots=True)
class Book:
    """The rules in force; swapped as a whole on reload."""

    mappings: Mappings
    policies: Policies
    digest: str
    issuers: Issuers = NO_ISSUERS
    """Whose workload tokens are believed."""
    bundles: tuple[str, ...] = ()
    """The signed bundles that skills and policies came from."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request as far as its head tells, and whether its body must be read to name it."""

    inbound: Inbound
    credential: Credential
    facts: Facts | None
    problem: Problem | None
    """Why there are no facts."""
    needs_body: bool
    book: Book
    """The rules the head was read by; the body is judged by the same ones, unless it waits for a human."""
    started_ns: int
    at: datetime
    """When it came; the time that all of it is judged at."""
    may_hold: bool = False
    """Whether it may have to wait for a human."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about one operation of a request; of a request that is none, about it as a whole."""

    decision: Decision
    question: Question | None = None
    """None where no texts were asked."""
    pdp: str = ""
    """What the external PDP said; "" where it was not asked."""

    @property
    def denies(self) -> bool:
        """Say whether it stops the request, whatever humans say."""
        return self.decision.outcome is Outcome.DENY and not self.decision.forwards


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about a request."""

    resolution: Resolution
    judgements: list[Judgement]
    charges: list[Charge] = field(default_factory=list)
    """What it counts against, counted already."""

    @property
    def held(self) -> bool:
        """Say whether nothing but the word of humans is missing."""
        stopped = [each for each in self.judgements if not each.decision.forwards]
        return bool(stopped) and not any(each.denies for each in stopped)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request. It forwards exactly when `route` is set and `answer` is not.

    Without either, another proxy may forward it: the one that asked.
    """

    answer: Answer | None
    facts: Facts | None
    route: Route | None
    chron_id: str
    record_ids: tuple[str, ...]
    refusal: Refusal | None
    """The words for an answer: of the refusal, or of the permission should the target fail."""
    started_ns: int
    error: str = ""
    """Why an allowed request could not be sent at all."""
    channel: str = WIRE


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a forwarded request."""

    result: str
    """`sent`, `failed` or `blocked`; `delegated` where another proxy was told that it may forward."""
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question that somebody asks before anything is done."""

    who: Credential
    action: str
    """Canonical."""
    target: str
    environment: str
    client: str
    asked_by: str = ""
    """Who asks about an agent that is somebody else; "" for the agent itself, which proves who it is."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to an inquiry."""

    decision: Decision
    action: str
    target: str
    chron_id: str


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
    ) -> None:
        self.book = book
        self.destinations = destinations
        self.metrics = metrics
        self._chron = chron
        self._origin = origin
        self.uses = Uses()
        self.now = now
        self.holding = holding or Holding(chron, metrics, ApprovalsConfig(), session=origin.session, now=now)
        self.exceptions = exceptions or ExceptionDesk(chron, session=origin.session, now=now)
        self.pdp = pdp
        self._stopping = False
        self._requests = 0
        self._judging = 0
        self._settled = asyncio.Event()

    def stop(self) -> None:
        """From now on refuse every request, also those that wait for humans; what is under way goes on."""
        self._stopping = True
        self.holding.stop()

    def refusal(self, who: Credential) -> Decision | None:
        """Why an agent may not act now, whatever the action; None when it may."""
        return self.book.policies.identify(who, self.now())

    def unproven(self, head: Head, why: Unproven) -> Decision:
        """Why an agent may not act now whose proof was right when its request came."""
        return self.book.policies.refuse(head.credential, why.code, why.message, self.now())

    def stopped(self, denied: Decision, exchanges: int) -> None:
        """Record that what an agent had open was cut, off the critical path."""
        self._note("agent", stopped_fields(denied, exchanges, self._origin))

    async def settled(self) -> None:
        """Return once no request is being judged, so that the Chron can be closed under none of them."""
        while self._judging:
            self._settled.clear()
            await self._settled.wait()

    def who(self, values: Sequence[str], certificate: ClientCertificate | None = None) -> Credential | Unproven:
        """Step 1 for one request: what its `Proxy-Authorization` fields and its connection prove."""
        book = self.book
        return read_credential(values, certificate, book.issuers, book.policies, self.now())

    def read_head(self, inbound: Inbound, who: Credential) -> Head:
        """Steps 1 to 3 as far as they need no body. Never raises."""
        book, started_ns, at = self.book, time.perf_counter_ns(), self.now()
        try:
            facts = read_facts(inbound, b"" if inbound.bodiless else None)
            admitted = book.policies.identify(who, at) is None
            may_hold = admitted and book.policies.ever_holds(who.agent)
            needs_body = (
                not inbound.bodiless
                and admitted
                and (book.mappings.needs_body(facts.request) or (may_hold and _may_hold(book, who, facts)))
            )
            return Head(inbound, who, facts, None, needs_body, book, started_ns, at, may_hold)
        except FactsError as error:
            return Head(inbound, who, None, Problem(error.code, error.message), False, book, started_ns, at)
        except Exception:  # noqa: BLE001 -- every unknown is a deny
            _log.exception("reading a request head failed; it is refused")
            problem = Problem("gate.error", "internal error")
            return Head(inbound, who, None, problem, False, book, started_ns, at)

    def malformed_head(self, inbound: Inbound, who: Credential, problem: Problem) -> Head:
        """The head of a request that the engine could not read; judging it records a refusal."""
        who = problem.credential if isinstance(problem, Unproven) else who
        return Head(inbound, who, None, problem, False, self.book, time.perf_counter_ns(), self.now())

    async def open_tunnel(
        self, inbound: Inbound, who: Credential | Problem, authority: str
    ) -> tuple[str, int] | Verdict:
        """Where a CONNECT leads, or the recorded refusal. Nothing is resolved or dialled yet.

        An accepted CONNECT is no decision: each request inside the tunnel is judged, and none has left.
        """
        if isinstance(who, Problem):
            return await self.judge(self.malformed_head(inbound, NOBODY, who), None)
        problem: Problem | None = None
        try:
            place = connect_authority(authority, inbound.fields)
            self.destinations.check_port(place[1])
            admitted = who is not NOBODY and self.book.policies.identify(who, self.now()) is None
            if admitted and not self._stopping:
                return place
        except (FactsError, DestinationRefused) as error:
            problem = Problem(error.code, error.message)
        except Exception:  # noqa: BLE001 -- every unknown is a deny
            _log.exception("reading a CONNECT failed; it is refused")
        problem = problem or Problem("gate.error", "internal error")
        return await self.judge(self.malformed_head(inbound, who, problem), None)

    async def judge(
        self, head: Head, body: bytes | None, *, complete: bool = True, gone: asyncio.Future[None] | None = None
    ) -> Verdict:
        """The verdict on a request, recorded. Never raises but for cancellation; every exception refuses.

        `body` is b"" when there is none, None when it was not read; with `complete` false it is the first
        bytes of a longer one. A verdict that does not forward already has its outcome written; one that
        does needs a `finish`. This may take as long as humans take; `gone` is done when nobody waits any more.
        """
        self._judging += 1
        try:
            verdict = await self._judge_or_refuse(head, body, complete, gone)
            if verdict.answer is not None and verdict.refusal is not None:
                result = _ANSWERED[Outcome(verdict.refusal.outcome)]
                self.finish(verdict, Ending(result, verdict.answer.status, error=verdict.error))
            return verdict
        finally:
            self._judging -= 1
            if not self._judging:
                self._settled.set()

    async def _judge_or_refuse(
        self, head: Head, body: bytes | None, complete: bool, gone: asyncio.Future[None] | None
    ) -> Verdict:
        recorded: list[str] = []
        try:
            return await self._judge(head, body, complete, recorded, gone)
        except ChronError as error:
            _log.error("cannot record a decision, so nothing is forwarded: %s", error)
            return self._unrecorded(head, "gate.audit-unavailable", "gate -- the decision cannot be recorded")
        except Exception:  # noqa: BLE001 -- the catch-all: without it an exception would decide
            _log.exception("judging a request failed; it is refused")
            self._end_unsent(head, recorded)
            return await self._refuse_by_error(head)

    async def _judge(
        self,
        head: Head,
        body: bytes | None,
        complete: bool,
        recorded: list[str],
        gone: asyncio.Future[None] | None,
    ) -> Verdict:
        if head.needs_body and self.refusal(head.credential) is not None:
            head = replace(head, book=self.book, at=self.now())  # stopped while the body was on its way
        facts = head.facts
        if facts is not None and body is not None:
            facts = replace(facts, request=replace(facts.request, body=body, body_complete=complete))
        decided = self._decide(head, facts)
        if facts is not None and decided.held:
            self.uses.release(decided.charges)
            return await self._hold(head, facts, decided, recorded, gone)
        return await self._conclude(head, facts, decided, recorded)

    async def _conclude(
        self, head: Head, facts: Facts | None, decided: Decided, recorded: list[str], approval: Approval | None = None
    ) -> Verdict:
        """Record what was decided and make the verdict of it; `approval` is what it is allowed by."""
        try:
            judgements = await self._seconded(decided, head.at)
            route, judgements, unreachable = await self._route(head, facts, judgements)
            decided = replace(decided, judgements=judgements)
            used: list[Record] = []
            if approval is not None and route is not None:
                used = [("approval", used_fields(approval, approval.approvers(_approvers(decided))))]
            marks: FieldValues = {"approval": approval.id if used and approval else None}
            # If the use were recorded after the decision, a crash between them would leave a second run.
            ids = await self._record(head, facts, route, decided, recorded, marks, used)
            if approval is not None:
                (self.holding.spent if used else self.holding.give_back)(approval.id)
            verdict = self._verdict(head, facts, route, decided, ids, unreachable)
        except BaseException:
            self.uses.release(decided.charges)
            raise
        stopped = self.refusal(head.credential) if verdict.answer is None else None
        if stopped is not None:
            # Stopped while the record was on its way to the disk, where no sweep sees it; nothing has left yet.
            self.uses.release(decided.charges)
            self._end_unsent(head, recorded, stopped.reason)
            recorded.clear()
            anew = replace(head, book=self.book, at=self.now())
            return await self._conclude(anew, facts, self._decide(anew, facts), recorded)
        if verdict.answer is not None:
            self.uses.release(decided.charges)
        return verdict

    # --- waiting for humans --------------------------------------------------------------------------

    async def _hold(
        self, head: Head, facts: Facts, decided: Decided, recorded: list[str], gone: asyncio.Future[None] | None
    ) -> Verdict:
        """Ask humans for this request, wait for them as long as it may wait, and decide anew."""
        try:
            asked = _asked(head, facts, decided)
            approval, new = self.holding.enter(asked, head.at)
        except ApprovalError as error:
            return await self._conclude(head, facts, _refused(head, decided, error), recorded)
        if self.holding.phase(approval.id, head.book.policies) is Phase.PENDING:
            ids = await self._ask(head, facts, decided, approval, new, recorded)
            woken = await self._park(head, approval, ids, recorded, gone)
            if woken in (Woken.WAITING, Woken.GONE):
                return self._waiting(head, facts, decided, ids, approval, woken)
            self._end_held(ids, woken)
            recorded.clear()
            if woken not in (Woken.APPROVED, Woken.STOPPED):
                return await self._conclude(head, facts, _refused(head, decided, _why(approval, woken)), recorded)
        return await self._decide_again(replace(head, book=self.book, at=self.now()), facts, approval, recorded)

    async def _ask(
        self, head: Head, facts: Facts, decided: Decided, approval: Approval, new: bool, recorded: list[str]
    ) -> tuple[str, ...]:
        """Record that a request is held, and the question to humans when it is a new one."""
        kept_out = {name for each in decided.judgements for name in each.decision.redact}
        question: list[Record] = [("approval", requested_fields(approval, kept_out))] if new else []
        try:
            ids = await self._record(head, facts, None, decided, recorded, {"held": approval.id}, question)
        except BaseException:
            if new:
                self.holding.withdraw(approval)
            raise
        if new:
            self.holding.begun(approval)
        return ids

    async def _park(
        self,
        head: Head,
        approval: Approval,
        ids: Sequence[str],
        recorded: list[str],
        gone: asyncio.Future[None] | None,
    ) -> Woken:
        if self.refusal(head.credential) is not None:
            return Woken.STOPPED  # while the question was being recorded, when nothing was parked to be woken
        try:
            return await self.holding.park(approval.id, self.book.policies, gone, head.credential)
        except BaseException:
            self._end_held(ids, Woken.GONE)
            recorded.clear()  # they have their outcome
            raise

    async def _decide_again(self, head: Head, facts: Facts, approval: Approval, recorded: list[str]) -> Verdict:
        """Decide a request that was approved, by the rules, the uses and the time there are now."""
        policies = head.book.policies
        approvers = self.holding.counting(self.holding.get(approval.id), policies, head.at)
        decided = self._decide(head, facts, approvers)
        needed = any(each.decision.holds for each in decided.judgements)
        if not needed or any(each.denies for each in decided.judgements):
            return await self._conclude(head, facts, decided, recorded)
        try:
            asked = _asked(head, facts, decided)
            if asked.fingerprint != approval.asked.fingerprint:
                raise ApprovalError("approval.changed", f"{approval.id} -- the request has another meaning by now")
            if decided.held:
                # Other rules were loaded: they ask for more than has been said.
                approval = self.holding.ask_more(approval.id, asked)
                self.uses.release(decided.charges)
                ids = await self._record(
                    head,
                    facts,
                    None,
                    decided,
                    recorded,
                    {"held": approval.id},
                    [("approval", requested_fields(approval))],
                )
                return self._waiting(head, facts, decided, ids, approval, Woken.WAITING)
            # If this line is removed, an approval is good for any number of runs.
            approval = self.holding.take(approval.id, policies, head.at)
        except ApprovalError as error:
            self.uses.release(decided.charges)
            return await self._conclude(head, facts, _refused(head, decided, error), recorded)
        return await self._conclude(head, facts, decided, recorded, approval)

    def _waiting(
        self, head: Head, facts: Facts, decided: Decided, ids: tuple[str, ...], approval: Approval, woken: Woken
    ) -> Verdict:
        """The answer to an agent whose request waits on; nothing of it is forwarded."""
        first = next(index for index, each in enumerate(decided.judgements) if each.decision.outcome is Outcome.HOLD)
        operation = decided.resolution.operations[first]
        refusal = replace(
            _refusal(operation, decided.judgements[first].decision, ids[first]),
            approval=approval.id,
            approval_url=self.holding.url + approval.id if self.holding.url else "",
        )
        reply = answer(refusal, facts.request, decided.resolution.family)
        error = woken.value if woken is Woken.GONE else ""
        return Verdict(reply, facts, None, ids[first], ids, refusal, head.started_ns, error)

    def _end_held(self, ids: Sequence[str], woken: Woken) -> None:
        """Write what became of a request that was held: of it, as it was decided first, nothing was forwarded."""
        for record_id in ids:
            self._note("outcome", {"channel": "wire", "ref": record_id, "result": "held", "error": woken.value})

    async def _route(
        self, head: Head, facts: Facts | None, judgements: list[Judgement]
    ) -> tuple[Route | None, list[Judgement], str]:
        """Where a request that may go on goes: its route, what that makes of the judgements, why there is none."""
        if facts is None or head.inbound.delegated or not all(each.decision.forwards for each in judgements):
            return None, judgements, ""
        try:
            return await self.destinations.route(facts.request.host, facts.request.port), judgements, ""
        except DestinationRefused as error:
            # Where it goes is refused whatever the operation is, so every operation is.
            reason = f"destination -- {error.message}"
            refused = head.book.policies.refuse(head.credential, error.code, reason, head.at)
            # What a policy keeps out of the record stays out of it, whatever the refusal is.
            kept_out = [each.decision.redact for each in judgements]
            return None, [Judgement(replace(refused, redact=fields)) for fields in kept_out], ""
        except DestinationUnknown as error:
            return None, judgements, str(error)

    async def _seconded(self, decided: Decided, at: datetime) -> list[Judgement]:
        """What is left of the judgements once an external PDP was asked about everything that would go on."""
        judgements, operations = decided.judgements, decided.resolution.operations or (None,)
        if self.pdp is None or not all(each.decision.forwards for each in judgements):
            return judgements
        asked = [
            evaluation(each.decision, each.question, operation.action if operation else decided.resolution.unnamed, at)
            for operation, each in zip(operations, judgements, strict=True)
        ]
        words = await self.pdp.ask(asked)
        return [_with_word(each, word) for each, word in zip(judgements, words, strict=True)]

    def _decide(self, head: Head, facts: Facts | None, approvers: tuple[str, ...] = ()) -> Decided:
        """Who, resolve and decide: one judgement for each operation, at least one, and what they count against."""
        policies, who, at = head.book.policies, head.credential, head.at
        nothing = Resolution((), None, "")

        def refused(code: str, reason: str, *, observable: bool = False) -> list[Judgement]:
            return [Judgement(policies.refuse(who, code, reason, at, observable=observable))]

        if self._stopping:
            return Decided(nothing, refused("gate.stopping", "gate -- stopping"))
        if isinstance(head.problem, Unproven):
            return Decided(nothing, refused(head.problem.code, head.problem.message))
        if who is NOBODY:
            return Decided(nothing, refused("agent.no-credentials", "agent -- no credentials"))
        if denied := policies.identify(who, at):
            return Decided(nothing, [Judgement(denied)])
        if facts is None:
            problem = head.problem or Problem("gate.error", "internal error")
            area = problem.code.partition(".")[0]
            return Decided(nothing, refused(problem.code, f"{area} -- {problem.message}"))
        resolution = head.book.mappings.resolve(facts.request)
        if resolution.problem or not resolution.operations:
            problem = resolution.problem or Problem("mapping.unmapped", "no rule names this request")
            # Only a request that nothing names may pass an agent under observation; one that could not
            # be read, or that has two readings, is refused even then.
            unmapped = problem.code == "mapping.unmapped"
            return Decided(resolution, refused(problem.code, f"mapping -- {problem.message}", observable=unmapped))
        exceptions = self.exceptions.active(policies, who.agent, at)
        charges: list[Charge] = []
        judged = [
            self._decide_one(head, facts, operation, charges, approvers, exceptions)
            for operation in resolution.operations
        ]
        return Decided(resolution, judged, charges)

    def _decide_one(
        self,
        head: Head,
        facts: Facts,
        operation: Operation,
        charges: list[Charge],
        approvers: tuple[str, ...],
        exceptions: tuple[BreakGlass, ...],
    ) -> Judgement:
        """Decide one operation; what it uses up is counted at once, so that the next one sees it."""
        policies = head.book.policies
        limits = policies.limits(head.credential.agent, operation.action)
        uses = self.uses.counts(limits, head.at) if limits else {}
        client = head.inbound.client
        question = wire_question(
            head.credential, operation, facts, head.at, client, policies, uses, approvers, exceptions
        )
        decision = policies.decide(question)
        if decision.forwards:
            charges += self.uses.charge(decision.limits, head.at)
        return Judgement(decision, question)

    async def _record(
        self,
        head: Head,
        facts: Facts | None,
        route: Route | None,
        decided: Decided,
        recorded: list[str],
        marks: FieldValues | None = None,
        more: Sequence[Record] = (),
    ) -> tuple[str, ...]:
        """Make one record for each decision durable, and `more` with them, adjacent and all or none; their ids.

        `marks` stand in each of them.
        """
        resolution, judgements = decided.resolution, decided.judgements
        self._requests += 1
        request_id = f"{self._origin.session}-{self._requests}"
        shared = wire_fields(self._origin, request_id, head.inbound, facts, route, head.book.digest)
        shared |= proof_fields(head.credential)
        operations: Sequence[Operation | None] = resolution.operations or (None,)
        kept_out = {name for each in judgements for name in each.decision.redact}
        records: list[Record] = [
            (
                "decision",
                without(
                    {
                        **shared,
                        **(marks or {}),
                        "pdp": each.pdp or None,
                        **operation_fields(operation, resolution.unnamed),
                        **decision_fields(each.decision, each.question),
                    },
                    kept_out,
                ),
            )
            for operation, each in zip(operations, judgements, strict=True)
        ]
        session: FieldValues = {"session": self._origin.session}
        others = [(kind, {**fields, **session}) for kind, fields in more]
        receipts = await self._chron.append_many([*records, *others])
        ids = tuple(receipt.id for receipt in receipts[: len(records)])
        recorded += ids
        for each in judgements:
            self.metrics.decided(each.decision, time.perf_counter_ns() - head.started_ns)
        return ids

    def _verdict(
        self,
        head: Head,
        facts: Facts | None,
        route: Route | None,
        decided: Decided,
        ids: tuple[str, ...],
        unreachable: str,
    ) -> Verdict:
        """The answer of the first denied operation, or permission to forward."""
        resolution = decided.resolution
        operations: Sequence[Operation | None] = resolution.operations or (None,)
        decisions = [each.decision for each in decided.judgements]
        listed = list(zip(operations, decisions, ids, strict=True))
        # What is denied goes before what only needs approval: no approval would help.
        for operation, decision, chron_id in sorted(listed, key=lambda each: each[1].outcome is not Outcome.DENY):
            if not decision.forwards:
                refusal = _refusal(operation, decision, chron_id, resolution.unnamed)
                request = facts.request if facts else None
                reply = answer(refusal, request, resolution.family)
                return Verdict(
                    reply, facts, None, chron_id, ids, refusal, head.started_ns, channel=channel(head.inbound)
                )
        if head.inbound.delegated:
            permitted = _refusal(operations[0], decisions[0], ids[0])
            return Verdict(None, facts, None, ids[0], ids, permitted, head.started_ns, channel=FORWARD)
        if route is None or facts is None:
            refusal = replace(
                _refusal(operations[0], decisions[0], ids[0]),
                code="upstream.unresolved",
                reason=f"upstream -- {unreachable}",
            )
            return Verdict(answer(refusal), facts, None, ids[0], ids, refusal, head.started_ns, unreachable)
        permitted = _refusal(operations[0], decisions[0], ids[0])
        return Verdict(None, facts, route, ids[0], ids, permitted, head.started_ns)

    async def _refuse_by_error(self, head: Head) -> Verdict:
        """The catch-all's verdict: a recorded refusal, or an unrecorded one where even that fails."""
        code, reason = "gate.error", "gate -- internal error"
        recorded: list[str] = []
        try:
            decision = head.book.policies.refuse(head.credential, code, reason, head.at)
            nothing = Resolution((), None, "")
            ids = await self._record(head, None, None, Decided(nothing, [Judgement(decision)]), recorded)
            refusal = _refusal(None, decision, ids[0])
            how = channel(head.inbound)
            return Verdict(answer(refusal), None, None, ids[0], ids, refusal, head.started_ns, channel=how)
        except Exception:  # noqa: BLE001 -- the last resort refuses without a record
            _log.exception("the refusal could not be recorded either")
            self._end_unsent(head, recorded)
            return self._unrecorded(head, code, reason)

    def _unrecorded(self, head: Head, code: str, reason: str) -> Verdict:
        """A refusal with no record: the last resort, 503, nothing forwarded."""
        refusal = Refusal(
            outcome=Outcome.DENY.value,
            reason=reason,
            code=code,
            action="",
            target="",
            agent="",
            anchor="",
            chron_id="",
        )
        try:
            reply = answer(refusal)
        except Exception:  # noqa: BLE001 -- even then there is an answer, and it is no permission
            _log.exception("no answer could be made")
            reply = Answer(503, ((b"Content-Length", b"0"),), b"")
        return Verdict(reply, None, None, "", (), refusal, head.started_ns)

    def _end_unsent(self, head: Head, record_ids: Sequence[str], why: str = "the gate failed after recording") -> None:
        """What was recorded before something failed was forwarded by nobody: say so now, not at the next start."""
        for record_id in record_ids:
            fields: FieldValues = {"channel": channel(head.inbound), "ref": record_id}
            self._note("outcome", {**fields, "result": "blocked", "error": why})

    def finish(self, verdict: Verdict, ending: Ending) -> None:
        """Record what became of a judged request, off the critical path."""
        duration_us = (time.perf_counter_ns() - verdict.started_ns) // 1000
        self.metrics.finished(ending)
        for record_id in verdict.record_ids:
            self._note(
                "outcome",
                {
                    "channel": verdict.channel,
                    "ref": record_id,
                    "result": ending.result,
                    "status": ending.status,
                    "request_bytes": ending.request_bytes,
                    "response_bytes": ending.response_bytes,
                    "duration_us": duration_us,
                    "error": redacted_text(ending.error)[:256] or None,
                },
            )

    def going_on(self, verdict: Verdict, request_bytes: int, response_bytes: int) -> None:
        """Record how far a forwarded request is that has no ending yet, off the critical path."""
        duration_us = (time.perf_counter_ns() - verdict.started_ns) // 1000
        for record_id in verdict.record_ids:
            fields: FieldValues = {"channel": verdict.channel, "ref": record_id, "duration_us": duration_us}
            self._note("segment", {**fields, "request_bytes": request_bytes, "response_bytes": response_bytes})

    def _note(self, kind: str, fields: FieldValues) -> None:
        try:
            self._chron.note(kind, fields)
        except ChronError as error:
            # The decision stands; the next start writes one without its outcome down as in doubt.
            _log.error("a record of kind %s could not be written: %s", kind, error)

    async def check(self, who: Credential, action: str, target: str, environment: str, client: str) -> Checked:
        """Decide and record a question an agent asks before it acts.

        The same rules, the same Chron. Raises ValueError for an action that is none, ChronError when the
        answer cannot be recorded.
        """
        (checked,) = await self.check_all([Inquiry(who, canonical_action(action), target, environment, client)])
        return checked

    async def check_all(self, inquiries: Sequence[Inquiry], stop_at: bool | None = None) -> list[Checked]:
        """Decide and record several questions, up to the first whose being allowed is `stop_at`.

        The records are adjacent, all or none. Raises ChronError when they cannot be written.
        """
        started_ns, at, book = time.perf_counter_ns(), self.now(), self.book
        judged = [self._inquire(book, inquiry, at) for inquiry in inquiries]
        judged = await self._seconded_each(judged, at)
        allowed = [each.decision.outcome is Outcome.ALLOW for each in judged]
        if stop_at in allowed:
            judged = judged[: allowed.index(stop_at) + 1]
        records = [self._inquiry_record(book, *each) for each in zip(inquiries, judged, strict=False)]
        receipts = await self._chron.append_many(records)
        for each in judged:
            self.metrics.decided(each.decision, time.perf_counter_ns() - started_ns)
        return [
            Checked(each.decision, inquiry.action, inquiry.target, receipt.id)
            for inquiry, each, receipt in zip(inquiries, judged, receipts, strict=False)
        ]

    def _inquire(self, book: Book, inquiry: Inquiry, at: datetime) -> Judgement:
        policies, agent = book.policies, inquiry.who.agent
        question = Question(
            inquiry.who,
            inquiry.action,
            recorded_target(inquiry.target),
            inquiry.environment,
            at,
            inquiry.client,
            uses=self.uses.counts(policies.limits(agent, inquiry.action), at),
            exceptions=self.exceptions.active(policies, agent, at),
        )
        decide = policies.decide_again if inquiry.asked_by else policies.decide
        return Judgement(decide(question), question)

    async def _seconded_each(self, judged: list[Judgement], at: datetime) -> list[Judgement]:
        """As `_seconded`, of questions that stand each for itself."""
        going = [index for index, each in enumerate(judged) if each.decision.forwards]
        if self.pdp is None or not going:
            return judged
        asked = [evaluation(judged[index].decision, judged[index].question, "", at) for index in going]
        judged = list(judged)
        for index, word in zip(going, await self.pdp.ask(asked), strict=True):
            judged[index] = _with_word(judged[index], word)
        return judged

    def _inquiry_record(self, book: Book, inquiry: Inquiry, judged: Judgement) -> Record:
        fields: FieldValues = {
            "channel": "api",
            "session": self._origin.session,
            "client": inquiry.client,
            "asked_by": inquiry.asked_by or None,
            "action": inquiry.action,
            "target": recorded_target(inquiry.target),
            "environment": inquiry.environment or None,
            "rules_digest": book.digest,
            "pdp": judged.pdp or None,
            **proof_fields(inquiry.who),
            **decision_fields(judged.decision, judged.question),
        }
        return "decision", without(fields, judged.decision.redact)


def _may_hold(book: Book, who: Credential, facts: Facts) -> bool:
    """Whether something that a request's head names may need approval, so that all of it must be read."""
    operations = book.mappings.resolve(facts.request).operations
    return any(book.policies.may_hold(who.agent, operation.action) for operation in operations)


def _asked(head: Head, facts: Facts, decided: Decided) -> Asked:
    """What humans are asked to approve; raises ApprovalError when nobody can know what that would be."""
    request, operations = facts.request, decided.resolution.operations
    if head.inbound.delegated:
        raise ApprovalError("approval.unreadable", "approval -- the body is not seen here, so nobody can approve it")
    if request.body is None or not request.body_complete:
        raise ApprovalError("approval.unreadable", "approval -- the body is too long to be approved")
    decisions = [each.decision for each in decided.judgements]
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


def _refused(head: Head, decided: Decided, error: ApprovalError) -> Decided:
    """The same request, refused whole for want of approval."""
    reason = error.reason if " -- " in error.reason else f"approval -- {error.reason}"
    refused = head.book.policies.refuse(head.credential, error.code, reason, head.at)
    return Decided(decided.resolution, [Judgement(refused)] * len(decided.judgements))


def _with_word(each: Judgement, word: Word) -> Judgement:
    """The judgement, if the external PDP allows it too, else the refusal that its word is, which no mode lets pass."""
    if word.said is Said.ALLOW:
        return replace(each, pdp=word.said.value)
    refused = replace(
        each.decision,
        outcome=Outcome.DENY,
        mode=Mode.ENFORCE,
        stage="pdp",
        code="pdp.denied" if word.said is Said.DENY else "pdp.unavailable",
        reason=f"pdp -- {word.reason}",
        rule="",
        pattern="",
        policy=None,
        holds=(),
        limits=(),
        exception="",
    )
    # Without its question: no text of ours would give this answer again.
    return Judgement(refused, pdp=word.said.value)


def _why(approval: Approval, woken: Woken) -> ApprovalError:
    if woken is Woken.STOPPING:
        return ApprovalError("gate.stopping", "gate -- stopping")
    return ApprovalError(f"approval.{woken.name.lower()}", f"{approval.id} -- {woken.value}")


def _approvers(decided: Decided) -> tuple[str, ...]:
    """Whose word the decisions hang on."""
    return next((each.question.approvers for each in decided.judgements if each.question), ())


def _refusal(operation: Operation | None, decision: Decision, chron_id: str, unnamed: str = "") -> Refusal:
    return Refusal(
        outcome=decision.outcome.value,
        reason=decision.reason,
        code=decision.code,
        action=operation.action if operation else unnamed or NOTHING_NAMED,
        target=operation.target if operation else "",
        agent=decision.agent,
        anchor=decision.anchor,
        chron_id=chron_id,
    )
