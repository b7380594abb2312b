"""What both sides of HTTP/2 share: a connection, and the flows that are interwoven on it.

`h2` keeps the state; here its frames go out and come in, and each flow is told what concerns it (`proxy.fast.flows`).
"""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from proxy.fast.flows import GIVEN_BACK_BYTES, WINDOW_BYTES, Flow
from proxy.fast.lenient import LenientConnection, Plain
from proxy.fast.streams import Stream

_log = logging.getLogger(__name__)

_MOST_WINDOW_BYTES = 2**31 - 1  # RFC 9113, 6.9.1
_FRAME_BYTES = 64 * 1024
"""The longest frame either way; a longer one would hold up the other flows."""
_SLICE_BYTES = 4 * 1024
"""How much is read at once: for each frame h2 copies all that is behind it."""
_TURN_S = 0.002
"""How long what came of one connection is read before others have their turn: in 256 KiB there are 26,000 frames."""
_MOST_UNSENT_BYTES = 64 * 1024
_TABLE_BYTES = 4096
"""Of our own compression table. RFC 7541, 4.2: as large as the other side likes, and it could like gigabytes."""


def name_of(code: int) -> str:
    """How an error code of HTTP/2 is called (RFC 9113, 7)."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)


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
        self.wire = wire = LenientConnection(config)
        wire.encoder = Plain()
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
        self.received = 0
        """How often anything was received."""
        self._due: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        """What is to be put before anything more is sent, and what is called where that fails."""
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
        if self._read_bytes >= GIVEN_BACK_BYTES and not self.over:
            self.wire.increment_flow_control_window(self._read_bytes)
            self._read_bytes = 0
            self.flush_soon()

    def due(self, call: Callable[[], None], failed: Callable[[], None]) -> None:
        """Call this before anything more is sent, at the latest when the loop comes to it; `failed` where it raises."""
        self._due.append((call, failed))
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
            call, failed = self._due.popleft()
            try:
                call()
            except (Exception, asyncio.CancelledError):  # whoever calls here may be another flow
                _log.exception("what was to be sent first failed; its flow is broken off")
                failed()
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

    def ping(self) -> None:
        """Ask for a sign of life, and give one (RFC 9113, 6.7)."""
        if not self.over:
            self.wire.ping(b"claiim\0\0")
            self.flush_soon()

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
            self.received += 1
            if (fault := await self.take_in_turns(data)) != "":
                self._due.clear()  # nothing goes out any more but why
                self.flush()
                self.stream.close()
                return fault
        return "the connection was closed"

    async def take_in_turns(self, data: bytes) -> str:
        """Take what came, not so much at once that others wait for it; what is wrong with it, or ""."""
        began = time.monotonic()
        for start in range(0, len(data), _SLICE_BYTES):
            if start and time.monotonic() - began > _TURN_S:
                await asyncio.sleep(0)
                began = time.monotonic()
            if self.over:
                break
            if (fault := self._take(data[start : start + _SLICE_BYTES])) != "":
                return fault
            if self._said_much:
                self._said_much = False
                await self.drained()
        return ""

    def _take(self, data: bytes) -> str:
        unsent_bytes = len(self.wire._data_to_send)
        try:
            received = self.wire.receive_data(data)
        except ProtocolError as error:
            # Requests before it in these bytes were not looked at, and a body whose end was there has none. GOAWAY
            # counts them among what may have been processed (RFC 9113, 6.8): no agent sends them again by itself.
            return f"HTTP/2 protocol error: {error}"
        except (ValueError, IndexError, KeyError) as error:
            # https://github.com/python-hyper/h2/issues/1231, and whatever else bytes may do to a parser.
            self.wire.close_connection(ErrorCodes.PROTOCOL_ERROR)
            return f"HTTP/2 protocol error: {error!r}"
        # h2 answers by itself, also what comes on a flow that is over: each frame of it with a reset.
        self._said_much = self._said_much or len(self.wire._data_to_send) > unsent_bytes
        for event in received:
            if isinstance(event, events.DataReceived) and (flow := self.flows.get(event.stream_id)):
                flow.came_bytes += len(event.data)  # before anybody takes it: what is lost on the way is missed
            if handler := self._handlers.get(type(event)):
                handler(event)
        if not self.over:
            self.flush_soon()
        return ""

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
