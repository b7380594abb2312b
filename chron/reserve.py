"""Space that is held beside a log (`chron.db.reserve`) and given back when the disk is full.

What was begun can then still be finished: outcomes, the record of the fault, the close. It is a file of nothing, made
by fallocate(2), which claims the blocks at once; file systems that copy on write or compress may not keep that promise.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)


class Reserve:
    """So many bytes of the disk, or nothing when they could not be had."""

    def __init__(self, chron_path: Path, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.held = self._told = False
        self._path = chron_path.with_name(chron_path.name + ".reserve")

    def take(self) -> None:
        """Claim the space; where it cannot be had, the log does without."""
        if self.held or not self.size_bytes:
            return
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._told:
                _log.warning('no space is reserved beside the log in "%s": %s', self._path, error.strerror)
            self._told = True
            self._remove()
        else:
            self.held, self._told = True, False

    def give_back(self) -> bool:
        """Let the space go; whether there was any."""
        held, self.held = self.held, False
        if held:
            self._remove()
        return held

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
