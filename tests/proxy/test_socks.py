"""SOCKS 5: the same decisions as a CONNECT, by name and by address; what is no CONNECT is refused."""

import asyncio
import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.socks import NoSocks, read_request
from support.gate import AGENTS, TOKEN, LiveGate, running
from support.needed import needed
from support.raw import connect, read_all, read_head, status
from support.targets import Origin
from support.ways import dial_listener, listening, registry

LISTENERS: dict[str, Any] = {
    "socks": {"mode": "socks5", "listen": "127.0.0.1:0"},
    "own-socks": {"mode": "socks5", "listen": "127.0.0.1:0", "proves": "listener"},
}
USER = bytes((1, 10)) + b"deploy-bot" + bytes((len(TOKEN),)) + TOKEN.encode()


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    agents = registry(other_bot="listener:own-socks")
    live = listening(LISTENERS, agents, tmp_path / "gate", origin, plain_origin, ca=target_ca_pem)
    with running(live):
        yield live


def by_name(host: bytes, port: int = 443) -> bytes:
    """A place as RFC 1928 writes a name."""
    return bytes((3, len(host))) + host + port.to_bytes(2)


def by_address(address: str, port: int = 443) -> bytes:
    """A place as RFC 1928 writes an address."""
    if ":" in address:
        return b"\x04" + socket.inet_pton(socket.AF_INET6, address) + port.to_bytes(2)
    return b"\x01" + socket.inet_aton(address) + port.to_bytes(2)


def receive(raw: socket.socket, count: int) -> bytes:
    """So many bytes, or what came before the end."""
    received = b""
    while len(received) < count and (chunk := raw.recv(count - len(received))):
        received += chunk
    return received


def ask(gate: LiveGate, place: bytes, *, command: int = 1, listener: str = "socks", user: bytes = USER) -> Any:
    """A connection after its request, and what was replied."""
    raw = dial_listener(gate, listener)
    if user:
        raw.sendall(b"\x05\x02\x00\x02")
        assert receive(raw, 2) == b"\x05\x02"
        raw.sendall(user)
        assert receive(raw, 2) == b"\x01\x00"
    else:
        raw.sendall(b"\x05\x01\x00")
        assert receive(raw, 2) == b"\x05\x00"
    raw.sendall(bytes((5, command, 0)) + place)
    replied = receive(raw, 10)
    assert replied[:1] + replied[2:] == b"\x05\x00\x01\x00\x00\x00\x00\x00\x00", replied
    return raw, replied[1]


def secured(gate: LiveGate, raw: socket.socket, sni: str | None) -> ssl.SSLSocket:
    """TLS on it; the gate's CA is trusted, names are not compared."""
    context = ssl.create_default_context(cafile=str(gate.ca))
    context.check_hostname = False
    return context.wrap_socket(raw, server_hostname=sni)


def send(stream: socket.socket, method: bytes, host: bytes) -> bytes:
    """One request on it, and the whole answer."""
    stream.sendall(method + b" /echo HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    return read_all(stream)


# --- the same decisions --------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "answered"), [(b"GET", 200), (b"DELETE", 403)])
def test_a_request_is_decided_as_in_a_connect(gate: LiveGate, origin: Origin, method: bytes, answered: int) -> None:
    """The same bytes by SOCKS and by CONNECT have the same answer, and the same record but for the way in."""
    raw, reply = ask(gate, by_name(b"origin.test"))
    assert reply == 0
    with secured(gate, raw, "origin.test") as stream:
        assert status(send(stream, method, b"origin.test")) == answered
    with secured(gate, connect(gate), "origin.test") as stream:
        assert status(send(stream, method, b"origin.test")) == answered
    by_socks, by_connect = gate.records()
    assert by_socks.pop("listener") == "socks"
    own = {"id", "seq", "ts", "at", "request", "uses", "engine", "engine_version"}
    assert {name: value for name, value in by_socks.items() if name not in own} == {
        name: value for name, value in by_connect.items() if name not in own
    }
    assert len(origin.seen) == (2 if answered == 200 else 0)


def test_plain_http_goes_by_it_too(gate: LiveGate, plain_origin: Origin) -> None:
    """What follows is found out by its first bytes: a tunnel need not be TLS."""
    raw, _ = ask(gate, by_name(b"plain.test", 80))
    with raw:
        assert status(send(raw, b"GET", b"plain.test")) == 200
    (record,) = gate.records()
    assert (record["outcome"], record["scheme"], record["host"]) == ("ALLOW", "http", "plain.test")
    assert len(plain_origin.seen) == 1


def test_bytes_that_come_early_are_not_lost(gate: LiveGate, plain_origin: Origin) -> None:
    """An agent that waits for no answer is served as one that does."""
    with dial_listener(gate, "socks") as raw:
        request = b"GET /echo HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"
        raw.sendall(b"\x05\x01\x02" + USER + b"\x05\x01\x00" + by_name(b"plain.test", 80) + request)
        assert receive(raw, 14) == b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        assert status(read_all(raw)) == 200
    assert len(plain_origin.seen) == 1


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["socks5h", "socks5"])
def test_curl_comes_through(gate: LiveGate, origin: Origin, scheme: str) -> None:
    """By name; one that resolves by itself names an address, which its own SNI contradicts."""
    address = gate.service.listener_addresses["socks"]
    done = subprocess.run(
        [
            *(needed("curl"), "-sS", "--cacert", str(gate.ca), "-w", "%{http_code}", "-o", "/dev/null"),
            *("--proxy", f"{scheme}://deploy-bot:{TOKEN}@{address}", "--resolve", "origin.test:443:192.0.2.7"),
            "https://origin.test/echo",
        ],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout, done.stderr
    (record,) = gate.records()
    if scheme == "socks5h":
        assert (done.stdout, record["outcome"], len(origin.seen)) == ("200", "ALLOW", 1)
    else:
        assert (done.stdout, record["code"], origin.connections) == ("400", "wire.authority-mismatch", 0)


# --- names and addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1"])
def test_an_address_is_guarded_as_anywhere(gate: LiveGate, origin: Origin, address: str) -> None:
    """By address nobody gets where the name would be refused."""
    raw, reply = ask(gate, by_address(address))
    assert reply == 0
    host = f"[{address}]" if ":" in address else address
    with secured(gate, raw, None) as stream:
        assert status(send(stream, b"GET", host.encode())) in (400, 403)
    (record,) = gate.records()
    assert (record["outcome"], origin.connections) == ("DENY", 0)


@pytest.mark.parametrize(
    ("place", "sni", "host"),
    [
        (by_address("192.0.2.7"), "origin.test", b"origin.test"),
        (by_address("2001:db8::7"), "origin.test", b"origin.test"),
        (by_address("192.0.2.7"), "origin.test", b"192.0.2.7"),
        (by_address("192.0.2.7"), None, b"origin.test"),
        (by_name(b"origin.test"), "other.test", b"origin.test"),
        (by_name(b"origin.test"), "origin.test", b"other.test"),
        (by_name(b"192.0.2.7"), "origin.test", b"origin.test"),
    ],
)
def test_names_that_disagree_are_refused(
    gate: LiveGate, origin: Origin, place: bytes, sni: str | None, host: bytes
) -> None:
    """The place that was asked for, the SNI and the Host are one, or the request goes nowhere."""
    raw, _ = ask(gate, place)
    with secured(gate, raw, sni) as stream:
        assert status(send(stream, b"GET", host)) == 400
    (record,) = gate.records()
    assert (record["outcome"], record["code"], record["listener"]) == ("DENY", "wire.authority-mismatch", "socks")
    assert origin.connections == 0


PLACES = {
    "a port that is not allowed": (by_name(b"origin.test", 22), "destination.port"),
    "no port": (by_name(b"origin.test", 0), "wire."),
    "an empty name": (by_name(b""), "wire."),
    "a name with a port of its own": (by_name(b"origin.test:443"), "wire."),
    "a name with a user": (by_name(b"a@origin.test"), "wire.host.userinfo"),
    "a name with NUL": (by_name(b"origin.test\x00.other.test"), "wire."),
    "a name with a line end": (by_name(b"origin.test\r\nX: y"), "wire."),
    "an address in brackets": (by_name(b"[::1"), "wire."),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_is_none_is_refused(gate: LiveGate, origin: Origin, name: str) -> None:
    """Refused by the ruleset (RFC 1928, 6), with the reason in the record."""
    place, code = PLACES[name]
    raw, reply = ask(gate, place)
    with raw:
        assert (reply, raw.recv(1)) == (2, b"")
    (record,) = gate.records()
    assert (record["outcome"], record["agent"], record["method"]) == ("DENY", "deploy-bot", "CONNECT")
    assert record["code"].startswith(code), record["code"]
    assert origin.connections == 0


# --- who ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "code"),
    [
        (b"", "agent.no-credentials"),
        (b"\x01\x0adeploy-bot\x05wrong", "agent.wrong-token"),
        (b"\x01\x00\x00", "agent.no-credentials"),
        (b"\x01\x01\xff\x01\xff", "agent.no-credentials"),
    ],
)
def test_who_proves_nothing_gets_nowhere(gate: LiveGate, origin: Origin, user: bytes, code: str) -> None:
    """Also one that comes with no credentials at all; the record has where it wanted to go."""
    raw, reply = ask(gate, by_name(b"origin.test"), user=user)
    with raw:
        assert (reply, raw.recv(1)) == (2, b"")
    (record,) = gate.records()
    assert (record["code"], record["host"], record["port"]) == (code, "origin.test", 443)
    assert (record["listener"], origin.connections) == ("socks", 0)


def test_a_listener_may_prove_who_comes(gate: LiveGate, origin: Origin) -> None:
    """For clients that know no password: what they reach is theirs alone, as the registry says."""
    raw, reply = ask(gate, by_name(b"origin.test"), user=b"", listener="own-socks")
    assert reply == 0
    with secured(gate, raw, "origin.test") as stream:
        assert status(send(stream, b"GET", b"origin.test")) == 200
    (record,) = gate.records()
    assert (record["agent"], record["identities"]) == ("other-bot", "listener:own-socks")


def test_credentials_count_anew_for_each_request(gate: LiveGate, origin: Origin) -> None:
    """What was right when the tunnel was opened may have ended since."""
    raw, _ = ask(gate, by_name(b"origin.test"))
    with secured(gate, raw, "origin.test") as stream:
        stream.sendall(b"GET /status/204 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert status(read_head(stream)) == 204
        deploy, other = AGENTS["agents"]
        gate.write("agents.yaml", {**AGENTS, "agents": [{**deploy, "state": "suspended"}, other]})
        gate.call(gate.service.reload())
        answer = send(stream, b"GET", b"origin.test")
    assert status(answer) == 403
    assert b"agent:deploy-bot -- suspended" in answer
    assert len(origin.seen) == 1


# --- what is no CONNECT --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (2, "BIND is not forwarded; only CONNECT is"),
        (3, "UDP ASSOCIATE is not forwarded; only CONNECT is"),
        (0xF0, "command 240 is not forwarded; only CONNECT is"),
    ],
)
@pytest.mark.parametrize("place", [by_name(b"origin.test"), by_address("0.0.0.0", 0)], ids=["name", "address"])
def test_only_connect_is_forwarded(gate: LiveGate, origin: Origin, command: int, why: str, place: bytes) -> None:
    """No datagrams and nothing that comes from outside: neither could be read."""
    raw, reply = ask(gate, place, command=command)
    with raw:
        assert (reply, raw.recv(1)) == (7, b"")
    (record,) = gate.records()
    assert (record["outcome"], record["code"], record["agent"]) == ("DENY", "wire.socks", "deploy-bot")
    assert why in record["reason"]
    assert origin.connections == 0


BROKEN = {
    "SOCKS 4": (b"\x04\x01\x01\xbb\xc0\x00\x02\x07x\x00", b"", "SOCKS 4 is not spoken; use SOCKS 5"),
    "HTTP": (b"GET http://origin.test/echo HTTP/1.1\r\n\r\n", b"", "it does not begin with SOCKS 5"),
    "TLS": (b"\x16\x03\x01\x02\x00", b"", "it does not begin with SOCKS 5"),
    "GSSAPI alone": (b"\x05\x01\x01", b"\x05\xff", "neither a user and password nor to come without"),
    "no method": (b"\x05\x00", b"\x05\xff", "neither a user and password nor to come without"),
    "another kind of user": (b"\x05\x01\x02\x05\x01x\x01y", b"\x05\x02\x01\x01", "not as RFC 1929 has them"),
    "a greeting in place of a request": (
        b"\x05\x01\x00\x04\x01\x00\x01",
        b"\x05\x00\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00",
        "what follows is no request",
    ),
    "a name in no known encoding": (
        b"\x05\x01\x00\x05\x01\x00\x03\x02\xc3\xbc\x01\xbb",
        b"\x05\x00\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00",
        'a name that is not ASCII; write it as "xn--..."',
    ),
    "an unknown kind of address": (
        b"\x05\x01\x00\x05\x01\x00\x05",
        b"\x05\x00\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00",
        "address type 5 is unknown",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_socks_is_refused_and_recorded(gate: LiveGate, origin: Origin, name: str) -> None:
    """Nothing is guessed of bytes that are something else."""
    sent, answered, why = BROKEN[name]
    with dial_listener(gate, "socks") as raw:
        raw.sendall(sent)
        assert read_all(raw) == answered
    (record,) = gate.records()
    assert (record["outcome"], record["code"], record["listener"]) == ("DENY", "wire.socks", "socks")
    assert why in record["reason"]
    assert origin.connections == 0


def test_something_else_than_http_in_the_tunnel_goes_nowhere(gate: LiveGate, origin: Origin) -> None:
    """A tunnel is no relay: what cannot be read is refused, as in a CONNECT."""
    raw, _ = ask(gate, by_name(b"origin.test"))
    with raw:
        raw.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        assert status(read_all(raw)) == 400
    (record,) = gate.records()
    assert (record["code"], record["host"], origin.connections) == ("wire.malformed", "origin.test", 0)


def test_an_agent_that_goes_away_leaves_nothing(gate: LiveGate, origin: Origin) -> None:
    """Half a greeting is no request: nothing is recorded and nothing stays open."""
    with dial_listener(gate, "socks") as raw:
        raw.sendall(b"\x05\x02\x00")
    raw, _ = ask(gate, by_name(b"origin.test"))
    with secured(gate, raw, "origin.test") as stream:
        assert status(send(stream, b"GET", b"origin.test")) == 200
    assert len(gate.records()) == 1
    assert not any(engine._handshakes for engine in gate.serving)


class Bytes:
    """A reader of bytes that are there, a few at a time."""

    def __init__(self, content: bytes) -> None:
        self.rest = content

    async def read(self, most: int, /) -> bytes:
        taken, self.rest = self.rest[: min(most, 3)], self.rest[min(most, 3) :]
        return taken


BEGUN = st.sampled_from([b"", b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00", b"\x05\x01\x02" + USER + b"\x05"])


@given(BEGUN, st.binary(max_size=300))
def test_any_bytes_are_a_request_or_none(begun: bytes, more: bytes) -> None:
    """Nothing else than a refusal or the end of the bytes comes of them."""
    with contextlib.suppress(NoSocks, ConnectionResetError):
        asked = asyncio.run(read_request(Bytes(begun + more), lambda _: None))
        assert re.fullmatch(r"[^:]*:\d{1,5}|\[.*:.*\]:\d{1,5}", asked.authority, re.DOTALL)


@given(st.text("abcdefghijklmnopqrstuvwxyz.-", max_size=255), st.integers(0, 65_535), st.binary(max_size=50))
def test_what_follows_a_request_is_not_touched(host: str, port: int, after: bytes) -> None:
    """The request is what was asked, and the bytes behind it are for the target."""
    reader = Bytes(b"\x05\x01\x00\x05\x01\x00" + by_name(host.encode(), port) + after)
    sent: list[bytes] = []
    asked = asyncio.run(read_request(reader, sent.append))
    assert (asked.authority, asked.presented, reader.rest, sent) == (f"{host}:{port}", (), after, [b"\x05\x00"])
