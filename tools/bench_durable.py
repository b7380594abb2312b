"""Durable records beside other ways to write them, and whether a long log is slower; part of `make bench`.

    bench_durable.py                        a log of 200,000 records for the comparison of lengths
    bench_durable.py --records 5000000      ten minutes, and 12 GB of disk below the current folder

All write the same facts into the same folder, in turns, because a shared disk is never the same twice: a raw 4 KiB
`fdatasync`; a line of JSON and an `fsync` for each record; sqlite-utils' `insert`, in its default journal and in WAL;
the Chron with 1, 64 and 256 producers. Only the Chron hashes, keeps indexes and refuses to change what it has written.
The long log is written in bulk, without syncs; then both grow by the writer, in turns.
"""

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import sqlite_utils
import uvloop
from bench_chron import DECISION

from chron import Chron, schema, verify
from chron.batch import Batch, Draft, Entry
from chron.ids import Ids

RECORDS = 200_000
TURNS, SECONDS_EACH = 6, 1.0
AGENTS, ACTIONS, TARGETS = 50, 300, 5_000
OUTCOME = {"channel": "wire", "result": "sent", "status": 201, "duration_us": 64159} | {
    "request_bytes": 57,
    "response_bytes": 23,
}
DENIED_OF_TEN = 2
_OF_DENIALS = ("policy", "policy_version")
"""What only a record of a denial by a policy has."""
_BULK = 20_000
_FULL_BYTES = 30 * 2**20
"""A write-ahead log of nearly 32 MB is full (`chron.ledger.PRAGMAS`)."""

type Fields = dict[str, str | int | bool | None]


@dataclass(slots=True)
class Tried:
    """What one way of writing gave, over all turns."""

    records: int = 0
    took_s: float = 0.0
    cpu_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    def row(self, name: str, sync_ms: float) -> str:
        """One line of the table; `sync_ms` is what the raw sync took."""
        ordered = sorted(self.waits_s)
        p50_ms, p99_ms = (ordered[int(len(ordered) * part)] * 1e3 for part in (0.5, 0.99))
        cpu_us = self.cpu_s / self.records * 1e6
        times = f"{p50_ms / sync_ms:>8.1f}"
        return f"  {name:<34}{self.records / self.took_s:>10,.0f}{p50_ms:>9.2f}{times}{p99_ms:>9.2f}{cpu_us:>9.0f}"


def decision(chosen: random.Random) -> Fields:
    """Return a decision with the fields of a real one, as `claiim rehearse` leaves them; who, what, where differ."""
    varied = {
        "agent": f"bot-{chosen.randrange(AGENTS)}",
        "action": f"deploy:stage-{chosen.randrange(ACTIONS)}",
        "target": f"production/api-{chosen.randrange(TARGETS)}",
        # Paths are of all lengths, and how records share pages depends on it.
        "path": f"{DECISION['path']}{'/x' * chosen.randrange(20)}",
    }
    if chosen.randrange(10) < DENIED_OF_TEN:
        return {**DECISION, **varied}
    allowed = {"outcome": "ALLOW", "code": "skill.allowed", "stage": "skill"}
    return {**{name: DECISION[name] for name in DECISION if name not in _OF_DENIALS}, **varied, **allowed}


def grow(path: Path, records: int) -> None:
    """Write a log of so many decisions and outcomes."""
    write_in_bulk(path, _drafts(records))


def write_in_bulk(path: Path, drafts: Iterator[Draft]) -> None:
    """Write a log as the writer would, but without its syncs."""
    Chron.open(path, low_water_bytes=0).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -200000", "wal_autocheckpoint = 20000"):
            connection.execute(f"PRAGMA {pragma}")
        for guard in schema.GUARDS:
            connection.execute(f"DROP TRIGGER {guard}")
        head = connection.execute("SELECT seq, hash FROM chron ORDER BY seq DESC LIMIT 1").fetchone()
        while entry := [draft for _, draft in zip(range(_BULK), drafts, strict=False)]:
            batch = Batch(*head)
            batch.add(Entry(entry))
            head = batch.head()
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", batch.rows)
            connection.execute("COMMIT")
        for text in schema.GUARDS.values():
            connection.execute(text)


def _drafts(records: int) -> Iterator[Draft]:
    chosen, ids, at_ns = random.Random(20260101), Ids(), time.time_ns() - records * 1_000_000
    for number in range(0, records, 2):
        decided, came = ids.next(at_ns + number * 1_000_000), ids.next(at_ns + number * 1_000_000)
        yield decided, at_ns + number * 1_000_000, "decision", {**decision(chosen), "request": f"s-{number}"}  # type: ignore[dict-item]
        yield came, at_ns + number * 1_000_000, "outcome", {**OUTCOME, "ref": decided}
    # As a gate that stopped in order leaves it; without, opening looks for doubts in all of it.
    yield ids.next(at_ns), at_ns, "lifecycle", {"event": "close", "resolved_to": records, "unresolved": 0}


# --- ways to write ---------------------------------------------------------------------------------------


def _one_by_one(tried: Tried, write: Callable[[Fields], object]) -> None:
    chosen = random.Random(len(tried.waits_s))
    cpu_s, began_s = time.process_time(), time.perf_counter()
    while (start_s := time.perf_counter()) < began_s + SECONDS_EACH:
        write(decision(chosen))
        tried.waits_s.append(time.perf_counter() - start_s)
        tried.records += 1
    tried.took_s += time.perf_counter() - began_s
    tried.cpu_s += time.process_time() - cpu_s


def raw_sync(folder: Path, tried: Tried) -> None:
    """Append 4 KiB and sync, again and again."""
    with (folder / "raw").open("ab", buffering=0) as file:
        _one_by_one(tried, lambda _: (file.write(bytes(4096)), os.fdatasync(file.fileno())))


def json_lines(folder: Path, tried: Tried) -> None:
    """Append a line and sync."""
    with (folder / "lines.jsonl").open("ab", buffering=0) as file:
        _one_by_one(tried, lambda fields: (file.write(json.dumps(fields).encode() + b"\n"), os.fsync(file.fileno())))


def inserts(folder: Path, tried: Tried, *, wal: bool) -> None:
    """Have sqlite-utils insert, each in a transaction of its own, as it does."""
    with closing(sqlite3.connect(folder / f"inserts-{wal}.db")) as connection:
        database = sqlite_utils.Database(connection)
        if wal:
            database.enable_wal()
        # A denial has fields that an allowed call has not; a column is added once.
        _one_by_one(tried, partial(database["records"].insert, alter=True))


class Growing:
    """A log that stays open for all turns, as that of a gate does: decisions, and outcomes for which nobody waits.

    It is measured once its write-ahead log has been full: while that still grows, each sync also writes down how long
    it has become, which takes a third longer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._chron = Chron.open(path, low_water_bytes=0)
        self._chosen = random.Random(path.stem)
        self._runner.run(self._fill())

    def append(self, tried: Tried, producers: int, *, outcomes: bool = True) -> None:
        """Append for one turn; both count."""
        self._runner.run(self._append(tried, producers, outcomes, SECONDS_EACH))

    async def _fill(self) -> None:
        while self._path.with_name(f"{self._path.name}-wal").stat().st_size < _FULL_BYTES:
            await self._append(Tried(), 64, True, 0.2)

    async def _append(self, tried: Tried, producers: int, outcomes: bool, seconds: float) -> None:
        cpu_s, began_s = time.process_time(), time.perf_counter()

        async def produce() -> None:
            while (start_s := time.perf_counter()) < began_s + seconds:
                receipt = await self._chron.append("decision", decision(self._chosen))
                tried.waits_s.append(time.perf_counter() - start_s)
                tried.records += 1
                if outcomes:
                    self._chron.note("outcome", {**OUTCOME, "ref": receipt.id})
                    tried.records += 1

        await asyncio.gather(*(produce() for _ in range(producers)))
        tried.took_s += time.perf_counter() - began_s
        tried.cpu_s += time.process_time() - cpu_s

    def close(self) -> None:
        """Close it."""
        self._chron.close(60)
        self._runner.close()


def beside(folder: Path) -> None:
    """Print the Chron beside the others."""
    alone, one, many, more = (Growing(folder / f"{name}.db") for name in ("alone", "one", "many", "more"))
    ways: dict[str, Callable[[Tried], None]] = {
        "raw 4 KiB, fdatasync": lambda tried: raw_sync(folder, tried),
        "JSON line, fsync": lambda tried: json_lines(folder, tried),
        "sqlite-utils insert": lambda tried: inserts(folder, tried, wal=False),
        "sqlite-utils insert, WAL": lambda tried: inserts(folder, tried, wal=True),
        "Chron, 1 producer, decisions alone": lambda tried: alone.append(tried, 1, outcomes=False),
        "Chron, 1 producer": lambda tried: one.append(tried, 1),
        "Chron, 64 producers": lambda tried: many.append(tried, 64),
        "Chron, 256 producers": lambda tried: more.append(tried, 256),
    }
    _print_tried(_in_turns(ways))
    for log in (alone, one, many, more):
        log.close()


def lengths(folder: Path, records: int) -> None:
    """Print how fast a log grows that was empty, and one of so many records."""
    grow(folder / "long.db", records)
    short, long = Growing(folder / "short.db"), Growing(folder / "long.db")
    ways: dict[str, Callable[[Tried], None]] = {"raw 4 KiB, fdatasync": lambda tried: raw_sync(folder, tried)}
    for producers in (1, 64):
        for name, log in (("from empty", short), (f"behind {records:,}", long)):
            ways[f"{name}, {producers} producers"] = partial(log.append, producers=producers)
    _print_tried(_in_turns(ways))
    short.close()
    long.close()
    _print_room(folder / "long.db")
    for what, indexes in (("verify", True), ("verify, no indexes", False)):
        cpu_s, start_s = time.process_time(), time.perf_counter()
        found = verify(folder / "long.db", indexes=indexes)
        cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - start_s
        assert found.ok, found.fault
        print(f"  {what}: {found.records / took_s:,.0f} records/s, {found.records / cpu_s:,.0f} for each second of CPU")


def _in_turns(ways: dict[str, Callable[[Tried], None]]) -> dict[str, Tried]:
    tried = {name: Tried() for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            way(tried[name])
    return tried


def _print_tried(tried: dict[str, Tried]) -> None:
    sync_ms = statistics.median(next(iter(tried.values())).waits_s) * 1e3
    print(f"  {'':<34}{'records/s':>10}{'p50 ms':>9}{'x sync':>8}{'p99 ms':>9}{'CPU us':>9}")
    for name, each in tried.items():
        print(each.row(name, sync_ms))


def _print_room(path: Path) -> None:
    """How much room a record takes, by table and index."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        records = connection.execute("SELECT max(seq) FROM chron").fetchone()[0]
        print(f"  {path.stat().st_size / records:,.0f} bytes a record")
        try:
            rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC").fetchall()
        except sqlite3.OperationalError:
            return  # this SQLite was built without it: https://www.sqlite.org/dbstat.html
    for name, size_bytes in rows:
        if size_bytes > records:
            print(f"    {name:<34}{size_bytes / records:>8.0f}")


def main(records: int = RECORDS) -> None:
    """Print both comparisons."""
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=Path.cwd()) as folder:
        beside(Path(folder))
        print()
        lengths(Path(folder), records)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=RECORDS)
    main(parser.parse_args().records)
