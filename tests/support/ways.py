"""The gate's further listeners, for tests that come by them."""

import socket

from support.gate import LiveGate
from support.raw import TIMEOUT_S


def url_of(gate: LiveGate, listener: str) -> str:
    """The base URL of a reverse listener."""
    return f"http://{gate.service.listener_addresses[listener]}"


def dial_listener(gate: LiveGate, listener: str) -> socket.socket:
    """A plain connection to one of them."""
    address = gate.service.listener_addresses[listener]
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)
