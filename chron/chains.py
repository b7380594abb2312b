"""All chains of a database looked at as one, merged by time; each record says in `of_chain` whose it is.

    logs = logs_of("postgresql://db.internal/claiim")          {"gate-1": "postgresql://...?chain=gate-1", ...}
    newest(logs, asked, limit=100)

A place in a log, and with it a cursor, is of one chain. Clocks of hosts differ, so the order between two chains is the
one of their clocks, and proves nothing.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from chron.errors import ChronError
from chron.filtering import Filter
from chron.querying import Count, counts, each, head, page
from chron.reading import Record, find, tail
from chron.sources import Source, on_server

OF_CHAIN = "of_chain"
"""No field of a record: what stands beside its own where records of several chains are told."""
_ALL = 2**31

type Logs = Mapping[str, Source]
"""Logs by the name of their chain."""


def logs_of(source: Source) -> Logs:
    """The chains of a database whose URL names none; empty when it names one, or is a file. Raises ChronError."""
    if not on_server(source):
        return {}
    from chron.postgres.connection import chains  # needs the driver
    from chron.postgres.place import Place

    place = Place.read(str(source))
    if place.chain:
        return {}
    found = {chain: place.with_chain(chain) for chain in chains(str(source))}
    if not found:
        raise ChronError(f'there is no chain at "{source}" yet; start "claiim serve" first')
    return found


def newest(logs: Logs, asked: Filter, *, limit: int, most_s: float = 0) -> tuple[list[Record], bool]:
    """The newest records of all that match, oldest of them first, and whether there are more."""
    pages = {chain: page(log, asked, limit=limit, most_s=most_s) for chain, log in logs.items()}
    found = heapq.merge(*(_named(chain, found.records) for chain, found in pages.items()), key=_time)
    records = list(found)
    more = len(records) > limit or any(found.cursor for found in pages.values())
    return records[max(0, len(records) - limit) :], more


def every(logs: Logs, asked: Filter) -> Iterator[Record]:
    """All records of all that match, read a few at a time."""
    return heapq.merge(*(_named(chain, each(log, asked)) for chain, log in logs.items()), key=_time)


def counted(logs: Logs, asked: Filter, fields: Sequence[str], *, limit: int, most_s: float = 0) -> list[Count]:
    """How many records of all have which values of these fields, the most first."""
    found: dict[tuple[str | None, ...], Count] = {}
    for log in logs.values():
        for one in counts(log, asked, fields, limit=_ALL, most_s=most_s):
            other = found.get(one.values, one)
            both = [time for time in (one.first, other.first) if time]
            found[one.values] = Count(
                one.values,
                one.records + (other.records if other is not one else 0),
                min(both, default=""),
                max(one.last, other.last),
            )
    return heapq.nsmallest(limit, found.values(), key=lambda one: (-one.records, [value or "" for value in one.values]))


def ends_of(logs: Logs) -> dict[str, int]:
    """Where each chain ends now."""
    return {chain: head(log)[0] for chain, log in logs.items()}


def tail_all(logs: Logs, count: int, **filters: str) -> list[Record]:
    """The newest records of all that match, oldest of them first; filters as in `find`."""
    found = (_named(chain, tail(log, count, **filters)) for chain, log in logs.items())
    records = list(heapq.merge(*found, key=_time))
    return records[max(0, len(records) - count) :]


def follow_all(logs: Logs, ends: dict[str, int], wait: Callable[[], bool], **filters: str) -> Iterator[Record]:
    """Records as they arrive behind these ends; `wait` sleeps between looks and returns False to end."""
    while True:
        for chain, log in logs.items():
            for record in _named(chain, find(log, after_seq=ends[chain], **filters)):  # type: ignore[arg-type]
                ends[chain] = record.seq
                yield record
        if not wait():
            return


def _named(chain: str, records: Sequence[Record] | Iterator[Record]) -> Iterator[Record]:
    return (replace(record, fields={**record.fields, OF_CHAIN: chain}) for record in records)


def _time(record: Record) -> str:
    return record.text("ts")
