"""Segments on another disk: moved so that they stay there, found without being told where, and never left behind."""

import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chron import Chron, ChronError, Signing, find, verify
from chron.living import archive, erase, move, prune, seal
from chron.segments import default_folder, sealed
from proxy.housekeeping import Housekeeping
from proxy.retention import RetentionConfig

ALL = datetime(2999, 1, 1, tzinfo=UTC)
SEGMENTS = 2


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def log(open_chron, path: Path) -> Iterator[Chron]:
    """A log with two segments."""
    chron = open_chron(signing=Signing(path.with_name("key.pem")))
    for number in range(SEGMENTS):
        for letter in "ab":
            decided = chron.write("decision", {"channel": "wire", "agent": f"bot-{letter}{number}-", "outcome": "DENY"})
            chron.write("outcome", {"ref": decided.id, "result": "blocked"})
        seal(chron, default_folder(path))
    return chron


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def whole(log: Chron, number: int = SEGMENTS) -> None:
    found = verify(log.path)
    assert (found.ok, found.fault, found.missing, found.segments) == (True, "", (), number)


def test_segments_are_moved_and_found(log, disk):
    """They are on the other disk alone, for nobody to write; log and segments verify without a word of where they are,
    and with one when the disk is somewhere else."""
    files, folder = [each.file for each in sealed(log.path)], default_folder(log.path)
    moved = archive(log, [folder], ALL, disk)
    assert [each.file for each in moved] == files
    assert (names(folder), names(disk)) == ([], sorted(files))
    assert {stat.S_IMODE(file.stat().st_mode) for file in disk.iterdir()} == {0o400}
    assert [(each.state, each.folder) for each in sealed(log.path)] == [("archived", str(disk))] * SEGMENTS
    whole(log)
    elsewhere = disk.rename(disk.with_name("elsewhere"))
    assert verify(log.path).missing == tuple(files)
    found = verify(log.path, segments=[elsewhere])
    assert (found.ok, found.missing, found.segments) == (True, (), SEGMENTS)


def test_what_was_archived_before_is_moved_once(log, disk):
    """Whether its bodies went before makes no difference; what is there already is not moved, and not said, again."""
    folder = default_folder(log.path)
    archive(log, [folder], ALL)
    assert len(archive(log, [folder], ALL, disk)) == SEGMENTS
    assert (names(folder), len(names(disk))) == ([], SEGMENTS)
    records = len(list(find(log.path, kind="archive")))
    assert archive(log, [folder], ALL, disk) == []
    assert len(list(find(log.path, kind="archive"))) == records == 2 * SEGMENTS
    whole(log)


def test_erasing_and_pruning_reach_the_other_disk(log, disk):
    """A body that is erased is in no file there, and a segment that is pruned is gone from there."""
    folder = default_folder(log.path)
    seq = next(find(log.path, agent="bot-a0-")).seq
    archive(log, [folder], ALL, disk)
    assert erase(log, [folder], [(seq, seq)], {"basis": "b"}) == 1
    text = b"".join(file.read_bytes() for file in disk.iterdir())
    assert (b"bot-a0-" in text, b"bot-b0-" in text) == (False, True)
    whole(log)
    prune(log, [folder], ALL, {"basis": "b"})
    assert names(disk) == []
    whole(log, 0)


@pytest.mark.parametrize("place", ["copy_segment", "_whole", "_remove"])
def test_a_move_that_is_cut_short_is_finished(log, disk, monkeypatch, place):
    """Before the copy, before it was verified, before the first file went: nothing is missing meanwhile, what is erased
    meanwhile is erased in both, and the next look finishes it."""
    folder, seq = default_folder(log.path), next(find(log.path, agent="bot-a0-")).seq

    def dies(*arguments: object) -> None:
        if place != "_whole" or disk in arguments:
            raise ChronError("planted")
        original(*arguments)

    with monkeypatch.context() as planted:
        import chron.living

        original = getattr(chron.living, place)
        planted.setattr(chron.living, place, dies)
        with pytest.raises(ChronError, match="planted"):
            archive(log, [folder], ALL, disk)
    whole(log)
    erase(log, [folder], [(seq, seq)], {"basis": "b"})
    text = b"".join(file.read_bytes() for some in (folder, disk) for file in some.iterdir())
    assert (b"bot-a0-" in text, b"bot-b0-" in text) == (False, True)
    config = RetentionConfig(folder)
    Housekeeping(log, config, now=lambda: datetime.now(UTC), later=lambda *_: None).look()
    assert (names(folder), names(disk)) == ([], sorted(each.file for each in sealed(log.path)))
    whole(log)


def test_an_old_copy_over_there_does_not_bring_back_what_was_erased(log, disk):
    """Somebody copied a segment by hand, and then a record in it was erased: what is moved is the segment of now."""
    folder, seq = default_folder(log.path), next(find(log.path, agent="bot-a0-")).seq
    for file in folder.iterdir():
        shutil.copy(file, disk)
    erase(log, [folder], [(seq, seq)], {"basis": "b"})
    archive(log, [folder], ALL, disk)
    assert b"bot-a0-" not in b"".join(file.read_bytes() for file in disk.iterdir())
    assert names(folder) == []
    whole(log)


def test_a_disk_that_is_not_there_gets_nothing(log, disk):
    """No folder is made where a disk should be mounted, and nothing is recorded of what was not done."""
    disk.rmdir()
    with pytest.raises(ChronError, match=r'there is no folder ".*disk" for segments; mount or make it'):
        archive(log, [default_folder(log.path)], ALL, disk)
    assert not disk.exists()
    assert list(find(log.path, kind="archive")) == []


def test_the_folder_itself_is_no_other_disk(log, disk):
    """Moving into the folder where they are, by another name, removes nothing."""
    folder = default_folder(log.path)
    by_another_name = disk / "link"
    by_another_name.symlink_to(folder)
    archive(log, [folder], ALL, by_another_name)
    assert len(names(folder)) == SEGMENTS
    move(log, [by_another_name])
    whole(log)
