"""Section D: framing. What two parsers may cut into requests differently is refused, and nothing of it arrives."""

from collections.abc import Iterable

from proxy.attack.attacks import (
    DESTROY,
    HOST,
    READ,
    WRITE,
    Attack,
    Plain,
    Way,
    chunked,
    lines,
    request,
    table,
)

SOURCES = {
    "B29": "RFC 9112, 6.3 and 11.2; CVE-2021-39214, CVE-2022-24766; portswigger.net/research/http-desync-attacks",
    "B30": "RFC 9110, 9.3.5 and 9.3.7: content in DELETE and OPTIONS",
    "B31": "RFC 9112, 2.2, 5.1 and 5.2; CVE-2019-16276 (Go, blank before the colon); CVE-2023-25690",
    "B32": "portswigger.net/research/http2; GHSA-847f-9342-265h (h2); RFC 9113, 8.2 and 8.3",
    "B33": "RFC 9110, 6.5.1; CVE-2023-46846 (Squid, chunked bodies)",
    "B34": "CVE-2011-4885 and PHP max_input_vars; RFC 9110, 2.3 and 4.1",
}
_HIDDEN = DESTROY.sends
_EMPTY_WRITE = Plain("POST", "/open/thing")
_DELETE_WITH_BODY = Plain("DELETE", "/guarded/thing", body=b"{}", allowed=False)
_OPTIONS = Plain("OPTIONS", "/open/thing", body=b"hello", allowed=False)
_PUT = Plain("PUT", "/open/thing", body=b"hello")
_TE = "Transfer-Encoding: chunked"


def _post(*more: str, body: bytes = b"") -> bytes:
    return lines("POST /open/thing HTTP/1.1", f"Host: {HOST}", *more) + body


def _with(line: str) -> bytes:
    return request("GET", "/open/thing", line)


def attacks() -> Iterable[Attack]:
    """Every row of this section."""
    both = {
        "length and chunks": _post("Content-Length: 4", _TE, body=b"0\r\n\r\n" + _HIDDEN),
        "chunks and length": _post(_TE, "Content-Length: 4", body=b"0\r\n\r\n" + _HIDDEN),
        "two lengths": _post("Content-Length: 0", f"Content-Length: {len(_HIDDEN)}", body=_HIDDEN),
        "two lengths in one": _post(f"Content-Length: 0, {len(_HIDDEN)}", body=_HIDDEN),
        "two equal lengths": _post("Content-Length: 0", "Content-Length: 0", body=_HIDDEN),
        "length with a sign": _post(f"Content-Length: +{len(_HIDDEN)}", body=_HIDDEN),
        "negative length": _post("Content-Length: -1", body=_HIDDEN),
        "length in hexadecimal": _post("Content-Length: 0x10", body=_HIDDEN),
        "length with an underscore": _post("Content-Length: 1_0", body=_HIDDEN),
        "length beyond 64 bits": _post("Content-Length: 18446744073709551617", body=_HIDDEN),
        "length that is empty": _post("Content-Length: ", body=_HIDDEN),
        "chunkedx": _post("Transfer-Encoding: chunkedx", body=chunked(b"") + _HIDDEN),
        "xchunked": _post("Transfer-Encoding: xchunked", body=chunked(b"") + _HIDDEN),
        "identity": _post("Transfer-Encoding: identity", "Content-Length: 0", body=_HIDDEN),
        "a list of codings": _post("Transfer-Encoding: gzip, chunked", body=chunked(b"") + _HIDDEN),
        "chunked twice": _post("Transfer-Encoding: chunked, chunked", body=chunked(b"") + _HIDDEN),
        "two codings": _post(_TE, "Transfer-Encoding: identity", body=chunked(b"") + _HIDDEN),
        "quoted": _post('Transfer-Encoding: "chunked"', body=chunked(b"") + _HIDDEN),
        "vertical tab": _post("Transfer-Encoding: \x0bchunked", body=chunked(b"") + _HIDDEN),
        "chunked with HTTP/1.0": lines("POST /open/thing HTTP/1.0", f"Host: {HOST}", _TE) + chunked(b"") + _HIDDEN,
        "named in Connection": _post("Connection: Content-Length", f"Content-Length: {len(_HIDDEN)}", body=_HIDDEN),
    }
    for name, sends in both.items():
        yield Attack("B29", name, _EMPTY_WRITE, sends, follows=False)
    sizes = {
        "size with a blank": b"5 \r\nhello\r\n0\r\n\r\n",
        "size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
        "size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
        "size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
        "extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
        "extension with a line feed": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        "bare line feeds": b"5\nhello\n0\n\n",
        "longer than it says": b"5\r\nhelloXX\r\n0\r\n\r\n",
        "size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        "no last chunk": b"5\r\nhello\r\n",
    }
    for name, body in sizes.items():
        yield Attack("B29", f"chunk {name}", WRITE, _post(_TE, body=body), follows=False)
    pseudo = ((":method", "POST"), (":scheme", "https"), (":path", "/open/thing"), (":authority", HOST))
    h2_fields = {
        "transfer-encoding": (("transfer-encoding", "chunked"),),
        "length too short": (("content-length", "0"),),
        "length too long": (("content-length", "99"),),
        "two lengths": (("content-length", "5"), ("content-length", "0")),
        "te": (("te", "chunked"),),
        "connection": (("connection", "transfer-encoding"),),
    }
    for name, more in h2_fields.items():
        yield Attack("B29", f"h2, {name}", WRITE, b"hello", Way(http2=True), (*pseudo, *more))
    # RFC 9113, 8.1.1: the head ends the request, so no data is there to compare its length with.
    announced = (*pseudo, ("content-length", "99"))
    yield Attack("B29", "h2, a length and no body", WRITE, b"", Way(http2=True), announced)

    yield from table(
        "B30",
        _DELETE_WITH_BODY,
        {
            "DELETE, chunked": lines("DELETE /guarded/thing HTTP/1.1", f"Host: {HOST}", _TE) + chunked(b"{}"),
            "DELETE, with a length": _DELETE_WITH_BODY.sends,
        },
    )
    yield from table(
        "B30",
        _OPTIONS,
        {"OPTIONS, chunked": lines("OPTIONS /open/thing HTTP/1.1", f"Host: {HOST}", _TE) + chunked(b"hello")},
    )
    yield from table(
        "B30", _PUT, {"PUT, chunked": lines("PUT /open/thing HTTP/1.1", f"Host: {HOST}", _TE) + chunked(b"hello")}
    )
    yield from table(
        "B30",
        Plain("GET", "/open/thing", body=_HIDDEN),
        {"GET with a request as its body": request("GET", "/open/thing", body=_HIDDEN)},
    )

    heads = {
        "blank before the colon": _with("X-A : b"),
        "tab before the colon": _with("X-A\t: b"),
        "blank before Content-Length's colon": _with(f"Content-Length : {len(_HIDDEN)}") + _HIDDEN,
        "no colon": _with("X-A"),
        "empty name": _with(": b"),
        "blank first": _with(" X-A: b"),
        "folded": _with("X-A: b\r\n c"),
        "folded with a tab": _with("X-A: b\r\n\tc"),
        "bare line feed": _with("X-A: b\nX-B: c"),
        "bare carriage return": _with("X-A: b\rX-B: c"),
        "NUL": _with("X-A: a\0b"),
        "escape": _with("X-A: \x1b[2J"),
        "delete": _with("X-A: \x7f"),
        "name with a slash": _with("X/A: b"),
        "name beyond ASCII": _with("X-\xe4: b"),
        "name that imitates Content-Length": _with("Content_Length: 5"),
        "name that imitates Transfer-Encoding": _with("Transfer_Encoding: chunked"),
        "bare line feeds throughout": request("GET", "/open/thing").replace(b"\r\n", b"\n"),
        "line feed for the last line": request("GET", "/open/thing")[:-2] + b"\n",
        "blank line first": b"\r\n" + request("GET", "/open/thing"),
        "blank before the method": b" " + request("GET", "/open/thing"),
        "two blanks in the request line": request("GET", " /open/thing"),
        "tab in the request line": request("GET\t/open/thing", ""),
        "a version that is none": request("GET", "/open/thing", version="HTTP/1.2"),
        "version in lower case": request("GET", "/open/thing", version="http/1.1"),
        "version with a suffix": request("GET", "/open/thing", version="HTTP/1.1x"),
        "two Content-Types": request("POST", "/open/thing", "Content-Type: a/b", "Content-Type: c/d"),
        "two Authorizations": _with("Authorization: a\r\nAuthorization: b"),
    }
    open_ended = {"line feed for the last line", "bare line feeds throughout", "blank line first"}
    for name, sends in heads.items():
        yield Attack("B31", name, READ, sends, follows=name not in open_ended)

    get = {":method": "GET", ":scheme": "https", ":path": "/open/thing", ":authority": HOST}
    changed: dict[str, tuple[tuple[str, str], ...]] = {
        "two :path": (*get.items(), (":path", "/guarded/thing")),
        "two :method": (*get.items(), (":method", "DELETE")),
        "pseudo-header last": (
            (":method", "GET"),
            (":scheme", "https"),
            ("x-a", "b"),
            (":path", "/open/thing"),
            (":authority", HOST),
        ),
        "unknown pseudo-header": (*get.items(), (":a", "b")),
        "line break in :path": tuple({**get, ":path": "/open/thing HTTP/1.1\r\nX-A: b"}.items()),
        "line break in :method": tuple({**get, ":method": "GET /guarded/thing HTTP/1.1\r\nX-A: b\r\n\r\n"}.items()),
        "line break in :authority": tuple({**get, ":authority": f"{HOST}\r\nX-A: b"}.items()),
        "line break in a value": (*get.items(), ("x-a", "b\r\nTransfer-Encoding: chunked")),
        "line feed in a value": (*get.items(), ("x-a", "b\nc: d")),
        "NUL in a value": (*get.items(), ("x-a", "b\0c")),
        "line break in a name": (*get.items(), ("x-a: b\r\nx-c", "d")),
        "colon in a name": (*get.items(), ("x-a: b", "d")),
        "name in upper case": (*get.items(), ("X-A", "b")),
        "empty :path": tuple({**get, ":path": ""}.items()),
        ":path without a slash": tuple({**get, ":path": "open/thing"}.items()),
        "absolute :path": tuple({**get, ":path": f"https://{HOST}/guarded/thing"}.items()),
        "blank in :path": tuple({**get, ":path": "/guarded/thing HTTP/1.1"}.items()),
        "http as :scheme": tuple({**get, ":scheme": "http"}.items()),
        "a URI as :scheme": tuple({**get, ":scheme": f"https://{HOST}/guarded/thing?"}.items()),
        "no :path": tuple((name, value) for name, value in get.items() if name != ":path"),
        "no :method": tuple((name, value) for name, value in get.items() if name != ":method"),
        "host beside :authority, the same": (*get.items(), ("host", HOST)),
    }
    for name, fields in changed.items():
        yield Attack("B32", f"h2, {name}", READ, way=Way(http2=True), fields=fields)

    trailers = b"X-Late: 1\r\nHost: unbound.test\r\n"
    yield from table(
        "B33",
        Plain("POST", "/open/thing", body=_HIDDEN),
        {
            "a request in a body": request("POST", "/open/thing", body=_HIDDEN),
            "a request in a chunk": _post(_TE, body=chunked(_HIDDEN)),
        },
    )
    yield from table(
        "B33",
        WRITE,
        {
            "trailers": _post(_TE, body=chunked(b"hello", trailers)),
            "trailers with a framing field": _post(_TE, body=chunked(b"hello", b"Content-Length: 3\r\n")),
        },
        follows=False,
    )
    yield from table("B33", READ, {"a body that nobody announced": READ.sends + b"12345"}, follows=False)

    many = "&".join(f"a{number}=b" for number in range(10_000))
    yield from table(
        "B34",
        READ,
        {
            "a head of a megabyte": _with("X-A: " + "a" * 2**20),
            "fifty thousand fields": request("GET", "/open/thing", *[f"X-{number}: a" for number in range(50_000)]),
            "a path of a hundred thousand": request("GET", "/open/" + "a" * 100_000),
            "a line without an end": b"GET /" + b"a" * 200_000,
            "ten thousand parameters": request("GET", f"/open/thing?{many}"),
            "ten thousand segments": request("GET", "/open" + "/a" * 4000),
        },
        follows=False,
    )
