"""A gate with anchors, end to end: what it brings there, what it says of them, and when it does not start."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import chron
from chron import ChronError, Known, last_note, parse_note, parse_vkey
from chron.notes import Checkpoint
from chron.signing import Signer
from proxy.anchoring import GRACE, Anchoring
from proxy.anchors import AnchorError, FileAnchor
from proxy.checkpointconfig import CheckpointsConfig
from proxy.config import ConfigError
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.store import ObjectStore
from support.targets import Origin
from support.waiting import Clock

type MakeGate = Callable[..., LiveGate]
type Run = Callable[..., Result]


@pytest.fixture
def make_gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> MakeGate:
    """A gate in one folder, each time it is made, with these anchors."""

    def make(*anchors: dict[str, object], **settings: object) -> LiveGate:
        config = {"checkpoints": {"anchors": list(anchors), **settings}}
        return LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, config=config)

    return make


def held(path: Path) -> int:
    """Records that the newest checkpoint in an anchor's file covers."""
    note = last_note(path.read_text())
    assert note is not None
    return parse_note(note).checkpoint().size


def test_a_stopped_gate_has_brought_all_of_its_log_there(make_gate: MakeGate, tmp_path: Path) -> None:
    """File and store hold the checkpoint over the last record, and the log verifies against it."""
    notes = tmp_path / "notes"
    with ObjectStore() as store:
        gate = make_gate({"file": str(notes)}, {"http": store.url}, require=2)
        with gate:
            assert httpx.get(f"{gate.api}/readyz").json() == {"status": "ok", "faults": {}}
        newest = store.objects["/claiim/newest.note"].decode()
    assert last_note(notes.read_text()) == newest
    found = chron.verify(gate.config.chron, known=Known(head=newest))
    assert (found.ok, found.loose) == (True, 0)
    events = [record.text("event") or record.kind for record in chron.find(gate.config.chron)]
    assert events[:2] == ["open", "created"]
    assert events[-2:] == ["close", "checkpoint"]


def cut(path: Path, records: int) -> None:
    """Take the last records away, as the file's owner can."""
    from chron.schema import GUARDS

    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        for name in GUARDS:
            shell.execute(f"DROP TRIGGER {name}")
        shell.execute("DELETE FROM chron WHERE seq > (SELECT max(seq) FROM chron) - ?", (records,))
        for text in GUARDS.values():
            shell.execute(text)


@pytest.mark.parametrize("kind", ["file", "http"])
def test_a_gate_does_not_start_on_a_log_that_was_cut(make_gate: MakeGate, tmp_path: Path, kind: str) -> None:
    """Nothing is appended to a log that ends before what an anchor has seen."""
    with ObjectStore() as store:
        gate = make_gate({kind: {"file": str(tmp_path / "notes"), "http": store.url}[kind]})
        with gate:
            pass
        cut(gate.config.chron, 2)
        before = len(list(chron.find(gate.config.chron)))
        with pytest.raises(
            ChronError, match=rf"it ends at record {before}, but anchor {kind} \S+ has seen {before + 1};"
        ):
            gate.__enter__()
        assert len(list(chron.find(gate.config.chron))) == before


def test_a_gate_does_not_start_a_new_log_in_the_place_of_an_old_one(make_gate: MakeGate, tmp_path: Path) -> None:
    """Who removes the log does not get a gate that begins anew."""
    gate = make_gate({"file": str(tmp_path / "notes")})
    with gate:
        pass
    for path in gate.config.chron.parent.glob("chron.db*"):
        path.unlink()
    with pytest.raises(ChronError, match="and this is a new one; restore that log, or give this one an anchor of its"):
        gate.__enter__()


def test_a_gate_without_its_anchors_does_not_start_unless_it_may(make_gate: MakeGate, tmp_path: Path) -> None:
    """A pulled cable does not turn the guard off; one of two may be away when one is required."""
    gone = {"http": "http://127.0.0.1:1/claiim"}
    with pytest.raises(
        ConfigError, match=r"anchors cannot be read back, 1 must \(http http://127.0.0.1:1/claiim: Client"
    ):
        make_gate(gone).__enter__()
    for gate in (make_gate(gone, require=0), make_gate(gone, {"file": str(tmp_path / "notes")})):
        with gate:
            assert httpx.get(f"{gate.api}/healthz").status_code == 200


def test_a_checkpoint_is_brought_there_again_after_a_crash(make_gate: MakeGate, tmp_path: Path) -> None:
    """A checkpoint that was written but did not reach its anchor is brought there at the next start."""
    notes = tmp_path / "notes"
    gate = make_gate({"file": str(notes)})
    with gate:
        pass
    size = held(notes)
    notes.write_text("")
    with gate:
        pass
    assert held(notes) > size
    assert f"\n{size}\n" in notes.read_text()


def test_the_operator_asks_a_running_gate(make_gate: MakeGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoint, change of keys and state of the anchors, by command; an agent gets none of it."""
    from click.testing import CliRunner

    from proxy.cli.main import main

    notes = tmp_path / "notes"
    gate = make_gate({"file": str(notes)})
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_CHRON"):
        monkeypatch.delenv(name, raising=False)

    def claiim(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["chron", *arguments, "-c", str(gate.folder / "claiim.yaml")])

    with gate:
        monkeypatch.setenv("CLAIIM_API_LISTEN", str(gate.service.api_address))
        for route in ("/v1/checkpoints", "/v1/chron-key/rotation"):
            assert httpx.post(gate.api + route).status_code == 401
            denied = httpx.post(gate.api + route, headers={"Authorization": "Bearer clm_agent"})
            assert (denied.status_code, denied.json()["code"]) == (403, "operator.required")
        assert httpx.get(f"{gate.api}/v1/anchors", headers={"Authorization": "Bearer x"}).status_code == 403
        first = claiim("checkpoint", "--now")
        assert first.exit_code == 0, first.output
        old = claiim("key", "show").stdout.strip()
        assert parse_vkey(old).signed(parse_note(first.stdout))
        new = claiim("key", "rotate").stdout.strip()
        assert new not in ("", old)
        second = claiim("checkpoint", "--now")
        assert parse_vkey(new).signed(parse_note(second.stdout))
        token = gate.config.operator_token.read_text().strip()
        answer = httpx.get(f"{gate.api}/v1/anchors", headers={"Authorization": f"Bearer {token}"}).json()
        assert (answer["fault"], [anchor["name"] for anchor in answer["anchors"]]) == ("", [f"file {notes}"])
        assert claiim("verify", "--key", old).exit_code == 0
    status = claiim("anchor", "status", "--json")
    assert (status.exit_code, json.loads(status.stdout)["anchors"][0]["size"]) == (0, held(notes))
    events = [record.text("event") for record in chron.find(gate.config.chron, kind="key")]
    assert events == ["created", "rotated"]
    # No gate answers now: the command opens the log itself, and its anchors get what it signs.
    before = held(notes)
    third = claiim("checkpoint", "--now")
    assert third.exit_code == 0, third.output
    assert held(notes) > before
    assert claiim("key", "rotate").exit_code == 0
    gate.config.checkpoints.key.unlink()
    gone = claiim("key", "rotate")
    assert gone.exit_code == 78
    assert "No such file or directory; put it there, or set" in gone.stderr
    lost = claiim("key", "rotate", "--lost")
    assert lost.exit_code == 0, lost.output
    events = [record.text("event") for record in chron.find(gate.config.chron, kind="key")]
    assert events == ["created", "rotated", "rotated", "replaced"]
    notes.write_text(notes.read_text()[: len(first.stdout) + 1])
    assert claiim("anchor", "status").exit_code == 1


class Place:
    """An anchor that a test makes fail, and waits for."""

    def __init__(self, name: str, *, readable: bool = True) -> None:
        self.name, self.readable = name, readable
        self.notes: list[str] = []
        self.failing = False
        self.asked = asyncio.Event()

    async def write(self, note: str) -> None:
        self.asked.set()
        if self.failing:
            raise AnchorError("status 500")
        self.notes.append(note)

    async def read(self) -> str | None:
        if self.failing:
            raise AnchorError("status 500")
        return self.notes[-1] if self.notes else None


def note(size: int) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from chron.notes import Checkpoint
    from chron.signing import Signer

    return Signer(Ed25519PrivateKey.generate()).checkpoint(Checkpoint("claiim/chr_1", size, bytes(32)), 0)


async def test_k_of_n_must_hold_it_before_all_is_well() -> None:
    """While too few places hold a checkpoint for some minutes, the gate says so and which; then no more."""
    clock = Clock()
    places = [Place("a"), Place("b")]
    config = CheckpointsConfig(Path("key"), require=2)
    anchoring = Anchoring(config, now=clock.now, later=clock.later, anchors=places)
    anchoring.start("")
    places[1].failing = True
    anchoring.tell(note(7))
    for place in places:
        await asyncio.wait_for(place.asked.wait(), 30)
    assert anchoring.fault() == ""
    clock.at += GRACE
    assert anchoring.fault() == "2 must hold a checkpoint (b: status 500)"
    assert [state.size for state in anchoring.states] == [7, 0]
    anchoring.tell(note(8))
    anchoring.tell(note(9))
    places[1].failing = False
    await anchoring.stop()
    assert anchoring.fault() == ""
    assert [parse_note(text).checkpoint().size for text in places[1].notes] == [9], "the newest covers all before it"
    assert [state.size for state in anchoring.states] == [9, 9]


async def test_a_place_is_tried_again_after_a_pause() -> None:
    """Not at once, and not with each new checkpoint: what is down is left alone for a while."""
    clock = Clock()
    place = Place("a")
    place.failing = True
    anchoring = Anchoring(CheckpointsConfig(Path("key")), now=clock.now, later=clock.later, anchors=[place])
    anchoring.start(note(7))
    await asyncio.wait_for(place.asked.wait(), 30)
    place.asked.clear()
    anchoring.tell(note(8))
    await asyncio.sleep(0)
    assert not place.asked.is_set()
    place.failing = False
    clock.pass_(1)
    await asyncio.wait_for(place.asked.wait(), 30)
    await anchoring.stop()
    assert [parse_note(text).checkpoint().size for text in place.notes] == [8]
    assert (anchoring.states[0].at, anchoring.states[0].fault) == (clock.at, "")


@pytest.mark.parametrize("behind", ["log/chr_1", "other/chr_2"])
async def test_old_checkpoints_behind_it_hide_no_newer_one(tmp_path: Path, behind: str) -> None:
    """An append-only file keeps what it has seen, however much somebody appends who cannot do more, of whatever log."""
    signer = Signer(Ed25519PrivateKey.generate())
    notes = [signer.checkpoint(Checkpoint("log/chr_1", size, bytes(32)), 0) + "\n" for size in (1, 30, 4)]
    file = tmp_path / "notes"
    file.write_text("".join(notes) + notes[0].replace("log/chr_1", behind, 1) * 20_000 + notes[0])
    newest = await FileAnchor(file).read()
    assert newest is not None
    assert parse_note(newest).checkpoint().size == 30


async def test_what_cannot_be_read_back_is_no_head() -> None:
    """A syslog is a place to bring checkpoints to, and guards no start."""
    syslog = Place("syslog", readable=False)
    anchoring = Anchoring(CheckpointsConfig(Path("key"), require=1), now=Clock().now, anchors=[syslog])
    assert (await anchoring.signing()).heads == []
