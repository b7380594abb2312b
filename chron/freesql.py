"""A statement of the reader's own against a Chron: it reads records and kept texts, and can do nothing else.

SQLite itself is asked what the statement would do, before it runs: reading our tables and calling plain functions is
allowed, everything else is not (no ATTACH, no PRAGMA, no writing, no recursion, no second statement). Time, rows and
the size of a value are bounded. The connection is read-only besides. A log in PostgreSQL is asked in a transaction that
only reads (`chron.postgres.freesql`), and a value there may be as large as the server makes it.

    FilterError: the statement may only read chron, artefact, decisions and person: "not authorized"; write one SELECT
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from chron import schema
from chron.errors import refused
from chron.querying import reading
from chron.sources import Source

MAX_VALUE_BYTES = 1_000_000
"""A body has at most 64 KiB; without a limit, zeroblob(1e9) takes the memory of the machine."""

_TABLES = frozenset({"chron", "artefact", "person", "decisions", "json_each", "json_tree", ""})
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})

type Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave."""

    columns: tuple[str, ...]
    """Each name once: the second "id" is "id_2"."""
    rows: tuple[tuple[Cell, ...], ...]
    more: bool
    """Whether there were more rows than asked for."""


def ask_sql(path: Source, statement: str, *, limit: int, most_s: float) -> Answer:
    """The first rows of a SELECT; bytes are given in hexadecimal. Raises FilterError for anything else."""
    with reading(path, most_s) as connection:
        if isinstance(connection, sqlite3.Connection):
            columns, rows = _ask_file(connection, statement, limit + 1)
        else:
            from chron.postgres.freesql import ask  # needs the driver

            columns, rows = ask(connection, statement, limit + 1, most_s)
    return Answer(_once(columns), tuple(tuple(map(_cell, row)) for row in rows[:limit]), len(rows) > limit)


def _ask_file(
    connection: sqlite3.Connection, statement: str, most: int
) -> tuple[Sequence[str], Sequence[tuple[object, ...]]]:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    # Their first use declares a table inside of SQLite, which the authorizer would not let pass.
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()
    schema.widen(connection)
    connection.set_authorizer(_authorize)
    try:
        cursor = connection.execute(statement)
        return [name for name, *_ in cursor.description or ()], cursor.fetchmany(most)
    except (sqlite3.Error, UnicodeEncodeError) as error:
        if getattr(error, "sqlite_errorname", "") in ("SQLITE_INTERRUPT", "SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise
        raise refused(error) from error


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_OK if (first or "") in _TABLES else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _once(names: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for name in names:
        free, number = name, 1
        while free in seen:
            number += 1
            free = f"{name}_{number}"
        seen[free] = None
    return tuple(seen)


def _cell(value: object) -> Cell:
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, str | int | float) else str(value)
