"""Tunnels: connections that the operator lets through unread, host by host and port by port.

    tunnels:
      - {id: pinned-updates, host: updates.vendor.test}                 # port 443, TLS for that name
      - {id: build-db, host: db.build.test, ports: [5432], carries: anything, facts: {env: staging}}

    CONNECT updates.vendor.test:443      operation and action tunnel:open, target updates.vendor.test:443
    CONNECT updates.vendor.test:8443     not here: what comes in it is intercepted and judged, as ever
    host: "*.vendor.test"                refused: a tunnel is named host by host
    host: 192.0.2.7                      refused without "carries: anything": no TLS hello names an address

The action is always the same, so that one word in a skill or policy covers every tunnel there is; the target and the
environment tell them apart. What an entry permits nobody by itself: the action has to be allowed as any other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mappings.canonical import canonical_host
from mappings.compiled import Compiled, Tunnel
from mappings.environments import environment, environment_value
from mappings.located import Located
from mappings.lookups import NOTHING_TOLD
from mappings.places import Path
from mappings.request import Request
from mappings.resolution import ATTRIBUTES, UNMAPPED, Operation, Problem, Resolution, RuleRef

if TYPE_CHECKING:
    from mappings.rules import TunnelText

TUNNEL_OPEN = "tunnel:open"
"""What opening one is called, as operation and as action."""

_NO_TUNNEL = Problem(UNMAPPED, 'no entry of "tunnels" lets this host and port through unread')

type Tunnels = Mapping[tuple[str, int], Tunnel]
"""By canonical host and port."""


def resolve_tunnel(compiled: Compiled, request: Request) -> Resolution:
    """Return what a CONNECT that is to be passed through is, or that it is not."""
    tunnel = compiled.tunnels.get((request.host, request.port))
    if tunnel is None:
        return Resolution((), _NO_TUNNEL, "")
    shown = f"[{request.host}]" if ":" in request.host else request.host
    facts = {**tunnel.facts, "host": request.host}
    where = ""
    if compiled.classifiers or "env" in tunnel.facts:
        where = environment(compiled.classifiers, facts, tunnel.facts.get("env", ""), NOTHING_TOLD)
    operation = Operation(TUNNEL_OPEN, TUNNEL_OPEN, f"{shown}:{request.port}", where, tunnel.ref)
    return Resolution((operation,), None, "")


def add_tunnel(located: Located, path: Path, text: TunnelText, tunnels: dict[tuple[str, int], Tunnel]) -> None:
    """File one entry under each of its ports, or note what is wrong with it."""
    host = located.attempt((*path, "host"), _exact_host, text.host)
    if "env" in text.facts:
        located.attempt((*path, "facts", "env"), environment_value, text.facts["env"])
    for name in sorted(ATTRIBUTES.intersection(text.facts)):
        located.key_fault(
            (*path, "facts", name), f'fact "{name}" is what a pack says of an operation; choose another name'
        )
    if not text.ports:
        located.fault((*path, "ports"), 'no port, so nothing would pass; leave "ports" out for 443')
    if host is None:
        return
    if text.carries == "tls" and _is_address(host):
        message = f'host "{text.host}" is an address, which no TLS hello names; write "carries: anything"'
        located.fault((*path, "host"), message)
    place = str(located.document.place(path))
    tunnel = Tunnel(RuleRef(text.id, "", place, located.document.digest), text.carries == "tls", dict(text.facts))
    for port in text.ports:
        first = tunnels.setdefault((host, port), tunnel)
        if first is not tunnel:
            located.fault(path, f'a tunnel to "{host}", port {port}, stands twice (first {first.ref.place}); keep one')


def _exact_host(text: str) -> str:
    if "*" in text:
        raise ValueError(f'host "{text}" stands for several; a tunnel is named host by host')
    return canonical_host(text)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
