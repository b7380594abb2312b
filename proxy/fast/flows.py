"""One flow of an HTTP/2 connection: what comes and what goes, each as far as its window allows (RFC 9113, 5.2).

What came is kept until it is read, and only what was read is given back to the sender; what is to be sent waits for the
window. So what is kept has a bound, and one flow that nobody reads holds back no other.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from proxy.fast.heads import Fields

if TYPE_CHECKING:
    from proxy.fast.multiplexing import Multiplexed

WINDOW_BYTES = 256 * 1024
"""What of one flow may have come and not been read; as much as of one HTTP/1 connection."""
GIVEN_BACK_BYTES = WINDOW_BYTES // 4
"""So much was read before it is given back: fewer frames, and never so late that the sender has to stop."""


class Flow:
    """One stream of a connection (RFC 9113, 5): what comes and what goes, each as far as its window allows."""

    def __init__(self, connection: "Multiplexed", number: int) -> None:
        self._connection = connection
        self.number = number
        self.ended = False
        """Whether the other side has ended its half."""
        self.trailers: Fields = ()
        self.sent = False
        """Whether we have ended ours."""
        self.sent_bytes = 0
        """How much of a body we have sent."""
        self.closed = False
        """Whether both are over, in order or not."""
        self.came_bytes = 0
        """How much of a body has come, counted by the connection; `whole` holds what was read against it."""
        self._got_bytes = 0
        self._no_more: Callable[[], Exception] | None = None
        """Why nothing more will come."""
        self._no_way: Callable[[], Exception] | None = None
        """Why nothing more can be sent."""
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        """What they have taken of the window, padding included."""
        self._read_bytes = 0
        """What was read and not given back yet."""
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether the other side has ended its half, and all of it was read."""
        return self.ended and not self._pieces and self._got_bytes == self.came_bytes

    @property
    def kept(self) -> int:
        """How much has come and was not read."""
        return sum(map(len, self._pieces))

    @property
    def broken(self) -> bool:
        """Whether it has ended before its time."""
        return self._no_more is not None

    # --- as the connection calls it ------------------------------------------------------------------

    def keep(self, data: bytes, window_bytes: int) -> None:
        """Keep what came until it is read."""
        if not data:
            self._connection.give_back(window_bytes)
            self._read_bytes += window_bytes
            return
        self._pieces.append(data)
        self._kept_bytes += window_bytes
        self.wake()

    def end(self) -> None:
        """Nothing more will come; what has failed before stays so."""
        if not self.closed:
            self.ended = True
            self.closed = self.sent
        self.wake()

    def fail(self, error: Callable[[], Exception]) -> None:
        """It is over before its time: once what came is read, `error` is raised."""
        self.closed = True
        if not self.ended:
            self._no_more = self._no_more or error
        self.stop(error)
        self.wake()

    def stop(self, error: Callable[[], Exception]) -> None:
        """Nothing more can be sent."""
        self._no_way = self._no_way or error
        self.make_room()

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def make_room(self) -> None:
        """Let whoever waits for the window look again."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def drop(self) -> None:
        """Nobody will read what was kept."""
        self._connection.give_back(self._kept_bytes)
        self._pieces.clear()
        self._kept_bytes = 0

    # --- as its owner calls it -----------------------------------------------------------------------

    async def look(self) -> None:
        """Wait until something has come; raises what has ended it."""
        if self._no_more is not None:
            raise self._no_more()
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def read(self) -> bytes | None:
        """What has come, None at its end; raises what has ended it before."""
        while not self._pieces:
            if self.ended:
                return None
            await self.look()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._got_bytes += len(data)
        read_bytes, self._kept_bytes = self._kept_bytes, 0
        self._connection.give_back(read_bytes)
        self._give_back(read_bytes)
        return data

    def _give_back(self, count: int) -> None:
        self._read_bytes += count
        if self._read_bytes >= GIVEN_BACK_BYTES and not self.ended and not self.closed:
            self._connection.wire.increment_flow_control_window(self._read_bytes, self.number)
            self._connection.flush_soon()
            self._read_bytes = 0

    async def send(self, data: bytes) -> None:
        """Send, as the windows allow; raises what has ended it."""
        view = memoryview(data)
        while view:
            size = min(await self._room(), len(view))
            self._connection.put_data(self.number, view[:size])
            self.sent_bytes += size
            view = view[size:]
            await self._connection.drained()
            if view and self._connection.waiting:
                await asyncio.sleep(0)  # let them have their share of the connection's window

    async def _room(self) -> int:
        """How much may be sent at once; waits until it is something."""
        connection = self._connection
        while True:
            self.may_send()
            if (room := connection.room(self.number)) > 0:
                return room
            self._writer = asyncio.get_running_loop().create_future()
            connection.waiting[self.number] = self
            try:
                await self._writer
            finally:
                self._writer = None
                connection.waiting.pop(self.number, None)

    def may_send(self) -> None:
        """Raises what has ended it."""
        if self._no_way is not None:
            raise self._no_way()

    def put_head(self, fields: Sequence[tuple[bytes, bytes]], *, end: bool = False) -> None:
        """Send a head or trailers; nothing where nothing can be sent any more."""
        if self._no_way is None and not self.sent:
            self._connection.wire.send_headers(self.number, fields, end_stream=end)
            self._sent(end)

    def put_end(self) -> None:
        """End our half."""
        if self._no_way is None and not self.sent:
            self._connection.wire.end_stream(self.number)
            self._sent(True)

    def _sent(self, end: bool) -> None:
        self.sent = self.sent or end
        self.closed = self.closed or (self.sent and self.ended)
        self._connection.flush_soon()

    def reset(self, code: ErrorCodes, error: Callable[[], Exception]) -> None:
        """End it now, both ways."""
        if not self.closed:
            with contextlib.suppress(ProtocolError):  # what came with what we look at may have ended it for h2
                self._connection.wire.reset_stream(self.number, code)
            self._connection.flush_soon()
        self.fail(error)
