"""Bodies of requests: what a strict reader of ours takes, a lenient one of somebody else reads as the same."""

import json
import math
import re
import struct
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from urllib.parse import parse_qsl

from pydantic_core import from_json

from mappings.bodies import MISSING, look_up, look_up_all, read_json, read_pointer
from mappings.forms import FORM, MULTIPART, form_values, read_form
from mappings.packs.aws_cbor import CborError, read_cbor
from mappings.packs.google_batch import BatchError, nested_requests
from mappings.packs.jsonrpc import read_messages
from mappings.packs.protobuf import BYTES, VARINT, read_fields
from mappings.request import Request
from mappings.resolution import Problem
from support.fuzzing.harness import Harness, refusal

_METHOD = frozenset({"_method", "$httpmethod"})
_DEEPEST_OF_OTHERS = 100
"""Other readers stop at some depth of their own; ours stops at Python's."""


def post(body: bytes, *headers: tuple[str, str]) -> Request:
    """A request with a body."""
    return Request("POST", "https", "api.test", 443, "/x", (), headers, body)


def json_body(data: bytes) -> str:
    """The first line is a pointer, the rest is the body."""
    name, _, body = data.partition(b"\n")
    request = post(body, ("content-type", "application/json"))
    value = read_json(request)
    messages = read_messages(request)
    if isinstance(value, Problem):
        assert value.message.isprintable()
        assert messages == value
        return value.code
    if value is MISSING:
        assert not body
        return "empty"
    assert not _twice(body)
    if _depth(value) < _DEEPEST_OF_OTHERS:
        # A reader in another language, and stricter than most.
        assert _same(from_json(body, allow_inf_nan=False), value)
    if not isinstance(messages, Problem):
        elements = value if isinstance(value, list) else [value]
        assert [message.method for message in messages] == [element.get("method", "") for element in elements]
    return _pointed(value, name.decode("utf-8", "replace"))


def _twice(body: bytes) -> bool:
    found = []

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.append(len({key for key, _ in pairs}) < len(pairs))
        return dict(pairs)

    json.loads(body, object_pairs_hook=keep)
    return any(found)


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        deepest += 1
    return deepest


def _pointed(value: object, name: str) -> str:
    try:
        pointer = read_pointer(name, many=True)
    except ValueError as error:
        return refusal(error)
    found = look_up_all(value, pointer)
    if isinstance(found, Problem):
        assert found.message.startswith("the body holds")
        return "two spellings"
    assert len(found) <= len(json.dumps(value))
    if "*" not in pointer.steps:
        single = look_up(value, pointer)
        expected = value
        for step in pointer.steps:
            expected = _member(expected, step)
        assert single is MISSING if expected is None else _same(single, expected)
    return "read"


def _member(value: object, step: str) -> object:
    """As the most lenient reader would find it: spelling folded, the last of several counts."""
    if isinstance(value, list):
        return value[int(step)] if re.fullmatch("[0-9]{1,5}", step) and int(step) < len(value) else None
    if not isinstance(value, dict):
        return None
    plain = re.sub("[-_]", "", step).casefold()
    fitting = [each for key, each in value.items() if re.sub("[-_]", "", key).casefold() == plain]
    return fitting[-1] if fitting else None


def _same(one: object, other: object) -> bool:
    """Equal, and of equal types; a number that is none equals itself."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def form(data: bytes) -> str:
    """The first line is a content type, the rest is the body of a form."""
    kind, _, body = data.partition(b"\n")
    content_type = kind.decode("latin-1")
    request = post(body, ("content-type", content_type))
    found = form_values(request, _METHOD)
    media = content_type.partition(";")[0].strip().lower()
    if media == FORM:
        if "" not in found:
            read = parse_qsl(body.decode("latin-1"), True, encoding="latin-1")
            named = {value for name, value in read if name.strip().lower() in _METHOD}
            # Cut at ";" too, a value that holds one has become shorter, and was no method.
            assert {value for value in named if ";" not in value} <= set(found)
    elif media == MULTIPART and any(name.lower() in _METHOD for name in _part_names(content_type, body)):
        assert found
    fields = read_form(body)
    if isinstance(fields, Problem):
        assert fields.message.isprintable()
        return fields.code
    assert list(fields.items()) == parse_qsl(body.decode("utf-8"), True, errors="strict", max_num_fields=20_000)
    return "read"


def _part_names(content_type: str, body: bytes) -> list[str]:
    """Names of parts as the standard library reads them, which decodes whatever RFC 2231 can encode."""
    if not re.fullmatch(r"[\x20-\x7e]*", content_type):
        return []
    head = f"Content-Type: {content_type}\r\n\r\n".encode("ascii")
    message: Message = BytesParser(policy=compat32).parsebytes(head + body)
    if not message.is_multipart():
        return []
    names = []
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        if isinstance(name, tuple):
            name = str(name[2])
        if isinstance(name, str):
            names.append(name)
    return names


def batch(data: bytes) -> str:
    """The first line is a content type, the rest a batch of requests in parts."""
    kind, _, body = data.partition(b"\n")
    content_type = kind.decode("latin-1")
    try:
        nested = nested_requests(post(body, ("content-type", content_type)))
    except BatchError as error:
        return refusal(error)
    assert 1 <= len(nested) <= 1000
    for each in nested:
        assert re.fullmatch(r"[A-Z]{3,10}", each.method)
        assert each.path.startswith("/")
    # Whoever looks for parts as the standard library does finds as many, and the same first lines.
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message: Message = BytesParser(policy=compat32).parsebytes(head + body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    lines = [str(part.get_payload()).lstrip("\r\n").split("\n", 1)[0] for part in parts if isinstance(part, Message)]
    assert [line.split(" ", 1)[0] for line in lines] == [each.method for each in nested]
    return "read"


def cbor(data: bytes) -> str:
    """The whole input is a body of CBOR."""
    try:
        value = read_cbor(data)
    except CborError as error:
        return refusal(error)
    assert _count(value) <= len(data)
    assert _same(read_cbor(_cbor(value)), value)
    return "read"


def _count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _count(each) for each in value.values())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


def _cbor(value: object) -> bytes:
    """RFC 8949 section 4.2.1, written anew: the shortest head, definite lengths."""
    if isinstance(value, bool) or value is None:
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(_cbor, value))
    assert isinstance(value, dict)
    return _head(5, len(value)) + b"".join(_cbor(key) + _cbor(each) for key, each in value.items())


def _head(major: int, number: int) -> bytes:
    for low, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << 8 * size:
            return bytes([major << 5 | low]) + number.to_bytes(size)
    raise AssertionError(number)


def protobuf(data: bytes) -> str:
    """The whole input is one message of gRPC, without its frame."""
    wanted = {1: BYTES, 2: VARINT, 3: BYTES, 100: VARINT}
    body = b"\0" + struct.pack(">I", len(data)) + data
    fields = read_fields(body, wanted)
    if fields is None:
        return "refused"
    assert fields.keys() <= wanted.keys()
    assert all(isinstance(value, int if wanted[number] == VARINT else bytes) for number, value in fields.items())
    written = b"".join(_field(number, value) for number, value in fields.items())
    assert read_fields(b"\0" + struct.pack(">I", len(written)) + written, wanted) == fields
    assert sum(len(value) for value in fields.values() if isinstance(value, bytes)) <= len(data)
    return "read"


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


_JSON = (b'{"', b'":', b"[", b"]", b"}", b",", b"\\u", b"null", b"true", b"1e9", b"-0", b"\xef\xbb\xbf", b"\\ud800")
_PARTS = (
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n\r\n",
    b"Content-Disposition: form-data; name=",
    b'"_method"',
    b"name*=utf-8''",
)
HARNESSES = (
    Harness("json", json_body, (*_JSON, b"a.b", b"*", b"\n", b"jsonrpc", b"method", b"params"), 1024),
    Harness(
        "form",
        form,
        (FORM.encode(), MULTIPART.encode(), b"; boundary=b\n", b"_method=", b"%5f", b"&", b";", b"+", *_PARTS),
        1024,
    ),
    Harness(
        "batch",
        batch,
        (
            *_PARTS,
            b"multipart/mixed; boundary=b\n",
            b"Content-Type: application/http\r\n",
            b"GET /x HTTP/1.1\r\n",
            b"\n",
        ),
        1024,
    ),
    Harness("cbor", cbor, (b"\xbf", b"\xff", b"\x9f", b"\x7f", b"\xfb", b"\xa1", b"\x61a", b"\xc1", b"\xd8"), 512),
    Harness("protobuf", protobuf, (b"\x0a", b"\x10", b"\x1a", b"\xa0\x06", b"\x80", b"\xff"), 512),
)
