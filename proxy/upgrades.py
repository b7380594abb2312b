"""Says which upgrades a decision covers: those after which nothing is said that the decision did not name.

After an upgrade the gate reads WebSocket messages, which every decision on one covers. Anything else it relays as it
comes, so that is for operations that *are* what follows:

    kubernetes:execute:pods/exec,         SPDY/3.1    covered: "run whatever you like in there" is what was decided on
    kubernetes:execute:pods/portforward
    kubernetes:get:pods                   SPDY/3.1    refused, wire.upgrade
    data:read on any other host           SPDY/3.1    refused, wire.upgrade: it would be a tunnel under a mild name
"""

from mappings import Problem, Resolution
from proxy.messages import judging

WEBSOCKET = "websocket"
_RELAYED = {"spdy/3.1": "kubernetes:execute:"}
"""By protocol, how the operations begin that cover it (kubernetes.io, "Streaming protocols of kubectl exec")."""

_NOT_SEEN = Problem("wire.upgrade", "each message is to be decided on, and another proxy would carry them")
_NOT_COVERED = Problem("wire.upgrade", "this upgrade is not one the gate can decide on")


def uncovered(upgrade: str, resolution: Resolution, *, delegated: bool) -> Problem | None:
    """Why a request may not ask for an upgrade, whatever the texts say; None when its operations cover it."""
    if upgrade == WEBSOCKET and delegated and judging(resolution.packs):
        return _NOT_SEEN
    if upgrade in ("", WEBSOCKET):
        return None
    operations, covering = resolution.operations, _RELAYED.get(upgrade)
    if covering and operations and all(operation.name.startswith(covering) for operation in operations):
        return None
    return _NOT_COVERED
