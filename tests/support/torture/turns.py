"""A thread and a loop that run by turns, so that one seed says who does what when.

The writer's thread is the real one. It stops where it would wait for its queue, and goes on when the world gives it
a turn; meanwhile the loop stands still. The loop's clock passes only when nothing is left to do.
"""

import asyncio
import queue
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class TurnQueue:
    """Stands in for the writer's queue: waiting for it is the end of a turn."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._go, self._idle = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.ended = False

    def __bool__(self) -> bool:
        return bool(self._items)

    # --- for the writer ---

    def put(self, item: Any) -> None:
        """Add an item; from either side."""
        self._items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        """Wait for a turn, and take an item if there is one."""
        self._rest()
        while not self._items:
            if timeout is not None:
                raise queue.Empty
            self._rest()
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Take an item."""
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def _rest(self) -> None:
        self._idle.release()
        self._go.acquire()
        if self._killed:
            raise SystemExit

    # --- for the world ---

    def turn(self) -> None:
        """Let the writer go on until it waits again, or has ended."""
        if not self.ended:
            self._go.release()
            self._idle.acquire()

    def kill(self) -> None:
        """Let the writer end where it is, as a process that dies does."""
        self._killed = True
        self.turn()

    def started(self) -> None:
        """Wait until the writer waits for the first time."""
        self._idle.acquire()

    def end(self) -> None:
        """Say that the thread has come to its end."""
        self.ended = True
        self._idle.release()


class TurnThread(threading.Thread):
    """Stands in for the writer's thread; `queue_of` says which queue is its."""

    queue_of: Callable[[], TurnQueue]

    def start(self) -> None:
        self._turns = type(self).queue_of()
        super().start()
        self._turns.started()

    def run(self) -> None:
        try:
            super().run()
        except SystemExit:
            pass  # killed with its process
        finally:
            self._turns.end()

    def join(self, timeout: float | None = None) -> None:
        while not self._turns.ended:
            self._turns.turn()
        super().join()


class TurnLoop(asyncio.SelectorEventLoop):
    """A loop that asks the world what happens whenever it looks for news."""

    def __init__(self, now_s: Callable[[], float], news: Callable[[float | None], None]) -> None:
        self._now_s = now_s
        super().__init__(_News(news))

    def time(self) -> float:
        """The world's time."""
        return self._now_s()

    def _write_to_self(self) -> None:
        """Wake nobody: who is in the other thread has the turn."""


class _News(selectors.SelectSelector):
    def __init__(self, news: Callable[[float | None], None]) -> None:
        super().__init__()
        self._news = news

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._news(timeout)
        return []
