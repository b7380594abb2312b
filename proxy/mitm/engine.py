"""Listen, hand connections to `AgentConnection`, and stop without losing an ending."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from mitmproxy import http, version
from mitmproxy import options as mitmproxy_options
from OpenSSL import SSL

from mappings import Problem
from proxy.ca import Authority
from proxy.config import Address, ListenerConfig
from proxy.mitm import tls
from proxy.mitm.connection import AgentConnection
from proxy.mitm.flows import Exchange
from proxy.pipeline import Gate
from proxy.timers import Later, loop_later
from proxy.wire import exchanges
from proxy.wire.arrivals import Arrival
from proxy.wire.crowd import HANDSHAKE_TIME, Crowd, Seat
from proxy.wire.entering import Entrance
from proxy.wire.listener import NoTls
from proxy.wire.redirected import SUPPORTED
from proxy.wire.sockets import Where, options
from proxy.wire.socks import NoSocks
from proxy.wire.sweeping import Sweeper

_log = logging.getLogger(__name__)

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

type _Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Engine:
    """mitmproxy's layers behind the listening sockets."""

    def __init__(
        self,
        gate: Gate,
        crowd: Crowd,
        authority: Authority,
        roots: Path,
        *,
        now: Callable[[], datetime],
        max_body_bytes: int,
        connect_timeout_s: float,
        response_timeout_s: float,
        listener: SSL.Context | None = None,
        keep_alive_s: float = 0,
        segment_s: float = 300,
        later: Later = loop_later,
    ) -> None:
        self.gate = gate
        self.limits = gate.limits
        self.crowd = crowd
        self.authority = authority
        self.roots = roots
        self.now = now
        self.max_body_bytes = max_body_bytes
        self.connect_timeout_s = connect_timeout_s
        self._listener = listener
        self.keep_alive_s = keep_alive_s
        """How often a client that waits for a person gets a sign of life; 0 for never."""
        self.later = later
        self.options = mitmproxy_options.Options()
        for name, (kind, value) in _OPTIONS.items():
            self.options.add_option(name, kind, value, "")
        self.options.update(rawtcp=False, http2=True, websocket=True, tcp_timeout=_NEVER_S)
        self._servers: list[asyncio.Server] = []
        self._connections: dict[AgentConnection, asyncio.Task[None]] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweeper = Sweeper(gate, self._connections.keys())
        self._exchanges = exchanges.Exchanges(
            gate, response_timeout_s=response_timeout_s, segment_s=segment_s, later=later
        )

    async def start(self, listen: Where) -> Address:
        """Open the listening socket; returns where it is. Raises OSError when it cannot."""
        # The engine runs each hook as a task; started eagerly, one that has nothing to wait for costs no
        # turn of the loop.
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        bound = await self._listen(self._accept, listen)
        self._sweeper.sweep()
        return bound

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in, once the first is open; returns where it is. Raises OSError when it cannot."""

        if listener.mode == "transparent" and not SUPPORTED:
            raise OSError(errno.EOPNOTSUPP, "transparent listeners are for Linux")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(reader, writer, listener)

        return await self._listen(accept, address)

    async def _listen(self, accept: "_Accept", address: Where) -> Address:
        server = await asyncio.start_server(accept, **options(address), backlog=1024)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return Address(host, port)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener: ListenerConfig | None = None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        context = self._listener if listener is None or listener.tls else None
        if listener is not None and listener.tls and context is None:
            writer.close()  # never in the clear because a certificate went missing
            return
        address = str(writer.get_extra_info("peername")[0])
        # Aborted and not closed: what gives way must be gone, whatever waits in its buffers.
        seat = self.crowd.admit(address, writer.transport.abort)
        if seat is None:
            writer.transport.abort()
            return
        self.gate.metrics.connections.set(len(self.crowd))
        try:
            begin = partial(self.begin, seat)
            entrance = Entrance(self.gate, listener, context, reader, writer, begin)
            arrival = await self._enter(entrance, task)
            if arrival is not None:
                connection = AgentConnection(self, entrance.reader, entrance.writer, arrival, seat)
                await self._serve(connection, seat, task)
        finally:
            self.crowd.leave(seat)
            self.gate.metrics.connections.set(len(self.crowd))

    async def _enter(self, entrance: Entrance, task: "asyncio.Task[None]") -> Arrival | None:
        """Let a connection in; None when it is refused or has ended, and then it is closed."""
        self._handshakes.add(task)
        try:
            async with asyncio.timeout(self.limits.handshake_s):
                await entrance.shake_hands()
            return await entrance.arrive()
        except (NoTls, NoSocks) as failed:
            await entrance.refuse(failed)
        except TimeoutError:
            self.gate.turn_away("", entrance.client, HANDSHAKE_TIME)
            entrance.writer.close()
        except (OSError, asyncio.CancelledError):
            entrance.writer.close()
        except Exception:
            _log.exception("a handshake ended unexpectedly")
            entrance.writer.close()
        finally:
            self._handshakes.discard(task)
        return None

    def begin(self, seat: Seat, agent: str) -> Problem | None:
        """Count a request of an agent that is proven; the problem if it, or its connection, is one too many."""
        return self.crowd.prove(seat, agent) or self.gate.quotas.begin(agent)

    async def _serve(self, connection: AgentConnection, seat: Seat, task: "asyncio.Task[None]") -> None:
        self._connections[connection] = task
        seat.served = connection
        try:
            await connection.handle_client()
        except asyncio.CancelledError:
            # We stop: nobody awaits this task, and a cancelled stream callback would only be logged.
            pass
        except Exception:
            _log.exception("a connection ended unexpectedly")
        finally:
            del self._connections[connection]  # first: what is left here would be ended once more when the gate stops
            connection.release()

    def opened(self, flow_id: str, exchange: Exchange, connection: AgentConnection) -> None:
        """A verdict forwards: from now on this exchange needs an ending."""
        self._exchanges.opened(flow_id, exchange, lambda: connection.give_up(exchange))
        self._sweeper.expect(exchange.head.credential.expires)

    def answered(self, flow_id: str) -> None:
        """The target has begun to answer."""
        self._exchanges.answered(flow_id)

    def closed(self, flow_id: str) -> exchanges.Exchange | None:
        """Take an exchange off the list; None when its ending is already written."""
        return self._exchanges.closed(flow_id)

    async def idle(self) -> None:
        """Return once no exchange is open."""
        await self._exchanges.idle()

    async def stop(self, drain_timeout_s: float) -> None:
        """Accept nothing more, let open exchanges end up to a limit, then close what is left."""
        for server in self._servers:
            server.close()
        self._sweeper.stop()
        self.crowd.stop()
        await self._exchanges.drained(drain_timeout_s)
        for handshake in list(self._handshakes):
            handshake.cancel()
        # Closing a connection ends its exchanges through the error hook, which writes their outcome.
        tasks = list(self._connections.values())
        for connection in list(self._connections):
            try:
                connection.abort()
            except Exception:
                _log.exception("a connection could not be closed; its task is cancelled")
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for task in list(self._connections.values()):
            task.cancel()
        await asyncio.sleep(0)
        self._exchanges.end_what_is_left()

    def reload(self, listener: SSL.Context | None = None) -> None:
        """Let changed rules count.

        Cached TLS contexts are forgotten, new connections meet the new listener, and what is open of agents that
        were stopped is ended.
        """
        tls.forget_contexts()
        self._listener = listener
        self.sweep()

    def sweep(self) -> None:
        """End what is open of agents that were stopped."""
        self._sweeper.sweep()
