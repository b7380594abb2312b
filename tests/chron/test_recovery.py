"""What a crash leaves: in doubt, written down once, found without reading the whole log."""

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from chron import Chron, ChronError
from chron.batch import tell
from chron.ledger import Ledger
from chron.recovery import Unresolved, left_behind


def crash(path, script):
    """Run the script against the Chron in another process that dies without closing it."""
    program = """
        import asyncio, os, sys
        from chron import Chron
        async def main():
            chron = Chron.open(sys.argv[1], low_water_bytes=0)
            {}
            os._exit(9)
        asyncio.run(main())
    """
    text = textwrap.dedent(program).format(textwrap.indent(textwrap.dedent(script), "    " * 1).strip())
    done = subprocess.run([sys.executable, "-c", text, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr


OPENED = "SELECT body->>'$.clean', body->>'$.in_doubt' FROM chron WHERE body->>'$.event' = 'open' ORDER BY seq"


def test_a_decision_without_outcome_is_in_doubt_at_the_next_start(path, open_chron, rows):
    """Only wire decisions without an outcome are in doubt; each is written down once."""
    crash(
        path,
        """
        done = await chron.append("decision", dict(channel="wire", target="done"))
        await chron.append("outcome", dict(ref=done.id, result="sent"))
        await chron.append("decision", dict(channel="wire", target="open"))
        await chron.append("decision", dict(channel="api", target="asked"))
        """,
    )
    open_chron().close()
    open_chron().close()
    doubts = rows(
        "SELECT d.body->>'$.target', o.body->>'$.error' FROM chron o JOIN chron d ON d.id = o.ref "
        "WHERE o.body->>'$.result' = 'in_doubt'"
    )
    assert doubts == [("open", "the gate stopped before the outcome was known")]
    assert rows(OPENED) == [(1, 0), (0, 1), (1, 0)]


def test_a_start_that_crashes_too_leaves_nothing_twice(path, open_chron, rows):
    """The open record and the doubts are one transaction: after a second crash they are neither lost nor repeated."""
    crash(path, 'await chron.append("decision", dict(channel="wire", target="one"))')
    crash(path, 'await chron.append("decision", dict(channel="wire", target="two"))')
    open_chron()
    doubts = rows(
        "SELECT d.body->>'$.target' FROM chron o JOIN chron d ON d.id = o.ref "
        "WHERE o.body->>'$.result' = 'in_doubt' ORDER BY o.seq"
    )
    assert doubts == [("one",), ("two",)]
    assert rows(OPENED) == [(1, 0), (0, 1), (0, 1)]


async def test_a_clean_stop_that_left_something_open_is_looked_at_again(open_chron, rows):
    """A close with decisions still open says how many, and the next start puts them in doubt."""
    chron = open_chron()
    await chron.append("decision", {"channel": "wire", "target": "first"})
    second = await chron.append("decision", {"channel": "wire", "target": "second"})
    await chron.append("outcome", {"ref": second.id, "result": "failed"})
    chron.close()
    assert rows("SELECT body->>'$.unresolved', body->>'$.resolved_to' FROM chron WHERE body->>'$.event' = 'close'") == [
        (1, 1)
    ]
    open_chron()
    doubts = rows(
        "SELECT d.body->>'$.target' FROM chron o JOIN chron d ON d.id = o.ref WHERE o.body->>'$.result' = 'in_doubt'"
    )
    assert doubts == [("first",)]
    assert rows(OPENED) == [(1, 0), (1, 1)]


async def test_recovery_reads_only_behind_the_last_mark(open_chron, monkeypatch, rows):
    """Marks bound what a start has to read, also when the gate ran for years without a restart."""
    monkeypatch.setattr("chron.writer.MARK_EVERY_RECORDS", 10)
    chron = open_chron()
    for n in range(35):
        decided = await chron.append("decision", {"channel": "wire", "target": str(n)})
        if n != 30:
            await chron.append("outcome", {"ref": decided.id, "result": "sent"})
    marks = rows("SELECT seq, body->>'$.resolved_to' FROM chron WHERE body->>'$.event' = 'mark' ORDER BY seq")
    assert len(marks) >= 5
    assert all(resolved_to >= seq - 3 for seq, resolved_to in marks[:-1])
    connection = chron._writer._ledger.connection
    statements = []
    connection.set_trace_callback(statements.append)
    [in_doubt] = left_behind(connection, chron._writer._ledger.seq).in_doubt
    assert rows("SELECT body->>'$.target' FROM chron WHERE id = ?", in_doubt) == [("30",)]
    bound = next(text for text in statements if "NOT EXISTS" in text)
    assert f"d.seq > {marks[-1][1]} " in bound.replace("\n", " ")


def test_looking_for_doubts_uses_the_indexes(filled, rows):
    """The question for the last mark and for outcomes is answered from indexes, not by reading the log."""
    from chron.recovery import _LAST_BOUND, _WITHOUT_OUTCOME

    plan = " | ".join(str(row[-1]) for row in rows(f"EXPLAIN QUERY PLAN {_LAST_BOUND}"))
    assert "USING INDEX chron_lifecycle" in plan
    plan = " | ".join(str(row[-1]) for row in rows(f"EXPLAIN QUERY PLAN {_WITHOUT_OUTCOME}", 0))
    assert "SEARCH d USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "USING INDEX chron_ref (ref=?)" in plan


def test_open_decisions_are_tracked_within_bounds(monkeypatch):
    """A caller that never writes outcomes costs no memory without end; the bound then stays where counting stopped."""
    monkeypatch.setattr("chron.recovery._MOST_TRACKED", 3)
    unresolved = Unresolved()
    assert unresolved.resolved_to(9) == 9
    for seq in range(10, 20):
        unresolved.note(seq, f"chr_{seq}", "decision", {"channel": "wire"})
    assert len(unresolved) == 3
    for seq in range(10, 20):
        unresolved.note(seq + 10, "", "outcome", {"ref": f"chr_{seq}"})
    assert unresolved.resolved_to(29) == 9


def test_a_second_gate_is_told_who_holds_the_log(open_chron, path):
    """The second opener gets one line with the holder's process id, in this process and in another one."""
    open_chron()
    expected = f'chron "{path}" is open in another process (pid {os.getpid()}); stop that gate first'
    with pytest.raises(ChronError) as caught:
        Chron.open(path)
    assert str(caught.value).startswith(expected)
    link = path.with_name("link.db")
    link.symlink_to(path)
    script = "import sys; from chron import Chron; Chron.open(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, str(link)], capture_output=True, text=True, check=False)
    assert expected in done.stderr.splitlines()[-1]


def test_a_lock_left_behind_blocks_nobody(path, open_chron):
    """The lock dies with its process; its file may stay."""
    crash(path, "pass")
    assert path.with_name("chron.db.lock").exists()
    open_chron().close()
    open_chron().close()


def test_a_crash_while_creating_is_continued(path, open_chron, rows):
    """An empty file, left by a crash between creating and filling it, becomes the Chron."""
    path.touch()
    open_chron()
    assert rows("SELECT count(*) FROM chron") == [(1,)]


def test_a_failed_start_gives_the_lock_back(filled, harm, open_chron):
    """A Chron that could not be opened can be opened once it is mended."""
    harm("UPDATE chron SET hash = zeroblob(32) WHERE seq = 23")
    with pytest.raises(ChronError, match="does not verify at record 23"):
        open_chron()
    harm("DELETE FROM chron WHERE seq = 23")
    open_chron()


def test_a_start_that_cannot_write_leaves_the_doubts_to_the_next(path, open_chron, rows, monkeypatch):
    """When the record of the opening fails, the close that follows does not claim that nothing is left in doubt."""
    crash(path, 'await chron.append("decision", dict(channel="wire", target="one"))')
    commit, failed = Ledger.commit, []

    def fail_once(ledger, new_rows, texts=()):
        if not failed:
            failed.append(ledger)
            raise sqlite3.OperationalError("disk I/O error")
        commit(ledger, new_rows, texts)

    monkeypatch.setattr(Ledger, "commit", fail_once)
    with pytest.raises(ChronError, match="disk I/O error"):
        open_chron()
    open_chron()
    assert failed
    doubts = rows(
        "SELECT d.body->>'$.target' FROM chron o JOIN chron d ON d.id = o.ref WHERE o.body->>'$.result' = 'in_doubt'"
    )
    assert doubts == [("one",)]


def test_a_lock_file_that_cannot_be_written_is_one_line(path, open_chron, monkeypatch):
    """A full disk at the first write of all is a refusal with its remedy, and holds no lock."""

    def full(descriptor, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as failing:
        failing.setattr("chron.lock.os.ftruncate", full)
        with pytest.raises(ChronError) as caught:
            open_chron()
    assert str(caught.value) == f'cannot write lock file "{path}.lock": No space left on device; check the disk'
    open_chron()


def test_a_long_reader_does_not_stop_a_clean_restart(path, open_chron):
    """A reader with an old transaction keeps nothing from starting after a clean stop, but does after a crash."""
    open_chron().close()
    reader = sqlite3.connect(path, isolation_level=None)
    with closing(reader):
        chron = open_chron()
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM chron").fetchone()
        asyncio.run(append_one(chron))
        chron.close()
        open_chron().close()
        crash(path, "pass")
        with pytest.raises(
            ChronError, match="stopped in the middle and is being read by a long transaction; close that"
        ):
            open_chron()
    open_chron()


async def append_one(chron):
    await chron.append("decision", {})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_writer_thread_is_said(open_chron, monkeypatch):
    """Should the thread end, what waits is refused, the fault names it, and nothing waits for ever."""
    chron = open_chron()

    def die():
        raise SystemExit

    monkeypatch.setattr(chron._writer, "_gather", die)
    await chron.append("decision", {})
    chron._writer._thread.join(30)
    assert chron.faults() == "the Chron's writer thread died; restart the gate"
    with pytest.raises(ChronError, match="the Chron's writer thread died; restart the gate"):
        chron.append("decision", {})
    chron.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_dies_with_a_batch_in_hand_says_so(open_chron, monkeypatch, rows):
    """A producer whose record is on disk but who could not be told is refused, and does not wait for ever."""
    chron = open_chron()
    told = []

    def die_once(results):
        if not told:
            told.append(list(results))
            raise MemoryError
        tell(results)

    monkeypatch.setattr("chron.writer.tell", die_once)
    with pytest.raises(ChronError, match="the Chron's writer thread died; restart the gate"):
        await chron.append("decision", {"channel": "wire", "target": "one"})
    monkeypatch.undo()
    chron.close()
    open_chron()
    doubts = rows(
        "SELECT d.body->>'$.target' FROM chron o JOIN chron d ON d.id = o.ref WHERE o.body->>'$.result' = 'in_doubt'"
    )
    assert doubts == [("one",)]
