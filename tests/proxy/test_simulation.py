"""The past before other texts: nothing flips by the texts that made it, and what flips by others is what should."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies import Policies, load_policies
from proxy.records import decision_fields
from proxy.simulation import Replay, tallied
from support.clients import client_of
from support.gate import AGENTS, OTHER_TOKEN, TOKEN, LiveGate, running
from support.targets import Origin

RULES: dict[str, Any] = {
    "version": 1,
    "bind": [{"host": "origin.test", "pack": "http"}],
    "env": [
        {"value": "production", "when": {"stage": ["production"]}},
        {"value": "staging", "when": {"stage": ["staging"]}},
    ],
    "rules": [
        {
            "id": "read",
            "match": {"host": "origin.test", "method": "GET", "path": "/{stage}/{what+}"},
            "action": "data:read",
            "target": "origin/${stage}/${what}",
        },
        {
            "id": "write",
            "match": {"host": "origin.test", "method": "PUT", "path": "/{stage}/{what+}", "query": {"write": "1"}},
            "action": "data:write",
            "target": "origin/${stage}/${what}",
        },
        {
            "id": "tag",
            "match": {"host": "origin.test", "method": "PUT", "path": "/{stage}/{what+}", "query": {"tag": "1"}},
            "action": "data:tag",
            "target": "origin/${stage}/${what}",
        },
        {
            "id": "delete",
            "match": {"host": "origin.test", "method": "DELETE", "path": "/{stage}/{what+}"},
            "action": "infra:destroy",
            "target": "origin/${stage}/${what}",
        },
        {
            "id": "secret",
            "match": {"host": "origin.test", "method": "GET", "path": "/secret/{what+}"},
            "action": "secret:read",
            "target": "secret/${what}",
        },
        {
            "id": "deploy",
            "match": {"host": "origin.test", "method": "POST", "path": "/{stage}/deploy"},
            "action": "deploy:${env}",
            "target": "origin",
        },
    ],
}

TEXTS: dict[str, dict[str, Any]] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": [
            {"action": "data:read", "when": {"target": ["origin/*/public/*"]}},
            {"action": "data:*", "when": {"environment": ["staging"], "client": ["127.0.0.0/8"]}},
            "data:tag",
            {"action": "deploy:*", "unless": {"header": {"x-dry": "no"}}},
        ],
        "approve": [{"action": "infra:destroy", "approvers": {"who": ["*@acme.test"]}}],
        "deny": [{"action": "data:write", "when": {"header": {"x-mood": "bad*"}}}],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
    "tickets": {
        "policy": "tickets",
        "applies_to": {"agents": ["deploy-bot"]},
        "require": [{"action": "deploy:*", "header": "x-ticket", "like": ["OPS-*"]}],
        "redact": [{"action": "secret:read", "fields": ["target"]}],
    },
    "calm": {
        "policy": "calm",
        "limits": [
            {"action": "data:write", "most": 3, "per": "day", "of": "human"},
            {"action": "deploy:*", "most": 2, "per": "hour"},
        ],
    },
    "watch": {"policy": "watch", "deny": ["data:read"], "mode": "observe"},
}


def _agents() -> dict[str, Any]:
    watched = {**AGENTS["agents"][1], "mode": "observe"}
    return {**AGENTS, "agents": [AGENTS["agents"][0], watched]}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A running gate with rules of every kind."""
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=RULES, skills=TEXTS, agents=_agents())
    with running(live):
        yield live


def _traffic(gate: LiveGate) -> None:
    """Send some of everything that these rules tell apart."""
    base = "https://origin.test"
    with client_of(gate) as client, client_of(gate, proxy=gate.proxy("other-bot", OTHER_TOKEN)) as other:
        for path in ("/staging/a", "/production/a", "/production/public/a", "/staging/public/b"):
            client.get(base + path)
        for mood in ("good", "bad day"):
            client.put(f"{base}/staging/a?write=1", headers={"x-mood": mood})
        # Two operations: the one is allowed and counted, the other denied, so nothing is used up.
        client.put(f"{base}/production/a?write=1&tag=1")
        client.put(f"{base}/staging/a?write=1&tag=1")
        client.put(f"{base}/staging/a?tag=1")
        for ticket in ("OPS-1", "", "DEV-1", "OPS-2", "OPS-3"):
            client.post(f"{base}/staging/deploy", headers={"x-ticket": ticket} if ticket else {})
        client.post(f"{base}/staging/deploy", headers={"x-ticket": "OPS-4", "x-dry": "no"})
        client.delete(f"{base}/staging/a")
        client.get(f"{base}/secret/a")
        client.patch(f"{base}/staging/a")
        for method, path in (("GET", "/staging/a"), ("DELETE", "/staging/a"), ("PUT", "/staging/b?write=1")):
            other.request(method, base + path)
    with client_of(gate, proxy=gate.proxy("deploy-bot", "wrong")) as stranger, pytest.raises(httpx.ProxyError):
        stranger.get(f"{base}/staging/a")
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}) as asking:
        for action, environment in (("data:read", "staging"), ("deploy:staging", ""), ("infra:destroy", "staging")):
            asking.post(f"{gate.api}/v1/check", json={"action": action, "environment": environment})


def _policies(gate: LiveGate, **changed: Any) -> Policies:
    for name, text in changed.items():
        gate.write(f"policies/{name}.yaml", text)
    return load_policies(gate.config.agents, gate.config.policies)


def test_nothing_flips_by_the_texts_that_decided(gate: LiveGate) -> None:
    """Conditions, headers, limits, approvals, observation, several operations: all is decided as it was."""
    _traffic(gate)
    gate.settle()
    policies = _policies(gate)
    left_out: Counter[str] = Counter()
    again_made = 0
    for fields, again in Replay(gate.config.chron, policies).decisions():
        if isinstance(again, str):
            left_out[again] += 1
            continue
        again_made += 1
        said = {name: value for name, value in decision_fields(again.decision).items() if value is not None}
        assert {name: fields.get(name) for name in said} == said
    assert left_out == {"identity": 1, "unnamed": 1, "target redacted": 1}
    tally = tallied(Replay(gate.config.chron, policies).decisions())
    assert tally.changes == {}
    assert tally.decided == again_made == len(gate.records()) - 3
    kinds = {(record["outcome"], record["mode"], record["stage"]) for record in gate.records() if "at" in record}
    assert kinds == {
        ("ALLOW", "enforce", "skill"),
        ("ALLOW", "observe", "skill"),
        ("DENY", "enforce", "policy"),
        ("DENY", "enforce", "skill"),
        ("DENY", "observe", "skill"),
        ("HOLD", "enforce", "skill"),
    }


def test_uses_are_counted_as_the_gate_counted_them(gate: LiveGate) -> None:
    """With one more policy nothing of the recorded counts is taken over, and the simulated ones are the same."""
    _traffic(gate)
    gate.settle()
    policies = _policies(gate, other={"policy": "other", "deny": ["nothing:at-all"]})
    tally = tallied(Replay(gate.config.chron, policies).decisions())
    assert tally.changes == {}
    limited = gate.records(code="policy.limit")
    assert len(limited) == 1


def test_calls_side_by_side_are_no_flips(gate: LiveGate) -> None:
    """Which of two calls took the last use no log tells in its order; the record of each says what was counted."""
    with client_of(gate) as client, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: client.put(f"https://origin.test/staging/{n}?write=1").status_code, range(24))
        )
    assert answers.count(200) == 3
    gate.settle()
    tally = tallied(Replay(gate.config.chron, _policies(gate)).decisions())
    assert (tally.decided, tally.changes) == (24, {})


def test_a_call_that_the_new_texts_deny_uses_nothing_up(gate: LiveGate) -> None:
    """What is newly denied leaves its use to the next, and what is newly allowed takes one."""
    with client_of(gate) as client:
        for what in ("a", "b", "c", "d", "e"):
            client.put(f"https://origin.test/staging/{what}?write=1")
    assert [record["outcome"] for record in gate.records()] == ["ALLOW"] * 3 + ["DENY"] * 2
    without_a = {"policy": "no-a", "deny": [{"action": "data:write", "when": {"target": ["origin/staging/a"]}}]}
    tally = tallied(Replay(gate.config.chron, _policies(gate, **{"no-a": without_a})).decisions())
    ids = [record["id"] for record in gate.records()]
    turned = {
        (change.then.outcome, change.now.outcome): (seen.first, seen.last) for change, seen in tally.flips().items()
    }
    assert turned == {("ALLOW", "DENY"): (ids[0], ids[0]), ("DENY", "ALLOW"): (ids[3], ids[3])}
    (denied,) = [change for change in tally.flips() if change.now.outcome == "DENY"]
    assert denied.now.reason == "policy:no-a -- action in deny list"
    assert denied.now.rule.endswith("no-a.yaml:3:3")
    assert (denied.agent, denied.human) == ("deploy-bot", "alice@acme.test")


def test_a_header_that_nobody_recorded_is_not_guessed(gate: LiveGate) -> None:
    """New texts that ask for another header cannot be tried on calls whose records do not have it."""
    with client_of(gate) as client:
        client.get("https://origin.test/staging/a")
        client.put("https://origin.test/staging/a?tag=1")
    asks = {"policy": "asks", "require": [{"action": "data:read", "header": "x-new"}]}
    tally = tallied(Replay(gate.config.chron, _policies(gate, asks=asks)).decisions())
    assert tally.left_out == {"header x-new not recorded": 1}
    assert (tally.decided, tally.changes) == (1, {})
