"""The names of people, which are no part of the log: records say ids, and this table says who that is.

It can be emptied without touching a record, so that a person can be forgotten and what their id did still be proved.
A record of kind `person` says whose name went, so that the next look at the registry does not bring it back.
"""

import sqlite3
from contextlib import closing

from chron import schema
from chron.errors import ChronError
from chron.reading import connect, find
from chron.sources import Source

PERSON = "person"


def people(path: Source) -> dict[str, str]:
    """The names that are known, by id."""
    with closing(connect(path)) as connection:
        if not schema.has_table(connection, "person"):
            return {}
        try:
            return dict(connection.execute("SELECT id, name FROM person").fetchall())
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error


def forgotten(path: Source) -> set[str]:
    """Whose names went for good."""
    return {record.text("human") for record in find(path, kind=PERSON)}
