"""A gate with rules of every kind, and traffic that tells them apart: a past for those who look back."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients import client_of
from support.gate import AGENTS, OTHER_TOKEN, TOKEN, LiveGate
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


def rich_gate(folder: Path, origin: Origin, target_ca: Path) -> LiveGate:
    """A gate with these rules; one of its agents is only watched, and nothing is held for humans."""
    watched = {**AGENTS["agents"][1], "mode": "observe"}
    agents = {**AGENTS, "agents": [AGENTS["agents"][0], watched]}
    config = {"approvals": {"wait_s": 0}}
    return LiveGate(folder, origin, target_ca=target_ca, mappings=RULES, skills=TEXTS, agents=agents, config=config)


def traffic(gate: LiveGate) -> None:
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
