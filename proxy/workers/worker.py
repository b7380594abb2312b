"""A worker: the engines and a gate that judges what hangs on the rules alone; all else is asked of the coordinator."""

import asyncio
import contextlib
import logging
import time
from functools import partial
from pathlib import Path
from typing import override

from ulid import ULID

from chron.remote import RemoteChron
from proxy.assembling import destinations_of, drain, engines_of, listener_of, origin_of, pdp_of, utc_now
from proxy.breakglass import ExceptionDesk
from proxy.ca import own_authority
from proxy.config import Config, ConfigError
from proxy.holding import Holding
from proxy.lifetimes import Lifetime
from proxy.metrics import Metrics
from proxy.pipeline import Gate
from proxy.verdicts import Book
from proxy.workers.coordinator import FLEET, WRITER
from proxy.workers.link import CoordinatorLink
from proxy.workers.listening import Listening, Share

_log = logging.getLogger(__name__)


class Worker(Lifetime):
    """A running worker. Use as `async with Worker(config, ...)`."""

    def __init__(self, config: Config, folder: Path, listening: Listening, share: Share) -> None:
        self._config, self._folder, self._listening, self._share = config, folder, listening, share
        self._column = listening.tally.column(listening.shares.index(share))
        self.session = str(ULID()).lower()
        self._link = CoordinatorLink(folder / FLEET, self.session)

    @override
    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        config, link = self._config, self._link
        stack.push_async_callback(link.stop)
        book = await link.start()
        join = partial(
            RemoteChron.join, self._folder / WRITER, config.chron, session=self.session, remedy="it is started anew"
        )
        chron = await asyncio.to_thread(join)
        stack.push_async_callback(asyncio.to_thread, chron.close)
        self._listener = listener_of(config, utc_now)
        self.gate = link.gate = self._gate_of(link.book or book, chron, stack)
        self._engines = engines_of(
            config,
            self.gate,
            own_authority(config, utc_now()),
            config.state / "upstream-roots.pem",
            self._listener,
            self._share.engine,
            now=utc_now,
            clock=time.monotonic,
        )
        link.changed = self._take_over
        self._take_over(rules=False)
        self._column.adopt(link.rows, ())
        stack.push_async_callback(self._drain)
        for bound in self._share.main:
            await self._engines.start(bound)
        for listener, bound in self._share.others:
            await self._engines.open(listener, bound)
        self._engines.sweep()

    def _take_over(self, rules: bool) -> None:
        """Decide by what is in force now, and by nothing older."""
        link, gate = self._link, self.gate
        gate.exceptions.adopt(link.exceptions)
        if not rules or link.book is None:
            return
        gate.book = link.book
        self._column.adopt(link.rows, gate.quotas.uses())
        try:
            self._listener = listener_of(self._config, utc_now)
        except ConfigError as error:
            # The coordinator has just read it; new connections meet the older one until somebody reloads again.
            _log.error("the listener's certificate could not be read anew: %s", error)
        self._engines.reload(self._listener)

    async def _drain(self) -> None:
        await drain(self.gate, self._engines, self._config.proxy.drain_timeout_s)

    def _gate_of(self, book: Book, chron: RemoteChron, stack: contextlib.AsyncExitStack) -> Gate:
        config, metrics = self._config, Metrics()
        gate = Gate(
            book,
            chron,
            destinations_of(config),
            origin=origin_of(config, self.session),
            now=utc_now,
            metrics=metrics,
            # Nothing waits here and nobody asks for an exception here: the coordinator has both.
            holding=Holding(chron, metrics, config.approvals, session=self.session, now=utc_now),
            exceptions=ExceptionDesk(chron, session=self.session, now=utc_now),
            pdp=pdp_of(config, self.session, stack),
            limits=config.limits.divided(self._listening.workers),
            elsewhere=self._link,
            others=self._column,
        )
        listening = self._listening
        opened = [listening.api_address, listening.proxy_address, *listening.addresses.values()]
        gate.destinations.guard_own_ports(frozenset(address.port for address in opened))
        return gate
