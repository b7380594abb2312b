"""Takes a batch apart: one multipart body, in each part one HTTP request.

Strict, because a part that we do not see is a call that nobody judges: what a more lenient reader could cut
elsewhere is refused as a whole. Nothing is named here.

    body  = *blank 1*(delimiter part) close *blank
    part  = 1*header blank request-line *header [blank body]
    request-line = METHOD SP /path[?query] [SP HTTP/1.0 | HTTP/1.1]

    a part that is not application/http, or encoded      BatchError
    the boundary anywhere but on a line of its own       BatchError
    GET https://elsewhere.example/x                      BatchError: only paths, all on the one host
    text before the first delimiter                      BatchError

Grammar: https://cloud.google.com/storage/docs/batch, https://developers.google.com/workspace/drive/api/guides/batch
and RFC 2046 section 5.1.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

from mappings.canonical import CanonicalError, canonical_target
from mappings.request import Request

MAX_PARTS = 1000
"""https://developers.google.com/workspace/calendar/api/guides/batch: "limited to 1000 calls in a single batch"."""

_BOUNDARY = re.compile(
    r"""multipart/mixed[ \t]*;[ \t]*boundary=(?:"([A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-])"|"""
    r"""([A-Za-z0-9'()+_,./:=?-]{1,70}))[ \t]*"""
)
"""RFC 2046 section 5.1.1, with the blanks of RFC 9110 section 5.6.3 and no others; a single parameter, so that there is
nothing to choose from. It ends in no blank: whoever takes the blank off cuts where we see the text of a part."""

_REQUEST_LINE = re.compile(r"([A-Z]{3,10}) (/[^ ]*)(?: HTTP/1\.[01])?")
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):(.*)")
"""RFC 9112 section 5; a folded line is none."""

_PLAIN_CODINGS = frozenset({"binary", "7bit", "8bit"})
"""RFC 2045 section 6.2: those that leave the bytes as they are."""


class BatchError(ValueError):
    """The batch cannot be taken apart; the text says why."""


def nested_requests(request: Request) -> tuple[Request, ...]:
    """Return the requests in a batch, in order; raise BatchError when they cannot be told for certain."""
    if request.body is None:
        raise BatchError("it was not read in full")
    if request.header("content-encoding") is not None:
        raise BatchError("it is compressed")
    kinds = request.header_values("content-type")
    match = _BOUNDARY.fullmatch(kinds[0]) if len(kinds) == 1 else None
    if match is None:
        raise BatchError("it is not declared as multipart/mixed with a boundary and nothing else")
    try:
        text = request.body.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise BatchError("it is not UTF-8") from None
    if "\r" in text:
        raise BatchError("it holds a carriage return without a line feed")
    return tuple(_nested(part, request) for part in _parts(text, "--" + (match[1] or match[2])))


def _parts(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the lines of each part."""
    if text.count(delimiter) > MAX_PARTS + 1:
        raise BatchError(f"it holds more than {MAX_PARTS} requests")
    lines = text.split("\n")
    at = [number for number, line in enumerate(lines) if line in (delimiter, delimiter + "--")]
    if text.count(delimiter) != len(at) or len(at) < 2:
        raise BatchError("its boundary does not stand on lines of its own")
    if lines[at[-1]] == delimiter or any(lines[number] != delimiter for number in at[:-1]):
        raise BatchError("it does not end with its last boundary")
    if any(line.strip() for line in (*lines[: at[0]], *lines[at[-1] + 1 :])):
        raise BatchError("it holds text outside its parts")
    for start, end in itertools.pairwise(at):
        yield lines[start + 1 : end]


def _nested(part: list[str], outer: Request) -> Request:
    head, rest = _headers(part)
    kinds = [value.partition(";")[0].strip().lower() for name, value in head if name == "content-type"]
    codings = [value.lower() for name, value in head if name == "content-transfer-encoding"]
    if kinds != ["application/http"] or not set(codings) <= _PLAIN_CODINGS:
        raise BatchError("a part is not plain application/http")
    line = _REQUEST_LINE.fullmatch(rest[0].rstrip(" ")) if rest else None
    if line is None:
        raise BatchError("a part does not begin with a request line that holds a path")
    headers, body = _headers(rest[1:])
    if any(name == "host" and value != outer.host for name, value in headers):
        raise BatchError("a part names another host")
    try:
        target = canonical_target(line[2])
    except CanonicalError as error:
        raise BatchError(f"a part has no canonical path: {error}") from None
    content = "\n".join(body).encode()
    return replace(outer, method=line[1], path=target.path, query=target.query, headers=tuple(headers), body=content)


def _headers(lines: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the headers up to the blank line, names in lower case, and the lines behind it."""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(lines):
        if not line:
            return found, lines[number + 1 :]
        match = _HEADER.fullmatch(line)
        if match is None:
            raise BatchError("a part has a line among its headers that is none")
        found.append((match[1].lower(), match[2].strip(" \t")))
    return found, []
