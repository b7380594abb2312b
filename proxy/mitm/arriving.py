"""What reads a connection's first byte, as far as its way in tells."""

from typing import Never

from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.limits import Limits
from proxy.mitm.layers import GateHttpLayer
from proxy.wire.arrivals import Arrival


class _Ground(layer.Layer):
    """What the layers of a connection stand on where no CONNECT is beneath them: the engine looks for one."""

    def _handle_event(self, _: events.Event) -> Never:
        raise RuntimeError("nothing is handled here")


def first_layer(context: Context, arrival: Arrival, limits: Limits) -> layer.Layer:
    """What reads the first byte: HTTP to a proxy, HTTP to a target, or whatever is found out."""
    tunnel = arrival.tunnel
    if tunnel is None and arrival.redirected is None:
        return GateHttpLayer(context, HTTPMode.regular, limits)
    # The engine wants a place here; it is never dialled, as no verdict has permitted it.
    context.server.address = (tunnel.host, tunnel.port) if tunnel else arrival.redirected
    context.server.tls = tunnel is not None and tunnel.scheme == "https"
    if tunnel is not None and tunnel.scheme:
        return GateHttpLayer(context, HTTPMode.transparent, limits)
    _Ground(context)
    return layer.NextLayer(context)
