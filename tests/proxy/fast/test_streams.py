"""The one file that has sockets: what a connection says when it ends, is full, or is broken off."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock

import pytest

from proxy.fast.streams import Secure, Stream, Tcp, dial
from proxy.fast.tls import Tls
from proxy.loops import fast_runner
from support.dialogues import Unread

TIMEOUT_S = 60
LARGE = 48 * 2**20
"""More than the kernel keeps for a connection: here up to 4 MiB that are to be sent and 32 that have come."""


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[Tcp, Tcp]]:
    """Both ends of a connection."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Tcp] = loop.create_future()
    server = await loop.create_server(lambda: Tcp(accepted.set_result), "127.0.0.1", 0)
    here = await dial(server.sockets[0].getsockname()[:2])
    there = await accepted
    try:
        yield here, there
    finally:
        here.abort()
        there.abort()
        server.close()
        await server.wait_closed()


async def _all(stream: Tcp) -> int:
    count = 0
    while data := await stream.read():
        count += len(data)
    return count


async def test_bytes_go_both_ways_and_each_half_ends_alone() -> None:
    """As of any connection."""
    async with _connected() as (here, there):
        here.write(b"hello")
        here.write_eof()
        assert await there.read(2) == b"he"
        there.put_back(b"HE")
        assert await there.read() == b"HEllo"
        assert await there.read() == b""
        there.write(b"still")
        there.close()
        assert await here.read() == b"still"
        assert await here.read() == b""


async def test_what_is_taken_makes_room() -> None:
    """Who looks without waiting, when the socket was left alone for what had come, does not stop it for ever."""
    async with _connected() as (here, there):
        here.write(b"x" * LARGE)
        taken = 0
        async with asyncio.timeout(10):
            while not there._paused:  # noqa: ASYNC110 -- nothing tells it
                await asyncio.sleep(0)
            taken += len(there.take())
            while taken < LARGE:
                taken += len(await there.read())
        assert taken == LARGE


async def test_what_comes_byte_by_byte_is_kept_as_one() -> None:
    """Else an agent that sends single bytes would have the gate keep fifty times as much as it may send."""
    async with _connected() as (_, there):
        for _ in range(1000):
            there.data_received(b"x")
        assert sys.getsizeof(there._unread) < 3000
        assert there.unread_bytes == 1000
        there.put_back(b"y")
        assert await there.read(2) == b"yx"
        assert await there.read() == b"x" * 999
        assert there.unread_bytes == 0


async def test_any_number_may_wait_for_room() -> None:
    """The streams of an HTTP/2 connection all write to one socket."""
    async with _connected() as (here, there):
        here.write(b"x" * LARGE)
        waiting = [asyncio.ensure_future(here.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        waiting[0].cancel()
        reading = asyncio.ensure_future(_all(there))
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting[1:])
        here.close()
        assert await reading == LARGE


async def test_what_has_ended_may_be_broken_off() -> None:
    """Closed while bytes are unsent, and over once they are sent: asyncio's transport then refuses an abort."""
    async with _connected() as (here, there):
        ended = asyncio.Event()
        here.on_lost = ended.set
        here.write(b"x" * LARGE)
        here.close()
        assert await _all(there) == LARGE
        await ended.wait()
        here.abort()


def test_what_is_written_to_what_is_over_is_dropped() -> None:
    """And raises nothing: uvloop's transport would."""

    async def late() -> None:
        async with _connected() as (here, _):
            over = asyncio.Event()
            here.on_lost = over.set
            here.abort()
            here.write(b"late")
            await over.wait()
            here.write(b"later")

    fast_runner()(late())


async def test_who_reads_no_answers_of_tls_is_not_read_on() -> None:
    """A key update asks for one (RFC 8446, 4.6.3): unread, those to one connection would fill the memory."""
    asked = 0

    def receive(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return b""

    tls = SimpleNamespace(ended=False, failed=False, receive=receive, pending=lambda: b"updated")
    below = Unread([b"update"] * 1000)
    reading = asyncio.ensure_future(Secure(below, cast(Tls, tls)).read())
    for _ in range(100):
        await asyncio.sleep(0)
    assert (asked, below.sent) == (1, b"updated")
    reading.cancel()


async def test_what_was_broken_off_here_is_not_whole() -> None:
    """A body that lasts until its connection ends would else end where we ended it."""
    async with _connected() as (here, _):
        reading = asyncio.ensure_future(here.read())
        await asyncio.sleep(0)
        here.abort()
        with pytest.raises(ConnectionAbortedError):
            await reading
        with pytest.raises(ConnectionAbortedError):
            await here.read()


async def test_what_was_broken_off_there_is_an_error() -> None:
    """Reset is not closed; whoever waits for room hears of it too."""
    async with _connected() as (here, there):
        ended = asyncio.Event()
        here.on_end = ended.set
        here.write(b"x" * LARGE)
        draining = asyncio.ensure_future(here.drain())
        there.transport.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: sends RST
        there.abort()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await draining
            await ended.wait()
        with pytest.raises(ConnectionError):
            await here.read()
        assert not here.quiet()


async def test_what_was_written_is_waited_for_until_the_other_side_has_read() -> None:
    """A stop that did not would cut the end of an answer off."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Tcp] = loop.create_future()
    server = await loop.create_server(lambda: Tcp(accepted.set_result), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=2**16)
        one = await accepted
        one.write(b"x" * LARGE)
        one.close()
        emptied = asyncio.ensure_future(one.emptied())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not emptied.done()
        assert len(await reader.read(-1)) == LARGE
        await emptied
        writer.close()


async def test_a_connection_that_nobody_takes_is_ended() -> None:
    """Whatever kept it from being served: whoever has dialled would wait for ever."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def accepted(_: Tcp) -> None:
        raise RuntimeError("planted")

    server = await asyncio.get_running_loop().create_server(lambda: Tcp(accepted), "127.0.0.1", 0)
    try:
        here = await dial(server.sockets[0].getsockname()[:2])
        with contextlib.suppress(OSError):
            assert await here.read() == b""
        here.abort()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_connection_that_never_began_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop only tells of what failed at its beginning, and whoever has dialled would wait for ever."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Tcp, "connection_made", planted)
    server = await asyncio.get_running_loop().create_server(Tcp, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"hello")
    async with asyncio.timeout(TIMEOUT_S):
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
    writer.close()
    server.close()


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_a_connection_whose_bytes_cannot_be_told_of_ends_for_who_reads(
    monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    """The loop ends it for that, and nobody waits for more."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def planted(_: Tcp) -> None:
        raise failure("planted")

    async with _connected() as (here, there):
        reading = asyncio.ensure_future(there.read())
        await asyncio.sleep(0)
        monkeypatch.setattr(Tcp, "_wake", planted)
        here.write(b"hello")
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(OSError, RuntimeError):
                await reading
        assert there.is_closing()


async def test_tls_of_which_it_is_not_said_whether_it_has_failed_is_read_on() -> None:
    """Asked again without a pause it would hold up all others."""

    def receive(data: bytes) -> bytes:
        assert data
        return data

    tls = SimpleNamespace(failed=object(), ended=False, receive=receive, pending=lambda: b"")
    below = SimpleNamespace(read=AsyncMock(return_value=b"hello"))
    assert await Secure(cast(Stream, below), cast(Tls, tls)).read() == b"hello"
