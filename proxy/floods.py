"""Keeps a flood of refusals from filling the log: the first of each source have a record each, others are counted.

Only refusals that need no judging come here: of clients that did not prove who they are, and of what an agent had too
much of. Each source (an address that proved nothing, or an agent) gets so many records a minute, and all addresses
together ten times as many; what is refused beyond that is answered, without a record of its own. What was counted is
written once a minute, for the sources that were refused most: a record of kind `refusals` with the source, how many,
and their codes. Nothing that is forwarded ever comes here.
"""

import ipaddress
import json
from collections import Counter
from collections.abc import Callable

from proxy.questions import FieldValues
from proxy.quotas import Bucket
from proxy.timers import Handle, Later

EVERY_S = 60.0
_MOST_SOURCES = 4096
_MOST_TOLD = 50
_ALL = 10
"""How many times as many records all addresses together get: the log grows by so much, however many there are."""
OTHERS = "others"
_IPV6_SITE_BITS = 64
"""RFC 6177: a site has at least so many addresses of its own, so they are one source."""


def source_of(agent: str, client: str) -> str:
    """Whom a refusal is counted for."""
    if agent:
        return f"agent:{agent}"
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return OTHERS
    if address.version == 6 and address.ipv4_mapped is None:
        return f"address:{ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False)}"
    return f"address:{address}"


class Floods:
    """Says which refusals get a record, and tells of the others; lives in the gate's event loop."""

    def __init__(
        self, tell: Callable[[FieldValues], None], per_min: int, *, clock: Callable[[], float], later: Later
    ) -> None:
        self._tell = tell
        self._per_min = per_min
        self._clock = clock
        self._later = later
        self._buckets: dict[str, Bucket] = {}
        self._all = Bucket(per_min * _ALL, per_min * _ALL / 60, clock())
        self._counted: dict[str, Counter[str]] = {}
        self._timer: Handle | None = None

    def admits(self, source: str, code: str) -> bool:
        """Whether a refusal gets a record of its own; if not, it is counted."""
        at = self._clock()
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= _MOST_SOURCES:
                self._buckets.clear()  # what all addresses get together still bounds them
            bucket = self._buckets[source] = Bucket(self._per_min, self._per_min / 60, at)
        if bucket.take(at) and (source.startswith("agent:") or self._all.take(at)):
            return True
        self.count(source, code)
        return False

    def count(self, source: str, code: str) -> None:
        """Count a refusal without a record; raises TypeError for what is no code, by which none could be told of."""
        if not isinstance(code, str):
            raise TypeError("a refusal without a code")
        known = source in self._counted or len(self._counted) < _MOST_SOURCES
        self._counted.setdefault(source if known else OTHERS, Counter())[code] += 1
        if self._timer is None:
            self._timer = self._later(EVERY_S, self.flush)

    def flush(self) -> None:
        """Tell of what was counted since the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counted, self._counted = self._counted, {}
        ranked = sorted(counted.items(), key=lambda each: each[1].total(), reverse=True)
        rest: Counter[str] = Counter()
        for _, codes in ranked[_MOST_TOLD:]:
            rest += codes
        for source, codes in [*ranked[:_MOST_TOLD], *([(OTHERS, rest)] if rest else [])]:
            kind, _, name = source.partition(":")
            self._tell(
                {
                    "agent": name if kind == "agent" else None,
                    "client": (name or source) if kind != "agent" else None,
                    "refusals": codes.total(),
                    "codes": json.dumps(dict(codes.most_common())),
                }
            )
