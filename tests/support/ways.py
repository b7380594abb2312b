"""The gate's further listeners, for tests that come by them."""

import socket
from typing import Any

from support.gate import AGENTS, LiveGate
from support.raw import TIMEOUT_S


def registry(**identities: str) -> dict[str, Any]:
    """The agents of every test, some of them with an identity: `registry(deploy_bot="listener:builder")`."""
    agents = [
        {**agent, "identities": [given]} if (given := identities.get(agent["id"].replace("-", "_"))) else agent
        for agent in AGENTS["agents"]
    ]
    return {**AGENTS, "agents": agents}


def url_of(gate: LiveGate, listener: str) -> str:
    """The base URL of a reverse listener."""
    return f"http://{gate.service.listener_addresses[listener]}"


def dial_listener(gate: LiveGate, listener: str) -> socket.socket:
    """A plain connection to one of them."""
    address = gate.service.listener_addresses[listener]
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)
