"""A log dies, or fails, at each named place of sealing, of changing its key and of archiving."""

from pathlib import Path

from chron import Known, find, parse_vkey, verify
from chron.segments import default_folder, sealed
from support.torture.failpoints import KEEPING
from support.torture.numbers import how_many, tell
from support.torture.nursery import BROKEN, nursery
from support.torture.small_gate import PATH, TOLD

COMMITS = range(1, how_many(13, 40), 3)
"""At which commits of a life as well."""


def test_a_fault_while_a_log_is_sealed_and_archived_loses_nothing(memory: Path) -> None:
    """Whatever raises or dies: the next life finishes what was begun. Log and segments verify together and alone, every
    acknowledged record has its body in one of them, no half file is left, and nothing was sealed twice."""
    faults = [(name, action, 1) for name in KEEPING for action in ("raise", "kill")]
    faults += [(name, "kill", hit) for name in ("before-commit", "after-commit") for hit in COMMITS]
    wrong, struck, segments = [], 0, 0
    with nursery("keeping") as children:
        for number, fault in enumerate(faults):
            folder = memory / str(number)
            code = children.run(folder=str(folder), places=[fault])
            struck += code != 0
            if code not in ((-9,) if fault[1] == "kill" else (BROKEN,)) and fault[0] in KEEPING:
                wrong.append(f"{fault}: it ended with {code}")
            if (code := children.run(folder=str(folder), places=[])) != 0:
                wrong.append(f"{fault}: the next life ended with {code}")
            wrong += [f"{fault}: {each}" for each in _faults(folder / PATH)]
            segments += len(sealed(folder / PATH))
    assert wrong == []
    tell(f"keeping: {struck} faults of {len(faults)} places, {segments} segments; lost 0, half 0")


def _faults(path: Path) -> list[str]:
    known = Known(parse_vkey(next(find(path, kind="key")).text("vkey")))
    folder, spans, wrong = default_folder(path), sealed(path), []
    found = verify(path, known=known)
    if not found.ok or found.missing:
        wrong.append(f"record {found.first_bad_seq}: {found.fault}; missing {found.missing}")
    if sorted(file.name for file in folder.iterdir()) != sorted(each.file for each in spans):
        wrong.append(f"the folder has {sorted(file.name for file in folder.iterdir())}")
    if [each.first for each in spans] != [1, *(each.last + 1 for each in spans[:-1])]:
        wrong.append(f"the segments do not follow each other: {spans}")
    if kept := [each.file for each in spans if each.state != "archived"]:
        wrong.append(f"not archived: {kept}")
    for each in spans:
        alone = verify(folder / each.file, known=known)
        wrong += [] if alone.ok else [f"{each.file}: {alone.fault}"]
    files = [path, *(folder / each.file for each in spans)]
    there = [record.id for file in files for record in find(file, kind="decision")]
    told = path.with_name(TOLD).read_text().split()
    if lost := set(told) - set(there):
        wrong.append(f"lost: {sorted(lost)}")
    if len(there) != len(set(there)):
        wrong.append("a record is in two places")
    return wrong
