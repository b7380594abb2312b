"""The fast engine's HTTP/1: the same in any pieces, and written again it is read as it was, by others too."""

import h11

from proxy.facts import FactsError, Fields, Inbound, is_field, read_facts
from proxy.fast import bodies, heads
from proxy.fast.http1 import Http1Agent, Http1Call
from proxy.upgrades import TCP
from proxy.wire.passing import fit_trailers
from support.dialogues import Pieces, Told, answers, bytewise, read_answers, read_requests, requests, run
from support.fuzzing.harness import Harness
from support.garden.parsers import read_h11, read_httptools

HEAD_BYTES = 512
"""So that inputs reach it."""
READERS = (read_h11, read_httptools)


def fast_request(data: bytes) -> str:
    """The first byte says where the stream is cut, the others are the stream."""
    cut, stream = data[:1], data[1:]
    whole = requests([stream], HEAD_BYTES)
    byte_for_byte = Pieces(bytewise(stream))
    assert run(read_requests(byte_for_byte, HEAD_BYTES)) == whole
    assert byte_for_byte.most <= HEAD_BYTES or b"chunked" in stream.lower()  # lines between chunks may be longer
    assert requests(_cut(stream, cut), HEAD_BYTES) == whole
    read = [told for told in whole if told[0] == "request" and told[7] is None and told[9] is not None]
    for told in read:
        _again(told)
    return f"{len(read) and 'read'} {whole[-1][0]}"


def _cut(stream: bytes, cut: bytes) -> list[bytes]:
    step = 2 + (cut[0] if cut else 0) % 61
    return [stream[at : at + step] for at in range(0, len(stream), step)]


def _again(told: Told) -> None:
    """Written as it stands it reads the same; written by the gate everybody reads that."""
    _, method, target, _, fields, scheme, authority, _, body, trailers = told
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in fields)
    framed = bodies.chunk(body) + bodies.last_chunk(trailers) if chunked else body
    if method != b"CONNECT":
        written = heads.write_request(method.decode(), target.decode(), fields) + framed
        (again, *_) = requests([written])
        assert again == ("request", method, target, b"HTTP/1.1", fields, b"", b"", None, body, trailers)
    wire = forwarded(told)
    if wire is None:
        return
    read_alike(wire, body)
    assert scheme in (b"", b"http", b"https")
    assert authority == b"" or scheme


def read_alike(wire: bytes, body: bytes) -> None:
    """One request, and the same to ourselves and to others."""
    (first,) = requests([wire])[:-1]
    for reading in (reader(wire) for reader in READERS):
        if reading.fault in ("Invalid method encountered", "Expected space after method"):
            continue  # llhttp has a list of them
        assert not reading.fault, reading.fault
        (seen,) = reading.requests
        assert (seen.method, seen.target, seen.body) == (first[1].decode(), first[2].decode(), body)


def arriving(method: bytes, scheme: bytes, target: bytes, fields: Fields, authority: bytes) -> Inbound:
    """What an engine makes of the parts of a head."""
    return Inbound(
        method.decode("latin-1"),
        scheme.decode("latin-1"),
        target.decode("latin-1"),
        fields,
        "127.0.0.1",
        uri_authority=authority.decode("latin-1"),
    )


def forwarded(told: Told) -> bytes | None:
    """What a target gets of a request that was read, where nothing forbids it; None where it has no one reading."""
    _, method, target, _, fields, scheme, authority, _, body, _ = told
    try:
        facts = read_facts(arriving(method, scheme or b"http", target, fields, authority), body)
    except FactsError:
        return None
    if facts.upgrade == TCP:
        return None  # to Docker's daemons alone, of whatever these readers would make of its body
    head = heads.write_request(facts.request.method, facts.wire_target, facts.wire_fields)
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in facts.wire_fields)
    return head + (bodies.chunk(body) + bodies.last_chunk(()) if chunked else body)


def fast_answer(data: bytes) -> str:
    """The first byte says to what method, and where the stream is cut; the others are the stream."""
    cut, stream = data[:1], data[1:]
    method = ("GET", "HEAD", "POST")[(cut[0] if cut else 0) % 3]
    whole = answers([stream], method)
    byte_for_byte = Pieces(bytewise(stream))
    # Bytes behind the answer are not there yet when it ends: whether the connection stays is not compared.
    assert _apart(run(read_answers(byte_for_byte, method))) == _apart(whole)
    assert _apart(answers(_cut(stream, cut), method)) == _apart(whole)
    if whole[-1] == ("end",):
        _passed_on(whole[-2], method)
    broken = answers([stream], method, breaks=True)
    assert broken == whole or broken[-1] == ("broken",)
    return f"{whole[-1][0]} {len(whole)}"


def _apart(told: list[Told]) -> list[Told]:
    return [each[:-1] if each[0] == "answer" else each for each in told if each[0] != "switched"]


def _passed_on(told: Told, method: str) -> None:
    """Written to an agent, a reader of HTTP finds the same answer, and its end."""
    _, status, phrase, _, fields, body, received, _ = told
    trailers = fit_trailers(received)
    stream = Pieces([])
    asked = heads.RequestHead(method.encode(), b"/", b"HTTP/1.1", ())
    call = Http1Call(Http1Agent(stream, HEAD_BYTES), asked, None)
    call.begin(status, phrase, fields, method)
    run(call.send(body))
    run(call.end(trailers))
    (again, _) = answers([stream.sent], method)
    assert again[1:3] == (status, phrase)
    assert again[5:7] == (body, trailers if b"Transfer-Encoding" in dict(again[4]) else ())
    assert again[7]
    if not all(is_field(*field) for field in (*fields, *trailers)):
        return  # some readers take no control bytes
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(stream.sent)
    event = client.next_event()
    assert isinstance(event, h11.Response)
    assert event.status_code == status
    data = b""
    while not isinstance(event, h11.EndOfMessage):
        event = client.next_event()
        assert event is not h11.NEED_DATA
        data += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert data == body
    assert client.trailing_data == (b"", False)


_WORDS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b" HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"http://",
        b"0\r\n\r\n",
        b"0\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Connection: close\r\n",
        b"5\r\nhello\r\n",
        b";a=b",
    ),
    *(b"keep-alive", b"Upgrade: websocket\r\n", b"CONNECT ", b"POST /", b"GET / HTTP/1.1\r\n"),
)

HARNESSES = (
    Harness("fast-request", fast_request, _WORDS, 1024),
    Harness(
        "fast-answer",
        fast_answer,
        (*_WORDS, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 \r\n", b"HTTP/1.1 204 \r\n", b" 101 ", b" 304 "),
        1024,
    ),
)
