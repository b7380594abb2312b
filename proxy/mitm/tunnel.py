"""A connection that is passed through unread: dialled after its verdict, its TLS hello looked at, its bytes counted.

    CONNECT -> verdict -> dial -> 200 -> hello -> bytes both ways -> end

The agent is told that its tunnel is open when the target has answered the dialling, so a target that cannot be reached
is an answer it can read. Nothing of the agent's reaches the target before its hello has been found to name the host.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from mitmproxy import flow as engine_flow
from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.proxy.layers.http._upstream_proxy import HttpUpstreamProxy

from proxy.hellos import HelloRefused, Hellos
from proxy.mitm.flows import Exchange, server_spec

type Commands[T] = Generator[commands.Command, Any, T]

OPAQUE = "claiim.opaque"
"""Flow metadata of a CONNECT: what is passed through unread after it. Absent = it is read."""

_UNRECOGNIZED_NAME = bytes((21, 3, 3, 0, 2, 2, 112))
"""A fatal TLS alert, unrecognized_name (RFC 8446, 6; RFC 6066, 3)."""


@dataclass(slots=True)
class Opaque:
    """One such connection."""

    exchange: Exchange
    hello_for: str | None
    """The host that its TLS hello has to name; None where anything may pass."""
    stands: bool | None = None
    """Whether it could be dialled; None while that is not known."""
    told: bool = False
    """Whether the agent's CONNECT is answered."""
    layer: "layer.Layer | None" = None
    """What carries it; no other layer is needed any more when the agent is told."""


@dataclass
class RefusedTunnel:
    """What was found in a tunnel that may not pass; the hook fills in an answer for who speaks HTTP."""

    carried: Opaque
    why: str
    tls: bool
    answer: bytes = b""


@dataclass
class TunnelOpenHook(commands.StartHook):
    """The target of a tunnel has been reached."""

    flow: http.HTTPFlow


@dataclass
class TunnelRefusedHook(commands.StartHook):
    """What came in a tunnel may not pass."""

    refused: RefusedTunnel


@dataclass
class TunnelEndHook(commands.StartHook):
    """A tunnel has ended."""

    flow: http.HTTPFlow


class OpaqueLayer(layer.Layer):
    """Dials, then relays."""

    def __init__(self, context: Context, carried: Opaque) -> None:
        super().__init__(context)
        self.carried = carried
        self._flow = carried.exchange.flow
        self._hellos = Hellos(carried.hello_for) if carried.hello_for is not None else None

    def _handle_event(self, event: events.Event) -> Commands[None]:
        match event:
            case events.Start():
                yield from self._dial()
            case events.DataReceived() | events.ConnectionClosed() if self._flow.live and self.carried.stands:
                yield from self._relay(event)

    def _dial(self) -> Commands[None]:
        error = yield commands.OpenConnection(self.context.server)
        if error:
            self._flow.error = engine_flow.Error(error)
            yield HttpErrorHook(self._flow)
            self._flow.live = False
        else:
            yield TunnelOpenHook(self._flow)
        self.carried.stands = not error
        if error:
            # Where a CONNECT asked for it, its stream has taken this for an answer; SOCKS has said yes already.
            yield commands.CloseConnection(self.context.client)

    def _relay(self, event: events.ConnectionEvent) -> Commands[None]:
        exchange, agent, target = self.carried.exchange, self.context.client, self.context.server
        if isinstance(event, events.ConnectionClosed):
            yield from self._closed(event)
            return
        assert isinstance(event, events.DataReceived)
        from_agent = event.connection is agent
        try:
            up = self._allowed(event.data, from_agent=from_agent)
        except HelloRefused as refused:
            yield from self._refuse(refused)
            return
        if up:
            yield commands.SendData(target, exchange.count_request(up))
        if not from_agent:
            yield commands.SendData(agent, exchange.count_response(event.data))

    def _allowed(self, data: bytes, *, from_agent: bool) -> bytes:
        """What may go to the target now that these bytes have come."""
        if self._hellos is None:
            return data if from_agent else b""
        return self._hellos.from_agent(data) if from_agent else self._hellos.from_target(data)

    def _closed(self, event: events.ConnectionClosed) -> Commands[None]:
        """Pass the end of one direction on; with both, or with the target's, it is over."""
        target = self.context.server
        if event.connection is self.context.client and target.state & ConnectionState.CAN_READ:
            yield commands.CloseTcpConnection(target, half_close=True)
            return
        self._flow.live = False
        yield TunnelEndHook(self._flow)
        yield from self._close_both()

    def _refuse(self, refused: HelloRefused) -> Commands[None]:
        self._flow.live = False
        found = RefusedTunnel(self.carried, str(refused), refused.tls)
        yield TunnelRefusedHook(found)
        answer = _UNRECOGNIZED_NAME if found.tls else found.answer
        if answer:
            yield commands.SendData(self.context.client, answer)
        yield from self._close_both()

    def _close_both(self) -> Commands[None]:
        yield commands.CloseConnection(self.context.server)
        yield commands.CloseConnection(self.context.client)


def opaque_layer(context: Context, carried: Opaque) -> layer.Layer:
    """What carries a tunnel to the address that its verdict has pinned."""
    verdict = carried.exchange.verdict
    assert verdict is not None
    assert verdict.route is not None
    inner, route = context.fork(), verdict.route
    inner.server = Server(address=route.address)
    carried.exchange.flow.server_conn = inner.server
    if route.parent is None:
        carried.layer = OpaqueLayer(inner, carried)
    else:
        inner.server.via = server_spec(route.parent)
        carried.layer = (HttpUpstreamProxy.make(inner, send_connect=True) / OpaqueLayer(inner, carried))[0]
    return carried.layer
