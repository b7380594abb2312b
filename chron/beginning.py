"""What a sealed segment says of the log before it: enough to verify its rows, and to prove each, without that log.

Nothing of it is believed as it is: the frontier and the rows must give the root that the note signs, and the keys must
have handed over to each other, each by a note of its own.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from chron.body import Fields
from chron.chain import HASH_BYTES
from chron.errors import ChronError, NotOursError
from chron.merkle import Frontier
from chron.notes import parse_note
from chron.schema import has_table
from chron.sources import Connection

TABLE = """CREATE TABLE segment(
  first INTEGER NOT NULL,
  last  INTEGER NOT NULL,
  name  TEXT NOT NULL,
  hash  BLOB NOT NULL,
  tree  TEXT NOT NULL,
  keys  TEXT NOT NULL,
  note  TEXT NOT NULL
) STRICT"""
_READ = "SELECT first, last, name, hash, tree, keys, note FROM segment"


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a segment begins and ends."""

    first: int
    last: int
    name: str
    """The log's, as in its checkpoints."""
    hash: bytes
    """Of the record before the first one."""
    tree: Frontier
    """Of the records before the first one."""
    keys: tuple[Fields, ...]
    """The records of kind `key` before the first one."""
    note: str
    """The checkpoint over exactly the last one."""

    def row(self) -> tuple[int, int, str, bytes, str, str, str]:
        """As it is stored."""
        tree = base64.b64encode(b"".join(self.tree.nodes)).decode()
        keys = json.dumps([dict(fields) for fields in self.keys], sort_keys=True)
        return self.first, self.last, self.name, self.hash, tree, keys, self.note


def write_beginning(connection: Connection, beginning: Beginning) -> None:
    """Make the table and fill it."""
    connection.execute(TABLE)
    connection.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)", beginning.row())


def read_beginning(connection: Connection) -> Beginning | None:
    """What a segment says of itself, None for a log that is none; raises ChronError when it contradicts itself."""
    if not has_table(connection, "segment"):
        return None
    rows = connection.execute(_READ).fetchall()
    try:
        ((first, last, name, hash_, tree, keys, note),) = rows
        packed = base64.b64decode(tree, validate=True)
        nodes: Sequence[bytes] = [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]
        beginning = Beginning(first, last, name, hash_, Frontier(first - 1, nodes), tuple(json.loads(keys)), note)
        said = parse_note(note).checkpoint()
        if not all(isinstance(fields, dict) for fields in beginning.keys):
            raise TypeError("a key is no record")
    except (ValueError, TypeError, RecursionError, ChronError) as error:
        raise NotOursError("it is a segment that does not say where it begins; take another copy of it") from error
    if (said.name, said.size) != (name, last):
        raise NotOursError("the checkpoint of the segment is over other records; take another copy of it")
    return beginning
