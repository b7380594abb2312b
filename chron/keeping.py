"""Who may seal, archive or let records go: one at a time, in all processes that hold one log.

Two that sealed at once would seal a span twice, and a segment that was being written while a record was erased would
keep its body. The lock is flock(2) on a file beside the log, so it ends with the process that has it.

    with chron.keeping: ...             waits for whoever has it; may be taken again by the thread that has it
"""

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

from chron.errors import ChronError
from chron.sources import Source, file_of, on_server

type Identity = tuple[str, int, int, int]
"""Path, inode, size and time of the last change."""


class Keeping:
    """The right to it, for one open log."""

    def __init__(self, source: Source) -> None:
        # The gates of a log on a server are on several hosts: each does its own segments.
        self._path = None if on_server(source) else keeping_path(file_of(source, ""))
        self._thread = threading.RLock()
        self._taken = 0
        self._descriptor = -1
        self.verified: set[Identity] = set()
        """Segments that this process has verified, each as it then was."""

    def __enter__(self) -> None:
        self._thread.acquire()
        try:
            if self._taken == 0 and self._path is not None:
                self._descriptor = _taken(self._path)
            self._taken += 1
        except BaseException:
            self._thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken -= 1
        if self._taken == 0 and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._thread.release()


def keeping_path(path: Path) -> Path:
    """Where the lock of a log stands that is held by whoever keeps it."""
    return path.with_name(path.name + ".keeping")


def identity(file: Path) -> Identity:
    """What changes when a file is written anew or replaced."""
    status = file.stat()
    return str(file), status.st_ino, status.st_size, status.st_mtime_ns


def _taken(path: Path) -> int:
    """The descriptor that has the lock, once nobody else does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise ChronError(f'cannot lock "{path}": {error.strerror}; make its folder writable for the gate') from error
    return descriptor
