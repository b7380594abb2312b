"""`claiim explain` gives the reason that the gate records."""

import json

import httpx
import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from support.gate import LiveGate


@pytest.mark.parametrize(
    ("method", "action", "code"), [("GET", "data:read", 0), ("DELETE", "infra:destroy", 1)], ids=["allow", "deny"]
)
def test_paper_and_wire_agree(gate: LiveGate, client: httpx.Client, method: str, action: str, code: int) -> None:
    """Outcome, reason, code, rule and pattern are those of the record; the exit code is the outcome."""
    client.request(method, "https://origin.test/things/7")
    (record,) = gate.records()
    config = str(gate.folder / "claiim.yaml")
    done = CliRunner().invoke(main, ["explain", "--agent", "deploy-bot", "--action", action, "--json", "-c", config])
    assert done.exit_code == code
    said = json.loads(done.stdout)
    for name in ("action", "outcome", "reason", "code", "stage", "mode", "rule", "pattern"):
        assert said[name] == record[name]
    assert said["skill"] == f"{record['skill']}@{record['skill_version']}"


def test_an_unknown_agent_is_a_deny(gate: LiveGate) -> None:
    """Nobody is explained as an ALLOW."""
    config = str(gate.folder / "claiim.yaml")
    done = CliRunner().invoke(main, ["explain", "--agent", "ghost", "--action", "data:read", "-c", config])
    assert done.exit_code == 1
    assert "DENY" in done.stdout
    assert "agent:ghost -- unknown" in done.stdout
