"""HTTP/2 on both sides: the requests of one agent's connection, and those of many on a connection to a target."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from proxy.fast import http2heads
from proxy.fast.calls import Broken, Gone
from proxy.fast.heads import AnswerHead, Fields, NotHttp, RequestHead
from proxy.fast.http1 import MAX_ANSWER_HEAD_BYTES, MAX_DISCARDED_BYTES
from proxy.fast.multiplexing import Flow, Multiplexed
from proxy.fast.streams import Stream, nothing
from proxy.limits import Limits
from proxy.wire.frames import FrameMeter

_log = logging.getLogger(__name__)

MAX_REQUESTS = 100
"""At a time on one connection to a target, and the most before it has said how many it takes (RFC 9113, 6.5.2)."""
_MAX_INTERIM = 64
"""Interim responses that nobody has read yet."""
_QUIET_S = 1.0
"""How long an answer waits to end while nothing comes of its request's body."""
_HIGHEST_STREAM = 2**31 - 1  # RFC 9113, 5.1.1


# --- agents ----------------------------------------------------------------------------------------------


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
        self._discarded_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self.flow.whole and self._length in (None, self._read_bytes)

    async def read(self) -> bytes | None:
        """The next piece of the body, None at its end; NotHttp when it is not as long as the head says."""
        piece = await self.flow.read()
        self._read_bytes += len(piece or b"")
        if self._length is not None and (
            self._read_bytes > self._length or (piece is None and self._read_bytes < self._length)
        ):
            raise NotHttp("the body is not as long as its content length says")
        if piece and self._read_bytes == self._length and await self.flow.read() is not None:
            # The last bytes are handed on when the end agrees: a target of HTTP/1 has a whole request with them.
            raise NotHttp("the body is not as long as its content length says")
        return piece

    async def fault(self) -> str | None:
        """Why its head has no single reading, or its empty body is none; None when all is well. Raises Gone.

        A target of HTTP/1 has a whole request with a head that says so.
        """
        if self.malformed is None and self._length == 0 and not self.complete:
            try:
                await self.read()
            except NotHttp as error:
                return str(error)
        return self.malformed

    def interim(self, status: int, fields: Fields = ()) -> None:
        """Send an interim response."""
        if not self._begun:
            self.flow.put_head(http2heads.write_answer(status, fields))

    def last(self) -> None:
        """Let the request's body come before that of the answer, whose head goes at once.

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
        self._answer = http2heads.write_answer(status, fields)
        self._agent.due(self._put_answer)

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
        if self._lingers:
            self._lingers = False
            await self.discard(self._agent.discard_s, _QUIET_S)
        await self.flow.send(data)
        self._agent.meter.sent(len(data))

    async def end(self, trailers: Fields = ()) -> None:
        """End the answer."""
        flow = self.flow
        flow.may_send()
        fields = [] if self._silent else http2heads.lowered(trailers)
        self._put_answer(end=not fields)
        if fields:
            flow.put_head(fields, end=True)
        else:
            flow.put_end()
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

    def take(self, data: bytes) -> str | None:
        """Take what came, unless it is too much."""
        if code := self.meter.read(data, self._clock()):
            self._limited(code)
            self.close(ErrorCodes.ENHANCE_YOUR_CALM)
            return None
        return super().take(data)

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
        task.add_done_callback(self._tasks.discard)

    async def _serve_to_the_end(self, call: Http2Call) -> None:
        flow = call.flow
        try:
            flow.may_send()  # what was taken back before it was looked at costs nothing more (CVE-2023-44487)
            await self._serve(call)
            if flow.sent and not flow.ended:
                await call.discard(self.discard_s)
                if not flow.ended:
                    call.refuse_the_rest()
        except Gone:
            pass
        except Exception:
            _log.exception("serving a request failed; it is broken off")
        finally:
            if not (flow.sent and flow.ended):
                call.abort()
            flow.drop()
            del self.flows[flow.number], self.calls[flow.number]
            self._close_when_idle()

    def was_reset(self, flow: Flow, code: int) -> None:
        """The agent has given a request up."""
        flow.fail(partial(Gone, f"the agent has given the request up ({_name(code)})"))
        self.calls[flow.number].leave()

    def was_left(self, last: int) -> None:
        """The agent will make no new requests; those that it has made go on."""

    def end_all(self, error: Callable[[], Exception]) -> None:
        """The connection is over."""
        super().end_all(error)
        for call in list(self.calls.values()):
            call.leave()


# --- targets ---------------------------------------------------------------------------------------------


class Unprocessed(Broken):
    """The target has done nothing of the request."""

    unprocessed = True


class Http2Asked:
    """A request on its way to a target, and its answer."""

    def __init__(self, target: "Http2Target", flow: Flow, method: str) -> None:
        self._target = target
        self.flow = flow
        self._method = method
        self.heard = False
        """Whether anything was heard of the target about it."""
        self._heads: deque[AnswerHead] = deque()
        self._begun = False
        self._length: int | None = None
        self._read_bytes = 0

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self.flow.send(data)

    async def end(self) -> None:
        """End the request."""
        self.flow.may_send()
        self.flow.put_end()
        await self._target.drained()

    def take_head(self, received: http2heads.Received) -> None:
        """Take the head of the answer, or of an interim response."""
        self.heard = True
        try:
            head = http2heads.read_answer(received)
            if head.status == 101 or self._begun:
                raise NotHttp("HTTP/2 knows no such head here")  # RFC 9113, 8.6
        except NotHttp as error:
            self._refuse(f"invalid response: {error}")
            return
        if len(self._heads) >= _MAX_INTERIM:
            self._refuse("too many interim responses")
            return
        if head.status >= 200:
            self._begun = True
            without = self._method == "HEAD" or head.status in (204, 304)
            self._length = 0 if without else http2heads.length_of(head)
        self._heads.append(head)
        self.flow.wake()

    def _refuse(self, reason: str) -> None:
        self.flow.reset(ErrorCodes.PROTOCOL_ERROR, partial(Broken, reason))

    async def answer(self) -> AnswerHead:
        """The head of the answer, or of an interim response."""
        while not self._heads:
            await self.flow.look()
        return self._heads.popleft()

    async def read(self) -> bytes | None:
        """The next piece of the answer's body."""
        piece = await self.flow.read()
        self._read_bytes += len(piece or b"")
        if self._length is not None and (
            self._read_bytes > self._length or (piece is None and self._read_bytes < self._length)
        ):
            self._refuse("invalid response: the body is not as long as its content length says")
            raise Broken("invalid response: the body is not as long as its content length says")
        return piece

    @property
    def trailers(self) -> Fields:
        """What came behind the body."""
        return self.flow.trailers

    def switch(self) -> Stream:
        """HTTP/2 knows no 101 (RFC 9113, 8.6)."""
        raise Broken("an HTTP/2 connection does not change its protocol")

    def release(self) -> None:
        """Be done with it; what of it is not whole is ended."""
        self.abort()

    def abort(self) -> None:
        """End it; nothing happens to one that is whole."""
        self.flow.reset(ErrorCodes.CANCEL, partial(Broken, "the request was given up"))
        self._target.forget(self)


class Http2Target(Multiplexed):
    """A connection to a target that many requests share."""

    ENDED = Broken

    def __init__(self, stream: Stream) -> None:
        """Begins to speak and to read; there must be a running loop."""
        super().__init__(stream, client=True, streams=MAX_REQUESTS, head_bytes=MAX_ANSWER_HEAD_BYTES)
        self.closed: Callable[[], None] = nothing
        """Called once, when the connection is over."""
        self._asked: dict[int, Http2Asked] = {}
        self._told = False
        """Whether the target has said how many requests it takes."""
        self._leaving = False
        self._handlers[events.ResponseReceived] = self._on_answer
        self._handlers[events.InformationalResponseReceived] = self._on_answer
        self.flush()
        self._reading = asyncio.ensure_future(self._read())

    @property
    def available(self) -> bool:
        """Whether it takes one more request now."""
        most = MAX_REQUESTS
        if self._told:
            most = min(most, self.wire.remote_settings.max_concurrent_streams)
        fits = len(self.flows) < most and self.wire.highest_outbound_stream_id < _HIGHEST_STREAM - 1
        return fits and not self._leaving and not self.over and not self.stream.is_closing()

    @property
    def idle(self) -> bool:
        """Whether no request is on its way."""
        return not self.flows

    def ask(self, method: str, scheme: str, authority: str, path: str, fields: Fields, *, end: bool) -> Http2Asked:
        """Send the head of a request, of canonical parts; `end` says that no body follows. Raises Broken."""
        if not self.available:
            raise Unprocessed("the connection to the target takes no more requests")
        number = self.wire.get_next_available_stream_id()
        flow = Flow(self, number)
        try:
            flow.put_head(http2heads.write_request(method, scheme, authority, path, fields), end=end)
        except ProtocolError as error:
            raise Unprocessed(f"the connection to the target takes no more requests: {error}") from None
        self.flows[number] = flow
        asked = self._asked[number] = Http2Asked(self, flow, method)
        return asked

    async def _read(self) -> None:
        why = "the connection ended"
        try:
            why = await self.read_on()
        finally:
            self.end_all(partial(self.ENDED, f"server closed connection: {why}"))
            self.stream.close()
            self.closed()
            self.closed = nothing
            self.let_go()

    def forget(self, asked: Http2Asked) -> None:
        """A request is over."""
        number = asked.flow.number
        if self._asked.pop(number, None) is not None:
            asked.flow.drop()
            del self.flows[number]
            self._close_when_left()

    def retire(self) -> None:
        """Take no new requests, and close the connection when those on their way have ended."""
        self._leaving = True
        self._close_when_left()

    def _close_when_left(self) -> None:
        if self._leaving and not self.flows:
            self.close()

    def _on_settings(self, event: events.Event) -> None:
        self._told = True
        super()._on_settings(event)

    def _on_answer(self, event: events.Event) -> None:
        event = cast(events.ResponseReceived, event)
        if asked := self._asked.get(event.stream_id):
            asked.take_head((name, value) for name, value in event.headers)

    def was_reset(self, flow: Flow, code: int) -> None:
        """The target has ended a request; what it has answered before still counts (RFC 9113, 8.1)."""
        kind = Unprocessed if code == ErrorCodes.REFUSED_STREAM else Broken
        flow.fail(partial(kind, f"the target has reset the request ({_name(code)})"))

    def was_left(self, last: int) -> None:
        """The target takes no new requests, and has done nothing of those behind the last one."""
        self._leaving = True
        for number, flow in list(self.flows.items()):
            if number > last:
                flow.fail(partial(Unprocessed, "the target has closed the connection before the request"))
        self._close_when_left()


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)
