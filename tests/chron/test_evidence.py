"""What signatures and heads kept elsewhere prove of a log, and what shows only with them."""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chron import Cadence, Chron, ChronError, Known, Signing, find, parse_vkey, standalone, verify
from chron.attacks import ATTACKS
from chron.body import canonical
from chron.chain import leaf_hash
from chron.copies import Copy
from chron.merkle import Frontier
from chron.notes import Checkpoint
from chron.signed import checkpoint_fields
from chron.signing import make_key, read_signer


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[str]]:
    """A closed, signed Chron of forty decisions, and its checkpoints' notes."""
    folder = tmp_path_factory.mktemp("signed")
    notes: list[str] = []

    async def fill() -> None:
        signing = Signing(folder / "key.pem", cadence=Cadence(every_records=10), told=notes.append)
        chron = Chron.open(folder / "chron.db", low_water_bytes=0, signing=signing)
        chron.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n")])
        for number in range(40):
            await chron.append("decision", {"outcome": "DENY", "n": number})
        chron.close()

    asyncio.run(fill())
    return folder / "chron.db", notes


@pytest.fixture
def log(made, path) -> Path:
    """A copy to harm."""
    path.write_bytes(made[0].read_bytes())
    return path


@pytest.fixture(scope="module")
def vkey(made) -> str:
    return verify(made[0]).vkey


@pytest.fixture
def notes(made) -> list[str]:
    return made[1]


def known(vkey: str = "", **rest: object) -> Known:
    return Known(key=parse_vkey(vkey) if vkey else None, **rest)


def test_an_untouched_log_verifies_whatever_is_known_of_it(log, vkey, notes):
    """Key, head, old checkpoint and all of them together: everything is covered."""
    for given_ in ({}, {"head": notes[-1]}, {"old": notes[0]}, {"old": notes[0], "head": notes[-1]}):
        for key in ("", vkey):
            found = verify(log, known=known(key, **given_))
            assert (found.ok, found.fault, found.loose) == (True, "", 0)
            assert found.covered == found.records - 1


def test_a_history_hashed_anew_shows_at_the_next_checkpoint(log, rehash):
    """Without the key a changed record cannot be hidden by hashing everything behind it again."""
    rehash(lambda seq, body: body.replace("DENY", "ALLOW") if seq == 15 else body)
    found = verify(log)
    assert (found.ok, found.first_bad_seq) == (False, 22)
    assert found.fault == "its checkpoint is over other records than those before it"
    assert found.records == 21


def test_a_rewritten_log_signed_anew_shows_to_who_pinned_the_key(log, vkey, notes, tmp_path):
    """With a key of somebody's own the file alone looks well; the pinned key and any kept head tell."""
    forged = tmp_path / "forged.db"

    async def forge() -> None:
        chron = Chron.open(forged, low_water_bytes=0, signing=Signing(tmp_path / "own.pem"))
        await chron.append("decision", {"outcome": "ALLOW"})
        chron.close()

    asyncio.run(forge())
    assert verify(forged).ok
    found = verify(forged, known=known(vkey))
    assert (found.ok, found.fault) == (
        False,
        "no checkpoint in it is signed by the given key, nor by one that it handed over to",
    )
    found = verify(forged, known=known(head=notes[-1]))
    assert not found.ok
    assert found.fault.startswith('the head kept elsewhere is of log "claiim/chr_')


def test_a_cut_tail_shows_only_against_a_head(log, vkey, notes, harm):
    """Cut behind a checkpoint, the log verifies, key and all; against the head that was kept it does not."""
    harm("DELETE FROM chron WHERE seq > 22")
    found = verify(log, known=known(vkey))
    assert (found.ok, found.records, found.loose) == (True, 22, 0)
    found = verify(log, known=known(vkey, head=notes[-1]))
    assert (found.ok, found.first_bad_seq) == (False, 23)
    assert found.fault == "it is missing; the head kept elsewhere covers 48 records"


def test_what_is_behind_the_last_checkpoint_is_counted(log, vkey, notes, harm):
    """Records that no signature covers are told by number, and those behind a kept head as well."""
    harm("DELETE FROM chron WHERE seq > 30")
    found = verify(log, known=known(vkey))
    assert (found.ok, found.covered, found.loose) == (True, 21, 8)
    found = verify(log, known=known(vkey, head=notes[0]))
    assert (found.ok, found.covered, found.loose) == (True, 10, 18)


def test_a_checkpoint_of_another_history_shows(log, notes, rehash, harm):
    """The first records are compared with an old checkpoint by their root."""
    rehash(lambda seq, body: body.replace("DENY", "ALLOW") if seq == 5 else body)
    harm("DELETE FROM chron WHERE seq > 10")
    assert verify(log).ok
    found = verify(log, known=known(old=notes[0]))
    assert (found.ok, found.fault) == (False, "its first 10 records are not those of the old checkpoint")


def test_a_forged_head_is_no_head(log, vkey, notes):
    """A note that no key of the log has signed does not make a log good."""
    line = notes[-1].splitlines()[-1]
    forged = notes[-1].replace(line, line[:-20] + ("A" if line[-20] != "A" else "B") + line[-19:])
    found = verify(log, known=known(vkey, head=forged))
    assert not found.ok
    assert found.fault == "a checkpoint kept elsewhere does not belong to this log: its signature does not fit its text"
    with pytest.raises(ChronError, match='this is no checkpoint: no signature line; give a file that "claiim chron'):
        verify(log, known=known(head="x"))


def test_incremental_reads_only_what_is_new(log, vkey, notes, rehash):
    """Going on behind an old checkpoint finds what changed since, and says how much it did not read again."""
    found = verify(log, known=known(vkey, old=notes[1], incremental=True))
    assert (found.ok, found.skipped, found.records, found.loose) == (True, 21, 49, 0)
    rehash(lambda seq, body: body.replace("DENY", "ALLOW") if seq == 24 else body)
    found = verify(log, known=known(vkey, old=notes[1], incremental=True))
    assert (found.ok, found.first_bad_seq) == (False, 33)


def test_the_keys_of_an_incremental_verification_are_those_of_the_pinned_one(log, vkey, notes, rehash, harm, tmp_path):
    """The record that names the key is not read again: another one could be named in it, and sign what is new."""
    name, size = notes[0].split("\n")[0], int(notes[0].split("\n")[1])
    make_key(tmp_path / "own.pem")
    signer, tree = read_signer(tmp_path / "own.pem"), Frontier()

    def forge(seq: int, body: str) -> str:
        fields = json.loads(body)
        if seq > size and fields["kind"] == "decision":
            fields["outcome"] = "ALLOW"
        if seq > size and fields["kind"] == "checkpoint":
            fields |= checkpoint_fields(signer.checkpoint(Checkpoint(name, tree.size, tree.root()), 0), tree)
        new = canonical(fields)[1]
        tree.extend([leaf_hash(new)])
        return new.decode()

    rehash(forge)
    [record] = find(log, kind="key")
    introduced = {name: value for name, value in signer.introduction(name, "created").items() if value is not None}
    body = canonical({**record.fields, **introduced})[0].replace("'", "''")
    harm(f"UPDATE chron SET body = '{body}' WHERE seq = {record.seq}")
    with pytest.raises(ChronError, match="the given key is not in force there; verify the whole log"):
        verify(log, known=known(vkey, old=notes[0], incremental=True))
    assert not verify(log, known=known(vkey, old=notes[0])).ok


def test_a_head_that_the_pinned_key_did_not_sign_makes_no_log_good(log, vkey, tmp_path):
    """Whoever can write the log and the place where its head is kept still needs the key."""
    copy = Copy(log, random.Random(1))
    next(attack for attack in ATTACKS if attack.id == "own-key").do(copy)
    head = list(find(log, kind="checkpoint"))[-1].text("note")
    assert verify(log, known=known(head=head)).ok
    for given_ in ({"head": head}, {"old": head}, {"head": head, "old": head}):
        found = verify(log, known=known(vkey, **given_))
        assert not found.ok
        assert found.fault == "no checkpoint in it is signed by the given key, nor by one that it handed over to"
    (tmp_path / "head").write_text(head)
    command = [sys.executable, "-I", standalone.__file__, str(log), "--key", vkey, "--head", str(tmp_path / "head")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "not good: no checkpoint is signed by the key\n")


def test_incremental_does_not_begin_on_a_rewritten_log(log, vkey, notes, harm):
    """The old checkpoint has to be the one in the log, and signed; else nothing is believed."""
    with pytest.raises(ChronError, match='give an old checkpoint too, "--from NOTE --incremental"'):
        verify(log, known=known(vkey, incremental=True))
    harm("DELETE FROM chron WHERE seq > 15")
    found = verify(log, known=known(vkey, old=notes[1], incremental=True))
    assert (found.ok, found.fault) == (False, "its first 21 records are not those of the old checkpoint")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_that_changes_is_found(made, data, tmp_path):
    """One bit of a stored body, leaf or hash, of keys and checkpoints too, changed in the file: its record is named."""
    with closing(sqlite3.connect(made[0])) as reader:
        rows = reader.execute("SELECT CAST(body AS BLOB), leaf, hash FROM chron ORDER BY seq").fetchall()
    seq = data.draw(st.integers(1, len(rows)), label="seq")
    stored = data.draw(st.sampled_from(rows[seq - 1]), label="value")
    bit = data.draw(st.integers(0, len(stored) * 8 - 1), label="bit")
    content = bytearray(made[0].read_bytes())
    assert content.count(stored) == 1
    content[content.index(stored) + bit // 8] ^= 1 << bit % 8
    path = tmp_path / "changed.db"
    path.write_bytes(content)
    found = verify(path)
    assert (found.ok, found.first_bad_seq) == (False, seq)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_of_a_kept_head_that_changes_is_found(made, vkey, data):
    """A head that was kept elsewhere proves nothing any more when a bit of it changed."""
    note = made[1][-1].encode()
    bit = data.draw(st.integers(0, len(note) * 8 - 1))
    changed = bytearray(note)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        text = bytes(changed).decode()
        found = verify(made[0], known=known(vkey, head=text))
    except (ChronError, UnicodeDecodeError):
        return
    assert not found.ok


def test_a_checkpoint_made_with_the_key_over_other_records_shows(log, made, rehash):
    """Even the key's holder cannot sign a root that is not the log's: the tree is computed anew."""
    from chron.notes import Checkpoint

    with closing(sqlite3.connect(log)) as reader:
        name = "claiim/" + reader.execute("SELECT id FROM chron WHERE seq = 1").fetchone()[0]
    lie = read_signer(made[0].with_name("key.pem")).checkpoint(Checkpoint(name, 10, bytes(32)), 0)
    import json

    def change(seq: int, body: str) -> str:
        return (
            body if seq != 11 else json.dumps(json.loads(body) | {"note": lie}, sort_keys=True, separators=(",", ":"))
        )

    rehash(change)
    found = verify(log)
    assert (found.ok, found.first_bad_seq, found.fault) == (False, 11, "its frontier does not give its root")


_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)
_VALUES = st.one_of(st.text(max_size=80), st.integers(-(2**53) + 1, 2**53 - 1), st.booleans())


@given(st.dictionaries(_NAMES, _VALUES, max_size=12))
def test_bodies_are_canonical_to_somebody_else_too(fields):
    """What we hash is byte for byte what an independent RFC 8785 writes for the same values."""
    text, data = canonical(dict(fields))
    assert data == text.encode()
    safe = {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
        for name, value in fields.items()
    }
    assert data == rfc8785.dumps(safe)
