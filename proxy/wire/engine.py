"""An engine behind its listening sockets, as far as engines are alike: who is let in, served, and ended.

A connection is counted, let in by what its listener asks of it, handed to what the engine serves it with, and let go.
No exchange is left without its ending: not by a limit, not by a stop. How bytes become requests is each engine's own.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from OpenSSL import SSL

from mappings import Problem
from proxy.ca import Authority
from proxy.config import Address, ListenerConfig
from proxy.pipeline import Gate
from proxy.timers import Later, loop_later
from proxy.wire import crowd, sweeping
from proxy.wire.arrivals import Arrival
from proxy.wire.crowd import HANDSHAKE_TIME, Crowd, Seat
from proxy.wire.entering import Entrance
from proxy.wire.exchanges import Exchange, Exchanges
from proxy.wire.listener import NoTls
from proxy.wire.sockets import Where
from proxy.wire.socks import NoSocks

_log = logging.getLogger(__name__)


class Accepted(NamedTuple):
    """A new connection; `abort` ends it at once, whatever waits in its buffers."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    abort: Callable[[], None]
    emptied: Callable[[], Coroutine[Any, Any, None]]
    """Returns when nothing waits there any more, sent or lost."""


class Connection(crowd.Served, sweeping.Connection, Protocol):
    """What an engine serves one agent's connection with."""

    async def serve(self) -> None:
        """Serve it until it ends."""

    def release(self) -> None:
        """It has ended: let go of everything."""


class Engine(ABC):
    """What all engines do with connections; a subclass reads and writes them."""

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
        self.keep_alive_s = keep_alive_s
        """How often a client that waits for a person gets a sign of life; 0 for never."""
        self.later = later
        self._listener = listener
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._tasks: dict[asyncio.Task[None], Accepted] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        """Of connections that are closed, and of which something is still to be sent."""
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweeper = sweeping.Sweeper(gate, self._connections.keys())
        self._exchanges = Exchanges(gate, response_timeout_s=response_timeout_s, segment_s=segment_s, later=later)
        self._prepare()

    # --- what each engine does its own way -----------------------------------------------------------

    @abstractmethod
    def _prepare(self) -> None:
        """Make what it needs of its own, once."""

    @abstractmethod
    async def _bind(self, address: Where, accepted: Callable[[Accepted], None]) -> asyncio.Server:
        """Listen at an address. Raises OSError when that cannot be."""

    @abstractmethod
    def _connection(self, entrance: Entrance, arrival: Arrival, seat: Seat) -> Connection:
        """What serves a connection that was let in."""

    @abstractmethod
    def _forget(self) -> None:
        """Keep nothing that was made under other rules."""

    @abstractmethod
    def _close(self) -> None:
        """Close what is still open and no agent's."""

    # --- listening -----------------------------------------------------------------------------------

    async def start(self, listen: Where) -> Address:
        """Open the listening socket; returns where it is. Raises OSError when it cannot."""
        bound = await self._listen(None, listen)
        self._sweeper.sweep()
        return bound

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in, once the first is open; returns where it is. Raises OSError when it cannot."""
        return await self._listen(listener, address)

    async def _listen(self, listener: ListenerConfig | None, address: Where) -> Address:
        server = await self._bind(address, partial(self._accepted, listener))
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def _accepted(self, listener: ListenerConfig | None, socket: Accepted) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(listener, socket))
        self._tasks[task] = socket
        task.add_done_callback(partial(self._left, socket))

    def _left(self, socket: Accepted, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection was not served", exc_info=error)
        if not socket.writer.is_closing():
            socket.abort()  # what should have ended it has failed, and an agent would wait for ever
        if socket.writer.transport.get_write_buffer_size():
            leaving = asyncio.get_running_loop().create_task(socket.emptied())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _accept(self, listener: ListenerConfig | None, socket: Accepted) -> None:
        reader, writer, abort, _ = socket
        task = cast("asyncio.Task[None]", asyncio.current_task())
        context = self._listener if listener is None or listener.tls else None
        if listener is not None and listener.tls and context is None:
            writer.close()  # never in the clear because a certificate went missing
            return
        peer = writer.get_extra_info("peername")
        # Aborted and not closed: what gives way must be gone, whatever waits in its buffers.
        seat = self.crowd.admit(str(peer[0]), abort) if peer else None
        if seat is None:
            abort()
            return
        try:
            self.gate.metrics.connections.set(len(self.crowd))
            entrance = Entrance(self.gate, listener, context, reader, writer, partial(self.begin, seat))
            arrival = await self._enter(entrance, task)
            if arrival is not None:
                await self._serve(self._connection(entrance, arrival, seat), seat, task)
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

    async def _serve(self, connection: Connection, seat: Seat, task: "asyncio.Task[None]") -> None:
        self._connections[connection] = task
        seat.served = connection
        try:
            await connection.serve()
        except asyncio.CancelledError:
            pass  # a limit, a sweep or our stop: the connection is closed, and nobody awaits this task
        except Exception:
            _log.exception("a connection ended unexpectedly")
        finally:
            del self._connections[connection]  # first: what is left here would be ended once more when the gate stops
            connection.release()

    # --- what is open --------------------------------------------------------------------------------

    def begin(self, seat: Seat, agent: str) -> Problem | None:
        """Count a request of an agent that is proven; the problem if it, or its connection, is one too many."""
        return self.crowd.prove(seat, agent) or self.gate.quotas.begin(agent)

    def opened(self, key: str, exchange: Exchange, give_up: Callable[[], None]) -> None:
        """A verdict forwards: from now on this exchange needs an ending. `give_up` ends it, for want of an answer."""
        self._exchanges.opened(key, exchange, give_up)
        self._sweeper.expect(exchange.head.credential.expires)

    def answered(self, key: str) -> None:
        """The target has begun to answer."""
        self._exchanges.answered(key)

    def closed(self, key: str) -> Exchange | None:
        """Take an exchange off the list; None when its ending is already written."""
        return self._exchanges.closed(key)

    def end(self, keys: Iterable[str]) -> None:
        """Their connection has ended: none of these is open any more."""
        self._exchanges.end(keys, "the connection ended")

    async def idle(self) -> None:
        """Return once no exchange is open."""
        await self._exchanges.idle()

    # --- ends ----------------------------------------------------------------------------------------

    async def stop(self, drain_timeout_s: float) -> None:
        """Accept nothing more, let open exchanges end up to a limit, then close what is left."""
        for server in self._servers:
            server.close()
        self._look_no_more()
        ends = asyncio.get_running_loop().time() + drain_timeout_s
        await self._exchanges.drained(drain_timeout_s)
        await self._emptied(ends)
        for handshake in list(self._handshakes):
            handshake.cancel()
        # Closing a connection ends its exchanges, and that writes their outcome.
        for connection in list(self._connections):
            try:
                connection.abort()
            except Exception:
                _log.exception("a connection could not be closed; its task is cancelled")
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        for task in list(self._tasks):
            task.cancel()
        self._close()
        await asyncio.sleep(0)
        self._exchanges.end_what_is_left()

    def _look_no_more(self) -> None:
        for stop in (self._sweeper.stop, self.crowd.stop):
            try:
                stop()
            except Exception:
                # Without this, what is open would have no outcome.
                _log.exception("what looks through the connections could not be stopped")

    async def _emptied(self, ends: float) -> None:
        """Wait until all answers have left, also to agents that read slowly, but for no longer than until `ends`.

        If this is removed, an answer that is on record as sent ends without its last bytes.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                await asyncio.gather(*self._leaving, *(socket.emptied() for socket in self._tasks.values()))

    def reload(self, listener: SSL.Context | None = None) -> None:
        """Let changed rules count.

        What was kept under other rules is forgotten, new connections meet the new listener, and what is open of agents
        that were stopped is ended.
        """
        self._forget()
        self._listener = listener
        self.sweep()

    def sweep(self) -> None:
        """End what is open of agents that were stopped."""
        self._sweeper.sweep()
