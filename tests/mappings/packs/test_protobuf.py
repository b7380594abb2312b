"""Reading single fields of a gRPC message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.packs.protobuf import BYTES, VARINT, read_fields

WANTED = {1: BYTES, 3: VARINT}


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


READ = {
    "nothing": (b"", {}),
    "a text": (b"\x0a\x03web", {1: b"web"}),
    "an empty text": (b"\x0a\x00", {1: b""}),
    "a text and a flag": (b"\x0a\x03web\x18\x01", {1: b"web", 3: 1}),
    "a flag in more bytes than it needs": (b"\x18\x81\x80\x00", {3: 1}),
    "what nobody asked for": (b"\x12\x01x\x21\0\0\0\0\0\0\0\0\x2d\0\0\0\0\x18\x01", {3: 1}),
    "what nobody asked for, twice": (b"\x12\x01x\x12\x01y\x18\x01", {3: 1}),
    "the largest number": (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", {3: (1 << 64) - 1}),
}

NOT_READ = {
    "a field twice": b"\x18\x01\x18\x00",
    "a field of another kind": b"\x08\x01",
    "a flag of another kind": b"\x1a\x01\x01",
    "a text that ends early": b"\x0a\x09web",
    "a number that ends early": b"\x18\x81",
    "a number too long": b"\x18" + b"\x80" * 10 + b"\x01",
    "four bytes that end early": b"\x2d\0\0",
    "a group": b"\x13\x14",
    "a kind that does not exist": b"\x16\x00",
}


@pytest.mark.parametrize("name", READ)
def test_fields_that_were_asked_for_are_read(name: str) -> None:
    """A field asked for is found wherever it stands; what is absent has no key."""
    message, wanted = READ[name]
    assert read_fields(_framed(message), WANTED) == wanted


@pytest.mark.parametrize("name", NOT_READ)
def test_what_readers_could_differ_about_is_not_read(name: str) -> None:
    """A message that is broken, or holds a field asked for twice or of another kind, has no reading."""
    assert read_fields(_framed(NOT_READ[name]), WANTED) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0\0", b"\x01\0\0\0\x05\x0a\x03web", b"\0\0\0\0\x04\x0a\x03web", b"\0\0\0\0\x06\x0a\x03web"],
    ids=["nothing", "half a head", "compressed", "more than it says", "less than it says"],
)
def test_a_body_is_one_plain_message(body: bytes) -> None:
    """A body that is not exactly one message, uncompressed, has no reading."""
    assert read_fields(body, WANTED) is None


@given(st.binary(max_size=60))
def test_reading_never_fails(message: bytes) -> None:
    """Whatever the bytes, the answer is fields of the kinds asked for, or None."""
    found = read_fields(_framed(message), WANTED)
    assert found is None or all(isinstance(value, bytes if number == 1 else int) for number, value in found.items())
