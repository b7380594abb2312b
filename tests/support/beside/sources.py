"""Where the streams come from: the table of attacks, mutated requests, other people's framing corpus, real clients."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection

from proxy.attack import ATTACKS
from proxy.attack.attacks import IN_PLAIN, PLAIN_HOST, Way
from support.beside.streams import Stream, by_http2, in_turns, of_attack, of_bytes
from support.desync import CASES, raw
from support.fuzzing.harness import read_rows
from support.garden.driving import PLAIN, SECURE
from support.garden.mutations import Draft, mutated, spoiled
from support.garden.over_http2 import _fields

_TLS = Way(f"{SECURE}:443", SECURE)
_HTTP2 = Way(f"{SECURE}:443", SECURE, http2=True)
_UNSECURE = Way(f"{PLAIN}:80", None, tls=False)
_MOST = 3
"""Drafts of a connection."""


def of_the_table() -> Iterator[Stream]:
    """Every row."""
    yield from map(of_attack, ATTACKS)


def of_the_garden(seed: object, requests: int) -> Iterator[Stream]:
    """So many mutated requests, a few on a connection: by plain HTTP, in a tunnel, in TLS, over HTTP/2."""
    chance = random.Random(f"{seed}")
    made = 0
    while made < requests:
        number = chance.choice((1, 1, 2, _MOST))
        drafts = [mutated(chance) for _ in range(number)]
        way = chance.choice(("plain", "plain", "tunnel", "tls", "http2"))
        title = f"garden {seed}.{made} {way}"
        if way == "http2":
            yield _of_draft(title, drafts[0])
            made += 1
            continue
        made += number
        yield _of_drafts(title, drafts, way, chance)


def _of_drafts(title: str, drafts: list[Draft], way: str, chance: random.Random) -> Stream:
    host = SECURE if way == "tls" else PLAIN
    origin, more = (f"http://{PLAIN}".encode(), b"{auth}") if way == "plain" else (b"", b"")
    payload = b"".join(spoiled(draft.written(origin, more, host.encode()), chance) for draft in drafts)
    last = b"GET %s/end HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n" % (origin, host.encode(), more)
    return of_bytes(title, {"plain": IN_PLAIN, "tunnel": _UNSECURE, "tls": _TLS}[way], payload, last)


def _of_draft(title: str, draft: Draft) -> Stream:
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=False
    )
    agent = h2.connection.H2Connection(config)
    agent.initiate_connection()
    agent.send_headers(1, _fields(draft, SECURE.encode()), end_stream=not draft.body)
    if draft.body:
        agent.send_data(1, draft.body, end_stream=True)
    return by_http2(title, _HTTP2, agent.data_to_send())


_LAST = f"GET /open/end HTTP/1.1\r\nHost: {PLAIN_HOST}\r\nConnection: close\r\n\r\n".encode()


def of_the_corpus() -> Iterator[Stream]:
    """Framing cases of others, from the folder that CLAIIM_CORPORA names."""
    way = Way(f"{PLAIN_HOST}:80", None, tls=False)
    for case in CASES:
        payload = raw(case, PLAIN_HOST)
        numbers = [int(digits) for digits in re.findall(rb"\b[0-9]+\b", payload)]
        most = max(numbers, default=0)
        # Nobody sends that much; both refuse it by its head.
        last = b"" if most > 10**7 else _LAST
        yield of_bytes(f"corpus {case['file']}: {case['name']}", way, payload, last, owed=most)


_RECORDED = Path(__file__).parents[2] / "proxy" / "recorded"


def of_clients() -> Iterator[Stream]:
    """What tools/record_clients.py has kept of real clients, connection by connection."""
    for path in sorted(_RECORDED.glob("*.txt")):
        for number, (first, *turns) in enumerate(_connections(read_rows(path.read_text("ascii"))), 1):
            kind, authority = first.decode("ascii").split(" ")[1:]
            title = f"{path.stem} {number} {kind}"
            host = authority.rpartition(":")[0]
            if kind == "h2":
                yield by_http2(title, Way(authority, host, http2=True), b"".join(turns))
            else:
                way = IN_PLAIN if kind == "plain" else Way(authority, host if kind == "tls" else None, kind == "tls")
                yield in_turns(title, way, turns)


def _connections(rows: list[bytes]) -> Iterator[list[bytes]]:
    starts = [number for number, row in enumerate(rows) if row.startswith(b"= ")]
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[start:end]


def _shown(*lines: str, body: bytes = b"", host: str = PLAIN) -> Stream:
    head = "\r\n".join((*lines, f"Host: {host}")).encode("latin-1")
    last = f"GET /end HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    return of_bytes(lines[0], Way(f"{host}:80", None, tls=False), head + b"\r\n\r\n" + body, last)


_FORM = "Content-Type: application/x-www-form-urlencoded"
_CHUNKED = "Transfer-Encoding: chunked"
_SHOWING: dict[str, Stream] = {
    "connection": _shown("GET /a HTTP/1.1", "Connection: keep-alive"),
    "expect": _shown("POST /a HTTP/1.1", "Expect: a", "Content-Length: 1", body=b"a"),
    "version": _shown("POST /a HTTP/1.0", "Content-Length: 1", body=b"a"),
    "repaired": _shown("GET  /a HTTP/1.1"),
    "words": _shown("GET /a HTTP/1.1", "Content-Length: +1"),
    "reads-on": _shown("GET /a HTTP/1.1", "X-A: a", " b"),
    "long-size": _shown("POST /a HTTP/1.1", _CHUNKED, body=b"00000000000000000001\r\na\r\n0\r\n\r\n"),
    "trailers": _shown("POST /a HTTP/1.1", _CHUNKED, body=b"1\r\na\r\n0\r\nContent-Length: a\r\n\r\n"),
    "bare-feed": _shown("POST /a HTTP/1.1", _CHUNKED, body=b"1\r\na\r\n0\r\n\n"),
    "closes": _shown("GET /a HTTP/1.1", "Proxy-Connection: close"),
    "unread-body": _shown("POST /a HTTP/1.1", _FORM, _CHUNKED, body=b"+1\r\na\r\n0\r\n\r\n"),
    "unanswered": _shown("DELETE /guarded/a HTTP/1.1", _CHUNKED, body=b"x", host=PLAIN_HOST),
    "http2-malformed": _of_draft("two paths", Draft(b"GET", b"/a", b"", ((b":path", b"/b"),))),
    "broken-body": _shown("POST /a HTTP/1.1", _CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n"),
}


def showing(name: str) -> Stream:
    """A stream in which the engines differ in this way."""
    return _SHOWING[name]
