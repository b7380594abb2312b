"""A copy of a log while it is being written: whole as of one moment, verified, and for its owner alone.

    backup(Path("state/chron.db"), Path("/mnt/backup/chron-2026-11-28.db"))

Reading all pages in one step is one transaction: the writer is not held up, and the copy is not begun again with each
record that is written meanwhile, as it would be in several steps (https://www.sqlite.org/backup.html).
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from chron.errors import ChronError
from chron.reading import connect_file
from chron.segments import sync_folder
from chron.sources import Source
from chron.storage import explained
from chron.verification import Verification, verify


def backup(path: Source, target: Path) -> Verification:
    """Write a copy of a log and verify it; blocks. Raises ChronError; then there is no file of that name."""
    making = target.with_name(target.name + ".making")
    try:
        with closing(connect_file(path, "pg_dump copies it")) as log:
            _copy(log, making)
        found = verify(making)
        if not found.ok:
            raise ChronError(f'the copy of "{path}" does not verify: {found.fault}; run "claiim chron verify {path}"')
        os.link(making, target)  # unlike a rename, never over a file that is there
        sync_folder(target.parent)
    except FileExistsError:
        raise ChronError(f'"{target}" is there already; give another name') from None
    except (OSError, sqlite3.Error) as error:
        raise ChronError(explained(target, error)) from error
    finally:
        making.unlink(missing_ok=True)
    return found


def _copy(log: sqlite3.Connection, making: Path) -> None:
    making.unlink(missing_ok=True)
    os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(making, isolation_level=None)) as copy:
        log.backup(copy, pages=-1)
        # One file: a reader of it needs no other beside it, and the next gate that opens it changes that back.
        copy.execute("PRAGMA journal_mode = DELETE").close()
    descriptor = os.open(making, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
