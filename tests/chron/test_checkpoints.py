"""When checkpoints are written, with which key, and on what log nothing is appended any more."""

import asyncio
import base64
import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chron import Cadence, Chron, ChronError, Head, Known, Signing, find, parse_vkey, verify
from chron.batch import Batch, Entry
from chron.chain import leaf_hash
from chron.ledger import Ledger
from chron.merkle import Frontier
from chron.notes import Checkpoint, parse_note
from chron.signed import checkpoint_fields
from chron.signing import make_key, next_key, read_signer


class Clock:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "chron-key.pem"


@pytest.fixture
def signed(open_chron: Callable[..., Chron], key: Path) -> Callable[..., Chron]:
    """Opens the Chron with a key."""

    def opens(*, clock_ns: object = None, **options: object) -> Chron:
        more = {"clock_ns": clock_ns} if clock_ns else {}
        return open_chron(signing=Signing(**{"key": key, **options}), **more)

    return opens


def kinds(path: Path) -> list[str]:
    return [record.text("event") or record.kind for record in find(path)]


async def add(chron: Chron, count: int) -> None:
    await chron.append_many([("decision", {"n": n}) for n in range(count)])


def test_a_checkpoint_is_over_all_records_before_it(signed, path, rows):
    """Size, root and signature of a checkpoint follow from the stored bodies and the key by the published formulas."""
    chron = signed()
    asyncio.run(add(chron, 5))
    note = parse_note(chron.checkpoint())
    chron.close()
    bodies = [body.encode() for (body,) in rows("SELECT body FROM chron ORDER BY seq")]
    said = note.checkpoint()
    tree = Frontier()
    tree.extend([leaf_hash(body) for body in bodies[: said.size]])
    assert (said.size, said.root) == (7, tree.root())
    assert said.name == f"claiim/{rows('SELECT id FROM chron WHERE seq = 1')[0][0]}"
    [(vkey,)] = rows("SELECT body->>'$.vkey' FROM chron WHERE kind = 'key'")
    assert parse_vkey(vkey).signed(note)
    [(stored,)] = rows("SELECT body->>'$.note' FROM chron WHERE seq = 8")
    assert stored == str(note)


async def test_checkpoints_come_after_so_many_records(signed, path):
    """A batch that finds enough records behind the last checkpoint begins with the next one."""
    chron = signed(cadence=Cadence(every_records=10))
    for _ in range(4):
        await add(chron, 5)
    assert kinds(path) == ["open", "created", *["decision"] * 10, "checkpoint", *["decision"] * 10]


async def test_checkpoints_come_after_so_long_when_there_is_anything_new(signed, path):
    """Nothing new: no checkpoint before the hour; something new: one within the minute, without anybody's record."""
    clock = Clock()
    chron = signed(monotonic_s=clock)
    await add(chron, 1)
    clock.at_s += 59
    await add(chron, 1)
    assert kinds(path)[2:] == ["decision", "decision"]
    clock.at_s += 1
    await add(chron, 1)
    assert kinds(path)[4:] == ["checkpoint", "decision"]
    await asyncio.to_thread(chron.checkpoint)
    clock.at_s += 3599
    await asyncio.to_thread(chron.keep, [("skill", "s", 1, "d", "text")])
    assert kinds(path)[6:] == ["checkpoint", "text"], "an hour is not over, and one record is new since a moment"
    clock.at_s += 60
    await add(chron, 1)
    assert kinds(path)[8:] == ["checkpoint", "decision"]


async def test_a_quiet_log_gets_a_checkpoint_by_itself(signed, path):
    """The thread wakes for it: a log that is silent is told from one that was stopped."""
    written = asyncio.Event()
    loop = asyncio.get_running_loop()
    told: list[str] = []

    def tell(note: str) -> None:
        told.append(note)
        if len(told) == 2:
            loop.call_soon_threadsafe(written.set)

    signed(cadence=Cadence(every_s=0.01, idle_s=0.02), told=tell)
    await asyncio.wait_for(written.wait(), 30)
    assert kinds(path)[:4] == ["open", "created", "checkpoint", "checkpoint"]
    assert [parse_note(note).checkpoint().size for note in told[:2]] == [2, 3]


def test_a_clean_stop_leaves_nothing_uncovered(signed, path):
    """The last record is a checkpoint over the close, and the next start sees that the stop was clean."""
    signed().close()
    assert kinds(path) == ["open", "created", "close", "checkpoint"]
    found = verify(path)
    assert (found.ok, found.covered, found.loose, found.checkpoints) == (True, 3, 0, 1)
    signed().close()
    assert [record.fields["clean"] for record in find(path, kind="lifecycle") if "clean" in record.fields] == [True] * 2


def test_a_key_is_made_once_and_for_its_owner_alone(signed, key, path):
    """The first start makes the key, 0600, and the log says it; the next start uses it."""
    signed().close()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    signed().close()
    assert key.read_bytes() == before
    assert kinds(path).count("created") == 1


def test_a_key_half_written_stops_no_later_start(signed, key, path, monkeypatch):
    """A disk that fails while the key is being made leaves none under its name, and the next start makes it."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as failing:
        failing.setattr("chron.signing.os.fsync", full)
        with pytest.raises(ChronError, match=r'cannot write key ".*": No space left on device'):
            make_key(key)
    assert not key.exists()
    signed().close()
    assert verify(path).ok
    assert [each.name for each in key.parent.iterdir()] == [key.name]


def test_a_key_of_the_operators_own_is_used(signed, key, rows):
    """A key that stands there before the log does is the one that signs it."""
    own = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.parent.mkdir()
    key.touch(0o600)
    key.write_bytes(own.private_bytes(*form))
    signed().close()
    [(vkey,)] = rows("SELECT body->>'$.vkey' FROM chron WHERE kind = 'key'")
    assert base64.b64decode(vkey.split("+", 2)[2])[1:] == own.public_key().public_bytes_raw()


def test_a_second_signature_by_ml_dsa(signed, path, tmp_path, rows):
    """With an ML-DSA-44 key beside it every checkpoint has two lines, and either key alone verifies them."""
    second = tmp_path / "second.pem"
    make_key(second, second=True)
    chron = signed(second=second, clock_ns=lambda: 1_767_225_600_000_000_000)
    note = parse_note(chron.checkpoint())
    chron.close()
    [(first_vkey, second_vkey)] = rows("SELECT body->>'$.vkey', body->>'$.vkey_second' FROM chron WHERE kind = 'key'")
    for vkey in (first_vkey, second_vkey):
        assert parse_vkey(vkey).signed(note, note.checkpoint())
        assert verify(path, known=Known(key=parse_vkey(vkey))).covered == 4
    assert int.from_bytes(note.signatures[1].data[:8]) == 1_767_225_600
    signed().close()
    assert kinds(path)[-4:] == ["open", "rotated", "close", "checkpoint"], "taking it away is a record too"
    assert verify(path).ok


BAD_KEYS = {
    "readable by others": (lambda key: key.chmod(0o640), r'can be read by others \(mode 0640\); run "chmod 600'),
    "not a key": (lambda key: key.write_text("x"), "is not a private key in PEM without a password"),
    "another key": (lambda key: (key.unlink(), make_key(key)), "is not the one that signs this log"),
    "gone": (lambda key: key.unlink(), 'cannot read key .*: No such file or directory; put it there, or set "check'),
    "another kind": (lambda key: (key.unlink(), make_key(key, second=True)), "is not an Ed25519 key"),
}


@pytest.mark.parametrize(("harm_key", "message"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_log_is_not_continued_with_a_wrong_key(signed, key, path, harm_key, message):
    """Without the key that signed it nothing is appended, and no other key is made in silence."""
    signed().close()
    before = kinds(path)
    harm_key(key)
    with pytest.raises(ChronError, match=message):
        signed()
    assert kinds(path) == before


def test_a_lost_key_is_replaced_and_every_verifier_sees_it(signed, key, path, rows):
    """Another key goes on when the operator says so; who pinned the old one is told how much it still covers."""
    signed().close()
    [(old,)] = rows("SELECT body->>'$.vkey' FROM chron WHERE kind = 'key'")
    key.unlink()
    signed(lost=True).close()
    assert kinds(path)[4:] == ["open", "replaced", "close", "checkpoint"]
    new = verify(path).vkey
    assert new != old
    by_old, by_new = (verify(path, known=Known(key=parse_vkey(vkey))) for vkey in (old, new))
    assert (by_old.ok, by_old.covered, by_old.loose) == (True, 3, 3)
    assert (by_new.ok, by_new.covered, by_new.loose) == (True, 7, 0)


def test_keys_rotate_and_the_old_one_vouches_for_the_new(signed, key, path, rows):
    """After a change of keys who pinned the old one, or the new one, verifies the whole log."""
    chron = signed()
    [(old,)] = rows("SELECT body->>'$.vkey' FROM chron WHERE kind = 'key'")
    note = parse_note(chron.rotate_key())
    chron.close()
    assert kinds(path) == ["open", "created", "rotated", "checkpoint", "close", "checkpoint"]
    new = verify(path).vkey
    assert new != old
    assert parse_vkey(new).signed(note)
    assert not parse_vkey(old).signed(note)
    for vkey in (old, new):
        found = verify(path, known=Known(key=parse_vkey(vkey)))
        assert (found.ok, found.covered, found.loose) == (True, 5, 0)
    signed().close()
    assert kinds(path).count("created") == 1
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("recorded", [True, False])
def test_a_rotation_cut_short_is_finished_or_undone(signed, key, path, recorded):
    """A crash between the record and the change of files: the next start does what the log says has happened."""
    signed().close()
    before = key.read_bytes()
    chron = signed()
    if recorded:
        chron.rotate_key()
        chron.close()
        following = key.read_bytes()
        key.with_name(key.name + ".old").replace(key)
        next_key(key).touch(0o600)
        next_key(key).write_bytes(following)
    else:
        chron.close()
        make_key(next_key(key))
    signed().close()
    assert not next_key(key).exists()
    assert (key.read_bytes() != before) is recorded
    assert verify(path).ok


def copies(path: Path) -> dict[str, bytes]:
    names = (path.name, f"{path.name}-wal")
    return {name: path.with_name(name).read_bytes() for name in names if path.with_name(name).exists()}


def test_a_copy_put_back_is_not_continued(signed, path):
    """An old copy, restored, ends before what an anchor has seen: nothing is appended, so the log cannot fork."""
    signed().close()
    old = copies(path)
    chron = signed()
    note = chron.checkpoint()
    chron.close()
    for name, data in old.items():
        path.with_name(name).write_bytes(data)
    with pytest.raises(ChronError, match=r"it ends at record 4, but anchor file a has seen 5; restore the newest copy"):
        signed(heads=[Head("file a", note)])
    assert len(kinds(path)) == 4


def test_another_history_is_not_continued(signed, path):
    """Two histories of one log: the one that the anchor has not seen is not continued, however long it is."""
    signed().close()
    old = copies(path)
    chron = signed()
    asyncio.run(add(chron, 1))
    note = chron.checkpoint()
    chron.close()
    for name, data in old.items():
        path.with_name(name).write_bytes(data)
    chron = signed()
    asyncio.run(add(chron, 5))
    chron.close()
    with pytest.raises(ChronError, match="anchor file a has seen another history of its first 6 records; one of them"):
        signed(heads=[Head("file a", note)])


def test_a_history_made_up_around_the_seen_checkpoint_is_not_continued(signed, path, key):
    """Who has the key and puts the checkpoint that was seen into another history is found: its tree is another."""
    signed().close()
    old = copies(path)
    chron = signed()
    asyncio.run(add(chron, 1))
    note = chron.checkpoint()
    seen = list(find(path, kind="checkpoint"))[-1]
    chron.close()
    for name, data in old.items():
        path.with_name(name).write_bytes(data)
    ledger = Ledger.open(path, "claiim")
    batch = Batch(ledger.seq, ledger.hash)
    batch.add(Entry([(f"chr_{n}", 0, "decision", {"n": n + 100}) for n in range(2)]))
    copied = {name: seen.fields[name] for name in ("size", "note", "frontier")}
    batch.add(Entry([("chr_2", 0, "checkpoint", copied)]))
    ledger.commit(batch.rows)
    tree = Frontier()
    tree.extend([leaf for (leaf,) in ledger.connection.execute("SELECT leaf FROM chron ORDER BY seq")])
    name = parse_note(note).checkpoint().name
    forged = read_signer(key).checkpoint(Checkpoint(name, tree.size, tree.root()), 0)
    batch = Batch(ledger.seq, ledger.hash)
    batch.add(Entry([("chr_3", 0, "checkpoint", dict(checkpoint_fields(forged, tree)))]))
    ledger.commit(batch.rows)
    ledger.abandon()
    with pytest.raises(ChronError, match="anchor file a has seen another history of its first 6 records"):
        signed(heads=[Head("file a", note)])


async def test_nobody_else_writes_keys_and_checkpoints(signed, path):
    """A record of these kinds that the Chron did not make is refused, and the log goes on."""
    chron = signed()
    with pytest.raises(ChronError, match="only the Chron itself signs checkpoints"):
        await chron.append("checkpoint", {"size": 2, "note": "x"})
    with pytest.raises(ChronError, match="the key was changed meanwhile; try again"):
        await chron.append("key", {"event": "rotated", "vkey": "x"})
    await add(chron, 1)
    chron.close()
    assert verify(path).ok


async def test_keys_change_one_after_the_other(signed, path):
    """Several who ask at once get several changes, each signed by the key before it."""
    chron = signed()
    await asyncio.gather(*(asyncio.to_thread(chron.rotate_key) for _ in range(4)))
    chron.close()
    found = verify(path)
    assert (found.ok, found.loose) == (True, 0)
    assert kinds(path).count("rotated") == 4


def test_another_log_is_not_begun_where_one_was(signed, path):
    """The file is gone or replaced: an anchor of the old log keeps a new one from taking its place."""
    chron = signed()
    note = chron.checkpoint()
    chron.close()
    for name in copies(path):
        path.with_name(name).unlink()
    with pytest.raises(ChronError, match=r'anchor file a has seen log "claiim/chr_.*", and this is a new one; restore'):
        signed(heads=[Head("file a", note)])
    signed().close()
    with pytest.raises(ChronError, match=r'anchor file a has seen log "claiim/chr_.*", and this is "claiim/chr_'):
        signed(heads=[Head("file a", note)])


def test_an_anchor_with_a_bad_signature_stops_the_start(signed, path):
    """Somebody who writes to the anchor, but has no key, is noticed and not believed."""
    chron = signed()
    note = chron.checkpoint()
    chron.close()
    signed(heads=[Head("file a", note)]).close()
    line = note.splitlines()[-1]
    forged = note.replace(line, line[:-20] + ("A" if line[-20] != "A" else "B") + line[-19:])
    for other, message in ((forged, "signature"), ("nonsense", "anchor file a holds no checkpoint: no signature")):
        with pytest.raises(ChronError, match=message):
            signed(heads=[Head("file a", other)])


def test_a_changed_checkpoint_keeps_the_gate_shut(signed, path, harm):
    """The tree is continued from a checkpoint only if that is signed: a frontier of somebody's own is refused."""
    signed().close()
    harm("UPDATE chron SET body = replace(body, '\"size\":3', '\"size\":2') WHERE seq = 4")
    with pytest.raises(ChronError, match="does not verify at record 4"):
        signed()


def test_a_log_from_before_keys_gets_one(open_chron, signed, path):
    """An old log is continued, and from then on all of it, its beginning too, is under signatures."""
    chron = open_chron()
    asyncio.run(add(chron, 20))
    chron.close()
    signed().close()
    found = verify(path)
    assert (found.ok, found.records, found.covered, found.loose) == (True, 26, 25, 0)
    assert kinds(path)[-4:] == ["open", "created", "close", "checkpoint"]


def test_the_log_goes_on_signed_after_a_disk_error(signed, path, monkeypatch):
    """After a failed commit the tree is taken from the file again, and the next checkpoint is right."""
    chron = signed()
    commit = Ledger.commit
    failures = [sqlite3.OperationalError("disk I/O error")]

    def failing(ledger, *args):
        if failures:
            raise failures.pop()
        commit(ledger, *args)

    monkeypatch.setattr(Ledger, "commit", failing)
    with pytest.raises(ChronError, match="disk I/O error"):
        asyncio.run(add(chron, 3))
    asyncio.run(add(chron, 3))
    chron.checkpoint()
    chron.close()
    found = verify(path)
    assert (found.ok, found.loose) == (True, 0)
    assert kinds(path).count("reopen") == 1


def test_a_clock_that_goes_back_changes_no_checkpoint(signed, path):
    """Checkpoints come by elapsed time; a clock set back is noted and the log verifies."""
    times = iter([2_000_000_000_000_000_000] * 4 + [1_000_000_000_000_000_000] * 40)
    chron = signed(clock_ns=lambda: next(times))
    asyncio.run(add(chron, 3))
    chron.checkpoint()
    chron.close()
    assert "clock_back" in kinds(path)
    assert (verify(path).ok, verify(path).loose) == (True, 0)


def test_no_checkpoint_without_a_key(open_chron):
    """Who opened the Chron without one is told so."""
    chron = open_chron()
    with pytest.raises(ChronError, match="was opened without a key"):
        chron.checkpoint()
    with pytest.raises(ChronError, match="was opened without a key"):
        chron.rotate_key()
