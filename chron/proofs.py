"""One record, proved to somebody who sees nothing else of the log and has only its public key.

A proof is one small text, c2sp.org/tlog-proof@v1: the record's body, its place, the hashes that lead from it to the
root of a checkpoint, and that checkpoint. The body stands in the line `extra`, which that form declares unproved:
here its hash is the leaf that is proved, so it is proved too.

    c2sp.org/tlog-proof@v1
    extra eyJhY3Rpb24iOiJkZXBsb3k6cHJvZHVjdGlvbiIs...
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    ...

    claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p
    109482
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p hI2DJw...

Making one reads the leaves between two checkpoints, however long the log is. Checking one reads no log at all.
"""

import base64
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass

from chron.body import Fields, read_body
from chron.chain import HASH_BYTES, leaf_hash
from chron.emptied import why_gone
from chron.errors import ChronError
from chron.merkle import included, inclusion_proof, subtrees
from chron.notes import Checkpoint, decoded, parse_vkey, verified
from chron.reading import connect
from chron.signed import SignedLog
from chron.sources import Source

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
MAX_PROOF_CHARS = 256 * 1024
_MAX_HASHES = 63
_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Proven:
    """What a good proof proves."""

    seq: int
    fields: Fields
    """The record's body, with v, seq, id, ts and kind."""
    checkpoint: Checkpoint


def prove(path: Source, id_: str, *, newest: bool = False) -> str | None:
    """Write the proof of a record; None when there is no such record.

    It leads to the first checkpoint over the record, so that the proof of a record is always the same text; with
    `newest`, to the last one. Raises ChronError when no checkpoint covers the record yet.
    """
    with closing(connect(path)) as connection:
        try:
            row = connection.execute("SELECT seq, CAST(body AS BLOB) FROM chron WHERE id = ?", (id_,)).fetchone()
            if row is None:
                return None
            seq, body = row
            if body is None:
                raise ChronError(f'record "{id_}" {_why(path, seq)}')
            return _proof(SignedLog(connection), seq, body, newest=newest)
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error


def _why(path: Source, seq: int) -> str:
    gone = why_gone(path, seq)
    if gone.get("kind") == "archive":
        return f"is in segment {gone['segment']} alone; prove it from that file"
    return "was erased; nothing is left to prove"


def _proof(log: SignedLog, seq: int, body: bytes, *, newest: bool) -> str:
    over = log.newest_checkpoint() if newest else log.checkpoint_over(seq)
    if over is None or over.checkpoint.size < seq:
        raise ChronError('no checkpoint covers this record yet; run "claiim chron checkpoint --now" and try again')
    known, size = log.frontier_before(seq), over.checkpoint.size
    hashes = inclusion_proof(seq - 1, size, subtrees(known, log.leaves))
    lines = [_FIRST_LINE, f"extra {_text(body)}", f"index {seq - 1}", *map(_text, hashes), "", over.note]
    text = "\n".join(lines)
    _require(text, over.checkpoint)  # a log that was changed gives no proof, rather than a bad one
    return text


def check(text: str, vkey: str) -> Proven:
    """Return what a proof proves, if the key signed it; raises ChronError with what is wrong with it."""
    key = parse_vkey(vkey)
    note = text.partition("\n\n")[2]
    return _require(text, verified(note, [key]))


def _require(text: str, checkpoint: Checkpoint) -> Proven:
    """What a proof proves of a checkpoint that is known to be good."""
    head, _, _ = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > MAX_PROOF_CHARS or len(lines) < 3 or lines[0] != _FIRST_LINE:
        raise ChronError("it is not a proof of a record")
    body, index = decoded(lines[1].removeprefix("extra ")), lines[2].removeprefix("index ")
    hashes = [decoded(line) for line in lines[3:]]
    if lines[1:3] != [f"extra {_text(body)}", f"index {index}"] or not _INDEX.fullmatch(index):
        raise ChronError("it does not say which record it proves")
    if len(hashes) > _MAX_HASHES or any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise ChronError("its hashes are not hashes")
    if not included(leaf_hash(body), int(index), checkpoint.size, hashes, checkpoint.root):
        raise ChronError("its record is not in the log that was signed")
    fields = read_body(body)
    if fields.get("seq") != int(index) + 1:
        raise ChronError("its record says another place than the one that is proved")
    return Proven(int(index) + 1, fields, checkpoint)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
