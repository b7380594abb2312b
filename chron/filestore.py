"""A log in a file of its own, for whoever writes it: its folder, its lock, its ledger and its disk."""

from pathlib import Path

from chron.errors import ChronError
from chron.ledger import Ledger
from chron.lock import WriterLock, lock_path
from chron.storage import Storage, explained


class FileStore:
    """The place of one file."""

    def __init__(self, path: Path) -> None:
        self.source = path.resolve()

    def take(self) -> WriterLock:
        """Take the lock beside the file, making the folder; raises ChronError."""
        try:
            self.source.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ChronError(explained(self.source, error)) from error
        return WriterLock.take(self.source)

    def open(self, origin: str) -> Ledger:
        """Open or create the file; raises ChronError when it cannot be appended to safely."""
        return Ledger.open(self.source, origin)

    def watch(self, low_water_bytes: int) -> Storage:
        """Watch the file, its lock and the disk; the lock must be taken."""
        return Storage(self.source, lock_path(self.source), low_water_bytes)

    def explained(self, error: BaseException) -> str:
        """A file or SQLite error as one line with its remedy."""
        return explained(self.source, error)
