"""Reading a Chron from one end to the other, for those who look at every record of a kind.

`chron.reading` answers questions about a few records; this goes over millions, in order, and costs little more
than reading them. A scan sees what was there when it began, holds no transaction open between two reads and,
like every reader, writes nothing and keeps the writer waiting for nothing.

    for record in scan(path, {"decision"}, since=a_month_ago): ...
"""

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import datetime

from chron.conditions import FIRST_SINCE
from chron.errors import ChronError, NotOursError
from chron.reading import FieldValue, connect
from chron.sources import Connection, Source
from chron.times import time_text

_ROWS_PER_READ = 4000
"""Rows looked at in one transaction; 4,000 records are some 5 MB."""

type Fields = dict[str, FieldValue]


def scan(
    path: Source, kinds: Collection[str], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Fields]:
    """Yield the bodies of all records of these kinds, oldest first; `since` is included, `until` is not.

    Of a record that was erased nothing is left that says its kind: `erased` counts those.
    """
    begin, end = (time_text(at) if at else "" for at in (since, until))
    with closing(connect(path)) as connection:
        try:
            for body in _bodies(connection, kinds, begin):
                fields = _fields(body)
                # The clock may have gone back in between, so the first record in time is not the only test.
                if begin <= str(fields["ts"]) and (not end or str(fields["ts"]) < end):
                    yield fields
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error


def _fields(body: str) -> Fields:
    try:
        fields: Fields = json.loads(body)
        if {"seq", "id", "ts"} <= fields.keys():
            return fields
    except (ValueError, RecursionError, AttributeError):
        pass
    raise NotOursError('a body holds what no body of ours does; run "claiim chron verify"')


def erased(path: Source) -> int:
    """Count the records whose bodies were erased."""
    with closing(connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM chron WHERE body IS NULL").fetchone()[0])


def kept_texts(path: Source, kind: str) -> dict[str, str]:
    """Return all texts of one kind that were ever obeyed, by digest."""
    with closing(connect(path)) as connection:
        rows = connection.execute("SELECT digest, text FROM artefact WHERE kind = ? ORDER BY seq", (kind,))
        return dict(rows.fetchall())


def _bodies(connection: Connection, kinds: Collection[str], begin: str) -> Iterator[str]:
    # A body is canonical JSON and flat: quotes inside of texts are escaped, so this text stands in it exactly when
    # it is the record's own kind. Asking the column "kind" parses every body and takes five times as long.
    marks = [f'"kind":{json.dumps(kind)}' for kind in kinds]
    of_kind = " OR ".join(["instr(body, ?) > 0"] * len(marks))
    # The texts in the statement are our own; all values are bound.
    statement = f"SELECT body FROM chron WHERE seq > ? AND seq <= ? AND ({of_kind}) ORDER BY seq"  # noqa: S608
    seq, last = _span(connection, begin)
    while seq < last:
        upto = min(seq + _ROWS_PER_READ, last)
        for (body,) in connection.execute(statement, (seq, upto, *marks)).fetchall():
            yield body
        seq = upto


def _span(connection: Connection, begin: str) -> tuple[int, int]:
    """Return the seq before the first record since then, and the last seq there is."""
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM chron").fetchone()[0]
    if not begin:
        return 0, last
    first = connection.execute(FIRST_SINCE, (begin,)).fetchone()[0]
    return (last if first is None else first - 1), last
