"""The writer of a Chron that several gates share: takes what they hand in over a unix socket, answers when it is safe.

Why one process writes: SQLite lets several append in turn, but not fairly. Measured with four processes and `BEGIN
IMMEDIATE` alone, one of them got a single record through in three seconds. Here each connection may have so much under
way and no more, and all that waits goes to disk together.

What a gate leaves open when it goes without a word gets an outcome `in_doubt` after a while in which it may come back.
Only processes of the same user, or of root, are let in: what they hand in is believed as the gate's own.
"""

import asyncio
import os
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import cast

from chron.batch import Entry, Receipt
from chron.errors import ChronError
from chron.frames import HEADER_BYTES, MOST_LOST, PROTOCOL, Frame, length, packed, to_entry, unpacked
from chron.log import PATIENCE_S, Writing
from chron.reading import connect
from chron.recovery import OF_REQUESTS

MOST_UNDER_WAY = 512
"""Records that one gate may have under way: as many as go to disk at once, so nobody waits for two such batches."""
GRACE_S = 10.0
"""How long a gate may be gone before what it left open is in doubt."""
_TOLD_EVERY_S = 1.0
_ID = re.compile(r"chr_[0-9a-hjkmnp-tv-z]{26}")
_CREDENTIALS = struct.Struct("3i")
_THERE = "SELECT 1 FROM chron WHERE id = ?"
_WIRE = "SELECT 1 FROM chron WHERE id = ? AND kind = 'decision' AND channel IN ('wire', 'forward')"
_OUTCOME = "SELECT 1 FROM chron WHERE ref = ? AND kind = 'outcome'"
_OWN_EVENTS = frozenset({"join", "leave"})
"""What a gate may say of its life; the others are the writer's, and recovery stands on them."""


class WriterServer:
    """Serves one writer on one socket; lives in an event loop."""

    def __init__(self, place: Path, path: Path, writer: Writing, *, grace_s: float = GRACE_S) -> None:
        self._place, self._path, self._writer, self._grace_s = place, path, writer, grace_s
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()
        self._gone: dict[str, asyncio.TimerHandle] = {}
        """Sessions that went without a word, and when they are given up."""
        self.open: dict[str, str] = {}
        """Decisions on the wire that wait for their outcome, oldest first, and the session that will tell it."""
        self._flushing = False

    async def start(self) -> None:
        """Listen; raises ChronError when the socket cannot be made."""
        try:
            self._place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._place.unlink(missing_ok=True)  # the Chron's lock says that no other writer is there
            before = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._connected, str(self._place))
            finally:
                os.umask(before)
        except OSError as error:
            raise ChronError(f'cannot listen on "{self._place}": {error.strerror}; choose another place') from error

    async def stop(self) -> None:
        """Take nothing more; what is under way is answered first."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(peer.drain() for peer in list(self._peers)))
        for peer in list(self._peers):
            peer.close()
        for timer in self._gone.values():
            timer.cancel()
        with suppress(OSError):
            self._place.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _Peer(self, reader, writer)
        self._peers.add(peer)
        try:
            await peer.run()
        except (ChronError, OSError, asyncio.IncompleteReadError) as error:
            peer.send({"error": str(error)})
        finally:
            self._peers.discard(peer)
            peer.close()
            self._left(peer)

    def hand_in(self, entry: Entry, *, again: bool) -> None:
        """Queue what a gate handed in; raises ChronError."""
        for id_, _, kind, fields in entry.drafts:
            if not _ID.fullmatch(id_):
                raise ChronError(f'"{id_}" is no id of a record')
            if kind == "lifecycle" and fields.get("event") not in _OWN_EVENTS:
                raise ChronError(f'a gate does not say "{fields.get("event")}" of a log that it shares')
        if again:
            entry.drafts = [draft for draft in entry.drafts if not self._has(_THERE, draft[0])]
            if not entry.drafts and entry.future is not None:
                entry.future.set_result(())
                return
        self._writer.offer(entry)
        if entry.patient and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._flush)

    def _has(self, statement: str, id_: str) -> bool:
        with closing(connect(self._path)) as connection:
            return connection.execute(statement, (id_,)).fetchone() is not None

    def _flush(self) -> None:
        self._flushing = False
        self._writer.flush()

    def state(self) -> Frame:
        """What every gate is told once a second."""
        return {"fault": self._writer.fault(), "warning": self._writer.warning(), "head": self._writer.head()}

    def back(self, session: str, lost: Sequence[str]) -> None:
        """A gate is here, perhaps again; `lost` are decisions that it was never told were safe."""
        if session in self._gone:
            self._gone.pop(session).cancel()
        blocked = [id_ for id_ in lost if self._has(_WIRE, id_) and not self._has(_OUTCOME, id_)]
        self._conclude(blocked, "blocked", "its record was not acknowledged, so nothing was forwarded")

    def _left(self, peer: "_Peer") -> None:
        if any(other.session == peer.session for other in self._peers):
            return  # it is back already
        if peer.leaving:
            self._give_up(peer.session)
        else:
            later = asyncio.get_running_loop().call_later
            self._gone[peer.session] = later(self._grace_s, self._give_up, peer.session)

    def _give_up(self, session: str) -> None:
        self._gone.pop(session, None)
        left = [id_ for id_, owner in self.open.items() if owner == session]
        self._conclude(left, "in_doubt", "the gate went away before the outcome was known")

    def _conclude(self, decisions: Iterable[str], result: str, reason: str) -> None:
        for id_ in decisions:
            self.open.pop(id_, None)
            with suppress(ChronError):  # then the next start of the writer says that it is in doubt
                draft = self._writer.draft("outcome", {"ref": id_, "result": result, "error": reason})
                self._writer.offer(Entry((draft,), patient=True))
        self._flush()


class _Peer:
    """One gate."""

    def __init__(self, server: WriterServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self.session = f"unnamed-{id(self)}"
        self.leaving = False
        self._under_way = 0
        self._less = asyncio.Event()

    async def run(self) -> None:
        """Take what the gate sends until it goes; raises what ends it."""
        _require_own_user(self._writer.get_extra_info("socket"))
        hello = await self._receive()
        if hello.get("hello") != PROTOCOL:
            raise ChronError(f"this writer speaks version {PROTOCOL}; use one claiim for both")
        self.session = str(hello.get("session") or self.session)
        lost = [str(id_) for id_ in hello.get("lost", ())][:MOST_LOST]
        self._server.back(self.session, lost)
        self.send({"welcome": PROTOCOL, "head": self._server.state()["head"]})
        telling = asyncio.create_task(self._tell())
        try:
            while not self.leaving:
                frame = await self._receive()
                if "bye" in frame:
                    self.leaving = True
                else:
                    await self._hand_in(frame)
            await self.drain()
        finally:
            telling.cancel()

    async def _hand_in(self, frame: Frame) -> None:
        number = frame.get("n")
        try:
            entry = to_entry(frame)
        except ChronError as error:
            self.send({"n": number, "error": str(error)})
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        entry.future, entry.loop = future, loop
        weight = max(1, len(entry.drafts))
        self._under_way += weight
        future.add_done_callback(partial(self._answer, number, entry, weight))
        try:
            self._server.hand_in(entry, again=frame.get("again") is True)
        except ChronError as error:
            future.set_exception(error)
        while self._under_way >= MOST_UNDER_WAY:
            # Nothing more is read from this gate meanwhile: its own queue grows, not everybody's.
            self._less.clear()
            await self._less.wait()

    def _answer(self, number: object, entry: Entry, weight: int, done: "asyncio.Future[object]") -> None:
        self._under_way -= weight
        self._less.set()
        if (error := done.exception()) is not None:
            self.send({"n": number, "error": str(error)})
            return
        result = done.result()
        if isinstance(result, int):
            self.send({"n": number, "count": result})
            return
        receipts = cast("tuple[Receipt, ...]", result)
        for _, _, kind, fields in entry.drafts:
            if kind == "outcome":
                self._server.open.pop(str(fields.get("ref")), None)
        for receipt, (_, _, kind, fields) in zip(receipts, entry.drafts, strict=False):
            if kind == "decision" and fields.get("channel") in OF_REQUESTS:
                self._server.open[receipt.id] = self.session
        self.send({"n": number, "receipts": [[each.seq, each.id, each.hash.hex()] for each in receipts]})

    async def drain(self) -> None:
        """Wait until all that is under way is answered."""
        while self._under_way:
            self._less.clear()
            await self._less.wait()

    async def _tell(self) -> None:
        while True:
            self.send(self._server.state())
            await asyncio.sleep(_TOLD_EVERY_S)

    async def _receive(self) -> Frame:
        header = await self._reader.readexactly(HEADER_BYTES)
        return unpacked(await self._reader.readexactly(length(header)))

    def send(self, frame: Frame) -> None:
        """Send something; whether it arrives shows when nothing comes back."""
        if not self._writer.is_closing():
            self._writer.write(packed(frame))

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def _require_own_user(connection: socket.socket) -> None:
    """Raise ChronError unless the other side runs as the same user or as root (Linux, unix(7): SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in (0, os.getuid()):
        raise ChronError(f"user {uid} may not write this Chron; run gate and writer as the same user")
