"""Reads a CBOR body as strictly as the strictest reader, so that what a call acts on is told as in a JSON body.

Only what the Smithy RPC v2 CBOR protocol uses is read (RFC 8949); anything else is a `CborError`, above all what two
readers could take for different things. Nothing is decided here.

    a1 69 54 61 62 6c 65 4e 61 6d 65 61 74          {"TableName": "t"}
    bf ... ff                                       a map of indefinite length: read
    a2 61 61 01 61 61 02                            refused: key "a" stands twice
    a1 01 02                                        refused: a key that is no text
    a0 00                                           refused: something stands behind the end
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_DEPTH = 32
"""Deeper than any model of AWS nests, shallow enough for the stack."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_INDEFINITE = 31
_BREAK = 0xFF
_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE: dict[int, object] = {20: False, 21: True, 22: None, 23: None}
"""RFC 8949 section 3.3: false, true, null, undefined."""


class CborError(ValueError):
    """The body is no CBOR that every reader reads alike."""


class TwiceError(CborError):
    """A key stands twice in one map."""


def read_cbor(body: bytes) -> object:
    """Return the one value that the body is."""
    reader = _Reader(body)
    try:
        value = reader.value(0)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise CborError("the body ends early or is not UTF-8") from None
    if reader.at != len(body):
        raise CborError("something stands behind the end")
    return value


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def value(self, depth: int) -> object:
        """Return the value that begins here."""
        if depth > MAX_DEPTH:
            raise CborError("nested too deeply")
        major, low = divmod(self._body[self.at], 32)
        self.at += 1
        if major == _OTHER:
            return self._other(low)
        if low == _INDEFINITE:
            return self._indefinite(major, depth)
        number = self._number(low)
        if major == _UNSIGNED:
            return number
        if major == _NEGATIVE:
            return -1 - number
        if major in (_BYTES, _TEXT):
            return self._text(major, number)
        if major == _TAG:
            return self.value(depth + 1)
        # An element takes a byte at least: a count beyond that is a lie, and would cost a long loop.
        if number > len(self._body) - self.at:
            raise CborError("the body ends early")
        if major == _LIST:
            return [self.value(depth + 1) for _ in range(number)]
        return self._map(iter(range(number)), depth)

    def _number(self, low: int) -> int:
        if low < min(_SIZES):
            return low
        if low not in _SIZES:
            raise CborError("a length that is reserved")
        return int.from_bytes(self._take(_SIZES[low]))

    def _take(self, count: int) -> bytes:
        taken = self._body[self.at : self.at + count]
        if len(taken) < count:
            raise CborError("the body ends early")
        self.at += count
        return taken

    def _text(self, major: int, count: int) -> str | bytes:
        taken = self._take(count)
        return taken.decode("utf-8") if major == _TEXT else taken

    def _other(self, low: int) -> object:
        if low in _SIMPLE:
            return _SIMPLE[low]
        if low not in _FLOATS:
            raise CborError("a simple value that is not in use")
        number: float = struct.unpack(_FLOATS[low], self._take(_SIZES[low]))[0]
        return number

    def _open(self) -> Iterator[int]:
        """Count until the break that ends something of indefinite length."""
        while self._body[self.at] != _BREAK:
            yield 0
        self.at += 1

    def _indefinite(self, major: int, depth: int) -> object:
        if major == _LIST:
            return [self.value(depth + 1) for _ in self._open()]
        if major == _MAP:
            return self._map(self._open(), depth)
        if major not in (_BYTES, _TEXT):
            raise CborError("a length that is reserved")
        pieces: list[str | bytes] = []
        for _ in self._open():
            kind, low = divmod(self._body[self.at], 32)
            if kind != major or low == _INDEFINITE:
                raise CborError("a piece of another kind")
            self.at += 1
            pieces.append(self._text(major, self._number(low)))
        return "".join(map(str, pieces)) if major == _TEXT else b"".join(p for p in pieces if isinstance(p, bytes))

    def _map(self, count: Iterator[int], depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in count:
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise CborError("a key that is no text")
            if key in found:
                raise TwiceError("the body holds a key twice, and readers differ in which one counts")
            found[key] = self.value(depth + 1)
        return found
