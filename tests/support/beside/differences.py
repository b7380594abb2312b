"""Every difference between the engines that is known: where it may be seen, and what is the same in spite of it.

Each stands in the table of docs/why/014-two-engines.md under its name, and takes away just what it explains, in both
engines' words; what is left must be the same. One that was not written down is therefore seen by whatever it changes.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from proxy.fast.bodies import Chunked
from proxy.fast.heads import NotHttp
from support.beside.streams import Stream
from support.beside.told import Arrived, Exchange, Row, Told, differing

type Pair = tuple[Told, Told]
type Difference = Callable[[Stream, Told, Told], Pair]

_HOP = frozenset({"connection", "keep-alive"})
_SURE = ("outcome", "mode", "channel", "client", "rules_digest", "then.result")
"""What is the same of two refusals of what is no request, whoever's words they are in."""
_UNREAD: Row = {"outcome": "DENY", "stage": "wire"}


def _each(change: Callable[[Exchange], Exchange]) -> Difference:
    return lambda _, mitmproxy, fast: (tuple(map(change, mitmproxy)), tuple(map(change, fast)))


def _both(change: Callable[[Exchange, Exchange], tuple[Exchange, Exchange]]) -> Difference:
    def pairs(_: Stream, mitmproxy: Told, fast: Told) -> Pair:
        changed = [change(*pair) for pair in zip(mitmproxy, fast, strict=False)]
        return (
            (*(a for a, _ in changed), *mitmproxy[len(changed) :]),
            (*(b for _, b in changed), *fast[len(changed) :]),
        )

    return pairs


def _fields(arrived: Arrived | None, without: frozenset[str]) -> Arrived | None:
    if arrived is None:
        return None
    return replace(arrived, fields=tuple(field for field in arrived.fields if field[0] not in without))


def _connection(exchange: Exchange) -> Exchange:
    """mitmproxy's layers send an agent's `Connection` on; the fast engine's connections to targets are its own."""
    return replace(exchange, arrived=_fields(exchange.arrived, _HOP))


def _expect(exchange: Exchange) -> Exchange:
    """An expectation that nobody knows is not passed on."""
    return replace(exchange, arrived=_fields(exchange.arrived, frozenset({"expect"})))


def _version(one: Exchange, other: Exchange) -> tuple[Exchange, Exchange]:
    """mitmproxy's layers say HTTP/1.0 to a target where the agent did, and this origin answers nothing that old."""
    came = one.arrived
    if came is None or other.arrived is None or not came.line.endswith(" HTTP/1.0") or came.cut:
        return one, other
    line = came.line.removesuffix("1.0") + "1.1"
    rows = tuple(
        {**{name: value for name, value in row.items() if name not in _ANSWERED}, **_answered(it)}
        for row, it in zip(one.rows, other.rows, strict=True)
    )
    return Exchange(rows, other.said, replace(came, line=line, fault="", body=other.arrived.body)), other


def _answered(row: Row) -> Row:
    return {name: value for name, value in row.items() if name in _ANSWERED}


_ANSWERED = ("then.status", "then.response_bytes", "then.result", "then.error")


def _words(one: Exchange, other: Exchange) -> tuple[Exchange, Exchange]:
    """Neither could read it; which fault was seen first, and how much was read before, is the reader's."""
    if not (one.refused_early and other.refused_early and (one.refused_unread or other.refused_unread)):
        return one, other
    return _in_short(one), _in_short(other)


def _port(one: Exchange, other: Exchange) -> tuple[Exchange, Exchange]:
    """Of what is refused before it is read, the fast engine records a port that was said; mitmproxy's its default."""
    if not (one.refused_early and other.refused_early and len(one.rows) == len(other.rows)):
        return one, other
    rows = zip(one.rows, other.rows, strict=True)
    again = [{**ours, "port": theirs.get("port")} if theirs.get("port") is None else ours for ours, theirs in rows]
    return replace(one, rows=tuple(again)), other


def _in_short(exchange: Exchange) -> Exchange:
    rows = tuple({**{name: row.get(name) for name in _SURE}, **_UNREAD} for row in exchange.rows)
    return Exchange(rows, None, exchange.arrived)


def _repaired(_: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """Where mitmproxy has repaired a head that two readers read differently, the fast engine refuses it."""
    for number, (one, other) in enumerate(zip(mitmproxy, fast, strict=False)):
        malformed = other.refused_unread and other.rows[0]["code"] == "wire.malformed"
        if malformed and one.rows and not one.refused_unread:
            refused = Exchange((_UNREAD,))
            return (*mitmproxy[:number], refused), (*fast[:number], refused)
    return mitmproxy, fast


def _reads_on(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """Behind what could not be read one ends the connection, where the other still sees where the next begins."""
    if stream.http2:
        return mitmproxy, fast
    for number, (one, other) in enumerate(zip(mitmproxy, fast, strict=False), 1):
        if one.refused_early and other.refused_early and number in (len(mitmproxy), len(fast)):
            return mitmproxy[:number], fast[:number]
    return mitmproxy, fast


def _http2_malformed(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """By HTTP/2 a malformed request is recorded and answered; mitmproxy's layers close the connection."""
    if not stream.http2 or mitmproxy or not all(each.refused_unread or _broke(each) for each in fast):
        return mitmproxy, fast
    return (), ()


def _broke(exchange: Exchange) -> bool:
    """Whether it was let through by its head, and its body never came to a good end."""
    results = {row.get("then.result") for row in exchange.rows}
    return exchange.allowed and results == {"failed"} and (exchange.arrived is None or exchange.arrived.cut)


def _broken_body(one: Exchange, other: Exchange) -> tuple[Exchange, Exchange]:
    """How much of a body had been passed on when it broke, and who is named as the one that broke it."""
    if not (_broke(one) and _broke(other)):
        return one, other
    return _without_ends(one), _without_ends(other)


def _closes(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """In a tunnel too, `Proxy-Connection: close` ends the agent's connection."""
    if b"proxy-connection: close" in stream.payload.lower() and len(fast) < len(mitmproxy):
        return mitmproxy[: len(fast)], fast
    return mitmproxy, fast


_LONG_SIZE = re.compile(rb"\n[0-9A-Fa-f]{17,}")
_TRAILERS = re.compile(rb"\n0+\r\n[^\r]")


def _long_size(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """The length of a chunk has at most 16 digits; mitmproxy's layers take twenty, zeros in front of the others."""
    return _broken_off(stream, mitmproxy, fast, _LONG_SIZE, fast)


def _trailers(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """A trailer field that frames a body ends a request with mitmproxy's layers; here it is dropped like any other."""
    return _broken_off(stream, mitmproxy, fast, _TRAILERS, mitmproxy)


_BARE_FEED = re.compile(rb"\n0+\r\n(?:[^\r\n]*\r\n)*?[^\r\n]*\n")


def _bare_feed(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """A line feed alone ends no line behind the last chunk; to mitmproxy's layers it does."""
    return _broken_off(stream, mitmproxy, fast, _BARE_FEED, fast)


def _broken_off(stream: Stream, mitmproxy: Told, fast: Told, shape: re.Pattern[bytes], breaking: Told) -> Pair:
    """Cut both where one of them broke off a body of this shape that the other read to its end."""
    if not shape.search(stream.payload):
        return mitmproxy, fast
    for number, (one, other) in enumerate(zip(mitmproxy, fast, strict=False)):
        broke, sent = (one, other) if breaking is mitmproxy else (other, one)
        if _broke(broke) and sent.allowed and not _broke(sent):
            return (*mitmproxy[:number], _BROKEN), (*fast[:number], _BROKEN)
    return mitmproxy, fast


_BROKEN = Exchange(({"outcome": "ALLOW", "then.result": "failed"},))


def _unread_body(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """A body that a rule wants to read, and that breaks, is recorded and answered; mitmproxy's layers just end then.

    So they do where they have repaired the head before it, and the fast engine has refused that.
    """
    if stream.http2 or len(fast) != len(mitmproxy) + 1 or not (last := fast[-1]).refused_early:
        return mitmproxy, fast
    said = "" if last.said is None else last.said[2]
    refused_head = last.rows[0]["code"] == "wire.malformed" and _breaks(stream.payload)
    return mitmproxy, fast[:-1] if refused_head or "wire -- the body cannot be read" in said else fast


_CHUNKED_HEAD = re.compile(rb"\n[Tt]ransfer-[Ee]ncoding:[ \t]*chunked[ \t]*\r\n(?:[^\r\n]+\r\n)*\r\n")


def _breaks(payload: bytes) -> bool:
    """Whether there is a body in chunks that are none."""
    for head in _CHUNKED_HEAD.finditer(payload):
        chunks, rest = Chunked(), bytearray(payload[head.end() :])
        try:
            while chunks.take(rest):
                pass
        except NotHttp:
            return True
    return False


def _unanswered(stream: Stream, mitmproxy: Told, fast: Told) -> Pair:
    """A refusal is told, also where the body behind its head does not end well; mitmproxy's layers just end then."""
    if stream.http2 or not mitmproxy or len(mitmproxy) > len(fast):
        return mitmproxy, fast
    one, other = mitmproxy[-1], fast[len(mitmproxy) - 1]
    if (
        one.said is not None
        or other.said is None
        or not other.rows
        or any(row["outcome"] != "DENY" for row in other.rows)
    ):
        return mitmproxy, fast
    return mitmproxy, (*fast[: len(mitmproxy) - 1], replace(other, said=None))


_ENDS = frozenset({"then.status", "then.request_bytes", "then.response_bytes", "then.error"})


def _without_ends(exchange: Exchange) -> Exchange:
    rows = tuple({name: value for name, value in row.items() if name not in _ENDS} for row in exchange.rows)
    return Exchange(rows)


DIFFERENCES: dict[str, Difference] = {
    "connection": _each(_connection),
    "expect": _each(_expect),
    "version": _both(_version),
    "repaired": _repaired,
    "words": _both(_words),
    "port": _both(_port),
    "reads-on": _reads_on,
    "long-size": _long_size,
    "trailers": _trailers,
    "bare-feed": _bare_feed,
    "closes": _closes,
    "unread-body": _unread_body,
    "unanswered": _unanswered,
    "http2-malformed": _http2_malformed,
    "broken-body": _both(_broken_body),
}


def explained(stream: Stream, mitmproxy: Told, fast: Told) -> tuple[set[str], list[str]]:
    """Which known differences a stream shows, and what is left that none of them explains."""
    found = set()
    for name, take_away in DIFFERENCES.items():
        before = differing(mitmproxy, fast)
        mitmproxy, fast = take_away(stream, mitmproxy, fast)
        if differing(mitmproxy, fast) != before:
            found.add(name)
    return found, differing(mitmproxy, fast)
