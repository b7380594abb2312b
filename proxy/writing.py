"""The one process that writes a Chron which several gates share: it has the lock, the key and the anchors.

    async with WriterService(config) as service: ...

Gates with `chron_writer` in their configuration hand in what they record there (`chron.remote`), and read the file.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import override

from ulid import ULID

from chron import Chron
from chron.serving import WriterServer
from proxy.anchoring import Anchoring
from proxy.config import Config, ConfigError
from proxy.housekeeping import Housekeeping
from proxy.lifetimes import Lifetime
from proxy.statefolder import make_state
from proxy.timers import Later, loop_later


class WriterService(Lifetime):
    """A running writer."""

    def __init__(self, config: Config, *, now: Callable[[], datetime], later: Later = loop_later) -> None:
        self._config, self._now, self._later = config, now, later

    @override
    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        place = self._config.chron_writer
        if place is None:
            raise ConfigError.plain(
                'no "chron_writer" is configured: name the socket that gates hand their records in at'
            )
        config = self._config
        make_state(config.state)
        anchoring = Anchoring(config.checkpoints, now=self._now, later=self._later)
        stack.push_async_callback(anchoring.stop)
        signing, session = await anchoring.signing(), str(ULID()).lower()
        self.chron = Chron.open(config.chron, session=session, signing=signing, spool=config.chron_spool)
        stack.callback(self.chron.close)
        anchoring.start(self.chron.newest_checkpoint)
        housekeeping = Housekeeping(self.chron, config.retention, now=self._now, later=self._later)
        stack.push_async_callback(housekeeping.stop)
        housekeeping.start()

        def beside() -> dict[str, str]:
            told = {"anchors": anchoring.fault(), "segments": housekeeping.fault}
            return {name: fault for name, fault in told.items() if fault}

        server = WriterServer(place, self.chron.path, self.chron.writing, beside=beside)
        stack.push_async_callback(server.stop)
        await server.start()
