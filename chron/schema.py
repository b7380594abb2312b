"""The tables of a Chron file, its guard rails, and the check that they are still the ones we wrote.

Columns besides the first five are computed from the body when read, so they cannot disagree with the hashed
bytes. They are those that have an index: SQLite computes each of them, twice, for every record it inserts, so
that the eighteen more of older logs take a third of its time. The triggers guard against our own bugs and a stray
shell, not against the file's owner, who can drop them; that is what the hash chain is for. Measured: without the
conditions of `chron_only_next`, INSERT OR REPLACE silently rewrites a record, because REPLACE deletes
without firing delete triggers.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from chron.sources import Connection

APPLICATION_ID = 0x4348524E  # "CHRN", so that file(1) and other tools can name the file
USER_VERSION = 2
READABLE = (1, 2)
"""Format 1 has no emptied bodies and no table of persons; it is brought to 2 when it is opened for writing."""

PAGE_BYTES = 8192
"""Of a new file. A decision with its outcome takes a fifth of such a page, and two fifths of SQLite's own of 4,096."""

EMPTYING = ("erasure", "archive", "prune")
"""Kinds of the records under which bodies may go: `first` and `last` say which."""
EMPTIABLE = ("decision", "outcome", "segment", "approval", "access")
"""Kinds whose bodies may go. The others are what the log itself, its proofs and the next start of a gate stand on."""

INDEXED = ("ts", "kind", "outcome", "agent", "anchor", "action", "ref")
"""The computed columns of a file."""
COMPUTED = ["ts", "kind", "channel", "outcome", "mode", "agent", "anchor", "org", "action", "target"]
COMPUTED += ["environment", "method", "host", "path", "code", "reason", "ref", "result", "status"]
COMPUTED += ["policy", "policy_digest", "skill", "skill_digest", "session", "request"]
"""What a reader's own SQL finds as columns of `chron`, everywhere."""


def _table(computed: Iterable[str]) -> str:
    columns = (f"  {name} {'ANY' if name == 'status' else 'TEXT'} AS (body->>'$.{name}') VIRTUAL" for name in computed)
    return """CREATE TABLE chron(
  seq  INTEGER PRIMARY KEY,
  id   TEXT NOT NULL UNIQUE,
  body TEXT,
  leaf BLOB NOT NULL CHECK(length(leaf)=32),
  hash BLOB NOT NULL CHECK(length(hash)=32),
{}
) STRICT""".format(",\n".join(columns))


_TABLE = _table(INDEXED)

_ARTEFACT = """CREATE TABLE artefact(
  seq     INTEGER PRIMARY KEY REFERENCES chron(seq),
  kind    TEXT NOT NULL,
  id      TEXT NOT NULL,
  version TEXT NOT NULL,
  digest  TEXT NOT NULL,
  text    TEXT NOT NULL,
  UNIQUE(kind, id, version, digest)
) STRICT"""


_DECISIONS = """CREATE VIEW decisions AS
SELECT d.seq, d.id, d.ts, d.outcome, d.body->>'$.mode' AS mode, d.agent, d.anchor, d.action,
       d.body->>'$.target' AS target, d.body->>'$.environment' AS environment, d.body->>'$.host' AS host,
       d.body->>'$.method' AS method, d.body->>'$.path' AS path, d.body->>'$.reason' AS reason,
       d.body->>'$.code' AS code, o.body->>'$.result' AS result, o.body->>'$.status' AS status
FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome'
WHERE d.kind = 'decision'"""
_DECISIONS_BY_COLUMNS = """CREATE VIEW decisions AS
SELECT d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, d.target, d.environment,
       d.host, d.method, d.path, d.reason, d.code, o.result, o.status
FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome'
WHERE d.kind = 'decision'"""

SELDOM = "kind NOT IN ('decision', 'outcome')"
"""A query that is to use `chron_seldom` holds this word for word (https://www.sqlite.org/partialindex.html)."""

_ONLY_NEXT = """CREATE TRIGGER chron_only_next BEFORE INSERT ON chron
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM chron)
  OR EXISTS (SELECT 1 FROM chron WHERE id = NEW.id)
  OR NEW.body->>'$.seq' IS NOT NEW.seq OR NEW.body->>'$.id' IS NOT NEW.id
BEGIN SELECT RAISE(ABORT, 'chron is append-only: only the next seq with a new id and its own body'); END"""

_ARTEFACT_ONLY_NEW = """CREATE TRIGGER artefact_only_new BEFORE INSERT ON artefact
WHEN NEW.seq IS NOT (SELECT seq FROM chron WHERE seq = NEW.seq AND kind = 'text')
  OR EXISTS (SELECT 1 FROM artefact WHERE seq = NEW.seq)
  OR EXISTS (SELECT 1 FROM artefact
             WHERE kind = NEW.kind AND id = NEW.id AND version = NEW.version AND digest = NEW.digest)
BEGIN SELECT RAISE(ABORT, 'chron is append-only: a kept text needs its own record'); END"""


def listed(values: Iterable[str]) -> str:
    """Texts of ours as the inside of an SQL list."""
    return ", ".join(f"'{value}'" for value in values)


_ONLY_EMPTY = f"""CREATE TRIGGER chron_only_empty BEFORE UPDATE ON chron
WHEN NEW.body IS NOT NULL OR NEW.seq IS NOT OLD.seq OR NEW.id IS NOT OLD.id
  OR NEW.leaf IS NOT OLD.leaf OR NEW.hash IS NOT OLD.hash
  OR OLD.kind NOT IN ({listed(EMPTIABLE)})
  OR NOT EXISTS (SELECT 1 FROM chron WHERE kind IN ({listed(EMPTYING)}) AND {SELDOM}
                 AND OLD.seq BETWEEN body->>'$.first' AND body->>'$.last' AND seq > OLD.seq)
BEGIN SELECT RAISE(ABORT, 'chron is append-only: a body may only go, and only under a record that says so'); END"""  # noqa: S608 -- all texts are ours

_PERSON = """CREATE TABLE person(
  id      TEXT PRIMARY KEY,
  name    TEXT NOT NULL
) STRICT"""


def _never(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}\n"
        f"BEGIN SELECT RAISE(ABORT, 'chron is append-only: {verb} refused'); END"
    )


GUARDS: dict[str, str] = {
    "chron_only_next": _ONLY_NEXT,
    "chron_only_empty": _ONLY_EMPTY,
    "chron_no_delete": _never("chron", "DELETE"),
    "artefact_only_new": _ARTEFACT_ONLY_NEW,
    "artefact_no_update": _never("artefact", "UPDATE"),
    "artefact_no_delete": _never("artefact", "DELETE"),
}

_NAMED = ("agent", "anchor", "action")

INDEXES: dict[str, str] = {
    # In seconds an entry takes a third of what it takes as text, and a question about times begins a second early.
    "chron_second": "CREATE INDEX chron_second ON chron(unixepoch(ts))",
    # SQLite keeps the row's number, which is seq, in each entry anyway: https://www.sqlite.org/fileformat2.html#indexes
    **{f"chron_{name}": f"CREATE INDEX chron_{name} ON chron({name}) WHERE {name} IS NOT NULL" for name in _NAMED},
    "chron_deny": "CREATE INDEX chron_deny ON chron(seq) WHERE outcome = 'DENY'",
    "chron_ref": "CREATE INDEX chron_ref ON chron(ref) WHERE ref IS NOT NULL",
    "chron_lifecycle": "CREATE INDEX chron_lifecycle ON chron(seq) WHERE kind = 'lifecycle'",
    "chron_text": "CREATE INDEX chron_text ON chron(seq) WHERE kind = 'text'",
    # What the gate reads at every start: few records among millions of decisions, which this index leaves alone.
    "chron_seldom": f"CREATE INDEX chron_seldom ON chron(kind, seq) WHERE {SELDOM}",
}

FORMERLY = {
    "chron": _table(COMPUTED),
    "decisions": _DECISIONS_BY_COLUMNS,
    **{f"chron_{name}": f"CREATE INDEX chron_{name} ON chron({name}, seq)" for name in _NAMED},
    "chron_ts": "CREATE INDEX chron_ts ON chron(ts)",
}
"""As older logs and segments have these. They say and find the same; making them anew would keep a start waiting."""

_OBJECTS: dict[str, str] = {
    "chron": _TABLE,
    "artefact": _ARTEFACT,
    "person": _PERSON,
    **INDEXES,
    "decisions": _DECISIONS,
    **GUARDS,
}
_TABLES = ("chron", "artefact", "person")
_TYPES = ("table", "index", "view", "trigger")
"""As SQLite writes them; it reads them in capital letters as well, and finds what is behind them."""
_ADDED_BY_2 = ("person", "chron_only_empty")
_GONE_WITH_2 = {"chron_no_update": _never("chron", "UPDATE")}


def create(connection: sqlite3.Connection) -> None:
    """Write the empty schema in one transaction, so that a crash leaves all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    create_tables(connection)
    create_rest(connection)
    connection.execute("COMMIT")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables alone, in the caller's transaction: to be filled from another log."""
    for name in _TABLES:
        connection.execute(_OBJECTS[name])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")


def create_rest(connection: sqlite3.Connection) -> None:
    """Make what belongs to them: indexes, views and guards."""
    for name, statement in _OBJECTS.items():
        if name not in _TABLES:
            connection.execute(statement)


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a file of format 1 to this one, in one transaction; nothing of what is recorded changes."""
    if version_of(connection) == USER_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for name in _GONE_WITH_2:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    for name in _ADDED_BY_2:
        connection.execute(_OBJECTS[name])
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    connection.execute("COMMIT")


def widen(connection: sqlite3.Connection) -> None:
    """Give all that this connection reads of `chron` the columns of `COMPUTED`: those of the table, and the others."""
    others = ", ".join(f"body->>'$.{name}' AS {name}" for name in COMPUTED if name not in INDEXED)
    of_the_table = ", ".join(("seq", "id", "body", "leaf", "hash", *INDEXED))
    # An unqualified name is looked for in `temp` first: https://www.sqlite.org/lang_naming.html
    connection.execute(f"CREATE TEMP VIEW chron AS SELECT {of_the_table}, {others} FROM main.chron")  # noqa: S608


def has_table(connection: Connection, name: str) -> bool:
    """Whether a file has this table; of those that not every file has. A chain in PostgreSQL has `person` alone."""
    if not isinstance(connection, sqlite3.Connection):
        return name == "person"
    statement = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(statement, (name,)).fetchone()[0])


def version_of(connection: sqlite3.Connection) -> int:
    """The format of the file."""
    return _number(connection, "PRAGMA user_version")


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the file has no schema at all yet."""
    return _number(connection, "SELECT count(*) FROM sqlite_master") == 0


def foreign(connection: sqlite3.Connection) -> str:
    """Why the file is not a Chron that this version can use; "" when it is."""
    application = _number(connection, "PRAGMA application_id")
    if application != APPLICATION_ID:
        return f"is not a Chron (application id {application:#x}); give another path"
    version = version_of(connection)
    if version not in READABLE:
        return f"has Chron format {version} and this version knows {USER_VERSION}; use the claiim that wrote it"
    return ""


def faults(connection: sqlite3.Connection) -> list[str]:
    """What is missing, altered or added in the tables and their guards; own indexes and views are welcome."""
    with closing(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")) as cursor:
        found = [tuple(_text(value) for value in row) for row in cursor]
    texts = {name: text for _, name, _, text in found}
    objects = _OBJECTS
    if version_of(connection) < USER_VERSION:
        objects = {name: text for name, text in _OBJECTS.items() if name not in _ADDED_BY_2} | _GONE_WITH_2
    wrong = [f'"{name}" is missing' for name in objects if name not in texts]
    wrong += [
        f'"{name}" was altered'
        for name, text in objects.items()
        if texts.get(name, text) not in (text, FORMERLY.get(name, text))
    ]
    wrong += [f'"{name}" was altered' for kind, name, _, _ in found if kind not in _TYPES]
    # SQLite writes down the table of a trigger as whoever made it wrote it, in small or capital letters.
    wrong += [
        f'trigger "{name}" is not ours'
        for kind, name, table, _ in found
        if kind == "trigger" and name not in objects and table.lower() in _TABLES
    ]
    return wrong


def missing_guards(connection: sqlite3.Connection) -> list[str]:
    """The guard triggers that somebody dropped."""
    return _absent(connection, "trigger", GUARDS)


def missing_indexes(connection: sqlite3.Connection) -> list[str]:
    """The indexes that the file does not have yet."""
    return _absent(connection, "index", INDEXES)


def indexes(connection: sqlite3.Connection) -> dict[str, str]:
    """Our indexes by name, each by the text that the file has it by, and those that only older logs have."""
    with closing(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")) as cursor:
        former = {name: text for name, text in cursor if text is not None and FORMERLY.get(name) == text}
    return {**INDEXES, **former}


def _absent(connection: sqlite3.Connection, kind: str, wanted: Iterable[str]) -> list[str]:
    with closing(connection.execute("SELECT name FROM sqlite_master WHERE type = ?", (kind,))) as cursor:
        present = {_text(name) for (name,) in cursor}
    return [name for name in wanted if name not in present]


def _number(connection: sqlite3.Connection, statement: str) -> int:
    with closing(connection.execute(statement)) as cursor:
        return int(cursor.fetchone()[0])


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
