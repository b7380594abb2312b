"""Recorded requests are read as they were sent, or not at all."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.har import HarError, read_har
from proxy.offline import shown_url, split_url

URL = "https://api.acme.test/x"


def archive(*requests: object) -> bytes:
    """Return an HTTP Archive of these requests."""
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": each} for each in requests]}}).encode()


def one(**request: Any) -> Any:
    """Return what is read of one request."""
    (recorded,) = read_har(archive({"method": "POST", "url": URL, **request}))
    return recorded


def body_of(**request: Any) -> bytes | None:
    """Return the body of one request, which has no fault."""
    recorded = one(**request)
    assert recorded.fault == ""
    body: bytes | None = recorded.body
    return body


NO_ARCHIVE = {
    "no JSON": (b"PK\x03\x04", "is not JSON"),
    "empty": (b"", "is not JSON"),
    "UTF-16": ("\ufeff{}".encode("utf-16-le"), "is not UTF-8"),
    "another document": (b'{"openapi": "3.1.0"}', "has no log.entries"),
    "a list": (b"[]", "has no log.entries"),
    "log is a text": (b'{"log": "x"}', "has no log.entries"),
    "entries is no list": (b'{"log": {"entries": {}}}', "has no log.entries"),
    "too deep": (b"[" * 100_000, "is not JSON"),
}


@pytest.mark.parametrize(("content", "said"), NO_ARCHIVE.values(), ids=NO_ARCHIVE)
def test_what_is_no_archive_is_refused_as_a_whole(content: bytes, said: str) -> None:
    """One line, never a trace."""
    with pytest.raises(HarError) as caught:
        read_har(content)
    assert str(caught.value).startswith(said)


def test_a_byte_order_mark_and_an_empty_log() -> None:
    """The format allows a BOM; a log without traffic has no requests."""
    assert read_har(b"\xef\xbb\xbf" + archive()) == []


def test_only_method_and_url_are_needed() -> None:
    """Recorders leave things out; what names a request is there."""
    (recorded,) = read_har(archive({"method": "GET", "url": "https://api.acme.test:8443/a?b=c#d"}))
    assert recorded.inbound is not None
    assert (recorded.inbound.scheme, recorded.inbound.uri_authority) == ("https", "api.acme.test:8443")
    assert recorded.inbound.target == "/a?b=c"
    assert (recorded.at, recorded.body, recorded.fault) == (0, b"", "")


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no method": ({"method": None}, "request.method is missing"),
    "empty method": ({"method": ""}, "request.method is missing"),
    "no URL": ({"url": None}, "request.url is missing"),
    "relative URL": ({"url": "/x"}, "is no http:// or https:// URL"),
    "data URL": ({"url": "data:text/plain,hunter2"}, "is no http:// or https:// URL"),
    "extension": ({"url": "chrome-extension://abc/x"}, "is no http:// or https:// URL"),
    "headers are an object": ({"headers": {"a": "b"}}, "request.headers is no list"),
    "a header is a text": ({"headers": ["a: b"]}, "request.headers[0] is no object"),
    "a header has no name": ({"headers": [{"value": "b"}]}, "request.headers[0].name is missing"),
    "a header's value is a number": ({"headers": [{"name": "a", "value": 1}]}, "request.headers[0].value is no text"),
    "half a character": ({"headers": [{"name": "a", "value": "\ud800"}]}, "a header holds half a character"),
    "not base64": ({"postData": {"text": "?", "encoding": "base64"}}, "postData.text is not base64"),
    "unknown encoding": ({"postData": {"text": "x", "encoding": "rot13"}}, "postData.encoding is not one"),
    "params are texts": ({"postData": {"params": ["a=b"]}}, "postData.params holds something other"),
}


@pytest.mark.parametrize(("request_", "said"), FAULTS.values(), ids=FAULTS)
def test_an_entry_without_one_reading_has_a_fault(request_: dict[str, Any], said: str) -> None:
    """It is told, never repaired, and the other entries are read all the same."""
    bad, good = read_har(archive({"method": "POST", "url": URL, **request_}, {"method": "GET", "url": URL}))
    assert said in bad.fault
    assert bad.inbound is None
    assert (good.at, good.fault) == (1, "")


@pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"request": None}, {"request": []}])
def test_an_entry_that_is_none(entry: object) -> None:
    """Whatever stands in the list, it is one faulty entry."""
    (recorded,) = read_har(json.dumps({"log": {"entries": [entry]}}).encode())
    assert recorded.fault == "request.method is missing; a text is needed"


BODIES: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "none": ({}, b""),
    "null": ({"postData": None}, b""),
    "text": ({"postData": {"text": '{"a": "ü"}'}}, '{"a": "ü"}'.encode()),
    "base64": ({"postData": {"text": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"}}, b"\x00\xff"),
    "base64 in lines": ({"postData": {"text": "AP\n8=", "encoding": "base64"}}, b"\x00\xff"),
    "text and params": ({"postData": {"text": "a=1", "params": [{"name": "a", "value": "2"}]}}, b"a=1"),
    "params": ({"postData": {"params": [{"name": "a b", "value": "&"}, {"name": "c"}]}}, b"a+b=%26&c="),
    "size unknown": ({"bodySize": -1}, b""),
    "size larger in text": ({"bodySize": 2, "postData": {"text": "é"}}, "é".encode()),
    # From here on: not as it was sent, so not read.
    "cut": ({"bodySize": 9, "postData": {"text": "abc"}}, None),
    "left out": ({"bodySize": 9}, None),
    "left out, and only the header says so": ({"headers": [{"name": "Content-Length", "value": "9"}]}, None),
    "left out of a chunked one": ({"headers": [{"name": "Transfer-Encoding", "value": "chunked"}]}, None),
    "bytes that were no text": ({"postData": {"text": "a\ufffdb"}}, None),
    "half a character": ({"postData": {"text": "\ud800"}}, None),
    "a file": ({"postData": {"params": [{"name": "f", "fileName": "a.zip"}]}}, None),
    "multipart": ({"postData": {"mimeType": "multipart/form-data", "params": [{"name": "f", "value": "1"}]}}, None),
}


@pytest.mark.parametrize(("request_", "body"), BODIES.values(), ids=BODIES)
def test_bodies(request_: dict[str, Any], body: bytes | None) -> None:
    """A body is the bytes that were sent, or None: one that the recorder lost or cut is never guessed."""
    assert body_of(**request_) == body


def test_headers_of_http_2() -> None:
    """Pseudo-header fields are no headers; the authority among them must agree with the URL as Host would."""
    pseudo = [{"name": ":authority", "value": "evil.test"}, {"name": ":path", "value": "/x"}]
    recorded = one(headers=[*pseudo, {"name": "accept", "value": "*/*"}])
    assert recorded.inbound.fields == ((b"accept", b"*/*"), (b"host", b"evil.test"))
    both = one(headers=[*pseudo, {"name": "Host", "value": "api.acme.test"}])
    assert both.inbound.fields == ((b"Host", b"api.acme.test"),)


def test_the_type_that_stands_only_beside_the_body() -> None:
    """It counts when the headers were left out, and never goes before one of them."""
    data = {"mimeType": "application/json", "text": "{}"}
    assert one(postData=data).inbound.fields == ((b"content-type", b"application/json"),)
    typed = one(postData=data, headers=[{"name": "Content-Type", "value": "text/plain"}])
    assert typed.inbound.fields == ((b"Content-Type", b"text/plain"),)


def test_what_is_shown_holds_no_secret() -> None:
    """Neither a query, nor a password, nor a token in the path."""
    token = "ghp_" + "a1B2" * 9
    recorded = one(url=f"https://u:hunter2@api.acme.test/t/{token}/x?sig=s3cret#frag")
    assert recorded.url == "https://api.acme.test/t/[redacted]/x"
    (faulty,) = read_har(archive({"method": "GET", "url": "ftp://u:hunter2@a.test/?sig=s3cret"}))
    assert "hunter2" not in faulty.fault + faulty.url
    assert "s3cret" not in faulty.fault + faulty.url


def test_a_web_socket_is_the_request_that_opens_it() -> None:
    """`wss://` is https on the wire."""
    assert split_url("wss://a.test/live") == ("https", "a.test", "/live")
    assert split_url("WS://a.test?x") == ("http", "a.test", "/?x")


def test_a_long_url_that_is_none_is_cut() -> None:
    """A `data:` URL is its content."""
    assert len(shown_url("data:" + "x" * 10_000)) == 80


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_HEADERS = st.lists(st.fixed_dictionaries({}, optional={"name": _VALUES, "value": _VALUES}), max_size=3)
_POST_DATA = st.fixed_dictionaries(
    {}, optional={"text": _VALUES, "params": _VALUES, "mimeType": _VALUES, "encoding": st.just("base64") | _VALUES}
)
_REQUESTS = st.fixed_dictionaries(
    {"method": st.just("POST") | _VALUES, "url": st.just(URL) | st.text(max_size=20) | _VALUES},
    optional={"headers": _HEADERS | _VALUES, "postData": _POST_DATA | _VALUES, "bodySize": _VALUES},
)


@given(st.lists(_REQUESTS, max_size=3))
def test_whatever_stands_in_a_log_is_read_or_told(requests: list[dict[str, Any]]) -> None:
    """Always one answer for each entry: a request, or a fault of one line."""
    read = read_har(archive(*requests))
    assert [each.at for each in read] == list(range(len(requests)))
    for each in read:
        assert (each.inbound is None) is bool(each.fault)
        assert "\n" not in each.fault
