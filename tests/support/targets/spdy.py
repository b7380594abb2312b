"""As much of SPDY/3.1 as kubectl needs of a server: streams are opened, carry data, and are ended.

Reads no header block: kubectl opens the streams of a command always in the same order. Sans-IO: bytes in, bytes out.
(The frames: chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1, section 2.)
"""

import struct
import zlib
from collections.abc import Callable

_SYN_STREAM, _SYN_REPLY, _PING = 1, 2, 6
_FIN = 1
_CONTROL = 0x8003_0000


class Spdy:
    """One connection; `opened` and `heard` are told what the client does and answer with `data`."""

    def __init__(self, opened: Callable[[int], None], heard: Callable[[int, bytes, bool], None]) -> None:
        self._opened = opened
        self._heard = heard
        self._buffer = b""
        self._out = b""
        self._deflate = zlib.compressobj()
        """One for all replies, as the header blocks of a connection share a window; they name no dictionary."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client; what is to be sent to it."""
        self._buffer += data
        while len(self._buffer) >= 8:
            word, sized = struct.unpack(">II", self._buffer[:8])
            flags, length = sized >> 24, sized & 0xFF_FFFF
            if len(self._buffer) < 8 + length:
                break
            payload, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            self._take(word, flags, payload)
        sent, self._out = self._out, b""
        return sent

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send on a stream."""
        self._out += struct.pack(">II", stream, (_FIN if end else 0) << 24 | len(data)) + data

    def _take(self, word: int, flags: int, payload: bytes) -> None:
        if not word >> 31:
            self._heard(word, payload, bool(flags & _FIN))
        elif word & 0xFFFF == _SYN_STREAM:
            stream = struct.unpack(">I", payload[:4])[0]
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._control(_SYN_REPLY, struct.pack(">I", stream) + block)
            self._opened(stream)
        elif word & 0xFFFF == _PING:
            self._control(_PING, payload)

    def _control(self, kind: int, payload: bytes) -> None:
        self._out += struct.pack(">II", _CONTROL | kind, len(payload)) + payload
