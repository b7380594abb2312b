"""What our own connection and a stray shell cannot do to a record. The file's owner can; see test_verification."""

import sqlite3
from contextlib import closing

import pytest

from chron import verify
from chron.schema import APPLICATION_ID

APPEND_ONLY = "chron is append-only"

STATEMENTS = {
    "update": ("UPDATE chron SET body = '{}' WHERE seq = 3", APPEND_ONLY),
    "update of nothing but the hash": ("UPDATE chron SET hash = leaf WHERE seq = 3", APPEND_ONLY),
    "erasing a body": ("UPDATE chron SET body = NULL WHERE seq = 3", APPEND_ONLY),
    "delete": ("DELETE FROM chron WHERE seq = 3", APPEND_ONLY),
    "delete of the last": ("DELETE FROM chron WHERE seq = (SELECT max(seq) FROM chron)", APPEND_ONLY),
    "insert or replace of a seq": (
        "INSERT OR REPLACE INTO chron(seq, id, body, leaf, hash) "
        "SELECT seq, id, body, leaf, leaf FROM chron WHERE seq = 3",
        "only the next seq",
    ),
    "replace into": (
        "REPLACE INTO chron(seq, id, body, leaf, hash) SELECT 3, 'chr_x', body, leaf, hash FROM chron WHERE seq = 3",
        "only the next seq",
    ),
    "replace of an id under the next seq": (
        "REPLACE INTO chron(seq, id, body, leaf, hash) SELECT max(seq) + 1, (SELECT id FROM chron WHERE seq = 3), "
        "json_object('seq', max(seq) + 1, 'id', (SELECT id FROM chron WHERE seq = 3)), leaf, hash FROM chron",
        "with a new id",
    ),
    "upsert": (
        "INSERT INTO chron(seq, id, body, leaf, hash) SELECT seq, id, body, leaf, hash FROM chron WHERE seq = 3 "
        "ON CONFLICT(seq) DO UPDATE SET body = '{}'",
        APPEND_ONLY,
    ),
    "a gap": (
        "INSERT INTO chron(seq, id, body, leaf, hash) SELECT max(seq) + 2, 'chr_x', body, leaf, hash FROM chron",
        "only the next seq",
    ),
    "a seq that SQLite chooses": (
        "INSERT INTO chron(id, body, leaf, hash) SELECT 'chr_x', body, leaf, hash FROM chron WHERE seq = 3",
        "only the next seq",
    ),
    "a body that names another record": (
        "INSERT INTO chron(seq, id, body, leaf, hash) SELECT max(seq) + 1, 'chr_x', body, leaf, hash FROM chron",
        "its own body",
    ),
    "a record without a body": (
        "INSERT INTO chron(seq, id, leaf, hash) SELECT max(seq) + 1, 'chr_x', leaf, hash FROM chron",
        "its own body",
    ),
    "a kept text changed": ("UPDATE artefact SET text = 'allow: all'", APPEND_ONLY),
    "a kept text removed": ("DELETE FROM artefact", APPEND_ONLY),
    "a kept text replaced": (
        "REPLACE INTO artefact SELECT seq, kind, id, version, digest, 'allow: all' FROM artefact",
        "a kept text needs its own record",
    ),
    "a kept text without a record": (
        "INSERT INTO artefact VALUES (3, 'skill', 'x', '1', 'd', 'allow: all')",
        "a kept text needs its own record",
    ),
}


@pytest.mark.parametrize(("statement", "reason"), STATEMENTS.values(), ids=STATEMENTS)
def test_a_stray_shell_cannot_change_a_record(filled, statement, reason):
    """Statements that rewrite, remove or squeeze in records are refused by the tables themselves."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        with pytest.raises(sqlite3.IntegrityError, match=reason):
            shell.execute(statement)
        # Without recursive_triggers REPLACE would skip delete triggers: the insert trigger alone must hold.
        assert shell.execute("PRAGMA recursive_triggers").fetchone() == (0,)
    assert verify(filled).ok


OURS = {
    "drop trigger": "DROP TRIGGER chron_only_empty",
    "drop table": "DROP TABLE chron",
    "drop index": "DROP INDEX chron_ref",
    "alter table": "ALTER TABLE chron DROP COLUMN agent",
    "rename": "ALTER TABLE chron RENAME TO old",
    "create table": "CREATE TABLE other(x)",
    "create trigger": "CREATE TEMP TRIGGER t AFTER INSERT ON chron BEGIN SELECT 1; END",
    "weaker sync": "PRAGMA synchronous = OFF",
    "writable schema": "PRAGMA writable_schema = ON",
    "another journal": "PRAGMA journal_mode = DELETE",
    "schema edit": "DELETE FROM sqlite_master",
    "update": "UPDATE chron SET leaf = zeroblob(32)",
    "update of all": "UPDATE chron SET seq = seq + 1",
    "delete": "DELETE FROM chron",
    "attach": "ATTACH ':memory:' AS other",
    "vacuum": "VACUUM",
    "insert elsewhere": "INSERT INTO sqlite_sequence VALUES ('chron', 1)",
}


@pytest.mark.parametrize("statement", OURS.values(), ids=OURS)
async def test_our_own_connection_can_only_append(open_chron, path, statement):
    """A bug of ours that runs such a statement on the writing connection is stopped before it runs."""
    chron = open_chron()
    connection = chron._writer._ledger.connection
    with pytest.raises(
        sqlite3.DatabaseError, match=r"not authorized|authorization denied|no such table|may not be modified"
    ):
        connection.execute(statement)
    assert (await chron.append("decision", {})).seq == 2
    chron.close()
    assert verify(path).ok


def test_the_writing_connection_is_defensive_and_durable(open_chron):
    """The settings that SQLite forgets with each connection are set on ours."""
    chron = open_chron()
    connection = chron._writer._ledger.connection
    assert connection.getconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)
    assert connection.getconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER)
    connection.set_authorizer(None)
    settings = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "recursive_triggers", "application_id", "user_version")
    }
    assert settings == {
        "synchronous": 2,
        "journal_mode": "wal",
        "recursive_triggers": 1,
        "application_id": APPLICATION_ID,
        "user_version": 2,
    }


def test_dropped_guards_are_put_back_and_that_is_written_down(filled, open_chron, harm, rows):
    """A guard somebody dropped stands again after the next start, and the log says so."""
    harm(guards=False)
    found = verify(filled)
    assert (found.ok, found.first_bad_seq) == (False, None)
    assert found.fault.startswith('"chron_only_next" is missing')
    open_chron().close()
    assert verify(filled).ok
    restored = rows("SELECT body->>'$.guards_restored' FROM chron WHERE body->>'$.event' = 'open' ORDER BY seq")
    assert restored[0] == (None,)
    assert restored[1][0].split()[0] == "chron_only_next"


def test_the_file_is_private(filled, open_chron):
    """The log and what SQLite puts beside it can be read by their owner only."""
    open_chron()
    modes = {file.name: file.stat().st_mode & 0o777 for file in filled.parent.iterdir()}
    assert modes == dict.fromkeys(["chron.db", "chron.db-wal", "chron.db-shm", "chron.db.lock"], 0o600)
