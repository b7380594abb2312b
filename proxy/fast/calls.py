"""What an exchange is made of, whatever versions of HTTP its two sides speak.

A `Call` is a request as its agent makes it, an `Asked` is the same request as its target gets it. `proxy.fast.http1`
has one of each, for HTTP/2 `proxy.fast.http2agents` and `proxy.fast.http2targets`.
"""

from collections.abc import Callable
from typing import Protocol

from proxy.fast.heads import AnswerHead, Fields, RequestHead
from proxy.fast.streams import Stream


class Gone(Exception):
    """The agent has given the request up, or its connection is gone."""


class Broken(Exception):
    """The target has broken off, or what it sends is no answer; the text says what."""

    unprocessed = False
    """Whether the target has said that it did nothing of the request (RFC 9113, 8.7): it may be sent again."""


class Call(Protocol):
    """A request of an agent and the way its answer takes."""

    head: RequestHead
    http2: bool
    bodiless: bool
    """Whether the head alone says that there is no body."""
    leave: Callable[[], None]
    """Called when the agent gives this request up and not its connection."""
    malformed: str | None
    """Why the head has no single reading; None when it has one."""

    async def read(self) -> bytes | None:
        """The next piece of the body, None at its end. Raises Gone, or NotHttp where it is none."""

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""

    def interim(self, status: int, fields: Fields = ()) -> None:
        """Send an interim response (RFC 9110, 15.2), where the agent can read one."""

    def sign_of_life(self) -> None:
        """Show that the request still waits: the agent's own timer, and those on the way, begin anew."""

    def begin(self, status: int, phrase: bytes, fields: Fields, method: str) -> None:
        """Send the head of the answer."""

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body, and wait while the agent reads too slowly. Raises Gone."""

    async def end(self, trailers: Fields = ()) -> None:
        """End the answer. Raises Gone."""

    def last(self) -> None:
        """No request follows this one on its connection: what is left of its body is in the way."""

    def abort(self) -> None:
        """Break the answer off so that the agent sees that it is not whole."""

    def switch(self) -> Stream:
        """The connection itself, after a 101 was sent: what follows is no HTTP."""


class Asked(Protocol):
    """A request on its way to a target, and its answer."""

    heard: bool
    """Whether anything was heard of the target since."""

    async def send(self, data: bytes) -> None:
        """Send a piece of the body, and wait while the target reads too slowly. Raises Broken."""

    async def end(self, body_bytes: int) -> None:
        """End the request, whose body has so many bytes. Raises Broken, and RuntimeError when not all were sent."""

    async def answer(self) -> AnswerHead:
        """The head of the answer, or of an interim response; raises Broken."""

    async def read(self) -> bytes | None:
        """The next piece of the answer's body, None at its end; raises Broken."""

    @property
    def trailers(self) -> Fields:
        """What came behind the body."""

    def switch(self) -> Stream:
        """The connection itself, after a 101: what follows is no HTTP."""

    def release(self) -> None:
        """Let the connection be used again when the answer was read to its end and the request sent; else end it."""

    def abort(self) -> None:
        """End the request: its target must not take it for whole."""


def check_whole(sent_bytes: int, body_bytes: int) -> None:
    """Raises RuntimeError where not just the body was sent: ended, it would be another than was judged."""
    if sent_bytes != body_bytes:
        raise RuntimeError(f"{sent_bytes} of {body_bytes} bytes of a body were sent")
