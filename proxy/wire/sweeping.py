"""Stops what is still open of agents that may no longer act: streams, WebSockets, downloads, calls under way.

Each request is judged when it comes. What goes on after that is asked about again after every reload, and when the
first known end comes: of an agent, a human, a token, a grant, or of what proved a connection's agent. What was cut
stands in the Chron twice: as the outcome of each exchange, and as one record for each agent.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Protocol

from policies import Credential, Decision
from policies.ends import next_end
from proxy.pipeline import Gate

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 60.0
"""The longest wait for an end that is known: a clock that was set must not keep a stream open for hours."""

type Refusing = Callable[[Credential], Decision | None]


class Connection(Protocol):
    """What can be swept."""

    def cut(self, refusal: Refusing) -> list[Decision]: ...
    def abort(self) -> None: ...
    def ends(self) -> Iterable[datetime | None]: ...


class Sweeper:
    """Looks through the open connections; lives in the gate's event loop."""

    def __init__(self, gate: Gate, connections: Collection[Connection]) -> None:
        self._gate = gate
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self._next: datetime | None = None

    def sweep(self) -> None:
        """Cut what belongs to agents that may not act now, record it, and wait for the next end."""
        asked: dict[Credential, Decision | None] = {}
        # One moment for all: what ended between two would not have come at the first, nor be awaited at the second.
        now = self._gate.now()

        def refusal(who: Credential) -> Decision | None:
            if who not in asked:
                asked[who] = self._gate.refusal(who, now)
            return asked[who]

        cut: Counter[Decision] = Counter()
        for connection in list(self._connections):
            try:
                cut.update(connection.cut(refusal))
            except Exception:
                _log.exception("looking through a connection failed; it is closed")
                connection.abort()
        self._gate.holding.wake_stopped(lambda who: refusal(who) is not None)
        for denied, exchanges in cut.items():
            self._gate.stopped(denied, exchanges)
        self.stop()
        self.expect(next_end(self._gate.book.policies, now))
        for end in (end for connection in self._connections for end in connection.ends()):
            # One that has come and cut nothing will not do so later.
            self.expect(end if end is not None and end > now else None)

    def expect(self, end: datetime | None) -> None:
        """Sweep when `end` comes, unless that happens before anyway."""
        if end is None or (self._next is not None and self._next <= end):
            return
        self.stop()
        self._next = end
        wait_s = (end - self._gate.now()).total_seconds()
        self._timer = asyncio.get_running_loop().call_later(min(max(wait_s, 0.0), LOOK_AGAIN_S), self.sweep)

    def stop(self) -> None:
        """Wait for no end any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._next = None
