"""Heads of requests and answers: what is one, and what is not, whole or byte by byte."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.net.http.http1.read import read_request_head
from mitmproxy.net.http.validate import validate_headers

from proxy.facts import Facts, FactsError, Inbound, connect_authority, read_facts
from proxy.fast import heads
from proxy.fast.heads import NotHttp, RequestHead
from support.garden.mutations import mutated, spoiled


def _head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n"


NONE = {
    "nothing": b"\r\n\r\n",
    "no end": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF behind a field": _head(b"X: a\nY: b"),
    "bare CR in a field": _head(b"X: a\rY: b"),
    "bare CR before the end of a line": _head(b"X: a\r", b"Y: b"),
    "bare CR in the first line": b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "NUL in a value": _head(b"X: a\0b"),
    "NUL in a name": _head(b"X\0: a"),
    "NUL in the first line": _head(first=b"GET /\0 HTTP/1.1"),
    "folded": _head(b"X: a", b" b"),
    "folded by a tab": _head(b"X: a", b"\tb"),
    "folded before any field": _head(b" X: a"),
    "empty name": _head(b": a"),
    "no colon": _head(b"X"),
    "0.9": b"GET /\r\n\r\n",
    "version 0.9": _head(first=b"GET / HTTP/0.9"),
    "version 1.2": _head(first=b"GET / HTTP/1.2"),
    "version 2.0": _head(first=b"GET / HTTP/2.0"),
    "version 2": _head(first=b"GET / HTTP/2"),
    "version 01.1": _head(first=b"GET / HTTP/01.1"),
    "version in lower case": _head(first=b"GET / http/1.1"),
    "no version": _head(first=b"GET /"),
    "two blanks": _head(first=b"GET  / HTTP/1.1"),
    "two blanks before the version": _head(first=b"GET /  HTTP/1.1"),
    "a tab": _head(first=b"GET\t/ HTTP/1.1"),
    "a blank behind": _head(first=b"GET / HTTP/1.1 "),
    "a blank before": _head(first=b" GET / HTTP/1.1"),
    "a blank in the target": _head(first=b"GET /a b HTTP/1.1"),
    "a control byte in the target": _head(first=b"GET /\x01 HTTP/1.1"),
    "no ASCII in the target": _head(first=b"GET /\xe4 HTTP/1.1"),
    "a method that is no token": _head(first=b"G(T / HTTP/1.1"),
    "a relative target": _head(first=b"GET a HTTP/1.1"),
    "an empty authority": _head(first=b"GET http:///a HTTP/1.1"),
    "no authority": _head(first=b"GET http:a HTTP/1.1"),
    "a query behind the authority": _head(first=b"GET http://h?x HTTP/1.1"),
    "a fragment behind the authority": _head(first=b"GET http://h#f HTTP/1.1"),
    "a fragment": _head(first=b"GET http://h/a#f HTTP/1.1"),
    "another scheme": _head(first=b"GET ftp://h/ HTTP/1.1"),
    "a scheme in scheme's clothes": _head(first=b"GET xhttp://h/ HTTP/1.1"),
    "an asterisk and more": _head(first=b"OPTIONS *x HTTP/1.1"),
    "two lengths, the same": _head(b"Content-Length: 5", b"content-length: 5"),
    "two lengths": _head(b"Content-Length: 5", b"Content-Length: 6"),
    "an empty line within": b"GET / HTTP/1.1\r\n\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", NONE)
def test_no_head(name: str) -> None:
    """What is no head of HTTP/1 is nothing that anybody could judge."""
    with pytest.raises(NotHttp):
        heads.read_request(NONE[name])


DISPUTED = {
    "blank before the colon": _head(b"Host : a"),
    "tab before the colon": _head(b"Content-Length\t: 5"),
    "a name that is no token": _head(b"X(: a"),
    "a name that is no ASCII": _head(b"X\xc3: a"),
    "a control byte in a value": _head(b"X: a\x01"),
    "DEL in a value": _head(b"X: a\x7f"),
    "length and coding": _head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "coding and length": _head(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "two lengths in one": _head(b"Content-Length: 5, 5"),
    "a length with a sign": _head(b"Content-Length: +5"),
    "a negative length": _head(b"Content-Length: -5"),
    "a length with a blank in it": _head(b"Content-Length: 5 5"),
    "a length with a zero before it": _head(b"Content-Length: 05"),
    "a length of 19 digits": _head(b"Content-Length: " + b"1" * 19),
    "a length in hexadecimal": _head(b"Content-Length: 0x5"),
    "hexadecimal digits": _head(b"Content-Length: a"),
    "a length with an underscore": _head(b"Content-Length: 1_0"),
    "a length in other digits": _head("Content-Length: ٣".encode()),
    "an empty length": _head(b"Content-Length:"),
    "a form feed before a length": _head(b"Content-Length:\x0c5"),
    "two codings": _head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "two codings in one": _head(b"Transfer-Encoding: chunked, chunked"),
    "chunked, identity": _head(b"Transfer-Encoding: chunked, identity"),
    "gzip, chunked": _head(b"Transfer-Encoding: gzip, chunked"),
    "identity": _head(b"Transfer-Encoding: identity"),
    "xchunked": _head(b"Transfer-Encoding: xchunked"),
    "chunkedx": _head(b"Transfer-Encoding: chunkedx"),
    "chunked;": _head(b"Transfer-Encoding: chunked;"),
    "quoted": _head(b'Transfer-Encoding: "chunked"'),
    "vertical tab": _head(b"Transfer-Encoding:\x0bchunked"),
    "an empty coding": _head(b"Transfer-Encoding:"),
    "chunked before a tab": _head(b"Transfer-Encoding: chunked\t"),
    "a method of RTSP": _head(first=b"DESCRIBE / HTTP/1.1"),
    "a coding in 1.0": _head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
    "no blank, and a name that ends in one": _head(b"Transfer-Encoding :chunked"),
    "the preface of HTTP/2": _head(first=b"PRI * HTTP/1.1"),
}


@pytest.mark.parametrize("name", DISPUTED)
def test_a_head_of_two_readings(name: str) -> None:
    """It can be taken apart, so that the record says who sent it, but not be taken for one request."""
    read = heads.read_request(DISPUTED[name])
    assert heads.disputed(DISPUTED[name], read)


HOST = (b"Host", b"a")
READ = {
    "the least": (_head(b"Host: a"), RequestHead(b"GET", b"/", b"HTTP/1.1", (HOST,))),
    "no fields": (_head(), RequestHead(b"GET", b"/", b"HTTP/1.1", ())),
    "1.0": (_head(first=b"GET / HTTP/1.0"), RequestHead(b"GET", b"/", b"HTTP/1.0", ())),
    "two Hosts": (_head(b"Host: a", b"host: b"), RequestHead(b"GET", b"/", b"HTTP/1.1", (HOST, (b"host", b"b")))),
    "blanks around a value": (
        _head(b"X: \t a \tb\t ", b"Y:", b"Z:c"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"X", b"a \tb"), (b"Y", b""), (b"Z", b"c"))),
    ),
    "bytes beyond ASCII": (_head(b"X: \xff"), RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"X", b"\xff"),))),
    "colons": (_head(b"X:::a"), RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"X", b"::a"),))),
    "absolute": (
        _head(first=b"GET http://h:1/a?b HTTP/1.1"),
        RequestHead(b"GET", b"/a?b", b"HTTP/1.1", (), b"http", b"h:1"),
    ),
    "absolute, no path": (
        _head(first=b"GET http://h HTTP/1.1"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", (), b"http", b"h"),
    ),
    "absolute, in capitals": (
        _head(first=b"GET HTTPS://H/ HTTP/1.1"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", (), b"https", b"H"),
    ),
    "user information, which read_facts refuses": (
        _head(first=b"GET http://u@h/ HTTP/1.1"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", (), b"http", b"u@h"),
    ),
    "asterisk": (_head(first=b"OPTIONS * HTTP/1.1"), RequestHead(b"OPTIONS", b"*", b"HTTP/1.1", ())),
    "CONNECT": (
        _head(first=b"CONNECT h:443 HTTP/1.1"),
        RequestHead(b"CONNECT", b"", b"HTTP/1.1", (), b"", b"h:443"),
    ),
    "CONNECT without a port, which connect_authority refuses": (
        _head(first=b"CONNECT h HTTP/1.1"),
        RequestHead(b"CONNECT", b"", b"HTTP/1.1", (), b"", b"h"),
    ),
    "a method that llhttp does not know": (
        _head(first=b"LIST /v1 HTTP/1.1"),
        RequestHead(b"LIST", b"/v1", b"HTTP/1.1", ()),
    ),
    "a method that others fold": (_head(first=b"get / HTTP/1.1"), RequestHead(b"get", b"/", b"HTTP/1.1", ())),
    "18 digits": (
        _head(b"Content-Length: " + b"9" * 18),
        RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"Content-Length", b"9" * 18),)),
    ),
    "chunked in other letters, behind a tab": (
        _head(b"Transfer-Encoding:\tChunked"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"Transfer-Encoding", b"Chunked"),)),
    ),
    "an upgrade": (
        _head(b"Upgrade: websocket", b"Connection: upgrade"),
        RequestHead(b"GET", b"/", b"HTTP/1.1", ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_head_is_read(name: str) -> None:
    """As it stands, and nothing of it is disputed."""
    head, expected = READ[name]
    assert heads.read_request(head) == expected
    assert heads.disputed(head, expected) is None


@pytest.mark.parametrize(
    "change",
    [
        {"fields": ()},
        {"fields": (HOST, HOST)},
        {"fields": ((b"host", b"a"),)},
        {"fields": ((b"Host", b"b"),)},
        {"method": b"PUT"},
        {"version": b"HTTP/1.0"},
    ],
    ids=str,
)
def test_a_reading_that_the_second_reader_does_not_share_is_disputed(change: dict[str, Any]) -> None:
    """Whatever a fault in our own reader makes of a head, it is not believed alone."""
    head = _head(b"Host: a")
    read = replace(heads.read_request(head), **change)
    assert heads.disputed(head, read) is not None


NO_ANSWER = {
    "another protocol": _head(first=b"SSH-2.0-x"),
    "version 2.0": _head(first=b"HTTP/2.0 200 OK"),
    "version 0.9": _head(first=b"HTTP/0.9 200 OK"),
    "two digits": _head(first=b"HTTP/1.1 20 OK"),
    "four digits": _head(first=b"HTTP/1.1 2000 OK"),
    "status 099": _head(first=b"HTTP/1.1 099 OK"),
    "status 600": _head(first=b"HTTP/1.1 600 OK"),
    "a sign": _head(first=b"HTTP/1.1 +20 OK"),
    "no blank": _head(first=b"HTTP/1.1 200OK"),
    "two blanks": _head(first=b"HTTP/1.1  200 OK"),
    "a tab": _head(first=b"HTTP/1.1\t200 OK"),
    "a blank before": _head(first=b" HTTP/1.1 200 OK"),
    "a control byte in the phrase": _head(first=b"HTTP/1.1 200 \x01"),
    "bare LF": b"HTTP/1.1 200 OK\nX: a\r\n\r\n",
    "bare CR": _head(b"X: a\rY: b", first=b"HTTP/1.1 200 OK"),
    "NUL": _head(b"X: \0", first=b"HTTP/1.1 200 OK"),
    "folded": _head(b"X: a", b" b", first=b"HTTP/1.1 200 OK"),
    "blank before the colon": _head(b"X : a", first=b"HTTP/1.1 200 OK"),
    "length and coding": _head(b"Content-Length: 0", b"Transfer-Encoding: chunked", first=b"HTTP/1.1 200 OK"),
    "two lengths": _head(b"Content-Length: 0", b"Content-Length: 0", first=b"HTTP/1.1 200 OK"),
    "no length": _head(b"Content-Length: -1", first=b"HTTP/1.1 200 OK"),
    "a length with a zero before it": _head(b"Content-Length: 010", first=b"HTTP/1.1 200 OK"),
    "gzip, chunked": _head(b"Transfer-Encoding: gzip, chunked", first=b"HTTP/1.1 200 OK"),
    "identity": _head(b"Transfer-Encoding: identity", first=b"HTTP/1.1 200 OK"),
    "a coding in 1.0": _head(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK"),
    "a coding in 103": _head(b"Transfer-Encoding: chunked", first=b"HTTP/1.1 103 x"),
    "a coding in 204": _head(b"Transfer-Encoding: chunked", first=b"HTTP/1.1 204 x"),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_no_answer(name: str) -> None:
    """What is no answer of HTTP/1, or does not say where it ends, is not passed on."""
    with pytest.raises(NotHttp):
        heads.read_answer(NO_ANSWER[name])


def test_answers_are_read() -> None:
    """With a phrase, an empty one, and none."""
    for phrase, line in ((b"Not \xff Found", b" Not \xff Found"), (b"", b" "), (b"", b"")):
        read = heads.read_answer(_head(b"X:  a ", first=b"HTTP/1.0 404" + line))
        assert (read.status, read.phrase, read.version, read.fields) == (404, phrase, b"HTTP/1.0", ((b"X", b"a"),))


# --- beside the reader of the other engine ---

STRICTER = {
    "bare LF": "some readers see a line there, some do not",
    "folded": "RFC 9112, 5.2: a server may refuse it; readers differ on what stands in the field",
    "blanks in the first line": "RFC 9112, 3: it is taken apart at single blanks; some readers take more",
    "version": "HTTP/2.0 in a head of HTTP/1 is a confusion",
    "control bytes": "RFC 9110, 5.5: readers differ on what they do with them",
    "no ASCII": "RFC 9112, 3.2: a target is ASCII; readers differ on the escapes that they make of it",
    "TE": "RFC 9112, 6.1: codings other than chunked are for servers that said that they take them",
    "head": "what llhttp does not take for a head is none",
}
"""Why this reader refuses what the other one takes. There is no table of the opposite: that would be a defect."""


def _theirs(head: bytes) -> Facts | tuple[str, int] | None:
    """What the mitmproxy engine makes of a head: as proxy.mitm.layers does it, and read_facts behind."""
    buffer = ReceiveBuffer()
    buffer += head
    lines = buffer.maybe_extract_lines()
    if not lines:
        return None
    try:
        request = read_request_head([bytes(line) for line in lines])
        validate_headers(request)
    except ValueError:
        return None
    data = request.data
    if data.http_version not in (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"):
        return None
    if request.scheme not in ("http", "https", ""):
        return None
    return _facts(data.method, data.path, data.headers.fields, data.scheme, data.authority)


def _ours(head: bytes) -> Facts | tuple[str, int] | None:
    try:
        read = heads.read_request(head)
    except NotHttp:
        return None
    if heads.disputed(head, read):
        return None
    return _facts(read.method, read.target, read.fields, read.scheme, read.authority)


def _facts(
    method: bytes, target: bytes, fields: Any, scheme: bytes, authority: bytes
) -> Facts | tuple[str, int] | None:
    text = [part.decode("latin-1") for part in (method, target, scheme, authority)]
    try:
        if method == b"CONNECT":
            return connect_authority(text[3], tuple(fields))
        inbound = Inbound(text[0], text[2] or "http", text[1], tuple(fields), "127.0.0.1", uri_authority=text[3])
        return read_facts(inbound, None)
    except FactsError:
        return None


def _class(head: bytes) -> str:
    """What it is about a head that the other engine takes and this one does not."""
    first = head.partition(b"\r\n")[0]
    tests = {
        "bare LF": head.count(b"\n") != head.count(b"\r\n"),
        "folded": b"\n " in head or b"\n\t" in head,
        "control bytes": any((byte < 0x20 and byte not in b"\r\n\t") or byte == 0x7F for byte in head),
        "blanks in the first line": first.count(b" ") != 2 or b"\t" in first or first != first.strip(),
        "version": not first.endswith((b"HTTP/1.0", b"HTTP/1.1")),
        "no ASCII": not first.isascii(),
        "TE": b"transfer-encoding" in head.lower(),
    }
    return next((name for name, holds in tests.items() if holds), "head" if _ours(head) is None else "")


def _drafts(count: int) -> list[bytes]:
    chance = random.Random(7)
    drafts = []
    for _ in range(count):
        origin = chance.choice((b"", b"", b"http://plain.test", b"HTTP://plain.test:80"))
        written = spoiled(mutated(chance).written(origin, b"", b"plain.test"), chance)
        head, end, _ = written.partition(b"\r\n\r\n")
        drafts.append(head + end)
    return drafts


def test_nothing_is_forwarded_that_the_other_engine_refuses() -> None:
    """Where both take a head they make the same of it; where one takes it alone it is the other, and for a reason."""
    differences: Counter[str] = Counter()
    laxer, differing, both = [], [], 0
    for head in _drafts(8000):
        ours, theirs = _ours(head), _theirs(head)
        if ours is not None and theirs is None:
            laxer.append(head)
        elif ours is None and theirs is not None:
            differences[_class(head)] += 1
        elif ours != theirs:
            differing.append(head)
        else:
            both += ours is not None
    assert laxer == []
    assert differing == []
    assert set(differences) <= set(STRICTER), differences
    assert both > 2000
