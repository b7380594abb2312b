"""The fast engine's HTTP/2: an agent's connection in memory, the same in any pieces, and what goes on is read alike.

An input is frames behind the preface and the first SETTINGS; a preface of its own would be the same in every input.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import cache

import h2.config
import h2.connection
import h2.events
import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from proxy.facts import FactsError, read_facts
from proxy.fast.calls import Gone
from proxy.fast.heads import NotHttp
from proxy.fast.http2agents import Http2Agent, Http2Call
from proxy.fast.http2targets import Http2Target
from proxy.limits import Limits
from support.dialogues import Pieces, Told, bytewise
from support.fuzzing.harness import Harness
from support.fuzzing.wires import arriving, forwarded, read_alike

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
_LIMITS = Limits(head_bytes=1024)
_OF_HEAD = 5
"""The first parts of what is told."""
_TURNS = 100
"""Of the loop, in which everything that came is served; nothing there waits for anything else."""


class _Agent(Pieces):
    """What an agent sends: nothing is served before all of it is there, and everything before it ends."""

    async def read(self, most: int = 2**20, /) -> bytes:
        if piece := await super().read(most):
            return piece
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return b""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def served(pieces: Iterable[bytes]) -> tuple[dict[int, Told], bool, bytes]:
    """Requests by stream, whether the connection came to a bad end, and what was said."""
    told: dict[int, Told] = {}
    limited: list[str] = []
    wrong: list[Exception] = []

    async def serve(call: Http2Call) -> None:
        head, body, end = call.head, b"", "whole"
        try:
            malformed = await call.fault()
            while (piece := await call.read()) is not None:
                body += piece
        except Gone:
            end = "gone"
        except NotHttp:
            end = "no http"
        except Exception as error:
            wrong.append(error)
            raise
        malformed = call.malformed if end == "gone" else malformed
        told[call.flow.number] = (
            head.method,
            head.target,
            head.fields,
            head.scheme,
            head.authority,
            malformed,
            body,
            end,
        )
        call.begin(200, b"", ((b"content-type", b"a/b"),), head.method.decode("latin-1"))
        await call.send(b"answer")
        await call.end()

    async def talk() -> bytes:
        stream = _Agent(pieces)
        agent = Http2Agent(stream, _LIMITS, serve, limited.append, clock=lambda: 0.0)
        await agent.run()
        assert not agent.calls
        assert not agent.flows
        return stream.sent

    said = _loop().run_until_complete(talk())
    assert not wrong, wrong
    faults = [each for each in _frames(said) if isinstance(each, GoAwayFrame) and each.error_code]
    assert bool(limited) <= bool(faults)
    return dict(sorted(told.items())), bool(faults), said


def fast_h2(data: bytes) -> str:
    """The first byte says where the stream is cut, the others are frames."""
    cut, stream = data[:1], _PREFACE + data[1:]
    step = 2 + (cut[0] if cut else 0) % 61
    told, bad, said = served([stream])
    for pieces in (bytewise(stream), [stream[at : at + step] for at in range(0, len(stream), step)]):
        again, bad_again, _ = served(pieces)
        assert bad_again == bad
        # What comes with the fault that ends a connection may be seen before it, or be lost with it.
        assert bad or again == told
        assert all(again[number][:_OF_HEAD] == told[number][:_OF_HEAD] for number in told.keys() & again.keys())
    for each in _frames(said):
        assert each.stream_id % 2 or not each.stream_id
    good = [each for each in told.values() if each[5] is None and each[7] == "whole"]
    for each in good:
        _goes_on(each)
    return f"{len(good) and 'read'} {[each[7] for each in told.values()][:2]} {bad}"


def _frames(data: bytes) -> Iterator[Frame]:
    """What we say is frames to the last byte, to hyperframe too."""
    at = 0
    while at < len(data):
        frame, length = Frame.parse_frame_header(memoryview(data[at : at + 9]))
        frame.parse_body(memoryview(data[at + 9 : at + 9 + length]))
        at += 9 + length
        assert at <= len(data)
        yield frame


def _goes_on(told: Told) -> None:
    """In HTTP/1 everybody reads the request that was judged; in HTTP/2 an h2 that is strict does."""
    method, target, fields, scheme, authority, _, body, _ = told
    told_length = any(name == b"content-length" for name, _ in fields)
    # To HTTP/1 a body goes on in chunks whose length nobody has told.
    framing = () if told_length or not body else ((b"Transfer-Encoding", b"chunked"),)
    as_http1 = ("request", method, target, b"HTTP/2.0", (*fields, *framing), scheme, authority, None, body, ())
    if (wire := forwarded(as_http1)) is not None:
        read_alike(wire, body)
    try:
        facts = read_facts(arriving(method, b"https", target, fields, authority), body)
    except FactsError:
        return

    async def ask() -> bytes:
        stream = Pieces([])
        target = Http2Target(stream)
        asked = target.ask(
            facts.request.method, "https", facts.wire_authority, facts.wire_target, facts.wire_fields, end=not body
        )
        if body:
            await asked.send(body)
            await asked.end(len(body))
        target.flush()
        return stream.sent

    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=False))
    server.initiate_connection()
    events = server.receive_data(_loop().run_until_complete(ask()))
    (request,) = [event for event in events if isinstance(event, h2.events.RequestReceived)]
    pseudo = {name: value for name, value in request.headers or () if name.startswith(b":")}
    assert pseudo == {
        b":method": facts.request.method.encode(),
        b":scheme": b"https",
        b":authority": facts.wire_authority.encode(),
        b":path": facts.wire_target.encode(),
    }
    assert b"".join(event.data or b"" for event in events if isinstance(event, h2.events.DataReceived)) == body
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)


# --- words, and the rows to begin with -----------------------------------------------------------------


def _head(number: int, *fields: tuple[str, str], end: bool = True, method: str = "POST") -> bytes:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")]
    frame = HeadersFrame(number, hpack.Encoder().encode([*pseudo, *fields], huffman=False))
    frame.flags.add("END_HEADERS")
    if end:
        frame.flags.add("END_STREAM")
    return frame.serialize()


def _data(number: int, data: bytes, *, end: bool = True) -> bytes:
    return DataFrame(number, data, flags=["END_STREAM"] if end else []).serialize()


def beginnings() -> list[bytes]:
    """Connections of every kind, for the corpus."""
    return [
        b"\x00" + _head(1),
        b"\x07" + _head(1, end=False) + _data(1, b"hello"),
        b"\x10" + _head(1, ("content-length", "5"), end=False) + _data(1, b"hel", end=False) + _data(1, b"lo"),
        b"\x00" + _head(1, ("content-length", "5")),
        b"\x20" + _head(1, ("cookie", "a=b"), ("cookie", "c=d")) + _head(3, ("te", "trailers")),
        b"\x03" + _head(1, end=False) + RstStreamFrame(1, 8).serialize() + _head(3),
        b"\x03" + _head(1, ("connection", "close")) + _head(3, ("X-A", "b")),
        b"\x09" + _head(1, end=False, method="CONNECT") + WindowUpdateFrame(0, 100).serialize(),
        b"\x00" + _data(1, b"of no stream"),
        b"\x00\x00\x00",
    ]


_WORDS = (
    *(row[1:] for row in beginnings()),
    *(SettingsFrame(0, settings={number: 1}).serialize() for number in (1, 4)),
)
HARNESSES = (Harness("fast-h2", fast_h2, _WORDS, 1024),)
