"""A writer of a shared Chron in a thread of its own, and gates that join it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from chron import Chron, ChronError, Record, Signing, find
from chron.remote import RemoteChron
from chron.serving import WriterServer
from chron.sources import Source
from support.until import until


class Daemon:
    """A writer in a thread of its own; the log and the socket stay when it is stopped or cut off."""

    def __init__(self, folder: Path, *, path: Source = "", grace_s: float = 0.0) -> None:
        self.path, self.place, self.grace_s = path or folder / "chron.db", folder / "chron.sock", grace_s
        self.beside: dict[str, str] = {}
        """What is wrong beside the writer."""

    def __enter__(self) -> Self:
        up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(up)), name="daemon")
        self._thread.start()
        up.wait()
        return self

    async def _run(self, up: threading.Event) -> None:
        self.loop, self.ending = asyncio.get_running_loop(), asyncio.Event()
        signing = Signing(self.place.with_name("key.pem"))
        with Chron.open(self.path, low_water_bytes=0, signing=signing) as self.chron:
            beside = lambda: self.beside  # noqa: E731
            self.server = WriterServer(self.place, self.path, self.chron.writing, beside=beside, grace_s=self.grace_s)
            await self.server.start()
            up.set()
            await self.ending.wait()
            await self.server.stop()

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.ending.set)
        self._thread.join()

    def cut(self) -> None:
        """Break every connection without a word, as a lost process does."""

        def breaks() -> None:
            for peer in list(self.server._peers):
                peer._writer.transport.abort()

        self.loop.call_soon_threadsafe(breaks)


@contextlib.contextmanager
def joined(daemon: Daemon, session: str = "s1") -> Iterator[RemoteChron]:
    chron = RemoteChron.join(daemon.place, daemon.path, session=session)
    try:
        yield chron
    finally:
        chron.close()


def wire(number: int = 0) -> dict[str, object]:
    return {"channel": "wire", "agent": "bot", "outcome": "ALLOW", "n": number}


def awaited(path: Source, kind: str) -> list[Record]:
    """The records of a kind, once there are some."""
    return until(lambda: list(find(path, kind=kind)))


def until_connected_again(chron: RemoteChron, daemon: Daemon) -> None:
    """Until the writer answers on a connection that was made after the break."""

    def written() -> bool:
        with contextlib.suppress(ChronError):
            chron.write("access", {"event": "hello"})
            return True
        return False

    until(written)
