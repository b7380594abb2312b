"""Decides what a request or a question is allowed: who, resolve, decide. The only place where texts are asked.

In this order; the first that fails refuses the request as a whole, and no text is asked:

    the gate stops -> a proof that is none -> no credentials -> agent or human may not act
    -> no facts -> no single reading, or nothing names it -> each operation by the texts

It waits for nothing, records nothing and lets nothing go on. What an operation uses up is counted at once, so that
the next operation and the next request see it; whoever gets a `Decided` takes its charges back when nothing comes
of it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from mappings import Problem, Resolution
from policies import Credential, Decision, Question
from proxy.breakglass import ExceptionDesk
from proxy.facts import Facts
from proxy.identity import NOBODY, Unproven
from proxy.questions import recorded_target, wire_question
from proxy.upgrades import uncovered
from proxy.uses import Charge, Uses
from proxy.verdicts import NOTHING, Book, Decided, Head, Inquiry, Judgement

_UNMAPPED = Problem("mapping.unmapped", "no rule names this request")
_NO_FACTS = Problem("gate.error", "internal error")


class Present(Protocol):
    """What is so now; it changes while a request waits for a human, a PDP or a disk."""

    book: Book
    """The rules in force."""
    now: Callable[[], datetime]

    def refusal(self, who: Credential) -> Decision | None:
        """Why an agent may not act now, whatever the action; None when it may."""


class Judging:
    """Decides by the texts, the uses and the exceptions there are; lives in the gate's event loop."""

    def __init__(self, exceptions: ExceptionDesk) -> None:
        self.uses = Uses()
        self.stopping = False
        """Set when the gate stops; from then on every request is refused."""
        self._exceptions = exceptions

    def decide(self, head: Head, facts: Facts | None, approvers: tuple[str, ...] = ()) -> Decided:
        """Decide every operation of a request; `approvers` are the humans who have said yes to it."""
        if stopped := self._stopped(head):
            return Decided(NOTHING, [Judgement(stopped)])
        if facts is None:
            problem = head.problem or _NO_FACTS
            area = problem.code.partition(".")[0]
            return Decided(NOTHING, [Judgement(refuse(head, problem.code, f"{area} -- {problem.message}"))])
        resolution = head.book.mappings.resolve(facts.request)
        if resolution.problem or not resolution.operations:
            problem = resolution.problem or _UNMAPPED
            # Only a request that nothing names may pass an agent under observation; one that could not
            # be read, or that has two readings, is refused even then.
            observable = problem.code == _UNMAPPED.code
            refused = refuse(head, problem.code, f"mapping -- {problem.message}", observable=observable)
            return Decided(resolution, [Judgement(refused)])
        charges: list[Charge] = []
        try:
            judgements = self._decide_each(head, facts, resolution, approvers, charges)
        except BaseException:
            self.uses.release(charges)
            raise
        decided = Decided(resolution, judgements, charges)
        if upgrade := uncovered(facts.upgrade, resolution, delegated=head.inbound.delegated):
            # Asked all the same, for what the texts keep out of the record.
            self.uses.release(charges)
            return decided.refused(refuse(head, upgrade.code, f"wire -- {upgrade.message}"))
        return decided

    def _stopped(self, head: Head) -> Decision | None:
        """What refuses a request before it is known what it does."""
        if self.stopping:
            return refuse(head, "gate.stopping", "gate -- stopping")
        if isinstance(head.problem, Unproven):
            return refuse(head, head.problem.code, head.problem.message)
        if head.credential is NOBODY:
            return refuse(head, "agent.no-credentials", "agent -- no credentials")
        return head.book.policies.identify(head.credential, head.at)

    def _decide_each(
        self,
        head: Head,
        facts: Facts,
        resolution: Resolution,
        approvers: tuple[str, ...],
        charges: list[Charge],
    ) -> list[Judgement]:
        """Decide operations one after the other; each adds what it uses up to `charges`."""
        policies, who, at = head.book.policies, head.credential, head.at
        exceptions = self._exceptions.active(policies, who.agent, at)
        judged: list[Judgement] = []
        for operation in resolution.operations:
            limits = policies.limits(who.agent, operation.action)
            uses = self.uses.counts(limits, at) if limits else {}
            question = wire_question(
                who,
                operation,
                facts,
                at,
                head.inbound.client,
                policies,
                uses,
                resolution.methods,
                approvers,
                exceptions,
            )
            decision = policies.decide(question)
            if decision.forwards is not False:
                charges += self.uses.charge(decision.limits, at)
            judged.append(Judgement(decision, question))
        return judged

    def inquire(self, book: Book, inquiry: Inquiry, at: datetime) -> Judgement:
        """Decide a question that is asked first; it uses nothing up."""
        policies, agent = book.policies, inquiry.who.agent
        question = Question(
            inquiry.who,
            inquiry.action,
            recorded_target(inquiry.target),
            inquiry.environment,
            at,
            inquiry.client,
            uses=self.uses.counts(policies.limits(agent, inquiry.action), at),
            exceptions=self._exceptions.active(policies, agent, at),
        )
        decide = policies.decide_again if inquiry.asked_by else policies.decide
        return Judgement(decide(question), question)


def refuse(head: Head, code: str, reason: str, *, observable: bool = False) -> Decision:
    """Return the refusal of a request for a reason that no text gives."""
    return head.book.policies.refuse(head.credential, code, reason, head.at, observable=observable)
