"""Bytes by hand, for what no decent client sends."""

import base64
import socket
import ssl

from support.gate import TOKEN, LiveGate

TIMEOUT_S = 60


def authorization(agent: str = "deploy-bot", token: str = TOKEN) -> bytes:
    """A Proxy-Authorization line."""
    return b"Proxy-Authorization: Basic " + base64.b64encode(f"{agent}:{token}".encode()) + b"\r\n"


def dial(gate: LiveGate) -> socket.socket:
    """A plain connection to the gate."""
    address = gate.service.proxy_address
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)


def connect(gate: LiveGate, authority: str = "origin.test:443", head: bytes | None = None) -> socket.socket:
    """A connection with an accepted CONNECT."""
    raw = dial(gate)
    name = authority.encode("latin-1")
    raw.sendall(b"CONNECT " + name + b" HTTP/1.1\r\n" + (authorization() if head is None else head) + b"\r\n")
    answer = read_head(raw)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return raw


def tunnel(
    gate: LiveGate, authority: str = "origin.test:443", *, sni: str | None = "origin.test", alpn: str = "http/1.1"
) -> ssl.SSLSocket:
    """TLS inside a CONNECT tunnel; the gate's CA is trusted, names are not compared."""
    context = ssl.create_default_context(cafile=str(gate.ca))
    context.check_hostname = False
    context.set_alpn_protocols([alpn])
    return context.wrap_socket(connect(gate, authority), server_hostname=sni)


def read_head(raw: socket.socket) -> bytes:
    """Bytes up to the end of the head, one at a time so that nothing after it is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = raw.recv(1)
        if not byte:
            break
        head += byte
    return head


def read_all(raw: socket.socket) -> bytes:
    """Bytes until the peer closes."""
    received = b""
    try:
        while chunk := raw.recv(65536):
            received += chunk
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def status(answer: bytes) -> int:
    """The status of an answer; 0 when there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0
