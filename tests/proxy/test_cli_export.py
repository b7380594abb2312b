"""`claiim chron export`: the file, its manifest, and what verifying finds."""

import asyncio
import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from chron import Cadence, Chron, Signing, find
from chron.chain import chain_hash, leaf_hash
from proxy.cli.chron import chron as command
from proxy.exports import LINES


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A Chron of ten decisions, with its opening and close."""
    path = tmp_path / "chron.db"

    async def fill() -> None:
        for number in range(10):
            outcome = "DENY" if number % 3 == 0 else "ALLOW"
            await chron.append("decision", {"agent": "deploy-bot", "outcome": outcome, "path": "/x?token"})

    with Chron.open(path, low_water_bytes=0) as chron:
        asyncio.run(fill())
    return path


type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export() -> Run:
    """Runs `claiim chron export ...` and gives exit code, standard output and standard error."""

    def runs(*args: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(command, ["export", *map(str, args)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.stdout, result.stderr

    return runs


def manifest_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.manifest.json")


def rewrite(file: Path, change: Callable[[bytes], bytes], **changes: object) -> None:
    """Change a file as somebody would who knows about the manifest beside it."""
    data = change(file.read_bytes())
    file.write_bytes(data)
    told = json.loads(manifest_of(file).read_text())
    told |= {"sha256": sha256(data).hexdigest(), "bytes": len(data), **changes}
    manifest_of(file).write_text(json.dumps(told))


def test_all_of_a_log(log: Path, export: Run, tmp_path: Path) -> None:
    """Every record as it was hashed, readable for its owner alone; the manifest says what it is, and it verifies."""
    file = tmp_path / "all.jsonl"
    assert export(log, "-o", file)[0] == 0
    with closing(sqlite3.connect(log)) as connection:
        rows = connection.execute("SELECT seq, id, body, hash FROM chron ORDER BY seq").fetchall()
    assert file.read_text().splitlines() == [body for _, _, body, _ in rows]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, manifest_of(file))] == [0o600, 0o600]
    told = json.loads(manifest_of(file).read_text())
    assert (told["records"], told["chained"], told["filter"], told["format"]) == (12, True, "", "jsonl")
    assert told["first"] == {"seq": 1, "id": rows[0][1], "hash": rows[0][3].hex()}
    assert told["last"]["hash"] == told["head"]["hash"] == rows[-1][3].hex()
    assert told["sha256"] == sha256(file.read_bytes()).hexdigest()
    code, out, _ = export("--verify", file)
    proven = "the file is the one that was written, each record follows the one before it"
    assert (code, out) == (0, f"ok: 12 records, {proven}, not compared with a Chron (--chron)\n")
    code, out, _ = export("--verify", file, "--chron", log, "--json")
    assert (code, json.loads(out)) == (
        0,
        {"ok": True, "records": 12, "chained": True, "compared": True, "erased": 0, "covered": 0, "fault": ""},
    )


@pytest.mark.parametrize("form", LINES)
def test_other_formats_verify_too(form: str, log: Path, export: Run, tmp_path: Path) -> None:
    """A line for each record, digested; one changed letter shows."""
    file = tmp_path / "day"
    assert export(log, "outcome=DENY", "--format", form, "-o", file)[0] == 0
    assert len(file.read_text().splitlines()) == 4 + (form == "csv")
    assert "token" in file.read_text()
    assert json.loads(manifest_of(file).read_text())["filter"] == "outcome=DENY"
    assert export("--verify", file, "--chron", log)[0] == 0
    file.write_bytes(file.read_bytes().replace(b"DENY", b"DENZ", 1))
    assert export("--verify", file)[:2] == (1, "not what was written: the file is not the one that was written\n")


def drop(number: int) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(line for at, line in enumerate(data.splitlines(True), 1) if at != number)


FORGED = {
    "a field": (lambda data: data.replace(b"DENY", b"HOLD", 1), {}, "its records do not lead to the hash of record 12"),
    "a record": (drop(5), {"records": 11}, "line 5: it is record 6, which does not come after record 4"),
    "the end": (drop(12), {}, "it has 11 records up to record 11, not 12 up to 12"),
    "a space": (lambda data: data.replace(b'{"a', b'{ "a', 1), {}, "its records do not lead to the hash of record 12"),
    "no body": (lambda data: data.replace(b'"seq":2', b'"s":2'), {}, "line 2: it is not the body of a record"),
    "the beginning": (drop(1), {"records": 11}, "line 1: it is record 2, not 1, the first"),
}


@pytest.mark.parametrize(("change", "changes", "fault"), FORGED.values(), ids=FORGED)
def test_a_file_changed_with_its_digest_shows(
    change: Callable[[bytes], bytes], changes: dict[str, object], fault: str, log: Path, export: Run, tmp_path: Path
) -> None:
    """Who changes the file and the digest in the manifest is found by the chain."""
    file = tmp_path / "all.jsonl"
    export(log, "-o", file)
    rewrite(file, change, **changes)
    code, out, _ = export("--verify", file)
    assert code == 1
    assert fault in out


def test_only_the_log_shows_a_manifest_that_was_written_anew(log: Path, export: Run, tmp_path: Path) -> None:
    """A file of a log that never was verifies alone, and not against the log: the page says so."""
    other = tmp_path / "other.db"
    Chron.open(other, low_water_bytes=0).close()
    file = tmp_path / "other.jsonl"
    export(other, "-o", file)
    assert export("--verify", file)[0] == 0
    code, out, _ = export("--verify", file, "--chron", log)
    assert (code, out) == (1, "not what was written: line 1: the log has another record there\n")


def test_a_part_of_a_log(log: Path, export: Run, tmp_path: Path) -> None:
    """What a filter left out is not missed; adjacent records are chained from the hash before the first."""
    file = tmp_path / "part.jsonl"
    assert export(log, "seq>4 seq<9", "-o", file)[0] == 0
    told = json.loads(manifest_of(file).read_text())
    assert (told["records"], told["chained"], told["first"]["seq"]) == (4, True, 5)
    assert "each record follows" in export("--verify", file, "--chron", log)[1]
    denied = tmp_path / "denied.jsonl"
    assert export(log, "outcome=DENY", "-o", denied)[0] == 0
    assert json.loads(manifest_of(denied).read_text())["chained"] is False
    code, out, _ = export("--verify", denied, "--chron", log)
    assert (code, out) == (0, "ok: 4 records, the file is the one that was written, as in the Chron\n")
    rewrite(denied, lambda data: data.replace(b"deploy-bot", b"another-bot", 1))
    assert export("--verify", denied)[0] == 0
    assert (
        export("--verify", denied, "--chron", log)[1]
        == "not what was written: line 1: the log has another record there\n"
    )


def test_other_formats_are_not_said_to_be_compared(log: Path, export: Run, tmp_path: Path) -> None:
    """Of a file without stored bodies the log can tell the ends alone, and the page says so."""
    file = tmp_path / "all.csv"
    assert export(log, "--format", "csv", "-o", file)[0] == 0
    rewrite(file, lambda data: data.replace(b"DENY", b"ALLOW"))
    code, out, _ = export("--verify", file, "--chron", log)
    assert (code, "the first and the last are in the Chron (only jsonl is compared)" in out) == (0, True)


@pytest.mark.parametrize("place", [2**70, -(2**70)])
def test_a_place_that_no_log_has(log: Path, export: Run, tmp_path: Path, place: int) -> None:
    """A manifest that somebody wrote ends in no trace."""
    file = tmp_path / "all.jsonl"
    assert export(log, "-o", file)[0] == 0
    told = json.loads(manifest_of(file).read_text())
    manifest_of(file).write_text(json.dumps({**told, "head": {**told["head"], "seq": place}}))
    code, out, _ = export("--verify", file, "--chron", log)
    assert (code, out) == (
        1,
        f"not what was written: the log has another record {place} than the head one of the export\n",
    )


def test_nothing_matches(log: Path, export: Run, tmp_path: Path) -> None:
    """An export of nothing is a file of nothing, and verifies."""
    file = tmp_path / "none.jsonl"
    assert export(log, "agent=nobody", "-o", file)[0] == 0
    assert file.read_bytes() == b""
    assert export("--verify", file, "--chron", log)[0] == 0


def test_nothing_is_written_over(log: Path, export: Run, tmp_path: Path) -> None:
    """A file that is there stays as it is, and after a failure nothing half is left."""
    file = tmp_path / "there"
    file.write_text("mine")
    code, _, err = export(log, "-o", file)
    assert (code, err) == (2, f'"{file}" is there already; give another name\n')
    assert (file.read_text(), manifest_of(file).exists()) == ("mine", False)
    manifest_of(tmp_path / "new").write_text("mine")
    assert export(log, "-o", tmp_path / "new")[0] == 2
    assert not (tmp_path / "new").exists()
    code, _, err = export(log, "agnt=x", "-o", tmp_path / "new2")
    assert (code, err) == (2, 'filter:1:1: there is no field "agnt"; did you mean "agent"?\n')
    code, _, err = export(log)
    assert (code, err) == (2, "-o is missing; name the file to write\n")
    code, _, err = export(log, "-o", tmp_path / "no-folder" / "x")
    assert (code, err) == (2, f'cannot write "{tmp_path}/no-folder/x": No such file or directory; give another file\n')


@pytest.mark.parametrize(
    "told", ["", "[]", '{"version": 2}', '{"version": 1}', "\x00", '{"version": 1, "first": 7}', "[" * 9999]
)
def test_what_is_no_manifest_is_said(told: str, log: Path, export: Run, tmp_path: Path) -> None:
    """A manifest that is none, or none at all, is exit 2 and one line."""
    file = tmp_path / "all.jsonl"
    export(log, "-o", file)
    manifest_of(file).write_text(told)
    code, _, err = export("--verify", file)
    assert (code, err.count("\n"), "is not the manifest of an export" in err) == (2, 1, True)
    manifest_of(file).unlink()
    code, _, err = export("--verify", file)
    assert (code, err.startswith("there is no manifest ")) == (2, True)


def test_an_erased_record_keeps_its_place(log: Path, export: Run, tmp_path: Path) -> None:
    """Of it only place and leaf go out, and the chain goes on over it; an older export is still of the same log."""
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    export(log, "-o", before)
    with closing(sqlite3.connect(log, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER chron_only_empty")
        connection.execute("UPDATE chron SET body = NULL WHERE seq = 5")
        leaf = connection.execute("SELECT leaf FROM chron WHERE seq = 5").fetchone()[0].hex()
    export(log, "-o", after)
    assert after.read_text().splitlines()[4] == f'{{"erased":true,"leaf":"{leaf}","seq":5}}'
    for file, erased in ((before, 0), (after, 1)):
        code, out, _ = export("--verify", file, "--chron", log, "--json")
        told = json.loads(out)
        assert (code, told["records"], told["chained"], told["erased"], told["fault"]) == (0, 12, True, erased, "")
    rewrite(after, lambda data: data.replace(leaf.encode(), b"0" * 64))
    assert export("--verify", after)[0] == 1
    assert export(log, "--format", "csv", "-o", tmp_path / "after.csv")[0] == 0


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, str]:
    """A Chron with a key, of thirty decisions and five checkpoints; and the key."""
    path = tmp_path / "signed.db"

    async def fill() -> None:
        for number in range(30):
            await chron.append("decision", {"agent": "deploy-bot", "outcome": "DENY" if number % 3 == 0 else "ALLOW"})

    signing = Signing(tmp_path / "key.pem", cadence=Cadence(every_records=8))
    with Chron.open(path, low_water_bytes=0, signing=signing) as chron:
        asyncio.run(fill())
    return path, next(find(path, kind="key")).text("vkey")


def test_an_export_proves_by_the_key_alone_what_the_log_said(
    signed: tuple[Path, str], export: Run, tmp_path: Path
) -> None:
    """A file, its manifest and the public key: each record is in the log that was signed, whatever was left out."""
    log, vkey = signed
    file, key = tmp_path / "denied.jsonl", tmp_path / "log.vkey"
    key.write_text(vkey + "\n")
    assert export(log, "outcome=DENY", "-o", file)[0] == 0
    proven = "the file is the one that was written, 10 of them in the log that the key signed"
    for given in (vkey, key):
        code, out, _ = export("--verify", file, "--key", given)
        assert (code, out) == (0, f"ok: 10 records, {proven}, not compared with a Chron (--chron)\n")
    assert export("--verify", file, "--key", vkey, "--chron", log)[0] == 0
    for name, asked in (("one", "seq=9"), ("span", "seq>4 seq<20"), ("segment", "seq>8 seq<=17"), ("none", "seq=99")):
        file = tmp_path / f"{name}.jsonl"
        assert export(log, asked, "-o", file)[0] == 0
        code, out, _ = export("--verify", file, "--key", vkey, "--json")
        told = json.loads(out)
        assert (code, told["covered"], told["fault"]) == (0, told["records"], "")


@pytest.mark.parametrize("asked", ["outcome=DENY", "seq>4 seq<20"])
def test_with_the_key_a_forged_export_shows(asked: str, signed: tuple[Path, str], export: Run, tmp_path: Path) -> None:
    """Who changes file and manifest alike, so that they fit, has no signature for it."""
    log, vkey = signed
    file = tmp_path / "part.jsonl"
    export(log, asked, "-o", file)
    told = json.loads(manifest_of(file).read_text())
    lines = file.read_bytes().splitlines(True)
    body = lines[-1].replace(b"DENY", b"HOLD").replace(b"ALLOW", b"HOLD")
    last = chain_hash(bytes.fromhex(told["before"]), leaf_hash(lines[0].rstrip()))
    for line in (*lines[1:-1], body):
        last = chain_hash(last, leaf_hash(line.rstrip()))
    rewrite(file, lambda data: data.replace(lines[-1], body), last={**told["last"], "hash": last.hex()})
    assert export("--verify", file)[0] == 0
    code, out, _ = export("--verify", file, "--key", vkey)
    assert (code, out) == (1, "not what was written: its records are not in the log that was signed\n")


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"proof": ""}, 1, "its records are not in the log that was signed"),
        ({"proof": "%"}, 1, "its proof is not one"),
        ({"note": "x"}, 1, "not what was written: "),
        ({"note": 7}, 2, "is not the manifest of an export"),
        ({"note": ""}, 11, "0 of them in the log that the key signed"),
    ],
    ids=["no proof", "no base64", "no note", "another type", "without a checkpoint"],
)
def test_a_proof_that_is_none_is_said(
    changes: dict[str, object], code: int, said: str, signed: tuple[Path, str], export: Run, tmp_path: Path
) -> None:
    """A manifest without its proof does not pass for one with it."""
    log, vkey = signed
    file = tmp_path / "part.jsonl"
    export(log, "outcome=DENY", "-o", file)
    rewrite(file, lambda data: data, **changes)
    found = export("--verify", file, "--key", vkey)
    assert (found[0], said in found[1] + found[2]) == (code, True), found


def test_what_no_checkpoint_covers_yet_is_counted(signed: tuple[Path, str], export: Run, tmp_path: Path) -> None:
    """The last record of a closed log is the checkpoint itself: those before it are proved, and exit 11 says so."""
    log, vkey = signed
    file = tmp_path / "all.jsonl"
    export(log, "-o", file)
    code, out, _ = export("--verify", file, "--key", vkey, "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["covered"]) == (11, True, told["records"] - 1)


def test_another_key_proves_nothing_and_neither_does_another_format(
    signed: tuple[Path, str], log: Path, export: Run, tmp_path: Path
) -> None:
    """A key of somebody else's is a fault; with a format that has no bodies, and for writing, a key is a mistake."""
    path, vkey = signed
    file = tmp_path / "all.jsonl"
    export(path, "-o", file)
    other = tmp_path / "other.db"
    with Chron.open(other, low_water_bytes=0, signing=Signing(tmp_path / "other.pem")):
        pass
    code, out, _ = export("--verify", file, "--key", next(find(other, kind="key")).text("vkey"))
    assert code == 1
    assert out.startswith("not what was written: ")
    export(path, "--format", "ocsf", "-o", tmp_path / "day.ocsf")
    code, _, err = export("--verify", tmp_path / "day.ocsf", "--key", vkey)
    assert (code, err) == (2, "a key proves nothing of ocsf: only jsonl holds what was signed\n")
    code, _, err = export(path, "--key", vkey, "-o", tmp_path / "x")
    assert (code, err) == (2, "--key is for --verify; leave it out\n")
