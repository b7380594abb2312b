"""The hash chain: what makes a changed record show.

    leaf = SHA-256(0x00 || body)              the leaf hash of RFC 6962 section 2.1, for Merkle proofs later
    hash = SHA-256(hash of the record before || leaf)
    before the first record: SHA-256("chron/v1\n" || origin); the first record's body names the origin

The chain finds: a changed, swapped, inserted or removed record, at the first place where it no longer holds.
It cannot find: records cut off at the end, or a log rewritten from some record to its end, because nothing in
the file knows better. Only a head kept elsewhere shows those.
"""

from collections.abc import Iterable
from hashlib import sha256

from chron.body import is_canonical

type Row = tuple[int, str, bytes | None, bytes, bytes]
"""seq, id, body, leaf, hash."""

HASH_BYTES = 32


def genesis(origin: str) -> bytes:
    """The hash that stands before the first record."""
    return sha256(b"chron/v1\n" + origin.encode()).digest()


def leaf_hash(body: bytes) -> bytes:
    """RFC 6962 section 2.1: the prefix 0x00 keeps a leaf from being mistaken for an inner node."""
    return sha256(b"\x00" + body).digest()


def chain_hash(before: bytes, leaf: bytes) -> bytes:
    """The hash of a record whose predecessor has the hash `before`."""
    return sha256(before + leaf).digest()


def follow(rows: Iterable[Row], seq: int, before: bytes, *, lint: bool = False) -> tuple[int, bytes, str]:
    """Walk the rows behind record `seq` with hash `before`: last good seq, its hash, what is wrong next.

    The fault is "" when all hold. `lint` also checks that every body is canonical (three times slower).
    """
    for row_seq, row_id, body, leaf, row_hash in rows:
        # All that `_fault` looks at, in one place: a call for each record would take a sixth of the time.
        good = (
            row_seq == seq + 1
            and row_id.__class__ is str
            and leaf.__class__ is bytes
            and body is not None
            and sha256(b"\x00" + body).digest() == leaf
            and sha256(before + leaf).digest() == row_hash
            and body.rfind(b'"seq":%d,' % row_seq) >= 0
            and b'"id":"%s",' % row_id.encode() in body
        )
        fault = "" if good else _fault(row_seq, row_id, body, leaf, row_hash, seq + 1, before)
        if not fault and lint and body is not None and not is_canonical(body):
            fault = "its body is not canonical JSON"
        if fault:
            return seq, before, fault
        seq, before = row_seq, row_hash
    return seq, before, ""


def _fault(
    row_seq: int, row_id: str, body: bytes | None, leaf: bytes, row_hash: bytes, expected: int, before: bytes
) -> str:
    if row_id.__class__ is not str or leaf.__class__ is not bytes:
        return "its columns are of other types than were written"
    if row_seq != expected:
        return f"it is missing; the next one is {row_seq}"
    if body is not None and sha256(b"\x00" + body).digest() != leaf:
        return "its body was changed"
    if sha256(before + leaf).digest() != row_hash:
        return "it does not follow the record before it"
    if body is None:
        return ""  # its leaf stands for it; whether it may be gone is for `chron.emptied` to say
    # In a flat object a bare quote is never inside a string, so these bytes can only be the field itself.
    # Fields are in order, so that "seq" is nearer to the end, where searching from there finds it in half the time.
    if body.rfind(b'"seq":%d,' % row_seq) < 0 or b'"id":"%s",' % row_id.encode() not in body:
        return "its columns do not say what its body says"
    return ""
