"""The log in numbers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from chron import Chron
from chron.filtering import All, Compare
from chron.statistics import Silence, statistics
from proxy.cli.chron import chron as command

START = datetime(2026, 3, 1, 23, 58, tzinfo=UTC)


@pytest.fixture
def log(path: Path) -> Path:
    """Six decisions: two at once, then one a minute, a silence of an hour, and the clock set back."""
    minutes = iter([0, 0, 0, 1, 2, 62, 63, 61, *[64] * 9])
    at = [START]

    def clock_ns() -> int:
        at[0] = START + timedelta(minutes=next(minutes))
        return int(at[0].timestamp()) * 1_000_000_000

    async def fill() -> None:
        with Chron.open(path, low_water_bytes=0, clock_ns=clock_ns) as chron:
            for number in range(6):
                outcome = "DENY" if number == 3 else "ALLOW"
                hostile = '"kind":"x","outcome":"HOLD"'
                await chron.append("decision", {"agent": "deploy-bot", "outcome": outcome, "target": hostile})

    asyncio.run(fill())
    return path


def test_what_is_counted(log: Path) -> None:
    """Records by kind and outcome, days, the busiest minute; what an agent wrote into a field counts as nothing."""
    found = statistics(log, Compare("kind", "=", ("decision",)))
    assert (found.records, found.kinds) == (6, (("decision", "ALLOW", 5), ("decision", "DENY", 1)))
    assert found.first.startswith("2026-03-01T23:58:00")
    assert (found.unclean, sum(records for _, records in found.days)) == (0, 6)
    assert [day for day, _ in found.days] == ["2026-03-01", "2026-03-02"]
    assert found.busiest == ("2026-03-01T23:58", 2)
    assert found.silences[0] == Silence(3600, "2026-03-02T00:00:00.000000Z", "2026-03-02T01:00:00.000000Z")
    everything = statistics(log, All(()))
    assert everything.records > 6
    assert everything.body_bytes < everything.file_bytes


def test_a_run_that_did_not_end_is_counted(path: Path) -> None:
    """The opening behind a run that was killed says so, and is counted; here of a copy, as a crash leaves it."""
    copy = path.with_name("copy.db")
    with Chron.open(path, low_water_bytes=0):
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    Chron.open(copy, low_water_bytes=0).close()
    assert [statistics(each, All(())).unclean for each in (path, copy)] == [0, 1]


def test_the_command(log: Path, tmp_path: Path) -> None:
    """Tables for people, JSON for programs, a filter like that of query, and a log of nothing that matches."""

    def run(*args: object) -> tuple[int, str]:
        result = CliRunner().invoke(command, ["stats", *map(str, args)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.stdout

    code, out = run(log)
    assert code == 0
    assert " records, " in out.splitlines()[0]
    assert "busiest minute 2026-03-0" in out
    assert "decision   ALLOW" in out
    assert "1:00:00  2026-03-02T00:00:00.000000Z" in out
    code, out = run(log, "outcome=DENY", "--json")
    assert (code, json.loads(out)["records"], json.loads(out)["kinds"]) == (0, 1, [["decision", "DENY", 1]])
    assert run(log, "agent=nobody")[1].startswith("0 records; ")
    assert run(tmp_path / "none.db")[0] == 2
