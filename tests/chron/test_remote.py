"""One log, several gates: handing in over the socket is the same as writing here, and nothing is lost."""

import asyncio
import contextlib
import json
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from chron import ChronError, find, verify
from chron.batch import Entry
from chron.frames import HEADER_BYTES, MAX_FRAME_BYTES, length, packed, to_entry, unpacked
from chron.peer import MOST_UNDER_WAY
from chron.remote import RemoteChron, RemoteWriter
from support.daemon import Daemon, awaited, joined, until_connected_again, wire
from support.until import until


async def test_a_receipt_means_on_disk_as_ever(daemon):
    """Records, batches, texts, notes and checkpoints, from two gates at once: one chain that verifies."""
    first, second = [await asyncio.to_thread(RemoteChron.join, daemon.place, daemon.path, session=s) for s in "ab"]
    receipts = await asyncio.gather(
        *(chron.append("decision", wire(n)) for n in range(50) for chron in (first, second))
    )
    first_seq = min(each.seq for each in receipts)
    assert sorted(each.seq for each in receipts) == list(range(first_seq, first_seq + 100))
    stored = {record.id: record.seq for record in find(daemon.path, kind="decision")}
    assert {each.id: each.seq for each in receipts} == stored
    one, two = await first.append_many([("decision", wire()), ("decision", wire())])
    assert two.seq == one.seq + 1
    await asyncio.to_thread(first.keep, [("skill", "s", 1, "d1", "text")])
    for receipt in (*receipts, one, two):
        second.note("outcome", {"ref": receipt.id, "result": "sent"})
    note = await asyncio.to_thread(second.checkpoint)
    assert note == second.newest_checkpoint
    for chron in (first, second):
        await asyncio.to_thread(chron.close)
    assert len(list(find(daemon.path, kind="outcome"))) == 102
    assert not [each for each in find(daemon.path, kind="outcome") if each.text("result") != "sent"]
    events = [record.text("event") for record in find(daemon.path, kind="lifecycle")]
    assert events == ["open", "join", "join", "leave", "leave"]
    assert verify(daemon.path).ok


async def test_bodies_go_and_segments_are_sealed_through_it_too(daemon):
    """What lets bodies go is asked of the writer as everything else."""
    with joined(daemon) as chron:
        receipt = await chron.append("decision", {"channel": "api", "agent": "x"})
        assert await asyncio.to_thread(chron.empty, "erasure", [(receipt.seq, receipt.seq)], {"basis": "b"}) == 1
    assert verify(daemon.path).emptied == 1


async def test_a_bad_record_is_refused_and_harms_nobody(daemon):
    """What a body cannot hold raises at once; what the writer refuses fails its producer alone."""
    with joined(daemon) as chron:
        with pytest.raises(ChronError, match="is a float"):
            chron.append("decision", {"cost": 1.5})
        with pytest.raises(ChronError, match="only the Chron itself signs checkpoints"):
            await chron.append("checkpoint", {"size": 1})
        with pytest.raises(ChronError, match='a gate does not say "mark" of a log that it shares'):
            await chron.append("lifecycle", {"event": "mark", "resolved_to": 10**9})
        assert (await chron.append("decision", wire())).seq
        with pytest.raises(ChronError, match="the key of a shared Chron is its writer's"):
            chron.rotate_key()


async def test_while_the_writer_is_away_nothing_is_recorded_and_all_is_kept_that_can_be(tmp_path):
    """Whoever waits is refused at once and told what to do; outcomes are kept and arrive when the writer is back."""
    with Daemon(tmp_path) as daemon:
        chron = RemoteChron.join(daemon.place, daemon.path, session="s1")
        receipt = await chron.append("decision", wire())
        daemon.grace_s = daemon.server._grace_s = 60.0
    with pytest.raises(ChronError, match=r'does not answer at ".*start "claiim chron serve"'):
        await chron.append("decision", wire())
    assert "does not answer" in str(chron.faults())
    chron.note("outcome", {"ref": receipt.id, "result": "sent", "status": 200})
    with Daemon(tmp_path) as daemon:
        await asyncio.to_thread(chron._writer.wait_connected, 30)
        assert (await chron.append("decision", wire())).seq > receipt.seq
        await asyncio.to_thread(chron.close)
    outcomes = [each for each in find(daemon.path, kind="outcome") if each.text("ref") == receipt.id]
    assert outcomes[-1].text("result") == "sent"
    assert verify(daemon.path).ok


async def test_what_a_lost_gate_left_open_is_in_doubt(tmp_path):
    """A gate that dies without a word: its own open decisions are in doubt, those of the others are not."""
    with Daemon(tmp_path) as daemon, joined(daemon, "stays") as stays:
        kept = await stays.append("decision", wire(1))
        with socket.socket(socket.AF_UNIX) as dying:
            dying.connect(str(daemon.place))
            dying.sendall(packed({"hello": 1, "session": "dies", "pid": 1}))
            id_ = "chr_01k9z3v5xq8w7e6r5t4y3t2r1p"
            dying.sendall(packed({"n": 1, "drafts": [[id_, "decision", wire(2)]]}))
            frames = _frames(dying)
            assert next(frame for frame in frames if frame.get("n") == 1)["receipts"][0][1] == id_
            dying.shutdown(socket.SHUT_RDWR)
        found = await asyncio.to_thread(awaited, daemon.path, "outcome")
        assert [(each.text("ref"), each.text("result")) for each in found] == [(id_, "in_doubt")]
        stays.note("outcome", {"ref": kept.id, "result": "sent"})
    assert verify(daemon.path).ok


async def test_a_connection_that_breaks_loses_no_outcome(tmp_path):
    """The same gate comes back: what it left open is its own again, and each decision ends with one outcome."""
    with Daemon(tmp_path, grace_s=60.0) as daemon, joined(daemon) as chron:
        receipts = []
        for number in range(20):
            receipts.append(await chron.append("decision", wire(number)))
            if number % 5 == 4:
                daemon.cut()
                for receipt in receipts:
                    chron.note("outcome", {"ref": receipt.id, "result": "sent"})
                receipts = []
                await asyncio.to_thread(until_connected_again, chron, daemon)
    decisions = [record.id for record in find(daemon.path, kind="decision")]
    assert sorted(each.text("ref") for each in find(daemon.path, kind="outcome")) == sorted(decisions)
    assert verify(daemon.path).ok


async def test_a_decision_that_nobody_heard_of_was_not_forwarded(tmp_path, monkeypatch):
    """A record whose receipt was lost with the connection gets the outcome `blocked`: its gate forwarded nothing."""
    with Daemon(tmp_path, grace_s=60.0) as daemon:
        deaf, take = [False], RemoteWriter._take
        hears = lambda self, frame: None if deaf[0] and "receipts" in frame else take(self, frame)  # noqa: E731
        monkeypatch.setattr(RemoteWriter, "_take", hears)
        chron = RemoteChron.join(daemon.place, daemon.path, session="s1")
        deaf[0] = True
        future = chron.append("decision", wire())
        await asyncio.to_thread(awaited, daemon.path, "decision")
        daemon.cut()
        with pytest.raises(ChronError, match="does not answer"):
            await future
        deaf[0] = False
        await asyncio.to_thread(until_connected_again, chron, daemon)
        await asyncio.to_thread(chron.close)
    (decision,), (outcome,) = find(daemon.path, kind="decision"), find(daemon.path, kind="outcome")
    assert (outcome.text("ref"), outcome.text("result")) == (decision.id, "blocked")


async def test_a_gate_that_floods_is_read_no_faster_than_the_disk(daemon):
    """One gate may have so many records under way and no more: what it sends beyond waits in its own connection."""
    with joined(daemon) as chron:
        most = 0
        futures = [chron.append("decision", {"channel": "api", "n": n}) for n in range(MOST_UNDER_WAY * 6)]
        while not all(future.done() for future in futures):
            for peer in list(daemon.server._peers):
                most = max(most, peer._under_way)
            await asyncio.sleep(0)
        assert 0 < most <= MOST_UNDER_WAY
        assert len({(await future).seq for future in futures}) == len(futures)


def test_the_socket_is_its_owners_alone(daemon):
    """Mode 0600; and it is gone when the writer has stopped."""
    assert stat.S_IMODE(daemon.place.stat().st_mode) == 0o600
    daemon.__exit__()
    assert not daemon.place.exists()
    daemon.__enter__()


BAD = {
    "not JSON": b"\x00\x00\x00\x03abc",
    "not an object": (2).to_bytes(4) + b"[]",
    "too long": (MAX_FRAME_BYTES + 1).to_bytes(4) + b"x",
    "another version": packed({"hello": 99}),
    "no hello": packed({"n": 1, "drafts": []}),
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
async def test_who_speaks_otherwise_is_shut_out_and_told(daemon, sent):
    """A stranger on the socket gets one line and is cut off; the gates do not notice."""
    with joined(daemon) as chron:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(30)
            stranger.connect(str(daemon.place))
            stranger.sendall(sent)
            frames = list(_frames(stranger))
        assert "error" in frames[-1]
        assert (await chron.append("decision", wire())).seq
        chron.note("outcome", {"ref": next(find(daemon.path, kind="decision")).id, "result": "sent"})


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"drafts": 1},
        {"drafts": [["chr_x"]]},
        {"drafts": [[1, "decision", {}]]},
        {"drafts": [["chr_x", "decision", {"seq": 1}]]},
        {"drafts": [["chr_x", "decision", {"a": [1]}]]},
        {"drafts": [], "texts": [["a"]]},
        {"drafts": [["chr_x", "decision", {}]], "texts": [["skill", "s", "1", "d", "t"]]},
        {"drafts": [], "emptied": [1]},
        {"drafts": [], "emptied": ["x", "y"]},
        {"drafts": []},
        {"drafts": [], "people": ["x"]},
    ],
    ids=json.dumps,
)
def test_a_frame_that_says_nothing_sensible_is_refused(frame):
    """Whatever is not what a gate sends is an error with a message, never an exception of another kind."""
    with pytest.raises(ChronError):
        to_entry(frame, 0)


def test_who_stops_while_it_connects_ends(daemon, monkeypatch):
    """A gate that is stopped between reaching the writer and speaking to it says goodbye and ends."""
    reached, stopping, serve = threading.Event(), threading.Event(), RemoteWriter._serve

    def held(self, connection):
        reached.set()
        stopping.wait(30)
        serve(self, connection)

    monkeypatch.setattr(RemoteWriter, "_serve", held)
    writer = RemoteWriter(daemon.place, "s1")
    assert reached.wait(30)
    ending = threading.Thread(target=writer.stop, args=(30,))
    ending.start()
    until(lambda: not writer._out.empty())
    stopping.set()
    ending.join(30)
    assert (ending.is_alive(), writer.finished()) == (False, True)


def test_a_writer_that_answers_nonsense_is_one_that_is_away(tmp_path):
    """What answers without saying where the log ends is asked again and again; whoever waits is refused meanwhile."""
    place = tmp_path / "chron.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        writer = RemoteWriter(place, "s1")
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(packed({"welcome": 1}))
                assert connection.recv(1)
        with pytest.raises(ChronError, match="does not answer at"):
            writer.offer(Entry([writer.draft("decision", wire())]))
    writer.stop(0)


def test_no_writer_no_gate(tmp_path):
    """A gate that cannot reach the writer does not start, and says what to start."""
    with pytest.raises(ChronError, match=r'No such file or directory.*start "claiim chron serve"'):
        RemoteChron.join(tmp_path / "none.sock", tmp_path / "chron.db", session="s", timeout_s=0.2)


def _frames(connection: socket.socket) -> Iterator[dict[str, object]]:
    with connection.makefile("rb") as file, contextlib.suppress(ConnectionError):
        while len(header := file.read(HEADER_BYTES)) == HEADER_BYTES:
            yield unpacked(file.read(length(header)))
