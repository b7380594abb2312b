"""The one writing connection to a Chron file: opened with every guard, it knows the head and appends batches.

Opening, in this order: refuse what is not a Chron; move the write-ahead log into the file; put dropped
guards back; verify the last records; read the head. Then the connection is shut in: DEFENSIVE mode and an
authorizer that allows INSERT and SELECT and nothing else, so that a bug of ours cannot drop a trigger or
change a PRAGMA.

Durable means: WAL with synchronous=FULL, so COMMIT returns after fsync of the write-ahead log. After any
error the connection must be thrown away, never used again: a failed fsync may have lost pages that later
look clean (https://www.sqlite.org/wal.html; the kernel reports such an error once). The TRUNCATE checkpoint
at opening is what makes that safe: it copies what is readable into the file and syncs it before anything is
appended behind it.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from chron import schema
from chron.damaged import Careful
from chron.ending import verified_end
from chron.errors import NOT_TAKEN, ChronError
from chron.storage import explained

MIN_SQLITE = (3, 38, 0)  # the ->> operator: https://www.sqlite.org/releaselog/3_38_0.html
BUSY_TIMEOUT_MS = 2000
"""How long a stray shell with an open transaction may hold all requests up before they are refused."""

type NewRow = tuple[int, str, str, bytes, bytes]
type NewText = tuple[int, str, str, str, str, str]

# These two are properties of the connection, not of the file: without synchronous=FULL a power cut loses
# acknowledged records (measured: 235 of 535 replayed cuts with NORMAL, none of 640 with FULL).
PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA journal_size_limit = 67108864",
    # 32 MB. Pages that change again and again, the ends of each agent's and action's entries, are moved into the file
    # once for all those records (measured: 1.3 pages for each request, and 2.3 with 2,000).
    "PRAGMA wal_autocheckpoint = 4000",
    # 16 MB: those ends, and the pages above them, are more than the 2 MB that SQLite keeps by itself.
    "PRAGMA cache_size = -16000",
)

_INSERT = "INSERT INTO chron(seq, id, body, leaf, hash) VALUES "
MOST_AT_ONCE = 32
"""Rows in one statement. Each number of them is a statement of its own, and the connection keeps 128 prepared."""
_INSERT_TEXT = "INSERT INTO artefact(seq, kind, id, version, digest, text) VALUES (?, ?, ?, ?, ?, ?)"

_INSERT_PERSON = "INSERT INTO person(id, name) VALUES (?, ?)"
_EMPTY = f"""
UPDATE chron SET body = NULL
WHERE seq BETWEEN ? AND ? AND body IS NOT NULL AND kind IN ({", ".join("?" * len(schema.EMPTIABLE))})"""  # noqa: S608 -- ours

_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION})
_ALSO_ALLOWED = frozenset(
    {
        (sqlite3.SQLITE_INSERT, "chron", None),
        (sqlite3.SQLITE_INSERT, "artefact", None),
        # What a trigger then allows is that a body goes, under a record that says so.
        (sqlite3.SQLITE_UPDATE, "chron", "body"),
        # Names of people are no part of the log.
        (sqlite3.SQLITE_INSERT, "person", None),
        (sqlite3.SQLITE_DELETE, "person", None),
        (sqlite3.SQLITE_PRAGMA, "wal_checkpoint", "TRUNCATE"),
    }
)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allow reading, appending and emptying; called when a statement is prepared, not per row."""
    allowed = action in _ALLOWED or (action, first, second) in _ALSO_ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


class Ledger:
    """A verified head and the means to append behind it. Not thread-safe; errors end it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.restored: list[str] = []
        """Guards that were missing and have been put back."""
        self.settled = False
        """The write-ahead log was moved into the file; a reader with an old transaction can prevent it."""
        self.seq = 0
        self.hash = b""

    @classmethod
    def open(cls, path: Path, origin: str) -> "Ledger":
        """Open or create the file; raises ChronError when it cannot be appended to safely."""
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise ChronError(f"SQLite {sqlite3.sqlite_version} is too old for a Chron; it needs 3.38 or newer")
        try:
            _create_file(path)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Careful)
        except (OSError, sqlite3.Error) as error:
            raise ChronError(explained(path, error)) from error
        try:
            ledger = cls(path, connection)
            ledger._prepare()
            ledger.seq, ledger.hash = verified_end(connection, path, origin)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise ChronError(explained(path, error)) from error
            raise
        _shut_in(connection)
        return ledger

    def _prepare(self) -> None:
        path, connection = self.path, self.connection
        for pragma in PRAGMAS:
            connection.execute(pragma).close()
        if schema.is_empty(connection):
            connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}").close()
            _use_write_ahead_log(path, connection)
            schema.create(connection)
        if reason := schema.foreign(connection):
            raise ChronError(f'"{path}" {reason}')
        schema.upgrade(connection)
        _use_write_ahead_log(path, connection)
        self.settled = not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self.restored = schema.missing_guards(connection)
        for name in self.restored:
            connection.execute(schema.GUARDS[name])
        for name in schema.missing_indexes(connection):
            connection.execute(schema.INDEXES[name])
        if wrong := schema.faults(connection):
            raise ChronError(f'chron "{path}" does not verify: {wrong[0]}; run "claiim chron verify {path}"')

    def require_settled(self) -> None:
        """Raise ChronError when the write-ahead log of a run that failed may not be appended to."""
        if not self.settled:
            raise ChronError(
                f'chron "{self.path}" stopped in the middle and is being read by a long transaction; '
                "close that reader and start again"
            )

    def hash_at(self, seq: int) -> bytes:
        """The hash of a record, b"" when there is none."""
        row = self.connection.execute("SELECT hash FROM chron WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else b""

    def commit(self, rows: Sequence[NewRow], texts: Iterable[NewText] = ()) -> None:
        """Append the rows durably, all or none; blocks for an fsync. After an error: `abandon`."""
        connection = self.connection
        before = connection.total_changes
        if len(rows) <= MOST_AT_ONCE and not texts:
            # A transaction of its own. Row by row in a longer one, the thread would have to get Python's lock back
            # after each row and before the commit, from a loop that is busy with other requests.
            self._insert(rows)
        else:
            connection.execute("BEGIN IMMEDIATE")
            for first in range(0, len(rows), MOST_AT_ONCE):
                self._insert(rows[first : first + MOST_AT_ONCE])
            connection.executemany(_INSERT_TEXT, texts)
            connection.execute("COMMIT")
        if connection.in_transaction or connection.total_changes - before < len(rows):
            # If this is removed, a statement that came to nothing is told as done, and its requests are forwarded.
            raise ChronError(NOT_TAKEN)
        self.seq, self.hash = rows[-1][0], rows[-1][4]

    def _insert(self, rows: Sequence[NewRow]) -> None:
        self.connection.execute(_inserting(len(rows)), list(chain.from_iterable(rows)))

    def beside(self) -> Mapping[str, str | int]:
        """Nothing: a file has no log beside it."""
        return {}

    def empty(self, first: int, last: int) -> int:
        """Let the bodies [first, last] go that may, under a record that is there already; how many went.

        After it `forget` is due.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        gone = connection.execute(_EMPTY, (first, last, *schema.EMPTIABLE)).rowcount
        connection.execute("COMMIT")
        return gone

    def name_people(self, names: Mapping[str, str]) -> int:
        """Keep the names of people, by id; "" lets one go. How many are another than before; then `forget` is due."""
        known = dict(self.connection.execute("SELECT id, name FROM person").fetchall())
        changed = [(id_, name) for id_, name in names.items() if known.get(id_, "") != name]
        if changed:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany("DELETE FROM person WHERE id = ?", [(id_,) for id_, _ in changed])
            self.connection.executemany(_INSERT_PERSON, [(id_, name) for id_, name in changed if name])
            self.connection.execute("COMMIT")
        return len(changed)

    def forget(self) -> bool:
        """Clear the write-ahead log, in which the plain text still stands; False when a reader prevents it."""
        return not self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def abandon(self) -> None:
        """Roll back and close; without complaint, because what failed has been told already."""
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self.connection.close()


@cache
def _inserting(rows: int) -> str:
    return _INSERT + ", ".join(["(?, ?, ?, ?, ?)"] * rows)


def _create_file(path: Path) -> None:
    with suppress(FileExistsError):
        # 0600 from the first moment; SQLite gives -wal and -shm the mode of the file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # else a power cut may forget the file's name and with it every record
        finally:
            os.close(folder)


def _use_write_ahead_log(path: Path, connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ChronError(f'chron "{path}" cannot use a write-ahead log here; put it on a local disk')


def _shut_in(connection: sqlite3.Connection) -> None:
    connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, True)
    connection.set_authorizer(_authorize)
