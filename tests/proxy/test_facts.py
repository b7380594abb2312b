"""One head, one reading: what is canonical, what is refused, and what goes upstream."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import split_authority
from proxy.facts import (
    Facts,
    FactsError,
    Inbound,
    _known_names,
    connect_authority,
    is_field,
    read_facts,
    request_digest,
    tunnel_facts,
)
from proxy.limits import Limits

PLAIN = Inbound(
    method="GET",
    scheme="http",
    target="/x",
    fields=((b"Host", b"a.test"),),
    client="127.0.0.1",
    uri_authority="a.test:80",
)
TUNNELLED = replace(PLAIN, scheme="https", tunnel=("a.test", 443), sni="a.test", uri_authority="")


def fields(*pairs: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """A Host field and some more."""
    return ((b"Host", b"a.test"), *pairs)


READINGS = {
    "plain": (PLAIN, "http://a.test:80/x"),
    "in a tunnel": (TUNNELLED, "https://a.test:443/x"),
    "case of the host": (replace(TUNNELLED, fields=((b"host", b"A.Test"),)), "https://a.test:443/x"),
    "trailing dot": (replace(TUNNELLED, fields=((b"Host", b"a.test."),)), "https://a.test:443/x"),
    "default port written out": (replace(TUNNELLED, fields=((b"Host", b"a.test:443"),)), "https://a.test:443/x"),
    "no SNI": (replace(TUNNELLED, sni=None), "https://a.test:443/x"),
    "other port": (
        replace(TUNNELLED, tunnel=("a.test", 6443), fields=((b"Host", b"a.test:6443"),)),
        "https://a.test:6443/x",
    ),
    "HTTP/2 without Host": (replace(TUNNELLED, fields=(), uri_authority="a.test"), "https://a.test:443/x"),
    "IPv6": (
        replace(PLAIN, uri_authority="[::1]:8080", fields=((b"Host", b"[::1]:8080"),)),
        "http://::1:8080/x",
    ),
    "escapes in the path": (replace(PLAIN, target="/%7ea/%2fb"), "http://a.test:80/~a/%2Fb"),
}


@pytest.mark.parametrize(("inbound", "url"), READINGS.values(), ids=READINGS)
def test_a_request_has_one_canonical_form(inbound: Inbound, url: str) -> None:
    """Spellings of one request are one request."""
    facts = read_facts(inbound, b"")
    request = facts.request
    assert f"{request.scheme}://{request.host}:{request.port}{request.path}" == url
    assert split_authority(facts.wire_authority, 80 if request.scheme == "http" else 443) == (
        request.host,
        request.port,
    )
    assert dict(request.headers)["host"] == facts.wire_authority


REFUSALS = {
    "lower-case method": (replace(PLAIN, method="get"), "wire.method"),
    "method with a blank": (replace(PLAIN, method="GET "), "wire.method"),
    "empty method": (replace(PLAIN, method=""), "wire.method"),
    "CONNECT in a tunnel": (replace(TUNNELLED, method="CONNECT"), "wire.method"),
    "TRACE": (replace(PLAIN, method="TRACE"), "wire.method"),
    "no host at all": (replace(PLAIN, fields=(), uri_authority=""), "wire.host-missing"),
    "no host in a tunnel": (replace(TUNNELLED, fields=()), "wire.host-missing"),
    "two Hosts alike": (replace(PLAIN, fields=fields((b"host", b"a.test"))), "wire.host-repeated"),
    "Host is not the tunnel's": (replace(TUNNELLED, fields=((b"Host", b"b.test"),)), "wire.authority-mismatch"),
    "Host's port is not the tunnel's": (
        replace(TUNNELLED, fields=((b"Host", b"a.test:8443"),)),
        "wire.authority-mismatch",
    ),
    "Host is not the tunnel's, no SNI": (
        replace(TUNNELLED, sni=None, fields=((b"Host", b"b.test"),)),
        "wire.authority-mismatch",
    ),
    "Host's port is not the tunnel's, no SNI": (
        replace(TUNNELLED, sni=None, fields=((b"Host", b"a.test:8443"),)),
        "wire.authority-mismatch",
    ),
    "Host names no port, and the tunnel another": (
        replace(TUNNELLED, tunnel=("a.test", 6443)),
        "wire.authority-mismatch",
    ),
    "Host's port is not the packets'": (replace(PLAIN, uri_authority="", port=8080), "wire.authority-mismatch"),
    "Host's port is not the packets', in a tunnel": (replace(TUNNELLED, port=8443), "wire.authority-mismatch"),
    "URI is not the tunnel's": (replace(TUNNELLED, uri_authority="b.test"), "wire.authority-mismatch"),
    "SNI is not the tunnel's": (replace(TUNNELLED, sni="b.test"), "wire.authority-mismatch"),
    "URI and Host differ": (replace(PLAIN, uri_authority="b.test:80"), "wire.authority-mismatch"),
    "userinfo": (replace(PLAIN, fields=((b"Host", b"u:hunter2@a.test"),)), "wire.host.userinfo"),
    "backslash in the host": (replace(PLAIN, fields=((b"Host", b"a.test\\.b.test"),)), "wire.host.invalid"),
    "octal address": (replace(PLAIN, fields=((b"Host", b"0177.0.0.1"),)), "wire.host.ipv4"),
    "dot segments": (replace(PLAIN, target="/a/../x"), "wire.path.dot-segment"),
    "encoded dot segments": (replace(PLAIN, target="/a/%2e%2e/x"), "wire.path.dot-segment"),
    "doubly encoded": (replace(PLAIN, target="/a/%252e%252e/x"), "wire.path.double-encoding"),
    "asterisk form": (replace(PLAIN, method="OPTIONS", target="*"), "wire.path.not-origin-form"),
    "field name with a blank": (replace(PLAIN, fields=fields((b"X A", b"1"))), "wire.field-name"),
    "empty field name": (replace(PLAIN, fields=fields((b"", b"1"))), "wire.field-name"),
    "line break in a value": (replace(PLAIN, fields=fields((b"X", b"1\r\nY: 2"))), "wire.field-value"),
    "NUL in a value": (replace(PLAIN, fields=fields((b"X", b"1\0"))), "wire.field-value"),
    "imitated framing": (replace(PLAIN, fields=fields((b"Content_Length", b"1"))), "wire.field-name"),
    "another transfer coding": (
        replace(PLAIN, fields=fields((b"Transfer-Encoding", b"gzip, chunked"))),
        "wire.transfer-encoding",
    ),
    "a length that is no number": (replace(PLAIN, fields=fields((b"Content-Length", b"+1"))), "wire.content-length"),
    "a length of 19 digits": (replace(PLAIN, fields=fields((b"Content-Length", b"0" * 19))), "wire.content-length"),
    "Connection names the length": (
        replace(PLAIN, fields=fields((b"Content-Length", b"1"), (b"Connection", b"close, content-length"))),
        "wire.connection",
    ),
    "Connection names itself": (replace(PLAIN, fields=fields((b"Connection", b"connection"))), "wire.connection"),
    "Connection names credentials": (
        replace(PLAIN, fields=fields((b"Authorization", b"x"), (b"Connection", b"Authorization"))),
        "wire.connection",
    ),
    "two content types": (
        replace(PLAIN, fields=fields((b"Content-Type", b"a/b"), (b"content-type", b"c/d"))),
        "wire.field-repeated",
    ),
    "two overrides": (
        replace(PLAIN, fields=fields((b"X-HTTP-Method-Override", b"GET"), (b"x-http-method-override", b"DELETE"))),
        "wire.field-repeated",
    ),
    "WebSocket with a body": (
        replace(
            PLAIN,
            fields=fields((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"), (b"Content-Length", b"01")),
        ),
        "wire.upgrade",
    ),
    "SPDY with a body": (
        replace(
            PLAIN,
            fields=fields((b"Upgrade", b"SPDY/3.1"), (b"Connection", b"upgrade"), (b"Transfer-Encoding", b"chunked")),
        ),
        "wire.upgrade",
    ),
    "an upgrade of its own": (
        replace(PLAIN, fields=fields((b"Connection", b"upgrade"), (b"Upgrade", b"own/1"))),
        "wire.upgrade",
    ),
}


SMALL = Limits(target_bytes=256, head_fields=10, field_bytes=256, head_bytes=1024, parameters=10)
NINE = tuple((b"X-%d" % number, b"1") for number in range(9))
SIZES: dict[str, tuple[Inbound, str]] = {
    "a target as long as it may be": (replace(PLAIN, target="/".ljust(256, "x")), ""),
    "a target": (replace(PLAIN, target="/".ljust(257, "x")), "wire.target-too-long"),
    "as many parameters as there may be": (replace(PLAIN, target="/x?" + "&".join("0123456789")), ""),
    "parameters": (replace(PLAIN, target="/x?" + "&".join("0123456789a")), "wire.query.too-many"),
    "as many fields as there may be": (replace(PLAIN, fields=fields(*NINE)), ""),
    "fields": (replace(PLAIN, fields=fields(*NINE, (b"X", b"1"))), "wire.fields-too-many"),
    "a field as long as it may be": (replace(PLAIN, fields=fields((b"X-Long", b"x" * 250))), ""),
    "a field": (replace(PLAIN, fields=fields((b"X-Long", b"x" * 251))), "wire.field-too-long"),
    "a head as long as it may be": (
        replace(PLAIN, target="/".ljust(256, "x"), fields=fields(*[(b"X", b"x" * 255)] * 2, (b"Y", b"y" * 245))),
        "",
    ),
    "a head": (
        replace(PLAIN, target="/".ljust(256, "x"), fields=fields(*[(b"X", b"x" * 255)] * 2, (b"Y", b"y" * 246))),
        "wire.head-too-long",
    ),
}


@pytest.mark.parametrize(("inbound", "code"), SIZES.values(), ids=SIZES)
def test_a_head_has_a_size(inbound: Inbound, code: str) -> None:
    """To the byte: what is as large as it may be is read, and a byte more is refused."""
    if not code:
        assert read_facts(inbound, b"", SMALL).wire_target == inbound.target
        return
    with pytest.raises(FactsError) as refused:
        read_facts(inbound, b"", SMALL)
    assert refused.value.code == code


@pytest.mark.parametrize(("inbound", "code"), REFUSALS.values(), ids=REFUSALS)
def test_what_has_no_single_reading_is_refused(inbound: Inbound, code: str) -> None:
    """A code for machines, a sentence of one line for people."""
    with pytest.raises(FactsError) as refused:
        read_facts(inbound, b"")
    assert refused.value.code == code
    assert refused.value.message
    assert "hunter2" not in refused.value.message
    assert "\n" not in refused.value.message


FORWARDED = {
    "order, case and repetition stay": (
        fields((b"X-Tag", b"a"), (b"x-tag", b"b")),
        fields((b"X-Tag", b"a"), (b"x-tag", b"b")),
    ),
    "Host is canonical": (((b"hOsT", b"A.test:80"),), ((b"hOsT", b"a.test"),)),
    "Proxy fields stay here": (fields((b"Proxy-Authorization", b"Basic x"), (b"proxy-y", b"z")), fields()),
    "hop-by-hop fields stay here": (fields((b"Keep-Alive", b"5"), (b"Connection", b"keep-alive")), fields()),
    "what Connection names stays here": (fields((b"X-Kind", b"1"), (b"Connection", b"x-kind")), fields()),
    "close goes on": (fields((b"Connection", b"close")), fields((b"Connection", b"close"))),
    "chunked is spelled one way": (
        fields((b"Transfer-Encoding", b"Chunked")),
        fields((b"Transfer-Encoding", b"chunked")),
    ),
    "TE for gRPC goes on": (fields((b"TE", b"trailers, gzip")), fields((b"TE", b"trailers"))),
    "another TE stays here": (fields((b"TE", b"gzip")), fields()),
    "h2c is dropped": (
        fields((b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"x")),
        fields(),
    ),
    "an upgrade that Connection does not name is none": (fields((b"Upgrade", b"SPDY/3.1")), fields()),
    "Docker's goes on": (
        fields((b"Upgrade", b"tcp"), (b"Connection", b"Upgrade")),
        fields((b"Connection", b"Upgrade"), (b"Upgrade", b"tcp")),
    ),
    "no body is none": (
        fields((b"Upgrade", b"SPDY/3.1"), (b"Connection", b"Upgrade"), (b"Content-Length", b"0")),
        fields((b"Content-Length", b"0"), (b"Connection", b"Upgrade"), (b"Upgrade", b"spdy/3.1")),
    ),
    "WebSocket goes on": (
        fields((b"Upgrade", b"WebSocket"), (b"Connection", b"keep-alive, Upgrade")),
        fields((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")),
    ),
}


@pytest.mark.parametrize(("sent", "forwarded"), FORWARDED.values(), ids=FORWARDED)
def test_what_goes_upstream(sent: tuple[tuple[bytes, bytes], ...], forwarded: tuple[tuple[bytes, bytes], ...]) -> None:
    """Canonical fields only, and rules see no field that the target does not."""
    facts = read_facts(replace(PLAIN, fields=sent), b"")
    assert facts.wire_fields == forwarded
    assert [(name.encode(), value.encode("latin-1")) for name, value in facts.request.headers] == [
        (name.lower(), value) for name, value in forwarded
    ]


@pytest.mark.parametrize(("host", "authority"), [("a.test", "a.test:443"), ("::1", "[::1]:443")])
def test_a_tunnel_is_where_it_leads_and_nothing_else(host: str, authority: str) -> None:
    """And it alone passes unread."""
    facts = tunnel_facts(host, 443)
    assert (facts.request.method, facts.request.host, facts.request.port) == ("CONNECT", host, 443)
    assert (facts.wire_authority, facts.wire_fields, facts.opaque) == (authority, (), True)
    assert read_facts(PLAIN, b"").opaque is False


def test_an_http2_request_gets_a_host_field() -> None:
    """What `:authority` said stands in Host, first, for a target that speaks HTTP/1.1."""
    facts = read_facts(replace(TUNNELLED, fields=((b"x", b"1"),), uri_authority="a.test"), b"")
    assert facts.wire_fields == ((b"Host", b"a.test"), (b"x", b"1"))


def test_long_names_fill_no_memory() -> None:
    """Names that clients send again and again are remembered; what is as long as somebody makes it up is not."""
    before = _known_names.cache_info().currsize
    for number in range(3):
        read_facts(replace(PLAIN, fields=fields((b"X-%d-" % number + b"x" * 1024, b"1"))), b"")
    assert _known_names.cache_info().currsize == before


IS_FIELD = {"plain": (b"X", b"1 \t2", True), "no token": (b"X A", b"1", False), "a line break": (b"X", b"1\n2", False)}


@pytest.mark.parametrize(("name", "value", "expected"), IS_FIELD.values(), ids=IS_FIELD)
def test_a_field_is_one_to_every_reader(name: bytes, value: bytes, expected: bool) -> None:
    """Name and value both: what a target sends on its way back is asked the same."""
    assert is_field(name, value) is expected


def test_the_digest_covers_head_and_body() -> None:
    """Another method, path, query or body is another digest; a field is not part of it."""
    base = request_digest(read_facts(PLAIN, b"{}"))
    same = request_digest(read_facts(replace(PLAIN, fields=fields((b"X", b"1"))), b"{}"))
    others = [
        read_facts(replace(PLAIN, method="PUT"), b"{}"),
        read_facts(replace(PLAIN, target="/x?y=1"), b"{}"),
        read_facts(PLAIN, b"[]"),
    ]
    assert same == base
    assert len({base, *map(request_digest, others)}) == 4


AUTHORITIES = {
    "plain": ("a.test:443", (), ("a.test", 443)),
    "case and dot": ("A.Test.:443", (), ("a.test", 443)),
    "IPv6": ("[::1]:443", (), ("::1", 443)),
    "Host agrees": ("a.test:443", ((b"Host", b"a.test"),), ("a.test", 443)),
    "no port": ("a.test", (), "wire.authority"),
    "port zero": ("a.test:0", (), "wire.host.port"),
    "empty": ("", (), "wire.host.empty"),
    "Host differs": ("a.test:443", ((b"Host", b"b.test"),), "wire.authority-mismatch"),
    "two Hosts": ("a.test:443", ((b"Host", b"a.test"), (b"Host", b"a.test")), "wire.authority-mismatch"),
    "userinfo": ("u:hunter2@a.test:443", (), "wire.host.userinfo"),
    "short IPv4": ("127.1:443", (), "wire.host.ipv4"),
}


@pytest.mark.parametrize(("text", "sent", "expected"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_where_a_tunnel_leads(
    text: str, sent: tuple[tuple[bytes, bytes], ...], expected: tuple[str, int] | str
) -> None:
    """CONNECT names one canonical host and a port, or nothing."""
    if isinstance(expected, tuple):
        assert connect_authority(text, sent) == expected
        return
    with pytest.raises(FactsError) as refused:
        connect_authority(text, sent)
    assert refused.value.code == expected


# --- what always holds ---------------------------------------------------------------------------------

_NAMES = st.sampled_from([b"Host", b"host", b"Connection", b"Upgrade", b"TE", b"Proxy-X", b"X", b"Content_Length"])
_FIELDS = st.lists(
    st.tuples(_NAMES | st.binary(max_size=6), st.sampled_from([b"a.test", b"close", b"x"]) | st.binary(max_size=8)),
    max_size=4,
).map(tuple)
_HOSTS = st.sampled_from(["a.test", "A.TEST.:443", "b.test", "[::1]", "0x7f.1", ""]) | st.text(max_size=8)
_HEADS = st.builds(
    Inbound,
    method=st.sampled_from(["GET", "POST", "get", "CONNECT"]) | st.text(max_size=8),
    scheme=st.sampled_from(["http", "https"]),
    target=st.sampled_from(["/x", "/a%2Fb?c=d", "*", "/..", "http://b.test/"]) | st.text(max_size=12),
    fields=_FIELDS,
    client=st.just("127.0.0.1"),
    tunnel=st.none() | st.just(("a.test", 443)),
    sni=st.none() | _HOSTS,
    uri_authority=_HOSTS,
)


@given(_HEADS)
def test_a_head_is_read_or_refused(inbound: Inbound) -> None:
    """Whatever comes: facts, or a refusal with a code and one line; never another exception."""
    read = _outcome(lambda: read_facts(inbound, None))
    if isinstance(read, Facts):
        _assert_canonical(read, inbound)


@given(_FIELDS, st.sampled_from(["a.test:443", "A.TEST.:443"]))
def test_a_connect_is_read_or_refused(sent: tuple[tuple[bytes, bytes], ...], text: str) -> None:
    """The same for CONNECT."""
    assert _outcome(lambda: connect_authority(text, sent)) in (("a.test", 443), None)


def _outcome[T](read: Callable[[], T]) -> T | None:
    """What was read, or None for a refusal that is in order; every other exception fails the test."""
    try:
        return read()
    except FactsError as refused:
        error = refused
    assert error.code.startswith("wire.")
    assert "\n" not in error.message
    return None


def _assert_canonical(facts: Facts, inbound: Inbound) -> None:
    """Read again as it goes upstream it is the same, and nothing meant for us alone is in it."""
    assert not [name for name, _ in facts.wire_fields if name.lower().startswith(b"proxy-")]
    again = Inbound(
        method=facts.request.method,
        scheme=inbound.scheme,
        target=facts.wire_target,
        fields=facts.wire_fields,
        client=inbound.client,
        uri_authority=facts.wire_authority,
    )
    assert read_facts(again, None).request == facts.request
