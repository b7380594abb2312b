"""Space beside the log: claimed at the start, given back when the disk is full, so that what was begun is finished."""

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from chron.reserve import Reserve

SIZE = 1 << 20


def test_the_space_is_claimed_and_given_back(path):
    """Its blocks are really taken, and gone when it is given back; twice changes nothing."""
    reserve, file = Reserve(path, SIZE), path.with_name("chron.db.reserve")
    reserve.take()
    reserve.take()
    assert (file.stat().st_size, file.stat().st_blocks * 512 >= SIZE) == (SIZE, True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (reserve.give_back(), reserve.give_back()) == (True, False)
    assert not file.exists()


@pytest.mark.parametrize("size", [0, 1 << 60])
def test_a_log_does_without_what_cannot_be_had(path, size, caplog):
    """No space, no reserve: the log opens all the same, and says so once when it wanted one."""
    reserve = Reserve(path, size)
    reserve.take()
    reserve.take()
    assert (reserve.held, reserve.give_back(), list(path.parent.iterdir())) == (False, False, [])
    assert len(caplog.records) == (1 if size else 0)


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    """Nobody makes the gate claim space in another file."""
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    path.with_name("chron.db.reserve").symlink_to(victim)
    Reserve(path, SIZE).take()
    assert victim.read_text() == "as it was"


async def test_nothing_is_left_beside_a_closed_log(open_chron, path):
    """While it is open the reserve is there; after the close it is not."""
    chron = open_chron(low_water_bytes=4 * SIZE)
    assert path.with_name("chron.db.reserve").stat().st_size == SIZE
    chron.close()
    assert not path.with_name("chron.db.reserve").exists()


async def test_somebody_is_told_before_requests_are_refused(open_chron, monkeypatch, caplog):
    """At twice the low-water mark there is a warning, logged once, and everything is still recorded."""
    monkeypatch.setattr("chron.storage.LOOK_EVERY_S", 0)
    chron = open_chron(low_water_bytes=1)
    assert chron.warning() is None
    free = os.statvfs(chron.path.parent)
    monkeypatch.setattr(chron._writer._storage, "_low_water_bytes", free.f_bavail * free.f_frsize * 2 // 3)
    with caplog.at_level(logging.WARNING, "chron.storage"):
        assert "disk is filling: " in (chron.warning() or "")
        await chron.append("decision", {})
    assert chron.faults() is None
    assert len([each for each in caplog.records if "disk is filling" in each.message]) == 1


SCRIPT = """
    import asyncio, json, os, sys
    from pathlib import Path
    from chron import Chron, ChronError, verify
    import chron.storage
    chron.storage.LOOK_EVERY_S = 0
    folder = Path(sys.argv[1])
    async def tried(future):
        try:
            return (await future).id
        except ChronError as error:
            return str(error)
    async def main():
        log = Chron.open(folder / "chron.db", low_water_bytes=8 << 20)
        decided = [await log.append("decision", {"channel": "wire", "target": "x" * 3000}) for _ in range(20)]
        with open(folder / "other", "wb") as other:
            try:
                while True:
                    other.write(bytes(4096))
                    other.flush()
            except OSError:
                pass
        os.truncate(folder / "other", (folder / "other").stat().st_size // 4096 * 4096)
        refused = await tried(log.append("decision", {"channel": "wire"}))
        outcomes = [
            await tried(log.append("outcome", {"ref": each.id, "result": "sent", "error": "y" * 3000}))
            for each in decided
        ]
        again = await tried(log.append("decision", {"channel": "wire"}))
        held = (folder / "chron.db.reserve").exists()
        (folder / "other").unlink()
        after = await tried(log.append("decision", {"channel": "api"}))
        back = (folder / "chron.db.reserve").exists()
        log.close()
        found = verify(folder / "chron.db")
        print(json.dumps([refused, outcomes, again, held, after, back, found.ok, found.records]))
    asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_on_a_disk_that_is_full_what_was_begun_is_finished(tmp_path: Path):
    """Not a byte is free: decisions are refused, every outcome is written, and with space all is as before."""
    place = tmp_path / "small"
    place.mkdir()
    mount = f'mount -t tmpfs -o size=24m tmpfs "{place}" || exit 77; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", textwrap.dedent(SCRIPT), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a file system cannot be mounted here")
    assert done.returncode == 0, done.stderr
    refused, outcomes, again, held, after, back, ok, records = json.loads(done.stdout)
    assert refused.startswith("disk almost full: 0 MiB free")
    assert [each for each in outcomes if not each.startswith("chr_")] == []
    assert again.startswith("disk was full: ")
    assert (held, after.startswith("chr_"), back, ok) == (False, True, True, True)
    assert records >= 42
