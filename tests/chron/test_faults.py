"""Disks that fill, files that vanish, writes that fail: everybody is told, nothing acknowledged is lost."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from chron import Chron, ChronError, verify
from chron.ledger import Ledger
from support.children import child


async def failures(*futures):
    """What each future failed with."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(result, ChronError) for result in results), results
    return [str(result) for result in results]


async def until_it_fails(chron, fields):
    """Appends until it is refused: the receipts, and the reason."""
    receipts = []
    while True:
        try:
            receipts.append(await chron.append("decision", fields))
        except ChronError as error:
            return receipts, str(error)


async def test_a_full_disk_fails_everybody_and_is_recovered_from(open_chron, path, rows, monkeypatch):
    """SQLITE_FULL: all who wait are refused with the remedy; once there is space the log goes on, verified, whole."""
    monkeypatch.setattr("chron.ledger.PRAGMAS", ("PRAGMA synchronous = FULL", "PRAGMA max_page_count = 60"))
    chron = open_chron()
    acknowledged, reason = await until_it_fails(chron, {"path": "x" * 2000})
    assert len(acknowledged) > 5
    assert "disk full (SQLITE_FULL: database or disk is full); free some space, the gate recovers by itself" in reason
    reasons = await failures(*(chron.append("decision", {"path": "x" * 9000}) for _ in range(5)))
    assert all("disk full" in reason for reason in reasons)
    assert "disk full" in chron.faults()
    monkeypatch.undo()
    receipt = await chron.append("decision", {"path": "x" * 2000})
    assert chron.faults() is None
    chron.close()
    stored = {id_ for (id_,) in rows("SELECT id FROM chron")}
    assert {r.id for r in [*acknowledged, receipt]} <= stored
    [(fault,)] = rows("SELECT body->>'$.fault' FROM chron WHERE body->>'$.event' = 'reopen' ORDER BY seq DESC LIMIT 1")
    assert "disk full" in fault
    assert verify(path).ok


async def test_a_file_size_limit_is_an_error_not_a_loss(path):
    """A write that the system cuts short (RLIMIT_FSIZE) loses no acknowledged record and refuses the rest."""
    script = """
        import asyncio, signal, sys
        from pathlib import Path
        from chron import Chron, ChronError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        async def main():
            chron = Chron.open(Path(sys.argv[1]), low_water_bytes=0)
            try:
                while True:
                    print((await chron.append("decision", {"path": "x" * 3000})).id)
            except ChronError as error:
                print(error, file=sys.stderr)
        asyncio.run(main())
    """
    limit = 512 * 1024
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "disk error (SQLITE_IOERR" in done.stderr or "disk full (SQLITE_FULL" in done.stderr
    acknowledged = done.stdout.split()
    assert len(acknowledged) > 5
    Chron.open(path, low_water_bytes=0).close()
    with closing(sqlite3.connect(path)) as connection:
        stored = {id_ for (id_,) in connection.execute("SELECT id FROM chron")}
    assert set(acknowledged) <= stored
    assert verify(path).ok


class LyingConnection:
    """A connection whose transaction works and then says it failed, as a failed fsync may."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *args):
        cursor = self._connection.execute(statement, *args)
        if statement.startswith("INSERT") and not self._connection.in_transaction:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return cursor


async def test_a_record_that_surfaces_after_an_error_is_blocked(open_chron, path, rows):
    """A decision whose producer was told "failed" but that is in the file gets the outcome "blocked", and a note."""
    chron = open_chron()
    first = await chron.append("decision", {"channel": "wire", "target": "first"})
    ledger = chron._writer._ledger
    ledger.connection = LyingConnection(ledger.connection)
    reasons = await failures(
        chron.append("decision", {"channel": "wire", "target": "second"}),
        chron.append("decision", {"channel": "api", "target": "third"}),
    )
    assert all("disk error (SQLITE_IOERR_FSYNC: disk I/O error); check the disk" in reason for reason in reasons)
    after = await chron.append("outcome", {"ref": first.id, "result": "sent", "status": 200})
    chron.close()
    assert verify(path).ok
    told = rows(
        "SELECT seq, kind, body->>'$.target', body->>'$.result', body->>'$.event' FROM chron WHERE seq > 2 ORDER BY seq"
    )
    assert told == [
        (3, "decision", "second", None, None),
        (4, "decision", "third", None, None),
        (5, "lifecycle", None, None, "reopen"),
        (6, "outcome", None, "blocked", None),
        (after.seq, "outcome", None, "sent", None),
        (8, "lifecycle", None, None, "close"),
    ]
    [(ref, reason)] = rows("SELECT ref, body->>'$.error' FROM chron WHERE body->>'$.result' = 'blocked'")
    assert rows("SELECT body->>'$.target' FROM chron WHERE id = ?", ref) == [("second",)]
    assert reason == "its record was not acknowledged, so nothing was forwarded"
    assert rows("SELECT body->>'$.unacknowledged' FROM chron WHERE seq = 5") == [(2,)]


async def test_a_bug_in_the_writer_refuses_and_does_not_hang(open_chron, monkeypatch, path, caplog):
    """An exception nobody thought of is told to all who wait, logged with its trace, and the writer lives on."""
    chron = open_chron()
    monkeypatch.setattr("chron.batch.leaf_hash", lambda data: 1 // 0)
    reasons = await failures(*(chron.append("decision", {}) for _ in range(3)))
    assert set(reasons) == {f'cannot record in "{path}": integer division or modulo by zero; see the log of the gate'}
    assert caplog.records[0].exc_info
    monkeypatch.undo()
    assert (await chron.append("decision", {})).seq == 3
    assert verify(path).ok


async def test_a_broken_connection_is_never_used_again(open_chron, monkeypatch):
    """After an error the file is opened and verified anew before the next record."""
    chron = open_chron()
    broken = chron._writer._ledger
    monkeypatch.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
    await failures(chron.append("decision", {}))
    monkeypatch.undo()
    await chron.append("decision", {})
    assert chron._writer._ledger is not broken
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        broken.connection.execute("SELECT 1")


async def test_a_changed_log_is_not_continued_after_an_error(open_chron, monkeypatch, harm, path):
    """When the tail no longer verifies at reopening, nothing more is recorded, and the fault says why."""
    chron = open_chron()
    await chron.append("decision", {"target": "a"})
    monkeypatch.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
    await failures(chron.append("decision", {}))
    monkeypatch.undo()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("DROP TRIGGER chron_only_empty")
        shell.execute("UPDATE chron SET body = replace(body, 'target\":\"a', 'target\":\"b') WHERE seq = 2")
    for _ in range(2):
        [reason] = await failures(chron.append("decision", {}))
        assert "does not verify at record 2: its body was changed" in reason
    assert "does not verify at record 2" in chron.faults()
    with pytest.raises(ChronError, match="does not verify at record 2"):
        chron.close()


async def test_a_cut_log_is_not_continued_after_an_error(open_chron, monkeypatch, path):
    """An acknowledged record that is gone at reopening ends the recording: the file was swapped or cut."""
    chron = open_chron()
    await chron.append("decision", {"target": "a"})
    monkeypatch.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
    await failures(chron.append("decision", {}))
    monkeypatch.undo()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("DROP TRIGGER chron_no_delete")
        shell.execute("DELETE FROM chron WHERE seq = 2")
    [reason] = await failures(chron.append("decision", {}))
    assert "lost record 2, which was on disk; keep the file and restart" in reason
    with pytest.raises(ChronError, match="lost record 2"):
        chron.close()


async def test_another_program_holding_the_file_is_waited_for_and_named(open_chron, path, monkeypatch):
    """A shell with an open write transaction makes appends fail with the remedy, and they work again after it."""
    monkeypatch.setattr("chron.ledger.PRAGMAS", ("PRAGMA busy_timeout = 10", "PRAGMA synchronous = FULL"))
    chron = open_chron()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        [reason] = await failures(chron.append("decision", {}))
        assert "locked by another program (SQLITE_BUSY: database is locked); close it" in reason
        shell.execute("ROLLBACK")
    assert (await chron.append("decision", {})).seq == 3


@pytest.mark.parametrize("victim", ["chron.db", "chron.db-wal", "chron.db.lock"])
async def test_a_file_removed_under_us_is_noticed(open_chron, path, victim, monkeypatch):
    """Records are not written into a file that has lost its name, where nobody would find them."""
    monkeypatch.setattr("chron.storage.LOOK_EVERY_S", 0)
    chron = open_chron()
    kept = await chron.append("decision", {"target": "kept"})
    moved = path.with_name("moved")
    path.with_name(victim).rename(moved)
    [reason] = await failures(chron.append("decision", {}))
    assert reason == f'"{path.with_name(victim)}" was moved or removed while open; put it back or restart the gate'
    if victim == "chron.db-wal":  # its content went into the file when the connection was closed
        assert (await chron.append("decision", {})).seq == kept.seq + 2
        return
    assert "was moved or removed" in chron.faults()
    moved.rename(path.with_name(victim))
    assert (await chron.append("decision", {})).seq == kept.seq + 2
    assert chron.faults() is None


async def test_an_almost_full_disk_stops_decisions_first(open_chron, rows, monkeypatch):
    """Below the low-water mark no decision is begun, while outcomes of earlier ones are still written."""
    monkeypatch.setattr("chron.storage.LOOK_EVERY_S", 0)
    chron = open_chron(low_water_bytes=1)
    decided = await chron.append("decision", {"channel": "wire"})
    monkeypatch.setattr(chron._writer._storage, "_low_water_bytes", 1 << 60)
    with pytest.raises(
        ChronError, match=r"disk almost full: \d+ MiB free .*, low-water mark is \d+ MiB; free some space"
    ):
        await chron.append("decision", {"channel": "wire"})
    assert chron.faults().startswith("disk almost full")
    await chron.append("outcome", {"ref": decided.id, "result": "sent"})
    monkeypatch.setattr(chron._writer._storage, "_low_water_bytes", 1)
    assert chron.faults() is None
    assert (await chron.append("decision", {})).seq == 4


async def test_free_space_is_looked_at_once_a_second(open_chron, monkeypatch):
    """The look at the disk is not paid for by every record."""
    chron = open_chron()
    await chron.append("decision", {})
    looks = []
    statvfs = os.statvfs
    monkeypatch.setattr("chron.storage.os.statvfs", lambda path: looks.append(path) or statvfs(path))
    monkeypatch.setattr("chron.storage.time.monotonic", lambda: chron._writer._storage._looked_s + 0.9)
    for _ in range(50):
        await chron.append("decision", {})
    assert looks == []
    monkeypatch.setattr("chron.storage.time.monotonic", lambda: chron._writer._storage._looked_s + 1.1)
    await chron.append("decision", {})
    assert looks


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_read_only_file_is_one_line(filled, what):
    """A Chron that may not be written is refused at the start, with the remedy, and stays readable."""
    script = """
        import os, sys
        from chron import Chron, ChronError, verify, tail
        os.setgid(65534); os.setuid(65534)
        try:
            Chron.open(sys.argv[1], low_water_bytes=0)
        except ChronError as error:
            print(error)
        print(verify(sys.argv[1]).records, len(tail(sys.argv[1], 5)))
    """
    for name in (filled, *filled.parents):
        if name.is_relative_to("/tmp") and name != Path("/tmp"):
            name.chmod(0o755)
    if what == "file":
        filled.parent.chmod(0o777)
        filled.with_name("chron.db.lock").chmod(0o666)
        filled.chmod(0o444)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(filled)], capture_output=True, text=True, check=True
    )
    reason, read = done.stdout.splitlines()
    expected = {
        "file": f'cannot record in "{filled}": SQLITE_READONLY: attempt to write a readonly database; make the file',
        "folder": f'cannot open lock file "{filled}.lock": Permission denied; make its folder writable for the gate',
    }
    assert reason.startswith(expected[what])
    assert read == "23 5"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    """A path below a file is refused with a remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ChronError, match="make the file and its folder writable for the gate"):
        Chron.open(tmp_path / "file" / "chron.db")


async def test_an_idle_gate_recovers_by_itself(open_chron, monkeypatch):
    """A gate taken out of service because of a fault gets no requests; it finds out by itself that the disk is back."""
    monkeypatch.setattr("chron.writer.REOPEN_EVERY_S", 0.01)
    chron = open_chron()
    reopened = asyncio.Event()
    loop = asyncio.get_running_loop()
    reopen = chron._writer._reopen
    monkeypatch.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
    await failures(chron.append("decision", {}))
    assert chron.faults()
    monkeypatch.undo()

    def tell_reopened():
        ledger = reopen()
        loop.call_soon_threadsafe(reopened.set)
        return ledger

    monkeypatch.setattr("chron.writer.REOPEN_EVERY_S", 0.01)
    monkeypatch.setattr(chron._writer, "_reopen", tell_reopened)
    await asyncio.wait_for(reopened.wait(), 30)
    assert chron.faults() is None


def test_a_killed_gate_loses_no_acknowledged_record(path):
    """kill -9 in the middle of appending: what was acknowledged is there, and the log verifies and goes on."""
    script = """
        import asyncio, sys
        from chron import Chron
        async def produce(chron):
            while True:
                receipt = await chron.append("decision", {"channel": "wire", "path": "x" * 500})
                sys.stdout.write(receipt.id + "\\n"); sys.stdout.flush()
        async def main():
            chron = Chron.open(sys.argv[1], low_water_bytes=0)
            await asyncio.gather(*(produce(chron) for _ in range(8)))
        asyncio.run(main())
    """
    acknowledged = []
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
        with child(*command, stdout=subprocess.PIPE) as gate:
            acknowledged += [gate.stdout.readline().strip() for _ in range(100)]
            gate.kill()
            acknowledged += [line.strip() for line in gate.stdout if line.endswith("\n")]
    chron = Chron.open(path, low_water_bytes=0)
    chron.close()
    assert verify(path).ok
    with closing(sqlite3.connect(path)) as connection:
        stored = dict(connection.execute("SELECT id, seq FROM chron"))
        opened = connection.execute(
            "SELECT body->>'$.clean', body->>'$.in_doubt' FROM chron WHERE body->>'$.event' = 'open' ORDER BY seq"
        ).fetchall()
        unresolved = connection.execute(
            "SELECT count(*) FROM chron d WHERE kind = 'decision' AND NOT EXISTS "
            "(SELECT 1 FROM chron o WHERE o.ref = d.id AND o.body->>'$.result' = 'in_doubt')"
        ).fetchone()
    assert set(acknowledged) <= set(stored)
    assert [clean for clean, _ in opened] == [1, 0, 0, 0]
    assert sum(in_doubt for _, in_doubt in opened) >= 300
    assert unresolved == (0,)
