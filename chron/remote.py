"""A Chron that another process writes: what a gate holds where several of them share one log.

    chron = RemoteChron.join(Path("state/chron.sock"), Path("state/chron.db"), session="01k...")

It has all that `chron.Chron` has. A receipt means on disk, as there; the writer is `chron.serving`. Whoever waits when
the connection is lost gets ChronError, and nothing may be forwarded on its behalf; what nobody waits for (outcomes) is
kept and sent when the writer is back. It comes back by itself.

    ChronError: the writer of this Chron does not answer at "state/chron.sock" (...); start "claiim chron serve"
"""

import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

from chron.batch import Draft, Entry, Receipt, Result, tell
from chron.body import Fields
from chron.drafting import Drafting
from chron.errors import ChronError
from chron.frames import HEADER_BYTES, MOST_LOST, PROTOCOL, Frame, length, of_entry, packed, unpacked
from chron.log import Chron, Key, kept
from chron.reading import connect, find
from chron.sources import Source, resolved

MOST_OWED = 20_000
"""Records nobody waits for that may be kept while the writer is away; beyond it they would only grow memory."""
MOST_WAITING = 10_000
_PAUSES_S = (0.05, 0.1, 0.25, 0.5, 1.0)
_REMEDY = 'start "claiim chron serve"'
_AT_ONCE_BYTES = 65_536
_TIMEOUT_S = 5.0
"""How long a gate waits for its writer at the start: both may be started together."""


class RemoteWriter:
    """Hands entries to the writer's process; `offer` and `stop` may be called from any thread."""

    def __init__(
        self,
        place: Path,
        session: str,
        clock_ns: Callable[[], int] = time.time_ns,
        *,
        remedy: str = _REMEDY,
    ) -> None:
        self._place, self._session, self._remedy = place, session, remedy
        self._gate = threading.Lock()
        self._drafting, self._numbers = Drafting(clock_ns), itertools.count(1)
        self._pending: dict[int, Entry] = {}
        """Handed in and not answered, oldest first."""
        self._out: queue.SimpleQueue[tuple[int, Entry] | bytes | None] = queue.SimpleQueue()
        """What the thread has to send: entries, the rest of a frame, None for the end."""
        self._socket: socket.socket | None = None
        self._behind = True
        """Whether the thread has something to send, so that nothing may go past it."""
        self._unheard: list[str] = []
        """Decisions that may be on disk, though whoever waited was told that they are not."""
        self.beside: dict[str, str] = {}
        """What is wrong with what the writer's process does beside writing, by name."""
        self._connected = self._stopping = False
        self._fault, self._warning, self._stopped, self._head = self._away("not asked yet"), "", "", 0
        self._changed = threading.Condition(self._gate)
        self._thread = threading.Thread(target=self._run, name="chron-remote", daemon=True)
        self._thread.start()

    def draft(self, kind: str, fields: Fields) -> Draft:
        """Check a record and give it its id and time; raises ChronError for what a body cannot hold."""
        return self._drafting.draft(kind, fields)

    def offer(self, entry: Entry, *, limited: bool = True) -> None:
        """Hand an entry in; raises ChronError when the writer is away, unless nobody waits for the entry."""
        number = next(self._numbers)
        frame = packed(of_entry(number, entry)) if self._connected else b""
        with self._gate:
            if self._stopped:
                raise ChronError(self._stopped)
            if not self._connected and not entry.patient:
                raise ChronError(self._fault)
            most = MOST_OWED if entry.patient else MOST_WAITING
            if limited and len(self._pending) >= most:
                raise ChronError(f"the Chron is overloaded: {len(self._pending)} records wait; slow down or retry")
            self._pending[number] = entry
            if not self._connected:
                return
            rest = frame if self._behind or not frame else self._sent(frame)
            if rest or not frame:
                self._behind = True
                self._out.put(rest or (number, entry))

    def _sent(self, frame: bytes) -> bytes:
        """Send what the socket takes at once, and return the rest: to wake a thread for each record costs more."""
        try:
            sent = self._socket.send(frame, socket.MSG_DONTWAIT) if self._socket else 0
        except BlockingIOError:
            return frame
        except OSError:
            return b""  # it is broken: whoever reads from it finds out, and what waits for an answer is told
        return frame[sent:]

    def head(self) -> int:
        """The last record that the writer told of."""
        return self._head

    def flush(self) -> None:
        """Nothing is held back here."""

    def fault(self) -> str:
        """Why a decision could not be recorded now; "" when it could."""
        return self._stopped or self._fault

    def warning(self) -> str:
        """What the writer says that somebody should look at."""
        return self._warning

    def wait_connected(self, timeout_s: float) -> None:
        """Wait for the writer; raises ChronError when it does not answer in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._connected, timeout_s)
            if not self._connected:
                raise ChronError(self._fault)

    def stop(self, timeout_s: float) -> None:
        """Wait until all is on disk, and say goodbye; raises ChronError when it is not in time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout_s)
            left = len(self._pending)
            self._stopped = self._stopped or "the Chron is closed; open it again"
            self._stopping = True
            self._changed.notify_all()
        self._out.put(None)
        self._thread.join(timeout_s)
        if left:
            raise ChronError(f"{left} records did not reach the writer; {self._fault or 'it did not answer in time'}")

    def finished(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    # --- the thread ---

    def _run(self) -> None:
        pauses = iter(_PAUSES_S)
        while not self._stopping:
            try:
                with self._connect() as connection:
                    pauses = iter(_PAUSES_S)
                    self._serve(connection)
            except Exception as error:  # noqa: BLE001 -- a thread that died would leave who waits waiting for ever
                self._lost(str(error) or type(error).__name__)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, next(pauses, _PAUSES_S[-1]))
        self._lost("the Chron is closed")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(self._place))
            hello = {"hello": PROTOCOL, "session": self._session, "pid": os.getpid(), "lost": self._unheard[:MOST_LOST]}
            connection.sendall(packed(hello))
            welcome = _receive(connection)
            if welcome.get("welcome") != PROTOCOL:
                raise ChronError(str(welcome.get("error") or "it speaks another version; use one claiim for both"))
            self._head = int(welcome["head"])
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        self._unheard.clear()
        return connection

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            while not self._out.empty():
                self._out.get()
            owed = list(self._pending.items())
            self._socket, self._behind = connection, True
            self._connected, self._fault = True, ""
            self._changed.notify_all()
            if self._stopping:
                self._out.put(None)  # who stopped it said so before the queue was emptied
        frames = [self._framed(number, entry, again=True) for number, entry in owed]
        reader = threading.Thread(target=self._read, args=(connection,), name="chron-answers", daemon=True)
        reader.start()
        try:
            connection.sendall(b"".join(frames))
            while (item := self._next()) is not None:
                more = [item]
                with suppress(queue.Empty):
                    while len(more) < 256 and (item := self._out.get_nowait()) is not None:
                        more.append(item)
                connection.sendall(b"".join(each if isinstance(each, bytes) else self._framed(*each) for each in more))
                if item is None:
                    break
            if self._stopping:
                connection.sendall(packed({"bye": 1}))
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            reader.join()
        self._lost("it closed the connection")

    def _next(self) -> tuple[int, Entry] | bytes | None:
        """Wait for something to send; while there is nothing, what is handed in goes past the thread."""
        with self._gate:
            if self._out.empty():
                self._behind = False
        return self._out.get()

    def _framed(self, number: int, entry: Entry, *, again: bool = False) -> bytes:
        """An entry as bytes; one that is too large fails alone, and would else be sent again for ever."""
        try:
            return packed(of_entry(number, entry, again=again))
        except ChronError as error:
            with self._changed:
                self._pending.pop(number, None)
                self._changed.notify_all()
            tell([(entry, error)])
            return b""

    def _read(self, connection: socket.socket) -> None:
        received = bytearray()
        try:
            while more := connection.recv(_AT_ONCE_BYTES):
                received += more
                self._take_all(received)
        except (OSError, ChronError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self._out.put(None)

    def _take_all(self, received: bytearray) -> None:
        answered: list[tuple[Entry, Result]] = []
        try:
            for frame in _whole(received):
                if (one := self._take(frame)) is not None:
                    answered.append(one)
        finally:
            # Those of one batch come together: told together, they wake the loop that waits once.
            tell(answered)

    def _take(self, frame: Frame) -> tuple[Entry, Result] | None:
        if "fault" in frame:
            with self._gate:
                self._fault, self._warning, self._head = str(frame["fault"]), str(frame["warning"]), int(frame["head"])
                self.beside = {str(name): str(fault) for name, fault in frame["beside"].items()}
            return None
        with self._changed:
            entry = self._pending.pop(int(frame["n"]), None)
            if not self._pending:
                self._changed.notify_all()
        if entry is None:
            return None
        if "error" in frame:
            return entry, ChronError(str(frame["error"]))
        if "count" in frame:
            return entry, int(frame["count"])
        receipts = tuple(Receipt(int(seq), str(id_), bytes.fromhex(hash_)) for seq, id_, hash_ in frame["receipts"])
        self._head = max(self._head, *(receipt.seq for receipt in receipts), 0)
        return entry, receipts

    def _lost(self, why: str) -> None:
        """Fail whoever waits; what nobody waits for stays to be sent again."""
        with self._changed:
            self._connected, self._fault = False, self._away(why)
            failed = [(number, entry) for number, entry in self._pending.items() if not entry.patient]
            for number, entry in failed:
                del self._pending[number]
                self._unheard += [id_ for id_, _, kind, _ in entry.drafts if kind == "decision"]
            self._changed.notify_all()
        tell((entry, ChronError(self._fault)) for _, entry in failed)

    def _away(self, why: str) -> str:
        return f'the writer of this Chron does not answer at "{self._place}" ({why}); {self._remedy}'


class RemoteChron(Chron):
    """A Chron that is written by another process."""

    @classmethod
    def join(
        cls, place: Path, path: Source, *, session: str, timeout_s: float = _TIMEOUT_S, remedy: str = _REMEDY
    ) -> Self:
        """Join the gates that share a Chron; blocks until its writer answers, or raises ChronError."""
        writer = RemoteWriter(place, session, remedy=remedy)
        try:
            writer.wait_connected(timeout_s)
            chron = cls(resolved(path), writer, None, _kept(path))
            chron.write("lifecycle", {"event": "join", "session": session or None, "pid": os.getpid()})
        except BaseException:
            with suppress(ChronError):
                writer.stop(0)
            raise
        chron.session = session
        return chron

    session = ""

    def beside(self) -> dict[str, str]:
        """What is wrong with anchors and segments, which are the writer's."""
        return dict(self._writer.beside) if isinstance(self._writer, RemoteWriter) else {}

    def seen(self) -> dict[tuple[str, str, int], str]:
        """As everywhere, and of the texts that other gates kept, too. Blocks."""
        self._kept = dict.fromkeys(_kept(self.path))
        return super().seen()

    def checkpoint(self) -> str:
        """Have the writer sign a checkpoint; its note, once it is on disk. Blocks."""
        self._wait(Entry((), checkpoint=True), limited=False)
        return self.newest_checkpoint

    def rotate_key(self) -> str:
        """The key is the writer's, and so is its change."""
        raise ChronError('the key of a shared Chron is its writer\'s; stop the gates and run "claiim chron key rotate"')

    @property
    def newest_checkpoint(self) -> str:
        """The note of the last checkpoint, as the log has it."""
        return next((record.text("note") for record in find(self.path, kind="checkpoint", newest=1)), "")

    def close(self, timeout_s: float = 10.0) -> None:
        """Leave the others, when all is on disk; raises ChronError when it is not."""
        with suppress(ChronError):
            self.write("lifecycle", {"event": "leave", "session": self.session or None})
        super().close(timeout_s)


def _whole(received: bytearray) -> Iterator[Frame]:
    """The frames that are there whole; they are taken out of what was received."""
    while len(received) >= HEADER_BYTES:
        end = HEADER_BYTES + length(received[:HEADER_BYTES])
        if len(received) < end:
            return
        frame = unpacked(received[HEADER_BYTES:end])
        del received[:end]
        yield frame


def _receive(connection: socket.socket) -> Frame:
    return unpacked(_exactly(connection, length(_exactly(connection, HEADER_BYTES))))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ChronError("it closed the connection")
        data += more
    return bytes(data)


def _kept(path: Source) -> list[Key]:
    with closing(connect(path)) as connection:
        return kept(connection)
