"""A stop while something is open: an answer on its way to an agent that reads slowly, a request at its target."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from proxy.serve import Service
from proxy.wire.crowd import Crowd
from proxy.wire.sweeping import Sweeper
from support.gate import LiveGate
from support.raw import TIMEOUT_S, authorization, read_all, read_head, tunnel
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

BODY = b"x" * 120_000
"""It comes back in the answer: more than the sockets take, and so little that the engine does not wait for room."""


def _little_room(service: Service) -> None:
    for server in service.engine._servers:
        for listening in server.sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted sockets have what it has


@pytest.mark.engines("fast")
def test_a_stop_waits_until_an_answer_has_left(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """What is on record as sent is sent: the agent gets it to its last byte, as slowly as it reads."""
    gate = LiveGate(tmp_path, origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, prepare=_little_room)
    with gate, _connected(gate) as slow:
        slow.sendall(b"POST /echo HTTP/1.1\r\nHost: origin.test\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        head = read_head(slow)
        (decision,) = gate.records(path="/echo")
        outcome = gate.outcome_of(decision)
        assert (outcome["result"], outcome["status"]) == ("sent", 200)
        stopping = threading.Thread(target=gate.stop)
        stopping.start()
        stopping.join(0.5)
        assert stopping.is_alive()
        body = read_all(slow)
        assert f"content-length: {len(body)}\r\n".encode() in head.lower()
        assert BODY in body
        stopping.join()


@pytest.mark.engines
def test_what_is_open_has_its_outcome_whatever_else_cannot_be_stopped(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer that cannot be cancelled keeps no exchange from its ending, and the gate stops."""
    config = {"proxy": {"drain_timeout_s": 0}}
    gate = LiveGate(tmp_path, origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, config=config)
    with gate, tunnel(gate) as agent:
        agent.sendall(b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        origin.wait_seen(1)
        for looking in (Crowd, Sweeper):
            monkeypatch.setattr(looking, "stop", _fails)
        gate.stop()
    (decision,) = gate.records(path="/slow")
    assert (decision["outcome"], gate.outcome_of(decision)["result"]) == ("ALLOW", "failed")


def _fails(*_: object) -> None:
    raise RuntimeError("planted")


def _connected(gate: LiveGate) -> ssl.SSLSocket:
    """TLS in a tunnel of an agent with little room."""
    address = gate.service.proxy_address
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(TIMEOUT_S)
    raw.connect((address.host, address.port))
    raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
    assert read_head(raw).startswith(b"HTTP/1.1 200")
    return ssl.create_default_context(cafile=str(gate.ca)).wrap_socket(raw, server_hostname="origin.test")
