"""One gate at the writer of a shared Chron: its connection, what it has under way, and how its absence is judged.

Only processes of the same user, or of root, are let in: what they hand in is believed as the gate's own.
"""

import asyncio
import os
import re
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, cast

from chron.batch import Entry, Receipt
from chron.errors import ChronError
from chron.frames import HEADER_BYTES, MOST_LOST, PROTOCOL, Frame, length, packed, unpacked
from chron.recovery import OF_REQUESTS

MOST_UNDER_WAY = 512
"""Records that one gate may have under way: as many as go to disk at once, so nobody waits for two such batches."""
_TOLD_EVERY_S = 1.0
_ID = re.compile(r"chr_[0-9a-hjkmnp-tv-z]{26}")
_CREDENTIALS = struct.Struct("3i")


class Serving(Protocol):
    """What a connection asks of the server (`chron.serving`)."""

    open: dict[str, str]

    async def welcome(self, peer: "Peer", lost: Sequence[str]) -> int:
        """Take a gate in; where the log ends."""

    def entry(self, frame: Frame) -> Entry:
        """What a frame hands in; raises ChronError."""

    def hand_in(self, entry: Entry, *, again: bool) -> None:
        """Queue it; raises ChronError."""

    def failed(self, entry: Entry) -> None:
        """Nothing of it is on disk."""

    def state(self) -> Frame:
        """What every gate is told once a second."""


class Peer:
    """One gate."""

    def __init__(self, server: Serving, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self.session = f"unnamed-{id(self)}"
        self.pid = 0
        self.leaving = False
        self._ending = False
        self._under_way = 0
        self._unsent: list[bytes] = []
        self._less = asyncio.Event()

    async def run(self) -> None:
        """Take what the gate sends until it goes; raises what ends it."""
        self.pid = own_users_pid(self._writer.get_extra_info("socket"))
        hello = await self._receive()
        if hello.get("hello") != PROTOCOL:
            raise ChronError(f"this writer speaks version {PROTOCOL}; use one claiim for both")
        self.session = str(hello.get("session") or self.session)
        lost = hello.get("lost")
        head = await self._server.welcome(self, list(map(str, lost))[:MOST_LOST] if isinstance(lost, list) else ())
        self.send({"welcome": PROTOCOL, "head": head})
        telling = asyncio.create_task(self._tell())
        try:
            while not self.leaving:
                frame = await self._receive()
                if self._ending:
                    return  # it is told so by the end of the connection
                if "bye" in frame:
                    self.leaving = True
                else:
                    await self._hand_in(frame)
            await self._drain()
        finally:
            telling.cancel()

    async def _hand_in(self, frame: Frame) -> None:
        number = frame.get("n")
        try:
            entry = self._server.entry(frame)
            if wrong := next((draft[0] for draft in entry.drafts if not _ID.fullmatch(draft[0])), None):
                raise ChronError(f'"{wrong}" is no id of a record')
        except ChronError as error:
            self.send({"n": number, "error": str(error)})
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        entry.future, entry.loop = future, loop
        weight = max(1, len(entry.drafts))
        self._under_way += weight
        try:
            self._server.hand_in(entry, again=frame.get("again") is True)
        except ChronError as error:
            self._under_way -= weight
            self.send({"n": number, "error": str(error)})
            return
        future.add_done_callback(partial(self._answer, number, entry, weight))
        while self._under_way >= MOST_UNDER_WAY:
            # Nothing more is read from this gate meanwhile: its own queue grows, not everybody's.
            self._less.clear()
            await self._less.wait()
        await self._writer.drain()  # nor from one that does not take its answers

    def _answer(self, number: object, entry: Entry, weight: int, done: "asyncio.Future[object]") -> None:
        self._under_way -= weight
        self._less.set()
        if (error := done.exception()) is not None:
            self._server.failed(entry)
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

    async def end(self) -> None:
        """Take nothing more, answer what is under way, and end the connection."""
        self._ending = True
        await self._drain()
        self._flush()
        self._writer.close()

    async def _drain(self) -> None:
        while self._under_way:
            self._less.clear()
            await self._less.wait()

    async def _tell(self) -> None:
        with suppress(OSError):
            while True:
                self.send(self._server.state())
                await self._writer.drain()
                await asyncio.sleep(_TOLD_EVERY_S)

    async def _receive(self) -> Frame:
        header = await self._reader.readexactly(HEADER_BYTES)
        return unpacked(await self._reader.readexactly(length(header)))

    def send(self, frame: Frame) -> None:
        """Send something; whether it arrives shows when nothing comes back."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(packed(frame))

    def _flush(self) -> None:
        """Write what is to be sent: the answers of one batch become known together, and leave together."""
        unsent, self._unsent = self._unsent, []
        if unsent and not self._writer.is_closing():
            self._writer.write(b"".join(unsent))


class Absent:
    """A gate that went without a word: given up as soon as its process has ended, or after a while."""

    def __init__(self, pid: int, grace_s: float, give_up: Callable[[], None]) -> None:
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._process = -1
        try:
            # Readable when the process has ended: pidfd_open(2). Another one that got the number since is waited for.
            self._process = os.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            grace_s = 0.0
        except OSError:
            pass  # not to be seen from here: only time tells
        self._timer = self._loop.call_later(grace_s, self._over)
        if self._process >= 0:
            self._loop.add_reader(self._process, self._over)

    def _over(self) -> None:
        self.cancel()
        self._give_up()

    def cancel(self) -> None:
        """It is back, or nobody asks any more."""
        self._timer.cancel()
        if self._process >= 0:
            self._loop.remove_reader(self._process)
            os.close(self._process)
            self._process = -1


def own_users_pid(connection: socket.socket) -> int:
    """The other side's process, 0 when it cannot be seen from here; raises ChronError for another user than root.

    Linux, unix(7): SO_PEERCRED.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in (0, os.getuid()):
        raise ChronError(f"user {uid} may not write this Chron; run gate and writer as the same user")
    return int(pid)
