"""Reads single fields of a gRPC message: as strictly as the strictest reader, and nothing but what is asked for.

Decides nothing, knows no schema and never guesses: what two readers could read differently is None, as is what cannot
be read. Absent fields are simply not in the answer, which only a body that was read in full may show.

Grammar (grpc.io, "gRPC over HTTP2", Length-Prefixed-Message; protobuf.dev, "Encoding"):

    body    = %x00 4-byte length, message         one message, not compressed
    message = *( tag value ), tag = varint: field number * 8 + kind
    kinds   = 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes; 3 and 4 are groups, long out of use

    00 00000005 0A 03 77 65 62          {1: b"web"}
    01 ...                              None: compressed
    08 01 08 00                         None: a field asked for stands twice, and readers differ in which counts
    1A 01 01, asked for 3 as a flag     None: of another kind
"""

from collections.abc import Mapping

FRAME_HEAD_BYTES = 5
"""One byte of flags and four of length."""

VARINT = 0
BYTES = 2
_FIXED = {1: 8, 5: 4}
MAX_VARINT_BYTES = 10
"""protobuf.dev, "Encoding", "Base 128 Varints": 64 bits, seven to a byte."""

Field = int | bytes


class _MalformedError(ValueError):
    pass


def read_fields(body: bytes, wanted: Mapping[int, int]) -> dict[int, Field] | None:
    """Return the fields `wanted`, kind by number, of a body's only message; None when it cannot be told."""
    length = int.from_bytes(body[1:FRAME_HEAD_BYTES], "big")
    if len(body) < FRAME_HEAD_BYTES or body[0] or len(body) != FRAME_HEAD_BYTES + length:
        return None
    found: dict[int, Field] = {}
    at = FRAME_HEAD_BYTES
    try:
        while at < len(body):
            tag, at = _varint(body, at)
            number, kind = tag >> 3, tag & 7
            value, at = _value(body, at, kind)
            if number in wanted:
                if number in found or kind != wanted[number]:
                    return None
                found[number] = value
    except _MalformedError:
        return None
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if not byte & 0x80:
            return value, at + shift + 1
    raise _MalformedError


def _value(body: bytes, at: int, kind: int) -> tuple[Field, int]:
    if kind == VARINT:
        return _varint(body, at)
    length = _FIXED.get(kind, -1)
    if kind == BYTES:
        length, at = _varint(body, at)
    if length < 0 or at + length > len(body):
        raise _MalformedError
    return body[at : at + length], at + length
