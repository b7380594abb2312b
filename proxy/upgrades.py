"""Says which upgrades a decision covers: those after which nothing is said that the decision did not name.

After an upgrade the gate reads WebSocket messages, which every decision on one covers. Anything else it relays as it
comes, so that is for operations that *are* what follows:

    kubernetes:execute:pods/exec,         SPDY/3.1    covered: "run whatever you like in there" is what was decided on
    kubernetes:execute:pods/portforward
    docker:ExecStart,                     tcp         covered, for the same reason
    docker:ContainerAttach
    kubernetes:get:pods                   SPDY/3.1    refused, wire.upgrade
    data:read on any other host           SPDY/3.1    refused, wire.upgrade: it would be a tunnel under a mild name
"""

import re

from mappings import Problem, Resolution
from proxy.messages import judging

WEBSOCKET = "websocket"
TCP = "tcp"
_RELAYED = {
    "spdy/3.1": re.compile("kubernetes:execute:.*"),
    TCP: re.compile("docker:(?:ExecStart|ContainerAttach)"),
}
"""By protocol, the operations that cover it (kubernetes.io, "Streaming protocols of kubectl exec";
docs.docker.com/reference/api/engine, "Attach to a container", "Hijacking")."""

ENDS_BY_HALVES = frozenset({TCP})
"""Protocols whose agent says all it has to say, ends its half, and is still answered: `docker exec -i`, where the
end of its input is what the program waits for."""

_NOT_SEEN = Problem("wire.upgrade", "each message is to be decided on, and another proxy would carry them")
_NOT_COVERED = Problem("wire.upgrade", "this upgrade is not one the gate can decide on")


def uncovered(upgrade: str, resolution: Resolution, *, delegated: bool) -> Problem | None:
    """Why a request may not ask for an upgrade, whatever the texts say; None when its operations cover it."""
    if upgrade == WEBSOCKET and delegated and judging(resolution.packs) != frozenset():
        return _NOT_SEEN
    if upgrade in ("", WEBSOCKET):
        return None
    operations, covering = resolution.operations, _RELAYED.get(upgrade)
    if covering and operations and all(covering.fullmatch(operation.name) for operation in operations):
        return None
    return _NOT_COVERED
