"""The end of a log, verified before anything is appended to it."""

from contextlib import closing

from chron.chain import HASH_BYTES, follow, genesis
from chron.emptied import GONE, Holes, add_holes, reasons, unexplained
from chron.errors import ChronError
from chron.sources import Connection, Source

TAIL_RECORDS = 1000
"""How many records the opening verifies: what a crash or a bad disk can have hurt is at the end."""


def verified_end(connection: Connection, source: Source, origin: str) -> tuple[int, bytes]:
    """The last seq and its hash; raises ChronError when the last records do not verify, or the log is another's."""
    with closing(connection.execute("SELECT min(seq), max(seq) FROM chron")) as cursor:
        first, last = cursor.fetchone()
        last = last or 0
    start = max(0, last - TAIL_RECORDS)
    before = genesis(origin)
    if start:
        row = connection.execute("SELECT hash FROM chron WHERE seq = ?", (start,)).fetchone()
        before = row[0] if row else bytes(HASH_BYTES)
    statement = "SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron WHERE seq > ? ORDER BY seq"
    rows = connection.execute(statement, (start,)).fetchall()
    seq, hash_, fault = follow(rows, start, before)
    holes: Holes = []
    add_holes(holes, rows)
    if not fault and first is not None and first < 1:
        seq, fault = first - 1, "it stands before the first record"
    if not fault and holes and (gone := unexplained(holes, reasons(connection))):
        seq, fault = gone - 1, GONE
    named = _origin(connection)
    if named not in ("", origin):
        raise ChronError(f'chron "{source}" belongs to origin "{named}", not "{origin}"; give another path')
    if fault:
        raise ChronError(
            f'chron "{source}" does not verify at record {seq + 1}: {fault}; '
            f'run "claiim chron verify {source}", keep the file as evidence and start a new one'
        )
    return seq, hash_


def _origin(connection: Connection) -> str:
    row = connection.execute("SELECT body->>'$.origin' FROM chron WHERE seq = 1").fetchone()
    return str(row[0] or "") if row else ""
