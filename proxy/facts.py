"""Turn one request head, as it came over the wire, into facts that everything downstream shares.

There is one canonical form: rules match it, the record names it, and it alone goes upstream, so that
no server behind the gate can read a request differently than the gate did. What has no single reading
is refused here, with a code and a sentence, and never repaired by guessing.

Everything that names the destination must name the same one: the CONNECT authority, the SNI, the
`Host` header or `:authority`, and the URI.

    CONNECT a.test:443, SNI a.test, Host: a.test      -> host a.test, port 443
    CONNECT a.test:443, SNI a.test, Host: b.test      -> refused, wire.authority-mismatch
    GET http://a.test/x, Host: b.test                 -> refused, wire.authority-mismatch

This module knows no engine and no policy.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, compress
from operator import itemgetter

from mappings import CanonicalError, Request, canonical_host, canonical_target, split_authority
from proxy.limits import DEFAULTS, Limits

type Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order: name and value as received."""

_METHOD = re.compile(r"[A-Z](?:[A-Z-]{0,30}[A-Z])?")
"""RFC 9110, 9.1: methods are case-sensitive; every registered one is upper case, and a lower-case
look-alike is read as the plain method by some servers only."""
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
"""CONNECT inside a tunnel opens a second one; TRACE echoes credentials (RFC 9110, 9.3.8)."""
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2: token
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5: CTLs but HTAB have no place
_SINGLE = frozenset(
    b"authorization content-encoding content-length content-type expect host range transfer-encoding "
    b"upgrade x-amz-target x-amz-date x-http-method x-http-method-override x-method-override "
    b"x-original-url x-rewrite-url".split()
)
"""Two of these have no defined meaning: one server takes the first, the next takes the last."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade", b"te"})
_LENGTH = re.compile(rb"[0-9]{1,18}")
"""What fits 63 bits: a reader whose integers wrap would find another, shorter length in more."""
_HOP_BY_HOP = frozenset({b"keep-alive", b"te", b"http2-settings", b"connection", b"upgrade", b"trailer"})
"""RFC 9110, 7.6.1: these concern one connection only; they are rebuilt, not forwarded. "Trailer" announces what is not
forwarded either (`proxy.wire.passing`)."""
_KEPT_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"})
_NEVER_OPTIONS = (_FRAMING | _SINGLE) - _KEPT_CONNECTION_OPTIONS
_NO_OPTIONS: frozenset[bytes] = frozenset()
_MOST_NAME_BYTES = 1024
"""Of all names of a head that are kept."""
_DEFAULT_PORT = {"http": 80, "https": 443}


class FactsError(Exception):
    """The request has no single reading; `code` is for machines, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request head, uninterpreted, as any engine can give it."""

    method: str
    scheme: str
    """How the bytes came: "https" inside intercepted TLS, else "http"."""
    target: str
    """Origin-form target as received, escapes and all."""
    fields: Fields
    client: str
    """The peer's IP address."""
    tunnel: tuple[str, int] | None = None
    """The canonical CONNECT authority this request came through; None for a plain proxied request."""
    sni: str | None = None
    """The server name of the agent's TLS hello, when there was one."""
    uri_authority: str = ""
    """The authority of an absolute-form URI or of `:authority`; "" when there was none."""
    bodiless: bool = False
    """The head alone says that there is no body."""
    listener: str = ""
    """The name of the listener it came by; "" is the proxy's own."""
    fixed: bool = False
    """The operator fixed the target of that listener, which is `tunnel`; what the agent calls it decides nothing."""
    port: int | None = None
    """The port that the agent's packets were for, where a redirect brought them and no TLS hello named the host."""
    delegated: bool = False
    """Another proxy asks about this request and forwards it; nothing but its head is seen here."""
    glimpse: bytes = field(default=b"", repr=False)
    """What came of a head that could not be read: to answer its caller in its own words, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request is, once and for all."""

    request: Request
    wire_target: str
    """The canonical origin-form target that goes upstream."""
    wire_fields: Fields
    """The canonical header fields that go upstream, in the order received."""
    wire_authority: str
    """Canonical authority for `Host` or `:authority`."""
    upgrade: str
    """"websocket", "spdy/3.1" or "tcp" when the request asks for it, else ""."""
    opaque: bool = False
    """What comes after it is passed through unread."""


def tunnel_facts(host: str, port: int) -> Facts:
    """What a CONNECT is whose connection is passed through unread.

    Of its own fields nothing counts: they are said to the gate, and no rule or policy could verify one of them.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Facts(Request("CONNECT", "tcp", host, port, "/", (), (), b""), "/", (), authority, "", opaque=True)


def read_facts(inbound: Inbound, body: bytes | None, limits: Limits = DEFAULTS) -> Facts:
    """The one reading of a request; raises FactsError when there is none or more than one, or too much of it.

    `body` is b"" when there is none and None when it was not read.
    """
    _check_size(inbound, limits)
    method = _method(inbound.method)
    host, port = _destination(inbound)
    try:
        target = canonical_target(inbound.target)
    except CanonicalError as error:
        raise FactsError(f"wire.{error.code}", str(error)) from None
    if len(target.query) > limits.parameters:
        raise FactsError("wire.query.too-many", f"the query has more than {limits.parameters} parameters")
    authority = _authority(host, port, inbound.scheme)
    fields, headers, upgrade = _canonical_fields(inbound.fields, authority)
    request = Request(
        method=method,
        scheme="https" if inbound.scheme == "https" else "http",
        host=host,
        port=port,
        path=target.path,
        query=target.query,
        headers=headers,
        body=body,
    )
    return Facts(request, target.wire, fields, authority, upgrade)


def likely_request(inbound: Inbound) -> Request | None:
    """What a request that has no one reading looks like, to answer its caller in its own words and for nothing else.

    None for what is no request to a target: a CONNECT, or a head that could not be parsed outside of a tunnel.
    """
    if not inbound.method and inbound.tunnel and inbound.glimpse:
        return _glimpsed(inbound, inbound.tunnel)
    if inbound.method in ("", "CONNECT"):
        return None
    host, port = inbound.tunnel or ("", 0)
    return Request(
        method=inbound.method,
        scheme="https" if inbound.scheme == "https" else "http",
        host=host,
        port=port,
        path=inbound.target.partition("?")[0],
        query=(),
        headers=tuple((name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in inbound.fields),
        body=None,
    )


def _glimpsed(inbound: Inbound, tunnel: tuple[str, int]) -> Request:
    """What a head looks like that is none: words and lines as they stand, whatever is wrong with them."""
    first, *lines = inbound.glimpse.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    found = (line.partition(":") for line in lines)
    host, port = tunnel
    return Request(
        method=method,
        scheme="https" if inbound.scheme == "https" else "http",
        host=host,
        port=port,
        path=rest.partition(" ")[0].partition("?")[0],
        query=(),
        headers=tuple((name.strip().lower(), value.strip()) for name, colon, value in found if colon),
        body=None,
    )


def is_field(name: bytes, value: bytes) -> bool:
    """Say whether a header field is one to every reader."""
    return bool(_FIELD_NAME.fullmatch(name)) and not _BAD_VALUE.search(value)


def request_digest(facts: Facts) -> str:
    """SHA-256 over the canonical head and what was read of the body."""
    request = facts.request
    head = f"{request.method} {request.scheme}://{facts.wire_authority}{facts.wire_target}\n"
    return hashlib.sha256(head.encode() + (request.body or b"")).hexdigest()


def connect_authority(text: str, fields: Fields) -> tuple[str, int]:
    """The canonical host and port of a CONNECT; a Host field must agree. Raises FactsError."""
    hosts = [value.decode("latin-1") for name, value in fields if name.lower() == b"host"]
    _refuse_userinfo(text, *hosts)
    try:
        # RFC 9110, 9.3.6: a CONNECT target has a port; there is no default.
        host, port = split_authority(text, 0)
        named = {split_authority(other, port)[0] for other in hosts}
    except CanonicalError as error:
        raise FactsError(f"wire.{error.code}", str(error)) from None
    if port == 0:
        raise FactsError("wire.authority", f'"{text}" names no port')
    if named - {host} or len(hosts) > 1:
        raise FactsError("wire.authority-mismatch", "CONNECT and its Host field name several destinations")
    return host, port


def _check_size(inbound: Inbound, limits: Limits) -> None:
    """Refuse a head that is too large, before anything of it is looked at more closely."""
    target_bytes, fields = len(inbound.target), inbound.fields
    if target_bytes > limits.target_bytes:
        raise FactsError("wire.target-too-long", f"the target has more than {limits.target_bytes} bytes")
    if len(fields) > limits.head_fields:
        raise FactsError("wire.fields-too-many", f"the request has more than {limits.head_fields} header fields")
    size = sum(map(len, chain.from_iterable(fields)))
    if size > limits.field_bytes and max(len(name) + len(value) for name, value in fields) > limits.field_bytes:
        raise FactsError("wire.field-too-long", f"a header field has more than {limits.field_bytes} bytes")
    if target_bytes + size > limits.head_bytes:
        raise FactsError("wire.head-too-long", f"the request head has more than {limits.head_bytes} bytes")


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise FactsError("wire.method", "the method is not an upper-case token")
    if text in _REFUSED_METHODS:
        raise FactsError("wire.method", f"{text} is not forwarded")
    return text


def _destination(inbound: Inbound) -> tuple[str, int]:
    """The host and port that every part of the request agrees on."""
    default_port = _DEFAULT_PORT[inbound.scheme]
    tunnel = inbound.tunnel
    named = [value.decode("latin-1") for name, value in inbound.fields if name.lower() == b"host"]
    if len(named) > 1:
        raise FactsError("wire.host-repeated", "more than one Host field")
    if inbound.fixed and inbound.tunnel:
        return _fixed(inbound.tunnel, inbound.uri_authority)
    if tunnel and named == [_authority(*tunnel, inbound.scheme)] and _says_no_other(inbound, tunnel):
        return tunnel  # what nearly every request says: the same in the same words
    if inbound.uri_authority:
        named.append(inbound.uri_authority)
    _refuse_userinfo(*named)
    try:
        places = {split_authority(text, default_port) for text in named}
        if inbound.sni:
            # RFC 6066, 3: the SNI is a name without a port.
            places.add((canonical_host(inbound.sni), inbound.tunnel[1] if inbound.tunnel else default_port))
    except CanonicalError as error:
        raise FactsError(f"wire.{error.code}", str(error)) from None
    if inbound.tunnel:
        places.add(inbound.tunnel)
    if inbound.port is not None:
        places |= {(host, inbound.port) for host, _ in places}
    if not named:
        raise FactsError("wire.host-missing", "neither the URI nor a Host field names the destination")
    if len(places) > 1:
        listed = ", ".join(sorted(f"{host}:{port}" for host, port in places))
        raise FactsError("wire.authority-mismatch", f"the request names several destinations: {listed}")
    return places.pop()


def _says_no_other(inbound: Inbound, tunnel: tuple[str, int]) -> bool:
    """Whether nothing beside the Host field names a destination in words of its own."""
    return not inbound.uri_authority and inbound.sni in ("", None, tunnel[0]) and inbound.port is None


def _fixed(target: tuple[str, int], uri_authority: str) -> tuple[str, int]:
    """The target of a listener that leads to one alone.

    Its clients take it for the target, so `Host` names the gate, or whatever reaches it, and is not looked at.
    """
    if uri_authority:
        # RFC 9112, 3.2.2: an origin server would have to read it. No client of a base URL writes it.
        raise FactsError("wire.absolute-uri", "this listener leads to one target; name a path alone")
    return target


def _refuse_userinfo(*authorities: str) -> None:
    """RFC 9110, 4.2.4: refused as an error, and here, where no message quotes the password for the record."""
    if any("@" in text for text in authorities):
        raise FactsError("wire.host.userinfo", "user information stands before the host; send it in a header")


def _authority(host: str, port: int, scheme: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port == _DEFAULT_PORT[scheme] else f"{shown}:{port}"


def _canonical_fields(fields: Fields, authority: str) -> tuple[Fields, tuple[tuple[str, str], ...], str]:
    """The fields that go upstream, the same as texts for rules, and the upgrade that is asked for."""
    sent = tuple(map(itemgetter(0), fields))
    # Clients send the same names again and again. Long ones are read anew each time, or they would fill the memory.
    names = _known_names(sent) if sum(map(len, sent)) <= _MOST_NAME_BYTES else _read_names(sent)
    if _BAD_VALUE.search(b"".join(map(itemgetter(1), fields))):
        raise FactsError("wire.field-value", "a header field value holds a control byte")
    framing = tuple([(name, fields[at][1].strip(b" \t")) for at, name in names.framing])
    options = _connection_options(framing) if b"connection" in names.seen else _NO_OPTIONS
    _check_framing(framing, options)
    upgrade = _upgrade(framing, options) if b"upgrade" in names.seen else ""
    kept = [fields[at] for at in names.forwarded]
    texts = [names.texts[at] for at in names.forwarded]
    if named := options - _KEPT_CONNECTION_OPTIONS:
        # A field named in Connection is for this hop only: it is dropped before anything is matched on it,
        # else an agent could show us a field that the target never sees.
        for_target = [text.encode("ascii") not in named for text in texts]
        kept, texts = list(compress(kept, for_target)), list(compress(texts, for_target))
    if "host" in texts:
        at = texts.index("host")
        kept[at] = (kept[at][0], authority.encode("ascii"))
    else:
        kept.insert(0, (b"Host", authority.encode("ascii")))
        texts.insert(0, "host")
    if b"transfer-encoding" in names.seen:
        at = texts.index("transfer-encoding")
        kept[at] = (kept[at][0], b"chunked")  # however it was spelled: who compares to the letter reads no other body
    if b"te" in names.seen and any(name == b"te" and b"trailers" in value.lower() for name, value in framing):
        kept.append((b"TE", b"trailers"))  # gRPC needs it; no other TE is ours to promise
        texts.append("te")
    if upgrade:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade.encode("ascii"))]
        texts += ["connection", "upgrade"]
    elif b"close" in options:
        kept.append((b"Connection", b"close"))
        texts.append("connection")
    headers = zip(texts, [value.decode("latin-1") for _, value in kept], strict=True)
    return tuple(kept), tuple(headers), upgrade


@dataclass(frozen=True, slots=True)
class _Names:
    """What the names of a head's fields say by themselves."""

    texts: tuple[str, ...]
    """All of them, in lower case."""
    seen: frozenset[bytes]
    framing: tuple[tuple[int, bytes], ...]
    """Where those stand that frame the message or concern this connection, and which they are."""
    forwarded: tuple[int, ...]
    """Where those stand that may go on to the target."""


def _read_names(names: tuple[bytes, ...]) -> _Names:
    """Raises FactsError for a name that is none, imitates another, or stands there twice and must not."""
    lowered: list[bytes] = []
    for name in names:
        lower = name.lower()
        if not _FIELD_NAME.fullmatch(name):
            raise FactsError("wire.field-name", "a header field name is not a token")
        if b"_" in lower and lower.replace(b"_", b"-") in _FRAMING:
            # Many application servers fold "_" into "-" and would see a second framing field.
            raise FactsError("wire.field-name", "a header field name imitates a framing field")
        if lower in _SINGLE and lower in lowered:
            raise FactsError("wire.field-repeated", f"more than one {lower.decode('ascii')} field")
        lowered.append(lower)
    return _Names(
        tuple(lower.decode("ascii") for lower in lowered),
        frozenset(lowered),
        tuple((at, lower) for at, lower in enumerate(lowered) if lower in _FRAMING),
        tuple(at for at, lower in enumerate(lowered) if lower not in _HOP_BY_HOP and not lower.startswith(b"proxy-")),
    )


_known_names = lru_cache(1024)(_read_names)


def _connection_options(framing: Fields) -> frozenset[bytes]:
    """What the Connection fields name (RFC 9110, 7.6.1), in lower case."""
    values = [value for name, value in framing if name == b"connection"]
    return frozenset([option.strip().lower() for value in values for option in value.split(b",") if option.strip()])


def _check_framing(framing: Fields, options: frozenset[bytes]) -> None:
    """Refuse what would move the end of the body for somebody behind the gate."""
    if options & _NEVER_OPTIONS:
        # RFC 9110, 7.6.1: never for a field that concerns everybody. Dropped as asked, Content-Length would take
        # the frame from a body, and the target would read the body as the next request, judged by nobody.
        raise FactsError("wire.connection", "Connection names a field that is not for this connection alone")
    for name, value in framing:
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            # RFC 9112, 6.1: other codings are for servers that said they take them, and few agree on a list.
            raise FactsError("wire.transfer-encoding", "a transfer coding other than chunked is not forwarded")
        if name == b"content-length" and not _LENGTH.fullmatch(value):
            raise FactsError("wire.content-length", "the content length is not a number of at most 18 digits")


def _announces_body(framing: Fields) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")) for name, value in framing
    )


def _upgrade(framing: Fields, options: frozenset[bytes]) -> str:
    """The protocol asked for: "", "websocket", "spdy/3.1" or "tcp"; h2c is dropped, anything else refused."""
    asked = [value.lower() for name, value in framing if name == b"upgrade"]
    if not asked or b"upgrade" not in options:
        return ""
    match asked[0]:
        case b"websocket" | b"spdy/3.1" if _announces_body(framing):
            # What these begin with has none (RFC 6455, 4.1: a GET). Servers on llhttp that do not take the upgrade up
            # have been told by it to read no body: they take the body for the next request, which nobody has judged.
            raise FactsError("wire.upgrade", "this upgrade comes with a body, which some servers take for what follows")
        case b"websocket":
            return "websocket"
        case b"spdy/3.1":
            # What kubectl exec and port-forward speak; `proxy.upgrades` says for which operations it may.
            return "spdy/3.1"
        case b"tcp":
            # What docker exec and attach speak, the first with a body: it goes to hosts that were said to be Docker
            # and to no others (`proxy.upgrades`). After it the connection is bytes and nothing else.
            return "tcp"
        case b"h2c":
            # A server may ignore it (RFC 9110, 7.8), so dropping it is a correct answer; going along
            # would move the connection to a protocol nothing here reads.
            return ""
        case _:
            raise FactsError("wire.upgrade", "this upgrade is not one the gate can decide on")
