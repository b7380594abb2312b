"""A request that stands on paper, put before the mappings exactly as one that came over the wire.

Head first: when the mappings can name it by its head, its body is never shown to them; a longer body than the
gate reads is cut as the gate cuts it. So what is said here is what the gate would say. Nothing is sent anywhere.

    split_url("https://a.test?x=1")     ("https", "a.test", "/?x=1")
    split_url("ftp://a.test/")          ValueError: "ftp://a.test/" is no http:// or https:// URL
    split_url("a.test/x")               ValueError: "a.test/x" is no http:// or https:// URL
    on_paper("CONNECT", "a.test:443")   a tunnel that is to pass unread
"""

from collections.abc import Sequence
from dataclasses import replace

from mappings import Mappings, Request
from proxy.facts import FactsError, Inbound, connect_authority, read_facts, tunnel_facts

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""RFC 6455, 3: a WebSocket URL names the HTTP request that opens the connection."""


def split_url(url: str) -> tuple[str, str, str]:
    """Return scheme, authority and origin-form target of an absolute URL; raise ValueError for any other."""
    scheme, separator, rest = url.partition("://")
    known = _SCHEMES.get(scheme.lower())
    if not separator or known is None:
        raise ValueError(f'"{shown_url(url)}" is no http:// or https:// URL')
    rest = rest.partition("#")[0]  # RFC 9110, 4.2: a fragment is the client's own and never sent
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[cut:]
    return known, rest[:cut], target if target.startswith("/") else f"/{target}"


def on_paper(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> tuple[Inbound, bool]:
    """Return a request as somebody writes it down, and whether its body was taken for JSON without being called so.

    Raises ValueError for what is no URL.
    """
    if method.upper() == "CONNECT":
        # RFC 9112, 3.2.3: what it names is a host and a port.
        return Inbound("CONNECT", "http", "/", (), "", uri_authority=url), False
    scheme, authority, target = split_url(url)
    fields = [(name.encode(), value.encode()) for name, value in headers]
    named = {name.lower() for name, _ in fields}
    taken = b"content-type" not in named and body[:1] in (b"{", b"[")
    if taken:
        fields.append((b"content-type", b"application/json"))
    if body and b"content-length" not in named:
        fields.append((b"content-length", str(len(body)).encode()))
    return Inbound(method.upper(), scheme, target, tuple(fields), "", uri_authority=authority), taken


def shown_url(url: str) -> str:
    """Return a URL without what may be secret in it: its query, its fragment, a user and a password."""
    place = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = place.partition("://")
    if not separator:
        # "data:" and its like: what follows is content.
        return place if len(place) <= 80 else f"{place[:77]}..."
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def as_judged(inbound: Inbound, body: bytes | None, mappings: Mappings, max_body_bytes: int) -> Request:
    """Return the request as the gate would resolve it; raise FactsError when it would refuse to read it.

    `body` is b"" when there is none and None when it is not known.
    """
    if inbound.method == "CONNECT":
        return tunnel_facts(*connect_authority(inbound.uri_authority, inbound.fields)).request
    if body == b"":
        return read_facts(inbound, b"").request
    request = read_facts(inbound, None).request
    try:
        if body is None or not mappings.needs_body(request):
            return request
    except Exception as error:
        raise FactsError("gate.error", "internal error") from error
    return replace(request, body=body[:max_body_bytes], body_complete=len(body) <= max_body_bytes)
