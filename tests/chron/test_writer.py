"""Durable before told: order, batches, bounds and what becomes of producers."""

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from chron import Chron, ChronError, find, verify
from chron.damaged import Careful
from chron.ledger import Ledger


class Stall:
    """Holds the writer inside a commit until released."""

    def __init__(self, monkeypatch):
        self.entered, self.go = threading.Event(), threading.Event()
        commit = Ledger.commit

        def stalled(ledger, *args):
            self.entered.set()
            assert self.go.wait(30)
            commit(ledger, *args)

        monkeypatch.setattr(Ledger, "commit", stalled)


@pytest.fixture
def stall(monkeypatch):
    """Call it after opening, to hold the commits that follow."""
    stalls = []
    yield lambda: stalls.append(Stall(monkeypatch)) or stalls[-1]
    for stalled in stalls:
        stalled.go.set()


async def test_a_receipt_names_what_is_on_disk(open_chron, path, rows):
    """When append returns, another connection reads exactly what was handed in."""
    chron = open_chron(clock_ns=lambda: 1_767_225_600_123_456_789, session="s1")
    receipt = await chron.append(
        "decision", {"agent": "deploy-bot", "outcome": "DENY", "org": None, "ok": True, "n": 7}
    )
    assert receipt.seq == 2
    [(seq, id_, body, hash_, agent, outcome, ts)] = rows(
        "SELECT seq, id, body, hash, agent, outcome, ts FROM chron WHERE id = ?", receipt.id
    )
    assert (seq, id_, hash_) == (2, receipt.id, receipt.hash)
    assert body == (
        f'{{"agent":"deploy-bot","id":"{receipt.id}","kind":"decision","n":7,"ok":true,"outcome":"DENY",'
        '"seq":2,"ts":"2026-01-01T00:00:00.123456Z","v":1}'
    )
    assert (agent, outcome, ts) == ("deploy-bot", "DENY", "2026-01-01T00:00:00.123456Z")


async def test_many_producers_make_one_gapless_log(open_chron, path, rows):
    """Sixty-four tasks share the writer: every seq is given once, and each producer's stay in order."""
    chron = open_chron()

    async def produce(number):
        return [await chron.append("decision", {"agent": f"a{number}", "target": f"{n}"}) for n in range(20)]

    receipts = await asyncio.gather(*(produce(number) for number in range(64)))
    chron.close()
    assert sorted(receipt.seq for each in receipts for receipt in each) == list(range(2, 2 + 64 * 20))
    assert all([r.seq for r in each] == sorted(r.seq for r in each) for each in receipts)
    found = verify(path, lint=True)
    assert (found.ok, found.records) == (True, 2 + 64 * 20)
    ids = [id_ for (id_,) in rows("SELECT id FROM chron WHERE kind = 'decision' ORDER BY seq")]
    assert ids == sorted(ids)


async def test_what_waits_shares_one_commit_and_one_wake_up(open_chron, stall, monkeypatch):
    """Records that gather during a commit go out in one batch, and their loop is woken once."""
    chron = open_chron()
    stalled = stall()
    first = chron.append("decision", {})
    assert await asyncio.to_thread(stalled.entered.wait, 30)
    others = [chron.append("decision", {"target": str(n)}) for n in range(100)]
    wakes = []
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a, **k: wakes.append(a[0]) or wake(*a, **k))
    stalled.go.set()
    await asyncio.gather(first, *others)
    assert [call.__name__ for call in wakes].count("_resolve") == 2
    assert [other.result().seq for other in others] == list(range(3, 103))


@pytest.mark.parametrize("undone", ["INSERT", "COMMIT"])
@pytest.mark.parametrize("records", [1, 40])
async def test_a_statement_that_came_to_nothing_is_no_record(open_chron, path, monkeypatch, undone, records):
    """Whatever it returned: its producers are told, and what is told of is in the log."""
    chron = open_chron()
    execute = Careful.execute
    monkeypatch.setattr(
        Careful,
        "execute",
        lambda log, said, *given: execute(log, "SELECT 1") if said.startswith(undone) else execute(log, said, *given),
    )
    appended = chron.append_many([("decision", {"target": str(n)}) for n in range(records)])
    if (undone, records) != ("COMMIT", 1):  # one statement is its own commit
        with pytest.raises(ChronError, match="did not take"):
            await appended
    else:
        await appended
    monkeypatch.undo()
    await chron.append("decision", {"target": "behind"})
    chron.close()
    told = ["0"] if (undone, records) == ("COMMIT", 1) else []
    assert [each.fields["target"] for each in find(path, kind="decision")] == [*told, "behind"]
    assert verify(path).ok


async def test_append_many_is_adjacent(open_chron, rows):
    """The operations of one request stand next to each other, whoever else appends."""
    chron = open_chron()
    requests = [[("decision", {"request": f"r{n}", "target": str(i)}) for i in range(3)] for n in range(30)]
    all_receipts = await asyncio.gather(*(chron.append_many(request) for request in requests))
    for receipts in all_receipts:
        seqs = [receipt.seq for receipt in receipts]
        assert seqs == list(range(seqs[0], seqs[0] + 3))
    assert len(rows("SELECT 1 FROM chron WHERE kind = 'decision'")) == 90
    assert await chron.append_many([]) == ()


async def test_append_many_is_all_or_nothing(open_chron, rows):
    """One record that cannot be written takes its siblings with it, and nobody else."""
    chron = open_chron()
    bad = chron.append_many([("decision", {"target": "a"}), ("decision", {"path": "x" * 70_000})])
    good = chron.append("decision", {"target": "b"})
    with pytest.raises(ChronError, match="the limit is 65536; shorten its fields"):
        await bad
    assert (await good).seq == 2
    assert rows("SELECT body->>'$.target' FROM chron WHERE kind = 'decision'") == [("b",)]
    with pytest.raises(ChronError, match='field "cost" is a float'):
        chron.append_many([("decision", {"target": "c"}), ("decision", {"cost": 1.5})])
    assert chron.faults() is None


async def test_a_producer_that_went_away_is_no_error(open_chron, stall, rows):
    """A cancelled producer's record is kept, and the others get theirs."""
    chron = open_chron()
    stalled = stall()
    gone = asyncio.ensure_future(chron.append("decision", {"target": "gone"}))
    stays = chron.append("decision", {"target": "stays"})
    assert await asyncio.to_thread(stalled.entered.wait, 30)
    gone.cancel()
    stalled.go.set()
    await stays
    assert gone.cancelled()
    assert rows("SELECT body->>'$.target' FROM chron WHERE kind = 'decision' ORDER BY seq") == [("gone",), ("stays",)]


def test_a_loop_that_went_away_is_no_error(open_chron, stall):
    """A record whose event loop was closed meanwhile is kept, and the writer lives on."""
    chron = open_chron()
    stalled = stall()

    async def hand_in():
        chron.append("decision", {"target": "orphan"})
        assert await asyncio.to_thread(stalled.entered.wait, 30)

    asyncio.run(hand_in())
    stalled.go.set()

    async def again():
        return await chron.append("decision", {})

    assert asyncio.run(again()).seq == 3


async def test_waiting_is_bounded(open_chron, stall, monkeypatch):
    """When the disk cannot keep up, producers are refused at once instead of filling the memory."""
    monkeypatch.setattr("chron.writer.MOST_WAITING", 10)
    chron = open_chron()
    stalled = stall()
    first = chron.append("decision", {})
    assert await asyncio.to_thread(stalled.entered.wait, 30)
    waiting = [chron.append("decision", {}) for _ in range(10)]
    with pytest.raises(ChronError, match="the Chron is overloaded: 10 records wait for the disk"):
        chron.append("decision", {})
    stalled.go.set()
    await asyncio.gather(first, *waiting)
    assert (await chron.append("decision", {})).seq == 13


async def test_fields_are_taken_as_they_were(open_chron, rows):
    """Changing the mapping after the call changes nothing."""
    chron = open_chron()
    fields = {"target": "before"}
    appended = chron.append("decision", fields)
    fields["target"] = "after"
    await appended
    assert rows("SELECT body->>'$.target' FROM chron WHERE kind = 'decision'") == [("before",)]


async def test_a_clock_that_steps_back_is_noted(open_chron, rows, path):
    """Records keep their order and their ids keep growing when the clock goes back; more than 5 s gets a note."""
    now_s = [1_800_000_000]
    chron = open_chron(clock_ns=lambda: now_s[0] * 1_000_000_000)
    await chron.append("decision", {})
    now_s[0] -= 4
    await chron.append("decision", {})
    now_s[0] -= 60
    await chron.append("decision", {})
    await chron.append("decision", {})
    chron.close()
    notes = rows("SELECT seq, body->>'$.back_s' FROM chron WHERE body->>'$.event' = 'clock_back'")
    assert notes == [(4, 60)]
    ids = [id_ for (id_,) in rows("SELECT id FROM chron WHERE kind = 'decision' ORDER BY seq")]
    assert ids == sorted(ids)
    now_s[0] -= 3600
    open_chron(clock_ns=lambda: now_s[0] * 1_000_000_000)
    notes = rows("SELECT seq, body->>'$.back_s' FROM chron WHERE body->>'$.event' = 'clock_back'")
    assert notes == [(4, 60), (8, 3600)]
    assert verify(path).ok


def test_texts_are_kept_once_and_seen_by_version(open_chron, rows, path):
    """A text is kept once by digest, its first digest under a version stays the known one, also after a restart."""
    chron = open_chron()
    skill = ("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n")
    mapping = ("mapping", "github", "", "d2", "rules: []\n")
    chron.keep([skill, mapping, skill])
    chron.keep([skill])
    chron.close()
    chron = open_chron()
    chron.keep([skill, ("skill", "deploy-v2", "1", "d3", "skill: changed\n")])
    assert chron.seen() == {("skill", "deploy-v2", 1): "d1"}
    chron.close()
    assert rows("SELECT kind, id, version, digest, text FROM artefact ORDER BY seq") == [
        ("skill", "deploy-v2", "1", "d1", "skill: deploy-v2\n"),
        ("mapping", "github", "", "d2", "rules: []\n"),
        ("skill", "deploy-v2", "1", "d3", "skill: changed\n"),
    ]
    assert len(rows("SELECT 1 FROM chron WHERE kind = 'text'")) == 3
    assert verify(path).ok
    with pytest.raises(ChronError, match="the Chron is closed"):
        chron.keep([("skill", "new", 1, "d4", "x")])


def test_a_text_that_is_no_unicode_is_refused(open_chron):
    """A text with a lone surrogate has no digest anybody could check."""
    with pytest.raises(ChronError, match='skill "x" is not Unicode text; write the file as UTF-8'):
        open_chron().keep([("skill", "x", 1, "d", "\ud800")])


async def test_closing_writes_what_waits(open_chron, stall, rows):
    """Close flushes the queue, ends the log with a close record and refuses what comes later."""
    chron = open_chron()
    waiting = [chron.append("decision", {"target": str(n)}) for n in range(50)]
    await asyncio.to_thread(chron.close)
    assert [receipt.seq for receipt in await asyncio.gather(*waiting)] == list(range(2, 52))
    [(kind, event)] = rows("SELECT kind, body->>'$.event' FROM chron ORDER BY seq DESC LIMIT 1")
    assert (kind, event) == ("lifecycle", "close")
    with pytest.raises(ChronError, match="the Chron is closed; open it again"):
        chron.append("decision", {})
    assert chron.faults() == "the Chron is closed; open it again"
    chron.close()


async def test_closing_does_not_hang(open_chron, stall):
    """A disk that does not answer makes close fail after its time, with the lock still held."""
    chron = open_chron()
    stalled = stall()
    appended = chron.append("decision", {})
    assert await asyncio.to_thread(stalled.entered.wait, 30)
    with pytest.raises(ChronError, match=r"did not close within 0\.01 s; its last records may be missing"):
        chron.close(timeout_s=0.01)
    with pytest.raises(ChronError, match="is open in another process"):
        Chron.open(chron.path)
    stalled.go.set()
    await appended
    chron.close()


def test_the_context_manager_closes(path, rows):
    """Leaving the block closes the Chron cleanly."""
    with Chron.open(path, low_water_bytes=0):
        pass
    assert rows("SELECT body->>'$.event' FROM chron ORDER BY seq") == [("open",), ("close",)]


async def test_other_programs_read_while_we_write(open_chron, path):
    """A reader with an open transaction does not hold the writer up."""
    chron = open_chron()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM chron").fetchone()
        await chron.append("decision", {})
        assert reader.execute("SELECT count(*) FROM chron").fetchone() == before
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM chron").fetchone() == (2,)
