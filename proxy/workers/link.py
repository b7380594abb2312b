"""A worker's side of its link to the coordinator: what is in force comes by it, and what is asked goes by it.

While the link is down, and until it is known again what is in force, `require` says no to everything.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chron import ChronError
from proxy.breakglass import AgentException
from proxy.pipeline import Gate
from proxy.verdicts import Book, Case, Ending, Verdict
from proxy.workers import frames
from proxy.workers.counting import samples
from proxy.workers.fleet import InForce

_log = logging.getLogger(__name__)

_PAUSES_S = (0.02, 0.05, 0.1, 0.25)
_FIRST_WITHIN_S = 10.0
"""How long a worker waits at its start to hear what is in force."""
_TOLD_EVERY_S = 1.0
_AWAY = "the coordinator of this gate is not in touch; it is started anew"


class CoordinatorLink:
    """The link of one worker; lives in its event loop."""

    def __init__(self, place: Path, session: str) -> None:
        self._place, self._session = place, session
        self.book: Book | None = None
        """The rules in force; None until the first are known."""
        self.exceptions: tuple[AgentException, ...] = ()
        self.rows: dict[str, int] = {}
        self.changed: Callable[[bool], object] = lambda _: None
        """Called when something else is in force, with whether the rules are others; before anybody is told so."""
        self.gate: Gate | None = None
        """What ends verdicts that nobody waits for any more, and is counted."""
        self._writer: asyncio.StreamWriter | None = None
        self._in_touch = False
        self._first = asyncio.Event()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Verdict]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Book:
        """Connect; the rules in force. Raises ChronError when nobody tells them in time."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._count())]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), _FIRST_WITHIN_S)
        if self.book is None:
            raise ChronError("the coordinator of this gate does not answer")
        return self.book

    async def stop(self) -> None:
        """Leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- for the gate (`proxy.pipeline.Elsewhere`) ---

    def require(self) -> None:
        """Raise ChronError where it is not known what is in force now."""
        if not self._in_touch:
            raise ChronError(_AWAY)

    async def judge(self, case: Case, gone: asyncio.Future[None] | None) -> Verdict:
        """The coordinator's verdict, recorded; raises ChronError when there is none."""
        self.require()
        facts, number = case.facts, next(self._numbers)
        if facts is None:
            raise ChronError("nothing is known of the request")
        request = facts.request
        said = {
            "judge": number,
            **frames.of_request(case.head.inbound, case.head.credential),
            "unread": [request.host, request.port] if facts.opaque else None,
            "complete": request.body_complete,
            "read": request.body is not None,
        }
        told: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._asked[number] = told

        def leave(_: object) -> None:
            self._send({"gone": number})

        if gone is not None:
            gone.add_done_callback(leave)
        try:
            self._send(said, request.body or b"")
            verdict = await told
        except asyncio.CancelledError:
            if told.done() and not told.cancelled() and told.exception() is None:
                self._end(told.result())
            else:
                self._send({"cancel": number})
            raise
        finally:
            self._asked.pop(number, None)
            if gone is not None:
                gone.remove_done_callback(leave)
        return replace(verdict, facts=facts, started_ns=case.head.started_ns)

    def _end(self, verdict: Verdict) -> None:
        """Say that nothing came of a verdict."""
        if verdict.answer is None and self.gate is not None:
            self.gate.finish(verdict, Ending("blocked", error="nobody waited for the decision any more"))

    # --- the connection ---

    async def _run(self) -> None:
        pauses = iter(_PAUSES_S)
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(str(self._place))
                pauses = iter(_PAUSES_S)
                self._send({"hello": frames.PROTOCOL, "session": self._session})
                while True:
                    self._take(*await frames.read(reader))
            except (OSError, EOFError, ChronError) as error:
                _log.debug("not in touch with the coordinator: %s", error)
            except Exception:  # noqa: BLE001 -- until it is known what is in force, nothing is forwarded
                _log.exception("what the coordinator said could not be taken in")
            finally:
                self._lost()
            await asyncio.sleep(next(pauses, _PAUSES_S[-1]))

    def _take(self, head: frames.Head, beside: bytes) -> None:
        if "state" in head:
            self._obey(frames.unpickled(beside))
            self._in_touch = True
            self._first.set()
            self._send({"obeyed": head["state"]})
        elif "verdict" in head:
            verdict: Verdict = frames.unpickled(beside)
            told = self._asked.pop(head["verdict"], None)
            if told is None or told.done():
                self._end(verdict)
            else:
                told.set_result(verdict)
        elif "failed" in head:
            told = self._asked.pop(head["failed"], None)
            if told is not None and not told.done():
                told.set_exception(ChronError(f"the coordinator could not judge: {head['why']}"))
        elif "count" in head:
            self._tell_counts()

    def _obey(self, in_force: InForce) -> None:
        if in_force.book:
            self.book, self.rows = frames.unpickled(in_force.book), in_force.rows
        self.exceptions = in_force.exceptions
        self.changed(bool(in_force.book))

    def _lost(self) -> None:
        self._in_touch = False
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        asked, self._asked = self._asked, {}
        for told in asked.values():
            if not told.done():
                told.set_exception(ChronError(_AWAY))

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_TOLD_EVERY_S)
            self._tell_counts()

    def _tell_counts(self) -> None:
        if self.gate is not None:
            self._send({"counted": samples(self.gate.metrics.registry)})

    def _send(self, head: frames.Head, beside: bytes = b"") -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frames.packed(head, beside))
