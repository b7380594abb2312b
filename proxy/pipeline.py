"""The decision pipeline: who, facts, resolve, decide, record, answer, outcome.

`Gate.read_head` takes the first three steps that need no body, `Gate.judge` the rest, `Gate.finish`
writes what became of it. The pipeline knows no engine: it is called with plain values, by the wire and
by tests alike, and what it returns says either "forward this canonical form to this address" or "send
this answer".

Promises, each held by tests:

- every unknown and every exception ends in a refusal; there is one catch-all, in `judge`;
- a `Verdict` that forwards exists only after its records are durable;
- if nothing can be recorded the answer is 503 and nothing is forwarded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chron import Chron, ChronError, redacted_text
from mappings import Mappings, Operation, Problem, Resolution, canonical_action
from policies import Credential, Decision, Outcome, Policies, Question
from proxy.answers import Answer, Refusal, answer
from proxy.destinations import DestinationRefused, Destinations, DestinationUnknown, Route
from proxy.facts import Facts, FactsError, Inbound, connect_authority, read_facts
from proxy.identity import NO_ISSUERS, ClientCertificate, Issuers, Unproven
from proxy.identity import NOBODY as NOBODY
from proxy.identity import read_credential as read_credential
from proxy.metrics import Metrics
from proxy.questions import FieldValues, recorded_target, wire_question
from proxy.records import (
    NOTHING_NAMED,
    Origin,
    decision_fields,
    operation_fields,
    proof_fields,
    stopped_fields,
    wire_fields,
    without,
)
from proxy.uses import Charge, Uses

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Book:
    """The rules in force; swapped as a whole on reload."""

    mappings: Mappings
    policies: Policies
    digest: str
    issuers: Issuers = NO_ISSUERS
    """Whose workload tokens are believed."""


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
    """The rules the head was read by; the body is judged by the same ones."""
    started_ns: int
    at: datetime
    """When it came; the time that all of it is judged at."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about one operation of a request; of a request that is none, about it as a whole."""

    decision: Decision
    question: Question | None = None
    """None where no texts were asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request. It forwards exactly when `route` is set and `answer` is not."""

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


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a forwarded request."""

    result: str
    """`sent`, `failed` or `blocked`."""
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to an agent that asked first."""

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
    ) -> None:
        self.book = book
        self.destinations = destinations
        self.metrics = metrics
        self._chron = chron
        self._origin = origin
        self.uses = Uses()
        self.now = now
        self._stopping = False
        self._requests = 0
        self._judging = 0
        self._settled = asyncio.Event()

    def stop(self) -> None:
        """From now on refuse every request; what is under way goes on."""
        self._stopping = True

    def refusal(self, who: Credential) -> Decision | None:
        """Why an agent may not act now, whatever the action; None when it may."""
        return self.book.policies.identify(who, self.now())

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
            needs_body = (
                not inbound.bodiless
                and book.policies.identify(who, at) is None
                and book.mappings.needs_body(facts.request)
            )
            return Head(inbound, who, facts, None, needs_body, book, started_ns, at)
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

    async def judge(self, head: Head, body: bytes | None, *, complete: bool = True) -> Verdict:
        """The verdict on a request, recorded. Never raises but for cancellation; every exception refuses.

        `body` is b"" when there is none, None when it was not read; with `complete` false it is the first
        bytes of a longer one. A verdict that does not forward already has its outcome written; one that
        does needs a `finish`.
        """
        self._judging += 1
        try:
            verdict = await self._judge_or_refuse(head, body, complete)
            if verdict.answer is not None and verdict.refusal is not None:
                result = "blocked" if verdict.refusal.outcome == Outcome.DENY.value else "failed"
                self.finish(verdict, Ending(result, verdict.answer.status, error=verdict.error))
            return verdict
        finally:
            self._judging -= 1
            if not self._judging:
                self._settled.set()

    async def _judge_or_refuse(self, head: Head, body: bytes | None, complete: bool) -> Verdict:
        recorded: list[str] = []
        try:
            return await self._judge(head, body, complete, recorded)
        except ChronError as error:
            _log.error("cannot record a decision, so nothing is forwarded: %s", error)
            return self._unrecorded(head, "gate.audit-unavailable", "gate -- the decision cannot be recorded")
        except Exception:  # noqa: BLE001 -- the catch-all: without it an exception would decide
            _log.exception("judging a request failed; it is refused")
            self._end_unsent(recorded)
            return await self._refuse_by_error(head)

    async def _judge(self, head: Head, body: bytes | None, complete: bool, recorded: list[str]) -> Verdict:
        if head.needs_body and self.refusal(head.credential) is not None:
            head = replace(head, book=self.book, at=self.now())  # stopped while the body was on its way
        facts = head.facts
        if facts is not None and body is not None:
            facts = replace(facts, request=replace(facts.request, body=body, body_complete=complete))
        resolution, judgements, charges = self._decide(head, facts)
        try:
            route, judgements, unreachable = await self._route(head, facts, judgements)
            ids = await self._record(head, facts, route, resolution, judgements, recorded)
            verdict = self._verdict(head, facts, route, resolution, judgements, ids, unreachable)
        except BaseException:
            self.uses.release(charges)
            raise
        stopped = self.refusal(head.credential) if verdict.answer is None else None
        if stopped is not None:
            # Stopped while the record was on its way to the disk, where no sweep sees it; nothing has left yet.
            self.uses.release(charges)
            self._end_unsent(recorded, stopped.reason)
            recorded.clear()
            return await self._judge(replace(head, book=self.book, at=self.now()), body, complete, recorded)
        if verdict.answer is not None:
            self.uses.release(charges)
        return verdict

    async def _route(
        self, head: Head, facts: Facts | None, judgements: list[Judgement]
    ) -> tuple[Route | None, list[Judgement], str]:
        """Where a request that may go on goes: its route, what that makes of the judgements, why there is none."""
        if facts is None or not all(each.decision.forwards for each in judgements):
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

    def _decide(self, head: Head, facts: Facts | None) -> tuple[Resolution, list[Judgement], list[Charge]]:
        """Who, resolve and decide: one judgement for each operation, at least one, and what they count against."""
        policies, who, at = head.book.policies, head.credential, head.at
        nothing = Resolution((), None, "")

        def refused(code: str, reason: str, *, observable: bool = False) -> list[Judgement]:
            return [Judgement(policies.refuse(who, code, reason, at, observable=observable))]

        if self._stopping:
            return nothing, refused("gate.stopping", "gate -- stopping"), []
        if isinstance(head.problem, Unproven):
            return nothing, refused(head.problem.code, head.problem.message), []
        if who is NOBODY:
            return nothing, refused("agent.no-credentials", "agent -- no credentials"), []
        if denied := policies.identify(who, at):
            return nothing, [Judgement(denied)], []
        if facts is None:
            problem = head.problem or Problem("gate.error", "internal error")
            area = problem.code.partition(".")[0]
            return nothing, refused(problem.code, f"{area} -- {problem.message}"), []
        resolution = head.book.mappings.resolve(facts.request)
        if resolution.problem or not resolution.operations:
            problem = resolution.problem or Problem("mapping.unmapped", "no rule names this request")
            # Only a request that nothing names may pass an agent under observation; one that could not
            # be read, or that has two readings, is refused even then.
            unmapped = problem.code == "mapping.unmapped"
            return resolution, refused(problem.code, f"mapping -- {problem.message}", observable=unmapped), []
        charges: list[Charge] = []
        judged = [self._decide_one(head, facts, operation, charges) for operation in resolution.operations]
        return resolution, judged, charges

    def _decide_one(self, head: Head, facts: Facts, operation: Operation, charges: list[Charge]) -> Judgement:
        """Decide one operation; what it uses up is counted at once, so that the next one sees it."""
        policies = head.book.policies
        limits = policies.limits(head.credential.agent, operation.action)
        uses = self.uses.counts(limits, head.at) if limits else {}
        client = head.inbound.client
        question = wire_question(head.credential, operation, facts, head.at, client, policies, uses)
        decision = policies.decide(question)
        if decision.forwards:
            charges += self.uses.charge(decision.limits, head.at)
        return Judgement(decision, question)

    async def _record(
        self,
        head: Head,
        facts: Facts | None,
        route: Route | None,
        resolution: Resolution,
        judgements: list[Judgement],
        recorded: list[str],
    ) -> tuple[str, ...]:
        """Make one record for each decision durable, adjacent and all or none; their ids."""
        self._requests += 1
        request_id = f"{self._origin.session}-{self._requests}"
        shared = wire_fields(self._origin, request_id, head.inbound, facts, route, head.book.digest)
        shared |= proof_fields(head.credential)
        operations: Sequence[Operation | None] = resolution.operations or (None,)
        kept_out = {name for each in judgements for name in each.decision.redact}
        records: list[tuple[str, FieldValues]] = [
            (
                "decision",
                without(
                    {
                        **shared,
                        **operation_fields(operation, resolution.unnamed),
                        **decision_fields(each.decision, each.question),
                    },
                    kept_out,
                ),
            )
            for operation, each in zip(operations, judgements, strict=True)
        ]
        receipts = await self._chron.append_many(records)
        recorded += [receipt.id for receipt in receipts]
        for each in judgements:
            self.metrics.decided(each.decision, time.perf_counter_ns() - head.started_ns)
        return tuple(receipt.id for receipt in receipts)

    def _verdict(
        self,
        head: Head,
        facts: Facts | None,
        route: Route | None,
        resolution: Resolution,
        judgements: list[Judgement],
        ids: tuple[str, ...],
        unreachable: str,
    ) -> Verdict:
        """The answer of the first refused operation, or permission to forward."""
        operations: Sequence[Operation | None] = resolution.operations or (None,)
        decisions = [each.decision for each in judgements]
        for operation, decision, chron_id in zip(operations, decisions, ids, strict=True):
            if not decision.forwards:
                refusal = _refusal(operation, decision, chron_id, resolution.unnamed)
                request = facts.request if facts else None
                reply = answer(refusal, request, resolution.family)
                return Verdict(reply, facts, None, chron_id, ids, refusal, head.started_ns)
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
            ids = await self._record(head, None, None, nothing, [Judgement(decision)], recorded)
            refusal = _refusal(None, decision, ids[0])
            return Verdict(answer(refusal), None, None, ids[0], ids, refusal, head.started_ns)
        except Exception:  # noqa: BLE001 -- the last resort refuses without a record
            _log.exception("the refusal could not be recorded either")
            self._end_unsent(recorded)
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

    def _end_unsent(self, record_ids: Sequence[str], why: str = "the gate failed after recording") -> None:
        """What was recorded before something failed was forwarded by nobody: say so now, not at the next start."""
        for record_id in record_ids:
            self._note("outcome", {"channel": "wire", "ref": record_id, "result": "blocked", "error": why})

    def finish(self, verdict: Verdict, ending: Ending) -> None:
        """Record what became of a judged request, off the critical path."""
        duration_us = (time.perf_counter_ns() - verdict.started_ns) // 1000
        self.metrics.finished(ending)
        for record_id in verdict.record_ids:
            self._note(
                "outcome",
                {
                    "channel": "wire",
                    "ref": record_id,
                    "result": ending.result,
                    "status": ending.status,
                    "request_bytes": ending.request_bytes,
                    "response_bytes": ending.response_bytes,
                    "duration_us": duration_us,
                    "error": redacted_text(ending.error)[:256] or None,
                },
            )

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
        action = canonical_action(action)
        book = self.book
        at = self.now()
        uses = self.uses.counts(book.policies.limits(who.agent, action), at)
        question = Question(who, action, recorded_target(target), environment, at, client, uses=uses)
        started_ns = time.perf_counter_ns()
        decision = book.policies.decide(question)
        fields: FieldValues = {
            "channel": "api",
            "session": self._origin.session,
            "client": client,
            "action": action,
            "target": question.target,
            "environment": environment or None,
            "rules_digest": book.digest,
            **proof_fields(who),
            **decision_fields(decision, question),
        }
        fields = without(fields, decision.redact)
        receipt = await self._chron.append("decision", fields)
        self.metrics.decided(decision, time.perf_counter_ns() - started_ns)
        return Checked(decision, action, target, receipt.id)


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
