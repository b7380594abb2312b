"""Four gates and one PostgreSQL server, a chain for each; part of `make bench`.

    bench_postgres.py        half a minute

A private server with fsync (below /tmp, where another user than root may go) and four processes that write the same
facts for some seconds, with 1, 16 and 64 under way each: as chains, with their hashes, guards and the directory; as a
control, a plain table and a commit for as many rows at a time; and a Chron in a file for each process. Told are records
in a second of all four together, and the wait for one. The guards run in the server, which the plain table is spared.
"""

import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.queues import Queue
from pathlib import Path

from bench_chron import DECISION

from chron import Chron, Signing
from chron.postgres.connection import connected
from chron.postgres.whole import verify_whole

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

PROCESSES, SECONDS = 4, 4.0

type Told = "Queue[tuple[int, list[float]]]"


def _append(source: str | Path, key: Path, under_way: int, told: Told) -> None:
    async def work() -> None:
        with Chron.open(source, signing=Signing(key), low_water_bytes=0) as chron:
            waits: list[float] = []
            end_s = time.perf_counter() + SECONDS

            async def produce() -> None:
                while (start_s := time.perf_counter()) < end_s:
                    await chron.append("decision", {**DECISION, "channel": "api"})
                    waits.append(time.perf_counter() - start_s)

            await asyncio.gather(*(produce() for _ in range(under_way)))
        told.put((len(waits), waits))

    asyncio.run(work())


def _as_chains(folder: Path, url: str, number: int, under_way: int, told: Told) -> None:
    chain = f"gate-{number}-{under_way}"
    _append(url.format(role="gate", chain=chain), folder / f"{chain}.key", under_way, told)


def _in_files(folder: Path, _: str, number: int, under_way: int, told: Told) -> None:
    name = f"file-{number}-{under_way}"
    _append(folder / f"{name}.db", folder / f"{name}.key", under_way, told)


def _as_a_table(_: Path, url: str, __: int, under_way: int, told: Told) -> None:
    body, waits, records = json.dumps(DECISION), list[float](), 0
    with closing(connected(url.format(role="admin", chain="plain"), reads=False)) as connection:
        end_s = time.perf_counter() + SECONDS
        while (start_s := time.perf_counter()) < end_s:
            connection.raw.execute("INSERT INTO public.plain(body) SELECT unnest(%s::text[])", ([body] * under_way,))
            waits.append(time.perf_counter() - start_s)
            records += under_way
    told.put((records, waits))


def _together(work: Callable[[Path, str, int, int, Told], None], folder: Path, url: str, under_way: int) -> str:
    context = multiprocessing.get_context("spawn")
    told: Told = context.Queue()
    made = [context.Process(target=work, args=(folder, url, number, under_way, told)) for number in range(PROCESSES)]
    for process in made:
        process.start()
    answers = [told.get() for _ in made]
    for process in made:
        process.join()
    waits = sorted(wait for _, each in answers for wait in each)
    rate = sum(records for records, _ in answers) / SECONDS
    p50_ms, p99_ms = statistics.median(waits) * 1e3, waits[len(waits) * 99 // 100] * 1e3
    return f"{rate:>9,.0f}/s  wait p50 {p50_ms:>8.2f} ms, p99 {p99_ms:>8.2f} ms"


def main() -> None:
    """Print a line for each way; say so where there is no server to run."""
    from support.postgres import installed, served

    if not installed():
        print("  PostgreSQL is not installed; left out")
        return
    with tempfile.TemporaryDirectory(prefix="postgres-bench-", dir=Path.cwd()) as temporary, served() as server:
        database = server.database()
        database.run("CREATE TABLE public.plain(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)")
        url = database.url("{chain}", "{role}")
        print(f"{PROCESSES} processes")
        for under_way in (1, 16, 64):
            for name, work in (("chains", _as_chains), ("a plain table", _as_a_table), ("files", _in_files)):
                told = _together(work, Path(temporary), url, under_way)
                print(f"  {name + ',':<14} {under_way:>2} under way  {told}")
        start_s = time.perf_counter()
        found = verify_whole(database.url(), time.time_ns())
        if not found.ok:
            raise SystemExit(f"what was written does not verify: {found.fault or found.chains}")
        records, took_s = sum(each.records for each in found.chains.values()), time.perf_counter() - start_s
        print(f"  verified: {records:,} records of {len(found.chains)} chains, {records / took_s:,.0f}/s")


if __name__ == "__main__":
    main()
