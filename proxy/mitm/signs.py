"""Signs of life for a client whose request waits for a person: interim responses, now and then and not too many.

Of the 1xx responses `100 Continue` is the one that every client passes over, asked for or not (RFC 9110, 15.2; tried
with curl, Python, Node, Java and Go's own limit in mind: net/http gives up at the sixth one). They keep idle timers on
the way from running out; a client's own total timeout they do not stop. HTTP/2 has pings of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable

from proxy.timers import Handle, Later

_MOST = 4
"""Go's net/http takes five interim responses, and one may have been asked for by `Expect`."""


class SignsOfLife:
    """Calls `send` every so many seconds until it is cancelled or has called often enough."""

    def __init__(self, send: Callable[[], Awaitable[None]], every_s: float, later: Later) -> None:
        self._send = send
        self._every_s = every_s
        self._later = later
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
        self._timer = self._later(self._every_s, self._due) if self._sent < _MOST else None
        self._task = asyncio.ensure_future(self._send())
