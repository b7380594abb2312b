"""One canonical form for hosts and request targets, for requests and rules alike.

What is matched, what is recorded and what goes on the wire is the same text, so that nobody upstream reads a
request differently than we did. What has no single reading is refused with `CanonicalError`, never repaired:

    EXAMPLE.com.            example.com
    bücher.test             xn--bcher-kva.test
    [0:0::1]                ::1
    /a/%7euser?q=%2f        /a/~user?q=%2F
    127.1, 0x7f.1, 2130706433       refused, host.ipv4: some readers take it for 127.0.0.1
    /a/..%2fb, /a//b, /a%252fb      refused, path.dot-segment, path.empty-segment, path.double-encoding
    /a%EF%BC%8Fb    refused, path.look-alike: U+FF0F is "/" to who folds characters

Order for a host: refuse what a URL reader would cut at (userinfo, escapes, slashes), brackets and IPv6, map
by UTS 46, check labels, then IPv4. Order for a target: bytes, length, escapes, segments, query.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import idna

from mappings.places import printable

MAX_PATH_CHARS = 8192
"""RFC 9110 section 4.1 asks for 8000 octets of request line at least; more is not a name."""
MAX_QUERY_CHARS = 65_536
MAX_QUERY_PARAMETERS = 1000
"""Parsers stop at different counts (PHP max_input_vars 1000, Go none); beyond it they disagree."""
MAX_HOST_CHARS = 253
"""RFC 1035 section 2.3.4: 255 octets on the wire."""


class CanonicalError(ValueError):
    """A host or target without one safe reading; `code` is stable, the text is one line with the remedy."""

    code: str

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- hosts ---

# RFC 1123 section 2.1 letters, digits, hyphen; underscore stands in real names of services (RFC 2782).
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# WHATWG URL, "ends in a number": such a host is an IPv4 address to some reader or an error, never a name.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
# UTS 46 maps these to "." (https://www.unicode.org/reports/tr46/ section 4.5); a reader sees one label.
_OTHER_DOTS = re.compile("[\u3002\uff0e\uff61]")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f@%\\/?#<>^|\[\]]")


@lru_cache(maxsize=4096)
def canonical_host(text: str) -> str:
    """Return a host name as lower-case A-labels, or an address in canonical form without brackets."""
    shown = _shown(text)
    if not text:
        raise CanonicalError("host.empty", "the host is empty; name one")
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1], shown)
    if text.count(":") > 1:
        return _ipv6(text, shown)
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        raise CanonicalError(
            "host.invalid", f'host "{shown}" holds {_shown(repr(forbidden[0]))}; write a bare host name'
        )
    if _OTHER_DOTS.search(text):
        raise CanonicalError("host.invalid", f'host "{shown}" holds a dot that is not "."; write "."')
    name = _mapped(text.removesuffix("."), shown)
    labels = name.split(".")
    if len(name) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise CanonicalError("host.invalid", f'host "{shown}" is not a host name; write letters, digits, "-", "."')
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _ipv4(name if text.isascii() else "", shown)
    return name


def _mapped(text: str, shown: str) -> str:
    try:
        if not text.isascii():
            return idna.encode(text, uts46=True, std3_rules=True, transitional=False).decode("ascii").lower()
        for label in text.lower().split("."):
            # A label that claims to be IDNA and is not decodes differently from reader to reader.
            if label.startswith("xn--"):
                idna.ulabel(label)
    except (ValueError, OverflowError):  # the latter from a label that decodes to a code point beyond all
        raise CanonicalError("host.invalid", f'host "{shown}" is not a valid internationalised name') from None
    return text.lower()


def _ipv4(name: str, shown: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        raise CanonicalError(
            "host.ipv4", f'host "{shown}" is an unusual spelling of an address; write four decimal numbers'
        ) from None


def _ipv6(text: str, shown: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
        if address.scope_id is not None:
            raise ValueError
    except ValueError:
        raise CanonicalError("host.ipv6", f'host "{shown}" is not an IPv6 address without a zone') from None
    # ::ffff:10.0.0.1 reaches 10.0.0.1 (RFC 4291 section 2.5.5.2); a rule for one must hold for the other.
    return str(address.ipv4_mapped or address)


_PORT = re.compile(r"[1-9][0-9]{0,4}")


@lru_cache(maxsize=4096)
def split_authority(text: str, default_port: int) -> tuple[str, int]:
    """Return canonical host and port of ``host``, ``host:port`` or ``[address]:port``."""
    host, colon, port_text = text, "", ""
    if text.startswith("["):
        closing = text.find("]") + 1
        host, colon, port_text = text[:closing], text[closing : closing + 1], text[closing + 1 :]
        if not closing or colon not in ("", ":"):
            raise CanonicalError("host.ipv6", f'"{_shown(text)}" is no "[address]:port"')
    elif ":" in text:
        host, colon, port_text = text.partition(":")
    if not colon:
        return canonical_host(host), default_port
    if not _PORT.fullmatch(port_text) or int(port_text) > 65_535:
        raise CanonicalError("host.port", f'port "{_shown(port_text)}" is no port; write 1 to 65535')
    return canonical_host(host), int(port_text)


# --- targets ---


@dataclass(frozen=True, slots=True)
class Target:
    """A request target in canonical origin form."""

    path: str
    query_text: str
    query: tuple[tuple[str, str], ...]
    """Decoded pairs in wire order."""

    @property
    def wire(self) -> str:
        """The text that goes upstream."""
        return f"{self.path}?{self.query_text}" if self.query_text else self.path


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 2.3
# RFC 3986 section 3.3 pchar and "/"; section 3.4 adds "?" to a query. "[" and "]" are no query characters
# there, but every API with "page[size]" takes them.
_PATH_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_QUERY_PLAIN = re.compile(r"[A-Za-z0-9._~!$'()*+,=:@/?&\[\]-]*")
_ODD = re.compile(r"%(?P<hex>[0-9A-Fa-f]{2})|%|(?P<illegal>[\"<>^`{|}\[\]])")
_ODD_IN_QUERY = re.compile(r"%(?P<hex>[0-9A-Fa-f]{2})|%|(?P<illegal>[\"<>^`{|}\\])")
_OUTSIDE = re.compile(r"[^\x21-\x7e]|#")


def canonical_target(raw: str) -> Target:
    """Return the request target in canonical form; only origin form (``/path?query``) is taken."""
    outside = _OUTSIDE.search(raw)
    if outside:
        raise CanonicalError(
            "path.character", f"U+{ord(outside[0]):04X} cannot stand in a request target; percent-encode it"
        )
    if not raw.startswith("/"):
        raise CanonicalError("path.not-origin-form", f'target "{_shown(raw)}" does not start with "/"')
    raw_path, _, raw_query = raw.partition("?")
    query_text = _canonical_query(raw_query)
    if raw_query and not query_text:
        raise TypeError("a query was read as none")
    return Target(canonical_path(raw_path), query_text, _pairs(query_text))


def canonical_path(raw: str) -> str:
    """Return an absolute path in canonical form; what `canonical_target` does to the part before ``?``."""
    if len(raw) > MAX_PATH_CHARS:
        raise CanonicalError("path.too-long", f"the path has more than {MAX_PATH_CHARS} characters")
    path = raw
    if not _PATH_PLAIN.fullmatch(raw):
        path = _rewritten_path(raw)
    if "//" in path:
        raise CanonicalError("path.empty-segment", f'path "{_shown(raw)}" has an empty segment; write a single "/"')
    # Also in the reading of a server that takes %2F for "/": "..%2Fb" climbs there.
    if "/." in path or "%2F." in path:
        for segment in path.replace("%2F", "/").split("/"):
            if segment in (".", ".."):
                raise CanonicalError(
                    "path.dot-segment",
                    f'path "{_shown(raw)}" has a "{segment}" segment; write the path it leads to',
                )
    return path


def _rewritten_path(raw: str) -> str:
    if ";" in raw:
        # Java servers cut a segment at ";", others do not (path parameters, RFC 3986 section 3.3).
        raise CanonicalError("path.parameter", f'path "{_shown(raw)}" holds ";"; write %3B where it is meant')
    if "\\" in raw:
        raise CanonicalError("path.backslash", f'path "{_shown(raw)}" holds a backslash, which some read as "/"')
    path = _replaced(_ODD, lambda odd: _escape(odd, raw), raw)
    if re.search(r"%25[0-9A-Fa-f]{2}", path):
        raise CanonicalError(
            "path.double-encoding", f'path "{_shown(raw)}" is encoded twice; some would decode it again'
        )
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise CanonicalError("path.not-utf-8", f'path "{_shown(raw)}" does not decode as UTF-8') from None
    if not text.isascii():
        _refuse_look_alikes(text, raw)
    return path


def _refuse_look_alikes(text: str, raw: str) -> None:
    """Refuse what becomes a separator or a dot segment where names are folded: U+FF0F to "/", U+2025 to ".."."""
    folded = unicodedata.normalize("NFKC", text)
    segments = folded.replace("\\", "/").split("/")
    if len(segments) != len(text.split("/")) or any(segment in (".", "..") for segment in segments):
        raise CanonicalError(
            "path.look-alike", f'path "{_shown(raw)}" holds a character that some read as "/", "\\" or dots'
        )


def _escape(odd: re.Match[str], raw: str) -> str:
    octet = _octet(odd, "path.escape", raw)
    if octet in _UNRESERVED:
        return chr(octet)
    if octet < 0x20 or octet == 0x7F:
        raise CanonicalError("path.control", f'path "{_shown(raw)}" encodes a control character; remove it')
    if octet == 0x5C:
        raise CanonicalError("path.backslash", f'path "{_shown(raw)}" holds a backslash, which some read as "/"')
    return f"%{octet:02X}"


def _replaced(odds: re.Pattern[str], escape: Callable[[re.Match[str]], str], raw: str) -> str:
    """`re.sub`, which would leave out what `escape` has no text for; here that is an error, and nothing is judged."""
    pieces: list[str] = []
    end = 0
    for odd in odds.finditer(raw):
        pieces += (raw[end : odd.start()], escape(odd))
        end = odd.end()
    return "".join((*pieces, raw[end:]))


def _octet(odd: re.Match[str], code: str, raw: str) -> int:
    if odd["illegal"]:
        return ord(odd["illegal"])
    if not odd["hex"]:
        raise CanonicalError(code, f'"{_shown(raw)}" holds a "%" without two hex digits; write %25')
    return int(odd["hex"], 16)


def _canonical_query(raw: str) -> str:
    if len(raw) > MAX_QUERY_CHARS:
        raise CanonicalError("query.too-long", f"the query has more than {MAX_QUERY_CHARS} characters")
    if _QUERY_PLAIN.fullmatch(raw):
        return raw
    if ";" in raw:
        # A separator to some (HTML 4.01 B.2.2), text to others.
        raise CanonicalError("query.separator", 'the query holds ";", which some read as "&"; write & or %3B')

    def escape(odd: re.Match[str]) -> str:
        octet = _octet(odd, "query.escape", raw)
        if octet == 0:
            raise CanonicalError("query.nul", "the query encodes a NUL; remove it")
        return chr(octet) if octet in _UNRESERVED else f"%{octet:02X}"

    return _replaced(_ODD_IN_QUERY, escape, raw)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    if text.count("&") >= MAX_QUERY_PARAMETERS:
        raise CanonicalError("query.too-many", f"the query has more than {MAX_QUERY_PARAMETERS} parameters")
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    if "%" in text:
        return tuple([(_decoded(name), _decoded(value)) for name, _, value in pairs])
    if "+" in text:
        return tuple([(name.replace("+", " "), value.replace("+", " ")) for name, _, value in pairs])
    return tuple([(name, value) for name, _, value in pairs])


def _decoded(text: str) -> str:
    if "%" not in text:
        return text.replace("+", " ")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise CanonicalError("query.not-utf-8", "the query does not decode as UTF-8") from None


def _shown(text: str) -> str:
    """Return a short, printable form: these messages reach logs and terminals."""
    cut = text if len(text) <= 80 else text[:77] + "..."
    return printable(cut)
