"""`claiim attack`: against rules, against a gate that runs, and what it says when something is missed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import proxy.facts
from proxy.attack.owngate import RUNNING_HOSTS
from proxy.cli.attack import PORTS
from proxy.cli.main import main
from proxy.configloading import load_config
from support.gate import AGENTS, SKILLS, TOKEN, LiveGate, running


@pytest.fixture(autouse=True)
def an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a gated agent, and no configuration from elsewhere."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def attack(*arguments: str) -> Result:
    """Run the command."""
    result = CliRunner().invoke(main, ["attack", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def configured(folder: Path, mappings: str) -> str:
    """A configuration with these rules."""
    (folder / "mappings").mkdir()
    (folder / "mappings" / "site.yaml").write_text(mappings)
    (folder / "claiim.yaml").write_text("version: 1\nmappings: [mappings]\npolicies: []\n")
    return str(folder / "claiim.yaml")


def test_rules_are_attacked_and_counted(tmp_path: Path) -> None:
    """Caught and missed by id, in JSON; exit 0 when nothing was missed."""
    result = attack("B37", "B60", "--json", "-c", configured(tmp_path, "version: 1\n"))
    found = json.loads(result.stdout)
    assert (result.exit_code, found["caught"], found["missed"]) == (0, 6, 0)
    assert [(each["id"], each["missed"]) for each in found["attacks"]] == [("B37", []), ("B60", [])]
    assert found["unseen"]["B27"].startswith("QUIC")


HOLES = {"mitmproxy": "arrived as 2 requests", "fast": "arrived as 'POST /open/thing HTTP/1.1': with another body"}
"""What comes of a body whose length is dropped: one of the engines frames anew what it has read of it."""


def test_a_hole_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, with the row and what arrived: here a gate that drops whatever Connection names."""
    monkeypatch.setattr(proxy.facts, "_check_framing", lambda *_: None)
    config = configured(tmp_path, "version: 1\n")
    result = attack("B29", "-c", config)
    assert result.exit_code == 1
    assert f"missed: named in Connection: {HOLES[load_config(Path(config)).proxy.engine]}" in result.stdout


def test_a_running_gate_is_attacked(tmp_path: Path) -> None:
    """It is told of the target first; its own agent and its own log are used."""
    prepared = tmp_path / "attack"
    said = attack("--prepare", str(prepared)).stdout
    ca = str(prepared / "target-ca.pem")
    resolve = {host: {"address": f"127.0.0.1:{PORTS[0]}", "ca": ca} for host in RUNNING_HOSTS}
    resolve["plain.attack.test"] = {"address": f"127.0.0.1:{PORTS[1]}"}
    assert all(f"{host}: {{address:" in said for host in resolve)
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "skill": "attack-v1"}, AGENTS["agents"][1]]}
    config = {
        "resolve": resolve,
        "mappings": [str(prepared / "mappings")],
        "policies": ["policies", str(prepared / "policies")],
    }
    with running(LiveGate(tmp_path / "gate", agents=agents, skills=SKILLS, config=config)) as gate:
        url = f"http://deploy-bot:{TOKEN}@{gate.service.proxy_address}"
        configuration = str(gate.folder / "claiim.yaml")
        result = attack("B35", "B48", "--prepare", str(prepared), "--gate", url, "-c", configuration)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        assert "43 of 43 caught" in result.stdout


def test_a_gate_that_leads_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """Nothing but three ordinary requests is sent, and the command says why."""
    prepared = tmp_path / "attack"
    attack("--prepare", str(prepared))
    with running(LiveGate(tmp_path / "gate")) as gate:
        url = f"http://deploy-bot:{TOKEN}@{gate.service.proxy_address}"
        result = attack("--prepare", str(prepared), "--gate", url, "-c", str(gate.folder / "claiim.yaml"))
        assert (result.exit_code, len(gate.records())) == (69, 3)
    assert "nothing was attacked" in result.stderr


def test_rules_that_leave_nothing_to_compare_say_so(tmp_path: Path) -> None:
    """Such as those of "claiim init", whose policy knows nothing of attacks: the reason is told, and what to do."""
    configuration = configured(tmp_path, "version: 1\n")
    (tmp_path / "claiim.yaml").write_text("version: 1\nmappings: [mappings]\npolicies: [policies]\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "no-prod.yaml").write_text("policy: no-prod\nallow: [deploy:staging]\n")
    result = attack("B35", "-c", configuration)
    assert result.exit_code == 69
    assert '"policy:no-prod -- action not in allow list"; for as long as you attack, let the agent do' in result.stderr


def test_a_running_gate_is_not_attacked_unprepared() -> None:
    """Exit 2 with the way to prepare it."""
    result = attack("--gate", "http://a:b@127.0.0.1:1")
    assert result.exit_code == 2
    assert "--prepare" in result.stderr
