"""A proxy that forwards itself asks the gate: same reading, same decision, same Chron; whatever is odd is refused."""

import base64
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chron import ChronError
from proxy.metrics import Metrics
from proxy.pipeline import Gate
from proxy.replaying import Replay
from support.children import child
from support.gate import AGENTS, OTHER_TOKEN, SKILLS, TOKEN, LiveGate
from support.needed import needed
from support.raw import read_all
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

PATH = "/v1/forward-auth"
FLEET = "forward-token-0123456789abcdef"
PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def basic(agent: str = "deploy-bot", token: str = TOKEN) -> str:
    return "Basic " + base64.b64encode(f"{agent}:{token}".encode()).decode()


PROOF = {"X-Claiim-Forward": f"Bearer {FLEET}"}
AGENT = {"X-Claiim-Authorization": basic()}
LIMITED = {
    **SKILLS,
    "deploy-v2": SKILLS["deploy-v2"]
    | {"approve": [{"action": "data:write"}], "limits": [{"action": "data:read", "most": 1000, "per": "1h"}]},
}


def gate_in(folder: Path, **more: Any) -> LiveGate:
    gate = LiveGate(folder, mappings=ORIGIN_MAPPINGS, config={"forward_auth": {"token_file": "forward.token"}}, **more)
    gate.write("forward.token", FLEET + "\n")
    return gate


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGate]:
    with gate_in(tmp_path_factory.mktemp("gate"), skills=LIMITED) as live:
        yield live
        outcomes = [record["ref"] for record in live.records("outcome", channel="forward")]
        assert sorted(outcomes) == sorted(record["id"] for record in live.records(channel="forward"))
        replayed = list(Replay(live.config.chron).decisions())
        assert [each for each in replayed if each.differing] == []
        assert any(each.again for each in replayed)


@pytest.fixture(scope="module")
def api(gate: LiveGate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        yield client


type Shaped = tuple[str, str, dict[str, str]]
"""Method, path and headers of the question."""


def forwarded(method: str, path: str, host: str = "origin.test") -> Shaped:
    """As Traefik and Caddy ask."""
    told = {"Method": method, "Proto": "https", "Host": host, "Uri": path, "For": "10.1.2.3"}
    return "GET", PATH, {f"X-Forwarded-{name}": value for name, value in told.items()}


def original(method: str, path: str, host: str = "origin.test") -> Shaped:
    """As nginx asks."""
    told = {"X-Original-Method": method, "X-Original-URL": f"https://{host}{path}", "X-Forwarded-For": "10.1.2.3"}
    return "GET", PATH, told


def prefixed(method: str, path: str, host: str = "origin.test") -> Shaped:
    """As Envoy asks."""
    return method, PATH + path, {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 10.1.2.3"}


SHAPES = {"Traefik and Caddy": forwarded, "nginx": original, "Envoy": prefixed}


def ask(api: httpx.Client, shaped: Shaped, headers: dict[str, str] | None = None) -> httpx.Response:
    method, path, told = shaped
    every = {**PROOF, **AGENT, **told, **(headers or {})}
    return api.request(method, path, headers={name: value for name, value in every.items() if value})


def last(gate: LiveGate) -> dict[str, Any]:
    return gate.records()[-1]


# --- decisions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_allowed_request_is_delegated(gate: LiveGate, api: httpx.Client, shape: Any) -> None:
    """200 with the record's id; the record has what a request on the wire has, and its outcome is "delegated"."""
    response = ask(api, shape("GET", "/things/%7e7?page=2"), {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    assert (response.status_code, response.content) == (200, b"")
    found = last(gate)
    wanted = {
        "id": response.headers["x-chron-id"],
        "channel": "forward",
        "outcome": "ALLOW",
        "action": "data:read",
        "target": "origin.test/things/~7",
        "method": "GET",
        "scheme": "https",
        "host": "origin.test",
        "port": 443,
        "path": "/things/~7",
        "query_keys": "page",
        "client": "10.1.2.3",
        "agent": "deploy-bot",
        "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "request_bytes" not in found
    outcome = gate.outcome_of(found)
    assert (outcome["result"], outcome["channel"]) == ("delegated", "forward")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_denied_request_is_403(gate: LiveGate, api: httpx.Client, shape: Any) -> None:
    """With the reason, the record and its outcome; an answer of 200 would let it pass."""
    response = ask(api, shape("DELETE", "/things/7"))
    said = response.json()
    assert (response.status_code, said["status"]) == (403, 403)
    assert said["reason"] == "skill:deploy-v2 -- action in deny list"
    found = last(gate)
    assert (found["id"], found["channel"], found["code"]) == (said["chron_id"], "forward", "skill.denied")
    assert response.headers["x-chron-id"] == found["id"]
    assert gate.outcome_of(found)["result"] == "blocked"


REFUSED: dict[str, tuple[Shaped, str]] = {
    "what its body decides": (forwarded("POST", "/runs"), "mapping.unreadable"),
    "what needs approval": (forwarded("POST", "/things"), "approval.unreadable"),
    "what nobody names": (forwarded("GET", "/x", "elsewhere.test"), "mapping.unmapped"),
    "a path with two readings": (forwarded("GET", "/a/..%2fb"), "wire.path.dot-segment"),
    "a path that is none": (original("GET", "/a\\b"), "wire.path.backslash"),
    "a method in lower case": (forwarded("get", "/x"), "wire.method"),
    "a host with a password": (forwarded("GET", "/x", "a:b@origin.test"), "wire.host.userinfo"),
    "a spelling of an address": (original("GET", "/x", "0x7f.1"), "wire.host.ipv4"),
    "another method in a header": (
        ("GET", PATH, {**forwarded("POST", "/things")[2], "X-HTTP-Method-Override": "DELETE"}),
        "mapping.conflict",
    ),
}


@pytest.mark.parametrize(("shaped", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_judged_by_its_head_is_refused(
    gate: LiveGate, api: httpx.Client, shaped: Shaped, code: str
) -> None:
    """403 whatever the refusal is, and recorded."""
    response = ask(api, shaped)
    assert (response.status_code, response.json()["code"]) == (403, code), response.text
    assert (last(gate)["code"], last(gate)["outcome"]) == (code, "DENY")


# --- which request it is -------------------------------------------------------------------------------


def mixed(first: Shaped, second: Shaped) -> Shaped:
    return second[0], second[1], {**first[2], **second[2]}


SHAPELESS: dict[str, Shaped] = {
    "no shape": ("GET", PATH, {}),
    "an agent's shape beside nginx's": mixed(forwarded("GET", "/x"), original("DELETE", "/x")),
    "an agent's shape beside Envoy's": mixed(forwarded("GET", "/x"), prefixed("DELETE", "/x")),
    "nginx's beside Envoy's": mixed(original("GET", "/x"), prefixed("DELETE", "/x")),
    "no method": ("GET", PATH, {**original("", "/x")[2]}),
    "no path": ("GET", PATH, {**forwarded("GET", "")[2]}),
    "no host": ("GET", PATH, {**forwarded("GET", "/x", "")[2]}),
    "no scheme": ("GET", PATH, {**forwarded("GET", "/x")[2], "X-Forwarded-Proto": ""}),
    "another scheme": ("GET", PATH, {**forwarded("GET", "/x")[2], "X-Forwarded-Proto": "wss"}),
    "two schemes": ("GET", PATH, {**forwarded("GET", "/x")[2], "X-Forwarded-Proto": "https, http"}),
    "an address that is none": ("GET", PATH, {"X-Original-Method": "GET", "X-Original-URL": "/x"}),
}


@pytest.mark.parametrize("shaped", SHAPELESS.values(), ids=SHAPELESS)
def test_a_request_that_is_not_told_once_is_refused(gate: LiveGate, api: httpx.Client, shaped: Shaped) -> None:
    """Half of a shape, or two shapes of which one would be the agent's: 403 and a record, whoever asks."""
    response = ask(api, shaped)
    assert (response.status_code, response.json()["code"]) == (403, "forward.shape")
    found = last(gate)
    assert (found["channel"], found["code"], found["agent"]) == ("forward", "forward.shape", "deploy-bot")


def test_a_header_that_stands_twice_is_refused(gate: LiveGate, api: httpx.Client) -> None:
    """The agent's may be the one that counts."""
    told = [*{**PROOF, **AGENT, **forwarded("DELETE", "/x")[2]}.items(), ("X-Forwarded-Method", "GET")]
    response = api.get(PATH, headers=told)
    assert (response.status_code, response.json()["code"]) == (403, "forward.shape")


@pytest.mark.parametrize("told", ["", "unknown", "10.1.2.3, nonsense"])
def test_an_address_that_is_not_told_is_not_known(gate: LiveGate, api: httpx.Client, told: str) -> None:
    """It is not the fleet proxy's own, which might be in a network that a text lets in."""
    method, path, headers = forwarded("GET", "/x")
    assert ask(api, (method, path, {**headers, "X-Forwarded-For": told})).status_code == 200
    assert last(gate)["client"] == ""


def test_the_path_is_taken_as_it_came(gate: LiveGate) -> None:
    """Behind the prefix nothing is decoded or folded before our own reader sees it."""
    address = gate.service.api_address
    with socket.create_connection((address.host, address.port), timeout=20) as raw:
        head = {**PROOF, **AGENT, "Host": "origin.test", "X-Forwarded-Proto": "https", "Connection": "close"}
        fields = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        raw.sendall(f"GET {PATH}/a/../b HTTP/1.1\r\n{fields}\r\n".encode())
        assert read_all(raw).startswith(b"HTTP/1.1 403 ")
    assert last(gate)["code"] == "wire.path.dot-segment"


# --- who asks ------------------------------------------------------------------------------------------

UNPROVEN = {
    "nothing": {"X-Claiim-Forward": ""},
    "another token": {"X-Claiim-Forward": "Bearer forward-token-0123456789abcdeX"},
    "the agent's token": {"X-Claiim-Forward": f"Bearer {TOKEN}"},
    "another scheme": {"X-Claiim-Forward": f"Basic {FLEET}"},
    "in the agent's field": {"X-Claiim-Forward": "", "Authorization": f"Bearer {FLEET}"},
}


@pytest.mark.parametrize("headers", UNPROVEN.values(), ids=UNPROVEN)
def test_only_the_proxy_we_know_may_ask(gate: LiveGate, api: httpx.Client, headers: dict[str, str]) -> None:
    """401, and nothing is decided or recorded: anybody else could invent requests."""
    before = len(gate.records())
    response = ask(api, forwarded("GET", "/x"), headers)
    assert (response.status_code, response.json()["code"]) == (401, "forward.unproven")
    assert len(gate.records()) == before


def test_without_a_token_nobody_may_ask(tmp_path: Path) -> None:
    """The route is closed until it is configured, also for an empty proof."""
    with LiveGate(tmp_path) as closed, httpx.Client(base_url=closed.api, trust_env=False) as api:
        for proof in (f"Bearer {FLEET}", "Bearer", "bearer x"):
            headers = {"X-Claiim-Forward": proof}
            assert api.get(PATH, headers={**AGENT, **forwarded("GET", "/x")[2], **headers}).status_code == 401


AGENTS_PROOFS: dict[str, tuple[dict[str, str], str]] = {
    "Basic": ({}, ""),
    "Bearer": ({"X-Claiim-Authorization": f"Bearer {TOKEN}"}, ""),
    "the proxy's field": ({"X-Claiim-Authorization": "", "Proxy-Authorization": basic()}, ""),
    "none": ({"X-Claiim-Authorization": ""}, "agent.no-credentials"),
    "both": ({"Proxy-Authorization": basic()}, "agent.no-credentials"),
    "wrong": ({"X-Claiim-Authorization": basic(token=OTHER_TOKEN)}, "agent.wrong-token"),
    "nobody's": ({"X-Claiim-Authorization": "Bearer clm_nobody"}, "agent.unknown"),
    "the fleet's": ({"X-Claiim-Authorization": f"Bearer {FLEET}"}, "agent.unknown"),
}


@pytest.mark.parametrize(("headers", "code"), AGENTS_PROOFS.values(), ids=AGENTS_PROOFS)
def test_the_agent_proves_itself(gate: LiveGate, api: httpx.Client, headers: dict[str, str], code: str) -> None:
    """By what it would prove itself with to the gate; otherwise 403 and a record, never 407."""
    response = ask(api, forwarded("GET", "/x"), headers)
    assert response.status_code == (403 if code else 200)
    assert (last(gate)["code"], last(gate)["channel"]) == (code or "skill.allowed", "forward")


def test_no_secret_is_recorded(gate: LiveGate) -> None:
    """Neither the fleet's token nor the agent's stands in any record."""
    text = str(gate.records()) + str(gate.records("outcome"))
    assert FLEET not in text
    assert TOKEN not in text


def test_what_cannot_be_recorded_is_not_permitted(
    gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """403 too: a 5xx is a failure that some proxies can be told to ignore."""

    def full(*_: Any) -> Any:
        raise ChronError("disk full")

    with monkeypatch.context() as planted:
        planted.setattr(type(gate.service._chron), "append_many", full)
        response = ask(api, forwarded("GET", "/x"))
    assert (response.status_code, response.json()["code"]) == (403, "gate.audit-unavailable")


BUGS = {"who": (Gate, "who"), "head": (Gate, "read_head"), "judge": (Gate, "judge"), "end": (Metrics, "finished")}


@pytest.mark.parametrize("place", BUGS.values(), ids=BUGS)
def test_a_bug_is_a_403_too(
    gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    """Wherever it is, also behind the decision: no 5xx that could be ignored, no trace, and no permission."""

    def bug(*_: Any, **__: Any) -> Any:
        raise RuntimeError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(*place, bug)
        response = ask(api, forwarded("GET", "/x"))
    assert (response.status_code, response.json()["code"]) == (403, "gate.error")
    assert "planted" not in response.text
    assert "x-chron-id" not in response.headers


def test_what_is_only_observed_is_delegated(tmp_path: Path) -> None:
    """An agent under observation: 200 with the denial on record; what cannot be read and who it is are refused."""
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "mode": "observe"}]}
    skills = {"deploy-v2": LIMITED["deploy-v2"]}
    with (
        gate_in(tmp_path, skills=skills, agents=agents) as live,
        httpx.Client(base_url=live.api, trust_env=False) as api,
    ):
        asked = {
            "denied": ask(api, forwarded("DELETE", "/things/7")),
            "needs approval": ask(api, forwarded("POST", "/things")),
            "named by nobody": ask(api, forwarded("GET", "/x", "elsewhere.test")),
            "decided by its body": ask(api, forwarded("POST", "/runs")),
            "no path": ask(api, forwarded("GET", "/a/..%2fb")),
            "a wrong token": ask(api, forwarded("GET", "/x"), {"X-Claiim-Authorization": basic(token=OTHER_TOKEN)}),
        }
        assert [response.status_code for response in asked.values()] == [200, 200, 200, 403, 403, 403]
        found = live.records()
        assert [record["id"] for record in found] == [response.headers["x-chron-id"] for response in asked.values()]
        assert [(record["outcome"], record["mode"], record["code"]) for record in found] == [
            ("DENY", "observe", "skill.denied"),
            ("HOLD", "observe", "skill.needs-approval"),
            ("DENY", "observe", "mapping.unmapped"),
            ("DENY", "enforce", "mapping.unreadable"),
            ("DENY", "enforce", "wire.path.dot-segment"),
            ("DENY", "enforce", "agent.wrong-token"),
        ]
        assert {record["channel"] for record in found} == {"forward"}
        outcomes = [live.outcome_of(record)["result"] for record in found]
        assert outcomes == ["delegated"] * 3 + ["blocked"] * 3
        assert live.records("approval") == []


def test_a_push_that_is_refused_is_not_a_200(tmp_path: Path) -> None:
    """git is shown its refusal in a 200 elsewhere; here that would be a permission."""
    mappings = {"version": 1, "bind": [{"host": "git.test", "pack": "git"}]}
    live = LiveGate(tmp_path, mappings=mappings, config={"forward_auth": {"token_file": "forward.token"}})
    live.write("forward.token", FLEET)
    with live, httpx.Client(base_url=live.api, trust_env=False) as api:
        response = ask(api, forwarded("POST", "/team/app.git/git-receive-pack", "git.test"))
        assert response.status_code == 403
        assert last(live)["outcome"] == "DENY"


def test_what_was_delegated_counts_as_used(tmp_path: Path) -> None:
    """A limit holds for it, also after a restart."""
    skills = {"deploy-v2": SKILLS["deploy-v2"] | {"limits": [{"action": "data:read", "most": 2, "per": "1h"}]}}
    agents = {**AGENTS, "agents": AGENTS["agents"][:1]}
    for statuses in ([200, 200, 403], [403]):
        with (
            gate_in(tmp_path, skills=skills, agents=agents) as live,
            httpx.Client(base_url=live.api, trust_env=False) as api,
        ):
            assert [ask(api, forwarded("GET", "/x")).status_code for _ in statuses] == statuses
            assert last(live)["code"] == "skill.limit"


# --- nginx ---------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(gate: LiveGate, tmp_path: Path, plain_origin: Origin) -> Iterator[httpx.Client]:
    """nginx in front of the origin, configured by the block in docs/interop.md."""
    program = needed("nginx")
    block = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    path = tmp_path / "nginx.sock"
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        "events {}\nhttp {\naccess_log off;\n"
        + "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in
                  ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f"upstream gate {{ server {gate.service.api_address}; }}\n"
        f"upstream target {{ server {plain_origin.address}; }}\n"
        f"server {{ listen unix:{path};\n{block[1].replace('FORWARD_TOKEN', FLEET)}}}\n}}\n"
    )  # fmt: skip
    command = [program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with child(*command) as process:
        try:
            transport = httpx.HTTPTransport(uds=str(path), retries=8)
            with httpx.Client(transport=transport, base_url="http://plain.test", timeout=30) as client:
                yield client
        finally:
            process.terminate()


def test_nginx_lets_pass_what_the_gate_allows(gate: LiveGate, fleet: httpx.Client, plain_origin: Origin) -> None:
    """The target gets the request without the agent's credential; the agent gets the record's id."""
    response = fleet.get("/echo?a=1", headers=AGENT)
    assert response.status_code == 200, response.text
    found = last(gate)
    assert (found["id"], found["action"], found["target"]) == (
        response.headers["x-chron-id"],
        "data:read",
        "plain.test/echo",
    )
    assert found["method"] == "GET"
    assert not [name for name, _ in response.json()["headers"] if "claiim" in name.lower()]


def test_nginx_stops_what_the_gate_denies(gate: LiveGate, fleet: httpx.Client, plain_origin: Origin) -> None:
    """403 and nothing reaches the target, whatever the agent says that the request is, and without a credential."""
    before = len(plain_origin.seen)
    lies: dict[str, str] = {"X-Original-Method": "GET", "X-Original-URL": "https://origin.test/x"}
    assert fleet.delete("/echo", headers={**AGENT, **lies}).status_code == 403
    assert (last(gate)["action"], last(gate)["code"]) == ("infra:destroy", "skill.denied")
    assert fleet.get("/echo", headers={**AGENT, **forwarded("GET", "/x")[2]}).status_code == 403
    assert last(gate)["code"] == "forward.shape"
    assert fleet.get("/echo").status_code == 403
    assert last(gate)["code"] == "agent.no-credentials"
    assert fleet.get("/claiim", headers=AGENT).status_code == 404
    assert len(plain_origin.seen) == before
