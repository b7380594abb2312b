"""One life of a log from which bodies go for good: some requests, segments with bodies of their own, and then an
erasure or a pruning that comes to its end, or does not.

Each request has an agent of its own, by whose name its text is found in any file. What was acknowledged stands in the
file `told`.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import chron.log
from chron import Chron, find
from chron.living import archive, erase, locate, prune, remove_pruned, seal, spans_of
from chron.segments import default_folder, erase_copies, find_segment, sealed
from support.torture.failpoints import plant
from support.torture.small_gate import PATH, TOLD, opened

ALL = datetime(2999, 1, 1, tzinfo=UTC)
SEGMENTS, REQUESTS = 2, 8
AT_ONCE = 5
"""Bodies that go in one transaction here, so that one can be between two of them."""


def run(folder: str, what: str, places: list[tuple[str, str, int]]) -> None:
    """Live up to the removal, and have it done with what is planted; "" takes up the log and does what a gate does."""
    logging.disable()
    chron.log.EMPTIED_AT_ONCE = AT_ONCE
    path = Path(folder, PATH)
    with opened(path) as log:
        if not what:
            remove_pruned(path, [default_folder(path)])
            erase_copies(path, [default_folder(path)])
            return
        for number in range(SEGMENTS):
            asyncio.run(_requests(log, number))
            seal(log, default_folder(path))
            if number == 0:
                archive(log, [default_folder(path)], ALL)
        for place in places:
            plant(*place)
        WHATS[what](log)


def _erase(log: Chron) -> None:
    """Every other request, of those that are in a segment alone and of those that are not."""
    folders = [default_folder(log.path)]
    files = [log.path, *(file for each in sealed(log.path) if (file := find_segment(each.file, folders)))]
    there = {record.seq: record.id for file in files for record in find(file, kind="decision")}
    spans = spans_of(locate(log.path, folders, [there[seq] for seq in sorted(there)][::2]))
    erase(log, folders, spans, {"basis": "asked for"})


def _prune(log: Chron) -> None:
    prune(log, [default_folder(log.path)], ALL, {"basis": "its time is over"})


WHATS: dict[str, Callable[[Chron], None]] = {"erase": _erase, "prune": _prune}


async def _requests(log: Chron, life: int) -> None:
    decisions = [{"channel": "wire", "agent": f"bot-{life}-{number}-", "outcome": "DENY"} for number in range(REQUESTS)]
    receipts = await log.append_many([("decision", fields) for fields in decisions])
    await log.append_many([("outcome", {"ref": each.id, "result": "blocked"}) for each in receipts])
    descriptor = os.open(Path(log.path).with_name(TOLD), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    lines = [f"{each.seq} {fields['agent']}\n" for each, fields in zip(receipts, decisions, strict=True)]
    os.write(descriptor, "".join(lines).encode())
    os.close(descriptor)
