"""`claiim policy lint`, and what `claiim check` takes from it."""

import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.gate import TOKEN, LiveGate

DEAD = "skill: deploy-v2\nallow: ['deploy:staging']\ndeny: [{action: 'deploy:*', why: x}]\n"
TYPO = "skill: deploy-v2\nallow: ['deploy:staging', 'github:pulls/merg']\n"
TESTS = "version: 1\ntests: deploy-v2\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `claiim init` writes, as the working folder."""
    for name in ("CLAIIM_STATE", "CLAIIM_CHRON", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert CliRunner().invoke(main, ["init", str(tmp_path)]).exit_code == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claiim(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_what_init_writes(site: Path) -> None:
    """Nothing but advice: the shipped texts give a newcomer no warning, by the mappings that ship."""
    done = claiim("policy", "lint", "--strict")
    assert (done.exit_code, done.stderr) == (0, "0 errors, 0 warnings, 3 infos\n")
    assert all(" info: " in line and line.endswith("[deny-without-why]") for line in done.stdout.splitlines())


def test_an_error(site: Path) -> None:
    """Exit 1 from both commands; the message, the place and the id are the same."""
    (site / "policies/deploy-v2.yaml").write_text(DEAD)
    place = f"{site}/policies/deploy-v2.yaml"
    told = f'"deploy:staging" allows nothing: "deploy:*" ({place}:3:8) denies it; take one of the two out'
    done = claiim("policy", "lint")
    assert done.exit_code == 1
    assert f"{place}:2:9: error: {told} [dead-allow]\n" in done.stdout
    done = claiim("check")
    assert (done.exit_code, done.stdout) == (1, f"{place}:2:9: {told} [dead-allow]\n")


def test_a_warning(site: Path) -> None:
    """Printed by `check` and no fault; with --strict the lint fails. A catalogue tells the typo."""
    (site / "policies/deploy-v2.yaml").write_text(TYPO)
    (site / "policies/no-prod-v1.yaml").unlink()
    (site / "policies/deploy-v2.test.yaml").write_text(TESTS)
    told = 'no known action fits "github:pulls/merg"; did you mean "github:pulls/merge" [unknown-action]'
    done = claiim("check")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines()[0] == f"warning: {site}/policies/deploy-v2.yaml:2:27: {told}"
    assert claiim("policy", "lint").exit_code == 0
    assert claiim("policy", "lint", "--strict").exit_code == 1


def test_reports(site: Path) -> None:
    """JSON and SARIF say the same; SARIF names the file from here and lists every check."""
    (site / "policies/deploy-v2.yaml").write_text(DEAD)
    said = json.loads(claiim("policy", "lint", "--format", "json").stdout)
    log = json.loads(claiim("policy", "lint", "--format", "sarif").stdout)
    results = log["runs"][0]["results"]
    assert [each["check"] for each in said] == [each["ruleId"] for each in results]
    (dead,) = [each for each in results if each["ruleId"] == "dead-allow"]
    assert dead["level"] == "error"
    assert dead["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "policies/deploy-v2.yaml"
    assert log["runs"][0]["tool"]["driver"]["rules"][dead["ruleIndex"]]["id"] == "dead-allow"


def test_texts_that_do_not_load(site: Path) -> None:
    """The lint says why and ends as every command does on a bad configuration."""
    (site / "policies/bad.yaml").write_text("skill: x\nalow: []\n")
    done = claiim("policy", "lint")
    assert done.exit_code == 78
    assert 'unknown key "alow"' in done.stderr


def test_lines_that_decided_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --chron, a line that a running gate's decisions never named is told; one that decided is not."""
    for name in ("CLAIIM_STATE", "CLAIIM_CHRON", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    gate = LiveGate(tmp_path / "site")
    gate.write("policies/deploy-v2.yaml", "skill: deploy-v2\nallow:\n- deploy:staging\n- health:check\n")
    with gate:
        asked = {"action": "deploy:staging", "target": "api-v2"}
        told = httpx.post(f"{gate.api}/v1/check", json=asked, headers={"Authorization": f"Bearer {TOKEN}"})
        assert told.json()["outcome"] == "ALLOW"
        gate.settle()
    done = claiim("policy", "lint", "--chron", "-c", str(gate.folder / "claiim.yaml"))
    told = [line for line in done.stdout.splitlines() if line.endswith("[never-hit]")]
    assert [line.removeprefix(str(gate.folder)).split(": ")[0] for line in told] == ["/policies/deploy-v2.yaml:4:3"]
