"""A gate in little, for a child that is made to fail: the real Chron, and a request is forwarded as soon as it may be.

What left the gate stands in the file `told`, written without a buffer: it survives the child's death, and it is the
target's word against the log's.

    forwarded 7 chr_01k... 9f86d0...      a decision was acknowledged as record 7, and its request has left
    refused                               the producer got ChronError, and nothing left
    unopened | closed                     the Chron could not be opened; it was closed without complaint
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import chron.ledger
from chron import Chron, ChronError
from chron.checkpoints import Cadence, Signing
from chron.writer import Writer

PATH = "chron.db"
KEY = "key.pem"
TOLD = "told"
PRODUCERS = 6


def opened(path: Path) -> Chron:
    """The log of a small gate, which signs itself after every few records."""
    signing = Signing(path.with_name(KEY), cadence=Cadence(every_records=5))
    return Chron.open(path, low_water_bytes=0, signing=signing)


class SmallGate:
    """Records and forwards; says what it did."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PATH
        self._told = os.open(folder / TOLD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(self, line: str) -> None:
        """Write one line, at once."""
        os.write(self._told, f"{line}\n".encode())

    async def serve(self, work: "Callable[[SmallGate], Awaitable[None]]") -> None:
        """Open the Chron, do the work, close it."""
        try:
            self.chron = opened(self._path)
        except ChronError:
            self.tell("unopened")
            return
        await work(self)
        with suppress(ChronError):
            self.chron.close()
            self.tell("closed")

    async def request(self, name: str, operations: int = 1) -> None:
        """One request with so many operations: recorded, forwarded, and what became of it noted."""
        fields = {"channel": "wire", "agent": "deploy-bot", "action": "deploy:staging", "outcome": "ALLOW"}
        records = [("decision", {**fields, "target": f"{name}/{number}"}) for number in range(operations)]
        try:
            receipts = await self.chron.append_many(records)
        except ChronError:
            self.tell("refused")
            return
        for receipt in receipts:
            self.tell(f"forwarded {receipt.seq} {receipt.id} {receipt.hash.hex()}")
        with suppress(ChronError):
            for receipt in receipts:
                self.chron.note("outcome", {"channel": "wire", "ref": receipt.id, "result": "sent", "status": 200})

    def keep(self, name: str) -> None:
        """Load a rule text."""
        with suppress(ChronError):
            self.chron.keep([("skill", name, 1, f"digest-{name}", f"skill: {name}\nallow:\n- deploy:staging\n" * 20)])


async def single(gate: SmallGate) -> None:
    """One request after the other."""
    for number in range(6):
        await gate.request(f"single-{number}")


async def batch(gate: SmallGate) -> None:
    """Texts, and several agents at once, some with several operations in a request."""

    async def produce(name: str) -> None:
        for number in range(3):
            await gate.request(f"{name}-{number}", 1 + number)

    gate.keep("before")
    await asyncio.gather(*(produce(f"batch-{number}") for number in range(PRODUCERS)))
    gate.keep("after")
    await gate.request("last")


async def long(gate: SmallGate) -> None:
    """So much that the write-ahead log is moved into the file again and again, which `run` makes happen early."""
    for number in range(12):
        await asyncio.gather(*(gate.request(f"long-{number}-{beside}") for beside in range(3)))


WORKLOADS = {work.__name__: work for work in (single, batch, long)}


def run(
    folder: str, workload: str, *, call: str = "", opening: int = 0, writing: int = 0, normal: bool = False
) -> None:
    """Be the small gate in a folder.

    `call` with `opening` and `writing`: how many calls of that kind the opening thread and the writer's make before
    their work, so that the tracer's counter stands where it is to strike. `normal` is the planted bug of the control.
    """
    logging.disable()
    if workload == "long":
        pragmas = [pragma for pragma in chron.ledger.PRAGMAS if "autocheckpoint" not in pragma]
        chron.ledger.PRAGMAS = (*pragmas, "PRAGMA wal_autocheckpoint = 8")
    if normal:
        chron.ledger.PRAGMAS = tuple(each.replace("= FULL", "= NORMAL") for each in chron.ledger.PRAGMAS)
    run_writer = Writer._run

    def run_late(writer: Writer) -> None:
        count(call, writing)
        run_writer(writer)

    Writer._run = run_late  # type: ignore[method-assign]
    gate = SmallGate(Path(folder))
    count(call, opening)
    asyncio.run(gate.serve(WORKLOADS[workload]))


_NO_FILE = 1_000_000
_CALLS: dict[str, Callable[[], Any]] = {
    "pwrite64": lambda: os.pwrite(_NO_FILE, b"", 0),
    "pread64": lambda: os.pread(_NO_FILE, 0, 0),
    "fdatasync": lambda: os.fdatasync(_NO_FILE),
    "fsync": lambda: os.fsync(_NO_FILE),
    "ftruncate": lambda: os.ftruncate(_NO_FILE, 0),
    "unlink": lambda: Path("/nowhere").unlink(),
}
"""Calls that do nothing; the kernel sees them all the same, and so does the tracer."""


def count(call: str, times: int) -> None:
    """Make a call that does nothing so often, in this thread."""
    for _ in range(times):
        with suppress(OSError):
            _CALLS[call]()
