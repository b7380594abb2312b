"""Everybody who is connected: how many they may be, who gives way, and who has taken too long.

A connection whose agent has not been proven is worth least. Where there are too many of those from one address, or too
many in all, the one that has waited longest gives way to the new one: who fills the gate with silence loses it to who
speaks, and an agent that names itself at once is not kept out by its neighbours.

Time is looked at once a second, for all connections together: no request sets a timer, and a limit of seconds is held
to the second.
"""

import logging
from asyncio import CancelledError
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mappings import Problem
from proxy.limits import Limits
from proxy.quotas import Quotas
from proxy.timers import Handle, Later

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

UNPROVEN = "limit.unproven-connections"
ALL = "limit.all-connections"
HEAD_TIME = "limit.head-time"
BODY_TIME = "limit.body-time"
IDLE = "limit.idle"
HANDSHAKE_TIME = "limit.handshake-time"


@dataclass(slots=True)
class Body:
    """A body that is being read to be judged."""

    overdue: Callable[[], None]
    begun_at: float | None = None
    """When it was first looked at."""


class Served(Protocol):
    """A connection that has come through its handshake."""

    def moved(self) -> int:
        """A number that changes when the agent sends, or is sent, anything."""

    def heads(self) -> int:
        """How many requests have begun on it."""

    def beginning(self) -> bool:
        """Whether a head has begun and is not complete."""

    def waits(self) -> bool:
        """Whether a request waits for a verdict, or for its target to answer."""

    def bodies(self) -> Iterable[Body]:
        """What is being read to be judged."""

    def end(self, code: str) -> None:
        """Close it, for a limit."""


@dataclass(slots=True, eq=False)
class Seat:
    """One connection."""

    address: str
    opened_at: float
    close: Callable[[], None]
    agent: str = ""
    """Whose it has turned out to be; "" until then."""
    served: Served | None = None
    ended: bool = False
    """A limit has ended it, and it is about to be gone."""
    moved: int = -1
    moved_at: float = 0.0
    begun: int = -1
    begun_at: float = field(default=0.0)


class Crowd:
    """All connections of one gate; lives in its event loop."""

    def __init__(
        self,
        limits: Limits,
        quotas: Quotas,
        turned_away: Callable[[str, str, str], None],
        *,
        clock: Callable[[], float],
        later: Later,
    ) -> None:
        self._limits = limits
        self._quotas = quotas
        self._turned_away = turned_away
        """Told the agent, the address and the code of what a limit has ended."""
        self._clock = clock
        self._later = later
        self._seats: dict[Seat, None] = {}
        self._unproven: dict[Seat, None] = {}
        self._by_address: dict[str, dict[Seat, None]] = {}
        self._timer: Handle | None = None
        self._due_at = 0.0
        """When they are to be looked at next."""

    def __len__(self) -> int:
        return len(self._seats)

    def admit(self, address: str, close: Callable[[], None]) -> Seat | None:
        """Take a connection in, if need be for one that gives way; None when there is no room."""
        limits = self._limits
        from_there = self._by_address.get(address, {})
        if len(from_there) >= limits.unproven_connections:
            self._give_way(next(iter(from_there)), UNPROVEN)
        if len(self._seats) >= limits.connections:
            if not self._unproven:
                self._turned_away("", address, ALL)
                return None
            self._give_way(next(iter(self._unproven)), ALL)
        seat = Seat(address, self._clock(), close)
        self._seats[seat] = self._unproven[seat] = None
        self._by_address.setdefault(address, {})[seat] = None
        if self._timer is None or seat.opened_at - self._due_at > LOOK_EVERY_S:
            # Also where a timer got lost: else the limits of time would hold for nobody any more.
            self._look_later()
        return seat

    def _look_later(self) -> None:
        self._due_at = self._clock() + LOOK_EVERY_S
        self._timer = self._later(LOOK_EVERY_S, self.look)

    def _give_way(self, seat: Seat, code: str) -> None:
        self.leave(seat)
        self._turned_away("", seat.address, code)
        seat.close()

    def prove(self, seat: Seat, agent: str) -> Problem | None:
        """The connection is that agent's; the problem when it has too many."""
        if seat.agent or seat not in self._seats:
            return None
        if problem := self._quotas.connect(agent):
            return problem
        seat.agent = agent
        self._no_longer_unproven(seat)
        return None

    def leave(self, seat: Seat) -> None:
        """A connection is gone; said twice, it is gone once."""
        if seat not in self._seats:
            return
        del self._seats[seat]
        if seat.agent:
            self._quotas.disconnect(seat.agent)
        else:
            self._no_longer_unproven(seat)

    def _no_longer_unproven(self, seat: Seat) -> None:
        del self._unproven[seat]
        here = self._by_address[seat.address]
        del here[seat]
        if not here:
            del self._by_address[seat.address]

    def look(self) -> None:
        """End what has taken too long, and what cannot be looked at; look again in a while."""
        self.stop()
        at = self._clock()
        for seat in list(self._seats):
            try:
                if seat.ended:
                    seat.close()  # what is sent to it is not read either
                elif seat.served is not None:
                    self._look_at(seat, seat.served, at)
            except (Exception, CancelledError):  # nobody cancels a timer: a cancellation is a bug like others
                # Without this, one connection would keep the limits from all that come after it.
                _log.exception("a connection could not be looked at; it is closed")
                seat.close()
        if self._seats:
            self._look_later()

    def _look_at(self, seat: Seat, served: Served, at: float) -> None:
        for body in list(served.bodies()):
            if body.begun_at is None:
                body.begun_at = at
            elif at - body.begun_at > self._limits.body_s:
                body.overdue()
        if code := self._overdue(seat, served, at):
            seat.ended = True
            self._turned_away(seat.agent, seat.address, code)
            served.end(code)

    def _overdue(self, seat: Seat, served: Served, at: float) -> str:
        """The limit that a connection has come to; "" when to none."""
        limits = self._limits
        if served.waits() is True:
            seat.moved_at, seat.begun = at, -1
            return ""
        if not seat.agent and at - seat.opened_at > limits.head_s:
            return HEAD_TIME
        if not served.beginning():
            seat.begun = -1
        elif seat.begun != served.heads():
            seat.begun, seat.begun_at = served.heads(), at
        elif at - seat.begun_at > limits.head_s:
            return HEAD_TIME
        if (moved := served.moved()) != seat.moved:
            seat.moved, seat.moved_at = moved, at
        return IDLE if at - seat.moved_at > limits.idle_s else ""

    def stop(self) -> None:
        """Look no more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
