"""A statement of the reader's own against a chain: a SELECT or VALUES, in a transaction that only reads.

The statement stands behind DECLARE CURSOR, which takes a query that changes nothing and no second statement
(https://www.postgresql.org/docs/15/sql-declare.html). What the server lets the role read beside the chain, and which
functions it may call, is between the server and that role: give whoever looks "claiim_reader" and no more.
"""

from typing import Any

from chron.errors import ChronError, refused
from chron.postgres.connection import ServerConnection, driver, explained
from chron.sources import Connection

_DECLARE = "DECLARE asked NO SCROLL CURSOR FOR "


def ask(connection: Connection, statement: str, most: int, most_s: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns and the first rows; raises FilterError for anything but a query."""
    if not isinstance(connection, ServerConnection):
        raise ChronError("this is no connection to a server; ask the file")
    raw, errors = connection.raw, driver()
    try:
        raw.execute("BEGIN READ ONLY")
        # In this form a text is one statement or refused, and no mark in it stands for a value.
        raw.execute(_DECLARE + statement, binary=True)
        cursor = raw.execute(f"FETCH {most} FROM asked")
        return [column.name for column in cursor.description or ()], cursor.fetchall()
    except (errors.OperationalError, errors.InterfaceError) as error:
        raise explained(connection.source, error, most_s) from error
    except (errors.Error, UnicodeEncodeError, ValueError) as error:
        raise refused(error) from error
