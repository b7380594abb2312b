"""Checking an export: is the file whole and unchanged, by its manifest and, better, by the log itself.

In a file of stored bodies, one a line, leaf and hash of each record are computed again and have to lead from the hash
before the first to that of the last. Where a filter left records out, the digest of the file and a comparison with the
log remain. With the log's key, each record is proved to be in the log that it signed, if a checkpoint covers it.

    Checked(records=1204, chained=True, compared=False, erased=0, covered=0, fault="")
    Checked(records=17, ..., fault="line 18: it is not the body of a record")
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chron.body import is_canonical
from chron.chain import chain_hash, genesis, leaf_hash
from chron.covering import Cover, covered
from chron.errors import ChronError
from chron.filtering import All
from chron.manifest import BODIES, Manifest, Place, manifest_of
from chron.notes import VerifierKey
from chron.querying import hash_at, stored
from chron.sources import Source

_SEQ = re.compile(rb'"seq":([0-9]{1,15})[,}]')
_ERASED = re.compile(rb'\{"erased":true,"leaf":"([0-9a-f]{64})","seq":([0-9]{1,15})\}')


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking an export found."""

    records: int
    chained: bool
    """Each record was computed again and follows the one before it."""
    compared: bool
    """It was compared with a log: each record where the file holds stored bodies, else the first and the last."""
    erased: int
    covered: int
    """So many of them, from the first, were proved with the key; 0 without one."""
    fault: str
    """"" when all is well."""


def check_export(file: Path, log: Source | None = None, key: VerifierKey | None = None) -> Checked:
    """Check an export by the manifest beside it, by a log and by its key if given; raises ChronError when it cannot."""
    manifest = Manifest.read(manifest_of(file))
    if key is not None and manifest.format != BODIES:
        raise ChronError(f"a key proves nothing of {manifest.format}: only {BODIES} holds what was signed")
    lines = proved = 0
    try:
        digest, size = _digest_of(file)
        same = (digest, size) == (manifest.sha256, manifest.bytes)
        fault = "" if same else "the file is not the one that was written"
        if not fault and manifest.format == BODIES:
            lines, fault = _check_bodies(file, manifest)
        if not fault and key is not None:
            proved, fault = _check_signed(file, manifest, key)
    except OSError as error:
        raise ChronError(f'cannot read "{file}": {error.strerror}; give another file') from error
    if not fault and log is not None:
        fault = _compare(file, manifest, log)
    chained = not fault and manifest.format == BODIES and manifest.chained
    return Checked(lines or manifest.records, chained, log is not None, manifest.erased, proved, fault)


def _digest_of(file: Path) -> tuple[str, int]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return digest, opened.tell()


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        for line in opened:
            yield line.removesuffix(b"\n")


def _check_bodies(file: Path, manifest: Manifest) -> tuple[int, str]:
    """Compute every record again: how many there are, and what is wrong."""
    number, erased, seq, before = 0, 0, 0, bytes.fromhex(manifest.before)
    for number, line in enumerate(_lines(file), start=1):
        gone = _ERASED.fullmatch(line)
        erased += gone is not None
        # In a chain the hash says whether a line is what was stored; reading it as JSON takes ten times as long.
        place = int(gone[2]) if gone else _told_place(line) if manifest.chained else _place(line)
        if place is None:
            return number, f"line {number}: it is not the body of a record"
        if place <= seq or (manifest.chained and number > 1 and place != seq + 1):
            return number, f"line {number}: it is record {place}, which does not come after record {seq}"
        seq = place
        if manifest.chained:
            before = chain_hash(before, bytes.fromhex(gone[1].decode()) if gone else leaf_hash(line))
        if number == 1 and seq != manifest.first.seq:
            return number, f"line 1: it is record {seq}, not {manifest.first.seq}, the first"
    if (number, erased, seq) != (manifest.records, manifest.erased, manifest.last.seq):
        return number, f"it has {number} records up to record {seq}, not {manifest.records} up to {manifest.last.seq}"
    if manifest.chained and before.hex() != manifest.last.hash:
        return number, f"its records do not lead to the hash of record {seq}; one of them was changed"
    if manifest.chained and manifest.first.seq == 1 and manifest.before != genesis(manifest.origin).hex():
        return number, "its first record does not follow from its origin"
    return number, ""


def _check_signed(file: Path, manifest: Manifest, key: VerifierKey) -> tuple[int, str]:
    """How many records the key's signature covers, and what is wrong; of lines that were found to be bodies."""
    seqs = array("Q", (_leaf(line)[0] for line in _lines(file)))
    leaves = (_leaf(line)[1] for line in _lines(file))
    try:
        return covered(Cover(manifest.note, manifest.proof), key, seqs, leaves), ""
    except ChronError as error:
        return 0, str(error)


def _leaf(line: bytes) -> tuple[int, bytes]:
    """Place and leaf of the record in a line."""
    if gone := _ERASED.fullmatch(line):
        return int(gone[2]), bytes.fromhex(gone[1].decode())
    return _told_place(line) or 0, leaf_hash(line)


def _told_place(line: bytes) -> int | None:
    match = _SEQ.search(line)
    return int(match[1]) if match else None


def _place(line: bytes) -> int | None:
    if not is_canonical(line):
        return None
    seq = json.loads(line).get("seq")
    return seq if type(seq) is int else None


def _compare(file: Path, manifest: Manifest, log: Source) -> str:
    """What the log says of it; by leaves, so that a record which was erased since is still the same one."""
    if manifest.format == BODIES:
        rows = stored(log, All(()), upto=manifest.last.seq)
        for number, line in enumerate(_lines(file), start=1):
            place, leaf = _leaf(line)
            if leaf != next((row[3] for row in rows if row[0] == place), None):
                return f"line {number}: the log has another record there"
    for name in ("first", "last", "head"):
        place_of: Place = getattr(manifest, name)
        if abs(place_of.seq) >= 2**62 or (place_of.seq and hash_at(log, place_of.seq).hex() != place_of.hash):
            return f"the log has another record {place_of.seq} than the {name} one of the export"
    return ""
