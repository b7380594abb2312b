"""What makes an export prove something by itself: that its records are in the log, as the log's key signed it.

    cover(path, seqs)                          while there is the log: a checkpoint, and the proof that leads to it
    covered(cover, key, seqs, leaves)          with nothing but the key: how many of the records it proves

Records behind the last checkpoint are proved by nothing yet. Whether a filter left out records that it should have
found is not proved either; that none is missing among records that follow each other is, because each has its place.
"""

import base64
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chron.chain import HASH_BYTES
from chron.errors import ChronError
from chron.merkle import subtrees
from chron.multiproof import gaps, shown
from chron.notes import VerifierKey, verified
from chron.querying import reading
from chron.signed import SignedLog
from chron.sources import Source


@dataclass(frozen=True, slots=True)
class Cover:
    """A checkpoint over records, and what leads from them to its root."""

    note: str = ""
    """"" when the log had no checkpoint over any of them."""
    hashes: str = ""
    """One behind the other, in base64."""


def cover(path: Source, seqs: Sequence[int]) -> Cover:
    """The proof for records of a log, in ascending order, by the first checkpoint over all of them or else the last."""
    with reading(path) as connection:
        log = SignedLog(connection)
        over = (log.checkpoint_over(seqs[-1]) or log.newest_checkpoint()) if seqs else None
        if over is None or over.checkpoint.size < seqs[0]:
            return Cover()
        size = over.checkpoint.size
        subtree = subtrees(log.frontier_before(seqs[0]), log.leaves)
        hashes = b"".join(subtree(start, end) for start, end in gaps(_places(seqs, size), size))
    return Cover(over.note, base64.b64encode(hashes).decode())


def covered(cover: Cover, key: VerifierKey, seqs: Sequence[int], leaves: Iterable[bytes]) -> int:
    """How many of these records the key's checkpoint covers, from the first; raises ChronError when it is wrong."""
    if not cover.note:
        return 0
    checkpoint = verified(cover.note, [key])
    try:
        packed = base64.b64decode(cover.hashes, validate=True)
    except ValueError as error:
        raise ChronError("its proof is not one") from error
    hashes = [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]
    places = _places(seqs, checkpoint.size) if not seqs or seqs[0] > 0 else ()
    if not shown(places, leaves, checkpoint.size, hashes, checkpoint.root):
        raise ChronError("its records are not in the log that was signed")
    return len(places)


def _places(seqs: Sequence[int], size: int) -> Sequence[int]:
    """The places of those records that a tree of this size holds; in eight bytes each, as there may be millions."""
    return array("Q", (seq - 1 for seq in seqs[: bisect_right(seqs, size)]))
