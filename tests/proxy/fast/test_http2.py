"""HTTP/2 of the fast engine: dialogues in memory with an h2 of the other side, then over sockets."""

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from unittest.mock import AsyncMock

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h2.stream
import httpx
import hyperframe.frame as frames
import pytest
import trustme
from hpack import Decoder, Encoder

from proxy.fast import http2heads, lenient, multiplexing
from proxy.fast.calls import Broken, Gone
from proxy.fast.flows import WINDOW_BYTES, Flow
from proxy.fast.heads import NotHttp
from proxy.fast.http2agents import Http2Agent, Http2Call
from proxy.fast.http2targets import Http2Asked, Http2Target, Unprocessed
from proxy.fast.streams import Secure, Tcp, dial
from proxy.fast.tls import Tls
from proxy.limits import Limits
from support.targets.h2 import H2Origin

TIMEOUT_S = 60
KIB, MIB = 2**10, 2**20
PSEUDO = ((b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/x"))


# --- a connection in memory ------------------------------------------------------------------------------


class Memory:
    """One end of a connection that is two buffers."""

    cut_off = False

    def __init__(self) -> None:
        self.other: Memory
        self.on_end: Callable[[], None] = lambda: None
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._ended = False
        self._closed = False
        self.flowing = asyncio.Event()
        """Clear it, and whoever drains waits."""
        self.flowing.set()
        self.lingers = False
        """Whether closing it waits for the other side, which does not read."""

    async def read(self, most: int = 2**20, /) -> bytes:
        while not self._buffer and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def put_back(self, data: bytes) -> None:
        self._buffer[:0] = data

    def take(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def quiet(self) -> bool:
        return not self._buffer and not self._ended

    def write(self, data: bytes) -> None:
        if not self._closed:
            self.other._buffer += data
            self.other._changed.set()

    async def drain(self) -> None:
        await self.flowing.wait()

    def write_eof(self) -> None:
        self.other.end()

    def end(self) -> None:
        self._ended = True
        self._changed.set()
        self.on_end()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self.lingers:
                self.abort()

    def abort(self) -> None:
        self._closed = True
        self.other.end()
        self.end()

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default


def pair() -> tuple[Memory, Memory]:
    one, two = Memory(), Memory()
    one.other, two.other = two, one
    return one, two


class Peer:
    """The other side, spoken by a plain h2."""

    def __init__(self, stream: Any, *, client: bool) -> None:
        self.stream = stream
        self.client = client
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=client,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=not client,
            )
        )
        self.seen: list[h2.events.Event] = []
        self.acknowledges = True

    def start(self, **settings: int) -> "Peer":
        self.h2.local_settings.update({h2.settings.SettingCodes[name.upper()]: n for name, n in settings.items()})
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        return self.flush()

    def flush(self) -> "Peer":
        if data := self.h2.data_to_send():
            self.stream.write(data)
        return self

    def ask(self, *fields: tuple[bytes, bytes], end: bool = True, method: bytes = b"POST") -> int:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [(b":method", method), *PSEUDO[1:], *fields], end_stream=end)
        self.flush()
        return number

    def answer(self, number: int, *fields: tuple[bytes, bytes], status: bytes = b"200", end: bool = False) -> None:
        self.h2.send_headers(number, [(b":status", status), *fields], end_stream=end)
        self.flush()

    def data(self, number: int, data: bytes = b"", *, end: bool = False) -> None:
        self.h2.send_data(number, data, end_stream=end)
        self.flush()

    async def step(self) -> bool:
        """Take what comes; False at the end."""
        data = await asyncio.wait_for(self.stream.read(), TIMEOUT_S)
        for event in self.h2.receive_data(data) if data else ():
            self.seen.append(event)
            if isinstance(event, h2.events.DataReceived) and self.acknowledges:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        return bool(data)

    def of[E: h2.events.Event](self, kind: type[E], number: int | None = None) -> list[E]:
        return [
            event
            for event in self.seen
            if isinstance(event, kind) and number in (None, getattr(event, "stream_id", None))
        ]

    async def until[E: h2.events.Event](self, kind: type[E], number: int | None = None) -> E:
        """The first such event."""
        while not (found := self.of(kind, number)):
            assert await self.step(), f"the connection ended before {kind.__name__}"
        return found[0]

    async def to_the_end(self) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # plain h2 takes nothing after a GOAWAY
            while await self.step():
                pass

    def body(self, number: int) -> bytes:
        return b"".join(event.data for event in self.of(h2.events.DataReceived, number))

    def status(self, number: int) -> bytes:
        (event,) = self.of(h2.events.ResponseReceived, number)
        return dict(event.headers)[b":status"]


type Serve = Callable[[Http2Call], Awaitable[None]]


class Served:
    """An agent's side that runs, and the agent."""

    def __init__(self, serve: Serve, **limits: int) -> None:
        self.end, other = pair()
        self.limited: list[str] = []
        self.calls: list[Http2Call] = []

        async def noted(call: Http2Call) -> None:
            self.calls.append(call)
            await serve(call)

        self.agent = Http2Agent(self.end, Limits(**limits), noted, self.limited.append)
        self.peer = Peer(other, client=True)

    async def __aenter__(self) -> "Served":
        self.running = asyncio.ensure_future(self.agent.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end.abort()
        await asyncio.wait_for(self.running, TIMEOUT_S)
        assert not self.agent.calls
        assert not self.agent.flows


async def turns() -> None:
    """Let the loop turn so often that whatever was to come of what is in memory would have come."""
    for _ in range(1000):
        await asyncio.sleep(0)


async def settled(holds: Callable[[], object]) -> None:
    """Let the loop go on until this holds."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to hold")


async def whole(read: Callable[[], Awaitable[bytes | None]]) -> bytes:
    pieces = []
    while (piece := await read()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


async def echo(call: Http2Call) -> None:
    """Answer with the body, and its length as a trailer."""
    body = await whole(call.read)
    call.begin(200, b"", ((b"Content-Type", b"text/plain"), (b"Connection", b"close")), "POST")
    await call.send(body)
    await call.end(((b"X-Length", b"%d" % len(body)),))


# --- agents ----------------------------------------------------------------------------------------------


async def test_a_request_is_served() -> None:
    """Its head as it came, its body, an answer without the fields of HTTP/1, and trailers."""
    async with Served(echo) as served:
        peer = served.peer.start()
        number = peer.ask((b"x-a", b"1"), (b"te", b"trailers"), end=False)
        peer.data(number, b"hello")
        peer.data(number, b" you", end=True)
        await peer.until(h2.events.StreamEnded, number)
        (call,) = served.calls
        head = call.head
        assert (head.method, head.target, head.version) == (b"POST", b"/x", b"HTTP/2.0")
        assert (head.scheme, head.authority) == (b"https", b"a.test")
        assert head.fields == ((b"x-a", b"1"), (b"te", b"trailers"))
        assert (call.http2, call.bodiless, call.malformed, call.complete) == (True, False, None, True)
        (answer,) = peer.of(h2.events.ResponseReceived)
        assert list(answer.headers) == [(b":status", b"200"), (b"content-type", b"text/plain")]
        assert peer.body(number) == b"hello you"
        (trailers,) = peer.of(h2.events.TrailersReceived)
        assert list(trailers.headers) == [(b"x-length", b"9")]


async def test_an_answer_without_a_body_is_one_frame() -> None:
    """Clients of gRPC take only that for an error without an answer ("Trailers-Only")."""

    async def refuse(call: Http2Call) -> None:
        assert call.complete
        call.interim(103, ((b"Link", b"</a>"),))
        call.begin(200, b"", ((b"grpc-status", b"7"),), "POST")
        await call.end()

    async with Served(refuse) as served:
        peer = served.peer.start()
        number = peer.ask()
        await peer.until(h2.events.StreamEnded, number)
        assert len(peer.of(h2.events.InformationalResponseReceived)) == 1
        (answer,) = peer.of(h2.events.ResponseReceived)
        assert answer.stream_ended is not None


async def test_the_head_of_an_answer_does_not_wait_for_its_body() -> None:
    """A stream of events begins before its first event."""
    going = asyncio.Event()

    async def slowly(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        await going.wait()
        await call.send(b"event")
        await call.end()

    async with Served(slowly) as served:
        peer = served.peer.start()
        number = peer.ask()
        await peer.until(h2.events.ResponseReceived, number)
        assert peer.body(number) == b""
        going.set()
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b"event"


@pytest.mark.parametrize("name", ["_take", "take_in_turns"])
async def test_bytes_of_which_nothing_is_said_end_the_connection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes them says that nothing is wrong with them, in so many words."""
    monkeypatch.setattr(Http2Agent, name, AsyncMock(return_value=None) if name == "take_in_turns" else lambda *_: None)
    async with Served(echo) as served:
        served.peer.start()
        await asyncio.wait_for(served.running, TIMEOUT_S)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_an_answer_that_has_no_body_gets_none(method: str, status: int) -> None:
    """Whatever its fields say of a length (RFC 9110, 8.6)."""

    async def answer(call: Http2Call) -> None:
        call.begin(status, b"", ((b"content-length", b"5"),), method)
        await call.send(b"hello")
        await call.end(((b"x-a", b"1"),))

    async with Served(answer) as served:
        peer = served.peer.start()
        number = peer.ask(method=method.encode())
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b""


async def test_a_body_is_kept_only_as_far_as_its_window() -> None:
    """What is not read is not given back, and what is read is; other requests are not held up."""
    reading = asyncio.Event()

    async def serve(call: Http2Call) -> None:
        if call.head.all(b"x-wait"):
            await reading.wait()
        await echo(call)

    async with Served(serve) as served:
        peer = served.peer.start(initial_window_size=2**24)
        peer.h2.increment_flow_control_window(2**24)
        await peer.until(h2.events.RemoteSettingsChanged)
        await peer.until(h2.events.WindowUpdated)
        stuck = peer.ask((b"x-wait", b"1"), end=False)
        while (room := peer.h2.local_flow_control_window(stuck)) > 0:
            peer.data(stuck, b"a" * min(room, 16 * KIB))
        free = peer.ask(end=False)
        for _ in range(32):
            while peer.h2.local_flow_control_window(free) < 16 * KIB:
                await peer.step()
            peer.data(free, b"b" * (16 * KIB))
        peer.data(free, end=True)
        await peer.until(h2.events.StreamEnded, free)
        assert len(peer.body(free)) == 32 * 16 * KIB
        assert peer.h2.local_flow_control_window(stuck) == 0
        reading.set()
        while peer.h2.local_flow_control_window(stuck) == 0:
            await peer.step()
        peer.data(stuck, end=True)
        await peer.until(h2.events.StreamEnded, stuck)
        assert len(peer.body(stuck)) == WINDOW_BYTES


async def test_an_answer_waits_for_its_window() -> None:
    """One that the agent does not read holds back no other; it goes on where it stopped."""
    sent: dict[int, int] = {}

    async def download(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        for _ in range(8):
            await call.send(b"a" * (64 * KIB))
            sent[call.flow.number] = sent.get(call.flow.number, 0) + 64 * KIB
        await call.end()

    async with Served(download) as served:
        peer = served.peer.start(initial_window_size=100_000)
        peer.h2.increment_flow_control_window(2**24)
        peer.flush()
        peer.acknowledges = False
        one, two = peer.ask(), peer.ask()
        while len(peer.body(one)) < 100_000 or len(peer.body(two)) < 100_000:
            await peer.step()
        assert sent == {one: 64 * KIB, two: 64 * KIB}
        peer.h2.increment_flow_control_window(2**20, two)
        peer.flush()
        await peer.until(h2.events.StreamEnded, two)
        assert len(peer.body(two)) == 512 * KIB
        assert len(peer.body(one)) == 100_000
        peer.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
        peer.flush()
        await peer.until(h2.events.StreamEnded, one)
        assert len(peer.body(one)) == 512 * KIB


async def test_the_window_of_the_connection_is_shared() -> None:
    """No answer takes all of it while others wait."""

    async def download(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        await call.send(b"a" * (256 * KIB))
        await call.end()

    async with Served(download) as served:
        peer = served.peer.start(initial_window_size=2**24)
        peer.acknowledges = False
        numbers = [peer.ask() for _ in range(4)]
        while sum(len(peer.body(number)) for number in numbers) < 65_535:
            await peer.step()
        for _ in range(16):
            before = sum(len(peer.body(number)) for number in numbers)
            peer.h2.increment_flow_control_window(16 * KIB)
            peer.flush()
            while sum(len(peer.body(number)) for number in numbers) < before + 16 * KIB:
                await peer.step()
        assert min(len(peer.body(number)) for number in numbers) >= 32 * KIB


async def test_an_agent_that_does_not_take_bytes_holds_up_who_sends() -> None:
    """What cannot leave is not piled up, for any number of answers."""
    sent: list[int] = []

    async def download(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        for _ in range(8):
            await call.send(b"a" * (64 * KIB))
            sent.append(call.flow.number)
        await call.end()

    async with Served(download) as served:
        peer = served.peer.start(initial_window_size=2**24)
        peer.h2.increment_flow_control_window(2**24)
        peer.flush()
        await peer.until(h2.events.SettingsAcknowledged)
        served.end.flowing.clear()
        numbers = [peer.ask() for _ in range(3)]
        await turns()
        assert not sent
        served.end.flowing.set()
        for number in numbers:
            await peer.until(h2.events.StreamEnded, number)
        assert len(sent) == 24


async def test_a_request_that_is_given_up_ends_at_once() -> None:
    """Who waits for it is told; who reads or sends gets Gone."""
    told = asyncio.Event()
    raised: list[str] = []

    async def serve(call: Http2Call) -> None:
        call.leave = told.set
        for act in (call.read, lambda: call.send(b"x"), call.end):
            try:
                await act()
            except Gone as error:
                raised.append(str(error))
        call.interim(100)
        call.begin(200, b"", (), "GET")
        call.abort()

    async with Served(serve) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await peer.until(h2.events.SettingsAcknowledged)
        peer.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        peer.flush()
        await asyncio.wait_for(told.wait(), TIMEOUT_S)
        other = peer.ask(end=True)
        peer.h2.reset_stream(other, h2.errors.ErrorCodes.CANCEL)
        peer.flush()
        await settled(lambda: not served.agent.calls)
        assert not peer.of(h2.events.StreamReset)
    assert raised[:3] == ["the agent has given the request up (CANCEL)"] * 3


async def test_a_request_that_is_taken_back_at_once_is_not_served() -> None:
    """Nothing is spent on it, and nobody would hear of it (CVE-2023-44487)."""
    async with Served(echo) as served:
        peer = served.peer.start()
        taken_back = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(taken_back, list(PSEUDO), end_stream=True)
        peer.h2.reset_stream(taken_back)
        peer.flush()
        await peer.until(h2.events.StreamEnded, peer.ask())
        assert [call.flow.number for call in served.calls] == [taken_back + 2]


async def test_when_the_connection_ends_every_request_is_gone() -> None:
    """Also the ones that wait for a window."""
    left: list[int] = []
    gone: list[str] = []

    async def serve(call: Http2Call) -> None:
        call.leave = lambda: left.append(call.flow.number)
        try:
            if call.complete:
                call.begin(200, b"", (), "GET")
                await call.send(b"a" * MIB)
            else:
                await call.read()
        except Gone as error:
            gone.append(str(error))
            raise

    async with Served(serve) as served:
        peer = served.peer.start()
        numbers = [peer.ask(), peer.ask(end=False)]
        await peer.until(h2.events.DataReceived)
        peer.stream.close()
        await asyncio.wait_for(served.running, TIMEOUT_S)
        assert left == numbers
        assert gone == ["the connection was closed"] * 2


async def test_what_nobody_answers_is_broken_off() -> None:
    """No half answer looks whole, and the other requests go on."""

    async def serve(call: Http2Call) -> None:
        match call.head.all(b"x-how"):
            case [b"raise"]:
                raise RuntimeError("planted")
            case [b"half"]:
                call.begin(200, b"", (), "GET")
                await call.send(b"half")
            case [b"abort"]:
                call.begin(200, b"", (), "GET")
                await call.send(b"half")
                call.abort()
            case _:
                await echo(call)

    async with Served(serve) as served:
        peer = served.peer.start()
        for how in (b"raise", b"half", b"abort", b"nothing is said"):
            number = peer.ask((b"x-how", how))
            if how == b"nothing is said":
                await peer.until(h2.events.StreamEnded, number)
            else:
                reset = await peer.until(h2.events.StreamReset, number)
                assert reset.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
                assert not peer.of(h2.events.StreamEnded, number)


async def test_a_stream_whose_serving_fails_before_it_begins_has_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails, its agent does not wait for ever, and the other requests go on."""
    serve_to_the_end = Http2Agent._serve_to_the_end

    async def planted(agent: Http2Agent, call: Http2Call) -> None:
        if call.head.all(b"x-how"):
            raise RuntimeError("planted")
        await serve_to_the_end(agent, call)

    monkeypatch.setattr(Http2Agent, "_serve_to_the_end", planted)
    async with Served(echo) as served:
        peer = served.peer.start()
        number = peer.ask((b"x-how", b"raise"), end=False)
        reset = await peer.until(h2.events.StreamReset, number)
        assert reset.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
        assert list(served.agent.calls) == []
        await peer.until(h2.events.StreamEnded, peer.ask())
        served.agent.stop()
        await asyncio.wait_for(served.running, TIMEOUT_S)
    assert "planted" in caplog.text


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_an_answer_whose_head_cannot_be_sent_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    """Its agent hears of it while whoever answers is still at it, and what others send goes out."""
    put_answer, answered = Http2Call._put_answer, asyncio.Event()

    def planted(call: Http2Call, *, end: bool = False) -> None:
        if call.head.all(b"x-how"):
            raise failure("planted")
        put_answer(call, end=end)

    async def serve(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        if call.head.all(b"x-how"):
            await answered.wait()
        await call.end()

    monkeypatch.setattr(Http2Call, "_put_answer", planted)
    async with Served(serve) as served:
        peer = served.peer.start()
        broken, whole = peer.ask((b"x-how", b"raise")), peer.ask()
        assert (await peer.until(h2.events.StreamReset, broken)).error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
        await peer.until(h2.events.StreamEnded, whole)
        answered.set()


async def test_the_rest_of_a_refused_body_is_read_but_not_without_end() -> None:
    """So that the agent gets to the answer (RFC 9113, 8.1)."""

    async def refuse(call: Http2Call) -> None:
        call.begin(403, b"", (), "POST")
        await call.send(b"no")
        await call.end()

    async with Served(refuse) as served:
        peer = served.peer.start()
        short, long = peer.ask(end=False), peer.ask(end=False)
        await peer.until(h2.events.StreamEnded, short)
        await peer.until(h2.events.StreamEnded, long)
        for _ in range(64):
            await send_when_it_fits(peer, short, 16 * KIB)
        peer.data(short, end=True)
        sent = 0
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            while not peer.of(h2.events.StreamReset, long):
                await send_when_it_fits(peer, long, 16 * KIB)
                sent += 16 * KIB
        (reset,) = peer.of(h2.events.StreamReset)
        assert (reset.stream_id, reset.error_code) == (long, h2.errors.ErrorCodes.NO_ERROR)
        assert 4 * MIB <= sent <= 5 * MIB


async def refuse(call: Http2Call) -> None:
    """What a gate answers before the body has come."""
    call.last()
    call.begin(403, b"", ((b"content-length", b"2"),), "POST")
    await call.send(b"no")
    await call.end()


async def test_a_refusal_says_all_at_once_and_ends_behind_its_request() -> None:
    """Nor does it say its length: curl 7.88 reads nothing more when it has all of an answer."""

    async with Served(refuse) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await peer.until(h2.events.DataReceived, number)
        assert (peer.status(number), peer.body(number)) == (b"403", b"no")
        assert b"content-length" not in dict(peer.of(h2.events.ResponseReceived, number)[0].headers)
        await send_when_it_fits(peer, number, 16 * KIB)
        await turns()
        assert not peer.of(h2.events.StreamEnded, number)
        peer.data(number, end=True)
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b"no"
        assert not peer.of(h2.events.StreamReset)


async def test_a_refusal_does_not_wait_for_who_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an agent that sends nothing more nothing is waited for; curl 7.88 reads both ends when they come together."""
    monkeypatch.setattr("proxy.fast.http2agents._QUIET_S", 0.01)

    async with Served(refuse) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await peer.until(h2.events.StreamEnded, number)
        assert (peer.status(number), peer.body(number)) == (b"403", b"no")
        (reset,) = peer.of(h2.events.StreamReset, number)
        assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR


@pytest.mark.parametrize("sent", [b"abc", b"abcde"])
async def test_a_body_of_another_length_that_has_come_is_known_before_anything_is_forwarded(sent: bytes) -> None:
    """There are servers that take a head alone for a request whose body does not come."""
    faults: asyncio.Queue[str | None] = asyncio.Queue()

    async def look(call: Http2Call) -> None:
        faults.put_nowait(await call.fault())

    async with Served(look) as served:
        peer = served.peer.start()
        for body in (sent, b"abcd"):
            number = peer.h2.get_next_available_stream_id()
            peer.h2.send_headers(number, [*PSEUDO, (b"content-length", b"4")])
            peer.h2.send_data(number, body, end_stream=True)
            peer.flush()
        assert await faults.get() == "the body is not as long as its content length says"
        assert await faults.get() is None


async def test_an_agent_whose_request_waits_is_pinged() -> None:
    """Its own timer, and those on the way, begin anew; no answer has begun."""

    async def wait(call: Http2Call) -> None:
        call.sign_of_life()
        await asyncio.Event().wait()

    async with Served(wait) as served:
        peer = served.peer.start()
        number = peer.ask()
        await peer.until(h2.events.PingReceived)
        assert not peer.of(h2.events.ResponseReceived, number)
        for task in served.agent._tasks:
            task.cancel()


async def test_the_rest_of_a_refused_body_is_waited_for_only_so_long() -> None:
    """A request that was answered and does not end is ended."""

    async def refuse(call: Http2Call) -> None:
        call.begin(403, b"", (), "POST")
        await call.end()

    async with Served(refuse, body_s=1) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        reset = await peer.until(h2.events.StreamReset, number)
        assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR
        assert peer.status(number) == b"403"


async def send_when_it_fits(peer: Peer, number: int, count: int) -> None:
    while peer.h2.local_flow_control_window(number) < count:
        await peer.step()
    peer.data(number, b"a" * count)


MALFORMED: dict[str, tuple[tuple[tuple[bytes, bytes], ...], str]] = {
    "a connection field": ((*PSEUDO, (b"connection", b"close")), "a field of HTTP/1"),
    "a transfer coding": ((*PSEUDO, (b"transfer-encoding", b"chunked")), "a field of HTTP/1"),
    "a transfer coding in disguise": ((*PSEUDO, (b"Transfer-Encoding", b"chunked")), "a field of HTTP/1"),
    "an upgrade": ((*PSEUDO, (b"upgrade", b"h2c")), "a field of HTTP/1"),
    "another te": ((*PSEUDO, (b"te", b"gzip")), "a field of HTTP/1"),
    "an upper-case name": ((*PSEUDO, (b"X-A", b"1")), "the name of a field"),
    "an empty name": ((*PSEUDO, (b"", b"1")), "the name of a field"),
    "a blank in a name": ((*PSEUDO, (b"x a", b"1")), "the name of a field"),
    "a colon in a name": ((*PSEUDO, (b"x:a", b"1")), "the name of a field"),
    "a line end in a value": ((*PSEUDO, (b"x-a", b"1\r\nx-b: 2")), "a field holds"),
    "a NUL in a value": ((*PSEUDO, (b"x-a", b"1\0")), "a field holds"),
    "a blank behind a value": ((*PSEUDO, (b"x-a", b"1 ")), "a field holds"),
    "a blank before a value": ((*PSEUDO, (b"x-a", b"\t1")), "a field holds"),
    "a pseudo field twice": ((*PSEUDO, (b":path", b"/y")), "a pseudo field stands there twice"),
    "two authorities": ((*PSEUDO, (b":authority", b"b.test")), "a pseudo field stands there twice"),
    "a pseudo field behind others": ((PSEUDO[0], *PSEUDO[2:], (b"x", b"1"), PSEUDO[1]), "a pseudo field stands behind"),
    "a status": ((*PSEUDO, (b":status", b"200")), "a pseudo field is not one"),
    "an unknown pseudo field": ((*PSEUDO, (b":x", b"1")), "a pseudo field is not one"),
    "a line end in the path": ((*PSEUDO[:3], (b":path", b"/x\r\n")), "a pseudo field holds"),
    "no path": (PSEUDO[:3], "the request has no"),
    "an empty path": ((*PSEUDO[:3], (b":path", b"")), "the request has no"),
    "no method": (PSEUDO[1:], "the request has no"),
    "no scheme": ((PSEUDO[0], *PSEUDO[2:]), "the :scheme"),
    "another scheme": ((PSEUDO[0], (b":scheme", b"ftp"), *PSEUDO[2:]), "the :scheme"),
    "a CONNECT": (((b":method", b"CONNECT"), (b":authority", b"b.test:443")), "a CONNECT inside"),
    "an extended CONNECT": (
        ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *PSEUDO[1:]),
        "a CONNECT inside",
    ),
    "two lengths": ((*PSEUDO, (b"content-length", b"5"), (b"content-length", b"5")), "more than one content length"),
    "a length that is none": ((*PSEUDO, (b"content-length", b"+5")), "its content length is no number"),
    "a length with a blank": ((*PSEUDO, (b"content-length", b"5,5")), "its content length is no number"),
    "a length and no body": ((*PSEUDO, (b"content-length", b"5")), "promises a body that does not come"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_head_is_one_request(name: str) -> None:
    """It is served with its fault, and answered; the requests beside it go on."""
    fields, fault = MALFORMED[name]

    async def serve(call: Http2Call) -> None:
        call.begin(400 if call.malformed else 200, b"", (), "GET")
        await call.end()

    async with Served(serve) as served:
        peer = served.peer.start()
        peer.flush()
        encoder = Encoder()
        ends = "two lengths" not in name and "is none" not in name and "with a blank" not in name
        head = frames.HeadersFrame(1, data=encoder.encode(fields), flags=["END_HEADERS"] + ["END_STREAM"] * ends)
        served.peer.stream.write(head.serialize())
        await settled(lambda: served.calls)
        (call,) = served.calls
        assert call.malformed is not None
        assert fault in call.malformed
        peer.h2.send_headers(1, list(PSEUDO), end_stream=True)  # for its own books; the agent gets another frame
        peer.h2.clear_outbound_data_buffer()
        await peer.until(h2.events.ResponseReceived, 1)
        assert peer.status(1) == b"400"


def test_what_is_no_fault() -> None:
    """Each is read, and as it was sent."""
    for fields in (
        (),
        ((b"x-a", b""),),
        ((b"te", b"trailers"),),
        ((b"content-length", b"0"),),
        ((b"host", b"a.test"),),
        ((b"x-a", b"\xff \x01 b"),),  # what no value of HTTP may hold is the pipeline's to refuse
    ):
        head, fault = http2heads.read_request([*PSEUDO, *fields], whole=True)
        assert (head.fields, fault) == (fields, None)


def test_cookies_in_pieces_are_one_field() -> None:
    """RFC 9113, 8.2.3: to HTTP/1 they go as one, where the first of them stood."""
    head, fault = http2heads.read_request(
        [*PSEUDO, (b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")], whole=True
    )
    assert fault is None
    assert head.fields == ((b"cookie", b"a=1; b=2; c=3"), (b"x", b"1"))


@pytest.mark.parametrize("ending", ["data", "empty", "trailers", "too long"])
async def test_a_body_that_is_not_as_long_as_it_says_is_none(ending: str) -> None:
    """Sent to HTTP/1 with its length, a shorter one would take the next request for its rest."""
    read: list[bool] = []

    async def serve(call: Http2Call) -> None:
        with pytest.raises(NotHttp):
            await whole(call.read)
        read.append(call.complete)
        call.begin(400, b"", (), "POST")
        await call.end()

    async with Served(serve) as served:
        peer = served.peer.start()
        number = peer.ask((b"content-length", b"10"), end=False)
        if ending == "too long":
            peer.data(number, b"a" * 11, end=True)
        else:
            peer.data(number, b"a" * 9, end=ending == "data")
        if ending == "empty":
            peer.data(number, end=True)
        elif ending == "trailers":
            peer.h2.send_headers(number, [(b"content-length", b"9")], end_stream=True)
            peer.flush()
        await peer.until(h2.events.StreamEnded, number)
        assert peer.status(number) == b"400"
        assert read == [False]


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (Flow, "keep", lambda *_: None),
        (Flow, "read", AsyncMock(return_value=None)),
        (Http2Agent, "_on_data", lambda *_: None),
    ],
)
async def test_a_body_of_which_a_piece_was_lost_is_none(
    place: type, name: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come is counted where it comes: an end before all of it was read is no end, with or without a length."""
    monkeypatch.setattr(place, name, broken)

    told: list[bool] = []

    async def serve(call: Http2Call) -> None:
        try:
            await whole(call.read)
        finally:
            told.append(call.complete)

    async with Served(serve) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        peer.data(number, b"a", end=True)
        await peer.until(h2.events.StreamReset, number)
    assert told == [False]


async def test_trailers_of_a_request_end_its_body() -> None:
    """They are behind what is judged, so nobody gets them."""
    async with Served(echo) as served:
        peer = served.peer.start()
        number = peer.ask((b"content-length", b"2"), end=False)
        peer.data(number, b"hi")
        peer.h2.send_headers(number, [(b"x-a", b"1")], end_stream=True)
        peer.flush()
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b"hi"
        assert served.calls[0].head.fields == ((b"content-length", b"2"),)


def _by_hand(make: Callable[[int], frames.Frame], count: int) -> Iterable[bytes]:
    return (make(number).serialize() for number in range(count))


FLOODS: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "pings": (lambda: _by_hand(lambda n: frames.PingFrame(0, opaque_data=b"%08d" % n), 600), "limit.http2-frames"),
    "settings": (
        lambda: _by_hand(lambda n: frames.SettingsFrame(0, settings={4: 65_535 + n}), 600),
        "limit.http2-frames",
    ),
    "windows": (
        lambda: _by_hand(lambda _: frames.WindowUpdateFrame(0, window_increment=1), 600),
        "limit.http2-frames",
    ),
    "a head that never ends": (
        lambda: _by_hand(
            lambda n: frames.ContinuationFrame(1, data=b"\0" * 4000) if n else frames.HeadersFrame(1, data=b""), 40
        ),
        "wire.head-too-long",
    ),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_the_connection(name: str) -> None:
    """With GOAWAY and ENHANCE_YOUR_CALM (RFC 9113, 7)."""
    make, code = FLOODS[name]
    async with Served(echo, http2_frames_per_s=50) as served:
        peer = served.peer.start()
        served.peer.stream.write(b"".join(make()))
        await peer.to_the_end()
        assert served.limited == [code]
        (goodbye,) = peer.of(h2.events.ConnectionTerminated)
        assert goodbye.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


OVER: dict[str, Callable[[int], frames.Frame]] = {
    "data": lambda number: frames.DataFrame(number, data=b"x"),
    "heads": lambda number: frames.HeadersFrame(number, data=b"\x82", flags=["END_HEADERS"]),
}


@pytest.mark.parametrize("what", OVER)
async def test_what_comes_on_a_request_that_is_over_waits_for_who_reads_its_answers(what: str) -> None:
    """h2 answers each such frame with a reset: unread they would fill the memory (CVE-2019-9514)."""

    async def refused(call: Http2Call) -> None:
        call.flow.reset(h2.errors.ErrorCodes.NO_ERROR, lambda: Gone("refused"))

    async with Served(refused) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await peer.until(h2.events.StreamReset, number)
        served.end.flowing.clear()  # from here on the agent reads nothing
        for _ in range(20):
            peer.stream.write(OVER[what](number).serialize() * 400)
            await turns()
        assert len(peer.stream.take()) < 40_000
        assert len(served.end.take()) > 60_000
        served.end.flowing.set()


async def test_many_frames_that_come_at_once_are_not_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In what a socket gives at once there are some ten thousand; other connections wait meanwhile."""
    monkeypatch.setattr(multiplexing, "_TURN_S", 0.0)
    most = 0

    async def count(call: Http2Call) -> None:
        nonlocal most
        while call.flow.came_bytes < 20_000:
            before = call.flow.came_bytes
            await asyncio.sleep(0)
            most = max(most, call.flow.came_bytes - before)

    async with Served(count) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await settled(lambda: served.calls)
        peer.stream.write(frames.DataFrame(number, data=b"x").serialize() * 20_000)
        await settled(lambda: not served.agent.calls)
    assert 0 < most < 1000


async def test_a_body_that_comes_slowly_is_no_head_that_does_not_come() -> None:
    """The middle of a piece of a body is not what the time for heads is for."""
    async with Served(echo) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await settled(lambda: served.calls)
        piece = frames.DataFrame(number, data=b"slow", flags=["END_STREAM"]).serialize()
        for part, begun in ((piece[:5], True), (piece[5:11], False), (piece[11:], False)):
            peer.stream.write(part)
            await turns()
            assert served.agent.beginning is begun
        await peer.until(h2.events.StreamEnded, number)
        peer.stream.write(frames.HeadersFrame(number + 2, data=b"\x82").serialize()[:-1])
        await turns()
        assert served.agent.beginning


async def test_requests_that_are_taken_back_are_a_flood() -> None:
    """CVE-2023-44487; and those that are answered earn as many again."""

    async def never(call: Http2Call) -> None:
        await asyncio.Event().wait() if call.head.all(b"x-never") else await echo(call)

    async with Served(never, http2_frames_per_s=50) as served:
        peer = served.peer.start()
        for _ in range(100):
            await peer.until(h2.events.StreamEnded, peer.ask())
            peer.h2.reset_stream(peer.ask((b"x-never", b"1")))
            peer.flush()
        assert not served.limited
    async with Served(echo, http2_frames_per_s=50) as served:
        peer = served.peer.start()
        for _ in range(60):
            peer.h2.reset_stream(peer.ask())
        peer.flush()
        await peer.to_the_end()
        assert served.limited == ["limit.http2-frames"]


async def test_an_agent_has_only_so_many_streams_and_such_heads() -> None:
    """It is told of the limits, and who goes over one breaks the protocol."""

    async def never(call: Http2Call) -> None:
        with contextlib.suppress(Gone):
            await call.read()

    for fields, streams in (((), 4), (((b"x-a", b"a" * 4000), (b"x-b", b"b" * 4000)), 1)):
        async with Served(never, http2_streams=3, head_bytes=4096) as served:
            peer = served.peer.start()
            await peer.until(h2.events.RemoteSettingsChanged)
            told = peer.h2.remote_settings
            assert (told.max_concurrent_streams, told.max_header_list_size) == (3, 4096)
            told.max_concurrent_streams = 100
            told.acknowledge()
            for _ in range(streams):
                peer.ask(*fields, end=False)
            await peer.to_the_end()
            assert len(served.calls) < streams
            assert peer.of(h2.events.ConnectionTerminated)


async def test_the_table_of_an_agent_does_not_grow_without_end() -> None:
    """RFC 7541, 4.2: an encoder may use less than it is allowed."""

    async def answer(call: Http2Call) -> None:
        call.begin(200, b"", ((b"x-%d" % call.flow.number, b"a" * 1000),), "GET")
        await call.end()

    async with Served(answer) as served:
        peer = served.peer.start(header_table_size=2**30)
        peer.h2.decoder.max_allowed_table_size = 2**30
        for _ in range(50):
            await peer.until(h2.events.StreamEnded, peer.ask())
        assert served.agent.wire.encoder.header_table.maxsize == 4096
        assert len(peer.of(h2.events.ResponseReceived)) == 50


async def test_stopping_lets_what_was_begun_come_to_its_end() -> None:
    """GOAWAY names the last request that is served; a later one is refused unprocessed (RFC 9113, 8.7)."""
    going = asyncio.Event()

    async def slowly(call: Http2Call) -> None:
        await going.wait()
        await echo(call)

    async with Served(slowly) as served:
        peer = served.peer.start()
        one = peer.ask()
        await settled(lambda: served.calls)
        served.agent.stop()
        late = peer.ask()
        await turns()
        assert len(served.calls) == 1
        going.set()
        await asyncio.wait_for(served.running, TIMEOUT_S)
        raw = peer.stream.take()
        received = list(_frames(raw))
        (goodbye,) = [frame for frame in received if isinstance(frame, frames.GoAwayFrame)]
        assert (goodbye.last_stream_id, goodbye.error_code) == (one, 0)
        (reset,) = [frame for frame in received if isinstance(frame, frames.RstStreamFrame)]
        assert (reset.stream_id, reset.error_code) == (late, h2.errors.ErrorCodes.REFUSED_STREAM)
        ended = [frame.stream_id for frame in received if "END_STREAM" in frame.flags]
        assert ended == [one]


def _frames(raw: bytes) -> Iterable[frames.Frame]:
    while raw:
        frame, length = frames.Frame.parse_frame_header(memoryview(raw[:9]))
        frame.parse_body(memoryview(raw[9 : 9 + length]))
        yield frame
        raw = raw[9 + length :]


async def test_an_agent_that_says_goodbye_is_answered() -> None:
    """GOAWAY of a client is about requests of ours, which there are none of (RFC 9113, 6.8)."""
    async with Served(echo) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        peer.stream.write(frames.GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())
        peer.data(number, b"hello", end=True)
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b"hello"


async def _asked_together_with(served: Served, more: bytes) -> tuple[Peer, int]:
    """A request that comes in one read with other bytes behind it; the number of its stream."""
    peer = served.peer.start()
    await peer.until(h2.events.RemoteSettingsChanged)
    number = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(number, PSEUDO, end_stream=True)
    peer.stream.write(peer.h2.data_to_send() + more)
    return peer, number


async def test_a_request_that_comes_with_a_goodbye_is_answered() -> None:
    """In one read: GOAWAY is about requests of ours (RFC 9113, 6.8), what was asked before goes on."""
    async with Served(echo) as served:
        peer, number = await _asked_together_with(served, frames.GoAwayFrame(0, last_stream_id=0).serialize())
        await peer.until(h2.events.StreamEnded, number)
        assert peer.status(number) == b"200"


ON_STREAM_0 = b"\0\0\1\0\0\0\0\0\0x"
"""RFC 9113, 6.1: a connection error."""


async def test_nothing_is_begun_of_a_request_that_comes_with_the_end_of_its_connection() -> None:
    """In one read with an error of the protocol: nobody is asked, and GOAWAY leaves open whether it was looked at."""
    async with Served(echo) as served:
        peer, number = await _asked_together_with(served, ON_STREAM_0)
        await asyncio.wait_for(served.running, TIMEOUT_S)
        assert served.calls == []
        await peer.to_the_end()
        (goodbye,) = peer.of(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (h2.errors.ErrorCodes.PROTOCOL_ERROR, number)


async def test_a_body_whose_end_comes_with_the_end_of_its_connection_is_not_whole() -> None:
    """A target that has the beginning never gets the end: nothing is half done that could pass for done."""
    read: list[bytes | None] = []

    async def upload(call: Http2Call) -> None:
        try:
            while True:
                read.append(await call.read())
        except Gone:
            assert not call.complete
            raise

    async with Served(upload) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        peer.data(number, b"begun")
        await settled(lambda: read)
        peer.h2.send_data(number, b"ended", end_stream=True)
        peer.stream.write(peer.h2.data_to_send() + ON_STREAM_0)
        await asyncio.wait_for(served.running, TIMEOUT_S)
    assert read == [b"begun"]


async def test_padding_is_given_back() -> None:
    """It takes of the windows, and is nobody's to read."""
    async with Served(echo, http2_streams=1) as served:
        peer = served.peer.start(initial_window_size=2**24)
        await peer.until(h2.events.WindowUpdated)
        number = peer.ask(end=False)
        for count in range(3000):
            while peer.h2.local_flow_control_window(number) < 257:
                await peer.step()
            peer.h2.send_data(number, b"a" * (count % 2), pad_length=255)
            peer.flush()
        peer.data(number, end=True)
        await peer.until(h2.events.StreamEnded, number)
        assert len(peer.body(number)) == 1500


async def test_what_comes_too_late_changes_nothing() -> None:
    """An error of the protocol while an answer is about to begin: the connection ends, and nothing fails over it."""
    ended: list[bool] = []

    async def serve(call: Http2Call) -> None:
        await asyncio.sleep(0)  # until what the gate says by itself is sent
        peer.stream.write(b"\0\0\1\0\0\0\0\0\0x")  # DATA on the connection itself
        call.begin(200, b"", (), "GET")
        with pytest.raises(Gone):
            await call.read()
        ended.append(True)

    async with Served(serve) as served:
        peer = served.peer.start()
        number = peer.ask(end=False)
        await asyncio.wait_for(served.running, TIMEOUT_S)
        assert ended == [True]
        await peer.to_the_end()
        assert peer.of(h2.events.ConnectionTerminated)
        assert not peer.of(h2.events.ResponseReceived, number)


async def test_closing_ends_what_waits() -> None:
    """Though the agent neither reads nor goes away."""

    async def download(call: Http2Call) -> None:
        call.begin(200, b"", (), "GET")
        await call.send(b"a" * MIB)

    async with Served(download) as served:
        peer = served.peer.start()
        peer.acknowledges = False
        peer.ask()
        await peer.until(h2.events.DataReceived)
        await settled(served.end.quiet)
        served.end.lingers = True
        served.agent.close(h2.errors.ErrorCodes.INTERNAL_ERROR)
        await settled(lambda: not served.agent.calls)
        assert not served.running.done()


async def test_what_is_no_http2_ends_the_connection() -> None:
    """Nothing of it is served."""
    for bytes_ in (
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.DataFrame(1, data=b"x").serialize(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frames.HeadersFrame(1, data=b"\xff" * 9, flags=["END_HEADERS"]).serialize(),
    ):
        async with Served(echo) as served:
            served.peer.stream.write(bytes_)
            await asyncio.wait_for(served.running, TIMEOUT_S)
            assert not served.calls


# --- targets ---------------------------------------------------------------------------------------------


class Asking:
    """A connection to a target, and the target."""

    def __init__(self, **settings: int) -> None:
        end, other = pair()
        self.target = Http2Target(end)
        self.ended: list[bool] = []
        self.target.closed = lambda: self.ended.append(True)
        self.end = end
        self.peer = Peer(other, client=False).start(**settings)

    async def __aenter__(self) -> "Asking":
        await settled(lambda: self.target._told)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.target.close()
        await asyncio.wait_for(self.target._reading, TIMEOUT_S)
        assert self.ended == [True]

    def ask(self, *fields: tuple[bytes, bytes], method: str = "GET", end: bool = True) -> Http2Asked:
        return self.target.ask(method, "https", "a.test", "/x?y=1", fields, end=end)


async def test_a_silent_target_is_pinged_while_its_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when nobody waits for one: an unused connection is closed soon."""
    monkeypatch.setattr("proxy.fast.http2targets.PING_S", 0.01)
    async with Asking() as asking:
        await asyncio.sleep(0.05)  # five times as long: for what must not happen there is nothing to wait for
        assert not asking.peer.of(h2.events.PingReceived)
        asked = asking.ask()
        await asking.peer.until(h2.events.PingReceived)
        asked.abort()


async def test_a_target_that_says_nothing_to_a_ping_either_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is dead, and whatever is asked of it by anybody would be asked there."""
    monkeypatch.setattr("proxy.fast.http2targets.PING_S", 0.01)
    async with Asking() as asking:
        asked = asking.ask()
        with pytest.raises(Broken, match="server closed connection"):
            await asyncio.wait_for(asked.answer(), TIMEOUT_S)
        assert not asking.target.available


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (h2.connection.H2Connection, "_begin_new_stream"),
        (h2.connection.H2Connection, "_receive_frame"),
        (h2.connection.H2Connection, "_receive_goaway_frame"),
        (h2.stream.H2Stream, "_initialize_content_length"),
    ],
)
def test_h2_still_has_what_is_overridden(owner: type, name: str) -> None:
    """Nothing else lets flows go on after a GOAWAY, or a wrong length end its own request alone; without the method
    ours would never be called, and no other error would say so."""
    ours = {"H2Connection": lenient.LenientConnection, "H2Stream": lenient.LenientStream}[owner.__name__]
    theirs = inspect.signature(vars(owner)[name])
    assert list(inspect.signature(vars(ours)[name]).parameters) == list(theirs.parameters)
    assert f"self.{name}" in inspect.getsource(owner)


async def test_a_target_is_asked() -> None:
    """Canonical parts go, fields of HTTP/1 stay; interim responses, the answer, its body and its trailers come."""
    async with Asking() as asking:
        peer = asking.peer
        asked = asking.ask(
            (b"Host", b"a.test"),
            (b"Authorization", b"Bearer x"),
            (b"Connection", b"close"),
            (b"Upgrade", b"h2c"),
            (b"TE", b"trailers"),
            (b"Transfer-Encoding", b"chunked"),
            method="POST",
            end=False,
        )
        request = await peer.until(h2.events.RequestReceived)
        number = request.stream_id
        assert peer.h2.remote_settings.enable_push == 0
        assert list(request.headers) == [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"a.test"),
            (b":path", b"/x?y=1"),
            (b"authorization", b"Bearer x"),
            (b"te", b"trailers"),
        ]
        await asked.send(b"question")
        await asked.end(len(b"question"))
        await peer.until(h2.events.StreamEnded, number)
        assert peer.body(number) == b"question"
        assert not asked.heard
        peer.answer(number, (b"link", b"</a>"), status=b"103")
        peer.answer(number, (b"x-a", b"1"), (b"content-length", b"6"))
        peer.data(number, b"answer")
        peer.h2.send_headers(number, [(b"grpc-status", b"0")], end_stream=True)
        peer.flush()
        assert (await asked.answer()).status == 103
        head = await asked.answer()
        assert (head.status, head.phrase, head.version) == (200, b"", b"HTTP/2.0")
        assert head.fields == ((b"x-a", b"1"), (b"content-length", b"6"))
        assert await whole(asked.read) == b"answer"
        assert asked.trailers == ((b"grpc-status", b"0"),)
        assert asked.heard
        with pytest.raises(Broken):
            asked.switch()
        asked.release()
        assert asking.target.idle
        assert asking.target.available


async def test_a_hundred_requests_share_a_connection() -> None:
    """And the next one has to wait, or to take another."""
    async with Asking() as asking:
        peer = asking.peer
        all_asked = [asking.ask((b"x-n", b"%d" % n)) for n in range(100)]
        assert not asking.target.available
        with pytest.raises(Unprocessed):
            asking.ask()
        while len(peer.of(h2.events.StreamEnded)) < 100:
            await peer.step()
        for request in reversed(peer.of(h2.events.RequestReceived)):
            peer.answer(request.stream_id)
            peer.data(request.stream_id, dict(request.headers)[b"x-n"], end=True)
        for n, asked in enumerate(all_asked):
            assert (await asked.answer()).status == 200
            assert await whole(asked.read) == b"%d" % n
            asked.release()
        assert asking.target.idle


async def test_a_target_says_how_many_requests_it_takes() -> None:
    """SETTINGS_MAX_CONCURRENT_STREAMS is kept to, also when it is lowered."""
    async with Asking(max_concurrent_streams=2) as asking:
        one, _ = asking.ask(), asking.ask()
        assert not asking.target.available
        await asking.peer.until(h2.events.RequestReceived)
        one.abort()
        assert asking.target.available
        reset = await asking.peer.until(h2.events.StreamReset)
        assert reset.error_code == h2.errors.ErrorCodes.CANCEL
        asking.peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        asking.peer.flush()
        await asking.peer.until(h2.events.SettingsAcknowledged)
        await asking.peer.step()
        assert not asking.target.available


async def test_an_upload_waits_for_the_window_of_its_target() -> None:
    """Of the stream, then of the connection; nothing is piled up."""
    async with Asking(initial_window_size=10_000) as asking:
        peer = asking.peer
        peer.acknowledges = False
        asked = asking.ask(method="POST", end=False)
        sending = asyncio.ensure_future(asked.send(b"a" * 200_000))
        number = (await peer.until(h2.events.RequestReceived)).stream_id
        while len(peer.body(number)) < 10_000:
            await peer.step()
        assert not sending.done()
        peer.h2.increment_flow_control_window(2**20, number)
        peer.flush()
        while len(peer.body(number)) < 65_535:
            await peer.step()
        assert not sending.done()
        peer.h2.increment_flow_control_window(2**20)
        peer.flush()
        await peer.step()
        while len(peer.body(number)) < 200_000:
            await peer.step()
        await sending
        asked.abort()


async def test_an_answer_that_nobody_reads_is_kept_only_as_far_as_its_window() -> None:
    """And the answers beside it come."""
    async with Asking() as asking:
        peer = asking.peer
        await peer.until(h2.events.WindowUpdated)
        stuck, free = asking.ask(), asking.ask()
        while len(peer.of(h2.events.StreamEnded)) < 2:
            await peer.step()
        one, two = (event.stream_id for event in peer.of(h2.events.RequestReceived))
        peer.answer(one)
        peer.answer(two)
        while (room := peer.h2.local_flow_control_window(one)) > 0:
            peer.data(one, b"a" * min(room, 16 * KIB))
        reading = asyncio.ensure_future(whole(free.read))
        for _ in range(64):
            await send_when_it_fits(peer, two, 16 * KIB)
        peer.data(two, end=True)
        assert len(await reading) == MIB
        assert peer.h2.local_flow_control_window(one) == 0
        assert len(await stuck.read() or b"") == WINDOW_BYTES
        stuck.abort()
        reset = await peer.until(h2.events.StreamReset, one)
        assert reset.error_code == h2.errors.ErrorCodes.CANCEL


async def test_what_is_given_up_unread_is_given_back() -> None:
    """Else a connection would dry up, answer by answer."""
    async with Asking() as asking:
        peer = asking.peer
        await peer.until(h2.events.WindowUpdated)
        before = peer.h2.outbound_flow_control_window
        for _ in range(8):
            asked = asking.ask()
            number = (await peer.until(h2.events.RequestReceived)).stream_id
            peer.answer(number)
            while (room := peer.h2.local_flow_control_window(number)) > 0:
                peer.data(number, b"a" * min(room, 16 * KIB))
            await asked.answer()
            flow = asked.flow
            await settled(lambda flow=flow: len(flow._pieces) == WINDOW_BYTES // (16 * KIB))
            asked.abort()
            await peer.until(h2.events.StreamReset, number)
            peer.seen.clear()
        while peer.stream._buffer:
            await peer.step()
        assert peer.h2.outbound_flow_control_window >= before - WINDOW_BYTES


async def test_requests_behind_the_last_one_may_be_sent_again() -> None:
    """GOAWAY: those before it are answered, and then the connection ends; nothing new goes on it."""
    async with Asking() as asking:
        peer = asking.peer
        asked = [asking.ask() for _ in range(3)]
        while len(peer.of(h2.events.StreamEnded)) < 3:
            await peer.step()
        one, two, _ = (event.stream_id for event in peer.of(h2.events.RequestReceived))
        peer.stream.write(frames.GoAwayFrame(0, last_stream_id=two, error_code=0).serialize())
        with pytest.raises(Broken) as caught:
            await asked[2].answer()
        assert caught.value.unprocessed
        assert not asked[2].heard
        asked[2].abort()
        assert not asking.target.available
        for number in (one, two):
            peer.answer(number)
            peer.data(number, b"late", end=True)
        for each in asked[:2]:
            assert (await each.answer()).status == 200
            assert await whole(each.read) == b"late"
            each.release()
        await asyncio.wait_for(asking.target._reading, TIMEOUT_S)


async def test_a_request_that_the_target_refuses_may_be_sent_again() -> None:
    """REFUSED_STREAM says that nothing was done (RFC 9113, 8.7); other codes say nothing."""
    async with Asking() as asking:
        peer = asking.peer
        for code, unprocessed in ((h2.errors.ErrorCodes.REFUSED_STREAM, True), (h2.errors.ErrorCodes.CANCEL, False)):
            peer.seen.clear()
            asked = asking.ask()
            number = (await peer.until(h2.events.RequestReceived)).stream_id
            peer.h2.reset_stream(number, code)
            peer.flush()
            with pytest.raises(Broken) as caught:
                await asked.answer()
            assert caught.value.unprocessed is unprocessed
            assert code.name in str(caught.value)
            asked.abort()
        assert asking.target.idle


async def test_an_answer_before_the_end_of_its_request_counts() -> None:
    """RFC 9113, 8.1: the target answers, and resets what it does not want to read."""
    async with Asking() as asking:
        peer = asking.peer
        asked = asking.ask(method="POST", end=False)
        sending = asyncio.ensure_future(asked.send(b"a" * MIB))
        number = (await peer.until(h2.events.RequestReceived)).stream_id
        peer.answer(number, status=b"413")
        peer.data(number, b"too much", end=True)
        peer.h2.reset_stream(number, h2.errors.ErrorCodes.NO_ERROR)
        peer.flush()
        with pytest.raises(Broken):
            await sending
        assert (await asked.answer()).status == 413
        assert await whole(asked.read) == b"too much"
        asked.release()
        assert asking.target.available


async def test_an_answer_that_is_broken_off_is_not_whole() -> None:
    """By a reset, and by the end of the connection."""
    async with Asking() as asking:
        peer = asking.peer
        one, two = asking.ask(), asking.ask()
        while len(peer.of(h2.events.StreamEnded)) < 2:
            await peer.step()
        for event in peer.of(h2.events.RequestReceived):
            peer.answer(event.stream_id)
            peer.data(event.stream_id, b"half")
        peer.h2.reset_stream(peer.of(h2.events.RequestReceived)[0].stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()
        await one.answer()
        with pytest.raises(Broken, match="INTERNAL_ERROR"):
            await whole(one.read)
        await two.answer()
        assert await two.read() == b"half"
        peer.stream.close()
        with pytest.raises(Broken, match="server closed connection"):
            await two.read()
        one.abort()
        two.abort()
        assert not asking.target.available


INVALID: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "no status": ((b"x-a", b"1"),),
    "a status that is none": ((b":status", b"2x0"),),
    "a status of four digits": ((b":status", b"2000"),),
    "two statuses": ((b":status", b"200"), (b":status", b"200")),
    "a connection field": ((b":status", b"200"), (b"connection", b"close")),
    "a transfer coding": ((b":status", b"200"), (b"transfer-encoding", b"chunked")),
    "an upper-case name": ((b":status", b"200"), (b"X-A", b"1")),
    "a line end": ((b":status", b"200"), (b"x-a", b"1\r\nset-cookie: a=b")),
    "two lengths": ((b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")),
    "a 101": ((b":status", b"101"),),
}


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
@pytest.mark.parametrize("name", [name for name in INVALID if name != "a 101"])
async def test_an_answer_that_is_none_ends_its_own_request_alone(name: str, ends: bool) -> None:
    """Others share the connection."""
    async with Asking() as asking:
        peer = asking.peer
        bad, good = asking.ask(), asking.ask()
        while len(peer.of(h2.events.StreamEnded)) < 2:
            await peer.step()
        one, two = (event.stream_id for event in peer.of(h2.events.RequestReceived))
        peer.answer(two, end=True)
        assert (await good.answer()).status == 200
        block = peer.h2.encoder.encode(INVALID[name])
        flags = ["END_HEADERS", "END_STREAM"] if ends else ["END_HEADERS"]
        peer.stream.write(frames.HeadersFrame(one, data=block, flags=flags).serialize())
        for act in (bad.answer, bad.read):
            with pytest.raises(Broken, match="invalid response"):
                await act()
        if not ends:
            reset = await peer.until(h2.events.StreamReset, one)
            assert reset.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
        bad.abort()
        good.release()
        assert asking.target.available


@pytest.mark.parametrize(
    ("method", "status", "length", "body", "right"),
    [
        ("GET", b"200", b"4", b"four", True),
        ("GET", b"200", b"5", b"four", False),
        ("GET", b"200", b"3", b"four", False),
        ("HEAD", b"200", b"5", b"", True),
        ("HEAD", b"200", b"4", b"four", False),
        ("GET", b"304", b"5", b"", True),
        ("GET", b"204", b"0", b"x", False),
    ],
)
async def test_an_answer_is_as_long_as_it_says(
    method: str, status: bytes, length: bytes, body: bytes, right: bool
) -> None:
    """One that is not is invalid, and no other request suffers."""
    async with Asking() as asking:
        peer = asking.peer
        asked = asking.ask(method=method)
        number = (await peer.until(h2.events.RequestReceived)).stream_id
        peer.answer(number, (b"content-length", length), status=status)
        peer.data(number, body, end=True)
        await asked.answer()
        if right:
            assert await whole(asked.read) == body
        else:
            with pytest.raises(Broken, match="content length"):
                await whole(asked.read)
        asked.release()
        assert asking.target.available


async def test_no_answer_changes_the_protocol() -> None:
    """HTTP/2 knows no 101 (RFC 9113, 8.6)."""
    async with Asking() as asking:
        asked = asking.ask()
        number = (await asking.peer.until(h2.events.RequestReceived)).stream_id
        asking.peer.answer(number, status=b"101")
        with pytest.raises(Broken, match="invalid response"):
            await asked.answer()
        asked.abort()


async def test_an_answer_without_a_head_is_none() -> None:
    """A body alone is nothing that could be passed on."""
    async with Asking() as asking:
        peer = asking.peer
        asked = asking.ask()
        number = (await peer.until(h2.events.RequestReceived)).stream_id
        peer.stream.write(frames.DataFrame(number, data=b"", flags=["END_STREAM"]).serialize())
        with pytest.raises(Broken):
            await asked.answer()
        asked.abort()


async def test_interim_responses_do_not_pile_up() -> None:
    """A target that sends nothing else is given up."""
    async with Asking() as asking:
        peer = asking.peer
        asked = asking.ask()
        number = (await peer.until(h2.events.RequestReceived)).stream_id
        for _ in range(100):
            peer.answer(number, status=b"103")
        await peer.until(h2.events.StreamReset, number)
        asked.abort()


async def test_a_ping_is_answered() -> None:
    """RFC 9113, 6.7."""
    async with Asking() as asking:
        asking.peer.h2.ping(b"12345678")
        asking.peer.flush()
        assert (await asking.peer.until(h2.events.PingAckReceived)).ping_data == b"12345678"


async def test_secrets_are_not_kept_for_other_requests() -> None:
    """RFC 7541, 7.1.3: the requests of several agents share one table."""
    async with Asking() as asking:
        for _ in range(2):
            asking.ask((b"authorization", b"Bearer secret"), (b"cookie", b"a=secret"), (b"x-a", b"plain"))
        asking.target.flush()
        decoder, secrets = Decoder(), []
        for frame in _frames(asking.peer.stream.take()[24:]):
            if isinstance(frame, frames.HeadersFrame):
                secrets.append([h for h in decoder.decode(frame.data, raw=True) if not h.indexable])
        table = [name + value for name, value in decoder.header_table.dynamic_entries]
        assert all(len(each) == 2 for each in secrets)
        assert not any(b"secret" in entry for entry in table)


# --- over sockets ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listening(serve: Serve, **limits: int) -> AsyncIterator[tuple[str, int]]:
    """A tiny server of HTTP/2 without TLS."""
    running: list[asyncio.Future[None]] = []

    def accepted(stream: Tcp) -> None:
        running.append(asyncio.ensure_future(Http2Agent(stream, Limits(**limits), serve, lambda _: None).run()))

    server = await asyncio.get_running_loop().create_server(lambda: Tcp(accepted), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*running), TIMEOUT_S)


async def test_httpx_is_served() -> None:
    """A hundred requests at once, with bodies; a large one up and down."""
    async with (
        listening(echo) as (host, port),
        httpx.AsyncClient(http1=False, http2=True, base_url=f"http://{host}:{port}") as client,
    ):
        answers = await asyncio.gather(*(client.post(f"/{n}", content=b"%d" % n) for n in range(100)))
        assert [answer.content for answer in answers] == [b"%d" % n for n in range(100)]
        assert {answer.http_version for answer in answers} == {"HTTP/2"}
        large = bytes(range(256)) * 4 * 4096
        assert (await client.post("/large", content=large)).content == large


async def test_our_two_sides_speak_with_each_other() -> None:
    """Uploads and downloads beside each other over one connection; the connection ends with the server."""
    async with listening(echo) as (host, port):
        target = Http2Target(await dial((host, port)))
        body = bytes(range(256)) * 8 * 256

        async def once(n: int) -> None:
            asked = target.ask("POST", "http", "a.test", f"/{n}", (), end=False)
            await asked.send(body)
            await asked.end(len(body))
            assert (await asked.answer()).status == 200
            assert await whole(asked.read) == body
            assert asked.trailers == ((b"x-length", b"%d" % len(body)),)
            asked.release()

        await asyncio.gather(*(once(n) for n in range(20)))
        assert target.idle
        target.close()
        await target._reading


async def test_a_server_of_http2_is_asked(h2_origin: H2Origin, target_ca: trustme.CA) -> None:
    """Over TLS, to an origin that is no work of ours."""
    context = ssl.create_default_context(cadata=target_ca.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    stream = Secure(await dial(("127.0.0.1", h2_origin.port)), Tls(context, server=False, host=h2_origin.name))
    await stream.shake_hands()
    target = Http2Target(stream)
    sent = b"b" * (2 * MIB)

    async def once(n: int) -> None:
        asked = target.ask("POST", "https", h2_origin.name, f"/{n}?pad=300000", (), end=False)
        await asked.send(sent)
        await asked.end(len(sent))
        assert (await asked.answer()).status == 200
        assert f'"bytes": {len(sent)}'.encode() in await whole(asked.read)
        asked.release()

    await asyncio.gather(*(once(n) for n in range(5)))
    assert {seen.body_bytes for seen in h2_origin.seen} == {len(sent)}
    target.close()
    await target._reading
