"""Tunnels that pass unread: only where the operator and the policies say so, only for the host, and on record."""

import copy
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import chron
from support.clients import client_of
from support.gate import AGENTS, OTHER_TOKEN, SKILLS, TOKEN, LiveGate, running
from support.hellos import RETRY, hello, named, real_hello, record, server_name
from support.plainserver import serving
from support.raw import authorization, connect, dial, read_all, read_head, status
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.until import until
from support.waiting import waiting_gate
from support.ways import dial_listener

PINNED = "pinned.test"
TUNNELS: dict[str, Any] = {
    **ORIGIN_MAPPINGS,
    "tunnels": [
        {"id": "pinned", "host": PINNED},
        {"id": "database", "host": "db.test", "ports": [5432], "carries": "anything", "facts": {"env": "staging"}},
        {"id": "nowhere", "host": "nowhere.test", "carries": "anything"},
    ],
}
OPENING: dict[str, dict[str, Any]] = {
    **SKILLS,
    "deploy-v2": {**SKILLS["deploy-v2"], "allow": [*SKILLS["deploy-v2"]["allow"], "tunnel:open"]},
}
BANNER = b"220 ready\r\n"


@pytest.fixture
def pinned(target_ca: Any) -> Iterator[Origin]:
    """A server whose clients believe its own certificate and no other."""
    with Origin(target_ca, PINNED) as running_target:
        yield running_target


class Echo:
    """Greets, then says back what it hears, until it hears no more."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0
        self.first = threading.Event()

    def speak(self, connection: socket.socket) -> None:
        self.connections += 1
        connection.sendall(BANNER)
        while chunk := connection.recv(65536):
            self.heard += chunk
            self.first.set()
            connection.sendall(chunk)


@pytest.fixture
def database() -> Iterator[tuple[Echo, str]]:
    """A server that is no TLS and speaks first."""
    echo = Echo()
    with serving(echo.speak) as address:
        yield echo, address


def gate_of(
    folder: Path,
    *targets: Origin,
    hosts: dict[str, str],
    proxy: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **more: Any,
) -> LiveGate:
    """A gate with tunnels, some of them to these addresses; not running yet."""
    settings: dict[str, Any] = {
        "proxy": {"allowed_ports": [443, 80, 5432, 8443], **(proxy or {})},
        "resolve": {host: {"address": address} for host, address in hosts.items()},
        "listeners": {"socks": {"mode": "socks5", "listen": "127.0.0.1:0"}},
        **(config or {}),
    }
    options: dict[str, Any] = {"mappings": TUNNELS, "skills": OPENING, "config": settings, **more}
    return LiveGate(folder / "gate", *targets, **options)


@pytest.fixture
def gate(
    tmp_path: Path, pinned: Origin, origin: Origin, database: tuple[Echo, str], target_ca_pem: Path
) -> Iterator[LiveGate]:
    hosts = {"db.test": database[1], "nowhere.test": "127.0.0.1:1"}
    with running(gate_of(tmp_path, pinned, origin, hosts=hosts, target_ca=target_ca_pem)) as live:
        yield live


def secured(raw: socket.socket, ca: Path, name: str = PINNED) -> ssl.SSLSocket:
    """TLS on it that trusts this CA alone: the target's own, as a client with a pinned certificate does."""
    return ssl.create_default_context(cafile=str(ca)).wrap_socket(raw, server_hostname=name)


def ask(raw: socket.socket, authority: str, head: bytes | None = None) -> bytes:
    """Send a CONNECT; the head of its answer."""
    raw.sendall(b"CONNECT %s HTTP/1.1\r\n%s\r\n" % (authority.encode(), authorization() if head is None else head))
    return read_head(raw)


# --- what passes -----------------------------------------------------------------------------------------


def test_a_pinned_client_reaches_its_target_and_the_record_says_how(
    gate: LiveGate, pinned: Origin, target_ca_pem: Path
) -> None:
    """The target's own certificate comes through; where it went, by whom unread, and how much it was is on record."""
    with client_of(gate, trusted=target_ca_pem) as client:
        assert client.get(f"https://{PINNED}/echo").status_code == 200
        assert client.post(f"https://{PINNED}/echo", content=b"x" * 1000).status_code == 200
    assert len(pinned.seen) == 2
    (decision,) = gate.records()
    assert (decision["outcome"], decision["action"], decision["target"]) == ("ALLOW", "tunnel:open", f"{PINNED}:443")
    assert (decision["method"], decision["scheme"], decision["host"]) == ("CONNECT", "tcp", PINNED)
    assert (decision["opaque"], decision["mapping_rule"], decision["port"]) == (True, "pinned", 443)
    assert decision["address"] == pinned.address.replace(":", " ")
    outcome = gate.outcome_of(decision)
    assert (outcome["result"], outcome["status"]) == ("sent", 200)
    assert outcome["request_bytes"] > 1000
    assert outcome["response_bytes"] > 1000
    assert outcome["duration_us"] > 0


def test_the_decision_is_durable_before_the_target_hears_anything(gate: LiveGate, database: tuple[Echo, str]) -> None:
    """While the tunnel is open its decision can be read, and has no outcome yet."""
    echo, _ = database
    with connect(gate, "db.test:5432") as raw:
        assert raw.recv(100) == BANNER
        (decision,) = [dict(each.fields) for each in chron.find(gate.config.chron, kind="decision")]
        assert (decision["action"], decision["environment"]) == ("tunnel:open", "staging")
        assert list(chron.find(gate.config.chron, kind="outcome")) == []
        raw.sendall(b"one")
        assert raw.recv(100) == b"one"
        raw.shutdown(socket.SHUT_WR)
        assert read_all(raw) == b""
    outcome = gate.outcome_of(decision)
    assert (outcome["result"], outcome["request_bytes"]) == ("sent", 3)
    assert outcome["response_bytes"] == len(BANNER) + 3
    assert echo.heard == b"one"


@pytest.mark.engines
def test_an_agent_that_breaks_off_ends_its_tunnel(gate: LiveGate) -> None:
    """Also a target that would wait for ever hears of it: a reset is no end of one half."""
    with connect(gate, "db.test:5432") as raw:
        assert raw.recv(100) == BANNER
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
    (allowed,) = gate.records()
    assert gate.outcome_of(allowed)["result"] in ("sent", "failed")


def test_what_comes_with_the_connect_is_not_lost(gate: LiveGate, database: tuple[Echo, str]) -> None:
    """An agent that does not wait for its answer is understood all the same."""
    with dial(gate) as raw:
        raw.sendall(b"CONNECT db.test:5432 HTTP/1.1\r\n" + authorization() + b"\r\nhello")
        assert status(read_head(raw)) == 200
        received = b""
        while len(received) < len(BANNER) + 5:
            received += raw.recv(100)
        assert received == BANNER + b"hello"


def test_socks_opens_one_too(gate: LiveGate, pinned: Origin, target_ca_pem: Path) -> None:
    """The same decision by another language; the agent is known from its user and password."""
    user = b"\x01\x0adeploy-bot" + bytes((len(TOKEN),)) + TOKEN.encode()
    with dial_listener(gate, "socks") as raw:
        raw.sendall(
            b"\x05\x01\x02" + user + b"\x05\x01\x00\x03" + bytes((len(PINNED),)) + PINNED.encode() + b"\x01\xbb"
        )
        assert raw.recv(2) == b"\x05\x02"
        assert raw.recv(2) == b"\x01\x00"
        assert raw.recv(10)[:2] == b"\x05\x00"
        with secured(raw, target_ca_pem) as stream:
            stream.sendall(b"GET /echo HTTP/1.1\r\nHost: pinned.test\r\nConnection: close\r\n\r\n")
            assert status(read_all(stream)) == 200
    (decision,) = gate.records()
    assert (decision["outcome"], decision["action"], decision["listener"]) == ("ALLOW", "tunnel:open", "socks")
    assert gate.outcome_of(decision)["result"] == "sent"
    assert len(pinned.seen) == 1


def test_a_second_hello_passes_when_the_target_wants_one(tmp_path: Path, target_ca: Any, target_ca_pem: Path) -> None:
    """A real TLS 1.3 server with another group than the client's: it asks again, and the handshake ends well."""
    certificate = target_ca.issue_cert(PINNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve("secp521r1")
    certificate.configure_cert(context)

    def speak(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as stream:
            stream.sendall(stream.recv(100).upper())

    with serving(speak) as address:
        live = gate_of(tmp_path, hosts={PINNED: address})
        with (
            running(live),
            connect(live, f"{PINNED}:443") as raw,
            secured(raw, target_ca_pem) as stream,
        ):
            stream.sendall(b"again")
            assert stream.recv(100) == b"AGAIN"


# --- what does not ---------------------------------------------------------------------------------------


def test_without_an_entry_a_connect_is_intercepted(gate: LiveGate, origin: Origin) -> None:
    """`tunnel:open` alone opens nothing: a host that is not written down is read as ever."""
    with connect(gate, "origin.test:443") as raw:
        raw.sendall(b"SSH-2.0-x\r\n\r\n")
        assert status(read_all(raw)) == 400
    (denied,) = gate.records()
    assert (denied["outcome"], denied["code"]) == ("DENY", "wire.malformed")
    assert origin.connections == 0


def test_another_port_is_intercepted(gate: LiveGate, pinned: Origin) -> None:
    """An entry is for its ports: on another one the agent gets the gate's certificate, and what it asks is read."""
    with connect(gate, f"{PINNED}:8443") as raw, secured(raw, gate.ca) as stream:
        stream.sendall(b"GET /echo HTTP/1.1\r\nHost: pinned.test:8443\r\nConnection: close\r\n\r\n")
        assert status(read_all(stream)) == 403
    (denied,) = gate.records()
    assert (denied["outcome"], denied["code"]) == ("DENY", "mapping.unmapped")
    assert pinned.connections == 0


def test_a_port_that_no_request_may_name_opens_nothing(gate: LiveGate) -> None:
    """`proxy.allowed_ports` comes first."""
    with dial(gate) as raw:
        assert status(ask(raw, "db.test:22")) == 403
    (denied,) = gate.records()
    assert denied["code"] == "destination.port"


def test_a_plain_request_to_its_host_is_no_tunnel(gate: LiveGate, pinned: Origin) -> None:
    """Nor is any other request: an entry names no operation but one."""
    with dial(gate) as raw:
        raw.sendall(b"GET http://pinned.test/ HTTP/1.1\r\nHost: pinned.test\r\n" + authorization() + b"\r\n")
        assert status(read_head(raw)) == 403
    (denied,) = gate.records()
    assert denied["code"] == "mapping.unmapped"
    assert pinned.connections == 0


def test_an_agent_without_the_action_is_told_why(gate: LiveGate, pinned: Origin) -> None:
    """At the CONNECT, in words: nothing is dialled, and it is not intercepted instead."""
    with dial(gate) as raw:
        raw.sendall(b"CONNECT pinned.test:443 HTTP/1.1\r\n" + authorization("other-bot", OTHER_TOKEN) + b"\r\n")
        head = read_head(raw)
        assert status(head) == 403
    (denied,) = gate.records()
    assert (denied["outcome"], denied["action"], denied["agent"]) == ("DENY", "tunnel:open", "other-bot")
    assert denied["reason"] == "skill:reader-v1 -- action not in allow list"
    assert denied["opaque"] is True
    assert gate.outcome_of(denied)["result"] == "blocked"
    assert pinned.connections == 0


@pytest.mark.parametrize(
    "head",
    [b"", b"Proxy-Authorization: Basic ZGVwbG95LWJvdDp3cm9uZw==\r\n"],
    ids=["none", "a wrong token"],
)
def test_without_credentials_there_is_none(gate: LiveGate, pinned: Origin, head: bytes) -> None:
    """The agent is who the CONNECT itself says."""
    with dial(gate) as raw:
        assert status(ask(raw, f"{PINNED}:443", head=head)) == 407
    assert [each["outcome"] for each in gate.records()] == ["DENY"]
    assert pinned.connections == 0


INSIDE = {
    "another name": (real_hello("evil.test"), 'its TLS hello names "evil.test"'),
    "no name": (real_hello(None), "its TLS hello names no host"),
    "an encrypted hello": (
        record(hello((0, server_name(PINNED.encode())), (0xFE0D, bytes(64)))),
        "its TLS hello is encrypted (ECH), so the name that counts cannot be seen",
    ),
    "plain HTTP": (b"DELETE /thing HTTP/1.1\r\nHost: pinned.test\r\n\r\n", "it does not begin with a TLS hello"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not begin with a TLS hello"),
}


@pytest.mark.parametrize(("sent", "why"), INSIDE.values(), ids=INSIDE)
def test_what_is_not_for_the_host_does_not_pass(gate: LiveGate, pinned: Origin, sent: bytes, why: str) -> None:
    """The target hears not one byte; a refusal is on record, and what was let through ended as blocked."""
    heard: list[bytes] = []
    with connect(gate, f"{PINNED}:443") as raw:
        raw.sendall(sent)
        heard.append(read_all(raw))
    allowed, denied = gate.records()
    assert (allowed["outcome"], allowed["action"]) == ("ALLOW", "tunnel:open")
    assert (denied["outcome"], denied["code"], denied["agent"]) == ("DENY", "wire.tunnel", "deploy-bot")
    assert denied["reason"] == f"wire -- the tunnel is for {PINNED}:443 and nothing else: {why}"
    assert (denied["host"], denied["port"]) == (PINNED, 443)
    outcome = gate.outcome_of(allowed)
    assert (outcome["result"], outcome["error"]) == ("blocked", denied["reason"])
    assert outcome.get("request_bytes") == 0
    assert pinned.seen == []
    if sent[0] == 22:
        assert heard == [bytes.fromhex("15030300020270")]  # unrecognized_name
    else:
        assert status(heard[0]) == 400
        assert b"the tunnel is for" in heard[0]


def test_a_second_hello_for_somebody_else_does_not_pass(tmp_path: Path) -> None:
    """A target that asks again hears of no other name."""
    heard: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(RETRY)
        heard.append(connection.recv(65536))

    with serving(speak) as address:
        live = gate_of(tmp_path, hosts={PINNED: address})
        with running(live):
            with connect(live, f"{PINNED}:443") as raw:
                raw.sendall(named(PINNED))
                assert raw.recv(len(RETRY)) == RETRY
                raw.sendall(named("evil.test"))
                assert read_all(raw) == bytes.fromhex("15030300020270")
            assert [each["outcome"] for each in live.records()] == ["ALLOW", "DENY"]
    assert heard == [named(PINNED), b""]


def test_a_target_that_cannot_be_reached_is_an_answer(gate: LiveGate) -> None:
    """The agent reads why, and the connection can be used for the next CONNECT."""
    with dial(gate) as raw:
        head = ask(raw, "nowhere.test:443")
        assert status(head) == 502
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = b""
        while len(body) < length:
            body += raw.recv(length - len(body))
        assert b"upstream.failed" in body
        assert status(ask(raw, "db.test:5432")) == 200
    failed, allowed = gate.records()
    assert (failed["outcome"], gate.outcome_of(failed)["result"]) == ("ALLOW", "failed")
    assert gate.outcome_of(allowed)["result"] in ("sent", "failed")


def test_a_private_address_stays_out_of_reach(tmp_path: Path) -> None:
    """An entry opens no destination: addresses that are not public need the operator's word as ever."""
    tunnels = {"version": 1, "tunnels": [{"id": "meta", "host": "169.254.169.254", "carries": "anything"}]}
    with running(LiveGate(tmp_path / "gate", mappings=tunnels, skills=OPENING)) as live:
        with dial(live) as raw:
            assert status(ask(raw, "169.254.169.254:443")) == 403
        (denied,) = live.records()
        assert (denied["action"], denied["code"]) == ("tunnel:open", "destination.metadata")


def test_the_gate_itself_stays_out_of_reach(tmp_path: Path) -> None:
    """Also where the operator's own entries lead there."""
    tunnels = {"version": 1, "tunnels": [{"id": "self", "host": "self.test", "carries": "anything"}]}
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    live = gate_of(tmp_path, hosts={"self.test": address}, mappings=tunnels, config={"api": {"listen": address}})
    with running(live):
        with dial(live) as raw:
            assert status(ask(raw, "self.test:443")) == 403
        (denied,) = live.records()
        assert denied["code"] == "destination.own-listener"


# --- while it is open ------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[str, Any, str]] = {
    "the agent is suspended": (
        "agents.yaml",
        {**AGENTS, "agents": [{**AGENTS["agents"][0], "state": "suspended"}, AGENTS["agents"][1]]},
        "agent:deploy-bot -- suspended",
    ),
    "the skill no longer allows it": (
        "policies/deploy-v2.yaml",
        {**SKILLS["deploy-v2"], "version": 2},
        "skill:deploy-v2 -- action not in allow list",
    ),
    "the entry is gone": (
        "mappings/site.yaml",
        {**TUNNELS, "tunnels": TUNNELS["tunnels"][:1]},
        "mapping -- this tunnel is written down no more",
    ),
}


@pytest.mark.parametrize(("file", "text", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_would_not_be_opened_any_more_is_cut(
    gate: LiveGate, database: tuple[Echo, str], file: str, text: Any, reason: str
) -> None:
    """At the reload, in both directions, with the reason in its outcome; a tunnel has no next request to refuse."""
    with connect(gate, "db.test:5432") as raw:
        assert raw.recv(100) == BANNER
        gate.write(file, text)
        gate.call(gate.service.reload())
        assert read_all(raw) == b""
    (allowed,) = gate.records(action="tunnel:open")
    outcome = gate.outcome_of(allowed)
    assert (outcome["result"], outcome["error"]) == ("failed", reason)
    (told,) = gate.records("agent", event="cut")
    assert (told["reason"], told["exchanges"]) == (reason, 1)


def test_a_reload_that_changes_nothing_about_it_cuts_nothing(gate: LiveGate) -> None:
    """What is still allowed goes on, a limit that it has used up itself included."""
    limited = {**OPENING["deploy-v2"], "version": 2, "limits": [{"action": "tunnel:open", "most": 1, "per": "1h"}]}
    gate.write("policies/deploy-v2.yaml", limited)
    gate.call(gate.service.reload())
    with connect(gate, "db.test:5432") as raw:
        assert raw.recv(100) == BANNER
        gate.call(gate.service.reload())
        raw.sendall(b"still here")
        assert raw.recv(100) == b"still here"
        with dial(gate) as another:
            assert status(ask(another, "db.test:5432")) == 403
    assert gate.records("agent", event="cut") == []


def test_a_long_tunnel_is_told_of_while_it_lasts(
    tmp_path: Path, database: tuple[Echo, str], target_ca_pem: Path
) -> None:
    """Segments say how far it is, as of any stream."""
    config = {"proxy": {"allowed_ports": [443, 5432]}, "resolve": {"db.test": {"address": database[1]}}}
    with waiting_gate(
        tmp_path / "gate", mappings=TUNNELS, skills=OPENING, config=config, target_ca=target_ca_pem
    ) as live:
        with connect(live, "db.test:5432") as raw:
            assert raw.recv(100) == BANNER
            live.clock.wait_timers(300, 1)
            live.pass_(300)
            raw.sendall(b"bye")
            assert raw.recv(100) == b"bye"
        (decision,) = live.records()
        (segment,) = live.records("segment", ref=decision["id"])
        assert (segment["request_bytes"], segment["response_bytes"]) == (0, len(BANNER))
        until(lambda: live.records("outcome", ref=decision["id"]))


def test_one_that_needs_approval_is_never_answered_as_open(tmp_path: Path, database: tuple[Echo, str]) -> None:
    """What waits for a person is 202 elsewhere; of a CONNECT every 2xx says that the tunnel is there."""
    skills = copy.deepcopy(OPENING)
    skills["deploy-v2"]["allow"].remove("tunnel:open")
    skills["deploy-v2"]["approve"] = ["tunnel:open"]
    live = gate_of(tmp_path, hosts={"db.test": database[1]}, skills=skills, config={"approvals": {"wait_s": 0}})
    with running(live):
        with dial(live) as raw:
            raw.sendall(
                b"CONNECT db.test:5432 HTTP/1.1\r\nContent-Type: application/grpc\r\nUser-Agent: git/2\r\n"
                + authorization() + b"\r\n"
            )  # fmt: skip
            head = read_head(raw)
            assert status(head) == 403
            assert b"X-Claiim-Approval" in head
        assert [each["outcome"] for each in live.records()] == ["HOLD"]
    assert database[0].connections == 0


def test_a_gate_that_stops_ends_it_and_says_so(tmp_path: Path, database: tuple[Echo, str]) -> None:
    """After the drain time it is closed, and its outcome is written."""
    live = gate_of(tmp_path, hosts={"db.test": database[1]}, proxy={"drain_timeout_s": 0})
    with running(live):
        raw = connect(live, "db.test:5432")
        assert raw.recv(100) == BANNER
    with raw:
        assert read_all(raw) == b""
    (decision,) = live.records()
    assert live.outcome_of(decision)["result"] == "failed"


def test_an_unmodified_client_shows_the_reason(gate: LiveGate) -> None:
    """What a client says of a refused CONNECT."""
    refused = pytest.raises(httpx.ProxyError, match="403")
    with client_of(gate, proxy=gate.proxy("other-bot", OTHER_TOKEN)) as client, refused:
        client.get(f"https://{PINNED}/")
