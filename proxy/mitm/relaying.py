"""What follows an upgrade that the decision covered: bytes both ways, counted and not looked at.

One side's end is the end of both, but for what an agent ends by halves (`proxy.upgrades`): there the target hears that
no more comes and may go on speaking. The engine knows halves of a socket and no others; what a stream of HTTP/1 or TLS
makes of one is said here.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import tls as engine_tls
from mitmproxy.proxy.layers.http._events import HttpEvent
from mitmproxy.proxy.layers.http._http1 import Http1Connection
from OpenSSL import SSL

type _Commands = Generator[commands.Command, Any, None]


@dataclass
class HalfEnd(HttpEvent):
    """The agent sends no more, and reads on."""


@dataclass
class RelayEndHook(commands.StartHook):
    """A relay has ended."""

    flow: http.HTTPFlow


class RelayLayer(layer.Layer):
    """Passes on what comes, to the end of either side or of both."""

    def __init__(self, context: Context, carried: http.HTTPFlow, half_end: commands.Command | None) -> None:
        """`half_end` tells the target that its agent sends no more; None where that is the end of all."""
        super().__init__(context)
        self._flow = carried
        self._half_end = half_end

    def _handle_event(self, event: events.Event) -> _Commands:
        match event:
            case events.DataReceived(connection=sender, data=data) if sender is self.context.client:
                yield commands.SendData(self.context.server, _counted(self._flow.request, data))
            case events.DataReceived(data=data):
                assert self._flow.response is not None
                yield commands.SendData(self.context.client, _counted(self._flow.response, data))
            case events.ConnectionClosed(connection=ended) if self._flow.live:
                yield from self._ended(from_agent=ended is self.context.client)

    def _ended(self, *, from_agent: bool) -> _Commands:
        target, half_end = self.context.server, self._half_end
        if from_agent and half_end is not None and target.state & ConnectionState.CAN_READ:
            yield half_end
            return
        self._flow.live = False
        yield RelayEndHook(self._flow)
        yield commands.CloseConnection(target)
        yield commands.CloseConnection(self.context.client)


def _counted(message: http.Message, data: bytes) -> bytes:
    """What the stream callback of a message makes of a chunk; without one nothing passes."""
    passed = message.stream(data) if callable(message.stream) else b""
    assert isinstance(passed, bytes)
    return passed


class KeepsFirstBytes(Http1Connection):
    """An HTTP/1 connection of which nothing is lost that comes with a 101: the engine drops empty lines there."""

    def make_pipe(self) -> _Commands:
        """Pass on what was received and not read, as it is."""
        if self.response is None or self.response.status_code != 101:
            yield from super().make_pipe()
            return
        received = self.buf.maybe_extract_at_most(len(self.buf)) if self.buf else None
        yield from super().make_pipe()
        if received:
            yield from self.passthrough(events.DataReceived(self.conn, bytes(received)))


class TargetTls(engine_tls.ServerTLSLayer):
    """TLS to a target: an end of our half is said in TLS, where the engine would cut the socket (RFC 8446, 6.1)."""

    def send_close(self, command: commands.CloseConnection) -> _Commands:
        if not (isinstance(command, commands.CloseTcpConnection) and command.half_close):
            yield from super().send_close(command)
            return
        try:
            self.tls.shutdown()
        except SSL.Error:
            yield from super().send_close(commands.CloseConnection(command.connection))
            return
        yield from self.tls_interact()


# The engine makes it by this name, where it connects to a target.
engine_tls.ServerTLSLayer = TargetTls  # type: ignore[misc]
