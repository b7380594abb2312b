"""Trailers: fields that come behind a body. Those of a request go nowhere, those of a response go on unless forbidden.

A request is judged by its head and its body, so what follows them was judged by nobody; whoever gets a request without
its trailers has all that the protocol promises (RFC 9110, 6.5.1). Of a response the agent gets them, because gRPC says
there how a call ended, but for what belongs into a head: a reader that merged it would frame, cache or believe
something else than what the head said.

mitmproxy carries trailers over HTTP/2 alone; here its HTTP/1 connections learn to read and to write them.
"""

from collections.abc import Generator
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseEndOfMessage, ResponseTrailers
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, TBodyReader

from proxy.wire.passing import fit_trailers

type _Commands = Generator[commands.Command, Any, None]

MAX_SECTION_BYTES = 64 * 1024
"""What is kept of a chunk's head or of trailers that have not ended; as much as a head may have."""


def fit_to_pass(trailers: http.Headers) -> http.Headers:
    """The trailers of a response that an agent gets, their names as HTTP/2 wants them."""
    return http.Headers(fit_trailers(trailers.fields))


class SetAside:
    """Reads a body as the reader inside it does; trailers, for which the engine has no place, are kept here."""

    def __init__(self, reader: TBodyReader) -> None:
        self._reader = reader
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """The next part of the body, None when more bytes are needed; raises h11.ProtocolError."""
        found = self._reader(buffer)
        if found is None and len(buffer) > MAX_SECTION_BYTES:
            raise h11.RemoteProtocolError("a chunk's head or the trailers are too long")
        if isinstance(found, h11.EndOfMessage) and found.headers:
            self.trailers = tuple(found.headers.raw_items())
            return h11.EndOfMessage()
        return found

    def read_eof(self) -> h11.EndOfMessage:
        """What the end of the connection means; raises h11.ProtocolError where it is none of the body."""
        return self._reader.read_eof()


class ReadsTrailers(Http1Connection):
    """An HTTP/1 connection whose bodies may end in trailers."""

    _set_aside: SetAside

    @property  # type: ignore[override]
    def body_reader(self) -> SetAside:
        """What reads the body that is on its way."""
        return self._set_aside

    @body_reader.setter
    def body_reader(self, reader: TBodyReader) -> None:
        self._set_aside = SetAside(reader)


class PassesTrailers(ReadsTrailers, Http1Client):
    """An HTTP/1 connection to a target: trailers of a response are passed on."""

    def read_body(self, event: events.Event) -> _Commands:
        """Read a body; before its end is told, its trailers are."""
        stream = self.stream_id
        for command in super().read_body(event):
            ends = isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseEndOfMessage)
            if ends and stream is not None and self.body_reader.trailers:
                trailers = http.Headers(self.body_reader.trailers)
                yield ReceiveHttp(ResponseTrailers(stream, trailers))
            yield command


def last_chunk(trailers: http.Headers | None) -> bytes:
    """The end of a chunked body (RFC 9112, 7.1)."""
    fields = trailers.fields if trailers is not None else ()
    return b"0\r\n" + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n"
