"""How often limits were used: counted when a call is let through, forgotten when its window has passed.

The Chron is the truth, this is its memory: after a start the counts are made from the decisions it holds, so that
nobody gets a fresh budget from a restart or from a policy that was loaded again. Lives in the gate's event
loop: between reading a count and adding to it nothing else runs, so two requests never share the last use.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from policies import Limit, Policies
from proxy.questions import OF_REQUESTS

_MOST_KEPT = 10_000
"""Of one limit; no limit counts more (`policies.schema.MAX_LIMIT`)."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One use of one limit, to be taken back when nothing comes of it."""

    key: str
    at: datetime


class Uses:
    """The uses of all limits, newest last."""

    def __init__(self) -> None:
        self._times: dict[str, deque[datetime]] = {}

    def counts(self, limits: Iterable[Limit], at: datetime) -> dict[str, int]:
        """Return how often each limit was used within its window."""
        return {limit.key: self._count(limit, at) for limit in limits}

    def _count(self, limit: Limit, at: datetime) -> int:
        times = self._times.get(limit.key)
        if times is None:
            return 0
        since = at - timedelta(seconds=limit.window_s)
        while times and times[0] <= since:
            times.popleft()
        return len(times)

    def charge(self, limits: Iterable[Limit], at: datetime) -> list[Charge]:
        """Count one use of each limit."""
        charges = [Charge(limit.key, at) for limit in limits]
        for charge in charges:
            self._times.setdefault(charge.key, deque(maxlen=_MOST_KEPT)).append(at)
        return charges

    def release(self, charges: Iterable[Charge]) -> None:
        """Take uses back: what they were counted for did not go on."""
        for charge in charges:
            times = self._times.get(charge.key)
            if times and charge.at in times:
                times.remove(charge.at)

    def adopt(self, restored: Mapping[str, Iterable[datetime]]) -> None:
        """Take over what the Chron says of limits that are not counted yet."""
        for key, times in restored.items():
            if key not in self._times:
                self._times[key] = deque(times, maxlen=_MOST_KEPT)


def restored(policies: Policies, decisions: Iterable[Mapping[str, str | int | bool]]) -> dict[str, list[datetime]]:
    """Return the uses that recorded decisions, oldest first, are of the limits of these policies."""
    times: dict[str, list[datetime]] = {}
    for fields in decisions:
        if fields.get("channel") not in OF_REQUESTS or not went_on(fields):
            continue
        at = datetime.fromisoformat(str(fields.get("at") or fields["ts"])).astimezone(UTC)
        for limit in policies.limits(str(fields.get("agent", "")), str(fields.get("action", ""))):
            times.setdefault(limit.key, []).append(at)
    return times


def went_on(fields: Mapping[str, str | int | bool]) -> bool:
    """Say whether a recorded decision let something through."""
    # What waited for humans is on record a second time when it went on.
    return "held" not in fields and _forwards(fields)


def _forwards(fields: Mapping[str, str | int | bool]) -> bool:
    return fields.get("outcome") == "ALLOW" or fields.get("mode") == "observe"


def longest_window(policies: Policies) -> timedelta:
    """Return how far back uses can matter; nothing where there are no limits."""
    return timedelta(seconds=max(_windows(policies), default=0))


def _windows(policies: Policies) -> Iterator[int]:
    for standing in policies.standings.values():
        for text in standing.rules.texts:
            yield from (rule.window_s for _, rule in text.limits.rules)
