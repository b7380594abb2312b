"""HTTP/2 towards targets: one connection, and the requests of many that share it."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from proxy.fast import http2heads
from proxy.fast.calls import Broken, check_whole
from proxy.fast.flows import Flow
from proxy.fast.heads import AnswerHead, Fields, NotHttp
from proxy.fast.http1 import MAX_ANSWER_HEAD_BYTES
from proxy.fast.multiplexing import Multiplexed, name_of
from proxy.fast.streams import Stream, nothing

MAX_REQUESTS = 100
"""At a time on one connection to a target, and the most before it has said how many it takes (RFC 9113, 6.5.2)."""
PING_S = 58.0
"""After how long a silence a target is pinged whose answer is waited for: before idle timers of a minute run out."""
_MAX_INTERIM = 64
"""Interim responses that nobody has read yet."""
_HIGHEST_STREAM = 2**31 - 1  # RFC 9113, 5.1.1


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

    async def end(self, body_bytes: int) -> None:
        """End the request, whose body has so many bytes; one of which some are missing stays without an end."""
        self.flow.may_send()
        check_whole(self.flow.sent_bytes, body_bytes)
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
        if piece is None and not self.flow.whole:
            raise Broken("the answer ended before all that has come of it was read")
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
        self.unused: Callable[[], None] = nothing
        """Called when the last request on it has ended."""
        self._asked: dict[int, Http2Asked] = {}
        self._told = False
        """Whether the target has said how many requests it takes."""
        self._leaving = False
        self._handlers[events.ResponseReceived] = self._on_answer
        self._handlers[events.InformationalResponseReceived] = self._on_answer
        self.flush()
        self._reading = asyncio.ensure_future(self._read())
        self._heard = 0
        self._pinged = False
        self._pings = asyncio.get_running_loop().call_later(PING_S, self._ping)

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

    @property
    def refuses(self) -> bool:
        """Whether it has said that it takes no requests for now (RFC 9113, 6.5.2)."""
        return self._told and not self.over and not self.wire.remote_settings.max_concurrent_streams

    def ask(self, method: str, scheme: str, authority: str, path: str, fields: Fields, *, end: bool) -> Http2Asked:
        """Send the head of a request, of canonical parts; `end` says that no body follows. Raises Broken."""
        if not self.available:
            raise Unprocessed("the connection to the target takes no more requests")
        number = self.wire.get_next_available_stream_id()
        flow = Flow(self, number)
        asked = Http2Asked(self, flow, method)  # before anything is put: a head without one would leave unattended
        try:
            flow.put_head(http2heads.write_request(method, scheme, authority, path, fields), end=end)
        except ProtocolError as error:
            raise Unprocessed(f"the connection to the target takes no more requests: {error}") from None
        self.flows[number] = flow
        self._asked[number] = asked
        return asked

    async def _read(self) -> None:
        why = "the connection ended"
        try:
            why = await self.read_on()
        finally:
            self.end_all(partial(self.ENDED, f"server closed connection: {why}"))
            self.stream.close()
            self.closed()
            self.closed = self.unused = nothing
            self._pings.cancel()
            self.let_go()

    def _ping(self) -> None:
        """Show those on the way, and the target, that a silent connection is still wanted.

        One that says nothing to that either is dead, without a word: all agents' requests to the target would go there.
        """
        if not self.flows or self.received != self._heard:
            self._pinged = False
        elif self._pinged:
            self.stream.abort()
            return
        else:
            self.ping()
            self._pinged = True
        self._heard = self.received
        self._pings = asyncio.get_running_loop().call_later(PING_S, self._ping)

    def forget(self, asked: Http2Asked) -> None:
        """A request is over."""
        number = asked.flow.number
        if self._asked.pop(number, None) is not None:
            asked.flow.drop()
            del self.flows[number]
            self._close_when_left()
            if not (self.flows or self._leaving or self.over):
                self.unused()

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
        flow.fail(partial(kind, f"the target has reset the request ({name_of(code)})"))

    def was_left(self, last: int) -> None:
        """The target takes no new requests, and has done nothing of those behind the last one."""
        self._leaving = True
        for number, flow in list(self.flows.items()):
            if number > last:
                flow.fail(partial(Unprocessed, "the target has closed the connection before the request"))
        self._close_when_left()
