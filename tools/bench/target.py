"""The target: a server on uvloop, as little work as Python allows.

    python -m bench.target CERTIFICATE PORT

Every head is answered with the same small JSON, after its body; `/things/large-N` is answered with N bytes.
"""

import asyncio
import contextlib
import re
import ssl
import sys
from typing import Any

import uvloop

from bench.load import BODY

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
_PIECE = bytes(2**17)


class _Target(asyncio.Protocol):
    _room: asyncio.Event

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = b""
        self._awaited = 0
        self._room = asyncio.Event()
        self._room.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, _: Exception | None) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._awaited:
            self._awaited = max(0, self._awaited - len(data))
            if not self._awaited:
                self._transport.write(_ANSWER)
            return
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"GET /things/7 "):
            self._transport.write(_ANSWER)
        elif large := re.match(rb"GET /things/large-([0-9]+) ", head):
            self._sending = asyncio.ensure_future(self._large(int(large[1])))
        elif length := re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head):
            self._awaited = int(length[1]) - len(self._buffer)
            self._buffer = b""

    async def _large(self, size: int) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(_PIECE)):
            await self._room.wait()
            if self._transport.is_closing():
                return
            self._transport.write(_PIECE)


async def _serve(certificate: str, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(_Target, "127.0.0.1", port, ssl=context, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
