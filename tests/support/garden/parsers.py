"""Readers that take bytes: h11, httptools (llhttp), aiohttp, gunicorn and waitress, as they read for a server."""

import asyncio
from collections.abc import Callable, Iterator

import h11
import httptools
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from support.garden.reading import Read, Reading, Route

_MOST = 1 << 20
"""Of a line or a head; what servers take by default differs, and is not what is compared."""


def read_h11(stream: bytes) -> Reading:
    """By h11, strict and pure Python; the reader under httpx and hypercorn."""
    found: list[Read] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
    connection.receive_data(stream)
    head, body = None, b""
    try:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                host = [value.decode("latin-1") for name, value in head.headers if name == b"host"]
                found.append(Read(head.method.decode(), head.target.decode("latin-1"), ",".join(host), body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
    except h11.ProtocolError as error:
        return Reading(tuple(found), str(error))
    return Reading(tuple(found))


class _Llhttp:
    """Callbacks of httptools."""

    def __init__(self) -> None:
        self.found: list[Read] = []

    def on_message_begin(self) -> None:
        self.target, self.host, self.body = b"", list[bytes](), b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.host.append(value)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        host = b",".join(self.host).decode("latin-1")
        self.found.append(Read(self.parser.get_method().decode(), self.target.decode("latin-1"), host, self.body))


def read_httptools(stream: bytes) -> Reading:
    """By httptools, which is llhttp; the reader under uvicorn."""
    seen = _Llhttp()
    seen.parser = httptools.HttpRequestParser(seen)
    try:
        seen.parser.feed_data(stream)
    except httptools.HttpParserUpgrade as upgrade:
        # As a server does that stays with HTTP: what follows is the next request.
        rest = read_httptools(stream[upgrade.args[0] :])
        return Reading((*seen.found, *rest.requests), rest.fault)
    except httptools.HttpParserError as error:
        return Reading(tuple(seen.found), str(error))
    return Reading(tuple(seen.found))


def read_aiohttp(stream: bytes) -> Reading:
    """By aiohttp's own binding of llhttp, and its reader of URLs."""
    loop = asyncio.new_event_loop()
    try:
        protocol = BaseProtocol(loop)
        parser = HttpRequestParser(
            protocol, loop, 2**20, max_line_size=_MOST, max_headers=_MOST, max_field_size=_MOST, auto_decompress=False
        )
        found, routes, fault = [], [], ""
        while stream:
            try:
                messages, upgraded, stream = parser.feed_data(stream)
            except HttpProcessingError as error:
                fault, stream = str(error), b""
                messages, upgraded = (), False
            for message, payload in messages:
                if payload is not EMPTY_PAYLOAD and not payload.is_eof():
                    break  # its end has not come
                body = b"" if payload is EMPTY_PAYLOAD else bytes(payload.read_nowait(-1))
                host = ",".join(message.headers.getall("Host", []))
                found.append(Read(message.method, message.path, host, body))
                routes.append(Route(message.url.path, tuple(message.url.query.items())))
            if not upgraded:
                break
            parser.set_upgraded(False)
        return Reading(tuple(found), fault, tuple(routes))
    finally:
        loop.close()


_GUNICORN = Config()
for _name, _value in {"limit_request_line": 0, "limit_request_field_size": 0, "limit_request_fields": 32_768}.items():
    _GUNICORN.set(_name, _value)


def read_gunicorn(stream: bytes) -> Reading:
    """By gunicorn's own parser, in pure Python."""
    found: list[Read] = []
    try:
        for request in RequestParser(_GUNICORN, iter([stream]), ("127.0.0.1", 1)):
            host = ",".join(value for name, value in request.headers if name == "HOST")
            found.append(Read(request.method, request.uri, host, request.body.read()))
    except StopIteration:
        pass
    except Exception as error:  # its own classes, of no common parent
        return Reading(tuple(found), f"{type(error).__name__}: {error}")
    return Reading(tuple(found))


_WAITRESS = Adjustments(max_request_header_size=_MOST)


def read_waitress(stream: bytes) -> Reading:
    """By waitress."""
    found: list[Read] = []
    for request in _waitress(stream):
        if request.error is not None:
            return Reading(tuple(found), str(request.error.body))
        body = request.get_body_stream().read()
        found.append(Read(request.command, request.request_uri, request.headers.get("HOST", ""), body))
    return Reading(tuple(found))


def _waitress(stream: bytes) -> Iterator[HTTPRequestParser]:
    parser = HTTPRequestParser(_WAITRESS)
    while stream:
        stream = stream[parser.received(stream) :]
        if parser.completed:
            if not parser.empty:
                yield parser
            parser = HTTPRequestParser(_WAITRESS)


PARSERS: dict[str, Callable[[bytes], Reading]] = {
    "h11": read_h11,
    "httptools": read_httptools,
    "aiohttp": read_aiohttp,
    "gunicorn": read_gunicorn,
    "waitress": read_waitress,
}
