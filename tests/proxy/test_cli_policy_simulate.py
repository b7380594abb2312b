"""`claiim policy simulate`: what it prints, writes, records and exits with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from policies import credential
from proxy.cli.main import main
from proxy.simulationreport import canonical
from support.clients import client_of
from support.gate import AGENTS, SKILLS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

HUMAN_TOKEN = "clh_test-token-of-alice-0123456789abcdef"
DRAFT = {"skill": "deploy-v2", "version": 2, "allow": ["data:read"], "approve": ["deploy:staging"]}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGate]:
    """A gate that was asked three things, in the working directory; its drafts allow one of them less."""
    human = {**AGENTS["humans"][0], "tokens": [credential("alice@acme.test", HUMAN_TOKEN).token_sha256]}
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        skills=SKILLS,
        agents={**AGENTS, "humans": [human]},
    )
    monkeypatch.chdir(live.folder)
    monkeypatch.delenv("CLAIIM_HUMAN_TOKEN_FILE", raising=False)
    monkeypatch.delenv("CLAIIM_RUN_ID", raising=False)
    live.write("drafts/deploy-v2.yaml", DRAFT)
    live.write("token", HUMAN_TOKEN + "\n")
    with running(live):
        monkeypatch.setenv("CLAIIM_API_LISTEN", str(live.service.api_address))
        with client_of(live) as client:
            client.get("https://origin.test/a")
            client.post("https://origin.test/runs", json={})
            client.post("https://origin.test/runs", json={})
            client.delete("https://origin.test/a")
        live.settle()
        yield live


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", "simulate", *arguments])


def test_each_flip_is_shown_with_both_lines(gate: LiveGate) -> None:
    """Who, what, how often, by which line then and now; exit 1, since nobody expected it."""
    result = simulate("drafts/deploy-v2.yaml")
    ids = [record["id"] for record in gate.records(action="deploy:staging")]
    folder = gate.folder
    assert result.exit_code == 1, result.output
    lines = result.output.splitlines()
    assert lines[:6] == [
        "ALLOW -> HOLD  deploy-bot <- alice@acme.test  deploy:staging  2 times",
        f"  then   skill:deploy-v2 -- action in allow list  {folder}/policies/deploy-v2.yaml:3:3",
        "  now    skill:deploy-v2 -- action needs approval  drafts/deploy-v2.yaml:6:3",
        f"  first  {ids[0]}",
        f"  last   {ids[1]}",
        "by human: alice@acme.test 2",
    ]
    assert "4 decided again: 2 flip, 2 do not" in lines
    assert "1 of those have another reason; --reasons shows them" in lines


def test_the_texts_in_force_flip_nothing(gate: LiveGate) -> None:
    """Without drafts the past is decided as it was: exit 0."""
    result = simulate()
    assert result.exit_code == 0, result.output
    assert "4 decided again: 0 flip, 4 do not" in result.output


def test_what_was_expected_is_no_news(gate: LiveGate) -> None:
    """Expected flips leave exit 0; an expectation that nothing meets is named with its place."""
    gate.write(
        "expected.yaml",
        "version: 1\nflips:\n- {actions: ['deploy:*'], from: ALLOW, to: HOLD}\n- {actions: [pr:merge]}\n",
    )
    result = simulate("drafts", "--expect", "expected.yaml")
    assert result.exit_code == 0, result.output
    assert "deploy:staging  2 times  (expected)" in result.output
    assert "expected.yaml:4:3: expected, and nothing like it flips" in result.output


EXPECTATIONS = {
    "an unknown key": ("- {agnets: [a]}", 'e.yaml:3:4: unknown key "agnets"; did you mean "agents"'),
    "everything": ("- {to: DENY}", "e.yaml:3:3: an expectation that leaves everything open hides every flip; "),
    "no outcome": ("- {agents: [a], to: MAYBE}", "e.yaml:3:21: "),
}


@pytest.mark.parametrize(("text", "fault"), EXPECTATIONS.values(), ids=EXPECTATIONS)
def test_a_faulty_expectation_is_refused_with_its_place(gate: LiveGate, text: str, fault: str) -> None:
    """A list of expectations that cannot be read excuses nothing: exit 78."""
    gate.write("e.yaml", f"version: 1\nflips:\n{text}\n")
    result = simulate("drafts", "--expect", "e.yaml")
    assert result.exit_code == 78
    assert fault in result.output


def test_the_report_has_a_digest_and_can_be_vouched_for(gate: LiveGate) -> None:
    """The same simulation has the same digest; the gate records it under the human's name, with the exact texts."""
    span = ("--since", "2026-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00Z")
    first = simulate("drafts", *span, "--json", "-o", "report.json")
    report = json.loads(first.output)
    digest, unexpected = report.pop("digest"), report.pop("unexpected")
    assert Path("report.json").read_text() == canonical(report)
    assert unexpected == 2
    recorded = simulate("drafts", *span, "--json", "--record", "--token-file", "token")
    assert json.loads(recorded.stdout)["digest"] == digest
    (record,) = gate.records("policy", event="simulated")
    assert {name: record[name] for name in ("by", "report", "since", "until", "decisions", "flips")} == {
        "by": "alice@acme.test",
        "report": digest,
        "since": "2026-01-01T00:00:00.000000Z",
        "until": "2100-01-01T00:00:00.000000Z",
        "decisions": 4,
        "flips": 2,
    }
    assert record["texts"].split() == report["texts"]
    assert report["texts"][0].startswith("skill:deploy-v2@2:")


@pytest.mark.parametrize("token", ["clm_test-token-of-deploy-bot-0123456789abcdef", "clh_nobody"])
def test_only_a_human_can_vouch(gate: LiveGate, token: str) -> None:
    """An agent's token, or nobody's, records nothing: exit 4."""
    gate.write("token", token)
    result = simulate("drafts", "--record", "--token-file", "token")
    assert result.exit_code == 4, result.output
    assert "no active human has this token" in result.output
    assert gate.records("policy", event="simulated") == []


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "only without drafts": (["--only"], 2, "--only needs the drafts"),
    "two registries": (["--then", "--agents-file", "agents.yaml"], 2, "name two registries"),
    "a folder without texts": (["empty"], 2, "holds no skill and no policy"),
    "vouching for one agent": (["drafts", "--agent", "deploy-bot", "--record"], 2, "leave out --agent"),
    "vouching for another registry": (["drafts", "--agents-file", "agents.yaml", "--record"], 2, "leave out --agent"),
    "vouching without a token": (["drafts", "--record"], 4, "whose word is it?"),
    "no Chron": (["drafts", "--chron", "nowhere.db"], 2, "there is no Chron"),
    "a version that was loaded with another text": (["changed.yaml"], 78, "changed since it was first loaded"),
    "a draft that is none": (["agents.yaml"], 78, 'expected "skill: NAME" or "policy: NAME"'),
}


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(gate: LiveGate, arguments: list[str], code: int, message: str) -> None:
    """Each with the code and the line that says what to do."""
    (gate.folder / "empty").mkdir()
    gate.write("changed.yaml", {"skill": "deploy-v2", "allow": []})
    result = simulate(*arguments)
    assert (result.exit_code, message in result.output) == (code, True), result.output


def test_a_gated_agent_cannot_vouch(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside "claiim run" nothing is recorded."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "run")
    result = simulate("drafts", "--record", "--token-file", "token")
    assert result.exit_code == 2
    assert "is refused inside" in result.output


def test_an_agent_that_pins_another_version_is_named(gate: LiveGate) -> None:
    """A draft changes nothing for who pins an older version, and that is said."""
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "skill": "deploy-v2@1"}, AGENTS["agents"][1]]}
    gate.write("pinned.yaml", agents)
    result = simulate("drafts", "--agents-file", "pinned.yaml")
    assert result.exit_code == 0, result.output
    assert "agent deploy-bot pins deploy-v2@1, so deploy-v2@2 does not concern it" in result.output


def test_the_registry_of_then_is_found_in_the_chron(gate: LiveGate) -> None:
    """An agent that is gone from the registry is asked as it was."""
    gate.write("agents.yaml", {**AGENTS, "agents": []})
    assert "4 not decided again: the agent is not in the registry" in simulate("drafts").output
    result = simulate("drafts", "--then", "--json")
    assert result.exit_code == 1, result.output
    report: dict[str, Any] = json.loads(result.output)
    assert (report["registry"], report["decided"], report["flips"]) == ("then", 4, 2)


def test_only_one_agent_is_reported(gate: LiveGate) -> None:
    """The others are no news."""
    result = simulate("drafts", "--agent", "other-bot", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["decisions"] == 0
