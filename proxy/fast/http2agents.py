"""HTTP/2 towards agents: the requests of one connection, each served by a task of its own."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from h2 import events
from h2.errors import ErrorCodes

from proxy.fast import http2heads
from proxy.fast.calls import Gone
from proxy.fast.flows import Flow
from proxy.fast.heads import Fields, NotHttp, RequestHead
from proxy.fast.http1 import MAX_DISCARDED_BYTES
from proxy.fast.multiplexing import Multiplexed, name_of
from proxy.fast.streams import Stream, nothing
from proxy.limits import Limits
from proxy.wire.frames import FrameMeter

_log = logging.getLogger(__name__)

_OTHER_LENGTH = "the body is not as long as its content length says"
_METERED_BYTES = 64 * 1024
_QUIET_S = 5.0
"""How long an answer waits to end while nothing comes of its request's body. What it says is there before."""


class Http2Call:
    """A request on an agent's connection."""

    http2 = True
    bodiless = False
    """Not told by the head: whether the body is empty is seen by reading it, whichever frame has ended it."""

    def __init__(self, agent: "Http2Agent", flow: Flow, head: RequestHead, malformed: str | None) -> None:
        self._agent = agent
        self.flow = flow
        self.head = head
        self.malformed = malformed
        self.leave: Callable[[], None] = nothing
        """Called when the agent has given the request up; `serve` sets it before it waits for anything."""
        self._length = None if malformed else http2heads.length_of(head)
        self._read_bytes = 0
        self._answer: list[tuple[bytes, bytes]] | None = None
        """The head of the answer, while it is still to be seen whether a body follows."""
        self._begun = False
        self._silent = False
        self._lingers = False
        """Whether the answer ends behind the body of its request."""
        self._discarded_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self.flow.whole and self._length in (None, self._read_bytes)

    async def read(self) -> bytes | None:
        """The next piece of the body, None at its end; NotHttp when it is not as long as the head says."""
        piece = await self.flow.read()
        if piece is None and not self.flow.whole:
            raise RuntimeError("a body ended before all that has come of it was read")
        self._read_bytes += len(piece or b"")
        if self._length is not None and (
            self._read_bytes > self._length or (piece is None and self._read_bytes < self._length)
        ):
            raise NotHttp(_OTHER_LENGTH)
        if piece and self._read_bytes == self._length and await self.flow.read() is not None:
            # The last bytes are handed on when the end agrees: a target of HTTP/1 has a whole request with them.
            raise NotHttp(_OTHER_LENGTH)
        return piece

    async def fault(self) -> str | None:
        """Why its head has no single reading, or why its body is none; None as far as all is well. Raises Gone.

        Of a body only what is known now: that it has ended, and is not as long as its head says. A target of HTTP/1 has
        a whole request with a head that says so, and some take a head for one whose body does not come (gunicorn).
        """
        if self.malformed is not None or self._length is None or self.complete:
            return self.malformed
        if self._length == 0:
            try:
                await self.read()
            except NotHttp as error:
                return str(error)
        elif self.flow.ended and self.flow.kept != self._length:
            return _OTHER_LENGTH
        return None

    def interim(self, status: int, fields: Fields = ()) -> None:
        """Send an interim response."""
        if not self._begun:
            self.flow.put_head(http2heads.write_answer(status, fields))

    def sign_of_life(self) -> None:
        """Show that the request still waits: every client answers a ping, and none takes one for an answer."""
        self._agent.ping()

    def last(self) -> None:
        """Let an answer with a body end behind the request's, and not say its length: what it says goes at once.

        curl 7.88, and git with it, read nothing more when they have all of an answer: no window for what they still
        upload, and no end of the connection. An answer without a body ends with its head: who streams and is refused,
        as by gRPC, may wait for just that.
        """
        self._lingers = True

    def begin(self, status: int, phrase: bytes, fields: Fields, method: str) -> None:  # noqa: ARG002 -- HTTP/2 has none
        """Send the head of the answer.

        It waits for the end of what the loop does now. An answer without a body is then one frame, as gRPC wants an
        error to be ("Trailers-Only").
        """
        self._begun = True
        self._silent = method == "HEAD" or status in (204, 304)
        if self._lingers:
            fields = tuple((name, value) for name, value in fields if name != b"content-length")
        self._answer = http2heads.write_answer(status, fields)
        self._agent.due(self._put_answer, self.abort)

    def _put_answer(self, *, end: bool = False) -> None:
        head, self._answer = self._answer, None
        if head is not None:
            self.flow.put_head(head, end=end)

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        self.flow.may_send()
        if self._silent or not data:
            return
        self._put_answer()
        await self.flow.send(data)
        self._agent.meter.sent(len(data))

    async def end(self, trailers: Fields = ()) -> None:
        """End the answer."""
        flow = self.flow
        flow.may_send()
        lingers = self._lingers and flow.sent_bytes > 0
        if lingers:
            await self.discard(self._agent.discard_s, _QUIET_S)
            flow.may_send()
        fields = [] if self._silent else http2heads.lowered(trailers)
        self._put_answer(end=not fields)
        if fields:
            flow.put_head(fields, end=True)
        else:
            flow.put_end()
        if lingers and not flow.ended:
            self.refuse_the_rest()  # in one piece with the end of the answer, behind which curl reads nothing
        self._agent.meter.answered()
        await self._agent.drained()

    def abort(self) -> None:
        """Break the answer off."""
        self._answer = None
        self.flow.reset(ErrorCodes.INTERNAL_ERROR, partial(Gone, "the answer was broken off"))

    def switch(self) -> Stream:
        """HTTP/2 knows no 101 (RFC 9113, 8.6)."""
        raise RuntimeError("an HTTP/2 connection does not change its protocol")

    async def discard(self, most_s: float, quiet_s: float | None = None) -> None:
        """Read what is left of the body, so that the agent gets to the answer; not without end.

        With `quiet_s` until so long nothing has come.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while self._discarded_bytes <= MAX_DISCARDED_BYTES:
                    async with asyncio.timeout(quiet_s):
                        piece = await self.flow.read()
                    if piece is None:
                        return
                    self._discarded_bytes += len(piece)

    def refuse_the_rest(self) -> None:
        """RFC 9113, 8.1: the answer counts, and the rest of the request is not wanted."""
        self.flow.reset(ErrorCodes.NO_ERROR, partial(Gone, "the body goes on behind its answer"))


class Http2Agent(Multiplexed):
    """An agent's side of a connection: each request is served by a task of its own."""

    ENDED = Gone

    def __init__(
        self,
        stream: Stream,
        limits: Limits,
        serve: Callable[[Http2Call], Awaitable[None]],
        limited: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limited` is told the code of a limit for which the connection is ended."""
        super().__init__(stream, client=False, streams=limits.http2_streams, head_bytes=limits.head_bytes)
        self._serve = serve
        self._limited = limited
        self._clock = clock
        self.discard_s = limits.body_s
        """How long the rest of a body is read that nobody wants."""
        self.meter = FrameMeter(limits.http2_frames_per_s, limits.head_bytes, clock())
        self.calls: dict[int, Http2Call] = {}
        """The requests that are being served, by their stream."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._handlers[events.RequestReceived] = self._on_request

    @property
    def beginning(self) -> bool:
        """Whether a frame or a head has begun and is not complete."""
        return self.meter.unfinished

    async def run(self) -> None:
        """Serve until the connection ends, and until all that was begun has come to its end."""
        why = "the connection ended"
        try:
            self.flush()
            why = await self.read_on()
        finally:
            self.end_all(partial(self.ENDED, why))
            self.stream.close()
            try:
                await self._settled()
            finally:
                self.let_go()

    async def _settled(self) -> None:
        if self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError:
                for task in self._tasks:
                    task.cancel()
                raise

    def stop(self) -> None:
        """Take no new requests, and close when those that were begun are answered."""
        if not self._stopping and not self.over:
            self._stopping = True
            self.say_goodbye()
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._stopping and not self.calls:
            self.flush()
            self.over = True
            self.stream.close()

    async def take_in_turns(self, data: bytes) -> str:
        """Take what came, unless it is too much, which is seen before anybody reads it."""
        for start in range(0, len(data), _METERED_BYTES):
            piece = data[start : start + _METERED_BYTES]
            if code := self.meter.read(piece, self._clock()):
                self._limited(code)
                self.close(ErrorCodes.ENHANCE_YOUR_CALM)
                return ""
            if (fault := await super().take_in_turns(piece)) != "" or self.over:
                return fault
        return ""

    def _on_request(self, event: events.Event) -> None:
        event = cast(events.RequestReceived, event)
        number, whole = event.stream_id, event.stream_ended is not None
        flow = Flow(self, number)
        flow.ended = whole
        if self._stopping:
            flow.reset(ErrorCodes.REFUSED_STREAM, partial(Gone, "the connection is being closed"))
            return
        head, malformed = http2heads.read_request([(name, value) for name, value in event.headers], whole=whole)
        call = Http2Call(self, flow, head, malformed)
        self.flows[number] = flow
        self.calls[number] = call
        task = asyncio.ensure_future(self._serve_to_the_end(call))
        self._tasks.add(task)
        task.add_done_callback(partial(self._served, call))

    async def _serve_to_the_end(self, call: Http2Call) -> None:
        flow = call.flow
        flow.may_send()  # what was taken back before it was looked at costs nothing more (CVE-2023-44487)
        await self._serve(call)
        if flow.sent and not flow.ended:
            await call.discard(self.discard_s)
            if not flow.ended:
                call.refuse_the_rest()

    def _served(self, call: Http2Call, task: "asyncio.Task[None]") -> None:
        """Leave no stream without an end, whatever has become of who served it: its agent would wait for ever."""
        flow = call.flow
        self._tasks.discard(task)
        del self.flows[flow.number], self.calls[flow.number]
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Gone):
            _log.error("serving a request failed; it is broken off", exc_info=error)
        if not (flow.sent and flow.ended):
            call.abort()
        flow.drop()
        self._close_when_idle()

    def was_reset(self, flow: Flow, code: int) -> None:
        """The agent has given a request up."""
        flow.fail(partial(Gone, f"the agent has given the request up ({name_of(code)})"))
        self.calls[flow.number].leave()

    def was_left(self, last: int) -> None:
        """The agent will make no new requests; those that it has made go on."""

    def end_all(self, error: Callable[[], Exception]) -> None:
        """The connection is over."""
        super().end_all(error)
        for call in list(self.calls.values()):
            call.leave()
