"""The gate's further listeners, for tests that come by them."""

import socket
from pathlib import Path
from typing import Any

from support.gate import AGENTS, LiveGate
from support.raw import TIMEOUT_S
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin


def registry(**identities: str) -> dict[str, Any]:
    """The agents of every test, some of them with an identity: `registry(deploy_bot="listener:builder")`."""
    agents = [
        {**agent, "identities": [given]} if (given := identities.get(agent["id"].replace("-", "_"))) else agent
        for agent in AGENTS["agents"]
    ]
    return {**AGENTS, "agents": agents}


def listening(listeners: dict[str, Any], agents: dict[str, Any], folder: Path, *targets: Origin, ca: Path) -> LiveGate:
    """A gate with these listeners in front of the targets; not running yet."""
    config = {"listeners": listeners}
    return LiveGate(folder, *targets, target_ca=ca, mappings=ORIGIN_MAPPINGS, config=config, agents=agents)


def url_of(gate: LiveGate, listener: str) -> str:
    """The base URL of a reverse listener."""
    return f"http://{gate.service.listener_addresses[listener]}"


def dial_listener(gate: LiveGate, listener: str) -> socket.socket:
    """A plain connection to one of them."""
    address = gate.service.listener_addresses[listener]
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)
