"""Statements of docs/evaluation.md that only a running gate can keep; the others are in tests/policies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk.loopback_gate import LoopbackGate, json_reply, loopback
from support.clients import client_of
from support.gate import AGENTS, SKILLS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

OBSERVED = {**AGENTS, "agents": [{**agent, "mode": "observe"} for agent in AGENTS["agents"]]}


@pytest.fixture
def pdp() -> Iterator[LoopbackGate]:
    with loopback() as served:
        yield served


ANSWERS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "yes": (lambda: json_reply(200, {"decision": True}), "skill.allowed", "allow"),
    "no": (lambda: json_reply(200, {"decision": False}), "pdp.denied", "deny"),
    "a fault": (lambda: json_reply(500, {"decision": True}), "pdp.unavailable", "unavailable"),
    "no plain yes": (lambda: json_reply(200, {"decision": "true"}), "pdp.unavailable", "unavailable"),
}


@pytest.mark.parametrize("agents", [AGENTS, OBSERVED], ids=["enforce", "observe"])
@pytest.mark.parametrize(("answer", "code", "said"), ANSWERS.values(), ids=ANSWERS)
def test_e61_a_second_decision_point(
    answer: Callable[[], Any],
    code: str,
    said: str,
    agents: dict[str, Any],
    tmp_path: Path,
    origin: Origin,
    target_ca_pem: Path,
    pdp: LoopbackGate,
) -> None:
    """What the rules let go on needs its plain yes, in every mode; over what they deny it is not asked."""
    pdp.reply = answer()
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        agents=agents,
        config={"pdp": {"url": pdp.url, "timeout_s": 5}},
    )
    with running(live), client_of(live) as client:
        status = client.get("https://origin.test/echo").status_code
        (record,) = live.records(channel="wire")
        assert (status, record["outcome"]) == ((200, "ALLOW") if said == "allow" else (403, "DENY"))
        assert (record["code"], record["pdp"]) == (code, said)
        client.delete("https://origin.test/echo")
        record = live.records(channel="wire")[-1]
        if agents is AGENTS:
            assert (record["outcome"], record["code"], record.get("pdp")) == ("DENY", "skill.denied", None)
        assert len(origin.seen) == (2 if agents is OBSERVED and said == "allow" else int(said == "allow"))


ANY_METHOD = {
    "version": 1,
    "rules": [{"id": "any", "match": {"host": "origin.test", "path": "/echo"}, "action": "any:do", "target": "it"}],
}
OVERRIDES: dict[str, tuple[str, dict[str, str]]] = {
    "a field": ("/echo", {"X-HTTP-Method-Override": "DELETE"}),
    "a parameter": ("/echo?_method=delete", {}),
}


@pytest.mark.parametrize("named", OVERRIDES)
@pytest.mark.parametrize(
    ("skill", "code"),
    [
        ({"allow": [{"action": "any:do", "when": {"method": "get"}}]}, "skill.not-in-allow-list"),
        ({"allow": ["any:do"], "deny": [{"action": "any:do", "when": {"method": "delete"}}]}, "skill.denied"),
    ],
    ids=["allowed for one", "denied for another"],
)
def test_e36_the_method_of_a_request_that_names_another(
    named: str, skill: dict[str, Any], code: str, tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """Where no rule hangs on it a condition may: what some server takes for a deletion passes for no read."""
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ANY_METHOD,
        skills={**SKILLS, "deploy-v2": {"skill": "deploy-v2", **skill}},
    )
    path, headers = OVERRIDES[named]
    with running(live), client_of(live) as client:
        assert client.get("https://origin.test/echo").status_code == 200
        assert client.get(f"https://origin.test{path}", headers=headers).status_code == 403
        same = client.get("https://origin.test/echo", headers={"X-HTTP-Method-Override": "GET"})
        assert same.status_code == 200
        _, refused, _ = live.records(channel="wire")
    assert (refused["code"], refused["method"], refused["other_methods"]) == (code, "GET", "DELETE")
    assert len(origin.seen) == 2
