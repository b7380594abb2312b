"""Replay: what a gate decided is decided again from its Chron alone, and what was changed since shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.replaying import Replay
from support.gate import LiveGate, running
from support.pasts import RULES, TEXTS, traffic, watched_agents
from support.targets import Origin


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A running gate with rules of every kind."""
    live = LiveGate(
        tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=RULES, skills=TEXTS, agents=watched_agents()
    )
    with running(live):
        yield live


def test_x(gate: LiveGate) -> None:
    traffic(gate)
    gate.settle()
    for one in Replay(gate.config.chron).decisions():
        print(one.record["action"], one.record["reason"], one.left_out, one.differing, one.rule_found)
    assert 0
