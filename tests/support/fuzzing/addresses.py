"""Hosts and request targets: one form each, and every other reader of that form reads what we read."""

import ipaddress
import posixpath
import re
import socket
from urllib.parse import parse_qsl, unquote, urlsplit

from yarl import URL

from mappings.canonical import CanonicalError, canonical_host, canonical_target, split_authority
from mappings.hosts import HostIndex, covers, host_pattern, specificity
from mappings.paths import split_path
from support.fuzzing.harness import Harness, lines_of, refusal


def host(data: bytes) -> str:
    """The first line is a host or authority, the others are patterns."""
    text, *patterns = lines_of(data, 8)
    try:
        name = canonical_host(text)
    except CanonicalError as error:
        return refusal(error, r"host\.[a-z0-9-]+")
    assert canonical_host(name) == name
    assert canonical_host(name.upper()) == name
    assert re.fullmatch(r"[a-z0-9_.:-]+", name)
    assert len(name) <= 253
    _address(name)
    in_url = f"[{name}]" if ":" in name else name
    assert split_authority(in_url, 443) == (name, 443)
    assert split_authority(f"{in_url}:8443", 443) == (name, 8443)
    # Readers of URLs that the code behind the gate may use.
    assert urlsplit(f"http://{in_url}:1/").hostname == name
    assert URL(f"http://{in_url}:1/", encoded=True).raw_host == name
    _patterns(name, patterns)
    return "read"


def _address(name: str) -> None:
    """What anybody takes for an address is one to us too, in its one spelling."""
    try:
        packed = socket.inet_aton(name)  # the most lenient reader there is: "127.1", "0x7f.1", "017700000001"
    except OSError:
        packed = None
    if packed is not None:
        assert name == str(ipaddress.IPv4Address(packed))
    if ":" in name:
        assert name == str(ipaddress.IPv6Address(name))
        assert ipaddress.IPv6Address(name).ipv4_mapped is None


def _patterns(name: str, texts: list[str]) -> None:
    index: HostIndex[str] = HostIndex()
    known = []
    for text in texts:
        try:
            pattern = host_pattern(text)
        except ValueError as error:
            refusal(error)
            continue
        assert host_pattern(pattern) == pattern
        assert pattern != "*"
        index.put(pattern, pattern)
        known.append(pattern)
    # Label by label from the right, which no suffix of letters can fool.
    labels = name.split(".")
    expected = {
        pattern
        for pattern in known
        if (
            pattern[2:].split(".") == labels[-pattern.count(".") :] and len(labels) > pattern.count(".")
            if pattern.startswith("*.")
            else pattern == name
        )
    }
    assert {pattern for _, pattern in index.find(name)} == expected
    assert {pattern for pattern in known if covers(pattern, name)} == expected
    ranks = [rank for rank, _ in index.find(name)]
    assert ranks == sorted(ranks, reverse=True)
    assert all(rank == specificity(pattern) for rank, pattern in index.find(name))


def target(data: bytes) -> str:
    """The whole input is a request target."""
    raw = data.decode("latin-1")
    try:
        found = canonical_target(raw)
    except CanonicalError as error:
        return refusal(error, r"(path|query)\.[a-z0-9-]+")
    wire = found.wire
    assert canonical_target(wire) == found
    assert re.fullmatch(r"/[\x21-\x7e]*", wire)
    assert not set(wire) & set('"<>\\^`{|}#')
    assert all(re.fullmatch(r"[0-9A-F]{2}", wire[at + 1 : at + 3]) for at, sign in enumerate(wire) if sign == "%")
    _path(found.path)
    _query(found.query_text, found.query)
    return "read"


def _path(path: str) -> None:
    segments = split_path(path)
    if segments is None:  # more segments than any template has
        return
    assert "/".join(unquote(segment) for segment in path.strip("/").split("/")) == "/".join(segments)
    # Whoever takes %2F for a slash, or decodes twice, still climbs nowhere and cuts nowhere else.
    for reading in (path, unquote(path), unquote(unquote(path))):
        assert not {".", ".."} & set(reading.split("/"))
        assert not re.search(r"[\x00-\x1f\x7f\\]", reading)
    assert unquote(unquote(path)) == unquote(path) or "%25" in path
    assert posixpath.normpath(path) == (path.rstrip("/") or "/")
    # aiohttp and others of the same reader of URLs.
    url = URL(f"http://h{path}", encoded=True)
    assert url.raw_path == path
    assert url.path == unquote(path)


def _query(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    read = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=2000)
    assert list(pairs) == read
    assert list(URL(f"http://h/?{text}", encoded=True).query.items()) == read


HARNESSES = (
    Harness(
        "host",
        host,
        (
            b"\n",
            "。".encode(),
            "ß".encode(),
            *b"xn--|.|[::|]|*.|0x|::ffff:|%25|127.0.0.1".split(b"|"),
        ),
        512,
    ),
    Harness(
        "target",
        target,
        (b"%2e", b"%2F", b"%25", b"%5c", b"..", b"/./", b"//", b";", b"%c3%a9", b"%ef%bc%8f", b"%00", b"?", b"&", b"+"),
    ),
)
