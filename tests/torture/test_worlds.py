"""The pipeline, the approvals and the Chron in a world that a seed plays: time, disk, crashes, agents, humans."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from chron.ledger import Ledger, NewRow, NewText
from chron.recovery import Left
from support.torture.numbers import SEED, how_many, tell
from support.torture.world import World

ALL_HAPPENS = ("crashes", "fails", "lies", "arrived", "in_doubt", "blocked", "held", "checkpoints")


def played(folder: Path, seed: int) -> World:
    """The world of a seed, when all is over."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    world = World(folder, seed)
    world.play()
    return world


def test_no_world_forwards_what_is_not_on_record(memory: Path):
    """Whatever fails when: a request at the target has its durable ALLOW, one run for one approval, nothing told to an
    agent is lost, every decision ends with one outcome, the log verifies, and nobody waits for ever."""
    counts, faults = Counter[str](), list[str]()
    seeds = range(SEED, SEED + how_many(200, 10_000))
    for seed in seeds:
        world = played(memory / "world", seed)
        counts += world.counts
        faults += [f"seed {seed}: {fault}" for fault in world.faults]
    assert faults == []
    for happened in (
        "crashes",
        "fails",
        "lies",
        "arrived",
        "in_doubt",
        "blocked",
        "held",
        "answered 503",
        "checkpoints",
    ):
        assert counts[happened], f"no world had {happened}: {counts}"
    tell(
        f"simulation: seeds {seeds.start} to {seeds.stop - 1}, {counts['records']} records, "
        f"{counts['checkpoints']} checkpoints, "
        f"{counts['arrived']} forwarded, {counts['crashes']} crashes, "
        f"{counts['fails'] + counts['lies']} commits failed, {counts['in_doubt']} in doubt; lost 0, unrecorded 0"
    )


def test_a_world_can_be_seen_again(memory: Path):
    """The same seed has the same history, to the last bit of the last record; another seed has another."""
    histories = [played(memory / "world", seed).history for seed in (SEED, SEED, SEED + 1)]
    assert histories[0] == histories[1] != histories[2]


def _say_it_is_written(ledger: Ledger, rows: Sequence[NewRow], _: Iterable[NewText] = ()) -> None:
    ledger.seq, ledger.hash = rows[-1][0], rows[-1][4]


@pytest.mark.parametrize(
    ("bug", "place", "planted"),
    [
        ("forgets what is in doubt", "chron.log.left_behind", lambda *_: Left(clean=True, in_doubt=())),
        ("acknowledges what it did not write", "support.torture.world._COMMIT", _say_it_is_written),
        ("runs twice by one approval", "proxy.approvals.Approvals.use", lambda self, id_, *_: self.get(id_)),
    ],
)
def test_a_planted_bug_is_seen(memory: Path, monkeypatch: pytest.MonkeyPatch, bug: str, place: str, planted: object):
    """The control: a gate with a bug breaks a promise in some world, else the worlds prove nothing."""
    monkeypatch.setattr(place, planted)
    seen = (played(memory / "world", seed).faults for seed in range(SEED, SEED + 40))
    assert any(seen), f"no world noticed that the gate {bug}"
