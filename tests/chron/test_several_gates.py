"""What several gates do to one log does not harm each other: texts, times, ids, approvals, ends and turns."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from chron import ChronError, find, verify
from chron.batch import Entry
from chron.doubt import doubts
from chron.ledger import Ledger
from chron.peer import MOST_UNDER_WAY
from chron.remote import RemoteChron
from support.daemon import Daemon, awaited, joined, until_connected_again, wire
from support.until import until

TEXT = ("skill", "s", 1, "d1", "skill: s")
NEVER_S = 3600.0


async def test_gates_that_load_the_same_files_keep_each_text_once(daemon):
    """Both may keep it at the same time; no decision beside it fails, and each sees what the other kept."""
    with joined(daemon, "a") as first, joined(daemon, "b") as second:
        beside = [first.append("decision", wire(n)) for n in range(20)]
        other = [[TEXT, (*TEXT[:3], digest, "x")] for digest in ("d2", "d3")]
        both = [asyncio.to_thread(chron.keep, texts) for chron, texts in zip((first, second), other, strict=True)]
        await asyncio.gather(*both, *beside)
        assert first.seen() == second.seen() == {("skill", "s", 1): "d1"}
        await asyncio.to_thread(second.keep, [TEXT])
    kept = [record.text("digest") for record in find(daemon.path, kind="text")]
    assert sorted(kept) == ["d1", "d2", "d3"]
    assert [each.text("event") for each in find(daemon.path, kind="lifecycle")].count("reopen") == 0
    assert verify(daemon.path).ok


async def test_the_rules_of_a_large_site_are_kept_in_parts(daemon):
    """Thousands of texts fit; one that is too large for the writer fails alone, and the gate goes on."""
    with joined(daemon) as chron:
        await asyncio.to_thread(chron.keep, [("skill", f"s{n}", 1, "d", "x" * 2000) for n in range(2100)])
        with pytest.raises(ChronError, match="too many for the writer at once"):
            await asyncio.to_thread(chron.keep, [("skill", "large", 1, "d", "x" * (17 << 20))])
        assert (await chron.append("access", {"event": "look"})).seq
        assert chron.faults() is None
    assert len(list(find(daemon.path, kind="text"))) == 2100


async def test_the_writers_clock_is_the_only_one(daemon):
    """What a gate made long ago and hands in now is no clock that was set back."""
    with joined(daemon) as chron:
        await chron.append("access", {"event": "look"})
        chron._writer._clock_ns = lambda: 1_500_000_000_000_000_000
        receipt = await chron.append("decision", wire())
        chron.note("outcome", {"ref": receipt.id, "result": "sent"})
    assert [each.text("event") for each in find(daemon.path, kind="lifecycle")] == ["open", "join", "leave"]
    times = [str(each.fields["ts"]) for each in find(daemon.path)]
    assert times == sorted(times)


DYING = """
import asyncio, sys, time
from pathlib import Path
from chron.remote import RemoteChron
chron = RemoteChron.join(Path(sys.argv[1]), Path(sys.argv[2]), session="dies")
async def work():
    fields = {"channel": "wire", "agent": "bot", "outcome": "ALLOW"}
    print((await chron.append("decision", fields)).id, (await chron.append("decision", fields)).id, flush=True)
asyncio.run(work())
time.sleep(600)
"""


async def test_a_gate_that_is_killed_leaves_its_doubts_at_once(tmp_path):
    """Its process has ended, so nobody waits for it to come back; `claiim chron indoubt` lists what it left."""
    with Daemon(tmp_path, grace_s=NEVER_S) as daemon, joined(daemon, "stays") as stays:
        open_still = await stays.append("decision", wire())
        command = [sys.executable, "-c", DYING, str(daemon.place), str(daemon.path)]
        gate = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert gate.stdout is not None
        left = (await gate.stdout.readline()).decode().split()
        gate.kill()
        await gate.wait()
        await asyncio.to_thread(awaited, daemon.path, "outcome")
        found = {each.id: each.state for each in doubts(daemon.path)}
        assert found == {left[0]: "in doubt", left[1]: "in doubt", open_still.id: "open"}
        (gone,) = [each for each in find(daemon.path, kind="lifecycle") if each.text("event") == "gone"]
        assert (gone.text("session"), gone.fields["in_doubt"]) == ("dies", 2)
        stays.note("outcome", {"ref": open_still.id, "result": "sent"})
    assert [each.id for each in doubts(daemon.path)] == left
    assert verify(daemon.path).ok


async def test_a_gate_that_comes_back_while_the_disk_stands_still(tmp_path, monkeypatch):
    """What it had under way is on disk or refused before it is let in: nothing is written twice, and the decision of
    which it never heard is blocked, though it was not on disk yet when the gate said so."""
    goes_on, stands = threading.Event(), threading.Event()
    commit = Ledger.commit

    def slow(ledger: Ledger, rows: Any, texts: Any = ()) -> None:
        if any('"n":7' in row[2] for row in rows):
            stands.set()
            goes_on.wait(30)
        commit(ledger, rows, texts)

    monkeypatch.setattr(Ledger, "commit", slow)
    with Daemon(tmp_path, grace_s=NEVER_S) as daemon, joined(daemon, "a") as chron, joined(daemon, "b") as other:
        before = await chron.append("decision", wire())
        future = chron.append("decision", wire(7))
        await asyncio.to_thread(stands.wait)
        chron.note("outcome", {"ref": before.id, "result": "sent"})
        peer = next(each for each in daemon.server._peers if each.session == "a")
        await asyncio.to_thread(until, lambda: peer._under_way == 2)  # the outcome waits behind the decision
        daemon.cut()
        with pytest.raises(ChronError, match="does not answer"):
            await future
        back = lambda: any(each.session == "a" and each is not peer for each in list(daemon.server._peers))  # noqa: E731
        await asyncio.to_thread(until, back)
        goes_on.set()
        await asyncio.to_thread(until_connected_again, chron, daemon)
        await asyncio.to_thread(until_connected_again, other, daemon)
    first, second = find(daemon.path, kind="decision")
    outcomes = sorted((each.text("ref"), each.text("result")) for each in find(daemon.path, kind="outcome"))
    assert outcomes == sorted([(first.id, "sent"), (second.id, "blocked")])
    assert [each.text("event") for each in find(daemon.path, kind="lifecycle")].count("reopen") == 0
    assert verify(daemon.path).ok


async def test_an_approval_is_used_once_in_the_whole_log(tmp_path):
    """Two gates remember the same yes; the second use is refused, also by a writer that was started since."""
    use = [("approval", {"event": "used", "approval": "apr_1", "agent": "bot"}), ("decision", wire())]
    with Daemon(tmp_path) as daemon, joined(daemon, "a") as first, joined(daemon, "b") as second:
        await first.append_many(use)
        with pytest.raises(ChronError, match="apr_1 was used already"):
            await second.append_many(use)
        with pytest.raises(ChronError, match="is a float"):
            second.append_many([("approval", {**use[0][1], "approval": "apr_2", "x": 1.5})])
        with pytest.raises(ChronError, match="only the Chron itself"):
            await second.append_many([("approval", {**use[0][1], "approval": "apr_2"}), ("checkpoint", {"size": 1})])
        await second.append_many([("approval", {**use[0][1], "approval": "apr_2"})])
    with Daemon(tmp_path) as daemon, joined(daemon, "b") as second, pytest.raises(ChronError, match="used already"):
        await second.append_many(use)
    used = [each.text("approval") for each in find(daemon.path, kind="approval")]
    assert used == ["apr_1", "apr_2"]


async def test_nobody_waits_for_more_than_a_turn_of_the_others(daemon):
    """Counted, not timed: between a record's arrival and its place in the log stand no more records of a flooding gate
    than that one may have under way."""
    arrived: dict[str, int] = {}
    hand_in = daemon.server.hand_in

    def counted(entry: Entry, *, again: bool) -> None:
        for id_, *_ in entry.drafts:
            arrived[id_] = daemon.chron.writing.head()
        hand_in(entry, again=again)

    daemon.server.hand_in = counted
    with joined(daemon, "floods") as floods, joined(daemon, "quiet") as quiet:
        flood = [floods.append("decision", {"channel": "api", "n": n}) for n in range(MOST_UNDER_WAY * 8)]
        waits = []
        while not flood[-1].done():
            receipt = await quiet.append("decision", {"channel": "api", "quiet": True})
            waits.append(receipt.seq - arrived[receipt.id])
        await asyncio.gather(*flood)
    assert waits
    assert max(waits) <= MOST_UNDER_WAY + 1 + len(("checkpoint", "mark"))


async def test_a_writer_that_stops_answers_what_it_took_and_takes_no_more(tmp_path):
    """However fast gates hand in, it ends; each record has its answer, and those that have a receipt are there."""
    told: list[str] = []
    with Daemon(tmp_path) as daemon:
        chron = await asyncio.to_thread(RemoteChron.join, daemon.place, daemon.path, session="a")
        enough = asyncio.Event()

        async def load() -> None:
            with contextlib.suppress(ChronError):
                while True:
                    told.append((await chron.append("decision", {"channel": "api"})).id)
                    if len(told) > 200:
                        enough.set()

        loads = [asyncio.create_task(load()) for _ in range(64)]
        await enough.wait()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(daemon.server.stop(), daemon.loop))
        await asyncio.gather(*loads)
        assert "does not answer" in str(chron.faults())
    with contextlib.suppress(ChronError):
        await asyncio.to_thread(chron.close)
    assert set(told) <= {record.id for record in find(daemon.path, kind="decision")}
    assert verify(daemon.path).ok


async def test_what_the_writer_recorded_for_a_gate_is_owed_by_that_gate(tmp_path):
    """Its outcome is the gate's to tell; one whose process has ended, whether it ever came or not, leaves a doubt."""
    with Daemon(tmp_path, grace_s=NEVER_S) as daemon, joined(daemon, "a") as chron:

        async def recorded(session: str, pid: int) -> str:
            receipt = await daemon.chron.append("decision", wire())
            daemon.server.owe(session, pid, [receipt.id])
            return receipt.id

        def record(session: str, pid: int) -> str:
            return asyncio.run_coroutine_threadsafe(recorded(session, pid), daemon.loop).result()

        told = await asyncio.to_thread(record, "a", 0)
        chron.note("outcome", {"ref": told, "result": "sent"})
        gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await gone.wait()
        never_came = await asyncio.to_thread(record, "b", gone.pid)
        await asyncio.to_thread(awaited, daemon.path, "lifecycle")
        await asyncio.to_thread(until, lambda: len(list(find(daemon.path, kind="outcome"))) == 2)
        assert [each.id for each in doubts(daemon.path)] == [never_came]
    assert verify(daemon.path).ok


async def test_who_is_not_admitted_hands_nothing_in(daemon):
    """Not even a lifecycle; who is let in later comes by itself."""
    refused = True

    async def admit(session: str) -> None:
        if refused:
            raise ChronError(f"{session} is not in touch")

    daemon.server._admit = admit
    with pytest.raises(ChronError, match="a is not in touch"):
        await asyncio.to_thread(RemoteChron.join, daemon.place, daemon.path, session="a", timeout_s=0.5)
    assert [each.text("event") for each in find(daemon.path, kind="lifecycle")] == ["open"]
    refused = False
    with joined(daemon, "a") as chron:
        assert (await chron.append("access", {"event": "look"})).seq
