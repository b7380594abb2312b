"""How a connection came: by which listener, and what that alone says about it, before anything is asked.

What is said here nobody but the operator and the kernel has a say in: the name of the listener, the target that was
fixed for it, the address that the connection came from.
"""

import contextlib
from dataclasses import dataclass
from typing import Never

from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from mappings import CanonicalError, canonical_host
from proxy.config import ListenerConfig
from proxy.identity import NOBODY, ClientCertificate
from proxy.limits import Limits
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
    redirected: tuple[str, int] | None = None
    """The address and port that the agent's packets were for, where a redirect has led them here."""

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


def named_tunnel(redirected: tuple[str, int], sni: str | None) -> Tunnel:
    """Where TLS leads that was redirected here: to the host that its hello names, by the port it was going to.

    The gate resolves that host itself. The address that the agent was going to counts only where no name is told: it
    is the agent's choice, and the name is what is decided on, and what the target's certificate has to prove.
    """
    host, port = redirected
    if sni:
        # One that is no name is refused with each request, where `read_facts` meets it again.
        with contextlib.suppress(CanonicalError):
            host = canonical_host(sni)
    return Tunnel(host, port, NOBODY, None)


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
