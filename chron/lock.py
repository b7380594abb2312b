"""One writer per Chron, held by a lock file beside it (`chron.db.lock`).

SQLite alone would let several processes append in turn; measured, they starve each other for seconds, and
two gates would each believe they own the tail. The lock is flock(2): the kernel drops it when the process
dies, so a lock file left behind never blocks anybody. Its text is the holder's process id, for the message
only.

    chron "state/chron.db" is open in another process (pid 4711); stop that gate first, or give this one its
    own Chron
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from chron.errors import ChronError


class WriterLock:
    """The right to append to one Chron; released by `release` or by the death of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, chron_path: Path) -> Self:
        """Take the lock at once or raise ChronError naming the holder."""
        path = lock_path(chron_path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ChronError(
                f'cannot open lock file "{path}": {error.strerror}; make its folder writable for the gate'
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ChronError(
                f'chron "{chron_path}" is open in another process (pid {holder or "unknown"}); '
                "stop that gate first, or give this one its own Chron"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise ChronError(f'cannot write lock file "{path}": {error.strerror}; check the disk') from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock up; the file stays, because removing it would let two writers in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_path(chron_path: Path) -> Path:
    """Where the lock of a log stands."""
    return chron_path.with_name(chron_path.name + ".lock")
