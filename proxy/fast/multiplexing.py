"""What both sides of HTTP/2 share: a connection, and the flows that are interwoven on it.

`h2` keeps the state; here its frames go out and come in, and each flow is held to its window (RFC 9113, 5.2). What
came is kept until it is read, and only what was read is given back to the sender; what is to be sent waits for the
window. So one flow that nobody reads holds back no other, and what is kept has a bound.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame

from proxy.fast.heads import Fields
from proxy.fast.streams import Stream

WINDOW_BYTES = 256 * 1024
"""What of one flow may have come and not been read; as much as of one HTTP/1 connection."""
_MOST_WINDOW_BYTES = 2**31 - 1  # RFC 9113, 6.9.1
_GIVEN_BACK_BYTES = WINDOW_BYTES // 4
"""So much was read before it is given back: fewer frames, and never so late that the sender has to stop."""
_FRAME_BYTES = 64 * 1024
"""The longest frame either way; a longer one would hold up the other flows."""
_SLICE_BYTES = 64 * 1024
"""How much is read at once: for each frame h2 copies all that is behind it."""
_MOST_UNSENT_BYTES = 64 * 1024
_TABLE_BYTES = 4096
"""Of our own compression table. RFC 7541, 4.2: as large as the other side likes, and it could like gigabytes."""


class _Stream(H2Stream):
    """A stream whose content length is compared by us: h2 would end the whole connection for it."""

    def _initialize_content_length(self, headers: object) -> None:
        pass


class _Plain(Encoder):
    """Encodes fields without Huffman's code, which costs more time here than a fourth of a head's bytes is worth."""

    def encode(self, headers, huffman=False):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """The fields as bytes."""
        return super().encode(headers, huffman=False)


def _no_text() -> str:
    return ""


class _Connection(H2Connection):
    """A connection on which flows go on after GOAWAY, as RFC 9113, 6.8 has it."""

    MAX_CLOSED_STREAMS = 1024

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = _Stream
        return stream

    def _receive_frame(self, frame: Frame) -> list[events.Event]:
        # h2 writes each frame out, for a log that is not kept; of a download that was a third of the time.
        frame._body_repr = _no_text  # type: ignore[method-assign]
        return super()._receive_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[events.Event]]:
        event = events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]


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
        self.closed = False
        """Whether both are over, in order or not."""
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
        return self.ended and not self._pieces

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
        read_bytes, self._kept_bytes = self._kept_bytes, 0
        self._connection.give_back(read_bytes)
        self._give_back(read_bytes)
        return data

    def _give_back(self, count: int) -> None:
        self._read_bytes += count
        if self._read_bytes >= _GIVEN_BACK_BYTES and not self.ended and not self.closed:
            self._connection.wire.increment_flow_control_window(self._read_bytes, self.number)
            self._connection.flush_soon()
            self._read_bytes = 0

    async def send(self, data: bytes) -> None:
        """Send, as the windows allow; raises what has ended it."""
        view = memoryview(data)
        while view:
            size = min(await self._room(), len(view))
            self._connection.put_data(self.number, view[:size])
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


class Multiplexed(ABC):
    """One side of an HTTP/2 connection."""

    ENDED: type[Exception]
    """What its flows raise when it has ended."""

    def __init__(self, stream: Stream, *, client: bool, streams: int, head_bytes: int) -> None:
        self.stream = stream
        config = H2Configuration(
            client_side=client,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
        self.wire = wire = _Connection(config)
        wire.encoder = _Plain()
        settings = wire.local_settings
        settings.max_concurrent_streams = streams
        settings.max_header_list_size = head_bytes
        settings.initial_window_size = WINDOW_BYTES
        settings.max_frame_size = _FRAME_BYTES
        if client:
            settings.enable_push = 0
        settings.acknowledge()  # what we say holds at once, for us
        wire.decoder.max_header_list_size = head_bytes
        wire.max_inbound_frame_size = _FRAME_BYTES
        wire.initiate_connection()
        # A flow that nobody reads must not use up what the others need.
        wire.increment_flow_control_window(min(_MOST_WINDOW_BYTES, streams * WINDOW_BYTES) - 65_535)
        self.flows: dict[int, Flow] = {}
        self.waiting: dict[int, Flow] = {}
        """Those that a window holds up, the one that has waited longest first."""
        self.over = False
        """Whether nothing more is read or sent."""
        self.moved = 0
        """How often anything was received or sent."""
        self._due: deque[Callable[[], None]] = deque()
        self._soon = False
        self._unsent_bytes = 0
        self._read_bytes = 0
        self._said_much = False
        """Whether the other side has made us say something, and may not be reading it."""
        self._draining = asyncio.Lock()
        self._handlers: dict[type[events.Event], Callable[[events.Event], None]] = {
            events.DataReceived: self._on_data,
            events.TrailersReceived: self._on_trailers,
            events.StreamEnded: self._on_end,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_settings,
            events.PingReceived: self._on_ping,
            events.ConnectionTerminated: self._on_goodbye,
        }

    # --- out -----------------------------------------------------------------------------------------

    def room(self, number: int) -> int:
        """How much a flow may send at once."""
        wire = self.wire
        return min(wire.local_flow_control_window(number), wire.max_outbound_frame_size, _FRAME_BYTES)

    def put_data(self, number: int, data: memoryview) -> None:
        """Send what there is room for."""
        self.wire.send_data(number, data)
        self._unsent_bytes += len(data)
        self.flush_soon()

    def give_back(self, count: int) -> None:
        """So much was read: as much again may come, on whatever flow."""
        self._read_bytes += count
        if self._read_bytes >= _GIVEN_BACK_BYTES and not self.over:
            self.wire.increment_flow_control_window(self._read_bytes)
            self._read_bytes = 0
            self.flush_soon()

    def due(self, call: Callable[[], None]) -> None:
        """Call this before anything more is sent, at the latest when the loop comes to it."""
        self._due.append(call)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Send, in one piece, what all flows give in this turn of the loop."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was put."""
        self._soon = False
        while self._due:
            self._due.popleft()()
        self._unsent_bytes = 0
        data = self.wire.data_to_send()
        if data and not self.over:
            self.moved += 1
            self.stream.write(data)

    async def drained(self) -> None:
        """Wait until not too much is unsent; what has broken off is told by the flows."""
        if self._unsent_bytes >= _MOST_UNSENT_BYTES:
            self.flush()
        async with self._draining:  # a stream has one that waits
            with contextlib.suppress(OSError):
                await self.stream.drain()

    def say_goodbye(self, code: int = ErrorCodes.NO_ERROR) -> None:
        """GOAWAY: what was begun goes on, nothing new is."""
        frame = GoAwayFrame(0, last_stream_id=self.wire.highest_inbound_stream_id, error_code=code)
        self.flush()
        self.stream.write(frame.serialize())

    def close(self, code: int = ErrorCodes.NO_ERROR) -> None:
        """Say so, and close; what was begun is over."""
        if not self.over:
            self.say_goodbye(code)
            self.end_all(partial(self.ENDED, "the connection was closed"))
        self.stream.close()

    # --- in ------------------------------------------------------------------------------------------

    async def read_on(self) -> str:
        """Read until the connection ends; what has ended it."""
        while not self.over:
            try:
                data = await self.stream.read()
            except OSError as error:
                return str(error) or type(error).__name__
            if not data:
                return "the connection was closed"
            self.moved += 1
            if (fault := self.take(data)) is not None:
                self._due.clear()  # nothing goes out any more but why
                self.flush()
                self.stream.close()
                return fault
            if self._said_much:
                self._said_much = False
                await self.drained()
        return "the connection was closed"

    def take(self, data: bytes) -> str | None:
        """Take what came; what is wrong with it, or None."""
        for start in range(0, len(data), _SLICE_BYTES):
            try:
                received = self.wire.receive_data(data[start : start + _SLICE_BYTES])
            except ProtocolError as error:
                return f"HTTP/2 protocol error: {error}"
            except (ValueError, IndexError, KeyError) as error:
                # https://github.com/python-hyper/h2/issues/1231, and whatever else bytes may do to a parser.
                self.wire.close_connection(ErrorCodes.PROTOCOL_ERROR)
                return f"HTTP/2 protocol error: {error!r}"
            for event in received:
                if handler := self._handlers.get(type(event)):
                    handler(event)
            if self.over:
                return None
        self.flush_soon()
        return None

    def _on_data(self, event: events.Event) -> None:
        event = cast(events.DataReceived, event)
        window_bytes = event.flow_controlled_length
        flow = self.flows.get(event.stream_id)
        if flow is not None and not flow.closed:
            flow.keep(event.data, window_bytes)
        else:
            self.give_back(window_bytes)

    def _on_trailers(self, event: events.Event) -> None:
        event = cast(events.TrailersReceived, event)
        if flow := self.flows.get(event.stream_id):
            flow.trailers = tuple((name, value) for name, value in event.headers)

    def _on_end(self, event: events.Event) -> None:
        event = cast(events.StreamEnded, event)
        if flow := self.flows.get(event.stream_id):
            flow.end()

    def _on_reset(self, event: events.Event) -> None:
        event = cast(events.StreamReset, event)
        if flow := self.flows.get(event.stream_id):
            self.was_reset(flow, event.error_code)

    def _on_window(self, event: events.Event) -> None:
        event = cast(events.WindowUpdated, event)
        if not event.stream_id:
            self._make_room()
        elif flow := self.waiting.get(event.stream_id):
            flow.make_room()

    def _on_settings(self, event: events.Event) -> None:
        changed = cast(events.RemoteSettingsChanged, event).changed_settings
        self._said_much = True
        if SettingCodes.INITIAL_WINDOW_SIZE in changed:
            self._make_room()
        if self.wire.encoder.header_table_size > _TABLE_BYTES:
            self.wire.encoder.header_table_size = _TABLE_BYTES

    def _make_room(self) -> None:
        for flow in list(self.waiting.values()):
            flow.make_room()

    def _on_ping(self, _: events.Event) -> None:
        self._said_much = True

    def _on_goodbye(self, event: events.Event) -> None:
        event = cast(events.ConnectionTerminated, event)
        self.was_left(event.last_stream_id or 0)

    @abstractmethod
    def was_reset(self, flow: Flow, code: int) -> None:
        """The other side has ended a flow."""

    @abstractmethod
    def was_left(self, last: int) -> None:
        """The other side has begun with nothing behind the flow `last`, and will not."""

    def end_all(self, error: Callable[[], Exception]) -> None:
        """The connection is over, and with it all flows."""
        self.over = True
        for flow in list(self.flows.values()):
            flow.fail(error)

    def let_go(self) -> None:
        """It has ended: nothing is to refer back to it any more."""
        self._handlers.clear()
        self._due.clear()
