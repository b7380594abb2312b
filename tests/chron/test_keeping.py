"""Sealing and letting go by several processes that hold one log: never at the same time, and nothing is left half."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import chron.keeping
import chron.living
import chron.segments
from chron import Chron, ChronError, find, verify
from chron.keeping import keeping_path
from chron.living import erase, seal
from chron.remote import RemoteChron
from chron.segments import default_folder, sealed
from proxy.housekeeping import Housekeeping
from proxy.retention import RetentionConfig
from support.daemon import Daemon, joined


@pytest.fixture
def gate(daemon: Daemon) -> Iterator[RemoteChron]:
    """A gate that shares the log of the daemon."""
    with joined(daemon) as remote:
        yield remote


def record(log: Chron, *agents: str) -> list[int]:
    """The places of decisions about these agents, each with what came of it."""
    places = []
    for agent in agents:
        decided = log.write("decision", {"channel": "wire", "agent": agent, "outcome": "DENY"})
        log.write("outcome", {"ref": decided.id, "result": "blocked"})
        places.append(decided.seq)
    return places


def look(daemon: Daemon) -> None:
    """The writer's own look at its log, now."""
    config = RetentionConfig(default_folder(daemon.path))
    Housekeeping(daemon.chron, config, now=lambda: datetime.now(UTC), later=lambda *_: None).look()


def text_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_record_that_is_erased_while_it_is_sealed_is_in_no_segment(daemon, gate, monkeypatch):
    """A gate erases when the writer has filled a segment and not yet named it: it waits, and then finds the segment."""
    seq, _ = record(gate, "bot-erased-", "bot-kept-")
    asked, fill, take = threading.Event(), chron.segments._fill, chron.keeping._taken
    erasing = threading.Thread(target=lambda: erase(gate, [default_folder(daemon.path)], [(seq, seq)], {"basis": "b"}))

    def filled(*args: object) -> None:
        fill(*args)
        monkeypatch.setattr("chron.keeping._taken", lambda path: (asked.set(), take(path))[1])
        erasing.start()
        assert asked.wait(60), "nobody asked for the lock"
        assert not list(find(daemon.path, kind="erasure"))

    with monkeypatch.context() as sealing:
        sealing.setattr("chron.segments._fill", filled)
        file = seal(daemon.chron, default_folder(daemon.path))
    erasing.join()
    assert len(list(find(daemon.path, kind="erasure"))) == 1
    text = text_of(daemon.path.parent)
    assert (b"bot-erased-" in text, b"bot-kept-" in text) == (False, True)
    for log in (daemon.path, file):
        found = verify(log)
        assert (found.ok, found.fault, found.emptied) == (True, "", 1)


def test_two_processes_seal_one_after_the_other(daemon, gate):
    """A gate and the writer that seal at once have no record in two segments."""
    record(gate, "bot")
    folder = default_folder(daemon.path)

    async def both() -> list[Path | None]:
        return await asyncio.gather(*(asyncio.to_thread(seal, log, folder) for log in (daemon.chron, gate) * 2))

    assert [file is None for file in asyncio.run(both())].count(False) == 1
    assert len(sealed(daemon.path)) == 1


def test_what_a_gate_began_and_did_not_finish_the_writer_finishes(daemon, gate, monkeypatch):
    """A gate dies between the record of an erasure and the erasure: the writer, which goes on, does it at its next
    look, in the log and in the segment, once."""
    seq, _ = record(gate, "bot-erased-", "bot-kept-")
    seal(daemon.chron, default_folder(daemon.path))
    monkeypatch.setattr(gate, "_finish", lambda *_: 0)  # a crash, as far as the log can tell
    gate.empty("erasure", [(seq, seq)], {"basis": "b"})
    assert b"bot-erased-" in text_of(daemon.path.parent)
    for _ in range(2):
        look(daemon)
        text = text_of(daemon.path.parent)
        assert (b"bot-erased-" in text, b"bot-kept-" in text) == (False, True)
    assert [each.fields["records"] for each in find(daemon.path, kind="emptied")] == [1]
    found = verify(daemon.path)
    assert (found.ok, found.emptied) == (True, 1)


def test_a_segment_is_verified_once_as_long_as_it_is_the_same(open_chron, path, monkeypatch):
    """Sealing reads the new segment back, and one that changed since; not all that there ever were."""
    from chron import Signing

    log = open_chron(signing=Signing(path.with_name("key.pem")))
    read: list[str] = []
    monkeypatch.setattr("chron.living.verify", lambda file: (read.append(file.name), verify(file))[1])
    files = []
    for number in range(3):
        record(log, f"bot-{number}")
        files.append(seal(log, default_folder(path)))
    assert read == [file.name for file in files]
    read.clear()
    files[0].chmod(0o600)
    files[0].write_bytes(files[0].read_bytes().replace(b"bot-0", b"bot-X"))
    with pytest.raises(ChronError, match="does not verify: its body was changed"):
        seal(log, default_folder(path))
    assert read == [files[0].name]


def test_a_lock_that_cannot_be_had_is_told(open_chron, path):
    """In one line, with the file; and nothing is sealed without it."""
    log = open_chron()
    keeping_path(path).symlink_to("elsewhere")
    with pytest.raises(ChronError, match=r'cannot lock ".*chron\.db\.keeping"'):
        seal(log, default_folder(path))
    keeping_path(path).unlink()
    with log.keeping, log.keeping:  # the thread that has it may take it again
        pass
