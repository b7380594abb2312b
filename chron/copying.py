"""A log taken to another place, from a file into PostgreSQL or back, with nothing of it changed.

    copy("state/chron.db", "postgresql://db/claiim?chain=gate-1")

Same seqs, ids, bodies, leaves and hashes, kept texts and names: so checkpoints, proofs and heads that were noted of the
one are those of the other, and a gate goes on where the copy ends. No gate may write either meanwhile, or there would
be two logs that say they are the same one. Both ends are verified; what was archived stays in its segments.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from chron import schema
from chron.errors import ChronError
from chron.ledger import PRAGMAS
from chron.log import store_of
from chron.reading import connect, is_there
from chron.segments import sync_folder
from chron.sources import Connection, Source, file_of, on_server
from chron.storage import explained
from chron.verification import Verification, verify

_ROWS_PER_READ = 4000
_ROWS = "SELECT seq, id, body, leaf, hash FROM chron WHERE seq > ? ORDER BY seq LIMIT ?"
_TEXTS = "SELECT seq, kind, id, version, digest, text FROM artefact WHERE seq > ? AND seq <= ? ORDER BY seq"
_PEOPLE = "SELECT id, name FROM person"
_ORIGIN = "SELECT body->>'$.origin' FROM chron WHERE seq = 1"

type Rows = list[tuple[Any, ...]]


def copy(source: Source, target: Source) -> Verification:
    """Copy a whole log to a place where there is none, and verify both; blocks. Raises ChronError."""
    if is_there(target):
        raise ChronError(f'there is a Chron at "{target}" already; give another place')
    held = store_of(source)
    lock = held.take()
    try:
        # In PostgreSQL the lock comes with opening; a log that cannot be gone on with is no log to take anywhere.
        session = held.open(_origin(source))
        try:
            before = _verified(source)
            _write(source, target)
            after = _verified(target)
            if (after.records, after.head_hash) != (before.records, before.head_hash):
                raise ChronError(f'the copy of "{source}" is another log; remove "{target}" and try again')
        finally:
            session.abandon()
    finally:
        lock.release()
    return after


def _origin(source: Source) -> str:
    with closing(connect(source)) as connection:
        row = connection.execute(_ORIGIN).fetchone()
    return str(row[0] or "") if row else ""


def _verified(source: Source) -> Verification:
    # Bodies in segments are not copied, so whether those are there is not asked.
    found = verify(source, segments=[])
    if not found.ok:
        place = f"record {found.first_bad_seq}: " if found.first_bad_seq else ""
        raise ChronError(f'chron "{source}" does not verify: {place}{found.fault}; keep it as evidence')
    return found


def _write(source: Source, target: Source) -> None:
    with closing(connect(source)) as log:
        people = dict(log.execute(_PEOPLE).fetchall()) if schema.has_table(log, "person") else {}
        if on_server(target):
            _to_server(log, target, _origin(source), people)
        else:
            _to_file(log, file_of(target, "").resolve(), people)


def _pages(log: Connection) -> Iterator[tuple[Rows, Rows]]:
    """The records from the first to the last, some at a time, and the texts that they kept."""
    seq = 0
    while rows := log.execute(_ROWS, (seq, _ROWS_PER_READ)).fetchall():
        yield rows, log.execute(_TEXTS, (seq, rows[-1][0])).fetchall()
        seq = rows[-1][0]


def _to_server(log: Connection, target: Source, origin: str, people: dict[str, str]) -> None:
    from chron.postgres.ledger import ServerLedger  # needs the driver

    store_of(target)  # it names a chain that a gate may have
    ledger = ServerLedger.open(str(target), origin)
    ledger.event = "copied"
    try:
        if ledger.seq:
            raise ChronError(f'there is a Chron at "{target}" already; give another place')
        for rows, texts in _pages(log):
            ledger.commit(rows, texts)
        ledger.name_people(people)
    finally:
        ledger.abandon()


def _to_file(log: Connection, target: Path, people: dict[str, str]) -> None:
    making = target.with_name(target.name + ".making")
    try:
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(making, isolation_level=None)) as file:
            for pragma in PRAGMAS:
                file.execute(pragma).close()
            file.execute("BEGIN")
            schema.create_tables(file)
            for rows, texts in _pages(log):
                file.executemany("INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", rows)
                file.executemany("INSERT INTO artefact VALUES (?, ?, ?, ?, ?, ?)", texts)
            file.executemany("INSERT INTO person VALUES (?, ?)", people.items())
            schema.create_rest(file)  # the guards come last: they would not let bodies be missing
            file.execute("COMMIT")
        os.link(making, target)  # unlike a rename, never over a file that is there
        sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise ChronError(explained(target, error)) from error
    finally:
        making.unlink(missing_ok=True)
