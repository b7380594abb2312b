"""The sockets: the one file that has any. A connection is read, written and ended here; what it says is for others.

A `Stream` is a connection, in the clear (`Tcp`) or inside TLS (`Secure`, which lies over any other stream).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from proxy.fast.tls import Tls, TlsError
from proxy.wire.listener import SecuredStream

_MOST_UNREAD_BYTES = 256 * 1024
"""What may have come and not been read before the socket is left alone."""
_MOST_UNSENT_BYTES = 256 * 1024
"""What may be written and not be sent before `drain` waits."""


def nothing() -> None:
    """For whom nobody waits."""


class Stream(Protocol):
    """A connection. Its methods are those of `asyncio.StreamReader` and `StreamWriter`, as far as there is need."""

    on_end: Callable[[], None]
    """Called when nothing more will come, or when it has broken off."""
    cut_off: bool
    """Whether its end was not told where it has to be: TLS that ended without a word (RFC 8446, 6.1)."""

    async def read(self, most: int = ..., /) -> bytes:
        """The next bytes; b"" when nothing more will come. Raises OSError when it has broken off."""

    def put_back(self, data: bytes) -> None:
        """Let these bytes be read again, first."""

    def take(self) -> bytes:
        """What has come and was not read; nothing is waited for."""

    def quiet(self) -> bool:
        """Whether nothing has come that was not read, and it has not ended."""

    def write(self, data: bytes) -> None:
        """Send; what cannot be sent any more is dropped."""

    async def drain(self) -> None:
        """Wait until not too much is unsent. Raises OSError when it has broken off."""

    def write_eof(self) -> None:
        """Say that nothing more will come from here."""

    def close(self) -> None:
        """Close it when what was written is sent."""

    def abort(self) -> None:
        """Break it off now."""

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""


class Tcp(asyncio.Protocol):
    """A connection in the clear."""

    cut_off = False

    def __init__(self, accepted: "Callable[[Tcp], None] | None" = None) -> None:
        self._accepted = accepted
        self._unread: bytes | bytearray = b""
        """One piece as it came, which is most of what comes, or several in a row: kept apart, single bytes would cost
        fifty times what they are."""
        self._ended = False
        self._lost = False
        self._error: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        """Set while `drain` need not wait; any number may."""
        self._room.set()
        self._paused = False
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.on_end: Callable[[], None] = nothing
        self.on_lost: Callable[[], None] = nothing
        """Called when it is closed."""
        self.moved = 0
        """How often anything was received or sent."""

    # --- as asyncio calls it -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        try:
            self.transport.set_write_buffer_limits(_MOST_UNSENT_BYTES)
            if self._accepted is not None:
                self._accepted(self)
        except BaseException:
            self.transport.abort()  # else nobody would read, and nobody end, what the loop has accepted
            raise

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is read."""
        if self.transport is None:
            raise ConnectionError("it never began")  # at which the loop ends it; nobody else has it
        self.moved += 1
        self._keep(data)
        if len(self._unread) > _MOST_UNREAD_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def _keep(self, data: bytes) -> None:
        if not self._unread:
            self._unread = data
            return
        if isinstance(self._unread, bytes):
            self._unread = bytearray(self._unread)
        self._unread += data

    def eof_received(self) -> bool:
        """The other side sends no more; this one may."""
        self._ended = True
        self._wake()
        self.on_end()
        return True

    def connection_lost(self, error: BaseException | None) -> None:
        """It is over."""
        self._lost = True
        if not self._ended or error is not None:
            self._error = error
            self._ended = True
        # Not by `_wake`: a failure there may be what has ended it, and then nobody would end what waits.
        if (reader := self._reader) is not None and not reader.done():
            reader.set_result(None)
        self._room.set()
        on_end, on_lost = self.on_end, self.on_lost
        self.on_end = self.on_lost = nothing  # what they refer to refers to this connection
        on_end()
        on_lost()

    def pause_writing(self) -> None:
        """Too much is unsent."""
        self._room.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._room.set()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- as a stream ---------------------------------------------------------------------------------

    async def read(self, most: int = 2**20, /) -> bytes:
        """The next bytes; b"" when nothing more will come. Raises OSError when it has broken off."""
        while not self._unread:
            if self._ended:
                if isinstance(self._error, OSError):
                    raise self._error
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self.take()
        if len(data) > most:
            self.put_back(data[most:])
            data = data[:most]
        return data

    def _let_come(self) -> None:
        if self._paused:
            self._paused = False
            with contextlib.suppress(RuntimeError):
                self.transport.resume_reading()

    def put_back(self, data: bytes) -> None:
        """Let these bytes be read again, first."""
        self._unread = data + self._unread

    @property
    def unread_bytes(self) -> int:
        """How much has come and was not read."""
        return len(self._unread)

    def take(self) -> bytes:
        """What has come and was not read; nothing is waited for."""
        data, self._unread = bytes(self._unread), b""
        self._let_come()  # else nothing would ever come to whoever reads next
        return data

    def quiet(self) -> bool:
        """Whether nothing has come that was not read, and it has not ended."""
        return not self._unread and not self._ended and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send."""
        self.moved += 1
        if not self.transport.is_closing():  # uvloop's raises where it is closed, and whoever writes is not at fault
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until not too much is unsent."""
        if not self.transport.is_closing():
            await self._room.wait()
        if isinstance(self._error, OSError):
            raise self._error

    async def emptied(self) -> None:
        """Wait until all that was written is sent, or cannot be any more."""
        with contextlib.suppress(RuntimeError):  # it is closed, and nothing is unsent
            self.transport.set_write_buffer_limits(0)
        await self._room.wait()

    def write_eof(self) -> None:
        """Close the writing half."""
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()

    def close(self) -> None:
        """Close it when what was written is sent."""
        self.transport.close()

    def abort(self) -> None:
        """Break it off now: what is read from it then must not pass for whole."""
        if not self._ended:
            self._error = ConnectionAbortedError("the connection was broken off here")
            self._ended = True
        if not self._lost:  # after its end asyncio's own transport fails at that, if it was closed with bytes unsent
            self.transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self.transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""
        return self.transport.get_extra_info(name, default)


class Secure:
    """TLS over another stream, from its handshake on."""

    def __init__(self, below: Stream, tls: Tls) -> None:
        self._below = below
        self.tls = tls
        self.cut_off = False
        self._unread = b""

    @property
    def on_end(self) -> Callable[[], None]:
        """Called when nothing more will come."""
        return self._below.on_end

    @on_end.setter
    def on_end(self, call: Callable[[], None]) -> None:
        self._below.on_end = call

    def take(self) -> bytes:
        """What has come and was not read; nothing is waited for."""
        data, self._unread = self._unread, b""
        return data

    def quiet(self) -> bool:
        """Whether nothing has come that was not read, and it has not ended; session tickets are nothing."""
        if received := self._below.take():
            try:
                self._unread += self.tls.receive(received)
            except TlsError:
                return False
            self._flush()
        return not self._unread and not self.tls.ended and self._below.quiet()

    async def shake_hands(self) -> None:
        """Raises TlsError, or OSError when the other side goes away."""
        try:
            self.tls.begin()
            while not self.tls.open:
                self._flush()
                received = await self._below.read()
                if not received:
                    raise ConnectionResetError("the connection ended during the TLS handshake")
                self._unread += self.tls.receive(received)
        finally:
            self._flush()  # also the alert that says why

    async def read(self, _most: int = 2**20, /) -> bytes:
        """The next bytes; b"" when nothing more will come."""
        while not self._unread:
            if self.tls.ended:
                return b""
            failed = self.tls.failed is True  # anything else would be asked again for ever, without a pause
            received = b"" if failed else await self._below.read()
            if not received and not failed:
                self.cut_off = True
                return b""
            try:
                self._unread = self.tls.receive(received)
            except TlsError as error:
                raise ConnectionError(f"TLS failed: {error}") from None
            finally:
                answered = self._flush()
            if answered:
                await self._below.drain()  # a key update, of which whoever reads no answer may ask for any number
        data, self._unread = self._unread, b""
        return data

    def put_back(self, data: bytes) -> None:
        """Let these bytes be read again, first."""
        self._unread = data + self._unread

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        try:
            self.tls.send(data)
        except TlsError:
            self._below.close()
            return
        self._flush()

    def _flush(self) -> bool:
        pending = self.tls.pending()
        if pending:
            self._below.write(pending)
        return bool(pending)

    async def drain(self) -> None:
        """Wait until not too much is unsent."""
        await self._below.drain()

    def write_eof(self) -> None:
        """Say that nothing more will come; what comes is still read."""
        self.tls.end()
        self._flush()

    def close(self) -> None:
        """Say so and close."""
        if not self._below.is_closing():
            self.write_eof()
        self._below.close()

    def abort(self) -> None:
        """Break it off now."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""
        return self._below.get_extra_info(name, default)


class Listened:
    """An agent's TLS with the gate's own listener (`proxy.wire.listener`), as a stream."""

    cut_off = False
    """Nothing of an agent's ends with its connection."""

    def __init__(self, secured: SecuredStream, socket: Tcp) -> None:
        self._secured = secured
        self._socket = socket
        self._unread = b""

    @property
    def on_end(self) -> Callable[[], None]:
        """Called when nothing more will come."""
        return self._socket.on_end

    @on_end.setter
    def on_end(self, call: Callable[[], None]) -> None:
        self._socket.on_end = call

    async def read(self, most: int = 2**20, /) -> bytes:
        """The next bytes; b"" when nothing more will come."""
        data, self._unread = self._unread, b""
        return data or await self._secured.read(most)

    def put_back(self, data: bytes) -> None:
        """Let these bytes be read again, first."""
        self._unread = data + self._unread

    def take(self) -> bytes:
        """What was put back and not read."""
        data, self._unread = self._unread, b""
        return data

    def quiet(self) -> bool:
        """An agent's connection is never kept for others."""
        return False

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self._secured.write(data)

    async def drain(self) -> None:
        """Wait until not too much is unsent."""
        await self._secured.drain()

    def write_eof(self) -> None:
        """Say that nothing more will come."""
        self._secured.write_eof()

    def close(self) -> None:
        """Say so and close."""
        self._secured.close()

    def abort(self) -> None:
        """Break it off now."""
        self._socket.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._secured.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""
        return self._socket.get_extra_info(name, default)


async def dial(address: tuple[str, int]) -> Tcp:
    """Connect; raises OSError."""
    _, protocol = await asyncio.get_running_loop().create_connection(Tcp, *address)
    return protocol
