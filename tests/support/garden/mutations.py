"""Requests as clients write them, and the ways to spoil them: those that made two readers differ before.

A request is kept in parts, so that a mutation hits something that means something; now and then a byte is changed
wherever it stands. The number of bytes that a broken length promises too much stays below `MOST_OWED`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

MOST_OWED = 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A request in parts."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Beside Host; each is written as name, colon and what follows."""
    body: bytes = b""
    """As framed: chunked where a field says so."""
    host: bytes = b""
    """In place of the right one."""

    def written(self, origin: bytes, more: bytes, host: bytes) -> bytes:
        """The bytes; `origin` is put before the target, `more` are lines of the head."""
        lines = [b"%s %s%s %s" % (self.method, origin, self.target, self.version)]
        lines += [b"Host: " + (self.host or host)]
        lines += [b"%s:%s" % field for field in self.fields]
        return b"\r\n".join(lines) + b"\r\n" + more + b"\r\n" + self.body


def _draft(method: str, target: str, body: bytes = b"", **fields: str) -> Draft:
    named = [(name.replace("_", "-").encode(), b" " + value.encode()) for name, value in fields.items()]
    if body and "Transfer_Encoding" not in fields:
        named.append((b"Content-Length", b" %d" % len(body)))
    return Draft(method.encode(), target.encode(), b"HTTP/1.1", tuple(named), body)


SEEDS = (
    _draft("GET", "/"),
    _draft("GET", "/repos/a/b/pulls?state=open&page=2", Accept="application/json", User_Agent="curl/8"),
    _draft("GET", "/a%2Fb/c?q=x+y&q=%C3%A9&empty", Accept="*/*"),
    _draft("GET", "/search?q=a%26b%3Dc&page[size]=1", Cookie="a=b; c=d"),
    _draft("HEAD", "/a/", Accept="*/*"),
    _draft("OPTIONS", "/a/b", Origin="https://a.test", Access_Control_Request_Method="PUT"),
    _draft("DELETE", "/a/b", Authorization="Bearer xyz"),
    _draft("DELETE", "/a/b", b"{}", Content_Type="application/json"),
    _draft("POST", "/runs", b'{"destroy": true}', Content_Type="application/json"),
    _draft("POST", "/form", b"a=1&b=%20x", Content_Type="application/x-www-form-urlencoded"),
    _draft("POST", "/empty", Content_Length="0"),
    _draft("POST", "/chunked", b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked"),
    _draft(
        "PUT", "/chunked/x", b"3\r\nxyz\r\n8\r\nGET / HT\r\n0\r\n\r\n", Transfer_Encoding="chunked", Content_Type="a/b"
    ),
    _draft("PATCH", "/a/b", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Content_Type="text/plain"),
    _draft("POST", "/expect", b"xyz", Expect="100-continue"),
    _draft("POST", "/large", bytes(range(256)) * 8, Content_Type="application/octet-stream"),
)

METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"TRACE",
    b"PROPFIND",
    b"get",
    b"Post",
    b"X-A",
)
PIECES = tuple(
    piece.encode("latin-1")
    for piece in (
        *("/", "//", "/./", "/../", "/..%2f", "%2e%2e/", "%2F", "%2f..", "%252e", "%5c", "\\", ";a=b", "?", "??", "#x"),
        *("&", "&&", "=", ";", "+", "%20", "%00", "%0d%0a", "%", "%zz", "%c3%a9", "%ff", "\xe9", "\x80", "|", "{", "^"),
        *("%7Ea", "%41", ".json", "..", "a b", "\t", "@", ":", "*", "[", "]", "'", '"', "<", "%ef%bc%8f", "a" * 300),
    )
)
FIELDS = tuple(
    tuple(line.encode("latin-1").split(b":", 1))
    for line in (
        *(
            "Transfer-Encoding: chunked",
            "Transfer-Encoding:chunked",
            "Transfer-Encoding: Chunked",
            "Transfer-Encoding:",
        ),
        *("Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, identity"),
        *(
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:\x0bchunked",
            "Transfer-Encoding : chunked",
            "TE: trailers",
        ),
        *(
            "Transfer_Encoding: chunked",
            "Content_Length: 5",
            "Content-Length: 0",
            "Content-Length: 3",
            "Content-Length: +3",
        ),
        *(
            "Content-Length: 3, 3",
            "Content-Length: 03",
            "Content-Length: 0x3",
            "Content-Length: 3 ",
            "Content-Length:\t3",
        ),
        *(
            "Content-Length: -1",
            "Content-Length: 1e1",
            "Content-Length: \xb23",
            "Content-Length : 3",
            "Content-Length:",
        ),
        *(
            "Connection: close",
            "Connection: keep-alive, X-A",
            "Connection: Content-Length",
            "Connection: Upgrade, HTTP2-Settings",
        ),
        *(
            "Upgrade: h2c",
            "Upgrade: websocket",
            "HTTP2-Settings: AAMAAABk",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: close",
        ),
        *(
            "Host: other.test",
            "host:plain.test",
            "X-A: b",
            "X-A:",
            "X-A: \x80\xff",
            "X-A: a\tb",
            "X-A: a\x00b",
            "X-A: a\rb",
        ),
        *(
            "X-A: a\nb",
            "X-A: a\r\n b",
            " X-A: b",
            "X A: b",
            "X-\xc3: b",
            "X-A\x00: b",
            ":: b",
            ": b",
            "X-A: " + "a" * 5000,
        ),
        *(
            "Expect: 100-continue",
            "Expect: x",
            "Trailer: X-T",
            "Content-Encoding: gzip",
            "Accept-Encoding: a, b",
            "Via: 1.1 x",
        ),
        *(
            "X-Forwarded-Host: evil.test",
            "Forwarded: host=evil.test",
            "X-HTTP-Method-Override: DELETE",
            "Range: bytes=0-1",
        ),
        *(
            "Content-Type: a/b",
            "Content-Type: application/json",
            "Max-Forwards: 0",
            "X_A: b",
            "X.A: b",
            "x-a'~!#$&*+|`^: b",
        ),
    )
)
CHUNKS = (
    *(
        b"0\r\n\r\n",
        b"3\r\nxyz\r\n0\r\n\r\n",
        b"003\r\nxyz\r\n0\r\n\r\n",
        b"3;x=y\r\nxyz\r\n0\r\n\r\n",
        b"3 \r\nxyz\r\n0\r\n\r\n",
    ),
    *(
        b"3\nxyz\n0\n\n",
        b"0x3\r\nxyz\r\n0\r\n\r\n",
        b"+3\r\nxyz\r\n0\r\n\r\n",
        b"3\r\nxyz0\r\n\r\n",
        b"3\r\nxyzX\r\n0\r\n\r\n",
    ),
    *(
        b"3\r\nxyz\r\n0\r\nX-T: a\r\n\r\n",
        b"3\r\nxyz\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"A\r\nghijklmnop\r\na\r\nghijklmnop\r\n0\r\n\r\n",
    ),
    *(
        b'3;x="\r\n";y\r\nxyz\r\n0\r\n\r\n',
        b"3;\r\nxyz\r\n0\r\n\r\n",
        b"0;x\r\n\r\n",
        b"00000000000000000003\r\nxyz\r\n0\r\n\r\n",
        b"\r\n",
    ),
)
VERSIONS = (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1", b"")
HOSTS = (
    b"other.test",
    b"PLAIN.TEST",
    b"plain.test:80",
    b"plain.test.",
    b"plain.test, other.test",
    b"a@plain.test",
    b"plain.test:81",
)


def _method(draft: Draft, chance: random.Random) -> Draft:
    return replace(draft, method=chance.choice(METHODS))


def _target(draft: Draft, chance: random.Random) -> Draft:
    at = chance.randrange(1, len(draft.target) + 1)
    return replace(draft, target=draft.target[:at] + chance.choice(PIECES) + draft.target[at:])


def _added(draft: Draft, chance: random.Random) -> Draft:
    at = chance.randrange(len(draft.fields) + 1)
    name, value = chance.choice(FIELDS)
    return replace(draft, fields=(*draft.fields[:at], (name, value), *draft.fields[at:]))


def _twice(draft: Draft, chance: random.Random) -> Draft:
    return replace(draft, fields=(*draft.fields, chance.choice(draft.fields))) if draft.fields else draft


def _renamed(draft: Draft, chance: random.Random) -> Draft:
    if not draft.fields:
        return draft
    at = chance.randrange(len(draft.fields))
    name, value = draft.fields[at]
    name = chance.choice((name.lower(), name.upper(), name + b" ", b" " + name, name.replace(b"-", b"_"), name + b"\t"))
    return replace(draft, fields=(*draft.fields[:at], (name, value), *draft.fields[at + 1 :]))


def _dropped(draft: Draft, chance: random.Random) -> Draft:
    if not draft.fields:
        return draft
    at = chance.randrange(len(draft.fields))
    return replace(draft, fields=(*draft.fields[:at], *draft.fields[at + 1 :]))


def _longer(draft: Draft, chance: random.Random) -> Draft:
    return replace(
        draft, body=draft.body + chance.choice((b"x", b"\r\n", b"GET /x HTTP/1.1\r\n\r\n", b"0\r\n\r\n", b"\x00"))
    )


def _shorter(draft: Draft, chance: random.Random) -> Draft:
    return replace(draft, body=draft.body[: -chance.randrange(1, 9)])


def _chunks(draft: Draft, chance: random.Random) -> Draft:
    named = {name.lower() for name, _ in draft.fields}
    fields = tuple(field for field in draft.fields if field[0].lower() != b"content-length")
    if b"transfer-encoding" not in named:
        fields = (*fields, (b"Transfer-Encoding", b" chunked"))
    return replace(draft, fields=fields, body=chance.choice(CHUNKS))


def _version(draft: Draft, chance: random.Random) -> Draft:
    return replace(draft, version=chance.choice(VERSIONS))


def _host(draft: Draft, chance: random.Random) -> Draft:
    return replace(draft, host=chance.choice(HOSTS))


MUTATIONS: tuple[Callable[[Draft, random.Random], Draft], ...] = (
    *(_method, _target, _target, _target, _added, _added, _added, _twice, _renamed, _dropped, _longer, _shorter),
    *(_chunks, _chunks, _version, _host),
)


def mutated(chance: random.Random) -> Draft:
    """A seed with up to three things changed."""
    draft = chance.choice(SEEDS)
    for _ in range(chance.choice((0, 0, 1, 1, 1, 1, 2, 3))):
        draft = chance.choice(MUTATIONS)(draft, chance)
    return draft


_BYTES = tuple(byte for byte in range(256) if not chr(byte).isdigit()) + (0, 9, 10, 11, 13, 32, 44, 58, 59) * 20
"""No digits: a length that promises much more would leave everybody waiting."""


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """Bytes with one of them changed, taken out or put in, one time in eight."""
    if chance.randrange(8):
        return data
    at = chance.randrange(len(data))
    byte = bytes([chance.choice(_BYTES)])
    return data[:at] + chance.choice((byte, byte + data[at : at + 1], b"")) + data[at + 1 :]
