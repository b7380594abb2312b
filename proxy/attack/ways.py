"""Section C: which way through the proxy? Every way in is judged alike, and what cannot be judged ends."""

from collections.abc import Iterable
from dataclasses import replace

from proxy.attack.attacks import (
    DESTROY,
    GUARDED,
    HOST,
    IN_PLAIN,
    NOTHING,
    NOWHERE,
    PLAIN_DESTROY,
    PLAIN_HOST,
    READ,
    TUNNEL,
    TUNNEL_WITHOUT_TLS,
    UNBOUND,
    Attack,
    Plain,
    Way,
    lines,
    request,
    table,
)

SOURCES = {
    "B18": "github.com/NVIDIA/OpenShell/issues/643",
    "B19": "RFC 9110, 9.3.6; github.com/mitmproxy/mitmproxy, docs: ignore_hosts",
    "B21": "RFC 9112, 9.3: persistent connections",
    "B23": "github.com/0ang3el/websocket-smuggle; RFC 6455, 4.1; RFC 8441",
    "B24": "bishopfox.com/blog/h2c-smuggling-request; RFC 9113, 3.1",
    "B25": "mitmproxy docs, options: rawtcp",
}
_UPGRADE = ("Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
_SOCKET = Plain("GET", "/open/socket")
_SMUGGLED = b"DELETE /open/thing HTTP/1.1\r\nHost: attack.test\r\n\r\n"
_IN_TUNNEL = Way(sni=None, tls=False)


def _proxied(method: str, host: str = PLAIN_HOST, *more: str) -> bytes:
    head = lines(f"{method} http://{host}/open/thing HTTP/1.1", f"Host: {host}", *more)
    return head.replace(b"\r\n", b"\r\n{auth}", 1)


def attacks() -> Iterable[Attack]:
    """Every row of this section."""
    yield from table("B18", PLAIN_DESTROY, {"http:// URI": _proxied("DELETE")}, way=IN_PLAIN)
    yield from table(
        "B18", NOTHING, {"https:// URI without a tunnel": _proxied("DELETE").replace(b"http:", b"https:")}, way=IN_PLAIN
    )
    yield from table("B18", NOWHERE, {"http:// URI of another host": _proxied("GET", UNBOUND)}, way=IN_PLAIN)
    yield from table(
        "B19",
        PLAIN_DESTROY,
        {
            "CONNECT without TLS behind it": PLAIN_DESTROY.sends,
            "CONNECT, then an absolute URI": request("DELETE", f"http://{PLAIN_HOST}/open/thing", host=PLAIN_HOST),
        },
        way=TUNNEL_WITHOUT_TLS,
    )
    yield from table("B19", DESTROY, {"plain HTTP in a tunnel to 443": DESTROY.sends}, way=_IN_TUNNEL)
    yield from table(
        "B19",
        NOTHING,
        {
            "CONNECT without credentials": b"CONNECT attack.test:443 HTTP/1.1\r\nHost: attack.test:443\r\n\r\n",
            "CONNECT with HTTP/1.0": b"CONNECT attack.test:22 HTTP/1.0\r\n{auth}\r\n",
            "CONNECT with another Host": b"CONNECT attack.test:443 HTTP/1.1\r\n{auth}Host: unbound.test:443\r\n\r\n",
        },
        way=IN_PLAIN,
    )

    yield from table("B21", DESTROY, {"another method": DESTROY.sends, "a body in between": DESTROY.sends}, way=Way())
    first = request("GET", "/guarded/other")
    yield from table("B21", GUARDED, {"another path": first + GUARDED.sends}, way=Way())
    yield from table("B21", NOWHERE, {"another host": first + NOWHERE.sends}, way=Way())
    yield from table("B21", NOWHERE, {"another host, pipelined first": NOWHERE.sends + first}, way=Way())

    denied = request("GET", "/guarded/thing", *_UPGRADE, "Upgrade: websocket")
    yield from table(
        "B23",
        GUARDED,
        {
            "upgrade of what is denied": denied,
            "in capitals": denied.replace(b"Upgrade: websocket", b"UPGRADE: WEBSOCKET"),
            "without its version": request("GET", "/guarded/thing", "Connection: Upgrade", "Upgrade: websocket"),
        },
        follows=False,
    )
    h2 = (
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/guarded/thing"),
        (":authority", HOST),
    )
    yield Attack("B23", "h2, extended CONNECT", GUARDED, way=Way(http2=True), fields=h2)

    spoken = {"h2c": "h2c", "SPDY": "SPDY/3.1", "an invented one": "own/1", "TLS": "TLS/1.0", "two": "websocket, h2c"}
    for name, protocol in spoken.items():
        more = ("HTTP2-Settings: AAMAAABkAAQAAP__",) if "h2c" in protocol else ()
        options = "Connection: Upgrade, HTTP2-Settings" if more else "Connection: Upgrade"
        sends = request("GET", "/open/thing", options, f"Upgrade: {protocol}", *more)
        yield Attack("B24", f"upgrade to {name}", READ, sends)
        yield Attack("B24", f"upgrade to {name}, and a request behind it", READ, sends + _SMUGGLED)
    yield Attack(
        "B24",
        "h2, an upgrade field",
        READ,
        way=Way(http2=True),
        fields=(
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/open/thing"),
            (":authority", HOST),
            ("upgrade", "h2c"),
            ("connection", "Upgrade"),
        ),
    )

    raw = {
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "binary": bytes(range(1, 200)) + b"\r\n\r\n",
        "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n",
        "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/0.9": b"GET /open/thing\r\n\r\n",
    }
    yield from table("B25", NOTHING, raw, way=_IN_TUNNEL, follows=False)
    yield from table(
        "B25", NOTHING, {f"{name}, inside TLS": sends for name, sends in raw.items()}, way=Way(), follows=False
    )
    hello = b"\x16\x03\x01\x00\x05hello"
    yield from table(
        "B25", NOTHING, {"HTTP behind a hello that is none": hello + DESTROY.sends}, way=_IN_TUNNEL, follows=False
    )

    # Behind this one there is no TLS: what passes is a request that the target reads.
    unread = Way(connect=f"{TUNNEL}:443", sni=None, tls=False)
    inside = {"HTTP": DESTROY.sends, "HTTP behind an empty line": b"\r\n" + DESTROY.sends}
    rows = {f"{name} in a tunnel that passes unread": sends for name, sends in inside.items()}
    yield from table("B25", NOTHING, rows, way=unread, follows=False)
    rows = {"another port of a tunnel that passes unread": DESTROY.sends}
    yield from table("B25", NOTHING, rows, way=replace(unread, connect=f"{TUNNEL}:80"), follows=False)
