"""TERM while a stream, a tunnel and a conversation are open at every process of a gate with workers."""

import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.raw import authorization, read_head, status
from support.rules import ORIGIN_MAPPINGS
from support.serving import DEADLINE_S, assert_sound
from support.targets import Origin
from support.workers import Workers, workers_site

pytestmark = pytest.mark.engines("fast")

SSE = "https://origin.test/sse"
UNREAD = "https://other.test/sse"
MIB = 4
"""More than the buffers of a connection take."""
MAPPINGS: dict[str, Any] = {**ORIGIN_MAPPINGS, "tunnels": [{"id": "unread", "host": "other.test"}]}
SKILLS: dict[str, Any] = {
    "deploy-v2": {"skill": "deploy-v2", "allow": ["data:**", "tunnel:open"]},
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}


type Open = tuple[httpx.Client, Iterator[bytes]]


def opened(gate: Workers, stack: ExitStack, url: str, trusted: ssl.SSLContext, processes: int) -> list[Open]:
    """A stream of events through so many processes, each behind its first event."""
    found: dict[str, Open] = {}
    while len(found) < processes:
        client = stack.enter_context(gate.client(trusted=trusted))
        pieces = stack.enter_context(client.stream("GET", url)).iter_raw()
        assert next(pieces) == b"data: first\n\n"
        session = gate.records(host=httpx.URL(url).host)[-1]["session"]
        if found.setdefault(session, (client, pieces)) != (client, pieces):
            client.close()
    return list(found.values())


def slow_download(gate: Workers, trusted: ssl.SSLContext) -> ssl.SSLSocket:
    """A download whose agent has little room, and has read its head alone."""
    host, port = gate.proxy_address.split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(DEADLINE_S)
    raw.connect((host, int(port)))
    raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
    assert status(read_head(raw)) == 200
    secured = trusted.wrap_socket(raw, server_hostname="origin.test")
    secured.sendall(f"GET /download?mb={MIB} HTTP/1.1\r\nHost: origin.test\r\n\r\n".encode())
    assert status(read_head(secured)) == 200
    return secured


def downloading(gate: Workers, stack: ExitStack, trusted: ssl.SSLContext, processes: int) -> list[ssl.SSLSocket]:
    """A slow download through so many processes."""
    found: dict[str, ssl.SSLSocket] = {}
    while len(found) < processes:
        one = stack.enter_context(slow_download(gate, trusted))
        session = gate.records(path="/download")[-1]["session"]
        if found.setdefault(session, one) is not one:
            one.close()
    return list(found.values())


def length_of(download: ssl.SSLSocket) -> int:
    """How much comes of it, with its end."""
    received = 0
    while received < MIB * 2**20 and (piece := download.recv(4096)):
        received += len(piece)
    return received


def test_term_lets_everything_end(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Streams, tunnels that pass unread and downloads that are slowly read, at each process: whole, and sent."""
    listeners = {"old": {"mode": "proxy", "listen": "127.0.0.1:0", "engine": "mitmproxy"}}
    site = workers_site(
        tmp_path / "site", origin, ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS, config={"listeners": listeners}
    )  # fmt: skip
    with Workers(site) as gate, ExitStack() as stack:
        ours, theirs = (
            ssl.create_default_context(cafile=str(path)) for path in (site / "state" / "ca.pem", target_ca_pem)
        )
        streams = opened(gate, stack, SSE, ours, 2) + opened(gate, stack, UNREAD, theirs, 2)
        gate.proxy_address, proxy = gate.place("old"), gate.proxy_address
        streams += opened(gate, stack, SSE, ours, 1)
        downloads = downloading(gate, stack, ours, 1)
        gate.proxy_address = proxy
        downloads += downloading(gate, stack, ours, 2)
        gate.signal(signal.SIGTERM)
        gate.wait_ready("gate", failing=True)
        origin.release()
        for client, pieces in streams:
            assert list(pieces) == [b"data: last\n\n"]
            client.close()
        with ThreadPoolExecutor() as pool:
            assert list(pool.map(length_of, downloads)) == [MIB * 2**20] * 3
        assert gate.wait_exit() == 0
    assert_sound(site)
