"""mitmproxy's HTTP layers, changed where a gate must differ from a debugging proxy.

- A stream opens or uses an upstream connection only with a permit, set by a verdict that forwards.
- A refusal is sent at once; the rest of the refused body is discarded, bounded, never buffered.
- A body that must be read is buffered up to a limit; beyond it the request is judged as unreadable. It may take only so
  long, and all that are read for one agent may take only so much memory.
- Whatever is kept until its end has come is bounded: heads of both sides, lines between chunks, WebSocket messages.
- What the engine would answer itself (HTML that names the engine) is answered in our form.
- A 101 that the decision did not cover never reaches the agent, and nothing is relayed after it; after one that it
  did cover the engine reads WebSocket messages, and anything else is relayed as it comes.
- A head that cannot be parsed is recorded, answered with 400, and its connection closed.

The layers are sans-IO: they yield commands and get events, as mitmproxy's do.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import h2.errors
import wsproto.events
from mitmproxy import flow, http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer
from mitmproxy.proxy.layers import http as engine_http
from mitmproxy.proxy.layers.http import (
    DropStream,
    HttpLayer,
    HTTPMode,
    HttpStream,
    SendHttp,
    validate_request,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpRequestHeadersHook, HttpRequestHook
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketLayer, WebsocketMessageHook

from mappings import Problem
from proxy.limits import Limits
from proxy.mitm.flows import asks_parent
from proxy.mitm.leaving import take_stream_apart
from proxy.mitm.relaying import HalfEnd, KeepsFirstBytes, RelayLayer
from proxy.mitm.trailers import PassesTrailers, ReadsTrailers, fit_to_pass, last_chunk
from proxy.mitm.tunnel import OPAQUE, Opaque, opaque_layer
from proxy.upgrades import ENDS_BY_HALVES
from proxy.wire.crowd import BODY_TIME
from proxy.wire.frames import FrameMeter
from proxy.wire.passing import covers_upgrade

type Commands[T] = Generator[commands.Command, Any, T]

PERMIT = "claiim.permit"
"""Flow metadata: the verdict that forwards this flow. Absent = nothing may go upstream."""
MALFORMED = "claiim.malformed"
"""Flow metadata: why the engine's header validation refused this request."""
BODY_LIMIT = "claiim.body_limit"
"""Flow metadata: how many bytes of the body to buffer before judging without it."""
BODY_PREFIX = "claiim.body_prefix"
"""Flow metadata: the first bytes of a body that was longer than the limit."""

HOLD = "claiim.hold"
"""Flow metadata: asked whether so many more bytes of the body may be kept."""
GIVEN_UP = "claiim.given_up"
"""Flow metadata: why the body was not read to its end, other than by its length."""

MESSAGE_LIMIT = "claiim.message_limit"
"""Flow metadata: how many bytes a WebSocket message may have: from the agent, from the target."""
REFUSED = "claiim.refused"
"""Flow metadata: what a hook has made of a WebSocket message that it dropped."""

MAX_ANSWER_HEAD_BYTES = 256 * 1024
"""The longest head of an answer; curl takes 300 KB, Go's net/http 10 MB by default."""
_MAX_LINE_BYTES = 64 * 1024
"""The longest line between two chunks; RFC 9112, 7.1.1, wants a limit for chunk extensions."""
_MAX_FRAGMENTS = 65_536
"""Of one WebSocket message: an empty one takes memory too."""
MESSAGE_BYTES = "limit.message-bytes"
_SLICE_BYTES = 1024
"""How much of a packed WebSocket stream is unpacked at once: deflate makes at most 1,032 times as much of it."""
BODY_TOO_SLOW = Problem(BODY_TIME, "the body that a rule depends on did not come in time")
_VERSIONS = frozenset({b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"})
_NOT_IN_HTTP2 = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
"""RFC 9113, 8.2.2: a message with one of these is malformed. Passed on to HTTP/1, a transfer-encoding would let the
body, which frames have delimited, say where it ends, and what comes behind is the next request."""
_MAX_DISCARDED_BYTES = 4 * 2**20
"""How much of a refused body is read and thrown away so that the client gets to read the answer."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What an agent gets for a WebSocket message that was refused."""

    code: int
    reason: str
    """What the connection is closed with when there is no answer."""
    answer: str | None = None


@dataclass
class UnreadableHead:
    """A request head that is no HTTP; the hook fills in the answer, complete with framing."""

    reason: str
    code: str
    glimpse: bytes
    """What came of it."""
    answer: bytes = field(default=b"")


@dataclass
class MalformedHeadHook(commands.StartHook):
    """A client sent a head that cannot be parsed."""

    head: UnreadableHead


@dataclass
class StreamGoneHook(commands.StartHook):
    """The agent gave a request up while a hook was at work on it; the stream itself hears of it after the hook."""

    flow: http.HTTPFlow
    blocking = False


@dataclass
class SignOfLife(events.Event):
    """A request still waits: its client, if it speaks HTTP/1.1, is told so."""

    flow: http.HTTPFlow


@dataclass
class SlowHead(events.Event):
    """A head has not come in time; a client of HTTP/1.1 is told so."""

    answer: Callable[[bytes], bytes]
    """Makes of what has come of it what the client is told."""


@dataclass
class SlowBody(events.Event):
    """A body that is read to be judged has not come in time."""

    flow: http.HTTPFlow


@dataclass
class LimitHook(commands.StartHook):
    """A connection is being ended for a limit that no single request went over."""

    code: str
    blocking = False


class GateHttpLayer(HttpLayer):
    """An HTTP layer whose client side and streams are ours."""

    def __init__(self, context: Context, mode: HTTPMode, limits: Limits) -> None:
        super().__init__(context, mode)
        self._limits = limits
        self._made: dict[int, GateStream] = {}
        """The streams that were not let go yet."""

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, SignOfLife | SlowHead):
            agent_side = self.connections[self.context.client]
            if isinstance(agent_side, GateHttp1Server):
                yield from self.event_to_child(agent_side, event)
            return
        if isinstance(event, SlowBody):
            for stream in list(self.streams.values()):
                if getattr(stream, "flow", None) is event.flow:
                    yield from self.event_to_child(stream, event)
            return
        if isinstance(event, events.Start):
            http2 = self.context.client.alpn == b"h2"
            server = GateHttp2Server if http2 else GateHttp1Server
            self.connections[self.context.client] = server(self.context.fork(), self._limits)
        yield from super()._handle_event(event)
        if len(self._made) != len(self.streams):
            self._let_go()

    def _let_go(self) -> None:
        """Take apart the streams that have ended; here none of them is handling an event."""
        awaiting = {id(stream) for stream in self.command_sources.values()}
        for stream_id, stream in list(self._made.items()):
            if stream_id not in self.streams and id(stream) not in awaiting and stream.child_layer is None:
                del self._made[stream_id]
                take_stream_apart(stream)

    @property
    def beginning(self) -> bool:
        """Whether the agent has begun a head and not ended it."""
        agent_side = self.connections.get(self.context.client)
        return isinstance(agent_side, GateHttp1Server | GateHttp2Server) and agent_side.beginning

    def unread_bytes(self) -> int:
        """How many bytes of the agent wait for a stream that is paused, or for the request before them."""
        unread = sum(
            len(event.data)
            for stream in self.streams.values()
            for paused in (stream, stream.child_layer)
            if paused is not None
            for event in paused._paused_event_queue
            if isinstance(event, RequestData | events.DataReceived)
        )
        agent_side = self.connections.get(self.context.client)
        return unread + (len(agent_side.buf) if isinstance(agent_side, GateHttp1Server) else 0)

    def held_back_bytes(self) -> int:
        """How many bytes wait because the agent's HTTP/2 windows are closed."""
        agent_side = self.connections.get(self.context.client)
        if not isinstance(agent_side, GateHttp2Server):
            return 0
        return sum(len(chunk.data) for chunks in agent_side.h2_conn.stream_buffers.values() for chunk in chunks)

    def make_stream(self, stream_id: int) -> Commands[None]:
        self.streams[stream_id] = self._made[stream_id] = GateStream(self.context.fork(), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


class GateStream(HttpStream):
    """One request and its response, forwarded only with a permit."""

    _discarded_bytes = 0
    _received_bytes = 0

    def handle_event(self, event: events.Event) -> Commands[None]:
        """Tell at once that an agent is gone; what is paused by a hook would hear of it when that has ended."""
        if isinstance(event, RequestTrailers):
            return  # behind what is judged; nobody upstream gets them
        if isinstance(event, ResponseTrailers):
            event.trailers = fit_to_pass(event.trailers)
        if self._paused and isinstance(event, RequestProtocolError):
            yield StreamGoneHook(self.flow)
        if isinstance(event, RequestData):
            self._received_bytes += len(event.data)
        if isinstance(event, RequestEndOfMessage) and self._is_short():
            yield from self._give_up_short()
            return
        yield from super().handle_event(event)

    def _is_short(self) -> bool:
        """Whether a request by HTTP/2 that may be on its way already has ended before its content length.

        h2 looks at the length where data ends a request, and not where its trailers do.
        """
        stream_flow: http.HTTPFlow | None = getattr(self, "flow", None)
        if stream_flow is None or not stream_flow.request.is_http2 or stream_flow.response is not None:
            return False
        if MALFORMED in stream_flow.metadata:
            return False  # it is being refused
        lengths = stream_flow.request.headers.get_all("content-length")
        return bool(lengths) and lengths[0] != str(self._received_bytes)

    def _give_up_short(self) -> Commands[None]:
        """RFC 9113, 8.1.1: malformed. A target of HTTP/1 would take what comes next for the rest of this body."""
        message, code = "the body is not as long as its content length says", ErrorCode.GENERIC_CLIENT_ERROR
        yield from super().handle_event(RequestProtocolError(self.stream_id, message, code))
        yield SendHttp(ResponseProtocolError(self.stream_id, message, code), self.context.client)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if not isinstance(event, SlowBody):
            yield from super()._handle_event(event)
        elif self.client_state == self.state_consume_request_body:
            yield from self._give_up_reading(BODY_TOO_SLOW)
            if not self.flow.request.is_http2:
                yield commands.CloseConnection(self.context.client)  # the rest is not waited for either

    def make_server_connection(self) -> Commands[bool]:
        # The last lock. Every upstream byte of a stream begins here, whatever hooks did or failed to do.
        if PERMIT not in self.flow.metadata:
            unjudged = ResponseProtocolError(self.stream_id, "no verdict", ErrorCode.CONNECT_FAILED)
            yield from self.handle_protocol_error(unjudged)
            return False
        if not (yield from super().make_server_connection()):
            return False
        self._frame_body()
        return True

    def _frame_body(self) -> None:
        """Say in an HTTP/1 head how long a body is that came by HTTP/2, where frames say it (RFC 9113, 8.1).

        The engine does not: without this the target takes an allowed body for the next request, which nobody
        has judged (RFC 9112, 6.3).
        """
        request = self.flow.request
        if not request.is_http2 or self.context.server.alpn == b"h2" or "content-length" in request.headers:
            return
        if self.client_state != self.state_done:
            request.headers["transfer-encoding"] = "chunked"
        elif request.raw_content:
            request.headers["content-length"] = str(len(request.raw_content))

    def state_wait_for_request_headers(self, event: RequestHeaders) -> Commands[None]:
        if self.mode is HTTPMode.regular and not event.request.host:
            # Origin-form: somebody speaks to the gate as to a web server. Guessing from Host is not for a gate.
            self.flow = http.HTTPFlow(self.context.client, self.context.server)
            self.flow.request = event.request
            yield from self._refuse_malformed("a request to a proxy names its target by an absolute URI")
            return
        if event.end_stream and event.request.is_http2 and _announces_body(event.request):
            self.flow = http.HTTPFlow(self.context.client, self.context.server)
            self.flow.request = event.request
            yield from self._refuse_malformed("the body is not as long as its content length says")
            return
        yield from super().state_wait_for_request_headers(event)

    def check_invalid(self, request: bool) -> Commands[bool]:
        if request:
            reason = _malformed(self.mode, self.flow.request)
            if reason is None:
                return False
            yield from self._refuse_malformed(reason)
            return True
        assert self.flow.response is not None
        try:
            validate_headers(self.flow.response)
        except ValueError as error:
            self.flow.response = None
            yield commands.CloseConnection(self.context.server)
            invalid = ResponseProtocolError(
                self.stream_id, f"invalid response: {error}", ErrorCode.GENERIC_SERVER_ERROR
            )
            yield from self.handle_protocol_error(invalid)
            return True
        return False

    def _refuse_malformed(self, reason: str) -> Commands[None]:
        self.flow.metadata[MALFORMED] = reason
        yield HttpRequestHeadersHook(self.flow)
        yield from self._send_answer()

    def start_request_stream(self) -> Commands[None]:
        if self.flow.response is not None:  # refused at the head
            yield from self._send_answer()
            return
        if not (yield from self.make_server_connection()):
            return
        yield SendHttp(RequestHeaders(self.stream_id, self.flow.request, end_stream=False), self.context.server)
        self.client_state = self.state_stream_request_body

    def state_consume_request_body(self, event: events.Event) -> Commands[None]:
        limit = self.flow.metadata.get(BODY_LIMIT)
        if (
            isinstance(event, RequestData)
            and limit is not None
            and len(self.request_body_buf) + len(event.data) > limit
        ):
            yield from self._judge_by_prefix(event)
            return
        if isinstance(event, RequestData) and limit is not None and (problem := self.flow.metadata[HOLD](event.data)):
            yield from self._give_up_reading(problem)
            return
        yield from super().state_consume_request_body(event)

    def _give_up_reading(self, problem: Problem) -> Commands[None]:
        """The body cannot be read to its end, and not for its length: refuse what cannot be judged."""
        self.flow.metadata[GIVEN_UP] = problem
        self.request_body_buf.clear()
        yield HttpRequestHook(self.flow)
        if not (yield from self.check_killed(True)):
            yield from self._send_answer()

    def _judge_by_prefix(self, event: RequestData) -> Commands[None]:
        """The body is longer than what is read: judge now by its beginning, then forward or discard it."""
        buffered = bytes(self.request_body_buf) + event.data
        self.flow.metadata[BODY_PREFIX] = buffered
        self.request_body_buf.clear()
        yield HttpRequestHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        yield from self.start_request_stream()
        if self.client_state == self.state_stream_request_body:
            yield from self.state_stream_request_body(RequestData(self.stream_id, buffered))

    def state_stream_request_body(self, event: events.Event) -> Commands[None]:
        # An empty DATA frame is nothing; written as a chunk of HTTP/1 it would be the last one.
        if not (isinstance(event, RequestData) and not event.data):
            yield from super().state_stream_request_body(event)

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> Commands[None]:
        status = event.response.status_code
        if status < 200 and not (status == 101 and self._covers_upgrade(event.response)):
            # A 101 that was not decided on would become a raw relay; of another interim response the engine
            # thinks that it is the last, and the agent would wait for the real one for ever.
            yield commands.CloseConnection(self.context.server)
            unasked = ResponseProtocolError(
                self.stream_id, f"unexpected interim response {status}", ErrorCode.GENERIC_SERVER_ERROR
            )
            yield from self.handle_protocol_error(unasked)
            return
        if status == 407 and asks_parent(self.flow):
            # The proxy beyond wants something of us; passed on, an agent would answer it with what is ours to see.
            yield commands.CloseConnection(self.context.server)
            unproven = ResponseProtocolError(
                self.stream_id, "Upstream proxy refused HTTP CONNECT request: 407", ErrorCode.GENERIC_SERVER_ERROR
            )
            yield from self.handle_protocol_error(unproven)
            return
        yield from super().state_wait_for_response_headers(event)

    def _covers_upgrade(self, response: http.Response) -> bool:
        verdict = self.flow.metadata.get(PERMIT)
        if verdict is None or self.flow.request.is_http2:
            return False  # RFC 9113, 8.6: HTTP/2 has no upgrade
        if self.client_state != self.state_done:
            # Before the request is whole it is no answer to it (RFC 9110, 7.8), and what is left of the body would be
            # taken for what follows.
            return False
        return covers_upgrade(verdict, response.headers.fields)

    def handle_connect_regular(self) -> Commands[None]:
        carried: Opaque | None = self.flow.metadata.get(OPAQUE)
        if carried is None or self.flow.response is not None:
            yield from super().handle_connect_regular()
            return
        self.child_layer = opaque_layer(self.context, carried)
        self._handle_event = self.state_dialling  # type: ignore[method-assign]
        yield from self.state_dialling(events.Start())

    def state_dialling(self, event: events.Event) -> Commands[None]:
        """Answer a CONNECT whose tunnel is passed through once it is known whether its target can be reached."""
        assert self.child_layer is not None
        carried: Opaque = self.flow.metadata[OPAQUE]
        if isinstance(event, RequestProtocolError):
            event = events.ConnectionClosed(self.context.client)
        for command in self.child_layer.handle_event(event):
            if carried.stands and not carried.told:
                yield from self._say_connected(carried)
            if isinstance(command, commands.ConnectionCommand) and command.connection is self.context.client:
                yield from self._to_agent(command, carried)
            else:
                yield command
        if carried.stands and not carried.told:
            yield from self._say_connected(carried)
        elif carried.stands is False and not carried.told:
            carried.told = True
            yield from self._send_answer()

    def _say_connected(self, carried: Opaque) -> Commands[None]:
        carried.told = True
        answer = http.Response.make(200)
        # RFC 9110, 9.3.6: no Content-Length and no Transfer-Encoding.
        answer.reason, answer.headers = "Connection established", http.Headers()
        self.flow.response = answer
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield SendHttp(ResponseHeaders(self.stream_id, answer, end_stream=True), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _to_agent(self, command: commands.ConnectionCommand, carried: Opaque) -> Commands[None]:
        """What the target said so soon that it came with the dialling; a close before that is said by the answer."""
        if isinstance(command, commands.SendData):
            yield SendHttp(ResponseData(self.stream_id, command.data), self.context.client)
        elif carried.told:
            closed = ResponseProtocolError(self.stream_id, "EOF", ErrorCode.PASSTHROUGH_CLOSE)
            yield SendHttp(closed, self.context.client)

    def flow_done(self) -> Commands[None]:
        """Go on with the next request, or as what the verdict has let the connection become."""
        response = self.flow.response
        if response is None or response.status_code != 101:
            yield from super().flow_done()
            return
        # No other 101 comes this far: `state_wait_for_response_headers` has looked at it.
        if self.flow.websocket:
            self.child_layer = GateWebsocketLayer(self.context, self.flow)
        else:
            halves = self.flow.metadata[PERMIT].facts.upgrade in ENDS_BY_HALVES
            half_end = SendHttp(HalfEnd(self.stream_id), self.context.server) if halves else None
            self.child_layer = RelayLayer(self.context, self.flow, half_end)
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> Commands[None]:
        unanswered = (
            isinstance(event, ResponseProtocolError)
            and self.flow.response is None
            and self.client_state != self.state_errored
        )
        if not unanswered:
            yield from super().handle_protocol_error(event)
            return
        self.flow.error = flow.Error(event.message)
        yield HttpErrorHook(self.flow)
        if (yield from self.check_killed(False)):
            return
        yield from self._send_answer()

    def _send_answer(self) -> Commands[None]:
        """Send the answer a hook has set and be done with the stream, whether or not its body has ended."""
        response = self.flow.response
        if response is None:
            # Not even a refusal could be made: close without a word.
            yield commands.CloseConnection(self.context.client)
            self.client_state = self.server_state = self.state_errored
            return
        response.timestamp_start = response.timestamp_end = time.time()
        request_ended = self.client_state == self.state_done
        if not request_ended and not self.flow.request.is_http2:
            response.headers["connection"] = "close"
        content = response.raw_content or b""
        self.flow.live = False
        self.server_state = self.state_errored
        self.client_state = self.state_discard_request_body
        yield SendHttp(ResponseHeaders(self.stream_id, response, end_stream=not content), self.context.client)
        if content:
            yield SendHttp(ResponseData(self.stream_id, content), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
        if request_ended:
            yield DropStream(self.stream_id)

    def state_discard_request_body(self, event: events.Event) -> Commands[None]:
        """Read what an answered client still sends, so that it gets to the answer; then close on it."""
        if isinstance(event, RequestEndOfMessage):
            yield DropStream(self.stream_id)
        elif isinstance(event, RequestData):
            self._discarded_bytes += len(event.data)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.client_state = self.state_errored
                yield commands.CloseConnection(self.context.client)


class GateWebsocketLayer(WebsocketLayer):
    """Messages both ways; one that was refused goes nowhere and is answered, or ends the connection."""

    def relay_messages(self, event: events.Event) -> Commands[None]:
        packed = bool(self.flow.response and self.flow.response.headers.get("sec-websocket-extensions"))
        if not packed or not isinstance(event, events.DataReceived):
            yield from self._relay(event)
            return
        # A few bytes that unpack to gigabytes are looked at before they have.
        for start in range(0, len(event.data), _SLICE_BYTES):
            yield from self._relay(events.DataReceived(event.connection, event.data[start : start + _SLICE_BYTES]))
            if self._handle_event != self.relay_messages:
                return

    def _relay(self, event: events.Event) -> Commands[None]:
        passing = super().relay_messages(event)
        reply: Any = None
        while True:
            try:
                command = passing.send(reply)
            except StopIteration:
                break
            if isinstance(command, WebsocketMessageHook):
                # It passes when the hook has said so, and not when nobody says anything.
                command.flow.websocket.messages[-1].drop()  # type: ignore[union-attr]  # of whose messages it is told
            reply = yield command
            refused: Refused | None = self.flow.metadata.pop(REFUSED, None)
            if refused is not None and refused.answer is not None:
                yield self.client_ws.send2(wsproto.events.TextMessage(refused.answer))
            elif refused is not None:
                yield from self._close(refused)
                return
        if self._handle_event != self.relay_messages:
            return
        for side, most in zip((self.client_ws, self.server_ws), self.flow.metadata[MESSAGE_LIMIT], strict=True):
            if len(side.frame_buf) > _MAX_FRAGMENTS or sum(map(len, side.frame_buf)) > most:
                yield LimitHook(MESSAGE_BYTES)
                yield from self._close(Refused(1009, "the message is too long to be read"))  # RFC 6455, 7.4.1
                return

    def _close(self, refused: "Refused") -> Commands[None]:
        """End both sides; the rest of what was being passed on is forgotten."""
        assert self.flow.websocket is not None
        self.flow.websocket.close_code, self.flow.websocket.close_reason = refused.code, refused.reason
        self._handle_event = self.done
        self.flow.live = False
        yield self.client_ws.send2(wsproto.events.CloseConnection(refused.code, refused.reason))
        yield self.server_ws.send2(wsproto.events.CloseConnection(1001))  # RFC 6455, 7.4.1: going away
        yield commands.CloseConnection(self.context.server)
        yield commands.CloseConnection(self.context.client)
        yield WebsocketEndHook(self.flow)


class GateHttp1Server(KeepsFirstBytes, ReadsTrailers, Http1Server):
    """The HTTP/1 side towards agents: bounded heads, trailers, our own errors."""

    _trailers: http.Headers | None = None

    _passed_over = False
    """Whether an empty line stood before the request that is being read."""

    def __init__(self, context: Context, limits: Limits) -> None:
        super().__init__(context)
        self._head_bytes = limits.head_bytes

    @property
    def beginning(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self.state == self.read_headers and len(self.buf) > 0

    @property
    def _in_http_1_0(self) -> bool:
        return self.request is not None and self.request.http_version == "HTTP/1.0"

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, SlowHead):
            if self.beginning:
                yield commands.SendData(self.conn, event.answer(bytes(self.buf)[: self._head_bytes]))
            return
        if isinstance(event, SignOfLife):
            # A task that came too late must not speak into the next request.
            unanswered = self.response is None or self.response.status_code == 100
            if self.request is event.flow.request and unanswered:
                yield commands.SendData(self.conn, b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        yield from super()._handle_event(event)

    def send(self, event: HttpEvent) -> Commands[None]:
        if isinstance(event, ResponseHeaders) and event.response.status_code >= 200 and self._in_http_1_0:
            event.response.headers["Connection"] = "close"  # RFC 9112, 9.3: a proxy keeps no connection of HTTP/1.0
        if isinstance(event, ResponseTrailers):
            self._trailers = event.trailers  # they are sent with the last chunk; without chunks there is no place
            return
        if isinstance(event, ResponseEndOfMessage):
            trailers, self._trailers = self._trailers, None
            for command in super().send(event):
                if isinstance(command, commands.SendData) and command.data == last_chunk(None):
                    command.data = last_chunk(trailers)
                yield command
            return
        if not isinstance(event, ResponseProtocolError):
            yield from super().send(event)
            return
        status = event.code.http_status_code()
        if not self.response and status is not None:
            yield commands.SendData(self.conn, bare_answer(status))
        yield commands.CloseConnection(self.conn)

    def read_headers(self, event: events.ConnectionEvent) -> Commands[None]:
        come = bytes(self.buf)
        if isinstance(event, events.DataReceived) and come[:1] in (b"\r", b"\n"):
            # RFC 9112, 2.2: one empty line before a request line is passed over, as some clients send one behind a
            # body. The engine would take it for a head, and what follows it would wait for more until the client
            # gives up; so more of them are no HTTP/1.
            if come == b"\r":
                return
            if self._passed_over or come[:2] != b"\r\n":
                yield from self._refuse_head("the request head is not valid HTTP/1", come)
                return
            self._passed_over = True
            self.buf.maybe_extract_at_most(2)
            if not self.buf:
                return
            if bytes(self.buf)[:1] in (b"\r", b"\n"):
                yield from self.read_headers(event)
                return
        most = self._head_bytes
        too_long = len(come) > most and b"\r\n\r\n" not in come[:most]
        if isinstance(event, events.DataReceived) and too_long:
            yield from self._refuse_head("the request head is too long", come, "wire.head-too-long")
            return
        for command in super().read_headers(event):
            self._passed_over = False
            if isinstance(command, commands.SendData):
                # The only bytes the engine sends from here are its own error page. What it would do next
                # (hand the broken request on, to be shown) must not happen: a streamed one would leave.
                yield from self._refuse_head("the request head is not valid HTTP/1", come)
                return
            yield command

    def _refuse_head(self, reason: str, come: bytes, code: str = "wire.malformed") -> Commands[None]:
        self.state = self.done
        head = UnreadableHead(reason, code, come[: self._head_bytes])
        yield MalformedHeadHook(head)
        yield commands.SendData(self.conn, head.answer or bare_answer(400))
        yield commands.CloseConnection(self.conn)


class GateHttp1Client(KeepsFirstBytes, PassesTrailers):
    """The HTTP/1 side towards targets: a head that does not end is not kept."""

    def send(self, event: HttpEvent) -> Commands[None]:
        if isinstance(event, HalfEnd):
            yield commands.CloseTcpConnection(self.conn, half_close=True)
        else:
            yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> Commands[None]:
        yield from super().read_headers(event)
        if self.state == self.read_headers and len(self.buf) > MAX_ANSWER_HEAD_BYTES:
            yield from self._give_up("the head of the answer is too long")

    def _give_up(self, reason: str) -> Commands[None]:
        assert self.stream_id is not None
        self.state = self.done
        yield commands.CloseConnection(self.conn)
        error = ResponseProtocolError(self.stream_id, reason, ErrorCode.GENERIC_SERVER_ERROR)
        yield ReceiveHttp(error)


# The engine makes it by this name, where it finds out what a target speaks.
engine_http.Http1Client = GateHttp1Client  # type: ignore[attr-defined]


class GateHttp2Server(Http2Server):
    """The HTTP/2 side towards agents: bounded heads, streams and frames, our own errors."""

    def __init__(self, context: Context, limits: Limits) -> None:
        super().__init__(context)
        settings = self.h2_conn.local_settings
        settings.max_concurrent_streams = limits.http2_streams
        settings.max_header_list_size = limits.head_bytes
        settings.acknowledge()
        self.h2_conn.decoder.max_header_list_size = limits.head_bytes
        self._meter = FrameMeter(limits.http2_frames_per_s, limits.head_bytes, time.monotonic())

    @property
    def beginning(self) -> bool:
        """Whether a frame or a head has begun and is not complete."""
        return self._meter.unfinished

    def _handle_event(self, event: events.Event) -> Commands[None]:
        match event:
            case events.DataReceived(data=data):
                if code := self._meter.read(data, time.monotonic()):
                    yield LimitHook(code)
                    yield from self.protocol_error("too many frames", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                    return
            case ResponseData(data=data):
                self._meter.sent(len(data))
            case ResponseEndOfMessage():
                self._meter.answered()
        if not isinstance(event, ResponseProtocolError) or self.is_closed(event.stream_id):
            yield from super()._handle_event(event)
            return
        status = event.code.http_status_code()
        started = self.h2_conn.streams[event.stream_id].state_machine.headers_sent
        if status is None or started or not self.is_open_for_us(event.stream_id):
            yield from super()._handle_event(event)
            return
        self.h2_conn.send_headers(event.stream_id, [(b":status", b"%d" % status)], end_stream=True)
        yield commands.SendData(self.conn, self.h2_conn.data_to_send())


def _malformed(mode: HTTPMode, request: http.Request) -> str | None:
    """Why a request is malformed, in our own words as far as they go; None when it is not."""
    if mode is HTTPMode.transparent and request.method == "CONNECT":
        return "a CONNECT inside a tunnel, or to a target, opens nothing"
    if request.data.http_version not in _VERSIONS:
        return "the version of HTTP is not 1.0, 1.1 or 2"
    if request.is_http2 and any(name.lower() in _NOT_IN_HTTP2 for name in request.headers):
        return "a field of HTTP/1 connections stands in an HTTP/2 request"
    try:
        validate_headers(request)
    except ValueError as error:
        return f"the request could be read in two ways: {error}"
    if reason := validate_request(mode, request, validate_inbound_headers=False):
        return reason
    return None


def _announces_body(request: http.Request) -> bool:
    return any(length.strip() != "0" for length in request.headers.get_all("content-length"))


def bare_answer(status: int) -> bytes:
    """The last resort: a status and nothing else, for when no answer could be made."""
    return b"HTTP/1.1 %d \r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status


def inside_tls(nextlayer: layer.NextLayer) -> bool:
    """Whether the bytes in question came out of intercepted TLS."""
    return any(isinstance(above, ClientTLSLayer) for above in nextlayer.context.layers)


def next_layer(nextlayer: layer.NextLayer, limits: Limits) -> layer.Layer | None:
    """What follows an accepted CONNECT: TLS, which is intercepted, or plain HTTP. Never a raw relay."""
    context = nextlayer.context
    if inside_tls(nextlayer) is True:
        return GateHttpLayer(context, HTTPMode.transparent, limits)
    first = nextlayer.data_client()
    if is_told(nextlayer) is not True:
        return None
    if first[0] == 0x16 and first[1] == 0x03:  # RFC 8446, 5.1: handshake record
        # What comes out of TLS goes into TLS; the connection itself is made per request, after the verdict.
        context.server.tls = True
        return ClientTLSLayer(context)
    return GateHttpLayer(context, HTTPMode.transparent, limits)


def is_told(nextlayer: layer.NextLayer) -> bool:
    """Whether enough has come to say what follows."""
    return inside_tls(nextlayer) or len(nextlayer.data_client()) >= 3
