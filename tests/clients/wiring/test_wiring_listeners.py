"""`claiim env --listener NAME`: unmodified clients come by that listener, and the record says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from clients.wiring import scripts
from clients.wiring.shelf import Shelf
from support.forked import launcher
from support.gate import AGENTS, TOKEN, LiveGate, running
from support.needed import needed

APIS = {"pip": "pypi.org", "npm": "registry.npmjs.org", "openai": "api.openai.com", "anthropic": "api.anthropic.com"}
PROVEN = (*APIS, "bare")
LISTENERS: dict[str, Any] = {
    **{
        name: {"mode": "reverse", "listen": "127.0.0.1:0", "target": f"https://{host}", "proves": "listener"}
        for name, host in APIS.items()
    },
    "unproven": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://pypi.org"},
    "socks": {"mode": "socks5", "listen": "127.0.0.1:0"},
    "bare": {"mode": "proxy", "listen": "127.0.0.1:0", "proves": "listener"},
    "led": {"mode": "transparent", "listen": "127.0.0.1:0"},
}
ANYTHING = {"skill": "deploy-v2", "allow": ["**"]}
RULE = {"id": "shelf", "match": {"host": [*APIS.values(), "origin.test"], "path": "/{what+}"}, "action": "data:read"}
CLIENTS: dict[str, list[str]] = {
    "pip": [sys.executable, "-m", "pip", "index", "versions", "x", "--disable-pip-version-check", "--retries=0"],
    "npm": ["npm", "view", "x"],
    "openai": [sys.executable, "-c", scripts.OPENAI],
    "anthropic": [sys.executable, "-c", scripts.ANTHROPIC],
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A gate with every kind of listener, and beside its configuration one that names the ports it got."""
    folder = tmp_path_factory.mktemp("listeners")
    first, *others = AGENTS["agents"]
    agents = {**AGENTS, "agents": [{**first, "identities": [f"listener:{name}" for name in PROVEN]}, *others]}
    with Shelf(target_ca, "origin.test", *APIS.values()) as shelf:
        live = LiveGate(
            folder, shelf, target_ca=target_ca_pem, mappings={"version": 1, "rules": [RULE | {"target": "${host}"}]},
            skills={"deploy-v2": ANYTHING, "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]}}, agents=agents,
            config={"listeners": LISTENERS},
        )  # fmt: skip
        with running(live):
            config = yaml.safe_load((folder / "claiim.yaml").read_text())
            for name, address in live.service.listener_addresses.items():
                config["listeners"][name]["listen"] = str(address)
            config["proxy"]["listen"] = str(live.service.proxy_address)
            live.write("listening.yaml", config)
            yield live


def env(gate: LiveGate, listener: str) -> subprocess.CompletedProcess[str]:
    """What `claiim env` says of a listener."""
    command = [launcher(), "env", "--config", str(gate.folder / "listening.yaml"), "--agent", "deploy-bot", "--json"]
    own = {"PATH": os.environ["PATH"], "HOME": str(gate.folder), "CLAIIM_TOKEN": TOKEN}
    return subprocess.run([*command, "--listener", listener], capture_output=True, text=True, env=own, timeout=120)


def wired(gate: LiveGate, listener: str) -> dict[str, str]:
    """The whole environment of a tool that comes by it."""
    said = env(gate, listener)
    assert said.returncode == 0, said.stderr
    return {"PATH": os.environ["PATH"], "HOME": str(gate.folder)} | json.loads(said.stdout)["set"]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_takes_its_base_url(gate: LiveGate, name: str) -> None:
    """Told by a variable alone, it goes to the listener in front of its API, which knows whose it is."""
    command = [needed(CLIENTS[name][0]), *CLIENTS[name][1:]]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=wired(gate, name) | {"npm_config_update_notifier": "false"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (record,) = gate.records(listener=name)
    assert (record["outcome"], record["agent"], record["host"]) == ("ALLOW", "deploy-bot", APIS[name])


@pytest.mark.needs("curl")
def test_socks_is_for_what_knows_no_other(gate: LiveGate) -> None:
    """A client that has only ALL_PROXY comes by the SOCKS listener; the others stay with the proxy."""
    environ = wired(gate, "socks")
    for without in ((), ("HTTPS_PROXY", "https_proxy")):
        own = {name: value for name, value in environ.items() if name not in without}
        done = subprocess.run(
            ["curl", "-sS", "--fail", "https://origin.test/socks"], capture_output=True, env=own, timeout=120
        )
        assert done.returncode == 0, done.stderr
    came = [record.get("listener") for record in gate.records(path="/socks")]
    assert came == [None, "socks"]


@pytest.mark.needs("curl")
def test_a_proxy_that_knows_who_comes_needs_no_token(gate: LiveGate) -> None:
    """Its URL has none, and the call is the agent's."""
    environ = wired(gate, "bare")
    assert "@" not in environ["HTTPS_PROXY"]
    done = subprocess.run(
        ["curl", "-sS", "--fail", "https://origin.test/bare"], capture_output=True, env=environ, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (record,) = gate.records(listener="bare")
    assert (record["outcome"], record["agent"]) == ("ALLOW", "deploy-bot")


def test_where_connections_are_led_there_is_trust_alone(gate: LiveGate) -> None:
    """No variable names a proxy; the inherited ones are removed."""
    given = json.loads(env(gate, "led").stdout)
    assert TOKEN not in str({name: value for name, value in given["set"].items() if name != "CLAIIM_TOKEN"})
    assert not [name for name in given["set"] if "proxy" in name.lower()]
    assert "proxy" not in given["set"]["JAVA_TOOL_OPTIONS"].lower()
    assert {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} <= set(given["set"])
    assert {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "PIP_PROXY"} <= set(given["unset"])


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        ("none", 'no listener "none"; known: pip, npm, openai'),
        ("unproven", 'listener "unproven" wants the token in a field of each request'),
    ],
)
def test_what_cannot_be_wired_is_said(gate: LiveGate, listener: str, said: str) -> None:
    """One line, and nothing to evaluate."""
    done = env(gate, listener)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
