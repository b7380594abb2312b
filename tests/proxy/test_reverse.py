"""A listener in front of one API: clients that take a base URL go through the gate, wherever they say they go."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy import connection, http

from proxy.configloading import ENGINE
from proxy.identity import NOBODY
from proxy.mitm.flows import redirect_here
from proxy.wire.arrivals import Tunnel
from support.gate import AGENTS, OTHER_TOKEN, LiveGate, running
from support.raw import authorization, read_all, read_head, status
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.ways import dial_listener, listening, registry, url_of

LISTENERS: dict[str, Any] = {
    "origin": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://origin.test"},
    "plain": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "http://plain.test"},
    "builder": {
        "mode": "reverse",
        "listen": "127.0.0.1:0",
        "target": "https://origin.test",
        "proves": "listener",
    },
    "bare": {"mode": "proxy", "listen": "127.0.0.1:0", "proves": "listener"},
    "by-address": {
        "mode": "reverse",
        "listen": "127.0.0.1:0",
        "target": "https://origin.test",
        "proves": "address",
    },
}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    agents = registry(deploy_bot="listener:builder")
    live = listening(LISTENERS, agents, tmp_path / "gate", origin, plain_origin, ca=target_ca_pem)
    with running(live):
        yield live


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client that knows of no proxy: it has a base URL, and a header for every request."""
    credentials = authorization().decode().strip().partition(": ")
    with httpx.Client(trust_env=False, timeout=30, headers=[credentials[::2]]) as connected:
        yield connected


def test_an_allowed_request_goes_to_the_configured_target(gate: LiveGate, client: httpx.Client, origin: Origin) -> None:
    """It arrives under the target's own name, by TLS, and the record says by which listener it came."""
    response = client.get(f"{url_of(gate, 'origin')}/echo?x=1")
    assert response.status_code == 200
    (seen,) = origin.seen
    assert (seen.path, seen.header("host")) == ("/echo?x=1", "origin.test")
    assert seen.header("proxy-authorization") is None
    (record,) = gate.records()
    wanted = {
        "outcome": "ALLOW",
        "agent": "deploy-bot",
        "listener": "origin",
        "action": "data:read",
        "target": "origin.test/echo",
        "scheme": "https",
        "host": "origin.test",
        "port": 443,
        "reason": "skill:deploy-v2 -- action in allow list",
        "upstream_verified": True,
    }
    assert {name: record.get(name) for name in wanted} == wanted
    assert response.headers["x-chron-id"] == record["id"]
    assert gate.outcome_of(record)["result"] == "sent"


def test_a_denied_request_reaches_nobody(gate: LiveGate, client: httpx.Client, origin: Origin) -> None:
    """It is answered as anywhere else: 403, the reason, the record."""
    response = client.delete(f"{url_of(gate, 'origin')}/things/7")
    assert (response.status_code, origin.connections) == (403, 0)
    (record,) = gate.records()
    problem = response.json()
    assert problem["reason"] == record["reason"] == "skill:deploy-v2 -- action in deny list"
    assert problem["chron_id"] == record["id"]
    assert (record["outcome"], record["action"], record["listener"]) == ("DENY", "infra:destroy", "origin")


def test_a_body_is_read_where_a_rule_needs_it(gate: LiveGate, client: httpx.Client, origin: Origin) -> None:
    """What the body says decides here too; what is allowed arrives whole."""
    url = f"{url_of(gate, 'origin')}/runs"
    assert client.post(url, json={"destroy": True}).status_code == 403
    assert origin.connections == 0
    assert client.post(url, json={"destroy": False}).status_code == 200
    assert [seen.body for seen in origin.seen] == [b'{"destroy":false}']


def test_a_plain_target_is_reached_plainly(gate: LiveGate, client: httpx.Client, plain_origin: Origin) -> None:
    """The scheme is the configured one, whatever the agent speaks."""
    assert client.get(f"{url_of(gate, 'plain')}/echo").status_code == 200
    (seen,) = plain_origin.seen
    assert seen.header("host") == "plain.test"
    (record,) = gate.records()
    assert (record["scheme"], record["host"], record["port"]) == ("http", "plain.test", 80)


# --- what the agent says of the target -----------------------------------------------------------------

NAMES = {
    "the gate": b"Host: 127.0.0.1:8301\r\n",
    "another host": b"Host: other.test\r\n",
    "a metadata service": b"Host: 169.254.169.254\r\n",
    "no host": b"Host: \r\n",
    "what is no host": b"Host: [[a]]@:x\r\n",
    "a forwarded host": b"Host: gate.test\r\nX-Forwarded-Host: other.test\r\nForwarded: host=other.test\r\n",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_host_decides_nothing(gate: LiveGate, origin: Origin, name: str) -> None:
    """Whatever the agent calls the target, it is the configured one, and is told its own name."""
    with dial_listener(gate, "origin") as raw:
        raw.sendall(b"GET /echo HTTP/1.1\r\n" + NAMES[name] + authorization() + b"Connection: close\r\n\r\n")
        answer = read_all(raw)
    assert status(answer) == 200, answer
    assert [seen.header("host") for seen in origin.seen] == ["origin.test"]
    (record,) = gate.records()
    assert (record["outcome"], record["host"], record["target"]) == ("ALLOW", "origin.test", "origin.test/echo")


SMUGGLED = {
    "absolute form": (b"GET http://other.test/echo HTTP/1.1\r\nHost: other.test\r\n", "wire.absolute-uri"),
    "absolute form of the target": (
        b"GET https://origin.test/echo HTTP/1.1\r\nHost: origin.test\r\n",
        "wire.absolute-uri",
    ),
    "two hosts": (b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nHost: other.test\r\n", "wire.host-repeated"),
    "CONNECT": (b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n", "wire.malformed"),
    "both lengths": (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "wire.malformed",
    ),
    "a blank before the colon": (b"GET /echo HTTP/1.1\r\nHost : other.test\r\n", "wire.malformed"),
    "authority as path": (b"GET //other.test/echo HTTP/1.1\r\nHost: a\r\n", "wire.path"),
    "another host in the path": (b"GET /@other.test/../../echo HTTP/1.1\r\nHost: a\r\n", "wire.path"),
    "HTTP/2 unasked": (b"PRI * HTTP/2.0\r\n", "wire.malformed"),
    "a header that imitates Host": (b"GET /echo HTTP/1.1\r\nHost: a\r\nHo_st: b\r\nTransfer_Encoding: x\r\n", "wire."),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_read_in_two_ways_goes_nowhere(gate: LiveGate, origin: Origin, name: str) -> None:
    """A second destination, or a second request, is refused, and stands in the record."""
    head, code = SMUGGLED[name]
    with dial_listener(gate, "origin") as raw:
        raw.sendall(head + authorization() + b"Connection: close\r\n\r\n")
        answer = read_head(raw)
    assert status(answer) == 400, answer
    assert origin.connections == 0
    (record,) = gate.records()
    assert record["outcome"] == "DENY"
    assert record["code"].startswith(code), record["code"]
    assert (record["listener"], record["host"], record["port"]) == ("origin", "origin.test", 443)


# --- who ----------------------------------------------------------------------------------------------


def test_without_credentials_it_is_refused(gate: LiveGate, origin: Origin) -> None:
    """A listener that proves nothing lets nobody in who brings nothing."""
    response = httpx.get(f"{url_of(gate, 'origin')}/echo", trust_env=False)
    assert (response.status_code, origin.connections) == (407, 0)
    (record,) = gate.records()
    assert (record["code"], record["listener"]) == ("agent.no-credentials", "origin")


def test_each_request_brings_its_own_credentials(gate: LiveGate, origin: Origin) -> None:
    """On one connection, nothing of the first request is taken for the second."""
    with dial_listener(gate, "origin") as raw:
        raw.sendall(b"GET /status/204 HTTP/1.1\r\nHost: a\r\n" + authorization() + b"\r\n")
        assert status(read_head(raw)) == 204
        raw.sendall(b"GET /status/204 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert status(read_all(raw)) == 407
    assert len(origin.seen) == 1
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "DENY"]


def test_a_listener_may_prove_an_agent(gate: LiveGate, origin: Origin) -> None:
    """What nobody but one agent can reach is that agent's, as the registry says; no client has to bring anything."""
    response = httpx.get(f"{url_of(gate, 'builder')}/echo", trust_env=False)
    assert response.status_code == 200
    (record,) = gate.records()
    wanted = {"agent": "deploy-bot", "identities": "listener:builder", "listener": "builder", "outcome": "ALLOW"}
    assert {name: record[name] for name in wanted} == wanted


def test_what_is_no_http_stands_with_its_agent(gate: LiveGate, origin: Origin) -> None:
    """Nothing of it can be read, but whose listener it came by is known."""
    with dial_listener(gate, "builder") as raw:
        raw.sendall(b"\x00\x01 what\r\n\r\n")
        assert status(read_all(raw)) == 400
    (record,) = gate.records()
    wanted = {"code": "wire.malformed", "agent": "deploy-bot", "listener": "builder", "host": "origin.test"}
    assert {name: record[name] for name in wanted} == wanted
    assert origin.connections == 0


def test_a_proxy_may_prove_an_agent_too(
    tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path
) -> None:
    """So that no token has to be in the agent's environment; what it names is judged as at the proxy's own listener."""
    agents = registry(deploy_bot="listener:bare")
    live = listening(LISTENERS, agents, tmp_path / "gate", origin, plain_origin, ca=target_ca_pem)
    with running(live) as gate:
        trusted = ssl.create_default_context(cafile=str(gate.ca))
        proxy = f"http://{gate.service.listener_addresses['bare']}"
        with httpx.Client(proxy=proxy, verify=trusted, trust_env=False) as client:
            answered = [
                client.get("https://origin.test/echo").status_code,
                client.get("http://plain.test/echo").status_code,
                client.delete("https://origin.test/echo").status_code,
                client.get("http://plain.test/echo", headers={"Host": "other.test"}).status_code,
            ]
        records = gate.records()
    assert answered == [200, 200, 403, 400]
    assert [record["outcome"] for record in records] == ["ALLOW", "ALLOW", "DENY", "DENY"]
    assert {(record["agent"], record["listener"], record["identities"]) for record in records} == {
        ("deploy-bot", "bare", "listener:bare")
    }
    assert (len(origin.seen), len(plain_origin.seen)) == (1, 1)


def test_another_agents_token_at_a_listener_is_refused(gate: LiveGate, origin: Origin) -> None:
    """Two proofs of two agents are none, whichever of them would be allowed more."""
    with dial_listener(gate, "builder") as raw:
        other = authorization("other-bot", OTHER_TOKEN)
        raw.sendall(b"GET /echo HTTP/1.1\r\nHost: a\r\n" + other + b"Connection: close\r\n\r\n")
        assert status(read_all(raw)) == 407
    (record,) = gate.records()
    assert (record["code"], origin.connections) == ("agent.two-identities", 0)


def test_an_address_nobody_has_proves_nobody(gate: LiveGate, origin: Origin) -> None:
    """The address is proven, and no agent has it; a header that names one changes nothing."""
    response = httpx.get(
        f"{url_of(gate, 'by-address')}/echo", trust_env=False, headers={"X-Forwarded-For": "10.77.0.2"}
    )
    assert (response.status_code, origin.connections) == (407, 0)
    (record,) = gate.records()
    assert (record["code"], record["identities"]) == ("agent.unknown", "address:127.0.0.1")
    assert record["reason"] == "agent -- no agent has this address"


def test_an_address_may_prove_an_agent(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Where each agent has an address of its own, that is enough."""
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        config={"listeners": LISTENERS},
        agents=registry(other_bot="address:127.0.0.1"),
    )
    with running(live) as gate:
        url = url_of(gate, "by-address")
        assert httpx.get(f"{url}/echo", trust_env=False).status_code == 200
        assert httpx.delete(f"{url}/echo", trust_env=False).status_code == 403
        # At the proxy's own listener, an address proves nothing.
        proxy = f"http://{gate.service.proxy_address}"
        with httpx.Client(proxy=proxy, trust_env=False) as stranger:
            assert stranger.get("http://origin.test/echo").status_code == 407
        first, second, third = gate.records()
    assert (first["agent"], first["identities"], first["outcome"]) == ("other-bot", "address:127.0.0.1", "ALLOW")
    assert (second["agent"], second["outcome"]) == ("other-bot", "DENY")
    assert (third["agent"], third["code"]) == ("", "agent.no-credentials")


def test_a_websocket_goes_through(gate: LiveGate, origin: Origin) -> None:
    """Its upgrade is decided as any request, and then it is passed on."""
    with dial_listener(gate, "builder") as raw:
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert status(read_head(raw)) == 101
        raw.sendall(b"\x81\x82\0\0\0\0hi")  # RFC 6455, 5.2: text, masked with zeros
        assert raw.recv(4) == b"\x81\x02hi"
    (record,) = gate.records()
    assert (record["outcome"], record["upgrade"], record["host"]) == ("ALLOW", "websocket", "origin.test")


# --- the gate itself -----------------------------------------------------------------------------------


def test_a_listener_is_not_reached_through_the_gate(gate: LiveGate, origin: Origin) -> None:
    """No agent reaches, by the proxy, a listener that would take it for another."""
    port = gate.service.listener_addresses["builder"].port
    gate.service.gate.destinations._allowed_ports = frozenset({port})
    with httpx.Client(proxy=gate.proxy("other-bot", OTHER_TOKEN), trust_env=False) as client:
        response = client.get(f"http://127.0.0.1:{port}/echo")
    (record,) = gate.records()
    assert (response.status_code, record["outcome"], origin.connections) == (403, "DENY", 0)


def test_the_listener_speaks_tls_where_it_is_told_to(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, target_ca: Any
) -> None:
    """`https://gate/...`, with the certificate of `proxy.tls`; what speaks plainly is refused and recorded."""
    served = target_ca.issue_cert("localhost", "127.0.0.1")
    folder = tmp_path / "gate"
    folder.mkdir()
    served.private_key_pem.write_to_path(str(folder / "gate-key.pem"))
    (folder / "gate-key.pem").chmod(0o600)
    (folder / "gate.pem").write_bytes(b"".join(pem.bytes() for pem in served.cert_chain_pems))
    live = LiveGate(
        folder,
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        config={
            "proxy": {"tls": {"certificate": "gate.pem", "key": "gate-key.pem"}},
            "listeners": {"origin": {**LISTENERS["origin"], "tls": True}},
        },
    )
    with running(live) as gate:
        address = gate.service.listener_addresses["origin"]
        trusted = ssl.create_default_context(cafile=str(target_ca_pem))
        with httpx.Client(verify=trusted, trust_env=False) as client:
            header = {"Proxy-Authorization": authorization().decode().partition(": ")[2].strip()}
            assert client.get(f"https://{address}/echo", headers=header).status_code == 200
        with dial_listener(gate, "origin") as raw:
            raw.sendall(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(read_all(raw)) == 400
        allowed, refused = gate.records()
    assert (allowed["outcome"], allowed["listener"]) == ("ALLOW", "origin")
    assert (refused["code"], refused["listener"]) == ("wire.tls", "origin")
    assert len(origin.seen) == 1


def test_a_stopped_agent_is_stopped_at_its_listener(gate: LiveGate, origin: Origin) -> None:
    """The registry says whose a listener is; suspended there, its next request is refused."""
    url = f"{url_of(gate, 'builder')}/echo"
    with httpx.Client(trust_env=False) as client:
        assert client.get(url).status_code == 200
        changed = registry(deploy_bot="listener:builder")
        changed["agents"][0]["state"] = "suspended"
        gate.write("agents.yaml", changed)
        gate.call(gate.service.reload())
        response = client.get(url)
    assert response.json()["reason"] == "agent:deploy-bot -- suspended"
    assert len(origin.seen) == 1


REDIRECTS = {
    "to itself": ("https://origin.test/new?a=1#b", "/new?a=1#b"),
    "to itself, in other words": ("HTTPS://ORIGIN.test:443/new", "/new"),
    "to its root": ("https://origin.test", "/"),
    "to a query of its root": ("https://origin.test?x=1", "/?x=1"),
    "to a path that looks like a host": ("https://origin.test//other.test/", "/other.test/"),
    "to one that looks so to browsers": ("https://origin.test/\\other.test/", "/other.test/"),
    "relative": ("/new", "/new"),
    "to another host": ("https://other.test/new", "https://other.test/new"),
    "to another port": ("https://origin.test:8443/new", "https://origin.test:8443/new"),
    "by another scheme": ("http://origin.test/new", "http://origin.test/new"),
    "to what cannot be read": ("https://a@[origin.test/new", "https://a@[origin.test/new"),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_of_the_target_to_itself_comes_back_here(name: str) -> None:
    """A client that follows it stays with the gate; others are passed on as they are."""
    sent, received = REDIRECTS[name]
    flow = http.HTTPFlow(connection.Client(peername=("", 0), sockname=("", 0)), connection.Server(address=None))
    flow.response = http.Response.make(301, b"", {"location": sent})
    redirect_here(flow, Tunnel("origin.test", 443, NOBODY, None, "https"))
    assert flow.response.headers["location"] == received


def test_each_listener_has_its_engine_and_its_records_name_it(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gate, two engines: what is decided is the same, and the log says which one has read each request."""
    monkeypatch.delenv(ENGINE, raising=False)
    listener = {"mode": "reverse", "target": "https://origin.test", "proves": "listener", "listen": "127.0.0.1:0"}
    listeners = {
        "slow": {**listener, "engine": "mitmproxy"},
        "quick": {**listener, "engine": "fast"},
        "unsaid": listener,
    }
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "identities": [f"listener:{name}" for name in listeners]}]}
    gate = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        agents=agents,
        config={"listeners": listeners},
    )
    with running(gate):
        for name in listeners:
            base = f"http://{gate.service.listener_addresses[name]}"
            assert httpx.get(f"{base}/echo", trust_env=False).status_code == 200
            assert httpx.delete(f"{base}/things/7", trust_env=False).status_code == 403
        records = gate.records()
        (loaded,) = gate.records("policy", event="loaded")
    assert loaded["engine"] == "fast"
    assert [(record["listener"], record.get("engine"), record["outcome"]) for record in records] == [
        ("slow", "mitmproxy", "ALLOW"),
        ("slow", "mitmproxy", "DENY"),
        ("quick", None, "ALLOW"),
        ("quick", None, "DENY"),
        ("unsaid", None, "ALLOW"),
        ("unsaid", None, "DENY"),
    ]
