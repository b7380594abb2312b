"""The fast engine: its listening sockets, its contexts, and the connections to targets that all its agents share."""

import asyncio
import errno
from collections.abc import Callable
from typing import cast

from proxy.config import Address, ListenerConfig
from proxy.fast import tls
from proxy.fast.connection import AgentConnection
from proxy.fast.streams import Listened, Tcp
from proxy.fast.targets import Targets
from proxy.wire import engine
from proxy.wire.arrivals import Arrival
from proxy.wire.crowd import Seat
from proxy.wire.entering import Entrance
from proxy.wire.listener import SecuredStream
from proxy.wire.sockets import Where, options

NAME = "fast"
MODES = frozenset({"proxy", "reverse"})
"""The ways in that this engine serves."""


class Engine(engine.Engine):
    """The fast engine behind the listening sockets."""

    def _prepare(self) -> None:
        self.contexts = tls.AgentContexts(self.authority)
        self.targets = Targets(self.roots, self.connect_timeout_s)

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in, once the first is open; returns where it is. Raises OSError when it cannot."""
        if listener.mode not in MODES:
            raise OSError(errno.EOPNOTSUPP, f"{listener.mode} listeners are served by the mitmproxy engine")
        return await super().open(listener, address)

    async def _bind(self, address: Where, accepted: Callable[[engine.Accepted], None]) -> asyncio.Server:
        def made(socket: Tcp) -> None:
            streams = cast(asyncio.StreamReader, socket), cast(asyncio.StreamWriter, socket)
            accepted(engine.Accepted(*streams, socket.abort, socket.emptied))

        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: Tcp(made), **options(address), backlog=1024)

    def _connection(self, entrance: Entrance, arrival: Arrival, seat: Seat) -> AgentConnection:
        socket, secured = cast(Tcp, entrance.socket), entrance.reader
        stream = Listened(secured, socket) if isinstance(secured, SecuredStream) else socket
        return AgentConnection(self, socket, stream, arrival, seat)

    def _forget(self) -> None:
        tls.forget_contexts()
        self.targets.forget()

    def _close(self) -> None:
        self.targets.close()
