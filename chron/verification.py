"""Proof: does the whole Chron still say what was written?

Checked: every record's body against its leaf, its leaf against the chain, its columns against its body; every kept
text against the record that kept it; that tables and guards are ours; SQLite's own structure, so that an index cannot
hide a record from a query. What the chain cannot see stands in `chron.chain`.

    Verification(ok=True, records=1204, first_bad_seq=None, fault="", head_hash="9f3c...")
    Verification(ok=False, records=1204, first_bad_seq=17, fault="its body was changed", head_hash="41aa...")

Reads in short transactions, so that a gate can go on writing meanwhile.
"""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from chron import schema
from chron.chain import follow, genesis
from chron.reading import connect

_ROWS_PER_READ = 2000
_ROWS = "SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron WHERE seq > ? ORDER BY seq LIMIT ?"
_TEXTS = """
SELECT c.seq, a.seq, a.kind, a.id, a.version, a.digest, a.text, c.body FROM chron AS c
LEFT JOIN artefact AS a ON a.seq = c.seq WHERE c.kind = 'text' AND c.seq <= ?"""
_TEXTS_ALONE = """
SELECT seq FROM artefact WHERE seq NOT IN (SELECT seq FROM chron WHERE kind = 'text') AND seq <= ? LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found; `records` and `head_hash` are of the part that holds."""

    ok: bool
    records: int
    first_bad_seq: int | None
    """The first record at which something is wrong; None when all is well or no record is to blame."""
    fault: str
    head_hash: str
    """Hexadecimal: note it elsewhere, and a cut tail will show."""


def verify(path: Path | str, *, lint: bool = False) -> Verification:
    """Verify a Chron, open or not; raises ChronError only when there is none to read.

    `lint` also checks that every body is canonical JSON (half the speed): it finds a bug of ours, not tampering.
    """
    with closing(connect(path)) as connection, ThreadPoolExecutor(1) as aside:
        # SQLite's check needs as long as the chain's and leaves Python alone meanwhile.
        structure = aside.submit(_structure_fault, path)
        found = _verified(connection, lint)
        if found.ok and (fault := structure.result()):
            found = replace(found, ok=False, fault=fault)
        return found


def _verified(connection: sqlite3.Connection, lint: bool) -> Verification:
    seq, head = 0, b""
    try:
        head = genesis(_origin(connection))
        while rows := connection.execute(_ROWS, (seq, _ROWS_PER_READ)).fetchall():
            seq, head, fault = follow(rows, seq, head, lint=lint)
            if fault:
                return Verification(False, seq, seq + 1, fault, head.hex())
        if not seq:
            return Verification(False, 0, 1, "it is missing; a Chron begins with the record of its opening", "")
        bad_seq, fault = _text_fault(connection, seq)
    except sqlite3.DatabaseError as error:
        return Verification(False, seq, seq + 1, f"it cannot be read: {error}", head.hex())
    return Verification(not fault, seq, bad_seq, fault, head.hex())


def _origin(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT CAST(body AS BLOB) FROM chron WHERE seq = 1").fetchone()
    try:
        return str(json.loads(row[0])["origin"]) if row else ""
    except (ValueError, KeyError, TypeError):
        return ""  # then the first record does not follow from its origin, and that is what is reported


def _text_fault(connection: sqlite3.Connection, head_seq: int) -> tuple[int | None, str]:
    for seq, kept_seq, kind, id_, version, digest, text, body in connection.execute(_TEXTS, (head_seq,)):
        if kept_seq is None:
            return seq, "the text it kept is gone"
        said = json.loads(body)
        kept = (kind, id_, version, digest, sha256(text.encode()).hexdigest())
        if kept != tuple(said.get(name) for name in ("text_kind", "text_id", "text_version", "digest", "sha256")):
            return seq, "the text it kept was changed"
    row = connection.execute(_TEXTS_ALONE, (head_seq,)).fetchone()
    return (row[0], "no record speaks of the text kept under it") if row else (None, "")


def _structure_fault(path: Path | str) -> str:
    with closing(connect(path)) as connection:
        try:
            if wrong := schema.faults(connection):
                return f"{wrong[0]}: the tables or their guards are not as they were written"
            row = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return f"the file is damaged: {error}"
    return "" if row[0] == "ok" else f"the file is damaged: {row[0]}"
