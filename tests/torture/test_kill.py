"""kill -9 under load: a real gate, real clients, a real target."""

from pathlib import Path

from support.targets import Origin
from support.torture.numbers import SEED, how_many, tell
from support.torture.nursery import Nursery
from support.torture.siege import Siege, moments


def test_a_gate_killed_at_any_moment_has_forwarded_nothing_unrecorded(
    memory: Path, gates: Nursery, origin: Origin, target_ca_pem: Path
):
    """However often it is killed: what reached the target has its decision, what was acknowledged to an agent is there,
    what nobody knows is in doubt, the log verifies, and the gate starts again."""
    rounds = how_many(50, 1000)
    siege = Siege(memory / "gate", gates, origin, target_ca_pem)
    for number, kill_after in enumerate(moments(SEED, rounds)):
        siege.round(f"kill {number}", kill_after=kill_after)
    siege.end()
    assert siege.faults == []
    assert siege.counts["killed"] == rounds
    assert siege.counts["in doubt"] > 0, "no kill hit a request"
    tell(
        f"kill -9 of the gate: {rounds} times, {siege.counts['forwarded']} forwarded, "
        f"{siege.counts['answers']} answers, {siege.counts['in doubt']} in doubt, {siege.counts['records']} records; "
        "lost 0, unrecorded 0"
    )
