"""The writer of a Chron that several gates share: takes what they hand in over a unix socket, answers when it is safe.

Why one process writes: SQLite lets several append in turn, but not fairly. Measured with four processes and `BEGIN
IMMEDIATE` alone, one of them got a single record through in three seconds. Here each connection may have so much under
way and no more (`chron.peer`), and all that waits goes to disk together.

What a gate leaves open when it goes without a word gets an outcome `in_doubt`: at once when its process has ended, else
after a while in which it may come back. What each gate remembers is its own, so what must happen once in the whole log
is held here: an approval is used once.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chron.batch import Draft, Entry
from chron.body import Fields
from chron.errors import ChronError, ServerAwayError
from chron.frames import Frame, to_entry
from chron.log import PATIENCE_S, Writing
from chron.peer import Absent, Peer
from chron.reading import connect
from chron.schema import SELDOM
from chron.sources import Connection, Source

GRACE_S = 10.0
"""How long a gate whose process has not ended may be gone before what it left open is in doubt."""
_THERE = "SELECT 1 FROM chron WHERE id = ?"
_WIRE = "SELECT 1 FROM chron WHERE id = ? AND kind = 'decision' AND body->>'$.channel' IN ('wire', 'forward')"
_OUTCOME = "SELECT 1 FROM chron WHERE ref = ? AND kind = 'outcome'"
_USED = "SELECT body->>'$.approval' FROM chron WHERE kind = 'approval' AND body->>'$.event' = 'used' AND "
_OWN_EVENTS = frozenset({"join", "leave"})
"""What a gate may say of its life; the others are the writer's, and recovery stands on them."""


async def _everybody(_: str) -> None:
    """Gates that know by themselves what is in force are let in as they come."""


class WriterServer:
    """Serves one writer on one socket; lives in an event loop."""

    def __init__(
        self,
        place: Path,
        path: Source,
        writer: Writing,
        *,
        beside: Callable[[], Mapping[str, str]] = dict,
        admit: Callable[[str], Awaitable[None]] = _everybody,
        grace_s: float = GRACE_S,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._place, self._path, self._writer = place, path, writer
        self._admit = admit
        """Awaited with the session of whoever wants to be let in; raises ChronError for a no."""
        self._beside, self._grace_s, self._clock_ns = beside, grace_s, clock_ns
        self._server: asyncio.Server | None = None
        self._log: Connection | None = None
        self._peers: set[Peer] = set()
        self._absent: dict[str, Absent] = {}
        """Sessions that went without a word."""
        self.open: dict[str, str] = {}
        """Decisions on the wire that wait for their outcome, oldest first, and the session that will tell it."""
        self._used: set[str] = set()
        """Approvals that were used, or are about to be."""
        self._flushing = False
        self._settling = asyncio.Lock()

    async def start(self) -> None:
        """Listen; raises ChronError when the socket cannot be made."""
        self._log = connect(self._path)
        self._used |= {str(name) for (name,) in self._log.execute(_USED + SELDOM)}
        try:
            self._place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._place.unlink(missing_ok=True)  # the Chron's lock says that no other writer is there
            before = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._connected, str(self._place))
            finally:
                os.umask(before)
        except OSError as error:
            self._log.close()
            why = error.strerror or error  # a path that is too long has no number
            raise ChronError(f'cannot listen on "{self._place}": {why}; choose another place') from error

    async def stop(self) -> None:
        """Take nothing more; what is under way is answered first."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(peer.end() for peer in list(self._peers)))
        for absent in self._absent.values():
            absent.cancel()
        if self._log is not None:
            self._log.close()
            self._log = None
        with suppress(OSError):
            self._place.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self, reader, writer)
        self._peers.add(peer)
        try:
            await peer.run()
        except (ChronError, OSError, asyncio.IncompleteReadError) as error:
            peer.send({"error": str(error)})
        finally:
            # What it handed in is on disk or refused before its gate is asked what it never heard of.
            await peer.end()
            self._peers.discard(peer)
            self._left(peer)

    async def welcome(self, peer: Peer, lost: Sequence[str]) -> int:
        """Take a gate in, perhaps again, and return where the log ends; `lost` it was never told were safe."""
        await self._admit(peer.session)
        await asyncio.gather(*(each.end() for each in self._peers if each.session == peer.session and each is not peer))
        if (absent := self._absent.pop(peer.session, None)) is not None:
            absent.cancel()
        async with self._settling:  # else a gate that comes twice, because it lost patience, has two outcomes written
            await self._block([id_ for id_ in lost if self._has(_WIRE, id_) and not self._has(_OUTCOME, id_)])
        return self._writer.head()

    async def _block(self, decisions: Sequence[str]) -> None:
        if decisions:
            future = asyncio.get_running_loop().create_future()
            drafts = self._outcomes(decisions, "blocked", "its record was not acknowledged, so nothing was forwarded")
            self._writer.offer(Entry(drafts, future, future.get_loop()), limited=False)
            await future

    def entry(self, frame: Frame) -> Entry:
        """What a frame hands in, at this time; raises ChronError."""
        return to_entry(frame, self._clock_ns())

    def hand_in(self, entry: Entry, *, again: bool) -> None:
        """Queue what a gate handed in; raises ChronError."""
        for _, _, kind, fields in entry.drafts:
            if kind == "lifecycle" and fields.get("event") not in _OWN_EVENTS:
                raise ChronError(f'a gate does not say "{fields.get("event")}" of a log that it shares')
        if again:
            entry.drafts = [draft for draft in entry.drafts if not self._has(_THERE, draft[0])]
            if not entry.drafts and entry.future is not None:
                entry.future.set_result(())
                return
        uses = _uses(entry.drafts)
        if again_used := self._used.intersection(uses):
            raise ChronError(f"{min(again_used)} was used already, by another gate of this log; ask anew")
        self._writer.offer(entry)
        self._used.update(uses)
        if entry.patient and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._flush)

    def failed(self, entry: Entry) -> None:
        """Nothing of it is on disk."""
        self._used.difference_update(_uses(entry.drafts))

    def _has(self, statement: str, id_: str) -> bool:
        if self._log is None:
            raise ChronError("the writer of this Chron stops")
        try:
            try:
                return self._log.execute(statement, (id_,)).fetchone() is not None
            except ServerAwayError:  # it may be back
                self._log.close()
                self._log = connect(self._path)
                return self._log.execute(statement, (id_,)).fetchone() is not None
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{self._path}": {error}; look at its disk') from error

    def _flush(self) -> None:
        self._flushing = False
        self._writer.flush()

    def owe(self, session: str, pid: int, decisions: Sequence[str]) -> None:
        """Expect the outcomes of decisions, which this process has recorded for a gate, of that gate."""
        self.open.update(dict.fromkeys(decisions, session))
        if session not in self._absent and not any(peer.session == session for peer in self._peers):
            # Not here yet, or gone meanwhile: its process tells.
            self._absent[session] = Absent(pid, self._grace_s, lambda: self._give_up(session))

    async def part(self, session: str) -> None:
        """Take nothing more of a gate on the connections that it has; it may come back."""
        await asyncio.gather(*(peer.end() for peer in list(self._peers) if peer.session == session))

    def state(self) -> Frame:
        """What every gate is told once a second."""
        writer = self._writer
        told = {"fault": writer.fault(), "warning": writer.warning(), "head": writer.head()}
        return {**told, "beside": dict(self._beside())}

    def _left(self, peer: Peer) -> None:
        if self._log is None or any(other.session == peer.session for other in self._peers):
            return  # all end, or it is back already
        if peer.leaving:
            self._give_up(peer.session)
        else:
            self._absent[peer.session] = Absent(peer.pid, self._grace_s, lambda: self._give_up(peer.session))

    def _give_up(self, session: str) -> None:
        self._absent.pop(session, None)
        left = [id_ for id_, owner in self.open.items() if owner == session]
        if not left:
            return
        gone: Fields = {"event": "gone", "session": session, "in_doubt": len(left)}
        with suppress(ChronError):  # then the next start of the writer says that it is in doubt
            outcomes = self._outcomes(left, "in_doubt", "the gate went away before the outcome was known")
            # Side by side: `chron.doubt` finds them by the record before them.
            entry = Entry([self._writer.draft("lifecycle", gone), *outcomes], patient=True)
            self._writer.offer(entry, limited=False)
        self._flush()

    def _outcomes(self, decisions: Sequence[str], result: str, reason: str) -> list[Draft]:
        for id_ in decisions:
            self.open.pop(id_, None)
        return [self._writer.draft("outcome", {"ref": id_, "result": result, "error": reason}) for id_ in decisions]


def _uses(drafts: Sequence[Draft]) -> set[str]:
    """The approvals that these records use up."""
    return {
        str(fields.get("approval"))
        for _, _, kind, fields in drafts
        if kind == "approval" and fields.get("event") == "used"
    }
