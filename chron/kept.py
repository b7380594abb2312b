"""Reading back a text that was kept as evidence, by its digest."""

import sqlite3
from contextlib import closing

from chron.errors import ChronError
from chron.reading import connect
from chron.sources import Source


def kept_text(path: Source, kind: str, digest: str) -> str | None:
    """Return the text that was kept under this kind and digest; None when the Chron has none."""
    statement = "SELECT text FROM artefact WHERE kind = ? AND digest = ? ORDER BY seq LIMIT 1"
    with closing(connect(path)) as connection:
        try:
            row = connection.execute(statement, (kind, digest)).fetchone()
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error
    return None if row is None else str(row[0])
