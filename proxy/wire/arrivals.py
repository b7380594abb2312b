"""How a connection came: by which listener, and what that alone says about it, before anything is asked.

What is said here nobody but the operator and the kernel has a say in: the name of the listener, the target that was
fixed for it, the address that the connection came from.
"""

import contextlib
from dataclasses import dataclass, field

from mappings import CanonicalError, canonical_host
from policies import Credential
from proxy.config import ListenerConfig
from proxy.identity import NOBODY, ClientCertificate
from proxy.verdicts import Head, Verdict


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Where everything on a connection goes: an accepted CONNECT, or what its listener leads to.

    Rules are asked again for each request in it.
    """

    host: str
    port: int
    credential: Credential
    presented: tuple[str, ...] | None = field(default=(), repr=False)
    """The `Proxy-Authorization` it came with, to be looked at again with each request; None: each brings its own."""
    scheme: str = ""
    """Of a target that the operator fixed, how it is spoken to; else "", and what the agent speaks tells."""
    unread: tuple[Head, Verdict] | None = None
    """What let it through unread; None where each request in it is judged."""


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
