"""That an index cannot hide a record from a query, nor show one that it should not."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chron import Chron, ChronError, find, schema, structure, verify
from chron.filtering import All
from chron.freesql import ask_sql
from chron.querying import stored
from chron.schema import PAGE_BYTES
from support.reindexed import rebuild

CHANGED = {
    "lacks one": "({}) AND seq <> {last}",
    "has one more": "({}) OR seq = {other}",
    "has another": "(({}) AND seq <> {last}) OR seq = {other}",
}
CONDITIONS = {name: text.partition(" WHERE ")[2] for name, text in schema.INDEXES.items()}
CASES = [
    (name, change) for name, condition in CONDITIONS.items() for change in CHANGED if condition or change == "lacks one"
]
# An entry without a ref, or an agent, is found by no query that asks for one.
for named in ("ref", "agent", "anchor", "action"):
    CASES.remove((f"chron_{named}", "has one more"))
OTHER_KEYS = {"second": ("(ts", "(action"), "agent": ("(agent", "(action"), "anchor": ("(anchor", "(action")}
OTHER_KEYS |= {"action": ("(action", "(agent"), "ref": ("(ref", "(id")}

_COLUMNS = "ts kind channel outcome mode agent anchor org action target environment method host path code reason ref"
_COLUMNS += " result status policy policy_digest skill skill_digest session request"
_TABLE = """CREATE TABLE chron(
  seq  INTEGER PRIMARY KEY,
  id   TEXT NOT NULL UNIQUE,
  body TEXT,
  leaf BLOB NOT NULL CHECK(length(leaf)=32),
  hash BLOB NOT NULL CHECK(length(hash)=32)"""
for _name in _COLUMNS.split():
    _TABLE += f",\n  {_name} {'ANY' if _name == 'status' else 'TEXT'} AS (body->>'$.{_name}') VIRTUAL"
FORMERLY = {
    "chron": f"{_TABLE}\n) STRICT",
    "decisions": """CREATE VIEW decisions AS
SELECT d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, d.target, d.environment,
       d.host, d.method, d.path, d.reason, d.code, o.result, o.status
FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome'
WHERE d.kind = 'decision'""",
    **{f"chron_{name}": f"CREATE INDEX chron_{name} ON chron({name}, seq)" for name in ("agent", "anchor", "action")},
}
"""As logs written before have them, in words of their own."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Chron in which every index has records, and all but those over everything lack some."""
    path = tmp_path_factory.mktemp("indexed") / "chron.db"

    async def fill() -> None:
        chron = Chron.open(path, low_water_bytes=0)
        chron.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n")])
        for number in range(30):
            fields = {
                "agent": f"bot-{number % 3}",
                "action": "deploy:staging",
                "host": "api.test",
                "anchor": "alice@acme.test",
            }
            decided = await chron.append("decision", {**fields, "outcome": "DENY" if number % 4 else "ALLOW"})
            await chron.append("outcome", {"ref": decided.id, "result": "blocked", "status": 403})
        chron.close()

    asyncio.run(fill())
    return path


@pytest.fixture
def log(made, path) -> Path:
    path.write_bytes(made.read_bytes())
    return path


def fault(log: Path, jobs: int = 2) -> str:
    return structure.fault(log, whole=True, lint=False, jobs=jobs)


@pytest.mark.parametrize(("name", "change"), CASES, ids=map(" ".join, CASES))
def test_an_index_over_other_records_shows(log, rows, name, change):
    """A record hidden from any index, one that does not belong there, or one in place of the other."""
    text, condition = schema.INDEXES[name], CONDITIONS[name] or "true"
    [(last,)] = rows(f"SELECT max(seq) FROM chron WHERE {condition}")
    [(other,)] = rows(f"SELECT max(seq) FROM chron WHERE ({condition}) IS NOT 1")
    head = text.partition(" WHERE ")[0]
    rebuild(log, name, text, f"{head} WHERE {CHANGED[change].format(condition, last=last, other=other)}")
    assert not verify(log).ok
    for jobs in (1, 3):
        assert fault(log, jobs) == f'the file is damaged: index "{name}" is not over the records'


@pytest.mark.parametrize(("column", "own", "other"), [(name, *keys) for name, keys in OTHER_KEYS.items()])
def test_an_index_with_other_keys_shows(log, column, own, other):
    """All records are in it, under another field's values."""
    name = f"chron_{column}"
    text = schema.INDEXES[name]
    rebuild(log, name, text, text.replace(own, other))
    assert verify(log).fault == f'the file is damaged: index "{name}" is not over the records'


@pytest.fixture
def older(log) -> Path:
    """The same log with its table, view and indexes as older ones have them."""
    newer = log.rename(log.with_name("newer.db"))
    with closing(sqlite3.connect(log, isolation_level=None)) as shell:
        shell.execute("ATTACH ? AS newer", (str(newer),))
        objects = shell.execute("SELECT type, name, sql FROM newer.sqlite_master WHERE sql IS NOT NULL").fetchall()
        for pragma in ("application_id", "user_version"):
            [(value,)] = shell.execute(f"PRAGMA newer.{pragma}").fetchall()
            shell.execute(f"PRAGMA main.{pragma} = {value}")
        for type_, name, text in objects:
            if type_ == "table":
                shell.execute(FORMERLY.get(name, text))
        shell.execute("INSERT INTO chron(seq, id, body, leaf, hash) SELECT seq, id, body, leaf, hash FROM newer.chron")
        for name in ("artefact", "person"):
            shell.execute(f"INSERT INTO {name} SELECT * FROM newer.{name}")
        for type_, name, text in objects:
            if type_ != "table":
                shell.execute(FORMERLY.get(name, text))
    return log


def test_an_older_log_opens_and_verifies_as_it_is(older, rows):
    """What an older version wrote keeps its table and indexes, also when it is written on, and is as good by them."""
    assert verify(older).ok
    newer = older.with_name("newer.db")
    for table in ("chron", "decisions"):
        query = f"SELECT id, host, action, status FROM {table} ORDER BY seq"
        assert ask_sql(older, query, limit=99, most_s=60) == ask_sql(newer, query, limit=99, most_s=60)
    Chron.open(older, low_water_bytes=0).close()
    assert verify(older).ok
    kept = dict(rows("SELECT name, sql FROM sqlite_master"))
    assert {name: kept[name] for name in FORMERLY} == FORMERLY
    assert len(list(find(older, agent="bot-1"))) == 10


@pytest.mark.parametrize("name", [name for name in FORMERLY if name in schema.INDEXES])
def test_an_index_of_an_older_log_hides_nothing_either(older, rows, name):
    """A record that is missing in it shows, whether or not it has an agent."""
    [(last,)] = rows("SELECT max(seq) FROM chron")
    for seq in (last, last - 2):
        rebuild(older, name, FORMERLY[name], f"{FORMERLY[name]} WHERE seq <> {seq}")
        assert fault(older) == f'the file is damaged: index "{name}" is not over the records'


def test_ids_under_which_no_record_is_found_show(log, rows):
    """The index of ids belongs to the table, and shows like the others."""
    [table] = rows("SELECT sql FROM sqlite_master WHERE name = 'chron'")[0]
    by_hash = table.replace("NOT NULL UNIQUE", "NOT NULL").replace("hash BLOB NOT NULL", "hash BLOB NOT NULL UNIQUE")
    rebuild(log, "chron", table, by_hash)
    assert verify(log).fault == 'the file is damaged: index "sqlite_autoindex_chron_1" is not over the records'


def test_an_index_of_somebody_elses_is_looked_at_too(log):
    """One's own index is welcome, and is not believed."""
    with closing(sqlite3.connect(log, isolation_level=None)) as shell:
        shell.execute("CREATE INDEX mine ON chron(body->>'$.host')")
    assert verify(log).ok
    rebuild(log, "mine", "ON chron(body->>'$.host')", "ON chron(body->>'$.host') WHERE seq <> 7")
    found = verify(log)
    assert not found.ok
    assert found.fault.startswith("the file is damaged: ")


@pytest.mark.parametrize(("column", "value"), [("tbl_name", "CHRON"), ("type", "INDEX")])
def test_an_index_of_somebody_elses_is_looked_at_however_it_is_written(log, column, value):
    """SQLite finds it, and queries by it, whether its row in the schema is in small or in capital letters."""
    text = "CREATE INDEX chron_kind ON chron(kind)"
    with closing(sqlite3.connect(log, isolation_level=None)) as owner:
        owner.execute(text)
    rebuild(log, "chron_kind", text, f"{text} WHERE seq <> 9")
    with closing(sqlite3.connect(log, isolation_level=None)) as owner:
        owner.execute("PRAGMA writable_schema = ON")
        owner.execute(f"UPDATE sqlite_master SET {column} = ? WHERE name = 'chron_kind'", (value,))
    assert 9 not in {record.seq for record in find(log, kind="decision")} | {r.seq for r in find(log, kind="outcome")}
    found = verify(log)
    assert not found.ok
    assert "chron_kind" in found.fault


def test_looks_add_up_whatever_their_size(log, monkeypatch):
    """A log is well however it is divided among threads, and so is one that grows meanwhile."""
    for size in (1, 7, 63, 64, 1000):
        monkeypatch.setattr(structure, "_RECORDS_PER_LOOK", size)
        assert verify(log, jobs=4).ok


def test_a_record_of_an_absurd_number_is_found_at_once(log, harm):
    """A gap of millions of millions is told as one, and keeps nobody waiting."""
    harm("UPDATE chron SET seq = 4000000000000000000 WHERE seq = 40")
    found = verify(log)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, 40, "it is missing; the next one is 41")


def test_a_body_that_goes_between_two_looks_is_no_damage(log, monkeypatch, harm):
    """What does not add up is looked at again in one transaction before anything is said."""
    looked = structure._look

    def emptied_meanwhile(path, last, start):
        counts = looked(path, last, start)
        if start == 0:
            harm("UPDATE chron SET body = NULL WHERE seq = 4")
        return counts

    monkeypatch.setattr(structure, "_look", emptied_meanwhile)
    monkeypatch.setattr(structure, "_RECORDS_PER_LOOK", 10)
    assert fault(log, jobs=1) == ""


def test_a_damaged_page_of_an_index_shows(log):
    """Garbage in any page of an index is found, by what cannot be found through it."""
    with closing(sqlite3.connect(log)) as shell:
        [(root,)] = shell.execute("SELECT rootpage FROM sqlite_master WHERE name = 'chron_action'")
    data = bytearray(log.read_bytes())
    at = data.index(b"deploy:staging", (root - 1) * schema.PAGE_BYTES)
    assert at < root * schema.PAGE_BYTES
    data[at : at + 6] = b"DEPLOY"
    log.write_bytes(data)
    assert verify(log).fault == 'the file is damaged: index "chron_action" is not over the records'
    assert "row" in verify(log, lint=True).fault


def test_an_entry_that_leads_to_another_record_shows(log, rows):
    """SQLite reads the number in an entry from its end: made longer, its key is right and it gives another record."""
    [(id_,)] = rows("SELECT id FROM chron WHERE seq = 40")
    data = bytearray(log.read_bytes())
    entry = b"\x22\x03\x49\x01" + id_.encode()  # 34 bytes: a text of 30 and a number of one, and their types before
    assert data.count(entry) == 1
    data[data.index(entry)] = 0x26
    log.write_bytes(data)
    assert rows("SELECT seq FROM chron WHERE id = ?", id_) != [(40,)]
    assert verify(log).fault == 'the file is damaged: index "sqlite_autoindex_chron_1" is not over the records'


def test_records_that_are_not_found_by_their_number_show(log, rows):
    """The page above the records sends who asks for one past it; who reads them one after the other sees them all."""
    data = bytearray(log.read_bytes())
    [(root,)] = rows("SELECT rootpage FROM sqlite_master WHERE name = 'chron'")
    page = (root - 1) * schema.PAGE_BYTES
    # An inner page of a table, whose cells are a page and its last number: sqlite.org/fileformat2.html#b_tree_pages.
    assert data[page] == 5
    cell = page + int.from_bytes(data[page + 12 : page + 14])
    last = data[cell + 4]
    data[cell + 4] = last - 3
    log.write_bytes(data)
    assert [row[0] for row in rows("SELECT seq FROM chron NOT INDEXED")] == list(range(1, 64))
    assert rows("SELECT seq FROM chron WHERE seq = ?", last) == []
    assert verify(log).fault == "the file is damaged: 3 records are not found by their number, or not as text"


def test_records_are_proved_without_their_indexes(log):
    """Whoever leaves the indexes out has the records proved, and is told that queries are not."""
    rebuild(log, "chron_deny", schema.INDEXES["chron_deny"], f"{schema.INDEXES['chron_deny']} AND seq <> 5")
    found = verify(log, indexes=False)
    assert (found.ok, found.records, found.indexes) == (True, 63, False)
    found = verify(log)
    assert (found.ok, found.indexes) == (False, True)
    with pytest.raises(ChronError, match="leave one of the two out"):
        verify(log, lint=True, indexes=False)


@pytest.mark.parametrize(
    ("harm_done", "fault"),
    [
        ("UPDATE artefact SET text = 'skill: deploy-v3' WHERE seq = 2", "the text it kept was changed"),
        ("DELETE FROM artefact", "the text it kept is gone"),
    ],
)
def test_a_text_is_looked_at_whatever_its_index_hides(log, harm, harm_done, fault):
    """What verifying stands on is found among the records that were hashed, and not by asking an index."""
    text = schema.INDEXES["chron_text"]
    rebuild(log, "chron_text", text, f"{text} AND seq <> 2")
    harm(harm_done)
    found = verify(log, indexes=False)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, 2, fault)


def test_a_schema_that_is_no_text_shows(log, path):
    """What Python cannot decode in SQLite's own words is told in one line, and not by a trace."""
    data = log.read_bytes()
    log.write_bytes(data.replace(b"CREATE TRIGGER chron_no_delete", b"CREATE\xa0TRIGGER chron_no_delete"))
    found = verify(log)
    assert not found.ok
    assert found.fault.startswith("it cannot be read: malformed database schema (chron_no_delete)")
    with pytest.raises(ChronError, match=r"cannot read chron .*malformed database schema"):
        list(find(log))
    with pytest.raises(ChronError, match="does not verify: SQLITE_CORRUPT: malformed database schema"):
        Chron.open(path, low_water_bytes=0)


@pytest.mark.parametrize(
    ("before", "at", "seq", "fault"),
    [
        # The types of a kept text's columns; sqlite.org/fileformat2.html#record_format: odd is text, even is a blob.
        (b"\x07\x00\x17\x1f\x0f\x11\x2f", 6, 2, "the text it kept was changed"),
        (b"\x4c\x4c%s", -3, 40, "its columns are of other types than were written"),
        (b"\x4c\x4c%s", -1, None, "the file is damaged: 1 records are not found by their number, or not as text"),
    ],
    ids=["a kept text", "an id", "a body"],
)
def test_a_column_of_another_type_shows(log, rows, before, at, seq, fault):
    """What only writing to the file itself can bring about is told like any change."""
    [(id_,)] = rows("SELECT id FROM chron WHERE seq = 40")
    data, types = bytearray(log.read_bytes()), before.replace(b"%s", id_.encode())
    assert data.count(types) == 1
    data[data.index(types) + at] ^= 1
    log.write_bytes(data)
    found = verify(log)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, seq, fault)


def test_a_record_of_other_types_is_not_read(log, rows):
    """Who reads it is told in one line; what makes texts of it would stop with a trace."""
    [(id_,)] = rows("SELECT id FROM chron WHERE seq = 40")
    data, types = bytearray(log.read_bytes()), b"\x4c\x4c" + id_.encode()
    for at in (-3, 1):  # the id, and the hash
        changed = bytearray(data)
        changed[data.index(types) + at] ^= 1
        log.write_bytes(changed)
        for read in (lambda: list(find(log)), lambda: list(stored(log, All(()), upto=60))):
            with pytest.raises(ChronError, match=r"of other types than were written|cannot read chron"):
                read()


def test_a_row_behind_another_of_its_number_shows(log, harm, monkeypatch):
    """A look-up of the number leads past it; a query that goes through all rows finds it."""
    last = max(record.seq for record in find(log)) + 1
    body = f'{{"host":"evil","id":"chr_evil","kind":"decision","seq":{last},"ts":"2026-01-01T00:00:00.000000Z"}}'
    harm(
        "PRAGMA journal_mode = DELETE",
        "INSERT INTO chron(seq, id, body, leaf, hash) "
        f"VALUES ({last}, 'chr_evil', '{body}', zeroblob(32), zeroblob(32))",
    )
    data = bytearray(log.read_bytes())
    page = data.index(f"chr_evil{body}".encode()) // PAGE_BYTES * PAGE_BYTES
    count = int.from_bytes(data[page + 3 : page + 5])  # https://www.sqlite.org/fileformat2.html, "B-tree Pages"
    at = [int.from_bytes(data[page + 8 + 2 * each : page + 10 + 2 * each]) for each in range(count)]
    middle = (count - 1) // 2  # where SQLite begins to look
    number = last - count + middle  # of the record before it
    places = [*at[:middle], at[-1], *at[middle:-1]]
    data[page + 8 : page + 8 + 2 * count] = b"".join(place.to_bytes(2) for place in places)
    row = page + at[-1]
    assert (data[row] > 127, data[row + 2]) == (True, last)  # its size, in two bytes, and its number
    data[row + 2] = number
    log.write_bytes(data)
    monkeypatch.setattr("chron.verification._ROWS_PER_READ", number)
    assert [record.seq for record in find(log, host="evil")] == [number]
    found = verify(log, indexes=False)
    assert (found.ok, found.fault) == (
        False,
        f"the file is damaged: behind record 0 are {last} rows, and numbers for {last - 1}",
    )
