"""Several processes and one log: by the writer's socket, and by SQLite's own locks alone; part of `make bench`.

    bench_workers.py        half a minute

Four processes write the same facts for some seconds, with 1 and with 16 under way each: through `chron.serving`, and,
as a control, each with a connection of its own and `BEGIN IMMEDIATE`, 1 or 16 records in a transaction, nothing hashed.
Told are records in a second, the wait for one, and how they are shared: the least and the most of a process.
"""

import asyncio
import json
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.queues import Queue
from pathlib import Path

from bench_chron import DECISION

from chron import Chron
from chron.remote import RemoteChron
from chron.serving import WriterServer

PROCESSES, SECONDS = 4, 4.0

type Told = "Queue[tuple[int, list[float]]]"


def _through_the_writer(folder: Path, under_way: int, told: Told) -> None:
    async def work() -> None:
        chron = RemoteChron.join(
            folder / "chron.sock", folder / "chron.db", session=str(multiprocessing.current_process())
        )
        waits: list[float] = []
        end_s = time.perf_counter() + SECONDS

        async def produce() -> None:
            while (start_s := time.perf_counter()) < end_s:
                await chron.append("decision", {**DECISION, "channel": "api"})
                waits.append(time.perf_counter() - start_s)

        await asyncio.gather(*(produce() for _ in range(under_way)))
        told.put((len(waits), waits))
        await asyncio.to_thread(chron.close)

    asyncio.run(work())


def _by_locks_alone(folder: Path, under_way: int, told: Told) -> None:
    body, waits, records = json.dumps(DECISION), list[float](), 0
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 10000").close()
        connection.execute("PRAGMA synchronous = FULL").close()
        end_s = time.perf_counter() + SECONDS
        while (start_s := time.perf_counter()) < end_s:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO log(body) VALUES (?)", [(body,)] * under_way)
            connection.execute("COMMIT")
            waits.append(time.perf_counter() - start_s)
            records += under_way
    told.put((records, waits))


def _together(work: Callable[[Path, int, Told], None], folder: Path, under_way: int) -> str:
    context = multiprocessing.get_context("spawn")
    told: Told = context.Queue()
    processes = [context.Process(target=work, args=(folder, under_way, told)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    answers = [told.get() for _ in processes]
    for process in processes:
        process.join()
    shares = sorted(records for records, _ in answers)
    waits = sorted(wait for _, each in answers for wait in each)
    p50_ms, most_ms = statistics.median(waits) * 1e3, waits[-1] * 1e3
    rate = sum(shares) / SECONDS
    return (
        f"{rate:>9,.0f}/s  wait p50 {p50_ms:>8.2f} ms, longest {most_ms:>8.1f} ms  shares {shares[0]} to {shares[-1]}"
    )


async def _with_a_writer(folder: Path, under_way: int) -> str:
    with Chron.open(folder / "chron.db", low_water_bytes=0) as chron:
        server = WriterServer(folder / "chron.sock", chron.path, chron.writing)
        await server.start()
        told = await asyncio.to_thread(_together, _through_the_writer, folder, under_way)
        await server.stop()
    return told


def main() -> None:
    """Print a line for each way."""
    with tempfile.TemporaryDirectory(prefix="workers-bench-", dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        with closing(sqlite3.connect(folder / "plain.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL").close()
            connection.execute("CREATE TABLE log(seq INTEGER PRIMARY KEY, body TEXT)")
        print(f"{PROCESSES} processes, one log")
        for under_way in (1, 16):
            print(f"  writer's socket, {under_way:>2} under way   {asyncio.run(_with_a_writer(folder, under_way))}")
            print(f"  locks alone, {under_way:>2} at once         {_together(_by_locks_alone, folder, under_way)}")


if __name__ == "__main__":
    main()
