"""A small HTTP/2 origin: every request is answered with itself as JSON. It never falls back to HTTP/1.1.

A path that ends in `?pad=N` gets N more bytes in its answer, to fill flow-control windows.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from support.targets.base import Seen, Target


class H2Origin(Target):
    NAMES = ("h2.test",)
    ALPN = ("h2",)

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        self._open: set[_Connection] = set()
        listener = await self.listen(lambda: _Connection(self))
        ready(listener.sockets[0].getsockname()[1])
        await stopped.wait()
        listener.close()
        for connection in list(self._open):
            connection.end()
        await listener.wait_closed()


class _Connection(asyncio.Protocol):
    def __init__(self, target: H2Origin) -> None:
        self._target = target
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, Seen] = {}
        self._waiting: deque[tuple[int, bytes]] = deque()
        """Bodies that the peer's window has no room for yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._target._open.add(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._target._open.discard(self)

    def end(self) -> None:
        """Say goodbye and close."""
        self._h2.close_connection()
        self._flush()
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        for event in events:
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=stream, headers=headers):
                pairs = tuple((str(name), str(value)) for name, value in headers)
                pseudo = dict(pairs)
                seen = Seen(pseudo[":method"], pseudo[":path"], pairs, version="2")
                self._streams[stream] = self._target.record(seen)
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._streams[stream].take(data)
                self._h2.acknowledge_received_data(length, stream)
            case h2.events.StreamEnded(stream_id=stream):
                self._answer(stream, self._streams.pop(stream))
            case h2.events.StreamReset(stream_id=stream):
                self._streams.pop(stream, None)
                self._waiting = deque(entry for entry in self._waiting if entry[0] != stream)
            case h2.events.ConnectionTerminated():
                self._transport.close()

    def _answer(self, stream: int, seen: Seen) -> None:
        seen.complete = True
        body = json.dumps(
            {
                "method": seen.method,
                "path": seen.path,
                "headers": [list(header) for header in seen.headers],
                "bytes": seen.body_bytes,
                "sha256": seen.body_sha256,
                "pad": "." * int(seen.path.partition("?pad=")[2] or 0),
            }
        ).encode()
        head = [(":status", "200"), ("content-type", "application/json"), ("content-length", str(len(body)))]
        self._h2.send_headers(stream, head)
        self._waiting.append((stream, body))

    def _flush(self) -> None:
        """Send what the windows allow (RFC 9113, section 5.2); the rest waits for a WINDOW_UPDATE."""
        for _ in range(len(self._waiting)):
            stream, body = self._waiting.popleft()
            while body and (window := self._h2.local_flow_control_window(stream)) > 0:
                room = min(window, self._h2.max_outbound_frame_size, len(body))
                self._h2.send_data(stream, body[:room], end_stream=room == len(body))
                body = body[room:]
            if body:
                self._waiting.append((stream, body))
        if not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send())
