"""The canonical body of a record: exactly the bytes that are hashed and stored.

A body is one flat JSON object after RFC 8785 (JCS), restricted so that every JSON writer agrees on it:
names are ASCII (`[a-z_][a-z0-9_]*`, so sorting by code point equals JCS's sorting by UTF-16 unit), values are
strings, integers below 2**53 (RFC 7493 section 2.2: beyond it readers disagree) and booleans.
A field that is None is left out. Five names belong to the Chron: v, seq, id, ts, kind.

    {"agent":"deploy-bot","id":"chr_01k...","kind":"decision","outcome":"DENY","seq":7,"ts":"2026-...Z","v":1}

    field "cost" is a float; a body holds str, int, bool and None only; write the number in a smaller unit
    field "seq" is set by the Chron; choose another name

What no reader can be trusted with is replaced by U+FFFD before hashing, never refused: text comes from
requests, and a request must not be able to make itself unrecordable.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import compress, repeat
from operator import is_, is_not
from typing import Any

from chron.errors import ChronError, NotOursError

type Value = str | int | bool | None
type Fields = Mapping[str, Value]

VERSION = 1
MAX_BODY_BYTES = 64 * 1024
"""A record is facts about a request, not the request: what is larger is a caller's bug."""

_RESERVED = frozenset({"v", "seq", "id", "ts", "kind"})
_INTEGER_LIMIT = 2**53
_TYPES = frozenset({str, int, bool})
_READ_TYPES = _TYPES | {type(None)}
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_MOST_NAMES = 4096
_known_names: set[str] = set()
"""Names that passed the check before: they come from code, so the set stays small."""


# RFC 8785 section 3.2.2: no white space, "/" and non-ASCII as they are, control characters as \uXXXX.
_plain = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False, allow_nan=False
).encode


@cache
def _encoder() -> Callable[[Fields], bytes]:
    """What writes names in the order they stand in; it raises ValueError for a lone surrogate.

    The same bytes as `json` gives (a test holds them equal), in a third of the time. Imported by whoever writes:
    it takes longer than all else that reading a log needs.
    """
    try:
        from pydantic_core import to_json

        to_json({"v": VERSION})  # which imports more
    except ImportError:  # a process that has given up its right to read them
        return lambda body: _plain(body).encode()
    return to_json


@lru_cache(maxsize=512)
def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names in their order; the same few sets of them come again and again."""
    return tuple(sorted(names))


# A lone surrogate has no UTF-8 form. NUL has one, but SQLite's JSON functions end a string there: the
# generated column would show less than the hashed bytes say.
_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def checked(kind: str, fields: Fields) -> dict[str, str | int | bool]:
    """A copy without the None fields; raises ChronError for what a body cannot hold."""
    if kind not in _known_names:
        _learn_names((kind,))
    if not _known_names.issuperset(fields):
        _learn_names(fields)
    # For fifty fields of each record: the same loops as comprehensions would take three times as long.
    copy: dict[str, Any] = dict(compress(fields.items(), map(is_not, fields.values(), repeat(None))))
    kinds = list(map(type, copy.values()))
    if not _TYPES.issuperset(kinds):
        raise ChronError(_wrong_type(copy))
    integers = list(compress(copy.values(), map(is_, kinds, repeat(int))))
    if integers and not -_INTEGER_LIMIT < min(integers) <= max(integers) < _INTEGER_LIMIT:
        name = next(name for name, value in copy.items() if type(value) is int and abs(value) >= _INTEGER_LIMIT)
        raise ChronError(f'field "{name}" is beyond 2**53, where JSON readers disagree; write it as a string')
    return copy


def _learn_names(names: Iterable[object]) -> None:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ChronError(f"field name {name!r:.80} is not a name; use lower-case ASCII letters, digits and _")
        if name in _RESERVED:
            raise ChronError(f'field "{name}" is set by the Chron; choose another name')
        if len(_known_names) < _MOST_NAMES:
            _known_names.add(name)


def _wrong_type(fields: Mapping[str, object]) -> str:
    name, value = next((name, value) for name, value in fields.items() if type(value) not in _TYPES)
    remedy = "write the number in a smaller unit" if isinstance(value, float) else "turn it into one of these"
    return f'field "{name}" is a {type(value).__name__}; a body holds str, int, bool and None only; {remedy}'


def canonical(body: dict[str, str | int | bool]) -> tuple[str, bytes]:
    """The body's canonical text and its UTF-8 bytes; raises ChronError when it is too large."""
    encode = _encoder()
    in_order = {name: body[name] for name in _ordered(tuple(body))}
    try:
        data = encode(in_order)
    except ValueError:  # a lone surrogate
        data = b""
    if not data or b"\\u0000" in data:
        data = encode({name: _safe(value) for name, value in in_order.items()})
    if len(data) > MAX_BODY_BYTES:
        raise ChronError(f"the record is {len(data)} bytes and the limit is {MAX_BODY_BYTES}; shorten its fields")
    return data.decode(), data


def _safe(value: str | int | bool) -> str | int | bool:
    return _UNSAFE.sub(_REPLACEMENT, value) if isinstance(value, str) else value


def is_canonical(data: bytes) -> bool:
    """Whether stored bytes are what `canonical` would write for their own value."""
    try:
        value = read_body(data)
        return None not in value.values() and canonical(dict(value))[1] == data  # type: ignore[arg-type]
    except (ValueError, RecursionError, ChronError):
        return False


def read_body(data: str | bytes) -> dict[str, Value]:
    """The fields of a stored body; raises NotOursError when it is no flat object, as no body of ours is."""
    try:
        # Of bytes the reader of JSON would guess an encoding.
        text = data if isinstance(data, str) else data.decode("utf-8")
        fields = json.loads(text)
    except (ValueError, RecursionError):
        text, fields = "", None
    if not isinstance(fields, dict):
        raise NotOursError("its body is not a JSON object")
    if not all(map(_is_ours, fields.values())) or (
        "\\u" in text and _SURROGATE.search("".join(map(str, fields.values())))
    ):
        raise NotOursError("its body holds what no body of ours does")
    return fields


def _is_ours(value: object) -> bool:
    if value.__class__ is int:
        return -_INTEGER_LIMIT < value < _INTEGER_LIMIT
    return value.__class__ in _READ_TYPES


def stamp(at_ns: int) -> str:
    """RFC 3339 in UTC with microseconds, fixed width, so that text order is time order."""
    at_s, rest_ns = divmod(at_ns, 1_000_000_000)
    return f"{_stamp_of_second(at_s)}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=16)
def _stamp_of_second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat()


def stamp_ns(text: str) -> int:
    """The time of a `stamp`, in nanoseconds since the epoch."""
    at = datetime.fromisoformat(text)
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000_000 + at.microsecond * 1000
