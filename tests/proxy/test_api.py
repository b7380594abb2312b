"""The control API: who may ask what, what is answered to bad input, and that nothing here permits by accident."""

import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import proxy.api
from chron import ChronError
from policies import Policies
from support.gate import AGENTS, OTHER_TOKEN, TOKEN, LiveGate

PROBLEM = "application/problem+json"


@pytest.fixture
def api(gate: LiveGate) -> Iterator[httpx.Client]:
    """A client of the API that knows no token."""
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGate]:
    """One gate for all that is refused before it is decided: nothing may be on its record in the end."""
    with LiveGate(tmp_path_factory.mktemp("idle")) as gate:
        yield gate
        assert gate.records() == []


@pytest.fixture(scope="module")
def asking(idle: LiveGate) -> Iterator[httpx.Client]:
    """A client of the idle gate."""
    with httpx.Client(base_url=idle.api, trust_env=False, timeout=30) as client:
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def operator(gate: LiveGate) -> dict[str, str]:
    return bearer(gate.config.operator_token.read_text().strip())


def check(api: httpx.Client, action: str, token: str = TOKEN, **more: Any) -> httpx.Response:
    return api.post("/v1/check", json={"action": action, **more}, headers=bearer(token))


# --- asking first --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "outcome", "code", "reason"),
    [
        ("deploy:staging", "ALLOW", "skill.allowed", "skill:deploy-v2 -- action in allow list"),
        ("deploy:production", "DENY", "skill.denied", "skill:deploy-v2 -- action in deny list"),
        ("pr:merge", "DENY", "skill.not-in-allow-list", "skill:deploy-v2 -- action not in allow list"),
    ],
)
def test_a_question_is_decided_and_recorded(
    gate: LiveGate, api: httpx.Client, action: str, outcome: str, code: str, reason: str
) -> None:
    """200 with outcome, reason and record; a DENY is an answer, not an error."""
    response = check(api, action, target="api-v2", environment="e", agent="deploy-bot", context={"ticket": "T-1"})
    said = response.json()
    assert response.status_code == 200
    assert (said["outcome"], said["code"], said["reason"]) == (outcome, code, reason)
    assert (said["agent"], said["anchor"], said["mode"]) == ("deploy-bot", "alice@acme.test", "enforce")
    (record,) = gate.records()
    assert record["id"] == said["chron_id"]
    wanted = {"channel": "api", "action": action, "target": "api-v2", "environment": "e", "outcome": outcome}
    assert {name: record.get(name) for name in wanted} == wanted
    assert record["reason"] == reason
    assert "T-1" not in json.dumps(record)


def test_an_agent_that_may_not_act_is_told_so(gate: LiveGate, api: httpx.Client) -> None:
    """Suspended: a recorded DENY at its next question, and its records are closed to it."""
    mine = check(api, "deploy:staging").json()["chron_id"]
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "state": "suspended"}]}
    gate.write("agents.yaml", agents)
    assert api.post("/v1/reload", headers=operator(gate)).status_code == 200
    said = check(api, "deploy:staging").json()
    assert (said["outcome"], said["reason"]) == ("DENY", "agent:deploy-bot -- suspended")
    assert gate.records()[-1]["code"] == "agent.suspended"
    response = api.get(f"/v1/chron/{mine}", headers=bearer())
    assert (response.status_code, response.json()["code"]) == (403, "agent.suspended")


BODIES = {
    "empty": (b"", "check.body"),
    "no JSON": (b"{", "check.body"),
    "not UTF-8": (b'{"action": "\xff"}', "check.body"),
    "a list": (b"[]", "check.body"),
    "null": (b"null", "check.body"),
    "no action": (b"{}", "check.body"),
    "empty action": (b'{"action": ""}', "check.body"),
    "action of another kind": (b'{"action": 7}', "check.body"),
    "long action": (json.dumps({"action": "a" * 513}).encode(), "check.body"),
    "unknown key": (b'{"action": "a:b", "force": true}', "check.body"),
    "many unknown keys": (json.dumps({str(n): 1 for n in range(2000)}).encode(), "check.body"),
    "nested context": (b'{"action": "a:b", "context": {"x": {}}}', "check.body"),
    "half a character": (b'{"action": "a:b", "target": "\\ud800"}', "check.body"),
    "no action at all": (b'{"action": "not an action"}', "check.action"),
    "a pattern": (b'{"action": "deploy:*"}', "check.action"),
    "an empty segment": (b'{"action": "deploy::x"}', "check.action"),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES)
def test_a_malformed_question_is_400(idle: LiveGate, asking: httpx.Client, body: bytes, code: str) -> None:
    """What is no question is neither decided nor recorded; the answer says what is wrong in a few words."""
    response = asking.post("/v1/check", content=body, headers=bearer())
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (400, PROBLEM)
    assert response.json()["code"] == code
    assert len(response.json()["reason"]) < 1000
    assert "outcome" not in response.json()
    assert idle.records() == []


# --- who is asking -------------------------------------------------------------------------------------

TOKENS: dict[str, tuple[dict[str, str] | list[tuple[bytes, bytes]], str]] = {
    "none": ({}, "agent.no-credentials"),
    "another scheme": ({"Authorization": "Basic ZGVwbG95LWJvdDp0"}, "agent.no-credentials"),
    "no token": ({"Authorization": "Bearer"}, "agent.no-credentials"),
    "wrong": (bearer("clm_wrong"), "agent.unknown"),
    "cut short": (bearer(TOKEN[:-1]), "agent.unknown"),
    "its digest": (bearer(AGENTS["agents"][0]["tokens"][0]), "agent.unknown"),
    "bytes": ([(b"Authorization", b"Bearer \xff\xfe")], "agent.unknown"),
}


@pytest.mark.parametrize("path", ["/v1/check", "/v1/chron/chr_01k"])
@pytest.mark.parametrize(("headers", "code"), TOKENS.values(), ids=TOKENS)
def test_without_a_known_token_nothing_is_said(
    idle: LiveGate, asking: httpx.Client, headers: Any, code: str, path: str
) -> None:
    """401 with a problem body and the challenge that RFC 6750 requires; nobody's question is decided."""
    method = "POST" if path == "/v1/check" else "GET"
    response = asking.request(method, path, headers=headers, content=b'{"action": "deploy:staging"}')
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response.headers["content-type"].startswith(PROBLEM)
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert idle.records() == []


def test_a_token_speaks_for_its_own_agent_only(gate: LiveGate, api: httpx.Client) -> None:
    """Naming another agent in the body is 403; without a name the token's owner is asked about."""
    response = check(api, "deploy:staging", OTHER_TOKEN, agent="deploy-bot")
    assert (response.status_code, response.json()["code"]) == (403, "agent.other")
    assert gate.records() == []
    said = check(api, "deploy:staging", OTHER_TOKEN).json()
    assert (said["agent"], said["outcome"]) == ("other-bot", "DENY")


# --- records -------------------------------------------------------------------------------------------


def test_a_record_is_shown_to_its_agent_and_the_operator(gate: LiveGate, api: httpx.Client) -> None:
    """Another agent gets the answer that an unknown id gets, so that it learns nothing."""
    mine = check(api, "deploy:production").json()["chron_id"]
    own = api.get(f"/v1/chron/{mine}", headers=bearer())
    assert own.status_code == 200
    assert own.json()["reason"] == "skill:deploy-v2 -- action in deny list"
    assert own.json()["outcomes"] == []
    assert api.get(f"/v1/chron/{mine}", headers=operator(gate)).json() == own.json()
    others = api.get(f"/v1/chron/{mine}", headers=bearer(OTHER_TOKEN))
    unknown = api.get("/v1/chron/chr_01k00000000000000000000000", headers=bearer())
    assert (others.status_code, others.json()["code"]) == (404, "chron.unknown")
    assert (unknown.status_code, unknown.json()) == (404, others.json())


def test_a_wire_record_shows_its_outcome(gate: LiveGate, client: httpx.Client, api: httpx.Client) -> None:
    """The id that a denied client got leads to the decision and what came of it."""
    denied = client.delete("https://origin.test/things/7")
    gate.settle()
    record = api.get(f"/v1/chron/{denied.headers['x-chron-id']}", headers=bearer()).json()
    assert (record["action"], record["outcome"]) == ("infra:destroy", "DENY")
    assert [outcome["result"] for outcome in record["outcomes"]] == ["blocked"]


@pytest.mark.parametrize("id_", ["x", "chr_", "%00", "'%20OR%201=1--", "a" * 3000, "%F0%9F%98%80"])
def test_any_text_is_an_unknown_id(asking: httpx.Client, id_: str) -> None:
    """An id is looked up, never interpreted."""
    response = asking.get(f"/v1/chron/{id_}", headers=bearer())
    assert (response.status_code, response.json()["code"]) == (404, "chron.unknown")


# --- the operator --------------------------------------------------------------------------------------


def test_reload_is_the_operators(gate: LiveGate, api: httpx.Client) -> None:
    """No token 401, an agent's 403, the operator's 200 with the digest in force; the token's file is private."""
    assert stat.S_IMODE(gate.config.operator_token.stat().st_mode) == 0o600
    assert api.post("/v1/reload").status_code == 401
    refused = api.post("/v1/reload", headers=bearer())
    assert (refused.status_code, refused.json()["code"]) == (403, "operator.required")
    done = api.post("/v1/reload", headers=operator(gate))
    assert done.json() == {"status": "loaded", "digest": gate.service.gate.book.digest}
    assert [record["event"] for record in gate.records("policy")] == ["loaded", "loaded"]
    assert api.post("/v1/check", headers=operator(gate), json={"action": "a:b"}).status_code == 401


def test_a_refused_reload_keeps_the_rules_and_is_seen(gate: LiveGate, api: httpx.Client) -> None:
    """422 with every fault, a record, a failing readiness check; the old rules answer, and a repair clears it.

    Which file and which rule is for the operator: anybody may ask for readiness, the agents too.
    """
    good = gate.folder.joinpath("policies/deploy-v2.yaml").read_text()
    gate.write("policies/deploy-v2.yaml", good + "extra: 1\n")
    gate.write("mappings/site.yaml", "version: 1\nrulez: []\n")
    response = api.post("/v1/reload", headers=operator(gate))
    faults = response.json()["faults"]
    assert (response.status_code, response.json()["status"]) == (422, "refused")
    assert any('mappings/site.yaml:2:1: unknown key "rulez"; did you mean "rules"' in fault for fault in faults)
    assert any('unknown key "extra"' in fault for fault in faults)
    (record,) = gate.records("policy", event="refused")
    assert (record["faults"], 'unknown key "rulez"' in record["error"]) == (len(faults), True)
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "failing")
    summary = "the last reload was refused, older rules are in force"
    assert ready.json()["faults"] == {"rules": summary}
    assert api.get("/readyz", headers=bearer()).json()["faults"] == {"rules": summary}
    detailed = api.get("/readyz", headers=operator(gate)).json()["faults"]["rules"]
    assert detailed.splitlines() == [f"{summary}: {faults[0]}", *faults[1:]]
    assert check(api, "deploy:staging").json()["outcome"] == "ALLOW"
    gate.write("policies/deploy-v2.yaml", good)
    gate.write("mappings/site.yaml", "version: 1\n")
    assert api.post("/v1/reload", headers=operator(gate)).status_code == 200
    assert api.get("/readyz").json() == {"status": "ok", "faults": {}}


def test_a_text_changed_under_its_version_is_refused(gate: LiveGate, api: httpx.Client) -> None:
    """The same name and version with another text: refused with the remedy; a new version is taken."""
    text = gate.folder.joinpath("policies/deploy-v2.yaml").read_text()
    looser = text.replace("- deploy:production", "- deploy:nothing")
    gate.write("policies/deploy-v2.yaml", looser)
    faults = api.post("/v1/reload", headers=operator(gate)).json()["faults"]
    message = 'skill "deploy-v2" version 1 changed since it was first loaded; bump the version'
    assert faults == [f"{gate.folder}/policies/deploy-v2.yaml:1:8: {message}"]
    assert check(api, "deploy:production").json()["code"] == "skill.denied"
    gate.write("policies/deploy-v2.yaml", looser + "version: 2\n")
    assert api.post("/v1/reload", headers=operator(gate)).status_code == 200
    assert check(api, "deploy:production").json()["code"] == "skill.not-in-allow-list"
    assert gate.records()[-1]["skill_version"] == 2


# --- health --------------------------------------------------------------------------------------------


def test_a_disk_that_is_filling_is_a_warning(
    gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At twice the low-water mark machines still hear "ready"; numbers and paths are for the operator's token."""
    storage = gate.service._chron._writer._storage
    disk = os.statvfs(gate.config.chron.parent)
    monkeypatch.setattr("chron.storage.LOOK_EVERY_S", 0)
    monkeypatch.setattr(storage, "_low_water_bytes", disk.f_bavail * disk.f_frsize * 2 // 3)
    ready, summary = api.get("/readyz"), "the disk of the log is filling"
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "faults": {}, "warnings": {"disk": summary}})
    told = api.get("/readyz", headers=operator(gate)).json()["warnings"]["disk"]
    assert told.startswith(f"{summary}: disk is filling: ")
    assert str(gate.config.chron) in told
    assert check(api, "deploy:staging").json()["outcome"] == "ALLOW"


def test_health_and_metrics_need_no_token(gate: LiveGate, api: httpx.Client) -> None:
    """A machine can ask; what it is told names no agent, human or host."""
    check(api, "deploy:production")
    for path in ("/health", "/healthz"):
        assert api.get(path).json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ok", "faults": {}}
    metrics = api.get("/metrics")
    assert 'claiim_decisions_total{code="skill.denied",mode="enforce",outcome="DENY"} 1.0' in metrics.text
    assert "deploy-bot" not in metrics.text
    assert "acme" not in metrics.text


# --- what is no request of ours ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/check", 405), ("POST", "/health", 405), ("GET", "/v1/chron/", 404)],
)
def test_other_requests_are_problems_too(asking: httpx.Client, method: str, path: str, status: int) -> None:
    """No page of the web framework's own; 405 says what is allowed (RFC 9110, 15.5.6)."""
    response = asking.request(method, path)
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (status, PROBLEM)
    assert ("allow" in response.headers) == (status == 405)


def test_a_body_that_is_too_long_is_413(idle: LiveGate, asking: httpx.Client) -> None:
    """64 KiB are enough for a question."""
    response = asking.post("/v1/check", content=b" " * 70_000, headers=bearer())
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (413, PROBLEM)
    assert idle.records() == []


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n"])
def test_bytes_that_are_no_request_get_no_trace(idle: LiveGate, sent: bytes) -> None:
    """The parser's complaint at most, never a trace."""
    address = idle.service.api_address
    connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
    connection.connect()
    connection.sock.sendall(sent + b"\r\n\r\n")
    answer = connection.sock.recv(65536)
    connection.close()
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"Traceback" not in answer
    assert b".py" not in answer


# --- bugs ----------------------------------------------------------------------------------------------


def test_an_unexpected_exception_is_a_problem_and_no_permission(
    gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with our own body: no trace, no text of the exception, no ALLOW; the next question is answered."""

    def bug(*_: Any) -> Any:
        raise RuntimeError("planted secret")

    with monkeypatch.context() as planted:
        planted.setattr(type(gate.service.gate.checking), "check", bug)
        response = check(api, "deploy:staging")
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (500, PROBLEM)
    assert response.json()["code"] == "gate.error"
    assert "planted" not in response.text
    assert "outcome" not in response.json()
    assert check(api, "deploy:staging").json()["outcome"] == "ALLOW"


def test_a_bug_in_the_decision_is_a_deny(gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault inside the policies is their own recorded DENY."""

    def bug(*_: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(Policies, "_authorise", bug)
    said = check(api, "deploy:staging").json()
    assert (said["outcome"], said["code"]) == ("DENY", "policy.error")
    assert gate.records()[0]["code"] == "policy.error"


def test_an_answer_that_cannot_be_recorded_is_503(
    gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record, no answer: the SDK raises on it and its caller does not act."""

    def full(*_: Any) -> Any:
        raise ChronError("disk full")

    with monkeypatch.context() as planted:
        planted.setattr(type(gate.service._chron), "append_many", full)
        response = check(api, "deploy:staging")
    assert (response.status_code, response.json()["code"]) == (503, "gate.audit-unavailable")
    assert response.headers["content-type"].startswith(PROBLEM)
    assert "outcome" not in response.json()


# --- bytes that are no request --------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x"])
def test_a_packed_body_is_bad_input(asking: httpx.Client, coding: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is said what is wrong, to whoever has a token, and nothing is logged: aiohttp made it a 500 and two traces."""
    sent = b'{"action": "deploy:staging"}'
    answer = asking.post("/v1/check", content=sent, headers=bearer() | {"Content-Encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (400, "check.body")
    assert asking.post("/v1/check", content=sent, headers={"Content-Encoding": coding}).status_code == 401
    assert not caplog.records


@pytest.mark.parametrize(
    "sent", [b"GET http://[::1/x HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"]
)
def test_no_request_is_not_logged(idle: LiveGate, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knows no token could fill the log with traces."""
    with socket.create_connection((idle.service.api_address.host, idle.service.api_address.port), 10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        connection.sendall(sent)
        assert b" 400 " in connection.recv(4096)
    assert not caplog.records


# --- who is connected ----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nX: "], ids=["nothing", "half a head"])
def test_who_only_waits_gives_way(idle: LiveGate, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's connections take no more than their share of the files; the longest silence ends for the new one."""
    monkeypatch.setattr(proxy.api, "MOST_CONNECTIONS", 20)
    at = (idle.service.api_address.host, idle.service.api_address.port)
    silent = []
    try:
        for _ in range(40):
            silent.append(socket.create_connection(at, 10))
            silent[-1].sendall(said)
        for each in silent[:20]:
            assert each.recv(1) == b""
        with httpx.Client(base_url=idle.api, trust_env=False, timeout=30) as client:
            assert client.get("/health").json() == {"status": "ok"}
    finally:
        for each in silent:
            each.close()
