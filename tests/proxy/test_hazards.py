"""Hazards of the engine, M1 to M14: each closed, each held over real sockets."""

import asyncio
import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from mitmproxy.proxy.events import DataReceived

import proxy.concluding
import proxy.destinations
import proxy.fast.asking
import proxy.fast.exchanging
import proxy.fast.targets
import proxy.mitm.connection
import proxy.mitm.flows
import proxy.mitm.layers
import proxy.pipeline
import proxy.recording
import proxy.wire.engine
import proxy.wire.requests
from support.clients import client_of
from support.gate import AGENTS, SKILLS, LiveGate, running
from support.raw import authorization, connect, dial, read_all, read_head, status, tunnel
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.targets.base import Target
from support.until import until

pytestmark = pytest.mark.engines

# --- M1: an exception in a hook lets the request through -----------------------------------------------

OF_ENGINE: dict[str, dict[str, tuple[Any, str]]] = {
    "mitmproxy": {
        "facts": (proxy.mitm.flows, "inbound"),
        "forward": (proxy.mitm.flows, "forward"),
        "dial": (proxy.mitm.connection.AgentConnection, "_on_server_connect"),
        "verify": (proxy.mitm.connection, "target_side"),
        "respond": (proxy.mitm.flows, "respond"),
        "last resort": (proxy.mitm.connection, "internal_error"),
        "crash": (proxy.mitm.layers.GateStream, "state_stream_response_body"),
    },
    "fast": {
        "facts": (proxy.fast.exchanging.Serving, "_inbound"),
        "forward": (proxy.fast.asking, "request"),
        "dial": (proxy.fast.targets, "dial"),
        "verify": (proxy.fast.targets, "target_side"),
        "respond": (proxy.fast.exchanging.Serving, "_respond"),
        "last resort": (proxy.fast.exchanging, "internal_error"),
        "crash": (proxy.fast.http1.Http1Asked, "read"),
    },
}
"""Where each engine does what both do."""


def of_engine(gate: LiveGate, what: str) -> tuple[Any, str]:
    """Where the gate's engine does something."""
    return OF_ENGINE[gate.engine_name][what]


STAGES: dict[str, Callable[[LiveGate], tuple[Any, str]]] = {
    "who: reading credentials": lambda gate: (proxy.pipeline, "read_credential"),
    "who: identify": lambda gate: (type(gate.service.gate.book.policies), "identify"),
    "facts: from the engine": lambda gate: of_engine(gate, "facts"),
    "facts: canonical form": lambda gate: (proxy.pipeline, "read_facts"),
    "resolve: is a body needed": lambda gate: (type(gate.service.gate.book.mappings), "needs_body"),
    "resolve": lambda gate: (type(gate.service.gate.book.mappings), "resolve"),
    "decide": lambda gate: (type(gate.service.gate.book.policies), "decide"),
    "destination": lambda gate: (type(gate.service.gate.destinations), "route"),
    "record: fields": lambda gate: (proxy.recording, "wire_fields"),
    "record: append": lambda gate: (type(gate.service._chron), "append_many"),
    "judge": lambda gate: (type(gate.service.gate), "judge"),
    "verdict": lambda gate: (proxy.pipeline, "verdict_of"),
    "forward": lambda gate: of_engine(gate, "forward"),
    "dial": lambda gate: of_engine(gate, "dial"),
    "verify the target": lambda gate: of_engine(gate, "verify"),
}


class Planted(Exception):
    """The bug."""


def _raising(error: BaseException) -> Callable[..., Any]:
    def bug(*_: Any, **__: Any) -> Any:
        raise error

    return bug


FAULTS: dict[str, Callable[..., Any]] = {
    "exception": _raising(Planted("planted")),
    "cancelled": _raising(asyncio.CancelledError()),
    "base exception": _raising(GeneratorExit()),
    "wrong type": lambda *_, **__: object(),
    "none": lambda *_, **__: None,
}


HARMLESS = {
    ("who: identify", "none"),  # None means there: the agent is in order, which it is
    ("resolve: is a body needed", "wrong type"),  # reads as yes, and the body is read
}
"""Where the fault is no fault: what comes back is a correct answer."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_bug_in_any_stage_is_a_refusal(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, stage: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stage does wrong, nothing reaches the target and the agent is not told 2xx."""
    gate = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with gate:
        where, name = STAGES[stage](gate)
        with monkeypatch.context() as planted, client_of(gate) as client:
            client.timeout = httpx.Timeout(5)
            planted.setattr(where, name, FAULTS[fault])
            try:
                answered = client.post("https://origin.test/runs", json={"destroy": False}).status_code
            except httpx.HTTPError:
                answered = 0
    # The hook of mitmproxy's layers has nothing to return.
    harmless = stage == "dial" and gate.engine_name == "mitmproxy" and fault in ("none", "wrong type")
    if (stage, fault) not in HARMLESS and not harmless:
        assert not 200 <= answered < 300
        assert origin.seen == []


def test_a_bug_between_verdict_and_target_leaves_no_decision_open(
    gate: LiveGate, client: httpx.Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was allowed and could not be put on its way has failed, and its record says so at once."""
    with monkeypatch.context() as planted:
        planted.setattr(*of_engine(gate, "forward"), _raising(Planted("planted")))
        assert client.get("https://origin.test/echo").json()["code"] == "gate.error"
    (record,) = gate.records()
    outcome = gate.outcome_of(record)
    assert (record["outcome"], outcome["result"]) == ("ALLOW", "failed")
    assert outcome["error"].startswith("the gate failed")
    assert origin.connections == 0


DENY_PATH: dict[str, Callable[[LiveGate], tuple[Any, str]]] = {
    "answer": lambda _: (proxy.concluding, "answer"),
    "last resort": lambda gate: of_engine(gate, "last resort"),
    "respond": lambda gate: of_engine(gate, "respond"),
    "refusal": lambda _: (proxy.concluding, "refusal_of"),
    "outcome": lambda _: (proxy.pipeline.Gate, "finish"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", DENY_PATH)
def test_a_bug_on_the_way_of_a_refusal_forwards_nothing(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, place: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denied request stays denied although its answer, or the answer to that failure, cannot be made."""
    gate = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    where, name = DENY_PATH[place](gate)
    with gate, monkeypatch.context() as planted, client_of(gate) as client:
        client.timeout = httpx.Timeout(5)
        planted.setattr(where, name, FAULTS[fault])
        try:
            answered = client.delete("https://origin.test/things/7").status_code
        except httpx.HTTPError:
            answered = 0
        planted.undo()
    assert not 200 <= answered < 300
    assert origin.connections == 0
    assert all(record["outcome"] == "DENY" for record in gate.records())


def test_a_connection_that_nobody_took_is_closed(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit of time knows of it, so an agent would wait for ever; the next one is served."""
    taking, broken = proxy.wire.engine.Engine._accepted, [True]

    def take(*arguments: Any) -> None:
        if broken.pop():
            raise Planted("planted")
        broken.append(False)
        taking(*arguments)

    monkeypatch.setattr(proxy.wire.engine.Engine, "_accepted", take)
    with LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS) as gate:
        with dial(gate) as raw:
            assert raw.recv(1) == b""
        broken.append(False)
        with client_of(gate) as client:
            assert client.get("https://origin.test/echo").status_code == 200


@pytest.mark.engines("mitmproxy")
def test_a_connect_that_could_not_even_be_refused_is_not_accepted(
    gate: LiveGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent is told nothing, and above all not that its tunnel is open."""
    for name in ("_on_http_connect", "_fail_closed"):
        monkeypatch.setattr(proxy.mitm.connection.AgentConnection, name, _raising(Planted("planted")))
    with dial(gate) as raw:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
        assert read_all(raw) == b""


@pytest.mark.engines("mitmproxy")
@pytest.mark.parametrize("fault", ["wrong type", "none"])
@pytest.mark.parametrize("name", ["is_told", "inside_tls"])
def test_a_tunnel_of_which_nothing_is_told_ends(
    gate: LiveGate, name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether enough has come to say what follows, or whether that came out of TLS: no agent is left waiting."""
    with connect(gate) if name == "is_told" else tunnel(gate) as raw:
        monkeypatch.setattr(proxy.mitm.layers, name, FAULTS[fault])
        raw.sendall(b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
        assert status(read_all(raw)) == (200 if (name, fault) == ("inside_tls", "none") else 0)


@pytest.mark.engines("mitmproxy")
def test_layers_that_do_not_even_begin_end_their_connection(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails before anything was read leaves nobody waiting either, and does so at once."""
    monkeypatch.setattr(proxy.mitm.layers, "GateHttp1Server", _raising(Planted("planted")))
    with LiveGate(tmp_path / "gate", origin, config={"limits": {"head_s": 600}}) as gate, dial(gate) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_all(raw) == b""
        until(lambda: not gate.service.engine._connections)


RUNS = {"host": "plain.test", "method": "POST", "path": "/runs"}
BODY_MAPPINGS = {
    "version": 1,
    "rules": [
        {"id": "run", "match": RUNS, "action": "deploy:staging"},
        {"id": "destroy-run", "match": {**RUNS, "json": {"destroy": True}}, "action": "infra:destroy"},
    ],
}


@pytest.mark.engines("mitmproxy")  # of the other: `test_a_body_of_which_a_piece_was_lost_is_none`
@pytest.mark.parametrize("fault", [Planted("planted"), asyncio.CancelledError("planted")], ids=["error", "cancelled"])
def test_layers_that_have_lost_a_piece_of_a_body_judge_nothing_more(
    tmp_path: Path, plain_origin: Origin, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind it, and was read already, makes no request of the rest."""
    head = b"POST http://plain.test/runs HTTP/1.1\r\nHost: plain.test\r\nContent-Type: application/json\r\n"
    head += authorization() + b"Transfer-Encoding: chunked\r\n\r\n"
    with LiveGate(tmp_path / "gate", plain_origin, mappings=BODY_MAPPINGS) as gate, dial(gate) as raw:
        (seat,) = until(lambda: [each for each in gate.service.engine.crowd._seats if each.served])
        monkeypatch.setattr(proxy.wire.requests.Requests, "hold", _raising(fault))

        async def read() -> None:
            for piece in (head + b'11\r\n{"destroy": true}\r\n', b"0\r\n\r\n"):
                with contextlib.suppress(asyncio.CancelledError):
                    await seat.served.server_event(DataReceived(seat.served.client, piece))

        gate.call(read())
        assert read_all(raw) == b""
        assert gate.records() == []
    assert plain_origin.seen == []


@pytest.mark.engines("mitmproxy")  # the other has no hooks; a verdict that says nothing is the stage "judge" above
def test_a_stream_without_a_permit_reaches_nobody(
    gate: LiveGate, client: httpx.Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lock: even if every hook were skipped, the stream itself opens no connection."""
    hook = proxy.mitm.connection.AgentConnection
    monkeypatch.setattr(hook, "_on_requestheaders", lambda *_: None)
    monkeypatch.setattr(hook, "_on_request", lambda *_: None)
    response = client.get("https://origin.test/echo")
    assert response.status_code == 503
    assert response.json()["code"] == "gate.error"
    assert origin.connections == 0


# --- M2, M6: several names for the destination ---------------------------------------------------------

DISAGREEMENTS = {
    "M2 Host differs from CONNECT": (b"GET /echo HTTP/1.1\r\nHost: other.test\r\n\r\n", "origin.test"),
    "M2 Host port differs": (b"GET /echo HTTP/1.1\r\nHost: origin.test:8443\r\n\r\n", "origin.test"),
    "M2 two Hosts": (b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nHost: origin.test\r\n\r\n", "origin.test"),
    "M2 absolute URI for another host": (
        b"GET https://other.test/echo HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "origin.test",
    ),
    "M6 SNI differs from CONNECT": (b"GET /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n", "other.test"),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_names_that_disagree_are_refused(gate: LiveGate, origin: Origin, name: str) -> None:
    """CONNECT, SNI, Host and URI name one destination or the request goes nowhere."""
    request, sni = DISAGREEMENTS[name]
    with tunnel(gate, sni=sni) as secure:
        secure.sendall(request)
        assert status(read_head(secure)) == 400
    assert origin.connections == 0
    (record,) = gate.records()
    assert record["outcome"] == "DENY"
    assert record["code"] in ("wire.authority-mismatch", "wire.host-repeated")


@pytest.mark.parametrize(
    "extra",
    [[(":authority", "other.test")], [(":authority", "origin.test"), ("host", "other.test")]],
    ids=["authority", "host beside authority"],
)
def test_http2_names_that_disagree_are_refused(gate: LiveGate, origin: Origin, extra: list[tuple[str, str]]) -> None:
    """Over HTTP/2 too, one connection leads to one destination."""
    with tunnel(gate, alpn="h2") as secure:
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
        agent = h2.connection.H2Connection(config)
        agent.initiate_connection()
        pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/echo")]
        agent.send_headers(1, [*pseudo, *extra], end_stream=True)
        secure.sendall(agent.data_to_send())
        answered: list[h2.events.Event] = []
        while not any(
            isinstance(event, h2.events.ResponseReceived | h2.events.ConnectionTerminated) for event in answered
        ):
            answered += agent.receive_data(secure.recv(65536))
        for event in answered:
            if isinstance(event, h2.events.ResponseReceived):
                assert dict(event.headers)[b":status"] == b"400"
    assert origin.connections == 0


SHORT = {
    "nothing": [("head", True)],
    "data, then trailers": [("head", False), (b"abc", False), ("trailers", True)],
    "trailers": [("head", False), ("trailers", True)],
    "data": [("head", False), (b"abc", True)],
}


@pytest.mark.parametrize("name", SHORT)
def test_a_body_shorter_than_it_says_is_no_request(gate: LiveGate, origin: Origin, name: str) -> None:
    """RFC 9113, 8.1.1: a target of HTTP/1 would take what comes next for the rest of it, and nobody judges that."""
    with tunnel(gate, alpn="h2") as secure:
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
        agent = h2.connection.H2Connection(config)
        agent.initiate_connection()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/upload")]
        for what, end in SHORT[name]:
            if what == "head":
                agent.send_headers(1, [*pseudo, ("content-length", "40")], end_stream=end)
            elif what == "trailers":
                agent.send_headers(1, [("x", "y")], end_stream=end)
            else:
                agent.send_data(1, what, end_stream=end)
        secure.sendall(agent.data_to_send())
        ended: Any = ()
        while not ended and (received := secure.recv(65536)):
            ended = [
                event
                for event in agent.receive_data(received)
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated)
            ]
    gate.settle()
    assert [seen for seen in origin.seen if seen.complete] == []
    assert all(record["result"] != "sent" for record in gate.records("outcome"))


def test_a_hello_without_sni_is_for_the_tunnels_host(gate: LiveGate, origin: Origin) -> None:
    """No SNI: the CONNECT authority is the destination, and the target is verified under its name."""
    with tunnel(gate, sni=None) as secure:
        secure.sendall(b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
        assert status(read_all(secure)) == 200
    assert len(origin.seen) == 1


# --- M3, M4: raw relays --------------------------------------------------------------------------------

NOT_HTTP = {
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "binary": bytes(range(1, 200)),
    "a second TLS hello": None,
    "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f" * 4 + b"\r\n\r\n",
    "HTTP/2 preface in plain text": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
@pytest.mark.parametrize("inside_tls", [False, True], ids=["plain", "tls"])
def test_bytes_that_are_no_http_are_not_relayed(gate: LiveGate, origin: Origin, name: str, inside_tls: bool) -> None:
    """A tunnel is no raw relay: what is not HTTP ends the connection."""
    payload = NOT_HTTP[name]
    raw: socket.socket = tunnel(gate) if inside_tls else connect(gate)
    with raw:
        if payload is None:
            if not inside_tls:
                payload = b"\x16\x03\x01\x00\x05hello"
            else:
                payload = b"\x16\x03\x01\x02\x00" + bytes(40) + b"\r\n\r\n"
        raw.sendall(payload)
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_WR) if not inside_tls else None
        if not payload.endswith(b"\r\n\r\n"):
            raw.sendall(b"\r\n\r\n") if inside_tls else None
        assert not read_all(raw).startswith(b"HTTP/1.1 2")
    assert origin.connections == 0


class Upgrader(Target):
    """Answers every request with a 101 nobody asked for and then speaks its own protocol."""

    NAMES = ("origin.test",)
    ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own/1\r\n\r\nraw!"
    relayed = b""

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.ANSWER)
            await writer.drain()
            self.relayed = await reader.read(64)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self._ssl)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await stopped.wait()


def test_an_unsolicited_upgrade_is_not_relayed(tmp_path: Path, target_ca: Any, target_ca_pem: Path) -> None:
    """A 101 that the decision did not cover is an upstream failure; nothing passes after it."""
    with Upgrader(target_ca) as target:
        gate = LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
        with running(gate), tunnel(gate) as secure:
            secure.sendall(b"GET /x HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            answer = read_head(secure)
            assert status(answer) == 502
            with contextlib.suppress(OSError):
                secure.sendall(b"rm -rf /\r\n\r\n")
            assert b"raw!" not in read_all(secure)
        (record,) = gate.records(outcome="ALLOW")
        assert gate.outcome_of(record)["result"] == "failed"


EXEC = "/api/v1/namespaces/default/pods/web-1/exec?command=id&stdout=true"


@pytest.mark.parametrize("asked", ["websocket", "SPDY/3.1"])
def test_another_protocol_than_was_decided_on_is_not_relayed(
    tmp_path: Path, target_ca: Any, target_ca_pem: Path, asked: str
) -> None:
    """Where an upgrade is allowed, a 101 to something else is an upstream failure all the same."""
    mappings = {"version": 1, "bind": [{"host": "origin.test", "pack": "kubernetes"}]}
    skills = {**SKILLS, "deploy-v2": {"skill": "deploy-v2", "allow": ["code:execute"]}}
    with Upgrader(target_ca) as target:
        gate = LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=mappings, skills=skills)
        with running(gate), tunnel(gate) as secure:
            head = f"POST {EXEC} HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: {asked}\r\n"
            secure.sendall(f"{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
            assert status(read_head(secure)) == 502
            with contextlib.suppress(OSError):
                secure.sendall(b"rm -rf /\r\n\r\n")
            assert b"raw!" not in read_all(secure)
        (record,) = gate.records(outcome="ALLOW")
        assert record["action"] == "code:execute"
        assert gate.outcome_of(record)["result"] == "failed"
    assert target.relayed == b""


class WebSocketOfAnyVersion(Upgrader):
    """Takes every upgrade to a WebSocket, whatever its version."""

    ANSWER = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x04raw!"
    )


@pytest.mark.parametrize("version", ["13", "8", "7", "0", "14", "13, 8", ""])
def test_a_websocket_of_another_version_is_not_relayed(
    tmp_path: Path, target_ca: Any, target_ca_pem: Path, version: str
) -> None:
    """RFC 6455, 4.1: 13 alone is what was decided on; another may frame as it likes, also where a target takes it."""
    with WebSocketOfAnyVersion(target_ca) as target:
        gate = LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
        with running(gate), tunnel(gate) as secure:
            said = f"Sec-WebSocket-Version: {version}\r\n" if version else ""
            head = "GET /x HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            secure.sendall(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{said}\r\n".encode())
            answered = status(read_head(secure))
            with contextlib.suppress(OSError):
                secure.sendall(b"\x81\x86\0\0\0\0hi\r\n\r\n")  # as no WebSocket, a request that is none
            if version == "13":
                assert answered == 101
                until(lambda: target.relayed)
            else:
                assert answered == 502
                assert b"raw!" not in read_all(secure)
        (record,) = gate.records(outcome="ALLOW")
        assert gate.outcome_of(record)["result"] == ("sent" if version == "13" else "failed")
    assert bool(target.relayed) == (version == "13")


@pytest.mark.parametrize("protocol", ["SPDY/3.1", "own/1", "TLS/1.0"])
def test_an_upgrade_no_rule_can_decide_is_refused(gate: LiveGate, origin: Origin, protocol: str) -> None:
    """What comes after an unknown upgrade could not be read, so it is refused at the request."""
    with tunnel(gate) as secure:
        head = f"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        secure.sendall(head.encode())
        assert status(read_head(secure)) == 400
    assert gate.records()[0]["code"] == "wire.upgrade"
    assert origin.seen == []


# --- M5: any port --------------------------------------------------------------------------------------


@pytest.mark.parametrize("authority", ["origin.test:22", "origin.test:25", "10.0.0.1:6379"])
def test_a_port_that_is_not_allowed_is_refused_at_connect(gate: LiveGate, authority: str) -> None:
    """CONNECT to a port outside the list is a recorded 403; nothing is dialled."""
    with dial(gate) as raw:
        raw.sendall(f"CONNECT {authority} HTTP/1.1\r\n".encode() + authorization() + b"\r\n")
        assert status(read_head(raw)) == 403
    (record,) = gate.records()
    assert (record["outcome"], record["code"]) == ("DENY", "destination.port")


ENCODED = [
    "2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0", "00.0.0.0",
    "127.000.000.001", "[fe80::1%25lo]", "1.2.3.4.5",
]  # fmt: skip
"""B10: ways to write an address that resolvers read and rules do not (RFC 3986, 7.4; inet_aton)."""


@pytest.mark.parametrize("host", ENCODED)
def test_an_address_in_disguise_is_refused_on_both_ways_in(gate: LiveGate, origin: Origin, host: str) -> None:
    """At CONNECT and in an absolute URI: a recorded 400, and nothing is resolved or dialled."""
    name = host.encode("utf-8")
    for head in (
        b"CONNECT %b:%d HTTP/1.1\r\n" % (name, origin.port),
        b"GET http://%b:%d/echo HTTP/1.1\r\nHost: %b:%d\r\n" % (name, origin.port, name, origin.port),
    ):
        with dial(gate) as raw:
            raw.sendall(head + authorization() + b"\r\n")
            assert status(read_head(raw)) == 400
    records = gate.records()
    assert {record["outcome"] for record in records} == {"DENY"}
    assert all(record["code"].startswith("wire.") for record in records)
    assert origin.connections == 0


# --- M8: the engine's own error pages ------------------------------------------------------------------


def test_a_failing_target_is_our_502(gate: LiveGate, client: httpx.Client) -> None:
    """A target that breaks off gives our problem answer, names the record and not the engine."""
    response = client.get("https://origin.test/reset")
    assert response.status_code == 502
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "upstream.failed"
    assert "mitm" not in (response.text + str(response.headers)).lower()
    (record,) = gate.records()
    assert response.json()["chron_id"] == record["id"]
    assert record["outcome"] == "ALLOW"
    assert gate.outcome_of(record)["result"] == "failed"


def test_an_unverified_target_gets_nothing(tmp_path: Path, origin: Origin) -> None:
    """A certificate that no trusted root vouches for: 502, an outcome, and not one byte of the request."""
    gate = LiveGate(tmp_path / "gate", origin, mappings=ORIGIN_MAPPINGS)
    with running(gate):
        with client_of(gate) as client:
            response = client.get("https://origin.test/echo")
        assert response.status_code == 502
        assert "certificate verify failed" in response.json()["reason"].lower()
        assert origin.seen == []
        assert gate.outcome_of(gate.records()[0])["result"] == "failed"


def test_an_unverified_host_is_the_operators_choice_and_recorded(tmp_path: Path, origin: Origin) -> None:
    """Verification can be turned off for one host, never for all, and the record says it was."""
    upstream = {"upstream": {"unverified_hosts": ["origin.test"]}}
    gate = LiveGate(tmp_path / "gate", origin, mappings=ORIGIN_MAPPINGS, config=upstream)
    with running(gate):
        with client_of(gate) as client:
            assert client.get("https://origin.test/echo").status_code == 200
        assert gate.records()[0]["upstream_verified"] is False


def test_a_target_that_never_answers_is_our_504(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """A response that does not begin in time is 504 with an outcome."""
    upstream = {"upstream": {"response_timeout_s": 1}}
    gate = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, config=upstream)
    with running(gate), client_of(gate) as client:
        response = client.get("https://origin.test/slow")
        assert response.status_code == 504
        assert response.json()["code"] == "upstream.timeout"
        assert gate.outcome_of(gate.records()[0])["result"] == "failed"


class Interim(Upgrader):
    """Sends an early hint before its answer."""

    ANSWER = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_an_interim_response_is_no_hang(tmp_path: Path, target_ca: Any, target_ca_pem: Path) -> None:
    """Passed on; where the engine cannot, our 502 with an outcome, and not an agent that waits for ever."""
    with Interim(target_ca) as target:
        gate = LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
        with running(gate), client_of(gate) as client:
            response = client.get("https://origin.test/x")
            passes = gate.engine_name == "fast"
            assert response.status_code == (200 if passes else 502)
            assert response.text == "ok" if passes else "interim response 103" in response.json()["reason"]
        (record,) = gate.records()
        assert gate.outcome_of(record)["result"] == ("sent" if passes else "failed")


class Forger(Upgrader):
    """Names a record of its own, and a way around the gate."""

    ANSWER = (
        b'HTTP/1.1 200 OK\r\nX-Chron-Id: chr_forged\r\nAlt-Svc: h3=":443"\r\n'
        b"Proxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok"
    )


def test_a_target_cannot_speak_for_the_gate(tmp_path: Path, target_ca: Any, target_ca_pem: Path) -> None:
    """A target's own record id, alternative service and proxy challenge do not reach the agent."""
    with Forger(target_ca) as target:
        gate = LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
        with running(gate), client_of(gate) as client:
            response = client.get("https://origin.test/x")
            (record,) = gate.records()
            assert response.headers.get_list("x-chron-id") == [record["id"]]
            assert "alt-svc" not in response.headers
            assert "proxy-authenticate" not in response.headers


def test_a_crash_in_the_engine_ends_the_connection(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange whose protocol layer crashed is cut off and recorded as failed; it does not hang."""

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(*of_engine(gate, "crash"), planted, raising=False)
    with tunnel(gate) as secure:
        secure.sendall(b"GET /download?mb=1&chunked=1 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert not read_all(secure).endswith(b"0\r\n\r\n")
    (record,) = gate.records()
    assert gate.outcome_of(record)["result"] == "failed"


@pytest.mark.engines("mitmproxy")
@pytest.mark.parametrize("name", ["unread_bytes", "held_back_bytes"])
def test_a_connection_of_which_it_cannot_be_told_what_waits_is_ended(
    gate: LiveGate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its agent was left with neither an answer nor an end, and its socket open."""
    monkeypatch.setattr(proxy.mitm.layers.GateHttpLayer, name, FAULTS["exception"])
    with tunnel(gate) as secure:
        secure.sendall(b"GET /download?mb=1&chunked=1 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        read_all(secure)
    until(lambda: not len(gate.service.engine.crowd))


@pytest.mark.parametrize("place", ["connection", "count"])
@pytest.mark.parametrize("fault", ["exception", "cancelled"])
def test_a_crash_before_a_connection_is_served_ends_it(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch, place: str, fault: str
) -> None:
    """Nobody is there yet who would close it: it is broken off, and takes no seat from others."""
    engine = type(gate.service.engine)
    where = {"connection": (engine, "_connection"), "count": (type(gate.service.engine.crowd), "__len__")}
    with monkeypatch.context() as planted:
        planted.setattr(*where[place], FAULTS[fault])
        with dial(gate) as raw, contextlib.suppress(ConnectionResetError):
            assert read_all(raw) == b""
    until(lambda: not len(gate.service.engine.crowd))
    assert origin.connections == 0


# --- M9: resolved twice --------------------------------------------------------------------------------


def test_the_connection_goes_to_the_address_that_was_checked(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once; a second answer, however soon, moves no connection."""
    answers = iter([("127.0.0.1",), ("127.0.0.2",)])

    async def rebinding(_: str) -> tuple[str, ...]:
        return next(answers)

    def asked_again(*_: Any) -> Any:
        raise AssertionError("the connection resolved the name again")

    gate = LiveGate(
        tmp_path / "gate",
        mappings=ORIGIN_MAPPINGS,
        config={
            "proxy": {"allowed_ports": [origin.port]},
            "upstream": {"ca_bundle": str(target_ca_pem), "allow_private": ["127.0.0.0/8"]},
        },
        prepare=lambda service: setattr(service.gate.destinations, "_lookup", rebinding),
    )
    with running(gate):
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", asked_again)
        with client_of(gate) as client:
            assert client.get(f"https://origin.test:{origin.port}/echo").status_code == 200
        assert gate.records()[0]["address"] == f"127.0.0.1 {origin.port}"


@pytest.mark.parametrize(
    "addresses",
    [("10.0.0.7",), ("93.184.215.14", "127.0.0.1"), ("169.254.169.254",), ("::ffff:10.0.0.7",), ("64:ff9b::a00:7",)],
    ids=["private", "one of several", "metadata", "mapped", "NAT64"],
)
def test_a_name_with_a_private_address_is_refused(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    """Every address of a name is checked, in whatever form it hides a private one."""

    async def lookup(_: str) -> tuple[str, ...]:
        return addresses

    gate = LiveGate(
        tmp_path / "gate",
        mappings=ORIGIN_MAPPINGS,
        prepare=lambda service: setattr(service.gate.destinations, "_lookup", lookup),
    )
    with running(gate):
        with client_of(gate) as client:
            response = client.get("https://origin.test/echo")
        assert response.status_code == 403
        kind = "metadata" if addresses == ("169.254.169.254",) else "private"
        assert response.json()["code"] == gate.records()[0]["code"] == f"destination.{kind}"


# --- M10: framing --------------------------------------------------------------------------------------

SMUGGLING = {
    "CL and TE": b"POST /x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nDELETE /y HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "two CLs": b"POST /x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "chunkedx": b"POST /x HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
    "invalid CL": b"POST /x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: +5\r\n\r\nhello",
    "space before colon": b"GET /x HTTP/1.1\r\nHost: origin.test\r\nX-A : b\r\n\r\n",
    "NUL in value": b"GET /x HTTP/1.1\r\nHost: origin.test\r\nX-A: a\x00b\r\n\r\n",
    "NUL in path": b"GET /x\x00y HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "control byte in method": b"G\x01T /x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "obs-fold": b"GET /x HTTP/1.1\r\nHost: origin.test\r\nX-A: b\r\n c\r\n\r\n",
    "look-alike framing field": b"POST /x HTTP/1.1\r\nHost: origin.test\r\nContent_Length: 5\r\n\r\n",
    "lower-case method": b"get /x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "no Host": b"GET /x HTTP/1.0\r\n\r\n\x00",
    "dot segments": b"GET /a/../x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "encoded dot segments": b"GET /a/%2e%2e/x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "doubly encoded": b"GET /a/%252e%252e/x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_a_request_with_two_readings_is_refused(gate: LiveGate, origin: Origin, name: str) -> None:
    """Framing on which two parsers may differ ends in a 400, closes the connection and reaches nobody."""
    if name == "no Host":
        with tunnel(gate) as secure:
            secure.sendall(SMUGGLING[name])
            assert status(read_all(secure)) in (400, 200)
        return
    with tunnel(gate) as secure:
        secure.sendall(SMUGGLING[name])
        answer = read_head(secure)
    assert status(answer) == 400, answer
    assert b"mitm" not in answer.lower()
    assert origin.seen == []
    (record,) = gate.records()
    assert record["outcome"] == "DENY"
    assert record["code"].startswith("wire.")


@pytest.mark.parametrize("option", ["keep-alive", "keep-alive, X-A"])
def test_no_request_follows_one_in_http_1_0(gate: LiveGate, origin: Origin, option: str) -> None:
    """Whoever stands before it may have passed "keep-alive" on unread; the connection ends behind the answer."""
    with tunnel(gate) as secure:
        head = b"GET /echo HTTP/%s\r\nHost: origin.test\r\nConnection: %s\r\n\r\n"
        secure.sendall(head % (b"1.0", option.encode()) + head % (b"1.1", b"close"))
        answer = read_all(secure)
    assert status(answer) == 200
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert answer.count(b"HTTP/1.") == len(gate.records()) == len(origin.seen) == 1


# --- M11: the gate's own listeners ---------------------------------------------------------------------


def test_the_control_api_is_not_reachable_through_the_proxy(tmp_path: Path, origin: Origin) -> None:
    """No spelling of the gate's own address leads back to it, even where the port is allowed."""
    gate = LiveGate(tmp_path / "gate", origin, config={"upstream": {"allow_private": ["0.0.0.0/0", "::/0"]}})
    rule = {"id": "any", "match": {"host": "gate.test", "path": "/{x+}"}, "action": "data:read", "target": "x"}
    gate.write("mappings/site.yaml", {"version": 1, "rules": [rule]})
    with gate:
        port = gate.service.api_address.port
        destinations = gate.service.gate.destinations
        destinations._allowed_ports = frozenset({port, gate.service.proxy_address.port})
        for host in ("127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1"):
            with pytest.raises(proxy.destinations.DestinationRefused, match="does not forward to itself"):
                gate.call(destinations.route(host, port))
        with client_of(gate) as client:
            assert client.get(f"http://127.0.0.1:{port}/health").status_code == 403
    assert all(record["outcome"] == "DENY" for record in gate.records())


# --- M12: credentials ----------------------------------------------------------------------------------


def test_a_suspension_holds_on_a_connection_that_is_already_open(
    gate: LiveGate, client: httpx.Client, origin: Origin
) -> None:
    """Identity is asked again for each request in a tunnel, not once for the tunnel."""
    assert client.get("https://origin.test/echo").status_code == 200
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "state": "suspended"}, AGENTS["agents"][1]]}
    gate.write("agents.yaml", agents)
    gate.call(gate.service.reload())
    response = client.get("https://origin.test/echo")
    assert response.status_code == 403
    assert response.json()["reason"] == "agent:deploy-bot -- suspended"
    assert len(origin.seen) == 1


def test_proxy_fields_never_go_upstream(gate: LiveGate, origin: Origin, plain_origin: Origin) -> None:
    """No Proxy-* field reaches a target, from a tunnel or from a plain request."""
    secret = {"Proxy-Authorization": "Basic inner", "Proxy-Connection": "keep-alive", "Proxy-Anything": "x"}
    with client_of(gate) as client:
        assert client.get("https://origin.test/echo", headers=secret).status_code == 200
        assert client.get("http://plain.test/echo").status_code == 200
    for seen in (*origin.seen, *plain_origin.seen):
        assert not [name for name, _ in seen.headers if name.lower().startswith("proxy-")]


@pytest.mark.parametrize(
    ("agent", "token", "reason"),
    [
        ("deploy-bot", "clm_wrong", "agent:deploy-bot -- wrong token"),
        ("ghost", "clm_wrong", "agent:ghost -- unknown"),
    ],
)
def test_wrong_credentials_are_407_and_recorded(
    gate: LiveGate, origin: Origin, agent: str, token: str, reason: str
) -> None:
    """Nobody gets a tunnel without the right token."""
    with dial(gate) as raw:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization(agent, token) + b"\r\n")
        answer = read_head(raw)
    assert status(answer) == 407
    assert b"proxy-authenticate: basic" in answer.lower()
    (record,) = gate.records()
    assert (record["outcome"], record["reason"]) == ("DENY", reason)
    assert origin.connections == 0


def test_no_credentials_are_407_on_every_way_in(gate: LiveGate, origin: Origin, plain_origin: Origin) -> None:
    """CONNECT and plain requests alike, and a repeated field is no credential."""
    heads = [
        b"CONNECT origin.test:443 HTTP/1.1\r\n\r\n",
        b"GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + authorization() + b"\r\n",
    ]
    for head in heads:
        with dial(gate) as raw:
            raw.sendall(head)
            assert status(read_head(raw)) == 407
    assert [record["reason"] for record in gate.records()] == [
        "agent -- no credentials",
        "agent -- no credentials",
        "agent -- more than one Proxy-Authorization field",
    ]
    assert origin.connections == plain_origin.connections == 0


# --- M13: duplicate fields -----------------------------------------------------------------------------


def test_repeated_fields_arrive_as_they_were_sent(gate: LiveGate, origin: Origin) -> None:
    """Repeated fields keep their number, order and case."""
    with tunnel(gate) as secure:
        secure.sendall(
            b"GET /echo HTTP/1.1\r\nhost: origin.test\r\nX-Tag: a\r\nx-tag: b\r\nX-Tag: a\r\nConnection: close\r\n\r\n"
        )
        assert status(read_all(secure)) == 200
    (seen,) = origin.seen
    assert [(name, value) for name, value in seen.headers if name.lower() == "x-tag"] == [
        ("X-Tag", "a"),
        ("x-tag", "b"),
        ("X-Tag", "a"),
    ]


def test_a_field_named_in_connection_is_not_shown_to_the_rules(gate: LiveGate, origin: Origin) -> None:
    """What is dropped for the next hop is dropped before it is matched."""
    with tunnel(gate) as secure:
        secure.sendall(
            b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nX-Kind: harmless\r\nConnection: X-Kind, close\r\n\r\n"
        )
        assert status(read_all(secure)) == 200
    assert not [name for name, _ in origin.seen[0].headers if name.lower() == "x-kind"]


# --- M14: the CA key -----------------------------------------------------------------------------------


def test_the_ca_key_is_private_and_session_keys_are_not_logged(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key 0600, leaves with a key of their own, and SSLKEYLOGFILE opens nothing."""
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    gate = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with gate:
        assert stat.S_IMODE(gate.config.ca_key.stat().st_mode) == 0o600
        monkeypatch.delenv("SSLKEYLOGFILE")
        with tunnel(gate) as secure:
            certificate = secure.getpeercert(binary_form=True)
            secure.sendall(b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
            assert status(read_all(secure)) == 200
        assert certificate is not None
        from cryptography import x509

        leaf = x509.load_der_x509_certificate(certificate)
        assert leaf.public_key() != gate.service.authority.certificate.public_key()
    assert not log.exists()


def test_a_readable_key_is_refused(tmp_path: Path, origin: Origin) -> None:
    """A CA key that others can read is not used."""
    gate = LiveGate(tmp_path / "gate", origin)
    with gate:
        pass
    gate.config.ca_key.chmod(0o644)
    with pytest.raises(Exception, match="others can read this key"), gate:
        pass
