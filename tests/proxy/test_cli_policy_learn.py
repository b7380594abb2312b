"""`claiim policy learn`: what it writes over a gate's log, and that it is enough, no more, and not in force."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from policies.loading import read_tests, read_texts
from policies.testing import run_tests
from proxy.cli.main import main
from support.clients import client_of
from support.gate import AGENTS, SKILLS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

OWN = {
    "skill": "deploy-v2",
    "allow": ["health:check", "data:**", {"action": "deploy:*", "when": {"client": ["127.0.0.0/8"]}}, "infra:*"],
    "deny": ["deploy:production"],
    "limits": [{"action": "data:write", "most": 100, "per": "hour"}],
}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGate]:
    """A gate whose agent read five things in one place, wrote one, deployed, destroyed, and was denied."""
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        skills={**SKILLS, "deploy-v2": OWN},
        agents=AGENTS,
    )
    monkeypatch.chdir(live.folder)
    monkeypatch.delenv("CLAIIM_RUN_ID", raising=False)
    with running(live):
        with client_of(live) as client:
            for what in "abcde":
                client.get(f"https://origin.test/web/{what}")
            client.put("https://origin.test/web/a")
            client.post("https://origin.test/runs", json={})
            client.delete("https://origin.test/web/a")
            client.patch("https://origin.test/web/a")
        live.settle()
        yield live


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", *arguments])


def learn(*arguments: str) -> Result:
    return run("learn", "--agent", "deploy-bot", *arguments)


def test_what_was_seen_becomes_lines(gate: LiveGate) -> None:
    """Exact actions, what their targets have in common, the present conditions, and the risky ones to be approved."""
    result = learn()
    assert result.exit_code == 0, result.output
    assert "learned/deploy-v2.yaml: deploy-v2@2, 3 allowed, 1 to be approved" in result.output
    assert "look at infra:destroy: destroys" in result.output
    (document,) = read_texts(None, [Path("learned/deploy-v2.yaml")])[1]
    learned = document.value
    assert isinstance(learned, dict)
    whys = [entry.pop("why") for entry in (*learned["allow"], *learned["approve"])]
    assert learned == {
        "skill": "deploy-v2",
        "version": 2,
        "allow": [
            {"action": "data:read", "when": {"target": ["origin.test/web/*"]}},
            {"action": "data:write", "when": {"target": ["origin.test/web/a"]}},
            {"action": "deploy:staging", "when": {"client": ["127.0.0.0/8"], "target": ["origin.test"]}},
        ],
        "approve": [{"action": "infra:destroy", "when": {"target": ["origin.test/web/a"]}}],
        "deny": ["deploy:production"],
        "limits": [{"action": "data:write", "most": 100, "per": "hour"}],
    }
    newest = gate.records(action="data:read")[-1]["id"]
    assert whys[0].startswith("seen 5 times, 20")
    assert whys[0].endswith(f"last in {newest}")
    assert whys[3].endswith("; destroys")


def test_the_risky_ones_stand_at_the_top(gate: LiveGate) -> None:
    """A human who opens the file reads first what to look at, with the record to look into."""
    assert learn().exit_code == 0
    (record,) = gate.records(action="infra:destroy")
    lines = Path("learned/deploy-v2.yaml").read_text().splitlines()
    assert lines[3:5] == [
        "# LOOK AT THESE BEFORE ANYBODY PUTS THIS IN FORCE:",
        f"#   infra:destroy  destroys  1 time  {record['id']}  under approve",
    ]


def test_its_tests_run_where_it_was_written(gate: LiveGate) -> None:
    """`claiim policy test` takes a draft beside its tests for part of the site, and the site loads nothing of it."""
    assert learn().exit_code == 0
    result = run("test", "learned")
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.output or "passed" in result.output


def test_it_is_enough_and_its_tests_pass(gate: LiveGate) -> None:
    """Tried on the past that it was learned from, nothing flips but what a human is to approve; every test passes."""
    assert learn().exit_code == 0
    simulated = run("simulate", "learned/deploy-v2.yaml", "--agent", "deploy-bot", "--json")
    report = json.loads(simulated.output)
    flips = [(change["action"], change["from"], change["to"], change["count"]) for change in report["changes"]]
    assert flips == [("infra:destroy", "ALLOW", "HOLD", 1)]
    agents, texts = read_texts(gate.config.agents, gate.config.policies)
    learned = read_texts(None, [Path("learned/deploy-v2.yaml")])[1]
    tested = run_tests(agents, [*texts, *learned], read_tests([Path("learned")]), lambda *_: ("", ""))
    assert [result.failures for result in tested.results] == [()] * len(tested.results)
    names = [result.name for result in tested.results]
    assert any(name.startswith("infra:destroy as in chr_") for name in names)
    assert "data:read anywhere else" in names
    assert "never **:destroy, **:delete, **:terminate, **:purge" in names


@pytest.mark.parametrize(("risky", "flips"), [("allow", []), ("omit", [("ALLOW", "DENY")])])
def test_where_risky_actions_go_is_the_readers_choice(gate: LiveGate, risky: str, flips: list[tuple[str, str]]) -> None:
    """Allowed they flip nothing; left out they are denied."""
    assert learn("--risky", risky).exit_code == 0
    report = json.loads(run("simulate", "learned/deploy-v2.yaml", "--json").output)
    assert [(change["from"], change["to"]) for change in report["changes"]] == flips


def test_what_the_present_rules_no_longer_allow_is_not_learned(gate: LiveGate) -> None:
    """A permission that was taken away does not come back by way of the past."""
    gate.write("policies/deploy-v2.yaml", {**OWN, "version": 2, "allow": ["data:read"]})
    result = learn()
    assert result.exit_code == 0, result.output
    assert "deploy-v2@3, 1 allowed, 0 to be approved" in result.output
    assert "3 calls are not in it: not allowed by the present rules any more" in result.output


def test_denied_calls_are_marked(gate: LiveGate) -> None:
    """With --denied what was stopped is in it too, and says so; without, it is not."""
    narrow = {**AGENTS, "agents": [{**AGENTS["agents"][0], "skill": "reader-v1"}]}
    gate.write("agents.yaml", narrow)
    gate.call(gate.service.reload())
    with client_of(gate) as client:
        client.put("https://origin.test/other/b")
    gate.settle()
    assert "write" not in _learned(learn("-o", "without"), "without/reader-v1.yaml")
    text = _learned(learn("-o", "with", "--denied"), "with/reader-v1.yaml")
    assert "# These were DENIED when they were seen" in text
    assert "#   data:write  1 time  skill:reader-v1 -- action not in allow list" in text
    assert 'why: "DENIED when seen 1 time' in text


def _learned(result: Result, path: str) -> str:
    assert result.exit_code == 0, result.output
    return Path(path).read_text()


def test_nothing_is_overwritten_and_nothing_is_put_in_force(gate: LiveGate) -> None:
    """A second run refuses; the gate loads nothing of it; its own folders are refused."""
    before = gate.service.gate.book.policies.digest
    assert learn().exit_code == 0
    text = Path("learned/deploy-v2.yaml").read_text()
    again = learn()
    assert (again.exit_code, "exists already" in again.output) == (2, True)
    assert Path("learned/deploy-v2.yaml").read_text() == text
    inside = learn("-o", "policies/learned")
    assert (inside.exit_code, "the gate loads what is in" in inside.output) == (2, True)
    gate.call(gate.service.reload())
    assert gate.service.gate.book.policies.digest == before


def test_an_agent_that_did_nothing_teaches_nothing(gate: LiveGate) -> None:
    """Exit 1 and no file; an agent that does not exist is a usage error."""
    result = run("learn", "--agent", "other-bot")
    assert (result.exit_code, "other-bot was allowed nothing" in result.output) == (1, True)
    assert not Path("learned").exists()
    assert run("learn", "--agent", "ghost").exit_code == 2


def test_a_gated_agent_does_not_write_its_own_skill(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside "claiim run" it is refused."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "run")
    assert learn().exit_code == 2
    assert not Path("learned").exists()
