"""The gate raises, stalls or dies at each named place on the way of a request, and while it starts after that."""

import random
import signal
from pathlib import Path

from support.targets import Origin
from support.torture.failpoints import ACTIONS, PLACES, START
from support.torture.numbers import SEED, how_many, tell
from support.torture.nursery import BROKEN, Nursery
from support.torture.siege import SHAPES, Siege

COMPOUND = ("resolved", "after-enqueue", "before-commit", "after-commit", "acknowledged", "mid-forward", "telling")
COMPOUND += ("before-outcome",)
"""Where a gate dies whose next start, or first commit after it, then fails as well."""


def test_a_fault_at_any_place_forwards_nothing_unrecorded(
    memory: Path, gates: Nursery, origin: Origin, target_ca_pem: Path
):
    """Whatever raises, stalls or dies on the way of a request: nothing has left without its decision, an answer's
    record is there, every decision has one outcome, the gate that lives goes on and the one that died starts again."""
    chance = random.Random(SEED)
    shapes = how_many(["together"], list(SHAPES))
    faults = [(name, action, shape) for name in PLACES for action in ACTIONS for shape in shapes]
    siege = Siege(memory / "gate", gates, origin, target_ca_pem)
    for name, action, shape in faults:
        once = name in START or name == "policy-swap"
        place = (name, action, 1 if once else chance.randint(1, 6))
        what = f"{' '.join(map(str, place))} {shape}"
        starting, serving = ([place], []) if name in START else ([], [place])
        ended = siege.round(what, serving, starting=starting, shape=shape, reload=name == "policy-swap")
        expected = _expected(name, action)
        if ended.code != expected:
            siege.faults.append(f"{what}: it ended with {ended.code}, not {expected}")
    siege.end()
    assert siege.faults == []
    assert siege.counts["in doubt"] > 0
    tell(
        f"failpoints: {len(faults)}, {siege.counts['killed']} killed, {siege.counts['in doubt']} in doubt; unrecorded 0"
    )


def test_a_fault_while_a_crash_is_recovered_from(memory: Path, gates: Nursery, origin: Origin, target_ca_pem: Path):
    """A gate that dies, and dies again while it takes up the log, leaves every doubt to the start that succeeds."""
    faults = [(first, second) for first in COMPOUND for second in (*START, "before-commit", "after-commit")]
    random.Random(SEED).shuffle(faults)
    faults = faults[: how_many(8, 16)]
    siege = Siege(memory / "gate", gates, origin, target_ca_pem)
    for number, (first, second) in enumerate(faults):
        action = ACTIONS[0] if number % 2 else ACTIONS[2]
        siege.round(f"{first} kill", [(first, "kill", 3)])
        again = siege.round(f"{second} {action} after {first}", starting=[(second, action, 1)])
        assert again.answers == []
        # In the writer what is raised becomes a ChronError, and the start a refusal of one line.
        assert again.code in ((0, BROKEN) if action == "raise" else (-signal.SIGKILL,)), again
    siege.end()
    assert siege.faults == []
    tell(f"failpoints: {len(faults)} compound, {siege.counts['in doubt']} in doubt; unrecorded 0")


def _expected(name: str, action: str) -> int:
    if action == "kill":
        return -signal.SIGKILL
    return BROKEN if action == "raise" and name in START else 0
