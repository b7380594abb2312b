"""The fast engine's HTTP/1 without sockets: bytes in, in any pieces, and everything that was read of them.

A request is `("request", method, target, version, fields, scheme, authority, malformed, body, trailers)`, an answer
`("answer", status, phrase, version, fields, body, trailers, whether the connection stays)`; the last thing is what
ended the reading: `("end",)`, `("gone",)`, `("too long",)`, `("no http",)`, `("broken",)`, `("malformed",)`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from proxy.fast.calls import Broken, Gone
from proxy.fast.heads import NotHttp
from proxy.fast.http1 import HeadTooLong, Http1Agent, Http1Asked
from proxy.limits import DEFAULTS

type Told = tuple[Any, ...]

HEAD_BYTES = DEFAULTS.head_bytes


class Pieces:
    """A stream that gives these pieces, one at a read, and keeps what is written; it never waits."""

    cut_off = False

    def __init__(self, pieces: Iterable[bytes], *, breaks: bool = False) -> None:
        self._pieces = iter(pieces)
        self._breaks = breaks
        self.sent = b""
        self.put = b""
        self.closed: str = ""
        self.held: Callable[[], int] = lambda: 0
        """How many bytes the reader keeps; asked whenever it wants more."""
        self.most = 0
        """The most that it was."""
        self.on_end: Callable[[], None] = lambda: None

    async def read(self, _most: int = 2**20, /) -> bytes:
        """The next piece; b"", or an error where it `breaks`, when there is none."""
        self.most = max(self.most, self.held())
        if self.put:
            data, self.put = self.put, b""
            return data
        piece = next(self._pieces, b"")
        if not piece and self._breaks:
            raise ConnectionResetError("reset")
        return piece

    def put_back(self, data: bytes) -> None:
        """As streams do."""
        self.put = data + self.put

    def take(self) -> bytes:
        """What was put back."""
        data, self.put = self.put, b""
        return data

    def quiet(self) -> bool:
        """As streams do."""
        return not self.put and not self.closed

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.sent += data

    async def drain(self) -> None:
        """Nothing is waited for."""

    def write_eof(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Keep that."""
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        """Keep that."""
        self.closed = self.closed or "aborted"

    def is_closing(self) -> bool:
        """As streams do."""
        return bool(self.closed)

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        """Nothing is known."""
        return default


class Unread(Pieces):
    """A stream to somebody who reads nothing: nothing that was written leaves."""

    async def drain(self) -> None:
        """Wait for ever, once there is anything."""
        if self.sent:
            await asyncio.Event().wait()


class Silent(Pieces):
    """A stream on which nothing ever comes."""

    async def read(self, _most: int = 2**20, /) -> bytes:
        """Wait for ever."""
        await asyncio.Event().wait()
        return b""


def run[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits for anything."""
    try:
        while coroutine.send(None) is None:
            pass  # others may have their turn
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("something is waited for")


def bytewise(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


def requests(pieces: Iterable[bytes], head_bytes: int = HEAD_BYTES) -> list[Told]:
    """All that an agent's connection is read as."""
    return run(read_requests(Pieces(pieces), head_bytes))


async def read_requests(stream: Pieces, head_bytes: int = HEAD_BYTES) -> list[Told]:
    """The same of a stream."""
    told: list[Told] = []
    agent = Http1Agent(stream, head_bytes)
    stream.held = lambda: len(agent.buffer)
    while True:
        try:
            call = await agent.next()
        except HeadTooLong:
            return [*told, ("too long",)]
        except NotHttp:
            return [*told, ("no http",)]
        if call is None:
            return [*told, ("end",)]
        head = call.head
        first = ("request", head.method, head.target, head.version, head.fields, head.scheme, head.authority)
        if call.malformed:
            return [*told, (*first, call.malformed, b"", ()), ("malformed",)]
        body = b""
        try:
            while (piece := await call.read()) is not None:
                assert piece
                body += piece
        except Gone:
            return [*told, (*first, None, body, None), ("gone",)]
        except NotHttp:
            return [*told, (*first, None, None, None), ("no http",)]
        assert call.complete
        told.append((*first, None, body, call._body.trailers))
        if not call.persists:
            return [*told, ("end",)]


def answers(pieces: Iterable[bytes], method: str = "GET", *, breaks: bool = False) -> list[Told]:
    """All that the answer to one request is read as, interim responses before it."""
    return run(read_answers(Pieces(pieces, breaks=breaks), method))


async def read_answers(stream: Pieces, method: str = "GET") -> list[Told]:
    """The same of a stream."""
    told: list[Told] = []
    kept: list[object] = []
    asked = Http1Asked(stream, method, b"", chunked=False, whole=True, reuse=kept.append)
    stream.held = lambda: len(asked._buffer)
    body = b""
    try:
        while True:
            head = await asked.answer()
            first = ("answer", head.status, head.phrase, head.version, head.fields)
            if head.status >= 200 or head.status == 101:
                break
            told.append((*first, b"", (), None))
        while (piece := await asked.read()) is not None:
            assert piece
            body += piece
    except Broken:
        return [*told, ("broken",)]
    if head.status == 101:
        asked.switch()
        return [*told, (*first, body, (), None), ("switched", stream.take())]
    asked.release()
    assert bool(kept) is not bool(stream.closed)
    return [*told, (*first, body, asked.trailers, bool(kept)), ("end",)]
