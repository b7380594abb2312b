"""Scanning: every record of a kind, in order, and none of another."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chron import Chron, ChronError, erased, find, kept_texts, scan
from chron import scanning as scanning_module

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def log(path: Path) -> Path:
    """Forty decisions a minute apart, each with its outcome, and texts that look like other kinds."""
    now = [START]

    def clock_ns() -> int:
        now[0] += timedelta(seconds=30)
        return int(now[0].timestamp()) * 1_000_000_000

    async def fill() -> None:
        with Chron.open(path, low_water_bytes=0, clock_ns=clock_ns) as chron:
            chron.keep([("agents", "agents", "", "d1", "version: 1\n")])
            for number in range(40):
                target = '"kind":"outcome"' if number % 2 else '\\"kind":"outcome"'
                receipt = await chron.append("decision", {"target": target, "request": f"r{number}"})
                await chron.append("outcome", {"ref": receipt.id, "error": '"kind":"decision"'})

    asyncio.run(fill())
    return path


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads of seven rows, so that a scan takes many."""
    monkeypatch.setattr(scanning_module, "_ROWS_PER_READ", 7)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("kinds", [{"decision"}, {"outcome"}, {"decision", "outcome"}, {"text"}, {"nothing"}])
def test_a_scan_finds_what_a_search_finds(log: Path, kinds: set[str]) -> None:
    """All records of these kinds in their order, whatever their texts quote."""
    found = [dict(record.fields) for record in find(log) if record.kind in kinds]
    assert list(scan(log, kinds)) == found


@pytest.mark.usefixtures("few_rows")
def test_a_scan_keeps_to_its_time(log: Path) -> None:
    """From `since` on, and up to `until` without it."""
    since, until = START + timedelta(minutes=10), START + timedelta(minutes=20)
    found = [dict(record.fields) for record in find(log, kind="decision", since=since, until=until)]
    assert found
    assert list(scan(log, {"decision"}, since=since, until=until)) == found
    assert list(scan(log, {"decision"}, since=START + timedelta(days=1))) == []


def test_a_clock_that_went_back_hides_nothing(open_chron: Callable[..., Chron], path: Path) -> None:
    """A record is in the time asked about by its own time, not by its place."""

    async def fill() -> None:
        minutes = iter([0, 5, 1, 6, 9])
        chron = open_chron(clock_ns=lambda: int((START + timedelta(minutes=next(minutes, 9))).timestamp()) * 10**9)
        for number in range(4):
            await chron.append("decision", {"target": str(number)})

    asyncio.run(fill())
    since = START + timedelta(minutes=5)
    wanted = [record.text("target") for record in find(path, kind="decision", since=since)]
    assert [fields["target"] for fields in scan(path, {"decision"}, since=since)] == wanted


def test_what_was_erased_is_counted(log: Path, harm: Callable[..., None]) -> None:
    """Of an erased record nothing says its kind any more."""
    assert erased(log) == 0
    harm("UPDATE chron SET body = NULL WHERE seq = 5")
    assert erased(log) == 1


def test_texts_are_read_by_digest(log: Path) -> None:
    """All texts of one kind that were ever obeyed."""
    assert kept_texts(log, "agents") == {"d1": "version: 1\n"}
    assert kept_texts(log, "skill") == {}


def test_no_chron_is_said_so(tmp_path: Path) -> None:
    """A scan of nothing is an error and not an empty past."""
    with pytest.raises(ChronError, match="there is no Chron at"):
        list(scan(tmp_path / "none.db", {"decision"}))
