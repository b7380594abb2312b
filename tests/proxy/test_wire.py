"""Requests through a real gate: what is allowed arrives, what is denied does not, and the Chron says so."""

import json
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from support.clients import client_of
from support.gate import LiveGate
from support.raw import read_all, tunnel
from support.targets import H2Origin, Origin


@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])
def test_an_allowed_request_arrives_and_is_recorded(gate: LiveGate, origin: Origin, http2: bool) -> None:
    """An allowed call is forwarded, its answer carries the record's id, and the record names it."""
    with client_of(gate, http2=http2) as client:
        response = client.get("https://origin.test/echo?token=hunter2&x=1")
    assert response.status_code == 200
    assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert [seen.path for seen in origin.seen] == ["/echo?token=hunter2&x=1"]
    (record,) = gate.records()
    assert response.headers["x-chron-id"] == record["id"]
    wanted = {
        "agent": "deploy-bot",
        "anchor": "alice@acme.test",
        "outcome": "ALLOW",
        "action": "data:read",
        "target": "origin.test/echo",
        "method": "GET",
        "scheme": "https",
        "host": "origin.test",
        "port": 443,
        "path": "/echo",
        "query_keys": "token x",
        "skill": "deploy-v2",
        "mapping_rule": "read",
        "reason": "skill:deploy-v2 -- action in allow list",
    }
    assert {name: record.get(name) for name in wanted} == wanted
    assert "hunter2" not in json.dumps(record)
    outcome = gate.outcome_of(record)
    assert (outcome["result"], outcome["status"]) == ("sent", 200)
    assert outcome["response_bytes"] == len(response.content)


@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])
def test_a_denied_request_reaches_nobody(gate: LiveGate, origin: Origin, http2: bool) -> None:
    """A denied call gets a problem answer with reason and record, and no connection is made."""
    with client_of(gate, http2=http2) as client:
        response = client.delete("https://origin.test/things/7")
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    (record,) = gate.records()
    assert problem["outcome"] == record["outcome"] == "DENY"
    assert problem["reason"] == record["reason"] == "skill:deploy-v2 -- action in deny list"
    assert problem["chron_id"] == response.headers["x-chron-id"] == record["id"]
    assert problem["action"] == record["action"] == "infra:destroy"
    assert problem["agent"] == "deploy-bot"
    assert "alice@acme.test" in problem["detail"]
    assert gate.outcome_of(record)["result"] == "blocked"
    assert origin.connections == 0


def test_plain_http_is_judged_alike(gate: LiveGate, plain_origin: Origin, client: httpx.Client) -> None:
    """A request by absolute URI is mapped, decided and recorded as one in a tunnel is."""
    assert client.get("http://plain.test/echo").status_code == 200
    denied = client.delete("http://plain.test/echo")
    assert denied.status_code == 403
    assert denied.json()["reason"] == "skill:deploy-v2 -- action in deny list"
    assert [seen.method for seen in plain_origin.seen] == ["GET"]
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "DENY"]


def test_a_request_that_nothing_names_is_denied(gate: LiveGate, origin: Origin, client: httpx.Client) -> None:
    """No rule, no call."""
    response = client.patch("https://origin.test/things/7")
    assert response.status_code == 403
    assert response.json()["reason"] == "mapping -- no rule names this request"
    assert gate.records()[0]["code"] == "mapping.unmapped"
    assert origin.seen == []


def test_a_body_decides_where_a_rule_reads_it(gate: LiveGate, origin: Origin, client: httpx.Client) -> None:
    """The same route is two actions by its body; only the harmless one passes, with its body intact."""
    allowed = client.post("https://origin.test/runs", json={"destroy": False, "n": 1})
    denied = client.post("https://origin.test/runs", json={"destroy": True, "n": 1})
    assert (allowed.status_code, denied.status_code) == (200, 403)
    assert allowed.json()["body"] == '{"destroy":false,"n":1}'
    assert [record["action"] for record in gate.records()] == ["deploy:staging", "infra:destroy"]
    assert len(origin.seen) == 1


@pytest.mark.parametrize("padding", ["", "a=b&" * 300_000], ids=["short", "behind more than is read"])
@pytest.mark.parametrize("field", ["_method=DELETE", "%5Fm%65thod=delete"])
def test_a_form_that_names_another_method_reaches_nobody(
    gate: LiveGate, origin: Origin, client: httpx.Client, padding: str, field: str
) -> None:
    """A deletion dressed as a POST is refused, although no rule of that host asks for a body."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("https://origin.test/things/7", content="a=b", headers=form).status_code == 200
    refused = client.post("https://origin.test/things/7", content=padding + field, headers=form)
    assert refused.status_code == 403
    record = gate.records()[-1]
    code = "mapping.unreadable" if padding else "mapping.conflict"
    assert (record["outcome"], record["code"]) == ("DENY", code)
    assert refused.json()["reason"] == record["reason"]
    assert len(origin.seen) == 1


@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "chunked"])
def test_a_body_too_long_to_read_is_unreadable(
    gate: LiveGate, origin: Origin, client: httpx.Client, declared: bool
) -> None:
    """A rule that needs the body denies one that is longer than what is read; padding hides nothing."""
    body = b'{"pad":"' + b"x" * (2 * 2**20) + b'","destroy":true}'
    content = body if declared else (body[i : i + 65536] for i in range(0, len(body), 65536))
    response = client.post("https://origin.test/runs", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 403
    assert response.json()["code"] == "mapping.unreadable"
    assert origin.seen == []
    assert gate.records()[0]["outcome"] == "DENY"


def test_a_denied_upload_is_answered_before_its_end(gate: LiveGate, client: httpx.Client, origin: Origin) -> None:
    """A refused upload is not buffered: the answer comes although the body is long."""
    response = client.request("DELETE", "https://origin.test/things", content=b"x" * (3 * 2**20))
    assert response.status_code == 403
    assert origin.seen == []


@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])
def test_a_denied_head_has_no_body(gate: LiveGate, origin: Origin, http2: bool) -> None:
    """The next answer on its connection is the one to the next request, and not what is left of the refusal."""
    with client_of(gate, http2=http2) as client:
        refused = client.head("https://origin.test/")
        answered = client.get("https://origin.test/echo")
    assert (refused.status_code, refused.content, answered.status_code) == (403, b"", 200)
    denied, allowed = gate.records()
    assert (refused.headers["x-chron-id"], answered.headers["x-chron-id"]) == (denied["id"], allowed["id"])
    assert [seen.path for seen in origin.seen] == ["/echo"]
    assert origin.connections == 1


def test_a_denied_head_leaves_its_connection_in_step(gate: LiveGate, origin: Origin) -> None:
    """Two requests in one go: after the refusal's head comes the status line of the second answer."""
    with tunnel(gate) as secure:
        head = b"HEAD / HTTP/1.1\r\nHost: origin.test\r\n\r\n"
        secure.sendall(head + b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
        refused, _, rest = read_all(secure).partition(b"\r\n\r\n")
    denied = gate.records()[0]
    assert refused.startswith(f"HTTP/1.1 403 Forbidden: {denied['reason']} [{denied['id']}]\r\n".encode())
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_http2_reaches_an_http2_target(tmp_path: Path, h2_origin: H2Origin, target_ca_pem: Path) -> None:
    """HTTP/2 on both sides."""
    rules = {
        "version": 1,
        "rules": [
            {"id": "read", "match": {"host": h2_origin.name, "method": ["GET", "POST"], "path": "/{x+}"},
             "action": "data:read", "target": "${host}"}
        ],
    }  # fmt: skip
    gate = LiveGate(tmp_path / "gate", h2_origin, target_ca=target_ca_pem, mappings=rules)
    with gate, client_of(gate, http2=True) as client:
        response = client.post(f"https://{h2_origin.name}/things", content=b"hello")
        assert response.status_code == 200
        assert response.http_version == "HTTP/2"
        assert gate.records()[0]["outcome"] == "ALLOW"


def test_a_slow_http2_agent_does_not_fill_the_gate(gate: LiveGate, origin: Origin) -> None:
    """A download is read from the target no faster than the agent's HTTP/2 window lets it go on."""
    with tunnel(gate, alpn="h2") as secure:
        agent = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        agent.initiate_connection()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/download?mb=64")]
        agent.send_headers(1, head, end_stream=True)
        secure.sendall(agent.data_to_send())
        received = 0
        while received < 65535:  # the window; it is never opened again
            received += sum(
                len(event.data)
                for event in agent.receive_data(secure.recv(65536))
                if isinstance(event, h2.events.DataReceived)
            )
            secure.sendall(agent.data_to_send())
        for number in range(200):  # time passes: so many round trips the gate had to read on
            agent.ping(number.to_bytes(8, "big"))
            secure.sendall(agent.data_to_send())
            answered = False
            while not answered:
                events = agent.receive_data(secure.recv(65536))
                answered = any(isinstance(event, h2.events.PingAckReceived) for event in events)
        agent.reset_stream(1)
        secure.sendall(agent.data_to_send())
    (record,) = gate.records()
    assert gate.outcome_of(record)["response_bytes"] < 16 * 2**20


def test_a_pipelined_request_is_judged_by_itself(gate: LiveGate, origin: Origin) -> None:
    """What follows an allowed request in the same packet is a request of its own."""
    with tunnel(gate) as secure:
        secure.sendall(
            b"GET /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n"
            b"DELETE /things/7 HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n"
        )
        answers = read_all(secure)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 403" in answers
    assert [seen.method for seen in origin.seen] == ["GET"]
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "DENY"]
