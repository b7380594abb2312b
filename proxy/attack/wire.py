"""Bytes to the gate and back, by hand: what no decent client sends."""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from proxy.attack.attacks import PLAIN_HOST, Attack, Way, request

TIMEOUT_S = 10.0
_UNFINISHED_S = 0.4
"""How long an answer is waited for when the bytes sent are, to some readers, no whole request."""
FOLLOWING = "/open/following"
"""The harmless request behind an attack."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate, and what an agent of it has."""

    host: str
    port: int
    agent: str
    token: str = field(repr=False)
    ca: Path
    places: dict[str, str]
    """What stands for the places of a template."""
    idle: Callable[[], None] = lambda: None
    """Returns once the gate has nothing under way."""

    def fill(self, template: bytes) -> bytes:
        """A template with everything in its place."""
        credential = b64encode(f"{self.agent}:{self.token}".encode()).decode()
        known = {**self.places, "auth": f"Proxy-Authorization: Basic {credential}\r\n"}
        return re.sub(
            rb"\{(%s)\}" % "|".join(known).encode(), lambda found: known[found[1].decode()].encode(), template
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; status 0 when the connection ended without one."""

    status: int
    chron_ids: tuple[str, ...] = ()
    body: bytes = b""


NONE = Answer(0)


def send(gate: Gate, attack: Attack) -> list[Answer]:
    """Every answer to an attack, that of CONNECT only when it is refused."""
    try:
        with socket.create_connection((gate.host, gate.port), timeout=TIMEOUT_S) as raw:
            if attack.way.connect is not None and (refused := _connect(gate, attack.way, raw)):
                return [refused]
            if not attack.way.tls:
                return _speak(gate, attack, raw)
            with _tls(gate, attack.way, raw) as secure:
                if attack.way.http2:
                    return [_http2(gate, attack, secure)]
                return _speak(gate, attack, secure)
    except OSError:  # a connection that was ended, which is an answer too
        return [NONE]


def _connect(gate: Gate, way: Way, raw: socket.socket) -> Answer | None:
    line = f"CONNECT {way.connect} HTTP/1.1\r\n{way.head}\r\n"
    raw.sendall(gate.fill(line.encode("latin-1")))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := raw.recv(1)):  # one at a time, so that nothing of what follows is taken
            return NONE
        head += byte
    if head.startswith(b"HTTP/1.1 200"):
        return None
    lengths = re.findall(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    body = b""
    while lengths and len(body) < int(lengths[0]) and (more := raw.recv(65536)):
        body += more
    return next(iter(read_answers(head + body)), NONE)


def _tls(gate: Gate, way: Way, raw: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(gate.ca))
    context.check_hostname = False
    context.set_alpn_protocols(["h2" if way.http2 else "http/1.1"])
    return context.wrap_socket(raw, server_hostname=way.sni)


def _speak(gate: Gate, attack: Attack, raw: socket.socket) -> list[Answer]:
    payload = gate.fill(attack.sends)
    if attack.follows:
        payload += gate.fill(_following(attack))
    else:
        raw.settimeout(_UNFINISHED_S)
    with suppress(OSError):  # whoever refuses early may close early
        raw.sendall(payload)
    return read_answers(_rest(raw)) or [NONE]


def _following(attack: Attack) -> bytes:
    if attack.way.connect is None:
        line = request("GET", f"http://{PLAIN_HOST}{FOLLOWING}", "Connection: close", host=PLAIN_HOST)
        return line.replace(b"\r\n", b"\r\n{auth}", 1)
    return request("GET", FOLLOWING, "Connection: close", host=attack.way.connect.rpartition(":")[0])


def _rest(raw: socket.socket) -> bytes:
    received = b""
    with suppress(OSError):
        while chunk := raw.recv(65536):
            received += chunk
    return received


def read_answers(received: bytes) -> list[Answer]:
    """Every answer in what came back; an interim one is none."""
    found = []
    while received.startswith(b"HTTP/1."):
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        lines = head.decode("latin-1").split("\r\n")[1:]
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        if 100 <= status < 200 and status != 101:
            continue
        # The answer to a HEAD tells a length and has no body (RFC 9110, 9.3.2).
        length = 0 if received.startswith(b"HTTP/1.") else int(dict(fields).get("content-length", "0"))
        ids = tuple(value for name, value in fields if name == "x-chron-id")
        found.append(Answer(status, ids, received[:length]))
        received = received[length:]
    return found


def _http2(gate: Gate, attack: Attack, secure: ssl.SSLSocket) -> Answer:
    """One HTTP/2 request with exactly these header fields, valid or not."""
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    agent = h2.connection.H2Connection(config)
    agent.initiate_connection()
    body = gate.fill(attack.sends)
    agent.send_headers(1, [(name, gate.fill(value.encode("latin-1"))) for name, value in attack.fields], not body)
    if body:
        agent.send_data(1, body, end_stream=True)
    secure.sendall(agent.data_to_send())
    status, ids = 0, tuple[str, ...]()
    while received := secure.recv(65536):
        try:
            happened = agent.receive_data(received)
        except h2.exceptions.ProtocolError:
            break
        for event in happened:
            match event:
                case h2.events.ResponseReceived():
                    fields = [(bytes(name), bytes(value).decode("latin-1")) for name, value in event.headers or ()]
                    status = int(dict(fields)[b":status"])
                    ids = tuple(value for name, value in fields if name == b"x-chron-id")
                case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return Answer(status, ids)
    return Answer(status, ids)
