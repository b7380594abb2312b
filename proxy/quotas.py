"""What each agent has under way, counted while it is; what would be too much is a `Problem` with its code.

    limit.connections      the agent has as many connections as it may
    limit.requests         it has as many requests under way as it may
    limit.requests-per-s   its requests come too fast
    limit.held-bytes       the bodies of its requests that are being read take as much memory as they may

It knows agents that have proven who they are; nobody else can use up what is theirs. Lives in the gate's event loop.
Where several processes serve, what they have under way counts together (`Others`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mappings import Problem
from proxy.limits import UNLIMITED, AgentLimits, Limits

_MOST_IDLE = 1024
"""So many agents with nothing under way are remembered, for how fast their requests came."""

CONNECTIONS = Problem("limit.connections", "the agent has as many connections as it may")
REQUESTS = Problem("limit.requests", "the agent has as many requests under way as it may")
TOO_FAST = Problem("limit.requests-per-s", "the agent's requests come faster than they may")
HELD = Problem("limit.held-bytes", "the bodies that are read for this agent take as much memory as they may")


type UseOf = tuple[int, int, int]
"""An agent's connections, requests and held bytes."""
_CONNECTIONS, _REQUESTS, _HELD_BYTES = range(3)


class Others(Protocol):
    """What other processes of the same gate have under way (`proxy.workers.tally`)."""

    def tell(self, agent: str, use: UseOf) -> None:
        """Let them know what is under way here."""

    def total(self, agent: str, kind: int) -> int | None:
        """What is under way in all, as it was told; None of an agent that they do not count."""

    def take(self, agent: str, per_s: float, burst: float, at: float) -> bool | None:
        """Take one of its rate, False when there is none; None of an agent that they do not count."""


class Bucket:
    """So many at once, and so many a second after that."""

    __slots__ = ("_at", "_burst", "_per_s", "left")

    def __init__(self, burst: float, per_s: float, at: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._at = at
        self.left = burst

    def take(self, at: float, count: float = 1) -> bool:
        """Take so many; False when there are not that many, and then none are taken."""
        self.left = min(self._burst, self.left + (at - self._at) * self._per_s)
        self._at = at
        if self.left < count:
            return False
        self.left -= count
        return True

    def give(self, count: float) -> None:
        """Allow so many more."""
        self.left = min(self._burst, self.left + count)


@dataclass(slots=True)
class _InUse:
    most: AgentLimits
    bucket: Bucket | None
    connections: int = 0
    requests: int = 0
    held_bytes: int = 0

    @property
    def use(self) -> UseOf:
        return self.connections, self.requests, self.held_bytes


class Quotas:
    """Counts what agents have under way."""

    def __init__(self, limits: Limits, clock: Callable[[], float], others: Others | None = None) -> None:
        self._limits = limits
        self._clock = clock
        self._others = others
        self._in_use: dict[str, _InUse] = {}

    def __len__(self) -> int:
        """How many connections, requests and held bytes are counted; 0 when nothing is under way."""
        return sum(each.connections + each.requests + each.held_bytes for each in self._in_use.values())

    def _of(self, agent: str) -> _InUse:
        in_use = self._in_use.get(agent)
        if in_use is None:
            if len(self._in_use) > _MOST_IDLE:
                self._forget_idle()
            most = self._limits.of(agent)
            per_s = most.requests_per_s
            bucket = Bucket(max(per_s, 1), per_s, self._clock()) if per_s != UNLIMITED else None
            in_use = self._in_use[agent] = _InUse(most, bucket)
        return in_use

    def _forget_idle(self) -> None:
        idle = [name for name, each in self._in_use.items() if not (each.connections or each.requests)]
        for name in idle:
            del self._in_use[name]

    def uses(self) -> Iterator[tuple[str, UseOf]]:
        """What each agent has under way here."""
        return ((agent, each.use) for agent, each in self._in_use.items())

    def connect(self, agent: str) -> Problem | None:
        """Count a connection that is the agent's; a problem, and nothing counted, if it is one too many."""
        in_use = self._of(agent)
        in_use.connections += 1
        if self._too_many(agent, in_use, _CONNECTIONS, in_use.most.connections):
            self.disconnect(agent)
            return CONNECTIONS
        return None

    def disconnect(self, agent: str) -> None:
        """A connection that was counted is gone."""
        self._in_use[agent].connections -= 1
        self._tell(agent)

    def begin(self, agent: str) -> Problem | None:
        """Count a request; a problem, and nothing counted, if it is too much."""
        in_use = self._of(agent)
        in_use.requests += 1
        if self._too_many(agent, in_use, _REQUESTS, in_use.most.requests):
            self.end(agent)
            return REQUESTS
        if too_fast := self.pace(agent):
            self.end(agent)
            return too_fast
        return None

    def pace(self, agent: str) -> Problem | None:
        """Take one of the agent's rate, for a request or for a message that is one; a problem if there is none."""
        in_use = self._of(agent)
        if in_use.bucket is None or self._take(agent, in_use.most.requests_per_s, in_use.bucket):
            return None
        return TOO_FAST

    def end(self, agent: str) -> None:
        """A request that was counted has ended."""
        self._in_use[agent].requests -= 1
        self._tell(agent)

    def hold(self, agent: str, count: int) -> bool:
        """Count bytes of a body that is being read; False, and nothing counted, if they are too many."""
        in_use = self._in_use[agent]
        in_use.held_bytes += count
        if self._too_many(agent, in_use, _HELD_BYTES, in_use.most.held_bytes):
            self.let_go(agent, count)
            return False
        return True

    def let_go(self, agent: str, count: int) -> None:
        """Bytes that were counted are held no more."""
        self._in_use[agent].held_bytes -= count
        self._tell(agent)

    def _too_many(self, agent: str, in_use: _InUse, kind: int, most: int) -> bool:
        """Whether what has just been counted is more than there may be, in all processes."""
        mine = in_use.use
        if self._others is None:
            return mine[kind] > most
        # Told before it is asked for: of two that take the last place at once, neither may miss the other.
        self._others.tell(agent, mine)
        total = self._others.total(agent, kind)
        return (mine[kind] if total is None else total) > most

    def _take(self, agent: str, per_s: float, bucket: Bucket) -> bool:
        at = self._clock()
        taken = None if self._others is None else self._others.take(agent, per_s, max(per_s, 1), at)
        return bucket.take(at) if taken is None else taken

    def _tell(self, agent: str) -> None:
        if self._others is not None:
            self._others.tell(agent, self._in_use[agent].use)
