"""The power goes after any write: what was acknowledged is on the disk, and the log goes on."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from support.torture.checking import check_told
from support.torture.numbers import SEED, how_many, tell
from support.torture.nursery import nursery
from support.torture.power_loss import CALLS, DAMAGES, Disk, cuts
from support.torture.small_gate import PATH, TOLD, WORKLOADS
from support.torture.tracing import Call, forbidden, read_calls, recorder

pytestmark = [pytest.mark.needs("strace"), pytest.mark.skipif(forbidden(), reason="strace may not trace here")]


def test_no_acknowledged_record_is_lost_when_the_power_goes(memory: Path):
    """After a cut anywhere, with any damage to what was not synced: the next start works, every acknowledged record
    is there with its hash, and the log verifies."""
    found, faults = _replayed(memory, how_many(2000, 50_000), normal=False)
    assert faults == []
    assert found["torn"] > 0
    tell(f"power loss: {found['states']} states of {found['cuts']} cuts; lost 0, damaged 0")


def test_the_replay_sees_a_loss(memory: Path):
    """The control: with synchronous=NORMAL acknowledged records are lost, and the replay says so; else it is void."""
    found, faults = _replayed(memory, how_many(200, 5000), normal=True)
    lost = [fault for fault in faults if "was acknowledged as" in fault]
    assert lost, "the control found no loss, so the replay is void"
    tell(f"power loss, control with synchronous=NORMAL: {found['states']} states, {found['failed']} of them with loss")


def _replayed(memory: Path, states: int, *, normal: bool) -> tuple[Counter[str], list[str]]:
    """So many states of the disk, of runs of every workload: what was counted, and what was wrong."""
    chance, found, faults = random.Random(SEED), Counter[str](), list[str]()
    share = -(-states // len(WORKLOADS))
    for workload in WORKLOADS:
        done = 0
        while done < share:  # another run has another order of calls
            folder = memory / "run"
            folder.mkdir()
            calls = _recorded(folder, workload, normal)
            shutil.rmtree(folder)
            all_cuts = sum(1 for _ in cuts(calls, folder, TOLD))
            found["cuts"] += all_cuts
            kept = set(chance.sample(range(all_cuts), min(all_cuts, -(-(share - done) // len(DAMAGES)))))
            for number, disk in enumerate(cuts(calls, folder, TOLD)):
                for damage in DAMAGES if number in kept else ():
                    wrong = _wrong(disk, damage, chance, memory / "cut")
                    faults += [f"{workload}, cut {number}, {damage}: {fault}" for fault in wrong]
                    found["failed"] += bool(wrong)
                    found[damage] += 1
                    done += 1
        found["states"] += done
    return found, faults


def _recorded(folder: Path, workload: str, normal: bool) -> list[Call]:
    recording = folder.with_name("recording")
    with nursery("small_gate", recorder(recording, CALLS)) as children:
        assert children.run(folder=str(folder), workload=workload, normal=normal) == 0
    return read_calls(recording)


def _wrong(disk: Disk, damage: str, chance: random.Random, folder: Path) -> list[str]:
    folder.mkdir()
    for name, content in disk.damaged(damage, chance).items():
        (folder / name).touch(0o600)
        (folder / name).write_bytes(content)
    found = check_told(folder / PATH, [line.split() for line in disk.lines])
    shutil.rmtree(folder)
    return found.faults
