"""`claiim chron verify, checkpoint, prove, check, key, verifier` on a log alone, as an outsider runs them."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chron import Cadence, Chron, Signing, find, verify
from proxy.cli.chron import chron as command


@pytest.fixture
def log(path, tmp_path):
    """A closed, signed log; and its notes, as an anchor has them."""
    anchor = tmp_path / "anchor"

    def keep(note: str) -> None:
        with anchor.open("a") as file:
            file.write(note + "\n")

    async def fill() -> None:
        signing = Signing(tmp_path / "key.pem", cadence=Cadence(every_records=10), told=keep)
        with Chron.open(path, low_water_bytes=0, signing=signing) as log:
            for number in range(30):
                await log.append("decision", {"agent": "deploy-bot", "outcome": "DENY", "n": number})

    asyncio.run(fill())
    return anchor


def first_note(log: Path) -> str:
    text, signatures = log.read_text().split("\n\n")[:2]
    return f"{text}\n\n{signatures}\n"


@pytest.fixture
def run(path, monkeypatch):
    """Runs `claiim chron ...` and gives exit code, standard output and standard error."""
    monkeypatch.setenv("CLAIIM_CHRON", str(path))

    def runs(*args):
        result = CliRunner().invoke(command, [str(arg) for arg in args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.stdout, result.stderr

    return runs


def test_key_checkpoint_and_verify_agree(log, path, run, tmp_path):
    """The key that is printed verifies; the checkpoint that is printed is a head; all of it exits 0."""
    code, vkey, _ = run("key", "show", path)
    assert (code, vkey.strip()) == (0, verify(path).vkey)
    (tmp_path / "vkey").write_text(vkey)
    code, note, _ = run("checkpoint", "--chron", path)
    assert code == 0
    assert note + "\n" in log.read_text()
    (tmp_path / "head").write_text(note)
    for head in (tmp_path / "head", log):
        for key in (vkey.strip(), tmp_path / "vkey"):
            code, out, err = run("verify", path, "--key", key, "--head", head)
            assert (code, err) == (0, "")
            assert "36 records are covered by the head kept elsewhere, 0 behind it by none" in out
    code, out, _ = run("key", "show", "--all", "--json", path)
    assert [record["event"] for record in json.loads(out)] == ["created"]


def test_what_is_behind_the_head_is_exit_11(log, path, run, tmp_path):
    """Good, but the end is covered by nothing that counts: 11, and how many; without a key or head nobody asked."""
    old = tmp_path / "old"
    old.write_text(first_note(log))
    code, out, _ = run("verify", path, "--head", old)
    assert (code, out.splitlines()[1]) == (
        11,
        "10 records are covered by the head kept elsewhere, 23 behind it by none",
    )
    code, out, _ = run("verify", path, "--head", old, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["covered"], found["loose"], found["checkpoints"]) == (11, True, 10, 23, 4)
    assert run("verify", path)[0] == 0
    code, out, _ = run("verify", path, "--from", old, "--incremental")
    assert code == 0
    assert "37 records verify, the first 10 not read again" in out


def test_a_cut_log_is_exit_1_with_a_head(log, path, run, harm):
    """The first record that is missing, and who knows of it."""
    harm("DELETE FROM chron WHERE seq > 22")
    assert run("verify", path, "--key", verify(path).vkey)[0] == 0
    code, out, _ = run("verify", path, "--head", log)
    assert (code, out) == (
        1,
        "tampered: record 23: it is missing; the head kept elsewhere covers 36 records; 22 records before it verify\n",
    )


def test_a_record_is_proved_and_checked(log, path, run, tmp_path):
    """prove writes a file, check says the record; with another bit, key or record it does not."""
    record = next(find(path, kind="decision"))
    proof = tmp_path / "d.tlog-proof"
    assert run("prove", record.id.upper(), "--chron", path, "-o", proof) == (0, "", "")
    assert run("prove", record.id, "--chron", path)[1] == proof.read_text()
    vkey = verify(path).vkey
    code, out, _ = run("check", proof, "--key", vkey)
    assert code == 0
    assert out.startswith(f"proved: record {record.seq} of log claiim/chr_")
    assert "  outcome            DENY\n" in out
    code, out, _ = run("check", proof, "--key", vkey, "--json")
    assert json.loads(out)["record"] == dict(record.fields)
    proof.write_text(proof.read_text().replace("index 2", "index 3"))
    code, out, err = run("check", proof, "--key", vkey)
    assert (code, out, err) == (1, "", "not proved: its record is not in the log that was signed\n")


def test_what_cannot_be_asked(log, path, run, tmp_path):
    """Usage is exit 2 or 1 with the remedy, never a trace."""
    vkey = verify(path).vkey
    for args, code, said in (
        (
            ["verify", path, "--key", "x+y"],
            2,
            '"x+y" is not a verifier key; give the line that "claiim chron key show"',
        ),
        (["verify", path, "--key", tmp_path / "none"], 2, "cannot read"),
        (["verify", path, "--head", tmp_path / "none"], 2, "cannot read"),
        (["verify", path, "--head", path], 2, "this is no checkpoint: "),
        (["verify", path, "--incremental"], 2, 'give an old checkpoint too, "--from NOTE --incremental"'),
        (["check", tmp_path / "none", "--key", vkey], 2, "cannot read"),
        (["check", path, "--key", "x+y"], 2, "is not a verifier key"),
        (["check", path, "--key", vkey], 1, "not proved: "),
        (["prove", "chr_none", "--chron", path], 1, 'no record "chr_none" in chron'),
        (["prove", list(find(path))[-1].id, "--chron", path], 1, "no checkpoint covers this record yet"),
    ):
        found, out, err = run(*args)
        assert (found, out) == (code, ""), args
        assert said in err, args


def test_a_log_without_a_key_says_how_it_gets_one(run, path):
    """No key, no checkpoint: one line with the remedy."""
    Chron.open(path, low_water_bytes=0).close()
    assert run("key", "show", path)[2] == 'this log has no key yet; it gets one when "claiim serve" opens it\n'
    assert "sign one with" in run("checkpoint", "--chron", path)[2]
    assert run("verify", path)[0] == 0


def test_the_verifier_is_printed_whole(run):
    """What it prints is the file that is tested."""
    import chron.standalone

    code, out, _ = run("verifier")
    assert (code, out) == (0, Path(chron.standalone.__file__).read_text())


def test_a_key_is_made_for_its_owner(run, tmp_path, monkeypatch):
    """0600, never over another one, and not by an agent that the gate governs."""
    file = tmp_path / "second.pem"
    assert run("key", "make", file, "--second")[:2] == (0, f"wrote {file}\n")
    assert file.stat().st_mode & 0o777 == 0o600
    code, _, err = run("key", "make", file)
    assert code == 78
    assert "File exists" in err
    monkeypatch.setenv("CLAIIM_RUN_ID", "run_1")
    assert run("key", "make", tmp_path / "other.pem")[0] == 2
    assert run("key", "rotate")[0] == 2
