"""How a connection came: by which listener, and what that alone says about it, before anything is asked.

What is said here nobody but the operator and the kernel has a say in: the name of the listener, the target that was
fixed for it, the address that the connection came from.
"""

from dataclasses import dataclass
from typing import Never

from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.config import ListenerConfig
from proxy.identity import NOBODY, ClientCertificate
from proxy.mitm.flows import Tunnel
from proxy.mitm.layers import GateHttpLayer


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a connection when its first byte for a target is read."""

    listener: ListenerConfig | None = None
    """None is the proxy's own."""
    certificate: ClientCertificate | None = None
    tunnel: Tunnel | None = None
    """Where everything on it goes, when that is known."""

    @property
    def name(self) -> str:
        """The listener's name; "" of the proxy's own."""
        return self.listener.name if self.listener else ""

    def identities(self, client: str) -> tuple[str, ...]:
        """What its coming by that listener proves."""
        return self.listener.identities(client) if self.listener else ()


def fixed_tunnel(listener: ListenerConfig) -> Tunnel | None:
    """Where a listener with one target leads; None for others."""
    if listener.target is None:
        return None
    scheme, host, port = listener.target
    return Tunnel(host, port, NOBODY, None, scheme)


class _Ground(layer.Layer):
    """What the layers of a connection stand on where no CONNECT is beneath them: the engine looks for one."""

    def _handle_event(self, _: events.Event) -> Never:
        raise RuntimeError("nothing is handled here")


def first_layer(context: Context, arrival: Arrival) -> layer.Layer:
    """What reads the first byte: HTTP to a proxy, HTTP to a target, or whatever is found out."""
    tunnel = arrival.tunnel
    if tunnel is None:
        return GateHttpLayer(context, HTTPMode.regular)
    # The engine wants a place here; it is never dialled, as no verdict has permitted it.
    context.server.address = (tunnel.host, tunnel.port)
    context.server.tls = tunnel.scheme == "https"
    if tunnel.scheme:
        return GateHttpLayer(context, HTTPMode.transparent)
    _Ground(context)
    return layer.NextLayer(context)
