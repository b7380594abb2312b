"""Section F: who is it, and what is written down? Only what is proved counts, and the record says one thing."""

from collections.abc import Iterable

from proxy.attack.attacks import (
    DESTROY,
    HOST,
    IN_PLAIN,
    NOTHING,
    PLAIN_HOST,
    PLAIN_READ,
    Attack,
    Plain,
    Way,
    lines,
    request,
    table,
)
from proxy.attack.reached import FORGE

SOURCES = {
    "B54": "CWE-290; RFC 9110, 11.7.2; CWE-598",
    "B55": "CWE-306; mitmproxy docs, options: proxyauth",
    "B59": "CWE-117; CVE-2003-0063 (terminal escapes in logs); CWE-532",
    "B60": "CWE-345; RFC 7838 (Alt-Svc)",
    "B61": "CWE-1333; owasp.org: regular expression denial of service",
}
_SECRET = "attack-secret-5f1d"  # noqa: S105 -- it opens nothing
_GHOST = "Proxy-Authorization: Basic Z2hvc3Q6Y2xtX3dyb25n\r\n"


def _proxied(*more: str, host: str = PLAIN_HOST) -> bytes:
    return lines(f"GET http://{host}/open/thing HTTP/1.1", f"Host: {PLAIN_HOST}", *more)


def attacks() -> Iterable[Attack]:
    """Every row of this section."""
    names = ("X-Claiim-Agent", "X-Agent-Id", "X-Forwarded-User", "X-Chron-Id", "X-Claiim-Approval")
    for name in names:
        yield Attack(
            "B54", f"{name} beside the credentials", DESTROY, request("DELETE", "/open/thing", f"{name}: root")
        )
    heads = {
        "two credentials": "{auth}" + _GHOST,
        "two credentials, the other first": _GHOST + "{auth}",
        "another agent's name": _GHOST,
        "Bearer": "Proxy-Authorization: Bearer x\r\n",
        "no base64": "Proxy-Authorization: Basic %%%\r\n",
        "no colon": "Proxy-Authorization: Basic YXR0YWNr\r\n",
        "in Authorization": "Authorization: Basic Z2hvc3Q6Y2xtX3dyb25n\r\n",
    }
    for name, head in heads.items():
        yield Attack(
            "B54", f"{name}, at CONNECT", NOTHING, PLAIN_READ.sends, Way(f"{PLAIN_HOST}:80", None, False, head)
        )
    yield from table(
        "B54", DESTROY, {"credentials inside the tunnel": request("DELETE", "/open/thing", _GHOST.strip())}
    )
    yield from table(
        "B54",
        PLAIN_READ,
        {"credentials in the URI": _proxied(host=f"ghost:{_SECRET}@{PLAIN_HOST}")},
        way=IN_PLAIN,
        secret=_SECRET,
    )

    yield from table(
        "B55",
        NOTHING,
        {"none, by URI": _proxied(), "empty": _proxied("Proxy-Authorization: Basic Og==")},
        way=IN_PLAIN,
        follows=False,
    )
    yield Attack("B55", "none, at CONNECT", NOTHING, PLAIN_READ.sends, Way(f"{PLAIN_HOST}:80", None, False, ""))

    injected = {
        "line break": "/open/a%0d%0aoutcome:%20ALLOW",
        "escape sequence": "/open/%1b%5b2J",
        "NUL": "/open/%00",
        "long": "/open/" + "a" * 8000,
        "right-to-left": "/open/%e2%80%ae",
    }
    yield from table("B59", NOTHING, {name: request("BREW", path) for name, path in injected.items()}, way=Way())
    keys = Plain("GET", "/open/thing?a%0D%0Ab=c")
    yield from table("B59", keys, {"line break in a parameter's name": keys.sends})
    kept = {
        "in the query": Plain("GET", f"/open/thing?token={_SECRET}"),
        "in a header": Plain("GET", "/open/thing", lines=(f"Authorization: Bearer {_SECRET}",)),
        "in a body": Plain("POST", "/open/thing", body=_SECRET.encode()),
        "in a cookie": Plain("GET", "/open/thing", lines=(f"Cookie: a={_SECRET}",)),
    }
    for name, plain in kept.items():
        yield Attack("B59", f"secret {name}", plain, plain.sends, secret=_SECRET)

    forged = Plain("GET", FORGE)
    yield from table("B60", forged, {"record ids": forged.sends})
    h2 = ((":method", "GET"), (":scheme", "https"), (":path", FORGE), (":authority", HOST))
    yield Attack("B60", "h2, record ids", forged, way=Way(http2=True), fields=h2)

    slow = {
        "long": "/slow/" + "a" * 8000,
        "almost": "/slow/" + "ab" * 3900 + "c",
        "many blanks": "/slow/" + "%20a" * 2000,
    }
    for name, path in slow.items():
        yield Attack("B61", name, NOTHING, request("GET", path), Way())
