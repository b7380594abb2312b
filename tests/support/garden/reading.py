"""What a reader makes of a stream: its requests, and where it would route them."""

from dataclasses import dataclass

END_TARGET = "/garden/end"
END = f"GET {END_TARGET} HTTP/1.1\r\nHost: end.test\r\nConnection: close\r\n\r\n".encode()
"""Put behind a stream that does not end by itself: servers let go of the connection, and one out of step shows it."""


def leaves(request: bytes) -> bool:
    """Whether a server may end the connection behind this request, or speak something else there."""
    head = request.partition(b"\r\n\r\n")[0].lower()
    return b"\r\nconnection:" in head or b"\r\nupgrade:" in head or not head.partition(b"\r\n")[0].endswith(b"1.1")


@dataclass(frozen=True, slots=True)
class Read:
    """One request."""

    method: str
    target: str
    """As it stands in the request line."""
    host: str
    """The value of the field."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """Where an application behind the reader finds itself."""

    path: str
    """Decoded as far as that server decodes it."""
    query: tuple[tuple[str, str], ...] | str
    """Pairs, or the raw text where the server decodes none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole stream."""

    requests: tuple[Read, ...]
    fault: str = ""
    """Why it stopped; "" when it read everything."""
    routes: tuple[Route, ...] = ()
    """By request, where the reader routes."""
