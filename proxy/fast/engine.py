"""Listen, hand connections to `AgentConnection`, and stop without losing an ending."""

import asyncio
import errno
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from OpenSSL import SSL

from mappings import Problem
from proxy.ca import Authority
from proxy.config import Address, ListenerConfig
from proxy.fast import tls
from proxy.fast.calls import Asked
from proxy.fast.connection import AgentConnection
from proxy.fast.streams import Listened, Tcp
from proxy.fast.targets import Place, Request, Targets
from proxy.pipeline import Gate
from proxy.timers import Later, loop_later
from proxy.wire.arrivals import Arrival
from proxy.wire.crowd import HANDSHAKE_TIME, Crowd, Seat
from proxy.wire.entering import Entrance
from proxy.wire.exchanges import Exchange, Exchanges
from proxy.wire.listener import NoTls, SecuredStream
from proxy.wire.sockets import Where, options
from proxy.wire.socks import NoSocks
from proxy.wire.sweeping import Sweeper

_log = logging.getLogger(__name__)

NAME = "fast"
MODES = frozenset({"proxy", "reverse"})
"""The ways in that this engine serves."""


class Engine:
    """The fast engine behind the listening sockets."""

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
        self.contexts = tls.AgentContexts(authority)
        self.targets = Targets(roots, connect_timeout_s)
        self.now = now
        self.max_body_bytes = max_body_bytes
        self.keep_alive_s = keep_alive_s
        """How often a client that waits for a person gets a sign of life; 0 for never."""
        self.later = later
        self._listener = listener
        self._servers: list[asyncio.Server] = []
        self._connections: dict[AgentConnection, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweeper = Sweeper(gate, self._connections.keys())
        self._exchanges = Exchanges(gate, response_timeout_s=response_timeout_s, segment_s=segment_s, later=later)

    async def start(self, listen: Where) -> Address:
        """Open the listening socket; returns where it is. Raises OSError when it cannot."""
        bound = await self._listen(None, listen)
        self._sweeper.sweep()
        return bound

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in, once the first is open; returns where it is. Raises OSError when it cannot."""
        if listener.mode not in MODES:
            raise OSError(errno.EOPNOTSUPP, f"{listener.mode} listeners are served by the mitmproxy engine")
        return await self._listen(listener, address)

    async def _listen(self, listener: ListenerConfig | None, address: Where) -> Address:
        loop = asyncio.get_running_loop()
        accepted = partial(self._accepted, listener)
        server = await loop.create_server(lambda: Tcp(accepted), **options(address), backlog=1024)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def _accepted(self, listener: ListenerConfig | None, socket: Tcp) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(listener, socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: ListenerConfig | None, socket: Tcp) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        context = self._listener if listener is None or listener.tls else None
        if listener is not None and listener.tls and context is None:
            socket.close()  # never in the clear because a certificate went missing
            return
        peer = socket.get_extra_info("peername")
        # Aborted and not closed: what gives way must be gone, whatever waits in its buffers.
        seat = self.crowd.admit(str(peer[0]), socket.abort) if peer else None
        if seat is None:
            socket.abort()
            return
        self.gate.metrics.connections.set(len(self.crowd))
        try:
            stream = cast(asyncio.StreamReader, socket), cast(asyncio.StreamWriter, socket)
            entrance = Entrance(self.gate, listener, context, *stream, partial(self.begin, seat))
            arrival = await self._enter(entrance, task)
            if arrival is not None:
                secured = entrance.reader
                inner = Listened(secured, socket) if isinstance(secured, SecuredStream) else socket
                await self._serve(AgentConnection(self, socket, inner, arrival, seat), seat, task)
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

    async def _serve(self, connection: AgentConnection, seat: Seat, task: "asyncio.Task[None]") -> None:
        self._connections[connection] = task
        seat.served = connection
        try:
            await connection.serve()
        except asyncio.CancelledError:
            pass  # a limit, a sweep or our stop: the connection is closed, and nobody awaits this task
        except Exception:
            _log.exception("a connection ended unexpectedly")
        finally:
            del self._connections[connection]
            seat.served = None

    def begin(self, seat: Seat, agent: str) -> Problem | None:
        """Count a request of an agent that is proven; the problem if it, or its connection, is one too many."""
        return self.crowd.prove(seat, agent) or self.gate.quotas.begin(agent)

    async def ask(self, place: Place, request: Request) -> tuple[bool, Asked]:
        """Send the head of a request to its target; whether the connection was used before. Raises Broken."""
        return await self.targets.ask(place, request)

    def opened(self, key: str, exchange: Exchange, give_up: Callable[[], None]) -> None:
        """A verdict forwards: from now on this exchange needs an ending."""
        self._exchanges.opened(key, exchange, give_up)
        self._sweeper.expect(exchange.head.credential.expires)

    def answered(self, key: str) -> None:
        """The target has begun to answer."""
        self._exchanges.answered(key)

    def closed(self, key: str) -> Exchange | None:
        """Take an exchange off the list; None when its ending is already written."""
        return self._exchanges.closed(key)

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
        for connection in list(self._connections):
            try:
                connection.abort()
            except Exception:
                _log.exception("a connection could not be closed; its task is cancelled")
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        for task in list(self._tasks):
            task.cancel()
        self.targets.close()
        await asyncio.sleep(0)
        self._exchanges.end_what_is_left()

    def reload(self, listener: SSL.Context | None = None) -> None:
        """Let changed rules count.

        Cached TLS contexts and unused connections are forgotten, new connections meet the new listener, and what is
        open of agents that were stopped is ended.
        """
        tls.forget_contexts()
        self.targets.forget()
        self._listener = listener
        self.sweep()

    def sweep(self) -> None:
        """End what is open of agents that were stopped."""
        self._sweeper.sweep()
