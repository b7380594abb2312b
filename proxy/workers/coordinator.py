"""The coordinator: a gate without listeners, which workers serve in its name."""

import contextlib
from pathlib import Path
from typing import override

from chron import Chron
from chron.serving import WriterServer
from proxy.api import Failing
from proxy.assembling import drain
from proxy.config import Address, Config
from proxy.engines import Front
from proxy.pipeline import Gate
from proxy.serve import Service
from proxy.statefolder import write_roots
from proxy.workers.fleet import Fleet
from proxy.workers.listening import Listening

_AFTER_DRAINING_S = 15
"""How much longer than they may drain workers may take to end."""
WRITER = "writer.sock"
FLEET = "workers.sock"


class Coordinator(Service):
    """A running coordinator. Use as `async with Coordinator(config, ...) as service`."""

    def __init__(self, config: Config, folder: Path, listening: Listening) -> None:
        super().__init__(config)
        self._folder, self._listening = folder, listening

    @override
    async def _open_chron(self, stack: contextlib.AsyncExitStack) -> Chron:
        opened = await super()._open_chron(stack)
        self._writer = WriterServer(self._folder / WRITER, opened.path, opened.writing, admit=self._admit)
        stack.push_async_callback(self._writer.stop)
        return opened

    async def _admit(self, session: str) -> None:
        await self._fleet.admit(session)

    @override
    def _front_of(self, gate: Gate) -> Front:
        write_roots(self._config)
        self._fleet = Fleet(self._folder / FLEET, gate, self._writer, self._listening.workers)
        return self._fleet

    @override
    async def _open_api(self) -> Address:
        return await self.api.start(*self._listening.api)

    @override
    async def _open_listeners(self) -> None:
        self.proxy_address, self.listener_addresses = self._listening.proxy_address, self._listening.addresses
        self._guard_own_ports()
        await self._writer.start()
        await self._fleet.listen()

    def deserted(self) -> None:
        """No worker is left, and none comes any more."""
        self._fleet.deserted.set()

    @override
    async def _stop_engine(self) -> None:
        self._stopping = True
        await drain(self.gate, self._fleet, self._config.proxy.drain_timeout_s + _AFTER_DRAINING_S)

    @override
    async def _metrics(self) -> bytes:
        return await self._fleet.metrics()

    @override
    def faults(self) -> list[Failing]:
        """What keeps the gate from working as it should, workers that are not there included."""
        found = super().faults()
        if missing := self._fleet.missing():
            every = self._listening.workers
            away = f"{missing} of {every} workers are not there"
            found.append(Failing("workers", away, only_warns=missing < every))
        return found
