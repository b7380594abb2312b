"""Writes what was decided into the Chron, and what became of it. It decides nothing.

A `Trail` holds the decisions of one request that are on record and have no outcome yet: whatever goes wrong after
that, they are ended there and then, and not found open at the next start. What is on its way to the disk cannot be
called back, so a task that is cancelled meanwhile waits for it: only then is it known what has to be ended.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from chron import Chron, ChronError, Receipt
from mappings import Operation
from proxy.deadlines import Deadlines
from proxy.destinations import Route
from proxy.metrics import Metrics
from proxy.questions import FieldValues
from proxy.records import Origin, channel, decision_fields, operation_fields, proof_fields, wire_fields, without
from proxy.verdicts import Case, Head, Judgement

_log = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""How long a request waits for its records to be durable. A disk that has not answered by then may never: without a
limit every agent would wait as well, and the gate could not stop."""

type Record = tuple[str, FieldValues]
"""Kind and fields."""


class Recorder:
    """Writes the records of one run of the gate."""

    def __init__(self, chron: Chron, origin: Origin, metrics: Metrics) -> None:
        self.origin = origin
        self._chron = chron
        self._metrics = metrics
        self._requests = 0
        self.patience_s = PATIENCE_S
        self._waiting = Deadlines()

    def trail(self, head: Head) -> "Trail":
        """Begin the records of a request."""
        return Trail(self, channel(head.inbound))

    def name_request(self) -> str:
        """Return a name that the decisions about one request have in common."""
        self._requests += 1
        return f"{self.origin.session}-{self._requests}"

    def append(self, records: Sequence[Record]) -> asyncio.Future[tuple[Receipt, ...]]:
        """Hand in records that are adjacent, all or none; raises ChronError, or its future does."""
        return self._chron.append_many(records)

    async def answered(self, writing: asyncio.Future[tuple[Receipt, ...]]) -> bool:
        """Wait until it is known whether records are durable; False when that takes too long. Leaves `writing` alone.

        As `asyncio.timeout` and `asyncio.shield` together would, without a timer for each request. The two ways to an
        answer have nothing in common: where one fails, the other still ends the wait.
        """
        waiting: asyncio.Future[bool] = writing.get_loop().create_future()

        def known(_: asyncio.Future[tuple[Receipt, ...]]) -> None:
            if not waiting.done():
                waiting.set_result(True)

        def late() -> None:
            if not waiting.done():
                waiting.set_result(False)

        writing.add_done_callback(known)
        self._waiting.set(waiting, self.patience_s, late)
        try:
            return await waiting
        finally:
            self._waiting.clear(waiting)

    def decided(self, judgements: Sequence[Judgement], started_ns: int) -> None:
        """Count what has been decided and is on record."""
        for each in judgements:
            self._metrics.decided(each.decision, time.perf_counter_ns() - started_ns)

    def note(self, kind: str, fields: FieldValues) -> None:
        """Write a record that nobody waits for."""
        try:
            self._chron.note(kind, fields)
        except ChronError as error:
            # The decision stands; the next start writes one without its outcome down as in doubt.
            _log.error("a record of kind %s could not be written: %s", kind, error)


class Trail:
    """The records of one request, from its first decision to its verdict."""

    def __init__(self, recorder: Recorder, channel: str) -> None:
        self.open: tuple[str, ...] = ()
        """The decisions that are on record and have no outcome yet."""
        self._recorder = recorder
        self._channel = channel

    async def record(
        self, case: Case, route: Route | None = None, marks: FieldValues | None = None, more: Sequence[Record] = ()
    ) -> tuple[str, ...]:
        """Make one record for each judgement durable, and `more` with them, adjacent and all or none; their ids.

        `marks` stand in each of them. Raises ChronError. Whatever it raises, `open` says what is on record.
        """
        decisions = self._decisions(case, route, marks or {})
        session: FieldValues = {"session": self._recorder.origin.session}
        others = [(kind, {**fields, **session}) for kind, fields in more]
        writing = self._recorder.append([*decisions, *others])
        try:
            if not await self._recorder.answered(writing):
                self._end_late(writing, len(decisions))
                raise ChronError("the log has not answered in time")
            receipts = writing.result()
        except asyncio.CancelledError:
            self.open += _ids(await self._written(writing, len(decisions)), len(decisions))
            raise
        ids = _ids(receipts, len(decisions))
        self.open += ids
        self._recorder.decided(case.decided.judgements, case.head.started_ns)
        return ids

    def _decisions(self, case: Case, route: Route | None, marks: FieldValues) -> list[Record]:
        head, resolution, judgements = case.head, case.decided.resolution, case.decided.judgements
        recorder = self._recorder
        shared = wire_fields(
            recorder.origin, recorder.name_request(), head.inbound, case.facts, route, head.book.digest
        )
        if None in (shared["channel"], shared["request"]):
            # By these the decisions about one request are found together; left out, a record would be as good as none.
            raise TypeError("a decision must say which request it is about")
        shared |= {**proof_fields(head.credential), **marks}
        operations: Sequence[Operation | None] = resolution.operations or (None,)
        kept_out = case.decided.redact
        return [
            (
                "decision",
                without(
                    {
                        **shared,
                        "pdp": each.pdp or None,
                        **operation_fields(
                            operation, resolution.unnamed, each.question.target if each.question else None
                        ),
                        **decision_fields(each.decision, each.question),
                    },
                    kept_out,
                ),
            )
            for operation, each in zip(operations, judgements, strict=True)
        ]

    async def _written(self, writing: asyncio.Future[tuple[Receipt, ...]], decisions: int) -> tuple[Receipt, ...]:
        """Wait until it is known whether records are durable, however often this task is cancelled; () if not."""
        clock = asyncio.get_running_loop().time
        ends = clock() + self._recorder.patience_s
        while not writing.done() and (left_s := ends - clock()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([writing], timeout=left_s)
        if not writing.done():
            self._end_late(writing, decisions)
        return writing.result() if _succeeded(writing) else ()

    def _end_late(self, writing: asyncio.Future[tuple[Receipt, ...]], decisions: int) -> None:
        """Should it be durable after all, when nobody waits for it any more, it is ended there and then."""

        def written(done: asyncio.Future[tuple[Receipt, ...]]) -> None:
            if _succeeded(done):
                self.open += _ids(done.result(), decisions)
                self.end("blocked", "the log had not answered in time")

        writing.add_done_callback(written)

    def end(self, result: str, why: str) -> None:
        """Write what became of the decisions that are open: nothing of them was forwarded."""
        ended, self.open = self.open, ()
        for record_id in ended:
            self._recorder.note("outcome", {"channel": self._channel, "ref": record_id, "result": result, "error": why})


def _ids(receipts: Sequence[Receipt], decisions: int) -> tuple[str, ...]:
    return tuple(receipt.id for receipt in receipts[:decisions])


def _succeeded(writing: asyncio.Future[tuple[Receipt, ...]]) -> bool:
    return writing.done() and not writing.cancelled() and writing.exception() is None
