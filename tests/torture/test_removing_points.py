"""A log dies, or fails, at each named place of an erasure and of a pruning."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from chron import Known, find, parse_vkey, verify
from chron.emptied import reasons
from chron.reading import connect
from chron.segments import default_folder, sealed
from support.torture.failpoints import ERASING, PRUNING, Place
from support.torture.numbers import how_many, tell
from support.torture.nursery import BROKEN, nursery
from support.torture.small_gate import PATH, TOLD

HITS = range(2, how_many(4, 12))
"""At which times that something is emptied or written, as well."""
AGAIN = ("before-emptying", "emptied", "before-commit", "after-commit")


@pytest.mark.parametrize(("what", "named"), [("erase", ERASING), ("prune", PRUNING)])
def test_a_fault_while_bodies_go_leaves_nothing_half(memory: Path, what: str, named: Mapping[str, Place]) -> None:
    """Whatever raises or dies: log and segments verify at once, and after the next start what a record said should go
    is in no file any more, all of it and nothing else, with a record that it is done."""
    faults = [(name, action, 1) for name in named for action in ("raise", "kill")]
    faults += [
        (name, action, hit) for name in AGAIN for action in how_many(("kill",), ("raise", "kill")) for hit in HITS
    ]
    wrong, struck, went = [], 0, 0
    with nursery("removing") as children:
        for number, fault in enumerate(faults):
            folder = memory / str(number)
            folder.mkdir()
            code = children.run(folder=str(folder), what=what, places=[fault])
            struck += code != 0
            if code not in (0, -9 if fault[1] == "kill" else BROKEN):
                wrong.append(f"{fault}: it ended with {code}")
            wrong += [f"{fault}, at once: {each}" for each in _broken(folder / PATH)]
            if (code := children.run(folder=str(folder), what="", places=[])) != 0:
                wrong.append(f"{fault}: the next life ended with {code}")
            faulty, gone = _half(folder)
            wrong += [f"{fault}: {each}" for each in [*_broken(folder / PATH), *faulty]]
            went += gone
    assert wrong == []
    assert struck >= 2 * len(named)
    assert went
    tell(f"{what}: {struck} faults of {len(faults)} places, {went} bodies gone; half 0, too many 0")


def _broken(path: Path) -> list[str]:
    known = Known(parse_vkey(next(find(path, kind="key")).text("vkey")))
    pruned = {each.file for each in sealed(path) if each.state == "pruned"}
    files = [file for file in default_folder(path).glob("*.db") if file.name not in pruned]
    found = {file.name: verify(file, known=known) for file in (path, *files)}
    return [f"{name}: {each.fault} {each.missing}" for name, each in found.items() if not each.ok or each.missing]


def _half(folder: Path) -> tuple[list[str], int]:
    path = folder / PATH
    wrong, spans = [], sealed(path)
    files = {file.name for file in default_folder(path).iterdir()}
    if files != {each.file for each in spans if each.state != "pruned"}:
        wrong.append(f"the folder has {sorted(files)}")
    begun = {record.id for kind in ("erasure", "prune", "archive") for record in find(path, kind=kind)}
    if unfinished := begun - {record.text("ref") for record in find(path, kind="emptied")}:
        wrong.append(f"not finished: {unfinished}")
    connection = connect(path)
    announced = [each for each in reasons(connection) if each.kind != "archive"]
    connection.close()
    text = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != TOLD)
    gone = 0
    for line in path.with_name(TOLD).read_text().splitlines():
        place, agent = line.split()
        seq, there = int(place), agent.encode() in text
        goes = any(each.first <= seq <= each.last and seq not in each.kept for each in announced)
        gone += goes
        if goes == there:
            wrong.append(f"record {seq} is {'still' if there else 'no longer'} there")
    return wrong, gone
