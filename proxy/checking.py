"""Answers questions that are asked before anything is done: the same rules, the same PDP, the same Chron.

    agent, action, target -> decide -> second -> record -> answer

It forwards nothing and uses nothing up, so what it records has no outcome. What cannot be recorded has no answer.
"""

import time
from collections.abc import Sequence

from mappings import canonical_action
from policies import Credential, Outcome
from proxy.judging import Judging, Present
from proxy.pdp import Pdp
from proxy.questions import FieldValues, recorded_target
from proxy.recording import Record, Recorder
from proxy.records import decision_fields, proof_fields, without
from proxy.seconding import seconded_each
from proxy.verdicts import Book, Checked, Inquiry, Judgement


class Checking:
    """Answers by the rules of a gate."""

    def __init__(self, present: Present, judging: Judging, recorder: Recorder, pdp: Pdp | None) -> None:
        self._present = present
        self._judging = judging
        self._recorder = recorder
        self._pdp = pdp

    async def check(self, who: Credential, action: str, target: str, environment: str, client: str) -> Checked:
        """Decide and record a question an agent asks before it acts.

        Raises ValueError for an action that is none, ChronError when the answer cannot be recorded.
        """
        (checked,) = await self.check_all([Inquiry(who, canonical_action(action), target, environment, client)])
        return checked

    async def check_all(self, inquiries: Sequence[Inquiry], stop_at: bool | None = None) -> list[Checked]:
        """Decide and record several questions, up to the first whose being allowed is `stop_at`.

        The records are adjacent, all or none. Raises ChronError when they cannot be written.
        """
        started_ns, at, book = time.perf_counter_ns(), self._present.now(), self._present.book
        judged = [self._judging.inquire(book, inquiry, at) for inquiry in inquiries]
        judged = await seconded_each(self._pdp, judged, at)
        allowed = [each.decision.outcome is Outcome.ALLOW for each in judged]
        if stop_at in allowed:
            judged = judged[: allowed.index(stop_at) + 1]
        records = [self._record(book, *each) for each in zip(inquiries, judged, strict=False)]
        receipts = await self._recorder.append(records)
        self._recorder.decided(judged, started_ns)
        return [
            Checked(each.decision, inquiry.action, inquiry.target, receipt.id)
            for inquiry, each, receipt in zip(inquiries, judged, receipts, strict=False)
        ]

    def _record(self, book: Book, inquiry: Inquiry, judged: Judgement) -> Record:
        fields: FieldValues = {
            "channel": "api",
            "session": self._recorder.origin.session,
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
