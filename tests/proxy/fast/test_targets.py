"""Connections to targets: which are used again, by whom, for how long, and what is asked once more."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
import trustme

from proxy.destinations import Route
from proxy.facts import Facts
from proxy.fast import targets
from proxy.fast.calls import Asked, Broken
from proxy.fast.http1 import Http1Asked
from proxy.fast.http2targets import Http2Target
from proxy.fast.targets import Place, Request, Targets
from support.gate import LiveGate, running
from support.plainserver import serving
from support.rules import ORIGIN_MAPPINGS

HOST = "origin.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMEOUT_S = 60

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listening:
    """A target on loopback whose connections are counted, and a pool in front of it."""

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None, ca: Path) -> None:
        self.talk = talk
        self.tls = tls
        self.connections = 0
        self.route: Route
        self.ended = asyncio.Semaphore(0)
        """Released when one has ended."""
        self.pool = Targets(ca, TIMEOUT_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError):
                await self.talk(reader, writer)
        finally:
            writer.close()
            self.ended.release()

    def place(self, **more: Any) -> Place:
        offered = ("h2", "http/1.1") if self.tls else ()
        return Place(**{"secure": bool(self.tls), "route": self.route, "offered": offered} | more)

    async def ask(self, place: Place | None = None, *fields: tuple[bytes, bytes]) -> tuple[bool, Asked]:
        facts = SimpleNamespace(request=SimpleNamespace(method="GET", scheme="https"), wire_authority=HOST)
        request = Request(cast(Facts, facts), "/", ((b"Host", HOST.encode()), *fields), whole=True, chunked=False)
        return await self.pool.ask(place or self.place(), request)

    async def answered(self, place: Place | None = None, *fields: tuple[bytes, bytes]) -> bool:
        """Ask, read the whole answer and let the connection go; whether it had been used before."""
        reused, asked = await self.ask(place, *fields)
        async with asyncio.timeout(TIMEOUT_S):
            await asked.answer()
            while await asked.read() is not None:
                pass
        asked.release()
        return reused

    async def one_has_ended(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.ended.acquire()


@asynccontextmanager
async def listening(talk: Talk, ca: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listening]:
    target = Listening(talk, tls, ca)
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0, ssl=tls)
    target.route = Route(HOST, server.sockets[0].getsockname()[:2], None, verify=True)
    try:
        yield target
    finally:
        target.pool.close()
        server.close()


@pytest.fixture
def tls(target_ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    target_ca.issue_cert(HOST).configure_cert(context)
    return context


def answering(answer: bytes = OK) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)

    async def until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await talk(reader, writer)

    return until_left


# --- HTTP/1 ----------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_by_the_next_request(target_ca_pem: Path) -> None:
    """One at a time; two at once have one each, and both are kept."""
    async with listening(answering(), target_ca_pem) as target:
        assert [await target.answered() for _ in range(3)] == [False, True, True]
        assert await asyncio.gather(target.answered(), target.answered()) == [True, False]
        assert await asyncio.gather(target.answered(), target.answered()) == [True, True]
        assert target.connections == 2


async def test_what_was_dialled_and_is_no_connection_is_not_remembered(
    target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop breaks off all connections that stand, and would fail at what is none."""

    async def dialled(_: tuple[str, int]) -> object:
        return object()

    async with listening(answering(), target_ca_pem) as target:
        with monkeypatch.context() as planted:
            planted.setattr(targets, "dial", dialled)
            with pytest.raises(TypeError):
                await target.ask()
        assert await target.answered() is False


@pytest.mark.parametrize("other", [{"route": None}, {"offered": ("http/1.1",)}], ids=["another name", "another ALPN"])
async def test_a_connection_is_kept_for_its_own_place(target_ca_pem: Path, other: dict[str, Any]) -> None:
    """What was dialled and verified for one name, or asked for one protocol, serves no other."""
    async with listening(answering(), target_ca_pem) as target:
        if "route" in other:
            other = {"route": Route("other.test", target.place().route.address, None, verify=True)}
        assert [await target.answered(), await target.answered(target.place(**other))] == [False, False]


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), ()),
        (OK.replace(b"1.1", b"1.0"), ()),
        (OK + b"more", ()),
        (b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", ()),
        (OK, ((b"Authorization", b"Negotiate abc"),)),
        (OK, ((b"Authorization", b"NTLM abc"),)),
    ],
    ids=["said to close", "HTTP/1.0", "more than the answer", "a length of nothing", "Negotiate", "NTLM"],
)
async def test_what_may_not_serve_another_request_does_not(
    target_ca_pem: Path, answer: bytes, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    """Where its end is not sure, or where it has become somebody's, a connection is closed."""
    async with listening(answering(answer), target_ca_pem) as target:
        assert [await target.answered(None, *fields) for _ in range(2)] == [False, False]
        await target.one_has_ended()


async def test_unused_connections_are_closed_after_a_while(
    target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the target closes them, as most do after some seconds."""
    monkeypatch.setattr(targets, "IDLE_S", 0.01)
    async with listening(answering(), target_ca_pem) as target:
        await target.answered()
        await target.one_has_ended()
        assert not target.pool._idle


async def test_no_more_than_so_many_are_kept(target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond are closed."""
    monkeypatch.setattr(targets, "MAX_IDLE", 1)
    async with listening(answering(), target_ca_pem) as target:
        await asyncio.gather(target.answered(), target.answered())
        await target.one_has_ended()
        assert target.pool._count == 1


async def test_what_was_dialled_before_a_reload_is_not_used_after_it(target_ca_pem: Path) -> None:
    """Unused ones are closed at once, one in use after its answer."""
    async with listening(answering(), target_ca_pem) as target:
        await target.answered()
        _, asked = await target.ask()
        target.pool.forget()
        await asked.answer()
        while await asked.read() is not None:
            pass
        asked.release()
        await target.one_has_ended()
        assert not await target.answered()


# --- TLS that is cut off ---------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
async def test_an_answer_without_a_length_is_whole_where_tls_has_ended(
    target_ca_pem: Path, tls: ssl.SSLContext, told: bool
) -> None:
    """Whoever cuts the connection off could else say where an answer ends (RFC 9112, 9.8)."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")
        await writer.drain()
        if not told:
            # No close_notify: the end of the connection alone.
            writer.transport.get_extra_info("socket").shutdown(1)
            await reader.read()

    async with listening(talk, target_ca_pem, tls) as target:
        _, asked = await target.ask()
        await asked.answer()
        assert await asked.read() == b"part"
        if told:
            assert await asked.read() is None
        else:
            with pytest.raises(Broken, match="before its body was whole"):
                await asked.read()
        asked.abort()


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
async def test_a_connection_on_which_nothing_can_be_asked_is_closed(
    target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Whatever fails before somebody has it: nobody else would end it."""
    async with listening(answering(), target_ca_pem) as target:
        if kept:
            await target.answered()
        monkeypatch.setattr(Http1Asked, "__init__", _fails)
        with pytest.raises(RuntimeError, match="planted"):
            await target.ask()
        await target.one_has_ended()


@pytest.mark.parametrize("asked", [None, object()], ids=["nothing", "another type"])
async def test_a_connection_of_which_nobody_says_what_was_asked_is_closed(
    target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch, asked: object
) -> None:
    """Nobody could end it."""
    async with listening(answering(), target_ca_pem) as target:
        monkeypatch.setattr(Targets, "_by_http1", lambda *_: asked)
        with pytest.raises(TypeError, match="nothing was asked"):
            await target.ask()
        await target.one_has_ended()


def _fails(*_: object, **__: object) -> None:
    raise RuntimeError("planted")


# --- HTTP/2 ----------------------------------------------------------------------------------------------


def speaking_http2(tls: ssl.SSLContext, refused: list[int], streams: int = 100) -> Talk:
    """A target that answers each request; with `streams` 0 it refuses them (RFC 9113, 8.7)."""
    tls.set_alpn_protocols(["h2"])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        spoken.local_settings.update({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        spoken.local_settings.acknowledge()
        spoken.initiate_connection()
        # Enforced by hand: h2 would end the connection.
        spoken.local_settings._settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS].appendleft(100)
        writer.write(spoken.data_to_send())
        while data := await reader.read(65_536):
            for event in spoken.receive_data(data):
                if not isinstance(event, h2.events.RequestReceived):
                    continue
                if streams:
                    spoken.send_headers(event.stream_id, [(":status", "204")], end_stream=True)
                else:
                    refused.append(event.stream_id)
                    spoken.reset_stream(event.stream_id, 7)  # REFUSED_STREAM
            writer.write(spoken.data_to_send())

    return talk


async def test_many_share_a_connection_of_http2_and_it_is_closed_when_nobody_uses_it(
    target_ca_pem: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as others are kept, and no longer."""
    monkeypatch.setattr(targets, "IDLE_S", 0.01)
    async with listening(speaking_http2(tls, []), target_ca_pem, tls) as target:
        await target.answered()
        assert await asyncio.gather(*(target.answered() for _ in range(5))) == [True] * 5
        assert target.connections == 1
        await target.one_has_ended()
        assert (target.pool._shared, target.pool._unused) == ({}, {})
        assert not await target.answered()


@pytest.mark.parametrize("name", ["__init__", "ask"])
async def test_a_connection_of_http2_on_which_nothing_can_be_asked_is_nobodys(
    target_ca_pem: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is closed, and the next request is asked on another."""
    async with listening(speaking_http2(tls, []), target_ca_pem, tls) as target:
        with monkeypatch.context() as planted:
            planted.setattr(Http2Target, name, _fails)
            with pytest.raises(RuntimeError, match="planted"):
                await target.ask()
        assert target.pool._shared == {}
        await target.one_has_ended()
        assert not await target.answered()


async def test_a_connection_in_use_is_not_closed_as_unused(
    target_ca_pem: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks just before the time is up keeps it."""
    async with listening(speaking_http2(tls, []), target_ca_pem, tls) as target:
        await target.answered()
        reused, asked = await target.ask()
        monkeypatch.setattr(targets, "IDLE_S", 0)
        target.pool._look()
        await asked.answer()
        assert (reused, await asked.read(), target.pool._unused) == (True, None, {})
        asked.release()
        assert len(target.pool._unused) == 1


async def test_a_target_that_takes_no_requests_is_not_dialled_for_each(
    target_ca_pem: Path, tls: ssl.SSLContext
) -> None:
    """It has said so (SETTINGS_MAX_CONCURRENT_STREAMS 0), and would say it on the next connection too."""
    refused: list[int] = []
    async with listening(speaking_http2(tls, refused, streams=0), target_ca_pem, tls) as target:
        with pytest.raises(Broken, match=r"REFUSED_STREAM|takes no"):
            await target.answered()
        for _ in range(3):
            with pytest.raises(Broken, match="takes no requests for now"):
                await target.answered()
        assert target.connections == 1
        assert len(refused) <= 1


# --- once more -------------------------------------------------------------------------------------------


class Closing:
    """A target that answers one request of its first connection and ends that at the next; later ones it answers."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    def __call__(self, connection: socket.socket) -> None:
        first = not self.heads
        while head := connection.recv(65_536):
            self.heads.append(head.split(b" ")[0])
            if first and len(self.heads) == 2:
                return
            connection.sendall(OK)


def asked_again(folder: Path, ask: Callable[[httpx.Client, str], httpx.Response]) -> tuple[int, list[bytes], str]:
    """What came of a request whose kept connection was closed: its status, what the target was sent, its outcome."""
    closing = Closing()
    with serving(closing) as address:
        config = {"proxy": {"engine": "fast"}, "resolve": {"plain.test": {"address": address}}}
        with (
            running(LiveGate(folder, mappings=ORIGIN_MAPPINGS, config=config)) as gate,
            httpx.Client(proxy=gate.proxy(), trust_env=False) as client,
        ):
            url = "http://plain.test/echo"
            assert client.get(url).status_code == 200
            status = ask(client, url).status_code
            outcome = gate.outcome_of(gate.records()[-1])
    return status, closing.heads, str(outcome["result"])


@pytest.mark.engines("fast")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_what_may_be_repeated_is_sent_again_when_its_connection_was_closed(tmp_path: Path, method: str) -> None:
    """Once, on a new connection: the target may have closed the kept one before it was asked (RFC 9110, 9.2.2)."""
    found = asked_again(tmp_path, lambda client, url: client.request(method, url))
    again = method.encode()
    assert found == (200, [b"GET", again, again], "sent")


def test_what_may_not_be_repeated_is_not(tmp_path: Path) -> None:
    """Whether the target has acted on it, nobody knows."""
    found = asked_again(tmp_path, lambda client, url: client.post(url, content=b"{}"))
    assert found == (502, [b"GET", b"POST"], "failed")


@pytest.mark.engines("fast")
@pytest.mark.parametrize("content", [b"{}", [b"{", b"}"]], ids=["length", "chunked"])
def test_what_is_not_at_hand_any_more_is_not_sent_again(tmp_path: Path, content: bytes | list[bytes]) -> None:
    """A body that no rule reads is passed on as it comes; without it, the request would swallow the next one."""
    sent = content if isinstance(content, bytes) else iter(content)
    status, heads, result = asked_again(tmp_path, lambda client, url: client.put(url, content=sent))
    assert (status, heads.count(b"PUT"), result) == (502, 1, "failed")
