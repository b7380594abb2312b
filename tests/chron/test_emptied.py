"""Bodies that go under a record that says so: nothing else changes, and nothing else may go."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chron import Chron, ChronError, Signing, check, find, prove, show, verify
from chron import standalone as standalone_verifier
from chron.emptied import MOST_KEPT, Span, unexplained
from chron.log import EMPTIED_AT_ONCE
from chron.schema import GUARDS

SECRET = "somebody-who-wants-to-be-forgotten"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed log: opening, key, then decisions with a name in them, and the key that signed it."""
    return tmp_path / "chron.db"


async def _fill(path: Path, number: int = 30) -> Chron:
    chron = Chron.open(path, low_water_bytes=0, signing=Signing(path.with_name("key.pem")))
    await chron.append_many([("decision", {"channel": "api", "agent": f"{SECRET}-{n}."}) for n in range(number)])
    return chron


def _key(path: Path) -> str:
    return next(find(path, kind="key")).text("vkey")


def _plain(path: Path, text: str) -> bool:
    """Whether the text stands anywhere in the log's files."""
    return any(text.encode() in file.read_bytes() for file in path.parent.glob(path.name + "*"))


async def test_a_body_goes_and_the_log_still_verifies(signed):
    """What is emptied is out of the files at once; chain, checkpoints and proofs given before hold as they did."""
    chron = await _fill(signed)
    chron.checkpoint()
    record = next(find(signed, agent=f"{SECRET}-5."))
    proof = prove(signed, record.id)
    before = verify(signed)
    assert _plain(signed, f"{SECRET}-5.")

    assert chron.empty("erasure", [(record.seq, record.seq)], {"basis": "GDPR Art. 17"}) == 1

    assert not _plain(signed, f"{SECRET}-5.")
    assert _plain(signed, f"{SECRET}-6.")
    after = verify(signed)
    assert (after.ok, after.emptied, before.emptied) == (True, 1, 0)
    assert check(proof, _key(signed)).fields["agent"] == f"{SECRET}-5."
    assert show(signed, record.id).record.fields == {}
    with pytest.raises(ChronError, match="was erased; nothing is left to prove"):
        prove(signed, record.id)
    chron.close()
    assert verify(signed).ok


async def test_the_record_says_which_and_when_it_was_done(signed):
    """The record stands before the body goes and names what stays; another one says that it has gone."""
    chron = await _fill(signed)
    chron.checkpoint()
    last = list(find(signed, kind="checkpoint"))[-1].seq
    assert chron.empty("archive", [(1, last)], {"segment": "chron-1-33.db"}) == 30
    chron.close()
    (said,), (done,) = find(signed, kind="archive"), find(signed, kind="emptied")
    assert (said.fields["first"], said.fields["last"], said.fields["kept"]) == (1, last, f"1,2,{last}")
    assert (done.fields["ref"], done.fields["records"], done.fields["wal_cleared"]) == (said.id, 30, True)
    assert len(list(find(signed, kind="checkpoint"))) >= 1
    assert next(find(signed, kind="lifecycle")).seq == 1


@pytest.mark.parametrize("seq", [3, 10])
async def test_a_body_that_goes_without_a_record_is_found(signed, seq):
    """A body taken away by the file's owner is a fault, at its record, for both verifiers."""
    chron = await _fill(signed)
    chron.empty("erasure", [(5, 6)], {})
    chron.close()
    _take_away(signed, seq)
    found = verify(signed)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, seq, "its body is gone, and no record says why")
    told = _standalone(signed)
    assert told.returncode == 1
    assert f"the body of record {seq} is gone, and no record says why" in told.stdout


async def test_a_record_that_had_to_stay_is_missed(signed):
    """A checkpoint inside of an archived span is named as one that stays: to take it away is a fault."""
    chron = await _fill(signed)
    chron.checkpoint()
    last = list(find(signed, kind="checkpoint"))[-1].seq
    chron.empty("archive", [(1, last)], {})
    chron.close()
    assert verify(signed).ok
    _take_away(signed, last)
    assert (verify(signed).first_bad_seq, verify(signed).ok) == (last, False)
    assert _standalone(signed).returncode == 1


async def test_both_verifiers_agree_on_a_good_one(signed):
    """Who has no code of ours sees the same: good, and how many have no body."""
    chron = await _fill(signed)
    chron.empty("prune", [(3, 12)], {})
    chron.close()
    told = _standalone(signed)
    assert told.returncode in (0, 11), told.stdout
    assert "10 without a body" in told.stdout
    assert verify(signed).emptied == 10


@pytest.mark.parametrize(
    ("kind", "span", "message"),
    [
        ("decision", (3, 4), '"decision" is no reason'),
        ("erasure", (0, 4), "there are no records 0 to 4"),
        ("erasure", (4, 3), "there are no records 4 to 3"),
        ("erasure", (3, 4000), "there are no records 3 to 4000; the log ends at 32"),
    ],
)
async def test_what_cannot_be_emptied_is_refused(signed, kind, span, message):
    """A span that is not there, or no reason, changes nothing."""
    chron = await _fill(signed)
    with pytest.raises(ChronError, match=message):
        chron.empty(kind, [span], {})
    chron.close()
    assert verify(signed).emptied == 0


async def test_a_stray_shell_can_only_do_what_a_record_allows(signed):
    """The tables refuse to let a body go that no record names, and to put another in its place."""
    chron = await _fill(signed)
    chron.empty("erasure", [(5, 6)], {})
    chron.close()
    with closing(sqlite3.connect(signed, isolation_level=None)) as shell:
        for statement in (
            "UPDATE chron SET body = NULL WHERE seq = 9",
            "UPDATE chron SET body = NULL WHERE seq = 1",
            "UPDATE chron SET body = '{}' WHERE seq = 5",
            "UPDATE chron SET leaf = zeroblob(32) WHERE seq = 5",
            "UPDATE chron SET seq = 99 WHERE seq = 5",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only under a record that says so"):
                shell.execute(statement)
    assert verify(signed).ok


async def test_what_a_crash_cut_short_is_finished_by_the_next_start(signed, monkeypatch):
    """The record is there and only some bodies went: the next opening lets the others go, and says so."""
    chron = await _fill(signed, EMPTIED_AT_ONCE * 2)
    asked = []

    def dies(*span: int) -> int:
        asked.append(span)
        if len(asked) > 1:
            raise sqlite3.OperationalError("disk I/O error")
        return type(ledger).empty(ledger, *span)

    ledger = chron._writer._ledger
    monkeypatch.setattr(ledger, "empty", dies, raising=False)
    with pytest.raises(ChronError, match="disk I/O error"):
        chron.empty("erasure", [(3, EMPTIED_AT_ONCE * 2)], {})
    chron.close()
    assert verify(signed).emptied == EMPTIED_AT_ONCE
    assert not list(find(signed, kind="emptied"))

    Chron.open(signed, low_water_bytes=0, signing=Signing(signed.with_name("key.pem"))).close()

    found = verify(signed)
    assert (found.ok, found.emptied) == (True, EMPTIED_AT_ONCE * 2 - 2)
    assert [each.fields["records"] for each in find(signed, kind="emptied")] == [EMPTIED_AT_ONCE - 2]
    assert not _plain(signed, SECRET + "-7.")


async def test_an_older_file_verifies_as_it_is_and_is_brought_up_when_written(signed):
    """Format 1 had a trigger against every change: readers take it as it is, the next opening changes it."""
    chron = await _fill(signed)
    chron.close()
    with closing(sqlite3.connect(signed, isolation_level=None)) as shell:
        shell.execute("DROP TRIGGER chron_only_empty")
        shell.execute("DROP TABLE person")
        shell.execute(
            "CREATE TRIGGER chron_no_update BEFORE UPDATE ON chron\n"
            "BEGIN SELECT RAISE(ABORT, 'chron is append-only: UPDATE refused'); END"
        )
        shell.execute("PRAGMA user_version = 1")
    old = signed.with_name("old.db")
    shutil.copy(signed, old)
    assert verify(old).ok
    assert len(list(find(old, kind="decision"))) == 30
    chron = Chron.open(old, low_water_bytes=0, signing=Signing(signed.with_name("key.pem")))
    assert chron.empty("erasure", [(3, 4)], {}) == 2
    chron.close()
    assert (verify(old).ok, verify(old).emptied) == (True, 2)


@pytest.mark.parametrize(
    ("holes", "spans", "first"),
    [
        ([(3, 5)], [Span(1, 9, ())], None),
        ([(3, 5)], [Span(1, 9, (4,))], 4),
        ([(3, 5)], [Span(1, 3, ()), Span(5, 9, ())], 4),
        ([(3, 5)], [Span(1, 3, ()), Span(4, 9, ())], None),
        ([(3, 5)], [Span(4, 9, (4,)), Span(1, 4, ())], None),
        ([(1, 1), (9, 9)], [Span(1, 8, ())], 9),
        ([(2, 2)], [], 2),
        ([], [], None),
    ],
)
def test_a_hole_is_held_against_all_that_was_announced(holes, spans, first):
    """Spans may touch, overlap and come in any order; what stays in one may go in another."""
    assert unexplained(holes, spans) == first


def test_the_list_of_what_stays_fits_into_a_record():
    """The longest list of the largest numbers a log of a thousand million records has is half of a body."""
    assert len(",".join(["1000000000"] * MOST_KEPT)) < 48 * 1024


def _take_away(path: Path, seq: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("DROP TRIGGER chron_only_empty")
        owner.execute("UPDATE chron SET body = NULL WHERE seq = ?", (seq,))
        owner.execute(GUARDS["chron_only_empty"])


def _standalone(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, standalone_verifier.__file__, str(path), "--key", _key_of_file(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _key_of_file(path: Path) -> str:
    """The key by which it was signed, whatever has become of its record."""
    from chron.signing import read_signer

    with closing(sqlite3.connect(path)) as connection:
        id_ = connection.execute("SELECT id FROM chron WHERE seq = 1").fetchone()[0]
    return read_signer(path.with_name("key.pem")).verifier_keys(f"claiim/{id_}")[0].vkey


def test_a_span_that_cannot_be_read_is_told(filled, rehash):
    """A record under which bodies are to go and which does not say what bodies: a fault, and no trace of ours."""
    rehash(lambda seq, body: body.replace('"kind":"decision"', '"kind":"prune"') if seq == 7 else body)
    found = verify(filled)
    assert (found.ok, found.first_bad_seq) == (False, 7)
    assert found.fault == "it does not say of which records the bodies went"
