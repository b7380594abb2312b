"""The log's own readers: bodies, notes, proofs, frames, and a whole log with a row of somebody else's in it."""

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path

from chron import find, verify
from chron.batch import Entry
from chron.body import canonical, checked, is_canonical, read_body
from chron.errors import ChronError
from chron.frames import HEADER_BYTES, MAX_FRAME_BYTES, of_entry, packed, to_entry, unpacked
from chron.frames import length as frame_length
from chron.notes import last_note, parse_note, parse_vkey
from chron.proofs import check
from chron.reading import show
from chron.redact import redacted_path, redacted_text
from support.fuzzing.harness import Harness, refusal, text_of

_NOW_NS = 1_772_452_800_000_000_000
_VKEY = "claiim/chr_x+e9a3e4fc+AdbdnZhuXPx8T0qHVYVDJJW0SBNHTYCkBBJKDh4mn5m5"


def body(data: bytes) -> str:
    """The whole input is the stored body of a record."""
    good = is_canonical(data)
    try:
        fields = read_body(data)
    except ChronError as error:
        assert not good
        return refusal(error)
    if good:
        text, again = canonical(dict(fields))  # type: ignore[arg-type]
        assert again == data == text.encode()
    try:
        safe = checked("decision", {name: value for name, value in fields.items() if name not in _SET})
    except ChronError as error:
        return refusal(error)
    text, again = canonical(safe)
    # What was written once is written the same for ever, and is what a reader gets.
    assert is_canonical(again)
    assert canonical(dict(read_body(again))) == (text, again)  # type: ignore[arg-type]
    for value in read_body(again).values():
        if isinstance(value, str):
            assert "\0" not in value
            _redacted(value)
    return "read"


_SET = frozenset({"v", "seq", "id", "ts", "kind"})


def _redacted(text: str) -> None:
    once = redacted_text(text)
    assert redacted_text(once) == once
    path = redacted_path(text)
    assert redacted_path(path) == path
    assert len(path) <= 4 * len(text) + 64


def note(data: bytes) -> str:
    """The whole input is a signed note, a public key or a proof."""
    text = text_of(data)
    outcomes = []
    for read in (parse_note, parse_vkey, lambda each: check(each, _VKEY)):
        try:
            found = read(text)
        except ChronError as error:
            outcomes.append(refusal(error))
            continue
        if read is parse_note:
            assert str(found) == text  # one spelling
            assert parse_note(str(found)) == found
            try:
                found.checkpoint()
            except ChronError as error:
                refusal(error)
        outcomes.append("read")
    last = last_note(text)
    if last is not None:
        assert last in text
        assert parse_note(last).checkpoint()
    return "read" if "read" in outcomes else "refused"


def frame(data: bytes) -> str:
    """The whole input is what stands in a frame from a gate to the writer of a shared log."""
    try:
        assert frame_length(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")) <= MAX_FRAME_BYTES
    except ChronError as error:
        refusal(error)
    try:
        said = unpacked(data)
        entry = to_entry(said, _NOW_NS)
    except ChronError as error:
        return refusal(error)
    assert isinstance(entry, Entry)
    again = packed(of_entry(7, entry))
    assert to_entry(unpacked(again[HEADER_BYTES:]), _NOW_NS) == entry
    return "read"


def row(data: bytes) -> str:
    """The first line is the id of a record, the rest its body: in a log, with hashes that fit, as an attacker would."""
    name, _, text = data.partition(b"\n")
    path = _changed(name.decode("utf-8", "replace"), text)
    try:
        found = verify(path, lint=len(data) % 2 == 0, jobs=1)
    except ChronError as error:
        refusal(error)
        said = False
    else:
        said = found.ok
        assert found.ok or found.fault
    try:
        records = list(find(path))
        show(path, name.decode("utf-8", "replace"))
    except ChronError as error:
        refusal(error)
        assert not said
        return "unreadable"
    if said:
        # Nobody can tell it from a record that was written by a gate; so it must be one.
        assert is_canonical(text)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert dict(records[-1].fields) == json.loads(text)
    return "good" if said else "noticed"


def _changed(name: str, text: bytes) -> Path:
    """The log, with its last record replaced and the chain made to fit."""
    path, before = _log()
    leaf = sha256(b"\0" + text).digest()
    hash_ = sha256(before + leaf).digest()
    try:
        stored: str | bytes = text.decode()
    except UnicodeDecodeError:
        stored = text
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DELETE FROM chron WHERE seq = 3")
        try:
            values = (3, name, stored, leaf, hash_)
            connection.execute("INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", values)
        except sqlite3.Error:  # a body that the table's own columns cannot be computed of
            connection.execute(
                "INSERT INTO chron(seq, id, body, leaf, hash) VALUES (3, 'x', NULL, ?, ?)", (leaf, hash_)
            )
    return path


@cache
def _log() -> tuple[Path, bytes]:
    """A log of two records without its guards, in memory, and the hash of the second."""
    import asyncio

    from chron import Chron

    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="claiim-fuzz-", dir=memory if memory.is_dir() else None))
    path = folder / "chron.db"

    async def fill() -> None:
        await log.append("decision", {"outcome": "ALLOW", "agent": "deploy-bot"})
        await log.append("outcome", {"result": "sent"})

    with Chron.open(path, low_water_bytes=0) as log:
        asyncio.run(fill())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        (before,) = connection.execute("SELECT hash FROM chron WHERE seq = 2").fetchone()
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return path, before


_JSON = (b'{"', b'":', b'","', b"}", b"[", b"]", b"\\u0000", b"\\ud800", b"1e9", b"9007199254740993", b"true", b"null")
HARNESSES = (
    Harness("chron-body", body, (*_JSON, b"token=", b"ghp_", b"%2F", b"Bearer "), 1024),
    Harness(
        "chron-note",
        note,
        (b"\n\n", "— ".encode(), b"claiim/", b"+", b"=\n", b"c2sp.org/tlog-proof@v1\n", b"index "),
        1024,
    ),
    Harness("chron-frame", frame, (*_JSON, b'"drafts"', b'"texts"', b'"emptied"', b'"people"', b'"checkpoint"'), 1024),
    Harness(
        "chron-row",
        row,
        (*_JSON, b'"kind"', b'"seq":3', b'"v":1', b'"ts"', b'"id"', b"checkpoint", b"key", b"text"),
        1024,
    ),
)
