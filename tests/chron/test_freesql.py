"""Statements of a reader's own: they read, and nothing else."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from chron import Chron, ChronError, schema
from chron.errors import FilterError
from chron.filtering import All
from chron.freesql import ask_sql
from chron.querying import page


@pytest.fixture
def log(path):
    """Three decisions."""

    async def fill():
        with Chron.open(path, low_water_bytes=0) as chron:
            for host in ("a.test", "b.test", "a.test"):
                await chron.append("decision", {"agent": "deploy-bot", "host": host, "outcome": "ALLOW"})

    asyncio.run(fill())
    return path


def test_a_select_is_answered(log):
    """Columns, rows in hexadecimal where they are bytes, and whether there are more."""
    answer = ask_sql(log, "SELECT host, count(*) AS n FROM decisions GROUP BY host ORDER BY n DESC", limit=1, most_s=5)
    assert (answer.columns, answer.rows, answer.more) == (("host", "n"), (("a.test", 2),), True)
    answer = ask_sql(log, "SELECT seq, hash, seq FROM chron WHERE seq = 2", limit=5, most_s=5)
    assert answer.columns == ("seq", "hash", "seq_2")
    assert len(answer.rows[0][1]) == 64
    answer = ask_sql(log, "SELECT key FROM chron, json_each(body) WHERE seq = 2 AND key = 'host'", limit=5, most_s=5)
    assert answer.rows == (("host",),)


REFUSED = {
    "delete": "DELETE FROM chron",
    "insert": "INSERT INTO chron(seq) VALUES (9)",
    "update": "UPDATE chron SET body = NULL",
    "drop": "DROP TRIGGER chron_only_empty",
    "create": "CREATE TEMP TABLE t AS SELECT 1",
    "attach": "ATTACH '/etc/passwd' AS p",
    "attach in memory": "ATTACH ':memory:' AS p",
    "pragma": "PRAGMA table_info(chron)",
    "pragma that writes": "PRAGMA writable_schema = 1",
    "pragma as a table": "SELECT * FROM pragma_database_list",
    "schema": "SELECT sql FROM sqlite_master",
    "vacuum into": "VACUUM INTO '/tmp/copy-of-a-chron.db'",
    "two": "SELECT 1; SELECT 2",
    "recursion": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n",
    "extension": "SELECT load_extension('x')",
    "a large value": "SELECT zeroblob(1000000000)",
    "begin": "BEGIN IMMEDIATE",
    "nonsense": "SELEC",
    "surrogate": "SELECT '\ud800'",
    "nothing to bind": "SELECT ?",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_nothing_but_reading_is_done(log, statement):
    """Writing, other files, settings, the schema, loops and second statements are refused; the log is as it was."""
    before = log.read_bytes()
    with pytest.raises(
        FilterError, match=r"^the statement may only read chron, artefact, decisions and person: .+; write one"
    ):
        ask_sql(log, statement, limit=10, most_s=5)
    assert log.read_bytes() == before


def test_a_slow_statement_is_stopped(log):
    """A join that would take a year ends when its time is over, and says what to do."""
    slow = "SELECT count(*) FROM " + ", ".join(f"chron AS c{n}" for n in range(20))
    with pytest.raises(FilterError, match=r"the answer takes longer than 0.05 s; ask for less, by since= or agent="):
        ask_sql(log, slow, limit=10, most_s=0.05)


def test_a_broken_file_is_told_from_a_bad_statement(log):
    """A file that cannot be read is no fault of whoever asks."""
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    with log.open("r+b") as file:
        file.seek(schema.PAGE_BYTES)
        file.write(b"\xff" * schema.PAGE_BYTES * (pages - 1))
    with pytest.raises(ChronError, match="cannot read chron"):
        page(log, All(()), limit=10)
