"""The coordinator's side of its workers' links, with a process at the other end that can be ended."""

import asyncio
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.workers import frames
from proxy.workers.fleet import Fleet

WORKER = """
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendall(bytes.fromhex(sys.argv[2]))
link.recv(1)
"""


async def test_a_worker_that_cannot_be_told_what_is_in_force_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would decide by what it had before, or wait for rules that never come; the log says why."""

    async def part(session: str) -> None:
        parted.set_result(session)

    parted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    book = SimpleNamespace(policies=SimpleNamespace(agents=()), crosses_over=lambda: False)
    gate: Any = SimpleNamespace(book=book, exceptions=())
    fleet = Fleet(tmp_path / "workers.sock", gate, SimpleNamespace(part=part), 1)  # type: ignore[arg-type]
    fleet._sweeper.sweep = lambda: None  # type: ignore[method-assign]
    await fleet.listen()
    hello = frames.packed({"hello": frames.PROTOCOL, "session": "one"})
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(fleet._place), hello.hex())
    assert await asyncio.wait_for(worker.wait(), 60) == -signal.SIGKILL
    assert await asyncio.wait_for(parted, 60) == "one"
    assert fleet.missing() == 1
    assert "could not be told what is in force" in caplog.text
    fleet.deserted.set()
    await fleet.stop(1)
