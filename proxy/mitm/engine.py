"""mitmproxy's layers behind the listening sockets: what they are told, and how they are run."""

import asyncio
import contextlib
import errno
from collections.abc import Callable
from typing import Any

from mitmproxy import http, version
from mitmproxy import options as mitmproxy_options

from proxy.config import Address, ListenerConfig
from proxy.mitm import tls
from proxy.mitm.connection import AgentConnection
from proxy.wire import engine
from proxy.wire.arrivals import Arrival
from proxy.wire.crowd import Seat
from proxy.wire.entering import Entrance
from proxy.wire.redirected import SUPPORTED
from proxy.wire.sockets import Where, options

NAME = "mitmproxy"
VERSION = version.VERSION

_OPTIONS: dict[str, tuple[Any, Any]] = {
    # Options that mitmproxy's layers read but its add-ons define, at the values a gate needs.
    "connection_strategy": (str, "lazy"),  # no upstream connection before the verdict
    "stream_large_bodies": (str | None, None),  # streaming is decided per request, by the rules
    "body_size_limit": (str | None, None),
    "store_streamed_bodies": (bool, False),
    "keep_host_header": (bool, False),
    "proxy_debug": (bool, False),
    "normalize_outbound_headers": (bool, True),
    "validate_inbound_headers": (bool, True),
}
_NEVER_S = 10**9
"""The engine's own limit of idle time counts what targets do, and a request that waits for one; ours is `crowd`."""


# mitmproxy checks the type of every field of every message it builds, for a tenth of its time; it leaves
# that out itself under "python -O", and our tests run over real sockets.
http.MessageData.__post_init__ = lambda _: None  # type: ignore[method-assign]


class Engine(engine.Engine):
    """mitmproxy's layers behind the listening sockets."""

    def _prepare(self) -> None:
        self.options = mitmproxy_options.Options()
        for name, (kind, value) in _OPTIONS.items():
            self.options.add_option(name, kind, value, "")
        self.options.update(rawtcp=False, http2=True, websocket=True, tcp_timeout=_NEVER_S)

    async def start(self, listen: Where) -> Address:
        """Open the listening socket; returns where it is. Raises OSError when it cannot."""
        # The engine runs each hook as a task; started eagerly, one that has nothing to wait for costs no
        # turn of the loop.
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await super().start(listen)

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in, once the first is open; returns where it is. Raises OSError when it cannot."""
        if listener.mode == "transparent" and not SUPPORTED:
            raise OSError(errno.EOPNOTSUPP, "transparent listeners are for Linux")
        return await super().open(listener, address)

    async def _bind(self, address: Where, accepted: Callable[[engine.Accepted], None]) -> asyncio.Server:
        def made(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def emptied() -> None:
                writer.transport.set_write_buffer_limits(0)
                with contextlib.suppress(OSError):
                    await writer.drain()

            try:
                accepted(engine.Accepted(reader, writer, writer.transport.abort, emptied))
            except BaseException:
                writer.transport.abort()  # else nobody would read, and nobody end, what the loop has accepted
                raise

        return await asyncio.start_server(made, **options(address), backlog=1024)

    def _connection(self, entrance: Entrance, arrival: Arrival, seat: Seat) -> AgentConnection:
        return AgentConnection(self, entrance.reader, entrance.writer, arrival, seat)

    def _forget(self) -> None:
        tls.forget_contexts()

    def _close(self) -> None:
        pass  # each agent's connection has its own to targets
