"""What the chain finds when the file's owner did it, and at which record."""

import json
import sqlite3
from contextlib import closing

import pytest

from chron import Chron, ChronError, verify
from chron.chain import chain_hash, genesis, leaf_hash

HARMS = {
    "a body changed": (
        ["UPDATE chron SET body = replace(body, 'DENY', 'ALLOW') WHERE seq = 7"],
        7,
        "its body was changed",
    ),
    "a body and its leaf changed": (["UPDATE chron SET body = '{}', leaf = zeroblob(32) WHERE seq = 7"], 7, "body was"),
    "a leaf changed": (["UPDATE chron SET leaf = zeroblob(32) WHERE seq = 9"], 9, "its body was changed"),
    "a hash changed": (
        ["UPDATE chron SET hash = zeroblob(32) WHERE seq = 9"],
        9,
        "it does not follow the record before",
    ),
    "a body erased": (["UPDATE chron SET body = NULL WHERE seq = 11"], 11, "its body is gone"),
    "a record removed": (["DELETE FROM chron WHERE seq = 5"], 5, "it is missing; the next one is 6"),
    "the first removed": (["DELETE FROM chron WHERE seq = 1"], 1, "it is missing; the next one is 2"),
    "removed and renumbered": (
        ["DELETE FROM chron WHERE seq = 5", "UPDATE chron SET seq = seq - 1 WHERE seq > 5"],
        5,
        "it does not follow the record before it",
    ),
    "two swapped": (
        [
            "UPDATE chron SET seq = 1000 WHERE seq = 8",
            "UPDATE chron SET seq = 8 WHERE seq = 12",
            "UPDATE chron SET seq = 12 WHERE seq = 1000",
        ],
        8,
        "it does not follow the record before it",
    ),
    "one inserted in the middle": (
        [
            "UPDATE chron SET seq = -seq - 1 WHERE seq >= 10",
            "UPDATE chron SET seq = -seq WHERE seq < 0",
            "INSERT INTO chron(seq, id, body, leaf, hash) "
            "SELECT 10, 'chr_new', body, leaf, hash FROM chron WHERE seq = 9",
        ],
        10,
        "it does not follow the record before it",
    ),
    "an id changed": (
        ["UPDATE chron SET id = 'chr_other' WHERE seq = 6"],
        6,
        "its columns do not say what its body says",
    ),
    "a copy at the end": (
        [
            "INSERT INTO chron(seq, id, body, leaf, hash) "
            "SELECT 24, 'chr_new', body, leaf, hash FROM chron WHERE seq = 9"
        ],
        24,
        "it does not follow",
    ),
    "all removed": (["DELETE FROM artefact", "DELETE FROM chron"], 1, "it is missing; a Chron begins with"),
    "a kept text changed": (["UPDATE artefact SET text = 'allow: all'"], 2, "the text it kept was changed"),
    "a kept text renamed": (["UPDATE artefact SET id = 'other'"], 2, "the text it kept was changed"),
    "a kept text removed": (["DELETE FROM artefact"], 2, "the text it kept is gone"),
    "a text nobody kept": (
        ["INSERT INTO artefact VALUES (5, 'skill', 'x', '1', 'd', 'allow: all')"],
        5,
        "no record speaks of the text kept under it",
    ),
    "a text before all records": (
        ["INSERT INTO artefact VALUES (-3, 'skill', 'deploy-v2', '1', 'd', 'allow: all')"],
        -3,
        "it is missing, and a text is kept under it",
    ),
    "a text behind all records": (
        ["INSERT INTO artefact VALUES (1000, 'skill', 'x', '1', 'd', 'allow: all')"],
        1000,
        "it is missing, and a text is kept under it",
    ),
    "a body gone as a segment would say it": (
        [
            "UPDATE chron SET body = NULL WHERE seq = 8",
            "CREATE TABLE later(body TEXT NOT NULL) STRICT",
            """INSERT INTO later VALUES ('{"first":8,"kept":"","kind":"erasure","last":8,"seq":90}')""",
        ],
        8,
        "its body is gone, and no record says why",
    ),
}


@pytest.mark.parametrize(("statements", "seq", "fault"), HARMS.values(), ids=HARMS)
def test_a_changed_log_shows_at_the_right_record(filled, harm, statements, seq, fault):
    """Whoever can drop the guards and put them back is still found out."""
    before = verify(filled)
    assert (before.ok, before.records, before.fault) == (True, 23, "")
    harm(*statements)
    found = verify(filled)
    assert (found.ok, found.first_bad_seq) == (False, seq)
    assert fault in found.fault


@pytest.mark.parametrize("seq", [1, 2, 3, 13, 22, 23])
def test_a_byte_edited_in_the_file_shows(filled, rows, seq):
    """One byte changed behind SQLite's back is found at its record, while SQLite finds nothing wrong."""
    [(id_,)] = rows("SELECT id FROM chron WHERE seq = ?", seq)
    data = filled.read_bytes()
    [place] = list(occurrences(data, f'"id":"{id_}"'.encode()))
    kind = data.index(b'"kind":"', place) + len(b'"kind":"')
    filled.write_bytes(data[:kind] + b"X" + data[kind + 1 :])
    found = verify(filled)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, seq, "its body was changed")


def occurrences(data: bytes, needle: bytes) -> list[int]:
    places, at = [], data.find(needle)
    while at >= 0:
        places.append(at)
        at = data.find(needle, at + 1)
    return places


def test_a_change_hashed_anew_shows_at_the_next_record(filled, harm, rows):
    """Hashing one changed record anew only moves the break to the record behind it."""
    [(body, before)] = rows("SELECT b.body, a.hash FROM chron a JOIN chron b ON b.seq = 7 WHERE a.seq = 6")
    changed = body.replace("DENY", "ALLOW").replace("api-4", "api-5")
    assert changed != body
    leaf = leaf_hash(changed.encode())
    hash_ = chain_hash(before, leaf)
    harm(f"UPDATE chron SET body = '{changed}', leaf = x'{leaf.hex()}', hash = x'{hash_.hex()}' WHERE seq = 7")
    assert (verify(filled).first_bad_seq, verify(filled).records) == (8, 7)


def test_what_a_chain_cannot_see(filled, harm):
    """Records cut off at the end leave a log that verifies: only its head, noted elsewhere, tells. Known and said."""
    head = verify(filled).head_hash
    harm("DELETE FROM chron WHERE seq > 20")
    found = verify(filled)
    assert (found.ok, found.records) == (True, 20)
    assert found.head_hash != head


def test_an_index_that_hides_a_record_shows(filled):
    """A query that no longer finds a record because its index was emptied is found out."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        shell.execute("PRAGMA writable_schema = ON")
        shell.execute("UPDATE sqlite_master SET sql = replace(sql, 'DENY', 'ALLOW') WHERE name = 'chron_deny'")
    assert verify(filled).fault.startswith('"chron_deny" was altered')
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        shell.execute("PRAGMA writable_schema = ON")
        shell.execute("UPDATE sqlite_master SET sql = replace(sql, 'ALLOW', 'NONE') WHERE name = 'chron_deny'")
        shell.execute("PRAGMA writable_schema = RESET")
        shell.execute("REINDEX chron_deny")
        shell.execute("PRAGMA writable_schema = ON")
        shell.execute("UPDATE sqlite_master SET sql = replace(sql, 'NONE', 'DENY') WHERE name = 'chron_deny'")
    found = verify(filled)
    assert (found.ok, found.first_bad_seq) == (False, None)
    assert "the file is damaged" in found.fault


def test_a_column_that_lies_shows(filled):
    """A computed column rewritten to say ALLOW is found, though every record still verifies."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        shell.execute("PRAGMA writable_schema = ON")
        shell.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'outcome TEXT AS (body->>''$.outcome'')', "
            "'outcome TEXT AS (''ALLOW'')') WHERE name = 'chron'"
        )
    found = verify(filled)
    assert (found.ok, found.records) == (False, 23)
    assert found.fault.startswith('"chron" was altered')


@pytest.mark.parametrize("seq", [0, -5])
@pytest.mark.parametrize("indexes", [True, False])
def test_a_record_before_the_first_shows_and_keeps_the_gate_shut(filled, harm, open_chron, seq, indexes):
    """The chain begins at record 1; what stands before it is in no chain, and a query would find it all the same."""
    body = f'{{"id":"chr_0","kind":"decision","outcome":"ALLOW","seq":{seq},"ts":"2026-01-01T00:00:00.000000Z","v":1}}'
    harm(f"INSERT INTO chron(seq, id, body, leaf, hash) VALUES ({seq}, 'chr_0', '{body}', zeroblob(32), zeroblob(32))")
    found = verify(filled, indexes=indexes)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, seq, "it stands before the first record")
    with pytest.raises(ChronError, match="it stands before the first record"):
        open_chron()


@pytest.mark.parametrize("table", ["CHRON", "Artefact", "person"])
def test_a_foreign_trigger_shows_however_its_table_is_written(filled, table, open_chron):
    """SQLite writes a trigger's table down as whoever made it did, and fires it all the same."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        shell.execute(f"CREATE TRIGGER t BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END")
    assert verify(filled).fault.startswith('trigger "t" is not ours')
    with pytest.raises(ChronError, match='trigger "t" is not ours'):
        open_chron()


def test_a_foreign_trigger_shows_and_keeps_the_gate_shut(filled, open_chron):
    """A trigger that is not ours is reported, and nothing is appended through it."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as shell:
        shell.execute("CREATE TRIGGER t AFTER INSERT ON chron BEGIN SELECT 1; END")
    assert verify(filled).fault.startswith('trigger "t" is not ours')
    with pytest.raises(ChronError, match='does not verify: trigger "t" is not ours; run "claiim chron verify'):
        open_chron()


def test_the_head_is_the_hash_of_everything(filled, rows):
    """The head follows from the origin and the stored bytes by the formula in the documentation alone."""
    head = genesis("claiim")
    for (body,) in rows("SELECT body FROM chron ORDER BY seq"):
        head = chain_hash(head, leaf_hash(body.encode()))
    assert verify(filled).head_hash == head.hex()
    assert json.loads(rows("SELECT body FROM chron WHERE seq = 1")[0][0])["origin"] == "claiim"


def test_another_origin_is_another_log(filled, path):
    """A Chron is not continued under another origin."""
    with pytest.raises(ChronError, match='belongs to origin "claiim", not "elsewhere"; give another path'):
        Chron.open(path, origin="elsewhere")


@pytest.mark.parametrize("seq", [3, 22, 23])
def test_a_gate_does_not_start_on_a_changed_tail(filled, harm, open_chron, seq):
    """Opening verifies the end of the log and says which record is wrong and what to run."""
    harm(f"UPDATE chron SET body = replace(body, 'v\":1', 'v\":2') WHERE seq = {seq}")
    with pytest.raises(ChronError, match=f'does not verify at record {seq}: its body was changed; run "claiim chron'):
        open_chron()


def test_a_damaged_file_is_reported_not_traced(filled):
    """Garbage in the middle of the file is a finding, not an exception."""
    data = bytearray(filled.read_bytes())
    data[4096:12288] = b"\xff" * 8192
    filled.write_bytes(data)
    found = verify(filled)
    assert not found.ok
    assert found.fault


def test_what_is_no_chron(tmp_path):
    """A path without a Chron is an error with a remedy, not a finding."""
    with pytest.raises(
        ChronError, match=r'there is no Chron at ".*none\.db"; start "claiim serve" first, or give its path'
    ):
        verify(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database at all" * 100)
    with pytest.raises(ChronError, match=r'text\.db" is not a Chron'):
        verify(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t(x)")
    with pytest.raises(ChronError, match=r"is not a Chron \(application id 0x0\)"):
        verify(tmp_path / "other.db")
    with pytest.raises(ChronError, match=r"is not a Chron \(application id 0x0\)"):
        Chron.open(tmp_path / "other.db")


def test_linting_finds_a_body_that_is_not_canonical(open_chron, path, monkeypatch):
    """A bug of ours that writes another form of JSON is found by verify --lint."""
    monkeypatch.setattr(
        "chron.body._encoder",
        lambda: lambda body: (json.dumps(body).replace('": ', '":').replace(', "', ',"') + " ").encode(),
    )
    open_chron().close()
    monkeypatch.undo()
    assert verify(path).ok
    found = verify(path, lint=True)
    assert (found.first_bad_seq, found.fault) == (1, "its body is not canonical JSON")
