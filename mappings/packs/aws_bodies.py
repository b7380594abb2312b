"""Reads the two kinds of body AWS has, a JSON object and a form, so that no other reader could differ.

Apart from `mappings.bodies`, which reads what is declared as JSON: AWS has media types of its own.

Never repairs: whatever two parsers are known to read differently is refused with `BodyError`, and the caller
turns that into an answer. Nothing of the body stands in the message.

    {"a": 1}            read
    {"a": 1, "a": 2}    BodyError: a key stands twice
    A=1&B=2             read
    A=1;B=2             BodyError: a raw ";" separates fields for some servers
"""

import json
from collections.abc import Iterable, Mapping
from typing import Never
from urllib.parse import unquote_to_bytes

MAX_FORM_FIELDS = 10_000
"""More than any service takes (AWS: 1,000 resources a call, a few fields each); a flood is not parsed."""


class BodyError(ValueError):
    """The body is missing, or two parsers could read it differently; the text says which in a few words."""


class AmbiguousBodyError(BodyError):
    """The body reads in two ways, rather than in none."""


def read_json_object(body: bytes | None) -> dict[str, object]:
    """Return the object in a JSON body; BodyError when it is none or could be read in two ways."""
    if body is None:
        raise BodyError("the body was not read")
    try:
        # RFC 8259 section 8.1: UTF-8, no byte order mark (json refuses a mark in text).
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except BodyError:
        raise
    except (ValueError, RecursionError):
        raise BodyError("the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise BodyError("the body is not a JSON object")
    return value


def read_form(body: bytes | None) -> tuple[tuple[str, str], ...]:
    """Return the fields of an application/x-www-form-urlencoded body in order; no key twice."""
    if body is None:
        raise BodyError("the body was not read")
    if b";" in body:
        raise AmbiguousBodyError('the form has a raw ";", which separates fields for some servers')
    pieces = body.split(b"&") if body else []
    if len(pieces) > MAX_FORM_FIELDS:
        raise BodyError(f"the form has more than {MAX_FORM_FIELDS} fields")
    fields = tuple(_field(piece) for piece in pieces if piece)
    if len({key for key, _ in fields}) < len(fields):
        raise AmbiguousBodyError("a form field stands twice")
    return fields


def strings(value: object) -> tuple[str, ...]:
    """Return the text elements of a JSON array, () for anything else."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _members(pairs: Iterable[tuple[str, object]]) -> Mapping[str, object]:
    # RFC 8259 section 4: with a name twice, readers take the first, the last, or all.
    members: dict[str, object] = {}
    for key, value in pairs:
        if key in members:
            raise AmbiguousBodyError("a JSON key stands twice")
        members[key] = value
    return members


def _no_constant(_: str) -> Never:
    raise BodyError("NaN and Infinity are not JSON")  # RFC 8259 section 6


def _field(piece: bytes) -> tuple[str, str]:
    # https://url.spec.whatwg.org/#application/x-www-form-urlencoded: "+" is a space, then percent-decode.
    key, _, value = (part.replace(b"+", b" ") for part in piece.partition(b"="))
    try:
        return unquote_to_bytes(key).decode("utf-8"), unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise BodyError("the form is not UTF-8") from None
