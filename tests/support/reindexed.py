"""Indexes of a log that are over other records, or other columns, than their texts say."""

import sqlite3
from contextlib import closing
from pathlib import Path


def rebuild(log: Path, index: str, right: str, wrong: str) -> None:
    """Build an index by another text and put its own text back: tables and guards look as ever."""
    with closing(sqlite3.connect(log, isolation_level=None)) as shell:
        for old, new, then in ((right, wrong, f"REINDEX {index}"), (wrong, right, "SELECT 1")):
            shell.execute("PRAGMA writable_schema = ON")
            changed = shell.execute(
                "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE sql LIKE '%chron%'", (old, new)
            )
            assert changed.rowcount
            shell.execute("PRAGMA writable_schema = RESET")
            shell.execute(then)
