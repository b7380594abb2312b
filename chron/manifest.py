"""What an export says of itself, and how it is counted and digested while it is written.

A manifest names the records of the file (how many, the first and the last with their hashes), the head of the log when
it was written, and the digest of the file. Who can change the file can write another one. What stands outside of both
is the log itself, a head that was noted, or the log's key: with stored bodies comes a signed checkpoint, and what
proves the records by it (`chron.covering`).
"""

import hashlib
import json
import re
from array import array
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from chron.beginning import read_beginning
from chron.chain import genesis
from chron.covering import Cover
from chron.errors import ChronError
from chron.querying import Row, hash_at, reading
from chron.signed import origin_of
from chron.sources import Source

VERSION = 1
BODIES = "jsonl"
"""The format whose lines are the stored bodies, byte for byte."""

_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Place:
    """A record by its place in the chain."""

    seq: int = 0
    id: str = ""
    hash: str = ""
    """Hexadecimal."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands beside an export; a file `NAME.manifest.json`."""

    format: str
    filter: str
    records: int
    erased: int
    chained: bool
    """No record between the first and the last was left out."""
    before: str
    """The hash before the first record, in hexadecimal; of the log's first record it follows from the origin."""
    first: Place
    last: Place
    head: Place
    origin: str
    bytes: int
    sha256: str
    version: int = VERSION
    note: str = ""
    """A checkpoint over the records, or over the first of them; "" where there was none, or the format has none."""
    proof: str = ""
    """What leads from the records to its root; `chron.covering.Cover.hashes`."""

    def written(self) -> str:
        """The manifest as the text of its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """A manifest from its file; raises ChronError when there is none."""
        try:
            told: Any = json.loads(path.read_bytes())
            if not isinstance(told, dict) or told.get("version") != VERSION:
                raise ValueError("another version")
            told |= {name: Place(**told[name]) for name in ("first", "last", "head")}
            manifest = cls(**told)
            manifest._check()
        except OSError as error:
            remedy = "it is written beside the export"
            raise ChronError(f'there is no manifest "{path}": {error.strerror}; {remedy}') from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            remedy = "give the one written beside it"
            raise ChronError(f'"{path}" is not the manifest of an export: {error}; {remedy}') from error
        return manifest

    def _check(self) -> None:
        places = (self.first, self.last, self.head)
        for told in (self, *places):
            for each in fields(told):
                if not isinstance(getattr(told, each.name), each.type):  # type: ignore[arg-type]
                    raise TypeError(f'"{each.name}" is of another type')
        hashes = [place.hash for place in places if place.seq]
        if not all(_HASH.fullmatch(each) for each in (*hashes, self.before, self.sha256)):
            raise ValueError("a hash is none")


@dataclass(slots=True)
class Tally:
    """Counts and digests what is written, row by row."""

    file: BinaryIO
    records: int = 0
    erased: int = 0
    chained: bool = True
    size: int = 0
    first: Place = field(default_factory=Place)
    last: Place = field(default_factory=Place)
    seqs: array[int] = field(default_factory=lambda: array("Q"))
    _digest: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> None:
        """Write bytes that belong to no record."""
        self.file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def add(self, row: Row, line: bytes) -> None:
        """Write the line of a record."""
        seq, id_, body, _, hash_ = row
        self.chained = self.chained and (not self.records or seq == self.last.seq + 1)
        self.last = Place(seq, id_, hash_.hex())
        self.seqs.append(seq)
        self.first = self.first if self.records else self.last
        self.records += 1
        self.erased += body is None
        self.write(line + b"\n")

    def manifest(self, form: str, filter_: str, origin: str, before: str, head: Place, cover: Cover) -> Manifest:
        """What was written."""
        return Manifest(
            format=form,
            filter=filter_,
            records=self.records,
            erased=self.erased,
            chained=self.chained and self.records > 0,
            before=before,
            first=self.first,
            last=self.last,
            head=head,
            origin=origin,
            bytes=self.size,
            sha256=self._digest.hexdigest(),
            note=cover.note,
            proof=cover.hashes,
        )


def stored_line(row: Row) -> bytes:
    """A record as a line of stored bodies; of an erased one its place and its leaf."""
    seq, _, body, leaf, _ = row
    return body if body is not None else b'{"erased":true,"leaf":"%s","seq":%d}' % (leaf.hex().encode(), seq)


def origin_and_hash_before(path: Source, seq: int) -> tuple[str, str]:
    """Whose log it is, and the hash in hexadecimal that the record at this place follows; also in a segment of it."""
    with reading(path) as connection:
        beginning = read_beginning(connection)
        if beginning is not None:
            origin = origin_of(beginning.name)
        else:
            row = connection.execute("SELECT body->>'$.origin' FROM chron WHERE seq = 1").fetchone()
            origin = str(row[0] or "") if row else ""
    if seq <= 1:
        return origin, genesis(origin).hex()
    if beginning is not None and seq == beginning.first:
        return origin, beginning.hash.hex()
    return origin, hash_at(path, seq - 1).hex()


def manifest_of(file: Path) -> Path:
    """Where the manifest of an export stands."""
    return file.with_name(file.name + ".manifest.json")
