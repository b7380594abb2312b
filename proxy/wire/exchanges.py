"""Requests on their way: what was judged, what has been moved since, and that each gets its ending written once."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from proxy.deadlines import Deadlines
from proxy.pipeline import Gate
from proxy.timers import Later
from proxy.verdicts import Ending, Head, Verdict
from proxy.wire.crowd import Body
from proxy.wire.segments import Segments

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Exchange:
    """One request on its way: what was judged, and what has been moved since."""

    head: Head
    presented: tuple[str, ...] = field(default=(), repr=False)
    """What its agent proved itself with, as it was sent: it is looked at again while the exchange is open."""
    agent: str = ""
    """Whose request under way it counts as; "" where it counts as nobody's."""
    verdict: Verdict | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    timed_out: bool = False
    answered: bool = False
    """Whether its target has begun to answer."""
    held_bytes: int = 0
    """How much of its body is kept until it is judged."""
    reading: Body | None = None
    """Its body, while that is being read to be judged."""
    gone: asyncio.Future[None] | None = None
    """Done when the agent goes away while its request waits for a person; None where it cannot have to wait."""

    def leave(self) -> None:
        """The agent waits for no answer any more."""
        if self.gone is not None and not self.gone.done():
            self.gone.set_result(None)

    def count_request(self, chunk: bytes) -> bytes:
        """Pass a chunk of the request body on, counted."""
        self.request_bytes += len(chunk)
        return chunk

    def count_response(self, chunk: bytes) -> bytes:
        """Pass a chunk of the response body on, counted."""
        self.response_bytes += len(chunk)
        return chunk


@dataclass(frozen=True, slots=True)
class _Open:
    """An exchange that needs an ending."""

    exchange: Exchange
    segments: Segments


class Exchanges:
    """Those that a verdict has let through and that have not ended; lives in the gate's event loop."""

    def __init__(self, gate: Gate, *, response_timeout_s: float, segment_s: float, later: Later) -> None:
        self._gate = gate
        self._response_timeout_s = response_timeout_s
        self._segment_s = segment_s
        self._later = later
        self._open: dict[str, _Open] = {}
        self._unanswered = Deadlines()
        """By key, what ends an exchange whose target does not begin to answer."""
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, key: str, exchange: Exchange, give_up: Callable[[], None]) -> None:
        """A verdict forwards: from now on this exchange needs an ending. `give_up` ends it, for want of an answer."""
        self._wait_for_answer(key, exchange, give_up)
        segments = Segments(lambda: self._tell_segment(exchange), self._segment_s, self._later)
        self._open[key] = _Open(exchange, segments)
        self._idle.clear()
        self._gate.metrics.open_exchanges.set(len(self._open))

    def _wait_for_answer(self, key: str, exchange: Exchange, give_up: Callable[[], None]) -> None:
        """Give up when a target does not begin to answer; a target that is still being sent to has not been asked."""
        sent_bytes = exchange.request_bytes

        def look() -> None:
            if key not in self._open:
                return
            if exchange.request_bytes == sent_bytes:
                exchange.timed_out = True
                give_up()
            else:
                self._wait_for_answer(key, exchange, give_up)

        self._unanswered.set(key, self._response_timeout_s, look)

    def _tell_segment(self, exchange: Exchange) -> None:
        if exchange.verdict is not None:
            self._gate.going_on(exchange.verdict, exchange.request_bytes, exchange.response_bytes)

    def answered(self, key: str) -> None:
        """The target has begun to answer; how long that takes is its own affair."""
        if entry := self._open.get(key):
            self._unanswered.clear(key)
            entry.exchange.answered = True

    def closed(self, key: str) -> Exchange | None:
        """Take an exchange off the list; None when its ending is already written."""
        entry = self._open.pop(key, None)
        if not self._open:
            self._idle.set()
        if entry is None:
            return None
        self._unanswered.clear(key)
        entry.segments.cancel()
        self._gate.metrics.open_exchanges.set(len(self._open))
        return entry.exchange

    async def idle(self) -> None:
        """Return once no exchange is open."""
        await self._idle.wait()

    async def drained(self, timeout_s: float) -> None:
        """Wait until none is open, but not for long."""
        try:
            await asyncio.wait_for(self.idle(), timeout_s)
        except TimeoutError:
            _log.warning("%d exchanges were still open after %s s", len(self._open), timeout_s)

    def end_what_is_left(self) -> None:
        """No decision without its outcome, even where the engine never told the end."""
        self.end(self._open, "the gate stopped")

    def end(self, keys: Iterable[str], error: str) -> None:
        """Write an ending for each of these that has none."""
        for key in list(keys):
            exchange = self.closed(key)
            if exchange is not None and exchange.verdict is not None:
                ending = Ending("failed", None, exchange.request_bytes, exchange.response_bytes, error)
                self._gate.finish(exchange.verdict, ending)
