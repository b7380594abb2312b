"""Read recorded traffic: the requests of an HTTP Archive 1.2 (softwareishard.com/blog/har-12-spec), one by one.

Recorders differ, so whatever naming a request does not take may be missing. What was recorded wrongly is never
repaired: an entry without one reading has a fault, and a body that the recorder lost or cut is a body not read.
Faults are told by position, as ``log.entries[N]`` of the file.

    {"request": {"method": "GET", "url": "https://api.acme.test/x", "headers": []}}
    {"request": {"url": "https://api.acme.test/x"}}         fault: request.method is missing; a text is needed
    {"request": {..., "postData": {"text": "?", "encoding": "base64"}}}     fault: postData.text is not base64
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from chron import printable, redacted_path
from proxy.facts import Inbound
from proxy.offline import shown_url, split_url

_FORM = "application/x-www-form-urlencoded"
_LOST = "\ufffd"
"""REPLACEMENT CHARACTER: what a recorder writes for bytes that were no text."""


class HarError(Exception):
    """The file is no HTTP Archive; one line."""


class _EntryError(ValueError):
    """An entry has no reading."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded request."""

    at: int
    """Its place in ``log.entries``, from 0."""
    method: str
    url: str
    """To be shown: without query, user and password, and with what looks like a token in the path masked."""
    inbound: Inbound | None
    """None when there is a fault."""
    body: bytes | None
    """b"" when there was none, None when it was not recorded as it was sent."""
    fault: str = ""


def read_har(content: bytes) -> list[Recorded]:
    """Return every recorded request; raise HarError when the file as such cannot be read."""
    try:
        # The format is UTF-8, and a byte order mark is allowed.
        archive = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise HarError("is not UTF-8; export it anew") from None
    except (ValueError, RecursionError):
        raise HarError("is not JSON; export it anew") from None
    log = archive.get("log") if isinstance(archive, dict) else None
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise HarError("has no log.entries; is it an HTTP Archive (.har)?")
    return [_recorded(at, entry) for at, entry in enumerate(entries)]


def _recorded(at: int, entry: object) -> Recorded:
    request = entry.get("request") if isinstance(entry, dict) else None
    request = request if isinstance(request, dict) else {}
    method, url = _shown(request, "method"), _shown(request, "url")
    try:
        inbound = _inbound(request)
        return Recorded(at, method, url, inbound, _body(request, inbound))
    except _EntryError as error:
        return Recorded(at, method, url, None, None, _writable(str(error)))


def _shown(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        return ""
    return _writable(redacted_path(shown_url(value)) if name == "url" else value[:64])


def _writable(text: str) -> str:
    """Return a text on one line, without half characters, which no terminal and no file takes."""
    return printable(text.encode("utf-8", "backslashreplace").decode())


def _text(holder: Mapping[str, Any], name: str, where: str = "request") -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise _EntryError(f"{where}.{name} is missing; a text is needed")
    return value


def _inbound(request: Mapping[str, Any]) -> Inbound:
    method, url = _text(request, "method"), _text(request, "url")
    try:
        scheme, authority, target = split_url(url)
    except ValueError as error:
        raise _EntryError(str(error)) from None
    fields = list(_fields(request))
    named = {name.lower() for name, _ in fields}
    media_type = _post_data(request).get("mimeType")
    if b"content-type" not in named and isinstance(media_type, str) and media_type:
        # Some recorders leave headers out and keep the type only here.
        fields.append((b"content-type", _encoded(media_type)))
    if b"host" not in named:
        # The authority of HTTP/2, where it was kept, has to agree with the URL as a Host field would.
        fields += [(b"host", value) for name, value in _pseudo(request) if name == ":authority"]
    return Inbound(method, scheme, target, tuple(fields), "", uri_authority=authority)


def _fields(request: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in _headers(request):
        if not name.startswith(":"):
            yield _encoded(name), _encoded(value)


def _pseudo(request: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield HTTP/2's pseudo-header fields (RFC 9113, 8.3.1), which browsers list among the headers."""
    for name, value in _headers(request):
        if name.startswith(":"):
            yield name, _encoded(value)


def _headers(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    headers = request.get("headers") or []
    if not isinstance(headers, list):
        raise _EntryError("request.headers is no list")
    for at, header in enumerate(headers):
        if not isinstance(header, dict):
            raise _EntryError(f"request.headers[{at}] is no object with name and value")
        value = header.get("value", "")
        if not isinstance(value, str):
            raise _EntryError(f"request.headers[{at}].value is no text")
        yield _text(header, "name", f"request.headers[{at}]"), value


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _EntryError("a header holds half a character; it was not recorded as it was sent") from None


# --- bodies ---


def _post_data(request: Mapping[str, Any]) -> Mapping[str, Any]:
    found = request.get("postData")
    return found if isinstance(found, dict) else {}


def _body(request: Mapping[str, Any], inbound: Inbound) -> bytes | None:
    data = _post_data(request)
    size = request.get("bodySize")
    text, params = data.get("text"), data.get("params")
    body: bytes | None
    if isinstance(text, str) and (text or not params):
        body = _body_of_text(text, data)
    elif isinstance(params, list) and params:
        body = _body_of_params(params, data)
    else:
        body = b""
    if body is None or (not body and _declares_body(inbound)):
        return None
    # -1 says that the size is not known; more than what is here says that the recorder cut it.
    return None if isinstance(size, int) and size > len(body) else body


def _body_of_text(text: str, data: Mapping[str, Any]) -> bytes | None:
    # "encoding" is no part of HAR 1.2 here (only of the response's content), but recorders write it for binary bodies.
    encoding = data.get("encoding") or ""
    if encoding == "base64":
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise _EntryError("postData.text is not base64, as postData.encoding says") from None
    if encoding:
        raise _EntryError('postData.encoding is not one that is known; "base64" is')
    if _LOST in text:
        return None
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _body_of_params(params: list[object], data: Mapping[str, Any]) -> bytes | None:
    """Return the form that was posted; None for files and multipart, whose bytes a recorder does not keep."""
    pairs: list[tuple[str, str]] = []
    for param in params:
        name, value = (param.get("name"), param.get("value", "")) if isinstance(param, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(value, str):
            raise _EntryError("postData.params holds something other than names and values")
        if isinstance(param, dict) and (param.get("fileName") or param.get("encoding")):
            return None
        pairs.append((name, value))
    media_type = str(data.get("mimeType") or "").partition(";")[0].strip().lower()
    try:
        return urlencode(pairs).encode() if media_type in ("", _FORM) else None
    except UnicodeEncodeError:
        return None


def _declares_body(inbound: Inbound) -> bool:
    fields = {name.lower(): value.strip() for name, value in inbound.fields}
    return b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"
