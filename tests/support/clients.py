"""Unmodified Python clients, sent through a gate."""

import ssl
from pathlib import Path

import httpx

from support.gate import LiveGate


def client_of(
    gate: LiveGate, *, http2: bool = False, proxy: str | None = None, trusted: Path | None = None
) -> httpx.Client:
    """An httpx client that trusts the gate's CA, or another one, and nothing else."""
    context = ssl.create_default_context(cafile=str(trusted or gate.ca))
    return httpx.Client(proxy=proxy or gate.proxy(), verify=context, http2=http2, trust_env=False, timeout=30)
