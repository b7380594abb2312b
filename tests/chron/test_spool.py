"""What is set aside on this host while the server is away: nothing is lost, nor twice, and nothing unless allowed."""

import asyncio
from pathlib import Path

import pytest

from chron import Chron, ChronError, Signing, find, prove, verify
from chron.doubt import doubts
from chron.postgres.ledger import ServerLedger, ServerStore
from chron.spool import MOST_SPOOLED
from support.postgres import PostgresServer, mortal
from support.until import until

__all__ = ["mortal"]

WIRE = {"agent": "bot", "action": "deploy:staging", "outcome": "ALLOW", "channel": "wire"}
SENT = {"result": "sent", "status": 200}


def opened(source: str, folder: Path, spool: str = "spool") -> Chron:
    return Chron.open(source, signing=Signing(folder / "gate.key"), spool=folder / spool if spool else None)


def decided(chron: Chron) -> str:
    async def write() -> str:
        return (await chron.append("decision", WIRE)).id

    return asyncio.run(write())


def sent(chron: Chron, id_: str) -> None:
    async def write() -> None:
        await chron.append("outcome", {"ref": id_, **SENT})

    asyncio.run(write())


def back(chron: Chron) -> None:
    """Wait until records reach the server again."""
    until(lambda: not chron.faults() and not chron.warning())


def ids(source: str, kind: str = "decision") -> list[str]:
    return [record.id for record in find(source, kind=kind)]


def test_an_absence_is_bridged(mortal: PostgresServer, tmp_path: Path) -> None:
    """Decisions go on, in a log of their own; then they stand in the server's, with their ids, times and outcomes."""
    source = mortal.database().url("a")
    with opened(source, tmp_path) as chron:
        before = decided(chron)
        mortal.kill()
        during = decided(chron)
        sent(chron, before)
        sent(chron, during)
        pending = decided(chron)
        (file,) = (tmp_path / "spool").glob("a.chr_*.db")
        assert verify(file).ok
        assert ids(str(file)) == [during, pending]
        times = {record.id: record.text("ts") for record in find(file)}
        assert "set aside on this host" in str(chron.warning())
        assert not chron.faults()
        with pytest.raises(ChronError, match="cannot use chron"):
            chron.keep([("skill", "deploy", "1", "d1", "skill: deploy\n")])
        for kind, fields in (("erasure", {"first": 1, "last": 2}), ("key", {"vkey": "x"}), ("policy", {"event": "x"})):
            with pytest.raises(ChronError, match="cannot use chron"):
                chron.write(kind, fields)
        mortal.start()
        back(chron)
        sent(chron, pending)
        chron.checkpoint()
        after = decided(chron)
        sent(chron, after)
    assert ids(source) == [before, during, pending, after]
    assert {record.id: record.text("ts") for record in find(source) if record.id in times}.items() <= times.items()
    (event,) = [record for record in find(source, kind="lifecycle") if record.text("event") == "spooled"]
    (taken,) = (tmp_path / "spool").iterdir()
    kept = verify(taken)
    assert taken.name.endswith(".taken.db")
    told = (event.text("log"), event.fields["records"], event.text("head"))
    assert told == (kept.name, kept.records - 1, kept.head_hash)
    assert list(doubts(source)) == []
    found = verify(source)
    assert (found.ok, found.fault) == (True, "")
    assert prove(source, during)


def test_a_gate_that_is_killed_meanwhile_takes_it_in_at_its_next_start(mortal: PostgresServer, tmp_path: Path) -> None:
    """What was set aside comes first; only then is it asked what was left without an outcome."""
    source = mortal.database().url("a")
    chron = opened(source, tmp_path)
    before = decided(chron)
    mortal.kill()
    during = decided(chron)
    sent(chron, before)
    chron.close()
    mortal.start()
    with opened(source, tmp_path):
        pass
    assert ids(source) == [before, during]
    assert [(each.id, each.state) for each in doubts(source)] == [(during, "in doubt")]
    assert verify(source).ok


def test_a_commit_that_was_not_heard_of_is_not_written_twice(
    mortal: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had it when the connection broke, and it was set aside as well: it stands there once, and counts."""
    source = mortal.database().url("a")
    commit = ServerLedger.commit
    with opened(source, tmp_path) as chron:

        def cut(ledger: ServerLedger, rows: object, texts: object = ()) -> None:
            commit(ledger, rows, texts)  # type: ignore[arg-type]
            monkeypatch.setattr(ServerLedger, "commit", commit)
            ledger.connection.raw.close()
            ledger.connection.execute("SELECT 1")

        monkeypatch.setattr(ServerLedger, "commit", cut)
        unheard = decided(chron)
        back(chron)
        sent(chron, unheard)
    assert ids(source) == [unheard]
    assert [record.text("result") for record in find(source, kind="outcome")] == ["sent"]
    assert list(doubts(source)) == []
    assert verify(source).ok


def test_nothing_is_set_aside_unless_it_is_allowed(mortal: PostgresServer, tmp_path: Path) -> None:
    """Without a spool a server that is away refuses every record."""
    source = mortal.database().url("a")
    with opened(source, tmp_path, spool="") as chron:
        mortal.kill()
        with pytest.raises(ChronError, match="cannot use chron"):
            decided(chron)
        assert chron.faults()
        mortal.start()
        until(lambda: not chron.faults())
    assert ids(source) == []


def test_a_spool_that_cannot_be_written_refuses(
    mortal: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is a file: the server is away, there is nowhere to record, and the gate says so all the time."""
    monkeypatch.setattr("chron.writer.REOPEN_EVERY_S", 0.01)
    tries, opens = [0], ServerStore.open

    def counted(store: ServerStore, origin: str) -> ServerLedger:
        tries[0] += 1
        return opens(store, origin)

    monkeypatch.setattr(ServerStore, "open", counted)
    (tmp_path / "spool").write_text("")
    source = mortal.database().url("a")
    with opened(source, tmp_path) as chron:
        mortal.kill()
        with pytest.raises(ChronError, match="spool"):
            decided(chron)
        before = tries[0]
        until(lambda: tries[0] > before + 3)
        assert "spool" in str(chron.faults())
        mortal.start()
        until(lambda: not chron.faults())
        decided(chron)


def test_a_full_spool_refuses(mortal: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds so many records and no more; what it holds reaches the server."""
    monkeypatch.setattr("chron.spool.MOST_SPOOLED", 2)
    source = mortal.database().url("a")
    with opened(source, tmp_path) as chron:
        mortal.kill()
        kept = [decided(chron), decided(chron)]
        with pytest.raises(ChronError, match=r"is full, with 3 records set aside"):
            decided(chron)
        mortal.start()
        until(lambda: not chron.faults())
    assert ids(source) == kept
    assert MOST_SPOOLED == 100_000


def test_a_log_in_a_file_has_no_spool(tmp_path: Path) -> None:
    """Its disk is this host's already."""
    with pytest.raises(ChronError, match="is a file, and a spool is for a log on a server"):
        Chron.open(tmp_path / "chron.db", spool=tmp_path / "spool")
