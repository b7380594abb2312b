"""The past before other texts: nothing flips by the texts that made it, and what flips by others is what should."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from policies import Policies, load_policies
from proxy.records import decision_fields
from proxy.simulation import Replay, tallied
from support.clients import client_of
from support.gate import LiveGate, running
from support.pasts import rich_gate, traffic
from support.targets import Origin


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A running gate with rules of every kind."""
    live = rich_gate(tmp_path / "gate", origin, target_ca_pem)
    with running(live):
        yield live


def _policies(gate: LiveGate, **changed: Any) -> Policies:
    for name, text in changed.items():
        gate.write(f"policies/{name}.yaml", text)
    return load_policies(gate.config.agents, gate.config.policies)


def test_nothing_flips_by_the_texts_that_decided(gate: LiveGate) -> None:
    """Conditions, headers, limits, approvals, observation, several operations: all is decided as it was."""
    traffic(gate)
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
    traffic(gate)
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
