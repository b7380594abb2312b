"""Connections to targets: dialled to the checked address, secured, kept for the next request, used by one at a time.

A connection is shared by all agents: what a request may do is decided before it gets one, and HTTP keeps requests
apart. Where the protocol binds an identity to the connection instead (NTLM, Negotiate), it is not used again.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

from proxy.chaining import REFUSED_WORDS
from proxy.destinations import Parent, Route
from proxy.facts import Facts
from proxy.fast import heads
from proxy.fast.calls import Asked, Broken
from proxy.fast.heads import END, Fields, NotHttp
from proxy.fast.http1 import Http1Asked
from proxy.fast.http2targets import Http2Asked, Http2Target
from proxy.fast.streams import Secure, Stream, Tcp, dial
from proxy.fast.tls import TlsError, target_side

MAX_IDLE = 1024
"""How many unused connections are kept in all."""
IDLE_S = 4.0
"""For how long: less than servers wait (Node 5 s, AWS 20 s, nginx 75 s), as only what may be repeated is sent again."""


_BINDING = frozenset({b"authorization", b"www-authenticate", b"proxy-authorization"})
_BINDING_LENGTHS = frozenset(map(len, _BINDING))


@dataclass(frozen=True, slots=True)
class Place:
    """What two requests must have in common to use one connection."""

    secure: bool
    route: Route
    offered: tuple[str, ...]

    def __hash__(self) -> int:
        """Of what mostly tells places apart; a request looks places up four times, and the rest takes longer."""
        return hash((self.secure, self.route.address, self.offered))


@dataclass(frozen=True, slots=True)
class Request:
    """A request in its canonical form, framed for one connection."""

    facts: Facts
    target: str
    fields: Fields
    whole: bool
    """Whether no body follows the head."""
    chunked: bool
    """Whether the body follows in chunks, where the target speaks HTTP/1."""


@dataclass(slots=True)
class _Idle:
    stream: Stream
    since: float


class Targets:
    """The pool; lives in the gate's event loop."""

    def __init__(self, roots: Path, connect_timeout_s: float) -> None:
        self._roots = roots
        self._connect_timeout_s = connect_timeout_s
        self._idle: dict[Place, deque[_Idle]] = {}
        self._sockets: set[Tcp] = set()
        self._shared: dict[Place, Http2Target] = {}
        """Connections of HTTP/2, which are used by many at a time."""
        self._unused: dict[Http2Target, float] = {}
        """Those that nobody uses, and since when."""
        self._count = 0
        self._epoch = 0
        """Counts reloads: what was dialled under other rules and roots is not used again."""
        self._timer: asyncio.TimerHandle | None = None

    def take(self, place: Place) -> Stream | None:
        """An unused connection that is still well; None when there is none."""
        waiting = self._idle.get(place)
        while waiting:
            idle = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._idle[place]
            if idle.stream.quiet():
                return idle.stream
            idle.stream.close()
        return None

    def keeper(self, place: Place) -> Callable[[Stream], None]:
        """What takes a connection back to this place."""
        epoch = self._epoch

        def keep(stream: Stream) -> None:
            if epoch != self._epoch or self._count >= MAX_IDLE or not stream.quiet():
                stream.close()
                return
            loop = asyncio.get_running_loop()
            self._idle.setdefault(place, deque()).append(_Idle(stream, loop.time()))
            self._count += 1
            self._look_soon()

        return keep

    def _look(self) -> None:
        """Close what has waited too long, and look again when the next one has."""
        self._timer = None
        loop = asyncio.get_running_loop()
        oldest: float | None = None
        for place, waiting in list(self._idle.items()):
            while waiting and (loop.time() - waiting[0].since >= IDLE_S or not waiting[0].stream.quiet()):
                waiting.popleft().stream.close()
                self._count -= 1
            if not waiting:
                del self._idle[place]
            elif oldest is None or waiting[0].since < oldest:
                oldest = waiting[0].since
        for target, since in list(self._unused.items()):
            if not target.idle:
                del self._unused[target]
            elif loop.time() - since >= IDLE_S:
                self._part_with(target)
            elif oldest is None or since < oldest:
                oldest = since
        if oldest is not None:
            self._timer = loop.call_later(max(0.1, oldest + IDLE_S - loop.time()), self._look)

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._look)

    def _part_with(self, target: Http2Target) -> None:
        """Let nobody else use a connection; it is closed when those on it have ended."""
        self._unused.pop(target, None)
        for place in [place for place, shared in self._shared.items() if shared is target]:
            del self._shared[place]
        target.retire()

    def forget(self) -> None:
        """Close what is unused; what is in use is closed after it."""
        self._epoch += 1
        for waiting in self._idle.values():
            for idle in waiting:
                idle.stream.close()
        self._idle.clear()
        for shared in list(self._shared.values()):
            self._part_with(shared)
        self._count = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def ask(self, place: Place, request: Request) -> tuple[bool, Asked]:
        """Send the head of a request; whether the connection was used before. Raises Broken when none can be made."""
        shared = self._shared.get(place)
        if shared is not None and shared.available:
            return True, self._by_http2(shared, request)
        if shared is not None and shared.refuses:
            raise Broken("the target takes no requests for now")  # nor would it on another connection
        stream, reused = self.take(place), True
        if stream is None:
            stream, reused = await self.connect(place), False
        try:
            asked = self._on(place, stream, request)
            if not isinstance(asked, Http1Asked | Http2Asked):
                raise TypeError("nothing was asked")
            return reused, asked
        except BaseException:
            stream.abort()  # nobody has it
            raise

    def _on(self, place: Place, stream: Stream, request: Request) -> Asked:
        """Send the head on a connection that nobody uses."""
        if not (isinstance(stream, Secure) and stream.tls.protocol == "h2"):
            return self._by_http1(place, stream, request)
        target = Http2Target(stream)
        asked = self._by_http2(target, request)
        self._share(place, target)  # only now: one that takes no request is nobody's
        return asked

    def _share(self, place: Place, target: Http2Target) -> None:
        """Let others use a connection of HTTP/2, for as long as it stands."""
        if older := self._shared.get(place):  # dialled at the same time, or all in use
            self._part_with(older)
        self._shared[place] = target

        def unused() -> None:
            self._unused[target] = asyncio.get_running_loop().time()
            self._look_soon()

        target.closed = partial(self._part_with, target)
        target.unused = unused

    def _by_http1(self, place: Place, stream: Stream, request: Request) -> Asked:
        fields = request.fields
        if request.chunked:
            fields = (*fields, (b"Transfer-Encoding", b"chunked"))
        method = request.facts.request.method
        reuse = _close if binds_identity(fields) else self.keeper(place)
        head = heads.write_request(method, request.target, fields)
        return Http1Asked(stream, method, head, chunked=request.chunked, whole=request.whole, reuse=reuse)

    def _by_http2(self, target: Http2Target, request: Request) -> Asked:
        facts = request.facts
        # RFC 9113, 8.2.2 and 8.3.1: no connection fields, and the host stands in :authority alone.
        fields = tuple((name.lower(), value) for name, value in request.fields if name.lower() != b"host")
        scheme, authority = facts.request.scheme, facts.wire_authority
        return target.ask(facts.request.method, scheme, authority, request.target, fields, end=request.whole)

    async def connect(self, place: Place) -> Stream:
        """A new connection; raises Broken with what failed."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._connect(place)
        except TimeoutError:
            raise Broken("connect timeout") from None
        except TlsError as error:
            raise Broken(f"TLS with the target failed: {error}") from None
        except OSError as error:
            raise Broken(str(error) or type(error).__name__) from None

    async def _connect(self, place: Place) -> Stream:
        route = place.route
        parent = route.parent
        stream: Stream = self._known(await dial(parent.route.address if parent else route.address))
        try:
            if parent is not None:
                stream = await self._through(stream, route, parent)
            if place.secure:
                stream = await self._secured(stream, route, place.offered)
        except BaseException:
            stream.abort()
            raise
        return stream

    def _known(self, socket: Tcp) -> Tcp:
        """Remember a connection for as long as it stands: the loop cannot be closed over one."""
        if not isinstance(socket, Tcp):
            raise TypeError("what was dialled is no connection")  # a stop would fail at breaking it off
        self._sockets.add(socket)
        socket.on_lost = partial(self._sockets.discard, socket)
        return socket

    def close(self) -> None:
        """Break off every connection, whoever has it."""
        self.forget()
        for socket in list(self._sockets):
            socket.abort()

    async def _secured(self, stream: Stream, route: Route, offered: tuple[str, ...]) -> Secure:
        secure = Secure(stream, target_side(route, self._roots, offered))
        await secure.shake_hands()
        return secure

    async def _through(self, stream: Stream, route: Route, parent: Parent) -> Stream:
        """Ask the proxy beyond for a tunnel to the address."""
        if parent.tls:
            stream = await self._secured(stream, parent.route, ("http/1.1",))
        host, port = route.address
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        fields: list[tuple[bytes, bytes]] = [(b"Host", authority.encode("ascii"))]
        if parent.authorization:
            fields.append((b"Proxy-Authorization", parent.authorization.encode("ascii")))
        stream.write(heads.write_request("CONNECT", authority, tuple(fields)))
        received = b""
        while END not in received:
            data = await stream.read()
            if not data or len(received) > 64 * 1024:
                raise Broken(f"{REFUSED_WORDS}: it gave no answer")
            received += data
        head, _, rest = received.partition(END)
        try:
            answer = heads.read_answer(head + END)
        except NotHttp as error:
            raise Broken(f"{REFUSED_WORDS}: {error}") from None
        if not 200 <= answer.status < 300:
            hint = ": it wants other credentials than the gate has" if answer.status == 407 else ""
            raise Broken(f"{REFUSED_WORDS} {answer.status}{hint}")
        if rest:
            stream.put_back(rest)
        return stream


def binds_identity(fields: heads.Fields) -> bool:
    """Whether a message makes its connection somebody's: the schemes that authenticate it, not the request."""
    if _BINDING_LENGTHS.isdisjoint(map(len, map(itemgetter(0), fields))):
        return False  # most messages, without a look at each field
    return any(name.lower() in _BINDING and value.lower().startswith((b"ntlm", b"negotiate")) for name, value in fields)


def _close(stream: Stream) -> None:
    stream.close()
