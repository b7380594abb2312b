"""Unmodified Python clients, sent through a gate."""

import ssl

import httpx

from support.gate import LiveGate


def client_of(gate: LiveGate, *, http2: bool = False, proxy: str | None = None) -> httpx.Client:
    """An httpx client that trusts the gate's CA and nothing else."""
    trusted = ssl.create_default_context(cafile=str(gate.ca))
    return httpx.Client(proxy=proxy or gate.proxy(), verify=trusted, http2=http2, trust_env=False, timeout=30)
