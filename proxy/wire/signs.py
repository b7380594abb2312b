"""Signs of life for a client whose request waits for a person: interim responses, now and then and not too many.

A client must be able to read interim responses that it did not ask for (RFC 9110, 15.2), but not every one does,
and no status suits all: Python passes over 100 alone, Node's fetch takes 100 for a broken response. So they are sent
to clients that were tried, by what they say they are; believing a client that lies costs nobody but itself. They keep
idle timers, the client's own and those on the way, from running out; a client's total timeout they do not stop.
HTTP/2 has pings, which every client answers.
"""

import asyncio
from collections.abc import Awaitable, Callable

from proxy.timers import Handle, Later

MOST = 4
"""Go's net/http gives up at the sixth interim response, and whoever is on the way may be written in it."""
_PASS_OVER = ("curl/", "Python-urllib/", "python-requests/", "python-httpx/", "Boto3/", "aws-cli/", "Java")
"""How the User-Agent of clients begins that pass over 100 Continue; tests/clients/test_waiting.py tries them."""


def passes_over(method: str, version: bytes, user_agent: str) -> bool:
    """Say whether a client is known to pass over interim responses that it did not ask for.

    None is sent to a client of HTTP/1.0 (RFC 9110, 15.2). Nor for a CONNECT: many clients take the first answer to one
    for the last.
    """
    return method != "CONNECT" and version == b"HTTP/1.1" and user_agent.startswith(_PASS_OVER)


class SignsOfLife:
    """Calls `send` every so many seconds until it is cancelled or has called often enough."""

    def __init__(self, send: Callable[[], Awaitable[None]], every_s: float, later: Later, most: float = MOST) -> None:
        self._send = send
        self._every_s = every_s
        self._later = later
        self._most = most
        self._sent = 0
        self._task: asyncio.Future[None] | None = None
        self._timer: Handle | None = later(every_s, self._due) if every_s else None

    def cancel(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._sent += 1
        self._timer = self._later(self._every_s, self._due) if self._sent < self._most else None
        self._task = asyncio.ensure_future(self._send())
