"""Both sides of HTTP/1, as dialogues without sockets."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.fast.calls import Broken, Gone
from proxy.fast.heads import Fields, RequestHead
from proxy.fast.http1 import MAX_ANSWER_HEAD_BYTES, Http1Agent, Http1Asked, Http1Call
from support.dialogues import HEAD_BYTES, Pieces, Told, answers, bytewise, requests, run
from support.fuzzing.wires import forwarded
from support.garden.parsers import read_aiohttp, read_h11, read_httptools

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = (b"Host", b"a")


def _request(
    method: bytes = b"GET", body: bytes | None = b"", *, fields: Fields = (HOST,), version: bytes = b"HTTP/1.1"
) -> Told:
    return ("request", method, b"/", version, fields, b"", b"", None, body, () if body is not None else None)


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
FIVE = (HOST, (b"Content-Length", b"5"))
CHUNKS = (HOST, (b"Transfer-Encoding", b"chunked"))
CLOSE = (HOST, (b"Connection", b"close"))

CONNECTIONS: dict[str, tuple[bytes, list[Told]]] = {
    "nothing": (b"", [("end",)]),
    "one": (GET, [_request(), ("end",)]),
    "pipelined": (GET * 3, [_request()] * 3 + [("end",)]),
    "an empty line before": (b"\r\n" + GET, [_request(), ("end",)]),
    "an empty line before each": ((b"\r\n" + GET) * 2, [_request(), _request(), ("end",)]),
    "an empty line and nothing": (b"\r\n", [("end",)]),
    "two empty lines": (b"\r\n\r\n" + GET, [("no http",)]),
    "bare LF before": (b"\n" + GET, [("no http",)]),
    "CR CR LF before": (b"\r\r\n" + GET, [("no http",)]),
    "mixed before": (b"\r\n\n" + GET, [("no http",)]),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: a\n\n", [("no http",)]),
    "bare LF in the middle": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", [("no http",)]),
    "0.9": (b"GET /\r\n\r\n", [("no http",)]),
    "half a head": (GET[:-2], [("end",)]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", [("no http",)]),
    "a body and another": (
        POST + b"Content-Length: 5\r\n\r\nhello" + GET,
        [_request(b"POST", b"hello", fields=FIVE), _request(), ("end",)],
    ),
    "a request in a body": (
        POST + b"Content-Length: %d\r\n\r\n" % len(GET) + GET,
        [_request(b"POST", GET, fields=(HOST, (b"Content-Length", b"%d" % len(GET)))), ("end",)],
    ),
    "chunks and another": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + GET,
        [_request(b"POST", b"hello", fields=CHUNKS), _request(), ("end",)],
    ),
    "a body too short": (
        POST + b"Content-Length: 5\r\n\r\nhell",
        [(*_request(b"POST", None, fields=FIVE)[:8], b"hell", None), ("gone",)],
    ),
    "chunks that do not end": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        [(*_request(b"POST", None, fields=CHUNKS)[:8], b"hello", None), ("gone",)],
    ),
    "chunks that are none": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        [_request(b"POST", None, fields=CHUNKS), ("no http",)],
    ),
    "no framing, then what is no request": (POST + b"\r\nhello", [_request(b"POST"), ("end",)]),
    "close": (GET[:-2] + b"Connection: close\r\n\r\n" + GET, [_request(fields=CLOSE), ("end",)]),
    "1.0": (b"GET / HTTP/1.0\r\n\r\n" + GET, [_request(fields=(), version=b"HTTP/1.0"), ("end",)]),
    "1.0 that would stay": (
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" + GET,
        [_request(fields=((b"Connection", b"Keep-Alive"),), version=b"HTTP/1.0"), ("end",)],
    ),
    "as long as may be": (
        GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - len(GET) - 5) + b"\r\n\r\n" + GET,
        [_request(fields=(HOST, (b"X", b"a" * (HEAD_BYTES - len(GET) - 5)))), _request(), ("end",)],
    ),
    "too long": (GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - len(GET) - 4) + b"\r\n\r\n", [("too long",)]),
    "without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * HEAD_BYTES, [("too long",)]),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_an_agents_connection(name: str) -> None:
    """One reading, in whatever pieces it comes, and never more kept than a head may have."""
    stream, expected = CONNECTIONS[name]
    assert requests([stream]) == expected
    assert requests(bytewise(stream)) == expected
    for step in (2, 3, 7, 1000):
        assert requests([stream[at : at + step] for at in range(0, len(stream), step)]) == expected


def test_a_disputed_head_ends_the_connection() -> None:
    """Nothing behind it is read: where it would begin is what the dispute is about."""
    both = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET
    for pieces in ([both], bytewise(both)):
        (read, end) = requests(pieces)
        assert end == ("malformed",)
        assert read[7] == "both a content length and a transfer coding say where the body ends"
        assert read[8] == b""


def _answer(
    status: int = 200, body: bytes = b"", fields: Fields = (), *, stays: bool | None = True, **more: Any
) -> Told:
    phrase, version = more.get("phrase", b"OK"), more.get("version", b"HTTP/1.1")
    return ("answer", status, phrase, version, fields, body, more.get("trailers", ()), stays)


LENGTH = (b"Content-Length", b"5")
CODED = (b"Transfer-Encoding", b"chunked")
OK = b"HTTP/1.1 200 OK\r\n"
END: Told = ("end",)
BROKEN: list[Told] = [("broken",)]

ANSWERS: dict[str, tuple[str, bytes, list[Told]]] = {
    "nothing": ("GET", b"", BROKEN),
    "half a head": ("GET", OK, BROKEN),
    "no HTTP": ("GET", b"SSH-2.0-x\r\n\r\n", BROKEN),
    "bare LF": ("GET", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", BROKEN),
    "length": ("GET", OK + b"Content-Length: 5\r\n\r\nhello", [_answer(body=b"hello", fields=(LENGTH,)), END]),
    "no body": ("GET", OK + b"Content-Length: 0\r\n\r\n", [_answer(fields=((b"Content-Length", b"0"),)), END]),
    "too short": ("GET", OK + b"Content-Length: 5\r\n\r\nhell", BROKEN),
    "HEAD": ("HEAD", OK + b"Content-Length: 5\r\n\r\n", [_answer(fields=(LENGTH,)), END]),
    "HEAD of chunks": ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", [_answer(fields=(CODED,)), END]),
    "304": (
        "GET",
        b"HTTP/1.1 304 OK\r\nContent-Length: 5\r\n\r\n",
        [_answer(304, fields=(LENGTH,)), END],
    ),
    "204": ("GET", b"HTTP/1.1 204 OK\r\n\r\n", [_answer(204), END]),
    "204 of no length": (
        "GET",
        b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n",
        [_answer(204, fields=((b"Content-Length", b"0"),)), END],
    ),
    "204 that announces a body, which may still come": (
        "GET",
        b"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n",
        [_answer(204, fields=(LENGTH,), stays=False), END],
    ),
    "until close": ("GET", OK + b"\r\nhello", [_answer(body=b"hello", stays=False), END]),
    "until close, empty": ("GET", OK + b"\r\n", [_answer(stays=False), END]),
    "chunks and trailers": (
        "GET",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        [_answer(body=b"hello", fields=(CODED,), trailers=((b"A", b"b"),)), END],
    ),
    "chunks that do not end": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", BROKEN),
    "chunks that are none": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", BROKEN),
    "length and chunks": (
        "GET",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BROKEN,
    ),
    "interim ones": (
        "POST",
        b"HTTP/1.1 100 OK\r\n\r\nHTTP/1.1 103 OK\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
        [
            _answer(100, stays=None),
            _answer(103, fields=((b"Link", b"a"),), stays=None),
            _answer(body=b"hello", fields=(LENGTH,)),
            END,
        ],
    ),
    "an interim one alone": ("POST", b"HTTP/1.1 100 OK\r\n\r\n", [_answer(100, stays=None), *BROKEN]),
    "close": (
        "GET",
        OK + b"Content-Length: 0\r\nConnection: Close\r\n\r\n",
        [_answer(fields=((b"Content-Length", b"0"), (b"Connection", b"Close")), stays=False), END],
    ),
    "1.0": (
        "GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [_answer(body=b"hello", fields=(LENGTH,), stays=False, version=b"HTTP/1.0"), END],
    ),
    "1.0 that stays": (
        "GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        [_answer(body=b"hello", fields=(LENGTH, (b"Connection", b"keep-alive")), version=b"HTTP/1.0"), END],
    ),
    "1.0 that says both": (
        "GET",
        b"HTTP/1.0 204 OK\r\nConnection: keep-alive, close\r\n\r\n",
        [_answer(204, fields=((b"Connection", b"keep-alive, close"),), stays=False, version=b"HTTP/1.0"), END],
    ),
    "a head as long as may be": (
        "HEAD",
        OK + b"X: " + b"a" * (MAX_ANSWER_HEAD_BYTES - len(OK) - 3) + b"\r\n\r\n",
        [_answer(fields=((b"X", b"a" * (MAX_ANSWER_HEAD_BYTES - len(OK) - 3)),)), END],
    ),
    "a head too long": ("HEAD", OK + b"X: " + b"a" * (MAX_ANSWER_HEAD_BYTES - len(OK) - 2) + b"\r\n\r\n", BROKEN),
    "a head without end": ("HEAD", OK + b"X: " + b"a" * 2 * MAX_ANSWER_HEAD_BYTES, BROKEN),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_targets_answer(name: str) -> None:
    """One reading in any pieces; and a connection is used again only where nothing of it can be left."""
    method, stream, expected = ANSWERS[name]
    assert answers([stream], method) == expected
    if len(stream) < MAX_ANSWER_HEAD_BYTES:
        assert answers(bytewise(stream), method) == expected
    for cut in range(max(1, len(stream) - 8), len(stream)):
        assert answers([stream[:cut], stream[cut:]], method) == expected


def test_what_stands_behind_an_answer_is_nobodys() -> None:
    """A body longer than its length would be the answer to somebody's next request."""
    told = answers([OK + b"Content-Length: 4\r\n\r\nhello"])
    assert told == [_answer(body=b"hell", fields=((b"Content-Length", b"4"),), stays=False), END]


def test_what_stands_behind_an_upgrade_is_for_its_reader() -> None:
    """No byte of the other protocol is lost with the head."""
    told = answers([b"HTTP/1.1 101 OK\r\nUpgrade: a\r\n\r\n\x81\x00"])
    assert told == [_answer(101, fields=((b"Upgrade", b"a"),), stays=None), ("switched", b"\x81\x00")]


def test_a_body_that_breaks_off_is_not_whole() -> None:
    """Until the connection is closed means closed, not reset."""
    assert answers([OK + b"\r\nhello"], breaks=True) == BROKEN


def test_an_answer_before_the_request_was_sent_ends_the_connection() -> None:
    """What is left of the request would be the beginning of the next one."""
    stream, kept = Pieces([OK + b"Content-Length: 0\r\n\r\n"]), list[object]()
    asked = Http1Asked(stream, "POST", b"HEAD", chunked=True, whole=False, reuse=kept.append)
    run(asked.send(b"abc"))
    run(asked.answer())
    assert run(asked.read()) is None
    asked.release()
    assert (kept, stream.closed, stream.sent) == ([], "closed", b"HEAD3\r\nabc\r\n")


def test_a_request_is_sent_as_it_is_framed() -> None:
    """In chunks, of which none is empty; its head with the first piece."""
    stream, kept = Pieces([OK + b"Content-Length: 0\r\n\r\n"]), list[object]()
    asked = Http1Asked(stream, "POST", b"HEAD", chunked=True, whole=False, reuse=kept.append)
    assert stream.sent == b""
    for data in (b"", b"abc", b""):
        run(asked.send(data))
    run(asked.end(3))
    assert stream.sent == b"HEAD3\r\nabc\r\n0\r\n\r\n"
    run(asked.answer())
    run(asked.read())
    asked.release()
    asked.release()
    assert kept == [stream]


def test_a_body_that_misses_a_piece_is_not_ended() -> None:
    """In chunks it would pass for whole, and be another than was judged."""
    stream = Pieces([OK + b"Content-Length: 0\r\n\r\n"])
    asked = Http1Asked(stream, "POST", b"HEAD", chunked=True, whole=False, reuse=list[object]().append)
    run(asked.send(b"abc"))
    with pytest.raises(RuntimeError, match="3 of 6 bytes of a body were sent"):
        run(asked.end(6))
    assert stream.sent == b"HEAD3\r\nabc\r\n"


def test_no_answer_is_read_before_there_is_one() -> None:
    """An order of steps that cannot be is an error, and nothing else."""
    asked = Http1Asked(Pieces([]), "GET", b"", chunked=False, whole=True, reuse=lambda _: None)
    with pytest.raises(Broken):
        run(asked.read())


# --- answers to agents ---


def _call(method: bytes = b"GET", version: bytes = b"HTTP/1.1", fields: Fields = ()) -> tuple[Http1Call, Pieces]:
    stream = Pieces([])
    return Http1Call(Http1Agent(stream, HEAD_BYTES), RequestHead(method, b"/", version, fields), None), stream


TYPE = (b"Content-Type", b"a/b")
WRITTEN = {
    "length": ({}, 200, (LENGTH,), b"Content-Length: 5\r\n\r\nhello", True),
    "chunks": (
        {},
        200,
        (TYPE,),
        b"Content-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        True,
    ),
    "what is for one connection": (
        {},
        200,
        (
            LENGTH,
            (b"connection", b"close"),
            (b"Keep-Alive", b"a"),
            (b"TRANSFER-ENCODING", b"chunked"),
            (b"Upgrade", b"h2c"),
            (b"Proxy-Connection", b"close"),
        ),
        b"Content-Length: 5\r\n\r\nhello",
        True,
    ),
    "HEAD": ({"method": b"HEAD"}, 200, (LENGTH,), b"Content-Length: 5\r\n\r\n", True),
    "HEAD of an unknown length": ({"method": b"HEAD"}, 200, (), b"\r\n", True),
    "304": ({}, 304, (LENGTH,), b"Content-Length: 5\r\n\r\n", True),
    "204 that announces a body": ({}, 204, (LENGTH, TYPE), b"Content-Type: a/b\r\n\r\n", True),
    "1.0 of an unknown length": (
        {"version": b"HTTP/1.0", "fields": ((b"Connection", b"keep-alive"),)},
        200,
        (),
        b"Connection: close\r\n\r\nhello",
        False,
    ),
    "1.0 that would stay": (
        {"version": b"HTTP/1.0", "fields": ((b"Connection", b"keep-alive"),)},
        200,
        (LENGTH,),
        b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
        False,
    ),
    "close": (
        {"fields": ((b"Connection", b"close"),)},
        200,
        (LENGTH,),
        b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
        False,
    ),
    "101": (
        {},
        101,
        ((b"Connection", b"Upgrade"), (b"Upgrade", b"a"), LENGTH),
        b"Connection: Upgrade\r\nUpgrade: a\r\n\r\n",
        True,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_answer_is_framed_for_its_connection(name: str) -> None:
    """What a target says of its own connection is not said of this one."""
    asked, status, fields, expected, persists = WRITTEN[name]
    call, stream = _call(**asked)
    call.begin(status, b"OK", fields, call.head.method.decode())
    run(call.send(b""))
    run(call.send(b"hello"))
    run(call.end())
    first, _, rest = stream.sent.partition(b"\r\n")
    assert first == b"HTTP/1.1 %d OK" % status
    assert rest == expected
    assert call.persists is persists


def test_an_interim_response_is_only_that() -> None:
    """It frames nothing, HTTP/1.0 gets none, and none comes behind the answer."""
    call, stream = _call()
    call.interim(103, ((b"Link", b"a"), LENGTH, CODED, (b"Connection", b"close")))
    assert stream.sent == b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    call.begin(200, b"", (LENGTH,), "GET")
    call.interim(100)
    call, older = _call(version=b"HTTP/1.0")
    call.interim(100)
    assert older.sent == b""
    assert stream.sent.count(b"HTTP/1.1") == 1


def test_trailers_follow_chunks_alone() -> None:
    """Behind a length there is no place for them."""
    call, stream = _call()
    call.begin(200, b"", (), "GET")
    run(call.end(((b"A", b"b"),)))
    assert stream.sent.endswith(b"\r\n\r\n0\r\nA: b\r\n\r\n")
    call, stream = _call()
    call.begin(200, b"", ((b"Content-Length", b"0"),), "GET")
    run(call.end(((b"A", b"b"),)))
    assert stream.sent.endswith(b"Content-Length: 0\r\n\r\n")


async def _first(stream: Pieces) -> Http1Call:
    call = await Http1Agent(stream, HEAD_BYTES).next()
    assert call is not None
    return call


def test_a_refused_body_is_discarded_within_bounds() -> None:
    """A short one to its end, so that another request may follow; of a long one not all."""
    call = run(_first(Pieces([POST + b"Content-Length: 5\r\n\r\n", b"hello"])))
    run(call.discard())
    assert call.complete
    assert call.persists
    more = (b"x" * 2**20 for _ in range(8))
    call = run(_first(Pieces([POST + b"Content-Length: 99999999\r\n\r\n", *more])))
    run(call.discard())
    assert not call.complete
    assert not call.persists
    call = run(_first(Pieces([POST + b"Content-Length: 5\r\n\r\n"])))
    with pytest.raises(Gone):
        run(call.discard())


def test_what_chunks_say_beside_what_they_carry_counts_as_well() -> None:
    """Of a refused body in chunks of one byte whose extensions are long, no more is read than of any other."""
    pieces = Pieces([POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1;" + b"e" * 2**15 + b"\r\nx\r\n"] * 256])
    call = run(_first(pieces))
    run(call.discard())
    assert (call.complete, call.persists) == (False, False)
    left_bytes = len(run(_rest(pieces)))
    assert 3 * 2**20 < left_bytes < 5 * 2**20  # of 8 MiB, half is read: no more than of a body without extensions


@pytest.mark.parametrize("what", ["chunks", "requests"])
async def test_many_that_come_at_once_are_not_read_at_once(what: str) -> None:
    """In what a socket gives at once there are forty thousand chunks, or thousands of requests; others wait."""
    read = 0
    chunks = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000
    stream = Pieces([chunks if what == "chunks" else GET * 1000])

    async def reading() -> None:
        nonlocal read
        agent = Http1Agent(stream, HEAD_BYTES)
        while (call := await agent.next()) is not None:
            read += 1
            while what == "chunks" and await call.read():
                read += 1

    task = asyncio.ensure_future(reading())
    most = 0
    while not task.done():
        before = read
        await asyncio.sleep(0)
        most = max(most, read - before)
    assert 0 < most < 100
    with suppress(Gone):
        await task
    assert read >= 1000


async def _rest(stream: Pieces) -> bytes:
    received = b""
    while data := await stream.read():
        received += data
    return received


def test_what_stands_behind_a_request_is_for_who_takes_the_connection() -> None:
    """After an upgrade no byte of the agent is lost."""
    stream = Pieces([GET + b"\x81\x00"])
    call = run(_first(stream))
    call.begin(101, b"", ((b"Upgrade", b"a"),), "GET")
    assert call.switch() is stream
    assert stream.take() == b"\x81\x00"
    assert b"101" in stream.sent
    assert not call.persists


# --- framing cases of others, as tests/proxy/test_framing_corpus.py sends them through a gate ---

_FOLDER = Path(os.environ.get("CLAIIM_CORPORA", "/nonexistent")) / "http-desync-guardian"
CASES: list[dict[str, Any]] = [
    {**case, "file": path.stem} for path in sorted(_FOLDER.glob("*.yaml")) for case in yaml.safe_load(path.read_text())
]


def _raw(case: dict[str, Any]) -> bytes:
    lines = [f"{case.get('method', 'GET')} {case.get('uri', '/')} {case.get('version', 'HTTP/1.1')}"]
    fields = case.get("headers") or []
    if not any(str(field["name"]).strip().lower() == "host" for field in fields):
        lines.append("Host: plain.test")
    lines += [f"{field['name']}: {'' if field['value'] is None else field['value']}" for field in fields]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


BODIES = (b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"x" * 100)


# The corpus is others' and not shipped; the run that has it (.ci/run) names its folder.
@pytest.mark.skipif(not CASES, reason="CLAIIM_CORPORA names no folder with the corpus")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['name']}")
def test_a_case_of_the_corpus(case: dict[str, Any]) -> None:
    """What its authors call severe is no request; what is one, three servers read as it was written for the target."""
    for body in BODIES:
        raw = _raw(case) + body
        told = requests([raw])
        assert requests(bytewise(raw)) == told
        for read in told:
            if read[0] != "request" or read[7] is not None or read[9] is None:
                continue
            wire = forwarded(read)
            if wire is None:
                continue
            assert case["expected"]["tier"] != "Severe", wire
            for reader in (read_h11, read_httptools, read_aiohttp):
                reading = reader(wire)
                assert not reading.fault, (reader.__name__, wire, reading)
                (seen,) = reading.requests
                assert seen.method == read[1].decode()
                assert (seen.target, seen.body) == (wire.split(b" ", 2)[1].decode(), read[8])
            assert wire.isascii() or case["expected"]["tier"] in ("Compliant", "Acceptable")
