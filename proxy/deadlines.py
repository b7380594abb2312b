"""What is to happen when something else has not happened in time: one timer of the loop for all of it.

Nearly everything is done in time, thousands of times a second. A timer for each, set and cleared, costs more than the
rest of what is done here.
"""

import asyncio
from collections.abc import Callable, Hashable


class Deadlines:
    """By name, what is called when; used in one event loop."""

    def __init__(self) -> None:
        self._due: dict[Hashable, tuple[float, Callable[[], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, name: Hashable, in_s: float, call: Callable[[], object]) -> None:
        """Call something in so many seconds, and not what the same name stood for before."""
        loop = asyncio.get_running_loop()
        at = loop.time() + in_s
        self._due[name] = at, call
        if self._timer is None or self._timer.when() > at:
            self._look_at(at, loop)

    def clear(self, name: Hashable) -> None:
        """It is done, or nobody asks any more."""
        self._due.pop(name, None)

    def _look_at(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for name, (at, call) in list(self._due.items()):
            if at <= now:
                del self._due[name]
                loop.call_soon(call)  # of the loop's own, so that one that fails takes no other with it
        if self._due:
            self._look_at(min(at for at, _ in self._due.values()), loop)
