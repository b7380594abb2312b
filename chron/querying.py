"""Answering a filter from a Chron: pages of records, counts by field, and the stored rows themselves.

    page(path, parse_filter("outcome=DENY", now), limit=100)              the newest hundred, oldest of them first
    page(path, asked, limit=100, before=found.cursor)                     the hundred before those
    counts(path, asked, ("agent", "action"))                              how many of each, the most first

A cursor is a place in an append-only log: what is written meanwhile moves no page, and no record is given twice or
left out. Like every reader, this writes nothing and holds no transaction open between two reads.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from chron.conditions import condition, text_of
from chron.errors import ChronError, FilterError, NotOursError, too_slow
from chron.filtering import Filter
from chron.reading import Record, connect, record_of
from chron.sources import Connection, Source

_ROWS_PER_READ = 500
MAX_GROUPED = 4
"""Fields that are counted by at once."""

type Row = tuple[int, str, bytes | None, bytes, bytes]
"""seq, id, body, leaf, hash: as stored; no body after erasure."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records in the order of the log, and where to go on."""

    records: tuple[Record, ...]
    cursor: int
    """Give it as `before` for the records before these; 0 when there are none."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many records have these values, and when the first and the last of them were written."""

    values: tuple[str | None, ...]
    """None where the records have no such field."""
    records: int
    first: str
    last: str


def page(path: Source, asked: Filter, *, limit: int, before: int = 0, most_s: float = 0) -> Page:
    """The newest `limit` records that match, or the newest before a place in the log."""
    wanted = condition(asked)
    places = "SELECT seq, id, body, hash FROM chron WHERE seq < ? AND"
    # The texts in the statement are our own, or names that were checked; all values are bound.
    statement = f"{places} {wanted.sql} ORDER BY seq DESC LIMIT ?"
    with reading(path, most_s) as connection:
        values = (before or 2**62, *wanted.values, limit + 1)
        rows = connection.execute(statement, values).fetchall()
    more = len(rows) > limit
    found = tuple(record_of(*row) for row in reversed(rows[:limit]))
    return Page(found, found[0].seq if more and found else 0)


def counts(path: Source, asked: Filter, fields: Sequence[str], *, limit: int, most_s: float = 0) -> list[Count]:
    """How many of the records that match have which values of these fields, the most first.

    The names are checked ones (`chron.filtering.check_field`).
    """
    if not 1 <= len(fields) <= MAX_GROUPED:
        raise FilterError(f"records are counted by 1 to {MAX_GROUPED} fields; name fewer")
    wanted = condition(asked)
    names = ", ".join(text_of(field) for field in fields)
    order = ", ".join(str(place) for place in range(1, len(fields) + 1))
    statement = (
        f"SELECT {names}, count(*), min(ts), max(ts) FROM chron WHERE {wanted.sql} "  # noqa: S608 -- as above
        f"GROUP BY {order} ORDER BY count(*) DESC, {order} LIMIT ?"
    )
    with reading(path, most_s) as connection:
        rows = connection.execute(statement, (*wanted.values, limit)).fetchall()
    return [Count(tuple(values), records, first or "", last or "") for *values, records, first, last in rows]


def stored(path: Source, asked: Filter, *, upto: int) -> Iterator[Row]:
    """The rows of all records that match up to a place in the log, oldest first, as they are stored."""
    wanted = condition(asked)
    statement = (
        "SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron "  # noqa: S608 -- as above
        f"WHERE seq > ? AND seq <= ? AND {wanted.sql} ORDER BY seq LIMIT ?"
    )
    after = 0
    with reading(path) as connection:
        while rows := connection.execute(statement, (after, upto, *wanted.values, _ROWS_PER_READ)).fetchall():
            for seq, id_, _, leaf, hash_ in rows:
                if not (isinstance(id_, str) and isinstance(leaf, bytes) and isinstance(hash_, bytes)):
                    raise NotOursError(f"record {seq}: its columns are of other types than were written")
            yield from rows
            after = rows[-1][0]


def each(path: Source, asked: Filter) -> Iterator[Record]:
    """All records that match, oldest first, read a few at a time."""
    for seq, id_, body, _, hash_ in stored(path, asked, upto=head(path)[0]):
        yield record_of(seq, id_, body, hash_)


def hash_at(path: Source, seq: int) -> bytes:
    """The hash of one record, b"" when there is no such record."""
    with reading(path) as connection:
        row = connection.execute("SELECT hash FROM chron WHERE seq = ?", (seq,)).fetchone()
    return row[0] if row else b""


def head(path: Source) -> tuple[int, bytes]:
    """Place and hash of the newest record; (0, b"") of an empty log."""
    with reading(path) as connection:
        row = connection.execute("SELECT seq, hash FROM chron ORDER BY seq DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, b"")


@contextmanager
def reading(path: Source, most_s: float = 0) -> Iterator[Connection]:
    """A connection that only reads, for at most so many seconds if there is a number."""
    with closing(connect(path, most_s)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise too_slow(most_s) from error
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error
