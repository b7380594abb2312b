"""What must hold of a log whose writer was made to fail, whatever was done to it.

1. The next start works, and the log then verifies from its first record to its last.
2. Every acknowledged record is there, in its place, with its hash.
3. Nothing was forwarded without its durable decision: what was forwarded was acknowledged, and is there by 2.
4. Every decision has exactly one outcome, `in_doubt` where nobody knows; what was refused is never said to be sent.
"""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from chron import ChronError, verify
from support.torture.small_gate import PATH, TOLD, opened


@dataclass(slots=True)
class Found:
    """What one log looked like."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """forwarded, refused, unopened, in_doubt, blocked, sent."""


def check(folder: Path) -> Found:
    """Start on what a small gate left, and hold it against what left the gate."""
    told_path = folder / TOLD
    told = [line.split() for line in told_path.read_text().splitlines()] if told_path.exists() else []
    found = check_told(folder / PATH, told)
    if not found.faults and not (verification := verify(folder / PATH)).ok:
        found.faults.append(f"record {verification.first_bad_seq}: {verification.fault}")
    return found


def check_told(path: Path, told: list[list[str]]) -> Found:
    """Start on a log, and hold it against the words of the target.

    The start itself verifies the last thousand records, which is all of a small log; `check` also asks `verify`.
    """
    found = Found(counts=Counter(words[0] for words in told))
    try:
        opened(path).close()
    except ChronError as error:
        found.faults.append(f"the next start fails: {error}")
        return found
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT seq, id, lower(hex(hash)), body FROM chron ORDER BY seq").fetchall()
        [(damage,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    found.faults += [] if damage == "ok" else [damage]
    stored = {id_: (seq, hash_) for seq, id_, hash_, _ in rows}
    forwarded = {words[2]: (int(words[1]), words[3]) for words in told if words[0] == "forwarded"}
    found.faults += [
        f"{id_} was acknowledged as {place} and is {stored.get(id_)}"
        for id_, place in forwarded.items()
        if stored.get(id_) != place
    ]
    found.faults += _faults_of_outcomes([json.loads(body) for *_, body in rows], set(forwarded), found.counts)
    return found


def _faults_of_outcomes(bodies: list[dict[str, object]], forwarded: set[str], counts: Counter[str]) -> list[str]:
    decisions = [str(body["id"]) for body in bodies if body["kind"] == "decision"]
    outcomes: dict[str, list[str]] = {}
    for body in bodies:
        if body["kind"] == "outcome":
            outcomes.setdefault(str(body["ref"]), []).append(str(body["result"]))
            counts[str(body["result"])] += 1
    wrong = [f"{id_} has the outcomes {outcomes.get(id_)}" for id_ in decisions if len(outcomes.get(id_, ())) != 1]
    wrong += [f"{id_} is of no decision" for id_ in outcomes if id_ not in decisions]
    for id_ in decisions:
        result = outcomes.get(id_, [""])[0]
        if (result == "sent" and id_ not in forwarded) or (result == "blocked" and id_ in forwarded):
            wrong.append(f"{id_} is said to be {result}, which the target denies")
    return wrong
