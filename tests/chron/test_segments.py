"""Sealed segments: whole files that verify alone, and a log whose old bodies are in them."""

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chron import Chron, ChronError, Known, Signing, check, find, parse_vkey, prove, show, verify, why_gone
from chron import verification as chron_verification
from chron.living import archive, compact, erase, prune, seal, written_from
from chron.log import EMPTIED_AT_ONCE
from chron.notes import parse_note
from chron.schema import INDEXES
from chron.segments import default_folder, erase_copies, make_segment, sealed
from chron.signing import read_signer
from support.reindexed import rebuild

LATER = datetime.now(UTC) + timedelta(days=400)
TEXT = ("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\nallow:\n- deploy:staging\n")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Callable[[], Chron]]:
    """Opens the log with its key; at the end all is closed."""
    opened: list[Chron] = []

    def opens() -> Chron:
        path = tmp_path / "chron.db"
        opened.append(Chron.open(path, low_water_bytes=0, signing=Signing(tmp_path / "key.pem")))
        return opened[-1]

    yield opens
    for chron in opened:
        if not chron._writer.finished():
            chron.close()


async def _decide(chron: Chron, number: int, what: str = "bot") -> None:
    """Decisions on the wire with what came of them, as a gate writes them."""
    fields = [
        {"channel": "wire", "agent": f"{what}-{n}", "outcome": "DENY", "skill_digest": "d1"} for n in range(number)
    ]
    receipts = await chron.append_many([("decision", each) for each in fields])
    outcomes = [("outcome", {"ref": receipt.id, "result": "blocked"}) for receipt in receipts]
    await chron.append_many(outcomes)


def _key(chron: Chron) -> Known:
    return Known(parse_vkey(next(find(chron.path, kind="key")).text("vkey")))


async def _two_segments(log: Callable[[], Chron]) -> tuple[Chron, list[Path]]:
    chron = log()
    chron.keep([TEXT])
    files = []
    for what in ("old", "new"):
        await _decide(chron, 20, what)
        files.append(seal(chron, default_folder(chron.path)))
    return chron, [file for file in files if file]


async def test_a_segment_verifies_and_answers_alone(log, tmp_path):
    """Copied elsewhere, a segment proves itself by its key, and is queried, shown and proved from as it is."""
    chron, files = await _two_segments(log)
    known, place = _key(chron), tmp_path / "elsewhere"
    place.mkdir()
    for number, file in enumerate(files):
        copy = Path(shutil.copy(file, place))
        assert stat.S_IMODE(file.stat().st_mode) == 0o400
        found = verify(copy, known=known)
        first, last = (int(part) for part in copy.stem.split("-")[1:])
        assert (found.ok, found.records, found.skipped, found.covered, found.loose) == (True, last, first - 1, last, 0)
        assert sorted({record.text("agent")[:3] for record in find(copy, kind="decision")}) == [("old", "new")[number]]
        some = next(find(copy, kind="decision"))
        shown = show(copy, some.id)
        assert [text.id for text in shown.texts] == ["deploy-v2"]
        assert [each.text("result") for each in shown.outcomes] == ["blocked"]
        for record in find(copy):
            assert check(prove(copy, record.id), known.key.vkey).seq == record.seq
        assert not list(place.glob("*-wal"))


async def test_segments_follow_each_other_and_the_log_has_all_of_it(log):
    """Sealing changes nothing in the log, and begins behind the last segment."""
    chron, files = await _two_segments(log)
    spans = [(each.first, each.last, each.state) for each in sealed(chron.path)]
    assert spans[0][0] == 1
    assert spans[1][0] == spans[0][1] + 1
    assert [each[2] for each in spans] == ["live", "live"]
    assert [file.name for file in files] == [each.file for each in sealed(chron.path)]
    assert len(list(find(chron.path, kind="decision"))) == 40
    assert verify(chron.path).ok


async def test_archived_bodies_are_in_the_segment_alone(log):
    """After archiving, log and segments verify together; without one, verifying says which is missing."""
    chron, files = await _two_segments(log)
    before = {record.seq: record.fields for record in scan_all(chron.path)}
    moved = archive(chron, [default_folder(chron.path)], LATER)
    assert [each.file for each in moved] == [file.name for file in files]
    assert not list(find(chron.path, kind="decision"))
    assert [each.state for each in sealed(chron.path)] == ["archived", "archived"]

    found = verify(chron.path, known=_key(chron))
    assert (found.ok, found.segments, found.missing) == (True, 2, ())
    together = {record.seq: record.fields for file in files for record in scan_all(file)}
    assert {seq: fields for seq, fields in before.items() if seq in together} == together

    files[0].rename(files[0].with_name("away"))
    found = verify(chron.path)
    assert (found.ok, found.segments, found.missing) == (True, 1, (files[0].name,))
    assert verify(chron.path, segments=[]).missing == tuple(file.name for file in files)


async def test_a_changed_segment_is_found_by_the_log(log):
    """An archived body that was changed in its segment is tampering, at its record."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    seq = next(find(files[1], kind="decision")).seq
    _harm(files[1], f"UPDATE chron SET body = replace(body, 'DENY', 'ALLOW') WHERE seq = {seq}")
    found = verify(chron.path)
    assert (found.ok, found.first_bad_seq) == (False, seq)
    assert found.fault == f"in segment {files[1].name}: its body was changed"
    assert verify(files[1]).first_bad_seq == seq


async def test_a_segment_is_looked_at_whatever_an_index_hides(log):
    """Which bodies are in which segment is told by the records that were hashed, and not by asking an index."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    chron.close()
    text = INDEXES["chron_seldom"]
    rebuild(chron.path, "chron_seldom", text, f"{text} AND kind <> 'archive'")
    assert verify(chron.path, indexes=False).segments == 2
    _harm(files[1], "UPDATE chron SET body = replace(body, 'DENY', 'ALLOW')")
    found = verify(chron.path, indexes=False)
    assert (found.ok, found.fault) == (False, f"in segment {files[1].name}: its body was changed")


async def test_a_text_that_is_gone_shows_behind_an_old_checkpoint(log):
    """Where indexes are not looked at, one that hides the record of a kept text does not hide that the text is gone."""
    chron = log()
    await _decide(chron, 1)
    old = Known(old=chron.checkpoint(), incremental=True)
    chron.keep([TEXT])
    seq = next(find(chron.path, kind="text")).seq
    chron.close()
    assert verify(chron.path, known=old).ok
    index = INDEXES["chron_text"]
    rebuild(chron.path, "chron_text", index, f"{index} AND seq <> {seq}")
    _harm(chron.path, f"DELETE FROM artefact WHERE seq = {seq}")
    found = verify(chron.path, known=old)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, seq, "the text it kept is gone")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("DELETE FROM chron WHERE seq = (SELECT max(seq) FROM chron)", "the segment ends before its end"),
        ("DELETE FROM chron WHERE seq = (SELECT min(seq) FROM chron)", "it is missing"),
        ("UPDATE segment SET hash = zeroblob(32)", "it does not follow the record before it"),
        ("UPDATE segment SET keys = '[]'", "not signed by"),
    ],
)
async def test_a_segment_that_was_cut_or_retold_is_no_segment(log, harm, fault):
    """Neither rows at its ends, nor what stood before it, nor its keys can be changed."""
    chron, files = await _two_segments(log)
    _harm(files[1], harm)
    found = verify(files[1], known=_key(chron))
    assert not found.ok
    assert fault in found.fault or "does not belong" in found.fault


async def test_a_segment_of_another_history_is_no_substitute(log, tmp_path):
    """A segment with the right name, good in itself, of a log that went another way is found by its root."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    fork = tmp_path / "fork"
    fork.mkdir()
    shutil.copy(tmp_path / "key.pem", fork)
    other = Chron.open(fork / "chron.db", low_water_bytes=0, signing=Signing(fork / "key.pem"))
    other.keep([TEXT])
    await _decide(other, 20, "old")
    forged = seal(other, fork)
    other.close()
    assert verify(forged).ok
    files[0].chmod(0o600)
    shutil.copy(forged, files[0])
    found = verify(chron.path)
    assert (found.ok, found.fault) == (False, f"in segment {files[0].name}: it is of another history than the log")


async def test_a_segment_cannot_say_what_was_erased_from_it(log):
    """What a segment says of later records is held against the log, where there is one."""
    chron, files = await _two_segments(log)
    seq = next(find(files[0], kind="decision")).seq
    archive(chron, [default_folder(chron.path)], LATER)
    told = f'{{"first":{seq},"kept":"","kind":"erasure","last":{seq},"seq":%d}}'
    _harm(files[0], f"UPDATE chron SET body = NULL WHERE seq = {seq}")
    _harm(files[0], "CREATE TABLE later(body TEXT NOT NULL) STRICT")
    for body in (told % 60, told % 9000, told % 2**70, "{}", "[1]", "x", '{"first":1,"last":%s}' % ("9" * 5000)):
        _harm(files[0], "DELETE FROM later")
        _harm(files[0], f"INSERT INTO later VALUES ('{body}')")
        found = verify(chron.path)
        assert (found.ok, found.first_bad_seq) == (False, seq), body
        assert found.fault == f"in segment {files[0].name}: its body is gone, and no record says why"
        assert verify(files[0]).ok is (body in (told % 60, told % 9000))


async def test_an_erasure_during_a_verification_is_no_tampering(log, monkeypatch):
    """The segment already has it, and the log had not when it was read."""
    chron, files = await _two_segments(log)
    folders = [default_folder(chron.path)]
    archive(chron, folders, LATER)
    seq = next(find(files[0], kind="decision")).seq
    looks = chron_verification.known_folders

    def meanwhile(path: Path) -> list[Path]:
        erase(chron, folders, [(seq, seq)], {"basis": "GDPR Art. 17"})
        return looks(path)

    monkeypatch.setattr(chron_verification, "known_folders", meanwhile)
    found = verify(chron.path)
    assert (found.ok, found.fault, found.segments) == (True, "", 2)


async def test_part_of_a_segment_is_no_segment(log, tmp_path):
    """One that ends at the same record, proved by the same checkpoint, and begins later."""
    chron, files = await _two_segments(log)
    last = int(files[0].stem.split("-")[2])
    part = make_segment(chron.path, tmp_path / "part", last - 5, last)
    archive(chron, [default_folder(chron.path)], LATER)
    assert verify(part).ok
    files[0].unlink()
    shutil.copy(part, files[0])
    found = verify(chron.path, known=_key(chron))
    assert (found.ok, found.fault) == (False, f"in segment {files[0].name}: it has records {last - 5} to {last} alone")


@pytest.mark.parametrize(
    ("which", "statement", "fault"),
    [
        (1, "UPDATE artefact SET text = 'skill: other'", "the texts that were kept before it are not those of the log"),
        (1, "DELETE FROM artefact", "the texts that were kept before it are not those of the log"),
        (0, "INSERT INTO artefact VALUES (0, 'skill', 'x', '1', 'd', 'x')", "a text is kept under it"),
        (0, "UPDATE segment SET keys = '[1]'", "does not say where it begins"),
        (1, "UPDATE segment SET keys = '[{}]'", "cannot stand here"),
        (0, "UPDATE segment SET note = 'x'", "does not say where it begins"),
    ],
)
async def test_a_segment_that_says_something_else_is_told_by_name(log, which, statement, fault):
    """Tampering and no error of reading, also where the segment cannot even be begun with."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    _harm(files[which], statement)
    found = verify(chron.path)
    assert not found.ok
    assert found.fault.startswith(f"in segment {files[which].name}: ")
    assert fault in found.fault


async def test_a_segment_that_is_no_log_is_tampering(log):
    """It is there, and is not what was sealed."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    files[0].chmod(0o600)
    for data in (b"", b"x" * 5000):
        files[0].write_bytes(data)
        found = verify(chron.path)
        assert (found.ok, found.fault[:40].startswith(f"in segment {files[0].name}: ")) == (False, True)


async def test_the_id_of_an_archived_record_is_held_against_its_segment(log, harm):
    """Without its body nothing in the log says what its id is: by another one it would be found no more."""
    chron, files = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    seq = next(find(files[0], kind="decision")).seq
    chron.close()
    harm(f"UPDATE chron SET id = 'chr_01k9z3v5xq8w7e6r5t4y3u2i1p' WHERE seq = {seq}")
    found = verify(chron.path)
    assert (found.ok, "has another id than in the log" in found.fault) == (False, True)


async def test_a_log_is_not_cut_at_its_beginning_by_its_last_segment(log):
    """A segment verifies under the name of its records; under another it is a log whose first records are missing."""
    chron, files = await _two_segments(log)
    known = _key(chron)
    chron.close()
    chron.path.unlink()
    shutil.copy(files[1], chron.path)
    found = verify(chron.path, known=known)
    assert (found.ok, found.first_bad_seq) == (False, 1)
    assert found.fault.endswith(f"is a segment, which has the name {files[1].name}")


async def test_a_key_that_was_in_force_before_seals_no_segment(log, tmp_path):
    """Whoever steals a key that another one followed can sign no segment of later records."""
    chron = log()
    shutil.copy(tmp_path / "key.pem", tmp_path / "stolen.pem")
    chron.rotate_key()
    await _decide(chron, 10)
    file = seal(chron, default_folder(chron.path))
    newest = Known(parse_vkey(list(find(chron.path, kind="key"))[-1].text("vkey")))
    assert verify(file, known=newest).ok
    note = parse_note(chron.newest_checkpoint).checkpoint()
    forged = read_signer(tmp_path / "stolen.pem").checkpoint(note, 0)
    _harm(file, f"UPDATE segment SET note = '{forged}'")
    found = verify(file, known=newest)
    assert (found.ok, found.fault) == (False, "its checkpoint is not signed by the key of the log")


async def test_bodies_that_are_said_to_be_in_no_segment_are_missing(log):
    """A record of kind archive that names a file which cannot have them explains nothing."""
    chron, files = await _two_segments(log)
    seq = next(find(chron.path, kind="decision")).seq
    chron.empty("archive", [(seq, seq)], {"segment": files[1].name})
    assert verify(chron.path).missing == (files[1].name,)
    chron.empty("archive", [(seq + 1, seq + 1)], {"segment": "../else.db"})
    assert verify(chron.path).missing == (files[1].name, "../else.db")


async def test_what_was_cut_short_is_finished(log, monkeypatch):
    """A crash between the record of a seal and its file leaves no half file, and the next seal writes it."""
    chron = log()
    await _decide(chron, 20)

    def dies(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("chron.segments.os.fsync", dies)
        with pytest.raises(ChronError, match=r"cannot record in .*No space left on device"):
            seal(chron, default_folder(chron.path))
    assert [each.state for each in sealed(chron.path)] == ["live"]
    assert not list(default_folder(chron.path).glob("*.db"))
    await _decide(chron, 5)
    seal(chron, default_folder(chron.path))
    files = sorted(default_folder(chron.path).iterdir())
    assert sorted(file.name for file in files) == sorted(each.file for each in sealed(chron.path))
    assert all(verify(file).ok for file in files)


async def test_nothing_under_way_is_archived(log):
    """A request whose outcome is not known keeps its segment in the log: its outcome has to find it."""
    chron = log()
    await chron.append("decision", {"channel": "wire", "outcome": "ALLOW"})
    seal(chron, default_folder(chron.path))
    assert archive(chron, [default_folder(chron.path)], LATER) == []
    assert verify(chron.path).emptied == 0


async def test_what_is_younger_stays(log):
    """Only what is older than asked for goes."""
    chron, _ = await _two_segments(log)
    assert archive(chron, [default_folder(chron.path)], datetime.now(UTC) - timedelta(days=1)) == []


async def test_pruned_is_gone_and_said_to_be(log):
    """Retention over: the segment is removed, the log verifies, and says who wanted it; nothing is missing."""
    chron, files = await _two_segments(log)
    folders = [default_folder(chron.path)]
    archive(chron, folders, LATER)
    said = {"by": "alice", "approved_by": "bob", "basis": "retention"}
    assert prune(chron, folders, LATER, said) == 2 * 40, "decisions with their outcomes"
    assert [each.state for each in sealed(chron.path)] == ["pruned", "pruned"]
    assert not any(file.exists() for file in files)
    found = verify(chron.path, known=_key(chron))
    assert (found.ok, found.missing, found.segments) == (True, (), 0)
    records = list(find(chron.path, kind="prune"))
    assert [(each.text("by"), each.text("approved_by")) for each in records] == [("alice", "bob")] * 2


async def test_what_a_crash_left_of_a_segment_goes_with_it(log):
    """Half a file has plain text too, and nobody makes a segment anew whose time is over."""
    chron, files = await _two_segments(log)
    left = files[0].with_name(f"{files[0].name}.making")
    shutil.copy(files[0], left)
    assert prune(chron, [default_folder(chron.path)], LATER, {"basis": "retention"})
    assert not list(files[0].parent.iterdir())


async def test_a_log_with_archived_bodies_opens_and_goes_on(log):
    """The next start, its recovery and its checkpoints need nothing of what was archived."""
    chron, _ = await _two_segments(log)
    archive(chron, [default_folder(chron.path)], LATER)
    chron.close()
    chron = log()
    await _decide(chron, EMPTIED_AT_ONCE)
    chron.checkpoint()
    assert verify(chron.path, known=_key(chron)).ok
    assert chron.seen() == {("skill", "deploy-v2", 1): "d1"}


async def test_the_room_of_archived_bodies_is_given_back(log, tmp_path):
    """Compacting writes the log anew: smaller, the same records, and only while nobody has it open."""
    chron = log()
    await _decide(chron, 2000)
    seal(chron, default_folder(chron.path))
    archive(chron, [default_folder(chron.path)], LATER)
    with pytest.raises(ChronError, match="is open in another process"):
        compact(chron.path)
    chron.close()
    found = verify(chron.path)
    before, after = compact(chron.path)
    assert after < before / 2
    assert verify(chron.path) == found
    chron = log()
    await _decide(chron, 1)
    assert verify(chron.path).ok


async def test_the_age_of_what_is_not_sealed_is_told_by_the_first_that_says_it(log):
    """Records whose bodies were erased say no time: those behind them do, and where none does it is not known."""
    chron = log()
    await _decide(chron, 4)
    first, second, *_ = find(chron.path, kind="decision")
    chron.empty("erasure", [(first.seq, first.seq)], {"basis": "b"})
    assert written_from(chron.path, first.seq) == second.text("ts")
    assert written_from(chron.path, 10_000) == ""


async def test_a_rotated_key_leaves_old_segments_good(log):
    """A segment sealed under an older key verifies by that key and inside of the log."""
    chron = log()
    old = None
    await _decide(chron, 10)
    file = seal(chron, default_folder(chron.path))
    old = _key(chron)
    chron.rotate_key()
    await _decide(chron, 10)
    newer = seal(chron, default_folder(chron.path))
    archive(chron, [default_folder(chron.path)], LATER)
    assert verify(file, known=old).ok
    assert verify(newer, known=old).ok
    newest = Known(parse_vkey(list(find(chron.path, kind="key"))[-1].text("vkey")))
    assert (verify(chron.path, known=newest).ok, verify(newer, known=newest).ok) == (True, True)


def test_a_name_is_taken_once(tmp_path):
    """A segment that is there is never written over."""
    (tmp_path / "chron-1-4.db").write_text("mine")
    assert make_segment(tmp_path / "none.db", tmp_path, 1, 4).read_text() == "mine"


def scan_all(path: Path) -> list[object]:
    return [record for record in find(path) if record.fields]


def _harm(path: Path, statement: str) -> None:
    path.chmod(0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        for (name,) in owner.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            owner.execute(f"DROP TRIGGER {name}")
        owner.execute(statement)
        from chron.schema import GUARDS

        for text in GUARDS.values():
            owner.execute(text)


async def test_what_is_erased_goes_from_its_segment_too(log, tmp_path):
    """The segment is written anew without the body, verifies alone as before, and holds no plain text of it."""
    chron, files = await _two_segments(log)
    folders, first = [default_folder(chron.path)], files[0]
    seq = next(find(chron.path, agent="old-7")).seq
    other = next(find(chron.path, agent="old-8")).seq
    archive(chron, folders, LATER)
    assert b"old-7" in first.read_bytes()
    assert erase(chron, folders, [(seq, seq)], {"basis": "GDPR Art. 17"}) == 1
    assert b"old-7" not in first.read_bytes()
    assert b"old-8" in first.read_bytes()
    assert stat.S_IMODE(first.stat().st_mode) == 0o400
    for file in (first, chron.path):
        found = verify(file, known=_key(chron))
        assert (found.ok, found.fault) == (True, "")
    assert verify(first).emptied == 1
    before = first.stat().st_ino
    assert (erase_copies(chron.path, folders), first.stat().st_ino) == (0, before)
    chron.empty("erasure", [(other, other)], {})  # and then a crash: the segment still has it
    assert b"old-8" in first.read_bytes()
    assert erase_copies(chron.path, folders) == 1
    assert b"old-8" not in first.read_bytes()
    assert verify(first).emptied == 2


async def test_what_was_erased_is_not_said_to_be_in_a_segment(log):
    """A body that was erased before its segment was archived is gone for good, whatever record came last."""
    chron, files = await _two_segments(log)
    folders = [default_folder(chron.path)]
    erased, moved = (next(find(chron.path, agent=f"old-{number}")) for number in (7, 8))
    erase(chron, folders, [(erased.seq, erased.seq)], {"basis": "GDPR Art. 17"})
    archive(chron, folders, LATER)
    assert [why_gone(chron.path, each.seq)["kind"] for each in (erased, moved)] == ["erasure", "archive"]
    with pytest.raises(ChronError, match="was erased; nothing is left to prove"):
        prove(chron.path, erased.id)
    with pytest.raises(ChronError, match=f"is in segment {files[0].name} alone; prove it from that file"):
        prove(chron.path, moved.id)


async def test_a_segment_lost_after_an_erasure_is_written_again(log):
    """What was erased meanwhile is not in it; it has the record that says so, and verifies alone."""
    chron, files = await _two_segments(log)
    folder, lost = default_folder(chron.path), files[0]
    seq = next(find(chron.path, agent="old-7")).seq
    lost.unlink()
    chron.empty("erasure", [(seq, seq)], {"basis": "GDPR Art. 17"})
    seal(chron, folder)
    found = verify(lost, known=_key(chron))
    assert (found.ok, found.fault, found.emptied) == (True, "", 1)
    assert b"old-7" not in lost.read_bytes()
    before = lost.stat().st_ino
    assert (erase_copies(chron.path, [folder]), lost.stat().st_ino) == (0, before), "there is nothing left to do"


async def test_an_erasure_that_is_under_way_is_done_in_a_new_segment(log, monkeypatch):
    """A segment that is made between the record of an erasure and the erasure has no such body either."""
    chron, files = await _two_segments(log)
    files[0].unlink()
    seq = next(find(chron.path, agent="old-7")).seq
    monkeypatch.setattr(chron, "_finish", lambda *_: 0)  # a crash, as far as the segment can tell
    chron.empty("erasure", [(seq, seq)], {})
    assert next(find(chron.path, agent="old-7")).seq == seq
    seal(chron, default_folder(chron.path))
    assert b"old-7" not in files[0].read_bytes()
    assert verify(files[0], known=_key(chron)).emptied == 1


async def test_sealing_twice_at_once_seals_once(log):
    """Whoever comes second finds nothing new: no record is in two segments."""
    chron = log()
    await _decide(chron, 20)
    folder = default_folder(chron.path)
    made = await asyncio.gather(*(asyncio.to_thread(seal, chron, folder) for _ in range(4)))
    assert [file is None for file in made].count(False) == 1
    assert len(sealed(chron.path)) == 1
    assert seal(chron, folder) is None
