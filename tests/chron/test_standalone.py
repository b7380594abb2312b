"""The verifier for outsiders: what it accepts of the writer's files, and what it refuses."""

import ast
import asyncio
import string
import subprocess
import sys
from pathlib import Path

import pytest

import chron.standalone
from chron import Cadence, Chron, ChronError, Signing, check, find, parse_vkey, prove, verify
from chron.notes import parse_note

SOURCE = Path(chron.standalone.__file__)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[str]]:
    """A closed Chron with a change of keys and a kept text; its folder, and its checkpoints' notes."""
    folder = tmp_path_factory.mktemp("signed")
    notes: list[str] = []

    async def fill(rotate: bool) -> None:
        signing = Signing(folder / "key.pem", cadence=Cadence(every_records=10), told=notes.append)
        log = Chron.open(folder / "chron.db", low_water_bytes=0, signing=signing)
        log.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n")])
        for number in range(25):
            await log.append("decision", {"outcome": "DENY", "n": number})
        if rotate:
            log.rotate_key()
        log.close()

    asyncio.run(fill(True))
    asyncio.run(fill(False))
    return folder, notes


@pytest.fixture
def log(made, path) -> Path:
    path.write_bytes((made[0] / "chron.db").read_bytes())
    return path


def vkeys(path: Path) -> list[str]:
    return [record.text("vkey") for record in find(path, kind="key")]


def run(*args: object) -> tuple[int, str]:
    """Runs a copy of the file alone, as an outsider has it."""
    command = [sys.executable, "-I", str(SOURCE), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_it_is_short_and_needs_nothing_of_ours():
    """Under 200 lines, the standard library and cryptography: somebody can read it and believe it."""
    text = SOURCE.read_text()
    assert len(text.splitlines()) < 200
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_accepts_what_the_writer_wrote(made, log, tmp_path):
    """Whole log, by either key, against the newest head and an old checkpoint."""
    head, old = tmp_path / "head", tmp_path / "old"
    head.write_text(made[1][-1])
    old.write_text(made[1][0])
    expected = verify(log)
    told = f"good: {expected.records} records of {expected.name}, {expected.covered} covered by"
    for args in ((), ("--head", head), ("--from", old), ("--head", head, "--from", old)):
        for key in ((), *(("--key", vkey) for vkey in vkeys(log))):
            code, out = run(log, *args, *key)
            assert (code, out.startswith(told)) == (0, True), out
    code, out = run(log, "--head", old)
    assert (code, out) == (11, out)
    assert "10 covered by a checkpoint that counts" in out


def test_it_accepts_a_proof_and_no_other(made, log, tmp_path):
    """A proof file of any record is good with the key that signed it, and worthless with one bit changed."""
    records = list(find(log))[5:40:7]
    for record in records:
        proof = tmp_path / "x.tlog-proof"
        proof.write_text(prove(log, record.id))
        note = parse_note(proof.read_text().partition("\n\n")[2])
        [key] = [vkey for vkey in vkeys(log) if parse_vkey(vkey).signed(note)]
        code, out = run("--proof", proof, "--key", key)
        assert (code, f"good: record {record.seq} of " in out, record.id in out) == (0, True, True), out
        text = proof.read_text()
        for line in range(4):
            lines = text.split("\n")
            lines[line] = lines[line][:-3] + ("A" if lines[line][-3] != "A" else "B") + lines[line][-2:]
            proof.write_text("\n".join(lines))
            assert run("--proof", proof, "--key", key)[0] == 1, line


SPELLINGS = {
    "line ends of another system": lambda text: text.replace("\n", "\r\n"),
    "a place in two ways": lambda text: text.replace("index ", "index  "),
    "a place with a sign": lambda text: text.replace("index ", "index +"),
    "another dash": lambda text: text.replace("\N{EM DASH}", "-"),
    "no line end": lambda text: text[:-1],
    "another line that is none": lambda text: f"{text}\N{EM DASH} x+y AAAAAAAA\n",
    "another line that is too short": lambda text: f"{text}\N{EM DASH} x AAAAAA==\n",
    "a line with a control character": lambda text: f"{text}\N{EM DASH} x\0 AAAAAAAA\n",
    "too many lines": lambda text: text + "\N{EM DASH} x AAAAAAAA\n" * 20,
    "a line of somebody else": lambda text: f"{text}\N{EM DASH} x AAAAAAAA\n",
    "a root in base64 of another spelling": lambda text: text.replace(
        line := text.split("\n\n")[1].split("\n")[2], _other(line)
    ),
}


def _other(line: str) -> str:
    """Base64 whose last letter has bits that a careless reader ignores."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    return f"{line[:-2]}{letters[letters.index(line[-2]) ^ 1]}="


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_it_takes_a_proof_as_the_other_verifier_does(log, tmp_path, spell):
    """What is not written in the one right way is no proof to either of them."""
    record = list(find(log))[5]
    text = spell(prove(log, record.id))
    key = vkeys(log)[0]
    (tmp_path / "x").write_bytes(text.encode())
    try:
        check(text, key)
        good = True
    except ChronError:
        good = False
    assert run("--proof", tmp_path / "x", "--key", key)[0] == (0 if good else 1)


HARMS = {
    "a body changed": (
        "UPDATE chron SET body = replace(body, 'DENY', 'ALLOW') WHERE seq = 7",
        "record 7: its body was",
    ),
    "a leaf changed": ("UPDATE chron SET leaf = zeroblob(32) WHERE seq = 9", "record 9: its body was changed"),
    "a hash changed": ("UPDATE chron SET hash = zeroblob(32) WHERE seq = 9", "record 9: it does not follow"),
    "a record removed": ("DELETE FROM chron WHERE seq = 5", "record 5: it is missing"),
    "an id changed": ("UPDATE chron SET id = 'chr_x' WHERE seq = 6", "record 6: its columns do not say"),
    "a text changed": ("UPDATE artefact SET text = 'allow: all'", "the text kept under record 3 was changed"),
    "all removed": ("DELETE FROM chron", "not good"),
}


@pytest.mark.parametrize(("statement", "told"), HARMS.values(), ids=HARMS)
def test_it_refuses_what_was_changed(made, log, harm, statement, told):
    """What `claiim chron verify` finds, it finds too, and says at which record."""
    harm(statement)
    code, out = run(log, "--key", vkeys(made[0] / "chron.db")[0])
    assert code == 1
    assert told in out


def test_it_sees_a_cut_tail(made, log, harm, tmp_path):
    """Against a head that was kept."""
    head = tmp_path / "head"
    head.write_text(made[1][-1])
    harm("DELETE FROM chron WHERE seq > 34")
    code, out = run(log, "--head", head)
    assert code == 1
    assert "records are missing at the end: --head covers" in out


def test_it_sees_a_log_that_was_hashed_anew(log, rehash):
    """Without the key a changed record cannot be hidden."""
    rehash(lambda seq, body: body.replace("DENY", "ALLOW") if seq == 5 else body)
    code, out = run(log)
    assert code == 1
    assert "record 11: its checkpoint is over other records" in out


def test_usage_is_told_from_tampering(tmp_path, log):
    """No file, no key for a proof, nothing at all: exit 2."""
    for args in ((), (tmp_path / "none",), (log, "--head", tmp_path / "none"), ("--proof", log)):
        assert run(*args)[0] == 2
    assert run(log, "--key", "nonsense")[0] == 1
