"""Sealing and archiving by the running gate: soon after its start, and then once an hour, it looks whether something is
due, aside from all requests.

What fails is logged, told by `/readyz` as `segments`, and tried again an hour later; requests do not wait for it, and
are not refused for it: the log is whole without segments.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import chron
from chron import Chron, ChronError
from chron.living import archive, move, remove_pruned, seal, written_from
from chron.segments import erase_copies, sealed
from chron.sources import Source, on_server
from proxy.retention import RetentionConfig
from proxy.timers import Handle, Later

FIRST_S = 120.0
"""After the start: a gate that never runs for an hour has to look too."""
EVERY_S = 3600.0

_log = logging.getLogger(__name__)


class Housekeeping:
    """Looks after one log."""

    def __init__(self, log: Chron, config: RetentionConfig, *, now: Callable[[], datetime], later: Later) -> None:
        self._chron, self._config, self._now, self._later = log, config, now, later
        self._timer: Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.fault = ""
        """Why the last look did not come to its end; "" when it did."""

    def start(self) -> None:
        """Look now and then."""
        self._timer = self._later(FIRST_S, self._begin)

    async def stop(self) -> None:
        """Look no more; what is under way comes to its end, for half of it helps nobody."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(self.look)
            self.fault = ""
        except Exception as error:  # noqa: BLE001 -- the next look must come, whatever this one met
            self.fault = str(error) if isinstance(error, ChronError) else f"{type(error).__name__}: {error}"
            _log.exception("segments: %s", self.fault)
        if not self._stopping:
            self._timer = self._later(EVERY_S, self._begin)

    def look(self) -> None:
        """Do what is due; blocks. Raises ChronError."""
        folder = self._config.folder
        with self._chron.keeping:
            self._chron.finish()  # what another gate of this log began and did not live to do
            if self._due():
                seal(self._chron, folder)
            if (after := self._config.archive_after) is not None:
                archive(self._chron, [folder], self._now() - after, self._config.archive_folder)
            move(self._chron, [folder])
            remove_pruned(self._chron.path, [folder])
            erase_copies(self._chron.path, [folder])

    def _due(self) -> bool:
        path, most_bytes = self._chron.path, self._config.seal_bytes
        done = sealed(path)
        first = done[-1].last + 1 if done else 1
        written = written_from(path, first)
        if not written:
            return False
        if self._now() - datetime.fromisoformat(written) >= self._config.seal_every:
            return True
        return _bytes(path) >= most_bytes and _share(path, first) >= most_bytes


def _bytes(path: Source) -> int:
    # A log on a server has no size of its own: it is sealed by time alone.
    return 0 if on_server(path) else Path(path).stat().st_size


def _share(path: Source, first_seq: int) -> float:
    """About how many bytes of the file the records from this one on are."""
    newest = chron.tail(path, 1, kind="")
    last = newest[-1].seq if newest else first_seq
    return _bytes(path) * (last - first_seq + 1) / last
