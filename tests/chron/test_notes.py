"""Records that nobody waits for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chron import Chron, ChronError, find, verify


async def test_notes_go_to_disk_with_the_next_record(tmp_path: Path) -> None:
    """What was noted before a durable record stands before it, and is on disk when it is."""
    chron = Chron.open(tmp_path / "chron.db")
    try:
        for number in range(3):
            chron.note("outcome", {"ref": f"chr_{number}", "result": "sent"})
        receipt = await chron.append("lifecycle", {"event": "after"})
        noted = list(find(chron.path, kind="outcome"))
        assert [record.fields["ref"] for record in noted] == ["chr_0", "chr_1", "chr_2"]
        assert all(record.seq < receipt.seq for record in noted)
    finally:
        chron.close()


async def test_closing_writes_what_was_noted(tmp_path: Path) -> None:
    """A clean stop loses no note, and a closed Chron takes none."""
    chron = Chron.open(tmp_path / "chron.db")
    chron.note("outcome", {"ref": "chr_0", "result": "sent"})
    chron.close()
    assert len(list(find(chron.path, kind="outcome"))) == 1
    assert verify(chron.path).ok
    with pytest.raises(ChronError, match="closed"):
        chron.note("outcome", {"ref": "chr_1", "result": "sent"})


def test_a_note_lost_in_a_crash_leaves_its_decision_in_doubt(tmp_path: Path) -> None:
    """After kill -9 the decision is on disk and the next start says that its outcome is not known."""
    path = tmp_path / "chron.db"
    program = (
        "import asyncio, os, signal, sys\n"
        "from chron import Chron\n"
        "async def main():\n"
        "    chron = Chron.open(sys.argv[1])\n"
        "    done = await chron.append('decision', {'channel': 'wire', 'outcome': 'ALLOW'})\n"
        "    chron.note('outcome', {'ref': done.id, 'result': 'sent'})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, env={**os.environ})
    assert child.returncode == -signal.SIGKILL
    Chron.open(path).close()
    assert [record.fields["result"] for record in find(path, kind="outcome")] == ["in_doubt"]
