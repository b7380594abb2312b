"""`claiim chron` on the log of a gate: found by its configuration, readable while the gate writes."""

import json
from collections.abc import Callable

import httpx
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.gate import LiveGate

type Run = Callable[..., Result]


@pytest.fixture
def claiim(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `claiim chron ...` with the configuration of this test's gate."""
    for name in ("CLAIIM_STATE", "CLAIIM_CHRON", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["chron", *arguments, "-c", str(gate.folder / "claiim.yaml")])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def denied(gate: LiveGate, client: httpx.Client) -> str:
    """The id of a denial, after an allowed call."""
    assert client.get("https://origin.test/echo").status_code == 200
    refused = client.delete("https://origin.test/things/7")
    gate.settle()
    return refused.headers["x-chron-id"]


def test_the_log_of_a_running_gate(gate: LiveGate, claiim: Run, denied: str) -> None:
    """tail, query, show and verify find it, and say what the client was told."""
    allowed, refused = claiim("tail").stdout.splitlines()
    assert "ALLOW" in allowed
    assert refused.endswith(f"skill:deploy-v2 -- action in deny list  {denied}")
    (found,) = (json.loads(line) for line in claiim("query", "--outcome", "DENY", "--json").stdout.splitlines())
    assert (found["id"], found["action"]) == (denied, "infra:destroy")
    shown = json.loads(claiim("show", denied, "--json").stdout)
    assert [outcome["result"] for outcome in shown["outcomes"]] == ["blocked"]
    verified = claiim("verify")
    assert verified.exit_code == 0, verified.output


def test_the_deciding_line_of_the_skill_is_shown(gate: LiveGate, claiim: Run, denied: str) -> None:
    """Years later too: the text is kept in the Chron, whatever the file says now."""
    (gate.folder / "policies/deploy-v2.yaml").unlink()
    shown = claiim("show", denied).stdout
    assert "skill deploy-v2@1, " in shown
    (line,) = [line for line in shown.splitlines() if line.startswith(" >") and "destroy" in line]
    assert line.endswith("| - infra:destroy")


@pytest.mark.parametrize("arguments", [["tail"], ["query"], ["show", "chr_x"], ["verify"]], ids=lambda a: a[0])
def test_without_a_log_the_remedy_is_said(gate: LiveGate, claiim: Run, arguments: list[str]) -> None:
    """A gate that never ran has none: one line, exit 2."""
    done = claiim(*arguments, "--chron", str(gate.folder / "none.db"))
    assert done.exit_code == 2
    assert done.stderr.startswith(f'there is no Chron at "{gate.folder}/none.db"; ')
    assert done.stderr.count("\n") == 1
