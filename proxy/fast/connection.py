"""One agent's connection: what it says first, the tunnel it asks for, and each request in it.

    proxy     CONNECT -> TLS or plain HTTP inside -> requests    or requests with absolute URIs
    reverse   requests to the one target

What happens to a request is in `proxy.fast.exchanging`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from mappings import CanonicalError, Problem, canonical_host
from policies import Decision
from proxy.facts import Inbound
from proxy.fast.calls import Call, Gone
from proxy.fast.exchanging import Serving
from proxy.fast.heads import NotHttp
from proxy.fast.http1 import HeadTooLong, Http1Agent, Http1Call
from proxy.fast.http2agents import Http2Agent, Http2Call
from proxy.fast.streams import Secure, Stream, Tcp, nothing
from proxy.fast.tls import Tls, TlsError
from proxy.fast.tunnelling import Tunnelling
from proxy.verdicts import Head, Verdict
from proxy.wire.arrivals import Arrival, Tunnel
from proxy.wire.crowd import HEAD_TIME, Body, Seat
from proxy.wire.exchanges import Exchange
from proxy.wire.requests import Requests
from proxy.wire.sweeping import Refusing

if TYPE_CHECKING:
    from proxy.fast.engine import Engine

_log = logging.getLogger(__name__)

_OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_BAD = b"HTTP/1.1 400 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class AgentConnection:
    """Judges everything that happens on one connection."""

    def __init__(self, engine: "Engine", socket: Tcp, stream: Stream, arrival: Arrival, seat: Seat) -> None:
        self.engine = engine
        self.gate = engine.gate
        self.seat = seat
        self.arrival = arrival
        self.tunnel = arrival.tunnel
        self.sni: str | None = None
        self.secure = False
        """Whether requests come out of intercepted TLS."""
        self.client = str(socket.get_extra_info("peername")[0])
        self.requests = Requests(engine, arrival, seat, self.client)
        self.open: dict[str, Serving] = {}
        """What serves those requests that were forwarded and have no ending yet."""
        self._socket = socket
        self._stream = stream
        self._http1: Http1Agent | None = None
        self._http2: Http2Agent | None = None
        self._serving: Serving | None = None
        self._unread = False
        self._gone = False
        self._task: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Serve it until it ends."""
        self._task = asyncio.current_task()
        self._socket.on_end = self._ended
        try:
            if self.tunnel is None:
                await self._as_proxy()
            else:
                await self._inside(self._stream)
        except Gone:
            pass
        except OSError as error:
            _log.debug("a connection broke off: %s", error)
        finally:
            self._stream.close()

    def release(self) -> None:
        """It has ended: let go of what refers back to it, which else only Python's collector would find."""
        self._socket.on_end = nothing
        self._http1 = self._http2 = self._serving = self._task = self.seat.served = None
        self.requests.end_all()

    def _ended(self) -> None:
        """The agent sends no more: for practical purposes it waits for no answer either."""
        if not self._gone:
            self._gone = True
            if self._serving is not None:
                self._serving.leave()

    # --- what it says --------------------------------------------------------------------------------

    async def _as_proxy(self) -> None:
        agent = self._http1 = Http1Agent(self._stream, self.engine.limits.head_bytes)
        while (call := await self._next(agent)) is not None:
            if call.head.method == b"CONNECT":
                opened = await self._connect(call)
                if opened is not None:
                    call.switch()
                    await opened()
                    return
            else:
                named = call.head.authority or call.malformed
                await self._serve(call, None if named else "a request to a proxy names its target by an absolute URI")
            if not await self._goes_on(call):
                return

    async def _inside(self, stream: Stream) -> None:
        agent = self._http1 = Http1Agent(stream, self.engine.limits.head_bytes)
        while (call := await self._next(agent)) is not None:
            connect = call.head.method == b"CONNECT"
            await self._serve(call, "a CONNECT inside a tunnel, or to a target, opens nothing" if connect else None)
            if not await self._goes_on(call):
                return

    async def _next(self, agent: Http1Agent) -> Http1Call | None:
        """The next request; None when there is none, and a head that is none is answered."""
        try:
            return await agent.next()
        except NotHttp as error:
            code = "wire.head-too-long" if isinstance(error, HeadTooLong) else "wire.malformed"
            reason = str(error) if isinstance(error, HeadTooLong) else "the request head is not valid HTTP/1"
            problem = Problem(code, reason)
            agent.stream.write(await self.requests.unreadable(problem, self.tunnel, agent.glimpse) or _BAD)
            return None

    async def _goes_on(self, call: Http1Call) -> bool:
        """Whether another request may follow; what is left of this one is thrown away, for the answer to be read."""
        if not call.answered:
            return False  # nothing more is said to it, so that it is not to wait
        if not call.complete:
            with contextlib.suppress(NotHttp):
                await call.discard()
            return False
        return call.persists and not self._gone

    async def _serve(self, call: Call, malformed: str | None) -> None:
        self.requests.begun += 1
        serving = self._serving = Serving(self, call, malformed)
        try:
            await serving.run()
        finally:
            self._serving = None
        if serving.hung_up:
            raise Gone("the rest of the request is not waited for")

    # --- tunnels -------------------------------------------------------------------------------------

    async def _connect(self, call: Http1Call) -> Callable[[], Awaitable[None]] | None:
        """What follows an accepted CONNECT; None when it was refused, and that is answered."""
        presented = tuple(value.decode("latin-1") for value in call.head.all(b"proxy-authorization"))
        request = Inbound(
            method="CONNECT",
            scheme="http",
            target="/",
            fields=call.head.fields,
            client=self.client,
            uri_authority=call.head.authority.decode("latin-1"),
            listener=self.arrival.name,
        )
        opened, who = await self.requests.connect(request, presented, call.malformed)
        if isinstance(opened, Verdict):
            await self._refuse_connect(call, opened)
            return None
        if who is None:
            raise TypeError("nobody's tunnel was opened")
        if isinstance(opened, Head):
            self._unread = True
            serving = self._serving = Tunnelling(self, call, None, Exchange(opened, presented, who.agent))
            try:
                await serving.run()
            finally:
                self._unread = False
                self._serving = None
            return None
        self.tunnel = Tunnel(opened[0], opened[1], who, presented)
        self._http1 = None
        self._stream.write(_OPENED)
        return self._tunnelled

    async def _refuse_connect(self, call: Http1Call, verdict: Verdict) -> None:
        if verdict.answer is None:
            raise TypeError("a refusal without an answer")
        answer = verdict.answer
        call.begin(answer.status, answer.phrase, answer.fields, "CONNECT")
        await call.send(answer.body)
        await call.end()

    async def _tunnelled(self) -> None:
        """What is said inside a tunnel: TLS, which is intercepted, or plain HTTP. Never a raw relay."""
        first = b""
        while len(first) < 3:
            received = await self._stream.read()
            if not received:
                return
            first += received
        self._stream.put_back(first)
        if first[0] == 0x16 and first[1] == 0x03:  # RFC 8446, 5.1: handshake record
            await self._intercepted()
        else:
            await self._inside(self._stream)

    async def _intercepted(self) -> None:
        if self.tunnel is None:
            raise TypeError("there is no tunnel")
        contexts, now = self.engine.contexts, self.engine.now()
        host = self.tunnel.host

        def named(name: str | None) -> str:
            self.sni = name
            if name:
                # Where it asks for another name than it came for, each request is refused for that. Shown a
                # certificate for the name it came for, it would hang up, and neither it nor the record had a reason.
                with contextlib.suppress(CanonicalError):
                    return canonical_host(name)
            return host

        tls = Tls.of_agent(contexts, host, now, named)
        secure = Secure(self._stream, tls)
        try:
            await secure.shake_hands()
        except TlsError as error:
            _log.debug("an agent's TLS handshake failed: %s", error)
            return
        self._stream = secure
        self.secure = True
        if tls.protocol == "h2":
            await self._multiplexed(secure)
        else:
            await self._inside(secure)

    async def _multiplexed(self, stream: Stream) -> None:
        async def serve(call: Http2Call) -> None:
            self.requests.begun += 1
            await Serving(self, call, await call.fault()).run()

        self._http2 = Http2Agent(stream, self.engine.limits, serve, self.requests.limited)
        await self._http2.run()

    def unread_bytes(self) -> int:
        """How much is kept that the agent has sent and that was not read yet."""
        return self._socket.unread_bytes + (len(self._http1.buffer) if self._http1 is not None else 0)

    # --- what it costs, to the crowd -----------------------------------------------------------------

    def moved(self) -> int:
        """A number that changes when the agent sends, or is sent, anything."""
        return self._socket.moved

    def heads(self) -> int:
        """How many requests have begun."""
        return self.requests.begun

    def beginning(self) -> bool:
        """Whether a head has begun and is not complete, or what follows a CONNECT."""
        if self._unread:
            return False
        if self._http2 is not None:
            return self._http2.beginning
        return self._http1 is None or self._http1.beginning

    def waits(self) -> bool:
        """Whether a request waits for a verdict, or for its target to answer."""
        return self.requests.wait()

    def bodies(self) -> Iterable[Body]:
        """What is being read to be judged."""
        return self.requests.bodies()

    def end(self, code: str) -> None:
        """Close the connection, for a limit; where a head did not come in time, with an answer."""
        http1 = self._http1
        if code == HEAD_TIME and self._http2 is None and http1 is not None and http1.beginning:
            http1.stream.write(self.requests.late(self.tunnel, http1.glimpse))
        self._stream.close()
        if self._task is not None:
            self._task.cancel("a limit")

    # --- ended from outside --------------------------------------------------------------------------

    def abort(self) -> None:
        """Close the connection now; what is open on it ends as failed."""
        if self._task is not None:
            self._task.cancel("the connection is closed")
        self._socket.abort()

    def cut(self, refusal: Refusing) -> list[Decision]:
        """Break the connection off when somebody on it may no longer act; why, once for each exchange that ends."""
        stopped = self.requests.stopped(refusal)
        for key in stopped:
            self.open.pop(key).break_off()
        if stopped:
            # Not closed: what waits in a buffer would still be sent, in both directions.
            self.abort()
        return list(stopped.values())

    def ends(self) -> Iterable[datetime | None]:
        """When the proofs end that what is open here was asked with."""
        return self.requests.ends()
