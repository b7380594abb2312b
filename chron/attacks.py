"""The ways to harm a log that this package claims to notice, each with what notices it.

The table at the end is the same one as in docs/evidence.md; a test holds them together.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chron import schema
from chron.body import canonical
from chron.chain import chain_hash, leaf_hash
from chron.copies import Copy, Fields, Stopped
from chron.emptied import GONE
from chron.errors import ChronError
from chron.log import Chron
from chron.merkle import Frontier
from chron.notes import Checkpoint
from chron.reading import connect
from chron.signed import SignedLog, checkpoint_fields
from chron.signing import CREATED, Signer

type Needs = Literal["", "key", "head"]

_FROM_WHOLE = """
INSERT INTO chron(seq, id, body, leaf, hash)
SELECT seq, id, body, leaf, hash FROM whole.chron WHERE seq > ? ORDER BY seq"""
_HOUR_NS = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to harm a log."""

    id: str
    what: str
    catch: str
    """What notices: for people, and as the table in the documentation says it."""
    told: tuple[str, ...]
    """What it says then; one of these."""
    do: Callable[[Copy], int | None]
    """Harms the copy; returns the first record that is wrong then, None where no record is to blame."""
    needs: Needs = ""
    """What has to be kept outside of the log for it to be noticed."""


def _other(body: Fields) -> Fields:
    """The same record, telling something else."""
    return {**body, "outcome": "ALLOW" if body.get("outcome") != "ALLOW" else "DENY"}


def _edit(copy: Copy) -> int:
    seq = copy.some("kind = 'decision'")
    copy.run(("UPDATE chron SET body = ? WHERE seq = ?", (canonical(_other(copy.body(seq)))[0], seq)))
    return seq


def _replace(copy: Copy) -> int:
    seq = copy.some("kind = 'decision'")
    text, data = canonical(_other(copy.body(seq)))
    row = (seq, copy.body(seq)["id"], text, leaf_hash(data), bytes(32))
    try:
        copy.run(("INSERT OR REPLACE INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", row), guarded=True)
    except sqlite3.IntegrityError as error:
        raise Stopped(str(error)) from None
    return seq


def _unguard(copy: Copy) -> None:
    name = copy.chance.choice(sorted(schema.GUARDS))
    copy.run((f"DROP TRIGGER {name}", ()), guarded=True)


def _rewrite(copy: Copy) -> int:
    newest = int(copy.rows("SELECT max(seq) FROM chron WHERE kind = 'checkpoint'")[0][0] or 0)
    seq = copy.some(f"kind = 'decision' AND seq < {newest}")
    copy.rehash({seq: _other(copy.body(seq))})
    return int(copy.rows("SELECT min(seq) FROM chron WHERE kind = 'checkpoint' AND seq > ?", seq)[0][0])


def _cut(copy: Copy) -> int:
    # Behind a checkpoint, so that nothing is left that no signature covers.
    ends = [seq for (seq,) in copy.rows("SELECT seq FROM chron WHERE kind = 'checkpoint' ORDER BY seq")]
    end: int = copy.chance.choice(ends[:-1])
    copy.run(("DELETE FROM artefact WHERE seq > ?", (end,)), ("DELETE FROM chron WHERE seq > ?", (end,)))
    return end + 1


def _without_wal(copy: Copy) -> int:
    """The newest records stand in the write-ahead log alone, and the file is copied without it."""
    last, kept = copy.last(), copy.path.with_name("whole.db")
    end = max(1, last - copy.chance.randint(3, 6))
    shutil.copyfile(copy.path, kept)
    copy.run(("DELETE FROM artefact WHERE seq > ?", (end,)), ("DELETE FROM chron WHERE seq > ?", (end,)))
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as owner:
        owner.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        owner.execute("PRAGMA wal_autocheckpoint = 0").close()
        owner.execute("ATTACH ? AS whole", (str(kept),))
        owner.execute(_FROM_WHOLE, (end,))
        bare = copy.path.with_name("bare.db")
        shutil.copyfile(copy.path, bare)
    for suffix in ("", "-wal", "-shm"):
        copy.path.with_name(copy.path.name + suffix).unlink(missing_ok=True)
    bare.rename(copy.path)
    kept.unlink()
    return end + 1


def _reorder(copy: Copy) -> int:
    seq = copy.some("kind IN ('decision', 'outcome') AND seq < (SELECT max(seq) FROM chron)")
    here, there = (copy.rows("SELECT id, body, leaf FROM chron WHERE seq = ?", each)[0] for each in (seq, seq + 1))
    update = "UPDATE chron SET id = ?, body = ?, leaf = ? WHERE seq = ?"
    copy.run((update, ("-", *here[1:], seq)), (update, (*here, seq + 1)), (update, (*there, seq)))
    return seq


def _delete(copy: Copy) -> int:
    seq = copy.some("kind = 'decision' AND seq < (SELECT max(seq) FROM chron)")
    copy.run(("DELETE FROM chron WHERE seq = ?", (seq,)))
    return seq


def _fork(copy: Copy) -> int:
    """An old copy is put back and goes on with other records, rightly chained."""
    template = copy.body(copy.some("kind = 'decision'"))
    end = _cut(copy)
    before = copy.rows("SELECT hash FROM chron WHERE seq = ?", end - 1)[0][0]
    statements: list[tuple[str, tuple[object, ...]]] = []
    for seq in range(end, end + 200):
        body = {**_other(template), "seq": seq, "id": f"chr_{seq:026d}"}
        text, data = canonical(body)
        leaf = leaf_hash(data)
        before = chain_hash(before, leaf)
        row = (seq, body["id"], text, leaf, before)
        statements.append(("INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", row))
    copy.run(*statements)
    return end


def _clock_back(copy: Copy) -> int:
    """Somebody turns the clock of the machine back, and the gate goes on."""
    last, now_ns = copy.last(), time.time_ns()
    chron = Chron.open(copy.path, origin=_origin(copy), clock_ns=lambda: now_ns - 24 * _HOUR_NS, low_water_bytes=0)
    chron.close()
    found = copy.rows(
        "SELECT seq FROM chron WHERE kind = 'lifecycle' AND body->>'$.event' = 'clock_back' AND seq > ?", last
    )
    if found:
        raise Stopped(f"the log says so itself, at record {found[0][0]}: clock_back")
    return last + 1


def _forged_checkpoint(copy: Copy) -> int:
    """A checkpoint over changed records, signed with a key of the attacker's own under the same name."""
    seq = copy.some("kind = 'checkpoint' AND seq > (SELECT min(seq) FROM chron WHERE kind = 'decision')")
    decision = copy.some(f"kind = 'decision' AND seq < {seq}")
    copy.rehash({decision: _other(copy.body(decision))})
    with closing(connect(copy.path)) as connection:
        log = SignedLog(connection)
        tree = Frontier()
        tree.extend(log.leaves(0, seq - 1))
        name = log.name
    note = Signer(Ed25519PrivateKey.generate()).checkpoint(Checkpoint(name, tree.size, tree.root()), 0)
    copy.rehash({seq: copy.body(seq) | _said(checkpoint_fields(note, tree))})
    first = copy.rows("SELECT min(seq) FROM chron WHERE kind = 'checkpoint' AND seq > ?", decision)[0][0]
    return int(first)


def _said(fields: Mapping[str, str | int | bool | None]) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _own_key(copy: Copy) -> None:
    """All of it is written anew, and signed with a key of the attacker's own."""
    signer = Signer(Ed25519PrivateKey.generate())
    with closing(connect(copy.path)) as connection:
        name = SignedLog(connection).name
    tree = Frontier()
    bodies: dict[int, Fields] = {}
    known = False
    for seq, body, leaf in copy.rows("SELECT seq, body, leaf FROM chron ORDER BY seq"):
        fields = json.loads(body) if body is not None else {}
        if fields.get("kind") == "key":
            fields |= _said(signer.introduction(name, CREATED))
            fields = fields if not known else {**fields, "kind": "note", "note": "-"}
            known = True
        elif fields.get("kind") == "checkpoint":
            note = signer.checkpoint(Checkpoint(name, tree.size, tree.root()), 0)
            fields |= _said(checkpoint_fields(note, tree))
        elif fields.get("kind") == "decision":
            fields = _other(fields)
        if seq > 1 and fields:
            bodies[seq] = fields
            leaf = leaf_hash(canonical(fields)[1])
        tree.extend([leaf])
    copy.rehash(bodies)


def _other_text(copy: Copy) -> int:
    texts = copy.rows("SELECT seq, text FROM artefact ORDER BY seq")
    if not texts:
        raise ChronError("the log keeps no text yet")
    seq, text = copy.chance.choice(texts)
    copy.run(("UPDATE artefact SET text = ? WHERE seq = ?", (f"{text}\nallow: ['**']\n", seq)))
    return int(seq)


def _flip(copy: Copy) -> int:
    """One bit of a stored record is flipped in the file."""
    seq = copy.some("kind IN ('decision', 'outcome')")
    ((id_,),) = copy.rows("SELECT id FROM chron WHERE seq = ?", seq)
    copy.run()
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as owner:
        owner.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    data = bytearray(copy.path.read_bytes())
    places = []
    at = data.find(f'"id":"{id_}"'.encode())
    while at >= 0:
        places.append(at)
        at = data.find(f'"id":"{id_}"'.encode(), at + 1)
    data[copy.chance.choice(places) + 8 + copy.chance.randrange(26)] ^= 1 << copy.chance.randrange(3)
    copy.path.write_bytes(data)
    return seq


def _hide(copy: Copy) -> None:
    """A record is taken out of an index, so that queries do not find it."""
    seq = copy.some("agent IS NOT NULL")
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as owner:
        owner.execute("PRAGMA writable_schema = ON").close()
        text = schema.INDEXES["chron_agent"]
        owner.execute("DROP INDEX chron_agent")
        owner.execute(f"{text} AND seq != {seq}")
        owner.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'chron_agent'", (text,))


def _empty(copy: Copy) -> int:
    seq = copy.some("kind = 'decision'")
    copy.run(("UPDATE chron SET body = NULL WHERE seq = ?", (seq,)))
    return seq


def _origin(copy: Copy) -> str:
    return str(copy.rows("SELECT body->>'$.origin' FROM chron WHERE seq = 1")[0][0])


CHAIN, CHECKPOINTS, GUARDS = "the chain, at that record", "the next checkpoint: its root is another", "the guards"
PINNED, HEAD = "the pinned key or a head kept elsewhere", "a head kept elsewhere"
TEXTS, STRUCTURE, EMPTY, CLOCK = "the digest of the text", "the structure of the file", "no record allows it", "the log"

ATTACKS: tuple[Attack, ...] = (
    Attack("edit", "a record's body is changed", CHAIN, ("its body was changed",), _edit),
    Attack("replace", "INSERT OR REPLACE puts another record in its place", GUARDS, ("append-only",), _replace),
    Attack("unguard", "a guard is dropped", STRUCTURE, ("is missing: the tables or their guards",), _unguard),
    Attack(
        "rewrite",
        "a record is changed, and everything behind it hashed anew",
        CHECKPOINTS,
        ("its checkpoint is over other records",),
        _rewrite,
    ),
    Attack("delete", "a record is removed", CHAIN, ("it is missing",), _delete),
    Attack(
        "reorder",
        "two records change places",
        CHAIN,
        ("it does not follow the record before it", "its columns do not say"),
        _reorder,
    ),
    Attack("flip", "one bit of the file is flipped", CHAIN, ("its body was changed", "its columns do not say"), _flip),
    Attack("empty", "a body is taken away", EMPTY, (GONE,), _empty),
    Attack("text", "the kept text of a policy is changed", TEXTS, ("the text it kept was changed",), _other_text),
    Attack("hide", "a record is hidden from queries", STRUCTURE, ("the file is damaged: ",), _hide),
    Attack("clock", "the clock is turned back a day", CLOCK, ("clock_back",), _clock_back),
    Attack(
        "forge",
        "a checkpoint is forged over changed records",
        CHECKPOINTS,
        ("its checkpoint is not signed", "its checkpoint is over other records"),
        _forged_checkpoint,
    ),
    Attack(
        "own-key",
        "all is written anew, with a key of one's own",
        PINNED,
        ("signed by the given key", "are not those of the head", "does not belong to this log"),
        _own_key,
        "key",
    ),
    Attack("cut", "the end is cut off behind a checkpoint", HEAD, ("the head kept elsewhere covers",), _cut, "head"),
    Attack(
        "no-wal",
        "the file is copied without its write-ahead log",
        HEAD,
        ("the head kept elsewhere covers",),
        _without_wal,
        "head",
    ),
    Attack(
        "fork",
        "an old copy is put back and goes on with other records",
        HEAD,
        ("not those of the head kept elsewhere", "the head kept elsewhere covers"),
        _fork,
        "head",
    ),
)
