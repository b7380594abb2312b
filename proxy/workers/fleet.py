"""The workers, as the coordinator has them: one link each, by which they are told what is in force and ask.

`spread` returns when every worker that is in touch decides by what is in force now. One that does not say so in time is
ended and replaced by the supervisor: a worker that decides by older rules is worse than none. Who is in touch may hand
records in, nobody else (`admit`).
"""

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from OpenSSL import SSL

from chron import ChronError
from chron.peer import own_users_pid
from chron.serving import WriterServer
from proxy.breakglass import AgentException
from proxy.pipeline import Gate
from proxy.verdicts import Book, Verdict
from proxy.wire.sweeping import Sweeper
from proxy.workers import frames
from proxy.workers.counting import Sample, Totals, samples
from proxy.workers.tally import Rows

_log = logging.getLogger(__name__)

OBEYED_WITHIN_S = 5.0
"""How long a worker may take to say that it decides by what is in force now; longer where there is much to take in."""
_BYTES_A_S = 2**20
"""Ten thousand rules and as many agents are 9 MB, and took 0.7 s of processor time; a busy machine needs several."""
_ADMITTED_WITHIN_S = 4.0
"""How long a worker's records wait for it to be in touch; it comes again."""
_COUNTED_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class InForce:
    """What a worker decides by, beside its configuration."""

    book: bytes
    """Pickled; b"" when it is the one that the worker has."""
    rows: dict[str, int]
    """Which agent is counted where (`proxy.workers.tally`); of the book, and empty without one."""
    exceptions: tuple[AgentException, ...]


class Fleet:
    """What agents reach, of the coordinator: nothing in this process, and the workers' links."""

    def __init__(self, place: Path, gate: Gate, writer: WriterServer, expected: int) -> None:
        self._place, self._gate, self._writer, self._expected = place, gate, writer, expected
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._sweeper = Sweeper(gate, ())
        self._number = 0
        self._book: Book | None = None
        self._written = b""
        self._rows, self._counted = Rows(), dict[str, int]()
        self._totals = Totals()
        self.deserted = asyncio.Event()
        """Set when no worker is left and none comes any more."""
        self._more = asyncio.Condition()

    async def listen(self) -> None:
        """Let workers in; raises ChronError when the socket cannot be made."""
        self._place.unlink(missing_ok=True)  # the Chron's lock says that no other coordinator is there
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._connected, str(self._place))
        except OSError as error:
            raise ChronError(f'cannot listen on "{self._place.name}" in the state folder: {error}') from error
        finally:
            os.umask(before)
        self._sweeper.sweep()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        try:
            await link.run()
        except (ChronError, OSError, EOFError) as error:
            _log.debug("a worker's link ended: %s", error)
        except Exception:  # noqa: BLE001 -- its worker comes again; the others must not hear of it
            _log.exception("a worker's link ended unexpectedly")
        finally:
            await self._left(link)

    async def _left(self, link: "Link") -> None:
        link.end()
        self._links.discard(link)
        self._totals.left(link.session, link.counted)
        await self._writer.part(link.session)

    # --- what is in force ---

    async def enter(self, link: "Link") -> None:
        """Count a worker among those who are told, and tell it."""
        self._links.add(link)
        self._totals.came(link.session)
        await link.obey(self._number)
        async with self._more:
            self._more.notify_all()

    async def admit(self, session: str) -> None:
        """Return once a worker is in touch; raises ChronError when it is not in time."""
        in_touch = lambda: any(each.session == session and each.in_touch for each in self._links)  # noqa: E731
        try:
            async with asyncio.timeout(_ADMITTED_WITHIN_S), self._more:
                await self._more.wait_for(in_touch)
        except TimeoutError:
            raise ChronError("this is no worker of this gate that is in touch with it") from None

    async def spread(self) -> None:
        """Return once every worker decides by what is in force now, or has been ended."""
        self._number += 1
        number = self._number
        await asyncio.gather(*(each.obey(number) for each in self._links))

    def in_force(self, link: "Link") -> InForce:
        """What a worker is to be told now."""
        book = self._gate.book
        if book is not self._book:
            self._book, self._written = book, frames.pickled(book)
            self._counted = self._rows.of(book.policies.agents)
        known, link.book = link.book is book, book
        exceptions = tuple(self._gate.exceptions)
        return InForce(b"", {}, exceptions) if known else InForce(self._written, self._counted, exceptions)

    # --- what is asked ---

    async def judge(self, link: "Link", head: frames.Head, body: bytes, gone: asyncio.Future[None]) -> Verdict:
        """The verdict on a worker's request; its outcome is owed by that worker where it forwards."""
        inbound, who = frames.to_request(head)
        if unread := head["unread"]:
            asked = self._gate.opaque_head(inbound, who, (str(unread[0]), int(unread[1])))
        else:
            asked = self._gate.read_head(inbound, who)
        verdict = await self._gate.judge(
            asked, body if head["read"] is True else None, complete=head["complete"] is True, gone=gone
        )
        if verdict.answer is None:
            self._writer.owe(link.session, link.pid, verdict.record_ids)
        return replace(verdict, facts=None, ended=verdict.answer is not None)

    # --- what is counted ---

    async def metrics(self) -> bytes:
        """The metrics of all processes in Prometheus text format."""
        asked = [asyncio.ensure_future(each.count()) for each in self._links]
        if asked:
            await asyncio.wait(asked, timeout=_COUNTED_WITHIN_S)
        for each in asked:
            each.cancel()  # of one that did not answer, what it told last counts
        return self._totals.text([samples(self._gate.metrics.registry), *(each.counted for each in self._links)])

    def missing(self) -> int:
        """How many workers are not in touch."""
        return self._expected - sum(each.there for each in self._links)

    # --- as engines are used (`proxy.engines.Front`) ---

    def reload(self, listener: SSL.Context | None = None) -> None:  # noqa: ARG002 -- workers read theirs
        """Let changed rules count for what waits here."""
        self.sweep()

    def sweep(self) -> None:
        """Wake what waits here of agents that were stopped."""
        self._sweeper.sweep()

    async def stop(self, drain_timeout_s: float) -> None:
        """Let the workers end; the supervisor tells them to, and this process when they have."""
        self._sweeper.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout_s):
                await self.deserted.wait()
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.end()
        with contextlib.suppress(OSError):
            self._place.unlink()


class Link:
    """One worker's connection."""

    def __init__(self, fleet: Fleet, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._fleet, self._reader, self._writer = fleet, reader, writer
        self.session = ""
        self.book: Book | None = None
        """The one that it was sent last."""
        self.counted: list[Sample] = []
        self.pid = 0
        self._obeyed, self._asked = -1, -1
        self._telling: list[tuple[int, asyncio.Future[None]]] = []
        self._counting: list[asyncio.Future[None]] = []
        self._gone: dict[int, asyncio.Future[None]] = {}
        self._judging: dict[int, asyncio.Task[None]] = {}
        self._ended = False

    @property
    def in_touch(self) -> bool:
        """Whether it decides by what it was told last."""
        return self.there and self._asked == self._obeyed

    @property
    def there(self) -> bool:
        """Whether it decides at all."""
        return not self._ended and self._obeyed >= 0

    async def run(self) -> None:
        """Take what the worker says until it goes; raises what ends it."""
        self.pid = own_users_pid(self._writer.get_extra_info("socket"))
        hello, _ = await frames.read(self._reader)
        if hello.get("hello") != frames.PROTOCOL:
            raise ChronError("a worker of another version; use one claiim for all")
        self.session = str(hello["session"])
        entering = asyncio.create_task(self._fleet.enter(self))
        try:
            while not self._ended:
                head, beside = await frames.read(self._reader)
                await self._take(head, beside)
        finally:
            entering.cancel()

    async def _take(self, head: frames.Head, beside: bytes) -> None:
        if "judge" in head:
            number = int(head["judge"])
            self._gone[number] = asyncio.get_running_loop().create_future()
            self._judging[number] = asyncio.create_task(self._judge(number, head, beside))
        elif "gone" in head:
            if (gone := self._gone.get(int(head["gone"]))) is not None and not gone.done():
                gone.set_result(None)
        elif "cancel" in head:
            if (task := self._judging.get(int(head["cancel"]))) is not None:
                task.cancel()
        elif "obeyed" in head:
            self._obeyed = max(self._obeyed, int(head["obeyed"]))
            for number, told in self._telling:
                if number <= self._obeyed and not told.done():
                    told.set_result(None)
        elif "counted" in head:
            self.counted = head["counted"]
            for waiting in self._counting:
                if not waiting.done():
                    waiting.set_result(None)
            self._counting.clear()

    async def _judge(self, number: int, head: frames.Head, body: bytes) -> None:
        try:
            verdict = await self._fleet.judge(self, head, body, self._gone[number])
            # Nothing is awaited between the verdict and this: what is cancelled before has its end written there.
            self._send({"verdict": number}, frames.pickled(verdict))
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            _log.exception("judging for a worker failed; its request is refused")
            self._send({"failed": number, "why": type(error).__name__})
        finally:
            del self._judging[number], self._gone[number]

    async def obey(self, number: int) -> None:
        """Tell it what is in force, and wait until it decides by that; one that does not is ended."""
        self._asked = max(self._asked, number)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._telling.append((number, told))
        try:
            in_force = self._fleet.in_force(self)
            self._send({"state": number}, frames.pickled(in_force))
            async with asyncio.timeout(OBEYED_WITHIN_S + len(in_force.book) / _BYTES_A_S):
                await told
        except TimeoutError:
            _log.error("worker %d has not taken over what is in force in time; it is ended", self.pid)
            self._kill()
        except Exception:  # noqa: BLE001 -- every unknown is a deny: what cannot be told to it, it does not decide by
            _log.exception("worker %d could not be told what is in force; it is ended", self.pid)
            self._kill()
        finally:
            self._telling.remove((number, told))

    def _kill(self) -> None:
        # If this is removed, a worker that hung may wake up and decide by rules that are no longer in force.
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.end()

    async def count(self) -> None:
        """Have it tell its metrics."""
        told = asyncio.get_running_loop().create_future()
        self._counting.append(told)
        self._send({"count": 1})
        await told

    def end(self) -> None:
        """Break the connection off; what it asked is not judged any more."""
        self._ended = True
        for task in self._judging.values():
            task.cancel()
        for waiting in self._counting:
            waiting.cancel()
        for _, told in self._telling:
            if not told.done():
                told.set_result(None)  # it hears nothing any more, and decides nothing without that
        self._writer.close()

    def _send(self, head: frames.Head, beside: bytes = b"") -> None:
        if not self._writer.is_closing():
            self._writer.write(frames.packed(head, beside))
