"""Reading a Chron, while it is written or long after: records, their outcomes, the texts that decided.

Always a connection of its own, read-only, with short transactions: a reader neither writes nor holds the
writer up.

    for record in find(path, agent="deploy-bot", outcome="DENY", since=yesterday): ...
    show(path, "chr_01k...").outcomes

    ChronError: there is no Chron at "state/chron.db"; start "claiim serve" first, or give its path
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from chron import schema
from chron.body import read_body
from chron.conditions import condition, glob
from chron.damaged import Careful
from chron.errors import ChronError, NotOursError
from chron.filtering import Compare
from chron.ruletexts import TextLine, deciding
from chron.sources import Connection, Source, file_of, on_server
from chron.times import time_text

if TYPE_CHECKING:
    import sqlite_utils

_ROWS_PER_READ = 500
_STEPS_PER_LOOK = 20_000
"""SQLite's own steps between two looks at the clock; some milliseconds."""

_MOST_DIGITS = 20

type FieldValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in the log."""

    seq: int
    id: str
    fields: Mapping[str, FieldValue]
    """The whole body, with v, seq, id, ts and kind."""
    hash: bytes

    @property
    def kind(self) -> str:
        """What sort of record it is."""
        return self.text("kind")

    def text(self, name: str) -> str:
        """A field as text, "" when the record does not have it."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Shown:
    """A record, what came of it, and the texts that decided it."""

    record: Record
    outcomes: tuple[Record, ...]
    texts: tuple[TextLine, ...]


def connect(path: Source, most_s: float = 0) -> Connection:
    """Open a Chron read-only, for statements of at most so many seconds if there is a number; raises ChronError."""
    if isinstance(path, str) and on_server(path):
        from chron.postgres.connection import connect_chain  # needs the driver

        return connect_chain(path, most_s)
    connection = connect_file(path, "")
    if most_s:
        end_s = time.monotonic() + most_s
        connection.set_progress_handler(lambda: time.monotonic() > end_s, _STEPS_PER_LOOK)
    return connection


def is_there(path: Source) -> bool:
    """Say whether there is a Chron; one that cannot be seen is not none, or the highest versions would be in force."""
    if isinstance(path, str) and on_server(path):
        from chron.postgres.connection import is_there as on_server_is_there  # needs the driver

        return on_server_is_there(path)
    try:
        file_of(path, "").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise ChronError(f'cannot read chron "{path}": {why}; make it readable for you') from None
    return True


def connect_file(source: Source, what: str) -> sqlite3.Connection:
    """Open a Chron that is a file read-only; raises ChronError when it is none, because `what` is of files alone."""
    path = file_of(source, what)
    if not path.is_file():
        raise ChronError(f'there is no Chron at "{path}"; start "claiim serve" first, or give its path')
    try:
        return _connected(path, "mode=ro")
    except sqlite3.OperationalError as error:
        # On a read-only disk SQLite cannot make the -shm file that readers of a write-ahead log need.
        wal = path.with_name(path.name + "-wal")
        unshared = error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))
        if not unshared or (wal.exists() and wal.stat().st_size):
            raise ChronError(f'cannot read chron "{path}": {error}; make it readable for you') from error
    except sqlite3.DatabaseError as error:
        raise NotOursError(f'"{path}" is not a Chron ({error}); give another path') from error
    try:
        return _connected(path, "immutable=1")
    except sqlite3.DatabaseError as error:
        raise ChronError(f'cannot read chron "{path}": {error}; make it readable for you') from error


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, isolation_level=None, factory=Careful)
    try:
        connection.execute("PRAGMA busy_timeout = 5000").close()
        if reason := schema.foreign(connection):
            raise NotOursError(f'"{path}" {reason}')
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Source) -> "sqlite_utils.Database":
    """The Chron as a read-only sqlite-utils database, for queries of your own; close it after use."""
    import sqlite_utils  # costs 0.2 s, and only this needs it

    return sqlite_utils.Database(connect_file(path, "sqlite-utils reads files alone"))


def find(
    path: Source,
    *,
    kind: str = "",
    agent: str = "",
    anchor: str = "",
    action: str = "",
    outcome: str = "",
    host: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    after_seq: int = 0,
    newest: int = 0,
) -> Iterator[Record]:
    """Records that match all that is given, oldest first; `*` in `action` matches anything.

    `since` is included, `until` is not. With `newest`, only that many of the newest ones.
    """
    same = {"kind": kind, "agent": agent, "anchor": anchor, "outcome": outcome, "body->>'$.host'": host}
    conditions = [f"{name} = ?" for name, value in same.items() if value]
    values: list[str | int] = [value for value in same.values() if value]
    if kind not in ("", "decision", "outcome"):
        conditions.append(schema.SELDOM)
    if action:
        conditions.append("glob(?, action)" if "*" in action else "action = ?")
        values.append(glob(action) if "*" in action else action)
    for compared in _times(since, until):
        written = condition(compared)
        conditions.append(written.sql)
        values += written.values
    connection = connect(path)
    try:
        where = " AND ".join(["seq > ?", *conditions])
        if newest:
            after_seq = _before_newest(connection, where, [after_seq, *values], newest)
        yield from _pages(connection, where, after_seq, values)
    except sqlite3.Error as error:
        raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error
    finally:
        connection.close()


def _times(since: datetime | None, until: datetime | None) -> Iterator[Compare]:
    if since is not None:
        yield Compare("ts", ">=", (time_text(since),))
    if until is not None:
        yield Compare("ts", "<", (time_text(until),))


def _before_newest(connection: Connection, where: str, values: list[str | int], newest: int) -> int:
    # The texts in `where` are our own; all values are bound.
    inner = f"SELECT seq FROM chron WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608
    row = connection.execute(f"SELECT min(seq) FROM ({inner}) AS found", [*values, newest]).fetchone()  # noqa: S608
    return (row[0] or 1) - 1


def _pages(connection: Connection, where: str, after_seq: int, values: list[str | int]) -> Iterator[Record]:
    statement = f"SELECT seq, id, body, hash FROM chron WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608
    while rows := connection.execute(statement, [after_seq, *values, _ROWS_PER_READ]).fetchall():
        for row in rows:
            yield record_of(*row)
        after_seq = rows[-1][0]


def tail(path: Source, count: int = 50, **filters: str) -> list[Record]:
    """The newest records that match, oldest of them first; filters as in `find`."""
    return list(find(path, newest=count, **filters)) if count else []  # type: ignore[arg-type]


def follow(path: Source, after_seq: int, wait: Callable[[], bool], **filters: str) -> Iterator[Record]:
    """Records as they arrive behind `after_seq`; `wait` sleeps between looks and returns False to end."""
    while True:
        for record in find(path, after_seq=after_seq, **filters):  # type: ignore[arg-type]
            after_seq = record.seq
            yield record
        if not wait():
            return


def show(path: Source, id_: str) -> Shown | None:
    """A record with its outcomes and deciding texts; None when the Chron does not have it."""
    connection = connect(path)
    try:
        row = connection.execute("SELECT seq, id, body, hash FROM chron WHERE id = ?", (id_,)).fetchone()
        if row is None:
            return None
        record = record_of(*row)
        statement = "SELECT seq, id, body, hash FROM chron WHERE ref = ? ORDER BY seq"
        outcomes = tuple(record_of(*other) for other in connection.execute(statement, (id_,)))
        return Shown(record, outcomes, tuple(deciding(connection, record)))
    except sqlite3.Error as error:
        raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error
    finally:
        connection.close()


def seen(path: Source) -> dict[tuple[str, str, int], str]:
    """The digest under which each (kind, id, version) was first kept; what `Chron.seen` says, without the lock."""
    connection = connect(path)
    try:
        digests: dict[tuple[str, str, int], str] = {}
        for kind, id_, version, digest in connection.execute(
            "SELECT kind, id, version, digest FROM artefact ORDER BY seq"
        ):
            if (number := version_number(version)) is not None:
                digests.setdefault((kind, id_, number), digest)
        return digests
    except sqlite3.Error as error:
        raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error
    finally:
        connection.close()


def version_number(version: object) -> int | None:
    """The number of a kept text's version; None for a text that has none, or one that no text of ours has."""
    # Of more digits than these Python makes no number: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
    plain = isinstance(version, str) and len(version) <= _MOST_DIGITS and version.isascii() and version.isdecimal()
    return int(str(version)) if plain else None


def record_of(seq: int, id_: str, body: str | bytes | None, hash_: bytes) -> Record:
    """A row as a record; one whose body was erased has no fields. Raises ChronError for a body that is none of ours."""
    try:
        if not (isinstance(id_, str) and isinstance(hash_, bytes) and isinstance(body, str | bytes | None)):
            raise NotOursError("its columns are of other types than were written")
        fields = cast("Mapping[str, FieldValue]", read_body(body)) if body else {}
    except ChronError as error:
        raise ChronError(f'record {seq}: {error}; "claiim chron verify" tells what was changed') from error
    return Record(seq, id_, fields, hash_)
