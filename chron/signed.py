"""What a log holds of its own signatures: its name, the keys it made known, its checkpoints.

A checkpoint is a record of kind `checkpoint` right behind the records it covers, so the one over n records has
seq n + 1. Beside the note it holds the frontier of the tree: with it a tree is continued, and a record proved, by
reading some thousand leaves instead of all. The frontier needs no trust: it must give the root that was signed.
"""

import base64
import binascii
import json
from dataclasses import dataclass

from chron import schema
from chron.beginning import read_beginning
from chron.body import Fields
from chron.chain import HASH_BYTES
from chron.errors import ChronError
from chron.merkle import Frontier
from chron.notes import Checkpoint, VerifierKey, parse_note
from chron.signing import KeyRecord
from chron.sources import Connection

CHECKPOINT, KEY = "checkpoint", "key"
"""Kinds of records."""

_RECORD = f"SELECT seq, body FROM chron WHERE kind = ? AND {schema.SELDOM} AND seq {{}} ORDER BY seq {{}} LIMIT 1"  # noqa: S608
_FIRST_BEHIND = _RECORD.format("> ?", "ASC")
_LAST_BEFORE = _RECORD.format("< ?", "DESC")
_BEHIND_ALL = 2**62


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it stands in the log."""

    seq: int
    note: str
    checkpoint: Checkpoint
    frontier: Frontier
    """Of the tree that the checkpoint is over; it gives the root in it."""

    def require_signed(self, keys: tuple[VerifierKey, ...]) -> None:
        """Raise ChronError unless all of these keys signed it."""
        note = parse_note(self.note)
        if not keys or not all(key.signed(note, self.checkpoint) for key in keys):
            raise ChronError("its checkpoint is not signed by the key of the log")


def log_name(origin: str, first_id: str) -> str:
    """The name that checkpoints of a log have: no other log has its first record."""
    return f"{origin}/{first_id}"


def origin_of(name: str) -> str:
    """The origin in the name of a log."""
    return name.rpartition("/")[0]


def checkpoint_fields(note: str, tree: Frontier) -> Fields:
    """The record of a checkpoint over this tree."""
    return {"size": tree.size, "note": note, "frontier": base64.b64encode(b"".join(tree.nodes)).decode()}


def read_checkpoint(seq: int, fields: Fields, name: str) -> StoredCheckpoint:
    """What a record of kind `checkpoint` says; raises ChronError when it contradicts itself. Checks no signature."""
    note = str(fields.get("note", ""))
    said = parse_note(note).checkpoint()
    if said.name != name:
        raise ChronError(f'its note is about log "{said.name}"')
    if not said.size == fields.get("size") == seq - 1:
        raise ChronError("its note is not about the records before it")
    try:
        packed = base64.b64decode(str(fields.get("frontier", "")), validate=True)
        nodes = [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]
        frontier = Frontier(said.size, nodes)
    except (binascii.Error, ValueError) as error:
        raise ChronError("its frontier is not one of its size") from error
    if frontier.root() != said.root:
        raise ChronError("its frontier does not give its root")
    return StoredCheckpoint(seq, note, said, frontier)


class SignedLog:
    """The signatures of one open log; one per connection, because reading is all it does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._beginning = read_beginning(connection)
        self.name = self._beginning.name if self._beginning else _name(connection)
        """"" of an empty log."""

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The last one, None when there is none."""
        return self._sealing() or self._checkpoint(_LAST_BEFORE, _BEHIND_ALL)

    def checkpoint_before(self, seq: int) -> StoredCheckpoint | None:
        """The last one that covers only records before `seq`."""
        return self._checkpoint(_LAST_BEFORE, seq + 1)

    def checkpoint_over(self, seq: int) -> StoredCheckpoint | None:
        """The first one that covers record `seq`; in a segment, that may be the one it was sealed with."""
        return self._checkpoint(_FIRST_BEHIND, seq) or self._sealing()

    def frontier_before(self, seq: int) -> Frontier:
        """The largest tree before a record that can be had without reading leaves."""
        before = self.checkpoint_before(seq)
        if before is not None:
            return before.frontier
        return self._beginning.tree if self._beginning else Frontier()

    def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        """The one over exactly so many records."""
        found = self._checkpoint(_FIRST_BEHIND, size)
        return found if found and found.checkpoint.size == size else None

    def key_record(self, before_seq: int = _BEHIND_ALL) -> KeyRecord | None:
        """The last key that was made known before a record; its note is not looked at."""
        row = self._connection.execute(_LAST_BEFORE, (KEY, before_seq)).fetchone()
        if row is None:
            return None
        fields = json.loads(row[1])
        return KeyRecord(*(str(fields.get(field) or "") for field in ("event", "vkey", "vkey_second")))

    def keys(self, before_seq: int = _BEHIND_ALL) -> tuple[VerifierKey, ...]:
        """The keys that a checkpoint at this place has to be signed by."""
        record = self.key_record(before_seq)
        return record.verifier_keys() if record else ()

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaves [start, end)."""
        statement = "SELECT leaf FROM chron WHERE seq > ? AND seq <= ? ORDER BY seq"
        return [leaf for (leaf,) in self._connection.execute(statement, (start, end))]

    def _sealing(self) -> StoredCheckpoint | None:
        if self._beginning is None:
            return None
        note, tree = self._beginning.note, self._beginning.tree.copy()
        tree.extend(self.leaves(tree.size, self._beginning.last))
        return StoredCheckpoint(self._beginning.last + 1, note, parse_note(note).checkpoint(), tree)

    def _checkpoint(self, statement: str, seq: int) -> StoredCheckpoint | None:
        row = self._connection.execute(statement, (CHECKPOINT, seq)).fetchone()
        try:
            return read_checkpoint(row[0], json.loads(row[1]), self.name) if row else None
        except ChronError as error:
            raise ChronError(f"the log does not verify at record {row[0]}: {error}") from error


def _name(connection: Connection) -> str:
    row = connection.execute("SELECT id, body->>'$.origin' FROM chron WHERE seq = 1").fetchone()
    return log_name(row[1] or "", row[0]) if row else ""
