"""What is in a Chron, in numbers: how many records of what, how much room, how fast, and where nothing is.

One pass over the records that a filter wants, in short reads; 100,000 records take one to two seconds. The numbers are
of what can be read: whether that is what was written is for `verify` to say.
"""

import heapq
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from chron.errors import NotOursError
from chron.filtering import Filter
from chron.querying import head, reading, stored
from chron.sources import Source, file_of, on_server

_MOST_SILENCES = 5
_TABLES = "SELECT pg_total_relation_size('records') + pg_total_relation_size('artefacts')"

# A body is canonical and flat, and quotes inside of texts are escaped: these can only be the fields themselves.
_TOLD = re.compile(
    rb'"(?P<name>kind|outcome|result|event|ts)":"(?P<text>[^"\\]*)"|"(?P<flag>clean)":(?P<truth>true|false)'
)


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which none of the records was written."""

    seconds: int
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers."""

    records: int
    first: str
    last: str
    kinds: tuple[tuple[str, str, int], ...]
    """Kind, its outcome, result or event, and how many, the most first; kind "" of what was erased."""
    days: tuple[tuple[str, int], ...]
    """Days, in UTC, on which something was written, and how much."""
    busiest: tuple[str, int]
    """The minute in which most was written, and how much."""
    unclean: int
    """How many runs of a gate were found not to have ended in order."""
    clock_back: int
    """How often a record is older than the one before it."""
    silences: tuple[Silence, ...]
    """The longest ones, the longest first."""
    body_bytes: int
    file_bytes: int
    """The whole file with its write-ahead log; in PostgreSQL, the tables of all chains with their indexes."""


def statistics(path: Source, asked: Filter) -> Statistics:
    """Count and measure the records that match; raises ChronError when there is none to read."""
    kinds: Counter[tuple[str, str]] = Counter()
    minutes: Counter[str] = Counter()
    silences: list[tuple[float, str, str]] = []
    unclean = clock_back = body_bytes = 0
    first = last = ""
    for _, _, body, _, _ in stored(path, asked, upto=head(path)[0]):
        told = _told(body or b"")
        kind, ts = told.get("kind", ""), told.get("ts", "")
        kinds[kind, told.get("outcome") or told.get("result") or told.get("event") or ""] += 1
        body_bytes += len(body or b"")
        unclean += (kind, told.get("event"), told.get("clean")) == ("lifecycle", "open", "false")
        if not ts:
            continue
        minutes[ts[:16]] += 1
        clock_back += ts < last
        if last and ts[:16] > last[:16]:  # shorter ones within a minute are not worth the time
            _keep(silences, last, ts)
        first, last = first or ts, ts
    days: Counter[str] = Counter()
    for minute, records in minutes.items():
        days[minute[:10]] += records
    return Statistics(
        records=kinds.total(),
        first=first,
        last=last,
        kinds=tuple((kind, what, records) for (kind, what), records in kinds.most_common()),
        days=tuple(sorted(days.items())),
        busiest=max(minutes.items(), key=lambda each: each[1], default=("", 0)),
        unclean=unclean,
        clock_back=clock_back,
        silences=tuple(Silence(int(seconds), since, until) for seconds, since, until in sorted(silences, reverse=True)),
        body_bytes=body_bytes,
        file_bytes=_file_bytes(path),
    )


def _told(body: bytes) -> dict[str, str]:
    return {
        (match["name"] or match["flag"]).decode(): (match["text"] or match["truth"] or b"").decode()
        for match in _TOLD.finditer(body)
    }


def _keep(silences: list[tuple[float, str, str]], since: str, until: str) -> None:
    """Put a silence among the longest ones."""
    try:
        seconds = (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError) as error:
        raise NotOursError(f'"{since}" or "{until}" is no time; run "claiim chron verify"') from error
    if len(silences) < _MOST_SILENCES:
        heapq.heappush(silences, (seconds, since, until))
    else:
        heapq.heappushpop(silences, (seconds, since, until))


def _file_bytes(source: Source) -> int:
    if on_server(source):
        with reading(source) as connection:
            return int(connection.execute(_TABLES).fetchone()[0])
    path = file_of(source, "")
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
