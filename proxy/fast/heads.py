"""Heads of HTTP/1 messages: bytes in, a head out, and back. No sockets, no state.

Two readers must agree on a request's head. One takes the lines apart as they stand; the other is httptools (llhttp,
strict), which knows every way that others have been fooled. What only one of them takes for a request is none.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httptools

type Fields = tuple[tuple[bytes, bytes], ...]
type Values = Mapping[bytes, tuple[bytes, ...]]
"""By a field's name in lower case."""

END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) (HTTP/[0-9]\.[0-9])")  # RFC 9112, 3
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: ([\t -\x7e\x80-\xff]*))?")  # RFC 9112, 4
_NO_LINE = re.compile(rb"[\x00\r\n]")
"""What no line holds: a reader that takes one of these for the end of a line sees other fields."""
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_ABSOLUTE = re.compile(rb"(?i)(https?)://([^/?#]+)(/[^#]*)?")
"""RFC 9112, 3.2.2, without a fragment. Nor a query without a path: not every reader ends the authority there."""
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
"""In its one spelling: with a leading zero it is an octal number to some."""


class NotHttp(Exception):
    """These bytes are no head of an HTTP/1 message; the text says why."""


class _Head:
    """What has fields; they are asked for by name some ten times."""

    __slots__ = ()
    fields: Fields
    _values: Values | None

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of a field; the name in lower case."""
        values = self._values
        if values is None:
            values = _by_name(self.fields)
            object.__setattr__(self, "_values", values)
        return values.get(name, ())


def _by_name(fields: Fields) -> Values:
    found: dict[bytes, tuple[bytes, ...]] = {}
    for name, value in fields:
        lower = name.lower()
        found[lower] = (*found[lower], value) if lower in found else (value,)
    return found


@dataclass(frozen=True, slots=True)
class RequestHead(_Head):
    """A request's head as it stands, nothing of it judged."""

    method: bytes
    target: bytes
    version: bytes
    """``HTTP/1.0``, ``HTTP/1.1``, or ``HTTP/2.0``."""
    fields: Fields
    scheme: bytes = b""
    """Of an absolute URI or of `:scheme`; else b""."""
    authority: bytes = b""
    """Of an absolute URI, of a CONNECT or of `:authority`; else b""."""
    _values: Values | None = field(default=None, init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AnswerHead(_Head):
    """An answer's head."""

    status: int
    phrase: bytes
    fields: Fields
    version: bytes = b"HTTP/1.1"
    _values: Values | None = field(default=None, init=False, repr=False, compare=False)


def read_request(head: bytes) -> RequestHead:
    """The head of a request, its last empty line included; raises NotHttp."""
    line, fields = _taken_apart(head)
    matched = _REQUEST_LINE.fullmatch(line)
    if matched is None:
        raise NotHttp("the first line is no request line")
    method, target, version = matched.groups()
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise NotHttp("the version of HTTP is not 1.0 or 1.1")
    if method == b"CONNECT":
        read = RequestHead(method, b"", version, fields, b"", target)
    elif target[:1] == b"/" or target == b"*":
        read = RequestHead(method, target, version, fields)
    else:
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise NotHttp("the target is neither a path nor an absolute URI")
        scheme, authority, path = absolute.groups()
        read = RequestHead(method, path or b"/", version, fields, scheme.lower(), authority)
    if len(read.all(b"content-length")) > 1:
        raise NotHttp("the end of the body is told twice")
    return read


class _Second:
    """What httptools finds in a head."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def disputed(head: bytes, read: RequestHead) -> str | None:
    """Why a head that was read has another reading or none to a strict reader; None when the two agree."""
    if fault := _framing_fault(read):
        return fault
    if read.version == b"HTTP/1.0" and read.all(b"transfer-encoding"):
        return "HTTP/1.0 knows no transfer coding"  # RFC 9112, 6.1
    try:
        try:
            second = _second_reading(head, read.method, read.version)
        except httptools.HttpParserInvalidMethodError:
            # It has a list of methods, without LIST (Vault). Where a head ends does not depend on it.
            second = _second_reading(b"POST" + head[len(read.method) :], b"POST", read.version)
    except httptools.HttpParserError as error:
        return f"a strict reader finds no request: {error}"
    target = head[len(read.method) + 1 : head.index(b" ", len(read.method) + 1)]
    same = second is not None and second.url == target and tuple(second.fields) == read.fields
    return None if same else "two readers disagree"


def _second_reading(head: bytes, method: bytes, version: bytes) -> _Second | None:
    """What httptools reads; None where that is no whole head with this method and version. Raises its errors."""
    second = _Second()
    parser = httptools.HttpRequestParser(second)
    with contextlib.suppress(httptools.HttpParserUpgrade):  # what follows is another protocol; the head was read
        parser.feed_data(head)
    same = second.complete and parser.get_method() == method
    return second if same and parser.get_http_version() == version[5:].decode() else None


def _framing_fault(head: RequestHead | AnswerHead) -> str | None:
    """What makes the end of a message's body a matter of opinion (RFC 9112, 6.1 and 6.3); None when nothing does."""
    lengths, codings = head.all(b"content-length"), head.all(b"transfer-encoding")
    if lengths and codings:
        return "both a content length and a transfer coding say where the body ends"
    if len(lengths) > 1 or len(codings) > 1:
        return "the end of the body is told twice"
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return "the content length is no number"
    if codings and codings[0].lower() != b"chunked":
        return "the transfer coding is not chunked"
    return None


def read_answer(head: bytes) -> AnswerHead:
    """The head of an answer, its last empty line included; raises NotHttp."""
    line, fields = _taken_apart(head)
    matched = _STATUS_LINE.fullmatch(line)
    if matched is None:
        raise NotHttp("the first line is no status line")
    check_names(fields)
    version, status, phrase = matched.groups()
    read = AnswerHead(int(status), phrase or b"", fields, version)
    if fault := _framing_fault(read):
        raise NotHttp(fault)
    if read.all(b"transfer-encoding") and (version == b"HTTP/1.0" or read.status < 200 or read.status == 204):
        raise NotHttp("a transfer coding stands where there is none")  # RFC 9112, 6.1
    return read


def _taken_apart(head: bytes) -> tuple[bytes, Fields]:
    """The first line and the fields."""
    if not head.endswith(END):
        raise NotHttp("the head has no end")
    first, *lines = head[: -len(END)].split(b"\r\n")
    if _NO_LINE.search(first):
        raise NotHttp("a line of the head holds a control byte that may end it")
    return first, read_fields(lines)


def read_fields(lines: list[bytes]) -> Fields:
    """The fields in these lines, names as they stand; raises NotHttp."""
    if _NO_LINE.search(b"".join(lines)):
        raise NotHttp("a line holds a control byte that may end it")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or line[0] in b" \t:":
            # RFC 9112, 5.2: a line that begins with a blank goes on with the field before it, for some readers.
            raise NotHttp("a line is no field")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def check_names(fields: Fields) -> None:
    """Raise NotHttp where the name of a field is no token."""
    if not all(_TOKEN.fullmatch(name) for name, _ in fields):
        raise NotHttp("the name of a field is no token")


def find_end(buffer: bytearray, start: int, most: int | None = None) -> int:
    """Where the END of a section begins that is looked for from `start`; -1 when it has not come, within `most` bytes.

    Raises NotHttp for a line that ends in a bare LF: whoever sends one has sent an end that would be waited for.
    """
    end = buffer.find(END, start, most)
    if end < 0:
        # One byte more is looked at, which shows that it is too long to who gets it byte by byte.
        check_line_ends(buffer if most is None or len(buffer) <= most else buffer[: most + 1], start)
    return end


def check_line_ends(buffer: bytearray, start: int = 0) -> None:
    """Raise NotHttp where a line, from `start` on, ends in a bare LF."""
    if buffer.count(b"\n", start) != buffer.count(b"\r\n", max(0, start - 1)):
        raise NotHttp("a line does not end as lines do")


def write_request(method: str, target: str, fields: Fields) -> bytes:
    """The head of a request, from its canonical parts."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), target.encode("ascii"), _lines(fields))


def write_answer(status: int, phrase: bytes, fields: Fields) -> bytes:
    """The head of an answer."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, _lines(fields))


def _lines(fields: Fields) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])
