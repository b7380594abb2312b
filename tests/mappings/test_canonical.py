"""One canonical form for hosts and targets; what has two readings is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import CanonicalError, canonical_host, canonical_target, split_authority
from mappings.canonical import _replaced

HOSTS = {
    "case": ("EXAMPLE.com", "example.com"),
    "trailing dot": ("example.com.", "example.com"),
    "umlaut": ("b\u00fccher.test", "xn--bcher-kva.test"),
    "A-label": ("xn--bcher-kva.test", "xn--bcher-kva.test"),
    "full-width letters": ("\uff41.test", "a.test"),
    "underscore": ("_dmarc.acme.test", "_dmarc.acme.test"),
    "address": ("127.0.0.1", "127.0.0.1"),
    "IPv6 in brackets": ("[0:0::1]", "::1"),
    "IPv6 bare": ("::1", "::1"),
    "mapped IPv4": ("::ffff:10.0.0.1", "10.0.0.1"),
    "digits before a name": ("1.example", "1.example"),
}

REFUSED_HOSTS = {
    "empty": ("", "host.empty"),
    "only a dot": (".", "host.invalid"),
    "empty label": ("a..b", "host.invalid"),
    "two trailing dots": ("a.b..", "host.invalid"),
    "escape": ("a%2eb", "host.invalid"),
    "userinfo": ("user@a.test", "host.invalid"),
    "backslash": ("a\\b", "host.invalid"),
    "NUL": ("a\0.test", "host.invalid"),
    "blank": ("a .test", "host.invalid"),
    "newline": ("a.test\n", "host.invalid"),
    "ideographic full stop": ("a\u3002test", "host.invalid"),
    "full-width full stop": ("a\uff0etest", "host.invalid"),
    "brackets around a name": ("[example.com]", "host.ipv6"),
    "nested brackets": ("[[::1]]", "host.ipv6"),
    "zone": ("[fe80::1%eth0]", "host.ipv6"),
    "short address": ("127.1", "host.ipv4"),
    "decimal address": ("2130706433", "host.ipv4"),
    "octal address": ("0177.0.0.1", "host.ipv4"),
    "hexadecimal address": ("0x7f.0.0.1", "host.ipv4"),
    "address in other digits": ("\u2469.\u2469.\u2469.\u2469", "host.ipv4"),
    "leading hyphen": ("-a.test", "host.invalid"),
    "bad A-label": ("xn--a.test", "host.invalid"),
    "A-label beyond Unicode": ("xn--l" + "0" + "6" * 50 + "x", "host.invalid"),
    "long label": ("a" * 64 + ".test", "host.invalid"),
    "long name": (".".join(["a" * 60] * 5), "host.invalid"),
    "slash by mapping": ("a\u2100b.test", "host.invalid"),
}


@pytest.mark.parametrize(("text", "canonical"), HOSTS.values(), ids=HOSTS)
def test_host(text: str, canonical: str) -> None:
    """Every spelling of a host has one form, and that form is its own."""
    assert canonical_host(text) == canonical
    assert canonical_host(canonical) == canonical


@pytest.mark.parametrize(("text", "code"), REFUSED_HOSTS.values(), ids=REFUSED_HOSTS)
def test_refused_host(text: str, code: str) -> None:
    """A host that two readers would take for different places is refused, in one printable line."""
    with pytest.raises(CanonicalError) as caught:
        canonical_host(text)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


AUTHORITIES = {
    "host": ("a.test", ("a.test", 443)),
    "host and port": ("A.test:8443", ("a.test", 8443)),
    "address and port": ("[::1]:80", ("::1", 80)),
    "address": ("[::1]", ("::1", 443)),
}


@pytest.mark.parametrize(("text", "expected"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_authority(text: str, expected: tuple[str, int]) -> None:
    """An authority is a host and a port."""
    assert split_authority(text, 443) == expected


@pytest.mark.parametrize(
    "text", ["a:", "a:0", "a:65536", "a:080", "a:+80", "a:1:2", "::1", "[::1]x", "[::1", "u@a:1", ":443", "a:\u0661"]
)
def test_refused_authority(text: str) -> None:
    """What is no authority is refused."""
    with pytest.raises(CanonicalError):
        split_authority(text, 443)


TARGETS = {
    "root": ("/", "/"),
    "unreserved is decoded": ("/a/%7Euser/%61", "/a/~user/a"),
    "hex is upper case": ("/a%2fb", "/a%2Fb"),
    "slash stays encoded": ("/a%2Fb", "/a%2Fb"),
    "colon as written": ("/v1/x:cancel", "/v1/x:cancel"),
    "illegal raw is encoded": ("/a|b", "/a%7Cb"),
    "empty query goes": ("/a?", "/a"),
    "query as written": ("/a?x=1&y=a+b&z", "/a?x=1&y=a+b&z"),
    "query hex": ("/a?x=%2f%41", "/a?x=%2FA"),
    "brackets in query": ("/a?page[size]=1", "/a?page[size]=1"),
    "three dots": ("/...", "/..."),
    "hidden file": ("/.git/x", "/.git/x"),
    "utf-8": ("/%C3%A9", "/%C3%A9"),
    "trailing slash": ("/a/", "/a/"),
}


@pytest.mark.parametrize(("raw", "wire"), TARGETS.values(), ids=TARGETS)
def test_target(raw: str, wire: str) -> None:
    """Every spelling of a target has one form, and that form is its own."""
    target = canonical_target(raw)
    assert target.wire == wire
    assert canonical_target(wire) == target


@given(st.text("ab%"))
def test_escapes_are_replaced_one_by_one(text: str) -> None:
    """As `re.sub` does it, but for an escape that gets no text.

    That one `re.sub` would leave out, and "..%2fguarded" would be judged, and sent, as "..guarded".
    """
    odd = re.compile("%")
    assert _replaced(odd, lambda _: "xy", text) == text.replace("%", "xy")
    with pytest.raises(TypeError):
        _replaced(odd, lambda _: None, f"{text}%")  # type: ignore[arg-type, return-value]


def test_query_pairs() -> None:
    """Pairs are decoded, in order, duplicates kept, blanks and escapes undone."""
    assert canonical_target("/?a=1&a=2&&b=x+y&c=%26&d").query == (
        ("a", "1"),
        ("a", "2"),
        ("b", "x y"),
        ("c", "&"),
        ("d", ""),
    )


REFUSED_TARGETS = {
    "asterisk": ("*", "path.not-origin-form"),
    "absolute": ("http://a.test/", "path.not-origin-form"),
    "empty": ("", "path.not-origin-form"),
    "dot": ("/a/./b", "path.dot-segment"),
    "dots": ("/a/../b", "path.dot-segment"),
    "dots at the end": ("/a/..", "path.dot-segment"),
    "encoded dots": ("/a/%2e%2E/b", "path.dot-segment"),
    "dots and encoded slash": ("/a/..%2fb", "path.dot-segment"),
    "encoded slash and dots": ("/a%2f..", "path.dot-segment"),
    "twice encoded dot": ("/a/%252e%252e/b", "path.double-encoding"),
    "twice encoded slash": ("/a%252fb", "path.double-encoding"),
    "twice encoded backslash": ("/a%255cb", "path.double-encoding"),
    "twice encoded in parts": ("/a%25%32%65", "path.double-encoding"),
    "empty segment": ("/a//b", "path.empty-segment"),
    "leading empty segment": ("//evil.test/x", "path.empty-segment"),
    "parameter": ("/a;v=1/b", "path.parameter"),
    "backslash": ("/a\\b", "path.backslash"),
    "encoded backslash": ("/a%5cb", "path.backslash"),
    "NUL": ("/a%00", "path.control"),
    "newline": ("/a%0ab", "path.control"),
    "raw newline": ("/a\nb", "path.character"),
    "raw blank": ("/a b", "path.character"),
    "raw non-ASCII": ("/\u00e9", "path.character"),
    "fragment": ("/a#b", "path.character"),
    "bad escape": ("/a%zz", "path.escape"),
    "cut escape": ("/a%2", "path.escape"),
    "overlong slash": ("/a%c0%af", "path.not-utf-8"),
    "surrogate": ("/%ed%a0%80", "path.not-utf-8"),
    "long path": ("/" + "a" * 8192, "path.too-long"),
    "semicolon in query": ("/?a=1;b=2", "query.separator"),
    "query NUL": ("/?a=%00", "query.nul"),
    "query escape": ("/?a=%", "query.escape"),
    "query not utf-8": ("/?a=%ff", "query.not-utf-8"),
    "ten thousand parameters": ("/?" + "a=1&" * 10_000, "query.too-many"),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED_TARGETS.values(), ids=REFUSED_TARGETS)
def test_refused_target(raw: str, code: str) -> None:
    """A target that two servers would read differently is refused, in one printable line."""
    with pytest.raises(CanonicalError) as caught:
        canonical_target(raw)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


@given(st.text(st.characters(codec="ascii") | st.sampled_from("%/.?&=25eEfF"), max_size=40))
def test_canonical_is_its_own_canonical_form(tail: str) -> None:
    """Whatever is taken comes out in a form that is taken unchanged: rule, record and wire agree."""
    try:
        target = canonical_target("/" + tail)
    except CanonicalError:
        return
    assert canonical_target(target.wire) == target
    assert ".." not in target.path.replace("%2F", "/").split("/")


@given(st.text(max_size=30))
def test_canonical_host_is_its_own_canonical_form(text: str) -> None:
    """The same for hosts."""
    try:
        host = canonical_host(text)
    except CanonicalError:
        return
    assert canonical_host(host) == host
    assert host.isascii()
    assert host == host.lower()
