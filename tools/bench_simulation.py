"""How many recorded decisions a simulation puts before other texts in a second; run by `make bench`, never a test.

    bench_simulation.py [DECISIONS]      200,000 when none is given

Each decision has its outcome beside it, as in a real log, and is as large as a real one. Three texts are tried: actions
alone decide; conditions on environment, client and access; and limits and times, where no two questions are the same.
The log is written in bulk, without the writer's `fsync`: what is measured is reading.
"""

import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench_chron import DECISION

from chron import schema
from chron.body import VERSION, canonical
from chron.chain import chain_hash, leaf_hash
from mappings.documents import read_document
from policies import Policies, PolicyError, compile_policies
from proxy.simulation import Replay, tallied

DECISIONS = 200_000
AGENTS, ACTIONS, TARGETS = 50, 300, 5_000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

TEXTS = {
    "actions alone": ["deploy:stage-1*"],
    "conditions": [
        "{action: 'deploy:stage-*', when: {environment: [production], client: ['127.0.0.0/8'], access: write}}"
    ],
    "limits, times and targets": [
        "{action: 'deploy:stage-*', when: {time: {zone: UTC, to: '22:00'}, target: 'production/*'}}",
    ],
}
LIMITS = "limits:\n- {action: 'deploy:*', most: 500, per: day, of: agent}\n"


def texts(name: str) -> Policies:
    """Return the set of texts that is tried."""
    agents = "".join(
        f"- {{id: bot-{n}, anchor: alice@acme.test, org: acme, state: active, skill: deploy}}\n" for n in range(AGENTS)
    )
    registry = f"version: 1\nhumans:\n- {{id: alice@acme.test, org: acme, state: active}}\nagents:\n{agents}"
    skill = "skill: deploy\nallow:\n" + "".join(f"- {line}\n" for line in TEXTS[name])
    skill += LIMITS if name.startswith("limits") else ""
    documents = [read_document(text, source, error=PolicyError) for text, source in ((registry, "a"), (skill, "s"))]
    return compile_policies(documents[0], documents[1:])


def write_log(path: Path, decisions: int) -> None:
    """Write a Chron of that many decisions and outcomes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.create(connection)
        for guard in schema.GUARDS:
            connection.execute(f"DROP TRIGGER {guard}")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", _rows(decisions))
        connection.execute("COMMIT")


def _rows(decisions: int) -> Iterator[tuple[int, str, str, bytes, bytes]]:
    chosen, before = random.Random(20260101), b"\0" * 32
    for seq in range(1, 2 * decisions + 1):
        id_, at = f"chr_{seq:026d}", BEGIN + timedelta(seconds=seq)
        agent = chosen.randrange(AGENTS)
        if seq % 2:
            fields = {
                **DECISION,
                "stage": "policy",
                "at": at.isoformat(timespec="microseconds"),
                "agent": f"bot-{agent}",
                "action": f"deploy:stage-{chosen.randrange(ACTIONS)}",
                "target": f"production/api-{chosen.randrange(TARGETS)}",
                "client": f"127.0.{agent}.{chosen.randrange(3)}",
                "access": "write",
                "request": f"s-{seq}",
            }
            kind = "decision"
        else:
            fields = {"channel": "wire", "ref": f"chr_{seq - 1:026d}", "result": "blocked", "status": 403}
            kind = "outcome"
        ts = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        text, data = canonical({**fields, "v": VERSION, "seq": seq, "id": id_, "ts": ts, "kind": kind})
        leaf = leaf_hash(data)
        before = chain_hash(before, leaf)
        yield seq, id_, text, leaf, before


def main(decisions: int = DECISIONS) -> None:
    """Write the log, try each set of texts, print the rates."""
    with tempfile.TemporaryDirectory(prefix="simulation-bench-", dir=Path.cwd()) as folder:
        path = Path(folder) / "chron.db"
        write_log(path, decisions)
        for name in TEXTS:
            start_s, cpu_s = time.perf_counter(), time.process_time()
            tally = tallied(Replay(path, texts(name)).decisions())
            took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
            assert tally.decided == decisions, tally.left_out
            million = f"a million in {1e6 * took_s / decisions:.0f} s, {1e6 * cpu_s / decisions:.0f} s of CPU"
            print(f"  {name:<28}{decisions / took_s:>10,.0f} decisions/s   {million}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
