"""Copies of a log that is being written: whole, verified, and refused where they would hide what came after."""

import asyncio
import stat

import pytest

from chron import Chron, ChronError, Head, Signing, find, tail, verify
from chron.backup import backup


def _open(path, key, *heads):
    return Chron.open(
        path, low_water_bytes=0, signing=Signing(key, heads=[Head("file anchor", each) for each in heads])
    )


async def _decide(chron, number):
    await chron.append_many([("decision", {"channel": "api", "agent": f"a{n}"}) for n in range(number)])


async def test_a_copy_is_whole_while_the_log_is_written(path, tmp_path):
    """Taken in the middle of appends, it verifies alone, is of one moment, and is its owner's alone."""
    chron, target = _open(path, tmp_path / "key.pem"), tmp_path / "copy" / "chron.db"
    target.parent.mkdir()
    await _decide(chron, 500)
    writing = asyncio.gather(*(chron.append("decision", {"channel": "api"}) for _ in range(500)))
    found = await asyncio.to_thread(backup, path, target)
    await writing
    chron.close()
    assert (found.ok, found.records >= 502) == (True, True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in target.parent.iterdir()] == ["chron.db"]
    assert verify(target) == found
    assert [each.hash for each in tail(target, 1, kind="")] == [
        each.hash for each in find(path) if each.seq == found.records
    ]


async def test_a_copy_never_takes_the_place_of_a_file(open_chron, path, tmp_path):
    """What is there stays as it is, and nothing is left beside it."""
    open_chron().close()
    target = tmp_path / "there.db"
    target.write_text("something else")
    with pytest.raises(ChronError, match="is there already; give another name"):
        backup(path, target)
    assert target.read_text() == "something else"
    assert not list(tmp_path.glob("*.making"))


async def test_a_log_that_was_changed_is_not_copied(filled, harm, tmp_path):
    """A bad copy is worse than none: who relies on it looks again too late."""
    harm("UPDATE chron SET body = replace(body, 'api-3', 'api-9')")
    with pytest.raises(ChronError, match="does not verify: its body was changed"):
        backup(filled, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))


def test_a_folder_that_is_not_there_is_one_line(filled, tmp_path):
    """The message names the file and what to do."""
    with pytest.raises(ChronError, match="make the file and its folder writable"):
        backup(filled, tmp_path / "none" / "copy.db")


async def test_the_newest_copy_goes_on_and_an_older_one_is_refused(path, tmp_path):
    """Restored, a copy is continued if no anchor has seen more; else it is refused, and nothing is written to it."""
    key, old, new = tmp_path / "key.pem", tmp_path / "old.db", tmp_path / "new.db"
    chron = _open(path, key)
    await _decide(chron, 20)
    chron.checkpoint()
    backup(path, old)
    await _decide(chron, 20)
    seen = chron.checkpoint()
    backup(path, new)
    chron.close()
    with pytest.raises(ChronError, match=r"ends at record 23, but anchor file anchor has seen \d+; restore the newest"):
        _open(old, key, seen)
    restored = _open(new, key, seen)
    await _decide(restored, 1)
    restored.close()
    found = verify(new)
    assert (found.ok, found.records > 44) == (True, True)
