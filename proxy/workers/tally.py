"""What each worker has under way of each agent, where all of them can read it: memory that they share.

    row     one agent: for each worker connections, requests and held bytes; and until when its rate is used up
    column  one worker, the only one that writes there; cleared when it has died

Nobody waits for anybody: who counts writes its own first, then adds up what all have written, so that of two that take
the last place at the same time none gets it rather than both. A rate has one number for all, and requests that two
workers take within the same microseconds may use it once. Which row is whose the coordinator says, with the rules.
"""

import mmap
from collections.abc import Iterable, Mapping

from proxy.quotas import UseOf

ROWS = 65_536
"""Agents that are counted together; those of a larger registry are counted by each worker for itself."""
_KINDS = 3


class Tally:
    """The memory, made before the processes are forked that share it."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._width = columns * _KINDS
        # Anonymous and shared; pages that are never written take no memory.
        self._memory = mmap.mmap(-1, ROWS * (self._width + 1) * 8)
        view = memoryview(self._memory)
        self._counts = view[: ROWS * self._width * 8].cast("q")
        self._used_up = view[ROWS * self._width * 8 :].cast("d")

    def column(self, number: int) -> "Column":
        """What one process writes and reads."""
        return Column(self, number)

    def clear(self, number: int) -> None:
        """Forget what a process has counted that is no more."""
        for row in range(ROWS):
            self.write(row, number, (0, 0, 0))

    def write(self, row: int, column: int, use: UseOf) -> None:
        """What a process has under way of one agent."""
        at = row * self._width + column * _KINDS
        counts = self._counts
        if counts[at] != use[0]:
            counts[at] = use[0]
        if counts[at + 1] != use[1]:
            counts[at + 1] = use[1]
        if counts[at + 2] != use[2]:
            counts[at + 2] = use[2]

    def total(self, row: int, kind: int) -> int:
        """What all processes have under way of one agent."""
        first = row * self._width + kind
        total, counts = 0, self._counts
        for at in range(first, first + self._width, _KINDS):
            total += counts[at]
        return total

    def take(self, row: int, per_s: float, burst: float, at: float) -> bool:
        """Take one of an agent's rate: as a bucket of `burst` that fills by `per_s`, told by when it is full again."""
        full = max(self._used_up[row], at) + 1 / per_s
        if full - at > burst / per_s + 1e-9:
            return False
        self._used_up[row] = full
        return True


class Column:
    """One process's; what `proxy.quotas` asks of others."""

    def __init__(self, tally: Tally, number: int) -> None:
        self._tally, self._number = tally, number
        self._rows: Mapping[str, int] = {}

    def adopt(self, rows: Mapping[str, int], mine: Iterable[tuple[str, UseOf]]) -> None:
        """Take over which row is whose; `mine` is what is under way here."""
        mine = list(mine)
        for agent, _ in mine:
            self.tell(agent, (0, 0, 0))
        self._rows = rows
        for agent, use in mine:
            self.tell(agent, use)

    def tell(self, agent: str, use: UseOf) -> None:
        """Let the others know what is under way here."""
        if (row := self._rows.get(agent)) is not None:
            self._tally.write(row, self._number, use)

    def total(self, agent: str, kind: int) -> int | None:
        """What is under way in all, told already; None of an agent that is not counted together."""
        row = self._rows.get(agent)
        return None if row is None else self._tally.total(row, kind)

    def take(self, agent: str, per_s: float, burst: float, at: float) -> bool | None:
        """Take one of its rate; None of an agent that is not counted together."""
        row = self._rows.get(agent)
        return None if row is None else self._tally.take(row, per_s, burst, at)


class Rows:
    """Which row is whose, of the coordinator: an agent keeps its own as long as the coordinator lives."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def of(self, agents: Iterable[str]) -> dict[str, int]:
        """The rows of these agents; of the first that ever came, where there are not enough."""
        for agent in agents:
            if agent not in self._rows and len(self._rows) < ROWS:
                self._rows[agent] = len(self._rows)
        return dict(self._rows)
