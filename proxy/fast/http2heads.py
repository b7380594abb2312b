"""Heads of HTTP/2 messages: fields in, a head out, and back. No sockets, no state.

`h2` is told to check nothing of them: what it finds malformed it answers by ending the whole connection, and nobody
could say afterwards which request that was. Here each malformed head is one request, which is refused and recorded, or
one answer, which is not passed on (RFC 9113, 8.1.1).
"""

import re
from collections.abc import Iterable, Sequence

from hpack.struct import NeverIndexedHeaderTuple

from proxy.fast.heads import AnswerHead, Fields, NotHttp, RequestHead

type Received = Iterable[tuple[bytes, bytes]]
"""Fields as they came, pseudo fields among them."""

_REQUEST = frozenset({b":method", b":scheme", b":path", b":authority"})  # RFC 9113, 8.3.1
_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""RFC 9113, 8.2.2: a message with one of these is malformed. Passed on to HTTP/1, a transfer-encoding would let the
body, which frames have delimited, say where it ends, and what comes behind is the next request."""
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110, 5.6.2, in lower case: RFC 9113, 8.2
_NO_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")  # RFC 9113, 8.2.1
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_STATUS = re.compile(rb"[1-5][0-9][0-9]")
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
"""RFC 7541, 7.1.3: never kept in the table that compresses the fields of all requests on a connection."""


def read_request(received: Received, *, whole: bool) -> tuple[RequestHead, str | None]:
    """The head of a request, and why it is malformed; `whole` says that no body follows.

    Cookies that were sent in pieces are one field again (RFC 9113, 8.2.3): to HTTP/1 they would be several, which each
    server reads in its own way.
    """
    pseudo, fields, fault = _parted(received, _REQUEST)
    head = RequestHead(
        method=pseudo.get(b":method", b""),
        target=pseudo.get(b":path", b""),
        version=b"HTTP/2.0",
        fields=_joined(fields),
        scheme=pseudo.get(b":scheme", b""),
        authority=pseudo.get(b":authority", b""),
    )
    return head, _request_fault(head) or fault or _fields_fault(fields, whole=whole)


def _parted(received: Received, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]], str]:
    """Pseudo fields, the others, and what is wrong with the former or ""."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    fault = ""
    for name, value in received:
        if name[:1] != b":":
            fields.append((name, value))
            continue
        if name in pseudo:
            fault = "a pseudo field stands there twice"
        elif name not in known:
            fault = "a pseudo field is not one of its kind"
        elif fields:
            fault = "a pseudo field stands behind other fields"
        elif _NO_VALUE.search(value):
            fault = "a pseudo field holds what no value may"
        pseudo.setdefault(name, value)
    return pseudo, fields, fault


def _request_fault(head: RequestHead) -> str | None:
    if head.method == b"CONNECT":
        return "a CONNECT inside a tunnel, or to a target, opens nothing"
    if not head.method or not head.target:
        return "the request has no :method or no :path"
    if head.scheme not in (b"http", b"https"):
        return "the :scheme is neither http nor https"
    return None


def _fields_fault(fields: Sequence[tuple[bytes, bytes]], *, whole: bool) -> str | None:
    lengths = []
    for name, value in fields:
        if name.lower() in _CONNECTION:
            return "a field of HTTP/1 connections stands in an HTTP/2 message"
        if not _NAME.fullmatch(name):
            return "the name of a field is none in HTTP/2"
        if _NO_VALUE.search(value):
            return "a field holds what no value may"
        if name == b"te" and value.lower() != b"trailers":
            return "a field of HTTP/1 connections stands in an HTTP/2 message"
        if name == b"content-length":
            lengths.append(value)
    if len(lengths) > 1:
        return "the request could be read in two ways: it has more than one content length"
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return "the request could be read in two ways: its content length is no number"
    if lengths and whole and lengths[0] != b"0":
        # To HTTP/1 it goes with this length, and the target would take the next request for the body.
        return "the content length promises a body that does not come"
    return None


def _joined(fields: Sequence[tuple[bytes, bytes]]) -> Fields:
    crumbs = [value for name, value in fields if name == b"cookie"]
    if len(crumbs) < 2:
        return tuple(fields)
    first = next(at for at, (name, _) in enumerate(fields) if name == b"cookie")
    kept = [field for field in fields if field[0] != b"cookie"]
    kept.insert(first, (b"cookie", b"; ".join(crumbs)))
    return tuple(kept)


def length_of(head: RequestHead | AnswerHead) -> int | None:
    """How long the body is by the content length of a head that was found in order; None where it does not say."""
    lengths = head.all(b"content-length")
    return int(lengths[0]) if lengths else None


def read_answer(received: Received) -> AnswerHead:
    """The head of an answer or of an interim response; raises NotHttp."""
    pseudo, fields, fault = _parted(received, frozenset({b":status"}))
    status = pseudo.get(b":status", b"")
    if not fault and not _STATUS.fullmatch(status):
        fault = "the status is none"
    if problem := fault or _fields_fault(fields, whole=False):
        raise NotHttp(problem)
    return AnswerHead(int(status), b"", tuple(fields), b"HTTP/2.0")


def write_request(method: str, scheme: str, authority: str, path: str, fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields of a request, from its canonical parts; the host stands in :authority alone (RFC 9113, 8.3.1)."""
    pseudo = [
        (b":method", method.encode("ascii")),
        (b":scheme", scheme.encode("ascii")),
        (b":authority", authority.encode("ascii")),
        (b":path", path.encode("ascii")),
    ]
    return pseudo + [field for field in lowered(fields) if field[0] != b"host"]


def write_answer(status: int, fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields of an answer."""
    return [(b":status", b"%d" % status), *lowered(fields)]


def lowered(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Fields as HTTP/2 wants them, without those of HTTP/1 connections (RFC 9113, 8.2.2)."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lower = name.lower()
        if lower in _CONNECTION or (lower == b"te" and value.lower() != b"trailers"):
            continue
        kept.append(NeverIndexedHeaderTuple(lower, value) if lower in _SECRET else (lower, value))
    return kept
