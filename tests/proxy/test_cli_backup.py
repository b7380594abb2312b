"""Backup and restore of a gate's log, by command: what may go on, what may not, and how to go on honestly."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import chron
from chron import ChronError, verify
from proxy.cli.main import main
from support.gate import LiveGate


def claiim(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["chron", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def gate_in(folder: Path, anchor: Path) -> LiveGate:
    return LiveGate(folder, config={"checkpoints": {"anchors": [{"file": str(anchor)}]}})


def put_in_place(copy: Path, log: Path) -> None:
    """As the page says: the log and what SQLite has beside it are moved away, and the copy takes their place."""
    for file in log.parent.glob(log.name + "*"):
        file.rename(file.with_name("lost-" + file.name))
    shutil.copy(copy, log)


def test_a_log_is_backed_up_lost_and_followed(tmp_path: Path) -> None:
    """The newest copy goes on; an older one is refused by the anchor, kept as evidence, and named by a new log."""
    gate, anchor = gate_in(tmp_path / "gate", tmp_path / "anchor"), tmp_path / "anchor"
    log, old, new = gate.config.chron, tmp_path / "old.db", tmp_path / "new.db"
    configured = ("-c", gate.folder / "claiim.yaml")
    with gate:
        done = claiim("backup", old, *configured)
        assert (done.exit_code, "records verify, head " in done.stdout) == (0, True), done.output
        assert claiim("backup", old, *configured).exit_code == 2
    assert claiim("backup", new, *configured).exit_code == 0

    put_in_place(new, log)
    with gate:
        pass
    assert verify(log).records > verify(new).records

    put_in_place(old, log)
    with pytest.raises(ChronError, match=r"it ends at record \d+, but anchor file \S+ has seen"), gate:
        pass
    assert verify(log).head_hash == verify(old).head_hash  # nothing was appended to it

    log.rename(tmp_path / "evidence.db")
    fresh = gate_in(gate.folder, tmp_path / "anchor-2")
    done = claiim("follows", tmp_path / "evidence.db", "--reason", "disk lost", *configured)
    assert done.exit_code == 0, done.output
    with fresh:
        (said,) = fresh.records("predecessor")
        kept = verify(tmp_path / "evidence.db")
        names = ("log", "records", "head", "reason")
        assert tuple(said[name] for name in names) == (kept.name, kept.records, kept.head_hash, "disk lost")
    assert verify(log).name != kept.name
    assert anchor.read_text() != (tmp_path / "anchor-2").read_text()
    assert len(list(chron.find(log, kind="predecessor"))) == 1


def test_follows_is_refused_while_a_gate_runs(tmp_path: Path) -> None:
    """The log is one writer's; the message says which process has it."""
    gate = gate_in(tmp_path / "gate", tmp_path / "anchor")
    with gate:
        done = claiim("follows", gate.config.chron, "--reason", "x", "-c", gate.folder / "claiim.yaml")
        assert (done.exit_code, "is open in another process" in done.stderr) == (78, True), done.output
        assert gate.records("predecessor") == []
