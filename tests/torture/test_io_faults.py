"""Every call that writes, syncs or reads fails once, or from then on, or is the last one before the process dies."""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from support.targets import Origin
from support.torture.checking import check
from support.torture.numbers import SEED, how_many, tell
from support.torture.nursery import Nursery, nursery
from support.torture.siege import Siege
from support.torture.small_gate import WORKLOADS
from support.torture.tracing import CALLS, READS, STRIKES_AT, Strike, forbidden, read_calls, recorder

RESUMED = "resumed"
"""The workload "single" on a log that a killed writer left: its faults are faults of the recovery."""
STRIKES = (
    Strike("EIO"),
    Strike("EIO", for_ever=True),
    Strike("ENOSPC"),
    Strike("ENOSPC", for_ever=True),
    Strike("EROFS", for_ever=True),  # what a kernel makes of a disk that it no longer trusts
    Strike("SIGKILL"),
)

pytestmark = [pytest.mark.needs("strace"), pytest.mark.skipif(forbidden(), reason="strace may not trace here")]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a fault strikes: which call of which thread of which workload."""

    strike: Strike
    workload: str
    call: str
    thread: str
    """`opening` or `writing`."""
    number: int

    def job(self) -> dict[str, object]:
        """What the child is told: how far its counter has to stand."""
        workload = "single" if self.workload == RESUMED else self.workload
        return {"workload": workload, "call": self.call, self.thread: STRIKES_AT - self.number}


@pytest.fixture
def crashed(memory: Path) -> Path:
    """What a writer leaves that was killed in the middle, with decisions whose outcome nobody knows."""
    folder = memory / "crashed"
    folder.mkdir()
    with nursery("small_gate", Strike("SIGKILL").command()) as children:
        code = children.run(folder=str(folder), workload="batch", call="fdatasync", writing=STRIKES_AT - 4)
    assert code == -signal.SIGKILL
    return folder


def test_a_fault_at_any_call_loses_nothing_and_forwards_nothing_unrecorded(memory: Path, crashed: Path):
    """Whichever write, sync or read fails or is the last: no acknowledged record is lost, nothing has left without
    its record, the log verifies, every decision has one outcome, and the next start works."""
    everywhere = list(_points(memory, crashed))
    points = sorted(_of_each_sort(everywhere)[: how_many(150, 1500)], key=lambda point: STRIKES.index(point.strike))
    faults, counts, killed = [], Counter(), 0
    for strike, group in groupby(points, key=lambda point: point.strike):
        with nursery("small_gate", strike.command()) as children:
            for point in group:
                folder = _folder(memory, point.workload, crashed)
                code = children.run(folder=str(folder), **point.job())
                found = check(folder)
                shutil.rmtree(folder)
                counts += found.counts
                killed += code == -signal.SIGKILL
                faults += [f"{point}: {fault}" for fault in found.faults]
                if code not in (0, -signal.SIGKILL):
                    faults.append(f"{point}: the child ended with {code}")
    assert faults == []
    # A run in which nothing was refused, killed or in doubt has struck nothing.
    assert min(counts["refused"], counts["unopened"], counts["in_doubt"], killed) > 0, counts
    tell(
        f"I/O faults: {len(points)} of {len(everywhere)} points, {killed} killed, {counts['forwarded']} forwarded, "
        f"{counts['refused']} refused, {counts['unopened']} starts refused, {counts['in_doubt']} in doubt; "
        "lost 0, unrecorded 0"
    )


def test_a_gate_whose_disk_fails_forwards_nothing_unrecorded(
    memory: Path, gates: Nursery, origin: Origin, target_ca_pem: Path
):
    """Through the whole gate: once its disk fails it answers 503 and forwards nothing, and the next start goes on."""
    answers = refused = 0
    for strike in (Strike("EIO", for_ever=True), Strike("ENOSPC", for_ever=True))[: how_many(1, 2)]:
        with nursery("real_gate", strike.command()) as children:
            siege = Siege(memory / f"gate-{strike.error}", children, origin, target_ca_pem)
            for call in ("pwrite64", "fdatasync"):
                for hit in range(1, how_many(2, 12)):
                    ended = siege.round(f"{call} {strike} from commit {hit}", [("before-commit", call, hit)])
                    refused += sum(status == 503 for _, status, _ in ended.answers)
                    assert ended.answers[-1][1] == 503, ended
        siege.end(gates)
        assert siege.faults == []
        answers += siege.counts["answers"]
    tell(f"I/O faults through the gate: {answers} answers, {refused} of them 503; unrecorded 0")


def _points(memory: Path, crashed: Path) -> Iterator[Point]:
    for workload in (*WORKLOADS, RESUMED):
        for (thread, call), most in _calls(memory, workload, crashed).items():
            assert most < STRIKES_AT
            for strike in STRIKES:
                if call in READS and strike.error in ("ENOSPC", "EROFS"):
                    continue
                for number in range(1, most + 1):
                    yield Point(strike, workload, call, thread, number)


def _of_each_sort(points: list[Point]) -> list[Point]:
    """The points in an order in which the rare calls do not drown in the writes: one of each sort, then the next."""
    chance = random.Random(SEED)
    points = chance.sample(sorted(points, key=repr), len(points))
    had: Counter[tuple[object, ...]] = Counter()
    turns = []
    for point in points:
        sort = (point.strike, point.workload, point.call, point.thread)
        turns.append(had[sort])
        had[sort] += 1
    return [point for _, point in sorted(zip(turns, points, strict=True), key=lambda each: each[0])]


def _calls(memory: Path, workload: str, crashed: Path) -> dict[tuple[str, str], int]:
    """How often each thread of a workload makes each call when nothing fails."""
    folder, recording = _folder(memory, workload, crashed), memory / "recording"
    with nursery("small_gate", recorder(recording, CALLS)) as children:
        opening = children.start(folder=str(folder), **Point(STRIKES[0], workload, "", "opening", STRIKES_AT).job())
        assert children.wait() == 0
    shutil.rmtree(folder)
    threads = Counter((each.thread, each.name) for each in read_calls(recording))
    assert {name for _, name in threads} >= {"pwrite64", "fdatasync"}
    return {
        ("opening" if thread == opening else "writing", name): most
        for (thread, name), most in threads.items()
        if thread >= opening
    }


def _folder(memory: Path, workload: str, crashed: Path) -> Path:
    folder = memory / "run"
    if workload == RESUMED:
        shutil.copytree(crashed, folder)
    else:
        folder.mkdir()
    return folder
