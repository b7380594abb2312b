"""What a record takes in a log as a gate writes it, and what of it goes where; part of `make bench`.

    bench_bytes.py                   100,000 records, some ten seconds

The bodies are those that `claiim rehearse` leaves: seven of ten requests allowed on the wire and two denied, each with
its outcome, one asked over the API; paths are of all lengths. Pages are counted by SQLite itself, so that no other job
on the machine has a say.
"""

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bench_durable import write_in_bulk

from chron import find
from chron.batch import Draft
from chron.ids import Ids
from proxy.rehearsal import rehearse

RECORDS = 100_000
MOST_LONGER = 40
"""By how many "/x" a path is longer than that of the rehearsal, at most."""
_OF_THE_LOG = ("v", "seq", "id", "ts", "kind")

type Fields = dict[str, str | int | bool | None]


def rehearsed(folder: Path) -> list[Fields]:
    """Return what a rehearsal recorded: two decisions on the wire, each with its outcome, and two over the API."""
    told = asyncio.run(rehearse(folder, datetime.now(UTC)))
    assert not told.faults, told.faults
    found = [record.fields for record in find(folder / "chron.db") if record.kind in ("decision", "outcome")]
    return [{name: value for name, value in fields.items() if name not in _OF_THE_LOG} for fields in found]


def drafts(bodies: list[Fields], records: int) -> Iterator[Draft]:
    """Yield so many records, or one more."""
    allowed, sent, denied, blocked, *asked = bodies
    chosen, ids, at_ns = random.Random(20260101), Ids(), time.time_ns()
    request, number = str(allowed["request"]).removesuffix("1"), 0
    while number < records:
        at_ns, sort = at_ns + 1_000_000, chosen.randrange(10)
        if sort == 9:
            yield ids.next(at_ns), at_ns, "decision", chosen.choice(asked)
            number += 1
            continue
        decision, outcome = (allowed, sent) if sort < 7 else (denied, blocked)
        path = f"{decision['path']}{'/x' * chosen.randrange(MOST_LONGER)}"
        decided = ids.next(at_ns)
        yield decided, at_ns, "decision", {**decision, "request": f"{request}{number}", "path": path}
        took_us = chosen.randrange(500, 90_000)
        yield ids.next(at_ns), at_ns, "outcome", {**outcome, "ref": decided, "duration_us": took_us}
        number += 2


def bytes_a_record(path: Path) -> dict[str, float]:
    """Return what a record takes in the file, all of it and by parts."""
    with closing(sqlite3.connect(path)) as connection:
        records, bodies = connection.execute("SELECT count(*), sum(length(CAST(body AS BLOB))) FROM chron").fetchone()
        # https://www.sqlite.org/dbstat.html
        pages = connection.execute("SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name").fetchall()
    numbers = {"all": sum(size for _, size, _ in pages) / records, "body": bodies / records}
    for name, size, unused in pages:
        if name == "chron":
            numbers |= {"table": size / records, "table: room at the ends of pages": unused / records}
        elif size > records:
            numbers[f"index {name}"] = size / records
    return numbers


def main(records: int = RECORDS) -> None:
    """Write such a log in a temporary folder and print what a record takes."""
    with tempfile.TemporaryDirectory(prefix="claiim-") as temporary:
        path = Path(temporary, "bytes.db")
        write_in_bulk(path, drafts(rehearsed(path.parent), records))
        for name, value in bytes_a_record(path).items():
            print(f"  {name:<38}{value:>8,.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--records", type=int, default=RECORDS)
    main(parser.parse_args().records)
