"""A connection to a file that may be damaged: whatever SQLite says of it is one of SQLite's errors.

SQLite quotes a damaged schema in its message, and Python cannot decode what is not text any more: without this, one bit
in the file ends verifying with a trace, and not with what is wrong.
"""

import sqlite3
from typing import Any


class Careful(sqlite3.Connection):
    """A connection whose statements fail with `sqlite3.Error` alone."""

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return super().execute(statement, values)
        except UnicodeDecodeError as error:
            told = bytes(error.object).decode(errors="replace")
            damage = sqlite3.DatabaseError(told)
            damage.sqlite_errorname = "SQLITE_CORRUPT"
            raise damage from error
        except (UnicodeEncodeError, OverflowError) as error:
            # A value that somebody asks for and no file can hold.
            raise sqlite3.DataError(str(error)) from error
