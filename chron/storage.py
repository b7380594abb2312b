"""What SQLite does not look at where a log is: free space, and whether the open files stand under their names still.

And what went wrong there, in one line with its remedy.
"""

import errno
import logging
import os
import time
from pathlib import Path

from chron.reserve import Reserve

LOOK_EVERY_S = 1.0
SCARCE_TIMES = 2
"""Somebody is told when so many times the low-water mark is left."""
RESERVE_PART = 4
"""One so many-th of the low-water mark is reserved: a quarter of it is 16 MiB, some thousands of outcomes."""

_log = logging.getLogger(__name__)

_NOT_WRITABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ELOOP}
)


def explained(path: Path, error: BaseException) -> str:
    """A file or SQLite error as one line with its remedy."""
    name = getattr(error, "sqlite_errorname", "")
    detail = f"{name}: {error}" if name else str(getattr(error, "strerror", None) or error)
    if name.startswith("SQLITE_FULL"):
        return f'cannot record in "{path}": disk full ({detail}); free some space, the gate recovers by itself'
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) or (
        isinstance(error, OSError) and error.errno in _NOT_WRITABLE
    ):
        return f'cannot record in "{path}": {detail}; make the file and its folder writable for the gate'
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f'cannot record in "{path}": locked by another program ({detail}); close it'
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f'chron "{path}" does not verify: {detail}; run "claiim chron verify {path}"'
    if name.startswith("SQLITE_IOERR") or isinstance(error, OSError):
        return f'cannot record in "{path}": disk error ({detail}); check the disk, its quota and its limits'
    return f'cannot record in "{path}": {detail or type(error).__name__}; see the log of the gate'


class Storage:
    """Watches what SQLite does not: free space, and that the open files still stand under their names.

    Looks at the disk at most once a second; may be asked from any thread.
    """

    def __init__(self, path: Path, lock_path: Path, low_water_bytes: int) -> None:
        self._low_water_bytes = low_water_bytes
        self._reserve = Reserve(path, low_water_bytes // RESERVE_PART)
        self._used = False
        """The reserve was given back, and there is no room yet to take it again."""
        self._path = path
        self._wal_path = path.with_name(path.name + "-wal")
        self._identities = {path: _identity(path), lock_path: _identity(lock_path)}
        self._low = self._moved = self._scarce = ""
        self._looked_s = 0.0
        self.adopt()

    def adopt(self) -> None:
        """Take the present write-ahead log for ours; call after opening the file."""
        self._identities[self._wal_path] = _identity(self._wal_path)
        self._look(fresh=True)

    def release(self) -> None:
        """The connection is closed, and SQLite may have removed the write-ahead log with it."""
        self._identities.pop(self._wal_path, None)

    def give_back(self) -> bool:
        """Let the reserve go, because the disk is full; whether there was any."""
        self._used = self._reserve.give_back()
        return self._used

    def close(self) -> None:
        """Leave nothing beside the log."""
        self._reserve.give_back()

    def scarce(self) -> str:
        """Why somebody should look at the disk, though everything is recorded; "" when nobody needs to."""
        self._look()
        return self._scarce

    def low(self) -> str:
        """Why nothing new should be recorded; "" when there is room above the low-water mark."""
        self._look()
        return self._low

    def moved(self, *, fresh: bool = False) -> str:
        """Which file was moved or removed under us: what is written to it would be found by nobody."""
        self._look(fresh=fresh)
        return self._moved

    def _look(self, *, fresh: bool = False) -> None:
        now_s = time.monotonic()
        if fresh or now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._low, self._moved = self._space(), self._absent()

    def _space(self) -> str:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError as error:
            return f'cannot see the disk of "{self._path}": {error.strerror}; mount it again'
        free_bytes = disk.f_bavail * disk.f_frsize
        mark_bytes = self._low_water_bytes
        said = f'{free_bytes >> 20} MiB free for "{self._path}", low-water mark is {mark_bytes >> 20} MiB'
        self._alert(f"disk is filling: {said}" if mark_bytes <= free_bytes < SCARCE_TIMES * mark_bytes else "")
        if self._used and free_bytes < mark_bytes + self._reserve.size_bytes:
            return f"disk was full: {said}, and what was reserved is used; free some space"
        if free_bytes < mark_bytes:
            return f"disk almost full: {said}; free some space"
        self._used = False
        if free_bytes >= mark_bytes + self._reserve.size_bytes:
            self._reserve.take()
        return ""

    def _alert(self, scarce: str) -> None:
        if scarce and not self._scarce:
            _log.warning("%s; free some space before the gate refuses requests", scarce)
        self._scarce = scarce

    def _absent(self) -> str:
        for path, identity in self._identities.items():
            if _identity(path) != identity:
                return f'"{path}" was moved or removed while open; put it back or restart the gate'
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
