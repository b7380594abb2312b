"""A target that keeps the bytes of every request as they came, and answers each as soon as it is whole."""

import asyncio
import ssl
import threading
from typing import Self

import h11

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """What came on one connection."""

    def __init__(self, kept: list["Connection"], secure: bool) -> None:
        self._kept = kept
        self.secure = secure
        self.requests: list[bytes] = []
        """Each whole request, head and body as framed."""
        self.rest = b""
        """What came behind the last of them: of one that was cut off, or no request at all."""
        self.fault = ""
        self._reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._kept.append(self)  # not before: a handshake may fail

    def abort(self) -> None:
        """Let go."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.rest += data
        if self.fault:
            return
        self._reader.receive_data(data)
        try:
            while (event := self._reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Request) and self._reader.they_are_waiting_for_100_continue:
                    self._transport.write(_CONTINUE)
                if isinstance(event, h11.EndOfMessage):
                    self._whole()
        except h11.ProtocolError as error:
            self.fault = str(error)
            self._transport.close()

    def _whole(self) -> None:
        behind, _ = self._reader.trailing_data
        end = len(self.rest) - len(behind)
        self.requests.append(self.rest[:end])
        self.rest = self.rest[end:]
        self._reader.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        self._reader.send(h11.EndOfMessage())
        self._transport.write(_ANSWER)
        if self._reader.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._reader.start_next_cycle()


class Recorder:
    """Listens on loopback between enter and exit, with TLS and without."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self.connections: list[Connection] = []

    @property
    def whole(self) -> int:
        """How many whole requests came, but for those that only end a connection."""
        return sum(each.partition(b" ")[2][:4] != b"/end" for one in self.connections for each in one.requests)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _listen(self) -> None:
        self._servers = [
            await self._loop.create_server(
                lambda secure=tls is not None: Connection(self.connections, secure), "127.0.0.1", 0, ssl=tls
            )
            for tls in (None, self._tls)
        ]
        self.port, self.secure_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def _close(self) -> None:
        for connection in self.connections:
            connection.abort()
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)
