"""Bodies: where they end, whole or byte by byte."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.fast import bodies
from proxy.fast.bodies import MAX_LINE_BYTES, Body, Chunked, Length, Nothing, UntilClose
from proxy.fast.heads import AnswerHead, NotHttp, RequestHead
from support.dialogues import bytewise

type Found = tuple[bytes, bool, tuple[Any, ...], bytes] | None
"""The data, whether the end was read, the trailers, what is left; None for what is no body."""

LONGEST = b"a" * MAX_LINE_BYTES


def _read(make: Callable[[], Body], pieces: list[bytes]) -> Found:
    """By the buffer alone and, where that is possible, past it: both are the same."""
    found = _by(make(), pieces, _buffered)
    assert _by(make(), pieces, bodies.straight) == found
    return found


def _buffered(_: Body, buffer: bytearray, data: bytes) -> bytes:
    buffer += data
    return b""


def _by(body: Body, pieces: list[bytes], come: Callable[[Body, bytearray, bytes], bytes]) -> Found:
    buffer = bytearray()
    data = b""
    try:
        for piece in pieces:
            data += come(body, buffer, piece)
            while taken := body.take(buffer):
                data += taken
    except NotHttp:
        return None
    return data, body.done, body.trailers, bytes(buffer)


CHUNKED: dict[str, tuple[bytes, Found]] = {
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", (b"hello", True, (), b"")),
    "and what follows": (b"1\r\na\r\n0\r\n\r\nGET", (b"a", True, (), b"GET")),
    "none": (b"0\r\n\r\n", (b"", True, (), b"")),
    "capitals": (b"A\r\n0123456789\r\n0\r\n\r\n", (b"0123456789", True, (), b"")),
    "zeros before, 16 digits": (b"0000000000000001\r\na\r\n0\r\n\r\n", (b"a", True, (), b"")),
    "17 digits": (b"00000000000000001\r\na\r\n0\r\n\r\n", None),
    "16 zeros": (b"0000000000000000\r\n\r\n", (b"", True, (), b"")),
    "0x": (b"0x1\r\na\r\n0\r\n\r\n", None),
    "plus": (b"+1\r\na\r\n0\r\n\r\n", None),
    "minus": (b"-1\r\na\r\n0\r\n\r\n", None),
    "underscore": (b"0_1\r\na\r\n0\r\n\r\n", None),
    "no length": (b"\r\na\r\n0\r\n\r\n", None),
    "a blank before": (b" 1\r\na\r\n0\r\n\r\n", None),
    "blanks behind": (b"1 \t\r\na\r\n0\r\n\r\n", (b"a", True, (), b"")),
    "a blank within": (b"1 1\r\na\r\n0\r\n\r\n", None),
    "other digits": ("١\r\na\r\n0\r\n\r\n".encode(), None),
    "extension": (b'1;a="b;c" ; d\r\na\r\n0;x\r\n\r\n', (b"a", True, (), b"")),
    "blank before an extension": (b"1 ;a\r\na\r\n0\r\n\r\n", (b"a", True, (), b"")),
    "extension with a control byte": (b"1;a\x01\r\na\r\n0\r\n\r\n", None),
    "extension with NUL": (b"1;\0\r\na\r\n0\r\n\r\n", None),
    "extension with LF": (b"1;a\nb\r\na\r\n0\r\n\r\n", None),
    "extension with CR": (b"1;a\rb\r\na\r\n0\r\n\r\n", None),
    "extension as long as may be": (
        b"1;" + LONGEST[2:] + b"\r\na\r\n0\r\n\r\n",
        (b"a", True, (), b""),
    ),
    "extension too long": (b"1;" + LONGEST[1:] + b"\r\na\r\n0\r\n\r\n", None),
    "bare LF": (b"1\na\n0\n\n", None),
    "bare LF behind a chunk": (b"1\r\na\n0\r\n\r\n", None),
    "bare LF at the end": (b"1\r\na\r\n0\r\n\n", None),
    "bare CR": (b"1\ra\r0\r\r\n", None),
    "longer than it says": (b"1\r\nab\r\n0\r\n\r\n", None),
    "shorter than it says": (b"3\r\na\r\n0\r\n\r\n", None),
    "data that looks like an end": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", (b"0\r\n\r\n", True, (), b"")),
    "not ended": (b"1\r\na\r\n", (b"a", False, (), b"")),
    "not ended in its last line": (b"1\r\na\r\n0\r\n", (b"a", False, (), b"0\r\n")),
    "trailers": (b"0\r\nA: b\r\nC:d \r\n\r\nX", (b"", True, ((b"A", b"b"), (b"C", b"d")), b"X")),
    "trailers, folded": (b"0\r\nA: b\r\n c\r\n\r\n", None),
    "trailers, a blank before": (b"0\r\n A: b\r\n\r\n", None),
    "trailers, a blank before the colon": (b"0\r\nA : b\r\n\r\n", None),
    "trailers, no colon": (b"0\r\nA\r\n\r\n", None),
    "trailers, no name": (b"0\r\n: b\r\n\r\n", None),
    "trailers, bare LF": (b"0\r\nA: b\nC: d\r\n\r\n", None),
    "trailers, bare CR": (b"0\r\nA: b\rC: d\r\n\r\n", None),
    "trailers, NUL": (b"0\r\nA: \0\r\n\r\n", None),
    "trailers as long as may be": (
        b"0\r\nA:" + LONGEST[2:] + b"\r\n\r\n",
        (b"", True, ((b"A", LONGEST[2:]),), b""),
    ),
    "trailers too long": (b"0\r\nA:" + LONGEST[1:] + b"\r\n\r\n", None),
}


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks(name: str) -> None:
    """The same in one piece and in any: where it ends is not for packets to say."""
    stream, expected = CHUNKED[name]
    assert _read(Chunked, [stream]) == expected
    if len(stream) < MAX_LINE_BYTES:
        assert _read(Chunked, bytewise(stream)) == expected
    for cut in (*range(1, min(len(stream), 40)), *range(max(1, len(stream) - 12), len(stream))):
        assert _read(Chunked, [stream[:cut], stream[cut:]]) == expected


@pytest.mark.parametrize("endless", [b"1;", b"0\r\nA: ", b"1"], ids=["extension", "trailers", "length"])
def test_what_does_not_end_is_not_kept(endless: bytes) -> None:
    """A line or trailers without an end are refused before they fill the memory."""
    pieces = [endless, *[b"1" * 1024] * (MAX_LINE_BYTES // 1024 + 1)]
    assert _read(Chunked, pieces) is None


def test_a_large_chunk_is_handed_on_piece_by_piece() -> None:
    """A length that nothing could hold is no reason to keep anything."""
    body, buffer = Chunked(), bytearray(b"ffffffffffffffff\r\n")
    for _ in range(10):
        buffer += b"x" * 100_000
        assert body.take(buffer) == b"x" * 100_000
        assert not buffer
    assert not body.done
    assert not body.eof()


def test_a_length() -> None:
    """So many bytes, and not one of what follows."""
    assert (
        _read(lambda: Length(3), [b"abcd"]) == _read(lambda: Length(3), bytewise(b"abcd")) == (b"abc", True, (), b"d")
    )
    assert _read(lambda: Length(0), [b"d"]) == (b"", True, (), b"d")
    assert _read(lambda: Length(3), [b"ab"]) == (b"ab", False, (), b"")
    assert not Length(3).eof()


def test_until_the_end_of_the_connection() -> None:
    """All that comes, and never done."""
    assert _read(UntilClose, bytewise(b"abc")) == (b"abc", False, (), b"")
    assert UntilClose().eof()


def _request(*fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"POST", b"/", b"HTTP/1.1", fields)


def test_what_reads_a_request() -> None:
    """Without a length and without chunks there is no body (RFC 9112, 6.3)."""
    assert isinstance(bodies.of_request(_request()), Nothing)
    assert isinstance(bodies.of_request(_request((b"Content-Length", b"5"))), Length)
    assert isinstance(bodies.of_request(_request((b"TRANSFER-ENCODING", b"chunked"))), Chunked)


LENGTH, CHUNKS = (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")
ANSWERS = {
    "HEAD": ("HEAD", 200, (LENGTH,), Nothing),
    "HEAD of chunks": ("HEAD", 200, (CHUNKS,), Nothing),
    "HEAD of neither": ("HEAD", 200, (), Nothing),
    "100": ("GET", 100, (LENGTH,), Nothing),
    "101": ("GET", 101, (), Nothing),
    "204": ("GET", 204, (LENGTH,), Nothing),
    "304": ("GET", 304, (LENGTH,), Nothing),
    "length": ("GET", 200, (LENGTH,), Length),
    "chunks": ("GET", 500, (CHUNKS,), Chunked),
    "neither": ("GET", 200, (), UntilClose),
    "205": ("GET", 205, (), UntilClose),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_reads_an_answer(name: str) -> None:
    """By method, status and fields, in this order (RFC 9112, 6.3)."""
    method, status, fields, reader = ANSWERS[name]
    assert isinstance(bodies.of_answer(AnswerHead(status, b"", fields), method), reader)


def test_what_is_written_is_read() -> None:
    """A chunk of nothing is nothing, not the last one."""
    written = bodies.chunk(b"a") + bodies.chunk(b"") + bodies.chunk(b"b" * 300) + bodies.last_chunk(((b"A", b"b"),))
    assert _read(Chunked, [written]) == (b"a" + b"b" * 300, True, ((b"A", b"b"),), b"")
