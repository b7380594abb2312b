"""Any bit of a log's files, flipped: it is noticed, or all that anybody can read stays as it was."""

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

import chron
from chron import Cadence, Chron, ChronError, Known, Signing, find, parse_vkey, verify
from support.torture.numbers import SEED, how_many, tell

FLIPS = how_many(250, 20_000)
ASKED = (
    "SELECT * FROM chron NOT INDEXED ORDER BY seq",
    "SELECT seq, body FROM chron ORDER BY id",
    "SELECT seq, body FROM chron ORDER BY ts",
    "SELECT seq, body FROM chron WHERE agent = 'bot-1' ORDER BY seq",
    "SELECT seq, body FROM chron WHERE action = 'deploy:staging' ORDER BY seq",
    "SELECT seq, body FROM chron WHERE outcome = 'DENY' ORDER BY seq",
    "SELECT seq, body FROM chron WHERE kind = 'checkpoint' AND kind NOT IN ('decision', 'outcome')",
    "SELECT seq, body FROM chron WHERE seq > 20 AND seq <= 40",
    "SELECT * FROM decisions ORDER BY seq",
    "SELECT * FROM artefact ORDER BY digest",
)
"""Through the table, each way of asking through an index, and the kept texts."""

ALONE = Path(chron.__file__).with_name("standalone.py")
IN_ORDER = (
    "SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron ORDER BY seq",
    "SELECT seq, text FROM artefact ORDER BY seq",
)


async def _made(path: Path) -> None:
    log = Chron.open(path, low_water_bytes=0, signing=Signing(path.with_name("key.pem"), cadence=Cadence(20)))
    log.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n")])
    for number in range(40):
        fields = {"channel": "wire", "agent": f"bot-{number % 3}", "action": "deploy:staging"}
        decided = await log.append("decision", {**fields, "outcome": "ALLOW" if number % 2 else "DENY"})
        await log.append("outcome", {"ref": decided.id, "result": "sent", "status": 200})
    log.checkpoint()
    for suffix in ("", "-wal"):
        # As a gate leaves it that is killed.
        shutil.copyfile(f"{path}{suffix}", path.with_name(f"crashed.db{suffix}"))
    log.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed log of forty decisions on the wire, with a text, of twenty-odd pages."""
    path = tmp_path_factory.mktemp("bits") / "chron.db"
    asyncio.run(_made(path))
    return path


def answers(path: Path, asked: Iterable[str] = ASKED) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
        return [reader.execute(statement).fetchall() for statement in asked]


def noticed(path: Path, known: Known) -> bool:
    """Whether verifying says that something is wrong; a trace is no way to say it."""
    try:
        return not verify(path, known=known, jobs=1).ok
    except ChronError:
        return True


def noticed_alone(path: Path) -> bool:
    """The same of the verifier that shares no code; it looks at records and texts alone, in their order."""
    done = subprocess.run([sys.executable, ALONE, path], capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    return done.returncode == 1


def test_any_bit_of_the_file_is_noticed_or_changes_nothing(log, tmp_path):
    """Of the whole file: records, indexes, texts, SQLite's own pages; only what nobody reads may change unnoticed."""
    content, right, chance = log.read_bytes(), answers(log), random.Random(f"{SEED} bits")
    told = answers(log, IN_ORDER)
    # Three in four where something is written: most of a small log's file is room for more.
    used = [at for at, byte in enumerate(content) if byte]
    path, found = tmp_path / "chron.db", 0
    for number in range(FLIPS):
        at, bit = chance.choice(used) if number % 4 else chance.randrange(len(content)), chance.randrange(8)
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        if noticed(path, Known()):
            found += 1
        else:
            assert answers(path) == right, (at, bit)
        if number % 20 == 0 and not noticed_alone(path):
            records, texts = answers(path, IN_ORDER)
            # That a text is gone altogether it does not look for, and says so.
            assert records == told[0], (at, bit)
            assert set(texts) <= set(told[1]), (at, bit)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert found > FLIPS // 4
    tell(f"bits: {FLIPS} flipped, {found} noticed, the others change nothing that is read")


def test_any_bit_of_the_write_ahead_log_is_noticed_or_changes_nothing(log, tmp_path):
    """For SQLite it ends where a bit is wrong, as if it had been cut there: a head kept elsewhere tells."""
    crashed = log.with_name("crashed.db")
    file, wal = crashed.read_bytes(), crashed.with_name("crashed.db-wal").read_bytes()
    right = answers(crashed)[0]
    record = list(find(crashed, kind="checkpoint"))[-1]
    assert len(right) == record.seq  # the last one holds the head itself, which covers what is before it
    known = Known(parse_vkey(next(find(log, kind="key")).text("vkey")), record.text("note"))
    path, chance, found = tmp_path / "chron.db", random.Random(f"{SEED} wal"), 0
    for _ in range(FLIPS // 4):
        changed, at = bytearray(wal), chance.randrange(len(wal))
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(file)
        path.with_name("chron.db-wal").write_bytes(changed)
        path.with_name("chron.db-shm").unlink(missing_ok=True)
        if noticed(path, known):
            found += 1
        else:
            assert answers(path)[0][: len(right) - 1] == right[:-1], at
    assert found
    tell(f"bits of the write-ahead log: {FLIPS // 4} flipped, {found} noticed")
