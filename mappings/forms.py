"""The form body of a request: read so that no other reader could differ, or searched as the loosest would.

`read_form` is for a caller who obeys what it returns, so whatever two parsers are known to read differently is
a problem; nothing of the body stands in its message. `form_values` is for a caller who wants to know what some
server might find, so it takes every separator and every spelling. Neither decides anything.

    A=1&B=2             read
    A=1;B=2             conflict: a raw ";" separates fields for some servers
    A=1&A=2             conflict: a field stands twice
    A=%ff               unreadable: not UTF-8
    A=%cc<BA>           unreadable: is UTF-8 to who decodes the escape first, and is not to who reads text first
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MAX_FIELDS = 10_000
"""More than any service takes (AWS: 1,000 resources a call, a few fields each); a flood is not parsed."""

_SEPARATOR = re.compile(rb"[&;]")
_EXTENDED_NAME = re.compile(rb"(?<![a-z0-9_-])name\s*\*\s*(?:[0-9]+\s*\*?\s*)?=")
"""The name of a part that is encoded or in pieces, name*=utf-8''%5fmethod or name*0="_met" (RFC 2231 sections 3 and 4):
forbidden by RFC 7578 section 4.2, sent by no client, and read by Go, Python and others. It may be any name."""


def read_form(body: bytes) -> dict[str, str] | Problem:
    """Return the fields of a form in order, or why readers could differ about them."""
    if b";" in body:
        return Problem(CONFLICT, 'the form has a raw ";", which separates fields for some servers')
    pieces = body.split(b"&", MAX_FIELDS)
    if len(pieces) > MAX_FIELDS:
        return Problem(UNREADABLE, f"the form has more than {MAX_FIELDS} fields")
    try:
        body.decode("utf-8")
        return _fields(filter(None, pieces))
    except UnicodeDecodeError:
        return Problem(UNREADABLE, "the form is not UTF-8")


def _fields(pieces: Iterable[bytes]) -> dict[str, str] | Problem:
    fields: dict[str, str] = {}
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        key = _decoded(name).decode("utf-8")
        if key in fields:
            return Problem(CONFLICT, "a form field stands twice")
        fields[key] = _decoded(value).decode("utf-8")
    return fields


def form_values(request: Request, names: frozenset[str]) -> list[str]:
    """Return what the fields with one of these lower-case names hold, in a body that is a form and was read.

    "" stands for a value that was not looked for: in a multipart form, or behind `MAX_FIELDS` fields.
    """
    if not request.body or not request.body_complete or may_hold(request.body, names) is False:
        return []
    kinds = {value.partition(";")[0].strip().lower() for value in request.header_values("content-type")}
    found: list[str] = []
    if FORM in kinds:
        *pieces, rest = _SEPARATOR.split(request.body + b"&", MAX_FIELDS)
        for piece in pieces:
            name, _, value = piece.partition(b"=")
            if _decoded(name).decode("latin-1").strip().lower() in names:
                found.append(_decoded(value).decode("latin-1"))
        if rest:
            found.append("")
    if MULTIPART in kinds and _part_named(names).search(request.body.lower()):
        found.append("")
    return found


def may_hold(body: bytes, names: frozenset[str]) -> bool:
    """Say whether a field with one of these lower-case names can stand in a form; most are told by one search."""
    if len(body) >= MAX_FIELDS:  # perhaps of more fields than are looked through
        return True
    text = _decoded(body).lower()
    return any(name.encode() in text for name in names) or _EXTENDED_NAME.search(text) is not None


def _decoded(text: bytes) -> bytes:
    # https://url.spec.whatwg.org/#application/x-www-form-urlencoded: "+" is a space, then percent-decode.
    return unquote_to_bytes(text.replace(b"+", b" "))


def _part_named(names: frozenset[str]) -> re.Pattern[bytes]:
    # RFC 7578 section 4.2: the name of a part stands in its Content-Disposition.
    words = "|".join(re.escape(name) for name in sorted(names))
    return re.compile(rf"""name\s*=\s*["']?(?:{words})(?![a-z0-9_])|{_EXTENDED_NAME.pattern.decode()}""".encode())
